/*
 * Reads that see everything committed before they were asked (ReadIndex; Raft, section 6.4).
 *
 *     question ──► leader: round {sequence, commit index now} ──PROBE──► voters
 *                    majority answers in the same term ◄──PROBE_RESULT──┘
 *              ◄── index: what must be applied before the answer
 *
 * A round counts for the questions that were there before it was *sent*: a voter's answer says that
 * at that moment it knew of no later term, so at the moment of sending no later leader could have
 * committed anything. An answer to a later round says the same of all earlier ones. The leader must
 * have committed an entry of its own term first, or its commit index may be older than what was
 * acknowledged before (Raft, section 8). No leases: a restarted follower votes at once, and a
 * paused machine has no sense of time.
 *
 * Elsewhere the question goes to the leader (READ_INDEX), which does such a round.
 *
 * Rounds also measure the voters' wall clocks, so that there is one at least every second:
 *     offset = their clock when they answered - our clock in the middle between sending and answer
 */
#include "core/invariant.h"
#include "core/planted_fault.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/guard/raft_layout.h"
#include "replication/guard/raft_layout_drive.h"

/* An answer that took longer tells nothing about a clock. */
#define CLOCK_TRIP_NS_MAX (200 * NS_PER_MS)

static int64_t wall_now_ns(const struct consensus_raft *c)
{
    return (int64_t)c->options.environment->wall_ns(c->options.environment->context);
}

static uint64_t timeout_ns(const struct consensus_raft *c)
{
    return c->options.election_ms * NS_PER_MS;
}

static struct read_round *round_of(struct consensus_reads *reads, uint64_t sequence)
{
    return &reads->rounds[sequence % CONSENSUS_ROUNDS_MAX];
}

/* ---- rounds, as leader ---- */

/* Our own term's barrier is committed: the commit index tells all that was ever acknowledged. */
static bool may_answer(const struct consensus_raft *c)
{
    return consensus_leads(c) &&
           (raft_guard_ready(&c->guard) || planted(PLANTED_READ_BEFORE_BARRIER));
}

static uint32_t answers_of(const struct consensus_raft *c, uint64_t sequence)
{
    uint32_t count = raft_layout_role(&c->raft, c->options.self.node_id) == RAFT_VOTER;
    for (uint32_t i = 0; i < c->peer_count; i++) {
        if (c->peers[i].round_seen >= sequence &&
            raft_layout_role(&c->raft, c->peers[i].id) == RAFT_VOTER)
            count++;
    }
    return count;
}

static void note_confirmed(struct consensus_raft *c)
{
    struct consensus_reads *reads = &c->reads;
    const uint32_t majority = raft_layout_voter_count(&c->raft) / 2 + 1;
    while (reads->confirmed < reads->sequence && answers_of(c, reads->confirmed + 1) >= majority)
        reads->confirmed++;
}

static void begin_round(struct consensus_raft *c)
{
    struct consensus_reads *reads = &c->reads;
    reads->sequence++;
    struct read_round *round = round_of(reads, reads->sequence);
    *round = (struct read_round){
        .sequence = reads->sequence,
        .index = c->raft.commit_index,
        .sent_ns = consensus_now_ns(c),
        .sent_wall_ns = wall_now_ns(c),
    };
    reads->last_round_ns = round->sent_ns;
    const struct raft_message_view probe = {
        .type = MESSAGE_PROBE, .probe = {.term = reads->term, .sequence = reads->sequence}};
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        const struct raft_server *server = &c->raft.configuration.servers[i];
        if (server->role == RAFT_VOTER && server->id != c->options.self.node_id)
            raft_io_say(c, server->id, &probe);
    }
    note_confirmed(c);
}

static bool round_waits(const struct consensus_raft *c)
{
    return c->reads.sequence - c->reads.confirmed >= CONSENSUS_ROUNDS_MAX - 1;
}

