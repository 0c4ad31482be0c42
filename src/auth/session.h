/* session.h: sessions in the store: made at login, renewed by refresh, ended by logout. */
#ifndef BIZ_SESSION_H
#define BIZ_SESSION_H

#include "core/biz.h"
#include "store/store.h"

enum { SESSION_TELL_FAILURES = 3 };

/* A new session of the user; the reply gets the tokens and the user (api.md section 3, login).
 * Every way to sign in ends here, and its route declares SIGN_IN_FIELDS (routes.c). `failures`: the
 * wrong passwords and codes before this; from SESSION_TELL_FAILURES on the owner is told by mail,
 * as of a new device. */
biz_code session_start(biz_req *req, biz_reply *reply, const store_doc *user, int64_t failures);
/* The pair that follows a refresh token. */
biz_code session_renew(biz_req *req, biz_reply *reply, const char *refresh_token);
/* Ends one session of the user. NOT_FOUND where it is not theirs or has ended. */
biz_code session_end(biz_req *req, biz_reply *reply, const char *user_id, const char *session_id);
/* Keeps "last seen" and the idle time by a write every five minutes at most: the session itself
 * says when the last one was, and of all who come then, in whatever process, one writes. Never
 * fails: where the store does not take it, nobody tries again for a minute. */
void session_touch(biz_req *req);
/* A session and its user as they are now, whatever their state; STORE_ENOENT. */
apr_status_t session_load(const biz_req *req, const char *session_id, store_doc **session,
                          store_doc **user);
/* What the user's document says of the one session that goes on in that epoch. */
const char *session_kept(apr_pool_t *pool, const store_doc *session, int64_t epoch);
/* Whether the session may be used: else TOKEN_REVOKED, where it was ended or its user is disabled,
 * or TOKEN_EXPIRED. */
biz_code session_must_live(const biz_req *req, biz_reply *reply, const store_doc *session,
                           const store_doc *user);

#endif
