/* client.c: see client.h. One call to a provider: may it be made, make it, what does the answer
 * say, is it worth another try, and what shall the other processes know. It is called by the file
 * of each provider; it must not know any of them, and must not log a path, a header or a body. */
#include "client.h"

#include <string.h>
#include <strings.h>
#include <apr_base64.h>
#include <apr_date.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include "client_slot.h"
#include "core/random.h"
#include "core/str.h"
#include "core/time.h"
#include "core/valid.h"
#include "net/http.h"

enum {
    SECOND = 1000000,
    JSON_DEPTH = 32,
    DAY_SECONDS = 86400,
    DELAY_FIRST_MS = 500, /* before the second try, doubled before each further one ... */
    DELAY_MOST_MS = 5000,
    TRY_LEAST_MS = 300, /* less than that is no try */
    PROBE_SPARE_S = 5   /* beyond the call's own time, before another may probe */
};

/* ---- may it be called? ---- */

static int refuse(client_answer *a, client_result result, int retry_after, const char *error)
{
    a->result = result;
    a->retry_after = retry_after;
    a->error = error;
    return 0;
}

static int seconds_until(int64_t then, int64_t now)
{
    return (int)((then - now + SECOND - 1) / SECOND);
}

/* One call in each span of the pace, whoever makes it: nobody waits for his turn. */
static int keeps_pace(client_slot *slot, int pace_ms, int64_t now)
{
    int64_t next = atomic_load(&slot->next_at);

    return pace_ms == 0 ||
           (now >= next &&
            atomic_compare_exchange_strong(&slot->next_at, &next, now + (int64_t)pace_ms * 1000));
}

/* What needs no place to be known. */
static int may_call(const clients *c, const client_request *r, client_slot *slot, client_answer *a)
{
    int64_t now = biz_steady_now(), rest = atomic_load(&slot->rest_until);

    if (c->base[r->host] == NULL)
        return refuse(a, CLIENT_MISCONFIGURED, 0, "it is not known where it is");
    if (r->test)
        return 1;
    a->status = atomic_load(&slot->refused);
    if (a->status != 0)
        return refuse(a, CLIENT_MISCONFIGURED, 0, "it has refused our key");
    if (rest > now)
        return refuse(a, CLIENT_LIMITED, seconds_until(rest, now), "it has asked for a rest");
    if (breaker_wait(&slot->breaker, now) > 1)
        return refuse(a, CLIENT_PAUSED, breaker_wait(&slot->breaker, now), "it did not work");
    return 1;
}

/* ---- what the answer says ---- */

int client_retry_after(const apr_table_t *headers)
{
    const char *text = headers != NULL ? apr_table_get(headers, "Retry-After") : NULL;
    apr_time_t then;
    int64_t seconds;

    if (text == NULL)
        return 0;
    while (text[0] == '0' && apr_isdigit(text[1]))
        text++; /* any number of digits will do (RFC 9110) */
    if (!biz_parse_int(text, 0, INT32_MAX, &seconds)) {
        /* A date begins with the name of a day, which APR does not read. */
        then = apr_isalpha(text[0]) ? apr_date_parse_http(text) : APR_DATE_BAD;
        seconds = then == APR_DATE_BAD ? 0 : apr_time_sec(then - apr_time_now());
    }
    return seconds < 0 ? 0 : seconds > DAY_SECONDS ? DAY_SECONDS : (int)seconds;
}

static client_verdict by_status(const client_request *r, const client_answer *a)
{
    if (a->status == 401 || a->status == 403) /* without a key there is none to mend */
        return client_hosts[r->host].service != NULL ? CLIENT_IS_KEY : CLIENT_IS_BROKEN;
    if (a->status == 429)
        return CLIENT_IS_LIMIT;
    if (a->status >= 500 || a->status == 408 || a->status < 200)
        return CLIENT_IS_BROKEN;
    if (a->status >= 300 && a->status < 400)
        return CLIENT_IS_BROKEN;
    return r->wants_json && a->status < 300 && a->json == NULL ? CLIENT_IS_BROKEN
                                                               : CLIENT_IS_ANSWER;
}

static const char *words_of(apr_pool_t *pool, const client_answer *a)
{
    if (a->status >= 300 && a->status < 400)
        return apr_psprintf(pool, "status %ld: redirects are not followed", a->status);
    if (a->status < 300)
        return apr_psprintf(pool, "status %ld with an answer that is not what it promises",
                            a->status);
    return apr_psprintf(pool, "status %ld", a->status);
}

