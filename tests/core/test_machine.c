/* The machine as a whole: its memory, room, time, and what breaks an invariant. */
#include "core/result.h"
#include "test_bank.h"

#include <criterion/criterion.h>
#include <signal.h>

/* Every allocation of machine_create refused in turn: NO_MEMORY and nothing kept, until one more
 * than there are succeeds. */
Test(machine, creation_fails_cleanly_at_every_allocation)
{
    struct test_bank bank;
    test_bank_init(&bank);
    struct ledger_past past = past_memory_table(&bank.past);
    enum status status = STATUS_NO_MEMORY;
    uint64_t n = 0;
    while (status != STATUS_OK) {
        n++;
        cr_assert_lt(n, 100);
        struct test_memory memory = {.refuse_at = n};
        struct machine_options options = test_bank_options(&bank);
        options.memory = test_memory_of(&memory);
        struct machine *machine = NULL;
        status = machine_create(&options, &past, &machine);
        if (status == STATUS_OK) {
            cr_expect_lt(memory.asked_count, n);
            machine_destroy(machine);
        } else {
            cr_expect_eq(status, STATUS_NO_MEMORY);
            cr_expect_null(machine, "written only on success");
        }
        cr_expect_eq(memory.out_count, 0, "allocation %llu", (unsigned long long)n);
    }
    cr_expect_gt(n, 20);
    machine_destroy(NULL);
    test_bank_deinit(&bank);
}

/* Sizes below what one entry needs, and beyond the bounds. */
Test(machine, unusable_sizes_are_refused)
{
    struct test_bank bank;
    test_bank_init(&bank);
    struct ledger_past past = past_memory_table(&bank.past);
    for (int i = 0; i <= 9; i++) {
        struct machine_options options = test_bank_options(&bank);
        switch (i) {
        case 1:
            options.account_count_max = 0;
            break;
        case 2:
            options.epoch_transfer_count_max = REQUEST_EVENTS_MAX - 1;
            break;
        case 3:
            options.epoch_request_count_max = ENTRY_REQUESTS_MAX - 1;
            break;
        case 4:
            options.epoch_answer_bytes_max = REQUEST_EVENTS_MAX - 1;
            break;
        case 5:
            options.account_count_max = UINT32_MAX;
            break;
        case 6:
            options.epoch_transfer_count_max = UINT32_MAX;
            break;
        case 7:
            options.epoch_request_count_max = UINT32_MAX;
            break;
        case 8:
            options.ledger_count_max = LEDGERS_MAX + 1;
            break;
        case 9:
            options.principal_count_max = PRINCIPALS_MAX + 1;
            break;
        default:
            break;
        }
        struct machine *machine = NULL;
        cr_expect_eq(machine_create(&options, &past, &machine), i == 0 ? STATUS_OK : STATUS_INVALID,
                     "%d", i);
        machine_destroy(machine);
    }
    test_bank_deinit(&bank);
}

/* Room shrinks with what is applied and comes back with a freeze. */
Test(machine, room_is_what_the_current_memtable_can_still_take)
{
    struct test_bank bank;
    test_bank_init(&bank);
    test_bank_open_accounts(&bank, 2);
    past_memory_checkpoint(&bank.past, bank.machine);
    const uint32_t transfers_max = 2 * REQUEST_EVENTS_MAX; /* test_bank_options() */
    cr_expect(machine_room_for(bank.machine, transfers_max, ENTRY_REQUESTS_MAX));
    cr_expect_not(machine_room_for(bank.machine, transfers_max + 1, 1));
    cr_expect_not(machine_room_for(bank.machine, 1, ENTRY_REQUESTS_MAX + 1));
    cr_expect_not(machine_room_for(bank.machine, UINT32_MAX, UINT32_MAX));

    struct transfer_event *events = calloc(REQUEST_EVENTS_MAX, sizeof *events);
    for (uint32_t i = 0; i < REQUEST_EVENTS_MAX; i++)
        events[i] = transfer_of(i + 1, 1, 2, 1, 1);
    cr_assert_eq(
        test_bank_send(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, events, REQUEST_EVENTS_MAX),
        OUTCOME_EXECUTED);
    cr_expect(machine_room_for(bank.machine, REQUEST_EVENTS_MAX, 1));
    cr_expect_not(machine_room_for(bank.machine, REQUEST_EVENTS_MAX + 1, 1));
    cr_expect_not(machine_room_for(bank.machine, 1, ENTRY_REQUESTS_MAX));

    /* The largest entry of the worst answers fills the memtable to the last record. */
    for (uint32_t i = 0; i < REQUEST_EVENTS_MAX; i++)
        events[i] = transfer_of(REQUEST_EVENTS_MAX + i + 1, 1, 99, 1, 1);
    cr_assert_eq(
        test_bank_send(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, events, REQUEST_EVENTS_MAX),
        OUTCOME_EXECUTED);
    cr_expect_eq(bank.answers[0].results[REQUEST_EVENTS_MAX - 1], RESULT_CREDIT_ACCOUNT_NOT_FOUND);
    cr_expect(machine_room_for(bank.machine, 0, 1));
    cr_expect_not(machine_room_for(bank.machine, 1, 1));
    past_memory_checkpoint(&bank.past, bank.machine);
    cr_expect(machine_room_for(bank.machine, transfers_max, ENTRY_REQUESTS_MAX));
    free(events);
    test_bank_deinit(&bank);
}

