/* Members that lost entries, and are found by others than the leader that counted on them. */
#include "consensus_cluster.h"

#include "replication/consensus/raft_message.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(floors_cluster, .timeout = 300);

/* Floors have been measured, told and heard. */
#define TOLD_MS 1200
/* A node that was told of its loss has said so to its peers, and ended. */
#define ENDED_MS 1500

/* ---- copies ---- */

struct copy {
    char directory[64];
    struct floors floors;
    uint64_t pulled;
};

static void copy_files(const char *from, const char *to)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'/* && cp -a '%s'/. '%s'", to, from, to);
    cr_assert_eq(system(command), 0);
}

/* Of a node that stands still meanwhile. */
static void take_copy(struct cluster *cluster, uint32_t place, struct copy *out)
{
    const struct cluster_node *node = &cluster->nodes[place];
    snprintf(out->directory, sizeof out->directory, "/tmp/consensus_copy_XXXXXX");
    cr_assert_not_null(mkdtemp(out->directory));
    out->pulled = node->pulled;
    cluster_stop(cluster, place);
    out->floors = node->floors;
    copy_files(node->directory, out->directory);
    cluster_start(cluster, place);
}

static void put_back(struct cluster *cluster, uint32_t place, const struct copy *copy)
{
    struct cluster_node *node = &cluster->nodes[place];
    if (node->alive)
        cluster_crash(cluster, place);
    copy_files(copy->directory, node->directory);
    node->floors = copy->floors;
}

static void drop_copy(const struct copy *copy)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", copy->directory);
    cr_assert_eq(system(command), 0);
}

static uint64_t commit_some(struct cluster *cluster, int count)
{
    uint64_t index = 0;
    for (int i = 0; i < count; i++)
        index = cluster_commit(cluster, 100);
    return index;
}

static uint32_t lost_told(const struct cluster *cluster)
{
    uint32_t told = 0;
    for (uint32_t i = 0; i < cluster->count; i++)
        told += cluster->nodes[i].lost_told;
    return told;
}

/* `place` hears of it, says so to every other one, and has ended. */
static void expect_condemned(struct cluster *cluster, uint32_t place, const char *words)
{
    const struct cluster_node *node = &cluster->nodes[place];
    cluster_run(cluster, 200);
    cr_assert(node->condemned != 0, "it was not found");
    cr_assert_eq(node->failed, false, "its other peers could not be told");
    cluster_run(cluster, ENDED_MS);
    cr_assert(node->failed);
    cr_assert_not_null(strstr(node->failure, words), "%s", node->failure);
    cr_assert_not_null(strstr(node->failure, "tally node repair"), "%s", node->failure);
    for (uint32_t i = 0; i < cluster->count; i++)
        if (i != place && cluster->nodes[i].alive)
            cr_expect_eq(cluster->nodes[i].lost_told, 1, "node %u: %u", i + 1,
                         cluster->nodes[i].lost_told);
}

/* ---- found ---- */

/* The leader that counted its acknowledgements leads no more, and remembers nothing of its term:
 * another life of it knows, and so does the witness. */
Test(floors_cluster, another_leader_finds_a_member_that_was_put_back)
{
    struct cluster *cluster = cluster_started(3);
    struct copy copy;
    const uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    commit_some(cluster, 1);
    take_copy(cluster, other, &copy);
    commit_some(cluster, 20);
    cluster_run(cluster, TOLD_MS);
    const uint64_t term = cluster_status(cluster, cluster_leader(cluster)).term;
    cluster_crash(cluster, other);
    cluster_crash(cluster, leader);
    put_back(cluster, other, &copy);
    cluster_start(cluster, leader);
    cr_assert_gt(cluster_status(cluster, cluster_leader(cluster)).term, term);
    cluster_start(cluster, other);
    expect_condemned(cluster, other, "ends at");
    cluster_crash(cluster, other);
    commit_some(cluster, 1);
    drop_copy(&copy);
    cluster_destroy(cluster);
}

