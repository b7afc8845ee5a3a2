/*
 * The leader's judgement about the sites (durability.h), fed with what consensus knows and turned
 * into entries.
 *
 *     marks, matches, last words ──► durability_step() ──► entry ──► libraft, like any other
 *
 * A leader that is not ready judges, too, and has to: under SYNC it cannot commit its barrier
 * without the other site, so waiting for the barrier would be waiting for ever. It appends after
 * the barrier, whose index the rule needs first: nothing commits that is not of its own term.
 * Neither the bounds on uncommitted bytes and ages nor a full log keep such an entry back, since it
 * is what ends them. There are few of them by the policy's cap.
 *
 * Every change of the mode in the log is noted where it is seen, at every node, for the dwell and
 * the cap of whoever leads next. After a start the entries in memory tell by their stamps how long
 * ago they were; what is older than that memory is forgotten.
 *
 * The log of the node hears of a durability entry when it is committed, everywhere: who and why.
 */
#include "replication/consensus/consensus_raft_internal.h"

#include "core/invariant.h"
#include "core/planted_fault.h"
#include "replication/guard/raft_layout.h"
#include "replication/guard/raft_layout_drive.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HOUR_NS ((uint64_t)3600 * 1000 * NS_PER_MS)
/* Between two words about a change that is held up. */
#define HELD_UP_EVENT_NS (60000 * NS_PER_MS)
/* Looks are this far apart; a turn of the loop in between decides nothing. */
#define LOOK_NS (5 * NS_PER_MS)

static uint64_t wall_ns(const struct consensus_raft *c)
{
    return c->options.environment->wall_ns(c->options.environment->context);
}

/* ---- what both sites have ---- */

uint64_t consensus_both_index(const struct consensus_raft *c)
{
    if (c->sites.in_force)
        return c->durability_drive.both_index;
    if (c->sites.data_site_count != 2)
        return 0; /* there are no two */
    /* Two sites and no witness: neither is a majority alone. But as long as these members are only
     * appended, the ones before committed, degraded perhaps, or at one site. */
    return c->sites.uncommitted == 0 ? c->raft.commit_index : c->durability_drive.both_index;
}

static void settle_both(struct consensus_raft *c)
{
    struct durability_drive *drive = &c->durability_drive;
    if (c->raft.state != RAFT_LEADER || !c->sites.in_force)
        return;
    const uint64_t commit = c->raft.commit_index;
    uint64_t both = commit;
    for (uint32_t i = 0; i < c->sites.site_count; i++) {
        if (c->sites.sites[i].data_voters == 0)
            continue;
        const uint64_t verified = consensus_site_verified(c, i);
        both = verified < both ? verified : both;
        if (verified >= commit)
            drive->behind_since_ns[i] = 0;
        else if (drive->behind_since_ns[i] == 0)
            drive->behind_since_ns[i] = consensus_now_ns(c);
    }
    if (both > drive->both_index)
        drive->both_index = both;
}

/* ---- changes, as they are seen ---- */

/* How long ago a stamp was, on the monotonic clock; 0: longer than an hour. */
static uint64_t seen_ns(const struct consensus_raft *c, uint64_t stamp)
{
    const uint64_t now = consensus_now_ns(c), wall = wall_ns(c);
    const uint64_t age = wall > stamp ? wall - stamp : 0;
    return age >= HOUR_NS || age >= now ? 0 : now - age;
}

/* Each change of the mode behind `drive->noted_index`, as far as its entry is in memory: a follower
 * that was away takes a degrade and the return behind it at once, and both count. */
static void note_changes(struct consensus_raft *c)
{
    struct durability_drive *drive = &c->durability_drive;
    const uint64_t newest = c->durability_log.newest.index;
    uint64_t i = raft_layout_first_index(&c->raft);
    if (i <= drive->noted_index)
        i = drive->noted_index + 1;
    for (; i <= newest; i++) {
        const struct raft_entry *raft_entry = raft_layout_entry(&c->raft, i);
        struct journal_entry journal;
        struct durability_entry entry;
        if (raft_entry == NULL || raft_entry->type != RAFT_COMMAND)
            continue;
        raft_io_entry(raft_entry, i, &journal);
        if (journal.type != JOURNAL_DURABILITY ||
            durability_entry_decode(journal.payload, journal.size, &entry) != STATUS_OK)
            continue;
        /* At the start they may be old ones; later they are from just now, whatever clocks say. */
        const uint64_t ns = drive->mode_noted ? consensus_now_ns(c) : seen_ns(c, entry.stamp);
        if (entry.mode != drive->mode && ns != 0)
            durability_note_change(&drive->driver, ns);
        drive->mode = entry.mode;
    }
    drive->noted_index = newest;
}

