/* routes.c: the product's index. Every route of the API: method, path, handler, who may call, what
 * it promises, what it takes. Start reading here. */
#include "admin/admin.h"
#include "auth/auth.h"
#include "health.h"
#include "integrations/registry.h"
#include "integrations/webhook.h"
#include "integrations/elevenlabs.h"
#include "openapi.h"
#include "portal/portal.h"

#define API "/api/v1"

enum { NAME_CHARS = 120 };

/* What a handler may answer by what it does. */
#define STORES BIZ_CAN(STORE_UNAVAILABLE)
#define HASHES BIZ_CAN(BUSY)
#define SETS_PASSWORD (HASHES | BIZ_CAN(WEAK_PASSWORD))
#define TAKES_TICKET (BIZ_CAN(UNAUTHENTICATED) | BIZ_CAN(TOKEN_EXPIRED) | BIZ_CAN(TOKEN_REVOKED))
#define TAKES_LINK (STORES | BIZ_CAN(INVALID_TOKEN))

/* What every way to sign in takes beside its own fields. */
#define SIGN_IN_FIELDS                                                                             \
    {"device_token", BIZ_FIELD_TOKEN, BIZ_NULLABLE, 0, 0, NULL},                                   \
    {                                                                                              \
        "session_cookie", BIZ_FIELD_BOOL, 0, 0, 0, NULL                                            \
    }
/* And may answer. */
#define SIGNS_IN (STORES | BIZ_CAN(ORIGIN_NOT_ALLOWED) | BIZ_CAN(INVALID_REQUEST))

/* A second factor: one of the two. */
#define APP_CODE_FIELD(flags)                                                                      \
    {                                                                                              \
        "code", BIZ_FIELD_CODE, (flags), 6, 6, NULL                                                \
    }
#define RECOVERY_CODE_FIELD                                                                        \
    {                                                                                              \
        "recovery_code", BIZ_FIELD_CODE, 0, 10, 10, NULL                                           \
    }

/* Of routes with BIZ_WORK: see auth/work.h. */
#define WORK_FIELD                                                                                 \
    {                                                                                              \
        "work", BIZ_FIELD_TOKEN, BIZ_NULLABLE, 0, 0, NULL                                          \
    }

#define SCENARIOS "short|long|hostile|least"
static const biz_field mail_preview_fields[] = {{"locale", BIZ_FIELD_LOCALE, 0, 0, 0, NULL},
                                                {"scenario", BIZ_FIELD_CHOICE, 0, 0, 0, SCENARIOS},
                                                {"data", BIZ_FIELD_OBJECT, 0, 0, 0, NULL},
                                                {0}};
static const biz_field mail_test_fields[] = {{"to", BIZ_FIELD_EMAIL, BIZ_REQUIRED, 0, 0, NULL},
                                             {"locale", BIZ_FIELD_LOCALE, 0, 0, 0, NULL},
                                             {0}};
static const biz_field register_fields[] = {
    WORK_FIELD,
    {"email", BIZ_FIELD_EMAIL, BIZ_REQUIRED, 0, 0, NULL},
    {"password", BIZ_FIELD_NEW_PASSWORD, BIZ_REQUIRED, 0, 0, NULL},
    {"name", BIZ_FIELD_LINE, BIZ_REQUIRED, 1, NAME_CHARS, NULL},
    {"phone", BIZ_FIELD_PHONE, BIZ_NULLABLE, 0, 0, NULL},
    {"locale", BIZ_FIELD_LOCALE, BIZ_NULLABLE, 0, 0, NULL},
    {"timezone", BIZ_FIELD_TIMEZONE, BIZ_NULLABLE, 0, 0, NULL},
    {0}};
static const biz_field login_fields[] = {{"email", BIZ_FIELD_EMAIL, BIZ_REQUIRED, 0, 0, NULL},
                                         {"password", BIZ_FIELD_PASSWORD, BIZ_REQUIRED, 0, 0, NULL},
                                         WORK_FIELD,
                                         SIGN_IN_FIELDS,
                                         {0}};
