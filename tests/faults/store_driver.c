/* store_driver.c: the store as a program, for the fault tests, which break the store meanwhile.
 *
 *     store_driver URL        reads commands from stdin, answers each with one line on stdout
 *
 * One command, then "ANSWER MILLISECONDS [VALUE]":
 *     ping | count COLL | migrate | check
 *     insert EMAIL | chosen ID TEXT | get ID | update ID FROM TO | delete ID
 *     queue KEY | claim LEASE | counter NAME [DELTA] | sweep
 *     reset TOKEN | used ID (a password reset token, and its use) | session SECONDS (its expiry)
 * and "load KIND THREADS MILLISECONDS NAME", many threads for a while, which answers with one line
 * "did KIND ANSWER MILLISECONDS AT KEY [VALUE]" for each call, AT being milliseconds since the
 * start of the load, then "done". Log lines appear as "log LEVEL TEXT". */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <apr_general.h>
#include <apr_strings.h>
#include "core/log.h"
#include "core/random.h"
#include "store/store.h"

static store *st;
static pthread_mutex_t out = PTHREAD_MUTEX_INITIALIZER;

static const char *answer_of(apr_status_t rv)
{
    static const struct {
        apr_status_t rv;
        const char *name;
    } names[] = {{APR_SUCCESS, "ok"},       {STORE_ENOENT, "enoent"},     {STORE_EEXIST, "eexist"},
                 {STORE_ECOND, "econd"},    {STORE_EUNAVAIL, "eunavail"}, {STORE_EINVAL, "einval"},
                 {STORE_ESCHEMA, "eschema"}};

    for (size_t i = 0; i < STORE_COUNT_OF(names); i++) {
        if (names[i].rv == rv) {
            return names[i].name;
        }
    }
    return "strange";
}

static void on_line(biz_level level, apr_status_t status, const char *line)
{
    (void)status;
    pthread_mutex_lock(&out);
    printf("log %d %s\n", (int)level, line);
    fflush(stdout);
    pthread_mutex_unlock(&out);
}

/* ---- the commands ---- */

typedef struct {
    const char *args[3];
    const char *value; /* shown behind the answer */
    apr_pool_t *pool;
} command;

static apr_status_t do_ping(command *c)
{
    return store_ping(st, c->pool);
}

static apr_status_t do_migrate(command *c)
{
    return store_migrate(st, c->pool);
}

static apr_status_t do_check(command *c)
{
    return store_check(st, c->pool, &c->value);
}

static apr_status_t do_count(command *c)
{
    const store_coll *coll = store_coll_by_name(c->args[0]);
    int64_t n = 0;
    apr_status_t rv = coll ? store_count(st, c->pool, coll->no, &n) : STORE_EINVAL;

    c->value = apr_psprintf(c->pool, "%ld", (long)n);
    return rv;
}

static apr_status_t do_insert(command *c)
{
    store_doc *doc = store_doc_new(c->pool, COLL_USERS);
    const char *index = NULL;
    apr_status_t rv;

    store_set_str(doc, USER_EMAIL, c->args[0]);
    store_set_bool(doc, USER_EMAIL_VERIFIED, 0);
    rv = store_insert(st, c->pool, doc, &index);
    c->value = rv == STORE_EEXIST ? index : store_doc_id(doc);
    return rv;
}

static apr_status_t do_chosen(command *c)
{
    store_doc *doc = store_doc_new(c->pool, COLL_IDEMPOTENCY);

    store_doc_set_id(doc, c->args[0]);
    store_set_str(doc, IDEM_STATE, c->args[1]);
    return store_insert(st, c->pool, doc, &c->value);
}

static apr_status_t do_get(command *c)
{
    store_doc *doc;
    apr_status_t rv = store_get(st, c->pool, COLL_USERS, c->args[0], &doc);

    c->value = rv == APR_SUCCESS ? store_str(doc, USER_EMAIL) : "";
    return rv;
}

