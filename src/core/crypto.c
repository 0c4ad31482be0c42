/* crypto.c: digests, MACs, key derivation and sealing, the only includer of OpenSSL. Called by
 * auth, outbox, integrations and bizapictl. It fails closed: where an algorithm cannot run, the
 * process ends, for no answer it could give would be a safe one. */
#include "crypto.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <apr_strings.h>

#include "log.h"
#include "random.h"
#include "str.h"

enum { SEAL_VERSION = 1, NONCE_LEN = 12, TAG_LEN = 16, BASE64_MAX = 4096, RSA_BITS_LEAST = 2048 };

/* Fetched once: a fetch takes locks of the whole process. */
static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256, *sha1;
static EVP_MAC *hmac;
static EVP_CIPHER *aes_gcm;

static void must(int fine)
{
    if (!fine) {
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0153) "OpenSSL cannot run SHA-256, HMAC or AES-256-GCM; the process ends; check "
                         "openssl.cnf and the memory that is left");
        abort();
    }
}

static void fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    aes_gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    must(sha256 && sha1 && hmac && aes_gcm);
}

static void prepare(void)
{
    must(pthread_once(&fetch_once, fetch) == 0);
}

void biz_sha256(const void *data, size_t len, unsigned char out[BIZ_SHA256_LEN])
{
    prepare();
    must(EVP_Digest(len ? data : "", len, out, NULL, sha256, NULL) == 1);
}

void biz_sha1(const void *data, size_t len, unsigned char out[BIZ_SHA1_LEN])
{
    prepare();
    must(EVP_Digest(len ? data : "", len, out, NULL, sha1, NULL) == 1);
}

const char *biz_sha256_hex(apr_pool_t *pool, const char *text)
{
    unsigned char digest[BIZ_SHA256_LEN];

    biz_sha256(text, strlen(text), digest);
    return biz_hex(pool, digest, sizeof(digest));
}

static void hmac_of(const char *digest, const unsigned char *key, size_t key_len, const void *data,
                    size_t len, unsigned char *out, size_t out_size)
{
    OSSL_PARAM params[2];
    char name[8];
    size_t out_len = 0;
    EVP_MAC_CTX *ctx;

    prepare();
    apr_cpystrn(name, digest, sizeof(name));
    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0);
    params[1] = OSSL_PARAM_construct_end();
    ctx = EVP_MAC_CTX_new(hmac);
    must(ctx != NULL);
    /* A NULL key would mean "the key set before". */
    must(EVP_MAC_init(ctx, key ? key : (const unsigned char *)"", key_len, params) == 1);
    must(EVP_MAC_update(ctx, len ? data : (const unsigned char *)"", len) == 1);
    must(EVP_MAC_final(ctx, out, &out_len, out_size) == 1 && out_len == out_size);
    EVP_MAC_CTX_free(ctx);
}

void biz_hmac_sha256(const unsigned char *key, size_t key_len, const void *data, size_t len,
                     unsigned char out[BIZ_SHA256_LEN])
{
    hmac_of("SHA256", key, key_len, data, len, out, BIZ_SHA256_LEN);
}

void biz_hmac_sha1(const unsigned char *key, size_t key_len, const void *data, size_t len,
                   unsigned char out[BIZ_SHA1_LEN])
{
    hmac_of("SHA1", key, key_len, data, len, out, BIZ_SHA1_LEN);
}

/* Extract with the salt that the RFC takes where none is given, expand to one block. */
/* Strict base64 (RFC 4648 section 4); NULL where it is none. */
static unsigned char *from_base64(apr_pool_t *pool, const char *text, size_t *len)
{
    size_t n = strlen(text), padding = 0;
    unsigned char *out = apr_palloc(pool, n / 4 * 3 + 1);
    int decoded;

    while (padding < 2 && padding < n && text[n - 1 - padding] == '=')
        padding++;
    if (n == 0 || n % 4 != 0 || n > BASE64_MAX ||
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") !=
            n - padding)
        return NULL;
    decoded = EVP_DecodeBlock(out, (const unsigned char *)text, (int)n);
    *len = decoded < 0 ? 0 : (size_t)decoded - padding;
    return decoded < 0 ? NULL : out;
}

static EVP_PKEY *p256_key(apr_pool_t *pool, const char *text)
{
    size_t len = 0;
    const unsigned char *der = from_base64(pool, text, &len);
    EVP_PKEY *key = NULL;
    char group[32];
    size_t size;

    /* What is refused here is no error that mod_ssl should find in this thread's queue. */
    ERR_set_mark();
    key = der ? d2i_PUBKEY(NULL, &der, (long)len) : NULL;
    ERR_pop_to_mark();
    if (key && EVP_PKEY_is_a(key, "EC") &&
        EVP_PKEY_get_group_name(key, group, sizeof(group), &size) == 1 &&
        strcmp(group, SN_X9_62_prime256v1) == 0)
        return key;
    EVP_PKEY_free(key);
    return NULL;
}

int biz_p256_verify(apr_pool_t *pool, const char *key, const void *data, size_t len,
                    const char *signature)
{
    size_t sig_len = 0;
    const unsigned char *sig = from_base64(pool, signature, &sig_len);
    EVP_PKEY *public = sig ? p256_key(pool, key) : NULL;
    EVP_MD_CTX *ctx = public ? EVP_MD_CTX_new() : NULL;
    int fine = 0;

    if (public) {
        prepare();
        must(ctx != NULL);
        ERR_set_mark();
        fine = EVP_DigestVerifyInit(ctx, NULL, sha256, NULL, public) == 1 &&
               EVP_DigestVerify(ctx, sig, sig_len, data, len) == 1;
        ERR_pop_to_mark();
    }
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(public);
    return fine;
}

