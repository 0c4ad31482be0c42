/* shared.c: the once-a-minute lines and the places for password hashes, both in memory that all
 * processes of the server share. Called by handlers and glue. Every change is one compare-and-swap:
 * there is no lock that a killed process could leave behind. */
#include "shared.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#endif

#include "str.h"
#include "time.h"

enum {
    MINUTE = 60 * APR_USEC_PER_SEC,
    WAITERS_A_PLACE = 32, /* about a second */
    STEP_USEC = 1000000,  /* after which who waits looks for places of the dead */
    CHECK_USEC = 50000
};

int biz_minute_of(_Atomic int64_t *written, _Atomic uint64_t *suppressed, uint64_t *held)
{
    /* The last time is read before the clock, so that a line another thread writes in between does
     * not look like a clock that was set back. */
    int64_t last = atomic_load(written);
    int64_t now = apr_time_now();

    if (held) {
        *held = 0;
    }
    if ((last != 0 && now >= last && now - last < MINUTE) ||
        !atomic_compare_exchange_strong(written, &last, now)) {
        atomic_fetch_add(suppressed, 1);
        return 0;
    }
    last = (int64_t)atomic_exchange(suppressed, 0);
    if (held) {
        *held = (uint64_t)last;
    }
    return 1;
}

int biz_minute(biz_shared *shared, biz_minute_line line, uint64_t *held)
{
    return biz_minute_of(&shared->minute[line], &shared->suppressed[line], held);
}

/* ---- who has a place ----
 *
 * A word is a pid (Linux has 22 bits of it at most) and above it a mark of when that process began,
 * for the number of a killed one is given to another, and its place would be held for as long as
 * that one lives. No mark, 0: not known, and the pid alone counts. */

enum { PID_BITS = 22, MARKS = 1023 };

/* The mark of a living process; 0 where the system does not tell. */
static uint32_t mark_of(pid_t pid)
{
    char path[32], text[512], *p;
    unsigned long long began;
    ssize_t len;
    int fd, field;

    snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    len = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[len > 0 ? len : 0] = '\0';
    /* The second field is the program's name, which may hold anything; `began` is the 22nd. */
    p = strrchr(text, ')');
    for (field = 2; p && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }
    if (!p) {
        return 0;
    }
    began = strtoull(p, NULL, 10);
    return (uint32_t)(began % MARKS) + 1;
}

/* The word of this process. Asked once, and by a child again. */
static uint32_t own_word(void)
{
    static _Atomic uint32_t known;
    uint32_t me = (uint32_t)getpid(), word = atomic_load(&known);

    if ((word & ((1U << PID_BITS) - 1)) != me) {
        word = mark_of((pid_t)me) << PID_BITS | me;
        atomic_store(&known, word);
    }
    return word;
}

static int is_dead(uint32_t word)
{
    pid_t pid = (pid_t)(word & ((1U << PID_BITS) - 1));
    uint32_t mark = word >> PID_BITS, now;

    if (kill(pid, 0) == -1 && errno == ESRCH) {
        return 1;
    }
    now = mark != 0 ? mark_of(pid) : 0;
    return now != 0 && now != mark;
}

/* A free word of `words`, or one whose process has died; -1 where there is none. */
int biz_place_take(_Atomic uint32_t *words, int n)
{
    const uint32_t me = own_word();

    for (int i = 0; i < n; i++) {
        uint32_t owner = atomic_load(&words[i]);

        if (owner == 0 && atomic_compare_exchange_strong(&words[i], &owner, me)) {
            return i;
        }
    }
    for (int i = 0; i < n; i++) {
        uint32_t owner = atomic_load(&words[i]);

        if ((owner == 0 || is_dead(owner)) &&
            atomic_compare_exchange_strong(&words[i], &owner, me)) {
            return i;
        }
    }
    return -1;
}

void biz_place_leave(_Atomic uint32_t *owner)
{
    uint32_t me = own_word();

    atomic_compare_exchange_strong(owner, &me, 0);
}

/* Until a place is left after the `left` so far, or the time is up, or a step is over: whose wake
 * is lost with the process that it went to waits for that. The kernel wakes in the order of coming.
 */
