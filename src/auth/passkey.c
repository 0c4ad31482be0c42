/* passkey.c: passkeys (WebAuthn level 2): made by who is signed in, used to sign in, listed and
 * removed: /auth/passkeys/... What a browser's answer proves is core/webauthn.c's; that it answers
 * a challenge of ours, in time and once, is seen to here, by tickets. */
#include "auth.h"

#include <string.h>
#include <apr_strings.h>

#include "audit/audit.h"
#include "core/str.h"
#include "core/webauthn.h"
#include "factor.h"
#include "lockout.h"
#include "mfa.h"
#include "outbox/outbox.h"
#include "session.h"
#include "store/page.h"

enum { PASSKEYS_MAX = 20 };

/* ---- options ---- */

/* The pages that may ask: those of the frontend and of the listed origins, where they are at the
 * passkeys' domain or below. */
static webauthn_party party_of(const biz_req *req)
{
    const biz_settings *settings = req->env->settings;
    apr_array_header_t *origins = apr_array_copy(req->pool, settings->origins);
    const char *host = strstr(settings->frontend_url, "://") + 3;
    webauthn_party party = {.id = settings->passkey_domain};

    APR_ARRAY_PUSH(origins, const char *) =
        apr_pstrndup(req->pool, settings->frontend_url,
                     (size_t)(host - settings->frontend_url) + strcspn(host, "/"));
    party.origins = webauthn_origins(req->pool, party.id, origins);
    return party;
}

static biz_json *descriptor(apr_pool_t *pool, const store_doc *passkey)
{
    const char *transports = store_str(passkey, PASSKEY_TRANSPORTS);
    biz_json *json = biz_json_object(pool), *list;
    size_t position;

    biz_json_set_str(json, "type", "public-key");
    biz_json_set_str(json, "id", store_str(passkey, PASSKEY_CREDENTIAL_ID));
    if (transports != NULL && biz_json_parse(pool, transports, strlen(transports), BIZ_JSON_DEPTH,
                                             &list, &position) == APR_SUCCESS)
        biz_json_set(json, "transports", list);
    return json;
}

static biz_json *descriptors(apr_pool_t *pool, const apr_array_header_t *passkeys)
{
    biz_json *list = biz_json_array(pool);
    int i;

    for (i = 0; passkeys != NULL && i < passkeys->nelts; i++)
        biz_json_add(list, descriptor(pool, APR_ARRAY_IDX(passkeys, i, store_doc *)));
    return list;
}

/* PublicKeyCredentialCreationOptionsJSON. */
static biz_json *creation_options(biz_req *req, const apr_array_header_t *passkeys)
{
    biz_json *options = biz_json_object(req->pool), *rp = biz_json_object(req->pool);
    biz_json *user = biz_json_object(req->pool), *params = biz_json_array(req->pool);
    biz_json *choice = biz_json_object(req->pool), *extensions = biz_json_object(req->pool);
    const char *id = store_doc_id(req->user);
    int i;

    biz_json_set_str(rp, "id", req->env->settings->passkey_domain);
    biz_json_set_str(rp, "name",
                     biz_brand(req->env->settings, "name", req->env->settings->server_name));
    biz_json_set_str(user, "id", biz_b64url(req->pool, id, strlen(id)));
    biz_json_set_str(user, "name", store_str(req->user, USER_EMAIL));
    biz_json_set_str(user, "displayName", store_str(req->user, USER_NAME));
    for (i = 0; webauthn_algorithms[i] != 0; i++) {
        biz_json *param = biz_json_object(req->pool);

        biz_json_set_str(param, "type", "public-key");
        biz_json_set_int(param, "alg", webauthn_algorithms[i]);
        biz_json_add(params, param);
    }
    biz_json_set_str(choice, "residentKey", "preferred");
    biz_json_set_bool(choice, "requireResidentKey", 0);
    biz_json_set_str(choice, "userVerification", "preferred");
    biz_json_set_bool(extensions, "credProps", 1);
    biz_json_set_str(options, "challenge", ticket_make(req, TICKET_PASSKEY_ADD, req->user, 0));
    biz_json_set(options, "rp", rp);
    biz_json_set(options, "user", user);
    biz_json_set(options, "pubKeyCredParams", params);
    biz_json_set_int(options, "timeout", INT64_C(1000) * TICKET_SECONDS);
    biz_json_set(options, "excludeCredentials", descriptors(req->pool, passkeys));
    biz_json_set(options, "authenticatorSelection", choice);
    biz_json_set_str(options, "attestation", "none");
    biz_json_set(options, "extensions", extensions);
    return options;
}

