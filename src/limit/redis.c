/* redis.c: budgets in a Redis that several machines share; hiredis behind it. Called for each
 * limited request, by many threads. It never blocks on anything but one poll() with a deadline: a
 * call takes 200 ms at most, connecting included, and no time at all while Redis is known to be
 * down.
 *
 * A budget is a list of the times of its last N requests, by the server's clock, and one script
 * call decides: O(1), exact. Connections are not blocking; they are opened by the process that uses
 * them and never carried over a fork.
 *
 * After a failure every call fails at once. Twice a second one caller begins a trial, a real
 * decision on a key of its own, and later callers look whether its answer has come. */
#include "internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apr_sha1.h>
#include <apr_strings.h>
#include <apr_thread_cond.h>
#include <apr_thread_mutex.h>
#include <hiredis/hiredis.h>

#include "core/log.h"
#include "core/str.h"

enum {
    PATIENCE = 200000, /* microseconds of one decision: a busy machine is no dead one */
    RETRY = 500000,    /* microseconds between trials */
    TRIAL_WAIT = 500,  /* microseconds its first caller waits, enough for a Redis that is near */
    KEY_MAX = 96,
    NUMBER_MAX = 24
};

/* Integers are exact in Lua up to 2^53, microseconds since 1970 need 2^51. A clock that was set
 * back by more than a second empties the list rather than locking the caller out. */
static const char script[] =
    "local key, n, window = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])\n"
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000000 + t[2]\n"
    "local newest = tonumber(redis.call('LINDEX', key, -1) or 0)\n"
    "if newest > now + 1000000 then redis.call('DEL', key)\n"
    "elseif newest > now then now = newest end\n"
    "local used = redis.call('LLEN', key)\n"
    "local function oldest() return tonumber(redis.call('LINDEX', key, 0) or now) end\n"
    "local first, dropped = oldest(), 0\n"
    "while used > 0 and first + window <= now and dropped < 100 do\n"
    "  redis.call('LPOP', key)\n"
    "  used, dropped, first = used - 1, dropped + 1, oldest()\n"
    "end\n"
    "if used >= n then return {0, first + window - now, 0} end\n"
    "redis.call('RPUSH', key, string.format('%.0f', now))\n"
    "redis.call('PEXPIRE', key, math.ceil(window / 1000) + 1000)\n"
    "return {1, 0, n - used - 1}\n";

typedef struct wire wire; /* one connection */
struct wire {
    redisContext *context;
    wire *next;
    int greetings; /* answers to AUTH and SELECT that are still to come */
    int was_used;  /* it has answered before */
    int place;
};

struct limit_redis {
    limit_redis_place places[LIMIT_REDIS_PLACES];
    int n_places;
    _Atomic int place; /* the one to connect to */
    const char *user, *password;
    int db, max;
    int64_t window, patience; /* microseconds */
    char sha[2 * APR_SHA1_DIGESTSIZE + 1];
    _Atomic int down;
    _Atomic int pid; /* whose connections they are */

    apr_thread_mutex_t *mutex; /* of the next four */
    apr_thread_cond_t *freed;
    wire *idle;
    int open;
    char reason[32];

    apr_thread_mutex_t *trial_mutex; /* of the next two */
    wire *trial;
    int places_left; /* to try before resting */
    _Atomic int64_t trial_next;
};

typedef enum { DONE, PENDING, BROKEN, REFUSED } outcome;

/* ---- one connection ---- */

static void wire_free(wire *w)
{
    if (w) {
        redisFree(w->context);
        free(w);
    }
}

static int connect_to(const limit_redis_place *p)
{
    const int one = 1;
    int fd = socket(p->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (p->addr.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (const struct sockaddr *)&p->addr, p->len) == 0 || errno == EINPROGRESS)
        return fd;
    close(fd);
    return -1;
}

