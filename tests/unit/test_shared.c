/* test_shared.c: core/shared.c between threads and between processes, some of which are killed. */
#include "core_test.h"
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "core/shared.h"

enum { SECOND = APR_USEC_PER_SEC, MINUTE = 60 * SECOND };

static biz_shared *shared; /* zeroed, and the same memory in children */

static pid_t neighbour; /* a living process that is not ours */

static int setup(void **state)
{
    neighbour = fork();
    if (neighbour == 0) {
        for (;;) {
            pause();
        }
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return neighbour < 0 || shared == MAP_FAILED || core_setup(state) != 0;
}

static int teardown(void **state)
{
    kill(neighbour, SIGKILL);
    waitpid(neighbour, NULL, 0);
    munmap(shared, sizeof(*shared));
    return core_teardown(state);
}

/* ---- once a minute ---- */

static void a_line_is_written_once_a_minute(void **state)
{
    uint64_t held = 99;

    assert_true(biz_minute(shared, BIZ_MINUTE_BUSY, &held));
    assert_int_equal(held, 0);
    for (int i = 0; i < 5; i++) {
        assert_false(biz_minute(shared, BIZ_MINUTE_BUSY, &held));
    }
    /* Another line has its own minute. */
    assert_true(biz_minute(shared, BIZ_MINUTE_LIMITED, NULL));
    assert_false(biz_minute(shared, BIZ_MINUTE_LIMITED, NULL));

    atomic_fetch_sub(&shared->minute[BIZ_MINUTE_BUSY], MINUTE - 5 * SECOND);
    assert_false(biz_minute(shared, BIZ_MINUTE_BUSY, &held));
    atomic_fetch_sub(&shared->minute[BIZ_MINUTE_BUSY], 6 * SECOND);
    assert_true(biz_minute(shared, BIZ_MINUTE_BUSY, &held));
    assert_int_equal(held, 6);
    assert_false(biz_minute(shared, BIZ_MINUTE_BUSY, &held));
}

static void a_clock_that_was_set_back_does_not_silence(void **state)
{
    uint64_t held;

    assert_true(biz_minute(shared, BIZ_MINUTE_BUSY, &held));
    atomic_store(&shared->minute[BIZ_MINUTE_BUSY], apr_time_now() + 3600 * (int64_t)SECOND);
    assert_true(biz_minute(shared, BIZ_MINUTE_BUSY, &held));
    assert_false(biz_minute(shared, BIZ_MINUTE_BUSY, &held));
}

static atomic_int written;

static void *write_lines(void *data)
{
    for (int i = 0; i < 20000; i++) {
        atomic_fetch_add(&written, biz_minute(shared, BIZ_MINUTE_STORE_DOWN, NULL));
    }
    return NULL;
}

static void threads_write_it_once(void **state)
{
    pthread_t threads[8];
    uint64_t held;

    atomic_store(&written, 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, NULL), 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&written), 1);
    atomic_fetch_sub(&shared->minute[BIZ_MINUTE_STORE_DOWN], MINUTE);
    assert_true(biz_minute(shared, BIZ_MINUTE_STORE_DOWN, &held));
    assert_int_equal(held, 8 * 20000 - 1); /* none was lost in counting */
}

/* ---- places for hashes ---- */

static int words_in_use(_Atomic uint32_t *words, int n)
{
    int used = 0;

    for (int i = 0; i < n; i++) {
        used += atomic_load(&words[i]) != 0;
    }
    return used;
}

static void places_are_taken_and_given_back(void **state)
{
    int a, b, c;
    apr_time_t start;

    assert_int_equal(biz_hash_enter(shared, 2, 0, &a), APR_SUCCESS);
    assert_int_equal(biz_hash_enter(shared, 2, 0, &b), APR_SUCCESS);
    assert_int_not_equal(a, b);
    assert_in_range(a, 0, 1);
    assert_in_range(b, 0, 1);
    assert_int_equal(biz_hash_enter(shared, 2, 0, &c), APR_TIMEUP);
    start = apr_time_now();
    assert_int_equal(biz_hash_enter(shared, 2, 50000, &c), APR_TIMEUP);
    assert_in_range(apr_time_now() - start, 45000, 2000000);
    assert_int_equal(words_in_use(shared->hash_waiter, BIZ_HASH_WAIT), 0);
    biz_hash_leave(shared, a);
    assert_int_equal(biz_hash_enter(shared, 2, 0, &c), APR_SUCCESS);
    assert_int_equal(c, a);
    biz_hash_leave(shared, b);
    biz_hash_leave(shared, c);
    assert_int_equal(words_in_use(shared->hash_owner, BIZ_HASH_SLOTS), 0);
    assert_int_equal(atomic_load(&shared->hashes), 3);
}

