/* valid.c: what a single value from outside may be. Pure functions, called by the declared fields
 * of routes, the configuration, bizapictl and the fuzzers. */
#include "valid.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "str.h"

enum { EMAIL_MAX = 254, LOCAL_MAX = 64, LABEL_MAX = 63, HOST_MAX = 253, URL_MAX = 2048 };

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int is_alnum(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static int is_in(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* ---- host names and e-mail addresses ---- */

/* Labels of letters, digits and inner hyphens (RFC 1123 section 2.1). */
static int is_host_name(const char *host, size_t len, int min_dots)
{
    size_t label = 0;
    int dots = 0;

    if (len == 0 || len > HOST_MAX) {
        return 0;
    }
    for (size_t i = 0; i <= len; i++) {
        if (i == len || host[i] == '.') {
            if (label == 0 || label > LABEL_MAX || host[i - 1] == '-') {
                return 0;
            }
            dots += i < len;
            label = 0;
        } else if (is_alnum(host[i]) || (host[i] == '-' && label > 0)) {
            label++;
        } else {
            return 0;
        }
    }
    return dots >= min_dots;
}

/* 1 where the last label is a number, decimal or 0x...: such a host is meant as an address, and
 * resolvers read "2130706433" or "0x7f.1" as one. */
static int ends_in_number(const char *host, size_t len)
{
    size_t start = len;
    size_t i;

    while (start > 0 && host[start - 1] != '.') {
        start--;
    }
    i = start;
    if (len - start >= 2 && host[start] == '0' && (host[start + 1] | 0x20) == 'x') {
        for (i = start + 2; i < len && is_hex(host[i]); i++) {
        }
        return i == len;
    }
    while (i < len && is_digit(host[i])) {
        i++;
    }
    return i == len && len > start;
}

static int is_dot_atom(const char *text, size_t len)
{
    if (len == 0 || len > LOCAL_MAX || text[0] == '.' || text[len - 1] == '.') {
        return 0;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '.' ? text[i + 1] == '.'
                           : !is_alnum(text[i]) && !is_in(text[i], "!#$%&'*+-/=?^_`{|}~")) {
            return 0;
        }
    }
    return 1;
}

const char *biz_valid_email(apr_pool_t *pool, const char *text)
{
    const char *sign, *host;
    size_t len, host_len;

    if (!text) {
        return NULL;
    }
    while (*text == ' ') {
        text++;
    }
    len = strlen(text);
    while (len > 0 && text[len - 1] == ' ') {
        len--;
    }
    sign = len > 0 && len <= EMAIL_MAX ? memchr(text, '@', len) : NULL;
    if (!sign || !is_dot_atom(text, (size_t)(sign - text))) {
        return NULL;
    }
    host = sign + 1;
    host_len = len - (size_t)(host - text);
    if (!is_host_name(host, host_len, 1) || ends_in_number(host, host_len)) {
        return NULL;
    }
    return biz_lower(pool, apr_pstrmemdup(pool, text, len));
}

/* ---- lines and texts ---- */

static int is_text(const char *text, long min, long max, const char *also)
{
    const char *p = text;
    int blank = 1;
    long count;
    uint32_t c;

    if (!text) {
        return 0;
    }
    count = biz_utf8_count(text, strlen(text));
    if (count < min || count < 0 || count > max) {
        return 0;
    }
    while ((c = biz_utf8_next(&p)) != 0) {
        if (biz_char_is_control(c) && !(c < 0x80 && is_in((char)c, also))) {
            return 0;
        }
        blank = blank && biz_char_is_blank(c);
    }
    return min <= 0 || !blank;
}

int biz_valid_line(const char *text, long min, long max)
{
    return is_text(text, min, max, "");
}

int biz_valid_text(const char *text, long min, long max)
{
    return is_text(text, min, max, "\n\t");
}

/* ---- phones, ids, tokens ---- */

int biz_valid_phone(const char *text)
{
    size_t digits;

    if (!text || text[0] != '+' || text[1] == '0') {
        return 0;
    }
    digits = strspn(text + 1, "0123456789");
    return text[1 + digits] == '\0' && digits >= 7 && digits <= 15;
}

int biz_valid_id(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);

    if (!text || strncmp(text, prefix, len) != 0 || text[len] != '_') {
        return 0;
    }
    text += len + 1;
    /* 26 digits are 130 bits, of which 128 are used. */
    return strlen(text) == 26 && text[0] <= '7' &&
           strspn(text, "0123456789abcdefghjkmnpqrstvwxyz") == 26;
}

