/* stripe_driver.c: calls src/integrations/stripe.c as a handler would, for tests that stand on the
 * other end: test_stripe.py and the contract tests. Built by them.
 *
 *   stripe_driver BASE KEY create [again]|get ID|expire ID|refund PI
 *
 * ("again": asks twice) prints the code ("OK", "PAYMENTS_UNAVAILABLE", ...), what Retry-After would
 * say, and what was found, as one line of JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <apr_general.h>
#include <apr_strings.h>

#include "core/biz.h"
#include "integrations/client.h"
#include "integrations/registry.h"
#include "integrations/stripe.h"
#include "net/http.h"

static const char *argument(int argc, char **argv, int i)
{
    return i < argc ? argv[i] : "";
}

static biz_code create(biz_req *req, biz_reply *reply, stripe_session *session)
{
    stripe_checkout what = {.invoice_id = "inv_1",
                            .description = "Invoice 7",
                            .amount = 4999,
                            .currency = "usd",
                            .email = "a@example.com",
                            .success_url = "https://p.example/ok?s={CHECKOUT_SESSION_ID}",
                            .cancel_url = "https://p.example/no",
                            .attempt = 1};

    return stripe_checkout_create(req, reply, &what, session);
}

static void print(apr_pool_t *pool, const biz_reply *reply, biz_code code,
                  const stripe_session *session, const stripe_refund *refund)
{
    biz_json *json = biz_json_object(pool);

    biz_json_set_str(json, "code", code == BIZ_OK ? "OK" : biz_code_name(code));
    biz_json_set_int(json, "retry_after", reply->retry_after);
    biz_json_set_str(json, "message", reply->message);
    biz_json_set_str(json, "id", refund->id != NULL ? refund->id : session->id);
    biz_json_set_str(json, "url", session->url);
    biz_json_set_str(json, "status", refund->id != NULL ? refund->status : session->status);
    biz_json_set_int(json, "amount", refund->id != NULL ? refund->amount : session->amount);
    puts(biz_json_text(pool, json, NULL));
}

int main(int argc, char **argv)
{
    biz_settings settings = {.state_dir = "/nonexistent"};
    biz_shared *shared;
    biz_env env = {.settings = &settings};
    biz_reply reply = {.status = 200};
    stripe_session session = {.id = NULL};
    stripe_refund refund = {.id = NULL};
    const char *what = argument(argc, argv, 3), *id = argument(argc, argv, 4);
    apr_array_header_t *complaints;
    apr_pool_t *pool;
    biz_req req;
    biz_code code;

    apr_initialize();
    apr_pool_create(&pool, NULL);
    biz_json_init();
    shared = apr_pcalloc(pool, sizeof(*shared));
    env.shared = shared;
    net_init(pool);
    settings.secrets = apr_table_make(pool, 2);
    settings.provider_urls = apr_table_make(pool, 2);
    apr_table_set(settings.provider_urls, "stripe", argument(argc, argv, 1));
    if (argument(argc, argv, 2)[0] != '\0') {
        apr_table_set(settings.secrets, "STRIPE_SECRET_KEY", argv[2]);
        apr_table_set(settings.secrets, "STRIPE_PUBLISHABLE_KEY", "pk_test_x");
    }
    env.registry = registry_new(pool, &settings, &complaints);
    env.clients = clients_new(pool, &settings, NULL, NULL);
    req = (biz_req){.pool = pool, .env = &env, .now = apr_time_now()};
    reply.pool = pool;
    if (!strcmp(id, "again"))
        create(&req, &reply, &session);
    code = !strcmp(what, "create") ? create(&req, &reply, &session)
           : !strcmp(what, "get")  ? stripe_checkout_get(&req, &reply, id, &session)
           : !strcmp(what, "expire")
               ? stripe_checkout_expire(&req, &reply, id, &session)
               : stripe_refund_create(&req, &reply, id, 100, "ref_1", &refund);
    print(pool, &reply, code, &session, &refund);
    apr_terminate();
    return 0;
}
