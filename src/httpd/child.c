/* child.c: what each child process has of its own: connections to the store, the limiter's view of
 * the shared memory, the worker of the outbox. Made after the fork, before the child's threads. */
#include "glue.h"

#include <unistd.h>
#include <ap_mpm.h>
#include <apr_strings.h>

#include "audit/audit.h"
#include "auth/keys.h"
#include "core/time.h"
#include "integrations/client.h"
#include "net/http.h"
#include "slotmem.h"

APLOG_USE_MODULE(bizapi);

static int processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : n > BIZ_HASH_SLOTS ? BIZ_HASH_SLOTS : (int)n;
}

static int threads(void)
{
    int n = 1;

    ap_mpm_query(AP_MPMQ_MAX_THREADS, &n);
    return n < 1 ? 1 : n;
}

static int daemons(void)
{
    int n = 1;

    ap_mpm_query(AP_MPMQ_MAX_DAEMONS, &n);
    return n < 1 ? 1 : n;
}

static void open_limits(apr_pool_t *pchild, business *b)
{
    const char *why = NULL;

    b->limits.shared = bizapi.shared;
    b->limits.shm = limit_shm_attach(pchild, bizapi.slots, bizapi.slot_count,
                                     (const unsigned char *)bizapi.limit_secret, bizapi.shared);
    if (b->settings->redis_url != NULL &&
        limit_redis_open(&b->limits.redis, pchild, b->settings->redis_url, threads(), &why) !=
            APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, b->server,
                     BZ(1008) "Redis is not used, limits are counted on this machine alone: %s",
                     why);
}

static void open_business(apr_pool_t *pchild, business *b)
{
    store_options options = {.max_connections = threads() + 1, .must_exist = b->has_store};
    const char *why = NULL;

    b->env.settings = b->settings;
    b->env.keys = b->keys;
    b->env.registry = b->registry;
    b->env.clients = b->clients;
    clients_set_workers(b->clients, threads(), daemons());
    b->env.openapi = b->openapi;
    b->env.templates = b->templates;
    b->env.shared = bizapi.shared;
    b->env.limits = &b->limits;
    b->env.seen = bizapi.seen;
    b->env.hash_room = biz_hash_room_of(processors(), threads(), daemons());
    open_limits(pchild, b);
    /* Refused here only for a form that check_config has accepted: it cannot be. */
    if (store_open(&b->env.store, b->settings->store_url, &options, pchild, &why) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_EMERG, 0, b->server, BZ(1009) "BizApiStore %s: %s",
                     b->settings->business, why);
        exit(APEXIT_CHILDFATAL);
    }
    b->env.audit = audit_open(pchild, b->env.store, b->keys->audit);
    if (!b->works_outbox)
        return;
    b->mailer = outbox_new(pchild, &b->env, b->templates, b->keys->outbox, &why);
    if (b->mailer == NULL)
        ap_log_error(APLOG_MARK, APLOG_ERR, 0, b->server, BZ(1010) "mails are not sent: %s", why);
}

static int ends_gracefully;
static int64_t began; /* by biz_steady_now() */

/* mod_watchdog waits for those of its threads alone that have run before: one that got no processor
 * since this child began would go on in memory that is gone. */
static void let_threads_begin(void)
{
    int64_t left = began + apr_time_from_msec(300) - biz_steady_now();

    if (left > 0)
        apr_sleep(left);
}

static int call_has_to_end(void)
{
    return bizapi_signals_wait() || bizapi_background_is_cut();
}

/* The child's threads have ended: nobody waits any more for what is still done here. The watchdog's
 * thread is waited for in any case after this, so what a silent server holds up is cut: the row
 * knows how far it came. */
static apr_status_t background_ends(void *unused)
{
    let_threads_begin();
    if (!ends_gracefully)
        return APR_SUCCESS;
    bizapi_background_stop(apr_time_from_sec(20));
    bizapi_background_cut();
    bizapi_background_stop(apr_time_from_msec(1500));
    return APR_SUCCESS;
}

void bizapi_child_init(apr_pool_t *pchild, server_rec *main)
{
    apr_status_t status;
    int i;

    began = biz_steady_now();
    bizapi_log_to(main);
    biz_json_init();
    net_stop_when(call_has_to_end);
    apr_pool_pre_cleanup_register(pchild, NULL, background_ends);
    status = net_init(pchild);
    if (status != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_ERR, status, main,
                     BZ(1011) "libcurl cannot be used: mails over the network are not sent");
    bizapi_slotmem_touch(bizapi.slots, (size_t)bizapi.slot_count * LIMIT_SLOT_BYTES);
    for (i = 0; i < bizapi.businesses->nelts; i++)
        open_business(pchild, APR_ARRAY_IDX(bizapi.businesses, i, business *));
}

/* A graceful end is said before the child's requests are served, at MaxConnectionsPerChild by the
 * thread that listens for all of them: their calls to providers go on, and nothing is waited for
 * here (background_ends). For a hard one Apache sends SIGTERM again after 3 s and kills at 9. */
void bizapi_child_stopping(apr_pool_t *pchild, int graceful)
{
    ends_gracefully = graceful;
    if (graceful) {
        bizapi_background_stop(0);
        return;
    }
    bizapi_background_stop(apr_time_from_sec(1));
    net_stop();
    bizapi_background_stop(apr_time_from_msec(1500));
}
