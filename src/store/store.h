/* store.h: the one way to what is remembered. A document store, SQLite (sqlite.c) or MongoDB
 * (mongo.c) behind it; who calls it never knows which.
 *
 * The promise is what both can keep: each operation changes one document, atomically; there is no
 * join and no transaction over two documents. What must happen once is a conditional change with
 * one winner or an insert under a unique key. An operation that answered APR_SUCCESS has been
 * committed; one that answered STORE_EUNAVAIL may or may not have been.
 *
 * Texts are UTF-8, ids 1 to 255 bytes of it; an id that cannot be (NULL, "", not UTF-8) is simply
 * not there. TIME values are cut to the millisecond, those of conditions and changes too. What this
 * header forbids is answered STORE_EINVAL and one log line, and changes nothing.
 *
 * Threads: a store may be used by many threads at once; a document belongs to one. Documents and
 * their texts live in the pool that was passed in. A store is opened in the process that uses it,
 * after the fork. */
#ifndef BIZ_STORE_H
#define BIZ_STORE_H

#include <stdint.h>
#include <apr_errno.h>
#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>
#include "schema.h"

/* Answers besides APR_SUCCESS. */
enum {
    STORE_ENOENT = APR_OS_START_USERERR + 100, /* no such document */
    STORE_EEXIST,                              /* a unique key or the id is taken */
    STORE_ECOND,    /* the document is there, a condition does not hold */
    STORE_EUNAVAIL, /* the store cannot be reached, is locked, full or broken: try later */
    STORE_EINVAL,   /* a forged cursor, or a use that this header forbids */
    STORE_ESCHEMA   /* the stored schema is newer than this program */
};
/* English for one of these, or APR's own text. */
const char *store_strerror(apr_pool_t *pool, apr_status_t status);

typedef struct store store;

typedef struct {
    apr_interval_time_t op_timeout; /* no operation waits longer; 0: 2 s */
    int max_connections;            /* 0: 16 */
    uid_t owner_uid;                /* owner of files made while running as root; 0: leave */
    gid_t owner_gid;
    int must_exist; /* a store of this machine is never made anew: where it is missing it was lost
                     */
} store_options;

/* url: "sqlite:/absolute/path" or "mongodb://..." ("mongodb+srv://..."). Checks the form and
 * prepares, but does not reach for the data: a store that is down opens, and answers
 * STORE_EUNAVAIL until it is back. STORE_EINVAL and *why where the url is no good. Everything is
 * released with `pool`. */
apr_status_t store_open(store **out, const char *url, const store_options *options,
                        apr_pool_t *pool, const char **why);
/* Makes the file of a store of this machine where it is missing, and opens nothing: before the
 * processes that use it exist, while root. 1 where it is there then; 0 for other stores. */
int store_make(const char *url, const store_options *options, apr_pool_t *pool);
/* The form alone, for configuration tests; touches nothing. NULL when good, else what is wrong. */
const char *store_url_error(apr_pool_t *pool, const char *url);
/* The url as it may be shown: no password. */
const char *store_url_shown(apr_pool_t *pool, const char *url);
/* Tables and indexes as schema.h has them; also done by itself at first use. */
apr_status_t store_migrate(store *s, apr_pool_t *pool);
/* APR_SUCCESS where a read and the right to write are there now. */
apr_status_t store_ping(store *s, apr_pool_t *pool);
/* The same for those who ask all the time: while one of them looks, and for a second after, the
 * others get what was seen last; STORE_EUNAVAIL where nothing was yet. */
apr_status_t store_is_ready(store *s, apr_pool_t *pool);
/* Deeper, slower, for bizapictl check: integrity of the data. *report is a line of English. */
apr_status_t store_check(store *s, apr_pool_t *pool, const char **report);

/* ---- documents ---- */

typedef struct store_doc store_doc;

/* A new document with an id made by us and every field null. */
store_doc *store_doc_new(apr_pool_t *pool, store_coll_no coll);
void store_doc_set_id(store_doc *doc, const char *id); /* before insert; copied */
/* As if it had been inserted at `made` and never changed; for store_insert_copy(). */
void store_doc_set_made(store_doc *doc, apr_time_t made);
store_coll_no store_doc_coll(const store_doc *doc);
const char *store_doc_id(const store_doc *doc);
int64_t store_doc_version(const store_doc *doc); /* 0 before insert and for STORE_NO_VERSION */

/* Reading a null gives NULL, 0, 0, 0. A field of another collection or type ends the process with
 * a message: it is a mistake in the program, never in the data. */
int store_is_null(const store_doc *doc, store_fid fid);
const char *store_str(const store_doc *doc, store_fid fid); /* STR and JSON */
int64_t store_int(const store_doc *doc, store_fid fid);     /* INT, and STORE_VERSION */
int store_bool(const store_doc *doc, store_fid fid);
apr_time_t store_time(const store_doc *doc,
                      store_fid fid); /* TIME, STORE_CREATED_AT, _UPDATED_AT */

