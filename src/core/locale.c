/* locale.c: zones, languages, currencies and dates for people, the only includer of ICU. Called by
 * the declared fields, the configuration and the mails. It never touches the process's own zone or
 * locale: other threads are formatting too. */
#include "locale.h"

#include <pthread.h>
#include <string.h>
#include <strings.h>

#include <apr_strings.h>
#include <unicode/ucal.h>
#include <unicode/ucurr.h>
#include <unicode/udat.h>
#include <unicode/udatpg.h>
#include <unicode/uenum.h>
#include <unicode/uloc.h>
#include <unicode/uregion.h>
#include <unicode/uscript.h>
#include <unicode/ustring.h>

#include "time.h"

enum { TAG_MAX = 64, ZONE_MAX = 64, PATTERN_MAX = 128, TEXT_MAX = 512, CURRENCIES_MAX = 512 };

static int ok(UErrorCode e)
{
    return U_SUCCESS(e) && e != U_STRING_NOT_TERMINATED_WARNING;
}

/* ASCII text as UChars; gives the length, 0 where it is not a name in ASCII that fits. */
static int32_t name_to_uchars(const char *text, UChar *out, size_t size)
{
    size_t len = text ? strlen(text) : 0;

    if (len == 0 || len >= size) {
        return 0;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= 0x20 || text[i] >= 0x7f) {
            return 0;
        }
    }
    u_charsToUChars(text, out, (int32_t)len);
    out[len] = 0;
    return (int32_t)len;
}

/* ---- languages ---- */

static int is_language(const char *language)
{
    if (strcmp(language, "mul") == 0 || strcmp(language, "mis") == 0 ||
        strcmp(language, "zxx") == 0) {
        return 0; /* "several", "not coded", "none" */
    }
    for (const char *const *known = uloc_getISOLanguages(); *known; known++) {
        if (strcmp(*known, language) == 0) {
            return 1;
        }
    }
    return 0;
}

static int is_region(const char *region)
{
    UErrorCode e = U_ZERO_ERROR;
    const URegion *known = uregion_getRegionFromCode(region, &e);

    return ok(e) && known && uregion_getType(known) != URGN_UNKNOWN;
}

static int is_script(const char *script)
{
    UErrorCode e = U_ZERO_ERROR;
    UScriptCode code;

    return uscript_getCode(script, &code, 1, &e) == 1 && ok(e) && code > USCRIPT_INHERITED;
}

const char *biz_locale_canonical(apr_pool_t *pool, const char *tag)
{
    char locale[ULOC_FULLNAME_CAPACITY], part[ULOC_FULLNAME_CAPACITY], out[TAG_MAX + 1];
    size_t len = tag ? strlen(tag) : 0;
    int32_t parsed = 0;
    UErrorCode e = U_ZERO_ERROR;

    if (len < 2 || len > TAG_MAX) {
        return NULL;
    }
    uloc_forLanguageTag(tag, locale, sizeof(locale), &parsed, &e);
    if (!ok(e) || (size_t)parsed != len) {
        return NULL;
    }
    /* Language, script and region only. What an extension asks for (another calendar, other
     * digits) is not asked of a business. */
    if (strchr(locale, '@') || uloc_getVariant(locale, part, sizeof(part), &e) > 0 || !ok(e)) {
        return NULL;
    }
    if (uloc_getLanguage(locale, part, sizeof(part), &e) <= 0 || !ok(e) || !is_language(part)) {
        return NULL;
    }
    if (uloc_getScript(locale, part, sizeof(part), &e) > 0 && ok(e) && !is_script(part)) {
        return NULL;
    }
    if (uloc_getCountry(locale, part, sizeof(part), &e) > 0 && ok(e) && !is_region(part)) {
        return NULL;
    }
    uloc_toLanguageTag(locale, out, sizeof(out), 1, &e);
    return ok(e) ? apr_pstrdup(pool, out) : NULL;
}

/* ---- zones ---- */

int biz_zone_is_known(const char *zone)
{
    UChar id[ZONE_MAX], canonical[ZONE_MAX];
    int32_t len = name_to_uchars(zone, id, ZONE_MAX);
    UBool is_system = 0;
    UErrorCode e = U_ZERO_ERROR;

    /* "EST5EDT", "GMT+1" and three-letter names are no places. */
    if (len == 0 || (!strchr(zone, '/') && strcmp(zone, "UTC") != 0) ||
        strcmp(zone, "Etc/Unknown") == 0 || strncmp(zone, "SystemV/", 8) == 0) {
        return 0;
    }
    ucal_getCanonicalTimeZoneID(id, len, canonical, ZONE_MAX, &is_system, &e);
    return ok(e) && is_system;
}

/* ---- currencies ---- */

static pthread_once_t currencies_once = PTHREAD_ONCE_INIT;
static char currencies[CURRENCIES_MAX][4];
static int currencies_count;

/* Those that are in use: no metals, no testing codes, no Deutschmark. */
static void list_currencies(void)
{
    UErrorCode e = U_ZERO_ERROR;
    UEnumeration *all = ucurr_openISOCurrencies(UCURR_COMMON | UCURR_NON_DEPRECATED, &e);
    const char *code;
    int32_t len;

    while (U_SUCCESS(e) && currencies_count < CURRENCIES_MAX &&
           (code = uenum_next(all, &len, &e)) != NULL) {
        if (len == 3) {
            memcpy(currencies[currencies_count++], code, 4);
        }
    }
    uenum_close(all);
}

