/*
 * Probes. Live means that the loop turns: whoever reads the answer has the proof. Ready means that
 * a request sent now would be looked at. The difference matters in a long replay: a supervisor must
 * not kill a node that is busy getting ready, and a load balancer must not send it requests.
 */
#include "server/probe.h"

#include "core/invariant.h"
#include "replication/node/node_site.h"
#include "server/probe_cluster.h"
#include "server/probe_evidence.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef TALLY_VERSION
#define TALLY_VERSION "unversioned"
#endif

const char *node_phase_name(enum node_phase phase)
{
    switch (phase) {
    case NODE_OPENING:
        return "opening";
    case NODE_REPLAYING:
        return "replaying";
    case NODE_SERVING:
        return "serving";
    case NODE_DRAINING:
        return "draining";
    case NODE_STOPPED:
        return "stopped";
    case NODE_FAILED:
        return "failed";
    case NODE_REINSTALLING:
        return "reinstalling";
    }
    return "unknown";
}

/* ---- readiness ---- */

static uint64_t replay_percent(const struct node_status *status)
{
    uint64_t total = status->replay_last - status->replay_first + 1;
    if (status->replay_last < status->replay_first || status->applied_index < status->replay_first)
        return 0;
    uint64_t done = status->applied_index - status->replay_first + 1;
    return done >= total ? 100 : (uint64_t)((double)done * 100 / (double)total);
}

static void check_node(const struct probe *probe, struct probe_check *check)
{
    struct node_status status;
    if (!probe->node) {
        snprintf(check->text, sizeof check->text, "opening journal and store");
        return;
    }
    node_status(probe->node, &status);
    check->passed = status.phase == NODE_SERVING;
    if (status.phase == NODE_REPLAYING && status.replay_first != 0 &&
        status.applied_index >= status.replay_last)
        snprintf(check->text, sizeof check->text,
                 "waiting for a leader to say that the state here is recent");
    else if (status.phase == NODE_REPLAYING)
        snprintf(check->text, sizeof check->text,
                 "replaying %" PRIu64 " %% (entry %" PRIu64 " of %" PRIu64 " to %" PRIu64 ")",
                 replay_percent(&status), status.applied_index, status.replay_first,
                 status.replay_last);
    else if (status.phase == NODE_FAILED)
        snprintf(check->text, sizeof check->text, "failed: %s", status.error.text);
    else if (!check->passed)
        snprintf(check->text, sizeof check->text, "%s", node_phase_name(status.phase));
}

static void check_leader(const struct probe *probe, struct probe_check *check)
{
    struct node_cluster cluster;
    check->passed = true;
    if (!probe->node)
        return;
    node_cluster(probe->node, &cluster);
    check->passed = probe_cluster_led(&cluster, uv_hrtime(), check->text, sizeof check->text);
}

/* Never fails readiness: a read-only node still answers reads and repeats. */
static void check_writes(const struct probe *probe, struct probe_check *check)
{
    struct node_status status;
    check->passed = true;
    if (!probe->node)
        return;
    node_status(probe->node, &status);
    if (status.read_only)
        snprintf(check->text, sizeof check->text, "writes are refused: %s",
                 status.read_only_reason);
}

/* A drained site serves nobody. */
static void check_site(const struct probe *probe, struct probe_check *check)
{
    const char *drained = probe->node ? node_drained(probe->node) : "";
    check->passed = drained[0] == '\0';
    snprintf(check->text, sizeof check->text, "%s", drained);
}

bool probe_ready(const struct probe *probe, struct probe_check out[PROBE_CHECK_COUNT])
{
    memset(out, 0, PROBE_CHECK_COUNT * sizeof *out);
    out[0].name = "process";
    out[0].passed = !probe->stopping;
    if (probe->stopping)
        snprintf(out[0].text, sizeof out[0].text, "stopping: finishing what is in flight");
    out[1].name = "node";
    check_node(probe, &out[1]);
    out[2].name = "leader";
    check_leader(probe, &out[2]);
    out[3].name = "writes";
    check_writes(probe, &out[3]);
    out[4].name = "site";
    check_site(probe, &out[4]);
    return out[0].passed && out[1].passed && out[2].passed && out[3].passed && out[4].passed;
}

