/* cors.c: origins as they may be configured, and the header fields of the CORS protocol for one
 * request. Called by the configuration and by the request pipeline. It must not look at anything
 * but its arguments, and it never refuses a request that is no preflight: a browser keeps an answer
 * without Access-Control-Allow-Origin from the page, that is all CORS is. */
#include "cors.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "core/str.h"

enum { HOST_MAX = 253, LABEL_MAX = 63, SHOWN_MAX = 200 };

static const char *const default_origins[] = {"http://localhost:3000", "http://localhost:19006",
                                              "http://localhost:8081", NULL};

/* What pages of other origins may send beyond what every form can send. */
static const char *const request_headers_known[] = {"Authorization",
                                                    "Content-Type",
                                                    "Idempotency-Key",
                                                    "If-Match",
                                                    "If-None-Match",
                                                    "X-Request-Id",
                                                    NULL};

/* What they may read beyond the seven names that are always readable. */
#define EXPOSED                                                                                    \
    "Retry-After, X-Request-Id, ETag, Location, RateLimit-Limit, RateLimit-Remaining, "            \
    "RateLimit-Reset, Idempotent-Replayed"

#define VARY_PREFLIGHT "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"

/* ---- configuration ---- */

/* WHATWG URL takes a host whose last label is a number for an IPv4 address, "1.2" for 1.0.0.2. */
static int looks_like_v4(const char *host)
{
    const char *last = strrchr(host, '.');

    last = last ? last + 1 : host;
    return strspn(last, "0123456789") == strlen(last) || strncmp(last, "0x", 2) == 0;
}

static const char *name_error(const char *host)
{
    size_t label = 0;

    if (strlen(host) > HOST_MAX) {
        return "the host name is too long";
    }
    for (const char *p = host;; p++) {
        if (*p == '.' || *p == '\0') {
            if (label == 0) {
                return "the host has an empty part: two dots, or a dot at its end";
            }
            label = 0;
            if (*p == '\0') {
                return NULL;
            }
        } else if (*p == '*') {
            return "wildcards are not allowed, name each origin";
        } else if ((unsigned char)*p >= 0x80) {
            return "write an international name in its xn-- form, as browsers send it";
        } else if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '-' ||
                     *p == '_')) {
            return "the host holds a sign that host names do not have";
        } else if (++label > LABEL_MAX) {
            return "a part of the host name is too long";
        }
    }
}

/* The host as browsers write it, without brackets around an IPv6 address; NULL and *why. */
static const char *host_parse(apr_pool_t *pool, const char *host, int bracketed, const char **why)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr a6;
    struct in_addr a4;

    if (bracketed) {
        if (inet_pton(AF_INET6, host, &a6) != 1) {
            *why = "what stands in brackets is no IPv6 address";
            return NULL;
        }
        inet_ntop(AF_INET6, &a6, text, sizeof(text));
        if (strchr(text, '.')) {
            *why = "write an IPv4 address as such, not inside of IPv6";
            return NULL;
        }
        return apr_pstrdup(pool, text);
    }
    *why = name_error(host);
    if (!*why && looks_like_v4(host) && inet_pton(AF_INET, host, &a4) != 1) {
        *why = "the host is no IPv4 address of four numbers";
    }
    return *why ? NULL : host;
}

/* Cuts "host:port" or "[address]:port" in place; *port is NULL where there is none. */
static const char *authority_split(char *text, char **host, char **port, int *bracketed)
{
    char *end;

    *bracketed = text[0] == '[';
    *host = text + *bracketed;
    end = *host + strcspn(*host, *bracketed ? "]" : ":");
    if (*bracketed) {
        if (*end == '\0') {
            return "the bracket of the IPv6 address is not closed";
        }
        *end++ = '\0';
    }
    if (*end != '\0' && *end != ':') {
        return "after the bracket only a port may stand";
    }
    *port = *end ? end + 1 : NULL;
    *end = '\0';
    return NULL;
}

static const char *origin_normal(apr_pool_t *pool, const char *text, const char **why)
{
    const char *rest = strstr(text, "://"), *scheme, *host;
    char *authority, *raw, *port_text;
    int64_t port = 0;
    int bracketed;
    size_t len;

    if (!rest) {
        *why = "an origin is scheme://host or scheme://host:port";
        return NULL;
    }
    scheme = biz_lower(pool, apr_pstrmemdup(pool, text, (apr_size_t)(rest - text)));
    if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0) {
        *why = "the scheme is http or https";
        return NULL;
    }
    authority = apr_pstrdup(pool, biz_lower(pool, rest + 3));
    len = strlen(authority);
    if (len > 0 && authority[len - 1] == '/') {
        authority[len - 1] = '\0';
    }
    if (strpbrk(authority, "/?#\\")) {
        *why = "an origin has no path, no query and no fragment";
        return NULL;
    }
    if (strchr(authority, '@')) {
        *why = "an origin has no user name";
        return NULL;
    }
    *why = authority_split(authority, &raw, &port_text, &bracketed);
    if (*why) {
        return NULL;
    }
    if (port_text && !biz_parse_int(port_text, 1, 65535, &port)) {
        *why = "the port is a number from 1 to 65535";
        return NULL;
    }
    host = host_parse(pool, raw, bracketed, why);
    if (!host) {
        return NULL;
    }
    host = bracketed ? apr_pstrcat(pool, "[", host, "]", NULL) : host;
    if (port == 0 || port == (strcmp(scheme, "https") == 0 ? 443 : 80)) {
        return apr_pstrcat(pool, scheme, "://", host, NULL);
    }
    return apr_psprintf(pool, "%s://%s:%d", scheme, host, (int)port);
}

