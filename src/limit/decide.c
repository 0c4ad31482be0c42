/* decide.c: what the request pipeline calls. With Redis the machines share one budget; the shared
 * memory counts along, so that no failure of Redis gives anyone a second budget on this machine,
 * and so that whoever is over the limit here is refused without asking it. */
#include "internal.h"

#include "core/log.h"

static void redis_is_down(limiter *l)
{
    uint64_t held;
    char reason[32];

    if (biz_minute(l->shared, BIZ_MINUTE_REDIS_DOWN, &held)) {
        limit_redis_reason(l->redis, reason, sizeof(reason));
        biz_log(BIZ_LOG_WARN, 0,
                BZ(0301) "Redis is of no use for rate limits (%s); each machine counts for itself "
                         "until it is (%" APR_UINT64_T_FMT " decisions since the last such line); "
                         "check BizApiRateBackend and that server",
                reason, (apr_uint64_t)held);
    }
}

void limit_decide(limiter *l, apr_pool_t *pool, const limit_rule *rule, const limit_addr *addr,
                  limit_verdict *verdict)
{
    const int64_t now = limit_now();
    limit_verdict local;

    if (!l->redis) {
        limit_shm_ask(l->shm, rule, addr, now, LIMIT_DECIDE, verdict);
    } else {
        limit_shm_ask(l->shm, rule, addr, now, LIMIT_LOOK, verdict);
        if (!verdict->allowed) {
            return;
        }
        if (limit_redis_decide(l->redis, pool, rule, addr, verdict) != APR_SUCCESS) {
            redis_is_down(l);
            limit_shm_ask(l->shm, rule, addr, now, LIMIT_DECIDE, verdict);
        } else if (verdict->allowed) {
            limit_shm_ask(l->shm, rule, addr, now, LIMIT_RECORD, &local);
            if (!local.allowed) {
                *verdict = local; /* another thread was faster after a failure of Redis */
            }
            verdict->crowded = local.crowded;
        }
    }
    if (verdict->crowded) {
        uint64_t held;

        if (biz_minute(l->shared, BIZ_MINUTE_LIMIT_FULL, &held)) {
            biz_log(BIZ_LOG_WARN, 0,
                    BZ(0302) "the table of rate limits is crowded: new addresses share budgets "
                             "(%" APR_UINT64_T_FMT " decisions since the last such line); raise "
                             "BizApiRateSlots",
                    (apr_uint64_t)held);
        }
    }
}
