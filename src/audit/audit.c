/* audit.c: see audit.h. Writes the chain: called by the dispatcher, by the background job and by
 * bizapictl.
 *
 * Any number of writers, threads, processes and machines, append to the one chain: the next number
 * is tried under a unique key, and who lost reads the end of the chain again. Inside a process the
 * writers take turns, so that those who contend are the processes. An insert is all it takes; the
 * store is the only truth, so that a lost answer or a killed writer leaves nothing to mend. */
#include "audit.h"

#include <string.h>
#include <apr_strings.h>
#include <apr_thread_mutex.h>

#include "chain.h"

/* No request waits longer for its turn, nor tries longer for a number; the store's own bound comes
 * on top. */
#define PATIENCE apr_time_from_sec(4)

enum { MAC_SIZE = 2 * BIZ_SHA256_LEN + 1 };

struct biz_audit {
    store *store;
    const unsigned char *key;
    apr_thread_mutex_t *turn;
    /* The end of the chain as this process saw it last; guarded by `turn`. */
    int known;
    int64_t seq;
    char mac[MAC_SIZE];
};

biz_audit *audit_open(apr_pool_t *pool, store *s, const unsigned char *key)
{
    biz_audit *a = apr_pcalloc(pool, sizeof(*a));

    a->store = s;
    a->key = key;
    if (apr_thread_mutex_create(&a->turn, APR_THREAD_MUTEX_TIMED, pool) != APR_SUCCESS)
        return NULL;
    return a;
}

/* ---- the end of the chain ---- */

static void learn(biz_audit *a, int64_t seq, const char *mac)
{
    a->known = 1;
    a->seq = seq;
    apr_cpystrn(a->mac, mac, sizeof(a->mac));
}

/* A mark only ever moves on. */
static apr_status_t move_mark(biz_audit *a, apr_pool_t *pool, const char *mark, int64_t seq,
                              const char *mac)
{
    const char *sig = audit_mark_sig(pool, a->key, mark, seq, mac);
    store_cond behind[] = {{MARK_SEQ, STORE_LT, STORE_V_INT(seq)}};
    store_change changes[] = {STORE_SET_INT(MARK_SEQ, seq), STORE_SET_STR(MARK_MAC, mac),
                              STORE_SET_STR(MARK_SIG, sig)};
    store_doc *doc;
    apr_status_t status = store_update(a->store, pool, COLL_AUDIT_MARKS, mark, behind, 1, changes,
                                       STORE_COUNT_OF(changes), NULL);

    if (status == STORE_ENOENT) {
        doc = store_doc_new(pool, COLL_AUDIT_MARKS);
        store_doc_set_id(doc, mark);
        store_set_int(doc, MARK_SEQ, seq);
        store_set_str(doc, MARK_MAC, mac);
        store_set_str(doc, MARK_SIG, sig);
        status = store_insert(a->store, pool, doc, NULL);
        if (status == STORE_EEXIST)
            status = store_update(a->store, pool, COLL_AUDIT_MARKS, mark, behind, 1, changes,
                                  STORE_COUNT_OF(changes), NULL);
    }
    return status == STORE_ECOND ? APR_SUCCESS : status;
}

static apr_status_t read_end(biz_audit *a, apr_pool_t *pool)
{
    store_cond any[] = {{AUDIT_SEQ, STORE_GT, STORE_V_INT(0)}};
    store_query last = {.coll = COLL_AUDIT,
                        .index = "audit_seq",
                        .conds = any,
                        .n_conds = STORE_COUNT_OF(any),
                        .descending = 1};
    const char *mac;
    store_doc *doc;
    apr_status_t status = store_find_one(a->store, pool, &last, &doc);

    if (status == STORE_ENOENT) {
        /* Before the first row, so that from then on a missing mark was taken away. */
        status = move_mark(a, pool, AUDIT_HEAD, 0, AUDIT_ORIGIN);
        if (status == APR_SUCCESS)
            learn(a, 0, AUDIT_ORIGIN);
    } else if (status == APR_SUCCESS) {
        mac = store_str(doc, AUDIT_MAC);
        learn(a, store_int(doc, AUDIT_SEQ), mac != NULL ? mac : AUDIT_ORIGIN);
    }
    return status;
}

/* ---- append ---- */

static store_doc *row_of(apr_pool_t *pool, const audit_event *event)
{
    store_doc *row = store_doc_new(pool, COLL_AUDIT);

    if (event->once != NULL)
        store_doc_set_id(row, apr_psprintf(pool, "aud_0%.25s", biz_sha256_hex(pool, event->once)));
    store_set_time(row, AUDIT_AT, event->at);
    store_set_str(row, AUDIT_EVENT, event->name);
    store_set_str(row, AUDIT_USER_ID, event->user_id);
    store_set_str(row, AUDIT_ACTOR_ID, event->actor_id);
    store_set_str(row, AUDIT_IP, event->ip);
    store_set_str(row, AUDIT_AGENT, event->user_agent);
    store_set_str(row, AUDIT_REQUEST_ID, event->request_id);
    store_set_str(row, AUDIT_DETAILS, event->details);
    return row;
}

