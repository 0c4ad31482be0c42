/* render.h: one function for each mail, from typed data to subject, preheader, HTML and plain text.
 * For the outbox, which sends; the previews of admin and bizapictl call the same functions. Safe in
 * any thread.
 *
 * Each gives APR_SUCCESS and *out, or APR_EINVAL / APR_NOTFOUND and *why ("file:line: what"). A
 * text that may be NULL says so; all others must be there, else the mail is not made. Texts are as
 * people typed them: escaping is done here. Instants are shown in the reader's zone, money in minor
 * units of its currency ("eur", "JPY") with its ISO code. */
#ifndef BIZ_MAIL_RENDER_H
#define BIZ_MAIL_RENDER_H

#include <stdint.h>
#include "mail.h"

/* Whom a mail is for, and what it is made of. */
typedef struct {
    const mail_templates *templates;
    const biz_settings *settings;
    const char *locale;         /* BCP 47; NULL: the business's */
    const char *timezone;       /* IANA name; NULL or not known: the business's */
    const char *name;           /* or NULL */
    const char *email;          /* for calendars: NULL leaves the invitation out */
    const apr_table_t *replace; /* previews: template value -> text in its place; else NULL */
} mail_reader;

typedef struct {
    int64_t amount;       /* minor units */
    const char *currency; /* NULL: there is no such sum */
} mail_money;

typedef struct {
    const char *id;     /* "bk_..." : makes the calendar's UID */
    const char *number; /* as people see it */
    const char *service;
    const char *staff;    /* or NULL */
    const char *location; /* or NULL: one line */
    const char *notes;    /* or NULL */
    apr_time_t start, end;
    mail_money price;
    const char *url; /* the page where it can be seen, moved and cancelled */
    int sequence;    /* 0 when booked, one more with each change (RFC 5545, 3.8.7.4) */
    apr_time_t changed_at;
    const char *thread; /* the outbox row of its confirmation, or NULL: RFC 5322, 3.6.4 */
} mail_booking;

/* With a calendar part, METHOD:REQUEST. */
apr_status_t render_booking_confirmation(apr_pool_t *pool, const mail_reader *reader,
                                         const mail_booking *booking, mail_rendered *out,
                                         const char **why);
/* `booking` is as it is now; it began at `was_start` before. METHOD:REQUEST. */
apr_status_t render_booking_rescheduled(apr_pool_t *pool, const mail_reader *reader,
                                        const mail_booking *booking, apr_time_t was_start,
                                        apr_time_t was_end, mail_rendered *out, const char **why);
/* `reason` or NULL. METHOD:CANCEL. */
apr_status_t render_booking_cancelled(apr_pool_t *pool, const mail_reader *reader,
                                      const mail_booking *booking, const char *reason,
                                      mail_rendered *out, const char **why);

typedef enum { MAIL_REMINDER_24H, MAIL_REMINDER_2H } mail_reminder;
/* `unsubscribe_url`: https, needs no sign-in, takes a POST (RFC 8058). */
apr_status_t render_appointment_reminder(apr_pool_t *pool, const mail_reader *reader,
                                         const mail_booking *booking, mail_reminder which,
                                         const char *unsubscribe_url, mail_rendered *out,
                                         const char **why);

typedef struct {
    const char *name, *email;
    const char *phone; /* or NULL */
} mail_customer;
/* To a member of staff. `unsubscribe_url` as above, or NULL. */
apr_status_t render_staff_new_booking(apr_pool_t *pool, const mail_reader *reader,
                                      const mail_booking *booking, const mail_customer *customer,
                                      const char *unsubscribe_url, mail_rendered *out,
                                      const char **why);

typedef struct {
    const char *number;
    const char *about; /* "Haircut on 5 October", or NULL */
    mail_money total;
    mail_money balance;           /* what is left to pay */
    apr_time_t issued_at, due_at; /* days, in the reader's zone; due_at 0: at once */
    const char *url;              /* where it can be seen and paid */
} mail_invoice;
apr_status_t render_invoice_sent(apr_pool_t *pool, const mail_reader *reader,
                                 const mail_invoice *invoice, mail_rendered *out, const char **why);

typedef struct {
    const char *number;  /* of the receipt */
    const char *invoice; /* its number */
    const char *method;  /* "Visa 4242": brand and last four digits at most; or NULL */
    mail_money amount;
    mail_money balance; /* what is left of the invoice; no currency: not said */
    apr_time_t at;
    const char *url;
} mail_payment;
apr_status_t render_payment_received(apr_pool_t *pool, const mail_reader *reader,
                                     const mail_payment *payment, mail_rendered *out,
                                     const char **why);
/* `reason`: the provider's words for people, or NULL. */
apr_status_t render_payment_failed(apr_pool_t *pool, const mail_reader *reader,
                                   const mail_payment *payment, const char *reason,
                                   mail_rendered *out, const char **why);
apr_status_t render_refund_issued(apr_pool_t *pool, const mail_reader *reader,
                                  const mail_payment *payment, const char *reason,
                                  mail_rendered *out, const char **why);

typedef struct {
    const char *url;  /* with the token */
    const char *code; /* of verify_email, beside its link, good for so many minutes */
    int code_minutes;
    int valid_for;  /* minutes (password_reset), hours (invitation, verify_email); else not used */
    apr_time_t at;  /* when it was asked for, or happened */
    const char *ip; /* from where, or NULL */
} mail_account;
apr_status_t render_password_reset(apr_pool_t *pool, const mail_reader *reader,
                                   const mail_account *account, mail_rendered *out,
                                   const char **why);
/* To somebody for whom an account was made: the link to a first password. */
apr_status_t render_invitation(apr_pool_t *pool, const mail_reader *reader,
                               const mail_account *account, mail_rendered *out, const char **why);
apr_status_t render_verify_email(apr_pool_t *pool, const mail_reader *reader,
                                 const mail_account *account, mail_rendered *out, const char **why);
apr_status_t render_account_exists(apr_pool_t *pool, const mail_reader *reader,
                                   const mail_account *account, mail_rendered *out,
                                   const char **why);
/* The portal's page that a notice leads to: where a password is set anew, or where that would help
 * nobody, the account. */
const char *render_notice_page(const char *event);
/* `event`: a NOTICE_... of outbox.h. `detail`: which device, key or role, or NULL. */
apr_status_t render_security_notice(apr_pool_t *pool, const mail_reader *reader, const char *event,
                                    const mail_account *account, const char *detail,
                                    mail_rendered *out, const char **why);

/* ---- previews ---- */

typedef enum {
    MAIL_LEAST, /* what may be missing is missing */
    MAIL_SHORT,
    MAIL_LONG,   /* as long as fields allow */
    MAIL_HOSTILE /* what an attacker would type */
} mail_scenario;

int mail_scenario_of(const char *name, mail_scenario *out); /* "short": 1 */
/* One line of English about a mail of mail_template_names(); NULL where there is no such mail. */
const char *mail_sample_about(const char *name);
/* The mail with made-up data; `reader`'s name and email are made up too. */
apr_status_t mail_sample(apr_pool_t *pool, const mail_reader *reader, const char *name,
                         mail_scenario scenario, mail_rendered *out, const char **why);
/* NULL, or what is wrong: a mail that has no template, or the place where a template asks for a
 * value that it will not get. For configuration tests. */
const char *mail_samples_error(apr_pool_t *pool, const mail_templates *templates,
                               const biz_settings *settings);

#endif
