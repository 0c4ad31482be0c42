/* test_limit_redis.c: a Redis that is down, slow, stopped, restarted, full, locked or no Redis at
 * all: the answer comes in time, from this machine's memory where need be, and Redis is used again
 * within a second. Starts servers of its own. */
#include "limit_kit.h"

#include <arpa/inet.h>

#include "core/log.h"

static redis_server server;

/* ---- helpers ---- */

typedef struct {
    apr_status_t rv;
    int64_t took;
    limit_verdict v;
} outcome;

static outcome call(limit_redis *redis, const limit_rule *r, const limit_addr *a)
{
    outcome o;
    int64_t start = limit_now();

    memset(&o, 0, sizeof(o));
    o.rv = limit_redis_decide(redis, pool, r, a, &o.v);
    o.took = limit_now() - start;
    return o;
}

static int by_size(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;

    return a < b ? -1 : a > b;
}

/* While Redis is down: the first call has found out; of the next ones, over more than one trial,
 * most cost nothing and none the whole time again. */
static void assert_fails_fast(limit_redis *redis)
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

/* How long it takes until Redis is used again, microseconds. */
static int64_t time_to_return(limit_redis *redis)
{
    const limit_rule *r = rule(100000);
    const limit_addr a = nth_addr(1);
    int64_t start = limit_now();

    while (limit_redis_decide(redis, pool, r, &a, &(limit_verdict){0}) != APR_SUCCESS) {
        assert_true(limit_now() - start < 5 * SECOND);
        usleep(5000);
    }
    return limit_now() - start;
}

static void reason_is(limit_redis *redis, const char *want)
{
    char reason[64];

    limit_redis_reason(redis, reason, sizeof(reason));
    assert_string_equal(reason, want);
}

static long long redis_number(const redis_server *s, const char *command, const char *argument)
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

static const char *key_of(const limit_rule *r, const char *hex)
{
    return apr_psprintf(pool, "bizapi:rl:{%016" APR_UINT64_T_HEX_FMT ":%s}", (apr_uint64_t)r->id,
                        hex);
}

static int free_port(void)
{
    struct sockaddr_in sin = {.sin_family = AF_INET};
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    close(fd);
    return ntohs(sin.sin_port);
}

static void need_redis(void)
{
    if (!redis_is_installed()) {
        print_message("SKIPPED: there is no redis-server on this machine\n");
        skip();
    }
}

/* ---- the URL ---- */

static void test_url(void **state)
{
    static const struct {
        const char *url, *path, *host, *user, *password;
        int port, db;
    } good[] = {
        {"redis://localhost", NULL, "localhost", NULL, NULL, 6379, 0},
        {"redis://localhost/", NULL, "localhost", NULL, NULL, 6379, 0},
        {"redis://10.0.0.1:6380/3", NULL, "10.0.0.1", NULL, NULL, 6380, 3},
        {"redis://[::1]:6380", NULL, "::1", NULL, NULL, 6380, 0},
        {"redis://[::1]", NULL, "::1", NULL, NULL, 6379, 0},
        {"redis://secret@h", NULL, "h", NULL, "secret", 6379, 0},
        {"redis://:secret@h:1/2", NULL, "h", NULL, "secret", 1, 2},
        {"redis://me:secret@h", NULL, "h", "me", "secret", 6379, 0},
        {"redis://me:a:b@c/d@h:7", NULL, "h", "me", "a:b@c/d", 7, 0},
        {"redis://m%40e:%25%2f@h", NULL, "h", "m@e", "%/", 6379, 0},
        {"redis+unix:///run/redis.sock", "/run/redis.sock", NULL, NULL, NULL, 0, 0},
        {"unix:///run/redis.sock?db=5", "/run/redis.sock", NULL, NULL, NULL, 0, 5},
        {"redis+unix://me:pw@/run/r", "/run/r", NULL, "me", "pw", 0, 0},
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        limit_redis_url u;

        assert_null(limit_redis_url_parse(pool, good[i].url, &u));
        assert_string_equal(u.path ? u.path : "-", good[i].path ? good[i].path : "-");
        assert_string_equal(u.host ? u.host : "-", good[i].host ? good[i].host : "-");
        assert_string_equal(u.user ? u.user : "-", good[i].user ? good[i].user : "-");
        assert_string_equal(u.password ? u.password : "-",
                            good[i].password ? good[i].password : "-");
        assert_int_equal(u.port, good[i].port);
        assert_int_equal(u.db, good[i].db);
    }
}

