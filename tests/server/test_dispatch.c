/*
 * The way of a call, without a network and without a disk (fake_grpc.h, fake_node.h): what clients
 * are told in each case, and that nothing is lent for longer than a call lasts.
 */
#include "fake_grpc.h"
#include "fake_node.h"
#include "server/dispatch.h"
#include "tally/v1/admin.pb-c.h"
#include "tally/v1/ledger.pb-c.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHANNEL  "tally:mobile-1"
#define BUSINESS "tally:desk"
#define OPERATOR "tally:ops"
#define AUDITOR  "tally:audit"

static struct node node;
static struct grpc_server server;
static struct log *the_log;
static struct metrics *metrics;
static struct dispatch *dispatch;
static uint8_t body[64 * 1024];

static char *status_json(void *context)
{
    (void)context;
    return strdup("{\"a\": 1}");
}

static void setup(void)
{
    fake_node_init(&node);
    test_bank_open_accounts(&node.bank, 3);
    memset(&server, 0, sizeof server);
    the_log = log_create(STDERR_FILENO, LOG_LEVEL_COUNT); /* counts, writes nothing */
    metrics = metrics_create();
    struct dispatch_options options = {
        .node = &node,
        .log = the_log,
        .metrics = metrics,
        .requests_per_principal = 3,
        .requests_max = 4,
        .request_bytes_max = 2 * 1024 * 1024,
        .read_wait_ms = 1000,
        .status_json = status_json,
    };
    dispatch = dispatch_create(&options);
    cr_assert_not_null(dispatch);
    dispatch_register(dispatch, &server);
    dispatch_set_ready(dispatch, true, NULL);
}

/* Whatever happened: every call has ended and nothing is lent. */
static void teardown(void)
{
    cr_expect_eq(dispatch_call_count(dispatch), 0);
    cr_expect_eq(dispatch_bytes(dispatch), 0);
    dispatch_destroy(dispatch);
    metrics_destroy(metrics);
    log_destroy(the_log);
    fake_node_deinit(&node);
}

TestSuite(dispatch, .init = setup, .fini = teardown);

static void begin(struct grpc_call *call, enum method method, const char *principal, size_t size)
{
    *call = (struct grpc_call){.principal = principal, .deadline_ns = UINT64_MAX};
    const struct grpc_method *row = fake_method(&server, method_path(method));
    row->message(row->context, call, body, size);
}

static void go_away(struct grpc_call *call, enum method method)
{
    fake_call_gone(fake_method(&server, method_path(method)), call);
}

/* One transfer of 1 from account 1 to 2 on ledger 1; the nonce is made of the number. */
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

static size_t identity_body(uint64_t nonce)
{
    uint8_t nonce_bytes[16];
    nonce_of(nonce, nonce_bytes);
    Tally__V1__RequestIdentity identity = TALLY__V1__REQUEST_IDENTITY__INIT;
    identity.nonce = (ProtobufCBinaryData){.len = 16, .data = nonce_bytes};
    identity.issued_at_ns = TEST_START;
    Tally__V1__FenceRequestRequest request = TALLY__V1__FENCE_REQUEST_REQUEST__INIT;
    request.identity = &identity;
    return tally__v1__fence_request_request__pack(&request, body);
}

static void expect_refused(struct grpc_call *call, enum grpc_code code, const char *outcome,
                           bool retry)
{
    cr_assert(call->finished);
    cr_expect_eq(call->code, code, "%d: %s", call->code, call->text);
    const char *told = fake_trailer(call, "tally-outcome");
    cr_expect(outcome ? told && strcmp(told, outcome) == 0 : !told, "%s", told ? told : "(none)");
    cr_expect_eq(fake_trailer(call, "tally-retry-ms") != NULL, retry);
    cr_expect_str_eq(fake_trailer(call, "tally-node"), "7");
    cr_expect_str_eq(fake_trailer(call, "tally-epoch"), "3");
    cr_expect_not_null(fake_trailer(call, "tally-index"));
    cr_expect_eq(call->message_count, 0);
    cr_expect_gt(strlen(call->text), 10);
}

