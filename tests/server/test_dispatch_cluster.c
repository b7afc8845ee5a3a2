/*
 * What being one node of several changes for a call: hints in the trailers, deadlines that leave
 * time for words, reads of a stated age, a node whose files are exchanged under it, repeats that no
 * log is needed for. Without a network and without a cluster (fake_grpc.h, fake_node.h).
 */
#include "fake_grpc.h"
#include "fake_node.h"
#include "server/dispatch.h"
#include "tally/v1/ledger.pb-c.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define CHANNEL "tally:mobile-1"
#define AUDITOR "tally:audit"

static struct node node;
static struct grpc_server server;
static struct log *the_log;
static struct metrics *metrics;
static struct dispatch *dispatch;
static uint8_t body[4096];

static void setup(void)
{
    fake_node_init(&node);
    test_bank_open_accounts(&node.bank, 3);
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
    cr_expect_eq(dispatch_bytes(dispatch), 0);
    dispatch_destroy(dispatch);
    metrics_destroy(metrics);
    log_destroy(the_log);
    fake_node_deinit(&node);
}

TestSuite(dispatch_cluster, .init = setup, .fini = teardown);

static void give(struct grpc_call *call, enum method method, size_t size)
{
    const struct grpc_method *row = fake_method(&server, method_path(method));
    row->message(row->context, call, body, size);
}

static void begin(struct grpc_call *call, enum method method, const char *principal, size_t size)
{
    *call = (struct grpc_call){.principal = principal, .deadline_ns = UINT64_MAX};
    give(call, method, size);
}

static size_t transfer_body(uint64_t nonce, uint64_t id, uint32_t amount)
{
    uint8_t nonce_bytes[16];
    nonce_of(nonce, nonce_bytes);
    struct id128 ids[3] = {id_of(id), id_of(1), id_of(2)};
    Tally__V1__RequestIdentity identity = TALLY__V1__REQUEST_IDENTITY__INIT;
    identity.nonce = (ProtobufCBinaryData){.len = 16, .data = nonce_bytes};
    identity.issued_at_ns = TEST_START;
    Tally__V1__NewTransfer transfer = TALLY__V1__NEW_TRANSFER__INIT, *transfers[1] = {&transfer};
    transfer.id = (ProtobufCBinaryData){.len = 16, .data = ids[0].bytes};
    transfer.debit_account_id = (ProtobufCBinaryData){.len = 16, .data = ids[1].bytes};
    transfer.credit_account_id = (ProtobufCBinaryData){.len = 16, .data = ids[2].bytes};
    transfer.amount = amount;
    transfer.ledger = 1;
    transfer.code = 1;
    Tally__V1__CreateTransfersRequest request = TALLY__V1__CREATE_TRANSFERS_REQUEST__INIT;
    request.identity = &identity;
    request.n_transfers = 1;
    request.transfers = transfers;
    return tally__v1__create_transfers_request__pack(&request, body);
}

/* While somebody leads every answer says who; refusals too. */
Test(dispatch_cluster, answers_name_the_leader_while_there_is_one)
{
    struct grpc_call call;
    begin(&call, METHOD_LIST_LEDGERS, AUDITOR, 0);
    fake_node_read_done(&node, STATUS_OK);
    cr_expect_null(fake_trailer(&call, "tally-leader"));
    fake_call_done(&call);
    dispatch_set_leader(dispatch, 12);
    begin(&call, METHOD_LIST_LEDGERS, AUDITOR, 0);
    fake_node_read_done(&node, STATUS_NOT_READY);
    cr_expect_str_eq(fake_trailer(&call, "tally-leader"), "12");
    cr_expect_str_eq(fake_trailer(&call, "tally-node"), "7");
    cr_expect_str_eq(fake_trailer(&call, "tally-outcome"), "NOT_ACCEPTED");
    fake_call_done(&call);
    dispatch_set_leader(dispatch, 0);
    begin(&call, METHOD_LIST_LEDGERS, AUDITOR, 0);
    fake_node_read_done(&node, STATUS_OK);
    cr_expect_null(fake_trailer(&call, "tally-leader"));
    fake_call_done(&call);
}

