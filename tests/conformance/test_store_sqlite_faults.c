/* test_store_sqlite_faults.c: what only an SQLite file can suffer: locked, removed, replaced,
 * damaged, full, cut off by a power failure. Each test has a folder of its own. */
#include "sqlite_fixture.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

/* ---- locked ---- */

static int job_hold(int number, const char *argument)
{
    sqlite3 *db;

    (void)number;
    if (sqlite3_open(argument, &db) || sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL)) {
        return 1;
    }
    job_wait_only();
    sqlite3_close(db);
    return 0;
}

static void a_lock_held_by_another_process(void **state)
{
    apr_time_t begin;
    const char *id;
    jobs other;
    store_change touch[] = {STORE_SET_STR(USER_NAME, "x")};

    (void)state;
    assert_ok(insert_user(&id));
    jobs_prepare(&other, 1, "hold", path);
    log_lines = 0;
    begin = apr_time_now();
    assert_status(insert_user(NULL), STORE_EUNAVAIL);
    assert_in_range(apr_time_now() - begin, 400000, 1000000);
    assert_int_equal(log_lines, 1);
    assert_said("BZ0201");
    assert_status(store_update(st, pool, COLL_USERS, id, NULL, 0, touch, 1, NULL), STORE_EUNAVAIL);
    assert_status(store_ping(st, pool), STORE_EUNAVAIL);
    assert_int_equal(log_lines, 1); /* once a minute */
    begin = apr_time_now();
    for (int i = 0; i < 20; i++) {
        assert_ok(get_user(id));
    }
    assert_in_range(apr_time_now() - begin, 0, 300000);
    jobs_go(&other);
    jobs_end(&other, 0);
    assert_ok(insert_user(NULL));
    assert_ok(store_ping(st, pool));
    assert_memory_equal(log_line, "BZ0213: ", 8);
}

/* A writer that waits must not keep readers of its own process from a connection. */
static void *insert_in_thread(void *data)
{
    store_doc *doc;
    apr_pool_t *own;
    apr_status_t *rv = data;

    apr_pool_create_unmanaged_ex(&own, NULL, NULL);
    doc = store_doc_new(own, COLL_USERS);
    *rv = store_insert(st, own, doc, NULL);
    apr_pool_destroy(own);
    return NULL;
}

static void writers_that_wait_leave_connections_to_readers(void **state)
{
    store_options two = {.op_timeout = apr_time_from_msec(700), .max_connections = 2};
    apr_status_t rv[6], read = APR_SUCCESS;
    pthread_t threads[6];
    const char *id, *why;
    apr_time_t begin, read_by;
    jobs other;

    (void)state;
    assert_ok(store_open(&st, url, &two, pool, &why));
    assert_ok(insert_user(&id));
    jobs_prepare(&other, 1, "hold", path);
    begin = apr_time_now();
    for (int i = 0; i < 6; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, insert_in_thread, &rv[i]), 0);
    }
    for (int i = 0; i < 10 && !read; i++) {
        usleep(10000);
        read = get_user(id);
    }
    read_by = apr_time_now() - begin;
    for (int i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < 6; i++) {
        assert_status(rv[i], STORE_EUNAVAIL);
    }
    assert_ok(read);
    assert_in_range(read_by, 0, 600000);
    assert_in_range(apr_time_now() - begin, 600000, 1500000);
    jobs_go(&other);
    jobs_end(&other, 0);
    assert_ok(insert_user(NULL));
}

static void no_connection_is_free(void **state)
{
    store_options one = {.op_timeout = apr_time_from_msec(200), .max_connections = 1};
    const char *why;
    apr_time_t begin;
    sq_conn *c;

    (void)state;
    assert_ok(store_open(&st, url, &one, pool, &why));
    assert_ok(sq_acquire(st, SQ_READ, &c));
    begin = apr_time_now();
    assert_status(get_user("usr_x"), STORE_EUNAVAIL);
    assert_in_range(apr_time_now() - begin, 150000, 700000);
    assert_said("BZ0210");
    assert_status(insert_user(NULL), STORE_EUNAVAIL);
    sq_release(c, SQLITE_OK);
    assert_status(get_user("usr_x"), STORE_ENOENT);
    assert_ok(insert_user(NULL)); /* the gate was left */
}

/* ---- the file is not what it was ---- */

/* Nothing is written where nobody finds it again: neither into the file that has no name any more
 * nor into an empty one. Another process, at its start, may make one. */
