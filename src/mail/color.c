/* color.c: legible colours, called by brand.c. Knows nothing of mails. */
#include "color.h"

#include <string.h>

#include <apr_strings.h>

static const double LEGIBLE = 4.5;

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *at;

    if (c >= 'A' && c <= 'F') {
        c = (char)(c - 'A' + 'a');
    }
    at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

int mail_color_parse(const char *text, mail_color *out)
{
    int digit[6];

    if (!text || text[0] != '#' || strlen(text) != 7) {
        return 0;
    }
    for (int i = 0; i < 6; i++) {
        digit[i] = hex_digit(text[1 + i]);
        if (digit[i] < 0) {
            return 0;
        }
    }
    out->r = (unsigned char)(digit[0] << 4 | digit[1]);
    out->g = (unsigned char)(digit[2] << 4 | digit[3]);
    out->b = (unsigned char)(digit[4] << 4 | digit[5]);
    return 1;
}

const char *mail_color_text(apr_pool_t *pool, mail_color c)
{
    return apr_psprintf(pool, "#%02x%02x%02x", c.r, c.g, c.b);
}

/* The fifth root by Newton's method: 0..1 needs no libm. */
static double fifth_root(double x)
{
    double y = 1.0;

    for (int i = 0; i < 40 && x > 0; i++) {
        y = (4 * y + x / (y * y * y * y)) / 5;
    }
    return x > 0 ? y : 0;
}

/* WCAG 2.2, "relative luminance": ((c + 0.055) / 1.055) ^ 2.4 for one channel. */
static double linear(unsigned char channel)
{
    double c = channel / 255.0, base;

    if (c <= 0.04045) {
        return c / 12.92;
    }
    base = (c + 0.055) / 1.055;
    return base * base * fifth_root(base * base);
}

static double luminance(mail_color c)
{
    return 0.2126 * linear(c.r) + 0.7152 * linear(c.g) + 0.0722 * linear(c.b);
}

double mail_color_contrast(mail_color a, mail_color b)
{
    double la = luminance(a) + 0.05, lb = luminance(b) + 0.05;

    return la > lb ? la / lb : lb / la;
}

/* A step of 1/32 of the way to black or white, at least one. */
static unsigned char step(unsigned char channel, int darker)
{
    int by = darker ? -(channel / 32 + 1) : (255 - channel) / 32 + 1;
    int next = channel + by;

    return (unsigned char)(next < 0 ? 0 : next > 255 ? 255 : next);
}

mail_color mail_color_on(mail_color c, mail_color ground, double least)
{
    /* Where black and white read alike, the luminance is about 0.18. */
    int darker = luminance(ground) > 0.18;

    for (int i = 0; i < 256 && mail_color_contrast(c, ground) < least; i++) {
        c.r = step(c.r, darker);
        c.g = step(c.g, darker);
        c.b = step(c.b, darker);
    }
    return c;
}

mail_color mail_color_label(mail_color *button)
{
    const mail_color white = {255, 255, 255}, dark = {0x11, 0x18, 0x27};
    double with_white = mail_color_contrast(*button, white);

    if (with_white >= LEGIBLE) {
        return white;
    }
    if (mail_color_contrast(*button, dark) >= LEGIBLE) {
        return dark;
    }
    *button = mail_color_on(*button, white, LEGIBLE);
    return white;
}
