/* curl.c: the one file that speaks to libcurl. HTTP calls for the integrations and the SendGrid
 * transport, connections to mail servers for smtp.c.
 *
 * Every handle is made by fresh_handle(), which sets the bounds that hold everywhere. It must not
 * follow redirects, read answers without a limit, or put a url's query or a password into a text
 * that may be logged. */
#include "http.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <apr_time.h>

#include "core/str.h"
#include "core/valid.h"
#include "smtp.h"
#include "url.h"

enum {
    IDLE_HANDLES = 8,             /* kept with their connections, resolver and TLS caches */
    DEFAULT_ANSWER = 1024 * 1024, /* bytes */
    HEADERS_MAX = 64 * 1024,      /* bytes of all header lines of one call */
    SLOW_BYTES = 30,              /* fewer a second ... */
    SLOW_SECONDS = 10,            /* ... for so long end a call */
    ERROR_SHOWN = 200             /* bytes of a library's or server's words */
};

static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;
static CURL *idle[IDLE_HANDLES];
static int idle_count;
static atomic_int stopped;
static int (*has_to_end)(void);

void net_stop(void)
{
    stopped = 1;
}

void net_stop_when(int (*asked)(void))
{
    has_to_end = asked;
}

typedef struct {
    apr_pool_t *pool;
    net_answer *answer;
    char *body; /* malloc: it grows, and a pool cannot shrink */
    size_t len, room, max, header_bytes;
    const char *why;          /* why we cut the answer off */
    apr_time_t first_byte_by; /* 0 where that is no matter, and once it has come */
} call;

static int must_end(void)
{
    return stopped || (has_to_end != NULL && has_to_end());
}

/* libcurl asks at least once a second, also while a server is silent. */
static int on_progress(void *context, curl_off_t to_get, curl_off_t got, curl_off_t to_send,
                       curl_off_t sent)
{
    call *c = context;

    if (must_end())
        return 1;
    if (!c || c->first_byte_by == 0 || apr_time_now() < c->first_byte_by)
        return 0;
    c->why = "the server took the request and did not begin to answer in time";
    return 1;
}

/* ---- handles ---- */

static apr_status_t net_end(void *unused)
{
    pthread_mutex_lock(&idle_lock);
    while (idle_count > 0)
        curl_easy_cleanup(idle[--idle_count]);
    pthread_mutex_unlock(&idle_lock);
    curl_global_cleanup();
    return APR_SUCCESS;
}

apr_status_t net_init(apr_pool_t *pool)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return APR_EGENERAL;
    apr_pool_cleanup_register(pool, NULL, net_end, apr_pool_cleanup_null);
    return APR_SUCCESS;
}

/* Last in, first out: the handle used last has the warmest connections. */
static CURL *take_handle(void)
{
    CURL *handle = NULL;

    pthread_mutex_lock(&idle_lock);
    if (idle_count > 0)
        handle = idle[--idle_count];
    pthread_mutex_unlock(&idle_lock);
    return handle ? handle : curl_easy_init();
}

static void give_handle_back(CURL *handle)
{
    curl_easy_reset(handle); /* nothing of one call, least of all a key, is seen by the next */
    pthread_mutex_lock(&idle_lock);
    if (idle_count < IDLE_HANDLES) {
        idle[idle_count++] = handle;
        handle = NULL;
    }
    pthread_mutex_unlock(&idle_lock);
    if (handle)
        curl_easy_cleanup(handle);
}

/* What holds for every call. 0, or non-zero where libcurl does not take an option. */
static int set_bounds(CURL *h, const char *protocols, long connect_ms, long total_ms,
                      char *error_buffer)
{
    int bad = 0;

    error_buffer[0] = '\0';
    bad |= curl_easy_setopt(h, CURLOPT_ERRORBUFFER, error_buffer);
    bad |= curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    /* Without it a resolver that does not answer holds the call for 10 s beyond every time-out. */
    bad |= curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L);
    bad |= curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, protocols);
    bad |= curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
    bad |= curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
    bad |= curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
    bad |= curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    bad |= curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    bad |= curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, total_ms);
    bad |= curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, (long)SLOW_BYTES);
    bad |= curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, (long)SLOW_SECONDS);
    bad |= curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
    bad |= curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    return bad;
}

