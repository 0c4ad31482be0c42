/* test_act.c: changes that tell of themselves, on a real store: with the change and only with it,
 * once, on top of what an earlier one has left; how an account is made, and how every factor goes.
 */
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
#include "auth/act.h"
#include "auth/factor.h"
#include "outbox/outbox.h"
#include "store/backend.h"

static apr_pool_t *pool;
static char folder[64];
static store *s;
static store_doc *user;
static act_by by;

static const act renamed = {.event = "user_updated", .notice = NOTICE_PASSWORD_CHANGED};

static int set_up(void **state)
{
    static const unsigned char key[BIZ_KEY_LEN] = "0123456789abcdef0123456789abcdef";
    store_options options = {.op_timeout = apr_time_from_sec(60)}; /* the machine may be busy */
    account_new account = {.email = "ada@example.com", .name = "Ada"};
    const char *why = NULL;

    apr_pool_create(&pool, NULL);
    snprintf(folder, sizeof(folder), "/tmp/bizapi-act-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(
        store_open(&s, apr_psprintf(pool, "sqlite:%s/s.db", folder), &options, pool, &why), 0);
    user = account_make(pool, &account);
    assert_int_equal(store_insert(s, pool, user, NULL), 0);
    by = (act_by){.store = s,
                  .pool = pool,
                  .audit = audit_open(pool, s, key),
                  .user_id = store_doc_id(user),
                  .actor_id = store_doc_id(user),
                  .ip = "192.0.2.1",
                  .at = apr_time_now()};
    return 0;
}

static int tear_down(void **state)
{
    static const char *const files[] = {"s.db", "s.db-wal", "s.db-shm"};
    size_t i;

    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        unlink(apr_psprintf(pool, "%s/%s", folder, files[i]));
    rmdir(folder);
    apr_pool_destroy(pool);
    return 0;
}

static int64_t count(store_coll_no coll)
{
    int64_t n = -1;

    assert_int_equal(store_count(s, pool, coll, &n), 0);
    return n;
}

/* Changes the name from `from` to `to`. */
static apr_status_t rename_user(const char *from, const char *to, store_doc **after)
{
    store_cond conds[] = {STORE_EQ_STR(USER_NAME, from)};
    store_change changes[] = {STORE_SET_STR(USER_NAME, to)};

    return act_update(&by, COLL_USERS, by.user_id, conds, 1, changes, 1, &renamed, 1, after);
}

static void a_change_tells_once(void **state)
{
    store_doc *after, *old;

    assert_int_equal(rename_user("Ada", "Ada L.", &after), 0);
    assert_non_null(act_untold(after));
    assert_int_equal(count(COLL_AUDIT), 0);
    old = after;
    assert_int_equal(act_tell(&by, &after), 0);
    assert_null(act_untold(after));
    assert_string_equal(store_str(after, USER_NAME), "Ada L.");
    assert_int_equal(store_doc_version(after),
                     store_doc_version(user) + 1); /* by the change alone */
    /* Whoever is late with it tells nobody a second time. */
    assert_int_equal(act_tell(&by, &old), 0);
    assert_null(act_untold(old));
    assert_int_equal(count(COLL_AUDIT), 1);
    assert_int_equal(count(COLL_OUTBOX), 1);
}

static void no_change_tells_nothing(void **state)
{
    store_doc *after;

    assert_int_equal(rename_user("Bob", "Ada L.", &after), STORE_ECOND);
    assert_int_equal(act_update(&by, COLL_USERS, "usr_none", NULL, 0, NULL, 0, &renamed, 1, NULL),
                     STORE_ENOENT);
    assert_int_equal(store_get(s, pool, COLL_USERS, by.user_id, &after), 0);
    assert_null(act_untold(after));
}

