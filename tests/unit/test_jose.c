/* test_jose.c: core/jose.c; the key of RFC 7515 appendix A.3, the acceptance rows K-1 to K-8 as far
 * as the form of a token decides them. Forged tokens carry right signatures, made with OpenSSL: so
 * each is refused for what its header or payload says, and not for the signature. */
#include "core_test.h"
#include <pthread.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include "core/jose.h"
#include "core/str.h"

#define X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define D "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
#define JWK(kid, x, y, d)                                                                          \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"" kid "\",\"x\":\"" x "\",\"y\":\"" y             \
    "\",\"d\":\"" d "\"}"

/* The example of the RFC, whose header has neither kid nor typ, and a token that another
 * implementation (PyJWT) has made with the same key. */
static const char of_the_rfc[] =
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLm"
    "NvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmW"
    "QxfKTUJqPP3-Kg6NU1Q";
static const char of_others[] =
    "eyJhbGciOiJFUzI1NiIsImtpZCI6InJmYyIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJ1c3JfMSIsImV4cCI6MTc5Mj"
    "kxNTIwMH0.AeQ7T0Oh0WjIhC1hJl9ra1El2cLdrx176mALSAUgbhIEPaXY_X61RsEroNl6yJ3vu65zSuprgUnLXDdPWt"
    "5bRg";

static biz_jwk *key;
static biz_jwk *keys[3];

static int setup(void **state)
{
    const char *other;

    if (core_setup(state) != 0 || biz_jwk_generate(pool, "other", &other) != APR_SUCCESS ||
        biz_jwk_load(pool, other, &keys[0]) != APR_SUCCESS ||
        biz_jwk_load(pool, JWK("rfc", X, Y, D), &key) != APR_SUCCESS) {
        return 1;
    }
    keys[1] = key;
    keys[2] = NULL;
    return 0;
}

/* ---- an OpenSSL of its own, for forging and for checking ---- */

static EVP_PKEY *openssl_key(void)
{
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *out = NULL;
    OSSL_PARAM *params;
    unsigned char point[65] = {4};
    size_t len;
    BIGNUM *d;

    memcpy(point + 1, biz_b64url_decode(pool, X, 43, &len), 32);
    memcpy(point + 33, biz_b64url_decode(pool, Y, 43, &len), 32);
    d = BN_bin2bn(biz_b64url_decode(pool, D, 43, &len), 32, NULL);
    OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
    OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point));
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, d);
    params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_fromdata_init(ctx);
    assert_int_equal(EVP_PKEY_fromdata(ctx, &out, EVP_PKEY_KEYPAIR, params), 1);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(ctx);
    BN_free(d);
    return out;
}

static const char *b64(const char *text)
{
    return biz_b64url(pool, text, strlen(text));
}

static const char *sign_parts(const char *header, const char *payload)
{
    const char *input = apr_pstrcat(pool, header, ".", payload, NULL);
    unsigned char der[128], raw[64];
    const unsigned char *at = der;
    size_t len = sizeof(der);
    EVP_PKEY *pkey = openssl_key();
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ECDSA_SIG *sig;

    assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, pkey), 1);
    assert_int_equal(EVP_DigestSign(ctx, der, &len, (const unsigned char *)input, strlen(input)),
                     1);
    sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32);
    ECDSA_SIG_free(sig);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return apr_pstrcat(pool, input, ".", biz_b64url(pool, raw, sizeof(raw)), NULL);
}

static const char *forge(const char *header, const char *payload)
{
    return sign_parts(b64(header), b64(payload));
}

static int openssl_accepts(const char *token)
{
    const char *dot = strrchr(token, '.');
    ECDSA_SIG *sig = ECDSA_SIG_new();
    unsigned char *der = NULL;
    EVP_PKEY *pkey = openssl_key();
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t len;
    unsigned char *raw = biz_b64url_decode(pool, dot + 1, strlen(dot + 1), &len);
    int der_len, fine;

    assert_int_equal(len, 64);
    ECDSA_SIG_set0(sig, BN_bin2bn(raw, 32, NULL), BN_bin2bn(raw + 32, 32, NULL));
    der_len = i2d_ECDSA_SIG(sig, &der);
    EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, pkey);
    fine = EVP_DigestVerify(ctx, der, (size_t)der_len, (const unsigned char *)token,
                            (size_t)(dot - token)) == 1;
    OPENSSL_free(der);
    ECDSA_SIG_free(sig);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(pkey);
    return fine;
}

#define HEADER "{\"alg\":\"ES256\",\"kid\":\"rfc\",\"typ\":\"at+jwt\"}"

