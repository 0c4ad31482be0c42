/* test_csv.c: cells come back as they were by any reader of RFC 4180, and none is a formula. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <apr_general.h>

#include "core/csv.h"

static apr_pool_t *pool;

static void texts_are_quoted(void **state)
{
    assert_string_equal(biz_csv_cell(pool, "a, b"), "\"a, b\"");
    assert_string_equal(biz_csv_cell(pool, "say \"hi\""), "\"say \"\"hi\"\"\"");
    assert_string_equal(biz_csv_cell(pool, "two\nlines"), "\"two\nlines\"");
    assert_string_equal(biz_csv_cell(pool, ""), "\"\"");
    assert_string_equal(biz_csv_cell(pool, NULL), "\"\"");
    assert_string_equal(biz_csv_cell(pool, "M\xc3\xbcller"), "\"M\xc3\xbcller\"");
}

static void formulas_are_texts(void **state)
{
    assert_string_equal(biz_csv_cell(pool, "=1+1"), "\"'=1+1\"");
    assert_string_equal(biz_csv_cell(pool, "+49"), "\"'+49\"");
    assert_string_equal(biz_csv_cell(pool, "-1"), "\"'-1\"");
    assert_string_equal(biz_csv_cell(pool, "@SUM(A1)"), "\"'@SUM(A1)\"");
    assert_string_equal(biz_csv_cell(pool, "\t=1"), "\"'\t=1\"");
    assert_string_equal(biz_csv_cell(pool, "\r=1"), "\"'\r=1\"");
    assert_string_equal(biz_csv_cell(pool, "a=1"), "\"a=1\"");
    assert_string_equal(biz_csv_cell(pool, "'=1"), "\"'=1\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts_are_quoted),
                                       cmocka_unit_test(formulas_are_texts)};
    int rc;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    rc = cmocka_run_group_tests_name("csv", tests, NULL, NULL);
    apr_pool_destroy(pool);
    return rc;
}
