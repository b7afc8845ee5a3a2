/* Forwarding alone: the bytes, and a sender and a leader whose consensus does what the test says,
 * over a network carried by hand. */
#include "replication/node/forward.h"

#include "core/ledger_past.h"
#include "replication/memory.h"
#include "replication/node/forward_message.h"
#include "tests/replication/loopback.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

TestSuite(forward, .timeout = 30);

#define NS_PER_MS 1000000ull

/* ---- bytes ---- */

static uint64_t draw_state = 1;

static uint32_t draw(void)
{
    draw_state = draw_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(draw_state >> 33);
}

static struct answer make_answer(uint8_t *results, uint32_t count, uint32_t refused)
{
    memset(results, 0, count);
    for (uint32_t i = 0; i < refused; i++)
        results[(size_t)i * count / refused] = 67;
    return (struct answer){
        .index = 77,
        .stamp = 1234567,
        .outcome = OUTCOME_EXECUTED,
        .repeated = true,
        .operation = OPERATION_CREATE_TRANSFERS,
        .encoding = ANSWER_ENCODING,
        .event_count = count,
        .results = count > 0 ? results : NULL,
    };
}

/* Answers with no, some and all results refused, of every size, come out as they went in. */
Test(forward, an_answer_survives_the_wire)
{
    static uint8_t results[REQUEST_EVENTS_MAX], out[REQUEST_EVENTS_MAX];
    static uint8_t bytes[FORWARD_RESULT_BYTES_MAX] __attribute__((aligned(8)));
    static const uint32_t counts[] = {0, 1, 2, 9, 100, REQUEST_EVENTS_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        for (uint32_t refused = 0; refused <= counts[i]; refused += 1 + counts[i] / 3) {
            struct answer answer = make_answer(results, counts[i], refused);
            size_t size = forward_result_encode(9, FORWARD_ANSWERED, &answer, bytes);
            cr_assert_leq(size, sizeof bytes);
            uint64_t sequence = 0;
            enum forward_status status = FORWARD_UNKNOWN;
            struct answer got;
            cr_assert_eq(forward_result_decode(bytes, size, &sequence, &status, &got, out),
                         STATUS_OK, "%u of %u", refused, counts[i]);
            cr_assert_eq(sequence, 9);
            cr_assert_eq(status, FORWARD_ANSWERED);
            cr_assert_eq(got.index, answer.index);
            cr_assert_eq(got.stamp, answer.stamp);
            cr_assert_eq(got.outcome, answer.outcome);
            cr_assert_eq(got.repeated, answer.repeated);
            cr_assert_eq(got.operation, answer.operation);
            cr_assert_eq(got.encoding, answer.encoding);
            cr_assert_eq(got.event_count, counts[i]);
            if (counts[i] > 0)
                cr_assert_arr_eq(got.results, results, counts[i]);
        }
    }
}

/* Turned bits, cut and lengthened messages are refused or decoded to something in range; nothing is
 * read beyond the bytes (a sanitizer's to tell). */
Test(forward, any_bytes_are_decoded_or_refused)
{
    static uint8_t results[REQUEST_EVENTS_MAX], out[REQUEST_EVENTS_MAX];
    static uint8_t bytes[FORWARD_RESULT_BYTES_MAX] __attribute__((aligned(8)));
    struct answer answer = make_answer(results, 40, 3);
    uint32_t refused = 0;
    for (int round = 0; round < 20000; round++) {
        size_t size = forward_result_encode(9, FORWARD_ANSWERED, &answer, bytes);
        for (uint32_t i = draw() % 4; i > 0; i--)
            bytes[draw() % size] ^= (uint8_t)(1u << draw() % 8);
        if (draw() % 4 == 0)
            size = draw() % (size + 1);
        uint8_t *exact = aligned_alloc(8, (size + 8) & ~7ull);
        memcpy(exact, bytes, size);
        uint64_t sequence = 0;
        enum forward_status status = FORWARD_UNKNOWN;
        struct answer got;
        if (forward_result_decode(exact, size, &sequence, &status, &got, out) != STATUS_OK) {
            refused++;
        } else if (status == FORWARD_ANSWERED) {
            cr_assert_lt(got.outcome, OUTCOME_COUNT);
            cr_assert_leq(got.event_count, REQUEST_EVENTS_MAX);
            for (uint32_t i = 0; got.results != NULL && i < got.event_count; i++)
                cr_assert_lt(got.results[i], 128);
        }
        struct forward_head head;
        const struct request_header *request;
        (void)forward_decode(exact, size, &head, &request);
        free(exact);
    }
    cr_assert_gt(refused, 5000);
}

