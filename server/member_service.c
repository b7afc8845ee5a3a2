/*
 * Members and leadership. A change is the leader's to make: another node refuses, names the leader
 * in the trailer tally-leader, and the client goes there. Forwarding it would save the operator
 * nothing (his profile names all nodes) and would hide from him which node did it.
 *
 * The call lasts as long as the change: a new member has to catch up before it votes, which takes
 * minutes for a large ledger. So nothing is lost when it ends early: what is committed stays, and
 * the same call, made again at whoever leads then, goes on from there. The node answers a little
 * before the call's deadline, so that its words ("caught up to ...") reach the operator.
 *
 * ListMembers is this node's view, without asking anybody: it must answer while nobody leads.
 */
#include "core/invariant.h"
#include "server/dispatch.h"

#include "tally/v1/admin.pb-c.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Of a call without deadline. */
#define CHANGE_NS_MAX (600ull * 1000 * 1000 * 1000)

_Static_assert((int)MEMBER_DATA == TALLY__V1__MEMBER_KIND__DATA, "as in admin.proto");
_Static_assert((int)MEMBER_WITNESS == TALLY__V1__MEMBER_KIND__WITNESS, "as in admin.proto");
_Static_assert((int)CONSENSUS_SPARE == TALLY__V1__MEMBER_VOTE__SPARE, "as in admin.proto");
_Static_assert((int)CONSENSUS_STANDBY == TALLY__V1__MEMBER_VOTE__STANDBY, "as in admin.proto");
_Static_assert((int)CONSENSUS_VOTER == TALLY__V1__MEMBER_VOTE__VOTER, "as in admin.proto");

static struct node *node_of(const struct work *work)
{
    return dispatch_options(work->dispatch)->node;
}

/* ---- how it ends ---- */

static void finish_changed(struct work *work)
{
    (void)dispatch_page(work->dispatch); /* an empty message */
    const struct machine *machine = node_machine(node_of(work));
    work_finish_page(work, machine ? machine_applied_index(machine) : 0);
}

/* `text`: the node's words, or NULL. */
static void finish_refused(struct work *work, enum status status, const char *text)
{
    struct refusal refusal = refusal_of_change(status);
    if (text && *text)
        refusal.message = text;
    work_finish_refusal(work, &refusal);
}

/* ---- members ---- */

static void change_cb(struct node_change *change, enum status status, const char *text)
{
    struct work *work = (struct work *)(void *)((char *)change - offsetof(struct work, change));
    invariant_values(work->changing == WORK_CHANGING_MEMBERS, work->changing, status);
    work->changing = WORK_NOT_CHANGING;
    if (status == STATUS_OK)
        finish_changed(work);
    else
        finish_refused(work, status, text);
}

/* The wire's member as replication's; false with the reason. */
static bool member_of(const struct wire_member *wire, struct member *out, const char **out_reason)
{
    static const uint8_t nothing[16];
    char text[MEMBER_TEXT_SIZE];
    *out = (struct member){.node_id = wire->node_id, .kind = (enum member_kind)wire->kind};
    memcpy(out->incarnation, wire->incarnation, sizeof out->incarnation);
    memcpy(out->site, wire->site, sizeof out->site);
    memcpy(out->address, wire->address, sizeof out->address);
    *out_reason = "member.node_id: 0 or above 2^63 - 1 is no node id";
    if (wire->node_id == 0 || wire->node_id > INT64_MAX)
        return false;
    *out_reason = "member.kind: only DATA and WITNESS are known";
    if (wire->kind > MEMBER_WITNESS)
        return false;
    *out_reason = "member.incarnation: missing; \"tally node init --join\" prints it";
    if (memcmp(wire->incarnation, nothing, sizeof nothing) == 0)
        return false;
    *out_reason =
        "member.site and member.address: a site is 1 to 16 letters, digits, '-' or '_'; an "
        "address is HOST:PORT or [IPv6]:PORT";
    return strlen(out->site) == wire->site_size && strlen(out->address) == wire->address_size &&
           member_print(out, text) == STATUS_OK;
}

static bool decode(struct work *work, enum wire_member_change_kind kind,
                   struct wire_member_change *out)
{
    struct wire_error error;
    if (wire_decode_member_change(kind, work->message, work->message_size, out, &error) ==
        STATUS_OK)
        return true;
    work_finish_malformed(work, &error);
    return false;
}

static void change_members(struct work *work, enum wire_member_change_kind wire_kind,
                           enum node_change_kind kind)
{
    struct wire_member_change wire;
    struct node_error error = {.text = ""};
    const char *reason;
    if (!decode(work, wire_kind, &wire))
        return;
    if (dispatch_options(work->dispatch)->alone && kind != NODE_MEMBER_REMOVE) {
        work_finish_code(
            work, GRPC_FAILED_PRECONDITION,
            "this node listens for no peers (peer.listen in its configuration), so it "
            "could not reach another member: configure it, start it again, then repeat "
            "this");
        return;
    }
    work->change = (struct node_change){
        .kind = kind,
        .old_id = wire.node_id,
        .force = wire.force != 0,
        .deadline_ns = work_deadline_ns(work, uv_hrtime() + CHANGE_NS_MAX),
        .cb = change_cb,
    };
    if (kind != NODE_MEMBER_REMOVE && !member_of(&wire.member, &work->change.member, &reason)) {
        work_finish_code(work, GRPC_INVALID_ARGUMENT, reason);
        return;
    }
    if (kind != NODE_MEMBER_ADD && wire.node_id == 0) {
        work_finish_code(work, GRPC_INVALID_ARGUMENT,
                         "the node id of the member that has to go is missing");
        return;
    }
    enum status status = node_change_members(node_of(work), &work->change, &error);
    if (status == STATUS_OK)
        work->changing = WORK_CHANGING_MEMBERS;
    else
        finish_refused(work, status, error.text);
}

