/* hash.c: see hash.h. A hash is made by a thread of its own that gives way to everybody else, so
 * that a flood of sign-ins holds up the other routes little. It is not the worker's thread, because
 * one that gave way cannot go back without a right that workers do not have. Making a thread costs
 * a thousandth of a hash. */
#include "hash.h"

#include <pthread.h>
#include <sys/resource.h>

#include "breached.h"
#include "core/password.h"

enum { HASH_NICE = 10 };

typedef struct {
    apr_pool_t *pool;
    const char *password, *hash; /* to check against; NULL in make_hash() */
    const char **made;           /* gets a fresh hash; NULL: none is wanted */
    apr_status_t status;
    apr_time_t checked_at;
} task;

static void give_way(void)
{
#ifdef __linux__
    setpriority(PRIO_PROCESS, 0, HASH_NICE); /* on Linux this thread alone */
#endif
}

static void *make_hash(void *data)
{
    task *t = data;

    give_way();
    t->status = biz_password_hash(t->pool, t->password, t->made);
    return NULL;
}

static void *check_hash(void *data)
{
    task *t = data;

    give_way();
    t->status = biz_password_verify(t->password, t->hash);
    t->checked_at = apr_time_now();
    /* Without a fresh hash the old one still serves: a failure here is no reason to refuse. */
    if (t->status == APR_SUCCESS && t->made != NULL && biz_password_is_outdated(t->hash) &&
        biz_password_hash(t->pool, t->password, t->made) != APR_SUCCESS)
        *t->made = NULL;
    return NULL;
}

/* Where no thread is to be had there is no memory for a hash either. */
static apr_status_t run(void *(*work)(void *), task *t)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, work, t) != 0)
        return APR_ENOMEM;
    pthread_join(thread, NULL);
    return t->status;
}

/* Long enough for a whole queue at 35 ms a hash, short enough for a browser. */
#define HASH_WAIT apr_time_from_msec(2000)

static biz_code busy(biz_req *req, biz_reply *reply)
{
    uint64_t held;

    if (biz_minute(req->env->shared, BIZ_MINUTE_BUSY, &held))
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0501) "more sign-ins at once than %d processors can check; answered BUSY (%lu "
                         "more times since the last line). A flood, or a machine too small.",
                req->env->hash_room.places, (unsigned long)held);
    return biz_fail(reply, BIZ_BUSY, NULL, NULL);
}

biz_code auth_hash_has_room(biz_req *req, biz_reply *reply)
{
    return biz_hash_is_full(req->env->shared, &req->env->hash_room) ? busy(req, reply) : BIZ_OK;
}

static biz_code enter(biz_req *req, biz_reply *reply, int *place)
{
    apr_status_t status = biz_hash_enter(req->env->shared, &req->env->hash_room, HASH_WAIT, place);

    return status == APR_SUCCESS ? BIZ_OK : busy(req, reply);
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
    status = run(make_hash, &(task){.pool = req->pool, .password = password, .made = hash});
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
    task check = {.pool = req->pool, .password = password, .hash = hash, .made = renewed};
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
    status = run(check_hash, &check);
    remember_time(req->env->shared, check.checked_at - began);
    *matches = status == APR_SUCCESS;
    biz_hash_leave(req->env->shared, place);
    return APR_STATUS_IS_ENOMEM(status) ? out_of_memory(req, reply, status) : BIZ_OK;
}
