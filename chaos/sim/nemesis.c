/*
 * A fault begins, and what has to end it is posted with it. Faults overlap: a host may be slow,
 * cut off and killed at once. A seed enables some kinds only, so that rare combinations are not
 * drowned by the common ones.
 *
 * A fault that may end a process by itself (disk errors, a disk stuck for long, a full disk at a
 * start) excuses its fail-stop for a while; nothing else does.
 */
#include "chaos/sim/nemesis_internal.h"

#include <string.h>

#define EXCUSE_NS (10 * NS_PER_S)

static uint64_t now(const struct nemesis *nemesis)
{
    return nemesis->world->now_ns;
}

static struct host *any_host(struct nemesis *nemesis)
{
    return &nemesis->hosts[draw_below(&nemesis->draw, nemesis->host_count)];
}

uint64_t nemesis_duration(struct nemesis *nemesis, uint64_t short_ns, uint64_t long_ns)
{
    return draw_between(&nemesis->draw, short_ns / 4,
                        draw_chance(&nemesis->draw, 1, 4) ? long_ns : short_ns);
}

void nemesis_excuse(struct nemesis *nemesis, struct host *host, uint64_t duration_ns)
{
    const uint64_t until = now(nemesis) + duration_ns + EXCUSE_NS;
    if (host->excused_until_ns < until)
        host->excused_until_ns = until;
}

/* ---- processes and machines ---- */

static void kill(struct nemesis *nemesis, struct host *host, bool power_loss)
{
    (void)nemesis;
    host_kill(host, power_loss);
}

static void kill_many(struct nemesis *nemesis, bool power_loss)
{
    const uint64_t share = draw_between(&nemesis->draw, 1, 3);
    for (uint32_t i = 0; i < nemesis->host_count; i++)
        if (share == 3 || draw_chance(&nemesis->draw, share, 3))
            host_kill(&nemesis->hosts[i], power_loss);
}

/* Everybody is asked; only who leads takes it. */
static void hand_over(struct nemesis *nemesis)
{
    const struct host *to = any_host(nemesis);
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

static void make_stuck(struct nemesis *nemesis, struct host *host)
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

static void make_full(struct nemesis *nemesis, struct host *host)
{
    const uint64_t duration = nemesis_duration(nemesis, 3 * NS_PER_S, 15 * NS_PER_S);
    host->disk.capacity = host->disk.used + draw_below(&nemesis->draw, 6u << 20);
    nemesis_excuse(nemesis, host, duration);
    world_post(nemesis->world, now(nemesis) + duration, end_full, nemesis, host->number,
               nemesis->round);
}

/* ---- clocks ---- */

static void end_clock(void *context, uint64_t number, uint64_t round)
{
    struct nemesis *nemesis = context;
    if (round == nemesis->round)
        nemesis->hosts[number].wall_offset_ns = 0;
}

static void jump_clock(struct nemesis *nemesis, struct host *host)
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

/* ---- network ---- */

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
    world_post(nemesis->world, now(nemesis) + duration_ns, heal, nemesis, from * HOSTS_MAX + to,
               nemesis->round);
}

static void cut_host(struct nemesis *nemesis)
{
    const struct host *host = any_host(nemesis);
    const uint64_t duration = nemesis_duration(nemesis, 2 * NS_PER_S, 12 * NS_PER_S);
    for (uint32_t i = 0; i < nemesis->host_count; i++) {
        nemesis_cut(nemesis, host->number, i, duration);
        nemesis_cut(nemesis, i, host->number, duration);
    }
}

/* One site, or only one site and the witness, from the rest. */
static void cut_site(struct nemesis *nemesis)
{
    const char *site = any_host(nemesis)->site;
    const uint64_t duration = nemesis_duration(nemesis, 3 * NS_PER_S, 15 * NS_PER_S);
    for (uint32_t a = 0; a < nemesis->host_count; a++)
        for (uint32_t b = 0; b < nemesis->host_count; b++)
            if (strcmp(nemesis->hosts[a].site, site) == 0 &&
                strcmp(nemesis->hosts[b].site, site) != 0) {
                nemesis_cut(nemesis, a, b, duration);
                nemesis_cut(nemesis, b, a, duration);
            }
}

static void cut_one_way(struct nemesis *nemesis)
{
    const struct host *host = any_host(nemesis);
    const bool out = draw_chance(&nemesis->draw, 1, 2);
    const uint64_t duration = nemesis_duration(nemesis, 2 * NS_PER_S, 10 * NS_PER_S);
    for (uint32_t i = 0; i < nemesis->host_count; i++)
        if (draw_chance(&nemesis->draw, 2, 3))
            nemesis_cut(nemesis, out ? host->number : i, out ? i : host->number, duration);
}

