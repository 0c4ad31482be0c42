/* shared.h: the few words that all processes of one server share.
 *
 * The module places one `biz_shared` in memory that outlives a graceful restart; bizapictl and the
 * unit tests use one on their heap. Zeroed memory is a valid start. Nothing here is a lock: a
 * process killed at any instruction leaves nothing behind that stops the others. */
#ifndef BIZ_SHARED_H
#define BIZ_SHARED_H

#include <stdatomic.h>
#include <stdint.h>
#include <apr_pools.h>
#include <apr_time.h>

enum {
    BIZ_SHARED_MAGIC =
        0x42495a37,      /* changes with the layout: a new module never reads an old one */
    BIZ_HASH_SLOTS = 64, /* upper bound of password hashes at once, one a processor is used */
    BIZ_HASH_WAIT = 256  /* upper bound of requests that wait for one */
};

/* Lines that are written at most once a minute by the whole server. */
typedef enum {
    BIZ_MINUTE_STORE_DOWN,
    BIZ_MINUTE_STORE_BACK,
    BIZ_MINUTE_MAIL_OFF,
    BIZ_MINUTE_CHANNEL_DOWN, /* one for each of up to 8 channels of the outbox */
    BIZ_MINUTE_CHANNEL_DOWN_LAST = BIZ_MINUTE_CHANNEL_DOWN + 7,
    BIZ_MINUTE_WEBHOOK,
    BIZ_MINUTE_STRIPE_MISTAKE,
    BIZ_MINUTE_GOOGLE_MISTAKE,
    BIZ_MINUTE_VOICE_FOLDER,
    BIZ_MINUTE_REDIS_DOWN,
    BIZ_MINUTE_LIMITED, /* one for each of 16 rules, by rule id */
    BIZ_MINUTE_LIMITED_LAST = BIZ_MINUTE_LIMITED + 15,
    BIZ_MINUTE_LIMIT_FULL,
    BIZ_MINUTE_BUSY,
    BIZ_MINUTE_REMOTEIP,
    BIZ_MINUTE_DESCRIPTORS,
    BIZ_MINUTE_AUDIT,
    BIZ_MINUTE_FLOOD,
    BIZ_MINUTE_LINES
} biz_minute_line;

typedef struct {
    _Atomic uint32_t magic;
    _Atomic uint32_t hash_owner[BIZ_HASH_SLOTS]; /* biz_place_take()'s words */
    _Atomic uint32_t hash_waiter[BIZ_HASH_WAIT];
    _Atomic uint32_t hash_left; /* counts places that were left: who waits for one sleeps on it */
    _Atomic int64_t minute[BIZ_MINUTE_LINES]; /* when the line was last written, microseconds */
    _Atomic uint64_t suppressed[BIZ_MINUTE_LINES]; /* how often it was held back since */
    _Atomic int64_t touch_again_at;                /* microseconds; auth/session.h */
    _Atomic int64_t flood_minute, flood_until;     /* auth/work.h */
    _Atomic uint32_t flood_count;
    _Atomic uint32_t hash_usec; /* how long a password hash takes, lately */
    _Atomic uint64_t requests, limited, hashes, limit_evictions; /* counters for status */
} biz_shared;

/* 1 where the caller may write the line now; *held gets how many were held back before it. */
int biz_minute(biz_shared *shared, biz_minute_line line, uint64_t *held);
/* The same for a line that has its two words elsewhere in shared memory. */
int biz_minute_of(_Atomic int64_t *written, _Atomic uint64_t *suppressed, uint64_t *held);

/* One of `n` places, words that hold 0 or who has the place: a process by its number and the time
 * when it began. -1 where all are taken. Places of killed processes are found and used again, also
 * where another process has got the number since. */
int biz_place_take(_Atomic uint32_t *words, int n);
void biz_place_leave(_Atomic uint32_t *owner);

/* How many password hashes are made at once, one a processor; how many requests wait for a place:
 * for about a second, and with two thirds of all workers and of each process's at most, so that a
 * flood of sign-ins leaves workers to the others. */
typedef struct {
    int places, waiters, waiters_here;
} biz_hash_room;

biz_hash_room biz_hash_room_of(int processors, int threads, int processes);

/* A place for a password hash, in the order of coming, waiting at most `wait` for it. APR_SUCCESS
 * and *place, which counts one in `hashes`; APR_EAGAIN where too many wait already; APR_TIMEUP. */
apr_status_t biz_hash_enter(biz_shared *shared, const biz_hash_room *room, apr_interval_time_t wait,
                            int *place);
void biz_hash_leave(biz_shared *shared, int place);
/* 1 while no place is free and as many wait as may: whoever comes to this process now would be
 * refused. What killed processes hold is noticed within 50 ms. */
int biz_hash_is_full(biz_shared *shared, const biz_hash_room *room);

#endif
