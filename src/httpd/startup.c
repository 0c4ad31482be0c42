/* startup.c: from an accepted configuration to a server that may fork. check_config judges it (also
 * for apachectl -t) and touches nothing; post_config, still root, makes what is missing.
 *
 * 1 settings of every server   2 businesses, one for each server with settings of its own
 * 3 state directories and keys   4 shared memory   5 the background job */
#include "glue.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <ap_mpm.h>
#include <apr_strings.h>
#include <http_core.h>
#include <unixd.h>

#include "auth/keys.h"
#include "auth/seen.h"
#include "core/crypto.h"
#include "core/random.h"
#include "integrations/client.h"
#include "integrations/elevenlabs.h"
#include "integrations/registry.h"
#include "mail/render.h"
#include "openapi.h"
#include "slotmem.h"

APLOG_USE_MODULE(bizapi);

bizapi_state bizapi;

enum { TMPFS = 0x01021994 };

/* ---- check_config ---- */

static int may_enter(const struct stat *st, int write)
{
    uid_t uid = geteuid() == 0 ? ap_unixd_config.user_id : geteuid();
    gid_t gid = geteuid() == 0 ? ap_unixd_config.group_id : getegid();
    unsigned need = write ? 3 : 1;

    if (uid == 0)
        return 1;
    if (st->st_uid == uid)
        return ((st->st_mode >> 6) & need) == need;
    if (st->st_gid == gid)
        return ((st->st_mode >> 3) & need) == need;
    return (st->st_mode & need) == need;
}

const char *bizapi_state_dir_error(apr_pool_t *pool, const char *dir)
{
    char *part = apr_pstrdup(pool, dir), *slash;
    struct stat st;

    if (stat(dir, &st) == 0) {
        if (!S_ISDIR(st.st_mode))
            return "is not a directory";
        /* Root gives it to the workers' user at start; anybody else must own it already. */
        if (geteuid() != 0 && access(dir, W_OK | X_OK) != 0)
            return "cannot be written by this user";
    }
    while ((slash = strrchr(part, '/')) != NULL && slash != part) {
        *slash = '\0';
        if (stat(part, &st) != 0)
            continue;
        if (!S_ISDIR(st.st_mode))
            return apr_psprintf(pool, "cannot be made: %s is not a directory", part);
        if (!may_enter(&st, 0))
            return apr_psprintf(
                pool,
                "cannot be reached by the workers' user (%s): %s may not be entered; "
                "take a directory such as /var/lib/apache2/bizapi",
                ap_unixd_config.user_name, part);
    }
    return NULL;
}

static int refuse(const server_rec *s, const char *directive, const char *value, const char *why)
{
    ap_log_error(APLOG_MARK, APLOG_EMERG | APLOG_STARTUP, 0, s, BZ(1002) "%s '%s' of %s: %s",
                 directive, value, s->server_hostname != NULL ? s->server_hostname : "the server",
                 why);
    return HTTP_INTERNAL_SERVER_ERROR;
}

/* Two virtual hosts with settings of their own are two businesses, whose data must not mix. The
 * same host name on another port (http and https) is the same business. */
static int check_walls(const business *b)
{
    int i;

    for (i = 0; i < bizapi.businesses->nelts; i++) {
        const business *other = APR_ARRAY_IDX(bizapi.businesses, i, business *);

        if (!other->server->is_virtual || !b->server->is_virtual ||
            strcmp(other->settings->store_url, b->settings->store_url) != 0 ||
            !strcasecmp(other->settings->server_name, b->settings->server_name))
            continue;
        return refuse(b->server, "BizApiStore", b->settings->business,
                      apr_psprintf(b->server->process->pconf,
                                   "the virtual host %s has the same store; give each its own "
                                   "BizApiStateDir or BizApiStore",
                                   other->settings->server_name));
    }
    return OK;
}

/* The document root of some server that the path lies in; NULL where nobody can fetch it. */
static const char *root_over(apr_pool_t *pool, const server_rec *main, const char *path)
{
    const char *found = NULL;
    char *real = realpath(path, NULL);

    for (const server_rec *s = main; s != NULL && found == NULL; s = s->next) {
        const core_server_config *core = ap_get_core_module_config(s->module_config);
        char *root = realpath(core->ap_document_root, NULL);
        size_t len = root != NULL ? strlen(root) : 0;
        const char *at = real != NULL ? real : path;

        if (len > 0 && !strncmp(at, root, len) && (at[len] == '/' || root[len - 1] == '/'))
            found = apr_pstrdup(pool, root);
        free(root);
    }
    free(real);
    return found;
}

