/* notifications.c: what somebody wants to be told, and how: GET and PUT /portal/notifications for
 * those who are signed in; GET and POST /portal/unsubscribe/{token} for whoever holds the link of a
 * message (RFC 8058). Looking at that link never changes anything: programs that check the links of
 * a mail follow every one of them. */
#include "portal.h"

#include <string.h>

#include <apr_strings.h>

#include "audit/audit.h"
#include "auth/keys.h"
#include "core/str.h"
#include "outbox/consent.h"
#include "outbox/outbox.h"

/* ---- who is signed in ---- */

static const struct {
    const char *name;
    int asks; /* no word is a no */
} channels[] = {{OUTBOX_MAIL, 0}, {OUTBOX_SMS, 1}, {OUTBOX_PUSH, 0}, {OUTBOX_VOICE, 1}};

enum { CHANNELS = sizeof(channels) / sizeof(channels[0]) };

/* Where a channel reaches the caller, NULL where it cannot. */
static const char *address_of(const biz_req *req, const char *channel)
{
    if (strcmp(channel, OUTBOX_MAIL) == 0)
        return store_str(req->user, USER_EMAIL);
    if (strcmp(channel, OUTBOX_SMS) == 0)
        return store_str(req->user, USER_PHONE);
    return store_doc_id(req->user);
}

static apr_status_t channel_json(biz_req *req, int i, biz_json **out)
{
    const char *address = address_of(req, channels[i].name), *word = NULL;
    biz_json *json = biz_json_object(req->pool);
    apr_time_t changed_at = 0;
    store_doc *doc;
    apr_status_t status = STORE_ENOENT;

    if (address != NULL)
        status = consent_find(req->env->store, req->pool, channels[i].name, address, &doc);
    if (status == APR_SUCCESS) {
        word = store_str(doc, CONSENT_STATE);
        changed_at = store_time(doc, word != NULL && strcmp(word, CONSENT_GIVEN) == 0
                                         ? CONSENT_GIVEN_AT
                                         : CONSENT_WITHDRAWN_AT);
    }
    biz_json_set_bool(json, "allowed",
                      address != NULL &&
                          (word != NULL ? strcmp(word, CONSENT_GIVEN) == 0 : !channels[i].asks));
    biz_json_set_bool(json, "reachable", address != NULL);
    biz_json_set_time(json, "changed_at", changed_at);
    *out = json;
    return status == STORE_ENOENT ? APR_SUCCESS : status;
}

static const char *clock_text(apr_pool_t *pool, int minute)
{
    return apr_psprintf(pool, "%02d:%02d", minute / 60, minute % 60);
}

biz_code portal_notifications(biz_req *req, biz_reply *reply)
{
    const biz_settings *settings = req->env->settings;
    biz_json *quiet = biz_json_object(req->pool), *each;
    const char *zone = store_str(req->user, USER_TIMEZONE);

    reply->data = biz_json_object(req->pool);
    for (int i = 0; i < CHANNELS; i++) {
        apr_status_t status = channel_json(req, i, &each);

        if (status != APR_SUCCESS)
            return biz_fail_store(req, reply, status);
        biz_json_set(reply->data, channels[i].name, each);
    }
    if (settings->quiet_from != settings->quiet_to) {
        biz_json_set_str(quiet, "from", clock_text(req->pool, settings->quiet_from));
        biz_json_set_str(quiet, "to", clock_text(req->pool, settings->quiet_to));
        biz_json_set_str(quiet, "timezone",
                         zone != NULL ? zone : biz_brand(settings, "timezone", "UTC"));
        biz_json_set(reply->data, "quiet_hours", quiet);
    }
    return BIZ_OK;
}

/* Anybody can write another's address or number into an account of his own: so a yes by an account
 * undoes the no of whoever reads there (a link, STOP, a complaint, a bounce) only where the account
 * has shown that it is the same person. Nothing shows that of a number; START does. */