/* What went wrong in English, cut before anything that could be a url's query. */
static const char *error_text(apr_pool_t *pool, CURLcode rc, const char *error_buffer)
{
    const char *text = error_buffer[0] ? error_buffer : curl_easy_strerror(rc);

    if (rc == CURLE_ABORTED_BY_CALLBACK)
        return "this process has to end";
    text = apr_pstrmemdup(pool, text, strcspn(text, "?"));
    return biz_printable(pool, text, ERROR_SHOWN);
}

/* ---- urls ---- */

/* A part of the url, NULL where it is not there. */
static const char *url_part(apr_pool_t *pool, CURLU *u, CURLUPart part, unsigned flags)
{
    char *text = NULL;
    const char *copy = NULL;

    if (curl_url_get(u, part, &text, flags) == CURLUE_OK) {
        copy = apr_pstrdup(pool, text);
        curl_free(text);
    }
    return copy;
}

int net_url_split(apr_pool_t *pool, const char *url, net_parts *parts)
{
    CURLU *u = curl_url();
    int good = u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK;

    memset(parts, 0, sizeof(*parts));
    if (good) {
        parts->scheme = url_part(pool, u, CURLUPART_SCHEME, 0);
        parts->host = url_part(pool, u, CURLUPART_HOST, 0);
        parts->path = url_part(pool, u, CURLUPART_PATH, 0);
        parts->query = url_part(pool, u, CURLUPART_QUERY, 0);
        parts->fragment = url_part(pool, u, CURLUPART_FRAGMENT, 0);
        /* Decoding refuses control characters: nothing can break out of an AUTH command. */
        parts->user = url_part(pool, u, CURLUPART_USER, CURLU_URLDECODE);
        parts->password = url_part(pool, u, CURLUPART_PASSWORD, CURLU_URLDECODE);
        good = parts->scheme && parts->host &&
               !parts->user == !url_part(pool, u, CURLUPART_USER, 0) &&
               !parts->password == !url_part(pool, u, CURLUPART_PASSWORD, 0);
        parts->loopback =
            good && biz_url_is_loopback(apr_pstrcat(pool, "http://", parts->host, NULL));
        curl_url_set(u, CURLUPART_USER, NULL, 0);
        curl_url_set(u, CURLUPART_PASSWORD, NULL, 0);
        curl_url_set(u, CURLUPART_PATH, "/", 0);
        curl_url_set(u, CURLUPART_QUERY, NULL, 0);
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
        parts->server = url_part(pool, u, CURLUPART_URL, 0);
    }
    curl_url_cleanup(u);
    return good;
}

/* ---- one HTTP call ---- */

static size_t on_body(char *data, size_t one, size_t n, void *context)
{
    call *c = context;
    char *more;

    if (n > c->max - c->len) {
        c->why =
            apr_psprintf(c->pool, "the answer is longer than %" APR_SIZE_T_FMT " bytes", c->max);
        return 0;
    }
    if (c->len + n + 1 > c->room) {
        size_t room = c->room * 2 > c->len + n + 1 ? c->room * 2 : c->len + n + 1;

        more = realloc(c->body, room);
        if (!more) {
            c->why = "out of memory for the answer";
            return 0;
        }
        c->body = more;
        c->room = room;
    }
    memcpy(c->body + c->len, data, n);
    c->len += n;
    c->body[c->len] = '\0';
    return n;
}

static size_t on_header(char *data, size_t one, size_t n, void *context)
{
    call *c = context;
    size_t end = n, name = 0, value;

    c->first_byte_by = 0;
    c->header_bytes += n;
    if (c->header_bytes > HEADERS_MAX) {
        c->why = "the headers of the answer are too long";
        return 0;
    }
    while (end > 0 && apr_isspace(data[end - 1]))
        end--;
    if (end >= 5 && strncmp(data, "HTTP/", 5) == 0) {
        apr_table_clear(c->answer->headers); /* what came before was an interim answer */
        return n;
    }
    while (name < end && data[name] != ':')
        name++;
    if (name > 0 && name < end) {
        for (value = name + 1; value < end && apr_isspace(data[value]); value++) {
        }
        apr_table_addn(c->answer->headers, apr_pstrmemdup(c->pool, data, name),
                       apr_pstrmemdup(c->pool, data + value, end - value));
    }
    return n;
}

static apr_status_t free_body(void *body)
{
    free(body);
    return APR_SUCCESS;
}

/* The list, NULL where a header is none or memory is short. `expect`: libcurl's own
 * "Expect: 100-continue" costs a round trip and some servers a second. */
