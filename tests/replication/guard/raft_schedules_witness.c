/*
 * Schedules about a witness. Nodes: 0 = A, which leads first, 1 = B, both with a ledger; 2 = W, the
 * witness.
 */
#include "raft_schedules.h"
#include "replication/guard/raft_layout.h"

enum { A, B, W };

static struct world *lead(uint64_t parts)
{
    return schedule_lead(
        &(struct world_options){.nodes = 3, .witnesses = 1u << W, .parts = parts, .exact = true},
        5);
}

static bool has_led(const struct world *world, unsigned node)
{
    return world->nodes[node].led_term != 0;
}

/* A dies, and W is the first whose patience ends. B leads. */
enum schedule_result schedule_witness_is_impatient(uint64_t parts)
{
    struct world *world = lead(parts);
    world->nodes[W].patience_ms = 0;
    world->nodes[B].patience_ms = 900;
    for (unsigned i = B; i <= W; i++) { /* a follower draws its patience once */
        world_crash(world, i);
        world_start(world, i);
        world_run(world, 1000);
    }
    world_crash(world, A);
    world_run(world, 5000);
    return schedule_end(world, true, world_leads(world, B) && !has_led(world, W));
}

static void transfer_directly(struct world_node *node, void *context)
{
    static struct raft_transfer request;
    *(bool *)context = raft_transfer(&node->raft, &request, W + 1, NULL) == 0;
}

/* Somebody asks W to campaign, as an older version would. */
enum schedule_result schedule_witness_is_asked_to_campaign(uint64_t parts)
{
    struct world *world = lead(parts);
    bool way = false;
    world_within(world, A, transfer_directly, &way);
    world_run(world, 3000);
    return schedule_end(world, way, !has_led(world, W) && world_leader(world) == A);
}

/* A and W have three entries more than B, acknowledged, when A dies and B is back. `way`: it came
 * so far. */
static struct world *leave_the_end_to_the_witness(uint64_t parts, bool *out_way)
{
    struct world *world = lead(parts);
    world_isolate(world, B);
    *out_way = world_propose(world, A, 3);
    world_run(world, 300);
    *out_way = *out_way && world->nodes[A].applied == raft_last_index(&world->nodes[W].raft) &&
               world->nodes[B].applied < world->nodes[A].applied;
    world_crash(world, A);
    world_heal(world);
    return world;
}

static bool is_refused(struct world *world, unsigned node)
{
    return world->nodes[node].guard.resort_at != 0;
}

/* Only W may lead, and it alone can give B the end of the log. It lets some time pass for
 * somebody better. */
enum schedule_result schedule_witness_alone_has_the_end(uint64_t parts)
{
    bool way;
    struct world *world = leave_the_end_to_the_witness(parts, &way);
    raft_index last = raft_last_index(&world->nodes[W].raft);
    bool refused = world_run_until(world, is_refused, W, 5000);
    world_run(world, RAFT_GUARD_RESORT_MS(1000) - 20);
    bool waits = world->nodes[W].raft.state == RAFT_FOLLOWER;
    world_run(world, 5000);
    return schedule_end(world, way,
                        refused && waits && has_led(world, W) && world->nodes[B].applied >= last &&
                            world->nodes[A].led_term != 0);
}

/* Having led, W makes B lead, which then serves. */
enum schedule_result schedule_witness_hands_over(uint64_t parts)
{
    bool way;
    struct world *world = leave_the_end_to_the_witness(parts, &way);
    world_run(world, 6000);
    way = way && has_led(world, W);
    bool promise = world_leader(world) == B && world_propose(world, B, 3);
    world_run(world, 300);
    return schedule_end(
        world, way, promise && world->nodes[B].applied == raft_last_index(&world->nodes[B].raft));
}

/* A has entries that nobody else heard of. W comes to lead by the vote of B, which dies; A is back,
 * has all that W has, and more: W never appends what would truncate that, and A is to lead. */
