/* account.c: see account.h. Called by handlers and bizapictl. */
#include "account.h"

#include <string.h>
#include <apr_strings.h>

#include "outbox/outbox.h"

enum { REMOVE_BATCH = 100 };

int account_role_is_known(const char *role)
{
    return role != NULL &&
           (!strcmp(role, "customer") || !strcmp(role, "staff") || !strcmp(role, "admin"));
}

store_doc *account_make(apr_pool_t *pool, const account_new *account)
{
    store_doc *user = store_doc_new(pool, COLL_USERS);

    store_set_str(user, USER_EMAIL, account->email);
    store_set_str(user, USER_EMAIL_TYPED, account->typed != NULL ? account->typed : account->email);
    store_set_str(user, USER_NAME, account->name);
    store_set_str(user, USER_PHONE, account->phone);
    store_set_str(user, USER_LOCALE, account->locale);
    store_set_str(user, USER_TIMEZONE, account->timezone);
    store_set_str(user, USER_ROLE, account->role != NULL ? account->role : "customer");
    store_set_str(user, USER_PASSWORD_HASH, account->password_hash);
    if (account->password_hash != NULL)
        store_set_time(user, USER_PASSWORD_CHANGED_AT, apr_time_now());
    store_set_bool(user, USER_EMAIL_VERIFIED, account->email_verified);
    store_set_bool(user, USER_MFA_ENABLED, 0);
    store_set_bool(user, USER_DISABLED, 0);
    store_set_int(user, USER_SESSION_EPOCH, 1);
    return user;
}

apr_status_t account_set_id(const biz_req *req, store_doc *user)
{
    const char *id = apr_psprintf(req->pool, "usr_0%.25s", req->once != NULL ? req->once : "");
    store_doc *there;
    apr_status_t status;

    if (req->once == NULL)
        return APR_SUCCESS;
    status = store_get(req->env->store, req->pool, COLL_USERS, id, &there);
    if (status == STORE_ENOENT || (status == APR_SUCCESS && !strcmp(store_str(there, USER_EMAIL),
                                                                    store_str(user, USER_EMAIL))))
        store_doc_set_id(user, id);
    return status == STORE_ENOENT ? APR_SUCCESS : status;
}

apr_status_t account_insert(const biz_req *req, const char *mail, store_doc **user, int *is_new)
{
    store *s = req->env->store;
    const char *id = store_doc_id(*user);
    outbox_message row = {.channel = OUTBOX_MAIL,
                          .kind = mail,
                          .recipient = store_str(*user, USER_EMAIL),
                          .user_id = id,
                          .unique_key = apr_pstrcat(req->pool, mail, " ", id, NULL)};
    store_doc *own;
    apr_status_t status = outbox_add(s, req->pool, &row);

    *is_new = 0;
    if (status == APR_SUCCESS || status == STORE_EEXIST)
        status = store_insert(s, req->pool, *user, NULL);
    *is_new = status == APR_SUCCESS;
    if (status != STORE_EEXIST || req->once == NULL)
        return status;
    status = store_get(s, req->pool, COLL_USERS, id, &own);
    if (status == APR_SUCCESS)
        *user = own;
    return status == STORE_ENOENT ? STORE_EEXIST : status;
}

apr_status_t account_find(store *s, apr_pool_t *pool, const char *email, store_doc **user)
{
    store_cond conds[] = {STORE_EQ_STR(USER_EMAIL, email)};
    store_query query = {.coll = COLL_USERS,
                         .index = "users_email",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = 1};

    return store_find_one(s, pool, &query, user);
}

static apr_status_t remove_all(const act_by *by, const store_query *query)
{
    apr_array_header_t *docs;
    apr_status_t status;
    int i;

    do {
        status = store_find(by->store, by->pool, query, &docs, NULL);
        for (i = 0; status == APR_SUCCESS && i < docs->nelts; i++)
            status = act_remove(by, APR_ARRAY_IDX(docs, i, store_doc *));
    } while (status == APR_SUCCESS && docs->nelts == query->limit);
    return status;
}

apr_status_t account_remove_traces(const act_by *by, const store_doc *user)
{
    static const struct {
        store_coll_no coll;
        const char *index;
        store_fid owner; /* the user's id, or USER_EMAIL's value */
        int by_address;
    } kept[] = {{COLL_SESSIONS, "sessions_user", SESSION_USER_ID, 0},
                {COLL_PASSKEYS, "passkey_user", PASSKEY_USER_ID, 0},
                {COLL_RECOVERY_CODES, "recovery_user", RECOVERY_USER_ID, 0},
                {COLL_RESET_TOKENS, "reset_user", RESET_USER_ID, 0},
                {COLL_VERIFY_TOKENS, "verify_user", VERIFY_USER_ID, 0},
                {COLL_PUSH_DEVICES, "push_user", PUSH_USER_ID, 0},
                {COLL_OUTBOX, "outbox_recipient", OUTBOX_RECIPIENT, 1}};
    apr_status_t status = APR_SUCCESS;
    size_t i;

    for (i = 0; i < STORE_COUNT_OF(kept) && status == APR_SUCCESS; i++) {
        const char *owner = kept[i].by_address ? store_str(user, USER_EMAIL) : store_doc_id(user);
        store_cond conds[] = {STORE_EQ_STR(kept[i].owner, owner)};
        store_query query = {.coll = kept[i].coll,
                             .index = kept[i].index,
                             .conds = conds,
                             .n_conds = STORE_COUNT_OF(conds),
                             .limit = REMOVE_BATCH};

        status = remove_all(by, &query);
    }
    return status;
}

int account_phone_changes(const biz_req *req, const store_doc *user)
{
    const char *given = biz_field_str(req, "phone"), *stored = store_str(user, USER_PHONE);

    if (given == NULL)
        return biz_field_is_null(req, "phone") && stored != NULL;
    return stored == NULL || strcmp(given, stored) != 0;
}

biz_json *account_json(apr_pool_t *pool, const store_doc *user)
{
    biz_json *json = biz_json_object(pool);

    biz_json_set_str(json, "id", store_doc_id(user));
    biz_json_set_str(json, "email", store_str(user, USER_EMAIL));
    biz_json_set_str(json, "name", store_str(user, USER_NAME));
    biz_json_set_str(json, "phone", store_str(user, USER_PHONE));
    biz_json_set_str(json, "role", store_str(user, USER_ROLE));
    biz_json_set_bool(json, "email_verified", store_bool(user, USER_EMAIL_VERIFIED));
    biz_json_set_bool(json, "mfa_enabled", store_bool(user, USER_MFA_ENABLED));
    biz_json_set_str(json, "locale", store_str(user, USER_LOCALE));
    biz_json_set_str(json, "timezone", store_str(user, USER_TIMEZONE));
    biz_json_set_time(json, "created_at", store_time(user, STORE_CREATED_AT));
    biz_json_set_int(json, "version", store_doc_version(user));
    return json;
}
