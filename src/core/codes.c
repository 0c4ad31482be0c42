/* codes.c: the frozen codes of api.md section 1 as tables, made from the one list in biz.h. */
#include "biz.h"

static const struct {
    const char *name;
    int status;
    const char *message;
} codes[] = {{"OK", 200, ""},
#define BIZ_CODE_ROW_(code, status, message) {#code, status, message},
             BIZ_CODES(BIZ_CODE_ROW_)
#undef BIZ_CODE_ROW_
};

static int is_code(biz_code code)
{
    return code >= BIZ_OK && code < BIZ_CODES_END;
}

const char *biz_code_name(biz_code code)
{
    return codes[is_code(code) ? code : BIZ_INTERNAL].name;
}

int biz_code_status(biz_code code)
{
    return codes[is_code(code) ? code : BIZ_INTERNAL].status;
}

const char *biz_code_message(biz_code code)
{
    return codes[is_code(code) ? code : BIZ_INTERNAL].message;
}

biz_code biz_code_for_status(int status)
{
    switch (status) {
    case 400:
        return BIZ_INVALID_REQUEST;
    case 401:
        return BIZ_UNAUTHENTICATED;
    case 403:
        return BIZ_FORBIDDEN;
    case 404:
        return BIZ_NOT_FOUND;
    case 405:
        return BIZ_METHOD_NOT_ALLOWED;
    case 408:
        return BIZ_REQUEST_TIMEOUT;
    case 412:
        return BIZ_STALE;
    case 413:
        return BIZ_BODY_TOO_LARGE;
    case 414:
        return BIZ_URI_TOO_LONG;
    case 415:
        return BIZ_UNSUPPORTED_MEDIA_TYPE;
    case 417:
        return BIZ_EXPECTATION_FAILED;
    case 422:
        return BIZ_VALIDATION_FAILED;
    case 429:
        return BIZ_RATE_LIMITED;
    case 431:
        return BIZ_HEADERS_TOO_LARGE;
    case 501:
        return BIZ_NOT_IMPLEMENTED;
    case 503:
        return BIZ_BUSY;
    default:
        return status >= 400 && status < 500 ? BIZ_INVALID_REQUEST : BIZ_INTERNAL;
    }
}
