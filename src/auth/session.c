/* session.c: see session.h. The rules of refresh tokens are here: one current token a session; who
 * presents the one before within 30 s lost a race and gets the same successor; any other token of
 * ours was used twice, so that it is in two hands, and the session ends (RFC 9700 section 4.14.2).
 */
#include "session.h"

#include <string.h>
#include <apr_strings.h>

#include "account.h"
#include "act.h"
#include "agent.h"
#include "audit/audit.h"
#include "auth.h"
#include "cookie.h"
#include "core/crypto.h"
#include "device.h"
#include "outbox/outbox.h"
#include "token.h"

#define DAYS(n) ((apr_time_t)(n)*24 * 3600 * APR_USEC_PER_SEC)
enum { RENEW_TRIES = 4, TOUCH_SECONDS = 5 * 60, TOUCH_PAUSE_SECONDS = 60 };

const char *session_kept(apr_pool_t *pool, const store_doc *session, int64_t epoch)
{
    return apr_psprintf(pool, "%s@%" APR_INT64_T_FMT, store_doc_id(session), (apr_int64_t)epoch);
}

/* Of the user's present epoch, or the one that was kept when it began. */
static int is_of_epoch(const store_doc *session, const store_doc *user)
{
    const char *id = store_doc_id(session), *kept = store_str(user, USER_KEPT_SESSION);
    int64_t epoch = store_int(user, USER_SESSION_EPOCH);
    size_t len = strlen(id);

    return store_int(session, SESSION_EPOCH) == epoch ||
           (kept != NULL && !strncmp(kept, id, len) && kept[len] == '@' &&
            apr_atoi64(kept + len + 1) == epoch);
}

biz_code session_must_live(const biz_req *req, biz_reply *reply, const store_doc *session,
                           const store_doc *user)
{
    if (!store_is_null(session, SESSION_REVOKED_AT) || !is_of_epoch(session, user) ||
        store_bool(user, USER_DISABLED))
        return biz_fail(reply, BIZ_TOKEN_REVOKED, NULL, NULL);
    if (store_time(session, SESSION_EXPIRES_AT) <= req->now ||
        store_time(session, SESSION_IDLE_EXPIRES_AT) <= req->now)
        return biz_fail(reply, BIZ_TOKEN_EXPIRED, NULL, NULL);
    return BIZ_OK;
}

static biz_code give_tokens(biz_req *req, biz_reply *reply, const store_doc *user,
                            const char *session_id, const char *refresh)
{
    token_claims claims = {.user_id = store_doc_id(user),
                           .session_id = session_id,
                           .expires_at = req->now + apr_time_from_sec(AUTH_ACCESS_SECONDS)};
    const char *access;
    apr_status_t status = token_access_make(
        req->pool, req->env->keys, req->env->settings->public_url, &claims, req->now, &access);

    if (status != APR_SUCCESS) {
        biz_log(
            BIZ_LOG_ERR, status,
            BZ(0503) "an access token could not be signed; check the keys with bizapictl check");
        return biz_fail(reply, BIZ_INTERNAL, NULL, NULL);
    }
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "access_token", access);
    biz_json_set_str(reply->data, "token_type", "Bearer");
    biz_json_set_int(reply->data, "expires_in", AUTH_ACCESS_SECONDS);
    biz_json_set_str(reply->data, "refresh_token", refresh);
    biz_json_set(reply->data, "user", account_json(req->pool, user));
    return BIZ_OK;
}

/* What the owner is told of by mail; the session carries it. *n mails. */
static apr_status_t owner_is_told(const biz_req *req, const store_doc *user, int64_t failures,
                                  act acts[2], size_t *n)
{
    const char *device = agent_words(req->pool, req->user_agent);
    int is_new;
    apr_status_t status = device_is_new(req, user, &is_new);

    *n = 0;
    if (is_new)
        acts[(*n)++] = (act){.notice = NOTICE_NEW_DEVICE, .about = device};
    if (failures >= SESSION_TELL_FAILURES)
        acts[(*n)++] = (act){.notice = NOTICE_AFTER_FAILURES, .about = device};
    return status;
}

