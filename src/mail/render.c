/* render.c: the mails, from typed data to values of their templates. Called by the outbox, and by
 * sample.c for previews. What a mail says is not here but in the templates. */
#include "render.h"

#include <string.h>

#include <apr_strings.h>

#include "calendar.h"
#include "core/locale.h"
#include "core/time.h"

/* One mail in the making. */
typedef struct {
    apr_pool_t *pool;
    const mail_reader *reader;
    const char *template;
    const char *locale; /* of dates and sums: speaks the template's language */
    const char *timezone;
    apr_table_t *values;
} draft;

/* The reader's locale where the template speaks its language, else the template's language. */
static const char *locale_for(apr_pool_t *pool, const mail_reader *reader, const char *locale,
                              const char *template)
{
    const char *lang = mail_template_lang(pool, reader->templates, template, locale);
    size_t len = strcspn(lang, "-");

    return strncmp(locale, lang, len) == 0 && (locale[len] == '\0' || locale[len] == '-') ? locale
                                                                                          : lang;
}

static draft draft_of(apr_pool_t *pool, const mail_reader *reader, const char *template)
{
    draft d = {.pool = pool, .reader = reader, .template = template};
    const char *locale = reader->locale;

    d.locale = locale ? locale : biz_brand(reader->settings, "locale", "en");
    d.locale = locale_for(pool, reader, d.locale, template);
    d.timezone = reader->timezone;
    if (!d.timezone || !biz_zone_is_known(d.timezone)) {
        d.timezone = biz_brand(reader->settings, "timezone", "UTC");
    }
    d.values = apr_table_make(pool, 24);
    if (reader->name) {
        apr_table_setn(d.values, "user_name", reader->name);
    }
    return d;
}

static void set(draft *d, const char *name, const char *value)
{
    if (value) {
        apr_table_setn(d->values, name, value);
    }
}

static void set_instant(draft *d, const char *name, apr_time_t t)
{
    set(d, name, biz_format_instant(d->pool, t, d->locale, d->timezone));
}

static void set_number(draft *d, const char *name, int number)
{
    set(d, name, biz_format_number(d->pool, number, d->locale));
}

static void set_money(draft *d, const char *name, mail_money money)
{
    if (money.currency) {
        set(d, name, biz_format_money(d->pool, money.amount, money.currency, d->locale));
    }
}

/* What a preview puts in place of our values. */
static const char *replace(draft *d)
{
    const apr_array_header_t *all = apr_table_elts(d->reader->replace);

    for (int i = 0; i < all->nelts; i++) {
        const apr_table_entry_t *e = &APR_ARRAY_IDX(all, i, apr_table_entry_t);

        if (!apr_table_get(d->values, e->key)) {
            return apr_psprintf(d->pool, "%s has no value \"%s\"", d->template, e->key);
        }
        apr_table_set(d->values, e->key, e->val);
    }
    return NULL;
}

static apr_status_t finish(draft *d, mail_rendered *out, const char **why)
{
    const mail_reader *reader = d->reader;

    *why = reader->replace ? replace(d) : NULL;
    return *why ? APR_EINVAL
                : mail_render(d->pool, reader->templates, reader->settings, d->template, d->locale,
                              d->values, out, why);
}

/* ---- bookings ---- */

static draft draft_booking(apr_pool_t *pool, const mail_reader *reader, const mail_booking *b,
                           const char *template)
{
    draft d = draft_of(pool, reader, template);

    set(&d, "booking_number", b->number);
    set(&d, "service", b->service);
    set(&d, "staff", b->staff);
    set(&d, "location", b->location);
    set(&d, "notes", b->notes);
    set(&d, "when", biz_format_span(pool, b->start, b->end, d.locale, d.timezone));
    set(&d, "when_short", biz_format_short(pool, b->start, d.locale, d.timezone));
    set_money(&d, "price", b->price);
    set(&d, "link_url", b->url);
    return d;
}

