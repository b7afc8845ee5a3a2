/*
 * Why a request may be sent again and again: its identity goes with it, and the ledger executes an
 * identity at most once and answers it the same for ever. So the only thing to be careful about is
 * what is *refused*: a refusal is final for the client only if no attempt can be in a log, now or
 * later. Three rules keep that true:
 *
 *  - An attempt that ends without an answer (link down, leader or term changed, the leader says
 *    unknown) makes the request uncertain: from then on it ends in an answer or in UNKNOWN_OUTCOME.
 *  - A message names the term of the leader it is meant for. In another term it is refused, and a
 *    leader whose term ends gives back what it has not proposed. So no attempt sleeps somewhere and
 *    enters a log after a later attempt was answered.
 *  - Within one term the order of attempts is kept: the leader's waiting list is first in first
 *    out, so an answer to the later attempt knows what became of the earlier one.
 *
 * A refusal by the leader (busy, read-only) reaches the client as it is while the request is not
 * uncertain; otherwise, and when it says that it does not lead, the request waits again, and after
 * a pause it is sent to whoever leads then.
 *
 * As the leader: a call holds a copy of the request until its answer was sent. The copies are the
 * exception to "no heap call on the path of a transfer": sizes go from 80 bytes to a MiB, their
 * number and sum are bounded. A call whose sender is gone is finished all the same; its answer
 * finds no link and is dropped.
 */
#include "replication/node/forward.h"

#include "core/invariant.h"
#include "core/planted_fault.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1000000ull

struct forward_call {
    struct node_request request; /* first: the callback finds its call by it */
    struct forward *forward;
    struct forward_call *before, *after;
    uint64_t peer;
    uint64_t sequence;
    uint64_t payload[]; /* request header and events */
};

static uint64_t now_ns(const struct forward *forward)
{
    return forward->options.environment->monotonic_ns(forward->options.environment->context);
}

void forward_init(struct forward *forward, const struct forward_options *options)
{
    *forward = (struct forward){.options = *options, .expiry_ns = UINT64_MAX};
    options->environment->random(options->environment->context, &forward->next_sequence,
                                 sizeof forward->next_sequence);
}

void forward_deinit(struct forward *forward)
{
    invariant_values(forward->sent_count == 0, forward->sent_count, 0);
    invariant_values(forward->served_count == 0, forward->served_count, 0);
}

/* ---- as the sender ---- */

static bool is_linked(const struct forward *forward, uint64_t peer)
{
    for (int i = 0; i < FORWARD_LINKS_MAX; i++)
        if (forward->linked[i] && forward->linked_ids[i] == peer)
            return true;
    return false;
}

static struct node_request *take_sent(struct forward *forward, uint32_t place)
{
    struct node_request *request = forward->sent[place];
    forward->sent[place] = NULL;
    invariant(forward->sent_count > 0);
    forward->sent_count--;
    return request;
}

/* All that were sent wait again, in the order in which they were sent. */
static void take_back(struct forward *forward)
{
    if (forward->sent_count == 0)
        return;
    for (uint64_t back = 1; back <= FORWARD_SENT_MAX; back++) {
        uint32_t place = (uint32_t)((forward->next_sequence - back) % FORWARD_SENT_MAX);
        if (forward->sent[place] == NULL)
            continue;
        struct node_request *request = take_sent(forward, place);
        if (!planted(PLANTED_TAKEN_BACK_AS_CERTAIN))
            request->uncertain = true;
        proposer_return(forward->options.proposer, request);
    }
    forward->expiry_ns = UINT64_MAX;
}

void forward_follow(struct forward *forward, uint64_t leader_id, uint64_t term)
{
    if (leader_id == 0)
        term = 0;
    if (forward->leader_id == leader_id && forward->term == term)
        return;
    take_back(forward);
    forward->leader_id = leader_id;
    forward->term = term;
    forward->pause_until_ns = 0;
}

bool forward_reaches_leader(const struct forward *forward)
{
    return forward->leader_id != 0 && is_linked(forward, forward->leader_id);
}

