/* Clusters in one process: members that are brought copies and change over to them, the loss of a
 * whole site, a replica that differs. */
#include "replication/node/node_internal.h"
#include "tests/replication/cluster_client.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(node_copies, .timeout = 240);

enum { IN_FLIGHT = 24 };

/* ---- copies ---- */

/* Entries of a batch each, on `id`, until its store has been written `epochs` times more. */
static uint64_t fill_epochs(uint64_t id, uint64_t first, uint64_t epochs)
{
    struct pump *pump = cluster_pump(&cluster, id);
    uint64_t until = pump_event_count(pump, "checkpoint_done") + epochs;
    for (; pump_event_count(pump, "checkpoint_done") < until; first++) {
        struct test_request *request =
            request_transfers(first * REQUEST_EVENTS_MAX, REQUEST_EVENTS_MAX);
        run_well_at(id, request);
        request_destroy(request);
    }
    return first;
}

struct reopening {
    struct pump *pump;
    uint64_t before;
};

static bool has_reopened(void *context)
{
    const struct reopening *reopening = context;
    struct node_status status = pump_status(reopening->pump);
    return status.reopened_total > reopening->before && status.phase == NODE_SERVING;
}

/* The tail of the log in memory is short, and a follower is away for three epochs: what it needs is
 * only in the leader's files. It is brought a copy, opens it inside the same process, under load,
 * serves, and has the same state; requests that were asked of it meanwhile are answered. */
static void shorten_memory(bool journal_too)
{
    for (uint64_t other = 1; other <= cluster.count; other++) {
        struct pump *pump = cluster_pump(&cluster, other);
        if (journal_too)
            pump->options.journal_keep_entries = 1;
        pump->options.log_tail_bytes = 1u << 20;
        pump->options.log_bytes_max = 12u << 20;
    }
    /* The options count at the next start. */
    for (uint64_t other = 1; other <= cluster.count; other++) {
        cluster_kill(&cluster, other);
        cluster_start(&cluster, other);
        (void)cluster_settle(&cluster);
    }
}

static void copy_to_one_left_behind(uint64_t id)
{
    shorten_memory(true);
    uint64_t next = fill_epochs(cluster_leader(&cluster), 0, 2);
    cluster_kill(&cluster, id);
    next = fill_epochs(cluster_settle(&cluster), next, 3);
    cluster_start(&cluster, id);
    struct reopening reopening = {.pump = cluster_pump(&cluster, id)};
    for (int ms = 0; ms < 20000 && !has_reopened(&reopening); ms++) {
        cluster_turn(&cluster);
        if (ms % 50 != 0)
            continue;
        struct test_request *request = request_transfers((1ull << 40) + (uint64_t)ms, 1);
        run_at(cluster_settle_majority(&cluster), request); /* a slow machine may elect anew */
        request_destroy(request);
    }
    cr_assert(has_reopened(&reopening), "phase %d: %s", pump_status(reopening.pump).phase,
              pump_status(reopening.pump).error.text);
    cr_assert_geq(pump_event_count(reopening.pump, "node_reinstalling"), 1);
    (void)cluster_settle(&cluster);
    cluster_converge(&cluster);
}

Test(node_copies, a_follower_far_behind_is_brought_a_copy_and_opens_it)
{
    set_up(3);
    uint64_t id = cluster_follower(&cluster);
    copy_to_one_left_behind(id);
    struct test_request *request = request_transfers(1ull << 50, 10);
    run_well_at(id, request);
    request_destroy(request);
    cr_assert_eq(read_at(id).status, STATUS_OK);
    /* And what it has now is what it starts with. */
    cluster_kill(&cluster, id);
    cluster_start(&cluster, id);
    (void)cluster_settle(&cluster);
    cluster_converge(&cluster);
    cluster_deinit(&cluster);
}

/* The same for the witness: it needs the journal only, and forgets what both sites hold. */
Test(node_copies, a_witness_far_behind_is_brought_a_journal)
{
    set_up(3);
    copy_to_one_left_behind(3);
    struct node_status status = pump_status(cluster_pump(&cluster, 3));
    cr_assert_eq(status.kind, MEMBER_WITNESS);
    cr_assert_null(node_machine(cluster_pump(&cluster, 3)->node));
    (void)fill_epochs(cluster_leader(&cluster), 1000, 2);
    cluster_turn_ms(&cluster, 5000);
    status = pump_status(cluster_pump(&cluster, 3));
    cr_assert_gt(status.durable_index, 0);
    cr_assert_leq(status.journal.first_index, status.durable_index + 1);
    cr_assert_geq(status.journal.first_index, status.durable_index - 2, "pruned to the watermark");
    cluster_deinit(&cluster);
}

