/* handler.c: one request, from Apache's content phase to the answer. The steps in the order they
 * are taken: CORS, limit, route, body, dispatch, reply. Nothing before the limit asks the store or
 * reads a byte of the body. The answer is written here and the handler returns OK, whatever the
 * status: only so do Retry-After, our JSON and the output of mod_headers all arrive. */
#include "glue.h"

#include <apr_strings.h>

#include "core/random.h"
#include "core/str.h"
#include "core/valid.h"
#include "cors/cors.h"
#include "dispatch.h"

APLOG_USE_MODULE(bizapi);

enum { REQUEST_ID_MAX = 64 };

/* The client's own id is kept where it can stand in a log line and a header. A redirect within the
 * server does not change it. */
const char *bizapi_request_id(request_rec *r)
{
    const char *id = NULL;
    const request_rec *each;

    for (each = r; each != NULL && id == NULL; each = each->prev)
        id = apr_table_get(each->notes, "bizapi-request-id");
    if (id == NULL) {
        id = apr_table_get(r->headers_in, "X-Request-Id");
        if (id == NULL || !biz_valid_token(id, 1, REQUEST_ID_MAX))
            id = biz_new_id(r->pool, "req");
    }
    r->log_id = id;
    apr_table_setn(r->notes, "bizapi-request-id", id);
    return id;
}

void bizapi_common_headers(request_rec *r, apr_table_t *headers)
{
    apr_table_setn(headers, "X-Request-Id", bizapi_request_id(r));
    apr_table_setn(headers, "X-Content-Type-Options", "nosniff");
    apr_table_setn(headers, "Content-Security-Policy",
                   "default-src 'none'; frame-ancestors 'none'");
}

static int set_header(void *headers, const char *name, const char *value)
{
    apr_table_setn(headers, name, value);
    return 1;
}

int bizapi_cors(request_rec *r, const business *b, const char *methods, apr_table_t *headers)
{
    cors_verdict verdict;

    /* A line that was too long to be taken apart has no method. */
    cors_decide(r->pool, b->settings->origins, r->method != NULL ? r->method : "",
                apr_table_get(r->headers_in, "Origin"),
                apr_table_get(r->headers_in, "Access-Control-Request-Method"),
                apr_table_get(r->headers_in, "Access-Control-Request-Headers"), methods, &verdict);
    apr_table_do(set_header, headers, verdict.headers, NULL);
    return verdict.is_preflight ? verdict.status : 0;
}

static int answer(request_rec *r, int status, const char *type, const char *body, size_t len)
{
    bizapi_signals_release();
    r->status = status;
    if (type != NULL) {
        ap_set_content_type(r, type);
        ap_set_content_length(r, (apr_off_t)len);
        ap_rwrite(body, (int)len, r);
    }
    return OK;
}

#define JSON_TYPE "application/json; charset=utf-8"

static const char limited_body[] = "{\"success\":false,\"error\":{\"code\":\"RATE_LIMITED\","
                                   "\"message\":\"Too many requests. Please try again later.\"}}";

/* Refused by the limiter: the cheapest answer there is, and no line of its own in the log. */
static int limited(request_rec *r, business *b, const limit_rule *rule, unsigned retry_after)
{
    biz_shared *shared = b->env.shared;
    uint64_t held;

    atomic_fetch_add_explicit(&shared->limited, 1, memory_order_relaxed);
    if (biz_minute(shared, (biz_minute_line)(BIZ_MINUTE_LIMITED + rule->id % 16), &held))
        ap_log_rerror(APLOG_MARK, APLOG_INFO, 0, r,
                      BZ(0305) "requests to %s beyond %u a minute are refused (%lu more since the "
                               "last such line)",
                      rule->pattern, rule->limit, (unsigned long)held);
    bizapi_leave_body(r, b->settings->max_body);
    apr_table_setn(r->err_headers_out, "Retry-After", apr_itoa(r->pool, (int)retry_after));
    apr_table_setn(r->headers_out, "Cache-Control", "no-store");
    return answer(r, HTTP_TOO_MANY_REQUESTS, JSON_TYPE, limited_body, sizeof(limited_body) - 1);
}

static int copy_header(void *context, const char *name, const char *value)
{
    request_rec *r = context;

    apr_table_setn(r->headers_out, name, value);
    return 1;
}

static int not_modified(request_rec *r, const biz_reply *reply)
{
    const char *known = apr_table_get(r->headers_in, "If-None-Match");

    return reply->version > 0 && reply->code == BIZ_OK && r->method_number == M_GET &&
           known != NULL && biz_etag_matches(known, reply->version);
}