/* Sets a->result and a->error; 1 where the same call may get a better answer. */
static int judge(apr_pool_t *pool, const client_request *r, client_answer *a)
{
    client_verdict said = r->judge != NULL ? r->judge(a) : CLIENT_BY_STATUS, verdict = said;

    if (said == CLIENT_BY_STATUS || said == CLIENT_IS_FINAL)
        verdict = by_status(r, a);
    switch (verdict) {
    case CLIENT_IS_KEY:
        a->result = CLIENT_MISCONFIGURED;
        break;
    case CLIENT_IS_LIMIT:
    case CLIENT_IS_QUOTA:
        a->result = CLIENT_LIMITED;
        break;
    case CLIENT_IS_BROKEN:
        a->result = CLIENT_UNKNOWN;
        break;
    default:
        a->result = CLIENT_ANSWERED;
    }
    if (a->result != CLIENT_ANSWERED && a->error == NULL)
        a->error = words_of(pool, a);
    a->rests = said == CLIENT_IS_QUOTA;
    if (said == CLIENT_IS_FINAL || a->rests || a->result == CLIENT_MISCONFIGURED)
        return 0;
    return said == CLIENT_IS_AGAIN ||
           (a->result != CLIENT_ANSWERED && (a->status < 300 || a->status >= 400));
}

/* ---- what the others shall know ---- */

static void remember_error(client_slot *slot, const client_answer *a)
{
    atomic_fetch_add(&slot->failures, 1);
    atomic_store(&slot->last_error, (uint32_t)a->result << 16 | (uint32_t)(a->status & 0xffff));
    atomic_store(&slot->last_error_at, apr_time_now());
}

static void tell_good(client_slot *slot, const char *name, const char *base, int was_open)
{
    int was_refused = atomic_exchange(&slot->refused, 0) != 0;

    atomic_store(&slot->last_good_at, apr_time_now());
    atomic_store(&slot->rest_until, 0);
    if (was_open || was_refused)
        biz_log(BIZ_LOG_NOTICE, 0, BZ(0803) "%s at %s works again", name, base);
}

static void tell_bad(client_slot *slot, const char *name, const char *base, const client_answer *a)
{
    uint64_t held;

    remember_error(slot, a);
    if (biz_minute_of(&slot->minute[CLIENT_LINE_TROUBLE], &slot->suppressed[CLIENT_LINE_TROUBLE],
                      &held))
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0801) "%s at %s does not work: %s%s; its fallback is used (%lu more failures "
                         "since the last such line)",
                name, base, a->error,
                breaker_is_open(&slot->breaker) ? "; it is asked again once in 30 s" : "",
                (unsigned long)held);
}

static void tell_refused(client_slot *slot, const char *name, const char *base,
                         const client_answer *a)
{
    uint64_t held;

    remember_error(slot, a);
    atomic_store(&slot->refused, a->status >= 400 ? (uint32_t)a->status : 403);
    if (biz_minute_of(&slot->minute[CLIENT_LINE_REFUSED], &slot->suppressed[CLIENT_LINE_REFUSED],
                      &held))
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0802) "%s at %s refuses our key or account (%s); it is not called any more. "
                         "Mend its variables, then reload",
                name, base, a->error);
}

static void tell_limited(client_slot *slot, const client_host_info *info, const char *base,
                         client_answer *a)
{
    int rests = info->rest_s > 0 || a->rests;
    char wait[40] = "";
    uint64_t held;

    remember_error(slot, a);
    if (a->retry_after == 0 && info->rest_s > 0)
        a->retry_after = info->rest_s;
    if (rests && a->retry_after > 0)
        atomic_store(&slot->rest_until, biz_steady_now() + (int64_t)a->retry_after * SECOND);
    if (a->retry_after > 0)
        apr_snprintf(wait, sizeof(wait), " and %s %d s",
                     rests ? "is not called for" : "asks us to wait for", a->retry_after);
    if (biz_minute_of(&slot->minute[CLIENT_LINE_REST], &slot->suppressed[CLIENT_LINE_REST], &held))
        biz_log(BIZ_LOG_WARN, 0, BZ(0804) "%s at %s has had enough of us (%s)%s", info->name, base,
                a->error, wait);
}

