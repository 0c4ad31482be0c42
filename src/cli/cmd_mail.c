/* cmd_mail.c: bizapictl mail ...; see mail/render.h. Looks at templates alone, never at a store:
 * what is previewed is made of invented data for an invented business. */
#include "cli.h"

#include <stdio.h>
#include <string.h>
#include <apr_strings.h>

#include "core/locale.h"
#include "core/str.h"
#include "mail/color.h"
#include "mail/render.h"

#ifndef BIZ_DATA_DIR
#define BIZ_DATA_DIR "/usr/local/share/bizapi"
#endif

#define OPTIONS_TEMPLATES_                                                                         \
    {"templates", 0, "DIR", "as BizApiMailTemplates has it (" BIZ_DATA_DIR "/mail)"},              \
    {                                                                                              \
        "overrides", 0, "DIR", "as BizApiMailOverrides has it"                                     \
    }
const cli_option opts_mail_lint[] = {OPTIONS_TEMPLATES_, {NULL, 0, NULL, NULL}};
const cli_option opts_mail_preview[] = {
    OPTIONS_TEMPLATES_,
    {"locale", 0, "TAG", "the reader's language (en)"},
    {"timezone", 0, "ZONE", "the reader's time zone (Europe/Berlin)"},
    {"scenario", 0, "NAME", "short, long, hostile or least: what people typed (short)"},
    {"as", 0, "FORM", "message, html or text (message)"},
    {"primary", 0, "#RRGGBB", "the business's colour"},
    {"accent", 0, "#RRGGBB", "its second colour"},
    {"logo", 0, "URL", "its logo"},
    {NULL, 0, NULL, NULL}};

/* A row of the outbox that was never there. */
static const char sample_id[] = "obx_01k6sample";
static const apr_time_t sample_date = APR_TIME_C(1791189000000000);

/* The folders of the options; NULL where they are no good, and the reason was printed. */
static mail_templates *templates_of(cli *c)
{
    const char *dir = cli_opt(c, "templates"), *why = NULL;
    mail_templates *all = mail_templates_load(c->pool, dir != NULL ? dir : BIZ_DATA_DIR "/mail",
                                              cli_opt(c, "overrides"), &why);

    if (all == NULL)
        cli_fail(CLI_FAILED, "%s", why);
    return all;
}

static biz_settings *settings_of(cli *c, mail_scenario scenario)
{
    static const char *const given[] = {"primary", "accent", "logo"};
    biz_settings *s = apr_pcalloc(c->pool, sizeof(*s));
    int hostile = scenario == MAIL_HOSTILE, wordy = scenario == MAIL_LONG;
    size_t i;

    s->server_name = "portal.example.com";
    s->frontend_url = s->public_url = "https://portal.example.com";
    s->mail_from = "Example <mail@example.com>";
    s->brand = apr_table_make(c->pool, 8);
    s->secrets = apr_table_make(c->pool, 1);
    s->provider_urls = apr_table_make(c->pool, 1);
    apr_table_setn(s->brand, "name",
                   hostile ? "<b>Bob's & \"Co\"</b>\r\nBcc: x@evil.example"
                   : wordy ? "Müller & Söhne Sanitär-, Heizungs- & Lüftungsbau GmbH & Co. KG"
                           : "Example Salon");
    apr_table_setn(s->brand, "timezone", "Europe/Berlin");
    if (scenario != MAIL_LEAST) {
        apr_table_setn(s->brand, "address",
                       hostile ? "<script>1</script> & \"Street\" 1"
                               : "Example Street 5, 10115 Berlin, Germany");
        apr_table_setn(s->brand, "phone", "+493055550199");
        apr_table_setn(s->brand, "email", "office@example.com");
    }
    for (i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
        if (cli_opt(c, given[i]) != NULL)
            apr_table_setn(s->brand, given[i], cli_opt(c, given[i]));
    }
    return s;
}

int cmd_mail_lint(cli *c)
{
    mail_templates *all = templates_of(c);
    const char *why;

    if (all == NULL)
        return CLI_FAILED;
    why = mail_samples_error(c->pool, all, settings_of(c, MAIL_LEAST));
    if (why != NULL)
        return cli_fail(CLI_FAILED, "%s", why);
    cli_say(c, "%d mails in %d languages are good", mail_template_names(all)->nelts,
            mail_template_langs(c->pool, all)->nelts);
    return CLI_OK;
}

/* ---- preview ---- */

static int make_preview(cli *c, const mail_reader *reader, const char *name, mail_scenario scenario,
                        mail_rendered *mail, const char **message)
{
    const biz_settings *s = reader->settings;
    mail_envelope envelope = {.id = sample_id,
                              .from = s->mail_from,
                              .to_name = "Ada Lovelace",
                              .to = "ada@example.com",
                              .reply_to = biz_brand(s, "email", NULL),
                              .date = sample_date};
    const char *why = NULL;
    size_t len;
    apr_status_t rv = mail_sample(c->pool, reader, name, scenario, mail, &why);

    if (rv == APR_NOTFOUND)
        return cli_fail(CLI_MISSING, "%s", why);
    if (rv == APR_SUCCESS)
        rv = mail_message(c->pool, &envelope, mail, message, &len, &why);
    return rv == APR_SUCCESS ? CLI_OK : cli_fail(CLI_FAILED, "%s", why);
}

