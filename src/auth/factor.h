/* factor.h: the second factors of a user: the authenticator app, recovery codes, and whether there
 * is any. For the handlers in mfa.c and passkey.c.
 *
 * An account with a factor (an app or a passkey) never opens by its password alone; mfa_enabled
 * says so in the user's document. Recovery codes are no factor of their own: they stand in for one.
 */
#ifndef BIZ_FACTOR_H
#define BIZ_FACTOR_H

#include "act.h"
#include "core/biz.h"
#include "store/store.h"

enum {
    FACTOR_TRIES = 10, /* wrong codes, then the second factor alone is locked ... */
    FACTOR_LOCK_MINUTES = 15,
    FACTOR_FRESH_MINUTES = 10, /* so long after a sign-in or a proof is a change allowed */
    RECOVERY_CODES = 10,
    RECOVERY_CHARS = 10 /* of 32 signs: 50 bits */
};

/* Checks `code` (of the app) or `recovery_code` of the request's body, one of which must be there,
 * and uses it up. *user is replaced by the document after it. INVALID_CODE, RATE_LIMITED while the
 * factor is locked, VALIDATION_FAILED. */
biz_code factor_prove(biz_req *req, biz_reply *reply, store_doc **user);

/* REAUTH_REQUIRED unless this session's user proved who they are a short while ago, by signing in
 * or by POST /auth/reauthenticate. */
biz_code factor_demand_fresh(const biz_req *req, biz_reply *reply);
int factor_is_fresh(const biz_req *req);

/* ---- wrong codes, also of an app that is not in force yet ---- */

/* RATE_LIMITED while ten are there. */
biz_code factor_check_lock(const biz_req *req, biz_reply *reply, const store_doc *user);
/* Counts one, and tells of it. INVALID_CODE. */
biz_code factor_wrong(biz_req *req, biz_reply *reply, const store_doc *user);
/* The condition under which a code may still be accepted, as the document was read. */
store_cond factor_may_try(const store_doc *user);

/* ---- the app ---- */

const char *factor_seal(const biz_req *req, const store_doc *user, const char *secret);
/* NULL where there is none or it does not open (which is logged). */
const char *factor_open(const biz_req *req, const store_doc *user, store_fid field);

/* ---- recovery codes ---- */

/* A new set, stored but not good yet: it is once the user's recovery_set says so. `codes` is an
 * array of texts to be shown once. */
apr_status_t recovery_make(const biz_req *req, const store_doc *user, const char **set,
                           biz_json **codes);
/* The same, and makes it the user's, which it tells; not where it is the `first`, which comes with
 * a factor that is told. The caller ends it with act_tell(). STORE_ECOND where there is no factor
 * any more, or somebody else renewed them just now. */
apr_status_t recovery_renew(const act_by *by, const biz_req *req, store_doc **user, int first,
                            biz_json **codes);
/* How many of the user's set are left. */
apr_status_t recovery_left(const biz_req *req, const store_doc *user, int *left);
/* Removes what does not belong to the user's present set. Failure does no harm. */
void recovery_tidy(const biz_req *req, const store_doc *user);

/* ---- all of them ---- */

/* The user's passkeys, oldest first: array of store_doc *. */
apr_status_t factor_passkeys(const biz_req *req, const char *user_id, apr_array_header_t **docs);

/* Makes mfa_enabled say what is there, after anything was added or removed. Safe against others who
 * do so at once. *user (may be NULL) is the document after it. */
apr_status_t factor_settle(store *s, apr_pool_t *pool, const char *user_id, store_doc **user);

/* Whether there is anything to remove. */
apr_status_t factor_any(const act_by *by, const store_doc *user, int *any);
/* Removes every factor of a user and ends every session, and tells so; half done, it can be done
 * again. *user is the document after it. */
apr_status_t factor_clear(const act_by *by, const act *told, store_doc **user);

#endif
