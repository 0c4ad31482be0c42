/* elevenlabs.h: texts read aloud, by ElevenLabs; each text is paid for once and kept as a file for
 * a month. */
#ifndef BIZ_ELEVENLABS_H
#define BIZ_ELEVENLABS_H

#include "client.h"

enum { VOICE_TEXT_MAX = 1000 /* code points */, VOICE_KEPT_DAYS = 30 };

typedef enum {
    VOICE_READY,
    VOICE_OFF,     /* not configured, or the key is refused */
    VOICE_LATER,   /* it does not work or has no room; answer->retry_after says when, 0: unknown */
    VOICE_REFUSED, /* no such voice, or a text that it does not take */
} voice_result;

/* MPEG audio of the text; *answer: of the call that was made for it, else empty. `voice_id` NULL:
 * that of ELEVENLABS_VOICE_ID, else a standard one. `background`: by no request. */
voice_result voice_speak(const biz_env *env, apr_pool_t *pool, const char *text,
                         const char *voice_id, int background, const char **audio, size_t *len,
                         client_answer *answer);

/* 1 for what can be a voice's id. */
int voice_id_is_good(const char *id);
/* Where the files are. */
const char *voice_folder(apr_pool_t *pool, const biz_settings *settings);
/* Removes what is too old: texts hold names. */
void voice_sweep(apr_pool_t *pool, const biz_settings *settings, apr_time_t now);

#endif
