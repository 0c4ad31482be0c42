/* cmd_keys.c: bizapictl keys ...; see auth/keys.h. No part of a key is ever shown. */
#include "cli.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <apr_strings.h>

#include "auth/keys.h"

/* "next" is a key that no server has signed with yet. */
static const char *state_of(const biz_key_info *info, int older_signs)
{
    if (info->signs)
        return "signs";
    if (older_signs)
        return "next";
    return info->accepted ? "accepted" : "ended";
}

static void print_keys(cli *c, const apr_array_header_t *list)
{
    static const char *const headings[] = {"KID", "MADE", "STATE", "FILE"};
    cli_table *table = cli_table_new(c->pool, (int)STORE_COUNT_OF(headings), headings);
    biz_json *array = biz_json_array(c->pool);
    int i, signing = 0;

    while (signing < list->nelts && !APR_ARRAY_IDX(list, signing, biz_key_info).signs)
        signing++;
    for (i = 0; i < list->nelts; i++) {
        const biz_key_info *info = &APR_ARRAY_IDX(list, i, biz_key_info);
        const char *cells[] = {info->kid, cli_time(c->pool, info->made_at),
                               state_of(info, i < signing), info->path};
        biz_json *json = biz_json_object(c->pool);

        biz_json_set_str(json, "kid", info->kid);
        biz_json_set_time(json, "made_at", info->made_at);
        biz_json_set_str(json, "state", cells[2]);
        biz_json_set_bool(json, "signs", info->signs);
        biz_json_set_bool(json, "accepted", info->accepted);
        biz_json_set_str(json, "path", info->path);
        biz_json_add(array, json);
        cli_table_row(table, c->pool, cells);
    }
    if (c->json)
        cli_print_json(c, array);
    else
        cli_table_flush(table);
}

int cmd_keys_list(cli *c)
{
    apr_array_header_t *list;
    const char *why = "";
    apr_status_t rv = biz_keys_list(c->pool, c->state_dir, &list, &why);

    if (rv != APR_SUCCESS)
        return cli_fail(rv == APR_ENOENT ? CLI_MISSING : CLI_FAILED, "%s", why);
    print_keys(c, list);
    return CLI_OK;
}

/* Before there is a database there is no audit log either. */
static int audit_rotation(cli *c, biz_json *details)
{
    int status;

    if (c->database != NULL && access(c->database, F_OK) != 0)
        return CLI_OK;
    status = cli_open(c, 0);
    return status == CLI_OK ? cli_audit(c, "sys_key_rotated", NULL, details) : status;
}

int cmd_keys_rotate(cli *c)
{
    const char *kid, *why = "";
    biz_json *json = biz_json_object(c->pool);
    apr_status_t rv = biz_keys_rotate(c->pool, c->state_dir, &kid, &why);

    if (rv != APR_SUCCESS)
        return cli_fail(rv == APR_ENOENT ? CLI_MISSING : CLI_FAILED, "%s", why);
    biz_json_set_str(json, "kid", kid);
    if (c->json && !c->quiet)
        cli_print_json(c, json);
    cli_say(c, "%s made in %s/keys; it takes effect at: apachectl graceful", kid, c->state_dir);
    return audit_rotation(c, json);
}
