/* store_fixture.h: what the tests of a store share: the store under test (BIZAPI_TEST_STORE, by
 * default a fresh SQLite file), names that no earlier run has used, the last line of the log, and
 * processes that start at once. Nothing here knows what is behind the url, but for making a default
 * one. Included once by each test_store*.c. */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>
#include <cmocka.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "core/log.h"
#include "core/random.h"
#include "store/store.h"

static apr_pool_t *pool; /* of the test that runs */
static const char *url;  /* under test */
static char folder[64];  /* ours, when the url is */
static store *st;        /* open while a test of documents runs */
static char log_line[8192];
static int log_lines;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

static inline void keep_line(biz_level level, apr_status_t status, const char *line)
{
    (void)level;
    (void)status;
    pthread_mutex_lock(&log_lock);
    snprintf(log_line, sizeof(log_line), "%s", line);
    log_lines++;
    pthread_mutex_unlock(&log_lock);
}

#define assert_status(is, wanted)                                                                  \
    assert_string_equal(store_strerror(pool, (is)), store_strerror(pool, (wanted)))
#define assert_ok(is) assert_status((is), APR_SUCCESS)

static inline const char *unique_name(const char *what)
{
    return apr_pstrcat(pool, what, "-", biz_random_token(pool), NULL);
}

static inline store *open_store(const char *at, apr_interval_time_t timeout)
{
    store_options options = {.op_timeout = timeout};
    const char *why = NULL;
    store *s;

    assert_ok(store_open(&s, at, &options, pool, &why));
    assert_null(why);
    return s;
}

/* A store for a single test, with more patience than a request has: the machine may be busy. */
static inline int open_for_test(void **state)
{
    (void)state;
    apr_pool_create(&pool, NULL);
    st = open_store(url, apr_time_from_sec(20));
    log_lines = 0;
    log_line[0] = '\0';
    return 0;
}

/* Processes that a failed test has left; see jobs below. */
static pid_t left_over[32];

static inline int close_after_test(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(left_over) / sizeof(left_over[0]); i++) {
        if (left_over[i]) {
            kill(left_over[i], SIGKILL);
            waitpid(left_over[i], NULL, 0);
            left_over[i] = 0;
        }
    }
    apr_pool_destroy(pool);
    st = NULL;
    return 0;
}

static inline int pool_for_test(void **state)
{
    (void)state;
    apr_pool_create(&pool, NULL);
    log_lines = 0;
    log_line[0] = '\0';
    return 0;
}

static inline store_doc *new_user(const char *email)
{
    store_doc *doc = store_doc_new(pool, COLL_USERS);

    store_set_str(doc, USER_EMAIL, email);
    return doc;
}

static inline store_doc *got(store_coll_no coll, const char *id)
{
    store_doc *doc;

    assert_ok(store_get(st, pool, coll, id, &doc));
    assert_non_null(doc);
    return doc;
}

