/* test_store_find.c: what store.h promises for walks: order, ranges, cursors, claims, changes of
 * many; and what it forbids. Over store.h alone, on every backend, like test_store.c. All rows of
 * one test have a state or owner that no other has. */
#include "store_fixture.h"

/* Rows of the outbox in one `state`; due 0 is null. */
static const char *put(const char *state, const char *id, apr_time_t due)
{
    store_doc *doc = store_doc_new(pool, COLL_OUTBOX);

    if (id) {
        store_doc_set_id(doc, apr_pstrcat(pool, id, "-", state, NULL));
    }
    store_set_str(doc, OUTBOX_STATE, state);
    if (due) {
        store_set_time(doc, OUTBOX_DUE_AT, due);
    }
    assert_ok(store_insert(st, pool, doc, NULL));
    return store_doc_id(doc);
}

#define DUE(ms) (apr_time_make(1792915200, 0) + (ms)*1000)

/* a..j: ties at 20 and at null, ids not in the order of making. */
static void put_ten(const char *state)
{
    static const struct {
        const char *id;
        int ms;
    } rows[] = {{"j", 30}, {"c", 20}, {"a", 20}, {"h", -1}, {"b", 10},
                {"d", 20}, {"i", 25}, {"e", -1}, {"f", 40}, {"g", -1}};

    for (size_t i = 0; i < STORE_COUNT_OF(rows); i++) {
        put(state, rows[i].id, rows[i].ms < 0 ? 0 : DUE(rows[i].ms));
    }
}

/* The first letters of the ids, page after page. */
static const char *walk(store_query q, int limit)
{
    char *seen = apr_pcalloc(pool, 4096);
    size_t n = 0;

    q.limit = limit;
    q.cursor = NULL;
    do {
        apr_array_header_t *docs;
        const char *next;

        assert_ok(store_find(st, pool, &q, &docs, &next));
        assert_true(docs->nelts <= limit);
        assert_true(docs->nelts == limit || !next);
        for (int i = 0; i < docs->nelts; i++) {
            seen[n++] = store_doc_id(APR_ARRAY_IDX(docs, i, store_doc *))[0];
        }
        q.cursor = next;
    } while (q.cursor && n < 4000);
    return seen;
}

static void pages_of_every_size_show_the_same(void **unused)
{
    const char *state = unique_name("walk");
    store_cond c[] = {STORE_EQ_STR(OUTBOX_STATE, state)};
    store_query q = {.coll = COLL_OUTBOX, .index = "outbox_due", .conds = c, .n_conds = 1};

    (void)unused;
    put_ten(state);
    for (int limit = 1; limit <= 11; limit++) {
        q.descending = 0;
        assert_string_equal(walk(q, limit), "eghbacdijf"); /* null comes first */
        q.descending = 1;
        assert_string_equal(walk(q, limit), "fjidcabhge");
    }
}

static void ranges(void **unused)
{
    const char *state = unique_name("range");
    const struct {
        store_op op, op2;
        int ms, ms2;
        const char *up, *down;
    } rows[] = {
        {STORE_LT, 0, 20, 0, "b", "b"},
        {STORE_LE, 0, 20, 0, "bacd", "dcab"},
        {STORE_GT, 0, 20, 0, "ijf", "fji"},
        {STORE_GE, 0, 20, 0, "acdijf", "fjidca"},
        {STORE_GE, STORE_LT, 20, 30, "acdi", "idca"},
        {STORE_GT, STORE_LE, 20, 30, "ij", "ji"},
        {STORE_GT, STORE_LT, 30, 20, "", ""},
        {STORE_EQ, 0, 20, 0, "acd", "dca"},
        {STORE_EQ, 0, 21, 0, "", ""},
    };

    (void)unused;
    put_ten(state);
    for (size_t i = 0; i < STORE_COUNT_OF(rows); i++) {
        store_cond c[] = {STORE_EQ_STR(OUTBOX_STATE, state),
                          {OUTBOX_DUE_AT, rows[i].op, STORE_V_INT(DUE(rows[i].ms))},
                          {OUTBOX_DUE_AT, rows[i].op2, STORE_V_INT(DUE(rows[i].ms2))}};
        store_query q = {
            .coll = COLL_OUTBOX, .index = "outbox_due", .conds = c, .n_conds = rows[i].op2 ? 3 : 2};

        for (int limit = 1; limit <= 4; limit++) {
            q.descending = 0;
            assert_string_equal(walk(q, limit), rows[i].up);
            q.descending = 1;
            assert_string_equal(walk(q, limit), rows[i].down);
        }
    }
}

