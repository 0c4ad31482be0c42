/* portal.h: the handlers of /api/v1/portal, as the route table names them. */
#ifndef BIZ_PORTAL_H
#define BIZ_PORTAL_H

#include "core/biz.h"

/* notifications.c */
biz_code portal_notifications(biz_req *req, biz_reply *reply);
biz_code portal_notifications_change(biz_req *req, biz_reply *reply);
biz_code portal_unsubscribe_show(biz_req *req, biz_reply *reply);
biz_code portal_unsubscribe(biz_req *req, biz_reply *reply);
/* push.c */
biz_code portal_push_add(biz_req *req, biz_reply *reply);
biz_code portal_push_remove(biz_req *req, biz_reply *reply);
/* travel.c */
biz_code portal_booking_route(biz_req *req, biz_reply *reply);
biz_code portal_booking_weather(biz_req *req, biz_reply *reply);

#endif