static void test_bad_url(void **state)
{
    static const char *const bad[] = {
        "",
        "localhost:6379",
        "http://h",
        "rediss://:hidden@h",
        "redis://",
        "redis://:6379",
        "redis://:hidden@",
        "redis://@h",
        "redis://hidden:@h",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:port",
        "redis://h:",
        "redis://:hidden@h/x",
        "redis://h/-1",
        "redis://h/10000",
        "redis://h?db=1",
        "redis://h/1?x",
        "redis://[::1",
        "redis://[::1]6379",
        "redis://hidden%zz@h",
        "redis://hidden%00@h",
        "redis://hidden%2@h",
        "redis://hid den@h",
        "redis://hidden\n@h",
        "redis+unix://run/sock",
        "redis+unix://",
        "redis+unix:///",
        "redis+unix:///s?x=1",
        "redis+unix:///s?db=x",
        "unix:///"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *why = limit_redis_url_error(pool, bad[i]), *also = NULL;
        limit_redis *redis;

        assert_non_null(why);
        assert_null(strstr(why, "hidden")); /* passwords never come back */
        assert_int_not_equal(limit_redis_open(&redis, pool, bad[i], 1, &also), APR_SUCCESS);
        assert_null(redis);
        assert_string_equal(also, why);
    }
}

static void test_unknown_host(void **state)
{
    limit_redis *redis;
    const char *why = NULL;

    assert_int_not_equal(
        limit_redis_open(&redis, pool, "redis://:hidden@no-such-host.invalid", 1, &why),
        APR_SUCCESS);
    assert_non_null(strstr(why, "cannot be found"));
    assert_null(strstr(why, "hidden"));
}

/* ---- who may come in ---- */

static limit_redis_place place_at(int port)
{
    limit_redis_place p = {.len = sizeof(struct sockaddr_in)};
    struct sockaddr_in *sin = (struct sockaddr_in *)&p.addr;

    sin->sin_family = AF_INET;
    sin->sin_port = htons((uint16_t)port);
    sin->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return p;
}

static void test_over_tcp(void **state)
{
    redis_server s;
    limit_redis *redis;
    const limit_rule *r = rule(2);
    const limit_addr a = nth_addr(1);
    int port;

    need_redis();
    port = free_port();
    redis_start(&s, port, NULL);
    redis = redis_client(apr_psprintf(pool, "redis://localhost:%d/2", port), 2);
    for (int i = 0; i < 3; i++) {
        outcome o = call(redis, r, &a);

        assert_int_equal(o.rv, APR_SUCCESS);
        assert_int_equal(o.v.allowed, i < 2);
    }
    assert_int_equal(redis_number(&s, "EXISTS", key_of(r, "0a000001")), 0); /* not database 0 */
    redis_end(&s);
}

/* A name has three addresses, and nobody listens at the first two. */
static void test_dead_addresses(void **state)
{
    limit_redis_place places[3];
    redis_server s;
    limit_redis *redis;
    const limit_rule *r = rule(100);
    const limit_addr a = nth_addr(1);
    int port;

    need_redis();
    port = free_port();
    redis_start(&s, port, NULL);
    redis = redis_client(apr_psprintf(pool, "redis://127.0.0.1:%d", port), 2);
    places[0] = place_at(free_port());
    places[1] = place_at(free_port());
    places[2] = place_at(port);
    limit_redis_set_places(redis, places, 3);
    assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
    redis_kill(&s);
    assert_int_not_equal(call(redis, r, &a).rv, APR_SUCCESS);
    redis_launch(&s, port, NULL);
    assert_in_range(time_to_return(redis), 0, SECOND);
    assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
    redis_end(&s);
}

