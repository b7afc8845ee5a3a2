/* The life of a node: proposals, answers, repeats, restarts, epochs, reads, drain. */
#include "tests/replication/pump.h"
#include "tests/replication/requests.h"

#include "replication/node/propose.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(node, .timeout = 120);

#define NS_PER_MS 1000000ull

/* init, open, start: the founding entries and a barrier are in the log, and the principals are
 * known.
 */
Test(node, serves_after_the_barrier_of_a_new_term_is_applied)
{
    struct pump pump;
    pump_init(&pump, false);
    pump_serve(&pump);
    struct node_status status = pump_status(&pump);
    cr_assert_eq(status.applied_index, 3);
    cr_assert_eq(status.commit_index, 3);
    cr_assert_eq(status.synced_index, 3);
    cr_assert_eq(status.term, 2);
    cr_assert_eq(status.leader_id, 1);
    cr_assert_str_eq(status.role, "leader");
    cr_assert_eq(machine_principal_count(node_machine(pump.node)), PRINCIPAL_COUNT);
    pump_stop(&pump);
    /* Each start is a new term. */
    pump_serve(&pump);
    cr_assert_eq(pump_status(&pump).term, 3);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* A full batch: every event is answered, in order, and can be read. */
Test(node, a_batch_of_8190_transfers_is_answered_and_readable)
{
    struct pump pump;
    pump_init(&pump, false);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    struct test_request *request = request_transfers(0, REQUEST_EVENTS_MAX);
    request_run(&pump, request);
    cr_assert_eq(request->answer.event_count, REQUEST_EVENTS_MAX);
    cr_assert_not(request->answer.repeated);
    for (uint32_t i = 0; i < REQUEST_EVENTS_MAX; i++)
        cr_assert_eq(request->results[i], RESULT_OK, "event %u", i);
    cr_assert(transfers_exist(&pump, 0, REQUEST_EVENTS_MAX));
    cr_assert_eq(pump_status(&pump).transfers_total, REQUEST_EVENTS_MAX);
    request_destroy(request);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* The writer stands still: the first request leaves alone, three more fill the slots, the others
 * wait; when the writer goes on they leave together in one entry. */
Test(node, requests_gather_only_behind_entries_in_flight)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    uint64_t entries_before = pump_status(&pump).entries_total;
    pump.hold_writer = true;
    struct test_request *requests[40];
    for (uint32_t i = 0; i < 40; i++) {
        requests[i] = request_transfers(i * 10, 10);
        cr_assert_eq(request_propose(&pump, requests[i]), STATUS_OK);
        if (i < 4)
            pump_turn(&pump);
    }
    pump_turn(&pump);
    struct node_status status = pump_status(&pump);
    cr_assert_eq(status.in_flight_entries, 4);
    cr_assert_eq(status.waiting_requests, 36);
    pump.hold_writer = false;
    cr_assert(pump_until(&pump, request_is_done, requests[39]));
    cr_assert_eq(pump_status(&pump).entries_total - entries_before, 5);
    for (uint32_t i = 0; i < 40; i++) {
        cr_assert(requests[i]->done);
        cr_assert_eq(requests[i]->answer.outcome, OUTCOME_EXECUTED);
        /* Those gathered share an entry: their stamps follow each other. */
        if (i > 4) {
            cr_assert_eq(requests[i]->answer.index, requests[4]->answer.index);
            cr_assert_eq(requests[i]->answer.stamp, requests[i - 1]->answer.stamp + 10);
        }
    }
    for (uint32_t i = 0; i < 40; i++)
        request_destroy(requests[i]);
    cr_assert(transfers_exist(&pump, 0, 400));
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* Requests of 300 KB and 1 KB: the large one goes alone, never split, and order is kept. */
Test(node, a_large_request_travels_alone)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    struct test_request *requests[] = {request_transfers(0, 10), request_transfers(1000, 3000),
                                       request_transfers(5000, 10)};
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(request_propose(&pump, requests[i]), STATUS_OK);
    cr_assert(pump_until(&pump, request_is_done, requests[2]));
    cr_assert_lt(requests[0]->answer.index, requests[1]->answer.index);
    cr_assert_lt(requests[1]->answer.index, requests[2]->answer.index);
    for (size_t i = 0; i < 3; i++)
        request_destroy(requests[i]);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* Stamps go on when the wall clock jumps back an hour, also across a restart. */
Test(node, stamps_never_go_back_with_the_wall_clock)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    struct test_request *before = request_transfers(0, 5);
    request_run(&pump, before);
    pump.wall_shift_ns = -3600ll * 1000 * 1000 * 1000;
    struct test_request *after = request_transfers(10, 5);
    request_run(&pump, after);
    cr_assert_eq(after->answer.stamp, before->answer.stamp + 5, "time goes on by one");
    pump_turn(&pump);
    cr_assert_gt(pump_status(&pump).clock_behind_ns, 3500ull * 1000 * 1000 * 1000);
    cr_assert_eq(pump_event_count(&pump, "clock_behind"), 1);
    pump_stop(&pump);
    pump_serve(&pump);
    struct test_request *later = request_transfers(20, 5);
    request_run(&pump, later);
    cr_assert_eq(later->answer.stamp, after->answer.stamp + 5);
    request_destroy(before);
    request_destroy(after);
    request_destroy(later);
    pump_stop(&pump);
    pump_deinit(&pump);
}

static void assert_same_answer(const struct test_request *a, const struct test_request *b)
{
    cr_assert_eq(a->answer.index, b->answer.index);
    cr_assert_eq(a->answer.stamp, b->answer.stamp);
    cr_assert_eq(a->answer.outcome, b->answer.outcome);
    cr_assert_eq(a->answer.encoding, b->answer.encoding);
    cr_assert_eq(a->answer.event_count, b->answer.event_count);
    cr_assert_arr_eq(a->results, b->results, a->answer.event_count);
}

/* The same request again: at once while the first is in flight, later, and after two restarts. */
Test(node, a_repeat_gives_the_original_answer_across_restarts)
{
    struct pump pump;
    pump_init(&pump, false);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    struct test_request *first = request_transfers(0, 100);
    struct transfer_event *events = request_events(first);
    events[7].amount_low = 0;           /* refused: the event alone */
    events[8].ledger = TEST_LEDGER + 1; /* refused by state */
    request_finish(first, PRINCIPAL_APP);
    struct test_request *twin = request_copy(first);
    cr_assert_eq(request_propose(&pump, first), STATUS_OK);
    cr_assert_eq(request_propose(&pump, twin), STATUS_OK);
    cr_assert(pump_until(&pump, request_is_done, twin));
    cr_assert(first->done);
    cr_assert_not(first->answer.repeated);
    cr_assert_eq(first->results[7], RESULT_AMOUNT_ZERO);
    cr_assert_neq(first->results[8], RESULT_OK);
    cr_assert(twin->answer.repeated);
    assert_same_answer(first, twin);
    request_destroy(twin);
    for (int restart = 0; restart < 2; restart++) {
        pump_stop(&pump);
        pump_serve(&pump);
        struct test_request *again = request_copy(first);
        request_run(&pump, again);
        cr_assert(again->answer.repeated);
        assert_same_answer(first, again);
        request_destroy(again);
    }
    /* The same nonce with other content is refused and changes nothing. */
    struct test_request *other = request_copy(first);
    ((struct transfer_event *)request_events(other))[0].amount_low = 2;
    request_seal(other->header, PRINCIPAL_APP);
    request_run(&pump, other);
    cr_assert_eq(other->answer.outcome, OUTCOME_NONCE_REUSED);
    request_destroy(other);
    request_destroy(first);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* Drain writes a last checkpoint: the next start replays nothing, and the digest is the same. */
Test(node, a_clean_restart_replays_nothing)
{
    struct pump pump;
    pump_init(&pump, false);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    struct test_request *request = request_transfers(0, 1000);
    request_run(&pump, request);
    request_destroy(request);
    struct node_status before = pump_status(&pump);
    node_drain(pump.node);
    cr_assert(pump_until_phase(&pump, NODE_STOPPED));
    cr_assert_eq(pump_status(&pump).durable_index, before.applied_index);
    pump_close(&pump);
    cr_assert_eq(pump_open(&pump), STATUS_OK, "%s", pump.error.text);
    struct node_status after = pump_status(&pump);
    cr_assert_eq(after.applied_index, before.applied_index);
    cr_assert_arr_eq(after.digest, before.digest, sizeof after.digest);
    cr_assert(transfers_exist(&pump, 0, 1000));
    pump_close(&pump); /* opened, never started */
    pump_deinit(&pump);
}

/* Epochs of two batches under forty batches: freezes, flushes and prunes go on behind the
 * proposals; nothing is lost, and the journal stays short. */
Test(node, tiny_epochs_push_back_and_lose_nothing)
{
    struct pump pump;
    pump_init(&pump, false);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    enum { BATCHES = 40 };
    struct test_request *requests[BATCHES];
    uint32_t proposed = 0, finished = 0;
    while (finished < BATCHES) {
        while (proposed < BATCHES) {
            requests[proposed] =
                request_transfers((uint64_t)proposed * REQUEST_EVENTS_MAX, REQUEST_EVENTS_MAX);
            enum status status = request_propose(&pump, requests[proposed]);
            if (status == STATUS_OK) {
                proposed++;
                continue;
            }
            cr_assert_eq(status, STATUS_BUSY, "%s", status_text(status));
            request_destroy(requests[proposed]);
            break;
        }
        cr_assert(pump_until(&pump, request_is_done, requests[finished]));
        cr_assert_eq(requests[finished]->status, STATUS_OK);
        cr_assert_eq(requests[finished]->results[0], RESULT_OK);
        request_destroy(requests[finished]);
        finished++;
        struct node_status now = pump_status(&pump);
        cr_assert_leq(now.journal.first_index, now.durable_index + 1,
                      "pruned only what is durable");
    }
    struct node_status status = pump_status(&pump);
    cr_assert_geq(pump_event_count(&pump, "checkpoint_done"), BATCHES / 2 - 2);
    cr_assert_gt(status.journal.first_index, 1, "the journal was pruned");
    for (uint64_t batch = 0; batch < BATCHES; batch++)
        cr_assert(transfers_exist(&pump, batch * REQUEST_EVENTS_MAX + batch, 20));
    uint8_t digest[16];
    memcpy(digest, status.digest, sizeof digest);
    pump_stop(&pump);
    pump_serve(&pump);
    cr_assert_arr_eq(pump_status(&pump).digest, digest, sizeof digest);
    cr_assert_eq(machine_transfer_count(node_machine(pump.node)), BATCHES * REQUEST_EVENTS_MAX);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* The flusher stands still with two batches per epoch: two epochs fill, then requests wait, are
 * refused as busy in bounded time, and go through once the flusher works. */
Test(node, a_standing_flusher_means_waiting_then_busy_never_a_hang)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump.hold_flusher = true;
    struct test_request *requests[6];
    for (uint32_t i = 0; i < 6; i++) {
        requests[i] = request_transfers((uint64_t)i * REQUEST_EVENTS_MAX, REQUEST_EVENTS_MAX);
        cr_assert_eq(request_propose(&pump, requests[i]), STATUS_OK);
        for (int turn = 0; turn < 20; turn++)
            pump_turn(&pump);
    }
    uint32_t done = 0;
    while (done < 6 && requests[done]->done)
        done++;
    cr_assert_eq(done, 4, "two epochs of two batches, not %u", done);
    cr_assert_eq(pump_status(&pump).waiting_requests, 2);
    pump.monotonic_ns += (PROPOSE_WAITING_MS_MAX + 1) * NS_PER_MS;
    pump_turn(&pump);
    for (uint32_t i = 4; i < 6; i++) {
        cr_assert(requests[i]->done);
        cr_assert_eq(requests[i]->status, STATUS_BUSY);
    }
    pump.hold_flusher = false;
    struct test_request *again = request_copy(requests[5]);
    request_run(&pump, again);
    cr_assert_eq(again->results[0], RESULT_OK);
    request_destroy(again);
    for (uint32_t i = 0; i < 6; i++)
        request_destroy(requests[i]);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* More entries than two memtables hold are replayed from a journal that nothing was pruned of. */
Test(node, replay_pauses_for_the_flusher_and_rebuilds_a_lost_store)
{
    struct pump pump;
    pump_init(&pump, false);
    pump.options.journal_keep_entries = 1000000;
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    for (uint64_t batch = 0; batch < 12; batch++) {
        struct test_request *request =
            request_transfers(batch * REQUEST_EVENTS_MAX, REQUEST_EVENTS_MAX);
        request_run(&pump, request);
        request_destroy(request);
    }
    uint8_t digest[16];
    memcpy(digest, pump_status(&pump).digest, sizeof digest);
    cr_assert_eq(pump_status(&pump).journal.first_index, 1);
    pump_stop(&pump);

    struct pump copy;
    pump_init_copy(&copy, &pump, "without-store", true);
    pump_serve(&copy);
    cr_assert_eq(pump_event_count(&copy, "store_rebuilding"), 1);
    cr_assert_geq(pump_event_count(&copy, "checkpoint_done"), 4);
    cr_assert_arr_eq(pump_status(&copy).digest, digest, sizeof digest);
    cr_assert(transfers_exist(&copy, 0, 12 * REQUEST_EVENTS_MAX));
    pump_stop(&copy);
    pump_deinit(&copy);
    pump_deinit(&pump);
}

/* Ten batches of a MiB through epochs of two; 4 MiB of journal are to be kept: about so much is,
 * and not everything. */
Test(node, the_journal_keeps_the_bytes_that_it_is_told_to)
{
    struct pump pump;
    pump_init(&pump, true);
    pump.options.journal_keep_bytes = 6u << 20;
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    for (uint64_t batch = 0; batch < 12; batch++) {
        struct test_request *request =
            request_transfers(batch * REQUEST_EVENTS_MAX, REQUEST_EVENTS_MAX);
        request_run(&pump, request);
        request_destroy(request);
    }
    struct node_status status = pump_status(&pump);
    cr_assert_gt(status.journal.first_index, 1, "pruned");
    cr_assert_geq(status.last_index + 1 - status.journal.first_index, 6);
    cr_assert_leq(status.last_index + 1 - status.journal.first_index, 9);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* An epoch is closed at the latest after the interval, without any pressure. */
Test(node, the_interval_closes_an_epoch)
{
    struct pump pump;
    pump_init(&pump, true);
    pump.options.checkpoint_interval_ms = 1000;
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    uint64_t applied = pump_status(&pump).applied_index;
    for (int turn = 0; turn < 50; turn++)
        pump_turn(&pump);
    cr_assert_eq(pump_status(&pump).durable_index, 0);
    pump.monotonic_ns += 1001 * NS_PER_MS;
    for (int turn = 0; turn < 50; turn++)
        pump_turn(&pump);
    cr_assert_eq(pump_status(&pump).durable_index, applied);
    /* Nothing new: no further epoch. */
    pump.monotonic_ns += 5001 * NS_PER_MS;
    for (int turn = 0; turn < 50; turn++)
        pump_turn(&pump);
    cr_assert_eq(pump_event_count(&pump, "checkpoint_done"), 1);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* Nor does a log in memory that is full wait for the interval: only what the store has can go. */
Test(node, a_full_log_closes_an_epoch)
{
    struct pump pump;
    pump_init(&pump, true);
    pump.options.log_bytes_max = 2u << 20;
    pump.options.epoch_transfer_count_max = 16 * REQUEST_EVENTS_MAX;
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    for (uint64_t i = 0; i < 6; i++) {
        struct test_request *request =
            request_transfers(i * REQUEST_EVENTS_MAX, REQUEST_EVENTS_MAX);
        request_run(&pump, request);
        request_destroy(request);
    }
    cr_assert_geq(pump_event_count(&pump, "checkpoint_done"), 1);
    pump_stop(&pump);
    pump_deinit(&pump);
}

static void turn_after_ms(struct pump *pump, uint64_t ms)
{
    pump->monotonic_ns += ms * NS_PER_MS;
    for (int turn = 0; turn < 50; turn++)
        pump_turn(pump);
}

/* An epoch that took two seconds to write: the next one is closed six seconds after that. */
Test(node, a_flusher_that_was_busy_rests)
{
    struct pump pump;
    pump_init(&pump, true);
    pump.options.checkpoint_interval_ms = 1000;
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    uint64_t applied = pump_status(&pump).applied_index;
    pump.hold_flusher = true;
    turn_after_ms(&pump, 1001);
    turn_after_ms(&pump, 2000);
    pump.hold_flusher = false;
    turn_after_ms(&pump, 0);
    cr_assert_eq(pump_status(&pump).durable_index, applied);
    struct test_request *request = request_transfers(0, 10);
    request_run(&pump, request);
    request_destroy(request);
    turn_after_ms(&pump, 5900);
    cr_assert_eq(pump_status(&pump).durable_index, applied, "not rested");
    turn_after_ms(&pump, 101);
    cr_assert_eq(pump_status(&pump).durable_index, applied + 1);

    /* After a disk that stood still for ten minutes not for forty. */
    request = request_transfers(100, 10);
    request_run(&pump, request);
    request_destroy(request);
    pump.hold_flusher = true;
    turn_after_ms(&pump, 1001);
    turn_after_ms(&pump, 600000);
    pump.hold_flusher = false;
    turn_after_ms(&pump, 0);
    cr_assert_eq(pump_status(&pump).durable_index, applied + 2);
    request = request_transfers(200, 10);
    request_run(&pump, request);
    request_destroy(request);
    turn_after_ms(&pump, 59900);
    cr_assert_eq(pump_status(&pump).durable_index, applied + 2, "not rested");
    turn_after_ms(&pump, 101);
    cr_assert_eq(pump_status(&pump).durable_index, applied + 3);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* Before SERVING nothing is taken; a request that cannot be read is refused at the door. */
Test(node, refuses_what_it_cannot_take)
{
    struct pump pump;
    pump_init(&pump, true);
    cr_assert_eq(pump_open(&pump), STATUS_OK);
    struct test_request *request = request_transfers(0, 1);
    cr_assert_eq(request_propose(&pump, request), STATUS_NOT_READY);
    cr_assert_eq(node_start(pump.node, &pump.error), STATUS_OK);
    cr_assert_eq(request_propose(&pump, request), STATUS_NOT_READY);
    cr_assert(pump_until_phase(&pump, NODE_SERVING));
    request->header->event_count = 2; /* does not match its size */
    cr_assert_eq(request_propose(&pump, request), STATUS_INVALID);
    request->header->event_count = 1;
    request->header->operation = 99;
    cr_assert_eq(request_propose(&pump, request), STATUS_INVALID);
    request_destroy(request);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* Bounds of the waiting list, in number and in bytes. */
Test(node, the_waiting_list_is_bounded)
{
    struct pump pump;
    pump_init(&pump, true);
    pump.options.waiting_requests_max = 8;
    pump.options.waiting_bytes_max = 1u << 20;
    pump_serve(&pump);
    struct test_request *requests[9];
    for (uint32_t i = 0; i < 9; i++) {
        requests[i] = request_transfers(i, 1);
        cr_assert_eq(request_propose(&pump, requests[i]), i < 8 ? STATUS_OK : STATUS_BUSY);
    }
    cr_assert_eq(pump_status(&pump).refused_busy_total, 1);
    cr_assert(pump_until(&pump, request_is_done, requests[7]));
    cr_assert_not(requests[8]->done);
    for (uint32_t i = 0; i < 9; i++)
        request_destroy(requests[i]);
    struct test_request *big = request_transfers(0, 8000);
    struct test_request *small = request_transfers(9000, 300);
    cr_assert_eq(request_propose(&pump, big), STATUS_OK);
    cr_assert_eq(request_propose(&pump, small), STATUS_BUSY);
    cr_assert(pump_until(&pump, request_is_done, big));
    request_destroy(big);
    request_destroy(small);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* Drain in the middle of a load: what was accepted is answered, what comes later is refused, and
 * everything answered is there after the restart. */
Test(node, drain_under_load_finishes_what_was_accepted)
{
    struct pump pump;
    pump_init(&pump, false);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    enum { COUNT = 200 };
    struct test_request *requests[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        requests[i] = request_transfers(i * 50, 50);
        cr_assert_eq(request_propose(&pump, requests[i]), STATUS_OK);
    }
    pump_turn(&pump);
    node_drain(pump.node);
    struct test_request *late = request_transfers(100000, 1);
    cr_assert_eq(request_propose(&pump, late), STATUS_STOPPING);
    request_destroy(late);
    cr_assert(pump_until_phase(&pump, NODE_STOPPED));
    for (uint32_t i = 0; i < COUNT; i++) {
        cr_assert(requests[i]->done);
        cr_assert_eq(requests[i]->status, STATUS_OK);
        request_destroy(requests[i]);
    }
    pump_close(&pump);
    pump_serve(&pump);
    cr_assert(transfers_exist(&pump, 0, COUNT * 50));
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* Drain before the node serves: it stops as well, and the next start goes on. */
Test(node, drain_during_replay_stops_cleanly)
{
    struct pump pump;
    pump_init(&pump, false);
    cr_assert_eq(pump_open(&pump), STATUS_OK);
    cr_assert_eq(node_start(pump.node, &pump.error), STATUS_OK);
    pump_stop(&pump);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* ---- reads ---- */

struct test_read {
    struct node_read node; /* first */
    bool done;
    enum status status;
    uint64_t transfers_seen;
    struct pump *pump;
};

static void read_cb(struct node_read *node, enum status status)
{
    struct test_read *read = (struct test_read *)node;
    cr_assert_not(read->done);
    read->done = true;
    read->status = status;
    read->transfers_seen = machine_transfer_count(node_machine(read->pump->node));
}

static bool read_is_done(void *context)
{
    return ((struct test_read *)context)->done;
}

/* A read that arrives after an answer went out sees what the answer said. */
Test(node, a_read_sees_every_answered_write)
{
    struct pump pump;
    pump_init(&pump, false);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    for (uint32_t i = 1; i <= 20; i++) {
        struct test_request *request = request_transfers(i * 10, 10);
        request_run(&pump, request);
        struct test_read read = {.node = {.cb = read_cb}, .pump = &pump};
        cr_assert_eq(node_read(pump.node, &read.node), STATUS_OK);
        cr_assert_not(read.done, "never inside node_read");
        cr_assert(pump_until(&pump, read_is_done, &read));
        cr_assert_eq(read.status, STATUS_OK);
        cr_assert_eq(read.transfers_seen, i * 10);
        request_destroy(request);
    }
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* min_index: waits until it is applied, or until the deadline; cancelled reads are not called. */
Test(node, a_read_waits_for_its_index_until_its_deadline)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    uint64_t next = pump_status(&pump).applied_index + 1;
    uint64_t deadline = pump.monotonic_ns + 100 * NS_PER_MS;
    struct test_read wanted = {.node = {.cb = read_cb, .min_index = next, .deadline_ns = deadline},
                               .pump = &pump};
    struct test_read late = {
        .node = {.cb = read_cb, .min_index = next + 5, .deadline_ns = deadline}, .pump = &pump};
    struct test_read cancelled = wanted;
    cr_assert_eq(node_read(pump.node, &wanted.node), STATUS_OK);
    cr_assert_eq(node_read(pump.node, &late.node), STATUS_OK);
    cr_assert_eq(node_read(pump.node, &cancelled.node), STATUS_OK);
    for (int turn = 0; turn < 5; turn++)
        pump_turn(&pump);
    cr_assert_not(wanted.done);
    node_read_cancel(pump.node, &cancelled.node);
    struct test_request *request = request_transfers(0, 3);
    request_run(&pump, request);
    request_destroy(request);
    pump_turn(&pump);
    cr_assert(wanted.done);
    cr_assert_eq(wanted.status, STATUS_OK);
    cr_assert_eq(wanted.transfers_seen, 3);
    cr_assert_not(late.done);
    pump.monotonic_ns += 101 * NS_PER_MS;
    pump_turn(&pump);
    cr_assert(late.done);
    cr_assert_eq(late.status, STATUS_DEADLINE);
    cr_assert_not(cancelled.done);
    pump_stop(&pump);
    pump_deinit(&pump);
}
