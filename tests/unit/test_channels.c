/* test_channels.c: rows that leave by SMS and as mail by SendGrid, against servers that answer as
 * Twilio and SendGrid do, and as they do on bad days. Runs in the repository's root. */
#include "channels_fixture.h"

/* ---- SMS ---- */

static void a_text_is_sent_once_as_it_stands(void **state)
{
    const char *id;

    agree(NUMBER);
    id = put_text(OUTBOX_SMS, NUMBER, NULL);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "sent");
    assert_string_equal(store_str(row_of(id), OUTBOX_PROVIDER_ID), "SM1");
    assert_int_equal(twilio.requests, 1);
    assert_non_null(strstr(twilio.last, "POST /2010-04-01/Accounts/AC1/Messages.json HTTP/1.1"));
    assert_non_null(strstr(twilio.last, "\r\nAuthorization: Basic QUMxOnR3aWxpby1zZWNyZXQ=\r\n"));
    assert_non_null(strstr(
        twilio.last,
        apr_psprintf(pool,
                     "\r\n\r\nTo=%%2B4930123456&StatusCallback=https%%3A%%2F%%2Fapi.example.com"
                     "%%2Fapi%%2Fv1%%2Fwebhooks%%2Ftwilio%%2Fstatus%%3Frow%%3D%s"
                     "&From=%%2B15005550006&Body=Your%%20appointment%%0A"
                     "is%%20at%%2010%%3A00%%20%%7B%%7Bname%%7D%%7D%%20%%25s%%20%%26%%20"
                     "%%F0%%9F%%98%%80",
                     id)));
    assert_int_equal(work(worker(NULL)), 0);
    assert_int_equal(twilio.requests, 1);
    assert_string_equal(log_text, "");
}

static void a_number_that_did_not_agree_gets_nothing(void **state)
{
    const char *id = put_text(OUTBOX_SMS, NUMBER, NULL);

    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "dropped");
    agree(NUMBER);
    assert_ok(consent_say(st, pool, OUTBOX_SMS, NUMBER, NULL, CONSENT_WITHDRAWN, "stop", NULL));
    id = put_text(OUTBOX_SMS, NUMBER, NULL);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "dropped");
    assert_int_equal(twilio.requests, 0);
}

static void nobody_is_woken(void **state)
{
    int minute = biz_zone_minute(apr_time_now(), "Europe/Berlin");
    const char *id;

    settings->quiet_from = (minute + 1430) % 1440;
    settings->quiet_to = (minute + 10) % 1440;
    agree(NUMBER);
    id = put_text(OUTBOX_SMS, NUMBER, NULL);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "queued");
    assert_int_equal(store_int(row_of(id), OUTBOX_TRIES), 0);
    assert_in_range(seconds_to_go(id), 530, 600);
    assert_int_equal(twilio.requests, 0);
    settings->quiet_to = settings->quiet_from;
    make_due();
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "sent");
}

static void a_row_that_would_come_too_late_is_dropped(void **state)
{
    store_change past[] = {STORE_SET_TIME(OUTBOX_NOT_AFTER, apr_time_now() - 1000)};
    const char *id;

    agree(NUMBER);
    id = put_text(OUTBOX_SMS, NUMBER, NULL);
    assert_ok(store_update(st, pool, COLL_OUTBOX, id, NULL, 0, past, 1, NULL));
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "dropped");
    assert_int_equal(twilio.requests, 0);
}

static void without_twilio_nothing_is_said(void **state)
{
    const char *id;

    memset(registry.configured, 0, sizeof(registry.configured));
    agree(NUMBER);
    id = put_text(OUTBOX_SMS, NUMBER, NULL);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "skipped");
    assert_int_equal(twilio.requests, 0);
    assert_string_equal(log_text, "");
}

