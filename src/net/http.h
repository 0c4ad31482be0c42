/* http.h: calls to other servers; libcurl behind it (curl.c alone). Bounded in time and size, no
 * redirects, certificates verified, never an exception to any of these. */
#ifndef BIZ_NET_HTTP_H
#define BIZ_NET_HTTP_H

#include <stddef.h>
#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_errno.h>

/* Once a process before threads; released with the pool. */
apr_status_t net_init(apr_pool_t *pool);

typedef struct {
    const char *method;         /* "GET", "POST", ... */
    const char *url;            /* https, or http on loopback; anything else is refused */
    const char *const *headers; /* "Name: value", NULL-terminated, or NULL */
    const char *body;           /* or NULL */
    size_t body_len;
    long connect_ms, total_ms;  /* both must be set */
    size_t max_answer;          /* bytes; 0: 1 MiB */
} net_request;

/* How far a call came, for those who must know whether a repeat is harmless. */
typedef enum {
    NET_DONE,        /* an answer came, whatever its status */
    NET_NOT_SENT,    /* no connection: certainly not processed */
    NET_UNKNOWN      /* the request left; whether it was processed is not known */
} net_outcome;

typedef struct {
    net_outcome outcome;
    long status;
    apr_table_t *headers;
    const char *body; /* NUL-terminated beyond body_len */
    size_t body_len;
    long elapsed_ms;
    const char *error; /* English, without URL query, for the log; NULL where outcome is NET_DONE */
} net_answer;

/* Always fills *answer; lives in the pool. */
void net_call(apr_pool_t *pool, const net_request *request, net_answer *answer);

/* ---- SMTP (RFC 5321) ---- */

typedef struct {
    const char *url;      /* smtp://[user:password@]host[:port][?tls=required|opportunistic|off] */
    const char *from, *to; /* bare addresses */
    const char *message;  /* CRLF lines */
    size_t len;
    long connect_ms, total_ms;
} net_smtp;

typedef struct {
    net_outcome outcome; /* NET_DONE: the server took it (or refused it: see code) */
    long code;           /* last SMTP reply code, 0 where there was none */
    const char *error;   /* NULL where it was accepted; never holds the password */
} net_smtp_answer;

/* Sends one message; connections are kept and used again by the same session. */
typedef struct net_smtp_session net_smtp_session;
net_smtp_session *net_smtp_open(apr_pool_t *pool);
void net_smtp_send(net_smtp_session *session, apr_pool_t *pool, const net_smtp *mail,
                   net_smtp_answer *answer);
/* NULL where the url is good, else what is wrong, for configuration tests. */
const char *net_smtp_url_error(apr_pool_t *pool, const char *url);

#endif