/* ---- two nodes ---- */

struct side {
    struct consensus consensus; /* first */
    struct forward forward;
    struct proposer proposer;
    struct machine *machine;
    struct environment environment;
    uint64_t now_ns;
    uint64_t last_index;
    bool leads;
    uint64_t term;
    uint64_t both_index; /* 0: no rule about sites */
};

static struct loopback net;
static struct side follower, leader;

static enum status side_propose(struct consensus *consensus, struct consensus_proposal *proposal)
{
    struct side *side = (struct side *)consensus;
    proposal->index = ++side->last_index;
    proposal->term = side->term;
    return STATUS_OK;
}

static void side_status(const struct consensus *consensus, struct consensus_status *out)
{
    const struct side *side = (const struct side *)consensus;
    *out = (struct consensus_status){
        .term = side->term, .site_rule = side->both_index != 0, .both_index = side->both_index};
}

static const struct consensus_operations side_operations = {.propose = side_propose,
                                                            .status = side_status};

static uint64_t side_now_ns(void *context)
{
    return ((struct side *)context)->now_ns;
}

static void side_random(void *context, void *out, size_t size)
{
    (void)context;
    memset(out, 0x5a, size);
}

static void side_message(void *context, uint64_t from, enum transport_lane lane, const void *bytes,
                         size_t size)
{
    struct side *side = context;
    struct message_header header;
    cr_assert_eq(lane, TRANSPORT_CALLS);
    memcpy(&header, bytes, sizeof header);
    if (header.type == MESSAGE_FORWARD)
        forward_receive(&side->forward, from, bytes, size, side->term,
                        side->leads ? FORWARD_ANSWERED : FORWARD_NOT_LEADER);
    else
        forward_receive_result(&side->forward, from, bytes, size);
}

static void side_link(void *context, uint64_t peer, enum transport_lane lane, bool up)
{
    struct side *side = context;
    if (lane == TRANSPORT_CALLS)
        forward_link(&side->forward, peer, up);
}

static void side_writable(void *context, uint64_t peer, enum transport_lane lane)
{
    (void)context, (void)peer, (void)lane;
}

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

static void no_failure(void *c, enum status status, const char *text)
{
    (void)c, (void)status;
    cr_assert_fail("%s", text);
}

static const struct notify notify = {.event = no_event, .fail = no_failure};

static void side_init(struct side *side, uint64_t id)
{
    memset(side, 0, sizeof *side);
    side->consensus.operations = &side_operations;
    side->now_ns = 1000 * NS_PER_MS;
    side->term = 5;
    side->environment = (struct environment){.context = side,
                                             .monotonic_ns = side_now_ns,
                                             .wall_ns = side_now_ns,
                                             .random = side_random};
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
    cr_assert_eq(machine_create(&machine, &past, &side->machine), STATUS_OK);
    const struct proposer_options proposer = {
        .environment = &side->environment,
        .notify = &notify,
        .in_flight_entries_max = 2,
        .waiting_requests_max = 10000,
        .waiting_bytes_max = 8u << 20,
    };
    cr_assert_eq(proposer_init(&side->proposer, &proposer), STATUS_OK);
    proposer_attach(&side->proposer, side->machine, &side->consensus);
    const struct forward_options forward = {
        .environment = &side->environment,
        .proposer = &side->proposer,
        .transport = loopback_transport(&net, id),
        .served_max = 4,
        .served_bytes_max = 1u << 20,
    };
    forward_init(&side->forward, &forward);
    struct transport_self self = {.node_id = id};
    const struct transport_sink sink = {
        .context = side, .message = side_message, .link = side_link, .writable = side_writable};
    cr_assert_eq(transport_start(loopback_transport(&net, id), &self, &sink), STATUS_OK);
}

static void side_deinit(struct side *side)
{
    forward_abandon(&side->forward);
    proposer_abandon(&side->proposer);
    forward_deinit(&side->forward);
    proposer_deinit(&side->proposer);
    machine_destroy(side->machine);
}

/* Node 1 follows node 2, which leads in term 5. */
static void set_up(void)
{
    loopback_init(&net);
    side_init(&follower, 1);
    side_init(&leader, 2);
    leader.leads = true;
    cr_assert(loopback_turn(&net));
    forward_follow(&follower.forward, 2, 5);
}

static void tear_down(void)
{
    side_deinit(&follower);
    side_deinit(&leader);
    loopback_deinit(&net);
}

