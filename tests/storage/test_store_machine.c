/*
 * The store under the real machine. Two machines apply the same entries: one keeps its past in RAM
 * and never restarts, the other writes epochs into the store at odd moments and is restored from it
 * now and then. They may never differ in an answer or a digest.
 */
#include "tests/lib/test_bank.h"
#include "tests/storage/checkpoint_suite.h"
#include "tests/storage/store_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#define ACCOUNTS 40u

struct twin {
    struct store_fixture fixture;
    struct checkpoint *checkpoint;
    struct test_memory memory;
    struct machine_options options;
    struct machine *machine;
    /* the last entry's answers, as bytes */
    uint32_t answer_count;
    uint8_t outcome[TEST_ANSWERS_MAX];
    bool repeated[TEST_ANSWERS_MAX];
    uint8_t results[TEST_ANSWERS_MAX][REQUEST_EVENTS_MAX];
};

static void twin_start(struct twin *twin)
{
    struct ledger_past past;
    twin->checkpoint = store_fixture_opened(&twin->fixture);
    checkpoint_past(twin->checkpoint, &past);
    twin->options.memory = test_memory_of(&twin->memory);
    cr_assert_eq(machine_create(&twin->options, &past, &twin->machine), STATUS_OK);
    struct checkpoint_meta meta;
    if (checkpoint_meta(twin->checkpoint, &meta) == STATUS_OK) {
        struct store_error error = {{0}};
        enum status status = checkpoint_restore(twin->checkpoint, twin->machine);
        store_failure(twin->checkpoint, &error);
        cr_assert_eq(status, STATUS_OK, "%s", error.text);
        cr_assert_eq(machine_applied_index(twin->machine), meta.index);
    } else {
        cr_assert_eq(checkpoint_restore(twin->checkpoint, twin->machine), STATUS_NOT_FOUND);
    }
}

static void twin_stop(struct twin *twin)
{
    machine_destroy(twin->machine);
    checkpoint_finish(twin->checkpoint);
}

static void twin_checkpoint(struct twin *twin)
{
    const struct epoch *epoch = machine_freeze(twin->machine);
    struct checkpoint_meta meta = {.index = epoch->applied_index, .term = epoch->applied_term};
    cr_assert_eq(checkpoint_drive(twin->checkpoint, epoch, &meta), STATUS_OK);
    machine_release_epoch(twin->machine);
}

static void note_answer(void *context, uint32_t position, const struct answer *answer)
{
    struct twin *twin = context;
    cr_assert_lt(position, TEST_ANSWERS_MAX);
    twin->outcome[position] = answer->outcome;
    twin->repeated[position] = answer->repeated;
    if (answer->outcome == OUTCOME_EXECUTED)
        memcpy(twin->results[position], answer->results, answer->event_count);
    twin->answer_count = position + 1;
}

static void assert_same_state(const struct test_bank *bank, const struct twin *twin)
{
    uint8_t a[16], b[16];
    cr_assert_eq(machine_applied_index(bank->machine), machine_applied_index(twin->machine));
    machine_digest(bank->machine, a);
    machine_digest(twin->machine, b);
    cr_assert_eq(memcmp(a, b, sizeof a), 0, "digests differ at index %lu",
                 (unsigned long)machine_applied_index(bank->machine));
}

/* Applies the same bytes to both and compares what they answer. */
static void both_apply(struct test_bank *bank, struct twin *twin, const void *entry, size_t size)
{
    uint64_t index = machine_applied_index(bank->machine) + 1;
    if (!machine_room_for(twin->machine, REQUEST_EVENTS_MAX, 1))
        twin_checkpoint(twin);
    if (!machine_room_for(bank->machine, REQUEST_EVENTS_MAX, 1))
        past_memory_checkpoint(&bank->past, bank->machine);
    test_bank_apply(bank, entry, size);
    machine_apply(twin->machine, index, machine_applied_term(bank->machine), entry, size,
                  note_answer, twin);
    cr_assert_eq(bank->answer_count, twin->answer_count);
    for (uint32_t i = 0; i < twin->answer_count; i++) {
        const struct test_answer *expected = &bank->answers[i];
        cr_assert_eq(expected->answer.outcome, twin->outcome[i]);
        cr_assert_eq(expected->answer.repeated, twin->repeated[i]);
        if (expected->answer.outcome == OUTCOME_EXECUTED)
            cr_assert_eq(memcmp(expected->results, twin->results[i], expected->answer.event_count),
                         0, "results differ at index %lu", (unsigned long)index);
    }
}

