/* Schedules about what is replicated and committed. Nodes: 0 = A, 1 = B, 2 = C. */
#include "raft_schedules.h"
#include "replication/guard/raft_layout.h"

enum { A, B, C, D, E };

/* A, cut off, keeps a tail that nobody has. B is elected by C, then reaches A only. A's answer to
 * B's first heartbeat covers A's whole disk, and B counts it for three new entries, acknowledges
 * them and dies. */
enum schedule_result schedule_stale_tail_is_acknowledged(uint64_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 3, .parts = parts}, 20);
    world_isolate(world, A);
    (void)world_propose(world, A, 10);
    (void)world_propose(world, A, 10);
    bool way = world_run_until(world, world_campaigns, B, 5000);
    world->cut[A][B] = world->cut[B][A] = false; /* the first heartbeat reaches A */
    way = way && world_run_until(world, world_leads, B, 1000);
    world_cut(world, B, C);
    uint64_t acknowledged = world->checkers.acknowledged_count;
    way = way && world_propose(world, B, 3);
    world_run(world, 300);
    way = way && world->checkers.acknowledged_count == acknowledged + 3;
    world_crash(world, B);
    world_heal(world);
    world_run(world, 5000);
    world_start(world, B);
    world_run(world, 5000);
    return schedule_end(world, way, true);
}

/* As above, but a transport under back-pressure delivers to A the leader's messages without their
 * entries: A may commit nothing of its stale tail. */
enum schedule_result schedule_stale_tail_is_committed(uint64_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 3, .parts = parts}, 5);
    world_isolate(world, A);
    (void)world_propose(world, A, 10);
    bool way = world_run_until(world, world_leads, B, 5000);
    world_run(world, 300);
    way = way && world_propose(world, B, 5);
    world_run(world, 300);
    world->nodes[A].strip_entries = true;
    world_heal(world);
    world_run(world, 500);
    world->nodes[A].strip_entries = false;
    world_run(world, 2000);
    return schedule_end(world, way, world->nodes[A].applied == world->nodes[B].applied);
}

/* B's acknowledgements are lost while it applies and compacts; then one message to B is lost. The
 * leader goes back to what it last heard of B, below B's snapshot, step by step to the first
 * entry, which libraft accepts at the end of B's log. */
enum schedule_result schedule_entries_below_a_snapshot(uint64_t parts)
{
    struct world_options options = {
        .nodes = 3, .parts = parts, .snapshot_threshold = 10, .snapshot_trailing = 2};
    struct world *world = schedule_lead(&options, 3);
    world->nodes[A].raft.snapshot.threshold = 1000; /* A has all its entries */
    world->cut[B][A] = true;
    bool way = world_propose(world, A, 20);
    world_run(world, 500);
    way = way && world->nodes[B].disk.snapshot.index > 5;
    world->cut[A][B] = true;
    way = way && world_propose(world, A, 1);
    world_run(world, 50);
    world_heal(world);
    world_run(world, 3000);
    (void)world_propose(world, A, 5);
    world_run(world, 1000);
    return schedule_end(
        world, way, world->nodes[B].alive && world->nodes[B].applied == world->nodes[A].applied);
}

/* The Raft paper's figure 8, five nodes. X reaches A and B in term 2. C is elected by D and E, has
 * an entry of term 3 at X's place on its disk, and dies. A comes back, leads with X on B and D, a
 * majority with itself, but with no entry of its own term on its disk: X must not be committed,
 * because C can still win over B and E, and overwrite it. */
enum schedule_result schedule_figure_8(uint64_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 5, .parts = parts}, 3);
    world_isolate(world, A);
    world->cut[A][B] = world->cut[B][A] = false;
    bool way = world_propose(world, A, 1); /* X */
    world_run(world, 50);
    world_crash(world, A);

    world_isolate(world, B);
    way = way && world_run_until(world, world_leads, C, 8000);
    world_isolate(world, C);
    way = way && world_propose(world, C, 1);
    world_run(world, 50);
    world_crash(world, C);

    world_heal(world);
    world_isolate(world, B);
    world_start(world, A);
    way = way && world_run_until(world, world_campaigns, A, 20000);
    world->cut[A][B] = world->cut[B][A] = false; /* B answers the first heartbeat */
    way = way && world_run_until(world, world_leads, A, 5000);
    world->nodes[A].disk_held = true;
    world_isolate(world, E);
    world_run(world, 6);
    world->cut[A][B] = true; /* and gets nothing of A's new term */
    world_run(world, 400);   /* D gets X and A's barrier */
    way = way && world_leads(world, A);
    world_crash(world, A);

    world_heal(world);
    world_isolate(world, D);
    world_start(world, C);
    way = way && world_run_until(world, world_leads, C, 20000);
    world_run(world, 1000);
    world->nodes[A].disk_held = false;
    world_heal(world);
    world_start(world, A);
    world_run(world, 5000);
    return schedule_end(world, way, world->nodes[A].applied == world->nodes[C].applied);
}

