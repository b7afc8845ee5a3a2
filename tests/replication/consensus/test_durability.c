/*
 * The policy about the two sites on virtual time: every sentence of durability.c, by a story that
 * is played step by step. Site A leads unless a story says otherwise.
 */
#include "replication/consensus/durability.h"

#include <criterion/criterion.h>
#include <string.h>

#define MS   1000000ull
#define HOUR (3600ull * 1000 * MS)

struct story {
    struct durability durability;
    struct durability_inputs in;
    struct durability_verdict verdict;
    bool silent;     /* site B says nothing */
    bool stuck;      /* site B speaks, and verifies nothing */
    uint64_t behind; /* entries by which B trails the commit, all the time */
    uint32_t degrades, returns;
};

/* A leader elected just now, with both sites heard; 10 000 entries so far. */
static struct story begin(void)
{
    struct story s = {0};
    struct durability_entry entry;
    durability_entry_default(&entry);
    s.in = (struct durability_inputs){
        .now_ns = 10000 * MS,
        .in_force = true,
        .sites = {{.name = "A", .own = true}, {.name = "B"}},
        .commit_index = 10000,
        .ready = true,
        .campaign_ns = 9990 * MS,
        .elected_ns = 10000 * MS,
        .settled = true,
        .policy = entry.policy,
        .committed_decision = DURABILITY_AUTO,
    };
    s.in.sites[0].verified = s.in.sites[1].verified = 10000;
    s.in.sites[0].heard_ns = s.in.sites[1].heard_ns = 10000 * MS;
    durability_begin(&s.durability, s.in.now_ns);
    return s;
}

/* One step, `ms` after the last one, with one more entry. What is decided happens. */
static void step(struct story *s, uint64_t ms)
{
    struct durability_inputs *in = &s->in;
    struct durability_site *b = &in->sites[1];
    in->now_ns += ms * MS;
    in->sites[0].heard_ns = in->now_ns;
    if (!s->silent)
        b->heard_ns = in->now_ns;
    in->sites[0].verified++;
    if (s->silent || s->stuck) {
        if (b->unverified_ns == 0)
            b->unverified_ns = in->now_ns;
    } else {
        b->verified = in->sites[0].verified - s->behind;
        b->unverified_ns = s->behind == 0 ? 0 : in->now_ns;
    }
    in->commit_index = in->degraded                     ? in->sites[0].verified
                       : in->commit_index > b->verified ? in->commit_index
                                                        : b->verified;
    durability_step(&s->durability, in, &s->verdict);
    if (s->verdict.action == DURABILITY_STAY)
        return;
    in->degraded = s->verdict.action == DURABILITY_DEGRADE_NOW;
    s->degrades += in->degraded ? 1 : 0;
    s->returns += in->degraded ? 0 : 1;
    durability_note_change(&s->durability, in->now_ns);
}

/* Steps until something is decided, at most `ms`; returns how long that took. */
static uint64_t run(struct story *s, uint64_t ms)
{
    const uint32_t changes = s->degrades + s->returns;
    for (uint64_t at = 10; at <= ms; at += 10) {
        step(s, 10);
        if (s->degrades + s->returns != changes)
            return at;
    }
    return 0;
}

/* Site B falls silent under a leader that heard it: given up after degrade_after_ms, with words. */
Test(durability, a_silent_site_is_given_up_after_the_time_of_the_policy)
{
    struct story s = begin();
    cr_assert_eq(run(&s, 5000), 0, "nothing while all is well: %s", s.verdict.why);
    s.silent = true;
    uint64_t ms = run(&s, 5000);
    cr_assert_eq(s.degrades, 1);
    cr_assert(ms >= 990 && ms <= 1020, "after %lu ms", ms);
    cr_assert_eq(s.verdict.site, 1);
    cr_assert(strstr(s.verdict.why, "site B") != NULL, "%s", s.verdict.why);
}

/* A new leader, degraded, knows of less than was committed: that the other site has that says
 * nothing. It is counted on again when it has had everything, for as long as the policy wants. */
