/* worker.c: the background's side of the outbox. Rows are claimed one by one under a lease, channel
 * by channel, so that a provider that hangs or refuses holds up its own rows alone; kinds.c finds
 * out what is to be said, channels.c hands it over, and the row is settled here.
 *
 * A worker may be killed at any instruction: what it held comes due again when the lease ends, and
 * is then sent once more or found to be done. Nothing here blocks a request. */
#include <string.h>

#include <apr_strings.h>

#include "consent.h"
#include "core/log.h"
#include "core/random.h"
#include "core/str.h"
#include "core/time.h"
#include "job.h"

enum {
    LATER_SECONDS = 2,         /* until the next look at a row whose account is being made */
    BROKEN_ROW_SECONDS = 30,   /* until the row that met a broken channel is tried again */
    BROKEN_PAUSE_SECONDS = 10, /* during which nothing is tried at all */
    BUSY_SECONDS = 60,         /* the same, where a provider with a quota names no time */
    FAILURES_IN_A_ROW = 3,     /* after which it is the server, not the rows, and each further one
                                * doubles the pause ... */
    PAUSE_DOUBLED = 4,         /* ... so often at most */
    LANE_SECONDS = 5,          /* after which the next channel has its turn */
    LOOK_UP_SECONDS = 300,     /* until a lost answer is looked up; most are reported before */
    LOOK_UP_AGAIN_SECONDS = 600,
    LOOK_UP_DAYS = 1,
    ADOPT_BATCH = 500,
    CHANNELS_MAX = 8,
    ERROR_SHOWN = 300
};

/* One channel, worked. */
typedef struct {
    const outbox_channel *channel;
    void *way;
    apr_time_t paused_from, paused_until; /* both: a clock that is set back ends the pause */
    int failures;                         /* in a row */
} lane;

struct outbox {
    const biz_env *env;
    const mail_templates *templates;
    const unsigned char *key;
    lane lanes[CHANNELS_MAX];
    int n_lanes;
};

outbox *outbox_new(apr_pool_t *pool, const biz_env *env, const mail_templates *templates,
                   const unsigned char *key, const char **why)
{
    outbox *o = apr_pcalloc(pool, sizeof(*o));

    o->env = env;
    o->templates = templates;
    o->key = key;
    for (int i = 0; i < CHANNELS_MAX && outbox_channels[i]; i++) {
        lane *l = &o->lanes[o->n_lanes++];

        l->channel = outbox_channels[i];
        l->way = l->channel->open(pool, env, why);
        if (!l->way) {
            return NULL;
        }
    }
    return o;
}

/* ---- claim ---- */

/* Rows of a version without channels are mails. Looked for each time: while servers are upgraded an
 * older version goes on writing them. */
static apr_status_t adopt(outbox *o, apr_pool_t *pool)
{
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, "queued"), STORE_IS_NULL(OUTBOX_CHANNEL)};
    store_query query = {.coll = COLL_OUTBOX,
                         .index = "outbox_channel_due",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = ADOPT_BATCH};
    store_change changes[] = {STORE_SET_STR(OUTBOX_CHANNEL, OUTBOX_MAIL)};
    int changed = ADOPT_BATCH;
    apr_status_t status = APR_SUCCESS;

    while (status == APR_SUCCESS && changed == ADOPT_BATCH) {
        status = store_update_each(o->env->store, pool, &query, changes, STORE_COUNT_OF(changes),
                                   &changed);
    }
    return status;
}

/* The oldest due row in that state, leased to us, its try counted before it is run: a row that
 * kills its worker dies too in the end. To look it up is no try. */
static apr_status_t claim(outbox *o, job *j)
{
    int is_try = strcmp(j->state, "queued") == 0;
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, j->state),
                          STORE_EQ_STR(OUTBOX_CHANNEL, j->channel->name),
                          STORE_LE_TIME(OUTBOX_DUE_AT, j->now)};
    store_query query = {.coll = COLL_OUTBOX,
                         .index = "outbox_channel_due",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = 1};
    store_change changes[] = {
        STORE_SET_STR(OUTBOX_LEASE, j->lease),
        STORE_SET_TIME(OUTBOX_DUE_AT, j->now + apr_time_from_sec(j->channel->lease)),
        STORE_INC_INT(OUTBOX_TRIES, 1)};

    return store_claim(o->env->store, j->pool, &query, changes, STORE_COUNT_OF(changes) - !is_try,
                       &j->row);
}

/* ---- settle ---- */

/* The row gets a state that no try of ours changes, and the token in it is forgotten. An unknown
 * one comes due once more, where it can be looked up. */
