/* config.c: the directives, their merge, and the settings that come out of directives and
 * environment variables. A directive beats its variable, a variable beats the default; CORS_ORIGINS
 * and PORTAL_DOMAIN add to the list of origins, as the owner's document has it.
 *
 * Nothing here touches the file system beyond reading secrets: it also runs for apachectl -t. */
#include "glue.h"

#include <stdlib.h>
#include <apr_strings.h>

#include "core/str.h"
#include "core/valid.h"
#include "core/webauthn.h"
#include "cors/cors.h"
#include "integrations/client.h"
#include "integrations/registry.h"
#include "outbox/consent.h"

APLOG_USE_MODULE(bizapi);

#ifndef BIZ_DATA_DIR
#define BIZ_DATA_DIR "/usr/local/share/bizapi"
#endif

/* Members that are one text each, with the directive and the variable they come from. */
#define STRING_MEMBERS(M)                                                                          \
    M(store, "BizApiStore", "BIZAPI_STORE")                                                        \
    M(state_dir, "BizApiStateDir", NULL)                                                           \
    M(portal_domain, "BizApiPortalDomain", "PORTAL_DOMAIN")                                        \
    M(frontend_url, "BizApiFrontendURL", "FRONTEND_URL")                                           \
    M(public_url, "BizApiPublicURL", "PUBLIC_URL")                                                 \
    M(rate_backend, "BizApiRateBackend", "BIZAPI_REDIS_URL")                                       \
    M(mail, "BizApiMail", "BIZAPI_MAIL")                                                           \
    M(mail_from, "BizApiMailFrom", "SENDGRID_FROM_EMAIL")                                          \
    M(templates, "BizApiMailTemplates", NULL)                                                      \
    M(overrides, "BizApiMailOverrides", NULL)                                                      \
    M(quiet_hours, "BizApiQuietHours", "BIZAPI_QUIET_HOURS")                                       \
    M(audit_days, "BizApiAuditRetention", NULL)                                                    \
    M(breached, "BizApiBreachedPasswords", NULL)                                                   \
    M(work, "BizApiProofOfWork", NULL)                                                             \
    M(passkey_domain, "BizApiPasskeyDomain", NULL)

typedef struct {
#define MEMBER_(member, directive, variable) const char *member;
    STRING_MEMBERS(MEMBER_)
#undef MEMBER_
    apr_array_header_t *origins;   /* const char *, NULL where the directive was not given */
    apr_array_header_t *rules;     /* limit_rule * */
    apr_array_header_t *mfa_roles; /* const char *, NULL where the directive was not given */
    int rules_off;                 /* BizApiRateLimit off */
    apr_table_t *brand, *secrets, *provider_urls;
    long max_body;         /* 0: not given */
    unsigned slots;        /* 0: not given */
    int require_verified;  /* -1: not given */
    const server_rec *own; /* the server whose section has directives of ours */
    business *serves;      /* set at startup */
} server_conf;

enum { MAX_BODY_DEFAULT = 65536, MAX_BODY_LEAST = 1024, MAX_BODY_MOST = 16 << 20 };
enum { SLOTS_DEFAULT = 65536, AUDIT_DAYS_DEFAULT = 365 };
#define QUIET_DEFAULT "21:00-08:00"

static server_conf *conf_of(const server_rec *s)
{
    return ap_get_module_config(s->module_config, &bizapi_module);
}

void *bizapi_server_create(apr_pool_t *pool, server_rec *s)
{
    server_conf *conf = apr_pcalloc(pool, sizeof(*conf));

    conf->rules = apr_array_make(pool, 2, sizeof(limit_rule *));
    conf->brand = apr_table_make(pool, 4);
    conf->secrets = apr_table_make(pool, 4);
    conf->provider_urls = apr_table_make(pool, 4);
    conf->require_verified = -1;
    return conf;
}

