/* test_limit_shm.c: what the shared memory promises beyond the common suite: that it agrees with a
 * plain model of a sliding log, keeps its promise when it is full, and goes on when processes are
 * killed or stopped in the middle of it. */
#include "limit_kit.h"

static int64_t the_clock;

static limit_verdict ask(limit_shm *shm, const limit_rule *r, const limit_addr *a)
{
    limit_verdict v;

    memset(&v, 0x5a, sizeof(v));
    limit_shm_decide(shm, r, a, the_clock, &v);
    return v;
}

static unsigned ask_times(limit_shm *shm, const limit_rule *r, const limit_addr *a, unsigned n)
{
    unsigned let_through = 0;

    while (n-- > 0) {
        let_through += (unsigned)ask(shm, r, a).allowed;
    }
    return let_through;
}

/* ---- against a model ---- */

/* Every admission of one address, in order. */
typedef struct {
    int64_t *times;
    unsigned n, first; /* `first`: the oldest that may still count */
} log_model;

static unsigned model_used(log_model *m, int64_t now)
{
    while (m->first < m->n && m->times[m->first] + WINDOW <= now) {
        m->first++;
    }
    return m->n - m->first;
}

static void model_add(log_model *m, int64_t now)
{
    if ((m->n & (m->n - 1)) == 0) {
        m->times = realloc(m->times, (m->n ? 2 * m->n : 1) * sizeof(m->times[0]));
        assert_non_null(m->times);
    }
    m->times[m->n++] = now;
}

static int64_t random_step(uint64_t *seed, unsigned limit)
{
    switch (next_random(seed) % 8) {
    case 0:
        return 0;
    case 1:
        return 1;
    case 2:
        return (int64_t)(next_random(seed) % (uint64_t)WINDOW);
    case 3:
        return (int64_t)(next_random(seed) % 4) == 0 ? WINDOW : 1;
    default:
        return (int64_t)(next_random(seed) % (uint64_t)(WINDOW / (int64_t)limit));
    }
}

/* Up to 30 requests a window: each answer is that of the log. */
static void test_exact_like_a_log(void **state)
{
    static const unsigned limits[] = {1, 2, 3, 10, 29, 30};
    enum { ADDRESSES = 5, STEPS = 60000 };
    uint64_t seed = 1;

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        const limit_rule *r = rule(limits[i]);
        limit_shm *shm = table(4096);
        log_model models[ADDRESSES];

        memset(models, 0, sizeof(models));
        for (int step = 0; step < STEPS; step++) {
            unsigned who = (unsigned)(next_random(&seed) % ADDRESSES);
            limit_addr a = nth_addr(who);
            log_model *m = &models[who];
            limit_verdict v;
            unsigned used;

            the_clock += random_step(&seed, limits[i] * ADDRESSES);
            used = model_used(m, the_clock);
            v = ask(shm, r, &a);
            assert_int_equal(v.crowded, 0);
            assert_int_equal(v.allowed, used < limits[i]);
            if (v.allowed) {
                assert_int_equal(v.remaining, limits[i] - used - 1);
                model_add(m, the_clock);
            } else {
                int64_t wait = m->times[m->first] + WINDOW - the_clock;

                assert_int_equal(v.retry_after, (wait + SECOND - 1) / SECOND);
            }
        }
        for (int n = 0; n < ADDRESSES; n++) {
            free(models[n].times);
        }
    }
}

/* Beyond: never more than the log lets through, and a refusal only where at least N - q + 1 of N
 * have been used, q being what one cell takes. */
static void test_bounds_of_large_limits(void **state)
{
    static const unsigned limits[] = {31, 45, 59, 60, 61, 90, 100, 1000, 5000, 100000};
    uint64_t seed = 2;

    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        const unsigned n = limits[i], q = (n + LIMIT_CELLS - 1) / LIMIT_CELLS;
        const unsigned steps = n < 5000 ? 100000 : 8 * n;
        const limit_rule *r = rule(n);
        const limit_addr a = nth_addr(1);
        limit_shm *shm = table(64);
        log_model m = {NULL, 0, 0};
        unsigned refused = 0;

        for (unsigned step = 0; step < steps; step++) {
            limit_verdict v;
            unsigned used;

            /* Twice the limit, just about it, and pauses. */
            the_clock += (int64_t)(next_random(&seed) % (((step >> 12) % 2 ? 1 : 2) * WINDOW / n));
            the_clock += next_random(&seed) % (2 * n) == 0 ? random_step(&seed, n) : 0;
            v = ask(shm, r, &a);
            used = model_used(&m, the_clock);
            if (v.allowed) {
                assert_true(used < n);
                model_add(&m, the_clock);
            } else {
                assert_true(used >= n - q + 1);
                assert_in_range(v.retry_after, 1, 60);
                refused++;
            }
        }
        assert_true(refused > 0); /* or the test has not seen the border */
        free(m.times);
    }
}

