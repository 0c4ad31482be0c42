/* device.h: from which devices an account was signed in to before. A sign-in answers with a
 * `device_token`, which the client keeps for good and sends with the next one:
 *
 *   dev_<26 characters>.<tag>[.<tag>...]
 *
 * A tag is a MAC over the device's id and one account, made when that account was signed in to
 * from there; the last four accounts keep theirs. The token says just that and signs nobody in: a
 * stranger who guesses passwords cannot have one, so that what slows him down need not touch the
 * owner (OWASP, "Slow Down Online Guessing Attacks with Device Cookies"). A client that does not
 * keep it is an unknown device each time, and nothing else. */
#ifndef BIZ_DEVICE_H
#define BIZ_DEVICE_H

#include "core/biz.h"

/* 1 where the request's field `device_token` shows that this account was signed in to from that
 * device before; *id (may be NULL) is then the device's id, else NULL. Asks no store. `user_id`
 * NULL is an account that does not exist: the same work, and 0. */
int device_known(const biz_req *req, const char *user_id, const char **id);

/* The token to be kept from now on, after a sign-in to this account. */
const char *device_token_for(const biz_req *req, const char *user_id);

#endif
