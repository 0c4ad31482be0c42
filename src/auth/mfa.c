/* mfa.c: the second step of a sign-in and the authenticator app: POST /auth/login/mfa,
 * /auth/2fa/..., and /auth/reauthenticate, which makes a session fresh enough for what must not be
 * done with a stolen one. What is a factor and how it is proved is factor.c's. */
#include "auth.h"

#include <string.h>
#include <apr_strings.h>

#include "audit/audit.h"
#include "core/qr.h"
#include "core/totp.h"
#include "factor.h"
#include "lockout.h"
#include "mfa.h"
#include "outbox/outbox.h"
#include "session.h"

static biz_code done(biz_req *req, biz_reply *reply, const char *status)
{
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", status);
    return BIZ_OK;
}

/* ---- sign-in ---- */

/* What may follow the password, as the client is told: {"totp", "passkey", "recovery_code"}. */
static apr_status_t methods_of(biz_req *req, const store_doc *user, biz_json **methods)
{
    apr_array_header_t *passkeys;
    apr_status_t status = factor_passkeys(req, store_doc_id(user), &passkeys);
    int left = 0;

    *methods = biz_json_array(req->pool);
    if (status != APR_SUCCESS)
        return status;
    if (!store_is_null(user, USER_TOTP_SECRET))
        biz_json_add_str(*methods, "totp");
    if (passkeys->nelts > 0)
        biz_json_add_str(*methods, "passkey");
    if (biz_json_size(*methods) == 0)
        return APR_SUCCESS;
    status = recovery_left(req, user, &left);
    if (left > 0)
        biz_json_add_str(*methods, "recovery_code");
    return status;
}

biz_code mfa_begin(biz_req *req, biz_reply *reply, store_doc *user, int64_t failures)
{
    biz_json *methods;
    apr_status_t status;

    if (!store_bool(user, USER_MFA_ENABLED))
        return session_start(req, reply, user, failures);
    status = methods_of(req, user, &methods);
    /* The last factor went and the server was killed before it could say so. */
    if (status == APR_SUCCESS && biz_json_size(methods) == 0) {
        status = factor_settle(req->env->store, req->pool, store_doc_id(user), &user);
        if (status == APR_SUCCESS && !store_bool(user, USER_MFA_ENABLED))
            return session_start(req, reply, user, failures);
    }
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_object(req->pool);
    biz_json_set_bool(reply->data, "mfa_required", 1);
    biz_json_set_str(reply->data, "mfa_token", ticket_make(req, TICKET_MFA, user, failures));
    biz_json_set_int(reply->data, "expires_in", TICKET_SECONDS);
    biz_json_set(reply->data, "methods", methods);
    return BIZ_OK;
}

biz_code mfa_ticket(biz_req *req, biz_reply *reply, ticket *t, store_doc **user)
{
    apr_status_t status = ticket_read(req, TICKET_MFA, biz_field_str(req, "mfa_token"), t);

    if (status != APR_SUCCESS)
        return biz_fail(reply, status == APR_TIMEUP ? BIZ_TOKEN_EXPIRED : BIZ_UNAUTHENTICATED, NULL,
                        NULL);
    status = ticket_find_use(req, t);
    if (status == APR_SUCCESS)
        return biz_fail(reply, BIZ_TOKEN_REVOKED, NULL, NULL);
    if (status == STORE_ENOENT)
        status = store_get(req->env->store, req->pool, COLL_USERS, t->user_id, user);
    if (status == STORE_ENOENT ||
        (status == APR_SUCCESS &&
         (store_bool(*user, USER_DISABLED) || store_int(*user, USER_SESSION_EPOCH) != t->epoch)))
        return biz_fail(reply, BIZ_TOKEN_REVOKED, NULL, NULL);
    return status == APR_SUCCESS ? BIZ_OK : biz_fail_store(req, reply, status);
}

biz_code mfa_finish(biz_req *req, biz_reply *reply, const ticket *t, const store_doc *user,
                    int64_t failures)
{
    apr_status_t status = ticket_use(req, t);

    if (status == STORE_EEXIST)
        return biz_fail(reply, BIZ_TOKEN_REVOKED, NULL, NULL);
    return status == APR_SUCCESS ? session_start(req, reply, user, t->failures + failures)
                                 : biz_fail_store(req, reply, status);
}

biz_code auth_login_mfa(biz_req *req, biz_reply *reply)
{
    store_doc *user;
    int64_t wrong;
    ticket t;

    if (mfa_ticket(req, reply, &t, &user) != BIZ_OK)
        return reply->code;
    wrong = store_int(user, USER_FACTOR_FAILURES);
    if (factor_prove(req, reply, &user) != BIZ_OK)
        return reply->code;
    return mfa_finish(req, reply, &t, user, wrong);
}

/* ---- once more, in a session ---- */

