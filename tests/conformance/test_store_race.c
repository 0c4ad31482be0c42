/* test_store_race.c: what store.h promises to many at once: 24 processes of their own, and 8
 * threads of one; and what it promises after kill -9. Over store.h alone, on every backend, like
 * test_store.c. */
#include "store_fixture.h"
#include <sys/time.h>

enum { PROCESSES = 24, THREADS = 8 };

/* A job reports by lines; whatever it did not expect it writes out, and the test sees it. */
static void report(const char *call, apr_status_t rv)
{
    printf("failed: %s: %s\n", call, store_strerror(pool, rv));
}

/* ---- one winner ---- */

enum { KEYS = 12 };

static int job_unique(int number, const char *name)
{
    job_wait();
    for (int i = 0; i < KEYS; i++) {
        store_doc *doc = store_doc_new(pool, COLL_USERS);
        const char *index = NULL;
        apr_status_t rv;

        store_set_str(doc, USER_EMAIL, apr_psprintf(pool, "%d-%s", (i + number) % KEYS, name));
        rv = store_insert(st, pool, doc, &index);
        if (rv == APR_SUCCESS) {
            printf("won %d\n", (i + number) % KEYS);
        } else if (rv != STORE_EEXIST || !index || strcmp(index, "users_email") != 0) {
            report("insert", rv);
        }
    }
    return 0;
}

static void one_winner_a_unique_key(void **state)
{
    const char *name = unique_name("race"), *line;
    int won[KEYS] = {0};
    jobs all;

    (void)state;
    jobs_begin(&all, PROCESSES, "unique", name);
    while ((line = jobs_line(&all)) != NULL) {
        if (strncmp(line, "won ", 4) != 0) {
            fail_msg("%s", line);
        }
        won[atoi(line + 4)]++;
    }
    jobs_end(&all, 0);
    for (int i = 0; i < KEYS; i++) {
        assert_int_equal(won[i], 1);
    }
}

enum { TRIES = 9, TOKENS = 4 }; /* 24 * 9: more than 200 tries at each of 4 tokens */

static int job_use(int number, const char *name)
{
    store_cond unused[] = {STORE_EQ_BOOL(RESET_USED, 0)};
    store_change use[] = {STORE_SET_BOOL(RESET_USED, 1), STORE_SET_STR(RESET_EMAIL, "")};

    job_wait();
    use[1].value.s = apr_psprintf(pool, "%d", number);
    for (int i = 0; i < TRIES * TOKENS; i++) {
        const char *id = apr_psprintf(pool, "%d-%s", (i + number) % TOKENS, name);
        store_doc *after = NULL;
        apr_status_t rv = store_update(st, pool, COLL_RESET_TOKENS, id, unused, 1, use, 2, &after);

        if (rv == APR_SUCCESS) {
            printf("won %d %d\n", (i + number) % TOKENS, number);
        } else if (rv != STORE_ECOND) {
            report("update", rv);
        }
    }
    return 0;
}

static void one_winner_of_two_hundred(void **state)
{
    const char *name = unique_name("token"), *line;
    int won[TOKENS] = {0}, by[TOKENS] = {0}, i, who;
    jobs all;

    (void)state;
    st = open_store(url, apr_time_from_sec(20));
    for (i = 0; i < TOKENS; i++) {
        store_doc *doc = store_doc_new(pool, COLL_RESET_TOKENS);

        store_doc_set_id(doc, apr_psprintf(pool, "%d-%s", i, name));
        store_set_bool(doc, RESET_USED, 0);
        assert_ok(store_insert(st, pool, doc, NULL));
    }
    jobs_begin(&all, PROCESSES, "use", name);
    while ((line = jobs_line(&all)) != NULL) {
        if (sscanf(line, "won %d %d", &i, &who) != 2) {
            fail_msg("%s", line);
        }
        won[i]++;
        by[i] = who;
    }
    jobs_end(&all, 0);
    for (i = 0; i < TOKENS; i++) {
        store_doc *doc;

        assert_int_equal(won[i], 1);
        assert_ok(
            store_get(st, pool, COLL_RESET_TOKENS, apr_psprintf(pool, "%d-%s", i, name), &doc));
        assert_int_equal(atoi(store_str(doc, RESET_EMAIL)), by[i]);
    }
}

