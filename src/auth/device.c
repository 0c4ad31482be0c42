/* device.c: see device.h. Called by whatever signs in, and by what counts failed tries. */
#include "device.h"

#include <string.h>
#include <apr_strings.h>
#include <arpa/inet.h>

#include "agent.h"
#include "auth.h"
#include "core/crypto.h"
#include "core/random.h"
#include "core/str.h"
#include "core/valid.h"
#include "keys.h"

#define ID_PREFIX "dev"
#define NOBODY "usr_00000000000000000000000000"

enum { TAG_BYTES = 16, TAG_CHARS = 22, ACCOUNTS = 4 };

static const char *tag_of(const biz_req *req, const char *id, const char *user_id)
{
    unsigned char mac[BIZ_SHA256_LEN];
    const char *bound = apr_pstrcat(req->pool, id, " ", user_id, NULL);

    biz_hmac_sha256(req->env->keys->device, BIZ_KEY_LEN, bound, strlen(bound), mac);
    return biz_b64url(req->pool, mac, TAG_BYTES);
}

/* The id of the token that was sent, NULL where it is none; *tags: what stands behind it. */
static const char *id_of(const biz_req *req, const char **tags)
{
    const char *text = biz_field_str(req, "device_token"), *id;
    size_t len;

    *tags = "";
    if (text == NULL)
        return NULL;
    len = strcspn(text, ".");
    id = apr_pstrmemdup(req->pool, text, len);
    *tags = text + len;
    return biz_valid_id(id, ID_PREFIX) ? id : NULL;
}

/* The next of ".<tag>.<tag>"; NULL at the end, and where something else stands. */
static const char *next_tag(apr_pool_t *pool, const char **tags)
{
    const char *tag = *tags + 1;
    size_t len;

    if (**tags != '.')
        return NULL;
    len = strcspn(tag, ".");
    *tags = tag + len;
    return len == TAG_CHARS ? apr_pstrmemdup(pool, tag, len) : NULL;
}

int device_known(const biz_req *req, const char *user_id, const char **id)
{
    const char *tags, *each, *sent = id_of(req, &tags), *wanted;
    int found = 0, i;

    if (id != NULL)
        *id = NULL;
    if (sent == NULL)
        return 0;
    wanted = tag_of(req, sent, user_id != NULL ? user_id : NOBODY);
    for (i = 0; i < ACCOUNTS && (each = next_tag(req->pool, &tags)) != NULL; i++)
        found |= biz_same_text(each, wanted);
    found = found && user_id != NULL;
    if (found && id != NULL)
        *id = sent;
    return found;
}

const char *device_token_for(const biz_req *req, const char *user_id)
{
    const char *tags, *each, *id = id_of(req, &tags), *own, *token;
    int kept = 1;

    if (id == NULL) {
        id = biz_new_id(req->pool, ID_PREFIX);
        tags = "";
    }
    own = tag_of(req, id, user_id);
    token = apr_pstrcat(req->pool, id, ".", own, NULL);
    while (kept < ACCOUNTS && (each = next_tag(req->pool, &tags)) != NULL) {
        if (biz_same_text(each, own))
            continue;
        token = apr_pstrcat(req->pool, token, ".", each, NULL);
        kept++;
    }
    return token;
}

/* ---- clients that keep no token ---- */

static const char *network_of(const biz_req *req)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    if (req->address == NULL)
        return "";
    if (inet_pton(AF_INET, req->address, bytes) == 1)
        return biz_hex(req->pool, bytes, 2);
    return inet_pton(AF_INET6, req->address, bytes) == 1 ? biz_hex(req->pool, bytes, 4) : "";
}

const char *device_look(const biz_req *req)
{
    unsigned char mac[BIZ_SHA256_LEN];
    const char *words = agent_words(req->pool, req->user_agent);
    const char *text =
        apr_pstrcat(req->pool, "look ", network_of(req), " ", words != NULL ? words : "", NULL);

    biz_hmac_sha256(req->env->keys->device, BIZ_KEY_LEN, text, strlen(text), mac);
    return biz_hex(req->pool, mac, TAG_BYTES);
}

/* A session of the account; `look` NULL: whatever it looks like. */
static apr_status_t session_like(const biz_req *req, const store_doc *user, const char *look)
{
    store_cond conds[] = {STORE_EQ_STR(SESSION_USER_ID, store_doc_id(user)),
                          STORE_EQ_STR(SESSION_LOOK, look)};
    store_query query = {.coll = COLL_SESSIONS,
                         .index = look != NULL ? "sessions_look" : "sessions_user",
                         .conds = conds,
                         .n_conds = look != NULL ? 2 : 1,
                         .limit = 1};
    store_doc *found;

    return store_find_one(req->env->store, req->pool, &query, &found);
}

apr_status_t device_is_new(const biz_req *req, const store_doc *user, int *is_new)
{
    apr_time_t age = req->now - store_time(user, STORE_CREATED_AT);
    apr_status_t status;

    *is_new = 0;
    if (device_known(req, store_doc_id(user), NULL))
        return APR_SUCCESS;
    status = session_like(req, user, device_look(req));
    if (status != STORE_ENOENT)
        return status;
    status = session_like(req, user, NULL);
    if (status == APR_SUCCESS)
        *is_new = 1;
    else if (status == STORE_ENOENT) {
        /* All sessions that a young account ever had would still be there. */
        *is_new = age > apr_time_from_sec(AUTH_REFRESH_MAX_DAYS * 24 * 3600);
        status = APR_SUCCESS;
    }
    return status;
}