/* Those that there are; INVALID_STATE where there may be no more. */
static biz_code has_room(const biz_req *req, biz_reply *reply, apr_array_header_t **passkeys)
{
    apr_status_t status = factor_passkeys(req, store_doc_id(req->user), passkeys);

    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    return (*passkeys)->nelts < PASSKEYS_MAX
               ? BIZ_OK
               : biz_fail(reply, BIZ_INVALID_STATE, NULL,
                          "There are 20 passkeys already. Remove one first.");
}

biz_code auth_passkey_register_options(biz_req *req, biz_reply *reply)
{
    apr_array_header_t *passkeys;

    if (factor_demand_fresh(req, reply) != BIZ_OK || has_room(req, reply, &passkeys) != BIZ_OK)
        return reply->code;
    reply->data = creation_options(req, passkeys);
    return BIZ_OK;
}

/* PublicKeyCredentialRequestOptionsJSON. Without a user any passkey of this site may answer, and it
 * stands for the password, too: it must know who its owner is. */
static biz_json *request_options(biz_req *req, const store_doc *user,
                                 const apr_array_header_t *passkeys)
{
    biz_json *options = biz_json_object(req->pool);

    biz_json_set_str(options, "challenge", ticket_make(req, TICKET_PASSKEY_ASK, user, 0));
    biz_json_set_int(options, "timeout", INT64_C(1000) * TICKET_SECONDS);
    biz_json_set_str(options, "rpId", req->env->settings->passkey_domain);
    biz_json_set(options, "allowCredentials", descriptors(req->pool, passkeys));
    biz_json_set_str(options, "userVerification", user != NULL ? "preferred" : "required");
    return options;
}

biz_code auth_passkey_login_options(biz_req *req, biz_reply *reply)
{
    apr_array_header_t *passkeys = NULL;
    store_doc *user = NULL;
    apr_status_t status;
    ticket t;

    if (biz_field_str(req, "mfa_token") != NULL) {
        if (mfa_ticket(req, reply, &t, &user) != BIZ_OK)
            return reply->code;
        status = factor_passkeys(req, store_doc_id(user), &passkeys);
        if (status != APR_SUCCESS)
            return biz_fail_store(req, reply, status);
    }
    reply->data = request_options(req, user, passkeys);
    return BIZ_OK;
}

/* ---- a new one ---- */

static biz_json *passkey_json(biz_req *req, const store_doc *passkey)
{
    biz_json *json = biz_json_object(req->pool);

    biz_json_set_str(json, "id", store_doc_id(passkey));
    biz_json_set_str(json, "name", store_str(passkey, PASSKEY_NAME));
    biz_json_set_time(json, "created_at", store_time(passkey, STORE_CREATED_AT));
    biz_json_set_time(json, "last_used_at", store_time(passkey, PASSKEY_LAST_USED_AT));
    return json;
}

/* Those of WebAuthn that the browser named, as JSON text; NULL for none. */
static const char *transports_of(apr_pool_t *pool, const biz_json *credential)
{
    static const char *const known[] = {"usb", "nfc", "ble", "smart-card", "hybrid", "internal"};
    const biz_json *given = biz_json_get(biz_json_get(credential, "response"), "transports");
    biz_json *kept = biz_json_array(pool);
    size_t i, j;

    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        for (j = 0; biz_json_kind(given) == BIZ_JSON_ARRAY && j < biz_json_size(given); j++) {
            const char *name = biz_json_str_value(biz_json_at(given, j));

            if (name != NULL && !strcmp(name, known[i])) {
                biz_json_add_str(kept, name);
                break;
            }
        }
    return biz_json_size(kept) > 0 ? biz_json_text(pool, kept, NULL) : NULL;
}

static biz_code not_made(biz_reply *reply, const biz_req *req, const char *why)
{
    return biz_fail(reply, BIZ_VALIDATION_FAILED, "credential",
                    apr_psprintf(req->pool, "The passkey was not accepted: %s.", why));
}