/* The mail, and where it is for a known address its entry in the calendar. */
static apr_status_t finish_booking(draft *d, const mail_booking *b, mail_calendar_method method,
                                   mail_rendered *out, const char **why)
{
    const biz_settings *s = d->reader->settings;
    mail_event event = {.id = b->id,
                        .page = s->frontend_url,
                        .sequence = b->sequence,
                        .changed_at = b->changed_at,
                        .start = b->start,
                        .end = b->end,
                        .summary = b->service,
                        .location = b->location,
                        .url = b->url,
                        .attendee = d->reader->email,
                        .attendee_name = d->reader->name,
                        .organizer_name = biz_brand(s, "name", s->server_name)};
    apr_status_t status = finish(d, out, why);

    if (status == APR_SUCCESS) {
        out->thread = b->thread;
    }
    event.organizer = biz_brand(s, "email", NULL);
    if (!event.organizer) {
        event.organizer = mail_address_of(d->pool, s->mail_from);
    }
    if (status != APR_SUCCESS || !event.attendee || !event.organizer) {
        return status;
    }
    out->calendar_method = method;
    out->calendar = mail_calendar(d->pool, &event, method);
    *why = out->calendar ? NULL : "the calendar entry cannot be written";
    return out->calendar ? APR_SUCCESS : APR_EINVAL;
}

apr_status_t render_booking_confirmation(apr_pool_t *pool, const mail_reader *reader,
                                         const mail_booking *booking, mail_rendered *out,
                                         const char **why)
{
    draft d = draft_booking(pool, reader, booking, "booking_confirmation");

    return finish_booking(&d, booking, MAIL_CALENDAR_REQUEST, out, why);
}

apr_status_t render_booking_rescheduled(apr_pool_t *pool, const mail_reader *reader,
                                        const mail_booking *booking, apr_time_t was_start,
                                        apr_time_t was_end, mail_rendered *out, const char **why)
{
    draft d = draft_booking(pool, reader, booking, "booking_rescheduled");

    set(&d, "was", biz_format_span(pool, was_start, was_end, d.locale, d.timezone));
    return finish_booking(&d, booking, MAIL_CALENDAR_REQUEST, out, why);
}

apr_status_t render_booking_cancelled(apr_pool_t *pool, const mail_reader *reader,
                                      const mail_booking *booking, const char *reason,
                                      mail_rendered *out, const char **why)
{
    draft d = draft_booking(pool, reader, booking, "booking_cancelled");

    set(&d, "cause", reason);
    return finish_booking(&d, booking, MAIL_CALENDAR_CANCEL, out, why);
}

apr_status_t render_appointment_reminder(apr_pool_t *pool, const mail_reader *reader,
                                         const mail_booking *booking, mail_reminder which,
                                         const char *unsubscribe_url, mail_rendered *out,
                                         const char **why)
{
    draft d = draft_booking(pool, reader, booking,
                            which == MAIL_REMINDER_24H ? "appointment_reminder.24h"
                                                       : "appointment_reminder.2h");
    apr_status_t status;

    set(&d, "unsubscribe_url", unsubscribe_url);
    status = finish(&d, out, why);
    if (status == APR_SUCCESS) {
        out->thread = booking->thread;
        out->unsubscribe_url = unsubscribe_url;
    }
    return status;
}

apr_status_t render_staff_new_booking(apr_pool_t *pool, const mail_reader *reader,
                                      const mail_booking *booking, const mail_customer *customer,
                                      const char *unsubscribe_url, mail_rendered *out,
                                      const char **why)
{
    draft d = draft_booking(pool, reader, booking, "staff_new_booking");
    apr_status_t status;

    set(&d, "customer_name", customer->name);
    set(&d, "customer_email", customer->email);
    set(&d, "customer_phone", customer->phone);
    set(&d, "unsubscribe_url", unsubscribe_url);
    status = finish(&d, out, why);
    if (status == APR_SUCCESS) {
        out->unsubscribe_url = unsubscribe_url;
    }
    return status;
}

/* ---- money ---- */

apr_status_t render_invoice_sent(apr_pool_t *pool, const mail_reader *reader,
                                 const mail_invoice *invoice, mail_rendered *out, const char **why)
{
    draft d = draft_of(pool, reader, "invoice_sent");

    set(&d, "invoice_number", invoice->number);
    set(&d, "about", invoice->about);
    set_money(&d, "total", invoice->total);
    set_money(&d, "balance", invoice->balance);
    set(&d, "issued_on", biz_format_day(pool, invoice->issued_at, d.locale, d.timezone));
    if (invoice->due_at) {
        set(&d, "due_on", biz_format_day(pool, invoice->due_at, d.locale, d.timezone));
    }
    set(&d, "link_url", invoice->url);
    return finish(&d, out, why);
}

