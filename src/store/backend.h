/* backend.h: what a backend of store.h gives; included by store.c, doc.c and the backends alone.
 * store.c has checked arguments before a backend sees them: fields belong to the collection, values
 * have the field's type, TIME values are whole milliseconds, texts are UTF-8, ids are not empty. */
#ifndef BIZ_STORE_BACKEND_H
#define BIZ_STORE_BACKEND_H

#include <stdatomic.h>

#include "store.h"

struct store_doc {
    apr_pool_t *pool;
    const store_coll *coll;
    const char *id;
    int64_t version;
    apr_time_t created_at, updated_at;
    store_value *values; /* coll->field_count of them, by STORE_FID_PLACE */
};

/* A checked query: which conditions are on the index, what the order is, where the page starts. */
typedef struct {
    const store_coll *coll;
    const store_index *index; /* NULL: ids */
    const store_cond *conds;
    size_t n_conds;
    store_fid sort; /* then by _id; STORE_ID where index is NULL */
    int descending;
    int limit;     /* 1..1001: a page asks for one more, to see whether it is the last */
    int has_after; /* the page starts after (after_value, after_id) */
    store_value after_value;
    const char *after_id;
} store_plan;

typedef struct {
    const char *name;
    apr_status_t (*open)(store *s, const char *url, const store_options *o, const char **why);
    int (*make)(store *s); /* see store_make(); NULL where there is no file */
    apr_status_t (*migrate)(store *s, apr_pool_t *pool);
    apr_status_t (*ping)(store *s, apr_pool_t *pool);
    apr_status_t (*check)(store *s, apr_pool_t *pool, const char **report);
    /* `other` NULL: one document alone. What is not there stays NULL, and so does *second where
     * the first names nothing. */
    apr_status_t (*get)(store *s, apr_pool_t *pool, const store_coll *coll, const char *id,
                        store_fid by, const store_coll *other, store_doc **out, store_doc **second);
    /* doc has its id, version and times set already; *index as in store_insert(). */
    apr_status_t (*insert)(store *s, apr_pool_t *pool, const store_doc *doc, const char **index);
    /* n > 0 documents of one collection, as for insert. */
    apr_status_t (*insert_new)(store *s, apr_pool_t *pool, store_doc *const *docs, int n);
    /* The changes include version and updated_at already where the collection has them. */
    apr_status_t (*update)(store *s, apr_pool_t *pool, const store_coll *coll, const char *id,
                           const store_cond *conds, size_t n_conds, const store_change *changes,
                           size_t n_changes, store_doc **after);
    apr_status_t (*remove)(store *s, apr_pool_t *pool, const store_coll *coll, const char *id,
                           const store_cond *conds, size_t n_conds);
    apr_status_t (*counter)(store *s, apr_pool_t *pool, const char *name, int64_t delta,
                            int64_t *value);
    apr_status_t (*find)(store *s, apr_pool_t *pool, const store_plan *plan,
                         apr_array_header_t *docs);
    apr_status_t (*claim)(store *s, apr_pool_t *pool, const store_plan *plan,
                          const store_change *changes, size_t n_changes, store_doc **after);
    apr_status_t (*update_each)(store *s, apr_pool_t *pool, const store_plan *plan,
                                const store_change *changes, size_t n_changes, int *changed);
    apr_status_t (*sweep)(store *s, apr_pool_t *pool, const store_coll *coll, apr_time_t now,
                          int limit, int *removed);
    apr_status_t (*count)(store *s, apr_pool_t *pool, const store_coll *coll, int64_t *count);
    /* For store_url_error() and before open(): NULL when good. The member itself may be NULL. */
    const char *(*url_error)(apr_pool_t *pool, const char *url);
} store_backend;

struct store {
    apr_pool_t *pool;
    const store_backend *backend;
    store_options options;
    const char *shown;         /* the url without secrets */
    void *data;                /* the backend's own */
    _Atomic int64_t looked_at; /* steady microseconds at the end of store_is_ready()'s last
                                  look; 0: none; INT64_MAX: one looks */
    _Atomic int seen;          /* and what it saw */
};

extern const store_backend store_sqlite_backend;
extern const store_backend store_mongo_backend;

/* A document with all fields null, for a backend to fill. */
store_doc *store_doc_blank(apr_pool_t *pool, const store_coll *coll);
/* Down to the whole millisecond, also before 1970. */
static inline apr_time_t store_cut(apr_time_t t)
{
    apr_time_t rest = t % 1000;

    return t - (rest < 0 ? rest + 1000 : rest);
}
/* The value of any field, the four common ones included. */
store_value store_doc_value(const store_doc *doc, store_fid fid);

#endif
