/* chain.c: see chain.h. Each value goes into the MAC with its length before it, so that no text can
 * move from one field into the next. */
#include "chain.h"

#include <string.h>
#include <apr_strings.h>

#include "core/str.h"

static const char *part(apr_pool_t *pool, const char *value)
{
    return value == NULL ? "-,"
                         : apr_psprintf(pool, "%" APR_SIZE_T_FMT ":%s,", strlen(value), value);
}

static const char *mac_of(apr_pool_t *pool, const unsigned char *key, const char *text)
{
    unsigned char mac[BIZ_SHA256_LEN];

    biz_hmac_sha256(key, BIZ_KEY_LEN, text, strlen(text), mac);
    return biz_hex(pool, mac, sizeof(mac));
}

const char *audit_row_mac(apr_pool_t *pool, const unsigned char *key, const char *before,
                          const store_doc *row)
{
    static const store_fid texts[] = {AUDIT_EVENT, AUDIT_USER_ID,    AUDIT_ACTOR_ID, AUDIT_IP,
                                      AUDIT_AGENT, AUDIT_REQUEST_ID, AUDIT_DETAILS};
    const char *text =
        apr_psprintf(pool, "row %s%s%" APR_INT64_T_FMT ",%" APR_INT64_T_FMT ",", part(pool, before),
                     part(pool, store_doc_id(row)), (apr_int64_t)store_int(row, AUDIT_SEQ),
                     (apr_int64_t)apr_time_as_msec(store_time(row, AUDIT_AT)));
    size_t i;

    for (i = 0; i < STORE_COUNT_OF(texts); i++)
        text = apr_pstrcat(pool, text, part(pool, store_str(row, texts[i])), NULL);
    return mac_of(pool, key, text);
}

const char *audit_mark_sig(apr_pool_t *pool, const unsigned char *key, const char *mark,
                           int64_t seq, const char *mac)
{
    return mac_of(pool, key,
                  apr_psprintf(pool, "mark %s%" APR_INT64_T_FMT ",%s", part(pool, mark),
                               (apr_int64_t)seq, part(pool, mac)));
}
