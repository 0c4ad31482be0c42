/* channels.c: the one table of ways for a row to leave, and the first of them, mail. The others
 * have a file each. Called by worker.c. To add a channel: a file with its functions, a line below.
 */
#include <string.h>

#include <apr_strings.h>

#include "consent.h"
#include "integrations/sendgrid.h"
#include "job.h"

/* ---- what several share ---- */

const char *job_reader_by_address(const job *j)
{
    return j->to;
}

const char *job_reader_by_user(const job *j)
{
    return store_str(j->row, OUTBOX_USER_ID);
}

const char *job_way_name(const void *way)
{
    return way;
}

/* A status of 500 and above is a word that it was not taken, unless the provider can be asked; what
 * stands behind a gateway may have taken it all the same. Silence is none. */
job_end job_by_client(job *j, const client_answer *a)
{
    j->why = a->error;
    j->wait = apr_time_from_sec(a->retry_after);
    j->said = 1; /* client.c has told what is wrong with the provider */
    switch (a->result) {
    case CLIENT_MISCONFIGURED:
        return JOB_BROKEN;
    case CLIENT_LIMITED:
    case CLIENT_PAUSED:
        return JOB_BUSY;
    case CLIENT_BUSY:
        return JOB_LATER;
    case CLIENT_UNKNOWN:
        return (a->status >= 500 && !j->channel->look_up) || (j->flags & KIND_TWICE) ? JOB_RETRY
                                                                                     : JOB_UNKNOWN;
    case CLIENT_FAILED:
    case CLIENT_ANSWERED:
        break;
    }
    return JOB_RETRY;
}

/* ---- mail ---- */

/* The sender with the business's name, where the configuration gives the address alone. */
static const char *sender(const job *j)
{
    const char *from = j->settings->mail_from;

    return from && !strchr(from, '<')
               ? apr_pstrcat(j->pool, biz_brand(j->settings, "name", j->settings->server_name),
                             " <", from, ">", NULL)
               : from;
}

static void *mail_open(apr_pool_t *pool, const biz_env *env, const char **why)
{
    return mail_transport_new(pool, env->settings, why);
}

static const char *mail_name(const void *way)
{
    return mail_transport_name(way);
}

static job_end mail_end(const job *j, mail_result result)
{
    switch (result) {
    case MAIL_SENT:
        return JOB_SENT;
    case MAIL_RETRY:
        return JOB_RETRY;
    case MAIL_REFUSED:
        return JOB_DEAD;
    case MAIL_OFF:
        return JOB_SKIPPED;
    case MAIL_POST:
    case MAIL_BROKEN:
        break;
    }
    return JOB_BROKEN;
}

static job_end post_mail(job *j, const char *post)
{
    client_answer answer;

    switch (sendgrid_send(j->env, j->pool, post, strlen(post), &answer, &j->provider_id)) {
    case SENDGRID_SENT:
        return JOB_SENT;
    case SENDGRID_REFUSED:
        return job_ends(j, JOB_DEAD, answer.error);
    case SENDGRID_CLIENT:
        break;
    }
    return job_by_client(j, &answer);
}

/* Whoever can do without a mail can say so with one click. */
static job_end add_link(job *j, mail_rendered *rendered)
{
    apr_status_t status;

    if (j->flags & KIND_MUST) {
        return JOB_READY;
    }
    status = consent_links(j->store, j->pool, j->settings, j->key, OUTBOX_MAIL, j->to,
                           store_str(j->row, OUTBOX_USER_ID), &rendered->unsubscribe_url, NULL);
    return status == APR_SUCCESS ? JOB_READY : job_store_failed(j, status);
}

static job_end mail_leaves(void *way, job *j)
{
    mail_envelope envelope = {.id = store_doc_id(j->row),
                              .from = sender(j),
                              .to = j->to,
                              .to_name = j->to_name,
                              .reply_to =
                                  mail_address_of(j->pool, biz_brand(j->settings, "email", NULL)),
                              .date = store_time(j->row, STORE_CREATED_AT)};
    mail_result result;
    const char *post;

    if (add_link(j, &j->mail) != JOB_READY) {
        return JOB_STORE;
    }
    result = mail_send(way, j->pool, &envelope, &j->mail, &post, &j->why);
    return result == MAIL_POST ? post_mail(j, post) : mail_end(j, result);
}

static void mail_rest(void *way)
{
    mail_transport_rest(way);
}

/* ---- the table ---- */

static const outbox_channel mail = {.name = OUTBOX_MAIL,
                                    .says_off = 1,
                                    .lease = OUTBOX_LEASE_SECONDS,
                                    .open = mail_open,
                                    .name_of = mail_name,
                                    .reader = job_reader_by_address,
                                    .send = mail_leaves,
                                    .rest = mail_rest};

const outbox_channel *const outbox_channels[] = {&mail, &outbox_sms, &outbox_push, &outbox_voice,
                                                 NULL};
