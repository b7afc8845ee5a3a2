/* Schedules about membership changes. Nodes: 0 = A, which leads first, 1 = B, 2 = C. */
#include "raft_schedules.h"
#include "replication/raft_layout.h"

enum { A, B, C };

/* A's membership change is in its log only, when entries before it are committed and make a
 * snapshot due. The snapshot must not hold the new configuration. */
enum schedule_result schedule_snapshot_under_a_membership_change(uint32_t parts)
{
    struct world_options options = {
        .nodes = 3, .parts = parts, .snapshot_threshold = 10, .snapshot_trailing = 100};
    struct world *world = schedule_lead(&options, 4);
    bool way = world_propose(world, A, 5);
    world_run(world, 6); /* the entries have arrived, the acknowledgements have not */
    world->cut[A][B] = world->cut[A][C] = true;
    world_within(world, A, schedule_add_member, NULL);
    world_run(world, 100);
    const struct world_node *node = &world->nodes[A];
    way = way && node->applied >= 10 && node->raft.configuration_uncommitted_index != 0;
    bool committed = node->disk.snapshot.index == 0 || node->disk.snapshot.servers == 3;
    world_heal(world);
    world_run(world, 5000);
    return schedule_end(world, way, committed);
}

/* A's membership change is on its disk only, when it restarts. A must know that nothing is decided,
 * and give it up with the entry. */
enum schedule_result schedule_membership_after_a_restart(uint32_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 3, .parts = parts}, 3);
    const struct raft *raft = &world->nodes[A].raft;
    world_isolate(world, A);
    world_within(world, A, schedule_add_member, NULL);
    world_run(world, 50);
    world_crash(world, A);
    bool way = world_run_until(world, world_leads, B, 5000);
    world_start(world, A);
    way = way && raft->configuration.n == 4;
    bool knows = raft_layout_configuration_pending(raft);
    world_heal(world);
    world_run(world, 2000);
    way = way && world_propose(world, B, 3);
    world_run(world, 500);
    way = way && world->nodes[A].applied == world->nodes[B].applied;
    return schedule_end(world, way, knows && raft->configuration.n == 3);
}

/* As before without a restart, but the configuration before was compacted. */
enum schedule_result schedule_membership_before_a_compacted_one(uint32_t parts)
{
    struct world_options options = {
        .nodes = 3, .parts = parts, .snapshot_threshold = 10, .snapshot_trailing = 2};
    struct world *world = schedule_lead(&options, 20);
    const struct raft *raft = &world->nodes[A].raft;
    bool way = world->nodes[A].disk.start > 1;
    world_isolate(world, A);
    world_within(world, A, schedule_add_member, NULL);
    way = way && world_run_until(world, world_leads, B, 5000) && raft->configuration.n == 4;
    world_heal(world);
    world_run(world, 2000);
    way = way && world_propose(world, B, 3);
    world_run(world, 500);
    way = way && world->nodes[A].applied == world->nodes[B].applied;
    return schedule_end(world, way, raft->configuration.n == 3);
}

/* B was away and gets two changes in one message: one committed, one that A's disk never held. When
 * the second is truncated, the first is in force. */
enum schedule_result schedule_two_membership_changes_at_once(uint32_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 3, .parts = parts}, 3);
    raft_id fourth = 4, fifth = 5;
    world_isolate(world, B);
    world_within(world, A, schedule_add_member, &fourth);
    world_run(world, 200);
    bool way = !raft_layout_configuration_pending(&world->nodes[A].raft);
    world->nodes[A].disk_held = true;
    world->cut[A][B] = world->cut[B][A] = false;
    world_cut(world, A, C);
    world_within(world, A, schedule_add_member, &fifth);
    world_run(world, 300);
    const struct raft *raft = &world->nodes[B].raft;
    way = way && raft->configuration.n == 5;
    world_crash(world, A);
    world->nodes[A].disk_held = false;
    world_heal(world);
    world_isolate(world, B);
    world_start(world, A);
    world_run(world, 4000);
    way = way && (world_leader(world) == A || world_leader(world) == C);
    world_heal(world);
    world_run(world, 1000);
    way = way && world->nodes[B].applied == world->nodes[C].applied &&
          raft->last_applied == world->nodes[C].raft.last_applied;
    return schedule_end(world, way,
                        raft->configuration.n == 4 &&
                            !raft_layout_configuration_pending(&world->nodes[B].raft));
}

/* A's membership change is in its log, when a snapshot of the next leader takes the log's place. */
enum schedule_result schedule_membership_under_a_snapshot(uint32_t parts)
{
    struct world_options options = {
        .nodes = 3, .parts = parts, .snapshot_threshold = 10, .snapshot_trailing = 2};
    struct world *world = schedule_lead(&options, 3);
    const struct raft *raft = &world->nodes[A].raft;
    world_isolate(world, A);
    world_within(world, A, schedule_add_member, NULL);
    bool way = world_run_until(world, world_leads, B, 5000) && raft->configuration.n == 4;
    world_run(world, 300);
    way = way && world_propose(world, B, 40);
    world_run(world, 500);
    world_heal(world);
    world_run(world, 3000);
    way = way && world->nodes[A].snapshots_received > 0 &&
          world->nodes[A].applied == world->nodes[B].applied;
    return schedule_end(world, way,
                        raft->configuration.n == 3 && !raft_layout_configuration_pending(raft));
}