static void settle_changes(struct consensus_raft *c)
{
    struct durability_drive *drive = &c->durability_drive;
    const struct durability_record *newest = &c->durability_log.newest;
    const enum durability_mode before = drive->mode;
    if (newest->index != drive->noted_index || !drive->mode_noted)
        note_changes(c);
    /* Cut off, or known from a copy: without its entry. */
    if (drive->mode_noted && newest->entry.mode != drive->mode)
        durability_note_change(&drive->driver, consensus_now_ns(c));
    drive->mode_noted = true;
    drive->mode = newest->entry.mode;
    if (drive->mode != before)
        c->news = true;
}

static const char *event_of(enum durability_kind kind)
{
    return kind == DURABILITY_DEGRADE   ? "durability_degraded"
           : kind == DURABILITY_RETURN  ? "durability_returned"
           : kind == DURABILITY_RELEASE ? "durability_released"
                                        : "durability_policy";
}

static void settle_events(struct consensus_raft *c)
{
    struct durability_drive *drive = &c->durability_drive;
    const struct durability_record *committed = &c->durability_log.committed;
    if (committed->index <= drive->told_index)
        return;
    const bool at_start = drive->told_index == 0 && committed->index <= c->loaded_index;
    drive->told_index = committed->index;
    c->news = true;
    if (at_start)
        return; /* it was told of when it happened */
    const struct durability_entry *entry = &committed->entry;
    char text[sizeof entry->site + sizeof entry->who + sizeof entry->why + 32];
    snprintf(text, sizeof text, "%s%s%s, by %s", entry->site, entry->site[0] != 0 ? ": " : "",
             entry->why, entry->who);
    consensus_event(c, event_of(entry->kind), text, entry->number, committed->index);
}

/* When a campaign of ours began, and when it was won. */
static void settle_leadership(struct consensus_raft *c)
{
    struct durability_drive *drive = &c->durability_drive;
    if (c->raft.state == RAFT_CANDIDATE)
        drive->campaign_ns = c->raft.election_timer_start * NS_PER_MS;
    if (c->raft.state != RAFT_LEADER) {
        drive->led_term = 0;
        drive->verdict = (struct durability_verdict){.action = DURABILITY_STAY};
        return;
    }
    if (drive->led_term == c->raft.current_term)
        return;
    drive->led_term = c->raft.current_term;
    drive->elected_ns = consensus_now_ns(c);
    drive->fit_since_ns = 0;
    memset(drive->behind_since_ns, 0, sizeof drive->behind_since_ns);
    durability_begin(&drive->driver, drive->elected_ns);
}

void consensus_durability_settle(struct consensus_raft *c)
{
    consensus_sites_settle(c);
    consensus_durability_log_settle(c);
    settle_leadership(c);
    settle_changes(c);
    settle_events(c);
    settle_both(c);
}

/* ---- entries ---- */

static enum status may_append(const struct consensus_raft *c)
{
    if (!consensus_leads(c) || c->is_witness ||
        raft_layout_term_at(&c->raft, consensus_last_index(c)) != c->raft.current_term)
        return STATUS_NOT_READY; /* the barrier is not in the log yet */
    if (consensus_is_transferring(c) || consensus_lead_disk_is_stuck(c))
        return STATUS_BUSY;
    return journal_is_read_only(c->options.journal) ? STATUS_READ_ONLY : STATUS_OK;
}

static enum durability_mode mode_after(const struct consensus_raft *c, enum durability_kind kind)
{
    return kind == DURABILITY_DEGRADE  ? DURABILITY_DEGRADED
           : kind == DURABILITY_RETURN ? DURABILITY_SYNC
                                       : c->durability_log.newest.entry.mode;
}

