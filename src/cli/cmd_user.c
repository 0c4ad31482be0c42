/* cmd_user.c: bizapictl user ...; see auth/account.h for what each change does. A password hash is
 * never shown. */
#include "cli.h"

#include <stdio.h>
#include <string.h>
#include <apr_strings.h>

#include "auth/account.h"
#include "auth/factor.h"
#include "auth/lockout.h"
#include "core/locale.h"
#include "core/str.h"
#include "core/valid.h"
#include "limit/limit.h"
#include "outbox/outbox.h"

enum { PAGE = 500, NAME_CHARS = 120 }; /* as the API has it */

const cli_option opts_user_add[] = {
    {"role", 0, "ROLE", "customer (as it is without this option), staff or admin"},
    {"name", 0, "NAME", "the user's name"},
    {"phone", 0, "NUMBER", "with + and the country's code, as in +4930123456"},
    {"locale", 0, "TAG", "the user's language, such as de or pt-BR"},
    {"timezone", 0, "ZONE", "such as Europe/Berlin"},
    {"unverified", 0, NULL, "the e-mail address is still to be confirmed"},
    {"password-stdin", 0, NULL, "the password is the one line of stdin"},
    {NULL, 0, NULL, NULL}};
const cli_option opts_user_list[] = {{"role", 0, "ROLE", "only customer, staff or admin"},
                                     {"limit", 0, "N", "at most N users"},
                                     {"after", 0, "ID", "only users made after this one"},
                                     {NULL, 0, NULL, NULL}};
const cli_option opts_user_set_password[] = {
    {"password-stdin", 0, NULL, "the password is the one line of stdin"}, {NULL, 0, NULL, NULL}};

static int bad_role(cli *c, const char *role)
{
    return cli_usage(c, "\"%s\" is no role; there are customer, staff and admin",
                     cli_text(c->pool, role));
}

static biz_json *user_json(apr_pool_t *pool, const store_doc *user)
{
    biz_json *json = account_json(pool, user);

    biz_json_set_bool(json, "disabled", store_bool(user, USER_DISABLED));
    biz_json_set_bool(json, "has_password", !store_is_null(user, USER_PASSWORD_HASH));
    biz_json_set_time(json, "updated_at", store_time(user, STORE_UPDATED_AT));
    return json;
}

/* The user of the first argument. */
static int find_user(cli *c, store_doc **user)
{
    const char *key = cli_arg(c, 0), *shown = cli_text(c->pool, key), *email = NULL;
    int is_email = strchr(key, '@') != NULL;
    apr_status_t rv;
    int status;

    if (is_email && (email = biz_valid_email(c->pool, key)) == NULL)
        return cli_usage(c, "\"%s\" is no e-mail address", shown);
    if (!is_email && !biz_valid_id(key, "usr"))
        return cli_usage(c, "\"%s\" is neither an e-mail address nor the id of a user", shown);
    status = cli_open(c, 0);
    if (status != CLI_OK)
        return status;
    rv = email != NULL ? account_find(c->store, c->pool, email, user)
                       : store_get(c->store, c->pool, COLL_USERS, key, user);
    if (rv == STORE_ENOENT)
        return cli_fail(CLI_MISSING, "there is no user %s", shown);
    return rv == APR_SUCCESS ? CLI_OK : cli_fail_store(c, rv);
}

/* How each change ends. */
static int changed(cli *c, apr_status_t rv, const store_doc *user, const char *what)
{
    if (rv == STORE_ENOENT)
        return cli_fail(CLI_MISSING, "this user has just been removed");
    if (rv != APR_SUCCESS)
        return cli_fail_store(c, rv);
    if (c->json && !c->quiet)
        cli_print_json(c, user_json(c->pool, user));
    cli_say(c, "%s %s: %s", store_doc_id(user), cli_text(c->pool, store_str(user, USER_EMAIL)),
            what);
    return CLI_OK;
}

/* One change of a user with its row and mail: the owner gets the same mail as when an admin, or
 * they themselves, had done it. */
static int change(cli *c, store_doc *user, const store_change *changes, size_t n, const act *told,
                  const char *what)
{
    const act_by by = cli_act_by(c, store_doc_id(user));
    apr_status_t rv =
        act_update(&by, COLL_USERS, store_doc_id(user), NULL, 0, changes, n, told, 1, &user);

    if (rv == APR_SUCCESS)
        (void)act_tell(&by, &user);
    return changed(c, rv, user, what);
}

