/* openapi.c: see openapi.h. From the route table to the document: what follows from a row's method,
 * path, caller, flags and fields is worked out here, once; the rest stands in the row. The document
 * is made at the start and a request only sends it. */
#include "openapi.h"

#include <string.h>
#include <apr_strings.h>

#include "core/crypto.h"
#include "dispatch.h"

static const char prefix[] = "/api/v1";

/* ---- small things ---- */

static void set_ref(apr_pool_t *pool, biz_json *object, const char *key, const char *folder,
                    const char *name)
{
    biz_json *ref = biz_json_object(pool);

    biz_json_set_str(ref, "$ref", apr_pstrcat(pool, "#/components/", folder, "/", name, NULL));
    if (key != NULL)
        biz_json_set(object, key, ref);
    else
        biz_json_add(object, ref);
}

/* {"application/json":{"schema":schema}} */
#define JSON "application/json"

static biz_json *content_of(apr_pool_t *pool, const char *media, biz_json *schema)
{
    biz_json *content = biz_json_object(pool), *type = biz_json_object(pool);

    biz_json_set(type, "schema", schema);
    biz_json_set(content, media, type);
    return content;
}

static int is_get(const biz_route *route)
{
    return !strcmp(route->method, "GET");
}

static int takes_query(const biz_route *route)
{
    const biz_field *field;

    for (field = route->fields; field != NULL && field->name != NULL; field++)
        if (field->flags & BIZ_IN_QUERY)
            return 1;
    return (route->flags & BIZ_LIST) != 0;
}

/* ---- failures ---- */

/* What Apache's core may refuse under any path before a route is asked. */
static const uint64_t of_core =
    BIZ_CAN(INVALID_REQUEST) | BIZ_CAN(FORBIDDEN) | BIZ_CAN(REQUEST_TIMEOUT) |
    BIZ_CAN(BODY_TOO_LARGE) | BIZ_CAN(URI_TOO_LONG) | BIZ_CAN(EXPECTATION_FAILED) |
    BIZ_CAN(HEADERS_TOO_LARGE) | BIZ_CAN(INTERNAL) | BIZ_CAN(NOT_IMPLEMENTED) | BIZ_CAN(BUSY);

/* Every code that the route may answer. */
static uint64_t failures_of(const biz_route *route)
{
    uint64_t all = route->fails | BIZ_CAN(RATE_LIMITED);

    if (!is_get(route))
        all |= BIZ_CAN(BODY_TOO_LARGE) | BIZ_CAN(UNSUPPORTED_MEDIA_TYPE) | BIZ_CAN(REQUEST_TIMEOUT);
    if (!is_get(route) && !biz_route_takes_whole(route, NULL))
        all |= BIZ_CAN(INVALID_JSON) | BIZ_CAN(VALIDATION_FAILED);
    if (takes_query(route))
        all |= BIZ_CAN(INVALID_REQUEST) | BIZ_CAN(VALIDATION_FAILED);
    if (route->who != BIZ_ANYONE)
        all |= BIZ_CAN(UNAUTHENTICATED) | BIZ_CAN(TOKEN_EXPIRED) | BIZ_CAN(TOKEN_REVOKED) |
               BIZ_CAN(STORE_UNAVAILABLE);
    if (route->who != BIZ_ANYONE && !(route->flags & BIZ_ENROLS))
        all |= BIZ_CAN(MFA_REQUIRED);
    if (route->who != BIZ_ANYONE && !is_get(route))
        all |= BIZ_CAN(ORIGIN_NOT_ALLOWED);
    if (route->who == BIZ_STAFF || route->who == BIZ_ADMIN)
        all |= BIZ_CAN(FORBIDDEN);
    if (route->flags & BIZ_WORK)
        all |= BIZ_CAN(WORK_REQUIRED);
    if (strchr(route->path, '{') != NULL)
        all |= BIZ_CAN(NOT_FOUND);
    if ((route->flags & BIZ_VERSIONED) && !is_get(route))
        all |= BIZ_CAN(STALE);
    if (route->flags & BIZ_IDEMPOTENT)
        all |= BIZ_CAN(IDEMPOTENCY_IN_PROGRESS) | BIZ_CAN(IDEMPOTENCY_KEY_REUSED) |
               BIZ_CAN(INVALID_REQUEST) | BIZ_CAN(STORE_UNAVAILABLE);
    return all;
}

