/* mod_bizapi: the back end of a service business's customer portal, as an Apache module.
 *
 * This file is the module record, the hooks and their order, nothing else. What each hook does is
 * in src/httpd; what the product does is in src/routes.c and from there on.
 *
 * A server's life, in the order of the calls:
 *   1 directives          src/httpd/config.c     read for the main server and each virtual host
 *   2 check_config        src/httpd/startup.c    judged, also by apachectl -t; nothing is touched
 *   3 post_config         src/httpd/startup.c    as root: directories, keys, shared memory
 *   4 child_init          src/httpd/child.c      in each child: store, limiter, outbox; before it,
 *                         src/httpd/signals.c    no stop in the middle of it
 *   5 requests            src/httpd/phases.c, access.c, handler.c, errors.c, redact.c
 *   6 once a second       src/httpd/background.c in one child: mails, expiry
 *   7 child_stopping      src/httpd/child.c      the job in flight ends first */
#include "src/httpd/glue.h"
#include "src/httpd/slotmem.h"

#include <mpm_common.h>

static void register_hooks(apr_pool_t *pool)
{
    static const char *const after_remoteip[] = {"mod_remoteip.c", NULL};
    static const char *const after_rewrite[] = {"mod_rewrite.c", "mod_proxy.c", NULL};
    static const char *const before_alias[] = {"mod_alias.c", "mod_userdir.c", NULL};
    static const char *const before_watchdog[] = {"mod_watchdog.c", NULL};

    bizapi_slotmem_register(pool);
    bizapi_register_error_filter();
    bizapi_register_access(pool);

    ap_hook_check_config(bizapi_check_config, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_post_config(bizapi_post_config, NULL, before_watchdog, APR_HOOK_MIDDLE);
    ap_hook_drop_privileges(bizapi_start_begins, NULL, NULL, APR_HOOK_REALLY_FIRST);
    ap_hook_drop_privileges(bizapi_start_ends, NULL, NULL, APR_HOOK_REALLY_LAST);
    /* mod_watchdog starts its threads in child_init MIDDLE: ours must be there before. */
    ap_hook_child_init(bizapi_child_init, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_child_stopping(bizapi_child_stopping, NULL, NULL, APR_HOOK_FIRST);

    ap_hook_post_read_request(bizapi_hide_early, after_remoteip, NULL, APR_HOOK_FIRST);
    ap_hook_translate_name(bizapi_claim_name, after_rewrite, before_alias, APR_HOOK_FIRST);
    ap_hook_map_to_storage(bizapi_claim_storage, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_access_checker_ex(bizapi_let_preflight, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_check_authn(bizapi_check_authn, NULL, NULL, APR_HOOK_MIDDLE, AP_AUTH_INTERNAL_PER_CONF);
    ap_hook_note_auth_failure(bizapi_note_failure, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_fixups(bizapi_export_user, NULL, NULL, APR_HOOK_FIRST);
    ap_hook_handler(bizapi_handler, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_insert_filter(bizapi_insert_filter, NULL, NULL, APR_HOOK_MIDDLE);
    ap_hook_insert_error_filter(bizapi_insert_error_filter, NULL, NULL, APR_HOOK_LAST);
    ap_hook_log_transaction(bizapi_hide_in_log, NULL, NULL, APR_HOOK_REALLY_FIRST);
}

AP_DECLARE_MODULE(bizapi) = {
    STANDARD20_MODULE_STUFF,
    NULL, /* per-directory configuration: SetHandler is all there is */
    NULL,
    bizapi_server_create,
    bizapi_server_merge,
    bizapi_directives,
    register_hooks,
    AP_MODULE_FLAG_NONE,
};
