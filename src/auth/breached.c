/* breached.c: asks the range API of "Pwned Passwords" or of a copy of it. Called by hash.c.
 *
 * The server is told the first five of forty digits of the password's SHA-1, which about a thousand
 * known passwords share, and answers with all of these; padding hides how many. The rest is
 * compared here. Bounds, breaker and the lines in the log are those of every call
 * (integrations/client.h). */
#include "breached.h"

#include <string.h>
#include <strings.h>
#include <apr_strings.h>

#include "core/crypto.h"
#include "core/str.h"
#include "integrations/client.h"

enum { PREFIX_DIGITS = 5, REST_DIGITS = 2 * BIZ_SHA1_LEN - PREFIX_DIGITS };

/* "REST:COUNT" a line; a count of 0 is padding. */
static int list_has(const char *list, const char *rest)
{
    const char *line, *next;

    for (line = list; line != NULL && *line != '\0'; line = next) {
        next = strchr(line, '\n');
        next = next != NULL ? next + 1 : NULL;
        if (!strncasecmp(line, rest, REST_DIGITS) && line[REST_DIGITS] == ':')
            return apr_atoi64(line + REST_DIGITS + 1) > 0;
    }
    return 0;
}

int breached_has(const biz_req *req, const char *password)
{
    static const char *const headers[] = {"Accept: text/plain", "Add-Padding: true",
                                          "User-Agent: mod_bizapi", NULL};
    client_request request = {
        .host = CLIENT_BREACHED_PASSWORDS, .method = "GET", .headers = headers, .tries = 1};
    unsigned char digest[BIZ_SHA1_LEN];
    client_answer answer;
    const char *hex;

    if (req->env->clients == NULL ||
        client_base(req->env->clients, CLIENT_BREACHED_PASSWORDS) == NULL)
        return 0;
    biz_sha1(password, strlen(password), digest);
    hex = biz_hex(req->pool, digest, sizeof(digest));
    request.path =
        apr_pstrcat(req->pool, "/range/", apr_pstrmemdup(req->pool, hex, PREFIX_DIGITS), NULL);
    client_call(req->env->clients, req->pool, &request, &answer);
    return answer.result == CLIENT_ANSWERED && answer.status == 200 &&
           list_has(answer.body, hex + PREFIX_DIGITS);
}
