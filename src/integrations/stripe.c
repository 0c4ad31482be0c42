/* stripe.c: see stripe.h. Called by the handlers of payments and by webhook work, which make a
 * request's words of it. It must not log a url, a key, or what a customer typed. */
#include "stripe.h"

#include <string.h>
#include <apr_strings.h>

#include "client.h"
#include "core/str.h"
#include "core/valid.h"
#include "registry.h"

enum { TRIES = 3, MESSAGE_SHOWN = 300, WAIT_SHOWN = 60 };

/* What Stripe says of itself beats every rule. */
static client_verdict judge(client_answer *a)
{
    const char *again = apr_table_get(a->headers, "Stripe-Should-Retry");

    if (again != NULL && !strcmp(again, "true") && a->status < 500 && a->status != 429)
        return CLIENT_IS_AGAIN;
    if (again != NULL && !strcmp(again, "false") && a->status >= 400)
        return CLIENT_IS_FINAL;
    return a->status == 409 ? CLIENT_IS_AGAIN : CLIENT_BY_STATUS;
}

static biz_code unavailable(biz_reply *reply, const client_answer *a)
{
    reply->retry_after = a == NULL || a->retry_after == 0 ? 0
                         : a->retry_after > WAIT_SHOWN    ? WAIT_SHOWN
                                                          : a->retry_after;
    return biz_fail(reply, BIZ_PAYMENTS_UNAVAILABLE, NULL, NULL);
}

/* What an error says to whom. Stripe's ids and codes may be logged, its messages may not: they
 * quote what was sent. */
static biz_code failure(const biz_req *req, biz_reply *reply, const client_answer *a)
{
    const biz_json *error = biz_json_get(a->json, "error");
    const char *code = biz_json_str(error, "code"), *param = biz_json_str(error, "param");
    const char *type = biz_json_str(error, "type"), *message = biz_json_str(error, "message");
    const char *id = apr_table_get(a->headers, "Request-Id");
    uint64_t held;

    if (a->status == 402)
        return biz_fail(reply, BIZ_PAYMENT_FAILED, NULL,
                        message != NULL && biz_valid_text(message, 1, MESSAGE_SHOWN) ? message
                                                                                     : NULL);
    if (a->status == 404)
        return biz_fail(reply, BIZ_NOT_FOUND, NULL, NULL);
    if (a->status == 409)
        return unavailable(reply, a);
    if (biz_minute(req->env->shared, BIZ_MINUTE_STRIPE_MISTAKE, &held))
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0810) "Stripe does not accept what we send (status %ld, type %s, code %s, param "
                         "%s, its request %s; %lu more since the last such line); report this line",
                a->status, type != NULL ? biz_printable(req->pool, type, 60) : "-",
                code != NULL ? biz_printable(req->pool, code, 60) : "-",
                param != NULL ? biz_printable(req->pool, param, 60) : "-",
                id != NULL ? biz_printable(req->pool, id, 60) : "-", (unsigned long)held);
    return biz_fail(reply, BIZ_PROVIDER_FAILED, NULL, NULL);
}

/* BIZ_OK where there is an answer, whatever it says. */
static biz_code ask(biz_req *req, biz_reply *reply, const char *method, const char *path,
                    const char *key, const char *form, client_answer *a)
{
    const char *secret = biz_secret(req->env->settings, "STRIPE_SECRET_KEY");
    const char *headers[5] = {NULL, "Stripe-Version: 2023-08-16"};
    int n = 2;
    client_request request = {.host = CLIENT_STRIPE,
                              .method = method,
                              .path = path,
                              .headers = headers,
                              .body = form,
                              .body_len = form != NULL ? strlen(form) : 0,
                              .tries = TRIES,
                              .harmless = 1,
                              .wants_json = 1,
                              .judge = judge};

    if (!integration_is_on(req->env, INTEGRATION_STRIPE))
        return unavailable(reply, NULL);
    headers[0] = apr_pstrcat(req->pool, "Authorization: Bearer ", secret, NULL);
    if (form != NULL)
        headers[n++] = "Content-Type: application/x-www-form-urlencoded";
    if (key != NULL)
        headers[n++] = apr_pstrcat(req->pool, "Idempotency-Key: ", key, NULL);
    client_call(req->env->clients, req->pool, &request, a);
    return a->result == CLIENT_ANSWERED ? BIZ_OK : unavailable(reply, a);
}

static biz_code call(biz_req *req, biz_reply *reply, const char *method, const char *path,
                     const char *key, const char *form, client_answer *a)
{
    biz_code code = ask(req, reply, method, path, key, form, a);

    return code == BIZ_OK && a->status >= 300 ? failure(req, reply, a) : code;
}

/* ---- sessions ---- */

