/* cmd_check.c: bizapictl check and migrate. check looks at everything that keeps a server from
 * working and that a configuration test cannot see; it changes no data, and each finding says what
 * to do. */
#include "cli.h"

#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <linux/magic.h>
#include <apr_strings.h>

#include "auth/account.h"
#include "auth/keys.h"

typedef enum { FOUND_OK, FOUND_WARN, FOUND_FAIL } finding;

typedef struct {
    cli *c;
    biz_json *list;
    int worst;
} report;

static const apr_uint64_t MIB = APR_UINT64_C(1024) * 1024;
enum { FREE_MIB = 64, PAGE = 500 };

static void found(report *r, finding what, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void found(report *r, finding what, const char *name, const char *fmt, ...)
{
    static const char *const words[] = {"ok", "WARN", "FAIL"};
    biz_json *json = biz_json_object(r->c->pool);
    const char *text;
    va_list ap;

    va_start(ap, fmt);
    text = apr_pvsprintf(r->c->pool, fmt, ap);
    va_end(ap);
    biz_json_set_str(json, "name", name);
    biz_json_set_str(json, "status", words[what]);
    biz_json_set_str(json, "text", text);
    biz_json_add(r->list, json);
    if (what > (finding)r->worst)
        r->worst = what;
    if (!r->c->json && (!r->c->quiet || what != FOUND_OK))
        printf("%-5s %-10s %s\n", words[what], name, cli_text(r->c->pool, text));
}

static const char *user_name(apr_pool_t *pool, uid_t uid)
{
    struct passwd *pw = getpwuid(uid);

    return pw != NULL ? apr_pstrdup(pool, pw->pw_name) : apr_psprintf(pool, "%ld", (long)uid);
}

/* ---- files ---- */

static void check_disk(report *r, const char *dir)
{
    struct statvfs v;
    struct statfs f;
    apr_uint64_t free_bytes;

    if (statvfs(dir, &v) != 0 || statfs(dir, &f) != 0) {
        found(r, FOUND_FAIL, "disk", "the disk of %s cannot be looked at: %s", dir,
              strerror(errno));
        return;
    }
    free_bytes = (apr_uint64_t)v.f_bavail * v.f_frsize;
    if ((v.f_flag & ST_RDONLY) != 0)
        found(r, FOUND_FAIL, "disk", "%s is on a disk that is mounted read-only", dir);
    else if (free_bytes < FREE_MIB * MIB)
        found(r, FOUND_FAIL, "disk", "only %" APR_UINT64_T_FMT " MiB are free at %s; make room",
              free_bytes / MIB, dir);
    else
        found(r, FOUND_OK, "disk", "%" APR_UINT64_T_FMT " MiB are free at %s", free_bytes / MIB,
              dir);
    if (f.f_type == TMPFS_MAGIC || f.f_type == RAMFS_MAGIC)
        found(r, FOUND_WARN, "disk", "%s is in memory (tmpfs): everything is lost at a reboot",
              dir);
    else if (f.f_type == NFS_SUPER_MAGIC || f.f_type == SMB_SUPER_MAGIC)
        found(r, FOUND_WARN, "disk",
              "%s is on a network disk, where SQLite's locks cannot be relied on; use a local one",
              dir);
}

/* SQLite's companions are made by whoever opens the database first. One that belongs to somebody
 * else keeps the server out. */
static void check_companions(report *r, const char *database, uid_t owner)
{
    static const char *const ends[] = {"-wal", "-shm", "-journal"};
    apr_pool_t *p = r->c->pool;
    struct stat st;
    size_t i;

    for (i = 0; i < STORE_COUNT_OF(ends); i++) {
        const char *path = apr_pstrcat(p, database, ends[i], NULL);

        if (stat(path, &st) == 0 && st.st_uid != owner)
            found(r, FOUND_FAIL, "files", "%s belongs to %s, the database to %s; run: chown %s: %s",
                  path, user_name(p, st.st_uid), user_name(p, owner), user_name(p, owner), path);
    }
}

/* 1 where the database is there and may be opened. */
static int check_files(report *r)
{
    apr_pool_t *p = r->c->pool;
    const char *database = r->c->database;
    const char *dir = apr_pstrmemdup(p, database, (size_t)(strrchr(database, '/') - database));
    struct stat folder, file;

    if (dir[0] == '\0')
        dir = "/";
    if (stat(dir, &folder) != 0) {
        found(r, FOUND_FAIL, "folder", "%s: %s; make it, owned by the user of Apache's workers",
              dir, strerror(errno));
        return 0;
    }
    check_disk(r, dir);
    if ((folder.st_mode & S_IWOTH) != 0 && (folder.st_mode & S_ISVTX) == 0)
        found(r, FOUND_WARN, "folder", "every user may write to %s; run: chmod o-w %s", dir, dir);
    else
        found(r, FOUND_OK, "folder", "%s belongs to %s", dir, user_name(p, folder.st_uid));
    if (stat(database, &file) != 0) {
        found(r, FOUND_FAIL, "database",
              "there is no database at %s yet: start the server, or run: "
              "bizapictl migrate",
              database);
        return 0;
    }
    if (!S_ISREG(file.st_mode) || access(database, R_OK | W_OK) != 0) {
        found(r, FOUND_FAIL, "database",
              "%s is no file that this user may write to; it belongs to "
              "%s",
              database, user_name(p, file.st_uid));
        return 0;
    }
    if (file.st_uid != folder.st_uid)
        found(r, FOUND_WARN, "database",
              "%s belongs to %s, its folder to %s: the server must be "
              "able to write to both",
              database, user_name(p, file.st_uid), user_name(p, folder.st_uid));
    else if (file.st_uid == 0) /* not -R: the keys' folder stays root's */
        found(r, FOUND_WARN, "database",
              "%s belongs to root: Apache's workers cannot write to it unless they are root; run: "
              "chown www-data: %s %s*",
              database, dir, database);
    else if ((file.st_mode & S_IRWXO) != 0)
        found(r, FOUND_WARN, "database", "every user may read %s; run: chmod o= %s*", database,
              database);
    else
        found(r, FOUND_OK, "database", "%s, %.1f MiB, belongs to %s", database,
              (double)file.st_size / (double)MIB, user_name(p, file.st_uid));
    check_companions(r, database, file.st_uid);
    return 1;
}

/* ---- the store ---- */

static void check_users(report *r)
{
    apr_pool_t *page;
    apr_array_header_t *docs;
    char last[64] = "";
    int i, got = PAGE, users = 0, admins = 0;
    apr_status_t rv = APR_SUCCESS;

    apr_pool_create(&page, r->c->pool);
    while (rv == APR_SUCCESS && got == PAGE) {
        apr_pool_clear(page);
        rv = store_scan(r->c->store, page, COLL_USERS, last[0] != '\0' ? last : NULL, PAGE, &docs);
        got = rv == APR_SUCCESS ? docs->nelts : 0;
        for (i = 0; i < got; i++) {
            const store_doc *user = APR_ARRAY_IDX(docs, i, store_doc *);
            const char *role = store_str(user, USER_ROLE);

            users++;
            admins += role != NULL && !strcmp(role, "admin") && !store_bool(user, USER_DISABLED);
            if (i + 1 == got)
                apr_cpystrn(last, store_doc_id(user), sizeof(last));
        }
    }
    apr_pool_destroy(page);
    if (rv != APR_SUCCESS)
        found(r, FOUND_FAIL, "users", "%s", store_strerror(r->c->pool, rv));
    else if (admins == 0)
        found(r, FOUND_WARN, "users",
              "%d users, no admin among them; run: bizapictl user add EMAIL "
              "--role admin",
              users);
    else
        found(r, FOUND_OK, "users", "%d users, %d of them admins", users, admins);
}

static void check_outbox(report *r)
{
    const char *state = "dead";
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, state)};
    store_query query = {.coll = COLL_OUTBOX,
                         .index = "outbox_state_created",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = 1000};
    apr_array_header_t *rows;
    apr_status_t rv = store_find(r->c->store, r->c->pool, &query, &rows, NULL);

    if (rv != APR_SUCCESS)
        found(r, FOUND_FAIL, "outbox", "%s", store_strerror(r->c->pool, rv));
    else if (rows->nelts > 0)
        found(r, FOUND_WARN, "outbox",
              "%d%s messages were given up; see: bizapictl outbox list "
              "--state dead",
              rows->nelts, rows->nelts == query.limit ? " or more" : "");
    else
        found(r, FOUND_OK, "outbox", "no message was given up");
}

