/*
 * What people ask a node about its cluster, and what operators change in it: members and
 * leadership. The walk of a change is membership.h's; here it gets the node's clock and lifetime.
 */
#include "replication/node/node_cluster.h"

#include "core/invariant.h"
#include "replication/node/node_internal.h"
#include "replication/node/node_site.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NS_PER_MS 1000000ull
/* A site is reached that was heard within this time: some heartbeats. */
#define HEARD_MS 500

/* ---- watching ---- */

/* Who is not there, when nobody leads as far as we know: the site that a client's operator should
 * look at, and the witness, which may well hear somebody that we do not. */
static void tell_leaderless(const struct node *node, const struct consensus_durability *view,
                            char *out, size_t size)
{
    const uint64_t now = node_now_ns(node);
    int used = snprintf(out, size, "no leader is known here");
    for (uint32_t i = 0; i < view->site_count && used > 0 && (size_t)used < size; i++) {
        const struct consensus_site *site = &view->sites[i];
        const bool is_heard = site->heard_ns != 0 && now - site->heard_ns < HEARD_MS * NS_PER_MS;
        if (!is_heard)
            used +=
                snprintf(out + used, size - (size_t)used, "; site %s is not reached", site->name);
        else if (!site->has_data)
            used += snprintf(out + used, size - (size_t)used,
                             "; the witness at %s is reached, and may follow the other site",
                             site->name);
    }
}

static void tell_holding(const struct consensus_durability *view, char *out, size_t size)
{
    if (view->held_up[0] != 0)
        snprintf(out, size, "writes stand still, and policy \"%s\" keeps it so: %s",
                 durability_decision_text(view->committed.policy.decision), view->held_up);
    else
        snprintf(out, size, "entries wait too long for a majority");
}

/* The same conditions, in the same order, as the path of a request meets them. NULL: the two above
 * have the words. */
static const char *refusal(const struct node *node, const struct consensus_status *consensus)
{
    switch (node->phase) {
    case NODE_OPENING:
    case NODE_REPLAYING:
        return "this node does not serve yet";
    case NODE_REINSTALLING:
        return "this node changes over to a copy of the ledger";
    case NODE_DRAINING:
    case NODE_STOPPED:
        return "this node is being stopped";
    case NODE_FAILED:
        return "this node has failed";
    case NODE_SERVING:
        break;
    }
    if (node_is_witness(node))
        return "a witness takes no requests";
    if (consensus->leader_id == 0)
        return NULL;
    if (!consensus->leads)
        return forward_reaches_leader(&node->forward) ? ""
                                                      : "the leader cannot be reached from here";
    if (!node->may_propose)
        return "this node was elected and commits the entry that its term begins with";
    if (consensus->transferring)
        return "leadership is being handed over";
    if (disk_guard_read_only(&node->guard))
        return "read-only: see the reason there";
    if (node->degraded.bound == DURABILITY_BOUND_REFUSES)
        return node->degraded.why;
    if (node_is_stuck(node))
        return "a journal write takes unusually long";
    if (proposer_is_holding(&node->proposer))
        return NULL;
    return "";
}

void node_write_refusal(const struct node *node, char *out, size_t size)
{
    out[0] = 0;
    if (node->consensus == NULL)
        return;
    struct consensus_status consensus;
    consensus_status(node->consensus, &consensus);
    const char *text = refusal(node, &consensus);
    if (text != NULL) {
        snprintf(out, size, "%s", text);
        return;
    }
    struct consensus_durability view;
    consensus_durability(node->consensus, &view);
    if (consensus.leader_id == 0)
        tell_leaderless(node, &view, out, size);
    else
        tell_holding(&view, out, size);
}

static struct node_peer_catch_up copy_progress(const struct catch_up_progress *progress)
{
    return (struct node_peer_catch_up){
        .active = progress->active,
        .phase = progress->phase,
        .bytes_done = progress->bytes_done,
        .bytes_total = progress->bytes_total,
        .index = progress->index,
    };
}

static void fill_catch_up(const struct node *node, struct node_cluster *out)
{
    out->own_catch_up.phase = "waiting";
    if (node->catch_up == NULL)
        return;
    out->pacing.limited = node->pacing.limited;
    out->pacing.usual = node->pacing.usual;
    out->pacing.read_rate = pacing_read_rate(&node->pacing);
    if (node->pacing.limited) {
        out->pacing.limit = node->pacing.limit;
        out->pacing.floor = pacing_floor(&node->pacing);
    }
    struct catch_up_progress progress;
    catch_up_own(node->catch_up, &progress);
    out->own_catch_up = copy_progress(&progress);
    for (uint32_t i = 0; i < out->peer_count; i++) {
        catch_up_served(node->catch_up, out->peers[i].member.node_id, &progress);
        out->catch_up[i] = copy_progress(&progress);
    }
}