/* {"name": "value"} */
static biz_json *detail(cli *c, const char *name, const char *value)
{
    biz_json *details = biz_json_object(c->pool);

    biz_json_set_str(details, name, value);
    return details;
}

/* ---- user add ---- */

static int check_new(cli *c, account_new *account)
{
    const char *locale = cli_opt(c, "locale");

    account->email = biz_valid_email(c->pool, cli_arg(c, 0));
    account->role = cli_opt(c, "role") != NULL ? cli_opt(c, "role") : "customer";
    account->name = cli_opt(c, "name");
    account->phone = cli_opt(c, "phone");
    account->timezone = cli_opt(c, "timezone");
    account->email_verified = cli_opt(c, "unverified") == NULL;
    if (account->email == NULL)
        return cli_usage(c, "\"%s\" is no e-mail address", cli_text(c->pool, cli_arg(c, 0)));
    /* Without the blanks around it, which the normal form has lost too. */
    account->typed = apr_pstrmemdup(c->pool, cli_arg(c, 0) + strspn(cli_arg(c, 0), " \t\r\n"),
                                    strlen(account->email));
    if (!account_role_is_known(account->role))
        return bad_role(c, account->role);
    if (account->name != NULL && !biz_valid_line(account->name, 1, NAME_CHARS))
        return cli_usage(c, "--name must be one line of 1 to %d characters", NAME_CHARS);
    if (account->phone != NULL && !biz_valid_phone(account->phone))
        return cli_usage(c, "--phone must be + and 7 to 15 digits, the country's code first");
    if (account->timezone != NULL && !biz_zone_is_known(account->timezone))
        return cli_usage(c, "--timezone must be a zone's name such as Europe/Berlin");
    if (locale != NULL && (account->locale = biz_locale_canonical(c->pool, locale)) == NULL)
        return cli_usage(c, "--locale must be a language such as de or pt-BR");
    if (account->name == NULL && !cli_can_ask())
        return cli_usage(c, "--name is missing, and there is no terminal to ask on");
    if (cli_opt(c, "password-stdin") == NULL && !cli_can_ask())
        return cli_usage(c,
                         "there is no terminal to ask for the password on; use --password-stdin");
    return CLI_OK;
}

static int ask_name(cli *c, account_new *account)
{
    int status;

    if (account->name != NULL)
        return CLI_OK;
    status = cli_ask(c, "Name: ", &account->name);
    if (status == CLI_OK && !biz_valid_line(account->name, 1, NAME_CHARS))
        status =
            cli_fail(CLI_FAILED, "the name must be one line of 1 to %d characters", NAME_CHARS);
    return status;
}

int cmd_user_add(cli *c)
{
    account_new account = {.email = NULL};
    act told = {.event = "user_created"};
    store_doc *user;
    apr_status_t rv;
    act_by by;
    int status = check_new(c, &account);

    if (status == CLI_OK)
        status = cli_open(c, 1);
    if (status != CLI_OK)
        return status;
    /* Before anything is asked; what counts is the unique key of the insert below. */
    rv = account_find(c->store, c->pool, account.email, &user);
    if (rv == APR_SUCCESS)
        return cli_fail(CLI_CONFLICT, "there is a user %s already: %s", account.email,
                        store_doc_id(user));
    if (rv != STORE_ENOENT)
        return cli_fail_store(c, rv);
    status = ask_name(c, &account);
    if (status == CLI_OK)
        status = cli_new_password(c, account.email, account.name, &account.password_hash);
    if (status != CLI_OK)
        return status;
    user = account_make(c->pool, &account);
    by = cli_act_by(c, store_doc_id(user));
    told.details = cli_act_details(c, detail(c, "role", account.role));
    act_carry(&by, user, &told, 1);
    rv = store_insert(c->store, c->pool, user, NULL);
    if (rv == STORE_EEXIST)
        return cli_fail(CLI_CONFLICT, "there is a user %s already", account.email);
    if (rv == APR_SUCCESS)
        (void)act_tell(&by, &user);
    return changed(c, rv, user,
                   apr_pstrcat(c->pool, "made, ", account.role,
                               account.email_verified ? "" : ", e-mail address not confirmed",
                               NULL));
}

/* ---- user list, user show ---- */

typedef struct {
    const char *role; /* or NULL */
    int64_t left;     /* how many more may be shown */
    cli_table *table;
    int shown;
} listing;

