/* openapi_shapes.c: see openapi.h. The shapes of answers as one table, and what the declared types
 * of fields are in JSON Schema (draft 2020-12). Called by openapi.c alone. Whoever changes what a
 * handler answers changes the table here: the tests hold every answer against it. */
#include "openapi.h"

#include <string.h>
#include <apr_strings.h>

#include "core/password.h"
#include "integrations/registry.h"

/* Types: a word of `words` below; Upper for a shape of this table; "[]" before a type for a list of
 * it; "=a|b" for one of these texts; "=true" and "=false"; "?" behind for null as well; "~" before
 * all for a member that may be missing. */
static const struct {
    const char *shape, *member, *type, *note;
} members[] = {
    {"User", "id", "string", "Opaque; sorts by time"},
    {"User", "email", "email", NULL},
    {"User", "name", "string", NULL},
    {"User", "phone", "string?", "E.164"},
    {"User", "role", "=customer|staff|admin", NULL},
    {"User", "email_verified", "boolean", NULL},
    {"User", "mfa_enabled", "boolean", NULL},
    {"User", "locale", "string?", "BCP 47"},
    {"User", "timezone", "string?", "IANA name"},
    {"User", "created_at", "instant", NULL},
    {"User", "version", "integer", "The ETag is made from it"},

    {"TokenPair", "access_token", "string", "JWT, ES256; the keys are at /auth/jwks.json"},
    {"TokenPair", "token_type", "=Bearer", NULL},
    {"TokenPair", "expires_in", "integer", "Seconds"},
    {"TokenPair", "refresh_token", "string", "Good for one use"},
    {"TokenPair", "user", "User", NULL},
    {"TokenPair", "device_token", "~string",
     "At a sign-in: keep it, and send it with the next one"},

    {"Session", "id", "string", NULL},
    {"Session", "device", "string?", "Program and system at sign-in, in words"},
    {"Session", "address", "string", "The client's address when it was last seen"},
    {"Session", "created_at", "instant", NULL},
    {"Session", "last_seen_at", "instant", "To five minutes"},
    {"Session", "expires_at", "instant", "Unless it is used before"},
    {"Session", "current", "boolean", "The one that asks"},

    {"MailTemplate", "name", "string", NULL},
    {"MailTemplate", "description", "string", "When it is sent"},
    {"MailTemplate", "overridden", "boolean", "Something of it is this operator's own"},

    {"MailPreview", "subject", "string", NULL},
    {"MailPreview", "preheader", "string", "What lists of mails show behind the subject"},
    {"MailPreview", "html", "string", "Show it in a frame without scripts"},
    {"MailPreview", "text", "string", NULL},

    {"Account", "id", "string", "Opaque; sorts by time"},
    {"Account", "email", "email", NULL},
    {"Account", "name", "string", NULL},
    {"Account", "phone", "string?", "E.164"},
    {"Account", "role", "=customer|staff|admin", NULL},
    {"Account", "email_verified", "boolean", NULL},
    {"Account", "mfa_enabled", "boolean", NULL},
    {"Account", "locale", "string?", "BCP 47"},
    {"Account", "timezone", "string?", "IANA name"},
    {"Account", "created_at", "instant", NULL},
    {"Account", "version", "integer", "The ETag is made from it"},
    {"Account", "disabled", "boolean", NULL},
    {"Account", "has_password", "boolean", NULL},
    {"Account", "updated_at", "instant", NULL},

    {"Work", "required", "boolean", NULL},
    {"Work", "challenge", "string", "Good for one use"},
    {"Work", "bits", "integer", NULL},
    {"Work", "expires_at", "instant", NULL},

    {"SecurityEvent", "id", "string", NULL},
    {"SecurityEvent", "event", "string", "A name of OWASP's Logging Vocabulary"},
    {"SecurityEvent", "at", "instant", NULL},
    {"SecurityEvent", "address", "string?", "The client's"},
    {"SecurityEvent", "device", "string?", "The User-Agent"},
    {"SecurityEvent", "by_staff", "boolean", "Somebody of the business did it"},

    {"AuditEvent", "id", "string", NULL},
    {"AuditEvent", "seq", "integer", "Counts without a gap"},
    {"AuditEvent", "at", "instant", NULL},
    {"AuditEvent", "event", "string", "A name of OWASP's Logging Vocabulary"},
    {"AuditEvent", "user_id", "string?", "The account that it is about"},
    {"AuditEvent", "actor_id", "string?", "Who did it, where that is somebody else"},
    {"AuditEvent", "address", "string?", "The client's"},
    {"AuditEvent", "device", "string?", "The User-Agent"},
    {"AuditEvent", "request_id", "string?", NULL},
    {"AuditEvent", "details", "object?", NULL},

    {"MfaChallenge", "mfa_required", "=true", NULL},
    {"MfaChallenge", "mfa_token", "string", "For the second step; good for one sign-in"},
    {"MfaChallenge", "expires_in", "integer", "Seconds"},
    {"MfaChallenge", "methods", "[]=totp|passkey|recovery_code", "Those that are there"},

    {"Factors", "enabled", "boolean", "The password alone does not sign in"},
    {"Factors", "totp", "boolean", "An authenticator app"},
    {"Factors", "passkeys", "integer", "How many"},
    {"Factors", "recovery_codes_left", "integer", NULL},
    {"Factors", "fresh", "boolean", "This session may change them now"},
    {"TotpSetup", "secret", "string", "Base32, for those who type it"},
    {"TotpSetup", "otpauth_uri", "string", NULL},
    {"TotpSetup", "qr_svg", "string", "The URI as a picture: an SVG document"},
    {"RecoveryCodes", "recovery_codes", "[]string", "Each good once; not shown again"},

    {"PasskeyCreation", "challenge", "string", "As the next, for navigator.credentials.create()"},
    {"PasskeyCreation", "rp", "object", NULL},
    {"PasskeyCreation", "user", "object", NULL},
    {"PasskeyCreation", "pubKeyCredParams", "[]object", NULL},
    {"PasskeyCreation", "timeout", "integer", "Milliseconds"},
    {"PasskeyCreation", "excludeCredentials", "[]object", NULL},
    {"PasskeyCreation", "authenticatorSelection", "object", NULL},
    {"PasskeyCreation", "attestation", "=none", NULL},
    {"PasskeyCreation", "extensions", "object", NULL},
    {"PasskeyRequest", "challenge", "string", "As the next, for navigator.credentials.get()"},
    {"PasskeyRequest", "timeout", "integer", "Milliseconds"},
    {"PasskeyRequest", "rpId", "string", NULL},
    {"PasskeyRequest", "allowCredentials", "[]object", NULL},
    {"PasskeyRequest", "userVerification", "=required|preferred", NULL},
    {"PasskeyAdded", "passkey", "Passkey", NULL},
    {"PasskeyAdded", "recovery_codes", "~[]string", "With the first factor; not shown again"},
    {"Passkey", "id", "string", NULL},
    {"Passkey", "name", "string", NULL},
    {"Passkey", "created_at", "instant", NULL},
    {"Passkey", "last_used_at", "instant?", NULL},

    {"Message", "message", "string", "For people"},

    {"ResetToken", "valid", "=true", NULL},
    {"ResetToken", "expires_at", "instant", NULL},

    {"JwksAnswer", "success", "=true", NULL},
    {"JwksAnswer", "data", "Jwks", NULL},
    {"JwksAnswer", "keys", "[]Jwk", "The same list, where libraries look for it"},
    {"Jwks", "keys", "[]Jwk", NULL},
    {"Jwk", "kty", "=EC", NULL},
    {"Jwk", "crv", "=P-256", NULL},
    {"Jwk", "x", "string", NULL},
    {"Jwk", "y", "string", NULL},
    {"Jwk", "kid", "string", NULL},
    {"Jwk", "use", "=sig", NULL},
    {"Jwk", "alg", "=ES256", NULL},

    {"IntegrationStatus", "services", "IntegrationServices", NULL},
    {"IntegrationStatus", "summary", "IntegrationSummary", NULL},
    {"IntegrationSummary", "configured", "integer", NULL},
    {"IntegrationSummary", "total", "integer", NULL},
    {"IntegrationService", "configured", "boolean", NULL},
    {"IntegrationService", "status", "=ok|unconfigured|misconfigured|degraded", NULL},
    {"IntegrationService", "fallback", "string", "What happens without it"},
    {"Integration", "name", "string", NULL},
    {"Integration", "configured", "boolean", NULL},
    {"Integration", "status", "=ok|unconfigured|misconfigured|degraded", NULL},
    {"Integration", "problem", "string?", "What is wrong with its variables"},
    {"Integration", "fallback", "string", "What happens without it"},
    {"Integration", "hosts", "[]IntegrationHost", NULL},
    {"IntegrationHost", "name", "string", "As in BizApiProviderURL"},
    {"IntegrationHost", "address", "string", NULL},
    {"IntegrationHost", "breaker", "=open|closed", "Open: not called but once in 30 seconds"},
    {"IntegrationHost", "key_refused", "boolean", "Not called before the key changes"},
    {"IntegrationHost", "retry_after", "integer", "Seconds until it is called again; 0: now"},
    {"IntegrationHost", "last_error", "string?", "http_503, no_connection, no_answer, bad_answer"},
    {"IntegrationHost", "last_error_at", "instant?", NULL},
    {"IntegrationHost", "last_success_at", "instant?", NULL},
    {"IntegrationHost", "latency_ms", "integer?", "Of the last answer"},
    {"IntegrationHost", "calls", "integer", "Since the server or the key is new"},
    {"IntegrationHost", "failures", "integer", NULL},
    {"IntegrationTest", "ok", "boolean", NULL},
    {"IntegrationTest", "status", "=ok|unconfigured|misconfigured|degraded", NULL},
    {"IntegrationTest", "latency_ms", "integer?", "null where nobody was asked"},
    {"IntegrationTest", "error", "~string", "For people"},

    {"BookingRoute", "available", "boolean", "false: there is no way to show"},
    {"BookingRoute", "from", "~=business|customer", NULL},
    {"BookingRoute", "to", "~=business|customer", NULL},
    {"BookingRoute", "distance_m", "~integer", NULL},
    {"BookingRoute", "duration_s", "~integer", NULL},
    {"BookingRoute", "polyline", "~string?", "Encoded, precision 5"},
    {"BookingRoute", "provider", "~=google|osrm|estimate", NULL},
    {"BookingRoute", "attribution", "~string?", "To be shown beside it"},
    {"BookingRoute", "traffic", "~boolean", "Whether the duration knows the traffic of now"},
    {"BookingRoute", "estimate", "~boolean", "From the straight line, no map was asked"},

    {"BookingWeather", "available", "boolean", NULL},
    {"BookingWeather", "at", "~instant", "Of the reading, or of the forecast's three hours"},
    {"BookingWeather", "forecast", "~boolean", NULL},
    {"BookingWeather", "temperature", "~integer", "Degrees Celsius"},
    {"BookingWeather", "feels_like", "~integer", "Degrees Celsius"},
    {"BookingWeather", "rain_percent", "~integer?", "How likely rain or snow is"},
    {"BookingWeather", "wind_kmh", "~integer", NULL},
    {"BookingWeather", "text", "~string?", "In the user's language"},
    {"BookingWeather", "icon", "~string?", "OpenWeather's name of it"},
    {"BookingWeather", "attribution", "~string", "To be shown beside it"},

    {"Notifications", "mail", "ChannelChoice", NULL},
    {"Notifications", "sms", "ChannelChoice", NULL},
    {"Notifications", "push", "ChannelChoice", NULL},
    {"Notifications", "voice", "ChannelChoice", NULL},
    {"Notifications", "quiet_hours", "~QuietHours", "When nobody is woken"},
    {"ChannelChoice", "allowed", "boolean", "Beside what nobody may miss, such as security"},
    {"ChannelChoice", "reachable", "boolean", "False: SMS without a phone number"},
    {"ChannelChoice", "changed_at", "instant?", NULL},
    {"QuietHours", "from", "string", "HH:MM"},
    {"QuietHours", "to", "string", "HH:MM"},
    {"QuietHours", "timezone", "string", "IANA name"},
    {"PushAnswer", "push", "boolean", "False: this business sends none"},
    {"Subscription", "channel", "=mail|sms|push|voice", NULL},
    {"Subscription", "address", "string", "Covered but for what its owner knows"},
    {"Subscription", "subscribed", "boolean", NULL},
    {"OutboxRow", "id", "string", NULL},
    {"OutboxRow", "kind", "string?", "What is to be said"},
    {"OutboxRow", "channel", "=mail|sms|push|voice", NULL},
    {"OutboxRow", "state", "=queued|sent|delivered|bounced|unknown|skipped|dead|dropped|cancelled",
     NULL},
    {"OutboxRow", "recipient", "string?", NULL},
    {"OutboxRow", "user_id", "string?", NULL},
    {"OutboxRow", "tries", "integer", NULL},
    {"OutboxRow", "being_sent", "boolean", NULL},
    {"OutboxRow", "due_at", "instant?", "The next try"},
    {"OutboxRow", "sent_at", "instant?", NULL},
    {"OutboxRow", "last_error", "string?", NULL},
    {"OutboxRow", "provider_id", "string?", "The provider's name for it"},
    {"OutboxRow", "created_at", "instant", NULL},
    {"WebhookEvent", "id", "string", NULL},
    {"WebhookEvent", "provider", "=stripe|twilio|sendgrid", NULL},
    {"WebhookEvent", "event_id", "string", "The provider's name for it"},
    {"WebhookEvent", "type", "string", NULL},
    {"WebhookEvent", "received_at", "instant", NULL},
    {"WebhookEvent", "status", "=received|done|ignored|unhandled|dead", NULL},
    {"WebhookEvent", "tries", "integer", NULL},
    {"WebhookEvent", "worked_at", "instant?", NULL},
    {"WebhookEvent", "last_error", "string?", NULL},
    {"WebhookEvent", "payload", "object", "As it came"},

    {"Page", "has_more", "boolean", NULL},
    {"Page", "next_cursor", "string?", "For the parameter cursor; opaque"},
    {"Page", "limit", "integer", NULL},

    {"Error", "success", "=false", NULL},
    {"Error", "error", "Failure", NULL},
    {"Failure", "code", "string", "Frozen: programs may rely on it"},
    {"Failure", "message", "string", "For people; may be translated"},
    {"Failure", "param", "~string", "The field that it is about"},
    {"Failure", "details", "~[]FailureDetail", "Everything that is wrong with the fields"},
    {"Failure", "request_id", "~string", "As in X-Request-Id; from 500 on"},
    {"Failure", "retry_after", "~integer", "Seconds, as in Retry-After"},
    {"FailureDetail", "param", "string", NULL},
    {"FailureDetail", "message", "string", NULL},

    {"OpenApi", "openapi", "string", "https://spec.openapis.org/oas/v3.1.0"},
    {"OpenApi", "info", "object", NULL},
    {"OpenApi", "servers", "[]object", NULL},
    {"OpenApi", "paths", "object", NULL},
    {"OpenApi", "components", "object", NULL},
    {NULL, NULL, NULL, NULL}};

