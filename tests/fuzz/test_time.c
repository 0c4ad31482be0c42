/* test_time.c: instants in RFC 3339, and names of zones and languages. */
#include "fuzz.h"

#include "core/locale.h"
#include "core/time.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    const char *text = fuzz_text(pool, data, size), *tag;
    apr_time_t t, again;

    if (biz_time_parse(text, &t)) {
        const char *shown = biz_time_format(pool, t);

        FUZZ_CHECK(strlen(shown) == BIZ_TIME_SIZE - 1 && biz_time_parse(shown, &again));
        FUZZ_CHECK(t >= again && t - again < APR_USEC_PER_SEC);
        FUZZ_CHECK(biz_format_instant(pool, t, "de", "Europe/Berlin") != NULL);
    }
    tag = biz_locale_canonical(pool, text);
    if (tag != NULL) {
        const char *same = biz_locale_canonical(pool, tag);

        FUZZ_CHECK(same != NULL && !strcmp(same, tag) && strpbrk(tag, "_@ /\\.") == NULL);
    }
    if (biz_zone_is_known(text))
        FUZZ_CHECK(strstr(text, "..") == NULL && text[0] != '/');
    biz_currency_is_known(text);
    return 0;
}
