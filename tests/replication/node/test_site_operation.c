/* Switchovers over a consensus of straw (site_straw.h). */
#include "replication/node/site_rules.h"
#include "site_straw.h"

#include <criterion/criterion.h>
#include <string.h>

TestSuite(site_operation, .timeout = 30);

/* Whatever stands in the way is said, nothing is held, nothing is transferred. */
static void assert_refused(const char *words)
{
    const struct site_operation_request request = straw_request("B");
    straw.ends = 0;
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    for (int i = 0; i < 1000 && straw.ends == 0; i++) {
        cr_assert_not(site_operation_holds(&straw.operation));
        straw_turn(1);
    }
    cr_assert_eq(straw.ends, 1);
    cr_assert_eq(straw.status, STATUS_INVALID, "%s", straw.text);
    cr_assert(strstr(straw.text, words), "\"%s\" lacks \"%s\"", straw.text, words);
    cr_assert(strstr(straw.text, "nothing was changed"), "%s", straw.text);
    cr_assert_eq(straw.transfers, 0);
}

/* ---- the walk ---- */

/* 2+2+1 under load: entries are in flight, the target is a little behind in applying. */
Test(site_operation, a_switchover_holds_waits_moves_and_tells_how_clients_fared)
{
    straw_set_up("ABWAB");
    const struct site_operation_request request = straw_request("B");
    straw.applied[2] = 900;
    straw.peers[4].match_index = 990; /* node 5 is at B, too, and further behind */
    straw.in_flight = 3;
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    straw_turn(10);
    cr_assert_not(site_operation_holds(&straw.operation), "the target has not applied enough");
    straw_turn(600);
    cr_assert_eq(straw.ends, 0);
    straw.applied[2] = 0;
    straw_turn(30);
    straw_turn(1);
    cr_assert(site_operation_holds(&straw.operation));
    cr_assert_eq(straw.transfers, 0, "entries are in flight");
    straw.in_flight = 0;
    straw_turn(5);
    cr_assert_eq(straw.transfers, 1);
    cr_assert_eq(straw.transferred_to, 2);
    cr_assert(site_operation_holds(&straw.operation));
    straw.leader = 0;
    straw.term = 6;
    straw.transferring = false;
    straw_turn(4);
    cr_assert_eq(straw.ends, 0);
    straw.leader = 2;
    straw_turn(7);
    cr_assert_not(site_operation_holds(&straw.operation));
    straw_turn(SITE_SETTLE_MS);
    straw_turn(1);
    cr_assert_eq(straw.ends, 1);
    cr_assert_eq(straw.status, STATUS_OK, "%s", straw.text);
    cr_assert_eq(straw.report.leader_id, 2);
    cr_assert_eq(straw.report.held_ns, (5 + 4 + 7 + 1) * MS - 1 * MS);
    cr_assert_eq(straw.report.pause_count, 4, "the witness has no clients");
    for (uint32_t i = 0; i < 4; i++) {
        const struct site_pause *pause = &straw.report.pauses[i];
        cr_assert(pause->known);
        cr_assert_eq(pause->pause.longest_wait_ns, pause->node_id * MS);
    }
    cr_assert_eq(site_operation_next_ns(&straw.operation), UINT64_MAX);
}

/* Given again, and for a site that does not exist. */
Test(site_operation, what_is_so_already_is_said_and_an_unknown_site_is_named)
{
    straw_set_up("ABW");
    struct site_operation_request request = straw_request("A");
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    cr_assert_eq(straw.status, STATUS_OK);
    cr_assert(straw.report.done_before);
    cr_assert_eq(straw.asked, 0);
    request = straw_request("W"); /* a witness's site is none that could lead */
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    cr_assert_eq(straw.status, STATUS_NOT_FOUND);
    cr_assert(strstr(straw.text, "\"W\""), "%s", straw.text);
    cr_assert(strstr(straw.text, "A, B"), "%s", straw.text);
}

Test(site_operation, a_dry_run_lists_the_checks_and_changes_nothing)
{
    straw_set_up("ABW");
    struct site_operation_request request = straw_request("B");
    request.dry_run = true;
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    cr_assert_eq(straw.ends, 1);
    cr_assert_eq(straw.status, STATUS_OK);
    cr_assert_geq(straw.report.check_count, 3);
    cr_assert(site_rules_pass(&straw.report));
    straw.peers[2].linked = false;
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    cr_assert_eq(straw.status, STATUS_OK);
    cr_assert_not(site_rules_pass(&straw.report));
    cr_assert_eq(straw.transfers, 0);
}

