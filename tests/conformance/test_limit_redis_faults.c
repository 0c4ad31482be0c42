/* test_limit_redis_faults.c: a Redis that is down, slow, stopped, restarted, full, locked or no
 * Redis at all: the answer comes in time, from this machine's memory where need be, and Redis is
 * used again within a second. Starts servers of its own. */
#include "redis_kit.h"

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
        assert_in_range(o.took, 0, 3 * SECOND);
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
    redis = patient_client(server.url, 4);
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
    assert_in_range(o.took, 190000, 3 * SECOND);
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
        int64_t end;

        assert_int_equal(call(redis, r, &a).rv, APR_SUCCESS);
        assert_true(redis_do(&server, "CLIENT PAUSE 4000 %s", modes[i]));
        end = limit_now() + 4 * SECOND;
        o = call(redis, r, &a);
        assert_int_not_equal(o.rv, APR_SUCCESS);
        assert_in_range(o.took, 190000, 3 * SECOND);
        assert_fails_fast(redis); /* 1.3 s */
        time_to_return(redis);
        assert_true(limit_now() < end + 3 * SECOND);
    }
}

static void test_script_flush(void **state)
{
    const limit_rule *r = rule(3);
    const limit_addr a = nth_addr(1);
    limit_redis *redis;

    need_redis();
    redis = patient_client(server.url, 4);
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
    limit_redis_set_patience(redis, 2 * SECOND);
    o = call(redis, r, &a);
    assert_int_not_equal(o.rv, APR_SUCCESS);
    assert_in_range(o.took, 0, 3 * SECOND);
    reason_is(redis, "answered LOADING");
    limit_redis_set_patience(redis, SECOND / 5);
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
    redis = patient_client(server.url, 4);
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
        assert_in_range(o.took, 0, 3 * SECOND);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        unlink(un.sun_path);
        rmdir(dir);
    }
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
    one = (limiter){table(64), patient_client(server.url, 2), shared};
    two = (limiter){table(64), patient_client(server.url, 2), shared};
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
    here = (limiter){table(64), patient_client(server.url, 2), shared};
    there = (limiter){table(64), patient_client(server.url, 2), shared};
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_down_and_back),
        cmocka_unit_test(test_restarted),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_paused),
        cmocka_unit_test(test_script_flush),
        cmocka_unit_test(test_loading),
        cmocka_unit_test(test_wrong_type),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_no_redis_there),
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
