/* auth.h: the handlers of /api/v1/auth, as the route table names them, and what the dispatcher asks
 * of this folder. */
#ifndef BIZ_AUTH_H
#define BIZ_AUTH_H

#include "core/biz.h"

enum {
    AUTH_ACCESS_SECONDS = 15 * 60,
    AUTH_REFRESH_IDLE_DAYS = 30,
    AUTH_REFRESH_MAX_DAYS = 90,
    AUTH_REFRESH_GRACE_SECONDS = 30
};

/* Finds out who calls, from "Authorization: Bearer ..." or the portal's cookie: sets req->user and
 * req->session, or fails with UNAUTHENTICATED, TOKEN_EXPIRED, TOKEN_REVOKED or (by cookie, and what
 * changes something) ORIGIN_NOT_ALLOWED. Looks at the store each time, so that a
 * logout holds from the next request on in every process. */
biz_code auth_identify(biz_req *req, biz_reply *reply);
/* 1 where BizApiRequireMfa names that user's role and there is no second factor yet: until there
 * is, nothing is open but the way to one. */
int auth_must_enrol(const biz_req *req);
/* Whether that user may call a route. FORBIDDEN, MFA_REQUIRED. */
biz_code auth_permit(biz_req *req, biz_reply *reply, biz_who who);

/* login.c */
biz_code auth_login(biz_req *req, biz_reply *reply);
biz_code auth_refresh(biz_req *req, biz_reply *reply);
biz_code auth_logout(biz_req *req, biz_reply *reply);
biz_code auth_logout_all(biz_req *req, biz_reply *reply);
/* mfa.c */
biz_code auth_login_mfa(biz_req *req, biz_reply *reply);
biz_code auth_reauthenticate(biz_req *req, biz_reply *reply);
biz_code auth_2fa(biz_req *req, biz_reply *reply);
biz_code auth_2fa_setup(biz_req *req, biz_reply *reply);
biz_code auth_2fa_enable(biz_req *req, biz_reply *reply);
biz_code auth_2fa_disable(biz_req *req, biz_reply *reply);
biz_code auth_2fa_recovery_codes(biz_req *req, biz_reply *reply);
/* passkey.c */
biz_code auth_passkey_register_options(biz_req *req, biz_reply *reply);
biz_code auth_passkey_register_verify(biz_req *req, biz_reply *reply);
biz_code auth_passkey_login_options(biz_req *req, biz_reply *reply);
biz_code auth_passkey_login_verify(biz_req *req, biz_reply *reply);
biz_code auth_passkeys(biz_req *req, biz_reply *reply);
biz_code auth_passkey_remove(biz_req *req, biz_reply *reply);
/* register.c */
biz_code auth_register(biz_req *req, biz_reply *reply);
biz_code auth_verify_email(biz_req *req, biz_reply *reply);
biz_code auth_resend_verification(biz_req *req, biz_reply *reply);
/* reset.c */
biz_code auth_forgot_password(biz_req *req, biz_reply *reply);
biz_code auth_verify_reset_token(biz_req *req, biz_reply *reply);
biz_code auth_reset_password(biz_req *req, biz_reply *reply);
/* me.c */
biz_code auth_me(biz_req *req, biz_reply *reply);
biz_code auth_me_change(biz_req *req, biz_reply *reply);
biz_code auth_change_password(biz_req *req, biz_reply *reply);
biz_code auth_sessions(biz_req *req, biz_reply *reply);
biz_code auth_session_end(biz_req *req, biz_reply *reply);
biz_code auth_jwks(biz_req *req, biz_reply *reply);
/* work.c */
biz_code auth_work(biz_req *req, biz_reply *reply);
/* events.c */
biz_code auth_events(biz_req *req, biz_reply *reply);
biz_code admin_audit(biz_req *req, biz_reply *reply);
/* users.c */
biz_code admin_users(biz_req *req, biz_reply *reply);
biz_code admin_user(biz_req *req, biz_reply *reply);
biz_code admin_user_make(biz_req *req, biz_reply *reply);
biz_code admin_user_change(biz_req *req, biz_reply *reply);
biz_code admin_user_delete(biz_req *req, biz_reply *reply);
biz_code admin_user_unlock(biz_req *req, biz_reply *reply);

#endif
