/* test_outbox_kill.c: workers that are killed at any moment, and workers that work at once: no row
 * lost, no mail twice. Runs in the repository's root. */
#include "outbox_fixture.h"

#include <pthread.h>
#include <time.h>

enum { USERS = 500 };

/* Two rows for each of many users; their ids. */
static const char **many_rows(void)
{
    const char **ids = apr_palloc(pool, 2 * USERS * sizeof(*ids));
    char address[64];

    for (int i = 0; i < USERS; i++) {
        const char *user;

        snprintf(address, sizeof(address), "user%d@example.net", i);
        user = add_user(address);
        ids[2 * i] = put_row(OUTBOX_FORGOT, apr_pstrdup(pool, address), NULL);
        ids[2 * i + 1] = put_row(OUTBOX_REGISTER, apr_pstrdup(pool, address), user);
    }
    return ids;
}

static int queued(void)
{
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, "queued")};
    store_query query = {
        .coll = COLL_OUTBOX, .index = "outbox_due", .conds = conds, .n_conds = 1, .limit = 1000};
    apr_array_header_t *rows;

    assert_ok(store_find(st, pool, &query, &rows, NULL));
    return rows->nelts;
}

/* Leases end. A row that happened to be held by ten killed workers would be given up: not here. */
static void leases_end(void)
{
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_STATE, "queued")};
    store_query query = {
        .coll = COLL_OUTBOX, .index = "outbox_due", .conds = conds, .n_conds = 1, .limit = 1000};
    store_change changes[] = {STORE_SET_TIME(OUTBOX_DUE_AT, apr_time_now()),
                              STORE_SET_INT(OUTBOX_TRIES, 0)};
    int changed;

    assert_ok(store_update_each(st, pool, &query, changes, 2, &changed));
}

/* Each row is sent, by one mail, whose token is the one and only that is stored for the row. */
static void check_all(const char *const *ids)
{
    assert_int_equal(mails(), 2 * USERS);
    for (int i = 0; i < 2 * USERS; i++) {
        int reset = i % 2 == 0;
        const char *mail = mail_of(ids[i]), *token;

        if (!mail || strcmp(state_of(ids[i]), "sent") != 0)
            fail_msg("%s is %s, mail: %s", ids[i], state_of(ids[i]), mail ? "yes" : "no");
        token = token_in(mail, reset ? "/reset-password.html" : "/verify-email.html");
        assert_non_null(token_doc(reset ? COLL_RESET_TOKENS : COLL_VERIFY_TOKENS, token));
        assert_true(store_is_null(row_of(ids[i]), OUTBOX_SEALED));
    }
    assert_int_equal(count(COLL_RESET_TOKENS), USERS);
    assert_int_equal(count(COLL_VERIFY_TOKENS), USERS);
}

static const char *program;

/* A process of its own, as a server's child is: works until it is killed. */
static int be_a_worker(const char *at)
{
    static const atomic_int stopping = 0;
    const char *why = "";
    apr_status_t status;
    int worked;
    outbox *o;

    apr_pool_create(&pool, NULL);
    snprintf(folder, sizeof(folder), "%s", at);
    set_up_business();
    st = open_store();
    templates = mail_templates_load(pool, "conf/mail", NULL, &why);
    o = worker(NULL);
    for (;;) {
        status = outbox_work(o, pool, &stopping, &worked);
        if (status != APR_SUCCESS)
            fprintf(stderr, "%s\n", store_strerror(pool, status));
        if (worked == 0)
            usleep(1000);
    }
    return 0;
}

static void killed_workers_lose_and_double_nothing(void **state)
{
    const char **ids = many_rows();
    unsigned seed = (unsigned)time(NULL);
    int rounds = 0, killed_at_work = 0, left;

    print_message("seed %u\n", seed);
    while ((left = queued()) > 0) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
            execl(program, program, "worker", folder, (char *)NULL);
            _exit(127);
        }
        /* At first so soon that many die while they start or hold a row, then later, and so little
         * later each time that many die at work, however long a start takes. */
        usleep(PATIENCE * (useconds_t)(2000 + rand_r(&seed) % (40000 + 50 * rounds * rounds)));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        killed_at_work += queued() < left;
        leases_end();
        assert_true(++rounds < 1000);
    }
    print_message("%d workers killed, %d of them after they had sent something\n", rounds,
                  killed_at_work);
    assert_true(killed_at_work > 3);
    check_all(ids);
}

typedef struct {
    pthread_t thread;
    apr_pool_t *pool;
    outbox *o;
    int worked;
} at_once;

static void *work_at_once(void *context)
{
    static const atomic_int stopping = 0;
    at_once *w = context;
    int worked;

    while (outbox_work(w->o, w->pool, &stopping, &worked) == APR_SUCCESS && worked > 0)
        w->worked += worked;
    return NULL;
}

static void two_workers_share_the_rows(void **state)
{
    const char **ids = many_rows();
    at_once workers[2];
    int worked = 0;

    for (int i = 0; i < 2; i++) {
        workers[i].o = worker(NULL);
        workers[i].worked = 0;
        apr_pool_create(&workers[i].pool, NULL);
    }
    for (int i = 0; i < 2; i++)
        pthread_create(&workers[i].thread, NULL, work_at_once, &workers[i]);
    for (int i = 0; i < 2; i++) {
        pthread_join(workers[i].thread, NULL);
        apr_pool_destroy(workers[i].pool);
        worked += workers[i].worked;
        assert_true(workers[i].worked > 0);
    }
    assert_int_equal(worked, 2 * USERS);
    for (int i = 0; i < 2 * USERS; i++)
        assert_int_equal(store_int(row_of(ids[i]), OUTBOX_TRIES), 1);
    check_all(ids);
}

/* A worker that was away for longer than its lease finds the row in other hands. */
static void a_late_worker_does_not_settle(void **state)
{
    const char *argv[] = {"python3", "tests/lib/smtpd.py", path_of("journal"), NULL}, *id;
    child server = child_start(argv, "");
    store_change steal[] = {STORE_SET_STR(OUTBOX_LEASE, "somebody else")};
    at_once slow = {.o = worker(apr_psprintf(pool, "smtp://127.0.0.1:%d", server.port))};

    add_user("hang@example.net"); /* the server never answers */
    id = put_row(OUTBOX_FORGOT, "hang@example.net", NULL);
    apr_pool_create(&slow.pool, NULL);
    pthread_create(&slow.thread, NULL, work_at_once, &slow);
    while (store_is_null(row_of(id), OUTBOX_SEALED))
        usleep(1000);
    assert_ok(store_update(st, pool, COLL_OUTBOX, id, NULL, 0, steal, 1, NULL));
    child_stop(&server); /* the slow one gets its failure now */
    pthread_join(slow.thread, NULL);
    apr_pool_destroy(slow.pool);
    assert_string_equal(store_str(row_of(id), OUTBOX_LEASE), "somebody else");
    assert_string_equal(state_of(id), "queued");
    assert_true(store_is_null(row_of(id), OUTBOX_LAST_ERROR));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        OUTBOX_TEST(killed_workers_lose_and_double_nothing),
        OUTBOX_TEST(two_workers_share_the_rows),
        OUTBOX_TEST(a_late_worker_does_not_settle),
    };

    outbox_start();
    if (argc == 3)
        return be_a_worker(argv[2]);
    program = argv[0];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
