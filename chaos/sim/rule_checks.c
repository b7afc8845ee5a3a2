/*
 * The claims, in the order of the code:
 *
 *  - *commit implies both sites*: a leader's commit step to c, whose mode in the log is SYNC, finds
 *    1..c synced at a data node of each site.
 *  - *no degrade before the witness holds it*: a step whose entries are at one site only is made in
 *    DEGRADED, and the witness has synced them, the degrade entry included. Together: nothing below
 *    a degrade entry d is committed one-sided before a majority with the witness has d, and any one
 *    site may go after any step.
 *  - *the witness is not ahead*: what it has synced under SYNC, a data node of each site has.
 *  - *both means both*: what a node says is on both sites is.
 *  - *return after catch-up*: when a leader appends a return, both sites have what was committed
 *    a moment ago.
 *  - *mode is a function of the log alone*: what a node says of its log is what the entries of its
 *    journal say.
 *  - numbers rise by one; a policy entry keeps the mode and changes only under SYNC; nobody
 *    degrades under a committed `never`, nor by himself but under `auto`; modes change no more
 *    often than the policy in force allows, as far as the leader's process can have seen it.
 *
 * "In force" is decided by the members as the leader lists them. Only steps that are seen are
 * judged: a leader that dies within the very call that committed shows none, and what it committed
 * is judged at the next leader's first step.
 */
#include "chaos/sim/rule_checks.h"

#include "replication/node/node_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MODE_EVERY 8 /* looks */
#define HOUR_NS    (3600 * NS_PER_S)
#define COMMITS_NS (20 * NS_PER_MS)
/* The policy's lag_ms, which operators leave alone here, and what its looks are apart. */
#define LAG_NS (600 * NS_PER_MS)

void rule_checks_init(struct rule_checks *checks, struct world *world, const struct host *hosts,
                      uint32_t host_count)
{
    *checks = (struct rule_checks){.world = world, .hosts = hosts, .host_count = host_count};
    holdings_init(&checks->holdings, hosts, host_count);
}

void rule_checks_deinit(struct rule_checks *checks)
{
    holdings_deinit(&checks->holdings);
    free(checks->notes);
}

void rule_checks_forget(struct rule_checks *checks, const struct host *host)
{
    checks->both_seen[host->number] = 0;
    checks->synced_seen[host->number] = 0;
    checks->votes[host->number] = false;
}

/* ---- the committed log ---- */

const struct rule_note *rule_checks_at(const struct rule_checks *checks, uint64_t index)
{
    for (uint32_t i = checks->note_count; i > 0; i--)
        if (checks->notes[i - 1].index <= index)
            return &checks->notes[i - 1];
    return NULL;
}

enum durability_mode rule_checks_mode_at(const struct rule_checks *checks, uint64_t index)
{
    const struct rule_note *note = rule_checks_at(checks, index);
    return note == NULL ? DURABILITY_SYNC : note->entry.mode;
}

/* Changes of the mode since `since_ns`, within the last hour, by whomever. */
static uint32_t changes_since(const struct rule_checks *checks, uint64_t since_ns)
{
    const uint64_t now_ns = checks->world->now_ns;
    uint32_t count = 0;
    for (uint32_t i = 0; i < checks->note_count; i++)
        count += (checks->notes[i].entry.kind == DURABILITY_DEGRADE ||
                  checks->notes[i].entry.kind == DURABILITY_RETURN) &&
                 checks->notes[i].seen_ns > since_ns && now_ns - checks->notes[i].seen_ns < HOUR_NS;
    return count;
}

