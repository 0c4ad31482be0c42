/* cli.h: what the commands of bizapictl share. main() and the table of commands are in
 * bizapictl.c; one cmd_*.c a group of commands; ask.c talks to the terminal; print.c writes. */
#ifndef BIZ_CLI_H
#define BIZ_CLI_H

#include <apr_pools.h>
#include <apr_tables.h>
#include "audit/audit.h"
#include "auth/act.h"
#include "core/json.h"
#include "store/store.h"

#ifndef BIZ_DEFAULT_STATE_DIR
#define BIZ_DEFAULT_STATE_DIR "/var/lib/apache2/bizapi"
#endif
#ifndef BIZ_VERSION
#define BIZ_VERSION "1.0.0"
#endif

/* Exit statuses, promised by --help. */
enum { CLI_OK, CLI_FAILED, CLI_USAGE, CLI_MISSING, CLI_CONFLICT };

typedef struct {
    const char *name; /* without "--"; NULL ends the list */
    char letter;      /* or 0 */
    const char *arg;  /* "NAME" in the help; NULL: takes no value */
    const char *help;
} cli_option;

typedef struct cli {
    apr_pool_t *pool;
    const struct cli_command *command;
    apr_table_t *options;     /* of the command and the global ones, by name; "" for those without a
                                 value; the last one given counts */
    apr_array_header_t *args; /* const char *: what is neither command nor option */
    int json, quiet;
    const char *store_url; /* sqlite:/absolute/path or mongodb://... */
    const char *database;  /* the SQLite file, or NULL */
    const char *state_dir; /* absolute */
    store *store;          /* after cli_open() */
} cli;

typedef struct cli_command {
    const char *name; /* one or two words; NULL ends the table */
    const char *args; /* for the help, or NULL */
    const char *summary;
    int (*run)(cli *c); /* an exit status */
    int min_args, max_args;
    const cli_option *options; /* or NULL */
    const char *help;          /* more lines, or NULL */
} cli_command;

#define cli_arg(c, i) APR_ARRAY_IDX((c)->args, (i), const char *)
#define cli_opt(c, name) apr_table_get((c)->options, (name))

/* ---- the store: bizapictl.c ---- */

/* Sets c->store_url and c->database; `what` names the url in a complaint. CLI_OK or CLI_USAGE. */
int cli_store_at(cli *c, const char *what, const char *url);
/* Opens c->store as the server would, files made by root being given to the database's owner.
 * Without `make` a SQLite file must be there. CLI_OK or an exit status; the reason was printed. */
int cli_open(cli *c, int make);
/* Owner of the database, or of its folder where there is none yet. 0 or -1. */
int cli_owner(const cli *c, uid_t *uid, gid_t *gid);

/* ---- print.c ---- */

/* One line on stderr. Each gives its exit status back. */
int cli_fail(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* CLI_USAGE, with a hint at the help. */
int cli_usage(const cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* For a store's answer that is not APR_SUCCESS. */
int cli_fail_store(cli *c, apr_status_t status);

/* A line on stdout, unless --quiet or --json. */
void cli_say(const cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_print_json(const cli *c, const biz_json *value);
/* Text of other people as it may be shown on a terminal: control characters as \xNN or \u{NNNN};
 * "-" for NULL and "". */
const char *cli_text(apr_pool_t *pool, const char *text);
const char *cli_time(apr_pool_t *pool, apr_time_t t); /* "-" for 0 */

/* Rows under headings, in aligned columns. */
typedef struct cli_table cli_table;
cli_table *cli_table_new(apr_pool_t *pool, int columns, const char *const *headings);
/* `columns` texts, which pass cli_text(); they need to live until the next flush. */
void cli_table_row(cli_table *table, apr_pool_t *pool, const char *const *cells);
/* Prints what was added since; columns only ever grow. */
void cli_table_flush(cli_table *table);

/* ---- cmd_audit.c ---- */

/* One row of the audit log, done by the operator; `details` may be NULL and gets who runs us.
 * Called after the act, with the store open. CLI_OK or an exit status; the reason was printed. */
int cli_audit(cli *c, const char *event, const char *user_id, biz_json *details);
/* The operator, about that user, for a change that tells of itself; and its details, with who runs
 * us. */
act_by cli_act_by(cli *c, const char *user_id);
const char *cli_act_details(cli *c, biz_json *details);

/* ---- ask.c ---- */

/* 1 where there is a terminal to ask on. */
int cli_can_ask(void);
/* One line from the terminal. CLI_OK, or an exit status; the reason was printed. */
int cli_ask(cli *c, const char *prompt, const char **answer);
/* A new password, from stdin with --password-stdin, else asked for twice without echo; judged, and
 * hashed. email and name make it weak where it is like them. */
int cli_new_password(cli *c, const char *email, const char *name, const char **hash);

/* ---- the commands ---- */

int cmd_check(cli *c);
int cmd_migrate(cli *c);
int cmd_user_add(cli *c);
int cmd_user_list(cli *c);
int cmd_user_show(cli *c);
int cmd_user_disable(cli *c);
int cmd_user_enable(cli *c);
int cmd_user_set_password(cli *c);
int cmd_user_set_role(cli *c);
int cmd_user_unlock(cli *c);
int cmd_user_reset_mfa(cli *c);
int cmd_import_mongo(cli *c);
int cmd_import_csv(cli *c);
int cmd_import_htpasswd(cli *c);
int cmd_copy(cli *c);
int cmd_outbox_list(cli *c);
int cmd_outbox_retry(cli *c);
int cmd_mail_lint(cli *c);
int cmd_mail_preview(cli *c);
int cmd_audit_verify(cli *c);
int cmd_audit_export(cli *c);
int cmd_integrations_test(cli *c);
int cmd_keys_list(cli *c);
int cmd_keys_rotate(cli *c);

extern const cli_option opts_audit_verify[], opts_audit_export[], opts_import_csv[],
    opts_import_htpasswd[], opts_user_add[], opts_user_list[], opts_user_set_password[],
    opts_import[], opts_copy[], opts_outbox_list[], opts_outbox_retry[], opts_integrations_test[],
    opts_mail_lint[], opts_mail_preview[];

#endif
