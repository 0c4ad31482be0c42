/* weather.h: the weather at a place and a time, by OpenWeather. */
#ifndef BIZ_WEATHER_H
#define BIZ_WEATHER_H

#include "maps.h"

typedef struct {
    apr_time_t at;                   /* of the reading or of the forecast's step */
    int64_t temperature, feels_like; /* degrees Celsius, rounded */
    int64_t rain_percent;            /* probability; -1 where it is not told */
    int64_t wind_kmh;
    const char *text; /* "light rain", in the language asked for */
    const char *icon; /* OpenWeather's, such as "10d" */
    int forecast;
} weather_reading;

enum { WEATHER_DAYS = 5 };

/* 1 where OpenWeather is configured and `when` is not too far away. */
int weather_is_known(const biz_req *req, apr_time_t when);

/* For the present hours the reading of now (kept 10 minutes), else the step of the forecast that
 * holds `when` (kept an hour), up to five days ahead. 0 where there is none: the key is not set, it
 * does not work, or `when` is too far away. `language`: BCP 47. */
int weather_at(biz_req *req, const map_point *point, apr_time_t when, const char *language,
               weather_reading *reading);

#endif
