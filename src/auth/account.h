/* account.h: what may be done to a user, whoever asks for it: the API's handlers or bizapictl. */
#ifndef BIZ_ACCOUNT_H
#define BIZ_ACCOUNT_H

#include <apr_pools.h>
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

/* By normalised address. STORE_ENOENT. */
apr_status_t account_find(store *s, apr_pool_t *pool, const char *email, store_doc **user);

/* Each of these ends every session of the user with the same atomic change. `after` may be NULL. */
apr_status_t account_set_password(store *s, apr_pool_t *pool, const char *user_id, const char *hash,
                                  store_doc **after);
apr_status_t account_set_role(store *s, apr_pool_t *pool, const char *user_id, const char *role,
                              store_doc **after);
apr_status_t account_set_disabled(store *s, apr_pool_t *pool, const char *user_id, int disabled,
                                  store_doc **after);
apr_status_t account_end_sessions(store *s, apr_pool_t *pool, const char *user_id,
                                  store_doc **after);

/* Removes what the store has of a user beside the user's own document, and of the address:
 * sessions, factors, links, devices for push, mails. Half done, it can be done again. What the
 * business must be able to prove stays: audit rows by the id, and that the address wants no mail.
 */
apr_status_t account_remove_traces(store *s, apr_pool_t *pool, const store_doc *user);

/* Whether the body gives the user another telephone number: it is a way to reach and to know
 * somebody, not for a stolen session to change. */
int account_phone_changes(const biz_req *req, const store_doc *user);

/* The `user` object of api.md section 3. */
biz_json *account_json(apr_pool_t *pool, const store_doc *user);

#endif
