/* test_outbox.c: what becomes of each kind of row. Runs in the repository's root. */
#include "outbox_fixture.h"

/* ---- forgotten passwords ---- */

static void a_known_address_gets_its_link(void **state)
{
    const char *user = add_user("ann@example.net"), *token, *mail;
    const char *id = put_old(OUTBOX_FORGOT, "ann@example.net", NULL, "{\"ip\":\"192.0.2.7\"}", 3);
    store_doc *row, *doc;

    assert_int_equal(work(worker(NULL)), 1);
    mail = mail_of(id);
    token = token_in(mail, "/reset-password.html");
    assert_int_equal(strlen(token), 43);
    assert_non_null(strstr(mail, "\r\nTo: Ann <ann@example.net>\r\n"));
    assert_non_null(strstr(mail, "\r\nFrom: Salon A <info@example.com>\r\n"));
    assert_non_null(strstr(mail, apr_psprintf(pool, "\r\nMessage-Id: <%s@example.com>\r\n", id)));
    assert_non_null(strstr(mail, "60 minutes"));
    assert_non_null(strstr(mail, "192.0.2.7"));
    assert_non_null(strstr(mail, "Europe/Berlin"));
    doc = token_doc(COLL_RESET_TOKENS, token);
    assert_non_null(doc);
    row = row_of(id);
    assert_string_equal(store_str(doc, RESET_USER_ID), user);
    assert_string_equal(store_str(doc, RESET_EMAIL), "ann@example.net");
    assert_false(store_is_null(doc, RESET_USED));
    assert_int_equal(store_bool(doc, RESET_USED), 0);
    assert_int_equal(store_time(doc, RESET_EXPIRES_AT),
                     store_time(row, STORE_CREATED_AT) + apr_time_from_sec(3600));
    assert_string_equal(store_str(row, OUTBOX_STATE), "sent");
    assert_true(store_is_null(row, OUTBOX_SEALED));
    assert_true(store_is_null(row, OUTBOX_LEASE));
    assert_int_equal(store_int(row, OUTBOX_TRIES), 1);
    assert_true(store_time(row, OUTBOX_SENT_AT) > 0);
    assert_int_equal(store_time(row, OUTBOX_EXPIRES_AT) - store_time(row, OUTBOX_SENT_AT),
                     apr_time_from_sec(30 * 86400));
    assert_string_equal(log_text, "");
}

/* The database at rest does not know what was mailed. */
static void the_token_is_nowhere_else(void **state)
{
    const char *token, *id;
    char *all;

    add_user("ann@example.net");
    id = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    /* Once with a transport that fails, so that the sealed token stays in the row for a while. */
    assert_int_equal(work(worker("file:/proc/no/such")), 1);
    assert_false(store_is_null(row_of(id), OUTBOX_SEALED));
    make_due();
    assert_int_equal(work(worker(NULL)), 1);
    token = token_in(mail_of(id), "/reset-password.html");
    assert_null(strstr(log_text, token));
    assert_null(strstr(log_text, "ann@"));
    all = apr_psprintf(pool, "cat %s/store.db* | grep -c -a -F -e %s >/dev/null", folder, token);
    assert_int_not_equal(system(all), 0);
    all = apr_psprintf(pool, "cat %s/store.db* | grep -c -a -F -e %s >/dev/null", folder,
                       biz_sha256_hex(pool, token));
    assert_int_equal(system(all), 0); /* the search does find what is there */
}

static void strangers_get_nothing(void **state)
{
    const char *none = put_row(OUTBOX_FORGOT, "nobody@example.net", NULL), *off;

    set_user(add_user("off@example.net"), USER_DISABLED);
    off = put_row(OUTBOX_FORGOT, "off@example.net", NULL);
    assert_int_equal(work(worker(NULL)), 2);
    assert_string_equal(state_of(none), "dropped");
    assert_string_equal(state_of(off), "dropped");
    assert_int_equal(mails(), 0);
    assert_int_equal(count(COLL_RESET_TOKENS), 0);
    assert_string_equal(log_text, "");
}

