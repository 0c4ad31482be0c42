/* mongo_many.c: many documents in one exchange with the server. Called by store.c as part of the
 * backend in mongo.c; mongo_call.c has what goes wrong. A document is sent again by libmongoc
 * alone: whoever inserts many can do so once more. */
#include "mongo_private.h"

/* Of documents that were sent together: together they are to fit under the bound of a call. */
enum { PORTION = 100, DUPLICATE = 11000 };

/* 1 where nothing went wrong but that some keys are in use. */
static int only_taken(const bson_t *reply)
{
    bson_iter_t at, each;
    int n = 0;

    if (bson_iter_init_find(&at, reply, "writeConcernErrors") && bson_iter_recurse(&at, &each) &&
        bson_iter_next(&each))
        return 0;
    if (!bson_iter_init_find(&at, reply, "writeErrors") || !bson_iter_recurse(&at, &each))
        return 0;
    for (; bson_iter_next(&each); n++) {
        bson_iter_t code;

        if (!BSON_ITER_HOLDS_DOCUMENT(&each) || !bson_iter_recurse(&each, &code) ||
            !bson_iter_find(&code, "code") || bson_iter_as_int64(&code) != DUPLICATE)
            return 0;
    }
    return n > 0;
}

static apr_status_t insert_portion(store *s, apr_pool_t *pool, store_doc *const *docs, int n)
{
    bson_t *bson = apr_palloc(pool, (size_t)n * sizeof(*bson));
    const bson_t **list = apr_palloc(pool, (size_t)n * sizeof(*list));
    bson_t options = BSON_INITIALIZER;
    mongo_call call;
    apr_status_t rv = mongo_begin(&call, s, docs[0]->coll);

    BSON_APPEND_BOOL(&options, "ordered", 0);
    for (int i = 0; i < n; i++) {
        bson_init(&bson[i]);
        mongo_doc_to_bson(&bson[i], docs[i], 0);
        list[i] = &bson[i];
    }
    if (rv == APR_SUCCESS &&
        !mongoc_collection_insert_many(call.coll, list, (size_t)n, &options,
                                       mongo_fresh_reply(&call), &call.error) &&
        !only_taken(call.reply)) {
        rv = mongo_failed(&call);
        rv = rv == STORE_EEXIST ? STORE_EUNAVAIL : rv; /* the first of several failures */
    }
    for (int i = 0; i < n; i++)
        bson_destroy(&bson[i]);
    bson_destroy(&options);
    return mongo_end(&call, rv);
}

apr_status_t mongo_insert_new(store *s, apr_pool_t *pool, store_doc *const *docs, int n)
{
    apr_status_t rv = APR_SUCCESS;

    for (int at = 0; at < n && rv == APR_SUCCESS; at += PORTION)
        rv = insert_portion(s, pool, docs + at, n - at < PORTION ? n - at : PORTION);
    return rv;
}
