/* schema.h: every collection, field, index and expiry of the product, declared once.
 *
 * Both backends derive their tables, types and indexes from these lists, and the enumerators below
 * are made from them too: a field that is not declared does not compile. To add a field, add a
 * line; to add a collection, add a list, a line in STORE_COLLECTIONS and its indexes in schema.c.
 *
 * Types: STR text, INT 64-bit integer, BOOL, TIME (apr_time_t, kept to the millisecond), JSON (a
 * JSON text that the store does not look into). Every field may be null. */
#ifndef BIZ_SCHEMA_H
#define BIZ_SCHEMA_H

/* F(ENUMERATOR, "stored name", TYPE) */
#define STORE_USERS(F)                                                                             \
    F(USER_EMAIL, "email", STR)             /* lower case; the unique key */                       \
    F(USER_EMAIL_TYPED, "email_typed", STR) /* as its owner wrote it */                            \
    F(USER_NAME, "name", STR)                                                                      \
    F(USER_PHONE, "phone", STR)                                                                    \
    F(USER_ROLE, "role", STR) /* customer, staff, admin */                                         \
    F(USER_LOCALE, "locale", STR)                                                                  \
    F(USER_TIMEZONE, "timezone", STR)                                                              \
    F(USER_PASSWORD_HASH, "password_hash", STR)                                                    \
    F(USER_PASSWORD_CHANGED_AT, "password_changed_at", TIME)                                       \
    F(USER_RESET_BY, "reset_by", STR)      /* the link that has set the password last */           \
    F(USER_DELETED_AT, "deleted_at", TIME) /* nothing of the person is left */                     \
    F(USER_EMAIL_VERIFIED, "email_verified", BOOL)                                                 \
    F(USER_MFA_ENABLED, "mfa_enabled", BOOL)                                                       \
    F(USER_DISABLED, "disabled", BOOL)                                                             \
    F(USER_SESSION_EPOCH, "session_epoch", INT)   /* + 1 ends every session of the user at once */ \
    F(USER_TOTP_SECRET, "totp_secret", STR)       /* sealed to this user; null: no app */          \
    F(USER_TOTP_PENDING, "totp_pending", STR)     /* likewise, until its first code was seen */    \
    F(USER_TOTP_LAST_STEP, "totp_last_step", INT) /* of the last code that was used */             \
    F(USER_RECOVERY_SET, "recovery_set", STR)     /* the set of recovery codes that is good */     \
    F(USER_FACTOR_FAILURES, "factor_failures", INT) /* wrong codes since the last right one */     \
    F(USER_FACTOR_FAILED_AT, "factor_failed_at", TIME)                                             \
    F(USER_PASSWORD_BY, "password_by", STR)   /* the req->once that has set the password last */   \
    F(USER_KEPT_SESSION, "kept_session", STR) /* "ses_...@7": goes on in epoch 7 all the same */   \
    F(USER_UNTOLD, "untold", STR)             /* what its last change has to tell yet; auth/act.h */

#define STORE_SESSIONS(F)                                                                          \
    F(SESSION_USER_ID, "user_id", STR)                                                             \
    F(SESSION_EPOCH, "epoch", INT)           /* the user's session_epoch at login */               \
    F(SESSION_GENERATION, "generation", INT) /* of the refresh token that is current */            \
    F(SESSION_REFRESH_HASH, "refresh_hash", STR)                                                   \
    F(SESSION_REFRESH_PREV_HASH, "refresh_prev_hash", STR)                                         \
    F(SESSION_ROTATED_AT, "rotated_at", TIME)                                                      \
    F(SESSION_IDLE_EXPIRES_AT, "idle_expires_at", TIME)                                            \
    F(SESSION_EXPIRES_AT, "expires_at", TIME)                                                      \
    F(SESSION_REVOKED_AT, "revoked_at", TIME)                                                      \
    F(SESSION_LAST_SEEN_AT, "last_seen_at", TIME)                                                  \
    F(SESSION_IP, "ip", STR)                                                                       \
    F(SESSION_MFA, "mfa", BOOL)  /* the sign-in was with two factors */                            \
    F(SESSION_LOOK, "look", STR) /* of the device at sign-in; auth/device.h */                     \
    F(SESSION_USER_AGENT, "user_agent", STR)                                                       \
    F(SESSION_PROVED_AT, "proved_at", TIME) /* when its user last proved who they are, since */    \
    F(SESSION_UNTOLD, "untold", STR)        /* as the user's */

