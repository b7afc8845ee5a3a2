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
#include "replication/node/node_internal.h"

#include "core/invariant.h"
#include "core/planted_fault.h"

#include <inttypes.h>
#include <stdio.h>

#define NS_PER_MS 1000000ull

/* Applying ends for this turn after this time or so many entries, whichever is first. */
#define PULL_SLICE_MS    20
#define PULL_ENTRIES_MAX 1024
/* A witness prunes at most this often. */
#define FORGET_MS 1000

/* Longest sleep between turns. */
#define WAIT_MS_MAX 1000
/* Sleep while something is waited for that does not wake the loop. */
#define WAIT_MS_RETRY 5
/* Entries in flight: the disk under them is watched. */
#define WAIT_MS_IN_FLIGHT 100

/* ---- committed entries ---- */

/* Entries that a copy for another node still needs. */
static void hold_journal(struct node *node)
{
    if (node->catch_up == NULL)
        return;
    catch_up_process(node->catch_up);
    node->epochs.hold_index = catch_up_hold_index(node->catch_up);
}

/* What the witness has of them: it takes note, and keeps journal and log only above the watermark,
 * which is what every site's best data node holds. */
static void forget(struct node *node)
{
    struct consensus_status consensus;
    consensus_status(node->consensus, &consensus);
    uint64_t to = consensus.watermark_index < consensus.consumed_index ? consensus.watermark_index
                                                                       : consensus.consumed_index;
    if (planted(PLANTED_WITNESS_PRUNED_EARLY))
        to = consensus.consumed_index;
    if (node->epochs.hold_index < to)
        to = node->epochs.hold_index;
    uint64_t now = node_now_ns(node);
    if (to <= node->forgotten_index || now < node->forget_ns)
        return;
    node->forget_ns = now + FORGET_MS * NS_PER_MS;
    node->forgotten_index = to;
    struct journal_position position;
    journal_position(node->journal, &position);
    if (to < position.first_index)
        return;
    enum status status = journal_prune_prefix(node->journal, to);
    if (status != STATUS_OK)
        node_fail(node, status, "the journal could not be pruned");
}

static void report_replay(struct node *node)
{
    if (node->replay_reported || node_applied_index(node) < node->replay_last)
        return;
    node->replay_reported = true;
    notify_event(&node->notify, "node_replay_done", "the journal is applied",
                 node->replay_last + 1 - node->replay_first,
                 (node_now_ns(node) - node->replay_started_ns) / NS_PER_MS);
}

/* Entries of terms below were proposed by leaders that lead no more. What is replayed at the start
 * is not looked at; a witness answers nobody. */
static uint64_t gone_leaders_below(const struct node *node)
{
    struct consensus_status consensus;
    if (node_is_witness(node) || (node->phase != NODE_SERVING && node->phase != NODE_DRAINING))
        return 0;
    consensus_status(node->consensus, &consensus);
    return consensus.term;
}

static void pull_entries(struct node *node)
{
    node->pull_waits = node->pull_more = false;
    const uint64_t end = node_now_ns(node) + PULL_SLICE_MS * NS_PER_MS;
    uint32_t count = 0;
    const struct journal_entry *entry;
    const uint64_t gone_below = gone_leaders_below(node);
    while ((entry = consensus_next(node->consensus)) != NULL) {
        if (count == PULL_ENTRIES_MAX || (count > 0 && node_now_ns(node) >= end)) {
            node->pull_more = true;
            break;
        }
        if (node->machine != NULL && !fsm_has_room(&node->fsm, entry)) {
            node->pull_waits = true;
            break;
        }
        if (entry->term < gone_below)
            in_doubt_inherit(&node->in_doubt, entry, node_wall_ns(node));
        if (node->machine != NULL && !fsm_apply(&node->fsm, entry))
            return; /* fail-stop was reported by fsm itself */
        if (node->machine != NULL && entry->type == JOURNAL_DURABILITY)
            degraded_run_note(&node->degraded, entry, node->machine);
        consensus_consumed(node->consensus);
        count++;
    }
    report_replay(node);
}

bool node_refuses_writes(const struct node *node)
{
    return disk_guard_read_only(&node->guard) || node->degraded.bound == DURABILITY_BOUND_REFUSES;
}

static bool serves_writes(const struct node *node)
{
    return (node->phase == NODE_SERVING || node->phase == NODE_DRAINING ||
            node->phase == NODE_REINSTALLING) &&
           !node_is_witness(node);
}

