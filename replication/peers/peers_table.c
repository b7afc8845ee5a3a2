/*
 * Whom we know, and what the sink knows of them.
 *
 * A row per member but ourselves, and rows for strangers: nodes that our member table does not name
 * and that greet us with a good certificate of our cluster. They are let in, and answered at the
 * address that they name, because the table may be behind the truth: a node that joins has none,
 * and one that was away while members changed has an old one; the leader that could give them the
 * new one may be a stranger to both (Raft, section 6: a server takes messages from servers that are
 * not in its configuration). What a stranger may ask for is the business of those above; only a
 * node that the table knows under another incarnation is refused. A member that leaves the table
 * becomes a stranger without being hung up on: a leader that removes itself must be heard until
 * that is committed. A stranger goes once it has had no connection for STRANGER_MS; there are
 * MEMBERS_MAX of them at most.
 *
 * A lane is linked when both connections are up. Each time it becomes so begins a session; the sink
 * is told `down` for the session it knew before it is told `up` for the next, however short the
 * time between. Telling is kept apart from happening: connections end inside calls of the transport
 * too, and the sink is called from the loop only. Until it was told, nothing can be sent.
 */
#include "replication/peers/peers_internal.h"

#include "core/invariant.h"

#include <stdio.h>
#include <string.h>

const char *peers_lane_name(enum transport_lane lane)
{
    static const char *const names[TRANSPORT_LANE_COUNT] = {
        [TRANSPORT_RAFT] = "raft", [TRANSPORT_CALLS] = "calls", [TRANSPORT_BULK] = "bulk"};
    return names[lane];
}

/* ---- what is up ---- */

bool peers_lane_is_linked(const struct peers_lane *lane)
{
    return lane->accepted && lane->dialled && lane->dialled->state == PEERS_UP;
}

bool peers_lane_is_usable(const struct peers_lane *lane)
{
    return lane->reported_session != 0 && lane->reported_session == lane->session &&
           peers_lane_is_linked(lane);
}

uint64_t peers_peer_process(const struct peers_peer *peer)
{
    for (int i = 0; i < TRANSPORT_LANE_COUNT; i++) {
        const struct peers_lane *lane = &peer->lanes[i];
        if (lane->accepted)
            return lane->accepted->process;
        if (lane->dialled && lane->dialled->state == PEERS_UP)
            return lane->dialled->process;
    }
    return 0;
}

void peers_lane_came_up(struct peers_lane *lane)
{
    if (!peers_lane_is_linked(lane))
        return;
    lane->session++;
    peers_changed(lane->peer->peers);
}

static bool is_known(const struct peers_peer *peer)
{
    return peer->row == PEERS_ROW_MEMBER || peer->row == PEERS_ROW_STRANGER;
}

static void report_down(struct peers_lane *lane)
{
    struct peers *peers = lane->peer->peers;
    uint64_t node_id = lane->peer->member.node_id;
    struct net_error text;
    lane->reported_session = 0;
    lane->refused_send = false;
    lane->since_ns = peers_now(peers);
    net_error_set(&text, "lane %s: %.200s", peers_lane_name(lane->lane), lane->why_down.text);
    peers_event(peers, "peer_down", node_id, lane->lane, text.text);
    if (peers->sink.link)
        peers->sink.link(peers->sink.context, node_id, lane->lane, false);
}

static void report_up(struct peers_lane *lane)
{
    struct peers *peers = lane->peer->peers;
    uint64_t node_id = lane->peer->member.node_id;
    struct net_error text;
    lane->reported_session = lane->session;
    lane->since_ns = peers_now(peers);
    lane->up_count++;
    lane->why_down.text[0] = '\0';
    peers_forget_events(peers, node_id);
    net_error_set(&text, "lane %s: %.128s", peers_lane_name(lane->lane),
                  lane->peer->member.address);
    peers_event(peers, "peer_up", node_id, lane->lane, text.text);
    if (peers->sink.link)
        peers->sink.link(peers->sink.context, node_id, lane->lane, true);
}

void peers_lane_report(struct peers_lane *lane)
{
    struct peers_peer *peer = lane->peer;
    struct peers *peers = peer->peers;
    bool is_current = peers_lane_is_linked(lane) && lane->reported_session == lane->session;
    if (lane->reported_session != 0 && !is_current)
        report_down(lane);
    /* The sink may have changed anything, the row itself included. */
    if (peers->state == PEERS_STARTED && is_known(peer) && lane->reported_session == 0 &&
        peers_lane_is_linked(lane))
        report_up(lane);
}

static void forget_row(struct peers_peer *peer)
{
    memset(peer, 0, sizeof *peer);
}

