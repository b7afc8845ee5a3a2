/*
 * Consensus by libraft as the node sees it: clusters in one process (consensus_cluster.h), whose
 * network is cut, whose nodes crash, whose disks get stuck.
 */
#include "consensus_cluster.h"

#include <criterion/criterion.h>
#include <string.h>

/* A cluster of one: it leads without asking anybody, and what its own journal synced is committed.
 */
Test(consensus_raft, one_node_leads_and_commits_alone)
{
    struct cluster *cluster = cluster_started(1);
    cr_assert_eq(cluster_leader(cluster), 0);
    uint64_t first = cluster_commit(cluster, 100);
    uint64_t last = first;
    for (int i = 0; i < 20; i++)
        last = cluster_commit(cluster, 1000);
    cr_assert_eq(last, first + 20);
    struct consensus_status status = cluster_status(cluster, 0);
    cr_assert_eq(status.commit_index, last);
    cr_assert_eq(status.consumed_index, last);
    cr_assert_eq(status.leader_id, 1);
    cluster_destroy(cluster);
}

/* Three nodes elect one, and all pull what it proposes. */
Test(consensus_raft, three_nodes_elect_commit_and_pull_the_same)
{
    struct cluster *cluster = cluster_started(3);
    uint32_t leader = cluster_leader(cluster);
    cr_assert_neq(leader, 2, "a witness does not lead by itself");
    uint64_t last = 0;
    for (int i = 0; i < 50; i++)
        last = cluster_commit(cluster, 512);
    for (uint32_t i = 0; i < 3; i++)
        cr_assert_eq(cluster->nodes[i].pulled, last);
    cluster_destroy(cluster);
}

/* Two sites of two and a witness. */
Test(consensus_raft, five_nodes_elect_commit_and_pull_the_same)
{
    struct cluster *cluster = cluster_started(5);
    uint64_t last = 0;
    for (int i = 0; i < 30; i++)
        last = cluster_commit(cluster, 2000);
    for (uint32_t i = 0; i < 5; i++)
        cr_assert_eq(cluster->nodes[i].pulled, last);
    cluster_destroy(cluster);
}

/* The leader dies with proposals in flight: the others elect one of them, go on, and the dead one
 * comes back to the same log. Again and again. */
Test(consensus_raft, the_others_go_on_without_their_leader)
{
    struct cluster *cluster = cluster_started(3);
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 5; i++)
            cluster_commit(cluster, 300);
        uint32_t dead = cluster_leader(cluster);
        for (int i = 0; i < 10; i++)
            cr_assert_eq(cluster_propose(cluster, dead, 700, NULL), STATUS_OK);
        cluster_crash(cluster, dead);
        uint64_t killed_ns = cluster->now_ns;
        uint32_t next = cluster_leader(cluster);
        cr_assert_neq(next, dead);
        cr_assert_lt(cluster->now_ns - killed_ns, 1000 * CLUSTER_MS);
        cluster_commit(cluster, 300);
        cluster_start(cluster, dead);
        cluster_commit(cluster, 300);
    }
    cluster_destroy(cluster);
}

/* All stop and start again, some of them with a checkpoint: nothing is lost or pulled twice. */
Test(consensus_raft, a_restart_keeps_everything)
{
    struct cluster *cluster = cluster_started(3);
    uint64_t last = 0;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 20; i++)
            last = cluster_commit(cluster, 4000);
        cluster_flush(cluster, (uint32_t)round % 2);
        for (uint32_t i = 0; i < 3; i++) {
            if (round % 2 == 0)
                cluster_stop(cluster, i);
            else
                cluster_crash(cluster, i);
        }
        for (uint32_t i = 0; i < 3; i++)
            cluster_start(cluster, i);
        cluster_expect_pulled(cluster, last);
    }
    cluster_destroy(cluster);
}

/* A node starts with nobody reachable. What its start says is committed it pulls, to the entry:
 * with a store that is behind and with none, with the members changed by nobody; a word that does
 * not fit the journal (another term, beyond its end) is none. With the others everything goes on.
 */