static struct curl_slist *header_list(const net_request *request)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:"), *more;

    for (const char *const *h = request->headers; list && h && *h; h++) {
        more = strpbrk(*h, "\r\n") || !strchr(*h, ':') ? NULL : curl_slist_append(list, *h);
        if (!more)
            curl_slist_free_all(list);
        list = more;
    }
    return list;
}

static int is_harmless_twice(const net_request *request)
{
    if (strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0)
        return 1;
    for (const char *const *h = request->headers; h && *h; h++) {
        if (strncasecmp(*h, "Idempotency-Key:", 16) == 0)
            return 1;
    }
    return 0;
}

static int set_request(CURL *h, const net_request *request, int loopback)
{
    int bad = 0;

    bad |= curl_easy_setopt(h, CURLOPT_URL, request->url);
    bad |= curl_easy_setopt(h, CURLOPT_USERAGENT, "mod_bizapi");
    bad |= curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    bad |= curl_easy_setopt(h, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    if (loopback) /* never by a proxy that the environment names */
        bad |= curl_easy_setopt(h, CURLOPT_PROXY, "");
    if (!is_harmless_twice(request))
        bad |= curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, 1L);
    if (request->body || strcmp(request->method, "POST") == 0) {
        bad |= curl_easy_setopt(h, CURLOPT_POST, 1L);
        bad |= curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE,
                                (curl_off_t)(request->body ? request->body_len : 0));
        bad |= curl_easy_setopt(h, CURLOPT_POSTFIELDS, request->body ? request->body : "");
    }
    if (strcmp(request->method, "HEAD") == 0) {
        bad |= curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    } else {
        bad |= curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, request->method);
    }
    return bad;
}

/* From where libcurl gave up to what the caller must assume. */
static net_outcome outcome_of(CURL *h, CURLcode rc)
{
    long sent = 0;

    if (rc == CURLE_OK)
        return NET_DONE;
    if (curl_easy_getinfo(h, CURLINFO_REQUEST_SIZE, &sent) == CURLE_OK && sent == 0)
        return NET_NOT_SENT;
    return NET_UNKNOWN;
}

static void perform(CURL *h, const net_request *request, int loopback, struct curl_slist *headers,
                    call *c)
{
    char error_buffer[CURL_ERROR_SIZE];
    curl_off_t took = 0;
    CURLcode rc;
    int bad;

    bad = set_bounds(h, loopback ? "https,http" : "https", request->connect_ms, request->total_ms,
                     error_buffer);
    bad |= set_request(h, request, loopback);
    bad |= curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    bad |= curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    bad |= curl_easy_setopt(h, CURLOPT_WRITEDATA, c);
    bad |= curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    bad |= curl_easy_setopt(h, CURLOPT_HEADERDATA, c);
    bad |= curl_easy_setopt(h, CURLOPT_XFERINFODATA, c);
    if (request->first_byte_ms > 0)
        c->first_byte_by = apr_time_now() + apr_time_from_msec(request->first_byte_ms);
    if (bad) {
        c->answer->error = "libcurl does not take an option that we depend on";
        return;
    }
    rc = curl_easy_perform(h);
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &c->answer->status);
    if (curl_easy_getinfo(h, CURLINFO_TOTAL_TIME_T, &took) == CURLE_OK)
        c->answer->elapsed_ms = (long)(took / 1000);
    c->answer->outcome = outcome_of(h, rc);
    c->answer->stopped = rc == CURLE_ABORTED_BY_CALLBACK && !c->why;
    if (rc != CURLE_OK)
        c->answer->error = c->why ? c->why : error_text(c->pool, rc, error_buffer);
}

void net_call(apr_pool_t *pool, const net_request *request, net_answer *answer)
{
    call c = {.pool = pool, .answer = answer};
    struct curl_slist *headers = NULL;
    CURL *h = NULL;
    int loopback = 0;

    memset(answer, 0, sizeof(*answer));
    answer->outcome = NET_NOT_SENT;
    answer->headers = apr_table_make(pool, 8);
    answer->body = "";
    c.max = request->max_answer ? request->max_answer : DEFAULT_ANSWER;

    answer->error = net_http_refused(pool, request->url, &loopback);
    if (answer->error)
        return;
    if (request->connect_ms <= 0 || request->total_ms <= 0) {
        answer->error = "a call without a time-out is not made";
        return;
    }
    headers = header_list(request);
    h = take_handle();
    if (!headers || !h) {
        answer->error = headers ? "out of memory" : "a header of the request is not valid";
        goto leave;
    }
    perform(h, request, loopback, headers, &c);
    if (c.body) {
        apr_pool_cleanup_register(pool, c.body, free_body, apr_pool_cleanup_null);
        answer->body = c.body;
        answer->body_len = c.len;
    }
leave:
    if (h)
        give_handle_back(h);
    curl_slist_free_all(headers);
}

