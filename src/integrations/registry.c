/* registry.c: see registry.h. The answer is made once a configuration; it is made anew only while a
 * service is not as the configuration has it. */
#include "registry.h"

#include <stdlib.h>
#include <string.h>
#include <apr_file_io.h>
#include <apr_strings.h>

#include "client.h"
#include "core/valid.h"
#include "store/store.h"

const integration integrations[INTEGRATIONS + 1] = {
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

apr_table_t *integration_secrets_of(apr_pool_t *pool, const apr_table_t *given)
{
    apr_table_t *secrets = apr_table_make(pool, 8);
    int i;

    for (i = 0; integration_secrets[i] != NULL; i++) {
        const char *value = apr_table_get(given, integration_secrets[i]);

        if (value == NULL)
            value = getenv(integration_secrets[i]);
        if (value != NULL && value[0] != '\0')
            apr_table_set(secrets, integration_secrets[i], value);
    }
    return secrets;
}

apr_table_t *integration_urls_of(apr_pool_t *pool, const apr_table_t *given, const char **why)
{
    apr_table_t *urls = apr_table_copy(pool, given);
    client_host host;

    for (host = 0; host < CLIENT_HOSTS && *why == NULL; host++) {
        const client_host_info *info = &client_hosts[host];
        const char *value = info->variable != NULL ? getenv(info->variable) : NULL, *base, *trouble;

        if (value == NULL || value[0] == '\0' || apr_table_get(urls, info->name) != NULL)
            continue;
        trouble = client_base_error(pool, value, &base);
        if (trouble != NULL)
            *why = apr_psprintf(pool, "the variable %s: '%s': %s", info->variable,
                                store_url_shown(pool, value), trouble);
        else
            apr_table_set(urls, info->name, base);
    }
    return urls;
}

const char *integration_secret_file(apr_pool_t *pool, const char *path, const char **value,
                                    int *loose)
{
    enum { MOST = 8192 };
    char *text = apr_pcalloc(pool, MOST + 1);
    apr_size_t len = MOST;
    apr_finfo_t info;
    apr_file_t *file;
    apr_status_t status = apr_file_open(&file, path, APR_READ, APR_OS_DEFAULT, pool);

    *loose = 0;
    if (status != APR_SUCCESS)
        return apr_psprintf(pool, "cannot be read: %pm", &status);
    if (apr_file_info_get(&info, APR_FINFO_PROT, file) == APR_SUCCESS)
        *loose = (info.protection &
                  (APR_FPROT_GREAD | APR_FPROT_GWRITE | APR_FPROT_WREAD | APR_FPROT_WWRITE)) != 0;
    apr_file_read_full(file, text, len, &len);
    apr_file_close(file);
    text[strcspn(text, "\r\n")] = '\0';
    *value = text;
    return text[0] == '\0' ? "is empty" : NULL;
}

#define FIREBASE_FILE "FIREBASE_CREDENTIALS_PATH: its file "

/* Reads a service account's file. NULL when good. */
static const char *firebase_trouble(apr_pool_t *pool, const char *path, firebase_account *account)
{
    const struct {
        const char *name, **value;
    } needed[] = {{"project_id", &account->project_id},
                  {"client_email", &account->client_email},
                  {"private_key", &account->private_key},
                  {"token_uri", &account->token_uri}};
    enum { MOST = 65536 };
    char *text = apr_palloc(pool, MOST);
    apr_size_t len = MOST;
    apr_finfo_t info = {.protection = 0};
    apr_file_t *file;
    biz_json *json;
    size_t position, i;
    apr_status_t status = apr_file_open(&file, path, APR_READ | APR_BINARY, APR_OS_DEFAULT, pool);

    if (status != APR_SUCCESS)
        return apr_psprintf(pool, FIREBASE_FILE "cannot be opened: %pm", &status);
    apr_file_info_get(&info, APR_FINFO_PROT, file);
    status = apr_file_read_full(file, text, len, &len);
    apr_file_close(file);
    if (info.protection & (APR_WREAD | APR_WWRITE))
        return FIREBASE_FILE "may be read by everybody; chmod 600 it";
    if ((status != APR_SUCCESS && !APR_STATUS_IS_EOF(status)) ||
        biz_json_parse(pool, text, len, BIZ_JSON_DEPTH, &json, &position) != APR_SUCCESS)
        return FIREBASE_FILE "holds no JSON";
    for (i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        *needed[i].value = biz_json_str(json, needed[i].name);
        if (*needed[i].value == NULL)
            return apr_pstrcat(pool, FIREBASE_FILE "has no ", needed[i].name, NULL);
    }
    account->private_key_id = biz_json_str(json, "private_key_id");
    if (client_base_error(pool, account->token_uri, &account->token_uri) != NULL)
        return FIREBASE_FILE "has a token_uri that is not https";
    return NULL;
}

/* NULL when the value can be what the variable is for. The value itself is never repeated. */
static const char *value_trouble(apr_pool_t *pool, const char *variable, const char *value,
                                 firebase_account *account)
{
    const char *p;

    for (p = value; *p != '\0'; p++)
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
            if (strcmp(variable, "FIREBASE_CREDENTIALS_PATH") != 0)
                return apr_pstrcat(pool, variable, " holds a space or a control character", NULL);
    if (!strcmp(variable, "TWILIO_PHONE_NUMBER") && !biz_valid_phone(value))
        return "TWILIO_PHONE_NUMBER is not of the form +4930123456";
    if (!strcmp(variable, "FIREBASE_CREDENTIALS_PATH"))
        return firebase_trouble(pool, value, account);
    return NULL;
}

/* Keys of Stripe's test mode and of its live mode do not go together; keys of no known form do. */
static const char *mode_of(const char *key)
{
    return strstr(key, "k_live_") == key + 1   ? "live"
           : strstr(key, "k_test_") == key + 1 ? "test"
                                               : NULL;
}

static const char *stripe_trouble(const biz_settings *settings)
{
    const char *mode = mode_of(biz_secret(settings, "STRIPE_SECRET_KEY"));
    const char *other = mode_of(biz_secret(settings, "STRIPE_PUBLISHABLE_KEY"));

    return mode != NULL && other != NULL && strcmp(mode, other) != 0
               ? "one of its keys is of the test mode, the other of the live mode"
               : NULL;
}

static service_status judge(apr_pool_t *pool, const biz_settings *settings, const integration *in,
                            firebase_account *account, const char **why)
{
    const char *missing = NULL;
    int i, given = 0;

    *why = NULL;
    for (i = 0; in->variables[i] != NULL; i++) {
        const char *value = biz_secret(settings, in->variables[i]);

        if (value == NULL) {
            missing = missing == NULL ? in->variables[i]
                                      : apr_pstrcat(pool, missing, ", ", in->variables[i], NULL);
            continue;
        }
        given++;
        if (*why == NULL)
            *why = value_trouble(pool, in->variables[i], value, account);
    }
    if (given == 0)
        return SERVICE_UNCONFIGURED;
    if (missing != NULL)
        *why =
            apr_pstrcat(pool, "missing, while others of ", in->name, " are set: ", missing, NULL);
    else if (*why == NULL && in == &integrations[INTEGRATION_STRIPE])
        *why = stripe_trouble(settings);
    return *why != NULL ? SERVICE_MISCONFIGURED : SERVICE_OK;
}

const char *const service_words[SERVICE_STATES] = {"unconfigured", "misconfigured", "ok",
                                                   "degraded"};

int integration_named(const char *name)
{
    int i;

    for (i = 0; i < INTEGRATIONS; i++)
        if (!strcmp(integrations[i].name, name))
            return i;
    return -1;
}

static biz_json *status_json(apr_pool_t *pool, const service_status *configured,
                             const service_status *now)
{
    biz_json *data = biz_json_object(pool), *services = biz_json_object(pool);
    biz_json *summary = biz_json_object(pool);
    int i, count = 0;

    for (i = 0; i < INTEGRATIONS; i++) {
        biz_json *service = biz_json_object(pool);

        count += configured[i] == SERVICE_OK;
        biz_json_set_bool(service, "configured", configured[i] == SERVICE_OK);
        biz_json_set_str(service, "status", service_words[now[i]]);
        biz_json_set_str(service, "fallback", integrations[i].fallback);
        biz_json_set(services, integrations[i].name, service);
    }
    biz_json_set_int(summary, "configured", count);
    biz_json_set_int(summary, "total", INTEGRATIONS);
    biz_json_set(data, "services", services);
    biz_json_set(data, "summary", summary);
    return data;
}

biz_registry *registry_new(apr_pool_t *pool, const biz_settings *settings,
                           apr_array_header_t **complaints)
{
    biz_registry *registry = apr_pcalloc(pool, sizeof(*registry));
    firebase_account *account = apr_pcalloc(pool, sizeof(*account));
    biz_json *envelope = biz_json_object(pool);
    int i;

    *complaints = apr_array_make(pool, 1, sizeof(const char *));
    for (i = 0; i < INTEGRATIONS; i++) {
        const integration *in = &integrations[i];
        const char *file =
            i == INTEGRATION_FIREBASE ? biz_secret(settings, in->variables[0]) : NULL;
        const char **why = &registry->trouble[i];

        registry->configured[i] = judge(pool, settings, in, account, why);
        if (*why != NULL)
            APR_ARRAY_PUSH(*complaints, const char *) = apr_pstrcat(
                pool, in->name, ": ", *why, file != NULL ? "; it is " : NULL, file, NULL);
        if (registry->configured[i] == SERVICE_OK && file != NULL)
            registry->firebase = account;
    }
    biz_json_set_bool(envelope, "success", 1);
    biz_json_set(envelope, "data", status_json(pool, registry->configured, registry->configured));
    registry->status_text = biz_json_text(pool, envelope, &registry->status_len);
    return registry;
}

service_status service_now(const biz_registry *registry, const struct clients *c, apr_pool_t *pool,
                           int number)
{
    service_status status = registry->configured[number];
    client_host host;

    for (host = 0; host < CLIENT_HOSTS && c != NULL && registry->configured[number] == SERVICE_OK;
         host++) {
        client_state state;

        if (client_hosts[host].service == NULL ||
            strcmp(client_hosts[host].service, integrations[number].name) != 0)
            continue;
        client_look(c, host, pool, &state);
        if (state.state == CLIENT_REFUSED)
            return SERVICE_MISCONFIGURED;
        if (state.state == CLIENT_DEGRADED)
            status = SERVICE_DEGRADED;
    }
    return status;
}

biz_code integrations_status(biz_req *req, biz_reply *reply)
{
    const biz_registry *registry = req->env->registry;
    service_status now[INTEGRATIONS];
    int i;

    for (i = 0; i < INTEGRATIONS; i++)
        now[i] = service_now(registry, req->env->clients, req->pool, i);
    if (memcmp(now, registry->configured, sizeof(now)) != 0) {
        reply->data = status_json(req->pool, registry->configured, now);
        return BIZ_OK;
    }
    reply->raw = registry->status_text;
    reply->raw_len = registry->status_len;
    reply->raw_type = "application/json";
    return BIZ_OK;
}
