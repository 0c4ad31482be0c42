/* test_str.c: core/str.c, with the vectors of RFC 4648 and RFC 3629. */
#include "core_test.h"
#include "core/str.h"

static void base64url_gives_the_vectors(void **state)
{
    /* RFC 4648 section 10, without padding. */
    static const char *const plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
    static const char *const coded[] = {"", "Zg", "Zm8", "Zm9v", "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"};
    size_t len;

    for (size_t i = 0; i < COUNT(plain); i++) {
        assert_string_equal(biz_b64url(pool, plain[i], strlen(plain[i])), coded[i]);
        const unsigned char *back = biz_b64url_decode(pool, coded[i], strlen(coded[i]), &len);
        assert_non_null(back);
        assert_int_equal(len, strlen(plain[i]));
        assert_memory_equal(back, plain[i], len);
    }
    /* The two characters that make it the alphabet for URLs. */
    assert_string_equal(biz_b64url(pool, "\xfb\xff\xfe", 3), "-__-");
    /* RFC 7515 appendix C. */
    assert_string_equal(biz_b64url(pool, "\x03\xec\xff\xe0\xc1", 5), "A-z_4ME");
}

static void base64url_round_trips_every_length(void **state)
{
    unsigned char data[257];
    size_t len;

    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (unsigned char)(i * 167 + 13);
    }
    for (size_t n = 0; n <= sizeof(data); n++) {
        const char *text = biz_b64url(pool, data, n);
        const unsigned char *back = biz_b64url_decode(pool, text, strlen(text), &len);

        assert_non_null(back);
        assert_int_equal(len, n);
        assert_memory_equal(back, data, n);
    }
}

static void base64url_refuses_what_is_not_canonical(void **state)
{
    static const char *const bad[] = {
        "Zg==",  "Zm8=",   "Zg=",    "=",     "Z",    "Zm9vY", "Zh",   "Zm9",         "Zm9vYmF",
        "Zm 9v", "Zm\n9v", "Zm9v\n", " Zm9v", "Zm+v", "Zm/v",  "Zm.v", "Zm\xc3\xa9v",
    };
    size_t len;

    for (size_t i = 0; i < COUNT(bad); i++) {
        if (biz_b64url_decode(pool, bad[i], strlen(bad[i]), &len) != NULL) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    assert_null(biz_b64url_decode(pool, "Zm\0v", 4, &len));
    /* Only the length counts, not the end of the string. */
    assert_non_null(biz_b64url_decode(pool, "Zm9v=", 4, &len));
    assert_int_equal(len, 3);
}

static void exactly_one_last_digit_of_each_group_is_canonical(void **state)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char text[4] = "AA";
    int two = 0, three = 0;
    size_t len;

    for (int i = 0; i < 64; i++) {
        text[1] = digits[i];
        two += biz_b64url_decode(pool, text, 2, &len) != NULL;
    }
    text[1] = 'A';
    for (int i = 0; i < 64; i++) {
        text[2] = digits[i];
        three += biz_b64url_decode(pool, text, 3, &len) != NULL;
    }
    assert_int_equal(two, 4);    /* two bits used of six */
    assert_int_equal(three, 16); /* four of six */
}

static void hex_is_lower_case(void **state)
{
    assert_string_equal(biz_hex(pool, "\x00\x0f\xa5\xff", 4), "000fa5ff");
    assert_string_equal(biz_hex(pool, "", 0), "");
}

#define COUNT_OF(text) biz_utf8_count(text, sizeof(text) - 1)

static void utf8_is_counted_in_code_points(void **state)
{
    assert_int_equal(COUNT_OF(""), 0);
    assert_int_equal(COUNT_OF("abc"), 3);
    assert_int_equal(COUNT_OF("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"), 3);
    assert_int_equal(COUNT_OF("a\0b"), 3);
    /* The ends of each length. */
    assert_int_equal(COUNT_OF("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80"), 6);
    assert_int_equal(COUNT_OF("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"), 3);
}

