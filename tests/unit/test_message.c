/* test_message.c: the bytes of a mail. */
#include "core_test.h"

#include <pthread.h>

#include "mail/mail.h"

static mail_envelope envelope = {.id = "obx_01abc",
                                 .from = "Salon A <info@example.com>",
                                 .to_name = "Ann",
                                 .to = "ann@example.net",
                                 .reply_to = "office@example.com",
                                 .date = APR_TIME_C(1790000000999999)};
static mail_rendered rendered = {.subject = "Choose a new password at Salon A",
                                 .preheader = "p",
                                 .text = "Hello Ann,\n\n.a dot, 1 = 1 \nFrom here\n",
                                 .html = "<!doctype html>\n<p>Zo\xc3\xab</p>\n"};

static const char *made(const mail_envelope *e, const mail_rendered *r)
{
    const char *message = NULL, *why = "";
    size_t len = 0;

    if (mail_message(pool, e, r, &message, &len, &why) != APR_SUCCESS)
        fail_msg("%s", why);
    assert_int_equal(strlen(message), len);
    return message;
}

static void the_bytes_are_these(void **state)
{
    static const char golden[] = "Date: Mon, 21 Sep 2026 14:13:20 +0000\r\n"
                                 "From: Salon A <info@example.com>\r\n"
                                 "To: Ann <ann@example.net>\r\n"
                                 "Reply-To: office@example.com\r\n"
                                 "Subject: Choose a new password at Salon A\r\n"
                                 "Message-Id: <obx_01abc@example.com>\r\n"
                                 "Auto-Submitted: auto-generated\r\n"
                                 "X-Auto-Response-Suppress: OOF, AutoReply\r\n"
                                 "MIME-Version: 1.0\r\n"
                                 "Content-Type: multipart/alternative; boundary=\"=_obx_01abc\"\r\n"
                                 "\r\n"
                                 "--=_obx_01abc\r\n"
                                 "Content-Type: text/plain; charset=utf-8\r\n"
                                 "Content-Transfer-Encoding: quoted-printable\r\n"
                                 "\r\n"
                                 "Hello Ann,\r\n"
                                 "\r\n"
                                 ".a dot, 1 =3D 1=20\r\n"
                                 "From here\r\n"
                                 "\r\n"
                                 "--=_obx_01abc\r\n"
                                 "Content-Type: text/html; charset=utf-8\r\n"
                                 "Content-Transfer-Encoding: quoted-printable\r\n"
                                 "\r\n"
                                 "<!doctype html>\r\n"
                                 "<p>Zo=C3=AB</p>\r\n"
                                 "\r\n"
                                 "--=_obx_01abc--\r\n";

    assert_string_equal(made(&envelope, &rendered), golden);
    assert_string_equal(made(&envelope, &rendered), golden);
}

static void text_in_other_scripts_is_base64(void **state)
{
    mail_rendered r = rendered;

    r.text = "\xd0\xbf\xd1\x80\xd0\xb8\n";
    r.html = "<p>\xd0\xbf\xd1\x80\xd0\xb8</p>\n";
    assert_non_null(strstr(made(&envelope, &r), "Content-Type: text/plain; charset=utf-8\r\n"
                                                "Content-Transfer-Encoding: base64\r\n"
                                                "\r\n"
                                                "0L/RgNC4DQo=\r\n"));
}

static void every_line_is_short_and_seven_bit(void **state)
{
    mail_envelope e = envelope;
    mail_rendered r = rendered;
    char *many = apr_palloc(pool, 4001);
    const char *message;

    for (int i = 0; i < 4000; i += 2)
        memcpy(many + i, i % 40 ? "\xc3\xa4" : "aa", 2);
    many[4000] = '\0';
    r.text = r.html = many;
    r.subject = apr_pstrmemdup(pool, many, 200);
    e.to_name = apr_pstrmemdup(pool, many, 200);
    message = made(&e, &r);
    for (const char *line = message; *line; line = strstr(line, "\r\n") + 2) {
        assert_true(strcspn(line, "\r\n") <= 78);
        assert_true(strncmp(line + strcspn(line, "\r\n"), "\r\n", 2) == 0);
    }
    for (const char *p = message; *p; p++)
        assert_true((unsigned char)*p < 0x80);
    assert_null(strstr(message, "\r\n.\r\n"));
}