/* Rounds of a leadership are numbered on; those of an older one count for nothing. */
static void follow_term(struct consensus_raft *c)
{
    struct consensus_reads *reads = &c->reads;
    if (!consensus_leads(c)) {
        reads->term = 0;
        return;
    }
    if (reads->term == c->raft.current_term)
        return;
    reads->term = c->raft.current_term;
    reads->confirmed = reads->sequence;
    for (struct consensus_confirmation *q = reads->first; q != NULL; q = q->next)
        q->round = 0;
    for (uint32_t i = 0; i < reads->question_count; i++)
        reads->questions[i].round = 0;
}

/* Rounds that nobody will answer any more make place. */
static void give_up_old_rounds(struct consensus_raft *c)
{
    struct consensus_reads *reads = &c->reads;
    const uint64_t now = consensus_now_ns(c);
    while (reads->confirmed < reads->sequence &&
           now - round_of(reads, reads->confirmed + 1)->sent_ns > 2 * timeout_ns(c)) {
        /* Its questions have timed out before. */
        reads->confirmed++;
    }
}

/* The round that counts for a question which is there now: the next one. */
static uint64_t round_for_now(const struct consensus_reads *reads)
{
    if (planted(PLANTED_READ_JOINS_ROUND) && reads->confirmed < reads->sequence)
        return reads->sequence;
    return reads->sequence + 1;
}

static void lead_rounds(struct consensus_raft *c)
{
    struct consensus_reads *reads = &c->reads;
    give_up_old_rounds(c);
    note_confirmed(c);
    bool wanted = false;
    if (may_answer(c) && !round_waits(c)) {
        for (struct consensus_confirmation *q = reads->first; q != NULL; q = q->next) {
            if (q->round == 0) {
                q->round = round_for_now(reads);
                wanted = true;
            }
        }
        for (uint32_t i = 0; i < reads->question_count; i++) {
            if (reads->questions[i].round == 0) {
                reads->questions[i].round = round_for_now(reads);
                wanted = true;
            }
        }
    }
    const bool alone = raft_layout_voter_count(&c->raft) <= 1;
    if (!alone && !round_waits(c) &&
        consensus_now_ns(c) - reads->last_round_ns >= CONSENSUS_CLOCK_ROUND_MS * NS_PER_MS)
        wanted = true;
    if (wanted)
        begin_round(c);
}

void consensus_reads_probe(struct consensus_raft *c, uint64_t from,
                           const struct raft_message_view *view)
{
    /* A later term is not told: its leader's own messages do that. */
    if (view->probe.term != c->raft.current_term)
        return;
    const struct raft_message_view result = {
        .type = MESSAGE_PROBE_RESULT,
        .probe_result = {.term = view->probe.term,
                         .sequence = view->probe.sequence,
                         .wall_ns = wall_now_ns(c)},
    };
    raft_io_say(c, from, &result);
}

static void note_clock(struct consensus_raft *c, struct consensus_raft_peer *peer,
                       const struct raft_message_view *view)
{
    const struct read_round *round = round_of(&c->reads, view->probe_result.sequence);
    if (round->sequence != view->probe_result.sequence)
        return;
    const uint64_t trip = consensus_now_ns(c) - round->sent_ns;
    if (trip > CLOCK_TRIP_NS_MAX)
        return;
    peer->clock_known = true;
    peer->clock_offset_ns = (int64_t)((uint64_t)view->probe_result.wall_ns -
                                      ((uint64_t)round->sent_wall_ns + trip / 2));
}

void consensus_reads_probe_result(struct consensus_raft *c, uint64_t from,
                                  const struct raft_message_view *view)
{
    struct consensus_reads *reads = &c->reads;
    if (!consensus_leads(c) || view->probe_result.term != c->raft.current_term ||
        reads->term != c->raft.current_term || view->probe_result.sequence > reads->sequence)
        return;
    struct consensus_raft_peer *peer = consensus_peer(c, from);
    if (view->probe_result.sequence > peer->round_seen)
        peer->round_seen = view->probe_result.sequence;
    note_clock(c, peer, view);
    note_confirmed(c);
}

