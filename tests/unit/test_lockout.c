/* test_lockout.c: how many passwords are looked at, counted by the hashes that were made: by 500
 * threads at once, on one account; how long it stays locked; who is not locked out by it. POST
 * /auth/login itself runs, on a real store. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "auth/account.h"
#include "auth/auth.h"
#include "auth/hash.h"
#include "auth/keys.h"
#include "auth/lockout.h"
#include "audit/audit.h"
#include "auth/session.h"
#include "core/password.h"
#include "outbox/outbox.h"

#define EMAIL "ada@example.com"
#define RIGHT "Nine-lemons-walk-7"
#define STRANGER "198.51.100.7"
enum { THREADS = 500 };

static apr_pool_t *pool;
static char folder[64];
static biz_env env;
static biz_keys keys;
static biz_shared shared;
static biz_settings settings;
static store_doc *user;
static apr_time_t now;
static const biz_route route = {.method = "POST", .path = "/api/v1/auth/login"};

static const char *no_header(const biz_req *req, const char *name)
{
    return NULL;
}

typedef struct {
    pthread_t thread;
    const char *address, *password, *device;
    biz_code code;
    const char *device_token;
} attempt;

/* One request; its pool is kept, so that the answer's texts live. */
static void try_once(attempt *a)
{
    apr_pool_t *own;
    biz_reply reply = {0};
    biz_req req = {.env = &env, .route = &route, .id = "req_x", .now = now};

    apr_pool_create(&own, NULL);
    reply.pool = req.pool = own;
    reply.headers = apr_table_make(own, 2);
    req.fields = apr_table_make(own, 4);
    req.nulls = apr_table_make(own, 1);
    req.header = no_header;
    req.address = a->address;
    apr_table_setn(req.fields, "email", EMAIL);
    apr_table_setn(req.fields, "password", a->password);
    if (a->device != NULL)
        apr_table_setn(req.fields, "device_token", a->device);
    a->code = auth_login(&req, &reply);
    audit_commit(&req, &reply);
    if (a->code == BIZ_OK)
        a->device_token = apr_pstrdup(pool, biz_json_str(reply.data, "device_token"));
    apr_pool_destroy(own);
}

static biz_code login(const char *address, const char *password, const char *device)
{
    attempt a = {.address = address, .password = password, .device = device};

    try_once(&a);
    return a.code;
}

/* The rows of the outbox about `event`. */
static int notices(const char *event)
{
    store_query query = {.coll = COLL_OUTBOX, .limit = 100};
    apr_array_header_t *rows;
    int i, found = 0;

    assert_int_equal(store_find(env.store, pool, &query, &rows, NULL), 0);
    for (i = 0; i < rows->nelts; i++)
        found += strstr(store_str(APR_ARRAY_IDX(rows, i, store_doc *), OUTBOX_DATA), event) != NULL;
    return found;
}

static uint64_t hashes(void)
{
    return atomic_load(&shared.hashes);
}

static int set_up(void **state)
{
    static const unsigned char key[BIZ_KEY_LEN] = "0123456789abcdef0123456789abcdef";
    store_options options = {.op_timeout = apr_time_from_sec(60)}; /* the machine may be busy */
    account_new account = {.email = EMAIL, .name = "Ada", .email_verified = 1};
    const char *why = NULL, *json;
    biz_jwk *jwk;

    apr_pool_create(&pool, NULL);
    snprintf(folder, sizeof(folder), "/tmp/bizapi-lockout-XXXXXX");
    assert_non_null(mkdtemp(folder));
    memset(&shared, 0, sizeof(shared));
    memset(&keys, 0, sizeof(keys));
    assert_int_equal(biz_jwk_generate(pool, "key_01m85f1k5g029m9yjn93hjz09v", &json), 0);
    assert_int_equal(biz_jwk_load(pool, json, &jwk), 0);
    keys.jwks = apr_pcalloc(pool, 2 * sizeof(jwk));
    keys.jwks[0] = jwk;
    settings.public_url = "https://portal.example";
    settings.brand = apr_table_make(pool, 1);
    env = (biz_env){.settings = &settings,
                    .keys = &keys,
                    .shared = &shared,
                    .hash_room = biz_hash_room_of(2, 25, 4)};
    assert_int_equal(
        store_open(&env.store, apr_psprintf(pool, "sqlite:%s/s.db", folder), &options, pool, &why),
        0);
    env.audit = audit_open(pool, env.store, key);
    assert_int_equal(biz_password_hash(pool, RIGHT, &account.password_hash), 0);
    user = account_make(pool, &account);
    assert_int_equal(store_insert(env.store, pool, user, NULL), 0);
    now = apr_time_now();
    return 0;
}

static int tear_down(void **state)
{
    static const char *const files[] = {"s.db", "s.db-wal", "s.db-shm"};
    char path[128];
    size_t i;

    apr_pool_destroy(pool);
    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
    return 0;
}

