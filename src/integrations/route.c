/* route.c: the chain of maps.h: Google, OSRM, the great circle; Google, OpenWeather for addresses.
 * Called by the handlers of bookings. */
#include "maps.h"

#include <math.h>
#include <string.h>
#include <apr_strings.h>

#include "cache.h"
#include "core/str.h"

/* Roads are about a third longer than the great circle, and 40 km/h is a town's pace. */
#define EARTH_M 6371008.8
#define DETOUR 1.3
#define METRES_A_SECOND (40.0 / 3.6)

int map_point_is_good(const map_point *point)
{
    return isfinite(point->latitude) && isfinite(point->longitude) && fabs(point->latitude) <= 90 &&
           fabs(point->longitude) <= 180;
}

/* The haversine formula, on a ball. */
static double great_circle(const map_point *from, const map_point *to)
{
    const double radian = acos(-1.0) / 180;
    double high = sin((to->latitude - from->latitude) * radian / 2);
    double wide = sin((to->longitude - from->longitude) * radian / 2);
    double a =
        high * high + cos(from->latitude * radian) * cos(to->latitude * radian) * wide * wide;

    return 2 * EARTH_M * asin(sqrt(a < 1 ? a : 1));
}

void map_route_between(biz_req *req, const map_point *from, const map_point *to, map_route *route)
{
    double metres;

    if (google_route(req, from, to, route) == MAP_FOUND ||
        osrm_route(req, from, to, route) == MAP_FOUND)
        return;
    metres = great_circle(from, to) * DETOUR;
    memset(route, 0, sizeof(*route));
    route->distance_m = llround(metres);
    route->duration_s = llround(metres / METRES_A_SECOND);
    route->provider = "estimate";
    route->estimate = 1;
}

/* What stands behind the last comma of an address, without a postal code: its town, mostly. */
static const char *town_of(const char *address)
{
    const char *comma = strrchr(address, ','), *town = comma != NULL ? comma + 1 : address;

    town += strspn(town, " ");
    town += strspn(town, "0123456789- ");
    return town;
}

map_result map_find(biz_req *req, const char *address, map_point *point)
{
    const char *key = apr_pstrcat(req->pool, "address ", address, NULL);
    biz_json *kept = cache_get(req, key);
    map_result result;

    if (kept != NULL) {
        point->latitude = biz_json_number(kept, "latitude", NAN);
        point->longitude = biz_json_number(kept, "longitude", NAN);
        return map_point_is_good(point) ? MAP_FOUND : MAP_NOTHING;
    }
    result = google_find(req, address, point);
    if (result == MAP_UNAVAILABLE) {
        result = town_of(address)[0] != '\0' ? openweather_find(req, town_of(address), point)
                                             : MAP_UNAVAILABLE;
        /* A town is not the address: the next one asks Google again. */
        return result;
    }
    kept = biz_json_object(req->pool);
    if (result == MAP_FOUND) {
        biz_json_set_real(kept, "latitude", point->latitude);
        biz_json_set_real(kept, "longitude", point->longitude);
    }
    cache_put(req, key, kept, apr_time_from_sec((result == MAP_FOUND ? 30 : 1) * 86400));
    return result;
}
