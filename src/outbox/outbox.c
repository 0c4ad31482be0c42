/* outbox.c: the queue of everything that only notifies, as requests, staff and providers see it: a
 * row is put in, made due again, cancelled, or moved on by what its provider tells. worker.c does
 * the rest. Nothing here sends anything. */
#include "outbox.h"

#include <limits.h>
#include <string.h>

#include <apr_strings.h>

#include "core/str.h"

enum { BACKOFF_FIRST = 30, BACKOFF_LAST = 6 * 3600, ERROR_SHOWN = 300, SETTLE_TRIES = 5 };

/* ---- in ---- */

apr_status_t outbox_add(store *s, apr_pool_t *pool, const outbox_message *m)
{
    store_doc *row = store_doc_new(pool, COLL_OUTBOX);

    store_set_str(row, OUTBOX_KIND, m->kind);
    store_set_str(row, OUTBOX_CHANNEL, m->channel);
    store_set_str(row, OUTBOX_STATE, "queued");
    store_set_time(row, OUTBOX_DUE_AT, m->due_at ? m->due_at : apr_time_now());
    store_set_int(row, OUTBOX_TRIES, 0);
    store_set_str(row, OUTBOX_RECIPIENT, m->recipient);
    store_set_str(row, OUTBOX_USER_ID, m->user_id);
    store_set_str(row, OUTBOX_UNIQUE_KEY, m->unique_key);
    store_set_str(row, OUTBOX_DATA, m->data ? biz_json_text(pool, m->data, NULL) : NULL);
    if (m->not_after) {
        store_set_time(row, OUTBOX_NOT_AFTER, m->not_after);
    }
    return store_insert(s, pool, row, NULL);
}

apr_status_t outbox_put(store *s, apr_pool_t *pool, const char *kind, const char *recipient,
                        const char *user_id, biz_json *data)
{
    outbox_message m = {.channel = OUTBOX_MAIL,
                        .kind = kind,
                        .recipient = recipient,
                        .user_id = user_id,
                        .data = data};

    return outbox_add(s, pool, &m);
}

biz_json *outbox_notice_data(apr_pool_t *pool, const char *event, const char *ip,
                             const char *detail, apr_time_t at)
{
    biz_json *data = biz_json_object(pool);

    biz_json_set_str(data, "event", event);
    biz_json_set_int(data, "at", at);
    if (ip) {
        biz_json_set_str(data, "ip", ip);
    }
    if (detail) {
        biz_json_set_str(data, "detail", detail);
    }
    return data;
}

const char *outbox_channel_of(const store_doc *row)
{
    const char *channel = store_str(row, OUTBOX_CHANNEL);

    return channel ? channel : OUTBOX_MAIL;
}

/* ---- by staff ---- */

biz_json *outbox_json(apr_pool_t *pool, const store_doc *row)
{
    biz_json *json = biz_json_object(pool);

    biz_json_set_str(json, "id", store_doc_id(row));
    biz_json_set_str(json, "kind", store_str(row, OUTBOX_KIND));
    biz_json_set_str(json, "channel", outbox_channel_of(row));
    biz_json_set_str(json, "state", store_str(row, OUTBOX_STATE));
    biz_json_set_str(json, "recipient", store_str(row, OUTBOX_RECIPIENT));
    biz_json_set_str(json, "user_id", store_str(row, OUTBOX_USER_ID));
    biz_json_set_int(json, "tries", store_int(row, OUTBOX_TRIES));
    biz_json_set_bool(json, "being_sent", !store_is_null(row, OUTBOX_LEASE));
    biz_json_set_time(json, "due_at", store_time(row, OUTBOX_DUE_AT));
    biz_json_set_time(json, "sent_at", store_time(row, OUTBOX_SENT_AT));
    biz_json_set_str(json, "last_error", store_str(row, OUTBOX_LAST_ERROR));
    biz_json_set_str(json, "provider_id", store_str(row, OUTBOX_PROVIDER_ID));
    biz_json_set_time(json, "created_at", store_time(row, STORE_CREATED_AT));
    return json;
}

static int is_leased(const store_doc *row, apr_time_t now)
{
    return !store_is_null(row, OUTBOX_LEASE) && store_time(row, OUTBOX_DUE_AT) > now;
}

apr_status_t outbox_retry(store *s, apr_pool_t *pool, const char *id)
{
    apr_time_t now = apr_time_now();
    const char *state, *lease;
    store_doc *row;
    apr_status_t status = store_get(s, pool, COLL_OUTBOX, id, &row);

    if (status != APR_SUCCESS) {
        return status;
    }
    state = store_str(row, OUTBOX_STATE);
    lease = store_str(row, OUTBOX_LEASE);
    if (!state || strcmp(state, "sent") == 0 || strcmp(state, "delivered") == 0 ||
        is_leased(row, now)) {
        return STORE_ECOND;
    }
    {
        store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, state), STORE_EQ_STR(OUTBOX_LEASE, lease)};
        store_change changes[] = {STORE_SET_STR(OUTBOX_STATE, "queued"),
                                  STORE_SET_TIME(OUTBOX_DUE_AT, now),
                                  STORE_SET_INT(OUTBOX_TRIES, 0), STORE_SET_NULL(OUTBOX_LEASE),
                                  STORE_SET_NULL(OUTBOX_EXPIRES_AT)};

        return store_update(s, pool, COLL_OUTBOX, id, conds, STORE_COUNT_OF(conds), changes,
                            STORE_COUNT_OF(changes), NULL);
    }
}

