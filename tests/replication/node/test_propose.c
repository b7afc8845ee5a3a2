/* The proposer alone, on a consensus that does what the test says: digests, order, loss. */
#include "replication/node/propose.h"

#include "core/ledger_past.h"
#include "replication/memory.h"
#include "replication/node/linear_read.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(propose, .timeout = 30);

/* ---- a consensus that only takes note ---- */

struct fake {
    struct consensus base;
    enum status status; /* of the next propose */
    uint64_t last_index;
    uint64_t last_stamp_first, last_stamp_count;
    struct consensus_confirmation *confirmation;
};

static enum status fake_propose(struct consensus *consensus, struct consensus_proposal *proposal)
{
    struct fake *fake = (struct fake *)consensus;
    if (fake->status != STATUS_OK)
        return fake->status;
    struct entry_header header;
    memcpy(&header, proposal->payload, sizeof header);
    cr_assert_eq(command_check(proposal->payload, proposal->size), STATUS_OK);
    cr_assert_geq(header.stamp, fake->last_stamp_first + fake->last_stamp_count,
                  "later than every event in the log, committed or not");
    fake->last_stamp_first = header.stamp;
    fake->last_stamp_count = header.event_count;
    proposal->index = ++fake->last_index;
    proposal->term = 5;
    return STATUS_OK;
}

static void fake_confirm(struct consensus *consensus, struct consensus_confirmation *confirmation)
{
    struct fake *fake = (struct fake *)consensus;
    cr_assert_null(fake->confirmation);
    fake->confirmation = confirmation;
    confirmation->in_flight = true;
}

static const struct consensus_operations fake_operations = {
    .propose = fake_propose,
    .confirm = fake_confirm,
};

static void confirm_now(struct fake *fake, enum status status, uint64_t index)
{
    struct consensus_confirmation *confirmation = fake->confirmation;
    fake->confirmation = NULL;
    confirmation->in_flight = false;
    confirmation->cb(confirmation, status, index);
}

/* ---- the rest of the world ---- */

static bool no_transfer(void *c, const struct id128 *id, struct transfer_record *out)
{
    (void)c, (void)id, (void)out;
    return false;
}

static bool no_sequence(void *c, uint64_t sequence, struct transfer_record *out)
{
    (void)c, (void)sequence, (void)out;
    return false;
}

static bool no_request(void *c, uint32_t name, const uint8_t nonce[16], struct request_record *out,
                       uint8_t *answer)
{
    (void)c, (void)name, (void)nonce, (void)out, (void)answer;
    return false;
}

static void no_event(void *c, const char *name, const char *text, uint64_t a, uint64_t b)
{
    (void)c, (void)name, (void)text, (void)a, (void)b;
}

/* A wall clock that stands still: only the proposer's own counting moves stamps. */
static uint64_t still_wall_ns(void *c)
{
    (void)c;
    return 1000;
}

static uint64_t real_monotonic_ns(void *c)
{
    (void)c;
    return environment_real()->monotonic_ns(NULL);
}

static const struct environment environment = {.monotonic_ns = real_monotonic_ns,
                                               .wall_ns = still_wall_ns};

static enum status failure;

static void note_failure(void *c, enum status status, const char *text)
{
    (void)c, (void)text;
    failure = status;
}

static const struct notify notify = {.event = no_event, .fail = note_failure};

struct bench {
    struct fake fake;
    struct machine *machine;
    struct proposer proposer;
};

static void bench_init(struct bench *bench, uint32_t in_flight)
{
    memset(bench, 0, sizeof *bench);
    bench->fake.base.operations = &fake_operations;
    const struct ledger_past past = {.transfer_by_id = no_transfer,
                                     .transfer_by_sequence = no_sequence,
                                     .request_by_nonce = no_request};
    const struct machine_options machine = {
        .memory = memory_pages(),
        .account_count_max = 100,
        .epoch_transfer_count_max = 2 * REQUEST_EVENTS_MAX,
        .epoch_request_count_max = 4 * ENTRY_REQUESTS_MAX,
        .epoch_answer_bytes_max = 1 << 20,
    };
    cr_assert_eq(machine_create(&machine, &past, &bench->machine), STATUS_OK);
    const struct proposer_options options = {
        .environment = &environment,
        .notify = &notify,
        .in_flight_entries_max = in_flight,
        .waiting_requests_max = 10000,
        .waiting_bytes_max = 8u << 20,
    };
    cr_assert_eq(proposer_init(&bench->proposer, &options), STATUS_OK);
    proposer_attach(&bench->proposer, bench->machine, &bench->fake.base);
}

