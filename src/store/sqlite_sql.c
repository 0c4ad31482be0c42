/* sqlite_sql.c: conditions, changes and walks as SQL text with bound values, and rows as documents.
 * Called by sqlite*.c alone. Names come from schema.c; a value never becomes part of a text, so the
 * number of different texts is bounded by the program and each is prepared once a connection. */
#include "sqlite.h"

#include <string.h>
#include <apr_strings.h>

void sq_sql_init(sq_sql *q, apr_pool_t *pool)
{
    memset(q, 0, sizeof(*q));
    q->pool = pool;
    q->size = 1024;
    q->text = apr_palloc(pool, q->size);
    q->text[0] = '\0';
    q->max_binds = 16;
    q->binds = apr_palloc(pool, (apr_size_t)q->max_binds * sizeof(*q->binds));
}

void sq_add(sq_sql *q, const char *text)
{
    size_t len = strlen(text);

    if (q->len + len >= q->size) {
        char *larger = apr_palloc(q->pool, 2 * (q->size + len));

        memcpy(larger, q->text, q->len);
        q->text = larger;
        q->size = 2 * (q->size + len);
    }
    memcpy(q->text + q->len, text, len + 1);
    q->len += len;
}

void sq_add_name(sq_sql *q, const char *name)
{
    sq_add(q, "\"");
    sq_add(q, name);
    sq_add(q, "\"");
}

void sq_add_value(sq_sql *q, store_type type, const store_value *value)
{
    if (q->n_binds == q->max_binds) {
        struct sq_bind *more = apr_palloc(q->pool, 2 * (apr_size_t)q->max_binds * sizeof(*more));

        memcpy(more, q->binds, (size_t)q->n_binds * sizeof(*more));
        q->binds = more;
        q->max_binds *= 2;
    }
    q->binds[q->n_binds].type = type;
    q->binds[q->n_binds++].value = *value;
    sq_add(q, "?");
}

void sq_add_int(sq_sql *q, int64_t value)
{
    store_value v = STORE_V_INT(value);

    sq_add_value(q, STORE_INT, &v);
}

/* "IS NOT" counts null as different from every value and equal to itself; plain comparisons never
 * hold for null: both as store.h says. */
static void add_cond(sq_sql *q, const store_cond *cond)
{
    static const char *const ops[] = {
        [STORE_EQ] = " = ",  [STORE_NE] = " IS NOT ", [STORE_LT] = " < ",
        [STORE_LE] = " <= ", [STORE_GT] = " > ",      [STORE_GE] = " >= ",
    };

    sq_add_name(q, store_field_name(cond->field));
    if (cond->value.null) {
        sq_add(q, cond->op == STORE_EQ ? " IS NULL" : " IS NOT NULL");
        return;
    }
    sq_add(q, ops[cond->op]);
    sq_add_value(q, store_field_type(cond->field), &cond->value);
}

void sq_add_conds(sq_sql *q, const char *before, const store_cond *conds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        sq_add(q, before);
        add_cond(q, &conds[i]);
    }
}

void sq_add_changes(sq_sql *q, const store_change *changes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *name = store_field_name(changes[i].field);

        sq_add(q, i ? ", " : " SET ");
        sq_add_name(q, name);
        sq_add(q, " = ");
        if (changes[i].how == STORE_INC) {
            sq_add(q, "coalesce(");
            sq_add_name(q, name);
            sq_add(q, ", 0) + ");
        }
        sq_add_value(q, store_field_type(changes[i].field), &changes[i].value);
    }
}

static int sort_is_fixed(const store_plan *plan)
{
    for (size_t i = 0; i < plan->n_conds; i++) {
        if (plan->conds[i].field == plan->sort && plan->conds[i].op == STORE_EQ) {
            return 1;
        }
    }
    return 0;
}

/* Whether the walk can meet a null in the field it is sorted by. */
static int sort_has_nulls(const store_plan *plan)
{
    if (STORE_FID_COLL(plan->sort) == COLL_NONE) {
        return 0;
    }
    for (size_t i = 0; i < plan->n_conds; i++) {
        if (plan->conds[i].field == plan->sort) {
            return 0;
        }
    }
    return 1;
}

/* Where the page starts. Nulls come first going up and last going down. */
static void add_after(sq_sql *q, const store_plan *plan)
{
    const char *sort = store_field_name(plan->sort);
    store_value id = STORE_V_STR(plan->after_id);
    const char *op = plan->descending ? " < " : " > ";

    if (plan->sort == STORE_ID || sort_is_fixed(plan)) {
        sq_add(q, " AND \"_id\"");
        sq_add(q, op);
        sq_add_value(q, STORE_STR, &id);
        return;
    }
    sq_add(q, " AND (");
    if (plan->after_value.null) {
        /* Going up: the other nulls, then everything; going down: the other nulls alone. */
        sq_add_name(q, sort);
        sq_add(q, plan->descending ? " IS NULL AND \"_id\"" : " IS NOT NULL OR \"_id\"");
        sq_add(q, op);
        sq_add_value(q, STORE_STR, &id);
    } else {
        sq_add(q, "(");
        sq_add_name(q, sort);
        sq_add(q, ", \"_id\")");
        sq_add(q, op);
        sq_add(q, "(");
        sq_add_value(q, store_field_type(plan->sort), &plan->after_value);
        sq_add(q, ", ");
        sq_add_value(q, STORE_STR, &id);
        sq_add(q, ")");
        if (plan->descending && sort_has_nulls(plan)) {
            sq_add(q, " OR ");
            sq_add_name(q, sort);
            sq_add(q, " IS NULL");
        }
    }
    sq_add(q, ")");
}