/* Begins to connect; what must be said first waits in the buffer. */
static wire *wire_open(const limit_redis *redis)
{
    int which = atomic_load(&redis->place);
    int fd = connect_to(&redis->places[which]);
    wire *w = fd < 0 ? NULL : calloc(1, sizeof(*w));

    if (!w || !(w->context = redisConnectFd(fd))) {
        if (fd >= 0)
            close(fd);
        free(w);
        return NULL;
    }
    w->place = which;
    w->context->flags &= ~REDIS_BLOCK;
    if (redis->password) {
        const char *by_name[] = {"AUTH", redis->user, redis->password};
        const char *plain[] = {"AUTH", redis->password};

        w->greetings++;
        redisAppendCommandArgv(w->context, redis->user ? 3 : 2, redis->user ? by_name : plain,
                               NULL);
    }
    if (redis->db) {
        w->greetings++;
        redisAppendCommand(w->context, "SELECT %d", redis->db);
    }
    return w;
}

static void note(limit_redis *redis, const char *reason)
{
    apr_thread_mutex_lock(redis->mutex);
    apr_cpystrn(redis->reason, reason, sizeof(redis->reason));
    apr_thread_mutex_unlock(redis->mutex);
}

/* The first word of an error answer: OOM, LOADING, WRONGPASS. The rest may quote what was sent. */
static void note_error(limit_redis *redis, const redisReply *reply)
{
    char text[sizeof(redis->reason)] = "answered ";
    size_t n = strlen(text);

    for (size_t i = 0; i < reply->len && n + 1 < sizeof(text); i++) {
        if (reply->str[i] < 'A' || reply->str[i] > 'Z')
            break;
        text[n++] = reply->str[i];
    }
    text[n] = '\0';
    note(redis, text);
}

/* Before Redis 7 the word of an error inside of a script stands somewhere in the text. */
static int is_error(const redisReply *reply, const char *word)
{
    return reply->type == REDIS_REPLY_ERROR && strstr(reply->str, word) != NULL;
}

static int wait_for(const wire *w, short events, int64_t deadline)
{
    struct pollfd fd = {w->context->fd, events, 0};
    int64_t left = deadline - limit_now();
    struct timespec t = {left > 0 ? left / APR_USEC_PER_SEC : 0,
                         left > 0 ? left % APR_USEC_PER_SEC * 1000 : 0};

    return ppoll(&fd, 1, &t, NULL) > 0;
}

/* The answer to the command, if it has been read already. */
static outcome next_reply(limit_redis *redis, wire *w, redisReply **reply)
{
    for (;;) {
        void *got = NULL;

        if (redisGetReplyFromReader(w->context, &got) != REDIS_OK) {
            note(redis, "no Redis speaks there");
            return BROKEN;
        }
        *reply = got;
        if (!got)
            return PENDING;
        if (w->greetings == 0) {
            w->was_used = 1;
            return DONE;
        }
        w->greetings--;
        if ((*reply)->type == REDIS_REPLY_ERROR) {
            note_error(redis, *reply);
            freeReplyObject(got);
            return REFUSED;
        }
        freeReplyObject(got);
    }
}

/* Sends what waits and reads until the answer is there. PENDING: the deadline has passed, it can be
 * asked again. */
static outcome wire_run(limit_redis *redis, wire *w, int64_t deadline, redisReply **reply)
{
    int sent = 0;

    for (;;) {
        outcome got = next_reply(redis, w, reply);

        if (got != PENDING)
            return got;
        if (!sent && redisBufferWrite(w->context, &sent) != REDIS_OK)
            break;
        if (!wait_for(w, sent ? POLLIN : POLLOUT, deadline))
            return PENDING;
        if (sent && redisBufferRead(w->context) != REDIS_OK)
            break;
    }
    note(redis, w->was_used ? "connection lost" : "no connection");
    return BROKEN;
}

/* ---- the connections of this process ---- */

/* What a parent opened stays the parent's: two processes would read each other's answers. */
static void settle(limit_redis *redis)
{
    int me = (int)getpid();

    if (atomic_load(&redis->pid) == me)
        return;
    apr_thread_mutex_lock(redis->mutex);
    if (atomic_load(&redis->pid) != me) {
        while (redis->idle) {
            wire *w = redis->idle;

            redis->idle = w->next;
            wire_free(w);
        }
        redis->open = 0;
        wire_free(redis->trial);
        redis->trial = NULL;
        atomic_store(&redis->down, 0);
        atomic_store(&redis->pid, me);
    }
    apr_thread_mutex_unlock(redis->mutex);
}

