/* bizapictl.c: the command-line tool of mod_bizapi, for the operator of the server. Start at the
 * table of commands. Works on the store and the keys directly, beside the running server or without
 * one, by the same library that the module uses; never talks to Apache. */
#include "cli.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <apr_file_info.h>
#include <apr_general.h>
#include <apr_strings.h>

#include "core/json.h"
#include "core/log.h"

/* ---- the commands ---- */

static int cmd_help(cli *c);

static const cli_command commands[] = {
    {"check", NULL, "Look at the store, its files, the disk and the keys", cmd_check, 0, 0, NULL,
     "Changes no data. One line a finding: ok, WARN or FAIL. Exit status 1 where there is a FAIL.\n"
     "May run beside the server; reading all of a large database takes a while."},
    {"migrate", NULL, "Make the database, its tables and indexes as this version needs them",
     cmd_migrate, 0, 0, NULL,
     "The server does the same by itself when it first uses the store. Nothing is ever removed."},
    {"user add", "EMAIL", "Make a user; without --role a customer", cmd_user_add, 1, 1,
     opts_user_add,
     "Asks for the name and the password on the terminal where the options do not give them. The\n"
     "e-mail address counts as confirmed. The first admin of a new server:\n"
     "  bizapictl user add ada@example.com --role admin --name \"Ada Lovelace\""},
    {"user list", NULL, "List the users, oldest first", cmd_user_list, 0, 0, opts_user_list, NULL},
    {"user show", "EMAIL|ID", "Show one user", cmd_user_show, 1, 1, NULL, NULL},
    {"user disable", "EMAIL|ID", "Lock a user out and end every session", cmd_user_disable, 1, 1,
     NULL, "Takes effect with the user's next request."},
    {"user enable", "EMAIL|ID", "Let a disabled user sign in again", cmd_user_enable, 1, 1, NULL,
     NULL},
    {"user set-password", "EMAIL|ID", "Set a new password and end every session",
     cmd_user_set_password, 1, 1, opts_user_set_password,
     "Asks for the password on the terminal, twice and without showing it."},
    {"user set-role", "EMAIL|ID ROLE", "Make a user customer, staff or admin and end every session",
     cmd_user_set_role, 2, 2, NULL, NULL},
    {"user unlock", "EMAIL|ID|ADDRESS",
     "Forget the wrong passwords and codes of a user or an address", cmd_user_unlock, 1, 1, NULL,
     "Who was wrong too often has to wait, an hour at most. ADDRESS is a client's, such as\n"
     "192.0.2.7; of an IPv6 address its first 64 bits count."},
    {"user reset-mfa", "EMAIL|ID", "Remove a user's authenticator app, passkeys and recovery codes",
     cmd_user_reset_mfa, 1, 1, NULL,
     "For who has lost all of them; make sure that it is them. Every session ends, and the "
     "password\n"
     "alone signs in until a new factor is set up."},
    {"import mongo", "URI", "Bring the users of another program's MongoDB, with their passwords",
     cmd_import_mongo, 1, 1, opts_import,
     "Reads the collection `users` of mongodb://HOST/DATABASE, changes nothing there, and makes a\n"
     "user here of each document that has an e-mail address and a password hash of bcrypt or\n"
     "argon2id. Those who are here already stay as they are: run it again after an interruption,\n"
     "or to bring those who came since. All become customers; see --roles. Fields may lie deeper:\n"
     "profile.email. env:NAME in place of the URI takes it from the environment."},
    {"import csv", "FILE", "Bring the users of a CSV file, with their passwords", cmd_import_csv, 1,
     1, opts_import_csv,
     "A file of UTF-8 whose first line names the columns. What is brought and what is not is as "
     "with\n"
     "import mongo: a hash of bcrypt or argon2id, or --without-password."},
    {"import htpasswd", "FILE", "Bring the users of an htpasswd file, with their passwords",
     cmd_import_htpasswd, 1, 1, opts_import_htpasswd,
     "Hashes of bcrypt (htpasswd -B) come over. Those of MD5, SHA-1 and crypt do not: with\n"
     "--without-password their users come and set a new one by \"forgotten password\"."},
    {"copy", "FROM TO", "Copy everything from one store into another, empty one", cmd_copy, 2, 2,
     opts_copy,
     "FROM and TO are stores, as STORE is. Stop the server, or let nobody change anything,\n"
     "meanwhile. Afterwards both are compared. What was interrupted goes on with --resume. "
     "env:NAME\n"
     "takes a store from the environment. The keys' folder is not part of it: copy it too."},
    {"outbox list", NULL, "List messages to be sent and sent ones, newest first", cmd_outbox_list,
     0, 0, opts_outbox_list,
     "States: queued (waits, or is being sent), sent, delivered and bounced (as its provider\n"
     "reported), unknown (handed over, the answer was lost), skipped (its channel is not\n"
     "configured), dead (given up), dropped (there was nothing to send), cancelled."},
    {"outbox retry", "[ID]", "Send messages again that were given up or skipped", cmd_outbox_retry,
     0, 1, opts_outbox_retry, "The server sends them within some seconds."},
    {"mail lint", NULL, "Check the templates and texts of the mails", cmd_mail_lint, 0, 0,
     opts_mail_lint,
     "Names the file, the line and what is wrong, with exit status 1. The server checks the same "
     "at\n\"apachectl configtest\" and takes what is changed at \"apachectl graceful\"."},
    {"mail preview", "[NAME]", "Show a mail with invented data, or list the mails",
     cmd_mail_preview, 0, 1, opts_mail_preview,
     "Without NAME, and with --json, every mail in every language and scenario, one a line."},
    {"audit verify", NULL, "Read the audit log and tell whether it is whole and unchanged",
     cmd_audit_verify, 0, 0, opts_audit_verify,
     "Finds rows that were removed, changed, moved or cut off, also beside the running server. "
     "Keep\n"
     "what it prints of the last row elsewhere and give it to a later run by --expect: that finds "
     "a\n"
     "log that was put back as a whole. Needs the keys' folder."},
    {"audit export", NULL, "Write the audit log to stdout, oldest first", cmd_audit_export, 0, 0,
     opts_audit_export, "The export is itself an event of the log."},
    {"integrations test", "[NAME]", "Ask the services of others, or one of them, whether they work",
     cmd_integrations_test, 0, 1, opts_integrations_test,
     "One harmless question to each service that has its variables; nothing is sent, charged or\n"
     "changed. Secrets and addresses are those of the environment, and of --conf. On Debian:\n"
     "  sudo sh -c '. /etc/apache2/envvars; bizapictl integrations test --conf "
     "/etc/apache2/mods-enabled/bizapi.conf'\n"
     "Exit status 1 where one of them does not work."},
    {"keys list", NULL, "List the keys that sign access tokens, newest first (also: keys)",
     cmd_keys_list, 0, 0, NULL,
     "signs: the one in use. next: signs from the next \"apachectl graceful\" on. accepted: "
     "tokens\n"
     "signed with it are still valid. ended: not used any more."},
    {"keys rotate", NULL, "Make a new signing key", cmd_keys_rotate, 0, 0, NULL,
     "Takes effect with the next \"apachectl graceful\"; nobody is signed out. With several "
     "machines\n"
     "copy the folder to all of them first, then reload all."},
    {"keys", NULL, NULL, cmd_keys_list, 0, 0, NULL, NULL},
    {"help", "[COMMAND]", "Show this text, or more about a command", cmd_help, 0, 2, NULL, NULL},
    {NULL, NULL, NULL, NULL, 0, 0, NULL, NULL}};

