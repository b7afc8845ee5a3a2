/*
 * A random search for what the directed schedules do not think of: clusters with crashes, restarts,
 * partitions, one-way cuts, lost messages, failing sends, back-pressure, slow disks, snapshots and
 * transfers, until everything is healed; then all nodes must agree again.
 *
 * The short slice runs with the tests. A long run is the same program:
 *
 *   raft_search --seeds 2000 --seconds 150 --from 1 --nodes 5
 *   raft_search --seeds 1 --from SEED          (once more, with the same trace hash)
 *   raft_search --nodes 5 --voters 1           (starts with one voter; members come and go)
 *   raft_search --nodes 5 --witness            (the last node is one)
 *   raft_search --nodes 5 --witness --sites    (2 + 2 + 1: the durability rule; sites are lost)
 *   raft_search --off 1                        (without part S1: tests of the search itself)
 */
#include "raft_world.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct search {
    unsigned nodes;
    unsigned voters; /* at first; with less than `nodes` members come and go */
    bool witness;    /* the last node is one */
    bool sites;      /* the data nodes are at two of them */
    uint64_t seconds;
    uint64_t parts;
};

struct totals {
    uint64_t acknowledged, elections, witness_elections, events, crashes, snapshots, changes,
        losses, sync_commits, degraded_commits, bad_seeds;
};

struct run {
    uint64_t heal_at_ms;
    uint64_t crashes, losses;
    /* What a policy would know. */
    raft_index commit[WORLD_NODES_MAX];
    uint64_t commits_since_ms[WORLD_NODES_MAX];
};

struct restart {
    unsigned node;
};

static unsigned data_voters(const struct world_node *node)
{
    const struct raft_configuration *configuration = &node->raft.configuration;
    unsigned count = 0;
    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        bool witness = (node->world->options.witnesses >> (server->id - 1) & 1) != 0;
        count += server->role == RAFT_VOTER && !witness ? 1 : 0;
    }
    return count;
}

static void changed(struct raft_change *change, int status)
{
    (void)status;
    raft_free(change);
}

/* What `id` is in the configuration of `node`; -1: no member. */
static int role_of(const struct world_node *node, raft_id id)
{
    const struct raft_configuration *configuration = &node->raft.configuration;
    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].id == id)
            return configuration->servers[i].role;
    }
    return -1;
}

/* Any node becomes a spare, a standby, a voter, or is removed, as long as the guard allows it: also
 * the leader, also while others are away. The data nodes that vote stay two, if they once were. */
static void change_membership(struct world_node *node, void *context)
{
    struct world *world = context;
    static const int roles[] = {RAFT_STANDBY, RAFT_VOTER, RAFT_VOTER, RAFT_SPARE, -1};
    raft_id id = world_draw(world, 1, world->options.nodes);
    int role = roles[world_draw(world, 0, 4)], now = role_of(node, id);
    if (now < 0)
        role = RAFT_SPARE;
    bool loses_a_vote = now == RAFT_VOTER && role != RAFT_VOTER;
    if (role == now || (loses_a_vote && data_voters(node) <= 2) ||
        !raft_guard_may_change(&node->guard, id, role))
        return;
    char address[24];
    snprintf(address, sizeof address, "%llu", id);
    struct raft_change *change = raft_malloc(sizeof *change);
    int code = now < 0    ? raft_add(&node->raft, change, id, address, changed)
               : role < 0 ? raft_remove(&node->raft, change, id, changed)
                          : raft_assign(&node->raft, change, id, role, changed);
    if (code != 0)
        raft_free(change);
    else
        world->changes++;
}

/* A leader degrades when nothing commits for a while, sometimes for no reason at all; and returns
 * when it may, seldom when it may not. Whether it is ready does not matter. */
