/* cors.h: which foreign origins may read our answers (WHATWG Fetch, "HTTP-network requests" and
 * "CORS protocol"; RFC 6454). Pure: takes header values, gives header values. */
#ifndef BIZ_CORS_H
#define BIZ_CORS_H

#include <apr_pools.h>
#include <apr_tables.h>

/* An origin as it may stand in the configuration ("https://app.example"), in the form browsers
 * send: lower case, no default port, no slash at the end. NULL and *why for '*', 'null', wildcards,
 * paths, user information and everything else. */
const char *cors_origin_parse(apr_pool_t *pool, const char *text, const char **why);
/* "portal.example" -> http://portal.example and https://portal.example added to the array of
 * const char *. Takes "name" or "name:port". NULL, or what is wrong. */
const char *cors_add_domain(apr_pool_t *pool, apr_array_header_t *origins, const char *domain);
apr_array_header_t *cors_origins_default(apr_pool_t *pool); /* the owner's three */
/* Adds unless it is there. */
void cors_add(apr_array_header_t *origins, const char *origin);
/* 1 where the header's value is byte for byte one of the origins. */
int cors_allowed(const apr_array_header_t *origins, const char *origin_header);

typedef struct {
    int is_preflight;     /* OPTIONS with Origin and Access-Control-Request-Method */
    int allowed;          /* the origin is listed */
    int status;           /* preflight only: 204 or 403 */
    apr_table_t *headers; /* to be set on the answer: Vary always, Access-Control-* when allowed */
} cors_verdict;

/* `origin`, `request_method`, `request_headers`: header values or NULL. `methods`: what the path
 * takes, as in Allow ("GET, HEAD, OPTIONS"), or NULL where no route stands there. */
void cors_decide(apr_pool_t *pool, const apr_array_header_t *origins, const char *method,
                 const char *origin, const char *request_method, const char *request_headers,
                 const char *methods, cors_verdict *verdict);

#endif