/* A transfer is proposed under the caller's row, sealed, committed and answered. */
Test(dispatch, transfer_is_answered_from_the_log)
{
    struct grpc_call call;
    begin(&call, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(1, 100, 5));
    cr_assert_not(call.finished);
    cr_assert_eq(node.request_count, 1);
    const struct request_header *sent = node.requests[0]->request;
    cr_expect_eq(sent->principal, TEST_CHANNEL);
    static const uint8_t zero[32];
    cr_expect_neq(memcmp(sent->digest, zero, 32), 0);
    cr_expect_eq(dispatch_call_count(dispatch), 1);
    cr_expect_gt(dispatch_bytes(dispatch), 0);
    fake_node_commit(&node);
    cr_assert(call.finished);
    cr_expect_eq(call.code, GRPC_OK);
    Tally__V1__CreateTransfersResponse *answer = tally__v1__create_transfers_response__unpack(
        NULL, call.messages[0].size, call.messages[0].bytes);
    cr_assert_not_null(answer);
    cr_assert_eq(answer->n_results, 1);
    cr_expect_eq((int)answer->results[0], RESULT_OK);
    char index[24];
    snprintf(index, sizeof index, "%llu", (unsigned long long)answer->index);
    cr_expect_str_eq(fake_trailer(&call, "tally-index"), index);
    tally__v1__create_transfers_response__free_unpacked(answer, NULL);
    cr_expect_eq(metrics_calls(metrics, METHOD_CREATE_TRANSFERS, GRPC_OK), 1);
    fake_call_done(&call);
}

/* The same identity and content: the same bytes, from an instance with another certificate too. */
Test(dispatch, repeat_is_byte_identical)
{
    struct grpc_call first, second;
    begin(&first, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(1, 100, 5));
    fake_node_commit(&node);
    begin(&second, METHOD_CREATE_TRANSFERS, "tally:mobile-2", transfer_body(1, 100, 5));
    fake_node_commit(&node);
    cr_assert_eq(first.messages[0].size, second.messages[0].size);
    cr_expect_eq(memcmp(first.messages[0].bytes, second.messages[0].bytes, first.messages[0].size),
                 0);
    fake_call_done(&first);
    fake_call_done(&second);
    begin(&first, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(1, 100, 6));
    fake_node_commit(&node);
    expect_refused(&first, GRPC_FAILED_PRECONDITION, "NONCE_REUSED", false);
    fake_call_done(&first);
}

Test(dispatch, not_ready_says_why)
{
    struct grpc_call call;
    dispatch_set_ready(dispatch, false, "replaying the journal");
    begin(&call, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(1, 100, 5));
    expect_refused(&call, GRPC_UNAVAILABLE, "NOT_ACCEPTED", true);
    cr_expect(strstr(call.text, "replaying the journal"), "%s", call.text);
    fake_call_done(&call);
}

Test(dispatch, denied_call_is_counted_and_told)
{
    struct grpc_call call;
    begin(&call, METHOD_CREATE_TRANSFERS, AUDITOR, transfer_body(1, 100, 5));
    expect_refused(&call, GRPC_PERMISSION_DENIED, NULL, false);
    cr_expect_eq(log_event_count(the_log, EVENT_ACCESS_DENIED), 1);
    cr_expect_eq(metrics_calls(metrics, METHOD_CREATE_TRANSFERS, GRPC_PERMISSION_DENIED), 1);
    fake_call_done(&call);
}

/* The role goes between proposal and commit: apply decides, and says so. */
Test(dispatch, role_lost_on_the_way_is_not_permitted)
{
    struct grpc_call call;
    begin(&call, METHOD_CREATE_TRANSFERS, "tally:counter", transfer_body(1, 100, 5));
    struct principal_event event = principal_of("counter", "tally:counter", ROLE_NONE);
    cr_assert_eq(test_bank_principal(&node.bank, &event), RESULT_OK);
    fake_node_commit(&node);
    expect_refused(&call, GRPC_PERMISSION_DENIED, "NOT_PERMITTED", false);
    fake_call_done(&call);
}

Test(dispatch, malformed_message_never_reaches_the_node)
{
    struct grpc_call call;
    body[0] = 0x22;
    begin(&call, METHOD_CREATE_TRANSFERS, CHANNEL, 1);
    expect_refused(&call, GRPC_INVALID_ARGUMENT, NULL, false);
    fake_call_done(&call);
    begin(&call, METHOD_LOOKUP_ACCOUNTS, CHANNEL, 0);
    expect_refused(&call, GRPC_INVALID_ARGUMENT, NULL, false);
    cr_expect(strstr(call.text, "ids: empty"), "%s", call.text);
    fake_call_done(&call);
    cr_expect_eq(node.request_count, 0);
    cr_expect_eq(log_event_count(the_log, EVENT_REQUEST_MALFORMED), 2);
}

