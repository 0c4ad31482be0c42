/* cmd_import.c: bizapictl import: the accounts of another program become users here, from wherever
 * import.h reads them; import mongo stands here too. One that is here already is never touched,
 * which makes a repeat harmless. Hashes are neither shown nor logged; what a source calls a
 * password may be one in the clear. */
#include "import.h"

#include <stdio.h>
#include <string.h>
#include <apr_hash.h>
#include <apr_strings.h>

#include "auth/account.h"
#include "core/crypto.h"
#include "core/password.h"
#include "core/str.h"
#include "core/valid.h"

enum { NAME_CHARS = 120 }; /* as the API has it */

const cli_option opts_import[] = {
    {"collection", 0, "NAME", "the collection (users)"},
    {"email-field", 0, "FIELD", "the e-mail address (email)"},
    {"password-field", 0, "FIELD", "its hash (password_hash, hashed_password, password)"},
    {"name-field", 0, "FIELD", "the name (name, full_name, first_name and last_name)"},
    {"phone-field", 0, "FIELD", "the phone number (phone, phone_number)"},
    {"verified-field", 0, "FIELD", "the address is confirmed (email_verified, is_verified)"},
    {"created-field", 0, "FIELD", "when it was made (created_at, createdAt)"},
    {"role-field", 0, "FIELD", "the role (role); only together with --roles"},
    {"roles", 0, "LIST", "who becomes what: \"admin=admin,employee=staff\"; others are customers"},
    {"all-verified", 0, NULL, "every address counts as confirmed"},
    {"without-password", 0, NULL,
     "bring those too whose password cannot be kept; they set a new one"},
    {"dry-run", 0, NULL, "change nothing, only say what would be brought"},
    {"all", 0, NULL, "list every account that is left out, not only some"},
    {NULL, 0, NULL, NULL}};

enum { NO_EMAIL, BAD_EMAIL, TWICE, TAKEN, NO_PASSWORD, BAD_HASH };
static const transfer_reason left_out_reasons[] = {
    [NO_EMAIL] = {"no_email", "there is no e-mail address"},
    [BAD_EMAIL] = {"bad_email", "this e-mail address is not accepted here"},
    [TWICE] = {"twice", "another account of the source has this address, in whatever case"},
    [TAKEN] = {"taken", "this address has an account here, which is not as in the source"},
    [NO_PASSWORD] = {"no_password", "there is no password hash"},
    [BAD_HASH] = {"bad_hash", "the password hash is neither bcrypt nor argon2id"},
    {NULL, NULL}};

enum { NAME_CHANGED, PHONE_DROPPED, PASSWORD_DROPPED, ROLE_UNKNOWN };
static const transfer_reason changed_reasons[] = {
    [NAME_CHANGED] = {"name_changed", "the name was too long, or had control characters"},
    [PHONE_DROPPED] = {"phone_dropped", "the phone number is not international, and was left out"},
    [PASSWORD_DROPPED] = {"password_dropped", "brought without a password"},
    [ROLE_UNKNOWN] = {"role_unknown", "the role is not in --roles; a customer now"},
    {NULL, NULL}};

typedef struct {
    cli *c;
    import_source from;
    apr_hash_t *seen;   /* addresses that this run has brought or found here */
    apr_table_t *roles; /* source's name to ours, or NULL */
    int dry_run, all_verified, without_password;
    apr_time_t since; /* of transfer_again() */
    int64_t read, brought, there, unverified, disabled;
    transfer_list left_out, changed;
} importing;

/* ---- values ---- */

