/* A machine with its world, see test_bank.h. */
#include "test_bank.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *what, uint64_t a, uint64_t b)
{
    fprintf(stderr, "test_bank: %s (%llu, %llu)\n", what, (unsigned long long)a,
            (unsigned long long)b);
    abort();
}

struct machine_options test_bank_options(struct test_bank *bank)
{
    return (struct machine_options){
        .memory = test_memory_of(&bank->memory),
        .account_count_max = 1000,
        .epoch_transfer_count_max = 2 * REQUEST_EVENTS_MAX,
        .epoch_request_count_max = ENTRY_REQUESTS_MAX,
        .epoch_answer_bytes_max = 4 * REQUEST_EVENTS_MAX,
        .hash_seed = 42,
    };
}

void test_bank_init_with(struct test_bank *bank, const struct machine_options *options)
{
    *bank = (struct test_bank){.stamp = TEST_START, .nonce = 1000000};
    past_memory_init(&bank->past);
    command_builder_init(&bank->builder);
    bank->answers = calloc(TEST_ANSWERS_MAX, sizeof bank->answers[0]);
    if (bank->answers == NULL)
        fail("out of memory", 0, 0);
    struct machine_options own = *options;
    own.memory = test_memory_of(&bank->memory);
    struct ledger_past table = past_memory_table(&bank->past);
    enum status status = machine_create(&own, &table, &bank->machine);
    if (status != STATUS_OK)
        fail("machine_create", status, 0);

    const struct principal_event principals[TEST_PRINCIPAL_COUNT] = {
        [TEST_SITE_OPERATOR] = principal_of("ops", "tally:ops", ROLE_SITE_OPERATOR),
        [TEST_CHANNEL] = principal_of("mobile", "tally:mobile-1", ROLE_CHANNEL),
        [TEST_BUSINESS_OPERATOR] = principal_of("desk", "tally:desk", ROLE_BUSINESS_OPERATOR),
        [TEST_AUDITOR] = principal_of("audit", "tally:audit", ROLE_AUDITOR),
        [TEST_NODE] = principal_of("node", "tally:node", ROLE_NODE),
        [TEST_CHANNEL_TWIN] = principal_of("mobile", "tally:mobile-2", ROLE_CHANNEL),
        [TEST_OTHER_CHANNEL] = principal_of("counter", "tally:counter", ROLE_CHANNEL),
        [TEST_DISABLED] = principal_of("former", "tally:former", ROLE_NONE),
    };
    uint8_t outcome =
        test_bank_send(bank, OPERATION_SET_PRINCIPALS, 0, principals, TEST_PRINCIPAL_COUNT);
    if (outcome != OUTCOME_EXECUTED)
        fail("genesis", outcome, 0);
}

void test_bank_init(struct test_bank *bank)
{
    struct machine_options options = test_bank_options(bank);
    test_bank_init_with(bank, &options);
}

void test_bank_deinit(struct test_bank *bank)
{
    machine_destroy(bank->machine);
    if (bank->memory.out_count != 0)
        fail("memory is still out", bank->memory.out_count, bank->memory.out_bytes);
    past_memory_deinit(&bank->past);
    command_builder_deinit(&bank->builder);
    free(bank->answers);
}

static void keep_answer(void *context, uint32_t position, const struct answer *answer)
{
    struct test_bank *bank = context;
    if (position != bank->answer_count)
        fail("answers are out of order", position, bank->answer_count);
    bank->answer_count++;
    if (position >= TEST_ANSWERS_MAX)
        return;
    struct test_answer *kept = &bank->answers[position];
    kept->answer = *answer;
    if (answer->event_count > 0)
        memcpy(kept->results, answer->results, answer->event_count);
    kept->answer.results = kept->results;
}

void test_bank_apply(struct test_bank *bank, const void *entry, size_t size)
{
    bank->answer_count = 0;
    machine_apply(bank->machine, machine_applied_index(bank->machine) + 1, 1, entry, size,
                  keep_answer, bank);
    uint64_t stamp = machine_stamp(bank->machine);
    if (stamp >= bank->stamp)
        bank->stamp = stamp + TEST_SECOND;
}

