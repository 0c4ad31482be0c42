/* mongo.c: the operations of store.h on MongoDB. Reached through store_mongo_backend alone.
 *
 * Every operation changes one document by one command whose filter holds the conditions, so the
 * server decides who wins; there is no transaction. Where the server offers retryable writes,
 * libmongoc sends a write a second time after a lost connection and the server knows it again.
 * A stand-alone server does not: there only the insert is sent again by us, since its id tells
 * whether it was applied; all else answers STORE_EUNAVAIL. */
#include "mongo_private.h"

#include <string.h>
#include <apr_strings.h>
#include "core/random.h"

enum { CLAIM_LOOK = 16 }; /* rows that a claim looks at */

/* ---- reading ---- */

static void read_opts(bson_t *opts, const mongo_call *call, int limit)
{
    BSON_APPEND_INT64(opts, "limit", limit);
    BSON_APPEND_INT64(opts, "batchSize", limit);
    if (call->m->times.work > 0) {
        BSON_APPEND_INT64(opts, "maxTimeMS", call->m->times.work);
    }
}

static void only_id(bson_t *opts, const char *member)
{
    bson_t fields;

    bson_append_document_begin(opts, member, -1, &fields);
    BSON_APPEND_INT32(&fields, "_id", 1);
    bson_append_document_end(opts, &fields);
}

typedef void on_doc(void *context, const bson_t *doc);

static apr_status_t read_each(mongo_call *call, const bson_t *filter, const bson_t *opts,
                              on_doc *each, void *context)
{
    int64_t until = call->began + (int64_t)call->m->times.bound * 1000;
    mongoc_cursor_t *cursor;
    const bson_t *doc;
    apr_status_t rv = APR_SUCCESS;

    mongo_fresh_reply(call);
    cursor = mongoc_collection_find_with_opts(call->coll, filter, opts, NULL);
    while (rv == APR_SUCCESS && mongoc_cursor_next(cursor, &doc)) {
        each(context, doc);
        if (bson_get_monotonic_time() > until) {
            rv = STORE_EUNAVAIL;
        }
    }
    if (mongoc_cursor_error(cursor, &call->error)) {
        rv = mongo_failed(call);
    }
    mongoc_cursor_destroy(cursor);
    return rv;
}

typedef struct {
    apr_pool_t *pool;
    const store_coll *coll;
    apr_array_header_t *docs; /* of store_doc * */
} reader;

static void keep_doc(void *context, const bson_t *doc)
{
    reader *r = context;

    APR_ARRAY_PUSH(r->docs, store_doc *) = mongo_doc_from_bson(r->pool, r->coll, doc);
}

static void keep_id(void *context, const bson_t *doc)
{
    reader *r = context;
    bson_iter_t at;

    if (bson_iter_init_find(&at, doc, "_id") && BSON_ITER_HOLDS_UTF8(&at)) {
        APR_ARRAY_PUSH(r->docs, const char *) = apr_pstrdup(r->pool, bson_iter_utf8(&at, NULL));
    }
}

static apr_status_t read_by_id(mongo_call *call, const char *id, int whole, on_doc *each,
                               void *context)
{
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER;
    apr_status_t rv;

    BSON_APPEND_UTF8(&filter, "_id", id);
    read_opts(&opts, call, 1);
    if (!whole) {
        only_id(&opts, "projection");
    }
    rv = read_each(call, &filter, &opts, each, context);
    bson_destroy(&filter);
    bson_destroy(&opts);
    return rv;
}

static apr_status_t get_here(mongo_call *call, apr_pool_t *pool, const store_coll *coll,
                             const char *id, store_doc **out)
{
    reader r = {pool, coll, apr_array_make(pool, 1, sizeof(store_doc *))};
    apr_status_t rv = read_by_id(call, id, 1, keep_doc, &r);

    if (rv == APR_SUCCESS && r.docs->nelts == 0) {
        rv = STORE_ENOENT;
    } else if (rv == APR_SUCCESS) {
        *out = APR_ARRAY_IDX(r.docs, 0, store_doc *);
    }
    return rv;
}

