/* log.c: makes one finished log line and hands it to the program's sink. Called by everything below
 * src/httpd. It must not allocate: it is what speaks when memory has run out. */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <apr_errno.h>

enum {
    LINE_MAX_LEN = 8000,
    STATUS_MAX_LEN =
        200 /* kept free for the status, which tells more than the end of a long text */
};

static biz_log_sink *the_sink;

void biz_log_to(biz_log_sink *sink)
{
    the_sink = sink;
}

static const char *level_name(biz_level level)
{
    switch (level) {
    case BIZ_LOG_ERR:
        return "error";
    case BIZ_LOG_WARN:
        return "warning";
    case BIZ_LOG_NOTICE:
        return "notice";
    case BIZ_LOG_INFO:
        return "info";
    case BIZ_LOG_DEBUG:
        return "debug";
    }
    return "log";
}

/* Appends `text` with every byte outside printable ASCII as \xNN: whoever chose an argument cannot
 * begin a line of his own nor speak to the operator's terminal. Gives the new length. */
static size_t append_escaped(char *line, size_t at, size_t limit, const char *text)
{
    static const char digits[] = "0123456789abcdef";

    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p >= 0x20 && *p < 0x7f) {
            if (at + 1 > limit) {
                break;
            }
            line[at++] = (char)*p;
        } else {
            if (at + 4 > limit) {
                break;
            }
            line[at++] = '\\';
            line[at++] = 'x';
            line[at++] = digits[*p >> 4];
            line[at++] = digits[*p & 15];
        }
    }
    line[at] = '\0';
    return at;
}

/* Codes from APR_OS_START_USERERR up to the next range are ours; APR has no words for them. */
static void status_text(apr_status_t status, char *out, size_t size)
{
    char words[STATUS_MAX_LEN - 40];

    if (status >= APR_OS_START_USERERR && status < APR_OS_START_CANONERR) {
        snprintf(out, size, ": status %d", (int)status);
        return;
    }
    snprintf(out, size, ": %s", apr_strerror(status, words, sizeof(words)));
}

void biz_log(biz_level level, apr_status_t status, const char *fmt, ...)
{
    char raw[LINE_MAX_LEN];
    char line[LINE_MAX_LEN + 1];
    char tail[STATUS_MAX_LEN];
    size_t len;
    va_list args;

    va_start(args, fmt);
    if (vsnprintf(raw, sizeof(raw), fmt, args) < 0) {
        snprintf(raw, sizeof(raw), "a log line could not be formatted");
    }
    va_end(args);

    len = append_escaped(line, 0, LINE_MAX_LEN - STATUS_MAX_LEN, raw);
    if (status != APR_SUCCESS) {
        status_text(status, tail, sizeof(tail));
        append_escaped(line, len, LINE_MAX_LEN, tail);
    }
    if (the_sink) {
        the_sink(level, status, line);
    } else {
        fprintf(stderr, "%s: %s\n", level_name(level), line);
    }
}
