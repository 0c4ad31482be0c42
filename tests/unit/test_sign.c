/* test_sign.c: the signatures of webhooks, against values that openssl made and against everything
 * that is nearly right. */
#include "core_test.h"

#include <apr_base64.h>
#include <apr_strings.h>

#include "core/crypto.h"
#include "core/str.h"
#include "integrations/sign.h"

#define NOW apr_time_from_sec(1790000000)

/* ---- Stripe ----
 * { printf '%s.' 1790000000; printf '{"id":"evt_1"}'; } | openssl dgst -sha256 -hmac whsec_test
 * -hex */
#define EVENT "{\"id\":\"evt_1\"}"
#define EVENT_V1 "e32657f3e678d33b41ec084c16ac0e125d25480a06cb3902286dc5942c6fd259"

static int stripe(const char *header, const char *body, int seconds_later)
{
    return sign_stripe(pool, "whsec_test", header, body, strlen(body),
                       NOW + apr_time_from_sec(seconds_later));
}

static void stripe_signs_time_and_body(void **state)
{
    char *wrong = apr_pstrdup(pool, "t=1790000000,v1=" EVENT_V1);

    assert_true(stripe("t=1790000000,v1=" EVENT_V1, EVENT, 0));
    assert_true(stripe("t=1790000000,v1=" EVENT_V1, EVENT, 300));
    assert_true(stripe("t=1790000000,v1=" EVENT_V1, EVENT, -300));
    assert_false(stripe("t=1790000000,v1=" EVENT_V1, EVENT, 301));
    assert_false(stripe("t=1790000000,v1=" EVENT_V1, EVENT, -301));
    assert_false(stripe("t=1790000001,v1=" EVENT_V1, EVENT, 0));
    assert_false(stripe("t=1790000000,v1=" EVENT_V1, EVENT "\n", 0));
    assert_false(stripe("t=1790000000,v1=" EVENT_V1, "{\"id\": \"evt_1\"}", 0));
    wrong[strlen(wrong) - 1] ^= 1;
    assert_false(stripe(wrong, EVENT, 0));
    wrong[strlen(wrong) - 1] = '\0';
    assert_false(stripe(wrong, EVENT, 0)); /* truncated */
}

static void any_v1_of_stripe_will_do(void **state)
{
    assert_true(stripe("t=1790000000,v1=00,v1=" EVENT_V1, EVENT, 0));
    assert_true(stripe("v1=" EVENT_V1 ",v1=00,t=1790000000", EVENT, 0));
    assert_true(stripe("t=1790000000,v0=abc,v1=" EVENT_V1, EVENT, 0));
    assert_false(stripe("t=1790000000,v0=" EVENT_V1, EVENT, 0));
    assert_false(stripe("t=1790000000,t=1790000000,v1=" EVENT_V1, EVENT, 0));
    assert_false(stripe("v1=" EVENT_V1, EVENT, 0));
    assert_false(stripe("t=,v1=" EVENT_V1, EVENT, 0));
    assert_false(stripe("t=1790000000 ,v1=" EVENT_V1, EVENT, 0));
    assert_false(stripe("t=1790000000", EVENT, 0));
    assert_false(stripe("", EVENT, 0));
    assert_false(stripe(",,,=,", EVENT, 0));
    assert_false(sign_stripe(pool, "whsec_test", NULL, EVENT, strlen(EVENT), NOW));
    assert_false(
        sign_stripe(pool, "whsec_tesT", "t=1790000000,v1=" EVENT_V1, EVENT, strlen(EVENT), NOW));
    assert_false(stripe("t=1790000000,v1=" EVENT_V1, "", 0));
}

/* ---- Twilio ---- */

#define TOKEN "12345"
#define FORM                                                                                       \
    "CallSid=CA1234567890ABCDE&Caller=%2B14158675309&Digits=1234&From=%2B14158675309&"             \
    "To=%2B18005551212"
/* The example of Twilio's documentation on securing webhooks; the value by openssl. */
#define FORM_URL "https://mycompany.com/myapp.php?foo=1&bar=2"
#define FORM_SIGNED "RSOYDt4T1cUTdK1PDd93/VVr8B8="

static int twilio(const char *signature, const char *url, const char *body)
{
    apr_array_header_t *form = sign_form(pool, body, strlen(body));

    assert_non_null(form);
    return sign_twilio(pool, TOKEN, signature, url, form, body, strlen(body));
}