static void check_entry(struct rule_checks *checks, const struct host *host,
                        const struct durability_entry *entry, uint64_t index)
{
    struct durability_entry before;
    const struct rule_note *last = rule_checks_at(checks, index);
    if (last != NULL)
        before = last->entry;
    else
        durability_entry_default(&before);
    if (entry->number != before.number + 1)
        world_violate(checks->world,
                      "durability entry %" PRIu64 " at index %" PRIu64 " follows number %" PRIu64,
                      entry->number, index, before.number);
    if (entry->stamp <= before.stamp)
        world_violate(checks->world,
                      "durability entry %" PRIu64 " has stamp %" PRIu64 ", the one before %" PRIu64,
                      entry->number, entry->stamp, before.stamp);
    const bool automatic = entry->automatic;
    switch (entry->kind) {
    case DURABILITY_DEGRADE:
        checks->degrade_total++;
        if (before.policy.decision == DURABILITY_NEVER ||
            (automatic && before.policy.decision != DURABILITY_AUTO))
            world_violate(
                checks->world, "degrade entry %" PRIu64 " by \"%s\" was committed under policy %s",
                entry->number, entry->who, durability_decision_text(before.policy.decision));
        break;
    case DURABILITY_RETURN:
        checks->return_total++;
        if (before.mode != DURABILITY_DEGRADED)
            world_violate(checks->world, "return entry %" PRIu64 " follows mode sync",
                          entry->number);
        if (automatic &&
            changes_since(checks, host->opened_ns) + 2 >
                before.policy
                    .changes_per_hour_max) /* it knows of those since it opened its files */
            world_violate(checks->world,
                          "return entry %" PRIu64
                          ": automatic, and the %u changes of an hour are used up",
                          entry->number, before.policy.changes_per_hour_max);
        break;
    case DURABILITY_POLICY:
        checks->policy_total++;
        if (entry->mode != DURABILITY_SYNC || before.mode != DURABILITY_SYNC)
            world_violate(checks->world,
                          "policy entry %" PRIu64 " was committed in mode %s, leaving mode %s",
                          entry->number, durability_mode_text(before.mode),
                          durability_mode_text(entry->mode));
        break;
    case DURABILITY_RELEASE:
        if (entry->mode != before.mode)
            world_violate(checks->world, "release entry %" PRIu64 " changes the mode",
                          entry->number);
        break;
    case DURABILITY_NONE:
        break;
    }
}

struct reading {
    struct rule_checks *checks;
    const struct host *host;
};

static bool take_entry(void *context, const struct journal_entry *entry)
{
    struct reading *reading = context;
    struct rule_checks *checks = reading->checks;
    if (entry->type != JOURNAL_DURABILITY)
        return true;
    struct durability_entry decoded;
    if (durability_entry_decode(entry->payload, entry->size, &decoded) != STATUS_OK) {
        world_violate(checks->world, "index %" PRIu64 " holds a durability entry of no sense",
                      entry->index);
        return false;
    }
    check_entry(checks, reading->host, &decoded, entry->index);
    if (checks->note_count == checks->note_capacity) {
        checks->note_capacity = 2 * checks->note_capacity + 16;
        checks->notes = sim_resize(checks->notes, checks->note_capacity * sizeof *checks->notes);
    }
    checks->notes[checks->note_count++] = (struct rule_note){.index = entry->index,
                                                             .term = entry->term,
                                                             .seen_ns = checks->world->now_ns,
                                                             .entry = decoded};
    world_note(checks->world, durability_kind_text(decoded.kind), reading->host->number,
               entry->index, decoded.number);
    world_tell(checks->world,
               "the rule changes: %s %" PRIu64 " of site %s by %s: %s; committed at %" PRIu64
               " by host %u",
               durability_kind_text(decoded.kind), decoded.number, decoded.site, decoded.who,
               decoded.why, entry->index, reading->host->number);
    return true;
}

/* ---- commit steps ---- */

static bool is_in_force(const struct host *host)
{
    struct consensus_peer peers[MEMBERS_MAX];
    const uint32_t count = consensus_peers(host->node->consensus, peers, MEMBERS_MAX);
    const char *site = NULL;
    bool two = false, witness = false;
    for (uint32_t i = 0; i < count; i++) {
        if (peers[i].vote != CONSENSUS_VOTER)
            continue;
        if (peers[i].member.kind == MEMBER_WITNESS)
            witness = true;
        else if (site == NULL)
            site = peers[i].member.site;
        else
            two |= strcmp(site, peers[i].member.site) != 0;
    }
    return two && witness;
}

struct sites {
    bool a, b, witness;
};

static struct sites who_has(const struct rule_checks *checks, uint64_t index, uint64_t term)
{
    return (struct sites){
        .a = holdings_site_has(&checks->holdings, "A", MEMBER_DATA, index, term),
        .b = holdings_site_has(&checks->holdings, "B", MEMBER_DATA, index, term),
        .witness = holdings_site_has(&checks->holdings, "W", MEMBER_WITNESS, index, term),
    };
}