static void names_and_subjects_are_encoded(void **state)
{
    mail_envelope e = envelope;
    mail_rendered r = rendered;
    const char *message;

    e.from = "M\xc3\xbcller & S\xc3\xb6hne, \"GmbH\" <info@example.com>";
    e.to_name = "Zo\xc3\xab";
    r.subject = "Gr\xc3\xbc\xc3\x9f"
                "e an alle, die so einen langen Betreff bis zum Ende lesen";
    message = made(&e, &r);
    assert_non_null(strstr(message, "\r\nFrom: =?utf-8?B?TcO8bGxlciAmIFPDtmhuZSwgIkdtYkgi?=\r\n"
                                    " <info@example.com>\r\n"));
    assert_non_null(strstr(message, "\r\nTo: =?utf-8?B?Wm/Dqw==?=\r\n <ann@example.net>\r\n"));
    assert_non_null(strstr(message,
                           "\r\nSubject: "
                           "=?utf-8?B?R3LDvMOfZSBhbiBhbGxlLCBkaWUgc28gZWluZW4gbGFuZ2VuIEJl?=\r\n"
                           " =?utf-8?B?dHJlZmYgYmlzIHp1bSBFbmRlIGxlc2Vu?=\r\n"));
    r.subject = "=?utf-8?Q?typed?= as such";
    assert_non_null(strstr(made(&e, &r), "\r\nSubject: "
                                         "=?utf-8?B?PT91dGYtOD9RP3R5cGVkPz0gYXMgc3VjaA==?=\r\n"));
}

/* How many header lines begin with `name`. */
static int headers(const char *message, const char *name)
{
    int n = 0;

    for (const char *line = message; strncmp(line, "\r\n", 2) != 0; line = strstr(line, "\r\n") + 2)
        n += strncasecmp(line, name, strlen(name)) == 0;
    return n;
}

static void no_value_begins_a_header(void **state)
{
    mail_envelope e = envelope;
    mail_rendered r = rendered;
    const char *message;

    e.to_name = "Bob\r\nBcc: x@example.org\r\n\r\n<p>";
    e.from = "A\r\nBcc: x@example.org <info@example.com>";
    r.subject = "Hello\r\nBcc: x@example.org\n\rCc: y";
    message = made(&e, &r);
    assert_int_equal(headers(message, "bcc"), 0);
    assert_int_equal(headers(message, "cc"), 0);
    assert_int_equal(headers(message, "to:"), 1);
    assert_int_equal(headers(message, "from:"), 1);
    assert_int_equal(headers(message, "subject:"), 1);
    e.to_name = "O\"Neil, <b>";
    e.from = "\"Salon, A\" <info@example.com>";
    message = made(&e, &rendered);
    assert_non_null(strstr(message, "\r\nTo: \"O\\\"Neil, <b>\" <ann@example.net>\r\n"));
    assert_non_null(strstr(message, "\r\nFrom: \"Salon, A\" <info@example.com>\r\n"));
}

static void what_is_no_mail_is_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "ann",
                                      "ann@",
                                      "@example.net",
                                      "a b@example.net",
                                      "ann@example.net, bob@example.net",
                                      "ann@example.net\r\nBcc: x",
                                      "<ann@example.net>",
                                      "\"a\"@example.net",
                                      "ann@exam ple.net",
                                      "ann@@example.net",
                                      "\xc3\xa4@example.net",
                                      NULL};
    const char *message, *why = NULL;
    size_t len;

    for (int i = 0; bad[i]; i++) {
        mail_envelope e = envelope, f = envelope;

        e.to = bad[i];
        f.reply_to = bad[i];
        if (mail_message(pool, &e, &rendered, &message, &len, &why) != APR_EINVAL ||
            mail_message(pool, &f, &rendered, &message, &len, &why) != APR_EINVAL || !why)
            fail_msg("\"%s\" was taken", bad[i]);
    }
    {
        mail_rendered r = rendered;
        mail_envelope e = envelope;

        r.text = "\xff";
        assert_int_equal(mail_message(pool, &envelope, &r, &message, &len, &why), APR_EINVAL);
        r = rendered;
        r.subject = "\xc3";
        assert_int_equal(mail_message(pool, &envelope, &r, &message, &len, &why), APR_EINVAL);
        e.id = "../x";
        assert_int_equal(mail_message(pool, &e, &rendered, &message, &len, &why), APR_EINVAL);
        e = envelope;
        e.from = "Salon";
        assert_int_equal(mail_message(pool, &e, &rendered, &message, &len, &why), APR_EINVAL);
    }
}