enum status consensus_durability_append(struct consensus_raft *c, struct durability_entry *entry)
{
    enum status status = may_append(c);
    if (status != STATUS_OK)
        return status;
    const uint64_t wall = wall_ns(c), next = c->durability_log.stamp + 1;
    uint8_t bytes[DURABILITY_ENTRY_SIZE];
    entry->mode = mode_after(c, entry->kind);
    entry->number = c->durability_log.newest.entry.number + 1;
    entry->stamp = next > wall && !planted(PLANTED_DEGRADE_STAMPED_BY_WALL) ? next : wall;
    /* A site that returned has what it has to have; otherwise the word stays. */
    if (entry->kind == DURABILITY_RETURN)
        entry->released_site[0] = 0;
    else if (entry->kind != DURABILITY_RELEASE)
        memcpy(entry->released_site, c->durability_log.newest.entry.released_site,
               sizeof entry->released_site);
    status = durability_entry_encode(entry, bytes);
    if (status != STATUS_OK)
        return status;
    struct consensus_proposal proposal = {
        .type = JOURNAL_DURABILITY, .size = sizeof bytes, .payload = bytes};
    return consensus_log_append(c, &proposal);
}

static void decide(struct consensus_raft *c, const struct durability_inputs *in)
{
    const struct durability_verdict *verdict = &c->durability_drive.verdict;
    struct durability_entry entry = {
        .kind = verdict->action == DURABILITY_DEGRADE_NOW ? DURABILITY_DEGRADE : DURABILITY_RETURN,
        .policy = planted(PLANTED_DEGRADE_UNDOES_POLICY) ? c->durability_log.committed.entry.policy
                                                         : c->durability_log.newest.entry.policy,
        .automatic = true,
        .who = "policy",
    };
    memcpy(entry.site, in->sites[verdict->site].name, sizeof entry.site);
    snprintf(entry.why, sizeof entry.why, "%s", verdict->why);
    enum status status = consensus_durability_append(c, &entry);
    invariant_values(status != STATUS_INVALID, verdict->site, entry.number);
    (void)status; /* not now: it is decided again at the next step */
}

/* ---- looking ---- */

/* When the oldest entry above `verified` was appended; 0: there is none that is uncommitted. */
static uint64_t unverified_since(const struct consensus_raft *c, uint64_t verified)
{
    const uint32_t size = sizeof c->marks / sizeof c->marks[0];
    for (uint32_t i = 0; i < c->mark_count; i++) {
        const struct propose_mark *mark = &c->marks[(c->mark_first + i) % size];
        if (mark->index > verified)
            return mark->ns;
    }
    return 0;
}

/* The strictest that may be in force by what is committed. */
static enum durability_decision committed_decision(const struct consensus_raft *c)
{
    if (consensus_durability_may_decide(c, DURABILITY_NEVER))
        return DURABILITY_NEVER;
    return consensus_durability_may_decide(c, DURABILITY_OPERATOR) ? DURABILITY_OPERATOR
                                                                   : DURABILITY_AUTO;
}

static void look(const struct consensus_raft *c, struct durability_inputs *out)
{
    const struct durability_drive *drive = &c->durability_drive;
    const struct durability_log *log = &c->durability_log;
    const struct site_member *self = consensus_site_member(c, c->options.self.node_id);
    *out = (struct durability_inputs){
        .now_ns = consensus_now_ns(c),
        .in_force = c->sites.in_force,
        .commit_index = c->raft.commit_index,
        .ready = raft_guard_ready(&c->guard),
        .campaign_ns = drive->campaign_ns,
        .elected_ns = drive->elected_ns,
        .degraded = log->newest.entry.mode == DURABILITY_DEGRADED,
        .settled = log->newest.index <= c->raft.commit_index,
        .by_operator = log->newest.by_operator,
        .policy = log->newest.entry.policy,
        .committed_decision = committed_decision(c),
    };
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->sites.site_count && out->in_force; i++) {
        if (c->sites.sites[i].data_voters == 0)
            continue;
        struct durability_site *site = &out->sites[count++];
        memcpy(site->name, c->sites.sites[i].name, sizeof site->name);
        site->own = self != NULL && self->votes && self->site == i;
        site->verified = consensus_site_verified(c, i);
        site->unverified_ns = unverified_since(c, site->verified);
        site->heard_ns = consensus_site_heard_ns(c, i);
    }
}

