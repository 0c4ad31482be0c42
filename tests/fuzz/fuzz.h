/* fuzz.h: what a fuzz target is. tests/fuzz/test_x.c defines LLVMFuzzerTestOneInput() and no main;
 * its inputs are the files of tests/fuzz/corpus/x/, one at least.
 *
 * `make test` replays the corpus (replay.c is the main; level fuzz), `make fuzz` builds the same
 * file with clang's libFuzzer and the sanitizers, looks for new inputs for FUZZ_SECONDS a target
 * and keeps in the corpus those that reach new code. A target asserts what must hold whatever the
 * input is with FUZZ_CHECK(): not to crash is the least of it. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <apr_general.h>
#include <apr_pools.h>
#include <apr_strings.h>

#include "core/biz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An illegal instruction: libFuzzer and cmocka both name the input that led to it. */
#define FUZZ_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);          \
            __builtin_trap();                                                                      \
        }                                                                                          \
    } while (0)

/* A pool that lives as long as the process, for what a target prepares once. */
static inline apr_pool_t *fuzz_forever(void)
{
    static apr_pool_t *pool;

    if (pool == NULL) {
        apr_initialize();
        biz_json_init();
        apr_pool_create(&pool, NULL);
    }
    return pool;
}

/* A pool that is empty at every call, as a request's is. */
static inline apr_pool_t *fuzz_pool(void)
{
    static apr_pool_t *pool;

    if (pool == NULL)
        apr_pool_create(&pool, fuzz_forever());
    apr_pool_clear(pool);
    return pool;
}

/* The input as lines, without their ends: for targets that take several texts. NULL after the last
 * one. NUL ends a text as it does everywhere in C. */
static inline char *fuzz_text(apr_pool_t *pool, const uint8_t *data, size_t size)
{
    return apr_pstrmemdup(pool, (const char *)data, size);
}

static inline char *fuzz_line(char **rest)
{
    char *line = *rest, *end = line != NULL ? strchr(line, '\n') : NULL;

    *rest = end != NULL ? end + 1 : NULL;
    if (end != NULL)
        *end = '\0';
    return line;
}

#endif