void *bizapi_server_merge(apr_pool_t *pool, void *base_, void *add_)
{
    const server_conf *base = base_, *add = add_;
    server_conf *conf = apr_pmemdup(pool, add, sizeof(*add));

#define MERGE_(member, directive, variable)                                                        \
    if (conf->member == NULL)                                                                      \
        conf->member = base->member;
    STRING_MEMBERS(MERGE_)
#undef MERGE_
    if (add->origins == NULL)
        conf->origins = base->origins;
    if (add->mfa_roles == NULL)
        conf->mfa_roles = base->mfa_roles;
    conf->rules = add->rules_off ? add->rules : apr_array_append(pool, base->rules, add->rules);
    conf->rules_off = base->rules_off || add->rules_off;
    conf->brand = apr_table_overlay(pool, add->brand, base->brand);
    conf->secrets = apr_table_overlay(pool, add->secrets, base->secrets);
    conf->provider_urls = apr_table_overlay(pool, add->provider_urls, base->provider_urls);
    if (add->max_body == 0)
        conf->max_body = base->max_body;
    if (add->require_verified < 0)
        conf->require_verified = base->require_verified;
    conf->slots = base->slots;
    return conf;
}

/* ---- directives: each says what is wrong with its value and what is allowed ---- */

static server_conf *own_conf(cmd_parms *cmd)
{
    server_conf *conf = conf_of(cmd->server);

    conf->own = cmd->server;
    return conf;
}

static const char *wrong(cmd_parms *cmd, const char *value, const char *why)
{
    return apr_psprintf(cmd->pool, "%s: '%s': %s", cmd->cmd->name, value, why);
}

/* The value as anybody may see it. mod_info shows the tree of directives: there it is without its
 * password, too. */
static const char *shown(cmd_parms *cmd, const char *value)
{
    static const char *const with_urls[] = {"BizApiStore", "BizApiMail", "BizApiRateBackend"};
    ap_directive_t *read = (ap_directive_t *)cmd->directive;

    for (size_t i = 0; i < sizeof(with_urls) / sizeof(with_urls[0]); i++) {
        if (!strcmp(cmd->cmd->name, with_urls[i])) {
            read->args = store_url_shown(cmd->pool, value);
            return read->args;
        }
    }
    return value;
}

static const char *set_text(cmd_parms *cmd, void *dummy, const char *value)
{
    server_conf *conf = own_conf(cmd);
    const char *directive = cmd->cmd->name, *why = bizapi_text_error(cmd->pool, directive, value);
    const char *seen = shown(cmd, value);

    if (why != NULL)
        return wrong(cmd, seen, why);
#define SET_(member, name, variable)                                                               \
    if (!strcasecmp(directive, name))                                                              \
        conf->member = value;
    STRING_MEMBERS(SET_)
#undef SET_
    return NULL;
}

static const char *set_origin(cmd_parms *cmd, void *dummy, const char *value)
{
    server_conf *conf = own_conf(cmd);
    const char *why, *origin = cors_origin_parse(cmd->pool, value, &why);

    if (origin == NULL)
        return wrong(cmd, value, why);
    if (conf->origins == NULL)
        conf->origins = apr_array_make(cmd->pool, 4, sizeof(const char *));
    cors_add(conf->origins, origin);
    return NULL;
}

static const char *set_rate(cmd_parms *cmd, void *dummy, const char *pattern, const char *rate)
{
    server_conf *conf = own_conf(cmd);
    const char *why;
    limit_rule *rule;

    if (rate == NULL && !strcasecmp(pattern, "off")) {
        conf->rules_off = 1;
        apr_array_clear(conf->rules);
        return NULL;
    }
    rule = limit_rule_parse(cmd->pool, pattern, rate != NULL ? rate : "", &why);
    if (rule == NULL)
        return wrong(cmd, apr_pstrcat(cmd->pool, pattern, rate != NULL ? " " : "", rate, NULL),
                     why);
    APR_ARRAY_PUSH(conf->rules, limit_rule *) = rule;
    return NULL;
}