struct call {
    struct node_request node; /* first */
    struct request_header *request;
    uint32_t count;
    enum status status;
    struct answer answer;
    uint8_t results[8];
};

static void call_cb(struct node_request *node, enum status status, const struct answer *answer)
{
    struct call *call = (struct call *)node;
    call->count++;
    call->status = status;
    if (answer == NULL)
        return;
    call->answer = *answer;
    if (answer->event_count > 0)
        memcpy(call->results, answer->results, answer->event_count);
}

static void call_add(struct call *call, uint32_t events, uint64_t deadline_ms)
{
    size_t size = sizeof(struct request_header) + events * sizeof(struct transfer_event);
    call->request = aligned_alloc(8, size);
    memset(call->request, 0, size);
    call->request->operation = OPERATION_CREATE_TRANSFERS;
    call->request->event_count = events;
    request_seal(call->request, 2);
    call->node = (struct node_request){
        .request = call->request,
        .deadline_ns = deadline_ms == 0 ? 0 : follower.now_ns + deadline_ms * NS_PER_MS,
        .cb = call_cb,
    };
    cr_assert_eq(proposer_add(&follower.proposer, &call->node), STATUS_OK);
}

static void carry(void)
{
    for (int i = 0; i < 10 && loopback_turn(&net); i++)
        continue;
}

/* The leader proposes what it has, and answers the slot's requests with results 0, 1, 2, ... */
static void leader_answers(uint64_t index)
{
    struct entry_slot *slot = proposer_take(&leader.proposer, index, leader.term);
    cr_assert_not_null(slot);
    uint8_t results[8] = {0, 1, 2, 3};
    while (slot->requests != NULL) {
        struct node_request *request = slot->requests;
        slot->requests = request->next;
        struct answer answer = {
            .index = index,
            .stamp = 1000 + index,
            .operation = request->request->operation,
            .encoding = ANSWER_ENCODING,
            .event_count = request->request->event_count,
            .results = results,
        };
        request->cb(request, STATUS_OK, &answer);
    }
    proposer_release(&leader.proposer, slot);
}

/* A request at the follower is in the leader's log once, byte for byte, and the answer comes back
 * as the leader gave it. */
Test(forward, a_request_is_answered_as_at_the_leader)
{
    set_up();
    struct call call = {0};
    call_add(&call, 4, 0);
    forward_process(&follower.forward);
    cr_assert_eq(follower.proposer.waiting_count, 0);
    carry();
    cr_assert_eq(leader.proposer.waiting_count, 1);
    cr_assert_arr_eq(leader.proposer.waiting_first->request, call.request, call.request->size);
    proposer_process(&leader.proposer, false);
    leader_answers(1);
    carry();
    cr_assert_eq(call.count, 1);
    cr_assert_eq(call.status, STATUS_OK);
    cr_assert_eq(call.answer.index, 1);
    cr_assert_eq(call.answer.stamp, 1001);
    cr_assert_eq(call.answer.event_count, 4);
    for (uint8_t i = 0; i < 4; i++)
        cr_assert_eq(call.results[i], i);
    cr_assert_eq(leader.forward.served_count, 0);
    cr_assert_eq(leader.forward.served_bytes, 0);
    free(call.request);
    tear_down();
}

/* The wish for both sites reaches the leader; that the answer's entry is there comes back, and only
 * when the leader knows it. */
Test(forward, both_sites_are_asked_for_and_told)
{
    set_up();
    for (uint64_t i = 1; i <= 4; i++) {
        const bool wants = i % 2 == 0;
        struct call call = {0};
        call_add(&call, 1, 0);
        call.node.both_sites = wants;
        leader.both_index = i < 3 ? i : i - 1;
        forward_process(&follower.forward);
        carry();
        cr_assert_eq(leader.proposer.waiting_first->both_sites, wants);
        proposer_process(&leader.proposer, false);
        leader_answers(i);
        carry();
        cr_assert_eq(call.count, 1);
        cr_assert_eq(call.node.on_both, i < 3);
        free(call.request);
    }
    tear_down();
}

/* The link is cut while the leader has the request: it waits again, uncertain, goes to the leader
 * once more when the link is back, and is answered once. */