static const biz_field refresh_fields[] = {
    {"refresh_token", BIZ_FIELD_TOKEN, BIZ_REQUIRED, 0, 0, NULL}, {0}};
static const biz_field email_fields[] = {
    {"email", BIZ_FIELD_EMAIL, BIZ_REQUIRED, 0, 0, NULL}, WORK_FIELD, {0}};
/* The link's token, or what the same mail says beside it. */
static const biz_field verify_fields[] = {{"token", BIZ_FIELD_TOKEN, 0, 0, 0, NULL},
                                          {"email", BIZ_FIELD_EMAIL, 0, 0, 0, NULL},
                                          {"code", BIZ_FIELD_CODE, 0, 6, 6, NULL},
                                          {0}};
static const biz_field token_query[] = {
    {"token", BIZ_FIELD_TOKEN, BIZ_REQUIRED | BIZ_IN_QUERY, 0, 0, NULL}, {0}};
static const biz_field reset_fields[] = {
    {"token", BIZ_FIELD_TOKEN, BIZ_REQUIRED, 0, 0, NULL},
    {"new_password", BIZ_FIELD_NEW_PASSWORD, BIZ_REQUIRED, 0, 0, NULL},
    {0}};
static const biz_field change_password_fields[] = {
    {"current_password", BIZ_FIELD_PASSWORD, BIZ_REQUIRED, 0, 0, NULL},
    {"new_password", BIZ_FIELD_NEW_PASSWORD, BIZ_REQUIRED, 0, 0, NULL},
    {0}};
static const biz_field me_fields[] = {{"name", BIZ_FIELD_LINE, 0, 1, NAME_CHARS, NULL},
                                      {"phone", BIZ_FIELD_PHONE, BIZ_NULLABLE, 0, 0, NULL},
                                      {"locale", BIZ_FIELD_LOCALE, BIZ_NULLABLE, 0, 0, NULL},
                                      {"timezone", BIZ_FIELD_TIMEZONE, BIZ_NULLABLE, 0, 0, NULL},
                                      {0}};
static const biz_field login_mfa_fields[] = {
    {"mfa_token", BIZ_FIELD_TOKEN, BIZ_REQUIRED, 0, 0, NULL},
    APP_CODE_FIELD(0),
    RECOVERY_CODE_FIELD,
    SIGN_IN_FIELDS,
    {0}};
static const biz_field code_fields[] = {APP_CODE_FIELD(BIZ_REQUIRED), {0}};
static const biz_field proof_fields[] = {APP_CODE_FIELD(0), RECOVERY_CODE_FIELD, {0}};
/* Without them the answer is REAUTH_REQUIRED, not what is wrong with the fields. */
static const biz_field disable_fields[] = {
    {"password", BIZ_FIELD_PASSWORD, 0, 0, 0, NULL}, APP_CODE_FIELD(0), RECOVERY_CODE_FIELD, {0}};
static const biz_field reauthenticate_fields[] = {{"password", BIZ_FIELD_PASSWORD, 0, 0, 0, NULL},
                                                  APP_CODE_FIELD(0),
                                                  RECOVERY_CODE_FIELD,
                                                  {"credential", BIZ_FIELD_OBJECT, 0, 0, 0, NULL},
                                                  {0}};
static const biz_field passkey_add_fields[] = {
    {"credential", BIZ_FIELD_OBJECT, BIZ_REQUIRED, 0, 0, NULL},
    {"name", BIZ_FIELD_LINE, 0, 1, NAME_CHARS, NULL},
    {0}};
static const biz_field passkey_ask_fields[] = {{"mfa_token", BIZ_FIELD_TOKEN, 0, 0, 0, NULL}, {0}};
static const biz_field passkey_login_fields[] = {
    {"credential", BIZ_FIELD_OBJECT, BIZ_REQUIRED, 0, 0, NULL},
    {"mfa_token", BIZ_FIELD_TOKEN, 0, 0, 0, NULL},
    SIGN_IN_FIELDS,
    {0}};