static const char *set_slots(cmd_parms *cmd, void *dummy, const char *value)
{
    const char *why = ap_check_cmd_context(cmd, NOT_IN_VIRTUALHOST);
    int64_t n;

    if (why != NULL)
        return why;
    if (!biz_parse_int(value, LIMIT_SLOTS_MIN, LIMIT_SLOTS_MAX, &n))
        return wrong(cmd, value, "must be a number from 64 to 16777216");
    conf_of(cmd->server)->slots = (unsigned)n;
    return NULL;
}

static const char *set_max_body(cmd_parms *cmd, void *dummy, const char *value)
{
    int64_t n;

    if (!biz_parse_int(value, MAX_BODY_LEAST, MAX_BODY_MOST, &n))
        return wrong(cmd, value, "must be a number of bytes from 1024 to 16777216");
    own_conf(cmd)->max_body = (long)n;
    return NULL;
}

static const char *set_require_verified(cmd_parms *cmd, void *dummy, int on)
{
    own_conf(cmd)->require_verified = on;
    return NULL;
}

static const char *set_require_mfa(cmd_parms *cmd, void *dummy, const char *role)
{
    server_conf *conf = own_conf(cmd);
    int is_none = !strcmp(role, "none");

    if (!is_none && strcmp(role, "customer") != 0 && strcmp(role, "staff") != 0 &&
        strcmp(role, "admin") != 0)
        return wrong(cmd, role, "is no role; the roles are customer, staff and admin, or none");
    if (conf->mfa_roles == NULL || is_none)
        conf->mfa_roles = apr_array_make(cmd->pool, 3, sizeof(const char *));
    if (!is_none)
        APR_ARRAY_PUSH(conf->mfa_roles, const char *) = role;
    return NULL;
}

static const char *set_brand(cmd_parms *cmd, void *dummy, const char *key, const char *value)
{
    const char *why;

    key = apr_pstrdup(cmd->pool, key);
    ap_str_tolower((char *)key);
    why = bizapi_brand_error(cmd->pool, key, value);
    if (why != NULL)
        return wrong(cmd, apr_pstrcat(cmd->pool, key, " ", value, NULL), why);
    apr_table_set(own_conf(cmd)->brand, key, value);
    return NULL;
}

static int is_secret_name(const char *name)
{
    int i;

    for (i = 0; integration_secrets[i] != NULL; i++)
        if (!strcmp(name, integration_secrets[i]))
            return 1;
    return 0;
}

apr_table_t *bizapi_secret_files(apr_pool_t *pconf)
{
    void *files = NULL;

    apr_pool_userdata_get(&files, "bizapi-secret-files", pconf);
    if (files == NULL) {
        files = apr_table_make(pconf, 4);
        apr_pool_userdata_setn(files, "bizapi-secret-files", NULL, pconf);
    }
    return files;
}

static const char *secret_from_file(cmd_parms *cmd, const char *path, const char **value)
{
    int loose = 0;
    const char *why = integration_secret_file(cmd->pool, path, value, &loose);

    if (loose)
        ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_STARTUP, 0, NULL,
                     BZ(1001) "%s: others may read %s; chmod 600 it", cmd->cmd->name, path);
    apr_table_add(bizapi_secret_files(cmd->pool), cmd->cmd->name, path);
    return why;
}

static const char *set_secret(cmd_parms *cmd, void *dummy, const char *name, const char *from)
{
    const char *value = NULL, *why = NULL;

    if (!is_secret_name(name))
        return wrong(cmd, name, "is not the name of a secret; conf/bizapi.conf lists them");
    if (!strncmp(from, "file:", 5))
        why = secret_from_file(cmd, ap_server_root_relative(cmd->pool, from + 5), &value);
    else if (!strncmp(from, "env:", 4))
        value = getenv(from + 4);
    else
        return wrong(cmd, name,
                     "must come from file:PATH or env:VARIABLE, never the secret itself");
    if (why != NULL)
        return wrong(cmd, from, why);
    apr_table_set(own_conf(cmd)->secrets, name, value != NULL ? value : "");
    return NULL;
}