/* ---- the status document ---- */

static json_t *hex(const uint8_t *bytes, size_t size)
{
    char text[65];
    invariant(size * 2 < sizeof text);
    for (size_t i = 0; i < size; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return json_string(text);
}

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static void add_node(json_t *root, const struct probe *probe, const struct node_status *status)
{
    json_object_set_new(root, "phase", json_string(node_phase_name(status->phase)));
    struct probe_check checks[PROBE_CHECK_COUNT];
    json_object_set_new(root, "ready", json_boolean(probe_ready(probe, checks)));
    json_object_set_new(root, "node", number(status->node_id));
    json_object_set_new(root, "cluster", hex(status->cluster_id, sizeof status->cluster_id));
    json_object_set_new(root, "incarnation", hex(status->incarnation, sizeof status->incarnation));
    json_object_set_new(root, "role", json_string(status->role ? status->role : ""));
    json_object_set_new(root, "epoch", number(status->epoch));
    json_object_set_new(root, "term", number(status->term));
    json_object_set_new(root, "leader", number(status->leader_id));
    json_object_set_new(root, "stamp_ns", number(status->stamp));
    json_object_set_new(root, "clock_behind_ns", number(status->clock_behind_ns));
    json_object_set_new(root, "read_only", json_boolean(status->read_only));
    json_object_set_new(root, "read_only_reason", json_string(status->read_only_reason));
    json_object_set_new(root, "free_bytes", number(status->free_bytes));
    json_object_set_new(root, "digest", hex(status->digest, sizeof status->digest));
    if (status->phase == NODE_FAILED)
        json_object_set_new(root, "error", json_string(status->error.text));
}

static json_t *indexes(const struct node_status *status)
{
    json_t *object = json_object();
    json_object_set_new(object, "last", number(status->last_index));
    json_object_set_new(object, "synced", number(status->synced_index));
    json_object_set_new(object, "commit", number(status->commit_index));
    json_object_set_new(object, "applied", number(status->applied_index));
    json_object_set_new(object, "durable", number(status->durable_index));
    return object;
}

static json_t *replay(const struct node_status *status)
{
    json_t *object = json_object();
    json_object_set_new(object, "first", number(status->replay_first));
    json_object_set_new(object, "last", number(status->replay_last));
    json_object_set_new(object, "percent",
                        number(status->phase == NODE_REPLAYING ? replay_percent(status) : 100));
    json_object_set_new(object, "torn_bytes_cut", number(status->torn_bytes_cut));
    return object;
}

static json_t *journal(const struct journal_position *position)
{
    json_t *object = json_object();
    json_object_set_new(object, "first_index", number(position->first_index));
    json_object_set_new(object, "last_index", number(position->last_index));
    json_object_set_new(object, "segments", number(position->segment_count));
    json_object_set_new(object, "bytes", number(position->bytes));
    json_object_set_new(object, "head", hex(position->head, sizeof position->head));
    return object;
}

static json_t *checkpoint(const struct checkpoint_stats *stats)
{
    json_t *object = json_object();
    json_object_set_new(object, "durable_index", number(stats->durable_index));
    json_object_set_new(object, "epochs", number(stats->epoch_count));
    json_object_set_new(object, "last_flush_ns", number(stats->last_flush_ns));
    json_object_set_new(object, "longest_flush_ns", number(stats->longest_flush_ns));
    json_object_set_new(object, "bytes_used", number(stats->bytes_used));
    json_object_set_new(object, "bytes_file", number(stats->bytes_file));
    json_object_set_new(object, "id_runs", number(stats->id_run_count));
    json_object_set_new(object, "transfer_lookups", number(stats->transfer_lookups.count));
    json_object_set_new(object, "transfer_lookups_vain",
                        number(stats->transfer_lookups.vain_count));
    json_object_set_new(object, "request_lookups", number(stats->request_lookups.count));
    json_object_set_new(object, "request_lookups_vain", number(stats->request_lookups.vain_count));
    return object;
}

static json_t *counts(const struct probe *probe, const struct node_status *status)
{
    const struct machine *machine = node_machine(probe->node);
    json_t *object = json_object();
    json_object_set_new(object, "ledgers", number(machine_ledger_count(machine)));
    json_object_set_new(object, "accounts", number(machine_account_count(machine)));
    json_object_set_new(object, "transfers", number(machine_transfer_count(machine)));
    json_object_set_new(object, "principals", number(machine_principal_count(machine)));
    json_object_set_new(object, "requests_since_start", number(status->requests_total));
    return object;
}

static json_t *load(const struct probe *probe, const struct node_status *status)
{
    json_t *object = json_object();
    json_object_set_new(object, "in_flight_entries", number(status->in_flight_entries));
    json_object_set_new(object, "waiting_requests", number(status->waiting_requests));
    if (probe->dispatch) {
        json_object_set_new(object, "calls", number(dispatch_call_count(probe->dispatch)));
        json_object_set_new(object, "request_bytes", number(dispatch_bytes(probe->dispatch)));
    }
    if (probe->grpc) {
        struct grpc_server_stats stats;
        grpc_server_stats(probe->grpc, &stats);
        json_object_set_new(object, "connections", number(stats.connections));
    }
    return object;
}

static void add_links(json_t *root, const struct peers *peers)
{
    struct peers_status *links = calloc(2 * MEMBERS_MAX, sizeof *links); /* members and strangers */
    if (!links)
        return; /* the document is complete but for them */
    uint32_t count = peers_status(peers, links, 2 * MEMBERS_MAX);
    probe_links_json(root, links, count < 2 * MEMBERS_MAX ? count : 2 * MEMBERS_MAX, uv_hrtime());
    free(links);
}

char *probe_status_json(const struct probe *probe)
{
    json_t *root = json_object();
    if (!root)
        return NULL;
    json_object_set_new(root, "version", json_string(TALLY_VERSION));
    json_object_set_new(root, "pid", number((uint64_t)getpid()));
    json_object_set_new(root, "uptime_ms", number((uv_hrtime() - probe->started_ns) / 1000000));
    if (probe->node) {
        struct node_status status;
        node_status(probe->node, &status);
        struct node_cluster cluster;
        node_cluster(probe->node, &cluster);
        add_node(root, probe, &status);
        probe_cluster_json(root, &cluster, node_change_step(probe->node), &status, uv_hrtime());
        probe_evidence_json(root, probe->node);
        if (probe->peers)
            add_links(root, probe->peers);
        json_object_set_new(root, "index", indexes(&status));
        json_object_set_new(root, "replay", replay(&status));
        json_object_set_new(root, "journal", journal(&status.journal));
        json_object_set_new(root, "checkpoint", checkpoint(&status.checkpoint));
        if (node_machine(probe->node))
            json_object_set_new(root, "count", counts(probe, &status));
        json_object_set_new(root, "load", load(probe, &status));
    } else {
        json_object_set_new(root, "phase", json_string("opening"));
        json_object_set_new(root, "ready", json_false());
    }
    char *text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    return text;
}

/* ---- metrics ---- */

static void lookups(FILE *page, const struct checkpoint_stats *stats)
{
    static const char count[] = "tally_store_lookups_total",
                      vain[] = "tally_store_lookups_vain_total";
    metrics_family(page, count, METRIC_COUNTER,
                   "Look-ups of ids that no filter answered, since start.");
    metrics_sample(page, count, "of=\"transfers\"", stats->transfer_lookups.count);
    metrics_sample(page, count, "of=\"requests\"", stats->request_lookups.count);
    metrics_family(page, vain, METRIC_COUNTER,
                   "Those of them that found nothing: a filter let them through.");
    metrics_sample(page, vain, "of=\"transfers\"", stats->transfer_lookups.vain_count);
    metrics_sample(page, vain, "of=\"requests\"", stats->request_lookups.vain_count);
}

static void write_node(FILE *page, const struct probe *probe)
{
    struct node_status s;
    node_status(probe->node, &s);
    metrics_gauge(
        page, "tally_node_phase",
        "0 opening, 1 replaying, 2 serving, 3 draining, 4 stopped, 5 failed, 6 reinstalling.",
        s.phase);
    metrics_gauge(page, "tally_last_index", "Newest entry in the journal.", s.last_index);
    metrics_gauge(page, "tally_synced_index", "Newest entry that is durable.", s.synced_index);
    metrics_gauge(page, "tally_commit_index", "Newest entry that is agreed.", s.commit_index);
    metrics_gauge(page, "tally_applied_index", "Newest entry in the state.", s.applied_index);
    metrics_gauge(page, "tally_durable_index", "Newest entry in the store's checkpoint.",
                  s.durable_index);
    metrics_gauge(page, "tally_term", "Current term.", s.term);
    metrics_gauge_seconds(page, "tally_clock_behind_seconds",
                          "How far ledger time is ahead of this machine's clock.",
                          s.clock_behind_ns);
    metrics_gauge(page, "tally_read_only", "1 while writes are refused.", s.read_only);
    metrics_gauge(page, "tally_disk_free_bytes", "Free space of the data directory.", s.free_bytes);
    metrics_gauge(page, "tally_entries_in_flight", "Entries between proposal and commit.",
                  s.in_flight_entries);
    metrics_gauge(page, "tally_requests_waiting", "Requests accepted and not yet in an entry.",
                  s.waiting_requests);
    metrics_counter(page, "tally_entries_total", "Entries applied since start.", s.entries_total);
    metrics_counter(page, "tally_node_requests_total", "Requests applied since start.",
                    s.requests_total);
    metrics_counter(page, "tally_transfers_total",
                    "Events of CreateTransfers requests executed since start.", s.transfers_total);
    metrics_counter(page, "tally_refused_busy_total", "Requests the node pushed back.",
                    s.refused_busy_total);
    metrics_gauge(page, "tally_torn_bytes_cut", "Bytes cut from the journal's end at start.",
                  s.torn_bytes_cut);
    metrics_gauge(page, "tally_journal_segments", "Segments of the journal.",
                  s.journal.segment_count);
    metrics_gauge(page, "tally_journal_bytes", "Bytes of the journal on disk.", s.journal.bytes);
    metrics_counter(page, "tally_checkpoints_total", "Epochs written since start.",
                    s.checkpoint.epoch_count);
    metrics_gauge_seconds(page, "tally_checkpoint_last_seconds", "Duration of the last epoch.",
                          s.checkpoint.last_flush_ns);
    metrics_gauge_seconds(page, "tally_checkpoint_longest_seconds", "Longest epoch since start.",
                          s.checkpoint.longest_flush_ns);
    metrics_gauge(page, "tally_store_used_bytes", "Bytes in use in the store.",
                  s.checkpoint.bytes_used);
    metrics_gauge(page, "tally_store_file_bytes", "Bytes of the store's file.",
                  s.checkpoint.bytes_file);
    metrics_gauge(page, "tally_store_id_runs", "Runs of the index by transfer id.",
                  s.checkpoint.id_run_count);
    lookups(page, &s.checkpoint);
    struct node_cluster cluster;
    node_cluster(probe->node, &cluster);
    probe_cluster_metrics(page, &cluster, &s, uv_hrtime());
    probe_evidence_metrics(page, probe->node);
    if (probe->peers)
        metrics_counter(page, "tally_peers_refused_total",
                        "Connections between nodes that were refused here.",
                        peers_refused_count(probe->peers));
    const struct machine *machine = node_machine(probe->node);
    if (!machine)
        return; /* a witness has no state */
    metrics_gauge(page, "tally_ledgers", "Ledgers.", machine_ledger_count(machine));
    metrics_gauge(page, "tally_accounts", "Accounts.", machine_account_count(machine));
    metrics_gauge(page, "tally_transfers", "Transfer records, accepted and refused.",
                  machine_transfer_count(machine));
}

static void write_grpc(FILE *page, const struct probe *probe)
{
    struct grpc_server_stats s;
    grpc_server_stats(probe->grpc, &s);
    metrics_gauge(page, "tally_connections", "Open gRPC connections.", s.connections);
    metrics_counter(page, "tally_connections_total", "gRPC connections accepted.",
                    s.connections_total);
    metrics_counter(page, "tally_handshake_failures_total",
                    "Connections that failed TLS or HTTP/2 setup.", s.handshake_failures_total);
    metrics_counter(page, "tally_grpc_calls_total", "Calls of any service.", s.calls_total);
    metrics_gauge(page, "tally_calls_in_flight", "Calls that have no end yet.", s.calls_in_flight);
    metrics_counter(page, "tally_resets_total", "Streams that clients reset.", s.resets_total);
    metrics_counter(page, "tally_deadline_exceeded_total", "Calls whose deadline passed.",
                    s.deadline_exceeded_total);
    metrics_counter(page, "tally_refused_limit_total", "Calls and connections over a limit.",
                    s.refused_limit_total);
    metrics_counter(page, "tally_received_bytes_total", "Bytes received.", s.bytes_received_total);
    metrics_counter(page, "tally_sent_bytes_total", "Bytes sent.", s.bytes_sent_total);
}

static uint64_t resident_bytes(void)
{
    unsigned long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    if (fscanf(file, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void write_process(FILE *page, const struct probe *probe)
{
    struct probe_check checks[PROBE_CHECK_COUNT];
    metrics_gauge(page, "tally_ready", "1 while requests are looked at.",
                  probe_ready(probe, checks));
    metrics_gauge_seconds(page, "tally_uptime_seconds", "Since the process began.",
                          uv_hrtime() - probe->started_ns);
    metrics_gauge(page, "process_resident_memory_bytes", "Memory in RAM.", resident_bytes());
    if (probe->dispatch) {
        metrics_gauge(page, "tally_calls_in_progress", "Calls of tally.v1 that have no end yet.",
                      dispatch_call_count(probe->dispatch));
        metrics_gauge(page, "tally_request_bytes", "Memory lent to requests in progress.",
                      dispatch_bytes(probe->dispatch));
    }
    if (probe->health)
        metrics_gauge(page, "tally_health_watchers", "Streams of grpc.health.v1.Health/Watch.",
                      health_watcher_count(probe->health));
    metrics_family(page, "tally_events_total", METRIC_COUNTER,
                   "Events of the log, written or not.");
    for (int event = 0; event < EVENT_COUNT; event++)
        fprintf(page, "tally_events_total{event=\"%s\"} %" PRIu64 "\n",
                event_name((enum event)event), log_event_count(probe->log, (enum event)event));
}

char *probe_metrics(const struct probe *probe, size_t *out_size)
{
    char *text = NULL;
    size_t size = 0;
    FILE *page = open_memstream(&text, &size);
    if (!page)
        return NULL;
    char version[64];
    metrics_label(version, sizeof version, "version", TALLY_VERSION);
    metrics_family(page, "tally_build_info", METRIC_GAUGE, "Always 1; the version is a label.");
    metrics_sample(page, "tally_build_info", version, 1);
    write_process(page, probe);
    if (probe->node)
        write_node(page, probe);
    if (probe->grpc)
        write_grpc(page, probe);
    metrics_write(probe->metrics, page);
    if (fclose(page) != 0) {
        free(text);
        return NULL;
    }
    *out_size = size;
    return text;
}