static const struct {
    const char *word, *type, *format, *pattern;
} words[] = {
    {"string", "string", NULL, NULL},
    {"boolean", "boolean", NULL, NULL},
    {"integer", "integer", NULL, NULL},
    {"object", "object", NULL, NULL},
    {"array", "array", NULL, NULL},
    {"email", "string", "email", NULL},
    {"password", "string", "password", NULL},
    {"binary", "string", "binary", NULL},
    {"phone", "string", NULL, "^\\+[1-9][0-9]{6,14}$"},
    {"instant", "string", "date-time", "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"},
    {NULL, NULL, NULL, NULL}};

static biz_json *word_type(apr_pool_t *pool, const char *word, int or_null)
{
    biz_json *schema = biz_json_object(pool), *both;
    int i;

    for (i = 0; words[i + 1].word != NULL && strcmp(words[i].word, word) != 0; i++)
        ;
    if (or_null) {
        both = biz_json_array(pool);
        biz_json_add_str(both, words[i].type);
        biz_json_add_str(both, "null");
        biz_json_set(schema, "type", both);
    } else {
        biz_json_set_str(schema, "type", words[i].type);
    }
    if (words[i].format != NULL)
        biz_json_set_str(schema, "format", words[i].format);
    if (words[i].pattern != NULL)
        biz_json_set_str(schema, "pattern", words[i].pattern);
    return schema;
}

