/*
 * A member that lost entries is found by whoever knows better.
 *
 * Its files were put back from an older copy, or its disk forgot. It would acknowledge, and vote,
 * as if it never had what others count on it: an entry that {A, W} committed while B was given up
 * is gone when A forgets it and is then elected by B. Only the leader that counted A's
 * acknowledgements in this very term sees it in A's answers (note_lost_entries); after any change
 * of the leader nobody would. So all members know a *floor* of each (floors.h):
 *
 *  - The leader measures: what a member has synced, as acknowledged to it in its term, or what it
 *    has synced itself, and that is committed. It tells all, once a second, what rose.
 *  - Everybody keeps the highest that it heard, also over a restart (node/floor_file.c), and says
 *    all of it to whomever it is linked with. A new leader begins with what it knows.
 *  - Of a peer that it is linked with anew a node takes nothing, no vote, no acknowledgement, no
 *    entry, no question, until the peer has said where its journal ends.
 *
 *     R ── FLOORS (yours: entry 812 of term 7) ──────────► P   has it: goes on
 *     R ◄── JOURNAL_END (to 812: my journal ends at 640) ── P   lacks it: ends and quarantines
 *     R: nothing of P counts here while this link lasts          itself, whoever said so
 *
 * Why this is no false alarm. What was acknowledged as durable is durable, and a committed entry is
 * in the log of every later leader with the same term, so nothing that a leader does takes it out
 * of P's journal again; what else shortens one is listed in consensus_receive.c. A floor is of one
 * incarnation: `tally node repair` makes another. And P judges itself when it hears the floor, by
 * what its journal has then: that is later than the acknowledgement that the floor was made of, on
 * whichever ways the words came. R does not compare P's answer with what it has heard meanwhile,
 * but with the floor that P answers to, for the same reason: P may have answered, and grown since.
 *
 * The term is told as well, because P may have grown again under leaders who did not know: then its
 * journal reaches the floor, but with another entry. (Its hard state was put back as well, so the
 * same number may have been a term of theirs, too: then this says nothing.)
 *
 * P goes on to answer for CONSENSUS_CONDEMNED_MS, so that each of its peers hears it and can say
 * so, and takes part in nothing meanwhile.
 *
 * A floor also says that its own entry is committed, which a restart forgets otherwise. So a node
 * that is told to take such entries back, by a leader whose voters all lost them, stops and keeps
 * them: they may be the last copy.
 *
 * What it does not see: entries of the last second or two before the copy's younger history ended,
 * unless the leader that counted them still leads; members all of which were put back together;
 * and whatever only nodes know that are down.
 *
 * Whom to believe: everybody who is let in, as with entries and votes (peer.md). A node that was
 * restored from its first days may know none of today's members.
 */
#include "core/invariant.h"
#include "core/planted_fault.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/guard/raft_layout.h"
#include "replication/guard/raft_layout_drive.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LOST_EVENT_NS 10000000000ull

static struct floors *floors_of(const struct consensus_raft *c)
{
    return c->options.floors;
}

/* ---- who is a member ---- */

static bool find_member(const struct consensus_raft *c, uint64_t id, struct member *out)
{
    for (unsigned i = 0; i < c->raft.configuration.n; i++)
        if (c->raft.configuration.servers[i].id == id)
            return consensus_member(c, i, out);
    return false;
}

/* Whoever left is forgotten. */
static void keep_members(struct consensus_raft *c)
{
    struct member members[MEMBERS_MAX];
    uint32_t count = 0;
    for (unsigned i = 0; i < c->raft.configuration.n && count < MEMBERS_MAX; i++)
        if (consensus_member(c, i, &members[count]))
            count++;
    if (count > 0)
        floors_keep(floors_of(c), members, count);
}

static bool raise_floor(struct consensus_raft *c, const struct floor *floor)
{
    struct member member;
    return find_member(c, floor->node_id, &member) &&
           memcmp(member.incarnation, floor->incarnation, sizeof floor->incarnation) == 0 &&
           floors_raise(floors_of(c), floor);
}

