/*
 * Messages on their way out: results say no more than is verified (S1) and no less than is useful
 * (S9), probes carry no more than a probe needs (S18), all go to somebody (S6), and no send ever
 * fails for libraft (S10, S11) or keeps its memory (S12).
 */
#include "replication/guard/raft_guard_internal.h"
#include "replication/guard/raft_layout.h"

#include <stddef.h>

/* Given to the inner raft_io in place of libraft's request: its callback finds the guard by it, and
 * libraft may free its own early (S12). */
struct guard_send {
    struct raft_io_send request;
    struct raft_guard *guard;
    struct raft_io_send *of_raft;
    raft_io_send_cb cb; /* NULL: libraft does not want to know, and the request may be gone */
    bool is_append_entries;
    int status;
    struct guard_send *next;
};

/* What may be acknowledged: that the log equals the leader's is known up to the greatest end of an
 * accepted message of this term, and up to the snapshot, which is committed. */
static raft_index verified_index(const struct raft_guard *guard)
{
    const struct raft *raft = guard->options.raft;
    raft_index verified = raft_layout_snapshot_index(raft);
    if (guard->verified_term == raft->current_term && guard->verified > verified)
        verified = guard->verified;
    if (guard->arriving_term == raft->current_term && guard->arriving_end > verified)
        verified = guard->arriving_end;
    return verified;
}

static void repair_result(struct raft_guard *guard, struct raft_append_entries_result *result)
{
    if (result->rejected != 0) {
        guard->arriving_rejected = true;
        /* S9 and S3. During an install the hint is 0, and the leader would go back to its first
         * entry; a hint behind the rejected index says nothing. */
        raft_index hint = raft_last_index(guard->options.raft);
        if (hint > result->rejected - 1)
            hint = result->rejected - 1;
        if (guard_has(guard, RAFT_GUARD_S9))
            result->last_log_index = hint;
        return;
    }
    /* S1. libraft acknowledges everything on its disk, also the tail that an older leader left,
     * and the leader counts it as a copy of its own. */
    raft_index verified = verified_index(guard);
    if (guard_has(guard, RAFT_GUARD_S1) && result->last_log_index > verified)
        result->last_log_index = verified;
}

/* S18. A probe carries all entries behind the place that it asks for: for each step back, and with
 * each heartbeat until it is answered. One entry is asking enough, and not none: only an answer
 * that brings something new ends the probing. */
static void repair_probe(const struct raft_guard *guard, struct raft_message *message)
{
    const struct raft *raft = guard->options.raft;
    if (guard_has(guard, RAFT_GUARD_S18) && raft->state == RAFT_LEADER &&
        message->append_entries.n_entries > 1 && raft_layout_is_probing(raft, message->server_id))
        message->append_entries.n_entries = 1;
}

static void complete_later(struct raft_guard *guard, struct guard_send *send, int status)
{
    send->status = status;
    send->next = NULL;
    *guard->completed_end = send;
    guard->completed_end = &send->next;
}

/* Called outside of libraft and of send(). */
static void call_back(struct guard_send *send)
{
    struct raft_guard *guard = send->guard;
    int status = send->status;
    if (guard->stopped && !guard->closing) {
        complete_later(guard, send, status);
        return;
    }
    /* S10. For libraft a failed AppendEntries means to start again behind the last acknowledgement,
     * and to give up a snapshot on its way. A lost message is enough: the next one is rejected. */
    if (send->is_append_entries && guard_has(guard, RAFT_GUARD_S10))
        status = 0;
    if (send->cb != NULL)
        send->cb(send->of_raft, status);
    raft_free(send);
}

static void guard_sent(struct raft_io_send *request, int status)
{
    struct guard_send *send =
        (struct guard_send *)((char *)request - offsetof(struct guard_send, request));
    send->status = status;
    call_back(send);
}

void guard_call_back_completed(struct raft_guard *guard)
{
    while (guard->completed != NULL) {
        struct guard_send *send = guard->completed;
        guard->completed = send->next;
        if (guard->completed == NULL)
            guard->completed_end = &guard->completed;
        call_back(send);
    }
}

