/* time.h: instants. Inside the program an instant is apr_time_t, microseconds of UTC since 1970;
 * outside it is RFC 3339 with 'Z'. Zones and names of months come from ICU (locale.h). */
#ifndef BIZ_TIME_H
#define BIZ_TIME_H

#include <stdint.h>
#include <apr_pools.h>
#include <apr_time.h>

/* "2026-10-25T08:00:00Z": whole seconds, rounded down. Years 0001 to 9999; what lies outside of
 * them is shown as the nearest second inside. */
const char *biz_time_format(apr_pool_t *pool, apr_time_t t);
enum { BIZ_TIME_SIZE = 21 };
/* The same without a pool. */
void biz_time_write(apr_time_t t, char out[BIZ_TIME_SIZE]);

/* RFC 3339 section 5.6 with an offset or 'Z'; fractions are cut at microseconds; a leap second, a
 * day that does not exist, a missing zone and years beyond 9999 are refused. 1 and *out, or 0. */
int biz_time_parse(const char *text, apr_time_t *out);

/* Microseconds of a clock that nobody sets and that all processes share (CLOCK_MONOTONIC): for
 * spans of time, never for dates. */
int64_t biz_steady_now(void);

#endif
