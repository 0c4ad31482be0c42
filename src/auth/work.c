/* work.c: see work.h. Called by the dispatcher and the handlers of sign-up and sign-in. What makes
 * a flood is counted in shared memory; only a solution that was used is stored. */
#include "work.h"

#include <string.h>
#include <apr_strings.h>

#include "auth.h"
#include "core/crypto.h"
#include "store/store.h"
#include "ticket.h"

#define MINUTE apr_time_from_sec(60)

/* ---- the flood ---- */

/* Whoever begins a minute clears its count; a count that is lost in between is one of sixty. */
void work_count(const biz_req *req)
{
    biz_shared *shared = req->env->shared;
    int64_t began = atomic_load(&shared->flood_minute), now = req->now;
    uint32_t count;
    uint64_t held;

    if (req->env->settings->proof_of_work != BIZ_WORK_AUTO)
        return;
    if ((now - began >= MINUTE || now < began) &&
        atomic_compare_exchange_strong(&shared->flood_minute, &began, now))
        atomic_store(&shared->flood_count, 0);
    count = atomic_fetch_add(&shared->flood_count, 1) + 1;
    if (count < WORK_FLOOD_A_MINUTE)
        return;
    atomic_store(&shared->flood_until, now + apr_time_from_sec(WORK_LASTS_SECONDS));
    if (count == WORK_FLOOD_A_MINUTE && biz_minute(shared, BIZ_MINUTE_FLOOD, &held))
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0571) "more than %d sign-ups, requests for mails and wrong passwords within a "
                         "minute: a proof of work is asked for until ten minutes after the last "
                         "such minute",
                WORK_FLOOD_A_MINUTE);
}

int work_is_wanted(const biz_req *req)
{
    int64_t until = atomic_load(&req->env->shared->flood_until);

    switch (req->env->settings->proof_of_work) {
    case BIZ_WORK_ON:
        return 1;
    case BIZ_WORK_AUTO:
        /* A clock that was set back does not make it last. */
        return until > req->now && until - req->now <= apr_time_from_sec(WORK_LASTS_SECONDS);
    default:
        return 0;
    }
}

/* ---- the work ---- */

int work_is_done(const char *text, int bits)
{
    unsigned char digest[BIZ_SHA256_LEN];
    int i;

    biz_sha256(text, strlen(text), digest);
    for (i = 0; i < bits; i++) {
        if (digest[i / 8] & (0x80 >> (i % 8)))
            return 0;
    }
    return 1;
}

biz_code work_check(biz_req *req, biz_reply *reply)
{
    const char *work = biz_field_str(req, "work"), *dot;
    apr_status_t status;
    ticket t;

    if (!work_is_wanted(req))
        return BIZ_OK;
    dot = work != NULL ? strchr(work, '.') : NULL;
    if (dot == NULL || !work_is_done(work, WORK_BITS) ||
        ticket_read(req, TICKET_WORK, apr_pstrmemdup(req->pool, work, (apr_size_t)(dot - work)),
                    &t) != APR_SUCCESS)
        return biz_fail(reply, BIZ_WORK_REQUIRED, NULL, NULL);
    status = ticket_use(req, &t);
    if (status == STORE_EEXIST)
        return biz_fail(reply, BIZ_WORK_REQUIRED, NULL, NULL);
    return status == APR_SUCCESS ? BIZ_OK : biz_fail_store(req, reply, status);
}

biz_code auth_work(biz_req *req, biz_reply *reply)
{
    reply->data = biz_json_object(req->pool);
    biz_json_set_bool(reply->data, "required", work_is_wanted(req));
    biz_json_set_str(reply->data, "challenge", ticket_make(req, TICKET_WORK, NULL, 0));
    biz_json_set_int(reply->data, "bits", WORK_BITS);
    biz_json_set_time(reply->data, "expires_at", req->now + apr_time_from_sec(TICKET_SECONDS));
    return BIZ_OK;
}
