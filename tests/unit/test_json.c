/* test_json.c: core/json.c; the acceptance rows J-1 to J-8 as far as the parser decides them. */
#include "core_test.h"
#include <pthread.h>

static apr_status_t parse_len(const char *text, size_t len, int depth, size_t *position)
{
    biz_json *value = (biz_json *)&len;
    apr_status_t status = biz_json_parse(pool, text, len, depth, &value, position);

    if (status == APR_SUCCESS) {
        assert_non_null(value);
    } else {
        assert_int_equal(status, APR_EINVAL);
        assert_null(value);
    }
    return status;
}

#define PARSE(text) parse_len(text, sizeof(text) - 1, 16, NULL)

static biz_json *parsed(const char *text)
{
    biz_json *value;

    assert_int_equal(biz_json_parse(pool, text, strlen(text), 16, &value, NULL), APR_SUCCESS);
    return value;
}

static void what_is_no_json_is_refused(void **state) /* J-1 */
{
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "}",
        "[",
        "{\"a\":1",
        "{\"a\":1,}",
        "[1,]",
        "{a:1}",
        "{'a':1}",
        "['a']",
        "/* c */ {}",
        "{} // c",
        "{\"a\":1} {\"b\":2}",
        "{}x",
        "{}]",
        "[01]",
        "[1.]",
        "[.5]",
        "[+1]",
        "[-]",
        "[0x10]",
        "[1e]",
        "[NaN]",
        "[Infinity]",
        "[-Infinity]",
        "[True]",
        "[nul]",
        "{\"a\"}",
        "{\"a\":}",
        "{:1}",
        "{1:1}",
        "{\"a\" 1}",
        "[1 2]",
        "[\"a]",
        "[\"\\x\"]",
        "[\"\\u12\"]",
        "\xef\xbb\xbf{}",
        "[}",
        "{]",
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        if (parse_len(bad[i], strlen(bad[i]), 16, NULL) == APR_SUCCESS) {
            fail_msg("accepted: %s", bad[i]);
        }
    }
    assert_int_equal(PARSE("{\0}"), APR_EINVAL);
    assert_int_equal(PARSE("{}\0"), APR_EINVAL);
    assert_int_equal(PARSE("\xff\xfe{\0}\0"), APR_EINVAL); /* UTF-16 */
    assert_int_equal(PARSE("{\0\"\0a\0"), APR_EINVAL);
    assert_int_equal(parse_len(NULL, 0, 16, NULL), APR_EINVAL);
    assert_int_equal(PARSE(" \t\r\n{ \"a\" : [ 1 , 2 ] } \n"), APR_SUCCESS);
    /* Only the length counts. */
    assert_int_equal(parse_len("{}}", 2, 16, NULL), APR_SUCCESS);
}

static void duplicate_keys_are_refused(void **state) /* J-2 */
{
    assert_int_equal(PARSE("{\"role\":1,\"role\":2}"), APR_EINVAL);
    assert_int_equal(PARSE("{\"role\":1,\"\\u0072ole\":2}"), APR_EINVAL);
    assert_int_equal(PARSE("{\"a\":{\"b\":1,\"b\":1}}"), APR_EINVAL);
    assert_int_equal(PARSE("{\"role\":1,\"Role\":2}"), APR_SUCCESS);
    assert_int_equal(PARSE("{\"a\":{\"a\":1}}"), APR_SUCCESS);
}

static void text_that_is_not_clean_utf8_is_refused(void **state) /* J-3, J-4 */
{
    assert_int_equal(PARSE("[\"\xff\"]"), APR_EINVAL);
    assert_int_equal(PARSE("[\"\xc3\"]"), APR_EINVAL);
    assert_int_equal(PARSE("[\"\xc0\xaf\"]"), APR_EINVAL);
    assert_int_equal(PARSE("[\"\xed\xa0\x80\"]"), APR_EINVAL);
    assert_int_equal(PARSE("[\"\xf4\x90\x80\x80\"]"), APR_EINVAL);
    assert_int_equal(PARSE("{\"\xff\":1}"), APR_EINVAL);
    assert_int_equal(PARSE("[\"\\ud800\"]"), APR_EINVAL);
    assert_int_equal(PARSE("[\"\\udc00\"]"), APR_EINVAL);
    assert_int_equal(PARSE("[\"\\ud800\\u0041\"]"), APR_EINVAL);
    assert_int_equal(PARSE("[\"\\u0000\"]"), APR_EINVAL);
    assert_int_equal(PARSE("[\"a\\u0000b\"]"), APR_EINVAL);
    assert_int_equal(PARSE("{\"\\u0000\":1}"), APR_EINVAL);
    assert_int_equal(PARSE("{\"a\\u0000\":1}"), APR_EINVAL);
    assert_int_equal(PARSE("[\"a\0b\"]"), APR_EINVAL);
    assert_int_equal(PARSE("[\"a\nb\"]"), APR_EINVAL);
    assert_int_equal(PARSE("[\"\x1f\"]"), APR_EINVAL);
    assert_int_equal(PARSE("[\"\\ud83d\\ude00 \xf0\x9f\x98\x80 \\n\"]"), APR_SUCCESS);
}

