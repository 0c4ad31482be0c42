/* crypto.h: digests, MACs, sealing; OpenSSL's EVP behind it. Buffers are the caller's. */
#ifndef BIZ_CRYPTO_H
#define BIZ_CRYPTO_H

#include <stddef.h>
#include <apr_pools.h>

enum { BIZ_SHA256_LEN = 32, BIZ_SHA1_LEN = 20, BIZ_KEY_LEN = 32 };

void biz_sha256(const void *data, size_t len, unsigned char out[BIZ_SHA256_LEN]);
/* For TOTP and for lists of leaked passwords, which want it; for nothing else. */
void biz_sha1(const void *data, size_t len, unsigned char out[BIZ_SHA1_LEN]);
/* SHA-256 of a text as 64 hexadecimal digits: how tokens are kept at rest. */
const char *biz_sha256_hex(apr_pool_t *pool, const char *text);

void biz_hmac_sha256(const unsigned char *key, size_t key_len, const void *data, size_t len,
                     unsigned char out[BIZ_SHA256_LEN]);
/* For one-time passwords alone (RFC 4226); as a MAC, SHA-1 is not broken. */
void biz_hmac_sha1(const unsigned char *key, size_t key_len, const void *data, size_t len,
                   unsigned char out[BIZ_SHA1_LEN]);

/* 1 where `signature` (DER, base64) is that of a P-256 key over SHA-256 of the data, `key` being
 * its public part (SubjectPublicKeyInfo, base64); 0 for everything else, keys of other kinds too.
 */
int biz_p256_verify(apr_pool_t *pool, const char *key, const void *data, size_t len,
                    const char *signature);
/* NULL where `key` is such a public key, else what is wrong with it. */
const char *biz_p256_error(apr_pool_t *pool, const char *key);

/* RSASSA-PKCS1-v1_5 with SHA-256 (RS256) by a private key in PEM; NULL where that is no RSA key of
 * 2048 bits or more. */
const unsigned char *biz_rs256_sign(apr_pool_t *pool, const char *pem, const void *data, size_t len,
                                    size_t *sig_len);

/* HKDF-SHA256 (RFC 5869), 32 bytes for `label` out of a 32-byte master key. */
void biz_derive_key(const unsigned char master[BIZ_KEY_LEN], const char *label,
                    unsigned char out[BIZ_KEY_LEN]);

/* 1 where equal; takes the same time wherever they differ. */
int biz_same(const void *a, const void *b, size_t len);
int biz_same_text(const char *a, const char *b); /* the lengths may show */

void biz_wipe(void *data, size_t len);

/* AES-256-GCM (NIST SP 800-38D) with a fresh 96-bit nonce; `bound` (the row's id) is authenticated
 * but not stored, so that a sealed text does not open in another row. base64url text of a version
 * byte, nonce, ciphertext and tag. Opening gives NULL where anything was changed. */
const char *biz_seal(apr_pool_t *pool, const unsigned char key[BIZ_KEY_LEN], const char *bound,
                     const char *plain);
const char *biz_open(apr_pool_t *pool, const unsigned char key[BIZ_KEY_LEN], const char *bound,
                     const char *sealed);

#endif