static const cli_option global_options[] = {
    {"store", 's', "STORE", "sqlite:PATH or mongodb://...; as BizApiStore has it"},
    {"state-dir", 0, "DIR", "where the keys are; as BizApiStateDir has it"},
    {"json", 0, NULL, "Answer in JSON"},
    {"quiet", 'q', NULL, "Say nothing where all went well"},
    {"help", 'h', NULL, "Show help and do nothing"},
    {"version", 'V', NULL, "Show the version and do nothing"},
    {NULL, 0, NULL, NULL}};

/* ---- help ---- */

static const cli_command *command_named(const char *name)
{
    const cli_command *command;

    for (command = commands; command->name != NULL; command++) {
        if (!strcmp(command->name, name))
            return command;
    }
    return NULL;
}

/* The next command of the group "user", or NULL. */
static const cli_command *group_next(const char *group, const cli_command *after)
{
    const cli_command *command = after != NULL ? after + 1 : commands;
    size_t len = strlen(group);

    for (; command->name != NULL; command++) {
        if (!strncmp(command->name, group, len) && command->name[len] == ' ')
            return command;
    }
    return NULL;
}

static void print_options(const cli_option *option)
{
    for (; option->name != NULL; option++) {
        char letter[8] = "    ", left[64];

        if (option->letter != 0)
            apr_snprintf(letter, sizeof(letter), "-%c, ", option->letter);
        apr_snprintf(left, sizeof(left), "%s--%s%s%s", letter, option->name,
                     option->arg != NULL ? " " : "", option->arg != NULL ? option->arg : "");
        printf("  %-28s %s\n", left, option->help);
    }
}

