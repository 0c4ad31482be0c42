/* sqlite_conn.c: connections to one SQLite file: opened in the process that uses them, kept with
 * their statements, given to one thread at a time, thrown away when something is wrong with them or
 * with the file. Called by sqlite*.c alone; it knows nothing of documents. */
#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <apr_strings.h>
#include "core/log.h"
#include "core/str.h"

enum {
    LOOK_EVERY = 1000000, /* a reader sees after at most this that its file is gone */
    CACHE_KIB = 1024
};

/* A connection that was open while the process forked leaves SQLite's own tables in the child
 * claiming locks that only the parent holds; using the library on that file then loses data. So the
 * number of open connections is kept for the process, and a child that inherited some refuses. */
static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER;
static int process_open;
static pid_t process_pid;

/* ---- statements ---- */

int sq_prepare(sq_conn *c, const char *sql, sqlite3_stmt **stmt)
{
    uint64_t hash = biz_hash(sql);
    int oldest = 0, rc;

    for (int i = 0; i < SQ_STATEMENTS; i++) {
        if (!c->cache[i].stmt) {
            oldest = i;
            break;
        }
        if (c->cache[i].hash == hash && strcmp(sqlite3_sql(c->cache[i].stmt), sql) == 0) {
            c->cache[i].used = ++c->turn;
            *stmt = c->cache[i].stmt;
            return SQLITE_OK;
        }
        if (c->cache[i].used < c->cache[oldest].used) {
            oldest = i;
        }
    }
    rc = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_finalize(c->cache[oldest].stmt);
        c->cache[oldest].stmt = *stmt;
        c->cache[oldest].hash = hash;
        c->cache[oldest].used = ++c->turn;
    }
    return rc;
}

int sq_prepare_get(sq_conn *c, store_coll_no coll, sqlite3_stmt **stmt)
{
    int rc = SQLITE_OK;

    if (!c->get[coll]) {
        rc = sqlite3_prepare_v3(c->db, c->owner->get_text[coll], -1, SQLITE_PREPARE_PERSISTENT,
                                &c->get[coll], NULL);
    }
    *stmt = c->get[coll];
    return rc;
}

/* ---- one connection ---- */

static void count_open(int by)
{
    pthread_mutex_lock(&process_lock);
    process_open += by;
    process_pid = getpid();
    pthread_mutex_unlock(&process_lock);
}

static int inherited(void)
{
    int yes;

    pthread_mutex_lock(&process_lock);
    yes = process_open > 0 && process_pid != getpid();
    pthread_mutex_unlock(&process_lock);
    return yes;
}

static void close_conn(sq_conn *c)
{
    if (!c) {
        return;
    }
    for (int i = 0; i < SQ_STATEMENTS && c->cache[i].stmt; i++) {
        sqlite3_finalize(c->cache[i].stmt);
    }
    for (int no = 0; no < COLL_END; no++) {
        sqlite3_finalize(c->get[no]);
    }
    if (c->db) {
        sqlite3_close_v2(c->db);
        count_open(-1);
    }
    free(c);
}

/* SQLite's own handler sleeps longer and longer, up to 100 ms, and loses every race against a
 * process that writes in a row. Short sleeps of uneven length find the gap. */
static int busy(void *data, int tries)
{
    sq_conn *c = data;
    int64_t now = sq_clock();
    int64_t step = tries < 8 ? 200 : tries < 200 ? 1000 : 4000;
    struct timespec ts = {0, 0};

    if (now >= c->deadline) {
        return 0;
    }
    c->seed = c->seed * 1103515245U + 12345U;
    step = step / 2 + (int64_t)((c->seed >> 8) % (unsigned)step);
    if (step > c->deadline - now) {
        step = c->deadline - now;
    }
    ts.tv_nsec = (long)step * 1000;
    nanosleep(&ts, NULL);
    return 1;
}

/* Makes an empty file under another name, with the right owner and mode from its first byte (SQLite
 * gives the -wal and -shm the same). It gets its real name after it was closed: closing any
 * descriptor of a file drops all locks that the process has on it. */