/* The node is given a little less time than the client, so that "unknown" or "not accepted" reaches
 * the client instead of a bare deadline; a client without one gives the node its own patience. */
Test(dispatch_cluster, the_node_answers_before_the_clients_deadline)
{
    struct grpc_call call = {.principal = CHANNEL, .deadline_ns = uv_hrtime() + 20000000000ull};
    give(&call, METHOD_CREATE_TRANSFERS, transfer_body(1, 100, 5));
    uint64_t deadline = node.requests[0]->deadline_ns;
    cr_expect_leq(deadline, call.deadline_ns - 50000000);
    cr_expect_geq(deadline, call.deadline_ns - 60000000);
    fake_node_refuse(&node, STATUS_UNKNOWN_OUTCOME);
    cr_expect_str_eq(fake_trailer(&call, "tally-outcome"), "UNKNOWN");
    fake_call_done(&call);
    begin(&call, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(2, 101, 5));
    cr_expect_eq(node.requests[0]->deadline_ns, 0);
    fake_node_commit(&node);
    fake_call_done(&call);
}

Test(dispatch_cluster, greatest_age_of_a_read_reaches_the_node)
{
    struct grpc_call call = {
        .principal = AUDITOR, .deadline_ns = UINT64_MAX, .max_age_ns = 250000000};
    give(&call, METHOD_LIST_LEDGERS, 0);
    cr_expect_eq(node.reads[0]->max_age_ns, 250000000);
    fake_node_read_done(&node, STATUS_OK);
    cr_expect_eq(call.code, GRPC_OK);
    fake_call_done(&call);
}

/* Reads that were put off were promised an answer from a state that is gone: they may ask again. */
Test(dispatch_cluster, reads_of_a_state_that_was_exchanged_are_refused_for_now)
{
    struct grpc_call calls[2];
    for (int i = 0; i < 2; i++)
        begin(&calls[i], METHOD_LIST_LEDGERS, AUDITOR, 0);
    dispatch_charge(dispatch, 1000000000);
    for (int i = 0; i < 2; i++)
        fake_node_read_done(&node, STATUS_OK);
    dispatch_reopened(dispatch);
    for (int i = 0; i < 2; i++) {
        cr_assert(calls[i].finished);
        cr_expect_eq(calls[i].code, GRPC_UNAVAILABLE);
        cr_expect_str_eq(fake_trailer(&calls[i], "tally-outcome"), "NOT_ACCEPTED");
        fake_call_done(&calls[i]);
    }
    cr_expect_not(dispatch_process(dispatch));
}

/* The node follows; that the auditor was shut out reaches it while his question waits. */
Test(dispatch_cluster, caller_is_judged_by_the_state_that_is_read)
{
    struct grpc_call call;
    begin(&call, METHOD_LIST_LEDGERS, AUDITOR, 0);
    struct principal_event event = {.role = ROLE_NONE, .uri_size = sizeof AUDITOR - 1};
    memcpy(event.uri, AUDITOR, sizeof AUDITOR - 1);
    event.name_size = 5;
    memcpy(event.name, "audit", 5);
    cr_assert_eq(test_bank_principal(&node.bank, &event), RESULT_OK);
    fake_node_read_done(&node, STATUS_OK);
    cr_expect_eq(call.code, GRPC_PERMISSION_DENIED, "%d", call.code);
    cr_expect_eq(call.message_count, 0);
    fake_call_done(&call);
}

/* A witness has no table of principals and no state: it serves nobody and says so. */
Test(dispatch_cluster, witness_refuses_every_call_in_words)
{
    node.witness = true;
    dispatch_set_ready(dispatch, false, "a witness serves no clients");
    for (int method = 0; method < METHOD_COUNT; method++) {
        struct grpc_call call;
        begin(&call, (enum method)method, AUDITOR, 0);
        cr_assert(call.finished);
        cr_expect_eq(call.code, GRPC_UNAVAILABLE);
        cr_expect_str_eq(fake_trailer(&call, "tally-outcome"), "NOT_ACCEPTED");
        cr_expect(strstr(call.text, "witness"), "%s", call.text);
        fake_call_done(&call);
    }
}