static void print_command(const cli_command *command)
{
    char left[64];

    if (command->summary == NULL)
        return;
    apr_snprintf(left, sizeof(left), "%s%s%s", command->name, command->args != NULL ? " " : "",
                 command->args != NULL ? command->args : "");
    printf("  %-28s %s\n", left, command->summary);
}

static void print_overview(void)
{
    const cli_command *command;

    puts("Usage: bizapictl [OPTION...] COMMAND [ARGUMENT...]\n"
         "\n"
         "The command-line tool of mod_bizapi: users, queued messages, keys and health of one\n"
         "business. Works beside the running server.\n"
         "\n"
         "Commands:");
    for (command = commands; command->name != NULL; command++)
        print_command(command);
    puts("\nOptions, before or after the command:");
    print_options(global_options);
    puts("\n"
         "STORE and DIR are those of the server's configuration. Without -s the environment's\n"
         "BIZAPI_STORE counts, else sqlite:" BIZ_DEFAULT_STATE_DIR "/bizapi.db.\n"
         "Without --state-dir it is the folder of the SQLite file, else\n" BIZ_DEFAULT_STATE_DIR
         ".\n"
         "\n"
         "Exit status:\n"
         "  0  done\n"
         "  1  failed: the store cannot be reached, or the change was refused\n"
         "  2  the command line is wrong\n"
         "  3  there is no such user, message or key\n"
         "  4  it exists already, or its state does not allow the change\n"
         "\n"
         "More about a command: bizapictl help COMMAND");
}

static void print_command_help(const cli_command *command)
{
    printf("Usage: bizapictl [OPTION...] %s%s%s\n\n%s.\n", command->name,
           command->args != NULL ? " " : "", command->args != NULL ? command->args : "",
           command->summary);
    if (command->help != NULL)
        printf("\n%s\n", command->help);
    if (command->options != NULL) {
        puts("\nOptions:");
        print_options(command->options);
    }
    puts("\nOptions of every command:");
    print_options(global_options);
}

/* Help for what was named so far: nothing, a group or a command. */
static int help_about(cli *c, const char *name)
{
    const cli_command *command = name != NULL ? command_named(name) : NULL;

    if (name == NULL) {
        print_overview();
        return CLI_OK;
    }
    if (command != NULL && command->summary != NULL) {
        print_command_help(command);
        return CLI_OK;
    }
    command = group_next(name, NULL);
    if (command == NULL)
        return cli_usage(c, "there is no command \"%s\"", cli_text(c->pool, name));
    printf("Usage: bizapictl [OPTION...] %s COMMAND [ARGUMENT...]\n\nCommands:\n", name);
    for (; command != NULL; command = group_next(name, command))
        print_command(command);
    return CLI_OK;
}

static int cmd_help(cli *c)
{
    c->command = NULL;
    if (c->args->nelts == 0)
        return help_about(c, NULL);
    return help_about(c, c->args->nelts == 1
                             ? cli_arg(c, 0)
                             : apr_pstrcat(c->pool, cli_arg(c, 0), " ", cli_arg(c, 1), NULL));
}

/* ---- the command line ---- */

static const cli_option *option_in(const cli_option *option, const char *name, size_t len,
                                   char letter)
{
    for (; option != NULL && option->name != NULL; option++) {
        if (name != NULL ? !strncmp(option->name, name, len) && option->name[len] == '\0'
                         : option->letter == letter)
            return option;
    }
    return NULL;
}

static const cli_option *option_find(const cli *c, const char *name, size_t len, char letter)
{
    const cli_option *option = option_in(global_options, name, len, letter);

    if (option == NULL && c->command != NULL)
        option = option_in(c->command->options, name, len, letter);
    return option;
}

/* argv[*i] is an option; *i moves on where the value is an argument of its own. */
static int parse_option(cli *c, int argc, const char *const *argv, int *i)
{
    const char *text = argv[*i], *value = NULL, *shown = cli_text(c->pool, text);
    const cli_option *option;

    if (text[1] == '-') {
        size_t len = strcspn(text + 2, "=");

        option = option_find(c, text + 2, len, 0);
        value = text[2 + len] == '=' ? text + 2 + len + 1 : NULL;
    } else {
        option = option_find(c, NULL, 0, text[1]);
        value = text[2] != '\0' ? text + 2 : NULL;
    }
    if (option == NULL)
        return cli_usage(c, "there is no option %s%s%s", shown, c->command != NULL ? " for " : "",
                         c->command != NULL ? c->command->name : "");
    if (option->arg == NULL && value != NULL)
        return cli_usage(c, "--%s takes no value", option->name);
    if (option->arg != NULL && value == NULL) {
        if (*i + 1 >= argc)
            return cli_usage(c, "--%s needs a value: %s", option->name, option->arg);
        value = argv[++*i];
    }
    apr_table_set(c->options, option->name, value != NULL ? value : "");
    return CLI_OK;
}