static void utf8_refuses_every_wrong_form(void **state)
{
    assert_int_equal(COUNT_OF("\x80"), -1); /* continuation alone */
    assert_int_equal(COUNT_OF("\xc3"), -1); /* cut */
    assert_int_equal(COUNT_OF("\xe2\x82"), -1);
    assert_int_equal(COUNT_OF("\xf0\x9f\x98"), -1);
    assert_int_equal(COUNT_OF("\xc3\x28"), -1); /* wrong continuation */
    assert_int_equal(COUNT_OF("\xc0\x80"), -1); /* overlong NUL */
    assert_int_equal(COUNT_OF("\xc1\xbf"), -1);
    assert_int_equal(COUNT_OF("\xe0\x80\xaf"), -1); /* overlong '/' */
    assert_int_equal(COUNT_OF("\xf0\x80\x80\xaf"), -1);
    assert_int_equal(COUNT_OF("\xed\xa0\x80"), -1); /* surrogates */
    assert_int_equal(COUNT_OF("\xed\xbf\xbf"), -1);
    assert_int_equal(COUNT_OF("\xf4\x90\x80\x80"), -1); /* above U+10FFFF */
    assert_int_equal(COUNT_OF("\xf8\x88\x80\x80\x80"), -1);
    assert_int_equal(COUNT_OF("\xff"), -1);
    /* What is cut off by the length is not read. */
    assert_int_equal(biz_utf8_count("\xc3\xa4", 1), -1);
}

static void utf8_is_walked_to_its_end(void **state)
{
    const char *text = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80";
    const char *bad = "\xe2\x82";

    assert_int_equal(biz_utf8_next(&text), 'a');
    assert_int_equal(biz_utf8_next(&text), 0xe4);
    assert_int_equal(biz_utf8_next(&text), 0x20ac);
    assert_int_equal(biz_utf8_next(&text), 0x1f600);
    assert_int_equal(biz_utf8_next(&text), 0);
    assert_int_equal(biz_utf8_next(&text), 0);
    assert_int_equal(biz_utf8_next(&bad), 0); /* never past the end */
}

static void control_characters_are_known(void **state)
{
    static const uint32_t yes[] = {0,    1,    9,      0xa,    0xd,    0x1b,   0x1f,   0x7f,  0x80,
                                   0x85, 0x9f, 0x2028, 0x2029, 0x202a, 0x202e, 0x2066, 0x2069};
    static const uint32_t no[] = {0x20,   'a',    '~',    0xa0,   0xe4,    0x200d, 0x200e,
                                  0x2027, 0x202f, 0x2065, 0x206a, 0x1f600, 0xfeff};

    for (size_t i = 0; i < COUNT(yes); i++) {
        assert_true(biz_char_is_control(yes[i]));
    }
    for (size_t i = 0; i < COUNT(no); i++) {
        assert_false(biz_char_is_control(no[i]));
    }
}

static void blank_characters_are_known(void **state)
{
    static const uint32_t yes[] = {' ',    '\t',   0xa0,   0xad,   0x1680, 0x2003, 0x200b, 0x200d,
                                   0x202f, 0x2060, 0x2800, 0x3000, 0x3164, 0xfe0f, 0xfeff, 0xe0020};
    static const uint32_t no[] = {'a', '0', '.', '_', 0xe4, 0x430, 0x3042, 0x4e2d, 0x1f600};

    for (size_t i = 0; i < COUNT(yes); i++) {
        assert_true(biz_char_is_blank(yes[i]));
    }
    for (size_t i = 0; i < COUNT(no); i++) {
        assert_false(biz_char_is_blank(no[i]));
    }
}

static void lower_case_is_of_ascii_alone(void **state)
{
    assert_string_equal(biz_lower(pool, "AZaz@[`{09"), "azaz@[`{09");
    assert_string_equal(biz_lower(pool, "\xc3\x84I\xc4\xb0"), "\xc3\x84i\xc4\xb0");
}

#define DECODE(text) biz_query_decode(pool, text, sizeof(text) - 1)

static void queries_are_decoded_once(void **state)
{
    assert_string_equal(DECODE(""), "");
    assert_string_equal(DECODE("a+b%20c"), "a b c");
    assert_string_equal(DECODE("%c3%A4%2B"), "\xc3\xa4+");
    assert_string_equal(DECODE("%2541"), "%41");
    assert_null(DECODE("%"));
    assert_null(DECODE("%4"));
    assert_null(DECODE("a%4"));
    assert_null(DECODE("%4g"));
    assert_null(DECODE("%g4"));
    assert_null(DECODE("%%41"));
    assert_null(DECODE("%00"));
    assert_null(DECODE("a\0b"));
    assert_null(DECODE("%ff"));
    assert_null(DECODE("%c0%af"));
    assert_null(DECODE("\xc3"));
    /* What lies behind the length is not read. */
    assert_null(biz_query_decode(pool, "%41", 2));
}

