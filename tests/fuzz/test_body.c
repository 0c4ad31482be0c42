/* test_body.c: the JSON of strangers, and the declared fields of every route. The first byte
 * chooses the route, the rest is the body; up to a first line end it is the query as well. */
#include "fuzz.h"

#include "core/str.h"
#include "dispatch.h"

static const biz_route *route_of(uint8_t number)
{
    size_t count = 0;

    while (biz_routes[count].method != NULL)
        count++;
    return &biz_routes[number % count];
}

/* What was read, written and read again is the same. */
static void check_json(apr_pool_t *pool, const biz_json *json)
{
    size_t len, again_len, position;
    const char *text = biz_json_text(pool, json, &len), *again;
    biz_json *second;

    FUZZ_CHECK(strlen(text) == len && biz_utf8_count(text, len) >= 0);
    FUZZ_CHECK(biz_json_parse(pool, text, len, BIZ_JSON_DEPTH, &second, &position) == APR_SUCCESS);
    again = biz_json_text(pool, second, &again_len);
    FUZZ_CHECK(again_len == len && !memcmp(again, text, len));
}

/* A field that was taken is declared, was sent, and is text that may be stored. A hook's whole body
 * is none: its signature is what it must have. */
static void check_fields(const biz_req *req, const biz_reply *reply)
{
    const apr_array_header_t *given = apr_table_elts(req->fields);
    const biz_field *field;

    for (int i = 0; i < given->nelts; i++) {
        const apr_table_entry_t *e = &APR_ARRAY_IDX(given, i, apr_table_entry_t);

        for (field = req->route->fields; field->name != NULL; field++)
            if (!strcmp(field->name, e->key))
                break;
        FUZZ_CHECK(field->name != NULL);
        FUZZ_CHECK(biz_utf8_count(e->val, strlen(e->val)) >= 0);
    }
    if (reply->code != BIZ_OK) {
        FUZZ_CHECK(reply->code == BIZ_VALIDATION_FAILED || reply->code == BIZ_INVALID_REQUEST);
        return;
    }
    for (field = req->route->fields; field != NULL && field->name != NULL; field++)
        if ((field->flags & BIZ_REQUIRED) && field->type != BIZ_FIELD_BODY)
            FUZZ_CHECK(biz_field_str(req, field->name) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    biz_req req = {.pool = pool, .id = "req_x"};
    biz_reply reply = {.pool = pool, .status = 200};
    size_t position = 0, len;
    char *query;
    apr_status_t status;

    if (size == 0)
        return 0;
    req.route = route_of(data[0]);
    req.fields = apr_table_make(pool, 4);
    req.nulls = apr_table_make(pool, 4);
    query = fuzz_text(pool, data + 1, size - 1);
    query[strcspn(query, "\n")] = '\0';
    req.query = query;
    req.body = fuzz_text(pool, data + 1, size - 1);
    req.body_len = size - 1;
    status = biz_json_parse(pool, req.body, req.body_len, BIZ_JSON_DEPTH, &req.json, &position);
    if (status == APR_SUCCESS)
        check_json(pool, req.json);
    else
        FUZZ_CHECK(status == APR_EINVAL && position <= req.body_len);
    biz_fields_check(&req, &reply);
    check_fields(&req, &reply);
    FUZZ_CHECK(biz_reply_text(&req, &reply, &len) != NULL);
    return 0;
}
