/* sendgrid.h: mails by SendGrid's API. What is sent is made by mail/transport.c. */
#ifndef BIZ_SENDGRID_H
#define BIZ_SENDGRID_H

#include "client.h"

typedef enum {
    SENDGRID_SENT,    /* *id: its X-Message-Id, or NULL */
    SENDGRID_REFUSED, /* this mail, for good */
    SENDGRID_CLIENT   /* answer->result and ->status tell */
} sendgrid_result;

/* `body`: the JSON of POST /v3/mail/send. */
sendgrid_result sendgrid_send(const biz_env *env, apr_pool_t *pool, const char *body, size_t len,
                              client_answer *answer, const char **id);

#endif