static int unknown_command(cli *c, const char *group, const char *word)
{
    const char *names = "";
    const cli_command *command;

    if (group == NULL)
        return cli_usage(c, "there is no command \"%s\"", cli_text(c->pool, word));
    for (command = group_next(group, NULL); command != NULL; command = group_next(group, command))
        names = apr_pstrcat(c->pool, names, *names != '\0' ? ", " : "",
                            command->name + strlen(group) + 1, NULL);
    if (word == NULL)
        return cli_usage(c, "%s what? One of: %s", group, names);
    return cli_usage(c, "there is no command \"%s %s\", only: %s", group, cli_text(c->pool, word),
                     names);
}

/* Commands have one word, or two whose first is the group's. */
static int parse_word(cli *c, const char **group, const char *word)
{
    if (c->command != NULL) {
        APR_ARRAY_PUSH(c->args, const char *) = word;
        return CLI_OK;
    }
    if (*group == NULL && group_next(word, NULL) != NULL) {
        *group = word;
        return CLI_OK;
    }
    c->command =
        command_named(*group == NULL ? word : apr_pstrcat(c->pool, *group, " ", word, NULL));
    return c->command != NULL ? CLI_OK : unknown_command(c, *group, word);
}

static int check_args(const cli *c)
{
    const char *wanted = c->command->args != NULL ? c->command->args : "no argument";

    if (c->args->nelts < c->command->min_args)
        return cli_usage(c, "an argument is missing: %s %s", c->command->name, wanted);
    if (c->args->nelts > c->command->max_args)
        return cli_usage(c, "one argument too many: \"%s\"; %s takes %s",
                         cli_text(c->pool, cli_arg(c, c->command->max_args)), c->command->name,
                         wanted);
    return CLI_OK;
}

/* CLI_OK with c->command set, or with it NULL where help or version was all. */
static int parse(cli *c, int argc, const char *const *argv)
{
    const char *group = NULL;
    int i, status = CLI_OK, only_words = 0;

    for (i = 1; i < argc && status == CLI_OK; i++) {
        if (!only_words && !strcmp(argv[i], "--"))
            only_words = 1;
        else if (!only_words && argv[i][0] == '-' && argv[i][1] != '\0')
            status = parse_option(c, argc, argv, &i);
        else
            status = parse_word(c, &group, argv[i]);
        if (status == CLI_OK && cli_opt(c, "help") != NULL) {
            const char *name = c->command != NULL ? c->command->name : group;

            c->command = NULL;
            return help_about(c, name != NULL && !strcmp(name, "help") ? NULL : name);
        }
    }
    if (status != CLI_OK)
        return status;
    if (cli_opt(c, "version") != NULL) {
        c->command = NULL;
        puts("bizapictl " BIZ_VERSION);
        return CLI_OK;
    }
    if (c->command == NULL && group != NULL)
        c->command = command_named(group); /* "keys" */
    if (c->command == NULL)
        return group != NULL ? unknown_command(c, group, NULL)
                             : cli_usage(c, "no command is given");
    return check_args(c);
}

/* ---- where the store is ---- */

static const char *absolute(apr_pool_t *pool, const char *path)
{
    char *merged;

    if (apr_filepath_merge(&merged, NULL, path, 0, pool) != APR_SUCCESS)
        return path;
    return merged;
}

static const char *folder_of(apr_pool_t *pool, const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL || slash == path ? "/"
                                          : apr_pstrmemdup(pool, path, (size_t)(slash - path));
}

int cli_store_at(cli *c, const char *what, const char *url)
{
    const char *why;

    if (!strncmp(url, "sqlite:", 7) && url[7] != '\0' && url[7] != '/')
        url = apr_pstrcat(c->pool, "sqlite:", absolute(c->pool, url + 7), NULL);
    why = store_url_error(c->pool, url);
    if (why != NULL)
        return cli_usage(c, "%s is no store: %s", what, cli_text(c->pool, why));
    c->store_url = url;
    c->database = !strncmp(url, "sqlite:", 7) ? url + 7 : NULL;
    return CLI_OK;
}