/* The worker of the first was killed; what it has to tell is not lost by the second. */
static void what_was_left_is_told_with_the_next(void **state)
{
    store_doc *after;

    assert_int_equal(rename_user("Ada", "Ada L.", NULL), 0);
    assert_int_equal(rename_user("Bob", "Eve", NULL), STORE_ECOND);
    assert_int_equal(rename_user("Ada L.", "Ada Lovelace", &after), 0);
    assert_int_equal(act_tell(&by, &after), 0);
    assert_int_equal(count(COLL_AUDIT), 2);
    assert_int_equal(count(COLL_OUTBOX), 2);
}

static void the_job_tells_what_is_old_enough(void **state)
{
    store_doc *after;
    int told = -1;

    assert_int_equal(rename_user("Ada", "Ada L.", NULL), 0);
    assert_int_equal(act_tell_left(&by, apr_time_now() - apr_time_from_sec(60), &told), 0);
    assert_int_equal(told, 0);
    assert_int_equal(act_tell_left(&by, apr_time_now() + apr_time_from_sec(60), &told), 0);
    assert_int_equal(told, 1);
    assert_int_equal(act_tell_left(&by, apr_time_now() + apr_time_from_sec(60), &told), 0);
    assert_int_equal(told, 0);
    assert_int_equal(store_get(s, pool, COLL_USERS, by.user_id, &after), 0);
    assert_null(act_untold(after));
    assert_int_equal(count(COLL_AUDIT), 1);
}

/* Of what was changed by a clock that was set back since nobody knows the age; one that is a little
 * ahead may be another machine's. */
static void a_clock_that_was_set_back_keeps_nothing_untold(void **state)
{
    static const int ahead[] = {7200, 30};
    int told = -1;
    size_t i;

    for (i = 0; i < STORE_COUNT_OF(ahead); i++) {
        store_doc *session = store_doc_new(pool, COLL_SESSIONS);

        store_doc_set_made(session, apr_time_now() + apr_time_from_sec(ahead[i]));
        act_carry(&by, session, &renamed, 1);
        assert_int_equal(store_insert_copy(s, pool, session), 0);
    }
    assert_int_equal(act_tell_left(&by, apr_time_now(), &told), 0);
    assert_int_equal(told, 1);
    assert_int_equal(count(COLL_AUDIT), 1);
}

/* A store on which somebody else tells of the user just before they are looked at. */
static const store_backend *plain;
static store_backend busy;

static apr_status_t get_after_another(store *of, apr_pool_t *p, const store_coll *coll,
                                      const char *id, store_fid by_field, const store_coll *other,
                                      store_doc **out, store_doc **second)
{
    store_doc *now;

    s->backend = plain;
    assert_int_equal(store_get(s, pool, COLL_USERS, by.user_id, &now), 0);
    assert_int_equal(act_tell(&by, &now), 0);
    return plain->get(of, p, coll, id, by_field, other, out, second);
}

/* That is no condition of the caller's. */
static void what_another_tells_meanwhile_hinders_nobody(void **state)
{
    store_doc *after;

    assert_int_equal(rename_user("Ada", "Ada L.", NULL), 0);
    plain = s->backend;
    busy = *plain;
    busy.get = get_after_another;
    s->backend = &busy;
    assert_int_equal(rename_user("Ada L.", "Ada Lovelace", &after), 0);
    assert_ptr_equal(s->backend, plain);
    assert_int_equal(act_tell(&by, &after), 0);
    assert_int_equal(count(COLL_AUDIT), 2);
}

/* bizapictl without the key leaves it to the server. */
static void without_the_log_it_waits(void **state)
{
    biz_audit *audit = by.audit;
    store_doc *after;

    by.audit = NULL;
    assert_int_equal(rename_user("Ada", "Ada L.", &after), 0);
    assert_int_equal(act_tell(&by, &after), 0);
    assert_non_null(act_untold(after));
    assert_int_equal(rename_user("Ada L.", "Ada", &after), 0);
    by.audit = audit;
    assert_int_equal(act_tell(&by, &after), 0);
    assert_int_equal(count(COLL_AUDIT), 2);
}

