/* dispatch.c: see dispatch.h. The order of the steps is the order of this file. */
#include "dispatch.h"

#include <string.h>

#include "audit/audit.h"
#include "auth/auth.h"
#include "auth/work.h"
#include "idempotency.h"
#include "store/store.h"

int biz_route_takes_body(const biz_route *route)
{
    const biz_field *field;

    for (field = route->fields; field != NULL && field->name != NULL; field++)
        if (!(field->flags & BIZ_IN_QUERY))
            return 1;
    return 0;
}

static biz_code parse_body(biz_req *req, biz_reply *reply)
{
    size_t position;

    if ((req->body_len == 0 && !biz_route_takes_body(req->route)) ||
        biz_route_takes_whole(req->route, NULL))
        return BIZ_OK;
    if (biz_json_parse(req->pool, req->body != NULL ? req->body : "", req->body_len, BIZ_JSON_DEPTH,
                       &req->json, &position) != APR_SUCCESS)
        return biz_fail(reply, BIZ_INVALID_JSON, NULL,
                        req->body_len == 0 ? "The request needs a JSON body." : NULL);
    return BIZ_OK;
}

static biz_code identify(biz_req *req, biz_reply *reply)
{
    if (req->route->who == BIZ_ANYONE)
        return BIZ_OK;
    if (auth_identify(req, reply) != BIZ_OK)
        return reply->code;
    return auth_permit(req, reply, req->route->who);
}

/* What staff and admins ask for, in the store before it is done: whatever becomes of it, and of the
 * worker that does it, it is known who wanted it. */
static biz_code note_act(biz_req *req, biz_reply *reply)
{
    biz_json *details;

    if ((req->route->who != BIZ_STAFF && req->route->who != BIZ_ADMIN) ||
        !strcmp(req->route->method, "GET") || (req->route->flags & BIZ_ACTS))
        return BIZ_OK;
    details = biz_json_object(req->pool);
    biz_json_set_str(details, "method", req->route->method);
    biz_json_set_str(details, "path", req->path);
    audit_note(req, "staff_act", NULL, biz_json_text(req->pool, details, NULL));
    return audit_commit(req, reply);
}

void biz_dispatch(biz_req *req, biz_reply *reply)
{
    idempotency idem;
    int replayed;

    if (parse_body(req, reply) == BIZ_OK && biz_fields_check(req, reply) == BIZ_OK &&
        identify(req, reply) == BIZ_OK &&
        idempotency_begin(req, reply, &idem, &replayed) == BIZ_OK && !replayed) {
        /* After the key: who repeats a request whose answer was lost has used its work up. */
        if ((!(req->route->flags & BIZ_WORK) || work_check(req, reply) == BIZ_OK) &&
            note_act(req, reply) == BIZ_OK)
            req->route->handler(req, reply);
        audit_commit(req, reply);
        idempotency_end(req, reply, &idem);
    } else {
        audit_commit(req, reply);
    }
}

biz_code biz_fail_store(const biz_req *req, biz_reply *reply, apr_status_t status)
{
    switch (status) {
    case STORE_ENOENT:
        return biz_fail(reply, BIZ_NOT_FOUND, NULL, NULL);
    case STORE_EEXIST:
        return biz_fail(reply, BIZ_CONFLICT, NULL, NULL);
    case STORE_ECOND:
        return biz_fail(reply, BIZ_STALE, NULL, NULL);
    case STORE_EINVAL:
        return biz_fail(reply, BIZ_VALIDATION_FAILED, "cursor", "cursor is not one of this list.");
    default:
        /* The store itself has told the operator, once a minute, what it cannot do. */
        return biz_fail(reply, BIZ_STORE_UNAVAILABLE, NULL, NULL);
    }
}
