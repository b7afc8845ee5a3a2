/*
 * The orderly end: finish what was accepted, then a last epoch, then seal the journal and end the
 * threads. It is bounded by DRAIN_MS_MAX as a whole: if the disk hangs, the node says so and fails
 * instead of waiting for ever. A last epoch that finds no room is left out: the journal holds
 * everything. Entries that are committed but not pulled when nobody waits any more stay in the
 * journal, for the next start.
 */
#include "replication/node_internal.h"

#include "core/invariant.h"

#include <stdio.h>

#define NS_PER_MS 1000000ull

#define DRAIN_MS_MAX 60000

static bool writes_are_settled(const struct node *node)
{
    return node->proposer.waiting_count == 0 && node->proposer.in_flight_entries == 0;
}

static bool checkpoint_is_settled(const struct node *node)
{
    if (epochs_are_settled(&node->epochs))
        return true;
    return epochs_full_count(&node->epochs) >= 2 && !epochs_are_flushing(&node->epochs);
}

static bool jobs_have_ended(struct node *node)
{
    for (int job = 0; job < NODE_JOB_COUNT; job++)
        if (!worker_has_ended(&node->workers[job], NULL))
            return false;
    return true;
}

static const char *drain_step_text(enum drain_step step)
{
    switch (step) {
    case DRAIN_WRITES:
        return "entries in flight were not written";
    case DRAIN_CHECKPOINT:
        return "the last checkpoint was not finished (the journal holds everything)";
    case DRAIN_JOBS:
        return "the journal was not sealed or a thread did not end";
    }
    return "";
}

static void finish_drain(struct node *node)
{
    for (int job = 0; job < NODE_JOB_COUNT; job++) {
        enum job_state state = JOB_DONE;
        invariant(worker_has_ended(&node->workers[job], &state));
        if (state == JOB_FAILED) {
            node_fail(node, STATUS_IO, "the journal or the store failed while it was closed");
            return;
        }
        /* It has ended: only the thread's own last instructions are waited for. */
        (void)worker_join(&node->workers[job], NODE_JOIN_MS);
    }
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
        node->drain_step = DRAIN_CHECKPOINT;
    if (node->drain_step == DRAIN_CHECKPOINT && checkpoint_is_settled(node)) {
        node->drain_step = DRAIN_JOBS;
        node_stop_jobs(node);
    }
    if (node->drain_step == DRAIN_JOBS && jobs_have_ended(node)) {
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
    if (node->phase != NODE_REPLAYING && node->phase != NODE_SERVING)
        return;
    node_move(node, NODE_DRAINING);
    node->drain_step = DRAIN_WRITES;
    node->drain_started_ns = node_now_ns(node);
    notify_event(&node->notify, "node_draining", "refusing new requests, finishing the others",
                 node->proposer.waiting_count, node->proposer.in_flight_entries);
    node_ask_wake(node);
}
