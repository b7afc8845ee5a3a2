/* The rule's arithmetic against an oracle that reads its lines one by one and looks at one index
 * after the other, on random logs and votes; and the errors worth fearing, planted into the oracle:
 * each must make a difference somewhere, or the comparison would not see it in the code either. */
#include "replication/guard/site_rule.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(site_rule, .timeout = 120);

/* ---- random states ---- */

#define INDEX_MAX 14
#define STATES    60000

static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = *state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t below(uint64_t *state, uint64_t bound)
{
    return next_random(state) % bound;
}

enum kind { NORMAL, DEGRADE, RETURN };

/* A leader, its log and what it knows. */
struct state {
    enum kind kinds[INDEX_MAX + 1]; /* of entry i */
    struct site_votes votes;
    uint32_t leader;    /* its place among the votes */
    uint64_t commit_at; /* what it had committed when it was elected */
    uint64_t result;    /* an index that some result names */
};

static const struct {
    uint32_t count;
    enum site_place places[6];
} topologies[] = {
    {3, {SITE_PLACE_0, SITE_PLACE_1, SITE_PLACE_WITNESS}},
    {5, {SITE_PLACE_0, SITE_PLACE_0, SITE_PLACE_1, SITE_PLACE_1, SITE_PLACE_WITNESS}},
    {4, {SITE_PLACE_0, SITE_PLACE_1, SITE_PLACE_1, SITE_PLACE_WITNESS}},
    {5, {SITE_PLACE_0, SITE_PLACE_0, SITE_PLACE_1, SITE_PLACE_WITNESS, SITE_PLACE_WITNESS}},
    {4, {SITE_PLACE_0, SITE_PLACE_0, SITE_PLACE_1, SITE_PLACE_1}},
    {3, {SITE_PLACE_0, SITE_PLACE_0, SITE_PLACE_WITNESS}},
    {1, {SITE_PLACE_0}},
    {4, {SITE_PLACE_0, SITE_PLACE_1, SITE_PLACE_OTHER, SITE_PLACE_WITNESS}},
};
#define TOPOLOGIES (sizeof topologies / sizeof topologies[0])
#define IN_FORCE   4 /* the first so many */

static struct state make_state(uint64_t seed)
{
    struct state state = {0};
    uint64_t random = seed;
    uint64_t topology = below(&random, 4) == 0 ? below(&random, TOPOLOGIES) : seed % IN_FORCE;
    struct site_votes *votes = &state.votes;
    votes->count = topologies[topology].count;
    votes->last = 1 + below(&random, INDEX_MAX);
    bool orderly = below(&random, 2) == 0; /* degrade and return in turn, as leaders do it */
    enum kind last_kind = RETURN;
    for (uint64_t i = 1; i <= votes->last; i++) {
        if (below(&random, 4) != 0)
            continue;
        state.kinds[i] = orderly             ? (last_kind == RETURN ? DEGRADE : RETURN)
                         : below(&random, 2) ? DEGRADE
                                             : RETURN;
        last_kind = state.kinds[i];
    }
    votes->commit = below(&random, votes->last + 1);
    state.commit_at = below(&random, votes->commit + 1);
    votes->first_own = below(&random, 3) == 0 ? 1 + below(&random, votes->last) : 1;
    if (below(&random, 16) == 0)
        votes->first_own = UINT64_MAX;
    state.leader = (uint32_t)below(&random, votes->count);
    while (topologies[topology].places[state.leader] == SITE_PLACE_WITNESS)
        state.leader = (uint32_t)below(&random, votes->count);
    for (uint32_t i = 0; i < votes->count; i++) {
        votes->votes[i].place = topologies[topology].places[i];
        votes->votes[i].verified =
            below(&random, 4) == 0 ? votes->last : below(&random, votes->last + 1);
    }
    votes->stored = votes->votes[state.leader].verified;
    state.result = below(&random, votes->last + 1);
    return state;
}

/* ---- the oracle: docs/durability-rule.md, rules 1 to 10 ---- */

