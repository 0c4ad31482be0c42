/* calendar.c: appointments as calendar objects, the only includer of libical. Called by render.c;
 * touches no zone data: instants are written in UTC. */
#include "calendar.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <libical/ical.h>

enum { LINE_CHARS = 500 };

static const char *line_of(apr_pool_t *pool, const char *text)
{
    const char *line = mail_line(pool, text, LINE_CHARS);

    return line ? line : "";
}

/* A name as a parameter, which cannot hold quotes (RFC 5545 section 3.2). */
static icalparameter *name_of(apr_pool_t *pool, const char *text)
{
    char *name = apr_pstrdup(pool, line_of(pool, text));

    for (char *c = name; *c; c++) {
        *c = *c == '"' ? '\'' : *c;
    }
    return icalparameter_new_cn(name);
}

static struct icaltimetype instant(apr_time_t t)
{
    return icaltime_from_timet_with_zone((time_t)apr_time_sec(t), 0,
                                         icaltimezone_get_utc_timezone());
}

static const char *uid_of(apr_pool_t *pool, const mail_event *event)
{
    const char *host = strstr(event->page, "://");

    host = host ? host + 3 : event->page;
    return apr_pstrcat(pool, event->id, "@",
                       apr_pstrmemdup(pool, host, (apr_size_t)strcspn(host, ":/?#")), NULL);
}

static void add_people(apr_pool_t *pool, icalcomponent *c, const mail_event *event)
{
    icalproperty *organizer =
        icalproperty_new_organizer(apr_pstrcat(pool, "mailto:", event->organizer, NULL));
    icalproperty *attendee =
        icalproperty_new_attendee(apr_pstrcat(pool, "mailto:", event->attendee, NULL));

    icalproperty_add_parameter(organizer, name_of(pool, event->organizer_name));
    if (event->attendee_name && event->attendee_name[0]) {
        icalproperty_add_parameter(attendee, name_of(pool, event->attendee_name));
    }
    icalproperty_add_parameter(attendee, icalparameter_new_role(ICAL_ROLE_REQPARTICIPANT));
    icalproperty_add_parameter(attendee, icalparameter_new_partstat(ICAL_PARTSTAT_ACCEPTED));
    icalproperty_add_parameter(attendee, icalparameter_new_rsvp(ICAL_RSVP_FALSE));
    icalcomponent_add_property(c, organizer);
    icalcomponent_add_property(c, attendee);
}

static icalcomponent *event_of(apr_pool_t *pool, const mail_event *event, int cancelled)
{
    icalcomponent *c = icalcomponent_new(ICAL_VEVENT_COMPONENT);

    icalcomponent_add_property(c, icalproperty_new_uid(uid_of(pool, event)));
    icalcomponent_add_property(c, icalproperty_new_dtstamp(instant(event->changed_at)));
    icalcomponent_add_property(c, icalproperty_new_sequence(event->sequence));
    icalcomponent_add_property(c, icalproperty_new_dtstart(instant(event->start)));
    icalcomponent_add_property(c, icalproperty_new_dtend(instant(event->end)));
    icalcomponent_add_property(c, icalproperty_new_summary(line_of(pool, event->summary)));
    if (event->location) {
        icalcomponent_add_property(c, icalproperty_new_location(line_of(pool, event->location)));
    }
    icalcomponent_add_property(c, icalproperty_new_url(event->url));
    icalcomponent_add_property(c, icalproperty_new_description(event->url));
    add_people(pool, c, event);
    icalcomponent_add_property(
        c, icalproperty_new_status(cancelled ? ICAL_STATUS_CANCELLED : ICAL_STATUS_CONFIRMED));
    icalcomponent_add_property(
        c, icalproperty_new_transp(cancelled ? ICAL_TRANSP_TRANSPARENT : ICAL_TRANSP_OPAQUE));
    return c;
}

const char *mail_calendar(apr_pool_t *pool, const mail_event *event, mail_calendar_method method)
{
    int cancelled = method == MAIL_CALENDAR_CANCEL;
    icalcomponent *calendar = icalcomponent_new(ICAL_VCALENDAR_COMPONENT);
    const char *text = NULL;
    char *written;

    icalcomponent_add_property(calendar, icalproperty_new_version("2.0"));
    icalcomponent_add_property(calendar, icalproperty_new_prodid("-//mod_bizapi//mail//EN"));
    icalcomponent_add_property(
        calendar, icalproperty_new_method(cancelled ? ICAL_METHOD_CANCEL : ICAL_METHOD_REQUEST));
    icalcomponent_add_component(calendar, event_of(pool, event, cancelled));
    written = icalcomponent_as_ical_string_r(calendar);
    if (written) {
        text = apr_pstrdup(pool, written);
        free(written);
    }
    icalcomponent_free(calendar);
    return text;
}
