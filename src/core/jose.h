/* jose.h: signed tokens (RFC 7515, 7519) and their keys (RFC 7517); cjose behind it.
 * One algorithm, ES256 (RFC 7518 section 3.4). A header that names another one, or brings a key
 * (jku, jwk, x5u, x5c), is refused before anything else is looked at. */
#ifndef BIZ_JOSE_H
#define BIZ_JOSE_H

#include <apr_pools.h>
#include <apr_errno.h>
#include "json.h"

typedef struct biz_jwk biz_jwk; /* one P-256 key pair; read by many threads at once */

/* A fresh pair as JWK text with its private part, a `kid` of the caller's. */
apr_status_t biz_jwk_generate(apr_pool_t *pool, const char *kid, const char **jwk_json);
/* Lives as long as the pool. APR_EINVAL where it is no P-256 private key with a `kid`. */
apr_status_t biz_jwk_load(apr_pool_t *pool, const char *jwk_json, biz_jwk **out);
const char *biz_jwk_kid(const biz_jwk *key);
/* The public part alone, as an element of a JWK set: kty, crv, x, y, kid, use "sig", alg. */
biz_json *biz_jwk_public(apr_pool_t *pool, const biz_jwk *key);

/* Compact serialisation of `claims` with header {alg, kid, typ}. */
apr_status_t biz_jws_sign(apr_pool_t *pool, const biz_jwk *key, const char *typ, biz_json *claims,
                          const char **compact);

/* Finds the key by `kid` among `keys` (NULL-terminated), checks typ and signature and gives the
 * claims; says nothing of exp, iss or aud. APR_EINVAL for everything that is not such a token:
 * more than 4096 bytes, another alg, unknown kid, non-canonical base64url, duplicate claims. */
apr_status_t biz_jws_verify(apr_pool_t *pool, biz_jwk *const *keys, const char *typ,
                            const char *compact, biz_json **claims);

/* A token for somebody else's server, signed RS256 (RFC 7518 section 3.3) with a key in PEM, which
 * cjose does not read: header {alg, typ "JWT", kid}; `kid` may be NULL. NULL where the key is none.
 */
const char *biz_jwt_rs256(apr_pool_t *pool, const char *pem, const char *kid, biz_json *claims);

#endif