static void test_password(void **state)
{
    redis_server s;
    const limit_rule *r = rule(100);
    const limit_addr a = nth_addr(1);
    limit_redis *redis;

    need_redis();
    redis_start(&s, 0, "s3cret/@");
    redis = redis_client(apr_psprintf(pool, "redis+unix://:s3cret%%2F@%s", s.sock), 2);
    assert_int_not_equal(call(redis, r, &a).rv, APR_SUCCESS);
    reason_is(redis, "answered WRONGPASS");
    assert_fails_fast(redis);
    redis = redis_client(s.url, 2);
    assert_int_not_equal(call(redis, r, &a).rv, APR_SUCCESS);
    reason_is(redis, "answered NOAUTH");
    redis = redis_client(apr_psprintf(pool, "redis+unix://:s3cret%%2F%%40@%s?db=4", s.sock), 2);
    assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
    redis_end(&s);
}

/* A user of Redis who may do just what limit.h names. */
static void test_user_of_its_own(void **state)
{
    const limit_rule *r = rule(2);
    const limit_addr a = nth_addr(1);
    limit_redis *redis;

    need_redis();
    assert_true(redis_do(&server,
                         "ACL SETUSER bizapi on >pw ~bizapi:rl:* resetchannels -@all +eval "
                         "+evalsha +select +time +llen +lindex +lpop +rpush +del +pexpire"));
    redis = redis_client(apr_psprintf(pool, "redis+unix://bizapi:pw@%s?db=1", server.sock), 2);
    assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
    assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
    assert_false(call(redis, r, &a).v.allowed);
    redis = redis_client(apr_psprintf(pool, "redis+unix://bizapi:wrong@%s", server.sock), 2);
    assert_int_not_equal(call(redis, r, &a).rv, APR_SUCCESS);
}

static void test_keys(void **state)
{
    const limit_rule *r = rule(3);
    const limit_addr v4 = addr("10.0.0.1"), v6 = addr("2001:db8:1:2::9");
    limit_redis *redis;
    long long ttl;

    need_redis();
    redis = redis_client(server.url, 2);
    assert_true(call(redis, r, &v4).v.allowed);
    assert_true(call(redis, r, &v6).v.allowed);
    assert_int_equal(redis_number(&server, "LLEN", key_of(r, "0a000001")), 1);
    assert_int_equal(redis_number(&server, "LLEN", key_of(r, "20010db800010002")), 1);
    ttl = redis_number(&server, "PTTL", key_of(r, "0a000001"));
    assert_in_range(ttl, 59000, 61000); /* and then it is gone by itself */
    for (int i = 0; i < 20; i++) {
        call(redis, r, &v4);
    }
    assert_int_equal(redis_number(&server, "LLEN", key_of(r, "0a000001")), 3); /* never grows */
}

static void test_server_clock_set_back(void **state)
{
    const limit_rule *r = rule(3);
    const limit_addr a = nth_addr(1);
    limit_redis *redis;

    need_redis();
    redis = redis_client(server.url, 2);
    /* What an hour ahead looks like from now. */
    for (int i = 0; i < 3; i++) {
        assert_true(redis_do(&server, "RPUSH %s %lld", key_of(r, "0a000001"),
                             (long long)(apr_time_now() + 3600 * SECOND)));
    }
    assert_true(call(redis, r, &a).v.allowed);
    assert_int_equal(call(redis, r, &a).v.remaining, 1);
}

/* ---- faults ---- */

