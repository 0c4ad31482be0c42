/* outbox_fixture.h: what the tests of the outbox share: a fresh SQLite store and mail folder for
 * each test, users, rows of any age, and the mails that were written. */
#ifndef OUTBOX_FIXTURE_H
#define OUTBOX_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <unistd.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "child.h"
#include "core/crypto.h"
#include "core/log.h"
#include "core/random.h"
#include "core/str.h"
#include "outbox/outbox.h"
#include "store/backend.h" /* a row's created_at is the store's own: tests make old rows */

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static apr_pool_t *pool;
static char folder[64];
static store *st;
static biz_settings *settings;
static mail_templates *templates;
static biz_shared *shared;
static biz_env env; /* tests of other channels set clients and registry */
static const unsigned char key[BIZ_KEY_LEN] = "0123456789abcdef0123456789abcdef";
static char log_text[65536]; /* warnings and worse */

static inline void keep_log(biz_level level, apr_status_t status, const char *line)
{
    size_t len = strlen(log_text);

    if (level <= BIZ_LOG_WARN)
        snprintf(log_text + len, sizeof(log_text) - len, "%d %s\n", level, line);
}

static inline const char *path_of(const char *name)
{
    return apr_psprintf(pool, "%s/%s", folder, name);
}

static inline store *open_store(void)
{
    store_options options = {.op_timeout = apr_time_from_sec(20)}; /* the machine may be busy */
    const char *why = NULL;
    store *s;

    if (store_open(&s, apr_psprintf(pool, "sqlite:%s/store.db", folder), &options, pool, &why) !=
        APR_SUCCESS)
        fail_msg("%s", why);
    return s;
}

static inline outbox *worker(const char *mail)
{
    const char *why = NULL;
    biz_settings *s = apr_pmemdup(pool, settings, sizeof(*s));
    outbox *o;

    s->mail = mail ? mail : apr_psprintf(pool, "file:%s/mail", folder);
    env.store = st;
    env.settings = s;
    env.shared = shared;
    o = outbox_new(pool, apr_pmemdup(pool, &env, sizeof(env)), templates, key, &why);
    if (!o)
        fail_msg("%s", why);
    return o;
}

static inline void outbox_start(void)
{
    apr_initialize();
    atexit(apr_terminate);
    biz_json_init();
}

static inline void set_up_business(void)
{
    settings = apr_pcalloc(pool, sizeof(*settings));
    settings->server_name = "portal.example.com";
    settings->frontend_url = "https://portal.example.com";
    settings->mail_from = "info@example.com";
    settings->brand = apr_table_make(pool, 4);
    settings->secrets = apr_table_make(pool, 4);
    settings->provider_urls = apr_table_make(pool, 4);
    apr_table_setn(settings->brand, "name", "Salon A");
    apr_table_setn(settings->brand, "timezone", "Europe/Berlin");
    shared = apr_pcalloc(pool, sizeof(*shared));
}

static inline int outbox_setup(void **state)
{
    const char *why = NULL;

    apr_pool_create(&pool, NULL);
    snprintf(folder, sizeof(folder), "/tmp/test_outbox.XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    log_text[0] = '\0';
    biz_log_to(keep_log);
    set_up_business();
    templates = mail_templates_load(pool, "conf/mail", NULL, &why);
    st = open_store();
    return templates == NULL;
}

static inline int outbox_teardown(void **state)
{
    char command[128];

    apr_pool_destroy(pool);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command) != 0;
}

#define OUTBOX_TEST(name) cmocka_unit_test_setup_teardown(name, outbox_setup, outbox_teardown)

static inline void assert_ok(apr_status_t status)
{
    if (status != APR_SUCCESS)
        fail_msg("%s", store_strerror(pool, status));
}

/* ---- users and rows ---- */

static inline const char *add_user(const char *email)
{
    store_doc *user = store_doc_new(pool, COLL_USERS);

    store_set_str(user, USER_EMAIL, email);
    store_set_str(user, USER_NAME, "Ann");
    store_set_bool(user, USER_EMAIL_VERIFIED, 0);
    store_set_bool(user, USER_DISABLED, 0);
    assert_ok(store_insert(st, pool, user, NULL));
    return store_doc_id(user);
}

static inline void set_user(const char *id, store_fid flag)
{
    store_change change[] = {STORE_SET_BOOL(flag, 1)};

    assert_ok(store_update(st, pool, COLL_USERS, id, NULL, 0, change, 1, NULL));
}

