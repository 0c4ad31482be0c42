/* random.c: bytes from the kernel's generator, tokens and ids made of them. Called by everything
 * that needs something unguessable. No other source of randomness may be used anywhere. */
#include "random.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include <apr_strings.h>

#include "log.h"
#include "str.h"

enum { ID_TIME_CHARS = 10, ID_RANDOM_CHARS = 16, ID_RANDOM_BYTES = 10 };

/* getrandom() and not a device: it works without a free descriptor. */
void biz_random(void *out, size_t len)
{
    unsigned char *at = out;

    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);

        if (got < 0) {
            if (errno == EINTR) {
                continue;
            }
            biz_log(BIZ_LOG_ERR, errno,
                    BZ(0151) "the system gives no random bytes; the process ends, because nothing "
                             "it could make would be safe");
            abort();
        }
        at += got;
        len -= (size_t)got;
    }
}

const char *biz_random_token(apr_pool_t *pool)
{
    unsigned char bytes[32];

    biz_random(bytes, sizeof(bytes));
    return biz_b64url(pool, bytes, sizeof(bytes));
}

const char *biz_new_id(apr_pool_t *pool, const char *prefix)
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    unsigned char bytes[ID_RANDOM_BYTES];
    char text[ID_TIME_CHARS + ID_RANDOM_CHARS + 1];
    uint64_t ms = (uint64_t)(apr_time_now() / 1000) & 0xffffffffffffULL;
    uint64_t half;

    for (int i = ID_TIME_CHARS - 1; i >= 0; i--) {
        text[i] = digits[ms & 31];
        ms >>= 5;
    }
    biz_random(bytes, sizeof(bytes));
    for (int h = 0; h < 2; h++) { /* 40 bits are 8 digits */
        half = 0;
        for (int i = 0; i < 5; i++) {
            half = half << 8 | bytes[h * 5 + i];
        }
        for (int i = 7; i >= 0; i--) {
            text[ID_TIME_CHARS + h * 8 + i] = digits[half & 31];
            half >>= 5;
        }
    }
    text[sizeof(text) - 1] = '\0';
    return apr_pstrcat(pool, prefix, "_", text, NULL);
}
