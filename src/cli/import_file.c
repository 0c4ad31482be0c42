/* import_file.c: bizapictl import csv and import htpasswd: accounts out of a file. A CSV file is
 * one of RFC 4180 with names in its first line; an htpasswd file is one of Apache's. See import.h
 * for what becomes of them. */
#include "import.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <apr_strings.h>

#include "core/str.h"
#include "core/time.h"

enum { CELLS_MAX = 256, RECORD_MAX = 1 << 20 };

#define COMMON_OPTIONS                                                                             \
    {"without-password", 0, NULL,                                                                  \
     "bring those too whose password cannot be kept; they set a new one"},                         \
        {"all-verified", 0, NULL, "every address counts as confirmed"},                            \
        {"dry-run", 0, NULL, "change nothing, only say what would be brought"},                    \
        {"all", 0, NULL, "list every account that is left out, not only some"},                    \
    {                                                                                              \
        NULL, 0, NULL, NULL                                                                        \
    }

const cli_option opts_import_csv[] = {
    {"email-field", 0, "COLUMN", "the e-mail address (email)"},
    {"password-field", 0, "COLUMN", "its hash (password_hash, hashed_password, password)"},
    {"name-field", 0, "COLUMN", "the name (name, full_name)"},
    {"phone-field", 0, "COLUMN", "the phone number (phone, phone_number)"},
    {"verified-field", 0, "COLUMN", "the address is confirmed (email_verified, is_verified)"},
    {"created-field", 0, "COLUMN", "when it was made (created_at)"},
    {"role-field", 0, "COLUMN", "the role (role); only together with --roles"},
    {"roles", 0, "LIST", "who becomes what: \"admin=admin,employee=staff\"; others are customers"},
    {"separator", 0, "C", "what stands between cells; as the first line has it: , ; or a tab"},
    COMMON_OPTIONS};
const cli_option opts_import_htpasswd[] = {
    {"domain", 0, "NAME", "of user names that are no address: \"ada\" becomes ada@NAME"},
    COMMON_OPTIONS};

typedef struct {
    FILE *file;
    const char *ahead, *ahead_end; /* what was read of the file already and is read again */
    const char *path;
    int64_t line, at; /* where the record that was read last began; where it has ended */
    char separator;
    const char *domain;
    apr_array_header_t *header; /* const char *, lower case */
    const char *columns[8];     /* in the order of field_names; NULL: the usual names */
} source_file;

static apr_status_t close_file(void *data)
{
    fclose(data);
    return APR_SUCCESS;
}

static int open_file(cli *c, source_file **out)
{
    source_file *in = apr_pcalloc(c->pool, sizeof(*in));

    in->path = cli_text(c->pool, cli_arg(c, 0));
    in->file = fopen(cli_arg(c, 0), "re");
    if (in->file == NULL)
        return cli_fail(errno == ENOENT ? CLI_MISSING : CLI_FAILED, "%s cannot be read: %s",
                        in->path, strerror(errno));
    apr_pool_cleanup_register(c->pool, in->file, close_file, apr_pool_cleanup_null);
    *out = in;
    return CLI_OK;
}

static apr_status_t broken(const source_file *in, apr_pool_t *pool, const char *what,
                           const char **why)
{
    *why = apr_psprintf(pool, "%s, line %" APR_INT64_T_FMT ": %s", in->path, (apr_int64_t)in->line,
                        what);
    return APR_EGENERAL;
}

/* About how many there are: the lines. The file is read from its start again. */
static apr_status_t count_lines(void *self, apr_pool_t *pool, int64_t *count, const char **why)
{
    source_file *in = self;
    long at = ftell(in->file);
    int c;

    *count = 0;
    if (at < 0)
        return APR_SUCCESS; /* a pipe: nobody knows */
    while ((c = getc(in->file)) != EOF)
        *count += c == '\n';
    return fseek(in->file, at, SEEK_SET) == 0 ? APR_SUCCESS
                                              : broken(in, pool, strerror(errno), why);
}