static int make_aside(sq_store *q)
{
    const store_options *o = &q->s->options;
    int fd, bad;

    unlink(q->made);
    fd = open(q->made, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -1;
    }
    bad = geteuid() == 0 && o->owner_uid != 0 && fchown(fd, o->owner_uid, o->owner_gid) != 0;
    bad = fsync(fd) != 0 || bad;
    bad = close(fd) != 0 || bad;
    if (bad) {
        unlink(q->made);
    }
    return bad ? -1 : 0;
}

/* Makes the file where it is missing. A -wal or -shm that lies there belongs to a database that
 * somebody removed; taken for the new one's, it would damage it. The directory's lock keeps two
 * makers apart. What fails here fails again in opening, and is told there. */
static void make_file(sq_store *q, int64_t deadline)
{
    struct timespec pause = {0, 2000000};
    struct stat st;
    int dir;

    if (stat(q->path, &st) == 0 || errno != ENOENT) {
        return;
    }
    dir = open(q->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        return;
    }
    while (flock(dir, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK || sq_clock() >= deadline) {
            goto leave;
        }
        nanosleep(&pause, NULL);
    }
    if (stat(q->path, &st) == 0 || errno != ENOENT || make_aside(q) != 0) {
        goto leave;
    }
    unlink(q->wal);
    unlink(q->shm);
    if (link(q->made, q->path) == 0) {
        biz_log(BIZ_LOG_NOTICE, 0, BZ(0214) "made a new database, %s", q->path);
    }
    unlink(q->made);
    fsync(dir);
leave:
    close(dir);
}

/* "PRAGMA journal_mode=WAL" does not always wait by the busy handler while others open. */
static int want_wal(sq_conn *c)
{
    int rc, tries = 0;

    do {
        sqlite3_stmt *stmt = NULL;

        rc = sqlite3_prepare_v2(c->db, "PRAGMA journal_mode=WAL", -1, &stmt, NULL);
        if (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
            const char *mode = (const char *)sqlite3_column_text(stmt, 0);

            /* No WAL: a file system without shared memory, such as NFS. */
            rc = mode && strcmp(mode, "wal") == 0 ? SQLITE_OK : SQLITE_IOERR_SHMMAP;
        }
        sqlite3_finalize(stmt);
    } while ((rc & 0xff) == SQLITE_BUSY && busy(c, tries++));
    return rc;
}

static int set_up(sq_conn *c)
{
    static const char pragmas[] = "PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;"
                                  "PRAGMA cache_size=-1024; PRAGMA mmap_size=0;"
                                  "PRAGMA journal_size_limit=33554432;";
    int rc;

    sqlite3_extended_result_codes(c->db, 1);
    sqlite3_busy_handler(c->db, busy, c);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    rc = want_wal(c);
    /* No memory map: a file cut short by somebody would end the process instead of the request. */
    return rc == SQLITE_OK ? sqlite3_exec(c->db, pragmas, NULL, NULL, NULL) : rc;
}

int sq_make(sq_store *q)
{
    struct stat st;

    make_file(q, sq_clock() + q->s->options.op_timeout);
    return stat(q->path, &st) == 0;
}

/* 1 where the file was there before and is not now: an empty one in its place would take writes
 * that nobody finds again when the real one is back. */
static int is_lost(const sq_store *q)
{
    struct stat st;

    return (q->s->options.must_exist || atomic_load(&q->was_there)) && stat(q->path, &st) != 0 &&
           errno == ENOENT;
}

