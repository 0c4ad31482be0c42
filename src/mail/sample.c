/* sample.c: every mail with made-up data, for previews and for the test of a configuration. Called
 * by bizapictl, by the routes of admin and at startup. The table of mails at its end is the list of
 * what the product sends. */
#include "render.h"

#include <string.h>

#include <apr_strings.h>

/* What people typed: one set a scenario, MAIL_LEAST shares MAIL_SHORT's. */
typedef struct {
    const char *name, *service, *staff, *location, *notes, *number, *phone, *currency;
    const char *reason;  /* of a cancellation or a refund */
    const char *refusal; /* of a payment */
    int64_t amount;
} typed;

#define HOSTILE "<img src=x onerror=1>\"'><a href=//evil.example>{{password}} %s &lt; {{{x}}}"

static const typed brief = {.name = "Ada Lovelace",
                            .service = "Consultation",
                            .staff = "Grace Hopper",
                            .location = "Example Street 5, 10115 Berlin",
                            .notes = "Second floor, please ring twice.",
                            .number = "2026-0042",
                            .phone = "+493055550100",
                            .reason = "We are closed that day.",
                            .refusal = "The card was declined.",
                            .currency = "eur",
                            .amount = 11900};
static const typed wordy = {
    .name =
        "Maximiliane Alexandra von Hohenberg-Schönfeldt, verwitwete Freifrau zu Unterwasserburg",
    .service = "Comprehensive inspection, maintenance and cleaning of heating, ventilation and air "
               "conditioning units",
    .staff = "Dr.-Ing. Bartholomäus Wolfeschlegelsteinhausenbergerdorff",
    .location = "Am Alten Güterbahnhof an der Stadtgrenze 123a, Hinterhaus, vierter Aufgang, 10115 "
                "Berlin-Mitte, Germany",
    .notes = "The bell does not work, so please call when you are at the gate; the dog is friendly "
             "but loud. The units are on the roof, which is reached by the second staircase, and "
             "the key for it is kept by the caretaker, who is in from eight to four. "
             "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft.",
    .number = "2026-00004711-B",
    .reason =
        "The specialist who was to come is ill, and nobody else who may work on these units is "
        "free before the end of the month; you pay nothing.",
    .refusal =
        "The bank that issued the card did not allow this payment, and gave no reason that we "
        "may pass on; please ask your bank, or use another card.",
    .phone = "+491512345678901",
    .currency = "kwd",
    .amount = INT64_C(1234567890)};
static const typed hostile = {.name = HOSTILE,
                              .service = HOSTILE,
                              .staff = HOSTILE,
                              .location = HOSTILE,
                              .notes = HOSTILE,
                              .number = "<b>42</b>",
                              .reason = HOSTILE,
                              .refusal = HOSTILE,
                              .phone = "+49<script>",
                              .currency = "JPY",
                              .amount = 123456};

typedef struct {
    apr_pool_t *pool;
    const mail_reader *reader;
    const typed *t;
    const char *variant;
    int least;
    mail_rendered *out;
    const char **why;
} sample;

static const apr_time_t begins = APR_TIME_C(1791189000000000); /* 2026-10-05T08:30:00Z */

static const char *unless_least(const sample *s, const char *text)
{
    return s->least ? NULL : text;
}

static const char *page(const sample *s, const char *path)
{
    return apr_pstrcat(s->pool, s->reader->settings->frontend_url, path, NULL);
}

static mail_booking booking_of(const sample *s)
{
    const typed *t = s->t;

    return (mail_booking){.id = "bk_01k6sample",
                          .number = t->number,
                          .service = t->service,
                          .staff = unless_least(s, t->staff),
                          .location = unless_least(s, t->location),
                          .notes = unless_least(s, t->notes),
                          .start = begins,
                          .end = begins + apr_time_from_sec(3600),
                          .price = {t->amount, unless_least(s, t->currency)},
                          .url = page(s, "/bookings.html#bk_01k6sample"),
                          .sequence = 1,
                          .changed_at = begins - apr_time_from_sec(5 * 86400),
                          .thread = unless_least(s, "obx_01k6first")};
}

static mail_payment payment_of(const sample *s)
{
    const typed *t = s->t;

    return (mail_payment){.number = t->number,
                          .invoice = t->number,
                          .method = unless_least(s, "Visa 4242"),
                          .amount = {t->amount, t->currency},
                          .balance = {t->amount / 2, unless_least(s, t->currency)},
                          .at = begins,
                          .url = page(s, "/invoices.html#inv_01k6sample")};
}

static mail_account account_of(const sample *s, const char *path, int valid_for)
{
    return (mail_account){.url = page(s, path),
                          .valid_for = valid_for,
                          .at = begins,
                          .ip = unless_least(s, "2001:db8::42")};
}

