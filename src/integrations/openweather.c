/* openweather.c: see weather.h, and the search for towns of maps.h. Called by the handlers of
 * bookings. The key is in the query: no path of a call is ever logged. */
#include "weather.h"

#include <math.h>
#include <string.h>
#include <apr_strings.h>

#include "cache.h"
#include "client.h"
#include "core/str.h"
#include "registry.h"

enum { STEP_SECONDS = 3 * 3600, NOW_KEPT = 600, FORECAST_KEPT = 3600, TOWN_MAX = 80 };

static int take(const biz_json *json, weather_reading *reading)
{
    const biz_json *main = biz_json_get(json, "main");
    const biz_json *words = biz_json_at(biz_json_get(json, "weather"), 0);
    double temperature = biz_json_number(main, "temp", NAN);
    double rain = biz_json_number(json, "pop", NAN);

    if (!(fabs(temperature) < 200))
        return 0;
    memset(reading, 0, sizeof(*reading));
    reading->at = apr_time_from_sec(biz_json_int(json, "dt", 0));
    reading->temperature = llround(temperature);
    reading->feels_like = llround(biz_json_number(main, "feels_like", temperature));
    reading->rain_percent = rain >= 0 && rain <= 1 ? llround(rain * 100) : -1;
    reading->wind_kmh = llround(biz_json_number(biz_json_get(json, "wind"), "speed", 0) * 3.6);
    reading->text = biz_json_str(words, "description");
    reading->icon = biz_json_str(words, "icon");
    return reading->at != 0;
}

/* An error may come with 200, too: what cannot be read is no answer, and not kept. */
static client_verdict judge_weather(client_answer *a)
{
    const biz_json *first = biz_json_at(biz_json_get(a->json, "list"), 0);
    weather_reading reading;

    return a->status == 200 && !take(first != NULL ? first : a->json, &reading) ? CLIENT_IS_BROKEN
                                                                                : CLIENT_BY_STATUS;
}

static client_verdict judge_towns(client_answer *a)
{
    return a->status == 200 && biz_json_kind(a->json) != BIZ_JSON_ARRAY ? CLIENT_IS_BROKEN
                                                                        : CLIENT_BY_STATUS;
}

/* 400 is our mistake, or a place where there is nothing; a new key is 401 for up to two hours. */
static client_result ask(biz_req *req, const char *path, const char *const *pairs,
                         client_verdict (*judge)(client_answer *), client_answer *a)
{
    const char *key[] = {"appid", biz_secret(req->env->settings, "OPENWEATHER_API_KEY"), NULL};
    client_request request = {.host = CLIENT_OPENWEATHER,
                              .method = "GET",
                              .tries = 2,
                              .harmless = 1,
                              .wants_json = 1,
                              .judge = judge};

    request.path = apr_pstrcat(req->pool, path, "?", client_form(req->pool, pairs), "&",
                               client_form(req->pool, key), NULL);
    client_call(req->env->clients, req->pool, &request, a);
    return a->result;
}

/* "pt-BR" is pt_br to it, everything else the language alone. */
static const char *language_of(biz_req *req, const char *tag)
{
    if (!strcasecmp(tag, "pt-BR"))
        return "pt_br";
    if (!strncasecmp(tag, "zh", 2))
        return "zh_cn";
    return strlen(tag) >= 2 && (tag[2] == '\0' || tag[2] == '-') ? apr_pstrndup(req->pool, tag, 2)
                                                                 : "en";
}

/* A good answer, kept or fresh; NULL where there is none. */
static biz_json *answer_of(biz_req *req, const char *path, const map_point *point,
                           const char *language, int seconds)
{
    const char *latitude = apr_psprintf(req->pool, "%.2f", point->latitude);
    const char *longitude = apr_psprintf(req->pool, "%.2f", point->longitude);
    const char *pairs[] = {"lat",    latitude, "lon",    longitude, "units",
                           "metric", "lang",   language, NULL};
    const char *what = apr_pstrcat(req->pool, "openweather ", path, " ", latitude, " ", longitude,
                                   " ", language, NULL);
    biz_json *kept = cache_get(req, what);
    client_answer a;

    if (kept != NULL)
        return kept;
    if (ask(req, path, pairs, judge_weather, &a) != CLIENT_ANSWERED || a.status != 200)
        return NULL;
    cache_put(req, what, a.json, apr_time_from_sec(seconds));
    return a.json;
}

int weather_is_known(const biz_req *req, apr_time_t when)
{
    return integration_is_on(req->env, INTEGRATION_OPENWEATHER) &&
           when >= req->now - apr_time_from_sec(STEP_SECONDS) &&
           when <= req->now + apr_time_from_sec(WEATHER_DAYS * 86400);
}

int weather_at(biz_req *req, const map_point *point, apr_time_t when, const char *language,
               weather_reading *reading)
{
    apr_time_t step = apr_time_from_sec(STEP_SECONDS);
    biz_json *answer, *list;
    size_t i;

    if (!weather_is_known(req, when))
        return 0;
    language = language_of(req, language);
    if (when < req->now + step) {
        answer = answer_of(req, "/data/2.5/weather", point, language, NOW_KEPT);
        return answer != NULL && take(answer, reading);
    }
    answer = answer_of(req, "/data/2.5/forecast", point, language, FORECAST_KEPT);
    list = biz_json_get(answer, "list");
    for (i = 0; i < biz_json_size(list); i++) {
        apr_time_t at = apr_time_from_sec(biz_json_int(biz_json_at(list, i), "dt", 0));

        if (when < at + step && take(biz_json_at(list, i), reading)) {
            reading->forecast = 1;
            return 1;
        }
    }
    return 0;
}

map_result openweather_find(biz_req *req, const char *town, map_point *point)
{
    const char *pairs[] = {"q", town, "limit", "1", NULL};
    const char *what = apr_pstrcat(req->pool, "openweather town ", town, NULL);
    biz_json *kept = cache_get(req, what), *first;
    client_answer a;

    if (!integration_is_on(req->env, INTEGRATION_OPENWEATHER) || strlen(town) > TOWN_MAX)
        return MAP_UNAVAILABLE;
    if (kept == NULL) {
        if (ask(req, "/geo/1.0/direct", pairs, judge_towns, &a) != CLIENT_ANSWERED ||
            a.status != 200)
            return MAP_UNAVAILABLE;
        first = biz_json_at(a.json, 0);
        kept = biz_json_object(req->pool);
        biz_json_set_real(kept, "latitude", biz_json_number(first, "lat", NAN));
        biz_json_set_real(kept, "longitude", biz_json_number(first, "lon", NAN));
        cache_put(req, what, kept, apr_time_from_sec(86400));
    }
    point->latitude = biz_json_number(kept, "latitude", NAN);
    point->longitude = biz_json_number(kept, "longitude", NAN);
    return map_point_is_good(point) ? MAP_FOUND : MAP_NOTHING;
}
