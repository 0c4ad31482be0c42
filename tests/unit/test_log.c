/* test_log.c: core/log.c: one line stays one line, whatever stands in its arguments. */
#include "core_test.h"
#include <unistd.h>
#include <apr_errno.h>
#include "core/log.h"

static char last[9000];
static biz_level last_level;
static apr_status_t last_status;

static void keep(biz_level level, apr_status_t status, const char *line)
{
    last_level = level;
    last_status = status;
    apr_cpystrn(last, line, sizeof(last));
}

static void a_line_has_its_number_and_its_reason(void **state)
{
    biz_log(BIZ_LOG_WARN, ENOENT,
            "BZ0199: "
            "no file %s",
            "x");
    assert_string_equal(last, "BZ0199: no file x: No such file or directory");
    assert_int_equal(last_level, BIZ_LOG_WARN);
    assert_int_equal(last_status, ENOENT);
    biz_log(BIZ_LOG_INFO, APR_SUCCESS, "%d of %s", 3, "four");
    assert_string_equal(last, "3 of four");
    biz_log(BIZ_LOG_ERR, APR_TIMEUP, "late");
    assert_memory_equal(last, "late: ", 6);
    /* Our own codes: APR would say that it does not understand. */
    biz_log(BIZ_LOG_ERR, APR_OS_START_USERERR + 103, "store");
    assert_string_equal(last, apr_psprintf(pool, "store: status %d", APR_OS_START_USERERR + 103));
}

static void nobody_begins_a_line_of_his_own(void **state)
{
    biz_log(BIZ_LOG_WARN, 0, "agent %s", "a\r\nBZ0001: fake\x1b[31m\t\x7f\x9b\xc3\xa4");
    assert_string_equal(last, "agent a\\x0d\\x0aBZ0001: fake\\x1b[31m\\x09\\x7f\\x9b\\xc3\\xa4");
    biz_log(BIZ_LOG_WARN, 0, "%s", "%n%s%x");
    assert_string_equal(last, "%n%s%x");
}

static void a_long_line_is_cut_and_keeps_its_reason(void **state)
{
    char *text = apr_pcalloc(pool, 100001);

    memset(text, 'x', 100000);
    biz_log(BIZ_LOG_WARN, ENOENT, "%s", text);
    assert_in_range(strlen(last), 7000, 8000);
    assert_non_null(strstr(last, "xxx: No such file or directory"));
    memset(text, '\n', 100000); /* four bytes each once they are escaped */
    biz_log(BIZ_LOG_WARN, ENOENT, "%s", text);
    assert_in_range(strlen(last), 7000, 8000);
    assert_non_null(strstr(last, "\\x0a: No such file or directory"));
    assert_null(strchr(last, '\n'));
}

static void without_a_sink_it_goes_to_stderr(void **state)
{
    char line[200] = "";
    FILE *file = tmpfile();
    int old = dup(2);

    assert_non_null(file);
    dup2(fileno(file), 2);
    biz_log_to(NULL);
    biz_log(BIZ_LOG_NOTICE, 0,
            "BZ0199: "
            "hello\nworld");
    biz_log_to(keep);
    fflush(stderr);
    dup2(old, 2);
    close(old);
    rewind(file);
    assert_non_null(fgets(line, sizeof(line), file));
    assert_string_equal(line, "notice: BZ0199: hello\\x0aworld\n");
    assert_null(fgets(line, sizeof(line), file));
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(a_line_has_its_number_and_its_reason),
        CORE_TEST(nobody_begins_a_line_of_his_own),
        CORE_TEST(a_long_line_is_cut_and_keeps_its_reason),
        CORE_TEST(without_a_sink_it_goes_to_stderr),
    };

    core_start();
    biz_log_to(keep);
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
