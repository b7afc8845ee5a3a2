/*
 * All threads of a node at once, without Criterion, so that it runs under ThreadSanitizer:
 *
 *     meson setup build-tsan -Db_sanitize=thread && ninja -C build-tsan tests/replication/race_node
 *     build-tsan/tests/replication/race_node
 *
 * Proposals of every size with tiny epochs and tiny segments, reads, status questions, drains and
 * restarts. Exits 0 when every answer was right; a data race is the sanitizer's to report.
 */
#include "tests/replication/pump.h"
#include "tests/replication/requests.h"

#define ROUNDS    3
#define BATCHES   40
#define IN_FLIGHT 6

struct counting_read {
    struct node_read node; /* first */
    bool done;
};

static void read_cb(struct node_read *node, enum status status)
{
    require(status == STATUS_OK || status == STATUS_STOPPING, "%s", status_text(status));
    ((struct counting_read *)node)->done = true;
}

static void run_round(struct pump *pump, uint64_t first)
{
    struct test_request *requests[BATCHES] = {NULL};
    uint32_t proposed = 0, finished = 0;
    struct counting_read read = {.node = {.cb = read_cb}, .done = true};
    while (finished < BATCHES) {
        while (proposed < BATCHES && proposed - finished < IN_FLIGHT) {
            uint32_t size = proposed % 3 == 0 ? REQUEST_EVENTS_MAX : 1 + proposed * 7;
            requests[proposed] = request_transfers(first + proposed * REQUEST_EVENTS_MAX, size);
            enum status status = request_propose(pump, requests[proposed]);
            if (status == STATUS_BUSY) { /* a machine so slow that commits take over a second */
                request_destroy(requests[proposed]);
                break;
            }
            require(status == STATUS_OK, "%s", status_text(status));
            proposed++;
        }
        if (read.done) {
            read = (struct counting_read){.node = {.cb = read_cb}};
            require(node_read(pump->node, &read.node) == STATUS_OK, "read refused");
        }
        pump_turn(pump);
        require(pump_status(pump).phase == NODE_SERVING, "%s", pump_status(pump).error.text);
        while (finished < proposed && requests[finished]->done) {
            require(requests[finished]->status == STATUS_OK, "%s",
                    status_text(requests[finished]->status));
            request_destroy(requests[finished++]);
        }
    }
    while (!read.done)
        pump_turn(pump);
}

int main(void)
{
    struct pump pump;
    pump_init(&pump, false);
    pump.options.checkpoint_interval_ms = 50;
    for (int round = 0; round < ROUNDS; round++) {
        pump_serve(&pump);
        if (round == 0)
            create_ledger_and_accounts(&pump);
        uint64_t first = (uint64_t)round * BATCHES * REQUEST_EVENTS_MAX;
        run_round(&pump, first);
        require(transfers_exist(&pump, first, REQUEST_EVENTS_MAX), "round %d", round);
        pump_stop(&pump);
    }
    /* And a failure in the middle: the threads end by themselves. */
    pump_serve(&pump);
    struct test_request *request = request_transfers(1ull << 40, 10);
    faulty_disk_set(&pump.disk, &pump.disk.sync_status, STATUS_IO);
    require(request_propose(&pump, request) == STATUS_OK, "refused");
    require(pump_until_phase(&pump, NODE_FAILED), "no fail-stop");
    require(request->status == STATUS_UNKNOWN_OUTCOME, "%s", status_text(request->status));
    request_destroy(request);
    faulty_disk_set(&pump.disk, &pump.disk.sync_status, STATUS_OK);
    pump_close(&pump);
    pump_serve(&pump);
    pump_stop(&pump);
    pump_deinit(&pump);
    puts("race_node: ok");
    return 0;
}