static void bench_deinit(struct bench *bench)
{
    proposer_deinit(&bench->proposer);
    machine_destroy(bench->machine);
}

struct call {
    struct node_request node; /* first */
    uint32_t count;
    enum status status;
};

static void call_cb(struct node_request *node, enum status status, const struct answer *answer)
{
    cr_assert_null(answer);
    struct call *call = (struct call *)node;
    call->count++;
    call->status = status;
}

/* A request of `count` transfers; kept by the caller, freed with free(). */
static struct request_header *make_request(uint32_t count)
{
    size_t size = sizeof(struct request_header) + count * sizeof(struct transfer_event);
    struct request_header *request = aligned_alloc(8, size);
    cr_assert_not_null(request);
    memset(request, 0, size);
    request->operation = OPERATION_CREATE_TRANSFERS;
    request->event_count = count;
    request->issued_at_ns = 12345;
    request_seal(request, 2);
    return request;
}

/* The digest covers what a request asks for, and not who asks or under which nonce. */
Test(propose, a_digest_covers_operation_events_and_issue_time)
{
    struct request_header *request = make_request(3);
    uint8_t first[32];
    memcpy(first, request->digest, sizeof first);
    cr_assert_eq(request->size, 80 + 3 * 128);
    cr_assert_eq(request->principal, 2);
    cr_assert_eq(request->encoding, ANSWER_ENCODING);
    cr_assert_eq(request_check(request), STATUS_OK);

    request->nonce[3] = 9;
    request_seal(request, 1);
    cr_assert_arr_eq(request->digest, first, 32);
    uint8_t *events = (uint8_t *)(request + 1);
    for (size_t i = 0; i < 3 * 128; i += 37) {
        events[i] ^= 1;
        request_seal(request, 2);
        cr_assert_arr_neq(request->digest, first, 32, "byte %zu", i);
        events[i] ^= 1;
    }
    request->issued_at_ns++;
    request_seal(request, 2);
    cr_assert_arr_neq(request->digest, first, 32);
    request->issued_at_ns--;
    request->event_count = 2;
    request_seal(request, 2);
    cr_assert_arr_neq(request->digest, first, 32);
    request->event_count = 0;
    request->operation = OPERATION_FENCE_REQUEST;
    request_seal(request, 2);
    cr_assert_eq(request->size, 80);
    cr_assert_eq(request_check(request), STATUS_OK);
    free(request);
}

/* An entry gathers up to 256 KiB and no further; order and count are kept over many of them. */
Test(propose, gathering_stops_at_its_bounds)
{
    struct bench bench;
    bench_init(&bench, 4);
    struct request_header *request = make_request(100); /* 12 880 bytes: 20 of them fit */
    struct call calls[50] = {0};
    for (int i = 0; i < 50; i++) {
        calls[i].node = (struct node_request){.request = request, .cb = call_cb};
        cr_assert_eq(proposer_add(&bench.proposer, &calls[i].node), STATUS_OK);
    }
    proposer_process(&bench.proposer, false);
    cr_assert_eq(bench.proposer.in_flight_entries, 3);
    uint32_t expected[] = {20, 20, 10};
    for (uint64_t i = 0; i < 3; i++) {
        cr_assert_null(proposer_take(&bench.proposer, i + 2, 5), "another index is not ours");
        struct entry_slot *slot = proposer_take(&bench.proposer, i + 1, 5);
        cr_assert_not_null(slot);
        cr_assert_eq(slot->request_count, expected[i]);
        uint32_t position = 0;
        for (struct node_request *at = slot->requests; at != NULL; at = at->next)
            cr_assert_eq(at->position, position++);
        cr_assert_eq(position, expected[i]);
        proposer_answer_slot(slot, STATUS_UNKNOWN_OUTCOME);
        proposer_release(&bench.proposer, slot);
    }
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(calls[i].count, 1);
        cr_assert_eq(calls[i].status, STATUS_UNKNOWN_OUTCOME);
    }
    cr_assert_eq(bench.proposer.in_flight_bytes, 0);
    free(request);
    bench_deinit(&bench);
}

/* Another leader's entry came at the index of our proposal: it is certainly not in the log, so its
 * requests wait again as if they had never been proposed. */
