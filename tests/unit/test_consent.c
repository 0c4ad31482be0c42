/* test_consent.c: who may be written to and when, and what providers report of rows. */
#include "outbox_fixture.h"

#include "core/locale.h"
#include "outbox/consent.h"

static int may(const char *channel, const char *address, int must)
{
    int yes = 7;

    assert_ok(consent_asked(st, pool, channel, address, must, &yes));
    return yes;
}

static void silence_is_no_consent_where_it_is_needed(void **state)
{
    assert_false(may(OUTBOX_SMS, "+4930123456", 1));
    assert_true(may(OUTBOX_MAIL, "ann@example.net", 0));
}

static void what_was_said_holds_for_the_address(void **state)
{
    store_doc *doc;
    apr_time_t withdrawn;

    assert_ok(
        consent_say(st, pool, OUTBOX_SMS, "+4930123456", "usr_1", CONSENT_GIVEN, "portal", &doc));
    assert_true(may(OUTBOX_SMS, "+4930123456", 1));
    assert_false(may(OUTBOX_SMS, "+4930123457", 1));
    assert_false(may(OUTBOX_VOICE, "+4930123456", 1));
    assert_ok(
        consent_say(st, pool, OUTBOX_SMS, "+4930123456", NULL, CONSENT_WITHDRAWN, "stop", NULL));
    assert_false(may(OUTBOX_SMS, "+4930123456", 1));
    assert_ok(consent_find(st, pool, OUTBOX_SMS, "+4930123456", &doc));
    assert_string_equal(store_str(doc, CONSENT_SOURCE), "stop");
    assert_string_equal(store_str(doc, CONSENT_USER_ID), "usr_1");
    assert_true(store_time(doc, CONSENT_GIVEN_AT) > 0);
    withdrawn = store_time(doc, CONSENT_WITHDRAWN_AT);
    assert_true(withdrawn > 0);
    /* The same word again keeps the first source and time. */
    assert_ok(
        consent_say(st, pool, OUTBOX_SMS, "+4930123456", NULL, CONSENT_WITHDRAWN, "portal", NULL));
    assert_ok(consent_find(st, pool, OUTBOX_SMS, "+4930123456", &doc));
    assert_string_equal(store_str(doc, CONSENT_SOURCE), "stop");
    assert_int_equal(store_time(doc, CONSENT_WITHDRAWN_AT), withdrawn);
    assert_int_equal(count(COLL_CONSENTS), 1);
}

static void mail_addresses_have_no_case(void **state)
{
    assert_ok(consent_say(st, pool, OUTBOX_MAIL, "Ann@Example.net", NULL, CONSENT_WITHDRAWN,
                          "provider", NULL));
    assert_false(may(OUTBOX_MAIL, "ann@example.NET", 0));
}

static void a_token_is_for_one_consent(void **state)
{
    static const unsigned char other[BIZ_KEY_LEN] = "another key of thirty-two bytes.";
    store_doc *doc, *second;
    const char *token, *url, *page;
    char *forged;

    assert_ok(consent_say(st, pool, OUTBOX_MAIL, "ann@example.net", NULL, NULL, NULL, &doc));
    assert_ok(consent_say(st, pool, OUTBOX_MAIL, "bob@example.net", NULL, NULL, NULL, &second));
    assert_true(may(OUTBOX_MAIL, "ann@example.net", 0)); /* to be known is to have said nothing */
    token = consent_token(pool, key, store_doc_id(doc));
    assert_string_equal(consent_token(pool, key, store_doc_id(doc)), token);
    assert_string_equal(consent_of_token(pool, key, token), store_doc_id(doc));
    assert_null(consent_of_token(pool, other, token));
    assert_null(consent_of_token(pool, key, store_doc_id(doc)));
    assert_null(consent_of_token(pool, key, ""));
    assert_null(consent_of_token(pool, key, "."));
    forged = apr_pstrdup(pool, token);
    memcpy(forged, store_doc_id(second), strlen(store_doc_id(second)));
    assert_null(consent_of_token(pool, key, forged));
    for (char *p = apr_pstrdup(pool, token), *c = p; *c; c++) {
        char was = *c;

        *c = was == 'x' ? 'y' : 'x';
        assert_null(consent_of_token(pool, key, p));
        *c = was;
    }
    settings->public_url = "https://api.example.com";
    assert_ok(consent_links(st, pool, settings, key, OUTBOX_MAIL, "ANN@example.net", "usr_1", &url,
                            &page));
    assert_string_equal(
        url, apr_pstrcat(pool, "https://api.example.com/api/v1/portal/unsubscribe/", token, NULL));
    assert_string_equal(
        page, apr_pstrcat(pool, "https://portal.example.com/unsubscribe.html#token=", token, NULL));
    assert_ok(consent_say_by_id(st, pool, store_doc_id(doc), CONSENT_WITHDRAWN, "link"));
    assert_false(may(OUTBOX_MAIL, "ann@example.net", 0));
    assert_int_equal(consent_say_by_id(st, pool, "cns_none", CONSENT_WITHDRAWN, "link"),
                     STORE_ENOENT);
}

