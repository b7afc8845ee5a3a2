/*
 * Linearizable reads: which index a node names to whoever asks, over cuts, restarts and changes of
 * the leader. Clusters in one process (consensus_cluster.h).
 */
#include "consensus_cluster.h"
#include "replication/consensus/raft_message.h"

#include <criterion/criterion.h>
#include <string.h>

struct question {
    struct consensus_confirmation confirmation;
    bool answered;
    enum status status;
    uint64_t index;
};

static void answered(struct consensus_confirmation *confirmation, enum status status,
                     uint64_t index)
{
    struct question *question = (struct question *)confirmation;
    question->answered = true;
    question->status = status;
    question->index = index;
}

static bool is_answered(struct cluster *cluster, void *context)
{
    (void)cluster;
    return ((struct question *)context)->answered;
}

static struct question ask(struct cluster *cluster, uint32_t place)
{
    struct question question = {.confirmation.cb = answered};
    consensus_confirm(cluster->nodes[place].consensus, &question.confirmation);
    cr_assert_not(question.answered, "never inside");
    cr_assert(cluster_run_until(cluster, 3000, is_answered, &question));
    cr_assert_not(question.confirmation.in_flight);
    return question;
}

/* Every data node names an index that covers what was committed before, and soon knows that it is
 * committed. */
Test(consensus_reads, a_read_anywhere_sees_what_was_committed_before)
{
    struct cluster *cluster = cluster_started(5);
    for (int round = 0; round < 5; round++) {
        uint32_t leader = cluster_leader(cluster);
        uint64_t committed = cluster_commit(cluster, 100);
        for (uint32_t i = 0; i < 4; i++) {
            struct question question = ask(cluster, i);
            cr_assert_eq(question.status, STATUS_OK, "node %u", i + 1);
            cr_assert_geq(question.index, committed);
        }
        cr_assert_eq(ask(cluster, 4).status, STATUS_NOT_READY, "a witness answers no reads");
        (void)leader;
    }
    cluster_destroy(cluster);
}

/* An entry is on its way when somebody asks, and is committed before the answers to that question
 * are back. Whoever asks then asks for it as well: those answers are not for him. */
Test(consensus_reads, a_read_does_not_join_a_round_that_is_under_way)
{
    struct cluster *cluster = cluster_started(3);
    const uint32_t leader = cluster_leader(cluster);
    cluster_commit(cluster, 100);
    cluster->delay_ns = 20 * CLUSTER_MS;
    cluster_run(cluster, 200);
    uint64_t index = 0;
    cr_assert_eq(cluster_propose(cluster, leader, 100, &index), STATUS_OK);
    cluster_run(cluster, 15);
    struct question before = {.confirmation.cb = answered}, after = before;
    consensus_confirm(cluster->nodes[leader].consensus, &before.confirmation);
    while (cluster_status(cluster, leader).commit_index < index)
        cluster_run(cluster, 1);
    cr_assert_not(before.answered, "the test is pointless");
    consensus_confirm(cluster->nodes[leader].consensus, &after.confirmation);
    cr_assert(cluster_run_until(cluster, 3000, is_answered, &after));
    cr_assert(before.answered);
    cr_assert_eq(after.status, STATUS_OK);
    cr_assert_geq(after.index, index);
    cluster_destroy(cluster);
}

/* A follower asks; what comes back first is the leader's answer to a question that an earlier life
 * of the follower asked, before the newest commits. It must not pass for the answer. */
Test(consensus_reads, an_answer_to_an_earlier_life_is_none)
{
    struct cluster *cluster = cluster_started(3);
    uint32_t leader = cluster_leader(cluster), follower = leader == 0 ? 1 : 0;
    uint64_t committed = cluster_commit(cluster, 100);
    cluster->delay_ns = 20 * CLUSTER_MS;
    struct question question = {.confirmation.cb = answered};
    consensus_confirm(cluster->nodes[follower].consensus, &question.confirmation);
    cluster_run(cluster, 5); /* it is on its way */
    static const uint64_t sequences[] = {1, 57, UINT64_MAX / 2};
    for (size_t i = 0; i < sizeof sequences / sizeof sequences[0]; i++) {
        const struct raft_message_view late = {
            .type = MESSAGE_READ_INDEX_RESULT,
            .read_index_result = {.term = cluster_status(cluster, leader).term,
                                  .sequence = sequences[i],
                                  .index = 1,
                                  .ready = true}};
        uint64_t bytes[RAFT_MESSAGE_FIXED_SIZE / 8];
        size_t size = raft_message_encode(&late, (uint8_t *)bytes);
        consensus_receive(cluster->nodes[follower].consensus, leader + 1, bytes, size);
        cr_expect_not(question.answered, "sequence %zu", i);
    }
    cr_assert(cluster_run_until(cluster, 3000, is_answered, &question));
    cr_expect_eq(question.status, STATUS_OK);
    cr_expect_geq(question.index, committed);
    cluster_destroy(cluster);
}

/* A leader that was cut off, and does not know yet that another one leads, answers no read. */
Test(consensus_reads, a_deposed_leader_answers_no_read)
{
    struct cluster *cluster = cluster_started(3);
    uint32_t old = cluster_leader(cluster);
    cluster_commit(cluster, 100);
    cluster_isolate(cluster, old, true);
    cr_assert(cluster_status(cluster, old).leads);
    struct question question = ask(cluster, old);
    cr_assert_eq(question.status, STATUS_NOT_READY);
    cluster_run(cluster, 1000);
    cr_assert_neq(cluster_leader(cluster), old);
    cr_assert_eq(ask(cluster, old).status, STATUS_NOT_READY, "nobody leads for it");
    cluster_isolate(cluster, old, false);
    cluster_run(cluster, 500);
    cr_assert_eq(ask(cluster, old).status, old == 2 ? STATUS_NOT_READY : STATUS_OK);
    cluster_destroy(cluster);
}
