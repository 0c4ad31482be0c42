/* elevenlabs.c: see elevenlabs.h. Called by the handler of /admin/voice and by the outbox. At most
 * two texts are spoken at once (client_slot.c). A file is named after the digest of all that it
 * depends on, and appears whole or not at all. */
#include "elevenlabs.h"

#include <string.h>
#include <apr_file_io.h>
#include <apr_lib.h>
#include <apr_strings.h>

#include "client.h"
#include "core/crypto.h"
#include "core/random.h"
#include "core/str.h"
#include "registry.h"

#define MODEL "eleven_multilingual_v2"
#define FORMAT "mp3_44100_128"
#define STANDARD_VOICE "21m00Tcm4TlvDq8ikWAM"

enum { AUDIO_MAX = 10 * 1024 * 1024, VOICE_ID_MAX = 64, QUOTA_REST_S = 3600, BUSY_REST_S = 2 };

int voice_id_is_good(const char *id)
{
    size_t len = 0;

    while (apr_isalnum(id[len]))
        len++;
    return len > 0 && len <= VOICE_ID_MAX && id[len] == '\0';
}

const char *voice_folder(apr_pool_t *pool, const biz_settings *settings)
{
    return apr_pstrcat(pool, settings->state_dir, "/voice", NULL);
}

/* ---- kept files ---- */

static int read_file(apr_pool_t *pool, const char *path, const char **audio, size_t *len)
{
    apr_file_t *file;
    apr_finfo_t info;
    char *data;
    int good = 0;

    if (apr_file_open(&file, path, APR_READ | APR_BINARY, APR_OS_DEFAULT, pool) != APR_SUCCESS)
        return 0;
    if (apr_file_info_get(&info, APR_FINFO_SIZE, file) == APR_SUCCESS && info.size > 0 &&
        info.size <= AUDIO_MAX) {
        data = apr_palloc(pool, (apr_size_t)info.size);
        *len = (size_t)info.size;
        good = apr_file_read_full(file, data, *len, NULL) == APR_SUCCESS;
        *audio = data;
    }
    apr_file_close(file);
    return good;
}

/* What cannot be kept is spoken again next time. */
static void write_file(const biz_env *env, apr_pool_t *pool, const char *path, const char *audio,
                       size_t len)
{
    const char *part = apr_pstrcat(pool, path, ".", biz_new_id(pool, "tmp"), NULL);
    apr_file_t *file;
    uint64_t held;
    apr_status_t status = apr_file_open(&file, part, APR_WRITE | APR_CREATE | APR_EXCL | APR_BINARY,
                                        APR_FPROT_UREAD | APR_FPROT_UWRITE, pool);

    if (status == APR_SUCCESS) {
        status = apr_file_write_full(file, audio, len, NULL);
        apr_file_close(file);
        if (status == APR_SUCCESS)
            status = apr_file_rename(part, path, pool);
        if (status != APR_SUCCESS)
            apr_file_remove(part, pool);
    }
    if (status != APR_SUCCESS && biz_minute(env->shared, BIZ_MINUTE_VOICE_FOLDER, &held))
        biz_log(
            BIZ_LOG_WARN, status,
            BZ(0812) "spoken texts cannot be kept in %s; each is paid for again (%lu more since "
                     "the last such line)",
            voice_folder(pool, env->settings), (unsigned long)held);
}

void voice_sweep(apr_pool_t *pool, const biz_settings *settings, apr_time_t now)
{
    const char *folder = voice_folder(pool, settings);
    apr_dir_t *dir;
    apr_finfo_t info;

    if (apr_dir_open(&dir, folder, pool) != APR_SUCCESS)
        return;
    while (apr_dir_read(&info, APR_FINFO_NAME | APR_FINFO_MTIME | APR_FINFO_TYPE, dir) ==
           APR_SUCCESS)
        if (info.filetype == APR_REG &&
            info.mtime < now - apr_time_from_sec(86400) * VOICE_KEPT_DAYS)
            apr_file_remove(apr_pstrcat(pool, folder, "/", info.name, NULL), pool);
    apr_dir_close(dir);
}

