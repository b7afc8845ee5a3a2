/*
 * The pool. A 1 MiB message taken from malloc each time costs 256 page faults, more than decoding
 * it. So given-back buffers wait in a list per size class, newest first (warm in the cache), up to
 * KEPT_BYTES_MAX in all; beyond that they go back to malloc. Sizes above the largest class are
 * allocated exactly and never kept: only answers larger than the message limit are.
 *
 * What bounds the buffers in use is not here but in the principal's account (grpc_principal.c).
 */
#include "server/grpc_pool.h"

#include "core/invariant.h"

#include <stdlib.h>
#include <string.h>

/* 32 whole messages, or as many small ones: a busy server's working set. */
#define KEPT_BYTES_MAX (32u * 1024 * 1024)

/* One transfer; a page; a moderate batch; the stream window; a whole message and its prefix. */
static const uint32_t class_capacity[GRPC_POOL_CLASSES] = {512, 4096, 32 * 1024, 132 * 1024,
                                                           1152 * 1024};

static int class_of(size_t size)
{
    for (int i = 0; i < GRPC_POOL_CLASSES; i++)
        if (size <= class_capacity[i])
            return i;
    return -1;
}

uint32_t grpc_pool_capacity(size_t size)
{
    invariant_values(size <= UINT32_MAX, size, 0);
    int class = class_of(size);
    return class < 0 ? (uint32_t)size : class_capacity[class];
}

void grpc_pool_init(struct grpc_pool *pool)
{
    memset(pool, 0, sizeof *pool);
}

void grpc_pool_deinit(struct grpc_pool *pool)
{
    for (int i = 0; i < GRPC_POOL_CLASSES; i++) {
        while (pool->free_lists[i]) {
            struct grpc_buffer *buffer = pool->free_lists[i];
            pool->free_lists[i] = buffer->next;
            free(buffer);
        }
    }
    pool->kept_bytes = 0;
}

struct grpc_buffer *grpc_pool_take(struct grpc_pool *pool, size_t size)
{
    int class = class_of(size);
    struct grpc_buffer *buffer = class < 0 ? NULL : pool->free_lists[class];
    if (buffer) {
        pool->free_lists[class] = buffer->next;
        pool->kept_bytes -= buffer->capacity;
    } else {
        uint32_t capacity = grpc_pool_capacity(size);
        buffer = malloc(sizeof *buffer + capacity);
        if (!buffer)
            return NULL;
        buffer->capacity = capacity;
    }
    buffer->next = NULL;
    buffer->size = 0;
    return buffer;
}

void grpc_pool_give(struct grpc_pool *pool, struct grpc_buffer *buffer)
{
    if (!buffer)
        return;
    int class = class_of(buffer->capacity);
    if (class < 0 || class_capacity[class] != buffer->capacity ||
        pool->kept_bytes + buffer->capacity > KEPT_BYTES_MAX) {
        free(buffer);
        return;
    }
    buffer->next = pool->free_lists[class];
    pool->free_lists[class] = buffer;
    pool->kept_bytes += buffer->capacity;
}
