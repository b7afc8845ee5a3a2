/* Three nodes in one process: whoever is asked, the answer is the cluster's; whoever dies, nobody
 * is told anything false and nobody waits for ever. */
#include "replication/node/forward_message.h"
#include "replication/node/node_internal.h"
#include "tests/replication/cluster_client.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(node_cluster, .timeout = 240);

#define NS_PER_MS 1000000ull

/* ---- the way of a request ---- */

/* The same requests asked at the leader, at a follower, and repeated at the other: one answer each,
 * refusals included, and all nodes have one state. */
Test(node_cluster, a_write_at_a_follower_is_answered_as_at_the_leader)
{
    set_up(3);
    uint64_t leader = cluster_leader(&cluster), follower = cluster_follower(&cluster);
    for (uint64_t i = 0; i < 6; i++) {
        struct test_request *request = request_transfers(i * 100, 40);
        struct transfer_event *events = request_events(request);
        events[3].amount_low = 0;
        events[9].ledger = TEST_LEDGER + 1;
        request_finish(request, PRINCIPAL_APP);
        run_well_at(i % 2 == 0 ? follower : leader, request);
        cr_assert_not(request->answer.repeated);
        cr_assert_eq(request->answer.event_count, 40);
        cr_assert_eq(request->results[0], RESULT_OK);
        cr_assert_eq(request->results[3], RESULT_AMOUNT_ZERO);
        struct test_request *again = request_copy(request);
        run_well_at(i % 2 == 0 ? leader : follower, again);
        cr_assert(again->answer.repeated);
        assert_same_answer(request, again);
        request_destroy(request);
        request_destroy(again);
    }
    struct node_cluster view;
    node_cluster(cluster_pump(&cluster, follower)->node, &view);
    cr_assert_geq(view.forwarded_total, 6);
    cr_assert_eq(view.peer_count, 3);
    cr_assert_str_eq(view.rule, "site");
    cr_assert_str_empty(view.write_refusal);
    cr_assert_eq(view.durability.site_count, 3);
    for (uint32_t i = 0; i < 3; i++)
        cr_assert(view.durability.sites[i].survives_loss, "%s", view.durability.sites[i].name);
    cluster_converge(&cluster);
    cluster_deinit(&cluster);
}

/* A full batch, 1 MiB of request, through the follower. */
Test(node_cluster, a_batch_of_8190_transfers_is_forwarded_whole)
{
    set_up(3);
    struct test_request *request = request_transfers(0, REQUEST_EVENTS_MAX);
    run_well_at(cluster_follower(&cluster), request);
    cr_assert_eq(request->answer.event_count, REQUEST_EVENTS_MAX);
    for (uint32_t i = 0; i < REQUEST_EVENTS_MAX; i++)
        cr_assert_eq(request->results[i], RESULT_OK, "event %u", i);
    request_destroy(request);
    cluster_converge(&cluster);
    cluster_deinit(&cluster);
}

/* ---- who may forward ---- */

struct stranger {
    enum forward_status status;
    bool linked, answered;
};

static void stranger_message(void *context, uint64_t from, enum transport_lane lane,
                             const void *bytes, size_t size)
{
    (void)from;
    struct stranger *stranger = context;
    static uint8_t results[REQUEST_EVENTS_MAX];
    uint64_t sequence;
    struct answer answer;
    if (lane != TRANSPORT_CALLS || forward_result_decode(bytes, size, &sequence, &stranger->status,
                                                         &answer, results) != STATUS_OK)
        return;
    cr_assert_eq(sequence, 4711);
    stranger->answered = true;
}

static void stranger_link(void *context, uint64_t peer, enum transport_lane lane, bool up)
{
    (void)peer, (void)lane;
    ((struct stranger *)context)->linked = up;
}

static void stranger_writable(void *context, uint64_t peer, enum transport_lane lane)
{
    (void)context, (void)peer, (void)lane;
}

/* A node with a good certificate that is no member (removed, say) is let in by the transport. It
 * sends a good request for somebody's principal: refused, and nothing is executed. */
