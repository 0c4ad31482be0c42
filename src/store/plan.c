/* plan.c: what may be asked of a store: conditions, changes and queries are checked here, before
 * any backend sees them, and a page's place in its walk is written as a cursor. Called by store.c
 * alone; it touches no data. */
#include "plan.h"

#include <string.h>
#include <apr_strings.h>
#include "core/crypto.h"
#include "core/log.h"
#include "core/str.h"

apr_status_t store_misuse(const char *call, const store_coll *coll, const char *what)
{
    biz_log(BIZ_LOG_ERR, 0,
            BZ(0221) "%s(%s): %s; this is a mistake in the program, please report it", call,
            coll ? coll->name : "?", what);
    return STORE_EINVAL;
}

int store_id_is_possible(const char *id)
{
    size_t len = id ? strlen(id) : 0;

    return len > 0 && len <= STORE_ID_MAX && biz_utf8_count(id, len) >= 0;
}

static int field_is_in(const store_coll *coll, store_fid fid)
{
    if (fid == STORE_VERSION || fid == STORE_UPDATED_AT) {
        return !(coll->flags & STORE_NO_VERSION);
    }
    return fid == STORE_ID || fid == STORE_CREATED_AT ||
           (STORE_FID_COLL(fid) == coll->no && STORE_FID_PLACE(fid) < coll->field_count);
}

static const char *value_error(store_type type, const store_value *value)
{
    if (value->null) {
        return NULL;
    }
    if (type == STORE_STR || type == STORE_JSON) {
        if (!value->s) {
            return "a number where a text belongs";
        }
        return biz_utf8_count(value->s, strlen(value->s)) < 0 ? "a text that is not UTF-8" : NULL;
    }
    if (value->s) {
        return "a text where a number belongs";
    }
    return type == STORE_BOOL && value->i != 0 && value->i != 1 ? "a bool beyond 0 and 1" : NULL;
}

static store_value cut(store_type type, store_value value)
{
    if (type == STORE_TIME && !value.null) {
        value.i = store_cut(value.i);
    }
    return value;
}

static const char *cond_error(const store_coll *coll, const store_cond *cond)
{
    store_type type = store_field_type(cond->field);

    if (!field_is_in(coll, cond->field)) {
        return "a condition on a field of another collection";
    }
    if (cond->op > STORE_GE) {
        return "an unknown kind of condition";
    }
    if (cond->value.null && cond->op != STORE_EQ && cond->op != STORE_NE) {
        return "null has no place in an order";
    }
    if (type == STORE_JSON && !cond->value.null) {
        return "a condition on the inside of a JSON text";
    }
    return value_error(type, &cond->value);
}

apr_status_t store_conds_check(apr_pool_t *pool, const char *call, const store_coll *coll,
                               const store_cond *conds, size_t n, const store_cond **out)
{
    store_cond *copy = apr_palloc(pool, (n ? n : 1) * sizeof(*copy));

    for (size_t i = 0; i < n; i++) {
        const char *error = cond_error(coll, &conds[i]);

        if (error) {
            return store_misuse(call, coll, error);
        }
        copy[i] = conds[i];
        copy[i].value = cut(store_field_type(conds[i].field), conds[i].value);
    }
    *out = copy;
    return APR_SUCCESS;
}

static const char *change_error(const store_coll *coll, const store_change *changes, size_t at)
{
    const store_change *change = &changes[at];
    store_type type = store_field_type(change->field);

    if (STORE_FID_COLL(change->field) == COLL_NONE || !field_is_in(coll, change->field)) {
        return "a change of a field that is not the collection's own";
    }
    if (change->how == STORE_INC && (type != STORE_INT || change->value.null)) {
        return "only an INT can be counted up";
    }
    if (change->how != STORE_INC && change->how != STORE_SET) {
        return "an unknown kind of change";
    }
    for (size_t i = 0; i < at; i++) {
        if (changes[i].field == change->field) {
            return "the same field changed twice";
        }
    }
    return value_error(type, &change->value);
}

