/* mongo_schema.c: indexes and the version of the schema in MongoDB, and what `bizapictl migrate`
 * and `check` and the readiness test ask. Called by mongo.c's table and, at the first call of a
 * process, by mongo_call.c. It must not touch documents of the product. */
#include "mongo_private.h"

#include <string.h>
#include <apr_strings.h>

/* {_id: "schema", version: n}: the newest program that has prepared this database. */
#define INFO_COLL "schema_info"
#define INFO_ID "schema"

enum { INDEX_OPTIONS_CONFLICT = 85, INDEX_KEY_CONFLICT = 86, ALL_INDEXES = 1000 };

/* ---- the version ---- */

static mongoc_collection_t *info_coll(mongo_call *call)
{
    return mongoc_client_get_collection(call->client, call->m->database, INFO_COLL);
}

static apr_status_t read_version(mongo_call *call, int64_t *version)
{
    mongoc_collection_t *info = info_coll(call);
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
    mongoc_cursor_t *cursor;
    const bson_t *doc;
    bson_iter_t at;
    apr_status_t rv = APR_SUCCESS;

    *version = 0;
    mongo_fresh_reply(call);
    BSON_APPEND_UTF8(&filter, "_id", INFO_ID);
    BSON_APPEND_INT64(&opts, "limit", 1);
    cursor = mongoc_collection_find_with_opts(info, &filter, &opts, NULL);
    if (mongoc_cursor_next(cursor, &doc)) {
        if (bson_iter_init_find(&at, doc, "version")) {
            *version = bson_iter_as_int64(&at);
        }
    } else if (mongoc_cursor_error(cursor, &call->error)) {
        rv = mongo_failed(call);
    }
    mongoc_cursor_destroy(cursor);
    mongoc_collection_destroy(info);
    bson_destroy(&filter);
    bson_destroy(&opts);
    return rv;
}

/* `id` INFO_ID writes the version; another one finds nothing and only proves that we may write. */
static apr_status_t write_version(mongo_call *call, const char *id, bool upsert)
{
    mongoc_collection_t *info = info_coll(call);
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, opts = BSON_INITIALIZER, max;
    apr_status_t rv = APR_SUCCESS;

    BSON_APPEND_UTF8(&filter, "_id", id);
    BSON_APPEND_DOCUMENT_BEGIN(&update, "$max", &max);
    BSON_APPEND_INT64(&max, "version", STORE_SCHEMA_VERSION);
    bson_append_document_end(&update, &max);
    BSON_APPEND_BOOL(&opts, "upsert", upsert);
    if (!mongoc_collection_update_one(info, &filter, &update, &opts, mongo_fresh_reply(call),
                                      &call->error)) {
        rv = mongo_failed(call);
        if (rv == STORE_EEXIST) {
            rv = APR_SUCCESS; /* another process has just put it there */
        }
    }
    mongoc_collection_destroy(info);
    bson_destroy(&filter);
    bson_destroy(&update);
    bson_destroy(&opts);
    return rv;
}

/* ---- indexes ---- */

static apr_status_t run(mongo_call *call, const bson_t *command)
{
    return mongoc_client_write_command_with_opts(call->client, call->m->database, command, NULL,
                                                 mongo_fresh_reply(call), &call->error)
               ? APR_SUCCESS
               : mongo_failed(call);
}

static int is_conflict(const mongo_call *call)
{
    return call->error.domain == MONGOC_ERROR_SERVER &&
           (call->error.code == INDEX_OPTIONS_CONFLICT || call->error.code == INDEX_KEY_CONFLICT);
}

/* Index `no` of the collection, or with ALL_INDEXES each of them; 0 where there is none. */
static int create_command(bson_t *out, const store_coll *coll, unsigned no)
{
    unsigned first = no == ALL_INDEXES ? 0 : no, count = 0;
    bson_t list;

    BSON_APPEND_UTF8(out, "createIndexes", coll->name);
    bson_append_array_begin(out, "indexes", -1, &list);
    for (unsigned i = first; no == ALL_INDEXES || i == no; i++) {
        bson_t one = BSON_INITIALIZER;
        const char *key, *name = mongo_index(&one, coll, i);
        char number[16];

        if (name) {
            bson_uint32_to_string(count++, &key, number, sizeof(number));
            bson_append_document(&list, key, -1, &one);
        }
        bson_destroy(&one);
        if (!name) {
            break;
        }
    }
    bson_append_array_end(out, &list);
    return count > 0;
}