static void the_file_is_removed(void **state)
{
    const char *first, *second, *report;
    store *other;

    (void)state;
    for (int with_wal = 0; with_wal < 2; with_wal++) {
        assert_ok(insert_user(&first));
        unlink(path);
        if (!with_wal) {
            unlink(beside("-wal"));
            unlink(beside("-shm"));
        }
        assert_status(insert_user(NULL), STORE_EUNAVAIL);
        assert_status(get_user(first), STORE_EUNAVAIL);
        assert_status(store_ping(st, pool), STORE_EUNAVAIL);
        if (!with_wal) {
            assert_said("BZ0215");
        }
        assert_int_not_equal(access(path, F_OK), 0);
        other = st;
        st = open_store(url, apr_time_from_sec(2));
        assert_ok(insert_user(&second));
        st = other;
        assert_ok(get_user(second));
        assert_status(get_user(first), STORE_ENOENT);
        assert_ok(insert_user(NULL));
        assert_ok(store_check(st, pool, &report));
    }
    /* "removed", "gone", "made" and "works again", once a minute each. */
    assert_in_range(log_lines, 3, 8);
}

static void what_must_exist_is_not_made(void **state)
{
    store_options must = {.must_exist = 1};
    const char *why;

    (void)state;
    assert_ok(store_open(&st, url, &must, pool, &why));
    assert_status(insert_user(NULL), STORE_EUNAVAIL);
    assert_said("BZ0215");
    assert_int_equal(store_make(url, NULL, pool), 1);
    assert_ok(insert_user(NULL));
    assert_int_equal(store_make(url, NULL, pool), 1);
    assert_int_equal(store_make("mongodb://127.0.0.1/x", NULL, pool), 0);
}

static int job_idle(int number, const char *argument)
{
    (void)number;
    (void)argument;
    job_wait();
    return insert_user(NULL) == APR_SUCCESS ? 0 : 1;
}

/* The -wal and -shm of the removed file are still in use by a process that has not noticed. */
static void the_file_is_removed_while_others_have_it(void **state)
{
    const char *ids[200], *report;
    int64_t count;
    jobs other;

    (void)state;
    for (int i = 0; i < 200; i++) {
        assert_ok(insert_user(&ids[i]));
    }
    jobs_prepare(&other, 1, "idle", "");
    assert_int_equal(unlink(path), 0);
    st = open_store(url, apr_time_from_sec(2));
    for (int i = 0; i < 200; i++) {
        assert_ok(insert_user(&ids[i]));
    }
    st = open_store(url, apr_time_from_sec(2));
    for (int i = 0; i < 200; i++) {
        assert_ok(get_user(ids[i]));
    }
    assert_ok(store_check(st, pool, &report));
    jobs_go(&other);
    while (jobs_line(&other)) {
    }
    jobs_end(&other, 0);
    assert_ok(store_count(st, pool, COLL_USERS, &count));
    assert_int_equal(count, 201);
    assert_ok(store_check(st, pool, &report));
}

static void a_reader_sees_it_within_a_second(void **state)
{
    const char *id;

    (void)state;
    assert_ok(insert_user(&id));
    assert_ok(get_user(id));
    remove_files();
    usleep(1100000);
    log_lines = 0;
    assert_status(get_user(id), STORE_EUNAVAIL);
    assert_in_range(log_lines, 1, 3);
}

static void a_backup_takes_its_place(void **state)
{
    const char *in_backup, *later;

    (void)state;
    assert_ok(insert_user(&in_backup));
    raw(apr_psprintf(pool, "VACUUM INTO '%s.copy'", path));
    assert_ok(insert_user(&later));
    unlink(beside("-wal"));
    unlink(beside("-shm"));
    assert_int_equal(rename(beside(".copy"), path), 0);
    usleep(1100000);
    assert_ok(get_user(in_backup));
    assert_status(get_user(later), STORE_ENOENT);
    assert_ok(insert_user(NULL));
}

static void a_folder_that_is_missing_for_a_while(void **state)
{
    (void)state;
    assert_int_equal(rmdir(dir), 0);
    assert_status(insert_user(NULL), STORE_EUNAVAIL);
    assert_said("BZ0204");
    assert_non_null(strstr(log_line, "No such file"));
    assert_status(get_user("usr_x"), STORE_EUNAVAIL);
    assert_status(store_ping(st, pool), STORE_EUNAVAIL);
    assert_int_equal(log_lines, 1);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_ok(insert_user(NULL));
}

static void a_folder_where_the_file_should_be(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path, 0700), 0);
    assert_status(insert_user(NULL), STORE_EUNAVAIL);
    assert_said("BZ0204");
    assert_int_equal(rmdir(path), 0);
    assert_ok(insert_user(NULL));
}

static void overwrite(long offset, size_t len)
{
    FILE *f = fopen(path, "r+");

    assert_non_null(f);
    fseek(f, offset, SEEK_SET);
    for (size_t i = 0; i < len; i++) {
        fputc('x', f);
    }
    fclose(f);
}