/* As one line. *changed where more than blanks around it had to go. */
static const char *clean_name(apr_pool_t *pool, const char *name, int *changed)
{
    size_t len;
    char *copy, *out, *end;
    const char *at, *from;
    long n = 0;

    *changed = 0;
    if (name == NULL)
        return NULL;
    name += strspn(name, " \t\r\n");
    for (len = strlen(name); len > 0 && strchr(" \t\r\n", name[len - 1]) != NULL; len--)
        ;
    copy = apr_pstrmemdup(pool, name, len);
    out = end = apr_palloc(pool, len + 1);
    for (from = at = copy; *from != '\0' && n < NAME_CHARS; from = at, n++) {
        if (biz_char_is_control(biz_utf8_next(&at))) {
            *changed = 1;
            *end++ = ' ';
        } else {
            memcpy(end, from, (size_t)(at - from));
            end += at - from;
        }
    }
    if (*from != '\0')
        *changed = 1;
    while (end > out && end[-1] == ' ')
        end--;
    *end = '\0';
    return biz_valid_line(out, 1, NAME_CHARS) ? out : NULL;
}

/* "+49 (30) 123-456", "0049 30 ...": as E.164, else NULL. */
static const char *clean_phone(apr_pool_t *pool, const char *phone)
{
    char *out = apr_palloc(pool, strlen(phone) + 2), *end = out;

    phone += strspn(phone, " ");
    if (!strncmp(phone, "00", 2)) {
        *end++ = '+';
        phone += 2;
    }
    for (; *phone != '\0'; phone++) {
        if (strchr(" -()./", *phone) == NULL)
            *end++ = *phone;
    }
    *end = '\0';
    return biz_valid_phone(out) ? out : NULL;
}

static const char *role_of(importing *im, const import_user *from)
{
    const char *role = NULL;

    if (im->roles == NULL || from->role == NULL)
        return "customer";
    role = apr_table_get(im->roles, from->role);
    if (role != NULL)
        return role;
    if (strcmp(from->role, "customer") != 0)
        transfer_list_add(&im->changed, ROLE_UNKNOWN, NULL, from->shown);
    return "customer";
}

/* Who was brought by an earlier run is there as in the source, or has only changed his password or
 * had its hash renewed by signing in. */
static int is_the_same(const store_doc *user, const import_user *from)
{
    const char *hash = store_str(user, USER_PASSWORD_HASH);

    if (from->created_at != 0 && store_time(user, STORE_CREATED_AT) == from->created_at)
        return 1;
    if (hash == NULL || from->hash == NULL)
        return hash == NULL && !biz_password_is_hash(from->hash);
    return biz_same_text(hash, from->hash);
}

/* ---- one account ---- */

static store_doc *make_user(importing *im, apr_pool_t *pool, const char *email, const char *hash,
                            const import_user *from)
{
    account_new account = {.email = email, .password_hash = hash};
    apr_time_t now = apr_time_now();
    store_doc *user;
    int changed;

    account.typed = apr_pstrmemdup(pool, from->email + strspn(from->email, " "), strlen(email));
    account.role = role_of(im, from);
    account.name = clean_name(pool, from->name, &changed);
    if (changed)
        transfer_list_add(&im->changed, NAME_CHANGED, NULL, from->shown);
    if (from->phone != NULL && from->phone[0] != '\0') {
        account.phone = clean_phone(pool, from->phone);
        if (account.phone == NULL)
            transfer_list_add(&im->changed, PHONE_DROPPED, NULL, from->shown);
    }
    if (hash == NULL)
        transfer_list_add(&im->changed, PASSWORD_DROPPED, NULL, from->shown);
    account.email_verified = im->all_verified || from->verified == 1;
    im->unverified += !account.email_verified;
    im->disabled += from->disabled;
    user = account_make(pool, &account);
    store_set_bool(user, USER_DISABLED, from->disabled);
    store_doc_set_made(user,
                       from->created_at > 0 && from->created_at < now ? from->created_at : now);
    return user;
}

/* The account that has the address here; NULL where there is none. */
static apr_status_t find_here(importing *im, apr_pool_t *pool, const char *email, store_doc **user)
{
    apr_status_t rv = STORE_ENOENT;

    *user = NULL;
    if (im->c->store == NULL)
        return APR_SUCCESS; /* a dry run, and nothing is there yet */
    do
        rv = account_find(im->c->store, pool, email, user);
    while (transfer_again(rv, &im->since));
    if (rv != STORE_ENOENT)
        return rv;
    *user = NULL;
    return APR_SUCCESS;
}

