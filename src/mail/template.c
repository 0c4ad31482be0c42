/* template.c: the folder of mail templates. Loaded by the parent at configuration time, used by the
 * outbox and by bizapictl. After loading nothing here changes, so that any thread may render. */
#include "mail.h"

#include <string.h>

#include <apr_file_info.h>
#include <apr_file_io.h>
#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include "brand.h"
#include "compile.h"
#include "core/str.h"

enum {
    FILE_MAX = 102400, /* bytes: what is longer is cut by large mailbox providers */
    SUBJECT_MAX = 120, /* code points */
    WRAP = 78          /* RFC 5322 section 2.1.1 */
};
static const char default_lang[] = "en"; /* of the files without a language in their names */

typedef struct {
    const char *lang;
    mail_text *subject, *preheader, *reason; /* NULL in a layout */
    mail_text *text, *html;
} template;

struct mail_templates {
    apr_hash_t *by_name; /* "password_reset", "password_reset.de" -> template */
};

/* ---- loading ---- */

static const char *read_all(apr_pool_t *pool, const char *path, const char *file, const char **why)
{
    apr_file_t *in = NULL;
    char *text = apr_palloc(pool, FILE_MAX + 1), error[200];
    apr_size_t len = 0;
    apr_status_t rv = apr_file_open(&in, path, APR_FOPEN_READ, APR_FPROT_OS_DEFAULT, pool);

    if (rv == APR_SUCCESS) {
        rv = apr_file_read_full(in, text, FILE_MAX + 1, &len);
        rv = rv == APR_EOF ? APR_SUCCESS : rv;
        apr_file_close(in);
    }
    if (rv != APR_SUCCESS) {
        *why = apr_psprintf(pool, "%s: %s", path, apr_strerror(rv, error, sizeof(error)));
        return NULL;
    }
    if (len > FILE_MAX || memchr(text, '\0', len) || biz_utf8_count(text, len) < 0) {
        *why = apr_psprintf(pool, "%s:1: %s", file,
                            len > FILE_MAX ? "the file is longer than 102400 bytes"
                                           : "the file is not UTF-8 text");
        return NULL;
    }
    text[len] = '\0';
    return text;
}

/* "Subject: ..." and its like, up to an empty line; what follows is the text itself. */
static int read_head(apr_pool_t *pool, const char *file, const char *source, template *t,
                     const char **why)
{
    struct {
        const char *word;
        mail_text **into;
    } heads[] = {
        {"Subject: ", &t->subject}, {"Preheader: ", &t->preheader}, {"Reason: ", &t->reason}};
    int line = 1;

    for (; *source && *source != '\n'; line++) {
        size_t len = strcspn(source, "\n"), i, n = sizeof(heads) / sizeof(heads[0]);

        for (i = 0; i < n && strncmp(source, heads[i].word, strlen(heads[i].word)) != 0; i++) {
        }
        if (i == n || *heads[i].into) {
            *why = apr_psprintf(pool,
                                "%s:%d: the file must open with one line each of \"Subject: "
                                "\", \"Preheader: \" and \"Reason: \", and an empty line",
                                file, line);
            return 0;
        }
        *heads[i].into = mail_text_compile(
            pool, file, line, 0,
            apr_pstrmemdup(pool, source + strlen(heads[i].word), len - strlen(heads[i].word)), why);
        if (!*heads[i].into) {
            return 0;
        }
        source += len + (source[len] == '\n');
    }
    if (*source != '\n' || !t->subject || !t->preheader || !t->reason) {
        *why = apr_psprintf(pool,
                            "%s:%d: \"Subject: \", \"Preheader: \" or \"Reason: \" is "
                            "missing, or the empty line after them",
                            file, line);
        return 0;
    }
    t->text = mail_text_compile(pool, file, line + 1, 0, source + 1, why);
    return t->text != NULL;
}

