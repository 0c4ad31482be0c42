/* password.c: hashing, verifying and judging passwords, the only includer of libsodium. Called by
 * auth and bizapictl. The hash costs 19 MiB and about 30 ms: inside the server a place of
 * biz_hash_enter() is held meanwhile. No password is ever logged or kept. */
#include "password.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_md5.h>
#include <apr_strings.h>
#include <sodium.h>

#include "log.h"
#include "password_list.h"
#include "str.h"

enum {
    PASSES = 2,
    MEMORY = 19922944, /* 19 MiB */
    DIGEST_LEN = 32,
    FOREIGN_MAX_KIB = 1024 * 1024, /* imported hashes may ask for more, not for the whole machine */
    FOREIGN_MAX_PASSES = 20,
    BCRYPT_LEN = 60,
    BCRYPT_MAX_COST = 15, /* seconds; a row that asks for more would stop a thread for hours */
    WORD_MIN = 4,         /* shorter words are part of too many good passwords */
    AROUND_MAX = 10       /* digits and signs around a word: "19.03.1985" adds next to nothing */
};

/* Of 32 random bytes that nobody has kept. The same work as any hash of ours. */
static const char nobodys_hash[] = "$argon2id$v=19$m=19456,t=2,p=1$G+9aL/"
                                   "l4s3wW4RSxNC19MA$qN581A5dVZRtyuLUsshNjUU9Bi/5drL22KPKAxzCJXs";

static pthread_once_t sodium_once = PTHREAD_ONCE_INIT;

static void start_sodium(void)
{
    if (sodium_init() < 0) {
        biz_log(BIZ_LOG_ERR, 0, BZ(0154) "libsodium does not start; the process ends");
        abort();
    }
}

apr_status_t biz_password_hash(apr_pool_t *pool, const char *password, const char **hash)
{
    char out[crypto_pwhash_STRBYTES];

    *hash = NULL;
    pthread_once(&sodium_once, start_sodium);
    if (crypto_pwhash_str_alg(out, password, strlen(password), PASSES, MEMORY,
                              crypto_pwhash_ALG_ARGON2ID13) != 0) {
        return APR_ENOMEM;
    }
    *hash = apr_pstrdup(pool, out);
    return APR_SUCCESS;
}

static int is_argon2id(const char *hash)
{
    return strncmp(hash, crypto_pwhash_argon2id_STRPREFIX,
                   sizeof(crypto_pwhash_argon2id_STRPREFIX) - 1) == 0 &&
           strlen(hash) < crypto_pwhash_STRBYTES;
}

static int is_bcrypt(const char *hash)
{
    static const char digits[] = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    int cost;

    if (strlen(hash) != BCRYPT_LEN || hash[0] != '$' || hash[1] != '2' ||
        !memchr("aby", hash[2], 3) || hash[3] != '$' || hash[6] != '$' ||
        strspn(hash + 7, digits) != BCRYPT_LEN - 7 || hash[4] < '0' || hash[4] > '1' ||
        hash[5] < '0' || hash[5] > '9') {
        return 0;
    }
    cost = (hash[4] - '0') * 10 + (hash[5] - '0');
    return cost >= 4 && cost <= BCRYPT_MAX_COST;
}

/* The parts of a PHC string of one lane, as all of ours are. */
typedef struct {
    unsigned long long passes;
    size_t memory;
    unsigned char salt[crypto_pwhash_SALTBYTES];
    unsigned char digest[DIGEST_LEN];
} phc;

/* "name=" and a number within bounds at *text; advances. */
static int phc_number(const char **text, const char *name, int64_t max, int64_t *out)
{
    size_t len = strlen(name);
    size_t digits;
    char number[12];

    if (strncmp(*text, name, len) != 0) {
        return 0;
    }
    digits = strspn(*text + len, "0123456789");
    if (digits >= sizeof(number)) {
        return 0;
    }
    memcpy(number, *text + len, digits);
    number[digits] = '\0';
    *text += len + digits;
    return biz_parse_int(number, 1, max, out);
}

