/* limit_kit.h: what the tests of the limiter share: memory and clocks for several processes, a
 * Redis server of their own, and a record of who was let through when. */
#ifndef LIMIT_KIT_H
#define LIMIT_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <hiredis/hiredis.h>

#include "limit/internal.h"

#define SECOND INT64_C(1000000)
#define WINDOW (LIMIT_WINDOW_SECONDS * SECOND)
#define KIT __attribute__((unused)) static

static apr_pool_t *pool;
static biz_shared *shared;
static const unsigned char secret[16] = "0123456789abcde";

KIT void *zeroed(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(p != MAP_FAILED);
    return p;
}

KIT limit_shm *table(unsigned slots)
{
    return limit_shm_attach(pool, zeroed((size_t)slots * LIMIT_SLOT_BYTES), slots, secret, shared);
}

/* A rule of its own, with budgets that no other rule of the test has. */
KIT limit_rule *rule(unsigned limit)
{
    static uint64_t id;
    const char *why;
    limit_rule *r = limit_rule_parse(pool, "/x", apr_psprintf(pool, "%u/min", limit), &why);

    assert_non_null(r);
    r->id = ((uint64_t)getpid() << 32) + ++id;
    return r;
}

KIT limit_addr addr(const char *text)
{
    limit_addr a;

    assert_true(limit_addr_parse(text, &a));
    return a;
}

KIT limit_addr nth_addr(unsigned n)
{
    limit_addr a = {{10, (unsigned char)(n >> 16), (unsigned char)(n >> 8), (unsigned char)n}, 4};

    return a;
}

/* A child that does not outlive a test that failed. */
KIT pid_t fork_child(void)
{
    pid_t parent = getpid(), pid = fork();

    assert_true(pid >= 0);
    if (pid == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)) {
        _exit(1);
    }
    return pid;
}

/* xorshift: the same numbers in every run. */
KIT uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* ---- who was let through when ---- */

typedef struct {
    int64_t asked, answered; /* it was let through at some time between these */
    unsigned who;
} passage;

enum { PASSAGES = 400000 };
typedef struct {
    _Atomic unsigned n;
    passage list[PASSAGES];
} record;

KIT void write_down(record *r, int64_t asked, int64_t answered, unsigned who)
{
    unsigned at = atomic_fetch_add(&r->n, 1);

    if (at < PASSAGES) {
        r->list[at].answered = answered;
        r->list[at].who = who;
        __atomic_store_n(&r->list[at].asked, asked, __ATOMIC_RELEASE); /* last: we may be killed */
    }
}

KIT int by_who_and_time(const void *x, const void *y)
{
    const passage *a = x, *b = y;

    if (a->who != b->who) {
        return a->who < b->who ? -1 : 1;
    }
    return a->asked < b->asked ? -1 : a->asked > b->asked;
}

/* The most that certainly fell into one window: asked at its start or later, answered before its
 * end. */
KIT unsigned most_in_a_window(record *r, int64_t window)
{
    unsigned n = atomic_load(&r->n), most = 0;

    assert_true(n <= PASSAGES);
    qsort(r->list, n, sizeof(r->list[0]), by_who_and_time);
    for (unsigned i = 0; i < n; i++) {
        unsigned count = 0;

        for (unsigned k = i; k < n && r->list[k].who == r->list[i].who &&
                             r->list[k].asked < r->list[i].asked + window;
             k++) {
            count += r->list[i].asked != 0 && r->list[k].answered < r->list[i].asked + window;
        }
        most = count > most ? count : most;
    }
    return most;
}

/* ---- many processes and threads ---- */

typedef struct {
    void (*work)(void *context, unsigned worker);
    void *context;
    unsigned worker;
    _Atomic int *go;
} worker;

KIT void *worker_main(void *data)
{
    worker *w = data;

    while (!atomic_load(w->go)) {
        usleep(100);
    }
    w->work(w->context, w->worker);
    return NULL;
}

KIT pid_t start_process(_Atomic int *go, unsigned first, int threads,
                        void (*work)(void *, unsigned), void *context)
{
    pid_t pid = fork_child();

    if (pid == 0) {
        pthread_t ids[64];
        worker all[64];

        for (int t = 0; t < threads; t++) {
            all[t] = (worker){work, context, first + (unsigned)t, go};
            if (pthread_create(&ids[t], NULL, worker_main, &all[t]) != 0) {
                _exit(1);
            }
        }
        for (int t = 0; t < threads; t++) {
            pthread_join(ids[t], NULL);
        }
        _exit(0);
    }
    return pid;
}

