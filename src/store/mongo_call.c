/* mongo_call.c: one call of the store on MongoDB: a client from the pool, the breaker before it,
 * and the meaning of what went wrong. Used by mongo.c and mongo_schema.c alone. The pool is made by
 * the first call of the process, so never before the fork, and anew where the library has struck
 * off all servers.
 *
 * The breaker opens when no server was found or after three calls in a row without an answer. From
 * then on calls are refused at once; one each half second, and one at a time, asks the server and
 * closes it again. So a dead store holds one worker, not all. */
#include "mongo_private.h"

#include <string.h>
#include <unistd.h>

enum {
    FAILURES = 3,
    PROBE_US = 500000,
    MAX_TIME_EXPIRED = 50, /* maxTimeMS */
    BAD_VALUE = 2,         /* a sum beyond 64 bits */
    REFUSED_US = 1000000   /* a schema that was refused is looked at again after this */
};

/* ---- the clients ---- */

static void on_found(const mongoc_apm_server_opening_t *event)
{
    mongo_clients *clients = mongoc_apm_server_opening_get_context(event);

    __atomic_add_fetch(&clients->found, 1, __ATOMIC_SEQ_CST);
}

static void on_struck(const mongoc_apm_server_closed_t *event)
{
    mongo_clients *clients = mongoc_apm_server_closed_get_context(event);

    __atomic_add_fetch(&clients->struck, 1, __ATOMIC_SEQ_CST);
}

/* 1 where no server is left that they look at. */
static int are_lost(const mongo_clients *clients)
{
    int struck = __atomic_load_n(&clients->struck, __ATOMIC_SEQ_CST);

    return struck > 0 && struck == __atomic_load_n(&clients->found, __ATOMIC_SEQ_CST);
}

static mongo_clients *new_clients(mongo *m, bson_error_t *error)
{
    /* For mongodb+srv:// this asks the name server. */
    mongoc_client_pool_t *pool = mongoc_client_pool_new_with_error(m->uri, error);
    mongoc_apm_callbacks_t *events;
    mongo_clients *clients;

    if (!pool) {
        return NULL;
    }
    clients = bson_malloc0(sizeof(*clients));
    clients->pool = pool;
    clients->holders = 1;
    events = mongoc_apm_callbacks_new();
    mongoc_apm_set_server_opening_cb(events, on_found);
    mongoc_apm_set_server_closed_cb(events, on_struck);
    mongoc_client_pool_set_apm_callbacks(pool, events, clients);
    mongoc_apm_callbacks_destroy(events);
    mongoc_client_pool_set_error_api(pool, MONGOC_ERROR_API_VERSION_2);
    return clients;
}

void mongo_let_go(mongo *m, mongo_clients *clients)
{
    mongoc_client_t *client;
    int left;

    pthread_mutex_lock(&m->lock);
    left = --clients->holders;
    pthread_mutex_unlock(&m->lock);
    if (left > 0) {
        return;
    }
    if (are_lost(clients) && (client = mongoc_client_pool_pop(clients->pool)) != NULL) {
        /* Forgets the sessions: to tell a server of their end, the library would wait for one. */
        mongoc_client_reset(client);
        mongoc_client_pool_push(clients->pool, client);
    }
    mongoc_client_pool_destroy(clients->pool);
    bson_free(clients);
}

/* Called with the lock. */
static void hold(mongo_call *call)
{
    call->clients = call->m->clients;
    call->clients->holders++;
}

/* ---- the breaker ---- */

/* 1 where the call may go on; *probe where it is the one that tries. */
static int breaker_lets(mongo *m, int *probe)
{
    int64_t now = bson_get_monotonic_time();
    int lets = 1;

    pthread_mutex_lock(&m->lock);
    if (m->pid != getpid()) {
        /* We are a child of who opened: its clients and threads are not ours. */
        m->pid = getpid();
        m->clients = NULL;
        m->ready = m->preparing = m->open = m->probing = 0;
        m->failures = 0;
    }
    if (m->open) {
        lets = *probe = !m->probing && now >= m->probe_at;
        m->probing |= lets;
        m->turned_away += !lets;
    }
    pthread_mutex_unlock(&m->lock);
    return lets;
}

