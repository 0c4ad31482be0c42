/* test_channels_push.c: rows that are read aloud and that leave by push, against servers that
 * answer as ElevenLabs and Firebase do, and as they do on bad days. Runs in the repository's root.
 */
#include "channels_fixture.h"

/* ---- voice ---- */

static void a_text_is_read_aloud_once(void **state)
{
    const char *user = add_user("ann@example.net"), *id;
    outbox *o;

    registry.configured[INTEGRATION_ELEVENLABS] = SERVICE_OK;
    settings->state_dir = folder;
    assert_int_equal(mkdir(path_of("voice"), 0700), 0);
    apr_table_setn(settings->secrets, "ELEVENLABS_API_KEY", "xi-secret");
    apr_table_setn(settings->provider_urls, "elevenlabs", server_url(&twilio));
    env.clients = clients_new(pool, settings, account.token_uri, NULL);
    twilio.answer = "HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 4\r\n\r\nabcd";
    o = worker(NULL);
    id = put_text(OUTBOX_VOICE, NULL, user);
    assert_int_equal(work(o), 1);
    assert_string_equal(state_of(id), "dropped"); /* the user has not agreed */
    assert_ok(consent_say(st, pool, OUTBOX_VOICE, user, user, CONSENT_GIVEN, "portal", NULL));
    for (int i = 0; i < 3; i++) {
        id = put_text(OUTBOX_VOICE, NULL, i ? NULL : user);
        assert_int_equal(work(o), 1);
        assert_string_equal(state_of(id), "sent");
    }
    assert_int_equal(twilio.requests, 1);
    assert_non_null(strstr(twilio.last, "POST /v1/text-to-speech/"));
    assert_string_equal(log_text, "");
}

static void a_voice_that_has_no_room_waits(void **state)
{
    const char *id;

    registry.configured[INTEGRATION_ELEVENLABS] = SERVICE_OK;
    settings->state_dir = folder;
    apr_table_setn(settings->secrets, "ELEVENLABS_API_KEY", "xi-secret");
    apr_table_setn(settings->provider_urls, "elevenlabs", server_url(&twilio));
    env.clients = clients_new(pool, settings, account.token_uri, NULL);
    twilio.answer = answer_of("401 Unauthorized", "",
                              "{\"detail\":{\"status\":\"quota_exceeded\",\"message\":\"x\"}}");
    id = put_text(OUTBOX_VOICE, NULL, NULL);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "queued");
    assert_int_equal(store_int(row_of(id), OUTBOX_TRIES), 0);
    assert_true(seconds_to_go(id) > 50);
    registry.configured[INTEGRATION_ELEVENLABS] = SERVICE_UNCONFIGURED;
    make_due();
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "skipped");
}

static void a_voice_that_fails_is_given_up_in_the_end(void **state)
{
    store_change nine[] = {STORE_SET_INT(OUTBOX_TRIES, OUTBOX_MAX_TRIES - 1)};
    const char *id;

    registry.configured[INTEGRATION_ELEVENLABS] = SERVICE_OK;
    settings->state_dir = folder;
    apr_table_setn(settings->secrets, "ELEVENLABS_API_KEY", "xi-secret");
    apr_table_setn(settings->provider_urls, "elevenlabs", server_url(&twilio));
    env.clients = clients_new(pool, settings, account.token_uri, NULL);
    twilio.answer = answer_of("500 X", "", "{}");
    id = put_text(OUTBOX_VOICE, NULL, NULL);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "queued");
    assert_int_equal(store_int(row_of(id), OUTBOX_TRIES), 1);
    assert_ok(store_update(st, pool, COLL_OUTBOX, id, NULL, 0, nine, 1, NULL));
    make_due();
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "dead");
}

/* ---- push ---- */

static const char *add_device(const char *user, const char *token)
{
    store_doc *device = store_doc_new(pool, COLL_PUSH_DEVICES);

    store_set_str(device, PUSH_USER_ID, user);
    store_set_str(device, PUSH_TOKEN, token);
    store_set_str(device, PUSH_PLATFORM, "web");
    assert_ok(store_insert(st, pool, device, NULL));
    return store_doc_id(device);
}

/* Until nothing is due; how many rows that were. */
static int work_all(outbox *o)
{
    int all = 0, n;

    while ((n = work(o)) > 0)
        all += n;
    return all;
}