int biz_valid_token(const char *text, size_t min, size_t max)
{
    size_t len = 0;

    if (!text) {
        return 0;
    }
    while (len <= max && (is_alnum(text[len]) || is_in(text[len], "._-"))) {
        len++;
    }
    return text[len] == '\0' && len >= min && len <= max;
}

/* ---- URLs ---- */

/* The host in normal form, NULL where it is none; *after gets what follows it. */
static const char *url_host(apr_pool_t *pool, const char *text, const char **after,
                            const char **why)
{
    size_t len = strcspn(text, ":/?");
    struct in6_addr six;
    struct in_addr four;
    char shown[INET6_ADDRSTRLEN];
    const char *host;

    if (text[0] == '[') {
        len = strcspn(text, "]");
        host = apr_pstrmemdup(pool, text + 1, len - 1);
        *why = "the IPv6 address is not valid";
        if (text[len] != ']' || inet_pton(AF_INET6, host, &six) != 1) {
            return NULL;
        }
        *after = text + len + 1;
        inet_ntop(AF_INET6, &six, shown, sizeof(shown));
        return apr_pstrcat(pool, "[", shown, "]", NULL);
    }
    *after = text + len;
    host = apr_pstrmemdup(pool, text, len);
    if (len == 0) {
        *why = "the host is missing";
        return NULL;
    }
    if (strchr(host, '*')) {
        *why = "a '*' is not allowed in the host; name each host";
        return NULL;
    }
    *why = "the host is not a valid name or address";
    if (ends_in_number(host, len)) {
        return inet_pton(AF_INET, host, &four) == 1 ? host : NULL;
    }
    return is_host_name(host, len, 0) ? biz_lower(pool, host) : NULL;
}

/* 1 and *port (0 where there is none), or 0. */
static int url_port(const char **text, int *port)
{
    int64_t v = 0;
    size_t len;
    char digits[6] = "";

    *port = 0;
    if (**text != ':') {
        return 1;
    }
    len = strspn(*text + 1, "0123456789");
    if (len == 0 || len >= sizeof(digits)) {
        return 0;
    }
    memcpy(digits, *text + 1, len);
    if (!biz_parse_int(digits, 1, 65535, &v)) {
        return 0;
    }
    *port = (int)v;
    *text += 1 + len;
    return 1;
}

/* 1 where the path has only what RFC 3986 allows, and nothing that a server would read otherwise:
 * no dot segment, no encoded control character. */
static int is_path(const char *path)
{
    for (const char *p = path; *p; p++) {
        if (*p == '%') {
            if (!is_hex(p[1]) || !is_hex(p[2]) || p[1] == '0' || p[1] == '1' ||
                (p[1] == '7' && (p[2] | 0x20) == 'f')) {
                return 0;
            }
            if (p[1] == '2' && (p[2] | 0x20) == 'e') {
                return 0; /* an encoded dot has no use but to hide a dot segment */
            }
        } else if (*p == '/') {
            size_t dots = strspn(p + 1, ".");

            if ((dots == 1 || dots == 2) && (p[1 + dots] == '/' || p[1 + dots] == '\0')) {
                return 0;
            }
        } else if (!is_alnum(*p) && !is_in(*p, "-._~!$&'()*+,;=:@")) {
            return 0;
        }
    }
    return 1;
}

