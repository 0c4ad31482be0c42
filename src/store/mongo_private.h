/* mongo_private.h: what mongo.c, mongo_call.c, mongo_link.c, mongo_schema.c and mongo_bson.c say to
 * each other. No other file includes it: libmongoc ends here. */
#ifndef BIZ_STORE_MONGO_PRIVATE_H
#define BIZ_STORE_MONGO_PRIVATE_H

#include <pthread.h>
#include <mongoc/mongoc.h>
#include "backend.h"
#include "core/log.h"

/* ---- mongo_link.c: the URI, time-outs, log lines ---- */

/* Milliseconds, as they are in force: ours, or what the URI says instead. */
typedef struct {
    int queue;  /* for one of the clients */
    int select; /* for a server that takes writes */
    int connect;
    int socket; /* for each answer */
    int work;   /* the server may work on it; sooner than `socket`, to hear that it gave up */
    int bound;  /* what a call is promised to stay under */
} mongo_times;

/* The clients of a process, made from the URI by the first call. The library looks no more at a
 * server that is no member of the replica set; after the last one it will never find any, also when
 * the server has become a member. Then the next call makes new ones, and the last call that has one
 * of these ends them. */
typedef struct {
    mongoc_client_pool_t *pool;
    int holders;       /* calls that have one, and the store while it gives them out */
    int found, struck; /* servers that the library began and ceased to look at; atomic */
} mongo_clients;

typedef struct {
    store *s;
    mongoc_uri_t *uri;
    const char *database;
    mongo_times times;
    mongoc_write_concern_t *relaxed;

    pthread_mutex_t lock;   /* all below */
    pthread_cond_t turn;    /* `preparing` or `ready` has changed */
    pid_t pid;              /* whose clients these are */
    mongo_clients *clients; /* and the number of their holders */
    int ready, preparing;
    int indexed;          /* collections whose indexes were looked at; of who prepares */
    apr_status_t refused; /* of the schema, until `refused_until` */
    int64_t refused_until;

    int open, probing;
    unsigned failures;
    int64_t probe_at, open_since;
    unsigned turned_away;

    int64_t logged_at;
    unsigned unlogged;
    int told; /* the operator knows that it is down */
} mongo;

/* How the server failed a call: not at all (it answered, be it with a refusal), on the wire, or no
 * server was there, which took all of the select time to find out. */
enum { TROUBLE_NONE, TROUBLE_WIRE, TROUBLE_NOBODY };

/* One call of the store: a client borrowed from the pool, and what became of it. */
typedef struct {
    mongo *m;
    mongo_clients *clients; /* of which `client` is one */
    mongoc_client_t *client;
    mongoc_collection_t *coll;
    bson_error_t error;
    bson_t *reply;
    int64_t began; /* monotonic microseconds */
    int trouble;   /* how the server failed us; the breaker counts it */
    int counted;   /* ... and has done so */
    int slow;      /* the client is the call's own */
    int probe;     /* this call finds out whether the server is back */
} mongo_call;

apr_status_t mongo_open(store *s, const char *url, const store_options *o, const char **why);
const char *mongo_url_error(apr_pool_t *pool, const char *url);
/* A client of its own for work that takes minutes; NULL and a logged line when there is none. */
mongoc_client_t *mongo_slow_client(mongo *m);
/* At most one line a minute and store, the swallowed ones counted; 1 where it was written. No
 * secrets. */
int mongo_say(mongo *m, biz_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- mongo_call.c: clients, the breaker, what goes wrong ---- */

/* One holder less. */
void mongo_let_go(mongo *m, mongo_clients *clients);
/* Borrows a client, sees to indexes at first use. Refuses at once while the breaker is open.
 * Always followed by mongo_end(), whatever it answers. `coll` may be NULL. */
apr_status_t mongo_begin(mongo_call *call, store *s, const store_coll *coll);
/* What follows in this call is about another collection. */
void mongo_turn_to(mongo_call *call, const store_coll *coll);
/* With a client of its own that waits long for an answer, beside breaker and pool. */
apr_status_t mongo_begin_slow(mongo_call *call, store *s);
/* Gives the client back, tells the breaker and the operator; gives `status` back. */
apr_status_t mongo_end(mongo_call *call, apr_status_t status);
/* call->reply, emptied for the next command. */
bson_t *mongo_fresh_reply(mongo_call *call);
/* The answer of store.h for call->error after a failed command: STORE_EEXIST for a duplicate,
 * STORE_EINVAL for a sum that is too large, else STORE_EUNAVAIL. */
apr_status_t mongo_failed(mongo_call *call);
/* 1 where the last failure was on the wire: the command may or may not have been applied. */
int mongo_was_cut(const mongo_call *call);
/* 1 where one more exchange with the server still fits under the bound of this call. */
int mongo_has_time(const mongo_call *call);

/* ---- mongo_many.c ---- */

apr_status_t mongo_insert_new(store *s, apr_pool_t *pool, store_doc *const *docs, int n);

/* ---- mongo_schema.c ---- */

/* Declared indexes are there, and the data is not from a newer program. `rebuild`: an index that
 * differs from its declaration is dropped and made again, else that is a failure. */
apr_status_t mongo_ensure_schema(mongo_call *call, int rebuild);
apr_status_t mongo_migrate(store *s, apr_pool_t *pool);
apr_status_t mongo_ping(store *s, apr_pool_t *pool);
apr_status_t mongo_check(store *s, apr_pool_t *pool, const char **report);

/* ---- mongo_bson.c: documents, conditions and changes as BSON ---- */

/* Nulls are left out. `mark` not 0 goes into the field MONGO_MARK. */
void mongo_doc_to_bson(bson_t *out, const store_doc *doc, int64_t mark);
store_doc *mongo_doc_from_bson(apr_pool_t *pool, const store_coll *coll, const bson_t *in);
/* `id` may be NULL; `plan`, where not NULL, adds the place where its page starts. */
void mongo_filter(bson_t *out, const char *id, const store_cond *conds, size_t n_conds,
                  const store_plan *plan);
void mongo_sort(bson_t *out, const store_plan *plan);
void mongo_changes(bson_t *out, const store_change *changes, size_t n_changes);
/* Index `no` of the collection as createIndexes takes it, {key: ..., name: ..., ...}; NULL behind
 * the last one, else its name, which lives as long as the program. */
const char *mongo_index(bson_t *out, const store_coll *coll, unsigned no);
/* Which unique index an E11000 names: "_id", a declared one, or "" where it cannot be told. */
const char *mongo_duplicate_index(const store_coll *coll, const bson_t *reply, const char *message);

/* Marks the write of a document whose id the caller chose, so that after a lost answer our own
 * document can be told from one that another put there in the same millisecond. */
#define MONGO_MARK "_w"

#endif
