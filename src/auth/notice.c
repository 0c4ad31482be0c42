/* notice.c: see notice.h. */
#include "notice.h"

#include "core/str.h"
#include "outbox/outbox.h"

static biz_json *data_of(const biz_req *req, const char *event, const char *detail)
{
    biz_json *data = biz_json_object(req->pool);

    biz_json_set_str(data, "event", event);
    biz_json_set_str(data, "ip", req->address);
    if (detail != NULL)
        biz_json_set_str(data, "detail", detail);
    return data;
}

apr_status_t notice_put(const biz_req *req, const char *user_id, const char *event,
                        const char *detail)
{
    return outbox_put(req->env->store, req->pool, OUTBOX_NOTICE, NULL, user_id,
                      data_of(req, event, detail));
}

apr_status_t notice_put_once(const biz_req *req, const char *email, const char *user_id,
                             const char *event, const char *unique_key)
{
    outbox_message mail = {.channel = OUTBOX_MAIL,
                           .kind = OUTBOX_NOTICE,
                           .recipient = email,
                           .user_id = user_id,
                           .unique_key = unique_key,
                           .data = data_of(req, event, NULL)};

    return outbox_add(req->env->store, req->pool, &mail);
}

static void missing(apr_status_t status, const char *who, const char *event)
{
    biz_log(BIZ_LOG_WARN, status,
            BZ(0534) "the notice \"%s\" to %s could not be queued; what it tells has happened",
            event, who);
}

void notice_tell(const biz_req *req, const char *user_id, const char *event, const char *detail)
{
    apr_status_t status = notice_put(req, user_id, event, detail);

    if (status != APR_SUCCESS)
        missing(status, user_id, event);
}

void notice_tell_once(const biz_req *req, const char *email, const char *event,
                      const char *unique_key)
{
    apr_status_t status = notice_put_once(req, email, NULL, event, unique_key);

    if (status != APR_SUCCESS && status != STORE_EEXIST)
        missing(status, biz_mask_email(req->pool, email), event);
}
