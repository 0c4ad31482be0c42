/* message.c: from an envelope and a rendered mail to the bytes of RFC 5322 and MIME (RFC 2045 to
 * 2047); the only includer of GMime. Called by transport.c, in the background thread and in
 * bizapictl: GMime is started at the first message, never in a process that forks workers.
 *
 * The same input gives the same bytes: date, Message-ID and boundary come from the envelope. */
#include "mail.h"

#include <pthread.h>
#include <string.h>

#include <gmime/gmime.h>

#include <apr_strings.h>

#include "core/str.h"

enum {
    WORD_BYTES = 39, /* of text in one encoded word */
    NAME_MAX_CHARS = 200,
    SUBJECT_MAX_CHARS = 200
};
static const char charset[] = "utf-8";

static void start_gmime(void)
{
    g_mime_init();
}

/* ---- addresses ---- */

/* A bare address that needs no quoting anywhere: a dot-atom, '@', a host name. */
static int is_address(const char *text, size_t len)
{
    const char *sign = memchr(text, '@', len);
    size_t local = sign ? (size_t)(sign - text) : 0, host = sign ? len - local - 1 : 0;

    return local > 0 && local <= 64 && host > 0 && len <= 254 &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                        ".!#$%&'*+-/=?^_`{|}~") == local &&
           strspn(sign + 1, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-") >=
               host &&
           text[0] != '.' && sign[1] != '.' && sign[1] != '-';
}

/* 1 for the id of a row: it stands in Message-ID and in boundaries as it is. */
static int is_id(const char *id)
{
    return id[0] && !id[strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789_")];
}

const char *mail_address_of(apr_pool_t *pool, const char *from)
{
    const char *open = from ? strrchr(from, '<') : NULL;
    size_t len = from ? strlen(from) : 0;

    if (open) {
        if (from[len - 1] != '>') {
            return NULL;
        }
        from = open + 1;
        len = strlen(from) - 1;
    }
    return from && is_address(from, len) ? apr_pstrmemdup(pool, from, len) : NULL;
}

const char *mail_name_of(apr_pool_t *pool, const char *from)
{
    const char *open = strrchr(from, '<');
    size_t len = open ? (size_t)(open - from) : 0;

    while (len > 0 && from[len - 1] == ' ') {
        len--;
    }
    while (len > 0 && *from == ' ') {
        from++;
        len--;
    }
    if (len >= 2 && from[0] == '"' && from[len - 1] == '"') {
        from++;
        len -= 2;
    }
    return len > 0 ? mail_line(pool, apr_pstrmemdup(pool, from, len), NAME_MAX_CHARS) : NULL;
}

const char *mail_line(apr_pool_t *pool, const char *text, int max)
{
    char *out = apr_palloc(pool, strlen(text) + 1), *to = out;
    const char *next = text;
    uint32_t c;

    if (biz_utf8_count(text, strlen(text)) < 0) {
        return NULL;
    }
    for (; max > 0 && (c = biz_utf8_next(&next)) != 0; text = next, max--) {
        if (biz_char_is_control(c)) {
            *to++ = ' ';
        } else {
            memcpy(to, text, (size_t)(next - text));
            to += next - text;
        }
    }
    *to = '\0';
    return out;
}

/* ---- parts ---- */

/* Lines ending in CRLF, or in LF alone. */
static const char *with_newlines(apr_pool_t *pool, const char *text, int crlf, size_t *len)
{
    char *out = apr_palloc(pool, strlen(text) * 2 + 1), *to = out;

    for (; *text; text++) {
        if (*text == '\r' && text[1] == '\n') {
            continue;
        }
        if (*text == '\n' && crlf) {
            *to++ = '\r';
        }
        *to++ = *text;
    }
    *to = '\0';
    *len = (size_t)(to - out);
    return out;
}

/* Quoted-printable, as long as that is shorter than base64 for this text. */
static int wants_base64(const char *text)
{
    size_t high = 0, len = strlen(text);

    for (const char *p = text; *p; p++) {
        high += (unsigned char)*p >= 0x80;
    }
    return high * 6 > len; /* 1 + 2h > 4/3 */
}

/* `crlf`: each line's end is part of the text, as in calendars, and must arrive as it is. */
static GMimePart *part_of(apr_pool_t *pool, const char *type, const char *subtype, const char *text,
                          int crlf)
{
    int base64 = crlf || wants_base64(text);
    GMimePart *part = g_mime_part_new_with_type(type, subtype);
    GMimeDataWrapper *wrapper;
    GMimeStream *stream;
    size_t len;

    /* Base64 carries the CRLF of the canonical form; the encoder of quoted-printable takes LF, and
     * the writer makes CRLF of it. */
    text = with_newlines(pool, text, base64, &len);
    stream = g_mime_stream_mem_new_with_buffer(text, len);
    wrapper = g_mime_data_wrapper_new_with_stream(stream, GMIME_CONTENT_ENCODING_DEFAULT);
    g_mime_part_set_content(part, wrapper);
    g_mime_part_set_content_encoding(part, base64 ? GMIME_CONTENT_ENCODING_BASE64
                                                  : GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE);
    g_mime_object_set_content_type_parameter(GMIME_OBJECT(part), "charset", charset);
    g_object_unref(wrapper);
    g_object_unref(stream);
    return part;
}

/* The calendar entry as one more form of the same mail (RFC 6047 section 2.4). */
static GMimePart *invitation_of(apr_pool_t *pool, const mail_rendered *rendered)
{
    GMimePart *part = part_of(pool, "text", "calendar", rendered->calendar, 1);
    int cancel = rendered->calendar_method == MAIL_CALENDAR_CANCEL;

    g_mime_object_set_content_type_parameter(GMIME_OBJECT(part), "method",
                                             cancel ? "CANCEL" : "REQUEST");
    return part;
}

/* The same as a file, for those that show no invitations. */
static GMimePart *file_of(apr_pool_t *pool, const mail_rendered *rendered)
{
    GMimePart *part = part_of(pool, "application", "ics", rendered->calendar, 1);

    g_mime_object_set_disposition(GMIME_OBJECT(part), GMIME_DISPOSITION_ATTACHMENT);
    g_mime_part_set_filename(part, MAIL_CALENDAR_FILE);
    return part;
}

/* ---- the whole ---- */

/* 1 where the text may stand in a header as it is: ASCII that no reader takes for encoded words. */
static int is_plain(const char *text)
{
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p >= 0x80) {
            return 0;
        }
    }
    return strstr(text, "=?") == NULL;
}

