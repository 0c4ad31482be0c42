/* test_stops.c: requests about accounts that end in the middle. Each is worked by the dispatcher on
 * a real store and stopped at every place there is: by a kill after its first write, its second and
 * so on, and by a store that is away for its first call, its second and so on, or from then on.
 * Then it is sent again as a client would, and what must hold is looked at: what was answered is
 * done, nothing is done twice, nobody is locked out, and who must be told is told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_strings.h>

#include "audit/audit.h"
#include "auth/account.h"
#include "auth/act.h"
#include "auth/keys.h"
#include "auth/lockout.h"
#include "auth/seen.h"
#include "auth/session.h"
#include "auth/work.h"
#include "core/crypto.h"
#include "core/password.h"
#include "core/random.h"
#include "dispatch.h"
#include "outbox/outbox.h"
#include "store/backend.h"

#define RIGHT "Nine-lemons-walk-7"
#define OTHER "Quiet-Harbour-22-boats"

typedef enum {
    NOWHERE,
    KILLED,    /* after the nth write of the request */
    AWAY_ONCE, /* the nth call of the store finds it away */
    AWAY       /* and all after it */
} stop_kind;

static apr_pool_t *pool;
static char folder[64];
static biz_env env;
static biz_keys keys;
static biz_shared shared;
static biz_settings settings;
static apr_time_t now;
static const char *right_hash;

/* ---- a store that can be stopped ---- */

static stop_kind stop;
static int stop_at, calls, writes, stopped;
static jmp_buf killed;
static store_backend stopping;
static const store_backend *real;

static int is_away(void)
{
    calls++;
    if ((stop == AWAY_ONCE && calls == stop_at) || (stop == AWAY && calls >= stop_at))
        stopped = 1;
    return stop == AWAY_ONCE ? calls == stop_at : stop == AWAY && calls >= stop_at;
}

/* What a kill leaves is what the store has committed: this is after it. */
static apr_status_t written(apr_status_t status)
{
    if (++writes == stop_at && stop == KILLED) {
        stopped = 1;
        longjmp(killed, 1);
    }
    return status;
}

static apr_status_t get(store *s, apr_pool_t *p, const store_coll *coll, const char *id,
                        store_fid by, const store_coll *other, store_doc **out, store_doc **second)
{
    return is_away() ? STORE_EUNAVAIL : real->get(s, p, coll, id, by, other, out, second);
}

static apr_status_t insert(store *s, apr_pool_t *p, const store_doc *doc, const char **index)
{
    return is_away() ? STORE_EUNAVAIL : written(real->insert(s, p, doc, index));
}

static apr_status_t update(store *s, apr_pool_t *p, const store_coll *coll, const char *id,
                           const store_cond *conds, size_t n_conds, const store_change *changes,
                           size_t n_changes, store_doc **after)
{
    return is_away()
               ? STORE_EUNAVAIL
               : written(real->update(s, p, coll, id, conds, n_conds, changes, n_changes, after));
}

static apr_status_t remove_one(store *s, apr_pool_t *p, const store_coll *coll, const char *id,
                               const store_cond *conds, size_t n_conds)
{
    return is_away() ? STORE_EUNAVAIL : written(real->remove(s, p, coll, id, conds, n_conds));
}

static apr_status_t counter(store *s, apr_pool_t *p, const char *name, int64_t delta,
                            int64_t *value)
{
    return is_away() ? STORE_EUNAVAIL : written(real->counter(s, p, name, delta, value));
}

static apr_status_t find(store *s, apr_pool_t *p, const store_plan *plan, apr_array_header_t *docs)
{
    return is_away() ? STORE_EUNAVAIL : real->find(s, p, plan, docs);
}

static void make_it_stop(void)
{
    real = env.store->backend;
    stopping = *real;
    stopping.get = get;
    stopping.insert = insert;
    stopping.update = update;
    stopping.remove = remove_one;
    stopping.counter = counter;
    stopping.find = find;
    env.store->backend = &stopping;
}