static void remember(const clients *c, const client_request *r, client_answer *a, int stopped,
                     breaker_turn turn)
{
    const client_host_info *info = &client_hosts[r->host];
    const char *base = c->base[r->host];
    client_slot *slot = c->slot[r->host];

    atomic_fetch_add(&slot->calls, 1);
    if (a->status != 0)
        atomic_store(&slot->latency_ms, (uint32_t)a->elapsed_ms + 1);
    if (stopped) {
        breaker_leave(&slot->breaker, turn);
    } else if (a->result == CLIENT_FAILED || a->result == CLIENT_UNKNOWN) {
        if (a->status == 408) /* is about the one request */
            breaker_leave(&slot->breaker, turn);
        else
            breaker_bad(&slot->breaker, turn, biz_steady_now());
        tell_bad(slot, info->name, base, a);
    } else {
        int was_open = breaker_good(&slot->breaker);

        if (a->result == CLIENT_MISCONFIGURED)
            tell_refused(slot, info->name, base, a);
        else if (a->result == CLIENT_LIMITED)
            tell_limited(slot, info, base, a);
        else
            tell_good(slot, info->name, base, was_open);
    }
}

/* ---- a place to wait in ---- */

static _Atomic int waiting_here; /* requests of this process */

typedef struct {
    int taken, host, all;
} place;

static void leave(const clients *c, client_slot *slot, const place *p)
{
    if (p->host >= 0)
        biz_place_leave(&slot->owner[p->host]);
    if (p->all >= 0)
        biz_place_leave(&c->owner[p->all]);
    if (p->taken)
        atomic_fetch_sub(&waiting_here, 1);
}

/* Never waits for one: that would hold a worker, too. */
static int enter(const clients *c, client_host host, place *p)
{
    const client_host_info *info = &client_hosts[host];
    client_slot *slot = c->slot[host];
    uint64_t held;

    p->taken = 1;
    if (atomic_fetch_add(&waiting_here, 1) < c->places_here) {
        p->all = biz_place_take(c->owner, c->places_all);
        if (p->all >= 0)
            p->host = biz_place_take(slot->owner, info->places > 0 && info->places < c->places
                                                      ? info->places
                                                      : c->places);
    }
    if (p->host >= 0)
        return 1;
    if (biz_minute_of(&slot->minute[CLIENT_LINE_BUSY], &slot->suppressed[CLIENT_LINE_BUSY], &held))
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0805) "%s at %s is waited for by as many requests as may; its fallback is used "
                         "for more (%lu more since the last such line)",
                info->name, c->base[host], (unsigned long)held);
    return 0;
}

/* ---- the call ---- */

/* What we understand is JSON, unless the caller says otherwise: libcurl's own Accept says that
 * anything will do. */
static const char *const *headers_of(apr_pool_t *pool, const client_request *r)
{
    apr_array_header_t *all = apr_array_make(pool, 6, sizeof(const char *));
    int accepts = 0;

    for (const char *const *h = r->headers; h != NULL && *h != NULL; h++) {
        accepts |= strncasecmp(*h, "Accept:", 7) == 0;
        APR_ARRAY_PUSH(all, const char *) = *h;
    }
    if (!accepts)
        APR_ARRAY_PUSH(all, const char *) = "Accept: application/json";
    APR_ARRAY_PUSH(all, const char *) = NULL;
    return (const char *const *)all->elts;
}

/* One try; 1 where another may do better. */
static int try_once(const clients *c, apr_pool_t *pool, const client_request *r, long left_ms,
                    breaker_turn turn, client_answer *a)
{
    const client_host_info *info = &client_hosts[r->host];
    net_request request = {.method = r->method,
                           .url = apr_pstrcat(pool, c->base[r->host], r->path, NULL),
                           .headers = headers_of(pool, r),
                           .body = r->body,
                           .body_len = r->body_len,
                           .connect_ms = info->connect_ms,
                           .total_ms = left_ms,
                           .first_byte_ms = info->first_byte_ms,
                           .max_answer = r->max_answer};
    net_answer answer;
    size_t position;
    int again;

    net_call(pool, &request, &answer);
    a->tries++;
    a->status = answer.outcome == NET_DONE ? answer.status : 0;
    a->headers = answer.headers;
    a->body = answer.body;
    a->body_len = answer.body_len;
    a->error = answer.error;
    a->elapsed_ms = answer.elapsed_ms;
    a->retry_after = client_retry_after(answer.headers);
    a->json = NULL;
    if (answer.outcome == NET_DONE) {
        biz_json_parse(pool, a->body, a->body_len, JSON_DEPTH, &a->json, &position);
        again = judge(pool, r, a);
    } else {
        a->result = answer.outcome == NET_NOT_SENT ? CLIENT_FAILED : CLIENT_UNKNOWN;
        again = !answer.stopped;
    }
    remember(c, r, a, answer.stopped, turn);
    return again && (a->result == CLIENT_FAILED || r->harmless);
}