static bool changes_over(void *context)
{
    const struct reopening *reopening = context;
    return pump_event_count(reopening->pump, "node_reinstalling") > reopening->before;
}

static bool has_opened_copy(void *context)
{
    const struct reopening *reopening = context;
    return pump_status(reopening->pump).reopened_total > reopening->before;
}

/* A member that was away for as long, but the leader's journal reaches back to it: it takes the
 * entries behind its own, under load, and opens nothing again. */
static void feed_one_left_behind(uint64_t id)
{
    shorten_memory(false);
    uint64_t next = fill_epochs(cluster_leader(&cluster), 0, 2);
    cluster_kill(&cluster, id);
    (void)fill_epochs(cluster_settle(&cluster), next, 3);
    cluster_start(&cluster, id);
    struct pump *pump = cluster_pump(&cluster, id);
    const struct generation before = pump->node->generation;
    for (int ms = 0; ms < 20000 && pump_event_count(pump, "catch_up_done") == 0; ms++) {
        cluster_turn(&cluster);
        if (ms % 50 != 0)
            continue;
        struct test_request *request = request_transfers((1ull << 40) + (uint64_t)ms, 1);
        run_at(cluster_settle_majority(&cluster), request); /* a slow machine may elect anew */
        request_destroy(request);
    }
    cr_assert_geq(pump_event_count(pump, "catch_up_done"), 1);
    (void)cluster_settle(&cluster);
    cluster_converge(&cluster);
    cr_assert_eq(pump_status(pump).reopened_total, 0);
    cr_assert_eq(pump->node->generation.journal, before.journal);
    cr_assert_eq(pump->node->generation.store, before.store);
    cr_assert_eq(pump_event_count(pump, "catch_up_failed"), 0);
    /* And what it has now is what it starts with. */
    cluster_kill(&cluster, id);
    cluster_start(&cluster, id);
    (void)cluster_settle(&cluster);
    cluster_converge(&cluster);
}

Test(node_copies, a_follower_in_reach_of_the_journal_takes_entries_only)
{
    set_up(3);
    uint64_t id = cluster_follower(&cluster);
    feed_one_left_behind(id);
    cr_assert_eq(read_at(id).status, STATUS_OK);
    cluster_deinit(&cluster);
}

Test(node_copies, a_witness_in_reach_of_the_journal_takes_entries_only)
{
    set_up(3);
    feed_one_left_behind(3);
    cluster_deinit(&cluster);
}

/* A follower gets a copy of the store, and is cut off from everybody in the moment when it changes
 * over. It stands where the copy does, without having heard a leader. Meanwhile the others go on,
 * beyond what they have in memory: the follower takes what follows behind its copy, and opens
 * nothing again. */
Test(node_copies, a_copy_counts_without_a_leader_and_is_gone_on_from)
{
    set_up(3);
    shorten_memory(true);
    uint64_t id = cluster_follower(&cluster);
    uint64_t next = fill_epochs(cluster_leader(&cluster), 0, 2);
    cluster_kill(&cluster, id);
    next = fill_epochs(cluster_settle(&cluster), next, 3);
    for (int i = 0; i < 10; i++) { /* above the newest epoch */
        struct test_request *request = request_transfers((1ull << 40) + (uint64_t)i, 1);
        run_well_at(cluster_leader(&cluster), request);
        request_destroy(request);
    }
    cluster_start(&cluster, id);
    struct pump *pump = cluster_pump(&cluster, id);
    struct reopening reopening = {.pump = pump};
    cr_assert(cluster_until(&cluster, changes_over, &reopening));
    loopback_isolate(&cluster.net, id, true);
    cr_assert(cluster_until(&cluster, has_opened_copy, &reopening));
    const uint64_t loaded = pump->node->meta.index;
    struct node_status status = pump_status(pump);
    cluster_turn_ms(&cluster, 1000);
    status = pump_status(pump);
    cr_assert_geq(status.applied_index, loaded);
    cr_assert_eq(status.applied_index, status.journal.last_index);
    cr_assert_eq(pump->node->generation.committed_index, status.journal.last_index);

    const struct generation first = pump->node->generation;
    reopening.before = status.reopened_total;
    struct consensus_status leads = {0};
    for (int i = 0; i < 40 && leads.log_first_index <= status.journal.last_index + 1; i++) {
        next = fill_epochs(cluster_leader(&cluster), next, 1);
        consensus_status(cluster_pump(&cluster, cluster_leader(&cluster))->node->consensus, &leads);
    }
    cr_assert_gt(leads.log_first_index, status.journal.last_index + 1);
    loopback_isolate(&cluster.net, id, false);
    (void)cluster_settle(&cluster);
    cluster_converge(&cluster);
    cr_assert_eq(pump_status(pump).reopened_total, reopening.before);
    cr_assert_eq(pump->node->generation.journal, first.journal);
    cr_assert_eq(pump->node->generation.store, first.store);
    cluster_deinit(&cluster);
}

