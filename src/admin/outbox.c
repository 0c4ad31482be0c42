/* outbox.c: what is to be sent and what became of it, for administrators: GET /admin/outbox, POST
 * /admin/outbox/{id}/retry and /cancel. */
#include "admin.h"

#include "audit/audit.h"
#include "core/valid.h"
#include "outbox/outbox.h"

biz_code admin_outbox(biz_req *req, biz_reply *reply)
{
    const char *word = biz_field_str(req, "state"), *channel = biz_field_str(req, "channel");
    store_cond conds[2];
    store_query query = {.coll = COLL_OUTBOX,
                         .index = word != NULL ? "outbox_state_created" : NULL,
                         .conds = conds,
                         .descending = 1};
    apr_array_header_t *rows;
    apr_status_t status;

    if (word != NULL)
        conds[query.n_conds++] = (store_cond)STORE_EQ_STR(OUTBOX_STATE, word);
    if (channel != NULL)
        conds[query.n_conds++] = (store_cond)STORE_EQ_STR(OUTBOX_CHANNEL, channel);
    if (biz_page_of(req, reply, &query.limit, &query.cursor) != BIZ_OK)
        return reply->code;
    status = store_find(req->env->store, req->pool, &query, &rows, &reply->next_cursor);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_array(req->pool);
    for (int i = 0; i < rows->nelts; i++)
        biz_json_add(reply->data, outbox_json(req->pool, APR_ARRAY_IDX(rows, i, store_doc *)));
    return BIZ_OK;
}

static biz_code change(biz_req *req, biz_reply *reply, const char *word, const char *event,
                       apr_status_t (*how)(store *s, apr_pool_t *pool, const char *id))
{
    const char *id = apr_table_get(req->params, "id");
    apr_status_t status =
        biz_valid_id(id, "obx") ? how(req->env->store, req->pool, id) : STORE_ENOENT;

    if (status == STORE_ECOND)
        return biz_fail(reply, BIZ_INVALID_STATE, NULL, NULL);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    audit_note(req, event, NULL, audit_detail(req->pool, "id", id));
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", word);
    return BIZ_OK;
}

biz_code admin_outbox_retry(biz_req *req, biz_reply *reply)
{
    return change(req, reply, "queued", "outbox_retried", outbox_retry);
}

biz_code admin_outbox_cancel(biz_req *req, biz_reply *reply)
{
    return change(req, reply, "cancelled", "outbox_cancelled", outbox_cancel);
}
