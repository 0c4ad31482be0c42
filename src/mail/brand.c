/* brand.c: a business's name, address and colours as values of the mail templates. Called by
 * template.c; takes them from the settings, never from a request. */
#include "brand.h"

#include <string.h>

#include <apr_strings.h>

#include "color.h"
#include "core/str.h"
#include "core/valid.h"

enum { SHORT_NAME = 30 }; /* so that a subject with it stays within 60 */

/* The grounds of conf/mail/layout.html that coloured text stands on. */
static const mail_color page_ground = {0xff, 0xff, 0xff}, dark_ground = {0x1f, 0x29, 0x37};
static const char default_primary[] = "#1d4ed8";

static const char *const style_names[] = {
    "primary", "primary_label", "primary_text", "primary_dark", "start", "end", "dir", NULL};

int mail_brand_is_style(const char *name)
{
    for (const char *const *n = style_names; *n; n++) {
        if (strcmp(*n, name) == 0) {
            return 1;
        }
    }
    return 0;
}

static void colors(apr_pool_t *pool, const biz_settings *settings, apr_table_t *values)
{
    mail_color primary, label;

    if (!mail_color_parse(biz_brand(settings, "primary", default_primary), &primary)) {
        mail_color_parse(default_primary, &primary);
    }
    apr_table_setn(values, "primary_text",
                   mail_color_text(pool, mail_color_on(primary, page_ground, 4.5)));
    apr_table_setn(values, "primary_dark",
                   mail_color_text(pool, mail_color_on(primary, dark_ground, 4.5)));
    label = mail_color_label(&primary);
    apr_table_setn(values, "primary", mail_color_text(pool, primary));
    apr_table_setn(values, "primary_label", mail_color_text(pool, label));
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

void mail_brand_values(apr_pool_t *pool, const biz_settings *settings, const char *lang,
                       apr_table_t *values)
{
    const char *name = biz_brand(settings, "name", settings->server_name);
    const char *phone = biz_brand(settings, "phone", NULL);
    const char *email = biz_brand(settings, "email", NULL);
    const char *address = biz_brand(settings, "address", NULL);
    int rtl = is_rtl(lang);

    colors(pool, settings, values);
    apr_table_setn(values, "business_name", name);
    apr_table_setn(values, "business_short", short_name(pool, name));
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
}
