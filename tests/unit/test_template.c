/* test_template.c: the templates that are shipped, with friendly and hostile values, and templates
 * that must be refused. Runs in the repository's root. */
#include "core_test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "core/str.h"
#include "mail/color.h"
#include "mail/mail.h"

static const char *const names[] = {"password_reset", "verify_email", "account_exists",
                                    "security_notice", NULL};

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
    apr_table_setn(values, "valid_minutes", "60");
    apr_table_setn(values, "valid_hours", "48");
    apr_table_setn(values, "ip", "192.0.2.7");
    apr_table_setn(values, "password_changed", "1");
    return values;
}

static mail_templates *shipped(void)
{
    const char *why = NULL;
    mail_templates *all = mail_templates_load(pool, "conf/mail", &why);

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

static int lines_fit(const char *text, size_t max)
{
    for (; *text; text += strcspn(text, "\n") + (text[strcspn(text, "\n")] != '\0')) {
        const char *line = apr_pstrmemdup(pool, text, strcspn(text, "\n"));

        if (strlen(line) > max && strchr(line, ' '))
            return 0;
    }
    return 1;
}

static void shipped_mails_are_whole(void **state)
{
    static const char *const business[] = {"ABC", "Müller & Söhne Sanitär- und Heizungsbau GmbH",
                                           NULL};

    for (int b = 0; business[b]; b++) {
        for (int i = 0; names[i]; i++) {
            mail_rendered m = render(names[i], settings_of(business[b], NULL), values_of("Ann"));
            long subject = biz_utf8_count(m.subject, strlen(m.subject));
            long preheader = biz_utf8_count(m.preheader, strlen(m.preheader));

            if (subject < 20 || subject > 60 || preheader < 40 || preheader > 110)
                fail_msg("%s: subject \"%s\", preheader \"%s\"", names[i], m.subject, m.preheader);
            assert_non_null(strstr(m.html, "<!doctype html>\n<html lang=\"en\" dir=\"ltr\">"));
            assert_non_null(strstr(m.html, apr_pstrcat(pool, "<title>", b ? "" : m.subject, NULL)));
            assert_non_null(strstr(m.html, "padding:14px 28px"));
            assert_non_null(strstr(m.html, "Hello <bdi>Ann</bdi>"));
            assert_non_null(strstr(m.text, "Hello Ann,\n\n"));
            assert_non_null(strstr(m.text, "10:30 (Europe/Berlin, UTC+2)"));
            assert_non_null(
                strstr(m.text, "\n\nhttps://portal.example.com/reset-password.html#token=abc\n\n"));
            assert_int_not_equal(m.text[0], '\n');
            assert_null(strstr(m.text, "\n\n\n"));
            assert_true(lines_fit(m.text, 80));
            assert_true(strlen(m.html) < 40000);
            assert_null(strstr(m.html, "{{"));
            assert_null(strstr(m.text, "{{"));
        }
    }
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
    assert_string_equal(m.subject, "Choose a new password at ABC");
}

static void the_notice_follows_its_event(void **state)
{
    apr_table_t *values = values_of("Ann");
    mail_rendered m = render("security_notice", settings_of("ABC", NULL), values);

    assert_string_equal(m.subject, "Your password was changed at ABC");
    assert_null(strstr(m.text, "session has been ended"));
    apr_table_unset(values, "password_changed");
    apr_table_setn(values, "session_ended", "1");
    m = render("security_notice", settings_of("ABC", NULL), values);
    assert_string_equal(m.subject, "A session was ended at ABC");
    assert_non_null(strstr(m.html, "A session of yours was ended"));
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
        assert_null(strstr(m.html, "<b>"));
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
    assert_non_null(strstr(m.html, "Rue 1, 1000 Bruxelles<br>"));
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
    assert_string_equal(why, "password_reset.txt:13: {{link_url}} has no value");
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

#define HEAD "Subject: s {{a}}\nPreheader: p\nReason: r\n\n"

static void put_good(void)
{
    put_file("layout.txt", "{{{content}}}\n");
    put_file("layout.html", "<html lang=\"{{lang}}\" dir=\"{{dir}}\"><p>{{{content}}}</p></html>");
    put_file("x.txt", HEAD "{{a}}\n");
    put_file("x.html", "<b>{{a}}</b>");
}

static const char *load_error(const char *file, const char *text)
{
    const char *why = NULL;

    put_good();
    put_file(file, text);
    return mail_templates_load(pool, folder, &why) ? "" : why;
}

static void broken_templates_name_file_and_line(void **state)
{
    static const struct {
        const char *file, *text, *why;
    } cases[] = {
        {"x.txt", "Subject: a\nPreheader: b\n\ntext", "x.txt:3: "},
        {"x.txt", "Subject: a\nSubject: b\n\ntext", "x.txt:2: the file must open with"},
        {"x.txt", "Hello\n", "x.txt:1: the file must open with"},
        {"x.txt", "", "x.txt:1: "},
        {"x.txt", HEAD "one\n{{#a}}two\n", "x.txt:6: {{#a}} is never closed"},
        {"x.txt", HEAD "{{/a}}", "x.txt:5: {{/a}} without {{#a}}"},
        {"x.txt", HEAD "{{#a}}{{#b}}{{/a}}{{/b}}", "x.txt:5: {{/a}} where {{/b}} must come first"},
        {"x.txt", HEAD "\n{{a", "x.txt:6: this mark is not closed or not known"},
        {"x.txt", HEAD "{{ a }}", "x.txt:5: this mark"},
        {"x.txt", HEAD "{{^a}}{{/a}}", "x.txt:5: this mark"},
        {"x.txt", HEAD "{{> a}}", "x.txt:5: this mark"},
        {"x.txt", HEAD "{{{a}}}", "x.txt:5: this mark"},
        {"x.txt", HEAD "{{A}}", "x.txt:5: this mark"},
        {"x.txt", HEAD "{{}}", "x.txt:5: this mark"},
        {"x.txt", HEAD "{{{content}}}", "x.txt:5: {{{content}}} belongs once into a layout"},
        {"x.txt", HEAD "\xc3", "x.txt:1: the file is not UTF-8"},
        {"layout.txt", "no place", "layout.txt:1: a layout must hold {{{content}}}"},
        {"layout.txt", "{{{content}}}\n{{{content}}}", "layout.txt:2: {{{content}}} belongs once"},
        {"layout.html", "<p title=\"{{{content}}}\">", "layout.html:1: {{{content}}} must not"},
        {"x.html", "<a href=\"{{a}}\">", "x.html:1: {{a}}: in href and src only"},
        {"x.html", "<a\nhref=\"https://x/{{a}}\">", "x.html:2: {{a}}: in href and src only"},
        {"x.html", "<a href={{a_url}}>", "x.html:1: {{a_url}}: a value inside of a tag must"},
        {"x.html", "<a title='{{a}}'>", "x.html:1: {{a}}: a value inside of a tag must"},
        {"x.html", "<p style=\"color:{{a}}\">", "x.html:1: {{a}}: in style sheets only"},
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
    assert_string_equal(load_error("x.html", "<p title=\"{{a}}\" style=\"color:{{primary}}\">"
                                             "<a href=\"{{a_url}}\">{{a_url}}</a>"),
                        "");
    assert_string_equal(load_error("x.html~", "{{"), "");
    assert_string_equal(load_error("x.txt.dpkg-dist", "{{"), "");
    assert_string_equal(load_error(".x.txt.swp", "{{"), "");
}

static void sections_take_their_lines_with_them(void **state)
{
    const char *why = NULL;
    apr_table_t *values = apr_table_make(pool, 4);
    mail_templates *all;
    mail_rendered out;

    put_good();
    put_file("x.txt", HEAD "1\n  {{#b}}\n2 {{b}}\n{{/b}}\n3{{#a}} 4{{#b}}!{{/b}}{{/a}}.\n{{#c}}\n5"
                           "\n{{/c}}\n6\n");
    all = mail_templates_load(pool, folder, &why);
    assert_non_null(all);
    apr_table_setn(values, "a", "A");
    assert_int_equal(
        mail_render(pool, all, settings_of("ABC", NULL), "x", NULL, values, &out, &why), 0);
    assert_string_equal(out.text, "1\n3 4.\n6\n\n");
    apr_table_setn(values, "b", "B");
    mail_render(pool, all, settings_of("ABC", NULL), "x", NULL, values, &out, &why);
    assert_string_equal(out.text, "1\n2 B\n3 4!.\n6\n\n");
    assert_string_equal(out.subject, "s A");
    apr_table_setn(values, "a", apr_psprintf(pool, "%0200d", 7));
    mail_render(pool, all, settings_of("ABC", NULL), "x", NULL, values, &out, &why);
    assert_int_equal(strlen(out.subject), 120);
}

static void languages_have_their_own_files(void **state)
{
    const char *why = NULL;
    apr_table_t *values = apr_table_make(pool, 4);
    mail_templates *all;
    mail_rendered out;

    put_good();
    put_file("x.ar.txt", "Subject: ar\nPreheader: p\nReason: r\n\nar {{a}}\n");
    put_file("x.ar.html", "<i align=\"{{start}}\">{{a}}</i>");
    all = mail_templates_load(pool, folder, &why);
    assert_non_null(all);
    apr_table_setn(values, "a", "A");
    assert_string_equal(mail_template_lang(pool, all, "x", "ar-EG"), "ar");
    assert_string_equal(mail_template_lang(pool, all, "x", "de"), "en");
    assert_string_equal(mail_template_lang(pool, all, "x", NULL), "en");
    mail_render(pool, all, settings_of("ABC", NULL), "x", "ar-EG", values, &out, &why);
    assert_string_equal(out.html, "<html lang=\"ar\" dir=\"rtl\"><p><i align=\"right\">A</i></p>"
                                  "</html>");
    mail_render(pool, all, settings_of("ABC", NULL), "x", "arn", values, &out, &why);
    assert_string_equal(out.html, "<html lang=\"en\" dir=\"ltr\"><p><b>A</b></p></html>");
    unlink(apr_psprintf(pool, "%s/x.txt", folder));
    unlink(apr_psprintf(pool, "%s/x.html", folder));
    assert_null(mail_templates_load(pool, folder, &why));
    assert_non_null(strstr(why, "without a language"));
}

static void long_lines_break_at_spaces(void **state)
{
    const char *word = "https://portal.example.com/reset-password.html#token="
                       "0123456789012345678901234567890123456789012";
    const char *why = NULL;
    apr_table_t *values = apr_table_make(pool, 4);
    mail_templates *all;
    mail_rendered out;

    put_good();
    all = mail_templates_load(pool, folder, &why);
    apr_table_setn(values, "a",
                   apr_psprintf(pool, "ä %070d %070d\n\n\n\n%s b %s", 1, 2, word, word));
    mail_render(pool, all, settings_of("ABC", NULL), "x", NULL, values, &out, &why);
    assert_string_equal(out.text,
                        apr_psprintf(pool, "ä %070d\n%070d\n\n%s\nb\n%s\n\n", 1, 2, word, word));
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

    assert_non_null(strstr(m.html, "background-color:#ffeb3b"));
    assert_non_null(strstr(m.html, "color:#111827;text-decoration:none\">Choose"));
    assert_null(strstr(m.html, "style=\"color:#ffeb3b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(shipped_mails_are_whole),
        CORE_TEST(nothing_is_loaded_from_outside),
        CORE_TEST(the_reset_mail_says_what_it_must),
        CORE_TEST(the_notice_follows_its_event),
        CORE_TEST(hostile_values_stay_text),
        CORE_TEST(footers_show_what_is_known),
        CORE_TEST(a_missing_value_is_an_error),
        CORE_TEST(links_are_web_mail_or_phone),
        CORE_TEST(broken_templates_name_file_and_line),
        CORE_TEST(sections_take_their_lines_with_them),
        CORE_TEST(languages_have_their_own_files),
        CORE_TEST(long_lines_break_at_spaces),
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
