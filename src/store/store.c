/* store.c: the one way to what is remembered: opens the backend that a url names, checks what it is
 * asked for and hands it on. Called by everybody above; it knows no backend's words. */
#include "plan.h"

#include <string.h>
#include <apr_strings.h>

#include "core/time.h"

enum { OP_TIMEOUT_S = 2, CONNECTIONS = 16 };

const char *store_strerror(apr_pool_t *pool, apr_status_t status)
{
    char text[160];

    switch (status) {
    case STORE_ENOENT:
        return "there is no such document";
    case STORE_EEXIST:
        return "a unique key is taken";
    case STORE_ECOND:
        return "a condition does not hold";
    case STORE_EUNAVAIL:
        return "the store is unavailable";
    case STORE_EINVAL:
        return "not a valid request to the store";
    case STORE_ESCHEMA:
        return "the stored schema is newer than this program";
    default:
        return apr_pstrdup(pool, apr_strerror(status, text, sizeof(text)));
    }
}

/* ---- opening ---- */

static const store_backend *backend_of(const char *url)
{
    if (strncmp(url, "sqlite:", 7) == 0) {
        return &store_sqlite_backend;
    }
    if (strncmp(url, "mongodb://", 10) == 0 || strncmp(url, "mongodb+srv://", 14) == 0) {
        return &store_mongo_backend;
    }
    return NULL;
}

const char *store_url_error(apr_pool_t *pool, const char *url)
{
    const store_backend *backend = url ? backend_of(url) : NULL;

    if (!backend) {
        return "a store is sqlite:/absolute/path, mongodb://... or mongodb+srv://...";
    }
    for (const char *c = url; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            return "the store's url has a control character in it";
        }
    }
    return backend->url_error ? backend->url_error(pool, url) : NULL;
}

/* How many characters of it are the scheme and its colon; 0: it has none. */
static apr_size_t scheme_of(const char *url)
{
    apr_size_t len = strspn(url, "abcdefghijklmnopqrstuvwxyz+");

    return url[len] == ':' ? len + 1 : 0;
}

const char *store_url_shown(apr_pool_t *pool, const char *url)
{
    const char *host = strstr(url, "://");
    const char *at, *end;
    apr_size_t scheme;

    if (!host) {
        int is_path = strncmp(url, "sqlite:", 7) == 0 || strncmp(url, "file:", 5) == 0;

        /* No url at all, but maybe what was to be one. */
        return is_path || !strchr(url, '@')
                   ? apr_pstrdup(pool, url)
                   : apr_pstrcat(pool, apr_pstrmemdup(pool, url, scheme_of(url)), "***", NULL);
    }
    host += 3;
    scheme = (apr_size_t)(host - url);
    end = host + strcspn(host, "/?");
    at = strrchr(host, '@');
    /* An @ behind the host: a password that nobody encoded, or a secret among the options. */
    if (at && at > end) {
        return apr_pstrcat(pool, apr_pstrmemdup(pool, url, scheme), "***", NULL);
    }
    return apr_pstrcat(pool, apr_pstrmemdup(pool, url, scheme), at ? "***@" : "",
                       apr_pstrmemdup(pool, at ? at + 1 : host, strcspn(at ? at + 1 : host, "?")),
                       NULL);
}

apr_status_t store_open(store **out, const char *url, const store_options *options,
                        apr_pool_t *pool, const char **why)
{
    const char *error = store_url_error(pool, url);
    store *s;
    apr_status_t rv;

    *out = NULL;
    *why = error;
    if (error) {
        return STORE_EINVAL;
    }
    s = apr_pcalloc(pool, sizeof(*s));
    atomic_init(&s->seen, STORE_EUNAVAIL);
    s->pool = pool;
    s->backend = backend_of(url);
    s->shown = store_url_shown(pool, url);
    if (options) {
        s->options = *options;
    }
    if (s->options.op_timeout <= 0) {
        s->options.op_timeout = apr_time_from_sec(OP_TIMEOUT_S);
    }
    if (s->options.max_connections <= 0) {
        s->options.max_connections = CONNECTIONS;
    }
    rv = s->backend->open(s, url, &s->options, why);
    if (rv == APR_SUCCESS) {
        *out = s;
    }
    return rv;
}

