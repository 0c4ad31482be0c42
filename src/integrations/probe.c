/* probe.c: see probe.h. Called by detail.c and bizapictl. A table of one question a host: what
 * nothing is changed by and nothing is charged for. */
#include "probe.h"

#include <string.h>
#include <apr_strings.h>

#include "client.h"
#include "fcm.h"
#include "google.h"

typedef struct {
    const biz_env *env;
    apr_pool_t *pool;
    client_request *request;
    const char **headers; /* room for three and a NULL */
} question;

#define SECRET(q, name) biz_secret((q)->env->settings, (name))

static void ask_stripe(question *q)
{
    q->request->path = "/v1/balance";
    q->headers[0] =
        apr_pstrcat(q->pool, "Authorization: Bearer ", SECRET(q, "STRIPE_SECRET_KEY"), NULL);
    q->headers[1] = "Stripe-Version: 2023-08-16";
}

static void ask_twilio(question *q)
{
    q->request->path = apr_pstrcat(q->pool, "/2010-04-01/Accounts/",
                                   SECRET(q, "TWILIO_ACCOUNT_SID"), ".json", NULL);
    q->headers[0] =
        client_basic(q->pool, SECRET(q, "TWILIO_ACCOUNT_SID"), SECRET(q, "TWILIO_AUTH_TOKEN"));
}

static void ask_sendgrid(question *q)
{
    q->request->path = "/v3/scopes";
    q->headers[0] =
        apr_pstrcat(q->pool, "Authorization: Bearer ", SECRET(q, "SENDGRID_API_KEY"), NULL);
}

static void ask_google_maps(question *q)
{
    const char *pairs[] = {"address", "Berlin", "key", SECRET(q, "GOOGLE_MAPS_API_KEY"), NULL};

    q->request->path =
        apr_pstrcat(q->pool, "/maps/api/geocode/json?", client_form(q->pool, pairs), NULL);
    q->request->judge = google_judge_geocode;
}

static void ask_google_routes(question *q)
{
    static const map_point from = {52.5, 13.4}, to = {52.51, 13.4};

    q->request->method = "POST";
    q->request->path = "/directions/v2:computeRoutes";
    q->request->body = google_route_body(q->pool, &from, &to, &q->request->body_len);
    q->request->judge = google_judge_route;
    q->headers[0] =
        apr_pstrcat(q->pool, "X-Goog-Api-Key: ", SECRET(q, "GOOGLE_MAPS_API_KEY"), NULL);
    q->headers[1] = "Content-Type: application/json";
    q->headers[2] = "X-Goog-FieldMask: routes.duration";
}

static void ask_openweather(question *q)
{
    const char *pairs[] = {
        "lat", "52.52", "lon", "13.41", "appid", SECRET(q, "OPENWEATHER_API_KEY"), NULL};

    q->request->path =
        apr_pstrcat(q->pool, "/data/2.5/weather?", client_form(q->pool, pairs), NULL);
}

static void ask_elevenlabs(question *q)
{
    q->request->path = "/v1/user/subscription";
    q->headers[0] = apr_pstrcat(q->pool, "xi-api-key: ", SECRET(q, "ELEVENLABS_API_KEY"), NULL);
}

static const struct {
    int service;
    client_host host;
    void (*ask)(question *q);
    /* In place of a question: for those who do not answer without an introduction. */
    void (*call)(const biz_env *env, apr_pool_t *pool, int test, client_answer *answer);
} questions[] = {{INTEGRATION_STRIPE, CLIENT_STRIPE, ask_stripe, NULL},
                 {INTEGRATION_TWILIO, CLIENT_TWILIO, ask_twilio, NULL},
                 {INTEGRATION_SENDGRID, CLIENT_SENDGRID, ask_sendgrid, NULL},
                 {INTEGRATION_GOOGLE_MAPS, CLIENT_GOOGLE_MAPS, ask_google_maps, NULL},
                 {INTEGRATION_GOOGLE_MAPS, CLIENT_GOOGLE_ROUTES, ask_google_routes, NULL},
                 {INTEGRATION_OPENWEATHER, CLIENT_OPENWEATHER, ask_openweather, NULL},
                 {INTEGRATION_ELEVENLABS, CLIENT_ELEVENLABS, ask_elevenlabs, NULL},
                 {INTEGRATION_FIREBASE, CLIENT_FIREBASE_TOKEN, NULL, fcm_ask_token}};

/* A key that may do other things, but not what we need it for. */
static const char *lacks(client_host host, const client_answer *a)
{
    biz_json *scopes = biz_json_get(a->json, "scopes");
    size_t i;

    for (i = 0; host == CLIENT_SENDGRID && i < biz_json_size(scopes); i++) {
        const char *scope = biz_json_str_value(biz_json_at(scopes, i));

        if (scope != NULL && !strcmp(scope, "mail.send"))
            return NULL;
    }
    return host == CLIENT_SENDGRID ? "the key may not send mail (no scope mail.send)" : NULL;
}

static const char *trouble(apr_pool_t *pool, client_host host, const client_answer *a)
{
    if (a->status != 0 && a->result == CLIENT_MISCONFIGURED)
        return apr_psprintf(pool, "it refuses our key or account (%s)", a->error);
    if (a->status != 0 && a->result == CLIENT_LIMITED)
        return apr_psprintf(pool, "it has had enough of us (%s)", a->error);
    if (a->result != CLIENT_ANSWERED)
        return a->error;
    return a->status >= 300 ? apr_psprintf(pool, "status %ld", a->status) : lacks(host, a);
}

/* Of one that was not asked. */
static const char *not_asked(const biz_env *env, apr_pool_t *pool, int number)
{
    const char *const *variable = integrations[number].variables, *names = *variable;

    if (env->registry->trouble[number] != NULL)
        return env->registry->trouble[number];
    while (*++variable != NULL)
        names = apr_pstrcat(pool, names, ", ", *variable, NULL);
    return apr_pstrcat(pool, "not set up: it needs ", names, NULL);
}

void probe_service(const biz_env *env, apr_pool_t *pool, int number, probe_result *result)
{
    size_t i;

    memset(result, 0, sizeof(*result));
    result->latency_ms = -1;
    for (i = 0; integration_is_on(env, number) && i < sizeof(questions) / sizeof(questions[0]);
         i++) {
        const char *headers[4] = {NULL}, *why;
        client_request request = {.host = questions[i].host,
                                  .method = "GET",
                                  .headers = headers,
                                  .wants_json = 1,
                                  .test = 1};
        question q = {env, pool, &request, headers};
        client_answer a;

        if (questions[i].service != number)
            continue;
        if (questions[i].ask != NULL) {
            questions[i].ask(&q);
            client_call(env->clients, pool, &request, &a);
        } else {
            questions[i].call(env, pool, 1, &a);
        }
        if (a.result == CLIENT_BUSY) {
            result->busy = 1;
            break;
        }
        why = trouble(pool, request.host, &a);
        if (why != NULL && result->error == NULL)
            result->error = apr_pstrcat(pool, client_hosts[request.host].name, ": ", why, NULL);
        if (a.elapsed_ms > result->latency_ms)
            result->latency_ms = a.elapsed_ms;
    }
    result->status = service_now(env->registry, env->clients, pool, number);
    result->ok = result->latency_ms >= 0 && result->error == NULL;
    if (!result->ok && result->error == NULL && !result->busy)
        result->error = not_asked(env, pool, number);
}