/* Requests that a node took before it changed over to a copy are answered after it. */
Test(node_copies, requests_outlive_the_change_over_to_a_copy)
{
    set_up(3);
    uint64_t id = cluster_follower(&cluster);
    struct pump *pump = cluster_pump(&cluster, id);
    struct test_request *requests[4];
    for (uint64_t i = 0; i < 4; i++) {
        requests[i] = request_transfers(i * 100, 10);
        cr_assert_eq(request_propose(pump, requests[i]), STATUS_OK);
        if (i == 1)
            cluster_turn_ms(&cluster, 1); /* the first two are on their way */
    }
    /* There is no copy: what is in use is left and opened again, which is all but the exchange. */
    node_begin_reinstall(pump->node);
    cr_assert_eq(pump_status(pump).phase, NODE_REINSTALLING);
    struct test_request *late = request_transfers(1000, 10);
    cr_assert_eq(request_propose(pump, late), STATUS_OK);
    struct node_read read = {.cb = seen_read_cb};
    cr_assert_eq(node_read(pump->node, &read), STATUS_NOT_READY);
    for (uint64_t i = 0; i < 4; i++) {
        cr_assert(cluster_until(&cluster, request_is_done, requests[i]));
        cr_assert_eq(requests[i]->status, STATUS_OK, "%s", status_text(requests[i]->status));
        request_destroy(requests[i]);
    }
    cr_assert(cluster_until(&cluster, request_is_done, late));
    cr_assert_eq(late->status, STATUS_OK);
    request_destroy(late);
    cr_assert_eq(pump_status(pump).reopened_total, 1);
    (void)cluster_settle(&cluster);
    cluster_converge(&cluster);
    cr_assert_eq(read_at(id).transfers, 50);
    cluster_deinit(&cluster);
}

/* ---- two sites and a witness ---- */

/* 2+2+1, and the leader's whole site dies: the other site goes on, with everything that was
 * answered; the survivors say that losing one more site would be the end; then the dead come back.
 */
Test(node_copies, the_loss_of_the_leader_s_site_is_survived)
{
    static const uint64_t data[] = {1, 2, 4, 5};
    set_up(5);
    uint64_t leader = cluster_leader(&cluster);
    struct test_request *requests[IN_FLIGHT];
    for (uint64_t i = 0; i < IN_FLIGHT; i++) {
        requests[i] = request_transfers(i * 100, 20);
        cr_assert_eq(request_propose(cluster_pump(&cluster, data[i % 4]), requests[i]), STATUS_OK);
        if (i % 5 == 0)
            cluster_turn_ms(&cluster, 1);
    }
    uint64_t first = leader == 1 || leader == 4 ? 1 : 2;
    cluster_kill(&cluster, first);
    cluster_kill(&cluster, first + 3);
    uint64_t next = cluster_settle(&cluster);
    cr_assert_neq(next, 3, "the witness hands over");
    uint64_t answered = 0;
    for (uint64_t i = 0; i < IN_FLIGHT; i++) {
        cr_assert(cluster_until(&cluster, request_is_done, requests[i]), "%lu hangs", i);
        if (data[i % 4] % 3 != first % 3)
            cr_assert_eq(requests[i]->status, STATUS_OK, "%s", status_text(requests[i]->status));
        if (requests[i]->status == STATUS_OK) {
            answered++;
            cr_assert(transfers_exist(cluster_pump(&cluster, next), i * 100, 20), "%lu is lost", i);
        }
        request_destroy(requests[i]);
    }
    cr_assert_geq(answered, IN_FLIGHT / 2);
    struct node_cluster view;
    node_cluster(cluster_pump(&cluster, next)->node, &view);
    for (uint32_t i = 0; i < view.durability.site_count; i++) {
        bool dead = view.durability.sites[i].name[0] == (first == 1 ? 'A' : 'B');
        cr_assert_eq(view.durability.sites[i].survives_loss, dead, "%s",
                     view.durability.sites[i].name);
    }
    cluster_start(&cluster, first);
    cluster_start(&cluster, first + 3);
    (void)cluster_settle(&cluster);
    cluster_converge(&cluster);
    cluster_deinit(&cluster);
}

/* ---- digests ---- */

static bool follower_has_failed(void *context)
{
    return pump_status(context).phase == NODE_FAILED;
}

/* One bit of the follower's digest is turned over: it quarantines itself when the leader's comes,
 * and the others go on. */