static void decide(struct world *world, struct run *run, unsigned number)
{
    const struct world_node *node = &world->nodes[number];
    if (!raft_guard_rule_in_force(&node->guard) || node->guard.options.witness)
        return; /* a witness that leads appends nothing (8) */
    if (run->commit[number] != node->raft.commit_index ||
        raft_last_index(&world->nodes[number].raft) == node->raft.commit_index) {
        run->commit[number] = node->raft.commit_index;
        run->commits_since_ms[number] = world->now_ms;
    }
    bool stuck = world->now_ms - run->commits_since_ms[number] > 700;
    if (raft_guard_mode(&node->guard) == DURABILITY_SYNC) {
        if ((stuck && world_chance(world, 0.3)) || world_chance(world, 0.002))
            (void)world_propose_mode(world, number, DURABILITY_DEGRADED);
    } else if (world_chance(world, 0.0005) ||
               (raft_guard_may_return(&node->guard) && world_chance(world, 0.03))) {
        (void)world_propose_mode(world, number, DURABILITY_SYNC);
    } else if (stuck && world_chance(world, 0.01)) {
        (void)world_propose_mode(world, number, DURABILITY_DEGRADED); /* once more */
    }
}

static void client(struct world *world, void *context)
{
    struct run *run = context;
    int leader = world_leader(world);
    if (world->options.outsiders != 0 && world->now_ms < run->heal_at_ms && leader >= 0 &&
        world_chance(world, 0.03))
        world_within(world, (unsigned)leader, change_membership, world);
    for (unsigned i = 0; i < world->options.nodes; i++) {
        if (world_leads(world, i) && raft_guard_may_propose(&world->nodes[i].guard))
            (void)world_propose_batch(world, i, (unsigned)world_draw(world, 1, 3));
        if (world_leads(world, i))
            decide(world, run, i);
    }
    world_at(world, world_draw(world, 5, 60), client, context);
}

static void restart(struct world *world, void *context)
{
    struct restart *restart = context;
    if (!world->nodes[restart->node].alive)
        world_start(world, restart->node);
    free(restart);
}

static void hand_over(struct world_node *node, void *context)
{
    (void)raft_guard_transfer(&node->guard, *(raft_id *)context, NULL, NULL);
}

/* All of a site at once: dead, or cut off from all others. */
static void lose_site(struct world *world, struct run *run)
{
    const unsigned site = (unsigned)world_draw(world, 0, 1);
    const bool dies = world_chance(world, 0.5);
    const uint64_t back_ms = world_draw(world, 500, 8000);
    world_check_loss(world, site);
    run->losses++;
    world_heal(world);
    for (unsigned i = 0; i < world->options.nodes; i++) {
        if ((world_site(world, site) >> i & 1) == 0)
            continue;
        if (!dies) {
            for (unsigned j = 0; j < world->options.nodes; j++) {
                if ((world_site(world, site) >> j & 1) == 0)
                    world_cut(world, i, j);
            }
        } else if (world->nodes[i].alive) {
            struct restart *back = malloc(sizeof *back);
            if (back == NULL)
                abort();
            back->node = i;
            world_crash(world, i);
            run->crashes++;
            world_at(world, back_ms, restart, back);
        }
    }
}

static void fault(struct world *world, void *context)
{
    struct run *run = context;
    if (world->now_ms >= run->heal_at_ms) {
        world_heal(world);
        world->loss = 0;
        for (unsigned i = 0; i < world->options.nodes; i++) {
            world->nodes[i].slow_disk = world->nodes[i].strip_entries = false;
            if (!world->nodes[i].alive)
                world_start(world, i);
        }
        return;
    }
    unsigned last = world->options.nodes - 1;
    unsigned a = (unsigned)world_draw(world, 0, last), b = (unsigned)world_draw(world, 0, last);
    raft_id peer = b + 1;
    uint64_t kind = world_draw(world, 0, 13);
    if (world->options.second_site != 0 && world_chance(world, 0.2))
        kind = 14;
    switch (kind) {
    case 0:
    case 1:
    case 2:
        if (world->nodes[a].alive) {
            struct restart *back = malloc(sizeof *back);
            if (back == NULL)
                abort();
            back->node = a;
            world_crash(world, a);
            run->crashes++;
            world_at(world, world_draw(world, 100, 6000), restart, back);
        }
        break;
    case 3:
    case 4:
    case 5:
        world_heal(world);
        world_isolate(world, a);
        break;
    case 6:
        world->cut[a][b] = a != b;
        break;
    case 7:
        world->nodes[a].slow_disk = !world->nodes[a].slow_disk;
        break;
    case 8:
        if (world_leads(world, a))
            world_within(world, a, hand_over, &peer);
        break;
    case 9: /* back-pressure: messages arrive without their entries */
        world->nodes[a].strip_entries = !world->nodes[a].strip_entries;
        break;
    case 10:
        world->nodes[a].send_status = RAFT_NOCONNECTION;
        break;
    case 11:
        world->nodes[a].send_fails = RAFT_NOCONNECTION;
        break;
    case 14:
        lose_site(world, run);
        break;
    default:
        world_heal(world);
        break;
    }
    uint64_t next = world_draw(world, 100, 4000);
    if (world->now_ms + next > run->heal_at_ms)
        next = run->heal_at_ms - world->now_ms;
    world_at(world, next, fault, run);
}

