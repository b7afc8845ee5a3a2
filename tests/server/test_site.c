/*
 * Site operations on the wire: who may ask, what the node is asked to do, in which words each end
 * reaches the operator, and what of it is in the audit log. Without a network and without a cluster
 * (fake_grpc.h, fake_node.h).
 */
#include "core/policy.h"
#include "fake_grpc.h"
#include "fake_node.h"
#include "server/dispatch.h"
#include "server/wire_site.h"
#include "tally/v1/admin.pb-c.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OPERATOR "tally:ops"

static struct node node;
static struct grpc_server server;
static struct log *the_log;
static struct metrics *metrics;
static struct dispatch *dispatch;
static uint8_t body[4096];

static void setup(void)
{
    fake_node_init(&node);
    memset(&server, 0, sizeof server);
    the_log = log_create(STDERR_FILENO, LOG_LEVEL_COUNT);
    metrics = metrics_create();
    struct dispatch_options options = {
        .node = &node,
        .log = the_log,
        .metrics = metrics,
        .requests_per_principal = 3,
        .requests_max = 4,
        .request_bytes_max = 2 * 1024 * 1024,
        .read_wait_ms = 1000,
    };
    dispatch = dispatch_create(&options);
    cr_assert_not_null(dispatch);
    dispatch_register(dispatch, &server);
    dispatch_set_ready(dispatch, true, NULL);
}

static void teardown(void)
{
    cr_expect_eq(dispatch_call_count(dispatch), 0);
    dispatch_destroy(dispatch);
    metrics_destroy(metrics);
    log_destroy(the_log);
    fake_node_deinit(&node);
}

TestSuite(site, .init = setup, .fini = teardown);

static void begin(struct grpc_call *call, const char *principal, size_t size)
{
    *call = (struct grpc_call){.principal = principal, .deadline_ns = UINT64_MAX};
    const struct grpc_method *row = fake_method(&server, method_path(METHOD_OPERATE_SITE));
    row->message(row->context, call, body, size);
}

static size_t body_of(const char *site, const char *reason, bool dry_run, bool force)
{
    Tally__V1__OperateSiteRequest request = TALLY__V1__OPERATE_SITE_REQUEST__INIT;
    request.operation = TALLY__V1__SITE_OPERATION__SWITCHOVER;
    request.site = (char *)(uintptr_t)site;
    request.reason = (char *)(uintptr_t)reason;
    request.dry_run = dry_run;
    request.force = force;
    return tally__v1__operate_site_request__pack(&request, body);
}

static uint64_t logged(enum event event)
{
    return log_event_count(the_log, event);
}

/* What is asked for reaches the node field by field, with the name in the certificate; the report
 * comes back field by field. */
Test(site, operation_reaches_the_node_and_its_report_the_operator)
{
    struct grpc_call call;
    begin(&call, OPERATOR, body_of("B", "drill", false, true));
    cr_assert_not(call.finished);
    cr_assert(node.site_operates);
    cr_expect_str_eq(node.site.site, "B");
    cr_expect_str_eq(node.site.why, "drill");
    cr_expect_str_eq(node.site.who, OPERATOR);
    cr_expect(node.site.force);
    cr_expect_not(node.site.dry_run);
    cr_expect_lt(node.site.deadline_ns, UINT64_MAX, "nothing may be waited for without end");
    const struct site_report report = {
        .leader_id = 2,
        .held_ns = 7000000,
        .check_count = 2,
        .checks = {{SITE_FINE, "voters are up"}, {SITE_FORCED, "node 3 is down"}},
        .step_count = 1,
        .steps = {{1500000, "holding"}},
        .pause_count = 2,
        .pauses = {{.node_id = 1,
                    .known = true,
                    .pause = {.longest_wait_ns = 9000000,
                              .longest_gap_ns = 11000000,
                              .answered = 42,
                              .refused = 1,
                              .unknown = 2}},
                   {.node_id = 2}},
    };
    fake_node_site_done(&node, STATUS_OK, &report, NULL);
    cr_assert_eq(call.code, GRPC_OK, "%s", call.text);
    cr_assert_eq(call.message_count, 1);
    Tally__V1__OperateSiteResponse *answer = tally__v1__operate_site_response__unpack(
        NULL, call.messages[0].size, call.messages[0].bytes);
    cr_assert_not_null(answer);
    cr_expect_eq(answer->leader_id, 2);
    cr_expect_eq(answer->held_us, 7000);
    cr_assert_eq(answer->n_checks, 2);
    cr_expect_eq(answer->checks[1]->verdict, TALLY__V1__SITE_CHECK__VERDICT__FORCED);
    cr_expect_str_eq(answer->checks[1]->text, "node 3 is down");
    cr_assert_eq(answer->n_steps, 1);
    cr_expect_eq(answer->steps[0]->at_us, 1500);
    cr_assert_eq(answer->n_pauses, 2);
    cr_expect_eq(answer->pauses[0]->longest_wait_us, 9000);
    cr_expect_eq(answer->pauses[0]->longest_gap_us, 11000);
    cr_expect_eq(answer->pauses[0]->answered, 42);
    cr_expect_eq(answer->pauses[0]->refused, 1);
    cr_expect_eq(answer->pauses[0]->unknown, 2);
    cr_expect_not(answer->pauses[1]->known);
    tally__v1__operate_site_response__free_unpacked(answer, NULL);
    cr_expect_eq(logged(EVENT_SITE_OPERATION_BEGUN), 1);
    cr_expect_eq(logged(EVENT_SITE_OPERATION_ENDED), 1);
    fake_call_done(&call);
}

