/* sqlite_log.c: what a result code of SQLite means: to the caller a status, to the operator one
 * line that says what to do. Called by sqlite*.c alone. */
#include "sqlite.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <apr_strings.h>
#include "core/log.h"

enum { MINUTE = 60 * 1000000 };

int64_t sq_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int sq_may_say(sq_store *q, sq_line line)
{
    int64_t now = sq_clock();
    int64_t last = atomic_load(&q->said[line]);

    if (last && now - last < MINUTE) {
        return 0;
    }
    return atomic_compare_exchange_strong(&q->said[line], &last, now);
}

void sq_say(sq_store *q, sq_line line, const char *detail)
{
    atomic_store(&q->down, 1);
    if (!sq_may_say(q, line)) {
        return;
    }
    switch (line) {
    case SQ_LOCKED:
        biz_log(
            BIZ_LOG_ERR, 0,
            BZ(0201) "the database %s stayed locked by another process (%s); writes are "
                     "answered 503 until it is free: look for a backup or a shell that holds it",
            q->path, detail);
        break;
    case SQ_FULL:
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0202) "no space for the database %s (%s); writes are answered 503, reads go "
                         "on: free some space, nothing needs a restart",
                q->path, detail);
        break;
    case SQ_IO:
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0203) "the disk under the database %s fails (%s); look at the system's log",
                q->path, detail);
        break;
    case SQ_OPEN:
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0204) "the database %s cannot be opened by uid %lu (%s); its directory must "
                         "exist and be writable for that user",
                q->path, (unsigned long)geteuid(), detail);
        break;
    case SQ_READONLY:
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0205) "the database %s cannot be written by uid %lu (%s); give the file, its "
                         "-wal and -shm, and the directory to that user",
                q->path, (unsigned long)geteuid(), detail);
        break;
    case SQ_CORRUPT:
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0206) "the database %s is damaged or is no database (%s); stop the server and "
                         "restore a backup without any old -wal and -shm beside it",
                q->path, detail);
        break;
    case SQ_NEWER:
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0207) "the database %s was written by a newer version (%s); install that "
                         "version again, or restore the backup made before it",
                q->path, detail);
        break;
    case SQ_MOVED:
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0208) "the database %s was removed or replaced while in use; it is opened anew",
                q->path);
        break;
    case SQ_LOST:
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0215) "the database %s is gone and requests are answered 503: put it or a "
                         "backup there; to begin with an empty one, restart Apache or run "
                         "bizapictl migrate",
                q->path);
        break;
    case SQ_CROWDED:
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0210) "no connection to %s was free in time (%s); requests were answered 503",
                q->path, detail);
        break;
    case SQ_FORKED:
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0211) "a connection to an SQLite database was open while the process forked; %s "
                         "is not used here; this is a mistake in the program, please report it",
                q->path);
        break;
    default:
        biz_log(BIZ_LOG_ERR, 0,
                BZ(0212) "the database %s gave an unexpected error (%s); the connection is opened "
                         "anew",
                q->path, detail);
    }
}

static sq_line line_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return SQ_LOCKED;
    case SQLITE_FULL:
        return SQ_FULL;
    case SQLITE_IOERR:
        return SQ_IO;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return SQ_OPEN;
    case SQLITE_READONLY:
        return SQ_READONLY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return SQ_CORRUPT;
    default:
        return SQ_OTHER;
    }
}

apr_status_t sq_status(sq_store *q, sqlite3 *db, int rc)
{
    char detail[300];
    int system;

    if (rc == SQLITE_OK || rc == SQLITE_DONE || rc == SQLITE_ROW) {
        if (atomic_load(&q->down) && atomic_exchange(&q->down, 0) && sq_may_say(q, SQ_BACK)) {
            biz_log(BIZ_LOG_NOTICE, 0, BZ(0213) "the database %s works again", q->path);
        }
        return APR_SUCCESS;
    }
    system = db && ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN)
                 ? sqlite3_system_errno(db)
                 : 0;
    /* errmsg belongs to the last call, errstr to the code; no value of a row is in either. */
    apr_snprintf(detail, sizeof(detail), "SQLite %d: %s%s%s", rc,
                 db && sqlite3_extended_errcode(db) == rc ? sqlite3_errmsg(db) : sqlite3_errstr(rc),
                 system ? ", " : "", system ? strerror(system) : "");
    sq_say(q, system == ENOSPC || system == EDQUOT ? SQ_FULL : line_of(rc), detail);
    return STORE_EUNAVAIL;
}
