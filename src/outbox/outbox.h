/* outbox.h: everything that only notifies. A request writes a row and is done; the background
 * thread of one of the server's processes works the rows under leases.
 *
 * A row has a kind (what is to be said, kinds.c) and a channel (the way it takes, channels.c).
 * States: queued -> sent | unknown (handed over, but the answer was lost, and a second copy would
 * do harm; where its provider can be asked it goes on to sent or back to queued) | skipped (the
 * channel is off) | dead (refused, or 10 tries) | dropped (there was nothing to send, or its reader
 * does not want it) | cancelled (by staff). What the provider tells later moves sent and unknown
 * on: -> delivered | bounced. A row whose worker was killed comes due again when its lease ends. */
#ifndef BIZ_OUTBOX_H
#define BIZ_OUTBOX_H

#include <stdatomic.h>
#include <apr_pools.h>
#include "core/biz.h"
#include "mail/mail.h"
#include "store/store.h"

/* Kinds of rows. The first three are written for every address that was typed, known or not, so
 * that the request does the same work in both cases; which mail it becomes is found out later. */
#define OUTBOX_FORGOT "forgot_password" /* recipient: the address as typed, normalised */
#define OUTBOX_INVITATION "invitation"  /* user_id: an account without a password */
#define OUTBOX_REGISTER "register"      /* user_id: the user this request would have made */
#define OUTBOX_RESEND "resend_verification"
/* user_id, or recipient: an address that may be nobody's; data {"event":"password_changed", ...} */
#define OUTBOX_NOTICE "security_notice"
#define OUTBOX_SAMPLE "sample_mail" /* recipient; data {"name":"invoice_sent", "locale":"de"} */
#define OUTBOX_TEXT "text" /* sms, push, voice: data {"text":..., "title":..., "link":...} */

/* Channels. */
#define OUTBOX_MAIL "mail"
#define OUTBOX_SMS "sms"     /* recipient: an E.164 number */
#define OUTBOX_PUSH "push"   /* user_id; no recipient: a row for each of the user's devices */
#define OUTBOX_VOICE "voice" /* the text is spoken into a file that waits to be fetched */

/* Events of OUTBOX_NOTICE, which take these names alone. Each has its words in
 * conf/mail/texts.*.ini under [security_notice.<event>]: a guard looks. data may have "at"
 * (microseconds; else it happened when the row was made), "ip" and "detail" (which device, key,
 * role). */
#define NOTICE_PASSWORD_CHANGED "password_changed"
#define NOTICE_PASSWORD_RESET "password_reset"
#define NOTICE_TOKEN_REUSED "token_reused"
#define NOTICE_NEW_DEVICE "new_device"
#define NOTICE_AFTER_FAILURES "signed_in_after_failures"
#define NOTICE_ACCOUNT_LOCKED "account_locked"
#define NOTICE_ACCOUNT_UNLOCKED "account_unlocked"
#define NOTICE_ROLE_CHANGED "role_changed"
#define NOTICE_MFA_ENABLED "mfa_enabled"
#define NOTICE_MFA_DISABLED "mfa_disabled"
#define NOTICE_RECOVERY_USED "recovery_code_used"
#define NOTICE_RECOVERY_RENEWED "recovery_codes_renewed"
#define NOTICE_PASSKEY_ADDED "passkey_added"
#define NOTICE_PASSKEY_REMOVED "passkey_removed"
#define NOTICE_FACTOR_LOCKED "factor_locked"

enum {
    OUTBOX_LEASE_SECONDS = 60,
    OUTBOX_BATCH = 20,
    OUTBOX_MAX_TRIES = 10,
    OUTBOX_KEEP_DAYS = 30, /* settled rows are kept for the operator to see */
    RESET_TOKEN_MINUTES = 60,
    INVITATION_TOKEN_HOURS = 24, /* NIST SP 800-63B allows that much for what goes by mail */
    VERIFY_TOKEN_HOURS = 48,
    VERIFY_CODE_MINUTES = 10,
    MAILS_PER_ADDRESS_AND_HOUR = 3 /* of reset and of verification mails, each */
};

typedef struct {
    const char *channel, *kind, *recipient, *user_id;
    const char *unique_key; /* NULL, or: of two rows with the same one the second is refused */
    biz_json *data;
    apr_time_t due_at;    /* 0: now */
    apr_time_t not_after; /* 0: never too late */
} outbox_message;

/* A row. What is not set is null. STORE_EEXIST where one with its unique_key was put before. */
apr_status_t outbox_add(store *s, apr_pool_t *pool, const outbox_message *message);
/* A mail, due now. `data` may be NULL. Any of the texts may be NULL. */
apr_status_t outbox_put(store *s, apr_pool_t *pool, const char *kind, const char *recipient,
                        const char *user_id, biz_json *data);

/* The data of an OUTBOX_NOTICE. ip and detail may be NULL. */
biz_json *outbox_notice_data(apr_pool_t *pool, const char *event, const char *ip,
                             const char *detail, apr_time_t at);

/* The channel of a row: rows of a version without channels are mails. */
const char *outbox_channel_of(const store_doc *row);

/* A row as staff see it: neither its data nor its sealed token. */
biz_json *outbox_json(apr_pool_t *pool, const store_doc *row);

/* The six digits that stand in a verification mail beside its link; `hash`: SHA-256 of its token,
 * as it is stored. */
const char *outbox_verify_code(apr_pool_t *pool, const unsigned char *key, const char *hash);

typedef struct outbox outbox;

/* The worker. `key` (32 bytes) seals tokens into rows. Of the env it uses store, settings, shared,
 * clients and registry. Everything outlives the worker. */
outbox *outbox_new(apr_pool_t *pool, const biz_env *env, const mail_templates *templates,
                   const unsigned char *key, const char **why);
/* Works up to OUTBOX_BATCH due rows of each channel; stops between rows when *stopping becomes
 * non-zero. *worked counts rows. One row never takes longer than 20 s. */
apr_status_t outbox_work(outbox *o, apr_pool_t *pool, const atomic_int *stopping, int *worked);

/* For bizapictl and staff: due now again. STORE_ECOND where it is sent or being worked on. */
apr_status_t outbox_retry(store *s, apr_pool_t *pool, const char *id);

/* Not to be sent any more. STORE_ECOND where it is not queued or is being worked on. */
apr_status_t outbox_cancel(store *s, apr_pool_t *pool, const char *id);

/* What a provider tells of a row that it was given, found by our id, or, where `id` is NULL, by its
 * provider_id. A row only moves on: unknown, sent, delivered, bounced; an older or repeated report
 * is APR_SUCCESS and changes nothing, and so is one about an earlier copy than the present one:
 * *row is NULL then. `why`: for last_error, or NULL. STORE_ENOENT. */
typedef enum { OUTBOX_WAS_SENT, OUTBOX_WAS_DELIVERED, OUTBOX_WAS_BOUNCED } outbox_report;
apr_status_t outbox_settle(store *s, apr_pool_t *pool, const char *id, const char *provider_id,
                           outbox_report report, const char *why, store_doc **row);

/* Delay before try n + 1 (n >= 1 tries made): 30 s doubling to 6 h, +- 20 % by `random`. */
apr_interval_time_t outbox_backoff(int tries, unsigned random);

#endif
