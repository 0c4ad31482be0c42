/* test_limit.c: what limit.h promises, on the shared memory and on a Redis server that the test
 * starts itself. The memory runs on a clock of the test, where a window is a minute; Redis has its
 * own clock, so its window is two seconds there and waiting is real. */
#include "limit_kit.h"

typedef struct {
    const char *name;
    limit_shm *shm;
    limit_redis *redis;
    int64_t window;
    _Atomic int64_t *clock; /* NULL: the real one */
} backend;

static redis_server server;
static backend memory, remote;

static int64_t clock_of(const backend *b)
{
    return b->clock ? atomic_load(b->clock) : limit_now();
}

static limit_verdict ask(const backend *b, const limit_rule *r, const limit_addr *a)
{
    limit_verdict v;

    memset(&v, 0x5a, sizeof(v));
    if (b->shm) {
        limit_shm_decide(b->shm, r, a, clock_of(b), &v);
    } else {
        assert_int_equal(limit_redis_decide(b->redis, pool, r, a, &v), APR_SUCCESS);
    }
    assert_true(v.allowed == 0 || v.allowed == 1);
    if (v.allowed) {
        assert_int_equal(v.retry_after, 0);
    } else {
        assert_in_range(v.retry_after, 1, 60);
        assert_int_equal(v.remaining, 0);
    }
    assert_int_equal(v.crowded, 0);
    return v;
}

/* Lets a part of a window go by. */
static void pass(const backend *b, double windows)
{
    int64_t span = (int64_t)((double)b->window * windows);

    if (b->clock) {
        atomic_fetch_add(b->clock, span);
    } else {
        usleep((useconds_t)span);
    }
}

static unsigned ask_times(const backend *b, const limit_rule *r, const limit_addr *a, unsigned n)
{
    unsigned let_through = 0;

    while (n-- > 0) {
        let_through += (unsigned)ask(b, r, a).allowed;
    }
    return let_through;
}

static const backend *need(void **state)
{
    const backend *b = *state;

    if (!b->shm && !b->redis) {
        print_message("SKIPPED: there is no redis-server on this machine\n");
        skip();
    }
    return b;
}

/* Where the clock is the machine's: so much has gone by that an answer may be another one, and the
 * test begins anew. */
static int late(const backend *b, int64_t begin, int64_t most)
{
    return !b->clock && limit_now() - begin >= most;
}

static void test_exactly_n(void **state)
{
    static const unsigned limits[] = {1, 2, 10, 30, 31, 60, 61, 100, 1000};
    const backend *b = need(state);

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        const limit_rule *r = rule(limits[i]);
        const limit_addr a = addr("192.0.2.1");

        for (unsigned n = 1; n <= limits[i]; n++) {
            limit_verdict v = ask(b, r, &a);

            assert_true(v.allowed);
            assert_int_equal(v.remaining, limits[i] - n);
        }
        assert_int_equal(ask_times(b, r, &a, 50), 0);
    }
}

static void test_wait_retry_after(void **state)
{
    const backend *b = need(state);
    const limit_rule *r = rule(3);
    const limit_addr a = addr("192.0.2.1");
    int64_t begin = limit_now();
    limit_verdict v;

    assert_int_equal(ask_times(b, r, &a, 3), 3);
    pass(b, 0.3);
    v = ask(b, r, &a);
    if (late(b, begin, SECOND)) {
        test_wait_retry_after(state);
        return;
    }
    assert_false(v.allowed);
    if (b->clock) {
        assert_int_equal(v.retry_after, 42);
        atomic_fetch_add(b->clock, v.retry_after * SECOND - 1);
        assert_false(ask(b, r, &a).allowed);
        atomic_fetch_add(b->clock, 1);
    } else {
        assert_int_equal(v.retry_after, 2);
        sleep(v.retry_after);
    }
    assert_true(ask(b, r, &a).allowed);
}

static void test_refusals_do_not_extend(void **state)
{
    const backend *b = need(state);
    const limit_rule *r = rule(5);
    const limit_addr a = addr("192.0.2.1");
    int64_t begin = limit_now();

    assert_int_equal(ask_times(b, r, &a, 5), 5);
    for (int i = 0; i < 9; i++) {
        unsigned n = ask_times(b, r, &a, 20);

        if (late(b, begin, b->window)) {
            test_refusals_do_not_extend(state);
            return;
        }
        assert_int_equal(n, 0);
        pass(b, 0.1);
    }
    pass(b, 0.12);
    assert_int_equal(ask_times(b, r, &a, 20), 5);
}

/* Not the windows of a clock on the wall: what was used becomes free in the order it was used. */
static void test_sliding(void **state)
{
    const backend *b = need(state);
    const limit_rule *r = rule(4);
    const limit_addr a = addr("192.0.2.1");
    static const double spans[] = {0.6, 0.45, 0.6};
    int64_t before = limit_now(); /* what was used then must still count */

    assert_int_equal(ask_times(b, r, &a, 2), 2);
    for (int i = 0; i < 3; i++) {
        int64_t begin;
        unsigned n;

        pass(b, spans[i]);
        begin = limit_now();
        n = ask_times(b, r, &a, 9);
        if (late(b, before, b->window)) {
            test_sliding(state);
            return;
        }
        assert_int_equal(n, 2);
        before = begin;
    }
    pass(b, 1.05);
    assert_int_equal(ask_times(b, r, &a, 9), 4);
}