Test(propose, an_entry_of_another_term_at_our_index_gives_its_requests_back)
{
    struct bench bench;
    bench_init(&bench, 2);
    struct request_header *request = make_request(10);
    struct call call = {.node = {.request = request, .cb = call_cb}};
    cr_assert_eq(proposer_add(&bench.proposer, &call.node), STATUS_OK);
    proposer_process(&bench.proposer, false);
    cr_assert_eq(bench.proposer.in_flight_entries, 1);
    cr_assert_null(proposer_take(&bench.proposer, 1, 6));
    cr_assert_eq(bench.proposer.in_flight_entries, 0);
    cr_assert_eq(bench.proposer.waiting_count, 1);
    cr_assert_not(call.node.uncertain);
    proposer_refuse_waiting(&bench.proposer, STATUS_BUSY);
    cr_assert_eq(call.count, 1);
    cr_assert_eq(call.status, STATUS_BUSY);
    free(request);
    bench_deinit(&bench);
}

/* Leadership is lost with two entries in flight: their requests wait first, in their order, and
 * from then on nothing but an answer or "unknown" may be said of them. Those of another node go
 * back to it at once. The entries are committed later all the same: nobody is answered twice. */
Test(propose, requests_of_a_deposed_leader_wait_again_and_are_uncertain)
{
    struct bench bench;
    bench_init(&bench, 2);
    struct request_header *request = make_request(REQUEST_EVENTS_MAX);
    struct request_header *small = make_request(1);
    struct call calls[5] = {0};
    for (int i = 0; i < 5; i++) {
        calls[i].node = (struct node_request){
            .request = i < 2 ? request : small, .cb = call_cb, .served = i == 1 || i == 3};
        cr_assert_eq(proposer_add(&bench.proposer, &calls[i].node), STATUS_OK);
    }
    proposer_process(&bench.proposer, false);
    cr_assert_eq(bench.proposer.in_flight_entries, 2, "the memtable holds two");
    proposer_end_term(&bench.proposer);
    cr_assert_eq(calls[1].status, STATUS_UNKNOWN_OUTCOME, "was proposed");
    cr_assert_eq(calls[3].status, STATUS_NOT_READY, "was not");
    cr_assert_eq(bench.proposer.waiting_count, 3);
    cr_assert_eq(bench.proposer.waiting_first, &calls[0].node);
    cr_assert(calls[0].node.uncertain);
    cr_assert_not(calls[2].node.uncertain);
    struct entry_slot *slot = proposer_take(&bench.proposer, 1, 5);
    cr_assert_not_null(slot, "its bytes are still ours");
    cr_assert_null(slot->requests);
    proposer_release(&bench.proposer, slot);
    proposer_begin_term(&bench.proposer, 77);
    cr_assert_eq(bench.proposer.in_flight_entries, 0, "the other one never made it");
    proposer_refuse_certain(&bench.proposer, STATUS_READ_ONLY);
    cr_assert_eq(calls[2].status, STATUS_READ_ONLY);
    cr_assert_eq(calls[4].status, STATUS_READ_ONLY);
    cr_assert_eq(calls[0].count, 0);
    calls[0].node.until_ns = 1;
    bench.proposer.expiry_ns = 1;
    proposer_expire(&bench.proposer, STATUS_BUSY);
    cr_assert_eq(calls[0].status, STATUS_UNKNOWN_OUTCOME);
    for (int i = 0; i < 5; i++)
        cr_assert_eq(calls[i].count, 1);
    free(request);
    free(small);
    bench_deinit(&bench);
}

/* Two requests in one entry, the first runs out of time while it is in flight: it is told so, the
 * other one is answered, and the entry is applied once. */
Test(propose, a_request_out_of_time_in_flight_is_unknown)
{
    struct bench bench;
    bench_init(&bench, 2);
    struct request_header *request = make_request(10);
    struct call calls[2] = {0};
    uint64_t now = real_monotonic_ns(NULL);
    for (int i = 0; i < 2; i++) {
        calls[i].node = (struct node_request){
            .request = request, .cb = call_cb, .deadline_ns = i == 0 ? now + 1 : 0};
        cr_assert_eq(proposer_add(&bench.proposer, &calls[i].node), STATUS_OK);
    }
    proposer_process(&bench.proposer, false);
    proposer_expire(&bench.proposer, STATUS_BUSY);
    cr_assert_eq(calls[0].count, 1);
    cr_assert_eq(calls[0].status, STATUS_UNKNOWN_OUTCOME);
    struct entry_slot *slot = proposer_take(&bench.proposer, 1, 5);
    cr_assert_not_null(slot);
    cr_assert_eq(slot->requests, &calls[1].node);
    cr_assert_eq(slot->requests->position, 1);
    proposer_answer_slot(slot, STATUS_UNKNOWN_OUTCOME);
    proposer_release(&bench.proposer, slot);
    free(request);
    bench_deinit(&bench);
}

