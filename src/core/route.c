/* route.c: finds the entry of the route table for a method and a path. The table is small and
 * fixed; the walk over it compares hashes, and texts where these are the same. */
#include "biz.h"

#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <apr_strings.h>

#include "str.h"

static uint64_t hashes[BIZ_ROUTES_MOST];

static void hash_routes(void)
{
    size_t i;

    for (i = 0; biz_routes[i].method != NULL; i++)
        hashes[i] = biz_hash(biz_routes[i].path);
}

static int is_at(size_t i, uint64_t hash, const char *path)
{
    return hashes[i] == hash && !strcmp(biz_routes[i].path, path);
}

/* 1 where `path` fits `pattern`; the texts under {name} go into params (which may be NULL). */
static int path_fits(apr_pool_t *pool, const char *pattern, const char *path, apr_table_t *params)
{
    while (*pattern != '\0') {
        if (*pattern == '{') {
            const char *close = strchr(pattern, '}');
            size_t len = strcspn(path, "/");

            if (len == 0)
                return 0;
            if (params != NULL)
                apr_table_setn(params, apr_pstrmemdup(pool, pattern + 1, close - pattern - 1),
                               apr_pstrmemdup(pool, path, len));
            pattern = close + 1;
            path += len;
        } else if (*pattern++ != *path++) {
            return 0;
        }
    }
    return *path == '\0';
}

const biz_route *biz_route_find(apr_pool_t *pool, const char *method, const char *path,
                                const char **allow, apr_table_t *params)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const char *asked = !strcmp(method, "HEAD") ? "GET" : method;
    const uint64_t hash = biz_hash(path);
    const biz_route *route;
    size_t first = 0, i;
    int literal;

    pthread_once(&once, hash_routes);
    /* "/integrations/status" is no "/integrations/{name}". */
    while (biz_routes[first].method != NULL && !is_at(first, hash, path))
        first++;
    literal = biz_routes[first].method != NULL;
    *allow = NULL;
    for (i = literal ? first : 0; (route = &biz_routes[i])->method != NULL; i++) {
        if (literal ? !is_at(i, hash, path) : !path_fits(pool, route->path, path, NULL))
            continue;
        if (!strcmp(route->method, asked)) {
            if (params != NULL && !literal)
                path_fits(pool, route->path, path, params);
            *allow = NULL;
            return route;
        }
        *allow = apr_pstrcat(pool, *allow != NULL ? *allow : "", *allow != NULL ? ", " : "",
                             route->method, !strcmp(route->method, "GET") ? ", HEAD" : "", NULL);
    }
    if (*allow != NULL)
        *allow = apr_pstrcat(pool, *allow, ", OPTIONS", NULL);
    return NULL;
}

int biz_route_takes_whole(const biz_route *route, const char *type)
{
    const biz_field *field;

    for (field = route->fields; field != NULL && field->name != NULL; field++) {
        size_t len = strlen(field->name);

        if (field->type == BIZ_FIELD_BODY &&
            (type == NULL ||
             (strncasecmp(type, field->name, len) == 0 && strchr("; \t", type[len]) != NULL)))
            return 1;
    }
    return 0;
}

const char *biz_route_types(apr_pool_t *pool, const biz_route *route)
{
    const char *types = NULL;
    const biz_field *field;

    for (field = route->fields; field != NULL && field->name != NULL; field++)
        if (field->type == BIZ_FIELD_BODY)
            types =
                types == NULL ? field->name : apr_pstrcat(pool, types, " or ", field->name, NULL);
    return types;
}

long biz_route_body_max(const biz_route *route, long otherwise)
{
    const biz_field *field;
    long max = 0;

    for (field = route->fields; field != NULL && field->name != NULL; field++)
        if (field->type == BIZ_FIELD_BODY && field->max > max)
            max = field->max;
    return max > 0 ? max : otherwise;
}
