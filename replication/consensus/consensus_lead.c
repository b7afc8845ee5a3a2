/*
 * When a node campaigns, and when a leader should not be one.
 *
 * Campaigns. libraft draws a follower's wait once, when it becomes a follower; here it is drawn for
 * each leader anew:  T + 20 + 60 * rank + [0, 20) ms. The rank is a node's place among those that
 * may follow this leader: first the data nodes of the other site by id, then the leader's site
 * mates, which are likely to be gone with it. One node at a time tries, and has the time of a few
 * round trips before the next one does; with a wait drawn from the same range by all of them two of
 * four split the votes in every tenth election, and that costs a second round. (Figures for T = 250
 * ms; they grow with it.) At a drained site it is DRAINED_MS more: its nodes lead where nobody else
 * can. A candidate asks first (pre-vote; the guard lets it ask again soon), and asks again before
 * it raises its term a second time. What is different for a witness is the guard's.
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

#define DISK_STUCK_NS      (500 * NS_PER_MS)
#define DISK_GIVE_UP_NS    (2000 * NS_PER_MS)
#define HANDOVER_RETRY_NS  (500 * NS_PER_MS)
#define HANDOVER_TRIES_MAX 2
#define CLOCK_SKEW_NS      (500 * (int64_t)NS_PER_MS)
#define CLOCK_RETRY_NS     (10000 * NS_PER_MS)
/* Between two ranks: above a few round trips, below what people notice. */
#define RANK_MS 60
/* A candidate that nobody hinders is elected within that time, also in a second round. */
#define DRAINED_MS 1000

/* ---- campaigns ---- */

/* `ms` are for the default election timeout. */
static uint64_t scaled(const struct consensus_raft *c, uint64_t ms)
{
    uint64_t value = ms * c->options.election_ms / CONSENSUS_ELECTION_MS;
    return value > 0 ? value : 1;
}

/* At how many voters' turn it is ours, when `leader` (0: nobody) is silent. */
static uint32_t rank_of(const struct consensus_raft *c, uint64_t leader)
{
    const struct site_member *self = consensus_site_member(c, c->options.self.node_id);
    const struct site_member *led = consensus_site_member(c, leader);
    if (self == NULL || !self->votes)
        return 0;
    const bool is_mate = led != NULL && led->site == self->site;
    uint32_t rank = 0;
    for (uint32_t i = 0; i < c->sites.member_count; i++) {
        const struct site_member *member = &c->sites.members[i];
        if (!member->votes || !member->is_data || member->id == leader || member == self)
            continue;
        const bool other_is_mate = led != NULL && led->site == member->site;
        if (other_is_mate != is_mate ? is_mate : member->id < self->id)
            rank++;
    }
    return rank;
}

static uint64_t follower_wait_ms(const struct consensus_raft *c, uint64_t leader)
{
    uint64_t wait = c->options.election_ms + scaled(c, 20) + consensus_random(c, scaled(c, 20)) +
                    scaled(c, RANK_MS) * rank_of(c, leader);
    return consensus_is_drained(c) ? wait + scaled(c, DRAINED_MS) : wait;
}

/* libraft draws election timeouts; the guard's draws for pre-votes have other bounds. */
int consensus_lead_random(struct raft_io *io, int min, int max)
{
    struct consensus_raft *c = consensus_of_io(io);
    if (min != (int)c->options.election_ms)
        return max > min ? min + (int)consensus_random(c, (uint64_t)(max - min)) : min;
    c->elected_leader = 0;
    consensus_sites_settle(c);
    return (int)follower_wait_ms(c, 0);
}

void consensus_lead_heard(struct consensus_raft *c)
{
    const uint64_t leader = raft_layout_leader(&c->raft);
    if (leader == 0 || leader == c->elected_leader)
        return;
    c->elected_leader = leader;
    consensus_sites_settle(c);
    raft_layout_set_election_wait(&c->raft, (unsigned)follower_wait_ms(c, leader));
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
