/* test_password.c: core/password.c. The argon2id hashes are of the reference program (argon2 -e),
 * those of bcrypt the published test cases of crypt_blowfish. */
#include "core_test.h"
#include <pthread.h>
#include <sys/resource.h>
#include "core/password.h"
#include "core/password_list.h"
#include "core/str.h"

static const char argon2id_ours[] = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA"
                                    "$k9ohroejZy1PN5E1SbHNPug6vB8eQAahb5SOAp6iGF4";
static const char argon2id_weak[] = "$argon2id$v=19$m=8192,t=1,p=1$c29tZXNhbHRzb21lc2FsdA"
                                    "$+jQGvnLH9sd/RHpVFdneZ1pWEi8VDK30k/E/IE+o3IE";
static const char argon2id_other[] = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA"
                                     "$7YbYS2w24dSTBgFeLZ/Pp5pFxLjWTXyOMrr1Ld8BcEI";
static const char argon2i[] = "$argon2i$v=19$m=8192,t=3,p=1$c29tZXNhbHRzb21lc2FsdA"
                              "$i6bytItBS4kQEidxfnCcCSjQ2nfWT4gq69OOtabMsO4";
static const char bcrypt_2a[] = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
static const char bcrypt_2b[] = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
static const char bcrypt_2y[] = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
static const char bcrypt_8bit[] = "$2y$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e";
static const char bcrypt_empty[] = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy";

static const char *letters(const char *piece, int n)
{
    char *out = apr_pcalloc(pool, strlen(piece) * (size_t)n + 1);

    for (int i = 0; i < n; i++) {
        memcpy(out + strlen(piece) * (size_t)i, piece, strlen(piece));
    }
    return out;
}

/* ---- hashes ---- */

static void a_hash_is_argon2id_with_our_parameters(void **state)
{
    const char *hash, *again;

    assert_int_equal(biz_password_hash(pool, "correct horse", &hash), APR_SUCCESS);
    assert_memory_equal(hash, "$argon2id$v=19$m=19456,t=2,p=1$", 31);
    assert_null(strstr(hash, "horse"));
    assert_int_equal(biz_password_hash(pool, "correct horse", &again), APR_SUCCESS);
    assert_string_not_equal(hash, again);
    assert_int_equal(biz_password_verify("correct horse", hash), APR_SUCCESS);
    assert_int_equal(biz_password_verify("correct horsf", hash), APR_EMISMATCH);
    assert_int_equal(biz_password_verify("correct hors", hash), APR_EMISMATCH);
    assert_int_equal(biz_password_verify("", hash), APR_EMISMATCH);
    assert_false(biz_password_is_outdated(hash));
}

static void the_reference_programs_hashes_match(void **state)
{
    assert_int_equal(biz_password_verify("correct horse", argon2id_ours), APR_SUCCESS);
    assert_int_equal(biz_password_verify("correct horse", argon2id_weak), APR_SUCCESS);
    assert_int_equal(biz_password_verify("correct horse", argon2id_other), APR_SUCCESS);
    assert_int_equal(biz_password_verify("Correct horse", argon2id_other), APR_EMISMATCH);
}

/* A-1, A-2, A-4: nothing is trimmed, folded, normalised or cut. */
static void passwords_are_taken_exactly(void **state)
{
    const char *longest = apr_pstrcat(pool, letters("\xf0\x9f\x98\x80", 255), "abcd", NULL);
    const char *differs = apr_pstrcat(pool, letters("\xf0\x9f\x98\x80", 255), "abce", NULL);
    const char *hash;

    assert_int_equal(strlen(longest), 1024);
    assert_int_equal(biz_password_hash(pool, longest, &hash), APR_SUCCESS);
    assert_int_equal(biz_password_verify(longest, hash), APR_SUCCESS);
    assert_int_equal(biz_password_verify(differs, hash), APR_EMISMATCH);

    assert_int_equal(biz_password_hash(pool, " Caf\xc3\xa9 ", &hash), APR_SUCCESS);
    assert_int_equal(biz_password_verify(" Caf\xc3\xa9 ", hash), APR_SUCCESS);
    assert_int_equal(biz_password_verify("Caf\xc3\xa9", hash), APR_EMISMATCH);
    assert_int_equal(biz_password_verify(" caf\xc3\xa9 ", hash), APR_EMISMATCH);
    assert_int_equal(biz_password_verify(" Cafe\xcc\x81 ", hash), APR_EMISMATCH);
}