static int accepted(const char *token)
{
    biz_json *claims = (biz_json *)&token;
    apr_status_t status = biz_jws_verify(pool, keys, "at+jwt", token, &claims);

    if (status == APR_SUCCESS) {
        assert_int_equal(biz_json_kind(claims), BIZ_JSON_OBJECT);
        return 1;
    }
    assert_int_equal(status, APR_EINVAL);
    assert_null(claims);
    return 0;
}

static void refused(const char *token)
{
    if (accepted(token)) {
        fail_msg("accepted: %s", token ? token : "NULL");
    }
}

/* ---- signing ---- */

static void what_we_sign_others_verify(void **state)
{
    biz_json *claims = biz_json_object(pool), *back;
    const char *token, *dot;
    size_t len;

    biz_json_set_str(claims, "sub", "usr_1");
    biz_json_set_int(claims, "exp", 1792915200);
    for (int i = 0; i < 50; i++) { /* r and s with leading zeros come by */
        assert_int_equal(biz_jws_sign(pool, key, "at+jwt", claims, &token), APR_SUCCESS);
        assert_true(openssl_accepts(token));
        assert_int_equal(biz_jws_verify(pool, keys, "at+jwt", token, &back), APR_SUCCESS);
    }
    assert_string_equal(biz_json_text(pool, back, NULL), "{\"sub\":\"usr_1\",\"exp\":1792915200}");
    dot = strchr(token, '.');
    assert_string_equal((const char *)biz_b64url_decode(pool, token, (size_t)(dot - token), &len),
                        HEADER);
}

static void what_others_sign_we_verify(void **state)
{
    biz_json *claims;

    assert_int_equal(biz_jws_verify(pool, keys, "at+jwt", of_others, &claims), APR_SUCCESS);
    assert_string_equal(biz_json_str(claims, "sub"), "usr_1");
    assert_int_equal(biz_json_int(claims, "exp", 0), 1792915200);
    assert_true(accepted(forge(HEADER, "{}")));
    assert_true(accepted(forge("{\"typ\":\"AT+JWT\",\"kid\":\"rfc\",\"alg\":\"ES256\"}", "{}")));
    assert_true(openssl_accepts(of_the_rfc));
    refused(of_the_rfc); /* rightly signed, but it says neither which key nor what it is */
}

static void tokens_are_never_longer_than_4096_bytes(void **state)
{
    biz_json *claims = biz_json_object(pool);
    char *filler = apr_pcalloc(pool, 8000);
    const char *token, *longest = NULL;
    int refusals = 0;

    for (int n = 2800; n < 3100; n++) {
        memset(filler, 'a', (size_t)n);
        biz_json_set_str(claims, "x", filler);
        if (biz_jws_sign(pool, key, "at+jwt", claims, &token) == APR_SUCCESS) {
            longest = token;
            assert_true(strlen(token) <= 4096);
        } else {
            assert_null(token);
            refusals++;
        }
    }
    assert_non_null(longest);
    assert_true(strlen(longest) > 4090);
    assert_true(refusals > 100);
    assert_true(accepted(longest));
    /* Rightly signed, too long all the same. */
    token = forge(HEADER, apr_pstrcat(pool, "{\"x\":\"", filler, "\"}", NULL));
    assert_true(strlen(token) > 4096);
    refused(token);
}

/* ---- refusing ---- */

static void another_algorithm_is_refused(void **state) /* K-1 */
{
    static const char *const algs[] = {"none",  "None",   "NONE",  "",      "HS256",
                                       "HS512", "RS256",  "PS256", "ES384", "ES512",
                                       "es256", "ES256 ", "EdDSA"};
    unsigned char mac[32];
    unsigned mac_len;

    for (size_t i = 0; i < COUNT(algs); i++) {
        const char *header =
            apr_psprintf(pool, "{\"alg\":\"%s\",\"kid\":\"rfc\",\"typ\":\"at+jwt\"}", algs[i]);
        const char *input;

        refused(forge(header, "{}"));
        input = apr_pstrcat(pool, b64(header), ".", b64("{}"), NULL);
        refused(apr_pstrcat(pool, input, ".", NULL)); /* without a signature */
        /* The public key as the secret of a MAC. */
        HMAC(EVP_sha256(), X, 43, (const unsigned char *)input, strlen(input), mac, &mac_len);
        refused(apr_pstrcat(pool, input, ".", biz_b64url(pool, mac, 32), NULL));
    }
    refused(forge("{\"alg\":256,\"kid\":\"rfc\",\"typ\":\"at+jwt\"}", "{}"));
    refused(forge("{\"alg\":[\"ES256\"],\"kid\":\"rfc\",\"typ\":\"at+jwt\"}", "{}"));
    refused(forge("{\"alg\":null,\"kid\":\"rfc\",\"typ\":\"at+jwt\"}", "{}"));
    refused(forge("{\"kid\":\"rfc\",\"typ\":\"at+jwt\"}", "{}"));
    refused(
        forge("{\"alg\":\"ES256\",\"alg\":\"ES256\",\"kid\":\"rfc\",\"typ\":\"at+jwt\"}", "{}"));
    refused(forge("{\"alg\":\"ES256\",\"\\u0061lg\":\"none\",\"kid\":\"rfc\",\"typ\":\"at+jwt\"}",
                  "{}"));
}

