/* transport.c: ways for a mail to leave: SMTP, a folder of files, or none; and what SendGrid's API
 * is sent, by others. Called by the outbox and by bizapictl. It sends once and says what became of
 * it; when to try again is the outbox's business. No text that it gives holds a key, a password or
 * a link of the mail. */
#include "mail.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apr_encode.h>
#include <apr_file_io.h>
#include <apr_strings.h>

#include "core/json.h"
#include "core/str.h"

enum {
    /* The sums stay under the 20 s that one row may take, QUIT included. */
    SMTP_CONNECT_MS = 5000,
    SMTP_TOTAL_MS = 11000
};

typedef enum { BY_NOTHING, BY_SMTP, BY_FILE, BY_SENDGRID } mail_way;

struct mail_transport {
    mail_way way;
    const biz_settings *settings;
    const char *place; /* SMTP: the url; FILE: the folder */
    net_smtp_session *smtp;
};

/* ---- which way ---- */

static mail_way way_of(const char *spec)
{
    if (strncmp(spec, "smtp://", 7) == 0 || strncmp(spec, "smtps://", 8) == 0) {
        return BY_SMTP;
    }
    if (strncmp(spec, "file:", 5) == 0) {
        return BY_FILE;
    }
    return strcmp(spec, "sendgrid") == 0 ? BY_SENDGRID : BY_NOTHING;
}

const char *mail_spec_error(apr_pool_t *pool, const char *spec)
{
    switch (way_of(spec)) {
    case BY_SMTP:
        return net_smtp_url_error(pool, spec);
    case BY_FILE:
        return spec[5] == '/' ? NULL : "file: needs an absolute path, as in file:/var/mail/bizapi";
    case BY_SENDGRID:
        return NULL;
    case BY_NOTHING:
        break;
    }
    return strcmp(spec, "off") == 0 ? NULL
                                    : "it must be sendgrid, smtp://HOST, smtps://HOST, file:DIR or "
                                      "off";
}

mail_transport *mail_transport_new(apr_pool_t *pool, const biz_settings *settings, const char **why)
{
    mail_transport *t = apr_pcalloc(pool, sizeof(*t));
    const char *spec = settings->mail ? settings->mail : "off";

    *why = mail_spec_error(pool, spec);
    if (!*why && settings->mail_from && !mail_address_of(pool, settings->mail_from)) {
        *why = "the sender must be \"Name <user@host>\" or user@host";
    }
    if (*why) {
        return NULL;
    }
    t->settings = settings;
    t->way = way_of(spec);
    t->place = spec;
    if (t->way == BY_FILE) {
        t->place = spec + 5;
    } else if (t->way == BY_SMTP) {
        t->smtp = net_smtp_open(pool);
    } else if (t->way == BY_SENDGRID) {
        if (!biz_secret(settings, "SENDGRID_API_KEY")) {
            t->way = BY_NOTHING;
        }
    }
    return t;
}

const char *mail_transport_name(const mail_transport *transport)
{
    static const char *const names[] = {"off", "smtp", "file", "sendgrid"};

    return names[transport->way];
}

void mail_transport_rest(mail_transport *transport)
{
    if (transport->smtp) {
        net_smtp_rest(transport->smtp);
    }
}

/* ---- SMTP ---- */

/* Many relays tell only at the recipient that they take nothing from us, or nothing of this sender:
 * 5.7.x (RFC 3463, policy), unless it is said of the recipient. */
static int refuses_us(const net_smtp_answer *a)
{
    return a->step == NET_SMTP_TO && (a->code == 550 || a->code == 553 || a->code == 554) &&
           strlen(a->reply) > 8 && strncmp(a->reply + 4, "5.7.", 4) == 0 &&
           !strstr(a->reply, "ecipient");
}

/* Who is meant by a refusal: this message, or everything that we send. TLS that the server puts off
 * (4xx) comes back. */
static mail_result smtp_result(const net_smtp_answer *a)
{
    if (!a->error) {
        return MAIL_SENT;
    }
    if ((a->no_tls && (a->code < 400 || a->code >= 500)) || refuses_us(a)) {
        return MAIL_BROKEN;
    }
    if (a->outcome != NET_DONE || a->code < 500) {
        return MAIL_RETRY; /* perhaps it was taken: a second copy does no harm, a missing one does
                            */
    }
    if (a->step < NET_SMTP_TO || a->code == 530 || a->code == 535 || a->code == 538) {
        return MAIL_BROKEN;
    }
    return MAIL_REFUSED;
}

