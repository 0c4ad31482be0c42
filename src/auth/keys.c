/* keys.c: see keys.h. Called by the module's post_config, while the server is still root, and by
 * bizapictl; never by a worker or in a request. Must not log or return any part of a secret.
 *
 * Next to the two kinds of files that the header names stands
 *   jwt-<kid>.since  when a server first signed with that pair, RFC 3339. A pair made by
 *                    biz_keys_rotate() waits for the next restart, and the one before it signs
 *                    until then: its tokens' life counts from here, not from the new pair's making
 */
#include "keys.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <apr_strings.h>

#include "keyfolder.h"
#include "core/json.h"
#include "core/log.h"
#include "core/random.h"
#include "core/str.h"
#include "core/time.h"
#include "core/valid.h"

#define KID_PREFIX "key"
#define MASTER "master.key"

enum { MASTER_DIGITS = 2 * BIZ_KEY_LEN, PAIR_MAX = 4096, ROTATE_TRIES = 5 };

/* An access token lives 15 minutes; the clocks of two machines may differ by a minute. */
static const apr_time_t TOKEN_LIFE = apr_time_from_sec(15 * 60 + 60);
static const apr_time_t KEEP_AFTER = apr_time_from_sec(24 * 60 * 60);

typedef struct {
    const char *kid, *file;
    apr_time_t made_at;
    apr_time_t since; /* 0: no server has signed with it yet */
} pair;

/* ---- master.key ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* APR_ENOENT without a reason where it is missing. */
static apr_status_t master_read(key_folder *f, unsigned char master[BIZ_KEY_LEN])
{
    char buf[MASTER_DIGITS + 1];
    size_t len, i;
    int good, high, low;
    apr_status_t rv = key_file_read(f, MASTER, buf, sizeof(buf), &len);

    if (rv != APR_SUCCESS)
        goto leave;
    good = len == MASTER_DIGITS || (len == MASTER_DIGITS + 1 && buf[MASTER_DIGITS] == '\n');
    for (i = 0; good && i < BIZ_KEY_LEN; i++) {
        high = hex_digit(buf[2 * i]);
        low = hex_digit(buf[2 * i + 1]);
        good = high >= 0 && low >= 0;
        master[i] = (unsigned char)(good ? (high << 4) | low : 0);
    }
    if (!good)
        rv = key_fail(f, APR_EGENERAL,
                      "%s/" MASTER
                      " is damaged: it must hold 64 hexadecimal digits; restore it from a "
                      "backup",
                      f->path);
leave:
    biz_wipe(buf, sizeof(buf));
    return rv;
}

static apr_status_t master_make(key_folder *f)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char master[BIZ_KEY_LEN];
    char text[MASTER_DIGITS + 1];
    apr_status_t rv;
    size_t i;

    biz_random(master, sizeof(master));
    for (i = 0; i < sizeof(master); i++) {
        text[2 * i] = digits[master[i] >> 4];
        text[2 * i + 1] = digits[master[i] & 15];
    }
    text[MASTER_DIGITS] = '\n';
    rv = key_file_make(f, MASTER, text, sizeof(text));
    biz_wipe(master, sizeof(master));
    biz_wipe(text, sizeof(text));
    return rv == APR_EEXIST ? APR_SUCCESS : rv;
}

/* ---- signing pairs ---- */

/* Milliseconds since 1970 stand in the first ten characters of an id, five bits each. */
static apr_time_t kid_time(const char *kid)
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    const char *c = kid + strlen(KID_PREFIX "_"), *place;
    apr_int64_t ms = 0;
    int i;

    for (i = 0; i < 10 && c[i] != '\0' && (place = strchr(digits, c[i])) != NULL; i++)
        ms = ms * 32 + (place - digits);
    return apr_time_from_msec(ms);
}

static const char *since_file(const key_folder *f, const char *kid)
{
    return apr_pstrcat(f->pool, "jwt-", kid, ".since", NULL);
}

