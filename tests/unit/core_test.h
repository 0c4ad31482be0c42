/* core_test.h: what the tests of src/core share: a pool for each test, and a main. */
#ifndef CORE_TEST_H
#define CORE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <apr_general.h>
#include <apr_pools.h>
#include <apr_strings.h>

#include "core/json.h"

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static apr_pool_t *pool;

static int core_setup(void **state)
{
    return apr_pool_create(&pool, NULL) != APR_SUCCESS;
}

static int core_teardown(void **state)
{
    apr_pool_destroy(pool);
    return 0;
}

#define CORE_TEST(name) cmocka_unit_test_setup_teardown(name, core_setup, core_teardown)

static inline void core_start(void)
{
    apr_initialize();
    atexit(apr_terminate);
    biz_json_init();
}

/* Bytes of hexadecimal digits, as standards print them. */
static inline unsigned char *unhex(const char *hex, size_t *len)
{
    unsigned char *out = apr_palloc(pool, strlen(hex) / 2 + 1);

    for (*len = 0; hex[0] && hex[1]; hex += 2) {
        char pair[3] = {hex[0], hex[1], 0};

        out[(*len)++] = (unsigned char)strtoul(pair, NULL, 16);
    }
    return out;
}

#endif
