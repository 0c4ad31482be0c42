/* webauthn.c: see webauthn.h. Called by auth/passkey.c and the fuzzers with what anybody may have
 * sent. It must not log: what it sees is of one person. */
#include "webauthn.h"

#include <string.h>
#include <apr_strings.h>
#include <fido.h>
#include <fido/eddsa.h>
#include <fido/es256.h>
#include <fido/rs256.h>

#include "attestation.h"
#include "crypto.h"
#include "str.h"
#include "valid.h"

const int webauthn_algorithms[] = {COSE_ES256, COSE_EDDSA, COSE_RS256, 0};

enum {
    CREDENTIAL_ID_MAX = 1023, /* level 2, section 4: credential ID */
    DATA_MAX = 8192,
    CLIENT_DATA_DEPTH = 8,
    FIXED_LEN = 37, /* hash of the party's id, flags, counter */
    AAGUID_LEN = 16,
    USER_PRESENT = 1,
    USER_VERIFIED = 4
};

static apr_status_t refuse(const char **why, const char *reason)
{
    *why = reason;
    return APR_EINVAL;
}

/* ---- pages ---- */

static int is_below(const char *host, size_t len, const char *id)
{
    size_t id_len = strlen(id);

    return len >= id_len && !memcmp(host + len - id_len, id, id_len) &&
           (len == id_len || host[len - id_len - 1] == '.');
}

apr_array_header_t *webauthn_origins(apr_pool_t *pool, const char *id,
                                     const apr_array_header_t *origins)
{
    apr_array_header_t *list = apr_array_make(pool, 2, sizeof(const char *));
    int i;

    for (i = 0; i < origins->nelts; i++) {
        const char *origin = APR_ARRAY_IDX(origins, i, const char *);
        const char *host = strstr(origin, "://");

        if (host == NULL || (strncmp(origin, "https:", 6) != 0 && !biz_url_is_loopback(origin)))
            continue;
        host += 3;
        if (is_below(host, strcspn(host, ":/"), id))
            APR_ARRAY_PUSH(list, const char *) = origin;
    }
    return list;
}

const char *webauthn_id(apr_pool_t *pool, const char *domain, const char *url, const char **why)
{
    const char *host = strstr(url, "://") + 3;
    size_t len = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/");

    host = apr_pstrmemdup(pool, host, len);
    if (domain == NULL)
        return host;
    domain = biz_lower(pool, domain);
    if (!is_below(host, len, domain))
        *why = apr_psprintf(pool,
                            "BizApiPasskeyDomain: '%s': must be the host of BizApiFrontendURL, %s, "
                            "or a domain above it",
                            domain, host);
    return domain;
}

static int is_our_page(const webauthn_party *party, const char *origin)
{
    int i;

    for (i = 0; origin != NULL && i < party->origins->nelts; i++)
        if (!strcmp(APR_ARRAY_IDX(party->origins, i, const char *), origin))
            return 1;
    return 0;
}

/* ---- the answer's form ---- */

static const unsigned char *bytes_of(apr_pool_t *pool, const biz_json *object, const char *name,
                                     size_t *len)
{
    const char *text = biz_json_str(object, name);

    *len = 0;
    return text != NULL && strlen(text) <= DATA_MAX
               ? biz_b64url_decode(pool, text, strlen(text), len)
               : NULL;
}

/* Sections 7.1 and 7.2, steps 5 to 13: the client data. A token binding is not asked for. */
static apr_status_t client_data_read(apr_pool_t *pool, const webauthn_party *party,
                                     webauthn_ceremony ceremony, webauthn_answer *answer,
                                     const char **why)
{
    const char *type;
    biz_json *data;
    size_t position;

    if (biz_json_parse(pool, (const char *)answer->client_data, answer->client_data_len,
                       CLIENT_DATA_DEPTH, &data, &position) != APR_SUCCESS ||
        biz_json_kind(data) != BIZ_JSON_OBJECT)
        return refuse(why, "the client data is not JSON");
    type = biz_json_str(data, "type");
    if (type == NULL ||
        strcmp(type, ceremony == WEBAUTHN_CREATE ? "webauthn.create" : "webauthn.get") != 0)
        return refuse(why, "it was made for another purpose");
    if (!is_our_page(party, biz_json_str(data, "origin")))
        return refuse(why, "it was made on a page that is not one of ours");
    if (biz_json_bool(data, "crossOrigin", 0))
        return refuse(why, "it was made inside another site's page");
    answer->challenge = biz_json_str(data, "challenge");
    return answer->challenge != NULL ? APR_SUCCESS : refuse(why, "it answers no challenge");
}

