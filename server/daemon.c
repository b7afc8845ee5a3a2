/*
 * The daemon: one value, one loop, one screen for its life (daemon_run).
 *
 *             loop runs            node serves
 *   STARTING ──────────> REPLAYING ───────────> SERVING
 *                            │     <─────────── │
 *                            │   node reopens      │
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
#include "server/daemon_internal.h"

#include "core/invariant.h"
#include "replication/node/node_site.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Clients' time to read "unknown" after the node failed. */
#define FAILING_GRACE_MS 300
/* After a failure, and once everything is closed, the process ends within this, come what may. */
#define GUARD_MS 5000

void daemon_move(struct daemon *daemon, enum daemon_phase next)
{
    static const bool allowed[DAEMON_PHASE_COUNT][DAEMON_PHASE_COUNT] = {
        [DAEMON_STARTING] = {[DAEMON_REPLAYING] = true},
        [DAEMON_REPLAYING] =
            {[DAEMON_SERVING] = true, [DAEMON_LEAVING] = true, [DAEMON_FAILING] = true},
        [DAEMON_SERVING] =
            {[DAEMON_REPLAYING] = true, [DAEMON_LEAVING] = true, [DAEMON_FAILING] = true},
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

void daemon_log_position(struct daemon *daemon, const struct node_status *status)
{
    const struct log_position position = {
        .node_id = status->node_id,
        .term = status->term,
        .index = status->applied_index,
    };
    log_set_position(daemon->log, &position);
}

/* ---- leaving ---- */

static void try_close(struct daemon *daemon);

static void clients_left_cb(void *context)
{
    struct daemon *daemon = context;
    daemon->clients_left = true;
    if (daemon->phase == DAEMON_LEAVING) {
        daemon_move(daemon, DAEMON_FINISHING);
        node_drain(daemon->node);
        uv_async_send(&daemon->wake);
    } else {
        try_close(daemon);
    }
}

/* A leader that leaves hands over first: the others then need no election, which would cost every
 * client of the cluster its time. Whether it works is nothing to wait for: if not, they elect. */
static void hand_over(struct daemon *daemon)
{
    struct node_cluster cluster;
    struct node_error error;
    node_cluster(daemon->node, &cluster);
    if (cluster.consensus.leads && cluster.peer_count > 1)
        (void)node_transfer_leadership(daemon->node, 0, &error);
}

static void leave(struct daemon *daemon, const char *reason)
{
    log_plain(daemon, EVENT_DRAINING, reason);
    hand_over(daemon);
    daemon_move(daemon, DAEMON_LEAVING);
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
    daemon_move(daemon, DAEMON_FINISHING);
    grpc_server_drain(daemon->grpc, 0, clients_left_cb, daemon); /* only shortens the grace */
    node_drain(daemon->node);
    uv_async_send(&daemon->wake);
}

static void guard_cb(uv_timer_t *guard)
{
    struct daemon *daemon = guard->data;
    log_plain(daemon, EVENT_STOP_HUNG, "the process did not end by itself and is ended now");
    _exit(daemon->exit_code != EXIT_STOPPED ? daemon->exit_code : EXIT_INTERNAL);
}

static void start_guard(struct daemon *daemon)
{
    uv_timer_start(&daemon->guard, guard_cb, GUARD_MS, 0);
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
    log_number(&line, "exit_code", (uint64_t)daemon->exit_code);
    log_end(daemon->log, &line);
    daemon_move(daemon, DAEMON_FAILING);
    start_guard(daemon);
    daemon->probe.stopping = true;
    health_stop(daemon->health);
    dispatch_set_ready(daemon->dispatch, false, "the node failed");
    if (!daemon->clients_left)
        grpc_server_drain(daemon->grpc, FAILING_GRACE_MS, clients_left_cb, daemon);
}

static void close_handles(struct daemon *daemon)
{
    daemon->handles_open = false;
    uv_close((uv_handle_t *)&daemon->wake, NULL);
    uv_close((uv_handle_t *)&daemon->turn, NULL);
    for (int i = 0; i < DAEMON_SIGNAL_COUNT; i++)
        uv_close((uv_handle_t *)&daemon->signals[i], NULL);
}

/* Its handles are given back: the loop may end. The memory goes with tear_down(). */
static void peers_closed_cb(void *context)
{
    (void)context;
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
    daemon_move(daemon, DAEMON_CLOSING);
    start_guard(daemon);
    grpc_server_destroy(daemon->grpc);
    daemon->grpc = NULL;
    daemon->probe.grpc = NULL;
    ops_http_stop(daemon->ops);
    daemon->ops = NULL;
    if (daemon->peers)
        peers_close(daemon->peers, peers_closed_cb, daemon);
    close_handles(daemon);
}

/* ---- the turn ---- */

static void turn_cb(uv_timer_t *timer);

void daemon_set_unready(struct daemon *daemon, const char *reason)
{
    struct node_status status;
    node_status(daemon->node, &status);
    bool witness = status.kind == MEMBER_WITNESS;
    dispatch_set_ready(daemon->dispatch, false,
                       witness ? "it is a witness and serves no clients; ask a data node" : reason);
}

static void begin_serving(struct daemon *daemon, const struct node_status *status)
{
    daemon_move(daemon, DAEMON_SERVING);
    if (status->kind == MEMBER_WITNESS)
        return; /* does its part, and has nothing for clients: they were told at the start */
    dispatch_set_ready(daemon->dispatch, true, NULL);
    health_set_serving(daemon->health, !daemon->drained);
}

/* The node was caught up by copies and opens them in place of its old files. */
static void pause_serving(struct daemon *daemon)
{
    daemon_move(daemon, DAEMON_REPLAYING);
    daemon_set_unready(daemon, "it was behind and opens the files it was sent");
    health_set_serving(daemon->health, false);
}

/* Load balancers and clients with health checks leave a drained site by themselves. */
static void follow_drained(struct daemon *daemon)
{
    const char *text = node_drained(daemon->node);
    const bool drained = text[0] != '\0';
    dispatch_set_drained(daemon->dispatch, text);
    if (drained == daemon->drained)
        return;
    daemon->drained = drained;
    struct log_line line;
    log_begin(&line, drained ? EVENT_SITE_DRAINED : EVENT_SITE_RESUMED);
    log_text(&line, "text", drained ? text : "the site serves clients again");
    log_end(daemon->log, &line);
    if (daemon->phase == DAEMON_SERVING)
        health_set_serving(daemon->health, !drained);
}

static void follow_node(struct daemon *daemon)
{
    struct node_status status;
    node_status(daemon->node, &status);
    daemon_log_position(daemon, &status);
    if (status.phase == NODE_FAILED && daemon->phase != DAEMON_FAILING)
        fail(daemon, &status);
    dispatch_set_leader(daemon->dispatch, status.leader_id);
    follow_drained(daemon);
    if (status.reopened_total != daemon->reopened_total) {
        daemon->reopened_total = status.reopened_total;
        dispatch_reopened(daemon->dispatch);
    }
    bool serves = status.phase == NODE_SERVING;
    if (serves && daemon->phase == DAEMON_REPLAYING)
        begin_serving(daemon, &status);
    else if (!serves && daemon->phase == DAEMON_SERVING && status.phase != NODE_FAILED)
        pause_serving(daemon);
    try_close(daemon);
}

/* One turn, and the next one's time. A turn that is wanted at once comes through the wake-up and
 * not by a timer of 0 ms: a timer that is due again goes off again before the loop looks at its
 * sockets (libuv 1.44), so that a replay, or reads that were put off, would keep everybody out. */
static void turn(struct daemon *daemon)
{
    if (daemon->phase == DAEMON_STARTING || daemon->phase == DAEMON_CLOSING)
        return;
    node_process(daemon->node);
    follow_node(daemon); /* first: reads of a state that was exchanged must not run */
    if (daemon->phase == DAEMON_CLOSING)
        return;
    bool reads_left = dispatch_process(daemon->dispatch); /* also those that just became ready */
    try_close(daemon);
    if (daemon->phase == DAEMON_CLOSING)
        return;
    uint64_t wait_ms = reads_left ? 0 : node_wait_ms(daemon->node);
    if (wait_ms > 0)
        uv_timer_start(&daemon->turn, turn_cb, wait_ms, 0);
    else
        uv_async_send(&daemon->wake); /* see above */
}

static void turn_cb(uv_timer_t *timer)
{
    turn(timer->data);
}

void daemon_wake_cb(uv_async_t *wake)
{
    turn(wake->data);
}

/* ---- signals ---- */

/* What the start refuses a reload refuses too. Another node's certificate would do its harm long
 * after: connections stay, and the next one to break never comes back. */
static enum status check_reload(const struct daemon *daemon, struct config_error *out_error)
{
    struct member self;
    enum status status = config_check_files(daemon->config, out_error);
    if (status == STATUS_OK && daemon->peers && daemon_self(daemon->config, &self))
        status = config_check_identity(daemon->config, self.node_id, out_error);
    return status;
}

static void reload(struct daemon *daemon)
{
    struct config_error config_error = {.text = ""};
    struct grpc_error error = {.text = ""};
    if (!daemon->grpc)
        return;
    struct net_error peers_error = {.text = ""};
    const char *refused = NULL;
    if (check_reload(daemon, &config_error) != STATUS_OK)
        refused = config_error.text;
    else if (daemon->signing.signer &&
             daemon_signing_reload(&daemon->signing, daemon->config->certificate,
                                   daemon->config->key, &peers_error) != STATUS_OK)
        refused = peers_error.text;
    else if (grpc_server_reload(daemon->grpc, &error) != STATUS_OK)
        refused = error.text;
    else if (daemon->peers && peers_reload_tls(daemon->peers, &peers_error) != STATUS_OK)
        refused = peers_error.text;
    log_plain(daemon, refused ? EVENT_CERTIFICATES_REFUSED : EVENT_CERTIFICATES_RELOADED, refused);
}

void daemon_signal_cb(uv_signal_t *handle, int number)
{
    struct daemon *daemon = handle->data;
    const char *name = number == SIGTERM ? "SIGTERM" : "SIGINT";
    if (number == SIGHUP) {
        reload(daemon);
        return;
    }
    if (daemon->phase == DAEMON_REPLAYING || daemon->phase == DAEMON_SERVING)
        leave(daemon, name);
    else
        hurry(daemon, name);
}

/* ---- the whole life ---- */

static void abandoned_cb(void *context)
{
    struct daemon *daemon = context;
    daemon->clients_left = true;
}

/* A start that failed half-way: closes what it has opened, ports included. */
static void abandon_start(struct daemon *daemon)
{
    if (!daemon->handles_open)
        return;
    start_guard(daemon);
    if (daemon->grpc) {
        daemon->probe.grpc = NULL;
        grpc_server_drain(daemon->grpc, 0, abandoned_cb, daemon);
        while (!daemon->clients_left)
            uv_run(&daemon->loop, UV_RUN_ONCE);
        grpc_server_destroy(daemon->grpc);
    }
    ops_http_stop(daemon->ops);
    if (daemon->peers)
        peers_close(daemon->peers, peers_closed_cb, daemon);
    close_handles(daemon);
    uv_run(&daemon->loop, UV_RUN_DEFAULT);
}

/* What daemon_run opened, in reverse, after the loop has ended. */
static void tear_down(struct daemon *daemon)
{
    dispatch_destroy(daemon->dispatch);
    health_destroy(daemon->health);
    reflection_destroy(daemon->reflection);
    peers_destroy(daemon->peers);
    daemon_signing_close(&daemon->signing);
    if (daemon->loop_open) {
        uv_close((uv_handle_t *)&daemon->guard, NULL);
        uv_run(&daemon->loop, UV_RUN_DEFAULT);
        int error = uv_loop_close(&daemon->loop);
        invariant_values(error == 0, error, 0);
    }
    metrics_destroy(daemon->metrics);
}

int daemon_run(const struct config *config, const char *config_file)
{
    struct daemon *daemon = calloc(1, sizeof *daemon);
    struct log *log = log_create(STDERR_FILENO, config->log_level);
    struct metrics *metrics = metrics_create();
    if (!daemon || !log || !metrics) {
        fprintf(stderr, "tallyd: out of memory\n");
        return EXIT_NO_RESOURCE;
    }
    daemon->config = config;
    daemon->config_file = config_file;
    daemon->log = log;
    daemon->metrics = metrics;
    daemon->probe = (struct probe){.log = log, .metrics = metrics, .started_ns = uv_hrtime()};

    struct log_line line;
    log_begin(&line, EVENT_STARTING);
    log_text(&line, "version", TALLY_VERSION);
    log_text(&line, "config", config_file);
    log_text(&line, "directory", config->directory);
    log_end(log, &line);

    if (daemon_start(daemon) == STATUS_OK)
        uv_run(&daemon->loop, UV_RUN_DEFAULT);
    else
        abandon_start(daemon);

    int exit_code = daemon->exit_code;
    /* A thread that hangs in the disk may come back at any moment and wake the loop, write the log
     * or hash a record: no memory is released under it, and no exit handler of a library runs. */
    if (daemon->node && !node_close(daemon->node))
        _exit(exit_code != EXIT_STOPPED ? exit_code : EXIT_DISK_FAILED);
    if (exit_code == EXIT_STOPPED)
        log_plain(daemon, EVENT_STOPPED, "everything is durable");
    tear_down(daemon);
    log_destroy(log);
    free(daemon);
    return exit_code;
}
