/* redact.c: what stands behind the '?' of our URIs may be a token, so no log gets it. The values
 * are replaced in the request line as soon as it was read (mod_status shows it) and in everything
 * that a log format can name right before the request is logged; the handler reads the real query
 * in between. The Referer goes the same way: a page elsewhere may have had the token in its own
 * address. */
#include "glue.h"

#include <string.h>
#include <apr_strings.h>

#define HIDDEN '*'

/* Like bizapi_is_ours() for a path as it came, before Apache made it plain. */
static int path_is_ours(request_rec *r)
{
    char *path;

    if (r->uri == NULL || r->uri[0] != '/')
        return 0;
    path = apr_pstrdup(r->pool, r->uri);
    if (!ap_normalize_path(path, AP_NORMALIZE_MERGE_SLASHES | AP_NORMALIZE_DECODE_UNRESERVED))
        path = apr_pstrdup(r->pool, r->uri);
    return !strncmp(path, BIZ_PREFIX, BIZ_PREFIX_LEN);
}

/* "a=1&b=2" -> "a=*&b=*". Written forward into memory taken once: a URI of nothing but '&' would
 * else cost its length squared, before any limit has seen the request. */
static const char *hide_values(apr_pool_t *pool, const char *query, size_t len)
{
    const char *end = query + len;
    char *hidden = apr_palloc(pool, 2 * len + 1), *to = hidden; /* each part is longer by one '*' */

    while (query < end) {
        const char *stop = memchr(query, '&', (size_t)(end - query)), *equals;

        if (stop == NULL)
            stop = end;
        equals = memchr(query, '=', (size_t)(stop - query));
        if (to != hidden)
            *to++ = '&';
        if (equals != NULL) {
            memcpy(to, query, (size_t)(equals - query) + 1);
            to += equals - query + 1;
        }
        *to++ = HIDDEN;
        query = stop + 1;
    }
    *to = '\0';
    return hidden;
}

/* The text with the values of the query between its '?' and the next space hidden. */
static const char *hide_query(apr_pool_t *pool, const char *text)
{
    const char *mark = text != NULL ? strchr(text, '?') : NULL;
    size_t len;

    if (mark == NULL)
        return text;
    mark++;
    len = strcspn(mark, " \t");
    return apr_pstrcat(pool, apr_pstrmemdup(pool, text, (size_t)(mark - text)),
                       hide_values(pool, mark, len), mark + len, NULL);
}

int bizapi_hide_early(request_rec *r)
{
    if (r->the_request != NULL && strchr(r->the_request, '?') != NULL && path_is_ours(r)) {
        r->the_request = (char *)hide_query(r->pool, r->the_request);
        /* The core names this one in lines about paths that it refuses. */
        r->unparsed_uri = (char *)hide_query(r->pool, r->unparsed_uri);
    }
    return DECLINED;
}

int bizapi_hide_in_log(request_rec *r)
{
    request_rec *first = r, *each;
    const char *referer;

    while (first->prev != NULL)
        first = first->prev;
    /* A line that Apache could not take apart has no uri of its own; its text begins with ours. */
    if (!path_is_ours(first) &&
        (first->the_request == NULL || strstr(first->the_request, BIZ_PREFIX) == NULL))
        return DECLINED;
    for (each = first; each != NULL; each = each->next) {
        each->the_request = (char *)hide_query(each->pool, each->the_request);
        each->unparsed_uri = (char *)hide_query(each->pool, each->unparsed_uri);
        if (each->args != NULL)
            each->args = (char *)hide_values(each->pool, each->args, strlen(each->args));
        referer = apr_table_get(each->headers_in, "Referer");
        if (referer != NULL && strchr(referer, '?') != NULL)
            apr_table_setn(each->headers_in, "Referer", hide_query(each->pool, referer));
    }
    return DECLINED;
}
