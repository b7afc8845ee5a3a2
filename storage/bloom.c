/*
 * A Bloom filter whose bits for one key lie in one cache line.
 *
 * The block is picked by the high bits of the hash and the bits inside it by a remix of the whole.
 * Since id runs are sorted by hash, filling the filter from a run walks memory in order: that makes
 * the rebuild at open cheap.
 *
 * It may only ever err towards "perhaps". Therefore adding comes before the epoch's transaction,
 * and an aborted transaction leaves bits behind on purpose.
 */
#include "storage/bloom.h"

#include "core/u128.h"

#include <stdlib.h>

#define BLOCK_BYTES 64u
#define BLOCK_WORDS 8u
#define PROBES      8u

enum status bloom_init(struct bloom *bloom, uint64_t bytes)
{
    uint64_t blocks = bytes / BLOCK_BYTES;
    if (blocks == 0)
        blocks = 1;
    if (blocks > SIZE_MAX / BLOCK_BYTES - 1)
        return STATUS_NO_MEMORY;
    /* Zeros from the system, which takes no memory for what nobody has touched. */
    bloom->memory = calloc(blocks + 1, BLOCK_BYTES);
    if (bloom->memory == NULL)
        return STATUS_NO_MEMORY;
    const uintptr_t aligned = ((uintptr_t)bloom->memory + BLOCK_BYTES - 1) / BLOCK_BYTES;
    bloom->words = (uint64_t *)(aligned * BLOCK_BYTES);
    bloom->block_count = blocks;
    return STATUS_OK;
}

void bloom_deinit(struct bloom *bloom)
{
    free(bloom->memory);
    bloom->memory = NULL;
    bloom->words = NULL;
    bloom->block_count = 0;
}

void bloom_clear(struct bloom *bloom)
{
    for (uint64_t i = 0; i < bloom->block_count * BLOCK_WORDS; i++)
        __atomic_store_n(&bloom->words[i], 0, __ATOMIC_RELAXED);
}

static uint64_t *block_of(const struct bloom *bloom, uint64_t hash)
{
    return bloom->words + (uint64_t)(((u128)hash * bloom->block_count) >> 64) * BLOCK_WORDS;
}

/* Eight windows of 9 bits, 7 apart, out of 64 remixed bits. */
static uint64_t remix(uint64_t hash)
{
    hash ^= hash >> 32;
    hash *= 0xd6e8feb86659fd93ull;
    return hash ^ (hash >> 32);
}

void bloom_add(struct bloom *bloom, uint64_t hash)
{
    uint64_t *block = block_of(bloom, hash), mixed = remix(hash);
    for (unsigned i = 0; i < PROBES; i++) {
        unsigned bit = (unsigned)(mixed >> (7 * i)) & 511;
        uint64_t *word = &block[bit / 64], mask = 1ull << (bit % 64);
        uint64_t old = __atomic_load_n(word, __ATOMIC_RELAXED);
        if (!(old & mask)) /* one thread adds, so load and store suffice */
            __atomic_store_n(word, old | mask, __ATOMIC_RELAXED);
    }
}

bool bloom_may_contain(const struct bloom *bloom, uint64_t hash)
{
    const uint64_t *block = block_of(bloom, hash);
    uint64_t mixed = remix(hash);
    for (unsigned i = 0; i < PROBES; i++) {
        unsigned bit = (unsigned)(mixed >> (7 * i)) & 511;
        if (!(__atomic_load_n(&block[bit / 64], __ATOMIC_RELAXED) & (1ull << (bit % 64))))
            return false;
    }
    return true;
}

void bloom_prefetch(const struct bloom *bloom, uint64_t hash)
{
    __builtin_prefetch(block_of(bloom, hash));
}