/* One encoded word (RFC 2047 section 2) on a line of its own. */
static const char *encoded_word(apr_pool_t *pool, const char *text, const char *end)
{
    char *base64 = g_base64_encode((const guchar *)text, (gsize)(end - text));
    const char *word = apr_pstrcat(pool, " =?utf-8?B?", base64, "?=\n", NULL);

    g_free(base64);
    return word;
}

/* Words of at most 64 characters, cut between code points. GMime's own may be longer than the 75
 * that are allowed. */
static const char *encoded_words(apr_pool_t *pool, const char *text)
{
    const char *words = "", *begin = text, *at = text, *next = text;

    for (; biz_utf8_next(&next) != 0; at = next) {
        if (next - begin > WORD_BYTES) {
            words = apr_pstrcat(pool, words, encoded_word(pool, begin, at), NULL);
            begin = at;
        }
    }
    return apr_pstrcat(pool, words, encoded_word(pool, begin, at), NULL);
}

static void set_raw(GMimeMessage *message, const char *name, const char *raw)
{
    GMimeHeaderList *all = g_mime_object_get_header_list(GMIME_OBJECT(message));

    g_mime_header_set_raw_value(g_mime_header_list_get_header(all, name), raw);
}

static void set_subject(apr_pool_t *pool, GMimeMessage *message, const char *subject)
{
    if (is_plain(subject)) {
        g_mime_message_set_subject(message, subject, charset);
        return;
    }
    g_mime_message_set_subject(message, "-", charset); /* gives the header its place */
    set_raw(message, "Subject", encoded_words(pool, subject));
}

static void add_address(apr_pool_t *pool, GMimeMessage *message, GMimeAddressType type,
                        const char *header, const char *name, const char *address)
{
    InternetAddressList *list = g_mime_message_get_addresses(message, type);
    int plain = !name || is_plain(name);
    InternetAddress *mailbox = internet_address_mailbox_new(plain ? name : NULL, address);

    internet_address_list_add(list, mailbox);
    g_object_unref(mailbox);
    if (!plain) {
        set_raw(message, header,
                apr_pstrcat(pool, encoded_words(pool, name), " <", address, ">\n", NULL));
    }
}

apr_table_t *mail_headers(apr_pool_t *pool, const char *from, const mail_rendered *rendered)
{
    apr_table_t *headers = apr_table_make(pool, 6);
    const char *stop = rendered->unsubscribe_url;

    apr_table_setn(headers, "Auto-Submitted", "auto-generated"); /* RFC 3834 */
    apr_table_setn(headers, "X-Auto-Response-Suppress", "OOF, AutoReply");
    if (rendered->thread && is_id(rendered->thread)) {
        const char *id = apr_pstrcat(pool, "<", rendered->thread, strchr(from, '@'), ">", NULL);

        apr_table_setn(headers, "In-Reply-To", id);
        apr_table_setn(headers, "References", id);
    }
    if (stop && strncmp(stop, "https://", 8) == 0 && !strpbrk(stop, " \r\n<>")) {
        apr_table_setn(headers, "List-Unsubscribe", apr_pstrcat(pool, "<", stop, ">", NULL));
        apr_table_setn(headers, "List-Unsubscribe-Post", "List-Unsubscribe=One-Click");
    }
    return headers;
}

