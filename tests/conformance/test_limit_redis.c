/* test_limit_redis.c: which Redis is asked, who may come in, what is written there, and over how
 * many connections. Starts servers of its own. */
#include "redis_kit.h"

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
    redis = patient_client(apr_psprintf(pool, "redis://localhost:%d/2", port), 2);
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
    redis = patient_client(apr_psprintf(pool, "redis://127.0.0.1:%d", port), 2);
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
    redis = patient_client(apr_psprintf(pool, "redis+unix://:s3cret%%2F@%s", s.sock), 2);
    assert_int_not_equal(call(redis, r, &a).rv, APR_SUCCESS);
    reason_is(redis, "answered WRONGPASS");
    assert_fails_fast(redis);
    redis = patient_client(s.url, 2);
    assert_int_not_equal(call(redis, r, &a).rv, APR_SUCCESS);
    reason_is(redis, "answered NOAUTH");
    redis = patient_client(apr_psprintf(pool, "redis+unix://:s3cret%%2F%%40@%s?db=4", s.sock), 2);
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
    redis = patient_client(apr_psprintf(pool, "redis+unix://bizapi:pw@%s?db=1", server.sock), 2);
    assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
    assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
    assert_false(call(redis, r, &a).v.allowed);
    redis = patient_client(apr_psprintf(pool, "redis+unix://bizapi:wrong@%s", server.sock), 2);
    assert_int_not_equal(call(redis, r, &a).rv, APR_SUCCESS);
}

static void test_keys(void **state)
{
    const limit_rule *r = rule(3);
    const limit_addr v4 = addr("10.0.0.1"), v6 = addr("2001:db8:1:2::9");
    limit_redis *redis;
    long long ttl;

    need_redis();
    redis = patient_client(server.url, 2);
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
    redis = patient_client(server.url, 2);
    /* What an hour ahead looks like from now. */
    for (int i = 0; i < 3; i++) {
        assert_true(redis_do(&server, "RPUSH %s %lld", key_of(r, "0a000001"),
                             (long long)(apr_time_now() + 3600 * SECOND)));
    }
    assert_true(call(redis, r, &a).v.allowed);
    assert_int_equal(call(redis, r, &a).v.remaining, 1);
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
        cmocka_unit_test(test_connections),
        cmocka_unit_test(test_connections_are_bounded),
    };
    int failed;

    kit_begin();
    failed = cmocka_run_group_tests(tests, start_server, end_server);
    kit_end();
    return failed;
}
