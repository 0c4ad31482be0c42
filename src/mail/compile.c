/* compile.c: the language of the mail templates, described in mail.h. Called by template.c. It has
 * no logic beyond "kept where the value is there", and a value is never looked at as a template. */
#include "compile.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "brand.h"
#include "core/str.h"

typedef enum {
    PIECE_TEXT,
    PIECE_VALUE,
    PIECE_WORDS,
    PIECE_SECTION,
    PIECE_END,
    PIECE_CONTENT
} piece_kind;

typedef struct {
    piece_kind kind;
    const char *text; /* TEXT: the text; else the name */
    size_t len;
    int line;
    int end;                /* SECTION: index of its END */
    int isolated;           /* stands in the text of HTML: <bdi> keeps its direction to itself */
    const mail_text *words; /* WORDS */
} piece;

/* ---- where in HTML a mark stands ---- */

typedef enum { IN_TEXT, IN_TAG, IN_DOUBLE, IN_SINGLE, IN_COMMENT, IN_STYLE } html_place;

typedef struct {
    html_place place;
    const char *tag;       /* begin of the tag's name */
    const char *attribute; /* begin of the attribute's name, while between quotes */
} html_state;

static int is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == ':';
}

/* 1 where `text` begins with the word and the word ends there. */
static int is_word(const char *text, const char *word)
{
    size_t len = strlen(word);

    return text && strncasecmp(text, word, len) == 0 && !is_name_char(text[len]);
}

static void quote_opens(html_state *state, const char *quote)
{
    const char *at = quote;

    state->place = *quote == '"' ? IN_DOUBLE : IN_SINGLE;
    while (at[-1] == '=' || at[-1] == ' ') {
        at--;
    }
    while (is_name_char(at[-1])) {
        at--;
    }
    state->attribute = at;
}

/* Takes the state over the characters from `at` up to `end`. Only what templates need of HTML's
 * tokens: tags, quoted attributes, comments, style sheets. */
static void html_walk(html_state *state, const char *at, const char *end)
{
    for (; at < end; at++) {
        switch (state->place) {
        case IN_TEXT:
            if (strncmp(at, "<!--", 4) == 0) {
                state->place = IN_COMMENT;
            } else if (*at == '<' && (is_name_char(at[1]) || at[1] == '/' || at[1] == '!')) {
                state->place = IN_TAG;
                state->tag = at + 1;
            }
            break;
        case IN_TAG:
            if (*at == '"' || *at == '\'') {
                quote_opens(state, at);
            } else if (*at == '>') {
                state->place = is_word(state->tag, "style") ? IN_STYLE : IN_TEXT;
            }
            break;
        case IN_DOUBLE:
        case IN_SINGLE:
            if (*at == (state->place == IN_DOUBLE ? '"' : '\'')) {
                state->place = IN_TAG;
            }
            break;
        case IN_COMMENT:
            if (strncmp(at, "-->", 3) == 0) {
                state->place = IN_TEXT;
            }
            break;
        case IN_STYLE:
            if (strncasecmp(at, "</style", 7) == 0) {
                state->place = IN_TAG;
                state->tag = at + 1;
            }
            break;
        }
    }
}

/* 1 where a tag may stand. In a title it would be text. */
static int takes_tags(const html_state *state)
{
    return state->place == IN_TEXT && !is_word(state->tag, "title");
}

static int is_url_name(const char *name)
{
    size_t len = strlen(name);

    return len > 4 && strcmp(name + len - 4, "_url") == 0;
}

/* NULL, or why the value `name` may not stand here. */
static const char *html_refuses(const html_state *state, const char *name)
{
    switch (state->place) {
    case IN_TEXT:
        return NULL;
    case IN_TAG:
    case IN_SINGLE:
        return "a value inside of a tag must stand between double quotes";
    case IN_COMMENT: /* Outlook reads some of them */
        return mail_brand_is_style(name) ? NULL : "a value must not stand in a comment";
    case IN_STYLE:
        break;
    case IN_DOUBLE:
        if (is_word(state->attribute, "href") || is_word(state->attribute, "src")) {
            return is_url_name(name) ? NULL : "in href and src only values named ..._url may stand";
        }
        if (strncasecmp(state->attribute, "on", 2) == 0) {
            return "a value must not stand in a script";
        }
        if (!is_word(state->attribute, "style")) {
            return NULL;
        }
        break;
    }
    return mail_brand_is_style(name) ? NULL
                                     : "in style sheets only the brand's colours and sides may "
                                       "stand";
}