/* *mine: this call has put it there. An insert whose answer was lost is known by the id, which is
 * the same in each try. */
static apr_status_t insert(importing *im, apr_pool_t *pool, const store_doc *user, int *mine)
{
    store_doc *there;
    apr_status_t rv;

    *mine = 1;
    if (im->dry_run)
        return APR_SUCCESS;
    do
        rv = store_insert_copy(im->c->store, pool, user);
    while (transfer_again(rv, &im->since));
    if (rv != STORE_EEXIST)
        return rv;
    rv = find_here(im, pool, store_str(user, USER_EMAIL), &there);
    *mine = rv == APR_SUCCESS && there != NULL && !strcmp(store_doc_id(there), store_doc_id(user));
    return rv;
}

static void remember(importing *im, const char *email)
{
    apr_hash_set(im->seen, apr_pstrdup(im->c->pool, email), APR_HASH_KEY_STRING, "");
}

static apr_status_t leave_out(importing *im, int reason, const import_user *from)
{
    transfer_list_add(&im->left_out, reason, NULL, from->shown);
    return APR_SUCCESS;
}

static apr_status_t take(importing *im, apr_pool_t *pool, const import_user *from)
{
    const char *email = biz_valid_email(pool, from->email), *hash = from->hash;
    store_doc *user;
    apr_status_t rv;
    int mine;

    if (email == NULL)
        return leave_out(im, from->email == NULL || from->email[0] == '\0' ? NO_EMAIL : BAD_EMAIL,
                         from);
    if (apr_hash_get(im->seen, email, APR_HASH_KEY_STRING) != NULL)
        return leave_out(im, TWICE, from);
    rv = find_here(im, pool, email, &user);
    if (rv != APR_SUCCESS)
        return rv;
    if (user != NULL) {
        remember(im, email);
        if (!is_the_same(user, from))
            return leave_out(im, TAKEN, from);
        im->there++;
        return APR_SUCCESS;
    }
    if (!biz_password_is_hash(hash)) {
        if (!im->without_password)
            return leave_out(im, hash == NULL || hash[0] == '\0' ? NO_PASSWORD : BAD_HASH, from);
        hash = NULL;
    }
    user = make_user(im, pool, email, hash, from);
    rv = insert(im, pool, user, &mine);
    if (rv != APR_SUCCESS)
        return rv;
    remember(im, email);
    if (!mine)
        return leave_out(im, TAKEN, from);
    im->brought++;
    return APR_SUCCESS;
}

/* ---- all of them ---- */

/* CLI_OK at the end of the source. */
static int walk(importing *im)
{
    import_user user;
    transfer_bar bar;
    apr_pool_t *pool;
    const char *why;
    apr_status_t source, rv = APR_SUCCESS;
    int64_t total;

    source = im->from.count(im->from.self, im->c->pool, &total, &why);
    transfer_bar_start(im->c, &bar, "importing", total);
    apr_pool_create(&pool, im->c->pool);
    while (source == APR_SUCCESS && rv == APR_SUCCESS) {
        apr_pool_clear(pool);
        source = im->from.next(im->from.self, pool, &user, &why);
        if (source != APR_SUCCESS)
            break;
        im->read++;
        rv = take(im, pool, &user);
        transfer_bar_step(&bar);
    }
    transfer_bar_end(&bar);
    if (rv != APR_SUCCESS)
        cli_fail_store(im->c, rv);
    else if (source != APR_EOF)
        cli_fail(CLI_FAILED, "the source cannot be read: %s", cli_text(im->c->pool, why));
    return rv == APR_SUCCESS && source == APR_EOF ? CLI_OK : CLI_FAILED;
}

