/* client_slot.c: finds each host its slot in shared memory, and tells what is in it. The parent
 * hands slots out, so that no two processes ever claim one at the same time; workers change only
 * what is atomic. */
#include "client_slot.h"

#include <string.h>
#include <apr_strings.h>

#include "core/crypto.h"
#include "core/str.h"
#include "core/time.h"
#include "core/valid.h"
#include "registry.h"

enum { SECOND = 1000000, LEAST_PLACES = 2 };

_Static_assert(sizeof(client_slot) <= 320, "512 of them are 160 kB");

/* name, service, variable, base, connect, total and first byte in ms, rest, pace, places */
const client_host_info client_hosts[CLIENT_HOSTS] = {
    [CLIENT_STRIPE] = {"stripe", "stripe", "STRIPE_API_BASE", "https://api.stripe.com", 3000, 20000,
                       0, 0, 0, 0},
    [CLIENT_TWILIO] = {"twilio", "twilio", "TWILIO_API_BASE", "https://api.twilio.com", 3000, 10000,
                       0, 0, 0, 0},
    [CLIENT_SENDGRID] = {"sendgrid", "sendgrid", "SENDGRID_API_BASE", "https://api.sendgrid.com",
                         3000, 10000, 0, 0, 0, 0},
    [CLIENT_GOOGLE_MAPS] = {"google_maps", "google_maps", "GOOGLE_MAPS_API_BASE",
                            "https://maps.googleapis.com", 2000, 4000, 0, 60, 0, 0},
    [CLIENT_GOOGLE_ROUTES] = {"google_routes", "google_maps", "GOOGLE_ROUTES_API_BASE",
                              "https://routes.googleapis.com", 2000, 4000, 0, 60, 0, 0},
    /* The public server allows one request a second. */
    [CLIENT_OSRM] = {"osrm", NULL, "OSRM_BASE_URL", "https://router.project-osrm.org", 2000, 4000,
                     0, 60, 1000, 0},
    /* Sends no Retry-After; the plan counts by the minute. */
    [CLIENT_OPENWEATHER] = {"openweather", "openweather", "OPENWEATHER_API_BASE",
                            "https://api.openweathermap.org", 2000, 4000, 0, 60, 0, 0},
    /* The plans allow 2 to 15 at once. */
    [CLIENT_ELEVENLABS] = {"elevenlabs", "elevenlabs", "ELEVENLABS_API_BASE",
                           "https://api.elevenlabs.io", 3000, 30000, 10000, 0, 0, 2},
    [CLIENT_FIREBASE] = {"firebase", "firebase", "FCM_API_BASE", "https://fcm.googleapis.com", 3000,
                         10000, 0, 60, 0, 0},
    [CLIENT_BREACHED_PASSWORDS] = {"breached_passwords", NULL, NULL, NULL, 700, 1500, 0, 60, 0, 0},
    [CLIENT_FIREBASE_TOKEN] = {"firebase_token", "firebase", NULL, NULL, 3000, 10000, 0, 60, 0, 0},
};

client_host client_host_named(const char *name)
{
    client_host host = 0;

    while (host < CLIENT_HOSTS &&
           (client_hosts[host].base == NULL || strcmp(client_hosts[host].name, name) != 0))
        host++;
    return host;
}

const char *client_base_error(apr_pool_t *pool, const char *url, const char **base)
{
    const char *why = NULL;

    *base = biz_valid_url(pool, url, BIZ_URL_BASE, &why);
    if (*base == NULL)
        return why;
    return strncmp(*base, "https://", 8) != 0 && !biz_url_is_loopback(*base)
               ? "must be https, or http on the loopback interface"
               : NULL;
}

/* ---- memory ---- */

size_t client_memory_size(void)
{
    return sizeof(client_memory);
}

void client_memory_turn(client_memory *memory)
{
    int i;

    atomic_fetch_add(&memory->turn, 1);
    for (i = 0; i < CLIENT_SLOTS; i++)
        atomic_store(&memory->slots[i].refused, 0);
}

/* What makes a host the same host: where it is, and by which secrets it knows us. Only the digest's
 * first half is kept. */