Test(durability, a_leader_that_does_not_know_what_is_committed_counts_on_nobody_again)
{
    struct story s = begin();
    s.in.degraded = true;
    s.in.ready = false;
    for (uint64_t ms = 0; ms < 60000; ms += 10) {
        s.in.now_ns += 10 * MS;
        s.in.sites[0].heard_ns = s.in.sites[1].heard_ns = s.in.now_ns;
        durability_step(&s.durability, &s.in, &s.verdict);
        cr_assert_eq(s.verdict.action, DURABILITY_STAY, "after %lu ms: %s", ms, s.verdict.why);
    }
    /* Its own entry is committed, 500 more than it knew of. */
    s.in.ready = true;
    s.in.commit_index = s.in.sites[0].verified = 10500;
    for (uint64_t ms = 0; ms < 10000; ms += 10) {
        s.in.now_ns += 10 * MS;
        s.in.sites[0].heard_ns = s.in.sites[1].heard_ns = s.in.now_ns;
        durability_step(&s.durability, &s.in, &s.verdict);
        cr_assert_eq(s.verdict.action, DURABILITY_STAY, "after %lu ms: %s", ms, s.verdict.why);
    }
    const uint64_t took = run(&s, 20000);
    cr_assert_eq(s.returns, 1);
    cr_assert_geq(took, s.in.policy.resync_dwell_ms);
}

/* An idle cluster, no entry at all: silence alone is enough. */
Test(durability, silence_counts_without_any_entry)
{
    struct story s = begin();
    for (uint64_t ms = 0; ms < 1200 && s.degrades == 0; ms += 10) {
        s.in.now_ns += 10 * MS;
        durability_step(&s.durability, &s.in, &s.verdict);
        s.degrades += s.verdict.action == DURABILITY_DEGRADE_NOW;
    }
    cr_assert_eq(s.degrades, 1);
}

/* Site B answers every heartbeat, and its disks finish no write. */
Test(durability, a_stuck_disk_counts_like_silence)
{
    struct story s = begin();
    run(&s, 500);
    s.stuck = true;
    uint64_t ms = run(&s, 5000);
    cr_assert(ms >= 990 && ms <= 1020, "after %lu ms", ms);
    cr_assert(strstr(s.verdict.why, "disk") != NULL, "%s", s.verdict.why);
}

/* A link with a round trip of almost degrade_after_ms: always something unverified, never for long
 * enough. */
Test(durability, a_slow_link_does_not_degrade)
{
    struct story s = begin();
    for (uint32_t i = 0; i < 6000; i++) {
        s.in.now_ns += 10 * MS;
        if (s.in.now_ns - 900 * MS > s.in.campaign_ns)
            s.in.sites[1].heard_ns = s.in.now_ns - 900 * MS;
        s.in.sites[1].unverified_ns = s.in.now_ns - 900 * MS;
        durability_step(&s.durability, &s.in, &s.verdict);
        cr_assert_eq(s.verdict.action, DURABILITY_STAY, "%s", s.verdict.why);
    }
}

/* The leader's site is lost with the leader; who is elected at B hears nothing of it from the start
 * of its campaign on: it waits for grace_ms and no longer. */
Test(durability, a_new_leader_waits_for_the_grace_only)
{
    struct story s = begin();
    s.silent = true;
    s.in.sites[1].heard_ns = s.in.campaign_ns - 1;
    uint64_t ms = run(&s, 1000);
    cr_assert_eq(s.degrades, 1);
    cr_assert_eq(ms, s.in.policy.grace_ms, "after %lu ms", ms);
    cr_assert(strstr(s.verdict.why, "election") != NULL, "%s", s.verdict.why);
}

/* One word of the site since the campaign began, a vote perhaps: then it has the full time. */
Test(durability, a_word_during_the_campaign_gives_the_site_the_full_time)
{
    struct story s = begin();
    s.silent = true;
    s.in.sites[1].heard_ns = s.in.campaign_ns;
    uint64_t ms = run(&s, 5000);
    cr_assert(ms >= 990 && ms <= 1020, "after %lu ms", ms);
}

/* What was inherited unverified is not old because the leader before was: it counts from here. */
Test(durability, inherited_entries_count_from_the_election)
{
    struct story s = begin();
    s.stuck = true;
    s.in.sites[1].unverified_ns = s.in.elected_ns - 5000 * MS;
    uint64_t ms = run(&s, 5000);
    cr_assert(ms >= 990 && ms <= 1020, "after %lu ms", ms);
}