/* Epoch after epoch filled to the last record: nothing of a released one is left in its memtable.
 */
Test(machine, a_released_memtable_can_be_filled_again)
{
    struct test_bank bank;
    test_bank_init(&bank);
    test_bank_open_accounts(&bank, 2);
    past_memory_checkpoint(&bank.past, bank.machine);
    struct transfer_event *events = calloc(REQUEST_EVENTS_MAX, sizeof *events);
    uint64_t id = 1;
    for (uint32_t epoch = 0; epoch < 6; epoch++) {
        for (uint32_t batch = 0; batch < 2; batch++) {
            for (uint32_t i = 0; i < REQUEST_EVENTS_MAX; i++)
                events[i] = transfer_of(id++, 1, 2, 1, 1);
            cr_assert_eq(test_bank_send(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, events,
                                        REQUEST_EVENTS_MAX),
                         OUTCOME_EXECUTED);
            cr_expect_eq(bank.answers[0].results[REQUEST_EVENTS_MAX - 1], RESULT_OK);
        }
        cr_expect_not(machine_room_for(bank.machine, 1, 1));
        past_memory_checkpoint(&bank.past, bank.machine);
    }
    cr_expect(test_balance_debits(&bank, 1) == 6 * 2 * REQUEST_EVENTS_MAX);
    free(events);
    test_bank_deinit(&bank);
}

/* Event k has stamp + k, on through the requests of an entry; ledger time is the last of them. */
Test(machine, stamps_run_through_the_entry)
{
    struct test_bank bank;
    test_bank_init(&bank);
    test_bank_open_accounts(&bank, 2);
    uint64_t stamp = bank.stamp;
    command_builder_entry(&bank.builder, stamp);
    for (uint64_t r = 0; r < 3; r++) {
        command_builder_request(&bank.builder,
                                r == 1 ? OPERATION_FENCE_REQUEST : OPERATION_CREATE_TRANSFERS,
                                TEST_CHANNEL, r, stamp);
        for (uint64_t i = 0; r != 1 && i < 3; i++) {
            struct transfer_event event = transfer_of(10 * r + i + 1, 1, 2, 1, 1);
            command_builder_event(&bank.builder, &event);
        }
    }
    size_t size;
    const uint8_t *entry = command_builder_end(&bank.builder, &size);
    test_bank_apply(&bank, entry, size);
    cr_expect_eq(bank.answers[0].answer.stamp, stamp);
    cr_expect_eq(bank.answers[1].answer.stamp, stamp + 3);
    cr_expect_eq(bank.answers[2].answer.stamp, stamp + 4);
    cr_expect_eq(machine_stamp(bank.machine), stamp + 6);
    struct transfer_record record;
    cr_assert(machine_transfer_at(bank.machine, 5, &record));
    cr_expect_eq(record.timestamp, stamp + 6);
    test_bank_deinit(&bank);
}