static void late_rows_are_dropped(void **state)
{
    const char *late, *in_time;

    add_user("ann@example.net");
    add_user("bob@example.net");
    late = put_old(OUTBOX_FORGOT, "ann@example.net", NULL, NULL, 3601);
    in_time = put_old(OUTBOX_FORGOT, "bob@example.net", NULL, NULL, 3590);
    assert_int_equal(work(worker(NULL)), 2);
    assert_string_equal(state_of(late), "dropped");
    assert_string_equal(state_of(in_time), "sent");
}

static void three_mails_an_hour_and_address(void **state)
{
    static const int ages[] = {3700, 3500, 3000, 2000, 1000, 10}; /* the first is too old */
    static const char *const states[] = {"dropped", "sent", "sent", "sent", "dropped", "dropped"};
    const char *ids[COUNT(ages)], *other, *resend;
    outbox *o = worker(NULL);

    add_user("ann@example.net");
    add_user("bob@example.net");
    for (size_t i = 0; i < COUNT(ages); i++)
        ids[i] = put_old(OUTBOX_FORGOT, "ann@example.net", NULL, NULL, ages[i]);
    other = put_row(OUTBOX_FORGOT, "bob@example.net", NULL);
    resend = put_row(OUTBOX_RESEND, "ann@example.net", NULL);
    assert_int_equal(work(o), 8);
    for (size_t i = 0; i < COUNT(ages); i++)
        assert_string_equal(state_of(ids[i]), states[i]);
    assert_string_equal(state_of(other), "sent");
    assert_string_equal(state_of(resend), "sent"); /* a budget of its own */
}

static void the_latest_link_alone_is_good(void **state)
{
    const char *first, *second, *early, *late;
    outbox *o = worker(NULL);

    add_user("ann@example.net");
    first = put_old(OUTBOX_FORGOT, "ann@example.net", NULL, NULL, 20);
    assert_int_equal(work(o), 1);
    early = token_in(mail_of(first), "/reset-password.html");
    assert_int_equal(store_bool(token_doc(COLL_RESET_TOKENS, early), RESET_USED), 0);
    second = put_old(OUTBOX_FORGOT, "ann@example.net", NULL, NULL, 10);
    assert_int_equal(work(o), 1);
    late = token_in(mail_of(second), "/reset-password.html");
    assert_int_equal(store_bool(token_doc(COLL_RESET_TOKENS, early), RESET_USED), 1);
    assert_int_equal(store_bool(token_doc(COLL_RESET_TOKENS, late), RESET_USED), 0);
    /* A row that was held up until a newer one was sent. */
    first = put_old(OUTBOX_FORGOT, "ann@example.net", NULL, NULL, 15);
    assert_int_equal(work(o), 1);
    assert_null(mail_of(first));
    assert_int_equal(store_bool(token_doc(COLL_RESET_TOKENS, late), RESET_USED), 0);
}

static void a_second_run_sends_the_same_link(void **state)
{
    const char *id, *token;
    store_change use[] = {STORE_SET_BOOL(RESET_USED, 1)};

    add_user("ann@example.net");
    id = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    assert_int_equal(work(worker("file:/proc/no/such")), 1);
    assert_int_equal(count(COLL_RESET_TOKENS), 1);
    make_due();
    assert_int_equal(work(worker(NULL)), 1);
    token = token_in(mail_of(id), "/reset-password.html");
    assert_int_equal(count(COLL_RESET_TOKENS), 1);
    assert_int_equal(store_bool(token_doc(COLL_RESET_TOKENS, token), RESET_USED), 0);

    /* Killed between sending and settling, and the link was used meanwhile. */
    id = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    assert_int_equal(work(worker("file:/proc/no/such")), 1);
    {
        store_cond conds[] = {STORE_EQ_BOOL(RESET_USED, 0)};
        store_query query = {.coll = COLL_RESET_TOKENS, .conds = conds, .n_conds = 1, .limit = 10};
        int changed;

        assert_ok(store_update_each(st, pool, &query, use, 1, &changed));
    }
    make_due();
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "dropped");
    assert_null(mail_of(id));
}

static void a_row_sealed_by_another_key_gets_a_new_link(void **state)
{
    const char *id;
    store_change change[] = {STORE_SET_STR(OUTBOX_SEALED, "AQIDBA")};

    add_user("ann@example.net");
    id = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    assert_ok(store_update(st, pool, COLL_OUTBOX, id, NULL, 0, change, 1, NULL));
    assert_int_equal(work(worker(NULL)), 1);
    assert_non_null(token_doc(COLL_RESET_TOKENS, token_in(mail_of(id), "/reset-password.html")));
}