/* ---- connections of smtp.c ---- */

static size_t on_reply(char *data, size_t one, size_t n, void *hello)
{
    smtp_hear(hello, data, n);
    return n;
}

static long tls_level(smtp_tls tls)
{
    return tls == SMTP_TLS_REQUIRED        ? CURLUSESSL_ALL
           : tls == SMTP_TLS_OPPORTUNISTIC ? CURLUSESSL_TRY
                                           : CURLUSESSL_NONE;
}

static int set_smtp(CURL *h, const smtp_place *place, long connect_ms, long total_ms,
                    smtp_hello *hello, char *error_buffer)
{
    long reply_s = (total_ms + 999) / 1000;
    int bad;

    bad = set_bounds(h, place->implicit ? "smtps" : "smtp", connect_ms, total_ms, error_buffer);
    bad |= curl_easy_setopt(h, CURLOPT_URL, place->server);
    bad |= curl_easy_setopt(h, CURLOPT_CONNECT_ONLY, 1L); /* after EHLO, STARTTLS and AUTH */
    bad |= curl_easy_setopt(h, CURLOPT_PROXY, "");
    bad |= curl_easy_setopt(h, CURLOPT_USE_SSL, tls_level(place->tls));
    bad |= curl_easy_setopt(h, CURLOPT_SERVER_RESPONSE_TIMEOUT,
                            reply_s < SMTP_REPLY_SECONDS ? reply_s : (long)SMTP_REPLY_SECONDS);
    if (!place->verify) { /* loopback and opportunistic: see http.h */
        bad |= curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L);
        bad |= curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (place->user) {
        bad |= curl_easy_setopt(h, CURLOPT_USERNAME, place->user);
        bad |= curl_easy_setopt(h, CURLOPT_PASSWORD, place->password);
    }
    bad |= curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_reply);
    bad |= curl_easy_setopt(h, CURLOPT_HEADERDATA, hello);
    return bad;
}

static void *line_connect(apr_pool_t *pool, const smtp_place *place, long connect_ms, long total_ms,
                          smtp_hello *hello)
{
    char error_buffer[CURL_ERROR_SIZE];
    CURL *h = curl_easy_init();
    CURLcode rc;

    if (!h || set_smtp(h, place, connect_ms, total_ms, hello, error_buffer)) {
        hello->error = h ? "libcurl does not take an option that we depend on" : "out of memory";
    } else {
        rc = curl_easy_perform(h);
        curl_easy_setopt(h, CURLOPT_ERRORBUFFER, NULL); /* it ends here, the handle does not */
        curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &hello->code);
        hello->no_tls = rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_USE_SSL_FAILED ||
                        rc == CURLE_SSL_CACERT_BADFILE || rc == CURLE_SSL_CERTPROBLEM;
        if (rc == CURLE_OK)
            return h;
        hello->error = error_text(pool, rc, error_buffer);
    }
    if (h)
        curl_easy_cleanup(h);
    return NULL;
}

static long line_send(void *line, const char *data, size_t len)
{
    size_t n = 0;
    CURLcode rc = curl_easy_send(line, data, len, &n);

    return rc == CURLE_OK ? (long)n : rc == CURLE_AGAIN ? 0 : -1;
}

static long line_receive(void *line, char *data, size_t room)
{
    size_t n = 0;
    CURLcode rc = curl_easy_recv(line, data, room, &n);

    return rc == CURLE_OK && n > 0 ? (long)n : rc == CURLE_AGAIN ? 0 : -1;
}

static int line_wait(void *line, int to_send, long ms)
{
    struct pollfd at = {.events = to_send ? POLLOUT : POLLIN};
    curl_socket_t s = CURL_SOCKET_BAD;

    if (must_end())
        return 0;
    curl_easy_getinfo(line, CURLINFO_ACTIVESOCKET, &s);
    at.fd = s; /* poll() only waits where there is none */
    poll(&at, 1, (int)ms);
    return 1;
}

const smtp_carrier net_smtp_carrier = {
    .connect = line_connect,
    .send = line_send,
    .receive = line_receive,
    .wait = line_wait,
    .close = curl_easy_cleanup, /* libcurl says no QUIT on a connection that it only made */
};
