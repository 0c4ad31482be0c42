/* errorlog.c: the sink of core/log.h in the server: Apache's error log. What is said while a
 * request is served goes to the log of its virtual host and carries its id (ErrorLogFormat %L). */
#include "glue.h"

APLOG_USE_MODULE(bizapi);

static server_rec *log_server;
static __thread request_rec *log_request;

static void to_error_log(biz_level level, apr_status_t status, const char *line)
{
    static const int levels[] = {APLOG_ERR, APLOG_WARNING, APLOG_NOTICE, APLOG_INFO, APLOG_DEBUG};

    /* The line says the status in words already, hence 0 here. */
    (void)status;
    if (log_request != NULL)
        ap_log_rerror(APLOG_MARK, levels[level], 0, log_request, "%s", line);
    else
        ap_log_error(APLOG_MARK, levels[level], 0, log_server, "%s", line);
}

void bizapi_log_for(request_rec *r)
{
    log_request = r;
}

void bizapi_log_to(server_rec *main)
{
    log_server = main;
    biz_log_to(to_error_log);
}