static int send_reply(request_rec *r, const biz_req *req, biz_reply *reply)
{
    int status = reply->code != BIZ_OK ? biz_code_status(reply->code) : reply->status;
    const char *body = reply->raw, *type = reply->raw_type;
    size_t len = reply->raw_len;

    apr_table_do(copy_header, r, reply->headers, NULL);
    if (req->route != NULL && (req->route->flags & BIZ_PERSONAL)) {
        apr_table_setn(r->headers_out, "Cache-Control", "no-store");
        /* Compressed secrets beside text that a stranger chooses leak by their length (BREACH). */
        apr_table_setn(r->subprocess_env, "no-gzip", "1");
        apr_table_setn(r->subprocess_env, "no-brotli", "1");
    }
    if (status == HTTP_UNAUTHORIZED)
        apr_table_setn(r->err_headers_out, "WWW-Authenticate", "Bearer realm=\"bizapi\"");
    if (reply->retry_after > 0)
        apr_table_setn(r->err_headers_out, "Retry-After", apr_itoa(r->pool, reply->retry_after));
    if (reply->version > 0 && reply->code == BIZ_OK)
        apr_table_setn(r->headers_out, "ETag", biz_etag(r->pool, reply->version));
    if (not_modified(r, reply))
        return answer(r, HTTP_NOT_MODIFIED, NULL, NULL, 0);
    if (reply->code != BIZ_OK || body == NULL)
        body = biz_reply_text(req, reply, &len);
    if (type == NULL || !strcmp(type, "application/json") || reply->code != BIZ_OK)
        type = JSON_TYPE;
    return answer(r, status, type, body, len);
}

static int refuse(request_rec *r, biz_req *req, biz_reply *reply, biz_code code)
{
    bizapi_leave_body(r, req->env->settings->max_body);
    biz_fail(reply, code, NULL, NULL);
    return send_reply(r, req, reply);
}

/* What no route is asked about: methods nobody knows, framing that only the core accepts. */
static biz_code unknown_protocol(request_rec *r)
{
    const char *coding = apr_table_get(r->headers_in, "Transfer-Encoding");

    if (coding != NULL && strcasecmp(coding, "chunked") != 0) {
        r->connection->keepalive = AP_CONN_CLOSE;
        return BIZ_NOT_IMPLEMENTED;
    }
    return r->method_number == M_INVALID ? BIZ_NOT_IMPLEMENTED : BIZ_OK;
}

static int serve(request_rec *r, business *b)
{
    biz_req *req = bizapi_request(r, b);
    biz_reply reply = {.pool = r->pool, .status = HTTP_OK};
    const char *allow = NULL;
    biz_code code;

    req->id = bizapi_request_id(r);
    req->params = apr_table_make(r->pool, 2);
    reply.headers = apr_table_make(r->pool, 2);
    code = unknown_protocol(r);
    if (code != BIZ_OK)
        return refuse(r, req, &reply, code);
    req->route = biz_route_find(r->pool, r->method, r->uri, &allow, req->params);
    if (req->route == NULL && allow == NULL)
        return refuse(r, req, &reply, BIZ_NOT_FOUND);
    if (r->method_number == M_OPTIONS) {
        apr_table_setn(r->headers_out, "Allow", allow);
        return answer(r, HTTP_NO_CONTENT, NULL, NULL, 0);
    }
    if (req->route == NULL) {
        apr_table_setn(r->err_headers_out, "Allow", allow);
        return refuse(r, req, &reply, BIZ_METHOD_NOT_ALLOWED);
    }
    apr_table_setn(r->notes, "bizapi-route", req->route->path);
    if (r->method_number != M_GET) {
        body_result result = bizapi_read_body(r, req, &reply, b->settings->max_body);

        if (result == BODY_ANSWERED)
            return DONE;
        if (result == BODY_FAILED)
            return send_reply(r, req, &reply);
    }
    biz_dispatch(req, &reply);
    if (req->user != NULL)
        r->user = (char *)store_doc_id(req->user);
    return send_reply(r, req, &reply);
}

/* Where an ErrorDocument of the operator's names a path of ours, the error comes here as a redirect
 * within the server, whatever the path. */
static int core_error(request_rec *r)
{
    biz_code code = biz_code_for_status(r->prev->status);
    size_t len;
    const char *text = biz_error_text(r->pool, code, NULL, bizapi_request_id(r), 0, &len);

    return answer(r, r->prev->status, JSON_TYPE, text, len);
}

static int handle(request_rec *r)
{
    const limit_rule *rule;
    limit_verdict verdict;
    limit_addr addr;
    business *b = bizapi_business(r->server);
    const char *allow = NULL;
    int preflight;

    bizapi_common_headers(r, r->err_headers_out);
    if (r->prev != NULL && r->prev->status >= HTTP_BAD_REQUEST) {
        bizapi_cors(r, b, NULL, r->err_headers_out);
        return core_error(r);
    }
    if (r->method_number == M_OPTIONS)
        biz_route_find(r->pool, r->method, r->uri, &allow, NULL);
    preflight = bizapi_cors(r, b, allow, r->err_headers_out);
    if (preflight != 0) {
        if (preflight == HTTP_NO_CONTENT)
            return answer(r, preflight, NULL, NULL, 0);
        size_t len;
        const char *text = biz_error_text(r->pool, BIZ_FORBIDDEN, NULL, NULL, 0, &len);
        return answer(r, preflight, JSON_TYPE, text, len);
    }
    rule = limit_rule_for(b->settings->rules, r->uri);
    if (rule != NULL) {
        limit_addr_of(r->useragent_addr, &addr);
        limit_decide(&b->limits, r->pool, rule, &addr, &verdict);
        if (!verdict.allowed)
            return limited(r, b, rule, verdict.retry_after);
    }
    return serve(r, b);
}

int bizapi_handler(request_rec *r)
{
    int result;

    if (r->handler == NULL || strcmp(r->handler, BIZ_HANDLER) != 0)
        return DECLINED;
    bizapi_log_for(r);
    bizapi_signals_hold();
    result = handle(r);
    bizapi_signals_release();
    bizapi_log_for(NULL);
    return result;
}
