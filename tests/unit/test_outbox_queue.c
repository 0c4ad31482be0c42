/* test_outbox_queue.c: rows that cannot be sent, leases, and the order of the work. Runs in the
 * repository's root. */
#include "outbox_fixture.h"

/* ---- what cannot be sent ---- */

static void poison_does_not_stop_the_queue(void **state)
{
    const char *user = add_user("ann@example.net");
    const char *unknown = put_old("no_such_kind", "x", NULL, "\"", 60);
    const char *nothing = put_old(NULL, NULL, NULL, NULL, 50);
    const char *empty = put_old(OUTBOX_FORGOT, NULL, NULL, NULL, 40);
    const char *nameless = put_old(OUTBOX_REGISTER, "ann@example.net", NULL, NULL, 30), *odd;
    const char *good = put_row(OUTBOX_REGISTER, "ann@example.net", user);
    store_change change[] = {STORE_SET_STR(USER_EMAIL, "no address")};

    assert_int_equal(work(worker(NULL)), 5);
    assert_string_equal(state_of(unknown), "dead");
    assert_string_equal(store_str(row_of(unknown), OUTBOX_LAST_ERROR),
                        "this kind of row is not known");
    assert_string_equal(state_of(nothing), "dead");
    assert_string_equal(state_of(empty), "dead");
    assert_string_equal(state_of(nameless), "dead");
    assert_string_equal(state_of(good), "sent");
    assert_int_equal(count_of(log_text, "BZ0604"), 4);
    assert_ok(store_update(st, pool, COLL_USERS, user, NULL, 0, change, 1, NULL));
    odd = put_old(OUTBOX_NOTICE, NULL, user, "{\"event\":\"token_reused\"}", 0);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(odd), "dead");
}

static void a_row_that_kills_its_workers_dies(void **state)
{
    const char *id, *last;
    store_change ten[] = {STORE_SET_INT(OUTBOX_TRIES, 10)},
                 nine[] = {STORE_SET_INT(OUTBOX_TRIES, 9)};

    add_user("ann@example.net");
    id = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    last = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    assert_ok(store_update(st, pool, COLL_OUTBOX, id, NULL, 0, ten, 1, NULL));
    assert_ok(store_update(st, pool, COLL_OUTBOX, last, NULL, 0, nine, 1, NULL));
    assert_int_equal(work(worker(NULL)), 2);
    assert_string_equal(state_of(id), "dead");
    assert_null(mail_of(id));
    assert_string_equal(state_of(last), "sent");
}

static void without_a_transport_rows_are_skipped(void **state)
{
    const char *first, *second, *stranger = put_row(OUTBOX_FORGOT, "nobody@example.net", NULL);
    outbox *off = worker("off");

    add_user("ann@example.net");
    first = put_old(OUTBOX_FORGOT, "ann@example.net", NULL, NULL, 1);
    second = put_row(OUTBOX_RESEND, "ann@example.net", NULL);
    assert_int_equal(work(off), 3);
    assert_string_equal(state_of(first), "skipped");
    assert_string_equal(state_of(second), "skipped");
    assert_string_equal(state_of(stranger), "dropped");
    assert_int_equal(count(COLL_RESET_TOKENS), 0);
    assert_int_equal(count_of(log_text, "BZ0601"), 1); /* once a minute */
    assert_non_null(strstr(log_text, apr_psprintf(pool, "forgot_password %s", first)));
    assert_null(strstr(log_text, "ann@")); /* a row's id may have "ann" in it */
    assert_ok(outbox_retry(st, pool, first));
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(first), "sent");
}

