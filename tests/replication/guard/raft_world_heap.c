/*
 * libraft's memory, one list of blocks per node. A crash frees the list: what the library and the
 * guard held is gone as it is with a process. In quarantine a freed block is filled with 0xdd and
 * kept until then. New memory has a fixed content: libraft does not fill all that it writes to its
 * log, and the trace of a seed must not depend on what was in memory before.
 */
#include "raft_world.h"

#include <stdlib.h>
#include <string.h>

#define LIVE  UINT64_C(0x6c6976652d626c6b)
#define FREED UINT64_C(0x66726565642d626b)

struct link {
    struct link *next, *previous;
};

struct block {
    struct link link;
    size_t size;
    uint64_t magic;
    max_align_t memory[];
};

static struct link lists[WORLD_NODES_MAX + 1]; /* heads; the last is nobody's */
static unsigned current = WORLD_NODES_MAX;
static bool keep_freed;
static uint64_t faults;

static void unlink_block(struct block *block)
{
    block->link.next->previous = block->link.previous;
    block->link.previous->next = block->link.next;
}

static void link_block(struct block *block)
{
    struct link *head = &lists[current];
    block->link = (struct link){head->next, head};
    head->next->previous = &block->link;
    head->next = &block->link;
}

static void *heap_malloc(void *data, size_t size)
{
    (void)data;
    struct block *block = malloc(sizeof *block + size);
    if (block == NULL)
        abort();
    block->size = size;
    block->magic = LIVE;
    memset(block->memory, 0xa5, size);
    link_block(block);
    return block->memory;
}

static void heap_free(void *data, void *memory)
{
    (void)data;
    if (memory == NULL)
        return;
    struct block *block = (struct block *)((char *)memory - offsetof(struct block, memory));
    if (block->magic != LIVE) {
        faults++;
        return;
    }
    block->magic = FREED;
    if (keep_freed) {
        memset(block->memory, 0xdd, block->size);
        return;
    }
    unlink_block(block);
    free(block);
}

static void *heap_calloc(void *data, size_t count, size_t size)
{
    void *memory = heap_malloc(data, count * size);
    return memset(memory, 0, count * size);
}

static void *heap_realloc(void *data, void *memory, size_t size)
{
    void *moved = heap_malloc(data, size);
    if (memory != NULL) {
        struct block *block = (struct block *)((char *)memory - offsetof(struct block, memory));
        memcpy(moved, memory, block->size < size ? block->size : size);
        heap_free(data, memory);
    }
    return moved;
}

/* Only raft_uv asks for aligned memory. */
static void *heap_aligned_alloc(void *data, size_t alignment, size_t size)
{
    (void)data, (void)alignment, (void)size;
    abort();
}

static void heap_aligned_free(void *data, size_t alignment, void *memory)
{
    (void)data, (void)alignment, (void)memory;
    abort();
}

void world_heap_install(bool quarantine)
{
    static struct raft_heap heap = {.malloc = heap_malloc,
                                    .free = heap_free,
                                    .calloc = heap_calloc,
                                    .realloc = heap_realloc,
                                    .aligned_alloc = heap_aligned_alloc,
                                    .aligned_free = heap_aligned_free};
    for (unsigned i = 0; i <= WORLD_NODES_MAX; i++) {
        if (lists[i].next == NULL)
            lists[i].next = lists[i].previous = &lists[i];
    }
    keep_freed = quarantine;
    faults = 0;
    raft_heap_set(&heap);
}

void world_heap_enter(unsigned node)
{
    current = node;
}

void world_heap_clear(unsigned node)
{
    struct link *head = &lists[node];
    while (head->next != NULL && head->next != head) {
        struct block *block = (struct block *)head->next; /* its first member */
        unlink_block(block);
        free(block);
    }
}

size_t world_heap_bytes(unsigned node)
{
    size_t bytes = 0;
    const struct link *head = &lists[node];
    for (const struct link *link = head->next; link != NULL && link != head; link = link->next)
        bytes += ((const struct block *)link)->size; /* its first member */
    return bytes;
}

uint64_t world_heap_faults(void)
{
    return faults;
}
