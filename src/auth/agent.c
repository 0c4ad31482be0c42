/* agent.c: see agent.h. Called by device.c and me.c. A browser names itself and those that it wants
 * to be taken for, so the order of the tables decides: who is built on another stands before it. */
#include "agent.h"

#include <string.h>
#include <apr_strings.h>

enum { WORD_MAX = 40 };

typedef struct {
    const char *mark, *name;
} mark;

static const mark browsers[] = {{"Edg/", "Edge"},
                                {"EdgA/", "Edge"},
                                {"EdgiOS/", "Edge"},
                                {"OPR/", "Opera"},
                                {"OPT/", "Opera"},
                                {"Vivaldi/", "Vivaldi"},
                                {"SamsungBrowser/", "Samsung Internet"},
                                {"DuckDuckGo/", "DuckDuckGo"},
                                {"FxiOS/", "Firefox"},
                                {"Firefox/", "Firefox"},
                                {"CriOS/", "Chrome"},
                                {"Chrome/", "Chrome"},
                                {"Chromium/", "Chrome"},
                                {"Safari/", "Safari"}};

static const mark systems[] = {
    {"iPhone", "iPhone"},   {"iPad", "iPad"},      {"Android", "Android"}, {"CrOS", "ChromeOS"},
    {"Windows", "Windows"}, {"Macintosh", "Mac"},  {"Mac OS X", "Mac"},    {"Linux", "Linux"},
    {"FreeBSD", "FreeBSD"}, {"OpenBSD", "OpenBSD"}};

static const char *find(const mark *marks, size_t n, const char *agent)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (strstr(agent, marks[i].mark) != NULL)
            return marks[i].name;
    return NULL;
}

/* "okhttp/4.12.0" -> "okhttp" */
static const char *first_word(apr_pool_t *pool, const char *agent)
{
    size_t len = strcspn(agent, "/ (;,");

    return len == 0 ? NULL : apr_pstrmemdup(pool, agent, len < WORD_MAX ? len : WORD_MAX);
}

const char *agent_words(apr_pool_t *pool, const char *agent)
{
    const char *browser, *system;

    if (agent == NULL)
        return NULL;
    browser = find(browsers, sizeof(browsers) / sizeof(browsers[0]), agent);
    system = find(systems, sizeof(systems) / sizeof(systems[0]), agent);
    if (browser == NULL && (system == NULL || strncmp(agent, "Mozilla/", 8) != 0))
        return first_word(pool, agent);
    if (browser == NULL || system == NULL)
        return browser != NULL ? browser : system;
    return apr_pstrcat(pool, browser, " on ", system, NULL);
}
