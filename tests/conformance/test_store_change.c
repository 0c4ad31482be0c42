/* test_store_change.c: what store.h promises for changes, their conditions and deletions. Over
 * store.h alone, on every backend, like test_store.c. */
#include "store_fixture.h"

/* ---- changes and conditions ---- */

static void an_update_gives_what_is_there_after(void **state)
{
    store_doc *doc = new_user(unique_name("update")), *after;
    store_change changes[] = {
        STORE_SET_STR(USER_NAME, "Ada"),
        STORE_SET_BOOL(USER_DISABLED, 1),
        STORE_INC_INT(USER_SESSION_EPOCH, 5),
        STORE_SET_NULL(USER_PHONE),
        STORE_SET_TIME(USER_PASSWORD_CHANGED_AT, 1234567890123456),
    };
    store_change more[] = {STORE_INC_INT(USER_SESSION_EPOCH, -7)};

    (void)state;
    store_set_str(doc, USER_PHONE, "+49301234567");
    store_set_str(doc, USER_LOCALE, "de");
    assert_ok(store_insert(st, pool, doc, NULL));
    usleep(2000);
    assert_ok(store_update(st, pool, COLL_USERS, store_doc_id(doc), NULL, 0, changes,
                           STORE_COUNT_OF(changes), &after));
    assert_string_equal(store_str(after, USER_NAME), "Ada");
    assert_int_equal(store_bool(after, USER_DISABLED), 1);
    assert_int_equal(store_int(after, USER_SESSION_EPOCH), 5);
    assert_true(store_is_null(after, USER_PHONE));
    assert_string_equal(store_str(after, USER_LOCALE), "de");
    assert_true(store_time(after, USER_PASSWORD_CHANGED_AT) == 1234567890123000);
    assert_int_equal(store_doc_version(after), 2);
    assert_true(store_time(after, STORE_UPDATED_AT) > store_time(after, STORE_CREATED_AT));
    assert_true(store_time(after, STORE_CREATED_AT) == store_time(doc, STORE_CREATED_AT));
    assert_ok(store_update(st, pool, COLL_USERS, store_doc_id(doc), NULL, 0, more, 1, NULL));
    after = got(COLL_USERS, store_doc_id(doc));
    assert_int_equal(store_int(after, USER_SESSION_EPOCH), -2);
    assert_int_equal(store_doc_version(after), 3);
    /* No change but the version: a touch. */
    assert_ok(store_update(st, pool, COLL_USERS, store_doc_id(doc), NULL, 0, NULL, 0, &after));
    assert_int_equal(store_doc_version(after), 4);
}

static void a_stale_version_changes_nothing(void **state)
{
    store_doc *doc = new_user(unique_name("stale")), *after;
    store_cond first[] = {STORE_EQ_INT(STORE_VERSION, 1)};
    store_change name[] = {STORE_SET_STR(USER_NAME, "one")};

    (void)state;
    assert_ok(store_insert(st, pool, doc, NULL));
    assert_ok(store_update(st, pool, COLL_USERS, store_doc_id(doc), first, 1, name, 1, &after));
    name[0].value.s = "two";
    assert_status(store_update(st, pool, COLL_USERS, store_doc_id(doc), first, 1, name, 1, &after),
                  STORE_ECOND);
    assert_null(after);
    assert_string_equal(store_str(got(COLL_USERS, store_doc_id(doc)), USER_NAME), "one");
    assert_status(store_update(st, pool, COLL_USERS, unique_name("usr"), first, 1, name, 1, NULL),
                  STORE_ENOENT);
}

static void a_text_is_emptied_unseen(void **state)
{
    store_doc *doc = new_user(unique_name("empty")), *after;

    (void)state;
    store_set_str(doc, USER_UNTOLD, "[1]");
    assert_ok(store_insert(st, pool, doc, NULL));
    usleep(2000);
    assert_status(store_empty(st, pool, COLL_USERS, store_doc_id(doc), USER_UNTOLD, "[2]", &after),
                  STORE_ECOND);
    assert_null(after);
    assert_status(store_empty(st, pool, COLL_USERS, unique_name("usr"), USER_UNTOLD, "[1]", &after),
                  STORE_ENOENT);
    assert_ok(store_empty(st, pool, COLL_USERS, store_doc_id(doc), USER_UNTOLD, "[1]", &after));
    assert_true(store_is_null(after, USER_UNTOLD));
    assert_int_equal(store_doc_version(after), 1);
    assert_true(store_time(after, STORE_UPDATED_AT) == store_time(doc, STORE_UPDATED_AT));
    assert_true(store_is_null(got(COLL_USERS, store_doc_id(doc)), USER_UNTOLD));
    assert_status(store_empty(st, pool, COLL_USERS, store_doc_id(doc), USER_UNTOLD, "[1]", &after),
                  STORE_ECOND);
}

