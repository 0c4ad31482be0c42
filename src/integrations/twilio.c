/* twilio.c: see twilio.h. Called by the outbox. Twilio knows no idempotency key: a call is made
 * once, and what became of one whose answer was lost is told by the status callback alone. */
#include "twilio.h"

#include <string.h>

#include <apr_strings.h>

#include "core/str.h"
#include "core/valid.h"

static int64_t code_of(const client_answer *a)
{
    return biz_json_int(a->json, "code", 0);
}

/* A refusal that is about one number or region is no word about our key. */
static client_verdict judge(client_answer *a)
{
    if (a->status == 403 && code_of(a) > 21000 && code_of(a) < 22000)
        return CLIENT_IS_ANSWER;
    return CLIENT_BY_STATUS;
}

/* The first TWILIO_TEXT_MAX code points. */
static const char *cut(apr_pool_t *pool, const char *text)
{
    const char *end = text;

    for (int i = 0; i < TWILIO_TEXT_MAX && *end; i++)
        biz_utf8_next(&end);
    return *end ? apr_pstrmemdup(pool, text, (apr_size_t)(end - text)) : text;
}

/* Where Twilio reports; NULL where it cannot reach us: it would refuse the message for that. */
static const char *callback(const biz_env *env, apr_pool_t *pool, const char *row)
{
    const char *base = env->settings->public_url;

    return biz_url_is_loopback(base)
               ? NULL
               : apr_pstrcat(pool, base,
                             "/api/v1/webhooks/twilio/status?row=", biz_percent_encode(pool, row),
                             NULL);
}

static twilio_result result_of(const client_answer *a)
{
    switch (code_of(a)) {
    case 21211: /* not a number */
    case 21214:
    case 21614: /* not a mobile one */
        return TWILIO_BAD_NUMBER;
    case 21610:
        return TWILIO_STOPPED;
    case 21611:
        return TWILIO_FULL;
    case 21212: /* the sender is none, or none of ours */
    case 21603:
    case 21606:
    case 21659:
    case 21660:
        return TWILIO_SENDER;
    default:
        return TWILIO_REFUSED;
    }
}

twilio_result twilio_send(const biz_env *env, apr_pool_t *pool, const char *to, const char *text,
                          const char *row, client_answer *a, const char **sid)
{
    const char *account = biz_secret(env->settings, "TWILIO_ACCOUNT_SID");
    const char *form[] = {"To",
                          to,
                          "From",
                          biz_secret(env->settings, "TWILIO_PHONE_NUMBER"),
                          "Body",
                          cut(pool, text),
                          "StatusCallback",
                          callback(env, pool, row),
                          NULL};
    const char *headers[] = {
        client_basic(pool, account, biz_secret(env->settings, "TWILIO_AUTH_TOKEN")),
        "Content-Type: application/x-www-form-urlencoded", NULL};
    client_request request = {
        .host = CLIENT_TWILIO,
        .method = "POST",
        .path = apr_pstrcat(pool, "/2010-04-01/Accounts/", account, "/Messages.json", NULL),
        .headers = headers,
        .body = client_form(pool, form),
        .wants_json = 1,
        .background = 1,
        .judge = judge};

    request.body_len = strlen(request.body);
    client_call(env->clients, pool, &request, a);
    if (a->result != CLIENT_ANSWERED)
        return TWILIO_CLIENT;
    if (a->status >= 300) {
        a->error = apr_psprintf(pool, "Twilio error %d", (int)code_of(a));
        return result_of(a);
    }
    *sid = biz_json_str(a->json, "sid");
    *sid = *sid && biz_valid_token(*sid, 1, 64) ? *sid : NULL;
    return TWILIO_SENT;
}
