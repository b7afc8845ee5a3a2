/*
 * Consensus by libraft as the node sees it: clusters in one process (consensus_cluster.h), whose
 * network is cut, whose nodes crash, whose disks get stuck.
 */
#include "consensus_cluster.h"

#include <criterion/criterion.h>
#include <string.h>

static struct cluster *started(uint32_t count)
{
    struct cluster *cluster = cluster_create(count, count, false);
    for (uint32_t i = 0; i < count; i++)
        cluster_start(cluster, i);
    return cluster;
}

/* A cluster of one: it leads without asking anybody, and what its own journal synced is committed.
 */
Test(consensus_raft, one_node_leads_and_commits_alone)
{
    struct cluster *cluster = started(1);
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
    struct cluster *cluster = started(3);
    uint32_t leader = cluster_leader(cluster);
    cr_assert_neq(leader, 2, "a witness does not lead by itself");
    uint64_t last = 0;
    for (int i = 0; i < 50; i++)
        last = cluster_commit(cluster, 512);
    for (uint32_t i = 0; i < 3; i++)
        cr_assert_eq(cluster->nodes[i].pulled, last);
    cluster_destroy(cluster);
}
