/* A disk that does not answer: refused early, fail-stop late, and neither for a process that was
 * itself stopped. */
#include "tests/replication/pump.h"
#include "tests/replication/requests.h"

#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#define NS_PER_MS 1000000ull

TestSuite(node_hang, .timeout = 300);

static void turn_for(struct pump *pump, int turns)
{
    for (int i = 0; i < turns; i++)
        pump_turn(pump);
}

/* Time passes as it does while the loop turns. */
static void turn_for_ms(struct pump *pump, uint64_t ms)
{
    for (uint64_t passed = 0; passed <= ms; passed += 1000) {
        pump->monotonic_ns += 1000 * NS_PER_MS;
        pump_turn(pump);
    }
}

/* The whole process is stopped for a minute with a write in flight (SIGSTOP, a paused machine): the
 * disk did nothing wrong, and the answer follows. */
Test(node_hang, a_process_that_was_stopped_does_not_blame_the_disk)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump.hold_writer = true;
    struct test_request *request = request_transfers(0, 10);
    cr_assert_eq(request_propose(&pump, request), STATUS_OK);
    turn_for(&pump, 3);
    pump.monotonic_ns += 60000 * NS_PER_MS;
    turn_for(&pump, 3);
    cr_assert_eq(pump_status(&pump).phase, NODE_SERVING);
    pump.hold_writer = false;
    cr_assert(pump_until(&pump, request_is_done, request));
    cr_assert_eq(request->status, STATUS_OK);
    request_destroy(request);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* A journal write hangs: after 500 ms nothing is proposed, after 30 s the node fails, and what was
 * in flight is unknown. */
Test(node_hang, a_stuck_disk_is_refused_early_and_ends_in_fail_stop)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump.hold_writer = true;
    struct test_request *request = request_transfers(0, 10);
    cr_assert_eq(request_propose(&pump, request), STATUS_OK);
    turn_for(&pump, 3);
    pump.monotonic_ns += 501 * NS_PER_MS;
    pump_turn(&pump);
    struct test_request *late = request_transfers(100, 10);
    cr_assert_eq(request_propose(&pump, late), STATUS_BUSY);
    cr_assert_eq(pump_event_count(&pump, "disk_stuck"), 1);
    cr_assert_not(request->done);
    turn_for_ms(&pump, 30000);
    cr_assert_eq(pump_status(&pump).phase, NODE_FAILED);
    cr_assert(request->done);
    cr_assert_eq(request->status, STATUS_UNKNOWN_OUTCOME);
    pump.hold_writer = false;
    request_destroy(request);
    request_destroy(late);
    pump_deinit(&pump);
}

/* Reserve and watermark are what the last checkpoint can count on: too little is told at the start,
 * with both numbers, and once. */
Test(node_hang, too_little_room_for_a_full_checkpoint_is_told_once)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    cr_assert_eq(pump_event_count(&pump, "disk_room_small"), 1);
    uint64_t room = 0, wanted = 0;
    for (uint32_t i = 0; i < pump.event_count; i++)
        if (strcmp(pump.events[i].name, "disk_room_small") == 0) {
            room = pump.events[i].a;
            wanted = pump.events[i].b;
        }
    cr_assert_eq(room, pump.options.disk_watermark_bytes + (1u << 20));
    cr_assert_gt(wanted, room);
    create_ledger_and_accounts(&pump);
    pump_stop(&pump); /* with a checkpoint */
    cr_assert_eq(pump_event_count(&pump, "disk_room_small"), 1);
    /* As the words say: the watermark raised by the difference. */
    pump.event_count = 0;
    pump.options.disk_watermark_bytes += wanted - room + (1u << 20);
    pump_serve(&pump);
    cr_assert_eq(pump_event_count(&pump, "disk_room_small"), 0);
    pump_stop(&pump);
    pump_deinit(&pump);
}

static bool a_write_hangs(void *context)
{
    struct pump *pump = context;
    return faulty_disk_hung_count(&pump->disk) > 0;
}

