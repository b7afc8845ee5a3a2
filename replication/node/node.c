/*
 * The life of a node; its turn of the loop is in node_turn.c, its orderly end in node_drain.c.
 *
 *                 node_start            a recent index is applied (node_cluster.c)
 *     OPENING ──────────────> REPLAYING ──────────────────────────> SERVING
 *        │                     │     │                               │   │
 *        │ (never started:     │     └──────────node_drain──────┬────┘   │
 *        │  node_close)        │                                v        │
 *        │                     │                            DRAINING ──> STOPPED
 *        │                     │                                │        │
 *        └─────────────────────┴──────────── any failure ───────┴──> FAILED
 *
 * REINSTALLING (node_reinstall.c) is REPLAYING once more, on other files, in between: a node that
 * was caught up by a copy comes to SERVING through it, from REPLAYING or SERVING.
 *
 * Fail-stop: the first failure is kept and the phase becomes FAILED; at the end of the turn
 * everybody who waits is called back, in flight as "unknown outcome", because the entry may be in
 * the journal and count after a restart; never appended as "stopping". Nothing is applied or
 * answered as successful after that, and the process has to exit.
 */
#include "replication/node/node_internal.h"

#include "core/invariant.h"

#include <stdio.h>

uint64_t node_applied_index(const struct node *node)
{
    if (node->machine != NULL)
        return machine_applied_index(node->machine);
    if (node->consensus == NULL)
        return 0; /* between two generations of files */
    struct consensus_status consensus;
    consensus_status(node->consensus, &consensus);
    return consensus.consumed_index;
}

/* ---- phases ---- */

void node_move(struct node *node, enum node_phase next)
{
    static const bool allowed[NODE_REINSTALLING + 1][NODE_REINSTALLING + 1] = {
        [NODE_OPENING] = {[NODE_REPLAYING] = true, [NODE_FAILED] = true},
        [NODE_REPLAYING] = {[NODE_SERVING] = true,
                            [NODE_REINSTALLING] = true,
                            [NODE_DRAINING] = true,
                            [NODE_FAILED] = true},
        [NODE_SERVING] = {[NODE_REINSTALLING] = true, [NODE_DRAINING] = true, [NODE_FAILED] = true},
        [NODE_REINSTALLING] = {[NODE_SERVING] = true, [NODE_DRAINING] = true, [NODE_FAILED] = true},
        [NODE_DRAINING] = {[NODE_STOPPED] = true, [NODE_FAILED] = true},
    };
    invariant_values(allowed[node->phase][next], node->phase, next);
    node->phase = next;
}

void node_fail(void *context, enum status status, const char *text)
{
    struct node *node = context;
    if (node->phase == NODE_FAILED)
        return; /* the first failure is the cause of the others */
    node_move(node, NODE_FAILED);
    node->error.status = status;
    snprintf(node->error.text, sizeof node->error.text, "%s", text);
    notify_event(&node->notify, "fail_stop", node->error.text, status, node_applied_index(node));
}

void node_ask_wake(struct node *node)
{
    /* A turn under way looks again before it ends; otherwise one wake-up is enough. */
    if (node->processing || node->wake_asked)
        return;
    node->wake_asked = true;
    node->options.wake_loop(node->options.wake_context);
}

/* ---- start ---- */

void node_wake_jobs(struct node *node)
{
    for (int job = 0; job < NODE_JOB_COUNT; job++)
        worker_wake(&node->workers[job]);
}

static enum status start_threads(struct node *node)
{
    for (int job = 0; job < NODE_JOB_COUNT && !node->environment->manual_jobs; job++)
        if (worker_start(&node->workers[job]) != STATUS_OK) {
            node_fail(node, STATUS_NO_MEMORY,
                      "the system refuses a thread: raise the limit on processes of this user");
            return STATUS_NO_MEMORY;
        }
    node_wake_jobs(node);
    return STATUS_OK;
}

enum status node_start_parts(struct node *node)
{
    enum status status = start_threads(node);
    if (status != STATUS_OK)
        return status;
    disk_guard_start(&node->guard);
    if (!node_is_witness(node))
        epochs_start(&node->epochs);
    node->replay_started_ns = node->turned_ns = node->resumed_ns = node_now_ns(node);
    notify_event(&node->notify, "node_replay_started",
                 "applying the journal's entries behind the checkpoint", node->replay_first,
                 node->replay_last);
    status = consensus_start(node->consensus);
    if (status != STATUS_OK) {
        char text[256];
        snprintf(text, sizeof text,
                 "the node could not begin to take part (%s): the hard state could not be written, "
                 "or the journal not be read; repair the disk first",
                 status_text(status));
        node_fail(node, status, text);
        return status;
    }
    status = node_start_transport(node);
    if (status != STATUS_OK) {
        char text[256];
        snprintf(text, sizeof text,
                 "the address for the other nodes cannot be used (%s): is another process there?",
                 status_text(status));
        node_fail(node, status, text);
    }
    return status;
}

