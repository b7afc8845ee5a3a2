/*
 * Crashes: a copy of the directory after a step of the jobs, and kill -9 of a process under load.
 * Afterwards everything acknowledged is there, entries are there whole or not at all, and the state
 * is what the journal alone says: the digest equals that of a replay from scratch.
 */
#include "tests/replication/pump.h"
#include "tests/replication/requests.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(node_crash, .timeout = 600);

/* Opens a copy, and if nothing was pruned a second one without its store: both serve, and agree. */
static void assert_copy_is_whole(const struct pump *origin, uint64_t acknowledged)
{
    uint8_t digests[2][16];
    int copies = origin->options.journal_keep_entries > 0 ? 2 : 1;
    for (int without_store = 0; without_store < copies; without_store++) {
        struct pump copy;
        pump_init_copy(&copy, origin, "crashed", without_store);
        pump_serve(&copy);
        cr_assert(transfers_exist(&copy, 0, acknowledged), "%lu acknowledged", acknowledged);
        memcpy(digests[without_store], pump_status(&copy).digest, 16);
        pump_stop(&copy);
        pump_deinit(&copy);
    }
    if (copies == 2)
        cr_assert_arr_eq(digests[0], digests[1], 16);
}

/* Epochs in single steps: writer, preparer and flusher one call each per turn, a crash after every
 * turn. */
static void crash_after_each_step(uint64_t journal_keep_entries)
{
    struct pump pump;
    pump_init(&pump, true);
    pump.options.journal_keep_entries = journal_keep_entries;
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    uint64_t acknowledged = 0;
    for (uint64_t batch = 0; batch < 5; batch++) {
        struct test_request *request =
            request_transfers(batch * REQUEST_EVENTS_MAX, REQUEST_EVENTS_MAX);
        cr_assert_eq(request_propose(&pump, request), STATUS_OK);
        for (int turn = 0; !request->done || turn < 4; turn++) {
            cr_assert_lt(turn, 200);
            pump_turn(&pump);
            assert_copy_is_whole(&pump, acknowledged);
        }
        acknowledged += REQUEST_EVENTS_MAX;
        request_destroy(request);
    }
    cr_assert_geq(pump_event_count(&pump, "checkpoint_done"), 2);
    node_drain(pump.node);
    while (pump_status(&pump).phase == NODE_DRAINING) {
        pump_turn(&pump);
        assert_copy_is_whole(&pump, acknowledged);
    }
    if (journal_keep_entries == 0)
        cr_assert_gt(pump_status(&pump).journal.first_index, 1, "the journal was pruned");
    pump_close(&pump);
    pump_deinit(&pump);
}

/* Everything stays in the journal: each crash is also compared with a replay from scratch. */
Test(node_crash, a_crash_after_any_step_loses_nothing_acknowledged)
{
    crash_after_each_step(1000000);
}

Test(node_crash, a_crash_after_any_step_of_pruning_loses_nothing_acknowledged)
{
    crash_after_each_step(0);
}

/* ---- kill -9 ---- */

#define ROUNDS       30
#define RECORDS_MAX  20000
#define IN_FLIGHT    6
#define BATCH_MAX    1500
#define ROUND_US_MIN 20000
#define ROUND_US_MAX 150000

/* Written by the child, read by the parent after the kill. */
struct client_log {
    _Atomic uint32_t count;
    struct {
        uint64_t first;
        uint32_t size;
        _Atomic uint32_t acknowledged;
    } records[RECORDS_MAX];
    _Atomic uint64_t next_transfer;
};

static uint32_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33);
}

