/* Digests in the log: compared when they come, and a difference ends the node for good. */
#include "replication/node/node_internal.h"
#include "tests/replication/pump.h"
#include "tests/replication/requests.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(node_digest, .timeout = 120);

/* Entries of one transfer each until the machine has applied `index`. */
static void fill_to(struct pump *pump, uint64_t index)
{
    static uint64_t number;
    while (pump_status(pump).applied_index < index) {
        struct test_request *request = request_transfers(number++, 1);
        request_run(pump, request);
        request_destroy(request);
    }
}

static bool is_compared(void *context)
{
    struct pump *pump = context;
    return pump->node->digests.compared == DIGEST_INTERVAL;
}

/* 256 entries are applied: the leader's digest goes into the log and is found equal, here, and by a
 * node that replays the same log from scratch. Nothing more is proposed until the next multiple. */
Test(node_digest, a_digest_is_logged_every_256_entries_and_found_equal_in_a_replay)
{
    struct pump pump, copy;
    pump_init(&pump, true);
    pump.options.journal_keep_entries = 1000000;
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    fill_to(&pump, DIGEST_INTERVAL);
    cr_assert(pump_until(&pump, is_compared, &pump));
    uint64_t applied = pump_status(&pump).applied_index;
    for (int turn = 0; turn < 50; turn++)
        pump_turn(&pump);
    cr_assert_eq(pump_status(&pump).applied_index, applied, "one digest, not one a turn");

    pump_init_copy(&copy, &pump, "replayed", true);
    pump_serve(&copy);
    cr_assert_eq(copy.node->digests.compared, DIGEST_INTERVAL);
    pump_stop(&copy);
    pump_deinit(&copy);
    pump_stop(&pump);
    pump_deinit(&pump);
}

static bool has_failed(void *context)
{
    return pump_status(context).phase == NODE_FAILED;
}

/* The digest that comes back from the log is not ours (one bit of what was noted is turned over):
 * fail-stop with both digests in words, and the next start is refused until somebody has looked. */
Test(node_digest, a_difference_stops_the_node_and_quarantines_its_files)
{
    struct pump pump;
    pump_init(&pump, true);
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    fill_to(&pump, DIGEST_INTERVAL - 1);
    pump.hold_writer = true;
    struct test_request *request = request_transfers(1u << 20, 1);
    cr_assert_eq(request_propose(&pump, request), STATUS_OK);
    pump_turn(&pump);
    pump.hold_writer = false;
    cr_assert(pump_until(&pump, request_is_done, request));
    request_destroy(request);
    cr_assert_eq(pump_status(&pump).applied_index, DIGEST_INTERVAL);
    cr_assert(pump.node->digests.proposed);
    pump.node->digests.noted[1].digest[5] ^= 4;
    cr_assert(pump_until(&pump, has_failed, &pump));
    struct node_status status = pump_status(&pump);
    cr_assert_eq(status.error.status, STATUS_CORRUPT);
    cr_assert_not_null(strstr(status.error.text, "quarantined"), "%s", status.error.text);
    cr_assert_eq(pump_event_count(&pump, "quarantined"), 1);
    pump_close(&pump);
    cr_assert_eq(pump_open(&pump), STATUS_CORRUPT);
    cr_assert_not_null(strstr(pump.error.text, "tally node repair"), "%s", pump.error.text);
    pump_deinit(&pump);
}
