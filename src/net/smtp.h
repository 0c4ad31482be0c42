/* smtp.h: between smtp.c, which speaks to mail servers, and curl.c, which connects to them. */
#ifndef BIZ_NET_SMTP_H
#define BIZ_NET_SMTP_H

#include <stddef.h>
#include <apr_pools.h>

#include "http.h"
#include "url.h"

enum {
    SMTP_REPLY_SECONDS = 8, /* a server's answer to one command */
    SMTP_LINE_MAX = 1000    /* bytes of a line of it; RFC 5321 section 4.5.3.1.5 allows 512 */
};

/* What was said while a connection was made: greeting, EHLO, STARTTLS, AUTH. */
typedef struct {
    int pipelining, size; /* the last EHLO offers it: RFC 2920, RFC 1870 */
    int in_list;          /* for smtp_hear(): the next line is one of EHLO's answer */
    char refusal[512];    /* the last line the server refused something with, or "" */
    long code;            /* the last reply, 0 where there was none */
    int no_tls;           /* as in net_smtp_answer */
    const char *error;    /* NULL where there is a connection */
} smtp_hello;

/* Takes one line of the server's, in their order. */
void smtp_hear(smtp_hello *hello, const char *line, size_t len);

/* How smtp.c reaches a server. A line is one connection on which the server waits for a mail. */
typedef struct {
    /* NULL and hello->error where there is none; hello comes zeroed. */
    void *(*connect)(apr_pool_t *pool, const smtp_place *place, long connect_ms, long total_ms,
                     smtp_hello *hello);
    /* Never wait. The bytes sent or received, 0 where that is not possible now, -1 where the line
     * has gone. After 0 the same bytes are sent again, as TLS wants it. */
    long (*send)(void *line, const char *data, size_t len);
    long (*receive)(void *line, char *data, size_t room);
    /* At most `ms`. 0 where the process has to end. */
    int (*wait)(void *line, int to_send, long ms);
    void (*close)(void *line);
} smtp_carrier;

extern const smtp_carrier net_smtp_carrier; /* curl.c has it */

/* As net_smtp_open(), by another carrier: for tests. */
net_smtp_session *net_smtp_open_by(apr_pool_t *pool, const smtp_carrier *carrier);

/* ---- a reply (RFC 5321 section 4.2) ---- */

typedef enum { SMTP_MORE, SMTP_WHOLE, SMTP_JUNK } smtp_state;

typedef struct {
    smtp_state state;             /* JUNK: it is no reply, or longer than any should be */
    long code;                    /* once it is WHOLE */
    char line[SMTP_LINE_MAX + 1]; /* its last line, without the end */
    size_t len;
    int lines;
} smtp_reply;

/* Takes bytes of a reply that began zeroed, to its end at most; how many. */
size_t smtp_reply_take(smtp_reply *reply, const char *data, size_t len);

#endif
