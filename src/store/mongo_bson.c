/* mongo_bson.c: documents, conditions, changes and indexes as BSON and back. Called by mongo.c and
 * mongo_schema.c alone; it speaks to no server.
 *
 * Nulls are not stored: an absent field equals null in MongoDB's conditions and sorts before all
 * values, which is what store.h promises. Conditions are written flat, {a: 1, b: {$lt: 2}}, since
 * plain planners find an index only in that form. */
#include "mongo_private.h"

#include <string.h>
#include <apr_strings.h>

/* ---- values ---- */

static void append_value(bson_t *out, const char *name, store_type type, const store_value *value)
{
    if (value->null) {
        bson_append_null(out, name, -1);
        return;
    }
    switch (type) {
    case STORE_STR:
    case STORE_JSON:
        bson_append_utf8(out, name, -1, value->s, -1);
        break;
    case STORE_INT:
        bson_append_int64(out, name, -1, value->i);
        break;
    case STORE_BOOL:
        bson_append_bool(out, name, -1, value->i != 0);
        break;
    case STORE_TIME:
        bson_append_date_time(out, name, -1, store_cut(value->i) / 1000);
        break;
    }
}

static void append_field(bson_t *out, store_fid fid, const store_value *value)
{
    append_value(out, store_field_name(fid), store_field_type(fid), value);
}

/* A value of a type that we never wrote reads as null. */
static store_value read_value(apr_pool_t *pool, store_type type, const bson_iter_t *at)
{
    store_value value = STORE_V_NULL;
    uint32_t len;
    const char *text;

    if ((type == STORE_STR || type == STORE_JSON) && BSON_ITER_HOLDS_UTF8(at)) {
        text = bson_iter_utf8(at, &len);
        value = (store_value){.s = apr_pstrmemdup(pool, text, len)};
    } else if (type == STORE_INT && BSON_ITER_HOLDS_INT(at)) {
        value = (store_value){.i = bson_iter_as_int64(at)};
    } else if (type == STORE_BOOL && BSON_ITER_HOLDS_BOOL(at)) {
        value = (store_value){.i = bson_iter_bool(at) ? 1 : 0};
    } else if (type == STORE_TIME && BSON_ITER_HOLDS_DATE_TIME(at)) {
        value = (store_value){.i = bson_iter_date_time(at) * 1000};
    }
    return value;
}

/* ---- documents ---- */

void mongo_doc_to_bson(bson_t *out, const store_doc *doc, int64_t mark)
{
    const store_coll *coll = doc->coll;

    bson_append_utf8(out, "_id", -1, doc->id, -1);
    for (unsigned i = 0; i < coll->field_count; i++) {
        if (!doc->values[i].null) {
            append_value(out, coll->fields[i].name, coll->fields[i].type, &doc->values[i]);
        }
    }
    if (!(coll->flags & STORE_NO_VERSION)) {
        append_field(out, STORE_VERSION, &(store_value){.i = doc->version});
    }
    append_field(out, STORE_CREATED_AT, &(store_value){.i = doc->created_at});
    if (!(coll->flags & STORE_NO_VERSION)) {
        append_field(out, STORE_UPDATED_AT, &(store_value){.i = doc->updated_at});
    }
    if (mark != 0) {
        bson_append_int64(out, MONGO_MARK, -1, mark);
    }
}

static void read_field(store_doc *doc, const char *name, const bson_iter_t *at)
{
    const store_coll *coll = doc->coll;

    for (unsigned i = 0; i < coll->field_count; i++) {
        if (strcmp(coll->fields[i].name, name) == 0) {
            doc->values[i] = read_value(doc->pool, coll->fields[i].type, at);
            return;
        }
    }
    if (strcmp(name, "_id") == 0) {
        doc->id = read_value(doc->pool, STORE_STR, at).s;
    } else if (strcmp(name, store_field_name(STORE_CREATED_AT)) == 0) {
        doc->created_at = read_value(doc->pool, STORE_TIME, at).i;
    } else if (coll->flags & STORE_NO_VERSION) {
        return;
    } else if (strcmp(name, store_field_name(STORE_VERSION)) == 0) {
        doc->version = read_value(doc->pool, STORE_INT, at).i;
    } else if (strcmp(name, store_field_name(STORE_UPDATED_AT)) == 0) {
        doc->updated_at = read_value(doc->pool, STORE_TIME, at).i;
    }
}