static void imported_bcrypt_is_verified(void **state)
{
    assert_int_equal(biz_password_verify("U*U", bcrypt_2a), APR_SUCCESS);
    assert_int_equal(biz_password_verify("U*U", bcrypt_2b), APR_SUCCESS);
    assert_int_equal(biz_password_verify("U*U", bcrypt_2y), APR_SUCCESS);
    assert_int_equal(biz_password_verify("U*U*", bcrypt_2a), APR_EMISMATCH);
    assert_int_equal(biz_password_verify("U*u", bcrypt_2b), APR_EMISMATCH);
    assert_int_equal(biz_password_verify("", bcrypt_2y), APR_EMISMATCH);
    assert_int_equal(biz_password_verify("\xff\xff\xa3", bcrypt_8bit), APR_SUCCESS);
    assert_int_equal(biz_password_verify("", bcrypt_empty), APR_SUCCESS);
}

static void other_forms_never_match(void **state)
{
    static const char *const bad[] = {
        "plain",
        "plain text",
        "$1$salt$hash",
        "$5$x$y",
        "$6$x$y",
        "$apr1$x$y",
        "{SHA}x",
        "*",
        "!",
        "ab1234567890.",
        "$2$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$2a$5$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeWx",
        "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOe",
        "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeWW",
        "$2a$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$2a$16$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$2a$05$CCCCCCCCCCCCCCCCCCCCC:E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$argon2id$",
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA",
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$k9ohroejZy1PN5E1SbHNPug6vB8eQAahb5",
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(biz_password_verify("U*U", bad[i]), APR_EMISMATCH);
        assert_int_equal(biz_password_verify("", bad[i]), APR_EMISMATCH);
        assert_int_equal(biz_password_verify(bad[i], bad[i]), APR_EMISMATCH);
    }
    assert_int_equal(biz_password_verify("correct horse", argon2i), APR_EMISMATCH);
    assert_int_equal(biz_password_verify("x", NULL), APR_EMISMATCH);
    assert_int_equal(biz_password_verify("", ""), APR_EMISMATCH);
}

static double seconds_of(const struct rusage *used)
{
    return (double)(used->ru_utime.tv_sec + used->ru_stime.tv_sec) +
           (double)(used->ru_utime.tv_usec + used->ru_stime.tv_usec) / 1e6;
}

/* The least of five: a machine that is held up counts some of that as ours. */
static double verify_seconds(const char *hash)
{
    double least = 1e9;

    for (int i = 0; i < 5; i++) {
        struct rusage before, after;
        double took;

        getrusage(RUSAGE_THREAD, &before);
        biz_password_verify("a wrong password", hash);
        getrusage(RUSAGE_THREAD, &after);
        took = seconds_of(&after) - seconds_of(&before);
        least = took < least ? took : least;
    }
    return least;
}

/* Processor time, so that a busy machine does not matter much; the bounds are wide for the rest. */
static void an_unknown_account_costs_what_a_known_one_costs(void **state)
{
    /* The last one would take many seconds if it were believed. */
    static const char *const others[] = {
        NULL, "", "!disabled", "$2a$16$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"};
    double known = verify_seconds(argon2id_ours);

    assert_true(known > 0.001);
    for (size_t i = 0; i < COUNT(others); i++) {
        double unknown = verify_seconds(others[i]);

        assert_true(unknown > known / 2 && unknown < known * 2);
    }
}

static void outdated_hashes_are_seen(void **state)
{
    assert_false(biz_password_is_outdated(argon2id_ours));
    assert_true(biz_password_is_outdated(argon2id_weak));
    assert_true(biz_password_is_outdated(argon2id_other));
    assert_true(biz_password_is_outdated(argon2i));
    assert_true(biz_password_is_outdated(bcrypt_2a));
    assert_true(biz_password_is_outdated("$argon2id$v=19$broken"));
    assert_true(biz_password_is_outdated(""));
    assert_true(biz_password_is_outdated(NULL));
}

/* What an import of accounts may bring. */
static void hashes_are_told_from_other_texts(void **state)
{
    static const char *const no[] = {
        "",
        "correct horse",
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$2b$16$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$2b$03$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW ",
        "$argon2id$v=19$m=2097152,t=2,p=1$c29tZXNhbHRzb21lc2FsdA"
        "$k9ohroejZy1PN5E1SbHNPug6vB8eQAahb5SOAp6iGF4",
        "$argon2id$v=19$m=19456,t=21,p=1$c29tZXNhbHRzb21lc2FsdA"
        "$k9ohroejZy1PN5E1SbHNPug6vB8eQAahb5SOAp6iGF4",
        "$argon2id$v=16$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA"
        "$k9ohroejZy1PN5E1SbHNPug6vB8eQAahb5SOAp6iGF4",
        "$argon2id$v=19$m=8,t=2,p=4$c29tZXNhbHRzb21lc2FsdA"
        "$k9ohroejZy1PN5E1SbHNPug6vB8eQAahb5SOAp6iGF4",
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA",
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$",
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$not*base64*at*all*but*long",
    };

    assert_true(biz_password_is_hash(bcrypt_2a));
    assert_true(biz_password_is_hash(bcrypt_2b));
    assert_true(biz_password_is_hash(bcrypt_2y));
    assert_true(biz_password_is_hash(argon2id_ours));
    assert_true(biz_password_is_hash(argon2id_weak));
    assert_true(biz_password_is_hash(argon2id_other));
    assert_false(biz_password_is_hash(argon2i));
    assert_false(biz_password_is_hash(NULL));
    for (size_t i = 0; i < COUNT(no); i++) {
        assert_false(biz_password_is_hash(no[i]));
    }
}