static biz_code take_session(const biz_req *req, biz_reply *reply, const client_answer *a,
                             stripe_session *session)
{
    const biz_json *json = a->json;

    session->id = biz_json_str(json, "id");
    session->url = biz_json_str(json, "url");
    session->status = biz_json_str(json, "status");
    session->payment_status = biz_json_str(json, "payment_status");
    session->payment_intent = biz_json_str(json, "payment_intent");
    session->invoice_id = biz_json_str(json, "client_reference_id");
    session->currency = biz_json_str(json, "currency");
    session->amount = biz_json_int(json, "amount_total", -1);
    session->livemode = biz_json_bool(json, "livemode", 0);
    if (session->id != NULL && session->status != NULL && session->payment_status != NULL)
        return BIZ_OK;
    return failure(req, reply, a);
}

biz_code stripe_checkout_create(biz_req *req, biz_reply *reply, const stripe_checkout *what,
                                stripe_session *session)
{
    const char *amount = apr_psprintf(req->pool, "%" APR_INT64_T_FMT, what->amount);
    /* payment_method_types is never sent: later versions have lost it, and Stripe chooses better.
     */
    const char *pairs[] = {"mode",
                           "payment",
                           "success_url",
                           what->success_url,
                           "cancel_url",
                           what->cancel_url,
                           "client_reference_id",
                           what->invoice_id,
                           "customer_email",
                           what->email,
                           "line_items[0][quantity]",
                           "1",
                           "line_items[0][price_data][currency]",
                           what->currency,
                           "line_items[0][price_data][unit_amount]",
                           amount,
                           "line_items[0][price_data][product_data][name]",
                           what->description,
                           "metadata[invoice_id]",
                           what->invoice_id,
                           "payment_intent_data[metadata][invoice_id]",
                           what->invoice_id,
                           NULL};
    const char *key =
        apr_psprintf(req->pool, "bizapi:%s:%s:%d", what->invoice_id, amount, what->attempt);
    client_answer a;

    if (call(req, reply, "POST", "/v1/checkout/sessions", key, client_form(req->pool, pairs), &a) !=
            BIZ_OK ||
        take_session(req, reply, &a, session) != BIZ_OK)
        return reply->code;
    return session->url != NULL ? BIZ_OK : failure(req, reply, &a);
}

static const char *session_path(biz_req *req, const char *id, const char *verb)
{
    return apr_pstrcat(req->pool, "/v1/checkout/sessions/", biz_percent_encode(req->pool, id), verb,
                       NULL);
}

biz_code stripe_checkout_get(biz_req *req, biz_reply *reply, const char *id,
                             stripe_session *session)
{
    client_answer a;

    if (call(req, reply, "GET", session_path(req, id, ""), NULL, NULL, &a) != BIZ_OK)
        return reply->code;
    return take_session(req, reply, &a, session);
}

biz_code stripe_checkout_expire(biz_req *req, biz_reply *reply, const char *id,
                                stripe_session *session)
{
    const char *key = apr_pstrcat(req->pool, "bizapi:expire:", id, NULL);
    client_answer a;

    if (ask(req, reply, "POST", session_path(req, id, "/expire"), key, "", &a) != BIZ_OK)
        return reply->code;
    if (a.status < 300)
        return take_session(req, reply, &a, session);
    /* Stripe has no code for a session that is not open; asking again tells. */
    if (a.status == 400 && stripe_checkout_get(req, reply, id, session) == BIZ_OK &&
        strcmp(session->status, "open") != 0)
        return biz_fail(reply, BIZ_INVALID_STATE, NULL, NULL);
    return failure(req, reply, &a);
}

biz_code stripe_refund_create(biz_req *req, biz_reply *reply, const char *payment_intent,
                              int64_t amount, const char *refund_id, stripe_refund *refund)
{
    const char *pairs[] = {"payment_intent",
                           payment_intent,
                           "amount",
                           apr_psprintf(req->pool, "%" APR_INT64_T_FMT, amount),
                           "reason",
                           "requested_by_customer",
                           "metadata[refund_id]",
                           refund_id,
                           NULL};
    const char *key = apr_pstrcat(req->pool, "bizapi:refund:", refund_id, NULL);
    client_answer a;

    if (call(req, reply, "POST", "/v1/refunds", key, client_form(req->pool, pairs), &a) != BIZ_OK)
        return reply->code;
    refund->id = biz_json_str(a.json, "id");
    refund->status = biz_json_str(a.json, "status");
    refund->amount = biz_json_int(a.json, "amount", -1);
    return refund->id != NULL && refund->status != NULL ? BIZ_OK : failure(req, reply, &a);
}

int stripe_session_is_for(const biz_settings *settings, const stripe_session *session,
                          const char *invoice_id, int64_t amount, const char *currency)
{
    const char *secret = biz_secret(settings, "STRIPE_SECRET_KEY");

    return session->invoice_id != NULL && !strcmp(session->invoice_id, invoice_id) &&
           session->amount == amount && session->currency != NULL &&
           !strcmp(session->currency, currency) &&
           /* A test event says nothing where money is meant. */
           (secret == NULL || !strncmp(secret, "sk_test_", 8) || !strncmp(secret, "rk_test_", 8) ||
            session->livemode);
}
