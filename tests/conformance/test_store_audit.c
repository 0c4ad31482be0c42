/* test_store_audit.c: the audit log is one chain, whoever writes at once and whoever is killed, and
 * every change of it is found. Over store.h alone, on every backend, like test_store.c. */
#include "store_fixture.h"

#include "audit/audit.h"

enum { PROCESSES = 8, THREADS = 3, EVENTS = 5 };
static const unsigned char key[BIZ_KEY_LEN] = "0123456789abcdef0123456789abcdef";

static void empty(store_coll_no coll)
{
    apr_array_header_t *docs;

    do {
        assert_ok(store_scan(st, pool, coll, NULL, 500, &docs));
        for (int i = 0; i < docs->nelts; i++)
            assert_ok(store_delete(st, pool, coll,
                                   store_doc_id(APR_ARRAY_IDX(docs, i, store_doc *)), NULL, 0));
    } while (docs->nelts > 0);
}

static void start_anew(void)
{
    empty(COLL_AUDIT);
    empty(COLL_AUDIT_MARKS);
}

static int open_empty(void **state)
{
    int rc = open_for_test(state);

    start_anew();
    return rc;
}

static audit_event event_of(const char *name, apr_time_t at)
{
    audit_event event = {.name = name,
                         .user_id = "usr_one",
                         .ip = "192.0.2.1",
                         .user_agent = "curl",
                         .request_id = "req_one",
                         .details = "{\"a\": 1}",
                         .at = at};

    return event;
}

static void append(biz_audit *a, int count, apr_time_t at)
{
    for (int i = 0; i < count; i++) {
        audit_event event = event_of(apr_psprintf(pool, "event_%d", i), at);

        assert_ok(audit_append(a, pool, &event));
    }
}

static const char *verified(audit_report *report)
{
    assert_ok(audit_verify(st, pool, key, 0, NULL, report));
    return report->wrong;
}

static void assert_whole(int64_t rows)
{
    audit_report report;
    const char *wrong = verified(&report);

    if (wrong != NULL)
        fail_msg("%s", wrong);
    assert_int_equal(report.rows, rows);
}

#define assert_found(part)                                                                         \
    do {                                                                                           \
        audit_report report_;                                                                      \
        const char *wrong_ = verified(&report_);                                                   \
                                                                                                   \
        assert_non_null(wrong_);                                                                   \
        if (!strstr(wrong_, (part)))                                                               \
            fail_msg("%s", wrong_);                                                                \
    } while (0)

static store_doc *row(int64_t seq)
{
    store_cond conds[] = {STORE_EQ_INT(AUDIT_SEQ, seq)};
    store_query query = {
        .coll = COLL_AUDIT, .index = "audit_seq", .conds = conds, .n_conds = 1, .limit = 1};
    store_doc *doc;

    assert_ok(store_find_one(st, pool, &query, &doc));
    return doc;
}

static void change(int64_t seq, store_change what)
{
    assert_ok(store_update(st, pool, COLL_AUDIT, store_doc_id(row(seq)), NULL, 0, &what, 1, NULL));
}

static void delete_row(int64_t seq)
{
    assert_ok(store_delete(st, pool, COLL_AUDIT, store_doc_id(row(seq)), NULL, 0));
}

/* ---- many writers ---- */

typedef struct {
    biz_audit *audit;
    apr_pool_t *pool;
    int bad;
} writer;

static void *write_events(void *data)
{
    writer *w = data;
    audit_event event = event_of("authn_login_success", apr_time_now());

    for (int i = 0; i < EVENTS; i++)
        w->bad += audit_append(w->audit, w->pool, &event) != APR_SUCCESS;
    return NULL;
}

static int job_append(int number, const char *argument)
{
    pthread_t threads[THREADS];
    writer writers[THREADS];
    biz_audit *a;

    (void)number;
    (void)argument;
    job_wait();
    a = audit_open(pool, st, key);
    for (int i = 0; i < THREADS; i++) {
        writers[i] = (writer){a, NULL, 0};
        apr_pool_create(&writers[i].pool, NULL);
        pthread_create(&threads[i], NULL, write_events, &writers[i]);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        if (writers[i].bad)
            printf("failed: %d events\n", writers[i].bad);
    }
    return 0;
}

