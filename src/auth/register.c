/* register.c: POST /auth/register, /auth/verify-email, /auth/resend-verification. None of them
 * tells whether an address is known: the work and the answer are the same, and what an address
 * gets by mail is found out later, by the outbox. */
#include "auth.h"

#include <string.h>
#include <apr_strings.h>

#include "account.h"
#include "act.h"
#include "audit/audit.h"
#include "core/crypto.h"
#include "core/str.h"
#include "hash.h"
#include "keys.h"
#include "lockout.h"
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
    account_new account = {.email = biz_field_str(req, "email"),
                           .typed = biz_json_str(req->json, "email"),
                           .name = biz_field_str(req, "name"),
                           .phone = biz_field_str(req, "phone"),
                           .locale = biz_field_str(req, "locale"),
                           .timezone = biz_field_str(req, "timezone")};
    act told = {.event = "user_created"};
    store_doc *user;
    apr_status_t status;
    int64_t refused;
    act_by by;
    int made, is_taken;

    told.details = audit_detail(req->pool, "email", biz_mask_email(req->pool, account.email));
    work_count(req);
    if (auth_hash_new(req, reply, "password", biz_field_str(req, "password"), account.email,
                      account.name, &account.password_hash) != BIZ_OK)
        return reply->code;
    user = account_make(req->pool, &account);
    status = account_set_id(req, user);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    by = act_by_caller(req, store_doc_id(user));
    act_carry(&by, user, &told, 1);
    status = account_insert(req, OUTBOX_REGISTER, &user, &made);
    is_taken = status == STORE_EEXIST;
    /* A refused insert commits nothing; the counter's commit makes up for the time of it. */
    if (is_taken)
        status = store_counter(req->env->store, req->pool, "register_address_taken", 1, &refused);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    /* One row in both cases, 503 in both where the log does not take it, and no further step: the
     * background job empties what the user carries. */
    if (made && act_write(&by, user) != APR_SUCCESS)
        return biz_fail(reply, BIZ_STORE_UNAVAILABLE, NULL, NULL);
    if (is_taken)
        audit_note(req, "user_create_fail", NULL, told.details);
    return verification_sent(req, reply, 201);
}

/* What was mailed is good: the user first, so that where the answer is lost here the same link
 * still works; one of all who do so at once tells of it. The address must still be the one that it
 * was mailed to. */
static apr_status_t confirm_user(biz_req *req, const store_doc *token)
{
    const act_by by = act_by_caller(req, store_str(token, VERIFY_USER_ID));
    const char *address = store_str(token, VERIFY_EMAIL);
    store_cond conds[] = {STORE_EQ_STR(USER_EMAIL, address),
                          {USER_EMAIL_VERIFIED, STORE_NE, STORE_V_INT(1)}};
    store_change verified[] = {STORE_SET_BOOL(USER_EMAIL_VERIFIED, 1)};
    store_doc *user;
    apr_status_t status = act_update(&by, COLL_USERS, by.user_id, conds, STORE_COUNT_OF(conds),
                                     verified, 1, &(act){.event = "user_email_verified"}, 1, &user);

    if (status == APR_SUCCESS)
        (void)act_tell(&by, &user);
    if (status != STORE_ECOND)
        return status;
    status = store_get(req->env->store, req->pool, COLL_USERS, by.user_id, &user);
    return status == APR_SUCCESS &&
                   (address == NULL || strcmp(address, store_str(user, USER_EMAIL)) != 0)
               ? STORE_ECOND
               : status;
}

static apr_status_t confirm(biz_req *req, const store_doc *token)
{
    store_cond unused[] = {STORE_EQ_BOOL(VERIFY_USED, 0),
                           STORE_GT_TIME(VERIFY_EXPIRES_AT, req->now)};
    store_change use[] = {STORE_SET_BOOL(VERIFY_USED, 1), STORE_SET_TIME(VERIFY_USED_AT, req->now)};
    apr_status_t status;

    if (store_bool(token, VERIFY_USED) || store_time(token, VERIFY_EXPIRES_AT) <= req->now)
        return STORE_ECOND;
    status = confirm_user(req, token);
    if (status == APR_SUCCESS)
        status = store_update(req->env->store, req->pool, COLL_VERIFY_TOKENS, store_doc_id(token),
                              unused, STORE_COUNT_OF(unused), use, STORE_COUNT_OF(use), NULL);
    return status;
}

static biz_code confirmed(biz_req *req, biz_reply *reply, apr_status_t status, biz_code otherwise)
{
    if (status == STORE_ENOENT || status == STORE_ECOND)
        return biz_fail(reply, otherwise, NULL, NULL);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "verified");
    return BIZ_OK;
}

