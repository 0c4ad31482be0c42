/* slotmem.h: slot memory (ap_slotmem.h) that outlives graceful restarts. Used by startup.c and
 * child.c; other modules may find it by name like any slotmem provider. */
#ifndef BIZ_SLOTMEM_H
#define BIZ_SLOTMEM_H

#include <httpd.h>

#define BIZ_SLOTMEM "bizapi" /* the provider's name in AP_SLOTMEM_PROVIDER_GROUP */

void bizapi_slotmem_register(apr_pool_t *pconf);

/* Slots by the provider, found again after a graceful restart when name, size and number are the
 * same (the name tells the layout of what is in them, too); another size or number makes fresh,
 * zeroed ones, and the old ones stay until the server ends, to be found again should their geometry
 * come back. They begin at a page. `fresh`: 1 where they were made now. In the parent, before the
 * fork. */
apr_status_t bizapi_slotmem_segment(server_rec *main, const char *name, size_t slot_size,
                                    unsigned slots, void **base, int *fresh);

/* Reads one byte a page, so that the pages count as this process' from the start and later use
 * makes it no larger. */
void bizapi_slotmem_touch(const void *base, size_t bytes);

#endif
