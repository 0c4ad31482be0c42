/* notice.h: mails to the owner of an account about what happened to it, for the handlers of this
 * folder. What each event says is in conf/mail/texts.*.ini; the names are those of
 * outbox/outbox.h. */
#ifndef BIZ_NOTICE_H
#define BIZ_NOTICE_H

#include "core/biz.h"
#include "store/store.h"

/* Queues the mail `event` (a NOTICE_...) for a user; `detail`: which device, key, role, or NULL. */
apr_status_t notice_put(const biz_req *req, const char *user_id, const char *event,
                        const char *detail);
/* The same for the account of an address, if there is one: nobody is looked up here, so that it
 * costs the same for an address that is nobody's. Of two with the same `unique_key` one is sent;
 * STORE_EEXIST is the other. `user_id` instead of the address: where it is known to exist. */
apr_status_t notice_put_once(const biz_req *req, const char *email, const char *user_id,
                             const char *event, const char *unique_key);
/* Both about what has happened already: that a mail could not be queued is logged. */
void notice_tell(const biz_req *req, const char *user_id, const char *event, const char *detail);
void notice_tell_once(const biz_req *req, const char *email, const char *event,
                      const char *unique_key);

#endif
