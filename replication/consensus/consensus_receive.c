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
 *
 * A journal that ends below what it acknowledged lost entries that count as held by a majority, and
 * perhaps votes. libraft takes such a node's rejections for old ones that are late; but a lane is
 * in order, so a leader that gets one at or below what the peer acknowledged in this term tells the
 * peer, and the peer, if it is true, stops and quarantines its files. So it does when the rejected
 * index is above that and the hint is below: the hint is the end of the peer's log or what is right
 * before the rejected index, hence its end (a leader that has gone on asks there first, and the
 * next thing that the peer gets is what it lacks: it would never be asked about the rest). This
 * cannot be a false alarm.
 * Say that P acknowledged index a to L, leader of term t. P had synced its log up to a, and it was
 * equal to L's (the guard's S1). Now P, its term t still, follows L, and its journal ends below a
 * with an entry of a term not above t. What shortens a journal?
 *  - Truncation, by a leader whose entry differs. One of a later term raises P's term, and L's word
 *    is of another one then. L itself never differs from its own log, which only grows; one of an
 *    earlier term is not listened to any more, and what it truncated was gone before P answered
 *    in t.
 *  - A copy put in place by catch-up. It ends before P's journal only if its last entry, committed,
 *    differs from P's at that index (fetch_may_replace). Had P's been acknowledged to L it would be
 *    L's; and what is committed in a term up to t is in L's log. So the entry is of a later term
 *    than t: that is excluded by the journal's last term.
 *  - A restart: it brings back all that was synced. Memory is looked at as well, which is ahead of
 *    the journal while entries are being written, and behind while a truncation waits for it.
 *  - Another node under P's id: the handshake refuses its incarnation; and once the member is
 *    another one, libraft's match begins at 0, and no more than that is said.
 * A message that is late or comes twice is of an older term, or still true. Only L's own term is
 * covered; what was acknowledged to earlier leaders is known from the second that it was committed
 * on, to all: consensus_floors.c. It also says which peers are heard at all.
 */
#include "core/invariant.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/guard/raft_layout.h"
#include "replication/guard/raft_layout_drive.h"

#include <inttypes.h>
#include <stdio.h>
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

/* ---- what was acknowledged and is gone ---- */

static void note_lost_entries(struct consensus_raft *c, uint64_t from,
                              const struct raft_append_entries_result *result)
{
    if (!consensus_leads(c) || result->term != c->raft.current_term)
        return;
    struct consensus_raft_peer *peer = consensus_peer(c, from);
    if (result->rejected == 0) {
        peer->lost = false; /* it holds what we asked about */
        if (result->last_log_index > peer->acknowledged)
            peer->acknowledged = result->last_log_index;
        return;
    }
    /* Nothing is known of who came under this id just now: the match is 0. */
    const struct raft_layout_peer progress = raft_layout_peer(&c->raft, from);
    const uint64_t index =
        progress.match < peer->acknowledged ? progress.match : peer->acknowledged;
    if (!progress.known || (result->rejected > index && result->last_log_index >= index))
        return;
    peer->lost = true;
    const struct raft_message_view view = {
        .type = MESSAGE_LOST_ENTRIES,
        .lost_entries = {.term = c->raft.current_term, .index = index}};
    raft_io_say(c, from, &view); /* once for each rejection */
    const uint64_t now = consensus_now_ns(c);
    if (c->lost_told_ns != 0 && now - c->lost_told_ns < LOST_EVENT_NS)
        return;
    c->lost_told_ns = now;
    consensus_event(c, "peer_lost_entries",
                    "a member lacks entries that it had acknowledged as durable: its files are an "
                    "older copy, or its disk lost them; it stops when it hears of it; rebuild it "
                    "under a new id with `tally node repair`",
                    from, index);
}

static void receive_lost_entries(struct consensus_raft *c, uint64_t from,
                                 const struct raft_message_view *view)
{
    const uint64_t term = view->lost_entries.term, index = view->lost_entries.index;
    struct journal_position position;
    journal_position(c->options.journal, &position);
    if (c->raft.state != RAFT_FOLLOWER || term != c->raft.current_term ||
        raft_layout_leader(&c->raft) != from || position.last_index >= index ||
        position.last_term > term || consensus_last_index(c) >= index || c->failure != STATUS_OK)
        return;
    char text[sizeof c->failure_text];
    snprintf(text, sizeof text,
             "entry %" PRIu64 " was acknowledged to node %" PRIu64 " in term %" PRIu64
             ", but the journal ends at %" PRIu64 ": an older copy of the files, or a disk that "
             "lost entries; quarantined: keep a copy for an inquiry, then run `tally node repair`",
             index, from, term, position.last_index);
    c->condemned_index = index;
    consensus_fail(c, STATUS_CORRUPT, text);
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
        raft_layout_leader(&c->raft) != from)
        return;
    if (view->watermark.both > c->durability_drive.both_index) {
        c->durability_drive.both_index = view->watermark.both;
        c->news = true;
    }
    if (view->watermark.index > c->watermark_index) {
        c->watermark_index = view->watermark.index;
        c->news = true;
    }
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
    case MESSAGE_LOST_ENTRIES:
        receive_lost_entries(c, from, view);
        break;
    default:
        break;
    }
}

void consensus_raft_receive(struct consensus_raft *c, uint64_t from, const void *bytes, size_t size)
{
    const bool condemned = c->started && !c->stopped && c->condemned_index != 0;
    if ((!consensus_is_live(c) && !condemned) || from == 0 || from == c->options.self.node_id)
        return;
    struct raft_message_view view;
    if (raft_message_decode(bytes, size, &view) != STATUS_OK ||
        (view.type == MESSAGE_REQUEST_VOTE && view.vote.candidate_id != from)) {
        note_malformed(c, from);
        return;
    }
    if (view.type == MESSAGE_FLOORS) {
        consensus_floors_receive(c, from, &view);
        return;
    }
    if (!consensus_is_live(c))
        return;
    if (view.type == MESSAGE_JOURNAL_END) {
        consensus_floors_journal_end(c, from, &view);
        return;
    }
    struct consensus_raft_peer *peer = consensus_peer(c, from);
    if (!consensus_floors_vouch(peer))
        return;
    peer->heard_ns = consensus_now_ns(c);
    dispatch(c, from, &view);
}