/* Refused at once by the node, for each reason it has. */
Test(dispatch, node_that_refuses_is_told_apart)
{
    static const struct {
        enum status status;
        enum grpc_code code;
        const char *outcome;
        bool retry;
    } rows[] = {
        {STATUS_BUSY, GRPC_RESOURCE_EXHAUSTED, "NOT_ACCEPTED", true},
        {STATUS_READ_ONLY, GRPC_UNAVAILABLE, "NOT_ACCEPTED", true},
        {STATUS_NOT_READY, GRPC_UNAVAILABLE, "NOT_ACCEPTED", true},
        {STATUS_STOPPING, GRPC_UNAVAILABLE, "NOT_ACCEPTED", true},
        {STATUS_INVALID, GRPC_INTERNAL, "MALFORMED", false},
    };
    struct grpc_call call;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        node.propose_status = rows[i].status;
        begin(&call, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(1, 100, 5));
        expect_refused(&call, rows[i].code, rows[i].outcome, rows[i].retry);
        fake_call_done(&call);
        /* The same, said later. */
        node.propose_status = STATUS_OK;
        begin(&call, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(1, 100, 5));
        fake_node_refuse(&node, rows[i].status);
        expect_refused(&call, rows[i].code, rows[i].outcome, rows[i].retry);
        fake_call_done(&call);
    }
    begin(&call, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(1, 100, 5));
    fake_node_refuse(&node, STATUS_UNKNOWN_OUTCOME);
    expect_refused(&call, GRPC_UNAVAILABLE, "UNKNOWN", true);
    fake_call_done(&call);
}

/* The client goes away while its transfer waits in the log: it happens, and the call ends. */
Test(dispatch, transfer_of_a_gone_client_still_counts)
{
    struct grpc_call call;
    begin(&call, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(1, 100, 5));
    go_away(&call, METHOD_CREATE_TRANSFERS);
    cr_expect_not(call.finished);
    cr_expect_eq(dispatch_call_count(dispatch), 1);
    fake_node_commit(&node);
    cr_expect(call.finished);
    cr_expect_eq(call.message_count, 0);
    fake_call_done(&call);
    struct transfer_record record;
    struct id128 id = id_of(100);
    cr_expect(machine_transfer(node.bank.machine, &id, &record));
}

/* A read that waits for a client that is gone is cancelled at once; after its answer nothing is. */
Test(dispatch, waiting_read_of_a_gone_client_is_cancelled)
{
    struct grpc_call call;
    begin(&call, METHOD_LIST_LEDGERS, AUDITOR, 0);
    cr_assert_eq(node.read_count, 1);
    go_away(&call, METHOD_LIST_LEDGERS);
    cr_expect_eq(node.cancelled_count, 1);
    cr_expect_eq(call.code, GRPC_CANCELLED);
    fake_call_done(&call);
}

Test(dispatch, read_that_cannot_be_served_is_told_why)
{
    struct grpc_call call;
    node.read_status = STATUS_BUSY;
    begin(&call, METHOD_LIST_LEDGERS, AUDITOR, 0);
    expect_refused(&call, GRPC_RESOURCE_EXHAUSTED, "NOT_ACCEPTED", true);
    fake_call_done(&call);
    node.read_status = STATUS_OK;
    begin(&call, METHOD_LIST_LEDGERS, AUDITOR, 0);
    fake_node_read_done(&node, STATUS_DEADLINE);
    expect_refused(&call, GRPC_DEADLINE_EXCEEDED, NULL, false);
    fake_call_done(&call);
}

