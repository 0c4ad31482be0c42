/* internal.h: what the files of src/limit share with each other and with their tests. */
#ifndef BIZ_LIMIT_INTERNAL_H
#define BIZ_LIMIT_INTERNAL_H

#include <sys/socket.h>

#include "limit.h"

/* ---- shm.c ---- */

typedef enum {
    LIMIT_DECIDE, /* count the request where it is allowed */
    LIMIT_LOOK,   /* would it be allowed? Writes nothing */
    LIMIT_RECORD  /* count a request that Redis has allowed; where the table has no room it stays
                   * uncounted rather than burdening the others */
} limit_mode;

void limit_shm_ask(limit_shm *shm, const limit_rule *rule, const limit_addr *addr, int64_t now,
                   limit_mode mode, limit_verdict *verdict);

/* For tests: another window than LIMIT_WINDOW_SECONDS, the number of the set that holds an address,
 * and the set's lock as a claimer takes it (1, or 0 where it could not be had in time). */
void limit_shm_set_window(limit_shm *shm, int64_t microseconds);
unsigned limit_shm_set_of(const limit_shm *shm, const limit_rule *rule, const limit_addr *addr);
unsigned limit_shm_sets(const limit_shm *shm);
int limit_shm_lock(limit_shm *shm, unsigned set);
void limit_shm_unlock(limit_shm *shm, unsigned set);
enum { LIMIT_WAYS = 7, LIMIT_CELLS = 30 };

/* ---- redis_url.c ---- */

typedef struct {
    const char *path; /* of a unix socket, or NULL */
    const char *host; /* without brackets */
    int port, db;
    const char *user, *password; /* or NULL */
} limit_redis_url;

/* NULL, or what is wrong with it: English, without a part of the URL, which may hold a password. */
const char *limit_redis_url_parse(apr_pool_t *pool, const char *url, limit_redis_url *out);

/* The addresses of a host; asks the name servers, so it may take seconds. */
enum { LIMIT_REDIS_PLACES = 8 };
typedef struct {
    struct sockaddr_storage addr;
    socklen_t len;
} limit_redis_place;
const char *limit_redis_places(apr_pool_t *pool, const limit_redis_url *url,
                               limit_redis_place places[LIMIT_REDIS_PLACES], int *n);

/* ---- redis.c ---- */

/* Why the last call failed: a word or two, never anything secret. */
void limit_redis_reason(limit_redis *redis, char *text, size_t size);

/* For tests. */
void limit_redis_set_window(limit_redis *redis, int64_t microseconds);
void limit_redis_set_patience(limit_redis *redis, int64_t microseconds); /* with one decision */
void limit_redis_set_places(limit_redis *redis, const limit_redis_place *places, int n);

#endif
