/* page.h: one page of a list, from the query to the answer: what every GET of a list does. */
#ifndef BIZ_STORE_PAGE_H
#define BIZ_STORE_PAGE_H

#include "core/biz.h"
#include "store.h"

/* A document as the caller may see it. */
typedef biz_json *(*store_show)(biz_req *req, const store_doc *doc);

/* Fills the reply with the page that `limit` and `cursor` of the request ask for. The route has
 * BIZ_LIST. INVALID_REQUEST, VALIDATION_FAILED, STORE_UNAVAILABLE. */
biz_code store_page(biz_req *req, biz_reply *reply, store_query *query, store_show show);

#endif
