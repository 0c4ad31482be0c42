/* json.h: JSON (RFC 8259) in and out; jansson behind it, included by json.c alone.
 *
 * Values are reference-counted inside; what these functions give is owned by the pool it was made
 * with, or by the object it was put into: callers never free. Several threads may read a value; to
 * change it, or to put it into another one, it must belong to one thread. */
#ifndef BIZ_JSON_H
#define BIZ_JSON_H

#include <stddef.h>
#include <stdint.h>
#include <apr_pools.h>
#include <apr_errno.h>

typedef struct json_t biz_json;

typedef enum {
    BIZ_JSON_NULL,
    BIZ_JSON_BOOL,
    BIZ_JSON_INT,
    BIZ_JSON_REAL,
    BIZ_JSON_STRING,
    BIZ_JSON_ARRAY,
    BIZ_JSON_OBJECT
} biz_json_type;

/* Once a process, before threads. */
void biz_json_init(void);

/* Refuses: duplicate keys, trailing text, NUL (also \u0000), invalid UTF-8, lone surrogates,
 * integers beyond 64 bits, reals out of range, nesting deeper than `max_depth` (arrays and objects
 * each count one; checked before parsing, so that depth costs nothing).
 * APR_EINVAL and *position (byte offset of the trouble). The parser's own message is never given:
 * it quotes the input. */
apr_status_t biz_json_parse(apr_pool_t *pool, const char *text, size_t len, int max_depth,
                            biz_json **out, size_t *position);

/* Compact text with keys in the order of insertion, NUL-terminated; *len may be NULL. */
const char *biz_json_text(apr_pool_t *pool, const biz_json *value, size_t *len);

biz_json *biz_json_object(apr_pool_t *pool);
biz_json *biz_json_array(apr_pool_t *pool);

/* Put into an object. A NULL text or value becomes null. */
void biz_json_set_str(biz_json *object, const char *key, const char *value);
void biz_json_set_int(biz_json *object, const char *key, int64_t value);
void biz_json_set_bool(biz_json *object, const char *key, int value);
void biz_json_set_real(biz_json *object, const char *key, double value);     /* never for money */
void biz_json_set_time(biz_json *object, const char *key, int64_t apr_time); /* 0 becomes null */
void biz_json_set(biz_json *object, const char *key, biz_json *value);
void biz_json_remove(biz_json *object, const char *key);

void biz_json_add(biz_json *array, biz_json *value);
void biz_json_add_str(biz_json *array, const char *value);

/* Look. Missing keys and values of another type give NULL or `otherwise`. */
biz_json_type biz_json_kind(const biz_json *value); /* NULL counts as BIZ_JSON_NULL */
biz_json *biz_json_get(const biz_json *object, const char *key);
const char *biz_json_str(const biz_json *object, const char *key);
int64_t biz_json_int(const biz_json *object, const char *key, int64_t otherwise);
int biz_json_bool(const biz_json *object, const char *key, int otherwise);
double biz_json_number(const biz_json *object, const char *key, double otherwise); /* INT, REAL */
const char *biz_json_str_value(const biz_json *value);
int64_t biz_json_int_value(const biz_json *value);
int biz_json_is_true(const biz_json *value);
size_t biz_json_size(const biz_json *array_or_object);
biz_json *biz_json_at(const biz_json *array, size_t index);

/* Walks an object: start with *iter NULL; NULL key at the end. */
const char *biz_json_next(biz_json *object, void **iter, biz_json **value);

#endif
