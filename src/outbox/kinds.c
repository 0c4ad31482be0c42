/* kinds.c: the kinds of rows: whom each is about, whether there is anything to send, and with which
 * token. Called by outbox.c for a row that is leased. Here alone a typed address meets the users:
 * no request ever does, so that none takes longer for a known address. */
#include "job.h"

#include <string.h>

#include <apr_strings.h>

#include "core/crypto.h"
#include "core/locale.h"
#include "core/random.h"
#include "mail/render.h"

#define MINUTES(n) apr_time_from_sec((n)*60)

enum { REGISTER_GRACE_MINUTES = 2, BUDGET_LOOK = 100, SUPERSEDE_BATCH = 100 };

static const char reset_page[] = "/reset-password.html";
static const char verify_page[] = "/verify-email.html";

/* ---- who ---- */

/* JOB_READY and *user, or the row is dropped. */
static job_end user_of_address(job *j, store_doc **user)
{
    const char *address = store_str(j->row, OUTBOX_RECIPIENT);
    store_cond conds[] = {STORE_EQ_STR(USER_EMAIL, address)};
    store_query query = {.coll = COLL_USERS,
                         .index = "users_email",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = 1};
    apr_status_t status;

    if (!address) {
        return job_ends(j, JOB_DEAD, "the row has no recipient");
    }
    status = store_find_one(j->store, j->pool, &query, user);
    if (status == STORE_ENOENT) {
        return job_ends(j, JOB_DROPPED, "no account has this address");
    }
    if (status != APR_SUCCESS) {
        return job_store_failed(j, status);
    }
    return store_bool(*user, USER_DISABLED) ? job_ends(j, JOB_DROPPED, "the account is disabled")
                                            : JOB_READY;
}

static job_end user_of_row(job *j, store_doc **user)
{
    const char *id = store_str(j->row, OUTBOX_USER_ID);
    apr_status_t status;

    if (!id) {
        return job_ends(j, JOB_DEAD, "the row has no user");
    }
    status = store_get(j->store, j->pool, COLL_USERS, id, user);
    if (status == STORE_ENOENT) {
        return job_ends(j, JOB_DROPPED, "the account is gone");
    }
    return status == APR_SUCCESS ? JOB_READY : job_store_failed(j, status);
}

/* At most MAILS_PER_ADDRESS_AND_HOUR mails of a kind: rows made earlier count, unless nothing was
 * sent for them. The order of making decides, so that it does not matter who is worked first. */
static job_end within_budget(job *j)
{
    apr_time_t made = store_time(j->row, STORE_CREATED_AT);
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_RECIPIENT, store_str(j->row, OUTBOX_RECIPIENT)),
                          STORE_EQ_STR(OUTBOX_KIND, store_str(j->row, OUTBOX_KIND)),
                          STORE_GT_TIME(STORE_CREATED_AT, made - MINUTES(60)),
                          STORE_LE_TIME(STORE_CREATED_AT, made),
                          {OUTBOX_STATE, STORE_NE, STORE_V_STR("dropped")}};
    store_query query = {.coll = COLL_OUTBOX,
                         .index = "outbox_recipient",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = BUDGET_LOOK};
    apr_array_header_t *rows;
    apr_status_t status = store_find(j->store, j->pool, &query, &rows, NULL);
    int earlier = 0;

    if (status != APR_SUCCESS) {
        return job_store_failed(j, status);
    }
    for (int i = 0; i < rows->nelts; i++) {
        const store_doc *other = APR_ARRAY_IDX(rows, i, store_doc *);

        earlier += store_time(other, STORE_CREATED_AT) < made ||
                   strcmp(store_doc_id(other), store_doc_id(j->row)) < 0;
    }
    return earlier < MAILS_PER_ADDRESS_AND_HOUR
               ? JOB_READY
               : job_ends(j, JOB_DROPPED, "this address got enough of these mails this hour");
}

static apr_time_t age_of(const job *j)
{
    return j->now - store_time(j->row, STORE_CREATED_AT);
}

/* ---- tokens ---- */

