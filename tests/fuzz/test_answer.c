/* test_answer.c: how long a provider asks us to wait, in whatever way it says so: seconds or a date
 * of HTTP (RFC 9110 section 5.6.7), which may be any of three forms or none. */
#include "fuzz.h"

#include <stdlib.h>

#include "integrations/client.h"

enum { DAY_SECONDS = 86400 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    char *text = fuzz_text(pool, data, size);
    apr_table_t *headers = apr_table_make(pool, 1);
    int wait;

    FUZZ_CHECK(client_retry_after(NULL) == 0 && client_retry_after(headers) == 0);
    apr_table_setn(headers, "Retry-After", text);
    wait = client_retry_after(headers);
    FUZZ_CHECK(wait >= 0 && wait <= DAY_SECONDS);
    if (*text != '\0' && strspn(text, "0123456789") == strlen(text) && strlen(text) < 6)
        FUZZ_CHECK(wait == (atoi(text) > DAY_SECONDS ? DAY_SECONDS : atoi(text)));
    if (text[0] == '-')
        FUZZ_CHECK(wait == 0);
    return 0;
}
