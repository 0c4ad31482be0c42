/* cache.c: see cache.h. Called by the files of the providers that may be cached. */
#include "cache.h"

#include <string.h>

#include "core/crypto.h"
#include "store/store.h"

biz_json *cache_get(biz_req *req, const char *what)
{
    store_doc *doc;
    biz_json *value;
    const char *text;
    size_t position;

    if (store_get(req->env->store, req->pool, COLL_PROVIDER_CACHE, biz_sha256_hex(req->pool, what),
                  &doc) != APR_SUCCESS)
        return NULL;
    text = store_str(doc, CACHE_VALUE);
    if (text == NULL || store_time(doc, CACHE_EXPIRES_AT) <= req->now ||
        biz_json_parse(req->pool, text, strlen(text), BIZ_JSON_DEPTH, &value, &position) !=
            APR_SUCCESS)
        return NULL;
    return value;
}

void cache_put(biz_req *req, const char *what, const biz_json *value, apr_interval_time_t span)
{
    store_doc *doc = store_doc_new(req->pool, COLL_PROVIDER_CACHE);
    const char *id = biz_sha256_hex(req->pool, what), *text = biz_json_text(req->pool, value, NULL);
    store_change changes[] = {STORE_SET_STR(CACHE_VALUE, text),
                              STORE_SET_TIME(CACHE_EXPIRES_AT, req->now + span)};

    store_doc_set_id(doc, id);
    store_set_str(doc, CACHE_VALUE, text);
    store_set_time(doc, CACHE_EXPIRES_AT, req->now + span);
    if (store_insert(req->env->store, req->pool, doc, NULL) == STORE_EEXIST)
        store_update(req->env->store, req->pool, COLL_PROVIDER_CACHE, id, NULL, 0, changes,
                     STORE_COUNT_OF(changes), NULL);
}