enum schedule_result schedule_witness_is_behind_its_heir(uint64_t parts)
{
    struct world *world = lead(parts);
    world_isolate(world, B);
    bool way = world_propose(world, A, 3);
    world_run(world, 300);
    world_isolate(world, A);
    way = way && world_propose(world, A, 5);
    world_run(world, 50);
    world->cut[B][W] = world->cut[W][B] = false;
    way = way && world_run_until(world, world_leads, W, 10000);
    world_crash(world, B);
    world_heal(world);
    way = way && raft_last_index(&world->nodes[A].raft) > raft_last_index(&world->nodes[W].raft);
    world_run(world, 5000);
    bool promise = world_leader(world) == A && world_propose(world, A, 1);
    world_run(world, 500);
    return schedule_end(
        world, way, promise && world->nodes[A].applied == raft_last_index(&world->nodes[A].raft));
}

/* Nothing of W's term is in anybody's log, W was never ready, and what it was asked to propose
 * came back. */
enum schedule_result schedule_witness_appends_nothing(uint64_t parts)
{
    bool way;
    struct world *world = leave_the_end_to_the_witness(parts, &way);
    way = way && world_run_until(world, world_leads, W, 6000);
    bool was_ready = false;
    while (world_leads(world, W)) {
        was_ready = was_ready || raft_guard_ready(&world->nodes[W].guard) ||
                    raft_guard_may_propose(&world->nodes[W].guard);
        world_run(world, 1);
        if (world->now_ms > 30000)
            break;
    }
    world_run(world, 1000);
    raft_term term = world->nodes[W].led_term;
    bool appended = false;
    for (size_t i = 0; i < world->nodes[B].disk.count; i++)
        appended = appended || world->nodes[B].disk.entries[i].term == term;
    return schedule_end(world, way, !appended && !was_ready);
}

static void hand_over(struct world_node *node, void *context)
{
    *(int *)context = raft_guard_transfer(&node->guard, W + 1, NULL, NULL);
}

/* Leadership is not handed to W: that is said at once, and A goes on proposing. */
enum schedule_result schedule_witness_is_no_target(uint64_t parts)
{
    struct world *world = lead(parts);
    int code = 0;
    world_within(world, A, hand_over, &code);
    bool promise = code == RAFT_BADID && raft_guard_may_propose(&world->nodes[A].guard);
    return schedule_end(world, true, promise);
}

/* W has only the end of the log when A dies, and B's log ends before that. To lead would help
 * nobody: W has no ledger to send. */
enum schedule_result schedule_witness_cannot_reach(uint64_t parts)
{
    struct world_options options = {.nodes = 3,
                                    .witnesses = 1u << W,
                                    .parts = parts,
                                    .exact = true,
                                    .snapshot_threshold = 10,
                                    .snapshot_trailing = 3};
    struct world *world = schedule_lead(&options, 5);
    world_crash(world, W);
    world->nodes[W].forgetful = true;
    world_start(world, W);
    world_run(world, 500);
    world_isolate(world, B);
    bool way = world_propose(world, A, 40);
    world_run(world, 500);
    way = way && raft_layout_first_index(&world->nodes[W].raft) >
                     raft_last_index(&world->nodes[B].raft) + 1;
    world_crash(world, A);
    world_heal(world);
    world_run(world, 6000);
    bool promise = !has_led(world, W);
    /* Its journal reaches further back than its memory does: now it would help. */
    world->nodes[W].first_kept = raft_last_index(&world->nodes[B].raft) + 1;
    world_run(world, 6000);
    promise = promise && has_led(world, W);
    world_start(world, A);
    world_run(world, 6000);
    promise = promise && world_leader(world) == A && world_propose(world, A, 1);
    world_run(world, 500);
    return schedule_end(world, way, promise && world->nodes[B].applied == world->nodes[A].applied);
}
