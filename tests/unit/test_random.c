/* test_random.c: core/random.c. Randomness cannot be proved; what a mistake would show can. */
#include "core_test.h"
#include <apr_hash.h>
#include "core/random.h"
#include "core/str.h"
#include "core/valid.h"

static void bytes_change_and_fill_the_whole_buffer(void **state)
{
    unsigned char a[300], b[300], seen[300] = {0};
    int ones = 0;

    biz_random(a, sizeof(a));
    biz_random(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    for (int round = 0; round < 20; round++) {
        biz_random(a, sizeof(a));
        for (size_t i = 0; i < sizeof(a); i++) {
            seen[i] |= a[i];
            ones += __builtin_popcount(a[i]);
        }
    }
    for (size_t i = 0; i < sizeof(a); i++) {
        assert_int_not_equal(seen[i], 0); /* 20 zeros in a row: 2^-160 */
    }
    /* 48000 fair coins: 24000 +- 9 standard deviations. */
    assert_in_range(ones, 23000, 25000);
    biz_random(a, 0);
}

static void tokens_have_256_bits(void **state)
{
    const char *token = biz_random_token(pool);
    size_t len;

    assert_int_equal(strlen(token), 43);
    assert_non_null(biz_b64url_decode(pool, token, 43, &len));
    assert_int_equal(len, 32);
    assert_true(biz_valid_token(token, 43, 43));
    assert_string_not_equal(token, biz_random_token(pool));
}

static void ids_are_unique_valid_and_sort_by_time(void **state)
{
    apr_hash_t *all = apr_hash_make(pool);
    const char *first = biz_new_id(pool, "usr");
    const char *id = first;

    assert_int_equal(strlen(first), 4 + 26);
    for (int i = 0; i < 20000; i++) {
        id = biz_new_id(pool, "usr");
        assert_true(biz_valid_id(id, "usr"));
        assert_null(apr_hash_get(all, id, APR_HASH_KEY_STRING));
        apr_hash_set(all, id, APR_HASH_KEY_STRING, id);
    }
    for (int i = 0; i < 5; i++) {
        const char *next;

        apr_sleep(2000);
        next = biz_new_id(pool, "usr");
        assert_true(strcmp(id, next) < 0);
        id = next;
    }
}

/* The first ten digits are the milliseconds, read back by hand. */
static void ids_tell_when_they_were_made(void **state)
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    int64_t before = apr_time_now() / 1000, after, ms = 0;
    const char *id = biz_new_id(pool, "bk");

    after = apr_time_now() / 1000;
    assert_memory_equal(id, "bk_", 3);
    for (int i = 3; i < 13; i++) {
        ms = ms * 32 + (strchr(digits, id[i]) - digits);
    }
    assert_true(ms >= before && ms <= after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(bytes_change_and_fill_the_whole_buffer),
        CORE_TEST(tokens_have_256_bits),
        CORE_TEST(ids_are_unique_valid_and_sort_by_time),
        CORE_TEST(ids_tell_when_they_were_made),
    };

    core_start();
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
