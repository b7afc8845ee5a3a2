/* The rare half of the hash index: what is not on the path of a lookup. See hash_index.h. */
#include "core/hash_index.h"

#include "core/invariant.h"

uint64_t hash_bytes(uint64_t seed, const void *bytes, size_t size)
{
    const uint8_t *next = bytes;
    uint64_t hash = hash_mix(seed ^ HASH_K0, size ^ HASH_K1);
    while (size > 0) {
        size_t step = size < sizeof(uint64_t) ? size : sizeof(uint64_t);
        uint64_t word = 0;
        memcpy(&word, next, step);
        hash = hash_mix(hash ^ word, HASH_K2);
        next += step;
        size -= step;
    }
    return hash_mix(hash, HASH_K3);
}

void hash_index_add(struct hash_index *index, uint64_t hash, uint32_t ordinal)
{
    invariant_values(ordinal < UINT32_MAX - 1, ordinal, index->count);
    invariant_values(2 * ((uint64_t)index->count + 1) <= index->capacity, index->count,
                     index->capacity);
    uint64_t position = hash & (index->capacity - 1);
    while (index->slots[position] != 0)
        position = (position + 1) & (index->capacity - 1);
    index->slots[position] = (hash >> 32 << 32) | (ordinal + 1);
    index->count++;
}

void hash_index_replace(struct hash_index *index, const struct hash_probe *probe, uint32_t ordinal)
{
    uint64_t position = (probe->position - 1) & (index->capacity - 1);
    invariant((uint32_t)(index->slots[position] >> 32) == probe->tag);
    index->slots[position] = (uint64_t)probe->tag << 32 | (ordinal + 1);
}

void hash_index_clear(struct hash_index *index)
{
    if (index->count == 0)
        return;
    memset(index->slots, 0, index->capacity * sizeof index->slots[0]);
    index->count = 0;
}
