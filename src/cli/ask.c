/* ask.c: what only a person knows: names and passwords. Asked on the controlling terminal, so that
 * stdin and stdout may be pipes. A password is never an argument of the command: others could read
 * it in the list of processes. */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <apr_strings.h>

#include "core/crypto.h"
#include "core/password.h"
#include "core/str.h"

enum { LINE_SIZE = 4096 };

static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
}

static int terminal_open(void)
{
    return open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
}

int cli_can_ask(void)
{
    int fd = terminal_open();

    if (fd < 0)
        return 0;
    close(fd);
    return 1;
}

/* One line without its newline. The length, -1 at the end of input or by a signal, -2 when it is
 * longer than the buffer. Signals are let in by `while_waiting` alone: one that came between a look
 * at `caught` and read() would not wake it. */
static ssize_t read_line(int fd, const sigset_t *while_waiting, char *buf, size_t size)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    size_t len = 0;
    ssize_t n;
    char ch;
    int long_line = 0;

    for (;;) {
        n = ppoll(&wait, 1, NULL, while_waiting) < 0 ? -1 : read(fd, &ch, 1);
        if (n < 0 && errno == EINTR && !caught)
            continue;
        if (n < 0 || (n == 0 && len == 0))
            return -1;
        if (n == 0 || ch == '\n')
            break;
        if (len + 1 < size)
            buf[len++] = ch;
        else
            long_line = 1;
    }
    buf[len] = '\0';
    return long_line ? -2 : (ssize_t)len;
}

/* The terminal's echo is put back whatever ends the question, a signal too. */
static ssize_t ask(int fd, const char *prompt, int echo, char *buf, size_t size)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction action = {.sa_handler = on_signal}, old[STORE_COUNT_OF(signals)], old_stop;
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct termios was, quiet;
    sigset_t held, before;
    ssize_t len = -1;
    size_t i;
    int changed = 0;

    caught = 0;
    sigemptyset(&held);
    for (i = 0; i < STORE_COUNT_OF(signals); i++) {
        sigaddset(&held, signals[i]);
        sigaction(signals[i], &action, &old[i]);
    }
    sigprocmask(SIG_BLOCK, &held, &before);
    sigaction(SIGTSTP, &ignore, &old_stop);
    if (!echo && tcgetattr(fd, &was) == 0) {
        quiet = was;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        changed = tcsetattr(fd, TCSAFLUSH, &quiet) == 0;
    }
    /* Better no password than one that everybody in the room has read. */
    if ((echo || changed) && write(fd, prompt, strlen(prompt)) >= 0)
        len = read_line(fd, &before, buf, size);
    if (changed) {
        tcsetattr(fd, TCSAFLUSH, &was);
        if (write(fd, "\n", 1) < 0)
            len = -1;
    }
    sigaction(SIGTSTP, &old_stop, NULL);
    for (i = 0; i < STORE_COUNT_OF(signals); i++)
        sigaction(signals[i], &old[i], NULL);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (caught) {
        biz_wipe(buf, size);
        raise(caught);
    }
    return len;
}

int cli_ask(cli *c, const char *prompt, const char **answer)
{
    char buf[LINE_SIZE];
    ssize_t len = -1;
    int fd = terminal_open();

    if (fd >= 0) {
        len = ask(fd, prompt, 1, buf, sizeof(buf));
        close(fd);
    }
    if (len < 0)
        return cli_fail(CLI_FAILED, "no answer was given");
    *answer = apr_pstrmemdup(c->pool, buf, (size_t)len);
    return CLI_OK;
}

/* Twice, because nobody sees what is typed. */
static int password_from_terminal(const cli *c, char *buf, size_t size)
{
    char again[LINE_SIZE];
    int fd = terminal_open(), status = CLI_OK;
    ssize_t len;

    if (fd < 0)
        return cli_usage(c,
                         "there is no terminal to ask for the password on; use --password-stdin");
    len = ask(fd, "New password: ", 0, buf, size);
    if (len == -2)
        status = cli_fail(CLI_FAILED, "the password is too long");
    else if (len < 0)
        status = cli_fail(CLI_FAILED, "no password was given");
    else if (ask(fd, "The same again: ", 0, again, sizeof(again)) != len ||
             !biz_same(buf, again, (size_t)len))
        status = cli_fail(CLI_FAILED, "the two passwords are not the same; nothing was changed");
    close(fd);
    biz_wipe(again, sizeof(again));
    return status;
}

/* All of stdin: one line, with or without its newline (LF or CR LF). */
static int password_from_stdin(char *buf, size_t size)
{
    size_t len = 0;
    ssize_t n = 0;

    while (len < size - 1) {
        n = read(STDIN_FILENO, buf + len, size - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    if (n < 0)
        return cli_fail(CLI_FAILED, "the password cannot be read from stdin");
    if (len == size - 1)
        return cli_fail(CLI_FAILED, "the password is too long");
    if (len > 0 && buf[len - 1] == '\n')
        len -= len > 1 && buf[len - 2] == '\r' ? 2 : 1;
    buf[len] = '\0';
    if (len == 0)
        return cli_fail(CLI_FAILED, "no password was given on stdin");
    if (memchr(buf, '\n', len) != NULL || memchr(buf, '\0', len) != NULL)
        return cli_fail(CLI_FAILED, "stdin must hold one line, the password alone");
    return CLI_OK;
}

int cli_new_password(cli *c, const char *email, const char *name, const char **hash)
{
    static const char *const context[] = {"bizapi", "mod_bizapi", NULL};
    char buf[LINE_SIZE];
    const char *weakness;
    int status;

    if (cli_opt(c, "password-stdin") != NULL && !isatty(STDIN_FILENO))
        status = password_from_stdin(buf, sizeof(buf));
    else
        status = password_from_terminal(c, buf, sizeof(buf));
    if (status != CLI_OK)
        goto leave;
    if (biz_utf8_count(buf, strlen(buf)) < 0) {
        status = cli_fail(CLI_FAILED, "the password is not valid UTF-8");
        goto leave;
    }
    weakness = biz_password_weakness(buf, email, name, context);
    if (weakness != NULL)
        status = cli_fail(CLI_FAILED, "this password is refused: %s", weakness);
    else if (biz_password_hash(c->pool, buf, hash) != APR_SUCCESS)
        status = cli_fail(CLI_FAILED, "there is not enough memory to hash the password (19 MiB)");
leave:
    biz_wipe(buf, sizeof(buf));
    return status;
}