/* ---- no change is lost ---- */

enum { ROUNDS = 10 };

static int job_version(int number, const char *id)
{
    int made = 0;

    (void)number;
    job_wait();
    for (int tries = 0; made < ROUNDS && tries < 20000; tries++) {
        store_doc *doc = NULL;
        apr_status_t rv = store_get(st, pool, COLL_USERS, id, &doc);
        store_cond same[1];
        store_change add[1];

        if (rv) {
            report("get", rv);
            break;
        }
        same[0] = (store_cond)STORE_EQ_INT(STORE_VERSION, store_doc_version(doc));
        add[0] =
            (store_change)STORE_SET_INT(USER_SESSION_EPOCH, store_int(doc, USER_SESSION_EPOCH) + 1);
        rv = store_update(st, pool, COLL_USERS, id, same, 1, add, 1, NULL);
        if (rv == APR_SUCCESS) {
            made++;
        } else if (rv != STORE_ECOND) {
            report("update", rv);
        }
    }
    printf("made %d\n", made);
    return 0;
}

static void no_change_by_version_is_lost(void **state)
{
    store_doc *doc = store_doc_new(pool, COLL_USERS);
    const char *line;
    int n, made = 0;
    jobs all;

    (void)state;
    st = open_store(url, apr_time_from_sec(20));
    assert_ok(store_insert(st, pool, doc, NULL));
    jobs_begin(&all, PROCESSES, "version", store_doc_id(doc));
    while ((line = jobs_line(&all)) != NULL) {
        if (sscanf(line, "made %d", &n) != 1) {
            fail_msg("%s", line);
        }
        made += n;
    }
    jobs_end(&all, 0);
    assert_int_equal(made, PROCESSES * ROUNDS);
    assert_ok(store_get(st, pool, COLL_USERS, store_doc_id(doc), &doc));
    assert_int_equal(store_int(doc, USER_SESSION_EPOCH), made);
    assert_int_equal(store_doc_version(doc), made + 1);
}

static int job_count(int number, const char *name)
{
    (void)number;
    job_wait();
    for (int i = 0; i < ROUNDS * 2; i++) {
        int64_t value = 0;
        apr_status_t rv = store_counter(st, pool, name, 1, &value);

        if (rv) {
            report("counter", rv);
        } else {
            printf("%d\n", (int)value);
        }
    }
    return 0;
}

static void counters_have_no_gap_and_no_double(void **state)
{
    enum { TOTAL = PROCESSES * ROUNDS * 2 };
    static int seen[TOTAL + 1];
    const char *line;
    jobs all;

    (void)state;
    jobs_begin(&all, PROCESSES, "count", unique_name("counter"));
    while ((line = jobs_line(&all)) != NULL) {
        int value = atoi(line);

        if (value < 1 || value > TOTAL) {
            fail_msg("%s", line);
        }
        seen[value]++;
    }
    jobs_end(&all, 0);
    for (int i = 1; i <= TOTAL; i++) {
        assert_int_equal(seen[i], 1);
    }
}

/* ---- claims ---- */

enum { ROWS = 150 };

static int job_claim(int number, const char *name)
{
    store_cond c[] = {STORE_EQ_STR(OUTBOX_STATE, name),
                      STORE_LE_TIME(OUTBOX_DUE_AT, apr_time_now())};
    store_query q = {.coll = COLL_OUTBOX, .index = "outbox_due", .conds = c, .n_conds = 2};
    store_change take[] = {STORE_SET_TIME(OUTBOX_DUE_AT, apr_time_now() + apr_time_from_sec(3600)),
                           STORE_INC_INT(OUTBOX_TRIES, 1), STORE_SET_STR(OUTBOX_LEASE, "")};
    apr_status_t rv;
    store_doc *doc;

    take[2].value.s = apr_psprintf(pool, "%d", number);
    job_wait();
    while ((rv = store_claim(st, pool, &q, take, 3, &doc)) == APR_SUCCESS) {
        printf("%s %d %d\n", store_doc_id(doc), (int)store_int(doc, OUTBOX_TRIES),
               strcmp(store_str(doc, OUTBOX_LEASE), take[2].value.s) == 0);
    }
    if (rv != STORE_ENOENT) {
        report("claim", rv);
    }
    return 0;
}