static void a_header_that_brings_a_key_is_refused(void **state) /* K-2 */
{
    static const char *const more[] = {
        "\"jku\":\"https://evil.example/keys\"",
        "\"x5u\":\"https://evil.example/c\"",
        "\"jwk\":{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X "\",\"y\":\"" Y "\"}",
        "\"x5c\":[\"MIIB\"]",
        "\"x5t\":\"a\"",
        "\"crit\":[\"exp\"],\"exp\":1",
        "\"crit\":[]",
        "\"b64\":false",
        "\"zip\":\"DEF\"",
        "\"cty\":\"JWT\"",
        "\"enc\":\"A128GCM\"",
        "\"a\":1",
    };

    for (size_t i = 0; i < COUNT(more); i++) {
        refused(
            forge(apr_psprintf(pool, "{\"alg\":\"ES256\",\"kid\":\"rfc\",\"typ\":\"at+jwt\",%s}",
                               more[i]),
                  "{}"));
        /* Also in the place of what must be there. */
        refused(forge(apr_psprintf(pool, "{\"alg\":\"ES256\",\"kid\":\"rfc\",%s}", more[i]), "{}"));
    }
}

static void a_key_that_is_not_ours_is_refused(void **state) /* K-3 */
{
    static const char *const kids[] = {"../../dev/null", "' OR 1=1 --", "",        "RFC", "rf",
                                       "rfc ",           "rfc\\u0000",  "unknown", "%s%n"};
    biz_jwk *none[] = {NULL};
    biz_json *claims;

    for (size_t i = 0; i < COUNT(kids); i++) {
        refused(forge(
            apr_psprintf(pool, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"at+jwt\"}", kids[i]),
            "{}"));
    }
    refused(forge("{\"alg\":\"ES256\",\"kid\":\"other\",\"typ\":\"at+jwt\"}", "{}"));
    refused(forge("{\"alg\":\"ES256\",\"kid\":1,\"typ\":\"at+jwt\"}", "{}"));
    refused(forge("{\"alg\":\"ES256\",\"kid\":null,\"typ\":\"at+jwt\"}", "{}"));
    assert_int_equal(biz_jws_verify(pool, none, "at+jwt", of_others, &claims), APR_EINVAL);
    assert_int_equal(biz_jws_verify(pool, NULL, "at+jwt", of_others, &claims), APR_EINVAL);
}

static void another_kind_of_token_is_refused(void **state) /* K-7 */
{
    biz_json *claims;

    refused(forge("{\"alg\":\"ES256\",\"kid\":\"rfc\",\"typ\":\"mfa+jwt\"}", "{}"));
    refused(forge("{\"alg\":\"ES256\",\"kid\":\"rfc\",\"typ\":\"JWT\"}", "{}"));
    refused(forge("{\"alg\":\"ES256\",\"kid\":\"rfc\",\"typ\":\"\"}", "{}"));
    refused(forge("{\"alg\":\"ES256\",\"kid\":\"rfc\",\"typ\":7}", "{}"));
    refused(forge("{\"alg\":\"ES256\",\"kid\":\"rfc\"}", "{}"));
    refused(forge("[\"ES256\",\"rfc\",\"at+jwt\"]", "{}"));
    refused(forge("{}", "{}"));
    refused(forge("", "{}"));
    assert_int_equal(biz_jws_verify(pool, keys, "mfa+jwt", of_others, &claims), APR_EINVAL);
}

static void every_changed_byte_is_noticed(void **state) /* K-4 */
{
    char *token = apr_pstrdup(pool, of_others);

    for (size_t i = 0; i < strlen(of_others); i++) {
        char old = token[i];

        token[i] = old == 'A' ? 'B' : 'A';
        refused(token);
        token[i] = old == '.' ? 'x' : '.';
        refused(token);
        token[i] = old;
    }
    for (size_t n = 0; n < strlen(of_others); n++) {
        refused(apr_pstrmemdup(pool, of_others, n));
    }
    assert_true(accepted(token));
}

