/* biz.h: the words of the product. What a business is, what a request and a reply are, what a route
 * and a handler are, and the codes a failure may have. Start reading in src/routes.c. */
#ifndef BIZ_H
#define BIZ_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include "json.h"
#include "log.h"
#include "settings.h"
#include "shared.h"

struct store;
struct store_doc;
struct audit_event;
struct biz_audit;
struct biz_keys;
struct biz_openapi;
struct biz_registry;
struct clients;
struct biz_seen;

/* ---- failures: frozen codes, see api.md section 1 ----  X(code, HTTP status, message) */
#define BIZ_CODES(X)                                                                               \
    X(INVALID_JSON, 400, "The request body is not valid JSON.")                                    \
    X(INVALID_REQUEST, 400, "The request is not valid.")                                           \
    X(INVALID_TOKEN, 400, "This link is not valid any more. Please ask for a new one.")            \
    X(INVALID_SIGNATURE, 400, "The signature is missing or wrong.")                                \
    X(UNAUTHENTICATED, 401, "Please sign in.")                                                     \
    X(INVALID_CREDENTIALS, 401, "The e-mail address or the password is wrong.")                    \
    X(INVALID_CODE, 401, "The code is wrong.")                                                     \
    X(TOKEN_EXPIRED, 401, "The session has expired. Please sign in again.")                        \
    X(TOKEN_REVOKED, 401, "The session has ended. Please sign in again.")                          \
    X(PAYMENT_FAILED, 402, "The payment failed.")                                                  \
    X(FORBIDDEN, 403, "You may not do this.")                                                      \
    X(EMAIL_NOT_VERIFIED, 403, "Please confirm your e-mail address first.")                        \
    X(REAUTH_REQUIRED, 403, "Please confirm first that it is you.")                                \
    X(MFA_REQUIRED, 403, "Please set up a second factor first.")                                   \
    X(ORIGIN_NOT_ALLOWED, 403, "A page of another site may not do this.")                          \
    X(NOT_FOUND, 404, "Not found.")                                                                \
    X(METHOD_NOT_ALLOWED, 405, "This method is not allowed here.")                                 \
    X(REQUEST_TIMEOUT, 408, "The request took too long to arrive.")                                \
    X(SLOT_TAKEN, 409, "This time is no longer free.")                                             \
    X(INVALID_STATE, 409, "This is not possible in the present state.")                            \
    X(CONFLICT, 409, "This conflicts with what is there already.")                                 \
    X(IDEMPOTENCY_IN_PROGRESS, 409, "The first request with this key is still running.")           \
    X(STALE, 412, "This was changed in the meantime. Please load it again.")                       \
    X(BODY_TOO_LARGE, 413, "The request body is too large.")                                       \
    X(URI_TOO_LONG, 414, "The address of the request is too long.")                                \
    X(UNSUPPORTED_MEDIA_TYPE, 415, "The body must be application/json in UTF-8.")                  \
    X(EXPECTATION_FAILED, 417, "The expectation cannot be met.")                                   \
    X(VALIDATION_FAILED, 422, "A field is missing or not valid.")                                  \
    X(WEAK_PASSWORD, 422, "This password is too easy to guess.")                                   \
    X(OUTSIDE_POLICY, 422, "This is outside of what can be booked.")                               \
    X(IDEMPOTENCY_KEY_REUSED, 422, "This key was used with another request.")                      \
    X(GEOCODING_UNAVAILABLE, 422, "The address cannot be looked up.")                              \
    X(WORK_REQUIRED, 428, "A proof of work is wanted first; see GET /auth/work.")                  \
    X(RATE_LIMITED, 429, "Too many requests. Please try again later.")                             \
    X(HEADERS_TOO_LARGE, 431, "The request's headers are too large.")                              \
    X(INTERNAL, 500, "Something went wrong on our side.")                                          \
    X(NOT_IMPLEMENTED, 501, "The server does not know this.")                                      \
    X(PROVIDER_FAILED, 502, "Another service did not accept what we asked of it.")                 \
    X(PAYMENTS_UNAVAILABLE, 503, "Payments unavailable")                                           \
    X(NOT_CONFIGURED, 503, "This service is not set up here.")                                     \
    X(VOICE_UNAVAILABLE, 503, "Voice unavailable")                                                 \
    X(STORE_UNAVAILABLE, 503, "The service is unavailable for a moment. Please try again.")        \
    X(BUSY, 503, "The server is busy. Please try again in a moment.")

typedef enum {
    BIZ_OK,
#define BIZ_CODE_ENUM_(code, status, message) BIZ_##code,
    BIZ_CODES(BIZ_CODE_ENUM_)
#undef BIZ_CODE_ENUM_
        BIZ_CODES_END
} biz_code;

const char *biz_code_name(biz_code code);    /* "INVALID_JSON" */
int biz_code_status(biz_code code);          /* 400; 200 for BIZ_OK */
const char *biz_code_message(biz_code code); /* the English sentence above */
biz_code biz_code_for_status(int status);    /* the code for an error that Apache's core made */

