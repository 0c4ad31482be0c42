/* jose.c: signed tokens and their keys, the only includer of cjose. Called by auth. What a token's
 * header says is read and judged here, before the library sees a byte of it: the key and the
 * algorithm are chosen by us, never by the token. Says nothing of exp, iss or aud. */
#include "jose.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <cjose/header.h>
#include <cjose/jwk.h>
#include <cjose/jws.h>

#include "crypto.h"
#include "log.h"
#include "str.h"
#include "valid.h"

enum {
    TOKEN_MAX = 4096,
    KID_MAX = 128,
    COORDINATE_LEN = 32, /* bytes of a number of P-256 */
    SIGNATURE_LEN = 64,  /* r and s, RFC 7518 section 3.4 */
    HEADER_MEMBERS = 3,  /* alg, kid, typ */
    DEPTH_MAX = 8
};

/* Written once in biz_jwk_load(); after that threads only read it. */
struct biz_jwk {
    const char *kid, *x, *y;
    cjose_jwk_t *key;
};

static void log_failure(const char *doing, const cjose_err *err)
{
    biz_log(BIZ_LOG_ERR, 0,
            BZ(0155) "%s failed in the JOSE library: %s; check the memory that is left", doing,
            err->message ? err->message : "no reason given");
}

/* ---- keys ---- */

apr_status_t biz_jwk_generate(apr_pool_t *pool, const char *kid, const char **jwk_json)
{
    cjose_err err = {0};
    cjose_jwk_t *key = NULL;
    char *text = NULL;
    apr_status_t status = APR_EGENERAL;

    *jwk_json = NULL;
    if (!biz_valid_token(kid, 1, KID_MAX)) {
        return APR_EINVAL;
    }
    key = cjose_jwk_create_EC_random(CJOSE_JWK_EC_P_256, &err);
    if (!key || !cjose_jwk_set_kid(key, kid, strlen(kid), &err)) {
        goto leave;
    }
    text = cjose_jwk_to_json(key, true, &err);
    if (!text) {
        goto leave;
    }
    *jwk_json = apr_pstrdup(pool, text);
    status = APR_SUCCESS;
leave:
    if (status != APR_SUCCESS) {
        log_failure("making a key", &err);
    }
    if (text) {
        biz_wipe(text, strlen(text));
        free(text);
    }
    if (key) {
        cjose_jwk_release(key);
    }
    return status;
}

static apr_status_t release_key(void *data)
{
    cjose_jwk_release(data);
    return APR_SUCCESS;
}

static int is_coordinate(apr_pool_t *pool, const char *text)
{
    size_t len = 0;

    return text && biz_b64url_decode(pool, text, strlen(text), &len) && len == COORDINATE_LEN;
}

static int text_is(const biz_json *object, const char *key, const char *value)
{
    const char *text = biz_json_str(object, key);

    return text && strcmp(text, value) == 0;
}

/* The library makes the public point from the private number and does not ask whether it is the
 * one that stands beside it, and that we publish. */
static int has_its_own_point(apr_pool_t *pool, const biz_jwk *key)
{
    cjose_err err = {0};
    char *text = cjose_jwk_to_json(key->key, false, &err);
    biz_json *json;
    int same = text &&
               biz_json_parse(pool, text, strlen(text), DEPTH_MAX, &json, NULL) == APR_SUCCESS &&
               text_is(json, "x", key->x) && text_is(json, "y", key->y);

    free(text);
    return same;
}

/* Nor whether a pair that it takes can be used. */
static int signs_for_itself(apr_pool_t *pool, biz_jwk *key)
{
    biz_jwk *const keys[] = {key, NULL};
    biz_json *claims = biz_json_object(pool);
    const char *compact;

    return biz_jws_sign(pool, key, "probe", claims, &compact) == APR_SUCCESS &&
           biz_jws_verify(pool, keys, "probe", compact, &claims) == APR_SUCCESS;
}

