/*
 * After every event, outside of libraft: what became due inside of it.
 *
 * libraft tells nobody of a change: not of its role, its commit, its members. So everything that
 * follows from one is found here by comparison with what was there at the last event. Callbacks
 * that libraft waits for are called here as well, because it must not be called from within itself.
 */
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/guard/raft_layout.h"
#include "replication/guard/raft_layout_drive.h"

/* What libraft wanted to send and had no room for. */
static void settle_cuts(struct consensus_raft *c)
{
    for (uint32_t i = 0; i < c->peer_count; i++) {
        struct consensus_raft_peer *peer = &c->peers[i];
        if (!peer->cut)
            continue;
        peer->cut = false;
        if (c->raft.state == RAFT_LEADER && raft_layout_peer(&c->raft, peer->id).pipelines &&
            peer->cut_at <= consensus_last_index(c) + 1)
            raft_layout_probe_from(&c->raft, peer->id, peer->cut_at);
    }
}

static uint64_t payload_between(const struct consensus_raft *c, uint64_t above, uint64_t last)
{
    uint64_t bytes = 0;
    for (uint64_t i = above + 1; i <= last; i++) {
        const struct raft_entry *entry = raft_layout_entry(&c->raft, i);
        if (entry != NULL)
            bytes += raft_io_payload_size(entry);
    }
    return bytes;
}

/* Bytes and ages of what is proposed and not committed; as a leader only. */
static void settle_uncommitted(struct consensus_raft *c)
{
    if (c->raft.state != RAFT_LEADER)
        return;
    const uint64_t commit = c->raft.commit_index;
    if (c->counted_term != c->raft.current_term) {
        c->counted_term = c->raft.current_term;
        c->uncommitted_bytes = payload_between(c, commit, consensus_last_index(c));
        c->mark_count = 0;
        if (consensus_last_index(c) > commit) {
            c->marks[c->mark_first] =
                (struct propose_mark){.index = consensus_last_index(c), .ns = consensus_now_ns(c)};
            c->mark_count = 1;
        }
    } else if (commit > c->counted_commit) {
        uint64_t bytes = payload_between(c, c->counted_commit, commit);
        c->uncommitted_bytes -= bytes < c->uncommitted_bytes ? bytes : c->uncommitted_bytes;
    }
    c->counted_commit = commit;
    while (c->mark_count > 0 && c->marks[c->mark_first].index <= commit) {
        c->mark_first = (c->mark_first + 1) % (sizeof c->marks / sizeof c->marks[0]);
        c->mark_count--;
    }
}

static void settle_role(struct consensus_raft *c)
{
    if (c->raft.state != RAFT_LEADER) {
        c->led_term = 0;
        return;
    }
    if (c->led_term == c->raft.current_term)
        return;
    c->led_term = c->raft.current_term;
    c->handover_tries = 0;
    for (uint32_t i = 0; i < c->peer_count; i++) {
        struct consensus_raft_peer *peer = &c->peers[i];
        peer->told_commit = 0;
        peer->behind = false;
        peer->round_seen = 0;
        peer->clock_known = false;
        peer->acknowledged = 0;
        peer->lost = peer->below_floor;
    }
    consensus_event(c, "leader_elected", "this node leads now", c->raft.current_term,
                    consensus_last_index(c));
}

bool consensus_is_ready(const struct consensus_raft *c)
{
    return c->started && c->failure == STATUS_OK && raft_guard_ready(&c->guard) &&
           c->consumed_term == c->raft.current_term;
}

uint64_t consensus_leader(const struct consensus_raft *c)
{
    if (!c->started)
        return 0;
    return c->raft.state == RAFT_LEADER ? c->options.self.node_id : raft_layout_leader(&c->raft);
}

static void settle_news(struct consensus_raft *c)
{
    const bool ready = consensus_is_ready(c);
    const uint64_t leader = consensus_leader(c);
    const uint64_t configuration = raft_layout_committed_configuration(&c->raft) +
                                   raft_layout_uncommitted_configuration(&c->raft);
    if (c->told_commit == c->raft.commit_index && c->told_term == c->raft.current_term &&
        c->told_state == c->raft.state && c->told_leader == leader && c->told_ready == ready &&
        c->told_configuration == configuration &&
        c->told_transferring == consensus_is_transferring(c) &&
        c->told_both == consensus_both_index(c))
        return;
    c->told_commit = c->raft.commit_index;
    c->told_term = c->raft.current_term;
    c->told_state = c->raft.state;
    c->told_leader = leader;
    c->told_ready = ready;
    c->told_both = consensus_both_index(c);
    c->told_configuration = configuration;
    c->told_transferring = consensus_is_transferring(c);
    c->news = true;
}

void consensus_settle(struct consensus_raft *c)
{
    if (!c->started || c->failure != STATUS_OK)
        return;
    do {
        raft_io_complete_sends(c);
        raft_io_complete_snapshots(c);
    } while (c->send_count > 0 || c->put != NULL || c->get_count > 0);
    if (c->failure != STATUS_OK)
        return;
    settle_role(c);
    settle_cuts(c);
    settle_uncommitted(c);
    consensus_durability_settle(c);
    consensus_publish_configuration(c);
    raft_io_note_durable(c);
    settle_news(c);
}