static void each_row_is_claimed_once(void **state)
{
    const char *name = unique_name("claim"), *line;
    char seen[ROWS] = {0};
    int number, tries, mine, count = 0;
    jobs all;

    (void)state;
    st = open_store(url, apr_time_from_sec(20));
    for (int i = 0; i < ROWS; i++) {
        store_doc *doc = store_doc_new(pool, COLL_OUTBOX);

        store_doc_set_id(doc, apr_psprintf(pool, "%d-%s", i, name));
        store_set_str(doc, OUTBOX_STATE, name);
        store_set_time(doc, OUTBOX_DUE_AT, apr_time_from_sec(1000 + i / 10));
        assert_ok(store_insert(st, pool, doc, NULL));
    }
    jobs_begin(&all, PROCESSES, "claim", name);
    while ((line = jobs_line(&all)) != NULL) {
        if (sscanf(line, "%d-%*s %d %d", &number, &tries, &mine) != 3) {
            fail_msg("%s", line);
        }
        assert_in_range(number, 0, ROWS - 1);
        assert_int_equal(seen[number]++, 0);
        assert_int_equal(tries, 1);
        assert_int_equal(mine, 1);
        count++;
    }
    jobs_end(&all, 0);
    assert_int_equal(count, ROWS);
}

/* ---- walks while others write ---- */

enum { INSERTS = 15 }; /* by each of 23 */

static int job_insert(int number, const char *name)
{
    unsigned seed = (unsigned)number * 77777U + 1;

    job_wait();
    for (int i = 0; i < INSERTS; i++) {
        store_doc *doc = store_doc_new(pool, COLL_OUTBOX);
        apr_status_t rv;

        seed = seed * 1103515245U + 12345U;
        store_set_str(doc, OUTBOX_STATE, name);
        store_set_time(doc, OUTBOX_DUE_AT, apr_time_from_msec(1000 + (seed >> 8) % 1000));
        rv = store_insert(st, pool, doc, NULL);
        if (rv) {
            report("insert", rv);
        }
    }
    return 0;
}

/* Once through in pages of seven: how often each of the first rows was seen; no id twice. */
static void walk_once(const char *name, int descending, int *pages)
{
    store_cond c[] = {STORE_EQ_STR(OUTBOX_STATE, name)};
    store_query q = {.coll = COLL_OUTBOX,
                     .index = "outbox_due",
                     .conds = c,
                     .n_conds = 1,
                     .limit = 7,
                     .descending = descending};
    apr_table_t *ids = apr_table_make(pool, 64);
    int first = 0;

    do {
        apr_array_header_t *docs;
        const char *next;

        assert_ok(store_find(st, pool, &q, &docs, &next));
        for (int i = 0; i < docs->nelts; i++) {
            const char *id = store_doc_id(APR_ARRAY_IDX(docs, i, store_doc *));

            assert_null(apr_table_get(ids, id));
            apr_table_setn(ids, id, id);
            first += strncmp(id, "first-", 6) == 0;
        }
        q.cursor = next;
        ++*pages;
    } while (q.cursor);
    assert_int_equal(first, 100);
}

