/* url.c: the rules for urls that we call: where plain text may go, where a password may go. Pure;
 * called by curl.c before each call and by the configuration. */
#include "url.h"

#include <string.h>

#include "http.h"

const char *net_http_refused(apr_pool_t *pool, const char *url, int *loopback)
{
    net_parts u;

    *loopback = 0;
    if (!net_url_split(pool, url, &u)) {
        return "the url is not valid";
    }
    *loopback = u.loopback;
    if (strcmp(u.scheme, "https") != 0 && strcmp(u.scheme, "http") != 0) {
        return "the url must be https";
    }
    if (strcmp(u.scheme, "http") == 0 && !u.loopback) {
        return "http is allowed to this machine only; use https";
    }
    return u.user || u.password ? "the url must not hold a user or a password" : NULL;
}

const char *net_url_error(apr_pool_t *pool, const char *url)
{
    int loopback;

    return net_http_refused(pool, url, &loopback);
}

/* ---- SMTP ---- */

static const char *set_tls(const net_parts *u, smtp_place *place)
{
    const char *how = u->loopback ? "opportunistic" : "required";

    if (u->query && strncmp(u->query, "tls=", 4) != 0) {
        return "the only parameter is tls=required, tls=opportunistic or tls=off";
    }
    if (u->query) {
        how = u->query + 4;
    }
    if (place->implicit && u->query && strcmp(how, "required") != 0) {
        return "smtps is always TLS; use smtp:// for tls=opportunistic or tls=off";
    }
    if (place->implicit || strcmp(how, "required") == 0) {
        place->tls = SMTP_TLS_REQUIRED;
    } else if (strcmp(how, "opportunistic") == 0) {
        place->tls = SMTP_TLS_OPPORTUNISTIC;
    } else if (strcmp(how, "off") == 0) {
        place->tls = SMTP_TLS_OFF;
    } else {
        return "tls must be required, opportunistic or off";
    }
    place->verify = place->tls != SMTP_TLS_OPPORTUNISTIC || !u->loopback;
    if (place->password && place->tls != SMTP_TLS_REQUIRED && !u->loopback) {
        return "a password is not sent to another host without TLS; use tls=required or smtps://";
    }
    return NULL;
}

const char *net_smtp_place(apr_pool_t *pool, const char *url, smtp_place *place)
{
    net_parts u;

    memset(place, 0, sizeof(*place));
    if (!net_url_split(pool, url, &u)) {
        return "it is not a valid url; a user or password must be percent-encoded";
    }
    if (strcmp(u.scheme, "smtp") != 0 && strcmp(u.scheme, "smtps") != 0) {
        return "it must begin with smtp:// or smtps://";
    }
    if ((u.path && strcmp(u.path, "/") != 0) || u.fragment) {
        return "nothing but ?tls=... may follow the host; a '/' or '#' in a password is %2F or %23";
    }
    if (!u.user != !u.password || (u.user && !u.user[0])) {
        return "user and password must both be there, percent-encoded, or neither";
    }
    place->server = u.server;
    place->user = u.user;
    place->password = u.password;
    place->implicit = strcmp(u.scheme, "smtps") == 0;
    return set_tls(&u, place);
}

const char *net_smtp_url_error(apr_pool_t *pool, const char *url)
{
    smtp_place place;

    return net_smtp_place(pool, url, &place);
}