/* Keys, data and secrets do not lie where Apache serves files from. */
static int check_places(apr_pool_t *pool, const server_rec *main, const business *b)
{
    apr_table_t *places = apr_table_copy(pool, bizapi_secret_files(pool));
    const char *account = biz_secret(b->settings, "FIREBASE_CREDENTIALS_PATH");
    const apr_array_header_t *all;

    apr_table_addn(places, "BizApiStateDir", b->settings->state_dir);
    if (account != NULL)
        apr_table_addn(places, "FIREBASE_CREDENTIALS_PATH", account);
    all = apr_table_elts(places);
    for (int i = 0; i < all->nelts; i++) {
        const apr_table_entry_t *place = &APR_ARRAY_IDX(all, i, apr_table_entry_t);
        const char *root = root_over(pool, main, place->val);

        if (root != NULL)
            return refuse(b->server, place->key, place->val,
                          apr_psprintf(pool,
                                       "can be fetched by everybody, for it lies in "
                                       "DocumentRoot %s; move it elsewhere",
                                       root));
    }
    return OK;
}

/* Said at the start, and not when the first report is refused. */
static void check_webhooks(apr_pool_t *pool, const business *b)
{
    const char *key = biz_secret(b->settings, "SENDGRID_WEBHOOK_PUBLIC_KEY");
    const char *why = key != NULL ? biz_p256_error(pool, key) : NULL;

    if (why != NULL)
        ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_STARTUP, 0, b->server,
                     BZ(1013) "what SendGrid reports will be refused: SENDGRID_WEBHOOK_PUBLIC_KEY "
                              "%s",
                     why);
}

static int check_business(apr_pool_t *pool, server_rec *s, business *b)
{
    apr_array_header_t *complaints;
    const char *why = NULL, *dir, *own;
    int i;

    b->server = s;
    b->settings = bizapi_settings(pool, s, &why);
    if (b->settings == NULL)
        return refuse(s, "BizApi", "environment", why);
    why = bizapi_state_dir_error(pool, b->settings->state_dir);
    if (why != NULL)
        return refuse(s, "BizApiStateDir", b->settings->state_dir, why);
    bizapi_templates_dirs(pool, s, &dir, &own);
    b->templates = mail_templates_load(pool, dir, own, &why);
    if (b->templates != NULL)
        why = mail_samples_error(pool, b->templates, b->settings);
    if (b->templates == NULL || why != NULL)
        return refuse(
            s, own != NULL ? "BizApiMailTemplates or BizApiMailOverrides" : "BizApiMailTemplates",
            own != NULL ? apr_pstrcat(pool, dir, " or ", own, NULL) : dir, why);
    if (mail_transport_new(pool, b->settings, &why) == NULL)
        return refuse(s, "BizApiMail", b->settings->business, why);
    b->openapi = openapi_make(pool, b->settings);
    b->registry = registry_new(pool, b->settings, &complaints);
    for (i = 0; i < complaints->nelts; i++)
        ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_STARTUP, 0, s,
                     BZ(1003) "a service stays off: %s",
                     APR_ARRAY_IDX(complaints, i, const char *));
    check_webhooks(pool, b);
    return check_walls(b);
}

int bizapi_check_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *main)
{
    business *b = NULL, *of_main = NULL;
    server_rec *s;

    biz_json_init();
    bizapi.businesses = apr_array_make(pconf, 2, sizeof(business *));
    for (s = main; s != NULL; s = s->next) {
        if (s == main || bizapi_has_own(s)) {
            int result;

            b = apr_pcalloc(pconf, sizeof(*b));
            result = check_business(pconf, s, b);
            if (result != OK)
                return result;
            APR_ARRAY_PUSH(bizapi.businesses, business *) = b;
            of_main = s == main ? b : of_main;
        } else {
            b = of_main;
        }
        bizapi_set_business(s, b);
        if (check_places(pconf, main, b) != OK)
            return HTTP_INTERNAL_SERVER_ERROR;
    }
    return OK;
}

/* ---- post_config ---- */

/* The folder is for the workers' user alone; what is missing above it may be entered by all, else
 * that user could not reach it. */
static apr_status_t make_dir(apr_pool_t *pool, const char *dir)
{
    enum { OWN = APR_FPROT_UREAD | APR_FPROT_UWRITE | APR_FPROT_UEXECUTE | APR_FPROT_GREAD };
    enum { GROUP = APR_FPROT_GEXECUTE, ALL = APR_FPROT_WREAD | APR_FPROT_WEXECUTE };
    apr_status_t status =
        apr_dir_make_recursive(ap_make_dirstr_parent(pool, dir), OWN | GROUP | ALL, pool);

    if (status == APR_SUCCESS || APR_STATUS_IS_EEXIST(status))
        status = apr_dir_make(dir, OWN | GROUP, pool);
    return status;
}