/* A mark that cannot be read counts from the pair's making: too early, never too late. */
static apr_status_t since_read(key_folder *f, pair *p)
{
    char buf[64];
    size_t len;
    apr_status_t rv = key_file_read(f, since_file(f, p->kid), buf, sizeof(buf) - 1, &len);

    p->since = 0;
    if (rv == APR_ENOENT)
        return APR_SUCCESS;
    if (rv != APR_SUCCESS)
        return rv;
    buf[len] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
    if (!biz_time_parse(buf, &p->since))
        p->since = p->made_at;
    return APR_SUCCESS;
}

static int newest_first(const void *a, const void *b)
{
    return strcmp(((const pair *)b)->kid, ((const pair *)a)->kid);
}

/* All pairs by name; their contents are not looked at. */
static apr_status_t pairs_scan(key_folder *f, apr_array_header_t **out)
{
    apr_array_header_t *pairs = apr_array_make(f->pool, 4, sizeof(pair));
    apr_status_t rv = APR_SUCCESS;
    struct dirent *entry;
    int fd = openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

    *out = pairs;
    if (dir == NULL) {
        rv = key_fail_errno(f, "read", NULL);
        if (fd >= 0)
            close(fd);
        return rv;
    }
    while (rv == APR_SUCCESS && (entry = readdir(dir)) != NULL) {
        size_t len = strlen(entry->d_name);
        const char *kid;
        pair *p;

        if (len < 9 || strncmp(entry->d_name, "jwt-", 4) != 0 ||
            strcmp(entry->d_name + len - 5, ".json") != 0)
            continue;
        kid = apr_pstrmemdup(f->pool, entry->d_name + 4, len - 9);
        if (!biz_valid_id(kid, KID_PREFIX)) {
            biz_log(BIZ_LOG_WARN, 0,
                    BZ(0553) "%s/%s is not named like a signing key and is not used; move it away",
                    f->path, entry->d_name);
            continue;
        }
        p = apr_array_push(pairs);
        p->kid = kid;
        p->file = apr_pstrdup(f->pool, entry->d_name);
        p->made_at = kid_time(kid);
        rv = since_read(f, p);
    }
    closedir(dir);
    if (pairs->nelts > 1)
        qsort(pairs->elts, (size_t)pairs->nelts, sizeof(pair), newest_first);
    return rv;
}

static apr_status_t pair_read(key_folder *f, const pair *p, biz_jwk **jwk)
{
    char buf[PAIR_MAX + 1];
    size_t len;
    apr_status_t rv = key_file_read(f, p->file, buf, PAIR_MAX, &len);

    buf[len] = '\0';
    if (rv == APR_ENOENT)
        rv = key_fail(f, APR_EGENERAL, "%s/%s went away while it was read", f->path, p->file);
    else if (rv == APR_SUCCESS && (biz_jwk_load(f->pool, buf, jwk) != APR_SUCCESS ||
                                   strcmp(biz_jwk_kid(*jwk), p->kid) != 0))
        rv = key_fail(
            f, APR_EGENERAL,
            "%s/%s is damaged: it is not the P-256 key pair of its name; restore it from a "
            "backup, or move it away",
            f->path, p->file);
    biz_wipe(buf, sizeof(buf));
    return rv;
}

static apr_status_t pair_make(key_folder *f, const char *kid)
{
    const char *json, *file = apr_pstrcat(f->pool, "jwt-", kid, ".json", NULL);
    apr_status_t rv = biz_jwk_generate(f->pool, kid, &json);

    if (rv != APR_SUCCESS)
        return key_fail(f, rv, "cannot make a signing key for %s", f->path);
    rv = key_file_make(f, file, json, strlen(json));
    if (rv == APR_EEXIST)
        rv = key_fail(f, rv, "%s/%s is there already", f->path, file);
    return rv;
}

/* The pair that a server signs with now: the newest one that any has signed with, else the newest.
 * -1 where there is none. */
