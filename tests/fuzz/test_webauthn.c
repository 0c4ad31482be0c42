/* test_webauthn.c: passkeys of strangers. The first byte says what the rest is: 'm' and 'u' a
 * credential's JSON (made, used), 'a' an attestation object, 's' authenticator data of 37 bytes and
 * what is after it as a signature. */
#include "fuzz.h"

#include "core/str.h"
#include "core/webauthn.h"

/* A P-256 point, the base point of the curve; nobody knows what it signs. */
#define KEY "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li_hp_m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q"

static webauthn_party party_of_ours(void)
{
    apr_array_header_t *origins = apr_array_make(fuzz_forever(), 1, sizeof(const char *));

    APR_ARRAY_PUSH(origins, const char *) = "http://localhost:18900";
    return (webauthn_party){.id = "localhost", .origins = origins};
}

static void check_key(apr_pool_t *pool, const webauthn_answer *answer, const webauthn_key *key)
{
    size_t len;

    FUZZ_CHECK(!strcmp(key->id, answer->credential_id));
    FUZZ_CHECK(key->algorithm == -7 || key->algorithm == -8 || key->algorithm == -257);
    FUZZ_CHECK(biz_b64url_decode(pool, key->public_key, strlen(key->public_key), &len) != NULL);
    FUZZ_CHECK(len == (key->algorithm == -7 ? 64 : key->algorithm == -8 ? 32 : 259));
}

static void verify(apr_pool_t *pool, const webauthn_party *party, const webauthn_answer *answer)
{
    webauthn_key key = {.id = "AA", .public_key = KEY, .algorithm = -7};
    int64_t count = -1;
    int verified = -1;
    const char *why = NULL;

    FUZZ_CHECK(webauthn_verify(pool, party, answer, &key, &count, &verified, &why) == APR_EINVAL);
    FUZZ_CHECK(why != NULL && count == -1 && verified == -1);
}

static void json(apr_pool_t *pool, const webauthn_party *party, webauthn_ceremony ceremony,
                 const char *text, size_t len)
{
    webauthn_answer answer;
    webauthn_key key;
    biz_json *parsed;
    const char *why = NULL;
    size_t position;

    if (biz_json_parse(pool, text, len, BIZ_JSON_DEPTH, &parsed, &position) != APR_SUCCESS)
        return;
    if (webauthn_read(pool, party, ceremony, parsed, &answer, &why) != APR_SUCCESS) {
        FUZZ_CHECK(why != NULL);
        return;
    }
    FUZZ_CHECK(answer.challenge != NULL && answer.client_data != NULL && answer.data != NULL);
    if (ceremony == WEBAUTHN_GET)
        verify(pool, party, &answer);
    else if (webauthn_register(pool, party, &answer, &key, &why) == APR_SUCCESS)
        check_key(pool, &answer, &key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static webauthn_party party;
    apr_pool_t *pool = fuzz_pool();
    webauthn_answer answer = {
        .credential_id = "AAAA", .client_data = (const unsigned char *)"{}", .client_data_len = 2};
    webauthn_key key;
    const char *why = NULL;

    if (party.id == NULL)
        party = party_of_ours();
    if (size == 0)
        return 0;
    answer.data = data + 1;
    answer.data_len = size - 1;
    switch (data[0]) {
    case 'm':
    case 'u':
        json(pool, &party, data[0] == 'm' ? WEBAUTHN_CREATE : WEBAUTHN_GET, (const char *)data + 1,
             size - 1);
        break;
    case 'a':
        if (webauthn_register(pool, &party, &answer, &key, &why) == APR_SUCCESS)
            check_key(pool, &answer, &key);
        else
            FUZZ_CHECK(why != NULL);
        break;
    case 's':
        answer.data_len = size > 38 ? 37 : size - 1;
        answer.signature = answer.data + answer.data_len;
        answer.signature_len = size - 1 - answer.data_len;
        verify(pool, &party, &answer);
        break;
    default:
        break;
    }
    return 0;
}
