/* users.c: /admin/users: every account of the business, customers and those who work there, as
 * admins manage them. Nobody sets a password here: who is new gets a mail with a link.
 *
 * A business is never left without an admin who can sign in. Two admins who remove each other at
 * the same moment find that out after the change and take it back. */
#include "auth.h"

#include <string.h>
#include <apr_strings.h>

#include "account.h"
#include "act.h"
#include "audit/audit.h"
#include "core/str.h"
#include "factor.h"
#include "lockout.h"
#include "outbox/outbox.h"

static biz_json *user_json(apr_pool_t *pool, const store_doc *user)
{
    biz_json *json = account_json(pool, user);

    biz_json_set_bool(json, "disabled", store_bool(user, USER_DISABLED));
    biz_json_set_bool(json, "has_password", !store_is_null(user, USER_PASSWORD_HASH));
    biz_json_set_time(json, "updated_at", store_time(user, STORE_UPDATED_AT));
    return json;
}

static biz_code shown(biz_req *req, biz_reply *reply, const store_doc *user)
{
    reply->data = user_json(req->pool, user);
    reply->version = store_doc_version(user);
    return BIZ_OK;
}

/* The account of the path. Deleted ones are not there. */
static biz_code load(biz_req *req, biz_reply *reply, store_doc **user)
{
    apr_status_t status =
        store_get(req->env->store, req->pool, COLL_USERS, apr_table_get(req->params, "id"), user);

    if (status == APR_SUCCESS && !store_is_null(*user, USER_DELETED_AT))
        status = STORE_ENOENT;
    return status == APR_SUCCESS ? BIZ_OK : biz_fail_store(req, reply, status);
}

/* ---- list, show ---- */

biz_code admin_users(biz_req *req, biz_reply *reply)
{
    const char *prefix = biz_field_str(req, "email"), *role = biz_field_str(req, "role");
    store_cond conds[4];
    store_query query = {.coll = COLL_USERS, .conds = conds};
    apr_array_header_t *docs;
    apr_status_t status;
    int i;

    if (biz_page_of(req, reply, &query.limit, &query.cursor) != BIZ_OK)
        return reply->code;
    conds[query.n_conds++] = (store_cond)STORE_IS_NULL(USER_DELETED_AT);
    if (role != NULL) {
        conds[query.n_conds++] = (store_cond)STORE_EQ_STR(USER_ROLE, role);
        query.index = "users_role";
    }
    if (prefix != NULL) {
        prefix = biz_lower(req->pool, prefix);
        query.index = "users_email";
        conds[query.n_conds++] = (store_cond){USER_EMAIL, STORE_GE, STORE_V_STR(prefix)};
        conds[query.n_conds++] = (store_cond){
            USER_EMAIL, STORE_LT, STORE_V_STR(apr_pstrcat(req->pool, prefix, "\x7f", NULL))};
    }
    query.descending = prefix == NULL;
    status = store_find(req->env->store, req->pool, &query, &docs, &reply->next_cursor);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_array(req->pool);
    for (i = 0; i < docs->nelts; i++)
        biz_json_add(reply->data, user_json(req->pool, APR_ARRAY_IDX(docs, i, store_doc *)));
    return BIZ_OK;
}

biz_code admin_user(biz_req *req, biz_reply *reply)
{
    store_doc *user;

    return load(req, reply, &user) == BIZ_OK ? shown(req, reply, user) : reply->code;
}

/* ---- make ---- */

biz_code admin_user_make(biz_req *req, biz_reply *reply)
{
    account_new account = {.email = biz_field_str(req, "email"),
                           .typed = biz_json_str(req->json, "email"),
                           .name = biz_field_str(req, "name"),
                           .phone = biz_field_str(req, "phone"),
                           .locale = biz_field_str(req, "locale"),
                           .timezone = biz_field_str(req, "timezone"),
                           .role = biz_field_str(req, "role")};
    store_doc *user = account_make(req->pool, &account);
    const act told = {.event = "user_created",
                      .details = audit_detail(req->pool, "role", store_str(user, USER_ROLE))};
    apr_status_t status;
    act_by by;
    int is_new;

    if (strcmp(store_str(user, USER_ROLE), "customer") != 0 &&
        factor_demand_fresh(req, reply) != BIZ_OK)
        return reply->code;
    status = account_set_id(req, user);
    by = act_by_caller(req, store_doc_id(user));
    act_carry(&by, user, &told, 1);
    if (status == APR_SUCCESS)
        status = account_insert(req, OUTBOX_INVITATION, &user, &is_new);
    if (status == STORE_EEXIST)
        return biz_fail(reply, BIZ_CONFLICT, "email", "There is an account with this address.");
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    (void)act_tell(&by, &user);
    reply->status = 201;
    return shown(req, reply, user);
}

/* ---- change ---- */

static int is_admin(const store_doc *user)
{
    return !strcmp(store_str(user, USER_ROLE), "admin") && !store_bool(user, USER_DISABLED);
}

