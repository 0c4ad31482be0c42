/* test_store_sqlite.c: what only the SQLite backend promises: the schema in its file, modes of
 * writing, walks by index, connections and forks, owners. Each test has a folder of its own. */
#include "sqlite_fixture.h"

/* ---- schema ---- */

static void a_newer_schema_is_left_alone(void **state)
{
    const char *versions[] = {apr_itoa(pool, STORE_SCHEMA_VERSION + 1), "99", "next year", ""};

    (void)state;
    assert_ok(store_ping(st, pool));
    for (size_t i = 0; i < STORE_COUNT_OF(versions); i++) {
        raw(apr_psprintf(pool, "UPDATE bizapi_meta SET value = '%s' WHERE key = 'schema'",
                         versions[i]));
        st = open_store(url, apr_time_from_msec(500));
        log_lines = 0;
        assert_status(get_user("usr_x"), STORE_ESCHEMA);
        assert_said("BZ0207");
        assert_status(insert_user(NULL), STORE_ESCHEMA);
        assert_status(store_ping(st, pool), STORE_ESCHEMA);
        assert_status(store_migrate(st, pool), STORE_ESCHEMA);
        assert_int_equal(log_lines, 1);
        assert_string_equal(raw("SELECT value FROM bizapi_meta WHERE key = 'schema'"), versions[i]);
    }
    raw(apr_psprintf(pool, "UPDATE bizapi_meta SET value = '%d' WHERE key = 'schema'",
                     STORE_SCHEMA_VERSION));
    assert_ok(insert_user(NULL));
}

static const char *index_sql(const char *name)
{
    return raw(apr_psprintf(pool, "SELECT sql FROM sqlite_schema WHERE name = '%s'", name));
}

static void an_older_schema_is_brought_up(void **state)
{
    store_doc *doc;
    const char *email = "old@example.com";
    store_cond c[] = {STORE_EQ_STR(USER_EMAIL, email)};
    store_query q = {.coll = COLL_USERS, .index = "users_email", .conds = c, .n_conds = 1};
    const char *wanted;

    (void)state;
    assert_ok(store_ping(st, pool));
    wanted = index_sql("outbox_due");
    remove_files();
    raw("PRAGMA journal_mode=WAL;"
        "CREATE TABLE bizapi_meta(key TEXT PRIMARY KEY NOT NULL, value TEXT) STRICT, WITHOUT ROWID;"
        "INSERT INTO bizapi_meta VALUES('schema', '0');"
        "CREATE TABLE users(_id TEXT PRIMARY KEY NOT NULL, created_at INTEGER, email TEXT,"
        " nickname TEXT) STRICT, WITHOUT ROWID;"
        "INSERT INTO users VALUES('usr_old', 1000, 'old@example.com', 'nick');"
        "CREATE TABLE outbox(_id TEXT PRIMARY KEY NOT NULL, created_at INTEGER, state TEXT,"
        " due_at INTEGER) STRICT, WITHOUT ROWID;"
        "CREATE INDEX outbox_due ON outbox(due_at)");
    st = open_store(url, apr_time_from_msec(500));
    log_lines = 0;
    assert_ok(store_find_one(st, pool, &q, &doc));
    assert_string_equal(store_doc_id(doc), "usr_old");
    assert_true(store_is_null(doc, USER_SESSION_EPOCH));
    assert_true(store_time(doc, STORE_CREATED_AT) == 1000000);
    assert_int_equal(log_lines, 1);
    assert_said("BZ0209");
    /* A row without a version counts from 0. */
    assert_ok(store_update(st, pool, COLL_USERS, "usr_old", NULL, 0, NULL, 0, &doc));
    assert_int_equal(store_doc_version(doc), 1);
    assert_string_equal(index_sql("outbox_due"), wanted);
    assert_string_equal(raw("SELECT nickname FROM users"), "nick"); /* nothing is dropped */
    assert_string_equal(raw("SELECT value FROM bizapi_meta WHERE key = 'schema'"),
                        apr_itoa(pool, STORE_SCHEMA_VERSION));
    assert_ok(insert_user(NULL));
}

static void an_index_dropped_by_hand_comes_back(void **state)
{
    const char *report;

    (void)state;
    assert_ok(store_ping(st, pool));
    raw("DROP INDEX sessions_user");
    assert_status(store_check(st, pool, &report), STORE_EUNAVAIL);
    assert_non_null(strstr(report, "sessions_user"));
    assert_ok(store_migrate(st, pool));
    assert_ok(store_check(st, pool, &report));
}

static int job_first(int number, const char *argument)
{
    (void)argument;
    job_wait_only();
    st = open_store(url, apr_time_from_sec(20));
    if (number % 2 ? insert_user(NULL) : store_migrate(st, pool)) {
        printf("failed\n");
    }
    return 0;
}

