/* test_client.c: integrations/client.c against a server that answers as it is told: what is called,
 * how often, what the caller is told, what the others see, and what the log says. */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core_test.h"
#include "core/log.h"
#include "core/time.h"
#include "fake_http.h"
#include "integrations/client.h"
#include "net/http.h"

#define JSON_200 "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{\"a\": 1}"
#define STATUS(line, more) "HTTP/1.1 " line "\r\n" more "Content-Length: 0\r\n\r\n"

static fake_http web;
static biz_settings settings;
static client_memory *memory;
static clients *c;
static client_answer answer;
static int lines;
static char log_text[4096];
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER; /* for several callers at once */

static void take_line(biz_level level, apr_status_t status, const char *line)
{
    pthread_mutex_lock(&log_lock);
    lines++;
    apr_cpystrn(log_text, line, sizeof(log_text));
    pthread_mutex_unlock(&log_lock);
}

static clients *clients_with(const char *key, int port)
{
    settings.secrets = apr_table_make(pool, 2);
    settings.provider_urls = apr_table_make(pool, 2);
    apr_table_set(settings.secrets, "STRIPE_SECRET_KEY", key);
    for (client_host host = 0; host < CLIENT_FIREBASE_TOKEN; host++)
        apr_table_set(settings.provider_urls, client_hosts[host].name,
                      apr_psprintf(pool, "http://127.0.0.1:%d", port));
    return clients_new(pool, &settings, NULL, memory);
}

