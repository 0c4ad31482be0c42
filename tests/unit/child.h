/* child.h: starts a program for a unit test, reads the port it prints and ends it. Paths are those
 * of the repository's root, where the tests run. */
#ifndef TEST_CHILD_H
#define TEST_CHILD_H

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* By how much a time that only keeps a test from hanging is longer where a sanitizer slows it. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { PATIENCE = 8 };
#else
enum { PATIENCE = 1 };
#endif

typedef struct {
    pid_t pid;
    int port;
} child;

/* `marker`: the port is the number after this text in what the program prints; "" for its first
 * line. Ends the test run where no port comes. */
static inline child child_start(const char *const *argv, const char *marker)
{
    child c = {.pid = -1};
    char line[512] = "";
    int pipes[2];
    FILE *in;

    if (pipe(pipes) != 0 || (c.pid = fork()) < 0) {
        perror(argv[0]);
        exit(2);
    }
    if (c.pid == 0) {
        dup2(pipes[1], 1);
        close(pipes[0]);
        close(pipes[1]);
        execvp(argv[0], (char *const *)argv);
        perror(argv[0]);
        _exit(127);
    }
    close(pipes[1]);
    in = fdopen(pipes[0], "r");
    while (c.port == 0 && fgets(line, sizeof(line), in)) {
        const char *at = strstr(line, marker);

        if (at) {
            at += strlen(marker);
            c.port = (int)strtol(at, NULL, 10);
        }
    }
    fclose(in);
    if (c.port == 0) {
        fprintf(stderr, "%s did not start\n", argv[0]);
        exit(2);
    }
    return c;
}

static inline void child_stop(child *c)
{
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        waitpid(c->pid, NULL, 0);
        c->pid = -1;
    }
}

/* The whole file, or "" where it is not there; released by free(). */
static inline char *file_text(const char *path)
{
    FILE *in = fopen(path, "r");
    char *text = calloc(1, 1 << 20);

    if (in) {
        size_t n = fread(text, 1, (1 << 20) - 1, in);

        text[n] = '\0';
        fclose(in);
    }
    return text;
}

static inline int count_of(const char *text, const char *word)
{
    int n = 0;

    for (; (text = strstr(text, word)) != NULL; text += strlen(word)) {
        n++;
    }
    return n;
}

#endif
