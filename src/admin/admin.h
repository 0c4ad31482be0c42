/* admin.h: the handlers of /api/v1/admin, as the route table names them. */
#ifndef BIZ_ADMIN_H
#define BIZ_ADMIN_H

#include "core/biz.h"

/* outbox.c */
biz_code admin_outbox(biz_req *req, biz_reply *reply);
biz_code admin_outbox_retry(biz_req *req, biz_reply *reply);
biz_code admin_outbox_cancel(biz_req *req, biz_reply *reply);
/* events.c */
biz_code admin_webhook_events(biz_req *req, biz_reply *reply);
biz_code admin_webhook_replay(biz_req *req, biz_reply *reply);
/* voice.c */
biz_code admin_voice(biz_req *req, biz_reply *reply);
/* mails.c */
biz_code admin_mails(biz_req *req, biz_reply *reply);
biz_code admin_mail_preview(biz_req *req, biz_reply *reply);
biz_code admin_mail_test(biz_req *req, biz_reply *reply);

#endif
