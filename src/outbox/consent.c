/* consent.c: see consent.h. Called by the worker before a row leaves, by the webhooks (STOP, a
 * complaint), and by the pages where somebody says yes or no. */
#include "consent.h"

#include <string.h>

#include <apr_strings.h>

#include "core/locale.h"
#include "core/random.h"
#include "core/str.h"
#include "core/valid.h"
#include "outbox.h"

enum { MAC_SHOWN = 16, TRIES = 5, DAY_MINUTES = 24 * 60 };

static const char *normal(apr_pool_t *pool, const char *channel, const char *address)
{
    return strcmp(channel, OUTBOX_MAIL) == 0 ? biz_lower(pool, address) : address;
}

apr_status_t consent_find(store *s, apr_pool_t *pool, const char *channel, const char *address,
                          store_doc **doc)
{
    store_cond conds[] = {STORE_EQ_STR(CONSENT_CHANNEL, channel),
                          STORE_EQ_STR(CONSENT_ADDRESS, normal(pool, channel, address))};
    store_query query = {.coll = COLL_CONSENTS,
                         .index = "consents_address",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = 1};

    return store_find_one(s, pool, &query, doc);
}

apr_status_t consent_asked(store *s, apr_pool_t *pool, const char *channel, const char *address,
                           int must, int *may)
{
    store_doc *doc;
    const char *state;
    apr_status_t status = consent_find(s, pool, channel, address, &doc);

    *may = 0;
    if (status != APR_SUCCESS && status != STORE_ENOENT) {
        return status;
    }
    state = status == APR_SUCCESS ? store_str(doc, CONSENT_STATE) : NULL;
    *may = state ? strcmp(state, CONSENT_GIVEN) == 0 : !must;
    return APR_SUCCESS;
}

/* ---- what was said ---- */

/* `at`: when it was said; 0: now. The last instant of a word is kept where instants are given: else
 * what was said between two words of the same kind would seem to come after both. */
static apr_status_t change(store *s, apr_pool_t *pool, const store_doc *doc, const char *user_id,
                           const char *state, const char *source, apr_time_t at, store_doc **after)
{
    const char *known = store_str(doc, CONSENT_STATE);
    int is_late = at && (store_time(doc, CONSENT_GIVEN_AT) > at ||
                         store_time(doc, CONSENT_WITHDRAWN_AT) > at);
    int said = state && !is_late && (at || !known || strcmp(known, state) != 0);
    int given = said && strcmp(state, CONSENT_GIVEN) == 0;
    store_cond conds[] = {{STORE_VERSION, STORE_EQ, STORE_V_INT(store_doc_version(doc))}};
    store_change changes[4];
    size_t n = 0;

    if (said) {
        changes[n++] = (store_change)STORE_SET_STR(CONSENT_STATE, state);
        changes[n++] = (store_change)STORE_SET_STR(CONSENT_SOURCE, source);
        changes[n++] = (store_change)STORE_SET_TIME(given ? CONSENT_GIVEN_AT : CONSENT_WITHDRAWN_AT,
                                                    at ? at : apr_time_now());
    }
    if (user_id && (store_is_null(doc, CONSENT_USER_ID) ||
                    strcmp(store_str(doc, CONSENT_USER_ID), user_id) != 0)) {
        changes[n++] = (store_change)STORE_SET_STR(CONSENT_USER_ID, user_id);
    }
    return n == 0 ? APR_SUCCESS
                  : store_update(s, pool, COLL_CONSENTS, store_doc_id(doc), conds,
                                 STORE_COUNT_OF(conds), changes, n, after);
}

static store_doc *fresh(apr_pool_t *pool, const char *channel, const char *address,
                        const char *user_id, const char *state, const char *source, apr_time_t at)
{
    store_doc *doc = store_doc_new(pool, COLL_CONSENTS);

    store_set_str(doc, CONSENT_CHANNEL, channel);
    store_set_str(doc, CONSENT_ADDRESS, address);
    store_set_str(doc, CONSENT_USER_ID, user_id);
    if (state) {
        store_set_str(doc, CONSENT_STATE, state);
        store_set_str(doc, CONSENT_SOURCE, source);
        store_set_time(doc,
                       strcmp(state, CONSENT_GIVEN) == 0 ? CONSENT_GIVEN_AT : CONSENT_WITHDRAWN_AT,
                       at ? at : apr_time_now());
    }
    return doc;
}

/* Of two who speak at once the second finds the first one's document and changes that. */
static apr_status_t say(store *s, apr_pool_t *pool, const char *channel, const char *address,
                        const char *user_id, const char *state, const char *source, apr_time_t at,
                        store_doc **doc)
{
    apr_status_t status = STORE_ECOND;
    store_doc *one = NULL;

    address = normal(pool, channel, address);
    for (int i = 0; i < TRIES && (status == STORE_ECOND || status == STORE_EEXIST); i++) {
        status = consent_find(s, pool, channel, address, &one);
        if (status == APR_SUCCESS) {
            status = change(s, pool, one, user_id, state, source, at, &one);
        } else if (status == STORE_ENOENT) {
            one = fresh(pool, channel, address, user_id, state, source, at);
            status = store_insert(s, pool, one, NULL);
        }
    }
    if (doc) {
        *doc = one;
    }
    return status;
}