/* Whether an admin other than this one can sign in; who was invited and has not come cannot. */
static apr_status_t has_other_admin(biz_req *req, const char *user_id, int *has)
{
    store_cond conds[] = {STORE_EQ_STR(USER_ROLE, "admin"),
                          STORE_EQ_BOOL(USER_DISABLED, 0),
                          STORE_NOT_NULL(USER_PASSWORD_HASH),
                          {STORE_ID, STORE_NE, STORE_V_STR(user_id)}};
    store_query query = {.coll = COLL_USERS,
                         .index = "users_role",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds)};
    store_doc *other;
    apr_status_t status = store_find_one(req->env->store, req->pool, &query, &other);

    *has = status == APR_SUCCESS;
    return status == STORE_ENOENT ? APR_SUCCESS : status;
}

static biz_code is_last(biz_reply *reply)
{
    return biz_fail(reply, BIZ_INVALID_STATE, NULL,
                    "This is the last admin. Make another one first.");
}

/* What is done to an account, and what is told of it. */
typedef struct {
    act_by by;
    int ends_admin; /* who is an admin is none after it */
    store_change changes[16];
    size_t n;
    act acts[2];
    size_t n_acts;
} edit;

static apr_status_t apply(const edit *e, const store_doc *user, store_doc **after)
{
    store_cond same[] = {{STORE_VERSION, STORE_EQ, STORE_V_INT(store_doc_version(user))}};

    return act_update(&e->by, COLL_USERS, e->by.user_id, same, 1, e->changes, e->n, e->acts,
                      e->n_acts, after);
}

/* With what there was to tell of it, where nobody has told it yet, and it was all there was. */
static apr_status_t take_back(const edit *e, const store_doc *user, store_doc **after)
{
    store_change back[] = {STORE_SET_STR(USER_ROLE, "admin"), STORE_SET_BOOL(USER_DISABLED, 0),
                           STORE_SET_NULL(USER_UNTOLD)};
    store_cond untold[] = {STORE_EQ_STR(USER_UNTOLD, act_untold(*after))};
    apr_status_t status = STORE_ECOND;

    if (act_untold(user) == NULL)
        status = store_update(e->by.store, e->by.pool, COLL_USERS, e->by.user_id, untold, 1, back,
                              STORE_COUNT_OF(back), after);
    return status != STORE_ECOND ? status
                                 : act_update(&e->by, COLL_USERS, e->by.user_id, NULL, 0, back, 2,
                                              &(act){.event = "user_change_taken_back"}, 1, after);
}

/* Changes an account under its version, but not where that would take the last admin away, and
 * takes it back where it has done so all the same. */
static biz_code change(biz_req *req, biz_reply *reply, const store_doc *user, const edit *e,
                       store_doc **after)
{
    int ends = e->ends_admin && is_admin(user), has = 1;
    apr_status_t status = APR_SUCCESS;

    if (ends)
        status = has_other_admin(req, e->by.user_id, &has);
    if (status == APR_SUCCESS && !has)
        return is_last(reply);
    if (status == APR_SUCCESS)
        status = apply(e, user, after);
    if (status == STORE_ECOND && req->header(req, "If-Match") == NULL)
        return biz_fail(reply, BIZ_CONFLICT, NULL, NULL);
    if (status == APR_SUCCESS && ends) {
        status = has_other_admin(req, e->by.user_id, &has);
        if (status == APR_SUCCESS && !has) {
            status = take_back(e, user, after);
            if (status == APR_SUCCESS)
                return is_last(reply);
        }
    }
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    (void)act_tell(&e->by, after);
    return BIZ_OK;
}

static biz_code matches(biz_req *req, biz_reply *reply, const store_doc *user)
{
    const char *if_match = req->header(req, "If-Match");

    return if_match == NULL || biz_etag_matches(if_match, store_doc_version(user))
               ? BIZ_OK
               : biz_fail(reply, BIZ_STALE, NULL, NULL);
}

/* What the body says of the account's plain texts. */
static size_t plain_changes(biz_req *req, store_change *changes)
{
    static const struct {
        const char *name;
        store_fid fid;
    } texts[] = {{"name", USER_NAME},
                 {"phone", USER_PHONE},
                 {"locale", USER_LOCALE},
                 {"timezone", USER_TIMEZONE}};
    size_t n = 0, i;

    for (i = 0; i < STORE_COUNT_OF(texts); i++) {
        const char *value = biz_field_str(req, texts[i].name);

        if (value != NULL || biz_field_is_null(req, texts[i].name))
            changes[n++] = (store_change)STORE_SET_STR(texts[i].fid, value);
    }
    return n;
}