static const char *set_provider_url(cmd_parms *cmd, void *dummy, const char *name,
                                    const char *value)
{
    const char *base, *why = client_base_error(cmd->pool, value, &base);

    if (client_host_named(name) == CLIENT_HOSTS)
        return wrong(cmd, name,
                     "is no provider; the names are stripe, twilio, sendgrid, google_maps, "
                     "google_routes, osrm, openweather, elevenlabs and firebase");
    if (why != NULL)
        return wrong(cmd, value, why);
    apr_table_set(own_conf(cmd)->provider_urls, name, base);
    return NULL;
}

#define TEXT(name, help) AP_INIT_TAKE1(name, set_text, NULL, RSRC_CONF, help)
const command_rec bizapi_directives[] = {
    TEXT("BizApiStore", "sqlite:PATH or mongodb://..."),
    TEXT("BizApiStateDir", "directory of keys, database and mail files"),
    AP_INIT_ITERATE("BizApiCorsOrigins", set_origin, NULL, RSRC_CONF,
                    "origins that may read the API's answers"),
    TEXT("BizApiPortalDomain", "domain of the portal: adds its http and https origin"),
    TEXT("BizApiFrontendURL", "where the portal's pages are: the base of links in mails"),
    TEXT("BizApiPublicURL", "this server's address as others see it"),
    AP_INIT_TAKE12("BizApiRateLimit", set_rate, NULL, RSRC_CONF,
                   "PATTERN N/min, or off to clear the defaults"),
    TEXT("BizApiRateBackend", "shm or redis://..."),
    AP_INIT_TAKE1("BizApiRateSlots", set_slots, NULL, RSRC_CONF,
                  "how many addresses the limiter remembers at once"),
    TEXT("BizApiMail", "sendgrid, smtp://..., file:DIR or off"),
    TEXT("BizApiMailFrom", "sender of mails: \"Name <a@b>\""),
    TEXT("BizApiMailTemplates", "directory of the mail templates"),
    TEXT("BizApiMailOverrides", "directory of your own templates and texts, before the others"),
    TEXT("BizApiQuietHours", "HH:MM-HH:MM or off: when nobody is woken by SMS, push or voice"),
    TEXT("BizApiAuditRetention", "days that the audit log is kept, or forever"),
    TEXT("BizApiBreachedPasswords", "off, or the URL of a list of leaked passwords"),
    TEXT("BizApiProofOfWork", "off, auto or on: work before a sign-up or sign-in"),
    AP_INIT_TAKE2("BizApiSecret", set_secret, NULL, RSRC_CONF, "NAME file:PATH or NAME env:VAR"),
    AP_INIT_TAKE2("BizApiProviderURL", set_provider_url, NULL, RSRC_CONF,
                  "NAME URL: another address of a provider"),
    AP_INIT_TAKE1("BizApiMaxBody", set_max_body, NULL, RSRC_CONF, "bytes of a request body"),
    AP_INIT_FLAG("BizApiRequireVerifiedEmail", set_require_verified, NULL, RSRC_CONF,
                 "on: no sign-in before the address is confirmed"),
    AP_INIT_ITERATE("BizApiRequireMfa", set_require_mfa, NULL, RSRC_CONF,
                    "roles that get nowhere before they have a second factor"),
    TEXT("BizApiPasskeyDomain", "domain that passkeys are for"),
    AP_INIT_TAKE2("BizApiBusiness", set_brand, NULL, RSRC_CONF,
                  "KEY VALUE: a fact of the business"),
    {.name = NULL}};

/* ---- from configuration to settings ---- */