/* The journal is busy: nothing is lost from the waiting list, nothing is sent twice; any other
 * status is a failure. */
Test(propose, a_busy_journal_leaves_requests_waiting)
{
    static const enum status refusals[] = {STATUS_BUSY, STATUS_READ_ONLY, STATUS_NOT_READY};
    struct bench bench;
    bench_init(&bench, 2);
    struct request_header *request = make_request(10);
    struct call call = {.node = {.request = request, .cb = call_cb}};
    cr_assert_eq(proposer_add(&bench.proposer, &call.node), STATUS_OK);
    failure = STATUS_OK;
    for (size_t i = 0; i < 3; i++) {
        bench.fake.status = refusals[i];
        proposer_process(&bench.proposer, false);
        cr_assert_eq(bench.proposer.waiting_count, 1);
        cr_assert_eq(bench.proposer.in_flight_entries, 0);
        cr_assert(bench.proposer.journal_refused);
        cr_assert_eq(failure, STATUS_OK);
    }
    bench.fake.status = STATUS_IO;
    proposer_process(&bench.proposer, false);
    cr_assert_eq(failure, STATUS_IO);
    bench.fake.status = STATUS_OK;
    proposer_process(&bench.proposer, true);
    cr_assert_eq(bench.proposer.in_flight_entries, 0, "held");
    proposer_process(&bench.proposer, false);
    cr_assert_eq(bench.proposer.in_flight_entries, 1);
    cr_assert_eq(call.count, 0);
    proposer_abandon(&bench.proposer);
    cr_assert_eq(call.count, 1);
    cr_assert_eq(call.status, STATUS_UNKNOWN_OUTCOME);
    free(request);
    bench_deinit(&bench);
}

/* The owner lets so many bytes through: an entry begins as long as there are any, the others wait.
 */
Test(propose, a_budget_holds_entries_back)
{
    struct bench bench;
    bench_init(&bench, 4);
    struct request_header *request = make_request(4000); /* two do not fit one entry */
    struct call calls[3] = {0};
    for (int i = 0; i < 3; i++) {
        calls[i].node = (struct node_request){.request = request, .cb = call_cb};
        cr_assert_eq(proposer_add(&bench.proposer, &calls[i].node), STATUS_OK);
    }
    bench.proposer.budget_bytes = 0;
    proposer_process(&bench.proposer, false);
    cr_assert_eq(bench.proposer.in_flight_entries, 0);
    bench.proposer.budget_bytes = 1;
    proposer_process(&bench.proposer, false);
    cr_assert_eq(bench.proposer.in_flight_entries, 1);
    cr_assert_eq(bench.proposer.budget_bytes, 0);
    cr_assert_gt(bench.proposer.proposed_bytes_total, 4000u * 128);
    proposer_process(&bench.proposer, false);
    cr_assert_eq(bench.proposer.in_flight_entries, 1);
    bench.proposer.budget_bytes = UINT64_MAX;
    proposer_process(&bench.proposer, false);
    cr_assert_eq(bench.proposer.in_flight_entries, 3);
    cr_assert_eq(bench.proposer.budget_bytes, UINT64_MAX);
    proposer_abandon(&bench.proposer);
    free(request);
    bench_deinit(&bench);
}

/* Entries in flight count against the memtable although none is applied yet. */
Test(propose, what_is_in_flight_takes_room_in_the_memtable)
{
    struct bench bench;
    bench_init(&bench, 4);
    struct request_header *request = make_request(REQUEST_EVENTS_MAX);
    struct call calls[3] = {0};
    for (int i = 0; i < 3; i++) {
        calls[i].node = (struct node_request){.request = request, .cb = call_cb};
        cr_assert_eq(proposer_add(&bench.proposer, &calls[i].node), STATUS_OK);
    }
    proposer_process(&bench.proposer, false);
    cr_assert_eq(bench.proposer.in_flight_entries, 2, "the memtable holds two");
    cr_assert(bench.proposer.room_wanted);
    cr_assert_eq(bench.proposer.waiting_count, 1);
    proposer_abandon(&bench.proposer);
    cr_assert_eq(calls[1].status, STATUS_UNKNOWN_OUTCOME);
    cr_assert_eq(calls[2].status, STATUS_STOPPING);
    free(request);
    bench_deinit(&bench);
}

