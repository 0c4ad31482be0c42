/* mongo_link.c: the URI of a MongoDB, its time-outs, and what is logged. Used by the other mongo
 * files alone. It touches no network: clients are made by the first call (mongo_call.c).
 *
 * The sum. A call may wait for a client (queue), then for a server (select), then for two answers
 * (socket), since a read, and a write on a replica set, is tried twice by libmongoc:
 *     queue 250 + select 1500 + 2 * socket 1500 = 4750 ms, under the bound of 5000 ms.
 * A connection that cannot be made costs at most connect 1000 ms in place of the answer that then
 * does not come. No single wait is longer than options.op_timeout (2 s), and the bound is two and a
 * half times that; with another op_timeout all are scaled. What the URI says is left as it is. */
#include "mongo_private.h"

#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <apr_strings.h>
#include "core/log.h"

enum {
    BOUND_MS = 5000, /* of a call */
    CLIENTS = 16,
    LOG_US = 60 * 1000 * 1000, /* one line in this time */
    SLOW_MS = 3600 * 1000      /* an index over much data takes its time */
};

/* ---- the library's own lines ---- */

static pthread_mutex_t handler_lock = PTHREAD_MUTEX_INITIALIZER;
static int stores_open;
static int64_t library_logged_at;
static unsigned library_unlogged;

/* Called under the library's own lock, so never twice at once. */
static void on_library_line(mongoc_log_level_t level, const char *domain, const char *message,
                            void *unused)
{
    int64_t now = bson_get_monotonic_time();

    if (level > MONGOC_LOG_LEVEL_WARNING) {
        return;
    }
    if (library_logged_at != 0 && now - library_logged_at < LOG_US) {
        library_unlogged++;
        return;
    }
    biz_log(BIZ_LOG_INFO, 0,
            BZ(0246) "the MongoDB library says (%s): %s (%u more since the last such line)", domain,
            message, library_unlogged);
    library_logged_at = now;
    library_unlogged = 0;
}

/* Not NULL in its place: the library looks whether there is one, and calls it later. */
static void drop_library_line(mongoc_log_level_t level, const char *domain, const char *message,
                              void *unused)
{
}

/* Without a store the handler is the library's own: this file's code may be unloaded then. */
static void count_stores(int by)
{
    pthread_mutex_lock(&handler_lock);
    stores_open += by;
    mongoc_log_set_handler(stores_open > 0 ? on_library_line : mongoc_log_default_handler, NULL);
    pthread_mutex_unlock(&handler_lock);
}

/* The library would print what it does not like about a URI, values included. */
static mongoc_uri_t *parse_uri(const char *url)
{
    bson_error_t error;
    mongoc_uri_t *uri;

    mongoc_init();
    pthread_mutex_lock(&handler_lock);
    mongoc_log_set_handler(drop_library_line, NULL);
    uri = mongoc_uri_new_with_error(url, &error);
    mongoc_log_set_handler(stores_open > 0 ? on_library_line : mongoc_log_default_handler, NULL);
    pthread_mutex_unlock(&handler_lock);
    return uri;
}

int mongo_say(mongo *m, biz_level level, const char *fmt, ...)
{
    char what[600];
    va_list args;
    int64_t now = bson_get_monotonic_time();
    unsigned more;

    pthread_mutex_lock(&m->lock);
    if (m->logged_at != 0 && now - m->logged_at < LOG_US) {
        m->unlogged++;
        pthread_mutex_unlock(&m->lock);
        return 0;
    }
    more = m->unlogged;
    m->unlogged = 0;
    m->logged_at = now;
    pthread_mutex_unlock(&m->lock);
    va_start(args, fmt);
    apr_vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    biz_log(level, 0, "%s (MongoDB at %s; %u more since the last line)", what, m->s->shown, more);
    return 1;
}

/* ---- opening ---- */

const char *mongo_url_error(apr_pool_t *pool, const char *url)
{
    mongoc_uri_t *uri = parse_uri(url);
    const char *database, *wrong = NULL;

    if (!uri) {
        return "not a mongodb:// URI; special characters in user and password must be "
               "percent-encoded, and options must be ones that libmongoc knows";
    }
    database = mongoc_uri_get_database(uri);
    if (database && (strlen(database) > 63 || strpbrk(database, "/\\. \"$*<>:|?"))) {
        wrong = "the path of the URI is not the name of a database";
    }
    mongoc_uri_destroy(uri);
    return wrong;
}

static int bounded(mongoc_uri_t *uri, const char *option, int ours)
{
    if (!mongoc_uri_has_option(uri, option)) {
        mongoc_uri_set_option_as_int32(uri, option, ours);
    }
    return mongoc_uri_get_option_as_int32(uri, option, ours);
}