apr_status_t webauthn_read(apr_pool_t *pool, const webauthn_party *party,
                           webauthn_ceremony ceremony, const biz_json *credential,
                           webauthn_answer *answer, const char **why)
{
    const biz_json *response = biz_json_get(credential, "response");
    const char *id = biz_json_str(credential, "id"), *raw = biz_json_str(credential, "rawId");
    const char *type = biz_json_str(credential, "type");
    const unsigned char *handle;
    size_t len;

    memset(answer, 0, sizeof(*answer));
    if (type == NULL || strcmp(type, "public-key") != 0)
        return refuse(why, "its type is not public-key");
    if (id == NULL || bytes_of(pool, credential, "id", &len) == NULL || len == 0 ||
        len > CREDENTIAL_ID_MAX || (raw != NULL && strcmp(raw, id) != 0))
        return refuse(why, "its id is not valid");
    answer->credential_id = id;
    answer->client_data = bytes_of(pool, response, "clientDataJSON", &answer->client_data_len);
    answer->data = bytes_of(pool, response,
                            ceremony == WEBAUTHN_CREATE ? "attestationObject" : "authenticatorData",
                            &answer->data_len);
    if (answer->client_data == NULL || answer->data == NULL)
        return refuse(why, "its response is not complete");
    if (ceremony == WEBAUTHN_GET) {
        answer->signature = bytes_of(pool, response, "signature", &answer->signature_len);
        if (answer->signature == NULL)
            return refuse(why, "its response is not complete");
        handle = bytes_of(pool, response, "userHandle", &len);
        if (handle != NULL && biz_utf8_count((const char *)handle, len) > 0 &&
            memchr(handle, '\0', len) == NULL)
            answer->user_handle = apr_pstrmemdup(pool, (const char *)handle, len);
    }
    return client_data_read(pool, party, ceremony, answer, why);
}

/* ---- a new credential ---- */

/* Section 6.1: what stands behind the fixed part is CBOR, the key's after its id. */
static int is_sound(const unsigned char *auth_data, size_t len, int has_key)
{
    size_t at = FIXED_LEN;

    if (has_key) {
        if (len < FIXED_LEN + AAGUID_LEN + 2)
            return 0;
        at += AAGUID_LEN;
        at += 2 + ((size_t)auth_data[at] << 8 | auth_data[at + 1]);
    }
    return len >= at && attestation_claims_fit(auth_data + at, len - at);
}

static int is_for_party(const webauthn_party *party, const unsigned char *auth_data, size_t len)
{
    unsigned char hash[BIZ_SHA256_LEN];

    biz_sha256(party->id, strlen(party->id), hash);
    return len > sizeof(hash) && !memcmp(auth_data, hash, sizeof(hash));
}

/* The authenticator data under the algorithm of its key, which libfido2 wants to be told. */
static fido_cred_t *cred_of(const attestation *made)
{
    fido_cred_t *cred;
    int i;

    for (i = 0; webauthn_algorithms[i] != 0; i++) {
        cred = fido_cred_new();
        if (cred != NULL && fido_cred_set_type(cred, webauthn_algorithms[i]) == FIDO_OK &&
            fido_cred_set_authdata_raw(cred, made->auth_data, made->auth_data_len) == FIDO_OK &&
            fido_cred_id_len(cred) > 0 && fido_cred_pubkey_len(cred) > 0)
            return cred;
        fido_cred_free(&cred);
    }
    return NULL;
}

/* Section 8.2, the case without certificates. */
static int signed_itself(fido_cred_t *cred, const webauthn_party *party,
                         const webauthn_answer *answer, const attestation *made)
{
    return made->sig == NULL || (made->sig_algorithm == fido_cred_type(cred) &&
                                 fido_cred_set_fmt(cred, "packed") == FIDO_OK &&
                                 fido_cred_set_rp(cred, party->id, NULL) == FIDO_OK &&
                                 fido_cred_set_clientdata(cred, answer->client_data,
                                                          answer->client_data_len) == FIDO_OK &&
                                 fido_cred_set_sig(cred, made->sig, made->sig_len) == FIDO_OK &&
                                 fido_cred_verify_self(cred) == FIDO_OK);
}

/* A public key in the form of libfido2; *free_ gives it back. NULL where it is no key, such as a
 * point that is not on the curve. */
typedef union {
    es256_pk_t *es256;
    eddsa_pk_t *eddsa;
    rs256_pk_t *rs256;
} public_key;

