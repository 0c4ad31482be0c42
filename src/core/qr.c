/* qr.c: see qr.h. Called by the handler of /auth/2fa/setup. It must not log: the text is secret. */
#include "qr.h"

#include <qrencode.h>
#include <apr_strings.h>

#include "crypto.h"

enum { QUIET = 4, CELL_MAX = 24 }; /* bytes of one run: "M177 177h177v1h-177z" */

const char *biz_qr_svg(apr_pool_t *pool, const char *text)
{
    QRcode *code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_M);
    int size, x, y, begin;
    char *path, *at;
    const char *svg;

    if (code == NULL)
        return NULL;
    size = code->width;
    /* At most every other module begins a run. */
    path = at = apr_palloc(pool, (size_t)size * ((size_t)size / 2 + 1) * CELL_MAX + 1);
    *at = '\0';
    for (y = 0; y < size; y++)
        for (x = 0; x < size; x++) {
            for (begin = x; x < size && (code->data[y * size + x] & 1); x++)
                ;
            if (x > begin)
                at += apr_snprintf(at, CELL_MAX, "M%d %dh%dv1h-%dz", begin + QUIET, y + QUIET,
                                   x - begin, x - begin);
        }
    biz_wipe(code->data, (size_t)size * (size_t)size);
    QRcode_free(code);
    size += 2 * QUIET;
    svg = apr_psprintf(pool,
                       "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
                       "shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h%dv%dH0z\"/>"
                       "<path d=\"%s\"/></svg>",
                       size, size, size, size, path);
    return svg;
}