static biz_json *choices_list(apr_pool_t *pool, const char *choices, int or_null)
{
    biz_json *texts = biz_json_array(pool);
    char *rest = NULL, *each;

    for (each = apr_strtok(apr_pstrdup(pool, choices), "|", &rest); each != NULL;
         each = apr_strtok(NULL, "|", &rest))
        biz_json_add_str(texts, each);
    if (or_null)
        biz_json_add(texts, NULL);
    return texts;
}

static biz_json *choice_type(apr_pool_t *pool, const char *choices)
{
    biz_json *schema = biz_json_object(pool);

    if (!strcmp(choices, "true") || !strcmp(choices, "false")) {
        biz_json_set_str(schema, "type", "boolean");
        biz_json_set_bool(schema, "const", choices[0] == 't');
        return schema;
    }
    biz_json_set_str(schema, "type", "string");
    biz_json_set(schema, "enum", choices_list(pool, choices, 0));
    return schema;
}

/* "One|Other" */
static biz_json *either_type(apr_pool_t *pool, const char *types)
{
    biz_json *schema = biz_json_object(pool), *list = biz_json_array(pool);
    char *rest = NULL, *each;

    for (each = apr_strtok(apr_pstrdup(pool, types), "|", &rest); each != NULL;
         each = apr_strtok(NULL, "|", &rest))
        biz_json_add(list, openapi_type(pool, each));
    biz_json_set(schema, "oneOf", list);
    return schema;
}

