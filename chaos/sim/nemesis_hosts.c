/*
 * Faults of one machine: its process, its disk, its clocks. Each ends by itself, by an event that
 * is stale as soon as everything was healed.
 */
#include "chaos/sim/nemesis_internal.h"

static uint64_t now(const struct nemesis *nemesis)
{
    return nemesis->world->now_ns;
}

/* ---- processes and machines ---- */

void nemesis_kill(struct nemesis *nemesis, struct host *host)
{
    (void)nemesis;
    host_kill(host, false);
}

void nemesis_lose_power(struct nemesis *nemesis, struct host *host)
{
    (void)nemesis;
    host_kill(host, true);
}

void nemesis_drain(struct nemesis *nemesis, struct host *host)
{
    (void)nemesis;
    host_drain(host);
}

void nemesis_halt(struct nemesis *nemesis, struct host *host)
{
    host->disk.halt_in = (uint32_t)draw_between(&nemesis->draw, 1, 40);
}

void nemesis_pause(struct nemesis *nemesis, struct host *host)
{
    host_pause(host, now(nemesis) + nemesis_duration(nemesis, 400 * NS_PER_MS, 5 * NS_PER_S));
}

static void end_many(struct nemesis *nemesis, bool power_loss)
{
    const uint64_t share = draw_between(&nemesis->draw, 1, 3);
    for (uint32_t i = 0; i < nemesis->host_count; i++)
        if (share == 3 || draw_chance(&nemesis->draw, share, 3))
            host_kill(&nemesis->hosts[i], power_loss);
}

void nemesis_kill_many(struct nemesis *nemesis, struct host *host)
{
    (void)host;
    end_many(nemesis, false);
}

void nemesis_lose_power_many(struct nemesis *nemesis, struct host *host)
{
    (void)host;
    end_many(nemesis, true);
}

void nemesis_wipe(struct nemesis *nemesis, struct host *host)
{
    /* One at a time is what is promised. */
    if (operators_may_lose_disk(nemesis->operators))
        (void)members_replace(nemesis->members, host->number);
}

/* Everybody is asked; only who leads takes it. */
void nemesis_hand_over(struct nemesis *nemesis, struct host *to)
{
    const bool anybody = draw_chance(&nemesis->draw, 1, 3);
    for (uint32_t i = 0; i < nemesis->host_count; i++) {
        struct host *host = &nemesis->hosts[i];
        struct node_error error;
        if (!host_is_up(host) || host->busy_until_ns > now(nemesis))
            continue;
        (void)node_transfer_leadership(host->node, anybody ? 0 : to->node_id, &error);
        host_left(host);
    }
}

/* ---- disks ---- */

void nemesis_stick(struct nemesis *nemesis, struct host *host)
{
    uint64_t duration = nemesis_duration(nemesis, 800 * NS_PER_MS, 6 * NS_PER_S);
    if (draw_chance(&nemesis->draw, 1, 16))
        duration = 40 * NS_PER_S;
    host->disk.stuck_until_ns = now(nemesis) + duration;
    nemesis_excuse(nemesis, host, duration);
}

static void end_slow(void *context, uint64_t number, uint64_t round)
{
    struct nemesis *nemesis = context;
    if (round == nemesis->round)
        nemesis->hosts[number].disk.slow_factor = 1;
}

static void end_full(void *context, uint64_t number, uint64_t round)
{
    struct nemesis *nemesis = context;
    if (round == nemesis->round)
        nemesis->hosts[number].disk.capacity = UINT64_MAX;
}

void nemesis_fill(struct nemesis *nemesis, struct host *host)
{
    const uint64_t duration = nemesis_duration(nemesis, 3 * NS_PER_S, 15 * NS_PER_S);
    host->disk.capacity = host->disk.used + draw_below(&nemesis->draw, 6u << 20);
    nemesis_excuse(nemesis, host, duration);
    world_post(nemesis->world, now(nemesis) + duration, end_full, nemesis, host->number,
               nemesis->round);
}