/* ---- CSV ---- */

typedef struct {
    char *text;
    size_t len, room;
    apr_pool_t *pool;
} cell_text;

static void put(cell_text *t, int c)
{
    if (t->len + 1 >= t->room) {
        char *more = apr_palloc(t->pool, t->room *= 2);

        memcpy(more, t->text, t->len);
        t->text = more;
    }
    t->text[t->len++] = (char)c;
}

static int next_of(source_file *in)
{
    return in->ahead < in->ahead_end ? (unsigned char)*in->ahead++ : getc(in->file);
}

/* One cell, without its quotes. *last: what ended it, the separator, a line feed or EOF. */
static const char *read_cell(source_file *in, cell_text *t, int *last)
{
    int c = next_of(in), quoted = c == '"';

    t->len = 0;
    if (quoted)
        c = next_of(in);
    for (; c != EOF && t->len < RECORD_MAX; c = next_of(in)) {
        if (quoted && c == '"') {
            c = next_of(in);
            if (c != '"') { /* the end of it; what follows is the separator */
                quoted = 0;
                if (c == '\r')
                    c = next_of(in);
            }
        }
        if (!quoted && (c == in->separator || c == '\n' || c == EOF))
            break;
        in->at += c == '\n';
        put(t, c);
    }
    *last = quoted || t->len >= RECORD_MAX ? 0 : c;
    if (t->len > 0 && t->text[t->len - 1] == '\r' && *last != in->separator)
        t->len--;
    return apr_pstrmemdup(t->pool, t->text, t->len);
}

/* The cells of the next record that is not an empty line. APR_EOF. */
static apr_status_t read_record(source_file *in, apr_pool_t *pool, apr_array_header_t **cells,
                                const char **why)
{
    cell_text t = {apr_palloc(pool, 256), 0, 256, pool};
    int last;

    do {
        in->line = ++in->at;
        *cells = apr_array_make(pool, 16, sizeof(const char *));
        do {
            const char *cell = read_cell(in, &t, &last);

            if (last == 0)
                return broken(in, pool, "a quotation mark is opened and never closed", why);
            if (strlen(cell) != t.len || biz_utf8_count(cell, t.len) < 0)
                return broken(in, pool,
                              "this is not UTF-8; convert the file first, as with: iconv -f "
                              "windows-1252 -t utf-8",
                              why);
            APR_ARRAY_PUSH(*cells, const char *) = cell;
        } while (last == in->separator && (*cells)->nelts < CELLS_MAX);
        if (last == in->separator)
            return broken(in, pool, "there are more than 256 cells", why);
        if (ferror(in->file))
            return broken(in, pool, strerror(errno), why);
        if (last == EOF && (*cells)->nelts == 1 && *APR_ARRAY_IDX(*cells, 0, const char *) == '\0')
            return APR_EOF;
    } while ((*cells)->nelts == 1 && *APR_ARRAY_IDX(*cells, 0, const char *) == '\0');
    return APR_SUCCESS;
}

enum { EMAIL, PASSWORD, NAME, PHONE, VERIFIED, CREATED, ROLE, FIELDS };
static const struct {
    const char *option;
    const char *usual[3];
} field_names[FIELDS] = {
    [EMAIL] = {"email-field", {"email", "e-mail", "email_address"}},
    [PASSWORD] = {"password-field", {"password_hash", "hashed_password", "password"}},
    [NAME] = {"name-field", {"name", "full_name", NULL}},
    [PHONE] = {"phone-field", {"phone", "phone_number", NULL}},
    [VERIFIED] = {"verified-field", {"email_verified", "is_verified", NULL}},
    [CREATED] = {"created-field", {"created_at", "createdat", NULL}},
    [ROLE] = {"role-field", {"role", NULL, NULL}}};