static apr_status_t open_conn(sq_store *q, int64_t deadline, sq_conn **out)
{
    sq_conn *c;
    apr_status_t rv;
    int rc;

    *out = NULL;
    if (inherited()) {
        sq_say(q, SQ_FORKED, "");
        return STORE_EUNAVAIL;
    }
    if (is_lost(q)) {
        sq_say(q, SQ_LOST, "");
        return STORE_EUNAVAIL;
    }
    c = calloc(1, sizeof(*c));
    if (!c) {
        return sq_status(q, NULL, SQLITE_NOMEM);
    }
    c->owner = q;
    c->deadline = deadline;
    c->seed = (unsigned)getpid() * 2654435761U ^ (unsigned)(uintptr_t)c;
    if (!q->s->options.must_exist && !atomic_load(&q->was_there)) {
        make_file(q, deadline);
    }
    rc = sqlite3_open_v2(q->path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (c->db) {
        count_open(1);
    }
    if (rc == SQLITE_OK) {
        rc = set_up(c);
    }
    rv = rc == SQLITE_OK ? sq_schema_ready(q, c->db, 0, &rc) : sq_status(q, c->db, rc);
    c->full = 1;
    c->looked_at = sq_clock();
    if (rv) {
        close_conn(c);
        return rv;
    }
    atomic_store(&q->was_there, 1);
    *out = c;
    return APR_SUCCESS;
}

/* A file that was unlinked goes on taking writes, which nobody will ever read again: so it is
 * looked for before every write, and before a read once a second. */
static int has_moved(sq_conn *c, sq_mode mode)
{
    int64_t now = sq_clock();
    int moved = 0;

    if (mode == SQ_READ && now - c->looked_at < LOOK_EVERY) {
        return 0;
    }
    c->looked_at = now;
    return sqlite3_file_control(c->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
           moved;
}

static int set_synchronous(sq_conn *c, int full)
{
    int rc;

    if (c->full == full) {
        return SQLITE_OK;
    }
    rc = full ? sqlite3_exec(c->db, "PRAGMA synchronous=FULL", NULL, NULL, NULL)
              : sqlite3_exec(c->db, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL);
    if (rc == SQLITE_OK) {
        c->full = full;
    }
    return rc;
}

/* ---- the pool ---- */

static apr_status_t close_all(void *data)
{
    sq_store *q = data;

    while (q->pid == getpid() && q->idle) {
        sq_conn *c = q->idle;

        q->idle = c->next;
        close_conn(c);
    }
    pthread_cond_destroy(&q->gate);
    pthread_cond_destroy(&q->freed);
    pthread_mutex_destroy(&q->lock);
    return APR_SUCCESS;
}

/* Without its statistics of memory: they cost a lock of the whole process at each allocation.
 * Refused, and no harm, where somebody else in this process was first to use SQLite. */
static void prepare_library(void)
{
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

apr_status_t sq_pool_init(sq_store *q)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_condattr_t attr;
    int bad = pthread_once(&once, prepare_library) || pthread_condattr_init(&attr);

    /* Waiting must not end early or late when somebody sets the clock. */
    bad = bad || pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    bad = bad || pthread_mutex_init(&q->lock, NULL) || pthread_cond_init(&q->freed, &attr) ||
          pthread_cond_init(&q->gate, &attr);
    pthread_condattr_destroy(&attr);
    if (bad) {
        return APR_ENOMEM;
    }
    q->pid = getpid();
    apr_pool_cleanup_register(q->s->pool, q, close_all, apr_pool_cleanup_null);
    return APR_SUCCESS;
}

/* 0 when the time is up. */
static int wait_for(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t deadline)
{
    struct timespec ts = {.tv_sec = deadline / 1000000, .tv_nsec = deadline % 1000000 * 1000};

    return pthread_cond_timedwait(cond, lock, &ts) != ETIMEDOUT;
}

/* One thread of a process writes at a time. Those that wait stand here without a connection, so
 * that readers never lack one, and are let in by hand-over; only one polls the file's lock. */
static int enter_gate(sq_store *q, int64_t deadline)
{
    int in = 1;

    if (q->writing) {
        q->writers_waiting++;
        /* Always at least one wait: who has just come must not take what was handed to another. */
        do {
            in = wait_for(&q->gate, &q->lock, deadline) || q->handed;
        } while (!q->handed && in);
        q->writers_waiting--;
        q->handed = 0;
    }
    q->writing = q->writing || in;
    return in;
}

static void leave_gate(sq_store *q)
{
    if (q->writers_waiting > 0) {
        q->handed = 1;
        pthread_cond_signal(&q->gate);
    } else {
        q->writing = 0;
    }
}

/* Gives up a place that has no connection (any more). */
static void give_up(sq_store *q, sq_mode mode)
{
    pthread_mutex_lock(&q->lock);
    q->open--;
    pthread_cond_signal(&q->freed);
    if (mode != SQ_READ) {
        leave_gate(q);
    }
    pthread_mutex_unlock(&q->lock);
}

/* A place in the pool: an idle connection, or NULL where one is to be opened. */
static apr_status_t enter_pool(sq_store *q, sq_mode mode, int64_t deadline, sq_conn **out)
{
    const char *what = NULL;
    pid_t me = getpid();

    pthread_mutex_lock(&q->lock);
    if (q->pid != me && q->open == 0) {
        q->pid = me;
    }
    if (q->pid != me) {
        pthread_mutex_unlock(&q->lock);
        sq_say(q, SQ_FORKED, "");
        return STORE_EUNAVAIL;
    }
    if (mode != SQ_READ && !enter_gate(q, deadline)) {
        what = "other writers held it all the time";
    }
    while (!what && !q->idle && q->open >= q->s->options.max_connections) {
        if (!wait_for(&q->freed, &q->lock, deadline) && !q->idle &&
            q->open >= q->s->options.max_connections) {
            what = "all were in use";
            if (mode != SQ_READ) {
                leave_gate(q);
            }
        }
    }
    *out = q->idle;
    if (!what && *out) {
        q->idle = (*out)->next;
    } else if (!what) {
        q->open++;
    }
    pthread_mutex_unlock(&q->lock);
    if (what) {
        sq_say(q, SQ_CROWDED, what);
    }
    return what ? STORE_EUNAVAIL : APR_SUCCESS;
}

apr_status_t sq_acquire(store *s, sq_mode mode, sq_conn **out)
{
    sq_store *q = s->data;
    int64_t deadline = sq_clock() + s->options.op_timeout;
    sq_conn *c = NULL;
    apr_status_t rv = enter_pool(q, mode, deadline, &c);
    int rc;

    *out = NULL;
    if (rv) {
        return rv;
    }
    if (c && has_moved(c, mode)) {
        sq_say(q, is_lost(q) ? SQ_LOST : SQ_MOVED, "");
        close_conn(c);
        c = NULL;
    }
    /* Opened while there was no right to write: by now there may be one. */
    if (c && mode != SQ_READ && sqlite3_db_readonly(c->db, "main") == 1) {
        close_conn(c);
        c = NULL;
    }
    if (!c) {
        rv = open_conn(q, deadline, &c);
        if (rv) {
            give_up(q, mode);
            return rv;
        }
    }
    c->deadline = deadline;
    c->mode = mode;
    if (mode != SQ_READ && (rc = set_synchronous(c, mode == SQ_WRITE)) != SQLITE_OK) {
        rv = sq_status(q, c->db, rc);
        sq_release(c, rc);
        return rv;
    }
    *out = c;
    return APR_SUCCESS;
}

static int is_sound(sq_conn *c, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
    case SQLITE_CONSTRAINT:
    case SQLITE_BUSY:
    case SQLITE_FULL:
    case SQLITE_TOOBIG:
        break;
    default:
        return 0;
    }
    return sqlite3_get_autocommit(c->db) ||
           sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL) == SQLITE_OK;
}

void sq_release(sq_conn *c, int rc)
{
    sq_store *q = c->owner;
    sq_mode mode = c->mode;

    if (!is_sound(c, rc)) {
        close_conn(c);
        give_up(q, mode);
        return;
    }
    pthread_mutex_lock(&q->lock);
    c->next = q->idle;
    q->idle = c;
    pthread_cond_signal(&q->freed);
    if (mode != SQ_READ) {
        leave_gate(q);
    }
    pthread_mutex_unlock(&q->lock);
}