static void drop_idle(limit_redis *redis)
{
    wire *all;

    apr_thread_mutex_lock(redis->mutex);
    all = redis->idle;
    redis->idle = NULL;
    for (wire *w = all; w; w = w->next)
        redis->open--;
    apr_thread_cond_broadcast(redis->freed);
    apr_thread_mutex_unlock(redis->mutex);
    while (all) {
        wire *w = all;

        all = w->next;
        wire_free(w);
    }
}

static void give_back(limit_redis *redis, wire *w)
{
    apr_thread_mutex_lock(redis->mutex);
    w->next = redis->idle;
    redis->idle = w;
    apr_thread_cond_signal(redis->freed);
    apr_thread_mutex_unlock(redis->mutex);
}

static void give_up(limit_redis *redis, wire *w)
{
    wire_free(w);
    apr_thread_mutex_lock(redis->mutex);
    redis->open--;
    apr_thread_cond_signal(redis->freed);
    apr_thread_mutex_unlock(redis->mutex);
}

/* APR_SUCCESS, and *w is NULL where connecting failed; or APR_TIMEUP, APR_ECONNREFUSED. */
static apr_status_t borrow(limit_redis *redis, int64_t deadline, wire **w)
{
    apr_status_t rv = APR_SUCCESS;
    int may_open = 0;

    *w = NULL;
    apr_thread_mutex_lock(redis->mutex);
    while (rv == APR_SUCCESS && !*w && !may_open) {
        int64_t left = deadline - limit_now();

        if (atomic_load(&redis->down)) {
            rv = APR_ECONNREFUSED; /* found out by another thread */
        } else if (redis->idle) {
            *w = redis->idle;
            redis->idle = (*w)->next;
        } else if (redis->open < redis->max) {
            redis->open++;
            may_open = 1;
        } else if (left <= 0) {
            apr_cpystrn(redis->reason, "all connections in use", sizeof(redis->reason));
            rv = APR_TIMEUP;
        } else {
            apr_thread_cond_timedwait(redis->freed, redis->mutex, left);
        }
    }
    apr_thread_mutex_unlock(redis->mutex);
    if (may_open) {
        *w = wire_open(redis);
        if (!*w) {
            note(redis, "no connection");
            give_up(redis, NULL);
        }
    }
    return rv;
}

static void fail(limit_redis *redis)
{
    if (!atomic_exchange(&redis->down, 1))
        atomic_store(&redis->trial_next, limit_now() + RETRY);
    drop_idle(redis);
}

static void next_place(limit_redis *redis, int failed)
{
    atomic_compare_exchange_strong(&redis->place, &failed, (failed + 1) % redis->n_places);
}

/* ---- decisions ---- */

static void say(const limit_redis *redis, wire *w, int whole, const char *key, unsigned limit,
                int64_t window)
{
    char n[NUMBER_MAX], span[NUMBER_MAX];
    const char *words[] = {
        whole ? "EVAL" : "EVALSHA", whole ? script : redis->sha, "1", key, n, span};

    snprintf(n, sizeof(n), "%u", limit);
    snprintf(span, sizeof(span), "%" APR_INT64_T_FMT, (apr_int64_t)window);
    redisAppendCommandArgv(w->context, 6, words, NULL);
}

/* Asks on a connection that is known, or a new one. NULL, *rv: there is no answer, Redis is down
 * or all connections are in use. */
