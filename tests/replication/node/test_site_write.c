/* Drains, resumes and changes of the rule about both sites, over a consensus of straw. */
#include "replication/node/site_rules.h"
#include "site_straw.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(site_write, .timeout = 30);

static struct site_operation_request request(enum site_operation_kind kind, const char *site)
{
    struct site_operation_request made = straw_request(site);
    made.kind = kind;
    return made;
}

/* Begins, and turns until it ends or so many ms are over. */
static void run(const struct site_operation_request *wanted, uint32_t ms)
{
    straw.ends = 0;
    cr_assert_eq(straw_begin(wanted), STATUS_OK, "%s", straw.text);
    straw_turn(0);
    for (uint32_t at = 0; at < ms && straw.ends == 0; at++)
        straw_turn(1);
}

static void assert_refused(const struct site_operation_request *wanted, const char *words)
{
    const uint32_t proposals = straw.proposals;
    run(wanted, 1000);
    cr_assert_eq(straw.ends, 1);
    cr_assert_eq(straw.status, STATUS_INVALID, "%s", straw.text);
    cr_assert(strstr(straw.text, words), "\"%s\" lacks \"%s\"", straw.text, words);
    cr_assert_eq(straw.proposals, proposals);
    cr_assert_eq(straw.transfers, 0);
}

static void assert_done(const struct site_operation_request *wanted, bool before)
{
    run(wanted, 1000);
    cr_assert_eq(straw.ends, 1);
    cr_assert_eq(straw.status, STATUS_OK, "%s", straw.text);
    cr_assert_eq(straw.report.done_before, before);
}

/* Whether a check of the report begins so. */
static bool is_told(const char *words)
{
    for (uint32_t i = 0; i < straw.report.check_count; i++)
        if (strncmp(straw.report.checks[i].text, words, strlen(words)) == 0)
            return true;
    return false;
}

static const struct durability_entry *newest(void)
{
    return &straw.durability.newest;
}

/* ---- drain ---- */

/* At the leader of the other site: one policy entry; given again, none. With power off also the
 * degrade. */
Test(site_write, a_drain_writes_what_is_missing_and_given_again_nothing)
{
    straw_set_up("ABW");
    struct site_operation_request drain = request(SITE_DRAIN, "B");
    assert_done(&drain, false);
    cr_assert_str_eq(newest()->policy.drained_site, "B");
    cr_assert_str_eq(newest()->who, "urn:ops:ann");
    cr_assert_str_eq(newest()->why, "patch");
    cr_assert_eq(newest()->mode, DURABILITY_SYNC);
    cr_assert_eq(straw.proposals, 1);
    assert_done(&drain, true);
    cr_assert_eq(straw.proposals, 1);
    drain.power_off = true;
    assert_done(&drain, false);
    cr_assert_eq(straw.proposals, 2);
    cr_assert_eq(newest()->mode, DURABILITY_DEGRADED);
    cr_assert_str_eq(newest()->site, "B");
    assert_done(&drain, true);
    cr_assert_eq(straw.proposals, 2);
}

/* The policy of a drain is committed by both sites before anything is given up. */
Test(site_write, a_drain_degrades_only_when_its_policy_is_committed)
{
    straw_set_up("ABW");
    straw.commits = false;
    struct site_operation_request drain = request(SITE_DRAIN, "B");
    drain.power_off = true;
    run(&drain, 500);
    cr_assert_eq(straw.proposals, 1);
    cr_assert_eq(newest()->mode, DURABILITY_SYNC);
    straw_commit();
    straw_turn(1);
    cr_assert_eq(straw.proposals, 2);
    cr_assert_eq(newest()->mode, DURABILITY_DEGRADED);
}

/* Of the leader's own site: leadership goes first, and the new leader is to go on. */
Test(site_write, a_drain_of_the_leaders_site_moves_leadership_and_says_again)
{
    straw_set_up("ABW");
    const struct site_operation_request drain = request(SITE_DRAIN, "A");
    cr_assert_eq(straw_begin(&drain), STATUS_OK);
    straw_turn(0);
    cr_assert_eq(straw.transferred_to, 2);
    straw.leader = 2;
    straw.transferring = false;
    straw_turn(1);
    straw_turn(SITE_SETTLE_MS);
    straw_turn(1);
    cr_assert_eq(straw.status, STATUS_OK, "%s", straw.text);
    cr_assert(straw.report.again);
    cr_assert_eq(straw.proposals, 0);
}

