/* work.h: a proof of work before a sign-up or a sign-in, for times in which programs come in floods
 * (BizApiProofOfWork off | auto | on). Free of any other company, and free of pictures to look at.
 *
 * GET /auth/work gives a challenge, signed by us and good for five minutes and one use. Its
 * solution is a text "<challenge>.<number>" whose SHA-256 begins with so many zero bits; who sends
 * it as the field `work` is let through. A browser needs about half a second. With "auto" nobody is
 * asked until sign-ups, requests for mails and wrong passwords come in a flood, and then for ten
 * minutes. */
#ifndef BIZ_WORK_H
#define BIZ_WORK_H

#include "core/biz.h"

enum { WORK_BITS = 16, WORK_FLOOD_A_MINUTE = 60, WORK_LASTS_SECONDS = 600 };

/* Counts what a flood is made of. */
void work_count(const biz_req *req);
int work_is_wanted(const biz_req *req);

/* Before the handler of a route with BIZ_WORK. WORK_REQUIRED, STORE_UNAVAILABLE. */
biz_code work_check(biz_req *req, biz_reply *reply);

/* 1 where SHA-256 of the text begins with `bits` zero bits. */
int work_is_done(const char *text, int bits);

#endif
