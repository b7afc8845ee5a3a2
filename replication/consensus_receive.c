/*
 * Messages in: decoded, judged, and given to libraft through the guard.
 *
 * Admission. A follower's memory and disk are bounded, and libraft takes what it gets. So entries
 * are let in only while the log in memory has room and the journal keeps up; otherwise the message
 * goes on without its entries: it is a heartbeat still, the leader learns that nothing was taken,
 * and sends again (raft_io_send.c sends less then).
 *
 * AppendEntries of a second leader of one term cannot be: of a term that we lead, or that we heard
 * another one lead. libraft only asserts the first, and its release writes a follower's fields over
 * the leader's, pointers among them; in the second case it follows both in turn, whose entries of
 * one index and term may differ. Somebody lies, or voted twice because its hard state was put back
 * to an older copy; it is dropped and told of, since one peer's bytes must not end another's
 * process.
 */
#include "core/invariant.h"
#include "replication/consensus_raft_internal.h"
#include "replication/raft_layout.h"
#include "replication/raft_layout_drive.h"

#include <string.h>

#define MALFORMED_EVENT_NS 1000000000ull
#define LOST_EVENT_NS      10000000000ull

static void deliver(struct consensus_raft *c, struct raft_message *message)
{
    c->recv(&c->io, message);
    consensus_settle(c);
}

static struct raft_message message_from(uint64_t from, unsigned short type)
{
    /* libraft passes addresses on to send() and compares them; nobody else reads them. */
    return (struct raft_message){.type = type, .server_id = from, .server_address = ""};
}

static void note_malformed(struct consensus_raft *c, uint64_t from)
{
    const uint64_t now = consensus_now_ns(c);
    c->malformed_count++;
    if (c->malformed_told_ns != 0 && now - c->malformed_told_ns < MALFORMED_EVENT_NS)
        return;
    c->malformed_told_ns = now;
    consensus_event(c, "peer_malformed",
                    "a peer's message of consensus makes no sense and was dropped; are both sides "
                    "of the same version?",
                    from, c->malformed_count);
}

/* ---- entries ---- */

static bool has_room(const struct consensus_raft *c, const struct raft_message_view *view)
{
    if (c->waiting != NULL &&
        c->waiting_bytes + view->append.region_size > CONSENSUS_WAITING_BYTES_MAX)
        return false;
    return !raft_io_log_is_full(c) || raft_io_log_can_shrink(c);
}

/* One block for all of them, which libraft frees: raft.h, struct raft_entry. */
static void copy_entries(const struct raft_message_view *view, struct raft_append_entries *out)
{
    uint8_t *batch = raft_io_take(view->append.region_size);
    struct raft_entry *entries = raft_calloc(view->append.count, sizeof *entries);
    invariant(batch != NULL);
    memcpy(batch, view->append.region, view->append.region_size);
    struct raft_message_entry entry;
    uint32_t offset = 0, begin = 0;
    for (uint32_t i = 0; raft_message_next_entry(view, &offset, &entry); i++, begin = offset) {
        struct raft_entry *to = &entries[i];
        to->term = entry.term;
        to->batch = batch;
        size_t skipped = RAFT_MESSAGE_ENTRY_HEADER_SIZE;
        switch (entry.type) {
        case JOURNAL_BARRIER:
            /* A follower keeps no payload; the leader's eight bytes mean nothing. */
            to->type = RAFT_BARRIER;
            break;
        case JOURNAL_CONFIGURATION:
            to->type = RAFT_CHANGE;
            break;
        default:
            to->type = RAFT_COMMAND;
            skipped -= 8; /* the prefix is part of the buffer */
            break;
        }
        to->buf.base = batch + begin + skipped;
        to->buf.len = offset - begin - skipped;
    }
    out->entries = entries;
    out->n_entries = view->append.count;
}

static bool is_second_leader(const struct consensus_raft *c, uint64_t from, uint64_t term)
{
    return (c->raft.state == RAFT_LEADER && term == c->raft.current_term) ||
           (term == c->followed_term && from != c->followed_leader);
}

static void receive_append_entries(struct consensus_raft *c, uint64_t from,
                                   const struct raft_message_view *view)
{
    if (is_second_leader(c, from, view->append.term)) {
        note_malformed(c, from);
        return;
    }
    struct raft_message message = message_from(from, RAFT_IO_APPEND_ENTRIES);
    message.append_entries = (struct raft_append_entries){
        .term = view->append.term,
        .prev_log_index = view->append.previous_index,
        .prev_log_term = view->append.previous_term,
        .leader_commit = view->append.commit,
    };
    if (view->append.count > 0 && has_room(c, view))
        copy_entries(view, &message.append_entries);
    deliver(c, &message);
    if (c->failure != STATUS_OK || c->raft.state != RAFT_FOLLOWER ||
        c->raft.current_term != view->append.term)
        return;
    c->followed_term = view->append.term;
    c->followed_leader = from;
    c->heard_leader_ns = consensus_now_ns(c);
    consensus_lead_heard(c);
}

/* Whom we count among those that hold an entry lacks it: its files were put back to an older copy,
 * or its disk lost what it had said to be synced. libraft takes such a rejection for an old one
 * that is late, but a lane is in order: what was acknowledged was acknowledged before. It stays
 * without entries from us, and should stop: it may have lost votes that it gave as well. */