/* What no part of a URL of ours may have; NULL when it is fine. */
static const char *url_bytes_error(const char *text)
{
    if (strlen(text) > URL_MAX) {
        return "the URL is longer than 2048 bytes";
    }
    for (const char *p = text; *p; p++) {
        if (*p <= 0x20 || *p >= 0x7f) { /* char is signed or not: both ways this is not ASCII */
            return "spaces, control characters and characters outside ASCII are not allowed";
        }
        if (*p == '\\') {
            return "a backslash is not allowed";
        }
        if (*p == '#') {
            return "a fragment (#) is not allowed";
        }
    }
    return NULL;
}

static const char *url_refuse(const char **why, const char *reason)
{
    *why = reason;
    return NULL;
}

const char *biz_valid_url(apr_pool_t *pool, const char *text, biz_url_shape shape, const char **why)
{
    const char *reason = text ? url_bytes_error(text) : "the URL is missing";
    const char *scheme, *host, *rest, *nobody_asks;
    char *path;
    size_t len;
    int port;

    if (!why) {
        why = &nobody_asks;
    }
    if (reason) {
        return url_refuse(why, reason);
    }
    if (strncasecmp(text, "https://", 8) == 0) {
        scheme = "https";
        rest = text + 8;
    } else if (strncasecmp(text, "http://", 7) == 0) {
        scheme = "http";
        rest = text + 7;
    } else {
        return url_refuse(why, "the URL must begin with http:// or https://");
    }
    if (memchr(rest, '@', strcspn(rest, "/?"))) {
        return url_refuse(why, "a user name or password in the URL is not allowed");
    }
    host = url_host(pool, rest, &rest, &reason);
    if (!host) {
        return url_refuse(why, reason);
    }
    if (!url_port(&rest, &port)) {
        return url_refuse(why, "the port must be a number from 1 to 65535");
    }
    if (*rest != '\0' && *rest != '/' && *rest != '?') {
        return url_refuse(why, "the host is not a valid name or address");
    }
    if (strchr(rest, '?')) {
        return url_refuse(why, "a query (?) is not allowed");
    }
    path = apr_pstrdup(pool, rest);
    for (len = strlen(path); len > 0 && path[len - 1] == '/'; len--) {
        path[len - 1] = '\0';
    }
    if (shape == BIZ_URL_ORIGIN && path[0] != '\0') {
        return url_refuse(why, "a path is not allowed: an origin is scheme, host and port");
    }
    if (!is_path(path)) {
        return url_refuse(why, "the path has characters or segments that are not allowed");
    }
    if (port == 0 || port == (strcmp(scheme, "https") == 0 ? 443 : 80)) {
        return apr_pstrcat(pool, scheme, "://", host, path, NULL);
    }
    return apr_psprintf(pool, "%s://%s:%d%s", scheme, host, port, path);
}

int biz_url_is_loopback(const char *url)
{
    const char *host = url ? strstr(url, "://") : NULL;
    struct in_addr four;
    char text[HOST_MAX + 1];
    size_t len;

    if (!host) {
        return 0;
    }
    host += 3;
    len = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
    if (len >= sizeof(text)) {
        return 0;
    }
    memcpy(text, host, len);
    text[len] = '\0';
    return strcmp(text, "localhost") == 0 || strcmp(text, "[::1]") == 0 ||
           (inet_pton(AF_INET, text, &four) == 1 && ntohl(four.s_addr) >> 24 == 127);
}

int biz_valid_degrees(const char *text, int most, double *out)
{
    const char *p = text[0] == '-' ? text + 1 : text;
    int whole = 0, places = 0;
    double part = 0, unit = 1;

    if (p[0] < '0' || p[0] > '9')
        return 0;
    for (; *p >= '0' && *p <= '9' && whole <= most; p++)
        whole = whole * 10 + (*p - '0');
    if (*p == '.') {
        for (p++; *p >= '0' && *p <= '9' && places < 8; p++, places++) {
            part = part * 10 + (*p - '0');
            unit *= 10;
        }
        if (places == 0)
            return 0;
    }
    *out = whole + part / unit;
    if (*p != '\0' || *out > most)
        return 0;
    if (text[0] == '-')
        *out = -*out;
    return 1;
}