store_doc *mongo_doc_from_bson(apr_pool_t *pool, const store_coll *coll, const bson_t *in)
{
    store_doc *doc = store_doc_blank(pool, coll);
    bson_iter_t at;

    doc->id = "";
    if (bson_iter_init(&at, in)) {
        while (bson_iter_next(&at)) {
            read_field(doc, bson_iter_key(&at), &at);
        }
    }
    if (!doc->id) {
        doc->id = "";
    }
    return doc;
}

/* ---- conditions ---- */

static const char *const op_names[] = {
    [STORE_EQ] = "$eq",  [STORE_NE] = "$ne", [STORE_LT] = "$lt",
    [STORE_LE] = "$lte", [STORE_GT] = "$gt", [STORE_GE] = "$gte",
};

/* LT and its like never hold for null; MongoDB's $lte would. */
static int can_hold(const store_cond *cond)
{
    return !cond->value.null || cond->op == STORE_EQ || cond->op == STORE_NE;
}

static void append_op(bson_t *out, const store_cond *cond)
{
    append_value(out, op_names[cond->op], store_field_type(cond->field), &cond->value);
}

static void append_cond(bson_t *out, const store_cond *cond)
{
    bson_t ops;

    bson_append_document_begin(out, store_field_name(cond->field), -1, &ops);
    append_op(&ops, cond);
    bson_append_document_end(out, &ops);
}

/* All conditions on the field of conds[first], as one member of the filter. Those whose operator
 * is there already are marked in `left`, for $and. */
static void append_group(bson_t *out, const store_cond *conds, size_t n, size_t first, char *left)
{
    unsigned seen = 0;
    size_t members = 0;
    bson_t ops;

    for (size_t i = first; i < n; i++) {
        members += conds[i].field == conds[first].field;
    }
    if (members == 1 && conds[first].op == STORE_EQ) {
        append_field(out, conds[first].field, &conds[first].value);
        return;
    }
    bson_append_document_begin(out, store_field_name(conds[first].field), -1, &ops);
    for (size_t i = first; i < n; i++) {
        if (conds[i].field != conds[first].field || !can_hold(&conds[i])) {
            continue;
        }
        if (seen & 1U << conds[i].op) {
            left[i] = 1;
            continue;
        }
        seen |= 1U << conds[i].op;
        append_op(&ops, &conds[i]);
    }
    bson_append_document_end(out, &ops);
}

/* What did not fit beside its field, and a condition that nothing meets where one cannot hold. */
static void append_and(bson_t *out, const store_cond *conds, size_t n, const char *left)
{
    int wanted = 0, never = 0;
    bson_t list, one, in, none;
    char number[16];
    const char *key;
    uint32_t at = 0;

    for (size_t i = 0; i < n; i++) {
        never |= !can_hold(&conds[i]);
        wanted |= left[i];
    }
    if (!wanted && !never) {
        return;
    }
    bson_append_array_begin(out, "$and", -1, &list);
    for (size_t i = 0; i < n; i++) {
        if (left[i]) {
            bson_uint32_to_string(at++, &key, number, sizeof(number));
            bson_append_document_begin(&list, key, -1, &one);
            append_cond(&one, &conds[i]);
            bson_append_document_end(&list, &one);
        }
    }
    if (never) {
        bson_uint32_to_string(at, &key, number, sizeof(number));
        bson_append_document_begin(&list, key, -1, &one);
        bson_append_document_begin(&one, "_id", -1, &in);
        bson_append_array_begin(&in, "$in", -1, &none);
        bson_append_array_end(&in, &none);
        bson_append_document_end(&one, &in);
        bson_append_document_end(&list, &one);
    }
    bson_append_array_end(out, &list);
}

