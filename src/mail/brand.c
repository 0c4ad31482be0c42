/* brand.c: a business's name, address and colours as values of the mail templates. Called by
 * template.c; takes them from the settings, never from a request. */
#include "brand.h"

#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "color.h"
#include "core/str.h"
#include "core/valid.h"

enum { SHORT_NAME = 20 }; /* so that a subject with it stays within 60 */

/* The grounds of conf/mail/layout.html that coloured text stands on. */
static const mail_color dark_ground = {0x1f, 0x29, 0x37};
static const mail_color light_page = {0xf3, 0xf4, 0xf6};
static const char default_primary[] = "#1d4ed8";
static const double TEXT = 4.5, EDGE = 3.0; /* WCAG 2.2: 1.4.3 and 1.4.11 */

static const char *const style_names[] = {
    "primary",     "primary_label", "primary_text", "primary_dark", "accent",
    "accent_dark", "start",         "end",          "dir",          NULL};

int mail_brand_is_style(const char *name)
{
    for (const char *const *n = style_names; *n; n++) {
        if (strcmp(*n, name) == 0) {
            return 1;
        }
    }
    return 0;
}

static mail_color color_of(const biz_settings *settings, const char *key, const char *otherwise)
{
    mail_color c;

    if (!mail_color_parse(biz_brand(settings, key, otherwise), &c)) {
        mail_color_parse(default_primary, &c);
    }
    return c;
}

static void set_color(apr_pool_t *pool, apr_table_t *values, const char *name, mail_color c)
{
    apr_table_setn(values, name, mail_color_text(pool, c));
}

static void colors(apr_pool_t *pool, const biz_settings *settings, apr_table_t *values)
{
    mail_color primary = color_of(settings, "primary", default_primary), label;
    mail_color accent =
        color_of(settings, "accent", biz_brand(settings, "primary", default_primary));

    set_color(pool, values, "primary_text", mail_color_on(primary, light_page, TEXT));
    set_color(pool, values, "primary_dark", mail_color_on(primary, dark_ground, TEXT));
    label = mail_color_label(&primary);
    set_color(pool, values, "primary", primary);
    set_color(pool, values, "primary_label", label);
    set_color(pool, values, "accent", mail_color_on(accent, light_page, EDGE));
    set_color(pool, values, "accent_dark", mail_color_on(accent, dark_ground, EDGE));
}

/* An image that every reader of mail can show, over a connection that cannot be listened in on. */
static const char *logo_of(const biz_settings *settings)
{
    static const char *const ends[] = {".png", ".jpg", ".jpeg", NULL};
    const char *logo = biz_brand(settings, "logo", NULL);
    size_t len = logo ? strlen(logo) : 0;

    for (const char *const *e = ends; len > 8 && *e; e++) {
        if (strncmp(logo, "https://", 8) == 0 && strcasecmp(logo + len - strlen(*e), *e) == 0) {
            return logo;
        }
    }
    return NULL;
}

/* Cut at a word where there is one, with an ellipsis. */
static const char *short_name(apr_pool_t *pool, const char *name)
{
    const char *at = name, *word = name, *cut = name;
    long n = 0;
    uint32_t c;

    if (biz_utf8_count(name, strlen(name)) <= SHORT_NAME) {
        return name;
    }
    for (const char *before = at; n < SHORT_NAME && (c = biz_utf8_next(&at)) != 0; before = at) {
        if (c == ' ') {
            word = before;
        }
        cut = before;
        n++;
    }
    if (word - name > (cut - name) / 2) {
        cut = word;
    }
    return apr_pstrcat(pool, apr_pstrmemdup(pool, name, (apr_size_t)(cut - name)), "\xe2\x80\xa6",
                       NULL);
}

/* Languages written from right to left, by their ISO 639 codes. */
static int is_rtl(const char *lang)
{
    static const char *const rtl[] = {"ar", "dv", "fa", "he", "ku", "ps",
                                      "sd", "ug", "ur", "yi", NULL};
    size_t len = strcspn(lang, "-_");

    for (const char *const *l = rtl; *l; l++) {
        if (strlen(*l) == len && strncmp(*l, lang, len) == 0) {
            return 1;
        }
    }
    return 0;
}

int mail_brand_values(apr_pool_t *pool, const biz_settings *settings, const char *lang,
                      apr_table_t *values)
{
    const char *name = biz_brand(settings, "name", settings->server_name);
    const char *phone = biz_brand(settings, "phone", NULL);
    const char *email = biz_brand(settings, "email", NULL);
    const char *address = biz_brand(settings, "address", NULL);
    const char *logo = logo_of(settings);
    int rtl = is_rtl(lang);

    colors(pool, settings, values);
    apr_table_setn(values, "business_name", name);
    apr_table_setn(values, "business_short", short_name(pool, name));
    apr_table_setn(values, logo ? "logo_url" : "wordmark", logo ? logo : name);
    if (address) {
        apr_table_setn(values, "business_address", address);
    }
    if (phone) {
        apr_table_setn(values, "business_phone", phone);
    }
    if (phone && biz_valid_phone(phone)) {
        apr_table_setn(values, "business_phone_url", apr_pstrcat(pool, "tel:", phone, NULL));
    }
    if (email) {
        apr_table_setn(values, "business_email", email);
        apr_table_setn(values, "business_email_url", apr_pstrcat(pool, "mailto:", email, NULL));
    }
    apr_table_setn(values, "site_url", apr_pstrcat(pool, settings->frontend_url, "/", NULL));
    apr_table_setn(values, "lang", lang);
    apr_table_setn(values, "dir", rtl ? "rtl" : "ltr");
    apr_table_setn(values, "start", rtl ? "right" : "left");
    apr_table_setn(values, "end", rtl ? "left" : "right");
    return rtl;
}
