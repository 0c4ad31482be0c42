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

/* Before the slots of each segment. The marks of slots in use follow the slots. */
struct ap_slotmem_instance_t {
    char *base;
    apr_uint32_t *in_use; /* one word a slot */
    apr_size_t size;
    unsigned int count;
    int fresh;
};

enum { PAGE = 4096, CACHE_LINE = 64 };

/* Where this process keeps a segment from one configuration to the next. */
static const char *key_of(apr_pool_t *pool, const char *name, apr_size_t size, unsigned int count)
{
    return apr_psprintf(pool, "bizapi-slotmem-1-%s-%" APR_SIZE_T_FMT "x%u", name, size, count);
}

static apr_status_t slotmem_create(ap_slotmem_instance_t **out, const char *name, apr_size_t size,
                                   unsigned int count, ap_slotmem_type_t type, apr_pool_t *pool)
{
    apr_pool_t *life = ap_server_conf->process->pool;
    const char *key = key_of(pool, name, size, count);
    ap_slotmem_instance_t *inst = NULL;
    void *known = NULL;
    apr_shm_t *memory;
    apr_size_t slots = APR_ALIGN(size * count, sizeof(apr_uint64_t));
    apr_status_t status;

    (void)type;
    if (size == 0 || count == 0 || slots / size < count)
        return APR_EINVAL;
    apr_pool_userdata_get(&known, key, life);
    if (known != NULL) {
        *out = known;
        (*out)->fresh = 0;
        return APR_SUCCESS;
    }
    status = apr_shm_create(&memory, CACHE_LINE + slots + count * sizeof(apr_uint32_t), NULL, life);
    if (status != APR_SUCCESS)
        return status;
    inst = apr_pcalloc(life, sizeof(*inst));
    /* APR keeps a length in front: slots begin at the next cache line. */
    inst->base = (char *)APR_ALIGN((apr_uintptr_t)apr_shm_baseaddr_get(memory), CACHE_LINE);
    inst->in_use = (apr_uint32_t *)(void *)(inst->base + slots);
    inst->size = size;
    inst->count = count;
    inst->fresh = 1;
    memset(inst->base, 0, slots + count * sizeof(apr_uint32_t));
    *out = inst;
    return apr_pool_userdata_set(inst, apr_pstrdup(life, key), NULL, life);
}

static apr_status_t slotmem_attach(ap_slotmem_instance_t **out, const char *name, apr_size_t *size,
                                   unsigned int *count, apr_pool_t *pool)
{
    void *known = NULL;

    apr_pool_userdata_get(&known, key_of(pool, name, *size, *count), ap_server_conf->process->pool);
    *out = known;
    return known != NULL ? APR_SUCCESS : APR_ENOSHMAVAIL;
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
        if (apr_atomic_read32(&s->in_use[i]))
            status = each(s->base + s->size * i, data, pool);
    return status;
}

static apr_status_t slotmem_get(ap_slotmem_instance_t *s, unsigned int id, unsigned char *to,
                                apr_size_t len)
{
    if (id >= s->count || len > s->size)
        return APR_EINVAL;
    memcpy(to, s->base + s->size * id, len);
    return APR_SUCCESS;
}

static apr_status_t slotmem_put(ap_slotmem_instance_t *s, unsigned int id, unsigned char *from,
                                apr_size_t len)
{
    if (id >= s->count || len > s->size)
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
    if (id >= s->count || apr_atomic_cas32(&s->in_use[id], 0, 1) != 1)
        return APR_NOTFOUND;
    return APR_SUCCESS;
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
    status = storage->create(&inst, name, slot_size, slots, AP_SLOTMEM_TYPE_PREGRAB,
                             main->process->pconf);
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
