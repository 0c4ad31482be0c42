/* background.c: the second hands. mod_watchdog calls each once a second in one thread of one child;
 * a call runs the jobs of the table below that are due. Each business has a hand of its own, so
 * that a provider or a store that hangs holds up its own business; of many some share one.
 *
 * Two generations (or two machines) may do this at the same time: what a job takes it claims by
 * lease. A child that ends asks the job to stop and waits for it, because a callback in flight
 * would otherwise be killed between sending a mail and noting that it was sent. */
#include "glue.h"

#include <stdatomic.h>
#include <apr_network_io.h>
#include <apr_strings.h>
#include <mod_watchdog.h>

#include "audit/audit.h"
#include "integrations/webhook.h"
#include "integrations/elevenlabs.h"
#include "auth/act.h"
#include "auth/keywatch.h"

APLOG_USE_MODULE(bizapi);

/* No tick goes on for longer while others wait for their turn. */
enum { SWEEP_SECONDS = 60, SWEEP_BATCH = 500, SWEEP_FILES_SECONDS = 3600, TURN_SECONDS = 5 };

/* Of each hand every child has a thread, which sleeps in all of them but one. */
enum { HANDS_MAX = 8 };

static atomic_int stopping, working, is_cut; /* working: how many hands are */
static _Thread_local int is_worker;          /* the thread that works, while it does */

void bizapi_background_stop(apr_interval_time_t wait)
{
    apr_interval_time_t waited = 0;

    stopping = 1;
    for (; working && waited < wait; waited += apr_time_from_msec(10))
        apr_sleep(apr_time_from_msec(10));
}

void bizapi_background_cut(void)
{
    is_cut = 1;
}

int bizapi_background_is_cut(void)
{
    return is_cut && is_worker;
}

/* ---- the jobs ---- 1: there is more to do at once */

static int work_outbox(business *b, apr_pool_t *pool)
{
    int worked = 0;

    if (b->mailer != NULL)
        outbox_work(b->mailer, pool, &stopping, &worked);
    return worked >= OUTBOX_BATCH;
}

static int work_webhooks(business *b, apr_pool_t *pool)
{
    int worked = 0;

    webhook_work(b->env.store, pool, &stopping, &worked);
    return worked >= WEBHOOK_BATCH;
}

/* What changes have left to tell whose worker was killed, or whose store went away. */
static int tell_left(business *b, apr_pool_t *pool)
{
    const act_by by = {.store = b->env.store, .pool = pool, .audit = b->env.audit};
    int told = 0;

    return act_tell_left(&by, apr_time_now() - apr_time_from_sec(ACT_REST_SECONDS), &told) ==
               APR_SUCCESS &&
           told >= ACT_BATCH;
}

static int sweep(business *b, apr_pool_t *pool)
{
    int removed = 0;

    return store_sweep(b->env.store, pool, apr_time_now(), SWEEP_BATCH, &removed) == APR_SUCCESS &&
           removed == SWEEP_BATCH; /* the store says itself what is wrong with it */
}

static int sweep_audit(business *b, apr_pool_t *pool)
{
    int days = b->settings->audit_days, removed = 0;

    return days > 0 &&
           audit_sweep(b->env.audit, pool, apr_time_now() - apr_time_from_sec(days * 86400LL),
                       SWEEP_BATCH, &removed) == APR_SUCCESS &&
           removed == SWEEP_BATCH;
}

static int sweep_voice(business *b, apr_pool_t *pool)
{
    voice_sweep(pool, b->settings, apr_time_now());
    return 0;
}

static int watch_keys(business *b, apr_pool_t *pool)
{
    char host[APRMAXHOSTLEN + 1];

    if (apr_gethostname(host, sizeof(host), pool) == APR_SUCCESS)
        biz_keys_watch(b->env.store, pool, b->keys,
                       apr_pstrcat(pool, host, ":", b->settings->state_dir, NULL));
    return 0;
}

static const struct {
    int seconds; /* between two runs; 0: each tick */
    int (*run)(business *b, apr_pool_t *pool);
} jobs[] = {{0, work_webhooks},
            {0, tell_left},
            {0, work_outbox},
            {SWEEP_SECONDS, sweep},
            {SWEEP_SECONDS, sweep_audit},
            {SWEEP_FILES_SECONDS, sweep_voice},
            {KEYWATCH_SECONDS, watch_keys}};

enum { JOBS = sizeof(jobs) / sizeof(jobs[0]) };

typedef struct {
    int number;
    apr_time_t ran[JOBS];
} hand;

static hand hands[HANDS_MAX];
static int n_hands;

/* One job for one business, again and again while it has more to do, until its turn is over. */
static void run(int job, business *b, apr_pool_t *pool)
{
    apr_time_t end = apr_time_now() + apr_time_from_sec(TURN_SECONDS);
    apr_pool_t *own;
    int more;

    apr_pool_create(&own, pool);
    do {
        more = jobs[job].run(b, own);
        apr_pool_clear(own);
    } while (more && !stopping && apr_time_now() < end);
    apr_pool_destroy(own);
}

/* Of each job due, for the businesses of this hand. */
static void turn(hand *h, apr_pool_t *pool)
{
    int i, job, worked;

    for (job = 0; job < JOBS && !stopping; job++) {
        apr_time_t now = apr_time_now();

        /* A clock that was set back makes nothing wait. */
        if (now >= h->ran[job] && now - h->ran[job] < apr_time_from_sec(jobs[job].seconds))
            continue;
        h->ran[job] = now;
        for (i = worked = 0; i < bizapi.businesses->nelts && !stopping; i++) {
            business *b = APR_ARRAY_IDX(bizapi.businesses, i, business *);

            if (b->works_outbox && worked++ % n_hands == h->number)
                run(job, b, pool);
        }
    }
}

static apr_status_t tick(int state, void *data, apr_pool_t *pool)
{
    if (state != AP_WATCHDOG_STATE_RUNNING)
        return APR_SUCCESS;
    is_worker = 1;
    working++;
    turn(data, pool); /* nothing where a stop was asked for */
    working--;
    is_worker = 0;
    return APR_SUCCESS;
}

static int count_worked(void)
{
    int i, n = 0;

    for (i = 0; i < bizapi.businesses->nelts; i++)
        n += APR_ARRAY_IDX(bizapi.businesses, i, business *)->works_outbox;
    return n;
}

apr_status_t bizapi_background_register(apr_pool_t *pconf, server_rec *main)
{
    APR_OPTIONAL_FN_TYPE(ap_watchdog_get_instance) *get =
        APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_get_instance);
    APR_OPTIONAL_FN_TYPE(ap_watchdog_register_callback) *enter =
        APR_RETRIEVE_OPTIONAL_FN(ap_watchdog_register_callback);
    apr_status_t status = APR_SUCCESS;
    int i;

    if (get == NULL || enter == NULL)
        return APR_ENOTIMPL;
    n_hands = count_worked() < HANDS_MAX ? count_worked() : HANDS_MAX;
    for (i = 0; i < n_hands && status == APR_SUCCESS; i++) {
        ap_watchdog_t *watchdog;

        hands[i].number = i;
        status = get(&watchdog, apr_psprintf(pconf, "_bizapi_%d_", i), 0, 1, pconf);
        if (status == APR_SUCCESS)
            status = enter(watchdog, AP_WD_TM_INTERVAL, &hands[i], tick);
    }
    return status;
}
