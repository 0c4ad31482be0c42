/* reply.c: the envelope of every answer, and how a failure is said. Called by handlers and by the
 * glue; knows nothing of HTTP beyond status numbers and header values. */
#include "biz.h"

#include <string.h>
#include <apr_strings.h>

#include "str.h"

biz_code biz_fail(biz_reply *reply, biz_code code, const char *param, const char *message)
{
    reply->code = code;
    reply->param = param;
    reply->message = message;
    /* Without a service that is not configured it is no use to come back soon. */
    if (biz_code_status(code) == 503 && reply->retry_after == 0)
        reply->retry_after = code == BIZ_BUSY ? 1 : code == BIZ_STORE_UNAVAILABLE ? 5 : 60;
    return code;
}

const char *biz_brand(const biz_settings *settings, const char *key, const char *otherwise)
{
    const char *value = apr_table_get(settings->brand, key);

    return value != NULL && value[0] != '\0' ? value : otherwise;
}

static biz_json *error_object(apr_pool_t *pool, biz_code code, const char *message)
{
    biz_json *error = biz_json_object(pool);

    biz_json_set_str(error, "code", biz_code_name(code));
    biz_json_set_str(error, "message", message != NULL ? message : biz_code_message(code));
    return error;
}

static const char *failure_text(apr_pool_t *pool, biz_json *error, size_t *len)
{
    biz_json *envelope = biz_json_object(pool);

    biz_json_set_bool(envelope, "success", 0);
    biz_json_set(envelope, "error", error);
    return biz_json_text(pool, envelope, len);
}

/* The request's id is in the body of the answers an operator is asked about, those of 500 and
 * above; elsewhere it would make two equal refusals differ, and the header has it anyway. */
static void add_hints(biz_json *error, biz_code code, const char *request_id, int retry_after)
{
    if (biz_code_status(code) >= 500) {
        if (request_id != NULL)
            biz_json_set_str(error, "request_id", request_id);
        if (retry_after > 0)
            biz_json_set_int(error, "retry_after", retry_after);
    }
}

const char *biz_error_text(apr_pool_t *pool, biz_code code, const char *message,
                           const char *request_id, int retry_after, size_t *len)
{
    biz_json *error = error_object(pool, code, message);

    add_hints(error, code, request_id, retry_after);
    return failure_text(pool, error, len);
}

const char *biz_reply_text(const biz_req *req, const biz_reply *reply, size_t *len)
{
    apr_pool_t *pool = req->pool;
    biz_json *envelope, *error, *page;

    if (reply->code != BIZ_OK) {
        error = error_object(pool, reply->code, reply->message);
        if (reply->param != NULL)
            biz_json_set_str(error, "param", reply->param);
        if (reply->details != NULL)
            biz_json_set(error, "details", reply->details);
        add_hints(error, reply->code, req->id, reply->retry_after);
        return failure_text(pool, error, len);
    }
    envelope = biz_json_object(pool);
    biz_json_set_bool(envelope, "success", 1);
    biz_json_set(envelope, "data", reply->data != NULL ? reply->data : biz_json_object(pool));
    if (reply->has_page) {
        page = biz_json_object(pool);
        biz_json_set_bool(page, "has_more", reply->next_cursor != NULL);
        biz_json_set_str(page, "next_cursor", reply->next_cursor);
        biz_json_set_int(page, "limit", reply->page_limit);
        biz_json_set(envelope, "pagination", page);
    }
    return biz_json_text(pool, envelope, len);
}

const char *biz_etag(apr_pool_t *pool, int64_t version)
{
    return apr_psprintf(pool, "\"%" APR_INT64_T_FMT "\"", version);
}

int biz_etag_matches(const char *header, int64_t version)
{
    char tag[24];
    size_t len = (size_t)apr_snprintf(tag, sizeof(tag), "%" APR_INT64_T_FMT, version);
    const char *p = header, *end;

    while (p != NULL && *p != '\0') {
        while (*p == ' ' || *p == '\t' || *p == ',')
            p++;
        if (*p == '*')
            return 1;
        if (p[0] == 'W' && p[1] == '/')
            p += 2;
        if (*p != '"')
            return 0;
        end = strchr(++p, '"');
        if (end == NULL)
            return 0;
        if ((size_t)(end - p) >= len && !strncmp(p, tag, len) && (p[len] == '"' || p[len] == '-'))
            return 1;
        p = end + 1;
    }
    return 0;
}
