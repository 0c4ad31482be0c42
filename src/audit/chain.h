/* chain.h: the arithmetic of the audit log's chain, between audit.c, which writes it, and verify.c,
 * which reads it. No store call. */
#ifndef BIZ_AUDIT_CHAIN_H
#define BIZ_AUDIT_CHAIN_H

#include "audit.h"

#define AUDIT_HEAD "head" /* ids in audit_marks */
#define AUDIT_BASE "base"
#define AUDIT_ORIGIN "0" /* stands for the mac before row 1 */

/* The mac of a row that follows the one with mac `before`. */
const char *audit_row_mac(apr_pool_t *pool, const unsigned char *key, const char *before,
                          const store_doc *row);
/* The signature of a mark. */
const char *audit_mark_sig(apr_pool_t *pool, const unsigned char *key, const char *mark,
                           int64_t seq, const char *mac);

#endif
