/*
 * Schedules about the durability rule. Nodes: 0 = A at one site, which leads first, 1 = B at the
 * other, both with a ledger; 2 = W, the witness. The promise of each is one line of the rule, and
 * the world's checkers watch besides: what is committed under SYNC is on the disks of both sites.
 */
#include "raft_schedules.h"
#include "replication/guard/raft_layout_drive.h"

enum { A, B, W };

static struct world *lead(uint64_t parts)
{
    return schedule_lead(&(struct world_options){.nodes = 3,
                                                 .witnesses = 1u << W,
                                                 .second_site = 1u << B,
                                                 .parts = parts,
                                                 .exact = true},
                         5);
}

static raft_index last_of(const struct world *world, unsigned node)
{
    return raft_layout_last_index(&world->nodes[node].raft);
}

static raft_index commit_of(const struct world *world)
{
    return world->nodes[A].raft.commit_index;
}

static bool all_have(const struct world *world, raft_index last)
{
    return world_leader(world) == A && commit_of(world) == last && last_of(world, B) == last &&
           last_of(world, W) == last;
}

/* 4. B is cut off, and A has three entries that nobody may have alone with it: neither is anything
 * committed, nor does W get them. A dies, and B leads at once: W is not ahead of it. */
enum schedule_result schedule_witness_gets_what_both_have(uint64_t parts)
{
    struct world *world = lead(parts);
    const raft_index last = last_of(world, A);
    bool way = all_have(world, last);
    world_isolate(world, B);
    way = way && world_propose(world, A, 3);
    world_run(world, 300);
    way = way && commit_of(world) == last;
    bool promise = last_of(world, W) == last;
    world_crash(world, A);
    world_heal(world);
    world_run(world, 5000);
    return schedule_end(world, way,
                        promise && world_leader(world) == B && world->nodes[W].led_term == 0);
}

/* 3. A has entries that B lacks, dies, and comes back to lead them once more. That it inherited
 * them is no reason to give them to W: nobody at B's site has verified them. */
enum schedule_result schedule_gate_does_not_start_at_what_was_inherited(uint64_t parts)
{
    struct world *world = lead(parts);
    const raft_index last = last_of(world, A);
    bool way = all_have(world, last);
    world_isolate(world, B);
    way = way && world_propose(world, A, 3);
    world_run(world, 50);
    world_crash(world, A);
    world_start(world, A);
    way = way && world_run_until(world, world_leads, A, 10000);
    world_run(world, 500);
    way = way && world_leads(world, A) && last_of(world, A) > last + 3;
    bool promise = last_of(world, W) == last && commit_of(world) <= last;
    world_heal(world);
    world_run(world, 3000);
    return schedule_end(world, way, promise && all_have(world, last_of(world, A)));
}

/* 2. A's own disk waits, B and W are quick. What is only in A's memory is not at A's site. */
enum schedule_result schedule_own_copy_counts_when_synced(uint64_t parts)
{
    struct world *world = lead(parts);
    const raft_index last = last_of(world, A);
    bool way = all_have(world, last);
    world->nodes[A].disk_held = true;
    way = way && world_propose(world, A, 1);
    world_run(world, 300);
    way = way && last_of(world, B) == last + 1;
    bool promise = commit_of(world) == last && last_of(world, W) == last;
    world_release_disk(world, A);
    world_run(world, 300);
    return schedule_end(world, way, promise && all_have(world, last + 1));
}

/* 1. B is lost, and A degrades. The degrade entry is in force as soon as it is in A's log: if it
 * had to be committed first it never would be. The return entry, likewise: with B gone again right
 * after it, nothing more is committed. */
enum schedule_result schedule_mode_is_the_logs(uint64_t parts)
{
    struct world *world = lead(parts);
    const raft_index last = last_of(world, A);
    bool way = all_have(world, last);
    world_isolate(world, B);
    way = way && world_propose(world, A, 2);
    world_run(world, 300);
    way = way && commit_of(world) == last && world_propose_mode(world, A, DURABILITY_DEGRADED);
    world_run(world, 300);
    bool promise = commit_of(world) == last + 3 && last_of(world, W) == last + 3;
    way = way && world_propose_mode(world, A, DURABILITY_SYNC) && world_propose(world, A, 2);
    world_run(world, 300);
    promise = promise && commit_of(world) == last + 3 && last_of(world, W) == last + 3;
    world_heal(world);
    world_run(world, 3000);
    return schedule_end(world, way, promise && all_have(world, last_of(world, A)));
}

