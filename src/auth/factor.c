/* factor.c: see factor.h. What must happen once is a conditional change: a code of the app moves
 * the user's last step, a recovery code gets its time of use. Wrong codes count in the user's
 * document; while ten are there, nothing is accepted, and the store puts all tries in one order, so
 * that many at once get no further than ten in a row. */
#include "factor.h"

#include <string.h>
#include <apr_strings.h>

#include "audit/audit.h"
#include "core/crypto.h"
#include "core/random.h"
#include "core/str.h"
#include "core/totp.h"
#include "keys.h"
#include "lockout.h"
#include "outbox/outbox.h"

enum { SETTLE_TRIES = 8, PROVE_TRIES = 4, PASSKEYS_LOOK = 100, CODES_LOOK = 100 };

static const char code_signs[] = "0123456789abcdefghjkmnpqrstvwxyz"; /* Crockford's base 32 */

#define MINUTES(n) apr_time_from_sec((n)*60)

/* ---- fresh ---- */

int factor_is_fresh(const biz_req *req)
{
    apr_time_t signed_in = store_time(req->session, STORE_CREATED_AT);
    apr_time_t proved = store_time(req->session, SESSION_PROVED_AT);

    return (proved > signed_in ? proved : signed_in) + MINUTES(FACTOR_FRESH_MINUTES) > req->now;
}

biz_code factor_demand_fresh(const biz_req *req, biz_reply *reply)
{
    return factor_is_fresh(req) ? BIZ_OK : biz_fail(reply, BIZ_REAUTH_REQUIRED, NULL, NULL);
}

/* ---- the app ---- */

static const char *bound_to(const biz_req *req, const store_doc *user)
{
    return apr_pstrcat(req->pool, "users.totp:", store_doc_id(user), NULL);
}

const char *factor_seal(const biz_req *req, const store_doc *user, const char *secret)
{
    return biz_seal(req->pool, req->env->keys->totp, bound_to(req, user), secret);
}

const char *factor_open(const biz_req *req, const store_doc *user, store_fid field)
{
    const char *sealed = store_str(user, field), *opened;

    if (sealed == NULL)
        return NULL;
    opened = biz_open(req->pool, req->env->keys->totp, bound_to(req, user), sealed);
    if (opened == NULL)
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0532) "what is kept of the authenticator app of %s does not open: it was sealed "
                         "with another master.key; restore that, or let the user start anew with "
                         "bizapictl user reset-mfa",
                store_doc_id(user));
    return opened;
}

/* ---- wrong codes ---- */

/* How long the lock lasts yet, or 0. One that would last for longer than any (and the clocks of two
 * machines may differ by a minute) was made before the clock was set back. */
static apr_interval_time_t lock_left(const biz_req *req, const store_doc *user)
{
    apr_interval_time_t left =
        store_time(user, USER_FACTOR_FAILED_AT) + MINUTES(FACTOR_LOCK_MINUTES) - req->now;

    return store_int(user, USER_FACTOR_FAILURES) >= FACTOR_TRIES && left > 0 &&
                   left <= MINUTES(FACTOR_LOCK_MINUTES + 1)
               ? left
               : 0;
}

/* Fewer than ten wrong ones, or the very ten (or more) whose lock is over. */
store_cond factor_may_try(const store_doc *user)
{
    int64_t failures = store_int(user, USER_FACTOR_FAILURES);

    if (store_is_null(user, USER_FACTOR_FAILURES))
        return (store_cond)STORE_IS_NULL(USER_FACTOR_FAILURES);
    if (failures >= FACTOR_TRIES)
        return (store_cond)STORE_EQ_INT(USER_FACTOR_FAILURES, failures);
    return (store_cond){USER_FACTOR_FAILURES, STORE_LT, STORE_V_INT(FACTOR_TRIES)};
}

biz_code factor_check_lock(const biz_req *req, biz_reply *reply, const store_doc *user)
{
    apr_interval_time_t wait = lock_left(req, user);

    if (wait == 0)
        return BIZ_OK;
    biz_fail(reply, BIZ_RATE_LIMITED, NULL, NULL);
    reply->retry_after = (int)apr_time_sec(wait + APR_USEC_PER_SEC - 1);
    return reply->code;
}

/* One more wrong code, counted under the very count that was read, so that the tenth knows that it
 * is. What others have just counted is read again; once the ten are full, this one is refused with
 * them. *locks: it was the tenth. */
