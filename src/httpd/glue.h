/* glue.h: what the files of src/httpd share. This folder and mod_bizapi.c alone know httpd; they
 * turn its requests, configuration and processes into the words of core/biz.h. */
#ifndef BIZ_GLUE_H
#define BIZ_GLUE_H

#include <httpd.h>
#include <http_config.h>
#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <http_request.h>

#include "core/biz.h"
#include "limit/limit.h"
#include "mail/mail.h"
#include "outbox/outbox.h"
#include "store/store.h"

/* The one symbol that leaves the library: everything else is compiled hidden. */
extern module AP_MODULE_DECLARE_DATA bizapi_module __attribute__((visibility("default")));

#define BIZ_HANDLER "bizapi" /* SetHandler bizapi */
#define BIZ_PREFIX "/api/v1"
#define BIZ_PREFIX_LEN (sizeof(BIZ_PREFIX) - 1)

/* ---- one business: a virtual host that has settings of its own, or the main server ---- */

typedef struct {
    const server_rec *server;
    biz_settings *settings;
    mail_templates *templates;
    struct biz_keys *keys;
    struct biz_registry *registry;
    struct clients *clients;
    struct biz_openapi *openapi;
    int has_store;    /* its file was there, or was made, at the start */
    int works_outbox; /* one business for each store has its rows worked */
    /* Made in each child: */
    biz_env env;
    limiter limits;
    outbox *mailer;
} business;

/* What lives as long as one configuration; the same address in all children. */
typedef struct {
    apr_array_header_t *businesses; /* business * */
    biz_shared *shared;
    void *slots;
    void *seen;                      /* auth/seen.h */
    struct client_memory *providers; /* integrations/client.h */
    unsigned slot_count;
    const char *limit_secret; /* 16 bytes */
} bizapi_state;
extern bizapi_state bizapi;

/* The business that serves this virtual host. Never NULL once the configuration was accepted. */
business *bizapi_business(const server_rec *s);

/* ---- config.c ---- */
extern const command_rec bizapi_directives[];
void *bizapi_server_create(apr_pool_t *pool, server_rec *s);
void *bizapi_server_merge(apr_pool_t *pool, void *base, void *add);
unsigned bizapi_rate_slots(const server_rec *main);
/* The directives and variables of one server as settings; NULL and *why. */
biz_settings *bizapi_settings(apr_pool_t *pool, server_rec *s, const char **why);
int bizapi_has_own(const server_rec *s); /* 1 where the section has directives of ours */
void bizapi_set_business(server_rec *s, business *b);
/* The shipped templates, and the operator's own or NULL. */
void bizapi_templates_dirs(apr_pool_t *pool, const server_rec *s, const char **dir,
                           const char **own);

/* ---- values.c ---- */
/* What is wrong with the value of a directive that takes one text, or of its variable; NULL when
 * good. */
const char *bizapi_text_error(apr_pool_t *pool, const char *directive, const char *value);
/* The same for a fact of the business (BizApiBusiness). */
const char *bizapi_brand_error(apr_pool_t *pool, const char *key, const char *value);
int bizapi_audit_days(const char *text); /* -1 where it is none; 0 for "forever" */
int bizapi_work_mode(const char *text);  /* a biz_work_mode, or -1 */

/* ---- startup.c: check_config and post_config ---- */
int bizapi_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *main);
int bizapi_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *main);
/* NULL where `dir` can serve as state directory, else what is wrong with it. Touches nothing. */
const char *bizapi_state_dir_error(apr_pool_t *pool, const char *dir);
/* The files that BizApiSecret named in this configuration: directive to path. */
apr_table_t *bizapi_secret_files(apr_pool_t *pconf);

/* ---- signals.c: a stop waits for what must not be cut in two ---- */
int bizapi_start_begins(apr_pool_t *pchild, server_rec *main);
int bizapi_start_ends(apr_pool_t *pchild, server_rec *main);
/* Only around work of ours, never around a wait for the client. Releasing twice does no harm. */
void bizapi_signals_hold(void);
void bizapi_signals_release(void);
int bizapi_signals_wait(void); /* 1: this child has been told to end and holds that back */

/* ---- child.c ---- */
void bizapi_child_init(apr_pool_t *pchild, server_rec *main);
void bizapi_child_stopping(apr_pool_t *pchild, int graceful);

/* ---- background.c ---- */
apr_status_t bizapi_background_register(apr_pool_t *pconf, server_rec *main);
/* Asks the running jobs to end and waits until they have, at most `wait`. */
void bizapi_background_stop(apr_interval_time_t wait);
/* Ends the calls over the network that they wait for; nobody else's. */
void bizapi_background_cut(void);
int bizapi_background_is_cut(void); /* asked by the thread whose call it would be */

/* ---- phases.c: where in Apache's phases the work is done ---- */
int bizapi_is_ours(request_rec *r); /* SetHandler bizapi holds for this request */
int bizapi_claim_name(request_rec *r);
int bizapi_claim_storage(request_rec *r);
int bizapi_let_preflight(request_rec *r);

/* ---- access.c: AuthType BizApi ---- */
int bizapi_check_authn(request_rec *r);
int bizapi_note_failure(request_rec *r, const char *type);
int bizapi_export_user(request_rec *r);
void bizapi_register_access(apr_pool_t *pool); /* the words behind Require */

/* ---- handler.c ---- */
int bizapi_handler(request_rec *r);
/* Sets X-Request-Id (the client's where it is good) and gives it. */
const char *bizapi_request_id(request_rec *r);
/* Sets the CORS headers of this request in `headers`. 204 or 403 for a preflight, which ends there;
 * else 0. `methods` as in Allow, or NULL. */
int bizapi_cors(request_rec *r, const business *b, const char *methods, apr_table_t *headers);
/* The headers that every answer of the API has, whoever makes it. */
void bizapi_common_headers(request_rec *r, apr_table_t *headers);

/* ---- request.c ---- */
typedef enum { BODY_OK, BODY_FAILED, BODY_ANSWERED } body_result;
/* Reads the body into req. BODY_FAILED: reply has the failure; BODY_ANSWERED: core has answered. */
body_result bizapi_read_body(request_rec *r, biz_req *req, biz_reply *reply, long max);
/* Before refusing a request whose body was not read: close where it cannot be skipped cheaply. */
void bizapi_leave_body(request_rec *r, long max);
biz_req *bizapi_request(request_rec *r, const business *b);

/* ---- errors.c: what Apache's core answers by itself, in the contract's shape ---- */
void bizapi_insert_error_filter(request_rec *r);
void bizapi_insert_filter(request_rec *r);
void bizapi_register_error_filter(void);

/* ---- redact.c: no query of ours in any log ---- */
int bizapi_hide_early(request_rec *r);
int bizapi_hide_in_log(request_rec *r);

/* ---- errorlog.c ---- */
void bizapi_log_to(server_rec *main);
/* What this thread says from now on is about `r`; NULL when it is done. */
void bizapi_log_for(request_rec *r);

#endif