/* The answer's key, its challenge used up. */
static biz_code read_new(biz_req *req, biz_reply *reply, const biz_json *credential,
                         webauthn_key *key)
{
    webauthn_party party = party_of(req);
    webauthn_answer answer;
    const char *why;
    apr_status_t status;
    ticket t;

    if (webauthn_read(req->pool, &party, WEBAUTHN_CREATE, credential, &answer, &why) != APR_SUCCESS)
        return not_made(reply, req, why);
    if (ticket_read(req, TICKET_PASSKEY_ADD, answer.challenge, &t) != APR_SUCCESS ||
        strcmp(t.user_id, store_doc_id(req->user)) != 0 ||
        t.epoch != store_int(req->user, USER_SESSION_EPOCH))
        return not_made(reply, req, "it took too long, or was begun by somebody else");
    if (webauthn_register(req->pool, &party, &answer, key, &why) != APR_SUCCESS)
        return not_made(reply, req, why);
    status = ticket_use(req, &t);
    if (status == STORE_EEXIST)
        return not_made(reply, req, "it was sent before");
    return status == APR_SUCCESS ? BIZ_OK : biz_fail_store(req, reply, status);
}

biz_code auth_passkey_register_verify(biz_req *req, biz_reply *reply)
{
    const biz_json *credential = biz_json_get(req->json, "credential");
    const char *name = biz_field_str(req, "name");
    store_doc *passkey = store_doc_new(req->pool, COLL_PASSKEYS);
    const act_by by = act_by_caller(req, store_doc_id(req->user));
    const act told = {.event = "authn_" NOTICE_PASSKEY_ADDED, .notice = NOTICE_PASSKEY_ADDED};
    apr_array_header_t *passkeys;
    biz_json *codes = NULL;
    apr_status_t status;
    webauthn_key key;

    if (has_room(req, reply, &passkeys) != BIZ_OK ||
        read_new(req, reply, credential, &key) != BIZ_OK)
        return reply->code;
    store_set_str(passkey, PASSKEY_USER_ID, store_doc_id(req->user));
    store_set_str(passkey, PASSKEY_CREDENTIAL_ID, key.id);
    store_set_str(passkey, PASSKEY_PUBLIC_KEY, key.public_key);
    store_set_int(passkey, PASSKEY_ALGORITHM, key.algorithm);
    store_set_int(passkey, PASSKEY_SIGN_COUNT, key.sign_count);
    store_set_str(passkey, PASSKEY_TRANSPORTS, transports_of(req->pool, credential));
    store_set_str(passkey, PASSKEY_NAME, name != NULL ? name : "Passkey");
    act_carry(&by, passkey, &told, 1);
    status = store_insert(req->env->store, req->pool, passkey, NULL);
    if (status == APR_SUCCESS)
        status = factor_settle(req->env->store, req->pool, store_doc_id(req->user), &req->user);
    /* The first factor brings the way back in for the day it is lost. */
    if (status == APR_SUCCESS && store_is_null(req->user, USER_RECOVERY_SET))
        status = recovery_renew(&by, req, &req->user, 1, &codes);
    if (status != APR_SUCCESS && status != STORE_ECOND)
        return biz_fail_store(req, reply, status);
    (void)act_tell(&by, &passkey);
    reply->status = 201;
    reply->data = biz_json_object(req->pool);
    biz_json_set(reply->data, "passkey", passkey_json(req, passkey));
    if (status == APR_SUCCESS && codes != NULL)
        biz_json_set(reply->data, "recovery_codes", codes);
    return BIZ_OK;
}

/* ---- use ---- */

/* `user_id`: whose passkey or ticket it is. NULL: nobody's that is known, and then it leaves no row
 * and no line, for anybody may send as much nonsense as they like. */
static biz_code refused(biz_req *req, biz_reply *reply, const char *user_id, const char *why)
{
    if (user_id != NULL) {
        audit_note(req, "authn_factor_fail", user_id, audit_detail(req->pool, "passkey", why));
        lockout_tell(req, user_id);
    }
    return biz_fail(reply, BIZ_INVALID_CREDENTIALS, "credential",
                    apr_psprintf(req->pool, "The passkey was not accepted: %s.", why));
}