/* The request of a step is a function of the step: 1 to 60 transfers whose ids are drawn from a
 * small range, so that many exist, some of them in the store. `variant` changes the events under
 * the same identity. */
static void send_transfers(struct test_bank *bank, struct twin *twin, unsigned step,
                           uint64_t issued_at_ns, unsigned variant)
{
    struct transfer_event events[60];
    unsigned seed = step * 2 + variant;
    uint32_t count = 1 + (uint32_t)rand_r(&seed) % 60;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t debit = 1 + (uint64_t)rand_r(&seed) % (ACCOUNTS + 1); /* the last: no such */
        uint64_t credit = 1 + (uint64_t)rand_r(&seed) % ACCOUNTS;
        events[i] = transfer_of(5000 + (uint64_t)rand_r(&seed) % (50 + 40 * step), debit, credit,
                                1 + (uint64_t)rand_r(&seed) % 100, 1);
    }
    size_t size;
    uint8_t *entry =
        command_builder_single(&bank->builder, bank->stamp, OPERATION_CREATE_TRANSFERS,
                               TEST_CHANNEL, 1000000 + step, issued_at_ns, events, count, &size);
    both_apply(bank, twin, entry, size);
}

/* A bank, and a twin whose first epoch is what the bank did so far: its principals. */
static void both_begin(struct test_bank *bank, struct twin *twin)
{
    store_fixture_init(&twin->fixture);
    test_bank_init(bank); /* makes the principals at once: the twin follows */
    twin->options = test_bank_options(bank);
    twin_start(twin);
    const struct epoch *epoch = machine_freeze(bank->machine);
    struct checkpoint_meta meta = {.index = epoch->applied_index, .term = epoch->applied_term};
    cr_assert_eq(checkpoint_drive(twin->checkpoint, epoch, &meta), STATUS_OK);
    past_memory_take(&bank->past, epoch);
    machine_release_epoch(bank->machine);
    twin_stop(twin);
    twin_start(twin);
    assert_same_state(bank, twin);
}

