/*
 * What a node keeps an eye on: the disk under its journal, its jobs, its clock, and its own process
 * having been stopped.
 *
 * Two of these are duties of a leader. Everybody depends on its disk and its clock, and others can
 * do as well: so a leader whose journal write takes longer than DISK_STUCK_MS, or whose clock is
 * farther than CLOCK_SKEW_NS from the median of a majority, asks another one to lead. If a stuck
 * leader finds nobody it ends, since without its heartbeats the others elect one. A cluster of one
 * has nobody to hand over to: it waits DISK_STUCK_FAIL_MS.
 */
#include "replication/node_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define NS_PER_MS 1000000ull

/* Oldest journal write above which nothing is proposed, and above which the process gives up. */
#define DISK_STUCK_MS      500
#define DISK_STUCK_FAIL_MS 30000
/* So long a stuck leader looks for another one, in two tries. */
#define LEAVE_MS_MAX 2000
/* Ledger time this far ahead of the wall clock is reported. */
#define CLOCK_BEHIND_NS (500 * NS_PER_MS)
/* Distance from the median of the others' clocks above which a leader hands over; looked at this
 * often; after a try it waits. */
#define CLOCK_SKEW_NS  (500 * NS_PER_MS)
#define CLOCK_JUDGE_MS 500
#define CLOCK_PAUSE_MS 10000
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
    node->drain_started_ns += pause;
    proposer_forgive(&node->proposer, pause);
    forward_forgive(&node->forward, pause);
}

/* True when somebody else could lead instead of us. */
static bool leads_others(const struct node *node)
{
    if (node->led_term == 0)
        return false;
    struct consensus_peer peers[MEMBERS_MAX];
    uint32_t count = consensus_peers(node->consensus, peers, MEMBERS_MAX);
    uint32_t voters = 0;
    for (uint32_t i = 0; i < count; i++)
        voters += peers[i].vote == CONSENSUS_VOTER;
    return voters > 1;
}

/* A leader whose disk does not answer is one whose word the others could do without: it asks for
 * another, and when nobody takes over it leaves them no choice. */
static void leave_stuck_disk(struct node *node, bool stuck)
{
    uint64_t now = node->turned_ns;
    if (!stuck || !leads_others(node)) {
        node->leave_began_ns = 0;
        return;
    }
    if (node->leave_began_ns == 0 || node->leave_began_ns < node->resumed_ns) {
        node->leave_began_ns = now;
        node->leave_tries = 0;
    }
    uint64_t spent_ms = (now - node->leave_began_ns) / NS_PER_MS;
    if (spent_ms >= LEAVE_MS_MAX) {
        node_fail(node, STATUS_IO,
                  "a journal write hangs while this node leads, and no other node takes over: it "
                  "ends so that they elect one; look at the disk before the next start");
        return;
    }
    if (spent_ms < (uint64_t)node->leave_tries * (LEAVE_MS_MAX / 2))
        return;
    node->leave_tries++;
    enum status status = consensus_transfer(node->consensus, 0);
    notify_event(&node->notify, "leader_disk_stuck",
                 "a journal write hangs while this node leads: another one is asked to lead",
                 status, node->leave_tries);
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
    leave_stuck_disk(node, stuck);
    if (node->phase == NODE_FAILED || stuck == node->stuck_reported)
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

static void report_clock(struct node *node)
{
    uint64_t behind = clock_behind_ns(node);
    bool report = behind > CLOCK_BEHIND_NS;
    if (report && !node->clock_reported)
        notify_event(&node->notify, "clock_behind",
                     "the wall clock is behind ledger time: stamps go on by one; check the clock",
                     behind, 0);
    node->clock_reported = report;
}

/* ---- our clock among the others' ---- */

static int compare_offsets(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The median of the voters' clocks minus ours, our own 0 included; false when a majority of the
 * voters is not known. */
static bool median_offset(const struct node *node, int64_t *out_offset_ns)
{
    struct consensus_peer peers[MEMBERS_MAX];
    uint32_t count = consensus_peers(node->consensus, peers, MEMBERS_MAX);
    int64_t offsets[MEMBERS_MAX];
    uint32_t voters = 0, known = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (peers[i].vote != CONSENSUS_VOTER)
            continue;
        voters++;
        if (peers[i].member.node_id == node->identity.node_id)
            offsets[known++] = 0;
        else if (peers[i].clock_known)
            offsets[known++] = peers[i].clock_offset_ns;
    }
    if (voters < 3 || known <= voters / 2)
        return false; /* of two clocks nobody knows which one is wrong */
    qsort(offsets, known, sizeof offsets[0], compare_offsets);
    *out_offset_ns = offsets[known / 2];
    if (known % 2 == 0 && -offsets[known / 2 - 1] < *out_offset_ns)
        *out_offset_ns = offsets[known / 2 - 1]; /* between two: the one that accuses us less */
    return true;
}

/* Stamps are made of the leader's clock: one that is far from the others' hands over. */
static void leave_wrong_clock(struct node *node)
{
    uint64_t now = node->turned_ns;
    int64_t offset = 0;
    if (now < node->clock_judged_ns + CLOCK_JUDGE_MS * NS_PER_MS || !leads_others(node))
        return;
    node->clock_judged_ns = now;
    if (!median_offset(node, &offset))
        return;
    uint64_t distance = (uint64_t)(offset < 0 ? -offset : offset);
    if (distance <= CLOCK_SKEW_NS)
        return;
    enum status status = consensus_transfer(node->consensus, 0);
    node->clock_judged_ns = now + CLOCK_PAUSE_MS * NS_PER_MS;
    notify_event(&node->notify, "clock_skew",
                 "this leader's wall clock is far from the other nodes': another one is asked to "
                 "lead; check the clock",
                 distance / NS_PER_MS, status);
}

void node_watch_clock(struct node *node)
{
    if (node->machine != NULL)
        report_clock(node);
    leave_wrong_clock(node);
}
