/* sqlite.c: store.h over SQLite, for one machine. Called by store.c through store_sqlite_backend;
 * it gets checked arguments alone.
 *
 * Each change is one statement outside of a transaction: SQLite takes the write lock before such a
 * statement reads anything, waits for it by the busy handler, and commits at its end. That is what
 * BEGIN IMMEDIATE ... COMMIT around it would do, for three statements instead of one; what must not
 * happen, a read that later wants to write (SQLITE_BUSY_SNAPSHOT), cannot. Only where two
 * statements belong together (migration, many inserts) is there a BEGIN IMMEDIATE. */
#include "sqlite.h"

#include <string.h>
#include <apr_strings.h>
#include "core/log.h"

/* A conditional change that finds its condition false, and true when it looks why: somebody was
 * faster than the look. After this many times the answer is that the condition does not hold. */
enum { LOOKS = 8 };

static const char *sqlite_url_error(apr_pool_t *pool, const char *url)
{
    const char *path = url + strlen("sqlite:");
    size_t len = strlen(path);

    (void)pool;
    if (path[0] != '/') {
        return "sqlite: wants an absolute path, as in sqlite:/var/lib/bizapi/bizapi.db";
    }
    if (path[len - 1] == '/') {
        return "sqlite: wants the path of a file, not of a directory";
    }
    return len > 4000 ? "the path of the database is too long" : NULL;
}

static apr_status_t sqlite_open(store *s, const char *url, const store_options *o, const char **why)
{
    sq_store *q = apr_pcalloc(s->pool, sizeof(*q));
    const char *slash;
    apr_status_t rv;

    (void)o;
    q->s = s;
    q->path = apr_pstrdup(s->pool, url + strlen("sqlite:"));
    slash = strrchr(q->path, '/');
    q->dir =
        slash == q->path ? "/" : apr_pstrmemdup(s->pool, q->path, (apr_size_t)(slash - q->path));
    q->wal = apr_pstrcat(s->pool, q->path, "-wal", NULL);
    q->shm = apr_pstrcat(s->pool, q->path, "-shm", NULL);
    q->made = apr_pstrcat(s->pool, q->path, ".new", NULL);
    q->fingerprint = sq_fingerprint(s->pool);
    for (int no = COLL_NONE + 1; no < COLL_END; no++) {
        const store_coll *coll = store_coll_by_no(no);

        q->columns[no] = sq_columns(s->pool, coll);
        q->get_text[no] = apr_psprintf(s->pool, "SELECT %s FROM \"%s\" WHERE \"_id\" = ?",
                                       q->columns[no], coll->name);
        q->insert[no] = sq_insert_text(s->pool, coll);
    }
    s->data = q;
    rv = sq_pool_init(q);
    if (rv) {
        *why = "no memory for the locks of the database";
    }
    return rv;
}

static const char *columns_of(store *s, const store_coll *coll)
{
    return ((sq_store *)s->data)->columns[coll->no];
}

/* ---- running ---- */

/* Runs to the very end: the commit happens there, and a row seen before it is no promise yet.
 * `take` may be NULL. */
static int run_rows(sq_conn *c, const sq_sql *q, void (*take)(sqlite3_stmt *row, void *into),
                    void *into)
{
    sqlite3_stmt *stmt;
    int rc = sq_prepare(c, q->text, &stmt);

    if (rc != SQLITE_OK) {
        return rc;
    }
    for (int i = 0; i < q->n_binds && rc == SQLITE_OK; i++) {
        rc = sq_bind_value(stmt, i + 1, q->binds[i].type, &q->binds[i].value);
    }
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW && take) {
            take(stmt, into);
        }
    }
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return rc;
}

typedef struct {
    apr_pool_t *pool;
    const store_coll *coll;
    apr_array_header_t *docs;
} taken_docs;

static void take_doc(sqlite3_stmt *row, void *into)
{
    taken_docs *t = into;

    APR_ARRAY_PUSH(t->docs, store_doc *) = sq_doc_read(t->pool, t->coll, row);
}

static int run_sql(sq_conn *c, const sq_sql *q, apr_pool_t *pool, const store_coll *coll,
                   apr_array_header_t *docs)
{
    return run_rows(c, q, docs ? take_doc : NULL, &(taken_docs){pool, coll, docs});
}