static void a_place_of_another_is_not_given_back(void **state)
{
    int place;

    atomic_store(&shared->hash_owner[0], (uint32_t)neighbour);
    biz_hash_leave(shared, 0);
    assert_int_equal(atomic_load(&shared->hash_owner[0]), neighbour);
    biz_hash_leave(shared, -1); /* what a failed enter gave */
    biz_hash_leave(shared, BIZ_HASH_SLOTS);
    assert_int_equal(biz_hash_enter(shared, 1, 0, &place), APR_TIMEUP);
    assert_int_equal(place, -1);
}

static void numbers_out_of_range_are_bounded(void **state)
{
    int place;

    for (int i = 0; i < BIZ_HASH_SLOTS; i++) {
        assert_int_equal(biz_hash_enter(shared, 1000, 0, &place), APR_SUCCESS);
        assert_in_range(place, 0, BIZ_HASH_SLOTS - 1);
    }
    assert_int_equal(biz_hash_enter(shared, 1000, 0, &place), APR_TIMEUP);
    biz_hash_leave(shared, 0);
    assert_int_equal(biz_hash_enter(shared, 0, 0, &place), APR_SUCCESS); /* at least one */
    assert_int_equal(place, 0);
}

static void the_queue_is_four_times_the_places(void **state)
{
    int place;

    /* Our neighbour lives: it holds the only place, and three of four waiting places. */
    atomic_store(&shared->hash_owner[0], (uint32_t)neighbour);
    for (int i = 0; i < 3; i++) {
        atomic_store(&shared->hash_waiter[i], (uint32_t)neighbour);
    }
    assert_int_equal(biz_hash_enter(shared, 1, 2000, &place), APR_TIMEUP);
    assert_false(biz_hash_is_full(shared, 1));
    atomic_store(&shared->hash_waiter[3], (uint32_t)neighbour);
    assert_true(biz_hash_is_full(shared, 1));
    assert_false(biz_hash_is_full(shared, 2));
    assert_int_equal(biz_hash_enter(shared, 1, 2000, &place), APR_EAGAIN);
    assert_int_equal(place, -1);
    assert_int_equal(words_in_use(shared->hash_waiter, BIZ_HASH_WAIT), 4);
    /* A free place is taken though the queue is full. */
    atomic_store(&shared->hash_owner[0], 0);
    assert_false(biz_hash_is_full(shared, 1));
    assert_int_equal(biz_hash_enter(shared, 1, 2000, &place), APR_SUCCESS);
}

static pid_t dead_pid(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    return pid;
}

static void dead_waiters_leave_the_queue(void **state)
{
    int place, full = 1;

    atomic_store(&shared->hash_owner[0], (uint32_t)neighbour);
    for (int i = 0; i < 4; i++) {
        atomic_store(&shared->hash_waiter[i], (uint32_t)dead_pid());
    }
    for (int i = 0; i < 1000 && full; i++) {
        apr_sleep(1000);
        full = biz_hash_is_full(shared, 1);
    }
    assert_false(full);
    assert_int_equal(biz_hash_enter(shared, 1, 2000, &place), APR_TIMEUP); /* and not EAGAIN */
    assert_int_equal(words_in_use(shared->hash_waiter, BIZ_HASH_WAIT), 3);
}

enum { PID_MASK = (1 << 22) - 1 }; /* the rest of a word says when the process began */

static void wait_for(_Atomic uint32_t *word, uint32_t want)
{
    for (int i = 0; i < 5000 && (atomic_load(word) & PID_MASK) != want; i++) {
        apr_sleep(1000);
    }
    assert_int_equal(atomic_load(word) & PID_MASK, want);
}

/* The number of a killed process is another's by now: the place is free, whoever lives. */
static void a_number_that_is_used_again_holds_no_place(void **state)
{
    uint32_t own, other;
    int place;

    assert_int_equal(biz_hash_enter(shared, 1, 0, &place), APR_SUCCESS);
    own = atomic_load(&shared->hash_owner[0]);
    assert_true(own > PID_MASK);
    assert_int_equal(biz_hash_enter(shared, 1, 2000, &place), APR_TIMEUP); /* ours: it is kept */
    other = ((own >> 22) % 1023 + 1) << 22; /* another time, never 0 */
    atomic_store(&shared->hash_owner[0], other | (uint32_t)getpid());
    assert_int_equal(biz_hash_enter(shared, 1, 0, &place), APR_SUCCESS);
    assert_int_equal(atomic_load(&shared->hash_owner[0]), own);
    biz_hash_leave(shared, place);
    assert_int_equal(atomic_load(&shared->hash_owner[0]), 0);
}

