/*
 * The durability rule of two sites, seen from libraft: what goes into the arithmetic of
 * site_rule.h, and what comes of it.
 *
 *     the log        append, truncate, load ──► modes          (every node)
 *     configuration  ──► place of each voter, rule in force    (every node)
 *     answers        ──► votes ──► gate, limit, cap, index to try   (leader; here)
 *                                   └──► what a witness is sent     (raft_guard_lane.c)
 *
 * In force is the rule as long as the configuration in force has data voters at two sites and a
 * witness; otherwise nothing here does anything, and a majority is all there is.
 *
 * How it is kept with a library that knows only majorities. libraft commits to an index when a
 * majority of the matches that it was told reaches it. So it is told of a data node what that node
 * verified, and of a witness min(verified, cap); and the only index it is let try is the one that
 * the rule gives (raft_guard_receive.c). There is one commit that nobody lets it try: at the end of
 * an own append it asks for its last stored index. That is safe too: what it was told of a witness
 * is covered by the gate of some moment, and gates only rise; or it lies within a degraded run, so
 * that whatever is committed by it above the commit of that moment is degraded.
 *
 * An answer that a witness gave counts again later: when the gate has risen, or the quorum reached
 * a degraded entry. Nobody speaks then, so after each event its last answer is delivered once more
 * (AGAIN).
 *
 * The parts that can be switched off (raft_guard.h) are the errors that were found by model and
 * simulation; each has a schedule in tests/replication/guard/raft_schedules_site.c.
 */
#include "core/invariant.h"
#include "replication/guard/raft_guard_internal.h"
#include "replication/guard/raft_layout.h"

#include <string.h>

/* ------------------------------------------------------------------ modes of the log */

bool guard_modes_grow(struct raft_guard *guard, raft_index first, const struct raft_entry entries[],
                      size_t count)
{
    const struct raft_guard_options *options = &guard->options;
    if (options->sets_mode == NULL)
        return true;
    for (size_t i = 0; i < count; i++) {
        enum durability_mode mode;
        if (entries[i].type != RAFT_COMMAND ||
            !options->sets_mode(options->context, &entries[i].buf, &mode))
            continue;
        if (!site_modes_append(&guard->modes, first + i, mode)) {
            guard_stop(guard, "memory", RAFT_NOMEM);
            return false;
        }
    }
    return true;
}

void raft_guard_set_mode(struct raft_guard *guard, raft_index index, enum durability_mode mode)
{
    site_modes_reset(&guard->modes, index, mode);
}

/* What the owner said of the log up to some index may be of an entry that was loaded as well. Below
 * that one the mode is not known; all of it is committed, and SYNC claims and allows the least. */
bool guard_modes_load(struct raft_guard *guard, raft_index start, const struct raft_entry *entries,
                      size_t count)
{
    const struct raft_guard_options *options = &guard->options;
    struct site_mode_change base = guard->modes.base;
    if (base.index >= start) {
        for (size_t i = 0; i < count && start + i <= base.index; i++) {
            enum durability_mode mode;
            if (options->sets_mode != NULL && entries[i].type == RAFT_COMMAND &&
                options->sets_mode(options->context, &entries[i].buf, &mode))
                base.mode = DURABILITY_SYNC;
        }
        site_modes_reset(&guard->modes, start - 1, base.mode);
    }
    return guard_modes_grow(guard, start, entries, count);
}

enum durability_mode raft_guard_mode(const struct raft_guard *guard)
{
    return site_modes_last(&guard->modes);
}

/* ---------------------------------------------------------------------------- places */

static bool is_in_force(const struct raft_guard *guard)
{
    const struct raft_configuration *configuration = &guard->options.raft->configuration;
    struct site_votes votes = {0};
    for (unsigned i = 0; i < configuration->n; i++) {
        if (configuration->servers[i].role == RAFT_VOTER)
            votes.votes[votes.count++].place = guard->places.of[i];
    }
    return site_votes_in_force(&votes);
}

