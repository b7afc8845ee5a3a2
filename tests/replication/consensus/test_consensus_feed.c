/*
 * Entries that catch-up reads out of the leader's journal go into a follower's log as if the leader
 * had sent them; and from nobody else, in no other term.
 */
#include "consensus_cluster.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

enum { FED_MAX = 64 };

struct reading {
    struct journal_entry entries[FED_MAX];
    uint32_t count;
};

static bool keep_entry(void *context, const struct journal_entry *entry)
{
    struct reading *reading = context;
    struct journal_entry *to = &reading->entries[reading->count++];
    void *payload = malloc(entry->size + 1);
    memcpy(payload, entry->payload, entry->size);
    *to = *entry;
    to->payload = payload;
    return true;
}

static void forget(struct reading *reading)
{
    for (uint32_t i = 0; i < reading->count; i++)
        free((void *)(uintptr_t)reading->entries[i].payload);
    reading->count = 0;
}

/* Entries first .. last of a node's journal, to be fed as the word of `from` in its term. */
static struct consensus_feed read_for(struct cluster *cluster, uint32_t from, uint64_t first,
                                      uint64_t last, struct reading *reading)
{
    struct journal *journal = cluster->nodes[from].journal;
    struct consensus_feed feed = {.from = from + 1,
                                  .term = cluster_status(cluster, from).term,
                                  .previous_index = first - 1,
                                  .entries = reading->entries};
    reading->count = 0;
    cr_assert_eq(journal_term(journal, first - 1, &feed.previous_term), STATUS_OK);
    cr_assert_eq(journal_read(journal, first, last, keep_entry, reading), STATUS_OK);
    feed.count = reading->count;
    return feed;
}

static enum status feed_to(struct cluster *cluster, uint32_t to, const struct consensus_feed *feed)
{
    return consensus_feed(cluster->nodes[to].consensus, feed);
}

/* Everything up to `last`, 20 ms after each refusal again. */
static void feed_all(struct cluster *cluster, uint32_t from, uint32_t to, uint64_t first,
                     uint64_t last)
{
    struct reading reading;
    while (first <= last) {
        const uint64_t end = first + 15 < last ? first + 15 : last;
        struct consensus_feed feed = read_for(cluster, from, first, end, &reading);
        enum status status = STATUS_BUSY;
        for (int i = 0; i < 100 && status == STATUS_BUSY; i++) {
            status = feed_to(cluster, to, &feed);
            cluster_run(cluster, status == STATUS_BUSY ? 20 : 1);
        }
        cr_assert_eq(status, STATUS_OK, "at %lu: %s", (unsigned long)first, status_text(status));
        forget(&reading);
        first = end + 1;
    }
}

static struct cluster *cluster;
static uint32_t leader, away;
static uint64_t had, last;

/* A follower that was away until the others' memory had moved on; it has the entries up to `had`,
 * the leader all up to `last`. */
static void leave_behind(void)
{
    cluster = cluster_create(3, 3, true);
    cluster->tail_bytes = 256 * 1024;
    for (uint32_t i = 0; i < 3; i++)
        cluster_start(cluster, i);
    had = cluster_commit(cluster, 100);
    leader = cluster_leader(cluster);
    away = leader == 2 ? 1 : 2;
    cluster_crash(cluster, away);
    for (int i = 0; i < 100; i++) {
        last = cluster_commit(cluster, 50000 + (uint32_t)i);
        for (uint32_t j = 0; j < 3; j++) {
            if (j != away)
                cluster_flush(cluster, j);
        }
    }
    cluster_start(cluster, away);
    cluster_run(cluster, 500);
    cr_assert_gt(cluster->nodes[leader].behind_count[away], 0);
    cr_assert_eq(cluster_status(cluster, away).leader_id, leader + 1);
}

/* It takes them, pulls them, acknowledges them; from where they end the leader sends from memory
 * again. A batch that is known already is no harm. */
