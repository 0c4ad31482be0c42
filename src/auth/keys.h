/* keys.h: the secrets of one business, in <state directory>/keys, made at first start.
 *
 *   master.key      32 random bytes in hexadecimal: all our sealing and MACs derive from it
 *   jwt-<kid>.json  one P-256 key pair each; the newest signs, the others verify until the last
 *                   token signed with them has ended
 *
 * Files have mode 0600 and belong to whoever starts the server, root in production: they are read
 * before the workers give up root, and never by a worker. All machines of one business need the
 * same folder. */
#ifndef BIZ_KEYS_H
#define BIZ_KEYS_H

#include <apr_pools.h>
#include <apr_errno.h>
#include <apr_tables.h>
#include "core/crypto.h"
#include "core/jose.h"

typedef struct biz_keys {
    biz_jwk **jwks;   /* the first signs; NULL ends */
    apr_time_t *ends; /* of each: from then on nothing that it signed is accepted; 0: not known yet.
                         An older one ends no later than a newer one. NULL: none ends */
    unsigned char refresh[BIZ_KEY_LEN];     /* MACs refresh tokens */
    unsigned char outbox[BIZ_KEY_LEN];      /* seals tokens into outbox rows */
    unsigned char device[BIZ_KEY_LEN];      /* MACs device tokens */
    unsigned char cookie[BIZ_KEY_LEN];      /* MACs the portal's cookie */
    unsigned char totp[BIZ_KEY_LEN];        /* seals the secrets of authenticator apps */
    unsigned char recovery[BIZ_KEY_LEN];    /* MACs recovery codes */
    unsigned char tickets[BIZ_KEY_LEN];     /* MACs tickets (ticket.h) */
    unsigned char audit[BIZ_KEY_LEN];       /* chains the audit log */
    unsigned char idempotency[BIZ_KEY_LEN]; /* MACs the bodies that a key was sent with */
    const char *jwks_json;                  /* {"keys":[...]}: the public parts */
    const char *jwks_id;                    /* their SHA-256 in hexadecimal */
} biz_keys;

/* Whether what the key at that place has signed may be accepted now. */
static inline int keys_is_accepted(const biz_keys *keys, int i, apr_time_t now)
{
    return keys->ends == NULL || keys->ends[i] == 0 || now < keys->ends[i];
}

/* Reads the folder, making it and what is missing in it first. Lives as long as the pool. On
 * failure *why is a sentence that names the path. */
apr_status_t biz_keys_open(apr_pool_t *pool, const char *state_dir, biz_keys **out,
                           const char **why);

/* The key of the audit log alone, for bizapictl; makes what is missing as biz_keys_open() does, but
 * takes no signing key into use. */
apr_status_t biz_keys_audit(apr_pool_t *pool, const char *state_dir, unsigned char key[BIZ_KEY_LEN],
                            const char **why);

/* A new signing key; takes effect at the next graceful restart. Removes pairs whose last token
 * ended long ago. *kid: the new one. */
apr_status_t biz_keys_rotate(apr_pool_t *pool, const char *state_dir, const char **kid,
                             const char **why);

typedef struct {
    const char *kid, *path;
    apr_time_t made_at;
    int signs;    /* the one in use */
    int accepted; /* its tokens are still accepted */
} biz_key_info;
/* Array of biz_key_info, newest first. APR_ENOENT where the folder is not there yet. */
apr_status_t biz_keys_list(apr_pool_t *pool, const char *state_dir, apr_array_header_t **list,
                           const char **why);

#endif
