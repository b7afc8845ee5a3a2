/* Request uniqueness: identity, digest, window, stored answers, fences; and each outcome. */
#include "core/result.h"
#include "test_bank.h"

#include <criterion/criterion.h>

static void bank_open(struct test_bank *bank)
{
    test_bank_init(bank);
    test_bank_open_accounts(bank, 3);
}

/* Sends a transfer of 5 from account 1 to 2 under its id, as the given principal and identity. */
static uint8_t send_transfer(struct test_bank *bank, uint32_t principal, uint64_t nonce,
                             uint64_t issued_at_ns, uint64_t id)
{
    struct transfer_event event = transfer_of(id, 1, 2, 5, 1);
    return test_bank_send_as(bank, OPERATION_CREATE_TRANSFERS, principal, nonce, issued_at_ns,
                             &event, 1);
}

static uint8_t send_fence(struct test_bank *bank, uint32_t principal, uint64_t nonce,
                          uint64_t issued_at_ns)
{
    return test_bank_send_as(bank, OPERATION_FENCE_REQUEST, principal, nonce, issued_at_ns, NULL,
                             0);
}

static struct answer ask(const struct test_bank *bank, uint32_t name_ordinal, uint64_t nonce,
                         uint64_t issued_at_ns)
{
    static uint8_t results[REQUEST_EVENTS_MAX];
    uint8_t bytes[16];
    nonce_of(nonce, bytes);
    struct answer answer;
    machine_request(bank->machine, name_ordinal, bytes, issued_at_ns, &answer, results);
    return answer;
}

static void digest_of(const struct test_bank *bank, uint8_t out[16])
{
    machine_digest(bank->machine, out);
}

/* The same request again: the original answer with its index and stamp, from RAM, from a frozen
 * epoch and from the past; also by another instance of the principal; nothing changes. */
Test(request, a_repeat_gets_the_original_answer_wherever_it_is_kept)
{
    struct test_bank bank;
    bank_open(&bank);
    uint64_t issued = bank.stamp;
    const struct transfer_event events[] = {
        transfer_of(1, 1, 2, 5, 1), transfer_of(2, 1, 99, 5, 1), transfer_of(3, 1, 2, 0, 1),
        transfer_of(4, 1, 2, 5, 1), transfer_of(4, 1, 2, 5, 1),  transfer_of(5, 1, 2, 5, 1),
    };
    const uint8_t expected[] = {
        RESULT_OK, RESULT_CREDIT_ACCOUNT_NOT_FOUND, RESULT_AMOUNT_ZERO, RESULT_OK, RESULT_EXISTS,
        RESULT_OK,
    };
    cr_assert_eq(
        test_bank_send_as(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, 1, issued, events, 6),
        OUTCOME_EXECUTED);
    cr_expect_not(bank.answers[0].answer.repeated);
    cr_expect_arr_eq(bank.answers[0].results, expected, 6);
    struct answer original = bank.answers[0].answer;
    uint8_t before[16];
    uint8_t after[16];
    digest_of(&bank, before);

    for (int place = 0; place < 3; place++) {
        if (place == 1)
            past_memory_take(&bank.past, machine_freeze(bank.machine));
        if (place == 2)
            machine_release_epoch(bank.machine);
        const uint32_t principals[] = {TEST_CHANNEL, TEST_CHANNEL_TWIN};
        for (int i = 0; i < 2; i++) {
            cr_expect_eq(test_bank_send_as(&bank, OPERATION_CREATE_TRANSFERS, principals[i], 1,
                                           issued, events, 6),
                         OUTCOME_EXECUTED);
            const struct answer *answer = &bank.answers[0].answer;
            cr_expect(answer->repeated);
            cr_expect_eq(answer->index, original.index);
            cr_expect_eq(answer->stamp, original.stamp);
            cr_expect_eq(answer->operation, OPERATION_CREATE_TRANSFERS);
            cr_expect_eq(answer->encoding, ANSWER_ENCODING);
            cr_expect_eq(answer->event_count, 6);
            cr_expect_arr_eq(bank.answers[0].results, expected, 6);
        }
        struct answer asked = ask(&bank, TEST_CHANNEL, 1, issued);
        cr_expect_eq(asked.outcome, OUTCOME_EXECUTED);
        cr_expect_eq(asked.index, original.index);
        cr_expect_arr_eq(asked.results, expected, 6);
    }
    digest_of(&bank, after);
    cr_expect_arr_eq(before, after, 16);
    cr_expect(test_balance_debits(&bank, 1) == 15);
    test_bank_deinit(&bank);
}