/* Base 64 of exactly `size` bytes up to `stop`; advances behind it. */
static int phc_bytes(const char **text, char stop, unsigned char *out, size_t size)
{
    const char *end = strchr(*text, stop);
    size_t got;

    if (!end || sodium_base642bin(out, size, *text, (size_t)(end - *text), NULL, &got, NULL,
                                  sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0) {
        return 0;
    }
    *text = end + 1;
    return got == size;
}

static int phc_parse(const char *hash, phc *out)
{
    const char *at = hash + sizeof(crypto_pwhash_argon2id_STRPREFIX) - 1;
    int64_t version, kib, passes, lanes;

    if (!phc_number(&at, "v=", 99, &version) || version != 19 ||
        !phc_number(&at, "$m=", FOREIGN_MAX_KIB, &kib) || kib < 8 ||
        !phc_number(&at, ",t=", FOREIGN_MAX_PASSES, &passes) ||
        !phc_number(&at, ",p=", 1, &lanes) || *at++ != '$' ||
        !phc_bytes(&at, '$', out->salt, sizeof(out->salt)) ||
        !phc_bytes(&at, '\0', out->digest, sizeof(out->digest))) {
        return 0;
    }
    out->passes = (unsigned long long)passes;
    out->memory = (size_t)kib * 1024;
    return 1;
}

/* Base 64 of `min` to `max` bytes up to `stop`; advances behind it. */
static int phc_field(const char **text, char stop, size_t min, size_t max)
{
    unsigned char bytes[crypto_pwhash_STRBYTES];
    const char *end = strchr(*text, stop);
    size_t got;

    if (!end || sodium_base642bin(bytes, sizeof(bytes), *text, (size_t)(end - *text), NULL, &got,
                                  NULL, sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0) {
        return 0;
    }
    *text = end + 1;
    return got >= min && got <= max;
}

/* Other lanes and lengths than ours too, as far as libsodium knows them. */
static int phc_is_sound(const char *hash)
{
    const char *at = hash + sizeof(crypto_pwhash_argon2id_STRPREFIX) - 1;
    int64_t version, kib, passes, lanes;

    return phc_number(&at, "v=", 19, &version) && version == 19 &&
           phc_number(&at, "$m=", FOREIGN_MAX_KIB, &kib) && kib >= 8 &&
           phc_number(&at, ",t=", FOREIGN_MAX_PASSES, &passes) &&
           phc_number(&at, ",p=", 255, &lanes) && kib >= 8 * lanes && *at++ == '$' &&
           phc_field(&at, '$', 8, 64) && phc_field(&at, '\0', 16, 64);
}

int biz_password_is_hash(const char *text)
{
    return text && (is_bcrypt(text) || (is_argon2id(text) && phc_is_sound(text)));
}

/* libsodium's own verification cannot tell "no memory" from "wrong", and a right password that is
 * called wrong locks its owner out: so the digest is made and compared here. Its own way is left
 * for what others have made (more lanes, other lengths). */
static apr_status_t verify_argon2id(const char *password, const char *hash)
{
    unsigned char digest[DIGEST_LEN];
    apr_status_t status;
    phc parts;

    pthread_once(&sodium_once, start_sodium);
    if (!phc_parse(hash, &parts)) {
        return crypto_pwhash_str_verify(hash, password, strlen(password)) == 0 ? APR_SUCCESS
                                                                               : APR_EMISMATCH;
    }
    if (crypto_pwhash(digest, sizeof(digest), password, strlen(password), parts.salt, parts.passes,
                      parts.memory, crypto_pwhash_ALG_ARGON2ID13) != 0) {
        return APR_ENOMEM;
    }
    status = sodium_memcmp(digest, parts.digest, sizeof(digest)) == 0 ? APR_SUCCESS : APR_EMISMATCH;
    sodium_memzero(digest, sizeof(digest));
    return status;
}

static apr_status_t verify_bcrypt(const char *password, const char *hash)
{
    char same[BCRYPT_LEN + 1];

    memcpy(same, hash, sizeof(same));
    if (same[2] == 'b') {
        same[2] = 'y'; /* two names of one algorithm; APR knows this one */
    }
    return apr_password_validate(password, same) == APR_SUCCESS ? APR_SUCCESS : APR_EMISMATCH;
}

apr_status_t biz_password_verify(const char *password, const char *hash)
{
    apr_status_t status;

    if (hash && is_bcrypt(hash)) {
        return verify_bcrypt(password, hash);
    }
    if (hash && is_argon2id(hash)) {
        return verify_argon2id(password, hash);
    }
    status = verify_argon2id(password, nobodys_hash);
    return status == APR_SUCCESS ? APR_EMISMATCH : status;
}

int biz_password_is_outdated(const char *hash)
{
    return !hash || !is_argon2id(hash) || crypto_pwhash_str_needs_rehash(hash, PASSES, MEMORY) != 0;
}

/* ---- judgement ---- */

/* Digits, spaces and ASCII signs, with which people decorate a word. */
static int is_around(char c)
{
    return c >= 0x20 && c < 0x7f && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z');
}

typedef struct {
    const char *at;
    size_t len;
} span;

static span strip(span s)
{
    while (s.len > 0 && is_around(s.at[0])) {
        s.at++;
        s.len--;
    }
    while (s.len > 0 && is_around(s.at[s.len - 1])) {
        s.len--;
    }
    return s;
}

/* 1 where `part` is the word or its front part, and long enough to tell anything. */
static int is_front_of(span part, span word)
{
    return part.len <= word.len && strncasecmp(part.at, word.at, part.len) == 0 &&
           biz_utf8_count(part.at, part.len) >= WORD_MIN;
}

static int is_made_of(span password, span word)
{
    span core = strip(password);

    if (biz_utf8_count(word.at, word.len) < WORD_MIN) {
        return 0;
    }
    if (is_front_of(password, word)) {
        return 1;
    }
    return password.len - core.len <= AROUND_MAX &&
           (is_front_of(core, word) || is_front_of(core, strip(word)));
}

static int is_made_of_text(span password, const char *text)
{
    return text && is_made_of(password, (span){text, strlen(text)});
}

static int is_made_of_email(span password, const char *email)
{
    const char *sign = email ? strrchr(email, '@') : NULL;

    if (!sign) {
        return is_made_of_text(password, email);
    }
    return is_made_of_text(password, email) ||
           is_made_of(password, (span){email, (size_t)(sign - email)}) ||
           is_made_of(password, (span){sign + 1, strcspn(sign + 1, ".")});
}

/* The whole name, each of its words, and all of them without the spaces. */
static int is_made_of_name(span password, const char *name)
{
    char joined[BIZ_PASSWORD_MAX * 4 + 1];
    size_t at = 0;

    if (!name) {
        return 0;
    }
    if (is_made_of_text(password, name)) {
        return 1;
    }
    for (const char *p = name; *p;) {
        size_t len = strcspn(p, " ");

        if (is_made_of(password, (span){p, len})) {
            return 1;
        }
        if (at + len < sizeof(joined)) {
            memcpy(joined + at, p, len);
            at += len;
        }
        p += len;
        p += strspn(p, " ");
    }
    return is_made_of(password, (span){joined, at});
}

static int is_common(const char *password, size_t len)
{
    char lower[BIZ_PASSWORD_MAX * 4];
    int found;

    for (size_t i = 0; i < len; i++) {
        char c = password[i];

        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    found = biz_password_list_has(lower, len);
    sodium_memzero(lower, len);
    return found;
}

const char *biz_password_weakness(const char *password, const char *email, const char *name,
                                  const char *const *context)
{
    span all = {password, strlen(password)};
    long count = biz_utf8_count(all.at, all.len);

    if (count < 0) {
        return "The password is not valid text.";
    }
    if (count < BIZ_PASSWORD_MIN) {
        return "The password is too short: please use at least 8 characters.";
    }
    if (count > BIZ_PASSWORD_MAX) {
        return "The password is too long: please use at most 256 characters.";
    }
    if (is_common(all.at, all.len)) {
        return "This password is used by many people and guessed first. Please choose another one.";
    }
    if (is_made_of_email(all, email)) {
        return "The password is too close to the e-mail address. Please choose another one.";
    }
    if (is_made_of_name(all, name)) {
        return "The password is too close to the name. Please choose another one.";
    }
    for (; context && *context; context++) {
        if (is_made_of_name(all, *context)) {
            return "The password is too close to a word that others would try here, such as the "
                   "name of this business. Please choose another one.";
        }
    }
    return NULL;
}
