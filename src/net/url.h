/* url.h: which urls may be called, and how. Between url.c, which decides, and curl.c, which takes
 * them apart: the parser that decides is the one that will connect. */
#ifndef BIZ_NET_URL_H
#define BIZ_NET_URL_H

#include <apr_pools.h>

/* A url in its parts; NULL where there is none. User and password are decoded. */
typedef struct {
    const char *scheme, *user, *password, *host, *path, *query, *fragment;
    const char *server; /* scheme, host and port alone */
    int loopback;       /* the host is this machine */
} net_parts;

/* 1, or 0 where it is no url. curl.c has it. */
int net_url_split(apr_pool_t *pool, const char *url, net_parts *parts);

/* NULL, or why net_call() will not call it. */
const char *net_http_refused(apr_pool_t *pool, const char *url, int *loopback);

typedef enum { SMTP_TLS_OFF, SMTP_TLS_OPPORTUNISTIC, SMTP_TLS_REQUIRED } smtp_tls;

typedef struct {
    const char *server, *user, *password;
    int implicit; /* smtps */
    smtp_tls tls;
    int verify; /* the server's certificate */
} smtp_place;

/* NULL and *place, or what is wrong with the url. */
const char *net_smtp_place(apr_pool_t *pool, const char *url, smtp_place *place);

#endif
