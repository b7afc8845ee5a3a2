/*
 * The daemon: one value, one loop, one screen for its life (daemon_run).
 *
 *             loop runs            node serves
 *   STARTING ──────────> REPLAYING ───────────> SERVING
 *                            │                     │
 *                            ├──── TERM, INT ──────┤
 *                            v                     v
 *                        LEAVING ──────> FINISHING ──────> CLOSING ──> (the loop ends)
 *                            │  clients      │ node stopped   ^
 *                            │  are gone     │                │
 *   any of them ─────────────┴── node failed ┴──> FAILING ────┘
 *
 * LEAVING: health says NOT_SERVING and readyz 503, connections get GOAWAY, new requests are
 * refused, those in flight finish, for at most limits.drain_ms. FINISHING: the node applies what is
 * left, writes its last checkpoint and seals the journal. A second signal skips the wait for
 * clients, not what makes data durable. FAILING: the node stopped itself; clients in flight are
 * told "unknown" and the process exits with the reason, because a state that failed once must not
 * go on.
 *
 * Started in this order: privileges, loop and log, ports (so that a probe is answered and a taken
 * port is told before a long replay), the node's files, services, then the loop.
 */
#include "server/daemon.h"

#include "core/invariant.h"
#include "proto/descriptors.h"
#include "replication/node.h"
#include "server/dispatch.h"
#include "server/health_service.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/ops_http.h"
#include "server/ports_file.h"
#include "server/privilege.h"
#include "server/probe.h"
#include "server/reflection.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef TALLY_VERSION
#define TALLY_VERSION "unversioned"
#endif

/* Clients' time to read "unknown" after the node failed. */
#define FAILING_GRACE_MS 300

enum daemon_phase {
    DAEMON_STARTING,
    DAEMON_REPLAYING,
    DAEMON_SERVING,
    DAEMON_LEAVING,
    DAEMON_FINISHING,
    DAEMON_FAILING,
    DAEMON_CLOSING,
    DAEMON_PHASE_COUNT
};

struct daemon {
    const struct config *config;
    const char *config_file;
    enum daemon_phase phase;
    int exit_code;

    struct log *log;
    struct metrics *metrics;
    uv_loop_t loop;
    bool loop_open;
    struct ops_http *ops;
    struct grpc_server *grpc;
    bool clients_left; /* the drain of grpc has called back */
    struct node *node;
    struct dispatch *dispatch;
    struct health *health;
    struct reflection *reflection;
    struct probe probe;
    uint16_t grpc_port, ops_port;

    uv_async_t wake;
    uv_timer_t turn;
    uv_signal_t signals[3];
};

static const struct {
    int number;
    const char *name;
} signal_table[3] = {{SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}, {SIGHUP, "SIGHUP"}};

int daemon_exit_of_status(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return EXIT_STOPPED;
    case STATUS_CORRUPT:
    case STATUS_STORE_AHEAD:
    case STATUS_WRONG_CLUSTER:
        return EXIT_WRONG_DATA;
    case STATUS_NOT_FOUND:
        return EXIT_NO_DATA;
    case STATUS_UNAVAILABLE:
        return EXIT_NO_ADDRESS;
    case STATUS_NO_MEMORY:
        return EXIT_NO_RESOURCE;
    case STATUS_DISK_FULL:
        return EXIT_DISK_FULL;
    case STATUS_IO:
        return EXIT_DISK_FAILED;
    case STATUS_LOCKED:
        return EXIT_TRY_AGAIN;
    case STATUS_VERSION:
        return EXIT_VERSION;
    case STATUS_PERMISSION:
        return EXIT_NO_PERMISSION;
    case STATUS_INVALID:
        return EXIT_WRONG_CONFIG;
    default:
        return EXIT_INTERNAL;
    }
}