/* The row's token: the one that is sealed into it, or a new one that is sealed into it now. */
static job_end token_of_row(job *j, const char **token)
{
    const char *id = store_doc_id(j->row), *sealed = store_str(j->row, OUTBOX_SEALED), *fresh;
    apr_status_t status;

    *token = sealed ? biz_open(j->pool, j->key, id, sealed) : NULL;
    if (*token) {
        return JOB_READY;
    }
    *token = biz_random_token(j->pool);
    fresh = biz_seal(j->pool, j->key, id, *token);
    {
        store_cond conds[] = {STORE_EQ_STR(OUTBOX_LEASE, j->lease),
                              STORE_EQ_STR(OUTBOX_SEALED, sealed)};
        store_change changes[] = {STORE_SET_STR(OUTBOX_SEALED, fresh)};

        status = store_update(j->store, j->pool, COLL_OUTBOX, id, conds, STORE_COUNT_OF(conds),
                              changes, STORE_COUNT_OF(changes), NULL);
    }
    if (status == STORE_ECOND || status == STORE_ENOENT) {
        return job_ends(j, JOB_LOST, "the lease has ended");
    }
    return status == APR_SUCCESS ? JOB_READY : job_store_failed(j, status);
}

typedef struct {
    store_coll_no coll;
    const char *by_token;
    store_fid token, user_id, email, expires_at, used;
} token_kind;

static const token_kind reset_kind = {COLL_RESET_TOKENS, "reset_token", RESET_TOKEN,
                                      RESET_USER_ID,     RESET_EMAIL,   RESET_EXPIRES_AT,
                                      RESET_USED};
static const token_kind verify_kind = {COLL_VERIFY_TOKENS, "verify_token", VERIFY_TOKEN,
                                       VERIFY_USER_ID,     VERIFY_EMAIL,   VERIFY_EXPIRES_AT,
                                       VERIFY_USED};

/* Stores the digest of the row's token for the user, as old as the row. An earlier run may have
 * done it already, and then the link may have been used already: there is nothing left to send.
 * *stored: its id. */
static job_end store_token(job *j, const token_kind *kind, const store_doc *user,
                           apr_time_t expires_at, const char **token, const char **stored)
{
    store_doc *doc = store_doc_new(j->pool, kind->coll);
    const char *hash;
    job_end end = token_of_row(j, token);
    apr_status_t status;

    if (end != JOB_READY) {
        return end;
    }
    hash = biz_sha256_hex(j->pool, *token);
    store_set_str(doc, kind->token, hash);
    store_set_str(doc, kind->user_id, store_doc_id(user));
    store_set_str(doc, kind->email, store_str(user, USER_EMAIL));
    store_set_time(doc, kind->expires_at, expires_at);
    store_set_bool(doc, kind->used, 0);
    store_doc_set_made(doc, store_time(j->row, STORE_CREATED_AT));
    status = store_insert_copy(j->store, j->pool, doc);
    if (status == STORE_EEXIST) {
        store_cond conds[] = {STORE_EQ_STR(kind->token, hash)};
        store_query query = {.coll = kind->coll,
                             .index = kind->by_token,
                             .conds = conds,
                             .n_conds = STORE_COUNT_OF(conds),
                             .limit = 1};

        status = store_find_one(j->store, j->pool, &query, &doc);
        if (status == APR_SUCCESS && store_bool(doc, kind->used)) {
            return job_ends(j, JOB_DROPPED, "the link has been used, or a newer one was asked for");
        }
    }
    *stored = store_doc_id(doc);
    return status == APR_SUCCESS ? JOB_READY : job_store_failed(j, status);
}

/* One link to a new password is good at a time, the one that was asked for last. Each run stores
 * its own token first and looks at the others then: of two at once, one sees the other. */
