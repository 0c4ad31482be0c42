/* pools.c: `make asan` only. Every allocation from an APR pool becomes one of malloc() of its own,
 * so that AddressSanitizer sees a byte written past its end and a pointer kept beyond its pool's
 * life. Without this a pool is one block of 8 KiB to it, and most of this product lives in pools.
 *
 * Linked into the test programs and bizapictl, preloaded into httpd. What a pool gave is released
 * after all of its clean-ups, as APR does it: ours is registered before the first of them. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <apr_pools.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>

#define SEEN_BY_APR __attribute__((visibility("default")))

enum { BUCKETS = 4096 };

typedef struct blocks {
    struct blocks *next;
    apr_pool_t *pool;
    void **block;
    size_t count, room;
    int kept; /* never released */
} blocks;

typedef struct {
    pthread_mutex_t lock;
    blocks *first;
} bucket;

static bucket table[BUCKETS] = {[0 ... BUCKETS - 1] = {PTHREAD_MUTEX_INITIALIZER, NULL}};
static __thread int registering;

static bucket *bucket_of(const apr_pool_t *pool)
{
    return &table[(size_t)pool / 64 % BUCKETS];
}

static apr_status_t release(void *pool)
{
    bucket *b = bucket_of(pool);
    blocks *found, **at;

    pthread_mutex_lock(&b->lock);
    for (at = &b->first; (*at)->pool != pool; at = &(*at)->next)
        ;
    found = *at;
    *at = found->next;
    pthread_mutex_unlock(&b->lock);
    for (size_t i = 0; i < found->count && !found->kept; i++)
        free(found->block[i]);
    free(found->block);
    free(found);
    return APR_SUCCESS;
}

/* Where the pool's blocks are noted; the first time, its end is watched. */
static blocks *blocks_of(apr_pool_t *pool)
{
    bucket *b = bucket_of(pool);
    blocks *found;

    pthread_mutex_lock(&b->lock);
    for (found = b->first; found != NULL && found->pool != pool; found = found->next)
        ;
    if (found == NULL) {
        found = calloc(1, sizeof(*found));
        found->pool = pool;
        found->next = b->first;
        b->first = found;
        pthread_mutex_unlock(&b->lock);
        registering = 1;
        apr_pool_cleanup_register(pool, pool, release, apr_pool_cleanup_null);
        registering = 0;
        return found;
    }
    pthread_mutex_unlock(&b->lock);
    return found;
}

SEEN_BY_APR void *apr_palloc(apr_pool_t *pool, apr_size_t size)
{
    static void *(*of_apr)(apr_pool_t *, apr_size_t);
    blocks *list;
    void *block;

    if (registering) {
        if (of_apr == NULL)
            of_apr = (void *(*)(apr_pool_t *, apr_size_t))dlsym(RTLD_NEXT, "apr_palloc");
        return of_apr(pool, size);
    }
    list = blocks_of(pool);
    if (list->count == list->room) {
        list->room = list->room ? list->room * 2 : 16;
        list->block = realloc(list->block, list->room * sizeof(void *));
    }
    block = malloc(size);
    list->block[list->count++] = block;
    return block;
}

/* APR waits for a pool's programs (mod_cgi's) after all of its clean-ups, and reads there who they
 * are. */
SEEN_BY_APR void apr_pool_note_subprocess(apr_pool_t *pool, apr_proc_t *program,
                                          apr_kill_conditions_e how)
{
    static void (*of_apr)(apr_pool_t *, apr_proc_t *, apr_kill_conditions_e);

    if (of_apr == NULL)
        *(void **)&of_apr = dlsym(RTLD_NEXT, "apr_pool_note_subprocess");
    blocks_of(pool)->kept = 1;
    of_apr(pool, program, how);
}

/* APR's own formats straight into the pool's block, past apr_palloc(). */
SEEN_BY_APR char *apr_pvsprintf(apr_pool_t *pool, const char *format, va_list values)
{
    char *buffer = NULL, *text;
    apr_size_t room = 128;
    int len;

    do {
        va_list again;

        room *= 2;
        buffer = realloc(buffer, room);
        va_copy(again, values);
        len = apr_vsnprintf(buffer, room, format, again);
        va_end(again);
    } while ((apr_size_t)len >= room - 1); /* as much as there was room for: maybe cut */
    text = apr_palloc(pool, (apr_size_t)len + 1);
    memcpy(text, buffer, (size_t)len + 1);
    free(buffer);
    return text;
}
