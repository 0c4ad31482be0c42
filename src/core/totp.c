/* totp.c: see totp.h. Called by auth/factor.c and the handlers of /auth/2fa; the MAC is crypto.c's.
 * It must not log: all it sees is secret. */
#include "totp.h"

#include <string.h>
#include <apr_strings.h>

#include "crypto.h"
#include "random.h"
#include "str.h"

static const char base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

enum { SECRET_CHARS = TOTP_SECRET_LEN * 8 / 5, MODULUS = 1000000 };

const char *totp_secret_make(apr_pool_t *pool)
{
    unsigned char bytes[TOTP_SECRET_LEN];
    char *text = apr_palloc(pool, SECRET_CHARS + 1);
    int i, bit;

    biz_random(bytes, sizeof(bytes));
    for (i = 0; i < SECRET_CHARS; i++) {
        bit = i * 5;
        text[i] = base32[((bytes[bit / 8] << 8 |
                           (bit / 8 + 1 < TOTP_SECRET_LEN ? bytes[bit / 8 + 1] : 0)) >>
                          (11 - bit % 8)) &
                         31];
    }
    text[SECRET_CHARS] = '\0';
    biz_wipe(bytes, sizeof(bytes));
    return text;
}

/* Bits that are left over at the end must be none of a whole byte. */
static unsigned char *secret_bytes(apr_pool_t *pool, const char *text, size_t *len)
{
    unsigned char *out = apr_palloc(pool, strlen(text) * 5 / 8 + 1);
    unsigned held = 0, bits = 0;
    const char *place;

    for (*len = 0; *text != '\0'; text++) {
        if ((place = strchr(base32, *text)) == NULL)
            return NULL;
        held = (held << 5 | (unsigned)(place - base32)) & 0xfffU;
        bits += 5;
        if (bits >= 8) {
            bits -= 8;
            out[(*len)++] = (unsigned char)(held >> bits);
        }
    }
    return *len > 0 ? out : NULL;
}

/* RFC 4226 section 5.3. */
static void code_of(const unsigned char *key, size_t key_len, int64_t step,
                    char out[TOTP_DIGITS + 1])
{
    unsigned char counter[8], mac[BIZ_SHA1_LEN];
    uint32_t number;
    int i, at;

    for (i = 0; i < 8; i++)
        counter[i] = (unsigned char)((uint64_t)step >> (56 - 8 * i));
    biz_hmac_sha1(key, key_len, counter, sizeof(counter), mac);
    at = mac[BIZ_SHA1_LEN - 1] & 15;
    number = ((uint32_t)(mac[at] & 0x7f) << 24 | (uint32_t)mac[at + 1] << 16 |
              (uint32_t)mac[at + 2] << 8 | mac[at + 3]) %
             MODULUS;
    for (i = TOTP_DIGITS - 1; i >= 0; i--) {
        out[i] = (char)('0' + number % 10);
        number /= 10;
    }
    out[TOTP_DIGITS] = '\0';
}

const char *totp_code(apr_pool_t *pool, const char *secret, int64_t step)
{
    char *code = apr_palloc(pool, TOTP_DIGITS + 1);
    size_t len;
    unsigned char *key = secret_bytes(pool, secret, &len);

    if (key == NULL)
        return NULL;
    code_of(key, len, step, code);
    biz_wipe(key, len);
    return code;
}

int64_t totp_step_of(apr_pool_t *pool, const char *secret, const char *code, apr_time_t now,
                     int64_t after)
{
    int64_t present = apr_time_sec(now) / TOTP_STEP_SECONDS, found = -1, step;
    char expected[TOTP_DIGITS + 1];
    size_t len;
    unsigned char *key = secret_bytes(pool, secret, &len);

    if (key == NULL)
        return -1;
    for (step = present + TOTP_DRIFT_STEPS; step >= present - TOTP_DRIFT_STEPS; step--) {
        code_of(key, len, step, expected);
        if (biz_same_text(expected, code) && (found < 0 || (found <= after && step > after)))
            found = step;
    }
    biz_wipe(key, len);
    biz_wipe(expected, sizeof(expected));
    return found;
}

const char *totp_uri(apr_pool_t *pool, const char *secret, const char *issuer, const char *account)
{
    const char *name = biz_percent_encode(pool, issuer);

    return apr_psprintf(pool,
                        "otpauth://totp/%s:%s?secret=%s&issuer=%s&algorithm=SHA1&digits=%d"
                        "&period=%d",
                        name, biz_percent_encode(pool, account), secret, name, TOTP_DIGITS,
                        TOTP_STEP_SECONDS);
}
