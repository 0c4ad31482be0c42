/* lockout.c: see lockout.h. One document a count, changed under its version: who loses a race reads
 * it again, and finds it locked once the free tries are gone. */
#include "lockout.h"

#include <string.h>
#include <apr_strings.h>

#include "audit/audit.h"
#include "core/crypto.h"
#include "core/str.h"
#include "device.h"
#include "hash.h"
#include "limit/limit.h"
#include "outbox/outbox.h"

/* Every turn of a lost race is one that somebody else has won, and only the free tries can be won.
 */
enum { RACES = 1000 };
#define HOURS(n) apr_time_from_sec((n)*3600LL)

/* "address 2001:db8::/64" and the like, as a hash: addresses of people are not kept here. */
static const char *id_of(apr_pool_t *pool, const char *kind, const char *subject)
{
    return biz_sha256_hex(pool, apr_pstrcat(pool, kind, " ", subject, NULL));
}

static const char *address_subject(apr_pool_t *pool, const char *text)
{
    limit_addr addr;

    return limit_addr_parse(text, &addr) ? biz_hex(pool, addr.bytes, addr.len) : NULL;
}

static apr_time_t wait_after(int64_t tries, int64_t free)
{
    int64_t seconds = LOCKOUT_FIRST_SECONDS;

    for (; tries > free && seconds < LOCKOUT_LONGEST_SECONDS; tries--)
        seconds *= 2;
    return apr_time_from_sec(seconds < LOCKOUT_LONGEST_SECONDS ? seconds : LOCKOUT_LONGEST_SECONDS);
}

/* ---- one count ---- */

static apr_status_t begin_count(biz_req *req, lockout_count *c, const char *user_id)
{
    store_doc *doc = store_doc_new(req->pool, COLL_LOCKOUTS);

    c->tries = 1;
    c->since = req->now;
    c->before = 0;
    store_doc_set_id(doc, c->id);
    store_set_str(doc, LOCKOUT_USER_ID, user_id);
    store_set_int(doc, LOCKOUT_TRIES, 1);
    store_set_time(doc, LOCKOUT_EXPIRES_AT, req->now + HOURS(LOCKOUT_FORGET_HOURS));
    return store_insert(req->env->store, req->pool, doc, NULL);
}

static apr_status_t raise_count(biz_req *req, lockout_count *c, const store_doc *doc)
{
    store_cond same[] = {{STORE_VERSION, STORE_EQ, STORE_V_INT(store_doc_version(doc))}};
    store_change changes[3];

    c->tries = store_int(doc, LOCKOUT_TRIES) + 1;
    c->since = store_time(doc, STORE_CREATED_AT);
    c->before = store_time(doc, LOCKOUT_UNTIL);
    changes[0] = (store_change)STORE_SET_INT(LOCKOUT_TRIES, c->tries);
    changes[1] =
        (store_change)STORE_SET_TIME(LOCKOUT_EXPIRES_AT, req->now + HOURS(LOCKOUT_FORGET_HOURS));
    changes[2] = (store_change)STORE_SET_NULL(LOCKOUT_UNTIL);
    /* The last free one locks before it is known to be wrong: nobody slips in beside it. */
    if (c->tries >= c->free)
        changes[2] =
            (store_change)STORE_SET_TIME(LOCKOUT_UNTIL, req->now + wait_after(c->tries, c->free));
    return store_update(req->env->store, req->pool, COLL_LOCKOUTS, c->id, same, 1, changes,
                        STORE_COUNT_OF(changes), NULL);
}

/* A lock that would last for longer than the longest (and the clocks of two machines may differ by
 * a minute) was made before the clock was set back. */
static int is_locked(const store_doc *doc, apr_time_t now)
{
    apr_interval_time_t left = store_time(doc, LOCKOUT_UNTIL) - now;

    return left > 0 && left <= apr_time_from_sec(LOCKOUT_LONGEST_SECONDS + 60);
}

/* What was long ago does not count; the sweep may not have come by yet. */
static apr_status_t forget_old(biz_req *req, const store_doc *doc)
{
    store_cond same[] = {{STORE_VERSION, STORE_EQ, STORE_V_INT(store_doc_version(doc))}};

    return store_delete(req->env->store, req->pool, COLL_LOCKOUTS, store_doc_id(doc), same, 1);
}