static int group_setup(void **state)
{
    store_options options = {.op_timeout = apr_time_from_sec(60)}; /* the machine may be busy */
    const char *why = NULL, *json;
    biz_jwk *jwk;

    apr_pool_create(&pool, NULL);
    /* In memory where there is such a folder: what is written here need not outlive a power cut. */
    snprintf(folder, sizeof(folder), "%s/bizapi-stops-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(biz_jwk_generate(pool, "key_01m85f1k5g029m9yjn93hjz09v", &json), 0);
    assert_int_equal(biz_jwk_load(pool, json, &jwk), 0);
    biz_random(&keys, sizeof(keys));
    keys.jwks = apr_pcalloc(pool, 2 * sizeof(jwk));
    keys.jwks[0] = jwk;
    keys.ends = NULL;
    keys.jwks_json = "{}";
    keys.jwks_id = "of nothing";
    settings.public_url = settings.frontend_url = "https://portal.example";
    settings.brand = apr_table_make(pool, 1);
    settings.secrets = apr_table_make(pool, 1);
    settings.require_mfa = apr_array_make(pool, 1, sizeof(const char *));
    settings.origins = apr_array_make(pool, 1, sizeof(const char *));
    env = (biz_env){.settings = &settings,
                    .keys = &keys,
                    .shared = &shared,
                    .hash_room = biz_hash_room_of(2, 25, 4)};
    env.seen = apr_pcalloc(pool, (size_t)SEEN_SLOTS * SEEN_SLOT_BYTES);
    assert_int_equal(
        store_open(&env.store, apr_psprintf(pool, "sqlite:%s/s.db", folder), &options, pool, &why),
        0);
    make_it_stop();
    assert_int_equal(biz_password_hash(pool, RIGHT, &right_hash), 0);
    return 0;
}

static int group_teardown(void **state)
{
    char command[128];

    apr_pool_destroy(pool);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command) != 0;
}

/* ---- a person, and what they ask ---- */

typedef struct {
    const char *id, *email, *session, *access, *address;
    const char *refresh[3]; /* the last is the current one */
    biz_json *answer;
} person;

static void put(store_doc *doc)
{
    assert_int_equal(store_insert(env.store, pool, doc, NULL), 0);
}

static person someone(const char *role)
{
    static int number;
    person p = {.email = apr_psprintf(pool, "p%d@example.com", ++number)};
    account_new account = {.email = p.email, .name = "Ada", .role = role, .email_verified = 1};
    store_doc *user, *session = store_doc_new(pool, COLL_SESSIONS);
    token_claims claims;

    account.password_hash = right_hash;
    user = account_make(pool, &account);
    put(user);
    p.id = store_doc_id(user);
    p.address = apr_psprintf(pool, "10.0.%d.%d", number / 250, number % 250);
    p.session = store_doc_id(session);
    p.refresh[0] = token_refresh_first(pool, &keys, p.session);
    p.refresh[1] = token_refresh_next(pool, &keys, p.refresh[0]);
    p.refresh[2] = token_refresh_next(pool, &keys, p.refresh[1]);
    store_set_str(session, SESSION_USER_ID, p.id);
    store_set_int(session, SESSION_EPOCH, 1);
    store_set_str(session, SESSION_REFRESH_HASH, biz_sha256_hex(pool, p.refresh[2]));
    store_set_time(session, SESSION_ROTATED_AT, now);
    store_set_time(session, SESSION_LAST_SEEN_AT, now);
    store_set_time(session, SESSION_PROVED_AT, now); /* `now` goes ahead of the store's clock */
    store_set_time(session, SESSION_IDLE_EXPIRES_AT, now + apr_time_from_sec(86400));
    store_set_time(session, SESSION_EXPIRES_AT, now + apr_time_from_sec(86400));
    put(session);
    claims = (token_claims){p.id, p.session, now + apr_time_from_sec(600)};
    assert_int_equal(token_access_make(pool, &keys, settings.public_url, &claims, now, &p.access),
                     0);
    return p;
}

