/*
 * Anonymous mappings behind `struct memory`. The account table is reserved for the ledger's bound
 * (ACCOUNTS_MAX) but only what is used becomes resident. MAP_NORESERVE, since a strict overcommit
 * policy would otherwise count pages that may never be touched.
 */
#include "replication/memory.h"

#include "core/invariant.h"

#include <sys/mman.h>

static void *pages_allocate(void *context, size_t size)
{
    (void)context;
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

static void pages_release(void *context, void *pointer, size_t size)
{
    (void)context;
    if (pointer != NULL)
        invariant(munmap(pointer, size) == 0);
}

struct memory memory_pages(void)
{
    return (struct memory){.allocate = pages_allocate, .release = pages_release};
}
