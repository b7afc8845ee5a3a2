/*
 * The orderly end: finish what was accepted, let another node lead, then a last epoch, then seal
 * the journal and end the threads. Where nobody leads, requests do not hold the drain up: after
 * DRAIN_WRITES_MS they are told that they are unknown, or were never sent. A leader that finds no
 * other in HAND_OVER_MS ends all the same: the others elect one. It is bounded by DRAIN_MS_MAX as a
 * whole: if the disk hangs, the node says so and fails instead of waiting for ever. A last epoch
 * that finds no room is left out: the journal holds everything. Entries that are committed but not
 * pulled when nobody waits any more stay in the journal, for the next start.
 */
#include "replication/node/node_internal.h"

#include "core/invariant.h"

#include <stdio.h>

#define NS_PER_MS 1000000ull

#define DRAIN_MS_MAX    60000
#define DRAIN_WRITES_MS 10000
#define HAND_OVER_MS    2000

/* Alone the disk decides, and DRAIN_MS_MAX; among others a majority that does not come. */
static bool writes_are_settled(struct node *node)
{
    const struct proposer *proposer = &node->proposer;
    if (proposer->waiting_count == 0 && proposer->in_flight_entries == 0 &&
        node->forward.sent_count == 0)
        return true;
    if (node->options.transport == NULL ||
        node_now_ns(node) - node->drain_started_ns < DRAIN_WRITES_MS * NS_PER_MS)
        return false;
    forward_abandon(&node->forward);
    proposer_abandon(&node->proposer);
    return true;
}

static bool is_alone(const struct node *node)
{
    struct consensus_peer peers[MEMBERS_MAX];
    return node->options.transport == NULL ||
           consensus_peers(node->consensus, peers, MEMBERS_MAX) <= 1;
}

static void begin_hand_over(struct node *node)
{
    node->drain_step = DRAIN_HAND_OVER;
    node_end_change(node, STATUS_STOPPING, "this node is being stopped; ask the next leader");
    node_end_site(node, STATUS_STOPPING, "this node is being stopped; ask the next leader");
    node->hand_over_ns = node_now_ns(node);
    if (!is_alone(node))
        (void)consensus_transfer(node->consensus,
                                 0); /* refused: somebody else leads, or nobody can */
}

static bool has_handed_over(const struct node *node)
{
    struct consensus_status consensus;
    consensus_status(node->consensus, &consensus);
    return is_alone(node) || !consensus.leads ||
           node_now_ns(node) - node->hand_over_ns >= HAND_OVER_MS * NS_PER_MS;
}

static bool checkpoint_is_settled(const struct node *node)
{
    if (node_is_witness(node) || epochs_are_settled(&node->epochs))
        return true;
    return epochs_full_count(&node->epochs) >= 2 && !epochs_are_flushing(&node->epochs);
}

bool node_jobs_have_ended(struct node *node)
{
    for (int job = 0; job < NODE_JOB_COUNT; job++)
        if (!worker_has_ended(&node->workers[job], NULL))
            return false;
    return true;
}

bool node_join_jobs(struct node *node, const char *what)
{
    for (int job = 0; job < NODE_JOB_COUNT; job++) {
        enum job_state state = JOB_DONE;
        invariant(worker_has_ended(&node->workers[job], &state));
        if (state == JOB_FAILED) {
            char text[256];
            snprintf(text, sizeof text, "the journal or the store failed while it was %s", what);
            node_fail(node, STATUS_IO, text);
            return false;
        }
        /* It has ended: only the thread's own last instructions are waited for. */
        (void)worker_join(&node->workers[job], NODE_JOIN_MS);
    }
    return true;
}

static const char *drain_step_text(enum drain_step step)
{
    switch (step) {
    case DRAIN_WRITES:
        return "entries in flight were not written";
    case DRAIN_HAND_OVER:
        return "leadership was not handed over";
    case DRAIN_CHECKPOINT:
        return "the last checkpoint was not finished (the journal holds everything)";
    case DRAIN_JOBS:
        return "the journal was not sealed or a thread did not end";
    }
    return "";
}

static void finish_drain(struct node *node)
{
    if (!node_join_jobs(node, "closed"))
        return;
    consensus_process(node->consensus); /* what the writer finished just before it ended */
    node_stop_transport(node);
    linear_reads_abandon(&node->reads, STATUS_STOPPING);
    node_move(node, NODE_STOPPED);
    notify_event(&node->notify, "node_stopped", "everything is durable", node->epochs.durable_index,
                 node_applied_index(node));
}

void node_process_drain(struct node *node)
{
    if (node->phase != NODE_DRAINING)
        return;
    if (node->drain_step == DRAIN_WRITES && writes_are_settled(node))
        begin_hand_over(node);
    if (node->drain_step == DRAIN_HAND_OVER && has_handed_over(node))
        node->drain_step = DRAIN_CHECKPOINT;
    if (node->drain_step == DRAIN_CHECKPOINT && checkpoint_is_settled(node)) {
        node->drain_step = DRAIN_JOBS;
        node_stop_jobs(node);
    }
    if (node->drain_step == DRAIN_JOBS && node_jobs_have_ended(node)) {
        finish_drain(node);
        return;
    }
    if (node_now_ns(node) - node->drain_started_ns < DRAIN_MS_MAX * NS_PER_MS)
        return;
    char text[256];
    snprintf(text, sizeof text, "draining did not end within %d s: %s; look at the disk",
             DRAIN_MS_MAX / 1000, drain_step_text(node->drain_step));
    node_fail(node, STATUS_IO, text);
}

void node_drain(struct node *node)
{
    invariant(node->phase != NODE_OPENING);
    if (node->reinstall_stops) {
        node->drain_wanted = true;
        return;
    }
    if (node->phase != NODE_REPLAYING && node->phase != NODE_SERVING &&
        node->phase != NODE_REINSTALLING)
        return;
    node_move(node, NODE_DRAINING);
    node->drain_step = DRAIN_WRITES;
    node->drain_started_ns = node_now_ns(node);
    notify_event(&node->notify, "node_draining", "refusing new requests, finishing the others",
                 node->proposer.waiting_count, node->proposer.in_flight_entries);
    node_ask_wake(node);
}