static void the_top_is_an_object_or_an_array(void **state) /* J-5 */
{
    assert_int_equal(PARSE("\"a\""), APR_EINVAL);
    assert_int_equal(PARSE("1"), APR_EINVAL);
    assert_int_equal(PARSE("null"), APR_EINVAL);
    assert_int_equal(PARSE("true"), APR_EINVAL);
    assert_int_equal(PARSE("[]"), APR_SUCCESS);
    assert_int_equal(PARSE("{}"), APR_SUCCESS);
}

static char *nested(const char *open, const char *shut, int depth)
{
    char *text = apr_palloc(pool, (size_t)depth * (strlen(open) + strlen(shut)) + 1);
    char *at = text;

    for (int i = 0; i < depth; i++) {
        at = apr_cpystrn(at, open, strlen(open) + 1);
    }
    for (int i = 0; i < depth; i++) {
        at = apr_cpystrn(at, shut, strlen(shut) + 1);
    }
    return text;
}

static void depth_is_bounded_before_parsing(void **state) /* J-6 */
{
    static const int deep[] = {17, 33, 2049, 10000, 200000};
    size_t position;
    const char *text = nested("[", "]", 16);

    assert_int_equal(parse_len(text, strlen(text), 16, NULL), APR_SUCCESS);
    text = "{\"a\":[{\"a\":[1]}]}";
    assert_int_equal(parse_len(text, strlen(text), 4, NULL), APR_SUCCESS);
    assert_int_equal(parse_len(text, strlen(text), 3, &position), APR_EINVAL);
    assert_int_equal(position, 11); /* the bracket that was one too many */
    for (size_t i = 0; i < COUNT(deep); i++) {
        text = nested("[", "]", deep[i]);
        assert_int_equal(parse_len(text, strlen(text), 16, &position), APR_EINVAL);
        assert_int_equal(position, 16);
        /* Never closed: the same, and the rest is not looked at. */
        assert_int_equal(parse_len(text, (size_t)deep[i], 16, &position), APR_EINVAL);
        assert_int_equal(position, 16);
    }
    /* Brackets in strings do not nest, also behind escaped quotes. */
    text = "[\"[[[[[[[[[[[[[[[[[[[[[{{{\",\"\\\"[[[[[[[[[[[[[[[[[[[[\",\"\\\\\",\"[\"]";
    assert_int_equal(parse_len(text, strlen(text), 1, NULL), APR_SUCCESS);
    /* Many beside each other are not deep. */
    text = "";
    for (int i = 0; i < 50; i++) {
        text = apr_pstrcat(pool, text, i ? ",[]" : "[]", NULL);
    }
    text = apr_pstrcat(pool, "[", text, "]", NULL);
    assert_int_equal(parse_len(text, strlen(text), 2, NULL), APR_SUCCESS);
}

static void numbers_beyond_the_machine_are_refused(void **state) /* J-7 */
{
    biz_json *v = parsed("{\"max\":9223372036854775807,\"min\":-9223372036854775808}");

    assert_true(biz_json_int(v, "max", 0) == INT64_MAX);
    assert_true(biz_json_int(v, "min", 0) == INT64_MIN);
    assert_int_equal(PARSE("[9223372036854775808]"), APR_EINVAL);
    assert_int_equal(PARSE("[-9223372036854775809]"), APR_EINVAL);
    assert_int_equal(PARSE("[1e999]"), APR_EINVAL);
    assert_int_equal(PARSE("[-1e999]"), APR_EINVAL);
}

