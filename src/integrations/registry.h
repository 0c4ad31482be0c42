/* registry.h: the seven external services: the variables that switch each on, and what the portal
 * does without it; how each of them is. Nothing here calls a provider. */
#ifndef BIZ_REGISTRY_H
#define BIZ_REGISTRY_H

#include "core/biz.h"

enum { INTEGRATION_VARIABLES = 3, INTEGRATIONS = 7 };

/* In the order of `integrations`. */
enum {
    INTEGRATION_STRIPE,
    INTEGRATION_TWILIO,
    INTEGRATION_SENDGRID,
    INTEGRATION_GOOGLE_MAPS,
    INTEGRATION_OPENWEATHER,
    INTEGRATION_ELEVENLABS,
    INTEGRATION_FIREBASE
};

typedef struct {
    const char *name;
    const char *variables[INTEGRATION_VARIABLES + 1]; /* all of them are needed; NULL ends */
    const char *fallback;                             /* the owner's words */
} integration;

extern const integration integrations[INTEGRATIONS + 1]; /* a NULL name ends it */

/* Every variable that may hold a secret, those of the table and the few others of the contract;
 * NULL ends. */
extern const char *const integration_secrets[];

/* The secrets of `given`, and the environment's for those that it does not have; "" is none. */
apr_table_t *integration_secrets_of(apr_pool_t *pool, const apr_table_t *given);
/* The same for other addresses of providers (client.h). *why names a variable that is no good. */
apr_table_t *integration_urls_of(apr_pool_t *pool, const apr_table_t *given, const char **why);
/* The first line of a file; NULL, or what is wrong with it. *loose: others may read it. */
const char *integration_secret_file(apr_pool_t *pool, const char *path, const char **value,
                                    int *loose);

typedef enum {
    SERVICE_UNCONFIGURED,
    SERVICE_MISCONFIGURED,
    SERVICE_OK,
    SERVICE_DEGRADED, /* it fails, and is not called for a while; never by configuration alone */
    SERVICE_STATES
} service_status;
extern const char *const service_words[SERVICE_STATES];

/* What a Google service account's file says (RFC 7523 has what it is for). */
typedef struct {
    const char *project_id, *client_email, *private_key, *token_uri;
    const char *private_key_id; /* or NULL */
} firebase_account;

typedef struct biz_registry {
    service_status configured[INTEGRATIONS];
    const char *trouble[INTEGRATIONS]; /* what is wrong with its variables, by their names; NULL */
    const char *status_text;           /* GET /integrations/status while all is as configured */
    size_t status_len;
    const firebase_account *firebase; /* NULL where it is not configured */
} biz_registry;

/* Looks at the settings once; *complaints (const char *) gets a line for the log for each service
 * that is misconfigured. Reads the Firebase credentials, so call it as root. */
biz_registry *registry_new(apr_pool_t *pool, const biz_settings *settings,
                           apr_array_header_t **complaints);

/* The number of the service of that name, or -1. */
int integration_named(const char *name);
/* 1 where its variables are there and can be good: else it is not called. */
#define integration_is_on(env, number) ((env)->registry->configured[number] == SERVICE_OK)

struct clients;
/* How a service is now: what the configuration says, and what every process has seen of its hosts.
 * Calls nobody. `c` may be NULL. */
service_status service_now(const biz_registry *registry, const struct clients *c, apr_pool_t *pool,
                           int number);

biz_code integrations_status(biz_req *req, biz_reply *reply);
/* detail.c */
biz_code integration_detail(biz_req *req, biz_reply *reply);
biz_code integration_test(biz_req *req, biz_reply *reply);

#endif
