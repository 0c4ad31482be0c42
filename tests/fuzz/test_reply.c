/* test_reply.c: what a mail server says, RFC 5321 section 4.2: replies to commands, and what it
 * offers in the answer to EHLO. However it comes in pieces, it is the same. */
#include "fuzz.h"

#include <stdlib.h>

#include "net/smtp.h"

/* The reply at the beginning of the text, read in pieces of so many bytes; its length. */
static size_t read_by(smtp_reply *reply, const uint8_t *data, size_t size, size_t piece)
{
    size_t at = 0, n;

    memset(reply, 0, sizeof(*reply));
    while (at < size && reply->state == SMTP_MORE) {
        n = size - at < piece ? size - at : piece;
        n = smtp_reply_take(reply, (const char *)data + at, n);
        FUZZ_CHECK(n > 0);
        at += n;
    }
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    smtp_reply whole, bytes;
    smtp_hello hello = {0};
    size_t at = 0, taken;

    do {
        taken = read_by(&whole, data + at, size - at, size ? size : 1);
        FUZZ_CHECK(read_by(&bytes, data + at, size - at, 1) == taken);
        FUZZ_CHECK(whole.state == bytes.state && whole.code == bytes.code);
        FUZZ_CHECK(whole.len <= SMTP_LINE_MAX && whole.lines <= 100);
        if (whole.state == SMTP_WHOLE) {
            FUZZ_CHECK(whole.code >= 200 && whole.code <= 599);
            FUZZ_CHECK(strlen(whole.line) == whole.len && strcmp(whole.line, bytes.line) == 0);
            FUZZ_CHECK(data[at + taken - 1] == '\n' && strtol(whole.line, NULL, 10) == whole.code);
        }
        at += taken;
    } while (whole.state == SMTP_WHOLE && at < size);

    for (at = 0; at < size; at += taken) {
        const uint8_t *end = memchr(data + at, '\n', size - at);

        taken = end ? (size_t)(end - data) + 1 - at : size - at;
        smtp_hear(&hello, (const char *)data + at, taken);
        FUZZ_CHECK(strlen(hello.refusal) < sizeof(hello.refusal));
        FUZZ_CHECK(hello.refusal[0] == '\0' || hello.refusal[0] == '4' || hello.refusal[0] == '5');
    }
    return 0;
}