/* Each line: does the condition hold for the document below? Asked as a change's condition, as a
 * filter of a walk, and with all those that hold at once. */
static void conditions_mean_what_they_say(void **state)
{
    const apr_time_t t = apr_time_make(1792915200, 500000);
    const char *key = unique_name("cond");
    store_doc *doc = store_doc_new(pool, COLL_OUTBOX), *found;
    struct {
        store_cond cond;
        int holds;
    } rows[] = {
        {STORE_EQ_STR(OUTBOX_STATE, "mm"), 1},
        {STORE_EQ_STR(OUTBOX_STATE, "m"), 0},
        {STORE_EQ_STR(OUTBOX_STATE, "MM"), 0},
        {STORE_EQ_STR(OUTBOX_STATE, NULL), 0},
        {{OUTBOX_STATE, STORE_NE, STORE_V_STR("m")}, 1},
        {{OUTBOX_STATE, STORE_NE, STORE_V_STR("mm")}, 0},
        {{OUTBOX_STATE, STORE_LT, STORE_V_STR("mma")}, 1},
        {{OUTBOX_STATE, STORE_LT, STORE_V_STR("mm")}, 0},
        {{OUTBOX_STATE, STORE_GT, STORE_V_STR("Zz")}, 1}, /* by bytes, not by a language */
        {{OUTBOX_STATE, STORE_LT, STORE_V_STR("\xc3\xa4")}, 1},
        {{OUTBOX_STATE, STORE_GE, STORE_V_STR("mm")}, 1},
        {{OUTBOX_STATE, STORE_LE, STORE_V_STR("ml")}, 0},
        {STORE_NOT_NULL(OUTBOX_STATE), 1},
        {STORE_IS_NULL(OUTBOX_STATE), 0},
        {STORE_IS_NULL(OUTBOX_LEASE), 1},
        {STORE_NOT_NULL(OUTBOX_LEASE), 0},
        {STORE_EQ_STR(OUTBOX_LEASE, ""), 0},
        {STORE_EQ_STR(OUTBOX_LEASE, "x"), 0},
        {{OUTBOX_LEASE, STORE_NE, STORE_V_STR("x")}, 1}, /* null is not x */
        {{OUTBOX_LEASE, STORE_LT, STORE_V_STR("x")}, 0},
        {{OUTBOX_LEASE, STORE_GE, STORE_V_STR("")}, 0},
        {STORE_EQ_STR(OUTBOX_LAST_ERROR, ""), 1},
        {STORE_IS_NULL(OUTBOX_LAST_ERROR), 0},
        {STORE_EQ_INT(OUTBOX_TRIES, 3), 1},
        {STORE_EQ_INT(OUTBOX_TRIES, 0), 0},
        {{OUTBOX_TRIES, STORE_LT, STORE_V_INT(4)}, 1},
        {{OUTBOX_TRIES, STORE_LT, STORE_V_INT(3)}, 0},
        {{OUTBOX_TRIES, STORE_LE, STORE_V_INT(3)}, 1},
        {{OUTBOX_TRIES, STORE_GT, STORE_V_INT(-1)}, 1},
        {{OUTBOX_TRIES, STORE_GE, STORE_V_INT(4)}, 0},
        {{OUTBOX_TRIES, STORE_NE, STORE_V_INT(3)}, 0},
        {STORE_NOT_NULL(OUTBOX_DATA), 1},
        {STORE_IS_NULL(OUTBOX_DATA), 0},
        {STORE_LE_TIME(OUTBOX_DUE_AT, t), 1},
        {STORE_LT_TIME(OUTBOX_DUE_AT, t), 0},
        {STORE_LT_TIME(OUTBOX_DUE_AT, t + 1000), 1},
        {STORE_LE_TIME(OUTBOX_DUE_AT, t + 999), 1}, /* values are cut as the fields are */
        {STORE_LT_TIME(OUTBOX_DUE_AT, t + 999), 0},
        {STORE_GE_TIME(OUTBOX_DUE_AT, t), 1},
        {STORE_GT_TIME(OUTBOX_DUE_AT, t - 1000), 1},
        {{OUTBOX_DUE_AT, STORE_EQ, STORE_V_INT(t + 1)}, 1},
        {STORE_LT_TIME(OUTBOX_SENT_AT, t), 0}, /* null has no place in an order */
        {STORE_GE_TIME(OUTBOX_SENT_AT, 0), 0},
        {STORE_IS_NULL(OUTBOX_SENT_AT), 1},
        {STORE_EQ_INT(STORE_VERSION, 1), 1},
        {STORE_EQ_INT(STORE_VERSION, 2), 0},
        {STORE_GT_TIME(STORE_CREATED_AT, 0), 1},
        {STORE_LT_TIME(STORE_UPDATED_AT, t / 2), 0},
        {{STORE_ID, STORE_NE, STORE_V_STR("x")}, 1},
    };
    store_query q = {.coll = COLL_OUTBOX, .index = "outbox_unique_key"};
    store_cond both[2] = {STORE_EQ_STR(OUTBOX_UNIQUE_KEY, key)};
    store_cond all[STORE_COUNT_OF(rows)];
    size_t n_all = 0;

    (void)state;
    store_set_str(doc, OUTBOX_UNIQUE_KEY, key);
    store_set_str(doc, OUTBOX_STATE, "mm");
    store_set_str(doc, OUTBOX_LAST_ERROR, "");
    store_set_str(doc, OUTBOX_DATA, "{}");
    store_set_int(doc, OUTBOX_TRIES, 3);
    store_set_time(doc, OUTBOX_DUE_AT, t);
    assert_ok(store_insert(st, pool, doc, NULL));
    for (size_t i = 0; i < STORE_COUNT_OF(rows); i++) {
        store_cond never[] = {rows[i].cond, STORE_EQ_STR(OUTBOX_KIND, "never")};

        both[1] = rows[i].cond;
        q.conds = both;
        q.n_conds = 2;
        if (store_find_one(st, pool, &q, &found) != (rows[i].holds ? APR_SUCCESS : STORE_ENOENT)) {
            fail_msg("condition %d of the list above", (int)i);
        }
        assert_status(store_delete(st, pool, COLL_OUTBOX, store_doc_id(doc), never, 2),
                      STORE_ECOND);
        if (rows[i].holds) {
            all[n_all++] = rows[i].cond;
        } else {
            assert_status(store_update(st, pool, COLL_OUTBOX, store_doc_id(doc), &rows[i].cond, 1,
                                       NULL, 0, NULL),
                          STORE_ECOND);
        }
    }
    assert_ok(store_update(st, pool, COLL_OUTBOX, store_doc_id(doc), all, n_all, NULL, 0, &found));
    assert_int_equal(store_doc_version(found), 2);
}