static apr_status_t find_passkey(biz_req *req, const char *credential_id, store_doc **passkey)
{
    store_cond conds[] = {STORE_EQ_STR(PASSKEY_CREDENTIAL_ID, credential_id)};
    store_query query = {.coll = COLL_PASSKEYS,
                         .index = "passkey_credential",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds)};

    return store_find_one(req->env->store, req->pool, &query, passkey);
}

/* Section 7.2, step 21: a counter that does not grow tells of a copy, unless there is none; that is
 * STORE_ECOND. STORE_ENOENT also for one that was removed since and has not told so yet. */
static apr_status_t count_use(biz_req *req, store_doc *passkey, int64_t count)
{
    const act_by by = act_by_caller(req, store_str(passkey, PASSKEY_USER_ID));
    const act told = {.event = "authn_factor_success",
                      .details = audit_detail(req->pool, "by", "passkey")};
    int counts = count != 0 || store_int(passkey, PASSKEY_SIGN_COUNT) != 0;
    store_cond conds[] = {{PASSKEY_SIGN_COUNT, counts ? STORE_LT : STORE_EQ, STORE_V_INT(count)},
                          STORE_EQ_STR(PASSKEY_USER_ID, by.user_id)};
    store_change changes[] = {STORE_SET_INT(PASSKEY_SIGN_COUNT, count),
                              STORE_SET_TIME(PASSKEY_LAST_USED_AT, req->now)};
    store_doc *now;
    apr_status_t status =
        act_update(&by, COLL_PASSKEYS, store_doc_id(passkey), conds, STORE_COUNT_OF(conds), changes,
                   STORE_COUNT_OF(changes), &told, 1, &passkey);

    if (status == APR_SUCCESS)
        (void)act_tell(&by, &passkey);
    if (status != STORE_ECOND)
        return status;
    status = store_get(req->env->store, req->pool, COLL_PASSKEYS, store_doc_id(passkey), &now);
    return status == APR_SUCCESS && !store_is_null(now, PASSKEY_USER_ID) ? STORE_ECOND
           : status == APR_SUCCESS                                       ? STORE_ENOENT
                                                                         : status;
}

/* Uses up the challenge and counts. */
static biz_code settle_use(biz_req *req, biz_reply *reply, const ticket *t, store_doc *passkey,
                           int64_t count)
{
    const char *owner = store_str(passkey, PASSKEY_USER_ID);
    apr_status_t status = ticket_use(req, t);

    if (status == STORE_EEXIST)
        return refused(req, reply, owner, "it was sent before");
    if (status == APR_SUCCESS)
        status = count_use(req, passkey, count);
    if (status == STORE_ECOND) {
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0533) "passkey %s of %s was used from %s with a counter that did not grow: it "
                         "may have been copied; refused. Its user should remove it",
                store_doc_id(passkey), owner, req->address);
        return refused(req, reply, owner, "its counter did not grow");
    }
    if (status == STORE_ENOENT)
        return refused(req, reply, owner, "it is not known here");
    return status == APR_SUCCESS ? BIZ_OK : biz_fail_store(req, reply, status);
}

/* The passkey that the field `credential` proves to be here. `user_id`: it must be theirs; NULL:
 * anybody's, and then its owner must have been verified by it. */
