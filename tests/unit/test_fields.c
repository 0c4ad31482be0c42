/* test_fields.c: core/fields.c: each type of declared field against values of every kind. What the
 * formats of single values accept is test_valid.c's. */
#include "core_test.h"
#include "core/biz.h"

/* The failing field's name, or NULL where the body is fine. */
static const char *check(const biz_field *fields, const char *body, biz_req *req)
{
    static biz_route route;
    biz_reply reply = {.pool = pool, .code = BIZ_OK};
    size_t position;

    route = (biz_route){.method = "POST", .path = "/x", .fields = fields};
    *req = (biz_req){.pool = pool, .route = &route};
    req->fields = apr_table_make(pool, 4);
    req->nulls = apr_table_make(pool, 4);
    assert_int_equal(
        biz_json_parse(pool, body, strlen(body), BIZ_JSON_DEPTH, &req->json, &position),
        APR_SUCCESS);
    if (biz_fields_check(req, &reply) == BIZ_OK)
        return NULL;
    assert_int_equal(reply.code, BIZ_VALIDATION_FAILED);
    assert_non_null(reply.message);
    return reply.param;
}

static const char *one(biz_field field, const char *value, biz_req *req)
{
    biz_field fields[] = {field, {0}};

    return check(fields, apr_psprintf(pool, "{\"x\":%s}", value), req);
}

static void a_type_takes_its_own_kind_alone(void **state)
{
    static const struct {
        biz_field field;
        const char *good, *text; /* and what the handler gets */
        const char *bad[12];
    } rows[] = {
        {{"x", BIZ_FIELD_BOOL, 0, 0, 0, NULL},
         "true",
         "true",
         {"\"true\"", "1", "0", "1.0", "[]", "{}", "null"}},
        {{"x", BIZ_FIELD_BOOL, 0, 0, 0, NULL}, "false", "false", {"\"\"", "null"}},
        {{"x", BIZ_FIELD_INT, 0, -5, 100, NULL},
         "-5",
         "-5",
         {"-6", "101", "1.0", "1e1", "\"7\"", "true", "9223372036854775807", "[7]", "{}", "null"}},
        {{"x", BIZ_FIELD_INT, 0, 0, 100, NULL}, "0", "0", {"-1"}},
        {{"x", BIZ_FIELD_CHOICE, 0, 0, 0, "day|week|month"},
         "\"week\"",
         "week",
         {"\"\"", "\"wee\"", "\"weeks\"", "\"day|week\"", "\"Day\"", "\"|\"", "1", "true", "null"}},
        {{"x", BIZ_FIELD_TEXT, 0, 1, 5, NULL},
         "\"a\\nb\\tc\"",
         "a\nb\tc",
         {"\"\"", "\"123456\"", "\"a\\rb\"", "\"a\\u0007\"", "7", "null"}},
        {{"x", BIZ_FIELD_CODE, 0, 6, 6, NULL},
         "\" 123-456 \"",
         "123456",
         {"\"12345\"", "\"1234567\"", "\"\"", "\"-\"", "123456", "null"}},
        {{"x", BIZ_FIELD_CODE, 0, 6, 10, NULL},
         "\"\uff11\uff12345 6\"",
         "\xef\xbc\x91\xef\xbc\x92"
         "3456",
         {0}},
        {{"x", BIZ_FIELD_OBJECT, 0, 0, 0, NULL},
         "{\"a\":1}",
         "",
         {"[]", "\"{}\"", "1", "true", "null"}},
        {{"x", BIZ_FIELD_LIST, 0, 1, 2, NULL},
         "[1,\"b\"]",
         "",
         {"[]", "[1,2,3]", "{}", "\"[]\"", "null"}},
        {{"x", BIZ_FIELD_LINE, 0, 1, 5, NULL},
         "\"12345\"",
         "12345",
         {"\"123456\"", "\"a\\nb\"", "1", "true", "[]", "{}", "null"}},
    };
    biz_req req;

    for (size_t i = 0; i < COUNT(rows); i++) {
        assert_null(one(rows[i].field, rows[i].good, &req));
        assert_string_equal(biz_field_str(&req, "x"), rows[i].text);
        for (int j = 0; rows[i].bad[j] != NULL; j++) {
            const char *param = one(rows[i].field, rows[i].bad[j], &req);

            if (param == NULL)
                fail_msg("row %zu takes %s", i, rows[i].bad[j]);
            assert_string_equal(param, "x");
            assert_null(biz_field_str(&req, "x"));
        }
    }
}