/* Errors that somebody could make; notes on the model name most of them. */
enum planted {
    NOTHING,
    NO_GATE,                /* the witness is sent and counted in full */
    NO_CLAMP,               /* it is sent up to the gate, and counted in full */
    GATE_WITHOUT_COMMIT,    /* what is committed does not count */
    GATE_INHERITED,         /* the gate starts at what the leader inherited */
    GATE_BY_THE_BEST,       /* max over the sites instead of min */
    UNSYNCED_OWN_COPY,      /* the leader's own last index counts */
    DEGRADED_BY_THE_LOG,    /* the last mode of the whole log decides at each index */
    DEGRADED_BY_WITNESS,    /* in force once the witness verified the degrade entry */
    MODE_BY_COMMIT,         /* the committed prefix decides the mode */
    RETURN_BY_COMMIT,       /* a return is in force once it is committed */
    COUNTED_THROUGH_RETURN, /* the witness counts in full up to and including the return */
    FULL_PAST_RETURN,       /* what it has is delivered in full while the quorum is degraded */
    RESULT_INDEX,           /* libraft tries the index that a result names */
    OLD_TERM,               /* entries of older terms are counted */
    STEP_BY_ENTRY,          /* an answer takes the mode of its entry */
    EARLY_RETURN,           /* a return without the other site */
    BOTH_WITH_COMMIT,       /* `both` from the gate with its commit term */
    PLANTED_COUNT
};
static const char *const planted_names[] = {
    "nothing",
    "no gate",
    "no clamp",
    "gate without commit",
    "gate starts at the inherited length",
    "gate by the better site",
    "the leader's unsynced copy counts",
    "degrade in force once in the leader's log",
    "degrade in force once the witness alone verified it",
    "the committed prefix decides the mode",
    "return only once committed",
    "the witness counted through the return",
    "the witness delivered in full past a return",
    "libraft tries an index named by a result",
    "old-term counting",
    "mode by entry position",
    "return too early",
    "both with the commit term",
};

struct outcome {
    bool in_force;
    uint64_t gate, limit, commit, both;
    uint64_t credit; /* what libraft is told of a witness that has the whole log */
    bool may_return;
    enum durability_mode step[INDEX_MAX + 1]; /* of each index above the old commit */
};

static enum durability_mode mode_at(const struct state *state, uint64_t index, enum planted planted)
{
    enum durability_mode mode = DURABILITY_SYNC;
    if (planted == MODE_BY_COMMIT)
        index = state->votes.commit;
    if (planted == DEGRADED_BY_THE_LOG)
        index = state->votes.last;
    for (uint64_t i = 1; i <= index && i <= state->votes.last; i++) {
        if (state->kinds[i] == DEGRADE)
            mode = DURABILITY_DEGRADED;
        if (state->kinds[i] == RETURN && (planted != RETURN_BY_COMMIT || i <= state->votes.commit))
            mode = DURABILITY_SYNC;
    }
    return mode;
}

static uint64_t verified(const struct state *state, uint32_t i, enum planted planted)
{
    if (planted == UNSYNCED_OWN_COPY && i == state->leader)
        return state->votes.last;
    return state->votes.votes[i].verified;
}

static bool has_place(const struct state *state, enum site_place place)
{
    for (uint32_t i = 0; i < state->votes.count; i++) {
        if (state->votes.votes[i].place == place)
            return true;
    }
    return false;
}

/* Some data node of that site verified `index`. */
static bool site_has(const struct state *state, enum site_place place, uint64_t index,
                     enum planted planted)
{
    for (uint32_t i = 0; i < state->votes.count; i++) {
        if (state->votes.votes[i].place == place && verified(state, i, planted) >= index)
            return true;
    }
    return false;
}

static bool both_have(const struct state *state, uint64_t index, enum planted planted)
{
    bool first = site_has(state, SITE_PLACE_0, index, planted);
    bool second = site_has(state, SITE_PLACE_1, index, planted);
    return planted == GATE_BY_THE_BEST ? first || second : first && second;
}

static bool majority_has(const struct state *state, uint64_t index, uint64_t witness_cap,
                         enum planted planted)
{
    uint32_t having = 0;
    for (uint32_t i = 0; i < state->votes.count; i++) {
        bool has = verified(state, i, planted) >= index;
        if (state->votes.votes[i].place == SITE_PLACE_WITNESS)
            has = has && witness_cap >= index;
        having += has;
    }
    return 2 * having > state->votes.count;
}

static uint64_t oracle_gate(const struct state *state, enum planted planted)
{
    const struct site_votes *votes = &state->votes;
    uint64_t gate = 0;
    for (uint64_t x = 1; x <= votes->last; x++) {
        bool committed = x <= votes->commit && planted != GATE_WITHOUT_COMMIT;
        bool inherited = planted == GATE_INHERITED && x < votes->first_own;
        if (committed || inherited || both_have(state, x, planted))
            gate = x;
    }
    return gate;
}

