/*
 * Site operations over a consensus of straw: a table of members, a leader, and a switch for each
 * thing that can stand in the way. Time stands still unless a test moves it.
 */
#include "replication/node/site_operation.h"

#include "replication/node/site_rules.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

TestSuite(site_operation, .timeout = 30);

#define MS   UINT64_C(1000000)
#define SELF 1

struct straw {
    struct consensus consensus; /* first */
    struct consensus_peer peers[MEMBERS_MAX];
    uint32_t count;
    uint64_t leader, term, commit_index;
    bool changing, transferring;
    uint64_t now_ns;
    uint32_t in_flight;
    const char *member_change;
    uint32_t transfers;
    uint64_t transferred_to;
    enum status transfer_status;
    /* What the nodes answer. */
    bool silent[MEMBERS_MAX + 1];
    uint32_t flags[MEMBERS_MAX + 1];
    uint64_t applied[MEMBERS_MAX + 1]; /* 0: everything */
    int64_t clock_ns[MEMBERS_MAX + 1]; /* ahead of ours */
    uint32_t asked;
    struct site_operation operation;
    /* The end. */
    uint32_t ends;
    enum status status;
    struct site_report report;
    char text[512];
};

static struct straw straw;

static void straw_status(const struct consensus *consensus, struct consensus_status *out)
{
    (void)consensus;
    *out = (struct consensus_status){.leader_id = straw.leader,
                                     .term = straw.term,
                                     .leads = straw.leader == SELF,
                                     .ready = straw.leader == SELF,
                                     .changing = straw.changing,
                                     .transferring = straw.transferring,
                                     .commit_index = straw.commit_index};
}

static uint32_t straw_peers(const struct consensus *consensus, struct consensus_peer *out,
                            uint32_t capacity)
{
    (void)consensus;
    cr_assert_leq(straw.count, capacity);
    memcpy(out, straw.peers, straw.count * sizeof out[0]);
    for (uint32_t i = 0; i < straw.count; i++)
        out[i].heard_ns = out[i].heard_ns != 0 ? out[i].heard_ns : straw.now_ns;
    return straw.count;
}

static enum status straw_transfer(struct consensus *consensus, uint64_t to)
{
    (void)consensus;
    straw.transfers++;
    straw.transferred_to = to;
    straw.transferring = straw.transfer_status == STATUS_OK;
    return straw.transfer_status;
}

static const struct consensus_operations straw_operations = {
    .transfer = straw_transfer, .peers = straw_peers, .status = straw_status};

static uint64_t straw_wall_ns(void *context)
{
    (void)context;
    return UINT64_C(1700000000000) * MS + straw.now_ns;
}

static void answer_of(uint64_t node_id, const struct site_question *question,
                      struct site_answer *out)
{
    const struct pause pause = {.longest_wait_ns = node_id * MS, .answered = 10 * node_id};
    uint64_t applied = straw.applied[node_id] != 0 ? straw.applied[node_id] : straw.commit_index;
    *out = (struct site_answer){.sequence = question->sequence,
                                .flags = straw.flags[node_id],
                                .applied_index = applied,
                                .wall_ns = straw_wall_ns(NULL) + (uint64_t)straw.clock_ns[node_id]};
    site_answer_seal(out, &pause);
}

static void straw_ask(void *context, uint64_t to, const struct site_question *question)
{
    (void)context;
    straw.asked++;
    if (straw.silent[to])
        return;
    struct site_answer answer;
    answer_of(to, question, &answer);
    site_operation_receive(&straw.operation, to, &answer, sizeof answer, straw.now_ns);
}

static void straw_answer(void *context, const struct site_question *question,
                         struct site_answer *out)
{
    (void)context;
    answer_of(SELF, question, out);
}

static uint32_t straw_in_flight(void *context)
{
    (void)context;
    return straw.in_flight;
}

static const char *straw_member_change(void *context)
{
    (void)context;
    return straw.member_change;
}

/* Voters with ids from 1 at the sites that the letters name; W is a witness. The first one leads.
 */
