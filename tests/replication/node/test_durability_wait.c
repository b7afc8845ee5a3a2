/* Requests that ask for both sites: done when both are there, refused while one is missing, and
 * when the cluster degrades between proposal and commit the answer waits for the truth. */
#include "replication/node/durability_wait.h"
#include "replication/node/node_internal.h"
#include "tests/replication/cluster_client.h"

#include <criterion/criterion.h>

TestSuite(durability_wait, .timeout = 240);

/* ---- the list ---- */

struct waiting {
    struct node_both_wait wait; /* first */
    uint32_t called;
    bool on_both;
};

static void called(struct node_both_wait *wait, bool on_both)
{
    struct waiting *waiting = (struct waiting *)wait;
    waiting->called++;
    waiting->on_both = on_both;
}

/* Each is called back once: when its index is there, or its time is up, or at the end. */
Test(durability_wait, ends_by_index_by_deadline_or_by_the_end)
{
    struct durability_waits waits;
    struct waiting rows[4] = {{.wait = {.index = 5, .deadline_ns = 100, .cb = called}},
                              {.wait = {.index = 9, .deadline_ns = 50, .cb = called}},
                              {.wait = {.index = 7, .deadline_ns = 200, .cb = called}},
                              {.wait = {.index = 20, .deadline_ns = 300, .cb = called}}};
    durability_waits_init(&waits);
    cr_assert_eq(waits.next_deadline_ns, UINT64_MAX);
    for (int i = 0; i < 4; i++)
        durability_waits_add(&waits, &rows[i].wait);
    cr_assert_eq(waits.next_deadline_ns, 50);
    durability_waits_process(&waits, 4, 49);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(rows[i].called, 0);
    durability_waits_process(&waits, 7, 50);
    cr_assert(rows[0].called == 1 && rows[0].on_both);
    cr_assert(rows[1].called == 1 && !rows[1].on_both);
    cr_assert(rows[2].called == 1 && rows[2].on_both);
    cr_assert_eq(rows[3].called, 0);
    cr_assert_eq(waits.next_deadline_ns, 300);
    durability_waits_end(&waits);
    cr_assert(rows[3].called == 1 && !rows[3].on_both);
    cr_assert_null(waits.first);
    cr_assert_eq(waits.next_deadline_ns, UINT64_MAX);
}

/* ---- in a cluster ---- */

struct asked {
    struct test_request *request;
    enum node_durability durability; /* in the callback */
};

static struct asked the_asked;
static struct pump *the_pump;
static node_request_cb the_cb;

static void note_durability(struct node_request *node, enum status status,
                            const struct answer *answer)
{
    if (status == STATUS_OK)
        the_asked.durability = node_durability(the_pump->node, node, answer->index);
    the_cb(node, status, answer);
}

/* Proposes at `id` a request that asks for both sites, or does not. */
static enum status propose(uint64_t id, uint64_t first, bool both)
{
    the_pump = cluster_pump(&cluster, id);
    the_asked = (struct asked){.request = request_transfers(first, 5), .durability = NODE_MAJORITY};
    the_asked.request->node.both_sites = both;
    enum status status = request_propose(the_pump, the_asked.request);
    if (status != STATUS_OK)
        return status;
    the_cb = the_asked.request->node.cb;
    the_asked.request->node.cb = note_durability;
    return STATUS_OK;
}

static enum status run(uint64_t id, uint64_t first, bool both)
{
    enum status status = propose(id, first, both);
    if (status == STATUS_OK) {
        cr_assert(cluster_until(&cluster, request_is_done, the_asked.request));
        status = the_asked.request->status;
    }
    request_destroy(the_asked.request);
    return status;
}

static struct consensus_status consensus_of(uint64_t id)
{
    struct node_cluster view;
    node_cluster(cluster_pump(&cluster, id)->node, &view);
    return view.consensus;
}

static uint64_t at_site(const char *site, uint64_t except)
{
    for (uint64_t id = 1; id <= cluster.count; id++)
        if (id != except && cluster_pump(&cluster, id)->node != NULL &&
            strcmp(pump_status(cluster_pump(&cluster, id)).site, site) == 0)
            return id;
    return 0;
}

static bool is_degraded(void *context)
{
    uint64_t leader = cluster_leader(&cluster);
    (void)context;
    return leader != 0 && consensus_of(leader).mode == DURABILITY_DEGRADED &&
           consensus_of(leader).both_index < consensus_of(leader).commit_index;
}

static bool is_sync(void *context)
{
    uint64_t leader = cluster_leader(&cluster);
    (void)context;
    return leader != 0 && consensus_of(leader).mode == DURABILITY_SYNC;
}

static void seen_both(struct node_both_wait *wait, bool on_both)
{
    called(wait, on_both);
}