static int is_empty(int fd)
{
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), empty = 1;
    DIR *handle = own >= 0 ? fdopendir(own) : NULL;
    struct dirent *each;

    if (handle == NULL) {
        if (own >= 0)
            close(own);
        return 0;
    }
    while (empty && (each = readdir(handle)) != NULL)
        empty = !strcmp(each->d_name, ".") || !strcmp(each->d_name, "..");
    closedir(handle);
    return empty;
}

/* What lies below the state directory lies where the workers may write: a link there could be
 * theirs, and root must not give away what it leads to. */
static int is_below(const char *dir, const char *state_dir)
{
    size_t len = strlen(state_dir);

    return !strncmp(dir, state_dir, len) && dir[len] == '/';
}

/* A folder that the workers may write, made where it is missing. An empty one is given to their
 * user; one that holds something belongs to whoever put it there and stays theirs. NULL when it
 * serves, else why not. */
static const char *ready_dir(apr_pool_t *pool, const char *dir, const char *state_dir)
{
    struct stat st = {0};
    apr_status_t status = make_dir(pool, dir);
    int fd, no_link = is_below(dir, state_dir) ? O_NOFOLLOW : 0;
    const char *why = NULL;

    if (status != APR_SUCCESS && !APR_STATUS_IS_EEXIST(status))
        return apr_psprintf(pool, "cannot be made: %pm", &status);
    /* From here on it is this one folder, whatever its name comes to mean. */
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | no_link);
    if (fd < 0 && no_link && lstat(dir, &st) == 0 && S_ISLNK(st.st_mode))
        return "is a symbolic link; put the folder itself there";
    if (fd >= 0 && geteuid() == 0 && is_empty(fd) &&
        fchown(fd, ap_unixd_config.user_id, ap_unixd_config.group_id) != 0)
        why = "cannot be given to the workers' user (chown failed)";
    else if (fd < 0 || fstat(fd, &st) != 0 || !may_enter(&st, 1))
        why = apr_psprintf(pool, "cannot be written by the workers' user; chown %s it",
                           ap_unixd_config.user_name);
    if (fd >= 0)
        close(fd);
    return why;
}

static int make_state_dir(apr_pool_t *pool, const business *b)
{
    const char *dir = b->settings->state_dir, *why = ready_dir(pool, dir, dir);
    struct statfs fs;

    if (why != NULL)
        return refuse(b->server, "BizApiStateDir", dir, why);
    if (statfs(dir, &fs) == 0 && fs.f_type == TMPFS)
        ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_STARTUP, 0, b->server,
                     BZ(1004) "BizApiStateDir %s is in memory (tmpfs): the data is gone after a "
                              "reboot. Set it to a directory on a disk",
                     dir);
    return OK;
}

/* A start is the one time at which a missing database is made: one that is lost later is not
 * replaced by an empty one. Where it cannot be made now, its directory may be mounted later. */
static int make_store(apr_pool_t *pool, const business *b)
{
    store_options options = {0};

    if (geteuid() == 0) {
        options.owner_uid = ap_unixd_config.user_id;
        options.owner_gid = ap_unixd_config.group_id;
    }
    return store_make(b->settings->store_url, &options, pool);
}

static int prepare(apr_pool_t *pconf, apr_pool_t *ptemp, business *b)
{
    const char *why = NULL;
    int result = make_state_dir(ptemp, b);

    if (result != OK)
        return result;
    b->has_store = make_store(ptemp, b);
    if (biz_keys_open(pconf, b->settings->state_dir, &b->keys, &why) != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_EMERG | APLOG_STARTUP, 0, b->server, BZ(1005) "%s", why);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    if (b->registry->configured[INTEGRATION_ELEVENLABS] == SERVICE_OK) {
        const char *folder = voice_folder(ptemp, b->settings);

        why = ready_dir(ptemp, folder, b->settings->state_dir);
        if (why != NULL)
            return refuse(b->server, "BizApiStateDir", folder, why);
    }
    if (!strncmp(b->settings->mail, "file:", 5)) {
        why = ready_dir(ptemp, b->settings->mail + 5, b->settings->state_dir);
        if (why != NULL)
            return refuse(b->server, "BizApiMail", b->settings->mail, why);
    }
    return OK;
}

