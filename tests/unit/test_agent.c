/* test_agent.c: auth/agent.c. What browsers and programs send, in words. */
#include "core_test.h"
#include "auth/agent.h"

#define MOZILLA "Mozilla/5.0 "
#define WEBKIT " AppleWebKit/537.36 (KHTML, like Gecko) "

static void names_browser_and_system(void **state)
{
    static const struct {
        const char *agent, *words;
    } cases[] = {
        {MOZILLA "(Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
         "Firefox on Windows"},
        {MOZILLA "(X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Linux"},
        {MOZILLA "(Macintosh; Intel Mac OS X 10_15_7)" WEBKIT "Chrome/126.0.0.0 Safari/537.36",
         "Chrome on Mac"},
        {MOZILLA "(Windows NT 10.0; Win64; x64)" WEBKIT "Chrome/126.0 Safari/537.36 Edg/126.0",
         "Edge on Windows"},
        {MOZILLA "(Windows NT 10.0)" WEBKIT "Chrome/125.0 Safari/537.36 OPR/111.0",
         "Opera on Windows"},
        {MOZILLA "(Linux; Android 14; Pixel 8)" WEBKIT "Chrome/126.0 Mobile Safari/537.36",
         "Chrome on Android"},
        {MOZILLA "(Linux; Android 14; SM-S911B)" WEBKIT
                 "SamsungBrowser/25.0 Chrome/121.0 Mobile Safari/537.36",
         "Samsung Internet on Android"},
        {MOZILLA "(Android 14; Mobile; rv:128.0) Gecko/128.0 Firefox/128.0", "Firefox on Android"},
        {MOZILLA "(iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
                 "Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
         "Safari on iPhone"},
        {MOZILLA "(iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 CriOS/126.0 Mobile/15E148 "
                 "Safari/604.1",
         "Chrome on iPad"},
        {MOZILLA "(iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605 FxiOS/127.0 "
                 "Safari/605.1",
         "Firefox on iPhone"},
        {MOZILLA "(Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
                 "Version/17.5 Safari/605.1.15",
         "Safari on Mac"},
        {MOZILLA "(X11; CrOS x86_64 14541.0.0)" WEBKIT "Chrome/126.0 Safari/537.36",
         "Chrome on ChromeOS"},
        {MOZILLA "(iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15", "iPhone"},
        {"Chrome/126.0", "Chrome"},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(agent_words(pool, cases[i].agent), cases[i].words);
}

static void names_other_programs_by_their_own_word(void **state)
{
    static const struct {
        const char *agent, *words;
    } cases[] = {
        {"curl/7.88.1", "curl"},
        {"okhttp/4.12.0", "okhttp"},
        {"PortalApp/3.1 (Android 14)", "PortalApp"},
        {"python-requests/2.31", "python-requests"},
        {"Mozilla/5.0", "Mozilla"},
        {"x", "x"},
    };

    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(agent_words(pool, cases[i].agent), cases[i].words);
}

static void says_nothing_of_nothing(void **state)
{
    char *long_word = apr_palloc(pool, 201);

    assert_null(agent_words(pool, NULL));
    assert_null(agent_words(pool, ""));
    assert_null(agent_words(pool, " x"));
    assert_null(agent_words(pool, "(x)"));
    memset(long_word, 'y', 200);
    long_word[200] = '\0';
    assert_int_equal(strlen(agent_words(pool, long_word)), 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(names_browser_and_system),
        CORE_TEST(names_other_programs_by_their_own_word),
        CORE_TEST(says_nothing_of_nothing),
    };

    core_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
