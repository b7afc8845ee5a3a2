/*
 * libraft's memory. It leaves bytes of barriers and the padding of configurations to what memory
 * held before, and those go to the journal and to the peers: so memory is cleared when it is handed
 * out, and what goes out never tells what was there.
 *
 * libraft treats a failed allocation in a dozen ways, not all of them sound; the guard stops the
 * process on those it sees. Ours never fails instead: a node without memory stops at once.
 */
#include "replication/consensus/consensus_raft_internal.h"

#include "core/invariant.h"

#include <stdlib.h>

static void *taken(void *memory, size_t size)
{
    invariant_values(memory != NULL || size == 0, size, 0);
    return memory;
}

static void *heap_malloc(void *data, size_t size)
{
    (void)data;
    return taken(calloc(1, size), size);
}

static void heap_free(void *data, void *memory)
{
    (void)data;
    free(memory);
}

static void *heap_calloc(void *data, size_t count, size_t size)
{
    (void)data;
    return taken(calloc(count, size), count);
}

static void *heap_realloc(void *data, void *memory, size_t size)
{
    (void)data;
    return taken(realloc(memory, size), size);
}

static void *heap_aligned_alloc(void *data, size_t alignment, size_t size)
{
    (void)data;
    return taken(aligned_alloc(alignment, size), size);
}

static void heap_aligned_free(void *data, size_t alignment, void *memory)
{
    (void)data;
    (void)alignment;
    free(memory);
}

void raft_io_use_heap(void)
{
    static struct raft_heap heap = {
        .malloc = heap_malloc,
        .free = heap_free,
        .calloc = heap_calloc,
        .realloc = heap_realloc,
        .aligned_alloc = heap_aligned_alloc,
        .aligned_free = heap_aligned_free,
    };
    raft_heap_set(&heap);
}

void *raft_io_take(size_t size)
{
    return malloc(size);
}
