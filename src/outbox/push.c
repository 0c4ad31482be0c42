/* push.c: the channel of push messages, by Firebase. A row of a user becomes a row for each of the
 * user's devices, each under a key of its own, so that a kill in between doubles none. A device
 * that Firebase no longer knows is forgotten. Called by worker.c. */
#include "job.h"

#include <string.h>

#include <apr_strings.h>

#include "integrations/fcm.h"
#include "integrations/registry.h"

enum { DEVICES_MAX = 50, USE_SECONDS = 86400 };

typedef struct {
    const char *name;
    fcm *fcm;
} push_way;

static void *push_open(apr_pool_t *pool, const biz_env *env, const char **why)
{
    push_way *way = apr_pcalloc(pool, sizeof(*way));
    int on = env->registry && env->registry->firebase;

    way->name = on ? "firebase" : "off";
    way->fcm = on ? fcm_new(pool, env) : NULL;
    return way;
}

static const char *push_name(const void *way)
{
    return ((const push_way *)way)->name;
}

/* ---- one row becomes many ---- */

static apr_status_t hand_on(job *j, const store_doc *device)
{
    const char *data = store_str(j->row, OUTBOX_DATA);
    outbox_message m = {
        .channel = OUTBOX_PUSH,
        .kind = store_str(j->row, OUTBOX_KIND),
        .recipient = store_doc_id(device),
        .user_id = store_str(j->row, OUTBOX_USER_ID),
        .unique_key = apr_pstrcat(j->pool, store_doc_id(j->row), ":", store_doc_id(device), NULL),
        .not_after = store_time(j->row, OUTBOX_NOT_AFTER)};
    size_t position;
    apr_status_t status;

    biz_json_parse(j->pool, data, strlen(data), BIZ_JSON_DEPTH, &m.data, &position);
    status = outbox_add(j->store, j->pool, &m);
    return status == STORE_EEXIST ? APR_SUCCESS : status;
}

static job_end to_each_device(job *j)
{
    const char *user = store_str(j->row, OUTBOX_USER_ID);
    store_cond conds[] = {STORE_EQ_STR(PUSH_USER_ID, user)};
    store_query query = {.coll = COLL_PUSH_DEVICES,
                         .index = "push_user",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = DEVICES_MAX};
    apr_array_header_t *devices;
    apr_status_t status;

    if (!user) {
        return job_ends(j, JOB_DEAD, "the row has no user");
    }
    status = store_find(j->store, j->pool, &query, &devices, NULL);
    for (int i = 0; status == APR_SUCCESS && i < devices->nelts; i++) {
        status = hand_on(j, APR_ARRAY_IDX(devices, i, store_doc *));
    }
    return status != APR_SUCCESS
               ? job_store_failed(j, status)
               : job_ends(j, JOB_DROPPED,
                          apr_psprintf(j->pool, "handed on to %d devices", devices->nelts));
}

/* ---- one device ---- */

static job_end forget(job *j, const store_doc *device)
{
    store_cond conds[] = {STORE_EQ_STR(PUSH_TOKEN, store_str(device, PUSH_TOKEN))};
    apr_status_t status = store_delete(j->store, j->pool, COLL_PUSH_DEVICES, store_doc_id(device),
                                       conds, STORE_COUNT_OF(conds));

    return status == APR_SUCCESS || status == STORE_ENOENT || status == STORE_ECOND
               ? job_ends(j, JOB_DROPPED, "the device is no longer registered")
               : job_store_failed(j, status);
}

/* When it last worked is good to know; that it is not noted does no harm. */
static job_end was_sent(job *j, const store_doc *device)
{
    store_change change[] = {STORE_SET_TIME(PUSH_LAST_OK_AT, j->now)};

    store_update(j->store, j->pool, COLL_PUSH_DEVICES, store_doc_id(device), NULL, 0, change,
                 STORE_COUNT_OF(change), NULL);
    return JOB_SENT;
}

static fcm_message message_of(const job *j, const store_doc *device)
{
    apr_time_t until = store_time(j->row, OUTBOX_NOT_AFTER);
    apr_int64_t left = until ? (apr_int64_t)apr_time_sec(until - j->now) : USE_SECONDS;
    fcm_message m = {.token = store_str(device, PUSH_TOKEN),
                     .id = store_doc_id(j->row),
                     .title = j->title ? j->title
                                       : biz_brand(j->settings, "name", j->settings->server_name),
                     .text = j->text,
                     .link = j->link,
                     .seconds = (int)(left < USE_SECONDS ? left : USE_SECONDS)};

    return m;
}

static job_end push_send(void *way_, job *j)
{
    const push_way *way = way_;
    client_answer answer;
    store_doc *device;
    fcm_message m;
    apr_status_t status;

    if (!j->to) {
        return to_each_device(j);
    }
    status = store_get(j->store, j->pool, COLL_PUSH_DEVICES, j->to, &device);
    if (status != APR_SUCCESS && status != STORE_ENOENT) {
        return job_store_failed(j, status);
    }
    /* A device may have changed hands since. */
    if (status == STORE_ENOENT || !store_str(j->row, OUTBOX_USER_ID) ||
        strcmp(store_str(device, PUSH_USER_ID), store_str(j->row, OUTBOX_USER_ID)) != 0) {
        return job_ends(j, JOB_DROPPED, "the device is no longer registered");
    }
    m = message_of(j, device);
    j->flags |= KIND_TWICE; /* a second copy takes the place of the first */
    switch (fcm_send(way->fcm, j->pool, &m, &answer, &j->provider_id)) {
    case FCM_SENT:
        return was_sent(j, device);
    case FCM_GONE:
        return forget(j, device);
    case FCM_REFUSED:
        return job_ends(j, JOB_DEAD, answer.error);
    case FCM_CLIENT:
        break;
    }
    return job_by_client(j, &answer);
}

const outbox_channel outbox_push = {.name = OUTBOX_PUSH,
                                    .wakes = 1,
                                    .lease = OUTBOX_LEASE_SECONDS,
                                    .open = push_open,
                                    .name_of = push_name,
                                    .reader = job_reader_by_user,
                                    .send = push_send};
