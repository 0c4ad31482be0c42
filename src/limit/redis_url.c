/* redis_url.c: where a Redis is, from the text in the configuration. Called once a start. It must
 * not put any part of the text into a message: there may be a password in it. */
#include "internal.h"

#include <netdb.h>
#include <string.h>
#include <sys/un.h>

#include <apr_lib.h>
#include <apr_strings.h>

#include "core/str.h"

enum { URL_MAX = 2048, DEFAULT_PORT = 6379, DB_MAX = 9999 };

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef";
    const char *at = c ? strchr(digits, apr_tolower(c)) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* NULL where an escape is malformed or stands for NUL. */
static const char *decode(apr_pool_t *pool, const char *text, size_t len)
{
    char *out = apr_palloc(pool, len + 1);
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        out[n] = text[i];
        if (text[i] == '%') {
            int high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
            int low = i + 2 < len ? hex_digit(text[i + 2]) : -1;

            if (high < 0 || low < 0 || (high == 0 && low == 0)) {
                return NULL;
            }
            out[n] = (char)(high * 16 + low);
            i += 2;
        }
        n++;
    }
    out[n] = '\0';
    return out;
}

/* "password@", ":password@" or "user:password@" before *rest; moves it on. */
static const char *take_user(apr_pool_t *pool, const char **rest, const char *end,
                             limit_redis_url *out)
{
    const char *at = NULL, *colon;

    for (const char *p = *rest; p < end; p++) {
        at = *p == '@' ? p : at;
    }
    if (!at) {
        return NULL;
    }
    colon = memchr(*rest, ':', (size_t)(at - *rest));
    if (colon && colon > *rest) {
        out->user = decode(pool, *rest, (size_t)(colon - *rest));
        if (!out->user) {
            return "an escape in the user name is malformed";
        }
    }
    colon = colon ? colon + 1 : *rest;
    out->password = decode(pool, colon, (size_t)(at - colon));
    if (!out->password || out->password[0] == '\0') {
        return "the password before '@' is empty or has a malformed escape";
    }
    *rest = at + 1;
    return NULL;
}

static const char *take_db(const char *text, limit_redis_url *out)
{
    int64_t db;

    if (!biz_parse_int(text, 0, DB_MAX, &db)) {
        return "the database is a number from 0 to 9999";
    }
    out->db = (int)db;
    return NULL;
}

/* [user:password@]/path[?db=N] */
static const char *parse_unix(apr_pool_t *pool, const char *rest, limit_redis_url *out)
{
    const char *query, *slash = strchr(rest, '/');
    const char *why = take_user(pool, &rest, slash ? slash : rest + strlen(rest), out);

    if (why) {
        return why;
    }
    query = strchr(rest, '?');
    out->path = query ? apr_pstrmemdup(pool, rest, (apr_size_t)(query - rest)) : rest;
    if (out->path[0] != '/' || out->path[1] == '\0') {
        return "the path of the socket begins with '/': redis+unix:///run/redis/redis.sock";
    }
    if (strlen(out->path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
        return "the path of the socket is too long";
    }
    if (query && strncmp(query, "?db=", 4) != 0) {
        return "after the path of the socket only ?db=N may stand";
    }
    return query ? take_db(query + 4, out) : NULL;
}

/* [user:password@]host[:port][/db] */
static const char *parse_tcp(apr_pool_t *pool, const char *rest, limit_redis_url *out)
{
    const char *end, *why, *close, *colon;
    int64_t port = DEFAULT_PORT;

    end = strrchr(rest, '@'); /* a password may hold a slash */
    end = end ? end + strcspn(end, "/?#") : rest + strcspn(rest, "/?#");
    why = take_user(pool, &rest, end, out);
    if (why) {
        return why;
    }
    if (*rest == '[') {
        close = memchr(rest, ']', (size_t)(end - rest));
        if (!close || (close + 1 != end && close[1] != ':')) {
            return "the bracket of the IPv6 address is not closed";
        }
        out->host = apr_pstrmemdup(pool, rest + 1, (apr_size_t)(close - rest - 1));
        colon = close + 1 == end ? NULL : close + 1;
    } else {
        colon = memchr(rest, ':', (size_t)(end - rest));
        out->host = apr_pstrmemdup(pool, rest, (apr_size_t)((colon ? colon : end) - rest));
    }
    if (out->host[0] == '\0') {
        return "the host is missing: redis://host:6379";
    }
    if (colon && !biz_parse_int(apr_pstrmemdup(pool, colon + 1, (apr_size_t)(end - colon - 1)), 1,
                                65535, &port)) {
        return "the port is a number from 1 to 65535";
    }
    out->port = (int)port;
    if (end[0] == '/' && end[1] != '\0') {
        return take_db(end + 1, out);
    }
    return end[0] == '\0' || end[0] == '/' ? NULL
                                           : "after the host only /N, the database, may stand";
}

const char *limit_redis_url_parse(apr_pool_t *pool, const char *url, limit_redis_url *out)
{
    memset(out, 0, sizeof(*out));
    if (strlen(url) > URL_MAX) {
        return "it is too long";
    }
    for (const char *p = url; *p; p++) {
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f) {
            return "it holds a space or a sign that must be written as %XX";
        }
    }
    if (strncmp(url, "redis://", 8) == 0) {
        return parse_tcp(pool, url + 8, out);
    }
    if (strncmp(url, "redis+unix://", 13) == 0) {
        return parse_unix(pool, url + 13, out);
    }
    if (strncmp(url, "unix://", 7) == 0) {
        return parse_unix(pool, url + 7, out);
    }
    if (strncmp(url, "rediss://", 9) == 0) {
        return "TLS to Redis is not built in: set up a tunnel such as stunnel and name its near "
               "end";
    }
    return "it begins with redis:// or redis+unix://";
}

const char *limit_redis_url_error(apr_pool_t *pool, const char *url)
{
    limit_redis_url parsed;

    return limit_redis_url_parse(pool, url, &parsed);
}

const char *limit_redis_places(apr_pool_t *pool, const limit_redis_url *url,
                               limit_redis_place places[LIMIT_REDIS_PLACES], int *n)
{
    struct addrinfo hints, *all, *a;
    int rv;

    *n = 0;
    if (url->path) {
        struct sockaddr_un *un = (struct sockaddr_un *)&places[0].addr;

        un->sun_family = AF_UNIX;
        apr_cpystrn(un->sun_path, url->path, sizeof(un->sun_path));
        places[0].len = sizeof(*un);
        *n = 1;
        return NULL;
    }
    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    rv = getaddrinfo(url->host, apr_itoa(pool, url->port), &hints, &all);
    if (rv != 0) {
        return apr_psprintf(pool, "the host of Redis cannot be found: %s", gai_strerror(rv));
    }
    for (a = all; a && *n < LIMIT_REDIS_PLACES; a = a->ai_next) {
        memcpy(&places[*n].addr, a->ai_addr, a->ai_addrlen);
        places[*n].len = a->ai_addrlen;
        ++*n;
    }
    freeaddrinfo(all);
    return NULL;
}
