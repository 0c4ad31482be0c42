/* webhook_apply.c: what the events of providers mean: a row of the outbox was delivered or came
 * back, somebody wants no more messages. Called by webhook_work.c. Each is safe to do twice and in
 * any order. To handle more of them, add a line to the table at the end. */
#include "webhook.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "core/str.h"
#include "core/valid.h"
#include "outbox/consent.h"
#include "outbox/outbox.h"

typedef struct {
    store *store;
    apr_pool_t *pool;
    const biz_json *body;
    const char *type;
    apr_time_t at; /* when it came: it may be worked late, or again */
    apr_status_t status;
} apply;

static event_end after(apply *a, apr_status_t status)
{
    a->status = status;
    return status == APR_SUCCESS || status == STORE_ENOENT ? EVENT_DONE /* its row was swept away */
                                                           : EVENT_LATER;
}

static event_end says_no(apply *a, const char *channel, const char *address, const char *source)
{
    return after(
        a, consent_said(a->store, a->pool, channel, address, CONSENT_WITHDRAWN, source, a->at));
}

static const char *row_named(const apply *a)
{
    const char *id = biz_json_str(a->body, "outbox_id");

    return id && biz_valid_id(id, "obx") ? id : NULL;
}

/* ---- Twilio ---- */

static event_end message_status(apply *a)
{
    static const struct {
        const char *word;
        outbox_report report;
    } words[] = {{"accepted", OUTBOX_WAS_SENT},       {"queued", OUTBOX_WAS_SENT},
                 {"sending", OUTBOX_WAS_SENT},        {"sent", OUTBOX_WAS_SENT},
                 {"delivered", OUTBOX_WAS_DELIVERED}, {"read", OUTBOX_WAS_DELIVERED},
                 {"undelivered", OUTBOX_WAS_BOUNCED}, {"failed", OUTBOX_WAS_BOUNCED}};
    const char *word = biz_json_str(a->body, "MessageStatus");
    const char *sid = biz_json_str(a->body, "MessageSid");
    const char *code = biz_json_str(a->body, "ErrorCode"), *to = biz_json_str(a->body, "To");
    store_doc *row;
    event_end end;

    for (size_t i = 0; word && i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(word, words[i].word) != 0) {
            continue;
        }
        end =
            after(a, outbox_settle(
                         a->store, a->pool, row_named(a), sid, words[i].report,
                         code && code[0] ? apr_pstrcat(a->pool, "Twilio error ", code, NULL) : NULL,
                         &row));
        /* 21610: the number has said STOP, to this sender. */
        return end == EVENT_DONE && code && to && strcmp(code, "21610") == 0
                   ? says_no(a, OUTBOX_SMS, to, "stop")
                   : end;
    }
    return EVENT_IGNORED;
}

/* The words that Twilio itself acts upon; OptOutType says so where the account has its own. */
static const char *opt_word(const apply *a)
{
    static const char *const stop[] = {"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END",
                                       "QUIT", "OPTOUT",  "REVOKE",      NULL};
    static const char *const start[] = {"START", "YES", "UNSTOP", NULL};
    const char *type = biz_json_str(a->body, "OptOutType"), *text = biz_json_str(a->body, "Body");
    char *word;

    if (type && type[0]) {
        return type;
    }
    word = apr_pstrdup(a->pool, text ? text : "");
    apr_collapse_spaces(word, word);
    for (int i = 0; stop[i]; i++) {
        if (strcasecmp(word, stop[i]) == 0) {
            return "STOP";
        }
    }
    for (int i = 0; start[i]; i++) {
        if (strcasecmp(word, start[i]) == 0) {
            return "START";
        }
    }
    return "";
}

/* START takes back a STOP, or what was said by the link in a message; it is no consent of somebody
 * who never gave one. */
static event_end message_inbound(apply *a)
{
    const char *from = biz_json_str(a->body, "From"), *word = opt_word(a), *source;
    store_doc *doc;
    apr_status_t status;

    if (!from || !biz_valid_phone(from)) {
        return EVENT_IGNORED;
    }
    if (strcasecmp(word, "STOP") == 0) {
        return says_no(a, OUTBOX_SMS, from, "stop");
    }
    if (strcasecmp(word, "START") != 0) {
        return EVENT_IGNORED;
    }
    status = consent_find(a->store, a->pool, OUTBOX_SMS, from, &doc);
    source = status == APR_SUCCESS ? store_str(doc, CONSENT_SOURCE) : NULL;
    if (source && (strcmp(source, "stop") == 0 || strcmp(source, "unsubscribe_link") == 0) &&
        !store_is_null(doc, CONSENT_GIVEN_AT)) {
        status = consent_said(a->store, a->pool, OUTBOX_SMS, from, CONSENT_GIVEN, "start", a->at);
    }
    return after(a, status);
}