static void *verify_some(void *data)
{
    long bad = 0;

    for (int i = 0; i < 3; i++) {
        bad += biz_password_verify("correct horse", argon2id_ours) != APR_SUCCESS;
        bad += biz_password_verify("wrong horse", argon2id_ours) != APR_EMISMATCH;
        bad += biz_password_verify("U*U", bcrypt_2b) != APR_SUCCESS;
    }
    return (void *)bad;
}

static void threads_do_not_disturb_each_other(void **state)
{
    pthread_t threads[8];
    void *bad;

    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, verify_some, NULL), 0);
    }
    for (size_t i = 0; i < COUNT(threads); i++) {
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
}

/* No memory is neither "wrong" nor "right". Not under the sanitizers and valgrind: they need the
 * address space that is taken away here. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static void no_memory_is_told_apart(void **state)
{
#ifdef SANITIZED
    skip();
#else
    struct rlimit old, tight;
    const char *hash;
    apr_status_t hashed, known, unknown;

    if (getenv("BIZ_WRAP")) {
        skip();
    }
    getrlimit(RLIMIT_AS, &old);
    tight = old;
    tight.rlim_cur = 1024 * 1024; /* below what is in use: nothing more is given */
    assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
    hashed = biz_password_hash(pool, "correct horse", &hash);
    known = biz_password_verify("correct horse", argon2id_ours);
    unknown = biz_password_verify("correct horse", NULL);
    setrlimit(RLIMIT_AS, &old);
    assert_int_equal(hashed, APR_ENOMEM);
    assert_null(hash);
    assert_int_equal(known, APR_ENOMEM);
    assert_int_equal(unknown, APR_ENOMEM);
#endif
}

/* ---- the list ---- */

static void the_list_is_sorted_long_and_found_whole(void **state)
{
    size_t len, count = 0;
    const char *list = biz_password_list(&len);
    const char *last = NULL;
    size_t last_len = 0;

    assert_int_equal(list[len - 1], '\n');
    for (const char *line = list; line < list + len;) {
        size_t n = (size_t)((const char *)memchr(line, '\n', (size_t)(list + len - line)) - line);
        int order;

        assert_true(biz_utf8_count(line, n) >= 8);
        for (size_t i = 0; i < n; i++) {
            assert_true((unsigned char)line[i] > 0x20 && !(line[i] >= 'A' && line[i] <= 'Z'));
        }
        if (last) {
            order = memcmp(last, line, n < last_len ? n : last_len);
            assert_true(order < 0 || (order == 0 && last_len < n));
        }
        assert_true(biz_password_list_has(line, n));
        assert_false(biz_password_list_has(line, n - 1) && n - 1 < 8);
        last = line;
        last_len = n;
        line += n + 1;
        count++;
    }
    assert_true(count >= 10000);
    assert_true(biz_password_list_has("password", 8));
    assert_false(biz_password_list_has("passwor", 7));
    assert_false(biz_password_list_has("", 0));
    assert_false(biz_password_list_has("!", 1));
    assert_false(biz_password_list_has("\x7f\x7f\x7f", 3));
    assert_false(biz_password_list_has("password\npassword1", 18));
}

/* ---- judgement ---- */

static const char *const business[] = {"Salon Sunrise", "bizapi", "spa", NULL};

static const char *judge(const char *password)
{
    return biz_password_weakness(password, "katharina.meyer@acme-shop.de",
                                 "Katharina M\xc3\xbcller-L\xc3\xbc"
                                 "demann",
                                 business);
}

static void weak(const char *password, const char *word)
{
    const char *why = judge(password);

    if (!why) {
        fail_msg("accepted: %s", password);
    }
    if (!strstr(why, word)) {
        fail_msg("%s: %s", password, why);
    }
    assert_true(why[0] >= 'A' && why[0] <= 'Z' && why[strlen(why) - 1] == '.');
}