static job_end supersede(job *j, const char *user_id, const char *stored)
{
    apr_time_t made = store_time(j->row, STORE_CREATED_AT);
    store_change use[] = {STORE_SET_BOOL(RESET_USED, 1), STORE_SET_TIME(RESET_USED_AT, j->now)};
    store_cond older[] = {STORE_EQ_STR(RESET_USER_ID, user_id), STORE_EQ_BOOL(RESET_USED, 0),
                          STORE_LT_TIME(STORE_CREATED_AT, made)};
    store_cond newer[] = {STORE_EQ_STR(RESET_USER_ID, user_id),
                          STORE_GT_TIME(STORE_CREATED_AT, made)};
    store_cond unused[] = {STORE_EQ_BOOL(RESET_USED, 0)};
    store_query query = {.coll = COLL_RESET_TOKENS,
                         .index = "reset_user",
                         .conds = older,
                         .n_conds = STORE_COUNT_OF(older),
                         .limit = SUPERSEDE_BATCH};
    store_doc *other;
    apr_status_t status;
    int changed;

    do {
        status = store_update_each(j->store, j->pool, &query, use, STORE_COUNT_OF(use), &changed);
    } while (status == APR_SUCCESS && changed == SUPERSEDE_BATCH);
    if (status != APR_SUCCESS) {
        return job_store_failed(j, status);
    }
    query.conds = newer;
    query.n_conds = STORE_COUNT_OF(newer);
    status = store_find_one(j->store, j->pool, &query, &other);
    if (status == STORE_ENOENT) {
        return JOB_READY;
    }
    if (status == APR_SUCCESS) {
        status = store_update(j->store, j->pool, COLL_RESET_TOKENS, stored, unused,
                              STORE_COUNT_OF(unused), use, STORE_COUNT_OF(use), NULL);
    }
    return status == APR_SUCCESS || status == STORE_ECOND || status == STORE_ENOENT
               ? job_ends(j, JOB_DROPPED, "a newer link was asked for")
               : job_store_failed(j, status);
}

static job_end new_password_link(job *j, const store_doc *user, apr_time_t expires_at,
                                 const char **token)
{
    const char *stored;
    job_end end = store_token(j, &reset_kind, user, expires_at, token, &stored);

    return end == JOB_READY ? supersede(j, store_doc_id(user), stored) : end;
}

/* ---- what the mail says ---- */

/* The row's data, NULL where there is none or no JSON. */
static biz_json *json_of(const job *j)
{
    const char *text = store_str(j->row, OUTBOX_DATA);
    biz_json *json = NULL;
    size_t position;

    return text && biz_json_parse(j->pool, text, strlen(text), 16, &json, &position) == APR_SUCCESS
               ? json
               : NULL;
}

/* A text of it, or NULL. */
static const char *data_of(const job *j, const char *key)
{
    return biz_json_str(json_of(j), key);
}

/* The mail is for this user, at the address that is stored, never at the one that was typed. */
static mail_reader reader_of(job *j, const store_doc *user)
{
    j->to = store_str(user, USER_EMAIL);
    j->to_name = store_str(user, USER_NAME);
    j->locale = store_str(user, USER_LOCALE);
    j->zone = store_str(user, USER_TIMEZONE);
    if (!j->zone || !biz_zone_is_known(j->zone)) {
        j->zone = biz_brand(j->settings, "timezone", "UTC");
    }
    return (mail_reader){.templates = j->templates,
                         .settings = j->settings,
                         .locale = j->locale,
                         .timezone = j->zone,
                         .name = j->to_name,
                         .email = j->to};
}

static mail_account account_of(job *j, const char *page, const char *token, int valid_for)
{
    return (mail_account){.url = apr_pstrcat(j->pool, j->settings->frontend_url, page,
                                             token ? "#token=" : NULL, token, NULL),
                          .valid_for = valid_for,
                          .at = store_time(j->row, STORE_CREATED_AT),
                          .ip = data_of(j, "ip")};
}

/* What a renderer's answer means for the row; j->why is set by it. */
static job_end rendered(apr_status_t status)
{
    return status == APR_SUCCESS ? JOB_READY : JOB_DEAD;
}

/* ---- the kinds ---- */

static job_end forgot(job *j)
{
    apr_time_t expires_at = store_time(j->row, STORE_CREATED_AT) + MINUTES(RESET_TOKEN_MINUTES);
    const char *token;
    store_doc *user;
    job_end end;
    mail_reader reader;
    mail_account account;

    if (j->now >= expires_at) {
        return job_ends(j, JOB_DROPPED, "the link would have expired");
    }
    if ((end = user_of_address(j, &user)) != JOB_READY || (end = within_budget(j)) != JOB_READY) {
        return end;
    }
    if (j->is_off) {
        return JOB_SKIPPED;
    }
    if ((end = new_password_link(j, user, expires_at, &token)) != JOB_READY) {
        return end;
    }
    reader = reader_of(j, user);
    account = account_of(j, reset_page, token, RESET_TOKEN_MINUTES);
    return rendered(render_password_reset(j->pool, &reader, &account, &j->mail, &j->why));
}

