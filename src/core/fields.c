/* fields.c: what a caller may send is declared beside its route and checked here, before any
 * handler runs. Fields that are not declared are never looked at. No value is converted: a number
 * is not a text, 1 is not true. */
#include "biz.h"

#include <string.h>
#include <apr_strings.h>

#include "locale.h"
#include "password.h"
#include "str.h"
#include "valid.h"

const char *biz_query_get(apr_pool_t *pool, const char *query, const char *name, int *ok)
{
    const char *found = NULL;
    const char *p = query;

    *ok = 1;
    while (p != NULL && *p != '\0') {
        size_t len = strcspn(p, "&");
        const char *equals = memchr(p, '=', len);
        size_t key_len = equals != NULL ? (size_t)(equals - p) : len;
        const char *key = biz_query_decode(pool, p, key_len);

        if (key == NULL) {
            *ok = 0;
            return NULL;
        }
        if (!strcmp(key, name)) {
            const char *value =
                equals != NULL ? biz_query_decode(pool, equals + 1, len - key_len - 1) : "";
            if (value == NULL || found != NULL) {
                *ok = 0;
                return NULL;
            }
            found = value;
        }
        p += len;
        if (*p == '&')
            p++;
    }
    return found;
}

static int length_is(const char *value, long min, long max)
{
    long count = biz_utf8_count(value, strlen(value));

    return count >= min && count <= max;
}

static int is_choice(const char *choices, const char *value)
{
    size_t len = strlen(value), each;

    for (; *choices != '\0'; choices += each + (choices[each] == '|')) {
        each = strcspn(choices, "|");
        if (len == each && !memcmp(choices, value, len))
            return 1;
    }
    return 0;
}

/* Codes are shown in groups and typed as they are shown. */
static const char *without_gaps(apr_pool_t *pool, const char *value)
{
    char *text = apr_pstrdup(pool, value), *to = text;

    for (; *value != '\0'; value++)
        if (*value != ' ' && *value != '-')
            *to++ = *value;
    *to = '\0';
    return text;
}

static const char *in_words(apr_pool_t *pool, const char *choices)
{
    char *rest = apr_pstrdup(pool, choices), *next = NULL;
    const char *words = apr_strtok(rest, "|", &next), *word;

    while ((word = apr_strtok(NULL, "|", &next)) != NULL)
        words = apr_pstrcat(pool, words, ", ", word, NULL);
    return words;
}

/* The value as handlers get it, or NULL and *why. */
static const char *field_value(apr_pool_t *pool, const biz_field *field, const char *value,
                               const char **why)
{
    const char *good = value;
    int64_t number;

    switch (field->type) {
    case BIZ_FIELD_EMAIL:
        good = biz_valid_email(pool, value);
        *why = "must be an e-mail address";
        break;
    case BIZ_FIELD_PASSWORD:
        good = length_is(value, 1, BIZ_PASSWORD_MAX) ? value : NULL;
        *why = "must have 1 to 256 characters";
        break;
    case BIZ_FIELD_NEW_PASSWORD:
        good = length_is(value, BIZ_PASSWORD_MIN, BIZ_PASSWORD_MAX) ? value : NULL;
        *why = "must have 8 to 256 characters";
        break;
    case BIZ_FIELD_TOKEN:
        good = length_is(value, 1, BIZ_TOKEN_MAX) ? value : NULL;
        *why = "must have 1 to 512 characters";
        break;
    case BIZ_FIELD_LINE:
        good = biz_valid_line(value, field->min, field->max) ? value : NULL;
        *why =
            apr_psprintf(pool, "must be one line of %ld to %ld characters", field->min, field->max);
        break;
    case BIZ_FIELD_PHONE:
        good = biz_valid_phone(value) ? value : NULL;
        *why = "must be a phone number such as +4930123456";
        break;
    case BIZ_FIELD_LOCALE:
        good = biz_locale_canonical(pool, value);
        *why = "must be a language tag such as en or de-AT";
        break;
    case BIZ_FIELD_TIMEZONE:
        good = biz_zone_is_known(value) ? value : NULL;
        *why = "must be a time zone such as Europe/Berlin";
        break;
    case BIZ_FIELD_TEXT:
        good = biz_valid_text(value, field->min, field->max) ? value : NULL;
        *why =
            apr_psprintf(pool, "must be a text of %ld to %ld characters", field->min, field->max);
        break;
    case BIZ_FIELD_CHOICE:
        good = is_choice(field->choices, value) ? value : NULL;
        *why = apr_pstrcat(pool, "must be one of ", in_words(pool, field->choices), NULL);
        break;
    case BIZ_FIELD_BOOL:
        good = !strcmp(value, "true") || !strcmp(value, "false") ? value : NULL;
        *why = "must be true or false";
        break;
    case BIZ_FIELD_INT:
        good = biz_parse_int(value, field->min, field->max, &number) ? value : NULL;
        *why = apr_psprintf(pool, "must be a whole number from %ld to %ld", field->min, field->max);
        break;
    case BIZ_FIELD_CODE:
        good = without_gaps(pool, value);
        good = length_is(good, field->min, field->max) ? good : NULL;
        *why = field->min == field->max
                   ? apr_psprintf(pool, "must have %ld characters", field->min)
                   : apr_psprintf(pool, "must have %ld to %ld characters", field->min, field->max);
        break;
    case BIZ_FIELD_OBJECT:
    case BIZ_FIELD_LIST:
    case BIZ_FIELD_BODY:
        good = NULL; /* never in a query */
        *why = "must be in the body";
        break;
    }
    return good;
}