static bool same_configuration(const struct world_node *a, const struct world_node *b)
{
    bool same = a->raft.configuration.n == b->raft.configuration.n;
    for (unsigned i = 0; i < a->raft.configuration.n; i++) {
        const struct raft_server *server = &a->raft.configuration.servers[i];
        same = same && role_of(b, server->id) == server->role;
    }
    return same;
}

/* All nodes run, and who is sent entries is where the leader is; the clients go on, so with a
 * little slack. */
static void check_agreement(struct world *world)
{
    int number = world_leader(world);
    if (number < 0)
        checkers_violation(&world->checkers, "nobody leads");
    const struct world_node *leader = number < 0 ? NULL : &world->nodes[number];
    for (unsigned i = 0; i < world->options.nodes; i++) {
        const struct world_node *node = &world->nodes[i];
        if (!node->alive) {
            checkers_violation(&world->checkers, "node %u stopped itself: %s", i + 1,
                               node->stopped_by == NULL ? "?" : node->stopped_by);
            continue;
        }
        int role = leader == NULL ? -1 : role_of(leader, i + 1);
        if (role != RAFT_VOTER && role != RAFT_STANDBY)
            continue;
        if (node->applied + 100 < leader->applied)
            checkers_violation(&world->checkers, "node %u is stuck at index %llu of %llu", i + 1,
                               (unsigned long long)node->applied,
                               (unsigned long long)leader->applied);
        if (!same_configuration(node, leader))
            checkers_violation(&world->checkers, "node %u has another configuration than node %d",
                               i + 1, number + 1);
    }
    checkers_finish(&world->checkers);
}

/* Trace hash of the seed; prints what is wrong. */
static uint64_t run_seed(const struct search *search, uint64_t seed, struct totals *totals)
{
    struct world_options options = {
        .nodes = search->nodes, .seed = seed, .parts = search->parts, .random = true};
    for (unsigned i = search->voters; i < search->nodes; i++)
        options.outsiders |= 1u << i;
    if (search->witness)
        options.witnesses = 1u << (search->nodes - 1);
    for (unsigned i = (search->nodes - 1) / 2; search->sites && i < search->nodes - 1; i++)
        options.second_site |= 1u << i;
    options.exact = seed % 2 == 0;
    if (seed % 3 == 0) { /* snapshots all the time */
        options.snapshot_threshold = 20;
        options.snapshot_trailing = 5;
    }
    struct world *world = world_create(&options);
    uint64_t end = search->seconds * 1000;
    struct run run = {.heal_at_ms = end > 60000 ? end - 30000 : end / 2};
    world->loss = world_chance(world, 0.5) ? 0 : 0.02;
    world->options.split = world_chance(world, 0.5);
    world_at(world, 10, client, &run);
    world_at(world, 2000, fault, &run);
    world_run(world, end);
    check_agreement(world);

    uint64_t trace = world->trace;
    totals->acknowledged += world->checkers.acknowledged_count;
    totals->elections += world->elections;
    totals->witness_elections += world->witness_elections;
    totals->events += world->events;
    totals->crashes += run.crashes;
    totals->changes += world->changes;
    totals->losses += run.losses;
    totals->sync_commits += world->sync_commits;
    totals->degraded_commits += world->degraded_commits;
    for (unsigned i = 0; i < search->nodes; i++)
        totals->snapshots += world->nodes[i].snapshots_received;
    if (world->checkers.violation_count > 0) {
        totals->bad_seeds++;
        printf("seed %" PRIu64 ": %" PRIu64 " violations; first: %s\n", seed,
               world->checkers.violation_count, world->checkers.first);
    }
    world_destroy(world);
    return trace;
}