Test(forward, a_request_on_a_cut_link_is_sent_again)
{
    set_up();
    struct call call = {0};
    call_add(&call, 1, 0);
    forward_process(&follower.forward);
    carry();
    proposer_process(&leader.proposer, false);
    loopback_cut(&net, 1, 2, true);
    carry();
    cr_assert_eq(follower.proposer.waiting_count, 1);
    cr_assert(call.node.uncertain);
    leader_answers(1); /* nobody hears it */
    forward_process(&follower.forward);
    cr_assert_eq(follower.proposer.waiting_count, 1, "no link");
    loopback_cut(&net, 1, 2, false);
    carry();
    forward_process(&follower.forward);
    carry();
    proposer_process(&leader.proposer, false);
    leader_answers(2);
    carry();
    cr_assert_eq(call.count, 1);
    cr_assert_eq(call.status, STATUS_OK);
    cr_assert_eq(call.answer.index, 2);
    free(call.request);
    tear_down();
}

/* Each refusal of the leader, for a request that is nowhere else and for one that may be: the first
 * may be told, the second may not. */
Test(forward, a_refusal_is_told_only_while_nothing_can_be_in_a_log)
{
    static const struct {
        enum status at_leader;
        enum status certain, uncertain; /* STATUS_OK: waits again */
    } rows[] = {
        {STATUS_BUSY, STATUS_BUSY, STATUS_OK},
        {STATUS_READ_ONLY, STATUS_READ_ONLY, STATUS_OK},
        {STATUS_DEGRADED, STATUS_DEGRADED, STATUS_UNKNOWN_OUTCOME},
        {STATUS_INVALID, STATUS_INVALID, STATUS_UNKNOWN_OUTCOME},
        {STATUS_NOT_READY, STATUS_OK, STATUS_OK},
        {STATUS_STOPPING, STATUS_OK, STATUS_OK},
        {STATUS_UNKNOWN_OUTCOME, STATUS_OK, STATUS_OK},
    };
    set_up();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int uncertain = 0; uncertain < 2; uncertain++) {
            struct call call = {0};
            call_add(&call, 1, 0);
            call.node.uncertain = uncertain != 0;
            follower.forward.pause_until_ns = 0;
            forward_process(&follower.forward);
            carry();
            struct node_request *served = proposer_pop(&leader.proposer);
            cr_assert_null(served, "those of others are never sent on");
            served = leader.proposer.waiting_first;
            leader.proposer.waiting_first = leader.proposer.waiting_last = NULL;
            leader.proposer.waiting_count = 0;
            leader.proposer.waiting_bytes = 0;
            served->cb(served, rows[i].at_leader, NULL);
            carry();
            enum status expected = uncertain ? rows[i].uncertain : rows[i].certain;
            if (expected != STATUS_OK) {
                cr_assert_eq(call.count, 1, "row %zu %d", i, uncertain);
                cr_assert_eq(call.status, expected, "row %zu %d", i, uncertain);
            } else {
                cr_assert_eq(call.count, 0, "row %zu %d", i, uncertain);
                cr_assert_eq(follower.proposer.waiting_count, 1);
                cr_assert_eq(call.node.uncertain,
                             uncertain || rows[i].at_leader == STATUS_UNKNOWN_OUTCOME);
                cr_assert_gt(follower.forward.pause_until_ns, follower.now_ns, "no spinning");
                proposer_refuse_waiting(&follower.proposer, STATUS_BUSY);
            }
            free(call.request);
        }
    }
    tear_down();
}

/* Each outcome as the answer to an only attempt, and to one after an attempt of unknown end. Those
 * that the ledger gives without looking for an earlier attempt do not tell what became of it. */
Test(forward, an_outcome_that_does_not_tell_of_an_earlier_attempt_is_unknown)
{
    set_up();
    for (uint8_t outcome = 0; outcome < OUTCOME_NOT_YET_SEEN; outcome++) {
        bool silent = outcome == OUTCOME_NOT_PERMITTED || outcome == OUTCOME_BEYOND_WINDOW;
        for (int uncertain = 0; uncertain < 2; uncertain++) {
            struct call call = {0};
            call_add(&call, 1, 0);
            call.node.uncertain = uncertain != 0;
            forward_process(&follower.forward);
            carry();
            proposer_process(&leader.proposer, false);
            struct node_request *served = leader.proposer.in_flight_first->requests;
            leader.proposer.in_flight_first->requests = NULL;
            const uint8_t result = RESULT_OK;
            const struct answer answer = {
                .index = 1,
                .stamp = 1,
                .outcome = outcome,
                .operation = OPERATION_CREATE_TRANSFERS,
                .encoding = ANSWER_ENCODING,
                .event_count = outcome == OUTCOME_EXECUTED ? 1 : 0,
                .results = &result,
            };
            proposer_answer(served, &answer);
            proposer_begin_term(&leader.proposer, 0);
            carry();
            cr_assert_eq(call.count, 1);
            cr_assert_eq(call.status, silent && uncertain != 0 ? STATUS_UNKNOWN_OUTCOME : STATUS_OK,
                         "outcome %d, uncertain %d: %s", outcome, uncertain,
                         status_text(call.status));
            free(call.request);
        }
    }
    tear_down();
}