/* One business for each store has the rows worked: of a virtual host and the main server with the
 * same store the virtual host's settings are the ones that were meant. */
static void choose_workers(void)
{
    int i, j;

    for (i = bizapi.businesses->nelts - 1; i >= 0; i--) {
        business *b = APR_ARRAY_IDX(bizapi.businesses, i, business *);

        b->works_outbox = 1;
        for (j = i + 1; j < bizapi.businesses->nelts; j++) {
            const business *other = APR_ARRAY_IDX(bizapi.businesses, j, business *);

            if (!strcmp(other->settings->store_url, b->settings->store_url))
                b->works_outbox = 0;
        }
    }
}

/* A new module may be loaded by a graceful restart: another layout gets another segment. */
static const char *layout_name(server_rec *main, const char *name, int layout)
{
    return apr_psprintf(main->process->pconf, "%s-%x", name, (unsigned)layout);
}

static apr_status_t share_memory(server_rec *main)
{
    enum { SECRET_BYTES = 16 };
    void *shared = NULL, *secret = NULL, *providers = NULL;
    int fresh;
    apr_status_t status =
        bizapi_slotmem_segment(main, layout_name(main, "shared", BIZ_SHARED_MAGIC),
                               sizeof(biz_shared), 1, &shared, &fresh);

    bizapi.shared = shared;
    if (status == APR_SUCCESS)
        status = bizapi_slotmem_segment(main, "limit-secret", SECRET_BYTES, 1, &secret, &fresh);
    if (status == APR_SUCCESS && fresh)
        biz_random(secret, SECRET_BYTES);
    bizapi.limit_secret = secret;
    if (status == APR_SUCCESS)
        status =
            bizapi_slotmem_segment(main, "seen", SEEN_SLOT_BYTES, SEEN_SLOTS, &bizapi.seen, &fresh);
    if (status == APR_SUCCESS)
        status = bizapi_slotmem_segment(main, layout_name(main, "providers", CLIENT_LAYOUT),
                                        client_memory_size(), 1, &providers, &fresh);
    bizapi.providers = providers;
    bizapi.slot_count = bizapi_rate_slots(main);
    if (status == APR_SUCCESS)
        status = bizapi_slotmem_segment(main, layout_name(main, "limit", LIMIT_LAYOUT),
                                        LIMIT_SLOT_BYTES, bizapi.slot_count, &bizapi.slots, &fresh);
    /* The first to attach prepares the slots: now, before there are others. */
    if (status == APR_SUCCESS && fresh)
        limit_shm_attach(main->process->pconf, bizapi.slots, bizapi.slot_count, secret,
                         bizapi.shared);
    return status;
}

int bizapi_post_config(apr_pool_t *pconf, apr_pool_t *plog, apr_pool_t *ptemp, server_rec *main)
{
    apr_status_t status;
    int i, result;

    /* The first of the two passes of a start only reads: the second does the work. */
    if (ap_state_query(AP_SQ_MAIN_STATE) == AP_SQ_MS_CREATE_PRE_CONFIG)
        return OK;
    bizapi_log_to(main);
    for (i = 0; i < bizapi.businesses->nelts; i++) {
        result = prepare(pconf, ptemp, APR_ARRAY_IDX(bizapi.businesses, i, business *));
        if (result != OK)
            return result;
    }
    choose_workers();
    status = share_memory(main);
    if (status != APR_SUCCESS) {
        ap_log_error(APLOG_MARK, APLOG_EMERG | APLOG_STARTUP, status, main,
                     BZ(1006) "no shared memory for %u limiter slots of %d bytes; lower "
                              "BizApiRateSlots or give the server more",
                     bizapi.slot_count, LIMIT_SLOT_BYTES);
        return HTTP_INTERNAL_SERVER_ERROR;
    }
    client_memory_turn(bizapi.providers);
    for (i = 0; i < bizapi.businesses->nelts; i++) {
        business *b = APR_ARRAY_IDX(bizapi.businesses, i, business *);
        const firebase_account *account = b->registry->firebase;

        b->clients = clients_new(pconf, b->settings, account != NULL ? account->token_uri : NULL,
                                 bizapi.providers);
    }
    status = bizapi_background_register(pconf, main);
    if (status != APR_SUCCESS)
        ap_log_error(APLOG_MARK, APLOG_ERR | APLOG_STARTUP, status, main,
                     BZ(1007) "mails are queued but not sent: mod_watchdog is not loaded; add "
                              "LoadModule watchdog_module");
    return OK;
}