/* ---- registration ---- */

static void a_new_account_is_asked_to_confirm(void **state)
{
    const char *user = add_user("ann@example.net");
    const char *id = put_row(OUTBOX_REGISTER, "ann@example.net", user);
    store_doc *doc;

    assert_int_equal(work(worker(NULL)), 1);
    doc = token_doc(COLL_VERIFY_TOKENS, token_in(mail_of(id), "/verify-email.html"));
    assert_non_null(doc);
    assert_string_equal(store_str(doc, VERIFY_USER_ID), user);
    assert_string_equal(store_str(doc, VERIFY_EMAIL), "ann@example.net");
    assert_int_equal(store_bool(doc, VERIFY_USED), 0);
    assert_int_equal(store_time(doc, VERIFY_EXPIRES_AT),
                     store_time(row_of(id), STORE_CREATED_AT) + apr_time_from_sec(48 * 3600));
    assert_non_null(
        strstr(mail_of(id), "Subject: Confirm your address at Salon A within 48 h\r\n"));
    assert_non_null(strstr(mail_of(id), "48 hours"));
}

static void a_taken_address_is_told(void **state)
{
    const char *id;

    add_user("ann@example.net");
    id = put_row(OUTBOX_REGISTER, "ann@example.net", "usr_somebodyelse");
    assert_int_equal(work(worker(NULL)), 1);
    assert_non_null(strstr(mail_of(id), "Subject: Sign-up attempt at Salon A, "));
    assert_null(strstr(mail_of(id), "token"));
    assert_int_equal(count(COLL_VERIFY_TOKENS), 0);
    for (int i = 0; i < 4; i++)
        put_row(OUTBOX_REGISTER, "ann@example.net", "usr_somebodyelse");
    assert_int_equal(work(worker(NULL)), 4);
    assert_int_equal(mails(), 3);
}

static void an_account_may_still_be_on_its_way(void **state)
{
    const char *young = put_row(OUTBOX_REGISTER, "ann@example.net", "usr_1");
    const char *old = put_old(OUTBOX_REGISTER, "bob@example.net", "usr_2", NULL, 121);
    outbox *o = worker(NULL);
    store_doc *row;

    assert_int_equal(work(o), 2);
    row = row_of(young);
    assert_string_equal(store_str(row, OUTBOX_STATE), "queued");
    assert_int_equal(store_int(row, OUTBOX_TRIES), 0); /* waiting does not count */
    assert_true(store_is_null(row, OUTBOX_LEASE));
    assert_in_range(store_time(row, OUTBOX_DUE_AT) - apr_time_now(), apr_time_from_msec(500),
                    apr_time_from_sec(2));
    assert_string_equal(state_of(old), "dropped");
    assert_int_equal(work(o), 0);
    add_user("ann@example.net");
    make_due();
    assert_int_equal(work(o), 1);
    assert_string_equal(state_of(young), "sent");
}

static void confirmed_addresses_are_left_alone(void **state)
{
    const char *user = add_user("ann@example.net"), *resend, *registered, *stranger;

    set_user(user, USER_EMAIL_VERIFIED);
    resend = put_row(OUTBOX_RESEND, "ann@example.net", NULL);
    registered = put_row(OUTBOX_REGISTER, "ann@example.net", user);
    stranger = put_row(OUTBOX_RESEND, "nobody@example.net", NULL);
    assert_int_equal(work(worker(NULL)), 3);
    assert_string_equal(state_of(resend), "dropped");
    assert_string_equal(state_of(registered), "dropped");
    assert_string_equal(state_of(stranger), "dropped");
    assert_int_equal(mails(), 0);
}

