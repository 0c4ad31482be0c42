/* str.c: encodings and small string work. Called by all layers; knows nothing of any of them. */
#include "str.h"

#include <string.h>

#include <apr_strings.h>

static const char b64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char hex_lower[] = "0123456789abcdef";
static const char hex_upper[] = "0123456789ABCDEF";

/* ---- base64url and hexadecimal ---- */

const char *biz_b64url(apr_pool_t *pool, const void *data, size_t len)
{
    const unsigned char *in = data;
    char *out = apr_palloc(pool, len / 3 * 4 + 5);
    char *at = out;
    uint32_t group;

    for (; len >= 3; len -= 3, in += 3) {
        group = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        *at++ = b64_digits[group >> 18];
        *at++ = b64_digits[group >> 12 & 63];
        *at++ = b64_digits[group >> 6 & 63];
        *at++ = b64_digits[group & 63];
    }
    if (len > 0) {
        group = (uint32_t)in[0] << 16 | (len == 2 ? (uint32_t)in[1] << 8 : 0);
        *at++ = b64_digits[group >> 18];
        *at++ = b64_digits[group >> 12 & 63];
        if (len == 2) {
            *at++ = b64_digits[group >> 6 & 63];
        }
    }
    *at = '\0';
    return out;
}

static int b64_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

unsigned char *biz_b64url_decode(apr_pool_t *pool, const char *text, size_t text_len, size_t *len)
{
    unsigned char *out, *at;
    uint32_t bits = 0;
    int have = 0;

    if (text_len % 4 == 1) {
        return NULL;
    }
    out = at = apr_palloc(pool, text_len / 4 * 3 + 3);
    for (size_t i = 0; i < text_len; i++) {
        int v = b64_value(text[i]);

        if (v < 0) {
            return NULL;
        }
        bits = (bits << 6 | (uint32_t)v) & 0xffff;
        have += 6;
        if (have >= 8) {
            have -= 8;
            *at++ = (unsigned char)(bits >> have & 0xff);
        }
    }
    /* What is left over must be zero: else several texts would stand for the same bytes. */
    if ((bits & ((1U << have) - 1)) != 0) {
        return NULL;
    }
    *len = (size_t)(at - out);
    *at = '\0';
    return out;
}

const char *biz_hex(apr_pool_t *pool, const void *data, size_t len)
{
    const unsigned char *in = data;
    char *out = apr_palloc(pool, len * 2 + 1);

    for (size_t i = 0; i < len; i++) {
        out[2 * i] = hex_lower[in[i] >> 4];
        out[2 * i + 1] = hex_lower[in[i] & 15];
    }
    out[2 * len] = '\0';
    return out;
}

/* ---- UTF-8 ---- */

/* Bytes of the code point at `p`, of which `left` are there; 0 where it is not valid. */
static size_t utf8_decode(const unsigned char *p, size_t left, uint32_t *c)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n;
    uint32_t v;

    if (p[0] < 0x80) {
        *c = p[0];
        return 1;
    }
    n = p[0] >= 0xf0 && p[0] <= 0xf4   ? 4
        : p[0] >= 0xe0 && p[0] <= 0xef ? 3
        : p[0] >= 0xc2 && p[0] <= 0xdf ? 2
                                       : 0;
    if (n == 0 || n > left) {
        return 0;
    }
    v = p[0] & (0x7fU >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        v = v << 6 | (p[i] & 0x3fU);
    }
    if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff)) {
        return 0;
    }
    *c = v;
    return n;
}

long biz_utf8_count(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    uint32_t c;
    long count = 0;

    while (len > 0) {
        size_t n = utf8_decode(p, len, &c);

        if (n == 0) {
            return -1;
        }
        p += n;
        len -= n;
        count++;
    }
    return count;
}

uint32_t biz_utf8_next(const char **text)
{
    const unsigned char *p = (const unsigned char *)*text;
    size_t left = 0, n;
    uint32_t c;

    while (left < 4 && p[left]) {
        left++;
    }
    if (left == 0) {
        return 0;
    }
    n = utf8_decode(p, left, &c);
    if (n == 0) { /* a caller's mistake; end rather than run past the text */
        return 0;
    }
    *text += n;
    return c;
}