static biz_code may_say_yes(biz_req *req, biz_reply *reply, const char *channel)
{
    const char *address = address_of(req, channel), *source;
    int is_mail = strcmp(channel, OUTBOX_MAIL) == 0;
    store_doc *doc;
    apr_status_t status;

    if (address == NULL)
        return biz_fail(reply, BIZ_VALIDATION_FAILED, channel, "The account has no phone number.");
    if (is_mail && store_bool(req->user, USER_EMAIL_VERIFIED))
        return BIZ_OK;
    status = consent_find(req->env->store, req->pool, channel, address, &doc);
    if (status == STORE_ENOENT)
        return BIZ_OK;
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    source = store_str(doc, CONSENT_SOURCE);
    if (source == NULL || strcmp(store_str(doc, CONSENT_STATE), CONSENT_GIVEN) == 0 ||
        strcmp(source, "portal") == 0 || strcmp(source, "invalid_number") == 0)
        return BIZ_OK;
    return biz_fail(reply, BIZ_VALIDATION_FAILED, channel,
                    is_mail ? "Mail to this address was unsubscribed. Confirm the address first."
                            : "This number does not want messages. Send START from it first.");
}

/* All that can be refused is refused before anything is changed. */
biz_code portal_notifications_change(biz_req *req, biz_reply *reply)
{
    int i;

    for (i = 0; i < CHANNELS; i++)
        if (biz_field_bool(req, channels[i].name, 0) &&
            may_say_yes(req, reply, channels[i].name) != BIZ_OK)
            return reply->code;
    for (i = 0; i < CHANNELS; i++) {
        const char *name = channels[i].name, *address = address_of(req, name), *word;
        apr_status_t status;

        if (biz_field_str(req, name) == NULL || address == NULL)
            continue;
        word = biz_field_bool(req, name, 0) ? CONSENT_GIVEN : CONSENT_WITHDRAWN;
        /* What they say is a fact before it has an effect. */
        audit_note(req,
                   word[0] == CONSENT_GIVEN[0] ? "user_consent_given" : "user_consent_withdrawn",
                   store_doc_id(req->user), audit_detail(req->pool, "channel", name));
        if (audit_commit(req, reply) != BIZ_OK)
            return reply->code;
        status = consent_say(req->env->store, req->pool, name, address, store_doc_id(req->user),
                             word, "portal", NULL);
        if (status != APR_SUCCESS)
            return biz_fail_store(req, reply, status);
    }
    return portal_notifications(req, reply);
}

/* ---- who holds a link ---- */

static biz_code consent_of_link(biz_req *req, biz_reply *reply, store_doc **doc)
{
    const char *id =
        consent_of_token(req->pool, req->env->keys->outbox, apr_table_get(req->params, "token"));
    apr_status_t status =
        id != NULL ? store_get(req->env->store, req->pool, COLL_CONSENTS, id, doc) : STORE_ENOENT;

    if (status == STORE_ENOENT)
        return biz_fail(reply, BIZ_INVALID_TOKEN, NULL,
                        "This link is not valid. Please open it again from the message.");
    return status == APR_SUCCESS ? BIZ_OK : biz_fail_store(req, reply, status);
}

/* The end of a number, an address with its name covered: enough for its owner. */
static const char *masked(apr_pool_t *pool, const char *address)
{
    size_t len = strlen(address);

    return strchr(address, '@') != NULL
               ? biz_mask_email(pool, address)
               : apr_pstrcat(pool, "***", address + (len > 3 ? len - 3 : len), NULL);
}

biz_code portal_unsubscribe_show(biz_req *req, biz_reply *reply)
{
    const char *word;
    store_doc *doc;

    if (consent_of_link(req, reply, &doc) != BIZ_OK)
        return reply->code;
    word = store_str(doc, CONSENT_STATE);
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "channel", store_str(doc, CONSENT_CHANNEL));
    biz_json_set_str(reply->data, "address", masked(req->pool, store_str(doc, CONSENT_ADDRESS)));
    biz_json_set_bool(reply->data, "subscribed", word == NULL || strcmp(word, CONSENT_GIVEN) == 0);
    return BIZ_OK;
}

biz_code portal_unsubscribe(biz_req *req, biz_reply *reply)
{
    store_doc *doc;
    apr_status_t status;

    if (consent_of_link(req, reply, &doc) != BIZ_OK)
        return reply->code;
    status = consent_say_by_id(req->env->store, req->pool, store_doc_id(doc), CONSENT_WITHDRAWN,
                               "unsubscribe_link");
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "unsubscribed");
    return BIZ_OK;
}