static void a_link_to_confirm_can_be_asked_for_again(void **state)
{
    const char *ids[4], *late;

    add_user("ann@example.net");
    add_user("bob@example.net");
    for (int i = 0; i < 4; i++)
        ids[i] = put_old(OUTBOX_RESEND, "ann@example.net", NULL, NULL, 10 - i);
    late = put_old(OUTBOX_RESEND, "bob@example.net", NULL, NULL, 48 * 3600 + 1);
    assert_int_equal(work(worker(NULL)), 5);
    for (int i = 0; i < 3; i++)
        assert_non_null(
            token_doc(COLL_VERIFY_TOKENS, token_in(mail_of(ids[i]), "/verify-email.html")));
    assert_string_equal(state_of(ids[3]), "dropped");
    assert_string_equal(state_of(late), "dropped");
}

/* ---- notices ---- */

static void users_are_told_what_happened(void **state)
{
    static const struct {
        const char *data, *state, *subject;
    } cases[] = {
        {"{\"event\":\"password_changed\",\"ip\":\"192.0.2.7\"}", "sent",
         "Password changed at Salon A, "},
        {"{\"event\":\"password_reset\",\"detail\":\"x\"}", "sent", "Password reset at Salon A, "},
        {"{\"event\":\"token_reused\"}", "sent", "Session ended at Salon A, "},
        {"{\"event\":\"moon_landing\"}", "dead", NULL},
        {"{\"event\":7}", "dead", NULL},
        {"{", "dead", NULL},
        {NULL, "dead", NULL},
    };
    const char *user = add_user("ann@example.net"), *gone, *nobody;

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *id = put_old(OUTBOX_NOTICE, NULL, user, cases[i].data, 0);

        assert_int_equal(work(worker(NULL)), 1);
        assert_string_equal(state_of(id), cases[i].state);
        if (cases[i].subject)
            assert_non_null(
                strstr(mail_of(id), apr_psprintf(pool, "Subject: %s", cases[i].subject)));
    }
    gone = put_old(OUTBOX_NOTICE, NULL, "usr_gone", cases[0].data, 0);
    nobody = put_old(OUTBOX_NOTICE, NULL, NULL, cases[0].data, 0);
    assert_int_equal(work(worker(NULL)), 2);
    assert_string_equal(state_of(gone), "dropped");
    assert_string_equal(state_of(nobody), "dead");
}

/* About an address: who writes the row does not know whether it is anybody's. */
static void a_notice_finds_its_reader_by_the_address(void **state)
{
    const char *data = "{\"event\":\"account_locked\",\"ip\":\"192.0.2.7\"}", *known, *unknown;

    add_user("ann@example.net");
    known = put_old(OUTBOX_NOTICE, "ann@example.net", NULL, data, 0);
    unknown = put_old(OUTBOX_NOTICE, "nobody@example.net", NULL, data, 0);
    assert_int_equal(work(worker(NULL)), 2);
    assert_string_equal(state_of(known), "sent");
    assert_non_null(strstr(mail_of(known), "Subject: Account locked at Salon A, "));
    assert_string_equal(state_of(unknown), "dropped");
}

/* ---- invitations ---- */

static void who_is_invited_gets_a_link_for_a_day(void **state)
{
    const char *user = add_user("ann@example.net"), *id, *forgot, *invited, *late;
    store_change has_one[] = {STORE_SET_STR(USER_PASSWORD_HASH, "$argon2id$")};
    store_doc *doc;

    id = put_old(OUTBOX_INVITATION, "ann@example.net", user, NULL, 60);
    assert_int_equal(work(worker(NULL)), 1);
    assert_non_null(strstr(mail_of(id), "Subject: Your account at Salon A: link for 24 hours\r\n"));
    invited = token_in(mail_of(id), "/reset-password.html");
    doc = token_doc(COLL_RESET_TOKENS, invited);
    assert_int_equal(store_time(doc, RESET_EXPIRES_AT),
                     store_time(row_of(id), STORE_CREATED_AT) + apr_time_from_sec(24 * 3600));
    /* A link that is asked for later takes its place, though it ends earlier. */
    forgot = put_old(OUTBOX_FORGOT, "ann@example.net", NULL, NULL, 30);
    assert_int_equal(work(worker(NULL)), 1);
    assert_int_equal(store_bool(token_doc(COLL_RESET_TOKENS, invited), RESET_USED), 1);
    doc = token_doc(COLL_RESET_TOKENS, token_in(mail_of(forgot), "/reset-password.html"));
    assert_int_equal(store_bool(doc, RESET_USED), 0);
    late = put_old(OUTBOX_INVITATION, "ann@example.net", user, NULL, 24 * 3600 + 1);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(late), "dropped");
    assert_ok(store_update(st, pool, COLL_USERS, user, NULL, 0, has_one, 1, NULL));
    id = put_old(OUTBOX_INVITATION, "ann@example.net", user, NULL, 10);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "dropped");
}