/* Whatever keeps the log shut: a repeat of what was executed is answered byte for byte, a new
 * request is not, and neither is another request under the same nonce. */
Test(dispatch_cluster, repeats_are_answered_without_the_log)
{
    static const enum status shut[] = {STATUS_READ_ONLY, STATUS_NOT_READY, STATUS_BUSY,
                                       STATUS_STOPPING, STATUS_UNKNOWN_OUTCOME};
    struct grpc_call first, call;
    begin(&first, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(1, 100, 5));
    fake_node_commit(&node);
    cr_assert_eq(first.code, GRPC_OK);
    for (size_t i = 0; i < sizeof shut / sizeof shut[0]; i++)
        for (int later = 0; later < 2; later++) {
            node.propose_status = later ? STATUS_OK : shut[i];
            begin(&call, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(1, 100, 5));
            if (later)
                fake_node_refuse(&node, shut[i]);
            cr_assert_eq(call.code, GRPC_OK, "%d: %s", shut[i], call.text);
            cr_assert_eq(call.messages[0].size, first.messages[0].size);
            cr_expect_arr_eq(call.messages[0].bytes, first.messages[0].bytes,
                             first.messages[0].size);
            cr_expect_str_eq(fake_trailer(&call, "tally-index"),
                             fake_trailer(&first, "tally-index"));
            cr_expect_str_eq(fake_trailer(&call, "tally-durability"),
                             fake_trailer(&first, "tally-durability"));
            fake_call_done(&call);
            begin(&call, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(1, 100, 6));
            if (later)
                fake_node_refuse(&node, shut[i]);
            cr_expect_neq(call.code, GRPC_OK, "another amount under the same nonce");
            fake_call_done(&call);
            begin(&call, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(2, 101, 5));
            if (later)
                fake_node_refuse(&node, shut[i]);
            cr_expect_neq(call.code, GRPC_OK, "never seen");
            fake_call_done(&call);
        }
    fake_call_done(&first);
}

/* Asked for both sites, in the log, and executed, while its leader was lost: what the node knows of
 * it is an answer like any other. It waits until the entry is on both sites, and says so; a node
 * that stops says what it knows at once. */
Test(dispatch_cluster, a_repeat_without_the_log_waits_for_both_sites_like_any_other)
{
    static const enum status shut[] = {STATUS_UNKNOWN_OUTCOME, STATUS_NOT_READY, STATUS_DEGRADED};
    struct grpc_call first;
    node.durability = NODE_DEGRADED;
    begin(&first, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(1, 100, 5));
    fake_node_commit(&node);
    cr_assert_eq(first.code, GRPC_OK);
    for (size_t i = 0; i < sizeof shut / sizeof shut[0]; i++)
        for (int on_both = 0; on_both < 2; on_both++) {
            struct grpc_call call = {
                .principal = CHANNEL, .deadline_ns = UINT64_MAX, .wants_both_sites = true};
            give(&call, METHOD_CREATE_TRANSFERS, transfer_body(1, 100, 5));
            fake_node_refuse(&node, shut[i]);
            cr_assert_not(call.finished, "status %d", shut[i]);
            struct node_both_wait *wait = node.both_wait;
            cr_assert_not_null(wait);
            cr_expect_gt(wait->deadline_ns, uv_hrtime());
            node.both_wait = NULL;
            wait->cb(wait, on_both);
            cr_assert_eq(call.code, GRPC_OK);
            cr_expect_str_eq(fake_trailer(&call, "tally-durability"),
                             on_both ? "both-sites" : "degraded");
            cr_expect_arr_eq(call.messages[0].bytes, first.messages[0].bytes,
                             first.messages[0].size);
            fake_call_done(&call);
        }
    struct grpc_call call = {
        .principal = CHANNEL, .deadline_ns = UINT64_MAX, .wants_both_sites = true};
    give(&call, METHOD_CREATE_TRANSFERS, transfer_body(1, 100, 5));
    fake_node_refuse(&node, STATUS_STOPPING);
    cr_assert_eq(call.code, GRPC_OK);
    cr_expect_str_eq(fake_trailer(&call, "tally-durability"), "degraded");
    fake_call_done(&call);
    fake_call_done(&first);
}