static void test_down_and_back(void **state)
{
    const limit_rule *r = rule(100000);
    const limit_addr a = nth_addr(1);
    limit_redis *redis;

    need_redis();
    redis = redis_client(server.url, 4);
    assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
    redis_kill(&server);
    for (int i = 0; i < 2; i++) {
        outcome o = call(redis, r, &a);

        assert_int_not_equal(o.rv, APR_SUCCESS);
        assert_in_range(o.took, 0, 400000);
    }
    assert_fails_fast(redis);
    redis_launch(&server, 0, NULL);
    assert_in_range(time_to_return(redis), 0, SECOND);
    /* And the same for a client that was made while it was down. */
    redis_kill(&server);
    redis = redis_client(server.url, 4);
    assert_int_not_equal(call(redis, r, &a).rv, APR_SUCCESS);
    redis_launch(&server, 0, NULL);
    assert_in_range(time_to_return(redis), 0, SECOND);
}

/* Between two requests: nobody sees a failure. */
static void test_restarted(void **state)
{
    const limit_rule *r = rule(100000);
    const limit_addr a = nth_addr(1);
    limit_redis *redis;

    need_redis();
    redis = redis_client(server.url, 4);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
        redis_kill(&server);
        redis_launch(&server, 0, NULL);
        assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
    }
}

static void test_stopped(void **state)
{
    const limit_rule *r = rule(100000);
    const limit_addr a = nth_addr(1);
    limit_redis *redis;
    outcome o;

    need_redis();
    redis = redis_client(server.url, 4);
    assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
    kill(server.pid, SIGSTOP);
    o = call(redis, r, &a);
    assert_int_not_equal(o.rv, APR_SUCCESS);
    assert_in_range(o.took, 190000, 400000);
    reason_is(redis, "no answer in time");
    assert_fails_fast(redis);
    kill(server.pid, SIGCONT);
    assert_in_range(time_to_return(redis), 0, SECOND);
    /* An answer that came too late is not taken for the answer to the next question. */
    for (int i = 0; i < 50; i++) {
        o = call(redis, rule(7), &a);
        assert_true(o.v.allowed);
        assert_int_equal(o.v.remaining, 6);
    }
}

static void test_paused(void **state)
{
    static const char *const modes[] = {"ALL", "WRITE"};
    const limit_rule *r = rule(100000);
    const limit_addr a = nth_addr(1);
    limit_redis *redis;

    need_redis();
    redis = redis_client(server.url, 4);
    for (int i = 0; i < 2; i++) {
        outcome o;

        assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
        assert_true(redis_do(&server, "CLIENT PAUSE 2000 %s", modes[i]));
        o = call(redis, r, &a);
        assert_int_not_equal(o.rv, APR_SUCCESS);
        assert_in_range(o.took, 190000, 400000);
        assert_fails_fast(redis); /* 1.3 s */
        assert_in_range(time_to_return(redis), 0, 2 * SECOND);
    }
}

static void test_script_flush(void **state)
{
    const limit_rule *r = rule(3);
    const limit_addr a = nth_addr(1);
    limit_redis *redis;

    need_redis();
    redis = redis_client(server.url, 4);
    for (int i = 0; i < 5; i++) {
        outcome o = call(redis, r, &a);

        assert_int_equal(o.rv, APR_SUCCESS);
        assert_int_equal(o.v.allowed, i < 3);
        assert_true(redis_do(&server, "SCRIPT FLUSH"));
    }
}