static void breaker_close(mongo *m)
{
    int64_t down = 0;
    unsigned away;
    int told;

    pthread_mutex_lock(&m->lock);
    __atomic_store_n(&m->failures, 0, __ATOMIC_RELAXED);
    if (m->open) {
        down = bson_get_monotonic_time() - m->open_since;
    }
    told = m->open && m->told;
    away = m->turned_away;
    m->open = m->told = 0;
    m->turned_away = 0;
    pthread_mutex_unlock(&m->lock);
    if (told) {
        biz_log(BIZ_LOG_NOTICE, 0,
                BZ(0241) "MongoDB at %s is back after %ld s; %u calls were turned away meanwhile",
                m->s->shown, (long)(down / 1000000), away);
    }
}

static void breaker_fail(mongo_call *call)
{
    mongo *m = call->m;
    int64_t now = bson_get_monotonic_time();

    pthread_mutex_lock(&m->lock);
    __atomic_add_fetch(&m->failures, 1, __ATOMIC_RELAXED);
    if (!m->open && (call->trouble == TROUBLE_NOBODY || m->failures >= FAILURES)) {
        m->open = 1;
        m->open_since = now;
        m->probe_at = now + PROBE_US;
    } else if (call->probe) {
        m->probe_at = now + PROBE_US;
    }
    call->counted = 1;
    pthread_mutex_unlock(&m->lock);
}

static void end_probe(mongo_call *call)
{
    pthread_mutex_lock(&call->m->lock);
    call->m->probing = 0;
    pthread_mutex_unlock(&call->m->lock);
    call->probe = 0;
}

/* ---- what went wrong ---- */

/* The server is shutting down, is not primary any more, or lost the network behind it. */
static int is_state_change(uint32_t code)
{
    static const uint32_t codes[] = {6,    7,     89,    91,    189,   262,
                                     9001, 10107, 11600, 11602, 13435, 13436};

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (codes[i] == code) {
            return 1;
        }
    }
    return 0;
}

static int is_duplicate(const mongo_call *call)
{
    uint32_t code = call->error.code;

    return call->error.domain == MONGOC_ERROR_SERVER &&
           (code == 11000 || code == 11001 || code == 12582);
}

apr_status_t mongo_failed(mongo_call *call)
{
    const bson_error_t *e = &call->error;

    switch (e->domain) {
    case MONGOC_ERROR_SERVER_SELECTION:
        call->trouble = TROUBLE_NOBODY;
        break;
    case MONGOC_ERROR_SERVER:
    case MONGOC_ERROR_WRITE_CONCERN:
        call->trouble = is_state_change(e->code) ? TROUBLE_WIRE : TROUBLE_NONE;
        if (is_duplicate(call)) {
            return STORE_EEXIST;
        }
        if (e->domain == MONGOC_ERROR_SERVER && e->code == BAD_VALUE) {
            return STORE_EINVAL;
        }
        break;
    default:
        /* Sockets, TLS, a garbled reply, a refused sign-in. */
        call->trouble = TROUBLE_WIRE;
        break;
    }
    return STORE_EUNAVAIL;
}

int mongo_was_cut(const mongo_call *call)
{
    return call->error.domain == MONGOC_ERROR_STREAM ||
           call->error.domain == MONGOC_ERROR_PROTOCOL || call->error.domain == MONGOC_ERROR_BSON;
}

int mongo_has_time(const mongo_call *call)
{
    const mongo_times *t = &call->m->times;
    int64_t gone = (bson_get_monotonic_time() - call->began) / 1000;

    return gone + (t->select > t->socket ? t->select : t->socket) + t->socket <= t->bound;
}