/* The leader itself was stopped for ten seconds. Nothing can have been heard in that time; the
 * site's answers lie in the sockets. */
Test(durability, a_pause_of_the_leader_is_not_the_silence_of_the_site)
{
    struct story s = begin();
    run(&s, 500);
    s.silent = true;
    step(&s, 10000);
    cr_assert_eq(s.verdict.action, DURABILITY_STAY, "%s", s.verdict.why);
    s.silent = false;
    s.in.sites[1].unverified_ns = 0;
    cr_assert_eq(run(&s, 3000), 0, "%s", s.verdict.why);
    s.silent = true;
    cr_assert_neq(run(&s, 3000), 0, "silence after the pause counts again");
}

/* An entry was on its way when the leader was stopped: how old it has become says nothing about
 * the site. It counts from the end of the pause, and then for the whole time. */
Test(durability, an_entry_that_waited_through_a_pause_counts_from_its_end)
{
    struct story s = begin();
    run(&s, 500);
    s.stuck = true;
    step(&s, 10);
    step(&s, 10000);
    cr_assert_eq(s.verdict.action, DURABILITY_STAY, "%s", s.verdict.why);
    uint64_t ms = run(&s, 5000);
    cr_assert_eq(s.degrades, 1);
    cr_assert(ms >= 990 && ms <= 1020, "after %lu ms", ms);
}

/* Under policies operator and never nothing is decided here; that it would be is told. */
Test(durability, only_the_automatic_policy_degrades_by_itself)
{
    const enum durability_decision decisions[] = {DURABILITY_OPERATOR, DURABILITY_NEVER};
    for (int i = 0; i < 2; i++) {
        struct story s = begin();
        s.in.policy.decision = s.in.committed_decision = decisions[i];
        s.silent = true;
        cr_assert_eq(run(&s, 60000), 0);
        cr_assert(s.verdict.wanted);
        cr_assert(strstr(s.verdict.why, "site B") != NULL, "%s", s.verdict.why);
    }
}

/* A change of policy that is in the log and not committed: neither policy's word is enough, since
 * what was promised under the one may not be taken back by an entry that nobody agreed to. */
Test(durability, while_a_policy_changes_both_have_to_allow_it)
{
    struct story s = begin();
    s.silent = true;
    s.in.committed_decision = DURABILITY_NEVER; /* never -> auto */
    cr_assert_eq(run(&s, 5000), 0);
    s.in.committed_decision = DURABILITY_AUTO; /* auto -> never */
    s.in.policy.decision = DURABILITY_NEVER;
    cr_assert_eq(run(&s, 5000), 0);
    s.in.policy.decision = DURABILITY_AUTO;
    cr_assert_neq(run(&s, 5000), 0);
}

static struct story degraded(void)
{
    struct story s = begin();
    s.silent = true;
    run(&s, 5000);
    cr_assert(s.in.degraded);
    return s;
}

/* Site B comes back and has everything at once: after resync_dwell_ms, and what lag_ms needs. */
Test(durability, a_site_that_keeps_pace_is_counted_on_again)
{
    struct story s = degraded();
    cr_assert_eq(run(&s, 60000), 0, "not while it is away");
    s.silent = false;
    uint64_t ms = run(&s, 20000);
    cr_assert_eq(s.returns, 1);
    cr_assert(ms >= s.in.policy.resync_dwell_ms && ms <= s.in.policy.resync_dwell_ms + 500,
              "after %lu ms", ms);
    cr_assert(strstr(s.verdict.why, "site B") != NULL, "%s", s.verdict.why);
}

/* Under load the site is never at the newest commit, always a round trip behind. To compare with
 * the newest one would keep the cluster degraded for as long as clients work. */
Test(durability, load_does_not_starve_the_return)
{
    struct story s = degraded();
    s.silent = false;
    s.behind = 20; /* 200 ms, at an entry every 10 */
    cr_assert_neq(run(&s, 20000), 0);
    s = degraded();
    s.silent = false;
    s.behind = 60; /* 600 ms: more than lag_ms */
    cr_assert_eq(run(&s, 60000), 0);
}

