/* register.c: POST /auth/register, /auth/verify-email, /auth/resend-verification. None of them
 * tells whether an address is known: the work and the answer are the same, and what an address
 * gets by mail is found out later, by the outbox. */
#include "auth.h"

#include "account.h"
#include "audit/audit.h"
#include "core/crypto.h"
#include "core/str.h"
#include "hash.h"
#include "outbox/outbox.h"
#include "work.h"

static biz_code verification_sent(biz_req *req, biz_reply *reply, int status)
{
    reply->status = status;
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "verification_sent");
    return BIZ_OK;
}

biz_code auth_register(biz_req *req, biz_reply *reply)
{
    store *s = req->env->store;
    account_new account = {.email = biz_field_str(req, "email"),
                           .typed = biz_json_str(req->json, "email"),
                           .name = biz_field_str(req, "name"),
                           .phone = biz_field_str(req, "phone"),
                           .locale = biz_field_str(req, "locale"),
                           .timezone = biz_field_str(req, "timezone")};
    store_doc *user;
    apr_status_t status;
    int64_t refused;
    int made;

    work_count(req);
    if (auth_hash_new(req, reply, "password", biz_field_str(req, "password"), account.email,
                      account.name, &account.password_hash) != BIZ_OK)
        return reply->code;
    user = account_make(req->pool, &account);
    /* The mail's row comes first: a user without it would wait for a mail that never comes, while
     * a row without a user is dropped by the outbox. It finds out by the id whose address it is. */
    status = outbox_put(s, req->pool, OUTBOX_REGISTER, account.email, store_doc_id(user), NULL);
    if (status == APR_SUCCESS)
        status = store_insert(s, req->pool, user, NULL);
    made = status == APR_SUCCESS;
    /* A refused insert commits nothing; the counter's commit makes up for the time of it. */
    if (status == STORE_EEXIST)
        status = store_counter(s, req->pool, "register_address_taken", 1, &refused);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    audit_note(req, made ? "user_created" : "user_create_fail", made ? store_doc_id(user) : NULL,
               audit_detail(req->pool, "email", biz_mask_email(req->pool, account.email)));
    return verification_sent(req, reply, 201);
}

biz_code auth_verify_email(biz_req *req, biz_reply *reply)
{
    store *s = req->env->store;
    const char *hash = biz_sha256_hex(req->pool, biz_field_str(req, "token"));
    store_cond by_token[] = {STORE_EQ_STR(VERIFY_TOKEN, hash)};
    store_query query = {.coll = COLL_VERIFY_TOKENS,
                         .index = "verify_token",
                         .conds = by_token,
                         .n_conds = STORE_COUNT_OF(by_token),
                         .limit = 1};
    store_cond unused[] = {STORE_EQ_BOOL(VERIFY_USED, 0),
                           STORE_GT_TIME(VERIFY_EXPIRES_AT, req->now)};
    store_change use[] = {STORE_SET_BOOL(VERIFY_USED, 1), STORE_SET_TIME(VERIFY_USED_AT, req->now)};
    store_change verified[] = {STORE_SET_BOOL(USER_EMAIL_VERIFIED, 1)};
    store_doc *token;
    apr_status_t status = store_find_one(s, req->pool, &query, &token);

    /* The user first: if the answer is lost here, the same link still works. The address must still
     * be the one that the link was mailed to. */
    if (status == APR_SUCCESS && store_bool(token, VERIFY_USED))
        status = STORE_ECOND;
    if (status == APR_SUCCESS && store_time(token, VERIFY_EXPIRES_AT) <= req->now)
        status = STORE_ECOND;
    if (status == APR_SUCCESS) {
        store_cond same[] = {STORE_EQ_STR(USER_EMAIL, store_str(token, VERIFY_EMAIL))};
        status = store_update(s, req->pool, COLL_USERS, store_str(token, VERIFY_USER_ID), same, 1,
                              verified, 1, NULL);
    }
    if (status == APR_SUCCESS)
        status = store_update(s, req->pool, COLL_VERIFY_TOKENS, store_doc_id(token), unused,
                              STORE_COUNT_OF(unused), use, STORE_COUNT_OF(use), NULL);
    if (status == STORE_ENOENT || status == STORE_ECOND)
        return biz_fail(reply, BIZ_INVALID_TOKEN, NULL, NULL);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "verified");
    audit_note(req, "user_email_verified", store_str(token, VERIFY_USER_ID), NULL);
    return BIZ_OK;
}

biz_code auth_resend_verification(biz_req *req, biz_reply *reply)
{
    apr_status_t status = outbox_put(req->env->store, req->pool, OUTBOX_RESEND,
                                     biz_field_str(req, "email"), NULL, NULL);

    work_count(req);
    return status == APR_SUCCESS ? verification_sent(req, reply, 200)
                                 : biz_fail_store(req, reply, status);
}
