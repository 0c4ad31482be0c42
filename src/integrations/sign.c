/* sign.c: see sign.h. Called by webhook.c before it believes a word. Every comparison of what was
 * sent with what it should be takes the same time wherever they differ. */
#include "sign.h"

#include <stdlib.h>
#include <string.h>

#include <apr_base64.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include "core/crypto.h"
#include "core/str.h"

enum { HEADER_MAX = 2048, PAIRS_MAX = 200 };

static int is_recent(int64_t seconds, apr_time_t now)
{
    int64_t age = (int64_t)apr_time_sec(now) - seconds;

    return age <= SIGN_AGE_SECONDS && age >= -SIGN_AGE_SECONDS;
}

/* ---- Stripe ---- */

/* The text after "t=" where it is a number and there is one alone. */
static const char *stripe_time(apr_pool_t *pool, const char *header, int64_t *seconds)
{
    const char *found = NULL, *item, *next;

    for (item = header; item; item = next) {
        size_t len = strcspn(item, ",");

        next = item[len] ? item + len + 1 : NULL;
        if (strncmp(item, "t=", 2) == 0) {
            if (found) {
                return NULL;
            }
            found = apr_pstrmemdup(pool, item + 2, len - 2);
        }
    }
    return found && biz_parse_int(found, 0, INT32_MAX * INT64_C(1000), seconds) ? found : NULL;
}

int sign_stripe(apr_pool_t *pool, const char *secret, const char *header, const char *body,
                size_t len, apr_time_t now)
{
    const char *when, *item, *next, *expected;
    unsigned char mac[BIZ_SHA256_LEN];
    int64_t seconds;
    size_t head;
    char *signed_text;
    int fine = 0;

    if (!header || strlen(header) > HEADER_MAX || !(when = stripe_time(pool, header, &seconds)) ||
        !is_recent(seconds, now)) {
        return 0;
    }
    head = strlen(when) + 1;
    signed_text = apr_palloc(pool, head + len + 1);
    memcpy(signed_text, when, head - 1);
    signed_text[head - 1] = '.';
    memcpy(signed_text + head, body ? body : "", len);
    biz_hmac_sha256((const unsigned char *)secret, strlen(secret), signed_text, head + len, mac);
    expected = biz_hex(pool, mac, sizeof(mac));
    for (item = header; item; item = next) {
        size_t n = strcspn(item, ",");

        next = item[n] ? item + n + 1 : NULL;
        if (strncmp(item, "v1=", 3) == 0) {
            fine |= biz_same_text(expected, apr_pstrmemdup(pool, item + 3, n - 3));
        }
    }
    return fine;
}

/* ---- Twilio ---- */

apr_array_header_t *sign_form(apr_pool_t *pool, const char *body, size_t len)
{
    apr_array_header_t *form = apr_array_make(pool, 16, sizeof(sign_pair));
    const char *p = body, *end = body + len;

    while (p < end) {
        const char *stop = memchr(p, '&', (size_t)(end - p)), *equals;
        sign_pair pair = {NULL, ""};

        stop = stop ? stop : end;
        equals = memchr(p, '=', (size_t)(stop - p));
        pair.name = biz_query_decode(pool, p, (size_t)((equals ? equals : stop) - p));
        if (equals) {
            pair.value = biz_query_decode(pool, equals + 1, (size_t)(stop - equals - 1));
        }
        if (!pair.name || !pair.value || form->nelts == PAIRS_MAX) {
            return NULL;
        }
        if (stop > p) {
            APR_ARRAY_PUSH(form, sign_pair) = pair;
        }
        p = stop + 1;
    }
    return form;
}

static int by_name(const void *a_, const void *b_)
{
    const sign_pair *a = a_, *b = b_;
    int order = strcmp(a->name, b->name);

    return order ? order : strcmp(a->value, b->value);
}