static apr_status_t render_payment(apr_pool_t *pool, const mail_reader *reader,
                                   const char *template, const mail_payment *payment,
                                   const char *reason, mail_rendered *out, const char **why)
{
    draft d = draft_of(pool, reader, template);

    set(&d, "payment_number", payment->number);
    set(&d, "invoice_number", payment->invoice);
    set(&d, "method", payment->method);
    set_money(&d, "amount", payment->amount);
    set_money(&d, "balance", payment->balance);
    set_instant(&d, "paid_at", payment->at);
    set(&d, "cause", reason);
    set(&d, "link_url", payment->url);
    return finish(&d, out, why);
}

apr_status_t render_payment_received(apr_pool_t *pool, const mail_reader *reader,
                                     const mail_payment *payment, mail_rendered *out,
                                     const char **why)
{
    return render_payment(pool, reader, "payment_received", payment, NULL, out, why);
}

apr_status_t render_payment_failed(apr_pool_t *pool, const mail_reader *reader,
                                   const mail_payment *payment, const char *reason,
                                   mail_rendered *out, const char **why)
{
    return render_payment(pool, reader, "payment_failed", payment, reason, out, why);
}

apr_status_t render_refund_issued(apr_pool_t *pool, const mail_reader *reader,
                                  const mail_payment *payment, const char *reason,
                                  mail_rendered *out, const char **why)
{
    return render_payment(pool, reader, "refund_issued", payment, reason, out, why);
}

/* ---- accounts ---- */

static draft draft_account(apr_pool_t *pool, const mail_reader *reader, const mail_account *account,
                           const char *template)
{
    draft d = draft_of(pool, reader, template);

    set_instant(&d, "requested_at", account->at);
    set(&d, "requested_short", biz_format_short(pool, account->at, d.locale, d.timezone));
    set(&d, "ip", account->ip);
    set(&d, "link_url", account->url);
    return d;
}

apr_status_t render_password_reset(apr_pool_t *pool, const mail_reader *reader,
                                   const mail_account *account, mail_rendered *out,
                                   const char **why)
{
    draft d = draft_account(pool, reader, account, "password_reset");

    set_number(&d, "valid_minutes", account->valid_for);
    return finish(&d, out, why);
}

apr_status_t render_invitation(apr_pool_t *pool, const mail_reader *reader,
                               const mail_account *account, mail_rendered *out, const char **why)
{
    draft d = draft_account(pool, reader, account, "password_reset.invitation");

    set_number(&d, "valid_hours", account->valid_for);
    return finish(&d, out, why);
}

apr_status_t render_verify_email(apr_pool_t *pool, const mail_reader *reader,
                                 const mail_account *account, mail_rendered *out, const char **why)
{
    draft d = draft_account(pool, reader, account, "verify_email");

    set_number(&d, "valid_hours", account->valid_for);
    set(&d, "code", account->code);
    set_number(&d, "code_minutes", account->code_minutes);
    return finish(&d, out, why);
}

apr_status_t render_account_exists(apr_pool_t *pool, const mail_reader *reader,
                                   const mail_account *account, mail_rendered *out,
                                   const char **why)
{
    draft d = draft_account(pool, reader, account, "account_exists");

    return finish(&d, out, why);
}

const char *render_notice_page(const char *event)
{
    return !strcmp(event, "role_changed") || !strcmp(event, "account_unlocked")
               ? "/account.html"
               : "/reset-password.html";
}

apr_status_t render_security_notice(apr_pool_t *pool, const mail_reader *reader, const char *event,
                                    const mail_account *account, const char *detail,
                                    mail_rendered *out, const char **why)
{
    draft d =
        draft_account(pool, reader, account, apr_pstrcat(pool, "security_notice.", event, NULL));

    /* A role has a name in each language. */
    if (detail && !strcmp(event, "role_changed")) {
        set(&d, apr_pstrcat(pool, "role_", detail, NULL), detail);
    } else {
        set(&d, "detail", detail);
    }
    return finish(&d, out, why);
}