Test(node_cluster, a_request_from_a_node_that_is_no_member_is_refused)
{
    set_up(3);
    uint64_t leader = cluster_leader(&cluster);
    struct pump *pump = cluster_pump(&cluster, leader);
    struct node_status status = pump_status(pump);
    struct transport *transport = loopback_transport(&cluster.net, 8);
    struct transport_self self = {.node_id = 8};
    memcpy(self.cluster_id, status.cluster_id, sizeof self.cluster_id);
    struct stranger stranger = {0};
    const struct transport_sink sink = {.context = &stranger,
                                        .message = stranger_message,
                                        .link = stranger_link,
                                        .writable = stranger_writable};
    cr_assert_eq(transport_start(transport, &self, &sink), STATUS_OK);
    cluster_turn_ms(&cluster, 2);
    cr_assert(stranger.linked);
    struct test_request *request = request_transfers(0, 1);
    const struct forward_head head = {
        .message = {.type = MESSAGE_FORWARD, .size = (uint32_t)sizeof head + request->header->size},
        .sequence = 4711,
        .term = status.term,
        .remaining_ms = 1000,
    };
    const struct transport_part parts[] = {{&head, sizeof head},
                                           {request->header, request->header->size}};
    cr_assert_eq(transport_send(transport, leader, TRANSPORT_CALLS, parts, 2), STATUS_OK);
    cluster_turn_ms(&cluster, 100);
    cr_assert(stranger.answered);
    cr_assert_eq(stranger.status, FORWARD_NOT_LEADER);
    cr_assert_eq(read_at(leader).transfers, 0);
    request_destroy(request);
    transport_stop(transport);
    cluster_deinit(&cluster);
}

/* A witness holds no ledger and takes nothing, and says so. */
Test(node_cluster, a_witness_serves_no_client)
{
    set_up(3);
    struct pump *witness = cluster_pump(&cluster, 3);
    cr_assert_eq(pump_status(witness).kind, MEMBER_WITNESS);
    cr_assert_eq(pump_status(witness).phase, NODE_SERVING);
    cr_assert_null(node_machine(witness->node));
    struct test_request *request = request_transfers(0, 1);
    cr_assert_eq(request_propose(witness, request), STATUS_NOT_READY);
    request_destroy(request);
    struct node_read read = {.cb = seen_read_cb};
    cr_assert_eq(node_read(witness->node, &read), STATUS_NOT_READY);
    struct node_cluster view;
    node_cluster(witness->node, &view);
    cr_assert_not_null(strstr(view.write_refusal, "witness"), "%s", view.write_refusal);
    struct node_error error;
    uint64_t leader = cluster_leader(&cluster);
    cr_assert_eq(node_transfer_leadership(cluster_pump(&cluster, leader)->node, 3, &error),
                 STATUS_INVALID);
    cr_assert_not_null(strstr(error.text, "witness"), "%s", error.text);
    cluster_deinit(&cluster);
}

/* ---- reads ---- */

/* Whatever was answered anywhere before a read began is seen by it, at the follower. */
Test(node_cluster, a_read_at_a_follower_sees_every_answered_write)
{
    set_up(3);
    uint64_t leader = cluster_leader(&cluster), follower = cluster_follower(&cluster);
    for (uint64_t i = 1; i <= 10; i++) {
        struct test_request *request = request_transfers(i * 10, 10);
        run_well_at(i % 2 == 0 ? follower : leader, request);
        struct seen_read read = read_at(follower);
        cr_assert_eq(read.status, STATUS_OK);
        cr_assert_eq(read.transfers, i * 10);
        request_destroy(request);
    }
    cluster_deinit(&cluster);
}

static bool is_leading(void *context)
{
    struct pump *pump = context;
    return pump->node->may_propose;
}

/* The old leader is cut off and does not know it yet: a linearizable read there waits instead of
 * being answered from a past state, and is refused in the end; in the majority another one is
 * answered. A read that accepts an age is answered as long as that is true, and not after. */
Test(node_cluster, a_leader_that_was_cut_off_answers_no_read_from_the_past)
{
    set_up(3);
    uint64_t leader = cluster_leader(&cluster), other = cluster_follower(&cluster);
    (void)read_at(leader);
    loopback_isolate(&cluster.net, leader, true);
    struct seen_read stale, aged;
    begin_read(&stale, leader, 0);
    begin_read(&aged, leader, 100);
    cluster_turn_ms(&cluster, 3);
    cr_assert(aged.done);
    cr_assert_eq(aged.status, STATUS_OK);
    cr_assert_not(stale.done);
    cr_assert(cluster_until(&cluster, is_leading, cluster_pump(&cluster, other)));
    struct test_request *request = request_transfers(0, 10);
    run_well_at(other, request);
    request_destroy(request);
    begin_read(&aged, leader, 100);
    cluster_turn_ms(&cluster, 10);
    cr_assert_not(aged.done, "what is here is older than that");
    cr_assert(cluster_until(&cluster, read_is_done, &stale));
    cr_assert_eq(stale.status, STATUS_NOT_READY, "%s", status_text(stale.status));
    cr_assert(cluster_until(&cluster, read_is_done, &aged));
    cr_assert_eq(aged.status, STATUS_NOT_READY);
    loopback_isolate(&cluster.net, leader, false);
    (void)cluster_settle(&cluster);
    cr_assert_eq(read_at(leader).transfers, 10);
    cluster_converge(&cluster);
    cluster_deinit(&cluster);
}

