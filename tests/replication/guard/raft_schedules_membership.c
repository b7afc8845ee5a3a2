/* Schedules about membership changes. Nodes: 0 = A, which leads first, 1 = B, 2 = C. */
#include "raft_schedules.h"
#include "replication/guard/raft_layout.h"

enum { A, B, C };

/* A's membership change is in its log only, when entries before it are committed and make a
 * snapshot due. The snapshot must not hold the new configuration. */
enum schedule_result schedule_snapshot_under_a_membership_change(uint64_t parts)
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
enum schedule_result schedule_membership_after_a_restart(uint64_t parts)
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
enum schedule_result schedule_membership_before_a_compacted_one(uint64_t parts)
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
enum schedule_result schedule_two_membership_changes_at_once(uint64_t parts)
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
enum schedule_result schedule_membership_under_a_snapshot(uint64_t parts)
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

/* As two changes at once, and B restarts with both in its log: which of them is committed it must
 * find out from the log alone. */
enum schedule_result schedule_two_membership_changes_and_a_restart(uint64_t parts)
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
    world_crash(world, A);
    world_crash(world, B);
    world->nodes[A].disk_held = false;
    world_start(world, B);
    const struct raft *raft = &world->nodes[B].raft;
    way = way && raft->configuration.n == 5;
    bool knows = raft_layout_configuration_pending(raft);
    world_heal(world);
    world_isolate(world, B);
    world_start(world, A);
    world_run(world, 4000);
    way = way && (world_leader(world) == A || world_leader(world) == C);
    world_heal(world);
    world_run(world, 1000);
    way = way && world->nodes[B].applied == world->nodes[C].applied;
    return schedule_end(world, way,
                        knows && raft->configuration.n == 4 &&
                            !raft_layout_configuration_pending(raft));
}

/* An entry of the disk that gives the cluster `servers` members. */
static void put_configuration(struct world_entry *entry, unsigned servers)
{
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    for (unsigned i = 1; i <= servers; i++) {
        char address[2] = {(char)('0' + i), 0};
        (void)raft_configuration_add(&configuration, i, address, i > 3 ? RAFT_SPARE : RAFT_VOTER);
    }
    *entry = (struct world_entry){.term = 1, .type = RAFT_CHANGE};
    entry->size = (unsigned short)raft_layout_encode_configuration(&configuration, entry->data,
                                                                   sizeof entry->data);
    raft_configuration_close(&configuration);
}

/* A restarts with two changes in its log, 11 and 12, the first of which is committed: somewhere
 * else, A has not heard of it. The next leader, which knows of commits up to 8 only, truncates the
 * second. A snapshot at 8 must not hold what entry 11 says: with such a one A does not start. */
enum schedule_result schedule_snapshot_before_its_configuration(uint64_t parts)
{
    struct world_options options = {.nodes = 3,
                                    .puppets = 1u << B | 1u << C,
                                    .parts = parts,
                                    .snapshot_threshold = 5,
                                    .snapshot_trailing = 100};
    struct world *world = world_create(&options);
    world_deliver_append(world, B, A,
                         &(struct world_append){.term = 1,
                                                .previous_index = 1,
                                                .previous_term = 1,
                                                .count = 8,
                                                .terms = {1, 1, 1, 1, 1, 1, 1, 1}});
    world_run(world, 50);
    world_deliver_append(
        world, B, A,
        &(struct world_append){
            .term = 1, .previous_index = 9, .previous_term = 1, .count = 3, .terms = {1, 1, 1}});
    world_run(world, 50);
    world_crash(world, A);
    struct world_disk *disk = &world->nodes[A].disk;
    bool way = disk->count == 12;
    put_configuration(&disk->entries[10], 4);
    put_configuration(&disk->entries[11], 5);
    world_start(world, A);
    world_deliver_append(world, C, A,
                         &(struct world_append){.term = 2,
                                                .previous_index = 11,
                                                .previous_term = 1,
                                                .commit = 8,
                                                .count = 1,
                                                .terms = {2}});
    world_run(world, 50);
    way = way && world->nodes[A].applied == 8 && world->nodes[A].raft.configuration.n == 4;
    world_crash(world, A);
    bool before = disk->snapshot.index == 0 || disk->snapshot.servers == 3;
    if (before)
        world_start(world, A);
    return schedule_end(world, way, before && world->nodes[A].raft.configuration.n == 4);
}