static void the_place_of_a_killed_process_is_used_again(void **state)
{
    int place;
    pid_t child = fork();

    if (child == 0) {
        biz_hash_enter(shared, 1, 0, &place);
        for (;;) {
            pause();
        }
    }
    assert_true(child > 0);
    wait_for(&shared->hash_owner[0], (uint32_t)child);
    assert_int_equal(biz_hash_enter(shared, 1, 30000, &place), APR_TIMEUP); /* it lives: kept */
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(biz_hash_enter(shared, 1, 0, &place), APR_SUCCESS);
    assert_int_equal(atomic_load(&shared->hash_owner[0]) & PID_MASK, getpid());
    biz_hash_leave(shared, place);
}

static void *reap_later(void *data)
{
    apr_sleep(100000);
    kill(*(pid_t *)data, SIGKILL);
    waitpid(*(pid_t *)data, NULL, 0);
    return NULL;
}

/* The waiter is waiting already when the owner is killed. */
static void a_waiter_notices_the_death(void **state)
{
    pthread_t thread;
    apr_time_t start;
    int place;
    pid_t child = fork();

    if (child == 0) {
        biz_hash_enter(shared, 1, 0, &place);
        for (;;) {
            pause();
        }
    }
    assert_true(child > 0);
    wait_for(&shared->hash_owner[0], (uint32_t)child);
    start = apr_time_now();
    assert_int_equal(pthread_create(&thread, NULL, reap_later, &child), 0);
    assert_int_equal(biz_hash_enter(shared, 1, 10 * SECOND, &place), APR_SUCCESS);
    assert_in_range(apr_time_now() - start, 90000, 5 * SECOND);
    pthread_join(thread, NULL);
    biz_hash_leave(shared, place);
}

/* ---- all together ---- */

static _Atomic int *inside, *most; /* in shared memory */

static void *hash_often(void *data)
{
    for (int i = 0; i < 40; i++) {
        int place, now, top;

        if (biz_hash_enter(shared, 3, 20 * SECOND, &place) != APR_SUCCESS) {
            atomic_store(most, 1000);
            return NULL;
        }
        now = atomic_fetch_add(inside, 1) + 1;
        top = atomic_load(most);
        while (now > top && !atomic_compare_exchange_weak(most, &top, now)) {
        }
        apr_sleep(200);
        atomic_fetch_sub(inside, 1);
        biz_hash_leave(shared, place);
    }
    return NULL;
}

static void processes_and_threads_never_exceed_the_places(void **state)
{
    pid_t children[3];
    int status;

    inside = mmap(NULL, 2 * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(inside, MAP_FAILED);
    most = inside + 1;
    for (size_t c = 0; c < COUNT(children); c++) {
        children[c] = fork();
        if (children[c] == 0) {
            pthread_t threads[4]; /* 12 in all: as many as may wait */

            for (size_t i = 0; i < COUNT(threads); i++) {
                pthread_create(&threads[i], NULL, hash_often, NULL);
            }
            for (size_t i = 0; i < COUNT(threads); i++) {
                pthread_join(threads[i], NULL);
            }
            _exit(0);
        }
    }
    for (size_t c = 0; c < COUNT(children); c++) {
        waitpid(children[c], &status, 0);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    assert_int_equal(atomic_load(inside), 0);
    assert_in_range(atomic_load(most), 2, 3); /* together, and never a fourth */
    assert_int_equal(atomic_load(&shared->hashes), 3 * 4 * 40);
    assert_int_equal(words_in_use(shared->hash_owner, BIZ_HASH_SLOTS), 0);
    assert_int_equal(words_in_use(shared->hash_waiter, BIZ_HASH_WAIT), 0);
    munmap(inside, 2 * sizeof(int));
}

#define SHARED_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SHARED_TEST(a_line_is_written_once_a_minute),
        SHARED_TEST(a_clock_that_was_set_back_does_not_silence),
        SHARED_TEST(threads_write_it_once),
        SHARED_TEST(places_are_taken_and_given_back),
        SHARED_TEST(a_place_of_another_is_not_given_back),
        SHARED_TEST(numbers_out_of_range_are_bounded),
        SHARED_TEST(the_queue_is_four_times_the_places),
        SHARED_TEST(dead_waiters_leave_the_queue),
        SHARED_TEST(the_place_of_a_killed_process_is_used_again),
        SHARED_TEST(a_number_that_is_used_again_holds_no_place),
        SHARED_TEST(a_waiter_notices_the_death),
        SHARED_TEST(processes_and_threads_never_exceed_the_places),
    };

    core_start();
    return cmocka_run_group_tests_name("shared", tests, NULL, NULL);
}
