/* check.c: whether the templates can say what the outbox has to say. Called when a configuration is
 * tested: a template that is missing, or asks for a value that it will not get, is found there and
 * not by the first customer who waits for the mail. */
#include "outbox.h"

#include <string.h>

#include <apr_strings.h>

enum { NAMES_MAX = 4 };

/* As kinds.c gives them: `always` in each mail, `perhaps` where it is known, one of `either`. */
static const struct {
    const char *name;
    const char *always[NAMES_MAX], *perhaps[NAMES_MAX], *either[NAMES_MAX];
} templates_of_kinds[] = {
    {"password_reset", {"requested_at", "link_url", "valid_minutes"}, {"user_name", "ip"}, {NULL}},
    {"verify_email", {"requested_at", "link_url", "valid_hours"}, {"user_name"}, {NULL}},
    {"account_exists", {"requested_at", "link_url"}, {"user_name"}, {NULL}},
    {"security_notice",
     {"requested_at", "link_url"},
     {"user_name", "ip", "device"},
     {"password_changed", "session_ended", "new_device"}}};

static void add(apr_table_t *values, const biz_settings *settings, const char *const *names)
{
    for (; *names; names++) {
        apr_table_setn(values, *names,
                       strcmp(*names, "link_url") == 0 ? settings->frontend_url : "x");
    }
}

/* The mail with the least and the most that it may get. */
static const char *try(apr_pool_t *pool, const mail_templates *templates,
                       const biz_settings *settings, size_t i, const char *lang, const char *either)
{
    for (int most = 0; most < 2; most++) {
        apr_table_t *values = apr_table_make(pool, 8);
        mail_rendered rendered;
        const char *why = NULL;

        add(values, settings, templates_of_kinds[i].always);
        if (most) {
            add(values, settings, templates_of_kinds[i].perhaps);
        }
        if (either) {
            apr_table_setn(values, either, "1");
        }
        switch (mail_render(pool, templates, settings, templates_of_kinds[i].name, lang, values,
                            &rendered, &why)) {
        case APR_SUCCESS:
            break;
        case APR_NOTFOUND:
            return apr_psprintf(pool, "%s.txt and %s.html are missing", templates_of_kinds[i].name,
                                templates_of_kinds[i].name);
        default:
            return why;
        }
    }
    return NULL;
}

const char *outbox_templates_error(apr_pool_t *pool, const mail_templates *templates,
                                   const biz_settings *settings)
{
    size_t n = sizeof(templates_of_kinds) / sizeof(templates_of_kinds[0]);
    const char *why = NULL;

    for (size_t i = 0; i < n && !why; i++) {
        const apr_array_header_t *langs =
            mail_template_langs(pool, templates, templates_of_kinds[i].name);

        for (int l = 0; l < langs->nelts && !why; l++) {
            const char *lang = APR_ARRAY_IDX(langs, l, const char *);
            const char *const *either = templates_of_kinds[i].either;

            do {
                why = try(pool, templates, settings, i, lang, *either);
            } while (!why && *either && *++either);
        }
    }
    return why;
}
