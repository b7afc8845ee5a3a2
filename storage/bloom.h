/*
 * A blocked Bloom filter over 64-bit hashes: "certainly not here" without touching a disk page.
 *
 * Eight bits in one 64-byte block per hash, so one cache line per question. At 12 bits per key
 * about one new key in 200 is taken for a known one, and only costs a look-up. One thread adds
 * while another asks (relaxed atomics): a key counts once its adder has been synchronized with.
 */
#ifndef TALLY_STORAGE_BLOOM_H
#define TALLY_STORAGE_BLOOM_H

#include "core/status.h"

#include <stdbool.h>
#include <stdint.h>

struct bloom {
    void *memory;
    uint64_t *words; /* in it, on a cache line */
    uint64_t block_count;
};

/* `bytes` is rounded down to blocks of 64, at least one. STATUS_NO_MEMORY. */
enum status bloom_init(struct bloom *bloom, uint64_t bytes);
void bloom_deinit(struct bloom *bloom);
void bloom_clear(struct bloom *bloom);
void bloom_add(struct bloom *bloom, uint64_t hash);
/* False: never added. True: probably added. */
bool bloom_may_contain(const struct bloom *bloom, uint64_t hash);
/* Brings the hash's block into the processor's cache. */
void bloom_prefetch(const struct bloom *bloom, uint64_t hash);

#endif
