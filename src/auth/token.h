/* token.h: the two tokens of a session, as texts. No store, no request.
 *
 * Access token: a JWT signed ES256, header typ "at+jwt" (RFC 9068), 15 minutes.
 * Refresh token: "<session id>.<generation>.<secret>.<tag>". The tag is a MAC, so that a token we
 * made can be told from a guess; the successor's secret is a MAC of the token before, so that all
 * who race with one token compute the same successor and the store needs hashes alone. */
#ifndef BIZ_TOKEN_H
#define BIZ_TOKEN_H

#include <apr_pools.h>
#include <apr_time.h>
#include "keys.h"

struct biz_seen; /* seen.h */

typedef struct {
    const char *user_id, *session_id;
    apr_time_t expires_at;
} token_claims;

apr_status_t token_access_make(apr_pool_t *pool, const biz_keys *keys, const char *issuer,
                               const token_claims *claims, apr_time_t now, const char **token);
/* APR_SUCCESS, APR_EINVAL (not one of ours) or APR_TIMEUP (it has ended). A token in `seen` (which
 * may be NULL) has its signature not checked again. */
apr_status_t token_access_read(apr_pool_t *pool, const biz_keys *keys, struct biz_seen *seen,
                               const char *issuer, const char *token, apr_time_t now,
                               token_claims *claims);

/* The first refresh token of a session (generation 1). */
const char *token_refresh_first(apr_pool_t *pool, const biz_keys *keys, const char *session_id);
/* The one that follows `token`, which token_refresh_read() has accepted. */
const char *token_refresh_next(apr_pool_t *pool, const biz_keys *keys, const char *token);
/* APR_SUCCESS and the session's id, or APR_EINVAL. */
apr_status_t token_refresh_read(apr_pool_t *pool, const biz_keys *keys, const char *token,
                                const char **session_id);

#endif