static void no_database_at_all(void **state)
{
    FILE *f = fopen(path, "w");

    (void)state;
    fputs("This is a shopping list, and a long one: butter, bread, cheese, milk, apples, pears, "
          "and whatever else it takes to be more than one hundred bytes.",
          f);
    fclose(f);
    assert_status(insert_user(NULL), STORE_EUNAVAIL);
    assert_said("BZ0206");
    assert_status(get_user("usr_x"), STORE_EUNAVAIL);
    unlink(path);
    assert_ok(insert_user(NULL));
}

static void a_damaged_page(void **state)
{
    const char *report, *id = NULL;
    struct stat info;

    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_ok(insert_user(&id));
    }
    assert_ok(store_check(st, pool, &report));
    assert_non_null(strstr(report, "is sound"));
    start_over();
    raw("PRAGMA wal_checkpoint(TRUNCATE)");
    assert_int_equal(stat(path, &info), 0);
    overwrite(info.st_size - 3 * 4096, 3 * 4096); /* rows of users, not the schema */
    st = open_store(url, apr_time_from_msec(500));
    assert_status(store_check(st, pool, &report), STORE_EUNAVAIL);
    assert_non_null(strstr(report, "is damaged"));
    assert_said("BZ0206");
}

/* ---- no space, no more than so many bytes ---- */

/* The scenario of a full disk, in whatever holds `path`: fill, read, make room, go on. */
static void fill_and_go_on(void (*make_room)(void), const char *number)
{
    apr_array_header_t *ids = apr_array_make(pool, 1000, sizeof(char *));
    const char *id, *report;
    char *text = apr_palloc(pool, 2001);
    apr_status_t rv = APR_SUCCESS;
    store_doc *doc;

    memset(text, 'x', 2000);
    text[2000] = '\0';
    while (ids->nelts < 20000) {
        doc = store_doc_new(pool, COLL_USERS);
        store_set_str(doc, USER_NAME, text);
        rv = store_insert(st, pool, doc, NULL);
        if (rv) {
            break;
        }
        APR_ARRAY_PUSH(ids, const char *) = store_doc_id(doc);
    }
    assert_status(rv, STORE_EUNAVAIL);
    assert_in_range(ids->nelts, 20, 19999);
    assert_memory_equal(log_line, number, 6);
    assert_ok(get_user(APR_ARRAY_IDX(ids, 0, const char *)));
    assert_ok(get_user(APR_ARRAY_IDX(ids, ids->nelts - 1, const char *)));
    make_room();
    assert_ok(insert_user(&id)); /* without a restart */
    for (int i = 0; i < ids->nelts; i++) {
        assert_ok(get_user(APR_ARRAY_IDX(ids, i, const char *)));
    }
    assert_ok(store_check(st, pool, &report));
}

static void larger_tmpfs(void)
{
    assert_int_equal(mount("none", dir, "tmpfs", MS_REMOUNT, "size=24m"), 0);
}

/* In a process of its own, so that the mount goes with it. */
static int job_full(int number, const char *argument)
{
    (void)number;
    snprintf(dir, sizeof(dir), "%s", argument);
    path = apr_pstrcat(pool, dir, "/store.db", NULL);
    biz_log_to(keep_line);
    job_wait_only();
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("none", dir, "tmpfs", 0, "size=3m")) {
        printf("no right to mount\n");
        return 0;
    }
    st = open_store(url, apr_time_from_sec(2));
    fill_and_go_on(larger_tmpfs, "BZ0202");
    printf("done\n");
    return 0;
}

static void a_full_disk(void **state)
{
    const char *line;
    jobs all;
    int mounted;

    (void)state;
    jobs_begin(&all, 1, "full", dir);
    line = jobs_line(&all);
    assert_non_null(line);
    mounted = strcmp(line, "done") == 0;
    assert_true(mounted || strcmp(line, "no right to mount") == 0);
    jobs_end(&all, 0);
    if (!mounted) {
        printf("SKIPPED: a_full_disk: no right to mount a tmpfs here\n");
        skip();
    }
}