static void test_clocks_of_others(void **state)
{
    const limit_rule *one = rule(3), *many = rule(60);
    const limit_addr a = nth_addr(1);
    limit_shm *shm = table(64);
    limit_verdict v;

    /* Another process read its clock a little later than we did ours, and was faster. */
    the_clock += 1000 * SECOND;
    assert_int_equal(ask_times(shm, one, &a, 2), 2);
    assert_int_equal(ask_times(shm, many, &a, 1), 1);
    the_clock -= 5;
    assert_int_equal(ask_times(shm, one, &a, 5), 1);
    v = ask(shm, one, &a);
    assert_int_equal(v.retry_after, 60);
    /* A begun cell does not go back either: its period ends a window after the later use. */
    assert_int_equal(ask_times(shm, many, &a, 99), 59);
    the_clock += WINDOW;
    assert_int_equal(ask_times(shm, one, &a, 9), 1);
    assert_int_equal(ask_times(shm, many, &a, 99), 58);
    the_clock += 5;
    assert_int_equal(ask_times(shm, one, &a, 9), 2);
    assert_int_equal(ask_times(shm, many, &a, 99), 2);
}

static void test_look_and_record(void **state)
{
    const limit_rule *r = rule(2);
    const limit_addr a = nth_addr(1);
    limit_shm *shm = table(64);
    limit_verdict v;

    for (int i = 0; i < 9; i++) {
        limit_shm_ask(shm, r, &a, the_clock, LIMIT_LOOK, &v);
        assert_true(v.allowed);
        assert_int_equal(v.remaining, 2); /* looking uses nothing */
    }
    for (int i = 0; i < 3; i++) {
        limit_shm_ask(shm, r, &a, the_clock, LIMIT_RECORD, &v);
        assert_int_equal(v.allowed, i < 2);
    }
    limit_shm_ask(shm, r, &a, the_clock, LIMIT_LOOK, &v);
    assert_false(v.allowed);
    assert_int_equal(v.retry_after, 60);
}

static void test_attach_again(void **state)
{
    const limit_rule *r = rule(3);
    const limit_addr a = nth_addr(1);
    void *base = zeroed(64 * LIMIT_SLOT_BYTES);
    limit_shm *one = limit_shm_attach(pool, base, 64, secret, shared);
    limit_shm *two;

    assert_int_equal(ask_times(one, r, &a, 2), 2);
    two = limit_shm_attach(pool, base, 64, secret, shared);
    assert_int_equal(ask_times(two, r, &a, 9), 1);
    assert_int_equal(ask_times(one, r, &a, 9), 0);
}

/* ---- when it is full ---- */

/* An address of the wanted set that was not given before. */
static limit_addr addr_in_set(limit_shm *shm, const limit_rule *r, unsigned set, unsigned *next)
{
    limit_addr a;

    do {
        a = nth_addr((*next)++);
    } while (limit_shm_set_of(shm, r, &a) != set);
    return a;
}

static void test_full_set(void **state)
{
    const limit_rule *r = rule(4);
    limit_shm *shm = table(64);
    uint64_t before = atomic_load(&shared->limit_evictions);
    limit_addr settled[LIMIT_WAYS], late, later;
    limit_verdict v;
    unsigned next = 0;

    the_clock += 1000 * SECOND;
    for (int i = 0; i < LIMIT_WAYS; i++) {
        settled[i] = addr_in_set(shm, r, 3, &next);
        assert_int_equal(ask_times(shm, r, &settled[i], 9), 4);
    }
    late = addr_in_set(shm, r, 3, &next);
    later = addr_in_set(shm, r, 3, &next);
    the_clock += WINDOW / 2;
    /* The two share what is left: together not more than one of them might have. */
    v = ask(shm, r, &late);
    assert_true(v.allowed);
    assert_true(v.crowded);
    assert_int_equal(ask_times(shm, r, &later, 2), 2);
    assert_int_equal(ask_times(shm, r, &late, 9), 1);
    v = ask(shm, r, &later);
    assert_false(v.allowed);
    assert_int_equal(v.retry_after, 60);
    assert_int_equal(atomic_load(&shared->limit_evictions) - before, 13);
    /* Nobody's place was taken for them. */
    for (int i = 0; i < LIMIT_WAYS; i++) {
        v = ask(shm, r, &settled[i]);
        assert_false(v.allowed);
        assert_false(v.crowded);
    }
    /* Half a window later places are free. Who moves there brings along what it may have used. */
    the_clock += WINDOW / 2;
    v = ask(shm, r, &late);
    assert_false(v.allowed);
    assert_false(v.crowded);
    assert_int_equal(v.retry_after, 30);
    the_clock += WINDOW / 2;
    assert_int_equal(ask_times(shm, r, &late, 9), 4);
    assert_int_equal(ask_times(shm, r, &later, 9), 4);
    assert_int_equal(atomic_load(&shared->limit_evictions) - before, 13);
}

