/* Schedules about who leads. Nodes: 0 = A, 1 = B, 2 = C; A leads first. */
#include "raft_schedules.h"

enum { A, B, C };

/* B's disk is done with an append when its leader has been silent for long. */
enum schedule_result schedule_result_without_a_leader(uint64_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 3, .parts = parts}, 5);
    world->nodes[B].disk_held = true;
    bool way = world_propose(world, A, 1);
    world_run(world, 50);
    world_crash(world, A);
    world_isolate(world, C);
    world_run(world, 3000);
    way = way && world->nodes[B].guard.appends_in_flight > 0;
    world_release_disk(world, B);
    world_run(world, 100);
    return schedule_end(world, way, world->nodes[B].alive);
}

/* B's disk has a membership change in flight when its leader dies. libraft takes the new
 * configuration over only if B still is a follower when the append ends: a B that campaigned
 * meanwhile leads with the old one, and two majorities need not meet. */
enum schedule_result schedule_campaign_before_the_disk(uint64_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 3, .parts = parts}, 5);
    world_isolate(world, C);
    world->nodes[B].disk_held = true;
    raft_index before = raft_last_index(&world->nodes[A].raft);
    world_within(world, A, schedule_add_member, NULL);
    world_run(world, 20);
    bool way = raft_last_index(&world->nodes[B].raft) == before + 1;
    world_crash(world, A);
    world_heal(world);
    world_run(world, 4000);
    world_release_disk(world, B);
    world_run(world, 100);
    return schedule_end(world, way, world->nodes[B].raft.configuration.n == 4);
}

/* A dies while B's disk is stuck with an append in flight. B does not campaign; it must not stand
 * in C's way either. */
enum schedule_result schedule_vote_beside_a_stuck_disk(uint64_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 3, .parts = parts}, 5);
    world->nodes[B].disk_held = true;
    bool way = world_propose(world, A, 1);
    world_run(world, 50);
    world_crash(world, A);
    world_run(world, 5000);
    way = way && world->nodes[B].guard.appends_in_flight > 0;
    return schedule_end(world, way, world_leads(world, C));
}

/* C is dead. A has the longer log, B the newer term: it campaigned twice, and the votes were lost.
 * B refuses A because of the term, A refuses B because of the log. */
enum schedule_result schedule_longer_log_and_newer_term(uint64_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 3, .parts = parts}, 5);
    world_crash(world, C);
    world_isolate(world, A);
    bool way = world_propose(world, A, 1);
    world_run(world, 50);
    world_crash(world, A);
    world_crash(world, B);
    way = way && world->nodes[A].disk.count > world->nodes[B].disk.count;
    world->nodes[B].disk.term = world->nodes[A].disk.term + 2;
    world->nodes[B].disk.vote = B + 1;
    world_heal(world);
    world_start(world, A);
    world_start(world, B);
    world_run(world, 5000);
    return schedule_end(world, way, world_leads(world, A));
}

/* The transport refuses B's answer to a heartbeat. */
enum schedule_result schedule_result_cannot_be_sent(uint64_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 3, .parts = parts}, 5);
    world->nodes[B].send_fails = RAFT_IOERR;
    world_run(world, 500);
    bool way = world->nodes[B].send_fails == 0; /* it was asked */
    return schedule_end(world, way, world->nodes[B].alive);
}

/* The request of a transfer is its caller's again once its callback has fired, while the transport
 * still has TimeoutNow to finish. */
static struct raft_transfer caller_owned;

static void done(struct raft_transfer *transfer)
{
    world_forbid(transfer->data, transfer, sizeof *transfer);
}

static void transfer_directly(struct world_node *node, void *context)
{
    caller_owned.data = node->world;
    *(bool *)context = raft_transfer(&node->raft, &caller_owned, B + 1, done) == 0;
}

enum schedule_result schedule_transfer_outlives_its_request(uint64_t parts)
{
    struct world *world =
        schedule_lead(&(struct world_options){.nodes = 3, .parts = parts, .sent_ms = 3000}, 5);
    bool way = false;
    world_within(world, A, transfer_directly, &way);
    world_run(world, 5000);
    way = way && world->forbidden.begin != NULL && world_leader(world) == B;
    return schedule_end(world, way, true);
}

static void transfer(struct world_node *node, void *context)
{
    *(bool *)context = raft_guard_transfer(&node->guard, B + 1, NULL, NULL) == 0;
}

/* B has been sent everything and its disk takes 300 ms more: the transfer waits for that. Asked at
 * once, B refuses, and A serves nobody for an election timeout in vain. */
enum schedule_result schedule_transfer_to_a_slow_disk(uint64_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 3, .parts = parts}, 5);
    world->nodes[B].disk_held = true;
    bool way = world_propose(world, A, 3), asked = false;
    world_within(world, A, transfer, &asked);
    way = way && asked && !raft_guard_may_propose(&world->nodes[A].guard);
    world_run(world, 300);
    world_release_disk(world, B);
    world_run(world, 600);
    return schedule_end(world, way, world_leader(world) == B);
}
