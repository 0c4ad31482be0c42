/* mails.c: what the business's mails look like, for its admins: the list, a preview with made-up
 * data, and one of them to an address. Sends nothing itself. */
#include "admin.h"

#include <string.h>

#include <apr_strings.h>

#include "core/valid.h"
#include "mail/render.h"
#include "outbox/outbox.h"

enum { VALUE_CHARS = 2000, SAMPLES_AN_HOUR = 20 /* to one address */ };

static int is_one_of(const mail_templates *templates, const char *name)
{
    const apr_array_header_t *names = mail_template_names(templates);
    int i;

    for (i = 0; i < names->nelts; i++) {
        if (!strcmp(APR_ARRAY_IDX(names, i, const char *), name))
            return 1;
    }
    return 0;
}

static biz_json *mail_json(biz_req *req, const char *name)
{
    biz_json *json = biz_json_object(req->pool);

    biz_json_set_str(json, "name", name);
    biz_json_set_str(json, "description", mail_sample_about(name));
    biz_json_set_bool(json, "overridden",
                      mail_template_is_own(req->pool, req->env->templates, name));
    return json;
}

biz_code admin_mails(biz_req *req, biz_reply *reply)
{
    const apr_array_header_t *names = mail_template_names(req->env->templates);
    biz_json *list = biz_json_array(req->pool);
    const char *after, *name = NULL;
    int limit, i;

    if (biz_page_of(req, reply, &limit, &after) != BIZ_OK)
        return reply->code;
    for (i = 0; i < names->nelts; i++) {
        if (after != NULL && strcmp(APR_ARRAY_IDX(names, i, const char *), after) <= 0)
            continue;
        if (biz_json_size(list) == (size_t)limit) {
            reply->next_cursor = name;
            break;
        }
        name = APR_ARRAY_IDX(names, i, const char *);
        biz_json_add(list, mail_json(req, name));
    }
    reply->data = list;
    return BIZ_OK;
}

/* What `data` puts in place of the made-up values: name -> text. */
static biz_code replacements(biz_req *req, biz_reply *reply, const apr_table_t **out)
{
    biz_json *data = biz_json_get(req->json, "data"), *value;
    apr_table_t *table = apr_table_make(req->pool, 8);
    const char *name, *text;
    void *iter = NULL;

    while (data != NULL && (name = biz_json_next(data, &iter, &value)) != NULL) {
        text = biz_json_str_value(value);
        if (text == NULL || !biz_valid_text(text, 1, VALUE_CHARS))
            return biz_fail(reply, BIZ_VALIDATION_FAILED, "data",
                            "Each value must be a text of 1 to 2000 characters.");
        apr_table_setn(table, name, text);
    }
    *out = apr_is_empty_table(table) ? NULL : table;
    return BIZ_OK;
}

biz_code admin_mail_preview(biz_req *req, biz_reply *reply)
{
    const char *name = apr_table_get(req->params, "name"), *why;
    const char *scenario_name = biz_field_str(req, "scenario");
    mail_reader reader = {.templates = req->env->templates,
                          .settings = req->env->settings,
                          .locale = biz_field_str(req, "locale")};
    mail_scenario scenario = MAIL_SHORT;
    mail_rendered mail;

    if (!is_one_of(reader.templates, name))
        return biz_fail(reply, BIZ_NOT_FOUND, NULL, NULL);
    if (replacements(req, reply, &reader.replace) != BIZ_OK)
        return reply->code;
    if (scenario_name != NULL)
        mail_scenario_of(scenario_name, &scenario);
    /* The templates were tried at startup: it is `data` that is no good. */
    if (mail_sample(req->pool, &reader, name, scenario, &mail, &why) != APR_SUCCESS)
        return biz_fail(reply, BIZ_VALIDATION_FAILED, "data", why);
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "subject", mail.subject);
    biz_json_set_str(reply->data, "preheader", mail.preheader);
    biz_json_set_str(reply->data, "html", mail.html);
    biz_json_set_str(reply->data, "text", mail.text);
    return BIZ_OK;
}

/* Whose inbox it is need not like so many of them. Seconds to wait, 0: none. */
static apr_status_t wait_for_sample(biz_req *req, int *seconds)
{
    const apr_time_t hour = apr_time_from_sec(3600);
    store_cond conds[] = {STORE_EQ_STR(OUTBOX_RECIPIENT, biz_field_str(req, "to")),
                          STORE_EQ_STR(OUTBOX_KIND, OUTBOX_SAMPLE),
                          STORE_GT_TIME(STORE_CREATED_AT, req->now - hour)};
    store_query query = {.coll = COLL_OUTBOX,
                         .index = "outbox_recipient",
                         .conds = conds,
                         .n_conds = STORE_COUNT_OF(conds),
                         .limit = SAMPLES_AN_HOUR};
    apr_array_header_t *rows;
    apr_status_t status = store_find(req->env->store, req->pool, &query, &rows, NULL);

    *seconds = 0;
    if (status == APR_SUCCESS && rows->nelts == SAMPLES_AN_HOUR)
        *seconds =
            (int)apr_time_sec(store_time(APR_ARRAY_IDX(rows, 0, store_doc *), STORE_CREATED_AT) +
                              hour - req->now) +
            1;
    return status;
}

biz_code admin_mail_test(biz_req *req, biz_reply *reply)
{
    const char *name = apr_table_get(req->params, "name");
    biz_json *data = biz_json_object(req->pool);
    apr_status_t status;
    int wait;

    if (!is_one_of(req->env->templates, name))
        return biz_fail(reply, BIZ_NOT_FOUND, NULL, NULL);
    status = wait_for_sample(req, &wait);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    if (wait > 0) {
        biz_fail(reply, BIZ_RATE_LIMITED, NULL, NULL);
        reply->retry_after = wait;
        return reply->code;
    }
    biz_json_set_str(data, "name", name);
    biz_json_set_str(data, "locale", biz_field_str(req, "locale"));
    status =
        outbox_put(req->env->store, req->pool, OUTBOX_SAMPLE, biz_field_str(req, "to"), NULL, data);
    if (status != APR_SUCCESS)
        return biz_fail_store(req, reply, status);
    reply->data = biz_json_object(req->pool);
    biz_json_set_str(reply->data, "status", "queued");
    return BIZ_OK;
}
