/* compile.h: one template file as a list of pieces, and its pieces with values in them. Between
 * template.c and compile.c alone. */
#ifndef BIZ_MAIL_COMPILE_H
#define BIZ_MAIL_COMPILE_H

#include <apr_pools.h>
#include <apr_tables.h>

typedef struct {
    const char *file; /* for messages */
    int html;
    apr_array_header_t *pieces;
} mail_text;

enum { MAIL_TEXT_HTML = 1, MAIL_TEXT_LAYOUT = 2 };

/* Where {{>name}} finds its text: of one language and one mail. */
typedef struct {
    const mail_text *(*find)(void *context, const char *name);
    void *context;
    const char *where; /* for messages: "texts.de.ini under [password_reset] or [common]" */
} mail_lookup;

/* `first_line`: the line of `file` that `source` begins at. NULL and *why ("file:line: what").
 * In HTML a value may stand in text or between double quotes; in href and src only one whose name
 * ends in _url; in style sheets only the brand's colours and sides. A layout must hold
 * {{{content}}} once, others must not. `lookup` NULL: {{>name}} is an error. */
mail_text *mail_text_compile(apr_pool_t *pool, const char *file, int first_line, int flags,
                             const char *source, const mail_lookup *lookup, const char **why);

/* NULL and *why where a value is missing, empty, not UTF-8, or (named ..._url) no address of https,
 * http, mailto or tel. `content` goes into {{{content}}} as it is. In the text of HTML each value
 * is isolated by <bdi>, in plain text of a language from right to left (`rtl`) by U+2068 and
 * U+2069. */
const char *mail_text_fill(apr_pool_t *pool, const mail_text *text, const apr_table_t *values,
                           const char *content, int rtl, const char **why);

#endif
