/* phases.c: where in Apache's phases the work is done.
 *
 * A request that SetHandler gives to us has no file behind it. Claiming its name in translate_name
 * and its storage in map_to_storage leaves out the walk over the file system, a quarter of the
 * whole request, while <Location> sections, Require, filters and mod_headers go on as for any
 * other. <Directory> and <Files> sections do not apply: there is no file they could speak of. */
#include "glue.h"

static int names_us(request_rec *r)
{
    core_dir_config *conf = ap_get_core_module_config(r->per_dir_config);
    const char *handler = conf->handler, *error = NULL;

    if (conf->expr_handler != NULL)
        handler = ap_expr_str_exec(r, conf->expr_handler, &error);
    return error == NULL && handler != NULL && !strcmp(handler, BIZ_HANDLER);
}

int bizapi_is_ours(request_rec *r)
{
    return r->uri != NULL && !strncmp(r->uri, BIZ_PREFIX, BIZ_PREFIX_LEN) &&
           (r->uri[BIZ_PREFIX_LEN] == '/' || r->uri[BIZ_PREFIX_LEN] == '\0') && names_us(r);
}

/* After mod_rewrite and mod_proxy, so that what the operator sends elsewhere goes there; before
 * mod_alias and the core, which would look for a file. */
int bizapi_claim_name(request_rec *r)
{
    if (!bizapi_is_ours(r))
        return DECLINED;
    (void)bizapi_request_id(r);      /* before others log a line about this request */
    r->filename = (char *)"bizapi:"; /* no suffix for mod_mime to make something of */
    return OK;
}

int bizapi_claim_storage(request_rec *r)
{
    return r->filename != NULL && !strcmp(r->filename, "bizapi:") ? OK : DECLINED;
}

/* A browser sends a preflight without credentials, so Require cannot apply to it; it reveals what
 * the CORS settings say and reaches no route. */
int bizapi_let_preflight(request_rec *r)
{
    if (r->method_number == M_OPTIONS && bizapi_is_ours(r) &&
        apr_table_get(r->headers_in, "Origin") != NULL &&
        apr_table_get(r->headers_in, "Access-Control-Request-Method") != NULL)
        return OK;
    return DECLINED;
}