/* ---- SendGrid ---- */

/* What is said of an earlier copy the present one says itself, or disproves: ignored. */
static event_end mail_report(apply *a, outbox_report report)
{
    const char *id = row_named(a), *why = biz_json_str(a->body, "reason");
    store_doc *row = NULL;
    apr_status_t status;

    why = why ? why : biz_json_str(a->body, "response");
    if (!id) {
        return EVENT_IGNORED; /* a mail of somebody else's on the same account */
    }
    /* A reason quotes the address as often as not. */
    status = outbox_settle(
        a->store, a->pool, id, biz_json_str(a->body, "sg_message_id"), report,
        report == OUTBOX_WAS_BOUNCED && why ? biz_without_addresses(a->pool, why) : NULL, &row);
    return status == APR_SUCCESS && !row ? EVENT_IGNORED : after(a, status);
}

static event_end mail_taken(apply *a)
{
    return mail_report(a, OUTBOX_WAS_SENT);
}

static event_end mail_delivered(apply *a)
{
    return mail_report(a, OUTBOX_WAS_DELIVERED);
}

/* A bounce for good says that nobody reads the address; "blocked" is about the moment. */
static event_end mail_bounced(apply *a)
{
    const char *kind = biz_json_str(a->body, "type"), *email = biz_json_str(a->body, "email");
    event_end end = mail_report(a, OUTBOX_WAS_BOUNCED);

    return end == EVENT_DONE && email && strcmp(a->type, "bounce") == 0 &&
                   (!kind || strcmp(kind, "bounce") == 0)
               ? says_no(a, OUTBOX_MAIL, email, "bounce")
               : end;
}

static event_end mail_unwanted(apply *a)
{
    const char *email = biz_json_str(a->body, "email");

    return email ? says_no(a, OUTBOX_MAIL, email, a->type) : EVENT_IGNORED;
}

/* ---- Stripe ---- */

/* Payments are not part of this version: what concerns them waits. */
static event_end payment(apply *a)
{
    return EVENT_UNHANDLED;
}

/* ---- the table ---- */

static const struct {
    const char *provider, *type; /* a type that ends in '.' stands for all that begin so */
    event_end (*act)(apply *a);
} acts[] = {{"twilio", "message.inbound", message_inbound},
            {"twilio", "message.", message_status},
            {"sendgrid", "processed", mail_taken},
            {"sendgrid", "delivered", mail_delivered},
            {"sendgrid", "bounce", mail_bounced},
            {"sendgrid", "dropped", mail_bounced},
            {"sendgrid", "spamreport", mail_unwanted},
            {"sendgrid", "unsubscribe", mail_unwanted},
            {"sendgrid", "group_unsubscribe", mail_unwanted},
            {"stripe", "checkout.session.", payment},
            {"stripe", "payment_intent.", payment},
            {"stripe", "charge.", payment},
            {"stripe", "refund.", payment}};

static int is_type(const char *pattern, const char *type)
{
    size_t len = strlen(pattern);

    return pattern[len - 1] == '.' ? strncmp(pattern, type, len) == 0 : strcmp(pattern, type) == 0;
}

event_end webhook_apply(store *s, apr_pool_t *pool, const store_doc *event, const char **why,
                        apr_status_t *status)
{
    const char *provider = store_str(event, EVENT_PROVIDER), *type = store_str(event, EVENT_TYPE);
    const char *payload = store_str(event, EVENT_PAYLOAD);
    apply a = {.store = s, .pool = pool, .type = type, .at = store_time(event, STORE_CREATED_AT)};
    biz_json *body = NULL;
    size_t position;
    event_end end = EVENT_IGNORED;

    if (!provider || !type || !payload ||
        biz_json_parse(pool, payload, strlen(payload), BIZ_JSON_DEPTH, &body, &position) !=
            APR_SUCCESS) {
        *why = "what is stored is no event";
        return EVENT_BAD;
    }
    a.body = body;
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
        if (strcmp(provider, acts[i].provider) == 0 && is_type(acts[i].type, type)) {
            end = acts[i].act(&a);
            break;
        }
    }
    *status = a.status;
    return end;
}