static void what_others_have_written_there_is_left_out(void **state)
{
    store_change nonsense[] = {STORE_SET_STR(USER_UNTOLD, "{nonsense")};
    store_doc *after;

    assert_int_equal(store_update(s, pool, COLL_USERS, by.user_id, NULL, 0, nonsense, 1, NULL), 0);
    assert_int_equal(rename_user("Ada", "Ada L.", &after), 0);
    assert_int_equal(act_tell(&by, &after), 0);
    assert_int_equal(count(COLL_AUDIT), 1);
}

/* ---- making an account ---- */

static apr_status_t get_nothing(store *of, apr_pool_t *p, const store_coll *coll, const char *id,
                                store_fid by_field, const store_coll *other, store_doc **out,
                                store_doc **second)
{
    return STORE_EUNAVAIL;
}

/* Whose the address is: this very request's, somebody else's, or it cannot be seen now. */
static void who_has_the_address_is_seen_or_not(void **state)
{
    const biz_env env = {.store = s};
    const biz_req req = {.env = &env, .pool = pool, .once = "0123456789abcdef0123456789abcdef"};
    account_new new = {.email = "bob@example.com", .name = "Bob"},
                ada = {.email = "ada@example.com"};
    store_doc *made = account_make(pool, &new), *again = account_make(pool, &new);
    store_doc *taken = account_make(pool, &ada);
    int is_new;

    assert_int_equal(account_set_id(&req, made), 0);
    assert_int_equal(account_insert(&req, OUTBOX_REGISTER, &made, &is_new), 0);
    assert_true(is_new);
    assert_int_equal(account_set_id(&req, again), 0);
    assert_int_equal(account_insert(&req, OUTBOX_REGISTER, &again, &is_new), 0);
    assert_false(is_new);
    assert_int_equal(account_insert(&req, OUTBOX_REGISTER, &taken, &is_new), STORE_EEXIST);
    busy = *s->backend;
    busy.get = get_nothing;
    s->backend = &busy;
    again = account_make(pool, &new);
    store_doc_set_id(again, store_doc_id(made));
    assert_int_equal(account_insert(&req, OUTBOX_REGISTER, &again, &is_new), STORE_EUNAVAIL);
}

/* ---- every factor ---- */

static void add_factors(int passkeys, int codes)
{
    int i;

    for (i = 0; i < passkeys; i++) {
        store_doc *doc = store_doc_new(pool, COLL_PASSKEYS);

        store_set_str(doc, PASSKEY_USER_ID, by.user_id);
        store_set_str(doc, PASSKEY_CREDENTIAL_ID, apr_psprintf(pool, "credential-%d", i));
        assert_int_equal(store_insert(s, pool, doc, NULL), 0);
    }
    for (i = 0; i < codes; i++) {
        store_doc *doc = store_doc_new(pool, COLL_RECOVERY_CODES);

        store_set_str(doc, RECOVERY_USER_ID, by.user_id);
        store_set_str(doc, RECOVERY_SET, "set_1");
        store_set_str(doc, RECOVERY_CODE, apr_psprintf(pool, "code-%d", i));
        assert_int_equal(store_insert(s, pool, doc, NULL), 0);
    }
}

