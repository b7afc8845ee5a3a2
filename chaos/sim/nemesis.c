/*
 * A fault begins, and what has to end it is posted with it. Faults overlap: a host may be slow,
 * cut off and killed at once. A seed enables some kinds only, so that rare combinations are not
 * drowned by the common ones. Half of the seeds have none of the kinds that came later: they are as
 * fast, and as likely to find what they found, as before these were there.
 *
 * A fault that may end a process by itself (disk errors, a disk stuck for long, a full disk at a
 * start) excuses its fail-stop for a while; nothing else does.
 */
#include "chaos/sim/client.h"
#include "chaos/sim/desks.h"
#include "chaos/sim/disk_damage.h"
#include "chaos/sim/nemesis_internal.h"

#include <inttypes.h>
#include <string.h>

static uint64_t now(const struct nemesis *nemesis)
{
    return nemesis->world->now_ns;
}

struct host *nemesis_any_host(struct nemesis *nemesis)
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
    const uint64_t until = now(nemesis) + duration_ns + NEMESIS_EXCUSE_NS;
    if (host->excused_until_ns < until)
        host->excused_until_ns = until;
}

/* ---- disks that lie ---- */

static void rot(struct nemesis *nemesis, struct host *host)
{
    nemesis_damage(nemesis, NEMESIS_ROT, host);
}

static void misdirect(struct nemesis *nemesis, struct host *host)
{
    nemesis_damage(nemesis, NEMESIS_MISDIRECT, host);
}

static void roll_back(struct nemesis *nemesis, struct host *host)
{
    nemesis_damage(nemesis, NEMESIS_ROLLBACK, host);
}

/* ---- people ---- */

static void operate(struct nemesis *nemesis, struct host *host)
{
    (void)host;
    operators_act(nemesis->operators);
}

static void operate_site(struct nemesis *nemesis, struct host *host)
{
    operators_move_site(nemesis->operators, &nemesis->draw, host);
}

static void burst(struct nemesis *nemesis, struct host *host)
{
    clients_burst(nemesis->clients, host->number,
                  (uint32_t)draw_between(&nemesis->draw, 50, BURST_MAX));
}

/* ---- which ---- */

enum needs { ANYTHING, PEERS, NEW, NEW_PEERS, HABIT, HABIT_PEERS, HABIT_OFTEN };

