/* test_cors.c: origins in the configuration and the header fields for one request; the rows C of
 * the acceptance table that need no server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "cors/cors.h"

#define VARY_ALL "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
#define ORIGIN "https://portal.example"

static apr_pool_t *pool;

static void test_origin_forms(void **state)
{
    static const char *const forms[][2] = {
        {"https://app.example", "https://app.example"},
        {"https://app.example/", "https://app.example"},
        {"HTTPS://App.Example", "https://app.example"},
        {"https://app.example:443", "https://app.example"},
        {"http://app.example:80/", "http://app.example"},
        {"http://app.example:443", "http://app.example:443"},
        {"https://app.example:80", "https://app.example:80"},
        {"http://localhost:3000", "http://localhost:3000"},
        {"https://xn--bcher-kva.example", "https://xn--bcher-kva.example"},
        {"http://127.0.0.1:8081", "http://127.0.0.1:8081"},
        {"http://[::1]:3000", "http://[::1]:3000"},
        {"http://[2001:DB8:0:0::1]", "http://[2001:db8::1]"},
        {"https://[::1]:443/", "https://[::1]"},
        {"https://my_host.example", "https://my_host.example"},
    };

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        const char *why = "unset", *got = cors_origin_parse(pool, forms[i][0], &why);

        assert_non_null(got);
        assert_string_equal(got, forms[i][1]);
        assert_null(why);
    }
}

static void test_origin_refused(void **state)
{
    static const char *const bad[][2] = {
        {"*", "every site"},
        {"null", "names nobody"},
        {"NULL", "names nobody"},
        {"", "empty"},
        {"app.example", "scheme://host"},
        {"//app.example", "scheme://host"},
        {"ftp://app.example", "http or https"},
        {"file:///etc", "http or https"},
        {"://app.example", "http or https"},
        {"https://", "empty part"},
        {"https:///", "empty part"},
        {"https://*.example", "wildcards"},
        {"https://app.*", "wildcards"},
        {"https://app.example/login", "no path"},
        {"https://app.example//", "no path"},
        {"https://app.example?x", "no path"},
        {"https://app.example#x", "no path"},
        {"https://app.example\\x", "no path"},
        {"https://user@app.example", "no user name"},
        {"https://user:pw@app.example", "no user name"},
        {"https://app.example:", "port"},
        {"https://app.example:0", "port"},
        {"https://app.example:65536", "port"},
        {"https://app.example:080", "port"},
        {"https://app.example:8x", "port"},
        {"https://app.example.", "empty part"},
        {"https://app..example", "empty part"},
        {"https://.example", "empty part"},
        {"https://b\xc3\xbc"
         "cher.example",
         "xn--"},
        {"https://app example", "sign"},
        {"https://app.example, https://b.example", "no path"},
        {"https://1.2.3", "IPv4"},
        {"https://256.1.1.1", "IPv4"},
        {"https://0x7f.0x1", "IPv4"},
        {"https://2130706433", "IPv4"},
        {"https://[::1", "not closed"},
        {"https://[::1]x", "only a port"},
        {"https://[1.2.3.4]", "IPv6"},
        {"https://[fe80::1%eth0]", "IPv6"},
        {"https://[::ffff:1.2.3.4]", "IPv4"},
    };
    char *label, *name;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *why = NULL;

        assert_null(cors_origin_parse(pool, bad[i][0], &why));
        assert_non_null(why);
        if (!strstr(why, bad[i][1])) {
            fail_msg("%s: %s", bad[i][0], why);
        }
        if (strspn(bad[i][0], "abcdefghijklmnopqrstuvwxyz:/.*") == strlen(bad[i][0])) {
            assert_non_null(strstr(why, bad[i][0])); /* it names the entry */
        }
    }
    label = apr_palloc(pool, 65);
    memset(label, 'a', 64);
    label[64] = '\0';
    name = apr_pstrcat(pool, "https://", label, NULL);
    assert_null(cors_origin_parse(pool, name, &(const char *){NULL}));
    name[strlen(name) - 1] = '\0';
    assert_non_null(cors_origin_parse(pool, name, &(const char *){NULL}));
}

static void test_reason_is_printable(void **state)
{
    const char *why = NULL;

    assert_null(cors_origin_parse(pool, "https://a\r\nSet-Cookie: x", &why));
    assert_null(strpbrk(why, "\r\n"));
}