static const char *header(const biz_req *req, const char *name)
{
    return !strcmp(name, "Authorization") ? req->header_context : NULL;
}

/* One request, stopped as `kind` says at place `n`; BIZ_CODES_END where it was killed. */
static biz_code ask(person *p, const char *method, const char *path, const char *body,
                    stop_kind kind, int n)
{
    biz_reply reply = {.pool = pool, .status = 200, .headers = apr_table_make(pool, 4)};
    biz_req req = {.pool = pool,
                   .env = &env,
                   .id = "req_x",
                   .method = method,
                   .path = path,
                   .address = p->address,
                   .now = now,
                   .header = header,
                   .body = body};
    apr_pool_t *process;
    const char *allow;

    req.origin = settings.public_url;
    req.params = apr_table_make(pool, 2);
    req.fields = apr_table_make(pool, 8);
    req.nulls = apr_table_make(pool, 2);
    req.body_len = body != NULL ? strlen(body) : 0;
    req.header_context = apr_pstrcat(pool, "Bearer ", p->access, NULL);
    req.route = biz_route_find(pool, method, path, &allow, req.params);
    assert_non_null(req.route);
    /* A new process: nothing is held. Never cleaned up, as a killed one's is not: what it was doing
     * may have been locked. */
    apr_pool_create(&process, NULL);
    env.audit = audit_open(process, env.store, keys.audit);
    calls = writes = stopped = 0;
    stop_at = n;
    stop = kind;
    if (setjmp(killed) != 0) {
        stop = NOWHERE;
        return BIZ_CODES_END;
    }
    biz_dispatch(&req, &reply);
    stop = NOWHERE;
    p->answer = reply.data;
    return reply.code;
}

static int count(store_coll_no coll, const char *index, store_fid owner, const char *value,
                 store_fid text, const char *part)
{
    store_cond conds[] = {STORE_EQ_STR(owner, value)};
    store_query query = {.coll = coll, .index = index, .conds = conds, .n_conds = 1, .limit = 100};
    apr_array_header_t *docs;
    int found = 0;

    assert_int_equal(store_find(env.store, pool, &query, &docs, NULL), 0);
    for (int i = 0; i < docs->nelts; i++)
        found += part == NULL ||
                 strstr(store_str(APR_ARRAY_IDX(docs, i, store_doc *), text), part) != NULL;
    return found;
}

/* What the background job does of every server that lives. */
static void tell_left(void)
{
    const act_by by = {.store = env.store, .pool = pool, .audit = env.audit};
    int told;

    assert_int_equal(act_tell_left(&by, apr_time_now() + apr_time_from_sec(60), &told), 0);
}

static int audited(const person *p, const char *event)
{
    tell_left();
    return count(COLL_AUDIT, "audit_user", AUDIT_USER_ID, p->id, AUDIT_EVENT, event);
}

static int told(const person *p, const char *event)
{
    tell_left();
    return count(COLL_OUTBOX, NULL, OUTBOX_USER_ID, p->id, OUTBOX_DATA, event);
}

static store_doc *user_of(const person *p)
{
    store_doc *user;

    assert_int_equal(store_get(env.store, pool, COLL_USERS, p->id, &user), 0);
    return user;
}

/* ---- every place ---- */

typedef void (*scene)(stop_kind kind, int n);

/* Plays it until it is no longer stopped; *places: how often it was. */
static int at_every_place(scene play)
{
    int places = 0;

    for (stop_kind kind = KILLED; kind <= AWAY; kind++) {
        int n = 0;

        do {
            apr_pool_t *all = pool;

            apr_pool_create(&pool, all);
            play(kind, ++n);
            apr_pool_destroy(pool);
            pool = all;
            places += stopped;
            assert_true(n < 200);
        } while (stopped);
    }
    return places;
}