/* The owner's collection: exactly these fields, `token` being the SHA-256 of the token. */
#define STORE_RESET_TOKENS(F)                                                                      \
    F(RESET_TOKEN, "token", STR)                                                                   \
    F(RESET_USER_ID, "user_id", STR)                                                               \
    F(RESET_EMAIL, "email", STR)                                                                   \
    F(RESET_EXPIRES_AT, "expires_at", TIME)                                                        \
    F(RESET_USED, "used", BOOL)                                                                    \
    F(RESET_USED_AT, "used_at", TIME)

#define STORE_VERIFY_TOKENS(F)                                                                     \
    F(VERIFY_TOKEN, "token", STR)                                                                  \
    F(VERIFY_USER_ID, "user_id", STR)                                                              \
    F(VERIFY_EMAIL, "email", STR)                                                                  \
    F(VERIFY_EXPIRES_AT, "expires_at", TIME)                                                       \
    F(VERIFY_USED, "used", BOOL)                                                                   \
    F(VERIFY_USED_AT, "used_at", TIME)

/* The id is the SHA-256 of a token that was used up before its end. */
#define STORE_REVOKED_TOKENS(F) F(REVOKED_EXPIRES_AT, "expires_at", TIME)

#define STORE_RECOVERY_CODES(F)                                                                    \
    F(RECOVERY_USER_ID, "user_id", STR)                                                            \
    F(RECOVERY_SET, "set_id", STR) /* good while it is the user's recovery_set */                  \
    F(RECOVERY_CODE, "code", STR)  /* a MAC of it */                                               \
    F(RECOVERY_USED_AT, "used_at", TIME)                                                           \
    F(RECOVERY_UNTOLD, "untold", STR) /* as the user's */

#define STORE_PASSKEYS(F)                                                                          \
    F(PASSKEY_USER_ID, "user_id", STR)                                                             \
    F(PASSKEY_CREDENTIAL_ID, "credential_id", STR) /* base64url, as the next */                    \
    F(PASSKEY_PUBLIC_KEY, "public_key", STR)                                                       \
    F(PASSKEY_ALGORITHM, "algorithm", INT) /* COSE */                                              \
    F(PASSKEY_SIGN_COUNT, "sign_count", INT)                                                       \
    F(PASSKEY_TRANSPORTS, "transports", JSON) /* where the browser is to look for it */            \
    F(PASSKEY_NAME, "name", STR)                                                                   \
    F(PASSKEY_LAST_USED_AT, "last_used_at", TIME)                                                  \
    F(PASSKEY_UNTOLD, "untold", STR) /* as the user's; one that was removed has no user any more   \
                                      */

#define STORE_OUTBOX(F)                                                                            \
    F(OUTBOX_KIND, "kind", STR)       /* what to send; see outbox/outbox.h */                      \
    F(OUTBOX_CHANNEL, "channel", STR) /* mail, sms, push, voice; null in rows of schema 1: mail */ \
    F(OUTBOX_STATE, "state", STR)     /* see outbox/outbox.h */                                    \
    F(OUTBOX_DUE_AT, "due_at", TIME)  /* next try; the lease's end while one works */              \
    F(OUTBOX_LEASE, "lease", STR)     /* who works on it, null when nobody does */                 \
    F(OUTBOX_TRIES, "tries", INT)                                                                  \
    F(OUTBOX_RECIPIENT, "recipient", STR)                                                          \
    F(OUTBOX_USER_ID, "user_id", STR)                                                              \
    F(OUTBOX_UNIQUE_KEY, "unique_key", STR) /* null, or: this is sent once only */                 \
    F(OUTBOX_DATA, "data", JSON)            /* nothing secret */                                   \
    F(OUTBOX_SEALED, "sealed", STR)         /* the token to be mailed, sealed to this row */       \
    F(OUTBOX_LAST_ERROR, "last_error", STR)                                                        \
    F(OUTBOX_PROVIDER_ID, "provider_id", STR)                                                      \
    F(OUTBOX_SENT_AT, "sent_at", TIME)                                                             \
    F(OUTBOX_NOT_AFTER, "not_after", TIME)   /* later it would be of no use; null: never */        \
    F(OUTBOX_EXPIRES_AT, "expires_at", TIME) /* when the settled row is swept away */