/* It accepts connections and answers LOADING until it has read its file. */
static void test_loading(void **state)
{
    const limit_rule *r = rule(100000);
    const limit_addr a = nth_addr(1);
    redis_server s;
    limit_redis *redis;
    outcome o;

    need_redis();
    redis_start(&s, 0, NULL);
    redis = redis_client(s.url, 4);
    assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
    assert_true(redis_do(&s, "EVAL %s 0", "for i = 1, 8000 do redis.call('SET', i, i) end"));
    assert_true(redis_do(&s, "SAVE"));
    redis_kill(&s);
    s.load_delay = 200; /* microseconds for each key */
    redis_launch(&s, 0, NULL);
    o = call(redis, r, &a);
    assert_int_not_equal(o.rv, APR_SUCCESS);
    assert_in_range(o.took, 0, 400000);
    reason_is(redis, "answered LOADING");
    assert_fails_fast(redis);
    while (!redis_do(&s, "GET 1")) {
        usleep(1000);
    }
    assert_in_range(time_to_return(redis), 0, SECOND);
    redis_end(&s);
}

/* The trouble of one key is not the trouble of the others. */
static void test_wrong_type(void **state)
{
    const limit_rule *r = rule(3);
    const limit_addr bad = nth_addr(1), good = nth_addr(2);
    limit_redis *redis;

    need_redis();
    redis = redis_client(server.url, 4);
    assert_true(redis_do(&server, "SET %s text", key_of(r, "0a000001")));
    for (int i = 0; i < 3; i++) {
        assert_int_not_equal(call(redis, r, &bad).rv, APR_SUCCESS);
        reason_is(redis, "answered WRONGTYPE");
        assert_int_equal(call(redis, r, &good).rv, APR_SUCCESS);
    }
}

static void test_out_of_memory(void **state)
{
    const limit_rule *r = rule(100000);
    const limit_addr a = nth_addr(1);
    limit_redis *redis;

    need_redis();
    redis = redis_client(server.url, 4);
    assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
    assert_true(redis_do(&server, "CONFIG SET maxmemory 1"));
    assert_int_not_equal(call(redis, r, &a).rv, APR_SUCCESS);
    reason_is(redis, "answered OOM");
    assert_fails_fast(redis);
    assert_true(redis_do(&server, "CONFIG SET maxmemory 0"));
    assert_in_range(time_to_return(redis), 0, SECOND);
}

/* Something answers there, but it is no Redis; and something that never does. */
static void test_no_redis_there(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 400 Bad Request\r\n\r\n",
                                          ":1\r\n",
                                          "*1\r\n:1\r\n",
                                          "+OK\r\n",
                                          "*3\r\n$1\r\nx\r\n:1\r\n:1\r\n",
                                          "*-1\r\n",
                                          ""};
    const limit_rule *r = rule(3);
    const limit_addr a = nth_addr(1);

    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        char dir[] = "/tmp/bizapi-liar-XXXXXX";
        limit_redis *redis;
        outcome o;
        pid_t pid;
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        assert_non_null(mkdtemp(dir));
        snprintf(un.sun_path, sizeof(un.sun_path), "%s/sock", dir);
        assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
        assert_int_equal(listen(fd, 5), 0);
        pid = fork_child();
        if (pid == 0) {
            for (;;) {
                int c = accept(fd, NULL, NULL);
                ssize_t n = write(c, answers[i], strlen(answers[i]));

                (void)n; /* and the connection stays open */
            }
        }
        close(fd);
        redis = redis_client(apr_psprintf(pool, "unix://%s", un.sun_path), 2);
        o = call(redis, r, &a);
        assert_int_not_equal(o.rv, APR_SUCCESS);
        assert_in_range(o.took, 0, 400000);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        unlink(un.sun_path);
        rmdir(dir);
    }
}

/* ---- connections ---- */

typedef struct {
    limit_redis *redis;
    const limit_rule *rule;
    int before;
    _Atomic int failures, done;
} many;

static void many_work(void *context, unsigned number)
{
    many *m = context;

    for (unsigned i = 0; i < 200; i++) {
        limit_addr a = nth_addr(number * 1000 + i);
        limit_verdict v = {0};

        /* The answer to somebody else's question would have another `remaining`. */
        for (unsigned k = 0; k < 3; k++) {
            if (limit_redis_decide(m->redis, NULL, m->rule, &a, &v) != APR_SUCCESS ||
                v.remaining != 9 - k) {
                atomic_fetch_add(&m->failures, 1);
            }
        }
    }
}