/* A request that was stopped has not been answered as if it were done, nor as if it were wrong. */
static int was_stopped(biz_code code)
{
    int then = stopped;

    if (code == BIZ_STORE_UNAVAILABLE || code == BIZ_CODES_END)
        assert_true(stopped);
    return then && (code == BIZ_STORE_UNAVAILABLE || code == BIZ_CODES_END);
}

static void copied_token(stop_kind kind, int n)
{
    person p = someone("customer");
    const char *body = apr_psprintf(pool, "{\"refresh_token\":\"%s\"}", p.refresh[0]);
    biz_code code = ask(&p, "POST", "/api/v1/auth/refresh", body, kind, n);
    int stopped_then = stopped;

    if (was_stopped(code))
        code = ask(&p, "POST", "/api/v1/auth/refresh", body, NOWHERE, 0);
    assert_int_equal(code, BIZ_TOKEN_REVOKED);
    assert_int_equal(audited(&p, "authn_token_reuse"), 1);
    assert_int_equal(told(&p, NOTICE_TOKEN_REUSED), 1);
    assert_int_equal(ask(&p, "GET", "/api/v1/auth/me", NULL, NOWHERE, 0), BIZ_TOKEN_REVOKED);
    stopped = stopped_then;
}

static void a_copied_token_ends_its_session_and_is_told_and_audited_once(void **state)
{
    assert_true(at_every_place(copied_token) > 10);
}

static void renewal(stop_kind kind, int n)
{
    person p = someone("customer");
    const char *body = apr_psprintf(pool, "{\"refresh_token\":\"%s\"}", p.refresh[2]), *next;
    biz_code code = ask(&p, "POST", "/api/v1/auth/refresh", body, kind, n);
    int stopped_then = stopped;

    if (was_stopped(code))
        code = ask(&p, "POST", "/api/v1/auth/refresh", body, NOWHERE, 0);
    assert_int_equal(code, BIZ_OK);
    next = biz_json_str(p.answer, "refresh_token");
    assert_string_equal(next, token_refresh_next(pool, &keys, p.refresh[2]));
    assert_int_equal(audited(&p, "authn_token_reuse"), 0);
    stopped = stopped_then;
}

static void a_renewal_gives_the_one_successor(void **state)
{
    assert_true(at_every_place(renewal) >= 5);
}

static void sign_out(stop_kind kind, int n)
{
    person p = someone("customer");
    biz_code code = ask(&p, "POST", "/api/v1/auth/logout", NULL, kind, n);
    int stopped_then = stopped;

    if (was_stopped(code)) {
        code = ask(&p, "POST", "/api/v1/auth/logout", NULL, NOWHERE, 0);
        /* It may be out already. */
        assert_true(code == BIZ_OK || code == BIZ_TOKEN_REVOKED);
    } else {
        assert_int_equal(code, BIZ_OK);
    }
    assert_int_equal(audited(&p, "session_ended"), 1);
    assert_int_equal(ask(&p, "GET", "/api/v1/auth/me", NULL, NOWHERE, 0), BIZ_TOKEN_REVOKED);
    stopped = stopped_then;
}

static void a_sign_out_holds(void **state)
{
    assert_true(at_every_place(sign_out) >= 6);
}

static void looking(stop_kind kind, int n)
{
    person p = someone("customer");
    biz_code code;
    int stopped_then;

    now += apr_time_from_sec(301); /* "last seen" is due */
    code = ask(&p, "GET", "/api/v1/auth/sessions", NULL, kind, n);
    stopped_then = stopped;
    if (was_stopped(code))
        code = ask(&p, "GET", "/api/v1/auth/sessions", NULL, NOWHERE, 0);
    assert_int_equal(code, BIZ_OK);
    assert_int_equal(biz_json_size(p.answer), 1);
    atomic_store(&shared.touch_again_at, 0);
    stopped = stopped_then;
}

static void a_session_is_not_lost_by_being_looked_at(void **state)
{
    assert_true(at_every_place(looking) >= 4);
}