static void list_one(cli *c, apr_pool_t *page, listing *l, const store_doc *user)
{
    const char *cells[] = {store_doc_id(user),
                           store_str(user, USER_EMAIL),
                           store_str(user, USER_NAME),
                           store_str(user, USER_ROLE),
                           store_bool(user, USER_DISABLED)         ? "disabled"
                           : store_bool(user, USER_EMAIL_VERIFIED) ? "active"
                                                                   : "unconfirmed",
                           cli_time(page, store_time(user, STORE_CREATED_AT))};

    if (l->role != NULL && strcmp(store_str(user, USER_ROLE), l->role) != 0)
        return;
    if (c->json)
        printf("%s%s", l->shown > 0 ? ",\n" : "", biz_json_text(page, user_json(page, user), NULL));
    else
        cli_table_row(l->table, page, cells);
    l->shown++;
    l->left--;
}

static apr_status_t list_all(cli *c, listing *l, const char *after)
{
    apr_array_header_t *docs;
    apr_pool_t *page;
    char last[64] = "";
    apr_status_t rv = APR_SUCCESS;
    int i, got = PAGE;

    if (after != NULL)
        apr_cpystrn(last, after, sizeof(last));
    apr_pool_create(&page, c->pool);
    while (rv == APR_SUCCESS && got == PAGE && l->left > 0) {
        rv = store_scan(c->store, page, COLL_USERS, last[0] != '\0' ? last : NULL, PAGE, &docs);
        got = rv == APR_SUCCESS ? docs->nelts : 0;
        for (i = 0; i < got && l->left > 0; i++)
            list_one(c, page, l, APR_ARRAY_IDX(docs, i, store_doc *));
        if (got > 0)
            apr_cpystrn(last, store_doc_id(APR_ARRAY_IDX(docs, got - 1, store_doc *)),
                        sizeof(last));
        cli_table_flush(l->table);
        apr_pool_clear(page);
    }
    apr_pool_destroy(page);
    return rv;
}

int cmd_user_list(cli *c)
{
    static const char *const headings[] = {"ID", "EMAIL", "NAME", "ROLE", "STATE", "CREATED"};
    const char *limit = cli_opt(c, "limit"), *after = cli_opt(c, "after");
    listing l = {.role = cli_opt(c, "role"), .left = INT64_MAX};
    apr_status_t rv;
    int status;

    if (l.role != NULL && !account_role_is_known(l.role))
        return bad_role(c, l.role);
    if (limit != NULL && !biz_parse_int(limit, 1, INT64_MAX, &l.left))
        return cli_usage(c, "--limit must be a number from 1 on");
    if (after != NULL && !biz_valid_id(after, "usr"))
        return cli_usage(c, "--after must be the id of a user");
    status = cli_open(c, 0);
    if (status != CLI_OK)
        return status;
    l.table = cli_table_new(c->pool, (int)STORE_COUNT_OF(headings), headings);
    if (c->json)
        putchar('[');
    rv = list_all(c, &l, after);
    if (rv != APR_SUCCESS)
        return cli_fail_store(c, rv);
    if (c->json)
        puts("]");
    else if (l.shown == 0)
        cli_say(c, "no users");
    return CLI_OK;
}

int cmd_user_show(cli *c)
{
    apr_pool_t *p = c->pool;
    store_doc *user;
    int status = find_user(c, &user);

    if (status != CLI_OK)
        return status;
    if (c->json) {
        cli_print_json(c, user_json(p, user));
        return CLI_OK;
    }
    printf("id:               %s\n", store_doc_id(user));
    printf("email:            %s (%s)\n", cli_text(p, store_str(user, USER_EMAIL)),
           store_bool(user, USER_EMAIL_VERIFIED) ? "confirmed" : "not confirmed");
    printf("name:             %s\n", cli_text(p, store_str(user, USER_NAME)));
    printf("role:             %s\n", cli_text(p, store_str(user, USER_ROLE)));
    printf("state:            %s\n", store_bool(user, USER_DISABLED) ? "disabled" : "active");
    printf("phone:            %s\n", cli_text(p, store_str(user, USER_PHONE)));
    printf("locale:           %s\n", cli_text(p, store_str(user, USER_LOCALE)));
    printf("timezone:         %s\n", cli_text(p, store_str(user, USER_TIMEZONE)));
    printf("password:         %s\n",
           store_is_null(user, USER_PASSWORD_HASH)
               ? "none"
               : apr_pstrcat(p, "set ", cli_time(p, store_time(user, USER_PASSWORD_CHANGED_AT)),
                             NULL));
    printf("two factors:      %s\n", store_bool(user, USER_MFA_ENABLED) ? "yes" : "no");
    printf("created:          %s\n", cli_time(p, store_time(user, STORE_CREATED_AT)));
    printf("changed:          %s\n", cli_time(p, store_time(user, STORE_UPDATED_AT)));
    return CLI_OK;
}