static void bools_and_null_bools(void **state)
{
    store_doc *doc = store_doc_new(pool, COLL_VERIFY_TOKENS), *after;
    store_cond is_false[] = {STORE_EQ_BOOL(VERIFY_USED, 0)};
    store_cond is_true[] = {STORE_EQ_BOOL(VERIFY_USED, 1)};
    store_cond not_true[] = {{VERIFY_USED, STORE_NE, STORE_V_INT(1)}};
    store_change set[] = {STORE_SET_BOOL(VERIFY_USED, 0)};
    const char *id = store_doc_id(doc);

    (void)state;
    assert_ok(store_insert(st, pool, doc, NULL));
    assert_status(store_update(st, pool, COLL_VERIFY_TOKENS, id, is_false, 1, set, 1, NULL),
                  STORE_ECOND);
    assert_ok(store_update(st, pool, COLL_VERIFY_TOKENS, id, not_true, 1, set, 1, &after));
    assert_false(store_is_null(after, VERIFY_USED));
    set[0] = (store_change)STORE_SET_BOOL(VERIFY_USED, 1);
    assert_ok(store_update(st, pool, COLL_VERIFY_TOKENS, id, is_false, 1, set, 1, NULL));
    assert_status(store_update(st, pool, COLL_VERIFY_TOKENS, id, is_false, 1, set, 1, NULL),
                  STORE_ECOND);
    assert_ok(store_update(st, pool, COLL_VERIFY_TOKENS, id, is_true, 1, set, 1, NULL));
}