static void flap(void *context, uint64_t pair, uint64_t round)
{
    struct nemesis *nemesis = context;
    if (round != nemesis->round)
        return;
    const uint32_t a = (uint32_t)(pair / HOSTS_MAX), b = (uint32_t)(pair % HOSTS_MAX);
    const uint64_t duration = draw_between(&nemesis->draw, 10 * NS_PER_MS, 400 * NS_PER_MS);
    nemesis_cut(nemesis, a, b, duration);
    if (draw_chance(&nemesis->draw, 1, 2))
        nemesis_cut(nemesis, b, a, duration);
    if (draw_chance(&nemesis->draw, 9, 10))
        world_post(nemesis->world, now(nemesis) + 2 * duration, flap, nemesis, pair, round);
}

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
static void slow_net(struct nemesis *nemesis)
{
    set_latency(nemesis, draw_between(&nemesis->draw, 2, 12));
    world_post(nemesis->world, now(nemesis) + draw_between(&nemesis->draw, NS_PER_S, 8 * NS_PER_S),
               end_slow_net, nemesis, nemesis->total[NEMESIS_SLOW_NET], nemesis->round);
}

/* ---- which ---- */

static const struct {
    const char *name;
    uint32_t weight;
    bool needs_peers;
} kinds[NEMESIS_KIND_COUNT] = {
    [NEMESIS_KILL] = {"kill", 10, false},
    [NEMESIS_DRAIN] = {"drain", 4, false},
    [NEMESIS_KILL_MANY] = {"kill_many", 3, true},
    [NEMESIS_POWER] = {"power", 6, false},
    [NEMESIS_POWER_MANY] = {"power_many", 3, true},
    [NEMESIS_HALT] = {"halt", 8, false},
    [NEMESIS_PAUSE] = {"pause", 6, false},
    [NEMESIS_STUCK] = {"stuck", 4, false},
    [NEMESIS_SLOW] = {"slow", 4, false},
    [NEMESIS_FULL] = {"full", 2, false},
    [NEMESIS_DISK_ERROR] = {"disk_error", 2, false},
    [NEMESIS_CLOCK] = {"clock", 4, false},
    [NEMESIS_CUT_HOST] = {"cut_host", 6, true},
    [NEMESIS_CUT_SITE] = {"cut_site", 6, true},
    [NEMESIS_CUT_ONE_WAY] = {"cut_one_way", 5, true},
    [NEMESIS_FLAP] = {"flap", 4, true},
    [NEMESIS_RESET] = {"reset", 4, true},
    [NEMESIS_SLOW_NET] = {"slow_net", 3, true},
    [NEMESIS_TRANSFER] = {"transfer", 3, true},
    [NEMESIS_WIPE] = {"wipe", 2, true},
    [NEMESIS_SITE] = {"site", 5, true},
    [NEMESIS_LINK] = {"link", 5, true},
    [NEMESIS_FLAP_LINK] = {"flap_link", 3, true},
    [NEMESIS_WITNESS] = {"witness", 3, true},
    [NEMESIS_STUCK_SITE] = {"stuck_site", 3, true},
    [NEMESIS_OPERATOR] = {"operator", 5, true},
};

const char *nemesis_name(enum nemesis_kind kind)
{
    return kinds[kind].name;
}

static enum nemesis_kind choose(struct nemesis *nemesis)
{
    if (nemesis->enabled == 0)
        return NEMESIS_RESET; /* all that the seed had was switched off */
    uint64_t sum = 0;
    for (int kind = 0; kind < NEMESIS_KIND_COUNT; kind++)
        if (nemesis->enabled & (1u << kind))
            sum += kinds[kind].weight;
    uint64_t at = draw_below(&nemesis->draw, sum);
    for (int kind = 0; kind < NEMESIS_KIND_COUNT; kind++) {
        if ((nemesis->enabled & (1u << kind)) == 0)
            continue;
        if (at < kinds[kind].weight)
            return (enum nemesis_kind)kind;
        at -= kinds[kind].weight;
    }
    return NEMESIS_KILL;
}

