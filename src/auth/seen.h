/* seen.h: access tokens whose signature was checked already, remembered in memory that all
 * processes share, so that a signature (100 us, as much as a whole request) is not checked twice.
 * Says nothing of whether the session still lives: that is asked of the store each time. */
#ifndef BIZ_SEEN_H
#define BIZ_SEEN_H

#include <stddef.h>
#include "token.h"

enum { SEEN_SLOTS = 16384, SEEN_SLOT_BYTES = 128 };

typedef struct biz_seen biz_seen; /* SEEN_SLOTS slots of SEEN_SLOT_BYTES, zeroed when made */

/* 1 and the claims where exactly this token was remembered for this judge: a line that names
 * whoever checked it, issuer and keys. Its end is the caller's to check. `seen` may be NULL:
 * nothing is remembered. */
int seen_get(biz_seen *seen, apr_pool_t *pool, const char *judge, const char *token,
             token_claims *claims);
void seen_put(biz_seen *seen, apr_pool_t *pool, const char *judge, const char *token,
              const token_claims *claims);

#endif