static const struct {
    const char *name;
    uint32_t weight;
    enum needs needs;
    void (*begin)(struct nemesis *nemesis, struct host *host);
    const char *words; /* of the host that was drawn, or of nobody */
} kinds[NEMESIS_KIND_COUNT] = {
    [NEMESIS_KILL] = {"kill", 10, ANYTHING, nemesis_kill, "the process is killed"},
    [NEMESIS_DRAIN] = {"drain", 4, ANYTHING, nemesis_drain, "the process is stopped in good order"},
    [NEMESIS_KILL_MANY] = {"kill_many", 3, PEERS, nemesis_kill_many,
                           "several processes are killed"},
    [NEMESIS_POWER] = {"power", 6, ANYTHING, nemesis_lose_power, "the machine loses power"},
    [NEMESIS_POWER_MANY] = {"power_many", 3, PEERS, nemesis_lose_power_many,
                            "several machines lose power"},
    [NEMESIS_HALT] = {"halt", 8, ANYTHING, nemesis_halt, "it is going to die while it writes"},
    [NEMESIS_PAUSE] = {"pause", 6, ANYTHING, nemesis_pause, "the process stands still"},
    [NEMESIS_STUCK] = {"stuck", 4, ANYTHING, nemesis_stick, "the disk does not answer"},
    [NEMESIS_SLOW] = {"slow", 4, ANYTHING, nemesis_slow_disk, "the disk is slow"},
    [NEMESIS_FULL] = {"full", 2, ANYTHING, nemesis_fill, "the disk is full"},
    [NEMESIS_DISK_ERROR] = {"disk_error", 2, ANYTHING, nemesis_fail_once,
                            "one of the next calls of the disk fails"},
    [NEMESIS_CLOCK] = {"clock", 4, ANYTHING, nemesis_jump_clock, "the wall clock jumps"},
    [NEMESIS_CUT_HOST] = {"cut_host", 6, PEERS, nemesis_cut_host, "nobody reaches it"},
    [NEMESIS_CUT_SITE] = {"cut_site", 6, PEERS, nemesis_cut_site,
                          "nobody elsewhere reaches its place"},
    [NEMESIS_CUT_ONE_WAY] = {"cut_one_way", 5, PEERS, nemesis_cut_one_way,
                             "packets get through in one direction only"},
    [NEMESIS_FLAP] = {"flap", 4, PEERS, nemesis_flap, "a link comes and goes"},
    [NEMESIS_RESET] = {"reset", 4, PEERS, nemesis_reset, "connections break"},
    [NEMESIS_SLOW_NET] = {"slow_net", 3, PEERS, nemesis_slow_net, "the network is slow"},
    [NEMESIS_TRANSFER] = {"transfer", 3, PEERS, nemesis_hand_over,
                          "leadership is to go there, or anywhere"},
    [NEMESIS_WIPE] = {"wipe", 2, PEERS, nemesis_wipe,
                      "the disk is lost, the node is to be replaced"},
    [NEMESIS_SITE] = {"site", 5, PEERS, nemesis_lose_site, "a site is lost"},
    [NEMESIS_LINK] = {"link", 5, PEERS, nemesis_cut_link,
                      "the sites do not reach each other, both see the witness"},
    [NEMESIS_FLAP_LINK] = {"flap_link", 3, PEERS, nemesis_flap_link,
                           "the link between the sites comes and goes"},
    [NEMESIS_WITNESS] = {"witness", 3, PEERS, nemesis_lose_witness, "the witness is lost"},
    [NEMESIS_STUCK_SITE] = {"stuck_site", 3, PEERS, nemesis_stick_site,
                            "no disk of a site answers"},
    [NEMESIS_OPERATOR] = {"operator", 5, PEERS, operate, "an operator changes the rule"},
    [NEMESIS_LOSS] = {"loss", 5, NEW_PEERS, nemesis_loss, "packets are lost"},
    [NEMESIS_REORDER] = {"reorder", 4, NEW_PEERS, nemesis_reorder, "connections overtake others"},
    [NEMESIS_DUPLICATE] = {"duplicate", 5, NEW_PEERS, nemesis_duplicate,
                           "connections are made again while the old ones still deliver"},
    [NEMESIS_CUT_PAIRS] = {"cut_pairs", 5, NEW_PEERS, nemesis_cut_pairs,
                           "some pairs do not reach each other"},
    [NEMESIS_SLOW_LINK] = {"slow_link", 4, NEW_PEERS, nemesis_slow_link,
                           "few bytes a second get through"},
    [NEMESIS_IO_ERRORS] = {"io_errors", 3, NEW, nemesis_fail_often, "calls of the disk fail"},
    [NEMESIS_ROT] = {"rot", 3, NEW_PEERS, rot, "bits are going to change on its disk"},
    [NEMESIS_MISDIRECT] = {"misdirect", 3, NEW_PEERS, misdirect,
                           "a write is going to land somewhere else"},
    [NEMESIS_ROLLBACK] = {"rollback", 3, NEW_PEERS, roll_back,
                          "its disk is going to be put back to what it was"},
    [NEMESIS_DRIFT] = {"drift", 4, NEW, nemesis_drift, "its clocks run wrong"},
    [NEMESIS_BURST] = {"burst", 4, NEW, burst, "far more requests at once than it takes"},
    [NEMESIS_SITE_MOVE] = {"site_move", 5, NEW_PEERS, operate_site,
                           "an operator asks for something about a site"},
    [NEMESIS_ABANDON] = {"abandon", 0, HABIT, NULL, "clients give up and never ask again"},
    [NEMESIS_SKEW] = {"skew", 0, HABIT, NULL, "clocks of clients are wrong"},
    [NEMESIS_LIBRARY] = {"library", 0, HABIT, NULL, "clients do what the client library says"},
    [NEMESIS_ROLLBACK_ALL] = {"rollback_all", 0, HABIT_PEERS, NULL,
                              "all disks are put back at the end"},
    [NEMESIS_NEXT_DAY] = {"next_day", 0, HABIT_OFTEN, NULL, "a night passes at the end"},
};

const char *nemesis_name(enum nemesis_kind kind)
{
    return kinds[kind].name;
}

const char *nemesis_words(enum nemesis_kind kind)
{
    return kinds[kind].words;
}

static bool is_enabled(const struct nemesis *nemesis, int kind)
{
    return (nemesis->enabled >> kind & 1) != 0;
}

bool nemesis_has(const struct nemesis *nemesis, enum nemesis_kind kind)
{
    return is_enabled(nemesis, kind);
}

static enum nemesis_kind choose(struct nemesis *nemesis)
{
    uint64_t sum = 0;
    for (int kind = 0; kind < NEMESIS_KIND_COUNT; kind++)
        if (is_enabled(nemesis, kind))
            sum += kinds[kind].weight;
    if (sum == 0)
        return NEMESIS_RESET; /* all that the seed had was switched off */
    uint64_t at = draw_below(&nemesis->schedule, sum);
    for (int kind = 0; kind < NEMESIS_KIND_COUNT; kind++) {
        if (!is_enabled(nemesis, kind))
            continue;
        if (at < kinds[kind].weight)
            return (enum nemesis_kind)kind;
        at -= kinds[kind].weight;
    }
    return NEMESIS_KILL;
}

/* ---- streams ---- */

static struct draw stream_of(const struct nemesis *nemesis, uint64_t number, uint64_t step)
{
    return draw_stream(nemesis->world->seed, 5000000 + number * 4096 + step);
}

uint64_t nemesis_pack(const struct nemesis_step *step)
{
    return step->pair | step->step << 12 | step->number << 24;
}