static biz_code prove(biz_req *req, biz_reply *reply, const char *user_id, store_doc **passkey)
{
    webauthn_party party = party_of(req);
    webauthn_answer answer;
    webauthn_key key = {.id = NULL};
    int64_t count;
    int verified;
    const char *why, *owner;
    apr_status_t status;
    ticket t;

    if (webauthn_read(req->pool, &party, WEBAUTHN_GET, biz_json_get(req->json, "credential"),
                      &answer, &why) != APR_SUCCESS)
        return refused(req, reply, user_id, why);
    if (ticket_read(req, TICKET_PASSKEY_ASK, answer.challenge, &t) != APR_SUCCESS ||
        (t.user_id[0] != '\0' && (user_id == NULL || strcmp(t.user_id, user_id) != 0)))
        return refused(req, reply, user_id, "it took too long, or answers another challenge");
    status = find_passkey(req, answer.credential_id, passkey);
    if (status != APR_SUCCESS)
        return status == STORE_ENOENT ? refused(req, reply, user_id, "it is not known here")
                                      : biz_fail_store(req, reply, status);
    owner = store_str(*passkey, PASSKEY_USER_ID);
    if ((user_id != NULL && strcmp(owner, user_id) != 0) ||
        (answer.user_handle != NULL && strcmp(owner, answer.user_handle) != 0))
        return refused(req, reply, user_id, "it is somebody else's");
    key.id = store_str(*passkey, PASSKEY_CREDENTIAL_ID);
    key.public_key = store_str(*passkey, PASSKEY_PUBLIC_KEY);
    key.algorithm = (int)store_int(*passkey, PASSKEY_ALGORITHM);
    if (webauthn_verify(req->pool, &party, &answer, &key, &count, &verified, &why) != APR_SUCCESS)
        return refused(req, reply, owner, why);
    if (user_id == NULL && !verified)
        return refused(req, reply, owner, "it did not check who its owner is");
    return settle_use(req, reply, &t, *passkey, count);
}

biz_code passkey_prove(biz_req *req, biz_reply *reply, const char *user_id)
{
    store_doc *passkey;

    return prove(req, reply, user_id, &passkey);
}

biz_code auth_passkey_login_verify(biz_req *req, biz_reply *reply)
{
    store *s = req->env->store;
    store_doc *passkey, *user;
    apr_status_t status;
    ticket t;

    if (biz_field_str(req, "mfa_token") != NULL) {
        if (mfa_ticket(req, reply, &t, &user) != BIZ_OK ||
            prove(req, reply, store_doc_id(user), &passkey) != BIZ_OK)
            return reply->code;
        return mfa_finish(req, reply, &t, user, 0);
    }
    if (prove(req, reply, NULL, &passkey) != BIZ_OK)
        return reply->code;
    status = store_get(s, req->pool, COLL_USERS, store_str(passkey, PASSKEY_USER_ID), &user);
    if (status == STORE_ENOENT || (status == APR_SUCCESS && store_bool(user, USER_DISABLED)))
        return refused(req, reply, store_str(passkey, PASSKEY_USER_ID), "it is not known here");
    /* The server was killed between the passkey and the word that there is one. */
    if (status == APR_SUCCESS && !store_bool(user, USER_MFA_ENABLED))
        status = factor_settle(s, req->pool, store_doc_id(user), &user);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    if (req->env->settings->require_verified && !store_bool(user, USER_EMAIL_VERIFIED))
        return biz_fail(reply, BIZ_EMAIL_NOT_VERIFIED, NULL, NULL);
    return session_start(req, reply, user, 0);
}

/* ---- those that are there ---- */

biz_code auth_passkeys(biz_req *req, biz_reply *reply)
{
    store_cond conds[] = {STORE_EQ_STR(PASSKEY_USER_ID, store_doc_id(req->user))};
    store_query query = {.coll = COLL_PASSKEYS,
                         .index = "passkey_user",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds)};

    return store_page(req, reply, &query, passkey_json);
}

biz_code auth_passkey_remove(biz_req *req, biz_reply *reply)
{
    const act_by by = act_by_caller(req, store_doc_id(req->user));
    const act told = {.event = "authn_" NOTICE_PASSKEY_REMOVED, .notice = NOTICE_PASSKEY_REMOVED};
    store_cond conds[] = {STORE_EQ_STR(PASSKEY_USER_ID, by.user_id)};
    store_doc *passkey;
    apr_status_t status;

    if (factor_demand_fresh(req, reply) != BIZ_OK)
        return reply->code;
    status = act_disown(&by, COLL_PASSKEYS, apr_table_get(req->params, "id"), conds,
                        STORE_COUNT_OF(conds), &told, &passkey);
    if (status == STORE_ECOND || status == STORE_ENOENT)
        return biz_fail(reply, BIZ_NOT_FOUND, NULL, NULL);
    if (status == APR_SUCCESS)
        status = factor_settle(req->env->store, req->pool, store_doc_id(req->user), &req->user);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    recovery_tidy(req, req->user);
    (void)act_tell(&by, &passkey);
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "removed");
    return BIZ_OK;
}