Test(node_copies, a_replica_that_differs_quarantines_itself)
{
    set_up(3);
    uint64_t follower = cluster_follower(&cluster);
    struct pump *pump = cluster_pump(&cluster, follower);
    uint64_t number = 0;
    while (pump->node->digests.newest == 0) {
        struct test_request *request = request_transfers(number++, 1);
        run_well_at(follower, request);
        request_destroy(request);
        pump->node->digests.noted[1].digest[3] ^= 1;
    }
    cr_assert(cluster_until(&cluster, follower_has_failed, pump));
    cr_assert_eq(pump_status(pump).error.status, STATUS_CORRUPT);
    cr_assert_eq(pump_event_count(pump, "quarantined"), 1);
    pump_close(pump);
    cr_assert_eq(pump_open(pump), STATUS_CORRUPT);
    struct test_request *request = request_transfers(number++, 1);
    run_well_at(cluster_settle(&cluster), request);
    request_destroy(request);
    cluster_deinit(&cluster);
}

/* ---- files put back ---- */

static void copy_directory(const char *from, const char *to)
{
    char command[2 * PUMP_PATH_MAX + 64];
    snprintf(command, sizeof command, "rm -rf '%s' && cp -a '%s' '%s'", to, from, to);
    cr_assert_eq(system(command), 0);
}

/* A follower's directory is put back to what it was before some transfers that it acknowledged: it
 * stops when its leader says so, does not start again, and the others go on. */
Test(node_copies, a_directory_that_was_put_back_is_quarantined)
{
    set_up(3);
    uint64_t follower = cluster_follower(&cluster);
    struct pump *pump = cluster_pump(&cluster, follower);
    char copy[PUMP_PATH_MAX + 8];
    snprintf(copy, sizeof copy, "%s.copy", pump->directory);
    cluster_kill(&cluster, follower);
    copy_directory(pump->directory, copy);
    cluster_start(&cluster, follower);
    (void)cluster_settle(&cluster);
    for (uint64_t number = 0; number < 10; number++) {
        struct test_request *request = request_transfers(number, 1);
        run_well_at(follower, request);
        request_destroy(request);
    }
    cluster_converge(&cluster);
    cluster_kill(&cluster, follower);
    copy_directory(copy, pump->directory);
    cluster_start(&cluster, follower);
    cr_assert(cluster_until(&cluster, follower_has_failed, pump));
    cr_assert_eq(pump_status(pump).error.status, STATUS_CORRUPT);
    cr_assert_eq(pump_event_count(pump, "quarantined"), 1);
    pump_close(pump);
    cr_assert_eq(pump_open(pump), STATUS_CORRUPT);
    cr_assert_not_null(strstr(pump->error.text, "was acknowledged"), "%s", pump->error.text);
    cr_assert_not_null(strstr(pump->error.text, "tally node repair"), "%s", pump->error.text);
    struct test_request *request = request_transfers(10, 1);
    run_well_at(cluster_settle(&cluster), request);
    request_destroy(request);
    cluster_deinit(&cluster);
}

/* The same, and meanwhile all nodes start again: no leader counts on that node any more. What it
 * had is in the files of the others. */
Test(node_copies, a_directory_that_was_put_back_is_found_after_a_restart_of_all)
{
    set_up(3);
    uint64_t follower = cluster_follower(&cluster);
    struct pump *pump = cluster_pump(&cluster, follower);
    char copy[PUMP_PATH_MAX + 8];
    snprintf(copy, sizeof copy, "%s.copy", pump->directory);
    cluster_kill(&cluster, follower);
    copy_directory(pump->directory, copy);
    cluster_start(&cluster, follower);
    (void)cluster_settle(&cluster);
    for (uint64_t number = 0; number < 10; number++) {
        struct test_request *request = request_transfers(number, 1);
        run_well_at(follower, request);
        request_destroy(request);
    }
    cluster_converge(&cluster);
    cluster_turn_ms(&cluster, 2500); /* told, and written down */
    for (uint64_t id = 1; id <= 3; id++)
        cluster_kill(&cluster, id);
    copy_directory(copy, pump->directory);
    for (uint64_t id = 1; id <= 3; id++)
        cluster_start(&cluster, id);
    cr_assert(cluster_until(&cluster, follower_has_failed, pump));
    cr_assert_eq(pump_event_count(pump, "quarantined"), 1);
    for (uint64_t id = 1; id <= 3; id++)
        if (id != follower)
            cr_expect_eq(pump_event_count(cluster_pump(&cluster, id), "peer_lost_entries"), 1);
    pump_close(pump);
    cr_assert_eq(pump_open(pump), STATUS_CORRUPT);
    cr_assert_not_null(strstr(pump->error.text, "is committed"), "%s", pump->error.text);
    struct test_request *request = request_transfers(10, 1);
    run_well_at(cluster_settle(&cluster), request);
    request_destroy(request);
    cluster_deinit(&cluster);
}