static apr_status_t count_wrong(const act_by *by, const biz_req *req, const store_doc *user,
                                int *locks, store_doc **after)
{
    const act told = {.event = "authn_" NOTICE_FACTOR_LOCKED, .notice = NOTICE_FACTOR_LOCKED};
    apr_status_t status = STORE_ECOND;
    store_doc *now = NULL;

    *after = NULL;
    while (status == STORE_ECOND && lock_left(req, user) == 0) {
        int64_t failures = store_int(user, USER_FACTOR_FAILURES);
        int is_none = store_is_null(user, USER_FACTOR_FAILURES), over = failures >= FACTOR_TRIES;
        store_cond conds[] = {{USER_FACTOR_FAILURES, STORE_EQ, {.null = is_none, .i = failures}}};
        store_change changes[] = {
            {USER_FACTOR_FAILURES, over ? STORE_SET : STORE_INC, STORE_V_INT(1)},
            STORE_SET_TIME(USER_FACTOR_FAILED_AT, req->now)};

        *locks = failures == FACTOR_TRIES - 1;
        status = act_update(by, COLL_USERS, by->user_id, conds, STORE_COUNT_OF(conds), changes,
                            STORE_COUNT_OF(changes), &told, (size_t)*locks, after);
        if (status == STORE_ECOND && store_get(req->env->store, req->pool, COLL_USERS,
                                               store_doc_id(user), &now) == APR_SUCCESS)
            user = now;
        else if (status == STORE_ECOND)
            status = STORE_EUNAVAIL;
    }
    return status == STORE_ECOND ? APR_SUCCESS : status;
}

biz_code factor_wrong(biz_req *req, biz_reply *reply, const store_doc *user)
{
    const act_by by = act_by_caller(req, store_doc_id(user));
    store_doc *after;
    apr_status_t status;
    int locks = 0;

    audit_note(req, "authn_factor_fail", by.user_id, NULL);
    if (audit_commit(req, reply) != BIZ_OK)
        return reply->code;
    status = count_wrong(&by, req, user, &locks, &after);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    lockout_tell(req, by.user_id);
    if (after != NULL && locks) {
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0531) "%d wrong codes for %s, the last from %s: the second factor is locked for "
                         "%d minutes and its user is told by mail; somebody knows the password",
                FACTOR_TRIES, by.user_id, req->address, FACTOR_LOCK_MINUTES);
        (void)act_tell(&by, &after);
    }
    return biz_fail(reply, BIZ_INVALID_CODE, NULL, NULL);
}

/* ---- proof ---- */

static biz_code prove_code(biz_req *req, biz_reply *reply, const char *code, store_doc **user)
{
    const act_by by = act_by_caller(req, store_doc_id(*user));
    const act told = {.event = "authn_factor_success",
                      .details = audit_detail(req->pool, "by", "app")};
    apr_status_t status = APR_SUCCESS;
    int tries;

    for (tries = 0; tries < PROVE_TRIES && status == APR_SUCCESS; tries++) {
        const char *secret = factor_open(req, *user, USER_TOTP_SECRET);
        int64_t last = store_int(*user, USER_TOTP_LAST_STEP), step;

        if (factor_check_lock(req, reply, *user) != BIZ_OK)
            return reply->code;
        step = secret != NULL ? totp_step_of(req->pool, secret, code, req->now, last) : -1;
        if (step < 0)
            return factor_wrong(req, reply, *user);
        /* A right one that was used is no guess and does not count. */
        if (step <= last)
            return biz_fail(reply, BIZ_INVALID_CODE, NULL, NULL);
        {
            store_cond conds[] = {
                STORE_EQ_STR(USER_TOTP_SECRET, store_str(*user, USER_TOTP_SECRET)),
                {USER_TOTP_LAST_STEP, STORE_LT, STORE_V_INT(step)},
                factor_may_try(*user)};
            store_change changes[] = {STORE_SET_INT(USER_TOTP_LAST_STEP, step),
                                      STORE_SET_INT(USER_FACTOR_FAILURES, 0)};

            status = act_update(&by, COLL_USERS, by.user_id, conds, STORE_COUNT_OF(conds), changes,
                                STORE_COUNT_OF(changes), &told, 1, user);
        }
        if (status == APR_SUCCESS) {
            (void)act_tell(&by, user);
            return BIZ_OK;
        }
        /* Somebody was faster: look at what is there now. */
        if (status == STORE_ECOND)
            status = store_get(req->env->store, req->pool, COLL_USERS, by.user_id, user);
    }
    return status == APR_SUCCESS ? biz_fail(reply, BIZ_INVALID_CODE, NULL, NULL)
                                 : biz_fail_store(req, reply, status);
}

