/*
 * Peers that must do no harm: who speak garbage, are strangers, lead a term that another one leads,
 * or came back without what they had acknowledged. Clusters in one process (consensus_cluster.h).
 */
#include "consensus_cluster.h"
#include "replication/consensus/raft_message.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Anything a peer may say: dropped. The cluster goes on as if nothing had been said. */
Test(consensus_peers, malformed_messages_are_dropped)
{
    struct cluster *cluster = cluster_started(3);
    uint32_t leader = cluster_leader(cluster);
    uint64_t term = cluster_status(cluster, leader).term;
    uint64_t bytes[16];
    for (uint32_t round = 0; round < 5000; round++) {
        for (size_t i = 0; i < 16; i++)
            bytes[i] = (round * 2654435761u) ^ (i * 40503u * round);
        uint16_t type = (uint16_t)(0x0100 + round % 13);
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
Test(consensus_peers, strangers_take_no_members_place)
{
    struct cluster *cluster = cluster_started(3);
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

/* A peer that says to lead the very term that another one leads: dropped, by that one (libraft
 * would take it as a follower does, and write over what a leader keeps in the same place) and by
 * its followers, who would have two sources of entries. */
Test(consensus_peers, a_second_leader_of_a_term_is_not_listened_to)
{
    struct cluster *cluster = cluster_started(3);
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
    uint32_t third = 3 - leader - other;
    consensus_receive(cluster->nodes[third].consensus, other + 1, bytes, size);
    cr_assert_eq(cluster_status(cluster, third).leader_id, leader + 1);
    cluster_isolate(cluster, leader, true);
    cluster_run(cluster, 260); /* it has forgotten its leader by now, but not whose the term was */
    consensus_receive(cluster->nodes[third].consensus, other + 1, bytes, size);
    after = cluster_status(cluster, third);
    cr_assert(after.term > before.term || after.leader_id != other + 1);
    cluster_isolate(cluster, leader, false);
    cluster_commit(cluster, 100);
    cluster_destroy(cluster);
}

static void copy_files(const char *from, const char *to)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'/* && cp -a '%s'/. '%s'", to, from, to);
    cr_assert_eq(system(command), 0);
}

/* A follower comes back with an older copy of its files. The leader counts entries on it that it
 * does not have: within a heartbeat that is told, and the follower stops, and stops again as often
 * as it is started. */
Test(consensus_peers, a_member_that_lost_what_it_acknowledged_stops)
{
    char copy[] = "/tmp/consensus_copy_XXXXXX";
    cr_assert_not_null(mkdtemp(copy));
    struct cluster *cluster = cluster_started(3);
    uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    struct cluster_node *node = &cluster->nodes[other];
    cluster_commit(cluster, 100);
    cluster_stop(cluster, other);
    copy_files(node->directory, copy);
    cluster_start(cluster, other);
    for (int i = 0; i < 20; i++)
        cluster_commit(cluster, 100);
    cluster_crash(cluster, other);
    cluster_start(cluster, other);
    const uint64_t acknowledged = cluster_commit(cluster, 100);
    cluster_run(cluster, 300);
    cr_assert_eq(cluster->nodes[leader].lost_told, 0, "a crash loses nothing");
    cr_assert_not(node->failed);
    for (uint32_t life = 1; life <= 2; life++) {
        cluster_crash(cluster, other);
        copy_files(copy, node->directory);
        for (uint32_t i = 0; i < 3; i++) /* what this leader counted is enough */
            cluster->nodes[i].floors = (struct floors){0};
        cluster_start(cluster, other);
        cluster_run(cluster, 1500);
        cr_assert_eq(cluster_leader(cluster), leader);
        cr_assert_eq(cluster->nodes[leader].lost_told, life);
        cr_assert(node->failed);
        cr_assert_eq(node->condemned, acknowledged);
        cr_assert_not_null(strstr(node->failure, "tally node repair"), "%s", node->failure);
        struct consensus_peer peers[3];
        cr_assert_eq(consensus_peers(cluster->nodes[leader].consensus, peers, 3), 3);
        for (uint32_t i = 0; i < 3; i++)
            cr_assert(peers[i].member.node_id != other + 1 || peers[i].match_index == 0);
        cluster_run(cluster, 10000);
    }
    cluster_crash(cluster, other);
    cluster_commit(cluster, 100);
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", copy);
    cr_assert_eq(system(command), 0);
    cluster_destroy(cluster);
}

/* The leader has gone on meanwhile and asks about an index behind all that the follower had
 * acknowledged: that this one is rejected is no news, but that the follower's log ends before what
 * it acknowledged is. */
Test(consensus_peers, a_log_that_ends_before_what_was_acknowledged_is_found_by_any_rejection)
{
    struct cluster *cluster = cluster_started(3);
    uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    uint64_t last = 0;
    for (int i = 0; i < 20; i++)
        last = cluster_commit(cluster, 100);
    cluster_run(cluster, 300);
    cluster_isolate(cluster, other, true); /* what it says itself would come between */
    const uint64_t term = cluster_status(cluster, leader).term;
    const struct {
        uint64_t term, rejected, last;
        uint32_t lost;
    } rows[] = {
        {term, last + 9, last + 8, 0}, /* the hint of a longer log */
        {term, last + 9, last, 0},     /* exactly what it acknowledged */
        {term - 1, last + 9, 3, 0},    /* said in another term */
        {term, last + 9, 3, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t bytes[RAFT_MESSAGE_FIXED_SIZE / 8];
        const struct raft_message_view view = {.type = MESSAGE_APPEND_ENTRIES_RESULT,
                                               .append_result = {.term = rows[i].term,
                                                                 .rejected = rows[i].rejected,
                                                                 .last_index = rows[i].last}};
        size_t size = raft_message_encode(&view, (uint8_t *)bytes);
        consensus_receive(cluster->nodes[leader].consensus, other + 1, bytes, size);
        cr_assert_eq(cluster->nodes[leader].lost_told, rows[i].lost, "row %zu", i);
    }
    cluster_destroy(cluster);
}

static void say_lost(struct cluster *cluster, uint32_t from, uint32_t to, uint64_t term,
                     uint64_t index)
{
    uint64_t bytes[RAFT_MESSAGE_FIXED_SIZE / 8];
    const struct raft_message_view view = {.type = MESSAGE_LOST_ENTRIES,
                                           .lost_entries = {.term = term, .index = index}};
    size_t size = raft_message_encode(&view, (uint8_t *)bytes);
    consensus_receive(cluster->nodes[to].consensus, from + 1, bytes, size);
    cluster_run(cluster, 20);
}

/* That a node lost entries is believed of nobody but the leader of the node's own term, and not
 * against its own journal. */
Test(consensus_peers, whoever_has_what_it_acknowledged_does_not_stop)
{
    struct cluster *cluster = cluster_started(3);
    uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    struct cluster_node *node = &cluster->nodes[other];
    uint64_t last = cluster_commit(cluster, 100), term = cluster_status(cluster, other).term;
    say_lost(cluster, leader, other, term, last);
    say_lost(cluster, leader, other, term - 1, last + 1);
    say_lost(cluster, leader, other, term + 1, last + 1);
    say_lost(cluster, 2, other, term, last + 1);
    say_lost(cluster, other, leader, term, last + 1);
    cr_assert_not(node->failed);
    cr_assert_not(cluster->nodes[leader].failed);
    cluster_commit(cluster, 100);
    say_lost(cluster, leader, other, term, last + 2);
    cr_assert(node->failed);
    cr_assert_eq(node->condemned, last + 2);
    cluster_destroy(cluster);
}