static int clients_of(const redis_server *s)
{
    redisContext *c = redisConnectUnix(s->sock);
    redisReply *reply = redisCommand(c, "CLIENT LIST");
    int n = 0;

    for (const char *p = reply->str; (p = strstr(p, " addr=")); p++) {
        n++;
    }
    freeReplyObject(reply);
    redisFree(c);
    return n;
}

/* Used before the fork, then by three processes of four threads with two connections each. */
static void test_connections(void **state)
{
    many *m = zeroed(sizeof(*m));
    int before;

    need_redis();
    before = clients_of(&server);
    m->redis = redis_client(server.url, 2);
    limit_redis_set_patience(m->redis, 10 * SECOND);
    m->rule = rule(10);
    assert_int_equal(call(m->redis, m->rule, &(limit_addr){{9}, 4}).rv, APR_SUCCESS);
    run_everywhere(3, 4, many_work, m);
    assert_int_equal(atomic_load(&m->failures), 0);
    assert_int_equal(clients_of(&server), before + 1); /* the parent's own is still there */
    assert_int_equal(call(m->redis, m->rule, &(limit_addr){{9}, 4}).v.remaining, 8);
}

static void hold_work(void *context, unsigned number)
{
    many *m = context;
    limit_addr a = nth_addr(number);

    for (int i = 0; i < 300; i++) {
        limit_redis_decide(m->redis, NULL, m->rule, &a, &(limit_verdict){0});
    }
    /* The last one counts what the pool has kept. */
    if (atomic_fetch_add(&m->done, 1) == 5 && clients_of(&server) > m->before + 2) {
        atomic_fetch_add(&m->failures, 1);
    }
}

static void test_connections_are_bounded(void **state)
{
    many *m = zeroed(sizeof(*m));

    need_redis();
    m->redis = redis_client(server.url, 2);
    limit_redis_set_patience(m->redis, 10 * SECOND);
    m->rule = rule(100000);
    m->before = clients_of(&server);
    run_everywhere(1, 6, hold_work, m);
    assert_int_equal(atomic_load(&m->done), 6);
    assert_int_equal(atomic_load(&m->failures), 0);
}

/* ---- with the memory behind it ---- */

static int lines[10];

static void count_lines(biz_level level, apr_status_t status, const char *line)
{
    for (int i = 0; i < 10; i++) {
        lines[i] += strncmp(line, apr_psprintf(pool, "BZ030%d: ", i), 8) == 0;
    }
    assert_null(strstr(line, "hidden"));
}

static unsigned decide_times(limiter *l, const limit_rule *r, const limit_addr *a, unsigned n)
{
    unsigned let_through = 0;
    limit_verdict v;

    while (n-- > 0) {
        limit_decide(l, pool, r, a, &v);
        let_through += (unsigned)v.allowed;
        if (!v.allowed) {
            assert_in_range(v.retry_after, 1, 60);
        }
    }
    return let_through;
}

static void test_machines_share(void **state)
{
    const limit_rule *r = rule(10);
    const limit_addr a = nth_addr(1);
    limiter one, two;

    need_redis();
    one = (limiter){table(64), redis_client(server.url, 2), shared};
    two = (limiter){table(64), redis_client(server.url, 2), shared};
    assert_int_equal(decide_times(&one, r, &a, 4), 4);
    assert_int_equal(decide_times(&two, r, &a, 4), 4);
    assert_int_equal(decide_times(&one, r, &a, 9), 2);
    assert_int_equal(decide_times(&two, r, &a, 9), 0);
}