/* Names and values one after the other; a pair that comes twice counts once. */
static const char *sorted_text(apr_pool_t *pool, const apr_array_header_t *form)
{
    apr_array_header_t *sorted = apr_array_copy(pool, form);
    apr_array_header_t *texts = apr_array_make(pool, 2 * sorted->nelts + 1, sizeof(const char *));

    qsort(sorted->elts, (size_t)sorted->nelts, sizeof(sign_pair), by_name);
    for (int i = 0; i < sorted->nelts; i++) {
        const sign_pair *pair = &APR_ARRAY_IDX(sorted, i, sign_pair);

        if (i == 0 || by_name(pair, pair - 1) != 0) {
            APR_ARRAY_PUSH(texts, const char *) = pair->name;
            APR_ARRAY_PUSH(texts, const char *) = pair->value;
        }
    }
    return apr_array_pstrcat(pool, texts, '\0');
}

/* The url with its port written out where it has none, and without where it has one. */
static const char *other_port(apr_pool_t *pool, const char *url)
{
    int is_tls = strncmp(url, "https://", 8) == 0;
    const char *host = strstr(url, "://"), *end, *colon;

    host = host ? host + 3 : url;
    end = host + strcspn(host, "/?");
    colon = memchr(host, ':', (size_t)(end - host));
    if (host[0] == '[') {
        const char *bracket = memchr(host, ']', (size_t)(end - host));

        colon = bracket && bracket[1] == ':' ? bracket + 1 : NULL;
    }
    return apr_pstrcat(pool, apr_pstrmemdup(pool, url, (size_t)((colon ? colon : end) - url)),
                       colon    ? ""
                       : is_tls ? ":443"
                                : ":80",
                       end, NULL);
}

static int twilio_signed(apr_pool_t *pool, const char *secret, const char *signature,
                         const char *url, const char *rest)
{
    const char *text = apr_pstrcat(pool, url, rest, NULL);
    unsigned char mac[BIZ_SHA1_LEN];
    char expected[BIZ_SHA1_LEN * 2];

    biz_hmac_sha1((const unsigned char *)secret, strlen(secret), text, strlen(text), mac);
    apr_base64_encode_binary(expected, mac, sizeof(mac));
    return biz_same_text(expected, signature);
}

/* The digest of a body that is no form, where the url has it. */
static int body_is_signed(apr_pool_t *pool, const char *url, const char *body, size_t len)
{
    const char *given = strstr(url, "bodySHA256=");
    unsigned char digest[BIZ_SHA256_LEN];

    if (!given || (given[-1] != '?' && given[-1] != '&')) {
        return 0;
    }
    given += strlen("bodySHA256=");
    given = biz_lower(pool, apr_pstrmemdup(pool, given, strcspn(given, "&#")));
    biz_sha256(body ? body : "", len, digest);
    return biz_same_text(biz_hex(pool, digest, sizeof(digest)), given);
}

int sign_twilio(apr_pool_t *pool, const char *secret, const char *signature, const char *url,
                const apr_array_header_t *form, const char *body, size_t len)
{
    const char *rest = form ? sorted_text(pool, form) : "";

    if (!signature || strlen(signature) > HEADER_MAX ||
        (!form && !body_is_signed(pool, url, body, len))) {
        return 0;
    }
    return twilio_signed(pool, secret, signature, url, rest) |
           twilio_signed(pool, secret, signature, other_port(pool, url), rest);
}

/* ---- SendGrid ---- */

int sign_sendgrid(apr_pool_t *pool, const char *public_key, const char *signature,
                  const char *timestamp, const char *body, size_t len, apr_time_t now)
{
    size_t head = timestamp ? strlen(timestamp) : 0;
    int64_t seconds;
    char *signed_text;

    if (!signature || !timestamp ||
        !biz_parse_int(timestamp, 0, INT32_MAX * INT64_C(1000), &seconds) ||
        !is_recent(seconds, now)) {
        return 0;
    }
    signed_text = apr_palloc(pool, head + len + 1);
    memcpy(signed_text, timestamp, head);
    memcpy(signed_text + head, body ? body : "", len);
    return biz_p256_verify(pool, public_key, signed_text, head + len, signature);
}