/* S6. Results go to whom libraft believes to lead, which may be nobody by the time a disk has
 * finished: id 0, no address, or what else lies in that union. Somebody is a member; or who is
 * being answered, or leads: a joining node knows no member yet, and a leader on its way out is
 * none any more. */
static bool is_somebody(const struct raft_guard *guard, const struct raft_message *message)
{
    const struct raft *raft = guard->options.raft;
    raft_id id = message->server_id;
    if (id == 0 || message->server_address == NULL)
        return false;
    return id == guard->talking_to || id == raft_layout_leader(raft) || raft_layout_knows(raft, id);
}

/* libraft answers a pre-vote with the request's own term, whatever its own is: who is two terms
 * behind never hears of it and is refused for ever. If it alone has the longer log, and the others
 * that live are refused by it, nobody leads again. */
static void repair_pre_vote_result(const struct raft_guard *guard,
                                   struct raft_request_vote_result *result)
{
    const struct raft *raft = guard->options.raft;
    if (guard_has(guard, RAFT_GUARD_NEWER) && result->pre_vote == raft_tribool_true &&
        !result->vote_granted && result->term < raft->current_term)
        result->term = raft->current_term;
}

int guard_send(struct raft_io *outer, struct raft_io_send *request,
               const struct raft_message *original, raft_io_send_cb cb)
{
    struct raft_guard *guard = guard_of(outer);
    struct raft_io *inner = guard->options.inner;
    struct raft_message message = *original;
    if (message.type == RAFT_IO_APPEND_ENTRIES_RESULT)
        repair_result(guard, &message.append_entries_result);
    if (message.type == RAFT_IO_APPEND_ENTRIES) {
        guard_note_places(guard); /* a change of members is told in the middle of it */
        repair_probe(guard, &message);
    }
    if (message.type == RAFT_IO_REQUEST_VOTE_RESULT)
        repair_pre_vote_result(guard, &message.request_vote_result);

    /* S12. libraft wants no callback for TimeoutNow, and then frees the request while it is with
     * the transport. Without that part the transport gets libraft's own, as without a guard. */
    if (cb == NULL && !guard_has(guard, RAFT_GUARD_S12))
        return inner->send(inner, request, &message, cb);

    struct guard_send *send = raft_malloc(sizeof *send);
    if (send == NULL) {
        guard_stop(guard, "memory", RAFT_NOMEM);
        return RAFT_NOMEM;
    }
    *send = (struct guard_send){.guard = guard, .of_raft = request, .cb = cb};
    send->is_append_entries = message.type == RAFT_IO_APPEND_ENTRIES;

    /* S6. Also a dead node (its simulator is still on the way back to it) says nothing. */
    if (guard->stopped || (guard_has(guard, RAFT_GUARD_S6) && !is_somebody(guard, original))) {
        complete_later(guard, send, RAFT_NOCONNECTION);
        return 0;
    }

    /* The durability rule: what a witness is sent is ours to say. */
    if (send->is_append_entries && guard_lane_takes(guard, &message)) {
        complete_later(guard, send, 0);
        return 0;
    }

    int code = inner->send(inner, &send->request, &message, guard_sent);
    if (code == 0)
        return 0;
    /* S11. libraft frees the entries of a message twice when it cannot send the result, or becomes
     * unavailable. A message that cannot be sent is a lost message. */
    if (guard_has(guard, RAFT_GUARD_S11)) {
        complete_later(guard, send, code);
        return 0;
    }
    raft_free(send);
    return code;
}

void guard_send_own(struct raft_guard *guard, const struct raft_message *message)
{
    struct raft_io *inner = guard->options.inner;
    struct guard_send *send = raft_malloc(sizeof *send);
    if (send == NULL) {
        guard_stop(guard, "memory", RAFT_NOMEM);
        return;
    }
    *send = (struct guard_send){.guard = guard};
    if (inner->send(inner, &send->request, message, guard_sent) != 0)
        raft_free(send); /* a lost message */
}