/* Those of the set that are sent with this status. */
static uint64_t with_status(uint64_t set, int status)
{
    uint64_t found = 0;
    int code;

    for (code = BIZ_OK + 1; code < BIZ_CODES_END; code++)
        if ((set & (UINT64_C(1) << code)) && biz_code_status((biz_code)code) == status)
            found |= UINT64_C(1) << code;
    return found;
}

/* ---- headers ---- */

static void add_header(apr_pool_t *pool, biz_json *headers, const char *name)
{
    set_ref(pool, headers, name, "headers", name);
}

static void define_header(apr_pool_t *pool, biz_json *headers, const char *name, const char *type,
                          const char *description)
{
    biz_json *header = biz_json_object(pool);

    biz_json_set_str(header, "description", description);
    biz_json_set(header, "schema", openapi_type(pool, type));
    biz_json_set(headers, name, header);
}

static biz_json *header_components(apr_pool_t *pool)
{
    biz_json *headers = biz_json_object(pool);

    define_header(
        pool, headers, "X-Request-Id", "string",
        "The caller's own where it is good (1 to 64 of A-Z a-z 0-9 . _ -), else a new one");
    define_header(pool, headers, "Vary", "string", "Names Origin: answers differ by it (CORS)");
    define_header(pool, headers, "Cache-Control", "string", "no-store: the answer is personal");
    define_header(pool, headers, "ETag", "string", "The version, for If-Match and If-None-Match");
    define_header(pool, headers, "Retry-After", "integer", "Seconds to wait");
    define_header(pool, headers, "WWW-Authenticate", "string", "Bearer (RFC 6750)");
    define_header(pool, headers, "Idempotent-Replayed", "=true",
                  "The answer is that of an earlier request with this Idempotency-Key");
    return headers;
}

static biz_json *common_headers(apr_pool_t *pool)
{
    biz_json *headers = biz_json_object(pool);

    add_header(pool, headers, "X-Request-Id");
    add_header(pool, headers, "Vary");
    return headers;
}

/* ---- responses ---- */

/* The failure envelope with one of these codes. */
static biz_json *error_schema(apr_pool_t *pool, biz_json *codes)
{
    static const char *const path[] = {"code", "error"};
    biz_json *schema = biz_json_object(pool), *both = biz_json_array(pool);
    biz_json *inner = biz_json_object(pool);
    size_t i;

    biz_json_set(inner, "enum", codes);
    for (i = 0; i < sizeof(path) / sizeof(path[0]); i++) {
        biz_json *properties = biz_json_object(pool), *outer = biz_json_object(pool);

        biz_json_set(properties, path[i], inner);
        biz_json_set(outer, "properties", properties);
        inner = outer;
    }
    biz_json_add(both, openapi_type(pool, "Error"));
    biz_json_add(both, inner);
    biz_json_set(schema, "allOf", both);
    return schema;
}

/* The response for a set of codes; `status` 0 for the one that stands for several. */
static biz_json *failure_response(apr_pool_t *pool, uint64_t set, int status)
{
    biz_json *response = biz_json_object(pool), *headers = common_headers(pool);
    biz_json *codes = biz_json_array(pool);
    const char *text = status != 0 ? "" : "Refused by Apache itself:";
    int code;

    for (code = BIZ_OK + 1; code < BIZ_CODES_END; code++) {
        if (!(set & (UINT64_C(1) << code)))
            continue;
        biz_json_add_str(codes, biz_code_name((biz_code)code));
        text = apr_pstrcat(pool, text, text[0] != '\0' ? " " : "", "`",
                           biz_code_name((biz_code)code), "`", NULL);
    }
    if (status == 0 || status == 429 || status == 503)
        add_header(pool, headers, "Retry-After");
    if (status == 401)
        add_header(pool, headers, "WWW-Authenticate");
    /* Only routes that honour a key can find it used; they keep what they refused with 422, too. */
    if (set & (UINT64_C(1) << BIZ_IDEMPOTENCY_KEY_REUSED))
        add_header(pool, headers, "Idempotent-Replayed");
    biz_json_set_str(response, "description", text);
    biz_json_set(response, "headers", headers);
    biz_json_set(response, "content", content_of(pool, JSON, error_schema(pool, codes)));
    return response;
}

