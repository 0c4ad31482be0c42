/* test_template.c: a template of an operator with a value of a stranger in it. The first byte gives
 * the kind of file; the value is the first line, the template all that follows. */
#include "fuzz.h"

#include "mail/compile.h"

/* A line that no template can hold by itself. */
#define MARK "<i data-x=\"'>"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool = fuzz_pool();
    apr_table_t *values = apr_table_make(pool, 4);
    const char *why = NULL, *value, *filled;
    char *rest;
    mail_text *text;
    int flags;

    if (size == 0)
        return 0;
    flags = data[0] & (MAIL_TEXT_HTML | MAIL_TEXT_LAYOUT);
    rest = fuzz_text(pool, data + 1, size - 1);
    value = fuzz_line(&rest);
    if (rest == NULL)
        return 0;
    text = mail_text_compile(pool, "fuzz", 1, flags, rest, NULL, &why);
    FUZZ_CHECK((text == NULL) == (why != NULL));
    if (text == NULL)
        return 0;
    apr_table_setn(values, "user_name", apr_pstrcat(pool, value, MARK, NULL));
    apr_table_setn(values, "link_url", value);
    apr_table_setn(values, "primary", "#123456");
    apr_table_setn(values, "ip", "");
    filled = mail_text_fill(pool, text, values, flags & MAIL_TEXT_LAYOUT ? "inner" : NULL, 0, &why);
    FUZZ_CHECK((filled == NULL) == (why != NULL));
    if (filled != NULL && (flags & MAIL_TEXT_HTML) && strstr(rest, MARK) == NULL &&
        strstr(value, MARK) == NULL)
        FUZZ_CHECK(strstr(filled, MARK) == NULL);
    return 0;
}
