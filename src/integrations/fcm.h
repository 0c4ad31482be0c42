/* fcm.h: push messages by Firebase Cloud Messaging, HTTP v1. */
#ifndef BIZ_FCM_H
#define BIZ_FCM_H

#include "client.h"

/* Holds the access token that is in use; for all threads of a process. */
typedef struct fcm fcm;
fcm *fcm_new(apr_pool_t *pool, const biz_env *env);

/* Asks for an access token; `test`: whatever is known about the host. */
void fcm_ask_token(const biz_env *env, apr_pool_t *pool, int test, client_answer *answer);

typedef struct {
    const char *token; /* the device's */
    const char *id;    /* the row's: a second copy takes the place of the first on the device */
    const char *title, *text;
    const char *link; /* https, or NULL */
    int seconds;      /* how long it is of use */
} fcm_message;

typedef enum {
    FCM_SENT,    /* *name */
    FCM_GONE,    /* the device is no longer registered, or never was with this project */
    FCM_REFUSED, /* this message, for good */
    FCM_CLIENT   /* answer->result and ->status tell */
} fcm_result;

fcm_result fcm_send(fcm *f, apr_pool_t *pool, const fcm_message *message, client_answer *answer,
                    const char **name);

#endif