/* One entry each millisecond while an acknowledgement takes 40: the own disk is always ahead of
 * what a peer names. Commits must go on. */
enum schedule_result schedule_steady_load(uint64_t parts)
{
    struct world *world =
        schedule_lead(&(struct world_options){.nodes = 3, .parts = parts, .network_ms = 20}, 1);
    bool way = true;
    for (int i = 0; i < 500; i++) {
        way = world_propose(world, A, 1) && way;
        world_run(world, 1);
    }
    const struct raft *raft = &world->nodes[A].raft;
    raft_index behind = raft_last_index(&world->nodes[A].raft) - raft->commit_index;
    return schedule_end(world, way, behind < 100);
}

/* B has stored the first of three entries, C is away, then A's own append of all three ends. The
 * first is on a majority: it is committed now, not with the next word of B. */
enum schedule_result schedule_own_disk_is_last(uint64_t parts)
{
    struct world *world =
        schedule_lead(&(struct world_options){.nodes = 3, .parts = parts, .split = true}, 1);
    raft_index before = raft_last_index(&world->nodes[A].raft);
    world_isolate(world, C);
    world->nodes[A].disk_held = world->nodes[B].disk_held = true;
    bool way = world_propose_batch(world, A, 3);
    world_run(world, 20);
    world_finish_disk(world, B, 1);
    world_run(world, 20);
    struct raft *raft = &world->nodes[A].raft;
    raft_layout_set_recently_heard(raft, B + 1, false);
    world_finish_disk(world, A, 1);
    way =
        way && world->nodes[B].disk.count == before + 1 && world->nodes[A].disk.count == before + 3;
    bool committed = raft->commit_index == before + 1;
    bool invented = raft_layout_recently_heard(raft, B + 1); /* B did not speak */
    world_release_disk(world, A);
    world_release_disk(world, B);
    world_heal(world);
    world_run(world, 1000);
    return schedule_end(world, way, committed && !invented);
}

/* B inherits entries of A that nobody acknowledged, and no client comes. */
enum schedule_result schedule_inherited_entries_without_clients(uint64_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 3, .parts = parts}, 3);
    world->cut[B][A] = true;
    world_isolate(world, C);
    bool way = world_propose(world, A, 3);
    raft_index last = raft_last_index(&world->nodes[A].raft);
    world_run(world, 50);
    world_crash(world, A);
    world_heal(world);
    world_run(world, 5000);
    way = way && world_leader(world) == B;
    return schedule_end(world, way,
                        world->nodes[B].raft.commit_index >= last &&
                            world->nodes[C].raft.commit_index >= last);
}

/* The leader's disk refuses an append that the followers have got already. Going on, it would give
 * the index to another entry in the same term. */
enum schedule_result schedule_append_fails(uint64_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 3, .parts = parts}, 3);
    world->nodes[A].fail_next[WORLD_APPEND] = RAFT_IOERR;
    bool way = world_propose(world, A, 1);
    world_run(world, 3);
    bool stopped = world->nodes[A].stopped_by != NULL;
    (void)world_propose(world, A, 1);
    world_run(world, 5000);
    if (!world->nodes[A].alive)
        world_start(world, A);
    world_run(world, 3000);
    return schedule_end(world, way, stopped);
}

/* Twenty entries are on a slow way when one send fails: the leader sends again what was lost, not
 * everything that is not acknowledged. */