static void a_null_is_found_by_name(void **unused)
{
    const char *state = unique_name("null");
    store_cond c[] = {STORE_EQ_STR(OUTBOX_STATE, state), STORE_IS_NULL(OUTBOX_DUE_AT)};
    store_query q = {.coll = COLL_OUTBOX, .index = "outbox_due", .conds = c, .n_conds = 2};

    (void)unused;
    put_ten(state);
    for (int limit = 1; limit <= 4; limit++) {
        q.descending = 0;
        assert_string_equal(walk(q, limit), "egh");
        q.descending = 1;
        assert_string_equal(walk(q, limit), "hge");
    }
}

static void filters_beside_the_index(void **unused)
{
    const char *state = unique_name("filter");
    store_cond c[] = {STORE_EQ_STR(OUTBOX_STATE, state),
                      {STORE_ID, STORE_GE, STORE_V_STR("c")},
                      {STORE_ID, STORE_LT, STORE_V_STR("h")},
                      STORE_IS_NULL(OUTBOX_LEASE)};
    store_query q = {.coll = COLL_OUTBOX, .index = "outbox_due", .conds = c, .n_conds = 4};

    (void)unused;
    put_ten(state);
    for (int limit = 1; limit <= 4; limit++) {
        assert_string_equal(walk(q, limit), "egcdf");
    }
    /* Over the ids themselves. */
    q.index = NULL;
    for (int limit = 1; limit <= 4; limit++) {
        q.descending = 0;
        assert_string_equal(walk(q, limit), "cdefg");
        q.descending = 1;
        assert_string_equal(walk(q, limit), "gfedc");
    }
}

static void an_index_of_three_fields(void **unused)
{
    const char *who = unique_name("recipient");
    static const char kinds[] = "babcab";
    store_cond c[] = {STORE_EQ_STR(OUTBOX_RECIPIENT, who), STORE_EQ_STR(OUTBOX_KIND, "b"),
                      STORE_GE_TIME(STORE_CREATED_AT, 1)};
    store_query q = {.coll = COLL_OUTBOX, .index = "outbox_recipient", .conds = c, .n_conds = 1};

    (void)unused;
    for (int i = 0; kinds[i]; i++) {
        store_doc *doc = store_doc_new(pool, COLL_OUTBOX);
        char kind[2] = {kinds[i], 0};

        /* Ids fall while the times of making rise. */
        store_doc_set_id(doc, apr_psprintf(pool, "%c-%s", '9' - i, who));
        store_set_str(doc, OUTBOX_RECIPIENT, who);
        store_set_str(doc, OUTBOX_KIND, kind);
        assert_ok(store_insert(st, pool, doc, NULL));
        usleep(2000);
    }
    /* By kind, then by id: 9=b 8=a 7=b 6=c 5=a 4=b. */
    for (int limit = 1; limit <= 4; limit++) {
        q.n_conds = 1;
        q.descending = 0;
        assert_string_equal(walk(q, limit), "584796");
        q.descending = 1;
        assert_string_equal(walk(q, limit), "697485");
        q.n_conds = 2; /* by created_at */
        q.descending = 0;
        assert_string_equal(walk(q, limit), "974");
        q.n_conds = 3;
        q.descending = 1;
        assert_string_equal(walk(q, limit), "479");
    }
}