#define ROLES "customer|staff|admin"
static const biz_field users_query[] = {{"email", BIZ_FIELD_LINE, BIZ_IN_QUERY, 1, 254, NULL},
                                        {"role", BIZ_FIELD_CHOICE, BIZ_IN_QUERY, 0, 0, ROLES},
                                        {0}};
static const biz_field new_user_fields[] = {
    {"email", BIZ_FIELD_EMAIL, BIZ_REQUIRED, 0, 0, NULL},
    {"name", BIZ_FIELD_LINE, BIZ_REQUIRED, 1, NAME_CHARS, NULL},
    {"role", BIZ_FIELD_CHOICE, 0, 0, 0, ROLES},
    {"phone", BIZ_FIELD_PHONE, BIZ_NULLABLE, 0, 0, NULL},
    {"locale", BIZ_FIELD_LOCALE, BIZ_NULLABLE, 0, 0, NULL},
    {"timezone", BIZ_FIELD_TIMEZONE, BIZ_NULLABLE, 0, 0, NULL},
    {0}};
static const biz_field user_fields[] = {{"name", BIZ_FIELD_LINE, 0, 1, NAME_CHARS, NULL},
                                        {"role", BIZ_FIELD_CHOICE, 0, 0, 0, ROLES},
                                        {"disabled", BIZ_FIELD_BOOL, 0, 0, 0, NULL},
                                        {"phone", BIZ_FIELD_PHONE, BIZ_NULLABLE, 0, 0, NULL},
                                        {"locale", BIZ_FIELD_LOCALE, BIZ_NULLABLE, 0, 0, NULL},
                                        {"timezone", BIZ_FIELD_TIMEZONE, BIZ_NULLABLE, 0, 0, NULL},
                                        {0}};
static const biz_field audit_query[] = {{"user_id", BIZ_FIELD_LINE, BIZ_IN_QUERY, 1, 64, NULL},
                                        {"event", BIZ_FIELD_LINE, BIZ_IN_QUERY, 1, 64, NULL},
                                        {"address", BIZ_FIELD_LINE, BIZ_IN_QUERY, 1, 64, NULL},
                                        {"from", BIZ_FIELD_LINE, BIZ_IN_QUERY, 1, 40, NULL},
                                        {"to", BIZ_FIELD_LINE, BIZ_IN_QUERY, 1, 40, NULL},
                                        {0}};
static const biz_field voice_fields[] = {
    {"text", BIZ_FIELD_TEXT, BIZ_REQUIRED, 1, VOICE_TEXT_MAX, NULL},
    {"voice_id", BIZ_FIELD_LINE, BIZ_NULLABLE, 1, 64, NULL},
    {0}};

/* What is signed is taken as it came. */
#define SIGNED_BODY(type)                                                                          \
    {                                                                                              \
        type, BIZ_FIELD_BODY, BIZ_REQUIRED, 0, WEBHOOK_BODY_MAX, NULL                              \
    }
#define FORM "application/x-www-form-urlencoded"
#define FROM_PROVIDER                                                                              \
    (STORES | BIZ_CAN(INVALID_SIGNATURE) | BIZ_CAN(INVALID_REQUEST) | BIZ_CAN(NOT_CONFIGURED))
static const biz_field json_hook[] = {SIGNED_BODY("application/json"), {0}};
static const biz_field twilio_hook[] = {SIGNED_BODY(FORM), SIGNED_BODY("application/json"), {0}};
static const biz_field twilio_status_hook[] = {SIGNED_BODY(FORM),
                                               SIGNED_BODY("application/json"),
                                               {"row", BIZ_FIELD_LINE, BIZ_IN_QUERY, 1, 64, NULL},
                                               {0}};
/* RFC 8058 section 3.2; the page of the portal sends JSON, or nothing. */
static const biz_field one_click[] = {{FORM, BIZ_FIELD_BODY, 0, 0, 4096, NULL},
                                      {"multipart/form-data", BIZ_FIELD_BODY, 0, 0, 4096, NULL},
                                      {"application/json", BIZ_FIELD_BODY, 0, 0, 4096, NULL},
                                      {0}};
