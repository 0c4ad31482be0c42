/* sms.c: the channel of text messages, by Twilio. A row goes to its recipient's number, or to the
 * number of its user; consent belongs to the number. Called by worker.c. */
#include "job.h"

#include <string.h>

#include "consent.h"
#include "core/valid.h"
#include "integrations/registry.h"
#include "integrations/twilio.h"

static void *sms_open(apr_pool_t *pool, const biz_env *env, const char **why)
{
    static char on[] = "twilio", off[] = "off";

    return env->registry && env->registry->configured[INTEGRATION_TWILIO] == SERVICE_OK ? on : off;
}

/* The number will not get another one: kept, so that nobody asks Twilio again. */
static job_end never_again(job *j, job_end end, const char *source, const char *why)
{
    apr_status_t status =
        consent_say(j->store, j->pool, OUTBOX_SMS, j->to, NULL, CONSENT_WITHDRAWN, source, NULL);

    return status == APR_SUCCESS ? job_ends(j, end, why) : job_store_failed(j, status);
}

static job_end sms_send(void *way, job *j)
{
    client_answer answer;

    if (!j->to || !biz_valid_phone(j->to)) {
        return j->to ? job_ends(j, JOB_DEAD, "the number is not of the form +4930123456")
                     : job_ends(j, JOB_DROPPED, "the account has no phone number");
    }
    switch (twilio_send(j->env, j->pool, j->to, j->text, store_doc_id(j->row), &answer,
                        &j->provider_id)) {
    case TWILIO_SENT:
        return JOB_SENT;
    case TWILIO_BAD_NUMBER:
        return never_again(j, JOB_DEAD, "invalid_number", answer.error);
    case TWILIO_STOPPED:
        return never_again(j, JOB_DROPPED, "stop", "its reader has said STOP");
    case TWILIO_REFUSED:
        return job_ends(j, JOB_DEAD, answer.error);
    case TWILIO_FULL:
        return job_ends(j, JOB_BUSY, answer.error);
    case TWILIO_SENDER:
        return job_ends(j, JOB_BROKEN, answer.error);
    case TWILIO_CLIENT:
    case TWILIO_NONE:
        break;
    }
    return job_by_client(j, &answer);
}

/* The message of another row of ours, which said the same. Where that cannot be known now, none is
 * taken for ours. */
static int is_other(void *context, const char *sid)
{
    job *j = context;
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_PROVIDER_ID, sid)};
    store_query query = {.coll = COLL_OUTBOX,
                         .index = "outbox_provider_id",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = 1};
    store_doc *row;
    apr_status_t status = sid ? store_find_one(j->store, j->pool, &query, &row) : STORE_ENOENT;

    if (status != APR_SUCCESS && status != STORE_ENOENT) {
        j->status = status;
    }
    return status != STORE_ENOENT &&
           (status != APR_SUCCESS || strcmp(store_doc_id(row), store_doc_id(j->row)) != 0);
}

/* Found by its number and text among what Twilio has: the id that we would know it by is in the
 * answer that was lost. */
static job_end sms_look_up(void *way, job *j)
{
    client_answer answer;
    twilio_result result;

    if (!j->to) {
        return job_ends(j, JOB_UNKNOWN, "the number that it was sent to is not known any more");
    }
    result = twilio_find(j->env, j->pool, j->to, j->text, store_time(j->row, OUTBOX_SENT_AT),
                         is_other, j, &answer, &j->provider_id);
    if (j->status != APR_SUCCESS) {
        return job_ends(j, JOB_LATER, "the store failed");
    }
    switch (result) {
    case TWILIO_SENT:
        return JOB_SENT;
    case TWILIO_REFUSED:
        return job_ends(j, JOB_DEAD, answer.error);
    case TWILIO_NONE:
        return job_ends(j, JOB_RETRY, "it never reached Twilio");
    default:
        return job_ends(j, JOB_LATER, answer.error);
    }
}

const outbox_channel outbox_sms = {.name = OUTBOX_SMS,
                                   .asks = 1,
                                   .wakes = 1,
                                   .lease = OUTBOX_LEASE_SECONDS,
                                   .open = sms_open,
                                   .name_of = job_way_name,
                                   .reader = job_reader_by_address,
                                   .send = sms_send,
                                   .look_up = sms_look_up};
