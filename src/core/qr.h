/* qr.h: a text as a picture for cameras (ISO/IEC 18004); libqrencode behind it, included by qr.c
 * alone. */
#ifndef BIZ_QR_H
#define BIZ_QR_H

#include <apr_pools.h>

/* An SVG document, black on white with the quiet zone of four modules that the standard asks for,
 * without script, style or link; NULL where the text is too long (some 2000 bytes) or memory is. */
const char *biz_qr_svg(apr_pool_t *pool, const char *text);

#endif