static int pair_signing(const apr_array_header_t *pairs)
{
    int i;

    for (i = 0; i < pairs->nelts; i++) {
        if (APR_ARRAY_IDX(pairs, i, pair).since != 0)
            return i;
    }
    return pairs->nelts > 0 ? 0 : -1;
}

/* When the last token signed with pair `i` ends; 0 while no newer pair has taken its place. */
static apr_time_t pair_ends(const apr_array_header_t *pairs, int i)
{
    apr_time_t stopped = 0;
    int j;

    for (j = 0; j < i; j++) {
        apr_time_t since = APR_ARRAY_IDX(pairs, j, pair).since;

        if (since != 0 && (stopped == 0 || since < stopped))
            stopped = since;
    }
    return stopped == 0 ? 0 : stopped + TOKEN_LIFE;
}

static int pair_accepted(const apr_array_header_t *pairs, int i, apr_time_t now)
{
    apr_time_t ends = pair_ends(pairs, i);

    return ends == 0 || now < ends;
}

/* ---- making what is missing, removing what is over ---- */

static apr_status_t make_missing(key_folder *f)
{
    unsigned char master[BIZ_KEY_LEN];
    apr_array_header_t *pairs;
    int lock = -1, no_master = 0;
    apr_status_t rv = key_folder_lock(f, &lock);

    if (rv != APR_SUCCESS)
        goto leave;
    /* Another starter may have been here first. */
    rv = master_read(f, master);
    no_master = rv == APR_ENOENT;
    if (rv != APR_SUCCESS && !no_master)
        goto leave;
    rv = pairs_scan(f, &pairs);
    if (rv != APR_SUCCESS)
        goto leave;
    key_folder_tidy(f);
    if (no_master && pairs->nelts > 0)
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0551) "%s/" MASTER " was missing and a new one is made: every sign-in has ended "
                         "and queued mails with links cannot be sent; if it was lost, stop the "
                         "server and restore it from a backup",
                f->path);
    else if (no_master)
        biz_log(BIZ_LOG_NOTICE, 0, BZ(0550) "made the keys of this business in %s; back them up",
                f->path);
    if (no_master)
        rv = master_make(f);
    if (rv == APR_SUCCESS && pairs->nelts == 0)
        rv = pair_make(f, biz_new_id(f->pool, KID_PREFIX));
leave:
    if (lock >= 0)
        close(lock);
    biz_wipe(master, sizeof(master));
    return rv;
}

/* From now on the newest pair signs. On a read-only disk the mark cannot be made: the older pairs
 * are then accepted from each start anew, which is no harm. */
static void take_into_use(key_folder *f, apr_array_header_t *pairs)
{
    pair *newest = &APR_ARRAY_IDX(pairs, 0, pair);
    const char *text;

    if (newest->since != 0)
        return;
    newest->since = apr_time_now();
    text = apr_pstrcat(f->pool, biz_time_format(f->pool, newest->since), "\n", NULL);
    (void)key_file_make(f, since_file(f, newest->kid), text, strlen(text));
}

static void remove_ended(key_folder *f, const apr_array_header_t *pairs, apr_time_t now)
{
    int i;

    for (i = 1; i < pairs->nelts; i++) {
        const pair *p = &APR_ARRAY_IDX(pairs, i, pair);
        apr_time_t ends = pair_ends(pairs, i);

        if (ends == 0 || now < ends + KEEP_AFTER)
            continue;
        unlinkat(f->fd, p->file, 0);
        unlinkat(f->fd, since_file(f, p->kid), 0);
    }
}

/* ---- the interface ---- */

