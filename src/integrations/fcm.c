/* fcm.c: see fcm.h. Called by the outbox. The access token is asked for once and used by all until
 * shortly before its end (RFC 7523); one who finds it refused gets a new one, once. A device's
 * token and the access token are never logged. */
#include "fcm.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "core/jose.h"
#include "core/str.h"
#include "core/time.h"
#include "registry.h"

#define SCOPE "https://www.googleapis.com/auth/firebase.messaging"
#define GRANT "urn:ietf:params:oauth:grant-type:jwt-bearer"

enum {
    ASSERTION_SECONDS = 3600,
    SPARE_SECONDS = 60, /* a token is not used in its last minute */
    NAME_SHOWN = 200,
    TOKEN_MAX = 8192
};

struct fcm {
    const biz_env *env;
    pthread_mutex_t lock; /* held while a token is asked for: the others wait for that one */
    char *token;          /* malloc */
    int64_t until;        /* steady microseconds */
    unsigned generation;
};

static apr_status_t end(void *data)
{
    fcm *f = data;

    free(f->token);
    pthread_mutex_destroy(&f->lock);
    return APR_SUCCESS;
}

fcm *fcm_new(apr_pool_t *pool, const biz_env *env)
{
    fcm *f = apr_pcalloc(pool, sizeof(*f));

    f->env = env;
    pthread_mutex_init(&f->lock, NULL);
    apr_pool_cleanup_register(pool, f, end, apr_pool_cleanup_null);
    return f;
}

/* ---- the access token ---- */

/* 400 is a clock that is wrong or a key that was withdrawn; the clock may be mended meanwhile, so
 * it is asked again. */
static client_verdict judge_token(client_answer *a)
{
    if (a->status == 400) {
        a->error = "it does not take our assertion (invalid_grant): the clock of this machine is "
                   "off, or the key of FIREBASE_CREDENTIALS_PATH was withdrawn";
        return CLIENT_IS_BROKEN;
    }
    return a->status == 200 && biz_json_str(a->json, "access_token") == NULL ? CLIENT_IS_BROKEN
                                                                             : CLIENT_BY_STATUS;
}

static const char *assertion(const biz_env *env, apr_pool_t *pool)
{
    const firebase_account *account = env->registry->firebase;
    int64_t now = apr_time_sec(apr_time_now());
    biz_json *claims = biz_json_object(pool);

    biz_json_set_str(claims, "iss", account->client_email);
    biz_json_set_str(claims, "scope", SCOPE);
    biz_json_set_str(claims, "aud", account->token_uri);
    biz_json_set_int(claims, "iat", now);
    biz_json_set_int(claims, "exp", now + ASSERTION_SECONDS);
    return biz_jwt_rs256(pool, account->private_key, account->private_key_id, claims);
}

void fcm_ask_token(const biz_env *env, apr_pool_t *pool, int test, client_answer *a)
{
    static const char *const headers[] = {"Content-Type: application/x-www-form-urlencoded", NULL};
    const char *form[] = {"grant_type", GRANT, "assertion", assertion(env, pool), NULL};
    client_request request = {.host = CLIENT_FIREBASE_TOKEN,
                              .method = "POST",
                              .path = "",
                              .headers = headers,
                              .tries = test ? 1 : 2,
                              .harmless = 1,
                              .wants_json = 1,
                              .background = !test,
                              .test = test,
                              .judge = judge_token};

    if (!form[3]) {
        memset(a, 0, sizeof(*a));
        a->result = CLIENT_MISCONFIGURED;
        a->error = "the private_key of FIREBASE_CREDENTIALS_PATH is no RSA key";
        return;
    }
    request.body = client_form(pool, form);
    request.body_len = strlen(request.body);
    client_call(env->clients, pool, &request, a);
}

/* The token in use; where `renew`, another than that of *generation. NULL and *a. */
static const char *token_of(fcm *f, apr_pool_t *pool, unsigned *generation, int renew,
                            client_answer *a)
{
    const char *token = NULL, *fresh;

    pthread_mutex_lock(&f->lock);
    /* Somebody else may have got a new one since the caller took the one that was refused. */
    if (renew && f->generation == *generation)
        f->until = 0;
    if (!f->token || biz_steady_now() >= f->until) {
        fcm_ask_token(f->env, pool, 0, a);
        fresh = a->result == CLIENT_ANSWERED && a->status == 200
                    ? biz_json_str(a->json, "access_token")
                    : NULL;
        free(f->token);
        f->token =
            fresh && strlen(fresh) < TOKEN_MAX && !strpbrk(fresh, " \r\n\t") ? strdup(fresh) : NULL;
        f->until = biz_steady_now() +
                   (biz_json_int(a->json, "expires_in", 0) - SPARE_SECONDS) * APR_USEC_PER_SEC;
        f->generation++;
    }
    if (f->token)
        token = apr_pstrdup(pool, f->token);
    *generation = f->generation;
    pthread_mutex_unlock(&f->lock);
    return token;
}

/* ---- the message ---- */