void store_set_str(store_doc *doc, store_fid fid, const char *value); /* copied; NULL is null */
void store_set_int(store_doc *doc, store_fid fid, int64_t value);
void store_set_bool(store_doc *doc, store_fid fid, int value);
void store_set_time(store_doc *doc, store_fid fid, apr_time_t value); /* cut to milliseconds */
void store_set_null(store_doc *doc, store_fid fid);

/* ---- values, conditions, changes ----
 *
 * Written in place:  store_cond c[] = {STORE_EQ_STR(OUTBOX_STATE, "queued"),
 *                                      STORE_LE_TIME(OUTBOX_DUE_AT, now)}; */

typedef struct {
    int null;
    const char *s; /* STR, JSON, STORE_ID */
    int64_t i;     /* INT, BOOL as 0 or 1, TIME in microseconds */
} store_value;

typedef enum { STORE_EQ, STORE_NE, STORE_LT, STORE_LE, STORE_GT, STORE_GE } store_op;

/* NULL equals only null (STORE_EQ, STORE_NE); LT, LE, GT, GE never hold for a null field and are
 * forbidden with a null value. Texts are compared by their bytes. A JSON field can only be asked
 * whether it is null. The four common fields may stand in conditions, not in changes. */
typedef struct {
    store_fid field;
    store_op op;
    store_value value;
} store_cond;

#define STORE_V_STR(x)                                                                             \
    {                                                                                              \
        .null = (x) == NULL, .s = (x)                                                              \
    }
#define STORE_V_INT(x)                                                                             \
    {                                                                                              \
        .i = (x)                                                                                   \
    }
#define STORE_V_NULL                                                                               \
    {                                                                                              \
        .null = 1                                                                                  \
    }
#define STORE_EQ_STR(f, x)                                                                         \
    {                                                                                              \
        (f), STORE_EQ, STORE_V_STR(x)                                                              \
    }
#define STORE_EQ_INT(f, x)                                                                         \
    {                                                                                              \
        (f), STORE_EQ, STORE_V_INT(x)                                                              \
    }
#define STORE_EQ_BOOL(f, x)                                                                        \
    {                                                                                              \
        (f), STORE_EQ, STORE_V_INT((x) ? 1 : 0)                                                    \
    }
#define STORE_IS_NULL(f)                                                                           \
    {                                                                                              \
        (f), STORE_EQ, STORE_V_NULL                                                                \
    }
#define STORE_NOT_NULL(f)                                                                          \
    {                                                                                              \
        (f), STORE_NE, STORE_V_NULL                                                                \
    }
#define STORE_LT_TIME(f, x)                                                                        \
    {                                                                                              \
        (f), STORE_LT, STORE_V_INT(x)                                                              \
    }
#define STORE_LE_TIME(f, x)                                                                        \
    {                                                                                              \
        (f), STORE_LE, STORE_V_INT(x)                                                              \
    }
#define STORE_GT_TIME(f, x)                                                                        \
    {                                                                                              \
        (f), STORE_GT, STORE_V_INT(x)                                                              \
    }
#define STORE_GE_TIME(f, x)                                                                        \
    {                                                                                              \
        (f), STORE_GE, STORE_V_INT(x)                                                              \
    }

typedef struct {
    store_fid field;
    /* INC: INT fields; null counts as 0; a sum beyond 64 bits is STORE_EINVAL and changes nothing.
     */
    enum { STORE_SET, STORE_INC } how;
    store_value value;
} store_change;

#define STORE_SET_STR(f, x)                                                                        \
    {                                                                                              \
        (f), STORE_SET, STORE_V_STR(x)                                                             \
    }
#define STORE_SET_INT(f, x)                                                                        \
    {                                                                                              \
        (f), STORE_SET, STORE_V_INT(x)                                                             \
    }
#define STORE_SET_BOOL(f, x)                                                                       \
    {                                                                                              \
        (f), STORE_SET, STORE_V_INT((x) ? 1 : 0)                                                   \
    }
#define STORE_SET_TIME(f, x)                                                                       \
    {                                                                                              \
        (f), STORE_SET, STORE_V_INT(x)                                                             \
    }
#define STORE_SET_NULL(f)                                                                          \
    {                                                                                              \
        (f), STORE_SET, STORE_V_NULL                                                               \
    }
#define STORE_INC_INT(f, x)                                                                        \
    {                                                                                              \
        (f), STORE_INC, STORE_V_INT(x)                                                             \
    }

#define STORE_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- one document ---- */

/* STORE_ENOENT where there is none. */
apr_status_t store_get(store *s, apr_pool_t *pool, store_coll_no coll, const char *id,
                       store_doc **out);