apr_status_t outbox_cancel(store *s, apr_pool_t *pool, const char *id)
{
    apr_time_t now = apr_time_now();
    store_doc *row;
    apr_status_t status = store_get(s, pool, COLL_OUTBOX, id, &row);

    if (status != APR_SUCCESS) {
        return status;
    }
    if (is_leased(row, now)) {
        return STORE_ECOND;
    }
    {
        store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, "queued"),
                              STORE_EQ_STR(OUTBOX_LEASE, store_str(row, OUTBOX_LEASE))};
        store_change changes[] = {
            STORE_SET_STR(OUTBOX_STATE, "cancelled"), STORE_SET_NULL(OUTBOX_LEASE),
            STORE_SET_NULL(OUTBOX_SEALED),
            STORE_SET_TIME(OUTBOX_EXPIRES_AT, now + apr_time_from_sec(OUTBOX_KEEP_DAYS * 86400))};

        return store_update(s, pool, COLL_OUTBOX, id, conds, STORE_COUNT_OF(conds), changes,
                            STORE_COUNT_OF(changes), NULL);
    }
}

/* ---- by providers ---- */

/* How far a row has come; the reports of a provider may come in any order. A row that is still
 * leased has been handed over already where its provider speaks of it. */
static int rank_of(const char *state)
{
    static const char *const order[] = {"queued", "unknown", "sent", "delivered", "bounced"};
    int i;

    for (i = 0; i < (int)STORE_COUNT_OF(order) && state; i++) {
        if (strcmp(state, order[i]) == 0) {
            return i;
        }
    }
    return INT_MAX; /* settled by ourselves: no report changes that */
}

static apr_status_t find_row(store *s, apr_pool_t *pool, const char *id, const char *provider_id,
                             store_doc **row)
{
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_PROVIDER_ID, provider_id)};
    store_query query = {.coll = COLL_OUTBOX,
                         .index = "outbox_provider_id",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = 1};

    if (id) {
        return store_get(s, pool, COLL_OUTBOX, id, row);
    }
    return provider_id ? store_find_one(s, pool, &query, row) : STORE_ENOENT;
}

static int is_queued(const store_doc *row)
{
    const char *state = store_str(row, OUTBOX_STATE);

    return state && strcmp(state, "queued") == 0;
}

/* One message has one id. SendGrid's reports have it with more behind a point. */
static int is_same_message(const char *a, const char *b)
{
    size_t len = strcspn(a, ".");

    return len == strcspn(b, ".") && strncmp(a, b, len) == 0;
}

/* About a copy that was sent before the present one: nothing was handed over since staff queued the
 * row anew; or the copy that is on its way has no id yet, and the one that is known is the earlier
 * one's; or the present copy has another id. */
static int is_of_an_earlier_copy(const store_doc *row, const char *provider_id)
{
    const char *known = store_str(row, OUTBOX_PROVIDER_ID);
    int same = known && provider_id && is_same_message(known, provider_id);

    if (is_queued(row)) {
        return same || store_int(row, OUTBOX_TRIES) == 0;
    }
    return known && provider_id && !same;
}

static apr_status_t move_on(store *s, apr_pool_t *pool, const store_doc *row, const char *to,
                            const char *provider_id, const char *why, store_doc **after)
{
    apr_time_t now = apr_time_now();
    apr_time_t sent_at = store_time(row, OUTBOX_SENT_AT);
    const char *known = is_queued(row) ? NULL : store_str(row, OUTBOX_PROVIDER_ID);
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, store_str(row, OUTBOX_STATE))};
    store_change changes[] = {
        STORE_SET_STR(OUTBOX_STATE, to),
        STORE_SET_NULL(OUTBOX_LEASE),
        STORE_SET_NULL(OUTBOX_SEALED),
        STORE_SET_STR(OUTBOX_PROVIDER_ID, known ? known : provider_id),
        STORE_SET_STR(OUTBOX_LAST_ERROR, why ? biz_printable(pool, why, ERROR_SHOWN) : NULL),
        STORE_SET_TIME(OUTBOX_SENT_AT, sent_at ? sent_at : now),
        STORE_SET_TIME(OUTBOX_EXPIRES_AT, now + apr_time_from_sec(OUTBOX_KEEP_DAYS * 86400))};

    return store_update(s, pool, COLL_OUTBOX, store_doc_id(row), conds, STORE_COUNT_OF(conds),
                        changes, STORE_COUNT_OF(changes), after);
}

apr_status_t outbox_settle(store *s, apr_pool_t *pool, const char *id, const char *provider_id,
                           outbox_report report, const char *why, store_doc **row)
{
    static const char *const states[] = {"sent", "delivered", "bounced"};
    apr_status_t status;
    int i;

    for (i = 0; i < SETTLE_TRIES; i++) {
        status = find_row(s, pool, id, provider_id, row);
        if (status == APR_SUCCESS && is_of_an_earlier_copy(*row, provider_id)) {
            *row = NULL;
            return APR_SUCCESS;
        }
        if (status != APR_SUCCESS ||
            rank_of(store_str(*row, OUTBOX_STATE)) >= rank_of(states[report])) {
            return status;
        }
        status = move_on(s, pool, *row, states[report], provider_id, why, row);
        if (status != STORE_ECOND) { /* else somebody moved it meanwhile: look again */
            return status;
        }
    }
    return STORE_EUNAVAIL;
}

/* ---- */

apr_interval_time_t outbox_backoff(int tries, unsigned random)
{
    apr_interval_time_t seconds = BACKOFF_FIRST;

    for (int i = 1; i < tries && seconds < BACKOFF_LAST; i++) {
        seconds *= 2;
    }
    if (seconds > BACKOFF_LAST) {
        seconds = BACKOFF_LAST;
    }
    /* 80 % to 120 %, in thousandths. */
    return apr_time_from_sec(seconds) / 1000 * (800 + random % 401);
}
