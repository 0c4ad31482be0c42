/* agent.h: a User-Agent header in words that its owner recognises. Pure. */
#ifndef BIZ_AGENT_H
#define BIZ_AGENT_H

#include <apr_pools.h>

/* "Firefox on Windows", "Safari on iPhone", "Chrome"; for other programs their own first word
 * ("curl", "okhttp"); NULL where there is none. No version: it changes every few weeks, the device
 * does not. `agent` may be NULL. */
const char *agent_words(apr_pool_t *pool, const char *agent);

#endif
