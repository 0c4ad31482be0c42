/* identify.c: who calls, and whether they may. Asked by the dispatcher for every route that is not
 * open to anyone. */
#include "auth.h"

#include <string.h>
#include <strings.h>

#include "audit/audit.h"
#include "cookie.h"
#include "session.h"
#include "store/store.h"
#include "token.h"

static const char *bearer(const biz_req *req)
{
    const char *header = req->header(req, "Authorization");

    if (header == NULL || strncasecmp(header, "Bearer ", 7) != 0)
        return NULL;
    header += 7;
    while (*header == ' ')
        header++;
    return *header != '\0' ? header : NULL;
}

/* Session and user, as they are now. `user_id` is whose session the token says it is; NULL: it does
 * not say. */
static biz_code load(biz_req *req, biz_reply *reply, const char *session_id, const char *user_id)
{
    store_doc *session, *user;
    apr_status_t status = session_load(req, session_id, &session, &user);

    if (status == STORE_ENOENT)
        return biz_fail(reply, BIZ_TOKEN_REVOKED, NULL, NULL);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    /* Expired or not: an access token alone does not bring the session back. */
    if ((user_id != NULL && strcmp(user_id, store_doc_id(user)) != 0) ||
        session_must_live(req, reply, session, user) != BIZ_OK)
        return biz_fail(reply, BIZ_TOKEN_REVOKED, NULL, NULL);
    req->user = user;
    req->session = session;
    session_touch(req);
    return BIZ_OK;
}

static biz_code by_token(biz_req *req, biz_reply *reply, const char *token)
{
    const biz_env *env = req->env;
    token_claims claims;
    apr_status_t status = token_access_read(req->pool, env->keys, env->seen,
                                            env->settings->public_url, token, req->now, &claims);

    if (status != APR_SUCCESS)
        return biz_fail(reply, status == APR_TIMEUP ? BIZ_TOKEN_EXPIRED : BIZ_UNAUTHENTICATED, NULL,
                        NULL);
    return load(req, reply, claims.session_id, claims.user_id);
}

/* A token that is sent is what counts: where it is no good, no cookie is asked. */
biz_code auth_identify(biz_req *req, biz_reply *reply)
{
    const char *token = bearer(req), *session_id;

    if (token != NULL)
        return by_token(req, reply, token);
    session_id = cookie_session(req);
    if (session_id == NULL)
        return biz_fail(reply, BIZ_UNAUTHENTICATED, NULL, NULL);
    if (cookie_check_origin(req, reply) != BIZ_OK)
        return reply->code;
    return load(req, reply, session_id, NULL);
}

static void note_refusal(biz_req *req)
{
    biz_json *details = biz_json_object(req->pool);

    biz_json_set_str(details, "method", req->route->method);
    biz_json_set_str(details, "path", req->route->path);
    audit_note(req, "authz_fail", store_doc_id(req->user), biz_json_text(req->pool, details, NULL));
}

int auth_must_enrol(const biz_req *req)
{
    const apr_array_header_t *roles = req->env->settings->require_mfa;
    const char *role = store_str(req->user, USER_ROLE);
    int i;

    for (i = 0; !store_bool(req->user, USER_MFA_ENABLED) && i < roles->nelts; i++)
        if (!strcmp(APR_ARRAY_IDX(roles, i, const char *), role))
            return 1;
    return 0;
}

biz_code auth_permit(biz_req *req, biz_reply *reply, biz_who who)
{
    const char *role = store_str(req->user, USER_ROLE);
    int is_admin = !strcmp(role, "admin"), is_staff = is_admin || !strcmp(role, "staff");

    if ((who == BIZ_ADMIN && !is_admin) || (who == BIZ_STAFF && !is_staff)) {
        note_refusal(req);
        return biz_fail(reply, BIZ_FORBIDDEN, NULL, NULL);
    }
    if (!(req->route->flags & BIZ_ENROLS) && auth_must_enrol(req)) {
        note_refusal(req);
        return biz_fail(reply, BIZ_MFA_REQUIRED, NULL, NULL);
    }
    return BIZ_OK;
}
