/* schema.c: the tables behind schema.h: fields, collections and indexes as data. Called by store.c,
 * doc.c and both backends. It knows no backend and touches no data. */
#include "schema.h"

#include <assert.h>
#include <string.h>
#include <apr_general.h>

#define FIELD_(e, name, type) {name, STORE_##type},
#define FIELDS_(c, name, prefix, list, flags, expiry)                                              \
    static const store_field c##_fields[] = {list(FIELD_)};                                        \
    static_assert(sizeof(c##_fields) / sizeof(c##_fields[0]) <= 255, "a place has eight bits");
STORE_COLLECTIONS(FIELDS_)
#undef FIELDS_
#undef FIELD_

#define COLL_(c, name, prefix, list, flags, expiry)                                                \
    [c] = {c, name, prefix, c##_fields, sizeof(c##_fields) / sizeof(c##_fields[0]), flags, expiry},
static const store_coll collections[] = {STORE_COLLECTIONS(COLL_)};
#undef COLL_

/* The common fields, by their number. */
static const store_field common[] = {
    [STORE_ID] = {"_id", STORE_STR},
    [STORE_VERSION] = {"version", STORE_INT},
    [STORE_CREATED_AT] = {"created_at", STORE_TIME},
    [STORE_UPDATED_AT] = {"updated_at", STORE_TIME},
};

/* A page of a list, a claim or a sweep walks one of these; there is no other way to search. */
static const store_index indexes[] = {
    {"users_email", COLL_USERS, {USER_EMAIL}, 1},
    {"users_role", COLL_USERS, {USER_ROLE, STORE_CREATED_AT}, 0},
    {"users_untold", COLL_USERS, {USER_UNTOLD}, 0},
    {"sessions_user", COLL_SESSIONS, {SESSION_USER_ID, STORE_CREATED_AT}, 0},
    {"sessions_look", COLL_SESSIONS, {SESSION_USER_ID, SESSION_LOOK}, 0},
    {"sessions_untold", COLL_SESSIONS, {SESSION_UNTOLD}, 0},
    {"sessions_expiry", COLL_SESSIONS, {SESSION_EXPIRES_AT}, 0},
    {"reset_token", COLL_RESET_TOKENS, {RESET_TOKEN}, 1},
    {"reset_user", COLL_RESET_TOKENS, {RESET_USER_ID, STORE_CREATED_AT}, 0},
    {"reset_expiry", COLL_RESET_TOKENS, {RESET_EXPIRES_AT}, 0},
    {"verify_token", COLL_VERIFY_TOKENS, {VERIFY_TOKEN}, 1},
    {"verify_user", COLL_VERIFY_TOKENS, {VERIFY_USER_ID, STORE_CREATED_AT}, 0},
    {"verify_expiry", COLL_VERIFY_TOKENS, {VERIFY_EXPIRES_AT}, 0},
    {"revoked_expiry", COLL_REVOKED_TOKENS, {REVOKED_EXPIRES_AT}, 0},
    {"recovery_code", COLL_RECOVERY_CODES, {RECOVERY_CODE}, 1},
    {"recovery_user", COLL_RECOVERY_CODES, {RECOVERY_USER_ID, STORE_CREATED_AT}, 0},
    {"recovery_untold", COLL_RECOVERY_CODES, {RECOVERY_UNTOLD}, 0},
    {"passkey_credential", COLL_PASSKEYS, {PASSKEY_CREDENTIAL_ID}, 1},
    {"passkey_user", COLL_PASSKEYS, {PASSKEY_USER_ID, STORE_CREATED_AT}, 0},
    {"passkeys_untold", COLL_PASSKEYS, {PASSKEY_UNTOLD}, 0},
    {"outbox_due", COLL_OUTBOX, {OUTBOX_STATE, OUTBOX_DUE_AT}, 0},
    {"outbox_channel_due", COLL_OUTBOX, {OUTBOX_STATE, OUTBOX_CHANNEL, OUTBOX_DUE_AT}, 0},
    {"outbox_provider_id", COLL_OUTBOX, {OUTBOX_PROVIDER_ID}, 0},
    {"outbox_state_created", COLL_OUTBOX, {OUTBOX_STATE, STORE_CREATED_AT}, 0},
    {"outbox_unique_key", COLL_OUTBOX, {OUTBOX_UNIQUE_KEY}, 1},
    {"outbox_recipient", COLL_OUTBOX, {OUTBOX_RECIPIENT, OUTBOX_KIND, STORE_CREATED_AT}, 0},
    {"outbox_expiry", COLL_OUTBOX, {OUTBOX_EXPIRES_AT}, 0},
    {"lockouts_user", COLL_LOCKOUTS, {LOCKOUT_USER_ID}, 0},
    {"lockouts_expiry", COLL_LOCKOUTS, {LOCKOUT_EXPIRES_AT}, 0},
    {"audit_seq", COLL_AUDIT, {AUDIT_SEQ}, 1},
    {"audit_at", COLL_AUDIT, {AUDIT_AT}, 0},
    {"audit_user", COLL_AUDIT, {AUDIT_USER_ID, AUDIT_AT}, 0},
    {"audit_event", COLL_AUDIT, {AUDIT_EVENT, AUDIT_AT}, 0},
    {"audit_ip", COLL_AUDIT, {AUDIT_IP, AUDIT_AT}, 0},
    {"events_id", COLL_EVENTS, {EVENT_PROVIDER, EVENT_EVENT_ID}, 1},
    {"events_due", COLL_EVENTS, {EVENT_STATUS, EVENT_DUE_AT}, 0},
    {"events_status", COLL_EVENTS, {EVENT_STATUS, STORE_CREATED_AT}, 0},
    {"events_provider", COLL_EVENTS, {EVENT_PROVIDER, STORE_CREATED_AT}, 0},
    {"events_created", COLL_EVENTS, {STORE_CREATED_AT}, 0},
    {"events_expiry", COLL_EVENTS, {EVENT_EXPIRES_AT}, 0},
    {"consents_address", COLL_CONSENTS, {CONSENT_CHANNEL, CONSENT_ADDRESS}, 1},
    {"push_token", COLL_PUSH_DEVICES, {PUSH_TOKEN}, 1},
    {"push_user", COLL_PUSH_DEVICES, {PUSH_USER_ID, STORE_CREATED_AT}, 0},
    {"leases_expiry", COLL_LEASES, {LEASE_EXPIRES_AT}, 0},
    {"idempotency_expiry", COLL_IDEMPOTENCY, {IDEM_EXPIRES_AT}, 0},
    {"customers_email", COLL_CUSTOMERS, {CUSTOMER_EMAIL, STORE_CREATED_AT}, 0},
    {"customers_user", COLL_CUSTOMERS, {CUSTOMER_USER_ID, STORE_CREATED_AT}, 0},
    {"bookings_number", COLL_BOOKINGS, {BOOKING_NUMBER}, 1},
    {"bookings_customer", COLL_BOOKINGS, {BOOKING_CUSTOMER_ID, BOOKING_START_AT}, 0},
    {"provider_cache_expiry", COLL_PROVIDER_CACHE, {CACHE_EXPIRES_AT}, 0},
};

const store_coll *store_coll_by_no(store_coll_no no)
{
    return no > COLL_NONE && no < COLL_END ? &collections[no] : NULL;
}

const store_coll *store_coll_by_name(const char *name)
{
    for (int no = COLL_NONE + 1; name && no < COLL_END; no++) {
        if (strcmp(collections[no].name, name) == 0) {
            return &collections[no];
        }
    }
    return NULL;
}

static const store_field *field_of(store_fid fid)
{
    const store_coll *coll;

    if (fid >= STORE_ID && fid <= STORE_UPDATED_AT) {
        return &common[fid];
    }
    coll = store_coll_by_no(STORE_FID_COLL(fid));
    return coll && STORE_FID_PLACE(fid) < coll->field_count ? &coll->fields[STORE_FID_PLACE(fid)]
                                                            : NULL;
}

const char *store_field_name(store_fid fid)
{
    const store_field *field = field_of(fid);

    return field ? field->name : "(no such field)";
}

store_type store_field_type(store_fid fid)
{
    const store_field *field = field_of(fid);

    return field ? field->type : STORE_STR;
}

const store_index *store_indexes(unsigned *count)
{
    *count = sizeof(indexes) / sizeof(indexes[0]);
    return indexes;
}