/* ---- from text to pieces ---- */

typedef struct {
    apr_pool_t *pool;
    mail_text *text;
    int flags;
    const char *source, *at; /* everything before `at` is in pieces */
    int line;                /* of `at` */
    html_state html;
    apr_array_header_t *open; /* int: indexes of sections that are not closed yet */
    const mail_lookup *lookup;
    int contents;
    const char *why;
} compiler;

static int fails(compiler *c, const char *what)
{
    c->why = apr_psprintf(c->pool, "%s:%d: %s", c->text->file, c->line, what);
    return 0;
}

static piece *add(compiler *c, piece_kind kind, const char *text, size_t len)
{
    piece *p = apr_array_push(c->text->pieces);

    *p = (piece){.kind = kind, .text = text, .len = len, .line = c->line};
    return p;
}

/* Moves to `to`, counting lines and walking HTML. */
static void move(compiler *c, const char *to)
{
    if (c->flags & MAIL_TEXT_HTML) {
        html_walk(&c->html, c->at, to);
    }
    for (; c->at < to; c->at++) {
        c->line += *c->at == '\n';
    }
}

/* A section's mark that is alone on its line takes the line with it. *from and *to are the mark. */
static void widen(const compiler *c, const char **from, const char **to)
{
    const char *begin = *from, *end = *to;

    while (begin > c->source && (begin[-1] == ' ' || begin[-1] == '\t')) {
        begin--;
    }
    while (*end == ' ' || *end == '\t' || *end == '\r') {
        end++;
    }
    if ((begin == c->source || begin[-1] == '\n') && *end == '\n') {
        *from = begin;
        *to = end + 1;
    }
}

static int close_section(compiler *c, const char *name)
{
    int *open = apr_array_pop(c->open);
    piece *section;

    if (!open) {
        return fails(c, apr_psprintf(c->pool, "{{/%s}} without {{#%s}}", name, name));
    }
    section = &APR_ARRAY_IDX(c->text->pieces, *open, piece);
    if (strcmp(section->text, name) != 0) {
        return fails(
            c, apr_psprintf(c->pool, "{{/%s}} where {{/%s}} must come first", name, section->text));
    }
    section->end = c->text->pieces->nelts;
    add(c, PIECE_END, name, 0);
    return 1;
}

static int content_mark(compiler *c, const char *mark)
{
    if (!(c->flags & MAIL_TEXT_LAYOUT) || c->contents++ > 0) {
        return fails(c, "{{{content}}} belongs once into a layout, and nowhere else");
    }
    if ((c->flags & MAIL_TEXT_HTML) && c->html.place != IN_TEXT) {
        return fails(c, "{{{content}}} must not stand inside of a tag");
    }
    add(c, PIECE_CONTENT, "content", 0);
    move(c, mark + strlen("{{{content}}}"));
    return 1;
}

/* Texts that are made of values themselves: their direction is the mail's. */
static int is_composed(const char *name)
{
    return strcmp(name, "subject") == 0 || strcmp(name, "preheader") == 0 ||
           strcmp(name, "reason") == 0;
}

static int value_mark(compiler *c, const char *name)
{
    const char *refused = c->flags & MAIL_TEXT_HTML ? html_refuses(&c->html, name) : NULL;

    if (refused) {
        return fails(c, apr_psprintf(c->pool, "{{%s}}: %s", name, refused));
    }
    add(c, PIECE_VALUE, name, 0)->isolated =
        (c->flags & MAIL_TEXT_HTML) && takes_tags(&c->html) && !is_composed(name);
    return 1;
}

static int words_mark(compiler *c, const char *name)
{
    const char *refused = c->flags & MAIL_TEXT_HTML ? html_refuses(&c->html, name) : NULL;
    const mail_text *words;
    piece *p;

    if (refused || !c->lookup) {
        return fails(c, apr_psprintf(c->pool, "{{>%s}}: %s", name,
                                     refused ? refused : "texts hold no other texts"));
    }
    words = c->lookup->find(c->lookup->context, name);
    if (!words) {
        return fails(c, apr_psprintf(c->pool, "{{>%s}}: there is no such text in %s", name,
                                     c->lookup->where));
    }
    p = add(c, PIECE_WORDS, name, 0);
    p->words = words;
    p->isolated = takes_tags(&c->html);
    return 1;
}

