/* cmd_copy.c: bizapictl copy: every document of one store into another, whatever is behind them.
 *
 * Both stores are walked side by side in the order of ids, so that each document is seen as
 * missing, there already, different, or one too many. That is also how an interrupted copy goes on
 * and how a copy is verified. Documents travel as they are: id, version and times. */
#include "transfer.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <apr_strings.h>

#include "store/mongo_import.h"

enum { PAGE = 1000 }; /* the most that store_scan() gives */

const cli_option opts_copy[] = {
    {"resume", 0, NULL, "go on with an interrupted copy: TO need not be empty"},
    {"verify", 0, NULL, "compare every document afterwards, not only their numbers"},
    {"dry-run", 0, NULL, "change nothing, only count"},
    {"all", 0, NULL, "list everything that is left out, not only some"},
    {NULL, 0, NULL, NULL}};

enum { EXPIRED, RUNNING };
static const transfer_reason left_out_reasons[] = {
    [EXPIRED] = {"expired", "its time is over; it would be swept away"},
    [RUNNING] = {"running",
                 "the lease of a request that was being worked on; a repeat works again"},
    {NULL, NULL}};

enum { DIFFERS, UNIQUE, EXTRA, MISSING, NO_ID, UNREAD };
static const transfer_reason problem_reasons[] = {
    [DIFFERS] = {"differs", "TO has another document under this id"},
    [UNIQUE] = {"unique", "TO has another document with the same unique key"},
    [EXTRA] = {"extra", "TO has it, FROM does not"},
    [MISSING] = {"missing", "FROM has it, TO does not: it came during the copy"},
    [NO_ID] = {"no_id", "its id is no text: another program has put it there"},
    [UNREAD] = {"unread", "FROM has more documents than can be read"},
    {NULL, NULL}};

typedef struct {
    int64_t source, read, copied, there, left_out, target;
    int64_t present; /* of what was seen or put there: TO must have so many */
    int64_t problems;
    int verified;
} tally;

typedef struct {
    cli *c;
    cli from, to; /* to.store is NULL in a dry run into nothing */
    int dry_run;
    apr_time_t now, since;
    transfer_bar bar;
    tally tallies[COLL_END];
    transfer_list left_out, problems;
} copying;

/* ---- one side of the walk ---- */

typedef struct {
    store *s; /* NULL: nothing is there */
    store_coll_no coll;
    apr_pool_t *pool;
    apr_array_header_t *docs;
    int at, ended;
    char last[256];
} side;

static void side_init(side *w, store *s, store_coll_no coll, apr_pool_t *pool)
{
    memset(w, 0, sizeof(*w));
    w->s = s;
    w->coll = coll;
    w->ended = s == NULL;
    apr_pool_create(&w->pool, pool);
}

/* *doc: the next one, until side_take(); NULL behind the last one. */
static apr_status_t side_peek(copying *k, side *w, const store_doc **doc)
{
    apr_status_t rv;

    *doc = NULL;
    if ((w->docs == NULL || w->at == w->docs->nelts) && !w->ended) {
        do {
            apr_pool_clear(w->pool);
            rv = store_scan(w->s, w->pool, w->coll, w->last[0] != '\0' ? w->last : NULL, PAGE,
                            &w->docs);
        } while (transfer_again(rv, &k->since));
        if (rv != APR_SUCCESS)
            return rv;
        w->at = 0;
        w->ended = w->docs->nelts < PAGE;
        if (w->docs->nelts > 0)
            apr_cpystrn(w->last,
                        store_doc_id(APR_ARRAY_IDX(w->docs, w->docs->nelts - 1, store_doc *)),
                        sizeof(w->last));
        w->ended |= w->last[0] == '\0'; /* an id that is no text: there is no way on from it */
    }
    if (w->docs != NULL && w->at < w->docs->nelts)
        *doc = APR_ARRAY_IDX(w->docs, w->at, store_doc *);
    return APR_SUCCESS;
}

static void side_take(side *w)
{
    w->at++;
}

