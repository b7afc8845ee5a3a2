/*
 * Faults of the network. Connections carry bytes in order or break, so what is lost, slow or comes
 * twice on the wire becomes delay, a break, or two connections at once here (network_weather.h).
 *
 * Cuts of pairs that leave no clean sides are the ones that elections like least: everybody sees
 * somebody, and no two of them see the same.
 */
#include "chaos/sim/nemesis_internal.h"
#include "chaos/sim/network_weather.h"

#include <inttypes.h>
#include <string.h>

static uint64_t now(const struct nemesis *nemesis)
{
    return nemesis->world->now_ns;
}

static uint64_t pair_of(uint64_t a, uint64_t b)
{
    return a * HOSTS_MAX + b;
}

/* ---- cuts ---- */

static void heal(void *context, uint64_t pair, uint64_t round)
{
    struct nemesis *nemesis = context;
    if (round == nemesis->round)
        network_set_cut(nemesis->network, (uint32_t)(pair / HOSTS_MAX),
                        (uint32_t)(pair % HOSTS_MAX), false);
}

void nemesis_cut(struct nemesis *nemesis, uint32_t from, uint32_t to, uint64_t duration_ns)
{
    if (from == to)
        return;
    network_set_cut(nemesis->network, from, to, true);
    world_post(nemesis->world, now(nemesis) + duration_ns, heal, nemesis, pair_of(from, to),
               nemesis->round);
}

void nemesis_cut_host(struct nemesis *nemesis, struct host *host)
{
    const uint64_t duration = nemesis_duration(nemesis, 2 * NS_PER_S, 12 * NS_PER_S);
    for (uint32_t i = 0; i < nemesis->host_count; i++) {
        nemesis_cut(nemesis, host->number, i, duration);
        nemesis_cut(nemesis, i, host->number, duration);
    }
}

/* One site, or only one site and the witness, from the rest. */
void nemesis_cut_site(struct nemesis *nemesis, struct host *host)
{
    const char *site = host->site;
    const uint64_t duration = nemesis_duration(nemesis, 3 * NS_PER_S, 15 * NS_PER_S);
    for (uint32_t a = 0; a < nemesis->host_count; a++)
        for (uint32_t b = 0; b < nemesis->host_count; b++)
            if (strcmp(nemesis->hosts[a].site, site) == 0 &&
                strcmp(nemesis->hosts[b].site, site) != 0) {
                nemesis_cut(nemesis, a, b, duration);
                nemesis_cut(nemesis, b, a, duration);
            }
}

void nemesis_cut_one_way(struct nemesis *nemesis, struct host *host)
{
    const bool out = draw_chance(&nemesis->draw, 1, 2);
    const uint64_t duration = nemesis_duration(nemesis, 2 * NS_PER_S, 10 * NS_PER_S);
    for (uint32_t i = 0; i < nemesis->host_count; i++)
        if (draw_chance(&nemesis->draw, 2, 3))
            nemesis_cut(nemesis, out ? host->number : i, out ? i : host->number, duration);
}

void nemesis_cut_pairs(struct nemesis *nemesis, struct host *host)
{
    (void)host;
    const uint64_t duration = nemesis_duration(nemesis, 3 * NS_PER_S, 12 * NS_PER_S);
    for (uint32_t a = 0; a < nemesis->host_count; a++)
        for (uint32_t b = a + 1; b < nemesis->host_count; b++) {
            if (!draw_chance(&nemesis->draw, 1, 3))
                continue;
            nemesis_cut(nemesis, a, b, duration);
            if (draw_chance(&nemesis->draw, 3, 4))
                nemesis_cut(nemesis, b, a, duration);
        }
}

static void flap(void *context, uint64_t packed, uint64_t round)
{
    struct nemesis *nemesis = context;
    if (round != nemesis->round)
        return;
    const struct nemesis_step step = nemesis_resume(nemesis, packed);
    const uint32_t a = (uint32_t)(step.pair / HOSTS_MAX), b = (uint32_t)(step.pair % HOSTS_MAX);
    const uint64_t duration = draw_between(&nemesis->draw, 10 * NS_PER_MS, 400 * NS_PER_MS);
    nemesis_cut(nemesis, a, b, duration);
    if (draw_chance(&nemesis->draw, 1, 2))
        nemesis_cut(nemesis, b, a, duration);
    if (draw_chance(&nemesis->draw, 9, 10))
        world_post(nemesis->world, now(nemesis) + 2 * duration, flap, nemesis, nemesis_pack(&step),
                   round);
}

void nemesis_flap(struct nemesis *nemesis, struct host *host)
{
    const struct nemesis_step step = {
        .pair = pair_of(host->number, draw_below(&nemesis->draw, nemesis->host_count)),
        .number = nemesis->number,
    };
    flap(nemesis, nemesis_pack(&step), nemesis->round);
}

void nemesis_reset(struct nemesis *nemesis, struct host *host)
{
    const uint32_t other = (uint32_t)draw_below(&nemesis->draw, nemesis->host_count);
    world_tell(nemesis->world, "    connections between host %u and host %u", host->number, other);
    network_reset(nemesis->network, host->number, other);
}

/* ---- latency ---- */