/* ---- one business ---- */

/* Everything a handler may use. Made once a process and business; read by all threads. */
typedef struct biz_env {
    const biz_settings *settings;
    struct store *store;
    const struct biz_keys *keys;            /* auth/keys.h */
    const struct biz_registry *registry;    /* integrations/registry.h */
    const struct clients *clients;          /* integrations/client.h */
    const struct biz_openapi *openapi;      /* openapi.h */
    const struct mail_templates *templates; /* mail/mail.h */
    biz_shared *shared;
    struct limiter *limits;  /* limit/limit.h */
    struct biz_audit *audit; /* audit/audit.h */
    struct biz_seen *seen;   /* auth/seen.h */
    biz_hash_room hash_room; /* how many password hashes at once */
} biz_env;

/* ---- routes ---- */

typedef struct biz_req biz_req;
typedef struct biz_reply biz_reply;

/* BIZ_OK with the reply filled, or what biz_fail() gave. */
typedef biz_code (*biz_handler)(biz_req *req, biz_reply *reply);

/* Who may call (api.md section 2). */
typedef enum { BIZ_ANYONE, BIZ_SIGNED_IN, BIZ_STAFF, BIZ_ADMIN } biz_who;

typedef enum {
    BIZ_FIELD_EMAIL,        /* normalised by biz_valid_email() */
    BIZ_FIELD_PASSWORD,     /* 1..256 code points, exactly as sent */
    BIZ_FIELD_NEW_PASSWORD, /* 8..256 code points; its quality is judged by the handler */
    BIZ_FIELD_TOKEN,        /* an opaque text of at most BIZ_TOKEN_MAX code points; whether it is
                             * one of ours is for the handler to find out */
    BIZ_FIELD_LINE,         /* one line, min..max code points */
    BIZ_FIELD_PHONE,
    BIZ_FIELD_LOCALE, /* canonical form */
    BIZ_FIELD_TIMEZONE,
    BIZ_FIELD_TEXT,   /* lines and tabs allowed, min..max code points */
    BIZ_FIELD_CHOICE, /* one of `choices` */
    BIZ_FIELD_BOOL,   /* true or false, nothing that could be taken for it */
    BIZ_FIELD_INT,    /* a whole number, min..max; 1.0 is none */
    BIZ_FIELD_OBJECT, /* the handler looks into biz_json_get(req->json, name) */
    BIZ_FIELD_LIST,   /* an array of min..max values, for the handler as well */
    BIZ_FIELD_CODE,   /* min..max characters, spaces and hyphens dropped */
    BIZ_FIELD_BODY    /* the whole body as it came, of the media type `name`, at most `max` bytes:
                       * for signatures and uploads. Several: any of these types. */
} biz_field_type;

enum { BIZ_REQUIRED = 1, BIZ_NULLABLE = 2, BIZ_IN_QUERY = 4 };
enum { BIZ_TOKEN_MAX = 512, BIZ_PAGE_DEFAULT = 20, BIZ_PAGE_MAX = 100, BIZ_JSON_DEPTH = 16 };

typedef struct {
    const char *name; /* NULL ends the list */
    biz_field_type type;
    unsigned flags;
    long min, max;       /* code points (LINE, TEXT), the number (INT), values (LIST) */
    const char *choices; /* "day|week|month" (CHOICE) */
} biz_field;

enum {
    BIZ_IDEMPOTENT = 1, /* honours Idempotency-Key ("I" in api.md) */
    BIZ_PERSONAL = 2,   /* Cache-Control: no-store */
    BIZ_CREATES = 4,    /* success is 201 */
    BIZ_LIST = 8,       /* takes limit and cursor, answers with "pagination" */
    BIZ_VERSIONED = 16, /* the answer has an ETag; GET honours If-None-Match, the others If-Match */
    BIZ_BARE = 32,      /* `answer` is the whole body, not what stands under "data" */
    BIZ_WORK = 128,     /* may ask for a proof of work; declares WORK_FIELD */
    BIZ_ENROLS = 64,    /* open to those who have yet to set up a second factor */
    BIZ_ACTS = 256      /* what its handler changes tells the audit log by itself (auth/act.h) */
};

/* One of a set of codes: BIZ_CAN(BUSY) | BIZ_CAN(STALE). */
#define BIZ_CAN(code) (UINT64_C(1) << BIZ_##code)
_Static_assert(BIZ_CODES_END <= 64, "a set of codes is 64 bits");

typedef struct biz_route {
    const char *method;
    const char *path; /* "/api/v1/auth/sessions/{id}" */
    biz_handler handler;
    biz_who who;
    unsigned flags;
    const biz_field *fields; /* or NULL */
    const char *summary;     /* one line of English: README and OpenAPI are made from it */
    const char *answer;      /* what success says: a shape of openapi_shapes.c, "[]" before it for a
                              * list, "|" between two; "=word" for {"status":"word"} */
    uint64_t fails; /* the codes that its handler adds to those that follow from the rest */
} biz_route;

