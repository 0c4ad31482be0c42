/* breaker.h: whether a provider is called at all, decided for all processes together.
 *
 * Closed, every call is made. Five calls in a row that failed for the provider's sake open it; then
 * none is made for 30 s, and after that one, the probe, whose outcome closes it or opens it for
 * another 30 s. A breaker is three words of shared memory, zeroed at first, and no lock: a process
 * killed at any instruction leaves one that goes on. Times are those of biz_steady_now(). */
#ifndef BIZ_BREAKER_H
#define BIZ_BREAKER_H

#include <stdatomic.h>
#include <stdint.h>

enum { BREAKER_FAILURES = 5, BREAKER_OPEN_SECONDS = 30 };

typedef struct {
    _Atomic uint32_t failures;   /* in a row, while it is closed */
    _Atomic int64_t open_until;  /* 0: closed */
    _Atomic int64_t probe_until; /* whoever probes has answered by then, or is dead; 0: nobody */
} breaker;

typedef enum { BREAKER_REFUSE, BREAKER_CALL, BREAKER_PROBE } breaker_turn;

/* Whether the caller may call now. A probe is his for `span` microseconds. What he learns he tells
 * by one of the three below. */
breaker_turn breaker_enter(breaker *b, int64_t now, int64_t span);
/* The provider has worked, whoever asked it. 1 where that closed the breaker. */
int breaker_good(breaker *b);
/* It has not. 1 where that opened the breaker, which was closed. What began before it opened does
 * not lengthen its time. */
int breaker_bad(breaker *b, breaker_turn turn, int64_t now);
/* The call says nothing about the provider. */
void breaker_leave(breaker *b, breaker_turn turn);

int breaker_is_open(const breaker *b); /* until a probe has succeeded */
/* Seconds until somebody may call again, at least 1; 0 where it is closed. */
int breaker_wait(const breaker *b, int64_t now);

#endif
