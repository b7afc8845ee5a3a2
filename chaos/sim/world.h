/*
 * Virtual time: a queue of events and the trace of what happened.
 *
 * Events run in the order of (time, number of posting), so equal times are no tie that an address
 * could decide. Nothing is cancelled: an event carries what its owner needs to see that it is
 * stale.
 */
#ifndef TALLY_CHAOS_SIM_WORLD_H
#define TALLY_CHAOS_SIM_WORLD_H

#include "chaos/sim/draw.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

/* What clocks that are right say when a simulation begins: ns since 1970. */
#define WORLD_WALL_NS (1790000000ull * NS_PER_S)

typedef void (*world_run)(void *context, uint64_t a, uint64_t b);

struct world_event {
    uint64_t at_ns;
    uint64_t number;
    world_run run;
    void *context;
    uint64_t a, b;
};

struct world {
    uint64_t seed;
    uint64_t now_ns;
    uint64_t slept_ns; /* how much further clocks are: nights that passed at once (next_day.h) */
    uint64_t event_total;
    uint64_t hash;       /* of everything that was noted */
    bool verbose;        /* notes are printed */
    uint32_t ring_count; /* > 0: the newest notes are kept as text */
    uint64_t ring_next;
    char (*ring)[640];
    bool tells; /* the story goes to stdout, as it happens */
    /* ---- queue: a binary heap ---- */
    struct world_event *heap;
    size_t heap_count, heap_capacity;
    uint64_t next_number;
    /* ---- the first broken promise ends the run ---- */
    bool violated;
    char violation[512];
};

void world_init(struct world *world, uint64_t seed, bool verbose, uint32_t ring_count);
void world_deinit(struct world *world);

/* What clocks that are right say now: ns since 1970. */
static inline uint64_t world_wall_ns(const struct world *world)
{
    return WORLD_WALL_NS + world->slept_ns + world->now_ns;
}

/* Runs at `at_ns`, or now if that has passed. */
void world_post(struct world *world, uint64_t at_ns, world_run run, void *context, uint64_t a,
                uint64_t b);
/* Runs events up to `until_ns` or to the first violation; false when there was one. */
bool world_run_until(struct world *world, uint64_t until_ns);

/* Enters the trace: what (static text), where, two numbers. */
void world_note(struct world *world, const char *what, uint64_t where, uint64_t a, uint64_t b);
/* Only for people: not part of the hash. */
__attribute__((format(printf, 2, 3))) void world_say(struct world *world, const char *format, ...);
/* A line of the story: for people, in words. Not part of the hash. */
__attribute__((format(printf, 2, 3))) void world_tell(struct world *world, const char *format, ...);
/* The first one is kept. */
__attribute__((format(printf, 2, 3))) void world_violate(struct world *world, const char *format,
                                                         ...);
/* The newest notes, oldest first, to stderr. */
void world_print_ring(const struct world *world);

/* Aborts when there is no memory: a simulation without memory tells nothing. */
void *sim_allocate(size_t size); /* zeroed */
void *sim_resize(void *pointer, size_t size);

#endif