/* The server's own words may hold data, so of those only the number is told. */
static void tell_operator(mongo_call *call)
{
    const bson_error_t *e = &call->error;
    const char *coll = call->coll ? mongoc_collection_get_name(call->coll) : "-";

    if (call->error.domain == 0) {
        return;
    }
    if (e->domain == MONGOC_ERROR_WRITE_CONCERN) {
        mongo_say(call->m, BIZ_LOG_WARN,
                  BZ(0242) "a write to %s was not confirmed by a majority in time (code %u); look "
                           "at the members of the replica set",
                  coll, e->code);
    } else if (e->domain == MONGOC_ERROR_SERVER && e->code == MAX_TIME_EXPIRED) {
        mongo_say(
            call->m, BIZ_LOG_WARN,
            BZ(0251) "the server did not finish a command on %s within %d ms; look at its load, "
                     "and run bizapictl migrate in case an index is missing",
            coll, call->m->times.work);
    } else if (e->domain == MONGOC_ERROR_SERVER) {
        mongo_say(call->m, BIZ_LOG_WARN,
                  BZ(0248) "the server refused a command on %s with code %u; see its log", coll,
                  e->code);
    } else if (mongo_say(call->m, BIZ_LOG_WARN,
                         BZ(0240) "the store does not answer: %s; calls are answered 'unavailable' "
                                  "until it does, tried again twice a second",
                         call->clients && are_lost(call->clients)
                             ? "none of the servers is a member of the replica set"
                             : e->message)) {
        pthread_mutex_lock(&call->m->lock);
        call->m->told = 1;
        pthread_mutex_unlock(&call->m->lock);
    }
}

/* ---- one call ---- */

bson_t *mongo_fresh_reply(mongo_call *call)
{
    bson_destroy(call->reply);
    bson_init(call->reply);
    memset(&call->error, 0, sizeof(call->error));
    call->trouble = TROUBLE_NONE;
    return call->reply;
}

static apr_status_t borrow(mongo_call *call)
{
    call->client = mongoc_client_pool_pop(call->clients->pool);
    if (call->client) {
        return APR_SUCCESS;
    }
    mongo_say(call->m, BIZ_LOG_WARN,
              BZ(0243) "all clients were busy for %d ms; raise maxPoolSize in the URI if this goes "
                       "on while the store is well",
              call->m->times.queue);
    return STORE_EUNAVAIL;
}

static apr_status_t probe(mongo_call *call)
{
    bson_t ping = BSON_INITIALIZER;
    bool ok;

    BSON_APPEND_INT32(&ping, "ping", 1);
    ok = mongoc_client_command_simple(call->client, "admin", &ping, NULL, mongo_fresh_reply(call),
                                      &call->error);
    bson_destroy(&ping);
    if (!ok) {
        return mongo_failed(call);
    }
    breaker_close(call->m);
    end_probe(call);
    return APR_SUCCESS;
}

static apr_status_t make_clients(mongo_call *call)
{
    mongo *m = call->m;
    mongo_clients *lost = m->clients && are_lost(m->clients) ? m->clients : NULL, *made = NULL;

    if (!m->clients || lost) {
        made = new_clients(m, &call->error);
        if (!made) {
            call->trouble = TROUBLE_NOBODY;
            return STORE_EUNAVAIL;
        }
    }
    pthread_mutex_lock(&m->lock);
    m->clients = made ? made : m->clients;
    hold(call);
    pthread_mutex_unlock(&m->lock);
    if (lost) {
        mongo_let_go(m, lost);
    }
    return APR_SUCCESS;
}

/* The first call of the process, or the first one that gets through. */
static apr_status_t prepare(mongo_call *call)
{
    mongo *m = call->m;
    apr_status_t rv = make_clients(call);

    if (rv == APR_SUCCESS) {
        rv = borrow(call);
    }
    if (rv == APR_SUCCESS && call->probe) {
        rv = probe(call);
    }
    if (rv == APR_SUCCESS) {
        rv = mongo_ensure_schema(call, 0);
    }
    if (rv != APR_SUCCESS && call->trouble != TROUBLE_NONE) {
        breaker_fail(call);
    }
    pthread_mutex_lock(&m->lock);
    m->preparing = 0;
    m->ready = rv == APR_SUCCESS;
    m->refused = rv;
    m->refused_until = rv != APR_SUCCESS && call->trouble == TROUBLE_NONE
                           ? bson_get_monotonic_time() + REFUSED_US
                           : 0;
    pthread_cond_broadcast(&m->turn);
    pthread_mutex_unlock(&m->lock);
    return rv;
}

