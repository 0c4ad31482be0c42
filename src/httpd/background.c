/* background.c: the second hand. mod_watchdog calls once a second in one thread of one child; each
 * call works the due rows of the outbox and, once a minute, sweeps what has expired.
 *
 * Two generations (or two machines) may do this at the same time: rows are claimed by lease. A
 * child that ends asks the job to stop and waits for it, because a callback in flight would
 * otherwise be killed between sending a mail and noting that it was sent. */
#include "glue.h"

#include <mod_watchdog.h>

APLOG_USE_MODULE(bizapi);

enum { SWEEP_SECONDS = 60, SWEEP_BATCH = 500 };

static volatile int stopping;
static volatile int working;

void bizapi_background_stop(apr_interval_time_t wait)
{
    apr_interval_time_t waited = 0;

    stopping = 1;
    for (; working && waited < wait; waited += apr_time_from_msec(10))
        apr_sleep(apr_time_from_msec(10));
}

static void sweep(apr_pool_t *pool, store *s)
{
    int removed;

    do {
        if (store_sweep(s, pool, apr_time_now(), SWEEP_BATCH, &removed) != APR_SUCCESS)
            return; /* the store has said why */
    } while (removed == SWEEP_BATCH && !stopping);
}

static apr_status_t tick(int state, void *data, apr_pool_t *pool)
{
    static apr_time_t swept;
    int i, worked, sweep_now = apr_time_now() - swept > apr_time_from_sec(SWEEP_SECONDS);

    if (state != AP_WATCHDOG_STATE_RUNNING || stopping)
        return APR_SUCCESS;
    working = 1;
    for (i = 0; i < bizapi.businesses->nelts && !stopping; i++) {
        business *b = APR_ARRAY_IDX(bizapi.businesses, i, business *);

        if (b->mailer != NULL)
            outbox_work(b->mailer, pool, &stopping, &worked);
        if (sweep_now && b->works_outbox)
            sweep(pool, b->env.store);
    }
    if (sweep_now)
        swept = apr_time_now();
    working = 0;
    return APR_SUCCESS;
}

apr_status_t bizapi_background_register(apr_pool_t *pconf, server_rec *main)
{
    APR_OPTIONAL_FN_TYPE(ap_watchdog_get_instance) *get =
        APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance);
    APR_OPTIONAL_FN_TYPE(ap_watchdog_register_callback) *enter =
        APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_register_callback);
    ap_watchdog_t *watchdog;
    apr_status_t status;

    if (get == NULL || enter == NULL)
        return APR_ENOTIMPL;
    status = get(&watchdog, "_bizapi_", 0, 1, pconf);
    if (status == APR_SUCCESS)
        status = enter(watchdog, AP_WD_TM_INTERVAL, NULL, tick);
    return status;
}