/* All start anew, at once: what they heard is on their disks. */
Test(floors_cluster, a_restart_of_everybody_forgets_nothing)
{
    struct cluster *cluster = cluster_started(5);
    struct copy copy;
    commit_some(cluster, 1);
    const uint32_t other = (cluster_leader(cluster) + 1) % 4;
    take_copy(cluster, other, &copy);
    commit_some(cluster, 20);
    cluster_run(cluster, TOLD_MS);
    for (uint32_t i = 0; i < 5; i++)
        cluster_crash(cluster, i);
    put_back(cluster, other, &copy);
    for (uint32_t i = 0; i < 5; i++)
        cluster_start(cluster, i);
    expect_condemned(cluster, other, "ends at");
    cluster_crash(cluster, other);
    commit_some(cluster, 1);
    drop_copy(&copy);
    cluster_destroy(cluster);
}

/* Only the journal was put back: the node's own file knows better, without any peer. */
Test(floors_cluster, a_journal_below_the_own_floor_is_found_at_the_start)
{
    struct cluster *cluster = cluster_started(3);
    struct copy copy;
    commit_some(cluster, 1);
    const uint32_t other = 1 - cluster_leader(cluster);
    take_copy(cluster, other, &copy);
    commit_some(cluster, 20);
    cluster_run(cluster, TOLD_MS);
    cluster_isolate(cluster, other, true);
    copy.floors = cluster->nodes[other].floors;
    put_back(cluster, other, &copy);
    cluster_start(cluster, other);
    cluster_run(cluster, ENDED_MS);
    cr_assert(cluster->nodes[other].failed);
    cr_assert_not_null(strstr(cluster->nodes[other].failure, "file floors"), "%s",
                       cluster->nodes[other].failure);
    drop_copy(&copy);
    cluster_destroy(cluster);
}

static uint64_t term_of(struct cluster *cluster, uint32_t place, uint64_t index)
{
    uint64_t term = 0;
    cr_assert_eq(journal_term(cluster->nodes[place].journal, index, &term), STATUS_OK);
    return term;
}

/* The danger itself. X and the witness commit while Y is given up, after some elections; X is put
 * back, the witness is down, and X and Y, who know nothing, elect a leader and write another
 * history, longer than the first. The witness comes: X is found though its journal reaches the
 * floor. Y starts anew, is told by a leader to take back what it knows to be committed, and keeps
 * it and stops. */
Test(floors_cluster, a_member_with_other_entries_is_found_and_the_last_copy_is_kept)
{
    struct cluster *cluster = cluster_started(3);
    struct copy copy;
    commit_some(cluster, 1);
    const uint32_t x = cluster_leader(cluster), y = 1 - x, witness = 2;
    cluster_run(cluster, TOLD_MS);
    take_copy(cluster, x, &copy);
    commit_some(cluster, 1);
    cluster_crash(cluster, y);
    for (int i = 0; i < 5; i++) { /* terms that Y never hears of */
        commit_some(cluster, 1);
        cluster_crash(cluster, x);
        cluster_start(cluster, x);
    }
    const uint64_t last = commit_some(cluster, 20);
    cluster_run(cluster, TOLD_MS);
    cluster_crash(cluster, witness);
    put_back(cluster, x, &copy);
    /* From here on the cluster's history is another one. */
    memset(&cluster->pulled[copy.pulled], 0,
           (CLUSTER_PULLED_MAX - copy.pulled) * sizeof cluster->pulled[0]);
    cluster_start(cluster, x);
    cluster_start(cluster, y);
    cr_assert_gt(commit_some(cluster, 40), last);
    cluster_run(cluster, TOLD_MS);
    cr_assert_eq(lost_told(cluster), 0, "nobody could know");
    const uint64_t other_last = cluster->nodes[y].pulled;
    cluster_crash(cluster, y);
    cluster->nodes[witness].hungry = true;
    cluster_start(cluster, witness);
    cluster_run(cluster, 200 + ENDED_MS);
    cr_assert(cluster->nodes[x].failed);
    cr_assert_geq(cluster->nodes[x].condemned, last - 1);
    cr_assert_not_null(strstr(cluster->nodes[x].failure, "has one of term"), "%s",
                       cluster->nodes[x].failure);
    cr_assert_eq(cluster->nodes[witness].lost_told, 1);
    /* The witness's history is of the later terms. Of Y nothing but its floor says what is
     * committed: it has just started. */
    cluster_crash(cluster, x);
    cluster_start(cluster, y);
    cluster_run(cluster, 5000);
    cr_assert(cluster->nodes[y].failed);
    cr_assert_not_null(strstr(cluster->nodes[y].failure, "nothing is taken back"), "%s",
                       cluster->nodes[y].failure);
    cr_assert_eq(cluster->nodes[y].condemned, 0, "its files are kept, and may be used again");
    cr_assert_eq(term_of(cluster, y, other_last), cluster->pulled[other_last - 1].term);
    cr_assert_neq(term_of(cluster, witness, last), cluster->pulled[last - 1].term);
    drop_copy(&copy);
    cluster_destroy(cluster);
}