static apr_status_t mongo_get(store *s, apr_pool_t *pool, const store_coll *coll, const char *id,
                              store_fid by, const store_coll *other, store_doc **out,
                              store_doc **second)
{
    mongo_call call;
    apr_status_t rv = mongo_begin(&call, s, coll);

    if (rv == APR_SUCCESS) {
        rv = get_here(&call, pool, coll, id, out);
    }
    if (rv == APR_SUCCESS && other && !store_is_null(*out, by)) {
        mongo_turn_to(&call, other);
        rv = get_here(&call, pool, other, store_str(*out, by), second);
    }
    return mongo_end(&call, rv);
}

/* The documents of a walk, or their ids alone. */
static apr_status_t walk(mongo_call *call, const store_plan *plan, int whole, reader *r)
{
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, sort;
    apr_status_t rv;

    mongo_filter(&filter, NULL, plan->conds, plan->n_conds, plan);
    bson_append_document_begin(&opts, "sort", -1, &sort);
    mongo_sort(&sort, plan);
    bson_append_document_end(&opts, &sort);
    read_opts(&opts, call, plan->limit);
    if (!whole) {
        only_id(&opts, "projection");
    }
    rv = read_each(call, &filter, &opts, whole ? keep_doc : keep_id, r);
    bson_destroy(&filter);
    bson_destroy(&opts);
    return rv;
}

static apr_status_t mongo_find(store *s, apr_pool_t *pool, const store_plan *plan,
                               apr_array_header_t *docs)
{
    reader r = {pool, plan->coll, docs};
    mongo_call call;
    apr_status_t rv = mongo_begin(&call, s, plan->coll);

    if (rv == APR_SUCCESS) {
        rv = walk(&call, plan, 1, &r);
    }
    return mongo_end(&call, rv);
}

/* ---- insert ---- */

/* An id of biz_new_id() has 80 random bits: nobody else can have it. */
static int id_is_ours(const store_doc *doc)
{
    size_t prefix = strlen(doc->coll->id_prefix);

    return strncmp(doc->id, doc->coll->id_prefix, prefix) == 0 && doc->id[prefix] == '_' &&
           strlen(doc->id) == prefix + 1 + 26;
}

typedef struct {
    const store_doc *doc;
    const bson_t *sent;
    int64_t mark;
    int same;
} lookup;

static void compare(void *context, const bson_t *stored)
{
    lookup *l = context;
    bson_iter_t at;

    if (l->mark != 0) {
        l->same = bson_iter_init_find(&at, stored, MONGO_MARK) && BSON_ITER_HOLDS_INT64(&at) &&
                  bson_iter_int64(&at) == l->mark;
    } else if (l->doc->version == 1) {
        /* Somebody may have changed it since. */
        l->same = bson_iter_init_find(&at, stored, store_field_name(STORE_CREATED_AT)) &&
                  BSON_ITER_HOLDS_DATE_TIME(&at) &&
                  bson_iter_date_time(&at) * 1000 == store_cut(l->doc->created_at);
    } else {
        l->same = bson_equal(stored, l->sent);
    }
}

/* Refused as a duplicate: APR_SUCCESS where the stored document is the one that we, or libmongoc
 * for us, sent first and got no answer for. */
static apr_status_t look_back(mongo_call *call, const store_doc *doc, const bson_t *sent,
                              int64_t mark)
{
    lookup l = {doc, sent, mark, 0};
    apr_status_t rv = STORE_EUNAVAIL;

    if (mongo_has_time(call)) {
        rv = read_by_id(call, doc->id, 1, compare, &l);
    }
    if (rv != APR_SUCCESS) {
        return rv;
    }
    return l.same ? APR_SUCCESS : STORE_EEXIST;
}

