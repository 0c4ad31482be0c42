/* sqlite.h: shared by the sqlite*.c files alone: connections, statements and the schema in tables.
 */
#ifndef BIZ_STORE_SQLITE_H
#define BIZ_STORE_SQLITE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <sqlite3.h>
#include "backend.h"

/* What an operator is told, each at most once a minute by one process. */
typedef enum {
    SQ_LOCKED,
    SQ_FULL,
    SQ_IO,
    SQ_OPEN,
    SQ_READONLY,
    SQ_CORRUPT,
    SQ_NEWER,
    SQ_MOVED,
    SQ_LOST,
    SQ_CROWDED,
    SQ_FORKED,
    SQ_OTHER,
    SQ_BACK,
    SQ_LINES
} sq_line;

typedef enum { SQ_READ, SQ_WRITE, SQ_WRITE_RELAXED } sq_mode;

enum { SQ_STATEMENTS = 96 };

struct sq_conn;

typedef struct {
    store *s;
    const char *path, *dir, *wal, *shm, *made; /* made: the name while it is being made */
    pthread_mutex_t lock;                      /* over all that follows, up to the blank line */
    pthread_cond_t freed, gate;
    struct sq_conn *idle; /* last in, first out: the warmest first */
    int open;             /* connections that exist or are being opened */
    int writing;          /* a thread of this process writes */
    int writers_waiting;
    int handed; /* the gate is kept for one of those that wait */
    pid_t pid;

    _Atomic int64_t said[SQ_LINES]; /* monotonic microseconds */
    _Atomic int down;               /* the last thing said was bad */
    _Atomic int was_there;          /* it was in use here: what is missing now was lost */
    /* Texts that never change, by collection. */
    const char *columns[COLL_END], *get_text[COLL_END], *insert[COLL_END];
    const char *fingerprint;
} sq_store;

typedef struct sq_conn {
    struct sq_conn *next;
    sq_store *owner;
    sqlite3 *db;
    int64_t deadline;  /* of the operation that has it; monotonic microseconds */
    int64_t looked_at; /* when the file was last seen in its place */
    sq_mode mode;
    int full; /* PRAGMA synchronous is FULL, else NORMAL */
    unsigned turn, seed;
    sqlite3_stmt *get[COLL_END]; /* one document by its id: what is asked most */
    struct {
        uint64_t hash;
        sqlite3_stmt *stmt;
        unsigned used;
    } cache[SQ_STATEMENTS];
} sq_conn;

/* ---- sqlite_log.c ---- */

int64_t sq_clock(void);
/* 1 where the line may be written now. */
int sq_may_say(sq_store *q, sq_line line);
void sq_say(sq_store *q, sq_line line, const char *detail);
/* What a result code of SQLite means to a caller; tells the operator. `db` may be NULL. */
apr_status_t sq_status(sq_store *q, sqlite3 *db, int rc);

/* ---- sqlite_conn.c ---- */

apr_status_t sq_pool_init(sq_store *q);
/* Makes the file where it is missing; 1 where it is there then. */
int sq_make(sq_store *q);
/* A connection for one operation, which must end before the store's time-out. */
apr_status_t sq_acquire(store *s, sq_mode mode, sq_conn **out);
/* Gives it back; one that is broken is closed, so that the next use opens anew. */
void sq_release(sq_conn *c, int rc);
/* The kept statement for this text. */
int sq_prepare(sq_conn *c, const char *sql, sqlite3_stmt **stmt);
/* The one that gets a document of the collection by its id. */
int sq_prepare_get(sq_conn *c, store_coll_no coll, sqlite3_stmt **stmt);

/* ---- sqlite_sql.c: texts with bound values ---- */

typedef struct {
    apr_pool_t *pool;
    char *text;
    size_t len, size;
    struct sq_bind {
        store_type type;
        store_value value;
    } * binds;
    int n_binds, max_binds;
} sq_sql;

void sq_sql_init(sq_sql *q, apr_pool_t *pool);
void sq_add(sq_sql *q, const char *text);
void sq_add_name(sq_sql *q, const char *name); /* quoted */
void sq_add_value(sq_sql *q, store_type type, const store_value *value);
void sq_add_int(sq_sql *q, int64_t value);
/* "a" = ? AND ...; `before` stands in front of each. */
void sq_add_conds(sq_sql *q, const char *before, const store_cond *conds, size_t n);
void sq_add_changes(sq_sql *q, const store_change *changes, size_t n);
/* SELECT `what` FROM ... in the plan's order, LIMIT included. */
void sq_add_select(sq_sql *q, const char *what, const store_plan *plan);
int sq_bind_value(sqlite3_stmt *stmt, int at, store_type type, const store_value *value);
/* All columns of a collection, as sq_doc_read() wants them. */
const char *sq_columns(apr_pool_t *pool, const store_coll *coll);
store_doc *sq_doc_read(apr_pool_t *pool, const store_coll *coll, sqlite3_stmt *stmt);
int sq_doc_bind(sqlite3_stmt *stmt, const store_doc *doc);
/* INSERT with a place for each column. */
const char *sq_insert_text(apr_pool_t *pool, const store_coll *coll);

/* ---- sqlite_schema.c ---- */

/* A number for all tables and indexes as they should be. */
const char *sq_fingerprint(apr_pool_t *pool);
/* Compares what the file has with schema.h and adds what is missing. APR_SUCCESS, STORE_ESCHEMA, or
 * STORE_EUNAVAIL after telling the operator; *rc for sq_release(). `always`: even where the file
 * says that it is up to date. */
apr_status_t sq_schema_ready(sq_store *q, sqlite3 *db, int always, int *rc);
apr_status_t sq_integrity(sq_conn *c, apr_pool_t *pool, const char **report, int *rc);
/* The unique index behind "UNIQUE constraint failed: outbox.unique_key"; "_id" for the id. */
const char *sq_index_hit(const store_coll *coll, sqlite3 *db, int rc);

#endif
