/* health.c: see health.h. */
#include "health.h"

#include "store/store.h"

static biz_code say(biz_req *req, biz_reply *reply, const char *status)
{
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", status);
    return BIZ_OK;
}

biz_code health_live(biz_req *req, biz_reply *reply)
{
    return say(req, reply, "live");
}

biz_code health_ready(biz_req *req, biz_reply *reply)
{
    apr_status_t status = store_is_ready(req->env->store, req->pool);

    return status == APR_SUCCESS ? say(req, reply, "ready") : biz_fail_store(req, reply, status);
}