/* No proposer writes such entries; still time goes on, and nothing expired comes back to life. */
Test(machine, ledger_time_never_stands_still_or_goes_back)
{
    struct test_bank bank;
    test_bank_init(&bank);
    test_bank_open_accounts(&bank, 2);
    uint64_t issued = bank.stamp;
    struct transfer_event event = transfer_of(1, 1, 2, 1, 1);
    cr_assert_eq(
        test_bank_send_as(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, 1, issued, &event, 1),
        OUTCOME_EXECUTED);
    bank.stamp = issued + REQUEST_WINDOW_NS + 1;
    cr_assert_eq(
        test_bank_send_as(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, 1, issued, &event, 1),
        OUTCOME_BEYOND_WINDOW);

    uint64_t before = machine_stamp(bank.machine);
    bank.stamp = issued; /* back by a day */
    cr_expect_eq(
        test_bank_send_as(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, 1, issued, &event, 1),
        OUTCOME_BEYOND_WINDOW);
    cr_expect_eq(bank.answers[0].answer.stamp, before + 1);
    cr_expect_eq(machine_stamp(bank.machine), before + 1);

    bank.stamp = STAMP_MAX;
    cr_expect_eq(test_bank_send(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, &event, 1),
                 OUTCOME_EXECUTED, "the greatest stamp is a stamp");
    bank.stamp = 0;
    cr_expect_eq(
        test_bank_send_as(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, 7, STAMP_MAX, &event, 1),
        OUTCOME_EXECUTED);
    cr_expect_eq(machine_stamp(bank.machine), STAMP_MAX + 1, "and time goes on after it");
    test_bank_deinit(&bank);
}

/* Barriers and configuration entries move index and term, and nothing else. */
Test(machine, other_entries_move_the_applied_index)
{
    struct test_bank bank;
    test_bank_init(&bank);
    uint8_t before[16];
    uint8_t after[16];
    machine_digest(bank.machine, before);
    uint64_t index = machine_applied_index(bank.machine);
    uint64_t stamp = machine_stamp(bank.machine);
    machine_apply_other(bank.machine, index + 1, 7);
    machine_digest(bank.machine, after);
    cr_expect_eq(machine_applied_index(bank.machine), index + 1);
    cr_expect_eq(machine_applied_term(bank.machine), 7);
    cr_expect_eq(machine_stamp(bank.machine), stamp);
    cr_expect_arr_eq(before, after, 16);
    test_bank_deinit(&bank);
}

/* Without a callback, as in replay, the effect is the same. */
Test(machine, replay_without_callback_has_the_same_effect)
{
    struct test_bank heard;
    struct test_bank silent;
    test_bank_init(&heard);
    test_bank_init(&silent);
    test_bank_open_accounts(&heard, 2);
    test_bank_open_accounts(&silent, 2);
    struct transfer_event event = transfer_of(1, 1, 2, 1, 1);
    size_t size;
    const uint8_t *entry =
        command_builder_single(&heard.builder, heard.stamp, OPERATION_CREATE_TRANSFERS,
                               TEST_CHANNEL, 1, heard.stamp, &event, 1, &size);
    machine_apply(silent.machine, machine_applied_index(silent.machine) + 1, 1, entry, size, NULL,
                  NULL);
    test_bank_apply(&heard, entry, size);
    uint8_t first[16];
    uint8_t second[16];
    machine_digest(heard.machine, first);
    machine_digest(silent.machine, second);
    cr_expect_arr_eq(first, second, 16);
    test_bank_deinit(&heard);
    test_bank_deinit(&silent);
}

/* ---- our own mistakes stop the process ---- */

Test(machine, a_gap_in_the_log_stops_the_process, .signal = SIGABRT)
{
    struct test_bank bank;
    test_bank_init(&bank);
    machine_apply_other(bank.machine, machine_applied_index(bank.machine) + 2, 1);
}

Test(machine, an_unknown_version_stops_the_process_before_the_entry, .signal = SIGABRT)
{
    struct test_bank bank;
    test_bank_init(&bank);
    _Alignas(8) uint8_t entry[32] = {COMMAND_VERSION + 1};
    test_bank_apply(&bank, entry, sizeof entry);
}

Test(machine, an_entry_without_room_stops_the_process, .signal = SIGABRT)
{
    struct test_bank bank;
    test_bank_init(&bank);
    struct transfer_event event = transfer_of(1, 1, 2, 1, 1);
    for (uint32_t i = 0; i <= ENTRY_REQUESTS_MAX; i++)
        test_bank_send(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, &event, 1);
}

Test(machine, a_second_freeze_stops_the_process, .signal = SIGABRT)
{
    struct test_bank bank;
    test_bank_init(&bank);
    machine_freeze(bank.machine);
    machine_freeze(bank.machine);
}

Test(machine, a_release_without_freeze_stops_the_process, .signal = SIGABRT)
{
    struct test_bank bank;
    test_bank_init(&bank);
    machine_release_epoch(bank.machine);
}
