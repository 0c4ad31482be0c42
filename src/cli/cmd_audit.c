/* cmd_audit.c: bizapictl audit ..., and how the other commands leave their trace in the audit log;
 * see audit/audit.h. */
#include "cli.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <apr_strings.h>

#include "auth/keys.h"
#include "core/csv.h"
#include "core/str.h"
#include "core/time.h"
#include "core/valid.h"

enum { PAGE = 500 };

const cli_option opts_audit_verify[] = {
    {"expect", 0, "N:MAC", "row N must be the one with this mac: from an earlier run"},
    {NULL, 0, NULL, NULL}};
const cli_option opts_audit_export[] = {
    {"format", 0, "FORMAT", "jsonl (one JSON object a line; without this option) or csv"},
    {"from", 0, "TIME", "from this instant on, such as 2026-10-25T08:00:00Z"},
    {"to", 0, "TIME", "before this instant"},
    {"event", 0, "NAME", "only this event, such as authn_login_fail"},
    {"user", 0, "ID", "only about this user"},
    {NULL, 0, NULL, NULL}};

static int audit_key(cli *c, unsigned char key[BIZ_KEY_LEN])
{
    const char *why = "";
    apr_status_t rv = biz_keys_audit(c->pool, c->state_dir, key, &why);

    return rv == APR_SUCCESS
               ? CLI_OK
               : cli_fail(CLI_FAILED, "the key of the audit log cannot be read: %s", why);
}

/* ---- what the other commands do ---- */

static const char *who_runs_us(apr_pool_t *pool, biz_json *details)
{
    const struct passwd *user = getpwuid(getuid());
    const char *login = getlogin(); /* of the terminal: who became root */

    if (details == NULL)
        details = biz_json_object(pool);
    biz_json_set_str(details, "os_user",
                     user != NULL ? user->pw_name : apr_ltoa(pool, (long)getuid()));
    if (login != NULL)
        biz_json_set_str(details, "login", login);
    return biz_json_text(pool, details, NULL);
}

/* NULL, said aloud, where the key cannot be read. Who has the store needs no permission of ours:
 * refusing would only keep the operator of another machine from helping. */
static biz_audit *open_audit(cli *c, const char *what)
{
    static unsigned char key[BIZ_KEY_LEN];
    const char *why = "";
    apr_status_t rv = biz_keys_audit(c->pool, c->state_dir, key, &why);

    if (rv == APR_SUCCESS)
        return audit_open(c->pool, c->store, key);
    fprintf(stderr,
            "bizapictl: %s the audit log, whose key cannot be read (%s); --state-dir names its "
            "folder\n",
            what, why);
    return NULL;
}

act_by cli_act_by(cli *c, const char *user_id)
{
    return (act_by){.store = c->store,
                    .pool = c->pool,
                    .audit = open_audit(c, "the server, as soon as it runs, writes this to"),
                    .user_id = user_id,
                    .actor_id = AUDIT_OPERATOR,
                    .at = apr_time_now()};
}

const char *cli_act_details(cli *c, biz_json *details)
{
    return who_runs_us(c->pool, details);
}

int cli_audit(cli *c, const char *event, const char *user_id, biz_json *details)
{
    audit_event e = {.name = event,
                     .user_id = user_id,
                     .actor_id = AUDIT_OPERATOR,
                     .details = who_runs_us(c->pool, details),
                     .at = apr_time_now()};
    biz_audit *audit = open_audit(c, "this is not written to");
    apr_status_t rv = audit != NULL ? audit_append(audit, c->pool, &e) : APR_SUCCESS;

    return rv == APR_SUCCESS ? CLI_OK
                             : cli_fail(CLI_FAILED, "the audit log did not take this: %s",
                                        store_strerror(c->pool, rv));
}

/* ---- audit verify ---- */

static int parse_expected(cli *c, int64_t *seq, const char **mac)
{
    const char *expected = cli_opt(c, "expect"), *colon;

    *seq = 0;
    *mac = NULL;
    if (expected == NULL)
        return CLI_OK;
    colon = strchr(expected, ':');
    if (colon == NULL ||
        !biz_parse_int(apr_pstrmemdup(c->pool, expected, (size_t)(colon - expected)), 1, INT64_MAX,
                       seq) ||
        strlen(colon + 1) != (size_t)2 * BIZ_SHA256_LEN)
        return cli_usage(c, "--expect must be as \"audit verify\" printed it, NUMBER:MAC");
    *mac = colon + 1;
    return CLI_OK;
}

int cmd_audit_verify(cli *c)
{
    unsigned char key[BIZ_KEY_LEN];
    biz_json *json = biz_json_object(c->pool);
    const char *mac, *end;
    audit_report report;
    apr_status_t rv;
    int64_t seq;
    int status = parse_expected(c, &seq, &mac);

    if (status == CLI_OK)
        status = cli_open(c, 0);
    if (status == CLI_OK)
        status = audit_key(c, key);
    if (status != CLI_OK)
        return status;
    rv = audit_verify(c->store, c->pool, key, seq, mac, &report);
    biz_wipe(key, sizeof(key));
    if (rv != APR_SUCCESS)
        return cli_fail_store(c, rv);
    end = report.last > 0 ? apr_psprintf(c->pool, "%" APR_INT64_T_FMT ":%s",
                                         (apr_int64_t)report.last, report.mac)
                          : NULL;
    biz_json_set_bool(json, "whole", report.wrong == NULL);
    biz_json_set_str(json, "wrong", report.wrong);
    biz_json_set_int(json, "rows", report.rows);
    biz_json_set_int(json, "first", report.first);
    biz_json_set_int(json, "last", report.last);
    biz_json_set_str(json, "end", end);
    if (c->json)
        cli_print_json(c, json);
    if (report.wrong != NULL)
        return cli_fail(CLI_FAILED, "the audit log is not whole: %s", report.wrong);
    cli_say(c, "whole: %" APR_INT64_T_FMT " rows%s%s", (apr_int64_t)report.rows,
            end != NULL ? ", the last is " : "", end != NULL ? end : "");
    return CLI_OK;
}

