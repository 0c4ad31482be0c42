/* template.c: the folder of mail templates. Loaded by the parent at configuration time, used by the
 * outbox and by bizapictl. After loading nothing here changes, so that any thread may render. */
#include "mail.h"

#include <stdlib.h>
#include <string.h>

#include <apr_file_info.h>
#include <apr_file_io.h>
#include <apr_hash.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include "brand.h"
#include "compile.h"
#include "core/str.h"
#include "words.h"

enum {
    FILE_MAX = 102400,   /* bytes: what is longer is cut by large mailbox providers */
    SUBJECT_MAX = 120,   /* code points */
    PREHEADER_MAX = 110, /* code points: more is not shown anywhere */
    WRAP = 78            /* RFC 5322 section 2.1.1 */
};
static const char default_lang[] = "en", layout_name[] = "layout", common[] = "common";

typedef struct {
    const char *file, *text;
    int own;
} source;

typedef struct {
    const char *name, *lang;
    mail_text *subject, *preheader, *reason; /* NULL in a layout */
    mail_text *text, *html;
    int own; /* something of it is the operator's */
} template;

struct mail_templates {
    apr_hash_t *files;         /* "password_reset.html" -> source */
    apr_hash_t *languages;     /* "de" -> mail_words */
    apr_hash_t *by_name;       /* "de/password_reset" -> template */
    apr_array_header_t *names; /* const char *, sorted */
};

typedef struct {
    apr_pool_t *pool;
    mail_templates *all;
    const char *dir; /* the first */
    const char *why;
} loader;

static int fails(loader *l, const char *why)
{
    l->why = why;
    return 0;
}

/* ---- from the folders ---- */

static const char *read_all(loader *l, const char *path, const char *file)
{
    apr_file_t *in = NULL;
    char *text = apr_palloc(l->pool, FILE_MAX + 1), error[200];
    apr_size_t len = 0;
    apr_status_t rv = apr_file_open(&in, path, APR_FOPEN_READ, APR_FPROT_OS_DEFAULT, l->pool);

    if (rv == APR_SUCCESS) {
        rv = apr_file_read_full(in, text, FILE_MAX + 1, &len);
        rv = rv == APR_EOF ? APR_SUCCESS : rv;
        apr_file_close(in);
    }
    if (rv != APR_SUCCESS) {
        fails(l, apr_psprintf(l->pool, "%s: %s", path, apr_strerror(rv, error, sizeof(error))));
        return NULL;
    }
    if (len > FILE_MAX || memchr(text, '\0', len) || biz_utf8_count(text, len) < 0) {
        fails(l, apr_psprintf(l->pool, "%s:1: %s", file,
                              len > FILE_MAX ? "the file is longer than 102400 bytes"
                                             : "the file is not UTF-8 text"));
        return NULL;
    }
    text[len] = '\0';
    return text;
}

/* "texts.de.ini" -> "de". NULL for another file. */
static const char *language_of(apr_pool_t *pool, const char *file)
{
    size_t len = strlen(file);
    const char *at = file + 6;

    if (len <= 10 || strncmp(file, "texts.", 6) != 0 || strcmp(file + len - 4, ".ini") != 0) {
        return NULL;
    }
    while (apr_isalnum(*at) || *at == '-') {
        at++;
    }
    return at == file + len - 4 ? apr_pstrmemdup(pool, file + 6, len - 10) : NULL;
}

/* "password_reset.html" and ".txt"; not the backups of editors and package managers. */
static int is_structure(const char *file)
{
    const char *end = file + strspn(file, "abcdefghijklmnopqrstuvwxyz_0123456789");

    return end > file && (strcmp(end, ".html") == 0 || strcmp(end, ".txt") == 0);
}

