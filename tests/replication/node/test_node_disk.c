/* The disk misbehaves: errors, no room, no answer. What was acknowledged stays, what is in doubt is
 * called unknown, and nothing hangs. */
#include "tests/replication/full_store.h"
#include "tests/replication/pump.h"
#include "tests/replication/requests.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(node_disk, .timeout = 300);

#define NS_PER_MS 1000000ull

static void turn_for(struct pump *pump, int turns)
{
    for (int i = 0; i < turns; i++)
        pump_turn(pump);
}

/* ---- fail-stop ---- */

/* Five requests, four of them in flight when the write or the sync fails. */
static void fail_a_write(bool manual, bool by_sync)
{
    struct pump pump;
    pump_init(&pump, manual);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    struct test_request *good = request_transfers(0, 10);
    request_run(&pump, good);

    faulty_disk_set(&pump.disk, by_sync ? &pump.disk.sync_status : &pump.disk.write_status,
                    STATUS_IO);
    struct test_request *doubtful = request_transfers(100, 10);
    cr_assert_eq(request_propose(&pump, doubtful), STATUS_OK);
    cr_assert(pump_until_phase(&pump, NODE_FAILED));
    pump_turn(&pump);
    cr_assert(doubtful->done);
    cr_assert_eq(doubtful->status, STATUS_UNKNOWN_OUTCOME);
    struct node_status status = pump_status(&pump);
    cr_assert_eq(status.error.status, STATUS_IO);
    cr_assert_not_null(strstr(status.error.text, "journal"), "%s", status.error.text);
    cr_assert_eq(pump_event_count(&pump, "fail_stop"), 1);
    struct test_request *late = request_transfers(200, 1);
    cr_assert_eq(request_propose(&pump, late), STATUS_STOPPING);
    pump_close(&pump);

    /* Repaired: what was acknowledged is there, the doubtful one is there whole or not at all. */
    faulty_disk_set(&pump.disk, &pump.disk.sync_status, STATUS_OK);
    faulty_disk_set(&pump.disk, &pump.disk.write_status, STATUS_OK);
    pump_serve(&pump);
    cr_assert(transfers_exist(&pump, 0, 10));
    struct test_request *again = request_copy(doubtful);
    request_run(&pump, again);
    cr_assert_eq(again->results[0], RESULT_OK);
    cr_assert(transfers_exist(&pump, 100, 10));
    request_destroy(again);
    request_destroy(good);
    request_destroy(doubtful);
    request_destroy(late);
    pump_stop(&pump);
    pump_deinit(&pump);
}

Test(node_disk, a_failed_journal_write_stops_the_node)
{
    fail_a_write(true, false);
    fail_a_write(false, false);
}

Test(node_disk, a_failed_sync_stops_the_node)
{
    fail_a_write(true, true);
    fail_a_write(false, true);
}

/* In flight: unknown. Waiting, never appended: stopping, so it may be retried elsewhere. */
Test(node_disk, fail_stop_tells_in_flight_from_never_appended)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump.hold_writer = true;
    struct test_request *requests[6];
    for (uint32_t i = 0; i < 6; i++) {
        requests[i] = request_transfers(i * 10, 10);
        cr_assert_eq(request_propose(&pump, requests[i]), STATUS_OK);
        pump_turn(&pump);
    }
    cr_assert_eq(pump_status(&pump).in_flight_entries, 4);
    pump.disk.write_status = STATUS_IO;
    pump.hold_writer = false;
    cr_assert(pump_until_phase(&pump, NODE_FAILED));
    for (uint32_t i = 0; i < 6; i++) {
        cr_assert(requests[i]->done);
        cr_assert_eq(requests[i]->status, i < 4 ? STATUS_UNKNOWN_OUTCOME : STATUS_STOPPING);
        request_destroy(requests[i]);
    }
    pump_deinit(&pump);
}

/* One life under a failing call: whatever fails, what was acknowledged is there afterwards. */
struct life {
    uint64_t acknowledged[8]; /* first transfer of each batch */
    uint32_t acknowledged_count;
    bool ended_well;
};

