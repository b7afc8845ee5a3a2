/*
 * From a 64-bit hash to an ordinal: open addressing with linear probing, at most half full. A slot
 * is 8 bytes: the upper half of the hash and the ordinal + 1 (0 = empty). The owner of the things
 * holds their keys, so it compares them itself:
 *
 *     struct hash_probe probe = hash_index_begin(index, hash);
 *     while ((ordinal = hash_index_next(index, &probe)) != HASH_INDEX_END)
 *         if (key of things[ordinal] is the one) return ordinal;
 *
 * Nothing is removed one by one. Where a slot is depends on the seed and on growth; nothing the
 * machine decides or answers does.
 */
#ifndef TALLY_CORE_HASH_INDEX_H
#define TALLY_CORE_HASH_INDEX_H

#include "core/u128.h"

#include <stddef.h>
#include <stdint.h>

#define HASH_INDEX_END UINT32_MAX

/* Odd numbers from the fraction of pi. */
#define HASH_K0 0xc0ac29b7c97c50ddu
#define HASH_K1 0x9216d5d98979fb1bu
#define HASH_K2 0x452821e638d01377u
#define HASH_K3 0x243f6a8885a308d3u

struct hash_index {
    uint64_t *slots; /* zeroed; room for the capacity at `count_max` */
    uint64_t capacity;
    uint32_t count;
};

struct hash_probe {
    uint64_t position;
    uint32_t tag;
};

/* Slots for up to `count_max` things: the smallest power of two that is at least twice that. */
static inline uint64_t hash_index_capacity(uint64_t count_max)
{
    uint64_t capacity = 16;
    while (capacity < 2 * count_max)
        capacity *= 2;
    return capacity;
}

static inline uint64_t hash_mix(uint64_t a, uint64_t b)
{
    u128 product = (u128)a * b;
    return u128_low(product) ^ u128_high(product);
}

static inline uint64_t hash_id(uint64_t seed, const struct id128 *id)
{
    uint64_t word[2];
    memcpy(word, id->bytes, sizeof word);
    /* Both factors hide behind the seed: whoever knew one could make it zero, and with it the
     * product, whatever the other. */
    uint64_t turned = (seed << 32 | seed >> 32) * HASH_K3;
    uint64_t half = hash_mix(word[0] ^ seed ^ HASH_K0, word[1] ^ turned ^ HASH_K1);
    return hash_mix(half ^ seed, HASH_K2);
}

/* Of `size` bytes: names and URIs. */
uint64_t hash_bytes(uint64_t seed, const void *bytes, size_t size);

static inline void hash_index_prefetch(const struct hash_index *index, uint64_t hash)
{
    __builtin_prefetch(&index->slots[hash & (index->capacity - 1)]);
}

static inline struct hash_probe hash_index_begin(const struct hash_index *index, uint64_t hash)
{
    return (struct hash_probe){
        .position = hash & (index->capacity - 1),
        .tag = (uint32_t)(hash >> 32),
    };
}

/* The next ordinal whose hash has the same upper half, or HASH_INDEX_END. After an ordinal,
 * probe->position is one behind its slot. */
static inline uint32_t hash_index_next(const struct hash_index *index, struct hash_probe *probe)
{
    for (;;) {
        uint64_t slot = index->slots[probe->position];
        if (slot == 0)
            return HASH_INDEX_END;
        probe->position = (probe->position + 1) & (index->capacity - 1);
        if ((uint32_t)(slot >> 32) == probe->tag)
            return (uint32_t)slot - 1;
    }
}

/* Adds an ordinal below UINT32_MAX - 1. Invariant: at most half full afterwards. Of several things
 * with one hash, those added first come first. */
void hash_index_add(struct hash_index *index, uint64_t hash, uint32_t ordinal);

/* Lets the slot that hash_index_next() just returned point to another ordinal. */
void hash_index_replace(struct hash_index *index, const struct hash_probe *probe, uint32_t ordinal);

/* Forgets everything. Costs nothing when empty. */
void hash_index_clear(struct hash_index *index);

#endif
