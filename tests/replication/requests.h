/* Requests as a client would send them, and what became of them. */
#ifndef TALLY_TESTS_REPLICATION_REQUESTS_H
#define TALLY_TESTS_REPLICATION_REQUESTS_H

#include "tests/replication/pump.h"

#define TEST_LEDGER        7
#define TEST_ACCOUNT_COUNT 16

struct test_request {
    struct node_request node;      /* first */
    struct request_header *header; /* header and events, on the heap */
    bool done;
    enum status status;
    struct answer answer; /* results point to the copy below */
    uint8_t results[REQUEST_EVENTS_MAX];
};

struct test_request *request_create(uint16_t operation, uint32_t event_count);
void request_destroy(struct test_request *request);
/* The same request again: identity, digest and events, a fresh outcome. */
struct test_request *request_copy(const struct test_request *request);
void *request_events(struct test_request *request);
/* Identity drawn, header sealed. */
void request_finish(struct test_request *request, uint32_t principal);

/* `count` transfers of 1 with ids number first .. first + count - 1, account (id % 16) to the next.
 */
struct test_request *request_transfers(uint64_t first, uint32_t count);
struct id128 transfer_id(uint64_t number);
struct id128 account_id(uint32_t number);

/* The requests for ledger TEST_LEDGER and TEST_ACCOUNT_COUNT accounts; and the same, run. */
void request_ledger_and_accounts(struct test_request *out_requests[2]);
void create_ledger_and_accounts(struct pump *pump);

/* node_propose; the status of the call. */
enum status request_propose(struct pump *pump, struct test_request *request);
/* Proposes, turns until answered; fails the test on anything but STATUS_OK. */
void request_run(struct pump *pump, struct test_request *request);
bool request_is_done(void *context);

/* Every transfer of [first, first + count) is in the ledger. */
bool transfers_exist(struct pump *pump, uint64_t first, uint64_t count);

#endif
