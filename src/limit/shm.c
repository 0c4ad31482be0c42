/* shm.c: budgets in memory that all processes of the server share. Called for each limited request,
 * so it takes no memory and, for an address it knows, no lock.
 *
 * A set of eight slots (2048 bytes) holds seven budgets, their keys in one cache line, and one
 * budget more that the set's other addresses share when all seven are in use. A budget is 30 cells,
 * a cell is one word: time of its last use << 12 | how often it was used. With a rule of N requests
 * k = min(N, 30) cells are used, cell i up to q = N / k times (one more for the first N % k), and
 * it starts again when a window has passed since its last use. So a cell lets at most q through in
 * any span of a window, all together N; up to N = 30 this is a sliding log of N times, exact.
 * Beyond it is never more than N, and whoever asks at most N - q times in each window is never
 * refused.
 *
 * Admission is one compare-and-swap. Only who brings a new address takes the set's lock: a robust
 * mutex, which the kernel hands on when its holder is killed, at any instruction, waited for or not
 * and whatever became of its process number.
 *
 * What is in use is never forgotten to make room. A new address gets a free place, or that of an
 * address whose last use is a window past, which counts for nothing any more; where there is none,
 * the set's shared budget, which refuses too much rather than letting too much through. When a
 * place becomes free later, its new owner begins with what the shared budget shows as used. */
#include "internal.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <apr_siphash.h>

enum {
    SET_SLOTS = 8,
    COUNT_BITS = 12,
    COUNT_MASK = (1 << COUNT_BITS) - 1,
    WARM_WAYS = 2,
    LINE = 64,          /* bytes of a cache line */
    RACES = 16,         /* lost to a claimer before the lock is taken instead */
    LOCK_WAIT_MS = 100, /* its holder needs microseconds, or lacks a processor */
    YIELDS = 50,
    RETRY_SOON = 1, /* seconds, where the lock was not to be had */
    FRESH = 0,
    PREPARING = 1,
    READY = 0x425a4c01,
    PREPARE_WAIT_MS = 10000
};

#define SECOND INT64_C(1000000)

typedef struct {
    _Atomic uint64_t keys[LIMIT_WAYS]; /* 0: free. Written under the lock */
    _Atomic uint32_t state;            /* of the first set: whether the locks are made */
    uint32_t unused;
    pthread_mutex_t lock;
    unsigned char pad[128 - 64 - sizeof(pthread_mutex_t)];
    _Atomic uint64_t cells[LIMIT_WAYS + 1][LIMIT_CELLS]; /* the last: shared, under the lock */
} limit_set;

_Static_assert(sizeof(limit_set) / SET_SLOTS == LIMIT_SLOT_BYTES, "a set is eight slots");
_Static_assert(LIMIT_MAX / LIMIT_CELLS + 1 <= COUNT_MASK, "a cell can count its share");

struct limit_shm {
    limit_set *sets;
    unsigned n;
    int64_t window; /* microseconds */
    biz_shared *shared;
    unsigned char secret[APR_SIPHASH_KSIZE];
};

int64_t limit_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * SECOND + t.tv_nsec / 1000;
}

/* ---- making it ---- */

static void make_locks(limit_shm *shm)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    for (unsigned i = 0; i < shm->n; i++) {
        pthread_mutex_init(&shm->sets[i].lock, &attr);
    }
    pthread_mutexattr_destroy(&attr);
}

limit_shm *limit_shm_attach(apr_pool_t *pool, void *base, unsigned slots,
                            const unsigned char secret[16], biz_shared *shared)
{
    limit_shm *shm = apr_pcalloc(pool, sizeof(*shm));
    _Atomic uint32_t *state;

    shm->sets = base;
    shm->n = slots / SET_SLOTS;
    shm->window = LIMIT_WINDOW_SECONDS * SECOND;
    shm->shared = shared;
    memcpy(shm->secret, secret, sizeof(shm->secret));
    state = &shm->sets[0].state;
    for (int waited = 0; atomic_load(state) != READY; waited++) {
        uint32_t fresh = FRESH;

        /* Whoever began and was killed is not waited for any longer than this. */
        if (atomic_compare_exchange_strong(state, &fresh, PREPARING) || waited > PREPARE_WAIT_MS) {
            make_locks(shm);
            atomic_store(state, READY);
        } else {
            usleep(1000);
        }
    }
    return shm;
}