static int load_file(loader *l, const char *dir, const char *file, int own)
{
    const char *lang = language_of(l->pool, file), *text;
    mail_words *words;
    source *s;

    if (!lang && !is_structure(file)) {
        return 1;
    }
    text = read_all(l, apr_pstrcat(l->pool, dir, "/", file, NULL), file);
    if (!text) {
        return 0;
    }
    if (!lang) {
        s = apr_pcalloc(l->pool, sizeof(*s));
        *s = (source){.file = file, .text = text, .own = own};
        apr_hash_set(l->all->files, file, APR_HASH_KEY_STRING, s);
        return 1;
    }
    words = apr_hash_get(l->all->languages, lang, APR_HASH_KEY_STRING);
    if (!words) {
        words = mail_words_new(l->pool);
        apr_hash_set(l->all->languages, lang, APR_HASH_KEY_STRING, words);
    }
    return mail_words_read(l->pool, words, file, text, own, &l->why);
}

static int load_folder(loader *l, const char *dir, int own)
{
    char error[200];
    apr_dir_t *folder;
    apr_finfo_t info;
    apr_status_t rv = apr_dir_open(&folder, dir, l->pool);
    int good = 1;

    if (rv != APR_SUCCESS) {
        return fails(l,
                     apr_psprintf(l->pool, "%s: %s", dir, apr_strerror(rv, error, sizeof(error))));
    }
    while (good && apr_dir_read(&info, APR_FINFO_NAME, folder) == APR_SUCCESS) {
        good = load_file(l, dir, apr_pstrdup(l->pool, info.name), own);
    }
    apr_dir_close(folder);
    return good;
}

/* ---- from sources to templates ---- */

/* Where the texts of one mail are looked for. */
typedef struct {
    apr_pool_t *pool;
    const mail_words *words;
    const char *sections[3];
    int own;
} finder;

static const mail_text *find_words(void *context, const char *name)
{
    finder *f = context;

    for (int i = 0; i < 3; i++) {
        const mail_word *word =
            f->sections[i] ? mail_words_get(f->pool, f->words, f->sections[i], name) : NULL;

        if (word) {
            f->own |= word->own;
            return word->text;
        }
    }
    return NULL;
}

static int build_head(loader *l, template *t, const mail_lookup *lookup)
{
    struct {
        const char *name;
        mail_text **into;
    } heads[] = {{"subject", &t->subject}, {"preheader", &t->preheader}, {"reason", &t->reason}};

    for (int i = 0; i < 3; i++) {
        *heads[i].into = (mail_text *)lookup->find(lookup->context, heads[i].name);
        if (!*heads[i].into) {
            return fails(l, apr_psprintf(l->pool, "%s: the text \"%s\" is missing", lookup->where,
                                         heads[i].name));
        }
    }
    return 1;
}