int biz_currency_is_known(const char *currency)
{
    size_t upper, lower;

    if (!currency || strlen(currency) != 3) {
        return 0;
    }
    upper = strspn(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    lower = strspn(currency, "abcdefghijklmnopqrstuvwxyz");
    if (upper != 3 && lower != 3) {
        return 0;
    }
    pthread_once(&currencies_once, list_currencies);
    for (int i = 0; i < currencies_count; i++) {
        if (strcasecmp(currencies[i], currency) == 0) {
            return 1;
        }
    }
    return 0;
}

/* ---- dates for people ---- */

/* The locale's own pattern for a full day and a time with minutes. English without a country has
 * the order that is read the same everywhere, not that of the United States. */
static int32_t pattern_for(const char *locale, const char *skeleton, const char *plain_english,
                           UChar *out)
{
    UErrorCode e = U_ZERO_ERROR;
    UDateTimePatternGenerator *generator;
    UChar wanted[PATTERN_MAX];
    int32_t len;

    if (strcmp(locale, "en") == 0) {
        u_uastrcpy(out, plain_english);
        return u_strlen(out);
    }
    u_uastrcpy(wanted, skeleton);
    generator = udatpg_open(locale, &e);
    len = udatpg_getBestPattern(generator, wanted, -1, out, PATTERN_MAX, &e);
    udatpg_close(generator);
    return ok(e) ? len : 0;
}

static const char *format_with(apr_pool_t *pool, UDate when, const char *locale, const UChar *zone,
                               const UChar *pattern, int32_t pattern_len)
{
    UErrorCode e = U_ZERO_ERROR;
    UDateFormat *format =
        udat_open(UDAT_PATTERN, UDAT_PATTERN, locale, zone, -1, pattern, pattern_len, &e);
    UChar text[TEXT_MAX];
    char out[TEXT_MAX * 3 + 1];
    int32_t len;

    len = U_SUCCESS(e) ? udat_format(format, when, text, TEXT_MAX, NULL, &e) : 0;
    udat_close(format);
    if (!ok(e)) {
        return NULL;
    }
    /* A space that does not break would turn a text message into UTF-16. */
    for (int32_t i = 0; i < len; i++) {
        if (text[i] == 0x202f || text[i] == 0xa0) {
            text[i] = ' ';
        }
    }
    u_strToUTF8(out, sizeof(out), NULL, text, len, &e);
    return ok(e) ? apr_pstrdup(pool, out) : NULL;
}

/* The zone's offset from UTC at that moment, in minutes; 0 where ICU does not know. */
static int32_t offset_minutes(UDate when, const UChar *zone)
{
    UErrorCode e = U_ZERO_ERROR;
    UCalendar *calendar = ucal_open(zone, -1, "en", UCAL_GREGORIAN, &e);
    int32_t ms = 0;

    if (U_SUCCESS(e)) {
        ucal_setMillis(calendar, when, &e);
        ms = ucal_get(calendar, UCAL_ZONE_OFFSET, &e) + ucal_get(calendar, UCAL_DST_OFFSET, &e);
    }
    ucal_close(calendar);
    return U_FAILURE(e) ? 0 : ms / 60000;
}

/* "UTC+2", "UTC-3:30", "UTC+0". */
static const char *offset_text(apr_pool_t *pool, UDate when, const UChar *zone)
{
    int32_t offset = offset_minutes(when, zone), minutes = offset < 0 ? -offset : offset;

    if (minutes % 60 == 0) {
        return apr_psprintf(pool, "UTC%c%d", offset < 0 ? '-' : '+', (int)(minutes / 60));
    }
    return apr_psprintf(pool, "UTC%c%d:%02d", offset < 0 ? '-' : '+', (int)(minutes / 60),
                        (int)(minutes % 60));
}

int biz_zone_minute(apr_time_t t, const char *zone)
{
    UChar zone_id[ZONE_MAX];
    int64_t minute;

    name_to_uchars(biz_zone_is_known(zone) ? zone : "UTC", zone_id, ZONE_MAX);
    minute = apr_time_sec(t) / 60 + offset_minutes((UDate)(t / 1000), zone_id);
    return (int)((minute % 1440 + 1440) % 1440);
}

const char *biz_format_instant(apr_pool_t *pool, apr_time_t t, const char *locale, const char *zone)
{
    UDate when = (UDate)(t / 1000 - (t % 1000 < 0));
    const char *language = biz_locale_canonical(pool, locale);
    const char *day, *clock, *shown;
    UChar zone_id[ZONE_MAX], pattern[PATTERN_MAX];
    int32_t len;

    language = language ? language : "en";
    zone = biz_zone_is_known(zone) ? zone : "UTC";
    name_to_uchars(zone, zone_id, ZONE_MAX);

    len = pattern_for(language, "yMMMMEEEEd", "EEEE d MMMM y", pattern);
    day = len > 0 ? format_with(pool, when, language, zone_id, pattern, len) : NULL;
    len = pattern_for(language, "jmm", "HH:mm", pattern);
    clock = len > 0 ? format_with(pool, when, language, zone_id, pattern, len) : NULL;
    if (!day || !clock) {
        return strcmp(language, "en") == 0 ? biz_time_format(pool, t)
                                           : biz_format_instant(pool, t, "en", zone);
    }
    shown = strcmp(zone, "UTC") == 0
                ? zone
                : apr_pstrcat(pool, zone, ", ", offset_text(pool, when, zone_id), NULL);
    return apr_pstrcat(pool, day, ", ", clock, " (", shown, ")", NULL);
}
