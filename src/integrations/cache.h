/* cache.h: answers of providers that may be kept for a while, in the store, so that all processes
 * and machines have them and the sweep removes them. A cache that fails is a cache without the
 * answer: the provider is asked again. */
#ifndef BIZ_CACHE_H
#define BIZ_CACHE_H

#include "core/biz.h"

/* `what` tells everything the answer depends on; only its digest is stored. NULL where nothing is
 * kept or it is too old. */
biz_json *cache_get(biz_req *req, const char *what);
void cache_put(biz_req *req, const char *what, const biz_json *value, apr_interval_time_t span);

#endif
