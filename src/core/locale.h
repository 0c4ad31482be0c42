/* locale.h: zones, languages and dates for people; ICU behind it. */
#ifndef BIZ_LOCALE_H
#define BIZ_LOCALE_H

#include <stdint.h>
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
 * stands here is "en". A locale or zone that is not known is taken as "en" or UTC. No space is a
 * special one, but before the half of the day, where it is not in ASCII. */
const char *biz_format_instant(apr_pool_t *pool, apr_time_t t, const char *locale,
                               const char *zone);
/* "Monday 5 October 2026, 10:30-11:30 (Europe/Berlin, UTC+2)". Where it ends on another day, both
 * days are named; where the clock changes between, both offsets. */
const char *biz_format_span(apr_pool_t *pool, apr_time_t from, apr_time_t to, const char *locale,
                            const char *zone);
const char *biz_format_day(apr_pool_t *pool, apr_time_t t, const char *locale,
                           const char *zone); /* "Monday 5 October 2026" */
const char *biz_format_short(apr_pool_t *pool, apr_time_t t, const char *locale,
                             const char *zone); /* "5 Oct, 10:30": for subjects */

/* Decimals of a currency's minor unit by ISO 4217: 2, for JPY 0, for KWD 3. */
int biz_currency_exponent(const char *currency);
/* "EUR 1,234.50" in the locale's own form, always with the ISO code. `amount` is in minor units.
 * NULL where the currency is not known. In a language from right to left it begins with U+200F: the
 * code is Latin, and would else turn the sum round. */
const char *biz_format_money(apr_pool_t *pool, int64_t amount, const char *currency,
                             const char *locale);
/* A whole number in the locale's digits and groups: "60", in Arabic those of its dates. */
const char *biz_format_number(apr_pool_t *pool, int64_t number, const char *locale);

/* The minute of the day, 0 to 1439, that a clock in the zone shows; UTC where it is not known. */
int biz_zone_minute(apr_time_t t, const char *zone);

#endif