static mail_result by_smtp(mail_transport *t, apr_pool_t *pool, const mail_envelope *e,
                           const char *message, size_t len, const char **error)
{
    net_smtp mail = {.url = t->place,
                     .from = mail_address_of(pool, e->from),
                     .to = e->to,
                     .message = message,
                     .len = len,
                     .connect_ms = SMTP_CONNECT_MS,
                     .total_ms = SMTP_TOTAL_MS};
    net_smtp_answer answer;

    net_smtp_send(t->smtp, pool, &mail, &answer);
    *error = answer.error;
    return smtp_result(&answer);
}

/* ---- files ---- */

/* 0, or what went wrong. */
static int write_whole(const char *path, const char *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600), failed = 0;

    if (fd < 0) {
        return errno;
    }
    while (!failed && len > 0) {
        ssize_t n = write(fd, data, len);

        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } else if (n < 0 && errno != EINTR) {
            failed = errno;
        }
    }
    if (!failed && fsync(fd) != 0) {
        failed = errno;
    }
    if (close(fd) != 0 && !failed) {
        failed = errno;
    }
    return failed;
}

static int sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), failed;

    if (fd < 0) {
        return errno;
    }
    failed = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return failed;
}

static mail_result by_file(mail_transport *t, apr_pool_t *pool, const mail_envelope *e,
                           const char *message, size_t len, const char **error)
{
    const char *part = apr_pstrcat(pool, t->place, "/.", e->id, ".tmp", NULL);
    const char *path = apr_pstrcat(pool, t->place, "/", e->id, ".eml", NULL);
    char text[200];
    struct stat st;
    int failed;

    if (lstat(path, &st) == 0) {
        return MAIL_SENT; /* by a worker that was ended before it could say so */
    }
    failed = apr_dir_make_recursive(t->place,
                                    APR_FPROT_UREAD | APR_FPROT_UWRITE | APR_FPROT_UEXECUTE, pool);
    if (!failed) {
        failed = write_whole(part, message, len);
    }
    if (!failed && rename(part, path) != 0) {
        failed = errno;
    }
    if (!failed) {
        failed = sync_folder(t->place);
    }
    if (!failed) {
        return MAIL_SENT;
    }
    *error = apr_psprintf(pool, "%s: %s", t->place, apr_strerror(failed, text, sizeof(text)));
    return failed == EACCES || failed == EPERM || failed == EROFS || failed == ENOENT ||
                   failed == ENOTDIR || failed == ELOOP
               ? MAIL_BROKEN
               : MAIL_RETRY;
}

/* ---- SendGrid (providers' API v3, POST /mail/send) ---- */

static biz_json *person(apr_pool_t *pool, const char *address, const char *name)
{
    biz_json *json = biz_json_object(pool);

    biz_json_set_str(json, "email", address);
    if (name && name[0]) {
        biz_json_set_str(json, "name", name);
    }
    return json;
}

/* A recipient's name with a comma or a semicolon is refused, and the mail with it. */
static const char *without_separators(apr_pool_t *pool, const char *name)
{
    char *copy = apr_pstrdup(pool, name), *to = copy;

    for (const char *from = copy; *from; from++) {
        if (*from != ',' && *from != ';') {
            *to++ = *from;
        } else if (to > copy && to[-1] != ' ' && from[1] && !strchr(" ,;", from[1])) {
            *to++ = ' ';
        }
    }
    *to = '\0';
    return copy;
}

static biz_json *switched_off(apr_pool_t *pool)
{
    biz_json *json = biz_json_object(pool);

    biz_json_set_bool(json, "enable", 0);
    return json;
}

static void add_content(apr_pool_t *pool, biz_json *list, const char *type, const char *value)
{
    biz_json *json = biz_json_object(pool);

    biz_json_set_str(json, "value", value);
    biz_json_set_str(json, "type", type);
    biz_json_add(list, json);
}

