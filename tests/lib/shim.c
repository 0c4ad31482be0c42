/* shim.c: comes into the tests' Apache by LD_PRELOAD (kit.py: Shim) and is no part of the
 * product. Things that cannot be seen or done from outside:
 *
 *   SHIM_KILL   a file: while it is there, the process that is about to write the first byte of an
 *               HTTP answer adds its number to the name and kills itself: after all commits,
 *               before the answer
 *   SHIM_STEP   a file with a number n: the thread that has read a request and is about to make the
 *               n-th commit of SQLite durable from now on removes it and kills its process: between
 *               two steps of a request
 *   SHIM_COUNT  a file: gets a byte for each ECDSA signature that is checked
 *   SHIM_BUSY   milliseconds that a child takes to look up its groups, and for each signature; a
 *               process that calls exit() in the middle of that says so and aborts
 *
 * And it mends libfaketime behind it, which takes every wait for one by the wall clock, so that
 * waits by the steady clock end at once or late. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static volatile int working; /* what a signal must not cut in two */

static long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void work(void)
{
    const char *text = getenv("SHIM_BUSY");
    long end = now_ms() + (text ? atol(text) : 0);

    working = 1;
    while (now_ms() < end)
        continue;
    working = 0;
}

int initgroups(const char *user, gid_t group)
{
    static int (*real)(const char *, gid_t);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "initgroups");
    work();
    return real(user, group);
}

void exit(int code)
{
    static const char complaint[] = "shim: exit() in the middle of work\n";
    static void (*real)(int) __attribute__((noreturn));

    if (working) {
        if (write(STDERR_FILENO, complaint, sizeof(complaint) - 1) > 0)
            abort();
    }
    *(void **)&real = dlsym(RTLD_NEXT, "exit");
    real(code);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    static ssize_t (*real)(int, const struct iovec *, int);
    const char *file = getenv("SHIM_KILL");

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "writev");
    if (file && n > 0 && parts[0].iov_len >= 9 && memcmp(parts[0].iov_base, "HTTP/1.1 ", 9) == 0) {
        char mine[4096];

        snprintf(mine, sizeof(mine), "%s.%d", file, (int)getpid());
        if (rename(file, mine) == 0)
            kill(getpid(), SIGKILL);
    }
    return real(fd, parts, n);
}

static _Thread_local int serves; /* requests, this thread */

ssize_t read(int from, void *bytes, size_t size)
{
    static const char *const methods[] = {"GET /", "POST /", "PATCH /", "DELETE /"};
    static ssize_t (*real)(int, void *, size_t);
    ssize_t got;
    size_t i;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "read");
    got = real(from, bytes, size);
    for (i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        serves |= got > 8 && memcmp(bytes, methods[i], strlen(methods[i])) == 0;
    return got;
}

int fdatasync(int to)
{
    static int (*real)(int);
    const char *file = getenv("SHIM_STEP");
    int fd = file && serves ? open(file, O_RDWR | O_CLOEXEC) : -1;
    char text[32] = "";
    long left;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
    if (fd >= 0) {
        left = pread(fd, text, sizeof(text) - 1, 0) > 0 ? atol(text) : 0;
        if (left == 1 && unlink(file) == 0)
            kill(getpid(), SIGKILL);
        snprintf(text, sizeof(text), "%9ld", left - 1);
        if (left > 1 && pwrite(fd, text, strlen(text), 0) < 0)
            abort();
        close(fd);
    }
    return real(to);
}

/* The types are OpenSSL's; a pointer is a pointer. */
int ECDSA_do_verify(const unsigned char *digest, int len, const void *signature, void *key);
int ECDSA_do_verify(const unsigned char *digest, int len, const void *signature, void *key)
{
    static int (*real)(const unsigned char *, int, const void *, void *);
    const char *file = getenv("SHIM_COUNT");
    int fd = file ? open(file, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "ECDSA_do_verify");
    if (fd >= 0) {
        if (write(fd, "v", 1) != 1)
            abort();
        close(fd);
    }
    work();
    return real(digest, len, signature, key);
}

typedef int (*wait_fn)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *lock,
                           const struct timespec *until)
{
    enum { STEADY = 2 }; /* glibc's mark in __wrefs: made with CLOCK_MONOTONIC */
    static wait_fn next, libc;

    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    if (!libc)
        *(void **)&libc = dlsym(dlopen("libc.so.6", RTLD_LAZY), "pthread_cond_timedwait");
    return (cond->__data.__wrefs & STEADY ? libc : next)(cond, lock, until);
}