static apr_status_t send_insert(mongo_call *call, const bson_t *doc)
{
    return mongoc_collection_insert_one(call->coll, doc, NULL, mongo_fresh_reply(call),
                                        &call->error)
               ? APR_SUCCESS
               : mongo_failed(call);
}

static apr_status_t mongo_insert(store *s, apr_pool_t *pool, const store_doc *doc,
                                 const char **index)
{
    bson_t bson = BSON_INITIALIZER;
    int64_t mark = 0;
    mongo_call call;
    apr_status_t rv;

    while (mark == 0 && !id_is_ours(doc)) {
        biz_random(&mark, sizeof(mark));
    }
    mongo_doc_to_bson(&bson, doc, mark);
    rv = mongo_begin(&call, s, doc->coll);
    if (rv == APR_SUCCESS) {
        rv = send_insert(&call, &bson);
        /* The label says that libmongoc has tried twice already. */
        if (rv == STORE_EUNAVAIL && mongo_was_cut(&call) && mongo_has_time(&call) &&
            !mongoc_error_has_label(call.reply, "RetryableWriteError")) {
            rv = send_insert(&call, &bson);
        }
    }
    if (rv == STORE_EEXIST) {
        *index = mongo_duplicate_index(doc->coll, call.reply, call.error.message);
        rv = look_back(&call, doc, &bson, mark);
    }
    bson_destroy(&bson);
    return mongo_end(&call, rv);
}

/* ---- change of one document ---- */

typedef struct {
    const bson_t *filter, *update;
    apr_pool_t *pool;
    const store_coll *coll;
    store_doc **after; /* NULL: nobody wants it */
} modify;

/* STORE_ENOENT where the filter finds nothing. */
static apr_status_t find_and_modify(mongo_call *call, const modify *how)
{
    mongoc_find_and_modify_opts_t *opts = mongoc_find_and_modify_opts_new();
    bson_t fields = BSON_INITIALIZER, doc;
    bson_iter_t at;
    const uint8_t *data;
    uint32_t len;
    apr_status_t rv = STORE_ENOENT;

    mongoc_find_and_modify_opts_set_flags(opts, MONGOC_FIND_AND_MODIFY_RETURN_NEW);
    mongoc_find_and_modify_opts_set_update(opts, how->update);
    mongoc_find_and_modify_opts_set_max_time_ms(opts, (uint32_t)call->m->times.work);
    if (!how->after) {
        BSON_APPEND_INT32(&fields, "_id", 1);
        mongoc_find_and_modify_opts_set_fields(opts, &fields);
    }
    if (!mongoc_collection_find_and_modify_with_opts(call->coll, how->filter, opts,
                                                     mongo_fresh_reply(call), &call->error)) {
        rv = mongo_failed(call);
    } else if (bson_iter_init_find(&at, call->reply, "value") && BSON_ITER_HOLDS_DOCUMENT(&at)) {
        rv = APR_SUCCESS;
        bson_iter_document(&at, &len, &data);
        if (how->after && bson_init_static(&doc, data, len)) {
            *how->after = mongo_doc_from_bson(how->pool, how->coll, &doc);
        }
    }
    mongoc_find_and_modify_opts_destroy(opts);
    bson_destroy(&fields);
    return rv;
}

/* A filter with conditions has found nothing: was it the id, or the conditions? */
static apr_status_t why_not(mongo_call *call, apr_pool_t *pool, const store_coll *coll,
                            const char *id, size_t n_conds)
{
    reader r = {pool, coll, apr_array_make(pool, 1, sizeof(const char *))};
    apr_status_t rv;

    if (n_conds == 0) {
        return STORE_ENOENT;
    }
    rv = read_by_id(call, id, 0, keep_id, &r);
    if (rv != APR_SUCCESS) {
        return rv;
    }
    return r.docs->nelts > 0 ? STORE_ECOND : STORE_ENOENT;
}

