/* test_signed.c: what calls itself a webhook: signature headers, forms, JSON, and the tokens of
 * unsubscribe links. The first line is the header, the rest the body. */
#include "fuzz.h"

#include <string.h>

#include <apr_base64.h>
#include <apr_strings.h>

#include "core/crypto.h"
#include "core/str.h"
#include "integrations/sign.h"
#include "outbox/consent.h"

#define SECRET "whsec_of-the-fuzzer"
#define NOW apr_time_from_sec(1790000000)
#define URL "https://a.example/api/v1/webhooks/twilio/status?row=obx_1"
static const unsigned char key[BIZ_KEY_LEN] = "thirty-two bytes of a fuzzer's k";

/* A body signed by whoever has the secret is believed, whatever is in it; one more byte is not. */
static void check_stripe(apr_pool_t *pool, const char *body, size_t len)
{
    char *text = apr_palloc(pool, len + 11 + 1);
    unsigned char mac[BIZ_SHA256_LEN];
    const char *header;

    memcpy(text, "1790000000.", 11);
    memcpy(text + 11, body, len);
    biz_hmac_sha256((const unsigned char *)SECRET, strlen(SECRET), text, len + 11, mac);
    header = apr_pstrcat(pool, "t=1790000000,v1=", biz_hex(pool, mac, sizeof(mac)), NULL);
    FUZZ_CHECK(sign_stripe(pool, SECRET, header, body, len, NOW));
    FUZZ_CHECK(len == 0 || !sign_stripe(pool, SECRET, header, body, len - 1, NOW));
}

static void check_form(apr_pool_t *pool, const char *header, const char *body, size_t len)
{
    apr_array_header_t *form = sign_form(pool, body, len);

    FUZZ_CHECK(!sign_twilio(pool, SECRET, header, URL, NULL, body, len));
    if (!form)
        return;
    FUZZ_CHECK(form->nelts <= 200);
    for (int i = 0; i < form->nelts; i++) {
        const sign_pair *pair = &APR_ARRAY_IDX(form, i, sign_pair);

        FUZZ_CHECK(biz_utf8_count(pair->name, strlen(pair->name)) >= 0);
        FUZZ_CHECK(biz_utf8_count(pair->value, strlen(pair->value)) >= 0);
    }
    FUZZ_CHECK(!sign_twilio(pool, SECRET, header, URL, form, body, len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    const char *end = size ? memchr(data, '\n', size) : NULL, *body;
    size_t line = end ? (size_t)(end - (const char *)data) : size;
    char *header = fuzz_text(pool, data, line);
    size_t len = end ? size - line - 1 : 0;

    body = end ? end + 1 : "";
    FUZZ_CHECK(!sign_stripe(pool, SECRET, header, body, len, NOW));
    /* Whoever chooses the key can sign: no more than not to crash is asked for. */
    sign_sendgrid(pool, header, fuzz_text(pool, (const uint8_t *)body, len), "1790000000", body,
                  len, NOW);
    FUZZ_CHECK(!consent_of_token(pool, key, header));
    check_stripe(pool, body, len);
    check_form(pool, header, body, len);
    return 0;
}
