/* consent.h: who wants to be written to, how, and when. A consent belongs to a channel and an
 * address: somebody who gets a new number has agreed to nothing yet, and whoever withdraws is left
 * alone whatever account names the address. What nobody may miss (a link to a new password, notices
 * about security) asks for none; see KIND_MUST in job.h. */
#ifndef BIZ_OUTBOX_CONSENT_H
#define BIZ_OUTBOX_CONSENT_H

#include <apr_pools.h>
#include "core/crypto.h"
#include "core/settings.h"
#include "store/store.h"

#define CONSENT_GIVEN "given"
#define CONSENT_WITHDRAWN "withdrawn"

/* The document of channel and address; STORE_ENOENT where nobody said anything. Mail addresses are
 * compared in lower case. */
apr_status_t consent_find(store *s, apr_pool_t *pool, const char *channel, const char *address,
                          store_doc **doc);

/* Whether the address may be written to. `must`: consent has to have been given; else it must not
 * have been withdrawn. */
apr_status_t consent_asked(store *s, apr_pool_t *pool, const char *channel, const char *address,
                           int must, int *may);

/* Notes what was said, by whatever way `source` names; the same word again changes nothing but the
 * user it belongs to. state NULL: makes the document alone, to have its id. `doc` may be NULL. */
apr_status_t consent_say(store *s, apr_pool_t *pool, const char *channel, const char *address,
                         const char *user_id, const char *state, const char *source,
                         store_doc **doc);
/* The same of what was said at that instant, as a message tells that came late or twice: what was
 * said later stays. */
apr_status_t consent_said(store *s, apr_pool_t *pool, const char *channel, const char *address,
                          const char *state, const char *source, apr_time_t at);
/* As consent_say() for a document that is known by its id. STORE_ENOENT. */
apr_status_t consent_say_by_id(store *s, apr_pool_t *pool, const char *id, const char *state,
                               const char *source);

/* What lets its holder withdraw this one consent without signing in, and nothing else: it stands in
 * List-Unsubscribe (RFC 8058) and in links, and does not expire. Made of the document's id and a
 * MAC; `key` is the outbox's. */
const char *consent_token(apr_pool_t *pool, const unsigned char key[BIZ_KEY_LEN], const char *id);
/* The id, NULL where the token is none of ours. */
const char *consent_of_token(apr_pool_t *pool, const unsigned char key[BIZ_KEY_LEN],
                             const char *token);

/* Links with such a token for messages to this address: *url for programs (List-Unsubscribe; a POST
 * ends it), *page for people, in the text of the message; either may be NULL. */
apr_status_t consent_links(store *s, apr_pool_t *pool, const biz_settings *settings,
                           const unsigned char key[BIZ_KEY_LEN], const char *channel,
                           const char *address, const char *user_id, const char **url,
                           const char **page);

/* How long it is until the quiet hours of the business (BizApiQuietHours) end in this zone; 0 where
 * they do not hold now. */
apr_interval_time_t consent_quiet(const biz_settings *settings, const char *zone, apr_time_t now);
/* "21:00-08:00" or "off" as minutes of the day; equal ones: never. NULL, or what is wrong. */
const char *consent_quiet_parse(const char *text, int *from, int *to);

#endif
