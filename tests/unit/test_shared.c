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

/* So many hashes at once; four times as many wait. */
static const biz_hash_room *room_for(int places)
{
    static const biz_hash_room rooms[] = {{0}, {1, 4, 4}, {2, 8, 8}, {3, 12, 12}};

    return &rooms[places];
}

static void a_room_fits_the_machine_and_its_workers(void **state)
{
    biz_hash_room room = biz_hash_room_of(2, 25, 4);

    assert_int_equal(room.places, 2); /* one a processor */
    assert_int_equal(room.waiters, 64);
    assert_int_equal(room.waiters_here, 16); /* two thirds of 25 */
    room = biz_hash_room_of(2, 25, 2);
    assert_int_equal(room.waiters, 33); /* two thirds of 50 */
    room = biz_hash_room_of(2, 1, 150); /* prefork */
    assert_int_equal(room.waiters, 64);
    assert_int_equal(room.waiters_here, 1);
    room = biz_hash_room_of(1000, 64, 1000);
    assert_int_equal(room.places, BIZ_HASH_SLOTS);
    assert_int_equal(room.waiters, BIZ_HASH_WAIT);
    room = biz_hash_room_of(0, 1, 1); /* at least one of each */
    assert_int_equal(room.places, 1);
    assert_int_equal(room.waiters, 1);
    assert_int_equal(room.waiters_here, 1);
}

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

    assert_int_equal(biz_hash_enter(shared, room_for(2), 0, &a), APR_SUCCESS);
    assert_int_equal(biz_hash_enter(shared, room_for(2), 0, &b), APR_SUCCESS);
    assert_int_not_equal(a, b);
    assert_in_range(a, 0, 1);
    assert_in_range(b, 0, 1);
    assert_int_equal(biz_hash_enter(shared, room_for(2), 0, &c), APR_TIMEUP);
    start = apr_time_now();
    assert_int_equal(biz_hash_enter(shared, room_for(2), 50000, &c), APR_TIMEUP);
    assert_in_range(apr_time_now() - start, 45000, 2000000);
    assert_int_equal(words_in_use(shared->hash_waiter, BIZ_HASH_WAIT), 0);
    biz_hash_leave(shared, a);
    assert_int_equal(biz_hash_enter(shared, room_for(2), 0, &c), APR_SUCCESS);
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
    assert_int_equal(biz_hash_enter(shared, room_for(1), 0, &place), APR_TIMEUP);
    assert_int_equal(place, -1);
}

