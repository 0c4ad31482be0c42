/* fake_http.h: a web server for the unit tests, on a free port of 127.0.0.1, a thread a connection.
 * It gives the bytes it was told to give and keeps what it was sent. */
#ifndef FAKE_HTTP_H
#define FAKE_HTTP_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

typedef enum {
    FAKE_ANSWER,  /* the bytes of `answer`; the connection stays open */
    FAKE_CLOSE,   /* reads the request and closes without a word */
    FAKE_SILENT,  /* reads the request and says nothing until the test ends it */
    FAKE_ENDLESS, /* `answer`, then bytes without end */
    FAKE_DRIP     /* `answer`, then one byte a second */
} fake_mode;

enum { FAKE_CONNECTIONS = 64 };

typedef struct {
    int listener, port;
    pthread_t thread, talks[FAKE_CONNECTIONS];
    pthread_mutex_t lock;
    _Atomic fake_mode mode;
    const char *_Atomic answer;
    _Atomic int stop, requests, connections;
    char last[65536]; /* head and body of the last request */
    size_t last_len;
} fake_http;

static inline int fake_readable(fake_http *f, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    while (!f->stop) {
        if (poll(&p, 1, 20) > 0) {
            return 1;
        }
    }
    return 0;
}

/* One request into f->last; 0 where the client has gone. */
static inline int fake_read(fake_http *f, int fd)
{
    char buffer[65536];
    size_t len = 0, want = 0;
    char *end = NULL, *length;

    while (len < sizeof(buffer) - 1 && (!end || len < want) && fake_readable(f, fd)) {
        ssize_t n = read(fd, buffer + len, sizeof(buffer) - 1 - len);

        if (n <= 0) {
            return 0;
        }
        len += (size_t)n;
        buffer[len] = '\0';
        end = strstr(buffer, "\r\n\r\n");
        if (end) {
            length = strcasestr(buffer, "\r\nContent-Length:");
            want = (size_t)(end + 4 - buffer);
            if (length && length < end) {
                want += (size_t)strtoul(length + 17, NULL, 10);
            }
        }
    }
    if (!end || len < want) {
        return 0;
    }
    pthread_mutex_lock(&f->lock);
    memcpy(f->last, buffer, len + 1);
    f->last_len = len;
    f->requests++;
    pthread_mutex_unlock(&f->lock);
    return 1;
}

static inline int fake_write(int fd, const char *data, size_t len)
{
    return send(fd, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static inline void fake_talk(fake_http *f, int fd)
{
    static const char many[4096] = {'x'};

    while (fake_read(f, fd)) {
        fake_mode mode = f->mode;

        if (mode == FAKE_CLOSE) {
            return;
        }
        if (mode == FAKE_SILENT) {
            fake_readable(f, fd);
            return;
        }
        if (!fake_write(fd, f->answer, strlen(f->answer))) {
            return;
        }
        while (mode == FAKE_ENDLESS && !f->stop && fake_write(fd, many, sizeof(many))) {
        }
        while (mode == FAKE_DRIP && !f->stop && fake_write(fd, "x", 1)) {
            struct pollfd p = {.fd = fd, .events = POLLIN};

            if (poll(&p, 1, 1000) > 0) {
                return;
            }
        }
        if (mode != FAKE_ANSWER) {
            return;
        }
    }
}

typedef struct {
    fake_http *f;
    int fd;
} fake_connection;

static inline void *fake_one(void *context)
{
    fake_connection c = *(fake_connection *)context;

    free(context);
    fake_talk(c.f, c.fd);
    close(c.fd);
    return NULL;
}

static inline void *fake_run(void *context)
{
    fake_http *f = context;

    while (f->connections < FAKE_CONNECTIONS && fake_readable(f, f->listener)) {
        fake_connection *c = malloc(sizeof(*c));

        c->f = f;
        c->fd = accept(f->listener, NULL, NULL);
        pthread_create(&f->talks[f->connections++], NULL, fake_one, c);
    }
    return NULL;
}

static inline void fake_start(fake_http *f)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof(at);

    memset(f, 0, sizeof(*f));
    pthread_mutex_init(&f->lock, NULL);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (f->listener < 0 || bind(f->listener, (struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(f->listener, 16) != 0 ||
        getsockname(f->listener, (struct sockaddr *)&at, &len) != 0) {
        perror("fake_http");
        exit(2);
    }
    f->port = ntohs(at.sin_port);
    f->answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    pthread_create(&f->thread, NULL, fake_run, f);
}

static inline void fake_stop(fake_http *f)
{
    f->stop = 1;
    pthread_join(f->thread, NULL);
    for (int i = 0; i < f->connections; i++) {
        pthread_join(f->talks[i], NULL);
    }
    close(f->listener);
}

#endif