static void set_latency(struct nemesis *nemesis, uint64_t factor)
{
    for (uint32_t a = 0; a < nemesis->host_count; a++)
        for (uint32_t b = 0; b < nemesis->host_count; b++)
            nemesis->network->latency_ns[a][b] = factor * nemesis->latency_ns[a][b];
}

static void end_slow_net(void *context, uint64_t number, uint64_t round)
{
    struct nemesis *nemesis = context;
    if (round == nemesis->round && number == nemesis->total[NEMESIS_SLOW_NET])
        set_latency(nemesis, 1);
}

/* The newest counts: they do not multiply. */
void nemesis_slow_net(struct nemesis *nemesis, struct host *host)
{
    (void)host;
    const uint64_t factor = draw_between(&nemesis->draw, 2, 12);
    const uint64_t duration = draw_between(&nemesis->draw, NS_PER_S, 8 * NS_PER_S);
    world_tell(nemesis->world, "    every latency is %" PRIu64 " times as long for %.1f s", factor,
               (double)duration / 1e9);
    set_latency(nemesis, factor);
    world_post(nemesis->world, now(nemesis) + duration, end_slow_net, nemesis,
               nemesis->total[NEMESIS_SLOW_NET], nemesis->round);
}

/* ---- weather ---- */

static void end_weather(void *context, uint64_t pair, uint64_t round)
{
    struct nemesis *nemesis = context;
    const uint32_t a = (uint32_t)(pair / HOSTS_MAX), b = (uint32_t)(pair % HOSTS_MAX);
    if (round == nemesis->round)
        network_weather_clear(nemesis->network, a, b);
}

/* One direction gets it, of the pair or of all that has to do with the host. */
static void set_weather(struct nemesis *nemesis, const struct host *host,
                        const struct weather *weather, uint64_t duration_ns)
{
    const bool all = draw_chance(&nemesis->draw, 1, 2);
    const uint32_t other = (uint32_t)draw_below(&nemesis->draw, nemesis->host_count);
    for (uint32_t i = 0; i < nemesis->host_count; i++) {
        if (i == host->number || (!all && i != other))
            continue;
        const uint32_t ends[2][2] = {{host->number, i}, {i, host->number}};
        for (int way = 0; way < 2; way++) {
            if (way == 1 && !draw_chance(&nemesis->draw, 2, 3))
                continue;
            network_weather_set(nemesis->network, ends[way][0], ends[way][1], weather);
            world_tell(nemesis->world, "    from host %u to host %u for %.1f s", ends[way][0],
                       ends[way][1], (double)duration_ns / 1e9);
            world_post(nemesis->world, now(nemesis) + duration_ns, end_weather, nemesis,
                       pair_of(ends[way][0], ends[way][1]), nemesis->round);
        }
    }
}

void nemesis_loss(struct nemesis *nemesis, struct host *host)
{
    const struct weather weather = {
        .loss_per_mille = (uint32_t)draw_between(&nemesis->draw, 1, 300),
    };
    world_tell(nemesis->world, "    %u of 1000 packets", weather.loss_per_mille);
    set_weather(nemesis, host, &weather, nemesis_duration(nemesis, 4 * NS_PER_S, 15 * NS_PER_S));
}

void nemesis_reorder(struct nemesis *nemesis, struct host *host)
{
    const struct weather weather = {
        .disorder_ns = draw_between(&nemesis->draw, 5 * NS_PER_MS, 400 * NS_PER_MS),
    };
    world_tell(nemesis->world, "    by up to %.0f ms", (double)weather.disorder_ns / 1e6);
    set_weather(nemesis, host, &weather, nemesis_duration(nemesis, 4 * NS_PER_S, 15 * NS_PER_S));
}

void nemesis_slow_link(struct nemesis *nemesis, struct host *host)
{
    /* 20 KB/s is less than the heartbeats of a busy cluster need; 5 MB/s is a poor line. */
    const struct weather weather = {
        .ns_per_byte = draw_chance(&nemesis->draw, 1, 3)
                           ? (uint32_t)draw_between(&nemesis->draw, 4000, 50000)
                           : (uint32_t)draw_between(&nemesis->draw, 200, 4000),
    };
    world_tell(nemesis->world, "    %.0f KB/s", 1e6 / weather.ns_per_byte);
    set_weather(nemesis, host, &weather, nemesis_duration(nemesis, 4 * NS_PER_S, 15 * NS_PER_S));
}

void nemesis_duplicate(struct nemesis *nemesis, struct host *host)
{
    const uint32_t other = (uint32_t)draw_below(&nemesis->draw, nemesis->host_count);
    if (other == host->number)
        return;
    world_tell(nemesis->world, "    by host %u, to host %u", host->number, other);
    for (int lane = 0; lane < TRANSPORT_LANE_COUNT; lane++)
        if (draw_chance(&nemesis->draw, 2, 3))
            network_weather_arm(nemesis->network, host->number, other, (enum transport_lane)lane);
}

void nemesis_calm_network(struct nemesis *nemesis)
{
    memcpy(nemesis->network->latency_ns, nemesis->latency_ns, sizeof nemesis->latency_ns);
    for (uint32_t i = 0; i < nemesis->host_count; i++)
        for (uint32_t j = 0; j < nemesis->host_count; j++)
            if (i != j) {
                network_set_cut(nemesis->network, i, j, false);
                network_weather_clear(nemesis->network, i, j);
            }
}