/* ---- documents ---- */

static int same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : !strcmp(a, b);
}

static int same_field(const store_doc *a, const store_doc *b, store_fid fid)
{
    if (store_is_null(a, fid) != store_is_null(b, fid))
        return 0;
    switch (store_field_type(fid)) {
    case STORE_STR:
    case STORE_JSON:
        return same_text(store_str(a, fid), store_str(b, fid));
    case STORE_INT:
        return store_int(a, fid) == store_int(b, fid);
    case STORE_BOOL:
        return store_bool(a, fid) == store_bool(b, fid);
    case STORE_TIME:
        return store_time(a, fid) == store_time(b, fid);
    }
    return 0;
}

static int same_doc(const store_doc *a, const store_doc *b)
{
    const store_coll *coll = store_coll_by_no(store_doc_coll(a));
    store_fid first = (store_fid)coll->no << 8;

    for (store_fid fid = STORE_ID; fid <= STORE_UPDATED_AT; fid++) {
        if (!same_field(a, b, fid))
            return 0;
    }
    for (unsigned i = 0; i < coll->field_count; i++) {
        if (!same_field(a, b, first + i))
            return 0;
    }
    return 1;
}

static int is_expired(const store_doc *doc, apr_time_t now)
{
    const store_coll *coll = store_coll_by_no(store_doc_coll(doc));

    return coll->expiry != 0 && !store_is_null(doc, coll->expiry) &&
           store_time(doc, coll->expiry) < now;
}

/* Who held this lease is stopped. */
static int is_running(const store_doc *doc)
{
    return store_doc_coll(doc) == COLL_IDEMPOTENCY &&
           same_text(store_str(doc, IDEM_STATE), "running");
}

/* ---- copying ---- */

static void problem(copying *k, int reason, store_coll_no coll, const char *id)
{
    k->tallies[coll].problems++;
    transfer_list_add(&k->problems, reason, store_coll_by_no(coll)->name, id);
}

static void leave_out(copying *k, int reason, const store_doc *doc)
{
    store_coll_no coll = store_doc_coll(doc);

    k->tallies[coll].left_out++;
    transfer_list_add(&k->left_out, reason, store_coll_by_no(coll)->name, store_doc_id(doc));
}

static apr_status_t put(copying *k, apr_pool_t *pool, const store_doc *doc)
{
    store_coll_no coll = store_doc_coll(doc);
    tally *t = &k->tallies[coll];
    store_doc *there = NULL;
    apr_status_t rv = APR_SUCCESS;

    if (!k->dry_run) {
        do
            rv = store_insert_copy(k->to.store, pool, doc);
        while (transfer_again(rv, &k->since));
    }
    if (rv == APR_SUCCESS) {
        t->copied++;
        t->present++;
    }
    if (rv != STORE_EEXIST)
        return rv;
    /* Ours, from a try whose answer was lost, or somebody else's. */
    do
        rv = store_get(k->to.store, pool, coll, store_doc_id(doc), &there);
    while (transfer_again(rv, &k->since));
    if (rv == STORE_ENOENT) {
        problem(k, UNIQUE, coll, store_doc_id(doc));
        return APR_SUCCESS;
    }
    if (rv != APR_SUCCESS)
        return rv;
    t->present++;
    if (same_doc(doc, there))
        t->copied++;
    else
        problem(k, DIFFERS, coll, store_doc_id(doc));
    return APR_SUCCESS;
}

/* A document of FROM, of TO, or of both under one id; the other is NULL. */
typedef apr_status_t on_pair(copying *k, apr_pool_t *pool, const store_doc *from,
                             const store_doc *to);