/* By the log, its uncommitted end included: what is proposed now would follow that. */
static bool is_degraded(const struct node *node)
{
    struct consensus_status consensus;
    consensus_status(node->consensus, &consensus);
    return consensus.mode == DURABILITY_DEGRADED;
}

static void process_writes(struct node *node)
{
    if (!serves_writes(node))
        return;
    bool leads = node->may_propose;
    degraded_run_process(&node->degraded, node->consensus, node->machine, &node->notify,
                         node->turned_ns, node->environment->wall_ns(node->environment->context));
    if (leads && node_refuses_writes(node))
        proposer_refuse_certain(&node->proposer, STATUS_READ_ONLY);
    if (leads && is_degraded(node))
        proposer_refuse_degraded(&node->proposer);
    forward_process(&node->forward);
    if (node_is_leaderless(node))
        proposer_refuse_certain(&node->proposer, STATUS_NOT_READY);
    bool reachable = leads || forward_reaches_leader(&node->forward);
    proposer_expire(&node->proposer, reachable ? STATUS_BUSY : STATUS_NOT_READY);
    node_pace(node);
    const uint64_t proposed = node->proposer.proposed_bytes_total;
    bool held = !leads || node_is_stuck(node) || site_operation_holds(&node->site_operation);
    if (!held)
        digests_propose(&node->digests, node->consensus);
    proposer_process(&node->proposer, held);
    pacing_spend(&node->pacing, node->proposer.proposed_bytes_total - proposed);
}

/* The witness keeps what a lost site lacks, in case the site that works on is lost as well before
 * the other one is back. Its disk has an end; if it were full nothing more would be committed. So
 * above a bound the log says that the site has to be seeded anew, and the witness may forget. What
 * is not measured (this node began to count later) is not known to be above it. */
static void release_lost_site(struct node *node, const struct rpo_report *report)
{
    const uint64_t bound = node->options.release_bytes;
    for (uint32_t i = 0; i < report->site_count && bound > 0; i++) {
        const struct rpo_site *site = &report->sites[i];
        if ((site->flags & RPO_AMOUNTS) == 0 || site->bytes <= bound)
            continue;
        struct consensus_durability now;
        consensus_durability(node->consensus, &now);
        if (!now.in_force || now.newest.mode != DURABILITY_DEGRADED ||
            strcmp(now.newest.released_site, site->site) == 0)
            continue;
        struct consensus_durability_change change = {
            .kind = DURABILITY_RELEASE, .number = now.newest.number, .who = "policy"};
        memcpy(change.site, site->site, sizeof change.site - 1);
        snprintf(change.why, sizeof change.why,
                 "it lacks %" PRIu64 " MiB, the witness keeps %" PRIu64
                 " MiB for a site at most (journal.release_bytes): it will be seeded anew",
                 site->bytes >> 20, bound >> 20);
        uint64_t number;
        char text[CONSENSUS_DURABILITY_TEXT_SIZE];
        /* Refused: it is not this site that is done without, or not now; looked at again soon. */
        (void)consensus_durability_propose(node->consensus, &change, &number, text);
    }
}

/* The leader tells the others what every site lacks. */
static void tell_rpo(struct node *node)
{
    struct rpo_report report;
    if (!node->may_propose || node->turned_ns < node->rpo.next_tell_ns)
        return;
    node->rpo.next_tell_ns = node->turned_ns + RPO_TELL_MS * NS_PER_MS;
    node_rpo(node, &report);
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < report.site_count; i++) {
        const uint64_t entries = report.sites[i].entries;
        const bool known = (report.sites[i].flags & RPO_KNOWN) != 0;
        least = !known ? 0 : report.index - entries < least ? report.index - entries : least;
    }
    if (report.site_count > 0)
        rpo_forget(&node->rpo, least);
    release_lost_site(node, &report);
    if (node->options.transport == NULL)
        return;
    const struct transport_part part = {&report, sizeof report};
    for (uint32_t i = 0; i < node->member_count; i++)
        if (node->member_ids[i] != node->identity.node_id)
            /* Lost: the next one comes soon. */
            (void)transport_send(node->options.transport, node->member_ids[i], TRANSPORT_RAFT,
                                 &part, 1);
}

static uint64_t node_stamp(const struct node *node)
{
    return node->machine != NULL ? machine_stamp(node->machine) : 0;
}

static void process_both_waits(struct node *node)
{
    struct consensus_status consensus;
    if (node->both_waits.first == NULL)
        return;
    consensus_status(node->consensus, &consensus);
    if (node->phase == NODE_DRAINING)
        durability_waits_end(&node->both_waits);
    else
        durability_waits_process(&node->both_waits, consensus.site_rule ? consensus.both_index : 0,
                                 node_now_ns(node));
}

