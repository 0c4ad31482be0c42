/* test_keys_refused.c: keys that are missing, damaged, or open to others; and that none is ever
 * said. */
#include "keys_fixture.h"

/* ---- refusals ---- */

static void test_missing_state_dir(void **state)
{
    apr_array_header_t *list;
    const char *why = NULL, *kid;

    dir = apr_pstrcat(pool, dir, "/none", NULL);
    assert_non_null(strstr(refused(), dir));
    assert_int_equal(access(dir, F_OK), -1);
    assert_int_equal(biz_keys_list(pool, dir, &list, &why), APR_ENOENT);
    {
        const char *nowhere = apr_pstrcat(pool, dir, "/no/such", NULL);
        unsigned char key[BIZ_KEY_LEN];

        assert_int_equal(biz_keys_audit(pool, nowhere, key, &why), APR_ENOENT);
        assert_string_equal(why, apr_psprintf(pool,
                                              "there is no folder %s for the keys; make it first, "
                                              "owned by the user that Apache's workers run as",
                                              nowhere));
    }
    assert_non_null(strstr(why, dir));
    why = NULL;
    assert_int_equal(biz_keys_rotate(pool, dir, &kid, &why), APR_ENOENT);
    assert_non_null(strstr(why, dir));
    dir[strlen(dir) - 5] = '\0';
}

static void test_files_open_to_others(void **state)
{
    static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0601, 0644, 0666};
    const char *files[2], *why;
    struct stat st;
    size_t m, i;

    files[1] = pair_of(biz_jwk_kid(opened()->jwks[0]));
    files[0] = in_keys("master.key");
    for (i = 0; i < 2; i++) {
        for (m = 0; m < sizeof(modes) / sizeof(modes[0]); m++) {
            assert_int_equal(chmod(files[i], modes[m]), 0);
            why = refused();
            assert_non_null(strstr(why, "chmod 600 "));
            assert_non_null(strstr(why, files[i]));
            assert_int_equal(stat(files[i], &st), 0); /* said, not repaired: it may be copied */
            assert_int_equal(st.st_mode & 0777, modes[m]);
        }
        assert_int_equal(chmod(files[i], 0400), 0);
        opened();
        assert_int_equal(chmod(files[i], 0600), 0);
    }
}

static void test_folder_open_to_writers(void **state)
{
    const char *folder = apr_pstrcat(pool, dir, "/keys", NULL), *why;

    opened();
    assert_int_equal(chmod(folder, 0770), 0);
    why = refused();
    assert_non_null(strstr(why, apr_pstrcat(pool, "chmod 700 ", folder, NULL)));
    assert_int_equal(chmod(folder, 0755), 0);
    opened();
}

/* The folder above belongs to the workers: what root reads and makes must not follow their links.
 */
static void test_folder_that_is_a_link(void **state)
{
    const char *folder = apr_pstrcat(pool, dir, "/keys", NULL);
    const char *moved = apr_pstrcat(pool, dir, "/elsewhere", NULL), *why;

    opened();
    assert_int_equal(rename(folder, moved), 0);
    assert_int_equal(symlink(moved, folder), 0);
    why = refused();
    assert_string_equal(
        why, apr_pstrcat(pool, folder, " is a symbolic link; put the folder itself there", NULL));
    assert_int_equal(unlink(folder), 0);
    assert_int_equal(rename(moved, folder), 0);
    opened();
}

static void test_damaged_master(void **state)
{
    static const char *const bad[] = {
        "",
        "\n",
        "00",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1g",
        "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0",
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n\n",
        " 00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"};
    const char *path = in_keys("master.key"), *why, *list_why = NULL;
    apr_array_header_t *list;
    size_t i;

    opened();
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_file(path, bad[i], 0600);
        why = refused();
        assert_non_null(strstr(why, path));
        assert_non_null(strstr(why, "backup"));
        assert_string_equal(read_file(path), bad[i]); /* never replaced */
        assert_int_equal(biz_keys_list(pool, dir, &list, &list_why), APR_EGENERAL);
        assert_non_null(strstr(list_why, path));
    }
}

static void test_damaged_pair(void **state)
{
    const char *kid = biz_jwk_kid(opened()->jwks[0]), *path = pair_of(kid), *other, *cut;
    const char *bad[6];
    size_t i;

    assert_int_equal(biz_jwk_generate(pool, "key_00000000000000000000000000", &other), APR_SUCCESS);
    cut = read_file(path);
    cut = apr_pstrmemdup(pool, cut, strlen(cut) / 2);
    bad[0] = "";
    bad[1] = cut;
    bad[2] = other; /* a pair of another name */
    bad[3] = "{\"kty\":\"oct\",\"k\":\"AAAA\"}";
    bad[4] = "[]";
    bad[5] = memset(apr_pcalloc(pool, 6001), 'x', 6000);
    for (i = 0; i < 6; i++) {
        write_file(path, bad[i], 0600);
        assert_non_null(strstr(refused(), path));
    }
}