Test(consensus_raft, what_a_start_knows_to_be_committed_is_pulled_without_a_leader)
{
    for (uint32_t flushed = 0; flushed < 2; flushed++) {
        struct cluster *cluster = cluster_started(3);
        uint64_t last = 0;
        for (int i = 0; i < 20; i++)
            last = cluster_commit(cluster, 4000);
        if (flushed == 1)
            cluster_flush(cluster, 0);
        for (int i = 0; i < 20; i++)
            last = cluster_commit(cluster, 4000);
        for (uint32_t i = 0; i < 3; i++)
            cluster_stop(cluster, i);
        struct cluster_node *node = &cluster->nodes[0];
        const uint64_t term = cluster->pulled[last - 6].term;
        const uint64_t alone = flushed == 1 ? node->durable_index : 1; /* the founding entry */
        const struct cluster_known {
            uint64_t index, term, pulled;
        } known[] = {
            {0, 0, alone},
            {last - 5, term + 1, alone},
            {last + 1, term, alone},
            {last - 5, term, last - 5},
        };
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
            node->committed_index = known[i].index;
            node->committed_term = known[i].term;
            cluster_start(cluster, 0);
            cluster_run(cluster, 2000);
            cr_assert_eq(node->pulled, known[i].pulled, "case %zu: %lu", i, node->pulled);
            cluster_stop(cluster, 0);
        }
        for (uint32_t i = 0; i < 3; i++)
            cluster_start(cluster, i);
        cluster_expect_pulled(cluster, last);
        cluster_flush(cluster, 0);
        cluster_expect_pulled(cluster, cluster_commit(cluster, 4000));
        cluster_destroy(cluster);
    }
}

/* The store of nobody advances: the log in memory fills, proposals are refused and tell why. Once
 * the stores have caught up everything goes on, and memory has been given back. */
static void fill_and_recover(uint64_t tail_bytes, uint64_t left_bytes, int least)
{
    struct cluster *cluster = cluster_create(3, 3, true);
    cluster->log_bytes_max = 8 * 1024 * 1024;
    cluster->tail_bytes = tail_bytes;
    for (uint32_t i = 0; i < 3; i++)
        cluster_start(cluster, i);
    for (int round = 0; round < 3; round++) {
        uint32_t leader = cluster_leader(cluster);
        uint64_t last = 0;
        enum status status = STATUS_OK;
        int proposed = 0;
        while (proposed < 1000) {
            status = cluster_propose(cluster, leader, 100000, &last);
            if (status != STATUS_OK)
                break;
            proposed++;
            cluster_run(cluster, 5);
        }
        cr_assert_eq(status, STATUS_BUSY, "round %d: status %d after %d", round, status, proposed);
        cr_assert_gt(proposed, least);
        cluster_expect_pulled(cluster, last);
        cr_assert_gt(cluster_status(cluster, leader).log_bytes, 7 * 1000 * 1000);
        for (uint32_t i = 0; i < 3; i++)
            cluster_flush(cluster, i);
        cluster_commit(cluster, 1000);
        cluster_run(cluster, 300);
        for (uint32_t i = 0; i < 3; i++)
            cr_assert_lt(cluster_status(cluster, i).log_bytes, left_bytes, "node %u has %lu", i + 1,
                         cluster_status(cluster, i).log_bytes);
    }
    cluster_destroy(cluster);
}

Test(consensus_raft, a_full_log_in_memory_pushes_back_and_recovers)
{
    fill_and_recover(1024 * 1024, 3 * 1024 * 1024, 50);
}

/* What is kept for followers is at most half of the bound: otherwise there is nothing to drop. */
Test(consensus_raft, a_tail_as_large_as_the_bound_does_not_keep_the_log_full)
{
    fill_and_recover(8 * 1024 * 1024, 6 * 1024 * 1024, 30);
}

/* The log begins with one large entry, and what is behind it is less than the tail that is kept: it
 * goes all the same when the log is full, or nothing would be taken any more. */
Test(consensus_raft, a_large_entry_at_the_begin_does_not_keep_the_log_full)
{
    struct cluster *cluster = cluster_create(3, 3, true);
    cluster->log_bytes_max = 1024 * 1024;
    cluster->tail_bytes = 512 * 1024;
    for (uint32_t i = 0; i < 3; i++)
        cluster_start(cluster, i);
    const uint32_t leader = cluster_leader(cluster);
    uint64_t last = 0;
    cr_assert_eq(cluster_propose(cluster, leader, 900000, &last), STATUS_OK);
    cluster_run(cluster, 100);
    enum status status = STATUS_OK;
    for (int i = 0; i < 200 && status == STATUS_OK; i++) {
        status = cluster_propose(cluster, leader, 10000, &last);
        cluster_run(cluster, 10);
    }
    cr_assert_eq(status, STATUS_BUSY);
    for (int i = 0; i < 20 && status == STATUS_BUSY; i++) {
        for (uint32_t node = 0; node < 3; node++)
            cluster_flush(cluster, node);
        cluster_run(cluster, 100);
        status = cluster_propose(cluster, leader, 10000, &last);
    }
    cr_assert_eq(status, STATUS_OK);
    cluster_destroy(cluster);
}

