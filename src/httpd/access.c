/* access.c: the accounts of a business as an authentication of Apache's own, for any <Directory> or
 * <Location>: AuthType BizApi, with Require valid-user, bizapi-role, bizapi-verified, bizapi-mfa.
 *
 * Who calls is found out as for the API, by Bearer or by the portal's cookie, and asked of the
 * store each time: a sign-out holds from the next request on here too. Refusals are Apache's own.
 * The body of the request is never looked at. */
#include "glue.h"

#include <apr_strings.h>
#include <mod_auth.h>

#include "auth/auth.h"

APLOG_USE_MODULE(bizapi);

#define TYPE "BizApi"

typedef struct {
    const store_doc *user, *session;
} identity;

/* Found by this request, or by the one that it is a part or a continuation of. */
static const identity *identity_of(const request_rec *r)
{
    const identity *found = NULL;

    for (; r != NULL && found == NULL; r = r->main != NULL ? r->main : r->prev)
        found = ap_get_module_config(r->request_config, &bizapi_module);
    return found;
}

static int is_asked(request_rec *r)
{
    const char *type = ap_auth_type(r);

    return type != NULL && !strcasecmp(type, TYPE);
}

/* ---- who ---- */

static biz_code identify(request_rec *r)
{
    const business *b = bizapi_business(r->server);
    biz_req *req = bizapi_request(r, b);
    biz_reply reply = {.pool = r->pool, .headers = apr_table_make(r->pool, 1)};
    identity *found;

    bizapi_log_for(r);
    bizapi_signals_hold();
    auth_identify(req, &reply);
    bizapi_signals_release();
    bizapi_log_for(NULL);
    if (reply.code != BIZ_OK)
        return reply.code;
    if (auth_must_enrol(req)) {
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      BZ(1012) "%s may not enter %s before there is a second factor "
                               "(BizApiRequireMfa)",
                      store_doc_id(req->user), r->uri);
        return BIZ_MFA_REQUIRED;
    }
    found = apr_palloc(r->pool, sizeof(*found));
    found->user = req->user;
    found->session = req->session;
    ap_set_module_config(r->request_config, &bizapi_module, found);
    return BIZ_OK;
}

int bizapi_check_authn(request_rec *r)
{
    const identity *found;
    biz_code code;

    if (!is_asked(r))
        return DECLINED;
    if (identity_of(r) == NULL) {
        code = identify(r);
        if (code == BIZ_STORE_UNAVAILABLE)
            apr_table_setn(r->err_headers_out, "Retry-After", "1");
        if (biz_code_status(code) == HTTP_UNAUTHORIZED)
            ap_note_auth_failure(r);
        if (code != BIZ_OK)
            return biz_code_status(code);
    }
    found = identity_of(r);
    /* The id, not the address: it is never given to anybody else, whoever has confirmed what. */
    r->user = apr_pstrdup(r->pool, store_doc_id(found->user));
    r->ap_auth_type = (char *)TYPE;
    return OK;
}

int bizapi_note_failure(request_rec *r, const char *type)
{
    if (strcasecmp(type, TYPE) != 0)
        return DECLINED;
    apr_table_setn(r->err_headers_out, "WWW-Authenticate", "Bearer realm=\"bizapi\"");
    return OK;
}

static void set(apr_table_t *env, const char *name, const char *value)
{
    if (value != NULL)
        apr_table_setn(env, name, value);
}

/* What programs behind Apache get to know: CGI and FastCGI as environment, proxied servers by a
 * RequestHeader that the operator writes. */