static apr_status_t settle(job *j, const char *state)
{
    int unknown = strcmp(state, "unknown") == 0, first = strcmp(j->state, "queued") == 0;
    int handed_over = first && (unknown || strcmp(state, "sent") == 0);
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_LEASE, j->lease),
                          STORE_EQ_STR(OUTBOX_STATE, j->state)};
    store_change changes[] = {
        STORE_SET_STR(OUTBOX_STATE, state), STORE_SET_NULL(OUTBOX_LEASE),
        STORE_SET_NULL(OUTBOX_SEALED),
        STORE_SET_STR(OUTBOX_LAST_ERROR,
                      j->why ? biz_printable(j->pool, j->why, ERROR_SHOWN) : NULL),
        STORE_SET_STR(OUTBOX_PROVIDER_ID, j->provider_id),
        STORE_SET_TIME(OUTBOX_EXPIRES_AT, j->now + apr_time_from_sec(OUTBOX_KEEP_DAYS * 86400)),
        STORE_SET_TIME(OUTBOX_SENT_AT, j->now),
        STORE_SET_TIME(OUTBOX_DUE_AT, j->now + apr_time_from_sec(LOOK_UP_SECONDS)),
        /* Its user may have another number by then. */
        STORE_SET_STR(OUTBOX_RECIPIENT,
                      j->channel->look_up && j->to ? j->to : store_str(j->row, OUTBOX_RECIPIENT))};

    return store_update(j->store, j->pool, COLL_OUTBOX, store_doc_id(j->row), conds,
                        STORE_COUNT_OF(conds), changes,
                        STORE_COUNT_OF(changes) - (unknown ? 0 : 2) - !handed_over, NULL);
}

static apr_status_t put_off(job *j, apr_interval_time_t delay, int counts)
{
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_LEASE, j->lease),
                          STORE_EQ_STR(OUTBOX_STATE, j->state)};
    store_change changes[] = {
        STORE_SET_TIME(OUTBOX_DUE_AT, apr_time_now() + delay), STORE_SET_NULL(OUTBOX_LEASE),
        STORE_SET_STR(OUTBOX_LAST_ERROR,
                      j->why ? biz_printable(j->pool, j->why, ERROR_SHOWN) : NULL),
        STORE_INC_INT(OUTBOX_TRIES, -1)};

    return store_update(j->store, j->pool, COLL_OUTBOX, store_doc_id(j->row), conds,
                        STORE_COUNT_OF(conds), changes, STORE_COUNT_OF(changes) - counts, NULL);
}

/* It was never taken after all: the next try is due. */
static apr_status_t queue_again(job *j)
{
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_LEASE, j->lease),
                          STORE_EQ_STR(OUTBOX_STATE, j->state)};
    store_change changes[] = {
        STORE_SET_STR(OUTBOX_STATE, "queued"), STORE_SET_TIME(OUTBOX_DUE_AT, apr_time_now()),
        STORE_SET_NULL(OUTBOX_LEASE),          STORE_SET_NULL(OUTBOX_SENT_AT),
        STORE_SET_NULL(OUTBOX_EXPIRES_AT),     STORE_SET_STR(OUTBOX_LAST_ERROR, j->why)};

    return store_update(j->store, j->pool, COLL_OUTBOX, store_doc_id(j->row), conds,
                        STORE_COUNT_OF(conds), changes, STORE_COUNT_OF(changes), NULL);
}

static void say_skipped(outbox *o, const job *j)
{
    uint64_t held;

    if (j->channel->says_off && biz_minute(o->env->shared, BIZ_MINUTE_MAIL_OFF, &held)) {
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0601) "no mail is sent: %s %s was skipped, and %lu more since the last line; "
                         "set BizApiMail or SENDGRID_API_KEY",
                store_str(j->row, OUTBOX_KIND), store_doc_id(j->row), (unsigned long)held);
    }
}

static void say_trouble(outbox *o, const lane *l, const job *j, int broken)
{
    biz_minute_line line = (biz_minute_line)(BIZ_MINUTE_CHANNEL_DOWN + (l - o->lanes));
    uint64_t held;

    if (j->said || !biz_minute(o->env->shared, line, &held)) {
        return;
    }
    if (broken) {
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0602) "%s by %s is misconfigured and waits until that is mended: %s; %s %s "
                         "will be tried again",
                l->channel->name, l->channel->name_of(l->way), j->why,
                store_str(j->row, OUTBOX_KIND), store_doc_id(j->row));
    } else {
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0603) "%s by %s was not taken: %s; %s %s will be tried again, and %lu more "
                         "since the last line",
                l->channel->name, l->channel->name_of(l->way), j->why,
                store_str(j->row, OUTBOX_KIND), store_doc_id(j->row), (unsigned long)held);
    }
}