static void test_separate(void **state)
{
    const backend *b = need(state);
    const limit_rule *login = rule(3), *portal = rule(4);
    const limit_addr one = addr("192.0.2.1"), two = addr("192.0.2.2");

    assert_int_equal(ask_times(b, login, &one, 9), 3);
    assert_int_equal(ask_times(b, portal, &one, 9), 4);
    assert_int_equal(ask_times(b, login, &two, 9), 3);
    assert_int_equal(ask_times(b, portal, &two, 9), 4);
    assert_int_equal(ask_times(b, login, &one, 9), 0);
}

static void test_who_is_one(void **state)
{
    const backend *b = need(state);
    const limit_rule *r = rule(4);
    const limit_addr a = addr("2001:db8:1:2::1"), same = addr("2001:db8:1:2:ffff::9"),
                     other = addr("2001:db8:1:3::1"), v4 = addr("198.51.100.7"),
                     mapped = addr("::ffff:198.51.100.7");

    assert_int_equal(ask_times(b, r, &a, 2), 2);
    assert_int_equal(ask_times(b, r, &same, 9), 2);
    assert_int_equal(ask_times(b, r, &a, 9), 0);
    assert_int_equal(ask_times(b, r, &other, 9), 4);
    assert_int_equal(ask_times(b, r, &mapped, 3), 3);
    assert_int_equal(ask_times(b, r, &v4, 9), 1);
}

/* ---- many at once ---- */

typedef struct {
    const backend *b;
    const limit_rule *rule;
    unsigned times, addresses;
    int64_t until; /* or 0 */
    _Atomic unsigned *let_through;
    record *record;
} crowd;

static void crowd_work(void *context, unsigned number)
{
    const crowd *c = context;
    uint64_t seed = 77777 + number;

    for (unsigned i = 0; c->until ? limit_now() < c->until : i < c->times; i++) {
        unsigned who = c->addresses > 1 ? (unsigned)(next_random(&seed) % c->addresses) : 1;
        limit_addr a = nth_addr(who);
        int64_t asked = limit_now();

        if (ask(c->b, c->rule, &a).allowed) {
            atomic_fetch_add(c->let_through, 1);
            if (c->record) {
                write_down(c->record, asked, limit_now(), who);
            }
        } else if (c->until) {
            usleep(500);
        }
    }
}

static void test_200_parallel(void **state) /* */
{
    static const unsigned limits[] = {10, 60, 1000};
    const backend *b = need(state);

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        crowd c = {b, rule(limits[i]), limits[i] < 200 ? 25 : 150, 1, 0, zeroed(4096), NULL};

        run_everywhere(4, 2, crowd_work, &c); /* 200, or 1200, requests */
        assert_int_equal(atomic_load(c.let_through), limits[i]);
    }
}

/* Real time on both, a window of one second, for three of them. */
static void test_no_span_has_more(void **state)
{
    static const unsigned limits[] = {7, 40};
    backend b = *need(state);

    b.window = SECOND;
    b.clock = NULL;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        crowd c = {&b,           rule(limits[i]),       0, 3, limit_now() + 3 * SECOND,
                   zeroed(4096), zeroed(sizeof(record))};

        if (b.shm) {
            b.shm = table(4096);
            limit_shm_set_window(b.shm, SECOND);
        } else {
            limit_redis_set_window(b.redis, SECOND);
        }
        run_everywhere(3, 3, crowd_work, &c);
        assert_in_range(most_in_a_window(c.record, SECOND), 1, limits[i]);
        /* And nobody is kept out for no reason: three addresses, at least two windows each. */
        assert_true(atomic_load(c.let_through) >= 3 * 2 * limits[i]);
        munmap(c.record, sizeof(record));
    }
    if (b.redis) {
        limit_redis_set_window(b.redis, 2 * SECOND);
    }
}

#define ON(b, test) cmocka_unit_test_prestate(test, &(b))
#define ALL(b)                                                                                     \
    ON(b, test_exactly_n), ON(b, test_wait_retry_after), ON(b, test_refusals_do_not_extend),       \
        ON(b, test_sliding), ON(b, test_separate), ON(b, test_who_is_one),                         \
        ON(b, test_200_parallel), ON(b, test_no_span_has_more)

int main(void)
{
    const struct CMUnitTest on_memory[] = {ALL(memory)}, on_redis[] = {ALL(remote)};
    int failed;

    kit_begin();
    memory = (backend){"shm", table(4096), NULL, WINDOW, zeroed(4096)};
    atomic_store(memory.clock, 1000 * SECOND);
    failed = cmocka_run_group_tests_name("shared memory", on_memory, NULL, NULL);
    if (redis_is_installed()) {
        redis_start(&server, 0, NULL);
        remote = (backend){"redis", NULL, redis_client(server.url, 16), 2 * SECOND, NULL};
        limit_redis_set_window(remote.redis, remote.window);
        limit_redis_set_patience(remote.redis, 10 * SECOND); /* a busy machine is no fault here */
    }
    failed += cmocka_run_group_tests_name("redis", on_redis, NULL, NULL);
    redis_end(&server);
    kit_end();
    return failed;
}
