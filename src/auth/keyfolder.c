/* keyfolder.c: see keyfolder.h. Called by keys.c alone; knows nothing of what stands in the files.
 */
#include "keyfolder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <apr_strings.h>

#include "core/random.h"

enum { LOCK_TRIES = 200 };
static const apr_interval_time_t LOCK_PAUSE = apr_time_from_msec(50);

apr_status_t key_fail(key_folder *f, apr_status_t rv, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    f->why = apr_pvsprintf(f->pool, fmt, ap);
    va_end(ap);
    return rv;
}

apr_status_t key_fail_errno(key_folder *f, const char *what, const char *file)
{
    apr_status_t rv = APR_FROM_OS_ERROR(errno);
    char text[200];

    apr_strerror(rv, text, sizeof(text));
    return key_fail(f, rv, "cannot %s %s%s%s: %s", what, f->path, file != NULL ? "/" : "",
                    file != NULL ? file : "", text);
}

/* ---- the folder ---- */

apr_status_t key_folder_open(key_folder *f, apr_pool_t *pool, const char *state_dir, int make)
{
    f->pool = pool;
    f->path = apr_pstrcat(pool, state_dir, "/keys", NULL);
    f->fd = -1;
    f->why = NULL;
    if (make && mkdir(f->path, 0700) != 0 && errno != EEXIST)
        return errno != ENOENT
                   ? key_fail_errno(f, "make the folder", NULL)
                   : key_fail(f, APR_ENOENT,
                              "there is no folder %s for the keys; make it first, owned by the "
                              "user that Apache's workers run as",
                              state_dir);
    /* The folder above may be the workers': a link of theirs must not lead us elsewhere. */
    f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (f->fd < 0 && errno == ENOENT)
        return key_fail(f, APR_ENOENT,
                        "there is no folder %s yet: the server makes it at its start", f->path);
    if (f->fd < 0 && lstat(f->path, &f->st) == 0 && S_ISLNK(f->st.st_mode))
        return key_fail(f, APR_EGENERAL, "%s is a symbolic link; put the folder itself there",
                        f->path);
    if (f->fd < 0 || fstat(f->fd, &f->st) != 0)
        return key_fail_errno(f, "open", NULL);
    if ((f->st.st_mode & 022) != 0)
        return key_fail(f, APR_EGENERAL, "others may write to %s; run: chmod 700 %s", f->path,
                        f->path);
    return APR_SUCCESS;
}

void key_folder_close(key_folder *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

/* What root makes for a server that is run by another user must be readable by that user. */
static int give_to_owner(const key_folder *f, int fd)
{
    if (geteuid() != 0 || f->st.st_uid == 0)
        return 0;
    return fchown(fd, f->st.st_uid, f->st.st_gid);
}

apr_status_t key_folder_lock(key_folder *f, int *lock)
{
    int tries = 0;

    *lock = openat(f->fd, ".lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*lock < 0 || give_to_owner(f, *lock) != 0)
        return key_fail_errno(f, "write to", ".lock");
    while (flock(*lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return key_fail_errno(f, "lock", ".lock");
        if (++tries == LOCK_TRIES)
            return key_fail(f, APR_TIMEUP, "another process has held %s/.lock for 10 seconds",
                            f->path);
        apr_sleep(LOCK_PAUSE);
    }
    return APR_SUCCESS;
}

/* ---- files ---- */

apr_status_t key_file_read(key_folder *f, const char *file, char *buf, size_t size, size_t *len)
{
    apr_status_t rv = APR_SUCCESS;
    struct stat st;
    ssize_t n = 0;
    int fd = openat(f->fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    *len = 0;
    if (fd < 0 && errno == ENOENT)
        return APR_ENOENT;
    if (fd < 0 && errno == ELOOP)
        return key_fail(f, APR_EGENERAL, "%s/%s is a symbolic link; put the file itself there",
                        f->path, file);
    if (fd < 0 || fstat(fd, &st) != 0) {
        rv = key_fail_errno(f, "read", file);
    } else if (!S_ISREG(st.st_mode)) {
        rv = key_fail(f, APR_EGENERAL, "%s/%s is not a regular file", f->path, file);
    } else if ((st.st_mode & 077) != 0) {
        rv = key_fail(f, APR_EGENERAL, "%s/%s is open to others; run: chmod 600 %s/%s", f->path,
                      file, f->path, file);
    } else if (st.st_size > (off_t)size) {
        rv = key_fail(f, APR_EGENERAL, "%s/%s is damaged: it is too long; restore it from a backup",
                      f->path, file);
    } else {
        while (*len < size && (n = read(fd, buf + *len, size - *len)) > 0)
            *len += (size_t)n;
        if (n < 0)
            rv = key_fail_errno(f, "read", file);
    }
    if (fd >= 0)
        close(fd);
    return rv;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return fsync(fd);
}

apr_status_t key_file_make(key_folder *f, const char *file, const char *data, size_t len)
{
    apr_status_t rv = APR_SUCCESS;
    const char *temp = apr_pstrcat(f->pool, ".new-", biz_random_token(f->pool), NULL);
    int fd = openat(f->fd, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return key_fail_errno(f, "write to", NULL);
    if (give_to_owner(f, fd) != 0 || write_all(fd, data, len) != 0)
        rv = key_fail_errno(f, "write", file);
    else if (linkat(f->fd, temp, f->fd, file, 0) != 0)
        rv = errno == EEXIST ? APR_EEXIST : key_fail_errno(f, "write", file);
    close(fd);
    unlinkat(f->fd, temp, 0);
    if (rv == APR_SUCCESS && fsync(f->fd) != 0)
        rv = key_fail_errno(f, "write to", NULL);
    return rv;
}

void key_folder_tidy(key_folder *f)
{
    struct dirent *entry;
    int fd = openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, ".new-", 5) == 0)
            unlinkat(f->fd, entry->d_name, 0);
    }
    closedir(dir);
}