const char *biz_p256_error(apr_pool_t *pool, const char *key)
{
    EVP_PKEY *public = p256_key(pool, key);

    EVP_PKEY_free(public);
    return public ? NULL : "is no public key of the curve P-256 in base64";
}

static EVP_PKEY *rsa_key(const char *pem)
{
    BIO *in = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key;

    must(in != NULL);
    ERR_set_mark();
    key = PEM_read_bio_PrivateKey(in, NULL, NULL, "");
    ERR_pop_to_mark();
    BIO_free(in);
    if (key && (!EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_get_bits(key) < RSA_BITS_LEAST)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    return key;
}

const unsigned char *biz_rs256_sign(apr_pool_t *pool, const char *pem, const void *data, size_t len,
                                    size_t *sig_len)
{
    EVP_PKEY *key = rsa_key(pem);
    EVP_MD_CTX *ctx = key ? EVP_MD_CTX_new() : NULL;
    unsigned char *sig = NULL;

    if (key) {
        prepare();
        must(ctx != NULL);
        *sig_len = (size_t)EVP_PKEY_get_size(key);
        sig = apr_palloc(pool, *sig_len);
        must(EVP_DigestSignInit(ctx, NULL, sha256, NULL, key) == 1);
        must(EVP_DigestSign(ctx, sig, sig_len, data, len) == 1);
    }
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return sig;
}

void biz_derive_key(const unsigned char master[BIZ_KEY_LEN], const char *label,
                    unsigned char out[BIZ_KEY_LEN])
{
    static const unsigned char salt[BIZ_SHA256_LEN];
    unsigned char prk[BIZ_SHA256_LEN];
    unsigned char info[256];
    size_t len = strlen(label);

    must(len < sizeof(info));
    memcpy(info, label, len);
    info[len] = 1;
    biz_hmac_sha256(salt, sizeof(salt), master, BIZ_KEY_LEN, prk);
    biz_hmac_sha256(prk, sizeof(prk), info, len + 1, out);
    biz_wipe(prk, sizeof(prk));
}

int biz_same(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

int biz_same_text(const char *a, const char *b)
{
    size_t len;

    if (!a || !b) {
        return 0;
    }
    len = strlen(a);
    return len == strlen(b) && biz_same(a, b, len);
}

void biz_wipe(void *data, size_t len)
{
    OPENSSL_cleanse(data, len);
}

const char *biz_seal(apr_pool_t *pool, const unsigned char key[BIZ_KEY_LEN], const char *bound,
                     const char *plain)
{
    size_t len = strlen(plain);
    size_t total = 1 + NONCE_LEN + len + TAG_LEN;
    unsigned char *sealed = apr_palloc(pool, total);
    unsigned char *nonce = sealed + 1;
    unsigned char *body = nonce + NONCE_LEN;
    EVP_CIPHER_CTX *ctx;
    int n = 0;

    prepare();
    must(len < INT_MAX && strlen(bound) < INT_MAX);
    sealed[0] = SEAL_VERSION;
    biz_random(nonce, NONCE_LEN);
    ctx = EVP_CIPHER_CTX_new();
    must(ctx != NULL);
    must(EVP_EncryptInit_ex2(ctx, aes_gcm, key, nonce, NULL) == 1);
    must(EVP_EncryptUpdate(ctx, NULL, &n, sealed, 1) == 1); /* the version is authenticated too */
    must(EVP_EncryptUpdate(ctx, NULL, &n, (const unsigned char *)bound, (int)strlen(bound)) == 1);
    must(EVP_EncryptUpdate(ctx, body, &n, (const unsigned char *)plain, (int)len) == 1);
    must((size_t)n == len && EVP_EncryptFinal_ex(ctx, body + len, &n) == 1 && n == 0);
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, body + len) == 1);
    EVP_CIPHER_CTX_free(ctx);
    return biz_b64url(pool, sealed, total);
}

const char *biz_open(apr_pool_t *pool, const unsigned char key[BIZ_KEY_LEN], const char *bound,
                     const char *sealed)
{
    size_t total = 0, len;
    unsigned char *raw = sealed ? biz_b64url_decode(pool, sealed, strlen(sealed), &total) : NULL;
    unsigned char *body, *plain;
    EVP_CIPHER_CTX *ctx;
    int n = 0, fine;

    if (!raw || total < 1 + NONCE_LEN + TAG_LEN || total > INT_MAX || raw[0] != SEAL_VERSION ||
        strlen(bound) > INT_MAX) {
        return NULL;
    }
    prepare();
    body = raw + 1 + NONCE_LEN;
    len = total - 1 - NONCE_LEN - TAG_LEN;
    plain = apr_palloc(pool, len + 1);
    ctx = EVP_CIPHER_CTX_new();
    must(ctx != NULL);
    must(EVP_DecryptInit_ex2(ctx, aes_gcm, key, raw + 1, NULL) == 1);
    must(EVP_DecryptUpdate(ctx, NULL, &n, raw, 1) == 1);
    must(EVP_DecryptUpdate(ctx, NULL, &n, (const unsigned char *)bound, (int)strlen(bound)) == 1);
    must(EVP_DecryptUpdate(ctx, plain, &n, body, (int)len) == 1);
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, body + len) == 1);
    fine = EVP_DecryptFinal_ex(ctx, plain + len, &n) == 1;
    EVP_CIPHER_CTX_free(ctx);
    if (!fine) {
        biz_wipe(plain, len); /* what was not authentic is never seen */
        return NULL;
    }
    plain[len] = '\0';
    return (const char *)plain;
}