static const char *stop_url(const sample *s)
{
    return page(s, "/api/v1/portal/unsubscribe/sample");
}

/* ---- one function a mail ---- */

static apr_status_t confirmation(const sample *s)
{
    mail_booking b = booking_of(s);

    b.sequence = 0;
    b.thread = NULL;
    return render_booking_confirmation(s->pool, s->reader, &b, s->out, s->why);
}

static apr_status_t rescheduled(const sample *s)
{
    mail_booking b = booking_of(s);
    apr_time_t was = b.start - apr_time_from_sec(3 * 86400);

    return render_booking_rescheduled(s->pool, s->reader, &b, was, was + apr_time_from_sec(3600),
                                      s->out, s->why);
}

static apr_status_t cancelled(const sample *s)
{
    mail_booking b = booking_of(s);

    return render_booking_cancelled(s->pool, s->reader, &b, unless_least(s, s->t->reason), s->out,
                                    s->why);
}

static apr_status_t reminder(const sample *s)
{
    mail_booking b = booking_of(s);
    mail_reminder which = strcmp(s->variant, "2h") ? MAIL_REMINDER_24H : MAIL_REMINDER_2H;

    return render_appointment_reminder(s->pool, s->reader, &b, which, stop_url(s), s->out, s->why);
}

static apr_status_t new_booking(const sample *s)
{
    mail_booking b = booking_of(s);
    mail_customer c = {
        .name = s->t->name, .email = "ada@example.com", .phone = unless_least(s, s->t->phone)};
    mail_reader staff = *s->reader;

    staff.name = b.staff;
    return render_staff_new_booking(s->pool, &staff, &b, &c, unless_least(s, stop_url(s)), s->out,
                                    s->why);
}

static apr_status_t invoice(const sample *s)
{
    const typed *t = s->t;
    mail_invoice i = {.number = t->number,
                      .about = unless_least(s, t->service),
                      .total = {t->amount, t->currency},
                      .balance = {t->amount, t->currency},
                      .issued_at = begins,
                      .due_at = s->least ? 0 : begins + apr_time_from_sec(14 * 86400),
                      .url = page(s, "/invoices.html#inv_01k6sample")};

    return render_invoice_sent(s->pool, s->reader, &i, s->out, s->why);
}

static apr_status_t received(const sample *s)
{
    mail_payment p = payment_of(s);

    return render_payment_received(s->pool, s->reader, &p, s->out, s->why);
}

static apr_status_t failed(const sample *s)
{
    mail_payment p = payment_of(s);

    p.balance.amount = p.amount.amount;
    return render_payment_failed(s->pool, s->reader, &p, unless_least(s, s->t->refusal), s->out,
                                 s->why);
}

static apr_status_t refund(const sample *s)
{
    mail_payment p = payment_of(s);

    return render_refund_issued(s->pool, s->reader, &p, unless_least(s, s->t->reason), s->out,
                                s->why);
}

static apr_status_t reset(const sample *s)
{
    mail_account a = account_of(s, "/reset-password.html#token=sampleSAMPLEsampleSAMPLE", 60);

    return render_password_reset(s->pool, s->reader, &a, s->out, s->why);
}

static apr_status_t invitation(const sample *s)
{
    mail_account a = account_of(s, "/reset-password.html#token=sampleSAMPLEsampleSAMPLE", 24);

    return render_invitation(s->pool, s->reader, &a, s->out, s->why);
}

static apr_status_t verify(const sample *s)
{
    mail_account a = account_of(s, "/verify-email.html#token=sampleSAMPLEsampleSAMPLE", 48);

    a.code = "123456";
    a.code_minutes = 10;

    return render_verify_email(s->pool, s->reader, &a, s->out, s->why);
}

static apr_status_t exists(const sample *s)
{
    mail_account a = account_of(s, "/reset-password.html", 0);

    return render_account_exists(s->pool, s->reader, &a, s->out, s->why);
}

static apr_status_t notice(const sample *s)
{
    mail_account a = account_of(s, render_notice_page(s->variant), 0);
    const char *detail =
        !strcmp(s->variant, "role_changed") ? "staff"
        : !strcmp(s->variant, "new_device") || !strcmp(s->variant, "signed_in_after_failures")
            ? "Firefox 140, Linux"
            : NULL;

    return render_security_notice(s->pool, s->reader, s->variant, &a, unless_least(s, detail),
                                  s->out, s->why);
}

/* ---- the mails ---- */