static void set_up(const char *sites)
{
    straw = (struct straw){.consensus.operations = &straw_operations,
                           .leader = SELF,
                           .term = 5,
                           .commit_index = 1000,
                           .now_ns = 1000000 * MS,
                           .member_change = ""};
    for (const char *at = sites; *at != '\0'; at++) {
        struct consensus_peer *peer = &straw.peers[straw.count++];
        *peer = (struct consensus_peer){
            .member = {.node_id = straw.count,
                       .kind = *at == 'W' ? MEMBER_WITNESS : MEMBER_DATA,
                       .site = {*at}},
            .vote = CONSENSUS_VOTER,
            .match_index = 1000,
            .linked = true,
        };
        straw.flags[straw.count] = SITE_ANSWER_SERVES;
    }
    const struct site_operation_world world = {.ask = straw_ask,
                                               .answer = straw_answer,
                                               .wall_ns = straw_wall_ns,
                                               .in_flight = straw_in_flight,
                                               .member_change = straw_member_change};
    site_operation_init(&straw.operation, &straw.consensus, SELF, &world);
}

static void ended(void *context, enum status status, const struct site_report *report,
                  const char *text)
{
    (void)context;
    cr_assert_not(site_operation_holds(&straw.operation), "released before it is told");
    cr_assert_eq(text == NULL, status == STATUS_OK);
    straw.ends++;
    straw.status = status;
    straw.report = *report;
    snprintf(straw.text, sizeof straw.text, "%s", text != NULL ? text : "");
}

static struct site_operation_request request_to(const char *site)
{
    struct site_operation_request request = {
        .kind = SITE_SWITCHOVER, .who = "urn:ops:ann", .why = "patch", .cb = ended};
    snprintf(request.site, sizeof request.site, "%s", site);
    return request;
}

static enum status begin(const struct site_operation_request *request)
{
    struct node_error error;
    enum status status = site_operation_begin(&straw.operation, request, straw.now_ns, &error);
    if (status != STATUS_OK)
        snprintf(straw.text, sizeof straw.text, "%s", error.text);
    return status;
}

static void turn(uint64_t ms)
{
    straw.now_ns += ms * MS;
    site_operation_process(&straw.operation, straw.now_ns);
}