static void refusals_for_good(void **state)
{
    static const struct {
        const char *status, *body, *state, *said;
    } cases[] = {
        {"400 Bad Request", "{\"code\":21211,\"message\":\"'To' x\",\"status\":400}", "dead",
         "withdrawn invalid_number"},
        {"400 Bad Request", "{\"code\":21614,\"status\":400}", "dead", "withdrawn invalid_number"},
        {"400 Bad Request", "{\"code\":21610,\"status\":400}", "dropped", "withdrawn stop"},
        {"403 Forbidden", "{\"code\":21610,\"status\":403}", "dropped", "withdrawn stop"},
        {"400 Bad Request", "{\"code\":21408,\"status\":400}", "dead", "given portal"},
        {"400 Bad Request", "{\"code\":99999,\"status\":400}", "dead", "given portal"},
        {"404 Not Found", "{\"code\":20404,\"status\":404}", "dead", "given portal"}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *number = apr_psprintf(pool, "+49301234%02d", (int)i), *id;

        agree(number);
        twilio.answer = answer_of(cases[i].status, "", cases[i].body);
        id = put_text(OUTBOX_SMS, number, NULL);
        assert_int_equal(work(worker(NULL)), 1);
        assert_string_equal(state_of(id), cases[i].state);
        assert_string_equal(said(OUTBOX_SMS, number), cases[i].said);
        id = put_text(OUTBOX_SMS, "+49 30", NULL);
        agree("+49 30");
        assert_int_equal(work(worker(NULL)), 1);
        assert_string_equal(state_of(id), "dead");
    }
    assert_int_equal(twilio.requests, COUNT(cases));
}

static void a_lost_answer_is_not_sent_again(void **state)
{
    const char *id;
    store_doc *row;

    agree(NUMBER);
    twilio.mode = FAKE_CLOSE;
    id = put_text(OUTBOX_SMS, NUMBER, NULL);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "unknown");
    assert_int_equal(twilio.requests, 1);
    assert_int_equal(count_of(log_text, "BZ0605"), 1);
    make_due();
    assert_int_equal(work(worker(NULL)), 0);
    assert_ok(outbox_settle(st, pool, id, "SM7", OUTBOX_WAS_DELIVERED, NULL, &row));
    assert_string_equal(state_of(id), "delivered");
    assert_string_equal(store_str(row, OUTBOX_PROVIDER_ID), "SM7");
}

static void set_due(const char *id)
{
    store_change change[] = {STORE_SET_TIME(OUTBOX_DUE_AT, apr_time_now())};

    assert_ok(store_update(st, pool, COLL_OUTBOX, id, NULL, 0, change, 1, NULL));
    usleep(1500); /* instants are kept to the millisecond */
}

/* The list of Twilio's messages, with one that was made so many seconds ago. */
static const char *list_of(const char *text, int age, const char *more)
{
    char date[APR_RFC822_DATE_LEN];

    apr_rfc822_date(date, apr_time_now() - apr_time_from_sec(age));
    return answer_of("200 OK", "",
                     apr_psprintf(pool,
                                  "{\"messages\":[{\"body\":\"Other\",\"date_created\":\"%s\"},"
                                  "{\"sid\":\"SM9\",\"date_created\":\"%s\",\"body\":\"%s\"%s}]}",
                                  date, date, text, more));
}

static void a_lost_answer_is_looked_up(void **state)
{
    const char *text = "Sent from a trial account - Your appointment\\nis at 10:00 {{name}} %s & "
                       "\U0001f600";
    const struct {
        const char *answer, *state, *provider_id;
        int again; /* sent once more at once, since it was never taken */
    } cases[] = {
        {list_of(text, 0, ",\"status\":\"sent\""), "sent", "SM9", 0},
        {list_of(text, 0, ",\"status\":\"undelivered\",\"error_code\":30003"), "dead", "SM9", 0},
        {list_of(text, 400, ""), "sent", NULL, 1}, /* one from before */
        {list_of("Your appointment", 0, ""), "sent", NULL, 1},
        {answer_of("200 OK", "", "{\"messages\":[],\"sid\":\"SM8\"}"), "sent", "SM8", 1},
        {answer_of("200 OK", "", "{}"), "unknown", NULL, 0},
        {answer_of("503 X", "", "{}"), "unknown", NULL, 0},
    };
    const char *list = "GET /2010-04-01/Accounts/AC1/Messages.json?To=%2B4930123456&From="
                       "%2B15005550006&PageSize=100 ";
    const char *id;

    agree(NUMBER);
    for (size_t i = 0; i < COUNT(cases); i++) {
        twilio.mode = FAKE_CLOSE;
        id = put_text(OUTBOX_SMS, NUMBER, NULL);
        assert_int_equal(work(worker(NULL)), 1);
        assert_string_equal(state_of(id), "unknown");
        assert_in_range(seconds_to_go(id), 290, 300); /* its report may come */
        twilio.mode = FAKE_ANSWER;
        twilio.answer = cases[i].answer;
        set_due(id);
        assert_int_equal(work(worker(NULL)), 1 + cases[i].again);
        assert_non_null(strstr(twilio.last, cases[i].again ? "POST /" : list));
        assert_string_equal(state_of(id), cases[i].state);
        assert_int_equal(store_int(row_of(id), OUTBOX_TRIES), 1 + cases[i].again);
        if (cases[i].provider_id)
            assert_string_equal(store_str(row_of(id), OUTBOX_PROVIDER_ID), cases[i].provider_id);
        if (strcmp(cases[i].state, "unknown") == 0)
            assert_in_range(seconds_to_go(id), 590, 600);
        assert_ok(store_delete(st, pool, COLL_OUTBOX, id, NULL, 0));
    }
    assert_int_equal(twilio.requests, 2 * COUNT(cases) + 3);
}

