/* mongo_import.c: see mongo_import.h. The accounts of another program, read by their documents' own
 * field names. Called by src/cli alone; writes nothing, and knows nothing of stores but the names
 * of their collections. What it reads may be anything: a value of another type counts as not there.
 */
#include "mongo_import.h"

#include <string.h>
#include <strings.h>
#include <mongoc/mongoc.h>
#include <apr_strings.h>

#include "core/str.h"
#include "core/time.h"
#include "schema.h"

enum { SELECT_MS = 10000, SOCKET_MS = 60000, BATCH = 500, PATHS_MAX = 4, SHOWN_MAX = 300 };

/* As mongo_link.c and mongo_schema.c have them. */
#define STORE_DATABASE "bizapi"
#define STORE_INFO "schema_info"

typedef struct {
    const char *at[PATHS_MAX]; /* NULL ends */
} paths;

struct mongo_import {
    mongoc_client_t *client;
    mongoc_collection_t *coll;
    mongoc_cursor_t *cursor; /* after the first mongo_import_next() */
    paths email, password, name, names, phone, verified, created, role, active, disabled;
};

/* ---- the other end ---- */

static void bounded(mongoc_uri_t *uri, const char *option, int ms)
{
    if (!mongoc_uri_has_option(uri, option))
        mongoc_uri_set_option_as_int32(uri, option, ms);
}

/* The library's own lines would name values of the URI. */
static mongoc_uri_t *parse(const char *text)
{
    mongoc_init();
    mongoc_log_set_handler(NULL, NULL);
    return mongoc_uri_new_with_error(text, &(bson_error_t){.code = 0});
}

static mongoc_client_t *connect_to(mongoc_uri_t *uri, apr_pool_t *pool, const char **why)
{
    bson_error_t error;
    mongoc_client_t *client;

    bounded(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, SELECT_MS);
    bounded(uri, MONGOC_URI_CONNECTTIMEOUTMS, SELECT_MS);
    bounded(uri, MONGOC_URI_SOCKETTIMEOUTMS, SOCKET_MS);
    if (!mongoc_uri_has_option(uri, MONGOC_URI_APPNAME))
        mongoc_uri_set_appname(uri, "bizapictl");
    client = mongoc_client_new_from_uri_with_error(uri, &error);
    if (client == NULL)
        *why = apr_pstrdup(pool, error.message);
    else
        mongoc_client_set_error_api(client, MONGOC_ERROR_API_VERSION_2);
    return client;
}

static int is_loopback(const char *host)
{
    return !strcasecmp(host, "localhost") || !strcmp(host, "127.0.0.1") || !strcmp(host, "::1");
}

static int share_a_host(const mongoc_uri_t *a, const mongoc_uri_t *b)
{
    const char *name = mongoc_uri_get_srv_hostname(a), *other = mongoc_uri_get_srv_hostname(b);
    const mongoc_host_list_t *h, *o;

    if (name != NULL && other != NULL && !strcasecmp(name, other))
        return 1;
    for (h = mongoc_uri_get_hosts(a); h != NULL; h = h->next) {
        for (o = mongoc_uri_get_hosts(b); o != NULL; o = o->next) {
            if (h->port == o->port &&
                (!strcasecmp(h->host, o->host) || (is_loopback(h->host) && is_loopback(o->host))))
                return 1;
        }
    }
    return 0;
}

static const char *database_of(const mongoc_uri_t *uri)
{
    const char *name = mongoc_uri_get_database(uri);

    return name != NULL && name[0] != '\0' ? name : STORE_DATABASE;
}

int mongo_import_same(const char *uri, const char *other)
{
    mongoc_uri_t *a = strncmp(uri, "mongodb", 7) ? NULL : parse(uri);
    mongoc_uri_t *b = strncmp(other, "mongodb", 7) ? NULL : parse(other);
    int same =
        a != NULL && b != NULL && !strcmp(database_of(a), database_of(b)) && share_a_host(a, b);

    if (a != NULL)
        mongoc_uri_destroy(a);
    if (b != NULL)
        mongoc_uri_destroy(b);
    return same;
}

/* ---- is there anything? ---- */

