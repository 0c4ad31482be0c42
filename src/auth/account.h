/* account.h: what may be done to a user, whoever asks for it: the API's handlers or bizapictl. */
#ifndef BIZ_ACCOUNT_H
#define BIZ_ACCOUNT_H

#include <apr_pools.h>
#include "act.h"
#include "core/biz.h"
#include "core/json.h"
#include "store/store.h"

typedef struct {
    const char *email; /* normalised, the key */
    const char *typed; /* as its owner wrote it, or NULL: the same */
    const char *name;
    const char *phone, *locale, *timezone; /* or NULL */
    const char *role;                      /* NULL: customer */
    const char *password_hash;             /* or NULL: cannot sign in with a password */
    int email_verified;
} account_new;

int account_role_is_known(const char *role); /* customer, staff, admin */

/* A document ready for store_insert(). */
store_doc *account_make(apr_pool_t *pool, const account_new *account);

/* Under an Idempotency-Key the id follows from the request, so that a repeat after a kill finds the
 * account that it has made itself. */
apr_status_t account_set_id(const biz_req *req, store_doc *user);
/* Inserts it, the row of the mail `mail` (OUTBOX_...) about it first: a user without it would wait
 * for a mail that never comes, while a row without a user is dropped by the outbox. APR_SUCCESS and
 * *is_new 0: this very request has made it before, and *user is what is there. STORE_EEXIST: the
 * address is taken. */
apr_status_t account_insert(const biz_req *req, const char *mail, store_doc **user, int *is_new);

/* By normalised address. STORE_ENOENT. */
apr_status_t account_find(store *s, apr_pool_t *pool, const char *email, store_doc **user);

/* Removes what the store has of a user beside the user's own document, and of the address:
 * sessions, factors, links, devices for push, mails. Half done, it can be done again. What the
 * business must be able to prove stays: audit rows by the id, also those that sessions and factors
 * have to tell yet, and that the address wants no mail. */
apr_status_t account_remove_traces(const act_by *by, const store_doc *user);

/* Whether the body gives the user another telephone number: it is a way to reach and to know
 * somebody, not for a stolen session to change. */
int account_phone_changes(const biz_req *req, const store_doc *user);

/* The `user` object of api.md section 3. */
biz_json *account_json(apr_pool_t *pool, const store_doc *user);

#endif
