/* reset.c: the forgotten password. POST /auth/forgot-password, GET /auth/verify-reset-token,
 * POST /auth/reset-password.
 *
 * The request for a link writes one row and looks nobody up: known and unknown addresses cost the
 * same because the same is done. The token is made by the outbox, mailed, and kept as a SHA-256. */
#include "auth.h"

#include <string.h>

#include "act.h"
#include "audit/audit.h"
#include "core/crypto.h"
#include "factor.h"
#include "hash.h"
#include "outbox/outbox.h"
#include "work.h"

biz_code auth_forgot_password(biz_req *req, biz_reply *reply)
{
    biz_json *data = biz_json_object(req->pool);
    apr_status_t status;

    work_count(req);
    biz_json_set_str(data, "ip", req->address);
    status = outbox_put(req->env->store, req->pool, OUTBOX_FORGOT, biz_field_str(req, "email"),
                        NULL, data);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "message",
                     "If there is an account with this address, a mail with a link is on its way.");
    return BIZ_OK;
}

/* The token's document, usable now; INVALID_TOKEN for unknown, used and expired ones alike. */
static biz_code find_token(biz_req *req, biz_reply *reply, store_doc **token)
{
    const char *hash = biz_sha256_hex(req->pool, biz_field_str(req, "token"));
    store_cond conds[] = {STORE_EQ_STR(RESET_TOKEN, hash)};
    store_query query = {.coll = COLL_RESET_TOKENS,
                         .index = "reset_token",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = 1};
    apr_status_t status = store_find_one(req->env->store, req->pool, &query, token);

    if (status != APR_SUCCESS && status != STORE_ENOENT)
        return biz_fail_store(req, reply, status);
    if (status == STORE_ENOENT || store_bool(*token, RESET_USED) ||
        store_time(*token, RESET_EXPIRES_AT) <= req->now)
        return biz_fail(reply, BIZ_INVALID_TOKEN, NULL, NULL);
    return BIZ_OK;
}

biz_code auth_verify_reset_token(biz_req *req, biz_reply *reply)
{
    store_doc *token;

    if (find_token(req, reply, &token) != BIZ_OK)
        return reply->code;
    reply->data = biz_json_object(req->pool);
    biz_json_set_bool(reply->data, "valid", 1);
    biz_json_set_time(reply->data, "expires_at", store_time(token, RESET_EXPIRES_AT));
    return BIZ_OK;
}

/* The password, and in the same change the link that has set it: one winner of all who post the
 * same token at once, and nobody killed in between is left with a link that is used up and a
 * password that is the old one. Who has the link reads the mails of its address, where that is
 * still the account's. STORE_ECOND: this link has done so before. */
static apr_status_t set_password(const act_by *by, const store_doc *token, const char *hash,
                                 store_doc **user)
{
    const char *address = store_str(token, RESET_EMAIL), *how;
    int shows = !store_bool(*user, USER_EMAIL_VERIFIED) && address != NULL &&
                !strcmp(address, store_str(*user, USER_EMAIL));
    store_cond conds[] = {{USER_RESET_BY, STORE_NE, STORE_V_STR(store_doc_id(token))},
                          STORE_EQ_STR(USER_EMAIL, store_str(*user, USER_EMAIL))};
    store_change changes[] = {
        STORE_SET_STR(USER_RESET_BY, store_doc_id(token)), STORE_SET_STR(USER_PASSWORD_HASH, hash),
        STORE_SET_TIME(USER_PASSWORD_CHANGED_AT, by->at), STORE_INC_INT(USER_SESSION_EPOCH, 1),
        STORE_SET_BOOL(USER_EMAIL_VERIFIED, 1)};
    act acts[] = {{.event = "authn_password_change", .notice = NOTICE_PASSWORD_RESET},
                  {.event = "user_email_verified"}};

    how = audit_detail(by->pool, "by", "reset link");
    acts[0].details = acts[1].details = how;
    return act_update(by, COLL_USERS, by->user_id, conds, STORE_COUNT_OF(conds), changes,
                      STORE_COUNT_OF(changes) - !shows, acts, 1 + shows, user);
}

/* Whoever made the account before anybody had shown that the address is theirs may have been
 * somebody else, and must keep no way in. Before the link is used up, so that who is killed in
 * between can use it again. */
static apr_status_t drop_factors(const act_by *by, store_doc **user)
{
    int any = 0;
    apr_status_t status = APR_SUCCESS;

    if (!store_bool(*user, USER_EMAIL_VERIFIED))
        status = factor_any(by, *user, &any);
    return status == APR_SUCCESS && any
               ? factor_clear(by, &(act){.event = "authn_factors_removed"}, user)
               : status;
}

/* For those who look at the link alone, so that it need not succeed: a link sets one password. A
 * newer link does the same. */
static void use_token(biz_req *req, const store_doc *token)
{
    store_cond conds[] = {STORE_EQ_BOOL(RESET_USED, 0), STORE_GT_TIME(RESET_EXPIRES_AT, req->now)};
    store_change changes[] = {STORE_SET_BOOL(RESET_USED, 1),
                              STORE_SET_TIME(RESET_USED_AT, req->now)};

    (void)store_update(req->env->store, req->pool, COLL_RESET_TOKENS, store_doc_id(token), conds,
                       STORE_COUNT_OF(conds), changes, STORE_COUNT_OF(changes), NULL);
}

biz_code auth_reset_password(biz_req *req, biz_reply *reply)
{
    store_doc *token, *user;
    const char *hash;
    apr_status_t status;
    act_by by;

    if (find_token(req, reply, &token) != BIZ_OK)
        return reply->code;
    by = act_by_caller(req, store_str(token, RESET_USER_ID));
    status = store_get(req->env->store, req->pool, COLL_USERS, by.user_id, &user);
    if (status == STORE_ENOENT || (status == APR_SUCCESS && store_bool(user, USER_DISABLED)))
        return biz_fail(reply, BIZ_INVALID_TOKEN, NULL, NULL);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    /* All that can be refused is refused before the link is used up. */
    if (auth_hash_new(req, reply, "new_password", biz_field_str(req, "new_password"),
                      store_str(user, USER_EMAIL), store_str(user, USER_NAME), &hash) != BIZ_OK)
        return reply->code;
    status = drop_factors(&by, &user);
    if (status == APR_SUCCESS)
        status = set_password(&by, token, hash, &user);
    if (status == STORE_ENOENT || status == STORE_ECOND)
        return biz_fail(reply, BIZ_INVALID_TOKEN, NULL, NULL);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    use_token(req, token);
    (void)act_tell(&by, &user);
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "password_changed");
    return BIZ_OK;
}