static apr_status_t has_any(mongoc_client_t *client, const char *database, const char *name,
                            apr_pool_t *pool, int *any, const char **why)
{
    mongoc_collection_t *coll = mongoc_client_get_collection(client, database, name);
    bson_t all = BSON_INITIALIZER, opts = BSON_INITIALIZER, fields;
    mongoc_cursor_t *cursor;
    const bson_t *doc;
    bson_error_t error;
    apr_status_t rv = APR_SUCCESS;

    BSON_APPEND_INT64(&opts, "limit", 1);
    BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &fields);
    BSON_APPEND_INT32(&fields, "_id", 1);
    bson_append_document_end(&opts, &fields);
    cursor = mongoc_collection_find_with_opts(coll, &all, &opts, NULL);
    *any = mongoc_cursor_next(cursor, &doc);
    if (mongoc_cursor_error(cursor, &error)) {
        *why = apr_pstrdup(pool, error.message);
        rv = APR_EGENERAL;
    }
    mongoc_cursor_destroy(cursor);
    mongoc_collection_destroy(coll);
    bson_destroy(&all);
    bson_destroy(&opts);
    return rv;
}

apr_status_t mongo_import_peek(const char *uri_text, apr_pool_t *pool, mongo_import_look *look,
                               const char **why)
{
    mongoc_uri_t *uri = parse(uri_text);
    mongoc_client_t *client = NULL;
    apr_status_t rv = APR_EGENERAL;

    *why = "not a URI of MongoDB";
    look->store = look->filled = 0;
    if (uri != NULL)
        client = connect_to(uri, pool, why);
    if (client == NULL)
        goto leave;
    rv = has_any(client, database_of(uri), STORE_INFO, pool, &look->store, why);
    for (int no = COLL_NONE + 1; rv == APR_SUCCESS && no < COLL_END && !look->filled; no++)
        rv = has_any(client, database_of(uri), store_coll_by_no((store_coll_no)no)->name, pool,
                     &look->filled, why);
leave:
    if (client != NULL)
        mongoc_client_destroy(client);
    if (uri != NULL)
        mongoc_uri_destroy(uri);
    return rv;
}

/* ---- opening ---- */

static paths paths_of(const char *chosen, paths usual)
{
    if (chosen != NULL)
        usual = (paths){{chosen}};
    return usual;
}

static void choose_fields(mongo_import *in, const mongo_import_fields *f)
{
    in->email = paths_of(f->email, (paths){{"email"}});
    in->password = paths_of(f->password, (paths){{"password_hash", "hashed_password", "password"}});
    in->name = paths_of(f->name, (paths){{"name", "full_name"}});
    if (f->name == NULL)
        in->names = (paths){{"first_name", "last_name"}};
    in->phone = paths_of(f->phone, (paths){{"phone", "phone_number"}});
    in->verified = paths_of(f->verified, (paths){{"email_verified", "is_verified"}});
    in->created = paths_of(f->created, (paths){{"created_at", "createdAt"}});
    in->role = paths_of(f->role, (paths){{"role"}});
    in->active = (paths){{"is_active"}};
    in->disabled = (paths){{"disabled"}};
}

static apr_status_t close_import(void *data)
{
    mongo_import *in = data;

    if (in->cursor != NULL)
        mongoc_cursor_destroy(in->cursor);
    mongoc_collection_destroy(in->coll);
    mongoc_client_destroy(in->client);
    return APR_SUCCESS;
}

apr_status_t mongo_import_open(mongo_import **out, const char *uri_text, const char *collection,
                               const mongo_import_fields *fields, apr_pool_t *pool,
                               const char **why)
{
    mongo_import *in = apr_pcalloc(pool, sizeof(*in));
    mongoc_uri_t *uri = parse(uri_text);
    const char *database = uri != NULL ? mongoc_uri_get_database(uri) : NULL;
    apr_status_t rv = APR_EINVAL;

    *why = "not a URI of MongoDB";
    if (uri == NULL)
        goto leave;
    *why = "the URI has to name the database: mongodb://HOST/DATABASE";
    if (database == NULL || database[0] == '\0')
        goto leave;
    rv = APR_EGENERAL;
    in->client = connect_to(uri, pool, why);
    if (in->client == NULL)
        goto leave;
    in->coll = mongoc_client_get_collection(in->client, database, collection);
    choose_fields(in, fields);
    apr_pool_cleanup_register(pool, in, close_import, apr_pool_cleanup_null);
    *out = in;
    rv = APR_SUCCESS;
leave:
    if (uri != NULL)
        mongoc_uri_destroy(uri);
    return rv;
}