biz_json *openapi_type(apr_pool_t *pool, const char *type)
{
    biz_json *schema;
    size_t len = strlen(type);

    if (type[0] == '=')
        return choice_type(pool, type + 1);
    if (type[0] != '[' && strchr(type, '|') != NULL)
        return either_type(pool, type);
    if (type[0] >= 'A' && type[0] <= 'Z') {
        schema = biz_json_object(pool);
        biz_json_set_str(schema, "$ref", apr_pstrcat(pool, "#/components/schemas/", type, NULL));
        return schema;
    }
    if (!strncmp(type, "[]", 2)) {
        schema = biz_json_object(pool);
        biz_json_set_str(schema, "type", "array");
        biz_json_set(schema, "items", openapi_type(pool, type + 2));
        return schema;
    }
    if (type[len - 1] == '?')
        return word_type(pool, apr_pstrmemdup(pool, type, len - 1), 1);
    return word_type(pool, type, 0);
}

/* The limits of a field, under the words that JSON Schema has for its type. */
static void set_limits(biz_json *schema, biz_field_type type, long min, long max)
{
    switch (type) {
    case BIZ_FIELD_BOOL:
    case BIZ_FIELD_CHOICE:
    case BIZ_FIELD_OBJECT:
    case BIZ_FIELD_BODY:
    case BIZ_FIELD_CODE: /* the gaps between its characters are not counted */
        break;
    case BIZ_FIELD_INT:
        biz_json_set_int(schema, "minimum", min);
        biz_json_set_int(schema, "maximum", max);
        break;
    case BIZ_FIELD_LIST:
        biz_json_set_int(schema, "minItems", min);
        biz_json_set_int(schema, "maxItems", max);
        break;
    default:
        biz_json_set_int(schema, "minLength", min);
        if (max > 0)
            biz_json_set_int(schema, "maxLength", max);
        break;
    }
}

