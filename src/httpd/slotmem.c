/* slotmem.c: a slotmem provider over anonymous shared memory that belongs to the server's life.
 *
 * Apache's own provider makes a new segment at each restart and copies the old one into it: workers
 * of the old generation, which may still answer for minutes, go on counting into the old one. Here
 * both generations share one segment. Children inherit the mapping; nothing has a name in the file
 * system, so nothing is left behind or found by somebody else. */
#include "slotmem.h"

#include <ap_provider.h>
#include <ap_slotmem.h>
#include <apr_atomic.h>
#include <apr_shm.h>
#include <apr_strings.h>
#include <http_main.h>

/* One segment: the slots, then a word for each that tells whether it is in use. */
struct ap_slotmem_instance_t {
    struct ap_slotmem_instance_t *next; /* of the same name: the one in use first */
    char *base;
    apr_uint32_t *in_use;
    apr_size_t size;
    unsigned int count;
    ap_slotmem_type_t type;
    int fresh;
};

enum { PAGE = 4096 };

/* Where the process keeps the segments of a name from one configuration to the next. The module
 * itself may be another by then: the number changes with the structure above. */
static const char *key_of(apr_pool_t *pool, const char *name)
{
    return apr_pstrcat(pool, "bizapi-slotmem-2-", name, NULL);
}

static ap_slotmem_instance_t *segments_of(apr_pool_t *pool, const char *name)
{
    void *known = NULL;

    apr_pool_userdata_get(&known, key_of(pool, name), ap_server_conf->process->pool);
    return known;
}

static apr_status_t make(ap_slotmem_instance_t **out, apr_size_t size, unsigned int count,
                         apr_pool_t *life)
{
    const apr_size_t slots = APR_ALIGN(size * count, sizeof(apr_uint64_t));
    const apr_size_t all = slots + count * sizeof(apr_uint32_t);
    apr_shm_t *memory;
    apr_status_t status;

    if (size == 0 || count == 0 || (size * count) / size != count || all < slots)
        return APR_EINVAL;
    status = apr_shm_create(&memory, all + PAGE, NULL, life);
    if (status != APR_SUCCESS)
        return status;
    *out = apr_pcalloc(life, sizeof(**out));
    /* APR keeps a length in front: slots begin at the next page, so that few lie across two. */
    (*out)->base = apr_shm_baseaddr_get(memory);
    (*out)->base += -(apr_uintptr_t)(*out)->base % PAGE;
    (*out)->in_use = (apr_uint32_t *)(void *)((*out)->base + slots);
    (*out)->size = size;
    (*out)->count = count;
    memset((*out)->base, 0, all);
    return APR_SUCCESS;
}

/* Finds the segment of this name and geometry, or makes it. An older geometry is kept until the
 * server ends: workers of the old generation may still be using it. */
static apr_status_t slotmem_create(ap_slotmem_instance_t **out, const char *name, apr_size_t size,
                                   unsigned int count, ap_slotmem_type_t type, apr_pool_t *pool)
{
    apr_pool_t *life = name != NULL ? ap_server_conf->process->pool : pool;
    ap_slotmem_instance_t *all = name != NULL ? segments_of(pool, name) : NULL, **at = &all;
    ap_slotmem_instance_t *found;
    apr_status_t status;

    while (*at != NULL && ((*at)->size != size || (*at)->count != count))
        at = &(*at)->next;
    found = *at;
    if (found != NULL) {
        *at = found->next;
        found->fresh = 0;
    } else {
        status = make(&found, size, count, life);
        if (status != APR_SUCCESS)
            return status;
        found->fresh = 1;
    }
    found->type = type;
    found->next = all;
    *out = found;
    return name != NULL ? apr_pool_userdata_set(found, key_of(pool, name), NULL, life)
                        : APR_SUCCESS;
}

static apr_status_t slotmem_attach(ap_slotmem_instance_t **out, const char *name, apr_size_t *size,
                                   unsigned int *count, apr_pool_t *pool)
{
    ap_slotmem_instance_t *found = name != NULL ? segments_of(pool, name) : NULL;

    if (found == NULL)
        return APR_ENOSHMAVAIL;
    *size = found->size;
    *count = found->count;
    *out = found;
    return APR_SUCCESS;
}

/* Whether the slot may be read and written: with PREGRAB only after it was grabbed. */
static apr_status_t check(ap_slotmem_instance_t *s, unsigned int id)
{
    if (id >= s->count)
        return APR_EINVAL;
    if ((s->type & AP_SLOTMEM_TYPE_PREGRAB) && !apr_atomic_read32(&s->in_use[id]))
        return APR_NOTFOUND;
    return APR_SUCCESS;
}

