/* color.h: legible colours out of whatever colour a business has (WCAG 2.2, 1.4.3 and 1.4.11).
 * Pure functions. */
#ifndef BIZ_MAIL_COLOR_H
#define BIZ_MAIL_COLOR_H

#include <apr_pools.h>

typedef struct {
    unsigned char r, g, b;
} mail_color;

/* "#rrggbb" alone, in either case: 1 and *out, or 0. */
int mail_color_parse(const char *text, mail_color *out);
const char *mail_color_text(apr_pool_t *pool, mail_color c); /* "#rrggbb", lower case */

/* 1.0 (the same) to 21.0 (black on white). */
double mail_color_contrast(mail_color a, mail_color b);

/* `c`, darkened or lightened in small steps until its contrast on `ground` is at least `least`. */
mail_color mail_color_on(mail_color c, mail_color ground, double least);

/* The colour of a label on a button: white or near-black, whichever reads better. *button is
 * darkened where neither reaches 4.5. */
mail_color mail_color_label(mail_color *button);

#endif
