/* job.h: one row of the outbox while it is worked on. Between worker.c, which claims and settles,
 * kinds.c, which finds out what is to be said, and channels.c, which hands it over. */
#ifndef BIZ_OUTBOX_JOB_H
#define BIZ_OUTBOX_JOB_H

#include "integrations/client.h"
#include "outbox.h"

typedef enum {
    JOB_READY, /* kinds.c: there is something to send */
    JOB_SENT,
    JOB_UNKNOWN, /* handed over, the answer was lost, and a second copy would do harm */
    JOB_DROPPED, /* there is nothing to send; no failure */
    JOB_SKIPPED, /* the channel is off */
    JOB_DEAD,    /* this row can never be sent */
    JOB_RETRY,   /* not sent: later, and it counts */
    JOB_LATER,   /* not yet: after `wait`, and it does not count */
    JOB_BUSY,    /* the provider takes nothing for `wait` (a quota): all rows of the channel wait */
    JOB_BROKEN,  /* the channel is misconfigured: all its rows wait, an operator is told */
    JOB_STORE,   /* the store failed: leave the row to its lease */
    JOB_LOST     /* the lease ended and somebody else has the row */
} job_end;

typedef struct outbox_channel outbox_channel;

typedef struct {
    apr_pool_t *pool; /* of this row */
    store *store;
    const biz_env *env;
    const biz_settings *settings;
    const mail_templates *templates;
    const unsigned char *key;
    const outbox_channel *channel;
    const char *state; /* that it was claimed in: queued, or unknown to be looked up */
    int is_off;        /* nothing will be sent: no token needs to be made */
    unsigned flags;    /* of the kind */
    apr_time_t now;
    store_doc *row;
    const char *lease; /* ours */

    /* What kinds.c finds, where it answers JOB_READY. */
    const char *to, *to_name; /* push: a device's id, NULL for all devices */
    const char *zone;         /* where the reader is */
    const char *locale;
    mail_rendered mail;              /* mail */
    const char *title, *text, *link; /* the others; text is never NULL there */

    /* What the end leaves. */
    const char *why; /* English, no secret, no address: for the log and last_error */
    const char *provider_id;
    int said;                 /* the log has a line about it already */
    apr_interval_time_t wait; /* RETRY: at least so long; LATER, BUSY: so long */
    apr_status_t status;      /* JOB_STORE */
} job;

/* The end of a row, with its reason. */
static inline job_end job_ends(job *j, job_end end, const char *why)
{
    j->why = why;
    return end;
}

static inline job_end job_store_failed(job *j, apr_status_t status)
{
    j->status = status;
    return job_ends(j, JOB_STORE, "the store failed");
}

/* ---- kinds.c ---- */

enum {
    KIND_MUST = 1, /* asks for no consent and waits for no quiet hour to end */
    KIND_TWICE = 2 /* a second copy does no harm, a missing one does */
};

/* Sets j->flags, looks up whom the row is about and makes the tokens that the mail needs. Safe to
 * repeat after a kill at any instruction: the token is sealed into the row before it is stored
 * anywhere else. */
job_end job_prepare(job *j);

/* ---- channels.c, and a file for each ---- */

struct outbox_channel {
    const char *name;
    int asks;     /* consent must have been given; else it must not have been withdrawn */
    int wakes;    /* waits for the end of quiet hours */
    int says_off; /* a skipped row is worth a line in the log */
    int lease;    /* seconds; longer than a row can take */
    /* The channel's own state, for the life of the worker; NULL and *why where it is no good. */
    void *(*open)(apr_pool_t *pool, const biz_env *env, const char **why);
    /* What stands in the log for the way it takes; "off" where it takes none. */
    const char *(*name_of)(const void *way);
    /* Whom consent is asked of; NULL: nobody. */
    const char *(*reader)(const job *j);
    job_end (*send)(void *way, job *j);
    /* What became of a row whose answer was lost, where the provider can be asked: SENT, DEAD (it
     * did not get through), RETRY (it was never taken), LATER (it cannot be asked now). Or NULL. */
    job_end (*look_up)(void *way, job *j);
    void (*rest)(void *way); /* nothing is due: connections are closed; may be NULL */
};

extern const outbox_channel *const outbox_channels[]; /* NULL ends it */
extern const outbox_channel outbox_sms, outbox_push, outbox_voice;

/* The end of a row whose call was not answered, or with a status that says nothing of the row. */
job_end job_by_client(job *j, const client_answer *answer);
/* reader(): the address it goes to; the user it is for. */
const char *job_reader_by_address(const job *j);
const char *job_reader_by_user(const job *j);
/* open(), name_of() for a channel that is one service alone and needs no state. */
const char *job_way_name(const void *way);

#endif