static void a_delete_is_conditional_too(void **state)
{
    store_doc *doc = new_user(unique_name("delete"));
    store_cond second[] = {STORE_EQ_INT(STORE_VERSION, 2)};
    store_cond first[] = {STORE_EQ_INT(STORE_VERSION, 1)};
    const char *id = store_doc_id(doc);

    (void)state;
    assert_ok(store_insert(st, pool, doc, NULL));
    assert_status(store_delete(st, pool, COLL_USERS, id, second, 1), STORE_ECOND);
    assert_ok(store_delete(st, pool, COLL_USERS, id, first, 1));
    assert_status(store_delete(st, pool, COLL_USERS, id, first, 1), STORE_ENOENT);
    assert_status(store_get(st, pool, COLL_USERS, id, &doc), STORE_ENOENT);
}

static void a_document_and_the_one_it_names(void **state)
{
    store_doc *user = new_user(unique_name("two")), *session = store_doc_new(pool, COLL_SESSIONS);
    store_doc *one, *two;
    const char *id = store_doc_id(session);

    (void)state;
    assert_status(
        store_get_two(st, pool, COLL_SESSIONS, id, SESSION_USER_ID, COLL_USERS, &one, &two),
        STORE_ENOENT);
    assert_ok(store_insert(st, pool, session, NULL));
    /* It names nobody, somebody who is not there, somebody. */
    for (int i = 0; i < 3; i++) {
        store_change names[] = {STORE_SET_STR(SESSION_USER_ID, store_doc_id(user))};

        if (i == 2) {
            assert_ok(store_insert(st, pool, user, NULL));
        }
        if (i > 0) {
            assert_ok(store_update(st, pool, COLL_SESSIONS, id, NULL, 0, names, 1, NULL));
        }
        assert_status(
            store_get_two(st, pool, COLL_SESSIONS, id, SESSION_USER_ID, COLL_USERS, &one, &two),
            i == 2 ? APR_SUCCESS : STORE_ENOENT);
    }
    assert_string_equal(store_doc_id(one), id);
    assert_string_equal(store_str(one, SESSION_USER_ID), store_doc_id(user));
    assert_string_equal(store_doc_id(two), store_doc_id(user));
    assert_string_equal(store_str(two, USER_EMAIL), store_str(user, USER_EMAIL));
    /* What another has changed in between is seen. */
    assert_ok(store_delete(st, pool, COLL_USERS, store_doc_id(user), NULL, 0));
    assert_status(
        store_get_two(st, pool, COLL_SESSIONS, id, SESSION_USER_ID, COLL_USERS, &one, &two),
        STORE_ENOENT);
    assert_int_equal(log_lines, 0);
    assert_status(store_get_two(st, pool, COLL_SESSIONS, id, USER_NAME, COLL_USERS, &one, &two),
                  STORE_EINVAL);
    assert_status(store_get_two(st, pool, COLL_SESSIONS, id, SESSION_EPOCH, COLL_USERS, &one, &two),
                  STORE_EINVAL);
    assert_int_equal(log_lines, 2);
}

static void counters_count(void **state)
{
    const char *name = unique_name("invoice"), *other = unique_name("other");
    int64_t value = -1;

    (void)state;
    assert_ok(store_counter(st, pool, name, 1, &value));
    assert_int_equal(value, 1);
    assert_ok(store_counter(st, pool, name, 10, &value));
    assert_int_equal(value, 11);
    assert_ok(store_counter(st, pool, other, -3, &value));
    assert_int_equal(value, -3);
    assert_ok(store_counter(st, pool, name, 0, &value));
    assert_int_equal(value, 11);
    assert_ok(store_counter(st, pool, name, 5000000000, &value));
    assert_true(value == 5000000011);
    assert_true(store_int(got(COLL_COUNTERS, name), COUNTER_VALUE) == 5000000011);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_for_test, close_after_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(an_update_gives_what_is_there_after),
        T(a_stale_version_changes_nothing),
        T(a_text_is_emptied_unseen),
        T(conditions_mean_what_they_say),
        T(bools_and_null_bools),
        T(a_delete_is_conditional_too),
        T(a_document_and_the_one_it_names),
        T(counters_count),
    };
    int failed;

    fixture_start();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_folder();
    return failed;
}