Test(store_machine, never_differs_from_a_past_in_memory, .timeout = 200)
{
    struct test_bank bank;
    static struct twin twin;
    srandom(7);
    both_begin(&bank, &twin);

    struct ledger_event ledger = ledger_of(1, "CNY", 2, "main");
    struct account_event accounts[ACCOUNTS];
    size_t size;
    uint8_t *entry =
        command_builder_single(&bank.builder, bank.stamp, OPERATION_CREATE_LEDGERS,
                               TEST_BUSINESS_OPERATOR, 1, bank.stamp, &ledger, 1, &size);
    both_apply(&bank, &twin, entry, size);
    for (uint32_t i = 0; i < ACCOUNTS; i++)
        accounts[i] =
            account_of(i + 1, 1, 10, i % 4 == 0 ? ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS : 0);
    entry =
        command_builder_single(&bank.builder, bank.stamp, OPERATION_CREATE_ACCOUNTS,
                               TEST_BUSINESS_OPERATOR, 2, bank.stamp, accounts, ACCOUNTS, &size);
    both_apply(&bank, &twin, entry, size);

    unsigned epochs = 0, restarts = 0, repeated = 0, beyond = 0, reused = 0;
    static uint64_t issued[600];
    for (unsigned step = 0; step < 600; step++) {
        if (step % 100 == 99)
            bank.stamp += 9 * TEST_HOUR; /* some requests leave the window */
        issued[step] = bank.stamp;
        send_transfers(&bank, &twin, step, issued[step], 0);
        if (random() % 4 == 0) { /* an old one again: its answer, or beyond the window */
            unsigned old = (unsigned)random() % (step + 1);
            send_transfers(&bank, &twin, old, issued[old], 0);
            repeated += twin.repeated[0];
            beyond += twin.outcome[0] == OUTCOME_BEYOND_WINDOW;
        }
        if (random() % 8 == 0) { /* an old nonce for something else */
            unsigned old = (unsigned)random() % (step + 1);
            send_transfers(&bank, &twin, old, issued[old], 1);
            reused += twin.outcome[0] == OUTCOME_NONCE_REUSED;
        }
        if (random() % 9 == 0) {
            twin_checkpoint(&twin);
            epochs++;
            if (random() % 4 == 0) {
                twin_stop(&twin);
                twin_start(&twin);
                restarts++;
            }
        }
        if (step % 10 == 0)
            assert_same_state(&bank, &twin);
    }
    assert_same_state(&bank, &twin);
    test_bank_check(&bank);
    cr_assert_gt(epochs, 30);
    cr_assert_gt(restarts, 5);
    cr_assert_gt(repeated, 30);
    cr_assert_gt(beyond, 10);
    cr_assert_gt(reused, 10);

    /* Every transfer ever made reads the same through both. */
    cr_assert_eq(machine_transfer_count(bank.machine), machine_transfer_count(twin.machine));
    cr_assert_gt(machine_transfer_count(bank.machine), 5000);
    for (uint64_t s = 0; s < machine_transfer_count(bank.machine); s++) {
        struct transfer_record a, b;
        cr_assert(machine_transfer_at(bank.machine, s, &a));
        cr_assert(machine_transfer_at(twin.machine, s, &b));
        cr_assert_eq(memcmp(&a, &b, sizeof a), 0);
    }
    twin_checkpoint(&twin);
    twin_stop(&twin);
    store_fixture_assert_clean(&twin.fixture);
    store_fixture_deinit(&twin.fixture);
    test_bank_deinit(&bank);
}

/* One role is taken away and one is given, of rows that an earlier checkpoint has: a restart finds
 * them as they are now. The digest is taken over, and would not tell. */
Test(store_machine, a_role_that_changed_is_in_the_next_checkpoint)
{
    struct test_bank bank;
    static struct twin twin;
    both_begin(&bank, &twin);
    struct principal_event changes[] = {
        principal_of("counter", "tally:counter", ROLE_NONE),
        principal_of("former", "tally:former", ROLE_CHANNEL),
    };
    size_t size;
    uint8_t *entry = command_builder_single(&bank.builder, bank.stamp, OPERATION_SET_PRINCIPALS,
                                            TEST_SITE_OPERATOR, 1, bank.stamp, changes, 2, &size);
    both_apply(&bank, &twin, entry, size);
    twin_checkpoint(&twin);
    twin_stop(&twin);
    twin_start(&twin);
    assert_same_state(&bank, &twin);
    cr_assert_eq(machine_principal_count(twin.machine), TEST_PRINCIPAL_COUNT);
    for (uint32_t i = 0; i < TEST_PRINCIPAL_COUNT; i++)
        cr_assert_eq(memcmp(machine_principal_at(bank.machine, i),
                            machine_principal_at(twin.machine, i), sizeof(struct principal_record)),
                     0, "row %u", i);

    /* And what they may do is the same. */
    struct transfer_event transfer = transfer_of(1, 1, 2, 1, 1);
    const uint32_t callers[] = {TEST_OTHER_CHANNEL, TEST_DISABLED};
    for (int i = 0; i < 2; i++) {
        entry = command_builder_single(&bank.builder, bank.stamp, OPERATION_CREATE_TRANSFERS,
                                       callers[i], 2, bank.stamp, &transfer, 1, &size);
        both_apply(&bank, &twin, entry, size);
        cr_assert_eq(twin.outcome[0], i == 0 ? OUTCOME_NOT_PERMITTED : OUTCOME_EXECUTED);
    }
    twin_checkpoint(&twin);
    twin_stop(&twin);
    store_fixture_assert_clean(&twin.fixture);
    store_fixture_deinit(&twin.fixture);
    test_bank_deinit(&bank);
}
