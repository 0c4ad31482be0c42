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
    F(USER_EMAIL_VERIFIED, "email_verified", BOOL)                                                 \
    F(USER_MFA_ENABLED, "mfa_enabled", BOOL)                                                       \
    F(USER_DISABLED, "disabled", BOOL)                                                             \
    F(USER_SESSION_EPOCH, "session_epoch", INT) /* + 1 ends every session of the user at once */

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
    F(SESSION_USER_AGENT, "user_agent", STR)

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

#define STORE_OUTBOX(F)                                                                            \
    F(OUTBOX_KIND, "kind", STR)      /* what to send; see outbox/outbox.h */                       \
    F(OUTBOX_STATE, "state", STR)    /* queued, sent, skipped, dead, dropped */                    \
    F(OUTBOX_DUE_AT, "due_at", TIME) /* next try; the lease's end while one works */               \
    F(OUTBOX_LEASE, "lease", STR)    /* who works on it, null when nobody does */                  \
    F(OUTBOX_TRIES, "tries", INT)                                                                  \
    F(OUTBOX_RECIPIENT, "recipient", STR)                                                          \
    F(OUTBOX_USER_ID, "user_id", STR)                                                              \
    F(OUTBOX_UNIQUE_KEY, "unique_key", STR) /* null, or: this is sent once only */                 \
    F(OUTBOX_DATA, "data", JSON)            /* nothing secret */                                   \
    F(OUTBOX_SEALED, "sealed", STR)         /* the token to be mailed, sealed to this row */       \
    F(OUTBOX_LAST_ERROR, "last_error", STR)                                                        \
    F(OUTBOX_PROVIDER_ID, "provider_id", STR)                                                      \
    F(OUTBOX_SENT_AT, "sent_at", TIME)                                                             \
    F(OUTBOX_EXPIRES_AT, "expires_at", TIME) /* when the settled row is swept away */

#define STORE_IDEMPOTENCY(F)                                                                       \
    F(IDEM_BODY_HASH, "body_hash", STR)                                                            \
    F(IDEM_STATE, "state", STR) /* running, done */                                                \
    F(IDEM_LEASE_UNTIL, "lease_until", TIME)                                                       \
    F(IDEM_STATUS, "status", INT)                                                                  \
    F(IDEM_ANSWER, "answer", JSON)                                                                 \
    F(IDEM_EXPIRES_AT, "expires_at", TIME)

#define STORE_COUNTERS(F) F(COUNTER_VALUE, "value", INT)

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
    C(COLL_OUTBOX, "outbox", "obx", STORE_OUTBOX, 0, OUTBOX_EXPIRES_AT)                            \
    C(COLL_IDEMPOTENCY, "idempotency_keys", "idk", STORE_IDEMPOTENCY, 0, IDEM_EXPIRES_AT)          \
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
