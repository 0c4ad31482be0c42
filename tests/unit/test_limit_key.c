/* test_limit_key.c: which addresses share one budget. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_network_io.h>

#include "limit/limit.h"

static apr_pool_t *pool;

static limit_addr addr(const char *text)
{
    limit_addr a;

    assert_true(limit_addr_parse(text, &a));
    return a;
}

static int same(const char *a, const char *b)
{
    limit_addr x = addr(a), y = addr(b);

    return x.len == y.len && memcmp(x.bytes, y.bytes, sizeof(x.bytes)) == 0;
}

static void test_text(void **state)
{
    assert_int_equal(addr("192.0.2.7").len, 4);
    assert_memory_equal(addr("192.0.2.7").bytes, "\xc0\x00\x02\x07", 4);
    assert_int_equal(addr("2001:db8:1:2:3:4:5:6").len, 8);
    assert_memory_equal(addr("2001:db8:1:2:3:4:5:6").bytes, "\x20\x01\x0d\xb8\x00\x01\x00\x02", 8);
    assert_true(same("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert_false(same("2001:db8:1:2::1", "2001:db8:1:3::1"));
    assert_true(same("::ffff:1.2.3.4", "1.2.3.4"));
    assert_true(same("::ffff:102:304", "1.2.3.4"));
    assert_false(same("::1.2.3.4", "1.2.3.4"));
    assert_false(same("1.2.3.4", "1.2.3.5"));
    assert_true(same("fe80::1%eth0", "fe80::1%eth1"));
    assert_true(same("fe80::1%eth0", "fe80::1"));
    assert_true(same("2001:DB8::1", "2001:db8::1"));
}

static void test_no_address(void **state)
{
    static const char *const bad[] = {
        "",
        "unknown",
        "1.2.3",
        "1.2.3.4:80",
        "[::1]",
        "1.2.3.256",
        "01.2.3.4",
        " 1.2.3.4",
        "1.2.3.4 ",
        "1.2.3.4%x",
        "fe80::1%",
        "%eth0",
        "::1::",
        "g::1",
        "1.2.3.4, 5.6.7.8",
        "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"};
    limit_addr a;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(limit_addr_parse(bad[i], &a));
    }
}

/* What a connection brings and what the same address as text brings are one caller. */
static void test_sockaddr(void **state)
{
    static const char *const texts[] = {"192.0.2.7", "2001:db8:1:2:3:4:5:6", "::ffff:192.0.2.7",
                                        "::1"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        apr_sockaddr_t *sa;
        limit_addr got, want = addr(texts[i]);

        memset(&got, 0xff, sizeof(got));
        assert_int_equal(apr_sockaddr_info_get(&sa, texts[i], APR_UNSPEC, 80, 0, pool), 0);
        limit_addr_of(sa, &got);
        assert_int_equal(got.len, want.len);
        assert_memory_equal(got.bytes, want.bytes, sizeof(got.bytes));
    }
}

/* The kernel gives an IPv4 peer of a dual-stack socket in this form. */
static void test_mapped_sockaddr(void **state)
{
    apr_sockaddr_t *sa;
    limit_addr got, want = addr("192.0.2.7");

    assert_int_equal(apr_sockaddr_info_get(&sa, "::1", APR_INET6, 80, 0, pool), 0);
    assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.7", &sa->sa.sin6.sin6_addr), 1);
    limit_addr_of(sa, &got);
    assert_int_equal(got.len, 4);
    assert_memory_equal(got.bytes, want.bytes, sizeof(got.bytes));
}

static void test_other_family(void **state)
{
    apr_sockaddr_t sa;
    limit_addr got;

    memset(&sa, 0, sizeof(sa));
    memset(&got, 0xff, sizeof(got));
    sa.family = AF_UNIX;
    limit_addr_of(&sa, &got);
    assert_int_equal(got.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),         cmocka_unit_test(test_no_address),
        cmocka_unit_test(test_sockaddr),     cmocka_unit_test(test_mapped_sockaddr),
        cmocka_unit_test(test_other_family),
    };
    int failed;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
    return failed;
}