static void nothing_is_taken_for_an_integer_that_is_none(void **state) /* J-8 */
{
    biz_json *v = parsed("{\"r\":1.0,\"e\":1e2,\"s\":\"1\",\"b\":true,\"n\":null,\"i\":7}");

    assert_int_equal(biz_json_int(v, "r", -1), -1);
    assert_int_equal(biz_json_int(v, "e", -1), -1);
    assert_int_equal(biz_json_int(v, "s", -1), -1);
    assert_int_equal(biz_json_int(v, "b", -1), -1);
    assert_int_equal(biz_json_int(v, "n", -1), -1);
    assert_int_equal(biz_json_int(v, "absent", -1), -1);
    assert_int_equal(biz_json_int(v, "i", -1), 7);
    assert_int_equal(biz_json_kind(biz_json_get(v, "r")), BIZ_JSON_REAL);
    assert_int_equal(biz_json_kind(biz_json_get(v, "e")), BIZ_JSON_REAL);
}

static void trouble_is_located_and_never_quoted(void **state)
{
    size_t position = 99;

    assert_int_equal(parse_len("{\"a\":1,\"b\":x}", 13, 16, &position), APR_EINVAL);
    assert_in_range(position, 11, 13);
    assert_int_equal(parse_len("{}", 2, 16, &position), APR_SUCCESS);
    assert_int_equal(position, 0);
}

static void looking_never_coerces(void **state)
{
    biz_json *v = parsed("{\"s\":\"x\",\"t\":true,\"f\":false,\"a\":[1,\"two\"],\"o\":{\"k\":1},"
                         "\"n\":null}");

    assert_string_equal(biz_json_str(v, "s"), "x");
    assert_null(biz_json_str(v, "t"));
    assert_null(biz_json_str(v, "n"));
    assert_null(biz_json_str(v, "absent"));
    assert_null(biz_json_str(biz_json_get(v, "a"), "s"));
    assert_null(biz_json_str(NULL, "s"));
    assert_int_equal(biz_json_bool(v, "t", -1), 1);
    assert_int_equal(biz_json_bool(v, "f", -1), 0);
    assert_int_equal(biz_json_bool(v, "s", -1), -1);
    assert_true(biz_json_is_true(biz_json_get(v, "t")));
    assert_false(biz_json_is_true(biz_json_get(v, "f")));
    assert_false(biz_json_is_true(NULL));
    assert_string_equal(biz_json_str_value(biz_json_at(biz_json_get(v, "a"), 1)), "two");
    assert_int_equal(biz_json_int_value(biz_json_at(biz_json_get(v, "a"), 0)), 1);
    assert_null(biz_json_at(biz_json_get(v, "a"), 2));
    assert_int_equal(biz_json_size(biz_json_get(v, "a")), 2);
    assert_int_equal(biz_json_size(v), 6);
    assert_int_equal(biz_json_size(biz_json_get(v, "s")), 0);
    assert_int_equal(biz_json_size(NULL), 0);
    assert_int_equal(biz_json_kind(NULL), BIZ_JSON_NULL);
    assert_int_equal(biz_json_kind(biz_json_get(v, "n")), BIZ_JSON_NULL);
    assert_int_equal(biz_json_kind(biz_json_get(v, "f")), BIZ_JSON_BOOL);
    assert_int_equal(biz_json_kind(biz_json_get(v, "s")), BIZ_JSON_STRING);
    assert_int_equal(biz_json_kind(biz_json_get(v, "a")), BIZ_JSON_ARRAY);
    assert_int_equal(biz_json_kind(v), BIZ_JSON_OBJECT);
}

static void an_object_is_walked_in_its_order(void **state)
{
    biz_json *v = parsed("{\"z\":1,\"a\":2,\"m\":3}");
    const char *key, *keys = "";
    void *iter = NULL;
    biz_json *value;
    int sum = 0;

    while ((key = biz_json_next(v, &iter, &value)) != NULL) {
        keys = apr_pstrcat(pool, keys, key, NULL);
        sum = sum * 10 + (int)biz_json_int_value(value);
    }
    assert_string_equal(keys, "zam");
    assert_int_equal(sum, 123);
    iter = NULL;
    assert_null(biz_json_next(biz_json_object(pool), &iter, NULL));
}

