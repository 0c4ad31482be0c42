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
#include <unicode/unum.h>
#include <unicode/uregion.h>
#include <unicode/uscript.h>
#include <unicode/ustring.h>

#include "str.h"
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

/* A space that does not break would turn a text message into UTF-16; marks of direction (ALM, LRM,
 * RLM) are the mail's business. Gives the length. */
static int32_t plain_spaces(UChar *text, int32_t len)
{
    int32_t to = 0;

    for (int32_t i = 0; i < len; i++) {
        if (text[i] == 0x61c || text[i] == 0x200e || text[i] == 0x200f) {
            continue;
        }
        text[to++] = text[i] == 0x202f || text[i] == 0xa0 ? ' ' : text[i];
    }
    return to;
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
    u_strToUTF8(out, sizeof(out), NULL, text, plain_spaces(text, len), &e);
    return ok(e) ? apr_pstrdup(pool, out) : NULL;
}

/* ICU counts in milliseconds; those before 1970 are rounded down too. */
static UDate date_of(apr_time_t t)
{
    apr_time_t ms = t / 1000 - (t % 1000 < 0);

    return (UDate)ms;
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
    minute = apr_time_sec(t) / 60 + offset_minutes(date_of(t), zone_id);
    return (int)((minute % 1440 + 1440) % 1440);
}

/* What stands between a day and a time. */
static const char *comma_of(const char *language)
{
    UErrorCode e = U_ZERO_ERROR;
    UScriptCode script;

    return uscript_getCode(language, &script, 1, &e) == 1 && ok(e) && script == USCRIPT_ARABIC
               ? "\xd8\x8c "
               : ", ";
}

/* A locale and a zone as ICU wants them; what is not known is "en" and UTC. */
typedef struct {
    apr_pool_t *pool;
    const char *language, *zone;
    UChar zone_id[ZONE_MAX];
} place;

static place place_of(apr_pool_t *pool, const char *locale, const char *zone)
{
    place p = {.pool = pool, .language = biz_locale_canonical(pool, locale)};

    p.language = p.language ? p.language : "en";
    p.zone = biz_zone_is_known(zone) ? zone : "UTC";
    name_to_uchars(p.zone, p.zone_id, ZONE_MAX);
    return p;
}

/* `skeleton` in the locale's own order, or in English where ICU has none. */
static const char *formatted(const place *p, apr_time_t t, const char *skeleton,
                             const char *plain_english)
{
    UDate when = date_of(t);
    const char *languages[] = {p->language, "en"}, *text = NULL;
    UChar pattern[PATTERN_MAX];

    for (int i = 0; i < 2 && !text; i++) {
        int32_t len = pattern_for(languages[i], skeleton, plain_english, pattern);

        text = len > 0 ? format_with(p->pool, when, languages[i], p->zone_id, pattern, len) : NULL;
    }
    return text ? text : biz_time_format(p->pool, t);
}

static const char *day_of(const place *p, apr_time_t t)
{
    return formatted(p, t, "yMMMMEEEEd", "EEEE d MMMM y");
}

/* An hour and its half of the day stay on one line, but not in ASCII (see plain_spaces): what is
 * not is UTF-16 in a text message anyway. */
static const char *clock_of(const place *p, apr_time_t t)
{
    const char *text = formatted(p, t, "jmm", "HH:mm"), *space = strchr(text, ' ');

    return !space || biz_utf8_count(text, strlen(text)) == (long)strlen(text)
               ? text
               : apr_pstrcat(p->pool, apr_pstrmemdup(p->pool, text, (apr_size_t)(space - text)),
                             "\xc2\xa0", space + 1, NULL);
}

static const char *offset_of(const place *p, apr_time_t t)
{
    return offset_text(p->pool, date_of(t), p->zone_id);
}

/* "Europe/Berlin, UTC+2", or "UTC". */
static const char *zone_shown(const place *p, apr_time_t from, apr_time_t to)
{
    const char *one = offset_of(p, from), *other = offset_of(p, to);
    int same = strcmp(one, other) == 0;

    return strcmp(p->zone, "UTC") == 0
               ? p->zone
               : apr_pstrcat(p->pool, p->zone, ", ", one, same ? "" : "/", same ? "" : other, NULL);
}

/* The zone in brackets. In a line from right to left they go in an isolate of their own (U+2066 to
 * U+2069): else a line that ends within them turns one of them round. */
static const char *bracketed(const place *p, apr_time_t from, apr_time_t to)
{
    int isolate = uloc_isRightToLeft(p->language);

    /* Its other half is below. NOLINTNEXTLINE(misc-misleading-bidirectional) */
    return apr_pstrcat(p->pool, isolate ? " \xe2\x81\xa6(" : " (", zone_shown(p, from, to),
                       isolate ? ")\xe2\x81\xa9" : ")", NULL);
}

const char *biz_format_instant(apr_pool_t *pool, apr_time_t t, const char *locale, const char *zone)
{
    place p = place_of(pool, locale, zone);

    return apr_pstrcat(pool, day_of(&p, t), comma_of(p.language), clock_of(&p, t),
                       bracketed(&p, t, t), NULL);
}