static void many_writers_make_one_chain(void **state)
{
    const char *line;
    jobs all;

    (void)state;
    jobs_begin(&all, PROCESSES, "append", "-");
    while ((line = jobs_line(&all)) != NULL)
        fail_msg("%s", line);
    jobs_end(&all, 0);
    assert_whole(PROCESSES * THREADS * EVENTS);
}

static int job_until_killed(int number, const char *argument)
{
    biz_audit *a;

    (void)argument;
    job_wait();
    a = audit_open(pool, st, key);
    for (int i = 0; i < 100000; i++) {
        audit_event event = event_of(apr_psprintf(pool, "event-%d-%d", number, i), apr_time_now());

        if (audit_append(a, pool, &event) == APR_SUCCESS)
            printf("%s\n", event.name);
    }
    return 1;
}

static int is_there(const char *name)
{
    store_cond conds[] = {STORE_EQ_STR(AUDIT_EVENT, name)};
    store_query query = {.coll = COLL_AUDIT, .index = "audit_event", .conds = conds, .n_conds = 1};
    store_doc *doc;

    return store_find_one(st, pool, &query, &doc) == APR_SUCCESS;
}

static void a_killed_writer_leaves_a_whole_chain(void **state)
{
    apr_array_header_t *told = apr_array_make(pool, 100, sizeof(char *));
    audit_report report;
    const char *line;
    jobs all;

    (void)state;
    jobs_begin(&all, 4, "until-killed", "-");
    while ((line = jobs_line(&all)) != NULL) {
        APR_ARRAY_PUSH(told, const char *) = apr_pstrdup(pool, line);
        if (told->nelts == 60) {
            for (int i = 0; i < all.count; i++)
                kill(all.pids[i], SIGKILL);
        }
    }
    jobs_end(&all, 1);
    assert_null(verified(&report));
    assert_true(report.rows >= told->nelts);
    for (int i = 0; i < told->nelts; i++)
        assert_true(is_there(APR_ARRAY_IDX(told, i, const char *)));
}

static int job_sweep(int number, const char *argument)
{
    biz_audit *a;
    int removed;

    (void)number;
    (void)argument;
    job_wait();
    a = audit_open(pool, st, key);
    for (int i = 0; i < 40; i++) {
        if (audit_sweep(a, pool, apr_time_now(), 3, &removed) != APR_SUCCESS)
            printf("failed: sweep\n");
    }
    return 0;
}

static void it_can_be_verified_while_rows_come_and_go(void **state)
{
    audit_report report;
    const char *line;
    jobs writers, sweepers;

    (void)state;
    append(audit_open(pool, st, key), 30, 1000);
    jobs_prepare(&writers, 2, "append", "-");
    jobs_prepare(&sweepers, 2, "sweep", "-");
    jobs_go(&writers);
    jobs_go(&sweepers);
    for (int i = 0; i < 25; i++) {
        if (verified(&report) != NULL)
            fail_msg("%s", report.wrong);
    }
    while ((line = jobs_line(&writers)) != NULL || (line = jobs_line(&sweepers)) != NULL)
        fail_msg("%s", line);
    jobs_end(&writers, 0);
    jobs_end(&sweepers, 0);
    assert_null(verified(&report));
}

/* ---- what is found ---- */

static void a_whole_log_is_whole(void **state)
{
    audit_report report;

    (void)state;
    assert_whole(0);
    append(audit_open(pool, st, key), 5, apr_time_now());
    assert_null(verified(&report));
    assert_int_equal(report.first, 1);
    assert_int_equal(report.last, 5);
    assert_string_equal(report.mac, store_str(row(5), AUDIT_MAC));
    /* Another writer, another process: the same chain goes on. */
    append(audit_open(pool, st, key), 2, apr_time_now());
    assert_whole(7);
}