static bool one_write(struct pump *pump, struct test_request *request)
{
    enum status status = request_propose(pump, request);
    for (int i = 0; status == STATUS_OK && !request->done && i < 2000; i++)
        pump_turn(pump);
    bool good = status == STATUS_OK && request->done && request->status == STATUS_OK;
    if (status == STATUS_OK && !request->done) {
        /* Still waiting: the node was read-only or failed in between; the drain calls it back. */
        node_drain(pump->node);
        cr_assert(pump_until(pump, request_is_done, request), "a request was forgotten");
    }
    return good;
}

static void live(struct pump *pump, struct life *life)
{
    if (pump_open(pump) != STATUS_OK)
        return;
    bool serving = node_start(pump->node, &pump->error) == STATUS_OK;
    for (int i = 0; serving && i < 500; i++)
        if (pump_status(pump).phase == NODE_REPLAYING)
            pump_turn(pump);
    for (uint64_t batch = 0; batch < 4 && pump_status(pump).phase == NODE_SERVING; batch++) {
        struct test_request *request =
            request_transfers(batch * REQUEST_EVENTS_MAX, REQUEST_EVENTS_MAX);
        if (one_write(pump, request))
            life->acknowledged[life->acknowledged_count++] = batch * REQUEST_EVENTS_MAX;
        request_destroy(request);
    }
    node_drain(pump->node);
    for (int i = 0; i < 2000 && pump_status(pump).phase == NODE_DRAINING; i++) {
        pump_turn(pump);
        pump->monotonic_ns += 100 * NS_PER_MS;
    }
    enum node_phase phase = pump_status(pump).phase;
    cr_assert(phase == NODE_STOPPED || phase == NODE_FAILED, "phase %d", phase);
    life->ended_well = phase == NODE_STOPPED;
    pump_close(pump);
}

static void fail_each_call(enum status how)
{
    struct pump origin;
    pump_init(&origin, true);
    pump_serve(&origin);
    create_ledger_and_accounts(&origin);
    pump_stop(&origin);
    bool reached = true;
    uint64_t failed = 0;
    for (uint64_t n = 1; reached; n++) {
        struct pump pump;
        pump_init_copy(&pump, &origin, "copy", false);
        pump.disk.fail_at = n;
        pump.disk.fail_status = how;
        struct life life = {0};
        live(&pump, &life);
        reached = pump.disk.fail_at == 0;
        pump.disk.fail_at = 0;
        failed += !life.ended_well;
        enum status status = pump_open(&pump);
        cr_assert_eq(status, STATUS_OK, "call %lu: %s", n, pump.error.text);
        cr_assert_eq(node_start(pump.node, &pump.error), STATUS_OK);
        cr_assert(pump_until_phase(&pump, NODE_SERVING), "call %lu", n);
        for (uint32_t i = 0; i < life.acknowledged_count; i++)
            cr_assert(transfers_exist(&pump, life.acknowledged[i], REQUEST_EVENTS_MAX),
                      "call %lu lost batch %u", n, i);
        pump_stop(&pump);
        pump_deinit(&pump);
        if (!reached)
            cr_assert_eq(life.acknowledged_count, 4);
    }
    if (how == STATUS_IO)
        cr_assert_gt(failed, 5);
    pump_deinit(&origin);
}

Test(node_disk, the_nth_call_fails_with_an_error_and_nothing_acknowledged_is_lost)
{
    fail_each_call(STATUS_IO);
}

Test(node_disk, the_nth_call_finds_no_room_and_nothing_acknowledged_is_lost)
{
    fail_each_call(STATUS_DISK_FULL);
}

/* ---- no room ---- */

/* Free space falls below the watermark: read-only with the reason; reads go on; it ends by itself.
 */