/* The calendar entry as a file alone: the API takes no parameter of a type, so no method=. */
static biz_json *attachment(apr_pool_t *pool, const char *calendar)
{
    biz_json *list = biz_json_array(pool), *json = biz_json_object(pool);

    biz_json_set_str(json, "content",
                     apr_pencode_base64(pool, calendar, APR_ENCODE_STRING, APR_ENCODE_NONE, NULL));
    biz_json_set_str(json, "filename", MAIL_CALENDAR_FILE);
    biz_json_set_str(json, "type", MAIL_CALENDAR_TYPE);
    biz_json_set_str(json, "disposition", "attachment");
    biz_json_add(list, json);
    return list;
}

/* In the order in which SendGrid's own library writes it, so that both can be compared by byte. */
static biz_json *sendgrid_body(apr_pool_t *pool, const mail_envelope *e, const mail_rendered *r)
{
    biz_json *body = biz_json_object(pool), *list = biz_json_array(pool);
    biz_json *to = biz_json_array(pool), *one = biz_json_object(pool);
    biz_json *tracking = biz_json_object(pool), *arguments = biz_json_object(pool);
    biz_json *headers = biz_json_object(pool), *content = biz_json_array(pool);
    const apr_array_header_t *more =
        apr_table_elts(mail_headers(pool, mail_address_of(pool, e->from), r));

    biz_json_set(body, "from",
                 person(pool, mail_address_of(pool, e->from), mail_name_of(pool, e->from)));
    biz_json_set_str(body, "subject", r->subject);
    biz_json_add(
        to, person(pool, e->to,
                   e->to_name ? without_separators(pool, mail_line(pool, e->to_name, 200)) : NULL));
    biz_json_set(one, "to", to);
    biz_json_add(list, one);
    biz_json_set(body, "personalizations", list);
    if (r->calendar) {
        biz_json_set(body, "attachments", attachment(pool, r->calendar));
    }
    add_content(pool, content, "text/plain", r->text);
    add_content(pool, content, "text/html", r->html);
    biz_json_set(body, "content", content);
    for (int i = 0; i < more->nelts; i++) {
        const apr_table_entry_t *header = &APR_ARRAY_IDX(more, i, apr_table_entry_t);

        biz_json_set_str(headers, header->key, header->val);
    }
    /* Else replies and later mails would hang on an id that we do not know. */
    biz_json_set_str(
        headers, "Message-ID",
        apr_pstrcat(pool, "<", e->id, strchr(mail_address_of(pool, e->from), '@'), ">", NULL));
    biz_json_set(body, "headers", headers);
    /* Else each link, with the token in it, would lead over a tracker. */
    biz_json_set(tracking, "click_tracking", switched_off(pool));
    biz_json_set(tracking, "open_tracking", switched_off(pool));
    biz_json_set(body, "tracking_settings", tracking);
    biz_json_set_str(arguments, "outbox_id", e->id);
    biz_json_set(body, "custom_args", arguments);
    if (e->reply_to) {
        biz_json_set(body, "reply_to", person(pool, e->reply_to, NULL));
    }
    return body;
}

/* ---- */

mail_result mail_send(mail_transport *transport, apr_pool_t *pool, const mail_envelope *envelope,
                      const mail_rendered *rendered, const char **post, const char **error)
{
    mail_envelope e = *envelope;
    const char *message;
    size_t len;

    *post = *error = NULL;
    if (transport->way == BY_NOTHING) {
        *error = "no way to send mail is configured";
        return MAIL_OFF;
    }
    if (!e.from && transport->way == BY_FILE) {
        e.from = "bizapi@localhost"; /* these mails go nowhere */
    }
    if (!e.from) {
        *error = "no sender is configured";
        return MAIL_BROKEN;
    }
    /* Made for SendGrid too: what is no mail is refused by the same rules everywhere. */
    if (mail_message(pool, &e, rendered, &message, &len, error) != APR_SUCCESS) {
        return MAIL_REFUSED;
    }
    switch (transport->way) {
    case BY_SMTP:
        return by_smtp(transport, pool, &e, message, len, error);
    case BY_FILE:
        return by_file(transport, pool, &e, message, len, error);
    case BY_SENDGRID:
        *post = biz_json_text(pool, sendgrid_body(pool, &e, rendered), NULL);
        return MAIL_POST;
    case BY_NOTHING:
        break;
    }
    return MAIL_OFF;
}