/* A read in flight when leadership moves is answered by the next leader. */
Test(node_cluster, a_read_outlives_its_leader)
{
    set_up(3);
    uint64_t leader = cluster_leader(&cluster), follower = cluster_follower(&cluster);
    struct seen_read read;
    begin_read(&read, follower, 0);
    cluster_kill(&cluster, leader);
    cr_assert(cluster_until(&cluster, read_is_done, &read));
    cr_assert_eq(read.status, STATUS_OK, "%s", status_text(read.status));
    cluster_start(&cluster, leader);
    (void)cluster_settle(&cluster);
    cluster_deinit(&cluster);
}

/* ---- losing the leader ---- */

enum { IN_FLIGHT = 24 };

/* The leader dies with requests of both nodes in every stage. Those asked at the dead node are
 * unknown, or were answered; those asked at the other are answered by the next leader. A repeat of
 * each tells the truth, once and for all: an answer that was given is given again. */
Test(node_cluster, requests_in_flight_at_a_leader_that_dies_end_with_the_truth)
{
    set_up(3);
    for (uint64_t round = 0; round < 6; round++) {
        uint64_t leader = cluster_settle(&cluster), follower = cluster_follower(&cluster);
        struct test_request *requests[IN_FLIGHT];
        for (uint64_t i = 0; i < IN_FLIGHT; i++) {
            requests[i] = request_transfers((round * IN_FLIGHT + i) * 100, 20);
            uint64_t at = i % 2 == 0 ? leader : follower;
            cr_assert_eq(request_propose(cluster_pump(&cluster, at), requests[i]), STATUS_OK);
            if (i % 4 == 3)
                cluster_turn_ms(&cluster, 1);
        }
        cluster_turn_ms(&cluster, round);
        cluster_kill(&cluster, leader);
        for (uint64_t i = 0; i < IN_FLIGHT; i++) {
            cr_assert(cluster_until(&cluster, request_is_done, requests[i]), "%lu hangs", i);
            if (i % 2 == 1)
                cr_assert_eq(requests[i]->status, STATUS_OK, "%lu at the living node: %s", i,
                             status_text(requests[i]->status));
            else
                cr_assert(requests[i]->status == STATUS_OK ||
                              requests[i]->status == STATUS_UNKNOWN_OUTCOME ||
                              requests[i]->status == STATUS_STOPPING,
                          "%s", status_text(requests[i]->status));
        }
        cr_assert_eq(cluster_settle(&cluster), follower);
        for (uint64_t i = 0; i < IN_FLIGHT; i++) {
            struct test_request *again = request_copy(requests[i]);
            run_well_at(follower, again);
            if (requests[i]->status == STATUS_OK)
                assert_same_answer(requests[i], again);
            cr_assert_eq(again->results[0], RESULT_OK);
            request_destroy(again);
            request_destroy(requests[i]);
        }
        cluster_start(&cluster, leader);
        cluster_converge(&cluster);
    }
    (void)cluster_settle(&cluster);
    struct seen_read read = read_at(cluster_follower(&cluster));
    cr_assert_eq(read.transfers, 6 * IN_FLIGHT * 20, "each executed exactly once");
    cluster_deinit(&cluster);
}

/* Leadership is handed over under load, to and fro: every request is answered, whoever was asked.
 */
Test(node_cluster, a_transfer_of_leadership_under_load_loses_no_request)
{
    set_up(3);
    uint64_t number = 0;
    for (int round = 0; round < 4; round++) {
        uint64_t leader = cluster_settle(&cluster), follower = cluster_follower(&cluster);
        struct test_request *requests[IN_FLIGHT];
        for (uint64_t i = 0; i < IN_FLIGHT; i++, number++) {
            requests[i] = request_transfers(number * 100, 20);
            cr_assert_eq(
                request_propose(cluster_pump(&cluster, i % 2 ? leader : follower), requests[i]),
                STATUS_OK);
            if (i == IN_FLIGHT / 2) {
                struct node_error error;
                enum status status = node_transfer_leadership(cluster_pump(&cluster, leader)->node,
                                                              follower, &error);
                cr_assert_eq(status, STATUS_OK, "%s", error.text);
            }
            if (i % 3 == 0)
                cluster_turn_ms(&cluster, 1);
        }
        for (uint64_t i = 0; i < IN_FLIGHT; i++) {
            cr_assert(cluster_until(&cluster, request_is_done, requests[i]), "%lu hangs", i);
            cr_assert_eq(requests[i]->status, STATUS_OK, "%lu: %s", i,
                         status_text(requests[i]->status));
            request_destroy(requests[i]);
        }
        cr_assert_eq(cluster_settle(&cluster), follower);
    }
    cluster_converge(&cluster);
    cr_assert_eq(read_at(1).transfers, 4 * IN_FLIGHT * 20);
    cluster_deinit(&cluster);
}

