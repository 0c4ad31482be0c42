/* events.c: what providers told us, for administrators: GET /admin/webhook-events and POST
 * /admin/webhook-events/{id}/replay. */
#include "admin.h"

#include <string.h>

#include "audit/audit.h"
#include "core/valid.h"
#include "integrations/webhook.h"

static biz_json *event_json(apr_pool_t *pool, const store_doc *event)
{
    const char *payload = store_str(event, EVENT_PAYLOAD);
    biz_json *json = biz_json_object(pool), *body = NULL;
    size_t position;

    if (payload != NULL)
        biz_json_parse(pool, payload, strlen(payload), BIZ_JSON_DEPTH, &body, &position);
    biz_json_set_str(json, "id", store_doc_id(event));
    biz_json_set_str(json, "provider", store_str(event, EVENT_PROVIDER));
    biz_json_set_str(json, "event_id", store_str(event, EVENT_EVENT_ID));
    biz_json_set_str(json, "type", store_str(event, EVENT_TYPE));
    biz_json_set_time(json, "received_at", store_time(event, STORE_CREATED_AT));
    biz_json_set_str(json, "status", store_str(event, EVENT_STATUS));
    biz_json_set_int(json, "tries", store_int(event, EVENT_TRIES));
    biz_json_set_time(json, "worked_at", store_time(event, EVENT_WORKED_AT));
    biz_json_set_str(json, "last_error", store_str(event, EVENT_LAST_ERROR));
    biz_json_set(json, "payload",
                 biz_json_kind(body) == BIZ_JSON_OBJECT ? body : biz_json_object(pool));
    return json;
}

biz_code admin_webhook_events(biz_req *req, biz_reply *reply)
{
    const char *provider = biz_field_str(req, "provider"), *word = biz_field_str(req, "status");
    store_cond conds[2];
    store_query query = {.coll = COLL_EVENTS,
                         .index = word       ? "events_status"
                                  : provider ? "events_provider"
                                             : "events_created",
                         .conds = conds,
                         .descending = 1};
    apr_array_header_t *events;
    apr_status_t status;

    if (word != NULL)
        conds[query.n_conds++] = (store_cond)STORE_EQ_STR(EVENT_STATUS, word);
    if (provider != NULL)
        conds[query.n_conds++] = (store_cond)STORE_EQ_STR(EVENT_PROVIDER, provider);
    if (biz_page_of(req, reply, &query.limit, &query.cursor) != BIZ_OK)
        return reply->code;
    status = store_find(req->env->store, req->pool, &query, &events, &reply->next_cursor);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_array(req->pool);
    for (int i = 0; i < events->nelts; i++)
        biz_json_add(reply->data, event_json(req->pool, APR_ARRAY_IDX(events, i, store_doc *)));
    return BIZ_OK;
}

biz_code admin_webhook_replay(biz_req *req, biz_reply *reply)
{
    const char *id = apr_table_get(req->params, "id");
    apr_status_t status =
        biz_valid_id(id, "whe") ? webhook_replay(req->env->store, req->pool, id) : STORE_ENOENT;

    if (status == STORE_ECOND)
        return biz_fail(reply, BIZ_INVALID_STATE, NULL, NULL);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    audit_note(req, "webhook_event_replayed", NULL, audit_detail(req->pool, "id", id));
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "received");
    return BIZ_OK;
}