static void an_invitation_waits_for_its_account(void **state)
{
    const char *young = put_old(OUTBOX_INVITATION, "ann@example.net", "usr_1", NULL, 1);
    const char *old = put_old(OUTBOX_INVITATION, "bob@example.net", "usr_2", NULL, 121);

    assert_int_equal(work(worker(NULL)), 2);
    assert_string_equal(state_of(young), "queued");
    assert_string_equal(state_of(old), "dropped");
}

static void dates_are_those_of_the_user(void **state)
{
    const char *user = add_user("ann@example.net"), *id;
    store_change change[] = {STORE_SET_STR(USER_TIMEZONE, "Asia/Tokyo"),
                             STORE_SET_STR(USER_LOCALE, "de-DE")};

    assert_ok(store_update(st, pool, COLL_USERS, user, NULL, 0, change, 2, NULL));
    id = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    assert_int_equal(work(worker(NULL)), 1);
    assert_non_null(strstr(mail_of(id), "(Asia/Tokyo, UTC+9)"));
    assert_non_null(strstr(mail_of(id), "Angefordert am "));
    change[1] = (store_change)STORE_SET_STR(USER_LOCALE, "fr-FR");
    assert_ok(store_update(st, pool, COLL_USERS, user, NULL, 0, change, 2, NULL));
    id = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    assert_int_equal(work(worker(NULL)), 1);
    /* There are no French texts: no French date in an English mail. */
    assert_non_null(strstr(mail_of(id), "Asked for on "));
    assert_non_null(strstr(mail_of(id), "day "));
}

static void a_sample_goes_where_it_is_sent(void **state)
{
    const char *good = put_old(OUTBOX_SAMPLE, "ann@example.net", NULL,
                               "{\"name\":\"booking_confirmation\",\"locale\":\"de\"}", 0);
    const char *unknown = put_old(OUTBOX_SAMPLE, "ann@example.net", NULL,
                                  "{\"name\":\"moon_landing\",\"locale\":null}", 0);
    const char *nobody = put_old(OUTBOX_SAMPLE, NULL, NULL, "{\"name\":\"invoice_sent\"}", 0);

    assert_int_equal(work(worker(NULL)), 3);
    assert_string_equal(state_of(good), "sent");
    assert_non_null(strstr(mail_of(good), "To: ann@example.net\r\n"));
    assert_non_null(strstr(mail_of(good), "Content-Type: text/calendar; charset=utf-8; method="));
    assert_string_equal(state_of(unknown), "dead");
    assert_string_equal(state_of(nobody), "dead");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OUTBOX_TEST(a_known_address_gets_its_link),
        OUTBOX_TEST(the_token_is_nowhere_else),
        OUTBOX_TEST(strangers_get_nothing),
        OUTBOX_TEST(late_rows_are_dropped),
        OUTBOX_TEST(three_mails_an_hour_and_address),
        OUTBOX_TEST(the_latest_link_alone_is_good),
        OUTBOX_TEST(a_second_run_sends_the_same_link),
        OUTBOX_TEST(a_row_sealed_by_another_key_gets_a_new_link),
        OUTBOX_TEST(a_new_account_is_asked_to_confirm),
        OUTBOX_TEST(a_taken_address_is_told),
        OUTBOX_TEST(an_account_may_still_be_on_its_way),
        OUTBOX_TEST(confirmed_addresses_are_left_alone),
        OUTBOX_TEST(a_link_to_confirm_can_be_asked_for_again),
        OUTBOX_TEST(users_are_told_what_happened),
        OUTBOX_TEST(a_notice_finds_its_reader_by_the_address),
        OUTBOX_TEST(who_is_invited_gets_a_link_for_a_day),
        OUTBOX_TEST(an_invitation_waits_for_its_account),
        OUTBOX_TEST(dates_are_those_of_the_user),
        OUTBOX_TEST(a_sample_goes_where_it_is_sent),
    };

    outbox_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
