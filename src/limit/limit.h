/* limit.h: how often one address may call. Rules by path pattern, a budget for each rule and
 * address, counters in shared memory (shm.c) or in Redis (redis.c).
 *
 * The promise of every backend: in no span of one window are more than N requests of one address
 * let through under one rule, by any mix of processes and threads; and who waits Retry-After
 * seconds is let through. Refused requests count for nothing. */
#ifndef BIZ_LIMIT_H
#define BIZ_LIMIT_H

#include <stdint.h>
#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_errno.h>
#include <apr_network_io.h>
#include "core/shared.h"

/* ---- rules (rules.c) ---- */

enum { LIMIT_WINDOW_SECONDS = 60, LIMIT_MAX = 100000 };

typedef struct {
    const char *pattern; /* "/api/v1/auth/login", or a prefix: "/api/v1/portal/" and a star */
    size_t prefix_len;   /* 0: the pattern is one exact path; else bytes before the star */
    unsigned limit;      /* requests a window */
    uint64_t id;         /* of the pattern, the limit and the business: the same in every process */
} limit_rule;

/* "/api/v1/portal/" and a star, "60/min" -> a rule. NULL and *why: English, what is allowed. */
limit_rule *limit_rule_parse(apr_pool_t *pool, const char *pattern, const char *rate,
                             const char **why);
/* The four rules of the owner's table, as an array of limit_rule *. */
apr_array_header_t *limit_rules_default(apr_pool_t *pool);
/* Adds a rule, in place of one with the same pattern. */
void limit_rules_add(apr_array_header_t *rules, limit_rule *rule);
/* Gives each rule its id; `business` separates virtual hosts that share one segment. */
void limit_rules_seal(apr_array_header_t *rules, const char *business);
/* The most specific rule for a normalised path: an exact one, else the longest prefix, or NULL. */
const limit_rule *limit_rule_for(const apr_array_header_t *rules, const char *path);

/* ---- addresses (key.c) ---- */

/* The bytes that stand for a caller: IPv4 whole, IPv6 its first 64 bits, IPv4 in IPv6 as IPv4. */
typedef struct {
    unsigned char bytes[16];
    unsigned len;
} limit_addr;
void limit_addr_of(const apr_sockaddr_t *sa, limit_addr *out);
/* From text (tests, bizapictl): 1, or 0 where it is no address. A zone ("%eth0") is dropped. */
int limit_addr_parse(const char *text, limit_addr *out);

/* ---- decisions ---- */

typedef struct {
    int allowed;
    unsigned retry_after; /* whole seconds, 1..60, where not allowed */
    unsigned remaining;   /* requests still free now */
    int crowded;          /* decided without a place of its own, the table being full: see below */
} limit_verdict;

/* Shared memory: `slots` slots of LIMIT_SLOT_BYTES each at `base` (aligned to 64 bytes), zeroed
 * when it was made. Seven of eight slots hold one address and rule each; which slots an address may
 * have is given by its hash. What is in use is never forgotten: an address that finds no free place
 * shares one budget with the others that found none there. Such decisions are counted in
 * biz_shared.limit_evictions and marked `crowded`; more slots are the cure. */
enum { LIMIT_SLOT_BYTES = 256, LIMIT_LAYOUT = 1, LIMIT_SLOTS_MIN = 64, LIMIT_SLOTS_MAX = 1 << 24 };

typedef struct limit_shm limit_shm;
/* `secret` keys the hash, the same in every process that shares the memory. The first call for
 * fresh memory prepares it (1 ms for 65536 slots), so call it once before the server forks. */
limit_shm *limit_shm_attach(apr_pool_t *pool, void *base, unsigned slots,
                            const unsigned char secret[16], biz_shared *shared);
/* Never fails, never waits for another process longer than it takes to notice that it died. `now`
 * is microseconds of a clock that only goes forward and is the same for all processes. */
void limit_shm_decide(limit_shm *shm, const limit_rule *rule, const limit_addr *addr, int64_t now,
                      limit_verdict *verdict);
int64_t limit_now(void); /* that clock: CLOCK_MONOTONIC */

/* Redis 5 or newer: pooled connections, one script call a decision, by the server's clock; keys
 * "bizapi:rl:{<rule>:<address>}", which expire by themselves. Falls back to nothing by itself, but
 * after a failure fails at once until a trial, twice a second, finds Redis well again.
 *
 * URL: redis://[[user]:password@]host[:port][/db], redis://password@host, or
 * redis+unix://[[user]:password@]/path/of/socket[?db=N] (unix:// is the same). What does not suit
 * an URL in user and password is written %XX. No TLS: use a tunnel. The user needs no more than
 * ~bizapi:rl:* +eval +evalsha +time +lindex +llen +lpop +rpush +del +pexpire, and +select for a
 * database other than 0. */
typedef struct limit_redis limit_redis;
const char *limit_redis_url_error(apr_pool_t *pool, const char *url);
/* Looks up the host's name (a name that moves is found again at the next graceful restart),
 * connects to nothing yet. The process must ignore SIGPIPE, as Apache does. *why holds no part of
 * the URL. */
apr_status_t limit_redis_open(limit_redis **out, apr_pool_t *pool, const char *url,
                              int max_connections, const char **why);
/* APR_SUCCESS, or what went wrong: then the caller asks the shared memory instead. Takes 200 ms at
 * most, nothing while Redis is known to be down. */
apr_status_t limit_redis_decide(limit_redis *redis, apr_pool_t *pool, const limit_rule *rule,
                                const limit_addr *addr, limit_verdict *verdict);

/* What the server uses: Redis where there is one and it answers, else the shared memory. The memory
 * counts along with Redis, so that a failure of it gives no second budget on this machine. Writes
 * the lines about a Redis that is down and a table that is crowded, once a minute. */
typedef struct limiter {
    limit_shm *shm;
    limit_redis *redis; /* or NULL */
    biz_shared *shared;
} limiter;
void limit_decide(limiter *l, apr_pool_t *pool, const limit_rule *rule, const limit_addr *addr,
                  limit_verdict *verdict);

#endif
