/* test_breaker.c: integrations/breaker.c by a clock of the test's own, and between processes that
 * are killed. */
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core_test.h"
#include "integrations/breaker.h"

enum { SECOND = 1000000, SPAN = 25 * SECOND };

static breaker *b;
static const int64_t start = 1000 * (int64_t)SECOND;

static int setup(void **state)
{
    b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return b == MAP_FAILED || core_setup(state) != 0;
}

static int teardown(void **state)
{
    munmap(b, sizeof(*b));
    return core_teardown(state);
}

static void fail_times(int n, int64_t now)
{
    while (n-- > 0)
        breaker_bad(b, BREAKER_CALL, now);
}

static void five_failures_in_a_row_open_it(void **state)
{
    fail_times(4, start);
    assert_int_equal(breaker_enter(b, start, SPAN), BREAKER_CALL);
    assert_false(breaker_good(b));
    fail_times(4, start);
    assert_int_equal(breaker_enter(b, start, SPAN), BREAKER_CALL);
    assert_int_equal(breaker_wait(b, start), 0);
    assert_true(breaker_bad(b, BREAKER_CALL, start));
    assert_true(breaker_is_open(b));
    assert_int_equal(breaker_enter(b, start + 1, SPAN), BREAKER_REFUSE);
    assert_int_equal(breaker_wait(b, start), 30);
    assert_int_equal(breaker_wait(b, start + 29 * SECOND + 1), 1);
    assert_int_equal(breaker_enter(b, start + 30 * SECOND - 1, SPAN), BREAKER_REFUSE);
}

static void one_probe_after_thirty_seconds(void **state)
{
    int64_t later = start + 30 * SECOND;

    fail_times(5, start);
    assert_int_equal(breaker_enter(b, later, SPAN), BREAKER_PROBE);
    assert_int_equal(breaker_enter(b, later, SPAN), BREAKER_REFUSE);
    assert_int_equal(breaker_wait(b, later), 25);
    /* It fails: another thirty seconds, another probe. */
    assert_false(breaker_bad(b, BREAKER_PROBE, later + SECOND));
    assert_int_equal(breaker_enter(b, later + 30 * SECOND, SPAN), BREAKER_REFUSE);
    later += 31 * SECOND;
    assert_int_equal(breaker_enter(b, later, SPAN), BREAKER_PROBE);
    /* It succeeds: closed, and five more are needed. */
    assert_true(breaker_good(b));
    assert_int_equal(breaker_enter(b, later, SPAN), BREAKER_CALL);
    fail_times(4, later);
    assert_false(breaker_is_open(b));
}

static void what_began_before_does_not_lengthen_it(void **state)
{
    fail_times(5, start);
    assert_false(breaker_bad(b, BREAKER_CALL, start + 20 * SECOND));
    assert_int_equal(breaker_enter(b, start + 30 * SECOND, SPAN), BREAKER_PROBE);
    assert_false(breaker_bad(b, BREAKER_CALL, start + 30 * SECOND));
    breaker_leave(b, BREAKER_CALL);
    assert_int_equal(breaker_enter(b, start + 31 * SECOND, SPAN), BREAKER_REFUSE);
    /* A probe that says nothing gives its place to the next. */
    breaker_leave(b, BREAKER_PROBE);
    assert_int_equal(breaker_enter(b, start + 31 * SECOND, SPAN), BREAKER_PROBE);
}

static void a_killed_probe_holds_nobody_up(void **state)
{
    int64_t later = start + 30 * SECOND;
    int status;
    pid_t pid;

    fail_times(5, start);
    pid = fork();
    if (pid == 0) {
        if (breaker_enter(b, later, SPAN) == BREAKER_PROBE)
            raise(SIGKILL);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(breaker_enter(b, later + SPAN - 1, SPAN), BREAKER_REFUSE);
    assert_int_equal(breaker_enter(b, later + SPAN, SPAN), BREAKER_PROBE);
}

/* Whoever dies between the count and the opening leaves it to the next failure. */
static void a_count_without_an_opening_opens_at_the_next(void **state)
{
    atomic_store(&b->failures, 5);
    assert_int_equal(breaker_enter(b, start, SPAN), BREAKER_CALL);
    assert_true(breaker_bad(b, BREAKER_CALL, start));
}

/* Eight processes at once, many rounds: one probe a round, never none. */
static void of_many_processes_one_probes(void **state)
{
    enum { PROCESSES = 8, ROUNDS = 200 };
    _Atomic int *probes = mmap(NULL, sizeof(int) * ROUNDS * 2, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    _Atomic int *arrived = probes + ROUNDS;
    pid_t pids[PROCESSES];

    fail_times(5, start);
    for (int p = 0; p < PROCESSES; p++) {
        pids[p] = fork();
        if (pids[p] != 0)
            continue;
        for (int r = 0; r < ROUNDS; r++) {
            int64_t now = start + 40 * (int64_t)SECOND * (r + 1);

            atomic_fetch_add(&arrived[r], 1);
            while (atomic_load(&arrived[r]) < PROCESSES)
                sched_yield();
            if (breaker_enter(b, now, SPAN) == BREAKER_PROBE)
                atomic_fetch_add(&probes[r], 1);
            /* All have asked before the probe of this round fails. */
            atomic_fetch_add(&arrived[r], 1);
            while (atomic_load(&arrived[r]) < 2 * PROCESSES)
                sched_yield();
            if (p == 0)
                breaker_bad(b, BREAKER_PROBE, now);
        }
        _exit(0);
    }
    for (int p = 0; p < PROCESSES; p++)
        assert_int_equal(waitpid(pids[p], NULL, 0), pids[p]);
    for (int r = 0; r < ROUNDS; r++)
        assert_int_equal(probes[r], 1);
}

static void many_open_it_once(void **state)
{
    enum { PROCESSES = 8, EACH = 1000 };
    _Atomic int *opened =
        mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[PROCESSES];

    for (int p = 0; p < PROCESSES; p++) {
        pids[p] = fork();
        if (pids[p] == 0) {
            for (int i = 0; i < EACH; i++)
                atomic_fetch_add(opened, breaker_bad(b, BREAKER_CALL, start));
            _exit(0);
        }
    }
    for (int p = 0; p < PROCESSES; p++)
        assert_int_equal(waitpid(pids[p], NULL, 0), pids[p]);
    assert_int_equal(*opened, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(five_failures_in_a_row_open_it),
        TEST(one_probe_after_thirty_seconds),
        TEST(what_began_before_does_not_lengthen_it),
        TEST(a_killed_probe_holds_nobody_up),
        TEST(a_count_without_an_opening_opens_at_the_next),
        TEST(of_many_processes_one_probes),
        TEST(many_open_it_once),
    };

    core_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
