/* test_device.c: auth/device.c. A device token shows what it shows, for the accounts it names, and
 * cannot be made without the key. */
#include "core_test.h"
#include "auth/device.h"
#include "auth/keys.h"
#include "core/random.h"

#define ANNA "usr_01m85f1k5g029m9yjn93hjz09v"
#define BERT "usr_01m85f1k8dyezcq79qrk0n6t0j"

static biz_keys keys;

/* A request that sends this device token, or none. */
static biz_req *request(const char *token)
{
    biz_env *env = apr_pcalloc(pool, sizeof(*env));
    biz_req *req = apr_pcalloc(pool, sizeof(*req));

    env->keys = &keys;
    req->pool = pool;
    req->env = env;
    req->fields = apr_table_make(pool, 1);
    if (token)
        apr_table_set(req->fields, "device_token", token);
    return req;
}

static int known(const char *token, const char *user_id)
{
    return device_known(request(token), user_id, NULL);
}

static const char *signed_in(const char *token, const char *user_id)
{
    return device_token_for(request(token), user_id);
}

static void is_known_to_the_account_that_signed_in(void **state)
{
    const char *token = signed_in(NULL, ANNA), *id;

    assert_int_equal(known(token, ANNA), 1);
    assert_int_equal(known(token, BERT), 0);
    assert_int_equal(known(token, NULL), 0);
    assert_int_equal(known(NULL, ANNA), 0);
    device_known(request(token), ANNA, &id);
    assert_int_equal(strncmp(token, id, strlen(id)), 0);
    assert_int_equal(strlen(id), 30);
    device_known(request(token), BERT, &id);
    assert_null(id);
    assert_string_not_equal(token, signed_in(NULL, ANNA));
}

static void stays_the_same_for_the_same_account(void **state)
{
    const char *token = signed_in(NULL, ANNA);

    assert_string_equal(token, signed_in(token, ANNA));
}

static void serves_four_accounts_and_forgets_the_oldest(void **state)
{
    const char *ids[5], *token = NULL, *first, *again;

    for (int i = 0; i < 5; i++) {
        ids[i] = biz_new_id(pool, "usr");
        again = signed_in(token, ids[i]);
        if (token)
            assert_int_equal(strncmp(token, again, 30), 0);
        token = again;
        for (int k = 0; k <= i; k++)
            assert_int_equal(known(token, ids[k]), i - k < 4);
    }
    /* Who signs in again becomes the newest, and nobody is lost by it. */
    first = signed_in(token, ids[1]);
    assert_int_equal(strlen(first), strlen(token));
    for (int k = 1; k < 5; k++)
        assert_int_equal(known(first, ids[k]), 1);
    assert_true(strlen(token) <= BIZ_TOKEN_MAX);
}

static void no_changed_byte_is_taken(void **state)
{
    const char *token = signed_in(NULL, ANNA);

    for (size_t i = 0; i < strlen(token); i++) {
        char *other = apr_pstrdup(pool, token);

        other[i] = other[i] == 'a' ? 'b' : 'a';
        assert_int_equal(known(other, ANNA), 0);
    }
}

static void takes_no_other_text(void **state)
{
    const char *good = signed_in(NULL, ANNA);
    const char *const texts[] = {"",
                                 ".",
                                 "dev_",
                                 "dev_.",
                                 "x",
                                 apr_pstrndup(pool, good, 30),
                                 apr_pstrndup(pool, good, 31),
                                 apr_pstrndup(pool, good, 50),
                                 apr_pstrcat(pool, good, "x", NULL),
                                 apr_pstrcat(pool, " ", good, NULL),
                                 good + 1,
                                 good + 31};

    for (size_t i = 0; i < COUNT(texts); i++) {
        assert_int_equal(known(texts[i], ANNA), 0);
        /* What is sent instead of one costs nobody the next one. */
        assert_int_equal(known(signed_in(texts[i], ANNA), ANNA), 1);
    }
    /* A fifth account's tag is not looked for. */
    assert_int_equal(known(apr_pstrcat(pool, apr_pstrndup(pool, good, 30), good + 30, good + 30,
                                       good + 30, good + 30, good + 30, NULL),
                           ANNA),
                     1);
    assert_int_equal(
        known(apr_pstrcat(pool, apr_pstrndup(pool, good, 30), ".aaaaaaaaaaaaaaaaaaaaaa",
                          ".aaaaaaaaaaaaaaaaaaaaaa", ".aaaaaaaaaaaaaaaaaaaaaa",
                          ".aaaaaaaaaaaaaaaaaaaaaa", good + 30, NULL),
              ANNA),
        0);
}

static void another_key_knows_nobody(void **state)
{
    const char *token = signed_in(NULL, ANNA);

    keys.device[7] ^= 1;
    assert_int_equal(known(token, ANNA), 0);
    keys.device[7] ^= 1;
    assert_int_equal(known(token, ANNA), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(is_known_to_the_account_that_signed_in),
        CORE_TEST(stays_the_same_for_the_same_account),
        CORE_TEST(serves_four_accounts_and_forgets_the_oldest),
        CORE_TEST(no_changed_byte_is_taken),
        CORE_TEST(takes_no_other_text),
        CORE_TEST(another_key_knows_nobody),
    };

    core_start();
    biz_random(keys.device, sizeof(keys.device));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
