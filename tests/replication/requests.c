#include "tests/replication/requests.h"

#include "replication/node/propose.h"

#include <string.h>

static void request_cb(struct node_request *node, enum status status, const struct answer *answer)
{
    struct test_request *request = (struct test_request *)node;
    require(!(request->done), "a callback fired twice");
    request->done = true;
    request->status = status;
    require((status == STATUS_OK) == (answer != NULL), "unexpected");
    if (answer == NULL)
        return;
    request->answer = *answer;
    if (answer->outcome == OUTCOME_EXECUTED)
        memcpy(request->results, answer->results, answer->event_count);
    request->answer.results = request->results;
}

struct test_request *request_create(uint16_t operation, uint32_t event_count)
{
    struct test_request *request = calloc(1, sizeof *request);
    require((request) != NULL, "unexpected");
    size_t size = sizeof(struct request_header) + operation_event_size(operation) * event_count;
    request->header = aligned_alloc(64, (size + 63) / 64 * 64);
    require((request->header) != NULL, "unexpected");
    memset(request->header, 0, size);
    request->header->operation = operation;
    request->header->event_count = event_count;
    request->node.request = request->header;
    request->node.cb = request_cb;
    return request;
}

void request_destroy(struct test_request *request)
{
    free(request->header);
    free(request);
}

struct test_request *request_copy(const struct test_request *request)
{
    struct test_request *copy =
        request_create(request->header->operation, request->header->event_count);
    memcpy(copy->header, request->header, request->header->size);
    return copy;
}

void *request_events(struct test_request *request)
{
    return request->header + 1;
}

void request_finish(struct test_request *request, uint32_t principal)
{
    const struct environment *real = environment_real();
    request->header->issued_at_ns = real->wall_ns(NULL);
    real->random(NULL, request->header->nonce, sizeof request->header->nonce);
    request_seal(request->header, principal);
}

static struct id128 id_of(uint64_t high, uint64_t low)
{
    struct id128 id;
    memcpy(id.bytes, &low, sizeof low);
    memcpy(id.bytes + sizeof low, &high, sizeof high);
    return id;
}

struct id128 transfer_id(uint64_t number)
{
    return id_of(0x7261, number + 1);
}

struct id128 account_id(uint32_t number)
{
    return id_of(0xacc, number + 1);
}

struct test_request *request_transfers(uint64_t first, uint32_t count)
{
    struct test_request *request = request_create(OPERATION_CREATE_TRANSFERS, count);
    struct transfer_event *events = request_events(request);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t number = first + i;
        events[i].id = transfer_id(number);
        events[i].debit_account_id = account_id((uint32_t)(number % TEST_ACCOUNT_COUNT));
        events[i].credit_account_id = account_id((uint32_t)((number + 1) % TEST_ACCOUNT_COUNT));
        events[i].amount_low = 1;
        events[i].ledger = TEST_LEDGER;
        events[i].code = 1;
    }
    request_finish(request, PRINCIPAL_APP);
    return request;
}

bool request_is_done(void *context)
{
    const struct test_request *request = context;
    return request->done;
}

enum status request_propose(struct pump *pump, struct test_request *request)
{
    return node_propose(pump->node, &request->node);
}

void request_run(struct pump *pump, struct test_request *request)
{
    enum status status = request_propose(pump, request);
    require((status) == (STATUS_OK), "propose: %s", status_text(status));
    require(pump_until(pump, request_is_done, request), "no answer");
    require((request->status) == (STATUS_OK), "answer: %s", status_text(request->status));
}

static void run_and_check(struct pump *pump, struct test_request *request)
{
    request_run(pump, request);
    for (uint32_t i = 0; i < request->header->event_count; i++)
        require((request->results[i]) == (RESULT_OK), "%s", result_name(request->results[i]));
}

void request_ledger_and_accounts(struct test_request *out_requests[2])
{
    struct test_request *ledgers = request_create(OPERATION_CREATE_LEDGERS, 1);
    struct ledger_event *ledger = request_events(ledgers);
    ledger->id = TEST_LEDGER;
    ledger->exponent = 2;
    ledger->name_size = 4;
    memcpy(ledger->currency, "EUR", 4);
    memcpy(ledger->name, "test", 4);
    request_finish(ledgers, PRINCIPAL_BANK);
    out_requests[0] = ledgers;

    struct test_request *accounts = request_create(OPERATION_CREATE_ACCOUNTS, TEST_ACCOUNT_COUNT);
    struct account_event *events = request_events(accounts);
    for (uint32_t i = 0; i < TEST_ACCOUNT_COUNT; i++) {
        events[i].id = account_id(i);
        events[i].ledger = TEST_LEDGER;
        events[i].code = 1;
    }
    request_finish(accounts, PRINCIPAL_BANK);
    out_requests[1] = accounts;
}

void create_ledger_and_accounts(struct pump *pump)
{
    struct test_request *requests[2];
    request_ledger_and_accounts(requests);
    for (int i = 0; i < 2; i++) {
        run_and_check(pump, requests[i]);
        request_destroy(requests[i]);
    }
}

bool transfers_exist(struct pump *pump, uint64_t first, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        struct id128 id = transfer_id(first + i);
        struct transfer_record record;
        if (!machine_transfer(node_machine(pump->node), &id, &record) || record.result != 0)
            return false;
    }
    return true;
}