/* A member's value: directive, variable, or NULL. *why names the variable where it is no good. */
static const char *text_of(apr_pool_t *pool, const char *configured, const char *directive,
                           const char *variable, const char **why)
{
    const char *value = variable != NULL ? getenv(variable) : NULL, *trouble;

    if (configured != NULL)
        return configured;
    if (value == NULL || value[0] == '\0')
        return NULL;
    trouble = bizapi_text_error(pool, directive, value);
    if (trouble != NULL)
        *why = apr_psprintf(pool, "the variable %s: '%s': %s", variable,
                            store_url_shown(pool, value), trouble);
    return apr_pstrdup(pool, value);
}

static apr_array_header_t *origins_of(apr_pool_t *pool, const server_conf *conf, const char *domain,
                                      const char **why)
{
    apr_array_header_t *origins =
        conf->origins != NULL ? apr_array_copy(pool, conf->origins) : cors_origins_default(pool);
    const char *variable = getenv("CORS_ORIGINS"), *trouble = NULL;
    char *rest = variable != NULL ? apr_pstrdup(pool, variable) : NULL, *each;

    for (each = rest != NULL ? apr_strtok(rest, ", ", &rest) : NULL; each != NULL;
         each = apr_strtok(NULL, ", ", &rest)) {
        const char *origin = cors_origin_parse(pool, each, &trouble);

        if (origin == NULL) {
            *why = apr_psprintf(pool, "the variable CORS_ORIGINS: '%s': %s", each, trouble);
            return origins;
        }
        cors_add(origins, origin);
    }
    if (domain != NULL)
        cors_add_domain(pool, origins, domain);
    return origins;
}

/* BIZAPI_RATE_LIMIT="/api/v1/portal/" and a star, " 60/min, ..." in the words of the directive. */
static void rules_of_variable(apr_pool_t *pool, apr_array_header_t *rules, const char **why)
{
    const char *variable = getenv("BIZAPI_RATE_LIMIT"), *trouble;
    char *rest = NULL, *each;

    if (variable == NULL)
        return;
    for (each = apr_strtok(apr_pstrdup(pool, variable), ",", &rest); each != NULL;
         each = apr_strtok(NULL, ",", &rest)) {
        char *inner = NULL, *pattern = apr_strtok(each, " ", &inner);
        char *rate = pattern != NULL ? apr_strtok(NULL, " ", &inner) : NULL;
        limit_rule *rule;

        if (pattern == NULL)
            continue;
        if (rate == NULL && !strcasecmp(pattern, "off")) {
            apr_array_clear(rules);
            continue;
        }
        rule = limit_rule_parse(pool, pattern, rate != NULL ? rate : "", &trouble);
        if (rule == NULL) {
            *why = apr_psprintf(pool, "the variable BIZAPI_RATE_LIMIT: '%s %s': %s", pattern,
                                rate != NULL ? rate : "", trouble);
            return;
        }
        limit_rules_add(rules, rule);
    }
}

static apr_array_header_t *rules_of(apr_pool_t *pool, const server_conf *conf, const char **why)
{
    apr_array_header_t *rules = limit_rules_default(pool);
    int i;

    rules_of_variable(pool, rules, why);
    if (conf->rules_off)
        apr_array_clear(rules);
    for (i = 0; i < conf->rules->nelts; i++)
        limit_rules_add(rules, APR_ARRAY_IDX(conf->rules, i, limit_rule *));
    return rules;
}

static const char *url_or(apr_pool_t *pool, const char *value, const char *otherwise)
{
    const char *why;

    return value != NULL ? biz_valid_url(pool, value, BIZ_URL_BASE, &why) : otherwise;
}

static const char *sqlite_absolute(apr_pool_t *pool, const char *url, const char *state_dir)
{
    if (url == NULL)
        return apr_pstrcat(pool, "sqlite:", state_dir, "/bizapi.db", NULL);
    return url;
}

