/*
 * Memory for requests on their way through the log: header and events, held from decoding until the
 * answer. Two sizes, so that a single transfer does not cost a megabyte; released buffers are kept
 * for the next request, and the sum of all lent bytes is bounded. Loop thread.
 */
#ifndef TALLY_SERVER_BUFFER_POOL_H
#define TALLY_SERVER_BUFFER_POOL_H

#include <stddef.h>
#include <stdint.h>

#define BUFFER_SMALL_SIZE 4096
#define BUFFER_LARGE_SIZE (1024 * 1024)

struct buffer_pool;

/* NULL without memory. `bytes_max`: of lent buffers, counted by their class. */
struct buffer_pool *buffer_pool_create(uint64_t bytes_max);
/* Invariant: every buffer has come back. */
void buffer_pool_destroy(struct buffer_pool *pool);

/* At least `size` bytes (at most BUFFER_LARGE_SIZE), 64-byte aligned, content undefined. NULL when
 * the bound is reached or memory is refused: push back. */
void *buffer_pool_take(struct buffer_pool *pool, size_t size);
/* `size` as it was asked for. */
void buffer_pool_give(struct buffer_pool *pool, void *buffer, size_t size);

uint64_t buffer_pool_bytes(const struct buffer_pool *pool); /* lent now */

#endif
