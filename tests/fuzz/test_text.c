/* test_text.c: texts of strangers on their way into a log, a header, a mail or the database: a user
 * agent, a request's id, a name, a phone number, an ETag, an Idempotency-Key. */
#include "fuzz.h"

#include "core/str.h"
#include "core/valid.h"
#include "mail/mail.h"

enum { SHOWN = 200 };

static void check_printable(apr_pool_t *pool, const char *text)
{
    const char *shown = biz_printable(pool, text, SHOWN);

    FUZZ_CHECK(strlen(shown) <= SHOWN + 4);
    for (const char *p = shown; *p; p++)
        FUZZ_CHECK(*p >= ' ' && *p <= '~');
}

static void check_line(apr_pool_t *pool, const char *text)
{
    const char *line = mail_line(pool, text, 60);

    if (biz_valid_line(text, 1, 120)) {
        FUZZ_CHECK(strpbrk(text, "\r\n\t\x1b\x7f") == NULL && biz_valid_text(text, 1, 120));
        FUZZ_CHECK(biz_utf8_count(text, strlen(text)) <= 120);
    }
    FUZZ_CHECK((line == NULL) == (biz_utf8_count(text, strlen(text)) < 0));
    if (line != NULL)
        FUZZ_CHECK(strpbrk(line, "\r\n\t\x1b\x7f") == NULL &&
                   biz_utf8_count(line, strlen(line)) <= 60);
}

static void check_message(apr_pool_t *pool, const char *text)
{
    mail_envelope envelope = {.id = "obx_01abc",
                              .from = "Salon A <info@example.com>",
                              .to_name = text,
                              .to = "ann@example.net",
                              .date = APR_TIME_C(1790000000000000)};
    mail_rendered rendered = {.subject = text, .preheader = text, .text = text, .html = text};
    const char *message = NULL, *why = NULL, *head_end, *bcc;
    size_t len;

    if (mail_message(pool, &envelope, &rendered, &message, &len, &why) != APR_SUCCESS) {
        FUZZ_CHECK(why != NULL);
        return;
    }
    FUZZ_CHECK(strlen(message) == len);
    head_end = strstr(message, "\r\n\r\n");
    bcc = strstr(message, "\r\nBcc:");
    FUZZ_CHECK(head_end != NULL && (bcc == NULL || bcc > head_end));
    for (const char *p = message; *p; p++)
        FUZZ_CHECK(*p == '\r' ? p[1] == '\n' : *p != '\n' || (p > message && p[-1] == '\r'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    const char *text = fuzz_text(pool, data, size), *p = text;
    const char *decoded = biz_query_decode(pool, text, strlen(text));
    int64_t number;

    check_printable(pool, text);
    check_line(pool, text);
    check_message(pool, text);
    if (biz_utf8_count(text, strlen(text)) >= 0)
        while (biz_utf8_next(&p) != 0)
            ;
    if (decoded != NULL)
        FUZZ_CHECK(biz_utf8_count(decoded, strlen(decoded)) >= 0);
    if (biz_utf8_count(text, strlen(text)) >= 0) {
        const char *back = biz_percent_encode(pool, text);

        back = biz_query_decode(pool, back, strlen(back));
        FUZZ_CHECK(back != NULL && !strcmp(back, text));
    }
    if (biz_etag_matches(text, 7))
        FUZZ_CHECK(strchr(text, '*') != NULL || strchr(text, '7') != NULL);
    if (biz_valid_phone(text))
        FUZZ_CHECK(strlen(text) >= 8 && strlen(text) <= 16 && text[0] == '+');
    if (biz_valid_token(text, 1, 64))
        FUZZ_CHECK(strlen(text) <= 64 && strpbrk(text, " \r\n\"/") == NULL);
    if (biz_parse_int(text, -5, 100, &number))
        FUZZ_CHECK(number >= -5 && number <= 100);
    return 0;
}
