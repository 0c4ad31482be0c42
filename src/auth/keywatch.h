/* keywatch.h: whether all machines of a business have the same keys, which nothing else would tell:
 * one refuses what another has signed, and its mails with links cannot be sent. */
#ifndef BIZ_KEYWATCH_H
#define BIZ_KEYWATCH_H

#include <apr_pools.h>
#include "keys.h"
#include "store/store.h"

enum { KEYWATCH_SECONDS = 60 }; /* between two calls */

/* Leaves the fingerprint of our master.key in the store, for `holder` (host:state directory), and
 * writes a line to the log where another holder has left a different one of late. */
void biz_keys_watch(store *s, apr_pool_t *pool, const biz_keys *keys, const char *holder);

#endif
