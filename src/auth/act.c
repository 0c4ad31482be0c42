/* act.c: see act.h. Called by the handlers that change accounts, by the background job and by
 * bizapictl. The field holds a list, since a change may find that another one's worker was killed
 * before it told. Nothing here is a lock: whoever comes may tell, and the keys keep it single. */
#include "act.h"

#include <string.h>
#include <apr_strings.h>

#include "core/random.h"
#include "outbox/outbox.h"

enum { TRIES = 20 };
#define AN_HOUR apr_time_from_sec(3600)

/* Where documents keep it; whose they are and what else finds them, 0: nothing. */
typedef struct {
    store_coll_no coll;
    const char *index;
    store_fid untold, owner, key;
} kind;

static const kind kinds[] = {
    {COLL_USERS, "users_untold", USER_UNTOLD, 0, 0},
    {COLL_SESSIONS, "sessions_untold", SESSION_UNTOLD, SESSION_USER_ID, 0},
    {COLL_PASSKEYS, "passkeys_untold", PASSKEY_UNTOLD, PASSKEY_USER_ID, PASSKEY_CREDENTIAL_ID},
    {COLL_RECOVERY_CODES, "recovery_untold", RECOVERY_UNTOLD, RECOVERY_USER_ID, RECOVERY_CODE}};

enum { KINDS = STORE_COUNT_OF(kinds) };

static const kind *kind_of(store_coll_no coll)
{
    int i;

    for (i = 0; i < KINDS && kinds[i].coll != coll; i++)
        continue;
    return i < KINDS ? &kinds[i] : NULL;
}

static store_fid untold_of(store_coll_no coll)
{
    const kind *k = kind_of(coll);

    return k != NULL ? k->untold : 0;
}

const char *act_untold(const store_doc *doc)
{
    return store_str(doc, untold_of(store_doc_coll(doc)));
}

act_by act_by_caller(const biz_req *req, const char *user_id)
{
    return (act_by){.store = req->env->store,
                    .pool = req->pool,
                    .audit = req->env->audit,
                    .user_id = user_id,
                    .actor_id = req->user != NULL ? store_doc_id(req->user) : NULL,
                    .ip = req->address,
                    .user_agent = req->user_agent,
                    .request_id = req->id,
                    .at = req->now};
}

/* ---- in ---- */

static biz_json *record_of(const act_by *by, const act *a)
{
    biz_json *json = biz_json_object(by->pool);
    int is_other = by->actor_id != NULL && strcmp(by->actor_id, by->user_id) != 0;

    biz_json_set_str(json, "id", biz_new_id(by->pool, "act"));
    biz_json_set_int(json, "at", by->at);
    biz_json_set_str(json, "user_id", by->user_id);
    biz_json_set_str(json, "actor_id", is_other ? by->actor_id : NULL);
    biz_json_set_str(json, "ip", by->ip);
    biz_json_set_str(json, "user_agent", by->user_agent);
    biz_json_set_str(json, "request_id", by->request_id);
    biz_json_set_str(json, "event", a->event);
    biz_json_set_str(json, "details", a->details);
    biz_json_set_str(json, "notice", a->notice);
    biz_json_set_str(json, "about", a->about);
    return json;
}

/* The list in `text` of that document; an empty one for NULL and for what is none of ours. */
static biz_json *list_of(apr_pool_t *pool, const char *text, const char *id)
{
    biz_json *list;
    size_t position;

    if (text == NULL)
        return biz_json_array(pool);
    if (biz_json_parse(pool, text, strlen(text), BIZ_JSON_DEPTH, &list, &position) == APR_SUCCESS &&
        biz_json_kind(list) == BIZ_JSON_ARRAY)
        return list;
    biz_log(BIZ_LOG_ERR, 0,
            BZ(0535) "what %s has to tell the audit log and its owner cannot be read: somebody "
                     "else has written it; left out",
            id);
    return biz_json_array(pool);
}

static const char *text_with(const act_by *by, const char *before, const char *id, const act *acts,
                             size_t n_acts)
{
    biz_json *list = list_of(by->pool, before, id);
    size_t i;

    for (i = 0; i < n_acts; i++)
        biz_json_add(list, record_of(by, &acts[i]));
    return biz_json_text(by->pool, list, NULL);
}

