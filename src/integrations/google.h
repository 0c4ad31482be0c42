/* google.h: how Google's answers are read, for google.c and probe.c. */
#ifndef BIZ_GOOGLE_H
#define BIZ_GOOGLE_H

#include "client.h"
#include "maps.h"

client_verdict google_judge_geocode(client_answer *answer);
client_verdict google_judge_route(client_answer *answer);

/* The question for a route by car. */
const char *google_route_body(apr_pool_t *pool, const map_point *from, const map_point *to,
                              size_t *len);

#endif