/* A message meant for the leader of another term is refused, also by the same node leading again;
 * and what a leader has not proposed when its term ends goes back. */
Test(forward, no_attempt_outlives_the_term_it_was_sent_in)
{
    set_up();
    struct call late = {0}, waiting = {0};
    call_add(&late, 1, 0);
    forward_process(&follower.forward);
    leader.term = 7;
    carry();
    cr_assert_eq(leader.proposer.waiting_count, 0);
    cr_assert_eq(follower.proposer.waiting_count, 1);
    cr_assert_not(late.node.uncertain, "it was refused for certain");
    call_add(&waiting, 1, 0);
    forward_follow(&follower.forward, 2, 7);
    forward_process(&follower.forward);
    carry();
    cr_assert_eq(leader.proposer.waiting_count, 2);
    proposer_end_term(&leader.proposer);
    cr_assert_eq(leader.proposer.waiting_count, 0);
    carry();
    cr_assert_eq(follower.proposer.waiting_count, 2);
    cr_assert_not(late.node.uncertain);
    /* Another leader is known while the first has them: now they are. */
    follower.forward.pause_until_ns = 0;
    forward_process(&follower.forward);
    forward_follow(&follower.forward, 3, 8);
    cr_assert(late.node.uncertain);
    cr_assert(waiting.node.uncertain);
    proposer_refuse_waiting(&follower.proposer, STATUS_BUSY);
    cr_assert_eq(late.status, STATUS_UNKNOWN_OUTCOME);
    cr_assert_eq(late.count + waiting.count, 2);
    free(late.request);
    free(waiting.request);
    tear_down();
}

/* The leader never answers: unknown at the deadline, exactly once, and its late answer is nobody's.
 */
Test(forward, a_request_without_an_answer_is_unknown_at_its_deadline)
{
    set_up();
    struct call call = {0};
    call_add(&call, 1, 100);
    forward_process(&follower.forward);
    carry();
    proposer_process(&leader.proposer, false);
    follower.now_ns += 99 * NS_PER_MS;
    forward_process(&follower.forward);
    cr_assert_eq(call.count, 0);
    cr_assert_leq(forward_next_ns(&follower.forward), follower.now_ns + NS_PER_MS);
    follower.now_ns += NS_PER_MS;
    forward_process(&follower.forward);
    cr_assert_eq(call.count, 1);
    cr_assert_eq(call.status, STATUS_UNKNOWN_OUTCOME);
    leader_answers(1);
    carry();
    cr_assert_eq(call.count, 1);
    free(call.request);
    tear_down();
}

/* The leader takes as many as its bound and refuses the others as busy; the bound is free again
 * when they are answered. */
Test(forward, the_leader_s_copies_are_bounded)
{
    set_up();
    struct call calls[6] = {0};
    for (int i = 0; i < 6; i++)
        call_add(&calls[i], 1, 0);
    forward_process(&follower.forward);
    carry();
    cr_assert_eq(leader.forward.served_count, 4);
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(calls[i].count, i < 4 ? 0 : 1);
        if (i >= 4)
            cr_assert_eq(calls[i].status, STATUS_BUSY);
    }
    proposer_process(&leader.proposer, false);
    leader_answers(1);
    carry();
    for (int i = 0; i < 4; i++)
        cr_assert_eq(calls[i].status, STATUS_OK);
    cr_assert_eq(leader.forward.served_count, 0);
    struct call big = {0};
    call_add(&big, REQUEST_EVENTS_MAX, 0);
    forward_process(&follower.forward);
    carry();
    cr_assert_eq(big.count, 0, "just below the bound in bytes");
    struct call small = {0};
    call_add(&small, 1, 0);
    forward_process(&follower.forward);
    carry();
    cr_assert_eq(small.status, STATUS_BUSY);
    for (int i = 0; i < 6; i++)
        free(calls[i].request);
    side_deinit(&follower);
    side_deinit(&leader);
    loopback_deinit(&net);
    cr_assert_eq(big.status, STATUS_UNKNOWN_OUTCOME);
    free(big.request);
    free(small.request);
}