static void check_step(struct rule_checks *checks, const struct host *host, uint64_t to)
{
    struct journal *journal = host->node->journal;
    uint64_t term;
    if (journal_term(journal, to, &term) != STATUS_OK) {
        world_violate(checks->world,
                      "host %u leads and has committed %" PRIu64 ", which is not in its journal",
                      host->number, to);
        return;
    }
    const enum durability_mode mode = rule_checks_mode_at(checks, to);
    const struct sites has = who_has(checks, to, term);
    checks->step_total++;
    checks->sync_step_total += mode == DURABILITY_SYNC;
    if (has.a && has.b)
        return;
    checks->one_sided_total++;
    if (mode == DURABILITY_SYNC)
        world_violate(checks->world,
                      "commit does not imply both sites: host %u commits %" PRIu64 " (term %" PRIu64
                      ") in mode sync, and nobody at site %s has synced it%s",
                      host->number, to, term, has.a ? "B" : "A",
                      has.witness ? "; the witness has" : "");
    else if (!has.witness)
        world_violate(checks->world,
                      "degraded before the witness holds it: host %u commits %" PRIu64
                      " (term %" PRIu64 "), which nobody at site %s and no witness has synced",
                      host->number, to, term, has.a ? "B" : "A");
}

static void note_commit(struct rule_checks *checks, uint64_t index)
{
    const uint64_t now = checks->world->now_ns, count = checks->commits_count;
    if (count > 0 &&
        now - checks->commits[(count - 1) % RULE_COMMITS].at_ns < COMMITS_NS) /* fine enough */
        return;
    checks->commits[count % RULE_COMMITS].at_ns = now;
    checks->commits[count % RULE_COMMITS].index = index;
    checks->commits_count++;
}

/* What was committed at `at_ns`, or a little before; 0: too long ago. */
static uint64_t committed_at(const struct rule_checks *checks, uint64_t at_ns)
{
    const uint64_t count = checks->commits_count;
    for (uint64_t i = count; i > 0 && i + RULE_COMMITS > count; i--)
        if (checks->commits[(i - 1) % RULE_COMMITS].at_ns <= at_ns)
            return checks->commits[(i - 1) % RULE_COMMITS].index;
    return 0;
}

/* A leader that was deposed while it stood still: what it appends is cut off again. Whoever deposed
 * it may have stopped leading since. */
static bool is_deposed(const struct rule_checks *checks, uint64_t term)
{
    for (uint32_t i = 0; i < checks->host_count; i++)
        if (checks->led_term[i] > term)
            return true;
    return false;
}

/* A return that a leader has appended: both sites have what was committed a moment ago. */
static void look_at_return(struct rule_checks *checks, const struct host *host,
                           const struct consensus_status *status)
{
    const enum durability_mode before = checks->led_term[host->number] == status->term
                                            ? checks->mode_seen[host->number]
                                            : status->mode;
    uint64_t term;
    if (!status->leads)
        return;
    checks->led_term[host->number] = status->term;
    checks->mode_seen[host->number] = status->mode;
    if (before != DURABILITY_DEGRADED || status->mode != DURABILITY_SYNC ||
        is_deposed(checks, status->term))
        return;
    const uint64_t now = checks->world->now_ns;
    const uint64_t index = committed_at(checks, now > LAG_NS ? now - LAG_NS : 0);
    if (index == 0 || journal_term(host->node->journal, index, &term) != STATUS_OK)
        return;
    const struct sites has = who_has(checks, index, term);
    if (!has.a || !has.b)
        world_violate(checks->world,
                      "host %u counts on site %s again before it has caught up: nobody there has "
                      "synced %" PRIu64 ", committed %.1f s ago",
                      host->number, has.a ? "B" : "A", index, (double)LAG_NS / 1e9);
}

/* The same entries of somebody else, where its own disk has rotten. */
static bool read_elsewhere(struct reading *reading, uint64_t from, uint64_t to, uint64_t term)
{
    const struct rule_checks *checks = reading->checks;
    for (uint32_t i = 0; i < checks->host_count; i++) {
        const struct host *host = &checks->hosts[i];
        uint64_t found;
        if (host != reading->host && host->node != NULL && host->node->journal != NULL &&
            !host->dying && !host->disk.dead &&
            journal_term(host->node->journal, to, &found) == STATUS_OK && found == term &&
            journal_read(host->node->journal, from, to, take_entry, reading) == STATUS_OK)
            return true;
    }
    return false;
}

