/* outbox.c: the queue of everything that only notifies. Requests put rows in; the background thread
 * claims them one by one under a lease, lets kinds.c find out what is to be sent, sends, and
 * settles.
 *
 * A worker may be killed at any instruction: what it held comes due again when the lease ends, and
 * is then sent once more or found to be done. Nothing here blocks a request. */
#include "outbox.h"

#include <string.h>

#include <apr_strings.h>

#include "core/log.h"
#include "core/random.h"
#include "core/str.h"
#include "job.h"

enum {
    LATER_SECONDS = 2,         /* until the next look at a row whose account is being made */
    BROKEN_ROW_SECONDS = 30,   /* until the row that met a broken transport is tried again */
    BROKEN_PAUSE_SECONDS = 10, /* during which nothing is tried at all */
    FAILURES_IN_A_ROW = 3,     /* after which it is the server, not the mails */
    KEEP_DAYS = 30,            /* settled rows are kept for the operator to see */
    BACKOFF_FIRST = 30,
    BACKOFF_LAST = 6 * 3600,
    ERROR_SHOWN = 300
};

struct outbox {
    store *store;
    const biz_settings *settings;
    const mail_templates *templates;
    const unsigned char *key;
    biz_shared *shared;
    mail_transport *transport;
    apr_time_t paused_until;
    int failures; /* in a row */
};

/* ---- for those who write rows ---- */

apr_status_t outbox_put(store *s, apr_pool_t *pool, const char *kind, const char *recipient,
                        const char *user_id, biz_json *data)
{
    store_doc *row = store_doc_new(pool, COLL_OUTBOX);

    store_set_str(row, OUTBOX_KIND, kind);
    store_set_str(row, OUTBOX_STATE, "queued");
    store_set_time(row, OUTBOX_DUE_AT, apr_time_now());
    store_set_int(row, OUTBOX_TRIES, 0);
    store_set_str(row, OUTBOX_RECIPIENT, recipient);
    store_set_str(row, OUTBOX_USER_ID, user_id);
    store_set_str(row, OUTBOX_DATA, data ? biz_json_text(pool, data, NULL) : NULL);
    return store_insert(s, pool, row, NULL);
}

apr_status_t outbox_retry(store *s, apr_pool_t *pool, const char *id)
{
    apr_time_t now = apr_time_now();
    const char *state, *lease;
    store_doc *row;
    apr_status_t status = store_get(s, pool, COLL_OUTBOX, id, &row);

    if (status != APR_SUCCESS) {
        return status;
    }
    state = store_str(row, OUTBOX_STATE);
    lease = store_str(row, OUTBOX_LEASE);
    if (!state || strcmp(state, "sent") == 0 || (lease && store_time(row, OUTBOX_DUE_AT) > now)) {
        return STORE_ECOND;
    }
    {
        store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, state), STORE_EQ_STR(OUTBOX_LEASE, lease)};
        store_change changes[] = {STORE_SET_STR(OUTBOX_STATE, "queued"),
                                  STORE_SET_TIME(OUTBOX_DUE_AT, now),
                                  STORE_SET_INT(OUTBOX_TRIES, 0), STORE_SET_NULL(OUTBOX_LEASE),
                                  STORE_SET_NULL(OUTBOX_EXPIRES_AT)};

        return store_update(s, pool, COLL_OUTBOX, id, conds, STORE_COUNT_OF(conds), changes,
                            STORE_COUNT_OF(changes), NULL);
    }
}

apr_interval_time_t outbox_backoff(int tries, unsigned random)
{
    apr_interval_time_t seconds = BACKOFF_FIRST;

    for (int i = 1; i < tries && seconds < BACKOFF_LAST; i++) {
        seconds *= 2;
    }
    if (seconds > BACKOFF_LAST) {
        seconds = BACKOFF_LAST;
    }
    /* 80 % to 120 %, in thousandths. */
    return apr_time_from_sec(seconds) / 1000 * (800 + random % 401);
}

/* ---- the worker ---- */

outbox *outbox_new(apr_pool_t *pool, store *s, const biz_settings *settings,
                   const mail_templates *templates, const unsigned char *key, biz_shared *shared,
                   const char **why)
{
    outbox *o = apr_pcalloc(pool, sizeof(*o));

    o->store = s;
    o->settings = settings;
    o->templates = templates;
    o->key = key;
    o->shared = shared;
    o->transport = mail_transport_new(pool, settings, why);
    return o->transport ? o : NULL;
}

/* The oldest due row, leased to us, its try counted before it is run: a row that kills its worker
 * dies too in the end. */