/* A follower's store stands still, the others' do not: the follower takes no more entries, stays in
 * touch, and gets the rest when there is room again. */
Test(consensus_raft, a_follower_without_room_stays_and_catches_up)
{
    struct cluster *cluster = cluster_create(3, 3, true);
    cluster->log_bytes_max = 8 * 1024 * 1024;
    cluster->tail_bytes = 64 * 1024 * 1024;
    cluster_start(cluster, 0);
    cluster_start(cluster, 1);
    cluster->log_bytes_max = 2 * 1024 * 1024;
    cluster->tail_bytes = 128 * 1024;
    cluster_start(cluster, 2);
    uint32_t leader = cluster_leader(cluster);
    if (leader == 2) {
        cr_assert_eq(consensus_transfer(cluster->nodes[2].consensus, 1), STATUS_OK);
        cluster_run(cluster, 500);
        leader = cluster_leader(cluster);
    }
    const uint64_t term = cluster_status(cluster, leader).term;
    uint64_t last = 0;
    for (int i = 0; i < 60; i++) {
        cr_assert_eq(cluster_propose(cluster, leader, 100000, &last), STATUS_OK);
        cluster_run(cluster, 10);
    }
    cr_assert_lt(cluster->nodes[2].pulled, last);
    cr_assert_lt(cluster_status(cluster, 2).log_bytes, 4 * 1024 * 1024);
    cr_assert_eq(cluster_status(cluster, leader).term, term, "it did not campaign");
    for (int i = 0; i < 100 && cluster->nodes[2].pulled < last; i++) {
        cluster_flush(cluster, 2);
        cluster_run(cluster, 100);
    }
    cr_assert_eq(cluster->nodes[2].pulled, last);
    cr_assert_eq(cluster_status(cluster, leader).term, term);
    cluster_destroy(cluster);
}

/* A commit is told to followers at once, not with the next heartbeat. */
Test(consensus_raft, followers_hear_of_a_commit_at_once)
{
    struct cluster *cluster = cluster_started(3);
    uint32_t leader = cluster_leader(cluster);
    cluster_commit(cluster, 100);
    cluster_run(cluster, 333);
    uint64_t before = cluster->now_ns, index;
    cr_assert_eq(cluster_propose(cluster, leader, 100, &index), STATUS_OK);
    cluster_expect_pulled(cluster, index);
    /* There, back, and there again, at 0.2 ms each; and the millisecond between two words. */
    cr_assert_leq(cluster->now_ns - before, 3 * CLUSTER_MS);
    cluster_destroy(cluster);
}

/* Nothing to do: heartbeats at 20 Hz and little else. */
Test(consensus_raft, an_idle_cluster_turns_seldom)
{
    struct cluster *cluster = cluster_started(3);
    uint32_t leader = cluster_leader(cluster);
    cluster_commit(cluster, 100);
    cluster_run(cluster, 1000);
    uint64_t messages = cluster->message_count, turns = cluster->nodes[leader].turns;
    cluster_run(cluster, 10000);
    /* Per second: 20 heartbeats and answers to each of two, a round, five watermarks. */
    cr_assert_leq((cluster->message_count - messages) / 10, 100, "%lu messages a second",
                  (cluster->message_count - messages) / 10);
    /* Each of them is a turn or two of this harness; the witness has a clock of its own. */
    cr_assert_leq((cluster->nodes[leader].turns - turns) / 10, 250, "%lu turns a second",
                  (cluster->nodes[leader].turns - turns) / 10);
    cluster_destroy(cluster);
}

/* ---- hand-over ---- */