/* SYNC: an answer at the leader and at a follower says both sites. The other site is lost: a
 * request that asks for both is refused at the leader and at a follower, any other is answered, as
 * degraded; a wait for its index ends well when the site has come back. */
Test(durability_wait, what_is_asked_is_measured)
{
    set_up(5);
    uint64_t leader = cluster_leader(&cluster);
    const char *site = pump_status(cluster_pump(&cluster, leader)).site;
    char own[MEMBER_SITE_SIZE_MAX + 1];
    strcpy(own, site);
    const char *away = strcmp(own, "A") == 0 ? "B" : "A";
    uint64_t near = at_site(own, leader), far = at_site(away, leader);
    cluster_turn_ms(&cluster, 500);
    cr_assert(consensus_of(leader).site_rule);
    uint64_t nodes[] = {leader, near, far};
    for (uint64_t i = 0; i < 3; i++)
        for (int both = 0; both < 2; both++) {
            cr_assert_eq(run(nodes[i], 100 + 20 * i + 10 * (uint64_t)both, both), STATUS_OK);
            cr_assert_eq(the_asked.durability, NODE_BOTH_SITES, "at %lu", nodes[i]);
        }
    uint64_t lost[2] = {far, at_site(away, far)};
    for (int i = 0; i < 2; i++)
        cluster_kill(&cluster, lost[i]);
    /* Proposed under SYNC, committed by the degrade entry. */
    cr_assert_eq(propose(leader, 300, true), STATUS_OK);
    struct test_request *between = the_asked.request;
    cr_assert(cluster_until(&cluster, request_is_done, between));
    cr_assert_eq(between->status, STATUS_OK);
    cr_assert_eq(the_asked.durability, NODE_DEGRADED);
    cr_assert(cluster_until(&cluster, is_degraded, NULL));
    leader = cluster_leader(&cluster);
    near = at_site(own, leader);
    cr_assert_eq(run(leader, 400, true), STATUS_DEGRADED);
    cluster_turn_ms(&cluster, 200);
    cr_assert_eq(run(near, 410, true), STATUS_DEGRADED);
    cr_assert_eq(run(leader, 420, false), STATUS_OK);
    cr_assert_eq(the_asked.durability, NODE_DEGRADED);
    cr_assert_eq(run(near, 430, false), STATUS_OK);
    cr_assert_eq(the_asked.durability, NODE_DEGRADED);

    struct waiting patient = {.wait = {.index = between->answer.index,
                                       .deadline_ns = (cluster.now_ms + 60000) * 1000000,
                                       .cb = seen_both}};
    struct waiting hasty = {.wait = {.index = between->answer.index,
                                     .deadline_ns = (cluster.now_ms + 100) * 1000000,
                                     .cb = seen_both}};
    node_wait_both(cluster_pump(&cluster, leader)->node, &patient.wait);
    node_wait_both(cluster_pump(&cluster, leader)->node, &hasty.wait);
    cluster_turn_ms(&cluster, 300);
    cr_assert(hasty.called == 1 && !hasty.on_both);
    cr_assert_eq(patient.called, 0);
    for (int i = 0; i < 2; i++)
        cluster_start(&cluster, lost[i]);
    cr_assert(cluster_until(&cluster, is_sync, NULL));
    cluster_turn_ms(&cluster, 500);
    cr_assert(patient.called == 1 && patient.on_both);
    cr_assert_eq(run(leader, 500, true), STATUS_OK);
    cr_assert_eq(the_asked.durability, NODE_BOTH_SITES);
    request_destroy(between);
    cluster_deinit(&cluster);
}

/* A node that changes over to a copy measures nothing, and may take a while until its disk has
 * finished: who waits is answered in time all the same, and who has time waits on. */
Test(durability_wait, the_deadline_holds_while_a_node_changes_over_to_a_copy)
{
    set_up(3);
    struct pump *pump = cluster_pump(&cluster, cluster_follower(&cluster));
    struct waiting late = {.wait = {.index = UINT64_MAX, .deadline_ns = 1, .cb = called}};
    struct waiting patient = {.wait = {.index = 1, .deadline_ns = UINT64_MAX, .cb = called}};
    node_begin_reinstall(pump->node);
    cr_assert_eq(pump_status(pump).phase, NODE_REINSTALLING);
    node_wait_both(pump->node, &late.wait);
    node_wait_both(pump->node, &patient.wait);
    node_process(pump->node);
    cr_assert_eq(late.called, 1);
    cr_assert_not(late.on_both);
    (void)cluster_settle(&cluster);
    cluster_converge(&cluster);
    for (int ms = 0; ms < 5000 && patient.called == 0; ms++)
        cluster_turn(&cluster);
    cr_assert_eq(patient.called, 1);
    cr_assert(patient.on_both, "measured again");
    cluster_deinit(&cluster);
}