static void each_device_gets_it_once(void **state)
{
    const char *user = add_user("ann@example.net"), *id;
    outbox *o = worker(NULL);

    add_device(user, "device-one");
    add_device(user, "device-two");
    add_device(add_user("bob@example.net"), "device-of-another");
    id = put_text(OUTBOX_PUSH, NULL, user);
    assert_int_equal(work_all(o), 3);
    assert_string_equal(state_of(id), "dropped");
    assert_string_equal(store_str(row_of(id), OUTBOX_LAST_ERROR), "handed on to 2 devices");
    assert_int_equal(fcm_server.requests, 2);
    assert_int_equal(google.requests, 1);
    assert_non_null(strstr(fcm_server.last, "POST /v1/projects/p1/messages:send HTTP/1.1"));
    assert_non_null(strstr(fcm_server.last, "\r\nAuthorization: Bearer ya29.x\r\n"));
    assert_non_null(strstr(fcm_server.last, "\"title\":\"Tomorrow\""));
    assert_non_null(strstr(fcm_server.last, "\"link\":\"https://portal.example.com/b\""));
    assert_non_null(strstr(fcm_server.last, "\"TTL\":\"86400\""));
    assert_null(strstr(fcm_server.last, "device-of-another"));
    /* As if the worker had been killed before it could note that the row was handed on. */
    assert_ok(outbox_retry(st, pool, id));
    assert_int_equal(work_all(o), 1);
    assert_int_equal(fcm_server.requests, 2);
    assert_string_equal(log_text, "");
}

static void whoever_wants_no_push_gets_none(void **state)
{
    const char *user = add_user("ann@example.net"), *id;

    add_device(user, "device-one");
    assert_ok(consent_say(st, pool, OUTBOX_PUSH, user, user, CONSENT_WITHDRAWN, "portal", NULL));
    id = put_text(OUTBOX_PUSH, NULL, user);
    assert_int_equal(work_all(worker(NULL)), 1);
    assert_string_equal(store_str(row_of(id), OUTBOX_LAST_ERROR),
                        "its reader has not agreed to it");
    assert_int_equal(fcm_server.requests, 0);
}

static void devices_that_are_gone_are_forgotten(void **state)
{
    static const struct {
        const char *status, *body;
        int forgotten;
    } cases[] = {
        {"404 Not Found",
         "{\"error\":{\"code\":404,\"status\":\"NOT_FOUND\",\"details\":[{\"@type\":"
         "\"type.googleapis.com/google.firebase.fcm.v1.FcmError\",\"errorCode\":"
         "\"UNREGISTERED\"}]}}",
         1},
        {"403 Forbidden",
         "{\"error\":{\"code\":403,\"status\":\"PERMISSION_DENIED\",\"details\":[{\"@type\":"
         "\"type.googleapis.com/google.firebase.fcm.v1.FcmError\",\"errorCode\":"
         "\"SENDER_ID_MISMATCH\"}]}}",
         1},
        {"400 Bad Request",
         "{\"error\":{\"code\":400,\"status\":\"INVALID_ARGUMENT\",\"details\":[{\"@type\":"
         "\"type.googleapis.com/google.firebase.fcm.v1.FcmError\",\"errorCode\":"
         "\"INVALID_ARGUMENT\"}]}}",
         1},
        {"400 Bad Request",
         "{\"error\":{\"code\":400,\"status\":\"INVALID_ARGUMENT\",\"details\":[{\"@type\":"
         "\"type.googleapis.com/google.rpc.BadRequest\",\"fieldViolations\":[{\"field\":"
         "\"message.data\",\"description\":\"x\"}]}]}}",
         0},
        {"404 Not Found", "{\"error\":{\"code\":404,\"status\":\"NOT_FOUND\"}}", 0}};
    const char *user = add_user("ann@example.net");

    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *device = add_device(user, apr_psprintf(pool, "device-%d", (int)i)), *id;
        store_doc *doc;

        fcm_server.answer = answer_of(cases[i].status, "", cases[i].body);
        id = put_text(OUTBOX_PUSH, device, user);
        assert_int_equal(work(worker(NULL)), 1);
        assert_string_equal(state_of(id), cases[i].forgotten ? "dropped" : "dead");
        assert_int_equal(store_get(st, pool, COLL_PUSH_DEVICES, device, &doc),
                         cases[i].forgotten ? STORE_ENOENT : APR_SUCCESS);
        /* There is nothing more to send to. */
        if (cases[i].forgotten) {
            id = put_text(OUTBOX_PUSH, device, user);
            assert_int_equal(work(worker(NULL)), 1);
            assert_string_equal(state_of(id), "dropped");
        }
    }
    assert_int_equal(fcm_server.requests, COUNT(cases));
}

