/* registry.h: the seven external services: the variables that switch each on, and what the portal
 * does without it. Nothing here calls a provider. */
#ifndef BIZ_REGISTRY_H
#define BIZ_REGISTRY_H

#include "core/biz.h"

enum { INTEGRATION_VARIABLES = 3 };

typedef struct {
    const char *name;
    const char *variables[INTEGRATION_VARIABLES + 1]; /* all of them are needed; NULL ends */
    const char *fallback;                             /* the owner's words */
} integration;

extern const integration integrations[]; /* a NULL name ends it */

/* Every variable that may hold a secret, those of the table and the few others of the contract;
 * NULL ends. */
extern const char *const integration_secrets[];

typedef enum { SERVICE_UNCONFIGURED, SERVICE_MISCONFIGURED, SERVICE_OK } service_status;

typedef struct biz_registry {
    const char *status_text; /* the answer of GET /integrations/status, ready to be sent */
    size_t status_len;
} biz_registry;

/* Looks at the settings once; *why is set to a line for the operator for each service that is
 * misconfigured (array of const char *). Reads the Firebase credentials, so call it as root. */
biz_registry *registry_new(apr_pool_t *pool, const biz_settings *settings,
                           apr_array_header_t **complaints);

biz_code integrations_status(biz_req *req, biz_reply *reply);

#endif
