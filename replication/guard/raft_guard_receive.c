/*
 * Messages on their way to libraft.
 *
 * A follower's side keeps libraft from taking its own log for the leader's (S2, S3), from freeing
 * memory in use (S20), and notes what the leader's messages verify, which is all that
 * raft_guard_send.c lets it acknowledge (S1). The leader's side decides which index libraft asks
 * its majority for (S4, S5).
 */
#include "core/invariant.h"
#include "replication/guard/raft_guard_internal.h"
#include "replication/guard/raft_layout.h"

#include <string.h>

/* Drops the first `count` entries of a message; the memory of all is one block. */
static void drop_entries(struct raft_append_entries *append, unsigned count)
{
    if (count == 0)
        return;
    invariant_values(count <= append->n_entries, count, append->n_entries);
    append->n_entries -= count;
    if (append->n_entries > 0) {
        memmove(append->entries, append->entries + count,
                append->n_entries * sizeof append->entries[0]);
        return;
    }
    if (append->entries[0].batch != NULL)
        raft_free(append->entries[0].batch);
    raft_free(append->entries);
    append->entries = NULL;
}

/* S3. libraft takes an entry that it does not find for one that comes next: entries from below the
 * snapshot would be appended at the end of the log. What the snapshot covers is committed, hence
 * equal to the leader's. */
static void trim_below_snapshot(const struct raft_guard *guard, struct raft_append_entries *append)
{
    const struct raft *raft = guard->options.raft;
    raft_index covered = raft_layout_snapshot_index(raft);
    if (append->term < raft->current_term || append->prev_log_index >= covered)
        return;
    raft_index below = covered - append->prev_log_index;
    drop_entries(append, below < append->n_entries ? (unsigned)below : append->n_entries);
    append->prev_log_index = covered;
    append->prev_log_term = raft_layout_snapshot_term(raft);
}

/* Where libraft will truncate its log for this message, or 0. */
static raft_index truncates_from(const struct raft *raft, const struct raft_append_entries *append)
{
    raft_index previous = append->prev_log_index;
    if (append->term < raft->current_term ||
        (previous != 0 && raft_layout_term_at(raft, previous) != append->prev_log_term))
        return 0; /* will be rejected */
    for (unsigned i = 0; i < append->n_entries; i++) {
        raft_term term = raft_layout_term_at(raft, previous + 1 + i);
        if (term == 0)
            return 0; /* the end of our log */
        if (term != append->entries[i].term)
            return previous + 1 + i;
    }
    return 0;
}

static void hear_leader(struct raft_guard *guard)
{
    guard->heard_at = guard->options.inner->time(guard->options.inner);
    guard_witness_heard_leader(guard);
}

static void receive_append_entries(struct raft_guard *guard, struct raft_message *message)
{
    const struct raft *raft = guard->options.raft;
    struct raft_append_entries *append = &message->append_entries;

    if (guard_has(guard, RAFT_GUARD_S3))
        trim_below_snapshot(guard, append);

    /* S20. libraft counts references by (index, term) and is off by one when an entry comes back
     * while the append of its first copy is in flight: memory in use is freed. Without its entries
     * the message still is a heartbeat, and the leader sends them again. */
    raft_index from = truncates_from(raft, append);
    if (from != 0 && guard_has(guard, RAFT_GUARD_S20) && guard->appends_in_flight > 0)
        drop_entries(append, append->n_entries);
    else if (from != 0 && !guard_roll_back(guard, from))
        drop_entries(append, append->n_entries); /* likewise: once libraft is a follower */

    raft_index end = append->prev_log_index + append->n_entries;

    /* S2. Behind `end` our log may have entries that no leader wants. */
    if (guard_has(guard, RAFT_GUARD_S2) && append->leader_commit > end)
        append->leader_commit = end;

    raft_term term = append->term;
    guard->arriving_term = term;
    guard->arriving_end = end;
    guard->arriving_rejected = false;
    guard->raft_recv(&guard->io, message);
    guard->arriving_term = 0;

    if (raft->state != RAFT_FOLLOWER || raft->current_term != term)
        return; /* from an older leader; or libraft gave up, which guard_settle() sees */
    hear_leader(guard);
    /* Accepted, unless libraft said no or swallowed the entries (it does during an install). */
    if (guard->arriving_rejected || raft_last_index(guard->options.raft) < end)
        return;
    if (guard->verified_term != term || guard->verified < end)
        guard->verified = end;
    guard->verified_term = term;
}

/* -------------------------------------------------------- AppendEntries result */

/* Old-term rule and quorum, S4 and S5. Upon an acknowledgement libraft asks one question: does a
 * majority hold `last_stored`? Under load the own disk is always ahead of the peers and the answer
 * always no (S5); and it does not ask whose term that entry is of, which loses what it commits (S4;
 * Raft, figure 8). So while it handles the message, last_stored is the index worth asking for.
 *
 * Where the durability rule is in force it gives that index: the quorum's own, the witness counting
 * as far as the rule says; never one that a result names, which might lie below a degrade entry
 * that alone makes its entries count. */