/* More than one look finds. */
static void all_factors_go_however_many(void **state)
{
    store_change on[] = {STORE_SET_STR(USER_TOTP_SECRET, "sealed"),
                         STORE_SET_STR(USER_RECOVERY_SET, "set_1"),
                         STORE_SET_BOOL(USER_MFA_ENABLED, 1)};
    int64_t epoch = store_int(user, USER_SESSION_EPOCH);
    store_doc *after, *other = store_doc_new(pool, COLL_PASSKEYS);
    int any = 0;

    store_set_str(other, PASSKEY_USER_ID, "usr_other");
    store_set_str(other, PASSKEY_CREDENTIAL_ID, "other");
    assert_int_equal(store_insert(s, pool, other, NULL), 0);
    add_factors(205, 230);
    assert_int_equal(store_update(s, pool, COLL_USERS, by.user_id, NULL, 0, on, 3, &after), 0);
    assert_int_equal(factor_any(&by, after, &any), 0);
    assert_true(any);
    assert_int_equal(factor_clear(&by, &(act){.event = "authn_factors_removed"}, &after), 0);
    assert_int_equal(count(COLL_PASSKEYS), 1);
    assert_int_equal(count(COLL_RECOVERY_CODES), 0);
    assert_false(store_bool(after, USER_MFA_ENABLED));
    assert_true(store_is_null(after, USER_TOTP_SECRET) && store_is_null(after, USER_RECOVERY_SET));
    assert_true(store_int(after, USER_SESSION_EPOCH) > epoch);
    assert_int_equal(count(COLL_AUDIT), 1);
    assert_int_equal(factor_any(&by, after, &any), 0);
    assert_false(any);
}

/* One word of each is told already when its factor goes; without the log, later. */
static void what_factors_have_to_tell_is_told(void **state)
{
    static const struct {
        store_coll_no coll;
        store_fid owner, key;
    } kinds[] = {{COLL_PASSKEYS, PASSKEY_USER_ID, PASSKEY_CREDENTIAL_ID},
                 {COLL_RECOVERY_CODES, RECOVERY_USER_ID, RECOVERY_CODE}};
    biz_audit *audit = by.audit;
    store_doc *after, *doc;
    int told, round;
    size_t i;

    for (round = 0; round < 2; round++) {
        by.audit = round == 0 ? NULL : audit;
        for (i = 0; i < STORE_COUNT_OF(kinds); i++) {
            doc = store_doc_new(pool, kinds[i].coll);
            store_set_str(doc, kinds[i].owner, by.user_id);
            store_set_str(doc, kinds[i].key, "the same in each round");
            act_carry(&by, doc, &renamed, 1);
            assert_int_equal(store_insert(s, pool, doc, NULL), 0);
        }
        assert_int_equal(factor_clear(&by, &(act){.event = "authn_factors_removed"}, &after), 0);
        assert_int_equal(count(COLL_PASSKEYS), round == 0 ? 1 : 0);
        assert_int_equal(count(COLL_RECOVERY_CODES), round == 0 ? 1 : 0);
        by.audit = audit;
        assert_int_equal(act_tell_left(&by, apr_time_now() + apr_time_from_sec(60), &told), 0);
        assert_int_equal(count(COLL_PASSKEYS) + count(COLL_RECOVERY_CODES), 0);
        assert_int_equal(count(COLL_AUDIT), 3 * (round + 1));
    }
}

/* Exactly as many as one look finds: the next look ends it. */
static void a_full_look_is_not_the_end(void **state)
{
    store_doc *after;

    add_factors(100, 100);
    assert_int_equal(factor_clear(&by, &(act){.event = "authn_factors_removed"}, &after), 0);
    assert_int_equal(count(COLL_PASSKEYS), 0);
    assert_int_equal(count(COLL_RECOVERY_CODES), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void quiet(biz_level level, apr_status_t status, const char *line)
{
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(a_change_tells_once),
                                       TEST(no_change_tells_nothing),
                                       TEST(what_was_left_is_told_with_the_next),
                                       TEST(the_job_tells_what_is_old_enough),
                                       TEST(a_clock_that_was_set_back_keeps_nothing_untold),
                                       TEST(what_another_tells_meanwhile_hinders_nobody),
                                       TEST(without_the_log_it_waits),
                                       TEST(what_others_have_written_there_is_left_out),
                                       TEST(who_has_the_address_is_seen_or_not),
                                       TEST(all_factors_go_however_many),
                                       TEST(what_factors_have_to_tell_is_told),
                                       TEST(a_full_look_is_not_the_end)};

    apr_initialize();
    biz_json_init();
    biz_log_to(quiet);
    return cmocka_run_group_tests_name("act", tests, NULL, NULL);
}