static void many_make_the_same_new_file(void **state)
{
    const char *line, *report;
    int64_t count;
    jobs all;

    (void)state;
    for (int round = 0; round < 5; round++) {
        jobs_begin(&all, 12, "first", "");
        while ((line = jobs_line(&all)) != NULL) {
            if (strstr(line, "BZ0214") == NULL) { /* one of them made it */
                fail_msg("round %d: %s", round, line);
            }
        }
        jobs_end(&all, 0);
        st = open_store(url, apr_time_from_sec(2));
        assert_ok(store_count(st, pool, COLL_USERS, &count));
        assert_int_equal(count, 6);
        assert_ok(store_check(st, pool, &report));
        start_over();
        remove_files();
    }
}

/* ---- promises of its own ---- */

static int pragma(sq_conn *c, const char *sql)
{
    sqlite3_stmt *stmt;
    int value;

    assert_int_equal(sqlite3_prepare_v2(c->db, sql, -1, &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    value = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    return value;
}

static void writes_are_synchronous_where_they_must_be(void **state)
{
    static const sq_mode modes[] = {SQ_WRITE, SQ_WRITE_RELAXED, SQ_READ, SQ_WRITE, SQ_READ};
    static const int wanted[] = {2, 1, 1, 2, 2}; /* 2: FULL; a read leaves it */
    int removed;
    sq_conn *c;

    (void)state;
    for (size_t i = 0; i < STORE_COUNT_OF(modes); i++) {
        assert_ok(sq_acquire(st, modes[i], &c));
        assert_int_equal(pragma(c, "PRAGMA synchronous"), wanted[i]);
        sq_release(c, SQLITE_OK);
    }
    /* Each collection that has no flag writes with FULL, also after a sweep. */
    assert_ok(store_sweep(st, pool, apr_time_now(), 10, &removed));
    assert_ok(insert_user(NULL));
    assert_ok(sq_acquire(st, SQ_READ, &c));
    assert_int_equal(pragma(c, "PRAGMA synchronous"), 2);
    assert_int_equal(pragma(c, "SELECT journal_mode = 'wal' FROM pragma_journal_mode"), 1);
    assert_int_equal(pragma(c, "PRAGMA trusted_schema"), 0);
    sq_release(c, SQLITE_OK);
    for (int no = COLL_NONE + 1; no < COLL_END; no++) {
        /* The audit's marks tell of rows that are written with FULL; a count of wrong passwords may
         * lose its last one to a power cut; what a provider said can be asked again. */
        int may_relax = no == COLL_AUDIT_MARKS || no == COLL_LOCKOUTS || no == COLL_PROVIDER_CACHE;

        assert_int_equal((store_coll_by_no(no)->flags & STORE_RELAXED) != 0, may_relax);
    }
}

/* Every index, with equalities on none to all of its fields, up and down, first page and later:
 * searched by the index, and sorted by it unless a field lies between the sort and the id. */
static void explain(const store_index *index, int equalities, int descending, int later)
{
    store_cond conds[STORE_INDEX_FIELDS];
    store_plan plan = {.coll = store_coll_by_no(index->coll),
                       .index = index,
                       .conds = conds,
                       .descending = descending,
                       .limit = 10,
                       .has_after = later,
                       .after_id = "x"};
    int fields = 0, sorts = 0;
    sqlite3_stmt *stmt;
    sq_conn *c;
    sq_sql q;

    while (fields < STORE_INDEX_FIELDS && index->fields[fields]) {
        fields++;
    }
    for (int i = 0; i < equalities; i++) {
        int text = store_field_type(index->fields[i]) == STORE_STR;

        conds[i] = (store_cond){index->fields[i], STORE_EQ, {.s = text ? "a" : NULL, .i = 1}};
    }
    plan.n_conds = (size_t)equalities;
    plan.sort = index->fields[equalities < fields ? equalities : fields - 1];
    plan.after_value = (store_value){.s = "a", .i = 1};
    sq_sql_init(&q, pool);
    sq_add(&q, "EXPLAIN QUERY PLAN ");
    sq_add_select(&q, "*", &plan);
    assert_ok(sq_acquire(st, SQ_READ, &c));
    assert_int_equal(sqlite3_prepare_v2(c->db, q.text, -1, &stmt, NULL), SQLITE_OK);
    for (int i = 0; i < q.n_binds; i++) {
        sq_bind_value(stmt, i + 1, q.binds[i].type, &q.binds[i].value);
    }
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        const char *detail = (const char *)sqlite3_column_text(stmt, 3);

        if (strstr(detail, "TEMP B-TREE")) {
            sorts++;
        } else if (!strstr(detail, index->name) ||
                   (equalities && strncmp(detail, "SEARCH", 6) != 0)) {
            fail_msg("%s\n%s", q.text, detail);
        }
    }
    sqlite3_finalize(stmt);
    sq_release(c, SQLITE_OK);
    /* A unique index has no id at its end: only nulls have equals there to be sorted. */
    if (sorts && !index->unique && equalities >= fields - 1) {
        fail_msg("%s sorts by itself", q.text);
    }
}

static void walks_go_by_their_index(void **state)
{
    unsigned count;
    const store_index *indexes = store_indexes(&count);

    (void)state;
    for (unsigned i = 0; i < count; i++) {
        for (int f = 0; f <= STORE_INDEX_FIELDS && (f == 0 || indexes[i].fields[f - 1]); f++) {
            for (int way = 0; way < 4; way++) {
                explain(&indexes[i], f, way & 1, way & 2);
            }
        }
    }
}

static void numbers_beyond_64_bits(void **state)
{
    store_doc *doc = store_doc_new(pool, COLL_USERS);
    store_change more[] = {STORE_INC_INT(USER_SESSION_EPOCH, INT64_MAX)};
    int64_t value;

    (void)state;
    store_set_int(doc, USER_SESSION_EPOCH, 1);
    assert_ok(store_insert(st, pool, doc, NULL));
    assert_status(store_update(st, pool, COLL_USERS, store_doc_id(doc), NULL, 0, more, 1, NULL),
                  STORE_EINVAL);
    assert_ok(store_get(st, pool, COLL_USERS, store_doc_id(doc), &doc));
    assert_int_equal(store_int(doc, USER_SESSION_EPOCH), 1);
    assert_int_equal(store_doc_version(doc), 1);
    assert_ok(store_counter(st, pool, "n", INT64_MAX, &value));
    assert_status(store_counter(st, pool, "n", 1, &value), STORE_EINVAL);
    assert_ok(store_counter(st, pool, "n", -1, &value));
    assert_true(value == INT64_MAX - 1);
}

static void a_connection_never_crosses_a_fork(void **state)
{
    store *unused = open_store(url, apr_time_from_msec(500));
    int status;
    pid_t pid;

    (void)state;
    /* Opened, but not used before: the child may use it. */
    pid = fork();
    if (pid == 0) {
        st = unused;
        _exit(insert_user(NULL) == APR_SUCCESS ? 0 : 1);
    }
    assert_true(waitpid(pid, &status, 0) == pid && status == 0);
    /* Used before: neither that store nor a new one may go to the file. */
    assert_ok(insert_user(NULL));
    pid = fork();
    if (pid == 0) {
        int bad = insert_user(NULL) != STORE_EUNAVAIL;

        bad += strncmp(log_line, "BZ0211: ", 8) != 0;
        st = open_store(url, apr_time_from_msec(500));
        bad += insert_user(NULL) != STORE_EUNAVAIL;
        apr_pool_destroy(pool);
        _exit(bad);
    }
    assert_true(waitpid(pid, &status, 0) == pid && status == 0);
    assert_ok(insert_user(NULL));
}

static void files_belong_to_the_server(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    store_options o = {.owner_uid = 65534, .owner_gid = 65534};
    const char *why;

    (void)state;
    if (geteuid() != 0) {
        printf("SKIPPED: files_belong_to_the_server: only root can give files away\n");
        skip();
    }
    umask(0);
    assert_ok(store_open(&st, url, &o, pool, &why));
    assert_ok(insert_user(NULL));
    for (size_t i = 0; i < STORE_COUNT_OF(suffixes); i++) {
        struct stat info;

        assert_int_equal(stat(beside(suffixes[i]), &info), 0);
        assert_int_equal(info.st_uid, 65534);
        assert_int_equal(info.st_gid, 65534);
        assert_int_equal(info.st_mode & 0777, 0600);
    }
    umask(022);
}

int main(int argc, char **argv)
{
    static const job list[] = {{"first", job_first}, {NULL, NULL}};
    const struct CMUnitTest tests[] = {
        T(a_newer_schema_is_left_alone),
        T(an_older_schema_is_brought_up),
        T(an_index_dropped_by_hand_comes_back),
        T(many_make_the_same_new_file),
        T(writes_are_synchronous_where_they_must_be),
        T(walks_go_by_their_index),
        T(numbers_beyond_64_bits),
        T(a_connection_never_crosses_a_fork),
        T(files_belong_to_the_server),
    };
    int failed = job_start(list, argc, argv);

    if (failed >= 0) {
        return failed;
    }
    apr_initialize();
    biz_log_to(keep_line);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