/* The child: requests of random size, several in flight, until it is killed. */
static _Noreturn void run_client(struct pump *pump, struct client_log *log, uint64_t seed)
{
    pump_serve(pump);
    struct test_request *requests[IN_FLIGHT] = {NULL};
    uint32_t records[IN_FLIGHT] = {0};
    for (;;) {
        for (int i = 0; i < IN_FLIGHT; i++) {
            if (requests[i] != NULL && requests[i]->done) {
                if (requests[i]->status == STATUS_OK && requests[i]->results[0] == RESULT_OK)
                    log->records[records[i]].acknowledged = 1;
                request_destroy(requests[i]);
                requests[i] = NULL;
            }
            if (requests[i] != NULL || log->count == RECORDS_MAX)
                continue;
            uint32_t record = log->count;
            uint32_t size = 1 + draw(&seed) % BATCH_MAX;
            log->records[record].first = log->next_transfer;
            log->records[record].size = size;
            requests[i] = request_transfers(log->next_transfer, size);
            records[i] = record;
            log->next_transfer += size;
            log->count = record + 1;
            if (request_propose(pump, requests[i]) != STATUS_OK) {
                request_destroy(requests[i]);
                requests[i] = NULL;
            }
        }
        pump_turn(pump);
    }
}

static void check_records(struct pump *pump, const struct client_log *log, uint32_t from)
{
    for (uint32_t i = from; i < log->count; i++) {
        uint64_t first = log->records[i].first;
        uint32_t size = log->records[i].size;
        uint32_t found = 0;
        for (uint32_t k = 0; k < size; k++)
            found += transfers_exist(pump, first + k, 1);
        if (log->records[i].acknowledged)
            cr_assert_eq(found, size, "record %u was acknowledged", i);
        cr_assert(found == 0 || found == size, "record %u: %u of %u", i, found, size);
    }
}

static uint32_t acknowledged_count(const struct client_log *log)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < log->count; i++)
        count += log->records[i].acknowledged;
    return count;
}

/* More rounds, and longer ones, than planned are for machines on which a child hardly gets to
 * acknowledge anything before it is killed. */
Test(node_crash, kill_9_under_load_loses_nothing_acknowledged)
{
    uint64_t seed = environment_real()->wall_ns(NULL);
    if (getenv("TALLY_SEED") != NULL)
        seed = strtoull(getenv("TALLY_SEED"), NULL, 10);
    fprintf(stderr, "TALLY_SEED=%lu\n", seed);
    struct client_log *log =
        mmap(NULL, sizeof *log, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(log, MAP_FAILED);
    struct pump pump;
    pump_init(&pump, false);
    pump.options.journal_keep_entries = 1000000;
    pump_serve(&pump);
    create_ledger_and_accounts(&pump);
    pump_stop(&pump);
    for (int round = 0;
         round < ROUNDS || (acknowledged_count(log) <= ROUNDS && round < 10 * ROUNDS); round++) {
        uint32_t from = log->count;
        uint32_t pause_us = ROUND_US_MIN + draw(&seed) % (ROUND_US_MAX - ROUND_US_MIN);
        if (round >= ROUNDS)
            pause_us += 5 * ROUND_US_MAX;
        uint64_t child_seed = draw(&seed);
        pid_t child = fork();
        cr_assert_geq(child, 0);
        if (child == 0)
            run_client(&pump, log, child_seed);
        usleep(pause_us);
        cr_assert_eq(kill(child, SIGKILL), 0);
        int ended = 0;
        cr_assert_eq(waitpid(child, &ended, 0), child);
        cr_assert(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL,
                  "round %d: the child ended by "
                  "itself",
                  round);
        /* Every third crash meets a start that was itself cut short. */
        if (round % 3 != 0)
            continue;
        pump_serve(&pump);
        check_records(&pump, log, round == 0 ? from : 0);
        pump_stop(&pump);
    }
    cr_assert_gt(acknowledged_count(log), ROUNDS, "the load was real");

    pump_serve(&pump);
    check_records(&pump, log, 0);
    uint8_t digest[16];
    memcpy(digest, pump_status(&pump).digest, 16);
    pump_stop(&pump);
    struct pump scratch;
    pump_init_copy(&scratch, &pump, "scratch", true);
    pump_serve(&scratch);
    cr_assert_arr_eq(pump_status(&scratch).digest, digest, 16);
    check_records(&scratch, log, 0);
    pump_stop(&scratch);
    pump_deinit(&scratch);
    pump_deinit(&pump);
    munmap(log, sizeof *log);
}