static redisReply *ask(limit_redis *redis, const char *key, unsigned limit, apr_status_t *rv)
{
    const int64_t deadline = limit_now() + redis->patience;
    redisReply *reply = NULL;

    /* A connection that stood idle may have ended unnoticed, and of the addresses of a name some
     * may be dead: those cost another try, within the same time. */
    for (int tries = 0; tries <= redis->n_places; tries++) {
        outcome got = BROKEN;
        int was_used = 0;
        wire *w;

        *rv = borrow(redis, deadline, &w);
        if (*rv != APR_SUCCESS)
            return NULL;
        if (w) {
            was_used = w->was_used;
            say(redis, w, 0, key, limit, redis->window);
            got = wire_run(redis, w, deadline, &reply);
            if (got == DONE && is_error(reply, "NOSCRIPT")) {
                freeReplyObject(reply);
                say(redis, w, 1, key, limit, redis->window);
                got = wire_run(redis, w, deadline, &reply);
            }
            if (got == DONE) {
                give_back(redis, w);
                return reply;
            }
            next_place(redis, was_used ? -1 : w->place);
            give_up(redis, w);
        } else {
            next_place(redis, atomic_load(&redis->place));
        }
        if (got == PENDING)
            note(redis, "no answer in time");
        if (got != BROKEN)
            break;
        if (was_used)
            drop_idle(redis);
    }
    fail(redis);
    *rv = APR_ECONNREFUSED;
    return NULL;
}

/* Looks after the trial; 1 where Redis is there again. Costs no waiting but the half millisecond of
 * the caller that begins one. */
static int try_again(limit_redis *redis)
{
    const int64_t now = limit_now();
    redisReply *reply = NULL;
    outcome got = BROKEN;
    int64_t until = now;
    int back = 0;

    if (apr_thread_mutex_trylock(redis->trial_mutex) != APR_SUCCESS)
        return 0;
    if (now >= atomic_load(&redis->trial_next)) {
        if (redis->trial) { /* it has had its time */
            next_place(redis, redis->trial->place);
            wire_free(redis->trial);
        }
        redis->places_left = redis->places_left > 0 ? redis->places_left - 1 : redis->n_places - 1;
        atomic_store(&redis->trial_next, now + RETRY);
        redis->trial = wire_open(redis);
        until = now + TRIAL_WAIT;
        if (redis->trial) {
            say(redis, redis->trial, 1, "bizapi:rl:{trial}", LIMIT_MAX, APR_USEC_PER_SEC);
        } else {
            next_place(redis, atomic_load(&redis->place));
        }
    } else if (!redis->trial) {
        goto leave;
    }
    if (redis->trial)
        got = wire_run(redis, redis->trial, until, &reply);
    if (got == DONE && (reply->type == REDIS_REPLY_ARRAY || is_error(reply, "WRONGTYPE"))) {
        back = 1;
        redis->places_left = 0;
        atomic_store(&redis->down, 0);
    } else if (got == DONE) {
        note_error(redis, reply);
    } else if (got == BROKEN) {
        if (redis->trial)
            next_place(redis, redis->trial->place);
        if (redis->places_left > 0) {
            atomic_store(&redis->trial_next, now); /* this address is dead, at once to the next */
        }
    }
    if (got == DONE)
        freeReplyObject(reply);
    if (got != PENDING) {
        wire_free(redis->trial);
        redis->trial = NULL;
    }
leave:
    apr_thread_mutex_unlock(redis->trial_mutex);
    if (back)
        biz_log(BIZ_LOG_INFO, 0, BZ(0303) "Redis answers again; rate limits are shared again");
    return back;
}

static apr_status_t understand(limit_redis *redis, const redisReply *reply, limit_verdict *verdict)
{
    int64_t wait;

    if (reply->type == REDIS_REPLY_ERROR) {
        note_error(redis, reply);
        if (!is_error(reply, "WRONGTYPE")) { /* that is the trouble of one key */
            fail(redis);
        }
        return APR_EGENERAL;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 ||
        reply->element[0]->type != REDIS_REPLY_INTEGER ||
        reply->element[1]->type != REDIS_REPLY_INTEGER ||
        reply->element[2]->type != REDIS_REPLY_INTEGER) {
        note(redis, "no Redis speaks there");
        fail(redis);
        return APR_EGENERAL;
    }
    wait = (reply->element[1]->integer + APR_USEC_PER_SEC - 1) / APR_USEC_PER_SEC;
    verdict->allowed = reply->element[0]->integer != 0;
    verdict->retry_after = verdict->allowed              ? 0
                           : wait < 1                    ? 1
                           : wait > LIMIT_WINDOW_SECONDS ? LIMIT_WINDOW_SECONDS
                                                         : (unsigned)wait;
    verdict->remaining = (unsigned)reply->element[2]->integer;
    verdict->crowded = 0;
    return APR_SUCCESS;
}