static void begin(struct nemesis *nemesis, enum nemesis_kind kind)
{
    struct host *host = any_host(nemesis);
    const uint64_t pair =
        host->number * HOSTS_MAX + draw_below(&nemesis->draw, nemesis->host_count);
    nemesis->total[kind]++;
    world_note(nemesis->world, kinds[kind].name, host->number, pair, nemesis->total[kind]);
    switch (kind) {
    case NEMESIS_KILL:
        kill(nemesis, host, false);
        break;
    case NEMESIS_DRAIN:
        host_drain(host);
        break;
    case NEMESIS_KILL_MANY:
        kill_many(nemesis, false);
        break;
    case NEMESIS_POWER:
        kill(nemesis, host, true);
        break;
    case NEMESIS_POWER_MANY:
        kill_many(nemesis, true);
        break;
    case NEMESIS_HALT:
        host->disk.halt_in = (uint32_t)draw_between(&nemesis->draw, 1, 40);
        break;
    case NEMESIS_PAUSE:
        host_pause(host, now(nemesis) + nemesis_duration(nemesis, 400 * NS_PER_MS, 5 * NS_PER_S));
        break;
    case NEMESIS_STUCK:
        make_stuck(nemesis, host);
        break;
    case NEMESIS_SLOW:
        host->disk.slow_factor = (uint32_t)draw_between(&nemesis->draw, 5, 60);
        nemesis_excuse(nemesis, host, 10 * NS_PER_S);
        world_post(nemesis->world,
                   now(nemesis) + nemesis_duration(nemesis, 2 * NS_PER_S, 10 * NS_PER_S), end_slow,
                   nemesis, host->number, nemesis->round);
        break;
    case NEMESIS_FULL:
        make_full(nemesis, host);
        break;
    case NEMESIS_DISK_ERROR:
        host->disk.fail_in = (uint32_t)draw_between(&nemesis->draw, 1, 30);
        nemesis_excuse(nemesis, host, 30 * NS_PER_S);
        break;
    case NEMESIS_CLOCK:
        jump_clock(nemesis, host);
        break;
    case NEMESIS_CUT_HOST:
        cut_host(nemesis);
        break;
    case NEMESIS_CUT_SITE:
        cut_site(nemesis);
        break;
    case NEMESIS_CUT_ONE_WAY:
        cut_one_way(nemesis);
        break;
    case NEMESIS_FLAP:
        flap(nemesis, pair, nemesis->round);
        break;
    case NEMESIS_RESET:
        network_reset(nemesis->network, (uint32_t)(pair / HOSTS_MAX), (uint32_t)(pair % HOSTS_MAX));
        break;
    case NEMESIS_SLOW_NET:
        slow_net(nemesis);
        break;
    case NEMESIS_TRANSFER:
        hand_over(nemesis);
        break;
    case NEMESIS_WIPE:
        if (operators_may_lose_disk(nemesis->operators))
            (void)members_replace(nemesis->members,
                                  host->number); /* one at a time is what is promised */
        break;
    case NEMESIS_SITE:
        nemesis_lose_site(nemesis);
        break;
    case NEMESIS_LINK:
        nemesis_cut_link(nemesis);
        break;
    case NEMESIS_FLAP_LINK:
        nemesis_flap_link(nemesis);
        break;
    case NEMESIS_WITNESS:
        nemesis_lose_witness(nemesis);
        break;
    case NEMESIS_STUCK_SITE:
        nemesis_stick_site(nemesis);
        break;
    case NEMESIS_OPERATOR:
        operators_act(nemesis->operators);
        break;
    case NEMESIS_KIND_COUNT:
        break;
    }
}

static void next_fault(void *context, uint64_t unused, uint64_t round)
{
    struct nemesis *nemesis = context;
    if (round != nemesis->round)
        return;
    begin(nemesis, choose(nemesis));
    world_post(nemesis->world, now(nemesis) + draw_below(&nemesis->draw, 2 * nemesis->pause_ns + 1),
               next_fault, nemesis, unused, round);
}

void nemesis_init(struct nemesis *nemesis)
{
    nemesis->draw = draw_stream(nemesis->world->seed, 5000);
    nemesis->pause_ns = draw_between(&nemesis->draw, 300 * NS_PER_MS, 6 * NS_PER_S);
    const bool all = draw_chance(&nemesis->draw, 1, 3);
    for (int kind = 0; kind < NEMESIS_KIND_COUNT; kind++)
        if ((nemesis->host_count > 1 || !kinds[kind].needs_peers) &&
            (all || draw_chance(&nemesis->draw, 1, 3)))
            nemesis->enabled |= 1u << kind;
    if (nemesis->enabled == 0)
        nemesis->enabled = 1u << NEMESIS_KILL;
}

void nemesis_start(struct nemesis *nemesis)
{
    memcpy(nemesis->latency_ns, nemesis->network->latency_ns, sizeof nemesis->latency_ns);
    world_post(nemesis->world, now(nemesis) + draw_below(&nemesis->draw, 2 * nemesis->pause_ns),
               next_fault, nemesis, 0, nemesis->round);
}

void nemesis_end(struct nemesis *nemesis)
{
    nemesis->round++;
    nemesis->ended = true;
    world_note(nemesis->world, "faults end", 0, 0, 0);
    memcpy(nemesis->network->latency_ns, nemesis->latency_ns, sizeof nemesis->latency_ns);
    for (uint32_t i = 0; i < nemesis->host_count; i++) {
        struct host *host = &nemesis->hosts[i];
        host->disk.slow_factor = 1;
        host->disk.capacity = UINT64_MAX;
        host->disk.halt_in = 0;
        host->disk.fail_in = 0;
        host->wall_offset_ns = 0;
        if (host->excused_until_ns > now(nemesis) + EXCUSE_NS)
            host->excused_until_ns = now(nemesis) + EXCUSE_NS;
        for (uint32_t j = 0; j < nemesis->host_count; j++)
            if (i != j)
                network_set_cut(nemesis->network, i, j, false);
        host_relieve(host);
        host_start(host);
    }
    operators_restore(nemesis->operators); /* at hosts that are not busy any more */
}