/* The count of wrong passwords of somebody, as if there had been so many; its id. */
static const char *has_failed(const person *p, int times)
{
    store_doc *row = store_doc_new(pool, COLL_LOCKOUTS);
    const char *id = biz_sha256_hex(pool, apr_pstrcat(pool, "account ", p->email, NULL));

    store_doc_set_id(row, id);
    store_set_str(row, LOCKOUT_USER_ID, p->id);
    store_set_int(row, LOCKOUT_TRIES, times);
    store_set_time(row, LOCKOUT_EXPIRES_AT, now + apr_time_from_sec(80000));
    put(row);
    return id;
}

static biz_code sign_in_as(person *p, const char *password, stop_kind kind, int n)
{
    return ask(p, "POST", "/api/v1/auth/login",
               apr_psprintf(pool, "{\"email\":\"%s\",\"password\":\"%s\"}", p->email, password),
               kind, n);
}

/* The right password after three wrong ones, stopped; then as often as it takes. */
static void sign_in(stop_kind kind, int n)
{
    person p = someone("customer");
    const char *failed = has_failed(&p, SESSION_TELL_FAILURES);
    biz_code code = sign_in_as(&p, RIGHT, kind, n);
    int stopped_then = stopped;
    store_doc *row;

    for (int tries = 0; code != BIZ_OK && tries < 3; tries++) {
        if (!was_stopped(code)) {
            /* A try that was stopped counts, and the fifth of them locks for a minute. */
            assert_int_equal(code, BIZ_INVALID_CREDENTIALS);
            now += apr_time_from_sec(LOCKOUT_FIRST_SECONDS + 1);
        }
        code = sign_in_as(&p, RIGHT, NOWHERE, 0);
    }
    assert_int_equal(code, BIZ_OK);
    /* The owner is told of the failures: once for each sign-in that succeeded after them. */
    assert_in_range(told(&p, NOTICE_AFTER_FAILURES), 1, 2);
    assert_in_range(audited(&p, "authn_login_success"), 1, 2);
    if (stopped_then)
        assert_int_equal(sign_in_as(&p, RIGHT, NOWHERE, 0), BIZ_OK);
    assert_int_equal(store_get(env.store, pool, COLL_LOCKOUTS, failed, &row), STORE_ENOENT);
    stopped = stopped_then;
}

static void a_sign_in_after_failures_is_told_and_locks_nobody_out(void **state)
{
    assert_true(at_every_place(sign_in) > 20);
}

/* The fifth wrong password, stopped; and who goes on guessing. */
static void lock(stop_kind kind, int n)
{
    person p = someone("customer");
    uint64_t before = atomic_load(&shared.hashes);
    int stopped_then;

    has_failed(&p, LOCKOUT_FREE_ACCOUNT - 1);
    sign_in_as(&p, "wrong", kind, n);
    stopped_then = stopped;
    for (int i = 0; i < 2; i++)
        assert_int_equal(sign_in_as(&p, "wrong", NOWHERE, 0), BIZ_INVALID_CREDENTIALS);
    /* No more hashes than are free, and the right password is refused too. */
    assert_in_range(atomic_load(&shared.hashes) - before, 0, 1);
    assert_int_equal(sign_in_as(&p, RIGHT, NOWHERE, 0), BIZ_INVALID_CREDENTIALS);
    /* A mail that was lost by the stop comes with the next lock. */
    now += apr_time_from_sec(LOCKOUT_FIRST_SECONDS + 1);
    assert_int_equal(sign_in_as(&p, "wrong", NOWHERE, 0), BIZ_INVALID_CREDENTIALS);
    assert_int_equal(count(COLL_OUTBOX, "outbox_recipient", OUTBOX_RECIPIENT, p.email, OUTBOX_DATA,
                           NOTICE_ACCOUNT_LOCKED),
                     1);
    stopped = stopped_then;
}

static void a_lock_holds_and_is_told_once(void **state)
{
    assert_true(at_every_place(lock) > 15);
}

/* ---- the rest ---- */

