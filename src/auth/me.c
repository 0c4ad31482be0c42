/* me.c: what a signed-in user sees and changes of their own: GET and PATCH /auth/me,
 * /auth/change-password, /auth/sessions; and the public keys at /auth/jwks.json. */
#include "auth.h"

#include <string.h>

#include "account.h"
#include "act.h"
#include "agent.h"
#include "audit/audit.h"
#include "core/str.h"
#include "factor.h"
#include "hash.h"
#include "keys.h"
#include "lockout.h"
#include "outbox/outbox.h"
#include "session.h"
#include "store/page.h"

biz_code auth_me(biz_req *req, biz_reply *reply)
{
    reply->data = account_json(req->pool, req->user);
    reply->version = store_doc_version(req->user);
    return BIZ_OK;
}

static void take_field(biz_req *req, const char *name, store_fid fid, store_change *changes,
                       size_t *n)
{
    const char *value = biz_field_str(req, name);

    if (value != NULL || biz_field_is_null(req, name))
        changes[(*n)++] = (store_change)STORE_SET_STR(fid, value);
}

biz_code auth_me_change(biz_req *req, biz_reply *reply)
{
    const char *if_match = req->header(req, "If-Match");
    store_cond conds[] = {{STORE_VERSION, STORE_EQ, STORE_V_INT(store_doc_version(req->user))}};
    const act_by by = act_by_caller(req, store_doc_id(req->user));
    store_change changes[4];
    store_doc *after = NULL;
    apr_status_t status;
    size_t n = 0;

    if (if_match != NULL && !biz_etag_matches(if_match, store_doc_version(req->user)))
        return biz_fail(reply, BIZ_STALE, NULL, NULL);
    if (account_phone_changes(req, req->user) && factor_demand_fresh(req, reply) != BIZ_OK)
        return reply->code;
    take_field(req, "name", USER_NAME, changes, &n);
    take_field(req, "phone", USER_PHONE, changes, &n);
    take_field(req, "locale", USER_LOCALE, changes, &n);
    take_field(req, "timezone", USER_TIMEZONE, changes, &n);
    if (n == 0)
        return auth_me(req, reply);
    status = act_update(&by, COLL_USERS, store_doc_id(req->user), conds, if_match != NULL ? 1 : 0,
                        changes, n, &(act){.event = "user_updated"}, 1, &after);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    (void)act_tell(&by, &after);
    req->user = after;
    return auth_me(req, reply);
}

/* The password changes under the condition that it is still the one that was checked, and that
 * nobody has ended all sessions since; the session that asks goes on in the new epoch, by the same
 * step, all others end. That it is listed there is a second one. */
static apr_status_t replace_password(biz_req *req, const char *hash)
{
    const act_by by = act_by_caller(req, store_doc_id(req->user));
    const act told = {.event = "authn_password_change", .notice = NOTICE_PASSWORD_CHANGED};
    store_cond conds[] = {
        STORE_EQ_STR(USER_PASSWORD_HASH, store_str(req->user, USER_PASSWORD_HASH)),
        STORE_EQ_INT(USER_SESSION_EPOCH, store_int(req->user, USER_SESSION_EPOCH))};
    store_change changes[] = {
        STORE_SET_STR(USER_PASSWORD_HASH, hash), STORE_SET_TIME(USER_PASSWORD_CHANGED_AT, req->now),
        STORE_SET_STR(USER_PASSWORD_BY, req->once),
        STORE_SET_STR(
            USER_KEPT_SESSION,
            session_kept(req->pool, req->session, store_int(req->user, USER_SESSION_EPOCH) + 1)),
        STORE_INC_INT(USER_SESSION_EPOCH, 1)};
    store_doc *after;
    apr_status_t status =
        act_update(&by, COLL_USERS, store_doc_id(req->user), conds, STORE_COUNT_OF(conds), changes,
                   STORE_COUNT_OF(changes), &told, 1, &after);

    if (status == APR_SUCCESS) {
        store_change stay[] = {STORE_SET_INT(SESSION_EPOCH, store_int(after, USER_SESSION_EPOCH))};
        store_cond alive[] = {STORE_IS_NULL(SESSION_REVOKED_AT)};

        /* Ended in between, or not taken: the password is changed all the same. */
        (void)store_update(req->env->store, req->pool, COLL_SESSIONS, store_doc_id(req->session),
                           alive, STORE_COUNT_OF(alive), stay, STORE_COUNT_OF(stay), NULL);
        (void)act_tell(&by, &after);
    }
    return status;
}