/* APR_SUCCESS with *mine: this call prepares; without: another one has. Called with the lock. */
static apr_status_t wait_for_turn(mongo_call *call, int *mine)
{
    mongo *m = call->m;
    int64_t until = call->began + (int64_t)m->times.bound * 1000;
    struct timespec at = {.tv_sec = until / 1000000, .tv_nsec = until % 1000000 * 1000};

    *mine = 0;
    while (!m->ready || are_lost(m->clients)) {
        m->ready = 0;
        if (m->open && !call->probe) {
            return STORE_EUNAVAIL;
        }
        if (!m->preparing) {
            if (bson_get_monotonic_time() < m->refused_until) {
                return m->refused;
            }
            m->preparing = *mine = 1;
            return APR_SUCCESS;
        }
        if (pthread_cond_timedwait(&m->turn, &m->lock, &at) != 0) {
            return STORE_EUNAVAIL;
        }
    }
    return APR_SUCCESS;
}

static apr_status_t get_ready(mongo_call *call)
{
    apr_status_t rv;
    int mine;

    pthread_mutex_lock(&call->m->lock);
    rv = wait_for_turn(call, &mine);
    if (rv == APR_SUCCESS && !mine) {
        hold(call);
    }
    pthread_mutex_unlock(&call->m->lock);
    if (rv == APR_SUCCESS && mine) {
        return prepare(call);
    }
    if (rv == APR_SUCCESS) {
        rv = borrow(call);
    }
    if (rv == APR_SUCCESS && call->probe) {
        rv = probe(call);
    }
    return rv;
}

/* The reply is not a member: a structure with one would have to be aligned to 128 bytes. */
static void call_init(mongo_call *call, store *s)
{
    memset(call, 0, sizeof(*call));
    call->reply = bson_malloc(sizeof(*call->reply));
    bson_init(call->reply);
    call->m = s->data;
    call->began = bson_get_monotonic_time();
}

void mongo_turn_to(mongo_call *call, const store_coll *coll)
{
    if (call->coll) {
        mongoc_collection_destroy(call->coll);
    }
    call->coll = mongoc_client_get_collection(call->client, call->m->database, coll->name);
    if (coll->flags & STORE_RELAXED) {
        mongoc_collection_set_write_concern(call->coll, call->m->relaxed);
    }
}

apr_status_t mongo_begin(mongo_call *call, store *s, const store_coll *coll)
{
    mongo *m = s->data;
    apr_status_t rv;

    call_init(call, s);
    if (!breaker_lets(m, &call->probe)) {
        return STORE_EUNAVAIL;
    }
    rv = get_ready(call);
    if (rv == APR_SUCCESS && coll) {
        mongo_turn_to(call, coll);
    }
    return rv;
}

apr_status_t mongo_begin_slow(mongo_call *call, store *s)
{
    call_init(call, s);
    call->slow = 1;
    call->client = mongo_slow_client(call->m);
    return call->client ? APR_SUCCESS : STORE_EUNAVAIL;
}

static void tell_breaker(mongo_call *call)
{
    if (call->slow) {
        return;
    }
    if (call->trouble != TROUBLE_NONE && !call->counted) {
        breaker_fail(call);
    } else if (call->client && call->trouble == TROUBLE_NONE &&
               __atomic_load_n(&call->m->failures, __ATOMIC_RELAXED) > 0) {
        breaker_close(call->m);
    }
    if (call->probe) {
        end_probe(call);
    }
}

apr_status_t mongo_end(mongo_call *call, apr_status_t status)
{
    tell_breaker(call);
    if (status == STORE_EUNAVAIL) {
        tell_operator(call);
    }
    if (call->coll) {
        mongoc_collection_destroy(call->coll);
    }
    if (call->client && call->slow) {
        mongoc_client_destroy(call->client);
    } else if (call->client) {
        mongoc_client_pool_push(call->clients->pool, call->client);
    }
    if (call->clients) {
        mongo_let_go(call->m, call->clients);
    }
    bson_destroy(call->reply);
    bson_free(call->reply);
    return status;
}
