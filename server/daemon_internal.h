/* The daemon as one value, shared by its life (daemon.c) and its start (daemon_start.c) alone. */
#ifndef TALLY_SERVER_DAEMON_INTERNAL_H
#define TALLY_SERVER_DAEMON_INTERNAL_H

#include "replication/node/node.h"
#include "replication/node/node_cluster.h"
#include "replication/peers/peers.h"
#include "server/config.h"
#include "server/daemon.h"
#include "server/daemon_signing.h"
#include "server/dispatch.h"
#include "server/health_service.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/ops_http.h"
#include "server/ports_file.h"
#include "server/probe.h"
#include "server/reflection.h"

#include <uv.h>

#ifndef TALLY_VERSION
#define TALLY_VERSION "unversioned"
#endif

/* SIGTERM, SIGINT, SIGHUP */
#define DAEMON_SIGNAL_COUNT 3

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
    bool loop_open; /* with all handles below in it */
    struct ops_http *ops;
    struct grpc_server *grpc;
    bool clients_left;             /* the drain of grpc has called back */
    struct peers *peers;           /* NULL: no peer.listen */
    struct daemon_signing signing; /* outlives the node */
    struct node *node;
    uint64_t reopened_total; /* of the node, as of the last turn */
    bool drained;            /* the node's site is */
    struct dispatch *dispatch;
    struct health *health;
    struct reflection *reflection;
    struct probe probe;
    struct ports ports;

    uv_async_t wake;
    uv_timer_t turn;
    uv_timer_t guard; /* ends the process when leaving takes too long; does not hold the loop */
    uv_signal_t signals[DAEMON_SIGNAL_COUNT];
    bool handles_open;
};

/* Moves along an arrow of the drawing in daemon.c (invariant). */
void daemon_move(struct daemon *daemon, enum daemon_phase next);

/* What the lines of the log say about the node from now on. */
void daemon_log_position(struct daemon *daemon, const struct node_status *status);

/* Who the data directory says that the node is; false when it cannot be read. */
bool daemon_self(const struct config *config, struct member *out);

/* Clients' calls are refused with this reason, or, at a witness, with that of all witnesses. */
void daemon_set_unready(struct daemon *daemon, const char *reason);

/* Callbacks of the handles that the start opens. */
void daemon_wake_cb(uv_async_t *wake);
void daemon_signal_cb(uv_signal_t *handle, int number);

/* Starts everything, in the order told in daemon.c; what failed is reported and daemon->exit_code
 * set. */
enum status daemon_start(struct daemon *daemon);

#endif