static biz_json *message_json(apr_pool_t *pool, const fcm_message *m)
{
    biz_json *body = biz_json_object(pool), *message = biz_json_object(pool);
    biz_json *note = biz_json_object(pool), *data = biz_json_object(pool);
    biz_json *web = biz_json_object(pool), *headers = biz_json_object(pool);
    biz_json *android = biz_json_object(pool), *tag = biz_json_object(pool);

    biz_json_set_str(message, "token", m->token);
    biz_json_set_str(note, "title", m->title);
    biz_json_set_str(note, "body", m->text);
    biz_json_set(message, "notification", note);
    biz_json_set_str(data, "id", m->id);
    biz_json_set(message, "data", data);
    biz_json_set_str(headers, "TTL", apr_itoa(pool, m->seconds));
    biz_json_set(web, "headers", headers);
    biz_json_set_str(tag, "tag", m->id);
    biz_json_set(web, "notification", tag);
    if (m->link && strncmp(m->link, "https://", 8) == 0) {
        biz_json *options = biz_json_object(pool);

        biz_json_set_str(options, "link", m->link);
        biz_json_set(web, "fcmOptions", options);
    }
    biz_json_set(message, "webpush", web);
    biz_json_set_str(android, "collapseKey", m->id);
    biz_json_set_str(android, "ttl", apr_psprintf(pool, "%ds", m->seconds));
    biz_json_set(message, "android", android);
    biz_json_set(body, "message", message);
    return body;
}

/* ---- what an error says ---- */

static int has_suffix(const char *text, const char *suffix)
{
    size_t len = text ? strlen(text) : 0, n = strlen(suffix);

    return len >= n && strcmp(text + len - n, suffix) == 0;
}

/* FCM's own word for it, such as UNREGISTERED; else the general one. *is_form: the request was
 * wrong elsewhere than in the device's token. */
static const char *word_of(const client_answer *a, int *is_form)
{
    const biz_json *error = biz_json_get(a->json, "error");
    const biz_json *details = biz_json_get(error, "details");
    const char *word = biz_json_str(error, "status");

    *is_form = 0;
    for (size_t i = 0; details && i < biz_json_size(details); i++) {
        const biz_json *detail = biz_json_at(details, i);
        const biz_json *fields = biz_json_get(detail, "fieldViolations");

        if (has_suffix(biz_json_str(detail, "@type"), "FcmError") &&
            biz_json_str(detail, "errorCode"))
            word = biz_json_str(detail, "errorCode");
        for (size_t k = 0; fields && k < biz_json_size(fields); k++) {
            const char *field = biz_json_str(biz_json_at(fields, k), "field");

            *is_form |= !field || strcmp(field, "message.token") != 0;
        }
    }
    return word ? word : "";
}

/* The first 401 is about the token; a 403 may be about the device. A message that was taken has a
 * name. */
static client_verdict judge(client_answer *a)
{
    int is_form;

    if (a->status < 300 && !biz_json_str(a->json, "name"))
        return CLIENT_IS_BROKEN;
    if (a->status == 401)
        return CLIENT_IS_ANSWER;
    return a->status == 403 && strcmp(word_of(a, &is_form), "SENDER_ID_MISMATCH") == 0
               ? CLIENT_IS_ANSWER
               : CLIENT_BY_STATUS;
}

/* Apple's or a browser's own service refuses the project's key for it: Firebase takes ours, and all
 * other devices are reached. */
static int is_third_party(const client_answer *a)
{
    int is_form;

    return strcmp(word_of(a, &is_form), "THIRD_PARTY_AUTH_ERROR") == 0;
}

static client_verdict judge_again(client_answer *a)
{
    return a->status == 401 && !is_third_party(a) ? CLIENT_BY_STATUS : judge(a);
}

static fcm_result result_of(apr_pool_t *pool, client_answer *a, const char **name)
{
    int is_form;
    const char *word = word_of(a, &is_form);

    if (a->result != CLIENT_ANSWERED)
        return FCM_CLIENT;
    if (a->status < 300) {
        *name = biz_json_str(a->json, "name");
        *name = *name ? biz_printable(pool, *name, NAME_SHOWN) : NULL;
        return FCM_SENT;
    }
    a->error = apr_pstrcat(pool, "Firebase says ", biz_printable(pool, word, 60), NULL);
    if (strcmp(word, "UNREGISTERED") == 0 || strcmp(word, "SENDER_ID_MISMATCH") == 0)
        return FCM_GONE;
    return strcmp(word, "INVALID_ARGUMENT") == 0 && !is_form ? FCM_GONE : FCM_REFUSED;
}

fcm_result fcm_send(fcm *f, apr_pool_t *pool, const fcm_message *message, client_answer *a,
                    const char **name)
{
    client_request request = {
        .host = CLIENT_FIREBASE,
        .method = "POST",
        .path = apr_pstrcat(pool, "/v1/projects/",
                            biz_percent_encode(pool, f->env->registry->firebase->project_id),
                            "/messages:send", NULL),
        .wants_json = 1,
        .background = 1};
    unsigned generation = 0;

    request.body = biz_json_text(pool, message_json(pool, message), &request.body_len);
    for (int renew = 0; renew < 2; renew++) {
        const char *token = token_of(f, pool, &generation, renew, a);
        const char *headers[] = {apr_pstrcat(pool, "Authorization: Bearer ", token, NULL),
                                 "Content-Type: application/json", NULL};

        if (!token)
            return FCM_CLIENT;
        request.headers = headers;
        request.judge = renew ? judge_again : judge;
        client_call(f->env->clients, pool, &request, a);
        if (a->result != CLIENT_ANSWERED || a->status != 401 || is_third_party(a))
            break;
    }
    return result_of(pool, a, name);
}
