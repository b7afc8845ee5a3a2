/*
 * The node among its peers: what arrives goes to the part that it belongs to, who leads decides
 * where requests go, and what people ask about the cluster is gathered.
 *
 * Messages are handled where they arrive, between turns; what follows from them (entries to pull,
 * requests to send on, answers) is the next turn's work, which is asked for each time.
 *
 * Serving begins once, when the state here is known to be recent: as a leader with the barrier of
 * its term applied, as a follower with an index applied that a leader confirmed after our start.
 * Losing the leader does not end it: requests and reads then wait, within their time. Requests that
 * are in nobody's log do so for as long as an election takes only, and are refused after it: who
 * asks at the side of a cut link that has no majority had better ask at the other side.
 */
#include "replication/node/node_cluster.h"

#include "core/invariant.h"
#include "replication/message.h"
#include "replication/node/forward_message.h"
#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#define NS_PER_MS 1000000ull

/* After a leader was silent for an election timeout another one is elected within this time, unless
 * a majority is out of reach: this much longer requests wait for one. Together it is below a
 * second. */
#define LEADERLESS_MS 600
/* News come with every entry, changes of the members hardly ever: looked at this often. */
#define MEMBERS_MS 50

/* ---- who leads: what it means for requests ---- */

/* As a leader in another term than before, or none: what was in flight is uncertain. Ready in a new
 * term: everything before its barrier is applied, so the highest stamp is known. */
static void follow_lead(struct node *node, const struct consensus_status *consensus)
{
    if (node_is_witness(node))
        return;
    if (node->led_term != 0 && (!consensus->leads || consensus->term != node->led_term)) {
        node->led_term = 0;
        proposer_end_term(&node->proposer);
    }
    if (consensus->leads && node->led_term == 0) {
        node->led_term = consensus->term;
        node->may_propose = false;
    }
    if (node->led_term != 0 && consensus->ready && !node->may_propose) {
        node->may_propose = true;
        digests_begin_term(&node->digests);
        proposer_begin_term(&node->proposer, machine_stamp(node->machine));
    }
    if (node->led_term == 0)
        node->may_propose = false;
    uint64_t elsewhere = consensus->leads ? 0 : consensus->leader_id;
    forward_follow(&node->forward, elsewhere, consensus->term);
}

/* ---- from the transport ---- */

static bool is_member(const struct node *node, uint64_t id)
{
    for (uint32_t i = 0; i < node->member_count; i++)
        if (node->member_ids[i] == id)
            return true;
    return false;
}

/* Whether a request of another node may be proposed here. The transport lets in whoever has a
 * certificate of the cluster, since raft has to hear nodes that it does not know; but a request
 * says itself for which principal it is, so only those that the cluster counts among its members
 * are believed. */
static enum forward_status judge_forward(const struct node *node, uint64_t from)
{
    if (!is_member(node, from))
        return FORWARD_NOT_LEADER;
    if (node->phase != NODE_SERVING || node_is_witness(node))
        return FORWARD_NOT_LEADER;
    if (node_refuses_writes(node))
        return FORWARD_READ_ONLY;
    if (node_is_stuck(node) || (node->may_propose && proposer_is_holding(&node->proposer)))
        return FORWARD_BUSY;
    return FORWARD_ANSWERED;
}

static void receive_forward(struct node *node, uint64_t from, const void *bytes, size_t size)
{
    struct consensus_status consensus;
    consensus_status(node->consensus, &consensus);
    /* The role may have changed since the last turn: what came for an earlier term goes back first.
     */
    follow_lead(node, &consensus);
    enum forward_status verdict = consensus.leads ? judge_forward(node, from) : FORWARD_NOT_LEADER;
    forward_receive(&node->forward, from, bytes, size, consensus.term, (uint8_t)verdict);
}

/* A stranger has the cluster's certificate, too, but is no member to be believed. */
static void receive_certificate(struct node *node, uint64_t from, const void *bytes, size_t size)
{
    if (is_member(node, from))
        certificates_receive(&node->certificates, from, bytes, size);
}