#define STORE_IDEMPOTENCY(F)                                                                       \
    F(IDEM_BODY_HASH, "body_hash", STR)                                                            \
    F(IDEM_STATE, "state", STR) /* running, done */                                                \
    F(IDEM_LEASE_UNTIL, "lease_until", TIME)                                                       \
    F(IDEM_STATUS, "status", INT)                                                                  \
    F(IDEM_ANSWER, "answer", JSON)                                                                 \
    F(IDEM_EXPIRES_AT, "expires_at", TIME)

/* Its id is a hash of what is counted: auth/lockout.h. */
#define STORE_LOCKOUTS(F)                                                                          \
    F(LOCKOUT_USER_ID, "user_id", STR)                                                             \
    F(LOCKOUT_TRIES, "tries", INT)                                                                 \
    F(LOCKOUT_UNTIL, "until", TIME) /* no further try before */                                    \
    F(LOCKOUT_EXPIRES_AT, "expires_at", TIME)

/* One chain; see audit/audit.h. No expiry field: what goes is removed by audit_sweep(). */
#define STORE_AUDIT(F)                                                                             \
    F(AUDIT_SEQ, "seq", INT)                                                                       \
    F(AUDIT_AT, "at", TIME)                                                                        \
    F(AUDIT_EVENT, "event", STR)       /* OWASP Logging Vocabulary */                              \
    F(AUDIT_USER_ID, "user_id", STR)   /* the account it is about */                               \
    F(AUDIT_ACTOR_ID, "actor_id", STR) /* who did it, where that is somebody else */               \
    F(AUDIT_IP, "ip", STR)                                                                         \
    F(AUDIT_AGENT, "user_agent", STR)                                                              \
    F(AUDIT_REQUEST_ID, "request_id", STR)                                                         \
    F(AUDIT_DETAILS, "details", JSON)                                                              \
    F(AUDIT_MAC, "mac", STR)

#define STORE_AUDIT_MARKS(F)                                                                       \
    F(MARK_SEQ, "seq", INT)                                                                        \
    F(MARK_MAC, "mac", STR)                                                                        \
    F(MARK_SIG, "sig", STR)

/* What a provider told us, kept before anything is done with it; see integrations/webhook.h. */
#define STORE_WEBHOOK_EVENTS(F)                                                                    \
    F(EVENT_PROVIDER, "provider", STR)                                                             \
    F(EVENT_EVENT_ID, "event_id", STR) /* the provider's, or made of what it is about */           \
    F(EVENT_TYPE, "type", STR)                                                                     \
    F(EVENT_STATUS, "status", STR) /* received, done, ignored, unhandled, dead */                  \
    F(EVENT_PAYLOAD, "payload", JSON)                                                              \
    F(EVENT_DUE_AT, "due_at", TIME)                                                                \
    F(EVENT_LEASE, "lease", STR)                                                                   \
    F(EVENT_TRIES, "tries", INT)                                                                   \
    F(EVENT_LAST_ERROR, "last_error", STR)                                                         \
    F(EVENT_WORKED_AT, "worked_at", TIME)                                                          \
    F(EVENT_EXPIRES_AT, "expires_at", TIME)

/* Who may be written to, by channel and address; see outbox/consent.h. */
#define STORE_CONSENTS(F)                                                                          \
    F(CONSENT_CHANNEL, "channel", STR)                                                             \
    F(CONSENT_ADDRESS, "address", STR) /* mail, E.164 number, or the user's id (push) */           \
    F(CONSENT_USER_ID, "user_id", STR)                                                             \
    F(CONSENT_STATE, "state", STR)   /* given, withdrawn; null: nobody said anything */            \
    F(CONSENT_SOURCE, "source", STR) /* portal, unsubscribe_link, stop, provider, ... */           \
    F(CONSENT_GIVEN_AT, "given_at", TIME)                                                          \
    F(CONSENT_WITHDRAWN_AT, "withdrawn_at", TIME)