enum schedule_result schedule_one_send_fails(uint64_t parts)
{
    struct world *world =
        schedule_lead(&(struct world_options){.nodes = 3, .parts = parts, .network_ms = 200}, 1);
    world_run(world, 2000);
    uint64_t before = world->nodes[B].entries_received;
    bool way = world_propose(world, A, 20);
    world->nodes[A].send_status = RAFT_NOCONNECTION; /* to B, the first of the others */
    way = way && world_propose(world, A, 1);
    world_run(world, 3000);
    way = way && world->nodes[B].applied == world->nodes[A].applied;
    return schedule_end(world, way, world->nodes[B].entries_received - before <= 30);
}

/* The leader and a follower are closed in order, with appends, messages and commands in flight; no
 * memory is left and nobody stops. */
enum schedule_result schedule_close_under_load(uint64_t parts)
{
    struct world *world =
        schedule_lead(&(struct world_options){.nodes = 3, .parts = parts, .sent_ms = 100}, 3);
    world->nodes[A].disk_held = world->nodes[B].disk_held = true;
    bool way = world_propose(world, A, 5);
    world_run(world, 20);
    way = way && world->nodes[A].guard.appends_in_flight == 5 &&
          world->nodes[B].guard.appends_in_flight == 5;
    size_t left = world_close(world, A) + world_close(world, B);
    return schedule_end(world, way,
                        left == 0 && world->nodes[A].stopped_by == NULL &&
                            world->nodes[B].stopped_by == NULL);
}

static void hand_over_to_c(struct world_node *node, void *context)
{
    *(int *)context = raft_guard_transfer(&node->guard, C + 1, NULL, NULL);
}

/* A was cut off with twenty entries that nobody else has; B and C have twenty others, and C leads
 * since. To find where A's log parts from C's takes twenty steps; A is not sent everything in each
 * of them. */
enum schedule_result schedule_probing_a_divergent_tail(uint64_t parts)
{
    struct world *world = schedule_lead(&(struct world_options){.nodes = 3, .parts = parts}, 3);
    world_isolate(world, A);
    bool way = world_propose(world, A, 20) && world_run_until(world, world_leads, B, 5000);
    world_run(world, 100);
    int code = -1;
    way = way && world_propose(world, B, 20);
    world_within(world, B, hand_over_to_c, &code);
    way = way && code == 0 && world_run_until(world, world_leads, C, 1000);
    world_run(world, 200);
    uint64_t before = world->nodes[A].entries_received;
    world_heal(world);
    world_run(world, 3000);
    way = way && world->nodes[A].applied == world->nodes[C].applied;
    return schedule_end(world, way, world->nodes[A].entries_received - before < 60);
}

static void hand_over_to_b(struct world_node *node, void *context)
{
    *(int *)context = raft_guard_transfer(&node->guard, B + 1, NULL, NULL);
}

/* A hands over to B, whose disk refuses the new term. libraft has made a candidate of B by then,
 * and takes it back by halves. */
enum schedule_result schedule_term_fails_at_a_hand_over(uint64_t parts)
{
    struct world *world = schedule_lead(
        &(struct world_options){.nodes = 3, .parts = parts, .close_stopped = true}, 5);
    int code = -1;
    world->nodes[B].fail_next[WORLD_SET_TERM] = RAFT_IOERR;
    world_within(world, A, hand_over_to_b, &code);
    world_run(world, 1000);
    bool way = code == 0 && world->nodes[B].fail_next[WORLD_SET_TERM] == 0;
    return schedule_end(world, way, !world->nodes[B].alive);
}

/* C comes to lead and sends its entries to B, whose disk refuses the new term. B's disk is not
 * asked to take entries of that term. */
enum schedule_result schedule_term_fails_under_entries(uint64_t parts)
{
    struct world *world = schedule_lead(
        &(struct world_options){.nodes = 3, .parts = parts, .close_stopped = true}, 5);
    world_isolate(world, B);
    world_crash(world, A);
    world_start(world, A);
    world_run(world, 5000);
    int leader = world_leader(world);
    bool way = leader >= 0 && leader != B && world_propose(world, (unsigned)leader, 3);
    world->nodes[B].fail_next[WORLD_SET_TERM] = RAFT_IOERR;
    uint64_t appends = world->nodes[B].appends;
    world_heal(world);
    world_run(world, 1000);
    way = way && world->nodes[B].fail_next[WORLD_SET_TERM] == 0;
    return schedule_end(world, way, !world->nodes[B].alive && world->nodes[B].appends == appends);
}