/* ---- other nodes' questions ---- */

static void answer_question(struct consensus_raft *c, const struct read_question *question,
                            bool ready, uint64_t index)
{
    if (c->raft.current_term == 0)
        return; /* a node that nobody has spoken to */
    const struct raft_message_view result = {
        .type = MESSAGE_READ_INDEX_RESULT,
        .read_index_result = {.term = c->raft.current_term,
                              .sequence = question->sequence,
                              .index = ready ? index : 0,
                              .ready = ready},
    };
    raft_io_say(c, question->from, &result);
}

void consensus_reads_read_index(struct consensus_raft *c, uint64_t from,
                                const struct raft_message_view *view)
{
    struct consensus_reads *reads = &c->reads;
    const struct read_question question = {
        .from = from, .sequence = view->read_index.sequence, .asked_ns = consensus_now_ns(c)};
    if (!consensus_leads(c) || c->is_witness || reads->question_count == CONSENSUS_QUESTIONS_MAX) {
        answer_question(c, &question, false, 0);
        return;
    }
    reads->questions[reads->question_count++] = question;
}

static void end_questions(struct consensus_raft *c)
{
    struct consensus_reads *reads = &c->reads;
    const uint64_t now = consensus_now_ns(c);
    const bool leads = consensus_leads(c);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < reads->question_count; i++) {
        const struct read_question *question = &reads->questions[i];
        const bool confirmed = leads && question->round != 0 &&
                               question->round <= reads->confirmed &&
                               round_of(reads, question->round)->sequence == question->round;
        if (planted(PLANTED_READ_WITHOUT_ROUND) && leads && may_answer(c))
            answer_question(c, question, true, c->raft.commit_index);
        else if (confirmed &&
                 answers_of(c, question->round) > raft_layout_voter_count(&c->raft) / 2)
            answer_question(c, question, true, round_of(reads, question->round)->index);
        else if (!leads || now - question->asked_ns >= timeout_ns(c))
            answer_question(c, question, false, 0);
        else
            reads->questions[kept++] = *question;
    }
    reads->question_count = kept;
}

/* ---- our own ---- */

void consensus_reads_confirm(struct consensus_raft *c, struct consensus_confirmation *confirmation)
{
    invariant(!confirmation->in_flight);
    confirmation->in_flight = true;
    confirmation->done = false;
    confirmation->next = NULL;
    confirmation->round = 0;
    confirmation->asked_of = 0;
    confirmation->asked_ns = consensus_now_ns(c);
    if (c->reads.last != NULL)
        c->reads.last->next = confirmation;
    else
        c->reads.first = confirmation;
    c->reads.last = confirmation;
    c->reads.process_asked = true;
}

/* As follower: asks the leader, once for all that is not asked yet. */
static void ask_leader(struct consensus_raft *c)
{
    struct consensus_reads *reads = &c->reads;
    const uint64_t leader = raft_layout_leader(&c->raft);
    bool wanted = false;
    for (struct consensus_confirmation *q = reads->first; q != NULL; q = q->next) {
        if (q->asked_of != 0)
            continue;
        q->asked_of = leader;
        q->round = reads->asked_sequence + 1;
        wanted = true;
    }
    if (!wanted)
        return;
    reads->asked_sequence++;
    const struct raft_message_view ask = {
        .type = MESSAGE_READ_INDEX,
        .read_index = {.term = c->raft.current_term, .sequence = reads->asked_sequence}};
    raft_io_say(c, leader, &ask);
}

static void end_confirmation(struct consensus_raft *c, struct consensus_confirmation **link,
                             enum status status, uint64_t index)
{
    struct consensus_reads *reads = &c->reads;
    struct consensus_confirmation *confirmation = *link;
    *link = confirmation->next;
    if (reads->last == confirmation) {
        reads->last = reads->first;
        while (reads->last != NULL && reads->last->next != NULL)
            reads->last = reads->last->next;
    }
    confirmation->next = NULL;
    confirmation->in_flight = false;
    confirmation->cb(confirmation, status, index);
}

