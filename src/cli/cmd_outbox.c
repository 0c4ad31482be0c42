/* cmd_outbox.c: bizapictl outbox ...; see outbox/outbox.h. The sealed token of a row and its data
 * are never shown. */
#include "cli.h"

#include <stdio.h>
#include <string.h>
#include <apr_strings.h>

#include "core/str.h"
#include "core/valid.h"
#include "outbox/outbox.h"

enum { LIST_DEFAULT = 50, LIST_MAX = 1000, BATCH = 200 };

const cli_option opts_outbox_list[] = {
    {"state", 0, "STATE",
     "only queued, sent, delivered, bounced, unknown, skipped, dead, dropped or cancelled"},
    {"limit", 0, "N", "at most N messages, 1 to 1000 (50)"},
    {NULL, 0, NULL, NULL}};
const cli_option opts_outbox_retry[] = {{"all-dead", 0, NULL, "every message that was given up"},
                                        {NULL, 0, NULL, NULL}};

static int state_is_known(const char *state)
{
    static const char *const states[] = {"queued",  "sent", "delivered", "bounced",  "unknown",
                                         "skipped", "dead", "dropped",   "cancelled"};
    size_t i;

    for (i = 0; i < STORE_COUNT_OF(states); i++) {
        if (!strcmp(state, states[i]))
            return 1;
    }
    return 0;
}

static apr_status_t find_rows(cli *c, const char *state, int limit, apr_array_header_t **rows,
                              const char **cursor)
{
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, state)};
    store_query query = {.coll = COLL_OUTBOX,
                         .index = state != NULL ? "outbox_state_created" : NULL,
                         .conds = conds,
                         .n_conds = state != NULL ? 1 : 0,
                         .descending = 1,
                         .limit = limit,
                         .cursor = cursor != NULL ? *cursor : NULL};

    return store_find(c->store, c->pool, &query, rows, cursor);
}

static void print_rows(cli *c, const apr_array_header_t *rows)
{
    static const char *const headings[] = {"ID",    "STATE",   "CHANNEL", "KIND",      "RECIPIENT",
                                           "TRIES", "CREATED", "DUE",     "LAST ERROR"};
    cli_table *table = cli_table_new(c->pool, (int)STORE_COUNT_OF(headings), headings);
    int i;

    for (i = 0; i < rows->nelts; i++) {
        const store_doc *row = APR_ARRAY_IDX(rows, i, store_doc *);
        const char *state = store_str(row, OUTBOX_STATE), *to = store_str(row, OUTBOX_RECIPIENT);
        int queued = state != NULL && !strcmp(state, "queued");
        const char *cells[] = {
            store_doc_id(row),
            state,
            outbox_channel_of(row),
            store_str(row, OUTBOX_KIND),
            to != NULL ? to : store_str(row, OUTBOX_USER_ID),
            apr_psprintf(c->pool, "%" APR_INT64_T_FMT, (apr_int64_t)store_int(row, OUTBOX_TRIES)),
            cli_time(c->pool, store_time(row, STORE_CREATED_AT)),
            queued ? cli_time(c->pool, store_time(row, OUTBOX_DUE_AT)) : NULL,
            store_str(row, OUTBOX_LAST_ERROR)};

        cli_table_row(table, c->pool, cells);
    }
    cli_table_flush(table);
}

int cmd_outbox_list(cli *c)
{
    const char *state = cli_opt(c, "state"), *limit = cli_opt(c, "limit");
    apr_array_header_t *rows;
    biz_json *list;
    apr_status_t rv;
    int64_t n = LIST_DEFAULT;
    int i, status;

    if (state != NULL && !state_is_known(state))
        return cli_usage(c,
                         "\"%s\" is no state; there are queued, sent, delivered, bounced, unknown, "
                         "skipped, dead, dropped and cancelled",
                         cli_text(c->pool, state));
    if (limit != NULL && !biz_parse_int(limit, 1, LIST_MAX, &n))
        return cli_usage(c, "--limit must be a number from 1 to %d", LIST_MAX);
    status = cli_open(c, 0);
    if (status != CLI_OK)
        return status;
    rv = find_rows(c, state, (int)n, &rows, NULL);
    if (rv != APR_SUCCESS)
        return cli_fail_store(c, rv);
    if (!c->json) {
        print_rows(c, rows);
        if (rows->nelts == 0)
            cli_say(c, "no messages");
        return CLI_OK;
    }
    list = biz_json_array(c->pool);
    for (i = 0; i < rows->nelts; i++)
        biz_json_add(list, outbox_json(c->pool, APR_ARRAY_IDX(rows, i, store_doc *)));
    cli_print_json(c, list);
    return CLI_OK;
}

