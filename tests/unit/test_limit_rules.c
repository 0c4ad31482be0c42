/* test_limit_rules.c: patterns and rates as operators write them, and which rule a path gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "limit/limit.h"

static apr_pool_t *pool;

static limit_rule *parse(const char *pattern, const char *rate)
{
    const char *why = NULL;
    limit_rule *rule = limit_rule_parse(pool, pattern, rate, &why);

    assert_non_null(rule);
    assert_null(why);
    return rule;
}

static const char *refused(const char *pattern, const char *rate)
{
    const char *why = NULL;

    assert_null(limit_rule_parse(pool, pattern, rate, &why));
    assert_non_null(why);
    return why;
}

static void test_parse(void **state)
{
    limit_rule *rule = parse("/api/v1/auth/login", "10/min");

    assert_string_equal(rule->pattern, "/api/v1/auth/login");
    assert_int_equal(rule->prefix_len, 0);
    assert_int_equal(rule->limit, 10);
    rule = parse("/api/v1/portal/*", "100000/min");
    assert_int_equal(rule->prefix_len, strlen("/api/v1/portal/"));
    assert_int_equal(rule->limit, 100000);
    assert_int_equal(parse("/*", "1/min")->prefix_len, 1);
}

static void test_bad_rates(void **state)
{
    static const char *const rates[] = {"",
                                        "10",
                                        "10/",
                                        "/min",
                                        "0/min",
                                        "-1/min",
                                        "+1/min",
                                        "010/min",
                                        "1.5/min",
                                        "100001/min",
                                        "99999999999999999999/min",
                                        "10/sec",
                                        "10/hour",
                                        "10/minute",
                                        "10/MIN",
                                        "10 /min",
                                        " 10/min",
                                        "10/min ",
                                        "1e3/min",
                                        "10/min/min",
                                        "off",
                                        "unlimited"};

    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        const char *why = refused("/x", rates[i]);

        assert_non_null(strstr(why, "N/min")); /* it says what is allowed */
        assert_non_null(strstr(why, "100000"));
    }
}

static void test_bad_patterns(void **state)
{
    static const struct {
        const char *pattern, *says;
    } bad[] = {{"", "begins with '/'"},       {"api", "begins with '/'"},
               {"*", "begins with '/'"},      {"http://x/y", "begins with '/'"},
               {"/a*", "at the end"},         {"/a/*/b", "at the end"},
               {"/a/**", "at the end"},       {"/a?b", "decoded path"},
               {"/a#b", "decoded path"},      {"/a%20b", "decoded path"},
               {"/a b", "decoded path"},      {"/a\tb", "decoded path"},
               {"/\xc3\xa4", "decoded path"}, {"//a", "normalised"},
               {"/a//*", "normalised"},       {"/a/./b", "normalised"},
               {"/a/../b", "normalised"},     {"/a/..", "normalised"},
               {"/a/.", "normalised"}};
    char longest[300];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_non_null(strstr(refused(bad[i].pattern, "10/min"), bad[i].says));
    }
    memset(longest, 'a', sizeof(longest));
    longest[0] = '/';
    longest[256] = '\0';
    assert_non_null(strstr(refused(longest, "10/min"), "255"));
    longest[255] = '\0';
    assert_int_equal(strlen(parse(longest, "10/min")->pattern), 255);
}

static void test_default_table(void **state)
{
    static const struct {
        const char *path;
        unsigned limit;
    } want[] = {{"/api/v1/portal/services", 60},
                {"/api/v1/portal/", 60},
                {"/api/v1/portal/a/b/c", 60},
                {"/api/v1/auth/login", 10},
                {"/api/v1/auth/register", 10},
                {"/api/v1/auth/forgot-password", 10},
                {"/api/v1/auth/me", 0},
                {"/api/v1/portal", 0},
                {"/api/v1/auth/login/", 0},
                {"/api/v1/auth/login/mfa", 0},
                {"/api/v1/auth/loginx", 0},
                {"/API/v1/auth/login", 0},
                {"/api/v1/portalx/services", 0},
                {"/", 0},
                {"/api/v1/integrations/status", 0}};
    apr_array_header_t *rules = limit_rules_default(pool);

    assert_int_equal(rules->nelts, 4);
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        const limit_rule *rule = limit_rule_for(rules, want[i].path);

        assert_int_equal(rule ? rule->limit : 0, want[i].limit);
    }
}

static void test_most_specific(void **state)
{
    apr_array_header_t *rules = apr_array_make(pool, 4, sizeof(limit_rule *));

    assert_null(limit_rule_for(rules, "/a"));
    limit_rules_add(rules, parse("/*", "1/min"));
    limit_rules_add(rules, parse("/a/b/*", "3/min"));
    limit_rules_add(rules, parse("/a/*", "2/min"));
    limit_rules_add(rules, parse("/a/b/c", "4/min"));
    assert_int_equal(limit_rule_for(rules, "/z")->limit, 1);
    assert_int_equal(limit_rule_for(rules, "/a")->limit, 1);
    assert_int_equal(limit_rule_for(rules, "/a/x")->limit, 2);
    assert_int_equal(limit_rule_for(rules, "/a/b/x")->limit, 3);
    assert_int_equal(limit_rule_for(rules, "/a/b/c")->limit, 4);
    assert_int_equal(limit_rule_for(rules, "/a/b/c/d")->limit, 3);
    /* The same pattern again takes the place of the first. */
    limit_rules_add(rules, parse("/a/b/c", "9/min"));
    assert_int_equal(rules->nelts, 4);
    assert_int_equal(limit_rule_for(rules, "/a/b/c")->limit, 9);
}

static uint64_t id_of(const char *pattern, const char *rate, const char *business)
{
    apr_array_header_t *rules = apr_array_make(pool, 1, sizeof(limit_rule *));

    limit_rules_add(rules, parse(pattern, rate));
    limit_rules_seal(rules, business);
    return APR_ARRAY_IDX(rules, 0, limit_rule *)->id;
}

static void test_ids(void **state)
{
    uint64_t id = id_of("/a", "10/min", "shop");
    apr_array_header_t *one = limit_rules_default(pool), *two;

    assert_true(id == id_of("/a", "10/min", "shop"));
    assert_true(id != id_of("/a", "11/min", "shop"));
    assert_true(id != id_of("/b", "10/min", "shop"));
    assert_true(id != id_of("/a", "10/min", "shop2"));
    assert_true(id_of("/a/*", "10/min", "shop") != id);
    /* Two businesses that share the parsed rules keep their own ids. */
    two = apr_array_copy(pool, one);
    limit_rules_seal(one, "one");
    limit_rules_seal(two, "two");
    for (int i = 0; i < 4; i++) {
        assert_true(APR_ARRAY_IDX(one, i, limit_rule *)->id !=
                    APR_ARRAY_IDX(two, i, limit_rule *)->id);
        assert_true(APR_ARRAY_IDX(one, i, limit_rule *)->id != 0);
    }
}

/* The number is part of the key in a Redis that nodes of different versions share: a change of it
 * would give every caller a fresh budget in the middle of an update. */
static void test_id_is_frozen(void **state)
{
    assert_true(id_of("/api/v1/auth/login", "10/min", "portal") == UINT64_C(0xbb01835759d7efa9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),         cmocka_unit_test(test_bad_rates),
        cmocka_unit_test(test_bad_patterns),  cmocka_unit_test(test_default_table),
        cmocka_unit_test(test_most_specific), cmocka_unit_test(test_ids),
        cmocka_unit_test(test_id_is_frozen),
    };
    int failed;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
