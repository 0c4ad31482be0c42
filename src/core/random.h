/* random.h: unguessable bytes and ids. Failure of the system's generator ends the process: there
 * is no safe way to go on. */
#ifndef BIZ_RANDOM_H
#define BIZ_RANDOM_H

#include <apr_pools.h>
#include <apr_time.h>

void biz_random(void *out, size_t len);

/* 32 random bytes, base64url, 43 characters. */
const char *biz_random_token(apr_pool_t *pool);

/* "usr_" + 26 characters of Crockford's base 32, lower case: 48 bits of milliseconds, 80 random
 * bits, so that ids sort by time of making. `prefix` is without the underscore. */
const char *biz_new_id(apr_pool_t *pool, const char *prefix);

#endif