static apr_status_t keys_load(key_folder *f, const apr_array_header_t *pairs, biz_keys *keys)
{
    apr_time_t now = apr_time_now();
    biz_json *set = biz_json_object(f->pool), *list = biz_json_array(f->pool);
    int i, n = 0;

    keys->jwks = apr_pcalloc(f->pool, sizeof(*keys->jwks) * ((size_t)pairs->nelts + 1));
    keys->ends = apr_pcalloc(f->pool, sizeof(*keys->ends) * ((size_t)pairs->nelts + 1));
    for (i = 0; i < pairs->nelts; i++) {
        apr_status_t rv;

        if (!pair_accepted(pairs, i, now))
            continue;
        rv = pair_read(f, &APR_ARRAY_IDX(pairs, i, pair), &keys->jwks[n]);
        if (rv != APR_SUCCESS)
            return rv;
        keys->ends[n] = pair_ends(pairs, i);
        biz_json_add(list, biz_jwk_public(f->pool, keys->jwks[n++]));
    }
    biz_json_set(set, "keys", list);
    keys->jwks_json = biz_json_text(f->pool, set, NULL);
    keys->jwks_id = biz_sha256_hex(f->pool, keys->jwks_json);
    return APR_SUCCESS;
}

#define AUDIT_LABEL "bizapi audit v1"

apr_status_t biz_keys_audit(apr_pool_t *pool, const char *state_dir, unsigned char key[BIZ_KEY_LEN],
                            const char **why)
{
    unsigned char master[BIZ_KEY_LEN];
    key_folder f;
    apr_status_t rv = key_folder_open(&f, pool, state_dir, 1);

    if (rv != APR_SUCCESS)
        goto leave;
    rv = master_read(&f, master);
    if (rv == APR_ENOENT) {
        rv = make_missing(&f);
        if (rv == APR_SUCCESS)
            rv = master_read(&f, master);
    }
    if (rv == APR_SUCCESS)
        biz_derive_key(master, AUDIT_LABEL, key);
leave:
    if (rv != APR_SUCCESS)
        *why = f.why != NULL ? f.why : apr_psprintf(pool, "%s changed while it was read", f.path);
    key_folder_close(&f);
    biz_wipe(master, sizeof(master));
    return rv;
}

apr_status_t biz_keys_open(apr_pool_t *pool, const char *state_dir, biz_keys **out,
                           const char **why)
{
    unsigned char master[BIZ_KEY_LEN];
    biz_keys *keys = apr_pcalloc(pool, sizeof(*keys));
    apr_array_header_t *pairs = NULL;
    key_folder f;
    apr_status_t rv = key_folder_open(&f, pool, state_dir, 1);

    if (rv != APR_SUCCESS)
        goto leave;
    if (geteuid() == 0 && f.st.st_uid != 0)
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0552) "%s belongs to user number %ld, who can read the keys in it; run: chown "
                         "-R root: %s",
                f.path, (long)f.st.st_uid, f.path);
    rv = master_read(&f, master);
    if (rv == APR_SUCCESS)
        rv = pairs_scan(&f, &pairs);
    if (rv == APR_ENOENT || (rv == APR_SUCCESS && pairs->nelts == 0)) {
        rv = make_missing(&f);
        if (rv == APR_SUCCESS)
            rv = master_read(&f, master);
        if (rv == APR_SUCCESS)
            rv = pairs_scan(&f, &pairs);
    }
    if (rv != APR_SUCCESS)
        goto leave;
    take_into_use(&f, pairs);
    rv = keys_load(&f, pairs, keys);
    if (rv != APR_SUCCESS)
        goto leave;
    biz_derive_key(master, "bizapi refresh v1", keys->refresh);
    biz_derive_key(master, "bizapi outbox v1", keys->outbox);
    biz_derive_key(master, "bizapi device v1", keys->device);
    biz_derive_key(master, "bizapi cookie v1", keys->cookie);
    biz_derive_key(master, "bizapi totp v1", keys->totp);
    biz_derive_key(master, "bizapi recovery codes v1", keys->recovery);
    biz_derive_key(master, "bizapi tickets v1", keys->tickets);
    biz_derive_key(master, AUDIT_LABEL, keys->audit);
    biz_derive_key(master, "bizapi idempotency v1", keys->idempotency);
    *out = keys;