/* By its name, or with `create` by the keys that it describes. */
static apr_status_t drop_index(mongo_call *call, const store_coll *coll, const char *name,
                               const bson_t *create)
{
    bson_t drop = BSON_INITIALIZER;
    bson_iter_t top, key;
    apr_status_t rv;

    BSON_APPEND_UTF8(&drop, "dropIndexes", coll->name);
    if (!create) {
        BSON_APPEND_UTF8(&drop, "index", name);
    } else if (bson_iter_init(&top, create) &&
               bson_iter_find_descendant(&top, "indexes.0.key", &key)) {
        BSON_APPEND_VALUE(&drop, "index", bson_iter_value(&key));
    }
    rv = run(call, &drop);
    bson_destroy(&drop);
    return rv;
}

/* An index of the same name with other keys, one of other name with the same keys, or both. */
static apr_status_t rebuild_index(mongo_call *call, const store_coll *coll, const char *name,
                                  const bson_t *create)
{
    apr_status_t rv;

    drop_index(call, coll, name, NULL);
    rv = run(call, create);
    if (rv != APR_SUCCESS && is_conflict(call)) {
        rv = drop_index(call, coll, name, create);
        rv = rv == APR_SUCCESS ? run(call, create) : rv;
    }
    if (rv == APR_SUCCESS) {
        biz_log(BIZ_LOG_NOTICE, 0, BZ(0247) "index %s of %s was not as declared; it was made again",
                name, coll->name);
    }
    return rv;
}

static apr_status_t make_index(mongo_call *call, const store_coll *coll, const char *name,
                               const bson_t *create, int rebuild)
{
    apr_status_t rv = run(call, create);

    if (rv != APR_SUCCESS && is_conflict(call)) {
        if (rebuild) {
            rv = rebuild_index(call, coll, name, create);
        } else {
            mongo_say(call->m, BIZ_LOG_ERR,
                      BZ(0244) "index %s of %s is not as declared; run bizapictl migrate", name,
                      coll->name);
        }
    }
    if (rv == STORE_EEXIST) {
        mongo_say(call->m, BIZ_LOG_ERR,
                  BZ(0250) "index %s of %s cannot be made: stored documents have the same key; "
                           "remove all but one of them, then run bizapictl migrate",
                  name, coll->name);
        rv = STORE_EUNAVAIL;
    }
    return rv;
}

/* All at once; one by one where the server refuses that, to find out which one it is. */
static apr_status_t make_indexes(mongo_call *call, const store_coll *coll, int rebuild)
{
    bson_t all = BSON_INITIALIZER;
    apr_status_t rv = create_command(&all, coll, ALL_INDEXES) ? run(call, &all) : APR_SUCCESS;
    int refused = rv != APR_SUCCESS && call->trouble == TROUBLE_NONE;

    bson_destroy(&all);
    if (refused) {
        rv = APR_SUCCESS;
    }
    for (unsigned no = 0; refused && rv == APR_SUCCESS; no++) {
        bson_t spec = BSON_INITIALIZER, create = BSON_INITIALIZER;
        const char *name = mongo_index(&spec, coll, no);

        refused = name && create_command(&create, coll, no);
        if (refused) {
            rv = make_index(call, coll, name, &create, rebuild);
        }
        bson_destroy(&spec);
        bson_destroy(&create);
    }
    return rv;
}

/* Whether another command ends within the call's time. Who migrates takes it. */
static int may_go_on(const mongo_call *call, int rebuild)
{
    int64_t gone = (bson_get_monotonic_time() - call->began) / 1000;

    return rebuild || gone + call->m->times.socket <= call->m->times.bound;
}