void forward_link(struct forward *forward, uint64_t peer, bool up)
{
    int place = -1;
    for (int i = 0; i < FORWARD_LINKS_MAX; i++) {
        if (forward->linked[i] && forward->linked_ids[i] == peer) {
            place = i;
            break;
        }
        if (!forward->linked[i] && place < 0)
            place = i;
    }
    if (place < 0)
        return; /* more peers than the transport lets in */
    forward->linked[place] = up;
    forward->linked_ids[place] = peer;
    if (peer == forward->leader_id)
        take_back(forward); /* also when it comes up: what was sent before is lost */
}

void forward_unlink(struct forward *forward)
{
    take_back(forward);
    memset(forward->linked, 0, sizeof forward->linked);
}

/* The next number whose place is free; there is one. */
static uint64_t draw_sequence(struct forward *forward)
{
    while (forward->sent[forward->next_sequence % FORWARD_SENT_MAX] != NULL)
        forward->next_sequence++;
    return forward->next_sequence++;
}

/* For a planted fault. */
static enum status send_renamed(struct forward *forward, const struct node_request *request,
                                const struct forward_head *head)
{
    struct request_header other = *request->request;
    other.nonce[0] ^= 1;
    const struct transport_part parts[] = {
        {head, sizeof *head},
        {&other, sizeof other},
        {request->request + 1, other.size - sizeof other},
    };
    return transport_send(forward->options.transport, forward->leader_id, TRANSPORT_CALLS, parts,
                          3);
}

static enum status send_request(struct forward *forward, const struct node_request *request,
                                uint64_t now)
{
    uint64_t left_ms = request->until_ns > now ? (request->until_ns - now) / NS_PER_MS : 0;
    const struct forward_head head = {
        .message = {.type = MESSAGE_FORWARD,
                    .size = (uint32_t)sizeof head + request->request->size},
        .sequence = request->sequence,
        .term = forward->term,
        .remaining_ms = (uint32_t)left_ms,
        .flags =
            request->both_sites && !planted(PLANTED_BOTH_NOT_FORWARDED) ? FORWARD_BOTH_SITES : 0,
    };
    if (planted(PLANTED_FORWARD_NEW_IDENTITY) && request->uncertain)
        return send_renamed(forward, request, &head);
    const struct transport_part parts[] = {
        {&head, sizeof head},
        {request->request, request->request->size},
    };
    return transport_send(forward->options.transport, forward->leader_id, TRANSPORT_CALLS, parts,
                          2);
}

/* False when nothing more can be sent in this turn. */
static bool forward_one(struct forward *forward, uint64_t now)
{
    struct node_request *request = proposer_pop(forward->options.proposer);
    if (request == NULL)
        return false;
    request->sequence = draw_sequence(forward);
    if (send_request(forward, request, now) != STATUS_OK) {
        /* Queue full or link down: nothing was sent, it waits on. */
        proposer_return(forward->options.proposer, request);
        forward->pause_until_ns = now + FORWARD_PAUSE_MS * NS_PER_MS;
        return false;
    }
    forward->sent[request->sequence % FORWARD_SENT_MAX] = request;
    forward->sent_count++;
    forward->sent_total++;
    if (request->until_ns < forward->expiry_ns)
        forward->expiry_ns = request->until_ns;
    return true;
}

static void expire(struct forward *forward, uint64_t now)
{
    if (now < forward->expiry_ns)
        return;
    struct node_request *late = NULL;
    uint64_t next = UINT64_MAX;
    for (uint32_t place = 0; place < FORWARD_SENT_MAX && forward->sent_count > 0; place++) {
        const struct node_request *request = forward->sent[place];
        if (request == NULL)
            continue;
        if (request->until_ns > now) {
            next = request->until_ns < next ? request->until_ns : next;
            continue;
        }
        struct node_request *taken = take_sent(forward, place);
        taken->next = late;
        late = taken;
    }
    forward->expiry_ns = next;
    while (late != NULL) { /* callbacks may add requests: none of ours is touched by that */
        struct node_request *request = late;
        late = request->next;
        request->next = NULL;
        request->cb(request, STATUS_UNKNOWN_OUTCOME, NULL);
    }
}

