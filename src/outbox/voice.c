/* voice.c: the channel of spoken messages, by ElevenLabs. A row has its text read aloud and kept
 * for a month (elevenlabs.c), so that whoever plays it then, as POST /admin/voice does for staff,
 * waits for nobody and pays nothing. Nobody is called up: that is not part of this version. Consent
 * is asked where the row has a user, for the text goes to a third party. Called by worker.c. */
#include "job.h"

#include <string.h>

#include "core/crypto.h"
#include "core/str.h"
#include "integrations/elevenlabs.h"
#include "integrations/registry.h"

static void *voice_open(apr_pool_t *pool, const biz_env *env, const char **why)
{
    static char on[] = "elevenlabs", off[] = "off";

    return env->registry && env->registry->configured[INTEGRATION_ELEVENLABS] == SERVICE_OK ? on
                                                                                            : off;
}

static job_end voice_send(void *way, job *j)
{
    const char *audio = NULL;
    size_t len = 0;
    client_answer answer;
    job_end end;

    if (biz_utf8_count(j->text, strlen(j->text)) > VOICE_TEXT_MAX) {
        return job_ends(j, JOB_DEAD, "the text is longer than 1000 characters");
    }
    switch (voice_speak(j->env, j->pool, j->text, NULL, 1, &audio, &len, &answer)) {
    case VOICE_READY:
        j->provider_id = biz_sha256_hex(j->pool, j->text);
        return JOB_SENT;
    case VOICE_OFF:
        j->said = 1; /* by client.c */
        return job_ends(j, JOB_BROKEN, "ElevenLabs refuses our key");
    case VOICE_LATER:
        end = job_by_client(j, &answer);
        return end == JOB_UNKNOWN ? JOB_RETRY : end; /* nobody hears it twice */
    case VOICE_REFUSED:
        break;
    }
    return job_ends(j, JOB_DEAD, "ElevenLabs does not take this text or this voice");
}

const outbox_channel outbox_voice = {.name = OUTBOX_VOICE,
                                     .asks = 1,
                                     .lease = OUTBOX_LEASE_SECONDS,
                                     .open = voice_open,
                                     .name_of = job_way_name,
                                     .reader = job_reader_by_user,
                                     .send = voice_send};