/* ---- reads on the same fake ---- */

struct seen_read {
    struct node_read node; /* first */
    uint32_t count;
    enum status status;
};

static void seen_cb(struct node_read *node, enum status status)
{
    struct seen_read *read = (struct seen_read *)node;
    read->count++;
    read->status = status;
}

/* A read that arrives while a round is under way needs the next round: the one under way may have
 * been answered before the read arrived. */
Test(propose, a_read_is_confirmed_by_a_round_begun_after_it)
{
    struct fake fake = {.base.operations = &fake_operations};
    struct linear_reads reads;
    linear_reads_init(&reads, environment_real(), 3);
    linear_reads_attach(&reads, &fake.base);
    struct seen_read a = {.node.cb = seen_cb}, b = a, c = a, d = a;
    a.node.deadline_ns = b.node.deadline_ns = c.node.deadline_ns = UINT64_MAX;
    cr_assert_eq(linear_reads_add(&reads, &a.node), STATUS_OK);
    linear_reads_begin(&reads);
    cr_assert_eq(linear_reads_add(&reads, &b.node), STATUS_OK);
    linear_reads_begin(&reads);
    confirm_now(&fake, STATUS_OK, 7);
    linear_reads_finish(&reads, 6);
    cr_assert_eq(a.count + b.count, 0, "index 7 is not applied");
    linear_reads_finish(&reads, 7);
    cr_assert_eq(a.count, 1);
    cr_assert_eq(b.count, 0);
    /* The next round fails: the read goes into the one after it. */
    linear_reads_begin(&reads);
    confirm_now(&fake, STATUS_NOT_READY, 0);
    linear_reads_finish(&reads, 7);
    linear_reads_begin(&reads);
    cr_assert_null(fake.confirmation, "not before a pause");
    reads.retry_ns = 0;
    linear_reads_begin(&reads);
    confirm_now(&fake, STATUS_OK, 7);
    linear_reads_finish(&reads, 7);
    cr_assert_eq(b.count, 1);
    cr_assert_eq(b.status, STATUS_OK);
    /* The bound, and the end. */
    for (int i = 0; i < 3; i++)
        cr_assert_eq(linear_reads_add(&reads, i == 0   ? &c.node
                                              : i == 1 ? &a.node
                                                       : &b.node),
                     STATUS_OK);
    cr_assert_eq(linear_reads_add(&reads, &d.node), STATUS_BUSY);
    linear_reads_cancel(&reads, &a.node);
    linear_reads_begin(&reads);
    linear_reads_cancel(&reads, &b.node);
    linear_reads_abandon(&reads, STATUS_STOPPING);
    cr_assert_eq(c.count, 1);
    cr_assert_eq(c.status, STATUS_STOPPING);
    cr_assert_eq(a.count, 1);
    cr_assert_eq(b.count, 1);
    confirm_now(&fake, STATUS_OK, 9); /* nobody waits any more */
    cr_assert_eq(linear_reads_count(&reads), 0);
}

/* A round has ended, and what it named is not applied yet: the state is no newer than it was. Who
 * names an age asks as usual, and is answered as soon as it is applied. */
Test(propose, a_state_is_new_when_what_was_confirmed_is_applied)
{
    struct fake fake = {.base.operations = &fake_operations};
    struct linear_reads reads;
    linear_reads_init(&reads, environment_real(), 3);
    linear_reads_attach(&reads, &fake.base);
    struct seen_read a = {.node.cb = seen_cb}, aged = a;
    a.node.deadline_ns = aged.node.deadline_ns = UINT64_MAX;
    aged.node.max_age_ns = 60 * (uint64_t)1000000000;
    cr_assert_eq(linear_reads_add(&reads, &a.node), STATUS_OK);
    linear_reads_begin(&reads);
    confirm_now(&fake, STATUS_OK, 7);
    linear_reads_finish(&reads, 6);
    cr_assert_eq(linear_reads_add(&reads, &aged.node), STATUS_OK);
    linear_reads_begin(&reads);
    cr_assert_not_null(fake.confirmation);
    linear_reads_finish(&reads, 6);
    cr_assert_eq(a.count + aged.count, 0, "index 7 is not applied");
    linear_reads_finish(&reads, 7);
    cr_assert_eq(a.count, 1);
    cr_assert_eq(aged.count, 1);
    cr_assert_eq(aged.status, STATUS_OK);
    confirm_now(&fake, STATUS_OK, 7); /* nobody waits any more */
    cr_assert_eq(linear_reads_count(&reads), 0);
}