/* Who knows it is not linked with the member that lost entries: it is passed on. */
Test(floors_cluster, what_one_knows_is_passed_on_to_the_member)
{
    struct cluster *cluster = cluster_started(3);
    struct copy copy;
    commit_some(cluster, 1);
    const uint32_t other = 1 - cluster_leader(cluster), witness = 2;
    take_copy(cluster, other, &copy);
    commit_some(cluster, 20);
    cluster_run(cluster, TOLD_MS);
    for (uint32_t i = 0; i < 3; i++)
        cluster_crash(cluster, i);
    cluster->nodes[1 - other].floors = (struct floors){0}; /* its disk forgot */
    put_back(cluster, other, &copy);
    cluster_cut(cluster, other, witness, true);
    cluster_cut(cluster, witness, other, true);
    cluster_start(cluster, other);
    cluster_start(cluster, 1 - other);
    cluster_run(cluster, 20);
    cr_assert_eq(cluster->nodes[other].condemned, 0);
    cluster_start(cluster, witness);
    cluster_run(cluster, 400);
    cr_assert_neq(cluster->nodes[other].condemned, 0);
    cr_assert_eq(cluster->nodes[1 - other].lost_told, 1);
    drop_copy(&copy);
    cluster_destroy(cluster);
}

/* What cannot be seen: all were put back to one image. They go on from there as if the rest had
 * never been, and nobody is stopped. */
Test(floors_cluster, all_of_them_put_back_together_see_nothing)
{
    struct cluster *cluster = cluster_started(3);
    struct copy copies[3];
    const uint64_t before = commit_some(cluster, 1);
    cluster_run(cluster, TOLD_MS);
    for (uint32_t i = 0; i < 3; i++)
        take_copy(cluster, i, &copies[i]);
    const uint64_t gone = commit_some(cluster, 40);
    cluster_run(cluster, TOLD_MS);
    for (uint32_t i = 0; i < 3; i++)
        put_back(cluster, i, &copies[i]);
    memset(&cluster->pulled[before], 0, (CLUSTER_PULLED_MAX - before) * sizeof cluster->pulled[0]);
    for (uint32_t i = 0; i < 3; i++)
        cluster_start(cluster, i);
    cr_assert_lt(commit_some(cluster, 1), gone);
    cr_assert_eq(lost_told(cluster), 0);
    for (uint32_t i = 0; i < 3; i++)
        drop_copy(&copies[i]);
    cluster_destroy(cluster);
}

/* ---- not listened to ---- */

static void say(struct cluster *cluster, uint32_t from, uint32_t to,
                const struct raft_message_view *view)
{
    uint64_t bytes[RAFT_MESSAGE_FIXED_SIZE / 8];
    const size_t size = raft_message_encode(view, (uint8_t *)bytes);
    consensus_receive(cluster->nodes[to].consensus, from + 1, bytes, size);
}

static void say_end(struct cluster *cluster, uint32_t from, uint32_t to, uint64_t last,
                    uint64_t floor, uint64_t floor_term)
{
    const struct raft_message_view view = {
        .type = MESSAGE_JOURNAL_END,
        .journal_end = {.last_index = last, .floor_index = floor, .floor_term = floor_term}};
    say(cluster, from, to, &view);
}