Test(site_write, a_drain_that_would_end_service_is_refused)
{
    straw_set_up("ABW");
    struct site_operation_request drain = request(SITE_DRAIN, "B");
    straw.durability.sites[1].survives_loss = false;
    snprintf(straw.durability.sites[1].why_not, sizeof straw.durability.sites[1].why_not,
             "node 3 is down");
    assert_refused(&drain, "would not go on without site B: node 3 is down");
    drain.force = true;
    assert_done(&drain, false);
    struct site_operation_request other = request(SITE_DRAIN, "A");
    assert_refused(&other, "site B is drained already");
    struct site_operation_request lead = request(SITE_SWITCHOVER, "B");
    assert_refused(&lead, "site B is drained, its nodes neither lead nor serve");
    straw_set_up("ABW");
    drain.force = false;
    straw.durability.in_force = false;
    assert_refused(&drain, "no other site that could serve alone");
    straw_set_up("ABW");
    straw.durability.newest.mode = straw.durability.committed.mode = DURABILITY_DEGRADED;
    assert_refused(&drain, "the cluster is degraded since entry 0");
    straw_set_up("ABW");
    drain.why[0] = 0;
    assert_refused(&drain, "a reason has to be given");
}

/* Under "never" its degrade entry would be refused, behind the entry that drains the site: so all
 * of it is refused, with force, too. Without --power-off nothing stops; what a loss would mean is
 * said. */
Test(site_write, a_drain_for_a_stop_under_never_is_refused_before_anything_is_written)
{
    straw_set_up("ABW");
    struct site_operation_request drain = request(SITE_DRAIN, "B");
    straw.durability.newest.policy.decision = DURABILITY_NEVER;
    straw.durability.committed = straw.durability.newest;
    snprintf(straw.durability.sites[1].why_not, sizeof straw.durability.sites[1].why_not,
             "nothing would be lost; by policy \"never\" writes stop until it is back");
    drain.power_off = true;
    assert_refused(&drain, "by policy \"never\" writes stop when site B is stopped");
    drain.force = true;
    assert_refused(&drain, "drain it without --power-off");
    cr_assert_eq(straw.transfers, 0);
    drain.power_off = drain.force = false;
    assert_done(&drain, false);
    cr_assert(is_told("if site B is lost while it is drained: nothing would be lost; by policy"));
    straw.durability.newest.policy.decision = DURABILITY_OPERATOR;
    straw.durability.committed = straw.durability.newest;
    drain.power_off = true;
    assert_done(&drain, false);
    cr_assert(is_told("the cluster goes on without site B"));
    cr_assert_eq(newest()->mode, DURABILITY_DEGRADED);
}

/* ---- resume ---- */

/* The site is off; it comes back, lacks entries for a while, and only then are both entries
 * written.
 */
Test(site_write, a_resume_waits_for_the_site_then_returns_and_ends_the_drain)
{
    straw_set_up("ABW");
    struct site_operation_request drain = request(SITE_DRAIN, "B");
    drain.power_off = true;
    assert_done(&drain, false);
    straw.peers[1].linked = false;
    const struct site_operation_request resume = request(SITE_RESUME, "B");
    run(&resume, 2000);
    cr_assert_eq(straw.ends, 0, "it waits");
    cr_assert_eq(straw.proposals, 2);
    straw.peers[1].linked = true;
    straw.propose_status = STATUS_INVALID;
    straw.propose_text = "site B lacks 7 entries";
    straw_turn(200);
    straw_turn(SITE_WRITE_MS + 100);
    cr_assert_eq(straw.ends, 0, "a site that catches up is waited for: %s", straw.text);
    straw.propose_status = STATUS_OK;
    for (int turn = 0; turn < 3; turn++) /* one entry, the other, their end */
        straw_turn(10);
    cr_assert_eq(straw.ends, 1);
    cr_assert_eq(straw.status, STATUS_OK, "%s", straw.text);
    cr_assert_eq(newest()->mode, DURABILITY_SYNC);
    cr_assert_str_empty(newest()->policy.drained_site);
    cr_assert_eq(straw.proposals, 4);
    assert_done(&resume, true);
}

/* A site that was lost, and not drained: only the return is written. */
Test(site_write, a_resume_of_a_site_that_was_lost_returns)
{
    straw_set_up("ABW");
    const struct site_operation_request degrade = request(SITE_DEGRADE, "B");
    assert_done(&degrade, false);
    const struct site_operation_request own = request(SITE_RESUME, "A");
    assert_done(&own, true);
    const struct site_operation_request resume = request(SITE_RESUME, "B");
    assert_done(&resume, false);
    cr_assert_eq(newest()->mode, DURABILITY_SYNC);
    cr_assert_eq(straw.proposals, 2);
    assert_done(&resume, true);
}

Test(site_write, a_resume_that_takes_too_long_says_what_it_waits_for)
{
    straw_set_up("ABW");
    struct site_operation_request drain = request(SITE_DRAIN, "B");
    assert_done(&drain, false);
    straw.peers[1].linked = false;
    struct site_operation_request resume = request(SITE_RESUME, "B");
    resume.deadline_ns = straw.now_ns + 900 * MS;
    run(&resume, 1000);
    cr_assert_eq(straw.status, STATUS_DEADLINE);
    cr_assert(strstr(straw.text, "node 2 is not connected"), "%s", straw.text);
    cr_assert_str_eq(newest()->policy.drained_site, "B");
}

