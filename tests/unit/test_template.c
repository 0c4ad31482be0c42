/* test_template.c: the templates that are shipped, with friendly and hostile values, and templates
 * that must be refused. What every mail must satisfy is checked by test_mail.py. Runs in the
 * repository's root. */
#include "core_test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "core/str.h"
#include "mail/color.h"
#include "mail/render.h"

static const char *const names[] = {"password_reset", "verify_email", "account_exists",
                                    "security_notice.password_changed", NULL};

static biz_settings *settings_of(const char *name, const char *primary)
{
    biz_settings *s = apr_pcalloc(pool, sizeof(*s));

    s->server_name = "portal.example.com";
    s->frontend_url = "https://portal.example.com";
    s->brand = apr_table_make(pool, 8);
    if (name)
        apr_table_setn(s->brand, "name", name);
    if (primary)
        apr_table_setn(s->brand, "primary", primary);
    return s;
}

static apr_table_t *values_of(const char *user)
{
    apr_table_t *values = apr_table_make(pool, 8);

    apr_table_setn(values, "user_name", user);
    apr_table_setn(values, "link_url", "https://portal.example.com/reset-password.html#token=abc");
    apr_table_setn(values, "requested_at", "Monday 5 October 2026, 10:30 (Europe/Berlin, UTC+2)");
    apr_table_setn(values, "requested_short", "5 Oct, 10:30");
    apr_table_setn(values, "valid_minutes", "60");
    apr_table_setn(values, "valid_hours", "48");
    apr_table_setn(values, "code", "123456");
    apr_table_setn(values, "code_minutes", "10");
    apr_table_setn(values, "ip", "192.0.2.7");
    return values;
}

static mail_templates *shipped(void)
{
    const char *why = NULL;
    mail_templates *all = mail_templates_load(pool, "conf/mail", NULL, &why);

    if (!all)
        fail_msg("%s", why);
    return all;
}

static mail_rendered render(const char *name, const biz_settings *settings,
                            const apr_table_t *values)
{
    mail_rendered out = {0};
    const char *why = "";

    if (mail_render(pool, shipped(), settings, name, "en", values, &out, &why) != APR_SUCCESS)
        fail_msg("%s: %s", name, why);
    return out;
}

static void nothing_is_loaded_from_outside(void **state)
{
    static const char *const loads[] = {"<link", "<script", "<img", "<form",   "<iframe",
                                        "url(",  "@import", "src=", "<object", NULL};

    for (int i = 0; names[i]; i++) {
        mail_rendered m = render(names[i], settings_of("ABC", NULL), values_of("Ann"));

        for (int j = 0; loads[j]; j++)
            assert_null(strcasestr(m.html, loads[j]));
    }
}

static void the_reset_mail_says_what_it_must(void **state)
{
    mail_rendered m = render("password_reset", settings_of("ABC", NULL), values_of("Ann"));

    assert_non_null(strstr(m.text, "60 minutes"));
    assert_non_null(strstr(m.html, "60 minutes"));
    assert_non_null(strstr(m.text, "192.0.2.7"));
    assert_non_null(strstr(m.text, "If it was not you, do nothing"));
    assert_string_equal(m.subject, "Set a new password at ABC within 60 minutes");
}

static void the_notice_follows_its_event(void **state)
{
    apr_table_t *values = values_of("Ann");
    mail_rendered m = render("security_notice.password_changed", settings_of("ABC", NULL), values);

    assert_string_equal(m.subject, "Password changed at ABC, 5 Oct, 10:30");
    assert_null(strstr(m.text, "session has been ended"));
    m = render("security_notice.token_reused", settings_of("ABC", NULL), values);
    assert_string_equal(m.subject, "Session ended at ABC, 5 Oct, 10:30");
    assert_non_null(strstr(m.html, "A session of yours was ended"));
    assert_null(strstr(m.text, "Details"));
    apr_table_setn(values, "detail", "Firefox");
    m = render("security_notice.token_reused", settings_of("ABC", NULL), values);
    assert_non_null(strstr(m.text, "Details: Firefox."));
}

