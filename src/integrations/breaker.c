/* breaker.c: see breaker.h. Called by client.c. The words are written in an order that leaves a
 * valid breaker wherever the writer dies; what two writers can do to each other is said there. */
#include "breaker.h"

enum { SECOND = 1000000 };

breaker_turn breaker_enter(breaker *b, int64_t now, int64_t span)
{
    int64_t open = atomic_load(&b->open_until), probe;

    if (open == 0)
        return BREAKER_CALL;
    if (now < open)
        return BREAKER_REFUSE;
    probe = atomic_load(&b->probe_until);
    if (now < probe || !atomic_compare_exchange_strong(&b->probe_until, &probe, now + span))
        return BREAKER_REFUSE;
    /* Another probe may have ended between the two looks. */
    if (atomic_load(&b->open_until) == open)
        return BREAKER_PROBE;
    atomic_store(&b->probe_until, 0);
    return atomic_load(&b->open_until) == 0 ? BREAKER_CALL : BREAKER_REFUSE;
}

int breaker_good(breaker *b)
{
    int was_open;

    atomic_store(&b->failures, 0);
    was_open = atomic_exchange(&b->open_until, 0) != 0;
    atomic_store(&b->probe_until, 0);
    return was_open;
}

int breaker_bad(breaker *b, breaker_turn turn, int64_t now)
{
    const int64_t until = now + (int64_t)BREAKER_OPEN_SECONDS * SECOND;
    int64_t open = 0;

    if (turn == BREAKER_PROBE) {
        /* Open anew before the place is given up: else a second probe would slip in. */
        atomic_store(&b->open_until, until);
        atomic_store(&b->probe_until, 0);
        return 0;
    }
    /* The count stays at its height when its writer dies before he opens: the next one does it. */
    return atomic_fetch_add(&b->failures, 1) + 1 >= BREAKER_FAILURES &&
           atomic_compare_exchange_strong(&b->open_until, &open, until);
}

void breaker_leave(breaker *b, breaker_turn turn)
{
    if (turn == BREAKER_PROBE)
        atomic_store(&b->probe_until, 0);
}

int breaker_is_open(const breaker *b)
{
    return atomic_load(&b->open_until) != 0;
}

int breaker_wait(const breaker *b, int64_t now)
{
    int64_t until = atomic_load(&b->open_until), probe = atomic_load(&b->probe_until);

    if (until == 0)
        return 0;
    until = probe > until ? probe : until;
    return until - now <= SECOND ? 1 : (int)((until - now + SECOND - 1) / SECOND);
}