static void say_dead(const job *j)
{
    const char *kind = store_str(j->row, OUTBOX_KIND);

    biz_log(BIZ_LOG_WARN, 0,
            BZ(0604) "%s %s is given up after %d tries: %s; see \"bizapictl outbox list\"",
            kind ? biz_printable(j->pool, kind, 40) : "a row", store_doc_id(j->row),
            (int)store_int(j->row, OUTBOX_TRIES), j->why);
}

static void say_unknown(const job *j)
{
    biz_log(BIZ_LOG_WARN, 0,
            BZ(0605) "%s %s was handed over by %s, and the answer was lost: %s; it is not sent "
                     "again unless the provider says that it never came",
            store_str(j->row, OUTBOX_KIND), store_doc_id(j->row), j->channel->name, j->why);
}

static apr_status_t try_again(outbox *o, const lane *l, job *j)
{
    apr_interval_time_t delay;
    unsigned random;

    biz_random(&random, sizeof(random));
    delay = outbox_backoff((int)store_int(j->row, OUTBOX_TRIES), random);
    say_trouble(o, l, j, 0);
    return put_off(j, j->wait > delay ? j->wait : delay, 1);
}

/* What the end means for the row. */
static apr_status_t finish(outbox *o, const lane *l, job *j, job_end end)
{
    if (end == JOB_RETRY && store_int(j->row, OUTBOX_TRIES) >= OUTBOX_MAX_TRIES) {
        end = JOB_DEAD;
    }
    switch (end) {
    case JOB_SENT:
        return settle(j, "sent");
    case JOB_UNKNOWN:
        say_unknown(j);
        return settle(j, "unknown");
    case JOB_DROPPED:
        return settle(j, "dropped");
    case JOB_SKIPPED:
        say_skipped(o, j);
        return settle(j, "skipped");
    case JOB_DEAD:
        say_dead(j);
        return settle(j, "dead");
    case JOB_RETRY:
        return try_again(o, l, j);
    case JOB_LATER:
        return put_off(j, j->wait ? j->wait : apr_time_from_sec(LATER_SECONDS), 0);
    case JOB_BUSY:
        say_trouble(o, l, j, 0);
        return put_off(j, j->wait, 0);
    case JOB_BROKEN:
        say_trouble(o, l, j, 1);
        return put_off(j, apr_time_from_sec(BROKEN_ROW_SECONDS), 0);
    case JOB_STORE:
        return j->status;
    case JOB_READY:
    case JOB_LOST:
        break;
    }
    return APR_SUCCESS;
}

/* ... and for those behind it. A channel that fails for every row is left alone for a while: else
 * each of many rows, and each other business, would wait for the same time-out. */
static void pace(lane *l, job *j, job_end end)
{
    int failed = end == JOB_RETRY || end == JOB_UNKNOWN, more;
    apr_interval_time_t pause = 0;

    if (failed || end == JOB_SENT) {
        l->failures = failed ? l->failures + 1 : 0;
    }
    if (end == JOB_BUSY) {
        j->wait = j->wait ? j->wait : apr_time_from_sec(BUSY_SECONDS);
        pause = j->wait;
    } else if (end == JOB_BROKEN) {
        pause = apr_time_from_sec(BROKEN_PAUSE_SECONDS);
    } else if (failed && l->failures >= FAILURES_IN_A_ROW) {
        more = l->failures - FAILURES_IN_A_ROW;
        pause = apr_time_from_sec(BROKEN_PAUSE_SECONDS)
                << (more < PAUSE_DOUBLED ? more : PAUSE_DOUBLED);
    }
    if (pause) {
        l->paused_from = apr_time_now();
        l->paused_until = l->paused_from + pause;
    }
}

/* ---- one row ---- */

/* Whether its reader wants it, and wants it now. */
static job_end is_welcome(job *j)
{
    const char *reader = j->flags & KIND_MUST ? NULL : j->channel->reader(j);
    apr_status_t status;
    int may;

    if (reader) {
        status = consent_asked(j->store, j->pool, j->channel->name, reader, j->channel->asks, &may);
        if (status != APR_SUCCESS) {
            return job_store_failed(j, status);
        }
        if (!may) {
            return job_ends(j, JOB_DROPPED, "its reader has not agreed to it");
        }
    }
    if (j->channel->wakes && !(j->flags & KIND_MUST)) {
        j->wait = consent_quiet(j->settings, j->zone, j->now);
    }
    return j->wait ? job_ends(j, JOB_LATER, "its reader's quiet hours") : JOB_READY;
}

