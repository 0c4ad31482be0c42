/* verify.c: reads the audit log's chain and says what does not fit, and how a row is shown. Called
 * by bizapictl and the API. Writes nothing.
 *
 * What it cannot see: rows and marks that were put back together to an earlier state, and what a
 * worker that was broken into wrote with the key it holds. The first is found with the number and
 * mac of an earlier report. */
#include "chain.h"

#include <string.h>
#include <apr_strings.h>

enum { PAGE = 500 };

typedef struct {
    store *store;
    apr_pool_t *pool;
    const unsigned char *key;
    audit_report *report;
    int64_t seq; /* of the row before */
    const char *mac;
    int64_t head, asked; /* rows whose mac is known from elsewhere; 0: none */
    const char *head_mac, *asked_mac;
} reading;

static void found(reading *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void found(reading *r, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    r->report->wrong = apr_pvsprintf(r->pool, fmt, args);
    va_end(args);
}

/* Number and mac of a mark; -1 and the origin where there is none. */
static apr_status_t read_mark(reading *r, const char *mark, int64_t *seq, const char **mac)
{
    store_doc *doc;
    apr_status_t status = store_get(r->store, r->pool, COLL_AUDIT_MARKS, mark, &doc);

    *seq = -1;
    *mac = AUDIT_ORIGIN;
    if (status == STORE_ENOENT)
        return APR_SUCCESS;
    if (status != APR_SUCCESS)
        return status;
    if (store_is_null(doc, MARK_MAC) || store_is_null(doc, MARK_SIG) ||
        !biz_same_text(store_str(doc, MARK_SIG),
                       audit_mark_sig(r->pool, r->key, mark, store_int(doc, MARK_SEQ),
                                      store_str(doc, MARK_MAC)))) {
        found(r, "the mark \"%s\" was changed, or the log was written with another master.key",
              mark);
        return APR_SUCCESS;
    }
    *seq = store_int(doc, MARK_SEQ);
    *mac = store_str(doc, MARK_MAC);
    return APR_SUCCESS;
}

static void compare_known(reading *r, int64_t seq, const char *mac, const char *what)
{
    if (r->report->wrong == NULL && seq == r->seq && strcmp(mac, r->mac) != 0)
        found(r, "row %" APR_INT64_T_FMT " is not the one that %s knows", (apr_int64_t)seq, what);
}

/* 0 where the walk must start again: the sweep has removed what was to be read. */
static int check_row(reading *r, apr_pool_t *page, const store_doc *row, apr_status_t *status)
{
    int64_t seq = store_int(row, AUDIT_SEQ), base;
    const char *mac = store_str(row, AUDIT_MAC), *base_mac;

    if (seq != r->seq + 1) {
        *status = read_mark(r, AUDIT_BASE, &base, &base_mac);
        if (*status != APR_SUCCESS || r->report->wrong != NULL)
            return 1;
        if (base > r->seq)
            return 0;
        found(r, "row %" APR_INT64_T_FMT " is missing%s", (apr_int64_t)(r->seq + 1),
              seq > r->seq + 2 ? ", and more after it" : "");
        return 1;
    }
    if (mac == NULL || !biz_same_text(mac, audit_row_mac(page, r->key, r->mac, row))) {
        found(r,
              "row %" APR_INT64_T_FMT " (%s) was changed, is not where it was written, or was "
              "written with another master.key",
              (apr_int64_t)seq, store_doc_id(row));
        return 1;
    }
    r->seq = seq;
    r->mac = apr_pstrdup(r->pool, mac);
    if (r->report->first == 0)
        r->report->first = seq;
    r->report->rows++;
    compare_known(r, r->head, r->head_mac, "the mark \"head\"");
    compare_known(r, r->asked, r->asked_mac, "the earlier report");
    return 1;
}

/* From the base to the end. 0 in *whole where it must be done again. */
static apr_status_t walk(reading *r, int *whole)
{
    apr_pool_t *page;
    apr_array_header_t *rows;
    apr_status_t status = read_mark(r, AUDIT_BASE, &r->seq, &r->mac);
    int i, got = PAGE;

    if (r->seq < 0)
        r->seq = 0;
    *whole = 1;
    r->report->rows = r->report->first = 0;
    apr_pool_create(&page, r->pool);
    while (status == APR_SUCCESS && got == PAGE && *whole && r->report->wrong == NULL) {
        store_cond after[] = {{AUDIT_SEQ, STORE_GT, STORE_V_INT(r->seq)}};
        store_query query = {.coll = COLL_AUDIT,
                             .index = "audit_seq",
                             .conds = after,
                             .n_conds = STORE_COUNT_OF(after),
                             .limit = PAGE};

        status = store_find(r->store, page, &query, &rows, NULL);
        got = status == APR_SUCCESS ? rows->nelts : 0;
        for (i = 0; i < got && *whole && status == APR_SUCCESS && r->report->wrong == NULL; i++)
            *whole = check_row(r, page, APR_ARRAY_IDX(rows, i, store_doc *), &status);
        apr_pool_clear(page);
    }
    apr_pool_destroy(page);
    return status;
}

/* A row outside of the chain was not written by us. */
static apr_status_t look_for_strangers(reading *r)
{
    store_cond outside[] = {STORE_IS_NULL(AUDIT_SEQ)};
    store_query query = {
        .coll = COLL_AUDIT, .conds = outside, .n_conds = STORE_COUNT_OF(outside), .limit = 1};
    store_doc *row;
    apr_status_t status = store_find_one(r->store, r->pool, &query, &row);

    if (status == APR_SUCCESS)
        found(r, "row %s stands outside of the chain: it was not written by this program",
              store_doc_id(row));
    return status == STORE_ENOENT ? APR_SUCCESS : status;
}

apr_status_t audit_verify(store *s, apr_pool_t *pool, const unsigned char *key, int64_t seq,
                          const char *mac, audit_report *report)
{
    reading r = {.store = s, .pool = pool, .key = key, .report = report};
    apr_status_t status;
    int whole = 0;

    memset(report, 0, sizeof(*report));
    r.asked = seq;
    r.asked_mac = mac;
    /* Before the rows: what it names must then be among them, whoever writes meanwhile. */
    status = read_mark(&r, AUDIT_HEAD, &r.head, &r.head_mac);
    while (status == APR_SUCCESS && !whole && report->wrong == NULL)
        status = walk(&r, &whole);
    if (status == APR_SUCCESS && report->wrong == NULL)
        status = look_for_strangers(&r);
    if (status != APR_SUCCESS)
        return status;
    report->last = r.seq;
    report->mac = r.mac;
    if (report->wrong == NULL && r.head < 0 && r.seq > 0)
        found(&r, "the mark \"head\" is missing: whether the end of the log is there cannot be "
                  "told");
    if (report->wrong == NULL && r.seq < r.head)
        found(&r, "the end is missing: rows %" APR_INT64_T_FMT " to %" APR_INT64_T_FMT,
              (apr_int64_t)(r.seq + 1), (apr_int64_t)r.head);
    if (report->wrong == NULL && r.seq < r.asked)
        found(&r, "the end is missing: the earlier report had seen row %" APR_INT64_T_FMT,
              (apr_int64_t)r.asked);
    return APR_SUCCESS;
}

biz_json *audit_json(apr_pool_t *pool, const store_doc *row)
{
    const char *details = store_str(row, AUDIT_DETAILS);
    biz_json *json = biz_json_object(pool), *parsed = NULL;
    size_t position;

    if (details != NULL && biz_json_parse(pool, details, strlen(details), BIZ_JSON_DEPTH, &parsed,
                                          &position) != APR_SUCCESS)
        parsed = NULL;
    biz_json_set_str(json, "id", store_doc_id(row));
    biz_json_set_int(json, "seq", store_int(row, AUDIT_SEQ));
    biz_json_set_time(json, "at", store_time(row, AUDIT_AT));
    biz_json_set_str(json, "event", store_str(row, AUDIT_EVENT));
    biz_json_set_str(json, "user_id", store_str(row, AUDIT_USER_ID));
    biz_json_set_str(json, "actor_id", store_str(row, AUDIT_ACTOR_ID));
    biz_json_set_str(json, "address", store_str(row, AUDIT_IP));
    biz_json_set_str(json, "device", store_str(row, AUDIT_AGENT));
    biz_json_set_str(json, "request_id", store_str(row, AUDIT_REQUEST_ID));
    biz_json_set(json, "details", parsed);
    return json;
}
