/* test_valid.c: core/valid.c; the acceptance rows V-3 to V-5, V-8 to V-10 and V-15. */
#include "core_test.h"
#include "core/random.h"
#include "core/valid.h"

static void email_is(const char *text, const char *want)
{
    const char *got = biz_valid_email(pool, text);

    if (!got || strcmp(got, want) != 0) {
        fail_msg("%s: %s", text, got ? got : "refused");
    }
}

static const char *letters(char c, size_t n)
{
    char *out = apr_pcalloc(pool, n + 1);

    memset(out, c, n);
    return out;
}

static void addresses_are_accepted_and_normalised(void **state)
{
    email_is(" A@Ex.COM ", "a@ex.com");
    email_is("a.b+x@gmail.com", "a.b+x@gmail.com");
    email_is("ab@gmail.com", "ab@gmail.com"); /* V-11: another address than the one above */
    email_is("!#$%&'*+-/=?^_`{|}~@example.com", "!#$%&'*+-/=?^_`{|}~@example.com");
    email_is("a@xn--mnchen-3ya.example", "a@xn--mnchen-3ya.example");
    email_is("1@1.2.x3", "1@1.2.x3");
    email_is(apr_pstrcat(pool, letters('a', 64), "@x.de", NULL),
             apr_pstrcat(pool, letters('a', 64), "@x.de", NULL));
    email_is(apr_pstrcat(pool, "a@", letters('b', 63), ".de", NULL),
             apr_pstrcat(pool, "a@", letters('b', 63), ".de", NULL));
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "a",
        "@",
        "a@",
        "@b.de",
        "a.example.com",
        "a@b",
        "a@localhost",
        "a@@b.de",
        "a@b@c.de",
        ".a@b.de",
        "a.@b.de",
        "a..b@b.de",
        "a@.b.de",
        "a@b.de.",
        "a@b..de",
        "a@-b.de",
        "a@b-.de",
        "a@b_c.de",
        "\"a b\"@b.de",
        "\"a\"@b.de",
        "a@[127.0.0.1]",
        "a@[IPv6:::1]",
        "a@127.0.0.1",
        "a@b.123",
        "a@b.0x7f",
        "a b@b.de",
        "a@b .de",
        "a@ b.de",
        "a(c)@b.de",
        "a,b@c.de",
        "a;b@c.de",
        "a:b@c.de",
        "a<b>@c.de",
        "Bob <a@b.de>",
        "a\\@b.de",
        "a@b.de\n",
        "\ta@b.de",
        "a@b.de\r\nBcc: x@y.de",
        "a\x01@b.de",
        "a\x7f@b.de",
        "adm\xc4\xb1n@b.de",
        "\xd0\xb0@b.de",
        "a@b\xc3\xbc.de",
        "a@b.de\xe2\x80\x8b",
        "\xc2\xa0 a@b.de",
        "a@b.de,c@d.de",
        "mailto:a@b.de",
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        if (biz_valid_email(pool, bad[i])) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    assert_null(biz_valid_email(pool, NULL));
    assert_null(biz_valid_email(pool, apr_pstrcat(pool, letters('a', 65), "@x.de", NULL)));
    assert_null(biz_valid_email(pool, apr_pstrcat(pool, "a@", letters('b', 64), ".de", NULL)));
}

static void addresses_have_at_most_254_bytes(void **state)
{
    const char *label = letters('b', 61);
    const char *most =
        apr_pstrcat(pool, letters('a', 64), "@", label, ".", label, ".", label, ".de", NULL);

    assert_int_equal(strlen(most), 253);
    assert_non_null(biz_valid_email(pool, most));
    assert_non_null(biz_valid_email(pool, apr_pstrcat(pool, most, "x", NULL)));
    assert_null(biz_valid_email(pool, apr_pstrcat(pool, most, "xy", NULL)));
    /* Spaces around it are not part of it. */
    assert_non_null(biz_valid_email(pool, apr_pstrcat(pool, "  ", most, "x  ", NULL)));
}

static void lines_hold_no_control_characters(void **state)
{
    static const char *const bad[] = {
        "a\rb",          "a\nb",         "a\tb",          "a\x01",           "\x1b[31m",
        "a\x7f",         "a\xc2\x80",    "a\xc2\x9f",     "a\xe2\x80\xa8",   "a\xe2\x80\xa9",
        "a\xe2\x80\xae", "\xe2\x80\xaa", "\xe2\x81\xa6x", "Bob\r\nBcc: x@y", "a\xff",
        "a\xc3",         "\xed\xa0\x80",
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(biz_valid_line(bad[i], 1, 100));
        assert_false(biz_valid_line(bad[i], 0, 100));
    }
    assert_true(biz_valid_line("O\"Neil, <b> {{x}} %n%s &lt; ' OR 1=1", 1, 100));
    assert_true(biz_valid_line("M\xc3\xbcller \xe6\x9d\x8e \xf0\x9f\x98\x80", 1, 100));
    assert_false(biz_valid_line(NULL, 0, 100));
}