biz_settings *bizapi_settings(apr_pool_t *pool, server_rec *s, const char **why)
{
    const server_conf *conf = conf_of(s);
    biz_settings *set = apr_pcalloc(pool, sizeof(*set));
    server_conf text = *conf;

    *why = NULL;
#define TAKE_(member, directive, variable)                                                         \
    if (*why == NULL)                                                                              \
        text.member = text_of(pool, conf->member, directive, variable, why);
    STRING_MEMBERS(TAKE_)
#undef TAKE_
    set->server_name = s->server_hostname != NULL ? s->server_hostname : "localhost";
    set->state_dir = text.state_dir != NULL ? ap_server_root_relative(pool, text.state_dir)
                                            : ap_runtime_dir_relative(pool, "bizapi");
    set->store_url = sqlite_absolute(pool, text.store, set->state_dir);
    set->business = store_url_shown(pool, set->store_url);
    set->frontend_url = url_or(pool, text.frontend_url, "http://localhost:8081");
    set->public_url = url_or(pool, text.public_url, set->frontend_url);
    set->secrets = integration_secrets_of(pool, conf->secrets);
    set->mail = text.mail != NULL                             ? text.mail
                : biz_secret(set, "SENDGRID_API_KEY") != NULL ? "sendgrid"
                                                              : "off";
    set->mail_from = text.mail_from;
    set->redis_url = text.rate_backend != NULL && strcmp(text.rate_backend, "shm") != 0
                         ? text.rate_backend
                         : NULL;
    set->brand = conf->brand;
    set->provider_urls = integration_urls_of(pool, conf->provider_urls, why);
    set->max_body = conf->max_body != 0 ? conf->max_body : MAX_BODY_DEFAULT;
    set->require_verified = conf->require_verified > 0;
    consent_quiet_parse(text.quiet_hours != NULL ? text.quiet_hours : QUIET_DEFAULT,
                        &set->quiet_from, &set->quiet_to);
    set->audit_days =
        text.audit_days != NULL ? bizapi_audit_days(text.audit_days) : AUDIT_DAYS_DEFAULT;
    /* A host like the providers', but for its own directive. */
    if (text.breached != NULL && strcasecmp(text.breached, "off") != 0)
        apr_table_setn(set->provider_urls, "breached_passwords", url_or(pool, text.breached, NULL));
    set->proof_of_work =
        text.work != NULL ? (biz_work_mode)bizapi_work_mode(text.work) : BIZ_WORK_OFF;
    set->require_mfa =
        conf->mfa_roles != NULL ? conf->mfa_roles : apr_array_make(pool, 1, sizeof(const char *));
    if (*why == NULL)
        set->passkey_domain = webauthn_id(pool, text.passkey_domain, set->frontend_url, why);
    if (*why == NULL)
        set->origins = origins_of(pool, conf, text.portal_domain, why);
    if (*why == NULL)
        set->rules = rules_of(pool, conf, why);
    if (*why != NULL)
        return NULL;
    limit_rules_seal(set->rules, set->business);
    return set;
}

/* A virtual host without any directive of ours shares the main server's configuration itself. */
int bizapi_has_own(const server_rec *s)
{
    return conf_of(s)->own == s;
}

unsigned bizapi_rate_slots(const server_rec *main)
{
    return conf_of(main)->slots != 0 ? conf_of(main)->slots : SLOTS_DEFAULT;
}

void bizapi_templates_dirs(apr_pool_t *pool, const server_rec *s, const char **dir,
                           const char **own)
{
    const char *shipped = conf_of(s)->templates, *overrides = conf_of(s)->overrides;

    *dir = shipped != NULL ? ap_server_root_relative(pool, shipped) : BIZ_DATA_DIR "/mail";
    *own = overrides != NULL ? ap_server_root_relative(pool, overrides) : NULL;
}

void bizapi_set_business(server_rec *s, business *b)
{
    conf_of(s)->serves = b;
}

business *bizapi_business(const server_rec *s)
{
    return conf_of(s)->serves;
}