/* STORE_ECOND: no try is left now. */
static apr_status_t take(biz_req *req, lockout_count *c, const char *user_id)
{
    store_doc *doc;
    apr_status_t status = STORE_ECOND;
    int race;

    for (race = 0; race < RACES; race++) {
        status = store_get(req->env->store, req->pool, COLL_LOCKOUTS, c->id, &doc);
        if (status == STORE_ENOENT) {
            status = begin_count(req, c, user_id);
            if (status != STORE_EEXIST)
                return status;
            continue;
        }
        if (status != APR_SUCCESS)
            return status;
        if (store_time(doc, LOCKOUT_EXPIRES_AT) <= req->now) {
            status = forget_old(req, doc);
            if (status == APR_SUCCESS)
                continue;
        } else if (is_locked(doc, req->now)) {
            return STORE_ECOND;
        } else {
            status = raise_count(req, c, doc);
        }
        if (status != STORE_ECOND && status != STORE_ENOENT)
            return status;
    }
    return STORE_ECOND;
}

static void give_back(biz_req *req, const lockout_count *c)
{
    store_cond same[] = {STORE_EQ_INT(LOCKOUT_TRIES, c->tries)};
    store_change changes[] = {STORE_INC_INT(LOCKOUT_TRIES, -1),
                              {LOCKOUT_UNTIL, STORE_SET, {.null = c->before == 0, .i = c->before}}};
    apr_status_t status = store_update(req->env->store, req->pool, COLL_LOCKOUTS, c->id, same, 1,
                                       changes, STORE_COUNT_OF(changes), NULL);

    /* Others have tried since: what they locked stays locked. */
    if (status == STORE_ECOND)
        (void)store_update(req->env->store, req->pool, COLL_LOCKOUTS, c->id, NULL, 0, changes, 1,
                           NULL);
}

/* ---- a try ---- */

static biz_code take_all(biz_req *req, biz_reply *reply, lockout *l, int count, const char *user_id)
{
    apr_status_t status = APR_SUCCESS;

    l->refused = l->taken = 0;
    while (l->taken < count && status == APR_SUCCESS) {
        lockout_count *c = &l->counts[l->taken];

        status = take(req, c, strcmp(c->kind, "address") != 0 ? user_id : NULL);
        l->taken += status == APR_SUCCESS;
    }
    l->refused = status == STORE_ECOND;
    return status == APR_SUCCESS || l->refused ? BIZ_OK : biz_fail_store(req, reply, status);
}

static void set_count(biz_req *req, lockout_count *c, const char *kind, const char *subject,
                      int64_t free)
{
    c->kind = kind;
    c->id = id_of(req->pool, kind, subject);
    c->free = free;
}

biz_code lockout_begin(biz_req *req, biz_reply *reply, const char *email, const store_doc *user,
                       lockout *l)
{
    const char *user_id = user != NULL ? store_doc_id(user) : NULL, *device;
    const char *from = address_subject(req->pool, req->address);

    l->email = email;
    set_count(req, &l->counts[0], "address", from != NULL ? from : req->address,
              LOCKOUT_FREE_ADDRESS);
    if (device_known(req, user_id, &device))
        set_count(req, &l->counts[1], "device", apr_pstrcat(req->pool, device, " ", user_id, NULL),
                  LOCKOUT_FREE_DEVICE);
    else
        set_count(req, &l->counts[1], "account", email, LOCKOUT_FREE_ACCOUNT);
    return take_all(req, reply, l, 2, user_id);
}

biz_code lockout_begin_code(biz_req *req, biz_reply *reply, const char *email,
                            const store_doc *user, lockout *l)
{
    const char *from = address_subject(req->pool, req->address);

    l->email = NULL;
    set_count(req, &l->counts[0], "address", from != NULL ? from : req->address,
              LOCKOUT_FREE_ADDRESS);
    set_count(req, &l->counts[1], "code", email, LOCKOUT_FREE_ACCOUNT);
    return take_all(req, reply, l, 2, user != NULL ? store_doc_id(user) : NULL);
}

/* The same for the current password of who is signed in: counts for this account alone. */
static biz_code begin_own(biz_req *req, biz_reply *reply, lockout *l)
{
    const char *user_id = store_doc_id(req->user);

    l->email = store_str(req->user, USER_EMAIL);
    set_count(req, &l->counts[0], "device", apr_pstrcat(req->pool, "signed in ", user_id, NULL),
              LOCKOUT_FREE_DEVICE);
    return take_all(req, reply, l, 1, user_id);
}

/* Where the store fails here, a try too many stays counted. */
void lockout_passed(biz_req *req, lockout *l)
{
    int i;

    for (i = 0; i < l->taken; i++) {
        if (!strcmp(l->counts[i].kind, "address"))
            give_back(req, &l->counts[i]);
        else
            (void)store_delete(req->env->store, req->pool, COLL_LOCKOUTS, l->counts[i].id, NULL, 0);
    }
}

void lockout_cancelled(biz_req *req, const lockout *l)
{
    int i;

    for (i = 0; i < l->taken; i++)
        give_back(req, &l->counts[i]);
}