static void making_gives_compact_text_in_order(void **state)
{
    biz_json *o = biz_json_object(pool), *a = biz_json_array(pool);
    size_t len;
    const char *text;

    biz_json_set_str(o, "z", "q\"\\\n\x01\xc3\xa4/");
    biz_json_set_str(o, "none", NULL);
    biz_json_set_str(o, "broken", "\xff");
    biz_json_set_int(o, "i", INT64_MIN);
    biz_json_set_bool(o, "t", 5);
    biz_json_set_bool(o, "f", 0);
    biz_json_set_time(o, "at", 1792915200999999);
    biz_json_set_time(o, "never", 0);
    biz_json_add_str(a, "x");
    biz_json_add_str(a, NULL);
    biz_json_add(a, biz_json_object(pool));
    biz_json_add(a, NULL);
    biz_json_set(o, "a", a);
    biz_json_set(o, "null", NULL);
    biz_json_set_int(o, "gone", 1);
    biz_json_remove(o, "gone");
    biz_json_remove(o, "was never there");
    text = biz_json_text(pool, o, &len);
    assert_string_equal(
        text, "{\"z\":\"q\\\"\\\\\\n\\u0001\xc3\xa4/\",\"none\":null,\"broken\":null,"
              "\"i\":-9223372036854775808,\"t\":true,\"f\":false,\"at\":\"2026-10-25T08:00:00Z\","
              "\"never\":null,\"a\":[\"x\",null,{},null],\"null\":null}");
    assert_int_equal(len, strlen(text));
    assert_string_equal(biz_json_text(pool, parsed(text), NULL), text);
    biz_json_set_int(o, "z", 1); /* replaced, at its place */
    assert_memory_equal(biz_json_text(pool, o, NULL), "{\"z\":1,", 7);
    assert_string_equal(biz_json_text(pool, NULL, NULL), "null");
    assert_string_equal(biz_json_text(pool, biz_json_at(a, 0), NULL), "\"x\"");
}

/* Values that stand in two objects, and pools that end in any order: for the sanitizers. */
static void values_outlive_whichever_pool_ends_first(void **state)
{
    apr_pool_t *one, *two;
    biz_json *inner, *outer, *both;

    apr_pool_create(&one, NULL);
    apr_pool_create(&two, NULL);
    inner = biz_json_object(one);
    biz_json_set_str(inner, "k", "v");
    outer = biz_json_object(two);
    both = biz_json_array(pool);
    biz_json_set(outer, "inner", inner);
    biz_json_add(both, inner);
    biz_json_add(both, inner);
    apr_pool_destroy(one);
    assert_string_equal(biz_json_text(pool, outer, NULL), "{\"inner\":{\"k\":\"v\"}}");
    apr_pool_destroy(two);
    assert_string_equal(biz_json_text(pool, both, NULL), "[{\"k\":\"v\"},{\"k\":\"v\"}]");
}

static void *read_shared(void *data)
{
    apr_pool_t *mine;
    long bad = 0;

    apr_pool_create(&mine, NULL);
    for (int i = 0; i < 2000; i++) {
        void *iter = NULL;
        biz_json *value = NULL;

        bad += biz_json_int(data, "k", 0) != 7;
        bad += biz_json_next(data, &iter, &value) == NULL || biz_json_int_value(value) != 7;
        bad += strcmp(biz_json_text(mine, data, NULL), "{\"k\":7}") != 0;
        apr_pool_clear(mine);
    }
    apr_pool_destroy(mine);
    return (void *)bad;
}

static void threads_may_read_the_same_value(void **state)
{
    pthread_t threads[8];
    void *bad;
    biz_json *shared = parsed("{\"k\":7}");

    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_shared, shared), 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    assert_string_equal(biz_json_text(pool, shared, NULL), "{\"k\":7}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(what_is_no_json_is_refused),
        CORE_TEST(duplicate_keys_are_refused),
        CORE_TEST(text_that_is_not_clean_utf8_is_refused),
        CORE_TEST(the_top_is_an_object_or_an_array),
        CORE_TEST(depth_is_bounded_before_parsing),
        CORE_TEST(numbers_beyond_the_machine_are_refused),
        CORE_TEST(nothing_is_taken_for_an_integer_that_is_none),
        CORE_TEST(trouble_is_located_and_never_quoted),
        CORE_TEST(looking_never_coerces),
        CORE_TEST(an_object_is_walked_in_its_order),
        CORE_TEST(making_gives_compact_text_in_order),
        CORE_TEST(values_outlive_whichever_pool_ends_first),
        CORE_TEST(threads_may_read_the_same_value),
    };

    core_start();
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
