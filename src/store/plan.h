/* plan.h: between store.c and plan.c alone: arguments checked, queries turned into plans, cursors.
 */
#ifndef BIZ_STORE_PLAN_H
#define BIZ_STORE_PLAN_H

#include "backend.h"

enum { STORE_LIMIT_MAX = 1000, STORE_ID_MAX = 255 };

/* Logs that the program called `call` in a way that store.h forbids; gives STORE_EINVAL. */
apr_status_t store_misuse(const char *call, const store_coll *coll, const char *what);

/* 1 where a document may have this id at all. */
int store_id_is_possible(const char *id);

/* Copies with TIME values cut to the millisecond. STORE_EINVAL where store.h forbids them. */
apr_status_t store_conds_check(apr_pool_t *pool, const char *call, const store_coll *coll,
                               const store_cond *conds, size_t n, const store_cond **out);
/* The same for changes; adds version and updated_at where the collection has them. */
apr_status_t store_changes_check(apr_pool_t *pool, const char *call, const store_coll *coll,
                                 const store_change *changes, size_t *n, const store_change **out);
/* The values of a whole document. */
apr_status_t store_doc_check(const char *call, const store_doc *doc);

apr_status_t store_plan_make(apr_pool_t *pool, const char *call, const store_query *query,
                             store_plan *plan);
/* The cursor behind `last` in the walk of `plan`. */
const char *store_cursor_make(apr_pool_t *pool, const store_plan *plan, const store_doc *last);

#endif