apr_status_t store_changes_check(apr_pool_t *pool, const char *call, const store_coll *coll,
                                 const store_change *changes, size_t *n, const store_change **out)
{
    store_change *copy = apr_palloc(pool, (*n + 2) * sizeof(*copy));
    size_t count = *n;

    for (size_t i = 0; i < count; i++) {
        const char *error = change_error(coll, changes, i);

        if (error) {
            return store_misuse(call, coll, error);
        }
        copy[i] = changes[i];
        copy[i].value = cut(store_field_type(changes[i].field), changes[i].value);
    }
    if (!(coll->flags & STORE_NO_VERSION)) {
        copy[count++] = (store_change)STORE_INC_INT(STORE_VERSION, 1);
        copy[count++] = (store_change)STORE_SET_TIME(STORE_UPDATED_AT, store_cut(apr_time_now()));
    }
    if (count == 0) {
        return store_misuse(call, coll, "no change at all");
    }
    *n = count;
    *out = copy;
    return APR_SUCCESS;
}

apr_status_t store_doc_check(const char *call, const store_doc *doc)
{
    if (!store_id_is_possible(doc->id)) {
        return store_misuse(call, doc->coll, "an id that is empty, too long or not UTF-8");
    }
    for (unsigned i = 0; i < doc->coll->field_count; i++) {
        const char *error = value_error(doc->coll->fields[i].type, &doc->values[i]);

        if (error) {
            return store_misuse(call, doc->coll, error);
        }
    }
    return APR_SUCCESS;
}

/* ---- cursors ----
 *
 * base64url of: format, whether the value is null, then the value (8 bytes, high first, or a text
 * with its NUL), the id, and 8 bytes of a digest over all that and the query. The digest keeps a
 * cursor from another list, another owner or another order out; it is no secret seal and need not
 * be: whoever computes one only chooses where in a list that he may read anyway his page starts,
 * and both parts are used as bound values alone. */

enum { CURSOR_FORMAT = 1, CURSOR_CHECK = 8, CURSOR_MAX = 4096 };

static int is_text(store_fid fid)
{
    store_type type = store_field_type(fid);

    return type == STORE_STR || type == STORE_JSON;
}

static void cursor_check(apr_pool_t *pool, const store_plan *plan, const void *body, size_t len,
                         unsigned char out[CURSOR_CHECK])
{
    unsigned char digest[BIZ_SHA256_LEN];
    const char *head = apr_psprintf(pool, "%s %s %d", plan->coll->name,
                                    plan->index ? plan->index->name : "_id", plan->descending);
    size_t head_len;
    unsigned char *all;

    for (size_t i = 0; i < plan->n_conds; i++) {
        const store_cond *c = &plan->conds[i];

        if (c->op == STORE_EQ) {
            head = c->value.null ? apr_psprintf(pool, "%s\n%u", head, c->field)
                   : c->value.s  ? apr_psprintf(pool, "%s\n%u=%" APR_SIZE_T_FMT ":%s", head,
                                                c->field, strlen(c->value.s), c->value.s)
                                 : apr_psprintf(pool, "%s\n%u=%" APR_INT64_T_FMT, head, c->field,
                                                (apr_int64_t)c->value.i);
        }
    }
    head_len = strlen(head) + 1;
    all = apr_palloc(pool, head_len + len);
    memcpy(all, head, head_len);
    memcpy(all + head_len, body, len);
    biz_sha256(all, head_len + len, digest);
    memcpy(out, digest, CURSOR_CHECK);
}

const char *store_cursor_make(apr_pool_t *pool, const store_plan *plan, const store_doc *last)
{
    store_value value = store_doc_value(last, plan->sort);
    int text = is_text(plan->sort);
    size_t value_len = value.null ? 0 : text ? strlen(value.s) + 1 : 8;
    size_t id_len = strlen(last->id);
    size_t len = 2 + value_len + id_len;
    unsigned char *bytes = apr_palloc(pool, len + CURSOR_CHECK);

    bytes[0] = CURSOR_FORMAT;
    bytes[1] = value.null ? 1 : 0;
    if (!value.null && text) {
        memcpy(bytes + 2, value.s, value_len);
    } else if (!value.null) {
        for (int i = 0; i < 8; i++) {
            bytes[2 + i] = (unsigned char)((uint64_t)value.i >> (56 - 8 * i));
        }
    }
    memcpy(bytes + 2 + value_len, last->id, id_len);
    cursor_check(pool, plan, bytes, len, bytes + len);
    return biz_b64url(pool, bytes, len + CURSOR_CHECK);
}

