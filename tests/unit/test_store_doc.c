/* test_store_doc.c: what of the store needs no data behind it: the schema, documents in memory,
 * urls and how they are shown. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
#include <cmocka.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "core/log.h"
#include "store/backend.h"

static apr_pool_t *pool;

static void silent(biz_level level, apr_status_t status, const char *line)
{
    (void)level;
    (void)status;
    (void)line;
}

/* ---- the schema ---- */

static void collections_are_known_by_number_and_name(void **state)
{
    (void)state;
    assert_null(store_coll_by_no(COLL_NONE));
    assert_null(store_coll_by_no(COLL_END));
    assert_null(store_coll_by_name(NULL));
    assert_null(store_coll_by_name("no_such_thing"));
    for (int no = COLL_NONE + 1; no < COLL_END; no++) {
        const store_coll *coll = store_coll_by_no(no);

        assert_int_equal(coll->no, no);
        assert_ptr_equal(store_coll_by_name(coll->name), coll);
        assert_in_range(strlen(coll->id_prefix), 2, 3); /* bk_ and the like */
        for (int other = COLL_NONE + 1; other < no; other++) {
            assert_string_not_equal(store_coll_by_no(other)->id_prefix, coll->id_prefix);
        }
    }
    assert_string_equal(store_coll_by_no(COLL_RESET_TOKENS)->name, "password_reset_tokens");
}

static void fields_have_names_and_types(void **state)
{
    (void)state;
    assert_string_equal(store_field_name(STORE_ID), "_id");
    assert_string_equal(store_field_name(STORE_VERSION), "version");
    assert_string_equal(store_field_name(STORE_CREATED_AT), "created_at");
    assert_string_equal(store_field_name(STORE_UPDATED_AT), "updated_at");
    assert_int_equal(store_field_type(STORE_CREATED_AT), STORE_TIME);
    assert_int_equal(store_field_type(STORE_VERSION), STORE_INT);
    assert_string_equal(store_field_name(USER_EMAIL), "email");
    assert_string_equal(store_field_name(USER_SESSION_EPOCH), "session_epoch");
    assert_int_equal(store_field_type(OUTBOX_DATA), STORE_JSON);
    assert_int_equal(store_field_type(RESET_USED), STORE_BOOL);
    assert_string_equal(store_field_name(0), "(no such field)");
    assert_string_equal(store_field_name(COLL_COUNTERS << 8 | 200), "(no such field)");
    for (int no = COLL_NONE + 1; no < COLL_END; no++) {
        const store_coll *coll = store_coll_by_no(no);

        for (unsigned i = 0; i < coll->field_count; i++) {
            for (unsigned j = 0; j < i; j++) {
                assert_string_not_equal(coll->fields[i].name, coll->fields[j].name);
            }
            for (store_fid common = STORE_ID; common <= STORE_UPDATED_AT; common++) {
                assert_string_not_equal(coll->fields[i].name, store_field_name(common));
            }
        }
    }
}

/* The owner's list for password_reset_tokens, neither more nor less. */
static void the_owners_collection(void **state)
{
    static const char *const names[] = {"token",      "user_id", "email",
                                        "expires_at", "used",    "used_at"};
    const store_coll *coll = store_coll_by_no(COLL_RESET_TOKENS);

    (void)state;
    assert_int_equal(coll->field_count, 6);
    for (unsigned i = 0; i < 6; i++) {
        assert_string_equal(coll->fields[i].name, names[i]);
    }
    assert_true(coll->flags & STORE_NO_VERSION);
}

static void indexes_fit_their_collections(void **state)
{
    unsigned count, expiries = 0;
    const store_index *indexes = store_indexes(&count);

    (void)state;
    assert_in_range(count, 1, 100);
    for (unsigned i = 0; i < count; i++) {
        const store_coll *coll = store_coll_by_no(indexes[i].coll);

        assert_non_null(coll);
        assert_true(indexes[i].fields[0] != 0);
        for (int f = 0; f < STORE_INDEX_FIELDS && indexes[i].fields[f]; f++) {
            store_fid fid = indexes[i].fields[f];

            assert_true(fid == STORE_CREATED_AT || STORE_FID_COLL(fid) == coll->no);
            assert_true(store_field_type(fid) != STORE_JSON);
        }
        for (unsigned j = 0; j < i; j++) {
            assert_string_not_equal(indexes[i].name, indexes[j].name);
        }
        expiries += coll->expiry && indexes[i].fields[0] == coll->expiry;
    }
    for (int no = COLL_NONE + 1; no < COLL_END; no++) {
        expiries -= store_coll_by_no(no)->expiry != 0; /* each has one, for the sweep */
    }
    assert_int_equal(expiries, 0);
}

