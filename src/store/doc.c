/* doc.c: a document in memory and its typed fields. Used by everybody who reads or writes
 * documents; it speaks to no backend. A field of the wrong collection or type is a mistake in the
 * program that tests must find, so it ends the process instead of giving a wrong answer. */
#include "backend.h"

#include <stdlib.h>
#include <apr_strings.h>
#include "core/log.h"
#include "core/random.h"

store_doc *store_doc_blank(apr_pool_t *pool, const store_coll *coll)
{
    store_doc *doc = apr_pcalloc(pool, sizeof(*doc));

    doc->pool = pool;
    doc->coll = coll;
    doc->values = apr_pcalloc(pool, coll->field_count * sizeof(*doc->values));
    for (unsigned i = 0; i < coll->field_count; i++) {
        doc->values[i].null = 1;
    }
    return doc;
}

static void mistake(const char *what, const char *coll, const char *field)
    __attribute__((noreturn));

static void mistake(const char *what, const char *coll, const char *field)
{
    biz_log(BIZ_LOG_ERR, 0,
            BZ(0220) "%s: collection %s, field %s; this is a mistake in the program, please report",
            what, coll, field);
    abort();
}

store_doc *store_doc_new(apr_pool_t *pool, store_coll_no coll_no)
{
    const store_coll *coll = store_coll_by_no(coll_no);
    store_doc *doc;

    if (!coll) {
        mistake("a document of no collection", "?", "?");
    }
    doc = store_doc_blank(pool, coll);
    doc->id = biz_new_id(pool, coll->id_prefix);
    return doc;
}

void store_doc_set_id(store_doc *doc, const char *id)
{
    doc->id = apr_pstrdup(doc->pool, id);
}

void store_doc_set_made(store_doc *doc, apr_time_t made)
{
    int versioned = !(doc->coll->flags & STORE_NO_VERSION);

    doc->created_at = store_cut(made);
    doc->updated_at = versioned ? doc->created_at : 0;
    doc->version = versioned ? 1 : 0;
}

store_coll_no store_doc_coll(const store_doc *doc)
{
    return doc->coll->no;
}

const char *store_doc_id(const store_doc *doc)
{
    return doc->id;
}

int64_t store_doc_version(const store_doc *doc)
{
    return doc->version;
}

/* ---- reading ---- */

static int is_common(store_fid fid)
{
    return fid >= STORE_ID && fid <= STORE_UPDATED_AT;
}

static store_value *place_of(const store_doc *doc, store_fid fid)
{
    if (STORE_FID_COLL(fid) != doc->coll->no || STORE_FID_PLACE(fid) >= doc->coll->field_count) {
        mistake("a field of another collection", doc->coll->name, store_field_name(fid));
    }
    return &doc->values[STORE_FID_PLACE(fid)];
}

store_value store_doc_value(const store_doc *doc, store_fid fid)
{
    int versioned = !(doc->coll->flags & STORE_NO_VERSION);

    switch (fid) {
    case STORE_ID:
        return (store_value)STORE_V_STR(doc->id);
    case STORE_CREATED_AT:
        return (store_value){.i = doc->created_at};
    case STORE_UPDATED_AT:
        return (store_value){.null = !versioned, .i = doc->updated_at};
    case STORE_VERSION:
        return (store_value){.null = !versioned, .i = doc->version};
    default:
        return *place_of(doc, fid);
    }
}

static store_value typed(const store_doc *doc, store_fid fid, store_type type)
{
    store_value value = store_doc_value(doc, fid);
    store_type has = store_field_type(fid);

    if (has != type && !(type == STORE_STR && has == STORE_JSON)) {
        mistake("a field read as another type", doc->coll->name, store_field_name(fid));
    }
    if (value.null) {
        value.s = NULL;
        value.i = 0;
    }
    return value;
}

int store_is_null(const store_doc *doc, store_fid fid)
{
    return store_doc_value(doc, fid).null;
}

const char *store_str(const store_doc *doc, store_fid fid)
{
    return typed(doc, fid, STORE_STR).s;
}

int64_t store_int(const store_doc *doc, store_fid fid)
{
    return typed(doc, fid, STORE_INT).i;
}

int store_bool(const store_doc *doc, store_fid fid)
{
    return typed(doc, fid, STORE_BOOL).i != 0;
}

apr_time_t store_time(const store_doc *doc, store_fid fid)
{
    return typed(doc, fid, STORE_TIME).i;
}

/* ---- writing ---- */

static store_value *settable(store_doc *doc, store_fid fid, store_type type)
{
    store_type has = store_field_type(fid);

    if (is_common(fid)) {
        mistake("a field that only the store sets", doc->coll->name, store_field_name(fid));
    }
    if (has != type && !(type == STORE_STR && has == STORE_JSON)) {
        mistake("a field set as another type", doc->coll->name, store_field_name(fid));
    }
    return place_of(doc, fid);
}

void store_set_str(store_doc *doc, store_fid fid, const char *value)
{
    const char *copy = apr_pstrdup(doc->pool, value);

    *settable(doc, fid, STORE_STR) = (store_value)STORE_V_STR(copy);
}

void store_set_int(store_doc *doc, store_fid fid, int64_t value)
{
    *settable(doc, fid, STORE_INT) = (store_value)STORE_V_INT(value);
}

void store_set_bool(store_doc *doc, store_fid fid, int value)
{
    *settable(doc, fid, STORE_BOOL) = (store_value)STORE_V_INT(value ? 1 : 0);
}

void store_set_time(store_doc *doc, store_fid fid, apr_time_t value)
{
    *settable(doc, fid, STORE_TIME) = (store_value)STORE_V_INT(store_cut(value));
}

void store_set_null(store_doc *doc, store_fid fid)
{
    if (is_common(fid)) {
        mistake("a field that only the store sets", doc->coll->name, store_field_name(fid));
    }
    *place_of(doc, fid) = (store_value)STORE_V_NULL;
}
