/* channels.c: the one table of ways for a row to leave, and the first of them, mail. The others
 * have a file each. Called by worker.c. To add a channel: a file with its functions, a line below.
 */
#include <string.h>

#include <apr_strings.h>

#include "job.h"

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

static void *mail_open(apr_pool_t *pool, const biz_settings *settings, const char **why)
{
    return mail_transport_new(pool, settings, why);
}

static const char *mail_name(const void *way)
{
    return mail_transport_name(way);
}

static const char *reader_by_address(const job *j)
{
    return j->to;
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
    case MAIL_BROKEN:
        break;
    }
    return JOB_BROKEN;
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
    mail_rendered rendered;
    mail_result result;

    if (mail_render(j->pool, j->templates, j->settings, j->template, j->locale, j->values,
                    &rendered, &j->why) != APR_SUCCESS) {
        return JOB_DEAD;
    }
    result = mail_send(way, j->pool, &envelope, &rendered, &j->provider_id, &j->why);
    j->wait = mail_transport_wait(way);
    return mail_end(j, result);
}

static void mail_rest(void *way)
{
    mail_transport_rest(way);
}

/* ---- the table ---- */

const outbox_channel outbox_channels[] = {{.name = OUTBOX_MAIL,
                                           .says_off = 1,
                                           .lease = OUTBOX_LEASE_SECONDS,
                                           .open = mail_open,
                                           .name_of = mail_name,
                                           .reader = reader_by_address,
                                           .send = mail_leaves,
                                           .rest = mail_rest},
                                          {.name = NULL}};