static void a_broken_transport_costs_no_tries(void **state)
{
    outbox *o = worker("file:/proc/no/such");
    const char *ids[3];
    store_doc *row;

    add_user("ann@example.net");
    for (int i = 0; i < 3; i++)
        ids[i] = put_old(OUTBOX_FORGOT, "ann@example.net", NULL, NULL, 30 - i);
    assert_int_equal(work(o), 1); /* the others are not even tried */
    row = row_of(ids[0]);
    assert_string_equal(store_str(row, OUTBOX_STATE), "queued");
    assert_int_equal(store_int(row, OUTBOX_TRIES), 0);
    assert_true(store_is_null(row, OUTBOX_LEASE));
    assert_non_null(strstr(store_str(row, OUTBOX_LAST_ERROR), "/proc/no/such"));
    assert_in_range(store_time(row, OUTBOX_DUE_AT) - apr_time_now(), apr_time_from_sec(25),
                    apr_time_from_sec(30));
    assert_int_equal(work(o), 0); /* paused */
    assert_int_equal(work(worker("file:/proc/no/such")), 1);
    assert_int_equal(count_of(log_text, "BZ0602"), 1); /* once a minute */
    assert_true(strncmp(log_text, "0 BZ0602", 8) == 0);
    make_due();
    assert_int_equal(work(worker(NULL)), 3);
    assert_int_equal(mails() >= 1, 1);
    assert_string_equal(state_of(ids[2]), "sent");
}

static void refusals_and_delays_of_a_server(void **state)
{
    const char *argv[] = {"python3", "tests/lib/smtpd.py", path_of("journal"), NULL};
    child server = child_start(argv, "");
    outbox *o = worker(apr_psprintf(pool, "smtp://127.0.0.1:%d", server.port));
    const char *refused, *grey, *good;
    store_doc *row;

    add_user("refuse@example.net");
    add_user("grey@example.net");
    add_user("good@example.net");
    refused = put_old(OUTBOX_FORGOT, "refuse@example.net", NULL, NULL, 30);
    grey = put_old(OUTBOX_FORGOT, "grey@example.net", NULL, NULL, 20);
    good = put_old(OUTBOX_FORGOT, "good@example.net", NULL, NULL, 10);
    assert_int_equal(work(o), 3);
    assert_string_equal(state_of(refused), "dead");
    assert_non_null(strstr(store_str(row_of(refused), OUTBOX_LAST_ERROR), "550"));
    assert_true(store_is_null(row_of(refused), OUTBOX_SEALED));
    assert_string_equal(state_of(good), "sent");
    row = row_of(grey);
    assert_string_equal(store_str(row, OUTBOX_STATE), "queued");
    assert_int_equal(store_int(row, OUTBOX_TRIES), 1);
    assert_in_range(store_time(row, OUTBOX_DUE_AT) - apr_time_now(), apr_time_from_sec(20),
                    apr_time_from_sec(36));
    assert_non_null(strstr(store_str(row, OUTBOX_LAST_ERROR), "451"));
    for (int i = 2; i <= OUTBOX_MAX_TRIES; i++) {
        make_due();
        assert_string_equal(state_of(grey), "queued");
        assert_int_equal(work(worker(apr_psprintf(pool, "smtp://127.0.0.1:%d", server.port))), 1);
        assert_int_equal(store_int(row_of(grey), OUTBOX_TRIES), i);
    }
    assert_string_equal(state_of(grey), "dead");
    assert_null(strstr(log_text, "@example.net"));
    assert_int_equal(count_of(log_text, "BZ0604"), 2);
    assert_int_equal(count_of(log_text, "BZ0603"), 1);
    child_stop(&server);
}

static void a_batch_goes_over_one_connection(void **state)
{
    const char *argv[] = {"python3", "tests/lib/smtpd.py", path_of("journal"), NULL};
    child server = child_start(argv, "");
    outbox *o = worker(apr_psprintf(pool, "smtp://127.0.0.1:%d", server.port));
    char *journal;
    int worked = 0, n;

    for (int i = 0; i < OUTBOX_BATCH; i++) {
        const char *address = apr_psprintf(pool, "u%d@example.net", i);

        add_user(address);
        put_row(OUTBOX_FORGOT, address, NULL);
    }
    while ((n = work(o)) > 0) /* a busy machine may need several turns; the last says goodbye */
        worked += n;
    assert_int_equal(worked, OUTBOX_BATCH);
    child_stop(&server);
    journal = file_text(path_of("journal"));
    assert_int_equal(count_of(journal, "\"message\""), OUTBOX_BATCH);
    assert_int_equal(count_of(journal, "\"connect\""), 1);
    free(journal);
}

static int by_size(const void *a, const void *b)
{
    apr_time_t one = *(const apr_time_t *)a, two = *(const apr_time_t *)b;

    return one < two ? -1 : one > two;
}