/* A row that was made `seconds` ago; its id. */
static inline const char *put_old(const char *kind, const char *recipient, const char *user_id,
                                  const char *data, int seconds)
{
    apr_time_t now = apr_time_now();
    store_doc *row = store_doc_new(pool, COLL_OUTBOX);

    store_set_str(row, OUTBOX_KIND, kind);
    store_set_str(row, OUTBOX_CHANNEL, OUTBOX_MAIL);
    store_set_str(row, OUTBOX_STATE, "queued");
    store_set_time(row, OUTBOX_DUE_AT, now - apr_time_from_sec(seconds));
    store_set_int(row, OUTBOX_TRIES, 0);
    store_set_str(row, OUTBOX_RECIPIENT, recipient);
    store_set_str(row, OUTBOX_USER_ID, user_id);
    store_set_str(row, OUTBOX_DATA, data);
    row->created_at = row->updated_at = now / 1000 * 1000 - apr_time_from_sec(seconds);
    row->version = 1;
    assert_ok(store_insert_copy(st, pool, row));
    return store_doc_id(row);
}

static inline const char *put_row(const char *kind, const char *recipient, const char *user_id)
{
    return put_old(kind, recipient, user_id, NULL, 0);
}

static inline store_doc *row_of(const char *id)
{
    store_doc *row;

    assert_ok(store_get(st, pool, COLL_OUTBOX, id, &row));
    return row;
}

static inline const char *state_of(const char *id)
{
    return store_str(row_of(id), OUTBOX_STATE);
}

/* As if the time of every lease and delay had gone by. */
static inline void make_due(void)
{
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, "queued")};
    store_query query = {
        .coll = COLL_OUTBOX, .index = "outbox_due", .conds = conds, .n_conds = 1, .limit = 1000};
    store_change change[] = {STORE_SET_TIME(OUTBOX_DUE_AT, apr_time_now())};
    int changed;

    assert_ok(store_update_each(st, pool, &query, change, 1, &changed));
    usleep(1500); /* instants are kept to the millisecond */
}

static inline int work(outbox *o)
{
    static const atomic_int stopping = 0;
    int worked;

    assert_ok(outbox_work(o, pool, &stopping, &worked));
    return worked;
}

/* ---- what was sent ---- */

static inline int mails(void)
{
    DIR *d = opendir(path_of("mail"));
    struct dirent *e;
    int n = 0;

    while (d && (e = readdir(d)) != NULL)
        n += strstr(e->d_name, ".eml") != NULL;
    if (d)
        closedir(d);
    return n;
}

/* The mail of a row with its soft line breaks undone, NULL where there is none. */
static inline const char *mail_of(const char *id)
{
    char *text = file_text(path_of(apr_psprintf(pool, "mail/%s.eml", id)));
    char *copy = apr_pstrdup(pool, text), *from = copy, *to = copy;
    int there = *text != '\0';

    free(text);
    while (*from) {
        if (strncmp(from, "=\r\n", 3) == 0) {
            from += 3;
        } else if (strncmp(from, "=3D", 3) == 0) {
            *to++ = '=';
            from += 3;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
    return there ? copy : NULL;
}

/* The token in the link to `page`. */
static inline const char *token_in(const char *mail, const char *page)
{
    const char *link = apr_pstrcat(pool, "https://portal.example.com", page, "#token=", NULL);
    const char *at = mail ? strstr(mail, link) : NULL;

    if (!at)
        fail_msg("no link to %s in: %s", page, mail ? mail : "no mail");
    at += strlen(link);
    return apr_pstrmemdup(pool, at,
                          strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"
                                     "yz0123456789-_"));
}

/* The document of a token, NULL where there is none. */
static inline store_doc *token_doc(store_coll_no coll, const char *token)
{
    int reset = coll == COLL_RESET_TOKENS;
    store_cond conds[] = {
        STORE_EQ_STR(reset ? RESET_TOKEN : VERIFY_TOKEN, biz_sha256_hex(pool, token))};
    store_query query = {.coll = coll,
                         .index = reset ? "reset_token" : "verify_token",
                         .conds = conds,
                         .n_conds = 1,
                         .limit = 1};
    store_doc *doc;
    apr_status_t status = store_find_one(st, pool, &query, &doc);

    if (status != STORE_ENOENT)
        assert_ok(status);
    return status == APR_SUCCESS ? doc : NULL;
}

static inline int64_t count(store_coll_no coll)
{
    int64_t n;

    assert_ok(store_count(st, pool, coll, &n));
    return n;
}

#endif
