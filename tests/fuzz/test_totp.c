/* test_totp.c: codes as strangers type them, and secrets: a line each. A code is right where it is
 * that of a step around now, and nothing else is. */
#include "fuzz.h"

#include "core/str.h"
#include "core/totp.h"

#define SECRET "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"

static void check_code(apr_pool_t *pool, const char *secret, const char *code)
{
    static const apr_time_t now = apr_time_from_sec(1111111111);
    int64_t present = 1111111111 / TOTP_STEP_SECONDS, step;

    step = totp_step_of(pool, secret, code, now, -1);
    FUZZ_CHECK(step == -1 || (step >= present - 1 && step <= present + 1));
    if (step >= 0)
        FUZZ_CHECK(!strcmp(totp_code(pool, secret, step), code));
    for (step = present - 1; step <= present + 1; step++) {
        const char *right = totp_code(pool, secret, step);

        if (right != NULL) {
            FUZZ_CHECK(strlen(right) == 6 && strspn(right, "0123456789") == 6);
            FUZZ_CHECK(strcmp(right, code) != 0 ||
                       totp_step_of(pool, secret, code, now, step - 1) >= step);
        }
    }
}

/* The field of a request, with the code in it. */
static void check_field(apr_pool_t *pool, const char *text)
{
    static const biz_field fields[] = {{"code", BIZ_FIELD_CODE, BIZ_REQUIRED, 6, 6, NULL}, {0}};
    static const biz_route route = {.method = "POST", .path = "/x", .fields = fields};
    biz_reply reply = {.pool = pool, .code = BIZ_OK};
    biz_req req = {.pool = pool,
                   .route = &route,
                   .fields = apr_table_make(pool, 1),
                   .nulls = apr_table_make(pool, 1),
                   .json = biz_json_object(pool)};

    biz_json_set_str(req.json, "code", text);
    if (biz_fields_check(&req, &reply) == BIZ_OK) {
        const char *code = biz_field_str(&req, "code");

        FUZZ_CHECK(strchr(code, ' ') == NULL && strchr(code, '-') == NULL);
        check_code(pool, SECRET, code);
    } else {
        FUZZ_CHECK(reply.code == BIZ_VALIDATION_FAILED);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    char *rest = fuzz_text(pool, data, size);
    const char *code = fuzz_line(&rest), *secret = fuzz_line(&rest);

    if (biz_utf8_count(code, strlen(code)) >= 0) /* the parser of bodies lets nothing else in */
        check_field(pool, code);
    check_code(pool, secret != NULL ? secret : SECRET, code);
    return 0;
}
