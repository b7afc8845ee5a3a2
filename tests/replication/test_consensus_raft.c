/*
 * Consensus by libraft as the node sees it: clusters in one process (consensus_cluster.h), whose
 * network is cut, whose nodes crash, whose disks get stuck.
 */
#include "consensus_cluster.h"
#include "replication/raft_message.h"

#include "storage/journal_fill.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct cluster *started(uint32_t count)
{
    struct cluster *cluster = cluster_create(count, count, false);
    for (uint32_t i = 0; i < count; i++)
        cluster_start(cluster, i);
    return cluster;
}

static void change_cb(void *context, enum status status)
{
    *(enum status *)context = status;
}

static enum status change(struct cluster *cluster, enum consensus_change_kind kind, uint32_t place)
{
    enum status status = STATUS_BUSY;
    const struct consensus_change step = {.kind = kind, .member = cluster->nodes[place].member};
    for (int i = 0; i < 100 && status == STATUS_BUSY; i++) {
        uint32_t leader = cluster_leader(cluster);
        status = consensus_change(cluster->nodes[leader].consensus, &step, change_cb, &status);
        if (status == STATUS_OK) {
            status = STATUS_DEADLINE;
            for (int j = 0; j < 100 && status == STATUS_DEADLINE; j++)
                cluster_run(cluster, 20);
            return status;
        }
        cluster_run(cluster, 20);
    }
    return status;
}