/* One mark, at `mark`; the text before it is still to be added. */
static int take_mark(compiler *c, const char *mark)
{
    int is_section = mark[2] == '#', is_end = mark[2] == '/', is_words = mark[2] == '>';
    const char *begin = mark + 2 + (is_section || is_end || is_words), *name, *from = mark, *to;
    size_t len = strspn(begin, "abcdefghijklmnopqrstuvwxyz0123456789_");

    to = begin + len + 2;
    if (len > 0 && begin[len] == '}' && begin[len + 1] == '}' && (is_section || is_end)) {
        widen(c, &from, &to);
    }
    if (from > c->at) {
        add(c, PIECE_TEXT, c->at, (size_t)(from - c->at));
        move(c, from);
    }
    move(c, mark > c->at ? mark : c->at);
    if (strncmp(mark, "{{{content}}}", strlen("{{{content}}}")) == 0) {
        return content_mark(c, mark);
    }
    if (len == 0 || begin[len] != '}' || begin[len + 1] != '}') {
        return fails(c, "this mark is not closed or not known; there are {{name}}, {{#name}}, "
                        "{{/name}} and {{>text}}");
    }
    name = apr_pstrmemdup(c->pool, begin, len);
    if (is_section) {
        *(int *)apr_array_push(c->open) = c->text->pieces->nelts;
        add(c, PIECE_SECTION, name, 0);
    } else if (is_end) {
        if (!close_section(c, name)) {
            return 0;
        }
    } else if (is_words ? !words_mark(c, name) : !value_mark(c, name)) {
        return 0;
    }
    for (; c->at < to; c->at++) { /* the mark itself is no HTML */
        c->line += *c->at == '\n';
    }
    return 1;
}

static int compile_all(compiler *c)
{
    const char *mark;

    while ((mark = strstr(c->at, "{{")) != NULL) {
        if (!take_mark(c, mark)) {
            return 0;
        }
    }
    if (*c->at) {
        add(c, PIECE_TEXT, c->at, strlen(c->at));
        move(c, c->at + strlen(c->at));
    }
    if (c->open->nelts > 0) {
        const piece *p = &APR_ARRAY_IDX(c->text->pieces, APR_ARRAY_IDX(c->open, 0, int), piece);

        c->line = p->line;
        return fails(c, apr_psprintf(c->pool, "{{#%s}} is never closed", p->text));
    }
    if ((c->flags & MAIL_TEXT_LAYOUT) && c->contents == 0) {
        return fails(c, "a layout must hold {{{content}}}");
    }
    if (c->html.place != IN_TEXT) {
        return fails(c, "a tag, a comment or a style sheet is never closed");
    }
    return 1;
}

mail_text *mail_text_compile(apr_pool_t *pool, const char *file, int first_line, int flags,
                             const char *source, const mail_lookup *lookup, const char **why)
{
    mail_text *text = apr_pcalloc(pool, sizeof(*text));
    compiler c = {.pool = pool,
                  .text = text,
                  .flags = flags,
                  .source = apr_pstrdup(pool, source),
                  .lookup = lookup,
                  .line = first_line,
                  .open = apr_array_make(pool, 4, sizeof(int))};
    const char *script = flags & MAIL_TEXT_HTML ? strcasestr(c.source, "<script") : NULL;

    c.at = c.source;
    text->file = file;
    text->html = (flags & MAIL_TEXT_HTML) != 0;
    text->pieces = apr_array_make(pool, 32, sizeof(piece));
    if (script) { /* a value in it would be code */
        move(&c, script);
        fails(&c, "mails hold no scripts");
    } else if (compile_all(&c)) {
        return text;
    }
    *why = c.why;
    return NULL;
}

/* ---- from pieces and values to text ---- */

typedef struct {
    apr_pool_t *pool;
    char *data;
    size_t len, room;
} buffer;