int64_t lockout_failures(const lockout *l)
{
    return l->taken > 0 ? l->counts[l->taken - 1].tries - 1 : 0;
}

/* For an address that is nobody's the same row is written; the outbox drops it. The key makes it
 * one mail for a lock, from the first wrong try to a right one, an unlocking, or a day of peace. */
static void tell_owner(const biz_req *req, const lockout *l, const lockout_count *c)
{
    const char *key = apr_psprintf(req->pool, NOTICE_ACCOUNT_LOCKED " %s %" APR_INT64_T_FMT, c->id,
                                   (apr_int64_t)apr_time_as_msec(c->since));

    outbox_message mail = {
        .channel = OUTBOX_MAIL,
        .kind = OUTBOX_NOTICE,
        .recipient = l->email,
        .unique_key = key,
        .data = outbox_notice_data(req->pool, NOTICE_ACCOUNT_LOCKED, req->address, NULL, req->now)};
    apr_status_t status = outbox_add(req->env->store, req->pool, &mail);

    if (status != APR_SUCCESS && status != STORE_EEXIST)
        biz_log(BIZ_LOG_WARN, status,
                BZ(0534) "the notice \"" NOTICE_ACCOUNT_LOCKED "\" to %s could not be queued; the "
                         "next wrong password tries again",
                biz_mask_email(req->pool, l->email));
}

void lockout_failed(biz_req *req, const lockout *l, const char *user_id)
{
    int i;

    for (i = 0; i < l->taken; i++) {
        const lockout_count *c = &l->counts[i];
        int is_address = !strcmp(c->kind, "address");

        if (c->tries < c->free || (c->tries > c->free && c->before == 0))
            continue;
        audit_note(req, "authn_login_lock", is_address ? NULL : user_id,
                   audit_detail(req->pool, "what", c->kind));
        if (!is_address && l->email != NULL)
            tell_owner(req, l, c);
    }
}

void lockout_tell(const biz_req *req, const char *who)
{
    biz_log(BIZ_LOG_NOTICE, 0, BZ(0505) "sign-in refused from %s for %s", req->address, who);
}

/* ---- unlocking ---- */

static apr_status_t forget(store *s, apr_pool_t *pool, const char *id)
{
    apr_status_t status = store_delete(s, pool, COLL_LOCKOUTS, id, NULL, 0);

    return status == STORE_ENOENT ? APR_SUCCESS : status;
}

apr_status_t lockout_clear_user(const act_by *by, const act *told, store_doc **user)
{
    store *s = by->store;
    apr_pool_t *pool = by->pool;
    store_cond conds[] = {STORE_EQ_STR(LOCKOUT_USER_ID, by->user_id)};
    store_query query = {.coll = COLL_LOCKOUTS,
                         .index = "lockouts_user",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = 100};
    store_change codes[] = {STORE_SET_INT(USER_FACTOR_FAILURES, 0)};
    apr_array_header_t *docs;
    apr_status_t status = act_update(by, COLL_USERS, by->user_id, NULL, 0, codes, 1, told,
                                     told != NULL ? 1 : 0, user);
    int i;

    if (status == APR_SUCCESS)
        status = forget(s, pool, id_of(pool, "account", store_str(*user, USER_EMAIL)));
    do {
        if (status == APR_SUCCESS)
            status = store_find(s, pool, &query, &docs, NULL);
        for (i = 0; status == APR_SUCCESS && i < docs->nelts; i++)
            status = forget(s, pool, store_doc_id(APR_ARRAY_IDX(docs, i, store_doc *)));
    } while (status == APR_SUCCESS && docs->nelts == query.limit);
    if (status == APR_SUCCESS)
        (void)act_tell(by, user);
    return status;
}

apr_status_t lockout_clear_address(store *s, apr_pool_t *pool, const char *address)
{
    const char *subject = address_subject(pool, address);

    return subject != NULL ? forget(s, pool, id_of(pool, "address", subject)) : STORE_EINVAL;
}

biz_code lockout_prove_own(biz_req *req, biz_reply *reply, const char *field)
{
    int matches = 0;
    lockout l;

    if (begin_own(req, reply, &l) != BIZ_OK)
        return reply->code;
    if (l.refused) {
        auth_hash_pretend(req);
    } else if (auth_hash_verify(req, reply, biz_field_str(req, field),
                                store_str(req->user, USER_PASSWORD_HASH), &matches,
                                NULL) != BIZ_OK) {
        lockout_cancelled(req, &l);
        return reply->code;
    }
    if (!matches) {
        lockout_failed(req, &l, store_doc_id(req->user));
        return biz_fail(reply, BIZ_INVALID_CREDENTIALS, field, "The password is wrong.");
    }
    lockout_passed(req, &l);
    return BIZ_OK;
}
