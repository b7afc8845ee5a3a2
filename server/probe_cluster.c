/*
 * What a node says about its cluster is its own view: who it is linked to, what it last heard. Only
 * the leader knows how far each member's journal is, and only who looks at several nodes (tally
 * status) sees a cluster that is cut in two. So nothing here is presented as the cluster's state;
 * every number is one node's knowledge.
 *
 * The sites and the rule about them: probe_cluster_sites.c.
 */
#include "server/probe_cluster.h"

#include "server/metrics.h"
#include "server/probe_cluster_sites.h"

#include <inttypes.h>
#include <string.h>

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *hex(const uint8_t *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    char text[2 * 16 + 1];
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * size] = '\0';
    return json_string(text);
}

static const char *vote_name(enum consensus_vote vote)
{
    return vote == CONSENSUS_VOTER ? "voter" : vote == CONSENSUS_STANDBY ? "standby" : "spare";
}

static uint64_t ago_ns(uint64_t now_ns, uint64_t then_ns)
{
    return now_ns > then_ns ? now_ns - then_ns : 0;
}

static bool is_self(const struct consensus_peer *peer, const struct node_status *status)
{
    return peer->member.node_id == status->node_id;
}

static bool is_up(const struct consensus_peer *peer, const struct node_status *status)
{
    return peer->linked || is_self(peer, status);
}

static uint64_t match_index(const struct consensus_peer *peer, const struct node_status *status)
{
    return is_self(peer, status) ? status->synced_index : peer->match_index;
}

/* Agreed entries that the member's journal is not known to hold. */
static uint64_t lag(const struct node_cluster *cluster, uint64_t match)
{
    uint64_t commit = cluster->consensus.commit_index;
    return commit > match ? commit - match : 0;
}

/* ---- the document ---- */

static json_t *catch_up(const struct node_peer_catch_up *from)
{
    json_t *object = json_object();
    json_object_set_new(object, "active", json_boolean(from->active));
    json_object_set_new(object, "phase", json_string(from->phase != NULL ? from->phase : ""));
    json_object_set_new(object, "bytes_done", number(from->bytes_done));
    json_object_set_new(object, "bytes_total", number(from->bytes_total));
    json_object_set_new(object, "index", number(from->index));
    return object;
}

static json_t *pacing(const struct node_pacing *from)
{
    json_t *object = json_object();
    json_object_set_new(object, "active", json_boolean(from->limited));
    json_object_set_new(object, "limit_bytes_per_second", number(from->limit));
    json_object_set_new(object, "floor_bytes_per_second", number(from->floor));
    json_object_set_new(object, "usual_bytes_per_second", number(from->usual));
    json_object_set_new(object, "read_bytes_per_second", number(from->read_rate));
    return object;
}

static json_t *member(const struct node_cluster *cluster, uint32_t i,
                      const struct node_status *status, uint64_t now_ns)
{
    const struct consensus_peer *peer = &cluster->peers[i];
    const struct member *about = &peer->member;
    uint64_t match = match_index(peer, status);
    bool self = is_self(peer, status);
    json_t *object = json_object();
    json_object_set_new(object, "node", number(about->node_id));
    json_object_set_new(object, "site", json_string(about->site));
    json_object_set_new(object, "kind",
                        json_string(about->kind == MEMBER_WITNESS ? "witness" : "data"));
    json_object_set_new(object, "vote", json_string(vote_name(peer->vote)));
    json_object_set_new(object, "address", json_string(about->address));
    json_object_set_new(object, "incarnation", hex(about->incarnation, sizeof about->incarnation));
    json_object_set_new(object, "self", json_boolean(self));
    json_object_set_new(object, "linked", json_boolean(is_up(peer, status)));
    json_object_set_new(object, "heard_ms",
                        self                  ? number(0)
                        : peer->heard_ns == 0 ? json_null()
                                              : number(ago_ns(now_ns, peer->heard_ns) / 1000000));
    /* Known by the leader alone; of itself every node knows it. */
    bool known = cluster->consensus.leads || self;
    json_object_set_new(object, "match_index", known ? number(match) : json_null());
    json_object_set_new(object, "lag", known ? number(lag(cluster, match)) : json_null());
    json_object_set_new(object, "clock_offset_ns",
                        self                ? number(0)
                        : peer->clock_known ? json_integer((json_int_t)peer->clock_offset_ns)
                                            : json_null());
    if (cluster->catch_up[i].active)
        json_object_set_new(object, "catch_up", catch_up(&cluster->catch_up[i]));
    return object;
}