static void a_server_that_fails_is_tried_again_when_it_says(void **state)
{
    const char *id;

    agree(NUMBER);
    twilio.answer = answer_of("429 Too Many Requests", "Retry-After: 200\r\n", "{\"code\":20429}");
    id = put_text(OUTBOX_SMS, NUMBER, NULL);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "queued");
    assert_int_equal(store_int(row_of(id), OUTBOX_TRIES), 0);
    assert_in_range(seconds_to_go(id), 190, 200);
}

/* It may have been taken behind the gateway that says 503: only the list of messages tells. */
static void a_server_that_fails_may_have_taken_it(void **state)
{
    const char *id;

    agree(NUMBER);
    twilio.answer = answer_of("503 Service Unavailable", "", "{\"code\":20503}");
    id = put_text(OUTBOX_SMS, NUMBER, NULL);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "unknown");
    twilio.answer = list_of("Your appointment\\nis at 10:00 {{name}} %s & \U0001f600", 0, "");
    set_due(id);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "sent");
    assert_int_equal(twilio.requests, 2);
}

/* Of two rows with the same text to the same number one message is one row's. */
static void a_message_belongs_to_one_row(void **state)
{
    store_change known[] = {STORE_SET_STR(OUTBOX_STATE, "sent"),
                            STORE_SET_STR(OUTBOX_PROVIDER_ID, "SM9")};
    const char *first, *second;

    agree(NUMBER);
    twilio.mode = FAKE_CLOSE;
    first = put_text(OUTBOX_SMS, NUMBER, NULL);
    assert_int_equal(work(worker(NULL)), 1);
    second = put_text(OUTBOX_SMS, NUMBER, NULL);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_not_equal(first, second);
    assert_ok(store_update(st, pool, COLL_OUTBOX, first, NULL, 0, known, 2, NULL));
    twilio.mode = FAKE_ANSWER;
    twilio.answer = list_of("Your appointment\\nis at 10:00 {{name}} %s & \U0001f600", 0, "");
    set_due(second);
    assert_int_equal(work(worker(NULL)), 2); /* it was never taken: once more */
    assert_string_equal(store_str(row_of(first), OUTBOX_PROVIDER_ID), "SM9");
    assert_int_equal(store_int(row_of(second), OUTBOX_TRIES), 2);
}

static void it_is_looked_up_where_it_was_sent(void **state)
{
    const char *user = add_user("ann@example.net"), *id;
    store_change old[] = {STORE_SET_STR(USER_PHONE, NUMBER)};
    store_change fresh[] = {STORE_SET_STR(USER_PHONE, "+4930999999")};

    agree(NUMBER);
    assert_ok(store_update(st, pool, COLL_USERS, user, NULL, 0, old, 1, NULL));
    twilio.mode = FAKE_CLOSE;
    id = put_text(OUTBOX_SMS, NULL, user);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "unknown");
    assert_ok(store_update(st, pool, COLL_USERS, user, NULL, 0, fresh, 1, NULL));
    twilio.mode = FAKE_ANSWER;
    set_due(id);
    assert_int_equal(work(worker(NULL)), 1);
    assert_non_null(strstr(twilio.last, "Messages.json?To=%2B4930123456&"));
}

