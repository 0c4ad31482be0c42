/* request.c: from httpd's request to core/biz.h's. Reads the body through the input filters, never
 * more than the business allows. */
#include "glue.h"

#include <apr_strings.h>

#include "core/str.h"

static const char *header_of(const biz_req *req, const char *name)
{
    const request_rec *r = req->header_context;

    return apr_table_get(r->headers_in, name);
}

/* As a browser writes it in Origin: the port where it is not the scheme's own. */
static const char *own_origin(request_rec *r)
{
    const char *host = apr_table_get(r->headers_in, "Host");

    return apr_pstrcat(r->pool, ap_http_scheme(r), "://",
                       host != NULL ? biz_lower(r->pool, host) : "", NULL);
}

biz_req *bizapi_request(request_rec *r, const business *b)
{
    biz_req *req = apr_pcalloc(r->pool, sizeof(*req));
    const char *agent = apr_table_get(r->headers_in, "User-Agent");

    req->pool = r->pool;
    req->env = &b->env;
    req->method = r->method;
    req->path = r->uri;
    req->query = r->args;
    req->origin = own_origin(r);
    req->address = r->useragent_ip;
    req->user_agent = agent != NULL ? biz_printable(r->pool, agent, 200) : NULL;
    req->now = apr_time_now();
    req->fields = apr_table_make(r->pool, 6);
    req->nulls = apr_table_make(r->pool, 2);
    req->header = header_of;
    req->header_context = r;
    return req;
}

static int is_chunked(request_rec *r)
{
    return apr_table_get(r->headers_in, "Transfer-Encoding") != NULL;
}

static apr_off_t announced(request_rec *r)
{
    const char *length = apr_table_get(r->headers_in, "Content-Length");
    apr_off_t n = 0;

    /* Apache has refused every length that is not a plain number before us. */
    if (length == NULL || apr_strtoff(&n, length, NULL, 10) != APR_SUCCESS || n < 0)
        return 0;
    return n;
}

void bizapi_leave_body(request_rec *r, long max)
{
    if (is_chunked(r) || announced(r) > max)
        r->connection->keepalive = AP_CONN_CLOSE;
}

/* "application/json", with no charset or with utf-8. */
static int is_json_type(const char *type)
{
    static const char json[] = "application/json";
    const char *charset;

    if (type == NULL || strncasecmp(type, json, sizeof(json) - 1) != 0)
        return 0;
    type += sizeof(json) - 1;
    if (*type != '\0' && *type != ';' && *type != ' ' && *type != '\t')
        return 0;
    charset = ap_strcasestr(type, "charset=");
    if (charset == NULL)
        return 1;
    charset += 8;
    if (*charset == '"')
        charset++;
    return !strncasecmp(charset, "utf-8", 5) &&
           (charset[5] == '\0' || charset[5] == '"' || charset[5] == ';' || charset[5] == ' ');
}

static body_result fail(request_rec *r, biz_reply *reply, long max, biz_code code)
{
    bizapi_leave_body(r, max);
    biz_fail(reply, code, NULL, NULL);
    return BODY_FAILED;
}

static body_result wrong_type(request_rec *r, biz_reply *reply, long max, const char *message)
{
    bizapi_leave_body(r, max);
    biz_fail(reply, BIZ_UNSUPPORTED_MEDIA_TYPE, NULL, message);
    return BODY_FAILED;
}

static body_result read_failed(request_rec *r, biz_reply *reply, apr_status_t status)
{
    int http;

    /* A filter has sent an answer of its own (its limit, not ours). */
    if (status == AP_FILTER_ERROR)
        return BODY_ANSWERED;
    http = ap_map_http_request_error(status, HTTP_BAD_REQUEST);
    r->connection->keepalive = AP_CONN_CLOSE;
    biz_fail(reply, biz_code_for_status(http), NULL, NULL);
    return BODY_FAILED;
}

/* Reads until the end of the body. The buffer grows with what has come, not with what was
 * announced: a length alone costs no memory. */
static body_result read_all(request_rec *r, biz_req *req, biz_reply *reply, long max)
{
    apr_bucket_brigade *brigade = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    size_t room = 4096, len = 0;
    char *text = apr_palloc(r->pool, room + 1);
    int at_end = 0;

    while (!at_end) {
        apr_bucket *bucket;
        apr_status_t status =
            ap_get_brigade(r->input_filters, brigade, AP_MODE_READBYTES, APR_BLOCK_READ, 8192);

        if (status != APR_SUCCESS)
            return read_failed(r, reply, status);
        for (bucket = APR_BRIGADE_FIRST(brigade); bucket != APR_BRIGADE_SENTINEL(brigade);
             bucket = APR_BUCKET_NEXT(bucket)) {
            const char *data;
            apr_size_t n;

            if (APR_BUCKET_IS_EOS(bucket)) {
                at_end = 1;
                break;
            }
            if (APR_BUCKET_IS_METADATA(bucket))
                continue;
            status = apr_bucket_read(bucket, &data, &n, APR_BLOCK_READ);
            if (status != APR_SUCCESS)
                return read_failed(r, reply, status);
            if (len + n > (size_t)max)
                return fail(r, reply, max, BIZ_BODY_TOO_LARGE);
            if (len + n > room) {
                char *more;

                while (len + n > room)
                    room *= 2;
                more = apr_palloc(r->pool, room + 1);
                memcpy(more, text, len);
                text = more;
            }
            memcpy(text + len, data, n);
            len += n;
        }
        apr_brigade_cleanup(brigade);
    }
    text[len] = '\0';
    req->body = text;
    req->body_len = len;
    return BODY_OK;
}

body_result bizapi_read_body(request_rec *r, biz_req *req, biz_reply *reply, long max)
{
    const char *encoding = apr_table_get(r->headers_in, "Content-Encoding");
    const char *type = apr_table_get(r->headers_in, "Content-Type");
    int is_whole = biz_route_takes_whole(req->route, NULL);
    body_result result;

    max = biz_route_body_max(req->route, max);
    if (announced(r) > max)
        return fail(r, reply, max, BIZ_BODY_TOO_LARGE);
    if (!is_chunked(r) && announced(r) == 0)
        return BODY_OK;
    if (encoding != NULL && strcasecmp(encoding, "identity") != 0)
        return wrong_type(r, reply, max, "The body must have no Content-Encoding.");
    if (is_whole && (type == NULL || !biz_route_takes_whole(req->route, type)))
        return wrong_type(r, reply, max,
                          apr_pstrcat(r->pool, "The body must be ",
                                      biz_route_types(r->pool, req->route), ".", NULL));
    if (!is_whole && !is_json_type(type))
        return wrong_type(r, reply, max, NULL);
    bizapi_signals_release();
    result = read_all(r, req, reply, max);
    bizapi_signals_hold();
    if (result == BODY_FAILED && reply->code == BIZ_BODY_TOO_LARGE)
        r->connection->keepalive = AP_CONN_CLOSE;
    return result;
}