static void set_headers(apr_pool_t *pool, GMimeMessage *message, const mail_envelope *e,
                        const mail_rendered *rendered, const char *from_name, const char *from,
                        const char *to_name, const char *subject)
{
    const apr_array_header_t *more = apr_table_elts(mail_headers(pool, from, rendered));
    GMimeObject *object = GMIME_OBJECT(message);
    GDateTime *date = g_date_time_new_from_unix_utc(apr_time_sec(e->date));
    char *id = g_strdup_printf("%s@%s", e->id, strchr(from, '@') + 1);

    g_mime_message_set_date(message, date);
    add_address(pool, message, GMIME_ADDRESS_TYPE_FROM, "From", from_name, from);
    add_address(pool, message, GMIME_ADDRESS_TYPE_TO, "To", to_name, e->to);
    if (e->reply_to) {
        add_address(pool, message, GMIME_ADDRESS_TYPE_REPLY_TO, "Reply-To", NULL, e->reply_to);
    }
    set_subject(pool, message, subject);
    g_mime_message_set_message_id(message, id);
    for (int i = 0; i < more->nelts; i++) {
        const apr_table_entry_t *header = &APR_ARRAY_IDX(more, i, apr_table_entry_t);

        g_mime_object_set_header(object, header->key, header->val, NULL);
    }
    g_mime_object_set_header(object, "MIME-Version", "1.0", NULL);
    g_free(id);
    g_date_time_unref(date);
}

/* "=_" is in no line of quoted-printable or base64 (RFC 2045 section 6.7). */
static GMimeMultipart *multipart_of(apr_pool_t *pool, const char *subtype, const char *mark,
                                    const mail_envelope *e)
{
    GMimeMultipart *parts = g_mime_multipart_new_with_subtype(subtype);

    g_mime_multipart_set_boundary(parts, apr_pstrcat(pool, mark, e->id, NULL));
    return parts;
}

static void add_part(GMimeMultipart *parts, void *part)
{
    g_mime_multipart_add(parts, part);
    g_object_unref(part);
}

static void set_body(apr_pool_t *pool, GMimeMessage *message, const mail_envelope *e,
                     const mail_rendered *rendered)
{
    GMimeMultipart *forms = multipart_of(pool, "alternative", "=_", e), *all = forms;

    add_part(forms, part_of(pool, "text", "plain", rendered->text, 0));
    add_part(forms, part_of(pool, "text", "html", rendered->html, 0));
    if (rendered->calendar) {
        add_part(forms, invitation_of(pool, rendered));
        all = multipart_of(pool, "mixed", "=_m_", e);
        add_part(all, forms);
        add_part(all, file_of(pool, rendered));
    }
    g_mime_message_set_mime_part(message, GMIME_OBJECT(all));
    g_object_unref(all);
}

static const char *written(apr_pool_t *pool, GMimeMessage *message, size_t *len)
{
    GMimeFormatOptions *options = g_mime_format_options_new();
    GMimeStream *stream = g_mime_stream_mem_new();
    const GByteArray *bytes;
    const char *text = NULL;

    g_mime_format_options_set_newline_format(options, GMIME_NEWLINE_FORMAT_DOS);
    if (g_mime_object_write_to_stream(GMIME_OBJECT(message), options, stream) > 0) {
        bytes = g_mime_stream_mem_get_byte_array(GMIME_STREAM_MEM(stream));
        *len = bytes->len;
        text = apr_pstrmemdup(pool, (const char *)bytes->data, bytes->len);
    }
    g_object_unref(stream);
    g_mime_format_options_free(options);
    return text;
}

apr_status_t mail_message(apr_pool_t *pool, const mail_envelope *envelope,
                          const mail_rendered *rendered, const char **message, size_t *len,
                          const char **why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const char *from = mail_address_of(pool, envelope->from), *from_name, *to_name, *subject;
    GMimeMessage *m;

    *why = NULL;
    if (!from) {
        *why = "the sender is no address";
    } else if (!is_address(envelope->to, strlen(envelope->to))) {
        *why = "the recipient is no address";
    } else if (envelope->reply_to && !is_address(envelope->reply_to, strlen(envelope->reply_to))) {
        *why = "the address for replies is none";
    } else if (!is_id(envelope->id)) {
        *why = "the id is not one of ours";
    }
    if (*why) {
        return APR_EINVAL;
    }
    from_name = mail_name_of(pool, envelope->from);
    to_name = envelope->to_name ? mail_line(pool, envelope->to_name, NAME_MAX_CHARS) : NULL;
    subject = mail_line(pool, rendered->subject, SUBJECT_MAX_CHARS);
    if (!subject || biz_utf8_count(rendered->text, strlen(rendered->text)) < 0 ||
        biz_utf8_count(rendered->html, strlen(rendered->html)) < 0) {
        *why = "the text is not UTF-8";
        return APR_EINVAL;
    }
    pthread_once(&once, start_gmime);
    m = g_mime_message_new(FALSE);
    set_headers(pool, m, envelope, rendered, from_name, from, to_name, subject);
    set_body(pool, m, envelope, rendered);
    *message = written(pool, m, len);
    g_object_unref(m);
    if (!*message) {
        *why = "the message cannot be written";
        return APR_EGENERAL;
    }
    return APR_SUCCESS;
}
