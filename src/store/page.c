/* page.c: see page.h. Called by handlers of every folder. */
#include "page.h"

biz_code store_page(biz_req *req, biz_reply *reply, store_query *query, store_show show)
{
    apr_array_header_t *docs;
    apr_status_t status;
    int i;

    if (biz_page_of(req, reply, &query->limit, &query->cursor) != BIZ_OK)
        return reply->code;
    status = store_find(req->env->store, req->pool, query, &docs, &reply->next_cursor);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_array(req->pool);
    for (i = 0; i < docs->nelts; i++)
        biz_json_add(reply->data, show(req, APR_ARRAY_IDX(docs, i, store_doc *)));
    return BIZ_OK;
}
