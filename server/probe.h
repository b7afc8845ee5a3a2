/*
 * What the node says about itself: liveness, readiness with reasons, metrics, and the status
 * document of GET /status and Admin.GetStatus. Reads from everybody, owns nothing. Loop thread.
 */
#ifndef TALLY_SERVER_PROBE_H
#define TALLY_SERVER_PROBE_H

#include "server/dispatch.h"
#include "server/grpc.h"
#include "server/health_service.h"
#include "server/log.h"
#include "server/metrics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where the answers come from; what does not exist yet is NULL. */
struct probe {
    const struct node *node;
    const struct peers *peers; /* NULL without peer.listen, too */
    const struct grpc_server *grpc;
    const struct dispatch *dispatch;
    const struct health *health;
    const struct log *log;
    const struct metrics *metrics;
    bool stopping;
    uint64_t started_ns; /* uv_hrtime() */
};

/* One thing that is looked at. */
struct probe_check {
    const char *name; /* "node", "process", "leader", "writes", "site" */
    bool passed;
    char text[640]; /* why not; or, when passed, a remark, often empty */
};
#define PROBE_CHECK_COUNT 5

/* Fills all checks; true when the node answers requests (a witness: when it does its part). A node
 * that follows is ready, and so is one that is read-only (reads and repeats are answered; it says
 * so in a remark); one that has heard of no leader for longer than an election takes is not. */
bool probe_ready(const struct probe *probe, struct probe_check out[PROBE_CHECK_COUNT]);

/* Text to be freed by the caller; NULL without memory. */
char *probe_status_json(const struct probe *probe);
char *probe_metrics(const struct probe *probe, size_t *out_size);

const char *node_phase_name(enum node_phase phase);

#endif
