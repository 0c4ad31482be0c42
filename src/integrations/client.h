/* client.h: calls to the providers. One file a provider stands on this and says what is special
 * about its own; here is what holds for all of them: where each is, how long it may take, when it
 * is called again and when it is not called at all, and what every process knows about it.
 *
 * Callers give a host and a path, never a url: nothing but the providers and what the operator put
 * in their place is ever called. Keys, bodies and the query of a path are never logged. */
#ifndef BIZ_CLIENT_H
#define BIZ_CLIENT_H

#include "core/biz.h"

typedef enum {
    CLIENT_STRIPE,
    CLIENT_TWILIO,
    CLIENT_SENDGRID,
    CLIENT_GOOGLE_MAPS,
    CLIENT_GOOGLE_ROUTES,
    CLIENT_OSRM,
    CLIENT_OPENWEATHER,
    CLIENT_ELEVENLABS,
    CLIENT_FIREBASE,
    CLIENT_FIREBASE_TOKEN,     /* where the credentials' token_uri says; `path` is appended to it */
    CLIENT_BREACHED_PASSWORDS, /* where BizApiBreachedPasswords says; not called without */
    CLIENT_HOSTS
} client_host;

typedef struct {
    const char *name;     /* as BizApiProviderURL has it */
    const char *service;  /* whose key it takes (registry.h); NULL: none */
    const char *variable; /* that names another base */
    const char *base;     /* NULL: comes with the credentials */
    long connect_ms;
    long total_ms;      /* of all tries of one call together */
    long first_byte_ms; /* or 0 */
    int rest_s;         /* 0: a 429 is about the one call that got it; else nothing is called for
                         * Retry-After, or for so long */
    int pace_ms;        /* at least so long between two calls of the whole server; 0: no matter */
    int places;         /* calls of requests at once, where it allows few; 0: no matter */
} client_host_info;
extern const client_host_info client_hosts[CLIENT_HOSTS];

/* CLIENT_HOSTS for a name that BizApiProviderURL does not know. */
client_host client_host_named(const char *name);
/* NULL, or what is wrong with another base: https, or http on this machine; no user, no query. The
 * normal form goes to *base. */
const char *client_base_error(apr_pool_t *pool, const char *url, const char **base);

/* ---- what all processes know ---- */

enum {
    CLIENT_SLOTS = 512,        /* of 320 bytes: one for each host, base and key in use */
    CLIENT_PLACES = 32,        /* upper bound of requests that wait for one host at once ... */
    CLIENT_PLACES_ALL = 128,   /* ... and for all hosts together */
    CLIENT_LAYOUT = 0x42435633 /* changes with the layout of client_memory */
};

/* Zeroed memory is a valid start. */
typedef struct client_memory client_memory;
size_t client_memory_size(void);
/* A new configuration is about to be read, in the parent: what was refused for its key gets another
 * chance with it. */
void client_memory_turn(client_memory *memory);

/* What one business calls. Made before the fork; never changed afterwards but by
 * clients_set_workers(). */
typedef struct clients clients;

/* Calls with the same host, base and secrets share their state, over businesses and restarts; a
 * changed key begins anew. `token_uri`: of the Firebase credentials, or NULL. `memory` NULL: state
 * of this process alone, in the pool. */
clients *clients_new(apr_pool_t *pool, const biz_settings *settings, const char *token_uri,
                     client_memory *memory);
/* A host that hangs holds the workers that ask it. So of all workers, `processes` of so many
 * `threads`, a quarter may wait for one host and half for all hosts together; and half of one
 * process', since who keeps a connection open is served by its process alone. Who comes when these
 * places are taken gets the fallback at once. In the child, before its threads. */
void clients_set_workers(clients *c, int threads, int processes);
const char *client_base(const clients *c, client_host host);

/* ---- one call ---- */

