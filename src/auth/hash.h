/* hash.h: password hashing inside the server: no more at once than there are processors, a short
 * queue, then BUSY. Called by the handlers of this folder. */
#ifndef BIZ_AUTH_HASH_H
#define BIZ_AUTH_HASH_H

#include "core/biz.h"

/* BUSY already now, where a hash would be refused: before the store is asked for anything, and for
 * everybody alike. */
biz_code auth_hash_has_room(biz_req *req, biz_reply *reply);

/* Judges and hashes a new password. WEAK_PASSWORD, BUSY. `param` is the field's name. */
biz_code auth_hash_new(biz_req *req, biz_reply *reply, const char *param, const char *password,
                       const char *email, const char *name, const char **hash);

/* *matches: 1 or 0. `hash` NULL does the same work for nobody. *renewed (may be NULL) gets a fresh
 * hash where the password matches and the stored one is outdated. BUSY. */
biz_code auth_hash_verify(biz_req *req, biz_reply *reply, const char *password, const char *hash,
                          int *matches, const char **renewed);

/* Takes as long as a hash has taken lately, without making one: for a refusal that must not show.
 */
void auth_hash_pretend(const biz_req *req);

#endif