/* Keyed and not slow: a code has 50 bits and the key is not in the store, so that a copy of the
 * store tells nothing about it, however long it is searched; and one look at an index finds it,
 * where ten slow hashes a try would be a way to keep the processors busy. */
static const char *code_mac(const biz_req *req, const char *user_id, const char *code)
{
    const char *text = apr_pstrcat(req->pool, user_id, ":", code, NULL);
    unsigned char mac[BIZ_SHA256_LEN];

    biz_hmac_sha256(req->env->keys->recovery, BIZ_KEY_LEN, text, strlen(text), mac);
    return biz_hex(req->pool, mac, sizeof(mac));
}

/* As people read it back from paper. */
static const char *code_normal(apr_pool_t *pool, const char *code)
{
    char *text = (char *)biz_lower(pool, code), *p;

    for (p = text; *p != '\0'; p++)
        *p = *p == 'o' ? '0' : *p == 'i' || *p == 'l' ? '1' : *p;
    return text;
}

static biz_code prove_recovery(biz_req *req, biz_reply *reply, const char *code, store_doc **user)
{
    store *s = req->env->store;
    const char *set = store_str(*user, USER_RECOVERY_SET), *id = store_doc_id(*user);
    const act_by by = act_by_caller(req, id);
    const act acts[] = {{.event = "authn_" NOTICE_RECOVERY_USED, .notice = NOTICE_RECOVERY_USED},
                        {.event = "authn_factor_success",
                         .details = audit_detail(req->pool, "by", "recovery code")}};
    store_cond by_code[] = {
        STORE_EQ_STR(RECOVERY_CODE, code_mac(req, id, code_normal(req->pool, code)))};
    store_query query = {.coll = COLL_RECOVERY_CODES,
                         .index = "recovery_code",
                         .conds = by_code,
                         .n_conds = STORE_COUNT_OF(by_code)};
    store_change use[] = {STORE_SET_TIME(RECOVERY_USED_AT, req->now)};
    store_cond unused[] = {STORE_IS_NULL(RECOVERY_USED_AT)};
    store_change forget[] = {STORE_SET_INT(USER_FACTOR_FAILURES, 0)};
    store_doc *found;
    apr_status_t status;

    if (factor_check_lock(req, reply, *user) != BIZ_OK)
        return reply->code;
    status = store_find_one(s, req->pool, &query, &found);
    if (status == STORE_ENOENT ||
        (status == APR_SUCCESS &&
         (set == NULL || strcmp(store_str(found, RECOVERY_SET), set) != 0)))
        return factor_wrong(req, reply, *user);
    if (status == APR_SUCCESS)
        status = act_update(&by, COLL_RECOVERY_CODES, store_doc_id(found), unused,
                            STORE_COUNT_OF(unused), use, STORE_COUNT_OF(use), acts,
                            STORE_COUNT_OF(acts), &found);
    if (status == STORE_ECOND) /* used before: no guess either */
        return biz_fail(reply, BIZ_INVALID_CODE, NULL, NULL);
    if (status == APR_SUCCESS)
        status = store_update(s, req->pool, COLL_USERS, id, NULL, 0, forget, STORE_COUNT_OF(forget),
                              user);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    (void)act_tell(&by, &found);
    return BIZ_OK;
}

biz_code factor_prove(biz_req *req, biz_reply *reply, store_doc **user)
{
    const char *code = biz_field_str(req, "code"), *recovery = biz_field_str(req, "recovery_code");

    if ((code == NULL) == (recovery == NULL))
        return biz_fail(reply, BIZ_VALIDATION_FAILED, "code",
                        "Either code or recovery_code is required.");
    return code != NULL ? prove_code(req, reply, code, user)
                        : prove_recovery(req, reply, recovery, user);
}

/* ---- recovery codes ---- */