/* ---- documents ---- */

static void a_new_document_is_empty(void **state)
{
    store_doc *doc = store_doc_new(pool, COLL_SESSIONS);

    (void)state;
    assert_int_equal(store_doc_coll(doc), COLL_SESSIONS);
    assert_memory_equal(store_doc_id(doc), "ses_", 4);
    assert_string_not_equal(store_doc_id(doc), store_doc_id(store_doc_new(pool, COLL_SESSIONS)));
    assert_true(store_is_null(doc, SESSION_USER_ID));
    assert_null(store_str(doc, SESSION_USER_ID));
    assert_int_equal(store_int(doc, SESSION_EPOCH), 0);
    assert_int_equal(store_time(doc, SESSION_EXPIRES_AT), 0);
    assert_int_equal(store_doc_version(doc), 0);
}

static void what_is_set_is_copied_and_can_be_undone(void **state)
{
    store_doc *doc = store_doc_new(pool, COLL_USERS);
    char text[] = "before", id[] = "usr_mine";

    (void)state;
    store_set_str(doc, USER_NAME, text);
    store_doc_set_id(doc, id);
    memcpy(text, "change", 6);
    memcpy(id, "XXX", 3);
    assert_string_equal(store_str(doc, USER_NAME), "before");
    assert_string_equal(store_doc_id(doc), "usr_mine");
    store_set_int(doc, USER_SESSION_EPOCH, -4);
    assert_int_equal(store_int(doc, USER_SESSION_EPOCH), -4);
    store_set_null(doc, USER_SESSION_EPOCH);
    assert_true(store_is_null(doc, USER_SESSION_EPOCH));
    assert_int_equal(store_int(doc, USER_SESSION_EPOCH), 0);
    store_set_str(doc, USER_NAME, NULL);
    assert_true(store_is_null(doc, USER_NAME));
    store_set_bool(doc, USER_DISABLED, 256);
    assert_int_equal(store_bool(doc, USER_DISABLED), 1);
}

static void a_document_as_it_was_made_elsewhere(void **state)
{
    store_doc *user = store_doc_new(pool, COLL_USERS);
    store_doc *reset = store_doc_new(pool, COLL_RESET_TOKENS);

    (void)state;
    store_doc_set_made(user, 1234567);
    assert_true(store_time(user, STORE_CREATED_AT) == 1234000);
    assert_true(store_time(user, STORE_UPDATED_AT) == 1234000);
    assert_int_equal(store_doc_version(user), 1);
    store_doc_set_made(reset, 1234567);
    assert_true(store_time(reset, STORE_CREATED_AT) == 1234000);
    assert_true(store_is_null(reset, STORE_UPDATED_AT));
    assert_int_equal(store_doc_version(reset), 0);
}

static void times_are_cut_to_milliseconds(void **state)
{
    (void)state;
    assert_true(store_cut(0) == 0);
    assert_true(store_cut(999) == 0);
    assert_true(store_cut(1000) == 1000);
    assert_true(store_cut(1999) == 1000);
    assert_true(store_cut(-1) == -1000);
    assert_true(store_cut(-1000) == -1000);
    assert_true(store_cut(-1001) == -2000);
}