static void wait_a_step(biz_shared *shared, uint32_t left, int64_t time)
{
#ifdef __linux__
    const int64_t usec = time < STEP_USEC ? time : STEP_USEC;
    const struct timespec step = {usec / 1000000, usec % 1000000 * 1000};

    syscall(SYS_futex, &shared->hash_left, FUTEX_WAIT, left, &step, NULL, 0);
#else
    apr_sleep(time < CHECK_USEC ? time : CHECK_USEC);
#endif
}

static void wake_one(biz_shared *shared)
{
    atomic_fetch_add(&shared->hash_left, 1);
#ifdef __linux__
    syscall(SYS_futex, &shared->hash_left, FUTEX_WAKE, 1, NULL, NULL, 0);
#endif
}

biz_hash_room biz_hash_room_of(int processors, int threads, int processes)
{
    const int places = biz_between(1, processors, BIZ_HASH_SLOTS);
    const int waiters = biz_between(1, places * WAITERS_A_PLACE, BIZ_HASH_WAIT);

    return (biz_hash_room){places, biz_between(1, threads * processes * 2 / 3, waiters),
                           biz_between(1, threads * 2 / 3, waiters)};
}

static int all_taken(_Atomic uint32_t *words, int n, int look_for_dead)
{
    for (int i = 0; i < n; i++) {
        uint32_t owner = atomic_load(&words[i]);

        if (owner == 0 || (look_for_dead && is_dead(owner))) {
            return 0;
        }
    }
    return 1;
}

/* How many wait; of this process alone where `mine`. */
static int waiting(biz_shared *shared, const biz_hash_room *room, int mine)
{
    const uint32_t me = own_word();
    int n = 0;

    for (int i = 0; i < room->waiters; i++) {
        uint32_t owner = atomic_load(&shared->hash_waiter[i]);

        n += mine ? owner == me : owner != 0;
    }
    return n;
}

/* A flood asks this all the time: for dead ones once in CHECK_USEC. */
int biz_hash_is_full(biz_shared *shared, const biz_hash_room *room)
{
    static _Atomic int64_t looked_at;
    int64_t last = atomic_load(&looked_at), now = biz_steady_now();
    int look_for_dead =
        now - last >= CHECK_USEC && atomic_compare_exchange_strong(&looked_at, &last, now);

    return all_taken(shared->hash_owner, room->places, look_for_dead) &&
           (waiting(shared, room, 1) >= room->waiters_here ||
            all_taken(shared->hash_waiter, room->waiters, look_for_dead));
}

/* A place in the queue; -1 where it is full, or this process has too many in it. */
static int queue_up(biz_shared *shared, const biz_hash_room *room)
{
    int ticket = biz_place_take(shared->hash_waiter, room->waiters);

    if (ticket >= 0 && waiting(shared, room, 1) > room->waiters_here) {
        biz_place_leave(&shared->hash_waiter[ticket]);
        ticket = -1;
    }
    return ticket;
}

apr_status_t biz_hash_enter(biz_shared *shared, const biz_hash_room *room, apr_interval_time_t wait,
                            int *place)
{
    const int64_t deadline = biz_steady_now() + wait;
    uint32_t left = atomic_load(&shared->hash_left);
    int64_t time = wait;
    int ticket;

    /* Who comes while others wait takes nothing from them. */
    *place = waiting(shared, room, 0) ? -1 : biz_place_take(shared->hash_owner, room->places);
    if (*place < 0) {
        ticket = queue_up(shared, room);
        if (ticket < 0) {
            return APR_EAGAIN;
        }
        /* Left for somebody who has died or given up since: nobody else would say so. */
        if (!all_taken(shared->hash_owner, room->places, 1)) {
            wake_one(shared);
        }
        for (; *place < 0 && time > 0; time = deadline - biz_steady_now()) {
            wait_a_step(shared, left, time);
            left = atomic_load(&shared->hash_left);
            *place = biz_place_take(shared->hash_owner, room->places);
        }
        biz_place_leave(&shared->hash_waiter[ticket]);
    }
    if (*place < 0) {
        return APR_TIMEUP;
    }
    atomic_fetch_add(&shared->hashes, 1);
    return APR_SUCCESS;
}

void biz_hash_leave(biz_shared *shared, int place)
{
    if (place >= 0 && place < BIZ_HASH_SLOTS) {
        biz_place_leave(&shared->hash_owner[place]);
        wake_one(shared);
    }
}