/* Equal responses of different routes are one component, named after its codes. */
static void add_failure(apr_pool_t *pool, biz_json *responses, biz_json *components, uint64_t set,
                        int status)
{
    const char *name = status == 0 ? "Core" : "";
    int code;

    for (code = BIZ_OK + 1; status != 0 && code < BIZ_CODES_END; code++)
        if (set & (UINT64_C(1) << code))
            name = apr_pstrcat(pool, name, name[0] != '\0' ? "-" : "",
                               biz_code_name((biz_code)code), NULL);
    if (biz_json_get(components, name) == NULL)
        biz_json_set(components, name, failure_response(pool, set, status));
    set_ref(pool, responses, status == 0 ? "default" : apr_itoa(pool, status), "responses", name);
}

/* The schema of a successful body. */
static biz_json *success_schema(apr_pool_t *pool, const biz_route *route)
{
    biz_json *schema, *properties, *required, *data;

    if (route->flags & BIZ_BARE)
        return openapi_type(pool, route->answer);
    schema = biz_json_object(pool);
    properties = biz_json_object(pool);
    required = biz_json_array(pool);
    biz_json_set(properties, "success", openapi_type(pool, "=true"));
    biz_json_add_str(required, "success");
    if (route->answer[0] == '=') {
        biz_json *status = biz_json_object(pool), *only = biz_json_array(pool);

        data = biz_json_object(pool);
        biz_json_set_str(data, "type", "object");
        biz_json_set(status, "status", openapi_type(pool, route->answer));
        biz_json_add_str(only, "status");
        biz_json_set(data, "required", only);
        biz_json_set(data, "properties", status);
    } else {
        data = openapi_type(pool, route->answer);
    }
    biz_json_set(properties, "data", data);
    biz_json_add_str(required, "data");
    if (route->flags & BIZ_LIST) {
        biz_json_set(properties, "pagination", openapi_type(pool, "Page"));
        biz_json_add_str(required, "pagination");
    }
    biz_json_set_str(schema, "type", "object");
    biz_json_set(schema, "required", required);
    biz_json_set(schema, "properties", properties);
    return schema;
}

static biz_json *route_headers(apr_pool_t *pool, const biz_route *route)
{
    biz_json *headers = common_headers(pool);

    if (route->flags & BIZ_PERSONAL)
        add_header(pool, headers, "Cache-Control");
    if (route->flags & BIZ_VERSIONED)
        add_header(pool, headers, "ETag");
    return headers;
}

static biz_json *success_response(apr_pool_t *pool, const biz_route *route)
{
    biz_json *response = biz_json_object(pool), *headers = route_headers(pool, route);

    if (route->flags & BIZ_IDEMPOTENT)
        add_header(pool, headers, "Idempotent-Replayed");
    biz_json_set_str(response, "description", route->flags & BIZ_CREATES ? "Made" : "Done");
    biz_json_set(response, "headers", headers);
    biz_json_set(response, "content",
                 strchr(route->answer, '/') != NULL
                     ? content_of(pool, route->answer, openapi_type(pool, "binary"))
                     : content_of(pool, JSON, success_schema(pool, route)));
    return response;
}

static biz_json *responses_of(apr_pool_t *pool, const biz_route *route, biz_json *components)
{
    biz_json *responses = biz_json_object(pool);
    uint64_t all = failures_of(route);
    int status;

    biz_json_set(responses, route->flags & BIZ_CREATES ? "201" : "200",
                 success_response(pool, route));
    if ((route->flags & BIZ_VERSIONED) && is_get(route)) {
        biz_json *unchanged = biz_json_object(pool);

        biz_json_set_str(unchanged, "description", "As If-None-Match has it");
        biz_json_set(unchanged, "headers", route_headers(pool, route));
        biz_json_set(responses, "304", unchanged);
    }
    for (status = 400; status < 600; status++)
        if (with_status(all, status) != 0)
            add_failure(pool, responses, components, with_status(all | of_core, status), status);
    add_failure(pool, responses, components, of_core, 0);
    return responses;
}