int store_make(const char *url, const store_options *options, apr_pool_t *pool)
{
    const char *why;
    store *s;

    return !store_url_error(pool, url) && backend_of(url)->make &&
           store_open(&s, url, options, pool, &why) == APR_SUCCESS && s->backend->make(s);
}

apr_status_t store_migrate(store *s, apr_pool_t *pool)
{
    return s->backend->migrate(s, pool);
}

apr_status_t store_ping(store *s, apr_pool_t *pool)
{
    return s->backend->ping(s, pool);
}

apr_status_t store_is_ready(store *s, apr_pool_t *pool)
{
    int64_t last = atomic_load(&s->looked_at);

    if ((last != 0 && biz_steady_now() - last < APR_USEC_PER_SEC) ||
        !atomic_compare_exchange_strong(&s->looked_at, &last, INT64_MAX))
        return atomic_load(&s->seen);
    atomic_store(&s->seen, store_ping(s, pool));
    atomic_store(&s->looked_at, biz_steady_now());
    return atomic_load(&s->seen);
}

apr_status_t store_check(store *s, apr_pool_t *pool, const char **report)
{
    *report = "no report";
    return s->backend->check(s, pool, report);
}

/* ---- one document ---- */

apr_status_t store_get(store *s, apr_pool_t *pool, store_coll_no coll_no, const char *id,
                       store_doc **out)
{
    const store_coll *coll = store_coll_by_no(coll_no);
    apr_status_t rv;

    *out = NULL;
    if (!coll) {
        return store_misuse("store_get", NULL, "no such collection");
    }
    if (!store_id_is_possible(id)) {
        return STORE_ENOENT;
    }
    rv = s->backend->get(s, pool, coll, id, STORE_ID, NULL, out, NULL);
    return rv == APR_SUCCESS && !*out ? STORE_ENOENT : rv;
}

apr_status_t store_get_two(store *s, apr_pool_t *pool, store_coll_no coll_no, const char *id,
                           store_fid by, store_coll_no other_no, store_doc **out,
                           store_doc **second)
{
    const store_coll *coll = store_coll_by_no(coll_no), *other = store_coll_by_no(other_no);
    apr_status_t rv;

    *out = *second = NULL;
    if (!coll || !other || coll == other || STORE_FID_COLL(by) != coll_no ||
        store_field_type(by) != STORE_STR) {
        return store_misuse("store_get_two", coll, "not two collections and a text of the first");
    }
    if (!store_id_is_possible(id)) {
        return STORE_ENOENT;
    }
    rv = s->backend->get(s, pool, coll, id, by, other, out, second);
    return rv == APR_SUCCESS && !*second ? STORE_ENOENT : rv;
}

static void made_now(store_doc *doc)
{
    doc->created_at = store_cut(apr_time_now());
    if (!(doc->coll->flags & STORE_NO_VERSION)) {
        doc->updated_at = doc->created_at;
        doc->version = 1;
    }
}

apr_status_t store_insert(store *s, apr_pool_t *pool, store_doc *doc, const char **index)
{
    const char *ignored;
    apr_status_t rv = store_doc_check("store_insert", doc);

    if (!index) {
        index = &ignored;
    }
    *index = NULL;
    if (rv) {
        return rv;
    }
    made_now(doc);
    rv = s->backend->insert(s, pool, doc, index);
    if (rv) {
        doc->version = 0;
    }
    return rv;
}