static void put(buffer *b, const char *data, size_t len)
{
    if (b->len + len + 1 > b->room) {
        size_t room = (b->len + len + 1) * 2;
        char *more = apr_palloc(b->pool, room);

        if (b->len > 0) {
            memcpy(more, b->data, b->len);
        }
        b->data = more;
        b->room = room;
    }
    memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

static void put_escaped(buffer *b, const char *text)
{
    for (;;) {
        size_t plain = strcspn(text, "&<>\"'");

        put(b, text, plain);
        text += plain;
        switch (*text++) {
        case '&':
            put(b, "&amp;", 5);
            break;
        case '<':
            put(b, "&lt;", 4);
            break;
        case '>':
            put(b, "&gt;", 4);
            break;
        case '"':
            put(b, "&quot;", 6);
            break;
        case '\'':
            put(b, "&#39;", 5);
            break;
        default:
            return;
        }
    }
}

/* An address that is safe to click and to print: RFC 3986 characters only. */
static int is_good_url(const char *value)
{
    static const char *const schemes[] = {"https://", "http://", "mailto:", "tel:", NULL};

    for (const char *const *s = schemes; *s; s++) {
        size_t len = strlen(*s);

        if (strncmp(value, *s, len) == 0 && value[len]) {
            return value[strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                       "0123456789-._~:/?#[]@!$&'()*+,;=%")] == '\0';
        }
    }
    return 0;
}

/* What the pieces go into. Of HTML and RTL one at most. */
typedef enum { INTO_PLAIN, INTO_RTL, INTO_HTML, INTO_HTML_TEXT } fill_into;

/* U+2068 and U+2069: a Latin name or number within a line from right to left keeps its order. An
 * address stays bare, for readers that make links of it. */
static void put_value(buffer *b, const piece *p, const char *value, fill_into into)
{
    const char *open = "", *shut = "";

    if (into == INTO_HTML_TEXT || (into == INTO_HTML && p->isolated)) {
        open = "<bdi>";
        shut = "</bdi>";
    } else if (into == INTO_RTL && !is_url_name(p->text) && !is_composed(p->text)) {
        /* The other half is in `shut`. NOLINTNEXTLINE(misc-misleading-bidirectional) */
        open = "\xe2\x81\xa8";
        shut = "\xe2\x81\xa9";
    }
    put(b, open, strlen(open));
    if (into == INTO_HTML || into == INTO_HTML_TEXT) {
        put_escaped(b, value);
    } else {
        put(b, value, strlen(value));
    }
    put(b, shut, strlen(shut));
}

/* NULL, or what is wrong with the value for this place. */
static const char *value_error(const piece *p, const char *value)
{
    if (!value || !value[0]) {
        return "has no value";
    }
    return biz_utf8_count(value, strlen(value)) < 0 || (is_url_name(p->text) && !is_good_url(value))
               ? "has a value that may not stand there"
               : NULL;
}

static int fill(buffer *b, const mail_text *text, const apr_table_t *values, const char *content,
                fill_into into, const char **why)
{
    for (int i = 0; i < text->pieces->nelts; i++) {
        const piece *p = &APR_ARRAY_IDX(text->pieces, i, piece);
        const char *value = p->kind == PIECE_VALUE || p->kind == PIECE_SECTION
                                ? apr_table_get(values, p->text)
                                : NULL;

        switch (p->kind) {
        case PIECE_TEXT:
            if (text->html || into == INTO_PLAIN || into == INTO_RTL) {
                put(b, p->text, p->len);
            } else { /* words */
                put_escaped(b, apr_pstrmemdup(b->pool, p->text, p->len));
            }
            break;
        case PIECE_CONTENT:
            put(b, content, strlen(content));
            break;
        case PIECE_SECTION:
            if (!value || !value[0]) {
                i = p->end;
            }
            break;
        case PIECE_END:
            break;
        case PIECE_WORDS:
            if (!fill(b, p->words, values, NULL,
                      into == INTO_HTML && p->isolated ? INTO_HTML_TEXT : into, why)) {
                return 0;
            }
            break;
        case PIECE_VALUE:
            *why = value_error(p, value);
            if (*why) {
                *why =
                    apr_psprintf(b->pool, "%s:%d: {{%s}} %s", text->file, p->line, p->text, *why);
                return 0;
            }
            put_value(b, p, value, into);
            break;
        }
    }
    return 1;
}

const char *mail_text_fill(apr_pool_t *pool, const mail_text *text, const apr_table_t *values,
                           const char *content, int rtl, const char **why)
{
    buffer b = {.pool = pool};
    fill_into into = text->html ? INTO_HTML : rtl ? INTO_RTL : INTO_PLAIN;

    put(&b, "", 0);
    return fill(&b, text, values, content, into, why) ? b.data : NULL;
}