apr_status_t mongo_import_count(mongo_import *in, apr_pool_t *pool, int64_t *count,
                                const char **why)
{
    bson_error_t error;

    *count = mongoc_collection_estimated_document_count(in->coll, NULL, NULL, NULL, &error);
    if (*count >= 0)
        return APR_SUCCESS;
    *count = 0;
    *why = apr_pstrdup(pool, error.message);
    return APR_EGENERAL;
}

/* ---- a document ---- */

static int find(const bson_t *doc, const char *path, bson_iter_t *at)
{
    bson_iter_t top;

    return bson_iter_init(&top, doc) && bson_iter_find_descendant(&top, path, at) &&
           !BSON_ITER_HOLDS_NULL(at) && !BSON_ITER_HOLDS_UNDEFINED(at);
}

static int find_first(const bson_t *doc, const paths *p, bson_iter_t *at)
{
    for (int i = 0; i < PATHS_MAX && p->at[i] != NULL; i++) {
        if (find(doc, p->at[i], at))
            return 1;
    }
    return 0;
}

/* NULL for what is no text, and for what would be a different one here. */
static const char *text_at(apr_pool_t *pool, const bson_iter_t *at)
{
    uint32_t len;
    const char *text;

    if (!BSON_ITER_HOLDS_UTF8(at))
        return NULL;
    text = bson_iter_utf8(at, &len);
    if (memchr(text, '\0', len) != NULL || biz_utf8_count(text, len) < 0)
        return NULL;
    return apr_pstrmemdup(pool, text, len);
}

static const char *text_of(apr_pool_t *pool, const bson_t *doc, const paths *p)
{
    bson_iter_t at;

    return find_first(doc, p, &at) ? text_at(pool, &at) : NULL;
}

/* Python programs keep what bcrypt gives them, bytes. */
static const char *hash_of(apr_pool_t *pool, const bson_t *doc, const paths *p)
{
    bson_iter_t at;
    bson_subtype_t subtype;
    const uint8_t *bytes;
    uint32_t len;

    if (!find_first(doc, p, &at))
        return NULL;
    if (!BSON_ITER_HOLDS_BINARY(&at))
        return text_at(pool, &at);
    bson_iter_binary(&at, &subtype, &len, &bytes);
    return memchr(bytes, 0, len) == NULL ? apr_pstrmemdup(pool, (const char *)bytes, len) : NULL;
}

static const char *name_of(apr_pool_t *pool, const bson_t *doc, const mongo_import *in)
{
    const char *name = text_of(pool, doc, &in->name), *first, *last;

    if (name != NULL || in->names.at[0] == NULL)
        return name;
    first = text_of(pool, doc, &(paths){{in->names.at[0]}});
    last = text_of(pool, doc, &(paths){{in->names.at[1]}});
    if (first == NULL || last == NULL)
        return first != NULL ? first : last;
    return apr_pstrcat(pool, first, " ", last, NULL);
}

/* A date is as good as "yes": verified_at. -1: not said. */
static int truth_of(const bson_t *doc, const paths *p)
{
    bson_iter_t at;

    if (!find_first(doc, p, &at))
        return -1;
    if (BSON_ITER_HOLDS_BOOL(&at))
        return bson_iter_bool(&at);
    if (BSON_ITER_HOLDS_INT(&at) || BSON_ITER_HOLDS_DOUBLE(&at))
        return bson_iter_as_int64(&at) != 0;
    return BSON_ITER_HOLDS_DATE_TIME(&at) ? 1 : -1;
}

