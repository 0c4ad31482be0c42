/* locale.h: zones, languages and dates for people; ICU behind it. */
#ifndef BIZ_LOCALE_H
#define BIZ_LOCALE_H

#include <apr_pools.h>
#include <apr_time.h>

/* BCP 47 tag such as "de" or "pt-BR" in canonical form, NULL where ICU does not know the
 * language, script or region; variants and extensions are refused. */
const char *biz_locale_canonical(apr_pool_t *pool, const char *tag);
/* 1 for an IANA zone name as ICU has it ("Europe/Berlin", "UTC"); offsets, names
 * without a place ("EST5EDT") and "Mars/X" give 0. Upper and lower case count. */
int biz_zone_is_known(const char *zone);
/* 1 for a currency of ISO 4217 that is in use, in lower or upper case. */
int biz_currency_is_known(const char *currency);

/* "Monday 5 October 2026, 10:30 (Europe/Berlin, UTC+2)" in the locale's own words and order; what
 * stands here is "en". A locale or zone that is not known is taken as "en" or UTC. */
const char *biz_format_instant(apr_pool_t *pool, apr_time_t t, const char *locale,
                               const char *zone);

/* The minute of the day, 0 to 1439, that a clock in the zone shows; UTC where it is not known. */
int biz_zone_minute(apr_time_t t, const char *zone);

#endif