uint8_t test_bank_send_as(struct test_bank *bank, uint16_t operation, uint32_t principal,
                          uint64_t nonce, uint64_t issued_at_ns, const void *events, uint32_t count)
{
    size_t size;
    const uint8_t *entry = command_builder_single(&bank->builder, bank->stamp, operation, principal,
                                                  nonce, issued_at_ns, events, count, &size);
    test_bank_apply(bank, entry, size);
    if (bank->answer_count != 1)
        fail("one request, one answer", bank->answer_count, operation);
    return bank->answers[0].answer.outcome;
}

uint8_t test_bank_send(struct test_bank *bank, uint16_t operation, uint32_t principal,
                       const void *events, uint32_t count)
{
    return test_bank_send_as(bank, operation, principal, bank->nonce++, bank->stamp, events, count);
}

static uint8_t send_one(struct test_bank *bank, uint16_t operation, uint32_t principal,
                        const void *event)
{
    uint8_t outcome = test_bank_send(bank, operation, principal, event, 1);
    if (outcome != OUTCOME_EXECUTED)
        fail("not executed", operation, outcome);
    return bank->answers[0].results[0];
}

uint8_t test_bank_ledger(struct test_bank *bank, const struct ledger_event *event)
{
    return send_one(bank, OPERATION_CREATE_LEDGERS, TEST_BUSINESS_OPERATOR, event);
}

uint8_t test_bank_account(struct test_bank *bank, const struct account_event *event)
{
    return send_one(bank, OPERATION_CREATE_ACCOUNTS, TEST_BUSINESS_OPERATOR, event);
}

uint8_t test_bank_transfer(struct test_bank *bank, const struct transfer_event *event)
{
    return send_one(bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, event);
}

uint8_t test_bank_principal(struct test_bank *bank, const struct principal_event *event)
{
    return send_one(bank, OPERATION_SET_PRINCIPALS, TEST_SITE_OPERATOR, event);
}

void test_bank_open_accounts(struct test_bank *bank, uint32_t count)
{
    const struct ledger_event ledgers[] = {
        ledger_of(1, "CNY", 2, "renminbi"),
        ledger_of(2, "EUR", 2, "euro"),
    };
    for (uint32_t i = 0; i < 2; i++) {
        uint8_t result = test_bank_ledger(bank, &ledgers[i]);
        if (result != RESULT_OK)
            fail("ledger", i, result);
    }
    for (uint32_t i = 1; i <= count; i++) {
        struct account_event first = account_of(i, 1, 10, 0);
        struct account_event second = account_of(1000 + i, 2, 10, 0);
        if (test_bank_account(bank, &first) != RESULT_OK ||
            test_bank_account(bank, &second) != RESULT_OK)
            fail("account", i, bank->answers[0].results[0]);
    }
}

static void ignore_row(void *context, const struct trial_balance_row *row)
{
    (void)context;
    (void)row;
}

void test_bank_check(const struct test_bank *bank)
{
    for (uint32_t i = 0; i < machine_ledger_count(bank->machine); i++) {
        struct ledger_record ledger;
        bool balanced = false;
        if (!machine_ledger_at(bank->machine, i, &ledger) ||
            !machine_trial_balance(bank->machine, ledger.id, ignore_row, NULL, &balanced) ||
            !balanced)
            fail("the trial balance does not balance", i, balanced);
    }
}

static struct balance_record balance_of(const struct test_bank *bank, uint64_t account)
{
    struct id128 id = id_of(account);
    struct account found;
    if (!machine_account(bank->machine, &id, &found))
        fail("no such account", account, 0);
    return found.balance;
}

u128 test_balance_debits(const struct test_bank *bank, uint64_t account)
{
    struct balance_record balance = balance_of(bank, account);
    return u128_make(balance.debits_posted_low, balance.debits_posted_high);
}

u128 test_balance_credits(const struct test_bank *bank, uint64_t account)
{
    struct balance_record balance = balance_of(bank, account);
    return u128_make(balance.credits_posted_low, balance.credits_posted_high);
}
