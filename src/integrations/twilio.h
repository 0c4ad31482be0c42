/* twilio.h: text messages by Twilio. */
#ifndef BIZ_TWILIO_H
#define BIZ_TWILIO_H

#include "client.h"

enum { TWILIO_TEXT_MAX = 1600 /* code points; what is longer is cut */ };

typedef enum {
    TWILIO_SENT,       /* *sid */
    TWILIO_BAD_NUMBER, /* no SMS will ever reach it */
    TWILIO_STOPPED,    /* its owner said STOP */
    TWILIO_REFUSED,    /* this message, for good */
    TWILIO_FULL,       /* its own queue is full */
    TWILIO_SENDER,     /* our number may not send */
    TWILIO_NONE,       /* there is no such message */
    TWILIO_CLIENT      /* answer->result and ->status tell */
} twilio_result;

/* One message. `row`: an id that comes back with the reports about it. */
twilio_result twilio_send(const biz_env *env, apr_pool_t *pool, const char *to, const char *text,
                          const char *row, client_answer *answer, const char **sid);

/* What became of a message to `to` that was handed over at `since` and whose answer was lost:
 * TWILIO_SENT and *sid, TWILIO_REFUSED (it was taken and failed), TWILIO_NONE, TWILIO_CLIENT.
 * is_other() says of a message's id, NULL where it has none, that it is known to be another's. */
twilio_result twilio_find(const biz_env *env, apr_pool_t *pool, const char *to, const char *text,
                          apr_time_t since, int (*is_other)(void *context, const char *sid),
                          void *context, client_answer *answer, const char **sid);

#endif