/* Role and state, which end every session of the account. */
static void rights(biz_req *req, edit *e, int new_role, int new_state)
{
    const char *role = biz_field_str(req, "role");
    int off = biz_field_bool(req, "disabled", 0);

    if (new_role) {
        e->changes[e->n++] = (store_change)STORE_SET_STR(USER_ROLE, role);
        e->acts[e->n_acts++] = (act){.event = "authz_change",
                                     .details = audit_detail(req->pool, "role", role),
                                     .notice = NOTICE_ROLE_CHANGED,
                                     .about = role};
    }
    if (new_state) {
        e->changes[e->n++] = (store_change)STORE_SET_BOOL(USER_DISABLED, off);
        e->acts[e->n_acts++] = (act){.event = off ? "user_disabled" : "user_enabled"};
    }
    e->ends_admin = (new_role && strcmp(role, "admin") != 0) || (new_state && off);
    if (new_role || new_state)
        e->changes[e->n++] = (store_change)STORE_INC_INT(USER_SESSION_EPOCH, 1);
    else
        e->acts[e->n_acts++] = (act){.event = "user_updated"};
}

biz_code admin_user_change(biz_req *req, biz_reply *reply)
{
    const char *role = biz_field_str(req, "role"), *disabled = biz_field_str(req, "disabled");
    store_doc *user, *after;
    int new_role, new_state;
    edit e = {.n = 0};

    if (load(req, reply, &user) != BIZ_OK || matches(req, reply, user) != BIZ_OK)
        return reply->code;
    e.by = act_by_caller(req, store_doc_id(user));
    e.n = plain_changes(req, e.changes);
    new_role = role != NULL && strcmp(role, store_str(user, USER_ROLE)) != 0;
    new_state =
        disabled != NULL && biz_field_bool(req, "disabled", 0) != store_bool(user, USER_DISABLED);
    if ((new_role || new_state || account_phone_changes(req, user)) &&
        factor_demand_fresh(req, reply) != BIZ_OK)
        return reply->code;
    if (e.n == 0 && !new_role && !new_state)
        return shown(req, reply, user);
    rights(req, &e, new_role, new_state);
    return change(req, reply, user, &e, &after) == BIZ_OK ? shown(req, reply, after) : reply->code;
}

/* Nothing of the person stays; the id does, for what else refers to it. */
static apr_status_t empty(const act_by *by, const store_doc *user, store_doc **after)
{
    const char *nobody = apr_pstrcat(by->pool, store_doc_id(user), "@deleted.invalid", NULL);
    store_change changes[] = {STORE_SET_TIME(USER_DELETED_AT, by->at),
                              STORE_SET_STR(USER_EMAIL, nobody),
                              STORE_SET_STR(USER_EMAIL_TYPED, nobody),
                              STORE_SET_STR(USER_NAME, "Deleted account"),
                              STORE_SET_STR(USER_ROLE, "customer"),
                              STORE_SET_NULL(USER_PHONE),
                              STORE_SET_NULL(USER_LOCALE),
                              STORE_SET_NULL(USER_TIMEZONE),
                              STORE_SET_NULL(USER_PASSWORD_HASH),
                              STORE_SET_NULL(USER_TOTP_SECRET),
                              STORE_SET_NULL(USER_TOTP_PENDING),
                              STORE_SET_NULL(USER_RECOVERY_SET),
                              STORE_SET_BOOL(USER_EMAIL_VERIFIED, 0),
                              STORE_SET_BOOL(USER_MFA_ENABLED, 0)};
    store_cond there[] = {STORE_IS_NULL(USER_DELETED_AT)};

    return act_update(by, COLL_USERS, by->user_id, there, 1, changes, STORE_COUNT_OF(changes),
                      &(act){.event = "user_deleted"}, 1, after);
}

/* Disabled first: that can be taken back where it was the last admin after all. What belongs to the
 * account next and the account last: who is killed in between leaves one that can be deleted once
 * more. */
biz_code admin_user_delete(biz_req *req, biz_reply *reply)
{
    edit off = {
        .ends_admin = 1,
        .changes = {STORE_SET_BOOL(USER_DISABLED, 1), STORE_INC_INT(USER_SESSION_EPOCH, 1)},
        .n = 2,
        .acts = {{.event = "user_disabled", .details = audit_detail(req->pool, "for", "deletion")}},
        .n_acts = 1};
    store_doc *user, *after;
    apr_status_t status;

    if (factor_demand_fresh(req, reply) != BIZ_OK || load(req, reply, &user) != BIZ_OK ||
        matches(req, reply, user) != BIZ_OK)
        return reply->code;
    off.by = act_by_caller(req, store_doc_id(user));
    if (change(req, reply, user, &off, &after) != BIZ_OK)
        return reply->code;
    status = lockout_clear_user(&off.by, NULL, &after);
    if (status == APR_SUCCESS)
        status = account_remove_traces(&off.by, user);
    if (status == APR_SUCCESS)
        status = empty(&off.by, user, &after);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    (void)act_tell(&off.by, &after);
    reply->version = store_doc_version(after);
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "deleted");
    return BIZ_OK;
}

biz_code admin_user_unlock(biz_req *req, biz_reply *reply)
{
    const act told = {.event = "authn_login_unlock", .notice = NOTICE_ACCOUNT_UNLOCKED};
    store_doc *user;
    apr_status_t status;
    act_by by;

    if (load(req, reply, &user) != BIZ_OK)
        return reply->code;
    by = act_by_caller(req, store_doc_id(user));
    status = lockout_clear_user(&by, &told, &user);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "unlocked");
    return BIZ_OK;
}