/* Rules of other limits may use a shared budget in turn; each keeps to its own. */
static void test_full_set_of_two_rules(void **state)
{
    const limit_rule *small = rule(5), *large = rule(60);
    limit_shm *shm = table(64);
    limit_addr a;
    unsigned next = 0, of_large = 0, of_small = 0;

    the_clock += 1000 * SECOND;
    for (int i = 0; i < LIMIT_WAYS; i++) {
        a = addr_in_set(shm, small, 5, &next);
        assert_true(ask(shm, small, &a).allowed);
    }
    for (int i = 0; i < 70; i++) {
        a = addr_in_set(shm, large, 5, &next);
        of_large += (unsigned)ask(shm, large, &a).allowed;
        a = addr_in_set(shm, small, 5, &next);
        of_small += (unsigned)ask(shm, small, &a).allowed;
    }
    assert_in_range(of_small, 1, 5);
    assert_in_range(of_large, 50, 60);
}

/* Many more addresses than places, at all times: nobody gets more than the limit. */
static void test_flood(void **state)
{
    enum { ADDRESSES = 600, STEPS = 300000 };
    static const unsigned limits[] = {3, 40};
    uint64_t seed = 3, before = atomic_load(&shared->limit_evictions);

    for (int i = 0; i < 2; i++) {
        const limit_rule *r = rule(limits[i]);
        limit_shm *shm = table(64);
        log_model *models = calloc(ADDRESSES, sizeof(*models));
        unsigned busiest = 0;

        for (int step = 0; step < STEPS; step++) {
            /* Some come all the time, most of them once in a while. */
            unsigned who =
                (unsigned)(next_random(&seed) % (next_random(&seed) % 2 ? 20 : ADDRESSES));
            limit_addr a = nth_addr(who);
            unsigned used;

            the_clock += (int64_t)(next_random(&seed) % (WINDOW / 500));
            if (ask(shm, r, &a).allowed) {
                used = model_used(&models[who], the_clock);
                assert_true(used < limits[i]);
                busiest = used + 1 > busiest ? used + 1 : busiest;
                model_add(&models[who], the_clock);
            }
        }
        assert_int_equal(busiest, limits[i]);
        for (int n = 0; n < ADDRESSES; n++) {
            free(models[n].times);
        }
        free(models);
    }
    assert_true(atomic_load(&shared->limit_evictions) > before);
}

/* ---- many processes ---- */

typedef struct {
    limit_shm *shm;
    const limit_rule *rule;
    unsigned addresses;
    int64_t until;
    record *record;
} storm;

static void storm_work(void *context, unsigned number)
{
    const storm *s = context;
    uint64_t seed = 4242 + 977 * number + (uint64_t)getpid();
    limit_verdict v;

    while (limit_now() < s->until) {
        for (int i = 0; i < 64; i++) {
            unsigned who = (unsigned)(next_random(&seed) % s->addresses);
            limit_addr a = nth_addr(who);
            int64_t asked = limit_now();

            limit_shm_decide(s->shm, s->rule, &a, asked, &v);
            if (v.allowed) {
                write_down(s->record, asked, limit_now(), who);
            }
        }
        usleep(200);
    }
}

/* Places change hands all the time under those who count in them. */
static void test_places_change_hands(void **state)
{
    static const int64_t windows[] = {2000, 20000};

    for (int i = 0; i < 2; i++) {
        storm s = {table(64), rule(i ? 40 : 4), 150, limit_now() + 2 * SECOND,
                   zeroed(sizeof(record))};

        limit_shm_set_window(s.shm, windows[i]);
        run_everywhere(2, 4, storm_work, &s);
        assert_in_range(most_in_a_window(s.record, windows[i]), 1, s.rule->limit);
        assert_true(atomic_load(&s.record->n) > 1000);
        munmap(s.record, sizeof(record));
    }
}