static int key_load(const webauthn_key *key, const unsigned char *bytes, size_t len,
                    public_key *out)
{
    switch (key->algorithm) {
    case COSE_ES256:
        out->es256 = es256_pk_new();
        return out->es256 != NULL && es256_pk_from_ptr(out->es256, bytes, len) == FIDO_OK;
    case COSE_EDDSA:
        out->eddsa = eddsa_pk_new();
        return out->eddsa != NULL && eddsa_pk_from_ptr(out->eddsa, bytes, len) == FIDO_OK;
    case COSE_RS256:
        out->rs256 = rs256_pk_new();
        return out->rs256 != NULL && rs256_pk_from_ptr(out->rs256, bytes, len) == FIDO_OK;
    default:
        return 0;
    }
}

static void key_free(const webauthn_key *key, public_key *loaded)
{
    switch (key->algorithm) {
    case COSE_ES256:
        es256_pk_free(&loaded->es256);
        break;
    case COSE_EDDSA:
        eddsa_pk_free(&loaded->eddsa);
        break;
    default:
        rs256_pk_free(&loaded->rs256);
        break;
    }
}

apr_status_t webauthn_register(apr_pool_t *pool, const webauthn_party *party,
                               const webauthn_answer *answer, webauthn_key *key, const char **why)
{
    apr_status_t rv = APR_EINVAL;
    fido_cred_t *cred = NULL;
    public_key loaded = {NULL};
    attestation made;

    if (attestation_read(pool, answer->data, answer->data_len, &made) != APR_SUCCESS)
        return refuse(why, "its attestation is none that is asked for");
    if (!is_for_party(party, made.auth_data, made.auth_data_len))
        return refuse(why, "it was made for another site");
    if (is_sound(made.auth_data, made.auth_data_len, 1))
        cred = cred_of(&made);
    if (cred == NULL)
        return refuse(why, "its key is of no kind that is asked for");
    key->id = biz_b64url(pool, fido_cred_id_ptr(cred), fido_cred_id_len(cred));
    key->public_key = biz_b64url(pool, fido_cred_pubkey_ptr(cred), fido_cred_pubkey_len(cred));
    key->algorithm = fido_cred_type(cred);
    key->sign_count = fido_cred_sigcount(cred);
    if (strcmp(key->id, answer->credential_id) != 0)
        *why = "its id is not that of its key";
    else if (!(fido_cred_flags(cred) & USER_PRESENT))
        *why = "nobody was present when it was made";
    else if (!key_load(key, fido_cred_pubkey_ptr(cred), fido_cred_pubkey_len(cred), &loaded))
        *why = "its key is not valid";
    else if (!signed_itself(cred, party, answer, &made))
        *why = "its attestation is not signed by its key";
    else
        rv = APR_SUCCESS;
    key_free(key, &loaded);
    fido_cred_free(&cred);
    return rv;
}

/* ---- a sign-in ---- */

apr_status_t webauthn_verify(apr_pool_t *pool, const webauthn_party *party,
                             const webauthn_answer *answer, const webauthn_key *key,
                             int64_t *sign_count, int *verified, const char **why)
{
    fido_assert_t *claim = fido_assert_new();
    public_key loaded = {NULL};
    unsigned char *bytes;
    size_t len;
    apr_status_t rv = APR_EINVAL;

    bytes = biz_b64url_decode(pool, key->public_key, strlen(key->public_key), &len);
    if (claim == NULL || bytes == NULL || !key_load(key, bytes, len, &loaded))
        *why = "its key cannot be read";
    else if (!is_for_party(party, answer->data, answer->data_len))
        *why = "it was made for another site";
    else if (!is_sound(answer->data, answer->data_len, 0) ||
             fido_assert_set_count(claim, 1) != FIDO_OK ||
             fido_assert_set_rp(claim, party->id) != FIDO_OK ||
             fido_assert_set_clientdata(claim, answer->client_data, answer->client_data_len) !=
                 FIDO_OK ||
             fido_assert_set_authdata_raw(claim, 0, answer->data, answer->data_len) != FIDO_OK ||
             fido_assert_set_sig(claim, 0, answer->signature, answer->signature_len) != FIDO_OK ||
             fido_assert_set_up(claim, FIDO_OPT_TRUE) != FIDO_OK)
        *why = "its response is malformed";
    else if (!(fido_assert_flags(claim, 0) & USER_PRESENT))
        *why = "nobody was present when it was made";
    else if (fido_assert_verify(claim, 0, key->algorithm, loaded.es256) != FIDO_OK)
        *why = "its signature is wrong";
    else
        rv = APR_SUCCESS;
    if (rv == APR_SUCCESS) {
        *sign_count = fido_assert_sigcount(claim, 0);
        *verified = (fido_assert_flags(claim, 0) & USER_VERIFIED) != 0;
    }
    key_free(key, &loaded);
    fido_assert_free(&claim);
    return rv;
}
