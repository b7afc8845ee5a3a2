/*
 * A binary heap of pointers. Each entry knows its place, so that removing one from the middle (the
 * usual end of a deadline: the answer came first) costs O(log n) and no search.
 *
 * Invariant: entries[i]->place == i + 1, and a parent is never later than its children. Times may
 * repeat. The array grows by doubling and is never shrunk: it is bounded by the calls admitted.
 */
#include "net/deadline.h"

#include "core/invariant.h"

#include <stdlib.h>
#include <string.h>

void deadline_heap_init(struct deadline_heap *heap)
{
    memset(heap, 0, sizeof *heap);
}

void deadline_heap_deinit(struct deadline_heap *heap)
{
    for (uint32_t i = 0; i < heap->count; i++)
        heap->entries[i]->place = 0;
    free(heap->entries);
    memset(heap, 0, sizeof *heap);
}

static void heap_put(struct deadline_heap *heap, uint32_t index, struct deadline *deadline)
{
    heap->entries[index] = deadline;
    deadline->place = index + 1;
}

static void heap_rise(struct deadline_heap *heap, uint32_t index)
{
    struct deadline *rising = heap->entries[index];
    while (index > 0) {
        uint32_t parent = (index - 1) / 2;
        if (heap->entries[parent]->at_ns <= rising->at_ns)
            break;
        heap_put(heap, index, heap->entries[parent]);
        index = parent;
    }
    heap_put(heap, index, rising);
}

static void heap_sink(struct deadline_heap *heap, uint32_t index)
{
    struct deadline *sinking = heap->entries[index];
    for (;;) {
        uint32_t child = 2 * index + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count &&
            heap->entries[child + 1]->at_ns < heap->entries[child]->at_ns)
            child++;
        if (heap->entries[child]->at_ns >= sinking->at_ns)
            break;
        heap_put(heap, index, heap->entries[child]);
        index = child;
    }
    heap_put(heap, index, sinking);
}

enum status deadline_heap_add(struct deadline_heap *heap, struct deadline *deadline)
{
    invariant_values(deadline->place == 0, deadline->place, heap->count);
    if (heap->count == heap->capacity) {
        uint32_t capacity = heap->capacity ? heap->capacity * 2 : 256;
        struct deadline **entries = realloc(heap->entries, capacity * sizeof(struct deadline *));
        if (!entries)
            return STATUS_NO_MEMORY;
        heap->entries = entries;
        heap->capacity = capacity;
    }
    heap_put(heap, heap->count++, deadline);
    heap_rise(heap, heap->count - 1);
    return STATUS_OK;
}

void deadline_heap_remove(struct deadline_heap *heap, struct deadline *deadline)
{
    if (deadline->place == 0)
        return;
    uint32_t index = deadline->place - 1;
    invariant_values(index < heap->count, index, heap->count);
    invariant(heap->entries[index] == deadline);
    struct deadline *last = heap->entries[--heap->count];
    deadline->place = 0;
    if (last == deadline)
        return;
    heap_put(heap, index, last);
    heap_rise(heap, index);
    heap_sink(heap, last->place - 1);
}

struct deadline *deadline_heap_first(const struct deadline_heap *heap)
{
    return heap->count ? heap->entries[0] : NULL;
}
