/*
 * A night passes: everybody's wall clock goes on by a day, give or take seconds, so that requests
 * of the evening are just inside or just outside of the window in which they are remembered. Who
 * repeats one in the morning gets the answer of the evening, or hears that it is too old; nothing
 * is executed again.
 */
#ifndef TALLY_CHAOS_SIM_NEXT_DAY_H
#define TALLY_CHAOS_SIM_NEXT_DAY_H

#include "chaos/sim/client.h"

struct next_day {
    /* ---- filled in before the evening ---- */
    struct world *world;
    struct host *hosts;
    uint32_t host_count;
    struct clients *clients;
    struct oracle *oracle;
    /* ---- ours ---- */
    struct draw draw;
    bool done;
};

/* Load by clients whose clocks are up to 55 s wrong. False: a promise was broken, here and below.
 */
bool next_day_evening(struct next_day *next_day);
/* At rest, everything answered. Half of the time all machines are switched off for the night. */
bool next_day_night(struct next_day *next_day);
/* Load, most of it repeats; a data node is killed, and starts again, meanwhile. */
bool next_day_morning(struct next_day *next_day);

#endif
