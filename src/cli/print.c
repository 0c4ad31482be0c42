/* print.c: everything bizapictl writes, to stdout what was asked for and to stderr what went wrong.
 * Nothing that came from outside reaches the terminal without cli_text(). */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <apr_strings.h>

#include "core/str.h"
#include "core/time.h"

static void say_error(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

static void say_error(const char *fmt, va_list ap)
{
    fflush(stdout);
    fputs("bizapictl: ", stderr);
    vfprintf(stderr, fmt, ap);
}

int cli_fail(int status, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say_error(fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return status;
}

int cli_usage(const cli *c, const char *fmt, ...)
{
    const char *name = c->command != NULL ? c->command->name : NULL;
    va_list ap;

    va_start(ap, fmt);
    say_error(fmt, ap);
    va_end(ap);
    fprintf(stderr, " (see: bizapictl help%s%s)\n", name != NULL ? " " : "",
            name != NULL ? name : "");
    return CLI_USAGE;
}

int cli_fail_store(cli *c, apr_status_t status)
{
    const char *text = store_strerror(c->pool, status);
    const char *shown = store_url_shown(c->pool, c->store_url);

    switch (status) {
    case STORE_EUNAVAIL:
        return cli_fail(CLI_FAILED, "%s: %s; see: bizapictl check", shown, text);
    case STORE_ENOENT:
        return cli_fail(CLI_MISSING, "%s", text);
    case STORE_EEXIST:
    case STORE_ECOND:
        return cli_fail(CLI_CONFLICT, "%s", text);
    default:
        return cli_fail(CLI_FAILED, "%s: %s", shown, text);
    }
}

void cli_say(const cli *c, const char *fmt, ...)
{
    va_list ap;

    if (c->quiet || c->json)
        return;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

void cli_print_json(const cli *c, const biz_json *value)
{
    puts(biz_json_text(c->pool, value, NULL));
}

const char *cli_text(apr_pool_t *pool, const char *text)
{
    const char *at = text, *from;
    size_t room = 0;
    char *out, *end;

    if (text == NULL || text[0] == '\0')
        return "-";
    if (biz_utf8_count(text, strlen(text)) < 0)
        return biz_printable(pool, text, 1000);
    room = strlen(text) * 10 + 1; /* "\u{10ffff}" */
    out = end = apr_palloc(pool, room);
    for (from = at; *from != '\0'; from = at) {
        uint32_t code = biz_utf8_next(&at);

        if (biz_char_is_control(code)) {
            end += apr_snprintf(end, room - (size_t)(end - out),
                                code < 0x100 ? "\\x%02x" : "\\u{%x}", code);
        } else {
            memcpy(end, from, (size_t)(at - from));
            end += at - from;
        }
    }
    *end = '\0';
    return out;
}

const char *cli_time(apr_pool_t *pool, apr_time_t t)
{
    return t == 0 ? "-" : biz_time_format(pool, t);
}

/* ---- tables ---- */

enum { COLUMNS_MAX = 12 };

struct cli_table {
    int columns, headed;
    const char *headings[COLUMNS_MAX];
    int widths[COLUMNS_MAX];
    apr_array_header_t *cells; /* const char *, row after row */
};

static int width_of(const char *text)
{
    long n = biz_utf8_count(text, strlen(text));

    return n < 0 ? (int)strlen(text) : (int)n;
}

cli_table *cli_table_new(apr_pool_t *pool, int columns, const char *const *headings)
{
    cli_table *table = apr_pcalloc(pool, sizeof(*table));
    int i;

    table->columns = columns < COLUMNS_MAX ? columns : COLUMNS_MAX;
    table->cells = apr_array_make(pool, 64, sizeof(const char *));
    for (i = 0; i < table->columns; i++) {
        table->headings[i] = headings[i];
        table->widths[i] = width_of(headings[i]);
    }
    return table;
}

void cli_table_row(cli_table *table, apr_pool_t *pool, const char *const *cells)
{
    int i, width;

    for (i = 0; i < table->columns; i++) {
        const char *cell = cli_text(pool, cells[i]);

        width = width_of(cell);
        if (width > table->widths[i])
            table->widths[i] = width;
        APR_ARRAY_PUSH(table->cells, const char *) = cell;
    }
}

static void print_row(const cli_table *table, const char *const *cells)
{
    int i, pad;

    for (i = 0; i < table->columns; i++) {
        fputs(cells[i], stdout);
        if (i + 1 == table->columns)
            break;
        for (pad = table->widths[i] + 2 - width_of(cells[i]); pad > 0; pad--)
            putchar(' ');
    }
    putchar('\n');
}

void cli_table_flush(cli_table *table)
{
    int i;

    if (table->cells->nelts == 0)
        return;
    if (!table->headed)
        print_row(table, table->headings);
    table->headed = 1;
    for (i = 0; i < table->cells->nelts; i += table->columns)
        print_row(table, (const char *const *)table->cells->elts + i);
    apr_array_clear(table->cells);
}