static void look_at_commit(struct rule_checks *checks, const struct host *host,
                           const struct consensus_status *status)
{
    struct journal *journal = host->node->journal;
    const uint64_t to = status->commit_index;
    struct journal_position position;
    if (!status->leads || to <= checks->commit_index)
        return;
    journal_position(journal, &position);
    uint64_t from = checks->commit_index + 1;
    if (from < position.first_index)
        from = position.first_index; /* pruned by a leader that nobody saw commit: founding */
    if (position.synced_index < to) {
        world_violate(checks->world,
                      "host %u leads and has committed %" PRIu64 ", but synced only %" PRIu64,
                      host->number, to, position.synced_index);
        return;
    }
    checks->commit_index = to;
    note_commit(checks, to);
    if (host->disk.dead)
        return; /* it cannot be read any more, and will die of it */
    struct reading reading = {.checks = checks, .host = host};
    uint64_t term;
    if (from <= to && journal_read(journal, from, to, take_entry, &reading) != STATUS_OK) {
        if (!host->disk.dead && (journal_term(journal, to, &term) != STATUS_OK ||
                                 !read_elsewhere(&reading, from, to, term)))
            world_violate(checks->world, "host %u cannot read %" PRIu64 "..%" PRIu64, host->number,
                          from, to);
        return;
    }
    if (status->site_rule && is_in_force(host))
        check_step(checks, host, to);
}

/* ---- claims of a node ---- */

static void look_at_both(struct rule_checks *checks, const struct host *host,
                         const struct consensus_status *status)
{
    const uint64_t both = status->both_index;
    uint64_t term;
    if (!status->site_rule || both <= checks->both_seen[host->number] ||
        both > status->commit_index) /* its own entry there may be another one */
        return;
    checks->both_seen[host->number] = both;
    if (journal_term(host->node->journal, both, &term) != STATUS_OK)
        return; /* further than its own journal: nobody can hold it to that here */
    checks->both_total++;
    const struct sites has = who_has(checks, both, term);
    if (!has.a || !has.b)
        world_violate(checks->world,
                      "host %u says that %" PRIu64
                      " is on both sites, and nobody at site %s has synced it",
                      host->number, both, has.a ? "B" : "A");
}

struct last_entry {
    bool found; /* above what is known to be committed */
    struct durability_entry entry;
};

static bool find_last(void *context, const struct journal_entry *entry)
{
    struct last_entry *last = context;
    struct durability_entry decoded;
    if (entry->type == JOURNAL_DURABILITY &&
        durability_entry_decode(entry->payload, entry->size, &decoded) == STATUS_OK)
        *last = (struct last_entry){.found = true, .entry = decoded};
    return true;
}

/* The durability entry in force at `to`, synced, in the host's own log. False: it cannot be told.
 */
static bool read_last(const struct rule_checks *checks, const struct host *host,
                      const struct consensus_status *status, uint64_t to,
                      struct durability_entry *out)
{
    struct journal *journal = host->node->journal;
    struct journal_position position;
    journal_position(journal, &position);
    uint64_t committed = status->commit_index < checks->commit_index
                             ? status->commit_index
                             : checks->commit_index; /* these it has as everybody has them */
    if (committed > to)
        committed = to;
    struct last_entry last = {0};
    if (committed + 1 < position.first_index)
        return false;
    if (committed < to && journal_read(journal, committed + 1, to, find_last, &last) != STATUS_OK)
        return false; /* its disk fails: it will say so itself */
    const struct rule_note *note = rule_checks_at(checks, committed);
    if (last.found)
        *out = last.entry;
    else if (note != NULL)
        *out = note->entry;
    else
        durability_entry_default(out);
    return true;
}

static bool is_voter(const struct host *host)
{
    struct consensus_peer peers[MEMBERS_MAX];
    const uint32_t count = consensus_peers(host->node->consensus, peers, MEMBERS_MAX);
    for (uint32_t i = 0; i < count; i++)
        if (peers[i].member.node_id == host->node_id)
            return peers[i].vote == CONSENSUS_VOTER;
    return false;
}

