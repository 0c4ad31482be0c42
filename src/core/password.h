/* password.h: password hashes (argon2id by libsodium; bcrypt is verified only) and the judgement
 * of new passwords. The text is used exactly as received: no trimming, no normalisation. */
#ifndef BIZ_PASSWORD_H
#define BIZ_PASSWORD_H

#include <apr_pools.h>
#include <apr_errno.h>

enum { BIZ_PASSWORD_MIN = 8, BIZ_PASSWORD_MAX = 256 }; /* code points */

/* argon2id, 2 passes, 19 MiB, 1 lane, as a PHC string ("$argon2id$v=19$m=19456,t=2,p=1$..."). Takes
 * about 30 ms of one processor: callers in the server hold a place of biz_hash_enter().
 * APR_ENOMEM where 19 MiB are not to be had. */
apr_status_t biz_password_hash(apr_pool_t *pool, const char *password, const char **hash);

/* APR_SUCCESS, APR_EMISMATCH or APR_ENOMEM. `hash` may be argon2id or bcrypt ($2a$ $2b$ $2y$); any
 * other form never matches. NULL, "" and forms that are not known: the work of one argon2id hash is
 * done against a fixed one and the answer is APR_EMISMATCH, so that an unknown account costs what a
 * known one costs. */
apr_status_t biz_password_verify(const char *password, const char *hash);

/* 1 where the text is a hash that some password could match, and whose check asks for work within
 * reason: bcrypt of cost 4 to 15, argon2id of at most 1 GiB and 20 passes. */
int biz_password_is_hash(const char *text);

/* 1 where the hash should be made anew at the next login: bcrypt, or other parameters than ours. */
int biz_password_is_outdated(const char *hash);

/* NULL where the password may be used, else the reason in English. Refused: fewer than 8 or more
 * than 256 code points, one of the shipped list of common passwords (case does not count), one
 * that is (or is the front part of) `email`, `name` or one of the NULL-terminated `context` words
 * with at most ten digits or signs around it. Of an address its local part and the first label of
 * its host count too, of a name each of its words; words of less than 4 characters do not count.
 * email, name and context may be NULL. */
const char *biz_password_weakness(const char *password, const char *email, const char *name,
                                  const char *const *context);

#endif