/* ---- what stands in the way ---- */

Test(site_operation, a_site_that_cannot_lead_is_refused_with_the_reason)
{
    straw_set_up("ABW");
    straw.peers[1].linked = false;
    assert_refused("node 2 is not connected");
    straw_set_up("ABW");
    straw.peers[1].heard_ns = straw.now_ns - (SITE_HEARD_MS_MAX + 1) * MS;
    assert_refused("node 2 has been silent");
    straw_set_up("ABW");
    straw.peers[1].match_index = 400;
    assert_refused("node 2 lags: 600 entries behind");
    straw_set_up("ABW");
    straw.silent[2] = true;
    assert_refused("node 2 did not answer");
    straw_set_up("ABW");
    straw.flags[2] = 0;
    assert_refused("node 2 does not serve");
    straw_set_up("ABW");
    straw.flags[2] = SITE_ANSWER_SERVES | SITE_ANSWER_READ_ONLY;
    assert_refused("node 2 is read-only");
    straw_set_up("ABW");
    straw.flags[2] = SITE_ANSWER_SERVES | SITE_ANSWER_STUCK;
    assert_refused("node 2's disk");
    straw_set_up("ABW");
    straw.clock_ns[2] = -300 * (int64_t)MS;
    assert_refused("clock is -300 ms from");
    straw_set_up("ABW");
    straw.member_change = "catching up";
    assert_refused("a change of members is under way (catching up)");
    straw_set_up("ABW");
    straw.changing = true;
    assert_refused("not committed yet");
}

/* One of two nodes of the site is enough, and the better one of two is taken. */
Test(site_operation, the_node_of_the_site_that_can_lead_is_chosen)
{
    straw_set_up("ABWAB");
    straw.flags[2] = 0;
    const struct site_operation_request request = straw_request("B");
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    straw_turn(1);
    cr_assert_eq(straw.transferred_to, 5);
}

/* --force overrules a voter that is down, and nothing that clients would wait for. */
Test(site_operation, force_overrules_a_voter_that_is_down_only)
{
    straw_set_up("ABWAB");
    straw.peers[2].linked = false;
    assert_refused("not all voters are up: node 3 (site W)");
    struct site_operation_request request = straw_request("B");
    request.force = true;
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    straw_turn(1);
    cr_assert_eq(straw.transfers, 1);
    straw_set_up("ABW");
    straw.flags[2] = 0;
    request = straw_request("B");
    request.force = true;
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    cr_assert_eq(straw.status, STATUS_INVALID);
}

Test(site_operation, a_second_operator_hears_who_does_what)
{
    straw_set_up("ABW");
    const struct site_operation_request request = straw_request("B");
    straw.in_flight = 1;
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    straw.now_ns += 42 * MS;
    cr_assert_eq(straw_begin(&request), STATUS_BUSY);
    cr_assert(strstr(straw.text, "switchover B by urn:ops:ann, since 42 ms"), "%s", straw.text);
    struct site_operation_progress progress;
    site_operation_progress(&straw.operation, &progress);
    cr_assert(progress.active);
    cr_assert_str_eq(progress.why, "patch");
}

/* ---- what goes wrong on the way: everything is released ---- */

Test(site_operation, a_target_that_does_not_keep_pace_holds_nobody)
{
    straw_set_up("ABW");
    straw.applied[2] = 10;
    const struct site_operation_request request = straw_request("B");
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    for (uint32_t ms = 0; ms <= SITE_APPROACH_MS + 20; ms += 10) {
        straw_turn(10);
        cr_assert_not(site_operation_holds(&straw.operation));
    }
    cr_assert_eq(straw.status, STATUS_UNAVAILABLE);
    cr_assert_eq(straw.transfers, 0);
}