static const char *cell_named(const source_file *in, const apr_array_header_t *cells,
                              const char *name)
{
    int i;

    for (i = 0; name != NULL && i < in->header->nelts && i < cells->nelts; i++) {
        const char *value = APR_ARRAY_IDX(cells, i, const char *);

        if (!strcasecmp(APR_ARRAY_IDX(in->header, i, const char *), name) && value[0] != '\0')
            return value;
    }
    return NULL;
}

static const char *cell_of(const source_file *in, const apr_array_header_t *cells, int field)
{
    const char *value = NULL;
    size_t i;

    if (in->columns[field] != NULL)
        return cell_named(in, cells, in->columns[field]);
    for (i = 0; i < STORE_COUNT_OF(field_names[field].usual) && value == NULL; i++)
        value = cell_named(in, cells, field_names[field].usual[i]);
    return value;
}

/* 1, 0, or -1 where it says neither. */
static int truth_of(const char *text)
{
    static const char *const yes[] = {"true", "t", "yes", "y", "1", "on"};
    static const char *const no[] = {"false", "f", "no", "n", "0", "off"};
    size_t i;

    for (i = 0; text != NULL && i < STORE_COUNT_OF(yes); i++) {
        if (!strcasecmp(text, yes[i]))
            return 1;
        if (!strcasecmp(text, no[i]))
            return 0;
    }
    return -1;
}

/* An instant, or a day. */
static apr_time_t time_of(apr_pool_t *pool, const char *text)
{
    apr_time_t t = 0;

    if (text != NULL && !biz_time_parse(text, &t) &&
        !biz_time_parse(apr_pstrcat(pool, text, "T00:00:00Z", NULL), &t))
        t = 0;
    return t;
}

static apr_status_t csv_next(void *self, apr_pool_t *pool, import_user *user, const char **why)
{
    source_file *in = self;
    apr_array_header_t *cells;
    apr_status_t rv = read_record(in, pool, &cells, why);

    if (rv != APR_SUCCESS)
        return rv;
    memset(user, 0, sizeof(*user));
    user->email = cell_of(in, cells, EMAIL);
    user->shown = user->email != NULL
                      ? user->email
                      : apr_psprintf(pool, "line %" APR_INT64_T_FMT, (apr_int64_t)in->line);
    user->hash = cell_of(in, cells, PASSWORD);
    user->name = cell_of(in, cells, NAME);
    user->phone = cell_of(in, cells, PHONE);
    user->role = cell_of(in, cells, ROLE);
    user->verified = truth_of(cell_of(in, cells, VERIFIED));
    user->disabled = truth_of(cell_named(in, cells, "disabled")) == 1 ||
                     truth_of(cell_named(in, cells, "is_active")) == 0;
    user->created_at = time_of(pool, cell_of(in, cells, CREATED));
    return APR_SUCCESS;
}

static int has_column(const source_file *in, const char *name)
{
    int i;

    for (i = 0; name != NULL && i < in->header->nelts; i++) {
        if (!strcasecmp(APR_ARRAY_IDX(in->header, i, const char *), name))
            return 1;
    }
    return 0;
}

/* Whichever of the three the first line has most of. The line is read again from `ahead`: a pipe
 * does not go back. */
static char guess_separator(source_file *in, apr_pool_t *pool)
{
    static const char all[] = ",;\t";
    long counts[3] = {0}, best = 0;
    cell_text line = {apr_palloc(pool, 256), 0, 256, pool};
    int c, i;

    do {
        c = getc(in->file);
        if (c == EOF)
            break;
        put(&line, c);
        for (i = 0; i < 3; i++)
            counts[i] += c == all[i];
    } while (c != '\n' && line.len < RECORD_MAX);
    for (i = 1; i < 3; i++) {
        if (counts[i] > counts[best])
            best = i;
    }
    in->ahead = line.text;
    in->ahead_end = line.text + line.len;
    return all[best];
}