static json_t *counters(const struct node_cluster *cluster)
{
    json_t *object = json_object();
    json_object_set_new(object, "elections", number(cluster->elections_total));
    json_object_set_new(object, "leader_changes", number(cluster->leader_changes_total));
    json_object_set_new(object, "forwarded", number(cluster->forwarded_total));
    json_object_set_new(object, "forwards_served", number(cluster->forwards_served_total));
    json_object_set_new(object, "read_rounds", number(cluster->read_rounds_total));
    json_object_set_new(object, "bounded_reads", number(cluster->bounded_reads_total));
    return object;
}

void probe_cluster_json(json_t *root, const struct node_cluster *cluster, const char *change_step,
                        const struct node_status *status, uint64_t now_ns)
{
    const struct consensus_status *consensus = &cluster->consensus;
    json_object_set_new(root, "kind",
                        json_string(status->kind == MEMBER_WITNESS ? "witness" : "data"));
    json_object_set_new(root, "site", json_string(status->site));
    json_object_set_new(root, "leads", json_boolean(consensus->leads));
    json_object_set_new(root, "changing_members", json_boolean(consensus->changing));
    json_object_set_new(root, "change_step", json_string(change_step));
    json_object_set_new(root, "transferring", json_boolean(consensus->transferring));
    json_object_set_new(root, "leader_heard_ms",
                        consensus->leads ? number(0)
                        : consensus->heard_ns == 0
                            ? json_null()
                            : number(ago_ns(now_ns, consensus->heard_ns) / 1000000));
    json_t *members = json_array();
    for (uint32_t i = 0; i < cluster->peer_count; i++)
        json_array_append_new(members, member(cluster, i, status, now_ns));
    json_object_set_new(root, "members", members);
    json_object_set_new(root, "write_refusal", json_string(cluster->write_refusal));
    probe_sites_json(root, cluster, now_ns);
    json_object_set_new(root, "catch_up", catch_up(&cluster->own_catch_up));
    json_object_set_new(root, "catch_up_pacing", pacing(&cluster->pacing));
    json_t *digest_at = json_object();
    json_object_set_new(digest_at, "index", number(cluster->digest_index));
    json_object_set_new(digest_at, "digest", hex(cluster->digest, sizeof cluster->digest));
    json_object_set_new(root, "digest_at", digest_at);
    json_t *log = json_object();
    json_object_set_new(log, "first_index", number(consensus->log_first_index));
    json_object_set_new(log, "bytes", number(consensus->log_bytes));
    json_object_set_new(log, "watermark_index", number(consensus->watermark_index));
    json_object_set_new(root, "log", log);
    json_object_set_new(root, "cluster_counters", counters(cluster));
}

/* ---- links ---- */

static json_t *lane(const struct peers_lane_status *from, uint64_t now_ns)
{
    json_t *object = json_object();
    json_object_set_new(object, "up", json_boolean(from->up));
    json_object_set_new(object, "since_ms", number(ago_ns(now_ns, from->since_ns) / 1000000));
    json_object_set_new(object, "times_up", number(from->up_count));
    json_object_set_new(object, "bytes_out", number(from->bytes_out));
    json_object_set_new(object, "bytes_in", number(from->bytes_in));
    json_object_set_new(object, "queue_bytes", number(from->queue_bytes));
    if (!from->up)
        json_object_set_new(object, "why_down", json_string(from->why_down));
    return object;
}

