/*
 * What a node keeps an eye on: the disk under its journal, its jobs, its clock, and its own process
 * having been stopped. What follows from disk and clock for a leader of others, who can do without
 * it, is decided in consensus (consensus_lead.c); a cluster of one has nobody to hand over to: it
 * waits DISK_STUCK_FAIL_MS.
 */
#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define NS_PER_MS 1000000ull

/* Oldest journal write above which nothing is proposed, and above which the process gives up. */
#define DISK_STUCK_MS      500
#define DISK_STUCK_FAIL_MS 30000
/* Ledger time this far ahead of the wall clock is reported. */
#define CLOCK_BEHIND_NS (500 * NS_PER_MS)
/* After a pause of turns so long the process itself was stopped (SIGSTOP, a paused machine), and
 * the disk had no chance to show that it works. */
#define PAUSE_MS_MIN 5000

bool node_is_stuck(const struct node *node)
{
    return journal_write_age_ns(node->journal) > DISK_STUCK_MS * NS_PER_MS;
}

/* Time in which nothing turned is nobody's fault: patience with the disk begins anew. */
void node_watch_pauses(struct node *node)
{
    uint64_t now = node_now_ns(node);
    uint64_t pause = now - node->turned_ns;
    node->turned_ns = now;
    if (pause < PAUSE_MS_MIN * NS_PER_MS)
        return;
    node->resumed_ns = now;
    /* A drain asked for right after the pause has not waited through it. */
    node->drain_started_ns =
        now - node->drain_started_ns > pause ? node->drain_started_ns + pause : now;
    proposer_forgive(&node->proposer, pause);
    forward_forgive(&node->forward, pause);
}

void node_watch_disk(struct node *node)
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
void node_watch_jobs(struct node *node)
{
    if (node->phase == NODE_DRAINING && node->drain_step == DRAIN_JOBS)
        return;
    static const char *const texts[NODE_JOB_COUNT] = {
        [NODE_JOB_WRITER] = "the journal's writer stopped",
        [NODE_JOB_PREPARER] = "a further journal segment could not be prepared",
        [NODE_JOB_FLUSHER] = "the store's flusher stopped",
        [NODE_JOB_CATCH_UP] = "copying between nodes stopped",
        [NODE_JOB_CERTIFICATE] = "writing certificates and floors stopped",
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

void node_watch_clock(struct node *node)
{
    if (node->machine == NULL)
        return;
    uint64_t behind = clock_behind_ns(node);
    bool report = behind > CLOCK_BEHIND_NS;
    if (report && !node->clock_reported)
        notify_event(&node->notify, "clock_behind",
                     "the wall clock is behind ledger time: stamps go on by one; check the clock",
                     behind, 0);
    node->clock_reported = report;
}
