/* test_email.c: e-mail addresses of strangers, and addresses of the configuration with a name. */
#include "fuzz.h"

#include "core/str.h"
#include "core/valid.h"
#include "mail/mail.h"

static void check_address(const char *address)
{
    size_t len = strlen(address);

    FUZZ_CHECK(len >= 5 && len <= 254);
    FUZZ_CHECK(strchr(address, '@') != NULL && strchr(address, '@') == strrchr(address, '@'));
    for (const char *p = address; *p; p++) {
        FUZZ_CHECK(*p > ' ' && *p < 0x7f && !(*p >= 'A' && *p <= 'Z'));
        FUZZ_CHECK(strchr("<>(),;:\\\"[]", *p) == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    const char *text = fuzz_text(pool, data, size), *got = biz_valid_email(pool, text);

    if (got != NULL) {
        const char *again = biz_valid_email(pool, got);

        check_address(got);
        FUZZ_CHECK(again != NULL && !strcmp(again, got)); /* what is normal stays as it is */
    }
    got = mail_address_of(pool, text);
    if (got != NULL)
        FUZZ_CHECK(!strpbrk(got, "\r\n") && strchr(got, '@'));
    got = mail_name_of(pool, text);
    if (got != NULL)
        FUZZ_CHECK(!strpbrk(got, "\r\n"));
    biz_mask_email(pool, text);
    return 0;
}