static void lines_are_counted_in_code_points(void **state)
{
    const char *four = "\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80";

    assert_true(biz_valid_line(four, 4, 4));
    assert_false(biz_valid_line(four, 5, 9));
    assert_false(biz_valid_line(four, 1, 3));
    assert_true(biz_valid_line(letters('a', 100), 1, 100));
    assert_false(biz_valid_line(letters('a', 101), 1, 100));
    assert_true(biz_valid_line("", 0, 10));
    assert_false(biz_valid_line("", 1, 10));
}

static void blank_lines_are_no_names(void **state)
{
    static const char *const blank[] = {" ",
                                        "   ",
                                        "\xe2\x80\x8b",
                                        "\xc2\xa0 \xe3\x80\x80",
                                        "\xe2\x81\xa0",
                                        "\xe3\x85\xa4",
                                        "\xef\xbb\xbf"};

    for (size_t i = 0; i < COUNT(blank); i++) {
        assert_false(biz_valid_line(blank[i], 1, 10));
        assert_true(biz_valid_line(blank[i], 0, 10));
        assert_true(biz_valid_line(apr_pstrcat(pool, blank[i], "x", NULL), 1, 10));
    }
}

static void texts_may_have_several_lines(void **state)
{
    assert_true(biz_valid_text("one\ntwo\tx", 1, 100));
    assert_false(biz_valid_text("one\r\ntwo", 1, 100));
    assert_false(biz_valid_text("one\x0b", 1, 100));
    assert_false(biz_valid_text("one\xc2\x85", 1, 100));
    assert_false(biz_valid_text("one\xe2\x80\xae", 1, 100));
    assert_false(biz_valid_text("\n \t", 1, 100));
    assert_true(biz_valid_text("\n", 0, 100));
    assert_false(biz_valid_text("abc", 1, 2));
}

