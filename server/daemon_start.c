/*
 * The start of a node, step by step; each step reports its own failure in one plain line on stderr,
 * since who starts a daemon by hand looks there, and as an event in the log. Rights are given up
 * first, ports are taken before the files so that a taken port is told before a long opening, and
 * nothing is served before the loop runs.
 */
#include "server/daemon_internal.h"

#include "core/invariant.h"
#include "proto/descriptors.h"
#include "server/privilege.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const int signal_numbers[DAEMON_SIGNAL_COUNT] = {SIGTERM, SIGINT, SIGHUP};

/* ---- events of the layers below ---- */

/* From the node's threads as well. */
static void node_event(void *context, const char *name, const char *text, uint64_t a, uint64_t b)
{
    struct daemon *daemon = context;
    const uint64_t numbers[EVENT_NUMBER_COUNT] = {a, b};
    struct log_line line;
    enum event event = event_by_name(name, EVENT_NODE);
    log_begin(&line, event);
    if (event == EVENT_NODE)
        log_text(&line, "name", name);
    log_text(&line, "text", text);
    for (unsigned i = 0; i < EVENT_NUMBER_COUNT; i++)
        if (event_number_name(event, i))
            log_number(&line, event_number_name(event, i), numbers[i]);
    log_end(daemon->log, &line);
}

static void grpc_event(void *context, const char *name, const char *principal, const char *text)
{
    struct daemon *daemon = context;
    struct log_line line;
    enum event event = event_by_name(name, EVENT_GRPC);
    log_begin(&line, event);
    if (event == EVENT_GRPC)
        log_text(&line, "name", name);
    if (principal && *principal)
        log_text(&line, "principal", principal);
    log_text(&line, "text", text);
    log_end(daemon->log, &line);
}

static void report_start_failure(struct daemon *daemon, enum status status, const char *text)
{
    struct log_line line;
    daemon->exit_code = daemon_exit_of_status(status);
    fprintf(stderr, "tallyd: %s\n", text);
    log_begin(&line, EVENT_START_FAILED);
    log_text(&line, "status", status_text(status));
    log_text(&line, "text", text);
    log_number(&line, "exit_code", (uint64_t)daemon->exit_code);
    log_end(daemon->log, &line);
}

static void log_listening(struct daemon *daemon, const char *what, const char *host, uint16_t port)
{
    struct log_line line;
    log_begin(&line, EVENT_LISTENING);
    log_text(&line, "service", what);
    log_text(&line, "host", host);
    log_number(&line, "port", port);
    log_end(daemon->log, &line);
}

static void wake_loop(void *context)
{
    struct daemon *daemon = context;
    uv_async_send(&daemon->wake);
}

/* ---- steps ---- */

static enum status start_loop(struct daemon *daemon)
{
    int error = uv_loop_init(&daemon->loop);
    if (error != 0) {
        report_start_failure(daemon, STATUS_NO_MEMORY, uv_strerror(error));
        return STATUS_NO_MEMORY;
    }
    error = uv_async_init(&daemon->loop, &daemon->wake, daemon_wake_cb);
    if (error == 0)
        error = uv_timer_init(&daemon->loop, &daemon->turn);
    if (error == 0)
        error = uv_timer_init(&daemon->loop, &daemon->guard);
    daemon->wake.data = daemon->turn.data = daemon->guard.data = daemon;
    for (int i = 0; i < DAEMON_SIGNAL_COUNT && error == 0; i++) {
        daemon->signals[i].data = daemon;
        error = uv_signal_init(&daemon->loop, &daemon->signals[i]);
        if (error == 0)
            error = uv_signal_start(&daemon->signals[i], daemon_signal_cb, signal_numbers[i]);
    }
    if (error != 0) {
        report_start_failure(daemon, STATUS_NO_MEMORY, uv_strerror(error));
        return STATUS_NO_MEMORY;
    }
    uv_unref((uv_handle_t *)&daemon->guard);
    daemon->loop_open = true;
    daemon->handles_open = true;
    return STATUS_OK;
}