static void set_times(mongo *m, const store_options *o)
{
    int bound = o->op_timeout > 0 ? (int)(o->op_timeout / 400) : BOUND_MS;
    int select = bound * 3 / 10 < 600 ? 600 : bound * 3 / 10; /* > the 500 ms between two looks */

    m->times.bound = bound;
    m->times.queue = bounded(m->uri, MONGOC_URI_WAITQUEUETIMEOUTMS, bound / 20);
    m->times.select = bounded(m->uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, select);
    m->times.connect = bounded(m->uri, MONGOC_URI_CONNECTTIMEOUTMS, bound / 5);
    m->times.socket = bounded(m->uri, MONGOC_URI_SOCKETTIMEOUTMS, bound * 3 / 10);
    m->times.work = m->times.socket * 4 / 5;
    bounded(m->uri, MONGOC_URI_HEARTBEATFREQUENCYMS, 1000);
    bounded(m->uri, MONGOC_URI_MAXPOOLSIZE, o->max_connections > 0 ? o->max_connections : CLIENTS);
}

/* What answered success must survive a fail-over and a power cut, whatever the URI says; and a
 * read must see it, so reads go to the primary. */
static void set_concerns(mongo *m)
{
    mongoc_write_concern_t *durable = mongoc_write_concern_new();
    mongoc_read_prefs_t *primary = mongoc_read_prefs_new(MONGOC_READ_PRIMARY);
    int wtimeout = mongoc_uri_get_option_as_int32(m->uri, MONGOC_URI_WTIMEOUTMS, 0);

    if (wtimeout <= 0) {
        wtimeout = m->times.work > 0 ? m->times.work : BOUND_MS;
    }
    mongoc_write_concern_set_wmajority(durable, wtimeout);
    mongoc_write_concern_set_journal(durable, true);
    mongoc_uri_set_write_concern(m->uri, durable);
    mongoc_uri_set_read_prefs_t(m->uri, primary);
    mongoc_write_concern_destroy(durable);
    mongoc_read_prefs_destroy(primary);
    m->relaxed = mongoc_write_concern_new();
    mongoc_write_concern_set_w(m->relaxed, 1);
}

static apr_status_t close_store(void *data)
{
    mongo *m = data;

    if (m->clients && m->pid == getpid()) {
        mongo_let_go(m, m->clients);
    }
    mongoc_write_concern_destroy(m->relaxed);
    mongoc_uri_destroy(m->uri);
    pthread_cond_destroy(&m->turn);
    pthread_mutex_destroy(&m->lock);
    count_stores(-1);
    return APR_SUCCESS;
}

apr_status_t mongo_open(store *s, const char *url, const store_options *o, const char **why)
{
    mongo *m = apr_pcalloc(s->pool, sizeof(*m));
    const char *wrong = mongo_url_error(s->pool, url), *database;
    pthread_condattr_t attr;

    if (wrong) {
        *why = wrong;
        return STORE_EINVAL;
    }
    m->s = s;
    m->uri = parse_uri(url);
    database = mongoc_uri_get_database(m->uri);
    m->database = apr_pstrdup(s->pool, database && *database ? database : "bizapi");
    set_times(m, o);
    set_concerns(m);
    if (!mongoc_uri_has_option(m->uri, MONGOC_URI_APPNAME)) {
        mongoc_uri_set_appname(m->uri, "mod_bizapi");
    }
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&m->turn, &attr);
    pthread_condattr_destroy(&attr);
    m->pid = getpid();
    s->data = m;
    count_stores(1);
    apr_pool_cleanup_register(s->pool, m, close_store, apr_pool_cleanup_null);
    return APR_SUCCESS;
}

mongoc_client_t *mongo_slow_client(mongo *m)
{
    mongoc_uri_t *uri = mongoc_uri_copy(m->uri);
    bson_error_t error;
    mongoc_client_t *client;

    mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SOCKETTIMEOUTMS, SLOW_MS);
    mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, BOUND_MS);
    mongoc_uri_set_option_as_bool(uri, MONGOC_URI_SERVERSELECTIONTRYONCE, false);
    client = mongoc_client_new_from_uri_with_error(uri, &error);
    mongoc_uri_destroy(uri);
    if (client) {
        mongoc_client_set_error_api(client, MONGOC_ERROR_API_VERSION_2);
    } else {
        mongo_say(m, BIZ_LOG_ERR, BZ(0249) "a client cannot be made: %s", error.message);
    }
    return client;
}