static apr_status_t cursor_read(apr_pool_t *pool, store_plan *plan, const char *cursor)
{
    size_t text_len = strlen(cursor), len = 0, at = 2;
    unsigned char check[CURSOR_CHECK];
    unsigned char *bytes;

    if (text_len > CURSOR_MAX) {
        return STORE_EINVAL;
    }
    bytes = biz_b64url_decode(pool, cursor, text_len, &len);
    if (!bytes || len < 2 + CURSOR_CHECK || bytes[0] != CURSOR_FORMAT || bytes[1] > 1) {
        return STORE_EINVAL;
    }
    len -= CURSOR_CHECK;
    cursor_check(pool, plan, bytes, len, check);
    if (memcmp(check, bytes + len, CURSOR_CHECK) != 0) {
        return STORE_EINVAL;
    }
    plan->after_value = (store_value){.null = bytes[1]};
    if (!bytes[1] && is_text(plan->sort)) {
        const unsigned char *end = memchr(bytes + at, '\0', len - at);

        if (!end) {
            return STORE_EINVAL;
        }
        plan->after_value.s = (const char *)bytes + at;
        at = (size_t)(end - bytes) + 1;
    } else if (!bytes[1]) {
        uint64_t number = 0;

        for (int i = 0; i < 8 && at < len; i++) {
            number = number << 8 | bytes[at++];
        }
        plan->after_value.i = (int64_t)number;
    }
    plan->after_id = apr_pstrmemdup(pool, (const char *)bytes + at, len - at);
    if (strlen(plan->after_id) != len - at || !store_id_is_possible(plan->after_id) ||
        value_error(store_field_type(plan->sort), &plan->after_value)) {
        return STORE_EINVAL;
    }
    plan->has_after = 1;
    return APR_SUCCESS;
}

/* ---- queries ---- */

static const store_index *index_by_name(const char *name, const store_coll *coll)
{
    unsigned count;
    const store_index *all = store_indexes(&count);

    for (unsigned i = 0; i < count; i++) {
        if (all[i].coll == coll->no && strcmp(all[i].name, name) == 0) {
            return &all[i];
        }
    }
    return NULL;
}

/* Equalities on the leading fields, then bounds on one, then nothing; finds what it is sorted by.
 */
static const char *walk_error(store_plan *plan)
{
    int leading = 1;

    plan->sort = STORE_ID;
    for (int f = 0; plan->index && f < STORE_INDEX_FIELDS && plan->index->fields[f]; f++) {
        store_fid field = plan->index->fields[f];
        int equals = 0, bounds = 0;

        for (size_t i = 0; i < plan->n_conds; i++) {
            if (plan->conds[i].field == field) {
                if (plan->conds[i].op == STORE_NE) {
                    return "a field of the index may not be compared by STORE_NE";
                }
                equals += plan->conds[i].op == STORE_EQ;
                bounds += plan->conds[i].op != STORE_EQ;
            }
        }
        if (equals > 1 || (equals && bounds)) {
            return "a field of the index has more than one equality";
        }
        if (!leading && (equals || bounds)) {
            return "a condition on the index behind a field that is not fixed by an equality";
        }
        if (leading) {
            plan->sort = field;
        }
        leading = leading && equals;
    }
    return NULL;
}

apr_status_t store_plan_make(apr_pool_t *pool, const char *call, const store_query *query,
                             store_plan *plan)
{
    const char *error;
    apr_status_t rv;

    memset(plan, 0, sizeof(*plan));
    plan->coll = store_coll_by_no(query->coll);
    if (!plan->coll) {
        return store_misuse(call, NULL, "no such collection");
    }
    if (query->limit < 1 || query->limit > STORE_LIMIT_MAX) {
        return store_misuse(call, plan->coll, "a limit beyond 1 to 1000");
    }
    if (query->index && !(plan->index = index_by_name(query->index, plan->coll))) {
        return store_misuse(call, plan->coll, "an index that is not declared");
    }
    rv = store_conds_check(pool, call, plan->coll, query->conds, query->n_conds, &plan->conds);
    if (rv) {
        return rv;
    }
    plan->n_conds = query->n_conds;
    plan->descending = query->descending != 0;
    plan->limit = query->limit;
    error = walk_error(plan);
    if (error) {
        return store_misuse(call, plan->coll, error);
    }
    return query->cursor ? cursor_read(pool, plan, query->cursor) : APR_SUCCESS;
}
