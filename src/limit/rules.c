/* rules.c: which budget a path has. Called by the configuration (parse, add, seal) and by the
 * request pipeline (limit_rule_for), which must find the rule without taking memory or a lock. */
#include "limit.h"

#include <string.h>

#include <apr_siphash.h>
#include <apr_strings.h>

#include "core/str.h"

enum { PATTERN_MAX = 255 };

/* The owner's table. */
static const struct {
    const char *pattern;
    const char *rate;
} table[] = {
    {"/api/v1/portal/*", "60/min"},
    {"/api/v1/auth/login", "10/min"},
    {"/api/v1/auth/register", "10/min"},
    {"/api/v1/auth/forgot-password", "10/min"},
};

/* A pattern is compared with paths that Apache has decoded and normalised, so a form that Apache
 * would never hand on is a mistake of the operator, not a rule that waits for its day. */
static const char *pattern_error(const char *pattern, size_t *prefix_len)
{
    size_t len = strlen(pattern);

    *prefix_len = 0;
    if (pattern[0] != '/') {
        return "a pattern is a path and begins with '/'";
    }
    if (len > PATTERN_MAX) {
        return "a pattern has at most 255 bytes";
    }
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)pattern[i];

        if (c <= 0x20 || c >= 0x7f || strchr("?#%\\\"<>", c)) {
            return "a pattern is a decoded path: no spaces, no '?', '#', '%' and no other signs "
                   "that "
                   "paths do not have";
        }
        if (c == '*') {
            if (i + 1 != len || pattern[i - 1] != '/') {
                return "'*' may stand only at the end, after '/': \"/api/v1/portal/*\"";
            }
            *prefix_len = i;
        }
    }
    if (strstr(pattern, "//") || strstr(pattern, "/./") || strstr(pattern, "/../") ||
        (len >= 2 && strcmp(pattern + len - 2, "/.") == 0) ||
        (len >= 3 && strcmp(pattern + len - 3, "/..") == 0)) {
        return "a pattern is a normalised path: no '//', no '/./', no '/../'";
    }
    return NULL;
}

limit_rule *limit_rule_parse(apr_pool_t *pool, const char *pattern, const char *rate,
                             const char **why)
{
    const char *slash = strchr(rate, '/');
    limit_rule *rule = apr_pcalloc(pool, sizeof(*rule));
    int64_t n = 0;

    *why = pattern_error(pattern, &rule->prefix_len);
    if (*why) {
        return NULL;
    }
    if (!slash || strcmp(slash, "/min") != 0 ||
        !biz_parse_int(apr_pstrmemdup(pool, rate, (apr_size_t)(slash - rate)), 1, LIMIT_MAX, &n)) {
        *why = apr_psprintf(pool, "a rate is N/min with N from 1 to %d, such as 10/min", LIMIT_MAX);
        return NULL;
    }
    rule->pattern = apr_pstrdup(pool, pattern);
    rule->limit = (unsigned)n;
    return rule;
}

apr_array_header_t *limit_rules_default(apr_pool_t *pool)
{
    apr_array_header_t *rules = apr_array_make(pool, 8, sizeof(limit_rule *));

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const char *why;

        limit_rules_add(rules, limit_rule_parse(pool, table[i].pattern, table[i].rate, &why));
    }
    return rules;
}

void limit_rules_add(apr_array_header_t *rules, limit_rule *rule)
{
    for (int i = 0; i < rules->nelts; i++) {
        limit_rule **old = &APR_ARRAY_IDX(rules, i, limit_rule *);

        if (strcmp((*old)->pattern, rule->pattern) == 0) {
            *old = rule;
            return;
        }
    }
    APR_ARRAY_PUSH(rules, limit_rule *) = rule;
}

void limit_rules_seal(apr_array_header_t *rules, const char *business)
{
    /* No secret: nodes that share a Redis must come to the same number without sharing more. */
    static const unsigned char key[APR_SIPHASH_KSIZE] = "bizapi rule id 1";

    for (int i = 0; i < rules->nelts; i++) {
        limit_rule **slot = &APR_ARRAY_IDX(rules, i, limit_rule *);
        limit_rule *own = apr_pmemdup(rules->pool, *slot, sizeof(*own));
        const char *text = apr_psprintf(rules->pool, "%" APR_SIZE_T_FMT ":%s %u %s",
                                        strlen(business), business, own->limit, own->pattern);

        own->id = apr_siphash24(text, strlen(text), key);
        *slot = own; /* the parsed rule may stand in the lists of other businesses too */
    }
}

const limit_rule *limit_rule_for(const apr_array_header_t *rules, const char *path)
{
    const limit_rule *best = NULL;

    for (int i = 0; i < rules->nelts; i++) {
        const limit_rule *rule = APR_ARRAY_IDX(rules, i, const limit_rule *);

        if (rule->prefix_len == 0) {
            if (strcmp(path, rule->pattern) == 0) {
                return rule;
            }
        } else if (strncmp(path, rule->pattern, rule->prefix_len) == 0 &&
                   (!best || rule->prefix_len > best->prefix_len)) {
            best = rule;
        }
    }
    return best;
}
