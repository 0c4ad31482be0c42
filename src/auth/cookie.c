/* cookie.c: see cookie.h. Called by session.c, login.c and identify.c; asks no store. */
#include "cookie.h"

#include <string.h>
#include <strings.h>
#include <apr_strings.h>

#include "auth.h"
#include "core/crypto.h"
#include "core/str.h"
#include "core/valid.h"
#include "cors/cors.h"
#include "keys.h"

#define NAME "bizapi"
#define ATTRIBUTES "; Path=/; HttpOnly; SameSite=Strict"

static int is_https(const char *url)
{
    return !strncmp(url, "https://", 8);
}

/* The cookie's name for this request, NULL where there is none. Behind a proxy that ends TLS the
 * public address says that the browser speaks https. */
static const char *name_of(const biz_req *req)
{
    if (is_https(req->origin) || is_https(req->env->settings->public_url))
        return "__Host-" NAME;
    return biz_url_is_loopback(req->origin) ? NAME : NULL;
}

static const char *value_of(const biz_req *req, const char *session_id)
{
    unsigned char mac[BIZ_SHA256_LEN];

    biz_hmac_sha256(req->env->keys->cookie, BIZ_KEY_LEN, session_id, strlen(session_id), mac);
    return apr_pstrcat(req->pool, session_id, ".", biz_b64url(req->pool, mac, sizeof(mac)), NULL);
}

/* The value of the first cookie of this name (RFC 6265 section 4.2). */
static const char *find(const biz_req *req, const char *name)
{
    const char *p = req->header(req, "Cookie");
    size_t len = strlen(name);

    while (p != NULL && *p != '\0') {
        p += strspn(p, " \t;");
        if (!strncmp(p, name, len) && p[len] == '=')
            return apr_pstrmemdup(req->pool, p + len + 1, strcspn(p + len + 1, "; \t"));
        p += strcspn(p, ";");
    }
    return NULL;
}

const char *cookie_session(const biz_req *req)
{
    const char *name = name_of(req), *value = name != NULL ? find(req, name) : NULL, *id;

    if (value == NULL)
        return NULL;
    id = apr_pstrmemdup(req->pool, value, strcspn(value, "."));
    return biz_valid_id(id, "ses") && biz_same_text(value, value_of(req, id)) ? id : NULL;
}

/* ---- from which pages ---- */

/* 1 where `origin` is scheme, host and port of the URL. */
static int is_origin_of(const char *origin, const char *url)
{
    size_t len = strlen(origin);

    return !strncmp(url, origin, len) && (url[len] == '\0' || url[len] == '/');
}

/* Where browsers reach us by https, a page that came by http may be anybody's on the way, also one
 * of this very host: behind a proxy that ends TLS our own origin looks like that. */
static int is_ours(const biz_req *req, const char *origin)
{
    const biz_settings *settings = req->env->settings;

    if (is_https(settings->public_url) && !is_https(origin))
        return 0;
    return !strcmp(origin, req->origin) || is_origin_of(origin, settings->frontend_url) ||
           is_origin_of(origin, settings->public_url) ||
           (cors_allowed(settings->origins, origin) &&
            (is_https(origin) || biz_url_is_loopback(origin)));
}

static biz_code refuse(const biz_req *req, biz_reply *reply)
{
    biz_log(BIZ_LOG_INFO, 0,
            BZ(0508) "a request with the cookie from a page of another site was refused: %s",
            biz_printable(req->pool, req->path, 200));
    return biz_fail(reply, BIZ_ORIGIN_NOT_ALLOWED, NULL, NULL);
}

static int is_cross_site(const biz_req *req)
{
    const char *site = req->header(req, "Sec-Fetch-Site");

    return site != NULL && !strcasecmp(site, "cross-site");
}

/* A GET that becomes a WebSocket does what it likes, and a sibling host's page may send it. h2c is
 * the same request in another protocol. */
static int only_reads(const biz_req *req)
{
    const char *upgrade = req->header(req, "Upgrade");

    return (!strcmp(req->method, "GET") || !strcmp(req->method, "HEAD") ||
            !strcmp(req->method, "OPTIONS")) &&
           (upgrade == NULL || !strcasecmp(upgrade, "h2c"));
}

biz_code cookie_check_origin(const biz_req *req, biz_reply *reply)
{
    const char *origin = req->header(req, "Origin");

    if (only_reads(req))
        return BIZ_OK;
    if (origin == NULL || is_cross_site(req) || !is_ours(req, origin))
        return refuse(req, reply);
    return BIZ_OK;
}

/* ---- giving and taking ---- */

static int is_wanted(const biz_req *req)
{
    const char *wanted = biz_field_str(req, "session_cookie");

    return wanted != NULL && !strcmp(wanted, "true");
}

biz_code cookie_may_give(const biz_req *req, biz_reply *reply)
{
    const char *origin = req->header(req, "Origin");

    if (!is_wanted(req))
        return BIZ_OK;
    if (name_of(req) == NULL)
        return biz_fail(reply, BIZ_INVALID_REQUEST, "session_cookie", "A cookie needs https.");
    /* A page elsewhere must not sign its visitor in to an account of its own. */
    if (is_cross_site(req) || (origin != NULL && !is_ours(req, origin)))
        return refuse(req, reply);
    return BIZ_OK;
}

static void set(const biz_req *req, biz_reply *reply, const char *value, long seconds)
{
    const char *name = name_of(req), *secure = name[0] == '_' ? "; Secure" : "";

    apr_table_setn(reply->headers, "Set-Cookie",
                   apr_psprintf(req->pool, "%s=%s; Max-Age=%ld" ATTRIBUTES "%s", name, value,
                                seconds, secure));
}

void cookie_give(const biz_req *req, biz_reply *reply, const char *session_id)
{
    /* Longer than the session may last: the server is who says when it ends. */
    if (is_wanted(req))
        set(req, reply, value_of(req, session_id), AUTH_REFRESH_MAX_DAYS * 24L * 3600);
}

void cookie_take_back(const biz_req *req, biz_reply *reply)
{
    if (cookie_session(req) != NULL)
        set(req, reply, "", 0);
}