/* Whether the leader that the witness follows has nothing above `index` that changes the mode. What
 * lies below a degrade entry is sent because of it, one by one perhaps, before it comes itself. */
static bool sends_for_nothing_else(const struct rule_checks *checks, uint64_t term, uint64_t index)
{
    for (uint32_t i = 0; i < checks->host_count; i++) {
        const struct host *host = &checks->hosts[i];
        struct consensus_status status;
        struct consensus_durability durability;
        if (host->node == NULL || host->node->consensus == NULL || host->dying)
            continue;
        consensus_status(host->node->consensus, &status);
        if (!status.leads || status.term != term)
            continue;
        consensus_durability(host->node->consensus, &durability);
        return durability.newest_index <= index;
    }
    return false; /* it is gone, and its log with it */
}

/* Under SYNC a witness is not ahead of either site: what it holds, both hold. */
static void look_at_witness(struct rule_checks *checks, const struct host *host,
                            const struct consensus_status *status)
{
    struct journal_position position;
    struct durability_entry last;
    uint64_t term;
    journal_position(host->node->journal, &position);
    const uint64_t to = position.synced_index;
    if (to <= position.anchor_index || journal_term(host->node->journal, to, &term) != STATUS_OK ||
        (to == checks->synced_seen[host->number] && term == checks->synced_term_seen[host->number]))
        return;
    checks->synced_seen[host->number] = to;
    checks->synced_term_seen[host->number] = term;
    if (!checks->votes[host->number] && is_voter(host)) {
        checks->votes[host->number] = true;
        checks->voted_index[host->number] = position.last_index;
    }
    if (!checks->votes[host->number] || to <= checks->voted_index[host->number])
        return;
    if (!read_last(checks, host, status, to, &last) || last.mode == DURABILITY_DEGRADED)
        return;
    checks->witness_total++;
    const struct sites has = who_has(checks, to, term);
    if ((!has.a || !has.b) && sends_for_nothing_else(checks, status->term, to))
        world_violate(checks->world,
                      "the witness is ahead: it has synced %" PRIu64 " (term %" PRIu64
                      "), mode sync there, and nobody at site %s has",
                      to, term, has.a ? "B" : "A");
}

/* Only when everything of its log is synced, since nothing else can be read. */
static void look_at_mode(struct rule_checks *checks, const struct host *host,
                         const struct consensus_status *status)
{
    struct journal_position position;
    struct consensus_durability durability;
    struct last_entry last = {0};
    journal_position(host->node->journal, &position);
    if (position.synced_index != position.last_index ||
        position.last_index < status->commit_index ||
        !read_last(checks, host, status, position.last_index, &last.entry))
        return;
    /* A copy says what is committed, and may end before that entry: it is one of the log to come.
     */
    consensus_durability(host->node->consensus, &durability);
    if (durability.newest_index > position.last_index)
        return;
    checks->mode_total++;
    if (status->mode != last.entry.mode || status->durability_number != last.entry.number)
        world_violate(checks->world,
                      "host %u says mode %s, number %" PRIu64 ", and its log up to %" PRIu64
                      " says mode %s, number %" PRIu64,
                      host->number, durability_mode_text(status->mode), status->durability_number,
                      position.last_index, durability_mode_text(last.entry.mode),
                      last.entry.number);
}

void rule_checks_look(struct rule_checks *checks, const struct host *host)
{
    const struct node *node = host->node;
    if (node->journal == NULL || node->consensus == NULL || host->disk.dead ||
        node->phase == NODE_FAILED || node->phase == NODE_REINSTALLING)
        return;
    struct consensus_status status;
    consensus_status(node->consensus, &status);
    look_at_commit(checks, host, &status);
    if (status.site_rule)
        look_at_return(checks, host, &status);
    look_at_both(checks, host, &status);
    if (host->kind == MEMBER_WITNESS && status.site_rule && !checks->ignores_witness)
        look_at_witness(checks, host, &status);
    if (++checks->looks[host->number] % MODE_EVERY == 0 && status.site_rule)
        look_at_mode(checks, host, &status);
}
