/* shim.c: comes into the tests' Apache by LD_PRELOAD (kit.py: Shim) and is no part of the
 * product. Things that cannot be seen or done from outside:
 *
 *   SHIM_KILL   a file: while it is there, the process that is about to write the first byte of an
 *               HTTP answer removes it and kills itself: after all commits, before the answer
 *   SHIM_COUNT  a file: gets a byte for each ECDSA signature that is checked
 *
 * And it mends libfaketime behind it, which takes every wait for one by the wall clock, so that
 * waits by the steady clock end at once or late. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    static ssize_t (*real)(int, const struct iovec *, int);
    const char *file = getenv("SHIM_KILL");

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "writev");
    if (file && n > 0 && parts[0].iov_len >= 9 && memcmp(parts[0].iov_base, "HTTP/1.1 ", 9) == 0 &&
        unlink(file) == 0)
        kill(getpid(), SIGKILL);
    return real(fd, parts, n);
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