/* No majority: a request that was never sent waits for as long as an election takes, and is refused
 * as "not ready"; one that comes later is refused at once, and whom the node misses is told; one
 * that the leader proposed is unknown at its deadline. Nobody waits longer. They are told the truth
 * by a repeat when the majority is back. */
Test(node_cluster, without_a_majority_every_request_ends_by_its_deadline)
{
    set_up(3);
    uint64_t leader = cluster_leader(&cluster), other = cluster_follower(&cluster);
    loopback_isolate(&cluster.net, 1, true);
    loopback_isolate(&cluster.net, 2, true);
    loopback_isolate(&cluster.net, 3, true);
    struct test_request *proposed = request_transfers(0, 10), *late = request_transfers(100, 10);
    struct test_request *once_more = request_copy(proposed);
    proposed->node.deadline_ns = cluster_pump(&cluster, leader)->monotonic_ns + 8000 * NS_PER_MS;
    cr_assert_eq(request_propose(cluster_pump(&cluster, leader), proposed), STATUS_OK);
    uint64_t begun = cluster.now_ms;
    cluster_turn_ms(&cluster, 300); /* the other one knows that its leader is gone */
    cr_assert_eq(request_propose(cluster_pump(&cluster, other), late), STATUS_OK);
    cr_assert(cluster_until(&cluster, request_is_done, late));
    cr_assert_eq(late->status, STATUS_NOT_READY, "%s", status_text(late->status));
    cr_assert_leq(cluster.now_ms - begun, 1000);
    cr_assert_eq(request_propose(cluster_pump(&cluster, other), once_more), STATUS_NOT_READY);
    char why[NODE_REFUSAL_SIZE];
    node_write_refusal(cluster_pump(&cluster, other)->node, why, sizeof why);
    cr_assert(strstr(why, "site W is not reached") != NULL, "%s", why);
    cr_assert(cluster_until(&cluster, request_is_done, proposed));
    cr_assert_eq(proposed->status, STATUS_UNKNOWN_OUTCOME, "%s", status_text(proposed->status));
    cr_assert_leq(cluster.now_ms * NS_PER_MS, proposed->node.deadline_ns + 20 * NS_PER_MS);
    for (uint64_t id = 1; id <= 3; id++)
        loopback_isolate(&cluster.net, id, false);
    (void)cluster_settle(&cluster);
    struct test_request *again = request_copy(proposed);
    run_well_at(1, again);
    run_well_at(2, once_more);
    assert_same_answer(again, once_more);
    cluster_converge(&cluster);
    cr_assert_eq(read_at(2).transfers, 10, "the refused one never took effect");
    request_destroy(proposed);
    request_destroy(late);
    request_destroy(again);
    request_destroy(once_more);
    cluster_deinit(&cluster);
}

/* A leader that is cut off proposes four entries; the others go on with fewer. Back among them, it
 * finds its entries gone, and sends their requests to the next leader at once instead of waiting
 * for those indexes to come. */
Test(node_cluster, what_a_cut_off_leader_proposed_is_answered_by_the_next)
{
    set_up(3);
    uint64_t leader = cluster_leader(&cluster), other = cluster_follower(&cluster);
    loopback_isolate(&cluster.net, leader, true);
    struct test_request *requests[4];
    for (uint64_t i = 0; i < 4; i++) {
        requests[i] = request_transfers(i * 100, 10);
        cr_assert_eq(request_propose(cluster_pump(&cluster, leader), requests[i]), STATUS_OK);
        cluster_turn_ms(&cluster, 2);
    }
    cr_assert_eq(pump_status(cluster_pump(&cluster, leader)).in_flight_entries, 4);
    cr_assert(cluster_until(&cluster, is_leading, cluster_pump(&cluster, other)));
    loopback_isolate(&cluster.net, leader, false);
    uint64_t begun = cluster.now_ms;
    for (uint64_t i = 0; i < 4; i++) {
        cr_assert(cluster_until(&cluster, request_is_done, requests[i]));
        cr_assert_eq(requests[i]->status, STATUS_OK, "%s", status_text(requests[i]->status));
        request_destroy(requests[i]);
    }
    cr_assert_lt(cluster.now_ms - begun, 2000);
    cluster_converge(&cluster);
    cr_assert_eq(read_at(other).transfers, 40);
    cluster_deinit(&cluster);
}