static void a_changed_row_is_found(void **state)
{
    static const store_fid texts[] = {AUDIT_EVENT, AUDIT_USER_ID,    AUDIT_ACTOR_ID, AUDIT_IP,
                                      AUDIT_AGENT, AUDIT_REQUEST_ID, AUDIT_MAC};
    store_change later = STORE_SET_TIME(AUDIT_AT, 5000);
    store_change details = STORE_SET_STR(AUDIT_DETAILS, "{\"a\": 2}");

    for (size_t i = 0; i < STORE_COUNT_OF(texts); i++) {
        store_change text = STORE_SET_STR(texts[i], "other");
        store_change back = STORE_SET_STR(texts[i], NULL);

        start_anew();
        append(audit_open(pool, st, key), 3, 1000);
        back.value.s = store_str(row(2), texts[i]);
        back.value.null = back.value.s == NULL;
        change(2, text);
        assert_found("row 2");
        change(2, back);
        assert_whole(3);
    }
    change(3, later);
    assert_found("row 3");
    later = (store_change)STORE_SET_TIME(AUDIT_AT, 1000);
    change(3, later);
    assert_whole(3);
    change(1, details);
    assert_found("row 1");
}

static void a_removed_row_is_found(void **state)
{
    (void)state;
    append(audit_open(pool, st, key), 6, 1000);
    delete_row(3);
    assert_found("row 3 is missing");
    delete_row(4);
    assert_found("row 3 is missing, and more");
    delete_row(1);
    assert_found("row 1 is missing");
}

static void rows_in_another_order_are_found(void **state)
{
    store_change away = STORE_SET_INT(AUDIT_SEQ, 99), two = STORE_SET_INT(AUDIT_SEQ, 2),
                 three = STORE_SET_INT(AUDIT_SEQ, 3);

    (void)state;
    append(audit_open(pool, st, key), 5, 1000);
    change(2, away);
    change(3, two);
    change(99, three);
    assert_found("row 2");
}

static void a_cut_end_is_found(void **state)
{
    audit_report before, after;

    (void)state;
    append(audit_open(pool, st, key), 5, 1000);
    assert_null(verified(&before));
    delete_row(5);
    assert_found("the end is missing: rows 5 to 5");
    delete_row(4);
    assert_found("the end is missing: rows 4 to 5");
    /* Who also takes the mark away is found, and who puts an older one in its place, by the number
     * that an earlier report gave. */
    assert_ok(store_delete(st, pool, COLL_AUDIT_MARKS, "head", NULL, 0));
    assert_found("\"head\" is missing");
    start_anew();
    append(audit_open(pool, st, key), 4, 2000);
    assert_null(verified(&after));
    assert_ok(audit_verify(st, pool, key, before.last, before.mac, &after));
    assert_non_null(strstr(after.wrong, "earlier report had seen row 5"));
    append(audit_open(pool, st, key), 4, 3000);
    assert_ok(audit_verify(st, pool, key, before.last, before.mac, &after));
    assert_non_null(strstr(after.wrong, "row 5 is not the one that the earlier report knows"));
}

static void a_row_of_somebody_else_is_found(void **state)
{
    store_doc *doc = store_doc_new(pool, COLL_AUDIT);
    static const unsigned char other[BIZ_KEY_LEN] = "another key of thirty-two bytes";
    audit_report report;

    (void)state;
    append(audit_open(pool, st, key), 2, 1000);
    store_set_str(doc, AUDIT_EVENT, "authn_login_success");
    assert_ok(store_insert(st, pool, doc, NULL));
    assert_found("outside of the chain");
    assert_ok(store_delete(st, pool, COLL_AUDIT, store_doc_id(doc), NULL, 0));
    assert_whole(2);
    store_set_int(doc, AUDIT_SEQ, 3);
    store_set_str(doc, AUDIT_MAC, "00");
    assert_ok(store_insert(st, pool, doc, NULL));
    assert_found("row 3");
    assert_ok(store_delete(st, pool, COLL_AUDIT, store_doc_id(doc), NULL, 0));
    assert_ok(audit_verify(st, pool, other, 0, NULL, &report));
    assert_non_null(strstr(report.wrong, "another master.key"));
}