static apr_status_t copy_pair(copying *k, apr_pool_t *pool, const store_doc *from,
                              const store_doc *to)
{
    store_coll_no coll = store_doc_coll(from != NULL ? from : to);
    tally *t = &k->tallies[coll];

    if (from == NULL) {
        t->present++;
        problem(k, EXTRA, coll, store_doc_id(to));
        return APR_SUCCESS;
    }
    t->read++;
    transfer_bar_step(&k->bar);
    if (to != NULL) {
        t->present++;
        if (same_doc(from, to))
            t->there++;
        else
            problem(k, DIFFERS, coll, store_doc_id(from));
        return APR_SUCCESS;
    }
    if (store_doc_id(from)[0] == '\0')
        problem(k, NO_ID, coll, NULL);
    else if (is_expired(from, k->now))
        leave_out(k, EXPIRED, from);
    else if (is_running(from))
        leave_out(k, RUNNING, from);
    else
        return put(k, pool, from);
    return APR_SUCCESS;
}

/* Afterwards. What has expired since may be gone from either side. */
static apr_status_t verify_pair(copying *k, apr_pool_t *pool, const store_doc *from,
                                const store_doc *to)
{
    const store_doc *doc = from != NULL ? from : to;

    (void)pool;
    if (from != NULL && to != NULL) {
        if (!same_doc(from, to))
            problem(k, DIFFERS, store_doc_coll(doc), store_doc_id(doc));
    } else if (store_doc_id(doc)[0] == '\0') {
        problem(k, NO_ID, store_doc_coll(doc), NULL);
    } else if (!is_expired(doc, apr_time_now()) && !is_running(doc)) {
        problem(k, from != NULL ? MISSING : EXTRA, store_doc_coll(doc), store_doc_id(doc));
    }
    return APR_SUCCESS;
}

static apr_status_t walk(copying *k, store_coll_no coll, on_pair *each)
{
    const store_doc *from = NULL, *to = NULL;
    side a, b;
    apr_pool_t *pool, *one;
    apr_status_t rv;

    apr_pool_create(&pool, k->c->pool);
    apr_pool_create(&one, pool);
    side_init(&a, k->from.store, coll, pool);
    side_init(&b, k->to.store, coll, pool);
    for (;;) {
        int order;

        apr_pool_clear(one);
        rv = side_peek(k, &a, &from);
        if (rv == APR_SUCCESS)
            rv = side_peek(k, &b, &to);
        if (rv != APR_SUCCESS || (from == NULL && to == NULL))
            break;
        order = from == NULL ? 1 : to == NULL ? -1 : strcmp(store_doc_id(from), store_doc_id(to));
        rv = each(k, one, order <= 0 ? from : NULL, order >= 0 ? to : NULL);
        if (rv != APR_SUCCESS)
            break;
        if (order <= 0)
            side_take(&a);
        if (order >= 0)
            side_take(&b);
    }
    apr_pool_destroy(pool);
    return rv;
}

/* ---- all collections ---- */

static apr_status_t count(copying *k, store *s, store_coll_no coll, int64_t *n)
{
    apr_status_t rv;

    *n = 0;
    if (s == NULL)
        return APR_SUCCESS;
    do
        rv = store_count(s, k->c->pool, coll, n);
    while (transfer_again(rv, &k->since));
    return rv;
}

/* Numbers first; where they are not as they should be, or if it was asked for, each document. */
static apr_status_t verify(copying *k, store_coll_no coll, int every)
{
    tally *t = &k->tallies[coll];
    int64_t source;
    apr_status_t rv = count(k, k->from.store, coll, &source);

    if (rv == APR_SUCCESS)
        rv = count(k, k->to.store, coll, &t->target);
    /* What is known to differ would only be found again. */
    if (rv != APR_SUCCESS || t->problems > 0)
        return rv;
    if (every || source != t->read || t->target != t->present) {
        rv = walk(k, coll, verify_pair);
        if (rv == APR_SUCCESS && t->problems == 0 && source > t->read)
            problem(k, UNREAD, coll, NULL);
    }
    t->verified = t->problems == 0;
    return rv;
}

/* For the side that failed. */
static int fail(copying *k, apr_status_t rv)
{
    apr_pool_t *p = k->c->pool;
    const char *from = store_url_shown(p, k->from.store_url);
    const char *to = store_url_shown(p, k->to.store_url);

    return cli_fail(CLI_FAILED, "%s; FROM is %s, TO is %s%s", store_strerror(p, rv), from, to,
                    k->dry_run ? "" : "; what was copied stays, go on with --resume");
}

