/* test_webauthn.c: core/webauthn.c against what Chromium made (webauthn_vectors.h), and against
 * each of its bytes changed. What an authenticator that lies in whole words gets is tests/http's.
 */
#include "core_test.h"
#include "webauthn_vectors.h"

#include "core/str.h"
#include "core/webauthn.h"

#define PAGE "http://localhost:18900"

static webauthn_party party_of(const char *id, const char *origin)
{
    apr_array_header_t *origins = apr_array_make(pool, 1, sizeof(const char *));

    APR_ARRAY_PUSH(origins, const char *) = origin;
    return (webauthn_party){.id = id, .origins = origins};
}

static biz_json *json_of(const char *text)
{
    biz_json *json;
    size_t position;

    assert_int_equal(biz_json_parse(pool, text, strlen(text), 8, &json, &position), APR_SUCCESS);
    return json;
}

static void good(size_t i, webauthn_answer *made, webauthn_answer *used, webauthn_key *key)
{
    webauthn_party party = party_of("localhost", PAGE);
    const char *why = NULL;

    assert_int_equal(
        webauthn_read(pool, &party, WEBAUTHN_CREATE, json_of(vectors[i].made), made, &why),
        APR_SUCCESS);
    assert_int_equal(webauthn_register(pool, &party, made, key, &why), APR_SUCCESS);
    assert_int_equal(
        webauthn_read(pool, &party, WEBAUTHN_GET, json_of(vectors[i].used), used, &why),
        APR_SUCCESS);
}

static void what_chromium_made(void **state)
{
    static const size_t key_len[] = {64, 32, 259};

    for (size_t i = 0; i < COUNT(vectors); i++) {
        webauthn_party party = party_of("localhost", PAGE);
        webauthn_answer made, used;
        webauthn_key key;
        const char *why;
        int64_t count = 0;
        int verified = 0;
        size_t len;

        good(i, &made, &used, &key);
        assert_int_equal(key.algorithm, vectors[i].algorithm);
        assert_string_equal(made.challenge, "Y2hhbGxlbmdlIG9mIG1ha2luZw");
        assert_string_equal(used.challenge, "Y2hhbGxlbmdlIG9mIHVzZQ");
        assert_string_equal(used.user_handle, "usr_test");
        assert_string_equal(used.credential_id, key.id);
        assert_non_null(biz_b64url_decode(pool, key.public_key, strlen(key.public_key), &len));
        assert_int_equal(len, key_len[i]);
        assert_int_equal(webauthn_verify(pool, &party, &used, &key, &count, &verified, &why),
                         APR_SUCCESS);
        assert_true(count > key.sign_count);
        assert_int_equal(verified, 1);
    }
}

static void made_for_others(void **state)
{
    static const struct {
        const char *id, *origin;
        int read; /* whether its form is fine */
    } others[] = {{"localhost", "http://localhost:18901", 0},
                  {"localhost", "https://localhost:18900", 0},
                  {"localhost", "http://localhost", 0},
                  {"example.org", PAGE, 1},
                  {"localhos", PAGE, 1}};

    for (size_t v = 0; v < COUNT(vectors); v++)
        for (size_t i = 0; i < COUNT(others); i++) {
            webauthn_party party = party_of(others[i].id, others[i].origin);
            webauthn_answer made, used;
            webauthn_key key, kept;
            const char *why = NULL;
            int64_t count;
            int verified;

            good(v, &made, &used, &kept);
            assert_int_equal(webauthn_read(pool, &party, WEBAUTHN_CREATE, json_of(vectors[v].made),
                                           &made, &why) == APR_SUCCESS,
                             others[i].read);
            assert_int_equal(webauthn_read(pool, &party, WEBAUTHN_GET, json_of(vectors[v].used),
                                           &used, &why) == APR_SUCCESS,
                             others[i].read);
            if (others[i].read) {
                assert_int_equal(webauthn_register(pool, &party, &made, &key, &why), APR_EINVAL);
                assert_int_equal(
                    webauthn_verify(pool, &party, &used, &kept, &count, &verified, &why),
                    APR_EINVAL);
            }
            assert_non_null(why);
            /* The one is not taken for the other. */
            assert_int_equal(
                webauthn_read(pool, &party, WEBAUTHN_GET, json_of(vectors[v].made), &made, &why),
                APR_EINVAL);
        }
}

