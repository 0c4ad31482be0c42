/* redis_kit.h: a Redis of the tests' own, and what they ask of calls to it. */
#ifndef BIZ_TEST_REDIS_KIT_H
#define BIZ_TEST_REDIS_KIT_H

#include "limit_kit.h"

#include <arpa/inet.h>

#include "core/log.h"

static redis_server server;

typedef struct {
    apr_status_t rv;
    int64_t took;
    limit_verdict v;
} outcome;

static inline outcome call(limit_redis *redis, const limit_rule *r, const limit_addr *a)
{
    outcome o;
    int64_t start = limit_now();

    memset(&o, 0, sizeof(o));
    o.rv = limit_redis_decide(redis, pool, r, a, &o.v);
    o.took = limit_now() - start;
    return o;
}

static inline int by_size(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;

    return a < b ? -1 : a > b;
}

/* While Redis is down: the first call has found out; of the next ones, over more than one trial,
 * most cost nothing and none the whole time again. */
static inline void assert_fails_fast(limit_redis *redis)
{
    enum { CALLS = 400 };
    const limit_rule *r = rule(100000);
    const limit_addr a = nth_addr(1);
    int64_t took[CALLS];
    int slow = 0, very_slow = 0;

    for (int i = 0; i < CALLS; i++) {
        outcome o = call(redis, r, &a);

        assert_int_not_equal(o.rv, APR_SUCCESS);
        took[i] = o.took;
        slow += o.took > 1500;
        very_slow += o.took > 40000;
        usleep(3000);
    }
    qsort(took, CALLS, sizeof(took[0]), by_size);
    assert_in_range(took[CALLS / 2], 0, 300);
    assert_in_range(slow, 0, CALLS / 20); /* a busy machine has hiccups of its own */
    assert_in_range(very_slow, 0, 1);
}

/* How long it takes until Redis is used again, microseconds, where each wait between two calls
 * counts as long as it was meant to be: a machine that stalls is not the limiter's fault. */
static inline int64_t time_to_return(limit_redis *redis)
{
    enum { WAIT = 5000 };
    const limit_rule *r = rule(100000);
    const limit_addr a = nth_addr(1);
    int64_t waited = 0;

    while (limit_redis_decide(redis, pool, r, &a, &(limit_verdict){0}) != APR_SUCCESS) {
        assert_true(waited < 10 * SECOND);
        usleep(WAIT);
        waited += WAIT;
    }
    return waited;
}

/* For what is no test of how long Redis is waited for. */
static inline limit_redis *patient_client(const char *address, unsigned connections)
{
    limit_redis *redis = redis_client(address, connections);

    limit_redis_set_patience(redis, 10 * SECOND);
    return redis;
}

static inline void reason_is(limit_redis *redis, const char *want)
{
    char reason[64];

    limit_redis_reason(redis, reason, sizeof(reason));
    assert_string_equal(reason, want);
}

static inline long long redis_number(const redis_server *s, const char *command,
                                     const char *argument)
{
    redisContext *c = redisConnectUnix(s->sock);
    redisReply *reply = redisCommand(c, "%s %s", command, argument);
    long long n;

    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    n = reply->integer;
    freeReplyObject(reply);
    redisFree(c);
    return n;
}

static inline const char *key_of(const limit_rule *r, const char *hex)
{
    return apr_psprintf(pool, "bizapi:rl:{%016" APR_UINT64_T_HEX_FMT ":%s}", (apr_uint64_t)r->id,
                        hex);
}

/* Kept by this process until it ends: only who sets SO_REUSEADDR may listen on it, as Redis does.
 */
static inline int free_port(void)
{
    struct sockaddr_in sin = {.sin_family = AF_INET};
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    return ntohs(sin.sin_port);
}

static inline void need_redis(void)
{
    if (!redis_is_installed()) {
        print_message("SKIPPED: there is no redis-server on this machine\n");
        skip();
    }
}

static inline int start_server(void **state)
{
    if (redis_is_installed()) {
        redis_start(&server, 0, NULL);
    }
    return 0;
}

static inline int end_server(void **state)
{
    if (server.pid) {
        redis_end(&server);
    }
    return 0;
}

#endif