static int setup(void **state)
{
    if (core_setup(state) != 0 || net_init(pool) != APR_SUCCESS)
        return 1;
    memory =
        mmap(NULL, client_memory_size(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fake_start(&web);
    web.answer = JSON_200;
    lines = 0;
    log_text[0] = '\0';
    biz_log_to(take_line);
    c = clients_with("sk_secret_one", web.port);
    return memory == MAP_FAILED;
}

static int teardown(void **state)
{
    biz_log_to(NULL);
    fake_stop(&web);
    munmap(memory, client_memory_size());
    return core_teardown(state);
}

static client_result call(client_request request)
{
    if (request.method == NULL)
        request.method = "GET";
    if (request.path == NULL)
        request.path = "/v1/x?key=sk_secret_one";
    client_call(c, pool, &request, &answer);
    return answer.result;
}
#define CALL(...) call((client_request){__VA_ARGS__})

static client_state look(client_host host)
{
    client_state state;

    client_look(c, host, pool, &state);
    return state;
}

static void a_good_answer_comes_back(void **state)
{
    static const char *const headers[] = {"Authorization: Bearer k", NULL};

    assert_int_equal(look(CLIENT_STRIPE).latency_ms, -1);
    assert_int_equal(CALL(.host = CLIENT_STRIPE, .headers = headers, .method = "POST",
                          .path = "/v1/y", .body = "a=1", .body_len = 3),
                     CLIENT_ANSWERED);
    assert_int_equal(answer.status, 200);
    assert_int_equal(biz_json_int(answer.json, "a", 0), 1);
    assert_null(answer.error);
    assert_non_null(strstr(web.last, "POST /v1/y HTTP/1.1\r\n"));
    assert_non_null(strstr(web.last, "Authorization: Bearer k\r\n"));
    assert_non_null(strstr(web.last, "\r\n\r\na=1"));
    assert_null(strstr(web.last, "Expect:"));
    assert_null(strstr(web.last, "Accept-Encoding:"));
    assert_non_null(strstr(web.last, "\r\nAccept: application/json\r\n"));
    assert_null(strstr(web.last, "*/*"));
    assert_int_equal(look(CLIENT_STRIPE).state, CLIENT_GOOD);
    assert_true(look(CLIENT_STRIPE).latency_ms >= 0);
    assert_int_equal(look(CLIENT_STRIPE).calls, 1);
    assert_int_equal(look(CLIENT_STRIPE).failures, 0);
    assert_int_equal(lines, 0);
}

static void five_failures_pause_it_for_all(void **state)
{
    clients *same = clients_with("sk_secret_one", web.port);

    web.answer = STATUS("503 X", "");
    for (int i = 0; i < 5; i++)
        assert_int_equal(CALL(.host = CLIENT_STRIPE), CLIENT_UNKNOWN);
    assert_int_equal(web.requests, 5);
    c = same;
    assert_int_equal(CALL(.host = CLIENT_STRIPE), CLIENT_PAUSED);
    assert_in_range(answer.retry_after, 29, 30);
    assert_int_equal(web.requests, 5);
    assert_int_equal(look(CLIENT_STRIPE).state, CLIENT_DEGRADED);
    assert_string_equal(look(CLIENT_STRIPE).last_error, "http_503");
    /* Another provider is not meant. */
    assert_int_equal(look(CLIENT_TWILIO).state, CLIENT_GOOD);
    /* One line a minute, with where and why, without the query. */
    assert_int_equal(lines, 1);
    assert_non_null(strstr(log_text, "BZ0801: stripe at http://127.0.0.1:"));
    assert_non_null(strstr(log_text, "status 503"));
    assert_null(strstr(log_text, "secret"));
    /* An administrator's test goes through, and what it finds holds for all. */
    web.answer = JSON_200;
    assert_int_equal(CALL(.host = CLIENT_STRIPE, .test = 1), CLIENT_ANSWERED);
    assert_int_equal(look(CLIENT_STRIPE).state, CLIENT_GOOD);
    assert_non_null(strstr(log_text, "BZ0803: stripe at "));
    assert_int_equal(CALL(.host = CLIENT_STRIPE), CLIENT_ANSWERED);
}

static void a_refused_key_is_not_used_again(void **state)
{
    /* What was told a moment ago does not hide it: it is told once, for it is not asked again. */
    web.answer = STATUS("500 X", "");
    CALL(.host = CLIENT_STRIPE);
    assert_non_null(strstr(log_text, "BZ0801: "));
    lines = 0;
    web.requests = 0;
    web.answer = STATUS("401 X", "");
    assert_int_equal(CALL(.host = CLIENT_STRIPE, .tries = 3, .harmless = 1), CLIENT_MISCONFIGURED);
    assert_int_equal(web.requests, 1);
    assert_non_null(strstr(log_text, "BZ0802: stripe at "));
    web.answer = JSON_200;
    assert_int_equal(CALL(.host = CLIENT_STRIPE), CLIENT_MISCONFIGURED);
    assert_int_equal(web.requests, 1);
    assert_int_equal(look(CLIENT_STRIPE).state, CLIENT_REFUSED);
    assert_int_equal(look(CLIENT_STRIPE).refused_status, 401);
    assert_int_equal(lines, 1);
    /* Another key is another account. */
    c = clients_with("sk_secret_two", web.port);
    assert_int_equal(CALL(.host = CLIENT_STRIPE), CLIENT_ANSWERED);
    /* And so is another try after a reload. */
    c = clients_with("sk_secret_one", web.port);
    assert_int_equal(CALL(.host = CLIENT_STRIPE), CLIENT_MISCONFIGURED);
    client_memory_turn(memory);
    c = clients_with("sk_secret_one", web.port);
    assert_int_equal(CALL(.host = CLIENT_STRIPE), CLIENT_ANSWERED);
}

/* Nobody could mend it: it comes back by itself. */
static void without_a_key_none_is_refused(void **state)
{
    web.answer = STATUS("403 X", "");
    assert_int_equal(CALL(.host = CLIENT_OSRM), CLIENT_UNKNOWN);
    assert_non_null(strstr(log_text, "BZ0801: "));
    assert_int_not_equal(look(CLIENT_OSRM).state, CLIENT_REFUSED);
    assert_int_equal(look(CLIENT_OSRM).refused_status, 0);
}

/* A channel's pause, which may be long, is never silent. */
static void a_quota_is_told(void **state)
{
    web.answer = STATUS("429 X", "Retry-After: 86400\r\n");
    for (int i = 0; i < 2; i++)
        assert_int_equal(CALL(.host = CLIENT_SENDGRID), CLIENT_LIMITED);
    assert_int_equal(web.requests, 2);
    assert_int_equal(lines, 1);
    assert_non_null(strstr(log_text, "BZ0804: sendgrid at "));
    assert_non_null(strstr(log_text, "asks us to wait for 86400 s"));
}

static void tries_again_only_what_does_no_harm(void **state)
{
    web.answer = STATUS("500 X", "");
    assert_int_equal(CALL(.host = CLIENT_TWILIO, .tries = 3), CLIENT_UNKNOWN);
    assert_int_equal(web.requests, 1);
    assert_int_equal(CALL(.host = CLIENT_STRIPE, .tries = 3, .harmless = 1), CLIENT_UNKNOWN);
    assert_int_equal(answer.tries, 3);
    assert_int_equal(web.requests, 4);
    assert_in_range(answer.elapsed_ms, 250 + 500, 500 + 1000 + 1000);
    web.mode = FAKE_CLOSE;
    assert_int_equal(CALL(.host = CLIENT_TWILIO, .tries = 3), CLIENT_UNKNOWN);
    assert_int_equal(answer.tries, 1);
    assert_string_equal(look(CLIENT_TWILIO).last_error, "no_answer");
    /* Where no connection came about nothing can have been done. */
    c = clients_with("k", 1);
    assert_int_equal(CALL(.host = CLIENT_TWILIO, .tries = 2), CLIENT_FAILED);
    assert_int_equal(answer.tries, 2);
    assert_string_equal(look(CLIENT_TWILIO).last_error, "no_connection");
}

static void a_quota_is_honoured(void **state)
{
    web.answer = STATUS("429 X", "Retry-After: 1\r\n");
    assert_int_equal(CALL(.host = CLIENT_STRIPE, .tries = 2, .harmless = 1), CLIENT_LIMITED);
    assert_int_equal(answer.tries, 2);
    assert_in_range(answer.elapsed_ms, 1000, 2500);
    /* Stripe means the one call; OpenWeather, which says no time, means its minute. */
    web.answer = STATUS("429 X", "");
    assert_int_equal(CALL(.host = CLIENT_OPENWEATHER), CLIENT_LIMITED);
    assert_int_equal(answer.retry_after, 60);
    assert_non_null(strstr(log_text, "BZ0804: openweather at "));
    assert_int_equal(web.requests, 3);
    assert_int_equal(CALL(.host = CLIENT_OPENWEATHER), CLIENT_LIMITED);
    assert_in_range(answer.retry_after, 59, 60);
    assert_int_equal(web.requests, 3);
    assert_int_equal(look(CLIENT_OPENWEATHER).state, CLIENT_DEGRADED);
    web.answer = JSON_200;
    assert_int_equal(CALL(.host = CLIENT_STRIPE), CLIENT_ANSWERED);
}

static void a_long_retry_after_is_not_waited_for(void **state)
{
    web.answer = STATUS("503 X", "Retry-After: 3600\r\n");
    assert_int_equal(CALL(.host = CLIENT_STRIPE, .tries = 3, .harmless = 1), CLIENT_UNKNOWN);
    assert_int_equal(answer.tries, 1);
    assert_int_equal(answer.retry_after, 3600);
}

static void what_is_no_answer_is_broken(void **state)
{
    static const char *const broken[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"a\":1,\"a\":2}  ",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\":\"\xff\"}",
        "HTTP/1.1 302 X\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 20\r\nContent-Encoding: "
        "gzip\r\n\r\n\x1f\x8b\x08\x00\x00"
        "\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    };

    for (size_t i = 0; i < COUNT(broken); i++) {
        client_memory_turn(memory);
        c = clients_with(apr_psprintf(pool, "key %d", (int)i), web.port);
        web.answer = broken[i];
        assert_int_equal(CALL(.host = CLIENT_STRIPE, .wants_json = 1), CLIENT_UNKNOWN);
        assert_int_equal(look(CLIENT_STRIPE).failures, 1);
        assert_non_null(answer.error);
    }
    assert_int_equal(web.requests, (int)COUNT(broken));
}

static client_verdict says_key(client_answer *a)
{
    return biz_json_int(a->json, "a", 0) == 1 ? CLIENT_IS_KEY : CLIENT_BY_STATUS;
}

static client_verdict says_answer(client_answer *a)
{
    return a->status == 403   ? CLIENT_IS_ANSWER
           : a->status == 409 ? CLIENT_IS_AGAIN
                              : CLIENT_BY_STATUS;
}

static void a_providers_own_words_come_first(void **state)
{
    assert_int_equal(CALL(.host = CLIENT_GOOGLE_MAPS, .judge = says_key), CLIENT_MISCONFIGURED);
    assert_int_equal(look(CLIENT_GOOGLE_MAPS).state, CLIENT_REFUSED);
    web.answer = STATUS("403 X", "");
    assert_int_equal(CALL(.host = CLIENT_FIREBASE, .judge = says_answer), CLIENT_ANSWERED);
    assert_int_equal(look(CLIENT_FIREBASE).state, CLIENT_GOOD);
    web.answer = STATUS("409 X", "");
    assert_int_equal(CALL(.host = CLIENT_STRIPE, .judge = says_answer, .tries = 2, .harmless = 1),
                     CLIENT_ANSWERED);
    assert_int_equal(answer.tries, 2);
}

static void the_pace_is_kept_without_a_queue(void **state)
{
    apr_time_t begin = apr_time_now();

    assert_int_equal(CALL(.host = CLIENT_OSRM), CLIENT_ANSWERED);
    assert_int_equal(CALL(.host = CLIENT_OSRM), CLIENT_BUSY);
    assert_int_equal(web.requests, 1);
    assert_true(apr_time_now() - begin < apr_time_from_msec(900));
    apr_sleep(apr_time_from_msec(1050));
    assert_int_equal(CALL(.host = CLIENT_OSRM), CLIENT_ANSWERED);
}

typedef struct {
    client_host host;
    client_answer answer;
    pthread_t thread;
} caller;

static _Atomic int ended;

static void *one_call(void *context)
{
    caller *me = context;
    client_request request = {.host = me->host, .method = "GET", .path = "/"};
    apr_pool_t *own;

    apr_pool_create(&own, NULL);
    client_call(c, own, &request, &me->answer);
    apr_pool_destroy(own);
    atomic_fetch_add(&ended, 1);
    return NULL;
}

/* Twelve at once for hosts that never answer, in turn: `in` get through, and the others are told
 * before one of those ends. */
static void expect_in(int threads, int processes, int in, int n, const client_host *hosts)
{
    enum { N = 12 };
    caller callers[N];
    int busy = 0, told;

    fake_stop(&web);
    fake_start(&web);
    web.mode = FAKE_SILENT;
    c = clients_with("sk_secret_one", web.port);
    clients_set_workers(c, threads, processes);
    atomic_store(&ended, 0);
    for (int i = 0; i < N; i++) {
        callers[i].host = hosts[i % n];
        pthread_create(&callers[i].thread, NULL, one_call, &callers[i]);
    }
    for (int i = 0; (web.requests < in || atomic_load(&ended) < N - in) && i < 500; i++)
        apr_sleep(apr_time_from_msec(10));
    apr_sleep(apr_time_from_msec(100));
    assert_int_equal(web.requests, in);
    pthread_mutex_lock(&log_lock);
    told = strstr(log_text, "BZ0805: ") != NULL;
    pthread_mutex_unlock(&log_lock);
    assert_true(told);
    web.stop = 1; /* lets go of those that are in */
    for (int i = 0; i < N; i++) {
        client_answer *a = &callers[i].answer;

        pthread_join(callers[i].thread, NULL);
        assert_true(a->result == CLIENT_BUSY ? a->elapsed_ms == 0 : a->result == CLIENT_UNKNOWN);
        busy += a->result == CLIENT_BUSY;
    }
    assert_int_equal(busy, N - in);
}

static void few_may_wait_for_a_silent_provider(void **state)
{
    static const client_host one[] = {CLIENT_STRIPE}, narrow[] = {CLIENT_ELEVENLABS};
    static const client_host many[] = {CLIENT_GOOGLE_MAPS, CLIENT_STRIPE, CLIENT_TWILIO};

    expect_in(8, 2, 4, 1, one);    /* a quarter of the workers */
    expect_in(8, 2, 2, 1, narrow); /* what the provider allows */
    expect_in(12, 1, 6, 3, many);  /* half of them, for all together */
    expect_in(6, 8, 3, 3, many);   /* half of this process' */
    expect_in(1, 12, 1, 3, many);
}

static void a_process_that_ends_accuses_nobody(void **state)
{
    pid_t pid;
    int status;

    web.mode = FAKE_SILENT;
    pid = fork();
    if (pid == 0) {
        net_stop();
        for (int i = 0; i < 6; i++)
            CALL(.host = CLIENT_STRIPE);
        _exit(answer.tries == 1 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(look(CLIENT_STRIPE).state, CLIENT_GOOD);
    assert_int_equal(look(CLIENT_STRIPE).calls, 6);
}

static void a_host_without_an_address_is_not_called(void **state)
{
    assert_int_equal(CALL(.host = CLIENT_FIREBASE_TOKEN), CLIENT_MISCONFIGURED);
    assert_null(client_base(c, CLIENT_FIREBASE_TOKEN));
}

static void bases_are_judged(void **state)
{
    static const char *const bad[] = {"http://api.example.com",
                                      "https://u:p@example.com",
                                      "https://example.com/?a=1",
                                      "https://example.com/#a",
                                      "ftp://x",
                                      "http://127.0.0.1.example.com",
                                      "example.com",
                                      ""};
    static const char *const good[] = {"https://api.example.com/", "http://127.0.0.1:80",
                                       "http://127.9.9.9", "http://[::1]:81", "http://localhost:1"};
    const char *base;

    for (size_t i = 0; i < COUNT(bad); i++)
        assert_non_null(client_base_error(pool, bad[i], &base));
    for (size_t i = 0; i < COUNT(good); i++)
        assert_null(client_base_error(pool, good[i], &base));
    assert_null(client_base_error(pool, "https://API.example.com:443/", &base));
    assert_string_equal(base, "https://api.example.com");
    assert_int_equal(client_host_named("osrm"), CLIENT_OSRM);
    assert_int_equal(client_host_named("firebase_token"), CLIENT_HOSTS);
    assert_int_equal(client_host_named("paypal"), CLIENT_HOSTS);
}

static void words(void **state)
{
    static const char *const pairs[] = {"a[b]", "x y&z=\xc3\xbc", "c", NULL, "d", "", NULL};
    apr_table_t *headers = apr_table_make(pool, 1);
    char date[APR_RFC822_DATE_LEN];

    assert_string_equal(client_form(pool, pairs), "a[b]=x%20y%26z%3D%C3%BC&d=");
    assert_string_equal(client_basic(pool, "AC1", "t:k"), "Authorization: Basic QUMxOnQ6aw==");
    assert_int_equal(client_retry_after(headers), 0);
    apr_table_set(headers, "retry-after", "7");
    assert_int_equal(client_retry_after(headers), 7);
    apr_table_set(headers, "Retry-After", "-1");
    assert_int_equal(client_retry_after(headers), 0);
    apr_table_set(headers, "Retry-After", "9999999");
    assert_int_equal(client_retry_after(headers), 86400);
    apr_rfc822_date(date, apr_time_now() + apr_time_from_sec(100));
    apr_table_set(headers, "Retry-After", date);
    assert_in_range(client_retry_after(headers), 98, 100);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_good_answer_comes_back),
        TEST(five_failures_pause_it_for_all),
        TEST(a_refused_key_is_not_used_again),
        TEST(without_a_key_none_is_refused),
        TEST(a_quota_is_told),
        TEST(tries_again_only_what_does_no_harm),
        TEST(a_quota_is_honoured),
        TEST(a_long_retry_after_is_not_waited_for),
        TEST(what_is_no_answer_is_broken),
        TEST(a_providers_own_words_come_first),
        TEST(the_pace_is_kept_without_a_queue),
        TEST(few_may_wait_for_a_silent_provider),
        TEST(a_process_that_ends_accuses_nobody),
        TEST(a_host_without_an_address_is_not_called),
        TEST(bases_are_judged),
        TEST(words),
    };

    core_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