int biz_char_is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029 ||
           (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

int biz_char_is_blank(uint32_t c)
{
    /* White_Space, Default_Ignorable_Code_Point and the blank Braille cell, from the Unicode
     * Character Database. */
    static const struct {
        uint32_t first, last;
    } blank[] = {
        {0x09, 0x0d},     {0x20, 0x20},       {0x85, 0x85},       {0xa0, 0xa0},
        {0xad, 0xad},     {0x34f, 0x34f},     {0x61c, 0x61c},     {0x115f, 0x1160},
        {0x1680, 0x1680}, {0x17b4, 0x17b5},   {0x180b, 0x180f},   {0x2000, 0x200f},
        {0x2028, 0x202f}, {0x205f, 0x206f},   {0x2800, 0x2800},   {0x3000, 0x3000},
        {0x3164, 0x3164}, {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},   {0xffa0, 0xffa0},
        {0xfff0, 0xfff8}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
    };

    for (size_t i = 0; i < sizeof(blank) / sizeof(blank[0]); i++) {
        if (c >= blank[i].first && c <= blank[i].last) {
            return 1;
        }
    }
    return 0;
}

const char *biz_lower(apr_pool_t *pool, const char *text)
{
    char *out = apr_pstrdup(pool, text);

    for (char *p = out; p && *p; p++) {
        if (*p >= 'A' && *p <= 'Z') {
            *p = (char)(*p - 'A' + 'a');
        }
    }
    return out;
}

/* ---- percent-encoding ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

const char *biz_query_decode(apr_pool_t *pool, const char *text, size_t len)
{
    char *out = apr_palloc(pool, len + 1);
    char *at = out;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            int high = i + 2 < len ? hex_value(text[i + 1]) : -1;
            int low = i + 2 < len ? hex_value(text[i + 2]) : -1;

            if (high < 0 || low < 0) {
                return NULL;
            }
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (c == '\0') {
            return NULL;
        }
        *at++ = c;
    }
    *at = '\0';
    return biz_utf8_count(out, (size_t)(at - out)) < 0 ? NULL : out;
}

const char *biz_percent_encode(apr_pool_t *pool, const char *text)
{
    char *out = apr_palloc(pool, strlen(text) * 3 + 1);
    char *at = out;

    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if ((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') ||
            *p == '-' || *p == '.' || *p == '_' || *p == '~') {
            *at++ = (char)*p;
        } else {
            *at++ = '%';
            *at++ = hex_upper[*p >> 4];
            *at++ = hex_upper[*p & 15];
        }
    }
    *at = '\0';
    return out;
}

/* ---- for the log ---- */

const char *biz_printable(apr_pool_t *pool, const char *text, size_t max)
{
    size_t in_len = strnlen(text, max);
    char *out = apr_palloc(pool, (in_len * 4 < max ? in_len * 4 : max) + 1);
    size_t at = 0;

    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p >= 0x20 && *p < 0x7f) {
            if (at + 1 > max) {
                break;
            }
            out[at++] = (char)*p;
        } else {
            if (at + 4 > max) {
                break;
            }
            out[at++] = '\\';
            out[at++] = 'x';
            out[at++] = hex_lower[*p >> 4];
            out[at++] = hex_lower[*p & 15];
        }
    }
    out[at] = '\0';
    return out;
}

const char *biz_mask_email(apr_pool_t *pool, const char *email)
{
    const char *sign = email ? strrchr(email, '@') : NULL;
    char first[2] = "";

    if (!sign || sign == email) {
        return "***";
    }
    if (email[0] > 0x20 && email[0] < 0x7f) {
        first[0] = email[0];
    }
    return apr_pstrcat(pool, first, "***", biz_printable(pool, sign, 254), NULL);
}

/* ---- numbers ---- */

int biz_parse_int(const char *text, int64_t min, int64_t max, int64_t *out)
{
    const char *p = text;
    int negative;
    uint64_t v = 0, limit;

    if (!p) {
        return 0;
    }
    negative = *p == '-';
    p += negative;
    limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    if (*p < '0' || *p > '9' || (*p == '0' && (p[1] != '\0' || negative))) {
        return 0; /* one spelling a number: no leading zeros, no -0 */
    }
    for (; *p >= '0' && *p <= '9'; p++) {
        unsigned digit = (unsigned)(*p - '0');

        if (v > (limit - digit) / 10) {
            return 0;
        }
        v = v * 10 + digit;
    }
    if (*p != '\0') {
        return 0;
    }
    int64_t result = negative ? (int64_t)(0 - v) : (int64_t)v;
    if (result < min || result > max) {
        return 0;
    }
    *out = result;
    return 1;
}

const char *biz_without_addresses(apr_pool_t *pool, const char *text)
{
    const char *out = "";

    while (*text) {
        size_t word = strcspn(text, " "), gap = strspn(text + word, " ");
        const char *shown = apr_pstrmemdup(pool, text, word);

        out =
            apr_pstrcat(pool, out, strchr(shown, '@') ? "[address]" : shown, gap ? " " : "", NULL);
        text += word + gap;
    }
    return out;
}

uint64_t biz_hash(const char *text)
{
    uint64_t hash = 14695981039346656037ULL;

    for (; *text; text++) {
        hash = (hash ^ (unsigned char)*text) * 1099511628211ULL;
    }
    return hash;
}

int biz_between(int least, int n, int most)
{
    return n < least ? least : n > most ? most : n;
}