/* ---- the leader measures ---- */

static bool measure(struct consensus_raft *c, unsigned i)
{
    struct member member;
    if (!consensus_member(c, i, &member))
        return false;
    uint64_t index = c->synced_index;
    if (member.node_id != c->options.self.node_id) {
        const struct consensus_raft_peer *peer = consensus_find_peer(c, member.node_id);
        index = peer == NULL || peer->lost ? 0 : raft_layout_peer(&c->raft, member.node_id).match;
    }
    if (index > c->raft.commit_index && !planted(PLANTED_FLOOR_NOT_COMMITTED))
        index = c->raft.commit_index;
    struct floor floor = {.node_id = member.node_id, .index = index};
    memcpy(floor.incarnation, member.incarnation, sizeof floor.incarnation);
    /* Not in memory any more: it is far behind, and what was known of it stays. */
    floor.term = index == 0 ? 0 : raft_layout_term_at(&c->raft, index);
    return floor.term != 0 && raise_floor(c, &floor);
}

static void measure_all(struct consensus_raft *c)
{
    bool rose = false;
    keep_members(c);
    for (unsigned i = 0; i < c->raft.configuration.n; i++)
        rose |= measure(c, i);
    for (uint32_t i = 0; i < c->peer_count && rose; i++)
        c->peers[i].floors_due = c->peers[i].linked;
}

/* ---- telling ---- */

static void send_floors(struct consensus_raft *c, struct consensus_raft_peer *peer)
{
    const struct floors *floors = floors_of(c);
    const struct raft_message_view view = {.type = MESSAGE_FLOORS,
                                           .floors = {.count = floors->count}};
    peer->floors_ns = consensus_now_ns(c);
    const enum status status =
        raft_io_say_with(c, peer->id, &view, floors->floors, floors->count * sizeof(struct floor));
    if (status != STATUS_BUSY && status != STATUS_NO_MEMORY)
        peer->floors_due = false; /* said; or without a link, which asks again when it comes */
    if (status != STATUS_OK)
        return;
    struct member member;
    const struct floor *floor = find_member(c, peer->id, &member)
                                    ? floors_find(floors, peer->id, member.incarnation)
                                    : NULL;
    peer->told_floor = floor == NULL ? 0 : floor->index;
    peer->told_floor_term = floor == NULL ? 0 : floor->term;
}

static bool is_due(const struct consensus_raft_peer *peer)
{
    return peer->floors_due || (peer->linked && !peer->vouched && !peer->below_floor);
}

void consensus_floors_linked(struct consensus_raft *c, struct consensus_raft_peer *peer, bool up)
{
    if (!up)
        return; /* its last messages are on their way; the next one is another link */
    peer->vouched = peer->vouched && planted(PLANTED_VOUCHED_FOR_EVER);
    peer->below_floor = false;
    peer->told_floor = peer->told_floor_term = 0;
    peer->floors_due = true;
    peer->floors_ns = 0;
    c->news = true;
}

void consensus_floors_process(struct consensus_raft *c)
{
    const uint64_t now = consensus_now_ns(c);
    if (c->options.transport == NULL)
        return;
    if (consensus_leads(c) && now - c->floors_ns >= CONSENSUS_FLOORS_MS * NS_PER_MS) {
        c->floors_ns = now;
        measure_all(c);
    }
    for (uint32_t i = 0; i < c->peer_count; i++) {
        struct consensus_raft_peer *peer = &c->peers[i];
        if (is_due(peer) && (peer->floors_ns == 0 ||
                             now - peer->floors_ns >= CONSENSUS_FLOORS_AGAIN_MS * NS_PER_MS))
            send_floors(c, peer);
    }
}