enum { BIZ_ROUTES_MOST = 256 };      /* with the one that ends it */
extern const biz_route biz_routes[]; /* src/routes.c; a NULL method ends it */

/* The route for method and path, and `params` gets the values of {…} under their names; HEAD finds
 * GET. Or NULL, and *allow gets "GET, HEAD, OPTIONS" where the path is there for other methods. */
const biz_route *biz_route_find(apr_pool_t *pool, const char *method, const char *path,
                                const char **allow, apr_table_t *params);

/* ---- one request, one reply ---- */

struct biz_req {
    apr_pool_t *pool;
    const biz_env *env;
    const biz_route *route;
    const char *id; /* X-Request-Id */
    const char *method, *path;
    const char *query;      /* raw, or NULL */
    const char *origin;     /* this site's own as the client sees it: "https://portal.example" */
    const char *address;    /* the client's, as text */
    const char *user_agent; /* printable, at most 200 bytes, or NULL */
    apr_time_t now;
    apr_table_t *params; /* from the path */
    apr_table_t *fields; /* declared fields that were given, checked and normalised (numbers and
                          * truth as text, see below); one that was given as null is in `nulls` */
    apr_table_t *nulls;
    const char *body; /* raw */
    size_t body_len;
    biz_json *json;                                              /* the body, or NULL */
    const char *(*header)(const biz_req *req, const char *name); /* NULL where it was not sent */
    void *header_context;
    /* Who calls; NULL where the route is open to anyone. */
    struct store_doc *user, *session;
    struct audit_event *events; /* noted so far, to be committed before the answer */
    const char *once; /* 64 hexadecimal digits: the Idempotency-Key, caller and body that this is
                       * worked under, for a handler to know its own work by; NULL without a key */
};

struct biz_reply {
    apr_pool_t *pool;
    int status;     /* 200 */
    biz_json *data; /* goes under "data"; NULL: {} */
    apr_table_t *headers;
    int64_t version; /* > 0: makes the ETag */
    const char *raw; /* non-JSON answer or ready JSON text, with raw_type */
    size_t raw_len;
    const char *raw_type;
    int has_page; /* adds "pagination" */
    const char *next_cursor;
    int page_limit;
    /* Failure, set by biz_fail(). */
    biz_code code;
    const char *message, *param;
    biz_json *details; /* array of {param, message}, or NULL */
    int retry_after;   /* seconds; 0: none */
};

#define biz_field_str(req, name) apr_table_get((req)->fields, (name))
/* `otherwise` where the field was not given. */
int64_t biz_field_int(const biz_req *req, const char *name, int64_t otherwise);
int biz_field_bool(const biz_req *req, const char *name, int otherwise);
#define biz_field_is_null(req, name) (apr_table_get((req)->nulls, (name)) != NULL)

/* Sets the failure and gives `code` back. `param`: the field it is about, or NULL. `message` NULL:
 * the code's own. */
biz_code biz_fail(biz_reply *reply, biz_code code, const char *param, const char *message);
/* The failure for a store's answer that is not APR_SUCCESS: 404, 409, 412, 422 or 503; logs what
 * an operator must know. */
biz_code biz_fail_store(const biz_req *req, biz_reply *reply, apr_status_t status);

/* Whether the route declares its body as a whole (BIZ_FIELD_BODY) and, where `type` is not NULL,
 * whether it takes this Content-Type; parameters such as charset do not count. */
int biz_route_takes_whole(const biz_route *route, const char *type);
/* Those types for people: "application/json or multipart/form-data". */
const char *biz_route_types(apr_pool_t *pool, const biz_route *route);
/* The most bytes of a body: as declared, else `otherwise`. */
long biz_route_body_max(const biz_route *route, long otherwise);

/* Checks the declared fields of the route against body and query, fills req->fields and nulls. */
biz_code biz_fields_check(biz_req *req, biz_reply *reply);
/* The value of one parameter of the query, decoded; NULL where it is missing. 0 in *ok where the
 * query is malformed or names a parameter twice. */
const char *biz_query_get(apr_pool_t *pool, const char *query, const char *name, int *ok);

/* `limit` and `cursor` of a list, and the reply's pagination prepared. */
biz_code biz_page_of(biz_req *req, biz_reply *reply, int *limit, const char **cursor);

/* ETag of a version: "\"7\"". And whether an If-Match or If-None-Match header names it: '*' does,
 * and so does the tag with a suffix that a compressing filter added (RFC 9110 section 8.8.3). */
const char *biz_etag(apr_pool_t *pool, int64_t version);
int biz_etag_matches(const char *header, int64_t version);

/* The body of the answer as text, success or failure, in the contract's envelope. */
const char *biz_reply_text(const biz_req *req, const biz_reply *reply, size_t *len);
/* {"success":false,...} for a failure outside of any handler. */
const char *biz_error_text(apr_pool_t *pool, biz_code code, const char *message,
                           const char *request_id, int retry_after, size_t *len);

#endif