static bool are_noted(const struct raft_guard *guard)
{
    const struct raft *raft = guard->options.raft;
    const struct raft_configuration *configuration = &raft->configuration;
    if (!guard->places.known || guard->places.n != configuration->n ||
        guard->places.configuration != raft_layout_committed_configuration(raft) ||
        guard->places.uncommitted != raft_layout_uncommitted_configuration(raft))
        return false;
    for (unsigned i = 0; i < configuration->n; i++)
        if (guard->places.servers[i].id != configuration->servers[i].id ||
            guard->places.servers[i].role != configuration->servers[i].role)
            return false;
    return true;
}

/* A witness that has just got its vote was sent everything until now, and what libraft knows of it
 * would be counted in full before its lane begins. */
static void clamp_witnesses(struct raft_guard *guard)
{
    struct raft *raft = guard->options.raft;
    for (unsigned i = 0; i < raft->configuration.n; i++) {
        const struct raft_server *server = &raft->configuration.servers[i];
        if (guard->places.of[i] != SITE_PLACE_WITNESS || server->role != RAFT_VOTER ||
            server->id == raft->id)
            continue;
        const raft_index cap = guard_witness_cap(guard);
        if (raft_layout_match(raft, server->id) > cap)
            raft_layout_set_match(raft, server->id, cap);
    }
}

void guard_note_places(struct raft_guard *guard)
{
    const struct raft_guard_options *options = &guard->options;
    const struct raft *raft = options->raft;
    const struct raft_configuration *configuration = &raft->configuration;
    if (are_noted(guard))
        return;
    const bool was_in_force = guard->places.in_force;
    invariant_values(configuration->n <= RAFT_GUARD_PEERS_MAX, configuration->n, raft->id);
    guard->places.known = true;
    guard->places.configuration = raft_layout_committed_configuration(raft);
    guard->places.uncommitted = raft_layout_uncommitted_configuration(raft);
    guard->places.n = configuration->n;
    for (unsigned i = 0; i < configuration->n; i++) {
        guard->places.servers[i].id = configuration->servers[i].id;
        guard->places.servers[i].role = configuration->servers[i].role;
    }
    memset(guard->places.of, 0, sizeof guard->places.of);
    if (options->places != NULL)
        options->places(options->context, configuration, guard->places.of);
    guard->places.in_force = is_in_force(guard);
    if (guard->places.in_force && !was_in_force && raft->state == RAFT_LEADER)
        clamp_witnesses(guard);
}

enum site_place guard_place(const struct raft_guard *guard, raft_id id)
{
    const struct raft_configuration *configuration = &guard->options.raft->configuration;
    for (unsigned i = 0; i < configuration->n && i < guard->places.n; i++) {
        if (configuration->servers[i].id == id)
            return guard->places.of[i];
    }
    return SITE_PLACE_OTHER;
}

bool raft_guard_rule_in_force(const struct raft_guard *guard)
{
    return guard->places.in_force;
}

bool guard_keeps_rule(const struct raft_guard *guard)
{
    return guard->places.in_force && guard->options.raft->state == RAFT_LEADER &&
           guard->places.n == guard->options.raft->configuration.n;
}

/* ----------------------------------------------------------------------------- votes */

raft_index guard_stored(const struct raft_guard *guard)
{
    return guard->delivering ? guard->stored : guard->options.raft->last_stored;
}

raft_index raft_guard_verified(const struct raft_guard *guard, raft_id id)
{
    const struct raft *raft = guard->options.raft;
    if (guard->stopped || raft->state != RAFT_LEADER)
        return 0;
    if (id == raft->id)
        return guard_stored(guard);
    for (unsigned i = 0; i < RAFT_GUARD_PEERS_MAX; i++) {
        if (guard->lanes[i].id == id && guard->lanes_term == raft->current_term)
            return guard->lanes[i].verified;
    }
    return raft_layout_match(raft, id);
}

