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

static bool is_released(void *context)
{
    return strcmp(view_of(leader_node()).durability.committed.released_site, context) == 0;
}

static uint64_t watermark(uint64_t id)
{
    struct consensus_status status;
    consensus_status(cluster_pump(&cluster, id)->node->consensus, &status);
    return status.watermark_index;
}

static bool watermark_is_commit(void *context)
{
    const uint64_t *pair = context;
    return watermark(pair[0]) >= pair[1];
}

/* The witness keeps for a lost site what it lacks, up to a bound on bytes. Above it the log says
 * that the site is released: the witness may forget. When the site has caught up and is counted on
 * again, the word is taken back. */
Test(node_degraded, a_site_that_lacks_too_much_is_released)
{
    set_up(3);
    transfer(1000, 10);
    const uint64_t other = lose_the_other_site();
    char site[] = "A";
    site[0] = other == 1 ? 'A' : 'B';
    struct consensus_status lost;
    consensus_status(leader_node()->consensus, &lost);
    leader_node()->options.release_bytes = 200000;
    for (uint64_t i = 0; i < 10; i++)
        transfer(2000 + 100 * i, 100); /* 12.8 kB each */
    cluster_turn_ms(&cluster, 1000);
    cr_assert_str_empty(view_of(leader_node()).durability.newest.released_site);
    cr_assert_leq(watermark(3), lost.commit_index, "kept for the site that is away");
    for (uint64_t i = 10; i < 20; i++)
        transfer(2000 + 100 * i, 100);
    cr_assert(cluster_until(&cluster, is_released, site));
    struct consensus_durability now = view_of(leader_node()).durability;
    cr_assert_eq(now.committed.kind, DURABILITY_RELEASE);
    cr_assert(now.committed.automatic);
    cr_assert(strstr(now.committed.why, "release_bytes") != NULL, "%s", now.committed.why);
    const uint64_t number = now.committed.number;
    uint64_t forgotten[] = {3, now.committed_index};
    cr_assert(cluster_until(&cluster, watermark_is_commit, forgotten));

    transfer(5000, 100);
    cluster_turn_ms(&cluster, 1000);
    cr_assert_eq(view_of(leader_node()).durability.newest.number, number, "said once");
    /* Nothing is kept for it any more, and it lacks what it lacked, and more. */
    struct rpo_report report;
    bool told = false;
    node_rpo(leader_node(), &report);
    for (uint32_t i = 0; i < report.site_count; i++) {
        const struct rpo_site *at = &report.sites[i];
        if (strcmp(at->site, site) != 0)
            continue;
        told = true;
        cr_assert((at->flags & RPO_KNOWN) == 0 || at->entries > 20, "%lu", at->entries);
        cr_assert((at->flags & RPO_AMOUNTS) == 0 || at->bytes > 200000, "%lu", at->bytes);
    }
    cr_assert(told);
    cluster_start(&cluster, other);
    char none[] = "";
    cr_assert(cluster_until(&cluster, is_released, none));
    cr_assert_eq(view_of(leader_node()).durability.committed.mode, DURABILITY_SYNC);
    cluster_converge(&cluster);
    cluster_deinit(&cluster);
}