apr_status_t limit_redis_decide(limit_redis *redis, apr_pool_t *pool, const limit_rule *rule,
                                const limit_addr *addr, limit_verdict *verdict)
{
    char key[KEY_MAX];
    int n = snprintf(key, sizeof(key), "bizapi:rl:{%016" APR_UINT64_T_HEX_FMT ":",
                     (apr_uint64_t)rule->id);
    redisReply *reply;
    apr_status_t rv;

    for (unsigned i = 0; i < addr->len; i++)
        n += snprintf(key + n, sizeof(key) - (size_t)n, "%02x", addr->bytes[i]);
    snprintf(key + n, sizeof(key) - (size_t)n, "}");
    settle(redis);
    if (atomic_load(&redis->down) && !try_again(redis))
        return APR_ECONNREFUSED;
    reply = ask(redis, key, rule->limit, &rv);
    if (reply) {
        rv = understand(redis, reply, verdict);
        freeReplyObject(reply);
    }
    return rv;
}

/* ---- opening ---- */

static apr_status_t close_all(void *data)
{
    limit_redis *redis = data;

    drop_idle(redis);
    wire_free(redis->trial);
    redis->trial = NULL;
    return APR_SUCCESS;
}

apr_status_t limit_redis_open(limit_redis **out, apr_pool_t *pool, const char *url,
                              int max_connections, const char **why)
{
    limit_redis *redis = apr_pcalloc(pool, sizeof(*redis));
    unsigned char digest[APR_SHA1_DIGESTSIZE];
    limit_redis_url parsed;
    apr_sha1_ctx_t sha;
    apr_status_t rv;

    *out = NULL;
    *why = limit_redis_url_parse(pool, url, &parsed);
    if (*why)
        return APR_EINVAL;
    *why = limit_redis_places(pool, &parsed, redis->places, &redis->n_places);
    if (*why)
        return APR_EGENERAL;
    redis->user = apr_pstrdup(pool, parsed.user);
    redis->password = apr_pstrdup(pool, parsed.password);
    redis->db = parsed.db;
    redis->max = max_connections > 0 ? max_connections : 1;
    redis->window = LIMIT_WINDOW_SECONDS * (int64_t)APR_USEC_PER_SEC;
    redis->patience = PATIENCE;
    apr_sha1_init(&sha);
    apr_sha1_update_binary(&sha, (const unsigned char *)script, sizeof(script) - 1);
    apr_sha1_final(digest, &sha);
    apr_cpystrn(redis->sha, biz_hex(pool, digest, sizeof(digest)), sizeof(redis->sha));
    rv = apr_thread_mutex_create(&redis->mutex, APR_THREAD_MUTEX_DEFAULT, pool);
    if (rv == APR_SUCCESS)
        rv = apr_thread_mutex_create(&redis->trial_mutex, APR_THREAD_MUTEX_DEFAULT, pool);
    if (rv == APR_SUCCESS)
        rv = apr_thread_cond_create(&redis->freed, pool);
    if (rv != APR_SUCCESS) {
        *why = "no thread locks are to be had";
        return rv;
    }
    atomic_store(&redis->pid, (int)getpid());
    apr_pool_cleanup_register(pool, redis, close_all, apr_pool_cleanup_null);
    *out = redis;
    return APR_SUCCESS;
}

void limit_redis_reason(limit_redis *redis, char *text, size_t size)
{
    apr_thread_mutex_lock(redis->mutex);
    apr_cpystrn(text, redis->reason, size);
    apr_thread_mutex_unlock(redis->mutex);
}

void limit_redis_set_window(limit_redis *redis, int64_t microseconds)
{
    redis->window = microseconds;
}

void limit_redis_set_patience(limit_redis *redis, int64_t microseconds)
{
    redis->patience = microseconds;
}

void limit_redis_set_places(limit_redis *redis, const limit_redis_place *places, int n)
{
    memcpy(redis->places, places, (size_t)n * sizeof(places[0]));
    redis->n_places = n;
}
