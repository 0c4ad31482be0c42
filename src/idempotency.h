/* idempotency.h: Idempotency-Key on routes marked BIZ_IDEMPOTENT: the same key and body give the
 * same answer for 24 hours, and the work is done once. Called by dispatch.c alone. */
#ifndef BIZ_IDEMPOTENCY_H
#define BIZ_IDEMPOTENCY_H

#include "core/biz.h"

typedef struct {
    const char *id; /* of the key's document; NULL: the request brought no key */
} idempotency;

/* BIZ_OK: run the handler (unless *replayed: then the reply is filled already). */
biz_code idempotency_begin(biz_req *req, biz_reply *reply, idempotency *idem, int *replayed);
/* After the handler: keeps the answer, or forgets the key where a repeat may end otherwise. */
void idempotency_end(biz_req *req, const biz_reply *reply, const idempotency *idem);

#endif