/* The same to somebody for whom an account was made, with more time to read it. */
static job_end invitation(job *j)
{
    apr_time_t expires_at =
        store_time(j->row, STORE_CREATED_AT) + MINUTES(60 * INVITATION_TOKEN_HOURS);
    const char *token;
    store_doc *user;
    job_end end = user_of_row(j, &user);
    mail_reader reader;
    mail_account account;

    if (end == JOB_DROPPED && age_of(j) < MINUTES(REGISTER_GRACE_MINUTES)) {
        return job_ends(j, JOB_LATER, "the account is not there yet");
    }
    if (end != JOB_READY) {
        return end;
    }
    if (j->now >= expires_at) {
        return job_ends(j, JOB_DROPPED, "the link would have expired");
    }
    if (store_bool(user, USER_DISABLED) || !store_is_null(user, USER_PASSWORD_HASH)) {
        return job_ends(j, JOB_DROPPED, "the account is disabled, or has a password");
    }
    if (j->is_off) {
        return JOB_SKIPPED;
    }
    if ((end = new_password_link(j, user, expires_at, &token)) != JOB_READY) {
        return end;
    }
    reader = reader_of(j, user);
    account = account_of(j, reset_page, token, INVITATION_TOKEN_HOURS);
    return rendered(render_invitation(j->pool, &reader, &account, &j->mail, &j->why));
}

/* Six digits that need no place of their own: they follow from the token's hash and our key. */
const char *outbox_verify_code(apr_pool_t *pool, const unsigned char *key, const char *hash)
{
    unsigned char mac[BIZ_SHA256_LEN];
    const char *bound = apr_pstrcat(pool, "code ", hash, NULL);
    uint64_t number = 0;
    int i;

    biz_hmac_sha256(key, BIZ_KEY_LEN, bound, strlen(bound), mac);
    for (i = 0; i < 8; i++)
        number = (number << 8) | mac[i];
    return apr_psprintf(pool, "%06d", (int)(number % 1000000));
}

/* The mail with which a user shows that the address is his. */
static job_end verify(job *j, const store_doc *user)
{
    apr_time_t expires_at = store_time(j->row, STORE_CREATED_AT) + MINUTES(60 * VERIFY_TOKEN_HOURS);
    const char *token, *stored;
    job_end end;
    mail_reader reader;
    mail_account account;

    if (store_bool(user, USER_EMAIL_VERIFIED)) {
        return job_ends(j, JOB_DROPPED, "the address is confirmed already");
    }
    if (j->now >= expires_at) {
        return job_ends(j, JOB_DROPPED, "the link would have expired");
    }
    if ((end = within_budget(j)) != JOB_READY) {
        return end;
    }
    if (j->is_off) {
        return JOB_SKIPPED;
    }
    end = store_token(j, &verify_kind, user, expires_at, &token, &stored);
    if (end != JOB_READY) {
        return end;
    }
    reader = reader_of(j, user);
    account = account_of(j, verify_page, token, VERIFY_TOKEN_HOURS);
    account.code = outbox_verify_code(j->pool, j->key, biz_sha256_hex(j->pool, token));
    account.code_minutes = VERIFY_CODE_MINUTES;
    return rendered(render_verify_email(j->pool, &reader, &account, &j->mail, &j->why));
}

/* The row was written before the user, with the id that the user would get. */
static job_end registered(job *j)
{
    const char *id = store_str(j->row, OUTBOX_USER_ID);
    store_doc *user;
    job_end end = user_of_address(j, &user);
    mail_reader reader;
    mail_account account;

    if (!id) {
        return job_ends(j, JOB_DEAD, "the row has no user");
    }
    if (end == JOB_DROPPED && age_of(j) < MINUTES(REGISTER_GRACE_MINUTES)) {
        return job_ends(j, JOB_LATER, "the account is not there yet");
    }
    if (end != JOB_READY) {
        return end;
    }
    if (strcmp(store_doc_id(user), id) == 0) {
        return verify(j, user);
    }
    if (age_of(j) >= MINUTES(60 * VERIFY_TOKEN_HOURS)) {
        return job_ends(j, JOB_DROPPED, "that is too long ago to tell");
    }
    end = within_budget(j);
    if (end != JOB_READY) {
        return end;
    }
    if (j->is_off) {
        return JOB_SKIPPED;
    }
    reader = reader_of(j, user);
    account = account_of(j, reset_page, NULL, 0);
    return rendered(render_account_exists(j->pool, &reader, &account, &j->mail, &j->why));
}