#define STORE_PUSH_DEVICES(F)                                                                      \
    F(PUSH_USER_ID, "user_id", STR)                                                                \
    F(PUSH_TOKEN, "token", STR) /* Firebase's registration token */                                \
    F(PUSH_PLATFORM, "platform", STR)                                                              \
    F(PUSH_LAST_OK_AT, "last_ok_at", TIME)

#define STORE_LEASES(F)                                                                            \
    F(LEASE_HOLDER, "holder", STR)                                                                 \
    F(LEASE_EXPIRES_AT, "expires_at", TIME)

#define STORE_COUNTERS(F) F(COUNTER_VALUE, "value", INT)

/* Who books. A customer and a user of the same confirmed address belong together. */
#define STORE_CUSTOMERS(F)                                                                         \
    F(CUSTOMER_NAME, "name", STR)                                                                  \
    F(CUSTOMER_EMAIL, "email", STR) /* lower case */                                               \
    F(CUSTOMER_PHONE, "phone", STR)                                                                \
    F(CUSTOMER_ADDRESS, "address", STR)                                                            \
    F(CUSTOMER_TIMEZONE, "timezone", STR)                                                          \
    F(CUSTOMER_LOCALE, "locale", STR)                                                              \
    F(CUSTOMER_NOTES, "notes", STR)                                                                \
    F(CUSTOMER_USER_ID, "user_id", STR)

/* "location": {"type":"onsite|customer|online","address":text,"latitude":n,"longitude":n}; all but
 * the type may be missing. */
#define STORE_BOOKINGS(F)                                                                          \
    F(BOOKING_NUMBER, "number", STR)                                                               \
    F(BOOKING_SERVICE_ID, "service_id", STR)                                                       \
    F(BOOKING_STAFF_ID, "staff_id", STR)                                                           \
    F(BOOKING_CUSTOMER_ID, "customer_id", STR)                                                     \
    F(BOOKING_START_AT, "start_at", TIME)                                                          \
    F(BOOKING_END_AT, "end_at", TIME)                                                              \
    F(BOOKING_TIMEZONE, "timezone", STR)                                                           \
    F(BOOKING_STATUS, "status", STR)                                                               \
    F(BOOKING_PRICE, "price", JSON)                                                                \
    F(BOOKING_NOTES, "notes", STR)                                                                 \
    F(BOOKING_LOCATION, "location", JSON)                                                          \
    F(BOOKING_HISTORY, "history", JSON)

/* Answers of providers; the id is the digest of the question. */
#define STORE_PROVIDER_CACHE(F)                                                                    \
    F(CACHE_VALUE, "value", JSON)                                                                  \
    F(CACHE_EXPIRES_AT, "expires_at", TIME)

/* Flags of a collection. */
enum {
    STORE_NO_VERSION = 1, /* stored without version and updated_at (the owner's field list) */
    STORE_RELAXED = 2     /* a power cut may lose the last writes; never tokens or money */
};