typedef enum {
    CLIENT_ANSWERED,      /* 2xx or 4xx: status, headers, body, json tell */
    CLIENT_MISCONFIGURED, /* it refuses our key, now or earlier; or there is no base for it */
    CLIENT_LIMITED,       /* 429, or not called because it asked for a rest; see retry_after */
    CLIENT_PAUSED,        /* not called: the breaker is open; see retry_after */
    CLIENT_BUSY,          /* not called: too many of us wait for it already, or its pace is kept */
    CLIENT_FAILED,        /* no connection: certainly not processed */
    CLIENT_UNKNOWN        /* a lost, late, broken or 5xx answer: it may have been processed */
} client_result;

typedef struct client_answer {
    client_result result;
    long status; /* of the last try, 0 where there was no answer */
    apr_table_t *headers;
    const char *body;
    size_t body_len;
    biz_json *json;    /* the body, where it is JSON; else NULL */
    int retry_after;   /* seconds; 0: unknown */
    long elapsed_ms;   /* all tries */
    int rests;         /* nothing is called for retry_after: a quota is used up */
    int tries;         /* calls made */
    const char *error; /* English, for the log; NULL where CLIENT_ANSWERED */
} client_answer;

/* What a provider's own words say about an answer that came, where they differ from its status. */
typedef enum {
    CLIENT_BY_STATUS,
    CLIENT_IS_ANSWER, /* an answer like any other: the caller deals with it */
    CLIENT_IS_KEY,    /* our key, our sender, our account: no call will do better */
    CLIENT_IS_LIMIT,  /* as 429; may set retry_after */
    CLIENT_IS_QUOTA,  /* the same, and nothing is called for retry_after, whatever the host */
    CLIENT_IS_BROKEN, /* the provider's failure, as 5xx */
    CLIENT_IS_AGAIN,  /* an answer, but the same call may soon get a better one */
    CLIENT_IS_FINAL   /* as its status says, but the same call would get it again */
} client_verdict;

typedef struct {
    client_host host;
    const char *method;
    const char *path;           /* "/v1/balance"; may have a query */
    const char *const *headers; /* "Name: value", NULL-terminated, or NULL */
    const char *body;           /* or NULL */
    size_t body_len;
    size_t max_answer; /* bytes; 0: 1 MiB */
    int rests;         /* nothing is called for retry_after: a quota is used up */
    int tries;         /* at most; 0: one. A second where no connection came about */
    int harmless;      /* and, where set, after any outcome that may pass */
    int wants_json;    /* a 2xx without JSON counts as broken */
    int background;    /* by no request: may wait without a place */
    int test;          /* an administrator's: made whatever is known about the host, where there is
                        * a place */
    client_verdict (*judge)(client_answer *answer); /* or NULL */
} client_request;

/* Makes the call, or does not. Everything in *answer lives in the pool. */
void client_call(const clients *c, apr_pool_t *pool, const client_request *request,
                 client_answer *answer);

/* ---- looking, without a call ---- */

typedef struct {
    enum { CLIENT_GOOD, CLIENT_DEGRADED, CLIENT_REFUSED } state;
    int breaker_open;
    int retry_after;        /* seconds until it may be called again; 0: now */
    long refused_status;    /* 401 or 403 where CLIENT_REFUSED */
    const char *last_error; /* a word: no_connection, no_answer, bad_answer, http_503; NULL: none */
    apr_time_t last_error_at, last_good_at; /* 0: never */
    long latency_ms;                        /* of the last answer; -1: none yet */
    uint64_t calls, failures;
} client_state;

void client_look(const clients *c, client_host host, apr_pool_t *pool, client_state *state);

/* Seconds from "Retry-After" (RFC 9110 section 10.2.3), a day at most; 0 where there is none. */
int client_retry_after(const apr_table_t *headers);
/* "a=1&b=%20": application/x-www-form-urlencoded of name, value, name, value, ..., NULL. Pairs with
 * a NULL value are left out. Names are the program's own and stay as they are ("a[b]"). */
const char *client_form(apr_pool_t *pool, const char *const *pairs);
/* "Authorization: Basic ..." (RFC 7617). */
const char *client_basic(apr_pool_t *pool, const char *user, const char *password);

#endif
