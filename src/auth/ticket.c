/* ticket.c: see ticket.h. Called by mfa.c and passkey.c. The text is base64url of a MAC and of
 * "kind|user|epoch|until|failures|random". */
#include "ticket.h"

#include <stdlib.h>
#include <string.h>
#include <apr_strings.h>

#include "core/crypto.h"
#include "core/random.h"
#include "core/str.h"
#include "keys.h"

enum { RANDOM_LEN = 16 };

/* The mark of a use outlives the ticket: another machine's clock may be behind. */
static const apr_time_t MARK_AFTER = apr_time_from_sec(60 * 60);

const char *ticket_make(const biz_req *req, ticket_kind kind, const store_doc *user,
                        int64_t failures)
{
    unsigned char noise[RANDOM_LEN], *bytes;
    const char *facts;
    size_t len;

    biz_random(noise, sizeof(noise));
    facts = apr_psprintf(req->pool,
                         "%c|%s|%" APR_INT64_T_FMT "|%" APR_INT64_T_FMT "|%" APR_INT64_T_FMT "|%s",
                         (char)kind, user != NULL ? store_doc_id(user) : "",
                         (apr_int64_t)(user != NULL ? store_int(user, USER_SESSION_EPOCH) : 0),
                         req->now + apr_time_from_sec(TICKET_SECONDS), (apr_int64_t)failures,
                         biz_hex(req->pool, noise, sizeof(noise)));
    len = strlen(facts);
    bytes = apr_palloc(req->pool, BIZ_SHA256_LEN + len);
    memcpy(bytes + BIZ_SHA256_LEN, facts, len);
    biz_hmac_sha256(req->env->keys->tickets, BIZ_KEY_LEN, facts, len, bytes);
    return biz_b64url(req->pool, bytes, BIZ_SHA256_LEN + len);
}

apr_status_t ticket_read(const biz_req *req, ticket_kind kind, const char *text, ticket *out)
{
    unsigned char mac[BIZ_SHA256_LEN], *bytes;
    char *facts, *user, *epoch, *until, *rest = NULL;
    size_t len;

    bytes = text != NULL ? biz_b64url_decode(req->pool, text, strlen(text), &len) : NULL;
    if (bytes == NULL || len <= sizeof(mac))
        return APR_EINVAL;
    biz_hmac_sha256(req->env->keys->tickets, BIZ_KEY_LEN, bytes + sizeof(mac), len - sizeof(mac),
                    mac);
    if (!biz_same(mac, bytes, sizeof(mac)))
        return APR_EINVAL;
    /* From here on it is a text that we made. */
    facts = apr_pstrmemdup(req->pool, (const char *)bytes + sizeof(mac), len - sizeof(mac));
    user = facts + 2;
    epoch = strchr(user, '|');
    until = epoch != NULL ? strchr(epoch + 1, '|') : NULL;
    if (facts[0] != (char)kind || until == NULL)
        return APR_EINVAL;
    *epoch = '\0';
    out->text = text;
    out->user_id = user;
    out->epoch = apr_strtoi64(epoch + 1, &rest, 10);
    out->until = apr_strtoi64(until + 1, &rest, 10);
    out->failures = apr_strtoi64(rest + 1, &rest, 10);
    return out->until > req->now ? APR_SUCCESS : APR_TIMEUP;
}

apr_status_t ticket_find_use(const biz_req *req, const ticket *t)
{
    store_doc *mark;

    return store_get(req->env->store, req->pool, COLL_REVOKED_TOKENS,
                     biz_sha256_hex(req->pool, t->text), &mark);
}

apr_status_t ticket_use(const biz_req *req, const ticket *t)
{
    store_doc *mark = store_doc_new(req->pool, COLL_REVOKED_TOKENS);

    store_doc_set_id(mark, biz_sha256_hex(req->pool, t->text));
    store_set_time(mark, REVOKED_EXPIRES_AT, t->until + MARK_AFTER);
    return store_insert(req->env->store, req->pool, mark, NULL);
}