/* As of now, `acking` having just acknowledged `acked` (a data node; 0: nobody). */
static void collect(const struct raft_guard *guard, raft_id acking, raft_index acked,
                    struct site_votes *out)
{
    const struct raft *raft = guard->options.raft;
    const struct raft_configuration *configuration = &raft->configuration;
    *out = (struct site_votes){.commit = raft->commit_index,
                               .stored = guard_stored(guard),
                               .last = raft_last_index(guard->options.raft)};
    for (unsigned i = 0; i < configuration->n; i++) {
        const struct raft_server *server = &configuration->servers[i];
        if (server->role != RAFT_VOTER)
            continue;
        struct site_vote *vote = &out->votes[out->count++];
        vote->place = guard->places.of[i];
        vote->verified = raft_guard_verified(guard, server->id);
        if (server->id == acking && acked > vote->verified)
            vote->verified = acked;
        if (server->id == raft->id && !guard_has(guard, RAFT_GUARD_SYNCED))
            vote->verified = out->last;
    }
    if (!guard_has(guard, RAFT_GUARD_SYNCED))
        out->stored = out->last;
    if (!guard_has(guard, RAFT_GUARD_VERIFIED)) {
        raft_index inherited = out->commit;
        while (inherited < out->last &&
               raft_layout_term_at(raft, inherited + 1) != raft->current_term)
            inherited++;
        for (unsigned i = 0; i < out->count; i++) {
            struct site_vote *vote = &out->votes[i];
            if (vote->place != SITE_PLACE_WITNESS && vote->verified < inherited)
                vote->verified = inherited;
        }
    }
}

static bool is_degraded_by_commit(const struct raft_guard *guard)
{
    const struct raft *raft = guard->options.raft;
    return site_modes_at(&guard->modes, raft->commit_index) == DURABILITY_DEGRADED;
}

raft_index guard_witness_limit(const struct raft_guard *guard)
{
    struct site_votes votes;
    collect(guard, 0, 0, &votes);
    if (!guard_has(guard, RAFT_GUARD_GATE) ||
        (!guard_has(guard, RAFT_GUARD_MODE) && is_degraded_by_commit(guard)))
        return votes.last;
    if (!guard_has(guard, RAFT_GUARD_MODE))
        return site_gate(&votes) < votes.last ? site_gate(&votes) : votes.last;
    return site_witness_limit(&guard->modes, &votes);
}

static raft_index cap_of(const struct raft_guard *guard, const struct site_votes *votes)
{
    const struct site_modes *modes = &guard->modes;
    if (!guard_has(guard, RAFT_GUARD_CLAMP))
        return UINT64_MAX;
    if (!guard_has(guard, RAFT_GUARD_MODE))
        return is_degraded_by_commit(guard) ? UINT64_MAX : site_gate(votes);
    if (!guard_has(guard, RAFT_GUARD_REACHED) && site_modes_last(modes) == DURABILITY_DEGRADED)
        return UINT64_MAX;
    raft_index cap = site_witness_cap(modes, votes);
    if (!guard_has(guard, RAFT_GUARD_RUN) && cap > site_gate(votes))
        return UINT64_MAX;
    return cap;
}

raft_index guard_witness_cap(const struct raft_guard *guard)
{
    struct site_votes votes;
    collect(guard, 0, 0, &votes);
    return cap_of(guard, &votes);
}

raft_index guard_site_try(const struct raft_guard *guard, raft_id acking, raft_index acked)
{
    struct site_votes votes;
    collect(guard, acking, acked, &votes);
    return site_commit(&votes, cap_of(guard, &votes)); /* whose term that is: index_to_try() */
}

raft_index raft_guard_both(const struct raft_guard *guard)
{
    if (guard->stopped || !guard_keeps_rule(guard))
        return 0;
    struct site_votes votes;
    collect(guard, 0, 0, &votes);
    return site_both(&votes);
}

bool raft_guard_may_return(const struct raft_guard *guard)
{
    if (guard->stopped || !guard_keeps_rule(guard))
        return false;
    struct site_votes votes;
    collect(guard, 0, 0, &votes);
    return site_may_return(&guard->modes, &votes);
}

void guard_forget_modes(struct raft_guard *guard)
{
    site_modes_deinit(&guard->modes);
}