static void check_store(report *r)
{
    cli *c = r->c;
    const char *text = NULL;
    apr_status_t rv;

    if (cli_open(c, 0) != CLI_OK) {
        found(r, FOUND_FAIL, "store", "it cannot be opened");
        return;
    }
    rv = store_ping(c->store, c->pool);
    if (rv != APR_SUCCESS) {
        found(r, FOUND_FAIL, "store", "%s", store_strerror(c->pool, rv));
        return;
    }
    found(r, FOUND_OK, "store", "can be read and written, schema version %d", STORE_SCHEMA_VERSION);
    rv = store_check(c->store, c->pool, &text);
    found(r, rv == APR_SUCCESS ? FOUND_OK : FOUND_FAIL, "integrity", "%s",
          text != NULL ? text : store_strerror(c->pool, rv));
    check_users(r);
    check_outbox(r);
}

/* ---- the keys ---- */

static void check_keys(report *r)
{
    cli *c = r->c;
    apr_array_header_t *list;
    const char *why = "";
    apr_status_t rv = biz_keys_list(c->pool, c->state_dir, &list, &why);

    if (rv == APR_ENOENT)
        found(r, FOUND_WARN, "keys", "%s", why);
    else if (APR_STATUS_IS_EACCES(rv) && geteuid() != 0)
        found(r, FOUND_WARN, "keys", "%s; run bizapictl as root to see the keys", why);
    else if (rv != APR_SUCCESS)
        found(r, FOUND_FAIL, "keys", "%s", why);
    else if (list->nelts == 0)
        found(r, FOUND_WARN, "keys",
              "there is no signing key in %s/keys yet: the server makes one "
              "at its start",
              c->state_dir);
    else
        found(r, FOUND_OK, "keys", "%d in %s/keys, the newest of %s", list->nelts, c->state_dir,
              cli_time(c->pool, APR_ARRAY_IDX(list, 0, biz_key_info).made_at));
}