/* A document and the one of collection `other` whose id stands in its text `by`, by one visit to
 * the store: with SQLite both are as they were at one moment. STORE_ENOENT where one is missing. */
apr_status_t store_get_two(store *s, apr_pool_t *pool, store_coll_no coll, const char *id,
                           store_fid by, store_coll_no other, store_doc **out, store_doc **second);

/* Sets created_at, updated_at and version 1. STORE_EEXIST, and where `index` is not NULL the name
 * of the unique index that was hit ("_id" for the id); where several are, one of them. */
apr_status_t store_insert(store *s, apr_pool_t *pool, store_doc *doc, const char **index);

/* Applies the changes where the document exists and all conditions hold, raises version and
 * updated_at, and gives the document as it is after (`after` may be NULL). STORE_ENOENT,
 * STORE_ECOND, STORE_EEXIST. No changes at all is a touch: version and updated_at alone. Of many
 * who try at once under a condition that the change itself makes false, exactly one gets
 * APR_SUCCESS. */
apr_status_t store_update(store *s, apr_pool_t *pool, store_coll_no coll, const char *id,
                          const store_cond *conds, size_t n_conds, const store_change *changes,
                          size_t n_changes, store_doc **after);

/* Empties a text field that is `value` yet, one that no reader of the document is told of: version
 * and updated_at stay. Gives the document after it. STORE_ENOENT, STORE_ECOND. */
apr_status_t store_empty(store *s, apr_pool_t *pool, store_coll_no coll, const char *id,
                         store_fid field, const char *value, store_doc **after);

/* STORE_ENOENT, STORE_ECOND. */
apr_status_t store_delete(store *s, apr_pool_t *pool, store_coll_no coll, const char *id,
                          const store_cond *conds, size_t n_conds);

/* Adds `delta` to a counter that starts at 0 and gives the new value: no gap, no double. */
apr_status_t store_counter(store *s, apr_pool_t *pool, const char *name, int64_t delta,
                           int64_t *value);

/* ---- many documents ---- */

/* A query names a declared index and walks it in its order (NULL: the ids' order). Conditions may
 * be on any field, but those on the index's fields must be: STORE_EQ on zero or more leading ones,
 * then at most one further field with LT, LE, GT, GE. The walk is sorted by the first index field
 * after the leading equalities (by the last one where all are equalities), then by _id. */
typedef struct {
    store_coll_no coll;
    const char *index;
    const store_cond *conds;
    size_t n_conds;
    int descending;
    int limit;          /* 1..1000 */
    const char *cursor; /* from an earlier page of the same query, or NULL */
} store_query;

/* *docs: array of store_doc *, perhaps empty. *next: NULL at the end, else the cursor of the next
 * page; rows that come or go between pages are neither repeated nor skipped for the others. `next`
 * may be NULL. STORE_EINVAL for a cursor that is not one of ours. */
apr_status_t store_find(store *s, apr_pool_t *pool, const store_query *query,
                        apr_array_header_t **docs, const char **next);

/* The first document, or STORE_ENOENT. `limit` is not looked at. */
apr_status_t store_find_one(store *s, apr_pool_t *pool, const store_query *query, store_doc **out);

/* Takes the first document of the walk and applies the changes, as one atomic step: of many who
 * claim at once each gets another document. STORE_ENOENT where none is left. */
apr_status_t store_claim(store *s, apr_pool_t *pool, const store_query *query,
                         const store_change *changes, size_t n_changes, store_doc **after);

/* Inserts those of `n` documents of one collection whose id and unique keys are free and leaves out
 * the others, in few steps, but not as a whole: after a failure some may be there. */
apr_status_t store_insert_new(store *s, apr_pool_t *pool, store_doc *const *docs, int n);

/* Changes each matching document, one by one, not as a whole; *changed counts them. At most
 * `limit` documents; repeat while *changed == limit. */
apr_status_t store_update_each(store *s, apr_pool_t *pool, const store_query *query,
                               const store_change *changes, size_t n_changes, int *changed);

/* Removes up to `limit` documents whose expiry field is before `now`, over all collections. */
apr_status_t store_sweep(store *s, apr_pool_t *pool, apr_time_t now, int limit, int *removed);

/* Every document of a collection in the order of ids, for copy and export; `after_id` is the last
 * id seen or NULL; `limit` as in a query. */
apr_status_t store_scan(store *s, apr_pool_t *pool, store_coll_no coll, const char *after_id,
                        int limit, apr_array_header_t **docs);
/* Number of documents, for reports; may be slow. */
apr_status_t store_count(store *s, apr_pool_t *pool, store_coll_no coll, int64_t *count);
/* Insert of a copied document, with its id, version and times as they are. STORE_EEXIST; a document
 * that is there already exactly like this may be APR_SUCCESS. */
apr_status_t store_insert_copy(store *s, apr_pool_t *pool, const store_doc *doc);

#endif