biz_code session_start(biz_req *req, biz_reply *reply, const store_doc *user, int64_t failures)
{
    store_doc *session = store_doc_new(req->pool, COLL_SESSIONS);
    const char *refresh = token_refresh_first(req->pool, req->env->keys, store_doc_id(session));
    const act_by by = act_by_caller(req, store_doc_id(user));
    act mails[2];
    size_t n;
    apr_status_t status;

    if (cookie_may_give(req, reply) != BIZ_OK)
        return reply->code;
    status = owner_is_told(req, user, failures, mails, &n);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    /* That somebody has shown who they are is a fact by now; the session must not be without it. */
    audit_note(req, "authn_login_success", by.user_id,
               audit_detail(req->pool, "session_id", store_doc_id(session)));
    if (audit_commit(req, reply) != BIZ_OK)
        return reply->code;
    store_set_str(session, SESSION_USER_ID, store_doc_id(user));
    store_set_int(session, SESSION_EPOCH, store_int(user, USER_SESSION_EPOCH));
    store_set_int(session, SESSION_GENERATION, 1);
    store_set_str(session, SESSION_REFRESH_HASH, biz_sha256_hex(req->pool, refresh));
    store_set_time(session, SESSION_IDLE_EXPIRES_AT, req->now + DAYS(AUTH_REFRESH_IDLE_DAYS));
    store_set_time(session, SESSION_EXPIRES_AT, req->now + DAYS(AUTH_REFRESH_MAX_DAYS));
    store_set_time(session, SESSION_LAST_SEEN_AT, req->now);
    store_set_str(session, SESSION_IP, req->address);
    store_set_str(session, SESSION_USER_AGENT, req->user_agent);
    store_set_str(session, SESSION_LOOK, device_look(req));
    /* Whoever has a second factor gets here by it alone. */
    store_set_bool(session, SESSION_MFA, store_bool(user, USER_MFA_ENABLED));
    if (n > 0)
        act_carry(&by, session, mails, n);
    status = store_insert(req->env->store, req->pool, session, NULL);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    (void)act_tell(&by, &session);
    if (give_tokens(req, reply, user, store_doc_id(session), refresh) != BIZ_OK)
        return reply->code;
    biz_json_set_str(reply->data, "device_token", device_token_for(req, store_doc_id(user)));
    cookie_give(req, reply, store_doc_id(session));
    return BIZ_OK;
}

static apr_status_t end_in_store(biz_req *req, const char *session_id, const char *user_id,
                                 act told)
{
    const act_by by = act_by_caller(req, user_id);
    store_cond conds[] = {STORE_EQ_STR(SESSION_USER_ID, user_id),
                          STORE_IS_NULL(SESSION_REVOKED_AT)};
    store_change changes[] = {STORE_SET_TIME(SESSION_REVOKED_AT, req->now)};
    store_doc *session;
    apr_status_t status;

    told.details = audit_detail(req->pool, "session_id", session_id);
    status = act_update(&by, COLL_SESSIONS, session_id, conds, STORE_COUNT_OF(conds), changes,
                        STORE_COUNT_OF(changes), &told, 1, &session);
    if (status == APR_SUCCESS)
        (void)act_tell(&by, &session);
    return status;
}

biz_code session_end(biz_req *req, biz_reply *reply, const char *user_id, const char *session_id)
{
    apr_status_t status = end_in_store(req, session_id, user_id, (act){.event = "session_ended"});

    if (status == STORE_ENOENT || status == STORE_ECOND)
        return biz_fail(reply, BIZ_NOT_FOUND, NULL, NULL);
    return status == APR_SUCCESS ? BIZ_OK : biz_fail_store(req, reply, status);
}

void session_touch(biz_req *req)
{
    biz_shared *shared = req->env->shared;
    const store_doc *session = req->session;
    apr_time_t seen = store_time(session, SESSION_LAST_SEEN_AT);
    apr_time_t idle = req->now + DAYS(AUTH_REFRESH_IDLE_DAYS);
    apr_time_t end = store_time(session, SESSION_EXPIRES_AT);
    store_cond conds[] = {STORE_LE_TIME(SESSION_LAST_SEEN_AT, seen),
                          STORE_IS_NULL(SESSION_REVOKED_AT)};
    store_change changes[] = {STORE_SET_TIME(SESSION_LAST_SEEN_AT, req->now),
                              STORE_SET_TIME(SESSION_IDLE_EXPIRES_AT, idle < end ? idle : end),
                              STORE_SET_STR(SESSION_IP, req->address)};
    apr_time_t pause = atomic_load(&shared->touch_again_at) - req->now;
    apr_status_t status;

    /* A clock that was set back is no reason to write each time, nor never. */
    if (req->now - seen < apr_time_from_sec(TOUCH_SECONDS) ||
        (pause > 0 && pause <= apr_time_from_sec(TOUCH_PAUSE_SECONDS)))
        return;
    status = store_update(req->env->store, req->pool, COLL_SESSIONS, store_doc_id(session), conds,
                          STORE_COUNT_OF(conds), changes, STORE_COUNT_OF(changes), NULL);
    if (status != APR_SUCCESS && status != STORE_ECOND && status != STORE_ENOENT)
        atomic_store(&shared->touch_again_at, req->now + apr_time_from_sec(TOUCH_PAUSE_SECONDS));
}