/* ---- retention ---- */

static void old_rows_go_and_the_rest_still_verifies(void **state)
{
    biz_audit *a = audit_open(pool, st, key);
    int removed;

    (void)state;
    append(a, 6, apr_time_from_sec(1000));
    append(a, 3, apr_time_from_sec(2000));
    assert_ok(audit_sweep(a, pool, apr_time_from_sec(1500), 4, &removed));
    assert_int_equal(removed, 4);
    assert_whole(5);
    assert_ok(audit_sweep(a, pool, apr_time_from_sec(1500), 4, &removed));
    assert_int_equal(removed, 2);
    assert_ok(audit_sweep(a, pool, apr_time_from_sec(1500), 4, &removed));
    assert_int_equal(removed, 0);
    assert_whole(3);
    delete_row(7);
    assert_found("row 7 is missing");
}

static void the_last_row_stays(void **state)
{
    biz_audit *a = audit_open(pool, st, key);
    int removed;

    (void)state;
    append(a, 4, apr_time_from_sec(1000));
    assert_ok(audit_sweep(a, pool, apr_time_now(), 100, &removed));
    assert_int_equal(removed, 3);
    assert_whole(1);
    append(audit_open(pool, st, key), 1, apr_time_from_sec(1000));
    assert_whole(2);
}

static void a_sweep_that_was_cut_short_is_no_theft(void **state)
{
    biz_audit *a = audit_open(pool, st, key);
    store_doc *kept[3];
    int removed;

    (void)state;
    append(a, 5, apr_time_from_sec(1000));
    for (int i = 0; i < 3; i++)
        kept[i] = row(i + 1);
    assert_ok(audit_sweep(a, pool, apr_time_now(), 3, &removed));
    /* As if the sweeper had been killed after the mark and one row. */
    assert_ok(store_insert_copy(st, pool, kept[1]));
    assert_ok(store_insert_copy(st, pool, kept[2]));
    assert_whole(2);
    assert_ok(audit_sweep(a, pool, apr_time_from_sec(1001), 100, &removed));
    assert_int_equal(removed, 3);
    assert_whole(1);
    assert_ok(store_delete(st, pool, COLL_AUDIT_MARKS, "base", NULL, 0));
    assert_found("row 1 is missing, and more");
}

static void a_forged_mark_is_found(void **state)
{
    biz_audit *a = audit_open(pool, st, key);
    store_change further[] = {STORE_SET_INT(MARK_SEQ, 2)};
    int removed;

    (void)state;
    append(a, 4, apr_time_from_sec(1000));
    assert_ok(audit_sweep(a, pool, apr_time_now(), 1, &removed));
    assert_ok(store_update(st, pool, COLL_AUDIT_MARKS, "base", NULL, 0, further, 1, NULL));
    delete_row(2);
    assert_found("the mark \"base\" was changed");
}

int main(int argc, char **argv)
{
    static const job list[] = {{"append", job_append},
                               {"until-killed", job_until_killed},
                               {"sweep", job_sweep},
                               {NULL, NULL}};
    int rc = job_start(list, argc, argv);
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_empty, close_after_test)
    const struct CMUnitTest tests[] = {TEST(many_writers_make_one_chain),
                                       TEST(a_killed_writer_leaves_a_whole_chain),
                                       TEST(it_can_be_verified_while_rows_come_and_go),
                                       TEST(a_whole_log_is_whole),
                                       TEST(a_changed_row_is_found),
                                       TEST(a_removed_row_is_found),
                                       TEST(rows_in_another_order_are_found),
                                       TEST(a_cut_end_is_found),
                                       TEST(a_row_of_somebody_else_is_found),
                                       TEST(old_rows_go_and_the_rest_still_verifies),
                                       TEST(the_last_row_stays),
                                       TEST(a_sweep_that_was_cut_short_is_no_theft),
                                       TEST(a_forged_mark_is_found)};

    if (rc >= 0)
        return rc;
    fixture_start();
    rc = cmocka_run_group_tests_name("store_audit", tests, NULL, NULL);
    remove_folder();
    return rc;
}