/* ---- changes ---- */

static int set_disabled(cli *c, int disabled, const char *what)
{
    const act told = {.event = disabled ? "user_disabled" : "user_enabled",
                      .details = cli_act_details(c, NULL)};
    store_change changes[] = {STORE_SET_BOOL(USER_DISABLED, disabled),
                              STORE_INC_INT(USER_SESSION_EPOCH, 1)};
    store_doc *user;
    int status = find_user(c, &user);

    return status == CLI_OK ? change(c, user, changes, STORE_COUNT_OF(changes), &told, what)
                            : status;
}

int cmd_user_disable(cli *c)
{
    return set_disabled(c, 1, "disabled; every session has ended");
}

int cmd_user_enable(cli *c)
{
    return set_disabled(c, 0, "enabled");
}

int cmd_user_set_password(cli *c)
{
    const act told = {.event = "authn_password_change",
                      .details = cli_act_details(c, NULL),
                      .notice = NOTICE_PASSWORD_CHANGED};
    const char *hash = NULL;
    store_doc *user;
    int status = find_user(c, &user);

    if (status == CLI_OK)
        status =
            cli_new_password(c, store_str(user, USER_EMAIL), store_str(user, USER_NAME), &hash);
    if (status != CLI_OK)
        return status;
    store_change changes[] = {STORE_SET_STR(USER_PASSWORD_HASH, hash),
                              STORE_SET_TIME(USER_PASSWORD_CHANGED_AT, apr_time_now()),
                              STORE_INC_INT(USER_SESSION_EPOCH, 1)};
    return change(c, user, changes, STORE_COUNT_OF(changes), &told,
                  "has a new password; every session has ended");
}

int cmd_user_set_role(cli *c)
{
    const char *role = cli_arg(c, 1);
    const act told = {.event = "authz_change",
                      .details = cli_act_details(c, detail(c, "role", role)),
                      .notice = NOTICE_ROLE_CHANGED,
                      .about = role};
    store_change changes[] = {STORE_SET_STR(USER_ROLE, role), STORE_INC_INT(USER_SESSION_EPOCH, 1)};
    store_doc *user;
    int status;

    if (!account_role_is_known(role))
        return bad_role(c, role);
    status = find_user(c, &user);
    if (status != CLI_OK)
        return status;
    return change(c, user, changes, STORE_COUNT_OF(changes), &told,
                  apr_pstrcat(c->pool, "is ", role, " now; every session has ended", NULL));
}

static int unlock_address(cli *c, const char *address)
{
    biz_json *details = detail(c, "address", address);
    apr_status_t rv;
    int status = cli_open(c, 0);

    if (status != CLI_OK)
        return status;
    status = cli_audit(c, "authn_login_unlock", NULL, details);
    if (status != CLI_OK)
        return status;
    rv = lockout_clear_address(c->store, c->pool, address);
    if (rv != APR_SUCCESS)
        return cli_fail_store(c, rv);
    if (c->json && !c->quiet)
        cli_print_json(c, details);
    cli_say(c, "%s: unlocked", address);
    return status;
}

int cmd_user_unlock(cli *c)
{
    const act told = {.event = "authn_login_unlock",
                      .details = cli_act_details(c, NULL),
                      .notice = NOTICE_ACCOUNT_UNLOCKED};
    store_doc *user;
    limit_addr addr;
    apr_status_t rv;
    act_by by;
    int status;

    if (limit_addr_parse(cli_arg(c, 0), &addr))
        return unlock_address(c, cli_arg(c, 0));
    status = find_user(c, &user);
    if (status != CLI_OK)
        return status;
    by = cli_act_by(c, store_doc_id(user));
    rv = lockout_clear_user(&by, &told, &user);
    return changed(c, rv, user, "unlocked");
}

int cmd_user_reset_mfa(cli *c)
{
    const act told = {.event = "authn_factors_removed",
                      .details = cli_act_details(c, NULL),
                      .notice = NOTICE_MFA_DISABLED};
    store_doc *user;
    apr_status_t rv;
    act_by by;
    int status = find_user(c, &user);

    if (status != CLI_OK)
        return status;
    by = cli_act_by(c, store_doc_id(user));
    rv = factor_clear(&by, &told, &user);
    return changed(c, rv, user, "has no second factor any more; every session has ended");
}
