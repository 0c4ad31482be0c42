/* ticket.h: what ties two requests of one act together: the password and the code of a sign-in, a
 * passkey's options and its answer. A ticket is a text that carries its own facts and a MAC, so
 * that nothing is stored for an act that a stranger begins and nobody ends; that it was used is
 * stored. Good for five minutes and one use, for one purpose and one user (or for nobody in
 * particular). */
#ifndef BIZ_TICKET_H
#define BIZ_TICKET_H

#include "core/biz.h"
#include "store/store.h"

enum { TICKET_SECONDS = 5 * 60 };

typedef enum {
    TICKET_MFA = 'm',         /* the password was right */
    TICKET_PASSKEY_ADD = 'a', /* the challenge of a passkey that is to be made */
    TICKET_WORK = 'w',        /* the challenge of a proof of work (work.h) */
    TICKET_PASSKEY_ASK = 'p'  /* the challenge of one that is to be used */
} ticket_kind;

typedef struct {
    const char *text;
    const char *user_id; /* "": nobody in particular */
    int64_t epoch;       /* the user's session_epoch then: what ends sessions ends tickets */
    int64_t failures;    /* wrong passwords before it was made */
    apr_time_t until;
} ticket;

/* base64url of at least 16 random bytes among others; `user` may be NULL, `failures` is mostly 0.
 */
const char *ticket_make(const biz_req *req, ticket_kind kind, const store_doc *user,
                        int64_t failures);

/* APR_SUCCESS, APR_EINVAL (none of ours, or for another purpose), APR_TIMEUP. Whether it was used
 * is not looked at. */
apr_status_t ticket_read(const biz_req *req, ticket_kind kind, const char *text, ticket *out);

/* STORE_ENOENT where it was not used yet. */
apr_status_t ticket_find_use(const biz_req *req, const ticket *t);
/* Of many who use it, one gets APR_SUCCESS, the others STORE_EEXIST. */
apr_status_t ticket_use(const biz_req *req, const ticket *t);

#endif