static apr_status_t mongo_update(store *s, apr_pool_t *pool, const store_coll *coll, const char *id,
                                 const store_cond *conds, size_t n_conds,
                                 const store_change *changes, size_t n_changes, store_doc **after)
{
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER;
    modify how = {&filter, &update, pool, coll, after};
    mongo_call call;
    apr_status_t rv = mongo_begin(&call, s, coll);

    mongo_filter(&filter, id, conds, n_conds, NULL);
    mongo_changes(&update, changes, n_changes);
    if (rv == APR_SUCCESS) {
        rv = find_and_modify(&call, &how);
        if (rv == STORE_ENOENT) {
            rv = why_not(&call, pool, coll, id, n_conds);
        }
    }
    bson_destroy(&filter);
    bson_destroy(&update);
    return mongo_end(&call, rv);
}

static int32_t count_in_reply(const mongo_call *call, const char *member)
{
    bson_iter_t at;

    return bson_iter_init_find(&at, call->reply, member) ? (int32_t)bson_iter_as_int64(&at) : 0;
}

static apr_status_t mongo_remove(store *s, apr_pool_t *pool, const store_coll *coll, const char *id,
                                 const store_cond *conds, size_t n_conds)
{
    bson_t filter = BSON_INITIALIZER;
    mongo_call call;
    apr_status_t rv = mongo_begin(&call, s, coll);

    mongo_filter(&filter, id, conds, n_conds, NULL);
    if (rv == APR_SUCCESS && !mongoc_collection_delete_one(call.coll, &filter, NULL,
                                                           mongo_fresh_reply(&call), &call.error)) {
        rv = mongo_failed(&call);
    } else if (rv == APR_SUCCESS && count_in_reply(&call, "deletedCount") == 0) {
        rv = why_not(&call, pool, coll, id, n_conds);
    }
    bson_destroy(&filter);
    return mongo_end(&call, rv);
}

static void counter_update(bson_t *out, int64_t delta)
{
    bson_t part;

    bson_append_document_begin(out, "$inc", -1, &part);
    bson_append_int64(&part, store_field_name(COUNTER_VALUE), -1, delta);
    bson_append_int64(&part, store_field_name(STORE_VERSION), -1, 1);
    bson_append_document_end(out, &part);
    bson_append_document_begin(out, "$set", -1, &part);
    bson_append_date_time(&part, store_field_name(STORE_UPDATED_AT), -1, apr_time_now() / 1000);
    bson_append_document_end(out, &part);
}

/* At zero, where nobody else has put it there meanwhile. Not by upsert: of many who upsert at once
 * one server was seen to count a call and to answer it with nothing. */
static apr_status_t make_counter(mongo_call *call, apr_pool_t *pool, const char *name)
{
    store_doc *doc = store_doc_new(pool, COLL_COUNTERS);
    bson_t bson = BSON_INITIALIZER;
    apr_status_t rv;

    store_doc_set_id(doc, name);
    store_set_int(doc, COUNTER_VALUE, 0);
    doc->created_at = doc->updated_at = store_cut(apr_time_now());
    mongo_doc_to_bson(&bson, doc, 0);
    rv = send_insert(call, &bson);
    bson_destroy(&bson);
    return rv == STORE_EEXIST ? APR_SUCCESS : rv;
}

static apr_status_t mongo_counter(store *s, apr_pool_t *pool, const char *name, int64_t delta,
                                  int64_t *value)
{
    const store_coll *coll = store_coll_by_no(COLL_COUNTERS);
    bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER;
    store_doc *doc = NULL;
    modify how = {&filter, &update, pool, coll, &doc};
    mongo_call call;
    apr_status_t rv = mongo_begin(&call, s, coll);

    BSON_APPEND_UTF8(&filter, "_id", name);
    counter_update(&update, delta);
    if (rv == APR_SUCCESS) {
        rv = find_and_modify(&call, &how);
    }
    if (rv == STORE_ENOENT) {
        rv = make_counter(&call, pool, name);
        rv = rv == APR_SUCCESS ? find_and_modify(&call, &how) : rv;
    }
    if (rv == APR_SUCCESS) {
        *value = store_int(doc, COUNTER_VALUE);
    } else if (rv == STORE_ENOENT) {
        rv = STORE_EUNAVAIL; /* somebody removes counters */
    }
    bson_destroy(&filter);
    bson_destroy(&update);
    return mongo_end(&call, rv);
}

