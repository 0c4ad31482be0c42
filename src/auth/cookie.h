/* cookie.h: the portal's cookie, for what a browser asks for by itself: pages and files under
 * AuthType BizApi, and the portal's own pages, which then need to keep no token.
 *
 *   __Host-bizapi=<session id>.<tag>; Path=/; Secure; HttpOnly; SameSite=Strict
 *
 * The tag is a MAC over the session's id. The cookie stands for the session and is as good as it: a
 * sign-out, a reset, a lapse end both at once. Over plain http on the loopback interface its name
 * is `bizapi`, without Secure; over plain http elsewhere there is none.
 *
 * A browser sends it without being asked, so whoever is known by it may change something only from
 * a page of ours: Origin must be this site's own (as the request came in, or that of
 * BizApiFrontendURL or BizApiPublicURL) or a listed one with https (RFC 6265bis section 5.6.7 does
 * most of this by SameSite; old browsers and sibling hosts are left). */
#ifndef BIZ_COOKIE_H
#define BIZ_COOKIE_H

#include "core/biz.h"

/* The id of the session that the request's cookie stands for; NULL where there is none of ours. */
const char *cookie_session(const biz_req *req);
/* ORIGIN_NOT_ALLOWED where a request known by its cookie may not do what its method says. */
biz_code cookie_check_origin(const biz_req *req, biz_reply *reply);

/* Sets it where the sign-in asks for it (field `session_cookie`). INVALID_REQUEST over plain http,
 * ORIGIN_NOT_ALLOWED for pages of others. To be called before the session is made. */
biz_code cookie_may_give(const biz_req *req, biz_reply *reply);
void cookie_give(const biz_req *req, biz_reply *reply, const char *session_id);
/* Removes it where the request brought it. */
void cookie_take_back(const biz_req *req, biz_reply *reply);

#endif