void probe_links_json(json_t *root, const struct peers_status *links, uint32_t count,
                      uint64_t now_ns)
{
    static const char *const names[TRANSPORT_LANE_COUNT] = {
        [TRANSPORT_RAFT] = "raft", [TRANSPORT_CALLS] = "calls", [TRANSPORT_BULK] = "bulk"};
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_t *object = json_object();
        json_object_set_new(object, "node", number(links[i].node_id));
        json_object_set_new(object, "address", json_string(links[i].address));
        for (int k = 0; k < TRANSPORT_LANE_COUNT; k++)
            json_object_set_new(object, names[k], lane(&links[i].lanes[k], now_ns));
        json_array_append_new(list, object);
    }
    json_object_set_new(root, "links", list);
}

/* ---- metrics ---- */

enum peer_metric {
    PEER_LINKED,
    PEER_VOTER,
    PEER_MATCH,
    PEER_LAG,
    PEER_HEARD,
    PEER_CLOCK,
    PEER_CATCH_UP,
    PEER_METRIC_COUNT
};

static const struct {
    const char *name, *help;
} peer_metrics[PEER_METRIC_COUNT] = {
    [PEER_LINKED] = {"tally_peer_linked", "1 while connected to the member."},
    [PEER_VOTER] = {"tally_peer_voter", "1 for members that vote."},
    [PEER_MATCH] = {"tally_peer_match_index",
                    "Newest entry known durable at the member; at the leader only."},
    [PEER_LAG] = {"tally_peer_lag_entries",
                  "Agreed entries not known durable at the member; at the leader only."},
    [PEER_HEARD] = {"tally_peer_heard_seconds", "Since the member was last heard."},
    [PEER_CLOCK] = {"tally_peer_clock_offset_seconds", "The member's clock minus ours."},
    [PEER_CATCH_UP] = {"tally_peer_catch_up_bytes", "Copied to a member that is caught up."},
};

static void write_peer(FILE *page, enum peer_metric metric, const struct node_cluster *cluster,
                       uint32_t i, const struct node_status *status, uint64_t now_ns)
{
    const struct consensus_peer *peer = &cluster->peers[i];
    const char *name = peer_metrics[metric].name;
    uint64_t match = match_index(peer, status);
    uint64_t heard_ns = ago_ns(now_ns, peer->heard_ns);
    char site[48];
    char labels[96];
    metrics_label(site, sizeof site, "site", peer->member.site);
    snprintf(labels, sizeof labels, "peer=\"%" PRIu64 "\",%s", peer->member.node_id, site);
    switch (metric) {
    case PEER_LINKED:
        metrics_sample(page, name, labels, is_up(peer, status));
        break;
    case PEER_VOTER:
        metrics_sample(page, name, labels, peer->vote == CONSENSUS_VOTER);
        break;
    case PEER_MATCH:
        if (cluster->consensus.leads)
            metrics_sample(page, name, labels, match);
        break;
    case PEER_LAG:
        if (cluster->consensus.leads)
            metrics_sample(page, name, labels, lag(cluster, match));
        break;
    case PEER_HEARD:
        if (peer->heard_ns != 0)
            fprintf(page, "%s{%s} %" PRIu64 ".%03" PRIu64 "\n", name, labels, heard_ns / 1000000000,
                    heard_ns / 1000000 % 1000);
        break;
    case PEER_CLOCK:
        if (peer->clock_known)
            fprintf(page, "%s{%s} %.6f\n", name, labels, (double)peer->clock_offset_ns / 1e9);
        break;
    case PEER_CATCH_UP:
        if (cluster->catch_up[i].active)
            metrics_sample(page, name, labels, cluster->catch_up[i].bytes_done);
        break;
    case PEER_METRIC_COUNT:
        break;
    }
}

