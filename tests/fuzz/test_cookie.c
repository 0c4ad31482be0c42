/* test_cookie.c: what a browser sends beside a request: the Cookie header, a device token, its own
 * name. One line each. What is taken must be what was made with the keys. */
#include "fuzz.h"

#include "auth/agent.h"
#include "auth/cookie.h"
#include "auth/device.h"
#include "auth/keys.h"
#include "core/str.h"

#define USER "usr_01m85e3a4vbk11nxswja4b6cqn"
#define SESSION "ses_01m85e3a4vbk11nxswja4b6cqn"

static const char *cookie; /* the header */

static const char *header(const biz_req *req, const char *name)
{
    return strcmp(name, "Cookie") == 0 ? cookie : NULL;
}

static biz_req *request(apr_pool_t *pool)
{
    static biz_keys keys;
    static biz_settings settings = {.public_url = "https://portal.example.com"};
    static const biz_env env = {.keys = &keys, .settings = &settings};
    biz_req *req = apr_pcalloc(pool, sizeof(*req));

    memset(keys.device, 5, sizeof(keys.device));
    memset(keys.cookie, 6, sizeof(keys.cookie));
    req->pool = pool;
    req->env = &env;
    req->origin = "https://portal.example.com";
    req->fields = apr_table_make(pool, 2);
    req->header = header;
    return req;
}

/* The cookie that a sign-in sets for SESSION. */
static const char *good_cookie(apr_pool_t *pool)
{
    biz_req *req = request(pool);
    biz_reply reply = {.pool = pool, .headers = apr_table_make(pool, 1)};
    const char *set;

    apr_table_setn(req->fields, "session_cookie", "true");
    cookie_give(req, &reply, SESSION);
    set = apr_table_get(reply.headers, "Set-Cookie");
    FUZZ_CHECK(set != NULL && !strncmp(set, "__Host-bizapi=" SESSION ".", 45));
    return apr_pstrmemdup(pool, set, strcspn(set, ";"));
}

static void check_cookie(apr_pool_t *pool, const char *text)
{
    const char *good = good_cookie(pool), *id;

    cookie = text;
    id = cookie_session(request(pool));
    /* Without the key nobody makes another one than this. */
    FUZZ_CHECK(id == NULL || (!strcmp(id, SESSION) && strstr(text, good + 14) != NULL));
    cookie = apr_pstrcat(pool, "a=b; ", good, "; ", text, NULL);
    id = cookie_session(request(pool));
    FUZZ_CHECK(id != NULL && !strcmp(id, SESSION));
}

static void check_device(apr_pool_t *pool, const char *text)
{
    biz_req *req = request(pool);
    const char *next, *again, *id;

    apr_table_setn(req->fields, "device_token", text);
    if (device_known(req, USER, &id))
        FUZZ_CHECK(!strncmp(text, id, strlen(id)));
    FUZZ_CHECK(!device_known(req, NULL, NULL));
    next = device_token_for(req, USER);
    FUZZ_CHECK(strlen(next) <= 30 + 4 * 23);
    req = request(pool);
    apr_table_setn(req->fields, "device_token", next);
    FUZZ_CHECK(device_known(req, USER, &id));
    again = device_token_for(req, USER);
    FUZZ_CHECK(!strncmp(again, id, strlen(id)) && strlen(again) <= strlen(next));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    char *rest = fuzz_text(pool, data, size);
    const char *text, *words;

    for (int line = 0; line < 3 && (text = fuzz_line(&rest)) != NULL; line++) {
        check_cookie(pool, text);
        check_device(pool, text);
        words = agent_words(pool, text);
        FUZZ_CHECK(words == NULL || (words[0] != '\0' && strlen(words) <= 40));
    }
    return 0;
}