static int lock_set(limit_set *set)
{
    int rv = pthread_mutex_trylock(&set->lock);

    /* Asked again and again rather than waited for: it is free in a microsecond, or its holder has
     * lost its processor, and a wait with an end goes by the clock on the wall. */
    for (int tries = 0; rv == EBUSY && tries < YIELDS + LOCK_WAIT_MS; tries++) {
        if (tries < YIELDS) {
            sched_yield();
        } else {
            usleep(1000);
        }
        rv = pthread_mutex_trylock(&set->lock);
    }
    if (rv == EOWNERDEAD) {
        /* Nothing to repair: each step of a claim leaves a set that is valid. */
        rv = pthread_mutex_consistent(&set->lock);
    }
    return rv == 0;
}

/* ---- one budget ---- */

typedef struct {
    uint64_t begun,
        oldest; /* words of a cell in use with room, of the free cell used longest ago */
    unsigned begun_at, oldest_at; /* where they stand; LIMIT_CELLS: there is none */
    uint64_t soonest;             /* when the first of the used-up cells was used last */
    unsigned room;                /* requests that may still come */
} view;

typedef struct {
    _Atomic uint64_t *cell; /* NULL: nothing was counted */
    uint64_t before, after;
} mark;

static void look(const _Atomic uint64_t *cells, unsigned limit, uint64_t edge, view *v)
{
    const unsigned k = limit < LIMIT_CELLS ? limit : LIMIT_CELLS;
    const unsigned share = limit / k, extra = limit % k;

    *v = (view){0, UINT64_MAX, LIMIT_CELLS, LIMIT_CELLS, UINT64_MAX, 0};
    for (unsigned i = 0; i < k; i++) {
        const uint64_t word = atomic_load_explicit(&cells[i], memory_order_acquire);
        const uint64_t last = word >> COUNT_BITS;
        const unsigned used = word & COUNT_MASK, may = share + (i < extra);

        if (used == 0 || last <= edge) {
            v->room += may;
            if (word < v->oldest) {
                v->oldest = word;
                v->oldest_at = i;
            }
        } else if (used < may) {
            v->room += may - used;
            v->begun = word;
            v->begun_at = i;
        } else if (last < v->soonest) {
            v->soonest = last;
        }
    }
}

static void say(limit_verdict *verdict, int allowed, unsigned remaining, int64_t wait)
{
    int64_t seconds = (wait + SECOND - 1) / SECOND;

    verdict->allowed = allowed;
    verdict->remaining = remaining;
    verdict->retry_after = allowed                          ? 0
                           : seconds < 1                    ? 1
                           : seconds > LIMIT_WINDOW_SECONDS ? LIMIT_WINDOW_SECONDS
                                                            : (unsigned)seconds;
}

