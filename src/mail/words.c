/* words.c: reads texts.<language>.ini. Called by template.c while templates are loaded; looks at
 * one file's text, and knows nothing of which texts a mail needs. */
#include "words.h"

#include <string.h>

#include <apr_strings.h>

static const char name_chars[] = "abcdefghijklmnopqrstuvwxyz0123456789_";

mail_words *mail_words_new(apr_pool_t *pool)
{
    mail_words *words = apr_pcalloc(pool, sizeof(*words));

    words->by_name = apr_hash_make(pool);
    words->sections = apr_hash_make(pool);
    return words;
}

static char *trimmed(char *line)
{
    char *end;

    line += strspn(line, " \t");
    end = line + strlen(line);
    while (end > line && strchr(" \t\r", end[-1])) {
        *--end = '\0';
    }
    return line;
}

/* "[password_reset]" or "[appointment_reminder.24h]": what stands between. */
static const char *section_of(char *line)
{
    size_t len = strspn(line + 1, name_chars);

    if (len > 0 && line[1 + len] == '.') {
        size_t more = strspn(line + 2 + len, name_chars);

        len = more > 0 ? len + 1 + more : 0;
    }
    if (len == 0 || strcmp(line + 1 + len, "]") != 0) {
        return NULL;
    }
    line[1 + len] = '\0';
    return line + 1;
}

/* One "name = text". NULL, or what is wrong. */
static const char *take_text(apr_pool_t *pool, mail_words *words, const char *section, char *line,
                             int number, int own, apr_hash_t *seen)
{
    size_t len = strspn(line, name_chars);
    const char *key, *why = NULL;
    char *text;
    mail_word *word;

    text = line + len + strspn(line + len, " \t");
    if (len == 0 || *text != '=') {
        return "a line must be [section], name = text, or a comment after #";
    }
    text = trimmed(text + 1);
    line[len] = '\0';
    if (!*text) {
        return apr_psprintf(pool, "the text \"%s\" is empty", line);
    }
    key = apr_pstrcat(pool, section, "/", line, NULL);
    if (apr_hash_get(seen, key, APR_HASH_KEY_STRING)) {
        return apr_psprintf(pool, "the text \"%s\" is there twice", line);
    }
    apr_hash_set(seen, key, APR_HASH_KEY_STRING, key);
    word = apr_pcalloc(pool, sizeof(*word));
    word->own = own;
    word->text = mail_text_compile(pool, words->file, number, 0, text, NULL, &why);
    apr_hash_set(words->by_name, key, APR_HASH_KEY_STRING, word);
    return why ? strchr(strchr(why, ':') + 1, ' ') + 1 : NULL; /* it has file and line already */
}

int mail_words_read(apr_pool_t *pool, mail_words *words, const char *file, const char *source,
                    int own, const char **why)
{
    char *at = apr_pstrdup(pool, source);
    const char *section = NULL, *wrong = NULL;
    apr_hash_t *seen = apr_hash_make(pool);
    int number = 1;

    words->file = file;
    at += strncmp(at, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* some editors begin UTF-8 with it */
    for (char *next; at && !wrong; at = next, number++) {
        char *line;

        next = strchr(at, '\n');
        if (next) {
            *next++ = '\0';
        }
        line = trimmed(at);
        if (!*line || *line == '#' || *line == ';') {
            continue;
        }
        if (*line == '[') {
            section = section_of(line);
            wrong = section ? NULL : "a section is a line such as [password_reset]";
            apr_hash_set(words->sections, section ? section : "", APR_HASH_KEY_STRING, section);
        } else if (!section) {
            wrong = "a text must stand under a [section]";
        } else {
            wrong = take_text(pool, words, section, line, number, own, seen);
        }
        if (wrong) {
            *why = apr_psprintf(pool, "%s:%d: %s", file, number, wrong);
        }
    }
    return !wrong;
}

const mail_word *mail_words_get(apr_pool_t *pool, const mail_words *words, const char *section,
                                const char *name)
{
    return apr_hash_get(words->by_name, apr_pstrcat(pool, section, "/", name, NULL),
                        APR_HASH_KEY_STRING);
}
