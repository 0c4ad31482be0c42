/* dispatch.h: one request, once its bytes are here. Called by src/httpd/handler.c, which has found
 * the route and read the body; knows nothing of httpd. */
#ifndef BIZ_DISPATCH_H
#define BIZ_DISPATCH_H

#include "core/biz.h"

/* JSON -> declared fields -> caller -> idempotency -> handler. The reply is filled when it returns,
 * whatever happened. */
void biz_dispatch(biz_req *req, biz_reply *reply);

/* 1 where the route declares fields of the body. */
int biz_route_takes_body(const biz_route *route);

#endif
