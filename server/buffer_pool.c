/*
 * Two free lists. The heap is asked when a list is empty and given back when a list is long enough:
 * after a burst the process keeps what an ordinary minute needs, not what the burst did.
 */
#include "server/buffer_pool.h"

#include "core/invariant.h"

#include <stdlib.h>

/* Kept for reuse: 1 MiB of small ones, 16 MiB of large ones. */
#define SMALL_KEPT_MAX 256
#define LARGE_KEPT_MAX 16

struct free_buffer {
    struct free_buffer *next;
};

struct buffer_list {
    size_t size;
    uint32_t kept, kept_max;
    struct free_buffer *first;
};

struct buffer_pool {
    uint64_t bytes, bytes_max;
    struct buffer_list small, large;
};

struct buffer_pool *buffer_pool_create(uint64_t bytes_max)
{
    struct buffer_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return NULL;
    pool->bytes_max = bytes_max;
    pool->small = (struct buffer_list){.size = BUFFER_SMALL_SIZE, .kept_max = SMALL_KEPT_MAX};
    pool->large = (struct buffer_list){.size = BUFFER_LARGE_SIZE, .kept_max = LARGE_KEPT_MAX};
    return pool;
}

static void list_clear(struct buffer_list *list)
{
    while (list->first) {
        struct free_buffer *buffer = list->first;
        list->first = buffer->next;
        free(buffer);
    }
}

void buffer_pool_destroy(struct buffer_pool *pool)
{
    if (!pool)
        return;
    invariant_values(pool->bytes == 0, pool->bytes, 0);
    list_clear(&pool->small);
    list_clear(&pool->large);
    free(pool);
}

static struct buffer_list *list_for(struct buffer_pool *pool, size_t size)
{
    invariant_values(size <= BUFFER_LARGE_SIZE, size, BUFFER_LARGE_SIZE);
    return size <= BUFFER_SMALL_SIZE ? &pool->small : &pool->large;
}

void *buffer_pool_take(struct buffer_pool *pool, size_t size)
{
    struct buffer_list *list = list_for(pool, size);
    if (list->size > pool->bytes_max - pool->bytes)
        return NULL;
    void *buffer = list->first;
    if (buffer) {
        list->first = list->first->next;
        list->kept--;
    } else {
        buffer = aligned_alloc(64, list->size);
        if (!buffer)
            return NULL;
    }
    pool->bytes += list->size;
    return buffer;
}

void buffer_pool_give(struct buffer_pool *pool, void *buffer, size_t size)
{
    struct buffer_list *list = list_for(pool, size);
    invariant_values(pool->bytes >= list->size, pool->bytes, list->size);
    pool->bytes -= list->size;
    if (list->kept == list->kept_max) {
        free(buffer);
        return;
    }
    struct free_buffer *kept = buffer;
    kept->next = list->first;
    list->first = kept;
    list->kept++;
}

uint64_t buffer_pool_bytes(const struct buffer_pool *pool)
{
    return pool->bytes;
}