const char *cors_origin_parse(apr_pool_t *pool, const char *text, const char **why)
{
    const char *reason = NULL, *normal = NULL;

    if (strcmp(text, "*") == 0) {
        reason = "'*' would let every site read customers' data, name each origin";
    } else if (strcasecmp(text, "null") == 0) {
        reason = "'null' is what every sandboxed or local page sends, it names nobody";
    } else if (text[0] == '\0') {
        reason = "it is empty";
    } else {
        normal = origin_normal(pool, text, &reason);
    }
    *why = normal ? NULL
                  : apr_psprintf(pool, "origin \"%s\": %s", biz_printable(pool, text, SHOWN_MAX),
                                 reason);
    return normal;
}

const char *cors_add_domain(apr_pool_t *pool, apr_array_header_t *origins, const char *domain)
{
    static const char *const schemes[] = {"http://", "https://"};
    const char *made[2], *why;

    if (domain[0] == '\0' || strpbrk(domain, "/?#@")) {
        return apr_psprintf(pool,
                            "domain \"%s\": a host name alone is wanted, such as "
                            "portal.example or portal.example:8443",
                            biz_printable(pool, domain, SHOWN_MAX));
    }
    for (int i = 0; i < 2; i++) {
        made[i] = cors_origin_parse(pool, apr_pstrcat(pool, schemes[i], domain, NULL), &why);
        if (!made[i]) {
            return why;
        }
    }
    cors_add(origins, made[0]);
    cors_add(origins, made[1]);
    return NULL;
}

apr_array_header_t *cors_origins_default(apr_pool_t *pool)
{
    apr_array_header_t *origins = apr_array_make(pool, 8, sizeof(const char *));

    for (int i = 0; default_origins[i]; i++) {
        cors_add(origins, default_origins[i]);
    }
    return origins;
}

void cors_add(apr_array_header_t *origins, const char *origin)
{
    if (!cors_allowed(origins, origin)) {
        APR_ARRAY_PUSH(origins, const char *) = apr_pstrdup(origins->pool, origin);
    }
}

/* ---- requests ---- */

int cors_allowed(const apr_array_header_t *origins, const char *origin_header)
{
    for (int i = 0; origin_header && i < origins->nelts; i++) {
        if (strcmp(APR_ARRAY_IDX(origins, i, const char *), origin_header) == 0) {
            return 1;
        }
    }
    return 0;
}

/* 1 where the comma-separated list holds the name, in any case of letters. */
static int list_has(const char *list, const char *name)
{
    size_t len = strlen(name);

    for (const char *p = list; *p;) {
        size_t n;

        p += strspn(p, " \t,");
        n = strcspn(p, " \t,");
        if (n == len && strncasecmp(p, name, n) == 0) {
            return 1;
        }
        p += n;
    }
    return 0;
}

static void preflight(apr_pool_t *pool, const char *request_headers, const char *methods,
                      apr_table_t *headers)
{
    const char *list = NULL;

    if (methods) {
        apr_table_setn(headers, "Access-Control-Allow-Methods", methods);
    }
    for (int i = 0; request_headers && request_headers_known[i]; i++) {
        const char *name = request_headers_known[i];

        if (list_has(request_headers, name)) {
            list = list ? apr_pstrcat(pool, list, ", ", name, NULL) : name;
        }
    }
    if (list) {
        apr_table_setn(headers, "Access-Control-Allow-Headers", list);
    }
    apr_table_setn(headers, "Access-Control-Max-Age", "600");
}

void cors_decide(apr_pool_t *pool, const apr_array_header_t *origins, const char *method,
                 const char *origin, const char *request_method, const char *request_headers,
                 const char *methods, cors_verdict *verdict)
{
    verdict->is_preflight = strcmp(method, "OPTIONS") == 0 && origin && request_method;
    verdict->allowed = cors_allowed(origins, origin);
    verdict->status = !verdict->is_preflight ? 0 : verdict->allowed ? 204 : 403;
    verdict->headers = apr_table_make(pool, 6);
    apr_table_setn(verdict->headers, "Vary", verdict->is_preflight ? VARY_PREFLIGHT : "Origin");
    if (!verdict->allowed) {
        return;
    }
    apr_table_setn(verdict->headers, "Access-Control-Allow-Origin", apr_pstrdup(pool, origin));
    if (verdict->is_preflight) {
        preflight(pool, request_headers, methods, verdict->headers);
    } else {
        apr_table_setn(verdict->headers, "Access-Control-Expose-Headers", EXPOSED);
    }
}