/* The further fields of the other operations; those about both sites name none. */
Test(site, drain_and_policy_carry_their_fields)
{
    struct grpc_call call;
    const struct site_report nothing = {.again = true, .number = 12};
    Tally__V1__OperateSiteRequest drain = TALLY__V1__OPERATE_SITE_REQUEST__INIT;
    drain.operation = TALLY__V1__SITE_OPERATION__DRAIN;
    drain.site = (char *)(uintptr_t) "A";
    drain.reason = (char *)(uintptr_t) "power work";
    drain.power_off = true;
    begin(&call, OPERATOR, tally__v1__operate_site_request__pack(&drain, body));
    cr_assert(node.site_operates);
    cr_expect_eq(node.site.kind, SITE_DRAIN);
    cr_expect(node.site.power_off);
    cr_expect_not(node.site.has_number);
    fake_node_site_done(&node, STATUS_OK, &nothing, NULL);
    Tally__V1__OperateSiteResponse *answer = tally__v1__operate_site_response__unpack(
        NULL, call.messages[0].size, call.messages[0].bytes);
    cr_assert_not_null(answer);
    cr_expect(answer->again);
    cr_expect_eq(answer->number, 12);
    tally__v1__operate_site_response__free_unpacked(answer, NULL);
    fake_call_done(&call);
    Tally__V1__OperatorsNumber seen = TALLY__V1__OPERATORS_NUMBER__INIT; /* 0: no entry yet */
    Tally__V1__OperateSiteRequest policy = TALLY__V1__OPERATE_SITE_REQUEST__INIT;
    policy.operation = TALLY__V1__SITE_OPERATION__POLICY;
    policy.settings = (char *)(uintptr_t) "decision=never";
    policy.seen = &seen;
    begin(&call, OPERATOR, tally__v1__operate_site_request__pack(&policy, body));
    cr_assert(node.site_operates);
    cr_expect_eq(node.site.kind, SITE_POLICY);
    cr_expect_str_eq(node.site.settings, "decision=never");
    cr_expect(node.site.has_number);
    cr_expect_eq(node.site.number, 0);
    fake_node_site_done(&node, STATUS_OK, &nothing, NULL);
    fake_call_done(&call);
    policy.site = (char *)(uintptr_t) "A";
    begin(&call, OPERATOR, tally__v1__operate_site_request__pack(&policy, body));
    cr_expect_eq(call.code, GRPC_INVALID_ARGUMENT);
    fake_call_done(&call);
}

/* A drained node refuses what is about the ledger, retryable, with the words that name another
 * node; operators are heard. */
Test(site, a_drained_node_refuses_clients_and_hears_operators)
{
    struct grpc_call call = {.principal = "tally:mobile-1", .deadline_ns = UINT64_MAX};
    dispatch_set_drained(dispatch, "site A is drained; ask node 2");
    for (int method = 0; method < METHOD_COUNT; method++) {
        const char *path = method_path((enum method)method);
        if (strncmp(path, "/tally.v1.Ledger/", 17) != 0 || !authorize_role(ROLE_CHANNEL, method))
            continue;
        call = (struct grpc_call){.principal = "tally:mobile-1", .deadline_ns = UINT64_MAX};
        const struct grpc_method *row = fake_method(&server, path);
        row->message(row->context, &call, body, 0);
        cr_expect_eq(call.code, GRPC_UNAVAILABLE, "%s", path);
        cr_expect_str_eq(fake_trailer(&call, "tally-outcome"), "NOT_ACCEPTED", "%s", path);
        cr_expect(strstr(call.text, "ask node 2"), "%s: %s", path, call.text);
        fake_call_done(&call);
    }
    begin(&call, OPERATOR, body_of("B", "", false, false));
    cr_expect(node.site_operates);
    const struct site_report nothing = {0};
    fake_node_site_done(&node, STATUS_OK, &nothing, NULL);
    fake_call_done(&call);
    dispatch_set_drained(dispatch, "");
    call = (struct grpc_call){.principal = "tally:mobile-1", .deadline_ns = UINT64_MAX};
    const struct grpc_method *row = fake_method(&server, "/tally.v1.Ledger/ListLedgers");
    row->message(row->context, &call, body, 0);
    cr_expect_not(call.finished, "it serves again: the read waits for the node");
    fake_node_read_done(&node, STATUS_OK);
    cr_expect_eq(call.code, GRPC_OK);
    fake_call_done(&call);
}