/* A read waits no longer than its call, nor than the node allows a call without deadline. */
Test(dispatch, reads_have_a_deadline)
{
    struct grpc_call call = {.principal = AUDITOR};
    const struct grpc_method *row = fake_method(&server, method_path(METHOD_LIST_LEDGERS));
    uint64_t now = uv_hrtime();
    call.deadline_ns = now + 5000000;
    row->message(row->context, &call, body, 0);
    cr_expect_eq(node.reads[0]->deadline_ns, call.deadline_ns);
    fake_node_read_done(&node, STATUS_OK);
    fake_call_done(&call);
    call = (struct grpc_call){.principal = AUDITOR, .deadline_ns = UINT64_MAX};
    row->message(row->context, &call, body, 0);
    cr_expect_geq(node.reads[0]->deadline_ns, now + 1000000000ull);
    cr_expect_lt(node.reads[0]->deadline_ns, now + 60000000000ull);
    fake_node_read_done(&node, STATUS_OK);
    fake_call_done(&call);
}

/* ---- bounds ---- */

/* Three of one principal, four of all: the next is pushed back and the places are given back. */
Test(dispatch, calls_in_progress_are_bounded)
{
    struct grpc_call calls[4], refused;
    for (int i = 0; i < 3; i++)
        begin(&calls[i], METHOD_CREATE_TRANSFERS, i == 1 ? "tally:mobile-2" : CHANNEL,
              transfer_body((uint64_t)i, 100 + (uint64_t)i, 5));
    begin(&refused, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(9, 109, 5));
    expect_refused(&refused, GRPC_RESOURCE_EXHAUSTED, "NOT_ACCEPTED", true);
    cr_expect(strstr(refused.text, "the 3 calls"), "%s", refused.text);
    fake_call_done(&refused);
    begin(&calls[3], METHOD_CREATE_TRANSFERS, "tally:counter", transfer_body(3, 103, 5));
    cr_expect_not(calls[3].finished);
    begin(&refused, METHOD_LIST_LEDGERS, AUDITOR, 0);
    expect_refused(&refused, GRPC_RESOURCE_EXHAUSTED, "NOT_ACCEPTED", true);
    cr_expect(strstr(refused.text, "limits.requests"), "%s", refused.text);
    fake_call_done(&refused);
    for (int i = 0; i < 4; i++) {
        fake_node_commit(&node);
        fake_call_done(&calls[i]);
    }
    begin(&calls[0], METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(9, 109, 5));
    fake_node_commit(&node);
    cr_expect_eq(calls[0].code, GRPC_OK);
    fake_call_done(&calls[0]);
}

/* Two large requests take all memory there is; a third is pushed back before it is decoded. */
Test(dispatch, memory_of_requests_is_bounded)
{
    struct grpc_call calls[3];
    size_t size = identity_body(1);
    for (int i = 0; i < 40; i++, size += 2)
        memcpy(body + size, "\x12", 2);
    begin(&calls[0], METHOD_CREATE_TRANSFERS, CHANNEL, size);
    begin(&calls[1], METHOD_CREATE_TRANSFERS, "tally:counter", size);
    cr_assert_eq(node.request_count, 2);
    begin(&calls[2], METHOD_CREATE_TRANSFERS, CHANNEL, size);
    expect_refused(&calls[2], GRPC_RESOURCE_EXHAUSTED, "NOT_ACCEPTED", true);
    fake_call_done(&calls[2]);
    for (int i = 0; i < 2; i++) {
        fake_node_commit(&node);
        cr_expect_eq(calls[i].code, GRPC_OK);
        fake_call_done(&calls[i]);
    }
}

/* ---- questions ---- */

static struct fake_message *ask(struct grpc_call *call, enum method method, const char *principal,
                                size_t size)
{
    begin(call, method, principal, size);
    if (node.read_count > 0)
        fake_node_read_done(&node, STATUS_OK);
    cr_assert(call->finished);
    cr_assert_eq(call->code, GRPC_OK, "%s", call->text);
    cr_assert_eq(call->message_count, 1);
    return &call->messages[0];
}

