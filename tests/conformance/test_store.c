/* test_store.c: what store.h promises for documents, conditions and queries, over store.h alone.
 * The same program runs on every backend: BIZAPI_TEST_STORE names the store. It leaves rows behind
 * in a store that is not its own, and minds none that it finds there. */
#include "store_fixture.h"

/* ---- documents ---- */

static void values_come_back_as_they_were_set(void **state)
{
    store_doc *doc = new_user(unique_name("value")), *back;
    char *large = apr_palloc(pool, 100001);

    (void)state;
    memset(large, 'x', 100000);
    large[100000] = '\0';
    store_set_str(doc, USER_NAME, "O'Neil \"Zoë\" \xf0\x9f\x8c\x8d; DROP TABLE users; --\n\t");
    store_set_str(doc, USER_PHONE, "");
    store_set_str(doc, USER_PASSWORD_HASH, large);
    store_set_int(doc, USER_SESSION_EPOCH, INT64_MIN);
    store_set_bool(doc, USER_EMAIL_VERIFIED, 7);
    store_set_bool(doc, USER_MFA_ENABLED, 0);
    store_set_time(doc, USER_PASSWORD_CHANGED_AT, apr_time_make(1792915200, 123999));
    assert_ok(store_insert(st, pool, doc, NULL));
    back = got(COLL_USERS, store_doc_id(doc));
    assert_int_equal(store_doc_coll(back), COLL_USERS);
    assert_string_equal(store_doc_id(back), store_doc_id(doc));
    assert_string_equal(store_str(back, STORE_ID), store_doc_id(doc));
    assert_string_equal(store_str(back, USER_EMAIL), store_str(doc, USER_EMAIL));
    assert_string_equal(store_str(back, USER_NAME), store_str(doc, USER_NAME));
    assert_false(store_is_null(back, USER_PHONE));
    assert_string_equal(store_str(back, USER_PHONE), "");
    assert_string_equal(store_str(back, USER_PASSWORD_HASH), large);
    assert_true(store_int(back, USER_SESSION_EPOCH) == INT64_MIN);
    assert_int_equal(store_bool(back, USER_EMAIL_VERIFIED), 1);
    assert_false(store_is_null(back, USER_MFA_ENABLED));
    assert_int_equal(store_bool(back, USER_MFA_ENABLED), 0);
    assert_true(store_time(back, USER_PASSWORD_CHANGED_AT) == apr_time_make(1792915200, 123000));
}

static void times_before_1970_and_beyond_2038(void **state)
{
    static const apr_time_t times[] = {
        -1, -1000, -86400000001, 0, 4102444800000000, 253402300799999000};
    static const apr_time_t kept[] = {
        -1000, -1000, -86400001000, 0, 4102444800000000, 253402300799999000};

    (void)state;
    for (size_t i = 0; i < STORE_COUNT_OF(times); i++) {
        store_doc *doc = store_doc_new(pool, COLL_SESSIONS);

        store_set_time(doc, SESSION_LAST_SEEN_AT, times[i]);
        assert_ok(store_insert(st, pool, doc, NULL));
        doc = got(COLL_SESSIONS, store_doc_id(doc));
        assert_false(store_is_null(doc, SESSION_LAST_SEEN_AT));
        assert_true(store_time(doc, SESSION_LAST_SEEN_AT) == kept[i]);
    }
}

static void json_is_kept_to_the_byte(void **state)
{
    static const char text[] =
        "{ \"b\":1.50, \"a\" : [null,true,{\"$gt\":\"\"}], \"a.b\":\"\\u00e9\"}";
    store_doc *doc = store_doc_new(pool, COLL_OUTBOX);

    (void)state;
    store_set_str(doc, OUTBOX_DATA, text);
    assert_ok(store_insert(st, pool, doc, NULL));
    assert_string_equal(store_str(got(COLL_OUTBOX, store_doc_id(doc)), OUTBOX_DATA), text);
}