static apr_status_t claim(outbox *o, job *j)
{
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, "queued"),
                          STORE_LE_TIME(OUTBOX_DUE_AT, j->now)};
    store_query query = {.coll = COLL_OUTBOX,
                         .index = "outbox_due",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = 1};
    store_change changes[] = {
        STORE_SET_STR(OUTBOX_LEASE, j->lease),
        STORE_SET_TIME(OUTBOX_DUE_AT, j->now + apr_time_from_sec(OUTBOX_LEASE_SECONDS)),
        STORE_INC_INT(OUTBOX_TRIES, 1)};

    return store_claim(o->store, j->pool, &query, changes, STORE_COUNT_OF(changes), &j->row);
}

/* The sender with the business's name, where the configuration gives the address alone. */
static const char *sender(const outbox *o, apr_pool_t *pool)
{
    const char *from = o->settings->mail_from;

    return from && !strchr(from, '<')
               ? apr_pstrcat(pool, biz_brand(o->settings, "name", o->settings->server_name), " <",
                             from, ">", NULL)
               : from;
}

static job_end send_mail(outbox *o, job *j, const char **provider_id, int *broken)
{
    mail_envelope envelope = {.id = store_doc_id(j->row),
                              .from = sender(o, j->pool),
                              .to = j->to,
                              .to_name = j->to_name,
                              .reply_to =
                                  mail_address_of(j->pool, biz_brand(o->settings, "email", NULL)),
                              .date = store_time(j->row, STORE_CREATED_AT)};
    mail_rendered rendered;

    if (mail_render(j->pool, j->templates, o->settings, j->template, j->locale, j->values,
                    &rendered, &j->why) != APR_SUCCESS) {
        return JOB_DEAD;
    }
    switch (mail_send(o->transport, j->pool, &envelope, &rendered, provider_id, &j->why)) {
    case MAIL_SENT:
        return JOB_SENT;
    case MAIL_RETRY:
        return JOB_RETRY;
    case MAIL_REFUSED:
        return JOB_DEAD;
    case MAIL_OFF:
        return JOB_SKIPPED;
    case MAIL_BROKEN:
        break;
    }
    *broken = 1;
    return JOB_LATER;
}

/* The row gets a final state, and the token in it is forgotten. */
static apr_status_t settle(outbox *o, job *j, const char *state, const char *provider_id)
{
    int sent = strcmp(state, "sent") == 0;
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_LEASE, j->lease),
                          STORE_EQ_STR(OUTBOX_STATE, "queued")};
    store_change changes[] = {
        STORE_SET_STR(OUTBOX_STATE, state),
        STORE_SET_NULL(OUTBOX_LEASE),
        STORE_SET_NULL(OUTBOX_SEALED),
        STORE_SET_STR(OUTBOX_LAST_ERROR,
                      j->why ? biz_printable(j->pool, j->why, ERROR_SHOWN) : NULL),
        STORE_SET_STR(OUTBOX_PROVIDER_ID, provider_id),
        STORE_SET_TIME(OUTBOX_EXPIRES_AT, j->now + apr_time_from_sec(KEEP_DAYS * 86400)),
        STORE_SET_TIME(OUTBOX_SENT_AT, j->now)};

    return store_update(o->store, j->pool, COLL_OUTBOX, store_doc_id(j->row), conds,
                        STORE_COUNT_OF(conds), changes, STORE_COUNT_OF(changes) - !sent, NULL);
}

static apr_status_t put_off(outbox *o, job *j, apr_interval_time_t delay, int counts)
{
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_LEASE, j->lease),
                          STORE_EQ_STR(OUTBOX_STATE, "queued")};
    store_change changes[] = {
        STORE_SET_TIME(OUTBOX_DUE_AT, apr_time_now() + delay), STORE_SET_NULL(OUTBOX_LEASE),
        STORE_SET_STR(OUTBOX_LAST_ERROR,
                      j->why ? biz_printable(j->pool, j->why, ERROR_SHOWN) : NULL),
        STORE_INC_INT(OUTBOX_TRIES, -1)};

    return store_update(o->store, j->pool, COLL_OUTBOX, store_doc_id(j->row), conds,
                        STORE_COUNT_OF(conds), changes, STORE_COUNT_OF(changes) - counts, NULL);
}

static void say_skipped(outbox *o, const job *j)
{
    uint64_t held;

    if (biz_minute(o->shared, BIZ_MINUTE_MAIL_OFF, &held)) {
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0601) "no mail is sent: %s %s was skipped, and %lu more since the last line; "
                         "set BizApiMail or SENDGRID_API_KEY",
                store_str(j->row, OUTBOX_KIND), store_doc_id(j->row), (unsigned long)held);
    }
}