biz_json *openapi_field(apr_pool_t *pool, const biz_field *field)
{
    static const struct {
        const char *word, *note;
        long min, max;
    } of[] = {[BIZ_FIELD_EMAIL] = {"email", NULL, 3, 254},
              [BIZ_FIELD_PASSWORD] = {"password", NULL, 1, BIZ_PASSWORD_MAX},
              [BIZ_FIELD_NEW_PASSWORD] = {"password", "Not one that is easy to guess",
                                          BIZ_PASSWORD_MIN, BIZ_PASSWORD_MAX},
              [BIZ_FIELD_TOKEN] = {"string", NULL, 1, BIZ_TOKEN_MAX},
              [BIZ_FIELD_LINE] = {"string", "One line", 0, 0},
              [BIZ_FIELD_PHONE] = {"phone", "E.164", 8, 16},
              [BIZ_FIELD_LOCALE] = {"string", "BCP 47, such as de-AT", 2, 0},
              [BIZ_FIELD_TIMEZONE] = {"string", "IANA name, such as Europe/Berlin", 1, 0},
              [BIZ_FIELD_TEXT] = {"string", NULL, 0, 0},
              [BIZ_FIELD_CHOICE] = {"string", NULL, 0, 0},
              [BIZ_FIELD_BOOL] = {"boolean", NULL, 0, 0},
              [BIZ_FIELD_INT] = {"integer", NULL, 0, 0},
              [BIZ_FIELD_OBJECT] = {"object", NULL, 0, 0},
              [BIZ_FIELD_LIST] = {"array", NULL, 0, 0},
              [BIZ_FIELD_CODE] = {"string", "Spaces and hyphens do not count", 0, 0},
              [BIZ_FIELD_BODY] = {"object", NULL, 0, 0}};
    int has_own = of[field->type].min == 0;
    long min = has_own ? field->min : of[field->type].min;
    long max = has_own ? field->max : of[field->type].max;
    biz_json *schema = word_type(pool, of[field->type].word, (field->flags & BIZ_NULLABLE) != 0);

    if (field->type == BIZ_FIELD_CHOICE)
        biz_json_set(schema, "enum",
                     choices_list(pool, field->choices, (field->flags & BIZ_NULLABLE) != 0));
    set_limits(schema, field->type, min, max);
    if (of[field->type].note != NULL)
        biz_json_set_str(schema, "description", of[field->type].note);
    return schema;
}