/* Accounts 1 to 3 are on ledger 1 and 1001 to 1003 on ledger 2; pages of two of ledger 2. */
Test(dispatch, lists_go_on_where_the_page_ended)
{
    struct grpc_call call;
    uint32_t first = 0, seen = 0;
    do {
        Tally__V1__ListAccountsRequest request = TALLY__V1__LIST_ACCOUNTS_REQUEST__INIT;
        request.ledger = 2;
        request.first = first;
        request.limit = 2;
        size_t size = tally__v1__list_accounts_request__pack(&request, body);
        struct fake_message *message = ask(&call, METHOD_LIST_ACCOUNTS, AUDITOR, size);
        Tally__V1__ListAccountsResponse *page =
            tally__v1__list_accounts_response__unpack(NULL, message->size, message->bytes);
        cr_assert_not_null(page);
        cr_assert_leq(page->n_accounts, 2);
        for (size_t i = 0; i < page->n_accounts; i++, seen++)
            cr_expect_eq(page->accounts[i]->ledger, 2);
        first = page->next_first;
        tally__v1__list_accounts_response__free_unpacked(page, NULL);
        fake_call_done(&call);
    } while (first != 0);
    cr_expect_eq(seen, 3);

    Tally__V1__ListAccountsRequest request = TALLY__V1__LIST_ACCOUNTS_REQUEST__INIT;
    request.limit = 4001;
    begin(&call, METHOD_LIST_ACCOUNTS, AUDITOR,
          tally__v1__list_accounts_request__pack(&request, body));
    expect_refused(&call, GRPC_INVALID_ARGUMENT, NULL, false);
    fake_call_done(&call);
}

/* Pages of one over everything: each account and each transfer once, in order, and then the end. */
Test(dispatch, pages_leave_nothing_out)
{
    struct grpc_call call;
    for (uint64_t i = 0; i < 4; i++) {
        struct transfer_event transfer = transfer_of(600 + i, 1, 2, 1, 1);
        cr_assert_eq(test_bank_transfer(&node.bank, &transfer), RESULT_OK);
    }
    uint64_t next = 0, seen = 0;
    do {
        Tally__V1__ListTransfersRequest request = TALLY__V1__LIST_TRANSFERS_REQUEST__INIT;
        request.first = next;
        request.limit = 1;
        struct fake_message *message = ask(&call, METHOD_LIST_TRANSFERS, AUDITOR,
                                           tally__v1__list_transfers_request__pack(&request, body));
        Tally__V1__ListTransfersResponse *page =
            tally__v1__list_transfers_response__unpack(NULL, message->size, message->bytes);
        cr_assert_eq(page->n_transfers, 1);
        cr_expect_eq(page->transfers[0]->sequence, seen);
        seen++;
        next = page->next_first;
        tally__v1__list_transfers_response__free_unpacked(page, NULL);
        fake_call_done(&call);
    } while (next != 0);
    cr_expect_eq(seen, machine_transfer_count(node.bank.machine));

    uint32_t first = 0, count = 0;
    do {
        Tally__V1__ListAccountsRequest request = TALLY__V1__LIST_ACCOUNTS_REQUEST__INIT;
        request.first = first;
        request.limit = 1;
        struct fake_message *message = ask(&call, METHOD_LIST_ACCOUNTS, AUDITOR,
                                           tally__v1__list_accounts_request__pack(&request, body));
        Tally__V1__ListAccountsResponse *page =
            tally__v1__list_accounts_response__unpack(NULL, message->size, message->bytes);
        struct account expected;
        cr_assert_eq(page->n_accounts, 1);
        cr_assert(machine_account_at(node.bank.machine, count, &expected));
        cr_expect_eq(memcmp(page->accounts[0]->id.data, expected.record.id.bytes, 16), 0);
        count++;
        first = page->next_first;
        tally__v1__list_accounts_response__free_unpacked(page, NULL);
        fake_call_done(&call);
    } while (first != 0);
    cr_expect_eq(count, machine_account_count(node.bank.machine));
}

