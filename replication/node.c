/*
 * The life of a node and its turn of the loop.
 *
 *                 node_start            replayed, barrier of the term applied
 *     OPENING ──────────────> REPLAYING ──────────────────────────> SERVING
 *        │                     │     │                               │   │
 *        │ (never started:     │     └──────────node_drain──────┬────┘   │
 *        │  node_close)        │                                v        │
 *        │                     │                            DRAINING ──> STOPPED
 *        │                     │                                │        │
 *        └─────────────────────┴──────────── any failure ───────┴──> FAILED
 *
 * node_process() is one turn: consensus (finished appends commit and are applied, their answers go
 * out), checkpoint, replay or proposals, reads, drain. Every part bounds its own work, and nothing
 * in a turn waits for a disk: the jobs do. (Exceptions, each a few ms and rare: the hard state of a
 * new term, unlinking pruned segments, the reserve.)
 *
 * Fail-stop: the first failure is kept and the phase becomes FAILED; at the end of the turn
 * everybody who waits is called back, in flight as "unknown outcome", because the entry may be in
 * the journal and count after a restart; never appended as "stopping". Nothing is applied or
 * answered as successful after that, and the process has to exit.
 *
 * Drain: finish what was accepted, then a last epoch, then seal the journal and end the threads.
 * It is bounded by DRAIN_MS_MAX as a whole: if the disk hangs, the node says so and fails instead
 * of waiting for ever. A last epoch that finds no room is left out: the journal holds everything.
 */
#include "replication/node_internal.h"

#include "core/invariant.h"

#include <inttypes.h>
#include <stdio.h>

#define NS_PER_MS 1000000ull

/* Oldest journal write above which nothing is proposed, and above which the process gives up. */
#define DISK_STUCK_MS      500
#define DISK_STUCK_FAIL_MS 30000
#define DRAIN_MS_MAX       60000
/* Threads of a failed node get this long to end before their memory is left to the exit. */
#define CLOSE_JOIN_MS 5000
/* Ledger time this far ahead of the wall clock is reported. */
#define CLOCK_BEHIND_NS (500 * NS_PER_MS)
/* Longest sleep between turns. After a pause much longer than that the process itself was stopped
 * (SIGSTOP, a paused machine), and the disk had no chance to show that it works. */
#define WAIT_MS_MAX  1000
#define PAUSE_MS_MIN 5000
/* Sleep while something is waited for that does not wake the loop. */
#define WAIT_MS_RETRY 5

static uint64_t now_ns(const struct node *node)
{
    return node->environment->monotonic_ns(node->environment->context);
}

/* ---- phases ---- */