/* "7k3nq-x0r8w" */
static const char *code_make(apr_pool_t *pool, char shown[RECOVERY_CHARS + 2])
{
    unsigned char noise[RECOVERY_CHARS];
    char *code = apr_palloc(pool, RECOVERY_CHARS + 1);
    int i;

    biz_random(noise, sizeof(noise));
    for (i = 0; i < RECOVERY_CHARS; i++)
        code[i] = code_signs[noise[i] & 31];
    code[RECOVERY_CHARS] = '\0';
    apr_snprintf(shown, RECOVERY_CHARS + 2, "%.5s-%s", code, code + 5);
    return code;
}

apr_status_t recovery_make(const biz_req *req, const store_doc *user, const char **set,
                           biz_json **codes)
{
    char shown[RECOVERY_CHARS + 2];
    apr_status_t status = APR_SUCCESS;
    int i;

    *set = biz_new_id(req->pool, "set");
    *codes = biz_json_array(req->pool);
    for (i = 0; i < RECOVERY_CODES && status == APR_SUCCESS; i++) {
        store_doc *doc = store_doc_new(req->pool, COLL_RECOVERY_CODES);
        const char *code = code_make(req->pool, shown);

        store_set_str(doc, RECOVERY_USER_ID, store_doc_id(user));
        store_set_str(doc, RECOVERY_SET, *set);
        store_set_str(doc, RECOVERY_CODE, code_mac(req, store_doc_id(user), code));
        status = store_insert(req->env->store, req->pool, doc, NULL);
        biz_json_add_str(*codes, shown);
    }
    return status;
}

apr_status_t recovery_renew(const act_by *by, const biz_req *req, store_doc **user, int first,
                            biz_json **codes)
{
    const act told = {.event = "authn_" NOTICE_RECOVERY_RENEWED, .notice = NOTICE_RECOVERY_RENEWED};
    const char *set;
    /* Of two who renew at once one wins, for it may remove the other's. */
    store_cond conds[] = {STORE_EQ_BOOL(USER_MFA_ENABLED, 1),
                          STORE_EQ_STR(USER_RECOVERY_SET, store_str(*user, USER_RECOVERY_SET))};
    apr_status_t status = recovery_make(req, *user, &set, codes);

    if (status == APR_SUCCESS) {
        store_change changes[] = {STORE_SET_STR(USER_RECOVERY_SET, set)};

        status = act_update(by, COLL_USERS, by->user_id, conds, STORE_COUNT_OF(conds), changes,
                            STORE_COUNT_OF(changes), &told, first ? 0 : 1, user);
    }
    if (status == APR_SUCCESS)
        recovery_tidy(req, *user);
    return status;
}

static apr_status_t codes_of(store *s, apr_pool_t *pool, const char *user_id,
                             apr_array_header_t **docs)
{
    store_cond conds[] = {STORE_EQ_STR(RECOVERY_USER_ID, user_id)};
    store_query query = {.coll = COLL_RECOVERY_CODES,
                         .index = "recovery_user",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = CODES_LOOK};

    return store_find(s, pool, &query, docs, NULL);
}

static int is_of_set(const store_doc *code, const char *set)
{
    return set != NULL && !strcmp(store_str(code, RECOVERY_SET), set);
}

apr_status_t recovery_left(const biz_req *req, const store_doc *user, int *left)
{
    apr_array_header_t *docs;
    apr_status_t status = codes_of(req->env->store, req->pool, store_doc_id(user), &docs);
    int i;

    *left = 0;
    for (i = 0; status == APR_SUCCESS && i < docs->nelts; i++) {
        const store_doc *code = APR_ARRAY_IDX(docs, i, store_doc *);

        *left += is_of_set(code, store_str(user, USER_RECOVERY_SET)) &&
                 store_is_null(code, RECOVERY_USED_AT);
    }
    return status;
}

/* Removes the user's codes but those of the set `keep`, which may be NULL. */
static apr_status_t codes_remove(const act_by *by, const char *keep)
{
    apr_array_header_t *docs;
    apr_status_t status;
    int i, removed;

    do {
        status = codes_of(by->store, by->pool, by->user_id, &docs);
        for (i = removed = 0; status == APR_SUCCESS && i < docs->nelts; i++) {
            const store_doc *code = APR_ARRAY_IDX(docs, i, store_doc *);

            if (is_of_set(code, keep))
                continue;
            status = act_remove(by, code);
            removed++;
        }
    } while (status == APR_SUCCESS && removed > 0 && docs->nelts == CODES_LOOK);
    return status;
}