static void tell_held_up(struct consensus_raft *c)
{
    struct durability_drive *drive = &c->durability_drive;
    const uint64_t now = consensus_now_ns(c);
    const struct durability_verdict *verdict = &drive->verdict;
    if (!verdict->wanted && !verdict->capped) {
        drive->held_up_told_ns = 0;
        return;
    }
    if (drive->held_up_told_ns != 0 && now - drive->held_up_told_ns < HELD_UP_EVENT_NS)
        return;
    drive->held_up_told_ns = now;
    consensus_event(c, verdict->wanted ? "durability_held_up" : "durability_capped", verdict->why,
                    durability_changes_last_hour(&drive->driver, now), c->raft.current_term);
}

void consensus_durability_process(struct consensus_raft *c)
{
    struct durability_drive *drive = &c->durability_drive;
    if (!consensus_leads(c) || c->is_witness)
        return;
    const uint64_t now = consensus_now_ns(c);
    if (now - drive->stepped_ns < LOOK_NS)
        return;
    drive->stepped_ns = now;
    struct durability_inputs inputs;
    look(c, &inputs);
    durability_step(&drive->driver, &inputs, &drive->verdict);
    tell_held_up(c);
    if (drive->verdict.action != DURABILITY_STAY)
        decide(c, &inputs);
    if (consensus_leads(c))
        consensus_prefer_process(c);
}

uint64_t consensus_durability_next_ns(const struct consensus_raft *c)
{
    const struct durability_drive *drive = &c->durability_drive;
    if (!consensus_leads(c) || c->is_witness || !c->sites.in_force)
        return UINT64_MAX;
    uint64_t next = drive->stepped_ns + DURABILITY_STEP_MS * NS_PER_MS;
    /* The grace of a new leader is shorter than people notice, and should stay so. */
    const uint64_t grace =
        drive->elected_ns + c->durability_log.newest.entry.policy.grace_ms * NS_PER_MS;
    if (grace > drive->stepped_ns && grace < next)
        next = grace > drive->stepped_ns + LOOK_NS ? grace : drive->stepped_ns + LOOK_NS;
    return next;
}

/* ---- for people ---- */

static void fill_site(const struct consensus_raft *c, uint32_t i, struct consensus_site *out)
{
    *out = (struct consensus_site){
        .has_data = c->sites.sites[i].data_voters > 0,
        .known = c->raft.state == RAFT_LEADER,
        .heard_ns = consensus_site_heard_ns(c, i),
    };
    memcpy(out->name, c->sites.sites[i].name, sizeof out->name);
    if (out->known && out->has_data) {
        out->verified_index = consensus_site_verified(c, i);
        out->behind_since_ns = c->durability_drive.behind_since_ns[i];
    }
    consensus_site_judge_loss(c, i, out);
}

void consensus_durability_fill(const struct consensus_raft *c, struct consensus_durability *out)
{
    const struct durability_drive *drive = &c->durability_drive;
    *out = (struct consensus_durability){
        .in_force = c->sites.in_force,
        .newest = c->durability_log.newest.entry,
        .newest_index = c->durability_log.newest.index,
        .committed = c->durability_log.committed.entry,
        .committed_index = c->durability_log.committed.index,
        .both_index = consensus_both_index(c),
        .changed_ns = drive->driver.changed_ns,
        .changes_last_hour = durability_changes_last_hour(&drive->driver, consensus_now_ns(c)),
        .degrade_wanted = drive->verdict.wanted,
        .return_capped = drive->verdict.capped,
    };
    if (out->degrade_wanted || out->return_capped)
        memcpy(out->held_up, drive->verdict.why, sizeof out->held_up);
    if (!c->started)
        return;
    for (uint32_t i = 0; i < c->sites.site_count; i++)
        fill_site(c, i, &out->sites[out->site_count++]);
}