static void move(struct daemon *daemon, enum daemon_phase next)
{
    static const bool allowed[DAEMON_PHASE_COUNT][DAEMON_PHASE_COUNT] = {
        [DAEMON_STARTING] = {[DAEMON_REPLAYING] = true},
        [DAEMON_REPLAYING] =
            {[DAEMON_SERVING] = true, [DAEMON_LEAVING] = true, [DAEMON_FAILING] = true},
        [DAEMON_SERVING] = {[DAEMON_LEAVING] = true, [DAEMON_FAILING] = true},
        [DAEMON_LEAVING] = {[DAEMON_FINISHING] = true, [DAEMON_FAILING] = true},
        [DAEMON_FINISHING] = {[DAEMON_CLOSING] = true, [DAEMON_FAILING] = true},
        [DAEMON_FAILING] = {[DAEMON_CLOSING] = true},
    };
    invariant_values(allowed[daemon->phase][next], daemon->phase, next);
    daemon->phase = next;
}

/* ---- events ---- */

static void log_plain(struct daemon *daemon, enum event event, const char *text)
{
    struct log_line line;
    log_begin(&line, event);
    if (text)
        log_text(&line, "text", text);
    log_end(daemon->log, &line);
}

/* From the node's threads as well. */
static void node_event(void *context, const char *name, const char *text, uint64_t a, uint64_t b)
{
    struct daemon *daemon = context;
    struct log_line line;
    enum event event = event_by_name(name, EVENT_NODE);
    log_begin(&line, event);
    if (event == EVENT_NODE)
        log_text(&line, "name", name);
    log_text(&line, "text", text);
    log_number(&line, "a", a);
    log_number(&line, "b", b);
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

/* ---- leaving ---- */

static void try_close(struct daemon *daemon);

static void clients_left_cb(void *context)
{
    struct daemon *daemon = context;
    daemon->clients_left = true;
    if (daemon->phase == DAEMON_LEAVING) {
        move(daemon, DAEMON_FINISHING);
        node_drain(daemon->node);
        uv_async_send(&daemon->wake);
    } else {
        try_close(daemon);
    }
}

static void leave(struct daemon *daemon, const char *reason)
{
    log_plain(daemon, EVENT_DRAINING, reason);
    move(daemon, DAEMON_LEAVING);
    daemon->probe.stopping = true;
    health_stop(daemon->health);
    dispatch_set_ready(daemon->dispatch, false, "stopping");
    grpc_server_drain(daemon->grpc, daemon->config->drain_ms, clients_left_cb, daemon);
}

static void hurry(struct daemon *daemon, const char *reason)
{
    if (daemon->phase != DAEMON_LEAVING)
        return;
    log_plain(daemon, EVENT_DRAIN_HURRIED, reason);
    move(daemon, DAEMON_FINISHING);
    grpc_server_drain(daemon->grpc, 0, clients_left_cb, daemon); /* only shortens the grace */
    node_drain(daemon->node);
    uv_async_send(&daemon->wake);
}

static void fail(struct daemon *daemon, const struct node_status *status)
{
    struct log_line line;
    daemon->exit_code = daemon_exit_of_status(status->error.status);
    if (daemon->exit_code == EXIT_STOPPED)
        daemon->exit_code = EXIT_INTERNAL;
    log_begin(&line, EVENT_NODE_FAILED);
    log_text(&line, "status", status_text(status->error.status));
    log_text(&line, "text", status->error.text);
    log_number(&line, "term", status->term);
    log_number(&line, "applied", status->applied_index);
    log_number(&line, "exit_code", (uint64_t)daemon->exit_code);
    log_end(daemon->log, &line);
    move(daemon, DAEMON_FAILING);
    daemon->probe.stopping = true;
    health_stop(daemon->health);
    dispatch_set_ready(daemon->dispatch, false, "the node failed");
    if (!daemon->clients_left)
        grpc_server_drain(daemon->grpc, FAILING_GRACE_MS, clients_left_cb, daemon);
}

static void close_handles(struct daemon *daemon)
{
    uv_close((uv_handle_t *)&daemon->wake, NULL);
    uv_close((uv_handle_t *)&daemon->turn, NULL);
    for (int i = 0; i < 3; i++)
        uv_close((uv_handle_t *)&daemon->signals[i], NULL);
}

/* Once nothing is in flight any more, at the clients and in the node. */
static void try_close(struct daemon *daemon)
{
    struct node_status status;
    node_status(daemon->node, &status);
    bool node_done = status.phase == NODE_STOPPED || status.phase == NODE_FAILED;
    bool waits = daemon->phase == DAEMON_FINISHING || daemon->phase == DAEMON_FAILING;
    if (!waits || !node_done || !daemon->clients_left || dispatch_call_count(daemon->dispatch) > 0)
        return;
    move(daemon, DAEMON_CLOSING);
    grpc_server_destroy(daemon->grpc);
    daemon->grpc = NULL;
    daemon->probe.grpc = NULL;
    ops_http_stop(daemon->ops);
    daemon->ops = NULL;
    close_handles(daemon);
}

/* ---- the turn ---- */

static void turn_cb(uv_timer_t *timer);

static void follow_node(struct daemon *daemon)
{
    struct node_status status;
    node_status(daemon->node, &status);
    if (status.phase == NODE_FAILED && daemon->phase != DAEMON_FAILING)
        fail(daemon, &status);
    if (status.phase == NODE_SERVING && daemon->phase == DAEMON_REPLAYING) {
        move(daemon, DAEMON_SERVING);
        dispatch_set_ready(daemon->dispatch, true, NULL);
        health_set_serving(daemon->health, true);
    }
    try_close(daemon);
}

static void turn(struct daemon *daemon)
{
    if (daemon->phase == DAEMON_CLOSING)
        return;
    node_process(daemon->node);
    follow_node(daemon);
    if (daemon->phase != DAEMON_CLOSING)
        uv_timer_start(&daemon->turn, turn_cb, node_wait_ms(daemon->node), 0);
}

static void turn_cb(uv_timer_t *timer)
{
    turn(timer->data);
}

static void wake_cb(uv_async_t *wake)
{
    turn(wake->data);
}

static void wake_loop(void *context)
{
    struct daemon *daemon = context;
    uv_async_send(&daemon->wake);
}

/* ---- signals ---- */

static void reload(struct daemon *daemon)
{
    struct grpc_error error = {.text = ""};
    if (!daemon->grpc)
        return;
    enum status status = grpc_server_reload(daemon->grpc, &error);
    if (status == STATUS_OK)
        log_plain(daemon, EVENT_CERTIFICATES_RELOADED, NULL);
    else
        log_plain(daemon, EVENT_CERTIFICATES_REFUSED, error.text);
}

static void signal_cb(uv_signal_t *handle, int number)
{
    struct daemon *daemon = handle->data;
    const char *name = "";
    for (int i = 0; i < 3; i++)
        if (signal_table[i].number == number)
            name = signal_table[i].name;
    if (number == SIGHUP) {
        reload(daemon);
        return;
    }
    if (daemon->phase == DAEMON_REPLAYING || daemon->phase == DAEMON_SERVING)
        leave(daemon, name);
    else
        hurry(daemon, name);
}

/* ---- start ---- */

static enum status start_loop(struct daemon *daemon)
{
    int error = uv_loop_init(&daemon->loop);
    if (error != 0) {
        report_start_failure(daemon, STATUS_NO_MEMORY, uv_strerror(error));
        return STATUS_NO_MEMORY;
    }
    daemon->loop_open = true;
    error = uv_async_init(&daemon->loop, &daemon->wake, wake_cb);
    if (error == 0)
        error = uv_timer_init(&daemon->loop, &daemon->turn);
    daemon->wake.data = daemon->turn.data = daemon;
    for (int i = 0; i < 3 && error == 0; i++) {
        daemon->signals[i].data = daemon;
        error = uv_signal_init(&daemon->loop, &daemon->signals[i]);
        if (error == 0)
            error = uv_signal_start(&daemon->signals[i], signal_cb, signal_table[i].number);
    }
    if (error != 0) {
        report_start_failure(daemon, STATUS_NO_MEMORY, uv_strerror(error));
        return STATUS_NO_MEMORY;
    }
    return STATUS_OK;
}

static enum status start_ports(struct daemon *daemon)
{
    const struct config *config = daemon->config;
    struct ops_error ops_error;
    enum status status = ops_http_start(&daemon->loop, &config->ops, &daemon->probe, daemon->log,
                                        &daemon->ops, &daemon->ops_port, &ops_error);
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
        status = grpc_server_listen(daemon->grpc, &daemon->grpc_port, &error);
    if (status != STATUS_OK) {
        report_start_failure(daemon, status, error.text);
        return status;
    }
    daemon->probe.grpc = daemon->grpc;
    return STATUS_OK;
}

static enum status write_ports(struct daemon *daemon)
{
    struct ports_file_error error;
    enum status status =
        ports_file_write(daemon->config->directory, daemon->grpc_port, daemon->ops_port, &error);
    if (status != STATUS_OK)
        report_start_failure(daemon, status, error.text);
    return status;
}

static enum status open_node(struct daemon *daemon)
{
    const struct config *config = daemon->config;
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
        .wake_context = daemon,
        .wake_loop = wake_loop,
        .event_context = daemon,
        .event = node_event,
    };
    struct node_error error = {.text = ""};
    enum status status = node_open(&options, &daemon->node, &error);
    if (status != STATUS_OK)
        report_start_failure(daemon, status, error.text);
    return status;
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
    move(daemon, DAEMON_REPLAYING);
    dispatch_set_ready(daemon->dispatch, false, "replaying the journal");
    log_listening(daemon, "grpc", daemon->config->grpc.host, daemon->grpc_port);
    log_listening(daemon, "ops", daemon->config->ops.host, daemon->ops_port);
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
        report_start_failure(daemon, STATUS_INVALID, config_error.text);
        return status;
    }
    return start_loop(daemon);
}