/* ---- the turn ---- */

static bool room_is_wanted(const struct node *node)
{
    return node->proposer.room_wanted || node->pull_waits || consensus_is_full(node->consensus) ||
           journal_is_read_only(node->journal) ||
           (node->phase == NODE_DRAINING && node->drain_step == DRAIN_CHECKPOINT);
}

/* Nothing is pulled behind the last epoch of a drain. */
static bool pulls(const struct node *node)
{
    return node->phase != NODE_DRAINING || node->drain_step <= DRAIN_HAND_OVER;
}

/* The parts in their order; ends early when one of them failed. */
static void turn(struct node *node)
{
    if (node->reinstall_stops) {
        node_process_reinstall(node);
        return;
    }
    bool jobs_are_ending = node->phase == NODE_DRAINING && node->drain_step == DRAIN_JOBS;
    node_watch_pauses(node);
    linear_reads_begin(&node->reads);
    consensus_process(node->consensus);
    if (node->phase != NODE_FAILED && pulls(node))
        pull_entries(node);
    if (node->phase == NODE_FAILED)
        return;
    disk_guard_process(&node->guard);
    node_watch_disk(node);
    if (node->phase == NODE_FAILED)
        return;
    hold_journal(node);
    if (!jobs_are_ending && node_is_witness(node))
        forget(node);
    else if (!jobs_are_ending)
        epochs_process(&node->epochs, room_is_wanted(node));
    if (node->phase != NODE_FAILED)
        node_watch_jobs(node);
    if (node->phase == NODE_FAILED)
        return;
    node_process_role(node);
    membership_process(&node->membership, node->turned_ns);
    node_site_process(node);
    if (node->phase == NODE_FAILED)
        return;
    process_writes(node);
    if (node->phase == NODE_FAILED)
        return;
    linear_reads_finish(&node->reads, node_applied_index(node));
    process_both_waits(node);
    certificates_process(&node->certificates, node_stamp(node));
    floor_file_process(&node->floors);
    tell_rpo(node);
    if (node->phase == NODE_FAILED)
        return;
    node_watch_clock(node);
    node_process_drain(node);
    if (node->reinstall_wanted)
        node_begin_reinstall(node);
}

/* Whether another turn right now would get further without any event from outside. */
static bool has_work(const struct node *node)
{
    if (node->phase == NODE_FAILED || node->reinstall_stops || !pulls(node))
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
        !proposer->room_wanted && !proposer->journal_refused && proposer->budget_bytes > 0 &&
        !node_is_stuck(node) && !proposer_is_holding(proposer) &&
        !site_operation_holds(&node->site_operation))
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
    if (node->reinstall_stops)
        return WAIT_MS_RETRY;
    uint64_t now = node_now_ns(node);
    uint64_t wait = until_ms(node->guard.next_check_ns, now);
    if (!node_is_witness(node))
        wait = earlier(wait, until_ms(epochs_next_ns(&node->epochs), now));
    wait = earlier(wait, until_ms(consensus_next_ns(node->consensus), now));
    if (node->catch_up != NULL)
        wait = earlier(wait, until_ms(catch_up_next_ns(node->catch_up), now));
    wait = earlier(wait, until_ms(linear_reads_deadline_ns(&node->reads), now));
    if (node->proposer.in_flight_entries > 0)
        wait = earlier(wait, WAIT_MS_IN_FLIGHT);
    wait = earlier(wait, until_ms(node->proposer.expiry_ns, now));
    if (node->may_propose)
        wait = earlier(wait, until_ms(node->rpo.next_tell_ns, now));
    wait = earlier(wait, until_ms(node->both_waits.next_deadline_ns, now));
    wait = earlier(wait, until_ms(certificates_next_ns(&node->certificates), now));
    wait = earlier(wait, until_ms(floor_file_next_ns(&node->floors), now));
    wait = earlier(wait, until_ms(membership_next_ns(&node->membership), now));
    wait = earlier(wait, until_ms(site_operation_next_ns(&node->site_operation), now));
    wait = earlier(wait, until_ms(forward_next_ns(&node->forward), now));
    if (node->news)
        wait = earlier(wait, until_ms(node->members_ns, now));
    bool retries =
        (node->may_propose && node->proposer.waiting_count > 0) || node->phase == NODE_DRAINING;
    return retries ? earlier(wait, WAIT_MS_RETRY) : wait;
}