static void refuse(biz_req *req, biz_reply *reply, const biz_field *field, const char *why)
{
    biz_json *detail = biz_json_object(req->pool);
    const char *message = apr_pstrcat(req->pool, field->name, " ", why, ".", NULL);

    if (reply->details == NULL) {
        reply->details = biz_json_array(req->pool);
        biz_fail(reply, BIZ_VALIDATION_FAILED, field->name, message);
    }
    biz_json_set_str(detail, "param", field->name);
    biz_json_set_str(detail, "message", message);
    biz_json_add(reply->details, detail);
}

/* The text of a value of the declared kind; a list and an object have none but "": that they are
 * there. NULL and *why for any other kind. */
static const char *body_text(apr_pool_t *pool, const biz_field *field, biz_json *given,
                             const char **why)
{
    biz_json_type kind = biz_json_kind(given);
    long size;

    switch (field->type) {
    case BIZ_FIELD_BOOL:
        *why = "must be true or false";
        return kind != BIZ_JSON_BOOL ? NULL : biz_json_is_true(given) ? "true" : "false";
    case BIZ_FIELD_INT:
        *why = "must be a whole number";
        return kind == BIZ_JSON_INT
                   ? apr_psprintf(pool, "%" APR_INT64_T_FMT, biz_json_int_value(given))
                   : NULL;
    case BIZ_FIELD_OBJECT:
        *why = "must be an object";
        return kind == BIZ_JSON_OBJECT ? "" : NULL;
    case BIZ_FIELD_LIST:
        size = (long)biz_json_size(given);
        *why = apr_psprintf(pool, "must be an array of %ld to %ld values", field->min, field->max);
        return kind == BIZ_JSON_ARRAY && size >= field->min && size <= field->max ? "" : NULL;
    default:
        *why = "must be a string";
        return kind == BIZ_JSON_STRING ? biz_json_str_value(given) : NULL;
    }
}

static void check_body_field(biz_req *req, biz_reply *reply, const biz_field *field)
{
    biz_json *given = biz_json_get(req->json, field->name);
    const char *why = NULL, *value;

    if (given == NULL) {
        if (field->flags & BIZ_REQUIRED)
            refuse(req, reply, field, "is required");
        return;
    }
    if (biz_json_kind(given) == BIZ_JSON_NULL && (field->flags & BIZ_NULLABLE)) {
        apr_table_setn(req->nulls, field->name, "");
        return;
    }
    value = body_text(req->pool, field, given, &why);
    if (value != NULL && field->type != BIZ_FIELD_OBJECT && field->type != BIZ_FIELD_LIST)
        value = field_value(req->pool, field, value, &why);
    if (value == NULL)
        refuse(req, reply, field, why);
    else
        apr_table_setn(req->fields, field->name, value);
}

static biz_code check_query_field(biz_req *req, biz_reply *reply, const biz_field *field)
{
    int ok;
    const char *why = NULL;
    const char *given = biz_query_get(req->pool, req->query, field->name, &ok), *value;

    if (!ok)
        return biz_fail(reply, BIZ_INVALID_REQUEST, field->name,
                        "The query is malformed or names a parameter twice.");
    if (given == NULL) {
        if (field->flags & BIZ_REQUIRED)
            refuse(req, reply, field, "is required");
        return BIZ_OK;
    }
    value = field_value(req->pool, field, given, &why);
    if (value == NULL)
        refuse(req, reply, field, why);
    else
        apr_table_setn(req->fields, field->name, value);
    return BIZ_OK;
}

biz_code biz_fields_check(biz_req *req, biz_reply *reply)
{
    const biz_field *field;

    if (req->json != NULL && biz_json_kind(req->json) != BIZ_JSON_OBJECT)
        return biz_fail(reply, BIZ_VALIDATION_FAILED, NULL, "The body must be a JSON object.");
    for (field = req->route->fields; field != NULL && field->name != NULL; field++) {
        if (field->flags & BIZ_IN_QUERY) {
            if (check_query_field(req, reply, field) != BIZ_OK)
                return reply->code;
        } else if (field->type != BIZ_FIELD_BODY) {
            check_body_field(req, reply, field);
        }
    }
    return reply->code;
}

int64_t biz_field_int(const biz_req *req, const char *name, int64_t otherwise)
{
    const char *text = biz_field_str(req, name);

    return text != NULL ? apr_atoi64(text) : otherwise;
}

int biz_field_bool(const biz_req *req, const char *name, int otherwise)
{
    const char *text = biz_field_str(req, name);

    return text != NULL ? text[0] == 't' : otherwise;
}

biz_code biz_page_of(biz_req *req, biz_reply *reply, int *limit, const char **cursor)
{
    int ok_limit, ok_cursor;
    int64_t number = BIZ_PAGE_DEFAULT;
    const char *text = biz_query_get(req->pool, req->query, "limit", &ok_limit);

    *cursor = biz_query_get(req->pool, req->query, "cursor", &ok_cursor);
    if (!ok_limit || !ok_cursor)
        return biz_fail(reply, BIZ_INVALID_REQUEST, ok_limit ? "cursor" : "limit",
                        "The query is malformed or names a parameter twice.");
    if (text != NULL && !biz_parse_int(text, 1, BIZ_PAGE_MAX, &number))
        return biz_fail(reply, BIZ_VALIDATION_FAILED, "limit", "limit must be 1 to 100.");
    *limit = (int)number;
    reply->has_page = 1;
    reply->page_limit = *limit;
    return BIZ_OK;
}