static int is_first_of_field(const store_cond *conds, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (conds[i].field == conds[at].field && can_hold(&conds[i])) {
            return 0;
        }
    }
    return can_hold(&conds[at]);
}

static void append_conds(bson_t *out, const store_cond *conds, size_t n)
{
    char *left = bson_malloc0(n + 1);

    for (size_t i = 0; i < n; i++) {
        if (is_first_of_field(conds, i)) {
            append_group(out, conds, n, i, left);
        }
    }
    append_and(out, conds, n, left);
    bson_free(left);
}

/* ---- where a page starts ---- */

static void append_branch(bson_t *list, uint32_t at, const store_cond *a, const store_cond *b)
{
    char number[16];
    const char *key;
    bson_t one;

    bson_uint32_to_string(at, &key, number, sizeof(number));
    bson_append_document_begin(list, key, -1, &one);
    append_cond(&one, a);
    if (b) {
        append_cond(&one, b);
    }
    bson_append_document_end(list, &one);
}

/* (sort, _id) behind (after_value, after_id); null is the smallest value. */
static void append_after(bson_t *out, const store_plan *plan)
{
    const store_value *v = &plan->after_value;
    store_op beyond = plan->descending ? STORE_LT : STORE_GT;
    store_cond more = {plan->sort, v->null ? STORE_NE : beyond, *v};
    store_cond same = {plan->sort, STORE_EQ, *v};
    store_cond null = STORE_IS_NULL(plan->sort);
    store_cond id = {STORE_ID, beyond, STORE_V_STR(plan->after_id)};
    uint32_t at = 0;
    bson_t any;

    bson_append_array_begin(out, "$or", -1, &any);
    append_branch(&any, at++, &same, &id);
    if (!plan->descending || !v->null) {
        append_branch(&any, at++, &more, NULL);
    }
    if (plan->descending && !v->null) {
        append_branch(&any, at++, &null, NULL);
    }
    bson_append_array_end(out, &any);
}

/* "<= 20" as "< 21", where there is nothing between: a server was met whose walk over an index that
 * goes on behind the field forgets the rows that equal an inclusive upper end. */
static void open_end(store_cond *cond)
{
    store_type type = store_field_type(cond->field);
    int64_t step = type == STORE_TIME ? 1000 : 1;

    if (cond->op == STORE_LE && !cond->value.null && (type == STORE_TIME || type == STORE_INT) &&
        cond->value.i <= INT64_MAX - step) {
        cond->op = STORE_LT;
        cond->value.i += step;
    }
}

/* 1 where no document of the walk has null in the sort field. */
static int sort_never_null(const store_plan *plan)
{
    for (size_t i = 0; i < plan->n_conds; i++) {
        if (plan->conds[i].field == plan->sort && plan->conds[i].op >= STORE_LT) {
            return 1;
        }
    }
    return plan->sort == STORE_CREATED_AT;
}

void mongo_filter(bson_t *out, const char *id, const store_cond *conds, size_t n_conds,
                  const store_plan *plan)
{
    store_cond *all = bson_malloc((n_conds + 1) * sizeof(*all));
    size_t n = n_conds;
    int after = plan && plan->has_after;

    if (n > 0) {
        memcpy(all, conds, n * sizeof(*all));
    }
    if (id) {
        bson_append_utf8(out, "_id", -1, id, -1);
    }
    if (after && plan->sort == STORE_ID) {
        all[n++] = (store_cond){STORE_ID, plan->descending ? STORE_LT : STORE_GT,
                                STORE_V_STR(plan->after_id)};
        after = 0;
    } else if (after && !plan->after_value.null && (!plan->descending || sort_never_null(plan))) {
        /* Says nothing that $or does not say; an index walk can start from it. */
        all[n++] =
            (store_cond){plan->sort, plan->descending ? STORE_LE : STORE_GE, plan->after_value};
    }
    for (size_t i = 0; i < n; i++) {
        open_end(&all[i]);
    }
    append_conds(out, all, n);
    if (after) {
        append_after(out, plan);
    }
    bson_free(all);
}

