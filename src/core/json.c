/* json.c: JSON in and out, the only includer of jansson. Called by all layers. The parser's own
 * messages never leave this file: they quote the input, which may be a password. */
#include "json.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>
#include <jansson.h>

#include "log.h"
#include "time.h"

enum { PAGE_SIZE = 1024 }; /* most answers fit */

void biz_json_init(void)
{
    json_object_seed(0);
}

/* jansson answers NULL only where memory has run out; a pool would end the process just so. */
static json_t *must(json_t *value)
{
    if (!value) {
        biz_log(BIZ_LOG_ERR, APR_ENOMEM, BZ(0152) "no memory for a JSON value; the process ends");
        abort();
    }
    return value;
}

static apr_status_t release(void *data)
{
    json_decref(data);
    return APR_SUCCESS;
}

static json_t *owned(apr_pool_t *pool, json_t *value)
{
    apr_pool_cleanup_register(pool, value, release, apr_pool_cleanup_null);
    return value;
}

/* ---- in ---- */

/* 0 where the text nests deeper than `max`, and *position. Counts brackets outside of strings, so
 * it is right for every text that is valid, and what is not valid fails in the parser. */
static int depth_is_fine(const char *text, size_t len, int max, size_t *position)
{
    int depth = 0;
    int in_string = 0;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = 0;
            }
        } else if (c == '"') {
            in_string = 1;
        } else if (c == '{' || c == '[') {
            if (++depth > max) {
                *position = i;
                return 0;
            }
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return 1;
}

apr_status_t biz_json_parse(apr_pool_t *pool, const char *text, size_t len, int max_depth,
                            biz_json **out, size_t *position)
{
    json_error_t error;
    json_t *root;
    size_t at = 0;

    *out = NULL;
    if (position) {
        *position = 0;
    }
    if (!text || !depth_is_fine(text, len, max_depth, &at)) {
        goto refuse;
    }
    root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        at = error.position > 0 ? (size_t)error.position : 0;
        goto refuse;
    }
    *out = owned(pool, root);
    return APR_SUCCESS;
refuse:
    if (position) {
        *position = at;
    }
    return APR_EINVAL;
}

/* ---- out ---- */

typedef struct {
    apr_pool_t *pool;
    char *text;
    size_t len, size;
} page;

/* jansson hands over a few bytes at a time. */
static int append(const char *bytes, size_t n, void *data)
{
    page *p = data;

    if (n >= p->size - p->len) {
        char *larger;

        p->size = 2 * (p->size + n);
        larger = apr_palloc(p->pool, p->size);
        memcpy(larger, p->text, p->len);
        p->text = larger;
    }
    memcpy(p->text + p->len, bytes, n);
    p->len += n;
    return 0;
}

const char *biz_json_text(apr_pool_t *pool, const biz_json *value, size_t *len)
{
    page p = {pool, apr_palloc(pool, PAGE_SIZE), 0, PAGE_SIZE};

    json_dump_callback(value ? value : json_null(), append, &p, JSON_COMPACT | JSON_ENCODE_ANY);
    p.text[p.len] = '\0';
    if (len) {
        *len = p.len;
    }
    return p.text;
}

/* ---- make ---- */

biz_json *biz_json_object(apr_pool_t *pool)
{
    return owned(pool, must(json_object()));
}

biz_json *biz_json_array(apr_pool_t *pool)
{
    return owned(pool, must(json_array()));
}

/* Text that is not UTF-8 cannot stand in JSON: it becomes null. */
static json_t *string_or_null(const char *value)
{
    json_t *string = value ? json_string(value) : NULL;

    return string ? string : json_null();
}

void biz_json_set_str(biz_json *object, const char *key, const char *value)
{
    json_object_set_new(object, key, string_or_null(value));
}

void biz_json_set_int(biz_json *object, const char *key, int64_t value)
{
    json_object_set_new(object, key, must(json_integer(value)));
}

void biz_json_set_bool(biz_json *object, const char *key, int value)
{
    json_object_set_new(object, key, json_boolean(value));
}

/* What is no number (infinite, NaN) cannot stand in JSON: it becomes null. */
void biz_json_set_real(biz_json *object, const char *key, double value)
{
    json_t *real = json_real(value);

    json_object_set_new(object, key, real ? real : json_null());
}

void biz_json_set_time(biz_json *object, const char *key, int64_t apr_time)
{
    char text[BIZ_TIME_SIZE];

    if (apr_time == 0) {
        json_object_set_new(object, key, json_null());
        return;
    }
    biz_time_write(apr_time, text);
    json_object_set_new(object, key, must(json_string(text)));
}

/* The object takes a reference of its own; the pool keeps the one it has. So neither the order in
 * which pools end nor a value that stands in two objects can free it too early. */
void biz_json_set(biz_json *object, const char *key, biz_json *value)
{
    json_object_set(object, key, value ? value : json_null());
}

void biz_json_remove(biz_json *object, const char *key)
{
    json_object_del(object, key);
}

void biz_json_add(biz_json *array, biz_json *value)
{
    json_array_append(array, value ? value : json_null());
}

void biz_json_add_str(biz_json *array, const char *value)
{
    json_array_append_new(array, string_or_null(value));
}

/* ---- look ---- */

biz_json_type biz_json_kind(const biz_json *value)
{
    if (!value) {
        return BIZ_JSON_NULL;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return BIZ_JSON_OBJECT;
    case JSON_ARRAY:
        return BIZ_JSON_ARRAY;
    case JSON_STRING:
        return BIZ_JSON_STRING;
    case JSON_INTEGER:
        return BIZ_JSON_INT;
    case JSON_REAL:
        return BIZ_JSON_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return BIZ_JSON_BOOL;
    case JSON_NULL:
        break;
    }
    return BIZ_JSON_NULL;
}

biz_json *biz_json_get(const biz_json *object, const char *key)
{
    return json_object_get(object, key);
}

const char *biz_json_str(const biz_json *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

int64_t biz_json_int(const biz_json *object, const char *key, int64_t otherwise)
{
    const json_t *value = json_object_get(object, key);

    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

int biz_json_bool(const biz_json *object, const char *key, int otherwise)
{
    const json_t *value = json_object_get(object, key);

    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

double biz_json_number(const biz_json *object, const char *key, double otherwise)
{
    const json_t *value = json_object_get(object, key);

    return json_is_number(value) ? json_number_value(value) : otherwise;
}

const char *biz_json_str_value(const biz_json *value)
{
    return json_string_value(value);
}

int64_t biz_json_int_value(const biz_json *value)
{
    return json_integer_value(value);
}

int biz_json_is_true(const biz_json *value)
{
    return json_is_true(value);
}

size_t biz_json_size(const biz_json *array_or_object)
{
    return json_is_array(array_or_object) ? json_array_size(array_or_object)
                                          : json_object_size(array_or_object);
}

biz_json *biz_json_at(const biz_json *array, size_t index)
{
    return json_array_get(array, index);
}

const char *biz_json_next(biz_json *object, void **iter, biz_json **value)
{
    *iter = *iter ? json_object_iter_next(object, *iter) : json_object_iter(object);
    if (!*iter) {
        return NULL;
    }
    if (value) {
        *value = json_object_iter_value(*iter);
    }
    return json_object_iter_key(*iter);
}