/* A question is the shortest message whose effect can be seen: a vote for a later term. */
static bool is_heard(struct cluster *cluster, uint32_t from, uint32_t to)
{
    const uint64_t term = cluster_status(cluster, to).term + 1;
    const struct raft_message_view view = {
        .type = MESSAGE_REQUEST_VOTE,
        .vote = {.term = term, .candidate_id = from + 1, .disrupts_leader = true}};
    say(cluster, from, to, &view);
    return cluster_status(cluster, to).term == term;
}

/* A peer comes anew: nothing of it is taken until it has said where its journal ends. */
Test(floors_cluster, a_peer_is_heard_once_it_said_where_its_journal_ends)
{
    struct cluster *cluster = cluster_started(3);
    commit_some(cluster, 1);
    const uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    consensus_linked(cluster->nodes[other].consensus, leader + 1, true);
    cr_assert_not(is_heard(cluster, leader, other));
    cr_assert_not(is_heard(cluster, leader, other), "nor later");
    cluster_run(cluster, 20);
    cr_assert(is_heard(cluster, leader, other), "it was asked, and answered");
    commit_some(cluster, 1);
    cr_assert_eq(lost_told(cluster), 0);
    cluster_destroy(cluster);
}

/* A member says itself that it ends below its floor, and does not stop: nothing of it counts, until
 * it comes anew and says better. */
Test(floors_cluster, a_peer_below_its_floor_is_not_heard)
{
    struct cluster *cluster = cluster_started(3);
    commit_some(cluster, 10);
    cluster_run(cluster, TOLD_MS);
    const uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    consensus_linked(cluster->nodes[leader].consensus, other + 1, true);
    cluster_run(cluster, 20); /* told of its floor */
    const struct floor *floor = floors_find(&cluster->nodes[leader].floors, other + 1,
                                            cluster->nodes[other].member.incarnation);
    cr_assert_not_null(floor);
    const uint64_t index = floor->index, term = floor->term;
    say_end(cluster, other, leader, index, index, term);
    say_end(cluster, other, leader, index - 1, index - 1, term);
    say_end(cluster, other, leader, 0, index + 1, 0);
    cr_assert_eq(cluster->nodes[leader].lost_told, 0, "these say nothing against it");
    say_end(cluster, other, leader, index - 1, index, 0);
    cr_assert_eq(cluster->nodes[leader].lost_told, 1);
    cr_assert_not(is_heard(cluster, other, leader));
    struct consensus_peer peers[3];
    cr_assert_eq(consensus_peers(cluster->nodes[leader].consensus, peers, 3), 3);
    cr_assert_eq(peers[other].match_index, 0);
    consensus_linked(cluster->nodes[leader].consensus, other + 1, true);
    cluster_run(cluster, 20);
    say_end(cluster, other, leader, index + 5, index, term + 1);
    cr_assert_not(is_heard(cluster, other, leader), "another entry at its floor");
    consensus_linked(cluster->nodes[leader].consensus, other + 1, true);
    cluster_run(cluster, 20);
    commit_some(cluster, 1);
    cr_assert_eq(consensus_peers(cluster->nodes[leader].consensus, peers, 3), 3);
    cr_assert_neq(peers[other].match_index, 0);
    cluster_destroy(cluster);
}

/* An answer was long under way. Its sender has grown since, and the floor with it: it is judged by
 * the question that it answers. */
Test(floors_cluster, a_late_answer_is_no_loss)
{
    struct cluster *cluster = cluster_started(3);
    commit_some(cluster, 1);
    cluster_run(cluster, TOLD_MS);
    const uint32_t leader = cluster_leader(cluster), other = 1 - leader;
    const struct floor *floor = floors_find(&cluster->nodes[leader].floors, other + 1,
                                            cluster->nodes[other].member.incarnation);
    cr_assert_not_null(floor);
    const uint64_t index = floor->index, term = floor->term;
    commit_some(cluster, 10);
    cluster_run(cluster, TOLD_MS);
    cr_assert_gt(floor->index, index);
    for (uint32_t to = 0; to < 3; to++)
        if (to != other)
            say_end(cluster, other, to, index, index, term);
    cr_assert_eq(lost_told(cluster), 0);
    commit_some(cluster, 1);
    cluster_destroy(cluster);
}
