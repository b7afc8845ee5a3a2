/* 128-bit unsigned integers (amounts, in minor units) and opaque 128-bit identifiers. */
#ifndef TALLY_CORE_U128_H
#define TALLY_CORE_U128_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128;

#define U128_MAX (~(u128)0)

static inline u128 u128_make(uint64_t low, uint64_t high)
{
    return (u128)high << 64 | low;
}

static inline uint64_t u128_low(u128 value)
{
    return (uint64_t)value;
}

static inline uint64_t u128_high(u128 value)
{
    return (uint64_t)(value >> 64);
}

/* Identifiers are opaque: 16 bytes, compared for equality and hashed, never calculated with. */
struct id128 {
    uint8_t bytes[16];
};

static inline bool id128_equal(const struct id128 *a, const struct id128 *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static inline bool id128_is_zero(const struct id128 *id)
{
    static const struct id128 zero;
    return id128_equal(id, &zero);
}

/* All bits set: reserved, so that "after every id" can be said. */
static inline bool id128_is_max(const struct id128 *id)
{
    uint64_t word[2];
    memcpy(word, id->bytes, sizeof word);
    return (word[0] & word[1]) == UINT64_MAX;
}

/* Formats are little-endian and read by memcpy; another byte order needs its own codec. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Tallystick's formats are little-endian; this machine is not"
#endif

#endif