/* Rows beyond number: a claim walks an index, whatever waits behind the row that it takes. */
static void a_claim_among_a_hundred_thousand(void **state)
{
    const char *more =
        apr_psprintf(pool,
                     "python3 -c \"import sqlite3; db = sqlite3.connect('%s/store.db'); "
                     "columns = [r[1] for r in db.execute('PRAGMA table_info(outbox)')]; "
                     "other = ','.join(c for c in columns if c != '_id'); "
                     "db.execute('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
                     "WHERE i < 100000) INSERT INTO outbox(_id,' + other + ') SELECT "
                     "substr(o._id, 1, 20) || printf(\\\"%%010d\\\", i),' + other + "
                     "' FROM outbox o, n'); db.commit()\"",
                     folder);
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, "queued"),
                          STORE_EQ_STR(OUTBOX_CHANNEL, OUTBOX_MAIL),
                          STORE_LE_TIME(OUTBOX_DUE_AT, apr_time_now())};
    store_query query = {.coll = COLL_OUTBOX,
                         .index = "outbox_channel_due",
                         .conds = conds,
                         .n_conds = COUNT(conds)};
    store_change changes[] = {STORE_SET_TIME(OUTBOX_DUE_AT, apr_time_now() + 3600000000)};
    apr_time_t took[50];
    store_doc *row;

    put_old(OUTBOX_FORGOT, "nobody@example.net", NULL, NULL, 100);
    assert_int_equal(system(more), 0);
    assert_int_equal(count(COLL_OUTBOX), 100001);
    assert_int_equal(work(worker("off")), OUTBOX_BATCH);
    for (int i = 0; i < 50; i++) {
        apr_time_t begin = apr_time_now();

        assert_ok(store_claim(st, pool, &query, changes, 1, &row));
        took[i] = apr_time_now() - begin;
    }
    qsort(took, 50, sizeof(took[0]), by_size);
    print_message("a claim among 100001 rows took %d us\n", (int)took[25]);
    assert_true(took[25] < apr_time_from_msec(50));
}

/* As a server writes it that is still to be upgraded. */
static void a_row_of_an_older_version_is_a_mail(void **state)
{
    const char *id = put_row(OUTBOX_FORGOT, "nobody@example.net", NULL);
    store_change none[] = {STORE_SET_NULL(OUTBOX_CHANNEL)};
    outbox *o = worker(NULL);

    assert_ok(store_update(st, pool, COLL_OUTBOX, id, NULL, 0, none, 1, NULL));
    assert_int_equal(work(o), 1);
    assert_string_equal(state_of(id), "dropped");
    assert_string_equal(store_str(row_of(id), OUTBOX_CHANNEL), OUTBOX_MAIL);
}

static void a_server_that_is_away_is_not_asked_for_each_row(void **state)
{
    outbox *o = worker("smtp://127.0.0.1:1"); /* nobody listens */
    char address[64];

    for (int i = 0; i < 10; i++) {
        snprintf(address, sizeof(address), "u%d@example.net", i);
        add_user(address);
        put_row(OUTBOX_FORGOT, apr_pstrdup(pool, address), NULL);
    }
    assert_int_equal(work(o), 3);
    assert_int_equal(work(o), 0);
}

/* ---- leases, stopping, retrying ---- */

static void a_leased_row_is_left_alone(void **state)
{
    const char *id;
    store_change lease[] = {STORE_SET_STR(OUTBOX_LEASE, "somebody"),
                            STORE_SET_TIME(OUTBOX_DUE_AT, apr_time_now() + apr_time_from_sec(60))};

    add_user("ann@example.net");
    id = put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    assert_ok(store_update(st, pool, COLL_OUTBOX, id, NULL, 0, lease, 2, NULL));
    assert_int_equal(work(worker(NULL)), 0);
    assert_int_equal(outbox_retry(st, pool, id), STORE_ECOND);
    make_due(); /* the lease ends */
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "sent");
}