static void *run(void *a)
{
    try_once(a);
    return NULL;
}

static void of_500_at_once_five_are_looked_at(void **state)
{
    static attempt all[THREADS];
    pthread_attr_t small;
    int i;

    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 512 * 1024);
    for (i = 0; i < THREADS; i++) {
        all[i] = (attempt){.address = apr_psprintf(pool, "10.0.%d.%d", i / 250, i % 250),
                           .password = "wrong-wrong"};
        assert_int_equal(pthread_create(&all[i].thread, &small, run, &all[i]), 0);
    }
    for (i = 0; i < THREADS; i++)
        pthread_join(all[i].thread, NULL);
    for (i = 0; i < THREADS; i++)
        assert_int_equal(all[i].code, BIZ_INVALID_CREDENTIALS);
    assert_int_equal(hashes(), LOCKOUT_FREE_ACCOUNT);
    assert_int_equal(notices(NOTICE_ACCOUNT_LOCKED), 1);
}

static void fail_times(int times, const char *address)
{
    static int number;

    for (; times > 0; times--, number++)
        assert_int_equal(login(address != NULL
                                   ? address
                                   : apr_psprintf(pool, "10.9.%d.%d", number / 250, number % 250),
                               "wrong-wrong", NULL),
                         BIZ_INVALID_CREDENTIALS);
}

static void a_locked_account_refuses_the_right_password_too(void **state)
{
    fail_times(LOCKOUT_FREE_ACCOUNT, STRANGER);
    assert_int_equal(login("192.0.2.1", RIGHT, NULL), BIZ_INVALID_CREDENTIALS);
    assert_int_equal(hashes(), LOCKOUT_FREE_ACCOUNT);
}

static void each_failure_doubles_the_wait_up_to_an_hour(void **state)
{
    int64_t wait = LOCKOUT_FIRST_SECONDS;
    uint64_t made = LOCKOUT_FREE_ACCOUNT;
    int i;

    fail_times(LOCKOUT_FREE_ACCOUNT, NULL);
    for (i = 0; i < 9; i++) {
        now += apr_time_from_sec(wait) - APR_USEC_PER_SEC;
        fail_times(2, NULL);
        assert_int_equal(hashes(), made);
        now += 2 * APR_USEC_PER_SEC;
        fail_times(3, NULL); /* one of the three is looked at */
        assert_int_equal(hashes(), ++made);
        wait = 2 * wait < LOCKOUT_LONGEST_SECONDS ? 2 * wait : LOCKOUT_LONGEST_SECONDS;
    }
    now += apr_time_from_sec(wait) + APR_USEC_PER_SEC;
    assert_int_equal(login(STRANGER, RIGHT, NULL), BIZ_OK);
    /* From there on all are free again. */
    fail_times(LOCKOUT_FREE_ACCOUNT - 1, NULL);
    assert_int_equal(login(STRANGER, RIGHT, NULL), BIZ_OK);
}

static void a_clock_that_is_set_back_makes_no_lock_longer(void **state)
{
    fail_times(LOCKOUT_FREE_ACCOUNT, NULL);
    assert_int_equal(login("192.0.2.1", RIGHT, NULL), BIZ_INVALID_CREDENTIALS);
    now -= apr_time_from_sec(LOCKOUT_LONGEST_SECONDS + 60);
    assert_int_equal(login("192.0.2.1", RIGHT, NULL), BIZ_OK);
}

static void a_day_of_peace_forgets(void **state)
{
    fail_times(LOCKOUT_FREE_ACCOUNT + 3, STRANGER);
    now += apr_time_from_sec(LOCKOUT_FORGET_HOURS * 3600LL) + APR_USEC_PER_SEC;
    fail_times(LOCKOUT_FREE_ACCOUNT - 1, STRANGER);
    assert_int_equal(hashes(), 2 * LOCKOUT_FREE_ACCOUNT - 1);
    assert_int_equal(login(STRANGER, RIGHT, NULL), BIZ_OK);
}

static const char *known_device(void)
{
    attempt a = {.address = "192.0.2.1", .password = RIGHT};

    try_once(&a);
    assert_int_equal(a.code, BIZ_OK);
    return a.device_token;
}

static void a_stranger_does_not_lock_the_owners_device_out(void **state)
{
    const char *device = known_device();

    fail_times(LOCKOUT_FREE_ACCOUNT + 20, STRANGER);
    assert_int_equal(login("192.0.2.1", RIGHT, NULL), BIZ_INVALID_CREDENTIALS);
    assert_int_equal(login("192.0.2.1", RIGHT, device), BIZ_OK);
    /* The owner's sign-in gives the stranger no new tries. */
    assert_int_equal(login(STRANGER, RIGHT, NULL), BIZ_INVALID_CREDENTIALS);
}