static void hostile_values_stay_text(void **state)
{
    const char *hostile = "<img src=x onerror=1>\"'><a href=//evil> {{password}} %s%n &lt; {{{x}}}";
    apr_table_t *values = values_of(hostile);
    biz_settings *settings = settings_of("<b>Bob's & \"Co\"</b>\r\nBcc: x@y", "red;}</style>");

    for (int i = 0; names[i]; i++) {
        mail_rendered m = render(names[i], settings, values);

        assert_null(strstr(m.html, "<img"));
        assert_null(strstr(m.html, "<a href=//evil"));
        assert_null(strstr(m.html, "<b>Bob"));
        assert_null(strstr(m.html, "red;}"));
        assert_non_null(strstr(m.html, "&lt;img src=x onerror=1&gt;&quot;&#39;&gt;&lt;a "
                                       "href=//evil&gt; {{password}} %s%n &amp;lt; {{{x}}}"));
        assert_non_null(strstr(m.text, "<img src=x onerror=1>"));
        assert_non_null(strstr(m.text, "{{password}} %s%n &lt; {{{x}}}"));
        assert_null(strpbrk(m.subject, "\r\n"));
    }
}

static void footers_show_what_is_known(void **state)
{
    biz_settings *settings = settings_of(NULL, NULL);
    mail_rendered m = render("verify_email", settings, values_of("Ann"));

    assert_non_null(strstr(m.text, "-- \nportal.example.com\n\nYou received this mail because"));
    apr_table_setn(settings->brand, "address", "Rue 1, 1000 Bruxelles");
    apr_table_setn(settings->brand, "phone", "+3225550100");
    apr_table_setn(settings->brand, "email", "hi@example.com");
    m = render("verify_email", settings, values_of("Ann"));
    assert_non_null(strstr(m.text, "Rue 1, 1000 Bruxelles\n+3225550100\nhi@example.com\n\n"));
    assert_non_null(strstr(m.html, "<br><bdi>Rue 1, 1000 Bruxelles</bdi>"));
    assert_non_null(strstr(m.html, "href=\"tel:+3225550100\""));
    assert_non_null(strstr(m.html, "href=\"mailto:hi@example.com\""));
}

static apr_status_t try_value(const char *name, const char *value, const char **why)
{
    apr_table_t *values = values_of("Ann");
    mail_rendered out;

    apr_table_unset(values, name);
    if (value)
        apr_table_setn(values, name, value);
    return mail_render(pool, shipped(), settings_of("ABC", NULL), "password_reset", "en", values,
                       &out, why);
}

static void a_missing_value_is_an_error(void **state)
{
    const char *why = NULL;

    assert_int_equal(try_value("link_url", NULL, &why), APR_EINVAL);
    assert_string_equal(why, "password_reset.txt:11: {{link_url}} has no value");
    assert_int_equal(try_value("link_url", "", &why), APR_EINVAL);
    assert_int_equal(try_value("requested_at", NULL, &why), APR_EINVAL);
    assert_int_equal(try_value("user_name", "\xff", &why), APR_EINVAL);
    assert_int_equal(try_value("user_name", NULL, &why), APR_SUCCESS); /* in a section */
    assert_int_equal(try_value("ip", "", &why), APR_SUCCESS);
    assert_int_equal(mail_render(pool, shipped(), settings_of("ABC", NULL), "no_such", "en",
                                 values_of("Ann"), &(mail_rendered){0}, &why),
                     APR_NOTFOUND);
    assert_int_equal(mail_render(pool, shipped(), settings_of("ABC", NULL), "layout", "en",
                                 values_of("Ann"), &(mail_rendered){0}, &why),
                     APR_NOTFOUND);
}

static void links_are_web_mail_or_phone(void **state)
{
    static const char *const bad[] = {"javascript:alert(1)",
                                      "data:text/html,x",
                                      "//evil.example",
                                      "HTTPS",
                                      "https://",
                                      "https://a b",
                                      "https://a\"b",
                                      "https://a<b",
                                      " https://a",
                                      "https://a\nb",
                                      "ftp://a",
                                      NULL};
    const char *why = NULL;

    for (int i = 0; bad[i]; i++)
        if (try_value("link_url", bad[i], &why) != APR_EINVAL)
            fail_msg("%s was taken", bad[i]);
    assert_int_equal(try_value("link_url", "mailto:a@b.example", &why), APR_SUCCESS);
    assert_int_equal(try_value("link_url", "https://a/?b=c&d=%20#e", &why), APR_SUCCESS);
}

