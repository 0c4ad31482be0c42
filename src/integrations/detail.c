/* detail.c: GET /integrations/{name} and POST /integrations/{name}/test, for administrators. The
 * one calls nobody, the other asks the provider once. No part of a key is in either. */
#include "registry.h"

#include <string.h>
#include <apr_strings.h>

#include "client.h"
#include "limit/limit.h"
#include "probe.h"

enum { LIVE_TESTS_A_MINUTE = 10 /* of one service, whoever asks for them */ };

static int number_of(biz_req *req)
{
    return integration_named(apr_table_get(req->params, "name"));
}

static biz_json *host_json(biz_req *req, client_host host)
{
    biz_json *json = biz_json_object(req->pool);
    client_state state;

    client_look(req->env->clients, host, req->pool, &state);
    biz_json_set_str(json, "name", client_hosts[host].name);
    biz_json_set_str(json, "address", client_base(req->env->clients, host));
    biz_json_set_str(json, "breaker", state.breaker_open ? "open" : "closed");
    biz_json_set_bool(json, "key_refused", state.state == CLIENT_REFUSED);
    biz_json_set_int(json, "retry_after", state.retry_after);
    biz_json_set_str(json, "last_error", state.last_error);
    biz_json_set_time(json, "last_error_at", state.last_error_at);
    biz_json_set_time(json, "last_success_at", state.last_good_at);
    if (state.latency_ms >= 0)
        biz_json_set_int(json, "latency_ms", state.latency_ms);
    else
        biz_json_set(json, "latency_ms", NULL);
    biz_json_set_int(json, "calls", (int64_t)state.calls);
    biz_json_set_int(json, "failures", (int64_t)state.failures);
    return json;
}

biz_code integration_detail(biz_req *req, biz_reply *reply)
{
    int number = number_of(req);
    biz_json *hosts = biz_json_array(req->pool);
    client_host host;

    if (number < 0)
        return biz_fail(reply, BIZ_NOT_FOUND, NULL, NULL);
    for (host = 0; host < CLIENT_HOSTS; host++)
        if (client_hosts[host].service != NULL &&
            !strcmp(client_hosts[host].service, integrations[number].name) &&
            client_base(req->env->clients, host) != NULL)
            biz_json_add(hosts, host_json(req, host));
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "name", integrations[number].name);
    biz_json_set_bool(reply->data, "configured", integration_is_on(req->env, number));
    biz_json_set_str(
        reply->data, "status",
        service_words[service_now(req->env->registry, req->env->clients, req->pool, number)]);
    biz_json_set_str(reply->data, "problem", req->env->registry->trouble[number]);
    biz_json_set_str(reply->data, "fallback", integrations[number].fallback);
    biz_json_set(reply->data, "hosts", hosts);
    return BIZ_OK;
}

/* Each one holds a worker for as long as the service is silent, and goes on our account with it. */
static biz_code may_test(biz_req *req, biz_reply *reply)
{
    static const limit_addr everybody;
    const char *rate = apr_psprintf(req->pool, "%d/min", LIVE_TESTS_A_MINUTE), *why;
    apr_array_header_t *rules = apr_array_make(req->pool, 1, sizeof(limit_rule *));
    limit_verdict verdict;

    limit_rules_add(rules, limit_rule_parse(req->pool, req->path, rate, &why));
    limit_rules_seal(rules, req->env->settings->business);
    limit_decide(req->env->limits, req->pool, APR_ARRAY_IDX(rules, 0, limit_rule *), &everybody,
                 &verdict);
    if (verdict.allowed)
        return BIZ_OK;
    reply->retry_after = (int)verdict.retry_after;
    return biz_fail(reply, BIZ_RATE_LIMITED, NULL, NULL);
}

biz_code integration_test(biz_req *req, biz_reply *reply)
{
    int number = number_of(req);
    probe_result result;

    if (number < 0)
        return biz_fail(reply, BIZ_NOT_FOUND, NULL, NULL);
    if (integration_is_on(req->env, number) && may_test(req, reply) != BIZ_OK)
        return reply->code;
    probe_service(req->env, req->pool, number, &result);
    if (result.busy)
        return biz_fail(reply, BIZ_BUSY, NULL,
                        "As many requests wait for this service as may. Please try again in a "
                        "moment.");
    reply->data = biz_json_object(req->pool);
    biz_json_set_bool(reply->data, "ok", result.ok);
    biz_json_set_str(reply->data, "status", service_words[result.status]);
    if (result.latency_ms >= 0)
        biz_json_set_int(reply->data, "latency_ms", result.latency_ms);
    else
        biz_json_set(reply->data, "latency_ms", NULL);
    if (result.error != NULL)
        biz_json_set_str(reply->data, "error", result.error);
    return BIZ_OK;
}
