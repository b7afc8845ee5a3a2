/* Random numbers of the simulator: splitmix64 streams, so that one seed decides everything and a
 * part that draws more does not move the others. */
#ifndef TALLY_CHAOS_SIM_DRAW_H
#define TALLY_CHAOS_SIM_DRAW_H

#include "core/u128.h"

#include <stdbool.h>
#include <stdint.h>

struct draw {
    uint64_t state;
};

static inline uint64_t draw_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static inline uint64_t draw_u64(struct draw *draw)
{
    return draw_mix(draw->state += 0x9e3779b97f4a7c15ull);
}

/* A stream of its own for `purpose`. */
static inline struct draw draw_stream(uint64_t seed, uint64_t purpose)
{
    return (struct draw){draw_mix(seed * 0x9e3779b97f4a7c15ull + draw_mix(purpose + 1))};
}

/* 0 .. below - 1; 0 when below is 0. */
static inline uint64_t draw_below(struct draw *draw, uint64_t below)
{
    return below == 0 ? 0 : (uint64_t)(((u128)draw_u64(draw) * below) >> 64);
}

/* low .. high, both included. */
static inline uint64_t draw_between(struct draw *draw, uint64_t low, uint64_t high)
{
    return low + draw_below(draw, high - low + 1);
}

/* True `count` times in `of`. */
static inline bool draw_chance(struct draw *draw, uint64_t count, uint64_t of)
{
    return draw_below(draw, of) < count;
}

#endif