static void note_lost_entries(struct consensus_raft *c, uint64_t from,
                              const struct raft_append_entries_result *result)
{
    if (!consensus_leads(c) || result->term != c->raft.current_term || result->rejected == 0)
        return;
    const struct raft_layout_peer peer = raft_layout_peer(&c->raft, from);
    const uint64_t now = consensus_now_ns(c);
    if (!peer.known || result->rejected > peer.match ||
        (c->lost_told_ns != 0 && now - c->lost_told_ns < LOST_EVENT_NS))
        return;
    c->lost_told_ns = now;
    consensus_event(c, "peer_lost_entries",
                    "a member lacks entries that it had acknowledged as durable: its files are an "
                    "older copy, or its disk lost them; stop it now, and rebuild it under a new id "
                    "with `tally node repair`",
                    from, peer.match);
}

static void receive_append_result(struct consensus_raft *c, uint64_t from,
                                  const struct raft_message_view *view)
{
    struct raft_message message = message_from(from, RAFT_IO_APPEND_ENTRIES_RESULT);
    struct raft_append_entries_result *result = &message.append_entries_result;
    *result = (struct raft_append_entries_result){
        .term = view->append_result.term,
        .rejected = view->append_result.rejected,
        .last_log_index = view->append_result.last_index,
    };
    note_lost_entries(c, from, result);
    deliver(c, &message);
}

/* ---- votes ---- */

static void receive_vote(struct consensus_raft *c, uint64_t from,
                         const struct raft_message_view *view)
{
    struct raft_message message = message_from(from, RAFT_IO_REQUEST_VOTE);
    message.request_vote = (struct raft_request_vote){
        .term = view->vote.term,
        .candidate_id = view->vote.candidate_id,
        .last_log_index = view->vote.last_index,
        .last_log_term = view->vote.last_term,
        .disrupt_leader = view->vote.disrupts_leader,
        .pre_vote = view->vote.is_pre_vote,
    };
    deliver(c, &message);
}

static void receive_vote_result(struct consensus_raft *c, uint64_t from,
                                const struct raft_message_view *view)
{
    struct raft_message message = message_from(from, RAFT_IO_REQUEST_VOTE_RESULT);
    message.request_vote_result = (struct raft_request_vote_result){
        .term = view->vote_result.term,
        .vote_granted = view->vote_result.granted,
        .pre_vote = TO_RAFT_TRIBOOL(view->vote_result.of_pre_vote),
    };
    deliver(c, &message);
}

static void receive_timeout_now(struct consensus_raft *c, uint64_t from,
                                const struct raft_message_view *view)
{
    struct raft_message message = message_from(from, RAFT_IO_TIMEOUT_NOW);
    message.timeout_now = (struct raft_timeout_now){
        .term = view->timeout_now.term,
        .last_log_index = view->timeout_now.last_index,
        .last_log_term = view->timeout_now.last_term,
    };
    deliver(c, &message);
}

/* ---- the rest ---- */

static void receive_watermark(struct consensus_raft *c, uint64_t from,
                              const struct raft_message_view *view)
{
    if (c->raft.state != RAFT_FOLLOWER || view->watermark.term != c->raft.current_term ||
        raft_layout_leader(&c->raft) != from || view->watermark.index <= c->watermark_index)
        return;
    c->watermark_index = view->watermark.index;
    c->news = true;
}

static void dispatch(struct consensus_raft *c, uint64_t from, const struct raft_message_view *view)
{
    switch (view->type) {
    case MESSAGE_REQUEST_VOTE:
        receive_vote(c, from, view);
        break;
    case MESSAGE_REQUEST_VOTE_RESULT:
        receive_vote_result(c, from, view);
        break;
    case MESSAGE_APPEND_ENTRIES:
        receive_append_entries(c, from, view);
        break;
    case MESSAGE_APPEND_ENTRIES_RESULT:
        receive_append_result(c, from, view);
        break;
    case MESSAGE_TIMEOUT_NOW:
        receive_timeout_now(c, from, view);
        break;
    case MESSAGE_PROBE:
        consensus_reads_probe(c, from, view);
        break;
    case MESSAGE_PROBE_RESULT:
        consensus_reads_probe_result(c, from, view);
        break;
    case MESSAGE_READ_INDEX:
        consensus_reads_read_index(c, from, view);
        break;
    case MESSAGE_READ_INDEX_RESULT:
        consensus_reads_read_index_result(c, from, view);
        break;
    case MESSAGE_WATERMARK:
        receive_watermark(c, from, view);
        break;
    default:
        break;
    }
}

void consensus_raft_receive(struct consensus_raft *c, uint64_t from, const void *bytes, size_t size)
{
    if (!consensus_is_live(c) || from == 0 || from == c->options.self.node_id)
        return;
    struct raft_message_view view;
    if (raft_message_decode(bytes, size, &view) != STATUS_OK ||
        (view.type == MESSAGE_REQUEST_VOTE && view.vote.candidate_id != from)) {
        note_malformed(c, from);
        return;
    }
    consensus_peer(c, from)->heard_ns = consensus_now_ns(c);
    dispatch(c, from, &view);
}
