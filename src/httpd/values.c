/* values.c: what the value of a directive, or of the variable in its place, may be. Called by
 * config.c alone; touches nothing. */
#include "glue.h"

#include <apr_strings.h>

#include "core/locale.h"
#include "core/str.h"
#include "core/valid.h"
#include "cors/cors.h"
#include "outbox/consent.h"

/* -1 where the text is none; 0 for "forever". */
int bizapi_audit_days(const char *text)
{
    int64_t days;

    if (!strcasecmp(text, "forever"))
        return 0;
    return biz_parse_int(text, 1, 36500, &days) ? (int)days : -1;
}

int bizapi_work_mode(const char *text)
{
    return !strcasecmp(text, "off")    ? BIZ_WORK_OFF
           : !strcasecmp(text, "auto") ? BIZ_WORK_AUTO
           : !strcasecmp(text, "on")   ? BIZ_WORK_ON
                                       : -1;
}

static const char *breached_error(apr_pool_t *pool, const char *value)
{
    const char *why = NULL, *url;

    if (!strcasecmp(value, "off"))
        return NULL;
    url = biz_valid_url(pool, value, BIZ_URL_BASE, &why);
    if (url == NULL)
        return why;
    return strncmp(url, "https://", 8) != 0 && !biz_url_is_loopback(url)
               ? "must be https, or http on the loopback interface"
               : NULL;
}

const char *bizapi_text_error(apr_pool_t *pool, const char *directive, const char *value)
{
    const char *why = NULL;
    int from, to;

    if (!strcmp(directive, "BizApiQuietHours"))
        return consent_quiet_parse(value, &from, &to);
    if (!strcmp(directive, "BizApiStore"))
        return store_url_error(pool, value);
    if (!strcmp(directive, "BizApiStateDir") || !strcmp(directive, "BizApiMailTemplates") ||
        !strcmp(directive, "BizApiMailOverrides"))
        return value[0] == '\0' ? "must be the path of a directory" : NULL;
    if (!strcmp(directive, "BizApiPortalDomain") || !strcmp(directive, "BizApiPasskeyDomain"))
        return cors_add_domain(pool, apr_array_make(pool, 2, sizeof(const char *)), value);
    if (!strcmp(directive, "BizApiFrontendURL") || !strcmp(directive, "BizApiPublicURL"))
        return biz_valid_url(pool, value, BIZ_URL_BASE, &why) == NULL ? why : NULL;
    if (!strcmp(directive, "BizApiAuditRetention"))
        return bizapi_audit_days(value) < 0 ? "must be a number of days from 1 to 36500, or forever"
                                            : NULL;
    if (!strcmp(directive, "BizApiBreachedPasswords"))
        return breached_error(pool, value);
    if (!strcmp(directive, "BizApiProofOfWork"))
        return bizapi_work_mode(value) < 0 ? "must be off, auto or on" : NULL;
    if (!strcmp(directive, "BizApiMail"))
        return mail_spec_error(pool, value);
    if (!strcmp(directive, "BizApiMailFrom"))
        return mail_address_of(pool, value) == NULL
                   ? "must be an address, alone or as \"Name <a@b.example>\""
                   : NULL;
    if (!strcmp(directive, "BizApiRateBackend"))
        return strcmp(value, "shm") != 0 ? limit_redis_url_error(pool, value) : NULL;
    return NULL;
}

static int is_colour(const char *text)
{
    return text[0] == '#' && strlen(text) == 7 && strspn(text + 1, "0123456789abcdefABCDEF") == 6;
}

const char *bizapi_brand_error(apr_pool_t *pool, const char *key, const char *value)
{
    const char *why = NULL;
    double degrees;

    if (!strcmp(key, "timezone"))
        return biz_zone_is_known(value) ? NULL : "must be a time zone such as Europe/Berlin";
    if (!strcmp(key, "currency"))
        return biz_currency_is_known(value) ? NULL : "must be a currency of ISO 4217 such as eur";
    if (!strcmp(key, "locale"))
        return biz_locale_canonical(pool, value) != NULL ? NULL
                                                         : "must be a language tag such as de";
    if (!strcmp(key, "email"))
        return biz_valid_email(pool, value) != NULL ? NULL : "must be an e-mail address";
    if (!strcmp(key, "primary") || !strcmp(key, "accent"))
        return is_colour(value) ? NULL : "must be a colour such as #1a5fb4";
    if (!strcmp(key, "latitude") || !strcmp(key, "longitude"))
        return biz_valid_degrees(value, key[1] == 'a' ? 90 : 180, &degrees)
                   ? NULL
                   : "must be decimal degrees such as 52.5145";
    if (!strcmp(key, "logo"))
        return biz_valid_url(pool, value, BIZ_URL_BASE, &why) != NULL ? NULL : why;
    if (!strcmp(key, "name") || !strcmp(key, "phone") || !strcmp(key, "address"))
        return biz_valid_line(value, 1, 200) ? NULL : "must be one line of 1 to 200 characters";
    return "is no key; the keys are name, timezone, currency, locale, phone, email, address, "
           "latitude, longitude, logo, primary and accent";
}
