/* hash_loop.c: how many passwords a second this machine can check, all processors busy with nothing
 * else: what a login can at most be. `hash_loop SECONDS THREADS` prints the rate. Run by `make
 * bench`. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include <apr_general.h>
#include <apr_time.h>

#include "core/password.h"

static const char *hash;
static atomic_long checked;
static atomic_int stop;

static void *work(void *nothing)
{
    while (!stop) {
        if (biz_password_verify("Nine-lemons-walk-7", hash) != APR_SUCCESS)
            abort();
        checked++;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int threads = argc == 3 ? (int)strtol(argv[2], NULL, 10) : 0;
    pthread_t thread[64];
    apr_pool_t *pool;
    apr_time_t begin;

    if (threads < 1 || threads > 64) {
        fprintf(stderr, "usage: hash_loop SECONDS THREADS\n");
        return 2;
    }
    apr_initialize();
    apr_pool_create(&pool, NULL);
    if (biz_password_hash(pool, "Nine-lemons-walk-7", &hash) != APR_SUCCESS)
        return 1;
    begin = apr_time_now();
    for (int i = 0; i < threads; i++)
        pthread_create(&thread[i], NULL, work, NULL);
    apr_sleep(apr_time_from_msec((apr_time_t)(strtod(argv[1], NULL) * 1000)));
    stop = 1;
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    printf("%.2f\n", (double)checked * APR_USEC_PER_SEC / (double)(apr_time_now() - begin));
    return 0;
}
