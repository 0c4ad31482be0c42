/* transfer.c: see transfer.h. Called by cmd_import.c and cmd_copy.c; opens no store. */
#include "transfer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <apr_strings.h>

#include "store/mongo_import.h"

enum { PATIENCE_S = 30, PAUSE_MS = 500, LINES = 20, BAR_MAX = 40, DRAW_MS = 100 };

typedef struct {
    const char *group, *who;
    int reason;
} line;

int transfer_url(cli *c, const char *arg, const char **url)
{
    if (strncmp(arg, "env:", 4) != 0) {
        *url = arg;
        return CLI_OK;
    }
    *url = getenv(arg + 4);
    if (*url == NULL || **url == '\0')
        return cli_usage(c, "the environment has no %s", cli_text(c->pool, arg + 4));
    return CLI_OK;
}

int transfer_look(cli *c, int *there)
{
    const char *why, *shown = store_url_shown(c->pool, c->store_url);
    mongo_import_look look;
    struct stat st;

    if (c->database != NULL) {
        *there = stat(c->database, &st) == 0 || errno != ENOENT;
        return CLI_OK;
    }
    *there = 0;
    if (mongo_import_peek(c->store_url, c->pool, &look, &why) != APR_SUCCESS)
        return cli_fail(CLI_FAILED, "%s: %s", shown, cli_text(c->pool, why));
    *there = look.store;
    if (!look.store && look.filled)
        return cli_fail(CLI_FAILED,
                        "%s: this database has collections of another program under the names of "
                        "ours; name another database",
                        shown);
    return CLI_OK;
}

int transfer_again(apr_status_t rv, apr_time_t *since)
{
    apr_time_t now = apr_time_now();

    if (rv != STORE_EUNAVAIL) {
        *since = 0;
        return 0;
    }
    if (*since == 0)
        *since = now;
    if (now - *since > apr_time_from_sec(PATIENCE_S))
        return 0;
    apr_sleep(apr_time_from_msec(PAUSE_MS));
    return 1;
}

/* ---- the bar ---- */

static int columns(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void draw(transfer_bar *bar)
{
    apr_time_t now = apr_time_now();
    int64_t total = bar->total > bar->done ? bar->total : bar->done;
    int percent = total > 0 ? (int)((double)bar->done * 100.0 / (double)total) : 100;
    int width = columns() - 60, full;
    long left = 0;

    if (bar->done > 0)
        left = (long)((double)(now - bar->began) / (double)bar->done * (double)(total - bar->done) /
                      (double)APR_USEC_PER_SEC);
    width = width > BAR_MAX ? BAR_MAX : width;
    full = width > 0 ? width * percent / 100 : 0;
    fprintf(stderr, "\r%-10s ", bar->what);
    if (width > 3) {
        fputc('[', stderr);
        for (int i = 0; i < width; i++)
            fputc(i < full ? '#' : '.', stderr);
        fputs("] ", stderr);
    }
    fprintf(stderr, "%3d%% %" APR_INT64_T_FMT "/%" APR_INT64_T_FMT ", %ld:%02ld left\033[K",
            percent, (apr_int64_t)bar->done, (apr_int64_t)total, left / 60, left % 60);
    fflush(stderr);
    bar->drawn = 1;
    bar->drawn_at = now;
}

void transfer_bar_start(const cli *c, transfer_bar *bar, const char *what, int64_t total)
{
    *bar = (transfer_bar){.what = what, .total = total, .began = apr_time_now()};
    bar->on = !c->quiet && isatty(STDERR_FILENO);
    if (bar->on)
        draw(bar);
}

void transfer_bar_step(transfer_bar *bar)
{
    bar->done++;
    if (bar->on && apr_time_now() - bar->drawn_at >= apr_time_from_msec(DRAW_MS))
        draw(bar);
}

void transfer_bar_end(transfer_bar *bar)
{
    if (bar->drawn)
        fputs("\r\033[K", stderr);
    bar->on = bar->drawn = 0;
}

/* ---- what was not brought ---- */

void transfer_list_init(cli *c, transfer_list *list, const transfer_reason *reasons, int all)
{
    *list =
        (transfer_list){.pool = c->pool, .reasons = reasons, .lines_max = all ? INT32_MAX : LINES};
    list->lines = apr_array_make(c->pool, LINES, sizeof(line));
}

void transfer_list_add(transfer_list *list, int reason, const char *group, const char *who)
{
    list->counts[reason]++;
    list->total++;
    if (list->lines->nelts < list->lines_max)
        APR_ARRAY_PUSH(list->lines, line) =
            (line){apr_pstrdup(list->pool, group), apr_pstrdup(list->pool, who), reason};
}

void transfer_list_print(cli *c, const transfer_list *list, const char *heading)
{
    if (list->total == 0)
        return;
    printf("\n%s:\n", heading);
    for (int i = 0; list->reasons[i].code != NULL; i++) {
        if (list->counts[i] > 0)
            printf("  %8" APR_INT64_T_FMT "  %s\n", (apr_int64_t)list->counts[i],
                   list->reasons[i].text);
    }
    for (int i = 0; i < list->lines->nelts; i++) {
        const line *l = &APR_ARRAY_IDX(list->lines, i, line);

        printf("  %s%s%s: %s\n", l->group != NULL ? l->group : "", l->group != NULL ? " " : "",
               cli_text(c->pool, l->who), list->reasons[l->reason].text);
    }
    if (list->lines->nelts < list->total)
        printf("  ... and %" APR_INT64_T_FMT " more; --all shows them\n",
               (apr_int64_t)(list->total - list->lines->nelts));
}

biz_json *transfer_list_json(cli *c, const transfer_list *list, const char *group, const char *who)
{
    biz_json *json = biz_json_object(c->pool), *reasons = biz_json_object(c->pool);
    biz_json *listed = biz_json_array(c->pool);

    for (int i = 0; list->reasons[i].code != NULL; i++) {
        if (list->counts[i] > 0)
            biz_json_set_int(reasons, list->reasons[i].code, list->counts[i]);
    }
    for (int i = 0; i < list->lines->nelts; i++) {
        const line *l = &APR_ARRAY_IDX(list->lines, i, line);
        biz_json *one = biz_json_object(c->pool);

        if (group != NULL)
            biz_json_set_str(one, group, l->group);
        biz_json_set_str(one, who, l->who);
        biz_json_set_str(one, "reason", list->reasons[l->reason].code);
        biz_json_add(listed, one);
    }
    biz_json_set_int(json, "total", list->total);
    biz_json_set(json, "reasons", reasons);
    biz_json_set(json, "listed", listed);
    return json;
}

const char *transfer_number(apr_pool_t *pool, int64_t n, const char *one)
{
    return apr_psprintf(pool, "%" APR_INT64_T_FMT " %s%s", (apr_int64_t)n, one, n == 1 ? "" : "s");
}