static void no_limit(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* A write that fails in the middle: the file may not grow beyond 3 MB. */
static void a_write_that_fails(void **state)
{
    struct rlimit limit;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 3000000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    fill_and_go_on(no_limit, "BZ0203");
}

/* ---- rights; root has them all, so somebody else tries ---- */

static void expect(const char *what, apr_status_t is, apr_status_t wanted, const char *number)
{
    if (is != wanted || (number && strncmp(log_line, number, 6) != 0)) {
        printf("failed: %s: %s (%.200s)\n", what, store_strerror(pool, is), log_line);
    }
    log_line[0] = '\0';
}

static int job_nobody(int number, const char *argument)
{
    const char *id;

    (void)number;
    snprintf(dir, sizeof(dir), "%s", argument);
    path = apr_pstrcat(pool, dir, "/store.db", NULL);
    biz_log_to(keep_line);
    job_wait_only();
    if (geteuid() == 0 && (setgid(65534) || setuid(65534))) {
        return 1;
    }
    chmod(dir, 0500);
    st = open_store(url, apr_time_from_sec(2));
    expect("no right to make it", insert_user(&id), STORE_EUNAVAIL, "BZ0204");
    chmod(dir, 0700);
    expect("the right is there", insert_user(&id), APR_SUCCESS, NULL);
    start_over();
    biz_log_to(keep_line);
    chmod(path, 0400);
    st = open_store(url, apr_time_from_sec(2));
    expect("no right to write it", insert_user(&id), STORE_EUNAVAIL, "BZ0205");
    expect("no right to write it", store_ping(st, pool), STORE_EUNAVAIL, NULL);
    chmod(path, 0000);
    start_over();
    st = open_store(url, apr_time_from_sec(2));
    expect("no right to read it", get_user("usr_x"), STORE_EUNAVAIL, "BZ0204");
    /* All three, as the line in the log says: SQLite made the others with the first one's mode. */
    chmod(path, 0600);
    chmod(beside("-wal"), 0600);
    chmod(beside("-shm"), 0600);
    expect("the right is back", get_user("usr_x"), STORE_ENOENT, NULL);
    expect("the right is back", insert_user(&id), APR_SUCCESS, NULL);
    return 0;
}

static void files_without_rights(void **state)
{
    const char *line;
    jobs all;

    (void)state;
    if (geteuid() == 0) {
        assert_int_equal(chown(dir, 65534, 65534), 0);
    }
    jobs_begin(&all, 1, "nobody", dir);
    while ((line = jobs_line(&all)) != NULL) {
        fail_msg("%s", line);
    }
    jobs_end(&all, 0);
}

/* ---- a power cut: what lies on the disk at one moment, without the shared memory ---- */

static int job_write(int number, const char *argument)
{
    const char *id;

    (void)number;
    (void)argument;
    job_wait();
    for (int i = 0; i < 100000 && insert_user(&id) == APR_SUCCESS; i++) {
        printf("%s\n", id);
    }
    return 1;
}

static void copy_file(const char *from, const char *to)
{
    char block[65536];
    FILE *in = fopen(from, "r"), *out = fopen(to, "w");
    size_t n;

    assert_true(in && out);
    while ((n = fread(block, 1, sizeof(block), in)) > 0) {
        assert_int_equal(fwrite(block, 1, n, out), n);
    }
    fclose(in);
    fclose(out);
}

static void a_copy_taken_at_any_moment_is_whole(void **state)
{
    const char *copy = beside("2"), *report, *line;
    int lines = 0, status;
    char last[512] = "";
    jobs writer;

    (void)state;
    for (int round = 0; round < 5; round++) {
        jobs_begin(&writer, 1, "write", "");
        while ((line = jobs_line(&writer)) != NULL && ++lines % (37 + round) != 0) {
            snprintf(last, sizeof(last), "%s", line);
        }
        kill(writer.pids[0], SIGSTOP);
        assert_true(waitpid(writer.pids[0], &status, WUNTRACED) == writer.pids[0]);
        copy_file(path, copy);
        copy_file(beside("-wal"), apr_pstrcat(pool, copy, "-wal", NULL));
        kill(writer.pids[0], SIGKILL);
        jobs_end(&writer, 1);
        st = open_store(apr_pstrcat(pool, "sqlite:", copy, NULL), apr_time_from_sec(2));
        assert_ok(get_user(last));
        assert_ok(store_check(st, pool, &report));
        start_over();
        copy = beside("2");
        unlink(copy);
        unlink(apr_pstrcat(pool, copy, "-wal", NULL));
        unlink(apr_pstrcat(pool, copy, "-shm", NULL));
    }
}

int main(int argc, char **argv)
{
    static const job list[] = {{"hold", job_hold}, {"idle", job_idle},   {"nobody", job_nobody},
                               {"full", job_full}, {"write", job_write}, {NULL, NULL}};
    const struct CMUnitTest tests[] = {
        T(a_lock_held_by_another_process),
        T(writers_that_wait_leave_connections_to_readers),
        T(no_connection_is_free),
        T(the_file_is_removed),
        T(what_must_exist_is_not_made),
        T(the_file_is_removed_while_others_have_it),
        T(a_reader_sees_it_within_a_second),
        T(a_backup_takes_its_place),
        T(a_folder_that_is_missing_for_a_while),
        T(a_folder_where_the_file_should_be),
        T(no_database_at_all),
        T(a_damaged_page),
        T(a_full_disk),
        T(a_write_that_fails),
        T(files_without_rights),
        T(a_copy_taken_at_any_moment_is_whole),
    };
    int failed = job_start(list, argc, argv);

    if (failed >= 0) {
        return failed;
    }
    apr_initialize();
    biz_log_to(keep_line);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