/* ---- quiet hours ---- */

static apr_time_t at(int hour, int minute, int second) /* on 15 July 2026, UTC */
{
    return APR_TIME_C(1784073600) * APR_USEC_PER_SEC +
           apr_time_from_sec(hour * 3600 + minute * 60 + second);
}

static int quiet_seconds(apr_time_t now, const char *zone)
{
    return (int)apr_time_sec(consent_quiet(settings, zone, now));
}

static void quiet_hours_are_the_readers(void **state)
{
    assert_null(consent_quiet_parse("21:00-08:00", &settings->quiet_from, &settings->quiet_to));
    assert_int_equal(quiet_seconds(at(12, 0, 0), "UTC"), 0);
    assert_int_equal(quiet_seconds(at(20, 59, 59), "UTC"), 0);
    assert_int_equal(quiet_seconds(at(21, 0, 0), "UTC"), 11 * 3600);
    assert_int_equal(quiet_seconds(at(7, 59, 30), "UTC"), 30);
    assert_int_equal(quiet_seconds(at(8, 0, 0), "UTC"), 0);
    assert_int_equal(quiet_seconds(at(19, 30, 0), "Europe/Berlin"), 10 * 3600 + 1800);
    assert_int_equal(quiet_seconds(at(6, 30, 0), "Europe/Berlin"), 0);
    assert_int_equal(quiet_seconds(at(6, 30, 0), "Asia/Kolkata"), 0); /* noon there */
    assert_int_equal(quiet_seconds(at(12, 0, 0), "no/such"), 0);
    assert_int_equal(biz_zone_minute(at(0, 0, 0), "America/St_Johns"), 21 * 60 + 30);
    assert_null(consent_quiet_parse("12:00-13:30", &settings->quiet_from, &settings->quiet_to));
    assert_int_equal(quiet_seconds(at(12, 0, 0), "UTC"), 5400);
    assert_int_equal(quiet_seconds(at(13, 30, 0), "UTC"), 0);
    assert_null(consent_quiet_parse("off", &settings->quiet_from, &settings->quiet_to));
    assert_int_equal(quiet_seconds(at(23, 0, 0), "UTC"), 0);
}

static void quiet_hours_have_one_form(void **state)
{
    static const char *const bad[] = {"",       "on",          "21-8",         "21:00",
                                      "21:00-", "24:00-08:00", "21:60-08:00",  "21:00-08:0",
                                      "2",      "21:00 08:00", "21:00-08:001", "-1:00-08:00"};
    int from, to;

    for (size_t i = 0; i < COUNT(bad); i++)
        if (!consent_quiet_parse(bad[i], &from, &to))
            fail_msg("%s was taken", bad[i]);
}

/* ---- what providers report ---- */

static const char *settled_as(const char *id, outbox_report report)
{
    store_doc *row;

    assert_ok(outbox_settle(st, pool, id, NULL, report, "as it said", &row));
    return store_str(row, OUTBOX_STATE);
}

static void put_in(const char *id, const char *word)
{
    store_change change[] = {STORE_SET_STR(OUTBOX_STATE, word)};

    assert_ok(store_update(st, pool, COLL_OUTBOX, id, NULL, 0, change, 1, NULL));
}