/* Leadership goes where it is asked to, or to the other site; not to a witness. */
Test(consensus_raft, leadership_is_handed_over)
{
    struct cluster *cluster = cluster_started(5);
    uint32_t leader = cluster_leader(cluster);
    struct consensus *consensus = cluster->nodes[leader].consensus;
    cr_assert_eq(consensus_transfer(consensus, 5), STATUS_NOT_FOUND, "a witness");
    cr_assert_eq(consensus_transfer(consensus, 9), STATUS_NOT_FOUND);
    uint32_t follower = leader == 0 ? 1 : 0;
    cr_assert_eq(consensus_transfer(cluster->nodes[follower].consensus, 0), STATUS_NOT_READY);
    if (leader != 2) {
        cr_assert_eq(consensus_transfer(consensus, 3), STATUS_OK);
        cluster_run(cluster, 100);
        cr_assert_eq(cluster_leader(cluster), 2);
        cluster_commit(cluster, 100);
    }
    for (int round = 0; round < 4; round++) {
        leader = cluster_leader(cluster);
        const uint64_t began = cluster->now_ns;
        cr_assert_eq(consensus_transfer(cluster->nodes[leader].consensus, 0), STATUS_OK);
        cr_assert_eq(cluster_propose(cluster, leader, 10, NULL), STATUS_NOT_READY);
        cluster_run(cluster, 100);
        uint32_t next = cluster_leader(cluster);
        cr_assert_neq(next, leader);
        cr_assert_lt(cluster->now_ns - began, 200 * CLUSTER_MS);
        cr_assert_str_neq(cluster->nodes[next].member.site, cluster->nodes[leader].member.site);
        cluster_commit(cluster, 100);
    }
    cluster_destroy(cluster);
}

/* The leader's disk does not finish a write: another one leads soon. */
Test(consensus_raft, a_leader_with_a_stuck_disk_hands_over)
{
    struct cluster *cluster = cluster_started(3);
    uint32_t leader = cluster_leader(cluster);
    cluster_commit(cluster, 100);
    cluster->nodes[leader].journal_stuck = true;
    uint64_t index;
    cr_assert_eq(cluster_propose(cluster, leader, 100, &index), STATUS_OK);
    cluster_run(cluster, 1500);
    uint32_t next = cluster_leader(cluster);
    cr_assert_neq(next, leader);
    cr_assert_not(cluster->nodes[leader].failed);
    cluster->nodes[leader].journal_stuck = false;
    cluster_commit(cluster, 100);
    cluster_destroy(cluster);
}

/* The same, and nobody is there to take over: the process ends, and says why. */
Test(consensus_raft, a_leader_with_a_stuck_disk_and_no_successor_ends)
{
    struct cluster *cluster = cluster_started(3);
    uint32_t leader = cluster_leader(cluster);
    cluster_commit(cluster, 100);
    for (uint32_t i = 0; i < 2; i++) {
        if (i != leader)
            cluster_crash(cluster, i);
    }
    cluster->nodes[leader].journal_stuck = true;
    cr_assert_eq(cluster_propose(cluster, leader, 100, NULL), STATUS_OK);
    cluster_run(cluster, 2000);
    cr_assert_not(cluster->nodes[leader].failed);
    cluster_run(cluster, 1500);
    cr_assert(cluster->nodes[leader].failed);
    cr_assert_not_null(strstr(cluster->nodes[leader].failure, "has not ended"));
    cluster_destroy(cluster);
}

/* A clock one hour off: its node does not stay leader. The offsets are known to all who lead. */
Test(consensus_raft, a_leader_with_a_wrong_clock_hands_over)
{
    struct cluster *cluster = cluster_started(3);
    uint32_t wrong = cluster_leader(cluster);
    cluster->nodes[wrong].wall_offset_ns = 3600ll * 1000 * 1000000;
    cluster_run(cluster, 3000);
    uint32_t leader = cluster_leader(cluster);
    cr_assert_neq(leader, wrong);
    cluster_run(cluster, 2000);
    struct consensus_peer peers[MEMBERS_MAX];
    cr_assert_eq(consensus_peers(cluster->nodes[leader].consensus, peers, MEMBERS_MAX), 3);
    cr_assert(peers[wrong].clock_known);
    int64_t error = peers[wrong].clock_offset_ns - cluster->nodes[wrong].wall_offset_ns;
    cr_assert(error > -1000000 && error < 1000000, "off by %ld ns", error);
    cluster_destroy(cluster);
}