static const biz_field notification_fields[] = {{"mail", BIZ_FIELD_BOOL, 0, 0, 0, NULL},
                                                {"sms", BIZ_FIELD_BOOL, 0, 0, 0, NULL},
                                                {"push", BIZ_FIELD_BOOL, 0, 0, 0, NULL},
                                                {"voice", BIZ_FIELD_BOOL, 0, 0, 0, NULL},
                                                {0}};
static const biz_field device_fields[] = {
    {"token", BIZ_FIELD_LINE, BIZ_REQUIRED, 1, 4096, NULL},
    {"platform", BIZ_FIELD_CHOICE, BIZ_REQUIRED, 0, 0, "web|android|ios"},
    {0}};
static const biz_field device_token[] = {{"token", BIZ_FIELD_LINE, BIZ_REQUIRED, 1, 4096, NULL},
                                         {0}};
static const biz_field outbox_query[] = {
    {"state", BIZ_FIELD_CHOICE, BIZ_IN_QUERY, 0, 0,
     "queued|sent|delivered|bounced|unknown|skipped|dead|dropped|cancelled"},
    {"channel", BIZ_FIELD_CHOICE, BIZ_IN_QUERY, 0, 0, "mail|sms|push|voice"},
    {0}};
static const biz_field events_query[] = {
    {"provider", BIZ_FIELD_CHOICE, BIZ_IN_QUERY, 0, 0, "stripe|twilio|sendgrid"},
    {"status", BIZ_FIELD_CHOICE, BIZ_IN_QUERY, 0, 0, "received|done|ignored|unhandled|dead"},
    {0}};