static uint32_t member_count(struct cluster *cluster, uint32_t place)
{
    struct consensus_peer peers[MEMBERS_MAX];
    return consensus_peers(cluster->nodes[place].consensus, peers, MEMBERS_MAX);
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

/* Two sites of two and a witness. */
Test(consensus_raft, five_nodes_elect_commit_and_pull_the_same)
{
    struct cluster *cluster = started(5);
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
    struct cluster *cluster = started(3);
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
    struct cluster *cluster = started(3);
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

/* The store of nobody advances: the log in memory fills, proposals are refused and tell why. Once
 * the stores have caught up everything goes on, and memory has been given back. */
Test(consensus_raft, a_full_log_in_memory_pushes_back_and_recovers)
{
    struct cluster *cluster = cluster_create(3, 3, true);
    cluster->log_bytes_max = 8 * 1024 * 1024;
    cluster->tail_bytes = 1024 * 1024;
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
        cr_assert_gt(proposed, 50);
        cluster_expect_pulled(cluster, last);
        cr_assert_gt(cluster_status(cluster, leader).log_bytes, 7 * 1000 * 1000);
        for (uint32_t i = 0; i < 3; i++)
            cluster_flush(cluster, i);
        cluster_commit(cluster, 1000);
        cluster_run(cluster, 300);
        for (uint32_t i = 0; i < 3; i++)
            cr_assert_lt(cluster_status(cluster, i).log_bytes, 3 * 1024 * 1024, "node %u has %lu",
                         i + 1, cluster_status(cluster, i).log_bytes);
    }
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

/* ---- reads ---- */

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
Test(consensus_raft, a_read_anywhere_sees_what_was_committed_before)
{
    struct cluster *cluster = started(5);
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

/* A follower asks; what comes back first is the leader's answer to a question that an earlier life
 * of the follower asked, before the newest commits. It must not pass for the answer. */
Test(consensus_raft, an_answer_to_an_earlier_life_is_none)
{
    struct cluster *cluster = started(3);
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
Test(consensus_raft, a_deposed_leader_answers_no_read)
{
    struct cluster *cluster = started(3);
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

/* A commit is told to followers at once, not with the next heartbeat. */
Test(consensus_raft, followers_hear_of_a_commit_at_once)
{
    struct cluster *cluster = started(3);
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
    struct cluster *cluster = started(3);
    uint32_t leader = cluster_leader(cluster);
    cluster_commit(cluster, 100);
    cluster_run(cluster, 1000);
    uint64_t messages = cluster->message_count, turns = cluster->nodes[leader].turns;
    cluster_run(cluster, 10000);
    /* Per second: 20 heartbeats and answers to each of two, a round, five watermarks. */
    cr_assert_leq((cluster->message_count - messages) / 10, 100, "%lu messages a second",
                  (cluster->message_count - messages) / 10);
    /* Each of them is a turn or two of this harness. */
    cr_assert_leq((cluster->nodes[leader].turns - turns) / 10, 150, "%lu turns a second",
                  (cluster->nodes[leader].turns - turns) / 10);
    cluster_destroy(cluster);
}

/* ---- hand-over ---- */

/* Leadership goes where it is asked to, or to the other site; not to a witness. */
Test(consensus_raft, leadership_is_handed_over)
{
    struct cluster *cluster = started(5);
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
    struct cluster *cluster = started(3);
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
    struct cluster *cluster = started(3);
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
    struct cluster *cluster = started(3);
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
    struct cluster *cluster = started(3);
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

/* ---- members ---- */

/* A cluster of one grows to three and loses its founder. */
Test(consensus_raft, a_cluster_grows_from_one_and_loses_its_founder)
{
    struct cluster *cluster = cluster_create(4, 1, true);
    cluster->nodes[2].member.kind = MEMBER_WITNESS;
    strcpy(cluster->nodes[2].member.site, "W");
    strcpy(cluster->nodes[3].member.site, "A");
    for (uint32_t i = 0; i < 4; i++)
        cluster_start(cluster, i);
    uint64_t last = 0;
    uint32_t leader = cluster_leader(cluster);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(cluster_propose(cluster, leader, 1000, &last), STATUS_OK);
        cluster_run(cluster, 5);
    }
    for (uint32_t i = 1; i < 3; i++) {
        cr_assert_eq(change(cluster, CONSENSUS_PROMOTE, i), STATUS_NOT_FOUND);
        cr_assert_eq(change(cluster, CONSENSUS_ADD, i), STATUS_OK);
        cr_assert_eq(change(cluster, CONSENSUS_ADD, i), STATUS_EXISTS);
        cr_assert_eq(change(cluster, CONSENSUS_FEED, i), STATUS_OK);
        cluster_run(cluster, 200);
        cr_assert_gt(cluster->nodes[i].pulled, last - 1, "it is fed");
        cr_assert_eq(change(cluster, CONSENSUS_PROMOTE, i), STATUS_OK, "node %u", i + 1);
        cr_assert_eq(change(cluster, CONSENSUS_PROMOTE, i), STATUS_EXISTS);
    }
    for (uint32_t i = 0; i < 3; i++)
        cr_assert_eq(member_count(cluster, i), 3);
    cr_assert_eq(change(cluster, CONSENSUS_ADD, 3), STATUS_OK);
    cr_assert_eq(change(cluster, CONSENSUS_FEED, 3), STATUS_OK);
    /* Two of four at one site are no majority; of the three that stay without B they are. */
    cr_assert_eq(change(cluster, CONSENSUS_PROMOTE, 3), STATUS_OK);
    cr_assert_eq(change(cluster, CONSENSUS_REMOVE, 1), STATUS_INVALID);
    cluster_commit(cluster, 100);

    leader = cluster_leader(cluster);
    cr_assert_eq(leader, 0, "the founder");
    cr_assert_eq(change(cluster, CONSENSUS_REMOVE, 0), STATUS_OK);
    cluster_crash(cluster, 0);
    cluster_commit(cluster, 100);
    cr_assert_eq(member_count(cluster, 1), 3);
    for (uint32_t i = 1; i < 4; i++) {
        cluster_stop(cluster, i);
        cluster_start(cluster, i);
    }
    cluster_commit(cluster, 100);
    cr_assert_eq(member_count(cluster, 2), 3);
    cluster_destroy(cluster);
}

/* ---- behind ---- */

static bool copy_entry(void *context, const struct journal_entry *entry)
{
    return journal_fill_append(context, entry, 1) == STATUS_OK;
}

/* What catch-up does with a journal: entries that the leader has committed, up to `last`. */
static void fill_journal(struct cluster *cluster, uint32_t from, uint32_t to, uint64_t last)
{
    struct journal_fill *fill;
    struct journal_damage damage;
    struct journal_options options = cluster_journal_options(cluster, to);
    cr_assert_eq(journal_fill_open(&options, &fill, &damage), STATUS_OK);
    struct journal_position position;
    journal_position(journal_fill_journal(fill), &position);
    cr_assert_eq(
        journal_read(cluster->nodes[from].journal, position.last_index + 1, last, copy_entry, fill),
        STATUS_OK);
    cr_assert_eq(journal_fill_close(fill, NULL), STATUS_OK);
}

/* A follower was away while the others' logs in memory moved on: the leader says that it is behind,
 * and says it again. Catch-up fills its journal; then entries come from memory again. */
Test(consensus_raft, a_follower_behind_is_told_of_and_goes_on_when_caught_up)
{
    struct cluster *cluster = cluster_create(3, 3, true);
    cluster->tail_bytes = 256 * 1024;
    for (uint32_t i = 0; i < 3; i++)
        cluster_start(cluster, i);
    uint64_t last = cluster_commit(cluster, 100);
    uint32_t leader = cluster_leader(cluster), away = leader == 2 ? 1 : 2;
    cluster_crash(cluster, away);
    for (int i = 0; i < 100; i++) {
        last = cluster_commit(cluster, 50000);
        for (uint32_t j = 0; j < 3; j++) {
            if (j != away)
                cluster_flush(cluster, j);
        }
    }
    cr_assert_gt(cluster_status(cluster, leader).log_first_index, 20);
    cluster_start(cluster, away);
    cluster_run(cluster, 500);
    cr_assert_eq(cluster->nodes[leader].behind_count[away], 1);
    cluster_run(cluster, 3000);
    cr_assert_geq(cluster->nodes[leader].behind_count[away], 3);
    cr_assert_leq(cluster->nodes[leader].behind_count[away], 5);
    cr_assert_eq(cluster_leader(cluster), leader, "it stays in touch");

    consensus_caught_up(cluster->nodes[leader].consensus, away + 1, 0);
    uint32_t before = cluster->nodes[leader].behind_count[away];
    cluster_run(cluster, 2500);
    cr_assert_eq(cluster->nodes[leader].behind_count[away], before, "a pause when it gave up");
    cluster_run(cluster, 2000);
    cr_assert_gt(cluster->nodes[leader].behind_count[away], before);

    cluster_crash(cluster, away);
    fill_journal(cluster, leader, away, last);
    cluster_start(cluster, away);
    consensus_caught_up(cluster->nodes[leader].consensus, away + 1, last);
    cluster_expect_pulled(cluster, last);
    before = cluster->nodes[leader].behind_count[away];
    cluster_commit(cluster, 100);
    cluster_run(cluster, 3000);
    cr_assert_eq(cluster->nodes[leader].behind_count[away], before);
    cluster_destroy(cluster);
}

/* A follower comes back 40 MB behind, all of it in the leader's memory, on a link with some way: it
 * is brought up by about so many bytes and in a few turns, while others go on proposing. */
Test(consensus_raft, a_follower_that_lags_is_sent_everything_once)
{
    struct cluster *cluster = started(3);
    cluster_commit(cluster, 100);
    uint32_t leader = cluster_leader(cluster), away = 1 - leader;
    cluster_crash(cluster, away);
    uint64_t last = 0;
    for (int i = 0; i < 80; i++)
        last = cluster_commit(cluster, 500000);
    cluster->delay_ns = 10 * CLUSTER_MS;
    cluster_start(cluster, away);
    const uint64_t bytes = cluster->byte_count, began = cluster->now_ns;
    uint64_t index = 0;
    while (cluster->nodes[away].pulled < last) {
        (void)cluster_propose(cluster, leader, 100, &index);
        cluster_run(cluster, 1);
        cr_assert_lt(cluster->now_ns - began, 2000 * CLUSTER_MS);
    }
    cr_assert_lt(cluster->byte_count - bytes, 60ull * 1000 * 1000, "%lu bytes",
                 cluster->byte_count - bytes);
    cluster_expect_pulled(cluster, index);
    cluster_destroy(cluster);
}

/* ---- disks ---- */

/* The other site is away, and the leader and the witness go on for much longer than memory reaches:
 * the witness's memory is bounded, its journal keeps everything, and a restart does not change
 * that. */
Test(consensus_raft, a_site_may_be_away_for_longer_than_memory_reaches)
{
    struct cluster *cluster = cluster_create(3, 3, false);
    cluster->log_bytes_max = 6 * 1024 * 1024;
    cluster->tail_bytes = 1024 * 1024;
    for (uint32_t i = 0; i < 3; i++)
        cluster_start(cluster, i);
    uint64_t last = cluster_commit(cluster, 100);
    uint32_t leader = cluster_leader(cluster);
    cluster_crash(cluster, 1 - leader);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 100; i++) {
            last = cluster_commit(cluster, 100000);
            if (i % 8 == 0)
                cluster_flush(cluster, leader);
        }
        cr_assert_lt(cluster_status(cluster, 2).log_bytes, 3 * 1024 * 1024);
        cluster_crash(cluster, 2);
        cluster_start(cluster, 2);
        cr_assert_lt(cluster_status(cluster, 2).log_bytes, 4 * 1024 * 1024);
        struct journal_position position;
        journal_position(cluster->nodes[2].journal, &position);
        cr_assert_eq(position.first_index, 1);
        cr_assert_eq(position.last_index, last);
        cluster_commit(cluster, 100);
    }
    cluster_destroy(cluster);
}

/* The same directory without the witness's note, or with a damaged one: it starts, and remembers
 * more. */
Test(consensus_raft, a_witness_without_its_note_remembers_more)
{
    struct cluster *cluster = cluster_create(3, 3, false);
    cluster->log_bytes_max = 6 * 1024 * 1024;
    cluster->tail_bytes = 256 * 1024;
    for (uint32_t i = 0; i < 3; i++)
        cluster_start(cluster, i);
    for (int i = 0; i < 40; i++) {
        cluster_commit(cluster, 100000);
        cluster_flush(cluster, cluster_leader(cluster));
    }
    cluster_crash(cluster, 2);
    cluster_start(cluster, 2);
    uint64_t noted = cluster_status(cluster, 2).log_first_index;
    cr_assert_gt(noted, 10);
    cluster_commit(cluster, 100);
    cluster_crash(cluster, 2);
    char path[128];
    snprintf(path, sizeof path, "%s/witness_log", cluster->nodes[2].directory);
    FILE *file = fopen(path, "r+");
    cr_assert_not_null(file);
    fseek(file, 9, SEEK_SET);
    fputc(0x55, file);
    fclose(file);
    cluster_start(cluster, 2);
    cr_assert_eq(cluster_status(cluster, 2).log_first_index, 1);
    cluster_commit(cluster, 100);
    cluster_crash(cluster, 2);
    cr_assert_eq(remove(path), 0);
    cluster_start(cluster, 2);
    cr_assert_eq(cluster_status(cluster, 2).log_first_index, 1);
    cluster_commit(cluster, 100);
    cluster_destroy(cluster);
}

/* A segment that was begun before a change of members was committed carries the members before.
 * When the entry of the change is pruned, the witness still starts with the new ones. */
Test(consensus_raft, a_witness_knows_its_members_though_their_entry_is_pruned)
{
    struct cluster *cluster = cluster_create(4, 3, false);
    for (uint32_t i = 0; i < 3; i++)
        cluster_start(cluster, i);
    cluster_commit(cluster, 100);
    struct journal *journal = cluster->nodes[2].journal;
    uint8_t before[JOURNAL_CONFIGURATION_SIZE_MAX];
    size_t size;
    cr_assert_eq(journal_configuration(journal, before, sizeof before, &size), STATUS_OK);
    cr_assert_eq(change(cluster, CONSENSUS_ADD, 3), STATUS_OK);
    cluster_commit(cluster, 100);
    cr_assert_eq(member_count(cluster, 2), 4);
    journal_set_configuration(journal, before, size);
    for (int i = 0; i < 20; i++)
        cluster_commit(cluster, 1000000);
    struct journal_position position;
    cr_assert_eq(journal_prune_prefix(journal, cluster->nodes[2].pulled - 4), STATUS_OK);
    cluster_run(cluster, 50); /* the files go */
    cluster_isolate(cluster, 2, true);
    cluster_crash(cluster, 2);
    cluster_start(cluster, 2);
    journal_position(cluster->nodes[2].journal, &position);
    cr_assert_gt(position.first_index, 10);
    cr_assert_eq(member_count(cluster, 2), 4);
    cluster_isolate(cluster, 2, false);
    cluster_commit(cluster, 100);
    cluster_destroy(cluster);
}

/* A journal that cannot write, or a term that cannot be written: the node fails and says what
 * failed; nothing more comes from it. The others go on. */
Test(consensus_raft, a_failing_disk_ends_the_node)
{
    struct cluster *cluster = started(3);
    cluster_commit(cluster, 100);
    uint32_t leader = cluster_leader(cluster);
    struct cluster_node *node = &cluster->nodes[leader];
    faulty_disk_set(&node->disk, &node->disk.write_status, STATUS_IO);
    (void)cluster_propose(cluster, leader, 100, NULL);
    cluster_run(cluster, 100);
    cr_assert(node->failed);
    cr_assert_not_null(strstr(node->failure, "could not write entry"), "%s", node->failure);
    cr_assert_null(consensus_next(node->consensus));
    cr_assert_eq(cluster_propose(cluster, leader, 100, NULL), STATUS_NOT_READY);
    cluster_crash(cluster, leader);
    faulty_disk_set(&node->disk, &node->disk.write_status, STATUS_OK);
    cluster_commit(cluster, 100);

    uint32_t next = cluster_leader(cluster);
    struct cluster_node *voter = &cluster->nodes[2];
    cluster_start(cluster, leader);
    cluster_commit(cluster, 100);
    faulty_disk_set(&voter->disk, &voter->disk.write_status, STATUS_IO);
    cluster_crash(cluster, next);
    cluster_run(cluster, 1000);
    cr_assert(voter->failed);
    cr_assert_not_null(strstr(voter->failure, "hard_state"), "%s", voter->failure);
    cluster_crash(cluster, 2);
    faulty_disk_set(&voter->disk, &voter->disk.write_status, STATUS_OK);
    cluster_start(cluster, 2);
    cluster_commit(cluster, 100);
    cluster_destroy(cluster);
}

/* ---- what must not hurt ---- */

/* Anything a peer may say: dropped. The cluster goes on as if nothing had been said. */
Test(consensus_raft, malformed_messages_are_dropped)
{
    struct cluster *cluster = started(3);
    uint32_t leader = cluster_leader(cluster);
    uint64_t term = cluster_status(cluster, leader).term;
    uint64_t bytes[16];
    for (uint32_t round = 0; round < 5000; round++) {
        for (size_t i = 0; i < 16; i++)
            bytes[i] = (round * 2654435761u) ^ (i * 40503u * round);
        uint16_t type = (uint16_t)(0x0100 + round % 11);
        uint32_t size = 8 * (round % 16);
        memset(bytes, 0, 8);
        memcpy(bytes, &type, sizeof type);
        memcpy((uint8_t *)bytes + 4, &size, sizeof size);
        bytes[1] = round % 3 == 0 ? 0 : UINT64_MAX - round; /* no term that a member could have */
        for (uint32_t to = 0; to < 3; to++)
            consensus_receive(cluster->nodes[to].consensus, 1 + (to + 1) % 3, bytes,
                              round % 7 == 0 ? round % 128 : size);
    }
    cluster_commit(cluster, 100);
    cr_assert_eq(cluster_status(cluster, cluster_leader(cluster)).term, term);
    cluster_destroy(cluster);
}

/* More strangers than there are places: those who are members stay known and linked. */
Test(consensus_raft, strangers_take_no_members_place)
{
    struct cluster *cluster = started(3);
    uint32_t leader = cluster_leader(cluster);
    for (uint64_t id = 100; id < 200; id++)
        consensus_linked(cluster->nodes[leader].consensus, id, true);
    cluster_run(cluster, 100);
    struct consensus_peer peers[MEMBERS_MAX];
    cr_assert_eq(consensus_peers(cluster->nodes[leader].consensus, peers, MEMBERS_MAX), 3);
    for (uint32_t i = 0; i < 3; i++)
        cr_assert(peers[i].linked, "node %u", i + 1);
    cluster_commit(cluster, 100);
    cluster_destroy(cluster);
}

/* A peer that says to lead the very term that we lead: dropped. libraft would take it as a follower
 * does, and write over what a leader keeps in the same place. */
Test(consensus_raft, a_second_leader_of_a_term_is_not_listened_to)
{
    struct cluster *cluster = started(3);
    uint32_t leader = cluster_leader(cluster), other = (leader + 1) % 3;
    uint64_t last = cluster_commit(cluster, 100);
    struct consensus_status before = cluster_status(cluster, leader);
    const struct raft_message_view view = {
        .type = MESSAGE_APPEND_ENTRIES,
        .append = {.term = before.term,
                   .previous_index = last,
                   .previous_term = before.term,
                   .commit = last},
    };
    uint64_t bytes[RAFT_MESSAGE_FIXED_SIZE / 8];
    size_t size = raft_message_encode(&view, (uint8_t *)bytes);
    consensus_receive(cluster->nodes[leader].consensus, other + 1, bytes, size);
    struct consensus_status after = cluster_status(cluster, leader);
    cr_assert(after.leads);
    cr_assert_eq(after.term, before.term);
    cr_assert_not(after.changing, "a follower's field lies where a leader keeps its change");
    cluster_commit(cluster, 100);
    cr_assert_eq(cluster_leader(cluster), leader);
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
    struct cluster *cluster = started(count);
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
