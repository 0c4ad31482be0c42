/* seen.c: see seen.h. A slot is sixteen words: a sequence number, the SHA-256 of judge and token,
 * the two ids, the end. A writer makes the number odd, writes, and makes it even; a reader takes
 * what it read only if the number was even and stayed the same. A writer that is killed in between
 * leaves one slot unused, nothing else. */
#include "seen.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <apr_strings.h>

#include "core/crypto.h"

enum {
    ID_WORDS = 4,
    ID_BYTES = ID_WORDS * 8,
    HASH_WORDS = 4,
    WORDS = 1 + HASH_WORDS + 2 * ID_WORDS + 1
};

typedef struct {
    _Atomic uint64_t sequence;
    _Atomic uint64_t words[SEEN_SLOT_BYTES / 8 - 1];
} slot;

struct biz_seen {
    slot slots[SEEN_SLOTS];
};

_Static_assert(sizeof(slot) == SEEN_SLOT_BYTES, "a slot is two cache lines");
_Static_assert(WORDS * 8 <= SEEN_SLOT_BYTES, "an entry fits a slot");

typedef struct {
    uint64_t hash[HASH_WORDS];
    char user_id[ID_BYTES], session_id[ID_BYTES];
    uint64_t expires_at;
} entry;

static void hash_of(apr_pool_t *pool, const char *judge, const char *token,
                    uint64_t hash[HASH_WORDS])
{
    unsigned char digest[BIZ_SHA256_LEN];
    const char *both = apr_pstrcat(pool, judge, "\n", token, NULL);

    biz_sha256(both, strlen(both), digest);
    memcpy(hash, digest, sizeof(digest));
}

/* A token may stand in either of two neighbours. */
static slot *slot_of(biz_seen *seen, const entry *e, int way)
{
    return &seen->slots[(e->hash[0] % SEEN_SLOTS) ^ (uint64_t)way];
}

static int read_slot(slot *s, entry *e)
{
    uint64_t words[sizeof(entry) / 8],
        before = atomic_load_explicit(&s->sequence, memory_order_acquire);
    size_t i;

    if (before & 1)
        return 0;
    for (i = 0; i < sizeof(entry) / 8; i++)
        words[i] = atomic_load_explicit(&s->words[i], memory_order_acquire);
    if (atomic_load_explicit(&s->sequence, memory_order_relaxed) != before)
        return 0;
    memcpy(e, words, sizeof(*e));
    return 1;
}

static int write_slot(slot *s, const entry *e)
{
    uint64_t words[sizeof(entry) / 8], before = atomic_load(&s->sequence);
    size_t i;

    if ((before & 1) || !atomic_compare_exchange_strong(&s->sequence, &before, before + 1))
        return 0;
    memcpy(words, e, sizeof(*e));
    for (i = 0; i < sizeof(entry) / 8; i++)
        atomic_store_explicit(&s->words[i], words[i], memory_order_release);
    atomic_store_explicit(&s->sequence, before + 2, memory_order_release);
    return 1;
}

int seen_get(biz_seen *seen, apr_pool_t *pool, const char *judge, const char *token,
             token_claims *claims)
{
    entry wanted, found;
    int way;

    if (seen == NULL)
        return 0;
    hash_of(pool, judge, token, wanted.hash);
    for (way = 0; way < 2; way++) {
        if (!read_slot(slot_of(seen, &wanted, way), &found) ||
            !biz_same(found.hash, wanted.hash, sizeof(wanted.hash)))
            continue;
        claims->user_id = apr_pstrndup(pool, found.user_id, ID_BYTES);
        claims->session_id = apr_pstrndup(pool, found.session_id, ID_BYTES);
        claims->expires_at = (apr_time_t)found.expires_at;
        return 1;
    }
    return 0;
}

void seen_put(biz_seen *seen, apr_pool_t *pool, const char *judge, const char *token,
              const token_claims *claims)
{
    entry e, first, second;
    int older;

    if (seen == NULL || strlen(claims->user_id) > ID_BYTES || strlen(claims->session_id) > ID_BYTES)
        return;
    memset(&e, 0, sizeof(e));
    hash_of(pool, judge, token, e.hash);
    memcpy(e.user_id, claims->user_id, strlen(claims->user_id));
    memcpy(e.session_id, claims->session_id, strlen(claims->session_id));
    e.expires_at = (uint64_t)claims->expires_at;
    /* The one that ends sooner makes room; where a writer was killed, the other. */
    older = read_slot(slot_of(seen, &e, 0), &first) && read_slot(slot_of(seen, &e, 1), &second) &&
            second.expires_at < first.expires_at;
    if (!write_slot(slot_of(seen, &e, older), &e))
        write_slot(slot_of(seen, &e, !older), &e);
}
