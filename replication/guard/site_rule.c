/*
 * The arithmetic of the durability rule.
 *
 * docs/durability-rule.md has it for one index at a time (commit to x only if); a leader needs the
 * greatest index at once. What makes that possible is that verified indexes are prefixes: who has
 * verified c has verified all below. So "a majority has v >= c" holds exactly up to the quorum's
 * index, and of all the indexes where it holds there are two worth a look:
 *
 *     q   the quorum's index with the witness in full. If mode(q) is DEGRADED, q may be committed,
 *         and everything below with it; nothing greater can be.
 *     g   the quorum's index with the witness counted up to the gate. May always be committed.
 *
 * In between lie indexes that only the witness's full count covers. One of them may be degraded
 * while q is not (a return was appended, and the witness had verified beyond it already): rule 6
 * would allow it, and we do not commit it (rule 10). That costs nothing: the site that came back
 * had reached commit when the return was appended, so g goes on from there.
 *
 * tests/replication/guard/test_site_rule.c compares all of it with an oracle that goes through the
 * indexes one by one, and shows for each error in notes worth keeping that the test would see it.
 *
 * The modes are a sorted array of changes above a base. There are few: a degrade and a return take
 * a second at least, and what is committed is folded into the base.
 */
#include "replication/guard/site_rule.h"

#include "core/invariant.h"
#include "core/planted_fault.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ modes of the log */

void site_modes_deinit(struct site_modes *modes)
{
    free(modes->changes);
    *modes = (struct site_modes){0};
}

void site_modes_reset(struct site_modes *modes, uint64_t index, enum durability_mode mode)
{
    modes->base = (struct site_mode_change){.index = index, .mode = mode};
    modes->count = 0;
}

static const struct site_mode_change *last_change(const struct site_modes *modes)
{
    return modes->count == 0 ? &modes->base : &modes->changes[modes->count - 1];
}

bool site_modes_append(struct site_modes *modes, uint64_t index, enum durability_mode mode)
{
    const struct site_mode_change *last = last_change(modes);
    invariant_values(index > last->index, index, last->index);
    if (mode == last->mode)
        return true;
    if (modes->count == modes->capacity) {
        size_t capacity = modes->capacity == 0 ? 8 : 2 * modes->capacity;
        struct site_mode_change *larger =
            realloc(modes->changes, capacity * sizeof *modes->changes);
        if (larger == NULL)
            return false;
        modes->changes = larger;
        modes->capacity = capacity;
    }
    modes->changes[modes->count++] = (struct site_mode_change){.index = index, .mode = mode};
    return true;
}

void site_modes_truncate(struct site_modes *modes, uint64_t from)
{
    if (planted(PLANTED_TRUNCATED_DEGRADE_STAYS))
        from++;
    while (modes->count > 0 && modes->changes[modes->count - 1].index >= from)
        modes->count--;
}

void site_modes_forget(struct site_modes *modes, uint64_t commit)
{
    size_t below = 0;
    while (below < modes->count && modes->changes[below].index <= commit)
        below++;
    if (below == 0)
        return;
    modes->base = modes->changes[below - 1];
    modes->count -= below;
    memmove(modes->changes, modes->changes + below, modes->count * sizeof *modes->changes);
}

/* The change that decides at `index`; the one after it is not above it. */
static size_t changes_up_to(const struct site_modes *modes, uint64_t index)
{
    size_t count = modes->count;
    while (count > 0 && modes->changes[count - 1].index > index)
        count--;
    return count;
}

enum durability_mode site_modes_at(const struct site_modes *modes, uint64_t index)
{
    size_t count = changes_up_to(modes, index);
    return count == 0 ? modes->base.mode : modes->changes[count - 1].mode;
}

enum durability_mode site_modes_last(const struct site_modes *modes)
{
    return last_change(modes)->mode;
}

uint64_t site_modes_run_end(const struct site_modes *modes, uint64_t index)
{
    size_t count = changes_up_to(modes, index);
    invariant_values(site_modes_at(modes, index) == DURABILITY_DEGRADED, index, count);
    /* Neighbours differ, so the next one is the return. */
    return count == modes->count ? UINT64_MAX : modes->changes[count].index - 1;
}