static void new_password(stop_kind kind, int n)
{
    person p = someone("customer");
    const char *body = "{\"current_password\":\"" RIGHT "\",\"new_password\":\"" OTHER "\"}";
    const char *in = apr_psprintf(pool, "{\"email\":\"%s\",\"password\":\"" OTHER "\"}", p.email);
    biz_code code = ask(&p, "POST", "/api/v1/auth/change-password", body, kind, n);
    int stopped_then = stopped;

    if (was_stopped(code)) {
        code = ask(&p, "POST", "/api/v1/auth/change-password", body, NOWHERE, 0);
        /* Changed already; this session goes on. */
        assert_true(code == BIZ_OK || code == BIZ_INVALID_CREDENTIALS);
    } else {
        assert_int_equal(code, BIZ_OK);
    }
    assert_int_equal(ask(&p, "POST", "/api/v1/auth/login", in, NOWHERE, 0), BIZ_OK);
    assert_int_equal(told(&p, NOTICE_PASSWORD_CHANGED), 1);
    assert_int_equal(
        audited(&p, "authn_password_change") - audited(&p, "authn_password_change_fail"), 1);
    stopped = stopped_then;
}

static void a_new_password_is_the_password(void **state)
{
    assert_true(at_every_place(new_password) > 10);
}

/* A sign-up for which a proof of work was asked. */
static const char *solved(person *p)
{
    char *text = apr_palloc(pool, BIZ_TOKEN_MAX);
    const char *challenge;
    int number = 0;

    assert_int_equal(ask(p, "GET", "/api/v1/auth/work", NULL, NOWHERE, 0), BIZ_OK);
    challenge = biz_json_str(p->answer, "challenge");
    do {
        snprintf(text, BIZ_TOKEN_MAX, "%s.%d", challenge, number++);
    } while (!work_is_done(text, WORK_BITS));
    return text;
}

static void sign_up(stop_kind kind, int n)
{
    static int number;
    person p = {.access = "none", .address = "192.0.2.7"};
    const char *email = apr_psprintf(pool, "new%d@example.com", ++number);
    const char *rest =
        apr_psprintf(pool, "\"email\":\"%s\",\"password\":\"" OTHER "\",\"name\":\"Ada\"}", email);
    const char *body = apr_psprintf(pool, "{\"work\":\"%s\",%s", solved(&p), rest);
    biz_code code = ask(&p, "POST", "/api/v1/auth/register", body, kind, n);
    int stopped_then = stopped;
    store_doc *user;

    if (was_stopped(code)) {
        code = ask(&p, "POST", "/api/v1/auth/register", body, NOWHERE, 0);
        /* The proof may be used up: the next one is good. */
        if (code == BIZ_WORK_REQUIRED)
            code = ask(&p, "POST", "/api/v1/auth/register",
                       apr_psprintf(pool, "{\"work\":\"%s\",%s", solved(&p), rest), NOWHERE, 0);
    }
    assert_int_equal(code, BIZ_OK);
    /* One proof, one sign-up. */
    assert_int_equal(ask(&p, "POST", "/api/v1/auth/register", body, NOWHERE, 0), BIZ_WORK_REQUIRED);
    assert_int_equal(account_find(env.store, pool, email, &user), 0);
    p.id = store_doc_id(user);
    assert_int_equal(audited(&p, "user_created"), 1);
    assert_int_equal(count(COLL_OUTBOX, NULL, OUTBOX_USER_ID, p.id, OUTBOX_KIND, OUTBOX_REGISTER),
                     1);
    stopped = stopped_then;
}

static void a_sign_up_behind_a_proof_of_work(void **state)
{
    settings.proof_of_work = BIZ_WORK_ON;
    assert_true(at_every_place(sign_up) > 8);
    settings.proof_of_work = BIZ_WORK_OFF;
}

static void belongs_to(store_coll_no coll, store_fid owner, const person *p)
{
    store_doc *doc = store_doc_new(pool, coll);

    store_set_str(doc, owner, p->id);
    put(doc);
}