void forward_process(struct forward *forward)
{
    uint64_t now = now_ns(forward);
    expire(forward, now);
    if (!forward_reaches_leader(forward) || now < forward->pause_until_ns)
        return;
    while (forward->sent_count < FORWARD_SENT_MAX && forward_one(forward, now))
        continue;
}

uint64_t forward_next_ns(const struct forward *forward)
{
    uint64_t next = forward->sent_count > 0 ? forward->expiry_ns : UINT64_MAX;
    if (forward->options.proposer->waiting_count > 0 && forward_reaches_leader(forward) &&
        forward->sent_count < FORWARD_SENT_MAX && forward->pause_until_ns < next)
        next = forward->pause_until_ns;
    return next;
}

void forward_forgive(struct forward *forward, uint64_t pause_ns)
{
    forward->expiry_ns = UINT64_MAX;
    for (uint32_t place = 0; place < FORWARD_SENT_MAX; place++) {
        struct node_request *request = forward->sent[place];
        if (request == NULL)
            continue;
        if (request->deadline_ns == 0)
            request->until_ns += pause_ns;
        if (request->until_ns < forward->expiry_ns)
            forward->expiry_ns = request->until_ns;
    }
}

static enum status refusal_of(enum forward_status status)
{
    switch (status) {
    case FORWARD_BUSY:
        return STATUS_BUSY;
    case FORWARD_READ_ONLY:
        return STATUS_READ_ONLY;
    case FORWARD_INVALID:
        return STATUS_INVALID;
    case FORWARD_DEGRADED:
        return STATUS_DEGRADED;
    default:
        return STATUS_OK; /* none: it waits again */
    }
}

void forward_receive_result(struct forward *forward, uint64_t from, const void *bytes, size_t size)
{
    uint64_t sequence = 0;
    enum forward_status status = FORWARD_UNKNOWN;
    struct answer answer;
    if (forward_result_decode(bytes, size, &sequence, &status, &answer, forward->results) !=
        STATUS_OK) {
        forward->malformed_total++;
        return;
    }
    uint32_t place = (uint32_t)(sequence % FORWARD_SENT_MAX);
    const struct node_request *expected = forward->sent[place];
    if (expected == NULL || expected->sequence != sequence || from != forward->leader_id)
        return; /* late: its time was up, or it was taken back */
    struct node_request *request = take_sent(forward, place);
    if (status == FORWARD_ANSWERED) {
        request->on_both = forward_result_is_on_both(bytes);
        proposer_answer(request, &answer);
        return;
    }
    enum status refusal = refusal_of(status);
    if (refusal != STATUS_OK && !request->uncertain) {
        request->cb(request, refusal, NULL);
        return;
    }
    if (refusal == STATUS_DEGRADED) {
        /* Nor may it be tried again while it is so, and an attempt may be in the log. */
        request->cb(request, STATUS_UNKNOWN_OUTCOME, NULL);
        return;
    }
    if (refusal == STATUS_INVALID) {
        /* Another build reads it differently, and an attempt may be in the log. */
        request->cb(request, STATUS_UNKNOWN_OUTCOME, NULL);
        return;
    }
    if (status == FORWARD_UNKNOWN && !planted(PLANTED_UNKNOWN_SENT_AGAIN_AS_CERTAIN))
        request->uncertain = true;
    proposer_return(forward->options.proposer, request);
    forward->pause_until_ns = now_ns(forward) + FORWARD_PAUSE_MS * NS_PER_MS;
}

void forward_abandon(struct forward *forward)
{
    forward->closing = true;
    for (uint32_t place = 0; place < FORWARD_SENT_MAX; place++) {
        if (forward->sent[place] == NULL)
            continue;
        struct node_request *request = take_sent(forward, place);
        request->cb(request, STATUS_UNKNOWN_OUTCOME, NULL);
    }
}

/* ---- as the leader ---- */

/* As the leader measures it; without the rule about sites there is no such thing. */
static bool is_on_both(const struct forward *forward, uint64_t index)
{
    struct consensus_status consensus;
    consensus_status(forward->options.proposer->consensus, &consensus);
    return consensus.site_rule && index <= consensus.both_index;
}