static biz_json *report_json(importing *im, int complete)
{
    biz_json *json = biz_json_object(im->c->pool);

    biz_json_set_bool(json, "dry_run", im->dry_run);
    biz_json_set_bool(json, "complete", complete);
    biz_json_set_int(json, "read", im->read);
    biz_json_set_int(json, "brought", im->brought);
    biz_json_set_int(json, "there_already", im->there);
    biz_json_set_int(json, "unverified", im->unverified);
    biz_json_set_int(json, "disabled", im->disabled);
    biz_json_set(json, "changed", transfer_list_json(im->c, &im->changed, NULL, "email"));
    biz_json_set(json, "left_out", transfer_list_json(im->c, &im->left_out, NULL, "email"));
    return json;
}

static void report(importing *im, int complete)
{
    cli *c = im->c;

    if (c->quiet)
        return;
    if (c->json) {
        cli_print_json(c, report_json(im, complete));
        return;
    }
    if (im->dry_run)
        cli_say(c, "A dry run: nothing was changed.");
    cli_say(c,
            "%s read: %" APR_INT64_T_FMT " %s, %" APR_INT64_T_FMT
            " there already, %" APR_INT64_T_FMT " left out",
            transfer_number(c->pool, im->read, "account"), (apr_int64_t)im->brought,
            im->dry_run ? "to be brought" : "brought", (apr_int64_t)im->there,
            (apr_int64_t)im->left_out.total);
    if (im->unverified > 0)
        cli_say(
            c,
            "%s with an address that the source does not call confirmed; where the server wants "
            "confirmed ones, they follow a mailed link first. --all-verified calls all confirmed",
            transfer_number(c->pool, im->unverified, "account"));
    if (im->disabled > 0)
        cli_say(c, "%s disabled, as in the source",
                transfer_number(c->pool, im->disabled, "account"));
    transfer_list_print(c, &im->changed, "Brought, but not as they were");
    transfer_list_print(c, &im->left_out, "Left out");
}

/* ---- the command ---- */

/* "admin=admin,employee=staff" */
static int parse_roles(importing *im, const char *list)
{
    cli *c = im->c;
    char *rest, *pair;

    if (list == NULL && cli_opt(c, "role-field") != NULL)
        return cli_usage(c, "--role-field does nothing without --roles");
    if (list == NULL)
        return CLI_OK;
    /* Keys of a table are blind to case: "Admin" and "admin" are one role here. */
    im->roles = apr_table_make(c->pool, 4);
    for (pair = apr_strtok(apr_pstrdup(c->pool, list), ",", &rest); pair != NULL;
         pair = apr_strtok(NULL, ",", &rest)) {
        char *equals = strrchr(pair, '=');

        if (equals == NULL || equals == pair)
            return cli_usage(c, "--roles wants SOURCE=ROLE, and commas between them");
        *equals = '\0';
        if (!account_role_is_known(equals + 1))
            return cli_usage(c, "\"%s\" is no role; there are customer, staff and admin",
                             cli_text(c->pool, equals + 1));
        apr_table_set(im->roles, pair + strspn(pair, " "), equals + 1);
    }
    return CLI_OK;
}

static int open_target(importing *im)
{
    int there, status = transfer_look(im->c, &there);
    store_doc *none;
    apr_status_t rv;

    if (status != CLI_OK || (im->dry_run && !there))
        return status;
    status = cli_open(im->c, 1);
    if (status != CLI_OK)
        return status;
    /* Without patience: what does not work at all is told at once. */
    rv = store_get(im->c->store, im->c->pool, COLL_USERS, "-", &none);
    return rv == STORE_ENOENT ? CLI_OK : cli_fail_store(im->c, rv);
}

static int audit_import(importing *im)
{
    biz_json *details = biz_json_object(im->c->pool);

    if (im->dry_run || im->brought == 0)
        return CLI_OK;
    biz_json_set_str(details, "from", im->from.kind);
    biz_json_set_int(details, "brought", im->brought);
    return cli_audit(im->c, "user_import", NULL, details);
}

