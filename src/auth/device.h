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
#include "store/store.h"

/* 1 where the request's field `device_token` shows that this account was signed in to from that
 * device before; *id (may be NULL) is then the device's id, else NULL. Asks no store. `user_id`
 * NULL is an account that does not exist: the same work, and 0. */
int device_known(const biz_req *req, const char *user_id, const char **id);

/* The token to be kept from now on, after a sign-in to this account. */
const char *device_token_for(const biz_req *req, const char *user_id);

/* What the device looks like from here, as a MAC: program and system in words and the provider's
 * network (the first 16 bits of an IPv4 address, 32 of IPv6). Kept with each session. */
const char *device_look(const biz_req *req);

/* Whether a sign-in to this account is worth a mail to its owner: nothing like it happened before.
 * Without a token of this account, a session of the last 90 days (that long a session is kept,
 * ended or not) with the same look makes it known: clients that keep no token would else cause a
 * mail each time. The first sign-in of a new account is not new to its owner. What the store
 * answered. */
apr_status_t device_is_new(const biz_req *req, const store_doc *user, int *is_new);

#endif
