/* osrm.c: routes by OSRM, whose public server asks for no more than one request a second of the
 * whole installation (client_slot.c keeps it), a User-Agent that says who we are, and its
 * attribution beside what it gave. Called by route.c. */
#include "maps.h"

#include <math.h>
#include <string.h>
#include <apr_strings.h>

#include "cache.h"
#include "client.h"
#include "core/str.h"

#define ATTRIBUTION "\xc2\xa9 OpenStreetMap contributors"

/* 1 where there is a route with numbers of this earth. */
static int read_route(const biz_json *json, double *metres, double *seconds)
{
    const biz_json *first = biz_json_at(biz_json_get(json, "routes"), 0);

    *metres = biz_json_number(first, "distance", NAN);
    *seconds = biz_json_number(first, "duration", NAN);
    return *metres >= 0 && *metres < 1e9 && *seconds >= 0 && *seconds < 1e9;
}

/* No way between the two is an answer, and it is status 400. */
static client_verdict judge(client_answer *a)
{
    const char *code = biz_json_str(a->json, "code");
    double metres, seconds;

    if (a->status == 400 && code != NULL)
        return CLIENT_IS_ANSWER;
    return a->status < 300 && (code == NULL || strcmp(code, "Ok") != 0 ||
                               !read_route(a->json, &metres, &seconds))
               ? CLIENT_IS_BROKEN
               : CLIENT_BY_STATUS;
}

static map_result take(const biz_json *json, map_route *route)
{
    memset(route, 0, sizeof(*route));
    route->distance_m = biz_json_int(json, "distance_m", -1);
    route->duration_s = biz_json_int(json, "duration_s", -1);
    route->provider = "osrm";
    route->attribution = ATTRIBUTION;
    return route->distance_m >= 0 && route->duration_s >= 0 ? MAP_FOUND : MAP_NOTHING;
}

map_result osrm_route(biz_req *req, const map_point *from, const map_point *to, map_route *route)
{
    /* Longitude first. apr_psprintf() writes the point whatever the process' locale is. */
    const char *path =
        apr_psprintf(req->pool, "/route/v1/driving/%.4f,%.4f;%.4f,%.4f?overview=false",
                     from->longitude, from->latitude, to->longitude, to->latitude);
    const char *key =
        apr_pstrcat(req->pool, "osrm ", client_base(req->env->clients, CLIENT_OSRM), path, NULL);
    const char *headers[] = {apr_pstrcat(req->pool, "User-Agent: mod_bizapi (",
                                         req->env->settings->public_url, ")", NULL),
                             NULL};
    client_request request = {.host = CLIENT_OSRM,
                              .method = "GET",
                              .path = path,
                              .headers = headers,
                              .wants_json = 1,
                              .judge = judge};
    biz_json *kept = cache_get(req, key);
    client_answer a;
    double metres, seconds;

    if (kept != NULL)
        return take(kept, route);
    client_call(req->env->clients, req->pool, &request, &a);
    if (a.result != CLIENT_ANSWERED || (a.status != 200 && a.status != 400))
        return MAP_UNAVAILABLE;
    kept = biz_json_object(req->pool);
    if (a.status == 200 && read_route(a.json, &metres, &seconds)) {
        biz_json_set_int(kept, "distance_m", llround(metres));
        biz_json_set_int(kept, "duration_s", llround(seconds));
    }
    cache_put(req, key, kept, apr_time_from_sec(86400));
    return take(kept, route);
}