apr_status_t biz_jwk_load(apr_pool_t *pool, const char *jwk_json, biz_jwk **out)
{
    cjose_err err = {0};
    size_t len = jwk_json ? strlen(jwk_json) : 0;
    apr_pool_t *scratch;
    biz_json *json;
    biz_jwk *key;
    apr_status_t status = APR_EINVAL;

    *out = NULL;
    if (apr_pool_create(&scratch, pool) != APR_SUCCESS) {
        return APR_ENOMEM;
    }
    if (len > TOKEN_MAX ||
        biz_json_parse(scratch, jwk_json, len, DEPTH_MAX, &json, NULL) != APR_SUCCESS ||
        !text_is(json, "kty", "EC") || !text_is(json, "crv", "P-256") ||
        (biz_json_get(json, "alg") && !text_is(json, "alg", "ES256")) ||
        !is_coordinate(scratch, biz_json_str(json, "x")) ||
        !is_coordinate(scratch, biz_json_str(json, "y")) ||
        !is_coordinate(scratch, biz_json_str(json, "d")) ||
        !biz_valid_token(biz_json_str(json, "kid"), 1, KID_MAX)) {
        goto leave;
    }
    key = apr_pcalloc(pool, sizeof(*key));
    key->key = cjose_jwk_import(jwk_json, len, &err);
    if (!key->key) {
        goto leave;
    }
    apr_pool_cleanup_register(pool, key->key, release_key, apr_pool_cleanup_null);
    key->kid = apr_pstrdup(pool, biz_json_str(json, "kid"));
    key->x = apr_pstrdup(pool, biz_json_str(json, "x"));
    key->y = apr_pstrdup(pool, biz_json_str(json, "y"));
    if (has_its_own_point(scratch, key) && signs_for_itself(scratch, key)) {
        *out = key;
        status = APR_SUCCESS;
    }
leave:
    apr_pool_destroy(scratch);
    return status;
}

const char *biz_jwk_kid(const biz_jwk *key)
{
    return key->kid;
}

biz_json *biz_jwk_public(apr_pool_t *pool, const biz_jwk *key)
{
    biz_json *json = biz_json_object(pool);

    biz_json_set_str(json, "kty", "EC");
    biz_json_set_str(json, "crv", "P-256");
    biz_json_set_str(json, "x", key->x);
    biz_json_set_str(json, "y", key->y);
    biz_json_set_str(json, "kid", key->kid);
    biz_json_set_str(json, "use", "sig");
    biz_json_set_str(json, "alg", "ES256");
    return json;
}

/* ---- signing ---- */

apr_status_t biz_jws_sign(apr_pool_t *pool, const biz_jwk *key, const char *typ, biz_json *claims,
                          const char **compact)
{
    cjose_err err = {0};
    size_t len;
    const char *payload = biz_json_text(pool, claims, &len);
    const char *text = NULL;
    cjose_jws_t *jws = NULL;
    cjose_header_t *header = cjose_header_new(&err);
    apr_status_t status = APR_EGENERAL;

    *compact = NULL;
    if (!header || !cjose_header_set(header, CJOSE_HDR_ALG, CJOSE_HDR_ALG_ES256, &err) ||
        !cjose_header_set(header, CJOSE_HDR_KID, key->kid, &err) ||
        !cjose_header_set(header, "typ", typ, &err)) {
        goto leave;
    }
    jws = cjose_jws_sign(key->key, header, (const uint8_t *)payload, len, &err);
    if (!jws || !cjose_jws_export(jws, &text, &err)) {
        goto leave;
    }
    if (strlen(text) > TOKEN_MAX) {
        status = APR_EINVAL; /* biz_jws_verify() would refuse it */
        goto leave;
    }
    *compact = apr_pstrdup(pool, text);
    status = APR_SUCCESS;
leave:
    if (status == APR_EGENERAL) {
        log_failure("signing a token", &err);
    }
    if (jws) {
        cjose_jws_release(jws);
    }
    if (header) {
        cjose_header_release(header);
    }
    return status;
}

