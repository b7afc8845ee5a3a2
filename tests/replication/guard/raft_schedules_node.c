/*
 * Schedules of one node, 0; the others are played by the test, which keeps each to what a correct
 * peer could have sent. Command of a puppet's entry: 1000 * term + index.
 */
#include "raft_schedules.h"

enum { NODE, ONE, TWO };

static struct world *alone(uint64_t parts)
{
    struct world_options options = {
        .nodes = 3, .puppets = 1u << ONE | 1u << TWO, .parts = parts, .quarantine = true};
    struct world *world = world_create(&options);
    world_run(world, 50);
    return world;
}

/* The node has four entries of the leader of term 3, who was elected without those of term 2 that
 * another majority had later committed and put into a snapshot. Its own entry has the newer term,
 * and libraft says that it has all of the snapshot. */
enum schedule_result schedule_snapshot_against_a_newer_term(uint64_t parts)
{
    struct world *world = alone(parts);
    world_deliver_append(
        world, ONE, NODE,
        &(struct world_append){
            .term = 3, .previous_index = 1, .previous_term = 1, .count = 4, .terms = {3, 3, 3, 3}});
    world_run(world, 50);
    bool way = world->nodes[NODE].raft.last_stored == 5;
    world_deliver_snapshot(world, TWO, NODE, 4, 4, 2);
    world_run(world, 50);
    const struct raft_append_entries_result *result =
        &world->to_puppet[RAFT_IO_APPEND_ENTRIES_RESULT].append_entries_result;
    bool claims = result->term == 4 && result->rejected == 0 && result->last_log_index >= 4;
    return schedule_end(world, way, !claims);
}

/* While the node installs a snapshot up to 30, a new leader asks for an entry that it has not. The
 * hint must not send the leader to the begin of its log. */
enum schedule_result schedule_rejection_during_an_install(uint64_t parts)
{
    struct world *world = alone(parts);
    world->nodes[NODE].disk_held = true;
    world_deliver_snapshot(world, ONE, NODE, 2, 30, 2);
    world_deliver_append(
        world, TWO, NODE,
        &(struct world_append){.term = 3, .previous_index = 40, .previous_term = 3, .commit = 35});
    const struct raft_append_entries_result *result =
        &world->to_puppet[RAFT_IO_APPEND_ENTRIES_RESULT].append_entries_result;
    bool way = result->term == 3 && result->rejected == 40;
    bool useful = result->last_log_index >= 30;
    world_release_disk(world, NODE);
    world_run(world, 50);
    way = way && world->nodes[NODE].applied == 30;
    return schedule_end(world, way, useful);
}

/* (2, term 2) comes from ONE, is replaced by TWO's (2, term 3), and comes back from ONE, who leads
 * term 4, all while the first append is in flight. */
enum schedule_result schedule_entry_comes_back_in_flight(uint64_t parts)
{
    struct world *world = alone(parts);
    struct world_append first = {
        .term = 2, .previous_index = 1, .previous_term = 1, .count = 1, .terms = {2}};
    struct world_append other = first, again = first, commit = first;
    other.term = other.terms[0] = 3;
    again.term = 4;
    commit = again;
    commit.count = 2;
    commit.terms[1] = 4;
    commit.commit = 3;
    world->nodes[NODE].disk_held = true;
    world_deliver_append(world, ONE, NODE, &first);
    world_deliver_append(world, TWO, NODE, &other);
    world_deliver_append(world, ONE, NODE, &again);
    world_release_disk(world, NODE);
    world_run(world, 50);
    world_deliver_append(world, ONE, NODE, &again); /* as leaders do with each heartbeat */
    world_run(world, 50);
    world_deliver_append(world, ONE, NODE, &commit);
    world_run(world, 50);
    return schedule_end(world, true, world->nodes[NODE].applied == 3);
}

static void hand_over_to_one(struct world_node *node, void *context)
{
    static struct raft_transfer request;
    *(bool *)context = raft_transfer(&node->raft, &request, ONE + 1, NULL) == 0;
}

/* The node leads and hands over to ONE. Before ONE campaigns, TWO does, also because it was asked
 * to (by whom ONE handed over to long ago), and gets the node's vote. Then ONE asks in that term.
 */
enum schedule_result schedule_vote_for_whom_it_hands_over_to(uint64_t parts)
{
    struct world *world = alone(parts);
    const struct world_node *node = &world->nodes[NODE];
    bool way = world_run_until(world, world_asks_for_pre_votes, NODE, 5000);
    world_deliver_vote(world, ONE, NODE, 2, true);
    way = way && world_campaigns(world, NODE);
    world_deliver_vote(world, ONE, NODE, 2, false);
    way = way && world_leads(world, NODE) && node->raft.current_term == 2;
    world_run(world, 20);
    raft_index last = raft_last_index(&world->nodes[NODE].raft);
    world_deliver_result(world, ONE, NODE, 2, 0, last);
    bool asked = false;
    world_within(world, NODE, hand_over_to_one, &asked);
    way = way && asked;
    struct world_vote vote = {.term = 3, .last_index = last, .last_term = 2, .disrupts = true};
    world_deliver_vote_request(world, TWO, NODE, &vote);
    way = way && node->disk.term == 3 && node->disk.vote == TWO + 1;
    world_deliver_vote_request(world, ONE, NODE, &vote);
    return schedule_end(world, way, node->disk.vote == TWO + 1);
}