/* Accounts in the order asked, those that exist; a transfer that was refused says why. */
Test(dispatch, lookups_give_what_exists_in_the_order_asked)
{
    struct grpc_call call;
    struct id128 ids[3] = {id_of(2), id_of(77), id_of(1)};
    ProtobufCBinaryData wanted[3];
    for (int i = 0; i < 3; i++)
        wanted[i] = (ProtobufCBinaryData){.len = 16, .data = ids[i].bytes};
    Tally__V1__LookupAccountsRequest request = TALLY__V1__LOOKUP_ACCOUNTS_REQUEST__INIT;
    request.ids = wanted;
    request.n_ids = 3;
    size_t size = tally__v1__lookup_accounts_request__pack(&request, body);
    struct fake_message *message = ask(&call, METHOD_LOOKUP_ACCOUNTS, CHANNEL, size);
    Tally__V1__LookupAccountsResponse *accounts =
        tally__v1__lookup_accounts_response__unpack(NULL, message->size, message->bytes);
    cr_assert_not_null(accounts);
    cr_assert_eq(accounts->n_accounts, 2);
    cr_expect_eq(memcmp(accounts->accounts[0]->id.data, ids[0].bytes, 16), 0);
    cr_expect_eq(memcmp(accounts->accounts[1]->id.data, ids[2].bytes, 16), 0);
    tally__v1__lookup_accounts_response__free_unpacked(accounts, NULL);
    fake_call_done(&call);

    struct transfer_event refused = transfer_of(500, 999, 1, 5, 1);
    cr_assert_eq(test_bank_transfer(&node.bank, &refused), RESULT_DEBIT_ACCOUNT_NOT_FOUND);
    struct id128 id = id_of(500);
    wanted[0].data = id.bytes;
    Tally__V1__LookupTransfersRequest about = TALLY__V1__LOOKUP_TRANSFERS_REQUEST__INIT;
    about.ids = wanted;
    about.n_ids = 1;
    message = ask(&call, METHOD_LOOKUP_TRANSFERS, CHANNEL,
                  tally__v1__lookup_transfers_request__pack(&about, body));
    Tally__V1__LookupTransfersResponse *transfers =
        tally__v1__lookup_transfers_response__unpack(NULL, message->size, message->bytes);
    cr_assert_not_null(transfers);
    cr_assert_eq(transfers->n_transfers, 1);
    cr_expect_eq((int)transfers->transfers[0]->refused, RESULT_DEBIT_ACCOUNT_NOT_FOUND);
    cr_expect_eq(transfers->transfers[0]->debit_account_id.len, 0);
    cr_expect_eq(transfers->transfers[0]->credit_account_id.len, 16);
    tally__v1__lookup_transfers_response__free_unpacked(transfers, NULL);
    fake_call_done(&call);
}

Test(dispatch, trial_balance_adds_up)
{
    struct grpc_call call;
    struct transfer_event transfer = transfer_of(500, 1, 2, 1234, 1);
    cr_assert_eq(test_bank_transfer(&node.bank, &transfer), RESULT_OK);
    Tally__V1__TrialBalanceRequest request = TALLY__V1__TRIAL_BALANCE_REQUEST__INIT;
    request.ledger = 1;
    struct fake_message *message = ask(&call, METHOD_TRIAL_BALANCE, AUDITOR,
                                       tally__v1__trial_balance_request__pack(&request, body));
    Tally__V1__TrialBalanceResponse *balance =
        tally__v1__trial_balance_response__unpack(NULL, message->size, message->bytes);
    cr_assert_not_null(balance);
    cr_expect(balance->balanced);
    cr_expect_eq(balance->debits_posted->low, 1234);
    cr_expect_eq(balance->credits_posted->low, 1234);
    cr_expect_eq(balance->digest.len, 16);
    cr_expect_eq(balance->index, machine_applied_index(node.bank.machine));
    tally__v1__trial_balance_response__free_unpacked(balance, NULL);
    fake_call_done(&call);
    request.ledger = 55;
    begin(&call, METHOD_TRIAL_BALANCE, AUDITOR,
          tally__v1__trial_balance_request__pack(&request, body));
    fake_node_read_done(&node, STATUS_OK);
    expect_refused(&call, GRPC_NOT_FOUND, NULL, false);
    fake_call_done(&call);
}

static size_t get_request_body(uint64_t nonce, const char *principal)
{
    uint8_t nonce_bytes[16];
    nonce_of(nonce, nonce_bytes);
    Tally__V1__RequestIdentity identity = TALLY__V1__REQUEST_IDENTITY__INIT;
    identity.nonce = (ProtobufCBinaryData){.len = 16, .data = nonce_bytes};
    identity.issued_at_ns = TEST_START;
    Tally__V1__GetRequestRequest request;
    tally__v1__get_request_request__init(&request);
    request.identity = &identity;
    request.principal = (char *)(uintptr_t)principal;
    return tally__v1__get_request_request__pack(&request, body);
}

static void expect_outcome(struct fake_message *message, int outcome, const void *answer,
                           size_t answer_size)
{
    Tally__V1__GetRequestResponse *read =
        tally__v1__get_request_response__unpack(NULL, message->size, message->bytes);
    cr_assert_not_null(read);
    cr_expect_eq((int)read->outcome, outcome);
    cr_assert_eq(read->answer.len, answer_size);
    if (answer_size > 0) /* memcmp of nothing at NULL is no comparison */
        cr_expect_eq(memcmp(read->answer.data, answer, answer_size), 0);
    tally__v1__get_request_response__free_unpacked(read, NULL);
}