/* Twice in one entry: the second is a repeat of the first. */
Test(request, a_repeat_within_one_entry_is_a_repeat)
{
    struct test_bank bank;
    bank_open(&bank);
    struct transfer_event event = transfer_of(1, 1, 2, 5, 1);
    command_builder_entry(&bank.builder, bank.stamp);
    for (int i = 0; i < 2; i++) {
        command_builder_request(&bank.builder, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, 1,
                                bank.stamp);
        command_builder_event(&bank.builder, &event);
    }
    size_t size;
    const uint8_t *entry = command_builder_end(&bank.builder, &size);
    test_bank_apply(&bank, entry, size);
    cr_assert_eq(bank.answer_count, 2);
    cr_expect_not(bank.answers[0].answer.repeated);
    cr_expect(bank.answers[1].answer.repeated);
    cr_expect_eq(bank.answers[1].results[0], RESULT_OK, "the original's, not EXISTS");
    test_bank_deinit(&bank);
}

/* Any other use of a live (principal, nonce): other content, operation or issue time. */
Test(request, anything_else_under_a_live_nonce_is_nonce_reused)
{
    struct test_bank bank;
    bank_open(&bank);
    uint64_t issued = bank.stamp;
    cr_assert_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued, 1), OUTCOME_EXECUTED);
    uint8_t before[16];
    uint8_t after[16];
    digest_of(&bank, before);
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued, 2), OUTCOME_NONCE_REUSED);
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued + 1, 1), OUTCOME_NONCE_REUSED);
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, 0, 1), OUTCOME_NONCE_REUSED,
                 "also with an issue time beyond the window");
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, UINT64_MAX, 1), OUTCOME_NONCE_REUSED);
    cr_expect_eq(send_fence(&bank, TEST_CHANNEL, 1, issued + 1), OUTCOME_NONCE_REUSED);
    cr_expect_eq(ask(&bank, TEST_CHANNEL, 1, issued + 1).outcome, OUTCOME_NONCE_REUSED);
    digest_of(&bank, after);
    cr_expect_arr_eq(before, after, 16, "nothing changes and nothing is remembered");

    struct account_event account = account_of(50, 1, 1, 0);
    issued = bank.stamp;
    cr_assert_eq(test_bank_send_as(&bank, OPERATION_CREATE_ACCOUNTS, TEST_BUSINESS_OPERATOR, 1,
                                   issued, &account, 1),
                 OUTCOME_EXECUTED, "nonces belong to one principal each");
    struct ledger_event ledger = ledger_of(9, "USD", 2, "dollar");
    cr_expect_eq(test_bank_send_as(&bank, OPERATION_CREATE_LEDGERS, TEST_BUSINESS_OPERATOR, 1,
                                   issued, &ledger, 1),
                 OUTCOME_NONCE_REUSED);
    cr_expect_eq(send_transfer(&bank, TEST_OTHER_CHANNEL, 1, bank.stamp, 3), OUTCOME_EXECUTED);
    test_bank_deinit(&bank);
}

/* Operation and digest are both compared: an equal digest under another operation is no repeat. */
Test(request, an_equal_digest_under_another_operation_is_nonce_reused)
{
    struct test_bank bank;
    bank_open(&bank);
    uint64_t issued = bank.stamp;
    struct ledger_event ledger = ledger_of(9, "USD", 2, "dollar");
    struct account_event account = account_of(50, 1, 1, 0);
    for (int i = 0; i < 2; i++) {
        uint16_t operation = i == 0 ? OPERATION_CREATE_LEDGERS : OPERATION_CREATE_ACCOUNTS;
        size_t size;
        uint8_t *entry = command_builder_single(
            &bank.builder, bank.stamp, operation, TEST_BUSINESS_OPERATOR, 1, issued,
            i == 0 ? (const void *)&ledger : (const void *)&account, 1, &size);
        struct request_header *request = (void *)(entry + sizeof(struct entry_header));
        memset(request->digest, 7, sizeof request->digest);
        test_bank_apply(&bank, entry, size);
        cr_expect_eq(bank.answers[0].answer.outcome,
                     i == 0 ? OUTCOME_EXECUTED : OUTCOME_NONCE_REUSED);
    }
    test_bank_deinit(&bank);
}

