/* webhook_work.c: the background's side of webhooks: claims what was received, one event at a time
 * under a lease, lets webhook_apply.c do what it means, and settles it. Killed at any instruction
 * it leaves an event that comes due again; what events do is safe to do twice. */
#include "webhook.h"

#include <string.h>

#include <apr_strings.h>

#include "core/random.h"
#include "core/str.h"

enum { LEASE_SECONDS = 60, RETRY_SECONDS = 30, ERROR_SHOWN = 300 };

static apr_status_t claim(store *s, apr_pool_t *pool, apr_time_t now, const char *lease,
                          store_doc **event)
{
    store_cond conds[] = {STORE_EQ_STR(EVENT_STATUS, "received"), STORE_LE_TIME(EVENT_DUE_AT, now)};
    store_query query = {.coll = COLL_EVENTS,
                         .index = "events_due",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = 1};
    store_change changes[] = {STORE_SET_STR(EVENT_LEASE, lease),
                              STORE_SET_TIME(EVENT_DUE_AT, now + apr_time_from_sec(LEASE_SECONDS)),
                              STORE_INC_INT(EVENT_TRIES, 1)};

    return store_claim(s, pool, &query, changes, STORE_COUNT_OF(changes), event);
}

/* What is unhandled waits for its part of the product, however long that takes. */
static apr_status_t settle(store *s, apr_pool_t *pool, const store_doc *event, const char *word,
                           const char *why)
{
    apr_time_t now = apr_time_now();
    store_cond conds[] = {STORE_EQ_STR(EVENT_LEASE, store_str(event, EVENT_LEASE))};
    store_change changes[] = {
        STORE_SET_STR(EVENT_STATUS, word), STORE_SET_NULL(EVENT_LEASE),
        STORE_SET_TIME(EVENT_WORKED_AT, now),
        STORE_SET_STR(EVENT_LAST_ERROR, why ? biz_printable(pool, why, ERROR_SHOWN) : NULL),
        STORE_SET_TIME(EVENT_EXPIRES_AT, now + apr_time_from_sec(WEBHOOK_KEEP_DAYS * 86400))};
    int keeps = strcmp(word, "unhandled") == 0 || strcmp(word, "dead") == 0;

    return store_update(s, pool, COLL_EVENTS, store_doc_id(event), conds, STORE_COUNT_OF(conds),
                        changes, STORE_COUNT_OF(changes) - keeps, NULL);
}

static apr_status_t put_off(store *s, apr_pool_t *pool, const store_doc *event)
{
    store_cond conds[] = {STORE_EQ_STR(EVENT_LEASE, store_str(event, EVENT_LEASE))};
    store_change changes[] = {
        STORE_SET_TIME(EVENT_DUE_AT, apr_time_now() + apr_time_from_sec(RETRY_SECONDS)),
        STORE_SET_NULL(EVENT_LEASE)};

    return store_update(s, pool, COLL_EVENTS, store_doc_id(event), conds, STORE_COUNT_OF(conds),
                        changes, STORE_COUNT_OF(changes), NULL);
}

static apr_status_t give_up(store *s, apr_pool_t *pool, const store_doc *event, const char *why)
{
    biz_log(BIZ_LOG_WARN, 0,
            BZ(0832) "the event %s of %s could not be worked: %s; see GET /admin/webhook-events",
            store_doc_id(event), store_str(event, EVENT_PROVIDER), why);
    return settle(s, pool, event, "dead", why);
}

static apr_status_t work_one(store *s, apr_pool_t *pool)
{
    const char *why = "each try ended the process";
    apr_status_t status, failed = APR_SUCCESS;
    store_doc *event;

    status = claim(s, pool, apr_time_now(), biz_new_id(pool, "lse"), &event);
    if (status != APR_SUCCESS) {
        return status;
    }
    if (store_int(event, EVENT_TRIES) > WEBHOOK_MAX_TRIES) {
        return give_up(s, pool, event, why);
    }
    switch (webhook_apply(s, pool, event, &why, &failed)) {
    case EVENT_DONE:
        return settle(s, pool, event, "done", NULL);
    case EVENT_IGNORED:
        return settle(s, pool, event, "ignored", NULL);
    case EVENT_UNHANDLED:
        return settle(s, pool, event, "unhandled", NULL);
    case EVENT_BAD:
        return give_up(s, pool, event, why);
    case EVENT_LATER:
        break;
    }
    status = put_off(s, pool, event);
    return status == APR_SUCCESS ? failed : status;
}

apr_status_t webhook_work(store *s, apr_pool_t *pool, const atomic_int *stopping, int *worked)
{
    apr_status_t status = APR_SUCCESS;
    apr_pool_t *own;

    *worked = 0;
    apr_pool_create(&own, pool);
    while (*worked < WEBHOOK_BATCH && !*stopping) {
        apr_pool_clear(own);
        status = work_one(s, own);
        if (status == STORE_ECOND) { /* the lease ran out: somebody else has it */
            status = APR_SUCCESS;
        }
        if (status != APR_SUCCESS) {
            break;
        }
        ++*worked;
    }
    apr_pool_destroy(own);
    return status == STORE_ENOENT ? APR_SUCCESS : status;
}

apr_status_t webhook_replay(store *s, apr_pool_t *pool, const char *id)
{
    apr_time_t now = apr_time_now();
    store_doc *event;
    apr_status_t status = store_get(s, pool, COLL_EVENTS, id, &event);

    if (status != APR_SUCCESS) {
        return status;
    }
    if (!store_is_null(event, EVENT_LEASE) && store_time(event, EVENT_DUE_AT) > now) {
        return STORE_ECOND;
    }
    {
        store_cond conds[] = {STORE_EQ_STR(EVENT_LEASE, store_str(event, EVENT_LEASE))};
        store_change changes[] = {
            STORE_SET_STR(EVENT_STATUS, "received"), STORE_SET_TIME(EVENT_DUE_AT, now),
            STORE_SET_INT(EVENT_TRIES, 0),           STORE_SET_NULL(EVENT_LEASE),
            STORE_SET_NULL(EVENT_LAST_ERROR),        STORE_SET_NULL(EVENT_EXPIRES_AT)};

        return store_update(s, pool, COLL_EVENTS, id, conds, STORE_COUNT_OF(conds), changes,
                            STORE_COUNT_OF(changes), NULL);
    }
}
