/* totp.h: time-based one-time passwords (RFC 6238): SHA-1, six digits, steps of 30 seconds, as
 * every authenticator app has them. Pure functions; that a code is good once is for the caller to
 * keep. */
#ifndef BIZ_TOTP_H
#define BIZ_TOTP_H

#include <stddef.h>
#include <stdint.h>
#include <apr_pools.h>
#include <apr_time.h>

enum { TOTP_DIGITS = 6, TOTP_STEP_SECONDS = 30, TOTP_SECRET_LEN = 20, TOTP_DRIFT_STEPS = 1 };

/* A new secret as people type it: base32 (RFC 4648 section 6) without padding, 32 characters. */
const char *totp_secret_make(apr_pool_t *pool);

/* The code of a step for a secret in base32; NULL where the text is none. */
const char *totp_code(apr_pool_t *pool, const char *secret, int64_t step);

/* The step whose code this is, at most one step from `now`: the newest that is later than `after`,
 * else the newest at all, so that a code that was used already can be told from a wrong one.
 * -1 where it is the code of none. Takes the same time for each. */
int64_t totp_step_of(apr_pool_t *pool, const char *secret, const char *code, apr_time_t now,
                     int64_t after);

/* otpauth://totp/... as apps read it from a picture; `issuer` and `account` as people know them. */
const char *totp_uri(apr_pool_t *pool, const char *secret, const char *issuer, const char *account);

#endif
