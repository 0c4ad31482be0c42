/* test_token.c: what stands behind "Bearer " and in "refresh_token", against keys that never
 * change: what is accepted must be one of the tokens that were made with them. */
#include "fuzz.h"

#include "auth/seen.h"
#include "auth/token.h"
#include "core/str.h"
#include "core/valid.h"

#define ISSUER "https://portal.example.com"
#define NOW apr_time_from_sec(1790000000)

/* The key pair of RFC 7515 appendix A.3. */
static const char jwk[] = "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"rfc\","
                          "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
                          "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\","
                          "\"d\":\"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI\"}";
static const char user[] = "usr_01m85e3a4vbk11nxswja4b6cqn";
static const char session[] = "ses_01m85e3a4vbk11nxswja4b6cqn";

static biz_keys *keys_of_the_target(void)
{
    static biz_keys *keys;

    if (keys == NULL) {
        apr_pool_t *pool = fuzz_forever();

        keys = apr_pcalloc(pool, sizeof(*keys));
        keys->jwks = apr_pcalloc(pool, 2 * sizeof(*keys->jwks));
        FUZZ_CHECK(biz_jwk_load(pool, jwk, &keys->jwks[0]) == APR_SUCCESS);
        memset(keys->refresh, 7, sizeof(keys->refresh));
        keys->jwks_json = "{}";
        keys->jwks_id = "of nothing";
    }
    return keys;
}

static biz_seen *memory(void)
{
    static biz_seen *seen;

    if (seen == NULL)
        seen = apr_pcalloc(fuzz_forever(), (apr_size_t)SEEN_SLOTS * SEEN_SLOT_BYTES);
    return seen;
}

/* Everything that a token of ours may be the beginning of: flips of one byte, cuts, pieces. */
static const char *changed(apr_pool_t *pool, const char *token, const uint8_t *data, size_t size)
{
    size_t len = strlen(token);
    char *copy = apr_pstrdup(pool, token);

    for (size_t i = 0; i + 2 < size; i += 3)
        copy[((size_t)data[i] << 8 | data[i + 1]) % len] ^= (char)(data[i + 2] & 0x7f);
    return copy;
}

static void check_access(apr_pool_t *pool, const char *token, const char *good)
{
    token_claims claims = {0};
    apr_status_t status =
        token_access_read(pool, keys_of_the_target(), NULL, ISSUER, token, NOW, &claims);

    if (status == APR_SUCCESS || status == APR_TIMEUP) {
        FUZZ_CHECK(good == NULL || !strcmp(token, good));
        FUZZ_CHECK(biz_valid_id(claims.user_id, "usr") && biz_valid_id(claims.session_id, "ses"));
    } else {
        FUZZ_CHECK(status == APR_EINVAL);
    }
    /* The memory of tokens says the same as the signature, the first time and the second. */
    for (int i = 0; i < 2; i++)
        FUZZ_CHECK(token_access_read(pool, keys_of_the_target(), memory(), ISSUER, token, NOW,
                                     &claims) == status);
}

static void check_refresh(apr_pool_t *pool, const char *token, const char *good)
{
    const char *id = NULL;

    if (token_refresh_read(pool, keys_of_the_target(), token, &id) == APR_SUCCESS) {
        FUZZ_CHECK(good == NULL || !strcmp(token, good));
        FUZZ_CHECK(biz_valid_id(id, "ses"));
        FUZZ_CHECK(token_refresh_next(pool, keys_of_the_target(), token) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *access, *refresh;
    apr_pool_t *pool = fuzz_pool();
    const char *text = fuzz_text(pool, data, size);
    token_claims claims = {user, session, NOW + apr_time_from_sec(900)};
    size_t len;

    if (access == NULL) {
        token_access_make(fuzz_forever(), keys_of_the_target(), ISSUER, &claims, NOW, &access);
        refresh = token_refresh_first(fuzz_forever(), keys_of_the_target(), session);
    }
    check_access(pool, text, NULL);
    check_refresh(pool, text, NULL);
    check_access(pool, changed(pool, access, data, size), access);
    check_refresh(pool, changed(pool, refresh, data, size), refresh);
    biz_b64url_decode(pool, text, strlen(text), &len);
    return 0;
}