void peers_report(struct peers *peers)
{
    /* Those that go first: a node may have come back in another row. */
    for (int i = 0; i < PEERS_ROWS_MAX; i++) {
        struct peers_peer *peer = &peers->table[i];
        if (peer->row != PEERS_ROW_GOING)
            continue;
        for (int l = 0; l < TRANSPORT_LANE_COUNT && peer->row == PEERS_ROW_GOING; l++)
            peers_lane_report(&peer->lanes[l]);
        if (peer->row == PEERS_ROW_GOING)
            forget_row(peer);
    }
    for (int i = 0; i < PEERS_ROWS_MAX; i++)
        for (int l = 0; l < TRANSPORT_LANE_COUNT && is_known(&peers->table[i]); l++)
            peers_lane_report(&peers->table[i].lanes[l]);
}

/* ---- rows ---- */

const struct peers_peer *peers_table_look(const struct peers *peers, uint64_t node_id)
{
    for (int i = 0; i < PEERS_ROWS_MAX; i++)
        if (is_known(&peers->table[i]) && peers->table[i].member.node_id == node_id)
            return &peers->table[i];
    return NULL;
}

struct peers_peer *peers_table_find(struct peers *peers, uint64_t node_id)
{
    const struct peers_peer *peer = peers_table_look(peers, node_id);
    return peer ? &peers->table[peer - peers->table] : NULL;
}

static struct peers_peer *free_row(struct peers *peers)
{
    for (int i = 0; i < PEERS_ROWS_MAX; i++)
        if (peers->table[i].row == PEERS_ROW_FREE)
            return &peers->table[i];
    return NULL;
}

static void init_row(struct peers *peers, struct peers_peer *peer, enum peers_row row,
                     const struct member *member)
{
    memset(peer, 0, sizeof *peer);
    peer->peers = peers;
    peer->row = row;
    peer->member = *member;
    peer->seen_ns = peers_now(peers);
    for (int i = 0; i < TRANSPORT_LANE_COUNT; i++) {
        struct peers_lane *lane = &peer->lanes[i];
        lane->peer = peer;
        lane->lane = (enum transport_lane)i;
        lane->dial = PEERS_DIAL_WAITING;
        lane->retry_ns = lane->since_ns = peer->seen_ns;
    }
}

/* Hangs up; the row stays until the sink has been told. */
static void part_from(struct peers_peer *peer, const char *why)
{
    struct peers *peers = peer->peers;
    peer->row = PEERS_ROW_GOING;
    peers_changed(peers);
    for (struct peers_connection *c = peers->connections; c; c = c->next)
        if (c->lane && c->lane->peer == peer)
            peers_connection_drop(c, why); /* freed later, from the loop */
    for (int i = 0; i < TRANSPORT_LANE_COUNT; i++)
        peers_dial_reset(&peer->lanes[i], why);
}

static const struct member *find_member(const struct member *members, uint32_t count,
                                        uint64_t node_id)
{
    for (uint32_t i = 0; i < count; i++)
        if (members[i].node_id == node_id)
            return &members[i];
    return NULL;
}

static bool is_same_node(const struct member *a, const struct member *b)
{
    return a->kind == b->kind && memcmp(a->incarnation, b->incarnation, sizeof a->incarnation) == 0;
}

static void readdress(struct peers_peer *peer, const char *address)
{
    if (strcmp(peer->member.address, address) == 0)
        return;
    memset(peer->member.address, 0, sizeof peer->member.address);
    memcpy(peer->member.address, address, strnlen(address, MEMBER_ADDRESS_SIZE_MAX));
    for (int i = 0; i < TRANSPORT_LANE_COUNT; i++)
        peers_dial_reset(&peer->lanes[i], "its address has changed");
}

static uint32_t stranger_count(const struct peers *peers)
{
    uint32_t count = 0;
    for (int i = 0; i < PEERS_ROWS_MAX; i++)
        count += peers->table[i].row == PEERS_ROW_STRANGER;
    return count;
}

static void become_stranger(struct peers_peer *peer)
{
    struct peers *peers = peer->peers;
    if (peer->row == PEERS_ROW_STRANGER)
        return;
    peer->seen_ns = peers_now(peers);
    if (stranger_count(peers) < MEMBERS_MAX)
        peer->row = PEERS_ROW_STRANGER;
    else
        part_from(peer, "not in the member table any more");
}