static void twilio_signs_url_and_fields(void **state)
{
    assert_true(twilio(FORM_SIGNED, FORM_URL, FORM));
    /* In the order of the names, whatever the order in the body. */
    assert_true(twilio(FORM_SIGNED, FORM_URL,
                       "To=%2B18005551212&From=%2B14158675309&Digits=1234&Caller=%2B14158675309&"
                       "CallSid=CA1234567890ABCDE"));
    assert_false(twilio(FORM_SIGNED, FORM_URL, FORM "&x="));
    assert_false(twilio(FORM_SIGNED, FORM_URL, "Digits=1234"));
    assert_false(twilio(FORM_SIGNED, "https://mycompany.com/myapp.php?bar=2&foo=1", FORM));
    assert_false(twilio(FORM_SIGNED, "http://mycompany.com/myapp.php?foo=1&bar=2", FORM));
    assert_false(twilio("", FORM_URL, FORM));
    assert_false(sign_twilio(pool, TOKEN, NULL, FORM_URL, sign_form(pool, FORM, strlen(FORM)), FORM,
                             strlen(FORM)));
    assert_false(sign_twilio(pool, "12346", FORM_SIGNED, FORM_URL,
                             sign_form(pool, FORM, strlen(FORM)), FORM, strlen(FORM)));
}

static const char *twilio_sign(const char *url, const char *rest)
{
    const char *text = apr_pstrcat(pool, url, rest, NULL);
    unsigned char mac[BIZ_SHA1_LEN];
    char *out = apr_pcalloc(pool, 64);

    biz_hmac_sha1((const unsigned char *)TOKEN, strlen(TOKEN), text, strlen(text), mac);
    apr_base64_encode_binary(out, mac, sizeof(mac));
    return out;
}

static void the_port_may_be_part_of_the_url(void **state)
{
    static const char *const pairs[][2] = {
        {"https://a.test/x?row=1", "https://a.test:443/x?row=1"},
        {"https://a.test:443/x", "https://a.test/x"},
        {"https://a.test:8443/x", "https://a.test/x"},
        {"http://a.test", "http://a.test:80"},
        {"https://[::1]/x", "https://[::1]:443/x"},
        {"https://[::1]:8443/x", "https://[::1]/x"},
        {"https://a.test/x:1?y=z:2", "https://a.test:443/x:1?y=z:2"}};

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        assert_true(twilio(twilio_sign(pairs[i][0], "A1"), pairs[i][0], "A=1"));
        assert_true(twilio(twilio_sign(pairs[i][1], "A1"), pairs[i][0], "A=1"));
    }
    assert_false(twilio(twilio_sign("https://a.test:444/x", "A1"), "https://a.test/x", "A=1"));
}

static void fields_are_signed_as_they_mean(void **state)
{
    const char *url = "https://a.test/x";

    assert_true(twilio(twilio_sign(url, ""), url, ""));
    assert_true(twilio(twilio_sign(url, "AB1"), url, "A=&B=1")); /* empty values count */
    assert_true(twilio(twilio_sign(url, "AB1"), url, "A&B=1"));
    assert_true(
        twilio(twilio_sign(url, "Bodyh\u00e9 \U0001f600"), url, "Body=h%C3%A9+%F0%9F%98%80"));
    assert_true(twilio(twilio_sign(url, "A1A2"), url, "A=2&A=1&A=2")); /* as their SDK does */
    assert_true(twilio(twilio_sign(url, "B1a2"), url, "a=2&B=1"));     /* upper case first */
    assert_null(sign_form(pool, "A=%zz", 5));
    assert_null(sign_form(pool, "A=%00", 5));
    assert_null(sign_form(pool, "A=%ff", 5));
    assert_null(sign_form(pool, "A=%C3", 5));
}

static void a_body_that_is_no_form_is_signed_by_its_digest(void **state)
{
    static const char body[] = "{\"a\":1}";
    const char *url =
        apr_pstrcat(pool, "https://a.test/x?bodySHA256=", biz_sha256_hex(pool, body), NULL);
    const char *signature = twilio_sign(url, "");

    assert_true(sign_twilio(pool, TOKEN, signature, url, NULL, body, sizeof(body) - 1));
    assert_false(sign_twilio(pool, TOKEN, signature, url, NULL, body, sizeof(body) - 2));
    assert_false(sign_twilio(pool, TOKEN, twilio_sign("https://a.test/x", ""), "https://a.test/x",
                             NULL, body, sizeof(body) - 1));
    url = apr_pstrcat(pool, "https://a.test/x?xbodySHA256=", biz_sha256_hex(pool, body), NULL);
    assert_false(sign_twilio(pool, TOKEN, twilio_sign(url, ""), url, NULL, body, sizeof(body) - 1));
}

static void forms_are_bounded(void **state)
{
    char *many = apr_pcalloc(pool, 1000);

    for (int i = 0; i < 201; i++)
        memcpy(many + 4 * i, "a=b&", 4);
    assert_null(sign_form(pool, many, 4 * 201));
    assert_int_equal(sign_form(pool, many, 4 * 200)->nelts, 200);
    assert_int_equal(sign_form(pool, "&&a=b&&", 7)->nelts, 1);
}

/* ---- SendGrid ----
 * A key by `openssl ecparam -name prime256v1 -genkey`, the signature by
 * { printf 1790000000; printf '[{"event":"delivered"}]\r\n'; } | openssl dgst -sha256 -sign KEY */
