/* import.h: where accounts come from, and the one way in which they become users here. Between
 * cmd_import.c, which has the way and MongoDB, and import_file.c, which has the files. */
#ifndef BIZ_CLI_IMPORT_H
#define BIZ_CLI_IMPORT_H

#include "store/mongo_import.h"
#include "transfer.h"

typedef mongo_import_user import_user;

/* *why is English without secrets where the answer is not APR_SUCCESS. */
typedef struct {
    const char *kind; /* "csv", for the audit log */
    void *self;
    apr_status_t (*count)(void *self, apr_pool_t *pool, int64_t *count, const char **why);
    /* APR_EOF behind the last one. */
    apr_status_t (*next)(void *self, apr_pool_t *pool, import_user *user, const char **why);
    const char *nothing; /* what to say where there is none */
} import_source;

/* Opens the source, then the store, and brings everybody: dry run, bar, report and resumption. An
 * exit status. */
int import_all(cli *c, int (*open)(cli *c, import_source *source));

#endif
