/*
 * Changes of the members over the real consensus: clusters with a dead voter, whose leaders crash
 * in the middle of the change.
 */
#include "consensus_cluster.h"
#include "replication/node/membership.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(membership_cluster, .timeout = 240);

struct command {
    struct membership memberships[CLUSTER_NODES_MAX];
    uint32_t at; /* place of the node that has it; CLUSTER_NODES_MAX: nobody */
    bool ended;
    enum status status;
    char text[512];
};

static void ended(void *context, enum status status, const char *text)
{
    struct command *command = context;
    command->ended = true;
    command->status = status;
    snprintf(command->text, sizeof command->text, "%s", text == NULL ? "" : text);
}

static uint32_t leading(struct cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->count; i++) {
        if (cluster->nodes[i].alive && cluster_status(cluster, i).leads)
            return i;
    }
    return CLUSTER_NODES_MAX;
}

/* One millisecond; the command goes to whoever leads, again and again. */
static bool step(struct cluster *cluster, struct command *command,
                 struct membership_request request)
{
    cluster_run(cluster, 1);
    if (command->at == CLUSTER_NODES_MAX || command->ended) {
        struct node_error error;
        uint32_t leader = leading(cluster);
        command->at = CLUSTER_NODES_MAX;
        if (leader == CLUSTER_NODES_MAX)
            return false;
        struct membership *membership = &command->memberships[leader];
        membership_init(membership, cluster->nodes[leader].consensus, leader + 1);
        command->ended = false;
        request.cb = ended;
        request.context = command;
        enum status status = membership_begin(membership, &request, cluster->now_ns, &error);
        cr_assert(status == STATUS_OK || status == STATUS_NOT_READY, "%s", error.text);
        command->at = status == STATUS_OK ? leader : CLUSTER_NODES_MAX;
        return false;
    }
    membership_process(&command->memberships[command->at], cluster->now_ns);
    if (!command->ended)
        return false;
    cr_assert(command->status == STATUS_OK || command->status == STATUS_NOT_READY, "%s",
              command->text);
    return command->status == STATUS_OK;
}

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

/* Ids of the voters that `place` sees, as bits. */
static uint32_t voters(struct cluster *cluster, uint32_t place)
{
    struct consensus_peer peers[MEMBERS_MAX];
    uint32_t count = consensus_peers(cluster->nodes[place].consensus, peers, MEMBERS_MAX), bits = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (peers[i].vote == CONSENSUS_VOTER)
            bits |= 1u << peers[i].member.node_id;
    }
    return bits;
}

static void crash(struct cluster *cluster, struct command *command, uint32_t place)
{
    if (command->at == place)
        command->at = CLUSTER_NODES_MAX; /* the command goes with it */
    cluster_crash(cluster, place);
}

/* 1 at A, 2 at B, 3 the witness. 2 is dead, and 4 takes its place, while the leader, or the other
 * one of the two, or 4 crashes and comes back, `crashes` times in all: each of them is needed for
 * a majority, so there are moments in which nothing moves. In the end 2 is back, knows nothing of
 * all that, and disturbs nobody. */
static void replace_through_crashes(uint64_t seed, uint32_t crashes)
{
    struct cluster *cluster = cluster_create(4, 3, false);
    struct command command = {.at = CLUSTER_NODES_MAX};
    uint64_t random = seed, down_until[CLUSTER_NODES_MAX] = {0};
    for (uint32_t i = 0; i < 3; i++)
        cluster_start(cluster, i);
    (void)cluster_commit(cluster, 1000);
    cluster_crash(cluster, 1);
    cluster_start(cluster, 3);

    const struct membership_request request = {
        .kind = MEMBERSHIP_REPLACE, .member = cluster->nodes[3].member, .old_id = 2};
    uint64_t end = cluster->now_ns + 60000 * CLUSTER_MS, next_crash = 0;
    bool done = false;
    while (!done) {
        cr_assert_lt(cluster->now_ns, end, "seed %llu: stuck", (unsigned long long)seed);
        done = step(cluster, &command, request);
        uint32_t leader = leading(cluster);
        if (leader < cluster->count && next_random(&random) % 8 == 0)
            (void)cluster_propose(cluster, leader, 500, &(uint64_t){0});
        for (uint32_t i = 0; i < 4; i++) {
            if (down_until[i] != 0 && cluster->now_ns >= down_until[i]) {
                down_until[i] = 0;
                cluster_start(cluster, i);
            }
        }
        if (crashes == 0 || cluster->now_ns < next_crash || leader == CLUSTER_NODES_MAX)
            continue;
        static const uint32_t others[] = {0, 2, 3};
        uint32_t victim = next_random(&random) % 2 == 0 ? leader : others[next_random(&random) % 3];
        next_crash = cluster->now_ns + next_random(&random) % 300 * CLUSTER_MS;
        if (!cluster->nodes[victim].alive)
            continue;
        crash(cluster, &command, victim);
        down_until[victim] = cluster->now_ns + (1 + next_random(&random) % 400) * CLUSTER_MS;
        crashes--;
    }
    for (uint32_t i = 0; i < 4; i++) {
        if (down_until[i] != 0)
            cluster_start(cluster, i);
    }
    (void)cluster_commit(cluster, 100);
    uint32_t leader = cluster_leader(cluster);
    uint64_t term = cluster_status(cluster, leader).term;
    cr_assert_eq(voters(cluster, leader), 1u << 1 | 1u << 3 | 1u << 4, "seed %llu",
                 (unsigned long long)seed);
    cluster_start(cluster, 1);
    cluster_run(cluster, 2000);
    cr_assert_eq(cluster_status(cluster, leader).term, term, "nobody is disturbed");
    uint64_t index;
    cr_assert_eq(cluster_propose(cluster, leader, 100, &index), STATUS_OK);
    cluster_run(cluster, 500);
    cr_assert_geq(cluster->nodes[3].pulled, index);
    cluster_destroy(cluster);
}

Test(membership_cluster, a_dead_voter_is_replaced)
{
    replace_through_crashes(1, 0);
}

Test(membership_cluster, a_dead_voter_is_replaced_through_crashes)
{
    for (uint64_t seed = 2; seed < 10; seed++)
        replace_through_crashes(seed, 1 + (uint32_t)seed % 6);
}