static inline void remove_folder(void)
{
    static const char *const names[] = {"store.db", "store.db-wal", "store.db-shm"};
    char path[128];

    for (size_t i = 0; folder[0] && i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
    if (folder[0]) {
        rmdir(folder);
    }
}

static inline void fixture_start(void)
{
    apr_initialize();
    biz_log_to(keep_line);
    url = getenv("BIZAPI_TEST_STORE");
    if (!url || !*url) {
        static char made[128];

        snprintf(folder, sizeof(folder), "/tmp/bizapi-store-XXXXXX");
        if (!mkdtemp(folder)) {
            perror(folder);
            exit(1);
        }
        snprintf(made, sizeof(made), "sqlite:%s/store.db", folder);
        url = made;
    }
    printf("store under test: %.*s...\n", 20, url);
}

/* ---- processes ----
 *
 * Each is this program run again with the name of a job, so that nothing is inherited: "--job NAME
 * URL NUMBER ARGUMENT". A job opens its store, says that it is ready, and starts when all are. What
 * it writes to stdout is collected, a line at a time. */

typedef int job_main(int number, const char *argument);
typedef struct {
    const char *name;
    job_main *run;
} job;

enum { JOB_READY = 3, JOB_START = 4, JOBS_MAX = 32 };

typedef struct {
    pid_t pids[JOBS_MAX];
    int count;
    int start; /* closed: go */
    FILE *lines;
} jobs;

/* In the process of a job: says that it is ready and waits for the start. */
static inline void job_wait_only(void)
{
    char byte = 'r';

    if (write(JOB_READY, &byte, 1) != 1 || read(JOB_START, &byte, 1) != 0) {
        exit(3);
    }
}

/* The same with an open store. */
static inline void job_wait(void)
{
    st = open_store(url, apr_time_from_sec(20));
    if (store_ping(st, pool) != APR_SUCCESS) {
        printf("failed: ping\n");
    }
    job_wait_only();
}

static inline int job_start(const job *list, int argc, char **argv)
{
    if (argc != 6 || strcmp(argv[1], "--job") != 0) {
        return -1;
    }
    apr_initialize();
    apr_pool_create(&pool, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    url = argv[3];
    for (; list->name; list++) {
        if (strcmp(list->name, argv[2]) == 0) {
            int rc = list->run(atoi(argv[4]), argv[5]);

            apr_pool_destroy(pool);
            return rc;
        }
    }
    return 2;
}

static inline void jobs_add(jobs *all, int ready[2], int start[2], int out[2], const char *name,
                            const char *argument)
{
    char number[16];
    pid_t pid;

    snprintf(number, sizeof(number), "%d", all->count);
    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        /* Moved out of the way first: one of them may be 3 or 4 already. */
        int r = fcntl(ready[1], F_DUPFD, 20), s = fcntl(start[0], F_DUPFD, 20);

        dup2(out[1], 1);
        dup2(r, JOB_READY);
        dup2(s, JOB_START);
        for (int fd = 5; fd < 64; fd++) {
            close(fd);
        }
        execl("/proc/self/exe", "test_store", "--job", name, url, number, argument, NULL);
        _exit(127);
    }
    left_over[all->count] = pid;
    all->pids[all->count++] = pid;
}

/* `count` processes that do the same job; all have said that they are ready. */
static inline void jobs_prepare(jobs *all, int count, const char *name, const char *argument)
{
    int ready[2], start[2], out[2];
    char byte;

    all->count = 0;
    assert_true(count <= JOBS_MAX);
    assert_true(pipe(ready) == 0 && pipe(start) == 0 && pipe(out) == 0);
    for (int i = 0; i < count; i++) {
        jobs_add(all, ready, start, out, name, argument);
    }
    close(ready[1]);
    close(start[0]);
    close(out[1]);
    for (int i = 0; i < count; i++) {
        assert_int_equal(read(ready[0], &byte, 1), 1);
    }
    close(ready[0]);
    all->start = start[1];
    all->lines = fdopen(out[0], "r");
}

static inline void jobs_go(jobs *all)
{
    close(all->start);
}

static inline void jobs_begin(jobs *all, int count, const char *name, const char *argument)
{
    jobs_prepare(all, count, name, argument);
    jobs_go(all);
}

/* The next line that any of them wrote, without its end; NULL when all have ended. */
static inline const char *jobs_line(jobs *all)
{
    static char line[512];

    if (!fgets(line, sizeof(line), all->lines)) {
        return NULL;
    }
    line[strcspn(line, "\n")] = '\0';
    return line;
}

static inline void jobs_end(jobs *all, int killed)
{
    for (int i = 0; i < all->count; i++) {
        int status;

        assert_int_equal(waitpid(all->pids[i], &status, 0), all->pids[i]);
        left_over[i] = 0;
        if (killed) {
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        } else {
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        }
    }
    fclose(all->lines);
}

#endif