static void a_known_device_has_its_own_count(void **state)
{
    const char *device = known_device();
    uint64_t before = hashes();
    int i;

    for (i = 0; i < LOCKOUT_FREE_DEVICE + 5; i++)
        assert_int_equal(login("192.0.2.9", "wrong-wrong", device), BIZ_INVALID_CREDENTIALS);
    assert_int_equal(hashes() - before, LOCKOUT_FREE_DEVICE);
    assert_int_equal(login("192.0.2.9", RIGHT, device), BIZ_INVALID_CREDENTIALS);
    /* And the thief of a device does not lock the others out. */
    assert_int_equal(login("192.0.2.1", RIGHT, NULL), BIZ_OK);
}

/* What comes before the hash: 1 where a try at some account was left for this address. */
static int may_try(const char *address, const char *email, int is_right)
{
    apr_pool_t *own;
    biz_reply reply = {0};
    biz_req req = {.env = &env, .route = &route, .address = address, .now = now};
    lockout l;

    apr_pool_create(&own, NULL);
    reply.pool = req.pool = own;
    req.fields = apr_table_make(own, 1);
    assert_int_equal(lockout_begin(&req, &reply, email, NULL, &l), BIZ_OK);
    if (is_right && !l.refused)
        lockout_passed(&req, &l);
    apr_pool_destroy(own);
    return !l.refused;
}

static apr_status_t unlock(void)
{
    const act_by by = {.store = env.store,
                       .pool = pool,
                       .audit = env.audit,
                       .user_id = store_doc_id(user),
                       .actor_id = AUDIT_OPERATOR,
                       .at = apr_time_now()};
    store_doc *after;

    return lockout_clear_user(&by, &(act){.event = "authn_login_unlock"}, &after);
}

static void an_address_that_tries_many_accounts_is_locked(void **state)
{
    int i;

    for (i = 0; i < LOCKOUT_FREE_ADDRESS; i++)
        assert_int_equal(may_try(apr_psprintf(pool, "2001:db8::%x", i + 1),
                                 apr_psprintf(pool, "a%d@example.com", i), 0),
                         1);
    assert_int_equal(may_try("2001:db8::ffff", "b@example.com", 0), 0);
    assert_int_equal(may_try("2001:db8:0:1::1", "b@example.com", 0), 1);
    /* Unlocking accounts does not unlock it. */
    assert_int_equal(unlock(), 0);
    assert_int_equal(may_try("2001:db8::ffff", "b@example.com", 0), 0);
    assert_int_equal(lockout_clear_address(env.store, pool, "2001:db8::"), 0);
    assert_int_equal(may_try("2001:db8::ffff", "b@example.com", 0), 1);
}

static void good_sign_ins_do_not_count_for_an_address(void **state)
{
    int i;

    for (i = 0; i < LOCKOUT_FREE_ADDRESS + 2; i++)
        assert_int_equal(may_try("192.0.2.44", "a@example.com", 1), 1);
    /* Nor do they forgive the wrong ones between them. */
    for (i = 0; i < LOCKOUT_FREE_ADDRESS; i++) {
        assert_int_equal(may_try("192.0.2.45", apr_psprintf(pool, "c%d@example.com", i), 0), 1);
        if (i + 1 < LOCKOUT_FREE_ADDRESS)
            assert_int_equal(may_try("192.0.2.45", "a@example.com", 1), 1);
    }
    assert_int_equal(may_try("192.0.2.45", "a@example.com", 1), 0);
}

static void staff_unlock(void **state)
{
    fail_times(LOCKOUT_FREE_ACCOUNT + 1, STRANGER);
    assert_int_equal(login("192.0.2.1", RIGHT, NULL), BIZ_INVALID_CREDENTIALS);
    assert_int_equal(unlock(), 0);
    assert_int_equal(login("192.0.2.1", RIGHT, NULL), BIZ_OK);
    assert_int_equal(lockout_clear_address(env.store, pool, "nowhere"), STORE_EINVAL);
}

static void what_was_refused_and_locked_is_audited(void **state)
{
    store_cond conds[] = {STORE_EQ_STR(AUDIT_EVENT, "authn_login_lock")};
    store_query query = {
        .coll = COLL_AUDIT, .index = "audit_event", .conds = conds, .n_conds = 1, .limit = 100};
    apr_array_header_t *rows;

    fail_times(LOCKOUT_FREE_ACCOUNT + 3, STRANGER);
    assert_int_equal(store_find(env.store, pool, &query, &rows, NULL), 0);
    assert_int_equal(rows->nelts, 1);
    assert_string_equal(store_str(APR_ARRAY_IDX(rows, 0, store_doc *), AUDIT_USER_ID),
                        store_doc_id(user));
    conds[0].value.s = "authn_login_fail";
    assert_int_equal(store_find(env.store, pool, &query, &rows, NULL), 0);
    assert_int_equal(rows->nelts, LOCKOUT_FREE_ACCOUNT + 3);
    assert_non_null(
        strstr(store_str(APR_ARRAY_IDX(rows, 7, store_doc *), AUDIT_DETAILS), "locked"));
}

