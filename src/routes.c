/* routes.c: the product's index. Every route of the API: method, path, handler, who may call, what
 * it promises, what it takes. Start reading here. */
#include "auth/auth.h"
#include "health.h"
#include "integrations/registry.h"

#define API "/api/v1"

enum { NAME_CHARS = 120 };

static const biz_field register_fields[] = {
    {"email", BIZ_FIELD_EMAIL, BIZ_REQUIRED, 0, 0},
    {"password", BIZ_FIELD_NEW_PASSWORD, BIZ_REQUIRED, 0, 0},
    {"name", BIZ_FIELD_LINE, BIZ_REQUIRED, 1, NAME_CHARS},
    {"phone", BIZ_FIELD_PHONE, BIZ_NULLABLE, 0, 0},
    {"locale", BIZ_FIELD_LOCALE, BIZ_NULLABLE, 0, 0},
    {"timezone", BIZ_FIELD_TIMEZONE, BIZ_NULLABLE, 0, 0},
    {0}};
static const biz_field login_fields[] = {{"email", BIZ_FIELD_EMAIL, BIZ_REQUIRED, 0, 0},
                                         {"password", BIZ_FIELD_PASSWORD, BIZ_REQUIRED, 0, 0},
                                         {0}};
static const biz_field refresh_fields[] = {{"refresh_token", BIZ_FIELD_TOKEN, BIZ_REQUIRED, 0, 0},
                                           {0}};
static const biz_field email_fields[] = {{"email", BIZ_FIELD_EMAIL, BIZ_REQUIRED, 0, 0}, {0}};
static const biz_field token_fields[] = {{"token", BIZ_FIELD_TOKEN, BIZ_REQUIRED, 0, 0}, {0}};
static const biz_field token_query[] = {
    {"token", BIZ_FIELD_TOKEN, BIZ_REQUIRED | BIZ_IN_QUERY, 0, 0}, {0}};
static const biz_field reset_fields[] = {
    {"token", BIZ_FIELD_TOKEN, BIZ_REQUIRED, 0, 0},
    {"new_password", BIZ_FIELD_NEW_PASSWORD, BIZ_REQUIRED, 0, 0},
    {0}};
static const biz_field change_password_fields[] = {
    {"current_password", BIZ_FIELD_PASSWORD, BIZ_REQUIRED, 0, 0},
    {"new_password", BIZ_FIELD_NEW_PASSWORD, BIZ_REQUIRED, 0, 0},
    {0}};
static const biz_field me_fields[] = {{"name", BIZ_FIELD_LINE, 0, 1, NAME_CHARS},
                                      {"phone", BIZ_FIELD_PHONE, BIZ_NULLABLE, 0, 0},
                                      {"locale", BIZ_FIELD_LOCALE, BIZ_NULLABLE, 0, 0},
                                      {"timezone", BIZ_FIELD_TIMEZONE, BIZ_NULLABLE, 0, 0},
                                      {0}};

const biz_route biz_routes[] = {
    /* Accounts */
    {"POST", API "/auth/register", auth_register, BIZ_ANYONE, BIZ_IDEMPOTENT | BIZ_PERSONAL,
     register_fields, "Make a customer account; the address gets a mail"},
    {"POST", API "/auth/login", auth_login, BIZ_ANYONE, BIZ_PERSONAL, login_fields,
     "Sign in with address and password"},
    {"POST", API "/auth/refresh", auth_refresh, BIZ_ANYONE, BIZ_PERSONAL, refresh_fields,
     "Get the next pair of tokens"},
    {"POST", API "/auth/logout", auth_logout, BIZ_SIGNED_IN, BIZ_PERSONAL, NULL,
     "End this session"},
    {"POST", API "/auth/logout-all", auth_logout_all, BIZ_SIGNED_IN, BIZ_PERSONAL, NULL,
     "End all sessions of the account"},
    {"GET", API "/auth/me", auth_me, BIZ_SIGNED_IN, BIZ_PERSONAL, NULL, "The signed-in user"},
    {"PATCH", API "/auth/me", auth_me_change, BIZ_SIGNED_IN, BIZ_PERSONAL, me_fields,
     "Change name, phone, language or time zone"},
    {"POST", API "/auth/change-password", auth_change_password, BIZ_SIGNED_IN,
     BIZ_IDEMPOTENT | BIZ_PERSONAL, change_password_fields,
     "Change the password; other sessions end"},
    {"POST", API "/auth/forgot-password", auth_forgot_password, BIZ_ANYONE, BIZ_PERSONAL,
     email_fields, "Ask for a link to set a new password"},
    {"GET", API "/auth/verify-reset-token", auth_verify_reset_token, BIZ_ANYONE, BIZ_PERSONAL,
     token_query, "Whether such a link is still good; uses nothing up"},
    {"POST", API "/auth/reset-password", auth_reset_password, BIZ_ANYONE, BIZ_PERSONAL,
     reset_fields, "Set a new password with such a link; every session ends"},
    {"POST", API "/auth/verify-email", auth_verify_email, BIZ_ANYONE, BIZ_PERSONAL, token_fields,
     "Confirm an e-mail address"},
    {"POST", API "/auth/resend-verification", auth_resend_verification, BIZ_ANYONE, BIZ_PERSONAL,
     email_fields, "Send the confirmation mail again"},
    {"GET", API "/auth/sessions", auth_sessions, BIZ_SIGNED_IN, BIZ_PERSONAL, NULL,
     "Where the account is signed in"},
    {"DELETE", API "/auth/sessions/{id}", auth_session_end, BIZ_SIGNED_IN, BIZ_PERSONAL, NULL,
     "End one of these sessions"},
    {"GET", API "/auth/jwks.json", auth_jwks, BIZ_ANYONE, 0, NULL,
     "The public keys of the access tokens (RFC 7517)"},

    /* Integrations */
    {"GET", API "/integrations/status", integrations_status, BIZ_ANYONE, 0, NULL,
     "Which external services are configured, and what happens without"},

    /* Operations */
    {"GET", API "/health/live", health_live, BIZ_ANYONE, 0, NULL, "The server runs"},
    {"GET", API "/health/ready", health_ready, BIZ_ANYONE, 0, NULL, "The server can serve"},

    {NULL, NULL, NULL, BIZ_ANYONE, 0, NULL, NULL}};
