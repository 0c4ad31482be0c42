/* test_cursor.c: the place in a list that a caller gives back to us. Its digest is no secret, so
 * the input is tried as it is and with a right one behind it: plan.c itself is part of this file.
 */
#include "fuzz.h"

#include "core/str.h"
#include "store/plan.c"

static void check(apr_pool_t *pool, store_query *query)
{
    store_plan plan;
    apr_status_t status = store_plan_make(pool, "fuzz", query, &plan);

    FUZZ_CHECK(status == STORE_EINVAL || status == APR_SUCCESS);
    if (status == APR_SUCCESS)
        FUZZ_CHECK(plan.has_after && store_id_is_possible(plan.after_id) &&
                   (plan.after_value.null || plan.after_value.s == NULL ||
                    biz_utf8_count(plan.after_value.s, strlen(plan.after_value.s)) >= 0));
}

/* The input as the body of a cursor of this query. */
static const char *sealed(apr_pool_t *pool, store_query *query, const uint8_t *data, size_t size)
{
    unsigned char *bytes = apr_palloc(pool, size + 1 + CURSOR_CHECK);
    store_plan plan;

    query->cursor = NULL;
    FUZZ_CHECK(store_plan_make(pool, "fuzz", query, &plan) == APR_SUCCESS);
    bytes[0] = CURSOR_FORMAT;
    memcpy(bytes + 1, data, size);
    cursor_check(pool, &plan, bytes, size + 1, bytes + 1 + size);
    return biz_b64url(pool, bytes, size + 1 + CURSOR_CHECK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    store_cond conds[] = {STORE_EQ_STR(SESSION_USER_ID, "usr_01m85e3a4vbk11nxswja4b6cqn")};
    store_query queries[] = {{.coll = COLL_SESSIONS,
                              .index = "sessions_user",
                              .conds = conds,
                              .n_conds = 1,
                              .limit = 20},
                             {.coll = COLL_USERS, .limit = 20},
                             {.coll = COLL_USERS, .index = "users_email", .limit = 20}};

    for (size_t i = 0; i < STORE_COUNT_OF(queries); i++) {
        queries[i].cursor = fuzz_text(pool, data, size);
        check(pool, &queries[i]);
        queries[i].cursor = sealed(pool, &queries[i], data, size);
        check(pool, &queries[i]);
    }
    return 0;
}