void mongo_sort(bson_t *out, const store_plan *plan)
{
    int direction = plan->descending ? -1 : 1;

    if (plan->sort != STORE_ID) {
        bson_append_int32(out, store_field_name(plan->sort), -1, direction);
    }
    bson_append_int32(out, "_id", -1, direction);
}

/* ---- changes ---- */

void mongo_changes(bson_t *out, const store_change *changes, size_t n_changes)
{
    bson_t set = BSON_INITIALIZER, unset = BSON_INITIALIZER, inc = BSON_INITIALIZER;
    int sets = 0, unsets = 0, incs = 0;

    for (size_t i = 0; i < n_changes; i++) {
        const store_change *c = &changes[i];

        if (c->how == STORE_INC) {
            append_field(&inc, c->field, &c->value);
            incs++;
        } else if (c->value.null) {
            bson_append_bool(&unset, store_field_name(c->field), -1, true);
            unsets++;
        } else {
            append_field(&set, c->field, &c->value);
            sets++;
        }
    }
    if (sets) {
        bson_append_document(out, "$set", -1, &set);
    }
    if (unsets) {
        bson_append_document(out, "$unset", -1, &unset);
    }
    if (incs) {
        bson_append_document(out, "$inc", -1, &inc);
    }
    bson_destroy(&set);
    bson_destroy(&unset);
    bson_destroy(&inc);
}

/* ---- indexes ---- */

/* "Not null" as a range over the type: unlike $exists it is proved by {field: value} in simple
 * planners too, and it is what partial indexes of all versions understand. */
static void append_not_null(bson_t *out, store_fid fid)
{
    static const store_value lowest[] = {
        [STORE_STR] = {.s = ""},        [STORE_JSON] = {.s = ""},        [STORE_BOOL] = {.i = 0},
        [STORE_INT] = {.i = INT64_MIN}, [STORE_TIME] = {.i = INT64_MIN},
    };
    store_type type = store_field_type(fid);
    bson_t ops;

    bson_append_document_begin(out, store_field_name(fid), -1, &ops);
    if (type == STORE_TIME) {
        bson_append_date_time(&ops, "$gte", -1, INT64_MIN);
    } else {
        append_value(&ops, "$gte", type, &lowest[type]);
    }
    bson_append_document_end(out, &ops);
}

static int is_expiry_alone(const store_coll *coll, const store_index *index)
{
    return coll->expiry != 0 && index->fields[0] == coll->expiry && index->fields[1] == 0 &&
           !index->unique;
}

static const char *declared_index(bson_t *out, const store_coll *coll, const store_index *index)
{
    bson_t key, partial;
    int expiry = is_expiry_alone(coll, index), has_id = 0;

    bson_append_document_begin(out, "key", -1, &key);
    for (int i = 0; i < STORE_INDEX_FIELDS && index->fields[i]; i++) {
        bson_append_int32(&key, store_field_name(index->fields[i]), -1, 1);
        has_id |= index->fields[i] == STORE_ID;
    }
    if (!index->unique && !expiry && !has_id) {
        /* The walk is sorted by _id behind the last field. */
        bson_append_int32(&key, "_id", -1, 1);
    }
    bson_append_document_end(out, &key);
    bson_append_utf8(out, "name", -1, index->name, -1);
    if (expiry) {
        bson_append_int32(out, "expireAfterSeconds", -1, 0);
    }
    if (index->unique) {
        bson_append_bool(out, "unique", -1, true);
        bson_append_document_begin(out, "partialFilterExpression", -1, &partial);
        for (int i = 0; i < STORE_INDEX_FIELDS && index->fields[i]; i++) {
            append_not_null(&partial, index->fields[i]);
        }
        bson_append_document_end(out, &partial);
    }
    return index->name;
}

