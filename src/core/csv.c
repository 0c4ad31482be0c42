/* csv.c: see csv.h. Called by whatever exports. */
#include "csv.h"

#include <string.h>

const char *biz_csv_cell(apr_pool_t *pool, const char *text)
{
    size_t len = text != NULL ? strlen(text) : 0, i;
    char *cell = apr_palloc(pool, 2 * len + 4), *to = cell;

    *to++ = '"';
    if (len > 0 && (strchr("=+-@", text[0]) != NULL || (unsigned char)text[0] < 0x20))
        *to++ = '\'';
    for (i = 0; i < len; i++) {
        if (text[i] == '"')
            *to++ = '"';
        *to++ = text[i];
    }
    *to++ = '"';
    *to = '\0';
    return cell;
}
