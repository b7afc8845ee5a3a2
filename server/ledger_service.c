/*
 * Calls that change something: decoded into the replicated format, sealed (principal and digest),
 * proposed, and answered from what apply decided. The answer is written in the encoding version
 * that is stored with the request, so a repeat gets its first answer byte for byte.
 *
 * A node that can put nothing into the log (read-only, no leader) still answers repeats of what it
 * has seen executed.
 *
 * FenceRequest goes the same way; its answer is about the request that was fenced, so four of its
 * outcomes are answers rather than refusals.
 */
#include "core/invariant.h"
#include "replication/node/node_site.h"
#include "replication/node/propose.h"
#include "server/buffer_pool.h"
#include "server/dispatch.h"

#include <stddef.h>
#include <string.h>

static struct work *work_of(struct node_request *request)
{
    return (struct work *)(void *)((char *)request - offsetof(struct work, request));
}

static void answer_executed(struct work *work, const struct answer *answer)
{
    size_t size;
    enum status status = wire_answer_size(answer, &size);
    if (status != STATUS_OK) {
        work_finish_status(work, status);
        return;
    }
    uint8_t *room = grpc_call_reserve(work->call, size);
    if (room)
        wire_write_answer(answer, room);
    work_finish(work, answer->index);
}

static void answer_fence(struct work *work, const struct answer *answer)
{
    size_t size;
    enum status status = wire_request_answer_size(answer, &size);
    if (status != STATUS_OK) {
        work_finish_status(work, status);
        return;
    }
    uint8_t *room = grpc_call_reserve(work->call, size);
    if (room)
        wire_write_request_answer(answer, room);
    work_finish(work, answer->index);
}

/* What became of the request that a fence names is the answer to the fence. */
static bool fence_answers(uint8_t outcome)
{
    return outcome == OUTCOME_EXECUTED || outcome == OUTCOME_REQUEST_FENCED ||
           outcome == OUTCOME_NONCE_REUSED || outcome == OUTCOME_BEYOND_WINDOW;
}

static void finish_answer(struct work *work, const struct answer *answer)
{
    metrics_answer(dispatch_options(work->dispatch)->metrics, answer);
    if (work->method == METHOD_FENCE_REQUEST && fence_answers(answer->outcome))
        answer_fence(work, answer);
    else if (answer->outcome == OUTCOME_EXECUTED)
        answer_executed(work, answer);
    else
        work_finish_outcome(work, answer);
}

/* How long a client waited, for whoever asks after a change of leadership. */
static void note_ended(const struct work *work, enum status status)
{
    node_note_ended(dispatch_options(work->dispatch)->node, work->started_ns, status);
}

/* ---- on both sites ---- */

static void finish_durable(struct work *work, const struct answer *answer,
                           enum node_durability durability)
{
    static const char *const words[] = {[NODE_BOTH_SITES] = "both-sites",
                                        [NODE_DEGRADED] = "degraded",
                                        [NODE_MAJORITY] = "majority"};
    grpc_call_add_trailer(work->call, "tally-durability", words[durability]);
    finish_answer(work, answer);
}

static void both_cb(struct node_both_wait *wait, bool on_both)
{
    struct work *work = (struct work *)(void *)((char *)wait - offsetof(struct work, both_wait));
    finish_durable(work, &work->held, on_both ? NODE_BOTH_SITES : NODE_DEGRADED);
}

/* Executed, and asked for both sites: the answer is kept until it is there, in the place of the
 * events, which nobody reads any more; its results are smaller. (A fence has no events, and the
 * answer about the request that it names may be long: it says how it is and does not wait.) */
static void finish_when_durable(struct work *work, const struct answer *answer)
{
    struct node *node = dispatch_options(work->dispatch)->node;
    const enum node_durability durability = node_durability(node, &work->request, answer->index);
    const size_t room = work->buffer_size - sizeof *work->buffer;
    if (!work->request.both_sites || durability != NODE_DEGRADED || answer->event_count > room) {
        finish_durable(work, answer, durability);
        return;
    }
    work->held = *answer;
    if (answer->results) {
        memcpy(work->buffer + 1, answer->results, answer->event_count);
        work->held.results = (const uint8_t *)(work->buffer + 1);
    }
    /* A request that the node refused at once was given no time by it. */
    uint64_t until_ns = work->request.until_ns;
    if (until_ns == 0)
        until_ns = work_deadline_ns(work, uv_hrtime() + NODE_REQUEST_MS_MAX * 1000000ull);
    work->both_wait =
        (struct node_both_wait){.index = answer->index, .deadline_ns = until_ns, .cb = both_cb};
    node_wait_both(node, &work->both_wait);
}

/* The log took nothing in, or nobody knows. A repeat of what this node has seen executed gets its
 * answer all the same: that is read-only work, and the answer is the one the log would give. It
 * says where its entry is, and waits for both sites where that was asked, like any other answer;
 * but not at a node that stops, where nobody would end the wait. */
static void finish_status(struct work *work, enum status status)
{
    struct node *node = dispatch_options(work->dispatch)->node;
    const struct machine *machine = node_machine(node);
    uint8_t results[REQUEST_EVENTS_MAX];
    struct answer answer;
    if (status != STATUS_INVALID && machine &&
        machine_repeat(machine, work->buffer, &answer, results)) {
        if (status == STATUS_STOPPING)
            finish_durable(work, &answer, node_durability(node, &work->request, answer.index));
        else
            finish_when_durable(work, &answer);
        return;
    }
    if (status == STATUS_UNKNOWN_OUTCOME)
        node_note_unanswered(node, &work->request);
    work_finish_status(work, status);
}

static void request_cb(struct node_request *request, enum status status,
                       const struct answer *answer)
{
    struct work *work = work_of(request);
    note_ended(work, status);
    if (work->gone)
        node_note_gone(dispatch_options(work->dispatch)->node, request);
    if (status == STATUS_OK) {
        finish_when_durable(work, answer);
        return;
    }
    invariant_values(answer == NULL, status, 0);
    finish_status(work, status);
}

void ledger_service_begin(struct work *work)
{
    uint16_t operation = method_operation(work->method);
    struct wire_error error;
    size_t size;

    if (wire_measure_request(operation, work->message, work->message_size, &size, &error) !=
        STATUS_OK) {
        work_finish_malformed(work, &error);
        return;
    }
    work->buffer = buffer_pool_take(dispatch_buffers(work->dispatch), size);
    if (!work->buffer) {
        work_finish_status(work, STATUS_BUSY);
        return;
    }
    work->buffer_size = size;
    if (wire_decode_request(operation, work->message, work->message_size, work->buffer, size,
                            &error) != STATUS_OK) {
        work_finish_malformed(work, &error);
        return;
    }
    request_seal(work->buffer, work->caller.ordinal);
    work->request = (struct node_request){
        .request = work->buffer,
        .deadline_ns = work_deadline_ns(work, 0),
        .cb = request_cb,
        .both_sites = grpc_call_wants_both_sites(work->call),
    };
    enum status status = node_propose(dispatch_options(work->dispatch)->node, &work->request);
    if (status != STATUS_OK) {
        note_ended(work, status);
        finish_status(work, status);
    }
}