void probe_cluster_metrics(FILE *page, const struct node_cluster *cluster,
                           const struct node_status *status, uint64_t now_ns)
{
    const struct consensus_status *consensus = &cluster->consensus;
    metrics_gauge(page, "tally_leads", "1 at the node that leads.", consensus->leads);
    metrics_gauge(page, "tally_leader_id", "Node that leads; 0 when none is known.",
                  consensus->leader_id);
    metrics_gauge(page, "tally_witness", "1 at a witness.", status->kind == MEMBER_WITNESS);
    metrics_gauge(page, "tally_members", "Members, voting or not.", cluster->peer_count);
    metrics_gauge(page, "tally_members_changing", "1 while a change of members is not committed.",
                  consensus->changing);
    metrics_gauge(page, "tally_leadership_moving", "1 while leadership is handed over.",
                  consensus->transferring);
    metrics_counter(page, "tally_elections_total", "Times this node became a candidate.",
                    cluster->elections_total);
    metrics_counter(page, "tally_leader_changes_total",
                    "Times another leader was seen than before.", cluster->leader_changes_total);
    metrics_counter(page, "tally_forwarded_total", "Requests sent on to a leader.",
                    cluster->forwarded_total);
    metrics_counter(page, "tally_forwards_served_total", "Requests of other nodes taken here.",
                    cluster->forwards_served_total);
    metrics_counter(page, "tally_read_rounds_total", "Confirmations of reads begun here.",
                    cluster->read_rounds_total);
    metrics_counter(page, "tally_bounded_reads_total",
                    "Reads answered by their greatest age, without a confirmation.",
                    cluster->bounded_reads_total);
    metrics_gauge(page, "tally_log_bytes", "Entries kept in memory, bytes.", consensus->log_bytes);
    metrics_gauge(page, "tally_log_first_index", "Oldest entry in memory.",
                  consensus->log_first_index);
    metrics_gauge(page, "tally_watermark_index", "What the best data node of every site holds.",
                  consensus->watermark_index);
    metrics_gauge(page, "tally_catch_up_active", "1 while this node is brought up to date.",
                  cluster->own_catch_up.active);
    metrics_gauge(page, "tally_catch_up_bytes", "Received in that.",
                  cluster->own_catch_up.bytes_done);
    metrics_gauge(page, "tally_catch_up_total_bytes", "To be received; 0 when not known yet.",
                  cluster->own_catch_up.bytes_total);
    metrics_gauge(page, "tally_catch_up_pacing",
                  "1 while this leader admits less so that a member can catch up.",
                  cluster->pacing.limited);
    metrics_gauge(page, "tally_catch_up_pacing_limit_bytes",
                  "Bytes of entries per second that it admits then; 0: no limit.",
                  cluster->pacing.limit);
    metrics_counter(page, "tally_reopened_total", "Times the node opened itself on other files.",
                    status->reopened_total);
    probe_sites_metrics(page, cluster, now_ns);
    for (int metric = 0; metric < PEER_METRIC_COUNT; metric++) {
        metrics_family(page, peer_metrics[metric].name, METRIC_GAUGE, peer_metrics[metric].help);
        for (uint32_t i = 0; i < cluster->peer_count; i++)
            if (!is_self(&cluster->peers[i], status))
                write_peer(page, (enum peer_metric)metric, cluster, i, status, now_ns);
    }
}

/* ---- readiness ---- */

bool probe_cluster_led(const struct node_cluster *cluster, uint64_t now_ns, char *out,
                       size_t capacity)
{
    const struct consensus_status *consensus = &cluster->consensus;
    if (consensus->leads || consensus->leader_id != 0)
        return true;
    uint64_t silent_ms = ago_ns(now_ns, consensus->heard_ns) / 1000000;
    if (consensus->heard_ns != 0 && silent_ms < PROBE_LEADERLESS_MS)
        return true;
    if (cluster->peer_count == 0)
        snprintf(out, capacity,
                 "this node is no member yet: \"tally member add\" at the cluster makes it one");
    else if (consensus->heard_ns == 0)
        snprintf(out, capacity, "no leader was heard since the start");
    else
        snprintf(out, capacity, "no leader was heard for %" PRIu64 " ms", silent_ms);
    return false;
}
