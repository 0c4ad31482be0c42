/* test_keys.c: the secrets of a business: made once, agreed upon, rotated without anybody being
 * signed out. */
#include "keys_fixture.h"
#include "auth/seen.h"
#include "auth/token.h"

/* ---- making ---- */

static void test_first_start_makes_everything(void **state)
{
    unsigned char zero[BIZ_KEY_LEN] = {0};
    biz_keys *keys = opened();
    struct stat st;
    char *master = read_file(in_keys("master.key"));
    apr_array_header_t *list = listed();
    biz_key_info *info = &APR_ARRAY_IDX(list, 0, biz_key_info);

    assert_int_equal(stat(apr_pstrcat(pool, dir, "/keys", NULL), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(in_keys("master.key"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(strspn(master, "0123456789abcdef"), 64);
    assert_string_equal(master + 64, "\n");
    assert_int_equal(list->nelts, 1);
    assert_int_equal(stat(info->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(info->signs && info->accepted);
    assert_true(info->made_at <= apr_time_now());
    assert_true(info->made_at > apr_time_now() - apr_time_from_sec(60));
    assert_int_equal(jwk_count(keys), 1);
    assert_string_equal(biz_jwk_kid(keys->jwks[0]), info->kid);
    assert_memory_not_equal(keys->refresh, zero, BIZ_KEY_LEN);
    assert_memory_not_equal(keys->refresh, keys->outbox, BIZ_KEY_LEN);
    assert_int_equal(count_files(".new-"), 0);
    assert_non_null(strstr(logged, "BZ0550"));
    assert_null(strstr(logged, "BZ0551"));
}

static void test_second_start_reads_the_same(void **state)
{
    biz_keys *first = opened(), *second;

    logged[0] = '\0';
    second = opened();
    assert_memory_equal(first->refresh, second->refresh, BIZ_KEY_LEN);
    assert_memory_equal(first->outbox, second->outbox, BIZ_KEY_LEN);
    assert_string_equal(first->jwks_json, second->jwks_json);
    assert_true(accepts(second, token_by(first)));
    assert_int_equal(count_files("jwt-"), 2); /* the pair and its .since */
    assert_string_equal(logged, "");
}

static void test_keys_derive_from_the_master(void **state)
{
    unsigned char master[BIZ_KEY_LEN], want[BIZ_KEY_LEN];
    biz_keys *keys;
    int i;

    assert_int_equal(mkdir(in_keys(""), 0700), 0);
    write_file(in_keys("master.key"),
               "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", 0600);
    for (i = 0; i < BIZ_KEY_LEN; i++)
        master[i] = (unsigned char)i;
    keys = opened();
    biz_derive_key(master, "bizapi refresh v1", want);
    assert_memory_equal(keys->refresh, want, BIZ_KEY_LEN);
    biz_derive_key(master, "bizapi outbox v1", want);
    assert_memory_equal(keys->outbox, want, BIZ_KEY_LEN);
}

static void test_public_set_holds_no_secret(void **state)
{
    biz_json *set = NULL, *key;
    size_t at;
    const char *json;

    opened();
    rotated();
    json = opened()->jwks_json;
    assert_int_equal(biz_json_parse(pool, json, strlen(json), 5, &set, &at), APR_SUCCESS);
    assert_int_equal(biz_json_size(biz_json_get(set, "keys")), 2);
    key = biz_json_at(biz_json_get(set, "keys"), 1);
    assert_string_equal(biz_json_str(key, "crv"), "P-256");
    assert_non_null(biz_json_str(key, "kid"));
    assert_null(biz_json_get(key, "d"));
    assert_null(strstr(json, "\"d\""));
}

/* Eight starters at once, many times: all sign with the same key and derive the same secrets. */
static void test_starters_agree(void **state)
{
    enum { STARTERS = 8, ROUNDS = 12 };
    int round, i;

    for (round = 0; round < ROUNDS; round++) {
        char said[STARTERS][200];
        int go[2], back[STARTERS][2], status;
        const char *base = dir;

        dir = apr_psprintf(pool, "%s/%d", base, round);
        assert_int_equal(mkdir(dir, 0700), 0);
        assert_int_equal(pipe(go), 0);
        for (i = 0; i < STARTERS; i++) {
            assert_int_equal(pipe(back[i]), 0);
            if (fork() == 0) {
                biz_keys *keys = NULL;
                const char *why = "";
                char byte;

                close(go[1]);
                if (read(go[0], &byte, 1) < 0) /* all wait for the pipe's end */
                    _exit(1);
                if (biz_keys_open(pool, dir, &keys, &why) != APR_SUCCESS)
                    dprintf(back[i][1], "%s", why);
                else
                    dprintf(back[i][1], "%s %s", biz_jwk_kid(keys->jwks[0]),
                            biz_hex(pool, keys->refresh, BIZ_KEY_LEN));
                _exit(0);
            }
            close(back[i][1]);
        }
        close(go[0]);
        close(go[1]);
        for (i = 0; i < STARTERS; i++) {
            ssize_t n = read(back[i][0], said[i], sizeof(said[i]) - 1);

            assert_true(n > 0);
            said[i][n] = '\0';
            close(back[i][0]);
            assert_string_equal(said[i], said[0]);
            assert_memory_equal(said[i], "key_", 4);
            wait(&status);
            assert_int_equal(status, 0);
        }
        assert_int_equal(count_files(".new-"), 0);
        dir = apr_pstrdup(pool, base);
    }
}

/* ---- rotation ---- */

static void test_rotation(void **state)
{
    biz_keys *before = opened(), *after;
    const char *old = biz_jwk_kid(before->jwks[0]), *token = token_by(before), *kid = rotated();
    apr_array_header_t *list = listed();
    biz_key_info *newest = &APR_ARRAY_IDX(list, 0, biz_key_info), *oldest = newest + 1;

    /* The new one waits for the restart. */
    assert_true(strcmp(kid, old) > 0);
    assert_int_equal(list->nelts, 2);
    assert_string_equal(newest->kid, kid);
    assert_false(newest->signs);
    assert_true(newest->accepted);
    assert_string_equal(oldest->kid, old);
    assert_true(oldest->signs && oldest->accepted);

    after = opened();
    assert_string_equal(biz_jwk_kid(after->jwks[0]), kid);
    assert_int_equal(jwk_count(after), 2);
    assert_true(accepts(after, token));
    assert_true(accepts(after, token_by(after)));
    assert_false(accepts(before, token_by(after)));
    assert_memory_equal(before->refresh, after->refresh, BIZ_KEY_LEN);
    list = listed();
    assert_true(APR_ARRAY_IDX(list, 0, biz_key_info).signs);
    assert_false(APR_ARRAY_IDX(list, 1, biz_key_info).signs);
    assert_true(APR_ARRAY_IDX(list, 1, biz_key_info).accepted);
}

/* 15 minutes of a token's life and one for the clocks, from when the next pair began to sign. */
static void test_old_pair_ends(void **state)
{
    biz_keys *before = opened(), *after;
    const char *token = token_by(before), *kid = rotated();

    opened();
    set_since(kid, apr_time_from_sec(15 * 60 + 50));
    assert_true(accepts(opened(), token));
    set_since(kid, apr_time_from_sec(16 * 60 + 2));
    after = opened();
    assert_int_equal(jwk_count(after), 1);
    assert_false(accepts(after, token));
    assert_false(APR_ARRAY_IDX(listed(), 1, biz_key_info).accepted);
    assert_int_equal(access(pair_of(biz_jwk_kid(before->jwks[0])), F_OK), 0);
}

/* Without a restart too, and for a token that was found good before. */
static void test_old_pair_ends_while_the_server_runs(void **state)
{
    biz_keys *before = opened(), *after;
    biz_seen *seen = apr_pcalloc(pool, (size_t)SEEN_SLOTS * SEEN_SLOT_BYTES);
    apr_time_t now = apr_time_now();
    token_claims made = {.user_id = biz_new_id(pool, "usr"),
                         .session_id = biz_new_id(pool, "ses"),
                         .expires_at = now + apr_time_from_sec(3600)},
                 read;
    const char *token, *fresh;

    assert_int_equal(token_access_make(pool, before, "iss", &made, now, &token), APR_SUCCESS);
    rotated();
    after = opened();
    assert_int_equal(jwk_count(after), 2);
    assert_int_equal(token_access_make(pool, after, "iss", &made, now, &fresh), APR_SUCCESS);
    now += apr_time_from_sec(16 * 60 - 5);
    assert_int_equal(token_access_read(pool, after, seen, "iss", token, now, &read), APR_SUCCESS);
    assert_int_equal(token_access_read(pool, after, seen, "iss", token, now, &read), APR_SUCCESS);
    now += apr_time_from_sec(10);
    assert_int_equal(token_access_read(pool, after, seen, "iss", token, now, &read), APR_EINVAL);
    assert_int_equal(token_access_read(pool, after, seen, "iss", fresh, now, &read), APR_SUCCESS);
}

/* A pair made hours before the restart that takes it into use: the older one signed until then. */
static void test_late_restart_signs_nobody_out(void **state)
{
    biz_keys *before = opened();
    const char *token = token_by(before), *kid;

    set_since(biz_jwk_kid(before->jwks[0]), apr_time_from_sec(30 * 24 * 3600));
    kid = rotated();
    assert_int_equal(access(since_of(kid), F_OK), -1);
    assert_true(accepts(opened(), token));
    assert_int_equal(access(since_of(kid), F_OK), 0);
}

/* Two rotations without a restart between: the pair in the middle has never signed. */
static void test_two_rotations(void **state)
{
    biz_keys *before = opened();
    const char *token = token_by(before), *middle = rotated(), *last = rotated();
    biz_keys *after = opened();

    assert_true(strcmp(last, middle) > 0);
    assert_string_equal(biz_jwk_kid(after->jwks[0]), last);
    assert_true(accepts(after, token));
    set_since(last, apr_time_from_sec(17 * 60));
    assert_false(accepts(opened(), token));
}

static void test_rotation_removes_what_ended_long_ago(void **state)
{
    const char *first = biz_jwk_kid(opened()->jwks[0]), *second = rotated(), *third;

    opened();
    set_since(second, apr_time_from_sec(23 * 3600));
    third = rotated();
    assert_int_equal(access(pair_of(first), F_OK), 0);
    set_since(second, apr_time_from_sec(25 * 3600));
    rotated();
    assert_int_equal(access(pair_of(first), F_OK), -1);
    assert_int_equal(access(since_of(first), F_OK), -1);
    assert_int_equal(access(pair_of(second), F_OK), 0);
    assert_int_equal(access(pair_of(third), F_OK), 0);
}

static void test_rotations_at_once(void **state)
{
    enum { PROCESSES = 6, EACH = 5 };
    int i, n, status;
    apr_array_header_t *list;

    opened();
    for (i = 0; i < PROCESSES; i++) {
        if (fork() == 0) {
            const char *kid, *why = "";

            for (n = 0; n < EACH; n++) {
                if (biz_keys_rotate(pool, dir, &kid, &why) != APR_SUCCESS)
                    _exit(1);
            }
            _exit(0);
        }
    }
    for (i = 0; i < PROCESSES; i++) {
        wait(&status);
        assert_int_equal(status, 0);
    }
    list = listed();
    assert_int_equal(list->nelts, 1 + PROCESSES * EACH);
    for (i = 1; i < list->nelts; i++)
        assert_true(strcmp(APR_ARRAY_IDX(list, i - 1, biz_key_info).kid,
                           APR_ARRAY_IDX(list, i, biz_key_info).kid) > 0);
    opened();
}

static void test_rotation_waits_for_the_lock(void **state)
{
    int lock, status;
    apr_time_t start;
    pid_t pid;

    opened();
    lock = open(in_keys(".lock"), O_RDWR);
    assert_true(lock >= 0);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    start = apr_time_now();
    pid = fork();
    if (pid == 0) {
        apr_sleep(300 * 1000);
        _exit(0); /* the last holder ends: as a killed one does */
    }
    close(lock);
    rotated();
    assert_true(apr_time_now() - start >= 250 * 1000);
    assert_true(apr_time_now() - start < apr_time_from_sec(5));
    waitpid(pid, &status, 0);
}

/* The clock was ahead when the last pair was made: a new one would not be the newest. */
static void test_rotation_with_a_wrong_clock(void **state)
{
    const char *kid = NULL, *why = NULL, *ahead = "key_7zzzzzzzzz0000000000000000", *json;

    opened();
    assert_int_equal(biz_jwk_generate(pool, ahead, &json), APR_SUCCESS);
    write_file(pair_of(ahead), json, 0600);
    assert_int_not_equal(biz_keys_rotate(pool, dir, &kid, &why), APR_SUCCESS);
    assert_null(kid);
    assert_non_null(strstr(why, ahead));
    assert_non_null(strstr(why, "clock"));
    assert_string_equal(biz_jwk_kid(opened()->jwks[0]), ahead);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_first_start_makes_everything),
        TEST(test_second_start_reads_the_same),
        TEST(test_keys_derive_from_the_master),
        TEST(test_public_set_holds_no_secret),
        TEST(test_starters_agree),
        TEST(test_rotation),
        TEST(test_old_pair_ends),
        TEST(test_old_pair_ends_while_the_server_runs),
        TEST(test_late_restart_signs_nobody_out),
        TEST(test_two_rotations),
        TEST(test_rotation_removes_what_ended_long_ago),
        TEST(test_rotations_at_once),
        TEST(test_rotation_waits_for_the_lock),
        TEST(test_rotation_with_a_wrong_clock),
    };

    apr_initialize();
    biz_json_init();
    biz_log_to(keep_line);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