Test(node_disk, low_space_makes_the_node_read_only_until_there_is_room)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    faulty_disk_set_free(&pump.disk, 1000);
    turn_for(&pump, 3);
    cr_assert_not(pump_status(&pump).read_only, "looked at only once a second");
    pump.monotonic_ns += 1001 * NS_PER_MS;
    turn_for(&pump, 3);
    struct node_status status = pump_status(&pump);
    cr_assert(status.read_only);
    cr_assert_eq(status.free_bytes, 1000);
    cr_assert_not_null(strstr(status.read_only_reason, "watermark"), "%s", status.read_only_reason);
    struct test_request *request = request_transfers(0, 10);
    cr_assert_eq(request_propose(&pump, request), STATUS_READ_ONLY);
    cr_assert_eq(pump_event_count(&pump, "disk_low"), 1);

    faulty_disk_set_free(&pump.disk, UINT64_MAX);
    pump.monotonic_ns += 1001 * NS_PER_MS;
    turn_for(&pump, 3);
    cr_assert_not(pump_status(&pump).read_only);
    cr_assert_eq(pump_event_count(&pump, "disk_recovered"), 1);
    request_run(&pump, request);
    request_destroy(request);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* Requests that wait when the node turns read-only are refused, not forgotten. */
Test(node_disk, waiting_requests_are_refused_when_the_node_turns_read_only)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump.hold_writer = true;
    struct test_request *requests[6];
    for (uint32_t i = 0; i < 6; i++) {
        requests[i] = request_transfers(i * 10, 10);
        cr_assert_eq(request_propose(&pump, requests[i]), STATUS_OK);
        pump_turn(&pump);
    }
    faulty_disk_set_free(&pump.disk, 1000);
    pump.monotonic_ns += 400 * NS_PER_MS;
    turn_for(&pump, 2);
    pump.monotonic_ns += 601 * NS_PER_MS;
    turn_for(&pump, 2);
    for (uint32_t i = 4; i < 6; i++) {
        cr_assert(requests[i]->done);
        cr_assert_eq(requests[i]->status, STATUS_READ_ONLY);
    }
    pump.hold_writer = false;
    cr_assert(pump_until(&pump, request_is_done, requests[3]));
    for (uint32_t i = 0; i < 6; i++) {
        if (i < 4)
            cr_assert_eq(requests[i]->status, STATUS_OK, "in flight: finished");
        request_destroy(requests[i]);
    }
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* How many transfers were acknowledged before the node became read-only. */
static uint64_t write_until_read_only(struct pump *pump)
{
    uint64_t acknowledged = 0;
    enum status status = STATUS_OK;
    for (int i = 0; i < 20 && status == STATUS_OK; i++) {
        struct test_request *request = request_transfers(acknowledged, REQUEST_EVENTS_MAX);
        status = request_propose(pump, request);
        if (status == STATUS_OK) {
            cr_assert(pump_until(pump, request_is_done, request));
            status = request->status;
        }
        if (status == STATUS_OK)
            acknowledged += REQUEST_EVENTS_MAX;
        request_destroy(request);
    }
    cr_assert_eq(status, STATUS_READ_ONLY, "%s", status_text(status));
    return acknowledged;
}

/* No further segment can be allocated: writes go on into the one that is there, then are refused;
 * with room again the node is writable again. */
Test(node_disk, no_room_for_a_segment_means_read_only_before_anything_fails)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    faulty_disk_set(&pump.disk, &pump.disk.allocate_status, STATUS_DISK_FULL);
    const uint64_t acknowledged = write_until_read_only(&pump);
    cr_assert_eq(pump_status(&pump).phase, NODE_SERVING);
    cr_assert_not_null(strstr(pump_status(&pump).read_only_reason, "segment"));
    cr_assert(transfers_exist(&pump, 0, acknowledged));
    cr_assert_eq(pump_event_count(&pump, "journal_read_only"), 1);

    faulty_disk_set(&pump.disk, &pump.disk.allocate_status, STATUS_OK);
    turn_for(&pump, 100);
    cr_assert_not(pump_status(&pump).read_only);
    struct test_request *request = request_transfers(acknowledged, REQUEST_EVENTS_MAX);
    request_run(&pump, request);
    request_destroy(request);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* The flusher is to rest for a minute, since its disk stood still. The journal has no room, and
 * only behind a checkpoint can it be pruned: nobody rests then. */