/* The first of these that nobody else has changed meanwhile; STORE_ENOENT where none is left. Who
 * has lost the first one goes on at any other, or all losers would meet again at the second. */
static apr_status_t take_one(mongo_call *call, const apr_array_header_t *ids,
                             const store_plan *plan, const modify *how)
{
    unsigned n = (unsigned)ids->nelts, start = 0;
    apr_status_t rv = STORE_ENOENT;

    for (unsigned i = 0; i < n && rv == STORE_ENOENT; i++) {
        bson_t filter = BSON_INITIALIZER;
        modify one = *how;
        unsigned at = i == 0 ? 0 : 1 + (start + i) % (n - 1);

        mongo_filter(&filter, APR_ARRAY_IDX(ids, at, const char *), plan->conds, plan->n_conds,
                     NULL);
        one.filter = &filter;
        rv = find_and_modify(call, &one);
        bson_destroy(&filter);
        if (i == 0) {
            biz_random(&start, sizeof(start));
            start %= n;
        }
    }
    return rv;
}

/* Looks first and takes then, under the same conditions again. One findAndModify with a sort would
 * do it in a single message, but there a server picks anew for each claim that another was faster
 * with; of 24 who claimed at once, some waited 12 s. */
static apr_status_t mongo_claim(store *s, apr_pool_t *pool, const store_plan *plan,
                                const store_change *changes, size_t n_changes, store_doc **after)
{
    bson_t update = BSON_INITIALIZER;
    modify how = {NULL, &update, pool, plan->coll, after};
    store_plan look = *plan;
    mongo_call call;
    apr_status_t rv = mongo_begin(&call, s, plan->coll);

    look.limit = CLAIM_LOOK;
    mongo_changes(&update, changes, n_changes);
    for (int done = rv != APR_SUCCESS; !done;) {
        reader r = {pool, plan->coll, apr_array_make(pool, CLAIM_LOOK, sizeof(const char *))};

        rv = walk(&call, &look, 0, &r);
        done = rv != APR_SUCCESS || r.docs->nelts == 0;
        if (rv == APR_SUCCESS) {
            rv = take_one(&call, r.docs, plan, &how);
        }
        if (rv == STORE_ENOENT && !done && !mongo_has_time(&call)) {
            rv = STORE_EUNAVAIL;
        }
        done |= rv != STORE_ENOENT;
    }
    bson_destroy(&update);
    return mongo_end(&call, rv);
}

/* ---- many documents ---- */

/* For each id one change, or with `update` NULL one removal, all in one message; each holds the
 * conditions again, for what has changed since the ids were read. */
static apr_status_t bulk(mongo_call *call, const apr_array_header_t *ids, const store_cond *conds,
                         size_t n_conds, const bson_t *update, int *done)
{
    mongoc_bulk_operation_t *op =
        mongoc_collection_create_bulk_operation_with_opts(call->coll, NULL);
    apr_status_t rv = APR_SUCCESS;
    bool ok = true;

    mongo_fresh_reply(call);
    for (int i = 0; ok && i < ids->nelts; i++) {
        bson_t filter = BSON_INITIALIZER;

        mongo_filter(&filter, APR_ARRAY_IDX(ids, i, const char *), conds, n_conds, NULL);
        ok = update ? mongoc_bulk_operation_update_one_with_opts(op, &filter, update, NULL,
                                                                 &call->error)
                    : mongoc_bulk_operation_remove_one_with_opts(op, &filter, NULL, &call->error);
        bson_destroy(&filter);
    }
    if (!ok || !mongoc_bulk_operation_execute(op, call->reply, &call->error)) {
        rv = mongo_failed(call);
    }
    *done = count_in_reply(call, update ? "nMatched" : "nRemoved");
    mongoc_bulk_operation_destroy(op);
    return rv;
}

