/* google.c: Google's Geocoding API and Routes API v2 (Directions and Distance Matrix cannot be
 * enabled by new projects). Called by route.c. The key is in the query of the one and in a header
 * of the other: neither is ever logged. */
#include "maps.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <apr_strings.h>

#include "google.h"
#include "core/locale.h"
#include "core/str.h"
#include "core/valid.h"
#include "registry.h"

#define FIELDS "routes.duration,routes.distanceMeters,routes.polyline.encodedPolyline"

/* Geocoding answers 200 whatever happens; the word tells. */
client_verdict google_judge_geocode(client_answer *a)
{
    const char *status = biz_json_str(a->json, "status");

    if (a->status != 200 || status == NULL)
        return a->status == 200 ? CLIENT_IS_BROKEN : CLIENT_BY_STATUS;
    if (!strcmp(status, "REQUEST_DENIED") || !strcmp(status, "OVER_DAILY_LIMIT"))
        return CLIENT_IS_KEY;
    if (!strcmp(status, "OVER_QUERY_LIMIT"))
        return CLIENT_IS_LIMIT;
    return strcmp(status, "UNKNOWN_ERROR") != 0 ? CLIENT_IS_ANSWER : CLIENT_IS_BROKEN;
}

/* A wrong key is 400 here, told apart by its reason. Where there is no way the object is empty. */
client_verdict google_judge_route(client_answer *a)
{
    biz_json *error = biz_json_get(a->json, "error"), *details = biz_json_get(error, "details");
    size_t i;

    if (a->status == 200 && (biz_json_kind(a->json) != BIZ_JSON_OBJECT || error != NULL))
        return CLIENT_IS_BROKEN;
    for (i = 0; a->status == 400 && i < biz_json_size(details); i++) {
        const char *reason = biz_json_str(biz_json_at(details, i), "reason");

        if (reason != NULL && !strncmp(reason, "API_KEY_", 8))
            return CLIENT_IS_KEY;
    }
    return CLIENT_BY_STATUS;
}

/* What we ask is wrong: nothing that an operator can mend. */
static map_result our_mistake(const biz_req *req, const char *what, const char *status)
{
    uint64_t held;

    if (biz_minute(req->env->shared, BIZ_MINUTE_GOOGLE_MISTAKE, &held))
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0811) "Google does not accept our %s (%s; %lu more since the last such line); "
                         "report this line",
                what, status != NULL ? biz_printable(req->pool, status, 60) : "no word",
                (unsigned long)held);
    return MAP_UNAVAILABLE;
}

map_result google_find(biz_req *req, const char *address, map_point *point)
{
    const char *locale = biz_brand(req->env->settings, "locale", "en");
    const char *pairs[] = {"address",  address,
                           "language", locale,
                           "key",      biz_secret(req->env->settings, "GOOGLE_MAPS_API_KEY"),
                           NULL};
    client_request request = {.host = CLIENT_GOOGLE_MAPS,
                              .method = "GET",
                              .wants_json = 1,
                              .judge = google_judge_geocode};
    biz_json *location;
    const char *status;
    client_answer a;

    if (!integration_is_on(req->env, INTEGRATION_GOOGLE_MAPS))
        return MAP_UNAVAILABLE;
    request.path =
        apr_pstrcat(req->pool, "/maps/api/geocode/json?", client_form(req->pool, pairs), NULL);
    client_call(req->env->clients, req->pool, &request, &a);
    if (a.result != CLIENT_ANSWERED)
        return MAP_UNAVAILABLE;
    status = biz_json_str(a.json, "status");
    if (status != NULL && !strcmp(status, "ZERO_RESULTS"))
        return MAP_NOTHING;
    if (status == NULL || strcmp(status, "OK") != 0)
        return our_mistake(req, "question for an address", status);
    location = biz_json_get(
        biz_json_get(biz_json_at(biz_json_get(a.json, "results"), 0), "geometry"), "location");
    point->latitude = biz_json_number(location, "lat", NAN);
    point->longitude = biz_json_number(location, "lng", NAN);
    return map_point_is_good(point) ? MAP_FOUND : our_mistake(req, "question for an address", "OK");
}

static void set_place(apr_pool_t *pool, biz_json *body, const char *name, const map_point *point)
{
    biz_json *place = biz_json_object(pool), *location = biz_json_object(pool);
    biz_json *coordinates = biz_json_object(pool);

    biz_json_set_real(coordinates, "latitude", point->latitude);
    biz_json_set_real(coordinates, "longitude", point->longitude);
    biz_json_set(location, "latLng", coordinates);
    biz_json_set(place, "location", location);
    biz_json_set(body, name, place);
}

/* "165s", "165.5s" (the JSON form of google.protobuf.Duration). -1 where it is none. */
static int64_t seconds_of(const char *duration)
{
    char *end = NULL;
    long long seconds = duration != NULL && duration[0] >= '0' && duration[0] <= '9'
                            ? strtoll(duration, &end, 10)
                            : -1;

    return end != NULL && (end[0] == 's' || end[0] == '.') ? seconds : -1;
}

const char *google_route_body(apr_pool_t *pool, const map_point *from, const map_point *to,
                              size_t *len)
{
    biz_json *body = biz_json_object(pool);

    set_place(pool, body, "origin", from);
    set_place(pool, body, "destination", to);
    biz_json_set_str(body, "travelMode", "DRIVE");
    biz_json_set_str(body, "routingPreference", "TRAFFIC_AWARE");
    return biz_json_text(pool, body, len);
}

map_result google_route(biz_req *req, const map_point *from, const map_point *to, map_route *route)
{
    biz_json *found;
    const char *headers[] = {"Content-Type: application/json", "X-Goog-FieldMask: " FIELDS, NULL,
                             NULL};
    client_request request = {.host = CLIENT_GOOGLE_ROUTES,
                              .method = "POST",
                              .path = "/directions/v2:computeRoutes",
                              .headers = headers,
                              .wants_json = 1,
                              .judge = google_judge_route};
    client_answer a;

    if (!integration_is_on(req->env, INTEGRATION_GOOGLE_MAPS))
        return MAP_UNAVAILABLE;
    headers[2] = apr_pstrcat(
        req->pool, "X-Goog-Api-Key: ", biz_secret(req->env->settings, "GOOGLE_MAPS_API_KEY"), NULL);
    request.body = google_route_body(req->pool, from, to, &request.body_len);
    client_call(req->env->clients, req->pool, &request, &a);
    if (a.result != CLIENT_ANSWERED)
        return MAP_UNAVAILABLE;
    if (a.status >= 300)
        return our_mistake(req, "question for a route",
                           biz_json_str(biz_json_get(a.json, "error"), "status"));
    found = biz_json_at(biz_json_get(a.json, "routes"), 0);
    if (found == NULL)
        return MAP_NOTHING;
    memset(route, 0, sizeof(*route));
    /* A distance of nought is left out (proto3). */
    route->distance_m = biz_json_int(found, "distanceMeters", 0);
    route->duration_s = seconds_of(biz_json_str(found, "duration"));
    route->polyline = biz_json_str(biz_json_get(found, "polyline"), "encodedPolyline");
    route->provider = "google";
    route->attribution = "Google Maps";
    route->traffic = 1;
    return route->duration_s >= 0 && route->distance_m >= 0
               ? MAP_FOUND
               : our_mistake(req, "question for a route", "a duration is missing");
}