int bizapi_export_user(request_rec *r)
{
    const identity *found = identity_of(r);
    apr_table_t *env = r->subprocess_env;

    if (found == NULL)
        return DECLINED;
    set(env, "BIZAPI_USER_ID", store_doc_id(found->user));
    set(env, "BIZAPI_EMAIL", store_str(found->user, USER_EMAIL));
    set(env, "BIZAPI_EMAIL_VERIFIED", store_bool(found->user, USER_EMAIL_VERIFIED) ? "1" : "0");
    set(env, "BIZAPI_NAME", store_str(found->user, USER_NAME));
    set(env, "BIZAPI_ROLE", store_str(found->user, USER_ROLE));
    set(env, "BIZAPI_MFA", store_bool(found->session, SESSION_MFA) ? "1" : "0");
    set(env, "BIZAPI_SESSION_ID", store_doc_id(found->session));
    /* A cache that goes by the URI alone must not show one person's page to another. Those of a
     * part are merged into the whole. Beside the answer's own headers: mod_proxy puts those of the
     * server behind in their place. */
    if (r->main == NULL &&
        !ap_find_token(r->pool, apr_table_get(r->err_headers_out, "Cache-Control"), "private"))
        apr_table_mergen(r->err_headers_out, "Cache-Control", "private");
    return DECLINED;
}

/* ---- Require ---- */

static const char *const ranks[] = {"customer", "staff", "admin"};

static int rank_of(const char *role)
{
    size_t i;

    for (i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++)
        if (!strcmp(role, ranks[i]))
            return (int)i;
    return -1;
}

/* Who AuthType BizApi has let in. NULL: nobody yet, or somebody by another AuthType. */
static const identity *let_in(request_rec *r)
{
    const identity *found = identity_of(r);

    return found != NULL && r->user != NULL && r->ap_auth_type != NULL &&
                   !strcmp(r->ap_auth_type, TYPE) && !strcmp(r->user, store_doc_id(found->user))
               ? found
               : NULL;
}

static authz_status granted_if(const request_rec *r, int holds)
{
    return r->user == NULL ? AUTHZ_DENIED_NO_USER : holds ? AUTHZ_GRANTED : AUTHZ_DENIED;
}

/* The least of the named roles is enough: an admin may do what staff may, as in the API. */
static const char *parse_roles(cmd_parms *cmd, const char *line, const void **parsed)
{
    static const int least[] = {0, 1, 2};
    int lowest = -1, rank;

    while (*line != '\0') {
        const char *role = ap_getword_conf(cmd->temp_pool, &line);

        rank = rank_of(role);
        if (rank < 0)
            return apr_psprintf(cmd->pool,
                                "Require bizapi-role: '%s': the roles are customer, staff and "
                                "admin",
                                role);
        lowest = lowest < 0 || rank < lowest ? rank : lowest;
    }
    if (lowest < 0)
        return "Require bizapi-role: name a role: customer, staff or admin";
    *parsed = &least[lowest];
    return NULL;
}

static authz_status check_role(request_rec *r, const char *line, const void *parsed)
{
    const identity *found = let_in(r);

    return granted_if(r, found != NULL &&
                             rank_of(store_str(found->user, USER_ROLE)) >= *(const int *)parsed);
}

static const char *parse_nothing(cmd_parms *cmd, const char *line, const void **parsed)
{
    return *line == '\0'
               ? NULL
               : apr_psprintf(cmd->pool, "Require: nothing may stand behind it, not '%s'", line);
}

static authz_status check_verified(request_rec *r, const char *line, const void *parsed)
{
    const identity *found = let_in(r);

    return granted_if(r, found != NULL && store_bool(found->user, USER_EMAIL_VERIFIED));
}

static authz_status check_mfa(request_rec *r, const char *line, const void *parsed)
{
    const identity *found = let_in(r);

    return granted_if(r, found != NULL && store_bool(found->session, SESSION_MFA));
}

void bizapi_register_access(apr_pool_t *pool)
{
    static const struct {
        const char *name;
        authz_provider provider;
    } each[] = {{"bizapi-role", {check_role, parse_roles}},
                {"bizapi-verified", {check_verified, parse_nothing}},
                {"bizapi-mfa", {check_mfa, parse_nothing}}};
    size_t i;

    for (i = 0; i < sizeof(each) / sizeof(each[0]); i++)
        ap_register_auth_provider(pool, AUTHZ_PROVIDER_GROUP, each[i].name, AUTHZ_PROVIDER_VERSION,
                                  &each[i].provider, AP_AUTH_INTERNAL_PER_CONF);
}