/* 4 */
static uint64_t oracle_limit(const struct state *state, uint64_t gate, enum planted planted)
{
    uint64_t limit = 0;
    for (uint64_t x = 1; x <= state->votes.last; x++) {
        if (planted == NO_GATE || x <= gate || mode_at(state, x, planted) == DURABILITY_DEGRADED ||
            (planted == COUNTED_THROUGH_RETURN && state->kinds[x] == RETURN &&
             mode_at(state, x - 1, planted) == DURABILITY_DEGRADED))
            limit = x;
    }
    return limit;
}

/* 10: up to where the witness counts. */
static uint64_t oracle_cap(const struct state *state, uint64_t gate, enum planted planted)
{
    const struct site_votes *votes = &state->votes;
    uint64_t quorum = 0;
    for (uint64_t x = 1; x <= votes->stored || (planted == UNSYNCED_OWN_COPY && x <= votes->last);
         x++) {
        if (majority_has(state, x, UINT64_MAX, planted))
            quorum = x;
    }
    if (planted == NO_GATE || planted == NO_CLAMP)
        return UINT64_MAX;
    if (planted == DEGRADED_BY_WITNESS) {
        for (uint32_t i = 0; i < votes->count; i++) {
            if (votes->votes[i].place != SITE_PLACE_WITNESS)
                continue;
            for (uint64_t x = 1; x <= votes->votes[i].verified; x++) {
                if (state->kinds[x] == DEGRADE &&
                    mode_at(state, votes->last, planted) != DURABILITY_SYNC)
                    return UINT64_MAX;
            }
        }
    }
    if (mode_at(state, quorum, planted) != DURABILITY_DEGRADED)
        return gate;
    if (planted == FULL_PAST_RETURN)
        return UINT64_MAX;
    uint64_t end = quorum;
    while (end < votes->last && mode_at(state, end + 1, planted) == DURABILITY_DEGRADED)
        end++;
    if (planted == COUNTED_THROUGH_RETURN)
        end++;
    return end > gate ? end : gate;
}

static struct outcome ask_oracle(const struct state *state, enum planted planted)
{
    const struct site_votes *votes = &state->votes;
    struct outcome out = {
        .in_force = has_place(state, SITE_PLACE_0) && has_place(state, SITE_PLACE_1) &&
                    has_place(state, SITE_PLACE_WITNESS) && !has_place(state, SITE_PLACE_OTHER),
        .gate = UINT64_MAX,
        .limit = votes->last,
        .commit = votes->commit,
        .both = 0,
        .credit = votes->last,
    };
    uint64_t cap = UINT64_MAX;
    if (out.in_force) {
        out.gate = oracle_gate(state, planted);
        out.limit = oracle_limit(state, out.gate, planted);
        cap = oracle_cap(state, out.gate, planted);
        out.credit = cap < votes->last ? cap : votes->last;
        for (uint64_t x = 1; x <= votes->commit; x++) {
            if (both_have(state, x, planted) || planted == BOTH_WITH_COMMIT)
                out.both = x;
        }
        out.may_return = mode_at(state, votes->last, planted) == DURABILITY_DEGRADED &&
                         (planted == EARLY_RETURN || both_have(state, votes->commit, planted) ||
                          votes->commit == 0);
    }
    /* 5 and 6: the greatest index that a majority has, the witness counting up to its cap. */
    uint64_t most = planted == UNSYNCED_OWN_COPY ? votes->last : votes->stored;
    uint64_t quorum = 0;
    for (uint64_t c = 1; c <= most; c++) {
        if (majority_has(state, c, cap, planted))
            quorum = c;
    }
    if (planted == RESULT_INDEX && state->result < quorum)
        quorum = state->result;
    if (quorum > votes->commit && (planted == OLD_TERM || quorum >= votes->first_own))
        out.commit = quorum;
    /* 9 */
    for (uint64_t i = votes->commit + 1; i <= out.commit; i++)
        out.step[i] = mode_at(state, planted == STEP_BY_ENTRY ? i : out.commit, planted);
    return out;
}

/* ---- the module ---- */

static void make_modes(const struct state *state, struct site_modes *modes)
{
    for (uint64_t i = 1; i <= state->votes.last; i++) {
        if (state->kinds[i] != NORMAL)
            cr_assert(site_modes_append(
                modes, i, state->kinds[i] == DEGRADE ? DURABILITY_DEGRADED : DURABILITY_SYNC));
    }
}