static void every_field_may_be_null(void **state)
{
    (void)state;
    for (int no = COLL_NONE + 1; no < COLL_END; no++) {
        const store_coll *coll = store_coll_by_no(no);
        store_doc *doc = store_doc_new(pool, no);

        assert_ok(store_insert(st, pool, doc, NULL));
        doc = got(no, store_doc_id(doc));
        for (unsigned i = 0; i < coll->field_count; i++) {
            store_fid fid = (store_fid)no << 8 | i;

            assert_true(store_is_null(doc, fid));
            switch (coll->fields[i].type) {
            case STORE_STR:
            case STORE_JSON:
                assert_null(store_str(doc, fid));
                break;
            case STORE_INT:
                assert_int_equal(store_int(doc, fid), 0);
                break;
            case STORE_BOOL:
                assert_int_equal(store_bool(doc, fid), 0);
                break;
            case STORE_TIME:
                assert_int_equal(store_time(doc, fid), 0);
            }
        }
    }
}

static void an_insert_sets_version_and_times(void **state)
{
    store_doc *doc = new_user(unique_name("times"));
    apr_time_t before = apr_time_now();

    (void)state;
    assert_memory_equal(store_doc_id(doc), "usr_", 4);
    assert_int_equal(store_doc_version(doc), 0);
    assert_ok(store_insert(st, pool, doc, NULL));
    assert_int_equal(store_doc_version(doc), 1);
    doc = got(COLL_USERS, store_doc_id(doc));
    assert_int_equal(store_doc_version(doc), 1);
    assert_int_equal(store_int(doc, STORE_VERSION), 1);
    assert_in_range(store_time(doc, STORE_CREATED_AT), before - 1000, apr_time_now());
    assert_int_equal(store_time(doc, STORE_CREATED_AT) % 1000, 0);
    assert_true(store_time(doc, STORE_UPDATED_AT) == store_time(doc, STORE_CREATED_AT));
}

static void a_collection_without_version(void **state)
{
    store_doc *doc = store_doc_new(pool, COLL_RESET_TOKENS), *after;
    store_change used[] = {STORE_SET_BOOL(RESET_USED, 1)};

    (void)state;
    store_set_str(doc, RESET_TOKEN, unique_name("token"));
    assert_ok(store_insert(st, pool, doc, NULL));
    assert_int_equal(store_doc_version(doc), 0);
    assert_ok(
        store_update(st, pool, COLL_RESET_TOKENS, store_doc_id(doc), NULL, 0, used, 1, &after));
    assert_int_equal(store_doc_version(after), 0);
    assert_true(store_is_null(after, STORE_VERSION));
    assert_true(store_is_null(after, STORE_UPDATED_AT));
    assert_int_equal(store_time(after, STORE_UPDATED_AT), 0);
    assert_true(store_time(after, STORE_CREATED_AT) == store_time(doc, STORE_CREATED_AT));
    assert_int_equal(store_bool(after, RESET_USED), 1);
}

static void ids_that_nobody_has(void **state)
{
    char *endless = apr_palloc(pool, 5000);
    const char *ids[] = {"usr_00000000000000000000000000",
                         "",
                         NULL,
                         "' OR 1=1 --",
                         "\xff\xfe",
                         "{\"$gt\":\"\"}",
                         endless};
    store_change touch[] = {STORE_SET_INT(USER_SESSION_EPOCH, 1)};

    (void)state;
    memset(endless, 'a', 4999);
    endless[4999] = '\0';
    for (size_t i = 0; i < STORE_COUNT_OF(ids); i++) {
        store_doc *doc = (store_doc *)st;

        assert_status(store_get(st, pool, COLL_USERS, ids[i], &doc), STORE_ENOENT);
        assert_null(doc);
        assert_status(store_update(st, pool, COLL_USERS, ids[i], NULL, 0, touch, 1, &doc),
                      STORE_ENOENT);
        assert_status(store_delete(st, pool, COLL_USERS, ids[i], NULL, 0), STORE_ENOENT);
    }
    assert_int_equal(log_lines, 0);
}

static void an_id_of_the_callers_own(void **state)
{
    const char *id = unique_name("idempotency:{weird} $id.with/everything");
    store_doc *doc = store_doc_new(pool, COLL_IDEMPOTENCY);

    (void)state;
    store_doc_set_id(doc, id);
    store_set_int(doc, IDEM_STATUS, 201);
    assert_ok(store_insert(st, pool, doc, NULL));
    assert_int_equal(store_int(got(COLL_IDEMPOTENCY, id), IDEM_STATUS), 201);
}