/* Milliseconds before the next try: what the provider asks for, else doubling, and by chance
 * between half of that and all of it, so that not all come back at once. */
static long delay_ms(const client_answer *a)
{
    long most = (long)DELAY_FIRST_MS << (a->tries - 1);
    uint32_t chance;

    if (a->retry_after > 0)
        return a->retry_after * 1000L;
    biz_random(&chance, sizeof(chance));
    most = most > DELAY_MOST_MS ? DELAY_MOST_MS : most;
    return most / 2 + (long)(chance % (unsigned long)(most / 2 + 1));
}

static void call_in_turn(const clients *c, apr_pool_t *pool, const client_request *r,
                         client_answer *a)
{
    const client_host_info *info = &client_hosts[r->host];
    client_slot *slot = c->slot[r->host];
    int64_t begin = biz_steady_now(), now = begin;
    int64_t probe = (int64_t)(info->total_ms / 1000 + PROBE_SPARE_S) * SECOND;

    for (;;) {
        breaker_turn turn = r->test ? BREAKER_CALL : breaker_enter(&slot->breaker, now, probe);
        long left = info->total_ms - (long)((now - begin) / 1000), delay;

        /* Opened by others between two tries: the last answer stays. */
        if (turn == BREAKER_REFUSE && a->tries == 0)
            refuse(a, CLIENT_PAUSED, breaker_wait(&slot->breaker, now), "it did not work");
        if (turn == BREAKER_REFUSE || !try_once(c, pool, r, left, turn, a) || a->tries >= r->tries)
            break;
        now = biz_steady_now();
        left = info->total_ms - (long)((now - begin) / 1000);
        delay = delay_ms(a);
        if (delay + TRY_LEAST_MS > left)
            break;
        apr_sleep(apr_time_from_msec(delay));
        now = biz_steady_now();
    }
    a->elapsed_ms = (long)((biz_steady_now() - begin) / 1000);
}

void client_call(const clients *c, apr_pool_t *pool, const client_request *r, client_answer *a)
{
    const client_host_info *info = &client_hosts[r->host];
    client_slot *slot = c->slot[r->host];
    place p = {0, -1, -1};

    memset(a, 0, sizeof(*a));
    a->headers = apr_table_make(pool, 1);
    a->body = "";
    if (!may_call(c, r, slot, a))
        return;
    if (!r->background && !enter(c, r->host, &p))
        refuse(a, CLIENT_BUSY, 1, "too many requests wait for it");
    else if (!r->test && !keeps_pace(slot, info->pace_ms, biz_steady_now()))
        refuse(a, CLIENT_BUSY, 1, "it is not called more often");
    else
        call_in_turn(c, pool, r, a);
    leave(c, slot, &p);
}

/* ---- words for callers ---- */

const char *client_form(apr_pool_t *pool, const char *const *pairs)
{
    const char *form = "";

    for (; pairs[0] != NULL; pairs += 2) {
        if (pairs[1] == NULL)
            continue;
        form = apr_pstrcat(pool, form, form[0] != '\0' ? "&" : "", pairs[0], "=",
                           biz_percent_encode(pool, pairs[1]), NULL);
    }
    return form;
}

const char *client_basic(apr_pool_t *pool, const char *user, const char *password)
{
    const char *plain = apr_pstrcat(pool, user, ":", password, NULL);
    int len = (int)strlen(plain);
    char *text = apr_palloc(pool, (apr_size_t)apr_base64_encode_len(len));

    apr_base64_encode(text, plain, len);
    return apr_pstrcat(pool, "Authorization: Basic ", text, NULL);
}
