/*
 * The window ends 24 hours after a request was *issued*, by the clock of its client, which may be a
 * minute wrong; the ledger measures it by its own stamps. A run of a minute never comes there. So
 * the run ends with an evening, in which clocks of clients are wrong, and a morning, so many
 * seconds around 24 h later. What is known of the evening's requests is written down before: their
 * nodes forget them (core's window, memory, id runs, chunks of requests), the oracle does not.
 */
#include "chaos/sim/next_day.h"

#include "replication/node/node_internal.h"

#define EVENING_NS   (2 * NS_PER_S)
#define NIGHT_OFF_NS (200 * NS_PER_MS) /* of world time; clocks go on by a day */
#define EDGE_NS      (20 * NS_PER_S)   /* the night is a day, plus or minus so much */
#define MORNING_NS   (2 * NS_PER_S)
#define AWAY_NS      (1 * NS_PER_S)

bool next_day_evening(struct next_day *next_day)
{
    struct world *world = next_day->world;
    next_day->draw = draw_stream(world->seed, 9900);
    world_tell(world, "the evening: clients whose clocks are up to a minute wrong");
    next_day->clients->time = CLIENTS_EVENING;
    next_day->clients->quiet = false;
    return world_run_until(world, world->now_ns + EVENING_NS);
}

static void remember(struct next_day *next_day)
{
    for (uint32_t i = 0; i < next_day->host_count; i++)
        if (next_day->hosts[i].kind == MEMBER_DATA) {
            oracle_remember(next_day->oracle, next_day->hosts[i].node->machine);
            return;
        }
}

bool next_day_night(struct next_day *next_day)
{
    struct world *world = next_day->world;
    const bool off = draw_chance(&next_day->draw, 1, 2);
    const uint64_t night_ns =
        REQUEST_WINDOW_NS - EDGE_NS + draw_below(&next_day->draw, 2 * EDGE_NS);
    remember(next_day);
    for (uint32_t i = 0; i < next_day->host_count && off; i++) {
        next_day->hosts[i].wanted = false;
        host_kill(&next_day->hosts[i], draw_chance(&next_day->draw, 1, 2));
    }
    if (off && !world_run_until(world, world->now_ns + NIGHT_OFF_NS))
        return false;
    world->slept_ns += night_ns;
    world_note(world, "night", off, night_ns, 0);
    world_tell(world, "a night passes, %s: clocks go on by %.1f s",
               off ? "all machines are off" : "everybody is up", (double)night_ns / 1e9);
    for (uint32_t i = 0; i < next_day->host_count && off; i++)
        host_start(&next_day->hosts[i]);
    next_day->done = true;
    return true;
}

bool next_day_morning(struct next_day *next_day)
{
    struct world *world = next_day->world;
    struct host *victim;
    next_day->clients->time = CLIENTS_MORNING;
    next_day->clients->quiet = false;
    if (!world_run_until(world, world->now_ns + MORNING_NS))
        return false;
    do
        victim = &next_day->hosts[draw_below(&next_day->draw, next_day->host_count)];
    while (victim->kind != MEMBER_DATA);
    victim->wanted = false;
    host_kill(victim, draw_chance(&next_day->draw, 1, 2));
    if (!world_run_until(world, world->now_ns + AWAY_NS))
        return false;
    host_start(victim);
    const bool whole = world_run_until(world, world->now_ns + MORNING_NS);
    next_day->clients->time = CLIENTS_DAY;
    return whole;
}
