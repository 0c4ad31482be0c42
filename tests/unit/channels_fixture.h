/* channels_fixture.h: an outbox whose SMS and push go to servers of the test's own. */
#ifndef BIZ_TEST_CHANNELS_FIXTURE_H
#define BIZ_TEST_CHANNELS_FIXTURE_H

#include "outbox_fixture.h"

#include <pthread.h>
#include <sys/stat.h>

#include "fake_http.h"
#include "core/locale.h"
#include "integrations/client.h"
#include "integrations/fcm.h"
#include "integrations/registry.h"
#include "outbox/consent.h"

#define NUMBER "+4930123456"

static fake_http twilio, google, fcm_server;
static biz_registry registry;
static firebase_account account;
static char pem[4096];

static inline const char *answer_of(const char *status, const char *headers, const char *body)
{
    return apr_psprintf(pool,
                        "HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: "
                        "%" APR_SIZE_T_FMT "\r\n\r\n%s",
                        status, headers, strlen(body), body);
}

static inline const char *server_url(const fake_http *f)
{
    return apr_psprintf(pool, "http://127.0.0.1:%d", f->port);
}

static inline void forget_requests(fake_http *f)
{
    f->requests = 0;
    f->last[0] = '\0';
    f->mode = FAKE_ANSWER;
}

static inline int channels_setup(void **state)
{
    if (outbox_setup(state))
        return 1;
    forget_requests(&twilio);
    forget_requests(&google);
    forget_requests(&fcm_server);
    twilio.answer = answer_of("201 Created", "", "{\"sid\":\"SM1\",\"status\":\"queued\"}");
    google.answer = answer_of("200 OK", "",
                              "{\"access_token\":\"ya29.x\",\"expires_in\":3599,"
                              "\"token_type\":\"Bearer\"}");
    fcm_server.answer = answer_of("200 OK", "", "{\"name\":\"projects/p1/messages/1\"}");
    settings->public_url = "https://api.example.com";
    apr_table_setn(settings->secrets, "TWILIO_ACCOUNT_SID", "AC1");
    apr_table_setn(settings->secrets, "TWILIO_AUTH_TOKEN", "twilio-secret");
    apr_table_setn(settings->secrets, "TWILIO_PHONE_NUMBER", "+15005550006");
    apr_table_setn(settings->provider_urls, "twilio", server_url(&twilio));
    apr_table_setn(settings->provider_urls, "firebase", server_url(&fcm_server));
    account.project_id = "p1";
    account.client_email = "a@p1.iam.gserviceaccount.com";
    account.private_key = pem;
    account.private_key_id = "k1";
    account.token_uri = server_url(&google);
    memset(&registry, 0, sizeof(registry));
    registry.configured[integration_named("twilio")] = SERVICE_OK;
    registry.firebase = &account;
    env.registry = &registry;
    env.clients = clients_new(pool, settings, account.token_uri, NULL);
    return 0;
}

#define CHANNELS_TEST(name) cmocka_unit_test_setup_teardown(name, channels_setup, outbox_teardown)

static inline const char *put_text(const char *channel, const char *recipient, const char *user_id)
{
    outbox_message m = {.channel = channel,
                        .kind = OUTBOX_TEXT,
                        .recipient = recipient,
                        .user_id = user_id,
                        .data = biz_json_object(pool)};
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_CHANNEL, channel)};
    store_query query = {.coll = COLL_OUTBOX, .conds = conds, .n_conds = 1, .descending = 1};
    store_doc *row;

    biz_json_set_str(m.data, "text", "Your appointment\nis at 10:00 {{name}} %s & \U0001f600");
    biz_json_set_str(m.data, "title", "Tomorrow");
    biz_json_set_str(m.data, "link", "https://portal.example.com/b");
    apr_sleep(apr_time_from_msec(2)); /* ids have an order from one millisecond to the next */
    assert_ok(outbox_add(st, pool, &m));
    assert_ok(store_find_one(st, pool, &query, &row));
    return store_doc_id(row);
}

static inline void agree(const char *number)
{
    assert_ok(consent_say(st, pool, OUTBOX_SMS, number, NULL, CONSENT_GIVEN, "portal", NULL));
}

static inline const char *said(const char *channel, const char *address)
{
    store_doc *doc;

    assert_ok(consent_find(st, pool, channel, address, &doc));
    return apr_pstrcat(pool, store_str(doc, CONSENT_STATE), " ", store_str(doc, CONSENT_SOURCE),
                       NULL);
}

static inline int seconds_to_go(const char *id)
{
    return (int)apr_time_sec(store_time(row_of(id), OUTBOX_DUE_AT) - apr_time_now());
}

/* Once a program, before its tests. */
static inline void channels_start(void)
{
    FILE *out;

    outbox_start();
    out = popen("openssl genrsa 2048 2>/dev/null", "r");
    pem[fread(pem, 1, sizeof(pem) - 1, out)] = '\0';
    pclose(out);
    fake_start(&twilio);
    fake_start(&google);
    fake_start(&fcm_server);
}

/* After the last of them. */
static inline int channels_stop(void **state)
{
    fake_stop(&twilio);
    fake_stop(&google);
    fake_stop(&fcm_server);
    return 0;
}

#endif