static void retried(cli *c, const apr_array_header_t *ids)
{
    biz_json *json = biz_json_object(c->pool), *list = biz_json_array(c->pool);
    int i;

    for (i = 0; i < ids->nelts; i++)
        biz_json_add_str(list, APR_ARRAY_IDX(ids, i, const char *));
    biz_json_set(json, "retried", list);
    if (c->json && !c->quiet)
        cli_print_json(c, json);
    if (ids->nelts == 1)
        cli_say(c, "%s is due again", APR_ARRAY_IDX(ids, 0, const char *));
    else
        cli_say(c, "%d messages are due again", ids->nelts);
}

static int retry_one(cli *c, const char *id)
{
    apr_array_header_t *ids = apr_array_make(c->pool, 1, sizeof(const char *));
    apr_status_t rv = outbox_retry(c->store, c->pool, id);

    if (rv == STORE_ENOENT)
        return cli_fail(CLI_MISSING, "there is no message %s", id);
    if (rv == STORE_ECOND)
        return cli_fail(CLI_CONFLICT, "%s has been sent, or is being sent just now", id);
    if (rv != APR_SUCCESS)
        return cli_fail_store(c, rv);
    APR_ARRAY_PUSH(ids, const char *) = id;
    retried(c, ids);
    return CLI_OK;
}

/* All are found before any is changed: a row that dies again meanwhile is not taken twice. */
static int retry_all_dead(cli *c)
{
    apr_array_header_t *ids = apr_array_make(c->pool, BATCH, sizeof(const char *));
    apr_array_header_t *done = apr_array_make(c->pool, BATCH, sizeof(const char *)), *rows;
    const char *cursor = NULL;
    apr_status_t rv;
    int i;

    do {
        rv = find_rows(c, "dead", BATCH, &rows, &cursor);
        if (rv != APR_SUCCESS)
            return cli_fail_store(c, rv);
        for (i = 0; i < rows->nelts; i++)
            APR_ARRAY_PUSH(ids, const char *) = store_doc_id(APR_ARRAY_IDX(rows, i, store_doc *));
    } while (cursor != NULL);
    for (i = 0; i < ids->nelts; i++) {
        rv = outbox_retry(c->store, c->pool, APR_ARRAY_IDX(ids, i, const char *));
        if (rv == APR_SUCCESS)
            APR_ARRAY_PUSH(done, const char *) = APR_ARRAY_IDX(ids, i, const char *);
        else if (rv != STORE_ENOENT && rv != STORE_ECOND)
            break; /* somebody else was faster: nothing to do */
        else
            rv = APR_SUCCESS;
    }
    if (rv == APR_SUCCESS || done->nelts > 0)
        retried(c, done);
    return rv == APR_SUCCESS ? CLI_OK : cli_fail_store(c, rv);
}

int cmd_outbox_retry(cli *c)
{
    int all = cli_opt(c, "all-dead") != NULL, status;
    const char *id = c->args->nelts > 0 ? cli_arg(c, 0) : NULL;

    if (all == (id != NULL))
        return cli_usage(c, "give either the id of a message or --all-dead");
    if (id != NULL && !biz_valid_id(id, "obx"))
        return cli_usage(c, "\"%s\" is not the id of a message", cli_text(c->pool, id));
    status = cli_open(c, 0);
    if (status != CLI_OK)
        return status;
    return all ? retry_all_dead(c) : retry_one(c, id);
}