uint64_t consensus_floors_next_ns(const struct consensus_raft *c)
{
    uint64_t next = UINT64_MAX;
    if (c->options.transport == NULL)
        return next;
    if (consensus_leads(c))
        next = c->floors_ns + CONSENSUS_FLOORS_MS * NS_PER_MS;
    for (uint32_t i = 0; i < c->peer_count; i++) {
        const struct consensus_raft_peer *peer = &c->peers[i];
        if (!is_due(peer))
            continue;
        const uint64_t at =
            peer->floors_ns == 0 ? 0 : peer->floors_ns + CONSENSUS_FLOORS_AGAIN_MS * NS_PER_MS;
        next = at < next ? at : next;
    }
    return next;
}

bool consensus_floors_vouch(struct consensus_raft_peer *peer)
{
    if (!peer->vouched && !peer->below_floor)
        peer->floors_due = true; /* it may have been said while nobody listened */
    return peer->vouched;
}

/* ---- judged: ourselves ---- */

static uint64_t last_index(const struct consensus_raft *c)
{
    struct journal_position position;
    journal_position(c->options.journal, &position);
    /* Memory is ahead of the journal while entries are written. */
    return position.last_index > consensus_last_index(c) ? position.last_index
                                                         : consensus_last_index(c);
}

/* 0: not here; or before what the journal begins with, so in the store. */
static uint64_t term_at(const struct consensus_raft *c, uint64_t index)
{
    uint64_t term = raft_layout_term_at(&c->raft, index);
    if (term == 0 && journal_term(c->options.journal, index, &term) != STATUS_OK)
        term = 0;
    return term;
}

static bool is_lost(const struct consensus_raft *c, const struct floor *floor)
{
    const uint64_t term = term_at(c, floor->index);
    return last_index(c) < floor->index || (term != 0 && term != floor->term);
}

/* The peer 0: our own file. */
static void condemn(struct consensus_raft *c, uint64_t from, const struct floor *floor)
{
    char text[sizeof c->failure_text], source[48], found[64];
    const uint64_t last = last_index(c);
    if (from == 0)
        snprintf(source, sizeof source, "the file floors");
    else
        snprintf(source, sizeof source, "node %" PRIu64, from);
    if (last < floor->index)
        snprintf(found, sizeof found, "ends at %" PRIu64, last);
    else
        snprintf(found, sizeof found, "has one of term %" PRIu64 " there",
                 term_at(c, floor->index));
    snprintf(text, sizeof text,
             "entry %" PRIu64 " of term %" PRIu64
             " was acknowledged by this node and is committed (says %s), but the journal %s: an "
             "older copy of the files, or a disk that lost entries; quarantined: keep a copy for "
             "an inquiry, then run `tally node repair`",
             floor->index, floor->term, source, found);
    c->condemned_index = floor->index;
    c->condemned_until_ns = consensus_now_ns(c) + CONSENSUS_CONDEMNED_MS * NS_PER_MS;
    consensus_fail(c, STATUS_CORRUPT, text);
}

static const struct floor *own_floor(const struct consensus_raft *c)
{
    return floors_find(floors_of(c), c->options.self.node_id, c->options.self.incarnation);
}

bool consensus_floors_forbid_truncation(struct consensus_raft *c, uint64_t index)
{
    const struct floor *floor = own_floor(c);
    if (floor == NULL || floor->index < index)
        return false;
    char text[sizeof c->failure_text];
    snprintf(text, sizeof text,
             "the leader, node %" PRIu64 ", has other entries from %" PRIu64
             " on, but what this node has up to %" PRIu64
             " is committed: those who elected it lost it, perhaps by older copies of their files; "
             "nothing is taken back here: stop all nodes, keep copies, and compare their journals",
             consensus_leader(c), index, floor->index);
    consensus_fail(c, STATUS_CORRUPT, text);
    return true;
}

void consensus_floors_judge_own(struct consensus_raft *c)
{
    const struct floor *floor = own_floor(c);
    if (floor != NULL && is_lost(c, floor))
        condemn(c, 0, floor);
}