/* The leader gives the site up each time that it is returned to. That goes on for as long as the
 * caller likes, and is no reason for the leader to stop. */
Test(site_write, a_resume_beside_a_site_that_comes_and_goes_ends_when_the_caller_has_enough)
{
    straw_set_up("ABW");
    const struct site_operation_request degrade = request(SITE_DEGRADE, "B");
    assert_done(&degrade, false);
    struct site_operation_request resume = request(SITE_RESUME, "B");
    resume.deadline_ns = straw.now_ns + 3 * SITE_STEPS_MAX * MS;
    straw.ends = 0;
    cr_assert_eq(straw_begin(&resume), STATUS_OK);
    straw_turn(0);
    while (straw.ends == 0) {
        straw.durability.newest.mode = DURABILITY_DEGRADED;
        straw.durability.newest.number++;
        straw.durability.newest_index++;
        straw_commit();
        straw_turn(1);
    }
    cr_assert_eq(straw.status, STATUS_DEADLINE, "%s", straw.text);
    cr_assert_gt(straw.proposals, SITE_STEPS_MAX);
    cr_assert_eq(straw.report.step_count, SITE_STEPS_MAX);
    cr_assert_str_eq(straw.report.steps[0].text, "checked");
    cr_assert(strstr(straw.report.steps[SITE_STEPS_MAX - 1].text, "gave up"));
}

/* ---- entries by hand ---- */

Test(site_write, an_entry_is_written_against_the_number_that_was_seen)
{
    straw_set_up("ABW");
    struct site_operation_request policy = request(SITE_POLICY, "");
    snprintf(policy.settings, sizeof policy.settings, "decision=operator preferred_site=A");
    policy.has_number = true;
    policy.number = 4;
    assert_refused(&policy, "entry 0 is the newest");
    policy.number = 0;
    assert_done(&policy, false);
    cr_assert_eq(newest()->policy.decision, DURABILITY_OPERATOR);
    cr_assert_str_eq(newest()->policy.preferred_site, "A");
    assert_done(&policy, true); /* although the number is old by now: it is so */
    snprintf(policy.settings, sizeof policy.settings, "decision=auto");
    assert_refused(&policy, "entry 1 is the newest");
    snprintf(policy.settings, sizeof policy.settings, "decision=maybe");
    run(&policy, 10);
    cr_assert_eq(straw.status, STATUS_INVALID);
    cr_assert(strstr(straw.text, "auto, never or operator"), "%s", straw.text);
}

Test(site_write, degrade_and_return_are_written_once)
{
    straw_set_up("ABW");
    const struct site_operation_request degrade = request(SITE_DEGRADE, "B");
    const struct site_operation_request back = request(SITE_RETURN, "");
    assert_done(&back, true);
    assert_done(&degrade, false);
    assert_done(&degrade, true);
    assert_done(&back, false);
    assert_done(&back, true);
    cr_assert_eq(straw.proposals, 2);
}

/* Consensus' own refusal is the answer, in a dry run too. */
Test(site_write, what_consensus_refuses_is_refused_in_its_words)
{
    straw_set_up("ABW");
    struct site_operation_request degrade = request(SITE_DEGRADE, "B");
    straw.propose_status = STATUS_INVALID;
    straw.propose_text = "the policy is \"never\"";
    assert_refused(&degrade, "the policy is \"never\"");
    degrade.dry_run = true;
    run(&degrade, 10);
    cr_assert_eq(straw.status, STATUS_OK);
    cr_assert_not(site_rules_pass(&straw.report));
    straw.propose_status = STATUS_OK;
    run(&degrade, 10);
    cr_assert(site_rules_pass(&straw.report));
    cr_assert_eq(straw.proposals, 0);
}

/* An entry that no majority takes: bounded, and said; what is in the log stays. */
Test(site_write, an_entry_that_is_not_committed_is_waited_for_no_longer_than_the_bound)
{
    straw_set_up("ABW");
    straw.commits = false;
    const struct site_operation_request drain = request(SITE_DRAIN, "B");
    run(&drain, SITE_WRITE_MS - 10);
    cr_assert_eq(straw.ends, 0);
    straw_turn(100);
    cr_assert_eq(straw.status, STATUS_UNAVAILABLE);
    cr_assert(strstr(straw.text, "was not committed within"), "%s", straw.text);
    straw_commit();
    assert_done(&drain, true);
}

/* A leader that cannot commit anything yet may give a site up, and nothing else. */
Test(site_write, a_leader_that_is_not_ready_may_degrade_and_nothing_else)
{
    straw_set_up("ABW");
    straw.unready = true;
    const struct site_operation_request drain = request(SITE_DRAIN, "B");
    const struct site_operation_request degrade = request(SITE_DEGRADE, "B");
    cr_assert_eq(straw_begin(&drain), STATUS_NOT_READY);
    assert_done(&degrade, false);
}
