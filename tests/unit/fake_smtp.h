/* fake_smtp.h: a mail server that follows a script, and the carrier that leads to it: no socket,
 * every byte is there or is not as a test wants it. Included after core_test.h. */
#ifndef FAKE_SMTP_H
#define FAKE_SMTP_H

#include <unistd.h>

#include "net/smtp.h"

#define GONE "\x04" /* in an answer: the server closes the connection */

/* What is answered once the text ends so; NULL ends the list. */
typedef struct {
    const char *after, *answer;
} turn;

/* The server. What was sent is in `heard`, a '|' behind each call's. */
static struct {
    const char *hello; /* lines, while a connection is made */
    const turn *turns;
    const char *unasked; /* stands on the line before anything is said */
    size_t takes, gives; /* bytes at most a call; 0: all */
    int ends;            /* the process has to */
    int connects, closed, waits;
    size_t breaks; /* the line does, once so many bytes were heard */
    int stuck;     /* it does not answer QUIT */
    int open, has_gone, full;
    char heard[8192], answers[200000];
    size_t len, begun, at,
        to; /* of `heard`, its last piece; what of `answers` was read, is there */
} server;

static void *fake_connect(apr_pool_t *p, const smtp_place *place, long connect_ms, long total_ms,
                          smtp_hello *hello)
{
    assert_true(connect_ms > 0 && total_ms > 0);
    for (const char *line = server.hello; *line;) {
        size_t len = strcspn(line, "\n") + 1;

        smtp_hear(hello, line, len);
        hello->code = strtol(line, NULL, 10);
        line += len;
    }
    if (hello->code >= 400) {
        hello->error = "Login denied";
        return NULL;
    }
    server.connects++;
    server.open = 1;
    server.at = server.to = 0;
    server.has_gone = 0;
    server.begun = server.len;
    if (server.unasked) {
        server.to = strlen(strcpy(server.answers, server.unasked));
        server.unasked = NULL;
    }
    return &server;
}

static long fake_send(void *line, const char *data, size_t len)
{
    size_t end, n = server.takes && server.takes < len ? server.takes : len;

    assert_true(server.open);
    if (server.breaks && server.len >= server.breaks) {
        server.breaks = 0;
        server.has_gone = 1;
    }
    if (server.has_gone)
        return -1;
    server.full = server.takes && !server.full; /* every other time there is no room */
    if (server.full)
        return 0;
    assert_true(server.len + n + 2 < sizeof(server.heard));
    memcpy(server.heard + server.len, data, n);
    server.len += n;
    end = server.turns ? strlen(server.turns->after) : 0;
    if (server.turns && server.len - server.begun >= end &&
        memcmp(server.heard + server.len - end, server.turns->after, end) == 0) {
        strcpy(server.answers + server.to, server.turns->answer);
        server.to += strlen(server.turns->answer);
        server.turns++;
        if (!server.turns->after)
            server.turns = NULL;
    }
    server.heard[server.len] = '\0';
    if (strcmp(server.heard + server.begun, "QUIT\r\n") == 0 && !server.stuck)
        server.has_gone = 1;
    if (n == len) {
        server.heard[server.len++] = '|';
        server.begun = server.len;
        server.heard[server.len] = '\0';
    }
    return (long)n;
}

static long fake_receive(void *line, char *data, size_t room)
{
    size_t n = server.to - server.at;

    assert_true(server.open);
    if (n > room)
        n = room;
    if (server.gives && n > server.gives)
        n = server.gives;
    for (size_t i = 0; i < n; i++) {
        if (server.answers[server.at + i] == *GONE) {
            server.has_gone = 1;
            n = i;
        }
    }
    if (n == 0)
        return server.has_gone ? -1 : 0;
    memcpy(data, server.answers + server.at, n);
    server.at += n;
    return (long)n;
}

static int fake_wait(void *line, int to_send, long ms)
{
    assert_true(ms > 0 && ms <= 200);
    server.waits++;
    if (!to_send)
        usleep((useconds_t)ms * 1000);
    return !server.ends;
}

static void fake_close(void *line)
{
    server.closed++;
    server.open = 0;
}

static const smtp_carrier fake = {fake_connect, fake_send, fake_receive, fake_wait, fake_close};

#endif