static apr_status_t mongo_update_each(store *s, apr_pool_t *pool, const store_plan *plan,
                                      const store_change *changes, size_t n_changes, int *changed)
{
    reader r = {pool, plan->coll, apr_array_make(pool, 64, sizeof(const char *))};
    bson_t update = BSON_INITIALIZER;
    mongo_call call;
    apr_status_t rv = mongo_begin(&call, s, plan->coll);

    mongo_changes(&update, changes, n_changes);
    if (rv == APR_SUCCESS) {
        rv = walk(&call, plan, 0, &r);
    }
    if (rv == APR_SUCCESS && r.docs->nelts > 0) {
        rv = bulk(&call, r.docs, plan->conds, plan->n_conds, &update, changed);
    }
    bson_destroy(&update);
    return mongo_end(&call, rv);
}

static apr_status_t mongo_sweep(store *s, apr_pool_t *pool, const store_coll *coll, apr_time_t now,
                                int limit, int *removed)
{
    reader r = {pool, coll, apr_array_make(pool, 64, sizeof(const char *))};
    store_cond expired = STORE_LT_TIME(coll->expiry, now);
    bson_t filter = BSON_INITIALIZER, opts = BSON_INITIALIZER, sort;
    mongo_call call;
    apr_status_t rv = mongo_begin(&call, s, coll);

    mongo_filter(&filter, NULL, &expired, 1, NULL);
    bson_append_document_begin(&opts, "sort", -1, &sort);
    bson_append_int32(&sort, store_field_name(coll->expiry), -1, 1);
    bson_append_document_end(&opts, &sort);
    read_opts(&opts, &call, limit);
    only_id(&opts, "projection");
    if (rv == APR_SUCCESS) {
        rv = read_each(&call, &filter, &opts, keep_id, &r);
    }
    if (rv == APR_SUCCESS && r.docs->nelts > 0) {
        rv = bulk(&call, r.docs, &expired, 1, NULL, removed);
    }
    bson_destroy(&filter);
    bson_destroy(&opts);
    return mongo_end(&call, rv);
}

static apr_status_t mongo_count(store *s, apr_pool_t *pool, const store_coll *coll, int64_t *count)
{
    bson_t all = BSON_INITIALIZER, opts = BSON_INITIALIZER;
    mongo_call call;
    apr_status_t rv = mongo_begin(&call, s, coll);

    if (rv == APR_SUCCESS) {
        BSON_APPEND_INT64(&opts, "maxTimeMS", call.m->times.bound / 5);
        *count = mongoc_collection_count_documents(call.coll, &all, &opts, NULL,
                                                   mongo_fresh_reply(&call), &call.error);
        if (*count < 0 && call.error.code == MONGOC_ERROR_MAX_TIME_MS_EXPIRED) {
            /* Too many to count: what the server's books say is near enough for a report. */
            *count = mongoc_collection_estimated_document_count(
                call.coll, NULL, NULL, mongo_fresh_reply(&call), &call.error);
        }
        rv = *count < 0 ? mongo_failed(&call) : APR_SUCCESS;
    }
    bson_destroy(&all);
    bson_destroy(&opts);
    return mongo_end(&call, rv);
}

const store_backend store_mongo_backend = {
    .name = "mongodb",
    .open = mongo_open,
    .migrate = mongo_migrate,
    .ping = mongo_ping,
    .check = mongo_check,
    .get = mongo_get,
    .insert = mongo_insert,
    .insert_new = mongo_insert_new,
    .update = mongo_update,
    .remove = mongo_remove,
    .counter = mongo_counter,
    .find = mongo_find,
    .claim = mongo_claim,
    .update_each = mongo_update_each,
    .sweep = mongo_sweep,
    .count = mongo_count,
    .url_error = mongo_url_error,
};