static void another_shape_is_refused(void **state) /* K-4, K-8 */
{
    const char *header = b64(HEADER), *payload = b64("{\"a\":1}");
    const char *token = sign_parts(header, payload);
    const char *signature = strrchr(token, '.') + 1;
    char *other = apr_pstrdup(pool, token);

    assert_true(accepted(token));
    refused("");
    refused(NULL);
    refused(".");
    refused("..");
    refused("...");
    refused(apr_pstrcat(pool, header, ".", payload, NULL));
    refused(apr_pstrcat(pool, header, ".", payload, ".", NULL));
    refused(apr_pstrcat(pool, header, "..", signature, NULL));
    refused(apr_pstrcat(pool, ".", payload, ".", signature, NULL));
    refused(apr_pstrcat(pool, token, ".", NULL));
    refused(apr_pstrcat(pool, token, ".x", NULL));
    refused(apr_pstrcat(pool, ".", token, NULL));
    refused(apr_pstrcat(pool, token, "==", NULL)); /* padding */
    refused(apr_pstrcat(pool, token, "\n", NULL));
    refused(apr_pstrcat(pool, " ", token, NULL));
    refused(apr_pstrcat(pool, "Bearer ", token, NULL));
    refused(apr_pstrcat(pool, token, "AAAA", NULL)); /* a signature of 67 bytes */
    /* 86 digits carry 516 bits for 512: the last four must be zero. */
    for (int i = 1; i < 16; i++) {
        static const char digits[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        size_t last = strlen(other) - 1;

        other[last] = digits[(strchr(digits, token[last]) - digits) | i];
        refused(other);
    }
    /* The same payload in its other spelling, rightly signed. */
    refused(sign_parts(header, "e30="));
    assert_true(accepted(sign_parts(header, "e30")));
    refused(sign_parts(header, "e31"));
    refused(sign_parts(apr_pstrcat(pool, header, "=", NULL), "e30"));
    /* A signature of zeros: r and s must not be 0. */
    refused(apr_pstrcat(pool, header, ".", payload, ".",
                        biz_b64url(pool, apr_pcalloc(pool, 64), 64), NULL));
}

static void payloads_that_are_no_clean_object_are_refused(void **state) /* K-8 */
{
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "\"x\"",
        "1",
        "{",
        "{}x",
        "{\"sub\":1,\"sub\":2}",
        "{\"sub\":1,\"\\u0073ub\":2}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":\"\xff\"}",
        "{\"exp\":1e999}",
        "{\"exp\":99999999999999999999}",
        "{\"a\":[[[[[[[[[]]]]]]]]]}",
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        refused(forge(HEADER, bad[i]));
    }
    /* What the claims say is for the caller to judge. */
    assert_true(accepted(forge(HEADER, "{\"exp\":\"soon\",\"iss\":7}")));
}

/* ---- keys ---- */

static void generated_keys_load_sign_and_differ(void **state)
{
    biz_json *claims = biz_json_object(pool), *back;
    const char *one, *two, *token;
    biz_jwk *fresh, *only[2] = {NULL, NULL};

    for (int i = 0; i < 300; i++) { /* numbers with leading zeros come by */
        assert_int_equal(biz_jwk_generate(pool, "k-1_A.b", &one), APR_SUCCESS);
        assert_int_equal(biz_jwk_load(pool, one, &fresh), APR_SUCCESS);
    }
    assert_string_equal(biz_jwk_kid(fresh), "k-1_A.b");
    only[0] = fresh;
    assert_int_equal(biz_jws_sign(pool, fresh, "t", claims, &token), APR_SUCCESS);
    assert_int_equal(biz_jws_verify(pool, only, "t", token, &back), APR_SUCCESS);
    assert_int_equal(biz_jwk_generate(pool, "k-1_A.b", &two), APR_SUCCESS);
    assert_string_not_equal(one, two);
    assert_int_equal(biz_jwk_load(pool, two, &only[0]), APR_SUCCESS);
    assert_int_equal(biz_jws_verify(pool, only, "t", token, &back), APR_EINVAL);
    assert_int_equal(biz_jwk_generate(pool, "", &one), APR_EINVAL);
    assert_int_equal(biz_jwk_generate(pool, "a b", &one), APR_EINVAL);
    assert_int_equal(biz_jwk_generate(pool, "a\"b", &one), APR_EINVAL);
    assert_null(one);
}