static void the_only_one(void **unused)
{
    const char *email = unique_name("one");
    store_cond c[] = {STORE_EQ_STR(USER_EMAIL, email)};
    store_query q = {.coll = COLL_USERS, .index = "users_email", .conds = c, .n_conds = 1};
    store_doc *doc = store_doc_new(pool, COLL_USERS), *found;
    apr_array_header_t *docs;
    const char *next = "?";

    (void)unused;
    assert_status(store_find_one(st, pool, &q, &found), STORE_ENOENT);
    assert_null(found);
    store_set_str(doc, USER_EMAIL, email);
    assert_ok(store_insert(st, pool, doc, NULL));
    assert_ok(store_find_one(st, pool, &q, &found));
    assert_string_equal(store_doc_id(found), store_doc_id(doc));
    q.limit = 1000;
    assert_ok(store_find(st, pool, &q, &docs, &next));
    assert_int_equal(docs->nelts, 1);
    assert_null(next);
    c[0].value.s = apr_pstrcat(pool, email, "x", NULL);
    assert_ok(store_find(st, pool, &q, &docs, &next));
    assert_int_equal(docs->nelts, 0);
    assert_null(next);
}

/* ---- cursors ---- */

static void rows_that_come_and_go_between_pages(void **unused)
{
    const char *state = unique_name("between");
    store_cond c[] = {STORE_EQ_STR(OUTBOX_STATE, state)};
    store_query q = {
        .coll = COLL_OUTBOX, .index = "outbox_due", .conds = c, .n_conds = 1, .limit = 4};
    apr_array_header_t *docs;
    const char *next;

    (void)unused;
    put_ten(state);
    assert_ok(store_find(st, pool, &q, &docs, &next)); /* eghb */
    put(state, "k", DUE(5));                           /* before: not seen any more */
    put(state, "l", DUE(20));                          /* behind: seen, at its place */
    /* The row at which the page ended goes, and one that is to come. */
    assert_ok(store_delete(st, pool, COLL_OUTBOX, apr_pstrcat(pool, "b-", state, NULL), NULL, 0));
    assert_ok(store_delete(st, pool, COLL_OUTBOX, apr_pstrcat(pool, "c-", state, NULL), NULL, 0));
    q.cursor = next;
    q.limit = 100;
    assert_ok(store_find(st, pool, &q, &docs, &next));
    assert_int_equal(docs->nelts, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(store_doc_id(APR_ARRAY_IDX(docs, i, store_doc *))[0], "adlijf"[i]);
    }
}

static const char *first_cursor(const store_query *query)
{
    store_query q = *query;
    apr_array_header_t *docs;
    const char *next;

    q.limit = 2;
    assert_ok(store_find(st, pool, &q, &docs, &next));
    assert_non_null(next);
    return next;
}

