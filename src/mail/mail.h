/* mail.h: from a template and its values to a message, and from a message to a transport.
 * template.c (text with {{marks}}), render.h (one function a mail), message.c (RFC 5322 and MIME,
 * GMime behind it), transport.c (SMTP, SendGrid, files). Runs in the background thread and in
 * bizapictl only. */
#ifndef BIZ_MAIL_H
#define BIZ_MAIL_H

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_errno.h>
#include <apr_time.h>
#include "core/settings.h"
#include "net/http.h"

/* ---- templates ----
 *
 * The structure of a mail is conf/mail/<name>.html (compiled from conf/mail/src) and <name>.txt;
 * its texts are in texts.<language>.ini under [<name>], or under [common] where several mails share
 * them. Both may hold {{name}} (a value, escaped in HTML) and {{#name}}...{{/name}} (kept where the
 * value is there and not empty); a structure also {{>text}}, a text of the language. A mark without
 * a value and an unclosed or unknown construct are errors, never an empty place. A value named
 * ..._url is an address of https, http, mailto or tel, and only such a value may stand in href or
 * src. layout.txt and layout.html hold {{{content}}}, the one place that is not escaped.
 *
 * [<name>.<variant>] is a mail of its own over the same structure: its texts come first, then those
 * of [<name>]. Each mail has the texts subject, preheader and reason (why its reader got it). A
 * language without the section of a mail has that mail in English. */
typedef struct mail_templates mail_templates;

/* Reads every template of `dir`, then what `own` (or NULL) has in place of it: whole structures, or
 * single texts. NULL and *why ("file:line: what") where one is broken. */
mail_templates *mail_templates_load(apr_pool_t *pool, const char *dir, const char *own,
                                    const char **why);

typedef enum {
    MAIL_CALENDAR_NONE,
    MAIL_CALENDAR_REQUEST,
    MAIL_CALENDAR_CANCEL
} mail_calendar_method;

typedef struct {
    const char *subject, *preheader, *text, *html;
    const char *calendar; /* RFC 5545 text with its method, or NULL */
    mail_calendar_method calendar_method;
    const char *thread;          /* the outbox row of the mail that this one follows, or NULL */
    const char *unsubscribe_url; /* https, for List-Unsubscribe (RFC 8058), or NULL */
} mail_rendered;

/* values: name -> text. The brand's values (business_name, primary, ...) are added by this
 * function from settings. APR_NOTFOUND: no such template; APR_EINVAL and *why: a missing value.
 * Called by render.c, which knows the values of each mail. */
apr_status_t mail_render(apr_pool_t *pool, const mail_templates *templates,
                         const biz_settings *settings, const char *name, const char *locale,
                         const apr_table_t *values, mail_rendered *out, const char **why);

/* The language that mail_render() will use: dates among the values are written in it. */
const char *mail_template_lang(apr_pool_t *pool, const mail_templates *templates, const char *name,
                               const char *locale);
/* The mails and the languages that are there, sorted, as const char *. */
const apr_array_header_t *mail_template_names(const mail_templates *templates);
apr_array_header_t *mail_template_langs(apr_pool_t *pool, const mail_templates *templates);
/* 1 where something of the mail comes from the operator's own folder. */
int mail_template_is_own(apr_pool_t *pool, const mail_templates *templates, const char *name);

/* ---- messages ---- */

typedef struct {
    const char *id;       /* the outbox row's: makes Message-ID and the boundary */
    const char *from;     /* "Name <a@b>" or "a@b" */
    const char *to_name;  /* or NULL */
    const char *to;       /* bare address */
    const char *reply_to; /* or NULL */
    apr_time_t date;
} mail_envelope;

/* The headers beside From, To, Subject and their like: name -> value, for every transport. Those of
 * automatic mail always; In-Reply-To and References for a mail that follows another;
 * List-Unsubscribe (RFC 2369, RFC 8058) for one with an https address. `from`: the bare sender. */
apr_table_t *mail_headers(apr_pool_t *pool, const char *from, const mail_rendered *rendered);
/* The name and type of the file that a mail's calendar entry is attached as. */
#define MAIL_CALENDAR_FILE "invite.ics"
#define MAIL_CALENDAR_TYPE "application/ics"

/* CRLF text, byte-equal for equal input. CR, LF and NUL never pass from a value into a header. */
apr_status_t mail_message(apr_pool_t *pool, const mail_envelope *envelope,
                          const mail_rendered *rendered, const char **message, size_t *len,
                          const char **why);
/* The bare address of "Name <a@b>", NULL where there is none. */
const char *mail_address_of(apr_pool_t *pool, const char *from);
/* The name in front of it, as one line without quotes; NULL where there is none. */
const char *mail_name_of(apr_pool_t *pool, const char *from);
/* The text as it may stand in a header: each control character a space, at most `max` code points.
 * NULL where it is not UTF-8. */
const char *mail_line(apr_pool_t *pool, const char *text, int max);

/* ---- transports ---- */

typedef enum {
    MAIL_SENT,
    MAIL_RETRY,   /* not sent, try later */
    MAIL_REFUSED, /* this message will never be taken: dead */
    MAIL_OFF,     /* no transport is configured: skipped */
    MAIL_POST,    /* not sent here: *post is the JSON for SendGrid's POST /v3/mail/send */
    MAIL_BROKEN   /* the transport is misconfigured (login refused, key wrong): try later, say so */
} mail_result;

typedef struct mail_transport mail_transport;

/* settings->mail decides. NULL and *why where it is no good. */
mail_transport *mail_transport_new(apr_pool_t *pool, const biz_settings *settings,
                                   const char **why);
/* "smtp", "file", "sendgrid", "off" */
const char *mail_transport_name(const mail_transport *transport);
/* Sends once. A file transport writes DIR/<id>.eml by rename and does nothing where it is there
 * already. *post: for MAIL_POST; *error may be set; both live in pool. */
mail_result mail_send(mail_transport *transport, apr_pool_t *pool, const mail_envelope *envelope,
                      const mail_rendered *rendered, const char **post, const char **error);
/* There is nothing to send now: a connection that is kept is closed. */
void mail_transport_rest(mail_transport *transport);
/* The form alone, for configuration tests: NULL when good. */
const char *mail_spec_error(apr_pool_t *pool, const char *spec);

#endif