static void the_public_part_is_only_that(void **state)
{
    const char *text = biz_json_text(pool, biz_jwk_public(pool, key), NULL);

    assert_string_equal(text, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X "\",\"y\":\"" Y
                              "\",\"kid\":\"rfc\",\"use\":\"sig\",\"alg\":\"ES256\"}");
    assert_null(strstr(text, D));
}

static void what_is_no_private_p256_key_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "[]",
        "null",
        "x",
        "{\"kty\":\"EC\"}",
        /* No private part, no kid, no x. */
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",\"x\":\"" X "\",\"y\":\"" Y "\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X "\",\"y\":\"" Y "\",\"d\":\"" D "\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",\"y\":\"" Y "\",\"d\":\"" D "\"}",
        /* Another kind, another curve, another algorithm, something twice. */
        "{\"kty\":\"oct\",\"kid\":\"a\",\"k\":\"" D "\"}",
        "{\"kty\":\"RSA\",\"crv\":\"P-256\",\"kid\":\"a\",\"x\":\"" X "\",\"y\":\"" Y
        "\",\"d\":\"" D "\"}",
        "{\"kty\":\"EC\",\"crv\":\"P-384\",\"kid\":\"a\",\"x\":\"" X "\",\"y\":\"" Y "\",\"d\":\"" D
        "\"}",
        "{\"alg\":\"ES384\",\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",\"x\":\"" X
        "\",\"y\":\"" Y "\",\"d\":\"" D "\"}",
        "{\"d\":\"" D "\",\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"a\",\"x\":\"" X "\",\"y\":\"" Y
        "\",\"d\":\"" D "\"}",
        JWK("", X, Y, D),
        JWK("a b", X, Y, D),
        JWK("../a", X, Y, D),
        /* Numbers of another length or spelling. */
        JWK("a", X, Y, "AQ"),
        JWK("a", X "A", Y, D),
        JWK("a", X, Y "=", D),
        JWK("a", "", "", ""),
        /* Not a point of the curve; a private number that belongs to another point; zero. */
        JWK("a", Y, X, D),
        JWK("a", X, Y, "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LE"),
        JWK("a", X, Y, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    };
    biz_jwk *out;

    for (size_t i = 0; i < COUNT(bad); i++) {
        if (biz_jwk_load(pool, bad[i], &out) != APR_EINVAL) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_null(out);
    }
    assert_int_equal(biz_jwk_load(pool, NULL, &out), APR_EINVAL);
    assert_int_equal(biz_jwk_load(pool, JWK("a", X, Y, D), &out), APR_SUCCESS);
}

static void *sign_and_verify(void *data)
{
    apr_pool_t *mine;
    long bad = 0;

    apr_pool_create(&mine, NULL);
    for (int i = 0; i < 200; i++) {
        biz_json *claims = biz_json_object(mine), *back = NULL;
        const char *token = NULL;

        biz_json_set_int(claims, "n", i);
        bad += biz_jws_sign(mine, key, "at+jwt", claims, &token) != APR_SUCCESS ||
               biz_jws_verify(mine, keys, "at+jwt", token, &back) != APR_SUCCESS ||
               biz_json_int(back, "n", -1) != i;
        bad += biz_jws_verify(mine, keys, "at+jwt", of_others, &back) != APR_SUCCESS;
        bad += biz_jws_verify(mine, keys, "at+jwt", of_the_rfc, &back) == APR_SUCCESS;
        apr_pool_clear(mine);
    }
    apr_pool_destroy(mine);
    return (void *)bad;
}

static void threads_share_the_keys(void **state)
{
    pthread_t threads[8];
    void *bad;

    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, sign_and_verify, NULL), 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
}

#define JOSE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, core_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        JOSE_TEST(what_we_sign_others_verify),
        JOSE_TEST(what_others_sign_we_verify),
        JOSE_TEST(tokens_are_never_longer_than_4096_bytes),
        JOSE_TEST(another_algorithm_is_refused),
        JOSE_TEST(a_header_that_brings_a_key_is_refused),
        JOSE_TEST(a_key_that_is_not_ours_is_refused),
        JOSE_TEST(another_kind_of_token_is_refused),
        JOSE_TEST(every_changed_byte_is_noticed),
        JOSE_TEST(another_shape_is_refused),
        JOSE_TEST(payloads_that_are_no_clean_object_are_refused),
        JOSE_TEST(generated_keys_load_sign_and_differ),
        JOSE_TEST(the_public_part_is_only_that),
        JOSE_TEST(what_is_no_private_p256_key_is_refused),
        JOSE_TEST(threads_share_the_keys),
    };

    core_start();
    return cmocka_run_group_tests_name("jose", tests, NULL, NULL);
}