static int read_header(cli *c, source_file *in)
{
    const char *why = "it is empty", *separator = cli_opt(c, "separator"), *first;
    size_t i;

    if (separator != NULL && (strlen(separator) != 1 || strchr("\"\r\n", separator[0]) != NULL))
        return cli_usage(c, "--separator must be one character");
    in->separator = separator != NULL ? separator[0] : guess_separator(in, c->pool);
    if (read_record(in, c->pool, &in->header, &why) != APR_SUCCESS)
        return cli_fail(CLI_FAILED, "the source cannot be read: %s", why);
    first = APR_ARRAY_IDX(in->header, 0, const char *);
    if (!strncmp(first, "\xef\xbb\xbf", 3)) /* a mark of its encoding, by a spreadsheet */
        APR_ARRAY_IDX(in->header, 0, const char *) = first + 3;
    for (i = 0; i < FIELDS; i++) {
        in->columns[i] = cli_opt(c, field_names[i].option);
        if (in->columns[i] != NULL && !has_column(in, in->columns[i]))
            return cli_usage(c, "--%s: the first line of %s has no column \"%s\"",
                             field_names[i].option, in->path, cli_text(c->pool, in->columns[i]));
    }
    for (i = 0; i < 3 && in->columns[EMAIL] == NULL; i++) {
        if (has_column(in, field_names[EMAIL].usual[i]))
            return CLI_OK;
    }
    return in->columns[EMAIL] != NULL
               ? CLI_OK
               : cli_usage(c,
                           "the first line of %s has no column \"email\"; --email-field names it",
                           in->path);
}

static int open_csv(cli *c, import_source *source)
{
    source_file *in;
    int status = open_file(c, &in);

    if (status == CLI_OK)
        status = read_header(c, in);
    if (status == CLI_OK)
        *source = (import_source){
            .kind = "csv",
            .self = in,
            .count = count_lines,
            .next = csv_next,
            .nothing =
                apr_pstrcat(c->pool, "there is nothing below the first line of ", in->path, NULL)};
    return status;
}

int cmd_import_csv(cli *c)
{
    return import_all(c, open_csv);
}

/* ---- htpasswd ---- */

/* "user:hash"; lines that begin with '#' are comments. */
static apr_status_t htpasswd_next(void *self, apr_pool_t *pool, import_user *user, const char **why)
{
    source_file *in = self;
    char line[1024], *colon;
    size_t len;

    do {
        in->line++;
        if (fgets(line, sizeof(line), in->file) == NULL)
            return ferror(in->file) ? broken(in, pool, strerror(errno), why) : APR_EOF;
        len = strlen(line);
        if (len + 1 == sizeof(line) && line[len - 1] != '\n')
            return broken(in, pool, "it is too long for a line of htpasswd", why);
        line[strcspn(line, "\r\n")] = '\0';
    } while (line[0] == '\0' || line[0] == '#');
    colon = strchr(line, ':');
    if (colon == NULL || biz_utf8_count(line, strlen(line)) < 0)
        return broken(in, pool, "this is no line of htpasswd: USER:HASH", why);
    *colon = '\0';
    memset(user, 0, sizeof(*user));
    user->verified = -1;
    user->hash = apr_pstrdup(pool, colon + 1);
    user->email = strchr(line, '@') == NULL && in->domain != NULL
                      ? apr_pstrcat(pool, line, "@", in->domain, NULL)
                      : apr_pstrdup(pool, line);
    user->shown = user->email;
    /* A name to be called by until its owner has another one. */
    user->name = apr_pstrmemdup(pool, line, strcspn(line, "@"));
    return APR_SUCCESS;
}

static int open_htpasswd(cli *c, import_source *source)
{
    source_file *in;
    int status = open_file(c, &in);

    if (status != CLI_OK)
        return status;
    in->domain = cli_opt(c, "domain");
    *source =
        (import_source){.kind = "htpasswd",
                        .self = in,
                        .count = count_lines,
                        .next = htpasswd_next,
                        .nothing = apr_pstrcat(c->pool, "there is no user in ", in->path, NULL)};
    return CLI_OK;
}

int cmd_import_htpasswd(cli *c)
{
    return import_all(c, open_htpasswd);
}