static void phones_are_e164(void **state)
{
    static const char *const bad[] = {"",
                                      "+",
                                      "+0123456789",
                                      "491701234567",
                                      "+123456",
                                      "+1234567890123456",
                                      "+49 170 1234567",
                                      "+49-170-123",
                                      "+4917012345a",
                                      "+49170123456\n",
                                      "0049170123456",
                                      "++49170123456",
                                      "+49\xd9\xa1\xd9\xa2\x33\x34\x35\x36\x37"};

    assert_true(biz_valid_phone("+491701234567"));
    assert_true(biz_valid_phone("+1234567"));
    assert_true(biz_valid_phone("+123456789012345"));
    assert_false(biz_valid_phone(NULL));
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (biz_valid_phone(bad[i])) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

static void ids_are_as_they_are_made(void **state)
{
    static const char *const bad[] = {
        "",
        "usr",
        "usr_",
        "ses_01m85e3a4vbk11nxswja4b6cqn",
        "usr-01m85e3a4vbk11nxswja4b6cqn",
        "usr_01m85e3a4vbk11nxswja4b6cq",
        "usr_01m85e3a4vbk11nxswja4b6cqnx",
        "usr_01M85E3A4VBK11NXSWJA4B6CQN",
        "usr_81m85e3a4vbk11nxswja4b6cqn",
        "usr_01m85e3a4vbk11nxswja4b6cqi",
        "usr_01m85e3a4vbk11nxswja4b6cql",
        "usr_01m85e3a4vbk11nxswja4b6cqo",
        "usr_01m85e3a4vbk11nxswja4b6cqu",
        "usr_../../../../etc/passwd...",
        "usr_01m85e3a4vbk11nxswja4b6cq\n",
        " usr_01m85e3a4vbk11nxswja4b6cqn",
        "usrx_01m85e3a4vbk11nxswja4b6cq",
    };

    assert_true(biz_valid_id("usr_01m85e3a4vbk11nxswja4b6cqn", "usr"));
    assert_true(biz_valid_id("usr_7zzzzzzzzzzzzzzzzzzzzzzzzz", "usr"));
    assert_true(biz_valid_id(biz_new_id(pool, "bk"), "bk"));
    assert_false(biz_valid_id(NULL, "usr"));
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (biz_valid_id(bad[i], "usr")) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

static void tokens_have_a_small_alphabet(void **state)
{
    assert_true(biz_valid_token("aZ09._-", 1, 7));
    assert_true(biz_valid_token("", 0, 7));
    assert_false(biz_valid_token("", 1, 7));
    assert_false(biz_valid_token("abcdefgh", 1, 7));
    assert_false(biz_valid_token("abc", 4, 7));
    assert_false(biz_valid_token("a b", 1, 7));
    assert_false(biz_valid_token("a/b", 1, 7));
    assert_false(biz_valid_token("a+b", 1, 7));
    assert_false(biz_valid_token("a=", 1, 7));
    assert_false(biz_valid_token("a\n", 1, 7));
    assert_false(biz_valid_token("\xc3\xa4", 1, 7));
    assert_false(biz_valid_token(NULL, 0, 7));
}

static void url_is(const char *text, biz_url_shape shape, const char *want)
{
    const char *why = NULL;
    const char *got = biz_valid_url(pool, text, shape, &why);

    if (!got || strcmp(got, want) != 0) {
        fail_msg("%s: %s (%s)", text, got ? got : "refused", why ? why : "");
    }
    /* The normal form is its own normal form. */
    got = biz_valid_url(pool, want, shape, &why);
    assert_non_null(got);
    assert_string_equal(got, want);
}

static void urls_get_their_normal_form(void **state)
{
    url_is("https://portal.example.com", BIZ_URL_ORIGIN, "https://portal.example.com");
    url_is("HTTPS://Portal.Example.COM/", BIZ_URL_ORIGIN, "https://portal.example.com");
    url_is("https://a.de:443", BIZ_URL_ORIGIN, "https://a.de");
    url_is("http://a.de:80/", BIZ_URL_ORIGIN, "http://a.de");
    url_is("http://a.de:443", BIZ_URL_ORIGIN, "http://a.de:443");
    url_is("https://a.de:80", BIZ_URL_ORIGIN, "https://a.de:80");
    url_is("http://localhost:8081", BIZ_URL_ORIGIN, "http://localhost:8081");
    url_is("http://127.0.0.1:65535", BIZ_URL_ORIGIN, "http://127.0.0.1:65535");
    url_is("http://[::1]:8081", BIZ_URL_ORIGIN, "http://[::1]:8081");
    url_is("http://[2001:DB8:0:0:0:0:0:1]/", BIZ_URL_ORIGIN, "http://[2001:db8::1]");
    url_is("https://xn--mnchen-3ya.example", BIZ_URL_ORIGIN, "https://xn--mnchen-3ya.example");
    url_is("https://a.de/Portal/x/", BIZ_URL_BASE, "https://a.de/Portal/x");
    url_is("https://a.de//", BIZ_URL_BASE, "https://a.de");
    url_is("https://a.de/a%20b;c=1,2/~x@y:z", BIZ_URL_BASE, "https://a.de/a%20b;c=1,2/~x@y:z");
    url_is("https://a.de/.well-known/...", BIZ_URL_BASE, "https://a.de/.well-known/...");
}

static void what_is_no_url_of_ours_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "a",
        "a.de",
        "//a.de",
        "/a",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://a.de",
        "file:///etc/passwd",
        "https:a.de",
        "https:/a.de",
        "https//a.de",
        " https://a.de",
        "https://a.de ",
        "https://a.de\n",
        "https://a.de\r\nX: y",
        "https://a.de/\t",
        "https://",
        "https:///",
        "https://:443",
        "https://?",
        "https://u@a.de",
        "https://u:p@a.de",
        "https://@a.de",
        "https://a.de@b.de",
        "https://a.de#x",
        "https://a.de/#",
        "https://a.de?x",
        "https://a.de/?x=1",
        "https://a.de:",
        "https://a.de:0",
        "https://a.de:65536",
        "https://a.de:99999999999",
        "https://a.de:080",
        "https://a.de:+80",
        "https://a.de:80x",
        "https://a.de:8 0",
        "https://a.de:80:80",
        "https://*",
        "https://*.a.de",
        "https://a.*.de",
        "https://a_b.de",
        "https://-a.de",
        "https://a-.de",
        "https://a..de",
        "https://.a.de",
        "https://a.de.",
        "https://a.de\\b",
        "https:\\\\a.de",
        "https://a\\@b.de",
        "https://\xc3\xa4.de",
        "https://a.de/\xc3\xa4",
        "https://a.de%2f",
        "https://%61.de",
        "https://[::1",
        "https://[::1]x",
        "https://[]",
        "https://[1.2.3.4]",
        "https://[::g]",
        "https://[fe80::1%eth0]",
        "https://[::1]:x",
        "https://::1",
        "https://2130706433",
        "https://0x7f000001",
        "https://0x7f.1",
        "https://127.1",
        "https://127.0.0.01",
        "https://256.1.1.1",
        "https://1.2.3.4.5",
        "https://a.de/..",
        "https://a.de/./x",
        "https://a.de/x/../y",
        "https://a.de/%2e%2e/x",
        "https://a.de/%2E",
        "https://a.de/%",
        "https://a.de/%4",
        "https://a.de/%zz",
        "https://a.de/%00",
        "https://a.de/%0d%0aX",
        "https://a.de/%7F",
        "https://a.de/a\"b",
        "https://a.de/<b>",
        "https://a.de/{x}",
        "https://a.de/a|b",
        "https://a.de/a^b",
        "https://a.de/a`b",
        "https://a.de/[x]",
        "null",
        "*",
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        const char *why = NULL;

        if (biz_valid_url(pool, bad[i], BIZ_URL_BASE, &why)) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_non_null(why);
        assert_true(strlen(why) > 10);
        assert_null(biz_valid_url(pool, bad[i], BIZ_URL_ORIGIN, NULL));
    }
    assert_null(biz_valid_url(pool, NULL, BIZ_URL_BASE, NULL));
    assert_null(biz_valid_url(pool, "https://a.de/x", BIZ_URL_ORIGIN, NULL));
}