Test(site_operation, entries_that_do_not_end_are_waited_for_no_longer_than_the_bound)
{
    straw_set_up("ABW");
    straw.in_flight = 2;
    const struct site_operation_request request = straw_request("B");
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    cr_assert(site_operation_holds(&straw.operation));
    straw_turn(SITE_HOLD_MS - 1);
    cr_assert_eq(straw.ends, 0);
    straw_turn(1);
    cr_assert_eq(straw.status, STATUS_UNAVAILABLE);
    cr_assert(strstr(straw.text, "none was refused"), "%s", straw.text);
    cr_assert_eq(straw.report.held_ns, SITE_HOLD_MS * MS);
    cr_assert_eq(straw.transfers, 0);
}

Test(site_operation, a_transfer_that_comes_to_nothing_goes_on_here)
{
    straw_set_up("ABW");
    const struct site_operation_request request = straw_request("B");
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    cr_assert_eq(straw.transfers, 1);
    straw_turn(250);
    cr_assert_eq(straw.ends, 0);
    straw.transferring = false;
    straw_turn(1);
    cr_assert_eq(straw.status, STATUS_UNAVAILABLE);
    cr_assert(strstr(straw.text, "node 2 did not take over"), "%s", straw.text);
    straw_set_up("ABW");
    straw.transfer_status = STATUS_BUSY;
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    cr_assert_eq(straw.status, STATUS_UNAVAILABLE);
}

/* Leadership is lost before it was given, or given to nobody, or to somebody else. */
Test(site_operation, who_leads_in_the_end_is_said)
{
    const struct site_operation_request request = straw_request("B");
    straw_set_up("ABW");
    straw.in_flight = 1;
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    straw.leader = 2;
    straw.term++;
    straw_turn(1);
    cr_assert_eq(straw.status, STATUS_NOT_READY);
    cr_assert(strstr(straw.text, "node 2 does"), "%s", straw.text);
    straw_set_up("ABW");
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    straw.leader = 0;
    straw.transferring = false;
    straw_turn(SITE_MOVE_MS);
    cr_assert_eq(straw.status, STATUS_UNKNOWN_OUTCOME);
    straw_set_up("ABWAB");
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    straw.leader = 4;
    straw.transferring = false;
    straw_turn(1);
    straw_turn(SITE_SETTLE_MS);
    straw_turn(1);
    cr_assert_eq(straw.status, STATUS_UNAVAILABLE);
    cr_assert(strstr(straw.text, "node 4 at site A leads now"), "%s", straw.text);
}

Test(site_operation, the_callers_deadline_ends_it_before_leadership_moves)
{
    straw_set_up("ABW");
    straw.in_flight = 1;
    struct site_operation_request request = straw_request("B");
    request.deadline_ns = straw.now_ns + 100 * MS;
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    cr_assert(site_operation_holds(&straw.operation));
    straw_turn(100);
    cr_assert_eq(straw.status, STATUS_DEADLINE);
}

Test(site_operation, cancelled_it_holds_nothing_and_calls_nobody)
{
    straw_set_up("ABW");
    straw.in_flight = 1;
    const struct site_operation_request request = straw_request("B");
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    cr_assert(site_operation_holds(&straw.operation));
    site_operation_cancel(&straw.operation);
    cr_assert_not(site_operation_holds(&straw.operation));
    straw_turn(1000);
    cr_assert_eq(straw.ends, 0);
    site_operation_cancel(&straw.operation);
}

/* Late answers, of another round or of a stranger, change nothing. */
Test(site_operation, an_answer_to_another_question_counts_for_nothing)
{
    straw_set_up("ABW");
    straw.silent[2] = true;
    const struct site_operation_request request = straw_request("B");
    cr_assert_eq(straw_begin(&request), STATUS_OK);
    straw_turn(0);
    const struct pause none = {0};
    struct site_answer answer = {.sequence = straw.operation.sequence + 1,
                                 .flags = SITE_ANSWER_SERVES,
                                 .applied_index = 1000};
    site_answer_seal(&answer, &none);
    site_operation_receive(&straw.operation, 2, &answer, sizeof answer, straw.now_ns);
    answer.sequence = straw.operation.sequence;
    site_operation_receive(&straw.operation, 9, &answer, sizeof answer, straw.now_ns);
    site_operation_receive(&straw.operation, 2, &answer, sizeof answer - 8, straw.now_ns);
    straw_turn(SITE_ASK_MS);
    cr_assert_eq(straw.status, STATUS_INVALID);
    cr_assert(strstr(straw.text, "node 2 did not answer"), "%s", straw.text);
}
