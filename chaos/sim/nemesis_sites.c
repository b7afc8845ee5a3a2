/*
 * Faults of a whole place: what the durability rule is there for. A site or the witness is away
 * for longer than a process takes to start again, so that the cluster has to decide without it.
 */
#include "chaos/sim/nemesis_internal.h"

#include <string.h>

static uint64_t now(const struct nemesis *nemesis)
{
    return nemesis->world->now_ns;
}

static bool is_at(const struct host *host, const char *site)
{
    return strcmp(host->site, site) == 0;
}

static const char *any_site(struct nemesis *nemesis)
{
    return draw_chance(&nemesis->draw, 1, 2) ? "A" : "B";
}

static void come_back(void *context, uint64_t number, uint64_t round)
{
    struct nemesis *nemesis = context;
    if (round == nemesis->round)
        host_start(&nemesis->hosts[number]);
}

static void lose(struct nemesis *nemesis, const char *site, uint64_t duration_ns)
{
    const bool power_loss = draw_chance(&nemesis->draw, 1, 2);
    for (uint32_t i = 0; i < nemesis->host_count; i++) {
        if (!is_at(&nemesis->hosts[i], site))
            continue;
        nemesis->hosts[i].wanted = false;
        host_kill(&nemesis->hosts[i], power_loss);
        /* Machines of one site do not start in the same moment. */
        world_post(nemesis->world,
                   now(nemesis) + duration_ns + draw_below(&nemesis->draw, NS_PER_S), come_back,
                   nemesis, i, nemesis->round);
    }
}

void nemesis_lose_site(struct nemesis *nemesis, struct host *host)
{
    (void)host;
    lose(nemesis, any_site(nemesis), nemesis_duration(nemesis, 4 * NS_PER_S, 15 * NS_PER_S));
}

/* Of those at `a` and those at `b`, both ways. */
static void cut_places(struct nemesis *nemesis, const char *a, const char *b, uint64_t duration_ns)
{
    for (uint32_t i = 0; i < nemesis->host_count; i++)
        for (uint32_t j = 0; j < nemesis->host_count; j++)
            if (is_at(&nemesis->hosts[i], a) && is_at(&nemesis->hosts[j], b)) {
                nemesis_cut(nemesis, i, j, duration_ns);
                nemesis_cut(nemesis, j, i, duration_ns);
            }
}

void nemesis_cut_link(struct nemesis *nemesis, struct host *host)
{
    (void)host;
    cut_places(nemesis, "A", "B", nemesis_duration(nemesis, 3 * NS_PER_S, 15 * NS_PER_S));
}

static void flap(void *context, uint64_t packed, uint64_t round)
{
    struct nemesis *nemesis = context;
    if (round != nemesis->round)
        return;
    const struct nemesis_step step = nemesis_resume(nemesis, packed);
    /* About as long as a leader waits before it degrades, more or less. */
    const uint64_t duration = draw_between(&nemesis->draw, 50 * NS_PER_MS, 1600 * NS_PER_MS);
    cut_places(nemesis, "A", "B", duration);
    if (draw_chance(&nemesis->draw, 9, 10))
        world_post(nemesis->world,
                   now(nemesis) + duration + draw_between(&nemesis->draw, 50 * NS_PER_MS, duration),
                   flap, nemesis, nemesis_pack(&step), round);
}

void nemesis_flap_link(struct nemesis *nemesis, struct host *host)
{
    (void)host;
    const struct nemesis_step step = {.number = nemesis->number};
    flap(nemesis, nemesis_pack(&step), nemesis->round);
}

void nemesis_lose_witness(struct nemesis *nemesis, struct host *host)
{
    (void)host;
    const uint64_t duration = nemesis_duration(nemesis, 3 * NS_PER_S, 15 * NS_PER_S);
    switch (draw_below(&nemesis->draw, 4)) {
    case 0:
        cut_places(nemesis, "W", "A", duration);
        break;
    case 1:
        cut_places(nemesis, "W", "B", duration);
        break;
    case 2:
        cut_places(nemesis, "W", "A", duration);
        cut_places(nemesis, "W", "B", duration);
        break;
    default:
        lose(nemesis, "W", duration);
        break;
    }
}

void nemesis_stick_site(struct nemesis *nemesis, struct host *host)
{
    (void)host;
    const char *site = any_site(nemesis);
    const uint64_t duration = nemesis_duration(nemesis, 2 * NS_PER_S, 8 * NS_PER_S);
    for (uint32_t i = 0; i < nemesis->host_count; i++) {
        struct host *stuck = &nemesis->hosts[i];
        if (!is_at(stuck, site))
            continue;
        stuck->disk.stuck_until_ns = now(nemesis) + duration;
        nemesis_excuse(nemesis, stuck, duration);
    }
}