/* ---- unique ---- */

static void a_key_is_taken_once(void **state)
{
    const char *email = unique_name("taken"), *index = NULL;
    store_doc *first = new_user(email), *second = new_user(email);

    (void)state;
    assert_ok(store_insert(st, pool, first, &index));
    assert_null(index);
    assert_status(store_insert(st, pool, second, &index), STORE_EEXIST);
    assert_string_equal(index, "users_email");
    assert_int_equal(store_doc_version(second), 0);
    store_set_str(second, USER_EMAIL, unique_name("free"));
    store_doc_set_id(second, store_doc_id(first));
    assert_status(store_insert(st, pool, second, &index), STORE_EEXIST);
    assert_string_equal(index, "_id");
    assert_status(store_insert(st, pool, second, NULL), STORE_EEXIST);
    assert_string_equal(store_str(got(COLL_USERS, store_doc_id(first)), USER_EMAIL), email);
}

/* What is there stays as it is; the rest is added, however many there are, and again does nothing.
 */
static void many_are_inserted_but_those_that_are_there(void **state)
{
    enum { N = 250 };
    const char *emails[N];
    store_doc *docs[N], *there = new_user(unique_name("there"));

    (void)state;
    assert_ok(store_insert(st, pool, there, NULL));
    for (int i = 0; i < N; i++) {
        emails[i] = i % 50 == 0 ? store_str(there, USER_EMAIL) : unique_name("many");
        docs[i] = new_user(emails[i]);
        store_set_str(docs[i], USER_NAME, "New");
    }
    store_doc_set_id(docs[7], store_doc_id(there));
    store_set_str(docs[9], USER_EMAIL, emails[8]); /* twice in one call */
    for (int again = 0; again < 2; again++)
        assert_ok(store_insert_new(st, pool, docs, N));
    for (int i = 0; i < N; i++) {
        store_doc *doc;

        if (i % 50 == 0 || i == 9) {
            assert_status(store_get(st, pool, COLL_USERS, store_doc_id(docs[i]), &doc),
                          STORE_ENOENT);
            continue;
        }
        doc = got(COLL_USERS, store_doc_id(docs[i]));
        assert_string_equal(store_str(doc, USER_EMAIL),
                            i == 7 ? store_str(there, USER_EMAIL) : emails[i]);
        assert_int_equal(store_doc_version(doc), 1);
    }
    assert_ok(store_insert_new(st, pool, docs, 0));
}

static void every_unique_index_is_one(void **state)
{
    unsigned count, seen = 0;
    const store_index *indexes = store_indexes(&count);

    (void)state;
    for (unsigned i = 0; i < count; i++) {
        const char *value = unique_name("unique"), *index = NULL;
        const int64_t number = apr_time_now();

        for (int twice = 0; twice < 2; twice++) {
            store_doc *doc = store_doc_new(pool, indexes[i].coll);

            for (int f = 0; f < STORE_INDEX_FIELDS && indexes[i].fields[f]; f++) {
                if (store_field_type(indexes[i].fields[f]) == STORE_STR) {
                    store_set_str(doc, indexes[i].fields[f], value);
                } else if (store_field_type(indexes[i].fields[f]) == STORE_INT) {
                    store_set_int(doc, indexes[i].fields[f], number);
                }
            }
            assert_status(store_insert(st, pool, doc, &index),
                          twice && indexes[i].unique ? STORE_EEXIST : APR_SUCCESS);
        }
        if (indexes[i].unique) {
            assert_string_equal(index, indexes[i].name);
            seen++;
        }
    }
    assert_true(seen >= 4);
}

static void null_is_no_double(void **state)
{
    store_doc *doc;

    (void)state;
    for (int i = 0; i < 3; i++) {
        doc = store_doc_new(pool, COLL_OUTBOX);
        assert_ok(store_insert(st, pool, doc, NULL));
    }
    /* A key given up is free for another. */
    for (int i = 0; i < 2; i++) {
        store_change gone[] = {STORE_SET_NULL(OUTBOX_UNIQUE_KEY)};

        doc = store_doc_new(pool, COLL_OUTBOX);
        store_set_str(doc, OUTBOX_UNIQUE_KEY, "test: given up at once");
        assert_ok(store_insert(st, pool, doc, NULL));
        assert_ok(store_update(st, pool, COLL_OUTBOX, store_doc_id(doc), NULL, 0, gone, 1, NULL));
    }
}

