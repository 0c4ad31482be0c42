/* job.h: one row of the outbox while it is worked on. Between outbox.c, which claims and settles,
 * and kinds.c, which finds out what is to be sent. */
#ifndef BIZ_OUTBOX_JOB_H
#define BIZ_OUTBOX_JOB_H

#include "outbox.h"

typedef enum {
    JOB_READY, /* kinds.c: there is a mail to send */
    JOB_SENT,
    JOB_DROPPED, /* there is nothing to send; no failure */
    JOB_SKIPPED, /* no transport is configured */
    JOB_DEAD,    /* this row can never be sent */
    JOB_RETRY,   /* not sent: later, and it counts */
    JOB_LATER,   /* not yet: later, and it does not count */
    JOB_STORE,   /* the store failed: leave the row to its lease */
    JOB_LOST     /* the lease ended and somebody else has the row */
} job_end;

typedef struct {
    apr_pool_t *pool; /* of this row */
    store *store;
    const biz_settings *settings;
    const mail_templates *templates;
    const unsigned char *key;
    int mail_is_off;
    apr_time_t now;
    store_doc *row;
    const char *lease; /* ours */

    /* What kinds.c finds, where it answers JOB_READY. */
    const char *template, *locale;
    const char *to, *to_name;
    apr_table_t *values;

    const char *why;     /* English, no secret, no address: for the log and last_error */
    apr_status_t status; /* JOB_STORE */
} job;

/* Looks up whom the row is about and makes the tokens that the mail needs. Safe to repeat after a
 * kill at any instruction: the token is sealed into the row before it is stored anywhere else. */
job_end job_prepare(job *j);

#endif
