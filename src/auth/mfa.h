/* mfa.h: the second step of a sign-in, between login.c, mfa.c and passkey.c. */
#ifndef BIZ_MFA_H
#define BIZ_MFA_H

#include "core/biz.h"
#include "store/store.h"
#include "ticket.h"

/* After the password: a session where the user has no second factor, else {mfa_required, mfa_token,
 * methods}. `failures`: the wrong passwords before it, which the ticket remembers. */
biz_code mfa_begin(biz_req *req, biz_reply *reply, store_doc *user, int64_t failures);

/* The ticket in the field mfa_token and its user, who may still sign in. UNAUTHENTICATED,
 * TOKEN_EXPIRED, TOKEN_REVOKED. */
biz_code mfa_ticket(biz_req *req, biz_reply *reply, ticket *t, store_doc **user);
/* Uses the ticket up and starts the session; the factor has been proved, after so many wrong codes.
 */
biz_code mfa_finish(biz_req *req, biz_reply *reply, const ticket *t, const store_doc *user,
                    int64_t failures);

/* passkey.c: checks the field `credential` as an answer to a challenge of ours by a passkey of this
 * user. INVALID_CREDENTIALS. */
biz_code passkey_prove(biz_req *req, biz_reply *reply, const char *user_id);

#endif
