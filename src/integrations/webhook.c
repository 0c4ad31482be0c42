/* webhook.c: POST /webhooks/...: see webhook.h. Here strangers speak: nothing is looked at before
 * the signature over the raw bytes is good, and nothing is done here but to store. A secret that is
 * not set, or a store that is away, is a 503: the provider comes again. */
#include "webhook.h"

#include <string.h>

#include <apr_strings.h>

#include "core/crypto.h"
#include "core/str.h"
#include "core/valid.h"
#include "sign.h"

enum { ID_MAX = 255, TYPE_MAX = 100, RETRY_SECONDS = 60 };

/* ---- before anything is believed ---- */

/* `key`: what is set where the provider is used at all; else nobody is told of a stranger's call.
 */
static const char *secret_of(biz_req *req, biz_reply *reply, const char *provider, const char *key,
                             const char *name)
{
    const biz_settings *settings = req->env->settings;
    const char *value = biz_secret(settings, name);
    uint64_t held;

    if (!value) {
        if (biz_secret(settings, key) && biz_minute(req->env->shared, BIZ_MINUTE_WEBHOOK, &held)) {
            biz_log(BIZ_LOG_WARN, 0,
                    BZ(0830) "a webhook of %s was answered 503: %s is not set (%lu more since the "
                             "last line)",
                    provider, name, (unsigned long)held);
        }
        reply->retry_after = RETRY_SECONDS;
        biz_fail(reply, BIZ_NOT_CONFIGURED, NULL, NULL);
    }
    return value;
}

static biz_code not_believed(biz_req *req, biz_reply *reply, const char *provider)
{
    uint64_t held;

    if (biz_minute(req->env->shared, BIZ_MINUTE_WEBHOOK, &held)) {
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0831) "a webhook that %s did not sign was refused, from %s (%lu more since the "
                         "last line); if it is theirs, check secret, clock and BizApiPublicURL",
                provider, req->address, (unsigned long)held);
    }
    return biz_fail(reply, BIZ_INVALID_SIGNATURE, NULL, NULL);
}

/* ---- storing ---- */

static store_doc *event_of(biz_req *req, const char *provider, const char *id, const char *type,
                           const char *payload)
{
    store_doc *event = store_doc_new(req->pool, COLL_EVENTS);

    store_set_str(event, EVENT_PROVIDER, provider);
    store_set_str(event, EVENT_EVENT_ID, id);
    store_set_str(event, EVENT_TYPE, type);
    store_set_str(event, EVENT_STATUS, "received");
    store_set_str(event, EVENT_PAYLOAD, payload);
    store_set_time(event, EVENT_DUE_AT, req->now);
    store_set_int(event, EVENT_TRIES, 0);
    return event;
}

/* APR_SUCCESS too where it was stored before. */
static apr_status_t keep(biz_req *req, const char *provider, const char *id, const char *type,
                         const char *payload)
{
    store_doc *event = event_of(req, provider, id, type, payload);

    return store_insert_new(req->env->store, req->pool, &event, 1);
}

static biz_code kept(biz_req *req, biz_reply *reply, apr_status_t status)
{
    if (status != APR_SUCCESS) {
        return biz_fail_store(req, reply, status);
    }
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "received");
    return BIZ_OK;
}

static biz_json *body_json(biz_req *req)
{
    biz_json *json = NULL;
    size_t position;

    return biz_json_parse(req->pool, req->body ? req->body : "", req->body_len, BIZ_JSON_DEPTH,
                          &json, &position) == APR_SUCCESS
               ? json
               : NULL;
}

/* ---- Stripe ---- */

biz_code webhook_stripe(biz_req *req, biz_reply *reply)
{
    const char *secret =
                   secret_of(req, reply, "Stripe", "STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"),
               *id, *type;
    biz_json *json;

    if (!secret) {
        return reply->code;
    }
    if (!sign_stripe(req->pool, secret, req->header(req, "Stripe-Signature"), req->body,
                     req->body_len, req->now)) {
        return not_believed(req, reply, "Stripe");
    }
    json = body_json(req);
    id = biz_json_str(json, "id");
    type = biz_json_str(json, "type");
    if (!id || !type || !biz_valid_line(id, 1, ID_MAX) || !biz_valid_line(type, 1, TYPE_MAX)) {
        return biz_fail(reply, BIZ_INVALID_REQUEST, NULL, "The body is no event.");
    }
    return kept(req, reply, keep(req, "stripe", id, type, biz_json_text(req->pool, json, NULL)));
}

/* ---- Twilio ---- */

/* The url as Twilio called it: built from BizApiPublicURL, never from what the request says of
 * itself. */
static const char *called_url(const biz_req *req)
{
    return apr_pstrcat(req->pool, req->env->settings->public_url, req->path,
                       req->query ? "?" : NULL, req->query, NULL);
}