/* Adds a member to the shape `name` of `shapes`, which is made by its first one. */
static void add_member(apr_pool_t *pool, biz_json *shapes, const char *name, const char *member,
                       const char *type, const char *note)
{
    biz_json *shape = biz_json_get(shapes, name), *schema;
    int is_optional = type[0] == '~';

    if (shape == NULL) {
        shape = biz_json_object(pool);
        biz_json_set_str(shape, "type", "object");
        biz_json_set(shape, "required", biz_json_array(pool));
        biz_json_set(shape, "properties", biz_json_object(pool));
        biz_json_set(shapes, name, shape);
    }
    schema = openapi_type(pool, type + is_optional);
    if (note != NULL)
        biz_json_set_str(schema, "description", note);
    biz_json_set(biz_json_get(shape, "properties"), member, schema);
    if (!is_optional)
        biz_json_add_str(biz_json_get(shape, "required"), member);
}

biz_json *openapi_shapes(apr_pool_t *pool)
{
    biz_json *shapes = biz_json_object(pool);
    const integration *service;
    int i;

    for (i = 0; members[i].shape != NULL; i++)
        add_member(pool, shapes, members[i].shape, members[i].member, members[i].type,
                   members[i].note);
    for (service = integrations; service->name != NULL; service++)
        add_member(pool, shapes, "IntegrationServices", service->name, "IntegrationService", NULL);
    return shapes;
}
