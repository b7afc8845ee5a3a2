/*
 * A cluster in one process and one thread: nodes with manual jobs on a loopback network, all on one
 * virtual clock that moves a millisecond per turn. Nothing depends on real time.
 */
#ifndef TALLY_TESTS_REPLICATION_CLUSTER_H
#define TALLY_TESTS_REPLICATION_CLUSTER_H

#include "replication/node/node_cluster.h"
#include "tests/replication/loopback.h"
#include "tests/replication/pump.h"
#include "tests/replication/requests.h"

#define CLUSTER_NODES_MAX 5
/* Virtual time after which a wait has failed. */
#define CLUSTER_WAIT_MS 60000

struct cluster {
    struct loopback net;
    uint32_t count;
    struct pump pumps[CLUSTER_NODES_MAX]; /* node i + 1; node NULL when it is down */
    uint64_t now_ms;
    uint32_t clock_hold; /* bit i: the clock of node i + 1 does not turn it (SIGSTOP) */
};

/* The founder at site A serves; the others are added one by one: B, the witness at W, and for five
 * nodes A and B once more. All are voters and serve afterwards. */
void cluster_init(struct cluster *cluster, uint32_t count);
/* What is up is stopped in good order, or closed when it has failed. */
void cluster_deinit(struct cluster *cluster);

/* One millisecond: messages, every node's turn and jobs. */
void cluster_turn(struct cluster *cluster);
void cluster_turn_ms(struct cluster *cluster, uint64_t ms);
bool cluster_until(struct cluster *cluster, bool (*done)(void *context), void *context);

struct pump *cluster_pump(struct cluster *cluster, uint64_t id);
/* The process ends without another step: its disk fails from now on, then it is closed. What it
 * had synced stays. */
void cluster_kill(struct cluster *cluster, uint64_t id);
/* Opens and starts; does not wait. */
void cluster_start(struct cluster *cluster, uint64_t id);
/* The node that leads and may propose, according to itself and in the newest term; 0 = none. */
uint64_t cluster_leader(struct cluster *cluster);
/* Waits until somebody leads, and everybody who is up and not isolated serves. */
uint64_t cluster_settle(struct cluster *cluster);
/* Waits until somebody leads, whatever the others do. */
uint64_t cluster_settle_majority(struct cluster *cluster);
/* A data node that does not lead. */
uint64_t cluster_follower(struct cluster *cluster);
/* Everything committed is applied on all data nodes that are up; they have one digest. */
void cluster_converge(struct cluster *cluster);

#endif
