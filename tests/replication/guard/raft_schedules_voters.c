/*
 * Schedules about who counts while the number of voters changes: growing from one, and beside a
 * voter that is dead. Nodes: 0 = A, which leads first, 1 = B, 2 = C, 3 = D.
 */
#include "raft_schedules.h"
#include "replication/guard/raft_layout.h"

enum { A, B, C, D };

static bool change(struct world *world, unsigned leader, raft_id id, int role, bool ask)
{
    struct schedule_change wanted = {.id = id, .role = role, .ask = ask};
    world_within(world, leader, schedule_change_member, &wanted);
    return wanted.allowed;
}

/* A alone votes; B, with an empty disk, has been given the log. */
static struct world *lead_alone(uint64_t parts)
{
    struct world *world =
        schedule_lead(&(struct world_options){.nodes = 2, .outsiders = 1u << B, .parts = parts}, 5);
    (void)change(world, A, B + 1, RAFT_SPARE, false);
    world_run(world, 100);
    (void)change(world, A, B + 1, RAFT_STANDBY, false);
    world_run(world, 1000);
    return world;
}

/* A makes B a voter and restarts before B hears of it. A needs B's vote to tell it. */
enum schedule_result schedule_promoted_before_it_knows(uint64_t parts)
{
    struct world *world = lead_alone(parts);
    bool way = raft_layout_role(&world->nodes[B].raft, B + 1) == RAFT_STANDBY;
    world_cut(world, A, B);
    way = way && change(world, A, B + 1, RAFT_VOTER, false);
    world_run(world, 50);
    world_crash(world, A);
    world_heal(world);
    world_start(world, A);
    way = way && raft_layout_role(&world->nodes[A].raft, B + 1) == RAFT_VOTER &&
          raft_layout_role(&world->nodes[B].raft, B + 1) == RAFT_STANDBY;
    world_run(world, 5000);
    int leader = world_leader(world);
    bool promise = leader >= 0 && world_propose(world, (unsigned)leader, 3);
    world_run(world, 500);
    promise = promise && world->nodes[B].applied == world->nodes[A].applied &&
              raft_layout_role(&world->nodes[B].raft, B + 1) == RAFT_VOTER;
    return schedule_end(world, way, promise);
}

/* The same with more voters: C is dead, D is promoted in its place, A restarts. Three of the four
 * are needed, A, B and D. */
enum schedule_result schedule_promoted_beside_a_dead_voter(uint64_t parts)
{
    struct world *world =
        schedule_lead(&(struct world_options){.nodes = 4, .outsiders = 1u << D, .parts = parts}, 5);
    world_crash(world, C);
    bool way = change(world, A, D + 1, RAFT_SPARE, true);
    world_run(world, 100);
    way = way && change(world, A, D + 1, RAFT_STANDBY, true);
    world_run(world, 1500);
    world_cut(world, A, B);
    world_cut(world, A, D);
    way = way && change(world, A, D + 1, RAFT_VOTER, true);
    world_run(world, 50);
    world_crash(world, A);
    world_heal(world);
    world_start(world, A);
    world_run(world, 8000);
    int leader = world_leader(world);
    bool promise = leader >= 0 && world_propose(world, (unsigned)leader, 3);
    world_run(world, 500);
    promise = promise && world->nodes[D].applied == world->nodes[A].applied;
    return schedule_end(world, way, promise);
}

/* A alone votes. It sends an entry to B before its own disk has it, and loses it in a crash: the
 * next entry at that place must be of another term. */
enum schedule_result schedule_sole_voter_restarts(uint64_t parts)
{
    struct world *world = lead_alone(parts);
    world->nodes[A].disk_held = true;
    bool way = world_propose(world, A, 1);
    world_run(world, 50);
    world_crash(world, A);
    world->nodes[A].disk_held = false;
    world_start(world, A);
    way = way && raft_last_index(&world->nodes[B].raft) > raft_last_index(&world->nodes[A].raft);
    world_run(world, 100);
    way = way && world_propose(world, A, 2);
    world_run(world, 2000);
    return schedule_end(world, way, world->nodes[A].applied == world->nodes[B].applied);
}

/* A removes itself and appends another entry, before it hears that B has the first and is the only
 * voter now. B leads after silence; A does not know yet. */
enum schedule_result schedule_leader_leaves_one_voter(uint64_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 2, .parts = parts}, 5);
    world->cut[B][A] = true;
    bool way = change(world, A, A + 1, -1, false);
    world_run(world, 20);
    world->cut[A][B] = true;
    way = way && raft_layout_is_sole_voter(&world->nodes[B].raft) && world_propose(world, A, 1);
    way = way && world_run_until(world, world_leads, B, 5000);
    world_run(world, 100);
    way = way && world_propose(world, B, 2);
    world_run(world, 100);
    return schedule_end(world, way, true);
}

static void transfer(struct world_node *node, void *context)
{
    static struct raft_transfer request;
    *(bool *)context = raft_transfer(&node->raft, &request, B + 1, NULL) == 0;
}

/* As before, but A asks B to campaign: libraft's transfer says so when everything was *sent*. */
enum schedule_result schedule_sole_voter_is_asked_to_lead(uint64_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 2, .parts = parts}, 5);
    world->cut[B][A] = true;
    bool way = change(world, A, A + 1, -1, false), asked = false;
    world_run(world, 20);
    way = way && raft_layout_is_sole_voter(&world->nodes[B].raft);
    world_within(world, A, transfer, &asked);
    way = way && asked && world_run_until(world, world_leads, B, 5000);
    return schedule_end(world, way, true);
}

/* C is dead. To remove B now would leave two voters of which one is dead, and A could never commit
 * it; to take D in C's place is possible. */
enum schedule_result schedule_change_beside_a_dead_voter(uint64_t parts)
{
    struct world *world =
        schedule_lead(&(struct world_options){.nodes = 4, .outsiders = 1u << D, .parts = parts}, 5);
    world_crash(world, C);
    world_run(world, 2500);
    bool way = world_leader(world) == A;
    bool refused = !change(world, A, B + 1, -1, true);
    way = way && (!refused || change(world, A, D + 1, RAFT_SPARE, true));
    world_run(world, 500);
    way = way && (!refused || change(world, A, D + 1, RAFT_STANDBY, true));
    world_run(world, 1500);
    way = way && (!refused || change(world, A, D + 1, RAFT_VOTER, true));
    world_run(world, 500);
    way = way && (!refused || change(world, A, C + 1, -1, true));
    world_run(world, 500);
    bool promise = world_leader(world) == A && world_propose(world, A, 3);
    raft_index last = raft_last_index(&world->nodes[A].raft);
    world_run(world, 2000);
    promise = promise && world->nodes[A].applied == last && world->nodes[B].applied == last &&
              world->nodes[D].applied == last;
    world_start(world, C); /* does not know that it is none any more, and disturbs nobody */
    world_run(world, 5000);
    promise = promise && world_leader(world) == A;
    return schedule_end(world, way, promise);
}