apr_status_t consent_say(store *s, apr_pool_t *pool, const char *channel, const char *address,
                         const char *user_id, const char *state, const char *source,
                         store_doc **doc)
{
    return say(s, pool, channel, address, user_id, state, source, 0, doc);
}

apr_status_t consent_said(store *s, apr_pool_t *pool, const char *channel, const char *address,
                          const char *state, const char *source, apr_time_t at)
{
    return say(s, pool, channel, address, NULL, state, source, at, NULL);
}

apr_status_t consent_say_by_id(store *s, apr_pool_t *pool, const char *id, const char *state,
                               const char *source)
{
    apr_status_t status = STORE_ECOND;
    store_doc *doc;

    for (int i = 0; i < TRIES && status == STORE_ECOND; i++) {
        status = store_get(s, pool, COLL_CONSENTS, id, &doc);
        if (status == APR_SUCCESS) {
            status = change(s, pool, doc, NULL, state, source, 0, &doc);
        }
    }
    return status;
}

/* ---- links ---- */

static const char *mac_of(apr_pool_t *pool, const unsigned char key[BIZ_KEY_LEN], const char *id)
{
    unsigned char own[BIZ_KEY_LEN], mac[BIZ_SHA256_LEN];

    biz_derive_key(key, "bizapi unsubscribe v1", own);
    biz_hmac_sha256(own, sizeof(own), id, strlen(id), mac);
    return biz_b64url(pool, mac, MAC_SHOWN);
}

const char *consent_token(apr_pool_t *pool, const unsigned char key[BIZ_KEY_LEN], const char *id)
{
    return apr_pstrcat(pool, id, ".", mac_of(pool, key, id), NULL);
}

const char *consent_of_token(apr_pool_t *pool, const unsigned char key[BIZ_KEY_LEN],
                             const char *token)
{
    const char *dot = strchr(token, '.');
    const char *id = dot ? apr_pstrmemdup(pool, token, (apr_size_t)(dot - token)) : NULL;

    return id && biz_valid_id(id, "cns") && biz_same_text(mac_of(pool, key, id), dot + 1) ? id
                                                                                          : NULL;
}

apr_status_t consent_links(store *s, apr_pool_t *pool, const biz_settings *settings,
                           const unsigned char key[BIZ_KEY_LEN], const char *channel,
                           const char *address, const char *user_id, const char **url,
                           const char **page)
{
    store_doc *doc;
    apr_status_t status = consent_say(s, pool, channel, address, user_id, NULL, NULL, &doc);
    const char *token = status == APR_SUCCESS ? consent_token(pool, key, store_doc_id(doc)) : NULL;

    if (url) {
        *url = apr_pstrcat(pool, settings->public_url, "/api/v1/portal/unsubscribe/", token, NULL);
    }
    if (page) {
        *page = apr_pstrcat(pool, settings->frontend_url, "/unsubscribe.html#token=", token, NULL);
    }
    return status;
}

/* ---- quiet hours ---- */

static int minutes_of(const char **text)
{
    int n[2];

    for (int i = 0; i < 2; i++) {
        const char *p = *text;

        if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9' || (i == 0 && p[2] != ':')) {
            return -1;
        }
        n[i] = (p[0] - '0') * 10 + p[1] - '0';
        *text += i == 0 ? 3 : 2;
    }
    return n[0] < 24 && n[1] < 60 ? n[0] * 60 + n[1] : -1;
}

const char *consent_quiet_parse(const char *text, int *from, int *to)
{
    *from = *to = 0;
    if (strcmp(text, "off") == 0) {
        return NULL;
    }
    *from = minutes_of(&text);
    *to = *from >= 0 && *text++ == '-' ? minutes_of(&text) : -1;
    return *to >= 0 && *text == '\0' ? NULL : "it must be HH:MM-HH:MM, as in 21:00-08:00, or off";
}

/* The row is looked at again when the wait is over: an hour that a clock change puts in between
 * does no harm. */
apr_interval_time_t consent_quiet(const biz_settings *settings, const char *zone, apr_time_t now)
{
    int from = settings->quiet_from, to = settings->quiet_to;
    int minute = biz_zone_minute(now, zone), since;

    since = (minute - from + DAY_MINUTES) % DAY_MINUTES;
    if (since >= (to - from + DAY_MINUTES) % DAY_MINUTES) {
        return 0;
    }
    return apr_time_from_sec(((to - minute + DAY_MINUTES) % DAY_MINUTES) * 60) -
           now % apr_time_from_sec(60);
}
