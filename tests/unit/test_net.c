/* test_net.c: net/curl.c against servers that behave and servers that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <apr_strings.h>

#include "net/http.h"
#include "child.h"
#include "fake_http.h"

static apr_pool_t *pool;
static fake_http web;
static char folder[] = "/tmp/test_net.XXXXXX";

static const char *path_of(const char *name)
{
    return apr_psprintf(pool, "%s/%s", folder, name);
}

/* ---- HTTP ---- */

static net_answer call_url(const char *method, const char *url, const char *body, long total_ms)
{
    net_request request = {.method = method,
                           .url = url,
                           .body = body,
                           .body_len = body ? strlen(body) : 0,
                           .connect_ms = 1000 * PATIENCE,
                           .total_ms = total_ms};
    net_answer answer;

    net_call(pool, &request, &answer);
    return answer;
}

static net_answer call(fake_mode mode, const char *bytes, const char *method, const char *body)
{
    web.mode = mode;
    web.answer = bytes;
    return call_url(method, apr_psprintf(pool, "http://127.0.0.1:%d/a?key=secret", web.port), body,
                    1500);
}

static void answers_come_whole(void **state)
{
    static const char *const headers[] = {"Authorization: Bearer k", "Content-Type: text/x", NULL};
    net_request request = {.method = "POST",
                           .headers = headers,
                           .body = "a\0b",
                           .body_len = 3,
                           .connect_ms = 1000,
                           .total_ms = 1000};
    net_answer answer;

    web.mode = FAKE_ANSWER;
    web.answer = "HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n"
                 "HTTP/1.1 202 Accepted\r\nX-Message-Id:  abc \r\nContent-Length: 5\r\n\r\nhello";
    request.url = apr_psprintf(pool, "http://127.0.0.1:%d/v3/x?key=1", web.port);
    net_call(pool, &request, &answer);
    assert_int_equal(answer.outcome, NET_DONE);
    assert_int_equal(answer.status, 202);
    assert_null(answer.error);
    assert_string_equal(answer.body, "hello");
    assert_int_equal(answer.body_len, 5);
    assert_string_equal(apr_table_get(answer.headers, "x-message-id"), "abc");
    assert_null(apr_table_get(answer.headers, "X-Early"));
    assert_true(strncmp(web.last, "POST /v3/x?key=1 HTTP/1.1\r\n", 27) == 0);
    assert_non_null(strstr(web.last, "\r\nUser-Agent: mod_bizapi\r\n"));
    assert_non_null(strstr(web.last, "\r\nAuthorization: Bearer k\r\n"));
    assert_null(strcasestr(web.last, "\r\nExpect:"));
    assert_memory_equal(web.last + web.last_len - 3, "a\0b", 3);
}

static void nothing_of_one_call_is_in_the_next(void **state)
{
    net_answer answer = call(FAKE_ANSWER, "HTTP/1.1 204 No Content\r\n\r\n", "GET", NULL);

    assert_int_equal(answer.status, 204);
    assert_int_equal(answer.body_len, 0);
    assert_string_equal(answer.body, "");
    assert_null(strstr(web.last, "Authorization"));
    assert_null(strstr(web.last, "Content-Type"));
}

static void redirects_are_not_followed(void **state)
{
    int before = web.requests;
    net_answer answer =
        call(FAKE_ANSWER,
             apr_psprintf(pool,
                          "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/b\r\n"
                          "Content-Length: 0\r\n\r\n",
                          web.port),
             "GET", NULL);

    assert_int_equal(answer.outcome, NET_DONE);
    assert_int_equal(answer.status, 302);
    assert_int_equal(web.requests, before + 1);
}

static void long_answers_are_cut(void **state)
{
    net_answer answer = call(FAKE_ENDLESS, "HTTP/1.1 200 OK\r\n\r\n", "GET", NULL);
    char *many = malloc(80000);

    assert_int_equal(answer.outcome, NET_UNKNOWN);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.error, "the answer is longer than 1048576 bytes");

    memset(many, 'h', 79999);
    many[79999] = '\0';
    answer = call(FAKE_ANSWER,
                  apr_psprintf(pool, "HTTP/1.1 200 OK\r\nX: %s\r\nContent-Length: 0\r\n\r\n", many),
                  "GET", NULL);
    assert_int_equal(answer.outcome, NET_UNKNOWN);
    assert_non_null(answer.error);
    free(many);
}

