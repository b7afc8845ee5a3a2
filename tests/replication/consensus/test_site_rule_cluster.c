/*
 * The durability rule in clusters of consensus, on real journals and a bounded virtual network:
 * what the witness holds, large entries through a connection with little room, and a mode that is
 * known although the entry that set it is gone.
 *
 * Places: 0 is the data node of site A, 1 that of site B, 2 the witness.
 */
#include "consensus_cluster.h"
#include "replication/consensus/consensus_raft_internal.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(site_rule_cluster, .timeout = 120);

enum { WITNESS = 2 };

static struct cluster *started(uint64_t log_bytes_max, uint64_t tail_bytes)
{
    struct cluster *cluster = cluster_create(3, 3, false);
    cluster->log_bytes_max = log_bytes_max;
    cluster->tail_bytes = tail_bytes;
    for (uint32_t i = 0; i < 3; i++)
        cluster_start(cluster, i);
    (void)cluster_leader(cluster);
    cluster_commit(cluster, 100);
    return cluster;
}

static struct raft_guard *guard_of_node(struct cluster *cluster, uint32_t place)
{
    return &((struct consensus_raft *)(void *)cluster->nodes[place].consensus)->guard;
}

static uint64_t journal_end(struct cluster *cluster, uint32_t place)
{
    struct journal_position position;
    journal_position(cluster->nodes[place].journal, &position);
    return position.synced_index;
}

static bool is_degraded(struct cluster *cluster, void *context)
{
    const uint32_t place = *(uint32_t *)context;
    struct consensus_durability view;
    consensus_durability(cluster->nodes[place].consensus, &view);
    return view.committed.mode == DURABILITY_DEGRADED;
}

/* The site without the leader goes away; the driver degrades. Returns the leader's place. */
static uint32_t degrade(struct cluster *cluster)
{
    uint32_t leader = cluster_leader(cluster);
    cluster_crash(cluster, 1 - leader);
    cr_assert(cluster_run_until(cluster, 5000, is_degraded, &leader));
    return leader;
}

/* Until the leader degrades, what it has proposed since the other site went is not committed, and
 * the witness has none of it: were the leader lost now, the other site would be all there is. */
Test(site_rule_cluster, under_sync_the_witness_holds_nothing_that_a_site_lacks)
{
    struct cluster *cluster = started(0, 0);
    uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    cluster_run(cluster, 500);
    const uint64_t before = journal_end(cluster, other);
    cr_assert_eq(journal_end(cluster, WITNESS), before);
    cluster_isolate(cluster, other, true);
    uint64_t index = 0;
    for (int i = 0; i < 5; i++)
        cr_assert_eq(cluster_propose(cluster, leader, 1000, &index), STATUS_OK);
    cluster_run(cluster, 500);
    cr_assert_eq(journal_end(cluster, leader), index);
    cr_assert_eq(journal_end(cluster, WITNESS), before);
    cr_assert_eq(cluster_status(cluster, leader).commit_index, before);
    cr_assert(cluster_run_until(cluster, 3000, is_degraded, &leader));
    cluster_run(cluster, 200);
    cr_assert_gt(journal_end(cluster, WITNESS), index);
    cr_assert_geq(cluster_status(cluster, leader).commit_index, index);
    cluster_isolate(cluster, other, false);
    cluster_commit(cluster, 100);
    cluster_destroy(cluster);
}

/* Degraded, the witness is needed for each commit. Forty entries of a megabyte at once are more
 * than its connection takes: they go through in turns, and all arrive. */
Test(site_rule_cluster, large_entries_reach_the_witness_through_little_room)
{
    struct cluster *cluster = started(0, 0);
    const uint32_t leader = degrade(cluster);
    uint64_t index = 0;
    for (int i = 0; i < 40;) {
        if (cluster_propose(cluster, leader, 1000 * 1000, &index) == STATUS_OK)
            i++;
        else
            cluster_run(cluster, 1);
    }
    cluster_expect_pulled(cluster, index);
    cr_assert_eq(journal_end(cluster, WITNESS), index);
    cluster_start(cluster, 1 - leader);
    cluster_commit(cluster, 100);
    cluster_destroy(cluster);
}

/* The entry that degraded is gone from everybody's memory, and from the witness's journal. Both
 * start again, and still know that it is degraded, whose decision that was, and go on. */
Test(site_rule_cluster, the_mode_is_known_though_its_entry_is_gone)
{
    struct cluster *cluster = started(2 * 1024 * 1024, 256 * 1024);
    uint32_t leader = degrade(cluster);
    struct consensus_durability before;
    consensus_durability(cluster->nodes[leader].consensus, &before);
    for (int i = 0; i < 30; i++) {
        cluster_commit(cluster, 500 * 1000);
        cluster_flush(cluster, leader);
    }
    cr_assert_gt(cluster_status(cluster, leader).log_first_index, before.committed_index);
    cr_assert_eq(
        journal_prune_prefix(cluster->nodes[WITNESS].journal, cluster->nodes[WITNESS].pulled - 4),
        STATUS_OK);
    cluster_run(cluster, 50);
    cluster_crash(cluster, leader);
    cluster_crash(cluster, WITNESS);
    cluster_start(cluster, WITNESS);
    cluster_start(cluster, leader);
    struct journal_position position;
    journal_position(cluster->nodes[WITNESS].journal, &position);
    cr_assert_gt(position.first_index, before.committed_index);
    for (uint32_t i = leader;; i = WITNESS) {
        struct consensus_durability after;
        consensus_durability(cluster->nodes[i].consensus, &after);
        cr_assert_eq(raft_guard_mode(guard_of_node(cluster, i)), DURABILITY_DEGRADED);
        cr_assert_eq(after.newest.number, before.newest.number);
        cr_assert_eq(after.committed_index, before.committed_index);
        cr_assert_str_eq(after.committed.why, before.committed.why);
        if (i == WITNESS)
            break;
    }
    cr_assert_eq(cluster_leader(cluster), leader);
    cluster_commit(cluster, 100);
    cluster_start(cluster, 1 - leader);
    cluster_destroy(cluster);
}
