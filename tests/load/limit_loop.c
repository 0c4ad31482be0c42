/* limit_loop.c: what one decision of the limiter costs, in nanoseconds of processor time, clock
 * reading included. Prints a table: median of ROUNDS, least and most beside it. Run by `make
 * bench`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "limit/limit.h"

enum { ROUNDS = 5, MAX_PROCESSES = 2, LIVE = 1000000 };

typedef struct {
    limit_shm *shm;
    const limit_rule *rule;
    unsigned addresses; /* 1: one hot address */
    unsigned decisions;
} load;

typedef struct {
    _Atomic int ready;
    _Atomic long nanoseconds[MAX_PROCESSES];
} meeting;

static apr_pool_t *pool;
static biz_shared *shared;
static const unsigned char secret[16] = "not so secret 16";

static void *zeroed(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return p;
}

static void *last_memory;

static limit_shm *table(unsigned slots)
{
    last_memory = zeroed((size_t)slots * LIMIT_SLOT_BYTES);
    return limit_shm_attach(pool, last_memory, slots, secret, shared);
}

static const limit_rule *rule(unsigned limit)
{
    const char *why;
    limit_rule *r = limit_rule_parse(pool, "/x", apr_psprintf(pool, "%u/min", limit), &why);

    r->id = limit;
    return r;
}

static void run(const load *l, unsigned seed)
{
    limit_addr addr = {{0}, 4};
    limit_verdict v;
    unsigned n = seed;

    for (unsigned i = 0; i < l->decisions; i++) {
        /* Far from the last one, so that nothing of it is in a cache. */
        n = (unsigned)(((uint64_t)n + 7368787) % l->addresses);
        memcpy(addr.bytes, &n, sizeof(n));
        limit_shm_decide(l->shm, l->rule, &addr, limit_now(), &v);
    }
}

static long cpu(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

/* The slowest of `processes` that begin together. */
static double once(const load *l, int processes)
{
    meeting *m = zeroed(sizeof(*m));
    long worst = 0;

    for (int p = 0; p < processes; p++) {
        if (fork() == 0) {
            long start;

            run(l, 1); /* a server's child has seen its table long ago */
            atomic_fetch_add(&m->ready, 1);
            while (atomic_load(&m->ready) < processes) {
            }
            start = cpu();
            run(l, (unsigned)p * 500009);
            atomic_store(&m->nanoseconds[p], cpu() - start);
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
    for (int p = 0; p < processes; p++) {
        long ns = atomic_load(&m->nanoseconds[p]);

        worst = ns > worst ? ns : worst;
    }
    munmap(m, sizeof(*m));
    return (double)worst / l->decisions;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void row(const char *what, load l, int processes)
{
    double ns[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        ns[i] = once(&l, processes);
    }
    qsort(ns, ROUNDS, sizeof(ns[0]), by_size);
    printf("%-52s  %d  %6.0f ns  (%.0f..%.0f)\n", what, processes, ns[ROUNDS / 2], ns[0],
           ns[ROUNDS - 1]);
}

/* Each round brings addresses that were never seen, until the table is full and beyond. */
static void new_addresses(unsigned slots)
{
    const load part = {table(slots), rule(10), 0, slots / 4};
    const limit_rule *r = part.rule;
    unsigned n = 0;

    for (int i = 1; i <= ROUNDS; i++) {
        limit_addr addr = {{0}, 4};
        limit_verdict v;
        unsigned crowded = 0;
        long start = cpu();

        for (unsigned d = 0; d < part.decisions; d++, n++) {
            memcpy(addr.bytes, &n, sizeof(n));
            limit_shm_decide(part.shm, r, &addr, limit_now(), &v);
            crowded += (unsigned)v.crowded;
        }
        printf(
            "new addresses up to %3d %% of the slots                1  %6.0f ns  (%.1f %% had to "
            "share a budget)\n",
            25 * i, (double)(cpu() - start) / part.decisions, 100.0 * crowded / part.decisions);
    }
}

/* What no table of this size can be faster than: one read of a place that is in no cache. */
static void one_read(size_t bytes)
{
    double ns[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        const volatile unsigned char *memory = last_memory;
        uint64_t x =
            88172645463325252U; /* xorshift; each place depends on what the last one held */
        long start = cpu();

        for (int n = 0; n < LIVE; n++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x += memory[x % bytes] % 2;
        }
        ns[i] = (double)(cpu() - start) / LIVE;
    }
    qsort(ns, ROUNDS, sizeof(ns[0]), by_size);
    printf("one read of %3zu MiB, for comparison                   1  %6.0f ns  (%.0f..%.0f)\n",
           bytes >> 20, ns[ROUNDS / 2], ns[0], ns[ROUNDS - 1]);
}

static void live_addresses(unsigned slots)
{
    limit_shm *shm = table(slots);
    load l = {shm, rule(10), LIVE, LIVE};
    char what[80];

    run(&l, 0); /* every address is there now */
    one_read((size_t)slots * LIMIT_SLOT_BYTES);
    for (int p = 1; p <= MAX_PROCESSES; p++) {
        snprintf(what, sizeof(what), "%d live addresses of 10/min, 2^%d slots", LIVE,
                 slots == 1 << 20 ? 20 : 21);
        row(what, l, p);
    }
}

int main(void)
{
    static const unsigned limits[] = {10, 60, LIMIT_MAX};
    limit_shm *shm;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    shared = zeroed(sizeof(*shared));
    shm = table(65536);
    printf("%-52s  processes, ns a decision\n", "");
    for (int i = 0; i < 3; i++) {
        for (int p = 1; p <= MAX_PROCESSES; p++) {
            row(apr_psprintf(pool, "one hot address of %u/min", limits[i]),
                (load){shm, rule(limits[i]), 1, 2000000}, p);
        }
    }
    live_addresses(1 << 20);
    live_addresses(1 << 21);
    new_addresses(65536);
    apr_terminate();
    return 0;
}
