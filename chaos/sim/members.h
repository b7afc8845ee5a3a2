/*
 * The operator: brings new nodes into the cluster and replaces wiped ones, one at a time, asking
 * whoever leads and repeating the command until it is done, as the command line tells people to.
 */
#ifndef TALLY_CHAOS_SIM_MEMBERS_H
#define TALLY_CHAOS_SIM_MEMBERS_H

#include "chaos/sim/host.h"
#include "replication/node/node_cluster.h"

#define MEMBERS_TASKS_MAX 16

struct members_task {
    uint32_t host;   /* whose node is to become a voter */
    uint64_t old_id; /* to be removed afterwards; 0: none */
};

struct members_call; /* a command that a node has taken */

struct members {
    /* ---- filled in before members_start ---- */
    struct world *world;
    struct host *hosts;
    uint32_t host_count;
    uint8_t cluster_id[16];
    /* ---- ours ---- */
    struct draw draw;
    uint64_t next_node_id;
    struct members_task tasks[MEMBERS_TASKS_MAX]; /* a ring */
    uint32_t task_first, task_count;
    struct members_call *call;
    uint64_t done_total, refused_total;
    char last_refusal[256];
};

void members_start(struct members *members);
void members_deinit(struct members *members);
/* Makes a joiner's directory at a host that has none, starts it, and asks to add it. */
void members_add(struct members *members, uint32_t host);
/* The disk of `host` is lost: a new one, a new node id, and the old id is to go. False: the
 * operator has enough to do. */
bool members_replace(struct members *members, uint32_t host);
bool members_are_idle(const struct members *members);

#endif