static void a_walk_misses_nothing_while_others_insert(void **state)
{
    const char *name = unique_name("walk"), *line;
    int pages = 0;
    jobs all;

    (void)state;
    st = open_store(url, apr_time_from_sec(20));
    for (int i = 0; i < 100; i++) {
        store_doc *doc = store_doc_new(pool, COLL_OUTBOX);

        store_doc_set_id(doc, apr_psprintf(pool, "first-%d-%s", i, name));
        store_set_str(doc, OUTBOX_STATE, name);
        store_set_time(doc, OUTBOX_DUE_AT, apr_time_from_msec(1000 + i * 10));
        assert_ok(store_insert(st, pool, doc, NULL));
    }
    jobs_begin(&all, PROCESSES - 1, "insert", name);
    for (int i = 0; i < 4; i++) {
        walk_once(name, i % 2, &pages);
    }
    while ((line = jobs_line(&all)) != NULL) {
        fail_msg("%s", line);
    }
    jobs_end(&all, 0);
    walk_once(name, 0, &pages);
    walk_once(name, 1, &pages);
}

/* ---- kill -9 ---- */

static int job_until_killed(int number, const char *name)
{
    job_wait();
    for (int i = 0; i < 100000; i++) {
        store_doc *doc = store_doc_new(pool, COLL_USERS);
        const char *id = store_doc_id(doc);
        store_change set[] = {STORE_SET_INT(USER_SESSION_EPOCH, i)};
        apr_status_t rv;
        int64_t value;

        store_set_str(doc, USER_EMAIL, apr_pstrcat(pool, id, "@", name, NULL));
        rv = store_insert(st, pool, doc, NULL);
        if (rv == APR_SUCCESS) {
            printf("row %s\n", id);
            rv = store_update(st, pool, COLL_USERS, id, NULL, 0, set, 1, NULL);
        }
        if (rv == APR_SUCCESS) {
            printf("set %s %d\n", id, i);
            rv = store_counter(st, pool, apr_psprintf(pool, "%d-%s", number, name), 1, &value);
        }
        if (rv == APR_SUCCESS) {
            printf("counter %d-%s %d\n", number, name, (int)value);
        } else {
            report("write", rv);
        }
        if (i % 50 == 0) {
            apr_pool_clear(pool);
            st = open_store(url, apr_time_from_sec(20));
        }
    }
    return 1;
}

static void check_line(const char *line, int *checked)
{
    char id[200];
    int value;
    store_doc *doc;

    if (sscanf(line, "row %199s", id) == 1) {
        assert_ok(store_get(st, pool, COLL_USERS, id, &doc));
        assert_memory_equal(store_str(doc, USER_EMAIL), id, strlen(id));
    } else if (sscanf(line, "set %199s %d", id, &value) == 2) {
        assert_ok(store_get(st, pool, COLL_USERS, id, &doc));
        assert_int_equal(store_int(doc, USER_SESSION_EPOCH), value);
        assert_int_equal(store_doc_version(doc), 2);
    } else {
        assert_int_equal(sscanf(line, "counter %199s %d", id, &value), 2);
        assert_ok(store_get(st, pool, COLL_COUNTERS, id, &doc));
        /* One more may have been made and not told. */
        assert_in_range(store_int(doc, COUNTER_VALUE), value, 1000000);
    }
    ++*checked;
}

static void what_was_answered_survives_kill_9(void **state)
{
    int checked = 0;

    (void)state;
    for (int round = 0; round < 4; round++) {
        apr_array_header_t *lines = apr_array_make(pool, 1000, sizeof(char *));
        const char *name = unique_name("kill"), *line;
        const char *report_line;
        int killed = 0;
        jobs all;

        jobs_begin(&all, 6, "until-killed", name);
        /* By the count of lines, so that a slow machine writes something too. */
        while ((line = jobs_line(&all)) != NULL) {
            APR_ARRAY_PUSH(lines, const char *) = apr_pstrdup(pool, line);
            if (!killed && lines->nelts > 120 + round * 7) {
                for (int i = 0; i < all.count; i++) {
                    kill(all.pids[i], SIGKILL);
                }
                killed = 1;
            }
        }
        jobs_end(&all, 1);
        st = open_store(url, apr_time_from_sec(20));
        for (int i = 0; i < lines->nelts; i++) {
            check_line(APR_ARRAY_IDX(lines, i, const char *), &checked);
        }
        assert_ok(store_check(st, pool, &report_line));
        apr_pool_clear(pool);
    }
    assert_true(checked > 400);
}

/* ---- threads ---- */

