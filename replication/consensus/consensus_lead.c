/*
 * When a node campaigns, and when a leader should not be one.
 *
 * Campaigns. libraft draws a follower's wait once, when it becomes a follower; here it is drawn for
 * each leader anew:  T + [20, 80) ms, and 80 ms more at the leader's own site, which is likely to
 * be gone with it. A candidate asks first (pre-vote; the guard lets it ask again soon), and asks
 * again before it raises its term a second time. (Figures for T = 250 ms; they grow with it.) What
 * is different for a witness is the guard's.
 *
 * Hand-over. A leader whose disk has not finished a write for 500 ms, or whose clock is more than
 * 500 ms from the majority's median, hands over to a data node, rather at the other site. If the
 * disk stays stuck and nobody takes over within two seconds the process ends: its clients wait for
 * a leader that cannot serve them.
 */
#include "core/invariant.h"
#include "replication/consensus/consensus_raft_internal.h"
#include "replication/guard/raft_layout.h"
#include "replication/guard/raft_layout_drive.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DISK_STUCK_NS      (500 * NS_PER_MS)
#define DISK_GIVE_UP_NS    (2000 * NS_PER_MS)
#define HANDOVER_RETRY_NS  (500 * NS_PER_MS)
#define HANDOVER_TRIES_MAX 2
#define CLOCK_SKEW_NS      (500 * (int64_t)NS_PER_MS)
#define CLOCK_RETRY_NS     (10000 * NS_PER_MS)

/* ---- campaigns ---- */

/* `ms` are for the default election timeout. */
static uint64_t scaled(const struct consensus_raft *c, uint64_t ms)
{
    uint64_t value = ms * c->options.election_ms / CONSENSUS_ELECTION_MS;
    return value > 0 ? value : 1;
}

static uint64_t follower_wait_ms(const struct consensus_raft *c)
{
    return c->options.election_ms + scaled(c, 20) + consensus_random(c, scaled(c, 60));
}

/* libraft draws election timeouts; the guard's draws for pre-votes have other bounds. */
int consensus_lead_random(struct raft_io *io, int min, int max)
{
    struct consensus_raft *c = consensus_of_io(io);
    if (min != (int)c->options.election_ms)
        return max > min ? min + (int)consensus_random(c, (uint64_t)(max - min)) : min;
    c->elected_leader = 0;
    return (int)follower_wait_ms(c);
}

static bool is_at_our_site(const struct consensus_raft *c, uint64_t id)
{
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        struct member member;
        if (c->raft.configuration.servers[i].id == id && consensus_member(c, i, &member))
            return strcmp(member.site, c->options.self.site) == 0;
    }
    return false;
}

void consensus_lead_heard(struct consensus_raft *c)
{
    const uint64_t leader = raft_layout_leader(&c->raft);
    if (leader == 0 || leader == c->elected_leader)
        return;
    c->elected_leader = leader;
    uint64_t wait = follower_wait_ms(c);
    if (is_at_our_site(c, leader))
        wait += scaled(c, 80);
    raft_layout_set_election_wait(&c->raft, (unsigned)wait);
}

/* libraft's candidate that was not elected raises its term again at once. */
void consensus_lead_before_tick(struct consensus_raft *c)
{
    if (c->raft.state == RAFT_CANDIDATE && !raft_layout_in_pre_vote(&c->raft) &&
        consensus_now_ns(c) / NS_PER_MS >= raft_layout_next_tick(&c->raft))
        raft_layout_back_to_pre_vote(&c->raft);
}

/* ---- what a leader may take in ---- */

bool consensus_lead_disk_is_stuck(const struct consensus_raft *c)
{
    return journal_write_age_ns(c->options.journal) > DISK_STUCK_NS;
}

bool consensus_lead_holds(const struct consensus_raft *c)
{
    if (c->uncommitted_bytes > CONSENSUS_HOLD_BYTES)
        return true;
    return c->mark_count > 0 &&
           consensus_now_ns(c) - c->marks[c->mark_first].ns > CONSENSUS_HOLD_MS * NS_PER_MS;
}

/* ---- hand-over ---- */