static enum status start_peers(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    struct member self;
    struct net_error error = {.text = ""};
    struct config_error config_error = {.text = ""};
    if (!config->peer.host[0])
        return STATUS_OK;
    /* If its data directory cannot be read, node_open will say why. */
    bool known = daemon_self(config, &self);
    if (known && config_check_identity(config, self.node_id, &config_error) != STATUS_OK) {
        report_start_failure(daemon, STATUS_INVALID, config_error.text);
        return STATUS_INVALID;
    }
    const struct peers_options options = {
        .loop = &daemon->loop,
        .listen_host = config->peer.host,
        .listen_port = config->peer.port,
        .advertised_address = known ? self.address : NULL,
        .certificate_file = config->certificate,
        .key_file = config->key,
        .ca_file = config->ca,
        .crl_file = config->crl[0] ? config->crl : NULL,
        .uri_prefix = config->peer_uri_prefix,
        .event = node_event,
        .event_context = daemon,
    };
    enum status status = peers_create(&options, &daemon->peers, &error);
    if (status != STATUS_OK) {
        report_start_failure(daemon, status, error.text);
        return status;
    }
    daemon->ports.peer = peers_port(daemon->peers);
    daemon->probe.peers = daemon->peers;
    return STATUS_OK;
}

static enum status start_ports(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    struct ops_error ops_error;
    enum status status = ops_http_start(&daemon->loop, &config->ops, &daemon->probe, daemon->log,
                                        &daemon->ops, &daemon->ports.ops, &ops_error);
    if (status != STATUS_OK) {
        report_start_failure(daemon, status, ops_error.text);
        return status;
    }
    struct grpc_server_options options = {
        .loop = &daemon->loop,
        .host = config->grpc.host,
        .port = config->grpc.port,
        .certificate_file = config->certificate,
        .key_file = config->key,
        .ca_file = config->ca,
        .crl_file = config->crl[0] ? config->crl : NULL,
        .limits = config->grpc_limits,
        .event_context = daemon,
        .event = grpc_event,
    };
    struct grpc_error error = {.text = ""};
    status = grpc_server_create(&options, &daemon->grpc, &error);
    if (status == STATUS_OK)
        status = grpc_server_listen(daemon->grpc, &daemon->ports.grpc, &error);
    if (status != STATUS_OK) {
        report_start_failure(daemon, status, error.text);
        return status;
    }
    daemon->probe.grpc = daemon->grpc;
    return start_peers(daemon);
}

static enum status write_ports(struct daemon *daemon)
{
    struct ports_file_error error;
    enum status status = ports_file_write(daemon->config->directory, &daemon->ports, &error);
    if (status == STATUS_DISK_FULL) {
        /* The ports are in the log as well: no reason to leave a full disk without its reads. */
        struct log_line line;
        log_begin(&line, EVENT_PORTS_FILE_MISSING);
        log_text(&line, "text", error.text);
        log_end(daemon->log, &line);
        return STATUS_OK;
    }
    if (status != STATUS_OK)
        report_start_failure(daemon, status, error.text);
    return status;
}

/* A member that was away for less is sent entries instead of a copy of the store. */
#define JOURNAL_KEEP_BYTES (1ull << 30)

static enum status open_node(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    struct net_error signing_error = {.text = ""};
    enum status signing =
        daemon_signing_open(&daemon->signing, config->certificate, config->key, &signing_error);
    if (signing != STATUS_OK) {
        report_start_failure(daemon, signing, signing_error.text);
        return signing;
    }
    struct node_options options = {
        .directory = config->directory,
        .journal_segment_size = config->segment_bytes,
        .epoch_transfer_count_max = config->checkpoint_transfers,
        .account_count_max = ACCOUNTS_MAX,
        .bloom_bytes = config->bloom_bytes,
        .store_map_size_bytes = config->map_size_bytes,
        .checkpoint_interval_ms = config->checkpoint_interval_ms,
        .disk_watermark_bytes = config->watermark_bytes,
        .in_flight_entries_max = config->entries_in_flight,
        .waiting_requests_max = config->requests_max,
        .waiting_bytes_max = config->request_bytes_max,
        .release_bytes = config->release_bytes,
        .journal_keep_bytes = daemon->peers ? JOURNAL_KEEP_BYTES : 0,
        .transport = daemon->peers ? peers_transport(daemon->peers) : NULL,
        .signer = &daemon->signing.table,
        .election_ms = config->election_ms,
        .heartbeat_ms = config->heartbeat_ms,
        .log_tail_bytes = config->log_tail_bytes,
        .wake_context = daemon,
        .wake_loop = wake_loop,
        .event_context = daemon,
        .event = node_event,
    };
    struct node_error error = {.text = ""};
    enum status status = node_open(&options, &daemon->node, &error);
    if (status != STATUS_OK) {
        report_start_failure(daemon, status, error.text);
        return status;
    }
    struct node_status opened;
    node_status(daemon->node, &opened);
    daemon_log_position(daemon, &opened);
    return STATUS_OK;
}