const char *biz_format_span(apr_pool_t *pool, apr_time_t from, apr_time_t to, const char *locale,
                            const char *zone)
{
    place p = place_of(pool, locale, zone);
    const char *day = day_of(&p, from), *last = day_of(&p, to), *comma = comma_of(p.language);
    int same = strcmp(day, last) == 0;

    return apr_pstrcat(pool, day, comma, clock_of(&p, from), same ? "-" : " - ", same ? "" : last,
                       same ? "" : comma, clock_of(&p, to), bracketed(&p, from, to), NULL);
}

const char *biz_format_day(apr_pool_t *pool, apr_time_t t, const char *locale, const char *zone)
{
    place p = place_of(pool, locale, zone);

    return day_of(&p, t);
}

const char *biz_format_short(apr_pool_t *pool, apr_time_t t, const char *locale, const char *zone)
{
    place p = place_of(pool, locale, zone);

    return apr_pstrcat(pool, formatted(&p, t, "MMMd", "d MMM"), comma_of(p.language),
                       clock_of(&p, t), NULL);
}

/* ---- money ---- */

/* ISO 4217 and not CLDR, which has the digits that are used in shops: 0 for IQD. */
int biz_currency_exponent(const char *currency)
{
    static const char none[] = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF "
                               "XPF ",
                      three[] = "BHD IQD JOD KWD LYD OMR TND ", four[] = "CLF UYW ";
    char code[5] = "??? ";

    for (int i = 0; i < 3 && currency[i]; i++) {
        code[i] = (char)(currency[i] & ~0x20);
    }
    return strstr(none, code) ? 0 : strstr(three, code) ? 3 : strstr(four, code) ? 4 : 2;
}

/* Minor units as a decimal number: -5 of EUR is "-0.05". */
static const char *decimal_text(apr_pool_t *pool, int64_t amount, int exponent)
{
    uint64_t size = amount < 0 ? 0 - (uint64_t)amount : (uint64_t)amount, unit = 1;

    for (int i = 0; i < exponent; i++) {
        unit *= 10;
    }
    return exponent == 0 ? apr_psprintf(pool, "%s%" APR_UINT64_T_FMT, amount < 0 ? "-" : "", size)
                         : apr_psprintf(pool, "%s%" APR_UINT64_T_FMT ".%0*" APR_UINT64_T_FMT,
                                        amount < 0 ? "-" : "", size / unit, exponent, size % unit);
}

const char *biz_format_money(apr_pool_t *pool, int64_t amount, const char *currency,
                             const char *locale)
{
    const char *language = biz_locale_canonical(pool, locale), *number;
    int exponent = biz_currency_is_known(currency) ? biz_currency_exponent(currency) : 0;
    UErrorCode e = U_ZERO_ERROR;
    UNumberFormat *format;
    UChar code[4] = {0}, text[TEXT_MAX];
    char out[TEXT_MAX * 3 + 1];
    int32_t len;

    if (!biz_currency_is_known(currency)) {
        return NULL;
    }
    number = decimal_text(pool, amount, exponent);
    for (int i = 0; i < 3; i++) {
        code[i] = (UChar)(currency[i] & ~0x20);
    }
    format = unum_open(UNUM_CURRENCY_ISO, NULL, 0, language ? language : "en", NULL, &e);
    if (U_SUCCESS(e)) {
        unum_setTextAttribute(format, UNUM_CURRENCY_CODE, code, 3, &e);
        unum_setAttribute(format, UNUM_FRACTION_DIGITS, exponent);
    }
    len = U_SUCCESS(e) ? unum_formatDecimal(format, number, (int32_t)strlen(number), text, TEXT_MAX,
                                            NULL, &e)
                       : 0;
    unum_close(format);
    if (ok(e)) {
        u_strToUTF8(out, sizeof(out), NULL, text, plain_spaces(text, len), &e);
    }
    return ok(e) ? apr_pstrcat(pool, language && uloc_isRightToLeft(language) ? "\xe2\x80\x8f" : "",
                               out, NULL)
                 : NULL;
}

const char *biz_format_number(apr_pool_t *pool, int64_t number, const char *locale)
{
    const char *language = biz_locale_canonical(pool, locale);
    UErrorCode e = U_ZERO_ERROR;
    UNumberFormat *format = unum_open(UNUM_DECIMAL, NULL, 0, language ? language : "en", NULL, &e);
    UChar text[TEXT_MAX];
    char out[TEXT_MAX * 3 + 1];
    int32_t len = U_SUCCESS(e) ? unum_formatInt64(format, number, text, TEXT_MAX, NULL, &e) : 0;

    unum_close(format);
    if (ok(e)) {
        u_strToUTF8(out, sizeof(out), NULL, text, plain_spaces(text, len), &e);
    }
    return ok(e) ? apr_pstrdup(pool, out) : apr_psprintf(pool, "%" APR_INT64_T_FMT, number);
}
