/* travel.c: the way to a booking and the weather there: GET /portal/bookings/{id}/route and
 * /weather. A provider that is missing or fails makes the answer poorer; the request does not
 * fail. Only an address that nobody can look up is told as such. */
#include "portal.h"

#include <math.h>
#include <string.h>

#include "booking.h"
#include "core/valid.h"
#include "integrations/maps.h"
#include "integrations/weather.h"

/* ---- places ---- */

static map_result at_address(biz_req *req, const char *address, map_point *point)
{
    return address != NULL && address[0] != '\0' ? map_find(req, address, point) : MAP_NOTHING;
}

static map_result business_place(biz_req *req, map_point *point)
{
    const biz_settings *settings = req->env->settings;

    if (biz_valid_degrees(biz_brand(settings, "latitude", ""), 90, &point->latitude) &&
        biz_valid_degrees(biz_brand(settings, "longitude", ""), 180, &point->longitude))
        return MAP_FOUND;
    return at_address(req, biz_brand(settings, "address", NULL), point);
}

/* What the booking says, else where the customer lives. */
static map_result customer_place(biz_req *req, const biz_json *location, const store_doc *customer,
                                 map_point *point)
{
    const char *address = biz_json_str(location, "address");

    point->latitude = biz_json_number(location, "latitude", NAN);
    point->longitude = biz_json_number(location, "longitude", NAN);
    if (map_point_is_good(point))
        return MAP_FOUND;
    if (address == NULL && customer != NULL)
        address = store_str(customer, CUSTOMER_ADDRESS);
    return at_address(req, address, point);
}

/* Who goes where. A booking that says nothing is kept where the business is. */
typedef enum { AT_BUSINESS, AT_CUSTOMER, AT_NO_PLACE } whereabouts;

static whereabouts where_is(biz_req *req, const store_doc *booking, biz_json **location)
{
    const char *text = store_str(booking, BOOKING_LOCATION), *type;
    size_t position;

    *location = NULL;
    if (text == NULL || biz_json_parse(req->pool, text, strlen(text), BIZ_JSON_DEPTH, location,
                                       &position) != APR_SUCCESS)
        return AT_BUSINESS;
    type = biz_json_str(*location, "type");
    if (type == NULL || !strcmp(type, "onsite"))
        return AT_BUSINESS;
    return !strcmp(type, "customer") ? AT_CUSTOMER : AT_NO_PLACE;
}

/* ---- the way ---- */

static biz_json *route_json(biz_req *req, const map_route *route, whereabouts where)
{
    biz_json *json = biz_json_object(req->pool);

    biz_json_set_bool(json, "available", route != NULL);
    if (route == NULL)
        return json;
    biz_json_set_str(json, "from", where == AT_CUSTOMER ? "business" : "customer");
    biz_json_set_str(json, "to", where == AT_CUSTOMER ? "customer" : "business");
    biz_json_set_int(json, "distance_m", route->distance_m);
    biz_json_set_int(json, "duration_s", route->duration_s);
    biz_json_set_str(json, "polyline", route->polyline);
    biz_json_set_str(json, "provider", route->provider);
    biz_json_set_str(json, "attribution", route->attribution);
    biz_json_set_bool(json, "traffic", route->traffic);
    biz_json_set_bool(json, "estimate", route->estimate);
    return json;
}

biz_code portal_booking_route(biz_req *req, biz_reply *reply)
{
    store_doc *booking, *customer;
    map_point business, theirs;
    map_result here, there;
    map_route route;
    biz_json *location;
    whereabouts where;

    if (booking_of(req, reply, &booking, &customer) != BIZ_OK)
        return reply->code;
    reply->data = route_json(req, NULL, AT_NO_PLACE);
    where = where_is(req, booking, &location);
    if (where == AT_NO_PLACE)
        return BIZ_OK;
    here = business_place(req, &business);
    there = here == MAP_FOUND ? customer_place(req, location, customer, &theirs) : here;
    if (here == MAP_UNAVAILABLE || there == MAP_UNAVAILABLE)
        return biz_fail(reply, BIZ_GEOCODING_UNAVAILABLE, NULL, NULL);
    if (here == MAP_NOTHING || there == MAP_NOTHING)
        return BIZ_OK;
    map_route_between(req, where == AT_CUSTOMER ? &business : &theirs,
                      where == AT_CUSTOMER ? &theirs : &business, &route);
    reply->data = route_json(req, &route, where);
    return BIZ_OK;
}

/* ---- the weather ---- */

static biz_json *weather_json(biz_req *req, const weather_reading *reading)
{
    biz_json *json = biz_json_object(req->pool);

    biz_json_set_bool(json, "available", reading != NULL);
    if (reading == NULL)
        return json;
    biz_json_set_time(json, "at", reading->at);
    biz_json_set_bool(json, "forecast", reading->forecast);
    biz_json_set_int(json, "temperature", reading->temperature);
    biz_json_set_int(json, "feels_like", reading->feels_like);
    if (reading->rain_percent >= 0)
        biz_json_set_int(json, "rain_percent", reading->rain_percent);
    else
        biz_json_set(json, "rain_percent", NULL);
    biz_json_set_int(json, "wind_kmh", reading->wind_kmh);
    biz_json_set_str(json, "text", reading->text);
    biz_json_set_str(json, "icon", reading->icon);
    biz_json_set_str(json, "attribution", "OpenWeather");
    return json;
}

biz_code portal_booking_weather(biz_req *req, biz_reply *reply)
{
    const char *language = store_str(req->user, USER_LOCALE);
    store_doc *booking, *customer;
    weather_reading reading;
    map_result found = MAP_NOTHING;
    map_point point;
    biz_json *location;
    whereabouts where;
    apr_time_t start;

    if (booking_of(req, reply, &booking, &customer) != BIZ_OK)
        return reply->code;
    reply->data = weather_json(req, NULL);
    start = store_time(booking, BOOKING_START_AT);
    where = where_is(req, booking, &location);
    /* Nobody is asked for a place whose weather cannot be known. */
    if (where != AT_NO_PLACE && weather_is_known(req, start))
        found = where == AT_CUSTOMER ? customer_place(req, location, customer, &point)
                                     : business_place(req, &point);
    if (language == NULL)
        language = biz_brand(req->env->settings, "locale", "en");
    if (found == MAP_FOUND && weather_at(req, &point, start, language, &reading))
        reply->data = weather_json(req, &reading);
    return BIZ_OK;
}