enum status node_start(struct node *node, struct node_error *out_error)
{
    invariant(!node->started);
    *out_error = (struct node_error){0};
    node->started = true;
    node_move(node, NODE_REPLAYING);
    enum status status = node_start_parts(node);
    if (status != STATUS_OK) {
        *out_error = node->error;
        return status;
    }
    node_ask_wake(node);
    return STATUS_OK;
}

void node_stop_jobs(struct node *node)
{
    consensus_stop(node->consensus);
    journal_stop(node->journal);
    if (node->store != NULL)
        checkpoint_stop(node->store);
    if (node->catch_up != NULL)
        catch_up_stop(node->catch_up);
    certificates_stop(&node->certificates);
    floor_file_stop(&node->floors);
    node->jobs_stop = true;
    node_wake_jobs(node);
}

void node_abandon(struct node *node)
{
    if (node->abandoned)
        return;
    node->abandoned = true;
    epochs_stop(&node->epochs);
    node_stop_transport(node);
    node_end_change(node, STATUS_STOPPING, "this node has failed; ask the leader");
    node_end_site(node, STATUS_STOPPING, "this node has failed; ask the leader");
    forward_abandon(&node->forward);
    proposer_abandon(&node->proposer);
    durability_waits_end(&node->both_waits);
    linear_reads_abandon(&node->reads, STATUS_STOPPING);
}

/* ---- requests ---- */

enum status node_propose(struct node *node, struct node_request *request)
{
    switch (node->phase) {
    case NODE_OPENING:
    case NODE_REPLAYING:
        return STATUS_NOT_READY;
    case NODE_DRAINING:
    case NODE_STOPPED:
    case NODE_FAILED:
        return STATUS_STOPPING;
    case NODE_SERVING:
    case NODE_REINSTALLING:
        break;
    }
    if (node_is_witness(node))
        return STATUS_NOT_READY;
    if (node->may_propose && node_refuses_writes(node))
        return STATUS_READ_ONLY;
    if (node_is_leaderless(node))
        return STATUS_NOT_READY;
    enum status status = node_judge_both(node, request);
    if (status != STATUS_OK)
        return status;
    status = STATUS_BUSY;
    bool held = node->may_propose && (node_is_stuck(node) || proposer_is_holding(&node->proposer));
    request->served = false;
    request->on_both = false;
    if (!held)
        status = proposer_add(&node->proposer, request);
    if (status == STATUS_BUSY)
        node->refused_busy_total++;
    if (status == STATUS_OK)
        node_ask_wake(node);
    return status;
}

enum status node_read(struct node *node, struct node_read *read)
{
    switch (node->phase) {
    case NODE_OPENING:
    case NODE_REPLAYING:
    case NODE_REINSTALLING:
        return STATUS_NOT_READY;
    case NODE_STOPPED:
    case NODE_FAILED:
        return STATUS_STOPPING;
    case NODE_SERVING:
    case NODE_DRAINING:
        break;
    }
    if (node_is_witness(node))
        return STATUS_NOT_READY;
    enum status status = linear_reads_add(&node->reads, read);
    if (status == STATUS_OK)
        node_ask_wake(node);
    return status;
}

void node_read_cancel(struct node *node, struct node_read *read)
{
    linear_reads_cancel(&node->reads, read);
}

const struct machine *node_machine(const struct node *node)
{
    return node->machine;
}

/* ---- jobs by hand, and the end ---- */

bool node_job_is_woken(struct node *node, enum node_job job)
{
    invariant(node->started);
    invariant(node->environment->manual_jobs);
    return worker_is_woken(&node->workers[job]);
}

enum job_state node_job_step(struct node *node, enum node_job job, uint64_t *out_wait_ns)
{
    invariant(node->started);
    invariant(node->environment->manual_jobs);
    return worker_step(&node->workers[job], out_wait_ns);
}

/* True when the thread is gone, or (manual jobs, or a thread that the system refused) when the job
 * has come to its end. */
static bool end_job(struct node *node, enum node_job job)
{
    struct worker *worker = &node->workers[job];
    if (worker->started)
        return worker_join(worker, NODE_JOIN_MS);
    for (int step = 0; step < 1000 && !worker_has_ended(worker, NULL); step++) {
        uint64_t wait_ns;
        (void)worker_step(worker, &wait_ns); /* its end is what we look at */
    }
    return worker_has_ended(worker, NULL);
}

bool node_close(struct node *node)
{
    bool stopped = node->phase == NODE_STOPPED;
    if (!stopped && node->phase != NODE_OPENING)
        invariant_values(node->phase == NODE_FAILED, node->phase, 0);
    if (node->phase == NODE_FAILED)
        node_abandon(node);
    if (node->phase == NODE_FAILED && node->started && node->opened > OPENED_QUEUES) {
        node_stop_jobs(node);
        bool hung = false;
        for (int job = 0; job < NODE_JOB_COUNT; job++) {
            if (end_job(node, (enum node_job)job))
                continue;
            hung = true;
            notify_event(
                &node->notify, "stop_hung",
                "a thread does not come back from the disk; its memory is left to the exit",
                (uint64_t)job, 0);
        }
        if (hung)
            return false;
        consensus_process(node->consensus); /* last callbacks: they only take note */
        if (node->store != NULL)
            checkpoint_process(node->store);
    }
    node_release(node);
    return true;
}