/* Lets one request through where the cells have room, in one step; with LIMIT_LOOK only says so. */
static void take(const limit_shm *shm, _Atomic uint64_t *cells, const limit_rule *rule, int64_t now,
                 limit_mode mode, limit_verdict *verdict, mark *done)
{
    const uint64_t at = (uint64_t)now;
    const uint64_t edge = now > shm->window ? (uint64_t)(now - shm->window) : 0;
    view v;

    done->cell = NULL;
    for (;;) {
        look(cells, rule->limit, edge, &v);
        if (v.room == 0) {
            say(verdict, 0, 0, (int64_t)v.soonest + shm->window - now);
            return;
        }
        if (mode == LIMIT_LOOK) {
            say(verdict, 1, v.room, 0);
            return;
        }
        /* A begun cell first, so that as few periods as possible run at once. Its last use may be
         * later than our clock reading, by another process: it must not go back. */
        if (v.begun_at < LIMIT_CELLS) {
            const uint64_t last = v.begun >> COUNT_BITS;

            done->before = v.begun;
            done->after = ((last > at ? last : at) << COUNT_BITS) | ((v.begun & COUNT_MASK) + 1);
        } else {
            done->before = v.oldest;
            done->after = at << COUNT_BITS | 1;
        }
        done->cell = &cells[v.begun_at < LIMIT_CELLS ? v.begun_at : v.oldest_at];
        if (atomic_compare_exchange_strong(done->cell, &(uint64_t){done->before}, done->after)) {
            say(verdict, 1, v.room - 1, 0);
            return;
        }
    }
}

/* ---- places ---- */

static uint64_t key_of(const limit_shm *shm, const limit_rule *rule, const limit_addr *addr)
{
    unsigned char text[sizeof(rule->id) + sizeof(addr->bytes)];
    uint64_t key;

    memcpy(text, &rule->id, sizeof(rule->id));
    memcpy(text + sizeof(rule->id), addr->bytes, sizeof(addr->bytes));
    key = apr_siphash24(text, sizeof(rule->id) + addr->len, shm->secret);
    return key ? key : 1;
}

static unsigned index_of(const limit_shm *shm, uint64_t key)
{
    return (unsigned)(((key >> 32) * shm->n) >> 32);
}

/* In a large table the keys and the cells are two reads of main memory, and each is most of the
 * time that a decision takes: so both are begun at once, the cells where they most likely are. */
static void warm(const limit_set *set, uint64_t key, unsigned limit)
{
    const unsigned bytes = (limit < LIMIT_CELLS ? limit : LIMIT_CELLS) * sizeof(set->cells[0][0]);

    __builtin_prefetch(set);
    for (unsigned i = 0; i < WARM_WAYS; i++) {
        const char *cells = (const char *)set->cells[(key + i) % LIMIT_WAYS];

        for (unsigned at = 0; at < bytes + LINE - 1; at += LINE) {
            __builtin_prefetch(cells + (at < bytes ? at : bytes - 1), 1);
        }
    }
}

static int find(limit_set *set, uint64_t key)
{
    int found = -1;

    /* Without a jump out: the processor could not foresee it. */
    for (int way = 0; way < LIMIT_WAYS; way++) {
        int same = atomic_load_explicit(&set->keys[way], memory_order_acquire) == key;

        found = same ? way : found;
    }
    return found;
}

/* When any cell of the budget was used last, whatever rule it belongs to. */
static int64_t newest(const _Atomic uint64_t *cells)
{
    uint64_t max = 0;

    for (int i = 0; i < LIMIT_CELLS; i++) {
        uint64_t word = atomic_load(&cells[i]);

        max = word > max ? word : max;
    }
    return (int64_t)(max >> COUNT_BITS);
}

/* A place whose key is 0: a free one, or that of an address whose last use is a window past; -1
 * where all are in use. Under the lock. Looks first where warm() will look for the key. */
static int make_room(const limit_shm *shm, limit_set *set, uint64_t key, int64_t now)
{
    for (unsigned i = 0; i < LIMIT_WAYS; i++) {
        const int way = (int)((key + i) % LIMIT_WAYS);
        uint64_t old = atomic_load(&set->keys[way]);

        if (old == 0) {
            return way;
        }
        if (newest(set->cells[way]) + shm->window > now) {
            continue;
        }
        /* Whoever counts there now without the lock looks at the key after it: either we see the
         * count here and give the place back, or the key is gone for them and they start over. */
        atomic_store(&set->keys[way], 0);
        if (newest(set->cells[way]) + shm->window <= now) {
            return way;
        }
        atomic_store(&set->keys[way], old);
    }
    return -1;
}