static uint64_t fingerprint_of(apr_pool_t *pool, const biz_settings *settings, client_host host,
                               const char *base)
{
    const client_host_info *info = &client_hosts[host];
    const char *text = apr_pstrcat(pool, info->name, "\n", base, NULL);
    const integration *in;
    unsigned char digest[BIZ_SHA256_LEN];
    uint64_t fingerprint;
    int i;

    for (in = integrations; info->service != NULL && in->name != NULL; in++) {
        for (i = 0; !strcmp(in->name, info->service) && in->variables[i] != NULL; i++) {
            const char *secret = biz_secret(settings, in->variables[i]);

            text = apr_pstrcat(pool, text, "\n", secret != NULL ? secret : "", NULL);
        }
    }
    biz_sha256(text, strlen(text), digest);
    memcpy(&fingerprint, digest, sizeof(fingerprint));
    return fingerprint != 0 ? fingerprint : 1;
}

/* The slot of that fingerprint; else one that neither this configuration nor the one before, whose
 * workers may still run, uses. NULL where all are in use. */
static client_slot *slot_in(client_memory *memory, uint64_t fingerprint)
{
    uint32_t turn = atomic_load(&memory->turn);
    client_slot *free_slot = NULL;
    int i;

    for (i = 0; i < CLIENT_SLOTS; i++) {
        client_slot *slot = &memory->slots[i];

        if (slot->fingerprint == fingerprint) {
            slot->turn = turn;
            return slot;
        }
        if (free_slot == NULL && (slot->fingerprint == 0 || slot->turn + 1 < turn))
            free_slot = slot;
    }
    if (free_slot != NULL) {
        memset(free_slot, 0, sizeof(*free_slot));
        free_slot->fingerprint = fingerprint;
        free_slot->turn = turn;
    }
    return free_slot;
}

clients *clients_new(apr_pool_t *pool, const biz_settings *settings, const char *token_uri,
                     client_memory *memory)
{
    clients *c = apr_pcalloc(pool, sizeof(*c));
    client_host host;

    c->owner = memory != NULL ? memory->owner : apr_pcalloc(pool, sizeof(memory->owner));
    clients_set_workers(c, LEAST_PLACES, LEAST_PLACES);
    for (host = 0; host < CLIENT_HOSTS; host++) {
        const char *base = settings->provider_urls != NULL
                               ? apr_table_get(settings->provider_urls, client_hosts[host].name)
                               : NULL;

        if (host == CLIENT_FIREBASE_TOKEN)
            base = token_uri;
        else if (base == NULL)
            base = client_hosts[host].base;
        c->base[host] = base;
        if (base != NULL && memory != NULL)
            c->slot[host] = slot_in(memory, fingerprint_of(pool, settings, host, base));
        if (c->slot[host] == NULL)
            c->slot[host] = apr_pcalloc(pool, sizeof(client_slot));
    }
    return c;
}

void clients_set_workers(clients *c, int threads, int processes)
{
    int workers = threads * processes;

    c->places = biz_between(LEAST_PLACES, workers / 4, CLIENT_PLACES);
    c->places_all = biz_between(LEAST_PLACES, workers / 2, CLIENT_PLACES_ALL);
    c->places_here = biz_between(1, threads / 2, threads);
}

const char *client_base(const clients *c, client_host host)
{
    return c->base[host];
}

/* ---- looking ---- */

static const char *error_word(apr_pool_t *pool, uint32_t last)
{
    int status = last & 0xffff;

    if (last == 0)
        return NULL;
    if (status >= 300)
        return apr_psprintf(pool, "http_%d", status);
    if (status != 0)
        return "bad_answer";
    return last >> 16 == CLIENT_FAILED ? "no_connection" : "no_answer";
}

void client_look(const clients *c, client_host host, apr_pool_t *pool, client_state *state)
{
    const client_slot *slot = c->slot[host];
    int64_t now = biz_steady_now(), rest = atomic_load(&slot->rest_until);

    memset(state, 0, sizeof(*state));
    state->refused_status = atomic_load(&slot->refused);
    state->breaker_open = breaker_is_open(&slot->breaker);
    state->retry_after = breaker_wait(&slot->breaker, now);
    if (rest > now && (rest - now + SECOND - 1) / SECOND > state->retry_after)
        state->retry_after = (int)((rest - now + SECOND - 1) / SECOND);
    state->state = state->refused_status != 0          ? CLIENT_REFUSED
                   : state->breaker_open || rest > now ? CLIENT_DEGRADED
                                                       : CLIENT_GOOD;
    state->last_error = error_word(pool, atomic_load(&slot->last_error));
    state->last_error_at = atomic_load(&slot->last_error_at);
    state->last_good_at = atomic_load(&slot->last_good_at);
    state->latency_ms = (long)atomic_load(&slot->latency_ms) - 1;
    state->calls = atomic_load(&slot->calls);
    state->failures = atomic_load(&slot->failures);
}