static void take_number(sqlite3_stmt *row, void *into)
{
    *(int64_t *)into = sqlite3_column_int64(row, 0);
}

static sq_mode write_mode(const store_coll *coll)
{
    return coll->flags & STORE_RELAXED ? SQ_WRITE_RELAXED : SQ_WRITE;
}

static int is_taken(int rc)
{
    return rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_UNIQUE;
}

/* What the caller hears; gives the connection back. */
static apr_status_t done(sq_conn *c, int rc)
{
    apr_status_t rv;

    if (is_taken(rc)) {
        rv = STORE_EEXIST;
    } else if (rc == SQLITE_CONSTRAINT_DATATYPE || rc == SQLITE_TOOBIG) {
        /* A number that was counted beyond 64 bits, a text beyond a gigabyte. */
        rv = STORE_EINVAL;
    } else {
        rv = sq_status(c->owner, c->db, rc);
    }
    sq_release(c, rc);
    return rv;
}

/* ---- one document ---- */

/* What the connection sees stays as it is until leave_doc(). SQLITE_ROW with a document,
 * SQLITE_DONE without. */
static int visit_doc(sq_conn *c, apr_pool_t *pool, const store_coll *coll, const char *id,
                     store_doc **out)
{
    sqlite3_stmt *stmt;
    int rc = sq_prepare_get(c, coll->no, &stmt);

    if (rc == SQLITE_OK) {
        rc = sqlite3_bind_text64(stmt, 1, id, strlen(id), SQLITE_STATIC, SQLITE_UTF8);
    }
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
    }
    if (rc == SQLITE_ROW) {
        *out = sq_doc_read(pool, coll, stmt);
    }
    return rc;
}

static void leave_doc(sq_conn *c, const store_coll *coll)
{
    if (c->get[coll->no]) {
        sqlite3_reset(c->get[coll->no]);
        sqlite3_clear_bindings(c->get[coll->no]);
    }
}

/* The second visit begins before the first is over, so that both are one look at the file: its lock
 * is taken and given back once. */
static apr_status_t sqlite_get(store *s, apr_pool_t *pool, const store_coll *coll, const char *id,
                               store_fid by, const store_coll *other, store_doc **out,
                               store_doc **second)
{
    sq_conn *c;
    apr_status_t rv = sq_acquire(s, SQ_READ, &c);
    int rc;

    if (rv) {
        return rv;
    }
    rc = visit_doc(c, pool, coll, id, out);
    if (rc == SQLITE_ROW && other && !store_is_null(*out, by)) {
        rc = visit_doc(c, pool, other, store_str(*out, by), second);
        leave_doc(c, other);
    }
    leave_doc(c, coll);
    return done(c, rc);
}

static int insert_one(sq_conn *c, const store_doc *doc)
{
    sqlite3_stmt *stmt;
    int rc = sq_prepare(c, c->owner->insert[doc->coll->no], &stmt);

    if (rc == SQLITE_OK) {
        rc = sq_doc_bind(stmt, doc);
        if (rc == SQLITE_OK) {
            rc = sqlite3_step(stmt);
        }
        sqlite3_reset(stmt);
        sqlite3_clear_bindings(stmt);
    }
    return rc;
}

static apr_status_t sqlite_insert(store *s, apr_pool_t *pool, const store_doc *doc,
                                  const char **index)
{
    sq_conn *c;
    apr_status_t rv = sq_acquire(s, write_mode(doc->coll), &c);
    int rc;

    (void)pool;
    if (rv) {
        return rv;
    }
    rc = insert_one(c, doc);
    if (is_taken(rc)) {
        *index = sq_index_hit(doc->coll, c->db, rc);
    }
    return done(c, rc);
}