static int run(copying *k)
{
    int every = cli_opt(k->c, "verify") != NULL;
    int64_t total = 0;
    apr_status_t rv = APR_SUCCESS;

    for (int no = COLL_NONE + 1; no < COLL_END && rv == APR_SUCCESS; no++) {
        rv = count(k, k->from.store, (store_coll_no)no, &k->tallies[no].source);
        total += k->tallies[no].source;
    }
    if (rv != APR_SUCCESS)
        return fail(k, rv);
    transfer_bar_start(k->c, &k->bar, "copying", total);
    for (int no = COLL_NONE + 1; no < COLL_END && rv == APR_SUCCESS; no++)
        rv = walk(k, (store_coll_no)no, copy_pair);
    for (int no = COLL_NONE + 1; no < COLL_END && rv == APR_SUCCESS && !k->dry_run; no++)
        rv = verify(k, (store_coll_no)no, every);
    transfer_bar_end(&k->bar);
    return rv == APR_SUCCESS ? CLI_OK : fail(k, rv);
}

/* ---- the report ---- */

static biz_json *report_json(copying *k, int complete)
{
    biz_json *json = biz_json_object(k->c->pool), *list = biz_json_array(k->c->pool);

    for (int no = COLL_NONE + 1; no < COLL_END; no++) {
        biz_json *one = biz_json_object(k->c->pool);
        const tally *t = &k->tallies[no];

        biz_json_set_str(one, "collection", store_coll_by_no((store_coll_no)no)->name);
        biz_json_set_int(one, "read", t->read);
        biz_json_set_int(one, "copied", t->copied);
        biz_json_set_int(one, "there_already", t->there);
        biz_json_set_int(one, "left_out", t->left_out);
        biz_json_set_int(one, "target", t->target);
        biz_json_set_bool(one, "verified", t->verified);
        biz_json_add(list, one);
    }
    biz_json_set_bool(json, "dry_run", k->dry_run);
    biz_json_set_bool(json, "complete", complete);
    biz_json_set(json, "collections", list);
    biz_json_set(json, "left_out", transfer_list_json(k->c, &k->left_out, "collection", "id"));
    biz_json_set(json, "problems", transfer_list_json(k->c, &k->problems, "collection", "id"));
    return json;
}

static const char *number(copying *k, int64_t n)
{
    return apr_psprintf(k->c->pool, "%" APR_INT64_T_FMT, (apr_int64_t)n);
}

static void report_table(copying *k)
{
    static const char *const headings[] = {"COLLECTION",    "READ",     "COPIED",
                                           "THERE ALREADY", "LEFT OUT", "NOW IN TO"};
    cli_table *table = cli_table_new(k->c->pool, (int)STORE_COUNT_OF(headings), headings);

    for (int no = COLL_NONE + 1; no < COLL_END; no++) {
        const tally *t = &k->tallies[no];
        const char *cells[] = {store_coll_by_no((store_coll_no)no)->name,
                               number(k, t->read),
                               number(k, t->copied),
                               number(k, t->there),
                               number(k, t->left_out),
                               k->dry_run ? "" : number(k, t->target)};

        cli_table_row(table, k->c->pool, cells);
    }
    cli_table_flush(table);
}

static void report(copying *k, int complete)
{
    cli *c = k->c;

    if (c->quiet)
        return;
    if (c->json) {
        cli_print_json(c, report_json(k, complete));
        return;
    }
    if (k->dry_run)
        cli_say(c, "A dry run: nothing was changed. COPIED is what would be.");
    report_table(k);
    transfer_list_print(c, &k->left_out, "Left out");
    transfer_list_print(c, &k->problems, "Problems");
    if (complete && !k->dry_run)
        cli_say(c, "\nFROM and TO agree: %s compared.",
                cli_opt(c, "verify") != NULL ? "every document was" : "their numbers were");
}

