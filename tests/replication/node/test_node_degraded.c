/*
 * A whole cluster of nodes that runs with one site alone: how long and for how much is counted, and
 * a bound of the policy stops it. Node 1 is at site A, 2 at B, 3 is the witness.
 */
#include "replication/node/node_internal.h"
#include "tests/replication/cluster_client.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(node_degraded, .timeout = 240);

static struct node *leader_node(void)
{
    return cluster_pump(&cluster, cluster_settle_majority(&cluster))->node;
}

static struct node_cluster view_of(const struct node *node)
{
    static struct node_cluster view;
    node_cluster(node, &view);
    return view;
}

static bool policy_is_committed(void *context)
{
    return view_of(leader_node()).durability.committed.number >= *(uint64_t *)context;
}

static void set_policy(uint32_t seconds, uint64_t value, enum durability_on_bound on_bound)
{
    struct node *node = leader_node();
    struct consensus_durability now;
    consensus_durability(node->consensus, &now);
    struct consensus_durability_change change = {.kind = DURABILITY_POLICY,
                                                 .number = now.newest.number,
                                                 .policy = now.newest.policy,
                                                 .who = "urn:operator:ada",
                                                 .why = "bounds"};
    change.policy.degraded_seconds_max = seconds;
    change.policy.degraded_value_max = value;
    change.policy.on_bound = on_bound;
    uint64_t number;
    char text[CONSENSUS_DURABILITY_TEXT_SIZE];
    cr_assert_eq(consensus_durability_propose(node->consensus, &change, &number, text), STATUS_OK,
                 "%s", text);
    cr_assert(cluster_until(&cluster, policy_is_committed, &number));
}

static bool is_degraded(void *context)
{
    (void)context;
    return view_of(leader_node()).degraded.degraded;
}

static bool bound_is_reached(void *context)
{
    return view_of(leader_node()).degraded_bound == *(enum durability_bound *)context;
}

/* The other data node dies. */
static uint64_t lose_the_other_site(void)
{
    const uint64_t other = cluster_follower(&cluster);
    cluster_kill(&cluster, other);
    cr_assert(cluster_until(&cluster, is_degraded, NULL));
    return other;
}

static void transfer(uint64_t first_id, uint32_t count)
{
    struct test_request *request = request_transfers(first_id, count);
    run_well_at(cluster_settle_majority(&cluster), request);
    request_destroy(request);
}

/* Nothing is counted while both sites are there. With one alone each transfer counts, in the ledger
 * where it is; at the bound writes are refused with the reason; when the site is back it is over.
 */
Test(node_degraded, a_bound_on_value_refuses_until_the_site_is_back)
{
    set_up(3);
    set_policy(0, 100, DURABILITY_REFUSE);
    transfer(1000, 50);
    cr_assert_not(view_of(leader_node()).degraded.degraded);
    const uint64_t other = lose_the_other_site();
    transfer(2000, 10);
    cluster_turn_ms(&cluster, 200);
    struct node_cluster view = view_of(leader_node());
    const uint64_t value = view.degraded.value_low;
    cr_assert_eq(view.degraded.ledger, TEST_LEDGER);
    cr_assert_gt(value, 0);
    cr_assert_eq(view.degraded_bound, DURABILITY_WITHIN, "%lu of 100", value);
    for (uint64_t i = 1; view.degraded_bound == DURABILITY_WITHIN && i < 100; i++) {
        transfer(2000 + 10 * i, 10);
        cluster_turn_ms(&cluster, 200);
        view = view_of(leader_node());
    }
    cr_assert_eq(view.degraded_bound, DURABILITY_BOUND_REFUSES);
    cr_assert_geq(view.degraded.value_low, 100);
    cr_assert(strstr(view.write_refusal, "minor units") != NULL, "%s", view.write_refusal);
    struct test_request *request = request_transfers(9000, 1);
    cr_assert_eq(node_propose(leader_node(), &request->node), STATUS_READ_ONLY);
    request_destroy(request);
    cluster_start(&cluster, other);
    enum durability_bound within = DURABILITY_WITHIN;
    cr_assert(cluster_until(&cluster, bound_is_reached, &within));
    cluster_settle(&cluster);
    cr_assert_not(view_of(leader_node()).degraded.degraded);
    transfer(9100, 1);
    cluster_converge(&cluster);
    cluster_deinit(&cluster);
}

/* A bound on time, with a policy that goes on: told, not refused; by a leader that restarted since
 * as well. */
Test(node_degraded, a_bound_on_time_is_told)
{
    set_up(3);
    set_policy(5, 0, DURABILITY_ALARM);
    (void)lose_the_other_site();
    cr_assert_eq(view_of(leader_node()).degraded_bound, DURABILITY_WITHIN);
    enum durability_bound told = DURABILITY_BOUND_TOLD;
    cr_assert(cluster_until(&cluster, bound_is_reached, &told));
    cr_assert_str_empty(view_of(leader_node()).write_refusal);
    transfer(1000, 10);
    const uint64_t leader = cluster_leader(&cluster);
    cluster_kill(&cluster, leader);
    cluster_start(&cluster, leader);
    cr_assert(cluster_until(&cluster, bound_is_reached, &told));
    cluster_deinit(&cluster);
}