/* One template in one language. `base` names its files; `name` may have a variant behind it. */
static int build(loader *l, const char *lang, const mail_words *words, const char *base,
                 const char *name)
{
    template *t = apr_pcalloc(l->pool, sizeof(*t));
    int layout = strcmp(base, layout_name) == 0;
    const source *html =
        apr_hash_get(l->all->files, apr_pstrcat(l->pool, base, ".html", NULL), APR_HASH_KEY_STRING);
    const source *text =
        apr_hash_get(l->all->files, apr_pstrcat(l->pool, base, ".txt", NULL), APR_HASH_KEY_STRING);
    finder f = {.pool = l->pool, .words = words, .sections = {name, base, common}};
    mail_lookup lookup = {.find = find_words,
                          .context = &f,
                          .where = apr_psprintf(l->pool, "%s under [%s]%s%s%s or [common]",
                                                words->file, name, strcmp(base, name) ? ", [" : "",
                                                strcmp(base, name) ? base : "",
                                                strcmp(base, name) ? "]" : "")};
    int flags = layout ? MAIL_TEXT_LAYOUT : 0;

    t->name = name;
    t->lang = lang;
    if (!layout && !build_head(l, t, &lookup)) {
        return 0;
    }
    t->text = mail_text_compile(l->pool, text->file, 1, flags, text->text, &lookup, &l->why);
    t->html = t->text ? mail_text_compile(l->pool, html->file, 1, flags | MAIL_TEXT_HTML,
                                          html->text, &lookup, &l->why)
                      : NULL;
    t->own = f.own || text->own || html->own;
    apr_hash_set(l->all->by_name, apr_pstrcat(l->pool, lang, "/", name, NULL), APR_HASH_KEY_STRING,
                 t);
    return t->html != NULL;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Each pair of files, as the sections of the default language name them: "[password_reset]", or
 * "[security_notice.password_changed]" where there are variants. Beside those the section without
 * one is a mail, too, where it has a subject, and else what they have in common. */
static int find_names(loader *l)
{
    mail_words *words = apr_hash_get(l->all->languages, default_lang, APR_HASH_KEY_STRING);

    if (!words) {
        return fails(l, apr_psprintf(l->pool, "%s: texts.%s.ini is missing", l->dir, default_lang));
    }
    for (apr_hash_index_t *i = apr_hash_first(l->pool, l->all->files); i; i = apr_hash_next(i)) {
        const char *file = apr_hash_this_key(i), *dot = strchr(file, '.');
        const char *base = apr_pstrmemdup(l->pool, file, (apr_size_t)(dot - file));
        int html = strcmp(dot, ".html") == 0, variants = 0;
        const char *other = apr_pstrcat(l->pool, base, html ? ".txt" : ".html", NULL);

        if (!apr_hash_get(l->all->files, other, APR_HASH_KEY_STRING)) {
            return fails(l, apr_psprintf(l->pool, "%s/%s: the %s beside it is missing", l->dir,
                                         file, html ? ".txt" : ".html"));
        }
        if (!html || strcmp(base, layout_name) == 0) {
            continue;
        }
        for (apr_hash_index_t *s = apr_hash_first(NULL, words->sections); s; s = apr_hash_next(s)) {
            const char *section = apr_hash_this_key(s);

            if (strncmp(section, base, strlen(base)) == 0 && section[strlen(base)] == '.') {
                APR_ARRAY_PUSH(l->all->names, const char *) = section;
                variants++;
            }
        }
        if (variants == 0 || mail_words_get(l->pool, words, base, "subject")) {
            APR_ARRAY_PUSH(l->all->names, const char *) = base;
        }
    }
    if (!apr_hash_get(l->all->files, "layout.html", APR_HASH_KEY_STRING)) {
        return fails(l,
                     apr_psprintf(l->pool, "%s: layout.txt and layout.html are missing", l->dir));
    }
    qsort(l->all->names->elts, (size_t)l->all->names->nelts, sizeof(const char *), by_text);
    return 1;
}

/* A language has those mails of which it has a section; the others stay in the default language. */
static int build_all(loader *l)
{
    for (apr_hash_index_t *i = apr_hash_first(l->pool, l->all->languages); i;
         i = apr_hash_next(i)) {
        const char *lang = apr_hash_this_key(i);
        const mail_words *words = apr_hash_this_val(i);

        if (!build(l, lang, words, layout_name, layout_name)) {
            return 0;
        }
        for (int n = 0; n < l->all->names->nelts; n++) {
            const char *name = APR_ARRAY_IDX(l->all->names, n, const char *);

            if ((strcmp(lang, default_lang) == 0 ||
                 apr_hash_get(words->sections, name, APR_HASH_KEY_STRING)) &&
                !build(l, lang, words,
                       apr_pstrmemdup(l->pool, name, (apr_size_t)strcspn(name, ".")), name)) {
                return 0;
            }
        }
    }
    return 1;
}

mail_templates *mail_templates_load(apr_pool_t *pool, const char *dir, const char *own,
                                    const char **why)
{
    mail_templates *all = apr_pcalloc(pool, sizeof(*all));
    loader l = {.pool = pool, .all = all, .dir = dir};

    all->files = apr_hash_make(pool);
    all->languages = apr_hash_make(pool);
    all->by_name = apr_hash_make(pool);
    all->names = apr_array_make(pool, 32, sizeof(const char *));
    if (load_folder(&l, dir, 0) && (!own || load_folder(&l, own, 1)) && find_names(&l) &&
        build_all(&l)) {
        return all;
    }
    *why = l.why;
    return NULL;
}

/* ---- looking ---- */

/* The template for "pt-BR": that of "pt-BR", of "pt", or of the default language. */
static const template *find(apr_pool_t *pool, const mail_templates *all, const char *name,
                            const char *locale)
{
    size_t len = locale ? strlen(locale) : 0;

    for (; len > 0; len--) {
        if (locale[len] == '\0' || locale[len] == '-') {
            const char *key = apr_pstrcat(pool, apr_pstrmemdup(pool, locale, len), "/", name, NULL);
            const template *t = apr_hash_get(all->by_name, key, APR_HASH_KEY_STRING);

            if (t) {
                return t;
            }
        }
    }
    return apr_hash_get(all->by_name, apr_pstrcat(pool, default_lang, "/", name, NULL),
                        APR_HASH_KEY_STRING);
}

const char *mail_template_lang(apr_pool_t *pool, const mail_templates *templates, const char *name,
                               const char *locale)
{
    const template *t = find(pool, templates, name, locale);

    return t ? t->lang : default_lang;
}

const apr_array_header_t *mail_template_names(const mail_templates *templates)
{
    return templates->names;
}

apr_array_header_t *mail_template_langs(apr_pool_t *pool, const mail_templates *templates)
{
    apr_array_header_t *langs = apr_array_make(pool, 4, sizeof(const char *));

    for (apr_hash_index_t *i = apr_hash_first(pool, templates->languages); i;
         i = apr_hash_next(i)) {
        APR_ARRAY_PUSH(langs, const char *) = apr_hash_this_key(i);
    }
    qsort(langs->elts, (size_t)langs->nelts, sizeof(const char *), by_text);
    return langs;
}

int mail_template_is_own(apr_pool_t *pool, const mail_templates *templates, const char *name)
{
    for (apr_hash_index_t *i = apr_hash_first(pool, templates->by_name); i; i = apr_hash_next(i)) {
        const template *t = apr_hash_this_val(i);

        if (strcmp(t->name, name) == 0 && t->own) {
            return 1;
        }
    }
    return 0;
}

/* ---- rendering ---- */

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

/* Subject, preheader and reason: into `out` and `all`. */
static int render_head(apr_pool_t *pool, const template *t, apr_table_t *all, mail_rendered *out,
                       const char **why)
{
    const char *reason = mail_text_fill(pool, t->reason, all, NULL, 0, why);

    out->subject = mail_text_fill(pool, t->subject, all, NULL, 0, why);
    out->preheader = mail_text_fill(pool, t->preheader, all, NULL, 0, why);
    if (!reason || !out->subject || !out->preheader) {
        return 0;
    }
    out->subject = mail_line(pool, out->subject, SUBJECT_MAX);
    out->preheader = mail_line(pool, out->preheader, PREHEADER_MAX);
    apr_table_setn(all, "subject", out->subject);
    apr_table_setn(all, "preheader", out->preheader);
    apr_table_setn(all, "reason", reason);
    return 1;
}

apr_status_t mail_render(apr_pool_t *pool, const mail_templates *templates,
                         const biz_settings *settings, const char *name, const char *locale,
                         const apr_table_t *values, mail_rendered *out, const char **why)
{
    const template *t = find(pool, templates, name, locale), *layout;
    apr_table_t *all = apr_table_copy(pool, values);
    const char *text, *html;
    int rtl;

    memset(out, 0, sizeof(*out));
    if (!t || !t->subject) {
        *why = apr_psprintf(pool, "there is no template \"%s\"", name);
        return APR_NOTFOUND;
    }
    layout = find(pool, templates, layout_name, t->lang);
    rtl = mail_brand_values(pool, settings, t->lang, all);
    if (!render_head(pool, t, all, out, why)) {
        return APR_EINVAL;
    }
    text = mail_text_fill(pool, t->text, all, NULL, rtl, why);
    html = text ? mail_text_fill(pool, t->html, all, NULL, rtl, why) : NULL;
    text = html ? mail_text_fill(pool, layout->text, all, text, rtl, why) : NULL;
    html = text ? mail_text_fill(pool, layout->html, all, html, rtl, why) : NULL;
    if (!html) {
        return APR_EINVAL;
    }
    out->text = wrap(pool, text);
    out->html = html;
    return APR_SUCCESS;
}
