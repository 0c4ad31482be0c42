/* keywatch.c: see keywatch.h. Called once a minute by the background job. A fingerprint is a row
 * "keys:<16 hexadecimal digits>" of leases; it tells nothing of the key, and ends by itself when
 * nobody renews it, so that a folder which was copied at last is forgiven. */
#include "keywatch.h"

#include <string.h>
#include <apr_strings.h>

#include "core/log.h"
#include "core/str.h"

#define PREFIX "keys:"
#define BEHIND_PREFIX "keys;" /* the first id behind those that begin so */

enum { PRINT_BYTES = 8, LIVES_SECONDS = 2 * KEYWATCH_SECONDS + 30, OTHERS = 20 };

static const char *print_of(apr_pool_t *pool, const biz_keys *keys)
{
    unsigned char print[BIZ_KEY_LEN];

    biz_derive_key(keys->refresh, "bizapi fingerprint v1", print);
    return apr_pstrcat(pool, PREFIX, biz_hex(pool, print, PRINT_BYTES), NULL);
}

static apr_status_t renew(store *s, apr_pool_t *pool, const char *id, const char *holder,
                          apr_time_t until)
{
    store_change changes[] = {STORE_SET_STR(LEASE_HOLDER, holder),
                              STORE_SET_TIME(LEASE_EXPIRES_AT, until)};
    apr_status_t status =
        store_update(s, pool, COLL_LEASES, id, NULL, 0, changes, STORE_COUNT_OF(changes), NULL);

    if (status == STORE_ENOENT) {
        store_doc *doc = store_doc_new(pool, COLL_LEASES);

        store_doc_set_id(doc, id);
        store_set_str(doc, LEASE_HOLDER, holder);
        store_set_time(doc, LEASE_EXPIRES_AT, until);
        status = store_insert(s, pool, doc, NULL);
    }
    return status == STORE_EEXIST ? APR_SUCCESS : status;
}

void biz_keys_watch(store *s, apr_pool_t *pool, const biz_keys *keys, const char *holder)
{
    const char *id = print_of(pool, keys);
    apr_time_t now = apr_time_now();
    store_cond conds[] = {{STORE_ID, STORE_GE, STORE_V_STR(PREFIX)},
                          {STORE_ID, STORE_LT, STORE_V_STR(BEHIND_PREFIX)},
                          STORE_GT_TIME(LEASE_EXPIRES_AT, now)};
    store_query all = {
        .coll = COLL_LEASES, .conds = conds, .n_conds = STORE_COUNT_OF(conds), .limit = OTHERS};
    apr_array_header_t *docs;
    int i;

    if (renew(s, pool, id, holder, now + apr_time_from_sec(LIVES_SECONDS)) != APR_SUCCESS ||
        store_find(s, pool, &all, &docs, NULL) != APR_SUCCESS)
        return; /* the store has said why */
    for (i = 0; i < docs->nelts; i++) {
        const store_doc *doc = APR_ARRAY_IDX(docs, i, store_doc *);
        const char *other = store_str(doc, LEASE_HOLDER);

        /* Under our own name it is what we had before a restart. */
        if (strcmp(store_doc_id(doc), id) != 0 && other != NULL && strcmp(other, holder) != 0)
            biz_log(BIZ_LOG_ERR, 0,
                    BZ(0554) "the keys of %s are not those of %s, which has the same store: each "
                             "refuses what the other has signed; copy the folder \"keys\" from the "
                             "one that was there first, then restart gracefully",
                    holder, biz_printable(pool, other, 200));
    }
}