/* Runs `work` in processes x threads at once, each with a number of its own. */
KIT void run_everywhere(int processes, int threads, void (*work)(void *, unsigned), void *context)
{
    _Atomic int *go = zeroed(4096);
    pid_t pids[16];

    for (int p = 0; p < processes; p++) {
        pids[p] = start_process(go, (unsigned)(p * threads), threads, work, context);
    }
    usleep(20000);
    atomic_store(go, 1);
    for (int p = 0; p < processes; p++) {
        int status = -1;

        assert_int_equal(waitpid(pids[p], &status, 0), pids[p]);
        assert_int_equal(status, 0);
    }
    munmap((void *)go, 4096);
}

/* ---- a Redis server of our own ---- */

typedef struct {
    char dir[64], sock[96], url[128];
    pid_t pid;
    int load_delay; /* microseconds for each key of its file */
} redis_server;

KIT int redis_is_installed(void)
{
    return access("/usr/bin/redis-server", X_OK) == 0;
}

KIT int redis_answers(const char *sock)
{
    redisContext *c = redisConnectUnix(sock);
    redisReply *reply = c && !c->err ? redisCommand(c, "PING") : NULL;
    int answers = reply && reply->type != REDIS_REPLY_NIL;

    if (reply) {
        freeReplyObject(reply);
    }
    if (c) {
        redisFree(c);
    }
    return answers;
}

/* `port` 0: a unix socket alone. */
KIT void redis_launch(redis_server *s, int port, const char *password)
{
    char number[16], delay[16];

    snprintf(number, sizeof(number), "%d", port);
    snprintf(delay, sizeof(delay), "%d", s->load_delay);
    s->pid = fork_child();
    if (s->pid == 0) {
        execl("/usr/bin/redis-server", "redis-server", "--port", number, "--bind", "127.0.0.1",
              "--unixsocket", s->sock, "--dir", s->dir, "--save", "", "--appendonly", "no",
              "--logfile", apr_pstrcat(pool, s->dir, "/log", NULL), "--daemonize", "no",
              "--key-load-delay", delay, "--loading-process-events-interval-bytes", "1024",
              password ? "--requirepass" : NULL, password, NULL);
        _exit(127);
    }
    for (int i = 0; !redis_answers(s->sock); i++) {
        assert_true(i < 500);
        usleep(10000);
    }
}

KIT void redis_start(redis_server *s, int port, const char *password)
{
    memset(s, 0, sizeof(*s));
    apr_cpystrn(s->dir, "/tmp/bizapi-redis-XXXXXX", sizeof(s->dir));
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->sock, sizeof(s->sock), "%s/sock", s->dir);
    snprintf(s->url, sizeof(s->url), "redis+unix://%s", s->sock);
    redis_launch(s, port, password);
}

KIT void redis_kill(redis_server *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        waitpid(s->pid, NULL, 0);
        s->pid = 0;
    }
}

KIT void redis_end(redis_server *s)
{
    redis_kill(s);
    unlink(s->sock);
    unlink(apr_pstrcat(pool, s->dir, "/log", NULL));
    unlink(apr_pstrcat(pool, s->dir, "/dump.rdb", NULL));
    rmdir(s->dir);
}

/* One command on a connection of its own; 1 where it was not refused. */
KIT int redis_do(const redis_server *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
KIT int redis_do(const redis_server *s, const char *format, ...)
{
    redisContext *c = redisConnectUnix(s->sock);
    redisReply *reply;
    va_list args;
    int ok;

    assert_true(c && !c->err);
    va_start(args, format);
    reply = redisvCommand(c, format, args);
    va_end(args);
    ok = reply && reply->type != REDIS_REPLY_ERROR;
    if (reply) {
        freeReplyObject(reply);
    }
    redisFree(c);
    return ok;
}

KIT limit_redis *redis_client(const char *url, int connections)
{
    limit_redis *redis;
    const char *why = NULL;

    assert_int_equal(limit_redis_open(&redis, pool, url, connections, &why), APR_SUCCESS);
    assert_null(why);
    return redis;
}

/* ---- */

KIT void kit_begin(void)
{
    signal(SIGPIPE, SIG_IGN); /* as Apache does */
    apr_initialize();
    apr_pool_create(&pool, NULL);
    shared = zeroed(sizeof(*shared));
}

KIT void kit_end(void)
{
    apr_pool_destroy(pool);
    apr_terminate();
}

#endif