/* Each end with its code and the node's words; "busy" is told, not retried by the client. */
Test(site, refusals_have_the_nodes_words_and_a_code_that_fits)
{
    static const struct {
        enum status status;
        enum grpc_code code;
    } rows[] = {
        {STATUS_INVALID, GRPC_FAILED_PRECONDITION},     {STATUS_BUSY, GRPC_FAILED_PRECONDITION},
        {STATUS_UNAVAILABLE, GRPC_FAILED_PRECONDITION}, {STATUS_NOT_FOUND, GRPC_NOT_FOUND},
        {STATUS_NOT_READY, GRPC_UNAVAILABLE},           {STATUS_UNKNOWN_OUTCOME, GRPC_UNAVAILABLE},
        {STATUS_DEADLINE, GRPC_DEADLINE_EXCEEDED},      {STATUS_STOPPING, GRPC_UNAVAILABLE},
    };
    const struct site_report nothing = {0};
    struct grpc_call call;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(&call, OPERATOR, body_of("B", "", false, false));
        fake_node_site_done(&node, rows[i].status, &nothing, "node 2 lags; wait");
        cr_expect_eq(call.code, rows[i].code, "status %d", rows[i].status);
        cr_expect_str_eq(call.text, "node 2 lags; wait");
        fake_call_done(&call);
        node.change_status = rows[i].status;
        node.words = "another one";
        begin(&call, OPERATOR, body_of("B", "", false, false));
        cr_expect_eq(call.code, rows[i].code, "at once, status %d", rows[i].status);
        cr_expect_str_eq(call.text, "another one");
        fake_call_done(&call);
        node.change_status = STATUS_OK;
    }
    cr_expect_eq(logged(EVENT_SITE_OPERATION_REFUSED), 2 * (sizeof rows / sizeof rows[0] - 1),
                 "a node that does not lead is none of it");
    cr_expect_eq(logged(EVENT_SITE_OPERATION_ENDED), 0);
}

Test(site, only_a_site_operator_may_and_a_dry_run_is_no_audit_event)
{
    struct grpc_call call;
    static const char *const others[] = {"tally:mobile-1", "tally:audit", "tally:stranger"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        begin(&call, others[i], body_of("B", "", false, false));
        cr_expect_eq(call.code, GRPC_PERMISSION_DENIED, "%s", others[i]);
        cr_expect_not(node.site_operates);
        fake_call_done(&call);
    }
    begin(&call, OPERATOR, body_of("B", "", true, false));
    cr_expect(node.site.dry_run);
    const struct site_report nothing = {0};
    fake_node_site_done(&node, STATUS_OK, &nothing, NULL);
    fake_call_done(&call);
    cr_expect_eq(logged(EVENT_SITE_OPERATION_BEGUN) + logged(EVENT_SITE_OPERATION_ENDED), 0);
}

Test(site, malformed_requests_do_not_reach_the_node)
{
    struct grpc_call call;
    char reason[200];
    memset(reason, 'x', sizeof reason - 1);
    reason[sizeof reason - 1] = '\0';
    const char *const sites[] = {"", "A-site-of-seventeen", "B", "B", "B\x1b[2J"};
    const char *const reasons[] = {"", "", reason, "two\nlines", ""};
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; i++) {
        begin(&call, OPERATOR, body_of(sites[i], reasons[i], false, false));
        cr_expect_eq(call.code, GRPC_INVALID_ARGUMENT, "row %zu", i);
        cr_expect_not(node.site_operates);
        fake_call_done(&call);
    }
    body[0] = 0x08; /* operation 9 */
    body[1] = 9;
    begin(&call, OPERATOR, 2);
    cr_expect_eq(call.code, GRPC_INVALID_ARGUMENT);
    fake_call_done(&call);
    body[0] = 0x98; /* field 99: unknown */
    body[1] = 0x06;
    body[2] = 1;
    begin(&call, OPERATOR, 3);
    cr_expect_eq(call.code, GRPC_INVALID_ARGUMENT);
    fake_call_done(&call);
}

Test(site, operation_ends_when_the_operator_goes_away)
{
    struct grpc_call call;
    begin(&call, OPERATOR, body_of("B", "", false, false));
    cr_assert(node.site_operates);
    fake_call_gone(fake_method(&server, method_path(METHOD_OPERATE_SITE)), &call);
    cr_expect_not(node.site_operates);
    cr_expect_eq(node.cancelled_count, 1);
    cr_expect_eq(logged(EVENT_SITE_OPERATION_REFUSED), 1);
    fake_call_done(&call);
}
