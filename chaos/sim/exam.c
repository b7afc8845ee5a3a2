/*
 * The bound is what a leader may take under the default policy, and some room: two elections that
 * fail, the wait before it degrades, a client that is between two questions.
 *
 * A request that begins after the loss is acknowledged at an index above all that was committed
 * before it, since nothing was under way: the cluster had settled.
 */
#include "chaos/sim/exam.h"

#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <string.h>

#define BOUND_NS (5 * NS_PER_S)
#define AFTER_NS (2 * NS_PER_S)
#define STEP_NS  (10 * NS_PER_MS)

static bool is_lost(const struct exam *exam, const struct host *host)
{
    return strcmp(host->site, exam->place) == 0;
}

static void lose(struct exam *exam, struct draw *draw)
{
    const bool kill = draw_chance(draw, 1, 2), power_loss = draw_chance(draw, 1, 2);
    world_note(exam->world, "exam", (uint8_t)exam->place[0], kill, power_loss);
    world_tell(exam->world, "exam: place %s is %s", exam->place,
               !kill        ? "cut off, silently"
               : power_loss ? "without power"
                            : "killed");
    for (uint32_t i = 0; i < exam->host_count; i++) {
        struct host *host = &exam->hosts[i];
        if (!is_lost(exam, host))
            continue;
        host->unreachable = true; /* the pause is that of clients elsewhere */
        struct consensus_status status;
        consensus_status(host->node->consensus, &status);
        exam->leader_lost |= status.leads;
        if (kill) {
            host->wanted = false;
            host_kill(host, power_loss);
        }
        for (uint32_t j = 0; j < exam->host_count && !kill; j++)
            if (!is_lost(exam, &exam->hosts[j])) {
                network_set_cut(exam->network, i, j, true);
                network_set_cut(exam->network, j, i, true);
            }
    }
}

static bool find_term(const struct exam *exam, uint64_t index, uint64_t *out_term)
{
    for (uint32_t i = 0; i < exam->host_count; i++)
        if (exam->hosts[i].node != NULL &&
            journal_term(exam->hosts[i].node->journal, index, out_term) == STATUS_OK)
            return true;
    return false;
}

/* Everything acknowledged is with the survivors; under SYNC at the surviving site alone. */
static void check_survivors(struct exam *exam)
{
    const uint64_t index = exam->oracle->acknowledged_index;
    const bool witness_counts = rule_checks_mode_at(exam->checks, index) == DURABILITY_DEGRADED;
    uint64_t term;
    if (!find_term(exam, index, &term)) {
        world_violate(exam->world, "place %s lost: nobody has the acknowledged entry %" PRIu64,
                      exam->place, index);
        return;
    }
    for (uint32_t i = 0; i < exam->host_count; i++) {
        const struct host *host = &exam->hosts[i];
        if (!is_lost(exam, host) && (witness_counts || host->kind == MEMBER_DATA) &&
            holdings_has(&exam->checks->holdings, i, index, term))
            return;
    }
    world_violate(exam->world,
                  "place %s lost: the acknowledged entry %" PRIu64
                  " is at none of the data nodes that are left",
                  exam->place, index);
}

bool exam_run(struct exam *exam)
{
    static const char *const places[] = {"A", "B", "A", "B", "W"};
    struct draw draw = draw_stream(exam->world->seed, 9700);
    const uint64_t before = exam->checks->commit_index, began = exam->world->now_ns;
    exam->place = places[draw_below(&draw, sizeof places / sizeof places[0])];
    lose(exam, &draw);
    check_survivors(exam);
    exam->clients->quiet = false;
    while (!exam->world->violated && exam->oracle->acknowledged_index <= before) {
        if (exam->world->now_ns > began + BOUND_NS)
            world_violate(exam->world,
                          "place %s lost%s: nothing was acknowledged within %.0f s after it",
                          exam->place, exam->leader_lost ? ", the leader with it" : "",
                          (double)BOUND_NS / 1e9);
        else
            (void)world_run_until(exam->world, exam->world->now_ns + STEP_NS);
    }
    exam->pause_ns = exam->world->now_ns - began;
    return world_run_until(exam->world, exam->world->now_ns + AFTER_NS);
}

void exam_end(struct exam *exam)
{
    world_note(exam->world, "exam ends", 0, 0, 0);
    for (uint32_t i = 0; i < exam->host_count; i++) {
        for (uint32_t j = 0; j < exam->host_count; j++)
            if (i != j)
                network_set_cut(exam->network, i, j, false);
        exam->hosts[i].unreachable = false;
        host_start(&exam->hosts[i]);
    }
}
