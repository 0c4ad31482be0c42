/* twilio.c: see twilio.h. Called by the outbox. Twilio knows no idempotency key: a call is made
 * once, and what became of one whose answer was lost is told by the status callback, or found in
 * the list of messages. */
#include "twilio.h"

#include <string.h>

#include <apr_date.h>
#include <apr_strings.h>

#include "core/str.h"
#include "core/valid.h"

enum { LISTED = 100, SKEW_SECONDS = 300 /* between Twilio's clock and ours */ };

static int64_t code_of(const client_answer *a)
{
    return biz_json_int(a->json, "code", 0);
}

/* A refusal that is about one number or region is no word about our key. What is neither a message
 * nor a list of them comes from somebody else. */
static client_verdict judge(client_answer *a)
{
    if (a->status < 300 && !biz_json_get(a->json, "sid") && !biz_json_get(a->json, "messages"))
        return CLIENT_IS_BROKEN;
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

static const char *sid_of(const biz_json *message)
{
    const char *sid = biz_json_str(message, "sid");

    return sid && biz_valid_token(sid, 1, 64) ? sid : NULL;
}

/* The account's messages: one more, where there is a form, else the list of them. */
static void messages(const biz_env *env, apr_pool_t *pool, const char *query, const char *form,
                     client_answer *a)
{
    const char *account = biz_secret(env->settings, "TWILIO_ACCOUNT_SID");
    const char *headers[] = {
        client_basic(pool, account, biz_secret(env->settings, "TWILIO_AUTH_TOKEN")),
        form ? "Content-Type: application/x-www-form-urlencoded" : NULL, NULL};
    client_request request = {
        .host = CLIENT_TWILIO,
        .method = form ? "POST" : "GET",
        .path = apr_pstrcat(pool, "/2010-04-01/Accounts/", account, "/Messages.json", query, NULL),
        .headers = headers,
        .body = form,
        .body_len = form ? strlen(form) : 0,
        .wants_json = 1,
        .background = 1,
        .judge = judge};

    client_call(env->clients, pool, &request, a);
}

twilio_result twilio_send(const biz_env *env, apr_pool_t *pool, const char *to, const char *text,
                          const char *row, client_answer *a, const char **sid)
{
    const char *form[] = {"To",
                          to,
                          "StatusCallback",
                          callback(env, pool, row),
                          "From",
                          biz_secret(env->settings, "TWILIO_PHONE_NUMBER"),
                          "Body",
                          cut(pool, text),
                          NULL};

    messages(env, pool, "", client_form(pool, form), a);
    if (a->result != CLIENT_ANSWERED)
        return TWILIO_CLIENT;
    if (a->status >= 300) {
        a->error = apr_psprintf(pool, "Twilio error %d", (int)code_of(a));
        return result_of(a);
    }
    *sid = sid_of(a->json);
    return TWILIO_SENT;
}

/* A trial account puts words of its own before the text. */
static int is_it(const biz_json *message, const char *text, apr_time_t since)
{
    const char *body = biz_json_str(message, "body"), *made = biz_json_str(message, "date_created");
    apr_time_t at = made ? apr_date_parse_rfc(made) : APR_DATE_BAD;

    return body && strstr(body, text) && at != APR_DATE_BAD &&
           at >= since - apr_time_from_sec(SKEW_SECONDS);
}

twilio_result twilio_find(const biz_env *env, apr_pool_t *pool, const char *to, const char *text,
                          apr_time_t since, int (*is_other)(void *context, const char *sid),
                          void *context, client_answer *a, const char **sid)
{
    const char *query[] = {"To",       to,
                           "From",     biz_secret(env->settings, "TWILIO_PHONE_NUMBER"),
                           "PageSize", apr_itoa(pool, LISTED),
                           NULL};
    const biz_json *list;

    messages(env, pool, apr_pstrcat(pool, "?", client_form(pool, query), NULL), NULL, a);
    list =
        a->result == CLIENT_ANSWERED && a->status < 300 ? biz_json_get(a->json, "messages") : NULL;
    if (biz_json_kind(list) != BIZ_JSON_ARRAY)
        return TWILIO_CLIENT;
    for (size_t i = 0; i < biz_json_size(list); i++) {
        const biz_json *message = biz_json_at(list, i);
        const char *status = biz_json_str(message, "status");

        if (!is_it(message, cut(pool, text), since) || is_other(context, sid_of(message)))
            continue;
        *sid = sid_of(message);
        if (!status || (strcmp(status, "failed") != 0 && strcmp(status, "undelivered") != 0))
            return TWILIO_SENT;
        a->error =
            apr_psprintf(pool, "Twilio error %d", (int)biz_json_int(message, "error_code", 0));
        return TWILIO_REFUSED;
    }
    return TWILIO_NONE;
}
