/*
 * How elections go when the leader's site is lost, on virtual time (consensus_cluster.h): many of
 * them, because what goes wrong goes wrong in every tenth.
 */
#include "consensus_cluster.h"

#include <criterion/criterion.h>
#include <stdio.h>

static bool has_leader_elsewhere(struct cluster *cluster, void *context)
{
    const uint32_t lost = *(uint32_t *)context;
    for (uint32_t i = 0; i + 1 < cluster->count; i++) {
        if (cluster->nodes[i].alive && i % 2 != lost % 2 && cluster_status(cluster, i).leads)
            return true;
    }
    return false;
}

/* Sites 5 ms apart. Forty times in a row the leader's site is silent, forty times its leader alone:
 * somebody leads within T + 150 ms each time, but for one in twenty that needs a second round. */
Test(elections_cluster, one_round_is_enough_after_a_loss)
{
    struct cluster *cluster = cluster_create(5, 5, false);
    cluster->delay_ns = 5 * CLUSTER_MS;
    for (uint32_t i = 0; i < 5; i++)
        cluster_start(cluster, i);
    uint32_t slow = 0, rounds = 0;
    for (uint32_t round = 0; round < 80; round++) {
        uint32_t leader = cluster_leader(cluster);
        cluster_commit(cluster, 100);
        cluster_run(cluster, 300 + round * 7 % 50);
        const uint64_t term = cluster_status(cluster, leader).term;
        cluster_isolate(cluster, leader, true);
        if (round % 2 == 0)
            cluster_isolate(cluster, (leader + 2) % 4, true);
        const uint64_t began = cluster->now_ns;
        cr_assert(cluster_run_until(cluster, 5000, has_leader_elsewhere, &leader));
        const uint64_t ms = (cluster->now_ns - began) / CLUSTER_MS;
        uint64_t after = 0;
        for (uint32_t i = 0; i < 4; i++) {
            if (cluster_status(cluster, i).leads && i != leader)
                after = cluster_status(cluster, i).term;
        }
        slow += ms > CONSENSUS_ELECTION_MS + 150;
        rounds += after > term + 1;
        for (uint32_t i = 0; i < 4; i++)
            cluster_isolate(cluster, i, false);
        cluster_run(cluster, 6000);
    }
    printf("%u slow, %u with another round, of 80\n", slow, rounds);
    cr_assert_leq(slow, 4);
    cr_assert_leq(rounds, 4);
    cluster_destroy(cluster);
}