void consensus_reads_read_index_result(struct consensus_raft *c, uint64_t from,
                                       const struct raft_message_view *view)
{
    struct consensus_reads *reads = &c->reads;
    /* Nobody asked that: an answer to another life of this node, when its questions were older. */
    if (view->read_index_result.sequence > reads->asked_sequence)
        return;
    /* Sequences are asked in order, and an answer to a later question serves all before it. */
    for (struct consensus_confirmation *q = reads->first; q != NULL; q = q->next) {
        if (q->asked_of != from || q->round == 0 || q->done ||
            q->round > view->read_index_result.sequence)
            continue;
        if (!view->read_index_result.ready && q->round != view->read_index_result.sequence)
            continue;
        q->done = true;
        q->status = view->read_index_result.ready ? STATUS_OK : STATUS_NOT_READY;
        q->index = view->read_index_result.index;
        reads->process_asked = true;
    }
}

/* STATUS_BUSY: not yet. */
static enum status judge(struct consensus_raft *c, struct consensus_confirmation *q,
                         uint64_t *out_index)
{
    struct consensus_reads *reads = &c->reads;
    *out_index = 0;
    if (!consensus_is_live(c) || c->is_witness)
        return STATUS_NOT_READY;
    if (consensus_now_ns(c) - q->asked_ns >= timeout_ns(c))
        return STATUS_NOT_READY;
    if (consensus_leads(c)) {
        if (q->asked_of != 0)
            return STATUS_NOT_READY; /* asked of another leader, who is none any more */
        if (planted(PLANTED_READ_WITHOUT_ROUND) && may_answer(c)) {
            *out_index = c->raft.commit_index;
            return STATUS_OK;
        }
        const struct read_round *round = round_of(reads, q->round);
        if (q->round == 0 || q->round > reads->confirmed || round->sequence != q->round ||
            answers_of(c, q->round) <= raft_layout_voter_count(&c->raft) / 2)
            return STATUS_BUSY;
        *out_index = round->index;
        return STATUS_OK;
    }
    if (q->asked_of == 0 || q->asked_of != raft_layout_leader(&c->raft))
        return STATUS_NOT_READY;
    if (!q->done)
        return STATUS_BUSY;
    *out_index = q->index;
    return q->status;
}

static void end_confirmations(struct consensus_raft *c)
{
    struct consensus_confirmation **link = &c->reads.first;
    while (*link != NULL) {
        uint64_t index;
        enum status status = judge(c, *link, &index);
        if (status == STATUS_BUSY)
            link = &(*link)->next;
        else
            end_confirmation(c, link, status, index);
    }
}

void consensus_reads_process(struct consensus_raft *c)
{
    c->reads.process_asked = false;
    if (consensus_is_live(c)) {
        follow_term(c);
        if (consensus_leads(c))
            lead_rounds(c);
        else if (c->reads.first != NULL && raft_layout_leader(&c->raft) != 0)
            ask_leader(c);
        end_questions(c);
    }
    end_confirmations(c);
}

uint64_t consensus_reads_next_ns(const struct consensus_raft *c)
{
    const struct consensus_reads *reads = &c->reads;
    uint64_t next = UINT64_MAX;
    for (const struct consensus_confirmation *q = reads->first; q != NULL; q = q->next) {
        uint64_t end = q->asked_ns + timeout_ns(c);
        next = end < next ? end : next;
    }
    for (uint32_t i = 0; i < reads->question_count; i++) {
        uint64_t end = reads->questions[i].asked_ns + timeout_ns(c);
        next = end < next ? end : next;
    }
    if (consensus_leads(c) && raft_layout_voter_count(&c->raft) > 1) {
        uint64_t round = reads->last_round_ns + CONSENSUS_CLOCK_ROUND_MS * NS_PER_MS;
        next = round < next ? round : next;
    }
    return next;
}