int import_all(cli *c, int (*open)(cli *c, import_source *source))
{
    importing im = {.c = c};
    int status, audited = CLI_OK;

    im.dry_run = cli_opt(c, "dry-run") != NULL;
    im.all_verified = cli_opt(c, "all-verified") != NULL;
    im.without_password = cli_opt(c, "without-password") != NULL;
    im.seen = apr_hash_make(c->pool);
    transfer_list_init(c, &im.left_out, left_out_reasons, cli_opt(c, "all") != NULL);
    transfer_list_init(c, &im.changed, changed_reasons, cli_opt(c, "all") != NULL);
    status = parse_roles(&im, cli_opt(c, "roles"));
    if (status == CLI_OK)
        status = open(c, &im.from);
    if (status == CLI_OK)
        status = open_target(&im);
    if (status != CLI_OK)
        return status;
    status = walk(&im);
    if (c->store != NULL)
        audited = audit_import(&im);
    if (status == CLI_OK && im.read == 0)
        return cli_fail(CLI_MISSING, "%s", im.from.nothing);
    report(&im, status == CLI_OK);
    if (status != CLI_OK && !im.dry_run)
        return cli_fail(status, "what was brought stays; run the same command again to go on");
    return status == CLI_OK ? audited : status;
}

/* ---- import mongo ---- */

/* A path that MongoDB would take. */
static int check_fields(cli *c)
{
    static const char *const names[] = {"collection",    "email-field", "password-field",
                                        "name-field",    "phone-field", "verified-field",
                                        "created-field", "role-field"};

    for (size_t i = 0; i < STORE_COUNT_OF(names); i++) {
        const char *value = cli_opt(c, names[i]);

        if (value != NULL &&
            (strchr(".$", value[0]) != NULL || value[strlen(value) - 1] == '.' ||
             strstr(value, "..") != NULL || biz_utf8_count(value, strlen(value)) < 0))
            return cli_usage(c, "--%s is no name", names[i]);
    }
    return CLI_OK;
}

static apr_status_t mongo_count(void *self, apr_pool_t *pool, int64_t *count, const char **why)
{
    return mongo_import_count(self, pool, count, why);
}

static apr_status_t mongo_next(void *self, apr_pool_t *pool, import_user *user, const char **why)
{
    return mongo_import_next(self, pool, user, why);
}

static int open_mongo(cli *c, import_source *source)
{
    mongo_import *in;
    const char *uri, *why, *coll = cli_opt(c, "collection");
    mongo_import_fields fields = {
        cli_opt(c, "email-field"), cli_opt(c, "password-field"), cli_opt(c, "name-field"),
        cli_opt(c, "phone-field"), cli_opt(c, "verified-field"), cli_opt(c, "created-field"),
        cli_opt(c, "role-field"),
    };
    int status = check_fields(c);
    int64_t count;
    apr_status_t rv;

    if (status == CLI_OK)
        status = transfer_url(c, cli_arg(c, 0), &uri);
    if (status != CLI_OK)
        return status;
    if (strncmp(uri, "mongodb", 7) != 0 || (why = store_url_error(c->pool, uri)) != NULL)
        return cli_usage(c, "the URI is no mongodb://HOST/DATABASE");
    if (coll == NULL)
        coll = "users";
    if (mongo_import_same(uri, c->store_url) && store_coll_by_name(coll) != NULL)
        return cli_usage(c, "the source is the store itself; give the store another database");
    rv = mongo_import_open(&in, uri, coll, &fields, c->pool, &why);
    if (rv == APR_EINVAL)
        return cli_usage(c, "%s", cli_text(c->pool, why));
    if (rv == APR_SUCCESS)
        rv = mongo_import_count(in, c->pool, &count, &why);
    *source = (import_source){
        .kind = "mongo",
        .self = in,
        .count = mongo_count,
        .next = mongo_next,
        .nothing = apr_psprintf(c->pool,
                                "there is no document in the source's collection %s; "
                                "--collection names another",
                                cli_text(c->pool, coll))};
    return rv == APR_SUCCESS
               ? CLI_OK
               : cli_fail(CLI_FAILED, "the source cannot be read: %s", cli_text(c->pool, why));
}

int cmd_import_mongo(cli *c)
{
    return import_all(c, open_mongo);
}