uint64_t site_modes_last_degraded(const struct site_modes *modes, uint64_t last)
{
    size_t count = changes_up_to(modes, last);
    if (site_modes_at(modes, last) == DURABILITY_DEGRADED)
        return last;
    /* A change to SYNC decides there; before it was DEGRADED, above the base at least. */
    return count == 0 ? 0 : modes->changes[count - 1].index - 1;
}

/* ------------------------------------------------------------------------- votes */

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

bool site_votes_in_force(const struct site_votes *votes)
{
    bool seen[SITE_PLACE_OTHER + 1] = {false};
    for (uint32_t i = 0; i < votes->count; i++)
        seen[votes->votes[i].place] = true;
    return seen[SITE_PLACE_0] && seen[SITE_PLACE_1] && seen[SITE_PLACE_WITNESS] &&
           !seen[SITE_PLACE_OTHER];
}

uint64_t site_both_verified(const struct site_votes *votes)
{
    if (!site_votes_in_force(votes))
        return UINT64_MAX;
    uint64_t best[SITE_PLACE_OTHER + 1] = {0};
    for (uint32_t i = 0; i < votes->count; i++) {
        const struct site_vote *vote = &votes->votes[i];
        best[vote->place] = larger(best[vote->place], vote->verified);
    }
    return smaller(best[SITE_PLACE_0], best[SITE_PLACE_1]);
}

uint64_t site_gate(const struct site_votes *votes)
{
    return larger(votes->commit, site_both_verified(votes));
}

uint64_t site_both(const struct site_votes *votes)
{
    return site_votes_in_force(votes) ? smaller(votes->commit, site_both_verified(votes)) : 0;
}

uint64_t site_quorum(const struct site_votes *votes, uint64_t witness_cap)
{
    uint64_t sorted[SITE_VOTES_MAX]; /* descending */
    invariant_values(votes->count <= SITE_VOTES_MAX, votes->count, SITE_VOTES_MAX);
    for (uint32_t i = 0; i < votes->count; i++) {
        uint64_t verified = votes->votes[i].verified;
        if (votes->votes[i].place == SITE_PLACE_WITNESS)
            verified = smaller(verified, witness_cap);
        uint32_t place = i;
        for (; place > 0 && sorted[place - 1] < verified; place--)
            sorted[place] = sorted[place - 1];
        sorted[place] = verified;
    }
    /* n / 2 + 1 voters are a majority, and hold what the last of them holds. */
    return votes->count == 0 ? 0 : sorted[votes->count / 2];
}

uint64_t site_witness_limit(const struct site_modes *modes, const struct site_votes *votes)
{
    return smaller(votes->last,
                   larger(site_gate(votes), site_modes_last_degraded(modes, votes->last)));
}

uint64_t site_witness_cap(const struct site_modes *modes, const struct site_votes *votes)
{
    if (!site_votes_in_force(votes))
        return UINT64_MAX;
    /* libraft commits no further than our own disk: the index in question is the lesser one. With
     * one witness a majority without the leader spans both sites; with more it need not. */
    uint64_t quorum = smaller(site_quorum(votes, UINT64_MAX), votes->stored);
    if (site_modes_at(modes, quorum) == DURABILITY_DEGRADED)
        return larger(site_gate(votes), site_modes_run_end(modes, quorum));
    return site_gate(votes);
}

uint64_t site_commit(const struct site_votes *votes, uint64_t witness_cap)
{
    uint64_t quorum = smaller(site_quorum(votes, witness_cap), votes->stored);
    return quorum > votes->commit && quorum >= votes->first_own ? quorum : votes->commit;
}

bool site_may_return(const struct site_modes *modes, const struct site_votes *votes)
{
    return site_votes_in_force(votes) && site_modes_last(modes) == DURABILITY_DEGRADED &&
           site_both_verified(votes) >= votes->commit;
}
