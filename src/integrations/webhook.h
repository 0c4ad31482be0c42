/* webhook.h: what providers tell us. A request is believed by its signature, stored, and answered;
 * what it means is worked out later by the background, so that a slow store or a mistake of ours
 * never makes a provider repeat itself, and nothing that it said is lost.
 *
 * States of an event: received -> done | ignored (of a type that concerns nobody here) | unhandled
 * (it concerns a part of the product that is not there: kept without an end, to be replayed) |
 * dead (10 tries). The same event again is answered 200 and changes nothing. */
#ifndef BIZ_WEBHOOK_H
#define BIZ_WEBHOOK_H

#include <stdatomic.h>

#include "core/biz.h"
#include "store/store.h"

enum {
    WEBHOOK_BODY_MAX = 1024 * 1024,
    WEBHOOK_BATCH = 50,
    WEBHOOK_MAX_TRIES = 10,
    WEBHOOK_KEEP_DAYS = 90
};

/* The handlers. */
biz_code webhook_stripe(biz_req *req, biz_reply *reply);
biz_code webhook_twilio_status(biz_req *req, biz_reply *reply);
biz_code webhook_twilio_inbound(biz_req *req, biz_reply *reply);
biz_code webhook_sendgrid(biz_req *req, biz_reply *reply);

/* The background: works up to WEBHOOK_BATCH events that were received; *worked counts them. */
apr_status_t webhook_work(store *s, apr_pool_t *pool, const atomic_int *stopping, int *worked);

/* To be worked again, whatever became of it. STORE_ECOND while it is being worked on. */
apr_status_t webhook_replay(store *s, apr_pool_t *pool, const char *id);

/* What an event means, between webhook_work() and webhook_apply.c. */
typedef enum { EVENT_DONE, EVENT_IGNORED, EVENT_UNHANDLED, EVENT_BAD, EVENT_LATER } event_end;
/* `why` for EVENT_BAD; *status for EVENT_LATER, where the store failed. */
event_end webhook_apply(store *s, apr_pool_t *pool, const store_doc *event, const char **why,
                        apr_status_t *status);

#endif