/* B is lost, A's disk waits. `beyond`: what comes behind the entry x. The disk then writes x alone.
 * W has all. True: x is not committed. */
static bool only_x_is_written(struct world *world, bool *way, unsigned beyond)
{
    const raft_index last = last_of(world, A);
    *way = all_have(world, last);
    world_isolate(world, B);
    world->nodes[A].disk_held = true;
    *way = *way && world_propose(world, A, 1) && world_propose_mode(world, A, DURABILITY_DEGRADED);
    world_run(world, 100);
    *way = *way && last_of(world, W) == last + 2;
    if (beyond > 1)
        *way = *way && world_propose_mode(world, A, DURABILITY_SYNC);
    world_run(world, 50);
    world_finish_disk(world, A, 1);
    world_run(world, 300);
    *way = *way && world->nodes[A].raft.last_stored == last + 1;
    return commit_of(world) == last;
}

/* 5. x, d, and r again: the log ends under SYNC, and W has x, since it was degraded for a moment.
 * x counts at W no further than both sites have it. */
enum schedule_result schedule_witness_counts_up_to_the_gate(uint64_t parts)
{
    struct world *world = lead(parts);
    bool way, promise = only_x_is_written(world, &way, 2);
    world_release_disk(world, A);
    world_heal(world);
    world_run(world, 3000);
    return schedule_end(world, way, promise && all_have(world, last_of(world, A)));
}

/* 6. x and d. W has d, A's disk has not: no majority has reached d, and x alone must not be
 * committed by W's word. */
enum schedule_result schedule_degrade_counts_when_reached(uint64_t parts)
{
    struct world *world = lead(parts);
    bool way, promise = only_x_is_written(world, &way, 1);
    const raft_index last = last_of(world, A);
    world_release_disk(world, A);
    world_run(world, 300);
    promise = promise && commit_of(world) == last; /* x and d, in one step */
    return schedule_end(world, way, promise);
}

/* 10. As above; and when A's disk has d as well, both are committed at once, although W has nothing
 * to say: its last answer counts again. */
enum schedule_result schedule_answer_counts_again(uint64_t parts)
{
    struct world *world = lead(parts);
    bool way;
    (void)only_x_is_written(world, &way, 1);
    const raft_index last = last_of(world, A);
    world_run(world, 20);
    world_release_disk(world, A);
    world_run(world, 5); /* less than any message takes */
    return schedule_end(world, way, commit_of(world) == last);
}

/* 10. A degraded run with a return behind it, and one more degrade, so that W gets all. A's disk is
 * behind: the quorum is within the first run. W counts to the end of that run and no further, or
 * the entry behind the return would be committed with A's next write. */
enum schedule_result schedule_witness_counts_to_the_end_of_the_run(uint64_t parts)
{
    struct world *world = lead(parts);
    raft_index last = last_of(world, A);
    bool way = all_have(world, last);
    world_isolate(world, B);
    way = way && world_propose_mode(world, A, DURABILITY_DEGRADED);
    world_run(world, 300);
    last++;
    way = way && commit_of(world) == last;
    world->nodes[A].disk_held = true;
    way = way && world_propose(world, A, 1) && world_propose_mode(world, A, DURABILITY_SYNC) &&
          world_propose(world, A, 1) && world_propose_mode(world, A, DURABILITY_DEGRADED);
    world_run(world, 100);
    way = way && last_of(world, W) == last + 4 && commit_of(world) == last;
    world_finish_disk(world, A, 3);
    world_run(world, 300);
    bool promise = commit_of(world) == last + 1;
    world_release_disk(world, A);
    world_run(world, 300);
    return schedule_end(world, way, promise && commit_of(world) == last + 4);
}

/* 9. x under SYNC, then d, committed in one step: x was not on both sites, and must not be said to
 * be; with B back it is. */
enum schedule_result schedule_both_is_what_both_verified(uint64_t parts)
{
    struct world *world = lead(parts);
    const raft_index last = last_of(world, A);
    bool way = all_have(world, last) && raft_guard_both(&world->nodes[A].guard) == last;
    world_isolate(world, B);
    way = way && world_propose(world, A, 1) && world_propose_mode(world, A, DURABILITY_DEGRADED);
    world_run(world, 300);
    way = way && commit_of(world) == last + 2;
    bool promise = raft_guard_both(&world->nodes[A].guard) == last;
    world_heal(world);
    world_run(world, 1000);
    return schedule_end(world, way,
                        promise && raft_guard_both(&world->nodes[A].guard) == commit_of(world));
}