void nemesis_slow_disk(struct nemesis *nemesis, struct host *host)
{
    host->disk.slow_factor = (uint32_t)draw_between(&nemesis->draw, 5, 60);
    nemesis_excuse(nemesis, host, 10 * NS_PER_S);
    world_post(nemesis->world,
               now(nemesis) + nemesis_duration(nemesis, 2 * NS_PER_S, 10 * NS_PER_S), end_slow,
               nemesis, host->number, nemesis->round);
}

void nemesis_fail_once(struct nemesis *nemesis, struct host *host)
{
    host->disk.fail_in = (uint32_t)draw_between(&nemesis->draw, 1, 30);
    nemesis_excuse(nemesis, host, 30 * NS_PER_S);
}

static void end_io_errors(void *context, uint64_t number, uint64_t round)
{
    struct nemesis *nemesis = context;
    if (round == nemesis->round)
        nemesis->hosts[number].disk.fail_per_mille = 0;
}

/* Mostly some: with many of them a process does not even start. */
void nemesis_fail_often(struct nemesis *nemesis, struct host *host)
{
    const uint64_t duration = nemesis_duration(nemesis, 4 * NS_PER_S, 12 * NS_PER_S);
    host->disk.fail_per_mille =
        (uint32_t)draw_between(&nemesis->draw, 2, draw_chance(&nemesis->draw, 1, 3) ? 100 : 30);
    world_tell(nemesis->world, "    %u of 1000 calls for %.1f s", host->disk.fail_per_mille,
               (double)duration / 1e9);
    nemesis_excuse(nemesis, host, duration);
    world_post(nemesis->world, now(nemesis) + duration, end_io_errors, nemesis, host->number,
               nemesis->round);
}

/* ---- clocks ---- */

static void end_clock(void *context, uint64_t number, uint64_t round)
{
    struct nemesis *nemesis = context;
    if (round == nemesis->round)
        nemesis->hosts[number].wall_offset_ns = 0;
}

void nemesis_jump_clock(struct nemesis *nemesis, struct host *host)
{
    static const uint64_t sizes[] = {20 * NS_PER_MS, 600 * NS_PER_MS, 10 * NS_PER_S,
                                     3600 * NS_PER_S};
    const int64_t size = (int64_t)draw_below(
        &nemesis->draw, sizes[draw_below(&nemesis->draw, sizeof sizes / sizeof sizes[0])]);
    host->wall_offset_ns = draw_chance(&nemesis->draw, 1, 2) ? size : -size;
    world_post(nemesis->world,
               now(nemesis) + nemesis_duration(nemesis, 2 * NS_PER_S, 20 * NS_PER_S), end_clock,
               nemesis, host->number, nemesis->round);
}

static void end_drift(void *context, uint64_t number, uint64_t round)
{
    struct nemesis *nemesis = context;
    if (round == nemesis->round)
        host_drift(&nemesis->hosts[number], 0, 0);
}

/* The wall clock up to a tenth, what timers go by up to a hundredth: no crystal is worse. */
void nemesis_drift(struct nemesis *nemesis, struct host *host)
{
    static const uint64_t wall_ppm[] = {200, 5000, 100000};
    int64_t wall =
        (int64_t)draw_between(&nemesis->draw, 1, wall_ppm[draw_below(&nemesis->draw, 3)]);
    int64_t timers = (int64_t)draw_below(&nemesis->draw, 10001);
    if (draw_chance(&nemesis->draw, 1, 2))
        wall = -wall;
    if (draw_chance(&nemesis->draw, 1, 2))
        timers = -timers;
    const uint64_t duration = nemesis_duration(nemesis, 5 * NS_PER_S, 30 * NS_PER_S);
    world_tell(nemesis->world, "    by %+.2f %%, its timers by %+.2f %%, for %.1f s",
               (double)wall / 1e4, (double)timers / 1e4, (double)duration / 1e9);
    host_drift(host, wall, timers);
    world_post(nemesis->world, now(nemesis) + duration, end_drift, nemesis, host->number,
               nemesis->round);
}
