/* test_locale.c: core/locale.c against facts about places and languages. */
#include "core_test.h"
#include <pthread.h>
#include <locale.h>
#include <time.h>
#include "core/locale.h"
#include "core/str.h"
#include "core/time.h"

static void locale_is(const char *tag, const char *want)
{
    const char *got = biz_locale_canonical(pool, tag);

    if (want ? !got || strcmp(got, want) != 0 : got != NULL) {
        fail_msg("%s: %s", tag ? tag : "NULL", got ? got : "refused");
    }
}

static void languages_are_canonical_or_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "e",
        "xx",
        "qq",
        "und",
        "zxx",
        "mul",
        "c",
        "C",
        "POSIX",
        "de_DE",
        "de-",
        "-de",
        "de--DE",
        "de DE",
        "de-DE\n",
        "de-XX",
        "de-ZZ",
        "de-Xxxx",
        "de-1996",
        "en-US-u-ca-buddhist",
        "en-x-private",
        "x-whatever",
        "deutsch",
        "de;q=1",
        "../../de",
        "de-DE-de-DE",
        "\xc3\xa4",
        "de-Latn-DE-1901-1996-variant-and-more-than-sixty-four-bytes-aa",
    };

    locale_is("de", "de");
    locale_is("DE", "de");
    locale_is("pt-br", "pt-BR");
    locale_is("de-at", "de-AT");
    locale_is("zh-hant-tw", "zh-Hant-TW");
    locale_is("es-419", "es-419");
    locale_is("deu", "de");
    locale_is("fil", "fil");
    locale_is("en-GB", "en-GB");
    locale_is(NULL, NULL);
    for (size_t i = 0; i < COUNT(bad); i++) {
        locale_is(bad[i], NULL);
    }
}