/* ---- leadership ---- */

static void finish_leader(struct work *work, uint64_t leader_id)
{
    const struct machine *machine = node_machine(node_of(work));
    struct wire_writer *page = dispatch_page(work->dispatch);
    wire_write_uint(page, 1, leader_id);
    work_finish_page(work, machine ? machine_applied_index(machine) : 0);
}

static void stop_waiting(struct work *work)
{
    work->changing = WORK_NOT_CHANGING;
    bool taken_back = dispatch_wait_for_leader(work->dispatch, NULL);
    invariant(taken_back);
}

void member_service_process(struct work *work)
{
    struct node_cluster cluster;
    struct node_status status;
    node_cluster(node_of(work), &cluster);
    node_status(node_of(work), &status);
    uint64_t leader_id = cluster.consensus.leader_id;
    if (leader_id != 0 && leader_id != status.node_id) {
        stop_waiting(work);
        finish_leader(work, leader_id);
    } else if (cluster.consensus.leads && !cluster.consensus.transferring) {
        stop_waiting(work);
        finish_refused(work, STATUS_UNAVAILABLE,
                       "leadership was not taken over in time and stays here; look at the members' "
                       "links and lags (tally status), then try again");
    }
}

static void transfer_leadership(struct work *work)
{
    struct wire_member_change wire;
    struct node_error error = {.text = ""};
    struct node_cluster cluster;
    struct node_status status;
    if (!decode(work, WIRE_TRANSFER_LEADERSHIP, &wire))
        return;
    node_cluster(node_of(work), &cluster);
    node_status(node_of(work), &status);
    if (cluster.consensus.leads && wire.node_id == status.node_id) {
        finish_leader(work, wire.node_id); /* a repeat, or nothing to do */
        return;
    }
    if (!dispatch_wait_for_leader(work->dispatch, work)) {
        finish_refused(work, STATUS_BUSY, NULL);
        return;
    }
    enum status begun = node_transfer_leadership(node_of(work), wire.node_id, &error);
    if (begun == STATUS_OK) {
        work->changing = WORK_CHANGING_LEADER;
        return;
    }
    stop_waiting(work);
    finish_refused(work, begun, error.text);
}

void member_service_gone(struct work *work)
{
    if (work->changing == WORK_CHANGING_LEADER) {
        stop_waiting(work);
        return;
    }
    work->changing = WORK_NOT_CHANGING;
    node_change_cancel(node_of(work), &work->change);
}

/* ---- the list ---- */

static uint64_t ago_ms(uint64_t now_ns, uint64_t then_ns)
{
    return now_ns > then_ns ? (now_ns - then_ns) / 1000000 : 0;
}

static void list_members(struct work *work)
{
    struct wire_error error;
    if (wire_decode_query(WIRE_QUERY_EMPTY, work->message, work->message_size, &work->query,
                          &error) != STATUS_OK) {
        work_finish_malformed(work, &error);
        return;
    }
    struct node_cluster cluster;
    struct node_status status;
    node_cluster(node_of(work), &cluster);
    node_status(node_of(work), &status);
    struct wire_writer *page = dispatch_page(work->dispatch);
    uint64_t now = uv_hrtime();
    for (uint32_t i = 0; i < cluster.peer_count; i++) {
        const struct consensus_peer *peer = &cluster.peers[i];
        bool asked = peer->member.node_id == status.node_id;
        const struct node_peer_catch_up *catch_up =
            asked ? &cluster.own_catch_up : &cluster.catch_up[i];
        const struct wire_member_state state = {
            .node_id = peer->member.node_id,
            .site = peer->member.site,
            .address = peer->member.address,
            .kind = (uint8_t)peer->member.kind,
            .vote = (uint8_t)peer->vote,
            .incarnation = peer->member.incarnation,
            .leader = peer->member.node_id == cluster.consensus.leader_id,
            .asked = asked,
            .linked = asked || peer->linked,
            .match_index = asked ? status.synced_index : peer->match_index,
            .heard = asked || peer->heard_ns != 0,
            .heard_ms = asked || peer->heard_ns == 0 ? 0 : ago_ms(now, peer->heard_ns),
            .catching_up = catch_up->active,
            .catch_up_bytes = catch_up->bytes_done,
            .catch_up_bytes_total = catch_up->bytes_total,
        };
        wire_write_member_state(page, 1, &state);
    }
    wire_write_uint(page, 2, cluster.consensus.leader_id);
    wire_write_uint(page, 3, cluster.consensus.term);
    wire_write_uint(page, 4, cluster.consensus.commit_index);
    wire_write_uint(page, 5, cluster.consensus.changing);
    wire_write_uint(page, 6, cluster.consensus.transferring);
    work_finish_page(work, status.applied_index);
}

void member_service_begin(struct work *work)
{
    switch (work->method) {
    case METHOD_LIST_MEMBERS:
        list_members(work);
        return;
    case METHOD_ADD_MEMBER:
        change_members(work, WIRE_ADD_MEMBER, NODE_MEMBER_ADD);
        return;
    case METHOD_REPLACE_MEMBER:
        change_members(work, WIRE_REPLACE_MEMBER, NODE_MEMBER_REPLACE);
        return;
    case METHOD_REMOVE_MEMBER:
        change_members(work, WIRE_REMOVE_MEMBER, NODE_MEMBER_REMOVE);
        return;
    case METHOD_TRANSFER_LEADERSHIP:
        transfer_leadership(work);
        return;
    default:
        invariant_values(false, work->method, 0);
    }
}