static void numbers_and_truth_come_back_as_such(void **state)
{
    static const biz_field fields[] = {
        {"n", BIZ_FIELD_INT, 0, -1000, 1000, NULL}, {"b", BIZ_FIELD_BOOL, 0, 0, 0, NULL}, {0}};
    biz_req req;

    assert_null(check(fields, "{\"n\":-42,\"b\":false}", &req));
    assert_int_equal(biz_field_int(&req, "n", 7), -42);
    assert_int_equal(biz_field_bool(&req, "b", 1), 0);
    assert_null(check(fields, "{}", &req));
    assert_int_equal(biz_field_int(&req, "n", 7), 7);
    assert_int_equal(biz_field_bool(&req, "b", 1), 1);
    assert_int_equal(biz_field_bool(&req, "b", 0), 0);
}

static void null_is_a_value_only_where_it_is_declared(void **state)
{
    biz_field required = {"x", BIZ_FIELD_INT, BIZ_REQUIRED, 0, 9, NULL};
    biz_field nullable = {"x", BIZ_FIELD_CHOICE, BIZ_NULLABLE, 0, 0, "a|b"};
    biz_field fields[] = {required, {0}};
    biz_req req;

    assert_string_equal(one(required, "null", &req), "x");
    assert_string_equal(check(fields, "{}", &req), "x");
    assert_null(one(nullable, "null", &req));
    assert_true(biz_field_is_null(&req, "x"));
    assert_null(biz_field_str(&req, "x"));
    assert_null(one(nullable, "\"b\"", &req));
    assert_false(biz_field_is_null(&req, "x"));
}

static void a_query_carries_texts_numbers_and_choices_but_no_structures(void **state)
{
    biz_field fields[] = {{"n", BIZ_FIELD_INT, BIZ_IN_QUERY, 1, 9, NULL},
                          {"by", BIZ_FIELD_CHOICE, BIZ_IN_QUERY, 0, 0, "day|week"},
                          {0}};
    static const char *const bad[] = {"n=0",   "n=10", "n=07", "n=+7",
                                      "n=7.0", "n=",   "by=",  "by=month"};
    biz_route route = {.method = "GET", .path = "/x", .fields = fields};

    for (size_t i = 0; i <= COUNT(bad); i++) {
        biz_req req = {.pool = pool, .route = &route};
        biz_reply reply = {.pool = pool, .code = BIZ_OK};

        req.query = i < COUNT(bad) ? bad[i] : "n=7&by=week";
        req.fields = apr_table_make(pool, 4);
        req.nulls = apr_table_make(pool, 4);
        assert_int_equal(biz_fields_check(&req, &reply),
                         i < COUNT(bad) ? BIZ_VALIDATION_FAILED : BIZ_OK);
        assert_int_equal(biz_field_int(&req, "n", -1), i < COUNT(bad) ? -1 : 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(a_type_takes_its_own_kind_alone),
        CORE_TEST(numbers_and_truth_come_back_as_such),
        CORE_TEST(null_is_a_value_only_where_it_is_declared),
        CORE_TEST(a_query_carries_texts_numbers_and_choices_but_no_structures),
    };

    core_start();
    return cmocka_run_group_tests_name("fields", tests, NULL, NULL);
}