struct nemesis_step nemesis_resume(struct nemesis *nemesis, uint64_t packed)
{
    struct nemesis_step step = {
        .pair = packed & 0xfff, .step = ((packed >> 12) + 1) & 0xfff, .number = packed >> 24};
    nemesis->draw = stream_of(nemesis, step.number, step.step);
    return step;
}

/* ---- one after the other ---- */

static bool is_chosen(const struct nemesis *nemesis, uint64_t number)
{
    for (uint32_t i = 0; i < nemesis->chosen_count; i++)
        if (nemesis->chosen[i] == number)
            return true;
    return nemesis->chosen == NULL;
}

static void begin(struct nemesis *nemesis, enum nemesis_kind kind)
{
    nemesis->draw = stream_of(nemesis, nemesis->number, 0);
    struct host *host = nemesis_any_host(nemesis);
    nemesis->total[kind]++;
    world_note(nemesis->world, kinds[kind].name, host->number, nemesis->number,
               nemesis->total[kind]);
    world_tell(nemesis->world, "fault %" PRIu64 ", %s (host %u at %s): %s", nemesis->number,
               kinds[kind].name, host->number, host->site, kinds[kind].words);
    kinds[kind].begin(nemesis, host);
    desks_hurry(nemesis->desks);
}

static void next_fault(void *context, uint64_t unused, uint64_t round)
{
    struct nemesis *nemesis = context;
    if (round != nemesis->round)
        return;
    nemesis->number++;
    const enum nemesis_kind kind = choose(nemesis);
    const uint64_t pause = draw_below(&nemesis->schedule, 2 * nemesis->pause_ns + 1);
    if (is_chosen(nemesis, nemesis->number))
        begin(nemesis, kind);
    if (!nemesis_is_held(nemesis))
        world_post(nemesis->world, now(nemesis) + pause, next_fault, nemesis, unused,
                   nemesis->round);
}

void nemesis_go_on(struct nemesis *nemesis)
{
    world_post(nemesis->world, now(nemesis) + draw_below(&nemesis->draw, 2 * nemesis->pause_ns),
               next_fault, nemesis, 0, nemesis->round);
}

void nemesis_init(struct nemesis *nemesis, uint64_t without)
{
    struct draw more = draw_stream(nemesis->world->seed, 5100);
    nemesis->schedule = draw_stream(nemesis->world->seed, 5000);
    nemesis->pause_ns = draw_between(&nemesis->schedule, 300 * NS_PER_MS, 6 * NS_PER_S);
    const bool all = draw_chance(&nemesis->schedule, 1, 3);
    const bool any_new = draw_chance(&more, 1, 2), all_new = draw_chance(&more, 1, 5);
    for (int kind = 0; kind < NEMESIS_KIND_COUNT; kind++) {
        const enum needs needs = kinds[kind].needs;
        const bool peers = needs == PEERS || needs == NEW_PEERS || needs == HABIT_PEERS;
        if (peers && nemesis->host_count == 1)
            continue;
        const bool takes = needs <= PEERS         ? all || draw_chance(&nemesis->schedule, 1, 3)
                           : needs == HABIT_OFTEN ? draw_chance(&more, 1, 4)
                                                  : any_new && (draw_chance(&more, 1, 4) ||
                                                                (all_new && needs < HABIT));
        if (takes)
            nemesis->enabled |= 1ull << kind;
    }
    if (nemesis->enabled == 0)
        nemesis->enabled = 1ull << NEMESIS_KILL;
    nemesis->enabled &= ~without;
}

void nemesis_deinit(struct nemesis *nemesis)
{
    disk_image_destroy(nemesis->damage.image);
}

void nemesis_start(struct nemesis *nemesis)
{
    memcpy(nemesis->latency_ns, nemesis->network->latency_ns, sizeof nemesis->latency_ns);
    world_post(nemesis->world, now(nemesis) + draw_below(&nemesis->schedule, 2 * nemesis->pause_ns),
               next_fault, nemesis, 0, nemesis->round);
}

void nemesis_heal(struct nemesis *nemesis)
{
    nemesis->round++;
    nemesis_calm_network(nemesis);
    for (uint32_t i = 0; i < nemesis->host_count; i++) {
        struct host *host = &nemesis->hosts[i];
        host->disk.slow_factor = 1;
        host->disk.capacity = UINT64_MAX;
        host->disk.halt_in = 0;
        host->disk.fail_in = 0;
        host->disk.fail_per_mille = 0;
        host_drift(host, 0, 0);
        host->wall_offset_ns = 0;
        if (host->excused_until_ns > now(nemesis) + NEMESIS_EXCUSE_NS)
            host->excused_until_ns = now(nemesis) + NEMESIS_EXCUSE_NS;
        host_relieve(host);
        host_start(host);
    }
}

void nemesis_end(struct nemesis *nemesis)
{
    nemesis->ended = true;
    world_note(nemesis->world, "faults end", 0, 0, 0);
    world_tell(nemesis->world, "faults end: everything is healed and started");
    nemesis_heal(nemesis);
    nemesis_damage_end(nemesis);
    operators_restore(nemesis->operators); /* at hosts that are not busy any more */
}