static char *status_json(void *context)
{
    return probe_status_json(context);
}

static enum status start_services(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    struct dispatch_options options = {
        .node = daemon->node,
        .log = daemon->log,
        .metrics = daemon->metrics,
        .requests_per_principal = config->requests_per_principal,
        .requests_max = config->requests_max,
        .request_bytes_max = config->request_bytes_max,
        .read_wait_ms = config->read_wait_ms,
        .alone = !daemon->peers,
        .status_json = status_json,
        .status_context = &daemon->probe,
    };
    daemon->dispatch = dispatch_create(&options);
    daemon->health = health_create();
    enum status status =
        reflection_create(proto_descriptors, proto_descriptors_size, &daemon->reflection);
    invariant_values(status == STATUS_OK || status == STATUS_NO_MEMORY, status, 0);
    if (status != STATUS_OK || !daemon->dispatch || !daemon->health) {
        report_start_failure(daemon, STATUS_NO_MEMORY, "out of memory for the services");
        return STATUS_NO_MEMORY;
    }
    dispatch_register(daemon->dispatch, daemon->grpc);
    health_register(daemon->health, daemon->grpc);
    reflection_register(daemon->reflection, daemon->grpc);
    daemon->probe.node = daemon->node;
    daemon->probe.dispatch = daemon->dispatch;
    daemon->probe.health = daemon->health;
    return STATUS_OK;
}

static enum status start_node(struct daemon *daemon)
{
    struct node_error error = {.text = ""};
    enum status status = node_start(daemon->node, &error);
    if (status != STATUS_OK) {
        report_start_failure(daemon, status, error.text);
        return status;
    }
    daemon_move(daemon, DAEMON_REPLAYING);
    daemon_set_unready(daemon, "replaying the journal, or waiting for a leader");
    log_listening(daemon, "grpc", daemon->config->grpc.host, daemon->ports.grpc);
    log_listening(daemon, "ops", daemon->config->ops.host, daemon->ports.ops);
    if (daemon->peers)
        log_listening(daemon, "peer", daemon->config->peer.host, daemon->ports.peer);
    uv_async_send(&daemon->wake);
    return STATUS_OK;
}

static enum status start_process(struct daemon *daemon)
{
    struct privilege_error error;
    bool changed;
    enum status status =
        privilege_drop(daemon->config->user, daemon->config->allow_root, &changed, &error);
    if (status != STATUS_OK) {
        report_start_failure(daemon, status, error.text);
        return status;
    }
    if (changed) {
        struct log_line line;
        log_begin(&line, EVENT_PRIVILEGES_DROPPED);
        log_text(&line, "user", daemon->config->user);
        log_end(daemon->log, &line);
    }
    signal(SIGPIPE, SIG_IGN); /* a peer that closed is an error of the write */
    struct config_error config_error;
    status = config_check_files(daemon->config, &config_error);
    if (status != STATUS_OK) {
        report_start_failure(daemon, status, config_error.text);
        return status;
    }
    return start_loop(daemon);
}

enum status daemon_start(struct daemon *daemon)
{
    enum status status = start_process(daemon);
    if (status == STATUS_OK)
        status = start_ports(daemon);
    if (status == STATUS_OK)
        status = open_node(daemon);
    if (status == STATUS_OK)
        status = write_ports(daemon);
    if (status == STATUS_OK)
        status = start_services(daemon);
    if (status == STATUS_OK)
        status = start_node(daemon);
    return status;
}