/* It falls behind once more in the middle of the dwell, for one step. */
Test(durability, the_dwell_begins_anew_when_the_site_loses_pace)
{
    struct story s = degraded();
    s.silent = false;
    cr_assert_eq(run(&s, s.in.policy.resync_dwell_ms - 200), 0);
    s.behind = 1000;
    step(&s, 10);
    s.behind = 0;
    uint64_t ms = run(&s, 20000);
    cr_assert(ms >= s.in.policy.resync_dwell_ms, "after %lu ms", ms);
}

/* A journal that is complete in a site that does not answer is not one to count on. */
Test(durability, a_site_must_be_heard_to_return)
{
    struct story s = degraded();
    s.silent = false;
    run(&s, 2000);
    for (uint32_t i = 0; i < 1000; i++) {
        s.in.now_ns += 10 * MS; /* nothing new is committed: B has all, and is gone */
        durability_step(&s.durability, &s.in, &s.verdict);
        cr_assert_neq(s.verdict.action, DURABILITY_RETURN_NOW);
    }
}

/* The leader's own site has to have it, too: it may lead with what only its site mate wrote. */
Test(durability, the_leaders_own_site_must_keep_pace_as_well)
{
    struct story s = degraded();
    s.silent = false;
    for (uint32_t i = 0; i < 1000; i++) {
        s.in.now_ns += 10 * MS;
        s.in.sites[1].heard_ns = s.in.now_ns;
        s.in.commit_index += 1;
        s.in.sites[1].verified = s.in.commit_index;
        s.in.sites[0].verified = s.in.commit_index - 500;
        durability_step(&s.durability, &s.in, &s.verdict);
        cr_assert_neq(s.verdict.action, DURABILITY_RETURN_NOW);
    }
}

/* What a person decided a person takes back; and nothing is returned on top of a change that is not
 * committed itself. */
Test(durability, what_an_operator_degraded_is_not_returned)
{
    struct story s = degraded();
    s.in.by_operator = true;
    s.silent = false;
    cr_assert_eq(run(&s, 60000), 0);
    s.in.by_operator = false;
    s.in.settled = false;
    cr_assert_eq(run(&s, 60000), 0);
    s.in.settled = true;
    cr_assert_neq(run(&s, 60000), 0);
}

/* Each mode lasts for dwell_min_ms. */
Test(durability, each_mode_lasts_for_the_least_dwell)
{
    struct story s = degraded();
    s.in.policy.dwell_min_ms = 20000;
    s.silent = false;
    uint64_t ms = run(&s, 60000);
    cr_assert(ms >= 19900 && ms <= 20100, "returned after %lu ms", ms);
    s.silent = true;
    ms = run(&s, 60000);
    cr_assert(ms >= 19900 && ms <= 20100, "degraded after %lu ms", ms);
}

/* A link that comes for eight seconds and goes for two, all day: no more changes in any hour than
 * the policy allows; the last word of each hour is degraded, and an alarm. */
Test(durability, a_flapping_link_changes_the_mode_a_bounded_number_of_times)
{
    struct story s = begin();
    uint32_t capped = 0, hours = 6;
    uint64_t times[1000] = {0};
    uint32_t count = 0;
    for (uint64_t ms = 0; ms < hours * 3600 * 1000; ms += 50) {
        s.silent = ms % 10000 >= 8000;
        const uint32_t before = s.degrades + s.returns;
        step(&s, 50);
        capped += s.verdict.capped;
        if (s.degrades + s.returns == before)
            continue;
        cr_assert_lt(count, 1000);
        times[count++] = s.in.now_ns;
        uint32_t in_hour = 0;
        for (uint32_t i = 0; i < count; i++)
            in_hour += s.in.now_ns - times[i] < HOUR;
        cr_assert_leq(in_hour, s.in.policy.changes_per_hour_max);
        cr_assert_eq(in_hour, durability_changes_last_hour(&s.durability, s.in.now_ns));
    }
    cr_assert_gt(count, s.in.policy.changes_per_hour_max, "it goes on after the first hour");
    cr_assert_gt(capped, 0, "and says so");
}