static apr_time_t time_of(apr_pool_t *pool, const bson_t *doc, const paths *p)
{
    bson_iter_t at;
    const char *text;
    apr_time_t t = 0;

    if (!find_first(doc, p, &at))
        return 0;
    if (BSON_ITER_HOLDS_DATE_TIME(&at)) {
        int64_t ms = bson_iter_date_time(&at);

        return ms > 0 && ms < INT64_MAX / 1000 ? ms * 1000 : 0;
    }
    text = text_at(pool, &at);
    return text != NULL && biz_time_parse(text, &t) && t > 0 ? t - t % 1000 : 0;
}

static const char *shown_of(apr_pool_t *pool, const bson_t *doc, const char *email)
{
    char hex[25];
    bson_iter_t at;

    if (email != NULL && email[0] != '\0')
        return strlen(email) <= SHOWN_MAX ? email : biz_printable(pool, email, SHOWN_MAX);
    if (!find(doc, "_id", &at))
        return "a document without _id";
    if (BSON_ITER_HOLDS_OID(&at)) {
        bson_oid_to_string(bson_iter_oid(&at), hex);
        return apr_pstrcat(pool, "_id ", hex, NULL);
    }
    if (BSON_ITER_HOLDS_INT(&at))
        return apr_psprintf(pool, "_id %" APR_INT64_T_FMT, (apr_int64_t)bson_iter_as_int64(&at));
    if (BSON_ITER_HOLDS_UTF8(&at))
        return apr_pstrcat(pool, "_id ", biz_printable(pool, bson_iter_utf8(&at, NULL), SHOWN_MAX),
                           NULL);
    return "a document whose _id is no text";
}

static void read_user(mongo_import *in, apr_pool_t *pool, const bson_t *doc,
                      mongo_import_user *user)
{
    user->email = text_of(pool, doc, &in->email);
    user->shown = shown_of(pool, doc, user->email);
    user->hash = hash_of(pool, doc, &in->password);
    user->name = name_of(pool, doc, in);
    user->phone = text_of(pool, doc, &in->phone);
    user->role = text_of(pool, doc, &in->role);
    user->verified = truth_of(doc, &in->verified);
    user->disabled = truth_of(doc, &in->disabled) == 1 || truth_of(doc, &in->active) == 0;
    user->created_at = time_of(pool, doc, &in->created);
}

/* ---- walking ---- */

/* Whole members of the document, since MongoDB refuses "a" beside "a.b"; nothing else of it need
 * come here. */
static void want(bson_t *fields, const paths *p)
{
    for (int i = 0; i < PATHS_MAX && p->at[i] != NULL; i++) {
        int len = (int)strcspn(p->at[i], ".");
        bson_iter_t at;

        if (bson_iter_init(&at, fields) && bson_iter_find_w_len(&at, p->at[i], len))
            continue;
        bson_append_int32(fields, p->at[i], len, 1);
    }
}

static mongoc_cursor_t *begin(mongo_import *in)
{
    const paths *all[] = {&in->email,    &in->password, &in->name, &in->names,  &in->phone,
                          &in->verified, &in->created,  &in->role, &in->active, &in->disabled};
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, part;
    mongoc_cursor_t *cursor;

    BSON_APPEND_DOCUMENT_BEGIN(&opts, "sort", &part);
    BSON_APPEND_INT32(&part, "_id", 1);
    bson_append_document_end(&opts, &part);
    BSON_APPEND_DOCUMENT_BEGIN(&opts, "projection", &part);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        want(&part, all[i]);
    bson_append_document_end(&opts, &part);
    BSON_APPEND_INT32(&opts, "batchSize", BATCH);
    cursor = mongoc_collection_find_with_opts(in->coll, &filter, &opts, NULL);
    bson_destroy(&filter);
    bson_destroy(&opts);
    return cursor;
}

apr_status_t mongo_import_next(mongo_import *in, apr_pool_t *pool, mongo_import_user *user,
                               const char **why)
{
    const bson_t *doc;
    bson_error_t error;

    if (in->cursor == NULL)
        in->cursor = begin(in);
    if (mongoc_cursor_next(in->cursor, &doc)) {
        read_user(in, pool, doc, user);
        return APR_SUCCESS;
    }
    if (!mongoc_cursor_error(in->cursor, &error))
        return APR_EOF;
    *why = apr_pstrdup(pool, error.message);
    return APR_EGENERAL;
}
