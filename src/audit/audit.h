/* audit.h: what happened, for those who must be able to prove it: one row of `audit_log` for every
 * sign-in, failure, factor, change, refusal and act of staff.
 *
 * A handler notes events while it works; the dispatcher commits them before the answer goes out,
 * and no answer is a success whose events are not in the store. Names are those of OWASP's Logging
 * Vocabulary (authn_login_success, authz_fail, user_updated, ...). Details hold nothing secret: no
 * password, token or code; an e-mail address only by biz_mask_email().
 *
 * The rows are one chain: `seq` counts without a gap (a unique key), and each row's `mac` is an
 * HMAC-SHA256 over the mac before it and the row. Two marks stand beside them, signed with the same
 * key: `head`, how far the chain had come, and `base`, up to where retention has removed it. */
#ifndef BIZ_AUDIT_H
#define BIZ_AUDIT_H

#include "core/biz.h"
#include "core/crypto.h"
#include "store/store.h"

typedef struct biz_audit biz_audit;

/* The writer of one process. `key` (BIZ_KEY_LEN bytes) and the store outlive it. */
biz_audit *audit_open(apr_pool_t *pool, store *s, const unsigned char *key);

typedef struct audit_event {
    const char *name;
    const char *user_id;  /* the account it is about, or NULL where there is none */
    const char *actor_id; /* who did it where that is somebody else: a user's id, or
                           * AUDIT_OPERATOR; NULL: the account itself or a stranger */
    const char *ip, *user_agent, *request_id; /* or NULL */
    const char *details;                      /* a JSON object as text, or NULL */
    const char *once; /* or NULL: of two events with this text one row is kept, the first */
    apr_time_t at;
    struct audit_event *next;
} audit_event;

#define AUDIT_OPERATOR "operator" /* bizapictl */

/* ---- in a request ---- */

/* Notes an event of this request. user_id NULL where the account is not known; who is signed in and
 * is not that account is the actor. Texts must live as long as the request. */
void audit_note(biz_req *req, const char *name, const char *user_id, const char *details);
/* {"name": "value"}, the details of most events. */
const char *audit_detail(apr_pool_t *pool, const char *name, const char *value);
/* Commits what was noted; nothing to do for most requests. The dispatcher does so at the end; a
 * handler before a change that must not be there without these rows. STORE_UNAVAILABLE in the reply
 * where the store did not take them, whatever the reply said before. */
biz_code audit_commit(biz_req *req, biz_reply *reply);

/* ---- elsewhere ---- */

/* Appends one event now. STORE_EUNAVAIL: it may or may not be there. */
apr_status_t audit_append(biz_audit *a, apr_pool_t *pool, const audit_event *event);

/* Removes rows older than `before`, oldest first, at most `limit`; the chain's last row stays. */
apr_status_t audit_sweep(biz_audit *a, apr_pool_t *pool, apr_time_t before, int limit,
                         int *removed);

/* ---- reading ---- */

typedef struct {
    int64_t rows;        /* that were read and found as they were written */
    int64_t first, last; /* their sequence numbers; 0 where there are none */
    const char *mac;     /* of the last row */
    const char *wrong;   /* NULL, or a sentence: what is wrong, and at which row */
} audit_report;

/* Reads the whole chain; may run beside writers and the sweep. `seq` > 0 and `mac`: what an earlier
 * report said of its last row, which must still be so unless retention has removed it. The store's
 * failure is the return value; what is found wrong is in the report. */
apr_status_t audit_verify(store *s, apr_pool_t *pool, const unsigned char *key, int64_t seq,
                          const char *mac, audit_report *report);

/* A row as the API, the command line and exports show it. */
biz_json *audit_json(apr_pool_t *pool, const store_doc *row);

#endif
