/* brand.h: what every mail says and shows of its business. Between template.c and brand.c alone. */
#ifndef BIZ_MAIL_BRAND_H
#define BIZ_MAIL_BRAND_H

#include <apr_tables.h>
#include "core/settings.h"

/* The colours and sides that brand.c makes itself. They alone may stand in style sheets: they
 * cannot carry anything from outside. */
int mail_brand_is_style(const char *name);

/* Adds to `values`: business_name, business_short (at most 20 characters), business_address,
 * _phone, _phone_url, _email, _email_url where they are known; logo_url, or wordmark where there is
 * no logo that may be shown; site_url; primary, primary_label, primary_text, primary_dark, accent,
 * accent_dark: legible ones, made of the business's two colours; and for `lang` lang, dir, start,
 * end. 1 where the language is written from right to left. */
int mail_brand_values(apr_pool_t *pool, const biz_settings *settings, const char *lang,
                      apr_table_t *values);

#endif