static void a_change_cannot_take_a_key(void **state)
{
    store_doc *first = new_user(unique_name("a")), *second = new_user(unique_name("b")), *after;
    store_change steal[] = {STORE_SET_STR(USER_EMAIL, store_str(first, USER_EMAIL)),
                            STORE_SET_STR(USER_NAME, "thief")};
    store_change same[] = {STORE_SET_STR(USER_EMAIL, store_str(first, USER_EMAIL))};

    (void)state;
    assert_ok(store_insert(st, pool, first, NULL));
    assert_ok(store_insert(st, pool, second, NULL));
    assert_status(
        store_update(st, pool, COLL_USERS, store_doc_id(second), NULL, 0, steal, 2, &after),
        STORE_EEXIST);
    assert_null(after);
    after = got(COLL_USERS, store_doc_id(second));
    assert_string_equal(store_str(after, USER_EMAIL), store_str(second, USER_EMAIL));
    assert_true(store_is_null(after, USER_NAME));
    assert_int_equal(store_doc_version(after), 1);
    assert_ok(store_update(st, pool, COLL_USERS, store_doc_id(first), NULL, 0, same, 1, NULL));
}

/* ---- copies and counts ---- */

static void a_scan_sees_everything_and_a_copy_is_exact(void **state)
{
    store_doc *doc = new_user(unique_name("copy")), *back;
    apr_array_header_t *docs;
    const char *after = NULL, *last = "";
    store_change name[] = {STORE_SET_STR(USER_NAME, "copied")};
    int64_t count, seen = 0;

    (void)state;
    assert_ok(store_insert(st, pool, doc, NULL));
    assert_ok(store_update(st, pool, COLL_USERS, store_doc_id(doc), NULL, 0, name, 1, &doc));
    assert_ok(store_count(st, pool, COLL_USERS, &count));
    do {
        assert_ok(store_scan(st, pool, COLL_USERS, after, 7, &docs));
        for (int i = 0; i < docs->nelts; i++) {
            after = store_doc_id(APR_ARRAY_IDX(docs, i, store_doc *));
            assert_true(strcmp(last, after) < 0);
            last = after;
            seen++;
        }
    } while (docs->nelts == 7);
    assert_int_equal(seen, count);
    /* The row has changed since; what is there exactly already may be taken for done. */
    assert_ok(store_update(st, pool, COLL_USERS, store_doc_id(doc), NULL, 0, NULL, 0, NULL));
    assert_status(store_insert_copy(st, pool, doc), STORE_EEXIST);
    assert_ok(store_delete(st, pool, COLL_USERS, store_doc_id(doc), NULL, 0));
    assert_ok(store_insert_copy(st, pool, doc));
    back = got(COLL_USERS, store_doc_id(doc));
    assert_int_equal(store_doc_version(back), 2);
    assert_string_equal(store_str(back, USER_NAME), "copied");
    assert_true(store_time(back, STORE_CREATED_AT) == store_time(doc, STORE_CREATED_AT));
    assert_true(store_time(back, STORE_UPDATED_AT) == store_time(doc, STORE_UPDATED_AT));
}

static void expired_rows_are_swept(void **state)
{
    apr_time_t now = apr_time_now();
    const char *ids[5];
    int removed, all = 0;

    (void)state;
    do { /* whatever others have left */
        assert_ok(store_sweep(st, pool, now, 500, &removed));
    } while (removed == 500);
    for (int i = 0; i < 5; i++) {
        store_doc *doc = store_doc_new(pool, i < 3 ? COLL_IDEMPOTENCY : COLL_RESET_TOKENS);

        if (i != 2) {
            store_set_time(doc, i < 3 ? IDEM_EXPIRES_AT : RESET_EXPIRES_AT,
                           i == 1 ? now + apr_time_from_sec(3600) : now - apr_time_from_sec(i + 1));
        }
        assert_ok(store_insert(st, pool, doc, NULL));
        ids[i] = store_doc_id(doc);
    }
    assert_ok(store_sweep(st, pool, now, 2, &removed));
    assert_int_equal(removed, 2);
    for (int i = 0; i < 10 && all < 1; i++) {
        assert_ok(store_sweep(st, pool, now, 500, &removed));
        all += removed;
    }
    assert_int_equal(all, 1);
    for (int i = 0; i < 5; i++) {
        store_doc *doc;

        assert_status(
            store_get(st, pool, i < 3 ? COLL_IDEMPOTENCY : COLL_RESET_TOKENS, ids[i], &doc),
            i == 1 || i == 2 ? APR_SUCCESS : STORE_ENOENT);
    }
}