leave:
    key_folder_close(&f);
    biz_wipe(master, sizeof(master));
    if (rv != APR_SUCCESS)
        *why = f.why != NULL ? f.why : apr_psprintf(pool, "%s changed while it was read", f.path);
    return rv;
}

/* A kid that sorts after all others, or NULL where the clock stands before the newest of them. */
static const char *next_kid(key_folder *f, const apr_array_header_t *pairs)
{
    int tries;

    for (tries = 0; tries < ROTATE_TRIES; tries++) {
        const char *kid = biz_new_id(f->pool, KID_PREFIX);

        if (pairs->nelts == 0 || strcmp(kid, APR_ARRAY_IDX(pairs, 0, pair).kid) > 0)
            return kid;
        apr_sleep(2000); /* two pairs within one millisecond */
    }
    return NULL;
}

apr_status_t biz_keys_rotate(apr_pool_t *pool, const char *state_dir, const char **kid,
                             const char **why)
{
    apr_array_header_t *pairs;
    const char *fresh;
    int lock = -1;
    key_folder f;
    apr_status_t rv = key_folder_open(&f, pool, state_dir, 0);

    if (rv == APR_SUCCESS)
        rv = key_folder_lock(&f, &lock);
    if (rv == APR_SUCCESS)
        rv = pairs_scan(&f, &pairs);
    if (rv != APR_SUCCESS)
        goto leave;
    key_folder_tidy(&f);
    fresh = next_kid(&f, pairs);
    if (fresh == NULL) {
        const pair *newest = &APR_ARRAY_IDX(pairs, 0, pair);

        rv = key_fail(
            &f, APR_EGENERAL,
            "%s/%s was made at %s by its name, later than now by this computer's clock; set "
            "the clock",
            f.path, newest->file, biz_time_format(pool, newest->made_at));
        goto leave;
    }
    rv = pair_make(&f, fresh);
    if (rv != APR_SUCCESS)
        goto leave;
    remove_ended(&f, pairs, apr_time_now());
    *kid = fresh;
leave:
    if (lock >= 0)
        close(lock);
    key_folder_close(&f);
    if (rv != APR_SUCCESS)
        *why = f.why;
    return rv;
}

apr_status_t biz_keys_list(apr_pool_t *pool, const char *state_dir, apr_array_header_t **list,
                           const char **why)
{
    apr_array_header_t *infos = apr_array_make(pool, 4, sizeof(biz_key_info)), *pairs;
    unsigned char master[BIZ_KEY_LEN];
    apr_time_t now = apr_time_now();
    biz_jwk *jwk;
    int i, signing;
    key_folder f;
    apr_status_t rv = key_folder_open(&f, pool, state_dir, 0);

    if (rv != APR_SUCCESS)
        goto leave;
    /* A missing one is made by the server; a damaged one would keep it from starting. */
    rv = master_read(&f, master);
    if (rv == APR_SUCCESS || rv == APR_ENOENT)
        rv = pairs_scan(&f, &pairs);
    if (rv != APR_SUCCESS)
        goto leave;
    signing = pair_signing(pairs);
    for (i = 0; i < pairs->nelts && rv == APR_SUCCESS; i++) {
        const pair *p = &APR_ARRAY_IDX(pairs, i, pair);
        biz_key_info *info = apr_array_push(infos);

        info->kid = p->kid;
        info->path = apr_pstrcat(pool, f.path, "/", p->file, NULL);
        info->made_at = p->made_at;
        info->signs = i == signing;
        info->accepted = pair_accepted(pairs, i, now);
        rv = pair_read(&f, p, &jwk);
    }
    *list = infos;
leave:
    key_folder_close(&f);
    biz_wipe(master, sizeof(master));
    if (rv != APR_SUCCESS)
        *why = f.why;
    return rv;
}