static void reports_only_move_a_row_on(void **state)
{
    const char *id = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    store_doc *row;

    put_in(id, "unknown");
    assert_string_equal(settled_as(id, OUTBOX_WAS_SENT), "sent");
    assert_string_equal(settled_as(id, OUTBOX_WAS_DELIVERED), "delivered");
    assert_string_equal(settled_as(id, OUTBOX_WAS_SENT), "delivered");
    assert_string_equal(settled_as(id, OUTBOX_WAS_BOUNCED), "bounced");
    assert_string_equal(settled_as(id, OUTBOX_WAS_DELIVERED), "bounced");
    assert_true(store_time(row_of(id), OUTBOX_SENT_AT) > 0);
    put_in(id, "dead");
    assert_string_equal(settled_as(id, OUTBOX_WAS_DELIVERED), "dead");
    assert_int_equal(outbox_settle(st, pool, "obx_none", NULL, OUTBOX_WAS_SENT, NULL, &row),
                     STORE_ENOENT);
    assert_int_equal(outbox_settle(st, pool, NULL, "SM1", OUTBOX_WAS_SENT, NULL, &row),
                     STORE_ENOENT);
    assert_int_equal(outbox_settle(st, pool, NULL, NULL, OUTBOX_WAS_SENT, NULL, &row),
                     STORE_ENOENT);
}

static void a_report_finds_its_row_by_the_providers_id(void **state)
{
    const char *id = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    store_change change[] = {STORE_SET_STR(OUTBOX_STATE, "sent"),
                             STORE_SET_STR(OUTBOX_PROVIDER_ID, "SM1")};
    store_doc *row;

    assert_ok(store_update(st, pool, COLL_OUTBOX, id, NULL, 0, change, 2, NULL));
    assert_ok(outbox_settle(st, pool, NULL, "SM1", OUTBOX_WAS_DELIVERED, NULL, &row));
    assert_string_equal(store_doc_id(row), id);
    assert_string_equal(state_of(id), "delivered");
}

/* A word that comes late or twice, in any order. */
static void the_last_word_holds_whenever_it_comes(void **state)
{
    static const char number[] = "+4930123456";
    apr_time_t now = apr_time_now();
    const apr_time_t minute = apr_time_from_sec(60);
    int may;

    assert_ok(consent_said(st, pool, OUTBOX_SMS, number, CONSENT_GIVEN, "start", now - 9 * minute));
    assert_ok(
        consent_said(st, pool, OUTBOX_SMS, number, CONSENT_WITHDRAWN, "stop", now - 8 * minute));
    assert_ok(
        consent_said(st, pool, OUTBOX_SMS, number, CONSENT_WITHDRAWN, "stop", now - 6 * minute));
    assert_ok(consent_said(st, pool, OUTBOX_SMS, number, CONSENT_GIVEN, "start", now - 7 * minute));
    assert_ok(consent_asked(st, pool, OUTBOX_SMS, number, 1, &may));
    assert_int_equal(may, 0);
    assert_ok(consent_said(st, pool, OUTBOX_SMS, number, CONSENT_GIVEN, "start", now - 5 * minute));
    assert_ok(
        consent_said(st, pool, OUTBOX_SMS, number, CONSENT_WITHDRAWN, "stop", now - 8 * minute));
    assert_ok(consent_asked(st, pool, OUTBOX_SMS, number, 1, &may));
    assert_int_equal(may, 1);
}

static void put_as(const char *id, const char *state, int tries, const char *provider_id)
{
    store_change changes[] = {STORE_SET_STR(OUTBOX_STATE, state),
                              STORE_SET_INT(OUTBOX_TRIES, tries),
                              STORE_SET_STR(OUTBOX_PROVIDER_ID, provider_id)};

    assert_ok(store_update(st, pool, COLL_OUTBOX, id, NULL, 0, changes, 3, NULL));
}

/* `is_its`: the report is about the present copy. */
static void reported(const char *id, const char *message, outbox_report report, int is_its,
                     const char *state)
{
    store_doc *row = NULL;

    assert_ok(outbox_settle(st, pool, id, message, report, NULL, &row));
    assert_int_equal(row != NULL, is_its);
    assert_string_equal(state_of(id), state);
}