const biz_route biz_routes[] = {
    /* Accounts */
    {"POST", API "/auth/register", auth_register, BIZ_ANYONE,
     BIZ_IDEMPOTENT | BIZ_PERSONAL | BIZ_CREATES | BIZ_WORK, register_fields,
     "Make a customer account; the address gets a mail", "=verification_sent",
     STORES | SETS_PASSWORD},
    {"POST", API "/auth/login", auth_login, BIZ_ANYONE, BIZ_PERSONAL | BIZ_WORK, login_fields,
     "Sign in with address and password; where there is a second factor, its turn is next",
     "TokenPair|MfaChallenge",
     SIGNS_IN | HASHES | BIZ_CAN(INVALID_CREDENTIALS) | BIZ_CAN(EMAIL_NOT_VERIFIED)},
    {"POST", API "/auth/login/mfa", auth_login_mfa, BIZ_ANYONE, BIZ_PERSONAL, login_mfa_fields,
     "The second step of a sign-in: a code of the app, or a recovery code", "TokenPair",
     SIGNS_IN | TAKES_TICKET | BIZ_CAN(INVALID_CODE)},
    {"POST", API "/auth/refresh", auth_refresh, BIZ_ANYONE, BIZ_PERSONAL, refresh_fields,
     "Get the next pair of tokens", "TokenPair",
     STORES | BIZ_CAN(UNAUTHENTICATED) | BIZ_CAN(TOKEN_EXPIRED) | BIZ_CAN(TOKEN_REVOKED) |
         BIZ_CAN(BUSY)},
    {"POST", API "/auth/logout", auth_logout, BIZ_SIGNED_IN, BIZ_PERSONAL | BIZ_ENROLS, NULL,
     "End this session", "=signed_out", 0},
    {"POST", API "/auth/logout-all", auth_logout_all, BIZ_SIGNED_IN, BIZ_PERSONAL | BIZ_ENROLS,
     NULL, "End all sessions of the account", "=signed_out", 0},
    {"GET", API "/auth/me", auth_me, BIZ_SIGNED_IN, BIZ_PERSONAL | BIZ_VERSIONED | BIZ_ENROLS, NULL,
     "The signed-in user", "User", 0},
    {"PATCH", API "/auth/me", auth_me_change, BIZ_SIGNED_IN, BIZ_PERSONAL | BIZ_VERSIONED,
     me_fields, "Change name, phone, language or time zone", "User", BIZ_CAN(REAUTH_REQUIRED)},
    {"POST", API "/auth/change-password", auth_change_password, BIZ_SIGNED_IN,
     BIZ_IDEMPOTENT | BIZ_PERSONAL, change_password_fields,
     "Change the password; other sessions end", "=password_changed",
     SETS_PASSWORD | BIZ_CAN(INVALID_CREDENTIALS) | BIZ_CAN(CONFLICT)},
    {"POST", API "/auth/forgot-password", auth_forgot_password, BIZ_ANYONE, BIZ_PERSONAL | BIZ_WORK,
     email_fields, "Ask for a link to set a new password", "Message", STORES},
    {"GET", API "/auth/verify-reset-token", auth_verify_reset_token, BIZ_ANYONE, BIZ_PERSONAL,
     token_query, "Whether such a link is still good; uses nothing up", "ResetToken", TAKES_LINK},
    {"POST", API "/auth/reset-password", auth_reset_password, BIZ_ANYONE, BIZ_PERSONAL,
     reset_fields, "Set a new password with such a link; every session ends", "=password_changed",
     TAKES_LINK | SETS_PASSWORD},
    {"POST", API "/auth/verify-email", auth_verify_email, BIZ_ANYONE, BIZ_PERSONAL, verify_fields,
     "Confirm an e-mail address by the link's token, or by address and code", "=verified",
     TAKES_LINK | BIZ_CAN(INVALID_CODE)},
    {"POST", API "/auth/resend-verification", auth_resend_verification, BIZ_ANYONE,
     BIZ_PERSONAL | BIZ_WORK, email_fields, "Send the confirmation mail again",
     "=verification_sent", STORES},
    {"GET", API "/auth/sessions", auth_sessions, BIZ_SIGNED_IN, BIZ_PERSONAL | BIZ_LIST, NULL,
     "Where the account is signed in", "[]Session", 0},
    {"DELETE", API "/auth/sessions/{id}", auth_session_end, BIZ_SIGNED_IN, BIZ_PERSONAL, NULL,
     "End one of these sessions", "=ended", 0},
    {"GET", API "/auth/work", auth_work, BIZ_ANYONE, BIZ_PERSONAL, NULL,
     "Whether a proof of work is wanted, and a challenge for one: `work` is CHALLENGE.NUMBER, "
     "whose "
     "SHA-256 begins with so many zero bits",
     "Work", 0},
    {"GET", API "/auth/events", auth_events, BIZ_SIGNED_IN, BIZ_PERSONAL | BIZ_LIST, NULL,
     "What happened to the account: sign-ins, failures, changes", "[]SecurityEvent", 0},
    {"POST", API "/auth/reauthenticate", auth_reauthenticate, BIZ_SIGNED_IN,
     BIZ_PERSONAL | BIZ_ENROLS, reauthenticate_fields,
     "Prove once more who you are, for a change that asks for it; by a second factor where there "
     "is one, else by the password",
     "=confirmed", HASHES | BIZ_CAN(INVALID_CREDENTIALS) | BIZ_CAN(INVALID_CODE)},
    {"GET", API "/auth/2fa", auth_2fa, BIZ_SIGNED_IN, BIZ_PERSONAL | BIZ_ENROLS, NULL,
     "Which second factors the account has", "Factors", 0},
    {"POST", API "/auth/2fa/setup", auth_2fa_setup, BIZ_SIGNED_IN, BIZ_PERSONAL | BIZ_ENROLS, NULL,
     "A secret for an authenticator app, which its first code puts in force", "TotpSetup",
     BIZ_CAN(REAUTH_REQUIRED) | BIZ_CAN(INVALID_STATE)},
    {"POST", API "/auth/2fa/enable", auth_2fa_enable, BIZ_SIGNED_IN, BIZ_PERSONAL | BIZ_ENROLS,
     code_fields, "Put the app in force by its first code", "RecoveryCodes",
     BIZ_CAN(INVALID_CODE) | BIZ_CAN(INVALID_STATE) | BIZ_CAN(REAUTH_REQUIRED)},
    {"POST", API "/auth/2fa/disable", auth_2fa_disable, BIZ_SIGNED_IN, BIZ_PERSONAL | BIZ_ENROLS,
     disable_fields, "Remove the app; asks for the password and a code", "=disabled",
     HASHES | BIZ_CAN(INVALID_CREDENTIALS) | BIZ_CAN(INVALID_CODE) | BIZ_CAN(REAUTH_REQUIRED) |
         BIZ_CAN(INVALID_STATE)},
    {"POST", API "/auth/2fa/recovery-codes", auth_2fa_recovery_codes, BIZ_SIGNED_IN,
     BIZ_PERSONAL | BIZ_ENROLS, proof_fields, "Ten new recovery codes in place of the others",
     "RecoveryCodes", BIZ_CAN(INVALID_CODE) | BIZ_CAN(REAUTH_REQUIRED) | BIZ_CAN(INVALID_STATE)},
    {"POST", API "/auth/passkeys/register/options", auth_passkey_register_options, BIZ_SIGNED_IN,
     BIZ_PERSONAL | BIZ_ENROLS, NULL, "What the browser needs to make a passkey", "PasskeyCreation",
     BIZ_CAN(REAUTH_REQUIRED) | BIZ_CAN(INVALID_STATE)},
    {"POST", API "/auth/passkeys/register/verify", auth_passkey_register_verify, BIZ_SIGNED_IN,
     BIZ_PERSONAL | BIZ_CREATES | BIZ_ENROLS, passkey_add_fields,
     "Keep the passkey that it made; the first factor brings recovery codes", "PasskeyAdded",
     BIZ_CAN(CONFLICT) | BIZ_CAN(INVALID_STATE)},
    {"POST", API "/auth/passkeys/login/options", auth_passkey_login_options, BIZ_ANYONE,
     BIZ_PERSONAL, passkey_ask_fields, "What the browser needs to ask for a passkey",
     "PasskeyRequest", STORES | TAKES_TICKET},
    {"POST", API "/auth/passkeys/login/verify", auth_passkey_login_verify, BIZ_ANYONE, BIZ_PERSONAL,
     passkey_login_fields, "Sign in with a passkey, alone or after the password", "TokenPair",
     SIGNS_IN | TAKES_TICKET | BIZ_CAN(INVALID_CREDENTIALS) | BIZ_CAN(EMAIL_NOT_VERIFIED)},
    {"GET", API "/auth/passkeys", auth_passkeys, BIZ_SIGNED_IN,
     BIZ_PERSONAL | BIZ_LIST | BIZ_ENROLS, NULL, "The account's passkeys", "[]Passkey", 0},
    {"DELETE", API "/auth/passkeys/{id}", auth_passkey_remove, BIZ_SIGNED_IN,
     BIZ_PERSONAL | BIZ_ENROLS, NULL, "Remove one of them", "=removed", BIZ_CAN(REAUTH_REQUIRED)},
    {"GET", API "/auth/jwks.json", auth_jwks, BIZ_ANYONE, BIZ_BARE, NULL,
     "The public keys of the access tokens (RFC 7517)", "JwksAnswer", 0},

    /* Administration */
    {"GET", API "/admin/audit", admin_audit, BIZ_ADMIN, BIZ_PERSONAL | BIZ_LIST, audit_query,
     "The audit log, newest first", "[]AuditEvent", 0},
    {"GET", API "/admin/users", admin_users, BIZ_ADMIN, BIZ_PERSONAL | BIZ_LIST, users_query,
     "The accounts, newest first; by the beginning of an address: in its order", "[]Account", 0},
    {"POST", API "/admin/users", admin_user_make, BIZ_ADMIN,
     BIZ_IDEMPOTENT | BIZ_ACTS | BIZ_PERSONAL | BIZ_CREATES | BIZ_VERSIONED, new_user_fields,
     "Make an account; its owner gets a mail with a link to set a password", "Account",
     BIZ_CAN(CONFLICT) | BIZ_CAN(REAUTH_REQUIRED)},
    {"GET", API "/admin/users/{id}", admin_user, BIZ_ADMIN, BIZ_PERSONAL | BIZ_VERSIONED, NULL,
     "One account", "Account", 0},
    {"PATCH", API "/admin/users/{id}", admin_user_change, BIZ_ADMIN,
     BIZ_ACTS | BIZ_PERSONAL | BIZ_VERSIONED, user_fields,
     "Change an account; another role or state ends its sessions", "Account",
     BIZ_CAN(INVALID_STATE) | BIZ_CAN(CONFLICT) | BIZ_CAN(REAUTH_REQUIRED)},
    {"DELETE", API "/admin/users/{id}", admin_user_delete, BIZ_ADMIN,
     BIZ_ACTS | BIZ_PERSONAL | BIZ_VERSIONED, NULL,
     "Delete an account: nothing of the person stays", "=deleted",
     BIZ_CAN(INVALID_STATE) | BIZ_CAN(CONFLICT) | BIZ_CAN(REAUTH_REQUIRED)},
    {"POST", API "/admin/users/{id}/unlock", admin_user_unlock, BIZ_ADMIN, BIZ_ACTS | BIZ_PERSONAL,
     NULL, "Forget an account's wrong passwords and codes", "=unlocked", 0},
    {"GET", API "/admin/email-templates", admin_mails, BIZ_ADMIN, BIZ_PERSONAL | BIZ_LIST, NULL,
     "The mails that this server sends", "[]MailTemplate", 0},
    {"POST", API "/admin/email-templates/{name}/preview", admin_mail_preview, BIZ_ADMIN,
     BIZ_PERSONAL, mail_preview_fields, "A mail with made-up data, or with some of yours",
     "MailPreview", 0},
    {"POST", API "/admin/email-templates/{name}/test", admin_mail_test, BIZ_ADMIN, BIZ_PERSONAL,
     mail_test_fields, "Send a mail with made-up data to an address", "=queued", 0},

    /* Integrations */
    {"GET", API "/integrations/status", integrations_status, BIZ_ANYONE, 0, NULL,
     "Which external services are configured, and what happens without", "IntegrationStatus", 0},
    {"GET", API "/integrations/{name}", integration_detail, BIZ_ADMIN, BIZ_PERSONAL, NULL,
     "How one of these services is: last error, breaker, latency; calls nobody", "Integration",
     BIZ_CAN(NOT_FOUND)},
    {"POST", API "/integrations/{name}/test", integration_test, BIZ_ADMIN, BIZ_PERSONAL, NULL,
     "Ask one of these services now whether it works", "IntegrationTest",
     BIZ_CAN(NOT_FOUND) | BIZ_CAN(BUSY)},

    /* Bookings */
    {"GET", API "/portal/bookings/{id}/route", portal_booking_route, BIZ_SIGNED_IN, BIZ_PERSONAL,
     NULL, "The way between customer and business", "BookingRoute",
     BIZ_CAN(NOT_FOUND) | BIZ_CAN(GEOCODING_UNAVAILABLE)},
    {"GET", API "/portal/bookings/{id}/weather", portal_booking_weather, BIZ_SIGNED_IN,
     BIZ_PERSONAL, NULL, "The weather where and when the booking is", "BookingWeather",
     BIZ_CAN(NOT_FOUND)},

    /* Staff */
    {"POST", API "/admin/voice", admin_voice, BIZ_STAFF, BIZ_PERSONAL, voice_fields,
     "A text read aloud", "audio/mpeg", BIZ_CAN(VOICE_UNAVAILABLE)},

    /* Portal: what somebody wants to be told */
    {"GET", API "/portal/notifications", portal_notifications, BIZ_SIGNED_IN, BIZ_PERSONAL, NULL,
     "Which channels may be used to tell the caller something", "Notifications", 0},
    {"PUT", API "/portal/notifications", portal_notifications_change, BIZ_SIGNED_IN, BIZ_PERSONAL,
     notification_fields, "Allow channels, or do not; what is not named stays", "Notifications", 0},
    {"POST", API "/portal/push-devices", portal_push_add, BIZ_SIGNED_IN, BIZ_PERSONAL,
     device_fields, "Get push messages on this device", "PushAnswer", 0},
    {"DELETE", API "/portal/push-devices", portal_push_remove, BIZ_SIGNED_IN, BIZ_PERSONAL,
     device_token, "Get none on this device any more", "=removed", 0},
    {"GET", API "/portal/unsubscribe/{token}", portal_unsubscribe_show, BIZ_ANYONE, BIZ_PERSONAL,
     NULL, "What the link of a message would end; ends nothing", "Subscription", TAKES_LINK},
    {"POST", API "/portal/unsubscribe/{token}", portal_unsubscribe, BIZ_ANYONE, BIZ_PERSONAL,
     one_click, "End it, by one click (RFC 8058)", "=unsubscribed", TAKES_LINK},

    /* Administration */
    {"GET", API "/admin/outbox", admin_outbox, BIZ_ADMIN, BIZ_PERSONAL | BIZ_LIST, outbox_query,
     "What is to be sent and what became of it, newest first", "[]OutboxRow", 0},
    {"POST", API "/admin/outbox/{id}/retry", admin_outbox_retry, BIZ_ADMIN, BIZ_PERSONAL, NULL,
     "Send it again", "=queued", BIZ_CAN(INVALID_STATE)},
    {"POST", API "/admin/outbox/{id}/cancel", admin_outbox_cancel, BIZ_ADMIN, BIZ_PERSONAL, NULL,
     "Do not send it", "=cancelled", BIZ_CAN(INVALID_STATE)},
    {"GET", API "/admin/webhook-events", admin_webhook_events, BIZ_ADMIN, BIZ_PERSONAL | BIZ_LIST,
     events_query, "What providers told us, newest first", "[]WebhookEvent", 0},
    {"POST", API "/admin/webhook-events/{id}/replay", admin_webhook_replay, BIZ_ADMIN, BIZ_PERSONAL,
     NULL, "Work it once more", "=received", BIZ_CAN(INVALID_STATE)},

    /* Providers, by their signature */
    {"POST", API "/webhooks/stripe", webhook_stripe, BIZ_ANYONE, 0, json_hook, "Events of Stripe",
     "=received", FROM_PROVIDER},
    {"POST", API "/webhooks/twilio/status", webhook_twilio_status, BIZ_ANYONE, 0,
     twilio_status_hook, "What became of an SMS", "=received", FROM_PROVIDER},
    {"POST", API "/webhooks/twilio/inbound", webhook_twilio_inbound, BIZ_ANYONE, 0, twilio_hook,
     "An SMS to us: STOP, START", "=received", FROM_PROVIDER},
    {"POST", API "/webhooks/sendgrid", webhook_sendgrid, BIZ_ANYONE, 0, json_hook,
     "Events of SendGrid: delivered, bounced, unsubscribed", "=received", FROM_PROVIDER},

    /* Operations */
    {"GET", API "/health/live", health_live, BIZ_ANYONE, 0, NULL, "The server runs", "=live", 0},
    {"GET", API "/health/ready", health_ready, BIZ_ANYONE, 0, NULL, "The server can serve",
     "=ready", STORES},

    {"GET", API "/openapi.json", openapi_json, BIZ_ANYONE, BIZ_BARE | BIZ_VERSIONED, NULL,
     "This table as an OpenAPI 3.1 document", "OpenApi", 0},

    {NULL, NULL, NULL, BIZ_ANYONE, 0, NULL, NULL, NULL, 0}};

_Static_assert(sizeof(biz_routes) / sizeof(*biz_routes) <= BIZ_ROUTES_MOST,
               "route.c has room for all");
