/* csv.h: one cell of a CSV file (RFC 4180) that a spreadsheet opens without running anything. */
#ifndef BIZ_CSV_H
#define BIZ_CSV_H

#include <apr_pools.h>

/* The text in quotes, its quotes doubled; where it begins with = + - @ or a control character,
 * which a spreadsheet would take for a formula, an apostrophe stands before it. NULL is "". */
const char *biz_csv_cell(apr_pool_t *pool, const char *text);

#endif
