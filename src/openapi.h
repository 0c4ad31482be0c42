/* openapi.h: GET /openapi.json, the contract as a document that programs read (OpenAPI 3.1.0). It
 * is made from the route table, so that no route is missing in it and none is in it alone. */
#ifndef BIZ_OPENAPI_H
#define BIZ_OPENAPI_H

#include "core/biz.h"

/* Ready to be sent; made once a business and configuration. */
typedef struct biz_openapi {
    const char *text;
    size_t len;
    int64_t version; /* of the text: its ETag */
} biz_openapi;

biz_openapi *openapi_make(apr_pool_t *pool, const biz_settings *settings);
biz_code openapi_json(biz_req *req, biz_reply *reply);

/* ---- openapi_shapes.c: the words that the document is made of ---- */

/* The JSON Schema of a type as the table of shapes writes it: "string", "User", "[]Session". */
biz_json *openapi_type(apr_pool_t *pool, const char *type);
/* The JSON Schema of what a route's declared field takes. */
biz_json *openapi_field(apr_pool_t *pool, const biz_field *field);
/* components.schemas: every shape by its name. */
biz_json *openapi_shapes(apr_pool_t *pool);

#endif