/* ---- two processes in step ---- */

typedef struct {
    _Atomic unsigned arrived[2], turn, wrong;
    limit_shm *shm;
    const limit_rule *rule;
    const limit_addr *others;
    unsigned n_others, rounds;
    _Atomic unsigned let_through[20000];
} duel;

/* Both leave it at the same moment, give or take a few instructions, which `seed` varies. */
static void meet(duel *d, unsigned me, unsigned round, uint64_t *seed)
{
    atomic_store(&d->arrived[me], round);
    for (unsigned spins = 1; atomic_load(&d->arrived[!me]) < round; spins++) {
        if (spins % 2000 == 0) {
            sched_yield();
        }
    }
    for (volatile unsigned i = (unsigned)(next_random(seed) % 200); i > 0; i--) {
    }
}

static void newcomer_work(void *context, unsigned me)
{
    duel *d = context;
    uint64_t seed = 11 + me;

    for (unsigned i = 0; i < d->rounds; i++) {
        limit_addr a = nth_addr(i);
        limit_verdict v;

        meet(d, me, i + 1, &seed);
        limit_shm_decide(d->shm, d->rule, &a, 1000 * SECOND, &v);
        atomic_fetch_add(&d->let_through[i], (unsigned)v.allowed);
        d->wrong += (unsigned)v.crowded;
    }
}

/* An address that comes for the first time on two connections at once has one budget, not two. */
static void test_newcomer_twice(void **state)
{
    duel *d = zeroed(sizeof(*d));

    d->shm = table(65536);
    d->rule = rule(1);
    d->rounds = 20000;
    run_everywhere(2, 1, newcomer_work, d);
    assert_true(atomic_load(&d->wrong) < d->rounds / 10);
    for (unsigned i = 0; i < d->rounds; i++) {
        assert_true(atomic_load(&d->let_through[i]) <= 1);
    }
}

static void eviction_work(void *context, unsigned me)
{
    duel *d = context;
    uint64_t seed = 21 + me;
    int64_t now = 1000 * SECOND;
    const limit_addr *known = &d->others[0];
    limit_verdict first, second;

    for (unsigned i = 0; i < d->rounds; i++) {
        now += 2 * WINDOW; /* nothing that is in the set counts any more */
        meet(d, me, 2 * i + 1, &seed);
        if (me == 0) {
            limit_shm_decide(d->shm, d->rule, known, now, &first);
        } else {
            limit_shm_decide(d->shm, d->rule, &d->others[1 + i % (d->n_others - 1)], now, &first);
        }
        meet(d, me, 2 * i + 2, &seed);
        if (me == 0) {
            limit_shm_decide(d->shm, d->rule, known, now, &second);
            d->wrong += !first.allowed || second.allowed;
        }
    }
}

/* An old place is taken over in the moment in which its address counts in it again: the count
 * stands, in the old place or in another. */
static void test_taken_over_while_counting(void **state)
{
    enum { OTHERS = 60 };
    duel *d = zeroed(sizeof(*d));
    limit_addr *others = zeroed(OTHERS * sizeof(*others));
    unsigned next = 0;

    d->shm = table(64);
    d->rule = rule(1);
    d->others = others;
    d->n_others = OTHERS;
    d->rounds = 200000;
    for (int i = 0; i < OTHERS; i++) {
        others[i] = addr_in_set(d->shm, d->rule, 1, &next);
    }
    run_everywhere(2, 1, eviction_work, d);
    assert_int_equal(atomic_load(&d->wrong), 0);
}

/* Who waits for a holder that is dead or stands still waits for ever; who does not takes
 * microseconds, and a machine that stalls takes some of them for longer. */
enum { SOON = 5 * SECOND };

/* Whoever is asked for in this set needs its lock, which the child holds. */
static pid_t hold_lock(limit_shm *shm, unsigned set)
{
    _Atomic int *held = zeroed(4096);
    pid_t pid = fork_child();

    if (pid == 0) {
        if (!limit_shm_lock(shm, set)) {
            _exit(1);
        }
        atomic_store(held, 1);
        for (;;) {
            pause();
        }
    }
    while (!atomic_load(held)) {
        usleep(100);
    }
    munmap((void *)held, 4096);
    return pid;
}