static enum status start(struct daemon *daemon)
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

/* ---- the whole life ---- */

static void count_left_handle(uv_handle_t *handle, void *context)
{
    (void)handle;
    ++*(unsigned *)context;
}

/* What daemon_run opened, in reverse; after the loop has ended. A start that failed leaves handles
 * in the loop: the process is about to exit, so they are left to it. */
static void tear_down(struct daemon *daemon)
{
    unsigned left = 0;
    if (daemon->node)
        node_close(daemon->node);
    dispatch_destroy(daemon->dispatch);
    health_destroy(daemon->health);
    reflection_destroy(daemon->reflection);
    if (daemon->loop_open) {
        uv_walk(&daemon->loop, count_left_handle, &left);
        if (left == 0)
            invariant(uv_loop_close(&daemon->loop) == 0);
    }
    metrics_destroy(daemon->metrics);
}

int daemon_run(const struct config *config, const char *config_file)
{
    struct daemon *daemon = calloc(1, sizeof *daemon);
    struct log *log = log_create(STDERR_FILENO, config->log_level);
    if (!daemon || !log) {
        fprintf(stderr, "tallyd: out of memory\n");
        return EXIT_NO_RESOURCE;
    }
    daemon->config = config;
    daemon->config_file = config_file;
    daemon->log = log;
    daemon->metrics = metrics_create();
    daemon->probe =
        (struct probe){.log = log, .metrics = daemon->metrics, .started_ns = uv_hrtime()};

    struct log_line line;
    log_begin(&line, EVENT_STARTING);
    log_text(&line, "version", TALLY_VERSION);
    log_text(&line, "config", config_file);
    log_text(&line, "directory", config->directory);
    log_end(log, &line);

    if (!daemon->metrics)
        report_start_failure(daemon, STATUS_NO_MEMORY, "out of memory");
    else if (start(daemon) == STATUS_OK)
        uv_run(&daemon->loop, UV_RUN_DEFAULT);

    int exit_code = daemon->exit_code;
    tear_down(daemon);
    if (exit_code == EXIT_STOPPED)
        log_plain(daemon, EVENT_STOPPED, "everything is durable");
    log_destroy(log);
    free(daemon);
    return exit_code;
}