void node_cluster(const struct node *node, struct node_cluster *out)
{
    memset(out, 0, sizeof *out);
    out->rule = "majority";
    if (node->consensus == NULL)
        return; /* failed between two generations of files */
    consensus_status(node->consensus, &out->consensus);
    out->peer_count = consensus_peers(node->consensus, out->peers, MEMBERS_MAX);
    consensus_durability(node->consensus, &out->durability);
    out->rule = out->durability.in_force ? "site" : "majority";
    fill_catch_up(node, out);
    out->degraded = node->degraded.run;
    out->degraded_bound = node->degraded.bound;
    memcpy(out->degraded_why, node->degraded.why, sizeof out->degraded_why);
    node_write_refusal(node, out->write_refusal, sizeof out->write_refusal);
    const struct digest_entry *digest = digests_newest(&node->digests);
    if (digest != NULL) {
        out->digest_index = digest->index;
        memcpy(out->digest, digest->digest, sizeof out->digest);
    }
    out->elections_total = node->elections_total;
    out->leader_changes_total = node->leader_changes_total;
    out->forwarded_total = node->forward.sent_total;
    out->forwards_served_total = node->forward.served_total;
    out->read_rounds_total = node->reads.rounds_total;
    out->bounded_reads_total = node->reads.bounded_total;
}

/* ---- members ---- */

static void change_cb(void *context, enum status status, const char *text)
{
    struct node_change *change = context;
    change->node->change = NULL;
    change->cb(change, status, status == STATUS_OK ? NULL : text);
}

/* A site operation looked at the members and at who leads: neither changes under it. */
static bool refuses_for_site(const struct node *node, struct node_error *out_error)
{
    struct site_operation_progress site;
    node_site_progress(node, &site);
    if (!site.active)
        return false;
    (void)node_refuse(out_error, STATUS_BUSY,
                      "a site operation is under way: %s %s by %s (%s); wait for its end",
                      site_operation_name(site.kind), site.site, site.who, site.step);
    return true;
}

enum status node_change_members(struct node *node, struct node_change *change,
                                struct node_error *out_error)
{
    static const enum membership_kind kinds[] = {
        [NODE_MEMBER_ADD] = MEMBERSHIP_ADD,
        [NODE_MEMBER_REPLACE] = MEMBERSHIP_REPLACE,
        [NODE_MEMBER_REMOVE] = MEMBERSHIP_REMOVE,
    };
    *out_error = (struct node_error){0};
    if (node->phase != NODE_SERVING)
        return node_refuse(out_error, STATUS_NOT_READY, "this node does not serve; ask the leader");
    if (refuses_for_site(node, out_error))
        return STATUS_BUSY;
    const struct membership_request request = {
        .kind = kinds[change->kind],
        .member = change->member,
        .old_id = change->old_id,
        .force = change->force,
        .deadline_ns = change->deadline_ns,
        .cb = change_cb,
        .context = change,
    };
    enum status status =
        membership_begin(&node->membership, &request, node_now_ns(node), out_error);
    if (status != STATUS_OK)
        return status;
    invariant(node->change == NULL);
    change->node = node;
    node->change = change;
    node_ask_wake(node);
    return STATUS_OK;
}

void node_change_cancel(struct node *node, struct node_change *change)
{
    if (node->change != change)
        return;
    node->change = NULL;
    membership_cancel(&node->membership);
}

void node_end_change(struct node *node, enum status status, const char *text)
{
    struct node_change *change = node->change;
    if (change == NULL)
        return;
    node_change_cancel(node, change);
    change->cb(change, status, text);
}

const char *node_change_step(const struct node *node)
{
    struct membership_progress progress;
    membership_progress(&node->membership, &progress);
    return progress.active && progress.step != NULL ? progress.step : "";
}

/* ---- leadership ---- */

enum status node_transfer_leadership(struct node *node, uint64_t to, struct node_error *out_error)
{
    *out_error = (struct node_error){0};
    if (node->phase != NODE_SERVING && node->phase != NODE_DRAINING)
        return node_refuse(out_error, STATUS_NOT_READY, "this node does not serve yet");
    if (refuses_for_site(node, out_error))
        return STATUS_BUSY;
    struct consensus_peer peers[MEMBERS_MAX];
    uint32_t count = consensus_peers(node->consensus, peers, MEMBERS_MAX);
    const struct consensus_peer *peer = NULL;
    for (uint32_t i = 0; i < count; i++)
        if (peers[i].member.node_id == to)
            peer = &peers[i];
    if (to != 0 && peer == NULL)
        return node_refuse(out_error, STATUS_NOT_FOUND, "there is no member %" PRIu64, to);
    if (peer != NULL && peer->vote != CONSENSUS_VOTER)
        return node_refuse(out_error, STATUS_INVALID, "member %" PRIu64 " is no voter yet", to);
    if (peer != NULL && peer->member.kind == MEMBER_WITNESS)
        return node_refuse(out_error, STATUS_INVALID,
                           "member %" PRIu64 " is a witness: it holds no ledger to lead with", to);
    enum status status = consensus_transfer(node->consensus, to);
    node_ask_wake(node);
    switch (status) {
    case STATUS_OK:
        return STATUS_OK;
    case STATUS_NOT_READY:
        return node_refuse(out_error, status, "this node does not lead; ask the leader");
    case STATUS_BUSY:
        return node_refuse(out_error, status,
                           "a transfer or a change of members is under way; try again after it");
    case STATUS_NOT_FOUND:
        return node_refuse(out_error, status, "there is no other data node to hand over to");
    default:
        return node_refuse(out_error, status, "leadership was not handed over: %s",
                           status_text(status));
    }
}
