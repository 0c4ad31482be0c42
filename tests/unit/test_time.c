/* test_time.c: core/time.c, with the examples of RFC 3339 section 5.8 and the acceptance row V-13.
 */
#include "core_test.h"
#include <time.h>
#include "core/time.h"

static void reads_as(const char *text, apr_time_t want)
{
    apr_time_t t = 1;

    if (!biz_time_parse(text, &t)) {
        fail_msg("refused: %s", text);
    }
    if (t != want) {
        fail_msg("%s: %" APR_TIME_T_FMT " and not %" APR_TIME_T_FMT, text, t, want);
    }
}

static void instants_are_read(void **state)
{
    reads_as("1970-01-01T00:00:00Z", 0);
    reads_as("1985-04-12T23:20:50.52Z", 482196050520000);
    reads_as("1996-12-19T16:39:57-08:00", 851042397000000);
    reads_as("1996-12-20T00:39:57Z", 851042397000000);
    reads_as("1937-01-01T12:00:27.87+00:20", -1041337172130000);
    reads_as("2026-10-25t08:00:00z", 1792915200000000);
    reads_as("2026-10-25T08:00:00+00:00", 1792915200000000);
    reads_as("2026-10-25T08:00:00-00:00", 1792915200000000);
    reads_as("2024-02-29T00:00:00Z", 1709164800000000);
    reads_as("2000-02-29T00:00:00Z", 951782400000000);
    /* Fractions are cut, not rounded. */
    reads_as("1970-01-01T00:00:00.1234569Z", 123456);
    reads_as("1970-01-01T00:00:00.5Z", 500000);
    reads_as("1970-01-01T00:00:00.000000000000000000000000001Z", 0);
    /* The ends. */
    reads_as("0001-01-01T00:00:00Z", -62135596800000000);
    reads_as("9999-12-31T23:59:59.999999Z", 253402300799999999);
    reads_as("9999-12-31T23:59:59+23:59", 253402300799000000 - (23 * 60 + 59) * 60000000LL);
}

static void what_is_no_instant_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "2026",
        "2026-10-25",
        "2026-10-25T08:00:00",
        "2026-10-25T08:00Z",
        "2026-02-30T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-13-10T00:00:00Z",
        "2026-10-00T00:00:00Z",
        "2026-10-32T00:00:00Z",
        "2026-10-25T24:00:00Z",
        "2026-10-25T08:60:00Z",
        "2016-12-31T23:59:60Z",
        "1990-12-31T15:59:60-08:00",
        "2026-10-25T08:00:61Z",
        "10000-01-01T00:00:00Z",
        "0000-12-31T00:00:00Z",
        "-001-01-01T00:00:00Z",
        "+2026-10-25T08:00:00Z",
        "2026-10-25 08:00:00Z",
        " 2026-10-25T08:00:00Z",
        "2026-10-25T08:00:00Z ",
        "2026-10-25T08:00:00ZZ",
        "2026-10-25T08:00:00.Z",
        "2026-10-25T08:00:00,5Z",
        "2026-10-25T08:00:00+0200",
        "2026-10-25T08:00:00+02",
        "2026-10-25T08:00:00+24:00",
        "2026-10-25T08:00:00+02:60",
        "2026-10-25T08:00:00+2:00",
        "2026-1-25T08:00:00Z",
        "2026-10-25T8:00:00Z",
        "26-10-25T08:00:00Z",
        "2026/10/25T08:00:00Z",
        "20261025T080000Z",
        "2026-10-25T08:00:00CET",
        "2026-10-25T08:00:00Z\n",
        "2026-10-2\xc3\xa4T08:00:00Z",
        /* Inside the years, outside of them in UTC. */
        "9999-12-31T23:59:59-00:01",
        "0001-01-01T00:00:00+00:01",
    };
    apr_time_t t = 77;

    for (size_t i = 0; i < COUNT(bad); i++) {
        if (biz_time_parse(bad[i], &t)) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    assert_false(biz_time_parse(NULL, &t));
    assert_int_equal(t, 77);
}

static void instants_are_written_in_whole_seconds(void **state)
{
    char text[BIZ_TIME_SIZE];

    assert_string_equal(biz_time_format(pool, 0), "1970-01-01T00:00:00Z");
    assert_string_equal(biz_time_format(pool, 1792915200999999), "2026-10-25T08:00:00Z");
    assert_string_equal(biz_time_format(pool, -1), "1969-12-31T23:59:59Z"); /* down, not to zero */
    assert_string_equal(biz_time_format(pool, -1000000), "1969-12-31T23:59:59Z");
    assert_string_equal(biz_time_format(pool, -1000001), "1969-12-31T23:59:58Z");
    assert_string_equal(biz_time_format(pool, INT64_MIN), "0001-01-01T00:00:00Z");
    assert_string_equal(biz_time_format(pool, INT64_MAX), "9999-12-31T23:59:59Z");
    biz_time_write(1709164800000000, text);
    assert_string_equal(text, "2024-02-29T00:00:00Z");
}

/* Every day of 9999 years, against the C library. */
static void all_days_agree_with_the_c_library(void **state)
{
    char want[80], text[BIZ_TIME_SIZE];
    long days = 0;

    for (int64_t s = -62135596800; s <= 253402300799; s += 86400 + 3601) {
        time_t when = (time_t)s;
        struct tm tm;
        apr_time_t back;

        gmtime_r(&when, &tm);
        snprintf(want, sizeof(want), "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900,
                 tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        biz_time_write(s * APR_USEC_PER_SEC, text);
        assert_string_equal(text, want);
        assert_true(biz_time_parse(text, &back));
        assert_true(back == s * APR_USEC_PER_SEC);
        days++;
    }
    assert_true(days > 3000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(instants_are_read),
        CORE_TEST(what_is_no_instant_is_refused),
        CORE_TEST(instants_are_written_in_whole_seconds),
        CORE_TEST(all_days_agree_with_the_c_library),
    };

    core_start();
    return cmocka_run_group_tests_name("time", tests, NULL, NULL);
}