static uint64_t number(const char *text)
{
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0') {
        fprintf(stderr, "raft_search: not a number: %s\n", text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"seeds", 1, NULL, 's'},   {"from", 1, NULL, 'f'},  {"seconds", 1, NULL, 't'},
        {"nodes", 1, NULL, 'n'},   {"off", 1, NULL, 'o'},   {"voters", 1, NULL, 'v'},
        {"witness", 0, NULL, 'w'}, {"sites", 0, NULL, 'S'}, {NULL, 0, NULL, 0}};
    struct search search = {.nodes = 3, .seconds = 60, .parts = RAFT_GUARD_ALL};
    uint64_t from = 1, seeds = 20;
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (option == '?')
            return 2;
        if (option == 'w') {
            search.witness = true;
            continue;
        }
        if (option == 'S') {
            search.sites = true;
            continue;
        }
        uint64_t value = number(optarg);
        if (option == 's')
            seeds = value;
        else if (option == 'f')
            from = value;
        else if (option == 't')
            search.seconds = value;
        else if (option == 'n')
            search.nodes = (unsigned)value;
        else if (option == 'v')
            search.voters = (unsigned)value;
        else
            search.parts &= ~RAFT_GUARD_PART(value & 63);
    }
    if (search.voters == 0)
        search.voters = search.nodes;
    if (search.nodes < 3 || search.nodes > WORLD_NODES_MAX || search.voters > search.nodes ||
        search.seconds < 10 || seeds == 0) {
        fprintf(stderr,
                "raft_search: 3 to %d nodes, 1 to all of them voters, at least 10 seconds and one "
                "seed\n",
                WORLD_NODES_MAX);
        return 2;
    }
    printf("raft_search: seeds %" PRIu64 " to %" PRIu64 ", %" PRIu64
           " virtual seconds, %u nodes%s, %u voters at first, parts %#" PRIx64 "\n",
           from, from + seeds - 1, search.seconds, search.nodes,
           search.witness ? " with a witness" : "", search.voters, search.parts);

    struct totals totals = {0}, again = {0};
    struct timespec begin, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin);
    uint64_t first_trace = 0;
    for (uint64_t i = 0; i < seeds; i++) {
        uint64_t trace = run_seed(&search, from + i, &totals);
        if (i == 0)
            first_trace = trace;
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    double cpu = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;

    bool repeats = run_seed(&search, from, &again) == first_trace;
    printf("acknowledged %" PRIu64 ", elections %" PRIu64 " (of a witness %" PRIu64
           "), crashes %" PRIu64 ", snapshots sent %" PRIu64 ", changes of members %" PRIu64
           ", events %" PRIu64 "\n",
           totals.acknowledged, totals.elections, totals.witness_elections, totals.crashes,
           totals.snapshots, totals.changes, totals.events);
    if (search.sites)
        printf("sites lost %" PRIu64 ", commits under SYNC %" PRIu64 ", degraded %" PRIu64 "\n",
               totals.losses, totals.sync_commits, totals.degraded_commits);
    printf("%.0f virtual seconds per CPU second; trace of seed %" PRIu64 ": %016" PRIx64 ", %s\n",
           (double)(seeds * search.seconds) / cpu, from, first_trace,
           repeats ? "and the same again" : "and ANOTHER the second time");
    bool busy = totals.acknowledged > 0 && totals.elections >= seeds &&
                (!search.sites || (totals.sync_commits > 0 && totals.degraded_commits > 0));
    if (!busy)
        printf("nothing happened: no acknowledgement, or a cluster without a leader\n");
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", seeds - totals.bad_seeds, totals.bad_seeds);
    return totals.bad_seeds == 0 && repeats && busy ? 0 : 1;
}