static void test_killed_holder(void **state)
{
    const limit_rule *r = rule(3);
    limit_shm *shm = table(64);
    unsigned next = 0;

    for (int reaped = 0; reaped < 2; reaped++) {
        limit_addr a = addr_in_set(shm, r, 2, &next);
        pid_t pid = hold_lock(shm, 2);
        int64_t start;
        limit_verdict v;
        siginfo_t info;

        kill(pid, SIGKILL);
        /* First with the process still there as a zombie: Apache's parent looks once a second. */
        assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | (reaped ? 0 : WNOWAIT)), 0);
        start = limit_now();
        v = ask(shm, r, &a);
        assert_true(limit_now() - start < SOON);
        assert_true(v.allowed);
        assert_false(v.crowded);
        assert_int_equal(ask_times(shm, r, &a, 9), 2);
        if (!reaped) {
            waitpid(pid, NULL, 0);
        }
    }
}

/* A holder that stands still holds up nobody who has a place, and others for a tenth of a second,
 * after which they are refused: nothing is let through uncounted. */
static void test_stopped_holder(void **state)
{
    const limit_rule *r = rule(3);
    limit_shm *shm = table(64);
    unsigned next = 0;
    limit_addr known = addr_in_set(shm, r, 2, &next), fresh = addr_in_set(shm, r, 2, &next);
    limit_verdict v;
    int64_t start;
    pid_t pid;

    assert_true(ask(shm, r, &known).allowed);
    pid = hold_lock(shm, 2);
    start = limit_now();
    assert_int_equal(ask_times(shm, r, &known, 9), 2);
    assert_true(limit_now() - start < SOON);
    start = limit_now();
    v = ask(shm, r, &fresh);
    assert_in_range(limit_now() - start, 90000, 90000 + SOON);
    assert_false(v.allowed);
    assert_int_equal(v.retry_after, 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(ask_times(shm, r, &fresh, 9), 3);
}

/* Processes are killed in the middle of whatever they do, 60 times. */
static void test_killed_at_any_instruction(void **state)
{
    enum { ROUNDS = 60, WORKERS = 3, WINDOW_US = 5000 };
    storm s = {table(64), rule(4), 150, INT64_MAX, zeroed(sizeof(record))};
    _Atomic int *go = zeroed(4096);
    uint64_t seed = 5;
    unsigned next = 0;

    limit_shm_set_window(s.shm, WINDOW_US);
    atomic_store(go, 1);
    for (int round = 0; round < ROUNDS; round++) {
        pid_t pids[WORKERS];

        for (int w = 0; w < WORKERS; w++) {
            pids[w] = start_process(go, (unsigned)(round * WORKERS + w), 2, storm_work, &s);
        }
        usleep((useconds_t)(2000 + next_random(&seed) % 20000));
        for (int w = 0; w < WORKERS; w++) {
            kill(pids[w], SIGKILL);
        }
        for (int w = 0; w < WORKERS; w++) {
            waitpid(pids[w], NULL, 0);
        }
    }
    assert_true(atomic_load(&s.record->n) > 1000);
    assert_in_range(most_in_a_window(s.record, WINDOW_US), 1, 4);
    usleep(2 * WINDOW_US);
    limit_shm_set_window(s.shm, WINDOW);
    the_clock = limit_now() + WINDOW;
    for (unsigned set = 0; set < limit_shm_sets(s.shm); set++) {
        for (int i = 0; i < LIMIT_WAYS; i++) {
            limit_addr a = addr_in_set(s.shm, s.rule, set, &next);
            int64_t start = limit_now();

            assert_int_equal(ask_times(s.shm, s.rule, &a, 9), 4); /* every place can be had */
            assert_true(limit_now() - start < SOON);
        }
    }
    munmap(s.record, sizeof(record));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_like_a_log),
        cmocka_unit_test(test_bounds_of_large_limits),
        cmocka_unit_test(test_clocks_of_others),
        cmocka_unit_test(test_look_and_record),
        cmocka_unit_test(test_attach_again),
        cmocka_unit_test(test_full_set),
        cmocka_unit_test(test_full_set_of_two_rules),
        cmocka_unit_test(test_flood),
        cmocka_unit_test(test_places_change_hands),
        cmocka_unit_test(test_newcomer_twice),
        cmocka_unit_test(test_taken_over_while_counting),
        cmocka_unit_test(test_killed_holder),
        cmocka_unit_test(test_stopped_holder),
        cmocka_unit_test(test_killed_at_any_instruction),
    };
    int failed;

    kit_begin();
    the_clock = 1000 * SECOND;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    kit_end();
    return failed;
}
