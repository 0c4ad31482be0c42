/* errors.c: errors that Apache's core answers by itself under our paths: a request line too long, a
 * header it cannot parse, a time-out, a refusal by Require. Their page is replaced by the
 * contract's JSON in an output filter, so that no ErrorDocument has to be configured and none of
 * the operator's is in the way. */
#include "glue.h"

#include <apr_strings.h>

#define FILTER_NAME "BIZAPI_ERROR"

/* The path of a request that was refused before its line was taken apart ("GET /api/v1/..."). */
static const char *path_of_line(request_rec *r)
{
    const char *path = r->the_request != NULL ? strchr(r->the_request, ' ') : NULL;
    size_t len;

    if (path == NULL)
        return NULL;
    path++;
    len = strcspn(path, " ?");
    return apr_pstrmemdup(r->pool, path, len < 64 ? len : 64);
}

/* Whether SetHandler would have given this path to us: the sections are asked, without running any
 * phase. The request goes back to what it was. */
static int would_be_ours(request_rec *r, const char *path)
{
    char *uri = r->uri;
    struct ap_conf_vector_t *per_dir = r->per_dir_config;
    int ours;

    if (path == NULL || strncmp(path, BIZ_PREFIX, BIZ_PREFIX_LEN) != 0)
        return 0;
    r->uri = apr_pstrdup(r->pool, path);
    if (r->per_dir_config == NULL)
        r->per_dir_config = r->server->lookup_defaults;
    ours = ap_location_walk(r) == OK && bizapi_is_ours(r);
    r->uri = uri;
    r->per_dir_config = per_dir;
    return ours;
}

static int belongs_to_us(request_rec *r)
{
    return bizapi_is_ours(r) || would_be_ours(r, r->uri) || would_be_ours(r, path_of_line(r));
}

static apr_status_t json_error(ap_filter_t *f, apr_bucket_brigade *in)
{
    request_rec *r = f->r;
    int status = r->prev != NULL && r->prev->status >= 400 ? r->prev->status : r->status;
    biz_code code = biz_code_for_status(status);
    int at_end = !APR_BRIGADE_EMPTY(in) && APR_BUCKET_IS_EOS(APR_BRIGADE_LAST(in));
    const char *text;
    size_t len;
    apr_bucket_brigade *out;

    apr_brigade_cleanup(in);
    if (!at_end)
        return APR_SUCCESS;
    if (!strcmp(biz_code_name(code), "BUSY"))
        apr_table_setn(r->headers_out, "Retry-After", "1");
    bizapi_common_headers(r, r->headers_out);
    bizapi_cors(r, bizapi_business(r->server), NULL, r->headers_out);
    text = biz_error_text(r->pool, code, NULL, bizapi_request_id(r), 0, &len);
    apr_table_unset(r->headers_out, "ETag");
    apr_table_unset(r->headers_out, "Last-Modified");
    ap_set_content_type(r, "application/json; charset=utf-8");
    ap_set_content_length(r, (apr_off_t)len);
    out = apr_brigade_create(r->pool, f->c->bucket_alloc);
    APR_BRIGADE_INSERT_TAIL(out, apr_bucket_pool_create(text, len, r->pool, f->c->bucket_alloc));
    APR_BRIGADE_INSERT_TAIL(out, apr_bucket_eos_create(f->c->bucket_alloc));
    ap_remove_output_filter(f);
    return ap_pass_brigade(f->next, out);
}

void bizapi_register_error_filter(void)
{
    ap_register_output_filter(FILTER_NAME, json_error, NULL, AP_FTYPE_CONTENT_SET);
}

void bizapi_insert_error_filter(request_rec *r)
{
    if (r->status >= 400 && belongs_to_us(r))
        ap_add_output_filter(FILTER_NAME, NULL, r, r->connection);
}

/* Where the operator has an ErrorDocument, the core redirects the error there within the server.
 * The first request may have been refused before any section was looked at. */
void bizapi_insert_filter(request_rec *r)
{
    if (r->prev != NULL && r->prev->status >= 400 && !bizapi_is_ours(r) && belongs_to_us(r->prev))
        ap_add_output_filter(FILTER_NAME, NULL, r, r->connection);
}
