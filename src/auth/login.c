/* login.c: POST /auth/login, /auth/refresh, /auth/logout, /auth/logout-all. Unknown address, wrong
 * password and disabled account get the same answer after the same work. */
#include "auth.h"

#include "account.h"
#include "act.h"
#include "audit/audit.h"
#include "cookie.h"
#include "core/str.h"
#include "hash.h"
#include "lockout.h"
#include "mfa.h"
#include "session.h"
#include "work.h"

/* A hash of the present kind in place of an imported one. Only a convenience: who loses the race
 * against a change of password must not overwrite it, hence the condition. */
static void renew_hash(biz_req *req, const store_doc *user, const char *renewed)
{
    store_cond conds[] = {STORE_EQ_STR(USER_PASSWORD_HASH, store_str(user, USER_PASSWORD_HASH))};
    store_change changes[] = {STORE_SET_STR(USER_PASSWORD_HASH, renewed)};

    (void)store_update(req->env->store, req->pool, COLL_USERS, store_doc_id(user), conds,
                       STORE_COUNT_OF(conds), changes, STORE_COUNT_OF(changes), NULL);
}

/* One answer for all reasons; the audit log has the reason. */
static biz_code refused(biz_req *req, biz_reply *reply, const lockout *l, const char *email,
                        const store_doc *user, const char *reason)
{
    const char *user_id = user != NULL ? store_doc_id(user) : NULL;
    const char *masked = biz_mask_email(req->pool, email);
    biz_json *details = biz_json_object(req->pool);

    lockout_tell(req, masked);
    biz_json_set_str(details, "email", masked);
    biz_json_set_str(details, "reason", reason);
    audit_note(req, "authn_login_fail", user_id, biz_json_text(req->pool, details, NULL));
    lockout_failed(req, l, user_id);
    work_count(req);
    return biz_fail(reply, BIZ_INVALID_CREDENTIALS, NULL, NULL);
}

biz_code auth_login(biz_req *req, biz_reply *reply)
{
    const char *email = biz_field_str(req, "email"), *renewed;
    store_doc *user = NULL;
    apr_status_t status;
    int matches = 0;
    biz_code code;
    lockout l;

    if (auth_hash_has_room(req, reply) != BIZ_OK)
        return reply->code;
    status = account_find(req->env->store, req->pool, email, &user);
    if (status != APR_SUCCESS && status != STORE_ENOENT)
        return biz_fail_store(req, reply, status);
    if (status == STORE_ENOENT)
        user = NULL;
    if (lockout_begin(req, reply, email, user, &l) != BIZ_OK)
        return reply->code;
    if (l.refused) {
        auth_hash_pretend(req);
        return refused(req, reply, &l, email, user, "locked");
    }
    if (auth_hash_verify(req, reply, biz_field_str(req, "password"),
                         user != NULL ? store_str(user, USER_PASSWORD_HASH) : NULL, &matches,
                         &renewed) != BIZ_OK) {
        lockout_cancelled(req, &l);
        return reply->code;
    }
    if (!matches || store_bool(user, USER_DISABLED))
        return refused(req, reply, &l, email, user,
                       user == NULL ? "unknown"
                       : matches    ? "disabled"
                                    : "password");
    if (req->env->settings->require_verified && !store_bool(user, USER_EMAIL_VERIFIED)) {
        lockout_passed(req, &l);
        audit_note(req, "authn_login_fail", store_doc_id(user),
                   audit_detail(req->pool, "reason", "unverified"));
        return biz_fail(reply, BIZ_EMAIL_NOT_VERIFIED, NULL, NULL);
    }
    if (renewed != NULL)
        renew_hash(req, user, renewed);
    /* The count goes last, so that its owner is told of the failures whatever happens before. */
    code = mfa_begin(req, reply, user, lockout_failures(&l));
    if (code == BIZ_STORE_UNAVAILABLE)
        lockout_cancelled(req, &l);
    else
        lockout_passed(req, &l);
    return code;
}

biz_code auth_refresh(biz_req *req, biz_reply *reply)
{
    return session_renew(req, reply, biz_field_str(req, "refresh_token"));
}

static biz_code signed_out(biz_req *req, biz_reply *reply)
{
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "signed_out");
    cookie_take_back(req, reply);
    return BIZ_OK;
}

biz_code auth_logout(biz_req *req, biz_reply *reply)
{
    biz_code code = session_end(req, reply, store_doc_id(req->user), store_doc_id(req->session));

    /* Somebody else ended it a moment ago: it is ended, which is what was asked for. */
    if (code == BIZ_NOT_FOUND)
        code = biz_fail(reply, BIZ_OK, NULL, NULL);
    return code == BIZ_OK ? signed_out(req, reply) : code;
}

biz_code auth_logout_all(biz_req *req, biz_reply *reply)
{
    const act_by by = act_by_caller(req, store_doc_id(req->user));
    const act told = {.event = "session_ended", .details = audit_detail(req->pool, "which", "all")};
    store_change changes[] = {STORE_INC_INT(USER_SESSION_EPOCH, 1)};
    apr_status_t status = act_update(&by, COLL_USERS, by.user_id, NULL, 0, changes,
                                     STORE_COUNT_OF(changes), &told, 1, &req->user);

    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    (void)act_tell(&by, &req->user);
    return signed_out(req, reply);
}
