/* keys_fixture.h: a state directory for each test, and its keys as a server opens them. */
#ifndef BIZ_TEST_KEYS_FIXTURE_H
#define BIZ_TEST_KEYS_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <apr_time.h>

#include "auth/keys.h"
#include "core/json.h"
#include "core/log.h"
#include "core/random.h"
#include "core/str.h"
#include "core/time.h"

static apr_pool_t *pool;
static char *dir; /* the state directory of one test */
static char logged[8192];

static inline void keep_line(biz_level level, apr_status_t status, const char *line)
{
    size_t len = strlen(logged);

    snprintf(logged + len, sizeof(logged) - len, "%s\n", line);
}

static inline int setup(void **state)
{
    char *name;

    apr_pool_create(&pool, NULL);
    name = apr_pstrdup(pool, "/tmp/test_keys.XXXXXX");
    dir = mkdtemp(name);
    logged[0] = '\0';
    return dir == NULL;
}

static inline int teardown(void **state)
{
    pid_t pid = fork();

    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", dir, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    apr_pool_destroy(pool);
    return 0;
}

static inline const char *in_keys(const char *file)
{
    return apr_pstrcat(pool, dir, "/keys/", file, NULL);
}

static inline biz_keys *opened(void)
{
    biz_keys *keys = NULL;
    const char *why = "";

    if (biz_keys_open(pool, dir, &keys, &why) != APR_SUCCESS)
        fail_msg("biz_keys_open: %s", why);
    return keys;
}

static inline const char *refused(void)
{
    biz_keys *keys = NULL;
    const char *why = NULL;

    assert_int_not_equal(biz_keys_open(pool, dir, &keys, &why), APR_SUCCESS);
    assert_null(keys);
    assert_non_null(why);
    return why;
}

static inline apr_array_header_t *listed(void)
{
    apr_array_header_t *list = NULL;
    const char *why = "";

    if (biz_keys_list(pool, dir, &list, &why) != APR_SUCCESS)
        fail_msg("biz_keys_list: %s", why);
    return list;
}

static inline const char *rotated(void)
{
    const char *kid = NULL, *why = "";

    if (biz_keys_rotate(pool, dir, &kid, &why) != APR_SUCCESS)
        fail_msg("biz_keys_rotate: %s", why);
    return kid;
}

static inline void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static inline char *read_file(const char *path)
{
    char *text = apr_pcalloc(pool, 8192);
    int fd = open(path, O_RDONLY);

    assert_true(fd >= 0);
    assert_true(read(fd, text, 8191) >= 0);
    close(fd);
    return text;
}

static inline int count_files(const char *front)
{
    DIR *d = opendir(in_keys(""));
    struct dirent *entry;
    int n = 0;

    assert_non_null(d);
    while ((entry = readdir(d)) != NULL)
        n += strncmp(entry->d_name, front, strlen(front)) == 0;
    closedir(d);
    return n;
}

static inline const char *since_of(const char *kid)
{
    return in_keys(apr_pstrcat(pool, "jwt-", kid, ".since", NULL));
}

static inline const char *pair_of(const char *kid)
{
    return in_keys(apr_pstrcat(pool, "jwt-", kid, ".json", NULL));
}

static inline void set_since(const char *kid, apr_interval_time_t ago)
{
    write_file(since_of(kid), biz_time_format(pool, apr_time_now() - ago), 0600);
}

static inline int jwk_count(const biz_keys *keys)
{
    int n = 0;

    while (keys->jwks[n] != NULL)
        n++;
    return n;
}

static inline const char *token_by(const biz_keys *keys)
{
    biz_json *claims = biz_json_object(pool);
    const char *compact = NULL;

    biz_json_set_str(claims, "sub", "usr_x");
    assert_int_equal(biz_jws_sign(pool, keys->jwks[0], "at+jwt", claims, &compact), APR_SUCCESS);
    return compact;
}

static inline int accepts(const biz_keys *keys, const char *token)
{
    biz_json *claims;

    return biz_jws_verify(pool, keys->jwks, "at+jwt", token, &claims) == APR_SUCCESS;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