static void forged_cursors(void **unused)
{
    const char *state = unique_name("forged");
    store_cond c[] = {STORE_EQ_STR(OUTBOX_STATE, state)};
    store_query q = {
        .coll = COLL_OUTBOX, .index = "outbox_due", .conds = c, .n_conds = 1, .limit = 4};
    char *endless = apr_palloc(pool, 100001);
    const char *bad[] = {"",
                         "x",
                         "AAAA",
                         "not base64!",
                         "' OR 1=1 --",
                         "\xff",
                         NULL,
                         endless,
                         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    apr_array_header_t *docs;
    const char *good, *next;
    store_doc *doc;
    int n;

    (void)unused;
    put_ten(state);
    memset(endless, 'A', 100000);
    endless[100000] = '\0';
    good = first_cursor(&q);
    bad[6] = apr_pstrcat(pool, good, "A", NULL);
    for (size_t i = 0; i < STORE_COUNT_OF(bad); i++) {
        q.cursor = bad[i];
        assert_status(store_find(st, pool, &q, &docs, &next), STORE_EINVAL);
        assert_int_equal(docs->nelts, 0);
        assert_null(next);
    }
    for (size_t i = 0; i < strlen(good); i++) {
        char *copy = apr_pstrdup(pool, good);

        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        q.cursor = copy;
        assert_status(store_find(st, pool, &q, &docs, &next), STORE_EINVAL);
        copy[i] = '\0';
        assert_status(store_find(st, pool, &q, &docs, &next), STORE_EINVAL);
    }
    assert_status(store_claim(st, pool, &q, NULL, 0, &doc), STORE_EINVAL);
    assert_status(store_update_each(st, pool, &q, NULL, 0, &n), STORE_EINVAL);
    assert_int_equal(log_lines, 0); /* it is no mistake of the program */
    q.cursor = good;
    assert_ok(store_find(st, pool, &q, &docs, &next));
    assert_int_equal(docs->nelts, 4);
}

static void a_cursor_of_another_query(void **unused)
{
    const char *state = unique_name("mine"), *other = unique_name("yours");
    store_cond c[] = {STORE_EQ_STR(OUTBOX_STATE, state)};
    store_query q = {
        .coll = COLL_OUTBOX, .index = "outbox_due", .conds = c, .n_conds = 1, .limit = 4};
    apr_array_header_t *docs;

    (void)unused;
    put_ten(state);
    put_ten(other);
    q.cursor = first_cursor(&q);
    assert_ok(store_find(st, pool, &q, &docs, NULL));
    q.descending = 1;
    assert_status(store_find(st, pool, &q, &docs, NULL), STORE_EINVAL);
    q.descending = 0;
    c[0].value.s = other;
    assert_status(store_find(st, pool, &q, &docs, NULL), STORE_EINVAL);
    c[0].value.s = state;
    q.index = "outbox_state_created";
    assert_status(store_find(st, pool, &q, &docs, NULL), STORE_EINVAL);
}

/* ---- claims and changes of many ---- */

static void claims_go_in_order(void **unused)
{
    const char *state = unique_name("queued"), *lease = biz_random_token(pool);
    store_cond c[] = {STORE_EQ_STR(OUTBOX_STATE, state), STORE_LE_TIME(OUTBOX_DUE_AT, DUE(25)),
                      STORE_IS_NULL(OUTBOX_LEASE)};
    store_query q = {.coll = COLL_OUTBOX, .index = "outbox_due", .conds = c, .n_conds = 3};
    store_change take[] = {STORE_SET_STR(OUTBOX_LEASE, lease), STORE_INC_INT(OUTBOX_TRIES, 1),
                           STORE_SET_TIME(OUTBOX_DUE_AT, DUE(1000))};
    store_doc *doc;

    (void)unused;
    put_ten(state);
    for (int i = 0; i < 5; i++) {
        assert_ok(store_claim(st, pool, &q, take, 3, &doc));
        assert_int_equal(store_doc_id(doc)[0], "bacdi"[i]);
        assert_string_equal(store_str(doc, OUTBOX_LEASE), lease);
        assert_int_equal(store_int(doc, OUTBOX_TRIES), 1);
        assert_true(store_time(doc, OUTBOX_DUE_AT) == DUE(1000));
        assert_int_equal(store_doc_version(doc), 2);
    }
    assert_status(store_claim(st, pool, &q, take, 3, &doc), STORE_ENOENT);
    assert_null(doc);
    c[1] = (store_cond)STORE_LE_TIME(OUTBOX_DUE_AT, DUE(60));
    q.descending = 1;
    assert_ok(store_claim(st, pool, &q, take, 3, &doc));
    assert_int_equal(store_doc_id(doc)[0], 'f');
}

static void changes_of_many_stop_at_their_limit(void **unused)
{
    const char *state = unique_name("each");
    store_cond c[] = {STORE_EQ_STR(OUTBOX_STATE, state), STORE_IS_NULL(OUTBOX_SENT_AT)};
    store_query q = {
        .coll = COLL_OUTBOX, .index = "outbox_due", .conds = c, .n_conds = 2, .limit = 4};
    store_change sent[] = {STORE_SET_TIME(OUTBOX_SENT_AT, DUE(1)), STORE_INC_INT(OUTBOX_TRIES, 2)};
    apr_array_header_t *docs;
    int n;

    (void)unused;
    put_ten(state);
    for (int i = 0; i < 4; i++) {
        assert_ok(store_update_each(st, pool, &q, sent, 2, &n));
        assert_int_equal(n, i < 2 ? 4 : i == 2 ? 2 : 0);
    }
    q.n_conds = 1;
    q.limit = 100;
    assert_ok(store_find(st, pool, &q, &docs, NULL));
    assert_int_equal(docs->nelts, 10);
    for (int i = 0; i < 10; i++) {
        store_doc *doc = APR_ARRAY_IDX(docs, i, store_doc *);

        assert_int_equal(store_int(doc, OUTBOX_TRIES), 2);
        assert_int_equal(store_doc_version(doc), 2);
    }
}

/* ---- what store.h forbids ---- */

static void walks_that_are_forbidden(void **unused)
{
    store_cond bad[][2] = {
        {STORE_EQ_STR(OUTBOX_STATE, "a"), STORE_EQ_STR(OUTBOX_STATE, "b")},
        {STORE_EQ_STR(OUTBOX_STATE, "a"), {OUTBOX_STATE, STORE_GT, STORE_V_STR("a")}},
        {{OUTBOX_STATE, STORE_GT, STORE_V_STR("a")}, STORE_EQ_INT(OUTBOX_DUE_AT, 0)},
        {STORE_LT_TIME(OUTBOX_DUE_AT, 0), STORE_IS_NULL(OUTBOX_LEASE)},
        {{OUTBOX_STATE, STORE_NE, STORE_V_STR("a")}, STORE_IS_NULL(OUTBOX_LEASE)},
        {STORE_NOT_NULL(OUTBOX_STATE), STORE_IS_NULL(OUTBOX_LEASE)},
        {STORE_EQ_STR(OUTBOX_STATE, "a"), STORE_EQ_STR(USER_EMAIL, "b")},
        {STORE_EQ_STR(OUTBOX_STATE, "a"), {OUTBOX_TRIES, STORE_GT, STORE_V_NULL}},
        {STORE_EQ_STR(OUTBOX_STATE, "a"), STORE_EQ_INT(OUTBOX_STATE, 5)},
        {STORE_EQ_STR(OUTBOX_STATE, "a"), STORE_EQ_STR(OUTBOX_TRIES, "5")},
        {STORE_EQ_STR(OUTBOX_STATE, "a"), STORE_EQ_STR(OUTBOX_DATA, "{}")},
        {STORE_EQ_STR(OUTBOX_STATE, "\xc3"), STORE_IS_NULL(OUTBOX_LEASE)},
        {STORE_EQ_STR(OUTBOX_STATE, "a"), {OUTBOX_TRIES, (store_op)77, STORE_V_INT(1)}},
        {STORE_EQ_STR(OUTBOX_STATE, "a"), {0, STORE_EQ, STORE_V_INT(1)}},
    };
    store_query q = {.coll = COLL_OUTBOX, .index = "outbox_due", .n_conds = 2, .limit = 1};
    store_query good = {.coll = COLL_OUTBOX, .index = "outbox_due", .limit = 1};
    apr_array_header_t *docs;
    int n;

    (void)unused;
    for (size_t i = 0; i < STORE_COUNT_OF(bad); i++) {
        q.conds = bad[i];
        log_lines = 0;
        assert_status(store_find(st, pool, &q, &docs, NULL), STORE_EINVAL);
        assert_int_equal(log_lines, 1);
        assert_memory_equal(log_line, "BZ0221: ", 8);
    }
    for (int i = 0; i < 6; i++) {
        q = good;
        q.limit = i == 0 ? 0 : i == 1 ? 1001 : i == 2 ? -1 : 1;
        q.index = i == 3 ? "users_email" : i == 4 ? "no_such_index" : q.index;
        q.coll = i == 5 ? COLL_END : q.coll;
        assert_status(store_find(st, pool, &q, &docs, NULL), STORE_EINVAL);
    }
    assert_ok(store_find(st, pool, &good, &docs, NULL));
    assert_status(store_scan(st, pool, COLL_USERS, NULL, 0, &docs), STORE_EINVAL);
    assert_status(store_sweep(st, pool, 0, 0, &n), STORE_EINVAL);
}

static void changes_that_are_forbidden(void **unused)
{
    store_change bad[][2] = {
        {STORE_SET_STR(OUTBOX_KIND, "a"), STORE_SET_STR(OUTBOX_KIND, "b")},
        {STORE_SET_STR(OUTBOX_KIND, "a"), STORE_SET_STR(STORE_ID, "b")},
        {STORE_SET_STR(OUTBOX_KIND, "a"), STORE_SET_INT(STORE_VERSION, 1)},
        {STORE_SET_STR(OUTBOX_KIND, "a"), STORE_SET_TIME(STORE_CREATED_AT, 1)},
        {STORE_SET_STR(OUTBOX_KIND, "a"), STORE_SET_TIME(STORE_UPDATED_AT, 1)},
        {STORE_SET_STR(OUTBOX_KIND, "a"), STORE_SET_STR(USER_NAME, "b")},
        {STORE_SET_STR(OUTBOX_KIND, "a"), STORE_INC_INT(OUTBOX_DUE_AT, 1)},
        {STORE_SET_STR(OUTBOX_KIND, "a"), {OUTBOX_TRIES, STORE_INC, STORE_V_NULL}},
        {STORE_SET_STR(OUTBOX_KIND, "a"), STORE_SET_STR(OUTBOX_TRIES, "b")},
        {STORE_SET_STR(OUTBOX_KIND, "a"), STORE_SET_INT(OUTBOX_LEASE, 4)},
        {STORE_SET_STR(OUTBOX_KIND, "a"), STORE_SET_STR(OUTBOX_LEASE, "\xed\xa0\x80")},
    };
    store_change bool2[] = {STORE_SET_INT(VERIFY_USED, 2)};
    store_doc *doc, *reset = store_doc_new(pool, COLL_RESET_TOKENS);
    const char *state = unique_name("forbidden"), *id = put(state, NULL, 0);
    int64_t value;

    (void)unused;
    for (size_t i = 0; i < STORE_COUNT_OF(bad); i++) {
        assert_status(store_update(st, pool, COLL_OUTBOX, id, NULL, 0, bad[i], 2, NULL),
                      STORE_EINVAL);
    }
    assert_status(store_update(st, pool, COLL_VERIFY_TOKENS, "x", NULL, 0, bool2, 1, NULL),
                  STORE_EINVAL);
    assert_ok(store_insert(st, pool, reset, NULL));
    assert_status(
        store_update(st, pool, COLL_RESET_TOKENS, store_doc_id(reset), NULL, 0, NULL, 0, NULL),
        STORE_EINVAL);
    assert_ok(store_get(st, pool, COLL_OUTBOX, id, &doc));
    assert_int_equal(store_doc_version(doc), 1);
    assert_true(store_is_null(doc, OUTBOX_KIND));
    doc = store_doc_new(pool, COLL_OUTBOX);
    store_set_str(doc, OUTBOX_KIND, "half a letter: \xc3");
    assert_status(store_insert(st, pool, doc, NULL), STORE_EINVAL);
    doc = store_doc_new(pool, COLL_OUTBOX);
    store_doc_set_id(doc, "");
    assert_status(store_insert(st, pool, doc, NULL), STORE_EINVAL);
    assert_status(store_get(st, pool, COLL_NONE, id, &doc), STORE_EINVAL);
    assert_status(store_counter(st, pool, "", 1, &value), STORE_EINVAL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_for_test, close_after_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(pages_of_every_size_show_the_same),
        T(ranges),
        T(a_null_is_found_by_name),
        T(filters_beside_the_index),
        T(an_index_of_three_fields),
        T(the_only_one),
        T(rows_that_come_and_go_between_pages),
        T(forged_cursors),
        T(a_cursor_of_another_query),
        T(claims_go_in_order),
        T(changes_of_many_stop_at_their_limit),
        T(walks_that_are_forbidden),
        T(changes_that_are_forbidden),
    };
    int failed;

    fixture_start();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_folder();
    return failed;
}