static raft_index index_to_try(const struct raft_guard *guard, raft_id acking, raft_index acked)
{
    const struct raft *raft = guard->options.raft;
    raft_index try = raft->last_stored;
    if (guard_keeps_rule(guard)) {
        try = guard_site_try(guard, acking, acked);
    } else if (guard_has(guard, RAFT_GUARD_S5)) {
        raft_index quorum = raft_layout_quorum_index(raft, acking, acked);
        if (quorum < try)
            try = quorum;
    }
    bool is_ours = raft_layout_term_at(raft, try) == raft->current_term;
    if (try < raft->commit_index || (guard_has(guard, RAFT_GUARD_S4) && !is_ours))
        try = raft->commit_index; /* libraft asks nothing for what is committed */
    return try;
}

static void deliver_trying(struct raft_guard *guard, struct raft_message *message, raft_index try)
{
    struct raft *raft = guard->options.raft;
    raft_index stored = raft->last_stored;
    guard->delivering = true;
    guard->stored = stored;
    raft->last_stored = try;
    guard->raft_recv(&guard->io, message);
    raft->last_stored += stored - try; /* plus whatever was added meanwhile; may wrap, and back */
    guard->delivering = false;
}

static void receive_append_entries_result(struct raft_guard *guard, struct raft_message *message)
{
    struct raft_append_entries_result *result = &message->append_entries_result;
    struct raft *raft = guard->options.raft;
    bool is_ours = raft->state == RAFT_LEADER && result->term == raft->current_term;
    if (is_ours)
        guard_note_answer(guard, message->server_id);
    struct guard_lane *lane = is_ours ? guard_lane(guard, message->server_id) : NULL;
    if (lane != NULL)
        guard_lane_hear(guard, lane, result);
    /* libraft would ask again with the next heartbeat, once for each step back. */
    else if (is_ours && result->rejected != 0)
        raft_layout_hasten_probe(raft, message->server_id, result->rejected);
    if (!is_ours || result->rejected != 0) {
        guard->raft_recv(&guard->io, message);
        return;
    }
    raft_index acked = result->last_log_index;
    if (acked > raft_last_index(raft))
        acked = raft_last_index(raft);
    raft_id acking = lane == NULL ? message->server_id : 0; /* a lane knows it by itself */
    deliver_trying(guard, message, index_to_try(guard, acking, acked));
}

void guard_repeat_answer(struct raft_guard *guard, raft_id id, raft_index match)
{
    struct raft *raft = guard->options.raft;
    bool heard = raft_layout_recently_heard(raft, id);
    struct raft_message message = {
        .type = RAFT_IO_APPEND_ENTRIES_RESULT, .server_id = id, .server_address = ""};
    message.append_entries_result = (struct raft_append_entries_result){
        .term = raft->current_term, .rejected = 0, .last_log_index = match};
    deliver_trying(guard, &message, index_to_try(guard, id, match));
    if (raft->state == RAFT_LEADER)
        raft_layout_set_recently_heard(raft, id, heard); /* it did not really speak */
}

/* S5 for the own disk: when our append ends behind those of the peers, libraft asks for its last
 * entry only, and what the peers hold before that waits for their next word. So it gets their last
 * word once more. */
void guard_repeat_acknowledgement(struct raft_guard *guard)
{
    struct raft *raft = guard->options.raft;
    if (!guard_has(guard, RAFT_GUARD_S5) || guard->stopped || raft->state != RAFT_LEADER)
        return;
    raft_index try = index_to_try(guard, 0, 0);
    if (try <= raft->commit_index || raft_layout_term_at(raft, try) != raft->current_term)
        return;
    raft_index match = 0;
    raft_id peer = raft_layout_take_back_match(raft, try, &match);
    if (peer == 0)
        return;
    guard_repeat_answer(guard, peer, match);
}

/* ---------------------------------------------------------------- other messages */

/* libraft refuses its vote when it is no voter in its own eyes. But a configuration is in force
 * where it is in the log: a leader that made us a voter and restarted needs our vote before it can
 * tell us, and for a majority beside a dead voter nobody else's will do. Who asks knows whether our
 * vote counts (Ongaro's thesis, section 4.2.2); how it is given does not change. */
static void receive_request_vote(struct raft_guard *guard, struct raft_message *message)
{
    struct raft *raft = guard->options.raft;
    const struct raft_request_vote *request = &message->request_vote;
    /* ONE_VOTE. libraft does not ask whom it voted for when it hands leadership to the candidate:
     * for it that one's term is always new. But the transfer is not over with its leadership, and
     * by now it may have voted for somebody else in that very term. */
    if (guard_has(guard, RAFT_GUARD_ONE_VOTE) && !request->pre_vote &&
        request->term == raft->current_term &&
        !raft_layout_may_vote_for(raft, request->candidate_id))
        return;
    guard_witness_asked(guard, request);
    int role = -1;
    if (guard_has(guard, RAFT_GUARD_VOTE) && raft->state == RAFT_FOLLOWER)
        role = raft_layout_exchange_own_role(raft, RAFT_VOTER);
    guard->raft_recv(&guard->io, message);
    if (role >= 0)
        (void)raft_layout_exchange_own_role(raft, role); /* a vote does not change members */
}