/* Somebody holds a copy of a token of this session: it ends for everyone, its user is told and the
 * audit has it, each once. */
static biz_code reused(biz_req *req, biz_reply *reply, const store_doc *session)
{
    const char *id = store_doc_id(session), *user_id = store_str(session, SESSION_USER_ID);
    apr_status_t status = end_in_store(
        req, id, user_id, (act){.event = "authn_token_reuse", .notice = NOTICE_TOKEN_REUSED});

    if (status == APR_SUCCESS)
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0504) "a refresh token was used a second time from %s: session %s of %s has "
                         "been ended and its user is told by mail",
                req->address, id, user_id);
    if (status != APR_SUCCESS && status != STORE_ECOND && status != STORE_ENOENT)
        return biz_fail_store(req, reply, status);
    return biz_fail(reply, BIZ_TOKEN_REVOKED, NULL, NULL);
}

static apr_status_t rotate(biz_req *req, const store_doc *session, const char *hash,
                           const char *next)
{
    apr_time_t idle = req->now + DAYS(AUTH_REFRESH_IDLE_DAYS);
    apr_time_t end = store_time(session, SESSION_EXPIRES_AT);
    store_cond conds[] = {STORE_EQ_STR(SESSION_REFRESH_HASH, hash),
                          STORE_IS_NULL(SESSION_REVOKED_AT)};
    store_change changes[] = {STORE_SET_STR(SESSION_REFRESH_PREV_HASH, hash),
                              STORE_SET_STR(SESSION_REFRESH_HASH, biz_sha256_hex(req->pool, next)),
                              STORE_SET_TIME(SESSION_ROTATED_AT, req->now),
                              STORE_SET_TIME(SESSION_LAST_SEEN_AT, req->now),
                              STORE_SET_TIME(SESSION_IDLE_EXPIRES_AT, idle < end ? idle : end),
                              STORE_INC_INT(SESSION_GENERATION, 1)};

    return store_update(req->env->store, req->pool, COLL_SESSIONS, store_doc_id(session), conds,
                        STORE_COUNT_OF(conds), changes, STORE_COUNT_OF(changes), NULL);
}

apr_status_t session_load(const biz_req *req, const char *session_id, store_doc **session,
                          store_doc **user)
{
    return store_get_two(req->env->store, req->pool, COLL_SESSIONS, session_id, SESSION_USER_ID,
                         COLL_USERS, session, user);
}

/* Session and user of a refresh token, alive. */
static biz_code load(biz_req *req, biz_reply *reply, const char *session_id, store_doc **session,
                     store_doc **user)
{
    apr_status_t status = session_load(req, session_id, session, user);

    if (status == STORE_ENOENT)
        return biz_fail(reply, BIZ_TOKEN_REVOKED, NULL, NULL);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    return session_must_live(req, reply, *session, *user);
}

/* Just now by this clock, or by one that goes a little ahead: one that was set back for long does
 * not open the grace again. */
static int in_grace(const biz_req *req, const store_doc *session)
{
    apr_time_t since = req->now - store_time(session, SESSION_ROTATED_AT);
    apr_time_t grace = apr_time_from_sec(AUTH_REFRESH_GRACE_SECONDS);

    return since <= grace && since >= -grace;
}

biz_code session_renew(biz_req *req, biz_reply *reply, const char *refresh_token)
{
    const char *session_id, *hash, *next, *previous;
    store_doc *session, *user;
    apr_status_t status;
    int tries;

    if (token_refresh_read(req->pool, req->env->keys, refresh_token, &session_id) != APR_SUCCESS)
        return biz_fail(reply, BIZ_UNAUTHENTICATED, NULL, NULL);
    hash = biz_sha256_hex(req->pool, refresh_token);
    next = token_refresh_next(req->pool, req->env->keys, refresh_token);
    /* A lost race is seen as a condition that does not hold: read again, and find the token to be
     * the one before. */
    for (tries = 0; tries < RENEW_TRIES; tries++) {
        if (load(req, reply, session_id, &session, &user) != BIZ_OK)
            return reply->code;
        if (biz_same_text(hash, store_str(session, SESSION_REFRESH_HASH))) {
            status = rotate(req, session, hash, next);
            if (status == STORE_ECOND)
                continue;
            if (status != APR_SUCCESS)
                return biz_fail_store(req, reply, status);
            return give_tokens(req, reply, user, session_id, next);
        }
        previous = store_str(session, SESSION_REFRESH_PREV_HASH);
        if (previous != NULL && biz_same_text(hash, previous) && in_grace(req, session))
            return give_tokens(req, reply, user, session_id, next);
        return reused(req, reply, session);
    }
    return biz_fail(reply, BIZ_BUSY, NULL, NULL);
}
