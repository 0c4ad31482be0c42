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
/* For a process that has to end: what is in flight ends within a second or so as if the connection
 * was lost, and later calls at once. */
void net_stop(void);
/* Asked while calls are in flight: 1 ends them likewise. Set once, before threads; or NULL. */
void net_stop_when(int (*asked)(void));

/* NULL where net_call() would call this url, else what is wrong: only https, and http where the
 * host is loopback; no user information. */
const char *net_url_error(apr_pool_t *pool, const char *url);

typedef struct {
    const char *method;         /* "GET", "POST", ...; see below */
    const char *url;            /* https, or http on loopback; anything else is refused */
    const char *const *headers; /* "Name: value", NULL-terminated, or NULL */
    const char *body;           /* or NULL */
    size_t body_len;
    long connect_ms, total_ms; /* both must be set */
    long first_byte_ms;        /* to the answer's first byte, to about a second; 0: total_ms */
    size_t max_answer;         /* bytes; 0: 1 MiB */
} net_request;

/* How far a call came, for those who must know whether a repeat is harmless. */
typedef enum {
    NET_DONE,     /* an answer came, whatever its status */
    NET_NOT_SENT, /* no connection: certainly not processed */
    NET_UNKNOWN   /* the request left; whether it was processed is not known */
} net_outcome;

typedef struct {
    net_outcome outcome;
    long status;
    apr_table_t *headers;
    const char *body; /* NUL-terminated beyond body_len */
    size_t body_len;
    long elapsed_ms;
    int stopped;       /* net_stop() cut it off: it says nothing about the other side */
    const char *error; /* English, without URL query, for the log; NULL where outcome is NET_DONE */
} net_answer;

/* Always fills *answer; lives in the pool. A call is made once: a connection that is kept from an
 * earlier call is used only where a repeat is harmless (GET, HEAD, or an Idempotency-Key header),
 * because libcurl sends again by itself where such a connection turns out to be dead. An answer
 * that is too long counts as NET_UNKNOWN, with its status. */
void net_call(apr_pool_t *pool, const net_request *request, net_answer *answer);

/* ---- SMTP (RFC 5321) ---- */

/* tls=required: STARTTLS with a certificate that is verified, the default; opportunistic: STARTTLS
 * where the server offers it, the default on loopback, where alone its certificate is not verified
 * (what is no worse than the plain text that would do there too); off. smtps: TLS from the first
 * byte. A password is never sent to another host without TLS. User and password are
 * percent-encoded in the url. */
typedef struct {
    const char *url; /* smtp[s]://[user:password@]host[:port][?tls=required|opportunistic|off] */
    const char *from, *to; /* bare addresses */
    const char *message;   /* CRLF lines */
    size_t len;
    long connect_ms, total_ms;
} net_smtp;

/* How far the conversation came: which command the last reply was given to. */
typedef enum {
    NET_SMTP_HELLO, /* greeting, EHLO, STARTTLS, AUTH */
    NET_SMTP_FROM,
    NET_SMTP_TO,
    NET_SMTP_DATA,
    NET_SMTP_END /* the whole message was handed over */
} net_smtp_step;

typedef struct {
    net_outcome outcome; /* NET_DONE: the server took it (or refused it: see code) */
    long code;           /* last SMTP reply code, 0 where there was none */
    net_smtp_step step;
    int no_tls;        /* what the url asks for: none is offered, or its certificate is not good */
    const char *reply; /* the last refusal, "" where there was none; not for the log */
    const char *error; /* NULL where it was accepted; holds no password and no address */
} net_smtp_answer;

/* Sends one message; the connection is kept, after a refusal too, and used again by the same
 * session, which belongs to one thread at a time. Where a kept connection has gone before the
 * message was handed over, the message goes over a new one, within the same total_ms. MAIL, RCPT
 * and DATA leave in one piece where the server offers PIPELINING (RFC 2920). */
typedef struct net_smtp_session net_smtp_session;
net_smtp_session *net_smtp_open(apr_pool_t *pool);
/* Says goodbye to the server, for 0.3 s at most; the next message connects anew. */
void net_smtp_rest(net_smtp_session *session);
void net_smtp_send(net_smtp_session *session, apr_pool_t *pool, const net_smtp *mail,
                   net_smtp_answer *answer);
/* NULL where the url is good, else what is wrong, for configuration tests. */
const char *net_smtp_url_error(apr_pool_t *pool, const char *url);

#endif
