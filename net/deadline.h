/*
 * Deadlines by time: a binary heap of borrowed entries, the earliest first. The owner of an entry
 * embeds it and recovers itself with container_of. One thread.
 */
#ifndef TALLY_NET_DEADLINE_H
#define TALLY_NET_DEADLINE_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

struct deadline {
    uint64_t at_ns; /* uv_hrtime() */
    /* ours */
    uint32_t place; /* 1 + index in the heap; 0 = not in it */
};

struct deadline_heap {
    struct deadline **entries;
    uint32_t count, capacity;
};

void deadline_heap_init(struct deadline_heap *heap);
void deadline_heap_deinit(struct deadline_heap *heap); /* entries are only forgotten */

/* at_ns is set, the entry is in no heap. STATUS_NO_MEMORY: unchanged. */
enum status deadline_heap_add(struct deadline_heap *heap, struct deadline *deadline);
/* Harmless when the entry is not in the heap. */
void deadline_heap_remove(struct deadline_heap *heap, struct deadline *deadline);
/* The earliest, or NULL. */
struct deadline *deadline_heap_first(const struct deadline_heap *heap);

#endif