const char *biz_jwt_rs256(apr_pool_t *pool, const char *pem, const char *kid, biz_json *claims)
{
    biz_json *header = biz_json_object(pool);
    const char *head, *payload, *text;
    const unsigned char *signature;
    size_t head_len, payload_len, len;

    biz_json_set_str(header, "alg", "RS256");
    biz_json_set_str(header, "typ", "JWT");
    if (kid) {
        biz_json_set_str(header, "kid", kid);
    }
    head = biz_json_text(pool, header, &head_len);
    payload = biz_json_text(pool, claims, &payload_len);
    text = apr_pstrcat(pool, biz_b64url(pool, head, head_len), ".",
                       biz_b64url(pool, payload, payload_len), NULL);
    signature = biz_rs256_sign(pool, pem, text, strlen(text), &len);
    return signature ? apr_pstrcat(pool, text, ".", biz_b64url(pool, signature, len), NULL) : NULL;
}

/* ---- verifying ---- */

/* One part of a token up to `end`, decoded strictly: one text for the same bytes. */
static char *decode_part(apr_pool_t *pool, const char *part, const char *end, size_t *len)
{
    return (char *)biz_b64url_decode(pool, part, (size_t)(end - part), len);
}

/* The key that a header names, NULL where the header is not exactly what we write: alg, kid, typ
 * and nothing else. So a key brought along, a list of keys, "crit" or "b64" cannot come in. */
static const biz_jwk *key_for_header(apr_pool_t *pool, biz_jwk *const *keys, const char *typ,
                                     const char *text, size_t len)
{
    const char *kid, *its_typ;
    biz_json *header;

    if (biz_json_parse(pool, text, len, 1, &header, NULL) != APR_SUCCESS ||
        biz_json_kind(header) != BIZ_JSON_OBJECT || biz_json_size(header) != HEADER_MEMBERS ||
        !text_is(header, "alg", "ES256")) {
        return NULL;
    }
    its_typ = biz_json_str(header, "typ");
    kid = biz_json_str(header, "kid");
    if (!its_typ || strcasecmp(its_typ, typ) != 0 || !kid) {
        return NULL;
    }
    for (; keys && *keys; keys++) {
        if (strcmp((*keys)->kid, kid) == 0) {
            return *keys;
        }
    }
    return NULL;
}

static int is_signed_by(const biz_jwk *key, const char *compact, size_t len)
{
    cjose_err err = {0};
    cjose_jws_t *jws = cjose_jws_import(compact, len, &err);
    int fine = jws && cjose_jws_verify(jws, key->key, &err);

    if (jws) {
        cjose_jws_release(jws);
    }
    return fine;
}

apr_status_t biz_jws_verify(apr_pool_t *pool, biz_jwk *const *keys, const char *typ,
                            const char *compact, biz_json **claims)
{
    const char *dot1, *dot2, *end;
    char *header, *payload;
    size_t len, header_len, payload_len, signature_len;
    const biz_jwk *key;
    biz_json *json;

    *claims = NULL;
    len = compact ? strnlen(compact, TOKEN_MAX + 1) : 0;
    if (len == 0 || len > TOKEN_MAX) {
        return APR_EINVAL;
    }
    end = compact + len;
    dot1 = strchr(compact, '.');
    dot2 = dot1 ? strchr(dot1 + 1, '.') : NULL;
    if (!dot2 || strchr(dot2 + 1, '.')) {
        return APR_EINVAL;
    }
    header = decode_part(pool, compact, dot1, &header_len);
    payload = decode_part(pool, dot1 + 1, dot2, &payload_len);
    if (!header || !payload || !decode_part(pool, dot2 + 1, end, &signature_len) ||
        signature_len != SIGNATURE_LEN) {
        return APR_EINVAL;
    }
    key = key_for_header(pool, keys, typ, header, header_len);
    if (!key || !is_signed_by(key, compact, len) ||
        biz_json_parse(pool, payload, payload_len, DEPTH_MAX, &json, NULL) != APR_SUCCESS ||
        biz_json_kind(json) != BIZ_JSON_OBJECT) {
        return APR_EINVAL;
    }
    *claims = json;
    return APR_SUCCESS;
}