static biz_code password_changed(biz_req *req, biz_reply *reply)
{
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "password_changed");
    return BIZ_OK;
}

biz_code auth_change_password(biz_req *req, biz_reply *reply)
{
    const char *hash, *by = store_str(req->user, USER_PASSWORD_BY);
    apr_status_t status;

    /* This very request has done it, and its worker was killed. */
    if (req->once != NULL && by != NULL && biz_same_text(req->once, by))
        return password_changed(req, reply);
    if (lockout_prove_own(req, reply, "current_password") != BIZ_OK) {
        if (reply->code == BIZ_INVALID_CREDENTIALS) {
            audit_note(req, "authn_password_change_fail", store_doc_id(req->user), NULL);
            biz_fail(reply, reply->code, "current_password", "The current password is wrong.");
        }
        return reply->code;
    }
    if (auth_hash_new(req, reply, "new_password", biz_field_str(req, "new_password"),
                      store_str(req->user, USER_EMAIL), store_str(req->user, USER_NAME),
                      &hash) != BIZ_OK)
        return reply->code;
    status = replace_password(req, hash);
    if (status == STORE_ECOND)
        return biz_fail(reply, BIZ_CONFLICT, NULL, NULL);
    return status == APR_SUCCESS ? password_changed(req, reply)
                                 : biz_fail_store(req, reply, status);
}

static biz_json *session_json(biz_req *req, const store_doc *session)
{
    biz_json *json = biz_json_object(req->pool);

    biz_json_set_str(json, "id", store_doc_id(session));
    biz_json_set_str(json, "device",
                     agent_words(req->pool, store_str(session, SESSION_USER_AGENT)));
    biz_json_set_str(json, "address", store_str(session, SESSION_IP));
    biz_json_set_time(json, "created_at", store_time(session, STORE_CREATED_AT));
    biz_json_set_time(json, "last_seen_at", store_time(session, SESSION_LAST_SEEN_AT));
    biz_json_set_time(json, "expires_at", store_time(session, SESSION_IDLE_EXPIRES_AT));
    biz_json_set_bool(json, "current", !strcmp(store_doc_id(session), store_doc_id(req->session)));
    return json;
}

biz_code auth_sessions(biz_req *req, biz_reply *reply)
{
    store_cond conds[] = {STORE_EQ_STR(SESSION_USER_ID, store_doc_id(req->user)),
                          STORE_EQ_INT(SESSION_EPOCH, store_int(req->user, USER_SESSION_EPOCH)),
                          STORE_IS_NULL(SESSION_REVOKED_AT),
                          STORE_GT_TIME(SESSION_IDLE_EXPIRES_AT, req->now)};
    store_query query = {.coll = COLL_SESSIONS,
                         .index = "sessions_user",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .descending = 1};

    return store_page(req, reply, &query, session_json);
}

biz_code auth_session_end(biz_req *req, biz_reply *reply)
{
    if (session_end(req, reply, store_doc_id(req->user), apr_table_get(req->params, "id")) !=
        BIZ_OK)
        return reply->code;
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "ended");
    return BIZ_OK;
}

/* A JWK set (RFC 7517 section 5) for those who verify our tokens by a library, and the envelope of
 * the contract around it: both find what they look for. A key whose last token has ended is not in
 * it any more, though the server has not been restarted since. */
biz_code auth_jwks(biz_req *req, biz_reply *reply)
{
    const biz_keys *keys = req->env->keys;
    biz_json *envelope = biz_json_object(req->pool), *set = biz_json_object(req->pool);
    biz_json *list = biz_json_array(req->pool);
    int i;

    for (i = 0; keys->jwks[i] != NULL; i++)
        if (keys_is_accepted(keys, i, req->now))
            biz_json_add(list, biz_jwk_public(req->pool, keys->jwks[i]));
    biz_json_set(set, "keys", list);
    biz_json_set_bool(envelope, "success", 1);
    biz_json_set(envelope, "data", set);
    biz_json_set(envelope, "keys", list);
    reply->raw = biz_json_text(req->pool, envelope, &reply->raw_len);
    reply->raw_type = "application/json";
    return BIZ_OK;
}