static void receive_rpo(struct node *node, uint64_t from, const void *bytes, size_t size)
{
    struct consensus_status consensus;
    consensus_status(node->consensus, &consensus);
    if (consensus.leader_id == from && !consensus.leads)
        (void)rpo_receive(&node->rpo, bytes, size, consensus.term, node_now_ns(node));
}

static void receive_message(void *context, uint64_t from, enum transport_lane lane,
                            const void *bytes, size_t size)
{
    struct node *node = context;
    if (node->phase == NODE_FAILED || size < sizeof(struct message_header))
        return;
    struct message_header header;
    memcpy(&header, bytes, sizeof header);
    if (lane == TRANSPORT_RAFT && header.type == MESSAGE_CERTIFICATE)
        receive_certificate(node, from, bytes, size);
    else if (lane == TRANSPORT_RAFT && header.type == MESSAGE_RPO)
        receive_rpo(node, from, bytes, size);
    else if (lane == TRANSPORT_RAFT)
        consensus_receive(node->consensus, from, bytes, size);
    else if (lane == TRANSPORT_CALLS && header.type == MESSAGE_FORWARD)
        receive_forward(node, from, bytes, size);
    else if (lane == TRANSPORT_CALLS && header.type == MESSAGE_FORWARD_RESULT)
        forward_receive_result(&node->forward, from, bytes, size);
    else if (lane == TRANSPORT_CALLS && header.type >= MESSAGE_SITE_FIRST &&
             header.type <= MESSAGE_SITE_LAST && is_member(node, from))
        node_site_receive(node, from, header.type, bytes, size);
    else if (node->catch_up != NULL && header.type >= MESSAGE_CATCH_UP_FIRST &&
             header.type <= MESSAGE_CATCH_UP_LAST)
        catch_up_receive(node->catch_up, from, lane, bytes, size);
    node_ask_wake(node);
}

static void note_link(void *context, uint64_t peer, enum transport_lane lane, bool up)
{
    struct node *node = context;
    if (node->phase == NODE_FAILED)
        return;
    if (lane == TRANSPORT_RAFT)
        consensus_linked(node->consensus, peer, up);
    else if (lane == TRANSPORT_CALLS)
        forward_link(&node->forward, peer, up);
    if (node->catch_up != NULL && lane != TRANSPORT_RAFT)
        catch_up_link(node->catch_up, peer, lane, up);
    node_ask_wake(node);
}

static void note_writable(void *context, uint64_t peer, enum transport_lane lane)
{
    struct node *node = context;
    if (node->phase != NODE_FAILED && node->catch_up != NULL && lane != TRANSPORT_RAFT)
        catch_up_writable(node->catch_up, peer, lane);
    node_ask_wake(node);
}

/* ---- members ---- */

static uint32_t find_peers(const struct node *node, struct consensus_peer peers[MEMBERS_MAX])
{
    uint32_t count = consensus_peers(node->consensus, peers, MEMBERS_MAX);
    invariant_values(count <= MEMBERS_MAX, count, MEMBERS_MAX);
    return count;
}

/* A node that is not in the newest configuration it knows is one that joins, or one whose log is
 * behind: whoever leads may be unknown to it, and has to reach it all the same (Raft, section 6).
 * So it names nobody, which lets every node of the cluster in. */
static void tell_members(struct node *node)
{
    if (!node->transport_started)
        return;
    struct consensus_peer peers[MEMBERS_MAX];
    struct member members[MEMBERS_MAX];
    uint32_t count = find_peers(node, peers);
    bool listed = false;
    memset(members, 0, sizeof members);
    node->member_count = count;
    for (uint32_t i = 0; i < count; i++) {
        members[i] = peers[i].member;
        node->member_ids[i] = members[i].node_id;
        listed |= members[i].node_id == node->identity.node_id &&
                  memcmp(members[i].incarnation, node->identity.incarnation,
                         sizeof members[i].incarnation) == 0;
    }
    transport_members(node->options.transport, members, listed ? count : 0);
}

