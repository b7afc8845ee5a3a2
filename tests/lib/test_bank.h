/*
 * A machine with the world around it that tests of rules need: memory, a past in RAM, a builder, a
 * clock that moves by a second per entry, and principals of every role. What was answered last is
 * kept in `answers`.
 */
#ifndef TALLY_TESTS_LIB_TEST_BANK_H
#define TALLY_TESTS_LIB_TEST_BANK_H

#include "command_builder.h"
#include "core/machine.h"
#include "past_memory.h"
#include "test_memory.h"

#define TEST_SECOND 1000000000ull
#define TEST_MINUTE (60 * TEST_SECOND)
#define TEST_HOUR   (60 * TEST_MINUTE)
/* The first stamp: some day in 2026. */
#define TEST_START 1790000000000000000ull

/* Rows of the principal table after test_bank_init(). */
enum test_principal {
    TEST_SITE_OPERATOR,
    TEST_CHANNEL,
    TEST_BUSINESS_OPERATOR,
    TEST_AUDITOR,
    TEST_NODE,
    TEST_CHANNEL_TWIN, /* another instance of TEST_CHANNEL: the same name */
    TEST_OTHER_CHANNEL,
    TEST_DISABLED,
    TEST_PRINCIPAL_COUNT
};

#define TEST_ANSWERS_MAX 8

struct test_answer {
    struct answer answer;
    uint8_t results[REQUEST_EVENTS_MAX];
};

struct test_bank {
    struct test_memory memory;
    struct past_memory past;
    struct machine *machine;
    struct command_builder builder;
    uint64_t stamp;        /* of the next entry */
    uint64_t nonce;        /* of the next request that is given one */
    uint32_t answer_count; /* of the last entry */
    struct test_answer *answers;
};

/* Small tables: 1000 accounts, memtables of the least size. */
struct machine_options test_bank_options(struct test_bank *bank);

/* Makes the bank and its principals. */
void test_bank_init(struct test_bank *bank);
/* The same with other options than test_bank_options(); memory is filled in. */
void test_bank_init_with(struct test_bank *bank, const struct machine_options *options);
void test_bank_deinit(struct test_bank *bank);

/* Applies an entry's bytes at the next index; moves the clock one second behind its stamps. */
void test_bank_apply(struct test_bank *bank, const void *entry, size_t size);

/* Applies one request with a fresh nonce issued now; returns its outcome. Results are in
 * bank->answers[0].results. */
uint8_t test_bank_send(struct test_bank *bank, uint16_t operation, uint32_t principal,
                       const void *events, uint32_t count);
/* The same with a given identity. */
uint8_t test_bank_send_as(struct test_bank *bank, uint16_t operation, uint32_t principal,
                          uint64_t nonce, uint64_t issued_at_ns, const void *events,
                          uint32_t count);

/* One event of the proper principal; the outcome must be EXECUTED (else it aborts); its result. */
uint8_t test_bank_ledger(struct test_bank *bank, const struct ledger_event *event);
uint8_t test_bank_account(struct test_bank *bank, const struct account_event *event);
uint8_t test_bank_transfer(struct test_bank *bank, const struct transfer_event *event);
uint8_t test_bank_principal(struct test_bank *bank, const struct principal_event *event);

/* Ledgers 1 (CNY, 2) and 2 (EUR, 2), accounts 1 .. count on ledger 1 and 1001 .. 1000 + count on 2.
 */
void test_bank_open_accounts(struct test_bank *bank, uint32_t count);

/* Aborts unless the ledgers' totals and the sums over accounts agree everywhere. */
void test_bank_check(const struct test_bank *bank);

u128 test_balance_debits(const struct test_bank *bank, uint64_t account);
u128 test_balance_credits(const struct test_bank *bank, uint64_t account);

#endif