/* Redis fails and comes back, forgetful, in the middle of a window: still one budget here. */
static void test_one_budget_through_failures(void **state)
{
    const limit_rule *r = rule(10), *other = rule(5);
    const limit_addr a = nth_addr(1);
    limiter l;
    int64_t start;

    need_redis();
    memset((void *)shared, 0, sizeof(*shared));
    memset(lines, 0, sizeof(lines));
    l = (limiter){table(64), redis_client(server.url, 2), shared};
    biz_log_to(count_lines);
    assert_int_equal(decide_times(&l, r, &a, 4), 4);
    assert_int_equal(lines[1], 0);
    redis_kill(&server);
    assert_int_equal(decide_times(&l, r, &a, 3), 3);
    assert_int_equal(decide_times(&l, other, &a, 9), 5);
    assert_int_equal(lines[1], 1); /* one line a minute */
    redis_launch(&server, 0, NULL);
    assert_in_range(time_to_return(l.redis), 0, SECOND);
    assert_int_equal(lines[3], 1);
    assert_int_equal(decide_times(&l, r, &a, 9), 3);
    assert_int_equal(decide_times(&l, other, &a, 9), 0);
    /* Who is over the limit here is refused without asking Redis. */
    kill(server.pid, SIGSTOP);
    start = limit_now();
    assert_int_equal(decide_times(&l, r, &a, 9), 0);
    assert_in_range(limit_now() - start, 0, 20000);
    kill(server.pid, SIGCONT);
    biz_log_to(NULL);
}

/* Who waits as long as Redis said is not held up by this machine for having asked too early. */
static void test_refused_by_redis_counts_nothing_here(void **state)
{
    const limit_rule *r = rule(3);
    const limit_addr a = nth_addr(1);
    limiter here, there;
    limit_verdict v;

    need_redis();
    here = (limiter){table(64), redis_client(server.url, 2), shared};
    there = (limiter){table(64), redis_client(server.url, 2), shared};
    assert_int_equal(decide_times(&there, r, &a, 3), 3);
    assert_int_equal(decide_times(&here, r, &a, 9), 0);
    limit_shm_ask(here.shm, r, &a, limit_now(), LIMIT_LOOK, &v);
    assert_int_equal(v.remaining, 3);
}

static void test_crowded_line(void **state)
{
    limiter l = {table(64), NULL, shared};
    const limit_rule *r = rule(3);

    memset((void *)shared, 0, sizeof(*shared));
    memset(lines, 0, sizeof(lines));
    biz_log_to(count_lines);
    for (unsigned n = 0; n < 500; n++) {
        limit_addr a = nth_addr(n);

        decide_times(&l, r, &a, 1);
    }
    biz_log_to(NULL);
    assert_int_equal(lines[2], 1);
    assert_true(atomic_load(&shared->limit_evictions) > 400);
}

static int start_server(void **state)
{
    if (redis_is_installed()) {
        redis_start(&server, 0, NULL);
    }
    return 0;
}

static int end_server(void **state)
{
    if (server.pid) {
        redis_end(&server);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_url),
        cmocka_unit_test(test_bad_url),
        cmocka_unit_test(test_unknown_host),
        cmocka_unit_test(test_over_tcp),
        cmocka_unit_test(test_dead_addresses),
        cmocka_unit_test(test_password),
        cmocka_unit_test(test_user_of_its_own),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_server_clock_set_back),
        cmocka_unit_test(test_down_and_back),
        cmocka_unit_test(test_restarted),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_paused),
        cmocka_unit_test(test_script_flush),
        cmocka_unit_test(test_loading),
        cmocka_unit_test(test_wrong_type),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_no_redis_there),
        cmocka_unit_test(test_connections),
        cmocka_unit_test(test_connections_are_bounded),
        cmocka_unit_test(test_machines_share),
        cmocka_unit_test(test_one_budget_through_failures),
        cmocka_unit_test(test_refused_by_redis_counts_nothing_here),
        cmocka_unit_test(test_crowded_line),
    };
    int failed;

    kit_begin();
    failed = cmocka_run_group_tests(tests, start_server, end_server);
    kit_end();
    return failed;
}
