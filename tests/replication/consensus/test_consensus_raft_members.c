/*
 * Consensus by libraft: members that come and go, that fall behind, whose disks are full or fail,
 * and what a witness keeps.
 */
#include "consensus_cluster.h"

#include "storage/journal_fill.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

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

/* ---- members ---- */

/* A cluster of one grows to three and loses its founder. */
Test(consensus_raft_members, a_cluster_grows_from_one_and_loses_its_founder)
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
Test(consensus_raft_members, a_follower_behind_is_told_of_and_goes_on_when_caught_up)
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

/* Everybody but `away` goes on for longer than memory reaches. */
static uint64_t leave_behind(struct cluster *cluster, uint32_t away)
{
    uint64_t last = 0;
    for (int i = 0; i < 50; i++) {
        last = cluster_commit(cluster, 50000);
        for (uint32_t j = 0; j < cluster->count; j++) {
            if (j != away)
                cluster_flush(cluster, j);
        }
    }
    return last;
}

/* The journal of a node that is behind was filled up to an entry that has left the leader's memory
 * meanwhile: it is still behind, and offered once more in a second, not in minutes. */
Test(consensus_raft_members, who_is_caught_up_to_what_left_memory_stays_behind)
{
    struct cluster *cluster = cluster_create(3, 3, true);
    cluster->tail_bytes = 256 * 1024;
    for (uint32_t i = 0; i < 3; i++)
        cluster_start(cluster, i);
    cluster_commit(cluster, 100);
    const uint32_t leader = cluster_leader(cluster), away = leader == 2 ? 1 : 2;
    cluster_crash(cluster, away);
    const uint64_t filled = leave_behind(cluster, away);
    fill_journal(cluster, leader, away, filled);
    const uint64_t last = leave_behind(cluster, away);
    cr_assert_gt(cluster_status(cluster, leader).log_first_index, filled + 1);
    cluster_start(cluster, away);
    cluster_run(cluster, 500);
    cr_assert_gt(cluster->nodes[leader].behind_count[away], 0);
    consensus_caught_up(cluster->nodes[leader].consensus, away + 1, filled);
    const uint32_t before = cluster->nodes[leader].behind_count[away];
    cluster_run(cluster, 3000);
    cr_assert_gt(cluster->nodes[leader].behind_count[away], before);
    cr_assert_eq(cluster_leader(cluster), leader);

    cluster_crash(cluster, away);
    fill_journal(cluster, leader, away, last);
    cluster_start(cluster, away);
    consensus_caught_up(cluster->nodes[leader].consensus, away + 1, last);
    cluster_expect_pulled(cluster, last);
    cluster_commit(cluster, 100);
    cluster_destroy(cluster);
}

/* The same for a witness, which has a lane of its own: it is sent what follows its catch-up, though
 * the lane had asked for a snapshot before; also by a leader that was elected meanwhile. */
Test(consensus_raft_members, a_witness_goes_on_where_its_catch_up_ended)
{
    for (int elected = 0; elected < 2; elected++) {
        struct cluster *cluster = cluster_create(3, 3, false);
        cluster->tail_bytes = 256 * 1024;
        for (uint32_t i = 0; i < 3; i++)
            cluster_start(cluster, i);
        cluster_commit(cluster, 100);
        cluster_crash(cluster, 2);
        const uint64_t last = leave_behind(cluster, 2);
        uint32_t leader = cluster_leader(cluster);
        cluster_start(cluster, 2);
        cluster_run(cluster, 500);
        cr_assert_gt(cluster->nodes[leader].behind_count[2], 0);
        if (elected == 1) {
            cr_assert_eq(consensus_transfer(cluster->nodes[leader].consensus, 2 - leader),
                         STATUS_OK);
            cluster_run(cluster, 1000);
            cr_assert_eq(cluster_leader(cluster), 1 - leader);
            leader = 1 - leader;
        }
        cluster_crash(cluster, 2);
        fill_journal(cluster, leader, 2, last);
        cluster_start(cluster, 2);
        consensus_caught_up(cluster->nodes[leader].consensus, 3, last);
        cluster_expect_pulled(cluster, last);
        const uint32_t before = cluster->nodes[leader].behind_count[2];
        cluster_commit(cluster, 100);
        cluster_run(cluster, 3000);
        cr_assert_eq(cluster->nodes[leader].behind_count[2], before);
        cluster_destroy(cluster);
    }
}

/* A follower comes back 40 MB behind, all of it in the leader's memory, on a link with some way: it
 * is brought up by about so many bytes and in a few turns, while others go on proposing. */
Test(consensus_raft_members, a_follower_that_lags_is_sent_everything_once)
{
    struct cluster *cluster = cluster_started(3);
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
Test(consensus_raft_members, a_site_may_be_away_for_longer_than_memory_reaches)
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
Test(consensus_raft_members, a_witness_without_its_note_remembers_more)
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
Test(consensus_raft_members, a_witness_knows_its_members_though_their_entry_is_pruned)
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
Test(consensus_raft_members, a_failing_disk_ends_the_node)
{
    struct cluster *cluster = cluster_started(3);
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

/* The journal has failed, and nobody has heard of it yet when the next entry is appended: it is
 * refused at once. The append is the disk's from then on, and is given back once, at the end. */
Test(consensus_raft_members, an_append_that_the_journal_refuses_at_once_is_given_back_once)
{
    struct cluster *cluster = cluster_started(3);
    cluster_commit(cluster, 100);
    const uint32_t leader = cluster_leader(cluster);
    struct cluster_node *node = &cluster->nodes[leader];
    faulty_disk_set(&node->disk, &node->disk.write_status, STATUS_IO);
    cr_assert_eq(cluster_propose(cluster, leader, 100, NULL), STATUS_OK);
    uint64_t wait;
    for (int i = 0; i < 10; i++)
        (void)journal_writer_step(node->journal, &wait);
    cr_assert_not(node->failed);
    (void)cluster_propose(cluster, leader, 100, NULL);
    cluster_run(cluster, 100);
    cr_assert(node->failed);
    cr_assert_not_null(strstr(node->failure, "could not write entry"), "%s", node->failure);
    cluster_crash(cluster, leader);
    faulty_disk_set(&node->disk, &node->disk.write_status, STATUS_OK);
    cluster_commit(cluster, 100);
    cluster_start(cluster, leader);
    cluster_commit(cluster, 100);
    cluster_destroy(cluster);
}