/* ---- the transport ---- */

enum status node_start_transport(struct node *node)
{
    if (node->options.transport == NULL)
        return STATUS_OK;
    struct transport_self self = {
        .node_id = node->identity.node_id,
        .cluster_epoch = node->identity.cluster_epoch,
        .kind = node->identity.kind,
    };
    memcpy(self.cluster_id, node->identity.cluster_id, sizeof self.cluster_id);
    memcpy(self.incarnation, node->identity.incarnation, sizeof self.incarnation);
    const struct transport_sink sink = {
        .context = node,
        .message = receive_message,
        .link = note_link,
        .writable = note_writable,
    };
    enum status status = transport_start(node->options.transport, &self, &sink);
    if (status != STATUS_OK)
        return status;
    node->transport_started = true;
    tell_members(node); /* at once: an empty table lets strangers in */
    return STATUS_OK;
}

void node_stop_transport(struct node *node)
{
    if (!node->transport_started)
        return;
    transport_stop(node->options.transport);
    node->transport_started = false;
    forward_unlink(&node->forward);
}

/* ---- the role ---- */

static void count_changes(struct node *node, const struct consensus_status *consensus)
{
    bool candidate = strcmp(consensus->role, "candidate") == 0;
    if (candidate && node->candidate_term != consensus->term) {
        node->candidate_term = consensus->term;
        node->elections_total++;
    }
    if (consensus->leader_id == 0 || consensus->leader_id == node->seen_leader_id)
        return;
    node->seen_leader_id = consensus->leader_id;
    node->leader_changes_total++;
    notify_event(&node->notify, "leader_changed",
                 consensus->leads ? "this node leads" : "this node follows another leader",
                 consensus->leader_id, consensus->term);
}

static void serve(struct node *node, const struct consensus_status *consensus)
{
    node_move(node, NODE_SERVING);
    notify_event(&node->notify, "node_serving", "requests are taken", consensus->term,
                 consensus->commit_index);
}

static void opening_read_cb(struct node_read *read, enum status status)
{
    struct node *node = (struct node *)((char *)read - offsetof(struct node, opening_read));
    node->opening_read_waits = false;
    node->opening_read_ok = status == STATUS_OK;
}

/* REPLAYING ends; see the top. */
static void begin_serving(struct node *node, const struct consensus_status *consensus)
{
    if (node->phase != NODE_REPLAYING && node->phase != NODE_REINSTALLING)
        return;
    bool follows = consensus->leader_id != 0 && !consensus->leads;
    if (node_is_witness(node) ? consensus->leader_id != 0
                              : consensus->ready || (follows && node->opening_read_ok)) {
        serve(node, consensus);
        return;
    }
    if (!follows || node_is_witness(node) || node->opening_read_waits)
        return;
    node->opening_read = (struct node_read){.cb = opening_read_cb};
    node->opening_read_waits = linear_reads_add(&node->reads, &node->opening_read) == STATUS_OK;
}

static void follow_leaderless(struct node *node, const struct consensus_status *consensus)
{
    if (consensus->leader_id != 0)
        node->leaderless_ns = 0;
    else if (node->leaderless_ns == 0)
        node->leaderless_ns = node->turned_ns;
}

bool node_is_leaderless(const struct node *node)
{
    return node->leaderless_ns != 0 &&
           node->turned_ns - node->leaderless_ns >= LEADERLESS_MS * NS_PER_MS;
}

void node_process_role(struct node *node)
{
    struct consensus_status consensus;
    consensus_status(node->consensus, &consensus);
    count_changes(node, &consensus);
    in_doubt_follow(&node->in_doubt, consensus.term, consensus.leader_id != 0, node->turned_ns);
    follow_lead(node, &consensus);
    follow_leaderless(node, &consensus);
    begin_serving(node, &consensus);
    if (node->news && node->turned_ns >= node->members_ns) {
        node->news = false;
        node->members_ns = node->turned_ns + MEMBERS_MS * NS_PER_MS;
        tell_members(node);
    }
}