Test(consensus_feed, a_follower_behind_takes_them_and_goes_on)
{
    leave_behind();
    struct consensus_peer peers[CLUSTER_NODES_MAX];
    feed_all(cluster, leader, away, had + 1, last);
    feed_all(cluster, leader, away, had + 1, had + 40);
    cluster_expect_pulled(cluster, last);
    const uint32_t count =
        consensus_peers(cluster->nodes[leader].consensus, peers, CLUSTER_NODES_MAX);
    for (uint32_t i = 0; i < count; i++)
        cr_assert_geq(peers[i].match_index, peers[i].member.node_id == away + 1 ? last : 0);
    consensus_caught_up(cluster->nodes[leader].consensus, away + 1, last);
    const uint32_t before = cluster->nodes[leader].behind_count[away];
    cluster_commit(cluster, 100);
    cluster_run(cluster, 3000);
    cr_assert_eq(cluster->nodes[leader].behind_count[away], before);
    /* What was acknowledged is there after a crash. */
    cluster_crash(cluster, away);
    cluster_start(cluster, away);
    cluster_commit(cluster, 100);
    cluster_destroy(cluster);
}

/* A leader of another build says of durability what this one cannot read. The mode is what the
 * guard takes it for; who agreed on it and why is not known, and the node goes on, also when it
 * starts again with it. */
Test(consensus_feed, a_durability_entry_that_cannot_be_read_stops_nobody)
{
    static const uint8_t payloads[3][DURABILITY_ENTRY_SIZE] = {
        {1, DURABILITY_POLICY}, {1, DURABILITY_DEGRADE}, {1, DURABILITY_RETURN}};
    for (uint32_t count = 1; count <= 3; count++) {
        cluster = cluster_create(3, 3, true);
        for (uint32_t i = 0; i < 3; i++)
            cluster_start(cluster, i);
        cluster_commit(cluster, 100);
        cluster_run(cluster, 300);
        leader = cluster_leader(cluster);
        away = leader == 2 ? 1 : 2;
        const struct consensus_status now = cluster_status(cluster, leader);
        struct journal_entry entries[3];
        for (uint32_t i = 0; i < count; i++)
            entries[i] = (struct journal_entry){.index = now.commit_index + 1 + i,
                                                .term = now.term,
                                                .type = JOURNAL_DURABILITY,
                                                .size = sizeof payloads[i],
                                                .payload = payloads[i]};
        const struct consensus_feed feed = {.from = leader + 1,
                                            .term = now.term,
                                            .previous_index = now.commit_index,
                                            .previous_term = now.term,
                                            .entries = entries,
                                            .count = count};
        cr_assert_eq(feed_to(cluster, away, &feed), STATUS_OK);
        cluster_isolate(cluster, away, true);
        cluster_run(cluster, 20);
        const enum durability_mode mode = count == 2 ? DURABILITY_DEGRADED : DURABILITY_SYNC;
        for (int again = 0; again < 2; again++) {
            struct consensus_durability view;
            cr_assert_geq(cluster_status(cluster, away).commit_index, now.commit_index);
            consensus_durability(cluster->nodes[away].consensus, &view);
            cr_assert_eq(view.newest.number, count);
            cr_assert_eq(view.newest.mode, mode);
            cluster_flush(cluster, away);
            cluster_crash(cluster, away);
            cluster_start(cluster, away);
            cluster_run(cluster, 20);
        }
        cluster_destroy(cluster);
    }
}

/* [safety] Not of another node than the one that is followed, not of another term, not at a node
 * that leads itself: nothing is appended, and nothing acknowledged. */