static const char *expiry_index(bson_t *out, const store_coll *coll)
{
    bson_t key;

    bson_append_document_begin(out, "key", -1, &key);
    bson_append_int32(&key, store_field_name(coll->expiry), -1, 1);
    bson_append_document_end(out, &key);
    bson_append_utf8(out, "name", -1, "ttl", -1);
    bson_append_int32(out, "expireAfterSeconds", -1, 0);
    return "ttl";
}

const char *mongo_index(bson_t *out, const store_coll *coll, unsigned no)
{
    unsigned count, place = 0;
    const store_index *indexes = store_indexes(&count);
    int expires = coll->expiry != 0;

    for (unsigned i = 0; i < count; i++) {
        if (indexes[i].coll != coll->no) {
            continue;
        }
        if (is_expiry_alone(coll, &indexes[i])) {
            expires = 0;
        }
        if (place++ == no) {
            return declared_index(out, coll, &indexes[i]);
        }
    }
    return expires && place == no ? expiry_index(out, coll) : NULL;
}

/* ---- duplicates ---- */

static int has_key_pattern(const store_index *index, const bson_iter_t *pattern)
{
    bson_iter_t at;
    int i = 0;

    if (!bson_iter_recurse(pattern, &at)) {
        return 0;
    }
    while (bson_iter_next(&at)) {
        if (i == STORE_INDEX_FIELDS || index->fields[i] == 0 ||
            strcmp(bson_iter_key(&at), store_field_name(index->fields[i])) != 0) {
            return 0;
        }
        i++;
    }
    return i > 0 && (i == STORE_INDEX_FIELDS || index->fields[i] == 0);
}

static const char *duplicate_by_pattern(const store_coll *coll, const bson_t *reply)
{
    unsigned count;
    const store_index *indexes = store_indexes(&count);
    bson_iter_t top, found, id;

    if (!(bson_iter_init(&top, reply) && bson_iter_find_descendant(&top, "keyPattern", &found)) &&
        !(bson_iter_init(&top, reply) &&
          bson_iter_find_descendant(&top, "writeErrors.0.keyPattern", &found))) {
        return NULL;
    }
    if (bson_iter_recurse(&found, &id) && bson_iter_find(&id, "_id")) {
        return "_id";
    }
    for (unsigned i = 0; i < count; i++) {
        if (indexes[i].coll == coll->no && indexes[i].unique &&
            has_key_pattern(&indexes[i], &found)) {
            return indexes[i].name;
        }
    }
    return NULL;
}

/* "... index: NAME dup key: ...", or "index: db.coll.$NAME" from old servers. */
static const char *duplicate_by_message(const store_coll *coll, const char *message)
{
    unsigned count;
    const store_index *indexes = store_indexes(&count);
    const char *name = strstr(message, "index: "), *end;

    if (!name) {
        return NULL;
    }
    name += strlen("index: ");
    end = name + strcspn(name, " ");
    for (const char *p = name; p < end; p++) {
        if (*p == '$') {
            name = p + 1;
        }
    }
    if (end - name == 4 && strncmp(name, "_id_", 4) == 0) {
        return "_id";
    }
    for (unsigned i = 0; i < count; i++) {
        if (indexes[i].coll == coll->no && strlen(indexes[i].name) == (size_t)(end - name) &&
            strncmp(indexes[i].name, name, (size_t)(end - name)) == 0) {
            return indexes[i].name;
        }
    }
    return NULL;
}

const char *mongo_duplicate_index(const store_coll *coll, const bson_t *reply, const char *message)
{
    const char *name = duplicate_by_pattern(coll, reply);

    if (!name) {
        name = duplicate_by_message(coll, message);
    }
    return name ? name : "";
}
