/* attestation.h: the attestation object of WebAuthn level 2 (section 6.5.4), taken apart; libcbor
 * behind it, included by attestation.c alone. For webauthn.c. */
#ifndef BIZ_ATTESTATION_H
#define BIZ_ATTESTATION_H

#include <stddef.h>
#include <stdint.h>
#include <apr_pools.h>
#include <apr_errno.h>

typedef struct {
    const unsigned char *auth_data;
    size_t auth_data_len;
    /* The statement of format "packed" without certificates, which the new key signed itself;
     * `sig` is NULL for format "none". */
    const unsigned char *sig;
    size_t sig_len;
    int64_t sig_algorithm; /* COSE */
} attestation;

/* 1 where no item of this CBOR (one after the other, RFC 8949) says it has more bytes or members
 * than there are bytes: libcbor takes memory for what is claimed before it looks for it, and so
 * does libfido2 by it. 0 too where a length is left open, which authenticators never do (CTAP2
 * section 6). */
int attestation_claims_fit(const unsigned char *data, size_t len);

/* Copies what it gives into the pool. APR_EINVAL for all but a well-formed map of exactly "fmt",
 * "attStmt" and "authData" with one of these two formats: who made the authenticator is not asked,
 * and browsers take every other statement away then. */
apr_status_t attestation_read(apr_pool_t *pool, const unsigned char *data, size_t len,
                              attestation *out);

#endif
