/* test_address.c: the limiter's key of a client address. */
#include <arpa/inet.h>

#include "fuzz.h"

#include "limit/limit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    char *text = fuzz_text(pool, data, size), *zone;
    limit_addr addr, again;
    unsigned char four[4], six[16];
    int parsed = limit_addr_parse(text, &addr), is_four, is_six;
    char shown[INET6_ADDRSTRLEN];

    zone = strchr(text, '%');
    if (zone != NULL)
        *zone = '\0';
    is_four = inet_pton(AF_INET, text, four) == 1;
    is_six = inet_pton(AF_INET6, text, six) == 1;
    if (!parsed)
        return 0;
    FUZZ_CHECK(is_four || is_six);
    FUZZ_CHECK(addr.len > 0 && addr.len <= sizeof(addr.bytes));
    /* The same bytes however it was written. */
    if (is_six) {
        inet_ntop(AF_INET6, six, shown, sizeof(shown));
        FUZZ_CHECK(limit_addr_parse(shown, &again) && again.len == addr.len &&
                   !memcmp(again.bytes, addr.bytes, addr.len));
        /* The second half of an address is the caller's own choice. */
        six[15] ^= 1;
        inet_ntop(AF_INET6, six, shown, sizeof(shown));
        FUZZ_CHECK(limit_addr_parse(shown, &again));
        if (addr.len == 8 && again.len == 8)
            FUZZ_CHECK(!memcmp(again.bytes, addr.bytes, addr.len));
    } else {
        FUZZ_CHECK(addr.len == 4 && !memcmp(addr.bytes, four, 4));
    }
    return 0;
}
