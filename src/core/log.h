/* log.h: how everything below src/httpd speaks to the operator.
 *
 * Each line that an operator may meet carries a number, BZnnnn, unique in the tree and explained in
 * docs/ERRORS.md. The sink is chosen by the program: Apache's error log, or stderr in bizapictl.
 * No secret, token, password or message body is ever an argument of these functions.
 *
 * Numbers: 01 core, 02 store, 03 limit, 04 cors, 05 auth, 06 mail and outbox, 07 net,
 * 08 integrations, 09 bizapictl, 10 httpd (glue and configuration). */
#ifndef BIZ_LOG_H
#define BIZ_LOG_H

#include <apr_general.h>

typedef enum { BIZ_LOG_ERR, BIZ_LOG_WARN, BIZ_LOG_NOTICE, BIZ_LOG_INFO, BIZ_LOG_DEBUG } biz_level;

/* BZ(0201) "text" -> "BZ0201: text". The guard tests find numbers by this spelling. */
#define BZ(n) "BZ" #n ": "

/* One line of at most about 8000 bytes; `status` (0 for none) is spelled out at its end. Control
 * characters in the arguments are escaped by the sink. Thread safe. */
void biz_log(biz_level level, apr_status_t status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The sink gets the finished line, without a newline. NULL: stderr. Set once, before threads. */
typedef void biz_log_sink(biz_level level, apr_status_t status, const char *line);
void biz_log_to(biz_log_sink *sink);

#endif