Test(node_disk, a_journal_without_room_gets_its_checkpoint_at_once)
{
    struct pump pump;
    pump_init(&pump, true);
    pump.options.checkpoint_interval_ms = 1000;
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump.hold_flusher = true;
    pump.monotonic_ns += 1001 * NS_PER_MS;
    turn_for(&pump, 50);
    pump.monotonic_ns += 600000 * NS_PER_MS;
    turn_for(&pump, 50);
    pump.hold_flusher = false;
    turn_for(&pump, 50);
    struct test_request *request = request_transfers(1000000, 10);
    request_run(&pump, request);
    request_destroy(request);
    cr_assert_lt(pump_status(&pump).durable_index, pump_status(&pump).applied_index, "it rests");

    faulty_disk_set(&pump.disk, &pump.disk.allocate_status, STATUS_DISK_FULL);
    write_until_read_only(&pump);
    turn_for(&pump, 100);
    cr_assert(pump_status(&pump).read_only);
    cr_assert_eq(pump_status(&pump).durable_index, pump_status(&pump).applied_index);
    pump_stop(&pump);
    pump_deinit(&pump);
}

static void remove_last_segment(const struct pump *pump)
{
    char path[2 * PUMP_PATH_MAX], last[64] = "";
    snprintf(path, sizeof path, "%s/journal-1", pump->directory);
    DIR *stream = opendir(path);
    cr_assert_not_null(stream);
    const struct dirent *entry;
    while ((entry = readdir(stream)) != NULL)
        if (entry->d_name[0] == '0' && strcmp(entry->d_name, last) > 0)
            snprintf(last, sizeof last, "%.60s", entry->d_name);
    closedir(stream);
    snprintf(path, sizeof path, "%s/journal-1/%s", pump->directory, last);
    cr_assert_eq(unlink(path), 0);
}

/* Restarted on a full disk, without a spare segment and without room for one: reads are answered,
 * writes refused, and writable again when there is room. */
Test(node_disk, a_start_on_a_full_disk_answers_reads)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    struct test_request *request = request_transfers(0, 10);
    request_run(&pump, request);
    request_destroy(request);
    pump_make_spare(&pump);
    pump_stop(&pump);
    remove_last_segment(&pump); /* the spare */
    faulty_disk_set(&pump.disk, &pump.disk.allocate_status, STATUS_DISK_FULL);
    faulty_disk_set_free(&pump.disk, 0);
    for (int start = 0; start < 3; start++) {
        pump_serve(&pump);
        cr_assert(pump_status(&pump).read_only);
        cr_assert(transfers_exist(&pump, 0, 10));
        request = request_transfers(100, 10);
        cr_assert_eq(request_propose(&pump, request), STATUS_READ_ONLY);
        request_destroy(request);
        if (start < 2)
            pump_stop(&pump);
    }
    faulty_disk_set(&pump.disk, &pump.disk.allocate_status, STATUS_OK);
    faulty_disk_set_free(&pump.disk, UINT64_MAX);
    for (int i = 0; i < 3; i++) {
        pump.monotonic_ns += 1001 * NS_PER_MS;
        turn_for(&pump, 10);
    }
    cr_assert_not(pump_status(&pump).read_only, "%s", pump_status(&pump).read_only_reason);
    request = request_transfers(100, 10);
    request_run(&pump, request);
    request_destroy(request);
    pump_stop(&pump);
    pump_deinit(&pump);
}

static bool reserve_exists(const struct pump *pump)
{
    char path[2 * PUMP_PATH_MAX];
    snprintf(path, sizeof path, "%s/reserve", pump->directory);
    return access(path, F_OK) == 0;
}