static void test_domain(void **state)
{
    static const char *const bad[] = {
        "",    "https://portal.example", "portal.example/",     "*.example",
        "a b", "portal.example:0",       "user@portal.example", "a?b"};
    apr_array_header_t *origins = apr_array_make(pool, 2, sizeof(const char *));

    assert_null(cors_add_domain(pool, origins, "Portal.example"));
    assert_int_equal(origins->nelts, 2);
    assert_true(cors_allowed(origins, "http://portal.example"));
    assert_true(cors_allowed(origins, "https://portal.example"));
    assert_null(cors_add_domain(pool, origins, "portal.example"));
    assert_int_equal(origins->nelts, 2); /* nothing twice */
    assert_null(cors_add_domain(pool, origins, "portal.example:8443"));
    assert_true(cors_allowed(origins, "https://portal.example:8443"));
    assert_true(cors_allowed(origins, "http://portal.example:8443"));
    assert_int_equal(origins->nelts, 4);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_non_null(cors_add_domain(pool, origins, bad[i]));
        assert_int_equal(origins->nelts, 4); /* nothing half */
    }
}

static apr_array_header_t *listed(void)
{
    apr_array_header_t *origins = cors_origins_default(pool);

    assert_null(cors_add_domain(pool, origins, "portal.example"));
    return origins;
}

static void test_defaults(void **state)
{
    apr_array_header_t *origins = cors_origins_default(pool);

    assert_int_equal(origins->nelts, 3);
    assert_true(cors_allowed(origins, "http://localhost:3000"));
    assert_true(cors_allowed(origins, "http://localhost:19006"));
    assert_true(cors_allowed(origins, "http://localhost:8081"));
    assert_false(cors_allowed(origins, "http://localhost"));
    assert_false(cors_allowed(origins, "https://localhost:3000"));
}

static cors_verdict ask(const char *method, const char *origin, const char *request_method,
                        const char *request_headers, const char *methods)
{
    cors_verdict v;

    memset(&v, 0xff, sizeof(v));
    cors_decide(pool, listed(), method, origin, request_method, request_headers, methods, &v);
    return v;
}

static int no_cors_header(void *count, const char *name, const char *value)
{
    *(int *)count += strncasecmp(name, "Access-Control-", 15) == 0;
    return 1;
}

static void assert_silent(const cors_verdict *v)
{
    int count = 0;

    apr_table_do(no_cors_header, &count, v->headers, NULL);
    assert_int_equal(count, 0);
    assert_false(v->allowed);
}

#define H(v, name) apr_table_get((v).headers, name)

static void test_simple(void **state) /* C-1, C-10 */
{
    cors_verdict v = ask("GET", ORIGIN, NULL, NULL, "GET, HEAD, OPTIONS");

    assert_true(v.allowed);
    assert_false(v.is_preflight);
    assert_int_equal(v.status, 0);
    assert_string_equal(H(v, "Access-Control-Allow-Origin"), ORIGIN);
    assert_string_equal(H(v, "Vary"), "Origin");
    assert_string_equal(H(v, "Access-Control-Expose-Headers"),
                        "Retry-After, X-Request-Id, ETag, Location, RateLimit-Limit, "
                        "RateLimit-Remaining, RateLimit-Reset, Idempotent-Replayed");
    assert_null(H(v, "Access-Control-Allow-Credentials"));
    assert_null(H(v, "Access-Control-Allow-Methods"));
}

static void test_no_origin(void **state) /* C-2 */
{
    cors_verdict v = ask("GET", NULL, NULL, NULL, NULL);

    assert_silent(&v);
    assert_string_equal(H(v, "Vary"), "Origin");
    v = ask("OPTIONS", NULL, "GET", NULL, NULL);
    assert_silent(&v);
    assert_false(v.is_preflight);
}