/* What became of a request: asked by its principal, by another, and by an auditor. */
Test(dispatch, get_request_is_for_its_principal_and_auditors)
{
    struct grpc_call first, call;
    begin(&first, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(41, 100, 5));
    fake_node_commit(&node);
    const void *answer = first.messages[0].bytes;
    size_t size = first.messages[0].size;
    expect_outcome(ask(&call, METHOD_GET_REQUEST, CHANNEL, get_request_body(41, "")),
                   OUTCOME_EXECUTED, answer, size);
    fake_call_done(&call);
    expect_outcome(ask(&call, METHOD_GET_REQUEST, CHANNEL, get_request_body(41, "mobile")),
                   OUTCOME_EXECUTED, answer, size);
    fake_call_done(&call);
    expect_outcome(ask(&call, METHOD_GET_REQUEST, AUDITOR, get_request_body(41, "mobile")),
                   OUTCOME_EXECUTED, answer, size);
    fake_call_done(&call);
    /* Another channel's nonces are its own. */
    expect_outcome(ask(&call, METHOD_GET_REQUEST, "tally:counter", get_request_body(41, "")),
                   OUTCOME_NOT_YET_SEEN, NULL, 0);
    fake_call_done(&call);
    begin(&call, METHOD_GET_REQUEST, "tally:counter", get_request_body(41, "mobile"));
    fake_node_read_done(&node, STATUS_OK);
    expect_refused(&call, GRPC_PERMISSION_DENIED, NULL, false);
    fake_call_done(&call);
    begin(&call, METHOD_GET_REQUEST, AUDITOR, get_request_body(41, "nobody"));
    fake_node_read_done(&node, STATUS_OK);
    expect_refused(&call, GRPC_NOT_FOUND, NULL, false);
    fake_call_done(&call);
    fake_call_done(&first);
}

/* A fence answers what became of the request: fenced now, or executed before. */
Test(dispatch, fence_answers_about_the_request)
{
    struct grpc_call call, first;
    begin(&call, METHOD_FENCE_REQUEST, CHANNEL, identity_body(60));
    fake_node_commit(&node);
    cr_assert_eq(call.code, GRPC_OK, "%s", call.text);
    expect_outcome(&call.messages[0], OUTCOME_REQUEST_FENCED, NULL, 0);
    fake_call_done(&call);
    begin(&call, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(60, 100, 5));
    fake_node_commit(&node);
    expect_refused(&call, GRPC_FAILED_PRECONDITION, "REQUEST_FENCED", false);
    fake_call_done(&call);

    begin(&first, METHOD_CREATE_TRANSFERS, CHANNEL, transfer_body(61, 101, 5));
    fake_node_commit(&node);
    begin(&call, METHOD_FENCE_REQUEST, CHANNEL, identity_body(61));
    fake_node_commit(&node);
    cr_assert_eq(call.code, GRPC_OK, "%s", call.text);
    expect_outcome(&call.messages[0], OUTCOME_EXECUTED, first.messages[0].bytes,
                   first.messages[0].size);
    fake_call_done(&call);
    fake_call_done(&first);
}

Test(dispatch, admin_lists_principals_and_status)
{
    struct grpc_call call;
    struct fake_message *message = ask(&call, METHOD_LIST_PRINCIPALS, OPERATOR, 0);
    Tally__V1__ListPrincipalsResponse *list =
        tally__v1__list_principals_response__unpack(NULL, message->size, message->bytes);
    cr_assert_not_null(list);
    cr_assert_eq(list->n_principals, TEST_PRINCIPAL_COUNT);
    cr_expect_str_eq(list->principals[TEST_CHANNEL]->uri, CHANNEL);
    cr_expect_str_eq(list->principals[TEST_CHANNEL]->name, "mobile");
    tally__v1__list_principals_response__free_unpacked(list, NULL);
    fake_call_done(&call);

    message = ask(&call, METHOD_GET_STATUS, "tally:node", 0);
    cr_expect_eq(memcmp(message->bytes, "\x0a\x08{\"a\": 1}", message->size), 0);
    fake_call_done(&call);
}