/* ---- the command ---- */

static int is_same_file(const char *a, const char *b)
{
    struct stat one, other;

    return !strcmp(a, b) || (stat(a, &one) == 0 && stat(b, &other) == 0 &&
                             one.st_dev == other.st_dev && one.st_ino == other.st_ino);
}

static int parse_stores(copying *k)
{
    cli *c = k->c;
    const char *from, *to;
    int status = transfer_url(c, cli_arg(c, 0), &from);

    if (cli_opt(c, "store") != NULL)
        return cli_usage(c, "copy takes both stores as arguments, not by -s");
    if (status == CLI_OK)
        status = transfer_url(c, cli_arg(c, 1), &to);
    k->from = k->to = *c;
    if (status == CLI_OK)
        status = cli_store_at(&k->from, "FROM", from);
    if (status == CLI_OK)
        status = cli_store_at(&k->to, "TO", to);
    if (status != CLI_OK)
        return status;
    if (k->from.database != NULL && k->to.database != NULL
            ? is_same_file(k->from.database, k->to.database)
            : mongo_import_same(k->from.store_url, k->to.store_url))
        return cli_usage(c, "FROM and TO are one and the same store");
    return CLI_OK;
}

static int open_from(copying *k)
{
    int there, status = transfer_look(&k->from, &there);

    if (status == CLI_OK && !there && k->from.database == NULL)
        status = cli_fail(CLI_FAILED, "there is no store at %s",
                          store_url_shown(k->c->pool, k->from.store_url));
    return status == CLI_OK ? cli_open(&k->from, 0) : status;
}

/* Whatever is there is counted before anything is put beside it. */
static int open_to(copying *k)
{
    int there, status = transfer_look(&k->to, &there);
    int64_t n = 0, all = 0;
    apr_status_t rv = APR_SUCCESS;

    if (status != CLI_OK || (!there && k->dry_run))
        return status;
    status = cli_open(&k->to, 1);
    if (status != CLI_OK)
        return status;
    for (int no = COLL_NONE + 1; no < COLL_END && rv == APR_SUCCESS; no++) {
        rv = store_count(k->to.store, k->c->pool, (store_coll_no)no, &n);
        all += n;
    }
    if (rv != APR_SUCCESS)
        return cli_fail_store(&k->to, rv);
    if (all > 0 && cli_opt(k->c, "resume") == NULL)
        return cli_fail(CLI_CONFLICT,
                        "%s is not empty, it has %s; --resume goes on with an interrupted copy",
                        store_url_shown(k->c->pool, k->to.store_url),
                        transfer_number(k->c->pool, all, "document"));
    return CLI_OK;
}

int cmd_copy(cli *c)
{
    copying k = {.c = c, .now = apr_time_now()};
    int64_t first;
    int status = parse_stores(&k);
    apr_status_t rv;

    k.dry_run = cli_opt(c, "dry-run") != NULL;
    transfer_list_init(c, &k.left_out, left_out_reasons, cli_opt(c, "all") != NULL);
    transfer_list_init(c, &k.problems, problem_reasons, cli_opt(c, "all") != NULL);
    if (status == CLI_OK)
        status = open_from(&k);
    if (status != CLI_OK)
        return status;
    rv = store_count(k.from.store, c->pool, COLL_USERS, &first);
    if (rv != APR_SUCCESS)
        return cli_fail_store(&k.from, rv);
    status = open_to(&k);
    if (status != CLI_OK)
        return status;
    if (!c->quiet && !k.dry_run)
        fputs(
            "bizapictl: while this runs, nothing else may change the two stores: stop the server, "
            "or let it only read\n",
            stderr);
    status = run(&k);
    report(&k, status == CLI_OK && k.problems.total == 0);
    if (status == CLI_OK && k.problems.total > 0)
        return cli_fail(CLI_FAILED, "FROM and TO are not the same: %s",
                        transfer_number(c->pool, k.problems.total, "problem"));
    return status;
}
