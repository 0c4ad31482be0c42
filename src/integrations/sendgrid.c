/* sendgrid.c: see sendgrid.h. Called by the outbox. SendGrid knows no idempotency key: a call is
 * made once; whether a mail whose answer was lost may be sent again is for the outbox to know. */
#include "sendgrid.h"

#include <apr_strings.h>

#include "core/str.h"

enum { ID_SHOWN = 100, WAIT_MAX = 6 * 3600 };

/* 404 and 405: what stands in BizApiProviderURL is no SendGrid. A limit names its end in seconds
 * since 1970. What is taken is answered 202, in the sandbox 200, with an id or
 * without a word. */
static client_verdict judge(client_answer *a)
{
    const char *reset = apr_table_get(a->headers, "X-RateLimit-Reset");
    int64_t now = apr_time_sec(apr_time_now()), until;

    if (a->status < 300 && a->status != 202 && a->body_len > 0 &&
        !apr_table_get(a->headers, "X-Message-Id"))
        return CLIENT_IS_BROKEN;
    if (a->status == 404 || a->status == 405)
        return CLIENT_IS_KEY;
    if (a->status == 429 && a->retry_after == 0 && reset &&
        biz_parse_int(reset, now, now + WAIT_MAX, &until))
        a->retry_after = (int)(until - now);
    return CLIENT_BY_STATUS;
}

sendgrid_result sendgrid_send(const biz_env *env, apr_pool_t *pool, const char *body, size_t len,
                              client_answer *a, const char **id)
{
    const char *headers[] = {apr_pstrcat(pool, "Authorization: Bearer ",
                                         biz_secret(env->settings, "SENDGRID_API_KEY"), NULL),
                             "Content-Type: application/json", NULL};
    client_request request = {.host = CLIENT_SENDGRID,
                              .method = "POST",
                              .path = "/v3/mail/send",
                              .headers = headers,
                              .body = body,
                              .body_len = len,
                              .background = 1,
                              .judge = judge};

    client_call(env->clients, pool, &request, a);
    if (a->result != CLIENT_ANSWERED)
        return SENDGRID_CLIENT;
    if (a->status >= 300) {
        a->error = apr_psprintf(pool, "SendGrid answered with status %ld", a->status);
        return SENDGRID_REFUSED;
    }
    *id = apr_table_get(a->headers, "X-Message-Id");
    *id = *id ? biz_printable(pool, *id, ID_SHOWN) : NULL;
    return SENDGRID_SENT;
}
