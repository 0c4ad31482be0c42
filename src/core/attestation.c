/* attestation.c: see attestation.h. Called by webauthn.c with bytes that anybody may have sent. */
#include "attestation.h"

#include <string.h>
#include <apr_strings.h>
#include <cbor.h>

enum { DATA_MAX = 8192 };

int attestation_claims_fit(const unsigned char *data, size_t len)
{
    size_t at = 0;

    while (at < len) {
        unsigned major = data[at] >> 5, size = data[at] & 31;
        size_t more = size < 24 ? 0 : size <= 27 ? (size_t)1 << (size - 24) : len, i;
        uint64_t value = size;

        at++;
        if (more > len - at)
            return 0;
        for (i = 0, value = more > 0 ? 0 : value; i < more; i++)
            value = value << 8 | data[at++];
        if (major >= 2 && major <= 5 && value > len - at)
            return 0;
        if (major == 2 || major == 3)
            at += value;
    }
    return 1;
}

/* The value under a text key of a definite map; NULL where it is missing or there twice. */
static cbor_item_t *value_of(const cbor_item_t *map, const char *name)
{
    const struct cbor_pair *pairs = cbor_map_handle(map);
    cbor_item_t *found = NULL;
    size_t i;

    for (i = 0; i < cbor_map_size(map); i++) {
        const cbor_item_t *key = pairs[i].key;

        if (!cbor_isa_string(key) || !cbor_string_is_definite(key) ||
            cbor_string_length(key) != strlen(name) ||
            memcmp(cbor_string_handle(key), name, strlen(name)) != 0)
            continue;
        if (found != NULL)
            return NULL;
        found = pairs[i].value;
    }
    return found;
}

static const unsigned char *bytes_of(apr_pool_t *pool, const cbor_item_t *item, size_t *len)
{
    if (item == NULL || !cbor_isa_bytestring(item) || !cbor_bytestring_is_definite(item))
        return NULL;
    *len = cbor_bytestring_length(item);
    return apr_pmemdup(pool, cbor_bytestring_handle(item), *len);
}

static int is_text(const cbor_item_t *item, const char *text)
{
    return item != NULL && cbor_isa_string(item) && cbor_string_is_definite(item) &&
           cbor_string_length(item) == strlen(text) &&
           !memcmp(cbor_string_handle(item), text, strlen(text));
}

static int is_map(const cbor_item_t *item)
{
    return item != NULL && cbor_isa_map(item) && cbor_map_is_definite(item);
}

/* Section 8.2: {"alg": a negative number, "sig": bytes}. */
static int self_statement(apr_pool_t *pool, const cbor_item_t *statement, attestation *out)
{
    const cbor_item_t *algorithm = value_of(statement, "alg");

    if (cbor_map_size(statement) != 2 || algorithm == NULL || !cbor_isa_negint(algorithm) ||
        cbor_get_int(algorithm) > INT32_MAX)
        return 0;
    out->sig_algorithm = -1 - (int64_t)cbor_get_int(algorithm);
    out->sig = bytes_of(pool, value_of(statement, "sig"), &out->sig_len);
    return out->sig != NULL;
}

apr_status_t attestation_read(apr_pool_t *pool, const unsigned char *data, size_t len,
                              attestation *out)
{
    struct cbor_load_result result;
    cbor_item_t *object = NULL, *statement;
    apr_status_t rv = APR_EINVAL;

    memset(out, 0, sizeof(*out));
    if (len <= DATA_MAX && attestation_claims_fit(data, len))
        object = cbor_load(data, len, &result);
    if (object == NULL)
        return rv;
    if (result.read == len && is_map(object) && cbor_map_size(object) == 3 &&
        is_map(statement = value_of(object, "attStmt"))) {
        out->auth_data = bytes_of(pool, value_of(object, "authData"), &out->auth_data_len);
        if (is_text(value_of(object, "fmt"), "none") ? cbor_map_size(statement) == 0
                                                     : is_text(value_of(object, "fmt"), "packed") &&
                                                           self_statement(pool, statement, out))
            rv = out->auth_data != NULL ? APR_SUCCESS : APR_EINVAL;
    }
    cbor_decref(&object);
    return rv;
}