/* An account with a factor proves it by one: its password may be what was stolen. */
biz_code auth_reauthenticate(biz_req *req, biz_reply *reply)
{
    const char *password = biz_field_str(req, "password");
    store_change changes[] = {STORE_SET_TIME(SESSION_PROVED_AT, req->now)};
    store_cond conds[] = {STORE_IS_NULL(SESSION_REVOKED_AT)};
    const act_by by = act_by_caller(req, store_doc_id(req->user));
    const act told = {.event = "authn_reauthenticate"};
    store_doc *session;
    apr_status_t status;

    if (biz_field_str(req, "credential") != NULL) {
        if (passkey_prove(req, reply, store_doc_id(req->user)) != BIZ_OK)
            return reply->code;
    } else if (store_bool(req->user, USER_MFA_ENABLED)) {
        if (factor_prove(req, reply, &req->user) != BIZ_OK)
            return reply->code;
    } else {
        if (password == NULL)
            return biz_fail(reply, BIZ_VALIDATION_FAILED, "password", "password is required.");
        if (lockout_prove_own(req, reply, "password") != BIZ_OK)
            return reply->code;
    }
    status =
        act_update(&by, COLL_SESSIONS, store_doc_id(req->session), conds, STORE_COUNT_OF(conds),
                   changes, STORE_COUNT_OF(changes), &told, 1, &session);
    if (status == STORE_ECOND || status == STORE_ENOENT)
        return biz_fail(reply, BIZ_TOKEN_REVOKED, NULL, NULL);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    (void)act_tell(&by, &session);
    return done(req, reply, "confirmed");
}

/* ---- the app ---- */

biz_code auth_2fa(biz_req *req, biz_reply *reply)
{
    apr_array_header_t *passkeys;
    apr_status_t status = factor_passkeys(req, store_doc_id(req->user), &passkeys);
    int left = 0;

    if (status == APR_SUCCESS)
        status = recovery_left(req, req->user, &left);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_object(req->pool);
    biz_json_set_bool(reply->data, "enabled", store_bool(req->user, USER_MFA_ENABLED));
    biz_json_set_bool(reply->data, "totp", !store_is_null(req->user, USER_TOTP_SECRET));
    biz_json_set_int(reply->data, "passkeys", passkeys->nelts);
    biz_json_set_int(reply->data, "recovery_codes_left", left);
    biz_json_set_bool(reply->data, "fresh", factor_is_fresh(req));
    return BIZ_OK;
}

biz_code auth_2fa_setup(biz_req *req, biz_reply *reply)
{
    const char *secret = totp_secret_make(req->pool), *uri, *picture;
    store_change changes[] = {
        STORE_SET_STR(USER_TOTP_PENDING, factor_seal(req, req->user, secret))};
    store_cond conds[] = {STORE_IS_NULL(USER_TOTP_SECRET)};
    apr_status_t status;

    if (factor_demand_fresh(req, reply) != BIZ_OK)
        return reply->code;
    status = store_update(req->env->store, req->pool, COLL_USERS, store_doc_id(req->user), conds,
                          STORE_COUNT_OF(conds), changes, STORE_COUNT_OF(changes), NULL);
    if (status == STORE_ECOND)
        return biz_fail(reply, BIZ_INVALID_STATE, NULL,
                        "There is an authenticator app already. Remove it first.");
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    uri = totp_uri(req->pool, secret,
                   biz_brand(req->env->settings, "name", req->env->settings->server_name),
                   store_str(req->user, USER_EMAIL));
    picture = biz_qr_svg(req->pool, uri);
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "secret", secret);
    biz_json_set_str(reply->data, "otpauth_uri", uri);
    biz_json_set_str(reply->data, "qr_svg", picture);
    return picture != NULL ? BIZ_OK : biz_fail(reply, BIZ_INTERNAL, NULL, NULL);
}

/* The pending secret becomes the secret, with the step of the code that showed it: that code is
 * used up by this. One atomic change, together with the set of recovery codes. */
static apr_status_t enable(const act_by *by, biz_req *req, int64_t step, const char *set,
                           store_doc **after)
{
    const act told = {.event = "authn_" NOTICE_MFA_ENABLED, .notice = NOTICE_MFA_ENABLED};
    const char *pending = store_str(req->user, USER_TOTP_PENDING);
    store_cond conds[] = {STORE_EQ_STR(USER_TOTP_PENDING, pending), STORE_IS_NULL(USER_TOTP_SECRET),
                          STORE_EQ_STR(USER_RECOVERY_SET, store_str(req->user, USER_RECOVERY_SET)),
                          factor_may_try(req->user)};
    store_change changes[] = {
        STORE_SET_STR(USER_TOTP_SECRET, pending), STORE_SET_NULL(USER_TOTP_PENDING),
        STORE_SET_INT(USER_TOTP_LAST_STEP, step), STORE_SET_STR(USER_RECOVERY_SET, set),
        STORE_SET_INT(USER_FACTOR_FAILURES, 0),   STORE_SET_BOOL(USER_MFA_ENABLED, 1)};

    return act_update(by, COLL_USERS, by->user_id, conds, STORE_COUNT_OF(conds), changes,
                      STORE_COUNT_OF(changes), &told, 1, after);
}