static void urls_are_bounded_and_refusals_are_told(void **state)
{
    const char *why;
    const char *most = apr_pstrcat(pool, "https://a.de/", letters('x', 2048 - 13), NULL);

    assert_int_equal(strlen(most), 2048);
    assert_non_null(biz_valid_url(pool, most, BIZ_URL_BASE, &why));
    assert_null(biz_valid_url(pool, apr_pstrcat(pool, most, "x", NULL), BIZ_URL_BASE, &why));
    assert_non_null(strstr(why, "2048"));
    assert_null(biz_valid_url(pool, "https://*.a.de", BIZ_URL_ORIGIN, &why));
    assert_non_null(strstr(why, "'*'"));
    assert_null(biz_valid_url(pool, "https://a.de/x", BIZ_URL_ORIGIN, &why));
    assert_non_null(strstr(why, "path"));
    assert_null(biz_valid_url(pool, "https://u:secret@a.de", BIZ_URL_BASE, &why));
    assert_null(strstr(why, "secret"));
    assert_null(biz_valid_url(pool, apr_pstrcat(pool, "https://", letters('a', 64), NULL),
                              BIZ_URL_BASE, &why));
    assert_non_null(biz_valid_url(pool, apr_pstrcat(pool, "https://", letters('a', 63), NULL),
                                  BIZ_URL_BASE, &why));
}

static void loopback_is_known(void **state)
{
    static const char *const yes[] = {"http://localhost",  "http://localhost:8081/x",
                                      "https://127.0.0.1", "http://127.255.1.2:80",
                                      "http://[::1]",      "http://[::1]:9/a"};
    static const char *const no[] = {"http://localhost.evil.com",
                                     "http://127.0.0.1.evil.com",
                                     "http://a.localhost",
                                     "http://128.0.0.1",
                                     "http://0.0.0.0",
                                     "http://[::2]",
                                     "http://[::]",
                                     "http://a.de/localhost",
                                     "http://a.de:127",
                                     "localhost",
                                     "",
                                     "http://"};

    for (size_t i = 0; i < COUNT(yes); i++) {
        assert_true(biz_url_is_loopback(yes[i]));
    }
    for (size_t i = 0; i < COUNT(no); i++) {
        assert_false(biz_url_is_loopback(no[i]));
    }
    assert_false(biz_url_is_loopback(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(addresses_are_accepted_and_normalised),
        CORE_TEST(what_is_no_address_is_refused),
        CORE_TEST(addresses_have_at_most_254_bytes),
        CORE_TEST(lines_hold_no_control_characters),
        CORE_TEST(lines_are_counted_in_code_points),
        CORE_TEST(blank_lines_are_no_names),
        CORE_TEST(texts_may_have_several_lines),
        CORE_TEST(phones_are_e164),
        CORE_TEST(ids_are_as_they_are_made),
        CORE_TEST(tokens_have_a_small_alphabet),
        CORE_TEST(urls_get_their_normal_form),
        CORE_TEST(what_is_no_url_of_ours_is_refused),
        CORE_TEST(urls_are_bounded_and_refusals_are_told),
        CORE_TEST(loopback_is_known),
    };

    core_start();
    return cmocka_run_group_tests_name("valid", tests, NULL, NULL);
}