/* ---- parameters and bodies ---- */

static biz_json *parameter(apr_pool_t *pool, const char *in, const char *name, int required,
                           biz_json *schema, const char *description)
{
    biz_json *p = biz_json_object(pool);

    biz_json_set_str(p, "name", name);
    biz_json_set_str(p, "in", in);
    if (required)
        biz_json_set_bool(p, "required", 1);
    if (description != NULL)
        biz_json_set_str(p, "description", description);
    biz_json_set(p, "schema", schema);
    return p;
}

static biz_json *parameter_components(apr_pool_t *pool)
{
    biz_json *all = biz_json_object(pool), *limit = openapi_type(pool, "integer");
    biz_json *key = openapi_type(pool, "string");

    biz_json_set_int(limit, "minimum", 1);
    biz_json_set_int(limit, "maximum", BIZ_PAGE_MAX);
    biz_json_set_int(limit, "default", BIZ_PAGE_DEFAULT);
    biz_json_set_int(key, "minLength", 1);
    biz_json_set_int(key, "maxLength", 255);
    biz_json_set(all, "limit", parameter(pool, "query", "limit", 0, limit, "Of this page"));
    biz_json_set(all, "cursor",
                 parameter(pool, "query", "cursor", 0, openapi_type(pool, "string"),
                           "pagination.next_cursor of the page before"));
    biz_json_set(all, "Idempotency-Key",
                 parameter(pool, "header", "Idempotency-Key", 0, key,
                           "Within 24 hours the same key and body get the same answer, and the "
                           "work is done once"));
    biz_json_set(all, "If-Match",
                 parameter(pool, "header", "If-Match", 0, openapi_type(pool, "string"),
                           "Change only where this is still the version, else 412"));
    biz_json_set(all, "If-None-Match",
                 parameter(pool, "header", "If-None-Match", 0, openapi_type(pool, "string"),
                           "304 where this is still the version"));
    return all;
}

/* The names in the braces of the path. */
static void add_path_parameters(apr_pool_t *pool, biz_json *parameters, const char *path)
{
    const char *open, *close;

    for (open = strchr(path, '{'); open != NULL; open = strchr(close, '{')) {
        close = strchr(open, '}');
        biz_json_add(parameters,
                     parameter(pool, "path", apr_pstrmemdup(pool, open + 1, close - open - 1), 1,
                               openapi_type(pool, "string"), NULL));
    }
}

static biz_json *parameters_of(apr_pool_t *pool, const biz_route *route)
{
    biz_json *parameters = biz_json_array(pool);
    const biz_field *field;

    add_path_parameters(pool, parameters, route->path);
    for (field = route->fields; field != NULL && field->name != NULL; field++)
        if (field->flags & BIZ_IN_QUERY)
            biz_json_add(parameters,
                         parameter(pool, "query", field->name, (field->flags & BIZ_REQUIRED) != 0,
                                   openapi_field(pool, field), NULL));
    if (route->flags & BIZ_LIST) {
        set_ref(pool, parameters, NULL, "parameters", "limit");
        set_ref(pool, parameters, NULL, "parameters", "cursor");
    }
    if (route->flags & BIZ_IDEMPOTENT)
        set_ref(pool, parameters, NULL, "parameters", "Idempotency-Key");
    if (route->flags & BIZ_VERSIONED)
        set_ref(pool, parameters, NULL, "parameters", is_get(route) ? "If-None-Match" : "If-Match");
    return parameters;
}