static int load_file(apr_pool_t *pool, const char *dir, const char *file, const char *name,
                     int html, template *t, const char **why)
{
    const char *source = read_all(pool, apr_pstrcat(pool, dir, "/", file, NULL), file, why);
    int layout = strncmp(name, "layout", 6) == 0 && (name[6] == '\0' || name[6] == '.');
    int flags = (html ? MAIL_TEXT_HTML : 0) | (layout ? MAIL_TEXT_LAYOUT : 0);
    mail_text **into = html ? &t->html : &t->text;

    if (!source) {
        return 0;
    }
    if (!html && !layout) {
        return read_head(pool, file, source, t, why);
    }
    *into = mail_text_compile(pool, file, 1, flags, source, why);
    return *into != NULL;
}

/* "password_reset.de.html" -> "password_reset.de", 1. NULL for files that are none of ours: the
 * backups of editors and package managers. */
static const char *name_of(apr_pool_t *pool, const char *file, int *html)
{
    const char *end = strrchr(file, '.');
    size_t len = end ? (size_t)(end - file) : 0, base = strspn(file, "abcdefghijklmnopqrstuvwxyz_"
                                                                     "0123456789");
    if (!end || base == 0 || (file[base] != '.') ||
        (strcmp(end, ".html") != 0 && strcmp(end, ".txt") != 0)) {
        return NULL;
    }
    for (size_t i = base + 1; i < len; i++) {
        if (!apr_isalnum(file[i]) && file[i] != '-') {
            return NULL;
        }
    }
    *html = strcmp(end, ".html") == 0;
    return apr_pstrmemdup(pool, file, len);
}

/* Each template is a pair, each language has a file without a language to fall back to, and there
 * is a layout. */
static int is_complete(apr_pool_t *pool, const mail_templates *all, const char *dir,
                       const char **why)
{
    for (apr_hash_index_t *i = apr_hash_first(pool, all->by_name); i; i = apr_hash_next(i)) {
        const char *name = apr_hash_this_key(i);
        const template *t = apr_hash_this_val(i);

        if (!t->text || !t->html) {
            *why = apr_psprintf(pool, "%s/%s: the %s beside it is missing", dir,
                                apr_pstrcat(pool, name, t->text ? ".txt" : ".html", NULL),
                                t->text ? ".html" : ".txt");
            return 0;
        }
        if (!apr_hash_get(all->by_name, name, (apr_ssize_t)strcspn(name, "."))) {
            *why = apr_psprintf(pool, "%s/%s: the file without a language is missing", dir, name);
            return 0;
        }
    }
    if (!apr_hash_get(all->by_name, "layout", APR_HASH_KEY_STRING)) {
        *why = apr_psprintf(pool, "%s: layout.txt and layout.html are missing", dir);
        return 0;
    }
    return 1;
}

mail_templates *mail_templates_load(apr_pool_t *pool, const char *dir, const char **why)
{
    mail_templates *all = apr_pcalloc(pool, sizeof(*all));
    char error[200];
    apr_dir_t *folder;
    apr_finfo_t info;
    apr_status_t rv = apr_dir_open(&folder, dir, pool);
    int good = 1, html;

    if (rv != APR_SUCCESS) {
        *why = apr_psprintf(pool, "%s: %s", dir, apr_strerror(rv, error, sizeof(error)));
        return NULL;
    }
    all->by_name = apr_hash_make(pool);
    while (good && apr_dir_read(&info, APR_FINFO_NAME, folder) == APR_SUCCESS) {
        const char *name = name_of(pool, info.name, &html), *dot;
        template *t;

        if (!name) {
            continue;
        }
        t = apr_hash_get(all->by_name, name, APR_HASH_KEY_STRING);
        if (!t) {
            t = apr_pcalloc(pool, sizeof(*t));
            dot = strchr(name, '.');
            t->lang = dot ? dot + 1 : default_lang;
            apr_hash_set(all->by_name, name, APR_HASH_KEY_STRING, t);
        }
        good = load_file(pool, dir, apr_pstrdup(pool, info.name), name, html, t, why);
    }
    apr_dir_close(folder);
    return good && is_complete(pool, all, dir, why) ? all : NULL;
}

/* ---- rendering ---- */

