/* push.c: the devices that get push messages: POST and DELETE /portal/push-devices. A token belongs
 * to a device, not to a person: whoever signs in there last has it. */
#include "portal.h"

#include "integrations/registry.h"
#include "store/store.h"

enum { DEVICES_MAX = 20, TRIES = 5 };

/* Of the user's devices the newest stay. */
static apr_status_t drop_oldest(biz_req *req)
{
    store_cond conds[] = {STORE_EQ_STR(PUSH_USER_ID, store_doc_id(req->user))};
    store_query query = {.coll = COLL_PUSH_DEVICES,
                         .index = "push_user",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = DEVICES_MAX + TRIES};
    apr_array_header_t *devices;
    apr_status_t status = store_find(req->env->store, req->pool, &query, &devices, NULL);

    for (int i = 0; status == APR_SUCCESS && i < devices->nelts - DEVICES_MAX; i++) {
        status = store_delete(req->env->store, req->pool, COLL_PUSH_DEVICES,
                              store_doc_id(APR_ARRAY_IDX(devices, i, store_doc *)), NULL, 0);
        status = status == STORE_ENOENT ? APR_SUCCESS : status;
    }
    return status;
}

static apr_status_t find_device(biz_req *req, store_doc **device)
{
    store_cond conds[] = {STORE_EQ_STR(PUSH_TOKEN, biz_field_str(req, "token"))};
    store_query query = {.coll = COLL_PUSH_DEVICES,
                         .index = "push_token",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = 1};

    return store_find_one(req->env->store, req->pool, &query, device);
}

static apr_status_t add_device(biz_req *req)
{
    store_doc *device = store_doc_new(req->pool, COLL_PUSH_DEVICES);

    store_set_str(device, PUSH_USER_ID, store_doc_id(req->user));
    store_set_str(device, PUSH_TOKEN, biz_field_str(req, "token"));
    store_set_str(device, PUSH_PLATFORM, biz_field_str(req, "platform"));
    return store_insert(req->env->store, req->pool, device, NULL);
}

static apr_status_t take_device(biz_req *req, const store_doc *device)
{
    store_change changes[] = {STORE_SET_STR(PUSH_USER_ID, store_doc_id(req->user)),
                              STORE_SET_STR(PUSH_PLATFORM, biz_field_str(req, "platform"))};

    return store_update(req->env->store, req->pool, COLL_PUSH_DEVICES, store_doc_id(device), NULL,
                        0, changes, STORE_COUNT_OF(changes), NULL);
}

/* Without Firebase there is nothing to keep a token for: the page is told so and asks no more. */
biz_code portal_push_add(biz_req *req, biz_reply *reply)
{
    int on = req->env->registry->firebase != NULL;
    apr_status_t status = on ? STORE_EEXIST : APR_SUCCESS;
    store_doc *device;

    for (int i = 0; i < TRIES && (status == STORE_EEXIST || status == STORE_ENOENT); i++) {
        status = find_device(req, &device);
        status = status == STORE_ENOENT  ? add_device(req)
                 : status == APR_SUCCESS ? take_device(req, device)
                                         : status;
    }
    if (status == APR_SUCCESS && on)
        status = drop_oldest(req);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_object(req->pool);
    biz_json_set_bool(reply->data, "push", on);
    return BIZ_OK;
}

biz_code portal_push_remove(biz_req *req, biz_reply *reply)
{
    store_cond conds[] = {STORE_EQ_STR(PUSH_USER_ID, store_doc_id(req->user))};
    store_doc *device;
    apr_status_t status = find_device(req, &device);

    if (status == APR_SUCCESS)
        status = store_delete(req->env->store, req->pool, COLL_PUSH_DEVICES, store_doc_id(device),
                              conds, STORE_COUNT_OF(conds));
    /* Not there, or somebody else's: it is not the caller's any more either way. */
    if (status != APR_SUCCESS && status != STORE_ENOENT && status != STORE_ECOND)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "removed");
    return BIZ_OK;
}
