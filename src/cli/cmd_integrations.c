/* cmd_integrations.c: bizapictl integrations test: one live question to each service, with the
 * secrets and addresses that the server would use. It asks no store, changes nothing and shows no
 * part of a secret. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <apr_file_io.h>
#include <apr_strings.h>

#include "integrations/client.h"
#include "integrations/probe.h"
#include "net/http.h"

const cli_option opts_integrations_test[] = {
    {"conf", 0, "FILE", "take the BizApiSecret and BizApiProviderURL lines of FILE, too"},
    {NULL, 0, NULL, NULL}};

/* ---- what the server would use ---- */

static const char *take_secret(cli *c, apr_table_t *secrets, const char *name, const char *from)
{
    const char *value = NULL, *why = NULL;
    int loose;

    if (!strncmp(from, "file:", 5))
        why = integration_secret_file(c->pool, from + 5, &value, &loose);
    else if (!strncmp(from, "env:", 4))
        value = getenv(from + 4);
    else
        why = "comes neither from file: nor from env:";
    apr_table_set(secrets, name, value != NULL ? value : "");
    return why;
}

static const char *take_url(cli *c, apr_table_t *urls, const char *name, const char *url)
{
    const char *base, *why = client_base_error(c->pool, url, &base);

    if (why == NULL)
        apr_table_set(urls, name, base);
    return why;
}

/* Two of Apache's directives; every other line is not for us. */
static int take_line(cli *c, char *line, apr_table_t *secrets, apr_table_t *urls)
{
    char *rest = NULL, *word = apr_strtok(line, " \t\r\n", &rest);
    char *name = word != NULL ? apr_strtok(NULL, " \t\r\n", &rest) : NULL;
    char *value = name != NULL ? apr_strtok(NULL, " \t\r\n\"", &rest) : NULL;
    const char *why = NULL;

    if (value == NULL)
        return CLI_OK;
    if (!strcasecmp(word, "BizApiSecret"))
        why = take_secret(c, secrets, name, value);
    else if (!strcasecmp(word, "BizApiProviderURL"))
        why = take_url(c, urls, name, value);
    return why == NULL ? CLI_OK
                       : cli_fail(CLI_FAILED, "%s %s: %s", word, cli_text(c->pool, name), why);
}

static int take_file(cli *c, const char *path, apr_table_t *secrets, apr_table_t *urls)
{
    char line[8192];
    apr_file_t *file;
    apr_status_t status =
        apr_file_open(&file, path, APR_READ | APR_BUFFERED, APR_OS_DEFAULT, c->pool);
    int result = CLI_OK;

    if (status != APR_SUCCESS)
        return cli_fail(CLI_FAILED, "%s cannot be read: %s", path,
                        apr_strerror(status, line, sizeof(line)));
    while (result == CLI_OK && apr_file_gets(line, sizeof(line), file) == APR_SUCCESS)
        result = take_line(c, line, secrets, urls);
    apr_file_close(file);
    return result;
}

static int make_env(cli *c, biz_env *env)
{
    biz_settings *settings = apr_pcalloc(c->pool, sizeof(*settings));
    apr_table_t *secrets = apr_table_make(c->pool, 8), *urls = apr_table_make(c->pool, 8);
    const char *file = cli_opt(c, "conf"), *why = NULL;
    apr_array_header_t *complaints; /* each is in the table */
    biz_registry *registry;

    if (file != NULL) {
        int status = take_file(c, file, secrets, urls);

        if (status != CLI_OK)
            return status;
    }
    settings->secrets = integration_secrets_of(c->pool, secrets);
    settings->provider_urls = integration_urls_of(c->pool, urls, &why);
    settings->state_dir = c->state_dir;
    if (why != NULL)
        return cli_fail(CLI_FAILED, "%s", why);
    registry = registry_new(c->pool, settings, &complaints);
    env->settings = settings;
    env->registry = registry;
    env->clients = clients_new(
        c->pool, settings, registry->firebase != NULL ? registry->firebase->token_uri : NULL, NULL);
    return net_init(c->pool) == APR_SUCCESS ? CLI_OK
                                            : cli_fail(CLI_FAILED, "libcurl cannot be used");
}

/* ---- the test ---- */

/* A finding, as JSON and as cells of the table. */
static void show(cli *c, cli_table *table, biz_json *list, int number, const probe_result *result)
{
    const char *cells[4] = {integrations[number].name, service_words[result->status], "-",
                            result->error};
    biz_json *json = biz_json_object(c->pool);

    biz_json_set_str(json, "name", cells[0]);
    biz_json_set_bool(json, "ok", result->ok);
    biz_json_set_str(json, "status", cells[1]);
    if (result->latency_ms >= 0) {
        cells[2] = apr_psprintf(c->pool, "%ld ms", result->latency_ms);
        biz_json_set_int(json, "latency_ms", result->latency_ms);
    }
    biz_json_set_str(json, "error", result->error);
    biz_json_add(list, json);
    if (result->status == SERVICE_UNCONFIGURED && c->args->nelts == 0)
        cells[3] = NULL; /* nobody has asked for it */
    if (!c->quiet || !result->ok)
        cli_table_row(table, c->pool, cells);
}

int cmd_integrations_test(cli *c)
{
    static const char *const headings[] = {"SERVICE", "STATUS", "TIME", "ERROR"};
    const char *name = c->args->nelts > 0 ? cli_arg(c, 0) : NULL;
    biz_env env = {.settings = NULL};
    cli_table *table = cli_table_new(c->pool, 4, headings);
    biz_json *list = biz_json_array(c->pool);
    int only = name != NULL ? integration_named(name) : -1, bad = 0, i, status;

    if (name != NULL && only < 0)
        return cli_usage(c, "there is no service \"%s\"", cli_text(c->pool, name));
    status = make_env(c, &env);
    if (status != CLI_OK)
        return status;
    for (i = 0; i < INTEGRATIONS; i++) {
        probe_result result;

        if (only >= 0 && i != only)
            continue;
        probe_service(&env, c->pool, i, &result);
        /* What nobody wants to use is no failure, unless it was asked for by name. */
        bad += !result.ok && (only >= 0 || result.status != SERVICE_UNCONFIGURED);
        show(c, table, list, i, &result);
    }
    if (c->json)
        cli_print_json(c, list);
    else
        cli_table_flush(table);
    return bad > 0 ? CLI_FAILED : CLI_OK;
}