/* Bodies that are taken as a whole, by their types. */
static biz_json *whole_body(apr_pool_t *pool, const biz_route *route)
{
    biz_json *body = biz_json_object(pool), *content = biz_json_object(pool);
    const biz_field *field;
    int required = 0;

    for (field = route->fields; field->name != NULL; field++)
        if (field->type == BIZ_FIELD_BODY) {
            biz_json *type = biz_json_object(pool);

            biz_json_set(type, "schema", biz_json_object(pool)); /* anything */
            biz_json_set(content, field->name, type);
            required = required || (field->flags & BIZ_REQUIRED);
        }
    if (required)
        biz_json_set_bool(body, "required", 1);
    biz_json_set(body, "content", content);
    return body;
}

static biz_json *body_of(apr_pool_t *pool, const biz_route *route)
{
    biz_json *body = biz_json_object(pool), *schema = biz_json_object(pool);
    biz_json *properties = biz_json_object(pool), *required = biz_json_array(pool);
    const biz_field *field;

    if (biz_route_takes_whole(route, NULL))
        return whole_body(pool, route);
    for (field = route->fields; field->name != NULL; field++) {
        if (field->flags & BIZ_IN_QUERY)
            continue;
        biz_json_set(properties, field->name, openapi_field(pool, field));
        if (field->flags & BIZ_REQUIRED)
            biz_json_add_str(required, field->name);
    }
    biz_json_set_str(schema, "type", "object");
    if (biz_json_size(required) > 0)
        biz_json_set(schema, "required", required);
    biz_json_set(schema, "properties", properties);
    biz_json_set_bool(body, "required", 1);
    biz_json_set(body, "content", content_of(pool, JSON, schema));
    return body;
}

/* ---- operations ---- */

/* "POST", "/auth/login" -> "post_auth_login" */
static const char *operation_id(apr_pool_t *pool, const biz_route *route)
{
    char *id = apr_pstrcat(pool, route->method, route->path + strlen(prefix), NULL), *to = id;
    const char *from;

    for (from = id; *from != '\0'; from++) {
        if (*from >= 'A' && *from <= 'Z')
            *to++ = (char)(*from - 'A' + 'a');
        else if (*from == '/' || *from == '-' || *from == '.')
            *to++ = '_';
        else if (*from != '{' && *from != '}')
            *to++ = *from;
    }
    *to = '\0';
    return id;
}

/* The first part of the path: "auth". */
static const char *tag_of(apr_pool_t *pool, const biz_route *route)
{
    const char *part = route->path + strlen(prefix) + 1;

    return apr_pstrmemdup(pool, part, strcspn(part, "/."));
}

static biz_json *security_of(apr_pool_t *pool, const biz_route *route)
{
    biz_json *list = biz_json_array(pool), *bearer = biz_json_object(pool);
    biz_json *roles = biz_json_array(pool), *cookie = biz_json_object(pool);

    if (route->who == BIZ_ANYONE)
        return list;
    if (route->who == BIZ_STAFF)
        biz_json_add_str(roles, "staff");
    if (route->who == BIZ_STAFF || route->who == BIZ_ADMIN)
        biz_json_add_str(roles, "admin");
    biz_json_set(bearer, "bearer", roles);
    biz_json_set(cookie, "cookie", roles);
    biz_json_add(list, bearer);
    biz_json_add(list, cookie);
    return list;
}

static biz_json *operation(apr_pool_t *pool, const biz_route *route, biz_json *components)
{
    biz_json *op = biz_json_object(pool), *tags = biz_json_array(pool);
    biz_json *parameters = parameters_of(pool, route);

    biz_json_add_str(tags, tag_of(pool, route));
    biz_json_set(op, "tags", tags);
    biz_json_set_str(op, "operationId", operation_id(pool, route));
    biz_json_set_str(op, "summary", route->summary);
    biz_json_set(op, "security", security_of(pool, route));
    if (biz_json_size(parameters) > 0)
        biz_json_set(op, "parameters", parameters);
    if (biz_route_takes_body(route))
        biz_json_set(op, "requestBody", body_of(pool, route));
    biz_json_set(op, "responses", responses_of(pool, route, components));
    return op;
}

/* ---- the document ---- */

