/* stripe.h: payments by Stripe's hosted checkout (API version 2023-08-16): the customer pays on
 * Stripe's page, the webhook tells. No card number ever comes here.
 *
 * Each function fails with what the caller may answer: PAYMENTS_UNAVAILABLE where Stripe is not
 * configured or does not work (with Retry-After), PAYMENT_FAILED with Stripe's own words for the
 * customer (402), NOT_FOUND, INVALID_STATE, and PROVIDER_FAILED for what can only be a mistake of
 * ours, which the log has. Retries are made inside, under the one idempotency key; where the
 * outcome stays unknown the caller may repeat with the same key, else the webhook decides. */
#ifndef BIZ_STRIPE_H
#define BIZ_STRIPE_H

#include "core/biz.h"

typedef struct {
    const char *invoice_id;
    const char *description; /* of the one line: "Invoice 2026-0007" */
    int64_t amount;          /* minor units */
    const char *currency;    /* lower case, ISO 4217 */
    const char *email;       /* or NULL */
    const char *success_url, *cancel_url;
    int attempt; /* 1, and one more for each session that was ended or has expired */
} stripe_checkout;

typedef struct {
    const char *id, *url; /* url NULL where it is not open any more */
    const char *status;   /* open, complete, expired */
    const char *payment_status;
    const char *payment_intent; /* or NULL */
    const char *invoice_id;     /* client_reference_id, or NULL */
    const char *currency;
    int64_t amount;
    int livemode;
} stripe_session;

typedef struct {
    const char *id, *status;
    int64_t amount;
} stripe_refund;

biz_code stripe_checkout_create(biz_req *req, biz_reply *reply, const stripe_checkout *what,
                                stripe_session *session);
biz_code stripe_checkout_get(biz_req *req, biz_reply *reply, const char *id,
                             stripe_session *session);
/* INVALID_STATE where it was paid or has expired. */
biz_code stripe_checkout_expire(biz_req *req, biz_reply *reply, const char *id,
                                stripe_session *session);
/* `refund_id`: ours; the same one is refunded once. */
biz_code stripe_refund_create(biz_req *req, biz_reply *reply, const char *payment_intent,
                              int64_t amount, const char *refund_id, stripe_refund *refund);

/* Whether Stripe's amount, currency, mode and reference are those of the invoice: what must hold
 * before it counts as paid, whoever says that it is. */
int stripe_session_is_for(const biz_settings *settings, const stripe_session *session,
                          const char *invoice_id, int64_t amount, const char *currency);

#endif