/* The edges of the window, to the nanosecond. The test entries hold one event, so ledger time is
 * the entry's stamp. */
Test(request, the_window_has_sharp_edges)
{
    struct test_bank bank;
    bank_open(&bank);
    uint64_t now = bank.stamp;
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, now - REQUEST_WINDOW_NS - 1, 1),
                 OUTCOME_BEYOND_WINDOW);
    now = bank.stamp;
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, now - REQUEST_WINDOW_NS, 1),
                 OUTCOME_EXECUTED);
    now = bank.stamp;
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 2, now + REQUEST_AHEAD_NS + 1, 2),
                 OUTCOME_ISSUED_TOO_FAR_AHEAD);
    now = bank.stamp;
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 2, now + REQUEST_AHEAD_NS, 2), OUTCOME_EXECUTED,
                 "too far ahead is retryable under the same nonce");
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 3, UINT64_MAX, 3),
                 OUTCOME_ISSUED_TOO_FAR_AHEAD);
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 3, 0, 3), OUTCOME_BEYOND_WINDOW);
    test_bank_deinit(&bank);
}

/* A request is remembered until ledger time > issue time + window, and then as if never seen,
 * while its record is still physically in RAM, frozen or in the past. */
Test(request, an_expired_request_counts_as_absent_wherever_its_record_is)
{
    for (int place = 0; place < 3; place++) {
        struct test_bank bank;
        bank_open(&bank);
        uint64_t issued = bank.stamp;
        cr_assert_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued, 1), OUTCOME_EXECUTED);
        if (place >= 1)
            past_memory_take(&bank.past, machine_freeze(bank.machine));
        if (place == 2)
            machine_release_epoch(bank.machine);

        bank.stamp = issued + REQUEST_WINDOW_NS;
        cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued, 1), OUTCOME_EXECUTED);
        cr_expect(bank.answers[0].answer.repeated);
        bank.stamp = issued + REQUEST_WINDOW_NS + 1;
        cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued, 1), OUTCOME_BEYOND_WINDOW);
        cr_expect_eq(ask(&bank, TEST_CHANNEL, 1, issued).outcome, OUTCOME_BEYOND_WINDOW);

        /* The nonce is free again for a new issue time, and then the new one is found. */
        uint64_t again = bank.stamp;
        cr_expect_eq(ask(&bank, TEST_CHANNEL, 1, again).outcome, OUTCOME_NOT_YET_SEEN);
        cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, again, 2), OUTCOME_EXECUTED);
        cr_expect_not(bank.answers[0].answer.repeated);
        cr_expect_eq(bank.answers[0].results[0], RESULT_OK);
        cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, again, 2), OUTCOME_EXECUTED);
        cr_expect(bank.answers[0].answer.repeated);
        cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued, 1), OUTCOME_NONCE_REUSED,
                     "the nonce lives again, with another issue time");
        test_bank_deinit(&bank);
    }
}

/* The transfer ids outlive the window: executed once, whatever becomes of nonces. */
Test(request, transfer_ids_are_unique_beyond_the_window)
{
    struct test_bank bank;
    bank_open(&bank);
    cr_assert_eq(send_transfer(&bank, TEST_CHANNEL, 1, bank.stamp, 1), OUTCOME_EXECUTED);
    bank.stamp += 10 * REQUEST_WINDOW_NS;
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, bank.stamp, 1), OUTCOME_EXECUTED);
    cr_expect_eq(bank.answers[0].results[0], RESULT_EXISTS);
    cr_expect(test_balance_debits(&bank, 1) == 5);
    test_bank_deinit(&bank);
}

/* A fence of a never-seen identity is final: the request itself comes too late, whatever it holds.
 */