static bool find_own(const struct consensus_raft *c, const struct raft_message_view *view,
                     struct floor *out)
{
    const struct member *self = &c->options.self;
    for (uint32_t i = 0; i < view->floors.count; i++) {
        floors_at(view->floors.bytes, i, out);
        if (out->node_id == self->node_id &&
            memcmp(out->incarnation, self->incarnation, sizeof out->incarnation) == 0)
            return true;
    }
    return false;
}

static void answer(struct consensus_raft *c, uint64_t to, const struct floor *own)
{
    const struct raft_message_view view = {
        .type = MESSAGE_JOURNAL_END,
        .journal_end = {.last_index = last_index(c),
                        .floor_index = own == NULL ? 0 : own->index,
                        .floor_term = own == NULL ? 0 : term_at(c, own->index)},
    };
    raft_io_say(c, to, &view); /* lost: the peer asks again */
}

/* Keeps what is higher. Of a leader all hear it; what another one knows is passed on to the member
 * that it is about, which may not be linked with the one who knew. */
static void take(struct consensus_raft *c, uint64_t from, const struct raft_message_view *view)
{
    const bool is_leader = from == consensus_leader(c);
    struct floor floor;
    for (uint32_t i = 0; i < view->floors.count; i++) {
        floors_at(view->floors.bytes, i, &floor);
        if (!raise_floor(c, &floor) || is_leader || floor.node_id == c->options.self.node_id ||
            floor.node_id == from)
            continue;
        consensus_peer(c, floor.node_id)->floors_due = true;
    }
}

void consensus_floors_receive(struct consensus_raft *c, uint64_t from,
                              const struct raft_message_view *view)
{
    struct floor own;
    const bool known = find_own(c, view, &own);
    answer(c, from, known ? &own : NULL);
    if (!consensus_is_live(c))
        return; /* condemned already: it is said to each who asks */
    if (known && is_lost(c, &own)) {
        condemn(c, from, &own);
        return;
    }
    keep_members(c);
    take(c, from, view);
    if (!consensus_leads(c))
        return;
    /* From here on it listens to us. */
    raft_layout_wake_peer(&c->raft, from);
    c->tick_wanted = true;
}

/* ---- judged: a peer ---- */

static void refuse(struct consensus_raft *c, struct consensus_raft_peer *peer,
                   const struct raft_message_view *view)
{
    peer->vouched = false;
    peer->below_floor = true;
    peer->lost = true;
    if (c->raft.state == RAFT_LEADER)
        raft_layout_set_match(&c->raft, peer->id, 0); /* nothing that it acknowledged counts */
    c->news = true;
    const uint64_t now = consensus_now_ns(c);
    if (peer->lost_told_ns != 0 && now - peer->lost_told_ns < LOST_EVENT_NS)
        return;
    peer->lost_told_ns = now;
    char text[320];
    snprintf(text, sizeof text,
             "node %" PRIu64 " acknowledged entry %" PRIu64
             ", which is committed, but its journal ends at %" PRIu64
             "%s: an older copy of its files, or a disk that lost entries; neither its votes nor "
             "its acknowledgements count here, and it stops; rebuild it with `tally node repair`",
             peer->id, view->journal_end.floor_index, view->journal_end.last_index,
             view->journal_end.last_index < view->journal_end.floor_index
                 ? ""
                 : " and has another entry there");
    consensus_event(c, "peer_lost_entries", text, peer->id, view->journal_end.floor_index);
}

void consensus_floors_journal_end(struct consensus_raft *c, uint64_t from,
                                  const struct raft_message_view *view)
{
    struct consensus_raft_peer *peer = consensus_peer(c, from);
    const uint64_t index = view->journal_end.floor_index, term = view->journal_end.floor_term;
    if (index > peer->told_floor || peer->below_floor)
        return; /* to a question of a link before */
    const bool other_entry =
        term != 0 && index == peer->told_floor && term != peer->told_floor_term;
    if (view->journal_end.last_index < index || other_entry) {
        refuse(c, peer, view);
        return;
    }
    peer->heard_ns = consensus_now_ns(c);
    if (peer->vouched)
        return;
    peer->vouched = true;
    c->news = true;
}