/* The way between follower and leader is cut, both still reach the witness: requests in flight at
 * the leader are not lost, and none is executed twice. */
Test(node_cluster, a_cut_between_the_sites_loses_and_doubles_nothing)
{
    set_up(3);
    uint64_t follower = cluster_follower(&cluster);
    struct test_request *requests[IN_FLIGHT];
    for (uint64_t i = 0; i < IN_FLIGHT; i++) {
        requests[i] = request_transfers(i * 100, 20);
        cr_assert_eq(request_propose(cluster_pump(&cluster, follower), requests[i]), STATUS_OK);
        if (i % 6 == 5) {
            cluster_turn_ms(&cluster, 2);
            loopback_cut(&cluster.net, 1, 2, i % 12 == 5);
        }
    }
    cluster_turn_ms(&cluster, 500);
    loopback_cut(&cluster.net, 1, 2, false);
    for (uint64_t i = 0; i < IN_FLIGHT; i++) {
        cr_assert(cluster_until(&cluster, request_is_done, requests[i]), "%lu hangs", i);
        cr_assert_eq(requests[i]->status, STATUS_OK, "%lu: %s", i,
                     status_text(requests[i]->status));
        cr_assert_eq(requests[i]->results[0], RESULT_OK);
        request_destroy(requests[i]);
    }
    (void)cluster_settle(&cluster);
    cluster_converge(&cluster);
    cr_assert_eq(read_at(1).transfers, IN_FLIGHT * 20);
    cluster_deinit(&cluster);
}

/* The leader's disk hangs with requests of both nodes in flight: another node leads soon, what was
 * asked at it is answered, also what the old leader had; the old one takes nothing new as long as
 * it hangs, and when the disk answers again it follows. */
Test(node_cluster, a_leader_whose_disk_hangs_is_left)
{
    set_up(3);
    uint64_t leader = cluster_leader(&cluster), other = cluster_follower(&cluster);
    struct pump *stuck = cluster_pump(&cluster, leader);
    stuck->hold_writer = true;
    struct test_request *requests[8];
    for (uint64_t i = 0; i < 8; i++) {
        requests[i] = request_transfers(i * 100, 10);
        cr_assert_eq(request_propose(cluster_pump(&cluster, i % 2 ? leader : other), requests[i]),
                     STATUS_OK);
        cluster_turn_ms(&cluster, 2);
    }
    uint64_t begun = cluster.now_ms;
    cr_assert(cluster_until(&cluster, is_leading, cluster_pump(&cluster, other)));
    cr_assert_lt(cluster.now_ms - begun, 3500);
    for (uint64_t i = 0; i < 8; i++) {
        cr_assert(cluster_until(&cluster, request_is_done, requests[i]), "%lu hangs", i);
        cr_assert_eq(requests[i]->status, STATUS_OK, "%lu: %s", i,
                     status_text(requests[i]->status));
        request_destroy(requests[i]);
    }
    stuck->hold_writer = false;
    if (pump_status(stuck).phase == NODE_FAILED) {
        pump_close(stuck);
        cluster_start(&cluster, leader);
    }
    (void)cluster_settle(&cluster);
    cluster_converge(&cluster);
    cr_assert_eq(read_at(other).transfers, 80);
    cluster_deinit(&cluster);
}

/* A node that stops in good order hands leadership over first: the next write needs no election. */
Test(node_cluster, a_leader_that_is_stopped_hands_over)
{
    set_up(3);
    uint64_t leader = cluster_leader(&cluster), follower = cluster_follower(&cluster);
    uint64_t term = pump_status(cluster_pump(&cluster, leader)).term;
    struct pump *pump = cluster_pump(&cluster, leader);
    node_drain(pump->node);
    for (int ms = 0; ms < 5000 && pump_status(pump).phase != NODE_STOPPED; ms++)
        cluster_turn(&cluster);
    cr_assert_eq(pump_status(pump).phase, NODE_STOPPED);
    pump_close(pump);
    cr_assert_eq(cluster_settle(&cluster), follower);
    cr_assert_eq(pump_status(cluster_pump(&cluster, follower)).term, term + 1, "one election");
    cluster_start(&cluster, leader);
    (void)cluster_settle(&cluster);
    cluster_deinit(&cluster);
}