static void test_what_is_no_file(void **state)
{
    const char *path = in_keys("master.key"), *away = apr_pstrcat(pool, dir, "/away", NULL), *why;

    opened();
    assert_int_equal(rename(path, away), 0);
    assert_int_equal(symlink(away, path), 0);
    why = refused();
    assert_non_null(strstr(why, path));
    assert_non_null(strstr(why, "symbolic link"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* must not wait for a writer */
    assert_non_null(strstr(refused(), "regular"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_non_null(strstr(refused(), path));
}

/* Somebody removed the master: the server starts, and the log says what that means. */
static void test_lost_master(void **state)
{
    biz_keys *before = opened(), *after;

    assert_int_equal(unlink(in_keys("master.key")), 0);
    logged[0] = '\0';
    after = opened();
    assert_non_null(strstr(logged, "BZ0551"));
    assert_null(strstr(logged, "BZ0550"));
    assert_memory_not_equal(before->refresh, after->refresh, BIZ_KEY_LEN);
    assert_string_equal(before->jwks_json, after->jwks_json);
}

static void test_strange_files(void **state)
{
    biz_keys *before = opened();

    write_file(in_keys("jwt-old.json"), "{}", 0600);
    write_file(in_keys("README"), "hello", 0644);
    write_file(in_keys(".new-abc"), "left by a killed starter", 0600);
    logged[0] = '\0';
    assert_string_equal(opened()->jwks_json, before->jwks_json);
    assert_non_null(strstr(logged, "BZ0553"));
    assert_int_equal(count_files(".new-"), 1);
    rotated();
    assert_int_equal(count_files(".new-"), 0);
    assert_int_equal(count_files("README"), 1);
}

static void test_damaged_since(void **state)
{
    biz_keys *before = opened();
    const char *kid = biz_jwk_kid(before->jwks[0]);

    write_file(since_of(kid), "yesterday", 0600);
    assert_string_equal(opened()->jwks_json, before->jwks_json);
}

/* A server that is run by another user than root must be able to read what root makes for it. */
static void test_root_gives_to_the_owner(void **state)
{
    const char *kid;
    struct stat st;

    if (geteuid() != 0)
        skip();
    opened();
    assert_null(strstr(logged, "BZ0552"));
    assert_int_equal(chown(in_keys(""), 33, 33), 0);
    kid = rotated();
    assert_int_equal(stat(pair_of(kid), &st), 0);
    assert_int_equal(st.st_uid, 33);
    assert_int_equal(st.st_gid, 33);
    assert_int_equal(st.st_mode & 07777, 0600);
    opened();
    assert_non_null(strstr(logged, "BZ0552"));
    assert_int_equal(stat(since_of(kid), &st), 0);
    assert_int_equal(st.st_uid, 33);
}

static void test_no_secret_is_said(void **state)
{
    char *master, *pair;
    biz_keys *keys = opened();

    master = read_file(in_keys("master.key"));
    pair = read_file(pair_of(biz_jwk_kid(keys->jwks[0])));
    rotated();
    write_file(in_keys("master.key"), apr_pstrcat(pool, master, "x", NULL), 0600);
    assert_null(strstr(refused(), apr_pstrmemdup(pool, master, 8)));
    write_file(in_keys("master.key"), apr_pstrmemdup(pool, master, 64), 0600);
    write_file(pair_of(biz_jwk_kid(keys->jwks[0])), apr_pstrcat(pool, pair, "x", NULL), 0600);
    assert_null(strstr(refused(), "\"d\""));
    assert_null(strstr(logged, apr_pstrmemdup(pool, master, 8)));
    assert_null(strstr(logged, "\"d\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_missing_state_dir),       TEST(test_files_open_to_others),
        TEST(test_folder_open_to_writers),  TEST(test_folder_that_is_a_link),
        TEST(test_damaged_master),          TEST(test_damaged_pair),
        TEST(test_what_is_no_file),         TEST(test_lost_master),
        TEST(test_strange_files),           TEST(test_damaged_since),
        TEST(test_root_gives_to_the_owner), TEST(test_no_secret_is_said),
    };

    apr_initialize();
    biz_json_init();
    biz_log_to(keep_line);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