/* A quota is the whole channel's, and costs no row a try. */
static void a_quota_stops_the_channel_and_no_other(void **state)
{
    const char *first, *second, *mail;
    outbox *o;

    agree(NUMBER);
    add_user("ann@example.net");
    twilio.answer = answer_of("429 Too Many Requests", "Retry-After: 90\r\n", "{\"code\":20429}");
    o = worker(NULL);
    first = put_text(OUTBOX_SMS, NUMBER, NULL);
    second = put_text(OUTBOX_SMS, NUMBER, NULL);
    mail = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    assert_int_equal(work(o), 2);
    assert_int_equal(twilio.requests, 1);
    assert_string_equal(state_of(mail), "sent");
    assert_int_equal(
        store_int(row_of(first), OUTBOX_TRIES) + store_int(row_of(second), OUTBOX_TRIES), 0);
    assert_in_range(seconds_to_go(first) > 0 ? seconds_to_go(first) : seconds_to_go(second), 80,
                    90);
    make_due();
    assert_int_equal(work(o), 0);
    assert_int_equal(twilio.requests, 1);
}

static void a_wrong_key_stops_the_channel(void **state)
{
    const char *id;
    outbox *o = worker(NULL);

    agree(NUMBER);
    twilio.answer = answer_of("401 Unauthorized", "", "{\"code\":20003,\"status\":401}");
    for (int i = 0; i < 3; i++)
        id = put_text(OUTBOX_SMS, NUMBER, NULL);
    assert_int_equal(work(o), 1);
    assert_int_equal(work(o), 0);
    assert_string_equal(state_of(id), "queued");
    assert_int_equal(twilio.requests, 1);
    assert_int_equal(count_of(log_text, "BZ0802"), 1);
    assert_null(strstr(log_text, "twilio-secret"));
}

static void nobody_listening_is_no_lost_answer(void **state)
{
    const char *id;

    apr_table_setn(settings->provider_urls, "twilio", "http://127.0.0.1:1");
    env.clients = clients_new(pool, settings, account.token_uri, NULL);
    agree(NUMBER);
    id = put_text(OUTBOX_SMS, NUMBER, NULL);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "queued");
    assert_int_equal(store_int(row_of(id), OUTBOX_TRIES), 1);
}

static void a_user_is_reached_at_the_present_number(void **state)
{
    const char *user = add_user("ann@example.net"), *none = put_text(OUTBOX_SMS, NULL, user), *id;
    store_change number[] = {STORE_SET_STR(USER_PHONE, NUMBER)};

    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(none), "dropped");
    agree(NUMBER);
    assert_ok(store_update(st, pool, COLL_USERS, user, NULL, 0, number, 1, NULL));
    id = put_text(OUTBOX_SMS, NULL, user);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "sent");
    set_user(user, USER_DISABLED);
    id = put_text(OUTBOX_SMS, NULL, user);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "dropped");
    assert_int_equal(twilio.requests, 1);
}

/* ---- mail by SendGrid ---- */

static outbox *by_sendgrid(void)
{
    apr_table_setn(settings->secrets, "SENDGRID_API_KEY", "SG.secret-key");
    apr_table_setn(settings->provider_urls, "sendgrid", server_url(&twilio));
    env.clients = clients_new(pool, settings, account.token_uri, NULL);
    return worker("sendgrid");
}

