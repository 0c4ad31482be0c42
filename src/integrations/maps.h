/* maps.h: where an address is, and how far it is from one place to another. Google where its key is
 * set, OSRM where it is not or does not work, and the great circle where neither does. No key and
 * no call of ours ever reaches a browser. */
#ifndef BIZ_MAPS_H
#define BIZ_MAPS_H

#include "core/biz.h"

typedef struct {
    double latitude, longitude; /* degrees, WGS 84 */
} map_point;

typedef enum {
    MAP_FOUND,
    MAP_NOTHING,    /* there is no such address, or no way between the two */
    MAP_UNAVAILABLE /* nobody could be asked */
} map_result;

typedef struct {
    int64_t distance_m, duration_s;
    const char *polyline;    /* Google's encoding, precision 5; or NULL */
    const char *provider;    /* google, osrm, estimate */
    const char *attribution; /* to be shown beside it, or NULL */
    int traffic;             /* the duration knows the traffic of now */
    int estimate;            /* nobody was asked: the great circle, longer by what roads are */
} map_route;

/* 1 where both are numbers of this earth. */
int map_point_is_good(const map_point *point);

/* The address by Google, else its town by OpenWeather; kept for 30 days. */
map_result map_find(biz_req *req, const char *address, map_point *point);
/* The whole chain; it always finds something. */
void map_route_between(biz_req *req, const map_point *from, const map_point *to, map_route *route);

/* ---- the links of the chain: google.c, osrm.c, openweather.c ---- */
map_result google_find(biz_req *req, const char *address, map_point *point);
map_result google_route(biz_req *req, const map_point *from, const map_point *to, map_route *route);
map_result osrm_route(biz_req *req, const map_point *from, const map_point *to, map_route *route);
map_result openweather_find(biz_req *req, const char *town, map_point *point);

#endif
