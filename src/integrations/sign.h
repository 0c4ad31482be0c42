/* sign.h: whether a provider really sent a webhook: the signatures of Stripe, Twilio and SendGrid
 * over the bytes as they came. Pure functions, without store or clock. */
#ifndef BIZ_SIGN_H
#define BIZ_SIGN_H

#include <stddef.h>
#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

enum { SIGN_AGE_SECONDS = 300 }; /* a signature older or newer than that may be a replay */

/* Stripe-Signature: t=UNIX,v1=HEX[,v1=HEX...]; HMAC-SHA256 with the whole secret ("whsec_...") over
 * t, "." and the body. Any v1 will do (two secrets are valid while one is rolled over); v0 is a
 * test scheme and does not. 1, or 0. */
int sign_stripe(apr_pool_t *pool, const char *secret, const char *header, const char *body,
                size_t len, apr_time_t now);

/* X-Twilio-Signature: base64 of HMAC-SHA1 with the account's token over the url as Twilio called it
 * and, for a form, each name and value in the order of the names. `form`: from sign_form(), or NULL
 * for a body of another kind, whose SHA-256 stands in the url's bodySHA256. The port may or may not
 * be part of the url that was signed. */
int sign_twilio(apr_pool_t *pool, const char *secret, const char *signature, const char *url,
                const apr_array_header_t *form, const char *body, size_t len);

/* X-Twilio-Email-Event-Webhook-Signature: ECDSA P-256 over timestamp and body, DER in base64;
 * `public_key`: SubjectPublicKeyInfo in base64, as SendGrid shows it. */
int sign_sendgrid(apr_pool_t *pool, const char *public_key, const char *signature,
                  const char *timestamp, const char *body, size_t len, apr_time_t now);

typedef struct {
    const char *name, *value;
} sign_pair;
/* application/x-www-form-urlencoded as an array of sign_pair; NULL where it is malformed, is not
 * UTF-8 or has more than 200 pairs. */
apr_array_header_t *sign_form(apr_pool_t *pool, const char *body, size_t len);

#endif