/* The index is named in the text, so that a walk never becomes a search through the whole table
 * because the planner guessed otherwise. */
void sq_add_select(sq_sql *q, const char *what, const store_plan *plan)
{
    const char *direction = plan->descending ? " DESC" : "";

    sq_add(q, "SELECT ");
    sq_add(q, what);
    sq_add(q, " FROM ");
    sq_add_name(q, plan->coll->name);
    if (plan->index) {
        sq_add(q, " INDEXED BY ");
        sq_add_name(q, plan->index->name);
    }
    sq_add(q, " WHERE 1");
    sq_add_conds(q, " AND ", plan->conds, plan->n_conds);
    if (plan->has_after) {
        add_after(q, plan);
    }
    sq_add(q, " ORDER BY ");
    if (plan->sort != STORE_ID) {
        sq_add_name(q, store_field_name(plan->sort));
        sq_add(q, direction);
        sq_add(q, ", ");
    }
    sq_add(q, "\"_id\"");
    sq_add(q, direction);
    sq_add(q, " LIMIT ");
    sq_add_int(q, plan->limit);
}

/* ---- values and rows ---- */

int sq_bind_value(sqlite3_stmt *stmt, int at, store_type type, const store_value *value)
{
    if (value->null) {
        return sqlite3_bind_null(stmt, at);
    }
    switch (type) {
    case STORE_STR:
    case STORE_JSON:
        return sqlite3_bind_text64(stmt, at, value->s, strlen(value->s), SQLITE_STATIC,
                                   SQLITE_UTF8);
    case STORE_TIME:
        return sqlite3_bind_int64(stmt, at, store_cut(value->i) / 1000);
    default:
        return sqlite3_bind_int64(stmt, at, value->i);
    }
}

static int has_version(const store_coll *coll)
{
    return !(coll->flags & STORE_NO_VERSION);
}

const char *sq_columns(apr_pool_t *pool, const store_coll *coll)
{
    sq_sql q;

    sq_sql_init(&q, pool);
    sq_add(&q, has_version(coll) ? "\"_id\", \"created_at\", \"version\", \"updated_at\""
                                 : "\"_id\", \"created_at\"");
    for (unsigned i = 0; i < coll->field_count; i++) {
        sq_add(&q, ", ");
        sq_add_name(&q, coll->fields[i].name);
    }
    return q.text;
}

const char *sq_insert_text(apr_pool_t *pool, const store_coll *coll)
{
    unsigned count = coll->field_count + (has_version(coll) ? 4 : 2);
    sq_sql q;

    sq_sql_init(&q, pool);
    sq_add(&q, "INSERT INTO ");
    sq_add_name(&q, coll->name);
    sq_add(&q, "(");
    sq_add(&q, sq_columns(pool, coll));
    sq_add(&q, ") VALUES(");
    for (unsigned i = 0; i < count; i++) {
        sq_add(&q, i ? ", ?" : "?");
    }
    sq_add(&q, ")");
    return q.text;
}

/* In the order of sq_columns(). */
int sq_doc_bind(sqlite3_stmt *stmt, const store_doc *doc)
{
    static const store_fid common[] = {STORE_ID, STORE_CREATED_AT, STORE_VERSION, STORE_UPDATED_AT};
    int count = has_version(doc->coll) ? 4 : 2, rc = SQLITE_OK;

    for (int i = 0; i < count && rc == SQLITE_OK; i++) {
        store_value value = store_doc_value(doc, common[i]);

        rc = sq_bind_value(stmt, i + 1, store_field_type(common[i]), &value);
    }
    for (int i = 0; i < (int)doc->coll->field_count && rc == SQLITE_OK; i++) {
        rc = sq_bind_value(stmt, count + i + 1, doc->coll->fields[i].type, &doc->values[i]);
    }
    return rc;
}

/* Asked for as bytes: as a text, SQLite would first make a copy of its own, to end it with a NUL.
 */
static const char *text_at(apr_pool_t *pool, sqlite3_stmt *stmt, int at)
{
    const char *bytes = sqlite3_column_blob(stmt, at);

    return apr_pstrmemdup(pool, bytes ? bytes : "", (apr_size_t)sqlite3_column_bytes(stmt, at));
}

store_doc *sq_doc_read(apr_pool_t *pool, const store_coll *coll, sqlite3_stmt *stmt)
{
    store_doc *doc = store_doc_blank(pool, coll);
    int at = 2;

    doc->id = text_at(pool, stmt, 0);
    doc->created_at = sqlite3_column_int64(stmt, 1) * 1000;
    if (has_version(coll)) {
        doc->version = sqlite3_column_int64(stmt, 2);
        doc->updated_at = sqlite3_column_int64(stmt, 3) * 1000;
        at = 4;
    }
    for (unsigned i = 0; i < coll->field_count; i++, at++) {
        store_value *value = &doc->values[i];

        if (sqlite3_column_type(stmt, at) == SQLITE_NULL) {
            continue;
        }
        value->null = 0;
        switch (coll->fields[i].type) {
        case STORE_STR:
        case STORE_JSON:
            value->s = text_at(pool, stmt, at);
            break;
        case STORE_TIME:
            value->i = sqlite3_column_int64(stmt, at) * 1000;
            break;
        default:
            value->i = sqlite3_column_int64(stmt, at);
        }
    }
    return doc;
}