static job_end resend(job *j)
{
    store_doc *user;
    job_end end = user_of_address(j, &user);

    return end == JOB_READY ? verify(j, user) : end;
}

static job_end notice(job *j)
{
    const char *event = data_of(j, "event");
    store_doc *user;
    job_end end;
    mail_reader reader;
    mail_account account;

    if (!event) {
        return job_ends(j, JOB_DEAD, "the row has no event");
    }
    end = store_is_null(j->row, OUTBOX_USER_ID) ? user_of_address(j, &user) : user_of_row(j, &user);
    if (end != JOB_READY) {
        return end;
    }
    if (j->is_off) {
        return JOB_SKIPPED;
    }
    reader = reader_of(j, user);
    account = account_of(j, render_notice_page(event), NULL, 0);
    account.at = biz_json_int(json_of(j), "at", account.at);
    return rendered(render_security_notice(j->pool, &reader, event, &account, data_of(j, "detail"),
                                           &j->mail, &j->why));
}

/* One of our mails with made-up data, so that somebody sees it where it will be read. */
static job_end sample(job *j)
{
    const char *name = data_of(j, "name");
    mail_reader reader = {
        .templates = j->templates, .settings = j->settings, .locale = data_of(j, "locale")};

    j->to = store_str(j->row, OUTBOX_RECIPIENT);
    if (!j->to || !name) {
        return job_ends(j, JOB_DEAD, "the row has no recipient, or no mail");
    }
    return rendered(mail_sample(j->pool, &reader, name, MAIL_SHORT, &j->mail, &j->why));
}

/* A text that says all by itself, for the channels that carry no mail. */
static job_end text(job *j)
{
    const char *id = store_str(j->row, OUTBOX_USER_ID), *zone = NULL;
    store_doc *user = NULL;
    apr_status_t status = id ? store_get(j->store, j->pool, COLL_USERS, id, &user) : APR_SUCCESS;

    if (status == STORE_ENOENT || (user && store_bool(user, USER_DISABLED))) {
        return job_ends(j, JOB_DROPPED, "the account is gone or disabled");
    }
    if (status != APR_SUCCESS) {
        return job_store_failed(j, status);
    }
    if (user) {
        zone = store_str(user, USER_TIMEZONE);
        j->to_name = store_str(user, USER_NAME);
        j->locale = store_str(user, USER_LOCALE);
    }
    j->to = store_str(j->row, OUTBOX_RECIPIENT);
    if (!j->to && user && strcmp(j->channel->name, OUTBOX_SMS) == 0) {
        j->to = store_str(user, USER_PHONE);
    }
    j->zone = zone ? zone : biz_brand(j->settings, "timezone", "UTC");
    j->text = data_of(j, "text");
    j->title = data_of(j, "title");
    j->link = data_of(j, "link");
    return j->text && j->text[0] ? JOB_READY : job_ends(j, JOB_DEAD, "the row has no text");
}

static const struct {
    const char *kind;
    job_end (*prepare)(job *j);
    unsigned flags;
    int is_mail; /* needs the channel mail; else any other */
} kinds[] = {{OUTBOX_FORGOT, forgot, KIND_MUST | KIND_TWICE, 1},
             {OUTBOX_INVITATION, invitation, KIND_MUST | KIND_TWICE, 1},
             {OUTBOX_REGISTER, registered, KIND_MUST | KIND_TWICE, 1},
             {OUTBOX_RESEND, resend, KIND_MUST | KIND_TWICE, 1},
             {OUTBOX_NOTICE, notice, KIND_MUST | KIND_TWICE, 1},
             {OUTBOX_SAMPLE, sample, KIND_MUST | KIND_TWICE, 1},
             {OUTBOX_TEXT, text, 0, 0}};

job_end job_prepare(job *j)
{
    const char *kind = store_str(j->row, OUTBOX_KIND);
    int is_mail = strcmp(j->channel->name, OUTBOX_MAIL) == 0;

    for (size_t i = 0; kind && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kind, kinds[i].kind) == 0 && kinds[i].is_mail == is_mail) {
            j->flags = kinds[i].flags;
            return kinds[i].prepare(j);
        }
    }
    return job_ends(j, JOB_DEAD, "this kind of row is not known");
}
