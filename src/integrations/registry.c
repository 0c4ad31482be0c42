/* registry.c: see registry.h. The answer is made once a configuration: a request only sends it. */
#include "registry.h"

#include <string.h>
#include <apr_file_io.h>
#include <apr_strings.h>

#include "core/valid.h"

const integration integrations[] = {
    {"stripe",
     {"STRIPE_SECRET_KEY", "STRIPE_PUBLISHABLE_KEY", NULL},
     "Returns 503 with \"Payments unavailable\" message"},
    {"twilio",
     {"TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER", NULL},
     "SMS features disabled, no errors"},
    {"sendgrid", {"SENDGRID_API_KEY", NULL}, "Email skipped with warning log"},
    {"google_maps", {"GOOGLE_MAPS_API_KEY", NULL}, "Falls back to OSRM public API"},
    {"openweather", {"OPENWEATHER_API_KEY", NULL}, "Weather features disabled"},
    {"elevenlabs", {"ELEVENLABS_API_KEY", NULL}, "Voice AI disabled"},
    {"firebase", {"FIREBASE_CREDENTIALS_PATH", NULL}, "Push notifications disabled"},
    {NULL, {NULL}, NULL}};

const char *const integration_secrets[] = {
    "STRIPE_SECRET_KEY",         "STRIPE_PUBLISHABLE_KEY",
    "STRIPE_WEBHOOK_SECRET",     "TWILIO_ACCOUNT_SID",
    "TWILIO_AUTH_TOKEN",         "TWILIO_PHONE_NUMBER",
    "SENDGRID_API_KEY",          "SENDGRID_WEBHOOK_PUBLIC_KEY",
    "GOOGLE_MAPS_API_KEY",       "OPENWEATHER_API_KEY",
    "ELEVENLABS_API_KEY",        "ELEVENLABS_VOICE_ID",
    "FIREBASE_CREDENTIALS_PATH", NULL};

/* A Google service-account file must be readable and name these. NULL when good. */
static const char *firebase_trouble(apr_pool_t *pool, const char *path)
{
    static const char *const needed[] = {"project_id", "client_email", "private_key", "token_uri",
                                         NULL};
    char *text = apr_palloc(pool, 65536);
    apr_size_t len = 65536;
    apr_file_t *file;
    biz_json *json;
    size_t position;
    int i;
    apr_status_t status = apr_file_open(&file, path, APR_READ | APR_BINARY, APR_OS_DEFAULT, pool);

    if (status != APR_SUCCESS)
        return apr_psprintf(pool, "FIREBASE_CREDENTIALS_PATH %s cannot be opened", path);
    status = apr_file_read_full(file, text, len, &len);
    apr_file_close(file);
    if ((status != APR_SUCCESS && !APR_STATUS_IS_EOF(status)) ||
        biz_json_parse(pool, text, len, BIZ_JSON_DEPTH, &json, &position) != APR_SUCCESS)
        return apr_psprintf(pool, "FIREBASE_CREDENTIALS_PATH %s is no JSON file", path);
    for (i = 0; needed[i] != NULL; i++)
        if (biz_json_str(json, needed[i]) == NULL)
            return apr_psprintf(pool, "FIREBASE_CREDENTIALS_PATH %s has no %s", path, needed[i]);
    return NULL;
}

/* NULL when the value can be what the variable is for. The value itself is never repeated. */
static const char *value_trouble(apr_pool_t *pool, const char *variable, const char *value)
{
    const char *p;

    for (p = value; *p != '\0'; p++)
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
            if (strcmp(variable, "FIREBASE_CREDENTIALS_PATH") != 0)
                return apr_pstrcat(pool, variable, " holds a space or a control character", NULL);
    if (!strcmp(variable, "TWILIO_PHONE_NUMBER") && !biz_valid_phone(value))
        return "TWILIO_PHONE_NUMBER is not of the form +4930123456";
    if (!strcmp(variable, "FIREBASE_CREDENTIALS_PATH"))
        return firebase_trouble(pool, value);
    return NULL;
}

static service_status judge(apr_pool_t *pool, const biz_settings *settings, const integration *in,
                            const char **why)
{
    const char *missing = NULL;
    int i, given = 0;

    *why = NULL;
    for (i = 0; in->variables[i] != NULL; i++) {
        const char *value = biz_secret(settings, in->variables[i]);

        if (value == NULL) {
            missing = in->variables[i];
            continue;
        }
        given++;
        if (*why == NULL)
            *why = value_trouble(pool, in->variables[i], value);
    }
    if (given == 0)
        return SERVICE_UNCONFIGURED;
    if (missing != NULL)
        *why =
            apr_pstrcat(pool, missing, " is missing, while others of ", in->name, " are set", NULL);
    return *why != NULL ? SERVICE_MISCONFIGURED : SERVICE_OK;
}

biz_registry *registry_new(apr_pool_t *pool, const biz_settings *settings,
                           apr_array_header_t **complaints)
{
    static const char *const words[] = {"unconfigured", "misconfigured", "ok"};
    biz_registry *registry = apr_pcalloc(pool, sizeof(*registry));
    biz_json *envelope = biz_json_object(pool), *data = biz_json_object(pool);
    biz_json *services = biz_json_object(pool), *summary = biz_json_object(pool);
    const integration *in;
    int configured = 0, total = 0;

    *complaints = apr_array_make(pool, 1, sizeof(const char *));
    for (in = integrations; in->name != NULL; in++, total++) {
        biz_json *service = biz_json_object(pool);
        const char *why;
        service_status status = judge(pool, settings, in, &why);

        if (why != NULL)
            APR_ARRAY_PUSH(*complaints, const char *) =
                apr_pstrcat(pool, in->name, ": ", why, NULL);
        configured += status == SERVICE_OK;
        biz_json_set_bool(service, "configured", status == SERVICE_OK);
        biz_json_set_str(service, "status", words[status]);
        biz_json_set_str(service, "fallback", in->fallback);
        biz_json_set(services, in->name, service);
    }
    biz_json_set_int(summary, "configured", configured);
    biz_json_set_int(summary, "total", total);
    biz_json_set(data, "services", services);
    biz_json_set(data, "summary", summary);
    biz_json_set_bool(envelope, "success", 1);
    biz_json_set(envelope, "data", data);
    registry->status_text = biz_json_text(pool, envelope, &registry->status_len);
    return registry;
}

biz_code integrations_status(biz_req *req, biz_reply *reply)
{
    reply->raw = req->env->registry->status_text;
    reply->raw_len = req->env->registry->status_len;
    reply->raw_type = "application/json";
    return BIZ_OK;
}
