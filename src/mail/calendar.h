/* calendar.h: an appointment as a calendar object (RFC 5545) for scheduling by mail (RFC 5546, RFC
 * 6047); libical behind it. Called by render.c. */
#ifndef BIZ_MAIL_CALENDAR_H
#define BIZ_MAIL_CALENDAR_H

#include <apr_pools.h>
#include <apr_time.h>
#include "mail.h"

typedef struct {
    const char *id, *page; /* UID: id@host of the page; never changes for an appointment */
    int sequence;          /* one more with each change */
    apr_time_t changed_at; /* DTSTAMP */
    apr_time_t start, end;
    const char *summary;
    const char *location; /* or NULL */
    const char *url;
    const char *organizer, *organizer_name; /* a bare address, and a name */
    const char *attendee, *attendee_name;   /* the name or NULL */
} mail_event;

/* CRLF, lines of at most 75 octets, instants in UTC: byte-equal for equal input. NULL where libical
 * is out of memory. */
const char *mail_calendar(apr_pool_t *pool, const mail_event *event, mail_calendar_method method);

#endif