/* The template for "pt-BR": that of "pt-BR", of "pt", or the one without a language. */
static const template *find(apr_pool_t *pool, const mail_templates *all, const char *name,
                            const char *locale)
{
    const char *key = apr_pstrcat(pool, name, ".", locale ? locale : default_lang, NULL);
    apr_ssize_t len = (apr_ssize_t)strlen(key), least = (apr_ssize_t)strlen(name);

    while (len > least) {
        const template *t = apr_hash_get(all->by_name, key, len);

        if (t) {
            return t;
        }
        for (len--; len > least && key[len] != '-' && key[len] != '.'; len--) {
        }
    }
    return apr_hash_get(all->by_name, name, least);
}

const char *mail_template_lang(apr_pool_t *pool, const mail_templates *templates, const char *name,
                               const char *locale)
{
    const template *t = find(pool, templates, name, locale);

    return t ? t->lang : default_lang;
}

apr_array_header_t *mail_template_langs(apr_pool_t *pool, const mail_templates *templates,
                                        const char *name)
{
    apr_array_header_t *langs = apr_array_make(pool, 2, sizeof(const char *));
    size_t len = strlen(name);
    apr_hash_index_t *i;

    APR_ARRAY_PUSH(langs, const char *) = default_lang;
    for (i = apr_hash_first(pool, templates->by_name); i; i = apr_hash_next(i)) {
        const char *key = apr_hash_this_key(i);

        if (strncmp(key, name, len) == 0 && key[len] == '.') {
            APR_ARRAY_PUSH(langs, const char *) = apr_pstrdup(pool, key + len + 1);
        }
    }
    return langs;
}

/* Lines of at most WRAP code points where there is a space to break at, and never more than one
 * empty line: sections that were left out leave theirs behind. */
static const char *wrap(apr_pool_t *pool, const char *text)
{
    char *out = apr_pstrdup(pool, text), *line = out, *space = NULL, *to = out;
    const char *at = text, *next;
    int width = 0, empty = 0;

    while (*at) {
        next = at;
        if (biz_utf8_next(&next) == 0) {
            break;
        }
        if (*at == '\n') {
            empty = to == line ? empty + 1 : 0;
            if (empty < 2) {
                *to++ = '\n';
            }
            line = to;
            space = NULL;
            width = 0;
            at = next;
            continue;
        }
        if (*at == ' ') {
            space = to;
        }
        while (at < next) {
            *to++ = *at++;
        }
        if (++width > WRAP && space && space > line) {
            *space = '\n';
            line = space + 1;
            width = (int)biz_utf8_count(line, (size_t)(to - line));
            space = NULL;
        }
    }
    *to = '\0';
    return out;
}

apr_status_t mail_render(apr_pool_t *pool, const mail_templates *templates,
                         const biz_settings *settings, const char *name, const char *locale,
                         const apr_table_t *values, mail_rendered *out, const char **why)
{
    const template *t = find(pool, templates, name, locale), *layout;
    apr_table_t *all = apr_table_copy(pool, values);
    const char *text, *html;

    if (!t || !t->subject) {
        *why = apr_psprintf(pool, "there is no template \"%s\"", name);
        return APR_NOTFOUND;
    }
    layout = find(pool, templates, "layout", t->lang);
    mail_brand_values(pool, settings, t->lang, all);
    out->subject = mail_text_fill(pool, t->subject, all, NULL, why);
    out->preheader = mail_text_fill(pool, t->preheader, all, NULL, why);
    text = mail_text_fill(pool, t->reason, all, NULL, why);
    if (!out->subject || !out->preheader || !text) {
        return APR_EINVAL;
    }
    out->subject = mail_line(pool, out->subject, SUBJECT_MAX);
    apr_table_setn(all, "subject", out->subject);
    apr_table_setn(all, "preheader", out->preheader);
    apr_table_setn(all, "reason", text);
    text = mail_text_fill(pool, t->text, all, NULL, why);
    html = text ? mail_text_fill(pool, t->html, all, NULL, why) : NULL;
    text = html ? mail_text_fill(pool, layout->text, all, text, why) : NULL;
    html = text ? mail_text_fill(pool, layout->html, all, html, why) : NULL;
    if (!html) {
        return APR_EINVAL;
    }
    out->text = wrap(pool, text);
    out->html = html;
    return APR_SUCCESS;
}