void guard_free_held_snapshot(struct raft_guard *guard)
{
    struct raft_message *held = guard->held_snapshot;
    if (held == NULL)
        return;
    guard->held_snapshot = NULL;
    raft_configuration_close(&held->install_snapshot.conf);
    raft_free(held->install_snapshot.data.base);
    raft_free(held);
}

/* S20 for snapshots, which empty the log: kept until the appends in flight have ended (the leader
 * would wait a long time before it sends one again). A newer one takes its place. */
static void hold_snapshot(struct raft_guard *guard, const struct raft_message *message)
{
    size_t address_size = strlen(message->server_address) + 1;
    struct raft_message *held = raft_malloc(sizeof *held + address_size);
    if (held == NULL) {
        guard_stop(guard, "memory", RAFT_NOMEM);
        return;
    }
    *held = *message;
    held->server_address = memcpy(held + 1, message->server_address, address_size);
    guard_free_held_snapshot(guard);
    guard->held_snapshot = held;
}

void guard_receive_snapshot(struct raft_guard *guard, struct raft_message *message)
{
    const struct raft *raft = guard->options.raft;
    const struct raft_install_snapshot *install = &message->install_snapshot;
    raft_term term = install->term;
    /* S1. libraft answers "have it all" also when it has an entry of a *newer* term at that place,
     * one that no majority knows. Only the very entry, or a snapshot of our own, is having it. */
    bool have_it = raft_layout_snapshot_index(raft) >= install->last_index ||
                   raft_layout_term_at(raft, install->last_index) == install->last_term;
    guard->arriving_term = term;
    guard->arriving_end = have_it ? install->last_index : 0;
    guard->arriving_rejected = false;
    guard->raft_recv(&guard->io, message);
    guard->arriving_term = 0;
    if (raft->state == RAFT_FOLLOWER && raft->current_term == term)
        hear_leader(guard);
}

static void receive_timeout_now(struct raft_guard *guard, struct raft_message *message)
{
    struct raft *raft = guard->options.raft;
    struct raft_timeout_now *ask = &message->timeout_now;
    if (guard_has(guard, RAFT_GUARD_S7) && guard_disk_is_behind(guard))
        return; /* S7: asked to campaign at once, with a log our disk does not hold */
    if (guard_witness_has(guard, RAFT_GUARD_QUIET))
        return;
    if (guard_has(guard, RAFT_GUARD_TERM) && raft_layout_is_sole_voter(raft))
        return; /* its next tick makes it leader, of a term of its own */
    /* HAND_OVER. libraft wants the leader's very log. But a witness appends nothing, so that what
     * we have behind its log is never truncated, and may well be committed once we lead. */
    raft_index last = raft_last_index(raft);
    if (guard_has(guard, RAFT_GUARD_HAND_OVER) && ask->last_log_index < last &&
        raft_layout_term_at(raft, ask->last_log_index) == ask->last_log_term) {
        ask->last_log_index = last;
        ask->last_log_term = raft_layout_term_at(raft, last);
    }
    guard->raft_recv(&guard->io, message);
}

void guard_recv(struct raft_io *inner, struct raft_message *message)
{
    struct raft_guard *guard = inner->data;
    if (guard->stopped || guard->closing) {
        if (message->type == RAFT_IO_APPEND_ENTRIES)
            drop_entries(&message->append_entries, message->append_entries.n_entries);
        if (message->type == RAFT_IO_INSTALL_SNAPSHOT) {
            raft_configuration_close(&message->install_snapshot.conf);
            raft_free(message->install_snapshot.data.base);
        }
        return;
    }
    guard_note_places(guard);
    guard->talking_to = message->server_id;
    switch (message->type) {
    case RAFT_IO_APPEND_ENTRIES:
        receive_append_entries(guard, message);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        receive_append_entries_result(guard, message);
        break;
    case RAFT_IO_INSTALL_SNAPSHOT:
        if (guard_has(guard, RAFT_GUARD_S20) && guard->appends_in_flight > 0)
            hold_snapshot(guard, message);
        else
            guard_receive_snapshot(guard, message);
        break;
    case RAFT_IO_REQUEST_VOTE:
        receive_request_vote(guard, message);
        break;
    case RAFT_IO_TIMEOUT_NOW:
        receive_timeout_now(guard, message);
        break;
    default:
        guard->raft_recv(&guard->io, message);
        break;
    }
    guard->talking_to = 0;
    guard_settle(guard);
}
