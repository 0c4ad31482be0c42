/* settings.h: the effective settings of one business, as the layers below httpd see them. Filled
 * from directives and environment by src/httpd/config.c, by bizapictl from its options, and never
 * changed afterwards: safe to read from any thread. */
#ifndef BIZ_SETTINGS_H
#define BIZ_SETTINGS_H

#include <apr_pools.h>
#include <apr_tables.h>

typedef enum { BIZ_WORK_OFF, BIZ_WORK_AUTO, BIZ_WORK_ON } biz_work_mode;

typedef struct {
    const char *business;        /* what keeps this business apart from others: its store, shown */
    const char *server_name;     /* of the virtual host, for the log */
    const char *state_dir;       /* absolute: keys, database, mail files */
    const char *store_url;       /* sqlite:/abs or mongodb://..., may hold a password */
    const char *frontend_url;    /* normal form, no slash at the end: links in mails */
    const char *public_url;      /* as providers see us */
    const char *mail;            /* "off", "sendgrid", "smtp://...", "smtps://...", "file:/abs" */
    const char *mail_from;       /* "Name <a@b>" or "a@b", or NULL */
    const char *redis_url;       /* or NULL: limits in shared memory */
    apr_array_header_t *origins; /* const char *: CORS */
    apr_array_header_t *rules;   /* limit_rule *: see limit/limit.h */
    apr_table_t *brand;   /* BizApiBusiness KEY VALUE: name, timezone, currency, locale, ... */
    apr_table_t *secrets; /* variable name -> value; only those that are set and not empty */
    apr_table_t *provider_urls; /* "stripe" -> URL */
    long max_body;              /* bytes */
    int require_verified;       /* BizApiRequireVerifiedEmail */
    int quiet_from, quiet_to;   /* BizApiQuietHours: minutes of the day; equal: never */
    int audit_days;             /* older rows of the audit log go; 0: none does */
    biz_work_mode proof_of_work;
    apr_array_header_t *require_mfa; /* const char *: the roles of BizApiRequireMfa */
    const char *passkey_domain;      /* the relying party of WebAuthn: a host name */
} biz_settings;

/* The value of a secret such as "SENDGRID_API_KEY", NULL where it is not set. */
#define biz_secret(settings, name) apr_table_get((settings)->secrets, (name))
/* A fact of the business, or `otherwise`. */
const char *biz_brand(const biz_settings *settings, const char *key, const char *otherwise);

#endif