static bool no_write_hangs(void *context)
{
    return !a_write_hangs(context);
}

/* The writer's thread is in a write that does not return. Closing says so and leaves everything to
 * the process's exit; the thread may come back afterwards and finds its memory as it was. */
Test(node_hang, a_thread_that_hangs_in_the_disk_keeps_the_node_s_memory)
{
    static struct pump pump; /* what is left behind stays reachable */
    pump_init(&pump, false);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump_make_spare(&pump); /* so that nobody but the writer writes */
    struct test_request *request = request_transfers(0, 10);
    faulty_disk_set_hang(&pump.disk, true);
    cr_assert_eq(request_propose(&pump, request), STATUS_OK);
    cr_assert(pump_until(&pump, a_write_hangs, &pump));
    for (int second = 0; second < 32 && pump_status(&pump).phase != NODE_FAILED; second++) {
        pump.shift_ns += 1000 * NS_PER_MS;
        pump_turn(&pump);
    }
    cr_assert_eq(pump_status(&pump).phase, NODE_FAILED);
    cr_assert(request->done);
    cr_assert_eq(request->status, STATUS_UNKNOWN_OUTCOME);
    cr_assert_not(node_close(pump.node));
    cr_assert_eq(pump_event_count(&pump, "stop_hung"), 1);
    faulty_disk_set_hang(&pump.disk, false);
    for (int i = 0; i < 30000 && !no_write_hangs(&pump); i++)
        usleep(1000);
    cr_assert(no_write_hangs(&pump));
    usleep(20000); /* its last steps touch the node: a sanitizer would tell */
    pump_remove_tree(pump.root);
    request_destroy(request);
}

/* It comes back before that: the answer follows. */
Test(node_hang, a_disk_that_answers_again_is_used_again)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump.hold_writer = true;
    struct test_request *request = request_transfers(0, 10);
    cr_assert_eq(request_propose(&pump, request), STATUS_OK);
    turn_for(&pump, 3);
    pump.monotonic_ns += 5000 * NS_PER_MS;
    turn_for(&pump, 3);
    cr_assert_eq(pump_status(&pump).phase, NODE_SERVING);
    pump.hold_writer = false;
    cr_assert(pump_until(&pump, request_is_done, request));
    cr_assert_eq(request->status, STATUS_OK);
    pump_turn(&pump);
    cr_assert_eq(pump_event_count(&pump, "disk_answers"), 1);
    request_destroy(request);
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* The process was stopped for longer than a drain may take, and is told to end when it goes on: the
 * drain begins now, not in the future. */
Test(node_hang, a_drain_asked_for_right_after_a_pause_has_its_time)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump.hold_flusher = true;
    turn_for(&pump, 3);
    pump.monotonic_ns += 90000 * NS_PER_MS;
    node_drain(pump.node);
    turn_for(&pump, 3);
    cr_assert_eq(pump_status(&pump).phase, NODE_DRAINING, "%s", pump_status(&pump).error.text);
    pump.hold_flusher = false;
    pump_stop(&pump);
    pump_deinit(&pump);
}

/* The flusher hangs during drain: the node says so after its bound instead of waiting for ever. */
Test(node_hang, a_drain_that_hangs_says_what_hangs)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump.hold_flusher = true;
    node_drain(pump.node);
    turn_for(&pump, 10);
    cr_assert_eq(pump_status(&pump).phase, NODE_DRAINING);
    pump.monotonic_ns += 60001 * NS_PER_MS; /* stopped so long: not the disk's fault */
    turn_for(&pump, 3);
    cr_assert_eq(pump_status(&pump).phase, NODE_DRAINING);
    turn_for_ms(&pump, 60001);
    cr_assert_eq(pump_status(&pump).phase, NODE_FAILED);
    cr_assert_not_null(strstr(pump_status(&pump).error.text, "checkpoint"));
    pump.hold_flusher = false;
    pump_close(&pump);
    pump_serve(&pump);
    pump_stop(&pump);
    pump_deinit(&pump);
}