/* ---- audit export ---- */

typedef struct {
    store_query query;
    store_cond conds[4];
    int csv;
} export_plan;

static int parse_time(cli *c, const char *option, apr_time_t *t)
{
    const char *text = cli_opt(c, option);

    *t = 0;
    if (text == NULL || biz_time_parse(text, t))
        return CLI_OK;
    return cli_usage(c, "--%s must be an instant such as 2026-10-25T08:00:00Z", option);
}

static int plan_export(cli *c, export_plan *plan)
{
    const char *format = cli_opt(c, "format"), *event = cli_opt(c, "event"),
               *user = cli_opt(c, "user");
    apr_time_t from, to;
    size_t n = 0;

    memset(plan, 0, sizeof(*plan));
    plan->csv = format != NULL && !strcmp(format, "csv");
    if (format != NULL && !plan->csv && strcmp(format, "jsonl") != 0)
        return cli_usage(c, "--format must be jsonl or csv");
    if (user != NULL && !biz_valid_id(user, "usr"))
        return cli_usage(c, "--user must be the id of a user");
    if (parse_time(c, "from", &from) != CLI_OK || parse_time(c, "to", &to) != CLI_OK)
        return CLI_USAGE;
    if (user != NULL)
        plan->conds[n++] = (store_cond)STORE_EQ_STR(AUDIT_USER_ID, user);
    if (event != NULL)
        plan->conds[n++] = (store_cond)STORE_EQ_STR(AUDIT_EVENT, event);
    if (from != 0)
        plan->conds[n++] = (store_cond)STORE_GE_TIME(AUDIT_AT, from);
    if (to != 0)
        plan->conds[n++] = (store_cond)STORE_LT_TIME(AUDIT_AT, to);
    plan->query = (store_query){.coll = COLL_AUDIT,
                                .index = user != NULL           ? "audit_user"
                                         : event != NULL        ? "audit_event"
                                         : from != 0 || to != 0 ? "audit_at"
                                                                : "audit_seq",
                                .conds = plan->conds,
                                .n_conds = n,
                                .limit = PAGE};
    return CLI_OK;
}

/* Everything that the mac is made of, so that it can be checked from the export too. */
static biz_json *export_json(apr_pool_t *pool, const store_doc *row)
{
    biz_json *json = audit_json(pool, row);

    biz_json_set_int(json, "at_ms", apr_time_as_msec(store_time(row, AUDIT_AT)));
    biz_json_set_str(json, "mac", store_str(row, AUDIT_MAC));
    return json;
}

static void print_csv(apr_pool_t *pool, biz_json *json, int heading)
{
    void *iter = NULL;
    biz_json *value;
    const char *name, *text, *comma = "";

    while ((name = biz_json_next(json, &iter, &value)) != NULL) {
        text = heading                                   ? name
               : biz_json_kind(value) == BIZ_JSON_NULL   ? NULL
               : biz_json_kind(value) == BIZ_JSON_STRING ? biz_json_str_value(value)
                                                         : biz_json_text(pool, value, NULL);
        printf("%s%s", comma, biz_csv_cell(pool, text));
        comma = ",";
    }
    fputs("\r\n", stdout);
}

static apr_status_t export_rows(cli *c, export_plan *plan, apr_pool_t *page)
{
    apr_array_header_t *rows;
    char *cursor = NULL;
    const char *next;
    apr_status_t rv;
    int i, first = 1;

    do {
        plan->query.cursor = cursor;
        rv = store_find(c->store, page, &plan->query, &rows, &next);
        free(cursor);
        cursor = rv == APR_SUCCESS && next != NULL ? strdup(next) : NULL;
        for (i = 0; rv == APR_SUCCESS && i < rows->nelts; i++) {
            biz_json *json = export_json(page, APR_ARRAY_IDX(rows, i, store_doc *));

            if (plan->csv && first)
                print_csv(page, json, 1);
            if (plan->csv)
                print_csv(page, json, 0);
            else
                puts(biz_json_text(page, json, NULL));
            first = 0;
        }
        apr_pool_clear(page);
    } while (cursor != NULL);
    return rv;
}

int cmd_audit_export(cli *c)
{
    export_plan plan;
    apr_pool_t *page;
    apr_status_t rv;
    int status = plan_export(c, &plan);

    if (status == CLI_OK)
        status = cli_open(c, 0);
    if (status == CLI_OK)
        status = cli_audit(c, "sensitive_read", NULL, NULL);
    if (status != CLI_OK)
        return status;
    apr_pool_create(&page, c->pool);
    rv = export_rows(c, &plan, page);
    apr_pool_destroy(page);
    if (rv != APR_SUCCESS)
        return cli_fail_store(c, rv);
    return fflush(stdout) == 0 && !ferror(stdout)
               ? CLI_OK
               : cli_fail(CLI_FAILED, "the export could not be written");
}
