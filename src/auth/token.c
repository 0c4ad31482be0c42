/* token.c: see token.h. Called by session.c. */
#include "token.h"

#include <string.h>
#include <apr_strings.h>

#include "core/random.h"
#include "core/str.h"
#include "core/valid.h"
#include "auth.h"
#include "seen.h"

#define ACCESS_TYP "at+jwt"
enum { SECRET_LEN = 32, TAG_LEN = 16, CLOCK_LEEWAY_SECONDS = 30 };
#define LAST_SECOND INT64_C(253402300799) /* of the year 9999 */

apr_status_t token_access_make(apr_pool_t *pool, const biz_keys *keys, const char *issuer,
                               const token_claims *claims, apr_time_t now, const char **token)
{
    biz_json *json = biz_json_object(pool);

    biz_json_set_str(json, "iss", issuer);
    biz_json_set_str(json, "aud", issuer);
    biz_json_set_str(json, "sub", claims->user_id);
    biz_json_set_str(json, "sid", claims->session_id);
    biz_json_set_int(json, "iat", apr_time_sec(now));
    biz_json_set_int(json, "exp", apr_time_sec(claims->expires_at));
    biz_json_set_str(json, "jti", biz_new_id(pool, "jti"));
    return biz_jws_sign(pool, keys->jwks[0], ACCESS_TYP, json, token);
}

static int claim_is(const biz_json *claims, const char *name, const char *expected)
{
    const char *value = biz_json_str(claims, name);

    return value != NULL && !strcmp(value, expected);
}

/* How many of the pairs are good now, from the newest on. */
static size_t pairs_accepted(const biz_keys *keys, apr_time_t now)
{
    size_t n = 0;

    while (keys->jwks[n] != NULL && keys_is_accepted(keys, (int)n, now))
        n++;
    return n;
}

/* Signature, by one of the first `n` pairs, and claims of a token that was not seen before. */
static apr_status_t check_token(apr_pool_t *pool, const biz_keys *keys, size_t n,
                                const char *issuer, const char *token, apr_time_t now,
                                token_claims *claims)
{
    biz_jwk **jwks = apr_pcalloc(pool, (n + 1) * sizeof(*jwks));
    biz_json *json;
    int64_t expires, issued;

    memcpy(jwks, keys->jwks, n * sizeof(*jwks));
    if (biz_jws_verify(pool, jwks, ACCESS_TYP, token, &json) != APR_SUCCESS ||
        !claim_is(json, "iss", issuer) || !claim_is(json, "aud", issuer))
        return APR_EINVAL;
    claims->user_id = biz_json_str(json, "sub");
    claims->session_id = biz_json_str(json, "sid");
    expires = biz_json_int(json, "exp", -1);
    issued = biz_json_int(json, "iat", -1);
    if (claims->user_id == NULL || claims->session_id == NULL ||
        !biz_valid_id(claims->user_id, "usr") || !biz_valid_id(claims->session_id, "ses"))
        return APR_EINVAL;
    /* Another machine's clock may be a little ahead of ours; an end is never stretched. We give out
     * nothing that begins later. */
    if (biz_json_get(json, "nbf") != NULL || expires <= 0 || expires > LAST_SECOND || issued < 0 ||
        issued > apr_time_sec(now) + CLOCK_LEEWAY_SECONDS)
        return APR_EINVAL;
    claims->expires_at = apr_time_from_sec(expires);
    return APR_SUCCESS;
}

apr_status_t token_access_read(apr_pool_t *pool, const biz_keys *keys, struct biz_seen *seen,
                               const char *issuer, const char *token, apr_time_t now,
                               token_claims *claims)
{
    /* All businesses of the server remember in one place, and issuers may be equal: what was found
     * good with one set of keys says nothing about another, nor about what is left of the set when
     * the last token of a pair has ended. */
    size_t n = pairs_accepted(keys, now);
    const char *judge = apr_psprintf(pool, "%s %s %" APR_SIZE_T_FMT, issuer, keys->jwks_id, n);

    if (!seen_get(seen, pool, judge, token, claims)) {
        if (check_token(pool, keys, n, issuer, token, now, claims) != APR_SUCCESS)
            return APR_EINVAL;
        seen_put(seen, pool, judge, token, claims);
    }
    return claims->expires_at > now ? APR_SUCCESS : APR_TIMEUP;
}

static const char *tag_of(apr_pool_t *pool, const biz_keys *keys, const char *text, size_t len)
{
    unsigned char mac[BIZ_SHA256_LEN];
    const char *bound = apr_pstrcat(pool, "tag ", apr_pstrmemdup(pool, text, len), NULL);

    biz_hmac_sha256(keys->refresh, BIZ_KEY_LEN, bound, strlen(bound), mac);
    return biz_b64url(pool, mac, TAG_LEN);
}

static const char *refresh_text(apr_pool_t *pool, const biz_keys *keys, const char *session_id,
                                int64_t generation, const unsigned char secret[SECRET_LEN])
{
    const char *text = apr_psprintf(pool, "%s.%" APR_INT64_T_FMT ".%s", session_id, generation,
                                    biz_b64url(pool, secret, SECRET_LEN));

    return apr_pstrcat(pool, text, ".", tag_of(pool, keys, text, strlen(text)), NULL);
}

const char *token_refresh_first(apr_pool_t *pool, const biz_keys *keys, const char *session_id)
{
    unsigned char secret[SECRET_LEN];

    biz_random(secret, sizeof(secret));
    return refresh_text(pool, keys, session_id, 1, secret);
}

static int64_t generation_of(const char *token)
{
    return apr_atoi64(strchr(token, '.') + 1);
}

const char *token_refresh_next(apr_pool_t *pool, const biz_keys *keys, const char *token)
{
    unsigned char secret[BIZ_SHA256_LEN];
    const char *bound = apr_pstrcat(pool, "next ", token, NULL);
    const char *session_id = apr_pstrmemdup(pool, token, strcspn(token, "."));

    biz_hmac_sha256(keys->refresh, BIZ_KEY_LEN, bound, strlen(bound), secret);
    return refresh_text(pool, keys, session_id, generation_of(token) + 1, secret);
}

apr_status_t token_refresh_read(apr_pool_t *pool, const biz_keys *keys, const char *token,
                                const char **session_id)
{
    const char *last = strrchr(token, '.');

    *session_id = apr_pstrmemdup(pool, token, strcspn(token, "."));
    if (last == NULL || !biz_valid_id(*session_id, "ses") ||
        !biz_same_text(last + 1, tag_of(pool, keys, token, (size_t)(last - token))))
        return APR_EINVAL;
    return APR_SUCCESS;
}
