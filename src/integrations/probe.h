/* probe.h: one live question to a provider, harmless and free: is the key good, does it answer? For
 * administrators and bizapictl; whatever the breaker says it is asked, and what comes out holds for
 * all processes. */
#ifndef BIZ_PROBE_H
#define BIZ_PROBE_H

#include "core/biz.h"
#include "registry.h"

typedef struct {
    int ok;
    int busy;              /* not asked: as many requests wait for it as may */
    service_status status; /* after it */
    long latency_ms;       /* -1 where nobody was asked */
    const char *error;     /* English, no part of a key; NULL where ok */
} probe_result;

/* `number`: of `integrations`. A service that is not configured is not asked. */
void probe_service(const biz_env *env, apr_pool_t *pool, int number, probe_result *result);

#endif