Test(consensus_feed, only_the_leader_that_is_followed_in_its_term_counts)
{
    leave_behind();
    struct reading reading;
    const struct consensus_feed right = read_for(cluster, leader, had + 1, had + 5, &reading);
    struct consensus_feed wrong = right;
    wrong.from = 3 - leader - away + 1;
    cr_assert_eq(feed_to(cluster, away, &wrong), STATUS_NOT_READY);
    wrong = right;
    wrong.term++;
    cr_assert_eq(feed_to(cluster, away, &wrong), STATUS_NOT_READY);
    wrong = right;
    wrong.term--;
    cr_assert_eq(feed_to(cluster, away, &wrong), STATUS_NOT_READY);
    wrong.term = 0; /* it said that it does not lead */
    cr_assert_eq(feed_to(cluster, away, &wrong), STATUS_NOT_READY);
    cr_assert_eq(feed_to(cluster, leader, &right), STATUS_NOT_READY);
    struct journal_position position;
    journal_position(cluster->nodes[away].journal, &position);
    cr_assert_eq(position.last_index, had);
    cr_assert_eq(feed_to(cluster, away, &right), STATUS_OK);
    forget(&reading);
    cluster_destroy(cluster);
}

/* What does not follow our log, or cannot be in the leader's, is not taken. */
Test(consensus_feed, a_gap_and_a_later_term_are_refused)
{
    leave_behind();
    struct reading reading;
    struct consensus_feed feed = read_for(cluster, leader, had + 3, had + 5, &reading);
    cr_assert_eq(feed_to(cluster, away, &feed), STATUS_NOT_FOUND);
    forget(&reading);
    feed = read_for(cluster, leader, had + 1, had + 5, &reading);
    feed.previous_term += 5;
    cr_assert_eq(feed_to(cluster, away, &feed), STATUS_CORRUPT, "terms fall");
    feed.previous_term -= 5;
    reading.entries[4].term = feed.term + 1;
    cr_assert_eq(feed_to(cluster, away, &feed), STATUS_CORRUPT);
    reading.entries[4].term = feed.term;
    reading.entries[2].index++;
    cr_assert_eq(feed_to(cluster, away, &feed), STATUS_CORRUPT);
    reading.entries[2].index--;
    reading.entries[2].type = JOURNAL_CONFIGURATION;
    cr_assert_eq(feed_to(cluster, away, &feed), STATUS_CORRUPT, "no list of members");
    reading.entries[2].type = JOURNAL_COMMAND;
    feed.count = 0;
    cr_assert_eq(feed_to(cluster, away, &feed), STATUS_CORRUPT);
    feed.count = 5;
    cr_assert_eq(feed_to(cluster, away, &feed), STATUS_OK);
    forget(&reading);
    cluster_destroy(cluster);
}

/* Its log is full, because it pulls nothing: they wait, memory stays bounded, and it goes on. */
Test(consensus_feed, a_full_log_takes_nothing_more)
{
    leave_behind();
    cluster_crash(cluster, away);
    cluster->log_bytes_max = 1024 * 1024;
    cluster_start(cluster, away);
    cluster->nodes[away].hungry = true;
    cluster_run(cluster, 500);
    struct reading reading;
    uint64_t first = had + 1;
    enum status status = STATUS_OK;
    while (status == STATUS_OK && first <= last) {
        const struct consensus_feed feed = read_for(cluster, leader, first, first, &reading);
        status = feed_to(cluster, away, &feed);
        cluster_run(cluster, 1);
        first++;
        forget(&reading);
    }
    cr_assert_eq(status, STATUS_BUSY);
    cr_assert_leq(cluster_status(cluster, away).log_bytes, 1200 * 1024);
    cluster->nodes[away].hungry = false;
    for (first--; first <= last; first++) {
        cluster_run(cluster, 5);
        cluster_flush(cluster, away); /* the store makes room */
        feed_all(cluster, leader, away, first, first);
    }
    cluster_expect_pulled(cluster, last);
    cluster_destroy(cluster);
}

/* Killed while its log was full of what its store does not hold yet: it knows of no entry that it
 * is committed, so it can make no room by itself, and nobody but who feeds it can tell it. Batches
 * that begin in the middle of what it has say so, too. */