static apr_status_t do_update(command *c)
{
    store_cond conds[] = {STORE_EQ_STR(USER_NAME, *c->args[1] == '-' ? NULL : c->args[1])};
    store_change changes[] = {STORE_SET_STR(USER_NAME, c->args[2])};
    store_doc *after;
    apr_status_t rv =
        store_update(st, c->pool, COLL_USERS, c->args[0], conds, 1, changes, 1, &after);

    c->value =
        rv == APR_SUCCESS ? apr_psprintf(c->pool, "%ld", (long)store_doc_version(after)) : "";
    return rv;
}

static apr_status_t do_delete(command *c)
{
    return store_delete(st, c->pool, COLL_USERS, c->args[0], NULL, 0);
}

static apr_status_t do_queue(command *c)
{
    store_doc *doc = store_doc_new(c->pool, COLL_OUTBOX);

    store_set_str(doc, OUTBOX_STATE, "queued");
    store_set_time(doc, OUTBOX_DUE_AT, apr_time_now());
    store_set_str(doc, OUTBOX_UNIQUE_KEY, c->args[0]);
    c->value = store_doc_id(doc);
    return store_insert(st, c->pool, doc, NULL);
}

static apr_status_t do_claim(command *c)
{
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, "queued"),
                          STORE_LE_TIME(OUTBOX_DUE_AT, apr_time_now())};
    store_query query = {.coll = COLL_OUTBOX, .index = "outbox_due", .conds = conds, .n_conds = 2};
    store_change changes[] = {STORE_SET_STR(OUTBOX_STATE, "sent"),
                              STORE_SET_STR(OUTBOX_LEASE, c->args[0]),
                              STORE_INC_INT(OUTBOX_TRIES, 1)};
    store_doc *after;
    apr_status_t rv = store_claim(st, c->pool, &query, changes, 3, &after);

    c->value = rv == APR_SUCCESS ? store_doc_id(after) : "";
    return rv;
}

static apr_status_t do_counter(command *c)
{
    int64_t n, delta = strtoll(c->args[1], NULL, 10);
    apr_status_t rv = store_counter(st, c->pool, c->args[0], delta != 0 ? delta : 1, &n);

    c->value = apr_psprintf(c->pool, "%ld", (long)n);
    return rv;
}

static apr_status_t do_reset(command *c)
{
    store_doc *doc = store_doc_new(c->pool, COLL_RESET_TOKENS);

    store_set_str(doc, RESET_TOKEN, c->args[0]);
    store_set_str(doc, RESET_USER_ID, "usr_1");
    store_set_str(doc, RESET_EMAIL, "a@b.test");
    store_set_time(doc, RESET_EXPIRES_AT, apr_time_now() + apr_time_from_sec(900));
    store_set_bool(doc, RESET_USED, 0);
    c->value = store_doc_id(doc);
    return store_insert(st, c->pool, doc, NULL);
}

static apr_status_t do_used(command *c)
{
    store_cond conds[] = {STORE_EQ_BOOL(RESET_USED, 0),
                          STORE_GT_TIME(RESET_EXPIRES_AT, apr_time_now())};
    store_change changes[] = {STORE_SET_BOOL(RESET_USED, 1),
                              STORE_SET_TIME(RESET_USED_AT, apr_time_now())};

    return store_update(st, c->pool, COLL_RESET_TOKENS, c->args[0], conds, 2, changes, 2, NULL);
}

static apr_status_t do_session(command *c)
{
    store_doc *doc = store_doc_new(c->pool, COLL_SESSIONS);
    long seconds = strtol(c->args[0], NULL, 10);

    store_set_str(doc, SESSION_USER_ID, "usr_1");
    store_set_time(doc, SESSION_EXPIRES_AT, apr_time_now() + seconds * APR_USEC_PER_SEC);
    c->value = store_doc_id(doc);
    return store_insert(st, c->pool, doc, NULL);
}

static apr_status_t do_sweep(command *c)
{
    int removed;
    apr_status_t rv = store_sweep(st, c->pool, apr_time_now(), 1000, &removed);

    c->value = apr_psprintf(c->pool, "%d", removed);
    return rv;
}

