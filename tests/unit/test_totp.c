/* test_totp.c: one-time passwords against the vectors of RFC 6238 (appendix B, SHA-1) and the QR
 * code around them. */
#include "core_test.h"

#include "core/qr.h"
#include "core/totp.h"

/* "12345678901234567890" in base32, as `printf 12345678901234567890 | base32` has it. */
#define RFC_SECRET "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"

/* The RFC prints eight digits; six are the last six of them. */
static const struct {
    int64_t seconds;
    const char *code;
} vectors[] = {{59, "287082"},         {1111111109, "081804"}, {1111111111, "050471"},
               {1234567890, "005924"}, {2000000000, "279037"}, {20000000000, "353130"}};

static void test_rfc_6238(void **state)
{
    for (size_t i = 0; i < COUNT(vectors); i++) {
        int64_t step = vectors[i].seconds / TOTP_STEP_SECONDS;

        assert_string_equal(totp_code(pool, RFC_SECRET, step), vectors[i].code);
        assert_int_equal(totp_step_of(pool, RFC_SECRET, vectors[i].code,
                                      apr_time_from_sec(vectors[i].seconds), -1),
                         step);
    }
}

static void test_one_step_to_either_side(void **state)
{
    apr_time_t now = apr_time_from_sec(1111111111);
    int64_t present = 1111111111 / TOTP_STEP_SECONDS;

    for (int64_t off = -3; off <= 3; off++) {
        const char *code = totp_code(pool, RFC_SECRET, present + off);

        assert_int_equal(totp_step_of(pool, RFC_SECRET, code, now, -1),
                         off >= -1 && off <= 1 ? present + off : -1);
        /* A used one is still known, so that it does not count as a guess. */
        assert_int_equal(totp_step_of(pool, RFC_SECRET, code, now, present + 5),
                         off >= -1 && off <= 1 ? present + off : -1);
    }
}

static void test_texts_that_are_no_code(void **state)
{
    static const char *const texts[] = {"",
                                        "05047",
                                        "0504711",
                                        "050472",
                                        ("\xef\xbc\x90"
                                         "50471"),
                                        "abcdef",
                                        " 50471",
                                        "05047\n"};

    for (size_t i = 0; i < COUNT(texts); i++)
        assert_int_equal(
            totp_step_of(pool, RFC_SECRET, texts[i], apr_time_from_sec(1111111111), -1), -1);
}

static void test_texts_that_are_no_secret(void **state)
{
    static const char *const texts[] = {"", "A", "gezdgnbv", "GEZDGNBV=", "GEZDGNB1", "GEZD GNBV"};

    for (size_t i = 0; i < COUNT(texts); i++) {
        assert_null(totp_code(pool, texts[i], 1));
        assert_int_equal(totp_step_of(pool, texts[i], "000000", apr_time_from_sec(30), -1), -1);
    }
}

static void test_secrets_are_long_and_new(void **state)
{
    const char *one = totp_secret_make(pool), *two = totp_secret_make(pool);

    assert_int_equal(strlen(one), 32);
    assert_int_equal(strspn(one, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), 32);
    assert_string_not_equal(one, two);
    assert_non_null(totp_code(pool, one, 1));
    /* Every character varies: none is a constant of the encoding. */
    for (size_t i = 0; i < 32; i++) {
        char first = one[i];
        int tries = 0;

        while (totp_secret_make(pool)[i] == first && tries < 60)
            tries++;
        assert_true(tries < 60);
    }
}

static void test_uri(void **state)
{
    assert_string_equal(
        totp_uri(pool, RFC_SECRET, "Salon & S\xc3\xb6hne", "ann@example.org"),
        "otpauth://totp/Salon%20%26%20S%C3%B6hne:ann%40example.org?secret=" RFC_SECRET
        "&issuer=Salon%20%26%20S%C3%B6hne&algorithm=SHA1&digits=6&period=30");
}

static void test_qr(void **state)
{
    const char *svg = biz_qr_svg(pool, "https://example.org/"), *longest;
    char *text = apr_pcalloc(pool, 4001);

    assert_int_equal(
        strncmp(svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 33 33\"", 55), 0);
    assert_non_null(strstr(svg, "M4 4h7v1h-7z")); /* the first finder pattern */
    memset(text, 'x', 4000);
    assert_null(biz_qr_svg(pool, text));
    text[2000] = '\0';
    longest = biz_qr_svg(pool, text);
    assert_non_null(longest);
    assert_string_equal(longest + strlen(longest) - 10, "z\"/></svg>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(test_rfc_6238),
        CORE_TEST(test_one_step_to_either_side),
        CORE_TEST(test_texts_that_are_no_code),
        CORE_TEST(test_texts_that_are_no_secret),
        CORE_TEST(test_secrets_are_long_and_new),
        CORE_TEST(test_uri),
        CORE_TEST(test_qr),
    };

    core_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