static void work_stops_between_rows(void **state)
{
    static const atomic_int stopping = 1;
    outbox *o = worker(NULL);
    int worked = 7;

    add_user("ann@example.net");
    put_row(OUTBOX_FORGOT, "ann@example.net", NULL);
    assert_ok(outbox_work(o, pool, &stopping, &worked));
    assert_int_equal(worked, 0);
    for (int i = 0; i < 30; i++)
        put_row(OUTBOX_FORGOT, "nobody@example.net", NULL);
    assert_int_equal(work(o), OUTBOX_BATCH);
    assert_int_equal(work(o), 31 - OUTBOX_BATCH);
}

static void rows_are_made_due_and_retried(void **state)
{
    biz_json *data = biz_json_object(pool);
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, "queued")};
    store_query query = {
        .coll = COLL_OUTBOX, .index = "outbox_due", .conds = conds, .n_conds = 1, .limit = 1};
    store_change later[] = {STORE_SET_TIME(OUTBOX_DUE_AT, apr_time_now() + apr_time_from_sec(600)),
                            STORE_SET_INT(OUTBOX_TRIES, 4)};
    const char *id;
    store_doc *row;

    add_user("ann@example.net");
    biz_json_set_str(data, "ip", "192.0.2.7");
    assert_ok(outbox_put(st, pool, OUTBOX_FORGOT, "ann@example.net", NULL, data));
    assert_ok(store_find_one(st, pool, &query, &row));
    id = store_doc_id(row);
    assert_string_equal(store_str(row, OUTBOX_DATA), "{\"ip\":\"192.0.2.7\"}");
    assert_true(store_time(row, OUTBOX_DUE_AT) <= apr_time_now());
    assert_ok(store_update(st, pool, COLL_OUTBOX, id, NULL, 0, later, 2, NULL));
    assert_int_equal(work(worker(NULL)), 0);
    assert_ok(outbox_retry(st, pool, id)); /* waiting: now */
    assert_int_equal(store_int(row_of(id), OUTBOX_TRIES), 0);
    usleep(1500);
    assert_int_equal(work(worker(NULL)), 1);
    assert_int_equal(outbox_retry(st, pool, id), STORE_ECOND); /* sent */
    assert_int_equal(outbox_retry(st, pool, "obx_none"), STORE_ENOENT);
    id = put_row("no_such_kind", NULL, NULL);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "dead");
    assert_ok(outbox_retry(st, pool, id));
    assert_string_equal(state_of(id), "queued");
    assert_true(store_is_null(row_of(id), OUTBOX_EXPIRES_AT));
}

static void delays_double_to_six_hours(void **state)
{
    static const int seconds[] = {30,   60,   120,  240,   480,   960,
                                  1920, 3840, 7680, 15360, 21600, 21600};

    for (int i = 0; i < (int)COUNT(seconds); i++) {
        apr_interval_time_t middle = apr_time_from_sec(seconds[i]);

        assert_int_equal(outbox_backoff(i + 1, 200), middle);
        for (unsigned r = 0; r < 1000; r += 7)
            assert_in_range(outbox_backoff(i + 1, r), middle / 10 * 8, middle / 10 * 12);
        assert_true(outbox_backoff(i + 1, 0) < outbox_backoff(i + 1, 400));
    }
    assert_int_equal(outbox_backoff(1000000, 200), apr_time_from_sec(21600));
    assert_in_range(outbox_backoff(1, 0xffffffffU), apr_time_from_sec(24), apr_time_from_sec(36));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        OUTBOX_TEST(poison_does_not_stop_the_queue),
        OUTBOX_TEST(a_row_that_kills_its_workers_dies),
        OUTBOX_TEST(without_a_transport_rows_are_skipped),
        OUTBOX_TEST(a_broken_transport_costs_no_tries),
        OUTBOX_TEST(refusals_and_delays_of_a_server),
        OUTBOX_TEST(a_batch_goes_over_one_connection),
        OUTBOX_TEST(a_claim_among_a_hundred_thousand),
        OUTBOX_TEST(a_row_of_an_older_version_is_a_mail),
        OUTBOX_TEST(a_server_that_is_away_is_not_asked_for_each_row),
        OUTBOX_TEST(a_leased_row_is_left_alone),
        OUTBOX_TEST(work_stops_between_rows),
        OUTBOX_TEST(rows_are_made_due_and_retried),
        OUTBOX_TEST(delays_double_to_six_hours),
    };

    outbox_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
