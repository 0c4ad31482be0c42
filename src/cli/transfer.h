/* transfer.h: what import and copy share: URLs as arguments, patience, the bar, and the list of
 * what was not brought. */
#ifndef BIZ_CLI_TRANSFER_H
#define BIZ_CLI_TRANSFER_H

#include "cli.h"

/* ---- arguments ---- */

/* The argument itself, or, for env:NAME, what the environment has under NAME. */
int transfer_url(cli *c, const char *arg, const char **url);

/* ---- is it ours? ---- */

/* Before c->store is opened, which makes what is missing. CLI_OK with *there 1 where there is a
 * store at c->store_url, 0 where there is nothing; CLI_FAILED where the database is another
 * program's, or cannot be reached. */
int transfer_look(cli *c, int *there);

/* ---- patience ---- */

/* 1, after a pause, where the store was away for less than half a minute: try again. *since is 0
 * before the first try; each success sets it to 0 again. */
int transfer_again(apr_status_t rv, apr_time_t *since);

/* ---- the bar ---- */

/* On stderr, where that is a terminal and --quiet was not given; else nothing is shown. */
typedef struct {
    int on, drawn;
    const char *what;
    int64_t done, total;
    apr_time_t began, drawn_at;
} transfer_bar;

void transfer_bar_start(const cli *c, transfer_bar *bar, const char *what, int64_t total);
void transfer_bar_step(transfer_bar *bar);
void transfer_bar_end(transfer_bar *bar); /* wipes it */

/* ---- what was not brought ---- */

typedef struct {
    const char *code; /* in JSON; NULL ends */
    const char *text; /* English for it */
} transfer_reason;

typedef struct {
    apr_pool_t *pool;
    const transfer_reason *reasons;
    int64_t counts[16]; /* by reason */
    int64_t total;
    int lines_max;
    apr_array_header_t *lines;
} transfer_list;

/* `all`: every one is kept, else the first 20. */
void transfer_list_init(cli *c, transfer_list *list, const transfer_reason *reasons, int all);
/* `group` may be NULL; both texts are copied. */
void transfer_list_add(transfer_list *list, int reason, const char *group, const char *who);
/* "N  text" a reason, then one by one. */
void transfer_list_print(cli *c, const transfer_list *list, const char *heading);
/* {"total": N, "reasons": {code: N}, "listed": [{"group", "who", "reason"}]}. `group` and `who`
 * name the members; `group` may be NULL. */
biz_json *transfer_list_json(cli *c, const transfer_list *list, const char *group, const char *who);

/* "1 user", "2 users". */
const char *transfer_number(apr_pool_t *pool, int64_t n, const char *one);

#endif