Test(consensus_feed, a_log_that_was_full_at_the_end_makes_room_after_the_start)
{
    for (uint64_t back = 0; back <= 5; back += 5) {
        leave_behind();
        const uint64_t fed = had + 40;
        feed_all(cluster, leader, away, had + 1, fed);
        cluster_run(cluster, 100);
        cluster_crash(cluster, away);
        cluster->log_bytes_max = 1024 * 1024;
        cluster_start(cluster, away);
        cluster_run(cluster, 500);
        cr_assert_geq(cluster_status(cluster, away).log_bytes, 1024 * 1024, "it is not full");
        cr_assert_lt(cluster_status(cluster, away).commit_index, fed - back, "somebody told it");
        struct reading reading;
        const struct consensus_feed feed =
            read_for(cluster, leader, fed + 1 - back, fed + 10, &reading);
        enum status status = STATUS_BUSY;
        for (int i = 0; i < 100 && status == STATUS_BUSY; i++) {
            status = feed_to(cluster, away, &feed);
            cluster_run(cluster, 20);
            if (cluster->nodes[away].pulled > had) /* nothing is flushed but what was heard of */
                cluster_flush(cluster, away);
        }
        cr_assert_eq(status, STATUS_OK, "%s", status_text(status));
        forget(&reading);
        for (uint64_t first = fed + 11; first <= last; first++) {
            feed_all(cluster, leader, away, first, first);
            cluster_run(cluster, 5);
            cluster_flush(cluster, away);
        }
        cluster_expect_pulled(cluster, last);
        cluster_destroy(cluster);
    }
}

/* A leader appends what nobody else gets, and is cut off; the others go on. When it is back, as a
 * follower whose log ends otherwise, what it is fed replaces its own end. */
Test(consensus_feed, a_tail_that_nobody_committed_is_replaced)
{
    cluster = cluster_create(3, 3, true);
    cluster->tail_bytes = 256 * 1024;
    for (uint32_t i = 0; i < 3; i++)
        cluster_start(cluster, i);
    had = cluster_commit(cluster, 100);
    away = cluster_leader(cluster);
    cluster_isolate(cluster, away, true);
    for (int i = 0; i < 5; i++)
        (void)cluster_propose(cluster, away, 200, NULL);
    cluster_run(cluster, 200);
    struct journal_position position;
    journal_position(cluster->nodes[away].journal, &position);
    cr_assert_gt(position.last_index, had, "no tail: the test is pointless");
    cluster_crash(cluster, away);
    leader = cluster_leader(cluster);
    for (int i = 0; i < 100; i++) {
        last = cluster_commit(cluster, 50000);
        for (uint32_t j = 0; j < 3; j++) {
            if (j != away)
                cluster_flush(cluster, j);
        }
    }
    cluster_isolate(cluster, away, false);
    cluster_start(cluster, away);
    cluster_run(cluster, 1000);
    feed_all(cluster, leader, away, had + 1, last);
    cluster_expect_pulled(cluster, last);
    cluster_destroy(cluster);
}

/* The node ends, from one moment to the next or in an orderly way, while what it was fed is on its
 * way to the disk: nothing of it is left in memory, and what was not acknowledged comes again. */
Test(consensus_feed, an_end_in_the_middle_of_it_leaves_nothing_behind)
{
    for (int orderly = 0; orderly < 2; orderly++) {
        leave_behind();
        struct reading reading;
        for (int i = 0; i < 3; i++) {
            const uint64_t first = had + 1 + 16 * (uint64_t)i;
            const struct consensus_feed feed =
                read_for(cluster, leader, first, first + 15, &reading);
            (void)feed_to(cluster, away, &feed);
            forget(&reading);
        }
        if (orderly != 0)
            cluster_stop(cluster, away);
        else
            cluster_crash(cluster, away);
        cluster_start(cluster, away);
        cluster_run(cluster, 500);
        feed_all(cluster, leader, away, had + 1, last);
        cluster_expect_pulled(cluster, last);
        cluster_destroy(cluster);
    }
}
