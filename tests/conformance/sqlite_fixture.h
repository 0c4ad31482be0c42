/* sqlite_fixture.h: a folder with a database for each test of test_store_sqlite*.c. */
#ifndef SQLITE_FIXTURE_H
#define SQLITE_FIXTURE_H

#include "store_fixture.h"
#include <sys/stat.h>
#include "store/sqlite.h"

static char dir[64];
static const char *path;

static inline int in_own_folder(void **state)
{
    pool_for_test(state);
    snprintf(dir, sizeof(dir), "/tmp/bizapi-sqlite-XXXXXX");
    assert_non_null(mkdtemp(dir));
    path = apr_pstrcat(pool, dir, "/store.db", NULL);
    url = apr_pstrcat(pool, "sqlite:", path, NULL);
    st = open_store(url, apr_time_from_msec(500));
    return 0;
}

static inline const char *beside(const char *suffix)
{
    return apr_pstrcat(pool, path, suffix, NULL);
}

static inline void remove_files(void)
{
    unlink(path);
    unlink(beside("-wal"));
    unlink(beside("-shm"));
}

static inline int without_folder(void **state)
{
    remove_files();
    unlink(beside(".copy"));
    rmdir(path);
    rmdir(dir);
    return close_after_test(state);
}

static inline apr_status_t insert_user(const char **id)
{
    store_doc *doc = store_doc_new(pool, COLL_USERS);

    store_set_str(doc, USER_EMAIL, store_doc_id(doc));
    if (id) {
        *id = store_doc_id(doc);
    }
    return store_insert(st, pool, doc, NULL);
}

static inline apr_status_t get_user(const char *id)
{
    store_doc *doc;

    return store_get(st, pool, COLL_USERS, id, &doc);
}

/* SQL beside the store, on a connection of its own that is closed again. */
static inline const char *raw(const char *sql)
{
    const char *answer = NULL;
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    while (*sql) {
        assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, &sql), SQLITE_OK);
        if (stmt && sqlite3_step(stmt) == SQLITE_ROW) {
            answer = apr_pstrdup(pool, (const char *)sqlite3_column_text(stmt, 0));
        }
        assert_int_equal(sqlite3_finalize(stmt), SQLITE_OK);
    }
    sqlite3_close(db);
    return answer;
}

#define assert_said(number)                                                                        \
    do {                                                                                           \
        assert_memory_equal(log_line, number ": ", 8);                                             \
        assert_non_null(strstr(log_line, path));                                                   \
    } while (0)

/* A fresh pool in the middle of a test: all that was opened is closed. */
static inline void start_over(void)
{
    apr_pool_destroy(pool);
    apr_pool_create(&pool, NULL);
    path = apr_pstrcat(pool, dir, "/store.db", NULL);
    url = apr_pstrcat(pool, "sqlite:", path, NULL);
    st = NULL;
}

#define T(f) cmocka_unit_test_setup_teardown(f, in_own_folder, without_folder)

#endif