/* Each ends the process; in a child, so that the test goes on. */
static int ends_the_process(int which)
{
    store_doc *doc = store_doc_new(pool, COLL_USERS);
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        switch (which) {
        case 0:
            store_str(doc, SESSION_USER_ID);
            break;
        case 1:
            store_str(doc, USER_SESSION_EPOCH);
            break;
        case 2:
            store_int(doc, USER_NAME);
            break;
        case 3:
            store_bool(doc, USER_SESSION_EPOCH);
            break;
        case 4:
            store_time(doc, USER_SESSION_EPOCH);
            break;
        case 5:
            store_set_str(doc, OUTBOX_KIND, "x");
            break;
        case 6:
            store_set_int(doc, USER_NAME, 1);
            break;
        case 7:
            store_set_str(doc, STORE_ID, "x");
            break;
        case 8:
            store_set_null(doc, STORE_VERSION);
            break;
        case 9:
            store_is_null(doc, COLL_USERS << 8 | 99);
            break;
        case 10:
            store_doc_new(pool, COLL_NONE);
            break;
        case 11:
            store_set_time(doc, USER_SESSION_EPOCH, 1);
            break;
        case 12:
            store_set_null(doc, OUTBOX_KIND);
            break;
        default:
            break; /* nothing wrong: must not end it */
        }
        _exit(0);
    }
    assert_true(waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void a_wrong_field_is_found_at_once(void **state)
{
    (void)state;
    for (int which = 0; which <= 12; which++) {
        if (!ends_the_process(which)) {
            fail_msg("case %d went through", which);
        }
    }
    assert_int_equal(ends_the_process(13), 0);
}

/* ---- urls ---- */

static void urls_of_a_store(void **state)
{
    static const char *const good[] = {"sqlite:/var/lib/bizapi/bizapi.db", "sqlite:/x",
                                       "sqlite:/with space/and?question.db"};
    static const char *const bad[] = {"",
                                      "sqlite:",
                                      "sqlite:relative.db",
                                      "sqlite://",
                                      "sqlite:/dir/",
                                      "sqlite:/a\nb",
                                      "SQLITE:/x",
                                      "postgres://localhost/x",
                                      "/var/lib/bizapi.db",
                                      "mongodb:/x"};
    store *s = (store *)pool;
    const char *why;

    (void)state;
    for (size_t i = 0; i < STORE_COUNT_OF(good); i++) {
        assert_null(store_url_error(pool, good[i]));
    }
    for (size_t i = 0; i < STORE_COUNT_OF(bad); i++) {
        assert_non_null(store_url_error(pool, bad[i]));
        why = NULL;
        assert_int_equal(store_open(&s, bad[i], NULL, pool, &why), STORE_EINVAL);
        assert_null(s);
        assert_non_null(why);
    }
    assert_non_null(store_url_error(pool, NULL));
    /* Opening reaches for nothing. */
    assert_int_equal(store_open(&s, "sqlite:/nonexistent/x.db", NULL, pool, &why), APR_SUCCESS);
    assert_null(why);
}

static void a_password_is_never_shown(void **state)
{
    static const char *const rows[][2] = {
        {"sqlite:/var/lib/bizapi.db", "sqlite:/var/lib/bizapi.db"},
        {"sqlite:/odd@name?x.db", "sqlite:/odd@name?x.db"},
        {"mongodb://localhost/shop", "mongodb://localhost/shop"},
        {"mongodb://localhost", "mongodb://localhost"},
        {"mongodb://joe:hunter2@db1,db2:27018/"
         "shop?replicaSet=a&tlsCertificateKeyFilePassword=hunter2",
         "mongodb://***@db1,db2:27018/shop"},
        {"mongodb+srv://joe:hunter2@cluster.example/shop",
         "mongodb+srv://***@cluster.example/shop"},
        {"mongodb://joe:hun/ter2@x@db/shop", "mongodb://***"},
        {"mongodb://joe:hunter2@", "mongodb://***@"},
        {"mongodb://joe:hun?ter2@db/shop", "mongodb://***"},
        {"mongodb://h/d?tlsCertificateKeyFilePassword=hunter2@x", "mongodb://***"},
        {"postgres://u:hunter2@h/d", "postgres://***@h/d"},
        {"file:/odd@folder", "file:/odd@folder"},
        /* Somebody forgot a slash, or all there is before the password. */
        {"mongodb:/joe:hunter2@db/shop", "mongodb:***"},
        {"smtp:joe:hunter2@mail.example", "smtp:***"},
        {"joe@hunter2", "***"},
        {"off", "off"},
    };

    (void)state;
    for (size_t i = 0; i < STORE_COUNT_OF(rows); i++) {
        assert_string_equal(store_url_shown(pool, rows[i][0]), rows[i][1]);
    }
}

static void every_answer_has_its_words(void **state)
{
    (void)state;
    for (int rv = STORE_ENOENT; rv <= STORE_ESCHEMA; rv++) {
        for (int other = APR_SUCCESS; other != rv; other = other ? other + 1 : STORE_ENOENT) {
            assert_string_not_equal(store_strerror(pool, rv), store_strerror(pool, other));
        }
    }
    assert_string_equal(store_strerror(pool, APR_ENOENT), "No such file or directory");
}

static int setup(void **state)
{
    (void)state;
    return apr_pool_create(&pool, NULL);
}

static int teardown(void **state)
{
    (void)state;
    apr_pool_destroy(pool);
    return 0;
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(collections_are_known_by_number_and_name),
        T(fields_have_names_and_types),
        T(the_owners_collection),
        T(indexes_fit_their_collections),
        T(a_new_document_is_empty),
        T(what_is_set_is_copied_and_can_be_undone),
        T(a_document_as_it_was_made_elsewhere),
        T(times_are_cut_to_milliseconds),
        T(a_wrong_field_is_found_at_once),
        T(urls_of_a_store),
        T(a_password_is_never_shown),
        T(every_answer_has_its_words),
    };

    apr_initialize();
    biz_log_to(silent);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
