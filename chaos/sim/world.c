/*
 * The event queue and the trace.
 *
 * The hash takes in numbers and the bytes of static texts, never pointers: the same seed gives the
 * same hash in another process, with or without sanitizers. It covers every turn, message, job and
 * answer, so two runs that differ anywhere differ in it.
 */
#include "chaos/sim/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *sim_allocate(size_t size)
{
    void *pointer = calloc(1, size == 0 ? 1 : size);
    if (pointer == NULL) {
        fprintf(stderr, "tally-sim: no memory for %zu bytes\n", size);
        abort();
    }
    return pointer;
}

void *sim_resize(void *pointer, size_t size)
{
    void *resized = realloc(pointer, size == 0 ? 1 : size);
    if (resized == NULL) {
        fprintf(stderr, "tally-sim: no memory for %zu bytes\n", size);
        abort();
    }
    return resized;
}

void world_init(struct world *world, uint64_t seed, bool verbose, uint32_t ring_count)
{
    *world = (struct world){
        .seed = seed, .verbose = verbose, .ring_count = ring_count, .hash = draw_mix(seed + 1)};
    if (ring_count > 0)
        world->ring = sim_allocate(ring_count * sizeof *world->ring);
}

void world_deinit(struct world *world)
{
    free(world->heap);
    free(world->ring);
    *world = (struct world){0};
}

/* ---- queue ---- */

static bool before(const struct world_event *a, const struct world_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->number < b->number;
}

void world_post(struct world *world, uint64_t at_ns, world_run run, void *context, uint64_t a,
                uint64_t b)
{
    if (world->heap_count == world->heap_capacity) {
        world->heap_capacity = world->heap_capacity == 0 ? 1024 : world->heap_capacity * 2;
        world->heap = sim_resize(world->heap, world->heap_capacity * sizeof *world->heap);
    }
    const struct world_event event = {
        .at_ns = at_ns > world->now_ns ? at_ns : world->now_ns,
        .number = world->next_number++,
        .run = run,
        .context = context,
        .a = a,
        .b = b,
    };
    size_t at = world->heap_count++;
    while (at > 0 && before(&event, &world->heap[(at - 1) / 2])) {
        world->heap[at] = world->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    world->heap[at] = event;
}

static struct world_event take(struct world *world)
{
    const struct world_event first = world->heap[0];
    const struct world_event last = world->heap[--world->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= world->heap_count)
            break;
        if (child + 1 < world->heap_count && before(&world->heap[child + 1], &world->heap[child]))
            child++;
        if (!before(&world->heap[child], &last))
            break;
        world->heap[at] = world->heap[child];
        at = child;
    }
    world->heap[at] = last;
    return first;
}

bool world_run_until(struct world *world, uint64_t until_ns)
{
    while (!world->violated && world->heap_count > 0 && world->heap[0].at_ns <= until_ns) {
        const struct world_event event = take(world);
        world->now_ns = event.at_ns;
        world->event_total++;
        event.run(event.context, event.a, event.b);
    }
    if (!world->violated && world->now_ns < until_ns)
        world->now_ns = until_ns;
    return !world->violated;
}

/* ---- trace ---- */

static void keep_line(struct world *world, const char *line)
{
    if (world->ring_count > 0)
        snprintf(world->ring[world->ring_next++ % world->ring_count], sizeof world->ring[0], "%s",
                 line);
    if (world->verbose)
        fprintf(stderr, "%s\n", line);
}

void world_note(struct world *world, const char *what, uint64_t where, uint64_t a, uint64_t b)
{
    uint64_t word = 0;
    memcpy(&word, what, strnlen(what, sizeof word));
    uint64_t hash = world->hash;
    hash = (hash ^ word ^ (world->now_ns << 8)) * 0x9fb21c651e98df25ull;
    hash ^= hash >> 29;
    hash = (hash ^ where ^ (a << 4)) * 0xbf58476d1ce4e5b9ull;
    hash ^= hash >> 31;
    world->hash = (hash ^ b) * 0x94d049bb133111ebull;
    if (!world->verbose && world->ring_count == 0)
        return;
    char line[200];
    snprintf(line, sizeof line, "%11.6f  %-22s %3" PRIu64 "  %" PRIu64 " %" PRIu64,
             (double)world->now_ns / 1e9, what, where, a, b);
    keep_line(world, line);
}

void world_say(struct world *world, const char *format, ...)
{
    if (!world->verbose && world->ring_count == 0)
        return;
    char line[200];
    int size = snprintf(line, sizeof line, "%11.6f  ", (double)world->now_ns / 1e9);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + size, sizeof line - (size_t)size, format, arguments);
    va_end(arguments);
    keep_line(world, line);
}

void world_tell(struct world *world, const char *format, ...)
{
    if (!world->verbose && world->ring_count == 0 && !world->tells)
        return;
    char line[640];
    const int size = snprintf(line, sizeof line, "%11.6f  ", (double)world->now_ns / 1e9);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + size, sizeof line - (size_t)size, format, arguments);
    va_end(arguments);
    keep_line(world, line);
    if (world->tells && !world->verbose) {
        printf("%s\n", line);
        fflush(stdout); /* a broken invariant may be next */
    }
}

void world_violate(struct world *world, const char *format, ...)
{
    if (world->violated)
        return;
    world->violated = true;
    int size = snprintf(world->violation, sizeof world->violation,
                        "at %.6f s: ", (double)world->now_ns / 1e9);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->violation + size, sizeof world->violation - (size_t)size, format, arguments);
    va_end(arguments);
    world_tell(world, "BROKEN PROMISE: %s", world->violation);
}

void world_print_ring(const struct world *world)
{
    uint64_t first =
        world->ring_next > world->ring_count ? world->ring_next - world->ring_count : 0;
    for (uint64_t i = first; i < world->ring_next; i++)
        fprintf(stderr, "    %s\n", world->ring[i % world->ring_count]);
}