static const struct {
    const char *name;
    apr_status_t (*run)(command *c);
} commands[] = {
    {"ping", do_ping},     {"migrate", do_migrate}, {"check", do_check}, {"count", do_count},
    {"insert", do_insert}, {"chosen", do_chosen},   {"get", do_get},     {"update", do_update},
    {"delete", do_delete}, {"queue", do_queue},     {"claim", do_claim}, {"counter", do_counter},
    {"sweep", do_sweep},   {"reset", do_reset},     {"used", do_used},   {"session", do_session}};

static apr_status_t run(const char *name, command *c)
{
    for (size_t i = 0; i < STORE_COUNT_OF(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return commands[i].run(c);
        }
    }
    return STORE_EINVAL;
}

static double ms_since(apr_time_t begin)
{
    return (double)(apr_time_now() - begin) / 1000.0;
}

/* ---- many at once ---- */

typedef struct {
    const char *kind, *name;
    apr_time_t begin, end;
    pthread_t thread;
} worker;

static void *work(void *data)
{
    worker *w = data;
    apr_pool_t *pool;

    apr_pool_create(&pool, NULL);
    while (apr_time_now() < w->end) {
        command c = {.value = "", .pool = pool};
        apr_time_t begin = apr_time_now();
        double took;
        apr_status_t rv;

        /* The counter is one for all; the others need a key of their own. */
        c.args[0] = strcmp(w->kind, "counter") == 0
                        ? w->name
                        : apr_psprintf(pool, "%s-%s", w->name, biz_random_token(pool));
        c.args[1] = "x";
        rv = run(w->kind, &c);
        took = ms_since(begin);
        pthread_mutex_lock(&out);
        printf("did %s %s %.1f %.0f %s %s\n", w->kind, answer_of(rv), took,
               (double)(begin - w->begin) / 1000.0, c.args[0], c.value ? c.value : "");
        fflush(stdout);
        pthread_mutex_unlock(&out);
        if (rv != APR_SUCCESS || strcmp(w->kind, "queue") == 0) {
            apr_sleep(5000); /* no more to claim than the test's server likes */
        }
        apr_pool_clear(pool);
    }
    apr_pool_destroy(pool);
    return NULL;
}

static void load(const char *kind, int threads, int milliseconds, const char *name)
{
    worker *workers = calloc((size_t)threads, sizeof(*workers));
    apr_time_t now = apr_time_now();

    for (int i = 0; i < threads; i++) {
        workers[i] = (worker){kind, name, now, now + milliseconds * 1000L, 0};
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    free(workers);
    printf("done\n");
}

int main(int argc, char **argv)
{
    apr_pool_t *life, *pool;
    const char *why;
    char line[1024];

    apr_initialize();
    apr_pool_create(&life, NULL);
    apr_pool_create(&pool, life);
    biz_log_to(on_line);
    if (argc != 2 || store_open(&st, argv[1], NULL, life, &why) != APR_SUCCESS) {
        fprintf(stderr, "store_driver: %s\n", argc == 2 ? why : "URL");
        return 1;
    }
    while (fgets(line, sizeof(line), stdin)) {
        char *rest = line, *name = apr_strtok(line, " \n", &rest);
        command c = {.args = {"", "", ""}, .value = "", .pool = pool};
        apr_time_t begin = apr_time_now();
        const char *word;
        apr_status_t rv;

        for (int i = 0; name && i < 3 && (word = apr_strtok(NULL, " \n", &rest)) != NULL; i++) {
            c.args[i] = word;
        }
        if (name && strcmp(name, "load") == 0) {
            word = apr_strtok(NULL, " \n", &rest);
            load(c.args[0], (int)strtol(c.args[1], NULL, 10), (int)strtol(c.args[2], NULL, 10),
                 word ? word : "x");
        } else if (name) {
            double took;

            rv = run(name, &c);
            took = ms_since(begin);
            pthread_mutex_lock(&out);
            printf("%s %.1f %s\n", answer_of(rv), took, c.value ? c.value : "");
            pthread_mutex_unlock(&out);
        }
        fflush(stdout);
        apr_pool_clear(pool);
    }
    apr_pool_destroy(life);
    return 0;
}
