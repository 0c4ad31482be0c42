/* webauthn.h: what a browser answers to navigator.credentials.create() and get(), verified
 * (WebAuthn level 2, sections 7.1 and 7.2); libfido2 behind it, included by webauthn.c alone. Pure
 * functions: that a challenge is ours, fresh and used once is for the caller to see to. */
#ifndef BIZ_WEBAUTHN_H
#define BIZ_WEBAUTHN_H

#include <stddef.h>
#include <stdint.h>
#include <apr_pools.h>
#include <apr_errno.h>
#include <apr_tables.h>

#include "json.h"

/* COSE numbers of the algorithms that we take, best first; 0 ends. */
extern const int webauthn_algorithms[]; /* ES256 -7, EdDSA -8, RS256 -257 (2048 bits) */

/* Who asks: us. */
typedef struct {
    const char *id;                    /* the relying party's id: a host name */
    const apr_array_header_t *origins; /* const char *: the pages that may ask for us */
} webauthn_party;

/* The id: `domain`, which must be the host of `url` or above it, or where it is NULL that host.
 * *why where it is no good. */
const char *webauthn_id(apr_pool_t *pool, const char *domain, const char *url, const char **why);

/* Those of `origins` whose pages a browser lets ask in the name of `id`: https, or http on the
 * loopback, at this host or below it. */
apr_array_header_t *webauthn_origins(apr_pool_t *pool, const char *id,
                                     const apr_array_header_t *origins);

typedef enum { WEBAUTHN_CREATE, WEBAUTHN_GET } webauthn_ceremony;

/* A credential as the browser's toJSON() has it, its form checked, nothing believed yet. */
typedef struct {
    const char *credential_id; /* base64url, canonical */
    const char *challenge;     /* as it stands in the client data, base64url */
    const char *user_handle;   /* text, or NULL (WEBAUTHN_GET) */
    const unsigned char *client_data, *data, *signature; /* data: attestation object, or
                                                          * authenticator data */
    size_t client_data_len, data_len, signature_len;
} webauthn_answer;

/* APR_EINVAL and *why (English, without anything of the input) where it is malformed, made for
 * another ceremony or asked for by a page that is not one of ours. */
apr_status_t webauthn_read(apr_pool_t *pool, const webauthn_party *party,
                           webauthn_ceremony ceremony, const biz_json *credential,
                           webauthn_answer *answer, const char **why);

/* What is kept of a credential. */
typedef struct {
    const char *id;         /* base64url */
    const char *public_key; /* base64url: x and y (ES256), x (EdDSA), n and e (RS256) */
    int algorithm;          /* COSE */
    int64_t sign_count;
} webauthn_key;

/* The new credential. APR_EINVAL and *why. */
apr_status_t webauthn_register(apr_pool_t *pool, const webauthn_party *party,
                               const webauthn_answer *answer, webauthn_key *key, const char **why);

/* Whether `key` signed this answer for us, with its owner present. *sign_count is the new one,
 * *verified 1 where the authenticator has checked who its owner is (PIN, finger). APR_EINVAL and
 * *why. */
apr_status_t webauthn_verify(apr_pool_t *pool, const webauthn_party *party,
                             const webauthn_answer *answer, const webauthn_key *key,
                             int64_t *sign_count, int *verified, const char **why);

#endif