static void outcomes_tell_what_may_be_repeated(void **state)
{
    net_answer answer = call(FAKE_CLOSE, "", "POST", "x");
    int closed;

    assert_int_equal(answer.outcome, NET_UNKNOWN);
    assert_non_null(answer.error);
    assert_null(strstr(answer.error, "secret"));
    answer = call(FAKE_SILENT, "", "POST", "x");
    assert_int_equal(answer.outcome, NET_UNKNOWN);
    assert_in_range(answer.elapsed_ms, 1400, 2500);
    answer = call(FAKE_DRIP, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", "GET", NULL);
    assert_int_equal(answer.outcome, NET_UNKNOWN);
    assert_in_range(answer.elapsed_ms, 1400, 2500);
    answer = call(FAKE_ANSWER, "rubbish", "GET", NULL);
    assert_int_equal(answer.outcome, NET_UNKNOWN);

    closed = socket(AF_INET, SOCK_STREAM, 0); /* bound, so nobody else's, but not listening */
    {
        struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(at);

        assert_int_equal(bind(closed, (struct sockaddr *)&at, len), 0);
        getsockname(closed, (struct sockaddr *)&at, &len);
        answer = call_url("POST",
                          apr_psprintf(pool, "http://127.0.0.1:%d/?key=secret", ntohs(at.sin_port)),
                          "x", 1000);
    }
    close(closed);
    assert_int_equal(answer.outcome, NET_NOT_SENT);
    assert_non_null(answer.error);
    assert_null(strstr(answer.error, "secret"));
    answer = call_url("GET", "https://no-such-host.invalid/", NULL, 1000);
    assert_int_equal(answer.outcome, NET_NOT_SENT);
}

/* libcurl sends a request again by itself where a kept connection dies under it. */
static void a_post_is_sent_once(void **state)
{
    int before;
    net_answer answer;

    call(FAKE_ANSWER, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET", NULL);
    before = web.requests;
    answer = call(FAKE_CLOSE, "", "POST", "x");
    assert_int_equal(answer.outcome, NET_UNKNOWN);
    assert_int_equal(web.requests, before + 1);
}

static void connections_are_kept(void **state)
{
    int before;

    call(FAKE_ANSWER, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET", NULL);
    before = web.connections;
    call(FAKE_ANSWER, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET", NULL);
    assert_int_equal(web.connections, before);
}

static void only_https_and_this_machine(void **state)
{
    static const char *const bad[] = {"http://example.com/",
                                      "http://127.0.0.1.example.com/",
                                      "http://127.0.0.1@example.com/",
                                      "https://user:pw@example.com/",
                                      "ftp://127.0.0.1/",
                                      "file:///etc/passwd",
                                      "gopher://127.0.0.1/",
                                      "https://exa mple.com/",
                                      "https://example.com/\r\nX: y",
                                      "",
                                      NULL};
    static const char *const good[] = {"https://example.com/a?b=c", "http://localhost:1/",
                                       "http://[::1]:8080/", "http://127.8.9.10", NULL};
    int before = web.requests;

    for (int i = 0; bad[i]; i++) {
        net_answer answer = call_url("GET", bad[i], NULL, 1000);

        if (!net_url_error(pool, bad[i]) || answer.outcome != NET_NOT_SENT || !answer.error) {
            fail_msg("%s was taken", bad[i]);
        }
    }
    for (int i = 0; good[i]; i++) {
        assert_null(net_url_error(pool, good[i]));
    }
    assert_int_equal(web.requests, before);
}

static void requests_are_checked(void **state)
{
    static const char *const broken[] = {"X: a\r\nY: b", NULL};
    net_request request = {.method = "GET", .connect_ms = 1000};
    net_answer answer;
    int before = web.requests;

    request.url = apr_psprintf(pool, "http://127.0.0.1:%d/", web.port);
    net_call(pool, &request, &answer);
    assert_string_equal(answer.error, "a call without a time-out is not made");
    request.total_ms = 1000;
    request.headers = broken;
    net_call(pool, &request, &answer);
    assert_string_equal(answer.error, "a header of the request is not valid");
    assert_int_equal(answer.outcome, NET_NOT_SENT);
    assert_int_equal(web.requests, before);
}

static void a_certificate_nobody_vouches_for_is_refused(void **state)
{
    const char *cert = path_of("cert.pem");
    const char *argv[] = {"sh", "-c",
                          apr_psprintf(pool,
                                       "exec openssl s_server -accept 127.0.0.1:0 -cert %s -key %s "
                                       "-www 2>/dev/null", /* it tells of the refusal */
                                       cert, cert),
                          NULL};
    child tls = child_start(argv, "ACCEPT 127.0.0.1:");
    net_answer answer =
        call_url("POST", apr_psprintf(pool, "https://localhost:%d/?key=secret", tls.port), "x",
                 3000 * PATIENCE);

    child_stop(&tls);
    assert_int_equal(answer.outcome, NET_NOT_SENT);
    assert_non_null(strstr(answer.error, "certificate"));
    assert_null(strstr(answer.error, "secret"));
}

/* ---- SMTP ---- */

static child server;
static net_smtp_session *session;

static void serve(const char *a, const char *b, const char *c, const char *d)
{
    const char *argv[] = {"python3",
                          "tests/lib/smtpd.py",
                          path_of("journal"),
                          "--control",
                          path_of("control"),
                          a,
                          b,
                          c,
                          d,
                          NULL};

    child_stop(&server);
    unlink(path_of("journal"));
    unlink(path_of("control"));
    server = child_start(argv, "");
    session = net_smtp_open(pool);
}

static net_smtp_answer smtp_to(const char *to, const char *url)
{
    static const char text[] = "Subject: hello\r\n\r\n.a dot\r\n..two\r\n";
    net_smtp mail = {.from = "sender@example.com",
                     .to = to,
                     .message = text,
                     .len = sizeof(text) - 1,
                     .connect_ms = 1000 * PATIENCE,
                     .total_ms = 1500 * PATIENCE};
    net_smtp_answer answer;

    mail.url = url ? url : apr_psprintf(pool, "smtp://127.0.0.1:%d", server.port);
    net_smtp_send(session, pool, &mail, &answer);
    return answer;
}

/* How often the word stands in the server's journal, once it stands there `least` times. */
static int journal(const char *word, int least)
{
    int n = 0;

    for (int i = 0; i < 100; i++) {
        char *text = file_text(path_of("journal"));

        n = count_of(text, word);
        free(text);
        if (n >= least && i > 0) {
            break;
        }
        usleep(20000);
    }
    return n;
}

static void mails_go_over_one_connection(void **state)
{
    serve(NULL, NULL, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        net_smtp_answer answer = smtp_to("ok@example.com", NULL);

        assert_int_equal(answer.outcome, NET_DONE);
        assert_int_equal(answer.code, 250);
        assert_null(answer.error);
    }
    assert_int_equal(journal("\"message\"", 3), 3);
    assert_int_equal(journal("\"connect\"", 1), 1);
    assert_int_equal(journal("Subject: hello\\r\\n\\r\\n.a dot\\r\\n..two\\r\\n\"", 3), 3);
    assert_int_equal(journal("\"quit\"", 0), 0);
    net_smtp_rest(session);
    assert_int_equal(journal("\"quit\"", 1), 1);
    assert_null(smtp_to("ok@example.com", NULL).error);
    assert_int_equal(journal("\"connect\"", 2), 2);
}

static void a_connection_that_has_gone_is_replaced(void **state)
{
    serve(NULL, NULL, NULL, NULL);
    assert_null(smtp_to("close@example.com", NULL).error);
    usleep(100000);
    assert_null(smtp_to("ok@example.com", NULL).error);
    assert_int_equal(journal("\"message\"", 2), 2);
    assert_int_equal(journal("\"connect\"", 2), 2);
}

static void refusals_tell_who_is_meant(void **state)
{
    static const struct {
        const char *to;
        net_outcome outcome;
        long code;
        net_smtp_step step;
    } cases[] = {
        {"refuse@example.com", NET_DONE, 550, NET_SMTP_TO},
        {"grey@example.com", NET_DONE, 451, NET_SMTP_TO},
        {"spam@example.com", NET_DONE, 554, NET_SMTP_END},
        {"full@example.com", NET_DONE, 452, NET_SMTP_END},
        {"hang@example.com", NET_NOT_SENT, 250, NET_SMTP_TO},
        {"drop@example.com", NET_UNKNOWN, 354, NET_SMTP_END},
    };

    serve(NULL, NULL, NULL, NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        net_smtp_answer answer = smtp_to(cases[i].to, NULL);

        if (answer.outcome != cases[i].outcome || answer.code != cases[i].code ||
            answer.step != cases[i].step || !answer.error || strstr(answer.error, "example.com")) {
            fail_msg("%s: outcome %d, code %ld, step %d, %s", cases[i].to, answer.outcome,
                     answer.code, answer.step, answer.error);
        }
    }
    assert_int_equal(journal("\"message\"", 1), 1); /* the dropped one, once */
    assert_null(smtp_to("ok@example.com", NULL).error);
}

static void set_mode(const char *mode)
{
    FILE *f = fopen(path_of("control"), "w");

    fputs(mode, f);
    fclose(f);
}

static void refusals_of_the_sender_and_of_us(void **state)
{
    net_smtp_answer answer;
    apr_time_t begin;

    serve(NULL, NULL, NULL, NULL);
    set_mode("sender");
    answer = smtp_to("ok@example.com", NULL);
    assert_int_equal(answer.code, 553);
    assert_int_equal(answer.step, NET_SMTP_FROM);
    assert_non_null(strstr(answer.error, "[address] may not send"));
    set_mode("stuck"); /* the same, and no answer to QUIT */
    begin = apr_time_now();
    answer = smtp_to("ok@example.com", NULL);
    assert_int_equal(answer.code, 553);
    net_smtp_rest(session);
    assert_in_range(apr_time_as_msec(apr_time_now() - begin), 0, 1000 * PATIENCE);
    set_mode("greet");
    answer = smtp_to("ok@example.com", NULL);
    assert_int_equal(answer.outcome, NET_DONE);
    assert_int_equal(answer.code, 554);
    assert_int_equal(answer.step, NET_SMTP_HELLO);
    child_stop(&server);
    answer = smtp_to("ok@example.com", NULL);
    assert_int_equal(answer.outcome, NET_NOT_SENT);
    assert_int_equal(answer.code, 0);
    assert_non_null(answer.error);
}

static void passwords_are_decoded_and_never_told(void **state)
{
    net_smtp_answer answer;

    serve("--auth", "me@example.com:p@ss/#%w", NULL, NULL);
    answer = smtp_to("ok@example.com", apr_psprintf(pool,
                                                    "smtp://me%%40example.com:p%%40ss%%2F%%23"
                                                    "%%25w@127.0.0.1:%d",
                                                    server.port));
    assert_null(answer.error);
    assert_int_equal(journal("\"user\": \"me@example.com\"", 1), 1);
    session = net_smtp_open(pool);
    answer = smtp_to(
        "ok@example.com",
        apr_psprintf(pool, "smtp://me%%40example.com:wrongsecret@127.0.0.1:%d", server.port));
    assert_int_equal(answer.outcome, NET_DONE);
    assert_int_equal(answer.code, 535);
    assert_int_equal(answer.step, NET_SMTP_HELLO);
    assert_null(strstr(answer.error, "wrongsecret"));
    session = net_smtp_open(pool);
    answer = smtp_to("ok@example.com", NULL);
    assert_int_equal(answer.code, 530);
    assert_int_equal(answer.step, NET_SMTP_FROM);
}

static void tls_is_as_the_url_says(void **state)
{
    net_smtp_answer answer;

    serve("--cert", path_of("cert.pem"), NULL, NULL);
    assert_null(smtp_to("ok@example.com", NULL).error); /* loopback: opportunistic */
    assert_int_equal(journal("\"tls\": \"TLSv1.3\"", 1), 1);
    session = net_smtp_open(pool);
    assert_null(
        smtp_to("ok@example.com", apr_psprintf(pool, "smtp://127.0.0.1:%d?tls=off", server.port))
            .error);
    assert_int_equal(journal("\"tls\": null", 1), 1);
    session = net_smtp_open(pool);
    answer = smtp_to("ok@example.com",
                     apr_psprintf(pool, "smtp://localhost:%d?tls=required", server.port));
    assert_int_equal(answer.outcome, NET_NOT_SENT); /* nobody vouches for the certificate */
    assert_non_null(strstr(answer.error, "certificate"));

    serve("--cert", path_of("cert.pem"), NULL, NULL);
    set_mode("inject"); /* what stands behind the answer to STARTTLS is no word of TLS' server */
    answer = smtp_to("ok@example.com", NULL);
    assert_int_equal(answer.outcome, NET_NOT_SENT);
    assert_int_equal(answer.step, NET_SMTP_HELLO);
    assert_int_equal(journal("\"message\"", 0), 0);

    serve("--cert", path_of("cert.pem"), "--implicit", NULL);
    answer = smtp_to("ok@example.com", apr_psprintf(pool, "smtps://localhost:%d", server.port));
    assert_int_equal(answer.outcome, NET_NOT_SENT);
    assert_non_null(strstr(answer.error, "certificate"));

    serve(NULL, NULL, NULL, NULL);
    answer = smtp_to("ok@example.com",
                     apr_psprintf(pool, "smtp://127.0.0.1:%d?tls=required", server.port));
    assert_non_null(answer.error); /* required, but not offered */
    assert_int_equal(journal("\"message\"", 0), 0);
}

static void smtp_urls_are_checked(void **state)
{
    static const char *const good[] = {"smtp://mail.example.com",
                                       "smtp://mail.example.com:587",
                                       "smtp://mail.example.com:587/",
                                       "smtp://u:p%40w@mail.example.com:587?tls=required",
                                       "smtps://u:p@mail.example.com",
                                       "smtp://mail.example.com?tls=off",
                                       "smtp://u:p@localhost:25?tls=off",
                                       "smtp://[::1]:25",
                                       NULL};
    static const char *const bad[] = {"mail.example.com",
                                      "http://mail.example.com",
                                      "smtp://",
                                      "smtp://host/path",
                                      "smtp://host#x",
                                      "smtp://host:99999",
                                      "smtp://host?tls=maybe",
                                      "smtp://host?tls",
                                      "smtp://host?starttls=1",
                                      "smtps://host?tls=off",
                                      "smtp://user@host",
                                      "smtp://:pw@host",
                                      "smtp://u:p%0d%0aRCPT@host",
                                      "smtp://u:p%00@host",
                                      "smtp://u:p@mail.example.com?tls=off",
                                      "smtp://u:p@mail.example.com?tls=opportunistic",
                                      NULL};

    for (int i = 0; good[i]; i++) {
        if (net_smtp_url_error(pool, good[i])) {
            fail_msg("%s: %s", good[i], net_smtp_url_error(pool, good[i]));
        }
    }
    for (int i = 0; bad[i]; i++) {
        if (!net_smtp_url_error(pool, bad[i])) {
            fail_msg("%s was taken", bad[i]);
        }
    }
}

/* ---- */

static int set_up(void **state)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    fake_start(&web);
    return net_init(pool) != APR_SUCCESS || !mkdtemp(folder) ||
           system(apr_psprintf(pool,
                               "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
                               "-nodes -days 2 -subj /CN=localhost -keyout %s/key.pem "
                               "-out %s/cert.pem 2>/dev/null && cat %s/key.pem >> %s/cert.pem",
                               folder, folder, folder, folder)) != 0;
}

static int tear_down(void **state)
{
    int failed = system(apr_psprintf(pool, "rm -rf %s", folder)) != 0;

    child_stop(&server);
    apr_pool_destroy(pool); /* closes the connections, so that the server's threads end */
    fake_stop(&web);
    apr_terminate();
    return failed;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_come_whole),
        cmocka_unit_test(nothing_of_one_call_is_in_the_next),
        cmocka_unit_test(redirects_are_not_followed),
        cmocka_unit_test(long_answers_are_cut),
        cmocka_unit_test(outcomes_tell_what_may_be_repeated),
        cmocka_unit_test(a_post_is_sent_once),
        cmocka_unit_test(connections_are_kept),
        cmocka_unit_test(only_https_and_this_machine),
        cmocka_unit_test(requests_are_checked),
        cmocka_unit_test(a_certificate_nobody_vouches_for_is_refused),
        cmocka_unit_test(mails_go_over_one_connection),
        cmocka_unit_test(a_connection_that_has_gone_is_replaced),
        cmocka_unit_test(refusals_tell_who_is_meant),
        cmocka_unit_test(refusals_of_the_sender_and_of_us),
        cmocka_unit_test(passwords_are_decoded_and_never_told),
        cmocka_unit_test(tls_is_as_the_url_says),
        cmocka_unit_test(smtp_urls_are_checked),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