/* What hinders the reserve is not always room: the reason is told as it is. */
Test(node_disk, a_reserve_that_cannot_be_written_is_told_as_such)
{
    struct pump pump;
    pump_init(&pump, true);
    char path[2 * PUMP_PATH_MAX];
    snprintf(path, sizeof path, "%s/reserve", pump.directory);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(mkdir(path, 0700), 0);
    pump_serve(&pump);
    cr_assert(pump_status(&pump).read_only);
    const struct node_status told = pump_status(&pump);
    const char *reason = told.read_only_reason;
    cr_assert_not_null(strstr(reason, "reserve"), "%s", reason);
    cr_assert_null(strstr(reason, "free some space"), "%s", reason);
    /* Put right, the node is writable by itself. */
    cr_assert_eq(rmdir(path), 0);
    for (int i = 0; i < 3; i++) {
        pump.monotonic_ns += 1001 * NS_PER_MS;
        turn_for(&pump, 10);
    }
    cr_assert_not(pump_status(&pump).read_only, "%s", pump_status(&pump).read_only_reason);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* The checkpoint finds no room: the reserve is given back, the epoch tried again each second; then
 * the reserve comes back and with it the writes. */
Test(node_disk, a_checkpoint_without_room_is_tried_again_with_the_reserve_given_back)
{
    struct pump pump;
    pump_init(&pump, true);
    struct full_store full;
    full_store_install(&full, &pump.environment);
    pump.options.checkpoint_interval_ms = 1000;
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    full.status = STATUS_DISK_FULL;
    pump.monotonic_ns += 1001 * NS_PER_MS;
    turn_for(&pump, 10);
    cr_assert(pump_status(&pump).read_only);
    cr_assert_not_null(strstr(pump_status(&pump).read_only_reason, "checkpoint"));
    cr_assert_not(reserve_exists(&pump));
    cr_assert_eq(pump_event_count(&pump, "checkpoint_disk_full"), 1);
    cr_assert_eq(pump_status(&pump).phase, NODE_SERVING);
    pump.monotonic_ns += 1001 * NS_PER_MS;
    turn_for(&pump, 10);
    cr_assert_eq(pump_event_count(&pump, "checkpoint_disk_full"), 2);
    full.status = STATUS_OK;
    for (int i = 0; i < 3; i++) {
        pump.monotonic_ns += 1001 * NS_PER_MS;
        turn_for(&pump, 10);
    }
    cr_assert_not(pump_status(&pump).read_only, "%s", pump_status(&pump).read_only_reason);
    cr_assert(reserve_exists(&pump));
    cr_assert_gt(pump_status(&pump).durable_index, 0);
    struct test_request *request = request_transfers(0, 10);
    request_run(&pump, request);
    request_destroy(request);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* Drain on a disk that stays full: the last checkpoint is left out, the journal holds everything.
 */
Test(node_disk, drain_on_a_full_disk_ends_and_loses_nothing)
{
    struct pump pump;
    pump_init(&pump, true);
    struct full_store full;
    full_store_install(&full, &pump.environment);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    struct test_request *request = request_transfers(0, 100);
    request_run(&pump, request);
    request_destroy(request);
    full.status = STATUS_DISK_FULL;
    node_drain(pump.node);
    for (int i = 0; i < 100 && pump_status(&pump).phase == NODE_DRAINING; i++) {
        turn_for(&pump, 5);
        pump.monotonic_ns += 500 * NS_PER_MS;
    }
    cr_assert_eq(pump_status(&pump).phase, NODE_STOPPED);
    cr_assert_eq(pump_status(&pump).durable_index, 0);
    pump_close(&pump);
    full.status = STATUS_OK;
    pump_serve(&pump);
    cr_assert(transfers_exist(&pump, 0, 100));
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* Any other error of the store is the end: the journal has everything for the next start. */
Test(node_disk, a_failed_checkpoint_stops_the_node)
{
    struct pump pump;
    pump_init(&pump, true);
    struct full_store full;
    full_store_install(&full, &pump.environment);
    pump.options.checkpoint_interval_ms = 1000;
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    full.status = STATUS_IO;
    pump.monotonic_ns += 1001 * NS_PER_MS;
    cr_assert(pump_until_phase(&pump, NODE_FAILED));
    cr_assert_not_null(strstr(pump_status(&pump).error.text, "store"));
    pump_close(&pump);
    full.status = STATUS_OK;
    pump_serve(&pump);
    struct test_request *request = request_transfers(0, 10);
    request_run(&pump, request);
    request_destroy(request);
    pump_stop(&pump);
    pump_deinit(&pump);
}
