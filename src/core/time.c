/* time.c: instants to RFC 3339 and back. Called by json.c, the stores and handlers. The arithmetic
 * is done here: the C library's takes a lock around the process's time zone for every call. */
#include "time.h"

#include <time.h>

#include <apr_strings.h>

/* Days from 1970-01-01 to a day of the proleptic Gregorian calendar. The year is taken to begin in
 * March, so that the leap day is its last one. */
static int64_t days_of(int64_t year, int month, int day)
{
    int64_t y = month > 2 ? year : year - 1;
    int64_t days_in_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

    return y * 365 + y / 4 - y / 100 + y / 400 + days_in_year - 719468;
}

static int is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* The first and the last second that years 0001 to 9999 have. */
#define SECOND_MIN (days_of(1, 1, 1) * 86400)
#define SECOND_MAX (days_of(10000, 1, 1) * 86400 - 1)

static char *two(char *at, int v)
{
    *at++ = (char)('0' + v / 10 % 10);
    *at++ = (char)('0' + v % 10);
    return at;
}

void biz_time_write(apr_time_t t, char out[BIZ_TIME_SIZE])
{
    int64_t second = t / APR_USEC_PER_SEC - (t % APR_USEC_PER_SEC < 0);
    int64_t day;
    int year, month, in_day;
    char *at = out;

    second = second < SECOND_MIN ? SECOND_MIN : second > SECOND_MAX ? SECOND_MAX : second;
    day = second / 86400 - (second % 86400 < 0);
    in_day = (int)(second - day * 86400);

    /* The guess is at most one off. */
    year = 1970 + (int)(day * 400 / 146097);
    while (days_of(year, 1, 1) > day) {
        year--;
    }
    while (days_of(year + 1, 1, 1) <= day) {
        year++;
    }
    month = 1;
    while (month < 12 && days_of(year, month + 1, 1) <= day) {
        month++;
    }
    at = two(two(at, year / 100), year % 100);
    *at++ = '-';
    at = two(at, month);
    *at++ = '-';
    at = two(at, (int)(day - days_of(year, month, 1)) + 1);
    *at++ = 'T';
    at = two(at, in_day / 3600);
    *at++ = ':';
    at = two(at, in_day / 60 % 60);
    *at++ = ':';
    at = two(at, in_day % 60);
    *at++ = 'Z';
    *at = '\0';
}

const char *biz_time_format(apr_pool_t *pool, apr_time_t t)
{
    char *out = apr_palloc(pool, BIZ_TIME_SIZE);

    biz_time_write(t, out);
    return out;
}

/* Exactly `digits` digits at *p within [min, max]; advances. */
static int number(const char **p, int digits, int min, int max, int *out)
{
    int v = 0;

    for (int i = 0; i < digits; i++, (*p)++) {
        if (**p < '0' || **p > '9') {
            return 0;
        }
        v = v * 10 + (**p - '0');
    }
    *out = v;
    return v >= min && v <= max;
}

static int sign(const char **p, char a, char b)
{
    if (**p != a && **p != b) {
        return 0;
    }
    (*p)++;
    return 1;
}

static int fraction(const char **p, int *usec)
{
    int digits = 0;

    *usec = 0;
    if (**p != '.') {
        return 1;
    }
    for ((*p)++; **p >= '0' && **p <= '9'; (*p)++, digits++) {
        if (digits < 6) {
            *usec = *usec * 10 + (**p - '0');
        }
    }
    for (int i = digits; i < 6; i++) {
        *usec *= 10;
    }
    return digits > 0;
}

static int offset(const char **p, int *seconds)
{
    int hours, minutes, west;

    *seconds = 0;
    if (sign(p, 'Z', 'z')) {
        return 1;
    }
    west = **p == '-';
    if (!sign(p, '+', '-') || !number(p, 2, 0, 23, &hours) || !sign(p, ':', ':') ||
        !number(p, 2, 0, 59, &minutes)) {
        return 0;
    }
    *seconds = (hours * 3600 + minutes * 60) * (west ? -1 : 1);
    return 1;
}

int biz_time_parse(const char *text, apr_time_t *out)
{
    int year, month, day, hour, minute, second, usec, off;
    int64_t at;

    if (!text || !number(&text, 4, 1, 9999, &year) || !sign(&text, '-', '-') ||
        !number(&text, 2, 1, 12, &month) || !sign(&text, '-', '-') ||
        !number(&text, 2, 1, 31, &day) || day > days_in_month(year, month) ||
        !sign(&text, 'T', 't') || !number(&text, 2, 0, 23, &hour) || !sign(&text, ':', ':') ||
        !number(&text, 2, 0, 59, &minute) || !sign(&text, ':', ':') ||
        !number(&text, 2, 0, 59, &second) || !fraction(&text, &usec) || !offset(&text, &off) ||
        *text != '\0') {
        return 0;
    }
    at = days_of(year, month, day) * 86400 + (hour * 60 + minute) * INT64_C(60) + second - off;
    if (at < SECOND_MIN || at > SECOND_MAX) {
        return 0;
    }
    *out = at * APR_USEC_PER_SEC + usec;
    return 1;
}

int64_t biz_steady_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * APR_USEC_PER_SEC + t.tv_nsec / 1000;
}
