/* lockout.h: how often somebody may be wrong about a password. Called by whatever asks for one.
 *
 * A try is taken before the password is looked at, so that of any number of tries at once exactly
 * so many get as far as a hash. Four counts, in the store and therefore over all processes and
 * machines:
 *   account  tries at one e-mail address, known or not, from devices that it was not signed in from
 *   device   tries at one account from a device that it was signed in from (device.h): a stranger
 *            who locks the account does not lock its owner out
 *   code     tries at the code in the verification mails of one e-mail address
 *   address  tries of one client address, an IPv6 one by its first 64 bits, at whatever account
 * Beyond the number that is free each further try has to wait, a minute first, doubling to an hour;
 * a day without a try forgets all. */
#ifndef BIZ_LOCKOUT_H
#define BIZ_LOCKOUT_H

#include "act.h"
#include "core/biz.h"
#include "store/store.h"

enum { LOCKOUT_FREE_ACCOUNT = 5, LOCKOUT_FREE_DEVICE = 10, LOCKOUT_FREE_ADDRESS = 50 };
enum { LOCKOUT_FIRST_SECONDS = 60, LOCKOUT_LONGEST_SECONDS = 3600, LOCKOUT_FORGET_HOURS = 24 };

typedef struct {
    const char *id, *kind; /* of the document; "account", "device", "code", "address" */
    int64_t tries;         /* this one included */
    int64_t free;
    apr_time_t since;  /* its first try */
    apr_time_t before; /* until when it was locked before this try; 0: was not */
} lockout_count;

typedef struct {
    int refused; /* no try is left now: answer as for a wrong password */
    lockout_count counts[2];
    int taken;         /* how many of them have counted this try */
    const char *email; /* whose owner is told by mail when this locks them; NULL: nobody */
} lockout;

/* Takes a try at `email`, whose account is `user` or NULL. STORE_UNAVAILABLE. */
biz_code lockout_begin(biz_req *req, biz_reply *reply, const char *email, const store_doc *user,
                       lockout *l);
/* The same for the code in a verification mail, on any device. */
biz_code lockout_begin_code(biz_req *req, biz_reply *reply, const char *email,
                            const store_doc *user, lockout *l);
/* The password was right: the account's count starts again, the address' does not count this try.
 */
void lockout_passed(biz_req *req, lockout *l);
/* It was never looked at: nothing is counted. */
void lockout_cancelled(biz_req *req, const lockout *l);
/* The tries before this one that were wrong, or are not known to be right yet. */
int64_t lockout_failures(const lockout *l);
/* It was wrong, or no try was left: notes what has become locked by it, and tells the owner of the
 * account by one mail for each time that it becomes locked, however long somebody keeps it so. */
void lockout_failed(biz_req *req, const lockout *l, const char *user_id);

/* Whether the body's field `field` is the password of who is signed in, a try of whom it takes.
 * INVALID_CREDENTIALS, BUSY, STORE_UNAVAILABLE. */
biz_code lockout_prove_own(biz_req *req, biz_reply *reply, const char *field);

/* The one line of the error log about a refused sign-in; `who` is a masked address or an id. Made
 * for fail2ban (conf/fail2ban): never change it. */
void lockout_tell(const biz_req *req, const char *who);

/* For staff and bizapictl: as if nothing had happened. An account with its codes, or an address.
 * `told` NULL: nobody is told. *user is the document after it. */
apr_status_t lockout_clear_user(const act_by *by, const act *told, store_doc **user);
/* STORE_EINVAL where the text is no address. */
apr_status_t lockout_clear_address(store *s, apr_pool_t *pool, const char *address);

#endif