static apr_status_t slotmem_dptr(ap_slotmem_instance_t *s, unsigned int id, void **memory)
{
    if (id >= s->count)
        return APR_EINVAL;
    *memory = s->base + s->size * id;
    return APR_SUCCESS;
}

static apr_status_t slotmem_doall(ap_slotmem_instance_t *s, ap_slotmem_callback_fn_t *each,
                                  void *data, apr_pool_t *pool)
{
    apr_status_t status = APR_SUCCESS;
    unsigned int i;

    for (i = 0; i < s->count && status == APR_SUCCESS; i++)
        if (check(s, i) == APR_SUCCESS)
            status = each(s->base + s->size * i, data, pool);
    return status;
}

static apr_status_t slotmem_get(ap_slotmem_instance_t *s, unsigned int id, unsigned char *to,
                                apr_size_t len)
{
    apr_status_t status = check(s, id);

    if (status != APR_SUCCESS)
        return status;
    if (len > s->size)
        return APR_EINVAL;
    memcpy(to, s->base + s->size * id, len);
    return APR_SUCCESS;
}

static apr_status_t slotmem_put(ap_slotmem_instance_t *s, unsigned int id, unsigned char *from,
                                apr_size_t len)
{
    apr_status_t status = check(s, id);

    if (status != APR_SUCCESS)
        return status;
    if (len > s->size)
        return APR_EINVAL;
    memcpy(s->base + s->size * id, from, len);
    apr_atomic_set32(&s->in_use[id], 1);
    return APR_SUCCESS;
}

static unsigned int slotmem_num_slots(ap_slotmem_instance_t *s)
{
    return s->count;
}

static unsigned int slotmem_num_free_slots(ap_slotmem_instance_t *s)
{
    unsigned int i, n = 0;

    for (i = 0; i < s->count; i++)
        n += apr_atomic_read32(&s->in_use[i]) == 0;
    return n;
}

static apr_size_t slotmem_slot_size(ap_slotmem_instance_t *s)
{
    return s->size;
}

static apr_status_t slotmem_fgrab(ap_slotmem_instance_t *s, unsigned int id)
{
    if (id >= s->count)
        return APR_EINVAL;
    apr_atomic_set32(&s->in_use[id], 1);
    return APR_SUCCESS;
}

static apr_status_t slotmem_grab(ap_slotmem_instance_t *s, unsigned int *id)
{
    unsigned int i;

    for (i = 0; i < s->count; i++)
        if (apr_atomic_cas32(&s->in_use[i], 1, 0) == 0) {
            *id = i;
            return APR_SUCCESS;
        }
    return APR_EINVAL;
}

static apr_status_t slotmem_release(ap_slotmem_instance_t *s, unsigned int id)
{
    if (id >= s->count)
        return APR_EINVAL;
    return apr_atomic_cas32(&s->in_use[id], 0, 1) == 1 ? APR_SUCCESS : APR_NOTFOUND;
}

static const ap_slotmem_provider_t provider = {
    BIZ_SLOTMEM,  slotmem_doall,   slotmem_create,    slotmem_attach,         slotmem_dptr,
    slotmem_get,  slotmem_put,     slotmem_num_slots, slotmem_num_free_slots, slotmem_slot_size,
    slotmem_grab, slotmem_release, slotmem_fgrab,
};

void bizapi_slotmem_register(apr_pool_t *pconf)
{
    ap_register_provider(pconf, AP_SLOTMEM_PROVIDER_GROUP, BIZ_SLOTMEM, AP_SLOTMEM_PROVIDER_VERSION,
                         &provider);
}

apr_status_t bizapi_slotmem_segment(server_rec *main, const char *name, size_t slot_size,
                                    unsigned slots, void **base, int *fresh)
{
    const ap_slotmem_provider_t *storage =
        ap_lookup_provider(AP_SLOTMEM_PROVIDER_GROUP, BIZ_SLOTMEM, AP_SLOTMEM_PROVIDER_VERSION);
    ap_slotmem_instance_t *inst;
    apr_status_t status;

    if (storage == NULL)
        return APR_ENOTIMPL;
    status = storage->create(&inst, name, slot_size, slots, 0, main->process->pconf);
    if (status != APR_SUCCESS)
        return status;
    *fresh = inst->fresh;
    return storage->dptr(inst, 0, base);
}

void bizapi_slotmem_touch(const void *base, size_t bytes)
{
    const volatile char *byte = base;
    size_t i;

    for (i = 0; i < bytes; i += PAGE)
        (void)byte[i];
}