Test(request, a_fence_makes_never_seen_final)
{
    struct test_bank bank;
    bank_open(&bank);
    uint64_t issued = bank.stamp;
    cr_expect_eq(ask(&bank, TEST_CHANNEL, 1, issued).outcome, OUTCOME_NOT_YET_SEEN);
    cr_expect_eq(send_fence(&bank, TEST_CHANNEL, 1, issued), OUTCOME_REQUEST_FENCED);
    cr_expect_not(bank.answers[0].answer.repeated);
    struct answer fenced = bank.answers[0].answer;

    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL_TWIN, 1, issued, 1), OUTCOME_REQUEST_FENCED);
    cr_expect(bank.answers[0].answer.repeated);
    cr_expect_eq(bank.answers[0].answer.index, fenced.index);
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued, 2), OUTCOME_REQUEST_FENCED);
    cr_expect_eq(send_fence(&bank, TEST_CHANNEL, 1, issued), OUTCOME_REQUEST_FENCED);
    cr_expect(bank.answers[0].answer.repeated);
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued + 1, 1), OUTCOME_NONCE_REUSED);
    struct answer asked = ask(&bank, TEST_CHANNEL, 1, issued);
    cr_expect_eq(asked.outcome, OUTCOME_REQUEST_FENCED);
    cr_expect_eq(asked.index, fenced.index);
    cr_expect_eq(asked.stamp, fenced.stamp);
    cr_expect_eq(asked.event_count, 0);
    past_memory_checkpoint(&bank.past, bank.machine);
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued, 1), OUTCOME_REQUEST_FENCED);
    cr_expect(test_balance_debits(&bank, 1) == 0);
    test_bank_deinit(&bank);
}

/* A fence that comes after the request gives the request's own answer and fences nothing. */
Test(request, a_fence_behind_the_request_answers_with_the_request)
{
    struct test_bank bank;
    bank_open(&bank);
    uint64_t issued = bank.stamp;
    cr_assert_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued, 1), OUTCOME_EXECUTED);
    struct answer original = bank.answers[0].answer;
    cr_expect_eq(send_fence(&bank, TEST_CHANNEL, 1, issued), OUTCOME_EXECUTED);
    cr_expect(bank.answers[0].answer.repeated);
    cr_expect_eq(bank.answers[0].answer.operation, OPERATION_CREATE_TRANSFERS);
    cr_expect_eq(bank.answers[0].answer.index, original.index);
    cr_expect_eq(bank.answers[0].answer.event_count, 1);
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued, 1), OUTCOME_EXECUTED);
    test_bank_deinit(&bank);
}

/* Outside the window there is nothing to fence; too far ahead may be fenced later. */
Test(request, a_fence_keeps_to_the_window)
{
    struct test_bank bank;
    bank_open(&bank);
    cr_expect_eq(send_fence(&bank, TEST_CHANNEL, 1, bank.stamp - REQUEST_WINDOW_NS - 1),
                 OUTCOME_BEYOND_WINDOW);
    cr_expect_eq(send_fence(&bank, TEST_CHANNEL, 1, bank.stamp + REQUEST_AHEAD_NS + 1),
                 OUTCOME_ISSUED_TOO_FAR_AHEAD);
    cr_expect_eq(send_fence(&bank, TEST_AUDITOR, 1, bank.stamp), OUTCOME_NOT_PERMITTED);
    test_bank_deinit(&bank);
}

/* The count of remembered requests is bounded; repeats and lookups go on; time makes room. */
Test(request, a_full_window_refuses_until_time_makes_room)
{
    struct test_bank bank;
    struct machine_options options = test_bank_options(&bank);
    options.request_count_max = 10;
    test_bank_init_with(&bank, &options);
    test_bank_open_accounts(&bank, 2); /* six requests; genesis is not remembered */
    uint64_t first = bank.stamp;
    for (uint64_t i = 0; i < 4; i++)
        cr_assert_eq(send_transfer(&bank, TEST_CHANNEL, i, first + i, i + 1), OUTCOME_EXECUTED);
    uint8_t before[16];
    uint8_t after[16];
    digest_of(&bank, before);
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 9, bank.stamp, 9), OUTCOME_WINDOW_FULL);
    cr_expect_eq(send_fence(&bank, TEST_CHANNEL, 9, bank.stamp), OUTCOME_WINDOW_FULL);
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 3, first + 3, 4), OUTCOME_EXECUTED);
    cr_expect(bank.answers[0].answer.repeated);
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 3, first + 3, 5), OUTCOME_NONCE_REUSED);
    digest_of(&bank, after);
    cr_expect_arr_eq(before, after, 16);

    bank.stamp = first + REQUEST_WINDOW_NS + TEST_MINUTE;
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 9, bank.stamp, 9), OUTCOME_EXECUTED);
    cr_expect_eq(bank.answers[0].results[0], RESULT_OK);
    test_bank_deinit(&bank);
}