static void good(const char *password)
{
    const char *why = judge(password);

    if (why) {
        fail_msg("%s: %s", password, why);
    }
}

static void length_is_counted_in_code_points(void **state)
{
    weak("", "short");
    weak("zq7vkx2", "short");
    weak("\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80\xf0\x9f\x98\x80",
         "short");
    good("zq7vkx2w");
    good(letters("\xf0\x9f\x98\x80", 8));
    good(letters("\xf0\x9f\x98\x80", 256));
    weak(letters("\xf0\x9f\x98\x80", 257), "long");
    good(letters("ab3x", 64));
    weak(apr_pstrcat(pool, letters("ab3x", 64), "y", NULL), "long");
    weak("abc\xff"
         "defgh",
         "valid");
}

static void no_composition_is_asked_for(void **state)
{
    good("correct horse battery");
    good("   lots of space   ");
    good("qpzmtywnrk");
    good("48151623421108");
    good("\xd0\xbf\xd0\xb0\xd1\x80\xd0\xbe\xd0\xbb\xd1\x8c\xd1\x87\xd0\xb8\xd0\xba");
}

static void common_passwords_are_refused_in_any_case(void **state)
{
    weak("password", "guessed");
    weak("PASSWORD", "guessed");
    weak("PassWord1", "guessed");
    weak("12345678", "guessed");
    weak("qwertyuiop", "guessed");
    weak("iloveyou1", "guessed");
}

static void what_is_known_of_a_person_is_refused(void **state)
{
    weak("katharina.meyer@acme-shop.de", "e-mail");
    weak("Katharina.Meyer", "e-mail");
    weak("katharina.meyer2026!", "e-mail");
    weak("!!katharina.meyer", "e-mail");
    weak("katharina1985", "e-mail"); /* the front part of the local part */
    weak("acme-shop", "e-mail");
    weak("ACME-shop99", "e-mail");
    weak("acme 2026", "e-mail");
    weak("m\xc3\xbcller-l\xc3\xbc"
         "demann",
         "name");
    weak("m\xc3\xbcller-2026", "name");
    weak("KatharinaM\xc3\xbcller-L\xc3\xbc"
         "demann1",
         "name");
    weak("salonsunrise", "business");
    weak("Salon Sunrise 1", "business");
    weak("sunrise123", "business");
    weak("bizapi2026", "business");
    weak("01.01.1990sunrise", "business");
}

static void more_than_that_is_allowed(void **state)
{
    good("spa-48213-x");            /* words below four characters do not count */
    good("sunrise over the hills"); /* a word is in it, but it is not made of it */
    good("kath48213kath");
    good("my sunrise");
    good("sunrise83920174651"); /* eleven digits are a secret of their own */
    good("rina.meyer");         /* not the front part */
    good("kat48213");
}

static void what_is_not_known_does_not_count(void **state)
{
    static const char *const none[] = {NULL};

    assert_null(biz_password_weakness("katharina2026", NULL, NULL, NULL));
    assert_null(biz_password_weakness("katharina2026", "", "", none));
    assert_null(biz_password_weakness("katharina2026", "@", " ", none));
    assert_non_null(biz_password_weakness("katharina2026", "katharina", NULL, none));
    assert_null(biz_password_weakness("!!!2026!!!", "a@b.de", "!!!!", none));
    assert_non_null(biz_password_weakness("a1234567", "a1234567@x.de", NULL, NULL));
    /* A name longer than any password is no trouble. */
    assert_null(biz_password_weakness("katharina2026", NULL, letters("abcd ", 1000), NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(threads_do_not_disturb_each_other), /* first: they race for the start-up too */
        CORE_TEST(a_hash_is_argon2id_with_our_parameters),
        CORE_TEST(the_reference_programs_hashes_match),
        CORE_TEST(passwords_are_taken_exactly),
        CORE_TEST(imported_bcrypt_is_verified),
        CORE_TEST(other_forms_never_match),
        CORE_TEST(an_unknown_account_costs_what_a_known_one_costs),
        CORE_TEST(outdated_hashes_are_seen),
        CORE_TEST(hashes_are_told_from_other_texts),
        CORE_TEST(no_memory_is_told_apart),
        CORE_TEST(the_list_is_sorted_long_and_found_whole),
        CORE_TEST(length_is_counted_in_code_points),
        CORE_TEST(no_composition_is_asked_for),
        CORE_TEST(common_passwords_are_refused_in_any_case),
        CORE_TEST(what_is_known_of_a_person_is_refused),
        CORE_TEST(more_than_that_is_allowed),
        CORE_TEST(what_is_not_known_does_not_count),
    };

    core_start();
    return cmocka_run_group_tests_name("password", tests, NULL, NULL);
}