apr_status_t store_insert_new(store *s, apr_pool_t *pool, store_doc *const *docs, int n)
{
    apr_status_t rv = APR_SUCCESS;

    for (int i = 0; i < n && rv == APR_SUCCESS; i++) {
        rv = store_doc_check("store_insert_new", docs[i]);
        made_now(docs[i]);
    }
    return rv || n == 0 ? rv : s->backend->insert_new(s, pool, docs, n);
}

apr_status_t store_insert_copy(store *s, apr_pool_t *pool, const store_doc *doc)
{
    const char *index;
    apr_status_t rv = store_doc_check("store_insert_copy", doc);

    return rv ? rv : s->backend->insert(s, pool, doc, &index);
}

apr_status_t store_update(store *s, apr_pool_t *pool, store_coll_no coll_no, const char *id,
                          const store_cond *conds, size_t n_conds, const store_change *changes,
                          size_t n_changes, store_doc **after)
{
    const store_coll *coll = store_coll_by_no(coll_no);
    apr_status_t rv;

    if (after) {
        *after = NULL;
    }
    if (!coll) {
        return store_misuse("store_update", NULL, "no such collection");
    }
    rv = store_conds_check(pool, "store_update", coll, conds, n_conds, &conds);
    if (!rv) {
        rv = store_changes_check(pool, "store_update", coll, changes, &n_changes, &changes);
    }
    if (rv) {
        return rv;
    }
    if (!store_id_is_possible(id)) {
        return STORE_ENOENT;
    }
    return s->backend->update(s, pool, coll, id, conds, n_conds, changes, n_changes, after);
}

apr_status_t store_empty(store *s, apr_pool_t *pool, store_coll_no coll_no, const char *id,
                         store_fid field, const char *value, store_doc **after)
{
    const store_coll *coll = store_coll_by_no(coll_no);
    const store_cond same = STORE_EQ_STR(field, value), *conds = &same;
    const store_change none = STORE_SET_NULL(field);
    apr_status_t rv;

    *after = NULL;
    if (!coll) {
        return store_misuse("store_empty", NULL, "no such collection");
    }
    rv = store_conds_check(pool, "store_empty", coll, &same, 1, &conds);
    if (rv) {
        return rv;
    }
    return store_id_is_possible(id)
               ? s->backend->update(s, pool, coll, id, conds, 1, &none, 1, after)
               : STORE_ENOENT;
}

apr_status_t store_delete(store *s, apr_pool_t *pool, store_coll_no coll_no, const char *id,
                          const store_cond *conds, size_t n_conds)
{
    const store_coll *coll = store_coll_by_no(coll_no);
    apr_status_t rv;

    if (!coll) {
        return store_misuse("store_delete", NULL, "no such collection");
    }
    rv = store_conds_check(pool, "store_delete", coll, conds, n_conds, &conds);
    if (rv) {
        return rv;
    }
    return store_id_is_possible(id) ? s->backend->remove(s, pool, coll, id, conds, n_conds)
                                    : STORE_ENOENT;
}

apr_status_t store_counter(store *s, apr_pool_t *pool, const char *name, int64_t delta,
                           int64_t *value)
{
    *value = 0;
    if (!store_id_is_possible(name)) {
        return store_misuse("store_counter", store_coll_by_no(COLL_COUNTERS), "no such name");
    }
    return s->backend->counter(s, pool, name, delta, value);
}

/* ---- many documents ---- */

apr_status_t store_find(store *s, apr_pool_t *pool, const store_query *query,
                        apr_array_header_t **docs, const char **next)
{
    store_plan plan;
    apr_status_t rv = store_plan_make(pool, "store_find", query, &plan);

    *docs = apr_array_make(pool, 16, sizeof(store_doc *));
    if (next) {
        *next = NULL;
    }
    if (rv) {
        return rv;
    }
    /* One more than asked for tells whether this page is the last. */
    plan.limit = query->limit + (next ? 1 : 0);
    rv = s->backend->find(s, pool, &plan, *docs);
    if (rv) {
        (*docs)->nelts = 0;
    } else if ((*docs)->nelts > query->limit) {
        (*docs)->nelts = query->limit;
        *next = store_cursor_make(pool, &plan, APR_ARRAY_IDX(*docs, query->limit - 1, store_doc *));
    }
    return rv;
}

