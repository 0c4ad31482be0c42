/* test_crypto.c: core/crypto.c, with vectors of FIPS 180-4, RFC 4231, RFC 5869 and the GCM
 * specification. */
#include "core_test.h"
#include <pthread.h>
#include <stdatomic.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include "core/crypto.h"
#include "core/str.h"

static void sha256_gives_the_vectors(void **state)
{
    unsigned char out[BIZ_SHA256_LEN];
    char *million = apr_palloc(pool, 1000000);

    assert_string_equal(biz_sha256_hex(pool, ""),
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_string_equal(biz_sha256_hex(pool, "abc"),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_string_equal(
        biz_sha256_hex(pool, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    memset(million, 'a', 1000000);
    biz_sha256(million, 1000000, out);
    assert_string_equal(biz_hex(pool, out, sizeof(out)),
                        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    biz_sha256(NULL, 0, out);
    assert_int_equal(out[0], 0xe3);
}

static void sha1_gives_the_vectors(void **state)
{
    unsigned char out[BIZ_SHA1_LEN];

    (void)state;
    biz_sha1("abc", 3, out);
    assert_string_equal(biz_hex(pool, out, sizeof(out)),
                        "a9993e364706816aba3e25717850c26c9cd0d89d");
    biz_sha1("", 0, out);
    assert_string_equal(biz_hex(pool, out, sizeof(out)),
                        "da39a3ee5e6b4b0d3255bfef95601890afd80709");
}

static void hmac_is(const char *key_hex, const char *data_hex, const char *want)
{
    unsigned char out[BIZ_SHA256_LEN];
    size_t key_len, len;
    unsigned char *key = unhex(key_hex, &key_len);
    unsigned char *data = unhex(data_hex, &len);

    biz_hmac_sha256(key, key_len, data, len, out);
    assert_string_equal(biz_hex(pool, out, sizeof(out)), want);
}

static void hmac_gives_the_vectors(void **state)
{
    char long_key[263];

    /* RFC 4231, cases 1, 2 and 6. */
    hmac_is("0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "4869205468657265",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    hmac_is("4a656665", "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(long_key, 'a', sizeof(long_key));
    long_key[262] = '\0';
    hmac_is(
        long_key,
        "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d2048617368"
        "204b6579204669727374",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    /* No key and no data. */
    hmac_is("", "", "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

/* RFC 5869 case 3 has no salt and no info; its first 32 bytes are one block, as ours. Its input is
 * 22 bytes, ours is 32: so the steps are checked with OpenSSL's own HKDF below. */
static void keys_are_derived_as_hkdf_does(void **state)
{
    static const unsigned char master[BIZ_KEY_LEN] = "0123456789abcdef0123456789abcde";
    static const char *const labels[] = {"", "session", "outbox", "a label of some length 12345"};
    unsigned char ours[BIZ_KEY_LEN], theirs[BIZ_KEY_LEN];

    for (size_t i = 0; i < COUNT(labels); i++) {
        EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
        EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
        OSSL_PARAM params[4] = {
            OSSL_PARAM_construct_utf8_string("digest", (char[]){"SHA256"}, 0),
            OSSL_PARAM_construct_octet_string("key", (void *)master, sizeof(master)),
            OSSL_PARAM_construct_octet_string("info", (void *)labels[i], strlen(labels[i])),
            OSSL_PARAM_construct_end()};

        assert_int_equal(EVP_KDF_derive(ctx, theirs, sizeof(theirs), params), 1);
        biz_derive_key(master, labels[i], ours);
        assert_memory_equal(ours, theirs, sizeof(ours));
        EVP_KDF_CTX_free(ctx);
        EVP_KDF_free(kdf);
    }
}

static void labels_and_masters_give_different_keys(void **state)
{
    unsigned char master[BIZ_KEY_LEN] = {1}, a[BIZ_KEY_LEN], b[BIZ_KEY_LEN];

    biz_derive_key(master, "a", a);
    biz_derive_key(master, "b", b);
    assert_memory_not_equal(a, b, sizeof(a));
    master[31] ^= 1;
    biz_derive_key(master, "a", b);
    assert_memory_not_equal(a, b, sizeof(a));
}

static void comparing_sees_every_difference(void **state)
{
    unsigned char a[64], b[64];

    memset(a, 5, sizeof(a));
    memcpy(b, a, sizeof(b));
    assert_true(biz_same(a, b, sizeof(a)));
    for (size_t i = 0; i < sizeof(a); i++) {
        b[i] ^= 0x80;
        assert_false(biz_same(a, b, sizeof(a)));
        b[i] ^= 0x80;
    }
    assert_true(biz_same(a, "", 0));
    assert_true(biz_same_text("abc", "abc"));
    assert_true(biz_same_text("", ""));
    assert_false(biz_same_text("abc", "abd"));
    assert_false(biz_same_text("abc", "ab"));
    assert_false(biz_same_text("ab", "abc"));
    assert_false(biz_same_text(NULL, "abc"));
    assert_false(biz_same_text(NULL, NULL));
}

static void wiping_leaves_nothing(void **state)
{
    unsigned char data[32], zero[32] = {0};

    memset(data, 7, sizeof(data));
    biz_wipe(data, sizeof(data));
    assert_memory_equal(data, zero, sizeof(data));
}

static const unsigned char key[BIZ_KEY_LEN] = "a key of exactly 32 bytes, yes!";

static void what_is_sealed_opens_again(void **state)
{
    static const char *const plain[] = {"", "x", "a token", "sixteen bytes!!!",
                                        "\xc3\xa4\xf0\x9f\x98\x80 and quite a lot more of it"};

    for (size_t i = 0; i < COUNT(plain); i++) {
        const char *sealed = biz_seal(pool, key, "obx_1", plain[i]);
        size_t len;

        assert_string_equal(biz_open(pool, key, "obx_1", sealed), plain[i]);
        assert_non_null(biz_b64url_decode(pool, sealed, strlen(sealed), &len));
        assert_int_equal(len, 1 + 12 + strlen(plain[i]) + 16);
        if (strlen(plain[i]) > 4) {
            assert_null(strstr(sealed, plain[i]));
        }
        /* A fresh nonce each time. */
        assert_string_not_equal(sealed, biz_seal(pool, key, "obx_1", plain[i]));
    }
    assert_string_equal(biz_open(pool, key, "", biz_seal(pool, key, "", "x")), "x");
}

static void nothing_that_was_changed_opens(void **state)
{
    const char *sealed = biz_seal(pool, key, "obx_1", "the secret");
    unsigned char other[BIZ_KEY_LEN];
    size_t len;
    unsigned char *raw = biz_b64url_decode(pool, sealed, strlen(sealed), &len);

    assert_null(biz_open(pool, key, "obx_2", sealed)); /* moved to another row */
    assert_null(biz_open(pool, key, "", sealed));
    assert_null(biz_open(pool, key, "obx_11", sealed));
    memcpy(other, key, sizeof(other));
    other[31] ^= 1;
    assert_null(biz_open(pool, other, "obx_1", sealed));
    for (size_t i = 0; i < len; i++) { /* each bit of version, nonce, text and tag */
        for (int bit = 0; bit < 8; bit++) {
            raw[i] ^= (unsigned char)(1 << bit);
            assert_null(biz_open(pool, key, "obx_1", biz_b64url(pool, raw, len)));
            raw[i] ^= (unsigned char)(1 << bit);
        }
    }
    for (size_t n = 0; n < len; n++) {
        assert_null(biz_open(pool, key, "obx_1", biz_b64url(pool, raw, n)));
    }
    assert_null(biz_open(pool, key, "obx_1", apr_pstrcat(pool, sealed, "AAAA", NULL)));
    assert_null(biz_open(pool, key, "obx_1", apr_pstrcat(pool, sealed, "=", NULL)));
    assert_null(biz_open(pool, key, "obx_1", ""));
    assert_null(biz_open(pool, key, "obx_1", NULL));
    assert_string_equal(biz_open(pool, key, "obx_1", sealed), "the secret");
}

/* Test case 14 of the GCM specification (McGrew and Viega): key and nonce zero, one block of
 * zeros. The format has no room for a fixed nonce at sealing, so it is opened; the version byte is
 * authenticated too, so the tag is made here with OpenSSL for that one difference. */
static void sealing_is_aes_256_gcm(void **state)
{
    static const unsigned char zero_key[BIZ_KEY_LEN];
    unsigned char raw[1 + 12 + 16 + 16] = {1}, aad[] = "\x01row";
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n;

    EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, zero_key, raw + 1);
    EVP_EncryptUpdate(ctx, NULL, &n, aad, 4);
    EVP_EncryptUpdate(ctx, raw + 13, &n, (const unsigned char *)"sixteen bytes!!!", 16);
    EVP_EncryptFinal_ex(ctx, raw + 29, &n);
    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, 16, raw + 29);
    EVP_CIPHER_CTX_free(ctx);
    assert_string_equal(biz_open(pool, zero_key, "row", biz_b64url(pool, raw, sizeof(raw))),
                        "sixteen bytes!!!");
    /* The key stream of that case: its ciphertext is the encryption of zeros. */
    size_t len;
    const unsigned char *stream = unhex("cea7403d4d606b6e074ec5d3baf39d18", &len);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(raw[13 + i], stream[i] ^ "sixteen bytes!!!"[i]);
    }
}

static atomic_int failures;

static void *work(void *data)
{
    apr_pool_t *mine;
    unsigned char out[BIZ_SHA256_LEN];

    apr_pool_create(&mine, NULL);
    for (int i = 0; i < 300; i++) {
        const char *sealed = biz_seal(mine, key, "row", "text");
        const char *opened = biz_open(mine, key, "row", sealed);

        biz_hmac_sha256((const unsigned char *)"Jefe", 4, "what do ya want for nothing?", 28, out);
        if (!opened || strcmp(opened, "text") != 0 || out[0] != 0x5b || out[31] != 0x43) {
            atomic_fetch_add(&failures, 1);
        }
    }
    apr_pool_destroy(mine);
    return NULL;
}

static void threads_do_not_disturb_each_other(void **state)
{
    pthread_t threads[8];

    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, work, NULL), 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(atomic_load(&failures), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(threads_do_not_disturb_each_other), /* first: they race for the start-up too */
        CORE_TEST(sha256_gives_the_vectors),
        CORE_TEST(sha1_gives_the_vectors),
        CORE_TEST(hmac_gives_the_vectors),
        CORE_TEST(keys_are_derived_as_hkdf_does),
        CORE_TEST(labels_and_masters_give_different_keys),
        CORE_TEST(comparing_sees_every_difference),
        CORE_TEST(wiping_leaves_nothing),
        CORE_TEST(what_is_sealed_opens_again),
        CORE_TEST(nothing_that_was_changed_opens),
        CORE_TEST(sealing_is_aes_256_gcm),
    };

    core_start();
    return cmocka_run_group_tests_name("crypto", tests, NULL, NULL);
}
