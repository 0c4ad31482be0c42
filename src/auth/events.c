/* events.c: the audit log as the API shows it: GET /auth/events to everybody their own, GET
 * /admin/audit to admins all of it. Newest first. */
#include "auth.h"

#include <apr_strings.h>

#include "audit/audit.h"
#include "core/time.h"

static biz_json *own_json(apr_pool_t *pool, const store_doc *row)
{
    biz_json *json = biz_json_object(pool);

    biz_json_set_str(json, "id", store_doc_id(row));
    biz_json_set_str(json, "event", store_str(row, AUDIT_EVENT));
    biz_json_set_time(json, "at", store_time(row, AUDIT_AT));
    biz_json_set_str(json, "address", store_str(row, AUDIT_IP));
    biz_json_set_str(json, "device", store_str(row, AUDIT_AGENT));
    biz_json_set_bool(json, "by_staff", !store_is_null(row, AUDIT_ACTOR_ID));
    return json;
}

static biz_code list(biz_req *req, biz_reply *reply, store_query *query,
                     biz_json *(*show)(apr_pool_t *, const store_doc *))
{
    apr_array_header_t *rows;
    apr_status_t status;
    int i;

    query->coll = COLL_AUDIT;
    query->descending = 1;
    if (biz_page_of(req, reply, &query->limit, &query->cursor) != BIZ_OK)
        return reply->code;
    status = store_find(req->env->store, req->pool, query, &rows, &reply->next_cursor);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_array(req->pool);
    for (i = 0; i < rows->nelts; i++)
        biz_json_add(reply->data, show(req->pool, APR_ARRAY_IDX(rows, i, store_doc *)));
    return BIZ_OK;
}

biz_code auth_events(biz_req *req, biz_reply *reply)
{
    store_cond conds[] = {STORE_EQ_STR(AUDIT_USER_ID, store_doc_id(req->user))};
    store_query query = {.index = "audit_user", .conds = conds, .n_conds = STORE_COUNT_OF(conds)};

    return list(req, reply, &query, own_json);
}

/* 0 where the parameter is not given. */
static biz_code instant(biz_req *req, biz_reply *reply, const char *name, apr_time_t *t)
{
    const char *text = biz_field_str(req, name);

    *t = 0;
    if (text == NULL || biz_time_parse(text, t))
        return BIZ_OK;
    return biz_fail(
        reply, BIZ_VALIDATION_FAILED, name,
        apr_pstrcat(req->pool, name, " must be an instant such as 2026-10-25T08:00:00Z.", NULL));
}

biz_code admin_audit(biz_req *req, biz_reply *reply)
{
    static const struct {
        const char *field, *index;
        store_fid fid;
    } filters[] = {{"user_id", "audit_user", AUDIT_USER_ID},
                   {"address", "audit_ip", AUDIT_IP},
                   {"event", "audit_event", AUDIT_EVENT}};
    store_cond conds[5];
    store_query query = {.index = "audit_at", .conds = conds};
    apr_time_t from, to;
    size_t i;

    if (instant(req, reply, "from", &from) != BIZ_OK || instant(req, reply, "to", &to) != BIZ_OK)
        return reply->code;
    for (i = STORE_COUNT_OF(filters); i-- > 0;) {
        const char *value = biz_field_str(req, filters[i].field);

        if (value == NULL)
            continue;
        conds[query.n_conds++] = (store_cond)STORE_EQ_STR(filters[i].fid, value);
        query.index = filters[i].index;
    }
    if (from != 0)
        conds[query.n_conds++] = (store_cond)STORE_GE_TIME(AUDIT_AT, from);
    if (to != 0)
        conds[query.n_conds++] = (store_cond)STORE_LT_TIME(AUDIT_AT, to);
    return list(req, reply, &query, audit_json);
}
