/* What /status, /metrics and probes show: gathered from the parts, nothing kept here. */
#include "replication/node/node_internal.h"

#include <string.h>

static void fill_identity(const struct node *node, struct node_status *out)
{
    memcpy(out->cluster_id, node->identity.cluster_id, sizeof out->cluster_id);
    memcpy(out->incarnation, node->identity.incarnation, sizeof out->incarnation);
    out->node_id = node->identity.node_id;
    out->kind = node->identity.kind;
    memcpy(out->site, node->identity.site, sizeof out->site);
    out->epoch = node->identity.cluster_epoch;
}

static void fill_log(const struct node *node, struct node_status *out)
{
    journal_position(node->journal, &out->journal);
    struct consensus_status consensus;
    consensus_status(node->consensus, &consensus);
    out->term = consensus.term;
    out->leader_id = consensus.leader_id;
    out->role = consensus.role;
    out->commit_index = consensus.commit_index;
    out->last_index = out->journal.last_index;
    out->synced_index = out->journal.synced_index;
    out->applied_index = node_applied_index(node);
    out->durable_index = node_is_witness(node) ? node->forgotten_index : node->epochs.durable_index;
    if (node->phase == NODE_REPLAYING || node->phase == NODE_REINSTALLING) {
        out->replay_first = node->replay_first;
        out->replay_last = node->replay_last;
    }
}

static void fill_disk(const struct node *node, struct node_status *out)
{
    out->read_only = disk_guard_read_only(&node->guard);
    disk_guard_reason(&node->guard, out->read_only_reason, sizeof out->read_only_reason);
    out->free_bytes = node->guard.free_bytes;
    out->torn_bytes_cut = node->torn_bytes_cut;
    if (node->store != NULL)
        checkpoint_stats(node->store, &out->checkpoint);
}

size_t node_certificate_bytes(const struct node *node, const uint8_t **out_bytes)
{
    *out_bytes = node->certificates.bytes;
    return node->certificates.size;
}

enum status node_judge_both(const struct node *node, const struct node_request *request)
{
    struct consensus_status consensus;
    if (!request->both_sites)
        return STATUS_OK;
    consensus_status(node->consensus, &consensus);
    if (!consensus.site_rule)
        return STATUS_UNSUPPORTED;
    return consensus.mode == DURABILITY_DEGRADED ? STATUS_DEGRADED : STATUS_OK;
}

enum node_durability node_durability(const struct node *node, const struct node_request *request,
                                     uint64_t index)
{
    struct consensus_status consensus;
    if (request->on_both)
        return NODE_BOTH_SITES;
    if (node->consensus == NULL)
        return NODE_DEGRADED; /* nothing is known for a moment */
    consensus_status(node->consensus, &consensus);
    if (!consensus.site_rule)
        return NODE_MAJORITY;
    return index <= consensus.both_index ? NODE_BOTH_SITES : NODE_DEGRADED;
}

void node_wait_both(struct node *node, struct node_both_wait *wait)
{
    durability_waits_add(&node->both_waits, wait);
    node_ask_wake(node);
}

const struct in_doubt *node_in_doubt(const struct node *node)
{
    return &node->in_doubt;
}

void node_note_unanswered(struct node *node, const struct node_request *request)
{
    in_doubt_note(&node->in_doubt, request->request, 0, IN_DOUBT_UNANSWERED, node_wall_ns(node));
}

void node_note_gone(struct node *node, const struct node_request *request)
{
    if (request->uncertain || in_doubt_disturbed(&node->in_doubt, request->accepted_ns))
        in_doubt_note(&node->in_doubt, request->request, 0, IN_DOUBT_CLIENT_GONE,
                      node_wall_ns(node));
}

void node_rpo(const struct node *node, struct rpo_report *out)
{
    const struct rpo_time now = {.monotonic_ns = node_now_ns(node), .wall_ns = node_wall_ns(node)};
    memset(out, 0, sizeof *out);
    if (node->consensus != NULL)
        rpo_report(&node->rpo, node->consensus, &now, out);
}

bool node_certificate(const struct node *node, struct certificate_view *out)
{
    const struct certificates *certificates = &node->certificates;
    return certificates->size > 0 &&
           certificate_decode(certificates->bytes, certificates->size, out) == STATUS_OK;
}

void node_status(const struct node *node, struct node_status *out)
{
    memset(out, 0, sizeof *out);
    out->phase = node->phase;
    out->error = node->error;
    fill_identity(node, out);
    out->reopened_total = node->reopened_total;
    if (node->consensus == NULL)
        return; /* failed between two generations of files */
    fill_log(node, out);
    fill_disk(node, out);

    out->in_flight_entries = node->proposer.in_flight_entries;
    out->waiting_requests = node->proposer.waiting_count;
    out->entries_total = node->proposer.entries_total;
    out->requests_total = node->proposer.requests_total;
    out->transfers_total = node->fsm.transfers_total;
    out->refused_busy_total = node->refused_busy_total;
    if (node->machine == NULL)
        return;
    uint64_t wall = node->environment->wall_ns(node->environment->context);
    out->stamp = machine_stamp(node->machine);
    out->clock_behind_ns = out->stamp > wall ? out->stamp - wall : 0;
    machine_digest(node->machine, out->digest);
}
