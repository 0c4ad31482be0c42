/* words.h: the texts of the mails in one language, texts.<language>.ini. Between template.c and
 * words.c alone. */
#ifndef BIZ_MAIL_WORDS_H
#define BIZ_MAIL_WORDS_H

#include <apr_hash.h>
#include "compile.h"

/* `name = text` lines under [section] lines; '#' and ';' begin comments. A text is one line and may
 * hold {{name}} and {{#name}}...{{/name}}. */
typedef struct {
    const char *file;     /* for messages */
    apr_hash_t *by_name;  /* "section/name" -> mail_word */
    apr_hash_t *sections; /* "section" -> itself */
} mail_words;

typedef struct {
    mail_text *text;
    int own; /* from the operator's own folder */
} mail_word;

mail_words *mail_words_new(apr_pool_t *pool);
/* Adds the texts of a file; one that is there already is replaced by that of another file, and an
 * error within one. 0 and *why ("file:line: what"). */
int mail_words_read(apr_pool_t *pool, mail_words *words, const char *file, const char *source,
                    int own, const char **why);
/* NULL where it is not there. */
const mail_word *mail_words_get(apr_pool_t *pool, const mail_words *words, const char *section,
                                const char *name);

#endif
