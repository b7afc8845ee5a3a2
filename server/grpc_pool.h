/* Buffers for messages and answers: a few size classes, kept for reuse up to a bound. */
#ifndef TALLY_SERVER_GRPC_POOL_H
#define TALLY_SERVER_GRPC_POOL_H

#include <stddef.h>
#include <stdint.h>

struct grpc_buffer {
    struct grpc_buffer *next; /* the owner's list, or ours */
    uint32_t capacity;        /* bytes that fit; what a principal is charged */
    uint32_t size;            /* the owner's */
    _Alignas(16) uint8_t bytes[];
};

#define GRPC_POOL_CLASSES 5

struct grpc_pool {
    struct grpc_buffer *free_lists[GRPC_POOL_CLASSES];
    uint64_t kept_bytes;
};

void grpc_pool_init(struct grpc_pool *pool);
void grpc_pool_deinit(
    struct grpc_pool *pool); /* frees what is kept; buffers out there stay valid */

/* At least `size` bytes, content unspecified; NULL when memory ran out. */
struct grpc_buffer *grpc_pool_take(struct grpc_pool *pool, size_t size);
/* NULL is allowed. */
void grpc_pool_give(struct grpc_pool *pool, struct grpc_buffer *buffer);

/* The capacity that a take of `size` bytes yields. */
uint32_t grpc_pool_capacity(size_t size);

#endif