static job_end work_row(lane *l, job *j)
{
    apr_time_t not_after = store_time(j->row, OUTBOX_NOT_AFTER);
    job_end end;

    if (store_int(j->row, OUTBOX_TRIES) > OUTBOX_MAX_TRIES) {
        return job_ends(j, JOB_DEAD, "each try ended the process, or its lease ran out");
    }
    if (not_after && j->now > not_after) {
        return job_ends(j, JOB_DROPPED, "it would come too late");
    }
    end = job_prepare(j);
    if (end == JOB_READY) {
        end = j->is_off ? JOB_SKIPPED : is_welcome(j);
    }
    return end == JOB_READY ? l->channel->send(l->way, j) : end;
}

/* What is said of a row that was handed over, and not by its provider's report. */
static job_end look_up(lane *l, job *j)
{
    apr_time_t sent_at = store_time(j->row, OUTBOX_SENT_AT);

    if (!sent_at || j->now - sent_at > apr_time_from_sec(LOOK_UP_DAYS * 86400)) {
        return job_ends(j, JOB_UNKNOWN, store_str(j->row, OUTBOX_LAST_ERROR));
    }
    if (j->is_off || job_prepare(j) != JOB_READY) {
        return job_ends(j, JOB_LATER, "it cannot be looked up now");
    }
    return l->channel->look_up(l->way, j);
}

static apr_status_t looked_up(job *j, job_end end)
{
    switch (end) {
    case JOB_SENT:
        return settle(j, "sent");
    case JOB_DEAD:
        say_dead(j);
        return settle(j, "dead");
    case JOB_RETRY: /* as if it had never been tried: what was too late is dropped there */
        return queue_again(j);
    case JOB_UNKNOWN: /* for good: it is swept away before it would be due */
        return put_off(j, apr_time_from_sec(OUTBOX_KEEP_DAYS * 86400), 1);
    default:
        return put_off(j, apr_time_from_sec(LOOK_UP_AGAIN_SECONDS), 1);
    }
}

/* STORE_ENOENT where no row is due in that state. */
static apr_status_t work_one(outbox *o, lane *l, apr_pool_t *pool, const char *state)
{
    job j = {.pool = pool,
             .store = o->env->store,
             .env = o->env,
             .settings = o->env->settings,
             .templates = o->templates,
             .key = o->key,
             .channel = l->channel,
             .state = state,
             .is_off = strcmp(l->channel->name_of(l->way), "off") == 0,
             .now = apr_time_now(),
             .lease = biz_new_id(pool, "lse")};
    apr_status_t status = claim(o, &j);
    job_end end;

    if (status != APR_SUCCESS) {
        return status;
    }
    if (strcmp(state, "queued") == 0) {
        end = work_row(l, &j);
        pace(l, &j, end);
        status = finish(o, l, &j, end);
    } else {
        status = looked_up(&j, look_up(l, &j));
    }
    /* The lease ran out while we worked: whoever has the row now settles it. */
    return status == STORE_ECOND || status == STORE_ENOENT ? APR_SUCCESS : status;
}

static int is_paused(const lane *l)
{
    apr_time_t now = apr_time_now();

    return now >= l->paused_from && now < l->paused_until;
}

static apr_status_t work_lane(outbox *o, lane *l, apr_pool_t *pool, const atomic_int *stopping,
                              int *worked)
{
    apr_status_t status = APR_SUCCESS;
    int64_t end = biz_steady_now() + apr_time_from_sec(LANE_SECONDS);
    int n = 0;

    while (n < OUTBOX_BATCH && !*stopping && !is_paused(l) && biz_steady_now() < end) {
        apr_pool_clear(pool);
        status = work_one(o, l, pool, "queued");
        if (status == STORE_ENOENT && l->channel->look_up) {
            status = work_one(o, l, pool, "unknown");
        }
        if (status != APR_SUCCESS) {
            break;
        }
        n++;
    }
    if (n == 0 && l->channel->rest) {
        l->channel->rest(l->way);
    }
    *worked += n;
    return status == STORE_ENOENT ? APR_SUCCESS : status;
}

apr_status_t outbox_work(outbox *o, apr_pool_t *pool, const atomic_int *stopping, int *worked)
{
    apr_pool_t *row_pool;
    apr_status_t status;

    *worked = 0;
    if (*stopping) {
        return APR_SUCCESS;
    }
    apr_pool_create(&row_pool, pool);
    status = adopt(o, row_pool);
    for (int i = 0; i < o->n_lanes && status == APR_SUCCESS; i++) {
        status = work_lane(o, &o->lanes[i], row_pool, stopping, worked);
    }
    apr_pool_destroy(row_pool);
    return status;
}
