/* hash.c: see hash.h. */
#include "hash.h"

#include "breached.h"
#include "core/password.h"

/* Long enough for a queue of four a processor at 35 ms each, short enough for a browser. */
#define HASH_WAIT apr_time_from_msec(1500)

static biz_code enter(biz_req *req, biz_reply *reply, int *place)
{
    biz_shared *shared = req->env->shared;
    uint64_t held;
    apr_status_t status = biz_hash_enter(shared, req->env->hash_places, HASH_WAIT, place);

    if (status == APR_SUCCESS)
        return BIZ_OK;
    if (biz_minute(shared, BIZ_MINUTE_BUSY, &held))
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0501) "more sign-ins at once than %d processors can check; answered BUSY (%lu "
                         "more times since the last line). A flood, or a machine too small.",
                req->env->hash_places, (unsigned long)held);
    return biz_fail(reply, BIZ_BUSY, NULL, NULL);
}

static biz_code out_of_memory(biz_req *req, biz_reply *reply, apr_status_t status)
{
    uint64_t held;

    if (biz_minute(req->env->shared, BIZ_MINUTE_BUSY, &held))
        biz_log(BIZ_LOG_ERR, status,
                BZ(0502) "no 19 MiB of memory for a password hash; answered BUSY. Give the server "
                         "more memory or fewer workers");
    return biz_fail(reply, BIZ_BUSY, NULL, NULL);
}

biz_code auth_hash_new(biz_req *req, biz_reply *reply, const char *param, const char *password,
                       const char *email, const char *name, const char **hash)
{
    const char *context[] = {biz_brand(req->env->settings, "name", "bizapi"), "bizapi", NULL};
    const char *reason = biz_password_weakness(password, email, name, context);
    apr_status_t status;
    int place;

    if (reason == NULL && breached_has(req, password))
        reason = "This password has been found in a leak of another service, where everybody can "
                 "read it. Please choose another one.";
    if (reason != NULL)
        return biz_fail(reply, BIZ_WEAK_PASSWORD, param, reason);
    if (enter(req, reply, &place) != BIZ_OK)
        return reply->code;
    status = biz_password_hash(req->pool, password, hash);
    biz_hash_leave(req->env->shared, place);
    return status == APR_SUCCESS ? BIZ_OK : out_of_memory(req, reply, status);
}

enum { PRETEND_MOST_USEC = 500000, PRETEND_FIRST_USEC = 30000 };

/* A mean that follows slowly. Who loses a race here has measured for nothing. */
static void remember_time(biz_shared *shared, apr_time_t took)
{
    uint32_t mean = atomic_load(&shared->hash_usec);

    if (took <= 0 || took > PRETEND_MOST_USEC)
        return;
    atomic_store(&shared->hash_usec, mean == 0
                                         ? (uint32_t)took
                                         : (uint32_t)((7 * (uint64_t)mean + (uint64_t)took) / 8));
}

void auth_hash_pretend(const biz_req *req)
{
    uint32_t mean = atomic_load(&req->env->shared->hash_usec);

    apr_sleep(mean != 0 ? mean : PRETEND_FIRST_USEC);
}

biz_code auth_hash_verify(biz_req *req, biz_reply *reply, const char *password, const char *hash,
                          int *matches, const char **renewed)
{
    apr_time_t began;
    apr_status_t status;
    int place;

    *matches = 0;
    if (renewed != NULL)
        *renewed = NULL;
    /* The queue is part of it: what pretends stands in none. */
    began = apr_time_now();
    if (enter(req, reply, &place) != BIZ_OK)
        return reply->code;
    status = biz_password_verify(password, hash);
    remember_time(req->env->shared, apr_time_now() - began);
    *matches = status == APR_SUCCESS;
    /* Without a fresh hash the old one still serves: a failure here is no reason to refuse. */
    if (*matches && renewed != NULL && biz_password_is_outdated(hash) &&
        biz_password_hash(req->pool, password, renewed) != APR_SUCCESS)
        *renewed = NULL;
    biz_hash_leave(req->env->shared, place);
    return APR_STATUS_IS_ENOMEM(status) ? out_of_memory(req, reply, status) : BIZ_OK;
}