static struct outcome ask_module(const struct state *state, const struct site_modes *modes)
{
    const struct site_votes *votes = &state->votes;
    struct outcome out = {
        .in_force = site_votes_in_force(votes),
        .gate = site_gate(votes),
        .limit = site_witness_limit(modes, votes),
        .commit = site_commit(votes, site_witness_cap(modes, votes)),
        .both = site_both(votes),
        .may_return = site_may_return(modes, votes),
    };
    const uint64_t cap = site_witness_cap(modes, votes);
    out.credit = cap < votes->last ? cap : votes->last;
    for (uint64_t i = votes->commit + 1; i <= out.commit; i++)
        out.step[i] = site_modes_at(modes, out.commit);
    return out;
}

static bool are_equal(const struct outcome *a, const struct outcome *b)
{
    return a->in_force == b->in_force && a->gate == b->gate && a->limit == b->limit &&
           a->credit == b->credit && a->commit == b->commit && a->both == b->both &&
           a->may_return == b->may_return && memcmp(a->step, b->step, sizeof a->step) == 0;
}

/* Thousands of random logs, votes and topologies, each judged by both. */
Test(site_rule, agrees_with_the_oracle)
{
    uint64_t commits = 0, in_force = 0, degraded = 0;
    for (uint64_t seed = 0; seed < STATES; seed++) {
        const struct state state = make_state(seed);
        struct site_modes modes = {0};
        make_modes(&state, &modes);
        const struct outcome expected = ask_oracle(&state, NOTHING);
        const struct outcome actual = ask_module(&state, &modes);
        cr_assert(are_equal(&expected, &actual),
                  "state %lu: gate %lu and %lu, limit %lu and %lu, commit %lu and %lu, both %lu "
                  "and %lu",
                  seed, expected.gate, actual.gate, expected.limit, actual.limit, expected.commit,
                  actual.commit, expected.both, actual.both);
        in_force += actual.in_force;
        commits += actual.in_force && actual.commit > state.votes.commit;
        degraded += actual.in_force && actual.commit > state.votes.commit &&
                    actual.step[actual.commit] == DURABILITY_DEGRADED;
        site_modes_deinit(&modes);
    }
    /* The states are worth comparing. */
    cr_assert_gt(in_force, STATES / 2);
    cr_assert_gt(commits, STATES / 20);
    cr_assert_gt(degraded, STATES / 100);
    cr_assert_gt(commits - degraded, STATES / 100);
}

/* Committed changes are folded away: nothing that is asked above the commit changes by that. */
Test(site_rule, needs_no_modes_below_the_commit)
{
    for (uint64_t seed = 0; seed < STATES / 4; seed++) {
        const struct state state = make_state(seed);
        struct site_modes modes = {0};
        make_modes(&state, &modes);
        site_modes_forget(&modes, state.votes.commit);
        const struct outcome expected = ask_oracle(&state, NOTHING);
        struct outcome actual = ask_module(&state, &modes);
        if (site_quorum(&state.votes, UINT64_MAX) < state.votes.commit ||
            state.votes.stored < state.votes.commit)
            actual.credit = expected.credit; /* below the commit the mode is not known */
        cr_assert(are_equal(&expected, &actual), "state %lu", seed);
        site_modes_deinit(&modes);
    }
}

/* Each error that somebody could make gives another answer in some of those states. */
Test(site_rule, comparison_sees_each_planted_error)
{
    for (int planted = NOTHING + 1; planted < PLANTED_COUNT; planted++) {
        uint64_t seen = 0;
        for (uint64_t seed = 0; seed < STATES; seed++) {
            const struct state state = make_state(seed);
            const struct outcome expected = ask_oracle(&state, NOTHING);
            const struct outcome wrong = ask_oracle(&state, (enum planted)planted);
            seen += !are_equal(&expected, &wrong);
        }
        cr_assert_gt(seen, 20, "%s: seen in %lu states", planted_names[planted], seen);
    }
}

/* 6, said once more: whatever is committed is covered by a majority with the gated witness; or by a
 * majority as it is, and the mode there is degraded. And under SYNC, in every reachable state (what
 * was committed before is on both sites): on a data node of each site. */