void act_carry(const act_by *by, store_doc *doc, const act *acts, size_t n_acts)
{
    store_set_str(doc, untold_of(store_doc_coll(doc)),
                  text_with(by, NULL, store_doc_id(doc), acts, n_acts));
}

static int is_same(const char *a, const char *b)
{
    return a == NULL ? b == NULL : b != NULL && !strcmp(a, b);
}

/* On top of what is there to be told yet: `before` as it was read last, nothing where there was no
 * look so far. A condition that does not hold may be the one of the field, and then it is tried
 * again. It is one of the caller's where a try lies between two looks at the same version and
 * field: within a version the field is emptied at most, so that it was the same for the try, too.
 */
apr_status_t act_update(const act_by *by, store_coll_no coll, const char *id,
                        const store_cond *conds, size_t n_conds, const store_change *changes,
                        size_t n_changes, const act *acts, size_t n_acts, store_doc **after)
{
    store_fid untold = untold_of(coll);
    apr_array_header_t *all = apr_array_make(by->pool, (int)n_conds + 1, sizeof(store_cond));
    apr_array_header_t *own = apr_array_make(by->pool, (int)n_changes + 1, sizeof(store_change));
    const char *before = NULL, *now, *text;
    store_doc *doc = NULL;
    int64_t seen = 0; /* the version of the last look */
    apr_status_t status;
    size_t i;
    int tries;

    if (n_acts == 0)
        return store_update(by->store, by->pool, coll, id, conds, n_conds, changes, n_changes,
                            after);
    for (i = 0; i < n_conds; i++)
        APR_ARRAY_PUSH(all, store_cond) = conds[i];
    for (i = 0; i < n_changes; i++)
        APR_ARRAY_PUSH(own, store_change) = changes[i];
    apr_array_push(all);
    apr_array_push(own);
    for (tries = 0; tries < TRIES; tries++) {
        text = text_with(by, before, id, acts, n_acts);
        APR_ARRAY_IDX(all, n_conds, store_cond) = (store_cond)STORE_EQ_STR(untold, before);
        APR_ARRAY_IDX(own, n_changes, store_change) = (store_change)STORE_SET_STR(untold, text);
        status = store_update(by->store, by->pool, coll, id, (store_cond *)all->elts, n_conds + 1,
                              (store_change *)own->elts, n_changes + 1, &doc);
        if (status == STORE_ECOND) {
            status = store_get(by->store, by->pool, coll, id, &doc);
            now = status == APR_SUCCESS ? store_str(doc, untold) : NULL;
            if (status == APR_SUCCESS && !is_same(now, text)) {
                if (store_doc_version(doc) == seen && is_same(now, before))
                    return STORE_ECOND;
                seen = store_doc_version(doc);
                before = now;
                continue;
            }
            /* else it was done, and its answer was lost on the way */
        }
        if (status == APR_SUCCESS && after != NULL)
            *after = doc;
        return status;
    }
    return STORE_EUNAVAIL;
}

/* ---- out ---- */

static apr_status_t write_one(const act_by *by, const biz_json *json)
{
    const char *notice = biz_json_str(json, "notice");
    const char *key = apr_pstrcat(by->pool, "act ", biz_json_str(json, "id"), NULL);
    audit_event event = {.name = biz_json_str(json, "event"),
                         .user_id = biz_json_str(json, "user_id"),
                         .actor_id = biz_json_str(json, "actor_id"),
                         .ip = biz_json_str(json, "ip"),
                         .user_agent = biz_json_str(json, "user_agent"),
                         .request_id = biz_json_str(json, "request_id"),
                         .details = biz_json_str(json, "details"),
                         .once = key,
                         .at = biz_json_int(json, "at", 0)};
    apr_status_t status = APR_SUCCESS;

    if (event.name != NULL)
        status = audit_append(by->audit, by->pool, &event);
    if (status == APR_SUCCESS && notice != NULL) {
        outbox_message mail = {.channel = OUTBOX_MAIL,
                               .kind = OUTBOX_NOTICE,
                               .user_id = event.user_id,
                               .unique_key = key,
                               .data = outbox_notice_data(by->pool, notice, event.ip,
                                                          biz_json_str(json, "about"), event.at)};

        status = outbox_add(by->store, by->pool, &mail);
    }
    return status == STORE_EEXIST ? APR_SUCCESS : status;
}