static biz_code verify_by_token(biz_req *req, biz_reply *reply, const char *text)
{
    store_cond by_token[] = {STORE_EQ_STR(VERIFY_TOKEN, biz_sha256_hex(req->pool, text))};
    store_query query = {.coll = COLL_VERIFY_TOKENS,
                         .index = "verify_token",
                         .conds = by_token,
                         .n_conds = STORE_COUNT_OF(by_token)};
    store_doc *token = NULL;
    apr_status_t status = store_find_one(req->env->store, req->pool, &query, &token);

    if (status == APR_SUCCESS)
        status = confirm(req, token);
    return confirmed(req, reply, status, BIZ_INVALID_TOKEN);
}

/* The newest mail's, while it is fresh. STORE_ENOENT where the code is not its. */
static apr_status_t find_by_code(biz_req *req, const store_doc *user, const char *code,
                                 store_doc **token)
{
    store_cond conds[] = {STORE_EQ_STR(VERIFY_USER_ID, user != NULL ? store_doc_id(user) : "-")};
    store_query query = {.coll = COLL_VERIFY_TOKENS,
                         .index = "verify_user",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .descending = 1};
    apr_status_t status = store_find_one(req->env->store, req->pool, &query, token);
    apr_time_t end;

    if (status != APR_SUCCESS)
        return status;
    end = store_time(*token, STORE_CREATED_AT) + apr_time_from_sec(VERIFY_CODE_MINUTES * 60);
    return req->now < end &&
                   biz_same_text(code, outbox_verify_code(req->pool, req->env->keys->outbox,
                                                          store_str(*token, VERIFY_TOKEN)))
               ? APR_SUCCESS
               : STORE_ENOENT;
}

/* Unknown address, wrong code, old code, too many of them: one answer. */
static biz_code verify_by_code(biz_req *req, biz_reply *reply, const char *email, const char *code)
{
    store_doc *user = NULL, *token = NULL;
    apr_status_t status = account_find(req->env->store, req->pool, email, &user);
    lockout l;

    if (status != APR_SUCCESS && status != STORE_ENOENT)
        return biz_fail_store(req, reply, status);
    if (status == STORE_ENOENT)
        user = NULL;
    if (lockout_begin_code(req, reply, email, user, &l) != BIZ_OK)
        return reply->code;
    status = l.refused ? STORE_ENOENT : find_by_code(req, user, code, &token);
    if (status == APR_SUCCESS)
        status = confirm(req, token);
    if (status == APR_SUCCESS) {
        lockout_passed(req, &l);
    } else if (status == STORE_ENOENT || status == STORE_ECOND) {
        /* What a lock has refused was not looked at: a row for each would be anybody's to write. */
        if (!l.refused)
            audit_note(req, "user_email_verify_fail", user != NULL ? store_doc_id(user) : NULL,
                       audit_detail(req->pool, "email", biz_mask_email(req->pool, email)));
        lockout_failed(req, &l, user != NULL ? store_doc_id(user) : NULL);
        work_count(req);
    }
    return confirmed(req, reply, status, BIZ_INVALID_CODE);
}

biz_code auth_verify_email(biz_req *req, biz_reply *reply)
{
    const char *token = biz_field_str(req, "token"), *email = biz_field_str(req, "email"),
               *code = biz_field_str(req, "code");

    if (token != NULL)
        return verify_by_token(req, reply, token);
    if (email != NULL && code != NULL)
        return verify_by_code(req, reply, email, code);
    return biz_fail(reply, BIZ_VALIDATION_FAILED, "token",
                    "token, or email and code, is required.");
}

/* A stranger may ask all day: one row a minute for an address. The counter's commit makes up for
 * the time of a row that is not put in, so that nobody sees whether somebody else has just asked.
 */
biz_code auth_resend_verification(biz_req *req, biz_reply *reply)
{
    const char *email = biz_field_str(req, "email");
    outbox_message row = {.channel = OUTBOX_MAIL,
                          .kind = OUTBOX_RESEND,
                          .recipient = email,
                          .unique_key =
                              apr_psprintf(req->pool, OUTBOX_RESEND " %s %" APR_INT64_T_FMT, email,
                                           (apr_int64_t)(apr_time_sec(req->now) / 60))};
    apr_status_t status = outbox_add(req->env->store, req->pool, &row);
    int64_t times;

    if (status == STORE_EEXIST)
        status = store_counter(req->env->store, req->pool, "resend_again", 1, &times);
    work_count(req);
    return status == APR_SUCCESS ? verification_sent(req, reply, 200)
                                 : biz_fail_store(req, reply, status);
}