/* C(ENUMERATOR, "stored name", "id prefix", LIST, FLAGS, expiry field or 0) */
#define STORE_COLLECTIONS(C)                                                                       \
    C(COLL_USERS, "users", "usr", STORE_USERS, 0, 0)                                               \
    C(COLL_SESSIONS, "sessions", "ses", STORE_SESSIONS, 0, SESSION_EXPIRES_AT)                     \
    C(COLL_RESET_TOKENS, "password_reset_tokens", "prt", STORE_RESET_TOKENS, STORE_NO_VERSION,     \
      RESET_EXPIRES_AT)                                                                            \
    C(COLL_VERIFY_TOKENS, "email_verification_tokens", "evt", STORE_VERIFY_TOKENS, 0,              \
      VERIFY_EXPIRES_AT)                                                                           \
    C(COLL_REVOKED_TOKENS, "revoked_tokens", "rvt", STORE_REVOKED_TOKENS, 0, REVOKED_EXPIRES_AT)   \
    C(COLL_RECOVERY_CODES, "recovery_codes", "rcv", STORE_RECOVERY_CODES, 0, 0)                    \
    C(COLL_PASSKEYS, "passkeys", "pky", STORE_PASSKEYS, 0, 0)                                      \
    C(COLL_OUTBOX, "outbox", "obx", STORE_OUTBOX, 0, OUTBOX_EXPIRES_AT)                            \
    C(COLL_IDEMPOTENCY, "idempotency_keys", "idk", STORE_IDEMPOTENCY, 0, IDEM_EXPIRES_AT)          \
    C(COLL_LOCKOUTS, "lockouts", "lck", STORE_LOCKOUTS, STORE_RELAXED, LOCKOUT_EXPIRES_AT)         \
    C(COLL_AUDIT, "audit_log", "aud", STORE_AUDIT, STORE_NO_VERSION, 0)                            \
    C(COLL_AUDIT_MARKS, "audit_marks", "aum", STORE_AUDIT_MARKS, STORE_RELAXED, 0)                 \
    C(COLL_EVENTS, "webhook_events", "whe", STORE_WEBHOOK_EVENTS, 0, EVENT_EXPIRES_AT)             \
    C(COLL_CONSENTS, "consents", "cns", STORE_CONSENTS, 0, 0)                                      \
    C(COLL_PUSH_DEVICES, "push_devices", "psh", STORE_PUSH_DEVICES, 0, 0)                          \
    C(COLL_CUSTOMERS, "customers", "cus", STORE_CUSTOMERS, 0, 0)                                   \
    C(COLL_BOOKINGS, "bookings", "bk", STORE_BOOKINGS, 0, 0)                                       \
    C(COLL_PROVIDER_CACHE, "provider_cache", "pca", STORE_PROVIDER_CACHE, STORE_RELAXED,           \
      CACHE_EXPIRES_AT)                                                                            \
    C(COLL_LEASES, "leases", "lea", STORE_LEASES, 0, LEASE_EXPIRES_AT)                             \
    C(COLL_COUNTERS, "counters", "cnt", STORE_COUNTERS, 0, 0)

typedef enum { STORE_STR, STORE_INT, STORE_BOOL, STORE_TIME, STORE_JSON } store_type;

typedef enum {
    COLL_NONE,
#define STORE_ENUM_(e, name, prefix, list, flags, expiry) e,
    STORE_COLLECTIONS(STORE_ENUM_)
#undef STORE_ENUM_
        COLL_END
} store_coll_no;

/* A field is known by one number: its collection in the high bits, its place in the low eight. */
typedef unsigned store_fid;
enum {
    /* In every collection. */
    STORE_ID = 1,         /* "_id" */
    STORE_VERSION = 2,    /* "version", 1 at insert, + 1 at each change */
    STORE_CREATED_AT = 3, /* "created_at" */
    STORE_UPDATED_AT = 4  /* "updated_at" */
};
#define STORE_FIELD_ENUM_(e, name, type) e,
#define STORE_LIST_ENUM_(c, name, prefix, list, flags, expiry)                                     \
    enum { c##_FIRST_ = (c << 8) - 1, list(STORE_FIELD_ENUM_) c##_LAST_ };
STORE_COLLECTIONS(STORE_LIST_ENUM_)
#undef STORE_LIST_ENUM_
#undef STORE_FIELD_ENUM_

typedef struct {
    const char *name;
    store_type type;
} store_field;

enum { STORE_INDEX_FIELDS = 3 };
typedef struct {
    const char *name; /* unique in the whole schema */
    store_coll_no coll;
    store_fid fields[STORE_INDEX_FIELDS]; /* 0 ends; in this order */
    int unique;                           /* rows where any of the fields is null do not count */
} store_index;

typedef struct {
    store_coll_no no;
    const char *name;
    const char *id_prefix;
    const store_field *fields;
    unsigned field_count;
    unsigned flags;
    store_fid expiry; /* rows whose field is in the past are swept away; 0 for none */
} store_coll;

enum { STORE_SCHEMA_VERSION = 2 };

const store_coll *store_coll_by_no(store_coll_no no); /* never NULL for COLL_NONE < no < COLL_END */
const store_coll *store_coll_by_name(const char *name); /* or NULL */
/* Name and type of a field, the four common ones included ("_id", "version", ...). */
const char *store_field_name(store_fid fid);
store_type store_field_type(store_fid fid);
/* All indexes; *count of them. Each collection has the implied unique one over _id. */
const store_index *store_indexes(unsigned *count);

#define STORE_FID_COLL(fid) ((store_coll_no)((fid) >> 8))
#define STORE_FID_PLACE(fid) ((fid)&0xffU)

#endif
