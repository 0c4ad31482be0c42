/* act.h: changes that tell of themselves. What a change means for the audit log and for its owner's
 * mailbox is written into the changed document by the very change, in its field `untold`, and moved
 * from there into both: by the request itself, and where that was killed or its store went away, by
 * the background job or by the next change. So there is no change without its row and its mail, and
 * neither without the change; each once, by keys made of the act.
 *
 * For the handlers of this folder, the background job and bizapictl. A fact that no change follows
 * (a wrong password, a refusal) is audit_note()'s. */
#ifndef BIZ_ACT_H
#define BIZ_ACT_H

#include "audit/audit.h"
#include "core/biz.h"
#include "store/store.h"

typedef struct {
    const char *event;   /* for the audit log; NULL: a mail alone */
    const char *details; /* as in audit.h, or NULL */
    const char *notice;  /* NOTICE_..., or NULL: a row alone */
    const char *about;   /* the notice's detail: which device, key, role; or NULL */
} act;

/* Where it is told, who did it, to whose account, and when. Texts may be NULL, but for user_id. */
typedef struct {
    store *store;
    apr_pool_t *pool;
    biz_audit *audit; /* NULL: bizapictl without the key; the server tells it then */
    const char *user_id;
    const char *actor_id; /* as in audit_event; the account itself counts as NULL */
    const char *ip, *user_agent, *request_id;
    apr_time_t at;
} act_by;

/* The caller of a request, about that account. */
act_by act_by_caller(const biz_req *req, const char *user_id);

/* As store_update(), of a user, a session, a passkey or a recovery code, with what is to be told of
 * it (n_acts 0: nothing). STORE_ECOND is about the caller's conditions alone. Ends with act_tell()
 * once nothing is left to be done for it. */
apr_status_t act_update(const act_by *by, store_coll_no coll, const char *id,
                        const store_cond *conds, size_t n_conds, const store_change *changes,
                        size_t n_changes, const act *acts, size_t n_acts, store_doc **after);
/* The same for a document that is about to be inserted. */
void act_carry(const act_by *by, store_doc *doc, const act *acts, size_t n_acts);
/* What `doc`, as it was read or given, is to tell of itself, as text; NULL: nothing. */
const char *act_untold(const store_doc *doc);

/* Writes the rows and mails of *doc; *doc is replaced by the document that has nothing to tell any
 * more, in the same version (one that act_disown() has ended is removed then). Where the store does
 * not take them the document keeps them, so that a request whose change is done need not fail. */
apr_status_t act_tell(const act_by *by, store_doc **doc);
/* The rows and mails alone; the background job empties the field. */
apr_status_t act_write(const act_by *by, const store_doc *doc);

/* Tells for up to ACT_BATCH documents of each kind that were changed before `before`, or by a clock
 * that was an hour ahead of it, for that was set back since; *told counts them. */
enum { ACT_BATCH = 50, ACT_REST_SECONDS = 3 };
apr_status_t act_tell_left(const act_by *by, apr_time_t before, int *told);

/* ---- at an end ---- */

/* As act_update(), of a session, a passkey or a recovery code: it is nobody's from here on, and
 * nothing finds it any more; act_tell() removes it. */
apr_status_t act_disown(const act_by *by, store_coll_no coll, const char *id,
                        const store_cond *conds, size_t n_conds, const act *told,
                        store_doc **after);
/* Removes a document of any kind but a user; one of those three that has something to tell yet goes
 * when that is told. APR_SUCCESS also where it is gone. */
apr_status_t act_remove(const act_by *by, const store_doc *doc);

#endif