static void test_unlisted(void **state) /* C-3, C-4 */
{
    static const char *const origins[] = {"https://portal.example.evil.com",
                                          "https://evilportal.example",
                                          "https://sub.portal.example",
                                          "https://portal.example:8443",
                                          "https://portal.example.",
                                          "https://Portal.example",
                                          "HTTPS://portal.example",
                                          "https://portal.example/",
                                          "https://portal.example/x",
                                          "https://portal.example:443",
                                          "https://user@portal.example",
                                          "null",
                                          "",
                                          "*",
                                          "https://portal.example, https://portal.example",
                                          " https://portal.example",
                                          "https://portal.example "};
    char *longest = apr_palloc(pool, 4097);

    for (size_t i = 0; i < sizeof(origins) / sizeof(origins[0]); i++) {
        cors_verdict v = ask("GET", origins[i], NULL, NULL, NULL);

        assert_silent(&v);
        assert_int_equal(v.status, 0); /* the request itself goes on */
        v = ask("OPTIONS", origins[i], "GET", NULL, "GET, OPTIONS");
        assert_silent(&v);
        assert_true(v.is_preflight);
        assert_int_equal(v.status, 403); /* C-8 */
        assert_string_equal(H(v, "Vary"), VARY_ALL);
    }
    memset(longest, 'a', 4096);
    longest[4096] = '\0';
    assert_silent(&(cors_verdict[]){ask("GET", longest, NULL, NULL, NULL)}[0]);
}

static void test_preflight(void **state) /* C-6, C-7, C-11 */
{
    cors_verdict v = ask("OPTIONS", ORIGIN, "POST", "authorization,content-type", "POST, OPTIONS");

    assert_true(v.is_preflight);
    assert_true(v.allowed);
    assert_int_equal(v.status, 204);
    assert_string_equal(H(v, "Access-Control-Allow-Origin"), ORIGIN);
    assert_string_equal(H(v, "Access-Control-Allow-Methods"), "POST, OPTIONS");
    assert_string_equal(H(v, "Access-Control-Allow-Headers"), "Authorization, Content-Type");
    assert_string_equal(H(v, "Access-Control-Max-Age"), "600");
    assert_string_equal(H(v, "Vary"), VARY_ALL);
    assert_null(H(v, "Access-Control-Allow-Credentials"));
    /* OPTIONS without the asking field is no preflight. */
    v = ask("OPTIONS", ORIGIN, NULL, NULL, "POST, OPTIONS");
    assert_false(v.is_preflight);
    assert_true(v.allowed);
    /* Nor is another method with it. */
    v = ask("POST", ORIGIN, "POST", NULL, "POST, OPTIONS");
    assert_false(v.is_preflight);
}

static void test_preflight_headers(void **state) /* C-8 */
{
    cors_verdict v = ask("OPTIONS", ORIGIN, "GET",
                         "X-Evil, IF-NONE-MATCH ,\tx-request-id,if-match, idempotency-key,"
                         "Authorizationx, xAuthorization, if-match",
                         "GET, OPTIONS");

    assert_string_equal(H(v, "Access-Control-Allow-Headers"),
                        "Idempotency-Key, If-Match, If-None-Match, X-Request-Id");
    v = ask("OPTIONS", ORIGIN, "GET", "x-evil", "GET, OPTIONS");
    assert_int_equal(v.status, 204);
    assert_null(H(v, "Access-Control-Allow-Headers"));
    v = ask("OPTIONS", ORIGIN, "GET", ", ,,\t", "GET, OPTIONS");
    assert_null(H(v, "Access-Control-Allow-Headers"));
    v = ask("OPTIONS", ORIGIN, "GET", NULL, "GET, OPTIONS");
    assert_null(H(v, "Access-Control-Allow-Headers"));
}

static void test_preflight_methods(void **state) /* C-8 */
{
    cors_verdict v = ask("OPTIONS", ORIGIN, "DELETE", NULL, "GET, HEAD, OPTIONS");

    assert_int_equal(v.status, 204);
    assert_null(strstr(H(v, "Access-Control-Allow-Methods"), "DELETE"));
    v = ask("OPTIONS", ORIGIN, "GET", NULL, NULL); /* no route stands there */
    assert_int_equal(v.status, 204);
    assert_null(H(v, "Access-Control-Allow-Methods"));
    assert_string_equal(H(v, "Access-Control-Allow-Origin"), ORIGIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_origin_forms),
        cmocka_unit_test(test_origin_refused),
        cmocka_unit_test(test_reason_is_printable),
        cmocka_unit_test(test_domain),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_simple),
        cmocka_unit_test(test_no_origin),
        cmocka_unit_test(test_unlisted),
        cmocka_unit_test(test_preflight),
        cmocka_unit_test(test_preflight_headers),
        cmocka_unit_test(test_preflight_methods),
    };
    int failed;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