/* The watermark follows what both sites hold, and stands when one of them is gone. */
Test(consensus_raft, the_watermark_is_what_every_site_holds)
{
    struct cluster *cluster = cluster_started(3);
    uint64_t last = cluster_commit(cluster, 100);
    cluster_run(cluster, 500);
    for (uint32_t i = 0; i < 3; i++)
        cr_assert_eq(cluster_status(cluster, i).watermark_index, last, "node %u", i + 1);
    uint32_t leader = cluster_leader(cluster);
    cluster_crash(cluster, 1 - leader);
    uint64_t later = cluster_commit(cluster, 100);
    cluster_run(cluster, 500);
    cr_assert_gt(later, last);
    cr_assert_eq(cluster_status(cluster, leader).watermark_index, last);
    cr_assert_eq(cluster_status(cluster, 2).watermark_index, last);
    cluster_destroy(cluster);
}

/* ---- everything at once ---- */

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void disturb(struct cluster *cluster, uint64_t *random)
{
    uint32_t a = (uint32_t)(next_random(random) % cluster->count);
    uint32_t b = (uint32_t)(next_random(random) % cluster->count);
    struct cluster_node *node = &cluster->nodes[a];
    switch (next_random(random) % 8) {
    case 0:
        if (node->alive)
            cluster_crash(cluster, a);
        break;
    case 1:
    case 2:
        if (!node->alive)
            cluster_start(cluster, a);
        break;
    case 3:
        if (a != b)
            cluster_cut(cluster, a, b, next_random(random) % 2 == 0);
        break;
    case 4:
        cluster_isolate(cluster, a, next_random(random) % 4 == 0);
        break;
    case 5:
        node->journal_stuck = next_random(random) % 3 == 0;
        break;
    case 6:
        if (node->alive)
            cluster_flush(cluster, a);
        break;
    default:
        cluster->delay_ns = (1 + next_random(random) % 200) * CLUSTER_MS / 10;
        break;
    }
}

static void restart_failed(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->count; i++) {
        if (cluster->nodes[i].alive && cluster->nodes[i].failed) {
            cr_assert_not_null(strstr(cluster->nodes[i].failure, "has not ended"), "node %u: %s",
                               i + 1, cluster->nodes[i].failure);
            cluster->nodes[i].journal_stuck = false;
            cluster_crash(cluster, i);
            cluster_start(cluster, i);
        }
    }
}

static void live_through(uint32_t count, uint64_t seed)
{
    struct cluster *cluster = cluster_started(count);
    uint64_t random = seed * 0x9e3779b97f4a7c15ull + 1, acknowledged = 0;
    cluster->seed = seed;
    for (int step = 0; step < 400; step++) {
        if (next_random(&random) % 6 == 0)
            disturb(cluster, &random);
        restart_failed(cluster);
        for (uint32_t i = 0; i < count; i++) {
            if (cluster->nodes[i].alive && !cluster->nodes[i].failed)
                (void)cluster_propose(cluster, i, 8 + (uint32_t)(next_random(&random) % 40000),
                                      NULL);
        }
        cluster_run(cluster, 1 + next_random(&random) % 60);
        for (uint32_t i = 0; i < count; i++) {
            if (cluster->nodes[i].alive && cluster->nodes[i].pulled > acknowledged)
                acknowledged = cluster->nodes[i].pulled;
        }
    }
    /* Faults end: all come together, and nothing that anybody pulled is gone. */
    cluster->delay_ns = CLUSTER_MS;
    for (uint32_t i = 0; i < count; i++) {
        cluster_isolate(cluster, i, false);
        cluster->nodes[i].journal_stuck = false;
        if (!cluster->nodes[i].alive)
            cluster_start(cluster, i);
    }
    cluster_run(cluster, 3000);
    restart_failed(cluster);
    cr_assert_gt(cluster_commit(cluster, 100), acknowledged, "seed %lu", seed);
    cr_assert_gt(acknowledged, 20, "seed %lu: nothing much happened", seed);
    for (uint32_t i = 0; i < count; i++)
        cr_assert(cluster->nodes[i].lost_told == 0 && cluster->nodes[i].condemned == 0,
                  "seed %lu: nobody lost anything", seed);
    cluster_destroy(cluster);
}

/* Crashes, one-way cuts, isolation, stuck disks, slow links, checkpoints, and proposals at whoever
 * takes them; every seed is another story. cluster_run() judges all along. */
Test(consensus_raft, three_nodes_live_through_faults)
{
    for (uint64_t seed = 1; seed <= 12; seed++)
        live_through(3, seed);
}

Test(consensus_raft, five_nodes_live_through_faults)
{
    for (uint64_t seed = 1; seed <= 6; seed++)
        live_through(5, seed);
}