static biz_json *info(apr_pool_t *pool, const biz_settings *settings)
{
    biz_json *object = biz_json_object(pool);

    biz_json_set_str(
        object, "title",
        apr_pstrcat(pool, biz_brand(settings, "name", "mod_bizapi"), ": portal", NULL));
    biz_json_set_str(object, "version", "1");
    biz_json_set_str(object, "description",
                     "Success is {\"success\":true,\"data\":...}, failure "
                     "{\"success\":false,\"error\":{\"code\",\"message\",...}}; Apache's own "
                     "errors have the same shape. HEAD is answered wherever GET is, OPTIONS "
                     "everywhere; another method gets 405 and Allow. Members may be added to "
                     "answers, none is renamed or removed.");
    return object;
}

static biz_json *security_components(apr_pool_t *pool)
{
    biz_json *all = biz_json_object(pool), *bearer = biz_json_object(pool);
    biz_json *cookie = biz_json_object(pool);

    biz_json_set_str(bearer, "type", "http");
    biz_json_set_str(bearer, "scheme", "bearer");
    biz_json_set_str(bearer, "bearerFormat", "JWT");
    biz_json_set_str(bearer, "description", "access_token of /auth/login or /auth/refresh");
    biz_json_set(all, "bearer", bearer);
    biz_json_set_str(cookie, "type", "apiKey");
    biz_json_set_str(cookie, "in", "cookie");
    biz_json_set_str(cookie, "name", "__Host-bizapi");
    biz_json_set_str(cookie, "description",
                     "Set by a sign-in with session_cookie; what changes something is then taken "
                     "from the portal's own pages only (Origin)");
    biz_json_set(all, "cookie", cookie);
    return all;
}

static biz_json *servers(apr_pool_t *pool, const biz_settings *settings)
{
    biz_json *list = biz_json_array(pool), *server = biz_json_object(pool);

    biz_json_set_str(server, "url", apr_pstrcat(pool, settings->public_url, prefix, NULL));
    biz_json_add(list, server);
    return list;
}

/* paths, and on the way the responses that they share. */
static biz_json *paths(apr_pool_t *pool, biz_json *responses)
{
    biz_json *all = biz_json_object(pool);
    const biz_route *route;

    for (route = biz_routes; route->method != NULL; route++) {
        const char *path = route->path + strlen(prefix);
        biz_json *item = biz_json_get(all, path);
        char *method = apr_pstrdup(pool, route->method), *p;

        for (p = method; *p != '\0'; p++)
            *p = (char)(*p - 'A' + 'a');
        if (item == NULL) {
            item = biz_json_object(pool);
            biz_json_set(all, path, item);
        }
        biz_json_set(item, method, operation(pool, route, responses));
    }
    return all;
}

biz_openapi *openapi_make(apr_pool_t *pool, const biz_settings *settings)
{
    biz_openapi *made = apr_pcalloc(pool, sizeof(*made));
    biz_json *document, *components, *responses;
    unsigned char digest[BIZ_SHA256_LEN];
    apr_pool_t *work;

    apr_pool_create(&work, pool);
    document = biz_json_object(work);
    components = biz_json_object(work);
    responses = biz_json_object(work);
    biz_json_set_str(document, "openapi", "3.1.0");
    biz_json_set(document, "info", info(work, settings));
    biz_json_set(document, "servers", servers(work, settings));
    biz_json_set(document, "paths", paths(work, responses));
    biz_json_set(components, "schemas", openapi_shapes(work));
    biz_json_set(components, "responses", responses);
    biz_json_set(components, "parameters", parameter_components(work));
    biz_json_set(components, "headers", header_components(work));
    biz_json_set(components, "securitySchemes", security_components(work));
    biz_json_set(document, "components", components);
    made->text = apr_pstrdup(pool, biz_json_text(work, document, &made->len));
    apr_pool_destroy(work);
    biz_sha256(made->text, made->len, digest);
    memcpy(&made->version, digest, sizeof(made->version));
    made->version = (made->version & INT64_MAX) | 1;
    return made;
}

biz_code openapi_json(biz_req *req, biz_reply *reply)
{
    reply->raw = req->env->openapi->text;
    reply->raw_len = req->env->openapi->len;
    reply->raw_type = "application/json";
    reply->version = req->env->openapi->version;
    return BIZ_OK;
}
