/* voice.c: POST /admin/voice: a text read aloud, for staff. The answer is the audio itself. */
#include "admin.h"

#include "integrations/elevenlabs.h"

enum { WAIT_SHOWN = 60 };

biz_code admin_voice(biz_req *req, biz_reply *reply)
{
    const char *voice = biz_field_str(req, "voice_id");
    client_answer answer;

    if (voice != NULL && !voice_id_is_good(voice))
        return biz_fail(reply, BIZ_VALIDATION_FAILED, "voice_id", "voice_id is no voice's id.");
    switch (voice_speak(req->env, req->pool, biz_field_str(req, "text"), voice, 0, &reply->raw,
                        &reply->raw_len, &answer)) {
    case VOICE_READY:
        reply->raw_type = "audio/mpeg";
        return BIZ_OK;
    case VOICE_REFUSED:
        return biz_fail(reply, BIZ_VALIDATION_FAILED, "text",
                        "This voice does not exist or does not read this text.");
    case VOICE_LATER:
        reply->retry_after = answer.retry_after > WAIT_SHOWN ? WAIT_SHOWN : answer.retry_after;
        break;
    case VOICE_OFF:
        break;
    }
    return biz_fail(reply, BIZ_VOICE_UNAVAILABLE, NULL, NULL);
}
