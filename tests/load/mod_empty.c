/* mod_empty.c: an Apache module that answers and does nothing else: what a request costs in this
 * Apache before anybody has done anything. The bench builds and loads it; nobody else does. */
#include <httpd.h>
#include <http_config.h>
#include <http_protocol.h>
#include <string.h>

/* As long as what the routes beside it answer. */
static const char body[] =
    "{\"success\":true,\"data\":{\"services\":{\"stripe\":{\"configured\":false,\"status\":"
    "\"unconfigured\",\"fallback\":\"none\"},\"twilio\":{\"configured\":false,\"status\":"
    "\"unconfigured\",\"fallback\":\"none\"},\"sendgrid\":{\"configured\":false,\"status\":"
    "\"unconfigured\",\"fallback\":\"none\"},\"google_maps\":{\"configured\":false,\"status\":"
    "\"unconfigured\",\"fallback\":\"osrm\"}},\"summary\":{\"configured\":0,\"total\":7}}}";

static int answer(request_rec *r)
{
    if (r->handler == NULL || strcmp(r->handler, "empty") != 0)
        return DECLINED;
    ap_set_content_type(r, "application/json");
    ap_set_content_length(r, sizeof(body) - 1);
    ap_rwrite(body, sizeof(body) - 1, r);
    return OK;
}

static void hooks(apr_pool_t *pool)
{
    (void)pool;
    ap_hook_handler(answer, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(empty) = {STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, NULL, hooks, 0};