/* ---- the call ---- */

/* 401 is the key, but also a month's quota that is used up; 429 is too many at once, or a system
 * that is busy. 422 has a list under "detail". */
static client_verdict judge(client_answer *a)
{
    const char *word = biz_json_str(biz_json_get(a->json, "detail"), "status");

    if (a->status == 401 && word != NULL && !strcmp(word, "quota_exceeded")) {
        a->retry_after = QUOTA_REST_S;
        return CLIENT_IS_QUOTA;
    }
    if (a->status == 429 && a->retry_after == 0)
        a->retry_after = BUSY_REST_S;
    if (a->status == 200) {
        const char *type = apr_table_get(a->headers, "Content-Type");

        return type != NULL && !strncasecmp(type, "audio/", 6) && a->body_len > 0
                   ? CLIENT_IS_ANSWER
                   : CLIENT_IS_BROKEN;
    }
    return CLIENT_BY_STATUS;
}

static const char *body_of(apr_pool_t *pool, const char *text, size_t *len)
{
    biz_json *body = biz_json_object(pool), *how = biz_json_object(pool);

    biz_json_set_str(body, "text", text);
    biz_json_set_str(body, "model_id", MODEL);
    biz_json_set_real(how, "stability", 0.5);
    biz_json_set_real(how, "similarity_boost", 0.75);
    biz_json_set(body, "voice_settings", how);
    return biz_json_text(pool, body, len);
}

static voice_result speak(const biz_env *env, apr_pool_t *pool, const char *text, const char *voice,
                          int background, client_answer *a)
{
    const char *headers[] = {
        apr_pstrcat(pool, "xi-api-key: ", biz_secret(env->settings, "ELEVENLABS_API_KEY"), NULL),
        "Content-Type: application/json", "Accept: audio/mpeg", NULL};
    client_request request = {.host = CLIENT_ELEVENLABS,
                              .method = "POST",
                              .headers = headers,
                              .max_answer = AUDIO_MAX,
                              .tries = 2, /* a second where no connection came about alone */
                              .background = background,
                              .judge = judge};

    request.path = apr_pstrcat(pool, "/v1/text-to-speech/", voice, "?output_format=" FORMAT, NULL);
    request.body = body_of(pool, text, &request.body_len);
    client_call(env->clients, pool, &request, a);
    switch (a->result) {
    case CLIENT_ANSWERED:
        return a->status == 200 ? VOICE_READY : VOICE_REFUSED;
    case CLIENT_MISCONFIGURED:
        return VOICE_OFF;
    default:
        return VOICE_LATER;
    }
}

voice_result voice_speak(const biz_env *env, apr_pool_t *pool, const char *text,
                         const char *voice_id, int background, const char **audio, size_t *len,
                         client_answer *answer)
{
    const char *voice =
        voice_id != NULL ? voice_id : biz_secret(env->settings, "ELEVENLABS_VOICE_ID");
    const char *path;
    voice_result result;

    memset(answer, 0, sizeof(*answer));
    if (!integration_is_on(env, INTEGRATION_ELEVENLABS))
        return VOICE_OFF;
    if (voice == NULL)
        voice = STANDARD_VOICE;
    if (!voice_id_is_good(voice))
        return VOICE_REFUSED;
    path = apr_pstrcat(
        pool, voice_folder(pool, env->settings), "/",
        biz_sha256_hex(pool, apr_pstrcat(pool, voice, "|" MODEL "|" FORMAT "|", text, NULL)),
        ".mp3", NULL);
    if (read_file(pool, path, audio, len))
        return VOICE_READY;
    result = speak(env, pool, text, voice, background, answer);
    if (result != VOICE_READY)
        return result;
    *audio = answer->body;
    *len = answer->body_len;
    write_file(env, pool, path, answer->body, answer->body_len);
    return VOICE_READY;
}
