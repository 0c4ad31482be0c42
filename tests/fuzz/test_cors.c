/* test_cors.c: Origin and the preflight's headers, against a list of origins of the configuration.
 * Lines: method, Origin, Access-Control-Request-Method, Access-Control-Request-Headers, then the
 * entries of the list and, behind '@', domains. */
#include "fuzz.h"

#include "cors/cors.h"

static int is_clean(void *context, const char *name, const char *value)
{
    FUZZ_CHECK(strpbrk(name, "\r\n") == NULL && strpbrk(value, "\r\n") == NULL);
    return 1;
}

static void configure(apr_pool_t *pool, apr_array_header_t *origins, const char *entry)
{
    const char *why = NULL, *origin;

    if (*entry == '@') {
        int before = origins->nelts;

        why = cors_add_domain(pool, origins, entry + 1);
        FUZZ_CHECK(why == NULL || origins->nelts == before);
        return;
    }
    origin = cors_origin_parse(pool, entry, &why);
    FUZZ_CHECK((origin == NULL) == (why != NULL));
    if (origin == NULL)
        return;
    FUZZ_CHECK(!strncmp(origin, "http://", 7) || !strncmp(origin, "https://", 8));
    FUZZ_CHECK(strpbrk(origin, "*@ \t\r\n\"\\#?") == NULL && origin[strlen(origin) - 1] != '/');
    cors_add(origins, origin);
    /* What it is written as is itself an entry, the same one. */
    entry = cors_origin_parse(pool, origin, &why);
    FUZZ_CHECK(entry != NULL && !strcmp(entry, origin));
    FUZZ_CHECK(cors_allowed(origins, origin));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    char *rest = fuzz_text(pool, data, size);
    const char *method = fuzz_line(&rest), *origin = fuzz_line(&rest);
    const char *asked_method = fuzz_line(&rest), *asked_headers = fuzz_line(&rest), *entry;
    apr_array_header_t *origins = cors_origins_default(pool);
    cors_verdict verdict;
    const char *allowed;
    int listed = 0;

    while ((entry = fuzz_line(&rest)) != NULL)
        configure(pool, origins, entry);
    cors_decide(pool, origins, method, origin, asked_method, asked_headers, "GET, HEAD, OPTIONS",
                &verdict);
    for (int i = 0; origin != NULL && i < origins->nelts; i++)
        listed |= !strcmp(origin, APR_ARRAY_IDX(origins, i, const char *));
    allowed = apr_table_get(verdict.headers, "Access-Control-Allow-Origin");
    FUZZ_CHECK(verdict.allowed == listed);
    FUZZ_CHECK(allowed == NULL ? !listed : listed && !strcmp(allowed, origin));
    FUZZ_CHECK(apr_table_get(verdict.headers, "Vary") != NULL);
    FUZZ_CHECK(!verdict.is_preflight || verdict.status == (listed ? 204 : 403));
    apr_table_do(is_clean, NULL, verdict.headers, NULL);
    return 0;
}