void peers_table_set(struct peers *peers, const struct member *members, uint32_t count)
{
    invariant_values(count <= MEMBERS_MAX, count, MEMBERS_MAX);
    for (int i = 0; i < PEERS_ROWS_MAX; i++) {
        struct peers_peer *peer = &peers->table[i];
        if (!is_known(peer))
            continue;
        const struct member *member = find_member(members, count, peer->member.node_id);
        if (!member) {
            become_stranger(peer);
        } else if (!is_same_node(member, &peer->member)) {
            part_from(peer, "the member table has another incarnation of this node");
        } else {
            readdress(peer, member->address);
            peer->member = *member;
            peer->row = PEERS_ROW_MEMBER;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        if (members[i].node_id == peers->self.node_id ||
            peers_table_find(peers, members[i].node_id))
            continue;
        struct peers_peer *peer = free_row(peers);
        /* Several tables within one turn: those that went are not told apart any more. */
        for (int r = 0; !peer; r++) {
            invariant_values(r < PEERS_ROWS_MAX, r, count);
            if (peers->table[r].row == PEERS_ROW_GOING)
                peer = &peers->table[r];
        }
        init_row(peers, peer, PEERS_ROW_MEMBER, &members[i]);
    }
}

void peers_table_clear(struct peers *peers)
{
    for (int i = 0; i < PEERS_ROWS_MAX; i++) {
        if (is_known(&peers->table[i]))
            part_from(&peers->table[i], "the transport was stopped");
        forget_row(&peers->table[i]);
    }
}

struct peers_peer *peers_table_stranger(struct peers *peers, const struct peers_hello *hello)
{
    struct member member = {.node_id = hello->node_id, .kind = hello->kind};
    memcpy(member.incarnation, hello->incarnation, sizeof member.incarnation);
    memcpy(member.address, hello->address, sizeof member.address);
    struct peers_peer *peer = peers_table_find(peers, hello->node_id);
    if (peer && !is_same_node(&member, &peer->member)) {
        part_from(peer, "another incarnation of this node has come");
        peer = NULL;
    }
    if (peer) {
        readdress(peer, hello->address);
        peer->seen_ns = peers_now(peers);
        return peer;
    }
    peer = free_row(peers);
    if (stranger_count(peers) >= MEMBERS_MAX || !peer)
        return NULL;
    init_row(peers, peer, PEERS_ROW_STRANGER, &member);
    return peer;
}

void peers_table_tick(struct peers *peers, uint64_t now_ns)
{
    for (int i = 0; i < PEERS_ROWS_MAX; i++) {
        struct peers_peer *peer = &peers->table[i];
        if (!is_known(peer))
            continue;
        if (peer->row == PEERS_ROW_STRANGER && peers_peer_process(peer) != 0)
            peer->seen_ns = now_ns;
        if (peer->row == PEERS_ROW_STRANGER &&
            peers_age(now_ns, peer->seen_ns) >= STRANGER_MS * MS_NS) {
            part_from(peer, "a stranger that has gone");
            continue;
        }
        for (int l = 0; l < TRANSPORT_LANE_COUNT; l++)
            peers_dial_tick(&peer->lanes[l], now_ns);
    }
}

/* ---- for people ---- */

static struct peers_lane_status lane_status(const struct peers_lane *lane)
{
    struct peers_lane_status status = {
        .up = peers_lane_is_usable(lane),
        .dialled_up = lane->dialled && lane->dialled->state == PEERS_UP,
        .accepted_up = lane->accepted != NULL,
        .since_ns = lane->since_ns,
        .up_count = lane->up_count,
        .bytes_out = lane->bytes_out,
        .bytes_in = lane->bytes_in,
        .messages_out = lane->messages_out,
        .messages_in = lane->messages_in,
        .queue_bytes = lane->dialled ? lane->dialled->stream.queue_size : 0,
    };
    const char *last = lane->why_down.text[0] ? lane->why_down.text : "not connected yet";
    if (!status.up && status.dialled_up && !status.accepted_up)
        (void)snprintf(status.why_down, sizeof status.why_down,
                       "our connection is up, the peer's to us is not: can it dial our address? "
                       "(before: %.150s)",
                       last);
    else if (!status.up)
        (void)snprintf(status.why_down, sizeof status.why_down, "%s", last);
    return status;
}

uint32_t peers_status(const struct peers *peers, struct peers_status *out, uint32_t capacity)
{
    uint32_t count = 0;
    for (int i = 0; i < PEERS_ROWS_MAX; i++) {
        const struct peers_peer *peer = &peers->table[i];
        if (!is_known(peer))
            continue;
        if (count < capacity) {
            struct peers_status *status = &out[count];
            memset(status, 0, sizeof *status);
            status->node_id = peer->member.node_id;
            memcpy(status->address, peer->member.address, sizeof status->address);
            status->is_stranger = peer->row == PEERS_ROW_STRANGER;
            for (int l = 0; l < TRANSPORT_LANE_COUNT; l++)
                status->lanes[l] = lane_status(&peer->lanes[l]);
        }
        count++;
    }
    return count;
}