static void deletion(stop_kind kind, int n)
{
    person admin = someone("admin"), p = someone("customer");
    const char *path = apr_pstrcat(pool, "/api/v1/admin/users/", p.id, NULL);
    int stopped_then;
    biz_code code;

    belongs_to(COLL_PASSKEYS, PASSKEY_USER_ID, &p);
    belongs_to(COLL_RECOVERY_CODES, RECOVERY_USER_ID, &p);
    belongs_to(COLL_RECOVERY_CODES, RECOVERY_USER_ID, &p);
    belongs_to(COLL_PUSH_DEVICES, PUSH_USER_ID, &p);
    code = ask(&admin, "DELETE", path, NULL, kind, n);
    stopped_then = stopped;
    if (was_stopped(code)) {
        code = ask(&admin, "DELETE", path, NULL, NOWHERE, 0);
        assert_true(code == BIZ_OK || code == BIZ_NOT_FOUND);
    } else {
        assert_int_equal(code, BIZ_OK);
    }
    assert_false(store_is_null(user_of(&p), USER_DELETED_AT));
    assert_null(strstr(store_str(user_of(&p), USER_EMAIL), "example.com"));
    assert_int_equal(count(COLL_PASSKEYS, "passkey_user", PASSKEY_USER_ID, p.id, 0, NULL), 0);
    assert_int_equal(count(COLL_RECOVERY_CODES, "recovery_user", RECOVERY_USER_ID, p.id, 0, NULL),
                     0);
    assert_int_equal(count(COLL_PUSH_DEVICES, "push_user", PUSH_USER_ID, p.id, 0, NULL), 0);
    assert_int_equal(count(COLL_SESSIONS, "sessions_user", SESSION_USER_ID, p.id, 0, NULL), 0);
    assert_int_equal(audited(&p, "user_deleted"), 1);
    stopped = stopped_then;
}

static void a_deleted_account_leaves_nothing(void **state)
{
    assert_true(at_every_place(deletion) > 20);
}

static void role(stop_kind kind, int n)
{
    person admin = someone("admin"), p = someone("customer");
    const char *path = apr_pstrcat(pool, "/api/v1/admin/users/", p.id, NULL);
    biz_code code = ask(&admin, "PATCH", path, "{\"role\":\"staff\"}", kind, n);
    int stopped_then = stopped;

    if (was_stopped(code))
        code = ask(&admin, "PATCH", path, "{\"role\":\"staff\"}", NOWHERE, 0);
    assert_int_equal(code, BIZ_OK);
    assert_string_equal(store_str(user_of(&p), USER_ROLE), "staff");
    assert_int_equal(audited(&p, "authz_change"), 1);
    assert_int_equal(told(&p, NOTICE_ROLE_CHANGED), 1);
    assert_int_equal(ask(&p, "GET", "/api/v1/auth/me", NULL, NOWHERE, 0), BIZ_TOKEN_REVOKED);
    stopped = stopped_then;
}

static void another_role_ends_the_sessions(void **state)
{
    assert_true(at_every_place(role) > 8);
}

static void quiet(biz_level level, apr_status_t status, const char *line)
{
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copied_token_ends_its_session_and_is_told_and_audited_once),
        cmocka_unit_test(a_renewal_gives_the_one_successor),
        cmocka_unit_test(a_sign_out_holds),
        cmocka_unit_test(a_session_is_not_lost_by_being_looked_at),
        cmocka_unit_test(a_sign_in_after_failures_is_told_and_locks_nobody_out),
        cmocka_unit_test(a_lock_holds_and_is_told_once),
        cmocka_unit_test(a_new_password_is_the_password),
        cmocka_unit_test(a_sign_up_behind_a_proof_of_work),
        cmocka_unit_test(a_deleted_account_leaves_nothing),
        cmocka_unit_test(another_role_ends_the_sessions)};
    int rc;

    apr_initialize();
    biz_json_init();
    biz_log_to(quiet);
    now = apr_time_now();
    rc = cmocka_run_group_tests_name("stops", tests, group_setup, group_teardown);
    return rc;
}