/* Whatever stands in the way is said, nothing is held, nothing is transferred. */
static void assert_refused(const char *words)
{
    const struct site_operation_request request = request_to("B");
    straw.ends = 0;
    cr_assert_eq(begin(&request), STATUS_OK);
    for (int i = 0; i < 1000 && straw.ends == 0; i++) {
        cr_assert_not(site_operation_holds(&straw.operation));
        turn(1);
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
    set_up("ABWAB");
    const struct site_operation_request request = request_to("B");
    straw.applied[2] = 900;
    straw.peers[4].match_index = 990; /* node 5 is at B, too, and further behind */
    straw.in_flight = 3;
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    turn(10);
    cr_assert_not(site_operation_holds(&straw.operation), "the target has not applied enough");
    turn(600);
    cr_assert_eq(straw.ends, 0);
    straw.applied[2] = 0;
    turn(30);
    turn(1);
    cr_assert(site_operation_holds(&straw.operation));
    cr_assert_eq(straw.transfers, 0, "entries are in flight");
    straw.in_flight = 0;
    turn(5);
    cr_assert_eq(straw.transfers, 1);
    cr_assert_eq(straw.transferred_to, 2);
    cr_assert(site_operation_holds(&straw.operation));
    straw.leader = 0;
    straw.term = 6;
    straw.transferring = false;
    turn(4);
    cr_assert_eq(straw.ends, 0);
    straw.leader = 2;
    turn(7);
    cr_assert_not(site_operation_holds(&straw.operation));
    turn(SITE_SETTLE_MS);
    turn(1);
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
    set_up("ABW");
    struct site_operation_request request = request_to("A");
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    cr_assert_eq(straw.status, STATUS_OK);
    cr_assert(straw.report.done_before);
    cr_assert_eq(straw.asked, 0);
    request = request_to("W"); /* a witness's site is none that could lead */
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    cr_assert_eq(straw.status, STATUS_NOT_FOUND);
    cr_assert(strstr(straw.text, "\"W\""), "%s", straw.text);
    cr_assert(strstr(straw.text, "A, B"), "%s", straw.text);
}

Test(site_operation, a_dry_run_lists_the_checks_and_changes_nothing)
{
    set_up("ABW");
    struct site_operation_request request = request_to("B");
    request.dry_run = true;
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    cr_assert_eq(straw.ends, 1);
    cr_assert_eq(straw.status, STATUS_OK);
    cr_assert_geq(straw.report.check_count, 3);
    cr_assert(site_rules_pass(&straw.report));
    straw.peers[2].linked = false;
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    cr_assert_eq(straw.status, STATUS_OK);
    cr_assert_not(site_rules_pass(&straw.report));
    cr_assert_eq(straw.transfers, 0);
}

/* ---- what stands in the way ---- */

Test(site_operation, a_site_that_cannot_lead_is_refused_with_the_reason)
{
    set_up("ABW");
    straw.peers[1].linked = false;
    assert_refused("node 2 is not connected");
    set_up("ABW");
    straw.peers[1].heard_ns = straw.now_ns - (SITE_HEARD_MS_MAX + 1) * MS;
    assert_refused("node 2 has been silent");
    set_up("ABW");
    straw.peers[1].match_index = 400;
    assert_refused("node 2 lags: 600 entries behind");
    set_up("ABW");
    straw.silent[2] = true;
    assert_refused("node 2 did not answer");
    set_up("ABW");
    straw.flags[2] = 0;
    assert_refused("node 2 does not serve");
    set_up("ABW");
    straw.flags[2] = SITE_ANSWER_SERVES | SITE_ANSWER_READ_ONLY;
    assert_refused("node 2 is read-only");
    set_up("ABW");
    straw.flags[2] = SITE_ANSWER_SERVES | SITE_ANSWER_STUCK;
    assert_refused("node 2's disk");
    set_up("ABW");
    straw.clock_ns[2] = -300 * (int64_t)MS;
    assert_refused("clock is -300 ms from");
    set_up("ABW");
    straw.member_change = "catching up";
    assert_refused("a change of members is under way (catching up)");
    set_up("ABW");
    straw.changing = true;
    assert_refused("not committed yet");
}

/* One of two nodes of the site is enough, and the better one of two is taken. */
Test(site_operation, the_node_of_the_site_that_can_lead_is_chosen)
{
    set_up("ABWAB");
    straw.flags[2] = 0;
    const struct site_operation_request request = request_to("B");
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    turn(1);
    cr_assert_eq(straw.transferred_to, 5);
}

/* --force overrules a voter that is down, and nothing that clients would wait for. */
Test(site_operation, force_overrules_a_voter_that_is_down_only)
{
    set_up("ABWAB");
    straw.peers[2].linked = false;
    assert_refused("not all voters are up: node 3 (site W)");
    struct site_operation_request request = request_to("B");
    request.force = true;
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    turn(1);
    cr_assert_eq(straw.transfers, 1);
    set_up("ABW");
    straw.flags[2] = 0;
    request = request_to("B");
    request.force = true;
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    cr_assert_eq(straw.status, STATUS_INVALID);
}

Test(site_operation, a_second_operator_hears_who_does_what)
{
    set_up("ABW");
    const struct site_operation_request request = request_to("B");
    straw.in_flight = 1;
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    straw.now_ns += 42 * MS;
    cr_assert_eq(begin(&request), STATUS_BUSY);
    cr_assert(strstr(straw.text, "switchover B by urn:ops:ann, since 42 ms"), "%s", straw.text);
    struct site_operation_progress progress;
    site_operation_progress(&straw.operation, &progress);
    cr_assert(progress.active);
    cr_assert_str_eq(progress.why, "patch");
}

/* ---- what goes wrong on the way: everything is released ---- */

Test(site_operation, a_target_that_does_not_keep_pace_holds_nobody)
{
    set_up("ABW");
    straw.applied[2] = 10;
    const struct site_operation_request request = request_to("B");
    cr_assert_eq(begin(&request), STATUS_OK);
    for (uint32_t ms = 0; ms <= SITE_APPROACH_MS + 20; ms += 10) {
        turn(10);
        cr_assert_not(site_operation_holds(&straw.operation));
    }
    cr_assert_eq(straw.status, STATUS_UNAVAILABLE);
    cr_assert_eq(straw.transfers, 0);
}

Test(site_operation, entries_that_do_not_end_are_waited_for_no_longer_than_the_bound)
{
    set_up("ABW");
    straw.in_flight = 2;
    const struct site_operation_request request = request_to("B");
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    cr_assert(site_operation_holds(&straw.operation));
    turn(SITE_HOLD_MS - 1);
    cr_assert_eq(straw.ends, 0);
    turn(1);
    cr_assert_eq(straw.status, STATUS_UNAVAILABLE);
    cr_assert(strstr(straw.text, "none was refused"), "%s", straw.text);
    cr_assert_eq(straw.report.held_ns, SITE_HOLD_MS * MS);
    cr_assert_eq(straw.transfers, 0);
}

Test(site_operation, a_transfer_that_comes_to_nothing_goes_on_here)
{
    set_up("ABW");
    const struct site_operation_request request = request_to("B");
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    cr_assert_eq(straw.transfers, 1);
    turn(250);
    cr_assert_eq(straw.ends, 0);
    straw.transferring = false;
    turn(1);
    cr_assert_eq(straw.status, STATUS_UNAVAILABLE);
    cr_assert(strstr(straw.text, "node 2 did not take over"), "%s", straw.text);
    set_up("ABW");
    straw.transfer_status = STATUS_BUSY;
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    cr_assert_eq(straw.status, STATUS_UNAVAILABLE);
}

/* Leadership is lost before it was given, or given to nobody, or to somebody else. */
Test(site_operation, who_leads_in_the_end_is_said)
{
    const struct site_operation_request request = request_to("B");
    set_up("ABW");
    straw.in_flight = 1;
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    straw.leader = 2;
    straw.term++;
    turn(1);
    cr_assert_eq(straw.status, STATUS_NOT_READY);
    cr_assert(strstr(straw.text, "node 2 does"), "%s", straw.text);
    set_up("ABW");
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    straw.leader = 0;
    straw.transferring = false;
    turn(SITE_MOVE_MS);
    cr_assert_eq(straw.status, STATUS_UNKNOWN_OUTCOME);
    set_up("ABWAB");
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    straw.leader = 4;
    straw.transferring = false;
    turn(1);
    turn(SITE_SETTLE_MS);
    turn(1);
    cr_assert_eq(straw.status, STATUS_UNAVAILABLE);
    cr_assert(strstr(straw.text, "node 4 at site A leads now"), "%s", straw.text);
}

Test(site_operation, the_callers_deadline_ends_it_before_leadership_moves)
{
    set_up("ABW");
    straw.in_flight = 1;
    struct site_operation_request request = request_to("B");
    request.deadline_ns = straw.now_ns + 100 * MS;
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    cr_assert(site_operation_holds(&straw.operation));
    turn(100);
    cr_assert_eq(straw.status, STATUS_DEADLINE);
}

Test(site_operation, cancelled_it_holds_nothing_and_calls_nobody)
{
    set_up("ABW");
    straw.in_flight = 1;
    const struct site_operation_request request = request_to("B");
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    cr_assert(site_operation_holds(&straw.operation));
    site_operation_cancel(&straw.operation);
    cr_assert_not(site_operation_holds(&straw.operation));
    turn(1000);
    cr_assert_eq(straw.ends, 0);
    site_operation_cancel(&straw.operation);
}

/* Late answers, of another round or of a stranger, change nothing. */
Test(site_operation, an_answer_to_another_question_counts_for_nothing)
{
    set_up("ABW");
    straw.silent[2] = true;
    const struct site_operation_request request = request_to("B");
    cr_assert_eq(begin(&request), STATUS_OK);
    turn(0);
    const struct pause none = {0};
    struct site_answer answer = {.sequence = straw.operation.sequence + 1,
                                 .flags = SITE_ANSWER_SERVES,
                                 .applied_index = 1000};
    site_answer_seal(&answer, &none);
    site_operation_receive(&straw.operation, 2, &answer, sizeof answer, straw.now_ns);
    answer.sequence = straw.operation.sequence;
    site_operation_receive(&straw.operation, 9, &answer, sizeof answer, straw.now_ns);
    site_operation_receive(&straw.operation, 2, &answer, sizeof answer - 8, straw.now_ns);
    turn(SITE_ASK_MS);
    cr_assert_eq(straw.status, STATUS_INVALID);
    cr_assert(strstr(straw.text, "node 2 did not answer"), "%s", straw.text);
}
