/* test_seen.c: the memory of checked tokens gives back what was put, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <apr_strings.h>
#include <apr_thread_proc.h>

#include "auth/seen.h"

#define ISSUER "https://portal.example"
#define USER "usr_01m85f1k5g029m9yjn93hjz09v"
#define SESSION "ses_01m85f1k8dyezcq79qrk0n6t0j"

static apr_pool_t *pool;

static biz_seen *fresh(void)
{
    return apr_pcalloc(pool, (apr_size_t)SEEN_SLOTS * SEEN_SLOT_BYTES);
}

static void gives_back_what_was_put(void **state)
{
    biz_seen *seen = fresh();
    token_claims in = {USER, SESSION, 1234567890}, out;

    (void)state;
    assert_int_equal(0, seen_get(seen, pool, ISSUER, "a.b.c", &out));
    seen_put(seen, pool, ISSUER, "a.b.c", &in);
    assert_int_equal(1, seen_get(seen, pool, ISSUER, "a.b.c", &out));
    assert_string_equal(USER, out.user_id);
    assert_string_equal(SESSION, out.session_id);
    assert_true(out.expires_at == 1234567890);
}

static void tells_tokens_and_issuers_apart(void **state)
{
    biz_seen *seen = fresh();
    token_claims in = {USER, SESSION, 1}, out;

    (void)state;
    seen_put(seen, pool, ISSUER, "a.b.c", &in);
    assert_int_equal(0, seen_get(seen, pool, ISSUER, "a.b.C", &out));
    assert_int_equal(0, seen_get(seen, pool, "https://other.example", "a.b.c", &out));
    assert_int_equal(0, seen_get(seen, pool, ISSUER "a", ".b.c", &out));
    assert_int_equal(0, seen_get(NULL, pool, ISSUER, "a.b.c", &out));
}

static void refuses_ids_that_do_not_fit(void **state)
{
    biz_seen *seen = fresh();
    token_claims in = {"usr_0123456789012345678901234567890123456789", SESSION, 1}, out;

    (void)state;
    seen_put(seen, pool, ISSUER, "a.b.c", &in);
    assert_int_equal(0, seen_get(seen, pool, ISSUER, "a.b.c", &out));
}

static biz_seen *raced;

/* Each thread's tokens carry their number in the ids: a torn entry would show. */
static void *APR_THREAD_FUNC race(apr_thread_t *thread, void *data)
{
    apr_pool_t *mine;
    long i, wrong = 0;

    apr_pool_create(&mine, NULL);
    for (i = 0; i < 60000; i++) {
        long n = (i * 7 + (long)(intptr_t)data) % 500;
        const char *token = apr_psprintf(mine, "token-%ld", n);
        const char *id = apr_psprintf(mine, "usr_%ld", n);
        token_claims in = {id, apr_psprintf(mine, "ses_%ld", n), n}, out;

        if (seen_get(raced, mine, ISSUER, token, &out))
            wrong += strcmp(out.user_id, id) != 0 || out.expires_at != n;
        else
            seen_put(raced, mine, ISSUER, token, &in);
        if (i % 100 == 0)
            apr_pool_clear(mine);
    }
    apr_pool_destroy(mine);
    apr_thread_exit(thread, wrong != 0 ? APR_EGENERAL : APR_SUCCESS);
    return NULL;
}

static void is_never_torn(void **state)
{
    apr_thread_t *threads[4];
    apr_status_t result;
    int i;

    (void)state;
    raced = fresh();
    for (i = 0; i < 4; i++)
        assert_int_equal(APR_SUCCESS,
                         apr_thread_create(&threads[i], NULL, race, (void *)(intptr_t)i, pool));
    for (i = 0; i < 4; i++) {
        assert_int_equal(APR_SUCCESS, apr_thread_join(&result, threads[i]));
        assert_int_equal(APR_SUCCESS, result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_back_what_was_put),
        cmocka_unit_test(tells_tokens_and_issuers_apart),
        cmocka_unit_test(refuses_ids_that_do_not_fit),
        cmocka_unit_test(is_never_torn),
    };

    apr_initialize();
    atexit(apr_terminate);
    apr_pool_create(&pool, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