/* With the turn taken. */
static apr_status_t insert_next(biz_audit *a, apr_pool_t *pool, store_doc *row)
{
    apr_status_t status = APR_SUCCESS;
    apr_time_t began = apr_time_now(), now;
    const char *index = NULL;

    /* A clock that is set back ends it too. */
    for (now = began; now >= began && now - began < PATIENCE; now = apr_time_now()) {
        if (!a->known)
            status = read_end(a, pool);
        if (status != APR_SUCCESS)
            return status;
        store_set_int(row, AUDIT_SEQ, a->seq + 1);
        store_set_str(row, AUDIT_MAC, audit_row_mac(pool, a->key, a->mac, row));
        status = store_insert(a->store, pool, row, &index);
        if (status == APR_SUCCESS) {
            learn(a, a->seq + 1, store_str(row, AUDIT_MAC));
            return APR_SUCCESS;
        }
        a->known = 0; /* somebody else was first, or nobody knows whether we were */
        if (status != STORE_EEXIST || strcmp(index, "_id") == 0)
            return status;
        status = APR_SUCCESS;
    }
    return STORE_EUNAVAIL;
}

apr_status_t audit_append(biz_audit *a, apr_pool_t *pool, const audit_event *event)
{
    store_doc *row = row_of(pool, event);
    apr_status_t status = apr_thread_mutex_timedlock(a->turn, PATIENCE);

    if (status != APR_SUCCESS)
        return STORE_EUNAVAIL;
    status = insert_next(a, pool, row);
    apr_thread_mutex_unlock(a->turn);
    /* The row is what counts. A mark that stays behind is moved by the next event. */
    if (status == APR_SUCCESS)
        (void)move_mark(a, pool, AUDIT_HEAD, store_int(row, AUDIT_SEQ), store_str(row, AUDIT_MAC));
    return status == STORE_EEXIST ? APR_SUCCESS : status; /* it was there: see `once` */
}

/* ---- in a request ---- */

static audit_event *event_of(biz_req *req, const char *name, const char *user_id,
                             const char *details)
{
    audit_event *event = apr_pcalloc(req->pool, sizeof(*event));
    const char *caller = req->user != NULL ? store_doc_id(req->user) : NULL;

    event->name = name;
    event->user_id = user_id;
    event->actor_id =
        caller != NULL && (user_id == NULL || strcmp(caller, user_id) != 0) ? caller : NULL;
    event->ip = req->address;
    event->user_agent = req->user_agent;
    event->request_id = req->id;
    event->details = details;
    event->at = req->now;
    return event;
}

void audit_note(biz_req *req, const char *name, const char *user_id, const char *details)
{
    audit_event **end = &req->events;

    while (*end != NULL)
        end = &(*end)->next;
    *end = event_of(req, name, user_id, details);
}

const char *audit_detail(apr_pool_t *pool, const char *name, const char *value)
{
    biz_json *details = biz_json_object(pool);

    biz_json_set_str(details, name, value);
    return biz_json_text(pool, details, NULL);
}

biz_code audit_commit(biz_req *req, biz_reply *reply)
{
    apr_status_t status = APR_SUCCESS;
    uint64_t held;

    for (; req->events != NULL && status == APR_SUCCESS; req->events = req->events->next) {
        status = audit_append(req->env->audit, req->pool, req->events);
        if (status != APR_SUCCESS && biz_minute(req->env->shared, BIZ_MINUTE_AUDIT, &held))
            biz_log(BIZ_LOG_ERR, status,
                    BZ(0570) "%s could not be written to the audit log, so the request was "
                             "answered 503 (%lu more since the last line); a line above says what "
                             "the store lacks",
                    req->events->name, (unsigned long)held);
    }
    if (status == APR_SUCCESS || (reply->code != BIZ_OK && biz_code_status(reply->code) >= 500))
        return reply->code;
    return biz_fail(reply, BIZ_STORE_UNAVAILABLE, NULL, NULL);
}

/* ---- retention ---- */

/* The last of the rows that may go, NULL where there is none. */
static apr_status_t find_last_to_go(biz_audit *a, apr_pool_t *pool, apr_time_t before, int limit,
                                    store_doc **last, apr_array_header_t **rows)
{
    store_cond any[] = {{AUDIT_SEQ, STORE_GT, STORE_V_INT(0)}};
    store_query oldest = {.coll = COLL_AUDIT,
                          .index = "audit_seq",
                          .conds = any,
                          .n_conds = STORE_COUNT_OF(any),
                          .limit = limit + 1};
    apr_status_t status = store_find(a->store, pool, &oldest, rows, NULL);
    int i;

    *last = NULL;
    /* The last one read stays: it may be the end of the chain. */
    for (i = 0; status == APR_SUCCESS && i < (*rows)->nelts - 1; i++) {
        store_doc *row = APR_ARRAY_IDX(*rows, i, store_doc *);

        if (store_time(row, AUDIT_AT) >= before)
            break;
        *last = row;
    }
    return status;
}

apr_status_t audit_sweep(biz_audit *a, apr_pool_t *pool, apr_time_t before, int limit, int *removed)
{
    apr_array_header_t *rows;
    store_doc *last;
    apr_status_t status = find_last_to_go(a, pool, before, limit, &last, &rows);
    int i;

    *removed = 0;
    if (status != APR_SUCCESS || last == NULL || store_is_null(last, AUDIT_MAC))
        return status;
    /* The mark first: rows that are missing before it was moved would look like a theft. */
    status = move_mark(a, pool, AUDIT_BASE, store_int(last, AUDIT_SEQ), store_str(last, AUDIT_MAC));
    for (i = 0; i < rows->nelts && status == APR_SUCCESS; i++) {
        store_doc *row = APR_ARRAY_IDX(rows, i, store_doc *);

        if (store_int(row, AUDIT_SEQ) > store_int(last, AUDIT_SEQ))
            break;
        status = store_delete(a->store, pool, COLL_AUDIT, store_doc_id(row), NULL, 0);
        if (status == STORE_ENOENT)
            status = APR_SUCCESS;
        *removed += status == APR_SUCCESS;
    }
    return status;
}