static biz_json *preview_json(cli *c, const char *name, const char *locale, const char *scenario,
                              const mail_rendered *mail, const char *message)
{
    biz_json *json = biz_json_object(c->pool);

    biz_json_set_str(json, "name", name);
    biz_json_set_str(json, "locale", locale);
    biz_json_set_str(json, "scenario", scenario);
    biz_json_set_str(json, "subject", mail->subject);
    biz_json_set_str(json, "preheader", mail->preheader);
    biz_json_set_str(json, "html", mail->html);
    biz_json_set_str(json, "text", mail->text);
    biz_json_set_str(json, "message", message);
    return json;
}

/* What one preview is made of. */
typedef struct {
    const mail_templates *templates;
    const char *locale, *scenario_name, *as;
    mail_scenario scenario;
} wish;

static int preview(cli *c, const wish *w, const char *name)
{
    mail_reader reader = {.templates = w->templates,
                          .settings = settings_of(c, w->scenario),
                          .locale = w->locale,
                          .timezone = cli_opt(c, "timezone")};
    const char *message = NULL;
    mail_rendered mail;
    int status = make_preview(c, &reader, name, w->scenario, &mail, &message);

    if (status != CLI_OK)
        return status;
    if (c->json)
        cli_print_json(c, preview_json(c, name, w->locale, w->scenario_name, &mail, message));
    else
        fputs(!strcmp(w->as, "html")   ? mail.html
              : !strcmp(w->as, "text") ? mail.text
                                       : message,
              stdout);
    return CLI_OK;
}

/* Every mail in every language and scenario, one JSON object a line. */
static int preview_all(cli *c, wish *w)
{
    static const char *const scenarios[] = {"least", "short", "long", "hostile"};
    const apr_array_header_t *names = mail_template_names(w->templates);
    const apr_array_header_t *langs = mail_template_langs(c->pool, w->templates);
    apr_pool_t *all = c->pool, *one;
    int i, status = CLI_OK, n = names->nelts * langs->nelts * 4;

    apr_pool_create(&one, all);
    c->pool = one;
    for (i = 0; i < n && status == CLI_OK; i++) {
        apr_pool_clear(one);
        w->scenario_name = scenarios[i % 4];
        mail_scenario_of(w->scenario_name, &w->scenario);
        w->locale = APR_ARRAY_IDX(langs, i / 4 % langs->nelts, const char *);
        status = preview(c, w, APR_ARRAY_IDX(names, i / 4 / langs->nelts, const char *));
    }
    c->pool = all;
    return status;
}

static int list_mails(cli *c, const mail_templates *templates)
{
    static const char *const headings[] = {"NAME", "WHEN"};
    const apr_array_header_t *names = mail_template_names(templates);
    cli_table *table = cli_table_new(c->pool, 2, headings);
    int i;

    for (i = 0; i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);
        const char *cells[] = {name, mail_sample_about(name)};

        cli_table_row(table, c->pool, cells);
    }
    cli_table_flush(table);
    return CLI_OK;
}

static int options_are_good(cli *c, wish *w)
{
    const char *zone = cli_opt(c, "timezone"), *scenario = cli_opt(c, "scenario");
    const char *locale = cli_opt(c, "locale"), *as = cli_opt(c, "as");
    mail_color colour;

    w->locale = locale != NULL ? biz_locale_canonical(c->pool, locale) : "en";
    w->scenario_name = scenario != NULL ? scenario : "short";
    w->as = as != NULL ? as : "message";
    if (w->locale == NULL)
        return cli_usage(c, "\"%s\" is no language tag such as de", cli_text(c->pool, locale));
    if (zone != NULL && !biz_zone_is_known(zone))
        return cli_usage(c, "\"%s\" is no time zone such as Europe/Berlin",
                         cli_text(c->pool, zone));
    if (!mail_scenario_of(w->scenario_name, &w->scenario))
        return cli_usage(c, "--scenario must be short, long, hostile or least");
    if (strcmp(w->as, "message") != 0 && strcmp(w->as, "html") != 0 && strcmp(w->as, "text") != 0)
        return cli_usage(c, "--as must be message, html or text");
    if ((cli_opt(c, "primary") != NULL && !mail_color_parse(cli_opt(c, "primary"), &colour)) ||
        (cli_opt(c, "accent") != NULL && !mail_color_parse(cli_opt(c, "accent"), &colour)))
        return cli_usage(c, "a colour is written as #1a5fb4");
    return CLI_OK;
}

int cmd_mail_preview(cli *c)
{
    wish w = {.as = NULL};
    int status = options_are_good(c, &w);

    if (status != CLI_OK)
        return status;
    w.templates = templates_of(c);
    if (w.templates == NULL)
        return CLI_FAILED;
    if (c->args->nelts > 0)
        return preview(c, &w, cli_arg(c, 0));
    return c->json ? preview_all(c, &w) : list_mails(c, w.templates);
}
