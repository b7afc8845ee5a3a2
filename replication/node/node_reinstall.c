/*
 * Changing over to files that were built beside ours (catch_up.h), inside the same process:
 *
 *     ready ──► requests and reads let go of the old parts; transport and jobs end
 *           ──► the jobs have ended: may the copy take our place? (catch_up_take)
 *           ──► everything closed ──► `current` replaced, or not ──► everything opened as at a
 * start
 *
 * Requests outlive it: what was proposed or sent waits again, uncertain, and goes to the leader
 * when one is known. Reads are refused, at once: the state they asked for is about to be another
 * one. Identity, lock and hard state stay where they are: term and vote are the node's, not the
 * files'.
 *
 * From "closed" to "opened" nothing else runs: no turn, no message. A node that cannot open what it
 * then finds has failed, like one that cannot start.
 */
#include "core/invariant.h"
#include "replication/node/node_internal.h"

#include <stdio.h>

#define NS_PER_MS 1000000ull

/* The writer's and flusher's last steps; a disk that takes longer hangs. */
#define REINSTALL_STOP_MS_MAX 60000

void node_begin_reinstall(struct node *node)
{
    node->reinstall_wanted = false;
    if (node->phase != NODE_REPLAYING && node->phase != NODE_SERVING &&
        node->phase != NODE_REINSTALLING)
        return; /* draining: the next start is offered a copy again */
    if (node->phase != NODE_REINSTALLING)
        node_move(node, NODE_REINSTALLING);
    node->reinstall_stops = true;
    node->reinstall_started_ns = node_now_ns(node);
    notify_event(&node->notify, "node_reinstalling",
                 "a copy of the ledger is complete: this node changes over to it",
                 node_applied_index(node), 0);
    node_end_change(node, STATUS_NOT_READY, "this node changes over to a copy; ask the leader");
    node_end_site(node, STATUS_NOT_READY, "this node changes over to a copy; ask the leader");
    proposer_end_term(&node->proposer);
    node->led_term = 0;
    node->may_propose = false;
    epochs_stop(&node->epochs);
    node_stop_transport(node);
    linear_reads_abandon(&node->reads, STATUS_NOT_READY);
    node->opening_read_ok = false;
    node_stop_jobs(node);
}

/* Nothing of the old generation runs any more. */
static void change_over(struct node *node)
{
    struct catch_up_install install;
    bool taken = catch_up_take(node->catch_up, &install);
    node_close_generation(node);
    if (taken) {
        enum status status =
            catch_up_switch(node->environment, &node->files, node->options.directory, &install);
        if (status != STATUS_OK)
            notify_event(&node->notify, "reinstall_failed",
                         "the copy could not take the place of the files in use", status, 0);
    }
    struct node_error error = {0};
    enum status status = node_open_generation(node, &error);
    if (status != STATUS_OK) {
        node_close_generation(node);
        node_fail(node, status, error.text);
        return;
    }
    node->reopened_total++;
    node->reinstall_stops = false;
    if (node_start_parts(node) != STATUS_OK)
        return;
    /* Told only if it is what we opened. */
    if (taken && node->generation.journal == install.to.journal)
        catch_up_installed(node->catch_up, &install);
    if (!node->drain_wanted)
        return;
    node->drain_wanted = false;
    node_drain(node);
}

void node_process_reinstall(struct node *node)
{
    invariant(node->phase == NODE_REINSTALLING);
    proposer_expire(&node->proposer, STATUS_NOT_READY);
    durability_waits_process(&node->both_waits, 0, node_now_ns(node)); /* nothing is measured now */
    if (!node_jobs_have_ended(node)) {
        uint64_t spent_ms = (node_now_ns(node) - node->reinstall_started_ns) / NS_PER_MS;
        if (spent_ms >= REINSTALL_STOP_MS_MAX)
            node_fail(node, STATUS_IO,
                      "the journal or the store did not end, to be replaced by a copy; look at the "
                      "disk before the next start");
        return;
    }
    if (!node_join_jobs(node, "left for a copy"))
        return;
    consensus_process(node->consensus); /* last callbacks: they only take note */
    if (node->phase != NODE_FAILED)
        change_over(node);
}