int cmd_check(cli *c)
{
    report r = {.c = c, .list = biz_json_array(c->pool)};
    biz_json *json = biz_json_object(c->pool);

    found(&r, FOUND_OK, "url", "%s", store_url_shown(c->pool, c->store_url));
    if (c->database == NULL || check_files(&r))
        check_store(&r);
    check_keys(&r);
    if (c->json) {
        biz_json_set_bool(json, "ok", r.worst != FOUND_FAIL);
        biz_json_set(json, "findings", r.list);
        cli_print_json(c, json);
    }
    return r.worst == FOUND_FAIL ? CLI_FAILED : CLI_OK;
}

int cmd_migrate(cli *c)
{
    biz_json *json = biz_json_object(c->pool);
    const char *shown = store_url_shown(c->pool, c->store_url);
    apr_status_t rv;
    int status = cli_open(c, 1);

    if (status != CLI_OK)
        return status;
    rv = store_migrate(c->store, c->pool);
    if (rv != APR_SUCCESS)
        return cli_fail_store(c, rv);
    biz_json_set_str(json, "store", shown);
    biz_json_set_int(json, "schema_version", STORE_SCHEMA_VERSION);
    if (c->json && !c->quiet)
        cli_print_json(c, json);
    cli_say(c, "%s has schema version %d", shown, STORE_SCHEMA_VERSION);
    return CLI_OK;
}