/* One commit for all: waiting for the disk is what takes the time. */
static apr_status_t sqlite_insert_new(store *s, apr_pool_t *pool, store_doc *const *docs, int n)
{
    sq_conn *c;
    apr_status_t rv = sq_acquire(s, write_mode(docs[0]->coll), &c);
    int rc;

    (void)pool;
    if (rv) {
        return rv;
    }
    rc = sqlite3_exec(c->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    for (int i = 0; i < n && (rc == SQLITE_OK || rc == SQLITE_DONE || is_taken(rc)); i++) {
        rc = insert_one(c, docs[i]);
    }
    if (rc == SQLITE_OK || rc == SQLITE_DONE || is_taken(rc)) {
        rc = sqlite3_exec(c->db, "COMMIT", NULL, NULL, NULL);
    }
    if (!sqlite3_get_autocommit(c->db)) {
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    }
    return done(c, rc);
}

/* Why a conditional change found nothing. *holds: it would find something by now. */
static int look_why(sq_conn *c, apr_pool_t *pool, const store_coll *coll, const char *id,
                    const store_cond *conds, size_t n_conds, int *exists, int *holds)
{
    store_value v = STORE_V_STR(id);
    int64_t number = -1;
    sq_sql q;
    int rc;

    sq_sql_init(&q, pool);
    sq_add(&q, "SELECT 1");
    sq_add_conds(&q, " AND ", conds, n_conds);
    sq_add(&q, " FROM ");
    sq_add_name(&q, coll->name);
    sq_add(&q, " WHERE \"_id\" = ");
    sq_add_value(&q, STORE_STR, &v);
    rc = run_rows(c, &q, take_number, &number);
    *exists = number >= 0;
    *holds = number > 0;
    return rc;
}

/* Runs a change of one document by id until it is clear what became of it. */
static apr_status_t change_one(sq_conn *c, apr_pool_t *pool, const store_coll *coll, const char *id,
                               const sq_sql *q, const store_cond *conds, size_t n_conds,
                               apr_array_header_t *docs)
{
    apr_status_t rv = APR_SUCCESS;
    int exists = 0, holds = 1, rc = SQLITE_DONE;

    for (int i = 0; i < LOOKS && holds; i++) {
        rc = run_sql(c, q, pool, coll, docs);
        if (rc != SQLITE_DONE || sqlite3_changes(c->db) > 0) {
            return done(c, rc);
        }
        if (n_conds == 0) {
            break;
        }
        rc = look_why(c, pool, coll, id, conds, n_conds, &exists, &holds);
        if (rc != SQLITE_DONE) {
            return done(c, rc);
        }
    }
    rv = done(c, rc);
    return rv ? rv : exists ? STORE_ECOND : STORE_ENOENT;
}

static void add_target(sq_sql *q, const char *id, const store_cond *conds, size_t n_conds)
{
    store_value v = STORE_V_STR(id);

    sq_add(q, " WHERE \"_id\" = ");
    sq_add_value(q, STORE_STR, &v);
    sq_add_conds(q, " AND ", conds, n_conds);
}

static apr_status_t sqlite_update(store *s, apr_pool_t *pool, const store_coll *coll,
                                  const char *id, const store_cond *conds, size_t n_conds,
                                  const store_change *changes, size_t n_changes, store_doc **after)
{
    apr_array_header_t *docs = apr_array_make(pool, 1, sizeof(store_doc *));
    sq_conn *c;
    apr_status_t rv = sq_acquire(s, write_mode(coll), &c);
    sq_sql q;

    if (rv) {
        return rv;
    }
    sq_sql_init(&q, pool);
    sq_add(&q, "UPDATE ");
    sq_add_name(&q, coll->name);
    sq_add_changes(&q, changes, n_changes);
    add_target(&q, id, conds, n_conds);
    if (after) {
        sq_add(&q, " RETURNING ");
        sq_add(&q, columns_of(s, coll));
    }
    rv = change_one(c, pool, coll, id, &q, conds, n_conds, docs);
    if (rv == APR_SUCCESS && after) {
        *after = APR_ARRAY_IDX(docs, 0, store_doc *);
    }
    return rv;
}

static apr_status_t sqlite_remove(store *s, apr_pool_t *pool, const store_coll *coll,
                                  const char *id, const store_cond *conds, size_t n_conds)
{
    sq_conn *c;
    apr_status_t rv = sq_acquire(s, write_mode(coll), &c);
    sq_sql q;

    if (rv) {
        return rv;
    }
    sq_sql_init(&q, pool);
    sq_add(&q, "DELETE FROM ");
    sq_add_name(&q, coll->name);
    add_target(&q, id, conds, n_conds);
    return change_one(c, pool, coll, id, &q, conds, n_conds, NULL);
}

static apr_status_t sqlite_counter(store *s, apr_pool_t *pool, const char *name, int64_t delta,
                                   int64_t *value)
{
    const store_coll *coll = store_coll_by_no(COLL_COUNTERS);
    store_value id = STORE_V_STR(name);
    store_value now = STORE_V_INT(apr_time_now());
    sq_conn *c;
    apr_status_t rv = sq_acquire(s, write_mode(coll), &c);
    sq_sql q;

    if (rv) {
        return rv;
    }
    sq_sql_init(&q, pool);
    sq_add(&q, "INSERT INTO \"counters\"(\"_id\", \"version\", \"created_at\", \"updated_at\","
               " \"value\") VALUES(");
    sq_add_value(&q, STORE_STR, &id);
    sq_add(&q, ", 1, ");
    sq_add_value(&q, STORE_TIME, &now);
    sq_add(&q, ", ");
    sq_add_value(&q, STORE_TIME, &now);
    sq_add(&q, ", ");
    sq_add_int(&q, delta);
    sq_add(&q, ") ON CONFLICT(\"_id\") DO UPDATE SET \"value\" = coalesce(\"value\", 0) +"
               " excluded.\"value\", \"version\" = \"version\" + 1,"
               " \"updated_at\" = excluded.\"updated_at\" RETURNING \"value\"");
    return done(c, run_rows(c, &q, take_number, value));
}

/* ---- many documents ---- */

static apr_status_t sqlite_find(store *s, apr_pool_t *pool, const store_plan *plan,
                                apr_array_header_t *docs)
{
    sq_conn *c;
    apr_status_t rv = sq_acquire(s, SQ_READ, &c);
    sq_sql q;

    if (rv) {
        return rv;
    }
    sq_sql_init(&q, pool);
    sq_add_select(&q, columns_of(s, plan->coll), plan);
    return done(c, run_sql(c, &q, pool, plan->coll, docs));
}

static void add_update_of(sq_sql *q, const store_plan *plan, const char *which,
                          const store_change *changes, size_t n_changes)
{
    sq_add(q, "UPDATE ");
    sq_add_name(q, plan->coll->name);
    sq_add_changes(q, changes, n_changes);
    sq_add(q, " WHERE \"_id\" ");
    sq_add(q, which);
    sq_add(q, " (");
    sq_add_select(q, "\"_id\"", plan);
    sq_add(q, ")");
}

static apr_status_t sqlite_claim(store *s, apr_pool_t *pool, const store_plan *plan,
                                 const store_change *changes, size_t n_changes, store_doc **after)
{
    apr_array_header_t *docs = apr_array_make(pool, 1, sizeof(store_doc *));
    sq_conn *c;
    apr_status_t rv = sq_acquire(s, write_mode(plan->coll), &c);
    sq_sql q;

    if (rv) {
        return rv;
    }
    sq_sql_init(&q, pool);
    add_update_of(&q, plan, "=", changes, n_changes);
    sq_add(&q, " RETURNING ");
    sq_add(&q, columns_of(s, plan->coll));
    rv = done(c, run_sql(c, &q, pool, plan->coll, docs));
    if (rv == APR_SUCCESS && docs->nelts == 0) {
        return STORE_ENOENT;
    }
    if (rv == APR_SUCCESS) {
        *after = APR_ARRAY_IDX(docs, 0, store_doc *);
    }
    return rv;
}

/* One statement changes all or none, which is more than store.h promises. */
static apr_status_t run_many(sq_conn *c, const sq_sql *q, apr_pool_t *pool, const store_coll *coll,
                             int *count)
{
    int rc = run_sql(c, q, pool, coll, NULL);

    *count = rc == SQLITE_DONE ? sqlite3_changes(c->db) : 0;
    return done(c, rc);
}

static apr_status_t sqlite_update_each(store *s, apr_pool_t *pool, const store_plan *plan,
                                       const store_change *changes, size_t n_changes, int *changed)
{
    sq_conn *c;
    apr_status_t rv = sq_acquire(s, write_mode(plan->coll), &c);
    sq_sql q;

    if (rv) {
        return rv;
    }
    sq_sql_init(&q, pool);
    add_update_of(&q, plan, "IN", changes, n_changes);
    return run_many(c, &q, pool, plan->coll, changed);
}

static apr_status_t sqlite_sweep(store *s, apr_pool_t *pool, const store_coll *coll, apr_time_t now,
                                 int limit, int *removed)
{
    const char *expiry = store_field_name(coll->expiry);
    store_value v = STORE_V_INT(now);
    sq_conn *c;
    /* Rows that a power cut brings back are swept away again. */
    apr_status_t rv = sq_acquire(s, SQ_WRITE_RELAXED, &c);
    sq_sql q;

    if (rv) {
        return rv;
    }
    sq_sql_init(&q, pool);
    sq_add(&q, "DELETE FROM ");
    sq_add_name(&q, coll->name);
    sq_add(&q, " WHERE \"_id\" IN (SELECT \"_id\" FROM ");
    sq_add_name(&q, coll->name);
    sq_add(&q, " WHERE ");
    sq_add_name(&q, expiry);
    sq_add(&q, " < ");
    sq_add_value(&q, STORE_TIME, &v);
    sq_add(&q, " ORDER BY ");
    sq_add_name(&q, expiry);
    sq_add(&q, " LIMIT ");
    sq_add_int(&q, limit);
    sq_add(&q, ")");
    return run_many(c, &q, pool, coll, removed);
}

static apr_status_t sqlite_count(store *s, apr_pool_t *pool, const store_coll *coll, int64_t *count)
{
    sq_conn *c;
    apr_status_t rv = sq_acquire(s, SQ_READ, &c);
    sq_sql q;

    if (rv) {
        return rv;
    }
    sq_sql_init(&q, pool);
    sq_add(&q, "SELECT count(*) FROM ");
    sq_add_name(&q, coll->name);
    return done(c, run_rows(c, &q, take_number, count));
}

/* ---- the file ---- */

static apr_status_t sqlite_migrate(store *s, apr_pool_t *pool)
{
    sq_conn *c;
    apr_status_t rv = sq_acquire(s, SQ_WRITE, &c);
    int rc;

    (void)pool;
    if (rv) {
        return rv;
    }
    rv = sq_schema_ready(s->data, c->db, 1, &rc);
    sq_release(c, rc);
    return rv;
}

static apr_status_t sqlite_ping(store *s, apr_pool_t *pool)
{
    sq_conn *c;
    apr_status_t rv = sq_acquire(s, SQ_WRITE_RELAXED, &c);
    int rc;

    (void)pool;
    if (rv) {
        return rv;
    }
    /* On a file that may only be read, BEGIN IMMEDIATE is content with reading. */
    rc = sqlite3_db_readonly(c->db, "main") == 1
             ? SQLITE_READONLY
             : sqlite3_exec(c->db, "BEGIN IMMEDIATE; SELECT value FROM bizapi_meta; ROLLBACK", NULL,
                            NULL, NULL);
    return done(c, rc);
}

static apr_status_t sqlite_check(store *s, apr_pool_t *pool, const char **report)
{
    sq_conn *c;
    apr_status_t rv = sq_acquire(s, SQ_READ, &c);
    int rc = SQLITE_OK;

    if (rv) {
        *report = apr_psprintf(pool, "%s cannot be opened; the log says why",
                               ((sq_store *)s->data)->path);
        return rv;
    }
    rv = sq_integrity(c, pool, report, &rc);
    sq_release(c, rc);
    return rv;
}

static int sqlite_make(store *s)
{
    return sq_make(s->data);
}

const store_backend store_sqlite_backend = {
    .name = "sqlite",
    .open = sqlite_open,
    .make = sqlite_make,
    .migrate = sqlite_migrate,
    .ping = sqlite_ping,
    .check = sqlite_check,
    .get = sqlite_get,
    .insert = sqlite_insert,
    .insert_new = sqlite_insert_new,
    .update = sqlite_update,
    .remove = sqlite_remove,
    .counter = sqlite_counter,
    .find = sqlite_find,
    .claim = sqlite_claim,
    .update_each = sqlite_update_each,
    .sweep = sqlite_sweep,
    .count = sqlite_count,
    .url_error = sqlite_url_error,
};
