/* str.h: small string work shared by all layers. Results live in the given pool. */
#ifndef BIZ_STR_H
#define BIZ_STR_H

#include <stddef.h>
#include <stdint.h>
#include <apr_pools.h>

/* RFC 4648 section 5 without padding. Decoding accepts only the canonical form: no padding, no
 * stray bits, no white space. NULL when it is not. */
const char *biz_b64url(apr_pool_t *pool, const void *data, size_t len);
unsigned char *biz_b64url_decode(apr_pool_t *pool, const char *text, size_t text_len, size_t *len);

const char *biz_hex(apr_pool_t *pool, const void *data, size_t len); /* lower case */

/* Number of code points of a UTF-8 text, or -1 where it is not valid UTF-8 (RFC 3629: no overlong
 * forms, no surrogates, nothing above U+10FFFF). */
long biz_utf8_count(const char *text, size_t len);

/* The next code point at *text (valid UTF-8, NUL-terminated); advances. 0 at the end. */
uint32_t biz_utf8_next(const char **text);

/* 1 where `c` may not stand in a single line of text: C0, DEL, C1, line and paragraph separators,
 * and the bidirectional embeddings, overrides and isolates. */
int biz_char_is_control(uint32_t c);
/* 1 for white space and for characters of no width, which alone make no name. */
int biz_char_is_blank(uint32_t c);

/* ASCII only, never by locale. */
const char *biz_lower(apr_pool_t *pool, const char *text);

/* Percent-decoding of one query component, '+' being a space. NULL where it is malformed, holds
 * NUL, or is not UTF-8. */
const char *biz_query_decode(apr_pool_t *pool, const char *text, size_t len);
const char *biz_percent_encode(apr_pool_t *pool,
                               const char *text); /* all but RFC 3986 unreserved */

/* The text with every byte outside printable ASCII as \xNN, cut at `max` bytes: for log lines. */
const char *biz_printable(apr_pool_t *pool, const char *text, size_t max);
/* "k***@example.com": an address as it may stand in a log. */
const char *biz_mask_email(apr_pool_t *pool, const char *email);

/* The text with each word that holds an '@' covered: servers like to quote addresses. */
const char *biz_without_addresses(apr_pool_t *pool, const char *text);

/* FNV-1a, 64 bits, for finding a text among those that the program itself has: whoever chose these
 * could make them all collide. */
uint64_t biz_hash(const char *text);

/* Strict decimal, whole text, within [min, max]; no '+', no leading zeros, no white space. 1 and
 * *out, or 0. */
int biz_parse_int(const char *text, int64_t min, int64_t max, int64_t *out);

/* `n`, or the bound that it is beyond. */
int biz_between(int least, int n, int most);

#endif