typedef struct {
    pthread_t thread;
    store *s;
    const char *name;
    int number, won, claimed, bad;
    int64_t sum;
} worker;

static void *work(void *data)
{
    worker *w = data;
    store_cond c[] = {STORE_EQ_STR(OUTBOX_STATE, w->name), STORE_IS_NULL(OUTBOX_LEASE)};
    store_query q = {
        .coll = COLL_OUTBOX, .index = "outbox_due", .conds = c, .n_conds = 2, .limit = 5};
    store_change take[] = {STORE_SET_STR(OUTBOX_LEASE, "me")};
    apr_pool_t *own, *turn;

    apr_pool_create_unmanaged_ex(&own, NULL, NULL);
    apr_pool_create(&turn, own);
    for (int i = 0; i < 40; i++) {
        store_doc *doc = store_doc_new(turn, COLL_OUTBOX), *back;
        apr_array_header_t *docs;
        const char *next;
        apr_status_t rv;
        int64_t value;

        store_set_str(doc, OUTBOX_STATE, w->name);
        store_set_str(doc, OUTBOX_UNIQUE_KEY, apr_psprintf(turn, "%d-%s", i, w->name));
        rv = store_insert(w->s, turn, doc, NULL);
        w->won += rv == APR_SUCCESS;
        w->bad += rv != APR_SUCCESS && rv != STORE_EEXIST;
        if (rv == APR_SUCCESS) {
            w->bad += store_get(w->s, turn, COLL_OUTBOX, store_doc_id(doc), &back) != APR_SUCCESS;
        }
        w->bad += store_counter(w->s, turn, w->name, 1, &value) != APR_SUCCESS;
        w->sum += value;
        w->bad += store_find(w->s, turn, &q, &docs, &next) != APR_SUCCESS;
        rv = store_claim(w->s, turn, &q, take, 1, &back);
        w->claimed += rv == APR_SUCCESS;
        w->bad += rv != APR_SUCCESS && rv != STORE_ENOENT;
        apr_pool_clear(turn);
    }
    apr_pool_destroy(own);
    return NULL;
}

static void eight_threads_share_a_store(void **state)
{
    worker all[THREADS];
    const char *name = unique_name("threads");
    store_options few = {.op_timeout = apr_time_from_sec(20), .max_connections = 3};
    const char *why;
    int won = 0, claimed = 0, bad = 0;
    int64_t sum = 0, n = THREADS * 40;

    (void)state;
    memset(all, 0, sizeof(all));
    /* Fewer connections than threads: they must be handed on. */
    assert_ok(store_open(&st, url, &few, pool, &why));
    for (int i = 0; i < THREADS; i++) {
        all[i].s = st;
        all[i].name = name;
        all[i].number = i;
        assert_int_equal(pthread_create(&all[i].thread, NULL, work, &all[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(all[i].thread, NULL);
        bad += all[i].bad;
        won += all[i].won;
        claimed += all[i].claimed;
        sum += all[i].sum;
    }
    assert_int_equal(bad, 0);
    assert_int_equal(won, 40);
    assert_in_range(claimed, 1, 40);
    assert_true(sum == n * (n + 1) / 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, pool_for_test, close_after_test)

int main(int argc, char **argv)
{
    static const job list[] = {
        {"unique", job_unique},
        {"use", job_use},
        {"version", job_version},
        {"count", job_count},
        {"claim", job_claim},
        {"insert", job_insert},
        {"until-killed", job_until_killed},
        {NULL, NULL},
    };
    const struct CMUnitTest tests[] = {
        T(one_winner_a_unique_key),           T(one_winner_of_two_hundred),
        T(no_change_by_version_is_lost),      T(counters_have_no_gap_and_no_double),
        T(each_row_is_claimed_once),          T(a_walk_misses_nothing_while_others_insert),
        T(what_was_answered_survives_kill_9), T(eight_threads_share_a_store),
    };
    int failed = job_start(list, argc, argv);

    if (failed >= 0) {
        return failed;
    }
    fixture_start();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_folder();
    return failed;
}