static void the_queue_has_an_end(void **state)
{
    int place;

    /* Our neighbour lives: it holds the only place, and three of four waiting places. */
    atomic_store(&shared->hash_owner[0], (uint32_t)neighbour);
    for (int i = 0; i < 3; i++) {
        atomic_store(&shared->hash_waiter[i], (uint32_t)neighbour);
    }
    assert_int_equal(biz_hash_enter(shared, room_for(1), 2000, &place), APR_TIMEUP);
    assert_false(biz_hash_is_full(shared, room_for(1)));
    atomic_store(&shared->hash_waiter[3], (uint32_t)neighbour);
    assert_true(biz_hash_is_full(shared, room_for(1)));
    assert_false(biz_hash_is_full(shared, room_for(2)));
    assert_int_equal(biz_hash_enter(shared, room_for(1), 2000, &place), APR_EAGAIN);
    assert_int_equal(place, -1);
    assert_int_equal(words_in_use(shared->hash_waiter, BIZ_HASH_WAIT), 4);
    /* A place that has just been left is theirs who wait. */
    atomic_store(&shared->hash_owner[0], 0);
    assert_false(biz_hash_is_full(shared, room_for(1)));
    assert_int_equal(biz_hash_enter(shared, room_for(1), 2000, &place), APR_EAGAIN);
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

/* The others of this process are for other requests. */
static void a_process_waits_with_a_part_of_its_workers(void **state)
{
    const biz_hash_room room = {1, 8, 2};
    int place;

    assert_int_equal(biz_hash_enter(shared, &room, 0, &place), APR_SUCCESS);
    atomic_store(&shared->hash_waiter[0], atomic_load(&shared->hash_owner[0]));
    assert_int_equal(biz_hash_enter(shared, &room, 2000, &place), APR_TIMEUP);
    assert_false(biz_hash_is_full(shared, &room));
    atomic_store(&shared->hash_waiter[1], atomic_load(&shared->hash_owner[0]));
    assert_true(biz_hash_is_full(shared, &room));
    assert_int_equal(biz_hash_enter(shared, &room, 2000, &place), APR_EAGAIN);
    assert_int_equal(words_in_use(shared->hash_waiter, BIZ_HASH_WAIT),
                     2); /* its own is given back */
    atomic_store(&shared->hash_waiter[1], (uint32_t)neighbour);
    assert_int_equal(biz_hash_enter(shared, &room, 2000, &place), APR_TIMEUP);
}

/* Nobody leaves a place for those behind one who died while he waited. */
static void who_died_in_the_queue_holds_nobody_up(void **state)
{
    apr_time_t start = apr_time_now();
    int place;

    atomic_store(&shared->hash_waiter[0], (uint32_t)dead_pid());
    assert_int_equal(biz_hash_enter(shared, room_for(1), 10 * SECOND, &place), APR_SUCCESS);
    assert_true(apr_time_now() - start < SECOND / 2);
    atomic_store(&shared->hash_owner[0], (uint32_t)dead_pid());
    assert_int_equal(biz_hash_enter(shared, room_for(1), 10 * SECOND, &place), APR_SUCCESS);
    assert_true(apr_time_now() - start < SECOND / 2);
    biz_hash_leave(shared, place);
}

enum { IN_LINE = 6 };
static _Atomic int served, served_as[IN_LINE];

static void *stand_in_line(void *data)
{
    int place;

    if (biz_hash_enter(shared, room_for(2), 20 * SECOND, &place) == APR_SUCCESS) {
        atomic_store(&served_as[(intptr_t)data], atomic_fetch_add(&served, 1));
        apr_sleep(2000); /* the next one is served after this one has said so */
        biz_hash_leave(shared, place);
    }
    return NULL;
}

/* Else who has bad luck waits until the time is up, while others come and go. Who has waited for a
 * second stands behind anew: where the machine stalls for as long the test is played again. */
static void who_comes_first_is_served_first(void **state)
{
    apr_time_t begin = apr_time_now();
    pthread_t threads[IN_LINE];
    int first, second, in_line = 1;

    atomic_store(&served, 0);
    assert_int_equal(biz_hash_enter(shared, room_for(2), 0, &first), APR_SUCCESS);
    assert_int_equal(biz_hash_enter(shared, room_for(2), 0, &second), APR_SUCCESS);
    for (int i = 0; i < IN_LINE; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, stand_in_line, (void *)(intptr_t)i), 0);
        for (int tries = 0; tries < 5000 && words_in_use(shared->hash_waiter, BIZ_HASH_WAIT) <= i;
             tries++) {
            apr_sleep(1000);
        }
        apr_sleep(50000); /* it sleeps by now */
    }
    biz_hash_leave(shared, first); /* one place for all six */
    for (int i = 0; i < IN_LINE; i++) {
        pthread_join(threads[i], NULL);
        in_line &= atomic_load(&served_as[i]) == i;
    }
    biz_hash_leave(shared, second);
    if (!in_line && apr_time_now() - begin > SECOND * 4 / 5) {
        who_comes_first_is_served_first(state);
        return;
    }
    assert_true(in_line);
    assert_int_equal(words_in_use(shared->hash_owner, BIZ_HASH_SLOTS), 0);
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
        full = biz_hash_is_full(shared, room_for(1));
    }
    assert_false(full);
    assert_int_equal(biz_hash_enter(shared, room_for(1), 2000, &place),
                     APR_TIMEUP); /* and not EAGAIN */
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

    assert_int_equal(biz_hash_enter(shared, room_for(1), 0, &place), APR_SUCCESS);
    own = atomic_load(&shared->hash_owner[0]);
    assert_true(own > PID_MASK);
    assert_int_equal(biz_hash_enter(shared, room_for(1), 2000, &place),
                     APR_TIMEUP);           /* ours: it is kept */
    other = ((own >> 22) % 1023 + 1) << 22; /* another time, never 0 */
    atomic_store(&shared->hash_owner[0], other | (uint32_t)getpid());
    assert_int_equal(biz_hash_enter(shared, room_for(1), 0, &place), APR_SUCCESS);
    assert_int_equal(atomic_load(&shared->hash_owner[0]), own);
    biz_hash_leave(shared, place);
    assert_int_equal(atomic_load(&shared->hash_owner[0]), 0);
}

static void the_place_of_a_killed_process_is_used_again(void **state)
{
    int place;
    pid_t child = fork();

    if (child == 0) {
        biz_hash_enter(shared, room_for(1), 0, &place);
        for (;;) {
            pause();
        }
    }
    assert_true(child > 0);
    wait_for(&shared->hash_owner[0], (uint32_t)child);
    assert_int_equal(biz_hash_enter(shared, room_for(1), 30000, &place),
                     APR_TIMEUP); /* it lives: kept */
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(biz_hash_enter(shared, room_for(1), 0, &place), APR_SUCCESS);
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
        biz_hash_enter(shared, room_for(1), 0, &place);
        for (;;) {
            pause();
        }
    }
    assert_true(child > 0);
    wait_for(&shared->hash_owner[0], (uint32_t)child);
    start = apr_time_now();
    assert_int_equal(pthread_create(&thread, NULL, reap_later, &child), 0);
    assert_int_equal(biz_hash_enter(shared, room_for(1), 10 * SECOND, &place), APR_SUCCESS);
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

        if (biz_hash_enter(shared, room_for(3), 20 * SECOND, &place) != APR_SUCCESS) {
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
        SHARED_TEST(a_room_fits_the_machine_and_its_workers),
        SHARED_TEST(the_queue_has_an_end),
        SHARED_TEST(a_process_waits_with_a_part_of_its_workers),
        SHARED_TEST(who_died_in_the_queue_holds_nobody_up),
        SHARED_TEST(who_comes_first_is_served_first),
        SHARED_TEST(dead_waiters_leave_the_queue),
        SHARED_TEST(the_place_of_a_killed_process_is_used_again),
        SHARED_TEST(a_number_that_is_used_again_holds_no_place),
        SHARED_TEST(a_waiter_notices_the_death),
        SHARED_TEST(processes_and_threads_never_exceed_the_places),
    };

    core_start();
    return cmocka_run_group_tests_name("shared", tests, NULL, NULL);
}