void node_move(struct node *node, enum node_phase next)
{
    static const bool allowed[NODE_FAILED + 1][NODE_FAILED + 1] = {
        [NODE_OPENING] = {[NODE_REPLAYING] = true, [NODE_FAILED] = true},
        [NODE_REPLAYING] = {[NODE_SERVING] = true, [NODE_DRAINING] = true, [NODE_FAILED] = true},
        [NODE_SERVING] = {[NODE_DRAINING] = true, [NODE_FAILED] = true},
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
    notify_event(&node->notify, "fail_stop", node->error.text, status,
                 machine_applied_index(node->machine));
}

static void ask_wake(struct node *node)
{
    /* A turn under way looks again before it ends; otherwise one wake-up is enough. */
    if (node->processing || node->wake_asked)
        return;
    node->wake_asked = true;
    node->options.wake_loop(node->options.wake_context);
}

/* ---- start ---- */

static void wake_all(struct node *node)
{
    for (int job = 0; job < NODE_JOB_COUNT; job++)
        worker_wake(&node->workers[job]);
}

enum status node_start(struct node *node, struct node_error *out_error)
{
    invariant(!node->started);
    *out_error = (struct node_error){0};
    node->started = true;
    node_move(node, NODE_REPLAYING);
    for (int job = 0; job < NODE_JOB_COUNT && !node->environment->manual_jobs; job++) {
        if (worker_start(&node->workers[job]) == STATUS_OK)
            continue;
        node_fail(node, STATUS_NO_MEMORY,
                  "the system refuses a thread: raise the limit on processes of this user");
        *out_error = node->error;
        return STATUS_NO_MEMORY;
    }
    wake_all(node);
    disk_guard_start(&node->guard);
    epochs_start(&node->epochs);
    node->replay_started_ns = node->turned_ns = node->resumed_ns = now_ns(node);
    notify_event(&node->notify, "node_replay_started",
                 "applying the journal's entries behind the checkpoint", node->replay.first,
                 node->replay.last);
    ask_wake(node);
    return STATUS_OK;
}

/* ---- parts of a turn ---- */

static bool is_stuck(const struct node *node)
{
    return journal_write_age_ns(node->journal) > DISK_STUCK_MS * NS_PER_MS;
}

/* Time in which nothing turned is nobody's fault: patience with the disk begins anew. */
static void watch_pauses(struct node *node)
{
    uint64_t now = now_ns(node);
    uint64_t pause = now - node->turned_ns;
    node->turned_ns = now;
    if (pause < PAUSE_MS_MIN * NS_PER_MS)
        return;
    node->resumed_ns = now;
    node->drain_started_ns += pause;
}

static void watch_journal_age(struct node *node)
{
    uint64_t age_ms = journal_write_age_ns(node->journal) / NS_PER_MS;
    uint64_t turning_ms = (node->turned_ns - node->resumed_ns) / NS_PER_MS;
    bool stuck = age_ms > DISK_STUCK_MS;
    if (age_ms > DISK_STUCK_FAIL_MS && turning_ms > DISK_STUCK_FAIL_MS) {
        char text[256];
        snprintf(text, sizeof text,
                 "the disk has not finished a journal write for %" PRIu64
                 " s; look at the disk before the next start",
                 age_ms / 1000);
        node_fail(node, STATUS_IO, text);
        return;
    }
    if (stuck == node->stuck_reported)
        return;
    node->stuck_reported = stuck;
    notify_event(&node->notify, stuck ? "disk_stuck" : "disk_answers",
                 stuck ? "a journal write takes unusually long: nothing more is proposed"
                       : "journal writes are being finished again",
                 age_ms, 0);
}

/* A job that ends by itself has failed. Mostly a callback has said why before we get here. */
static void watch_jobs(struct node *node)
{
    if (node->phase == NODE_DRAINING && node->drain_step == DRAIN_JOBS)
        return;
    static const char *const texts[NODE_JOB_COUNT] = {
        [NODE_JOB_WRITER] = "the journal's writer stopped",
        [NODE_JOB_PREPARER] = "a further journal segment could not be prepared",
        [NODE_JOB_FLUSHER] = "the store's flusher stopped",
    };
    for (int job = 0; job < NODE_JOB_COUNT; job++) {
        if (!worker_has_ended(&node->workers[job], NULL))
            continue;
        enum status status = journal_failure(node->journal);
        if (status == STATUS_OK)
            status = STATUS_IO;
        char text[256];
        snprintf(text, sizeof text, "%s (%s); look at the disk before the next start", texts[job],
                 status_text(status));
        node_fail(node, status, text);
        return;
    }
}

static uint64_t clock_behind_ns(const struct node *node)
{
    uint64_t wall = node->environment->wall_ns(node->environment->context);
    uint64_t stamp = machine_stamp(node->machine);
    return stamp > wall ? stamp - wall : 0;
}

static void watch_clock(struct node *node)
{
    uint64_t behind = clock_behind_ns(node);
    bool report = behind > CLOCK_BEHIND_NS;
    if (report && !node->clock_reported)
        notify_event(&node->notify, "clock_behind",
                     "the wall clock is behind ledger time: stamps go on by one; check the clock",
                     behind, 0);
    node->clock_reported = report;
}

/* Replayed: take part in consensus. */
static void start_consensus(struct node *node)
{
    uint64_t applied = machine_applied_index(node->machine);
    uint64_t count = node->replay.last + 1 - node->replay.first;
    notify_event(&node->notify, "node_replay_done", "the journal is applied", count,
                 (now_ns(node) - node->replay_started_ns) / NS_PER_MS);
    enum status status = consensus_start(node->consensus, applied);
    if (status != STATUS_OK) {
        node_fail(node, status,
                  "the hard state of a new term could not be written; repair the disk first");
        return;
    }
    node->consensus_started = true;
}

static void process_start(struct node *node)
{
    if (!node->consensus_started) {
        enum replay_state state = replay_process(&node->replay);
        node->replay_waits = state == REPLAY_WAITS;
        if (state == REPLAY_DONE)
            start_consensus(node);
        return;
    }
    struct consensus_status consensus;
    consensus_status(node->consensus, &consensus);
    if (!consensus.ready)
        return;
    proposer_set_stamp(&node->proposer, machine_stamp(node->machine));
    node_move(node, NODE_SERVING);
    notify_event(&node->notify, "node_serving", "requests are taken", consensus.term,
                 consensus.commit_index);
}

static bool serves_writes(const struct node *node)
{
    return node->phase == NODE_SERVING || node->phase == NODE_DRAINING;
}

static void process_writes(struct node *node)
{
    if (!serves_writes(node))
        return;
    if (disk_guard_read_only(&node->guard))
        proposer_refuse_waiting(&node->proposer, STATUS_READ_ONLY);
    proposer_process(&node->proposer, is_stuck(node));
}

/* ---- drain ---- */

static bool writes_are_settled(const struct node *node)
{
    if (node->proposer.waiting_count > 0 || node->proposer.in_flight_entries > 0)
        return false;
    struct journal_position position;
    journal_position(node->journal, &position);
    struct consensus_status consensus;
    consensus_status(node->consensus, &consensus);
    return !node->consensus_started || consensus.commit_index == position.last_index;
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

static void stop_jobs(struct node *node)
{
    consensus_stop(node->consensus);
    journal_stop(node->journal);
    checkpoint_stop(node->store);
    wake_all(node);
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
        (void)worker_join(&node->workers[job], CLOSE_JOIN_MS);
    }
    consensus_process(node->consensus); /* what the writer finished just before it ended */
    linear_reads_abandon(&node->reads, STATUS_STOPPING);
    node_move(node, NODE_STOPPED);
    notify_event(&node->notify, "node_stopped", "everything is durable", node->epochs.durable_index,
                 machine_applied_index(node->machine));
}

static void process_drain(struct node *node)
{
    if (node->phase != NODE_DRAINING)
        return;
    if (node->drain_step == DRAIN_WRITES && writes_are_settled(node))
        node->drain_step = DRAIN_CHECKPOINT;
    if (node->drain_step == DRAIN_CHECKPOINT && checkpoint_is_settled(node)) {
        node->drain_step = DRAIN_JOBS;
        stop_jobs(node);
    }
    if (node->drain_step == DRAIN_JOBS && jobs_have_ended(node)) {
        finish_drain(node);
        return;
    }
    if (now_ns(node) - node->drain_started_ns < DRAIN_MS_MAX * NS_PER_MS)
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
    if (node->phase == NODE_REPLAYING && node->consensus_started)
        proposer_set_stamp(&node->proposer, machine_stamp(node->machine));
    node_move(node, NODE_DRAINING);
    node->drain_step = DRAIN_WRITES;
    node->drain_started_ns = now_ns(node);
    notify_event(&node->notify, "node_draining", "refusing new requests, finishing the others",
                 node->proposer.waiting_count, node->proposer.in_flight_entries);
    ask_wake(node);
}

/* ---- the turn ---- */

static bool room_is_wanted(const struct node *node)
{
    return node->proposer.room_wanted || node->replay_waits ||
           (node->phase == NODE_DRAINING && node->drain_step == DRAIN_CHECKPOINT);
}

static void abandon_all(struct node *node)
{
    if (node->abandoned)
        return;
    node->abandoned = true;
    proposer_abandon(&node->proposer);
    linear_reads_abandon(&node->reads, STATUS_STOPPING);
}

/* The parts in their order; ends early when one of them failed. */
static void turn(struct node *node)
{
    bool jobs_are_ending = node->phase == NODE_DRAINING && node->drain_step == DRAIN_JOBS;
    watch_pauses(node);
    linear_reads_begin(&node->reads);
    consensus_process(node->consensus);
    if (node->phase == NODE_FAILED)
        return;
    disk_guard_process(&node->guard);
    watch_journal_age(node);
    if (node->phase == NODE_FAILED)
        return;
    if (!jobs_are_ending)
        epochs_process(&node->epochs, room_is_wanted(node));
    if (node->phase != NODE_FAILED)
        watch_jobs(node);
    if (node->phase == NODE_FAILED)
        return;
    if (node->phase == NODE_REPLAYING)
        process_start(node);
    process_writes(node);
    if (node->phase == NODE_FAILED)
        return;
    linear_reads_finish(&node->reads, machine_applied_index(node->machine));
    watch_clock(node);
    process_drain(node);
}

/* Whether another turn right now would get further without any event from outside. */
static bool has_work(const struct node *node)
{
    if (node->phase == NODE_REPLAYING && !node->consensus_started)
        return !node->replay_waits || node->epochs.frozen == NULL;
    if (!serves_writes(node))
        return false;
    if (node->reads.arrived.count > 0)
        return true;
    const struct proposer *proposer = &node->proposer;
    if (proposer->waiting_count > 0 && proposer->free_first != NULL && !proposer->room_wanted &&
        !proposer->journal_refused && !is_stuck(node) && !proposer_is_holding(proposer))
        return true;
    return proposer->room_wanted && node->epochs.frozen == NULL &&
           !epochs_are_settled(&node->epochs);
}

void node_process(struct node *node)
{
    invariant(!node->processing);
    if (node->phase == NODE_OPENING || node->phase == NODE_STOPPED)
        return;
    node->processing = true;
    node->wake_asked = false;
    if (node->phase != NODE_FAILED)
        turn(node);
    if (node->phase == NODE_FAILED)
        abandon_all(node);
    node->processing = false;
    if (has_work(node))
        ask_wake(node);
}

static uint64_t until_ms(uint64_t at_ns, uint64_t now)
{
    if (at_ns <= now)
        return 0;
    uint64_t ms = (at_ns - now + NS_PER_MS - 1) / NS_PER_MS;
    return ms < WAIT_MS_MAX ? ms : WAIT_MS_MAX;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t node_wait_ms(const struct node *node)
{
    if (node->phase == NODE_OPENING || node->phase == NODE_STOPPED)
        return WAIT_MS_MAX;
    if (node->phase == NODE_FAILED)
        return node->abandoned ? WAIT_MS_MAX : 0;
    if (has_work(node))
        return 0;
    uint64_t now = now_ns(node);
    uint64_t wait = until_ms(node->guard.next_check_ns, now);
    wait = earlier(wait, until_ms(epochs_next_ns(&node->epochs), now));
    wait = earlier(wait, until_ms(linear_reads_deadline_ns(&node->reads), now));
    if (node->proposer.in_flight_entries > 0)
        wait = earlier(wait, DISK_STUCK_MS / 5);
    bool retries = node->proposer.waiting_count > 0 ||
                   (node->phase == NODE_REPLAYING && node->consensus_started) ||
                   node->phase == NODE_DRAINING;
    return retries ? earlier(wait, WAIT_MS_RETRY) : wait;
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
        break;
    }
    if (disk_guard_read_only(&node->guard))
        return STATUS_READ_ONLY;
    enum status status = STATUS_BUSY;
    if (!is_stuck(node) && !proposer_is_holding(&node->proposer))
        status = proposer_add(&node->proposer, request);
    if (status == STATUS_BUSY)
        node->refused_busy_total++;
    if (status == STATUS_OK)
        ask_wake(node);
    return status;
}

enum status node_read(struct node *node, struct node_read *read)
{
    switch (node->phase) {
    case NODE_OPENING:
    case NODE_REPLAYING:
        return STATUS_NOT_READY;
    case NODE_STOPPED:
    case NODE_FAILED:
        return STATUS_STOPPING;
    case NODE_SERVING:
    case NODE_DRAINING:
        break;
    }
    enum status status = linear_reads_add(&node->reads, read);
    if (status == STATUS_OK)
        ask_wake(node);
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
        return worker_join(worker, CLOSE_JOIN_MS);
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
        abandon_all(node);
    if (node->phase == NODE_FAILED && node->started) {
        stop_jobs(node);
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
        checkpoint_process(node->store);
    }
    node_release(node);
    return true;
}