/* The bytes of stored answers are bounded too: room for the largest answer is asked beforehand. */
Test(request, a_full_store_of_answers_refuses_by_the_largest_answer)
{
    struct test_bank bank;
    struct machine_options options = test_bank_options(&bank);
    options.request_answer_bytes_max = 5;
    test_bank_init_with(&bank, &options);
    test_bank_open_accounts(&bank, 2);
    /* Three events, all refused: a dense answer of 3 bytes stays. */
    const struct transfer_event bad[] = {transfer_of(0, 1, 2, 5, 1), transfer_of(0, 1, 2, 5, 1),
                                         transfer_of(0, 1, 2, 5, 1)};
    cr_assert_eq(test_bank_send(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, bad, 3),
                 OUTCOME_EXECUTED);
    cr_expect_eq(test_bank_send(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, bad, 3),
                 OUTCOME_WINDOW_FULL);
    cr_expect_eq(test_bank_send(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, bad, 2),
                 OUTCOME_EXECUTED);
    cr_expect_eq(test_bank_send(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, bad, 1),
                 OUTCOME_WINDOW_FULL);
    cr_expect_eq(send_fence(&bank, TEST_CHANNEL, 77, bank.stamp), OUTCOME_REQUEST_FENCED,
                 "a fence has no answer bytes");
    test_bank_deinit(&bank);
}

/* Role and row as they are when the entry is applied, not when it was proposed. */
Test(request, the_role_at_apply_decides)
{
    static const struct {
        uint32_t principal;
        uint16_t operation;
    } refused[] = {
        {TEST_SITE_OPERATOR, OPERATION_CREATE_TRANSFERS},
        {TEST_BUSINESS_OPERATOR, OPERATION_CREATE_TRANSFERS},
        {TEST_CHANNEL, OPERATION_CREATE_ACCOUNTS},
        {TEST_CHANNEL, OPERATION_SET_PRINCIPALS},
        {TEST_AUDITOR, OPERATION_CREATE_TRANSFERS},
        {TEST_NODE, OPERATION_CREATE_TRANSFERS},
        {TEST_DISABLED, OPERATION_CREATE_TRANSFERS},
        {TEST_PRINCIPAL_COUNT, OPERATION_CREATE_TRANSFERS},
        {UINT32_MAX, OPERATION_CREATE_TRANSFERS},
    };
    struct test_bank bank;
    bank_open(&bank);
    uint8_t before[16];
    uint8_t after[16];
    digest_of(&bank, before);
    static const uint8_t event[512];
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
        cr_expect_eq(test_bank_send(&bank, refused[i].operation, refused[i].principal, event, 1),
                     OUTCOME_NOT_PERMITTED, "row %zu", i);
    digest_of(&bank, after);
    cr_expect_arr_eq(before, after, 16);

    /* The role is taken away: even a repeat is refused, until it is given back. */
    uint64_t issued = bank.stamp;
    cr_assert_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued, 1), OUTCOME_EXECUTED);
    struct principal_event row = principal_of("mobile", "tally:mobile-1", ROLE_NONE);
    cr_assert_eq(test_bank_principal(&bank, &row), RESULT_OK);
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued, 1), OUTCOME_NOT_PERMITTED);
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL_TWIN, 1, issued, 1), OUTCOME_EXECUTED);
    row.role = ROLE_CHANNEL;
    cr_assert_eq(test_bank_principal(&bank, &row), RESULT_OK);
    cr_expect_eq(send_transfer(&bank, TEST_CHANNEL, 1, issued, 1), OUTCOME_EXECUTED);
    cr_expect(bank.answers[0].answer.repeated);
    test_bank_deinit(&bank);
}
