/*
 * One turn of the loop: consensus (finished appends, messages, timers), committed entries pulled
 * and applied and their answers sent, checkpoint, proposals, reads, drain. Every part bounds its
 * own work, and nothing in a turn waits for a disk: the jobs do. (Exceptions, each a few ms and
 * rare: the hard state of a new term, unlinking pruned segments, the reserve.)
 *
 * Pulling is what bounds apply: an entry is taken when the memtable has room for it and the slice
 * of the turn is not over. Without room the epoch is closed; when the flusher is behind as well,
 * committed entries wait in consensus, which takes in less by its own bounds.
 */
#include "replication/node_internal.h"

#include "core/invariant.h"

#include <inttypes.h>
#include <stdio.h>

#define NS_PER_MS 1000000ull

/* Applying ends for this turn after this time or so many entries, whichever is first. */
#define PULL_SLICE_MS    20
#define PULL_ENTRIES_MAX 1024

/* Oldest journal write above which nothing is proposed, and above which the process gives up. */
#define DISK_STUCK_MS      500
#define DISK_STUCK_FAIL_MS 30000
/* Ledger time this far ahead of the wall clock is reported. */
#define CLOCK_BEHIND_NS (500 * NS_PER_MS)
/* Longest sleep between turns. After a pause much longer than that the process itself was stopped
 * (SIGSTOP, a paused machine), and the disk had no chance to show that it works. */
#define WAIT_MS_MAX  1000
#define PAUSE_MS_MIN 5000
/* Sleep while something is waited for that does not wake the loop. */
#define WAIT_MS_RETRY 5

bool node_is_stuck(const struct node *node)
{
    return journal_write_age_ns(node->journal) > DISK_STUCK_MS * NS_PER_MS;
}

/* Time in which nothing turned is nobody's fault: patience with the disk begins anew. */
static void watch_pauses(struct node *node)
{
    uint64_t now = node_now_ns(node);
    uint64_t pause = now - node->turned_ns;
    node->turned_ns = now;
    if (pause < PAUSE_MS_MIN * NS_PER_MS)
        return;
    node->resumed_ns = now;
    node->drain_started_ns += pause;
    proposer_forgive(&node->proposer, pause);
    forward_forgive(&node->forward, pause);
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

/* ---- committed entries ---- */

static void report_replay(struct node *node)
{
    if (node->replay_reported || node_applied_index(node) < node->replay_last)
        return;
    node->replay_reported = true;
    notify_event(&node->notify, "node_replay_done", "the journal is applied",
                 node->replay_last + 1 - node->replay_first,
                 (node_now_ns(node) - node->replay_started_ns) / NS_PER_MS);
}

static void pull_entries(struct node *node)
{
    node->pull_waits = node->pull_more = false;
    const uint64_t end = node_now_ns(node) + PULL_SLICE_MS * NS_PER_MS;
    uint32_t count = 0;
    const struct journal_entry *entry;
    while ((entry = consensus_next(node->consensus)) != NULL) {
        if (count == PULL_ENTRIES_MAX || (count > 0 && node_now_ns(node) >= end)) {
            node->pull_more = true;
            break;
        }
        if (!fsm_has_room(&node->fsm, entry)) {
            node->pull_waits = true;
            break;
        }
        if (!fsm_apply(&node->fsm, entry))
            return; /* fail-stop was reported by fsm itself */
        consensus_consumed(node->consensus);
        count++;
    }
    report_replay(node);
}

static bool serves_writes(const struct node *node)
{
    return (node->phase == NODE_SERVING || node->phase == NODE_DRAINING) && !node_is_witness(node);
}

static void process_writes(struct node *node)
{
    if (!serves_writes(node))
        return;
    bool leads = node->may_propose;
    if (leads && disk_guard_read_only(&node->guard))
        proposer_refuse_certain(&node->proposer, STATUS_READ_ONLY);
    forward_process(&node->forward);
    bool reachable = leads || forward_reaches_leader(&node->forward);
    proposer_expire(&node->proposer, reachable ? STATUS_BUSY : STATUS_NOT_READY);
    bool held = !leads || node_is_stuck(node);
    if (!held)
        digests_propose(&node->digests, node->consensus);
    proposer_process(&node->proposer, held);
}

/* ---- the turn ---- */

static bool room_is_wanted(const struct node *node)
{
    return node->proposer.room_wanted || node->pull_waits ||
           (node->phase == NODE_DRAINING && node->drain_step == DRAIN_CHECKPOINT);
}

/* Nothing is pulled behind the last epoch of a drain. */
static bool pulls(const struct node *node)
{
    return node->phase != NODE_DRAINING || node->drain_step == DRAIN_WRITES;
}

/* The parts in their order; ends early when one of them failed. */
static void turn(struct node *node)
{
    bool jobs_are_ending = node->phase == NODE_DRAINING && node->drain_step == DRAIN_JOBS;
    watch_pauses(node);
    linear_reads_begin(&node->reads);
    consensus_process(node->consensus);
    if (node->phase != NODE_FAILED && pulls(node))
        pull_entries(node);
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
    node_process_role(node);
    process_writes(node);
    if (node->phase == NODE_FAILED)
        return;
    linear_reads_finish(&node->reads, node_applied_index(node));
    watch_clock(node);
    node_process_drain(node);
}

/* Whether another turn right now would get further without any event from outside. */
static bool has_work(const struct node *node)
{
    if (node->phase == NODE_FAILED || !pulls(node))
        return false;
    if (node->pull_more || (node->pull_waits && node->epochs.frozen == NULL))
        return true;
    if (!serves_writes(node))
        return false;
    if (node->reads.arrived.count > 0 && !node->reads.confirmation.in_flight &&
        node_now_ns(node) >= node->reads.retry_ns)
        return true;
    const struct proposer *proposer = &node->proposer;
    if (node->may_propose && proposer->waiting_count > 0 && proposer->free_first != NULL &&
        !proposer->room_wanted && !proposer->journal_refused && !node_is_stuck(node) &&
        !proposer_is_holding(proposer))
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
        node_abandon(node);
    node->processing = false;
    if (has_work(node))
        node_ask_wake(node);
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
    uint64_t now = node_now_ns(node);
    uint64_t wait = until_ms(node->guard.next_check_ns, now);
    wait = earlier(wait, until_ms(epochs_next_ns(&node->epochs), now));
    wait = earlier(wait, until_ms(consensus_next_ns(node->consensus), now));
    wait = earlier(wait, until_ms(linear_reads_deadline_ns(&node->reads), now));
    if (node->proposer.in_flight_entries > 0)
        wait = earlier(wait, DISK_STUCK_MS / 5);
    wait = earlier(wait, until_ms(node->proposer.expiry_ns, now));
    wait = earlier(wait, until_ms(forward_next_ns(&node->forward), now));
    bool retries =
        (node->may_propose && node->proposer.waiting_count > 0) || node->phase == NODE_DRAINING;
    return retries ? earlier(wait, WAIT_MS_RETRY) : wait;
}
