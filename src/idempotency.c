/* idempotency.c: see idempotency.h. A key belongs to a route and a caller. Its document is inserted
 * before the work (who inserts, works), holds a lease of one minute while the work runs, and the
 * answer afterwards. A worker that was killed leaves a lease that ends: the next try works again,
 * on handlers that know their own work by req->once. */
#include "idempotency.h"

#include <string.h>
#include <apr_strings.h>

#include "auth/keys.h"
#include "core/crypto.h"
#include "core/str.h"
#include "core/valid.h"
#include "store/store.h"

enum { LEASE_SECONDS = 60, KEEP_HOURS = 24, IDEMPOTENCY_KEY_MAX = 255 };

/* Keyed: a body may hold a password, of which a plain digest would be a quick hash without salt. */
static const char *body_hash(biz_req *req)
{
    unsigned char mac[BIZ_SHA256_LEN];

    biz_hmac_sha256(req->env->keys->idempotency, BIZ_KEY_LEN, req->body != NULL ? req->body : "",
                    req->body_len, mac);
    return biz_hex(req->pool, mac, sizeof(mac));
}

/* Whether the document is of this very body. Those of a version that kept plain digests live on for
 * their day, so that no repeat is refused by an upgrade. */
static int same_body(biz_req *req, const store_doc *doc, const char *hash)
{
    unsigned char digest[BIZ_SHA256_LEN];

    if (biz_same_text(store_str(doc, IDEM_BODY_HASH), hash))
        return 1;
    biz_sha256(req->body != NULL ? req->body : "", req->body_len, digest);
    return biz_same_text(store_str(doc, IDEM_BODY_HASH),
                         biz_hex(req->pool, digest, sizeof(digest)));
}

static biz_code replay(biz_req *req, biz_reply *reply, const store_doc *doc)
{
    const char *answer = store_str(doc, IDEM_ANSWER);
    biz_json *json;
    size_t position;

    /* The ETag is not kept: it says what the body says. */
    if ((req->route->flags & BIZ_VERSIONED) && answer != NULL &&
        biz_json_parse(req->pool, answer, strlen(answer), BIZ_JSON_DEPTH, &json, &position) ==
            APR_SUCCESS)
        reply->version = biz_json_int(biz_json_get(json, "data"), "version", 0);
    reply->status = (int)store_int(doc, IDEM_STATUS);
    reply->raw = answer != NULL ? answer : "";
    reply->raw_len = strlen(reply->raw);
    reply->raw_type = "application/json";
    apr_table_setn(reply->headers, "Idempotent-Replayed", "true");
    return BIZ_OK;
}

/* The key is there already: replay, refuse, or take over from a worker that died. */
static biz_code seen_before(biz_req *req, biz_reply *reply, idempotency *idem, const char *hash,
                            int *replayed)
{
    store_doc *doc;
    store_change take[] = {
        STORE_SET_TIME(IDEM_LEASE_UNTIL, req->now + apr_time_from_sec(LEASE_SECONDS))};
    store_cond conds[] = {STORE_EQ_STR(IDEM_STATE, "running"),
                          STORE_LE_TIME(IDEM_LEASE_UNTIL, req->now)};
    apr_status_t status = store_get(req->env->store, req->pool, COLL_IDEMPOTENCY, idem->id, &doc);

    if (status == STORE_ENOENT)
        return biz_fail(reply, BIZ_IDEMPOTENCY_IN_PROGRESS, NULL, NULL);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    if (!same_body(req, doc, hash))
        return biz_fail(reply, BIZ_IDEMPOTENCY_KEY_REUSED, NULL, NULL);
    if (!strcmp(store_str(doc, IDEM_STATE), "done")) {
        *replayed = 1;
        return replay(req, reply, doc);
    }
    status = store_update(req->env->store, req->pool, COLL_IDEMPOTENCY, idem->id, conds,
                          STORE_COUNT_OF(conds), take, STORE_COUNT_OF(take), NULL);
    if (status == STORE_ECOND || status == STORE_ENOENT)
        return biz_fail(reply, BIZ_IDEMPOTENCY_IN_PROGRESS, NULL, NULL);
    return status == APR_SUCCESS ? BIZ_OK : biz_fail_store(req, reply, status);
}

biz_code idempotency_begin(biz_req *req, biz_reply *reply, idempotency *idem, int *replayed)
{
    const char *key = req->header(req, "Idempotency-Key"), *hash;
    store_doc *doc;
    apr_status_t status;

    idem->id = NULL;
    *replayed = 0;
    if (!(req->route->flags & BIZ_IDEMPOTENT) || key == NULL)
        return BIZ_OK;
    if (!biz_valid_line(key, 1, IDEMPOTENCY_KEY_MAX))
        return biz_fail(reply, BIZ_INVALID_REQUEST, "Idempotency-Key",
                        "Idempotency-Key must have 1 to 255 characters.");
    hash = body_hash(req);
    idem->id = biz_sha256_hex(
        req->pool, apr_pstrcat(req->pool, req->route->method, " ", req->path, "\n",
                               req->user != NULL ? store_doc_id(req->user) : "-", "\n", key, NULL));
    doc = store_doc_new(req->pool, COLL_IDEMPOTENCY);
    store_doc_set_id(doc, idem->id);
    store_set_str(doc, IDEM_BODY_HASH, hash);
    store_set_str(doc, IDEM_STATE, "running");
    store_set_time(doc, IDEM_LEASE_UNTIL, req->now + apr_time_from_sec(LEASE_SECONDS));
    store_set_time(doc, IDEM_EXPIRES_AT, req->now + apr_time_from_sec(KEEP_HOURS * 3600));
    req->once = biz_sha256_hex(req->pool, apr_pstrcat(req->pool, idem->id, " ", hash, NULL));
    status = store_insert(req->env->store, req->pool, doc, NULL);
    if (status == STORE_EEXIST)
        return seen_before(req, reply, idem, hash, replayed);
    return status == APR_SUCCESS ? BIZ_OK : biz_fail_store(req, reply, status);
}

/* Answers that depend on the moment are not kept: the same request may fare better later. */
static int is_final(int status)
{
    return status < 500 && status != 401 && status != 403 && status != 409 && status != 428 &&
           status != 429;
}

void idempotency_end(biz_req *req, const biz_reply *reply, const idempotency *idem)
{
    int status_code = reply->code != BIZ_OK ? biz_code_status(reply->code) : reply->status;
    const char *answer;
    apr_status_t status;

    if (idem->id == NULL)
        return;
    if (is_final(status_code)) {
        answer = reply->raw != NULL ? reply->raw : biz_reply_text(req, reply, NULL);
        store_change keep[] = {STORE_SET_STR(IDEM_STATE, "done"),
                               STORE_SET_INT(IDEM_STATUS, status_code),
                               STORE_SET_STR(IDEM_ANSWER, answer)};
        status = store_update(req->env->store, req->pool, COLL_IDEMPOTENCY, idem->id, NULL, 0, keep,
                              STORE_COUNT_OF(keep), NULL);
    } else {
        status = store_delete(req->env->store, req->pool, COLL_IDEMPOTENCY, idem->id, NULL, 0);
    }
    if (status != APR_SUCCESS && status != STORE_ENOENT)
        biz_log(BIZ_LOG_WARN, status,
                BZ(0101) "the answer under an Idempotency-Key could not be kept; a repeat within a "
                         "minute gets 409, later ones are worked again");
}
