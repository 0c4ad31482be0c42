/* test_transport.c: mails over SMTP, SendGrid's API and into files, and what becomes of them when
 * the other side says no. */
#include "core_test.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "mail/mail.h"
#include "child.h"

static char folder[] = "/tmp/test_transport.XXXXXX";

static mail_envelope envelope = {.id = "obx_01abc",
                                 .from = "Salon A <info@example.com>",
                                 .to_name = "Ann \"A\"\r\nx: y",
                                 .to = "ann@example.net",
                                 .reply_to = "office@example.com",
                                 .date = APR_TIME_C(1790000000000000)};
static mail_rendered rendered = {.subject = "Choose a new password",
                                 .preheader = "p",
                                 .text = "Hello\n",
                                 .html = "<p>\"Hello\"</p>\n"};

static biz_settings *settings_of(const char *mail)
{
    biz_settings *s = apr_pcalloc(pool, sizeof(*s));

    s->server_name = "portal.example.com";
    s->mail = mail;
    s->mail_from = "Salon A <info@example.com>";
    s->brand = apr_table_make(pool, 2);
    s->secrets = apr_table_make(pool, 2);
    s->provider_urls = apr_table_make(pool, 2);
    apr_table_setn(s->secrets, "SENDGRID_API_KEY", "SG.secret-key");
    return s;
}

static mail_transport *transport_of(const char *spec)
{
    const char *why = NULL;
    mail_transport *t = mail_transport_new(pool, settings_of(spec), &why);

    if (!t)
        fail_msg("%s: %s", spec, why);
    return t;
}

static const char *error, *post;

static mail_result send_by(mail_transport *t)
{
    return mail_send(t, pool, &envelope, &rendered, &post, &error);
}

static const char *path_of(const char *name)
{
    return apr_psprintf(pool, "%s/%s", folder, name);
}

static const char *read_path(const char *path)
{
    char *text = file_text(path);
    const char *copy = apr_pstrdup(pool, text);

    free(text);
    return copy;
}

/* ---- which ---- */

static void the_configuration_is_checked(void **state)
{
    static const char *const good[] = {"off",       "sendgrid", "smtp://localhost",
                                       "file:/tmp", NULL,       NULL};
    static const char *const bad[] = {
        "",         "on",         "file:tmp",          "file:", "sendgrid:x", "Sendgrid", "smtp://",
        "mailto:x", "smtp://u@h", "smtps://h?tls=off", NULL};
    biz_settings *s = settings_of("off");
    const char *why;

    for (int i = 0; good[i]; i++)
        assert_null(mail_spec_error(pool, good[i]));
    for (int i = 0; bad[i]; i++)
        if (!mail_spec_error(pool, bad[i]) || mail_transport_new(pool, settings_of(bad[i]), &why))
            fail_msg("%s was taken", bad[i]);
    s->mail_from = "nobody";
    assert_null(mail_transport_new(pool, s, &why));
    assert_non_null(strstr(why, "sender"));
    assert_string_equal(mail_transport_name(transport_of("file:/tmp")), "file");
    assert_string_equal(mail_transport_name(transport_of("smtp://localhost")), "smtp");
    assert_string_equal(mail_transport_name(transport_of("sendgrid")), "sendgrid");
    assert_string_equal(mail_transport_name(transport_of(NULL)), "off");
}

static void without_a_way_mails_are_skipped(void **state)
{
    biz_settings *s = settings_of("sendgrid");
    const char *why;

    assert_int_equal(send_by(transport_of("off")), MAIL_OFF);
    apr_table_unset(s->secrets, "SENDGRID_API_KEY");
    assert_string_equal(mail_transport_name(mail_transport_new(pool, s, &why)), "off");
    assert_int_equal(send_by(mail_transport_new(pool, s, &why)), MAIL_OFF);
}