void recovery_tidy(const biz_req *req, const store_doc *user)
{
    const act_by by = act_by_caller(req, store_doc_id(user));

    (void)codes_remove(&by, store_str(user, USER_RECOVERY_SET));
}

/* ---- all of them ---- */

static apr_status_t passkeys_of(store *s, apr_pool_t *pool, const char *user_id,
                                apr_array_header_t **docs)
{
    store_cond conds[] = {STORE_EQ_STR(PASSKEY_USER_ID, user_id)};
    store_query query = {.coll = COLL_PASSKEYS,
                         .index = "passkey_user",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = PASSKEYS_LOOK};

    return store_find(s, pool, &query, docs, NULL);
}

apr_status_t factor_passkeys(const biz_req *req, const char *user_id, apr_array_header_t **docs)
{
    return passkeys_of(req->env->store, req->pool, user_id, docs);
}

/* It writes in any case, under the version that was read before the passkeys were: of two who
 * settle at once, one finds the version moved on and looks again. */
apr_status_t factor_settle(store *s, apr_pool_t *pool, const char *user_id, store_doc **user)
{
    apr_array_header_t *passkeys;
    apr_status_t status = STORE_ECOND;
    store_doc *before;
    int tries;

    for (tries = 0; tries < SETTLE_TRIES && status == STORE_ECOND; tries++) {
        status = store_get(s, pool, COLL_USERS, user_id, &before);
        if (status == APR_SUCCESS)
            status = passkeys_of(s, pool, user_id, &passkeys);
        if (status == APR_SUCCESS) {
            int any = passkeys->nelts > 0 || !store_is_null(before, USER_TOTP_SECRET);
            store_cond conds[] = {
                {STORE_VERSION, STORE_EQ, STORE_V_INT(store_doc_version(before))}};
            store_change changes[] = {
                STORE_SET_BOOL(USER_MFA_ENABLED, any),
                STORE_SET_STR(USER_RECOVERY_SET,
                              any ? store_str(before, USER_RECOVERY_SET) : NULL)};

            status = store_update(s, pool, COLL_USERS, user_id, conds, STORE_COUNT_OF(conds),
                                  changes, STORE_COUNT_OF(changes), user);
        }
    }
    return status == STORE_ECOND ? STORE_EUNAVAIL : status;
}

apr_status_t factor_any(const act_by *by, const store_doc *user, int *any)
{
    apr_array_header_t *passkeys;
    apr_status_t status = passkeys_of(by->store, by->pool, store_doc_id(user), &passkeys);

    *any = status == APR_SUCCESS &&
           (passkeys->nelts > 0 || store_bool(user, USER_MFA_ENABLED) ||
            !store_is_null(user, USER_TOTP_SECRET) || !store_is_null(user, USER_TOTP_PENDING));
    return status;
}

/* The word of it goes with the first step: who is killed in between has said so, and does it again.
 */
apr_status_t factor_clear(const act_by *by, const act *told, store_doc **user)
{
    store_change changes[] = {STORE_SET_NULL(USER_TOTP_SECRET), STORE_SET_NULL(USER_TOTP_PENDING),
                              STORE_SET_NULL(USER_RECOVERY_SET),
                              STORE_SET_INT(USER_FACTOR_FAILURES, 0),
                              STORE_INC_INT(USER_SESSION_EPOCH, 1)};
    apr_array_header_t *passkeys;
    apr_status_t status = act_update(by, COLL_USERS, by->user_id, NULL, 0, changes,
                                     STORE_COUNT_OF(changes), told, 1, user);
    int i;

    do {
        if (status == APR_SUCCESS)
            status = passkeys_of(by->store, by->pool, by->user_id, &passkeys);
        for (i = 0; status == APR_SUCCESS && i < passkeys->nelts; i++)
            status = act_remove(by, APR_ARRAY_IDX(passkeys, i, store_doc *));
    } while (status == APR_SUCCESS && passkeys->nelts == PASSKEYS_LOOK);
    if (status == APR_SUCCESS)
        status = codes_remove(by, NULL);
    if (status == APR_SUCCESS)
        status = factor_settle(by->store, by->pool, by->user_id, user);
    if (status == APR_SUCCESS)
        (void)act_tell(by, user);
    return status;
}
