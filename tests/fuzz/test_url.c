/* test_url.c: addresses of the configuration, and those that calls go to: what one check lets
 * through, the next one must take apart in the same way. */
#include "fuzz.h"

#include "core/valid.h"
#include "limit/limit.h"
#include "mail/mail.h"
#include "net/http.h"
#include "net/url.h"
#include "store/store.h"

static void check_base(apr_pool_t *pool, const char *text, biz_url_shape shape)
{
    const char *why = NULL, *url = biz_valid_url(pool, text, shape, &why), *again;
    net_parts parts;

    FUZZ_CHECK((url == NULL) == (why != NULL));
    if (url == NULL)
        return;
    again = biz_valid_url(pool, url, shape, &why);
    FUZZ_CHECK(again != NULL && !strcmp(again, url));
    FUZZ_CHECK(strpbrk(url, " \t\r\n\"<>#?") == NULL && strlen(url) <= 2048);
    if (net_url_split(pool, url, &parts)) {
        FUZZ_CHECK(parts.user == NULL && parts.password == NULL && parts.fragment == NULL);
        FUZZ_CHECK(!biz_url_is_loopback(url) == !parts.loopback);
    }
}

static void check_call(apr_pool_t *pool, const char *text)
{
    int loopback = 0;
    net_parts parts;

    if (net_http_refused(pool, text, &loopback) != NULL)
        return;
    FUZZ_CHECK(net_url_split(pool, text, &parts));
    FUZZ_CHECK(parts.user == NULL && parts.password == NULL);
    FUZZ_CHECK(!strcmp(parts.scheme, "https") || (!strcmp(parts.scheme, "http") && loopback));
    FUZZ_CHECK(loopback == parts.loopback);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    const char *text = fuzz_text(pool, data, size), *why;
    smtp_place place;

    check_base(pool, text, BIZ_URL_ORIGIN);
    check_base(pool, text, BIZ_URL_BASE);
    check_call(pool, text);
    why = net_smtp_place(pool, text, &place);
    if (why == NULL)
        FUZZ_CHECK(place.server != NULL && (place.password == NULL || place.user != NULL));
    limit_redis_url_error(pool, text);
    store_url_error(pool, text);
    mail_spec_error(pool, text);
    return 0;
}