/* Every bit of the data counts: a changed one is another key's or nobody's signature. */
static void each_bit_of_a_signed_answer(void **state)
{
    for (size_t v = 0; v < COUNT(vectors); v++) {
        webauthn_party party = party_of("localhost", PAGE);
        webauthn_answer made, used;
        webauthn_key key;
        const char *why;
        int64_t count;
        int verified;

        good(v, &made, &used, &key);
        for (size_t bit = 0; bit < 8 * used.data_len; bit += vectors[v].algorithm == -257 ? 7 : 1) {
            webauthn_answer lie = used;
            unsigned char *data = apr_pmemdup(pool, used.data, used.data_len);

            data[bit / 8] ^= (unsigned char)(1 << bit % 8);
            lie.data = data;
            assert_int_equal(webauthn_verify(pool, &party, &lie, &key, &count, &verified, &why),
                             APR_EINVAL);
        }
        used.client_data_len--;
        assert_int_equal(webauthn_verify(pool, &party, &used, &key, &count, &verified, &why),
                         APR_EINVAL);
    }
}

/* Whatever is cut off, the rest is refused, and no byte beyond is read (make asan). */
static void every_beginning(void **state)
{
    for (size_t v = 0; v < COUNT(vectors); v++) {
        webauthn_party party = party_of("localhost", PAGE);
        webauthn_answer made, used;
        webauthn_key key;
        const char *why;
        int64_t count;
        int verified;

        good(v, &made, &used, &key);
        for (size_t len = 0; len < made.data_len; len++) {
            webauthn_answer lie = made;

            lie.data = memcpy(malloc(len + 1), made.data, len);
            lie.data_len = len;
            assert_int_equal(webauthn_register(pool, &party, &lie, &key, &why), APR_EINVAL);
            free((void *)lie.data);
        }
        good(v, &made, &used, &key);
        for (size_t len = 0; len < used.data_len; len++) {
            webauthn_answer lie = used;

            lie.data = memcpy(malloc(len + 1), used.data, len);
            lie.data_len = len;
            assert_int_equal(webauthn_verify(pool, &party, &lie, &key, &count, &verified, &why),
                             APR_EINVAL);
            free((void *)lie.data);
        }
    }
}

static void keys_are_not_mixed_up(void **state)
{
    for (size_t v = 0; v < COUNT(vectors); v++)
        for (size_t w = 0; w < COUNT(vectors); w++) {
            webauthn_party party = party_of("localhost", PAGE);
            webauthn_answer made, used, other;
            webauthn_key key, kept;
            const char *why;
            int64_t count;
            int verified;

            good(v, &made, &used, &key);
            good(w, &made, &other, &kept);
            kept.algorithm = key.algorithm;
            assert_int_equal(webauthn_verify(pool, &party, &used, &kept, &count, &verified, &why),
                             v == w ? APR_SUCCESS : APR_EINVAL);
        }
}

static void pages_that_may_ask(void **state)
{
    static const struct {
        const char *id, *origin;
        int may;
    } rows[] = {{"example.org", "https://example.org", 1},
                {"example.org", "https://www.example.org", 1},
                {"example.org", "https://a.b.example.org:8443", 1},
                {"example.org", "http://example.org", 0},
                {"example.org", "https://badexample.org", 0},
                {"example.org", "https://example.org.evil.test", 0},
                {"example.org", "https://org", 0},
                {"example.org", "https://example.orgx", 0},
                {"localhost", "http://localhost:3000", 1},
                {"localhost", "https://localhost", 1},
                {"localhost", "http://127.0.0.1:3000", 0},
                {"www.example.org", "https://example.org", 0}};

    for (size_t i = 0; i < COUNT(rows); i++) {
        webauthn_party all = party_of(rows[i].id, rows[i].origin);

        assert_int_equal(webauthn_origins(pool, rows[i].id, all.origins)->nelts, rows[i].may);
    }
}

static void the_id(void **state)
{
    const char *why = NULL;

    assert_string_equal(webauthn_id(pool, NULL, "https://a.example.org:8443/app", &why),
                        "a.example.org");
    assert_string_equal(webauthn_id(pool, NULL, "http://[::1]:80", &why), "[::1]");
    assert_string_equal(webauthn_id(pool, "Example.ORG", "https://a.example.org/app", &why),
                        "example.org");
    assert_null(why);
    webauthn_id(pool, "b.example.org", "https://a.example.org", &why);
    assert_non_null(why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(what_chromium_made),
        CORE_TEST(made_for_others),
        CORE_TEST(each_bit_of_a_signed_answer),
        CORE_TEST(every_beginning),
        CORE_TEST(keys_are_not_mixed_up),
        CORE_TEST(pages_that_may_ask),
        CORE_TEST(the_id),
    };

    core_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
