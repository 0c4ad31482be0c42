/* client_slot.h: what all processes know about one host, in shared memory. Between client.c, which
 * calls, and client_slot.c, which keeps; nobody else includes it. */
#ifndef BIZ_CLIENT_SLOT_H
#define BIZ_CLIENT_SLOT_H

#include "breaker.h"
#include "client.h"

typedef struct {
    uint64_t fingerprint;     /* of host, base and secrets; written by the parent alone; 0: free */
    uint32_t turn;            /* of the configuration that used it last */
    _Atomic uint32_t refused; /* 401, 403: our key is no good; 0 */
    breaker breaker;
    _Atomic int64_t rest_until; /* steady */
    _Atomic int64_t next_at;    /* steady: the pace */
    _Atomic int64_t last_error_at, last_good_at;
    _Atomic uint64_t calls, failures;
    _Atomic uint32_t last_error; /* client_result << 16 | status */
    _Atomic uint32_t latency_ms; /* + 1; 0: none yet */
    _Atomic int64_t minute[3];   /* of the lines about it: see below */
    _Atomic uint64_t suppressed[3];
    _Atomic uint32_t owner[CLIENT_PLACES], waiter[CLIENT_PLACES];
} client_slot;

struct client_memory {
    _Atomic uint32_t turn;
    client_slot slots[CLIENT_SLOTS];
};

struct clients {
    const char *base[CLIENT_HOSTS]; /* NULL where there is none */
    client_slot *slot[CLIENT_HOSTS];
    int places;
};

enum { CLIENT_LINE_TROUBLE, CLIENT_LINE_REFUSED, CLIENT_LINE_REST };

#endif