static void a_lock_is_told_once_however_long_it_is_kept(void **state)
{
    int i;

    fail_times(LOCKOUT_FREE_ACCOUNT - 1, STRANGER);
    assert_int_equal(notices(NOTICE_ACCOUNT_LOCKED), 0);
    fail_times(1, STRANGER);
    assert_int_equal(notices(NOTICE_ACCOUNT_LOCKED), 1);
    for (i = 0; i < 20; i++) {
        now += apr_time_from_sec(LOCKOUT_LONGEST_SECONDS) + APR_USEC_PER_SEC;
        fail_times(2, STRANGER);
    }
    assert_int_equal(notices(NOTICE_ACCOUNT_LOCKED), 1);
    /* After a day of peace it is another lock. */
    now += apr_time_from_sec(LOCKOUT_FORGET_HOURS * 3600LL) + APR_USEC_PER_SEC;
    fail_times(LOCKOUT_FREE_ACCOUNT, NULL);
    assert_int_equal(notices(NOTICE_ACCOUNT_LOCKED), 2);
}

static void a_lock_that_is_lifted_can_be_told_again(void **state)
{
    fail_times(LOCKOUT_FREE_ACCOUNT, NULL);
    assert_int_equal(unlock(), 0);
    apr_sleep(2000); /* a lock is known by the millisecond of its first try */
    fail_times(LOCKOUT_FREE_ACCOUNT, NULL);
    assert_int_equal(notices(NOTICE_ACCOUNT_LOCKED), 2);
}

/* The same row is written for an address that is nobody's: the outbox finds out. */
static void a_lock_costs_the_same_without_an_account(void **state)
{
    store_change change[] = {STORE_SET_STR(USER_EMAIL, "moved@example.com")};

    assert_int_equal(
        store_update(env.store, pool, COLL_USERS, store_doc_id(user), NULL, 0, change, 1, NULL), 0);
    fail_times(LOCKOUT_FREE_ACCOUNT + 1, STRANGER);
    assert_int_equal(notices(NOTICE_ACCOUNT_LOCKED), 1);
    /* Who is refused because of the lock waits for as long as a hash would take, without one. */
    assert_int_equal(hashes(), LOCKOUT_FREE_ACCOUNT);
}

static void a_sign_in_after_failures_is_told(void **state)
{
    const char *device = known_device();

    fail_times(SESSION_TELL_FAILURES - 1, STRANGER);
    assert_int_equal(login(STRANGER, RIGHT, NULL), BIZ_OK);
    assert_int_equal(notices(NOTICE_AFTER_FAILURES), 0);
    fail_times(SESSION_TELL_FAILURES, STRANGER);
    /* A known device has a count of its own: what strangers failed at is not its owner's. */
    assert_int_equal(login("192.0.2.1", RIGHT, device), BIZ_OK);
    assert_int_equal(notices(NOTICE_AFTER_FAILURES), 0);
    assert_int_equal(login(STRANGER, RIGHT, NULL), BIZ_OK);
    assert_int_equal(notices(NOTICE_AFTER_FAILURES), 1);
    assert_int_equal(login(STRANGER, RIGHT, NULL), BIZ_OK);
    assert_int_equal(notices(NOTICE_AFTER_FAILURES), 1);
}

static void quiet(biz_level level, apr_status_t status, const char *line)
{
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {TEST(of_500_at_once_five_are_looked_at),
                                       TEST(a_locked_account_refuses_the_right_password_too),
                                       TEST(each_failure_doubles_the_wait_up_to_an_hour),
                                       TEST(a_day_of_peace_forgets),
                                       TEST(a_clock_that_is_set_back_makes_no_lock_longer),
                                       TEST(a_stranger_does_not_lock_the_owners_device_out),
                                       TEST(a_known_device_has_its_own_count),
                                       TEST(an_address_that_tries_many_accounts_is_locked),
                                       TEST(good_sign_ins_do_not_count_for_an_address),
                                       TEST(staff_unlock),
                                       TEST(what_was_refused_and_locked_is_audited),
                                       TEST(a_lock_is_told_once_however_long_it_is_kept),
                                       TEST(a_lock_that_is_lifted_can_be_told_again),
                                       TEST(a_lock_costs_the_same_without_an_account),
                                       TEST(a_sign_in_after_failures_is_told)};
    int rc;

    apr_initialize();
    biz_json_init();
    biz_log_to(quiet);
    rc = cmocka_run_group_tests_name("lockout", tests, NULL, NULL);
    return rc;
}