/* The address may have been let through on the shared budget a moment ago: what that shows as used
 * counts as its own. Under the lock, before the key can be seen. */
static void inherit(const limit_shm *shm, limit_set *set, int way, int64_t now)
{
    for (int i = 0; i < LIMIT_CELLS; i++) {
        uint64_t word = atomic_load(&set->cells[LIMIT_WAYS][i]);

        if ((word & COUNT_MASK) && (int64_t)(word >> COUNT_BITS) + shm->window > now) {
            atomic_store(&set->cells[way][i], word);
        }
    }
}

/* For an address that has no place, or lost it while it was looked at. */
static void ask_locked(limit_shm *shm, limit_set *set, uint64_t key, const limit_rule *rule,
                       int64_t now, limit_mode mode, limit_verdict *verdict)
{
    mark done;
    int way;

    if (!lock_set(set)) {
        /* Its holder is alive and stands still. Waiting on would hold up this one too. */
        verdict->crowded = 1;
        say(verdict, mode == LIMIT_RECORD, 0, RETRY_SOON * SECOND);
        return;
    }
    way = find(set, key);
    if (way < 0) {
        way = make_room(shm, set, key, now);
        if (way >= 0) {
            inherit(shm, set, way, now);
            atomic_store(&set->keys[way], key);
        }
    }
    if (way >= 0) {
        take(shm, set->cells[way], rule, now, mode, verdict, &done);
    } else {
        verdict->crowded = 1;
        if (mode == LIMIT_RECORD) {
            say(verdict, 1, 0, 0);
        } else {
            take(shm, set->cells[LIMIT_WAYS], rule, now, mode, verdict, &done);
        }
    }
    pthread_mutex_unlock(&set->lock);
}

void limit_shm_ask(limit_shm *shm, const limit_rule *rule, const limit_addr *addr, int64_t now,
                   limit_mode mode, limit_verdict *verdict)
{
    const uint64_t key = key_of(shm, rule, addr);
    limit_set *set = &shm->sets[index_of(shm, key)];

    warm(set, key, rule->limit);
    verdict->crowded = 0;
    for (int races = 0; races < RACES; races++) {
        int way = find(set, key);
        mark done;

        if (way < 0) {
            break;
        }
        take(shm, set->cells[way], rule, now, mode, verdict, &done);
        if (atomic_load(&set->keys[way]) == key) {
            return;
        }
        if (done.cell) { /* counted in what is another's place now */
            atomic_compare_exchange_strong(done.cell, &done.after, done.before);
        }
    }
    if (mode == LIMIT_LOOK) {
        say(verdict, 1, rule->limit, 0);
        return;
    }
    ask_locked(shm, set, key, rule, now, mode, verdict);
    if (verdict->crowded) {
        atomic_fetch_add_explicit(&shm->shared->limit_evictions, 1, memory_order_relaxed);
    }
}

void limit_shm_decide(limit_shm *shm, const limit_rule *rule, const limit_addr *addr, int64_t now,
                      limit_verdict *verdict)
{
    limit_shm_ask(shm, rule, addr, now, LIMIT_DECIDE, verdict);
}

/* ---- for tests ---- */

void limit_shm_set_window(limit_shm *shm, int64_t microseconds)
{
    shm->window = microseconds;
}

unsigned limit_shm_set_of(const limit_shm *shm, const limit_rule *rule, const limit_addr *addr)
{
    return index_of(shm, key_of(shm, rule, addr));
}

unsigned limit_shm_sets(const limit_shm *shm)
{
    return shm->n;
}

int limit_shm_lock(limit_shm *shm, unsigned set)
{
    return lock_set(&shm->sets[set]);
}

void limit_shm_unlock(limit_shm *shm, unsigned set)
{
    pthread_mutex_unlock(&shm->sets[set].lock);
}