static void answers_of_sendgrid_become_states(void **state)
{
    static const struct {
        const char *status, *state;
        int tries;
    } cases[] = {{"200 OK", "sent", 1},  {"202 Accepted", "sent", 1}, {"400 X", "dead", 1},
                 {"413 X", "dead", 1},   {"500 X", "queued", 1},      {"503 X", "queued", 1},
                 {"429 X", "queued", 0}, {"404 X", "queued", 0},      {"401 X", "queued", 0},
                 {"403 X", "queued", 0}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *address = apr_psprintf(pool, "ann%d@example.net", (int)i), *id;
        outbox *o = by_sendgrid(); /* knows of no earlier trouble */

        add_user(address);
        /* What is taken is taken without a word. */
        twilio.answer = answer_of(cases[i].status, "X-Message-Id: abc.1\r\n",
                                  strcmp(cases[i].state, "sent") == 0 ? "" : "{}");
        id = put_row(OUTBOX_FORGOT, address, NULL);
        assert_int_equal(work(o), 1);
        if (strcmp(state_of(id), cases[i].state) != 0)
            fail_msg("%s: %s", cases[i].status, state_of(id));
        assert_int_equal(store_int(row_of(id), OUTBOX_TRIES), cases[i].tries);
        if (strcmp(cases[i].state, "sent") == 0)
            assert_string_equal(store_str(row_of(id), OUTBOX_PROVIDER_ID), "abc.1");
        assert_true(strncmp(twilio.last, "POST /v3/mail/send HTTP/1.1\r\n", 29) == 0);
        assert_non_null(strstr(twilio.last, "\r\nAuthorization: Bearer SG.secret-key\r\n"));
        assert_non_null(strstr(twilio.last, address));
        assert_null(strstr(log_text, "secret-key"));
    }
}

/* A link to a new password may come twice; that it never comes would be worse. */
static void a_mail_that_may_come_twice_is_sent_again(void **state)
{
    const char *id;
    outbox *o = by_sendgrid();

    add_user("ann@example.net");
    twilio.mode = FAKE_CLOSE;
    id = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    assert_int_equal(work(o), 1);
    assert_string_equal(state_of(id), "queued");
    twilio.mode = FAKE_ANSWER;
    twilio.answer = answer_of("202 Accepted", "", "");
    make_due();
    assert_int_equal(work(o), 1);
    assert_string_equal(state_of(id), "sent");
    assert_int_equal(twilio.requests, 2);
}

static void sendgrid_says_how_long_to_wait(void **state)
{
    static const struct {
        const char *status, *headers;
        int least, most;
    } cases[] = {{"503 X", "Retry-After: 120\r\n", 110, 120},
                 {"429 X", "Retry-After: 90\r\n", 80, 90},
                 {"429 X", NULL, 60, 70}, /* X-RateLimit-Reset */
                 {"429 X", "", 50, 60},
                 {"503 X", "Retry-After: soon\r\n", 20, 40}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *address = apr_psprintf(pool, "ann%d@example.net", (int)i), *id;
        const char *reset = apr_psprintf(pool, "X-RateLimit-Reset: %" APR_TIME_T_FMT "\r\n",
                                         apr_time_sec(apr_time_now()) + 70);
        outbox *o = by_sendgrid();

        add_user(address);
        twilio.answer =
            answer_of(cases[i].status, cases[i].headers ? cases[i].headers : reset, "{}");
        id = put_row(OUTBOX_FORGOT, address, NULL);
        assert_int_equal(work(o), 1);
        assert_in_range(seconds_to_go(id), cases[i].least, cases[i].most);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CHANNELS_TEST(a_text_is_sent_once_as_it_stands),
        CHANNELS_TEST(a_number_that_did_not_agree_gets_nothing),
        CHANNELS_TEST(nobody_is_woken),
        CHANNELS_TEST(a_row_that_would_come_too_late_is_dropped),
        CHANNELS_TEST(without_twilio_nothing_is_said),
        CHANNELS_TEST(refusals_for_good),
        CHANNELS_TEST(a_lost_answer_is_not_sent_again),
        CHANNELS_TEST(a_lost_answer_is_looked_up),
        CHANNELS_TEST(a_server_that_fails_is_tried_again_when_it_says),
        CHANNELS_TEST(a_server_that_fails_may_have_taken_it),
        CHANNELS_TEST(a_message_belongs_to_one_row),
        CHANNELS_TEST(it_is_looked_up_where_it_was_sent),
        CHANNELS_TEST(a_quota_stops_the_channel_and_no_other),
        CHANNELS_TEST(a_wrong_key_stops_the_channel),
        CHANNELS_TEST(nobody_listening_is_no_lost_answer),
        CHANNELS_TEST(a_user_is_reached_at_the_present_number),
        CHANNELS_TEST(answers_of_sendgrid_become_states),
        CHANNELS_TEST(a_mail_that_may_come_twice_is_sent_again),
        CHANNELS_TEST(sendgrid_says_how_long_to_wait),
    };

    channels_start();
    return cmocka_run_group_tests(tests, NULL, channels_stop);
}