apr_status_t act_write(const act_by *by, const store_doc *doc)
{
    biz_json *list = list_of(by->pool, act_untold(doc), store_doc_id(doc));
    apr_status_t status = APR_SUCCESS;
    size_t i;

    for (i = 0; i < biz_json_size(list) && status == APR_SUCCESS; i++)
        status = write_one(by, biz_json_at(list, i));
    return status;
}

apr_status_t act_tell(const act_by *by, store_doc **doc)
{
    const kind *k = kind_of(store_doc_coll(*doc));
    store_coll_no coll = store_doc_coll(*doc);
    const char *id = store_doc_id(*doc), *text = act_untold(*doc);
    int is_over = k->owner != 0 && store_is_null(*doc, k->owner);
    store_cond same[] = {STORE_EQ_STR(k->untold, text)};
    store_doc *after = *doc;
    apr_status_t status;

    if (text == NULL || by->audit == NULL)
        return APR_SUCCESS;
    status = act_write(by, *doc);
    if (status != APR_SUCCESS)
        return status;
    if (is_over)
        status = store_delete(by->store, by->pool, coll, id, same, 1);
    else
        status = store_empty(by->store, by->pool, coll, id, k->untold, text, &after);
    if (status == STORE_ECOND && !is_over) /* somebody else has told it meanwhile */
        status = store_get(by->store, by->pool, coll, id, &after);
    if (status == APR_SUCCESS)
        *doc = after;
    return status == STORE_ENOENT || status == STORE_ECOND ? APR_SUCCESS : status;
}

/* The oldest come first: the field begins with the time, in an act's id. */
apr_status_t act_tell_left(const act_by *by, apr_time_t before, int *told)
{
    apr_status_t status = APR_SUCCESS;
    apr_array_header_t *docs;
    int k, i;

    *told = 0;
    for (k = 0; k < KINDS && status == APR_SUCCESS; k++) {
        store_cond any[] = {{kinds[k].untold, STORE_GT, STORE_V_STR("")}};
        store_query query = {.coll = kinds[k].coll,
                             .index = kinds[k].index,
                             .conds = any,
                             .n_conds = STORE_COUNT_OF(any),
                             .limit = ACT_BATCH};

        status = store_find(by->store, by->pool, &query, &docs, NULL);
        for (i = 0; status == APR_SUCCESS && i < docs->nelts; i++) {
            store_doc *doc = APR_ARRAY_IDX(docs, i, store_doc *);
            apr_time_t changed = store_time(doc, STORE_UPDATED_AT);

            if (changed >= before && changed < before + AN_HOUR)
                continue;
            status = act_tell(by, &doc);
            ++*told;
        }
    }
    return status;
}

/* ---- at an end ---- */

apr_status_t act_disown(const act_by *by, store_coll_no coll, const char *id,
                        const store_cond *conds, size_t n_conds, const act *told, store_doc **after)
{
    const kind *k = kind_of(coll);
    store_change nobodys[] = {STORE_SET_NULL(k->owner), STORE_SET_NULL(k->key)};

    return act_update(by, coll, id, conds, n_conds, nobodys, k->key != 0 ? 2 : 1, told, 1, after);
}

apr_status_t act_remove(const act_by *by, const store_doc *doc)
{
    /* It makes the field another one: who tells what was there, and knows of an owner yet, does not
     * leave a document that has neither. */
    const act nothing = {.event = NULL};
    store_coll_no coll = store_doc_coll(doc);
    const kind *k = kind_of(coll);
    const char *id = store_doc_id(doc);
    store_cond told[] = {STORE_IS_NULL(k != NULL ? k->untold : 0)};
    store_doc *after;
    apr_status_t status = store_delete(by->store, by->pool, coll, id, told, k != NULL ? 1 : 0);

    if (status == STORE_ECOND) {
        status = act_disown(by, coll, id, NULL, 0, &nothing, &after);
        if (status == APR_SUCCESS)
            (void)act_tell(by, &after);
    }
    return status == STORE_ENOENT ? APR_SUCCESS : status;
}
