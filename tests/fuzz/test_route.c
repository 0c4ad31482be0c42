/* test_route.c: method, path and query of a request line: which route, which rule of the limiter,
 * which parameters, which page. Lines: method, path, query, a pattern of a rule, its rate. */
#include "fuzz.h"

#include "core/str.h"
#include "limit/limit.h"

static void check_page(apr_pool_t *pool, const char *query)
{
    biz_req req = {.pool = pool, .query = query};
    biz_reply reply = {.pool = pool};
    const char *cursor;
    int limit = 0;

    if (biz_page_of(&req, &reply, &limit, &cursor) == BIZ_OK) {
        FUZZ_CHECK(limit >= 1 && limit <= BIZ_PAGE_MAX);
        FUZZ_CHECK(cursor == NULL || biz_utf8_count(cursor, strlen(cursor)) >= 0);
    }
}

static void check_path(apr_pool_t *pool, const char *method, const char *path)
{
    apr_table_t *params = apr_table_make(pool, 2);
    const char *allow = NULL;
    const biz_route *route = biz_route_find(pool, method, path, &allow, params);

    if (route == NULL)
        return;
    FUZZ_CHECK(allow == NULL);
    FUZZ_CHECK(strchr(route->path, '{') != NULL || !strcmp(route->path, path));
    FUZZ_CHECK((strchr(route->path, '{') != NULL) == !apr_is_empty_table(params));
}

static void check_rules(apr_pool_t *pool, const char *path, const char *pattern, const char *rate)
{
    apr_array_header_t *rules = limit_rules_default(pool);
    const char *why = NULL;
    limit_rule *rule = limit_rule_parse(pool, pattern, rate, &why);

    FUZZ_CHECK((rule == NULL) == (why != NULL));
    if (rule != NULL) {
        FUZZ_CHECK(rule->limit >= 1 && rule->limit <= LIMIT_MAX);
        limit_rules_add(rules, rule);
    }
    limit_rules_seal(rules, "fuzz");
    limit_rule_for(rules, path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    char *rest = fuzz_text(pool, data, size);
    const char *method = fuzz_line(&rest), *path = fuzz_line(&rest), *query = fuzz_line(&rest);
    const char *pattern = fuzz_line(&rest), *rate = fuzz_line(&rest), *value;
    int ok;

    if (path == NULL)
        return 0;
    check_path(pool, method, path);
    value = biz_query_get(pool, query, "token", &ok);
    FUZZ_CHECK(ok || value == NULL);
    FUZZ_CHECK(value == NULL || biz_utf8_count(value, strlen(value)) >= 0);
    check_page(pool, query);
    check_rules(pool, path, pattern != NULL ? pattern : path, rate != NULL ? rate : "60/min");
    return 0;
}