static void reply(struct forward *forward, uint64_t peer, uint64_t sequence,
                  enum forward_status status, const struct answer *answer)
{
    if (forward->closing)
        return;
    size_t size = forward_result_encode(sequence, status, answer, forward->reply);
    if (answer != NULL && is_on_both(forward, answer->index))
        forward_result_set_on_both(forward->reply);
    const struct transport_part part = {forward->reply, size};
    /* Lost with its link, or with a full queue: the sender asks again when its link or its time
     * is over. */
    (void)transport_send(forward->options.transport, peer, TRANSPORT_CALLS, &part, 1);
}

static enum forward_status outcome_of(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return FORWARD_ANSWERED;
    case STATUS_NOT_READY:
    case STATUS_STOPPING:
        return FORWARD_NOT_LEADER;
    case STATUS_BUSY:
    case STATUS_NO_MEMORY:
        return FORWARD_BUSY;
    case STATUS_READ_ONLY:
        return FORWARD_READ_ONLY;
    case STATUS_INVALID:
        return FORWARD_INVALID;
    case STATUS_DEGRADED:
        return FORWARD_DEGRADED;
    default:
        return FORWARD_UNKNOWN;
    }
}

static void remove_call(struct forward *forward, struct forward_call *call)
{
    if (call->before == NULL)
        forward->served_first = call->after;
    else
        call->before->after = call->after;
    if (call->after == NULL)
        forward->served_last = call->before;
    else
        call->after->before = call->before;
    forward->served_count--;
    forward->served_bytes -= call->request.request->size;
    free(call);
}

static void call_cb(struct node_request *request, enum status status, const struct answer *answer)
{
    struct forward_call *call = (struct forward_call *)request;
    struct forward *forward = call->forward;
    reply(forward, call->peer, call->sequence, outcome_of(status), answer);
    remove_call(forward, call);
}

static struct forward_call *make_call(struct forward *forward, uint64_t from,
                                      const struct forward_head *head,
                                      const struct request_header *request)
{
    if (forward->served_count >= forward->options.served_max ||
        forward->served_bytes + request->size > forward->options.served_bytes_max)
        return NULL;
    struct forward_call *call = malloc(sizeof *call + request->size);
    if (call == NULL)
        return NULL;
    memset(call, 0, sizeof *call);
    memcpy(call->payload, request, request->size);
    call->forward = forward;
    call->peer = from;
    call->sequence = head->sequence;
    call->request = (struct node_request){
        .request = (const struct request_header *)call->payload,
        .deadline_ns = now_ns(forward) + (head->remaining_ms + 1ull) * NS_PER_MS,
        .cb = call_cb,
        .both_sites = (head->flags & FORWARD_BOTH_SITES) != 0,
        .served = true,
    };
    call->before = forward->served_last;
    if (call->before == NULL)
        forward->served_first = call;
    else
        call->before->after = call;
    forward->served_last = call;
    forward->served_count++;
    forward->served_bytes += request->size;
    return call;
}

void forward_receive(struct forward *forward, uint64_t from, const void *bytes, size_t size,
                     uint64_t term, uint8_t refusal)
{
    struct forward_head head;
    const struct request_header *request = NULL;
    if (size < sizeof head) { /* without a sequence there is nothing to answer */
        forward->malformed_total++;
        return;
    }
    memcpy(&head, bytes, sizeof head);
    if (forward_decode(bytes, size, &head, &request) != STATUS_OK) {
        forward->malformed_total++;
        reply(forward, from, head.sequence, FORWARD_INVALID, NULL);
        return;
    }
    if (refusal != FORWARD_ANSWERED || head.term != term) {
        reply(forward, from, head.sequence,
              refusal != FORWARD_ANSWERED ? (enum forward_status)refusal : FORWARD_NOT_LEADER,
              NULL);
        return;
    }
    struct forward_call *call = make_call(forward, from, &head, request);
    if (call == NULL) {
        reply(forward, from, head.sequence, FORWARD_BUSY, NULL);
        return;
    }
    enum status status = proposer_add(forward->options.proposer, &call->request);
    if (status != STATUS_OK) {
        reply(forward, from, head.sequence, outcome_of(status), NULL);
        remove_call(forward, call);
        return;
    }
    forward->served_total++;
}
