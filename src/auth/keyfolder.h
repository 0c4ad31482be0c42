/* keyfolder.h: the files of <state directory>/keys: read only where nobody else may, written whole
 * or not at all. For keys.c.
 *
 *   .lock    held (flock) by who makes or removes files, so that two starters agree
 *   .new-*   a file being written; it gets its name by link(2), which never replaces */
#ifndef BIZ_KEYFOLDER_H
#define BIZ_KEYFOLDER_H

#include <sys/stat.h>
#include <apr_pools.h>
#include <apr_errno.h>

typedef struct {
    apr_pool_t *pool;
    const char *path;
    int fd; /* -1 when closed */
    struct stat st;
    const char *why; /* a sentence with the path in it, set by whatever failed last */
} key_folder;

/* Sets f->why and gives rv back. */
apr_status_t key_fail(key_folder *f, apr_status_t rv, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* "cannot read PATH/file: No such file or directory" from errno; file may be NULL. */
apr_status_t key_fail_errno(key_folder *f, const char *what, const char *file);

/* With `make` the folder is made, mode 0700, in a state directory that must be there. APR_ENOENT
 * where it is missing. Refused where others may write to it. */
apr_status_t key_folder_open(key_folder *f, apr_pool_t *pool, const char *state_dir, int make);
void key_folder_close(key_folder *f);

/* Waits up to 10 s. *lock >= 0, also after a failure, is closed by the caller, which releases it; a
 * killed holder releases it too. */
apr_status_t key_folder_lock(key_folder *f, int *lock);
/* Removes what writers that were killed left. With the lock held. */
void key_folder_tidy(key_folder *f);

/* At most `size` bytes; a longer file is an error, and so is one that others may read or write, or
 * that is not a regular file. APR_ENOENT without a reason where it is missing. */
apr_status_t key_file_read(key_folder *f, const char *file, char *buf, size_t size, size_t *len);
/* Mode 0600. The file is there whole or not at all, also after a power cut, and is never replaced:
 * APR_EEXIST without a reason where it was there. */
apr_status_t key_file_make(key_folder *f, const char *file, const char *data, size_t len);

#endif