/* At the cap the cluster is degraded, never stuck in SYNC without a change left. */
Test(durability, the_cap_never_keeps_a_degrade_back)
{
    struct story s = begin();
    for (uint32_t i = 0; i < s.in.policy.changes_per_hour_max; i++)
        durability_note_change(&s.durability, s.in.now_ns);
    s.silent = true;
    cr_assert_neq(run(&s, 60000), 0);
    s.silent = false;
    cr_assert_eq(run(&s, 60000), 0);
    cr_assert(s.verdict.capped);
}

/* A new leader knows the changes that it followed: an election does not reset the cap. */
Test(durability, an_election_does_not_forget_the_changes)
{
    struct story s = degraded();
    for (uint32_t i = 0; i < s.in.policy.changes_per_hour_max; i++)
        durability_note_change(&s.durability, s.in.now_ns);
    durability_begin(&s.durability, s.in.now_ns);
    s.silent = false;
    cr_assert_eq(run(&s, 60000), 0);
    cr_assert(s.verdict.capped);
}

/* One site only, or no witness: the rule is not in force, and nothing is decided. */
Test(durability, nothing_is_decided_where_the_rule_is_not_in_force)
{
    struct story s = begin();
    s.in.in_force = false;
    s.silent = true;
    cr_assert_eq(run(&s, 60000), 0);
    cr_assert_not(s.verdict.wanted);
}

/* The same steps, moved by an hour and three nanoseconds: the same decisions at the same steps,
 * with the same words. */
Test(durability, decisions_depend_on_the_steps_alone)
{
    struct story a = begin(), b = begin();
    const uint64_t shift = HOUR + 3;
    b.in.now_ns += shift;
    b.in.campaign_ns += shift;
    b.in.elected_ns += shift;
    b.in.sites[0].heard_ns += shift;
    b.in.sites[1].heard_ns += shift;
    durability_begin(&b.durability, b.in.now_ns);
    uint32_t random = 1;
    for (uint32_t i = 0; i < 20000; i++) {
        random = random * 1664525u + 1013904223u;
        if (random >> 25 == 0) {
            a.silent = b.silent = !a.silent;
            a.behind = b.behind = random >> 8 & 31;
        }
        step(&a, 10 + (random >> 20 & 15));
        step(&b, 10 + (random >> 20 & 15));
        cr_assert_eq(a.verdict.action, b.verdict.action);
        cr_assert_str_eq(a.verdict.why, b.verdict.why);
    }
    cr_assert_gt(a.degrades, 3);
}

/* Bounds on running degraded: seconds, and money of the ledger where it is most. */
Test(durability, a_bound_alarms_or_refuses_as_the_policy_says)
{
    struct durability_policy policy = {.degraded_seconds_max = 60, .degraded_value_max = 1000};
    char why[DURABILITY_WHY_SIZE];
    struct durability_run run = {.degraded = true, .seconds = 59, .value_low = 999, .ledger = 7};
    cr_expect_eq(durability_judge_run(&policy, &run, why), DURABILITY_WITHIN);
    cr_expect_str_eq(why, "");
    run.seconds = 60;
    cr_expect_eq(durability_judge_run(&policy, &run, why), DURABILITY_BOUND_TOLD);
    cr_expect(strstr(why, "60 s") != NULL, "%s", why);
    policy.on_bound = DURABILITY_REFUSE;
    cr_expect_eq(durability_judge_run(&policy, &run, why), DURABILITY_BOUND_REFUSES);
    run.seconds = 0;
    cr_expect_eq(durability_judge_run(&policy, &run, why), DURABILITY_WITHIN);
    run.value_low = 1000;
    cr_expect_eq(durability_judge_run(&policy, &run, why), DURABILITY_BOUND_REFUSES);
    cr_expect(strstr(why, "ledger 7") != NULL, "%s", why);
    run.value_low = 0;
    run.value_high = 1;
    cr_expect_eq(durability_judge_run(&policy, &run, why), DURABILITY_BOUND_REFUSES);
    run.degraded = false;
    cr_expect_eq(durability_judge_run(&policy, &run, why), DURABILITY_WITHIN);
    policy = (struct durability_policy){.on_bound = DURABILITY_REFUSE};
    run = (struct durability_run){.degraded = true, .seconds = 1u << 30, .value_high = 1};
    cr_expect_eq(durability_judge_run(&policy, &run, why), DURABILITY_WITHIN, "no bound is set");
}