static int find_store(cli *c)
{
    const char *url = cli_opt(c, "store"), *dir = cli_opt(c, "state-dir"), *env = NULL;
    int status;

    if (dir != NULL && dir[0] == '\0')
        return cli_usage(c, "--state-dir needs a folder");
    if (dir != NULL)
        dir = absolute(c->pool, dir);
    if (url == NULL && (env = getenv("BIZAPI_STORE")) != NULL && env[0] != '\0')
        url = env;
    if (url == NULL)
        url = apr_pstrcat(c->pool, "sqlite:", dir != NULL ? dir : BIZ_DEFAULT_STATE_DIR,
                          "/bizapi.db", NULL);
    status = cli_store_at(c, url == env ? "BIZAPI_STORE" : "-s", url);
    if (status != CLI_OK)
        return status;
    if (dir != NULL)
        c->state_dir = dir;
    else
        c->state_dir =
            c->database != NULL ? folder_of(c->pool, c->database) : BIZ_DEFAULT_STATE_DIR;
    return CLI_OK;
}

int cli_owner(const cli *c, uid_t *uid, gid_t *gid)
{
    struct stat st;

    if (stat(c->database, &st) != 0 && stat(folder_of(c->pool, c->database), &st) != 0)
        return -1;
    *uid = st.st_uid;
    *gid = st.st_gid;
    return 0;
}

/* What SQLite would only call "unable to open database file". */
static int look_at_database(cli *c, int make)
{
    const char *folder = folder_of(c->pool, c->database);
    struct stat st;
    struct passwd *pw;

    if (stat(folder, &st) != 0 && errno != EACCES)
        return cli_fail(CLI_FAILED,
                        "there is no folder %s; make it first, owned by the user that Apache's "
                        "workers run as",
                        folder);
    if (stat(c->database, &st) != 0 && errno == ENOENT) {
        if (make)
            return CLI_OK;
        return cli_fail(CLI_FAILED,
                        "there is no database at %s yet: the server makes it when it is first "
                        "used, and so does bizapictl migrate",
                        c->database);
    }
    if (access(c->database, R_OK | W_OK) == 0 || (errno != EACCES && errno != EPERM))
        return CLI_OK;
    if (stat(c->database, &st) != 0)
        return cli_fail(CLI_FAILED, "%s may not be read by this user; run bizapictl as root",
                        c->database);
    pw = getpwuid(st.st_uid);
    return cli_fail(CLI_FAILED, "%s belongs to %s; run bizapictl as root or as that user",
                    c->database, pw != NULL ? pw->pw_name : "another user");
}

int cli_open(cli *c, int make)
{
    store_options options = {.op_timeout = apr_time_from_sec(5), .max_connections = 1};
    const char *why = NULL;
    uid_t uid;
    gid_t gid;
    int status = c->database != NULL ? look_at_database(c, make) : CLI_OK;

    if (status != CLI_OK)
        return status;
    if (c->database != NULL && geteuid() == 0 && cli_owner(c, &uid, &gid) == 0) {
        options.owner_uid = uid;
        options.owner_gid = gid;
    }
    if (store_open(&c->store, c->store_url, &options, c->pool, &why) != APR_SUCCESS)
        return cli_usage(c, "the store cannot be opened: %s", cli_text(c->pool, why));
    return CLI_OK;
}

/* ---- main ---- */

static void to_stderr(biz_level level, apr_status_t status, const char *line)
{
    if (level == BIZ_LOG_ERR || level == BIZ_LOG_WARN)
        fprintf(stderr, "bizapictl: %s\n", line);
}

int main(int argc, const char *const *argv)
{
    cli c = {.pool = NULL};
    int status;

    if (apr_initialize() != APR_SUCCESS || apr_pool_create(&c.pool, NULL) != APR_SUCCESS)
        return cli_fail(CLI_FAILED, "there is not enough memory");
    biz_json_init();
    biz_log_to(to_stderr);
    c.options = apr_table_make(c.pool, 8);
    c.args = apr_array_make(c.pool, 4, sizeof(const char *));
    status = parse(&c, argc, argv);
    if (status == CLI_OK && c.command != NULL) {
        c.json = cli_opt(&c, "json") != NULL;
        c.quiet = cli_opt(&c, "quiet") != NULL;
        if (c.command->run != cmd_help)
            status = find_store(&c);
        if (status == CLI_OK)
            status = c.command->run(&c);
    }
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == CLI_OK)
        status = cli_fail(CLI_FAILED, "the answer cannot be written to stdout");
    apr_terminate();
    return status;
}