static void zones_are_places(void **state)
{
    static const char *const good[] = {"Europe/Berlin",
                                       "America/New_York",
                                       "Asia/Kolkata",
                                       "Asia/Calcutta",
                                       "America/Argentina/Buenos_Aires",
                                       "Pacific/Chatham",
                                       "UTC",
                                       "Etc/UTC",
                                       "Etc/GMT+5"};
    static const char *const bad[] = {
        "",
        "Mars/X",
        "Europe/Berlinx",
        "europe/berlin",
        "EUROPE/BERLIN",
        "Europe/Berlin ",
        " Europe/Berlin",
        "Europe/Berlin\n",
        "Europe//Berlin",
        "/Europe/Berlin",
        "Europe/",
        "GMT",
        "GMT+1",
        "GMT+01:00",
        "UTC+2",
        "+02:00",
        "EST",
        "EST5EDT",
        "CET",
        "Z",
        "utc",
        "Etc/Unknown",
        "SystemV/AST4",
        "../../etc/passwd",
        "Europe/../Europe/Berlin",
        "Europe/Berlin/Europe/Berlin/Europe/Berlin/Europe/Berlin/Europe/Berlin/x",
        "Europe/M\xc3\xbcnchen",
    };

    for (size_t i = 0; i < COUNT(good); i++) {
        if (!biz_zone_is_known(good[i])) {
            fail_msg("refused: %s", good[i]);
        }
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (biz_zone_is_known(bad[i])) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    assert_false(biz_zone_is_known(NULL));
}

static void currencies_are_in_use(void **state)
{
    static const char *const good[] = {"eur", "EUR", "usd", "jpy", "kwd", "chf", "inr", "byn"};
    static const char *const bad[] = {"",    "e",   "eu",  "euro", "Eur", "eUR",  "abc",
                                      "dem", "xau", "xts", "xxx",  "123", "eur ", "e\xc3\xa9"};

    for (size_t i = 0; i < COUNT(good); i++) {
        if (!biz_currency_is_known(good[i])) {
            fail_msg("refused: %s", good[i]);
        }
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (biz_currency_is_known(bad[i])) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    assert_false(biz_currency_is_known(NULL));
}

static void shown(const char *utc, const char *locale, const char *zone, const char *want)
{
    apr_time_t t;
    const char *got;

    assert_true(biz_time_parse(utc, &t));
    got = biz_format_instant(pool, t, locale, zone);
    if (strcmp(got, want) != 0) {
        fail_msg("%s in %s, %s:\n  %s\n  and not\n  %s", utc, zone, locale, got, want);
    }
}

static void instants_are_shown_with_zone_and_offset(void **state)
{
    const char *t = "2026-10-05T08:30:00Z";

    shown(t, "en", "Europe/Berlin", "Monday 5 October 2026, 10:30 (Europe/Berlin, UTC+2)");
    shown(t, "de", "Europe/Berlin", "Montag, 5. Oktober 2026, 10:30 (Europe/Berlin, UTC+2)");
    shown(t, "fr", "Europe/Paris", "lundi 5 octobre 2026, 10:30 (Europe/Paris, UTC+2)");
    shown(t, "en-US", "America/New_York",
          "Monday, October 5, 2026, 4:30 AM (America/New_York, UTC-4)");
    shown(t, "ja", "Asia/Tokyo",
          "2026\xe5\xb9\xb4"
          "10\xe6\x9c\x88"
          "5\xe6\x97\xa5\xe6\x9c\x88\xe6\x9b\x9c\xe6\x97\xa5, "
          "17:30 (Asia/Tokyo, UTC+9)");
    /* Halves, quarters, west, none. */
    shown(t, "en", "Asia/Kolkata", "Monday 5 October 2026, 14:00 (Asia/Kolkata, UTC+5:30)");
    shown(t, "en", "Asia/Kathmandu", "Monday 5 October 2026, 14:15 (Asia/Kathmandu, UTC+5:45)");
    shown(t, "en", "America/St_Johns", "Monday 5 October 2026, 06:00 (America/St_Johns, UTC-2:30)");
    shown(t, "en", "UTC", "Monday 5 October 2026, 08:30 (UTC)");
    shown("2026-12-05T08:30:00Z", "en", "Europe/London",
          "Saturday 5 December 2026, 08:30 (Europe/London, UTC+0)");
    /* The day is the place's own. */
    shown("2026-12-31T23:30:00Z", "en", "Pacific/Auckland",
          "Friday 1 January 2027, 12:30 (Pacific/Auckland, UTC+13)");
}

static void both_sides_of_a_clock_change_are_told_apart(void **state)
{
    shown("2026-10-25T00:30:00Z", "en", "Europe/Berlin",
          "Sunday 25 October 2026, 02:30 (Europe/Berlin, UTC+2)");
    shown("2026-10-25T01:30:00Z", "en", "Europe/Berlin",
          "Sunday 25 October 2026, 02:30 (Europe/Berlin, UTC+1)");
    shown("2026-03-29T00:59:59Z", "en", "Europe/Berlin",
          "Sunday 29 March 2026, 01:59 (Europe/Berlin, UTC+1)");
    shown("2026-03-29T01:00:00Z", "en", "Europe/Berlin",
          "Sunday 29 March 2026, 03:00 (Europe/Berlin, UTC+2)");
}

static void unknown_places_and_languages_fall_back(void **state)
{
    const char *t = "2026-10-05T08:30:00Z";

    shown(t, "en", "Mars/X", "Monday 5 October 2026, 08:30 (UTC)");
    shown(t, "en", NULL, "Monday 5 October 2026, 08:30 (UTC)");
    shown(t, NULL, "Europe/Berlin", "Monday 5 October 2026, 10:30 (Europe/Berlin, UTC+2)");
    shown(t, "xx", "Europe/Berlin", "Monday 5 October 2026, 10:30 (Europe/Berlin, UTC+2)");
    shown(t, "%s%n", "%s%n", "Monday 5 October 2026, 08:30 (UTC)");
    shown("1969-12-31T23:59:59.9Z", "en", "UTC", "Wednesday 31 December 1969, 23:59 (UTC)");
}

/* Text messages count on it: no odd space makes one UTF-16 that is not already. */
static void every_language_gives_valid_text_without_odd_spaces(void **state)
{
    static const char *const locales[] = {"en", "en-US", "de", "fr", "fr-CH", "pt-BR", "es-419",
                                          "ru", "he",    "ar", "fa", "th",    "hi",    "zh-CN",
                                          "ko", "sw",    "vi", "fi", "hu",    "bg"};

    for (size_t i = 0; i < COUNT(locales); i++) {
        const char *text = biz_format_instant(pool, 1792915200000000, locales[i], "Asia/Tehran");
        const char *p = text;
        int joined = 0, wide = 0;
        uint32_t c;

        assert_true(biz_utf8_count(text, strlen(text)) > 30);
        assert_non_null(strstr(text, "(Asia/Tehran, UTC+3:30)"));
        /* Brackets keep their order where a line from right to left ends within them. */
        assert_int_equal(strstr(text, "\xe2\x81\xa6(Asia/Tehran, UTC+3:30)\xe2\x81\xa9") != NULL,
                         strstr("he ar fa", locales[i]) != NULL);
        while ((c = biz_utf8_next(&p)) != 0) {
            joined |= c == 0xa0;
            wide |= c >= 0x400 && c / 0x100 != 0x20; /* what isolates brackets mails alone have */
            assert_int_not_equal(c, 0x202f);
        }
        assert_true(!joined || wide);
        assert_int_equal(joined, strstr("ar bg ko", locales[i]) != NULL);
    }
}

static void *format_often(void *data)
{
    const char *zone = data;
    apr_pool_t *mine;
    const char *first, *next;
    long bad = 0;

    apr_pool_create(&mine, NULL);
    first = biz_format_instant(mine, 1792915200000000, "de", zone);
    for (int i = 0; i < 30; i++) {
        next = biz_format_instant(mine, 1792915200000000, "de", zone);
        bad += strcmp(first, next) != 0 || !strstr(next, zone) || !biz_currency_is_known("eur");
    }
    apr_pool_destroy(mine);
    return (void *)bad;
}

static void threads_and_the_process_keep_their_own_zone(void **state)
{
    static const char *const zones[] = {
        "Europe/Berlin", "Asia/Tokyo",   "America/New_York", "UTC",
        "Asia/Kolkata",  "Africa/Lagos", "Pacific/Chatham",  "America/Sao_Paulo"};
    pthread_t threads[COUNT(zones)];
    time_t t = 1792915200;
    struct tm before, after;
    void *bad;

    localtime_r(&t, &before);
    for (size_t i = 0; i < COUNT(zones); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, format_often, (void *)zones[i]), 0);
    }
    for (size_t i = 0; i < COUNT(zones); i++) {
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    localtime_r(&t, &after);
    assert_int_equal(before.tm_hour, after.tm_hour);
    assert_string_equal(setlocale(LC_ALL, NULL), "C");
}

static void span_is(const char *from, const char *to, const char *locale, const char *zone,
                    const char *want)
{
    apr_time_t a, b;

    assert_true(biz_time_parse(from, &a));
    assert_true(biz_time_parse(to, &b));
    assert_string_equal(biz_format_span(pool, a, b, locale, zone), want);
}

static void spans_name_what_changes(void **state)
{
    span_is("2026-10-05T08:30:00Z", "2026-10-05T09:30:00Z", "en", "Europe/Berlin",
            "Monday 5 October 2026, 10:30-11:30 (Europe/Berlin, UTC+2)");
    span_is("2026-10-05T08:30:00Z", "2026-10-05T09:30:00Z", "de", "Europe/Berlin",
            "Montag, 5. Oktober 2026, 10:30-11:30 (Europe/Berlin, UTC+2)");
    span_is("2026-10-05T08:30:00Z", "2026-10-05T09:30:00Z", "en-US", "America/New_York",
            "Monday, October 5, 2026, 4:30 AM-5:30 AM (America/New_York, UTC-4)");
    span_is("2026-10-05T21:30:00Z", "2026-10-05T22:30:00Z", "en", "Europe/Berlin",
            "Monday 5 October 2026, 23:30 - Tuesday 6 October 2026, 00:30 (Europe/Berlin, UTC+2)");
    /* The clock goes back between: 02:30 of summer to 02:30 of winter. */
    span_is("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "en", "Europe/Berlin",
            "Sunday 25 October 2026, 02:30-02:30 (Europe/Berlin, UTC+2/UTC+1)");
    span_is("2026-10-05T08:30:00Z", "2026-10-05T09:30:00Z", "en", "Mars/X",
            "Monday 5 October 2026, 08:30-09:30 (UTC)");
    span_is("2026-10-05T08:30:00Z", "2026-10-05T09:30:00Z", "ar", "Asia/Riyadh",
            "الاثنين، ٥ أكتوبر ٢٠٢٦، ١١:٣٠\xc2\xa0ص-١٢:٣٠\xc2\xa0م "
            "\xe2\x81\xa6(Asia/Riyadh, UTC+3)\xe2\x81\xa9");
}

static void sums_have_code_and_decimals(void **state)
{
    static const struct {
        int64_t amount;
        const char *currency, *locale, *want;
    } cases[] = {{123450, "eur", "en", "EUR 1,234.50"},
                 {123450, "EUR", "de", "1.234,50 EUR"},
                 {123450, "jpy", "en", "JPY 123,450"},
                 {123450, "KWD", "en", "KWD 123.450"},
                 {1, "kwd", "de", "0,001 KWD"},
                 {-5, "eur", "de", "-0,05 EUR"},
                 {0, "eur", "de", "0,00 EUR"},
                 {5000, "iqd", "en", "IQD 5.000"}, /* ISO's three, not CLDR's none */
                 {INT64_MAX, "eur", "en", "EUR 92,233,720,368,547,758.07"},
                 {INT64_MIN, "jpy", "de", "-9.223.372.036.854.775.808 JPY"},
                 {123450, "eur", "ar", "\xe2\x80\x8f١٬٢٣٤٫٥٠ EUR"},
                 {123450, "eur", "ar-EG", "\xe2\x80\x8f١٬٢٣٤٫٥٠ EUR"},
                 {100, "eur", "xx", "EUR 1.00"}};

    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(
            biz_format_money(pool, cases[i].amount, cases[i].currency, cases[i].locale),
            cases[i].want);
    assert_null(biz_format_money(pool, 1, "xyz", "en"));
    assert_null(biz_format_money(pool, 1, NULL, "en"));
}

static void numbers_have_the_digits_of_the_language(void **state)
{
    assert_string_equal(biz_format_number(pool, 60, "en"), "60");
    assert_string_equal(biz_format_number(pool, 60, "de"), "60");
    assert_string_equal(biz_format_number(pool, 60, "ar"), "٦٠");
    assert_string_equal(biz_format_number(pool, -1440, "de"), "-1.440");
    assert_string_equal(biz_format_number(pool, 48, "xx"), "48");
    assert_string_equal(biz_format_number(pool, 48, NULL), "48");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(languages_are_canonical_or_refused),
        CORE_TEST(zones_are_places),
        CORE_TEST(currencies_are_in_use),
        CORE_TEST(instants_are_shown_with_zone_and_offset),
        CORE_TEST(both_sides_of_a_clock_change_are_told_apart),
        CORE_TEST(unknown_places_and_languages_fall_back),
        CORE_TEST(every_language_gives_valid_text_without_odd_spaces),
        CORE_TEST(threads_and_the_process_keep_their_own_zone),
        CORE_TEST(spans_name_what_changes),
        CORE_TEST(sums_have_code_and_decimals),
        CORE_TEST(numbers_have_the_digits_of_the_language),
    };

    core_start();
    return cmocka_run_group_tests_name("locale", tests, NULL, NULL);
}