apr_status_t store_find_one(store *s, apr_pool_t *pool, const store_query *query, store_doc **out)
{
    apr_array_header_t *docs;
    store_query one = *query;
    apr_status_t rv;

    *out = NULL;
    one.limit = 1;
    rv = store_find(s, pool, &one, &docs, NULL);
    if (rv == APR_SUCCESS && docs->nelts == 0) {
        return STORE_ENOENT;
    }
    if (rv == APR_SUCCESS) {
        *out = APR_ARRAY_IDX(docs, 0, store_doc *);
    }
    return rv;
}

apr_status_t store_claim(store *s, apr_pool_t *pool, const store_query *query,
                         const store_change *changes, size_t n_changes, store_doc **after)
{
    store_query one = *query;
    store_plan plan;
    apr_status_t rv;

    *after = NULL;
    one.limit = 1;
    rv = store_plan_make(pool, "store_claim", &one, &plan);
    if (!rv) {
        rv = store_changes_check(pool, "store_claim", plan.coll, changes, &n_changes, &changes);
    }
    return rv ? rv : s->backend->claim(s, pool, &plan, changes, n_changes, after);
}

apr_status_t store_update_each(store *s, apr_pool_t *pool, const store_query *query,
                               const store_change *changes, size_t n_changes, int *changed)
{
    store_plan plan;
    apr_status_t rv = store_plan_make(pool, "store_update_each", query, &plan);

    *changed = 0;
    if (!rv) {
        rv = store_changes_check(pool, "store_update_each", plan.coll, changes, &n_changes,
                                 &changes);
    }
    return rv ? rv : s->backend->update_each(s, pool, &plan, changes, n_changes, changed);
}

apr_status_t store_sweep(store *s, apr_pool_t *pool, apr_time_t now, int limit, int *removed)
{
    apr_status_t rv = APR_SUCCESS;

    *removed = 0;
    if (limit < 1) {
        return store_misuse("store_sweep", NULL, "a limit below 1");
    }
    for (int no = COLL_NONE + 1; rv == APR_SUCCESS && no < COLL_END && *removed < limit; no++) {
        const store_coll *coll = store_coll_by_no(no);
        int gone = 0;

        if (coll->expiry) {
            rv = s->backend->sweep(s, pool, coll, store_cut(now), limit - *removed, &gone);
            *removed += gone;
        }
    }
    return rv;
}

apr_status_t store_scan(store *s, apr_pool_t *pool, store_coll_no coll, const char *after_id,
                        int limit, apr_array_header_t **docs)
{
    store_query query = {.coll = coll, .limit = limit};
    store_plan plan;
    apr_status_t rv = store_plan_make(pool, "store_scan", &query, &plan);

    *docs = apr_array_make(pool, 16, sizeof(store_doc *));
    if (rv) {
        return rv;
    }
    if (after_id && *after_id) {
        if (!store_id_is_possible(after_id)) {
            return STORE_EINVAL;
        }
        plan.has_after = 1;
        plan.after_id = after_id;
        plan.after_value = (store_value)STORE_V_STR(after_id);
    }
    rv = s->backend->find(s, pool, &plan, *docs);
    if (rv) {
        (*docs)->nelts = 0;
    }
    return rv;
}

apr_status_t store_count(store *s, apr_pool_t *pool, store_coll_no coll_no, int64_t *count)
{
    const store_coll *coll = store_coll_by_no(coll_no);

    *count = 0;
    if (!coll) {
        return store_misuse("store_count", NULL, "no such collection");
    }
    return s->backend->count(s, pool, coll, count);
}