/* A call that has no time left leaves the other collections to the next one: what is made stays. */
apr_status_t mongo_ensure_schema(mongo_call *call, int rebuild)
{
    int none = 0, *done = call->m->preparing && !rebuild ? &call->m->indexed : &none;
    int64_t version;
    apr_status_t rv = read_version(call, &version);

    if (rv == APR_SUCCESS && version > STORE_SCHEMA_VERSION) {
        mongo_say(call->m, BIZ_LOG_ERR,
                  BZ(0245) "database %s was prepared by a newer program (schema %ld, ours is %d); "
                           "install that version again",
                  call->m->database, (long)version, STORE_SCHEMA_VERSION);
        return STORE_ESCHEMA;
    }
    for (int no; rv == APR_SUCCESS && (no = COLL_NONE + 1 + *done) < COLL_END;) {
        if (!may_go_on(call, rebuild)) {
            mongo_say(
                call->m, BIZ_LOG_NOTICE,
                BZ(0252) "the indexes of %d of %d collections are there, and the server takes "
                         "longer for the others than a call may; calls are answered "
                         "'unavailable' until later ones have made them",
                *done, COLL_END - COLL_NONE - 1);
            return STORE_EUNAVAIL;
        }
        rv = make_indexes(call, store_coll_by_no((store_coll_no)no), rebuild);
        *done += rv == APR_SUCCESS;
    }
    if (rv == APR_SUCCESS) {
        *done = 0;
    }
    if (rv == APR_SUCCESS && version < STORE_SCHEMA_VERSION) {
        rv = write_version(call, INFO_ID, true);
    }
    return rv;
}

/* ---- what store.h asks ---- */

apr_status_t mongo_migrate(store *s, apr_pool_t *pool)
{
    mongo_call call;
    apr_status_t rv = mongo_begin_slow(&call, s);

    if (rv == APR_SUCCESS) {
        rv = mongo_ensure_schema(&call, 1);
    }
    return mongo_end(&call, rv);
}

apr_status_t mongo_ping(store *s, apr_pool_t *pool)
{
    mongo_call call;
    int64_t version;
    apr_status_t rv = mongo_begin(&call, s, NULL);

    if (rv == APR_SUCCESS) {
        rv = read_version(&call, &version);
    }
    if (rv == APR_SUCCESS) {
        rv = write_version(&call, "nobody", false);
    }
    return mongo_end(&call, rv);
}

static const char *server_version(mongo_call *call, apr_pool_t *pool)
{
    bson_t command = BSON_INITIALIZER;
    bson_iter_t at;
    const char *version = "of unknown version";

    BSON_APPEND_INT32(&command, "buildInfo", 1);
    if (mongoc_client_command_simple(call->client, "admin", &command, NULL, mongo_fresh_reply(call),
                                     &call->error) &&
        bson_iter_init_find(&at, call->reply, "version") && BSON_ITER_HOLDS_UTF8(&at)) {
        version = apr_pstrdup(pool, bson_iter_utf8(&at, NULL));
    }
    bson_destroy(&command);
    return version;
}

apr_status_t mongo_check(store *s, apr_pool_t *pool, const char **report)
{
    mongo_call call;
    mongoc_server_description_t *server = NULL;
    const char *type = NULL;
    apr_status_t rv = mongo_begin(&call, s, NULL);

    if (rv == APR_SUCCESS) {
        server = mongoc_client_select_server(call.client, true, NULL, &call.error);
        rv = server ? mongo_ensure_schema(&call, 0) : mongo_failed(&call);
    }
    if (rv == APR_SUCCESS) {
        type = mongoc_server_description_type(server);
        *report = apr_psprintf(
            pool, "MongoDB %s, %s, database %s: all indexes are as declared, schema %d%s",
            server_version(&call, pool), type, call.m->database, STORE_SCHEMA_VERSION,
            strcmp(type, "Standalone") == 0
                ? "; a server without replica set: a lost connection cannot be retried unseen"
                : "");
    } else if (rv == STORE_ESCHEMA) {
        *report = "the database was prepared by a newer program";
    } else {
        *report = apr_psprintf(pool, "not usable: %s",
                               call.error.domain == MONGOC_ERROR_SERVER || call.error.domain == 0
                                   ? "see the error log"
                                   : call.error.message);
    }
    if (server) {
        mongoc_server_description_destroy(server);
    }
    return mongo_end(&call, rv);
}