static void addresses_are_found(void **state)
{
    assert_string_equal(mail_address_of(pool, "Salon A <info@example.com>"), "info@example.com");
    assert_string_equal(mail_address_of(pool, "\"A <b>\" <info@localhost>"), "info@localhost");
    assert_string_equal(mail_address_of(pool, "info@example.com"), "info@example.com");
    assert_string_equal(mail_address_of(pool, "<info@example.com>"), "info@example.com");
    assert_null(mail_address_of(pool, "Salon A"));
    assert_null(mail_address_of(pool, "Salon <info@example.com> x"));
    assert_null(mail_address_of(pool, "Salon <info>"));
    assert_null(mail_address_of(pool, ""));
    assert_null(mail_address_of(pool, NULL));
}

static void *make_many(void *context)
{
    apr_pool_t *own;
    const char *golden = context, *message, *why;
    size_t len;
    long bad = 0;

    apr_pool_create(&own, NULL);
    for (int i = 0; i < 200; i++)
        bad += mail_message(own, &envelope, &rendered, &message, &len, &why) != APR_SUCCESS ||
               strcmp(message, golden) != 0;
    apr_pool_destroy(own);
    return (void *)bad;
}

static void threads_may_write_at_once(void **state)
{
    const char *golden = made(&envelope, &rendered);
    pthread_t threads[4];
    void *bad;

    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, make_many, (void *)golden);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
}

static int parts_of(const char *message, const char *type)
{
    int n = 0;

    for (const char *at = message; (at = strstr(at, type)) != NULL; at += strlen(type))
        n++;
    return n;
}

static void an_appointment_is_a_part_and_a_file(void **state)
{
    mail_rendered r = rendered;
    const char *message;

    r.calendar = "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n";
    r.calendar_method = MAIL_CALENDAR_CANCEL;
    message = made(&envelope, &r);
    assert_non_null(strstr(message, "\r\nContent-Type: multipart/mixed; "
                                    "boundary=\"=_m_obx_01abc\"\r\n"));
    assert_non_null(strstr(message, "\r\n--=_m_obx_01abc\r\nContent-Type: multipart/alternative; "
                                    "boundary=\"=_obx_01abc\"\r\n"));
    assert_non_null(strstr(message, "Content-Type: text/calendar; charset=utf-8; method=CANCEL\r\n"
                                    "Content-Transfer-Encoding: base64\r\n\r\n"
                                    "QkVHSU46VkNBTEVOREFSDQpFTkQ6VkNBTEVOREFSDQo=\r\n"));
    assert_non_null(strstr(message, "filename=invite.ics\r\n"));
    assert_int_equal(parts_of(message, "QkVHSU46VkNBTEVOREFSDQpFTkQ6VkNBTEVOREFSDQo="), 2);
    r.calendar_method = MAIL_CALENDAR_REQUEST;
    assert_non_null(strstr(made(&envelope, &r), "; method=REQUEST\r\n"));
    assert_null(strstr(made(&envelope, &rendered), "multipart/mixed"));
}

static void headers_of_threads_and_lists(void **state)
{
    static const char *const bad[] = {"http://a.example/x", "https://a/\r\nBcc: x", "https://a/ b",
                                      "https://a/>", "mailto:a@b.example"};
    mail_rendered r = rendered;
    const char *message;

    r.thread = "obx_00first";
    r.unsubscribe_url = "https://a.example/u/1";
    message = made(&envelope, &r);
    assert_non_null(strstr(message, "\r\nIn-Reply-To: <obx_00first@example.com>\r\n"));
    assert_non_null(strstr(message, "\r\nReferences: <obx_00first@example.com>\r\n"));
    assert_non_null(strstr(message, "\r\nList-Unsubscribe: <https://a.example/u/1>\r\n"
                                    "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"));
    for (size_t i = 0; i < COUNT(bad); i++) {
        r.unsubscribe_url = bad[i];
        r.thread = "../x\r\nBcc: x";
        message = made(&envelope, &r);
        assert_null(strstr(message, "List-Unsubscribe"));
        assert_null(strstr(message, "In-Reply-To"));
        assert_null(strstr(message, "Bcc"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(the_bytes_are_these),
        CORE_TEST(text_in_other_scripts_is_base64),
        CORE_TEST(every_line_is_short_and_seven_bit),
        CORE_TEST(names_and_subjects_are_encoded),
        CORE_TEST(no_value_begins_a_header),
        CORE_TEST(what_is_no_mail_is_refused),
        CORE_TEST(addresses_are_found),
        CORE_TEST(threads_may_write_at_once),
        CORE_TEST(an_appointment_is_a_part_and_a_file),
        CORE_TEST(headers_of_threads_and_lists),
    };

    core_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