static void say_trouble(outbox *o, const job *j, int broken)
{
    uint64_t held;

    if (!biz_minute(o->shared, BIZ_MINUTE_MAIL_DOWN, &held)) {
        return;
    }
    if (broken) {
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0602) "mail by %s is misconfigured and waits until that is mended: %s; %s %s "
                         "will be tried again",
                mail_transport_name(o->transport), j->why, store_str(j->row, OUTBOX_KIND),
                store_doc_id(j->row));
    } else {
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0603) "mail by %s was not taken: %s; %s %s will be tried again, and %lu more "
                         "since the last line",
                mail_transport_name(o->transport), j->why, store_str(j->row, OUTBOX_KIND),
                store_doc_id(j->row), (unsigned long)held);
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

/* What the end means for the row, and for those behind it. */
static apr_status_t finish(outbox *o, job *j, job_end end, const char *provider_id, int broken)
{
    int tries = (int)store_int(j->row, OUTBOX_TRIES);
    apr_interval_time_t wait = mail_transport_wait(o->transport), delay;
    unsigned random;

    if (end == JOB_RETRY && tries >= OUTBOX_MAX_TRIES) {
        end = JOB_DEAD;
    }
    switch (end) {
    case JOB_SENT:
        return settle(o, j, "sent", provider_id);
    case JOB_DROPPED:
        return settle(o, j, "dropped", NULL);
    case JOB_SKIPPED:
        say_skipped(o, j);
        return settle(o, j, "skipped", NULL);
    case JOB_DEAD:
        say_dead(j);
        return settle(o, j, "dead", NULL);
    case JOB_RETRY:
        biz_random(&random, sizeof(random));
        delay = outbox_backoff(tries, random);
        say_trouble(o, j, 0);
        return put_off(o, j, wait > delay ? wait : delay, 1);
    case JOB_LATER:
        if (broken) {
            say_trouble(o, j, 1);
        }
        return put_off(o, j, apr_time_from_sec(broken ? BROKEN_ROW_SECONDS : LATER_SECONDS), 0);
    case JOB_STORE:
        return j->status;
    case JOB_READY:
    case JOB_LOST:
        break;
    }
    return APR_SUCCESS;
}

/* A transport that fails for every mail is left alone for a while: else each of many rows would
 * wait for the same time-out. */
static void pace(outbox *o, job_end end, int broken)
{
    o->failures = end == JOB_RETRY ? o->failures + 1 : end == JOB_SENT ? 0 : o->failures;
    if (broken || o->failures >= FAILURES_IN_A_ROW) {
        o->paused_until = apr_time_now() + apr_time_from_sec(BROKEN_PAUSE_SECONDS);
        o->failures = 0;
    }
}

/* STORE_ENOENT where no row is due. */
static apr_status_t work_one(outbox *o, apr_pool_t *pool)
{
    job j = {.pool = pool,
             .store = o->store,
             .settings = o->settings,
             .templates = o->templates,
             .key = o->key,
             .mail_is_off = strcmp(mail_transport_name(o->transport), "off") == 0,
             .now = apr_time_now(),
             .lease = biz_new_id(pool, "lse")};
    const char *provider_id = NULL;
    int broken = 0;
    job_end end;
    apr_status_t status = claim(o, &j);

    if (status != APR_SUCCESS) {
        return status;
    }
    if (store_int(j.row, OUTBOX_TRIES) > OUTBOX_MAX_TRIES) {
        j.why = "each try ended the process, or its lease ran out";
        end = JOB_DEAD;
    } else {
        end = job_prepare(&j);
    }
    if (end == JOB_READY) {
        end = send_mail(o, &j, &provider_id, &broken);
    }
    pace(o, end, broken);
    status = finish(o, &j, end, provider_id, broken);
    /* The lease ran out while we worked: whoever has the row now settles it. */
    return status == STORE_ECOND || status == STORE_ENOENT ? APR_SUCCESS : status;
}

apr_status_t outbox_work(outbox *o, apr_pool_t *pool, const volatile int *stopping, int *worked)
{
    apr_pool_t *row_pool;
    apr_status_t status = APR_SUCCESS;

    *worked = 0;
    apr_pool_create(&row_pool, pool);
    while (*worked < OUTBOX_BATCH && !*stopping && apr_time_now() >= o->paused_until) {
        apr_pool_clear(row_pool);
        status = work_one(o, row_pool);
        if (status != APR_SUCCESS) {
            break;
        }
        ++*worked;
    }
    apr_pool_destroy(row_pool);
    if (*worked == 0) {
        mail_transport_rest(o->transport);
    }
    return status == STORE_ENOENT ? APR_SUCCESS : status;
}