/* What staff queue again is a new copy: what is said of the old one is not said of it. */
static void a_report_about_an_earlier_copy_settles_nothing(void **state)
{
    const char *id = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);

    put_as(id, "bounced", 1, "SM1");
    assert_ok(outbox_retry(st, pool, id));
    reported(id, "SM1", OUTBOX_WAS_BOUNCED, 0, "queued");
    reported(id, NULL, OUTBOX_WAS_BOUNCED, 0, "queued");
    put_as(id, "queued", 1, "SM1"); /* the new copy is on its way and has no id yet */
    reported(id, "SM1", OUTBOX_WAS_DELIVERED, 0, "queued");
    reported(id, "SM2", OUTBOX_WAS_SENT, 1, "sent");
    assert_string_equal(store_str(row_of(id), OUTBOX_PROVIDER_ID), "SM2");
    reported(id, "SM1", OUTBOX_WAS_BOUNCED, 0, "sent");
    reported(id, "SM2", OUTBOX_WAS_DELIVERED, 1, "delivered");
    reported(id, "SM1", OUTBOX_WAS_BOUNCED, 0, "delivered");
    put_as(id, "bounced", 1, "SM2");
    reported(id, "SM1", OUTBOX_WAS_DELIVERED, 0, "bounced");
}

/* SendGrid's answer has the id of the message, its reports the same with more behind a point. */
static void an_id_may_have_more_behind_a_point(void **state)
{
    const char *id = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);

    put_as(id, "sent", 2, "14c5d75ce94.dfd.64b469");
    reported(id, "14c5d75ce93.dfd.64b469.filter1.2.0", OUTBOX_WAS_BOUNCED, 0, "sent");
    reported(id, "14c5d75ce9.dfd", OUTBOX_WAS_BOUNCED, 0, "sent");
    reported(id, "14c5d75ce94.dfd.64b469.filter1.2.0", OUTBOX_WAS_DELIVERED, 1, "delivered");
    put_as(id, "sent", 2, "WAc3Xkd2Sy");
    reported(id, "WAc3Xkd2S.recvd-5bf6-1-0.0", OUTBOX_WAS_BOUNCED, 0, "sent");
    reported(id, "WAc3Xkd2Sy.recvd-5bf6-1-0.0", OUTBOX_WAS_BOUNCED, 1, "bounced");
}

static void staff_can_cancel_what_waits(void **state)
{
    const char *id = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    store_change lease[] = {STORE_SET_STR(OUTBOX_LEASE, "lse_x"),
                            STORE_SET_TIME(OUTBOX_DUE_AT, apr_time_now() + apr_time_from_sec(60))};

    assert_ok(store_update(st, pool, COLL_OUTBOX, id, NULL, 0, lease, 2, NULL));
    assert_int_equal(outbox_cancel(st, pool, id), STORE_ECOND);
    make_due(); /* the lease is over */
    assert_ok(outbox_cancel(st, pool, id));
    assert_string_equal(state_of(id), "cancelled");
    assert_int_equal(outbox_cancel(st, pool, id), STORE_ECOND);
    assert_int_equal(work(worker(NULL)), 0);
    assert_ok(outbox_retry(st, pool, id)); /* it may be wanted after all */
    assert_int_equal(outbox_cancel(st, pool, "obx_none"), STORE_ENOENT);
}

static void one_key_one_row(void **state)
{
    outbox_message m = {.channel = OUTBOX_SMS,
                        .kind = OUTBOX_TEXT,
                        .recipient = "+4930123456",
                        .unique_key = "reminder:bk_1:24h:sms"};

    assert_ok(outbox_add(st, pool, &m));
    assert_int_equal(outbox_add(st, pool, &m), STORE_EEXIST);
    m.unique_key = NULL;
    assert_ok(outbox_add(st, pool, &m));
    assert_ok(outbox_add(st, pool, &m));
    assert_int_equal(count(COLL_OUTBOX), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OUTBOX_TEST(silence_is_no_consent_where_it_is_needed),
        OUTBOX_TEST(what_was_said_holds_for_the_address),
        OUTBOX_TEST(mail_addresses_have_no_case),
        OUTBOX_TEST(a_token_is_for_one_consent),
        OUTBOX_TEST(quiet_hours_are_the_readers),
        OUTBOX_TEST(quiet_hours_have_one_form),
        OUTBOX_TEST(reports_only_move_a_row_on),
        OUTBOX_TEST(a_report_finds_its_row_by_the_providers_id),
        OUTBOX_TEST(a_report_about_an_earlier_copy_settles_nothing),
        OUTBOX_TEST(an_id_may_have_more_behind_a_point),
        OUTBOX_TEST(the_last_word_holds_whenever_it_comes),
        OUTBOX_TEST(staff_can_cancel_what_waits),
        OUTBOX_TEST(one_key_one_row),
    };

    outbox_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