Test(site_rule, commits_nothing_that_the_rule_forbids)
{
    uint64_t checked = 0;
    for (uint64_t seed = 0; seed < STATES; seed++) {
        const struct state state = make_state(seed);
        const struct site_votes *votes = &state.votes;
        struct site_modes modes = {0};
        make_modes(&state, &modes);
        const uint64_t c = site_commit(votes, site_witness_cap(&modes, votes));
        site_modes_deinit(&modes);
        if (c == votes->commit || !site_votes_in_force(votes))
            continue;
        uint64_t gate = oracle_gate(&state, NOTHING);
        cr_assert_geq(c, votes->first_own);
        bool degraded = mode_at(&state, c, NOTHING) == DURABILITY_DEGRADED;
        cr_assert(majority_has(&state, c, gate, NOTHING) ||
                      (degraded && majority_has(&state, c, UINT64_MAX, NOTHING)),
                  "state %lu", seed);
        if (!degraded && votes->count % 2 == 1)
            cr_assert(both_have(&state, c, NOTHING), "state %lu, commit %lu", seed, c);
        checked++;
    }
    cr_assert_gt(checked, STATES / 20);
}

/* ---- the modes by themselves ---- */

/* Appends, truncations and forgotten prefixes at random, against the plain list of entries. */
Test(site_rule, modes_follow_the_log)
{
    uint64_t random = 4711;
    for (unsigned round = 0; round < 300; round++) {
        struct state state = {0};
        struct site_modes modes = {0};
        uint64_t last = 0, commit = 0;
        for (unsigned step = 0; step < 60; step++) {
            if (below(&random, 4) == 0) {
                last = commit + below(&random, last - commit + 1);
                site_modes_truncate(&modes, last + 1);
                for (uint64_t i = last + 1; i <= INDEX_MAX; i++)
                    state.kinds[i] = NORMAL;
            } else if (last < INDEX_MAX) {
                last++;
                state.kinds[last] = (enum kind)below(&random, 3);
                if (state.kinds[last] != NORMAL)
                    cr_assert(site_modes_append(&modes, last,
                                                state.kinds[last] == DEGRADE ? DURABILITY_DEGRADED
                                                                             : DURABILITY_SYNC));
            }
            if (below(&random, 6) == 0) {
                commit += below(&random, last - commit + 1);
                site_modes_forget(&modes, commit);
            }
            state.votes.last = last;
            cr_assert_eq(site_modes_last(&modes), mode_at(&state, last, NOTHING));
            for (uint64_t i = commit > 0 ? commit : 1; i <= last; i++)
                cr_assert_eq(site_modes_at(&modes, i), mode_at(&state, i, NOTHING));
            cr_assert_leq(modes.count, last - commit);
        }
        site_modes_deinit(&modes);
    }
}

/* d at 3, r at 6, d at 9: the runs are 3 to 5, and from 9 on without an end. */
Test(site_rule, runs_end_before_the_next_return)
{
    struct site_modes modes = {0};
    cr_assert(site_modes_append(&modes, 3, DURABILITY_DEGRADED));
    cr_assert(site_modes_append(&modes, 4, DURABILITY_DEGRADED)); /* again: nothing new */
    cr_assert(site_modes_append(&modes, 6, DURABILITY_SYNC));
    cr_assert(site_modes_append(&modes, 9, DURABILITY_DEGRADED));
    cr_assert_eq(modes.count, 3);
    cr_assert_eq(site_modes_run_end(&modes, 3), 5);
    cr_assert_eq(site_modes_run_end(&modes, 5), 5);
    cr_assert_eq(site_modes_run_end(&modes, 9), UINT64_MAX);
    cr_assert_eq(site_modes_last_degraded(&modes, 2), 0);
    cr_assert_eq(site_modes_last_degraded(&modes, 4), 4);
    cr_assert_eq(site_modes_last_degraded(&modes, 8), 5);
    cr_assert_eq(site_modes_last_degraded(&modes, 20), 20);
    site_modes_forget(&modes, 7);
    cr_assert_eq(site_modes_at(&modes, 8), DURABILITY_SYNC);
    cr_assert_eq(site_modes_run_end(&modes, 10), UINT64_MAX);
    site_modes_reset(&modes, 40, DURABILITY_DEGRADED);
    cr_assert_eq(site_modes_last(&modes), DURABILITY_DEGRADED);
    cr_assert_eq(site_modes_run_end(&modes, 41), UINT64_MAX);
    site_modes_deinit(&modes);
}