/* ---- the store itself ---- */

static void it_says_that_it_is_well(void **state)
{
    const char *report = NULL;

    (void)state;
    assert_ok(store_migrate(st, pool));
    assert_ok(store_migrate(st, pool));
    assert_ok(store_ping(st, pool));
    assert_ok(store_check(st, pool, &report));
    assert_true(report && *report);
}

/* A store out of reach opens, answers each call within its time, and says why in the log. */
static void a_store_that_is_down(void **state)
{
    const char *nowhere = strncmp(url, "sqlite:", 7) == 0 ? "sqlite:/nonexistent-bizapi/store.db"
                                                          : "mongodb://127.0.0.1:9/bizapi_test";
    store *down = open_store(nowhere, apr_time_from_msec(300));
    store_query q = {.coll = COLL_USERS, .limit = 1};
    store_doc *doc;
    apr_array_header_t *docs;
    const char *report;
    int64_t n;
    int some;
    apr_time_t begin = apr_time_now();

    (void)state;
    assert_status(store_get(down, pool, COLL_USERS, "usr_x", &doc), STORE_EUNAVAIL);
    assert_in_range(apr_time_now() - begin, 0, 1500000);
    assert_status(
        store_get_two(down, pool, COLL_SESSIONS, "ses_x", SESSION_USER_ID, COLL_USERS, &doc, &doc),
        STORE_EUNAVAIL);
    assert_status(store_insert(down, pool, new_user("x"), NULL), STORE_EUNAVAIL);
    assert_status(store_update(down, pool, COLL_USERS, "x", NULL, 0, NULL, 0, &doc),
                  STORE_EUNAVAIL);
    assert_status(store_delete(down, pool, COLL_USERS, "x", NULL, 0), STORE_EUNAVAIL);
    assert_status(store_counter(down, pool, "x", 1, &n), STORE_EUNAVAIL);
    assert_status(store_find(down, pool, &q, &docs, NULL), STORE_EUNAVAIL);
    assert_int_equal(docs->nelts, 0);
    assert_status(store_claim(down, pool, &q, NULL, 0, &doc), STORE_EUNAVAIL);
    assert_status(store_update_each(down, pool, &q, NULL, 0, &some), STORE_EUNAVAIL);
    assert_status(store_sweep(down, pool, apr_time_now(), 1, &some), STORE_EUNAVAIL);
    assert_status(store_count(down, pool, COLL_USERS, &n), STORE_EUNAVAIL);
    assert_status(store_ping(down, pool), STORE_EUNAVAIL);
    assert_status(store_migrate(down, pool), STORE_EUNAVAIL);
    assert_status(store_check(down, pool, &report), STORE_EUNAVAIL);
    assert_in_range(apr_time_now() - begin, 0, 13 * 1500000);
    assert_in_range(log_lines, 1, 3);
    assert_memory_equal(log_line, "BZ02", 4);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_for_test, close_after_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(values_come_back_as_they_were_set),
        T(times_before_1970_and_beyond_2038),
        T(json_is_kept_to_the_byte),
        T(every_field_may_be_null),
        T(an_insert_sets_version_and_times),
        T(a_collection_without_version),
        T(ids_that_nobody_has),
        T(an_id_of_the_callers_own),
        T(a_key_is_taken_once),
        T(many_are_inserted_but_those_that_are_there),
        T(every_unique_index_is_one),
        T(null_is_no_double),
        T(a_change_cannot_take_a_key),
        T(a_scan_sees_everything_and_a_copy_is_exact),
        T(expired_rows_are_swept),
        T(it_says_that_it_is_well),
        T(a_store_that_is_down),
    };
    int failed;

    fixture_start();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_folder();
    return failed;
}