/* The parameters as an object, NULL where the request is not Twilio's. */
static biz_json *twilio_body(biz_req *req, biz_reply *reply)
{
    const char *secret = secret_of(req, reply, "Twilio", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN");
    const char *type = req->header(req, "Content-Type");
    int is_json = type && strncasecmp(type, "application/json", 16) == 0;
    apr_array_header_t *form;
    biz_json *json;

    if (!secret) {
        return NULL;
    }
    form = is_json ? NULL : sign_form(req->pool, req->body ? req->body : "", req->body_len);
    if ((!is_json && !form) ||
        !sign_twilio(req->pool, secret, req->header(req, "X-Twilio-Signature"), called_url(req),
                     form, req->body, req->body_len)) {
        not_believed(req, reply, "Twilio");
        return NULL;
    }
    json = is_json ? body_json(req) : biz_json_object(req->pool);
    for (int i = 0; form && i < form->nelts; i++) {
        const sign_pair *pair = &APR_ARRAY_IDX(form, i, sign_pair);

        biz_json_set_str(json, pair->name, pair->value);
    }
    if (!json || biz_json_kind(json) != BIZ_JSON_OBJECT) {
        biz_fail(reply, BIZ_INVALID_REQUEST, NULL, "The body holds no parameters.");
        return NULL;
    }
    return json;
}

static const char *message_sid(const biz_json *json)
{
    const char *sid = biz_json_str(json, "MessageSid");

    sid = sid ? sid : biz_json_str(json, "SmsSid");
    return sid && biz_valid_token(sid, 1, 64) ? sid : NULL;
}

/* A message passes several states, each told once; Twilio has no id for that, so sid and state
 * are it. The row's id is in the url that we gave along with the message. */
biz_code webhook_twilio_status(biz_req *req, biz_reply *reply)
{
    biz_json *json = twilio_body(req, reply);
    const char *sid, *word, *row;

    if (!json) {
        return reply->code;
    }
    sid = message_sid(json);
    word = biz_json_str(json, "MessageStatus");
    if (!sid || !word || !biz_valid_token(word, 1, 40)) {
        return biz_fail(reply, BIZ_INVALID_REQUEST, NULL, "The body is no message status.");
    }
    row = biz_field_str(req, "row");
    if (row) {
        biz_json_set_str(json, "outbox_id", row);
    }
    return kept(req, reply,
                keep(req, "twilio", apr_pstrcat(req->pool, sid, ":", word, NULL),
                     apr_pstrcat(req->pool, "message.", word, NULL),
                     biz_json_text(req->pool, json, NULL)));
}

biz_code webhook_twilio_inbound(biz_req *req, biz_reply *reply)
{
    biz_json *json = twilio_body(req, reply);
    const char *sid;

    if (!json) {
        return reply->code;
    }
    sid = message_sid(json);
    if (!sid) {
        return biz_fail(reply, BIZ_INVALID_REQUEST, NULL, "The body is no message.");
    }
    return kept(req, reply,
                keep(req, "twilio", apr_pstrcat(req->pool, sid, ":inbound", NULL),
                     "message.inbound", biz_json_text(req->pool, json, NULL)));
}

/* ---- SendGrid ---- */

/* What is no event for us is kept too: it was signed. */
static store_doc *mail_event(biz_req *req, biz_json *event)
{
    const char *id = biz_json_str(event, "sg_event_id"), *type = biz_json_str(event, "event");
    const char *text;
    biz_json *object = event;

    if (biz_json_kind(event) != BIZ_JSON_OBJECT) {
        object = biz_json_object(req->pool);
        biz_json_set(object, "value", event);
    }
    text = biz_json_text(req->pool, object, NULL);
    if (!id || !biz_valid_line(id, 1, ID_MAX)) {
        id = biz_sha256_hex(req->pool, text);
    }
    if (!type || !biz_valid_token(type, 1, TYPE_MAX)) {
        type = "unknown";
    }
    return event_of(req, "sendgrid", id, type, text);
}

/* Many at once: where the store goes away in between, the whole is sent again, and what was stored
 * is there already. */
biz_code webhook_sendgrid(biz_req *req, biz_reply *reply)
{
    const char *key =
        secret_of(req, reply, "SendGrid", "SENDGRID_API_KEY", "SENDGRID_WEBHOOK_PUBLIC_KEY");
    store_doc **events;
    biz_json *json;
    size_t n;

    if (!key) {
        return reply->code;
    }
    if (!sign_sendgrid(req->pool, key, req->header(req, "X-Twilio-Email-Event-Webhook-Signature"),
                       req->header(req, "X-Twilio-Email-Event-Webhook-Timestamp"), req->body,
                       req->body_len, req->now)) {
        return not_believed(req, reply, "SendGrid");
    }
    json = body_json(req);
    if (!json || biz_json_kind(json) != BIZ_JSON_ARRAY) {
        return biz_fail(reply, BIZ_INVALID_REQUEST, NULL, "The body is no list of events.");
    }
    n = biz_json_size(json);
    events = apr_palloc(req->pool, (n + 1) * sizeof(*events));
    for (size_t i = 0; i < n; i++) {
        events[i] = mail_event(req, biz_json_at(json, i));
    }
    return kept(req, reply, store_insert_new(req->env->store, req->pool, events, (int)n));
}
