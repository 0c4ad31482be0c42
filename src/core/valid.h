/* valid.h: what a single value from outside may be. Pure functions, used by the declared fields of
 * routes, by bizapictl and by the fuzzers. */
#ifndef BIZ_VALID_H
#define BIZ_VALID_H

#include <apr_pools.h>

/* Trimmed, ASCII lower case; NULL where it is no address we accept: a dot-atom of at most 64 bytes,
 * '@', a host name with at least one dot, 254 bytes in all, ASCII only, no quoted part, no IP
 * literal (RFC 5321 section 4.5.3.1; RFC 5322 section 3.4.1 dot-atom). */
const char *biz_valid_email(apr_pool_t *pool, const char *text);

/* 1 where the text is one line of `min`..`max` code points without control characters and is not
 * blank (where min > 0). */
int biz_valid_line(const char *text, long min, long max);
/* The same, with LF and TAB allowed. */
int biz_valid_text(const char *text, long min, long max);

int biz_valid_phone(const char *text); /* E.164: + and 7 to 15 digits, the first not 0 */
int biz_valid_id(const char *text, const char *prefix); /* as biz_new_id() makes them */
/* Decimal degrees of at most `most` either way, at most 8 places behind the point: 52.5145. The
 * process' locale does not matter. */
int biz_valid_degrees(const char *text, int most, double *out);
int biz_valid_token(const char *text, size_t min, size_t max); /* A-Z a-z 0-9 . _ - */

/* http or https, a host, no user information, no fragment, at most 2048 bytes. */
typedef enum {
    BIZ_URL_ORIGIN = 1,
    BIZ_URL_BASE
} biz_url_shape; /* no path | path allowed, no query */
/* The normal form (lower-case scheme and host, default port and trailing slash dropped), or NULL
 * and *why. */
const char *biz_valid_url(apr_pool_t *pool, const char *text, biz_url_shape shape,
                          const char **why);
/* 1 where the normal form's host is localhost, 127.0.0.0/8 or ::1. */
int biz_url_is_loopback(const char *url);

#endif