static const struct {
    const char *name;    /* up to the dot of a variant */
    const char *variant; /* one that must be there, or NULL */
    apr_status_t (*render)(const sample *s);
    const char *about;
} mails[] = {
    {"booking_confirmation", NULL, confirmation, "A booking is made; with a calendar entry"},
    {"booking_rescheduled", NULL, rescheduled,
     "A booking is at another time; calendar entry moves"},
    {"booking_cancelled", NULL, cancelled, "A booking is cancelled; calendar entry goes"},
    {"appointment_reminder", "24h", reminder, "The day before an appointment"},
    {"appointment_reminder", "2h", reminder, "Two hours before an appointment"},
    {"staff_new_booking", NULL, new_booking, "To the member of staff who is booked"},
    {"invoice_sent", NULL, invoice, "An invoice, with the page to pay it"},
    {"payment_received", NULL, received, "The receipt of a payment"},
    {"payment_failed", NULL, failed, "A payment did not succeed"},
    {"refund_issued", NULL, refund, "Money goes back"},
    {"password_reset", NULL, reset, "The link to a new password"},
    {"password_reset", "invitation", invitation,
     "Somebody in the business made an account for its reader"},
    {"verify_email", NULL, verify, "The link that confirms an address"},
    {"account_exists", NULL, exists, "Somebody registers with an address that has an account"},
    {"security_notice", "", notice, "Something happened to an account"}};

enum { MAILS = sizeof(mails) / sizeof(mails[0]) };

/* The row for "name" or "name.variant", and what stands behind the dot; -1 where there is none. */
static int mail_index(const char *name, const char **variant)
{
    size_t len = strcspn(name, ".");

    *variant = name[len] ? name + len + 1 : "";
    for (int i = 0; i < MAILS; i++) {
        if (strlen(mails[i].name) == len && strncmp(mails[i].name, name, len) == 0 &&
            (mails[i].variant
                 ? (mails[i].variant[0] ? !strcmp(mails[i].variant, *variant) : **variant != '\0')
                 : **variant == '\0')) {
            return i;
        }
    }
    return -1;
}

int mail_scenario_of(const char *name, mail_scenario *out)
{
    static const char *const names[] = {"least", "short", "long", "hostile"};

    for (int i = 0; i < 4; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (mail_scenario)i;
            return 1;
        }
    }
    return 0;
}

const char *mail_sample_about(const char *name)
{
    const char *variant;
    int i = mail_index(name, &variant);

    return i < 0 ? NULL : mails[i].about;
}

apr_status_t mail_sample(apr_pool_t *pool, const mail_reader *reader, const char *name,
                         mail_scenario scenario, mail_rendered *out, const char **why)
{
    const typed *t = scenario == MAIL_LONG ? &wordy : scenario == MAIL_HOSTILE ? &hostile : &brief;
    mail_reader made_up = *reader;
    sample s = {.pool = pool,
                .reader = &made_up,
                .t = t,
                .least = scenario == MAIL_LEAST,
                .out = out,
                .why = why};
    int i = mail_index(name, &s.variant);

    if (i < 0) {
        *why = apr_psprintf(pool, "there is no mail \"%s\"", name);
        return APR_NOTFOUND;
    }
    made_up.name = s.least ? NULL : t->name;
    made_up.email = "ada@example.com";
    return mails[i].render(&s);
}

/* ---- whether the templates can say what there is to say ---- */

const char *mail_samples_error(apr_pool_t *pool, const mail_templates *templates,
                               const biz_settings *settings)
{
    const apr_array_header_t *names = mail_template_names(templates);
    const apr_array_header_t *langs = mail_template_langs(pool, templates);
    mail_reader reader = {.templates = templates, .settings = settings};
    const char *why = NULL;
    mail_rendered out;
    int there[MAILS] = {0};

    for (int n = 0; n < names->nelts; n++) {
        const char *name = APR_ARRAY_IDX(names, n, const char *), *variant;
        int i = mail_index(name, &variant);

        if (i < 0) {
            return apr_psprintf(pool,
                                "there is no mail \"%s\": its files or its section are of "
                                "no use",
                                name);
        }
        there[i] = 1;
        for (int l = 0; l < langs->nelts; l++) {
            reader.locale = APR_ARRAY_IDX(langs, l, const char *);
            for (int scenario = MAIL_LEAST; scenario <= MAIL_SHORT; scenario++) {
                if (mail_sample(pool, &reader, name, (mail_scenario)scenario, &out, &why) !=
                    APR_SUCCESS) {
                    return why;
                }
            }
        }
    }
    for (int i = 0; i < MAILS; i++) {
        if (!there[i]) {
            return apr_psprintf(pool, "%s is missing: its files, or its section in texts.en.ini",
                                mails[i].name);
        }
    }
    return NULL;
}