/* ---- templates that somebody edited ---- */

static char folder[] = "/tmp/test_template.XXXXXX";

static void put_file(const char *name, const char *text)
{
    FILE *f = fopen(apr_psprintf(pool, "%s/%s", folder, name), "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

#define TEXTS "[x]\nsubject = s {{a}}\npreheader = p\nreason = r\nt = w {{a}}!\n"

static void put_good(void)
{
    put_file("layout.txt", "{{{content}}}\n");
    put_file("layout.html", "<html lang=\"{{lang}}\" dir=\"{{dir}}\"><p>{{{content}}}</p></html>");
    put_file("x.txt", "{{a}}\n");
    put_file("x.html", "<b>{{a}}</b>");
    put_file("texts.en.ini", TEXTS);
}

static const char *load_error(const char *file, const char *text)
{
    const char *why = NULL;

    put_good();
    put_file(file, text);
    return mail_templates_load(pool, folder, NULL, &why) ? "" : why;
}

static void broken_templates_name_file_and_line(void **state)
{
    static const struct {
        const char *file, *text, *why;
    } cases[] = {
        {"texts.en.ini", "[x]\nsubject = a\nreason = b\n", "texts.en.ini under [x] or [common]: "},
        {"texts.en.ini", "[x]\na = b\na = c\n", "texts.en.ini:3: the text \"a\" is there twice"},
        {"texts.en.ini", "a = b\n", "texts.en.ini:1: a text must stand under a [section]"},
        {"texts.en.ini", "# a\n[x y]\n", "texts.en.ini:2: a section is a line such as"},
        {"texts.en.ini", "[x.]\n", "texts.en.ini:1: a section is a line such as"},
        {"texts.en.ini", "[x]\nHello\n", "texts.en.ini:2: a line must be"},
        {"texts.en.ini", "[x]\na =\n", "texts.en.ini:2: the text \"a\" is empty"},
        {"texts.en.ini", "[x]\na = {{b\n", "texts.en.ini:2: this mark is not closed"},
        {"texts.en.ini", "[x]\n\na = {{#b}}c\n", "texts.en.ini:3: {{#b}} is never closed"},
        {"texts.en.ini", "[x]\na = {{>b}}\n", "texts.en.ini:2: {{>b}}: texts hold no other"},
        {"texts.en.ini", "[x]\na = \xc3\n", "texts.en.ini:1: the file is not UTF-8"},
        {"x.txt", "one\n{{#a}}two\n", "x.txt:2: {{#a}} is never closed"},
        {"x.txt", "{{/a}}", "x.txt:1: {{/a}} without {{#a}}"},
        {"x.txt", "{{#a}}{{#b}}{{/a}}{{/b}}", "x.txt:1: {{/a}} where {{/b}} must come first"},
        {"x.txt", "\n{{a", "x.txt:2: this mark is not closed or not known"},
        {"x.txt", "{{ a }}", "x.txt:1: this mark"},
        {"x.txt", "{{^a}}{{/a}}", "x.txt:1: this mark"},
        {"x.txt", "{{> a}}", "x.txt:1: this mark"},
        {"x.txt", "\n{{>no}}", "x.txt:2: {{>no}}: there is no such text in texts.en.ini under [x]"},
        {"x.txt", "{{{a}}}", "x.txt:1: this mark"},
        {"x.txt", "{{A}}", "x.txt:1: this mark"},
        {"x.txt", "{{}}", "x.txt:1: this mark"},
        {"x.txt", "{{{content}}}", "x.txt:1: {{{content}}} belongs once into a layout"},
        {"x.txt", "\xc3", "x.txt:1: the file is not UTF-8"},
        {"layout.txt", "no place", "layout.txt:1: a layout must hold {{{content}}}"},
        {"layout.txt", "{{{content}}}\n{{{content}}}", "layout.txt:2: {{{content}}} belongs once"},
        {"layout.html", "<p title=\"{{{content}}}\">", "layout.html:1: {{{content}}} must not"},
        {"x.html", "<a href=\"{{a}}\">", "x.html:1: {{a}}: in href and src only"},
        {"x.html", "<a\nhref=\"https://x/{{a}}\">", "x.html:2: {{a}}: in href and src only"},
        {"x.html", "<a href=\"{{>t}}\">", "x.html:1: {{>t}}: in href and src only"},
        {"x.html", "<a href={{a_url}}>", "x.html:1: {{a_url}}: a value inside of a tag must"},
        {"x.html", "<a title='{{a}}'>", "x.html:1: {{a}}: a value inside of a tag must"},
        {"x.html", "<p style=\"color:{{a}}\">", "x.html:1: {{a}}: in style sheets only"},
        {"x.html", "<p style=\"color:{{>t}}\">", "x.html:1: {{>t}}: in style sheets only"},
        {"x.html", "<style>p{color:{{a}}}</style>", "x.html:1: {{a}}: in style sheets only"},
        {"x.html", "<p onclick=\"{{a}}\">", "x.html:1: {{a}}: a value must not stand in a script"},
        {"x.html", "<!-- {{a}} -->", "x.html:1: {{a}}: a value must not stand in a comment"},
        {"x.html", "<p>\n<p>\n<SCRIPT>", "x.html:3: mails hold no scripts"},
        {"x.html", "<p title=\"a>{{a}}", "x.html:1: a tag, a comment or a style sheet is never"},
        {"y.html", "<p>", "y.html: the .txt beside it is missing"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *why = load_error(cases[i].file, cases[i].text);

        if (!strstr(why, cases[i].why) || (strncmp(why, cases[i].why, 6) != 0 && why[0] != '/'))
            fail_msg("%s: \"%s\" gives \"%s\"", cases[i].file, cases[i].text, why);
    }
    assert_int_equal(unlink(apr_psprintf(pool, "%s/y.html", folder)), 0);
    assert_string_equal(load_error("x.html", "<p title=\"{{a}}{{>t}}\" style=\"color:{{primary}}\">"
                                             "<!--[if mso]>{{accent}}<![endif]-->"
                                             "<a href=\"{{a_url}}\">{{a_url}}</a>"),
                        "");
    assert_string_equal(load_error("x.html~", "{{"), "");
    assert_string_equal(load_error("x.txt.dpkg-dist", "{{"), "");
    assert_string_equal(load_error(".x.txt.swp", "{{"), "");
    assert_string_equal(load_error("texts.en.ini.bak", "{{"), "");
    assert_string_equal(
        load_error("texts.en.ini", "\xef\xbb\xbf; begins as some editors do\r\n" TEXTS), "");
}

static mail_templates *loaded(const char *own)
{
    const char *why = NULL;
    mail_templates *all = mail_templates_load(pool, folder, own, &why);

    if (!all)
        fail_msg("%s", why);
    return all;
}

static mail_rendered rendered(const mail_templates *all, const char *name, const char *locale,
                              const apr_table_t *values)
{
    mail_rendered out;
    const char *why = NULL;

    if (mail_render(pool, all, settings_of("ABC", NULL), name, locale, values, &out, &why))
        fail_msg("%s", why);
    return out;
}

static void sections_take_their_lines_with_them(void **state)
{
    apr_table_t *values = apr_table_make(pool, 4);
    mail_templates *all;
    mail_rendered out;

    put_good();
    put_file("x.txt", "1\n  {{#b}}\n2 {{b}}\n{{/b}}\n3{{#a}} 4{{#b}}!{{/b}}{{/a}}.\n{{#c}}\n5"
                      "\n{{/c}}\n6\n");
    all = loaded(NULL);
    apr_table_setn(values, "a", "A");
    assert_string_equal(rendered(all, "x", NULL, values).text, "1\n3 4.\n6\n\n");
    apr_table_setn(values, "b", "B");
    out = rendered(all, "x", NULL, values);
    assert_string_equal(out.text, "1\n2 B\n3 4!.\n6\n\n");
    assert_string_equal(out.subject, "s A");
    apr_table_setn(values, "a", apr_psprintf(pool, "%0200d", 7));
    assert_int_equal(strlen(rendered(all, "x", NULL, values).subject), 120);
}

static void values_keep_their_direction(void **state)
{
    apr_table_t *values = apr_table_make(pool, 4);
    mail_templates *all;
    mail_rendered out;

    put_good();
    put_file("texts.ar.ini", TEXTS);
    put_file("x.txt", "{{>t}} {{a}} {{b_url}}");
    put_file("x.html", "<i title=\"{{>t}}{{a}}\">{{>t}}</i><title>{{a}}{{>t}}</title>");
    all = loaded(NULL);
    apr_table_setn(values, "a", "<&>");
    apr_table_setn(values, "b_url", "https://b");
    out = rendered(all, "x", "ar", values);
    assert_string_equal(out.text, "w \xe2\x81\xa8<&>\xe2\x81\xa9! \xe2\x81\xa8<&>\xe2\x81\xa9 "
                                  "https://b\n");
    assert_string_equal(out.subject, "s <&>");
    assert_non_null(strstr(out.html, "<i title=\"w &lt;&amp;&gt;!&lt;&amp;&gt;\">w "
                                     "<bdi>&lt;&amp;&gt;</bdi>!</i>"
                                     "<title>&lt;&amp;&gt;w &lt;&amp;&gt;!</title>"));
    assert_string_equal(rendered(all, "x", "en", values).text, "w <&>! <&> https://b\n");
    unlink(apr_psprintf(pool, "%s/texts.ar.ini", folder));
}

static void languages_have_their_own_texts(void **state)
{
    apr_table_t *values = apr_table_make(pool, 4);
    mail_templates *all;

    put_good();
    put_file("x.html", "<i align=\"{{start}}\">{{>t}}</i>");
    put_file("y.txt", "{{>t}}");
    put_file("y.html", "{{>t}}");
    put_file("texts.en.ini",
             "[common]\nt = en\n" TEXTS "[y.one]\nsubject = 1\n[y.two]\nsubject = 2\n"
             "[y]\nt = why\npreheader = p\nreason = r\n");
    put_file("texts.ar.ini", "[common]\nt = ar\n[x]\nsubject = s\npreheader = p\nreason = r\n");
    all = loaded(NULL);
    apr_table_setn(values, "a", "A");
    assert_string_equal(mail_template_lang(pool, all, "x", "ar-EG"), "ar");
    assert_string_equal(mail_template_lang(pool, all, "x", "de"), "en");
    assert_string_equal(mail_template_lang(pool, all, "x", NULL), "en");
    assert_string_equal(mail_template_lang(pool, all, "y.one", "ar"), "en"); /* it has no [y.one] */
    assert_int_equal(mail_template_names(all)->nelts, 3);
    assert_string_equal(rendered(all, "x", "ar-EG", values).html,
                        "<html lang=\"ar\" dir=\"rtl\"><p><i align=\"right\">ar</i></p></html>");
    assert_string_equal(rendered(all, "x", "arn", values).html,
                        "<html lang=\"en\" dir=\"ltr\"><p><i align=\"left\">w <bdi>A</bdi>!</i>"
                        "</p></html>");
    assert_string_equal(rendered(all, "y.two", "ar", values).subject, "2");
    assert_string_equal(rendered(all, "y.two", "ar", values).text, "why\n");
    unlink(apr_psprintf(pool, "%s/y.txt", folder));
    unlink(apr_psprintf(pool, "%s/y.html", folder));
    unlink(apr_psprintf(pool, "%s/texts.ar.ini", folder));
}

static void an_operator_s_own_come_first(void **state)
{
    apr_table_t *values = apr_table_make(pool, 4);
    const char *why = NULL, *own = apr_psprintf(pool, "%s/own", folder);
    mail_templates *all;

    put_good();
    put_file("x.txt", "{{>t}} {{>u}}");
    put_file("texts.en.ini", TEXTS "u = shipped\n");
    assert_int_equal(mkdir(own, 0700), 0);
    apr_table_setn(values, "a", "A");
    all = loaded(own);
    assert_false(mail_template_is_own(pool, all, "x"));
    put_file("own/texts.en.ini", "[x]\nu = own\n");
    all = loaded(own);
    assert_true(mail_template_is_own(pool, all, "x"));
    assert_string_equal(rendered(all, "x", NULL, values).text, "w A! own\n");
    put_file("own/x.txt", "mine");
    assert_string_equal(rendered(loaded(own), "x", NULL, values).text, "mine\n");
    put_file("own/x.txt", "{{>v}}");
    assert_null(mail_templates_load(pool, folder, own, &why));
    assert_string_equal(why, "x.txt:1: {{>v}}: there is no such text in texts.en.ini under [x] or "
                             "[common]");
    assert_null(mail_templates_load(pool, folder, "/nowhere", &why));
    assert_non_null(strstr(why, "/nowhere"));
}

static void long_lines_break_at_spaces(void **state)
{
    const char *word = "https://portal.example.com/reset-password.html#token="
                       "0123456789012345678901234567890123456789012";
    apr_table_t *values = apr_table_make(pool, 4);

    put_good();
    apr_table_setn(values, "a",
                   apr_psprintf(pool, "ä %070d %070d\n\n\n\n%s b %s", 1, 2, word, word));
    assert_string_equal(rendered(loaded(NULL), "x", NULL, values).text,
                        apr_psprintf(pool, "ä %070d\n%070d\n\n%s\nb\n%s\n\n", 1, 2, word, word));
}

/* ---- what the product sends ---- */

static void every_mail_is_there_and_no_other(void **state)
{
    const char *why = NULL;
    biz_settings *settings = settings_of("ABC", NULL);

    assert_null(mail_samples_error(pool, shipped(), settings));
    put_good();
    assert_string_equal(mail_samples_error(pool, loaded(NULL), settings),
                        "there is no mail \"x\": its files or its section are of no use");
    for (int i = 0; i < mail_template_names(shipped())->nelts; i++)
        assert_non_null(
            mail_sample_about(APR_ARRAY_IDX(mail_template_names(shipped()), i, const char *)));
    {
        mail_reader reader = {.templates = shipped(), .settings = settings};
        mail_account account = {.url = "https://a", .at = 1};
        mail_rendered out;

        assert_int_equal(
            render_security_notice(pool, &reader, "no_such_event", &account, NULL, &out, &why),
            APR_NOTFOUND);
        assert_string_equal(why, "there is no template \"security_notice.no_such_event\"");
        assert_int_equal(
            mail_sample(pool, &reader, "appointment_reminder.3h", MAIL_SHORT, &out, &why),
            APR_NOTFOUND);
        assert_int_equal(mail_sample(pool, &reader, "security_notice", MAIL_SHORT, &out, &why),
                         APR_NOTFOUND);
    }
}

static void a_preview_replaces_what_is_there(void **state)
{
    apr_table_t *data = apr_table_make(pool, 2);
    mail_reader reader = {
        .templates = shipped(), .settings = settings_of("ABC", NULL), .replace = data};
    const char *why = NULL;
    mail_rendered out;

    apr_table_setn(data, "service", "Haircut & <more>");
    assert_int_equal(mail_sample(pool, &reader, "invoice_sent", MAIL_SHORT, &out, &why),
                     APR_EINVAL);
    assert_string_equal(why, "invoice_sent has no value \"service\"");
    assert_int_equal(mail_sample(pool, &reader, "booking_cancelled", MAIL_SHORT, &out, &why), 0);
    assert_non_null(strstr(out.html, "Haircut &amp; &lt;more&gt;"));
}

/* ---- colours ---- */

static mail_color color(const char *text)
{
    mail_color c = {0};

    if (!mail_color_parse(text, &c))
        fail_msg("%s is no colour", text);
    return c;
}

static void colors_are_six_digits(void **state)
{
    static const char *const bad[] = {"",        "#fff",    "ffffff",   "#ffffff ",
                                      "#gggggg", "#12345",  "#1234567", "red",
                                      "#12345;", "#-12345", "# 12345",  NULL};
    mail_color c;

    for (int i = 0; bad[i]; i++)
        assert_int_equal(mail_color_parse(bad[i], &c), 0);
    assert_int_equal(mail_color_parse(NULL, &c), 0);
    assert_string_equal(mail_color_text(pool, color("#A1b2C3")), "#a1b2c3");
}

static void contrast_is_that_of_wcag(void **state)
{
    static const struct {
        const char *a, *b;
        double ratio;
    } known[] = {{"#000000", "#ffffff", 21.0}, {"#ffffff", "#ffffff", 1.0},
                 {"#767676", "#ffffff", 4.54}, {"#777777", "#ffffff", 4.48},
                 {"#4caf50", "#ffffff", 2.78}, {"#ff0000", "#ffffff", 4.00},
                 {"#0000ff", "#ffffff", 8.59}};

    for (size_t i = 0; i < COUNT(known); i++) {
        double is = mail_color_contrast(color(known[i].a), color(known[i].b));

        if (is < known[i].ratio - 0.006 || is > known[i].ratio + 0.006)
            fail_msg("%s on %s: %f", known[i].a, known[i].b, is);
        assert_true(is == mail_color_contrast(color(known[i].b), color(known[i].a)));
    }
}

static void every_brand_becomes_legible(void **state)
{
    const mail_color white = {255, 255, 255}, dark = {0x1f, 0x29, 0x37};

    for (int r = 0; r < 256; r += 5)
        for (int g = 0; g < 256; g += 5)
            for (int b = 0; b < 256; b += 5) {
                mail_color c = {(unsigned char)r, (unsigned char)g, (unsigned char)b}, button = c;
                mail_color label = mail_color_label(&button);

                if (mail_color_contrast(button, label) < 4.5 ||
                    mail_color_contrast(mail_color_on(c, white, 4.5), white) < 4.5 ||
                    mail_color_contrast(mail_color_on(c, dark, 4.5), dark) < 4.5)
                    fail_msg("%s", mail_color_text(pool, c));
            }
    {
        mail_color green = color("#4caf50"), blue = color("#1d4ed8");

        assert_string_equal(mail_color_text(pool, mail_color_label(&green)), "#111827");
        assert_string_equal(mail_color_text(pool, mail_color_label(&blue)), "#ffffff");
        assert_string_equal(mail_color_text(pool, green), "#4caf50"); /* left as it is */
        assert_string_equal(mail_color_text(pool, mail_color_on(blue, white, 4.5)), "#1d4ed8");
    }
}

static void the_brand_is_in_the_mail(void **state)
{
    mail_rendered m = render("password_reset", settings_of("ABC", "#FFEB3B"), values_of("Ann"));
    biz_settings *logo = settings_of("ABC", NULL);

    apr_table_setn(logo->brand, "logo", "https://example.com/logo.PNG");
    assert_non_null(strstr(m.html, "background:#ffeb3b;color:#111827;"));
    assert_null(strstr(m.html, "style=\"color: #ffeb3b"));
    assert_null(strstr(m.html, "<img"));
    m = render("password_reset", logo, values_of("Ann"));
    assert_non_null(strstr(m.html, "<img src=\"https://example.com/logo.PNG\" alt=\"ABC\""));
    apr_table_setn(logo->brand, "logo", "http://example.com/logo.png");
    assert_null(strstr(render("password_reset", logo, values_of("Ann")).html, "<img"));
    apr_table_setn(logo->brand, "logo", "https://example.com/logo.svg");
    assert_null(strstr(render("password_reset", logo, values_of("Ann")).html, "<img"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(nothing_is_loaded_from_outside),
        CORE_TEST(the_reset_mail_says_what_it_must),
        CORE_TEST(the_notice_follows_its_event),
        CORE_TEST(hostile_values_stay_text),
        CORE_TEST(footers_show_what_is_known),
        CORE_TEST(a_missing_value_is_an_error),
        CORE_TEST(links_are_web_mail_or_phone),
        CORE_TEST(broken_templates_name_file_and_line),
        CORE_TEST(sections_take_their_lines_with_them),
        CORE_TEST(values_keep_their_direction),
        CORE_TEST(languages_have_their_own_texts),
        CORE_TEST(an_operator_s_own_come_first),
        CORE_TEST(long_lines_break_at_spaces),
        CORE_TEST(every_mail_is_there_and_no_other),
        CORE_TEST(a_preview_replaces_what_is_there),
        CORE_TEST(colors_are_six_digits),
        CORE_TEST(contrast_is_that_of_wcag),
        CORE_TEST(every_brand_becomes_legible),
        CORE_TEST(the_brand_is_in_the_mail),
    };
    int failed;

    core_start();
    if (!mkdtemp(folder))
        return 2;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    apr_pool_create(&pool, NULL);
    if (system(apr_psprintf(pool, "rm -rf %s", folder)) != 0)
        failed++;
    return failed;
}