#define BATCH "[{\"event\":\"delivered\"}]\r\n"
#define SENDGRID_KEY                                                                               \
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEa7S8LJVrK2W8Lk+"                                          \
    "P0KjpK4GxLArgduM7abczXYgh0zBzffoAFYtz3viFdGmdoLwAdAY7TKIxktCELAGyFz4gpw=="
#define SENDGRID_SIGNED                                                                            \
    "MEUCIDj3AIiLHXKi/"                                                                            \
    "6NuaPnuvxbhZjQac0ukqc3P++n7VuDzAiEAm2sDQGWibqUTpkfAHUaZ2SvKVX2gCh5b7Wa5tNHCIx4="
#define P384_KEY                                                                                   \
    "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEe+S9RbSNpbEkvTmiaFTPwnJS1xfFE5SzvsiCm092+jwYXgYx/"            \
    "oMNd7T7VESMbCwRFexFyxyeEFrHZV8FVmg8Os591YxMyRqtzrRfEc/3vmj/5CLs1sczPg0Jlk5fAdHs"
#define RSA_KEY                                                                                    \
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDyOQj59DFFQTcN5xSQct0wtqe+"                             \
    "I2QTv5T0TeAxQlU0DN3CSyDbGf2MJsigREtvwqw7AD4wOFyywlLSbbpnBEHUFB3beNtiuT8U7lv/"                 \
    "lQFAyCmlC1Dv+YaSC5UWhC+sTxkiTGmYSd5U9oeQSG69PbiI8jma+qKL+m4mT80hLJF38wIDAQAB"

static int sendgrid(const char *key, const char *signature, const char *timestamp, const char *body,
                    int seconds_later)
{
    return sign_sendgrid(pool, key, signature, timestamp, body, strlen(body),
                         NOW + apr_time_from_sec(seconds_later));
}

static void sendgrid_signs_time_and_body(void **state)
{
    char *wrong = apr_pstrdup(pool, SENDGRID_SIGNED);

    assert_true(sendgrid(SENDGRID_KEY, SENDGRID_SIGNED, "1790000000", BATCH, 0));
    assert_true(sendgrid(SENDGRID_KEY, SENDGRID_SIGNED, "1790000000", BATCH, 300));
    assert_false(sendgrid(SENDGRID_KEY, SENDGRID_SIGNED, "1790000000", BATCH, 301));
    assert_false(sendgrid(SENDGRID_KEY, SENDGRID_SIGNED, "1790000000", BATCH, -301));
    assert_false(sendgrid(SENDGRID_KEY, SENDGRID_SIGNED, "1790000001", BATCH, 0));
    assert_false(sendgrid(SENDGRID_KEY, SENDGRID_SIGNED, NULL, BATCH, 0));
    assert_false(sendgrid(SENDGRID_KEY, NULL, "1790000000", BATCH, 0));
    assert_false(sendgrid(SENDGRID_KEY, "", "1790000000", BATCH, 0));
    assert_false(sendgrid(SENDGRID_KEY, "AAAA", "1790000000", BATCH, 0));
    assert_false(sendgrid(SENDGRID_KEY, "!", "1790000000", BATCH, 0));
    /* The line end that SendGrid sends belongs to the body. */
    assert_false(
        sendgrid(SENDGRID_KEY, SENDGRID_SIGNED, "1790000000", "[{\"event\":\"delivered\"}]", 0));
    wrong[20] = wrong[20] == 'A' ? 'B' : 'A';
    assert_false(sendgrid(SENDGRID_KEY, wrong, "1790000000", BATCH, 0));
}

static void other_keys_are_none(void **state)
{
    assert_null(biz_p256_error(pool, SENDGRID_KEY));
    assert_non_null(biz_p256_error(pool, P384_KEY));
    assert_non_null(biz_p256_error(pool, RSA_KEY));
    assert_non_null(biz_p256_error(pool, ""));
    assert_non_null(biz_p256_error(pool, "AAAA"));
    assert_non_null(biz_p256_error(pool, "not base64"));
    assert_false(sendgrid(P384_KEY, SENDGRID_SIGNED, "1790000000", BATCH, 0));
    assert_false(sendgrid(RSA_KEY, SENDGRID_SIGNED, "1790000000", BATCH, 0));
    assert_false(sendgrid("", SENDGRID_SIGNED, "1790000000", BATCH, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(stripe_signs_time_and_body),
        CORE_TEST(any_v1_of_stripe_will_do),
        CORE_TEST(twilio_signs_url_and_fields),
        CORE_TEST(the_port_may_be_part_of_the_url),
        CORE_TEST(fields_are_signed_as_they_mean),
        CORE_TEST(a_body_that_is_no_form_is_signed_by_its_digest),
        CORE_TEST(forms_are_bounded),
        CORE_TEST(sendgrid_signs_time_and_body),
        CORE_TEST(other_keys_are_none),
    };

    core_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