static void percent_encoding_leaves_the_unreserved(void **state)
{
    const char *text = "aZ09-._~ /?&=+%\xc3\xa4\n";

    assert_string_equal(biz_percent_encode(pool, text), "aZ09-._~%20%2F%3F%26%3D%2B%25%C3%A4%0A");
    assert_string_equal(biz_query_decode(pool, biz_percent_encode(pool, text),
                                         strlen(biz_percent_encode(pool, text))),
                        text);
}

static void printable_keeps_a_log_line_one_line(void **state)
{
    assert_string_equal(biz_printable(pool, "a b\r\n\x1b[31m\x7f\xc3\xa4", 100),
                        "a b\\x0d\\x0a\\x1b[31m\\x7f\\xc3\\xa4");
    assert_string_equal(biz_printable(pool, "abcdef", 3), "abc");
    assert_string_equal(biz_printable(pool, "ab\ncd", 5), "ab"); /* never half an escape */
    assert_string_equal(biz_printable(pool, "ab\ncd", 6), "ab\\x0a");
    assert_string_equal(biz_printable(pool, "\n\n\n", 0), "");
    assert_string_equal(biz_printable(pool, "", 10), "");
}

static void addresses_are_masked(void **state)
{
    assert_string_equal(biz_mask_email(pool, "karin@example.com"), "k***@example.com");
    assert_string_equal(biz_mask_email(pool, "k@example.com"), "k***@example.com");
    assert_string_equal(biz_mask_email(pool, "a@b@c.d"), "a***@c.d");
    assert_string_equal(biz_mask_email(pool, "\nx@a\nb"), "***@a\\x0ab");
    assert_string_equal(biz_mask_email(pool, "no address"), "***");
    assert_string_equal(biz_mask_email(pool, "@b"), "***");
    assert_string_equal(biz_mask_email(pool, ""), "***");
    assert_string_equal(biz_mask_email(pool, NULL), "***");
}

static void numbers_have_one_spelling(void **state)
{
    static const char *const bad[] = {"",   " 1",  "1 ",  "+1",  "-",   "--1", "01",  "-0",
                                      "00", "1.0", "1e2", "0x1", "1\n", "one", "1,0", "-01"};
    int64_t v = 77;

    assert_true(biz_parse_int("0", -5, 5, &v));
    assert_int_equal(v, 0);
    assert_true(biz_parse_int("-5", -5, 5, &v));
    assert_int_equal(v, -5);
    assert_true(biz_parse_int("9223372036854775807", INT64_MIN, INT64_MAX, &v));
    assert_true(v == INT64_MAX);
    assert_true(biz_parse_int("-9223372036854775808", INT64_MIN, INT64_MAX, &v));
    assert_true(v == INT64_MIN);
    v = 77;
    assert_false(biz_parse_int("9223372036854775808", INT64_MIN, INT64_MAX, &v));
    assert_false(biz_parse_int("-9223372036854775809", INT64_MIN, INT64_MAX, &v));
    assert_false(biz_parse_int("99999999999999999999999999", INT64_MIN, INT64_MAX, &v));
    assert_false(biz_parse_int("6", -5, 5, &v));
    assert_false(biz_parse_int("-6", -5, 5, &v));
    assert_false(biz_parse_int(NULL, -5, 5, &v));
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (biz_parse_int(bad[i], INT64_MIN, INT64_MAX, &v)) {
            fail_msg("accepted: \"%s\"", bad[i]);
        }
    }
    assert_int_equal(v, 77); /* a refusal writes nothing */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(base64url_gives_the_vectors),
        CORE_TEST(base64url_round_trips_every_length),
        CORE_TEST(base64url_refuses_what_is_not_canonical),
        CORE_TEST(exactly_one_last_digit_of_each_group_is_canonical),
        CORE_TEST(hex_is_lower_case),
        CORE_TEST(utf8_is_counted_in_code_points),
        CORE_TEST(utf8_refuses_every_wrong_form),
        CORE_TEST(utf8_is_walked_to_its_end),
        CORE_TEST(control_characters_are_known),
        CORE_TEST(blank_characters_are_known),
        CORE_TEST(lower_case_is_of_ascii_alone),
        CORE_TEST(queries_are_decoded_once),
        CORE_TEST(percent_encoding_leaves_the_unreserved),
        CORE_TEST(printable_keeps_a_log_line_one_line),
        CORE_TEST(addresses_are_masked),
        CORE_TEST(numbers_have_one_spelling),
    };

    core_start();
    return cmocka_run_group_tests_name("str", tests, NULL, NULL);
}
