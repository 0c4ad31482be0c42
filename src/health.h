/* health.h: GET /health/live and /health/ready, for load balancers. They say yes or no, no more. */
#ifndef BIZ_HEALTH_H
#define BIZ_HEALTH_H

#include "core/biz.h"

biz_code health_live(biz_req *req, biz_reply *reply);
biz_code health_ready(biz_req *req, biz_reply *reply);

#endif