static void hand_over(struct consensus_raft *c, const char *event, const char *text, uint64_t a)
{
    c->handover_ns = consensus_now_ns(c);
    consensus_event(c, event, text, a, c->raft.current_term);
    (void)consensus_members_hand_over(c, 0); /* tried again, or given up, by the caller */
}

static void watch_disk(struct consensus_raft *c)
{
    const uint64_t age = journal_write_age_ns(c->options.journal);
    const uint64_t now = consensus_now_ns(c);
    if (age <= DISK_STUCK_NS) {
        c->stuck_ns = 0;
        c->handover_tries = 0;
        return;
    }
    if (c->stuck_ns == 0)
        c->stuck_ns = now;
    if (consensus_is_transferring(c) || now - c->handover_ns < HANDOVER_RETRY_NS)
        return;
    if (c->handover_tries < HANDOVER_TRIES_MAX && now - c->stuck_ns < DISK_GIVE_UP_NS) {
        c->handover_tries++;
        hand_over(c, "leader_disk_stuck",
                  "a write of the journal does not end: leadership is handed over",
                  age / NS_PER_MS);
        return;
    }
    if (now - c->stuck_ns < DISK_GIVE_UP_NS)
        return;
    char text[256];
    snprintf(text, sizeof text,
             "a write of the journal has not ended for %" PRIu64
             " ms and no other node took the leadership; look at this node's disk and at the links "
             "to the other members",
             age / NS_PER_MS);
    consensus_fail(c, STATUS_IO, text);
}

/* How far the median of the voters' clocks is from ours. False: too few are known. */
static bool clock_median(const struct consensus_raft *c, int64_t *out_ns)
{
    int64_t sorted[CONSENSUS_PEERS_MAX + 1];
    uint32_t count = 0;
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        const struct raft_server *server = &c->raft.configuration.servers[i];
        const struct consensus_raft_peer *peer = consensus_find_peer(c, server->id);
        const bool self = server->id == c->options.self.node_id;
        if (server->role != RAFT_VOTER || count > CONSENSUS_PEERS_MAX ||
            (!self && (peer == NULL || !peer->clock_known)))
            continue;
        const int64_t offset = self ? 0 : peer->clock_offset_ns;
        uint32_t place = count++;
        for (; place > 0 && sorted[place - 1] > offset; place--)
            sorted[place] = sorted[place - 1];
        sorted[place] = offset;
    }
    if (count <= raft_layout_voter_count(&c->raft) / 2)
        return false;
    /* Of an even number the one that is nearer to us: no alarm without a majority behind it. */
    const int64_t low = sorted[(count - 1) / 2], high = sorted[count / 2];
    *out_ns = low > 0 ? low : high < 0 ? high : 0;
    return true;
}

static void watch_clock(struct consensus_raft *c)
{
    int64_t offset;
    const uint64_t now = consensus_now_ns(c);
    if (!clock_median(c, &offset) || (offset <= CLOCK_SKEW_NS && offset >= -CLOCK_SKEW_NS))
        return;
    if (consensus_is_transferring(c) ||
        (c->skew_told_ns != 0 && now - c->skew_told_ns < CLOCK_RETRY_NS))
        return;
    c->skew_told_ns = now;
    hand_over(c, "leader_clock_skew",
              "this node's clock is far from the majority's: leadership is handed over; repair its "
              "time synchronisation",
              (uint64_t)((offset < 0 ? -offset : offset) / (int64_t)NS_PER_MS));
}

void consensus_lead_process(struct consensus_raft *c)
{
    if (!consensus_leads(c) || raft_layout_voter_count(&c->raft) < 2)
        return;
    watch_disk(c);
    if (c->failure != STATUS_OK)
        return;
    if (!c->is_witness) /* the guard lets it hand over anyway */
        watch_clock(c);
}

uint64_t consensus_lead_next_ns(const struct consensus_raft *c)
{
    uint64_t next = UINT64_MAX;
    if (consensus_leads(c) && raft_layout_voter_count(&c->raft) > 1 && c->in_journal > 0) {
        uint64_t look = consensus_now_ns(c) + DISK_STUCK_NS / 5;
        next = look < next ? look : next;
    }
    return next;
}