static biz_code give_codes(biz_req *req, biz_reply *reply, biz_json *codes)
{
    reply->data = biz_json_object(req->pool);
    biz_json_set(reply->data, "recovery_codes", codes);
    return BIZ_OK;
}

biz_code auth_2fa_enable(biz_req *req, biz_reply *reply)
{
    const char *secret = factor_open(req, req->user, USER_TOTP_PENDING), *set;
    const act_by by = act_by_caller(req, store_doc_id(req->user));
    apr_status_t status;
    store_doc *after;
    biz_json *codes;
    int64_t step;

    if (factor_demand_fresh(req, reply) != BIZ_OK ||
        factor_check_lock(req, reply, req->user) != BIZ_OK)
        return reply->code;
    if (secret == NULL)
        return biz_fail(reply, BIZ_INVALID_STATE, NULL,
                        store_is_null(req->user, USER_TOTP_SECRET)
                            ? "Ask for a secret first, at /auth/2fa/setup."
                            : "There is an authenticator app already.");
    step = totp_step_of(req->pool, secret, biz_field_str(req, "code"), req->now, -1);
    if (step < 0)
        return factor_wrong(req, reply, req->user);
    status = recovery_make(req, req->user, &set, &codes);
    if (status == APR_SUCCESS)
        status = enable(&by, req, step, set, &after);
    if (status == STORE_ECOND)
        return biz_fail(reply, BIZ_INVALID_STATE, NULL, NULL);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    recovery_tidy(req, after);
    (void)act_tell(&by, &after);
    return give_codes(req, reply, codes);
}

biz_code auth_2fa_disable(biz_req *req, biz_reply *reply)
{
    const char *password = biz_field_str(req, "password");
    store_change changes[] = {STORE_SET_NULL(USER_TOTP_SECRET), STORE_SET_NULL(USER_TOTP_PENDING)};
    store_cond conds[] = {STORE_NOT_NULL(USER_TOTP_SECRET)};
    const act_by by = act_by_caller(req, store_doc_id(req->user));
    const act told = {.event = "authn_" NOTICE_MFA_DISABLED, .notice = NOTICE_MFA_DISABLED};
    apr_status_t status;

    if (password == NULL ||
        (biz_field_str(req, "code") == NULL && biz_field_str(req, "recovery_code") == NULL))
        return biz_fail(reply, BIZ_REAUTH_REQUIRED, NULL, NULL);
    if (store_is_null(req->user, USER_TOTP_SECRET))
        return biz_fail(reply, BIZ_INVALID_STATE, NULL, "There is no authenticator app.");
    if (lockout_prove_own(req, reply, "password") != BIZ_OK)
        return reply->code;
    if (factor_prove(req, reply, &req->user) != BIZ_OK)
        return reply->code;
    status = act_update(&by, COLL_USERS, by.user_id, conds, STORE_COUNT_OF(conds), changes,
                        STORE_COUNT_OF(changes), &told, 1, NULL);
    if (status == APR_SUCCESS)
        status = factor_settle(req->env->store, req->pool, store_doc_id(req->user), &req->user);
    if (status == STORE_ECOND)
        return biz_fail(reply, BIZ_INVALID_STATE, NULL, NULL);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    recovery_tidy(req, req->user);
    (void)act_tell(&by, &req->user);
    return done(req, reply, "disabled");
}

biz_code auth_2fa_recovery_codes(biz_req *req, biz_reply *reply)
{
    const act_by by = act_by_caller(req, store_doc_id(req->user));
    apr_status_t status;
    biz_json *codes;

    if (!store_bool(req->user, USER_MFA_ENABLED))
        return biz_fail(reply, BIZ_INVALID_STATE, NULL, "Set up a second factor first.");
    /* Who has passkeys alone has no code: a fresh proof by one of them stands for it. */
    if (store_is_null(req->user, USER_TOTP_SECRET) && biz_field_str(req, "code") == NULL &&
        biz_field_str(req, "recovery_code") == NULL) {
        if (factor_demand_fresh(req, reply) != BIZ_OK)
            return reply->code;
    } else if (factor_prove(req, reply, &req->user) != BIZ_OK) {
        return reply->code;
    }
    status = recovery_renew(&by, req, &req->user, 0, &codes);
    if (status == STORE_ECOND)
        return biz_fail(reply, BIZ_INVALID_STATE, NULL, NULL);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    (void)act_tell(&by, &req->user);
    return give_codes(req, reply, codes);
}