static void a_sender_is_needed(void **state)
{
    mail_envelope e = envelope;

    e.from = NULL;
    assert_int_equal(
        mail_send(transport_of("smtp://localhost"), pool, &e, &rendered, &post, &error),
        MAIL_BROKEN);
    assert_string_equal(error, "no sender is configured");
    assert_int_equal(mail_send(transport_of(apr_pstrcat(pool, "file:", folder, NULL)), pool, &e,
                               &rendered, &post, &error),
                     MAIL_SENT);
    assert_int_equal(unlink(path_of("obx_01abc.eml")), 0);
    e = envelope;
    e.to = "no address";
    assert_int_equal(
        mail_send(transport_of("smtp://localhost"), pool, &e, &rendered, &post, &error),
        MAIL_REFUSED);
}

/* ---- files ---- */

static void files_are_whole_and_private(void **state)
{
    mail_transport *t = transport_of(apr_pstrcat(pool, "file:", folder, "/a/b", NULL));
    const char *path = path_of("a/b/obx_01abc.eml"), *message, *why;
    struct stat st;
    size_t len;

    assert_int_equal(send_by(t), MAIL_SENT);
    assert_int_equal(mail_message(pool, &envelope, &rendered, &message, &len, &why), APR_SUCCESS);
    assert_string_equal(read_path(path), message);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(path_of("a/b"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(access(path_of("a/b/.obx_01abc.tmp"), F_OK), -1);
}

static void a_file_that_is_there_is_left_alone(void **state)
{
    mail_transport *t = transport_of(apr_pstrcat(pool, "file:", folder, NULL));
    const char *path = path_of("obx_01abc.eml");
    FILE *f = fopen(path, "w");

    fputs("first", f);
    fclose(f);
    assert_int_equal(send_by(t), MAIL_SENT);
    assert_string_equal(read_path(path), "first");
    unlink(path);
    f = fopen(path_of(".obx_01abc.tmp"), "w"); /* of a worker that was killed */
    fprintf(f, "%05000d", 1);
    fclose(f);
    assert_int_equal(send_by(t), MAIL_SENT);
    assert_non_null(strstr(read_path(path), "Subject: Choose a new password"));
    assert_null(strstr(read_path(path), "00000"));
    unlink(path);
}

static void a_folder_that_is_none_breaks_the_transport(void **state)
{
    FILE *f = fopen(path_of("file"), "w");

    fclose(f);
    assert_int_equal(send_by(transport_of(apr_pstrcat(pool, "file:", folder, "/file", NULL))),
                     MAIL_BROKEN);
    assert_non_null(strstr(error, "/file: "));
    assert_int_equal(send_by(transport_of("file:/proc/no/such")), MAIL_BROKEN);
}

/* A limit on the size of files stands for a full disk: the write stops in the middle. */
static void a_full_disk_is_tried_again(void **state)
{
    mail_transport *t = transport_of(apr_pstrcat(pool, "file:", folder, NULL));
    struct rlimit before, small;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 100;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(send_by(t), MAIL_RETRY);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_non_null(strstr(error, "File too large"));
    assert_int_equal(access(path_of("obx_01abc.eml"), F_OK), -1);
    assert_int_equal(send_by(t), MAIL_SENT);
    assert_int_equal(unlink(path_of("obx_01abc.eml")), 0);
}

/* ---- SMTP ---- */

static void smtp_answers_become_results(void **state)
{
    static const struct {
        const char *mode;
        mail_result result;
    } cases[] = {{"ok", MAIL_SENT},        {"refuse", MAIL_REFUSED}, {"grey", MAIL_RETRY},
                 {"drop", MAIL_RETRY},     {"spam", MAIL_REFUSED},   {"full", MAIL_RETRY},
                 {"sender", MAIL_BROKEN},  {"greet", MAIL_BROKEN},   {"relay", MAIL_BROKEN},
                 {"policy", MAIL_REFUSED}, {"ok", MAIL_SENT}};
    const char *control = path_of("control"), *journal = path_of("journal");
    const char *argv[] = {"python3", "tests/lib/smtpd.py", journal, "--control", control, NULL};
    child server = child_start(argv, "");
    mail_transport *t = transport_of(apr_psprintf(pool, "smtp://127.0.0.1:%d", server.port));

    for (size_t i = 0; i < COUNT(cases); i++) {
        FILE *f = fopen(control, "w");
        mail_result result;

        fputs(cases[i].mode, f);
        fclose(f);
        mail_transport_rest(t);
        result = send_by(t);
        if (result != cases[i].result || (result == MAIL_SENT) != (error == NULL) ||
            (error && strchr(error, '@')))
            fail_msg("%s: %d, %s", cases[i].mode, result, error);
    }
    assert_non_null(strstr(read_path(journal), "\"sender\": \"FROM:<info@example.com>\""));
    assert_non_null(strstr(read_path(journal), "\"to\": [\"ann@example.net\"]"));
    child_stop(&server);
    mail_transport_rest(t);
    assert_int_equal(send_by(t), MAIL_RETRY);
}

static void tls_that_is_not_to_be_had_breaks_the_transport(void **state)
{
    const char *argv[] = {"python3", "tests/lib/smtpd.py", path_of("journal3"), NULL};
    child server = child_start(argv, "");

    assert_int_equal(
        send_by(transport_of(apr_psprintf(pool, "smtp://127.0.0.1:%d?tls=required", server.port))),
        MAIL_BROKEN);
    child_stop(&server);
}

static void a_refused_login_breaks_the_transport(void **state)
{
    const char *journal = path_of("journal2");
    const char *argv[] = {"python3", "tests/lib/smtpd.py", journal, "--auth", "u:right", NULL};
    child server = child_start(argv, "");

    assert_int_equal(
        send_by(transport_of(apr_psprintf(pool, "smtp://u:wrong@127.0.0.1:%d", server.port))),
        MAIL_BROKEN);
    assert_null(strstr(error, "wrong"));
    assert_int_equal(send_by(transport_of(apr_psprintf(pool, "smtp://127.0.0.1:%d", server.port))),
                     MAIL_BROKEN);
    assert_int_equal(
        send_by(transport_of(apr_psprintf(pool, "smtp://u:right@127.0.0.1:%d", server.port))),
        MAIL_SENT);
    child_stop(&server);
}

/* ---- SendGrid ---- */

static void sendgrid_gets_the_whole_mail(void **state)
{
    biz_json *body, *one;
    size_t position;

    assert_int_equal(send_by(transport_of("sendgrid")), MAIL_POST);
    assert_int_equal(biz_json_parse(pool, post, strlen(post), 16, &body, &position), APR_SUCCESS);
    one =
        biz_json_at(biz_json_get(biz_json_at(biz_json_get(body, "personalizations"), 0), "to"), 0);
    assert_string_equal(biz_json_str(one, "email"), "ann@example.net");
    assert_string_equal(biz_json_str(one, "name"), "Ann \"A\"  x: y");
    assert_string_equal(biz_json_str(biz_json_get(body, "from"), "email"), "info@example.com");
    assert_string_equal(biz_json_str(biz_json_get(body, "from"), "name"), "Salon A");
    assert_string_equal(biz_json_str(biz_json_get(body, "reply_to"), "email"),
                        "office@example.com");
    assert_string_equal(biz_json_str(body, "subject"), "Choose a new password");
    assert_string_equal(biz_json_str(biz_json_get(body, "custom_args"), "outbox_id"), "obx_01abc");
    one = biz_json_get(body, "content");
    assert_int_equal(biz_json_size(one), 2);
    assert_string_equal(biz_json_str(biz_json_at(one, 0), "type"), "text/plain");
    assert_string_equal(biz_json_str(biz_json_at(one, 0), "value"), "Hello\n");
    assert_string_equal(biz_json_str(biz_json_at(one, 1), "type"), "text/html");
    one = biz_json_get(body, "tracking_settings");
    assert_int_equal(biz_json_bool(biz_json_get(one, "click_tracking"), "enable", 1), 0);
    assert_int_equal(biz_json_bool(biz_json_get(one, "open_tracking"), "enable", 1), 0);
}

static void sendgrid_takes_no_separators_in_a_name(void **state)
{
    static const char *const names[][2] = {{"Doe, Ann", "\"Doe Ann\""},
                                           {"a,b;;c ,d;", "\"a b c d\""},
                                           {"M\xc3\xbcller", "\"M\xc3\xbcller\""}};
    mail_envelope e = envelope;

    for (size_t i = 0; i < COUNT(names); i++) {
        e.to_name = names[i][0];
        assert_int_equal(mail_send(transport_of("sendgrid"), pool, &e, &rendered, &post, &error),
                         MAIL_POST);
        assert_non_null(strstr(post, apr_pstrcat(pool, "\"name\":", names[i][1], "}", NULL)));
    }
    e.to_name = ", ;";
    assert_int_equal(mail_send(transport_of("sendgrid"), pool, &e, &rendered, &post, &error),
                     MAIL_POST);
}

static void sendgrid_gets_the_appointment_and_the_headers(void **state)
{
    mail_rendered before = rendered;
    biz_json *body, *one;
    size_t position;

    rendered.calendar = "BEGIN:VCALENDAR\r\n";
    rendered.calendar_method = MAIL_CALENDAR_REQUEST;
    rendered.thread = "obx_00first";
    rendered.unsubscribe_url = "https://a.example/u/1";
    assert_int_equal(send_by(transport_of("sendgrid")), MAIL_POST);
    rendered = before;
    assert_int_equal(biz_json_parse(pool, post, strlen(post), 16, &body, &position), APR_SUCCESS);
    one = biz_json_at(biz_json_get(body, "attachments"), 0);
    assert_string_equal(biz_json_str(one, "content"), "QkVHSU46VkNBTEVOREFSDQo=");
    assert_string_equal(biz_json_str(one, "type"), "application/ics");
    assert_string_equal(biz_json_str(one, "filename"), "invite.ics");
    assert_string_equal(biz_json_str(one, "disposition"), "attachment");
    one = biz_json_get(body, "headers");
    assert_string_equal(biz_json_str(one, "Message-ID"), "<obx_01abc@example.com>");
    assert_string_equal(biz_json_str(one, "In-Reply-To"), "<obx_00first@example.com>");
    assert_string_equal(biz_json_str(one, "List-Unsubscribe"), "<https://a.example/u/1>");
    assert_string_equal(biz_json_str(one, "List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    assert_string_equal(biz_json_str(one, "Auto-Submitted"), "auto-generated");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(the_configuration_is_checked),
        CORE_TEST(without_a_way_mails_are_skipped),
        CORE_TEST(a_sender_is_needed),
        CORE_TEST(files_are_whole_and_private),
        CORE_TEST(a_file_that_is_there_is_left_alone),
        CORE_TEST(a_folder_that_is_none_breaks_the_transport),
        CORE_TEST(a_full_disk_is_tried_again),
        CORE_TEST(smtp_answers_become_results),
        CORE_TEST(tls_that_is_not_to_be_had_breaks_the_transport),
        CORE_TEST(a_refused_login_breaks_the_transport),
        CORE_TEST(sendgrid_gets_the_whole_mail),
        CORE_TEST(sendgrid_takes_no_separators_in_a_name),
        CORE_TEST(sendgrid_gets_the_appointment_and_the_headers),
    };
    apr_pool_t *process;
    int failed;

    core_start();
    apr_pool_create(&process, NULL);
    if (!mkdtemp(folder) || net_init(process) != APR_SUCCESS)
        return 2;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (system(apr_psprintf(process, "rm -rf %s", folder)) != 0)
        failed++;
    apr_pool_destroy(process);
    return failed;
}
