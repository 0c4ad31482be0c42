/* client_slot.h: what all processes know about one host, in shared memory. Between client.c, which
 * calls, and client_slot.c, which keeps; nobody else includes it. */
#ifndef BIZ_CLIENT_SLOT_H
#define BIZ_CLIENT_SLOT_H

#include "breaker.h"
#include "client.h"

/* Lines about a host that are written once a minute. */
enum { CLIENT_LINE_TROUBLE, CLIENT_LINE_REFUSED, CLIENT_LINE_REST, CLIENT_LINE_BUSY, CLIENT_LINES };

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
    _Atomic int64_t minute[CLIENT_LINES];
    _Atomic uint64_t suppressed[CLIENT_LINES];
    _Atomic uint32_t owner[CLIENT_PLACES]; /* pids of those that wait for it */
} client_slot;

struct client_memory {
    _Atomic uint32_t turn;
    _Atomic uint32_t owner[CLIENT_PLACES_ALL]; /* pids of those that wait for any host */
    client_slot slots[CLIENT_SLOTS];
};

struct clients {
    const char *base[CLIENT_HOSTS]; /* NULL where there is none */
    client_slot *slot[CLIENT_HOSTS];
    _Atomic uint32_t *owner;             /* those of the memory */
    int places, places_all, places_here; /* at one host, at all, at all for this process */
};

#endif