/* A browser's own service that refuses the project is no refusal of our key. */
static void one_device_without_its_own_key_stops_no_other(void **state)
{
    const char *user = add_user("ann@example.net"), *device = add_device(user, "device"), *id;
    outbox *o = worker(NULL);

    fcm_server.answer =
        answer_of("401 Unauthorized", "",
                  "{\"error\":{\"code\":401,\"status\":\"UNAUTHENTICATED\",\"details\":[{\"@type\":"
                  "\"type.googleapis.com/google.firebase.fcm.v1.FcmError\",\"errorCode\":"
                  "\"THIRD_PARTY_AUTH_ERROR\"}]}}");
    id = put_text(OUTBOX_PUSH, device, user);
    assert_int_equal(work(o), 1);
    assert_string_equal(state_of(id), "dead");
    assert_int_equal(fcm_server.requests, 1);
    fcm_server.answer = answer_of("200 OK", "", "{\"name\":\"projects/p1/messages/1\"}");
    id = put_text(OUTBOX_PUSH, device, user);
    assert_int_equal(work(o), 1);
    assert_string_equal(state_of(id), "sent");
}

static void a_device_that_changed_hands_gets_nothing_of_its_old_owner(void **state)
{
    const char *old = add_user("ann@example.net"), *device = add_device(old, "device"), *id;
    const char *other = add_user("bob@example.net");
    store_change take[] = {STORE_SET_STR(PUSH_USER_ID, other)};

    id = put_text(OUTBOX_PUSH, device, old);
    assert_ok(store_update(st, pool, COLL_PUSH_DEVICES, device, NULL, 0, take, 1, NULL));
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "dropped");
    assert_int_equal(fcm_server.requests, 0);
}

static void a_token_that_cannot_be_had_is_said_in_words(void **state)
{
    const char *user = add_user("ann@example.net"), *device = add_device(user, "device"), *id;

    google.answer =
        answer_of("400 Bad Request", "",
                  "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid JWT\"}");
    id = put_text(OUTBOX_PUSH, device, user);
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "queued");
    assert_int_equal(fcm_server.requests, 0);
    assert_non_null(strstr(log_text, "the clock of this machine is off"));
    account.private_key = "no key";
    make_due();
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(store_str(row_of(id), OUTBOX_LAST_ERROR),
                        "the private_key of FIREBASE_CREDENTIALS_PATH is no RSA key");
}

static void without_firebase_nothing_is_said(void **state)
{
    const char *id;

    registry.firebase = NULL;
    id = put_text(OUTBOX_PUSH, NULL, add_user("ann@example.net"));
    assert_int_equal(work(worker(NULL)), 1);
    assert_string_equal(state_of(id), "skipped");
    assert_string_equal(log_text, "");
}

enum { AT_ONCE = 20 };
static pthread_barrier_t start;

static void *send_one(void *context)
{
    static const fcm_message message = {
        .token = "t", .id = "obx_1", .title = "a", .text = "b", .seconds = 60};
    client_answer answer;
    const char *name;
    apr_pool_t *own;
    long sent;

    apr_pool_create(&own, NULL);
    pthread_barrier_wait(&start);
    sent = fcm_send(context, own, &message, &answer, &name) == FCM_SENT;
    apr_pool_destroy(own);
    return (void *)sent;
}

static void twenty_at_once_ask_for_one_token(void **state)
{
    fcm *f = fcm_new(pool, &env);
    pthread_t threads[AT_ONCE];
    void *sent;
    int all = 0;

    pthread_barrier_init(&start, NULL, AT_ONCE);
    for (int i = 0; i < AT_ONCE; i++)
        pthread_create(&threads[i], NULL, send_one, f);
    for (int i = 0; i < AT_ONCE; i++) {
        pthread_join(threads[i], &sent);
        all += (int)(long)sent;
    }
    assert_int_equal(all, AT_ONCE);
    assert_int_equal(google.requests, 1);
    assert_int_equal(fcm_server.requests, AT_ONCE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CHANNELS_TEST(a_text_is_read_aloud_once),
        CHANNELS_TEST(a_voice_that_has_no_room_waits),
        CHANNELS_TEST(a_voice_that_fails_is_given_up_in_the_end),
        CHANNELS_TEST(each_device_gets_it_once),
        CHANNELS_TEST(whoever_wants_no_push_gets_none),
        CHANNELS_TEST(devices_that_are_gone_are_forgotten),
        CHANNELS_TEST(one_device_without_its_own_key_stops_no_other),
        CHANNELS_TEST(a_device_that_changed_hands_gets_nothing_of_its_old_owner),
        CHANNELS_TEST(a_token_that_cannot_be_had_is_said_in_words),
        CHANNELS_TEST(without_firebase_nothing_is_said),
        CHANNELS_TEST(twenty_at_once_ask_for_one_token),
    };

    channels_start();
    return cmocka_run_group_tests(tests, NULL, channels_stop);
}
