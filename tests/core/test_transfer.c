/* CreateTransfers: every rung of the ladder, in tables of setup, attempt, expected result,
 * balances. */
#include "core/result.h"
#include "test_bank.h"

#include <criterion/criterion.h>

#define AT_MOST_CREDITS ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS
#define AT_MOST_DEBITS  ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS

static void bank_open(struct test_bank *bank)
{
    test_bank_init(bank);
    test_bank_open_accounts(bank, 5); /* 1 .. 5 on ledger 1, 1001 .. 1005 on ledger 2 */
    const struct account_event limited[] = {
        account_of(6, 1, 20, AT_MOST_CREDITS),
        account_of(7, 1, 20, AT_MOST_DEBITS),
    };
    for (size_t i = 0; i < 2; i++)
        cr_assert_eq(test_bank_account(bank, &limited[i]), RESULT_OK);
}

/* What a rung changes in an otherwise good transfer 100 of 500 from account 1 to 2. */
enum spoil {
    NOTHING,
    ID_0,
    ID_MAX,
    FLAGS,
    RESERVED,
    LEDGER_0,
    CODE_0,
    DEBIT_0,
    DEBIT_MAX,
    CREDIT_0,
    CREDIT_MAX,
    SAME,
    AMOUNT_0,
    PENDING,
    TIMEOUT,
    DATE,
    NO_LEDGER,
    NO_DEBIT,
    NO_CREDIT,
    TWO_LEDGERS,
    OTHER_LEDGER,
    POOR_DEBIT,
    POOR_CREDIT,
    SPOIL_COUNT
};

static const uint8_t spoil_results[SPOIL_COUNT] = {
    [NOTHING] = RESULT_OK,
    [ID_0] = RESULT_ID_ZERO,
    [ID_MAX] = RESULT_ID_MAX,
    [FLAGS] = RESULT_RESERVED_FLAG,
    [RESERVED] = RESULT_RESERVED_FIELD,
    [LEDGER_0] = RESULT_LEDGER_ZERO,
    [CODE_0] = RESULT_CODE_ZERO,
    [DEBIT_0] = RESULT_DEBIT_ACCOUNT_ID_ZERO,
    [DEBIT_MAX] = RESULT_DEBIT_ACCOUNT_ID_MAX,
    [CREDIT_0] = RESULT_CREDIT_ACCOUNT_ID_ZERO,
    [CREDIT_MAX] = RESULT_CREDIT_ACCOUNT_ID_MAX,
    [SAME] = RESULT_ACCOUNTS_SAME,
    [AMOUNT_0] = RESULT_AMOUNT_ZERO,
    [PENDING] = RESULT_PENDING_ID_NOT_ZERO,
    [TIMEOUT] = RESULT_TIMEOUT_NOT_ZERO,
    [DATE] = RESULT_VALUE_DATE_INVALID,
    [NO_LEDGER] = RESULT_LEDGER_NOT_FOUND,
    [NO_DEBIT] = RESULT_DEBIT_ACCOUNT_NOT_FOUND,
    [NO_CREDIT] = RESULT_CREDIT_ACCOUNT_NOT_FOUND,
    [TWO_LEDGERS] = RESULT_ACCOUNTS_ON_DIFFERENT_LEDGERS,
    [OTHER_LEDGER] = RESULT_TRANSFER_ON_OTHER_LEDGER,
    [POOR_DEBIT] = RESULT_EXCEEDS_CREDITS,
    [POOR_CREDIT] = RESULT_EXCEEDS_DEBITS,
};

static void spoil_event(struct transfer_event *event, enum spoil spoil)
{
    switch (spoil) {
    case ID_0:
        event->id = id_of(0);
        break;
    case ID_MAX:
        memset(&event->id, 0xff, sizeof event->id);
        break;
    case FLAGS:
        event->flags = TRANSFER_PENDING;
        break;
    case RESERVED:
        event->reserved = 1;
        break;
    case LEDGER_0:
        event->ledger = 0;
        break;
    case CODE_0:
        event->code = 0;
        break;
    case DEBIT_0:
        event->debit_account_id = id_of(0);
        break;
    case DEBIT_MAX:
        memset(&event->debit_account_id, 0xff, sizeof event->debit_account_id);
        break;
    case CREDIT_0:
        event->credit_account_id = id_of(0);
        break;
    case CREDIT_MAX:
        memset(&event->credit_account_id, 0xff, sizeof event->credit_account_id);
        break;
    case SAME:
        event->credit_account_id = event->debit_account_id;
        break;
    case AMOUNT_0:
        event->amount_low = 0;
        break;
    case PENDING:
        event->pending_id = id_of(7);
        break;
    case TIMEOUT:
        event->timeout_s = 1;
        break;
    case DATE:
        event->value_date = 20260230;
        break;
    case NO_LEDGER:
        event->ledger = 99;
        break;
    case NO_DEBIT:
        event->debit_account_id = id_of(99);
        break;
    case NO_CREDIT:
        event->credit_account_id = id_of(98);
        break;
    case TWO_LEDGERS:
        event->credit_account_id = id_of(1002);
        break;
    case OTHER_LEDGER:
        event->ledger = 2;
        break;
    case POOR_DEBIT:
        event->debit_account_id = id_of(6);
        break;
    case POOR_CREDIT:
        event->credit_account_id = id_of(7);
        break;
    default:
        break;
    }
}

/* One thing wrong at a time, against accounts without history: its number, and no money moves. */
Test(transfer, each_rung_refuses_with_its_number_and_moves_nothing)
{
    for (int spoil = NOTHING; spoil < SPOIL_COUNT; spoil++) {
        struct test_bank bank;
        bank_open(&bank);
        struct transfer_event event = transfer_of(100, 1, 2, 500, 1);
        spoil_event(&event, (enum spoil)spoil);
        uint8_t result = test_bank_transfer(&bank, &event);
        cr_expect_eq(result, spoil_results[spoil], "spoil %d gave %s", spoil, result_name(result));

        u128 moved = spoil == NOTHING ? 500 : 0;
        cr_expect(test_balance_debits(&bank, 1) == moved);
        cr_expect(test_balance_credits(&bank, 2) == moved);
        cr_expect(test_balance_debits(&bank, 2) == 0 && test_balance_credits(&bank, 1) == 0);
        for (uint64_t account = 3; account <= 7; account++)
            cr_expect(test_balance_debits(&bank, account) == 0 &&
                      test_balance_credits(&bank, account) == 0);
        test_bank_check(&bank);
        test_bank_deinit(&bank);
    }
}

/* Two spoils that touch different fields in one transfer: the rung that comes first answers. */
Test(transfer, the_ladder_answers_in_the_order_of_its_numbers)
{
    struct test_bank bank;
    bank_open(&bank);
    uint64_t id = 1000;
    for (int first = ID_0; first < SPOIL_COUNT; first++) {
        for (int second = first + 1; second < SPOIL_COUNT; second++) {
            struct transfer_event event = transfer_of(id++, 1, 2, 500, 1);
            struct transfer_event alone = event;
            spoil_event(&alone, (enum spoil)first);
            struct transfer_event both = event;
            spoil_event(&both, (enum spoil)second);
            spoil_event(&both, (enum spoil)first);
            struct transfer_event reversed = event;
            spoil_event(&reversed, (enum spoil)first);
            spoil_event(&reversed, (enum spoil)second);
            if (memcmp(&both, &reversed, sizeof both) != 0)
                continue; /* they write one field, so they cannot be wrong together */
            uint8_t result = test_bank_transfer(&bank, &both);
            /* Two account spoils may also meet on a rung between them; none is above the first. */
            cr_expect_eq(result, spoil_results[first], "%s and %s gave %s",
                         result_name(spoil_results[first]), result_name(spoil_results[second]),
                         result_name(result));
        }
    }
    test_bank_deinit(&bank);
}

/* A repeat is recognized; the first field that differs, in the order of the numbers, is named. */
Test(transfer, an_existing_id_names_the_first_different_field)
{
    struct test_bank bank;
    bank_open(&bank);
    struct transfer_event original = transfer_of(100, 1, 2, 500, 1);
    original.user_data_128 = id_of(11);
    original.user_data_64 = 12;
    original.user_data_32 = 13;
    original.value_date = 20260301;
    cr_assert_eq(test_bank_transfer(&bank, &original), RESULT_OK);

    struct transfer_event other = original;
    cr_expect_eq(test_bank_transfer(&bank, &other), RESULT_EXISTS);
    other.value_date = 0;
    cr_expect_eq(test_bank_transfer(&bank, &other), RESULT_EXISTS_WITH_DIFFERENT_VALUE_DATE);
    other.user_data_32++;
    cr_expect_eq(test_bank_transfer(&bank, &other), RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_32);
    other.user_data_64++;
    cr_expect_eq(test_bank_transfer(&bank, &other), RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_64);
    other.user_data_128 = id_of(0);
    cr_expect_eq(test_bank_transfer(&bank, &other), RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_128);
    other.amount_high = 1;
    cr_expect_eq(test_bank_transfer(&bank, &other), RESULT_EXISTS_WITH_DIFFERENT_AMOUNT);
    other.credit_account_id = id_of(99);
    cr_expect_eq(test_bank_transfer(&bank, &other), RESULT_EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID);
    other.debit_account_id = id_of(98);
    cr_expect_eq(test_bank_transfer(&bank, &other), RESULT_EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID);
    other.code++;
    cr_expect_eq(test_bank_transfer(&bank, &other), RESULT_EXISTS_WITH_DIFFERENT_CODE);
    other.ledger = 99;
    cr_expect_eq(test_bank_transfer(&bank, &other), RESULT_EXISTS_WITH_DIFFERENT_LEDGER);

    cr_expect(test_balance_debits(&bank, 1) == 500);
    cr_expect_eq(machine_transfer_count(bank.machine), 1);
    test_bank_deinit(&bank);
}

/* Records of a later version may come back from the past with fields that this one cannot write. */
Test(transfer, an_id_from_the_past_is_compared_in_fields_not_yet_writable)
{
    struct test_bank bank;
    bank_open(&bank);
    struct transfer_event event = transfer_of(100, 1, 2, 500, 1);
    cr_assert_eq(test_bank_transfer(&bank, &event), RESULT_OK);
    past_memory_checkpoint(&bank.past, bank.machine);
    cr_expect_eq(test_bank_transfer(&bank, &event), RESULT_EXISTS);

    struct transfer_record *kept = &bank.past.transfers[0];
    kept->timeout_s = 5;
    cr_expect_eq(test_bank_transfer(&bank, &event), RESULT_EXISTS_WITH_DIFFERENT_TIMEOUT);
    kept->pending_id = id_of(5);
    cr_expect_eq(test_bank_transfer(&bank, &event), RESULT_EXISTS_WITH_DIFFERENT_PENDING_ID);
    kept->flags = TRANSFER_PENDING;
    cr_expect_eq(test_bank_transfer(&bank, &event), RESULT_EXISTS_WITH_DIFFERENT_FLAGS);
    test_bank_deinit(&bank);
}

/* A refusal by state spends the id, also once the reason is gone; one by the event alone does not.
 */
Test(transfer, refused_by_state_burns_the_id_and_refused_alone_does_not)
{
    for (int spoil = ID_0; spoil < SPOIL_COUNT; spoil++) {
        struct test_bank bank;
        bank_open(&bank);
        struct transfer_event good = transfer_of(100, 1, 2, 500, 1);
        struct transfer_event bad = good;
        spoil_event(&bad, (enum spoil)spoil);
        uint8_t result = test_bank_transfer(&bank, &bad);
        cr_expect_eq(result, spoil_results[spoil]);
        bool burned = spoil >= NO_LEDGER;
        cr_expect_eq(result_burns_id(result), burned);
        cr_expect_eq(machine_transfer_count(bank.machine), burned ? 1 : 0);
        cr_expect_eq(test_bank_transfer(&bank, &good),
                     burned ? RESULT_ID_ALREADY_FAILED : RESULT_OK, "spoil %d", spoil);
        test_bank_deinit(&bank);
    }
}

/* The refused transfer stays on record with its reason, outside all histories. */
Test(transfer, a_refused_transfer_is_on_record_and_in_no_history)
{
    struct test_bank bank;
    bank_open(&bank);
    struct transfer_event first = transfer_of(100, 1, 2, 500, 1);
    struct transfer_event refused = transfer_of(101, 1, 99, 7, 1);
    struct transfer_event second = transfer_of(102, 2, 1, 200, 1);
    cr_assert_eq(test_bank_transfer(&bank, &first), RESULT_OK);
    cr_assert_eq(test_bank_transfer(&bank, &refused), RESULT_CREDIT_ACCOUNT_NOT_FOUND);
    cr_assert_eq(test_bank_transfer(&bank, &second), RESULT_OK);

    struct transfer_record record;
    struct id128 id = id_of(101);
    cr_assert(machine_transfer(bank.machine, &id, &record));
    cr_expect_eq(record.result, RESULT_CREDIT_ACCOUNT_NOT_FOUND);
    cr_expect_eq(record.debit_ordinal, 0);
    cr_expect_eq(record.credit_ordinal, ORDINAL_NONE);
    cr_expect_eq(record.previous_debit_sequence, SEQUENCE_NONE);
    cr_expect_eq(record.previous_credit_sequence, SEQUENCE_NONE);
    cr_expect_eq(record.amount_low, 7);

    cr_assert(machine_transfer_at(bank.machine, 2, &record));
    cr_expect_eq(record.previous_debit_sequence, 0, "account 2: transfer 0, not the refused 1");
    cr_expect_eq(record.previous_credit_sequence, 0, "account 1: transfer 0, not the refused 1");
    struct account account;
    cr_assert(machine_account_at(bank.machine, 0, &account));
    cr_expect_eq(account.balance.last_sequence, 2);
    cr_expect_eq(account.balance.transfer_count, 2);
    test_bank_deinit(&bank);
}

struct step {
    uint64_t debit, credit;
    u128 amount;
    uint8_t result;
};

struct scenario {
    const char *claim;
    struct step steps[6];
    struct {
        uint64_t account;
        u128 debits, credits;
    } balances[3];
};

/* Account 6: debits must not exceed credits. Account 7: credits must not exceed debits. */
static const struct scenario scenarios[] = {
    {
        "an account spends to its last cent and not one further",
        {{1, 6, 100, RESULT_OK},
         {6, 2, 101, RESULT_EXCEEDS_CREDITS},
         {6, 2, 100, RESULT_OK},
         {6, 2, 1, RESULT_EXCEEDS_CREDITS}},
        {{6, 100, 100}, {1, 100, 0}, {2, 0, 100}},
    },
    {
        "a debit-normal account is credited to its last cent and not one further",
        {{7, 1, 50, RESULT_OK},
         {2, 7, 51, RESULT_EXCEEDS_DEBITS},
         {2, 7, 50, RESULT_OK},
         {2, 7, 1, RESULT_EXCEEDS_DEBITS}},
        {{7, 50, 50}, {1, 0, 50}, {2, 50, 0}},
    },
    {
        "both limits in one transfer: the debit side answers first",
        {{6, 7, 1, RESULT_EXCEEDS_CREDITS}, {1, 6, 5, RESULT_OK}, {6, 7, 5, RESULT_EXCEEDS_DEBITS}},
        {{6, 0, 5}, {7, 0, 0}, {1, 5, 0}},
    },
    {
        "debits up to 2^128 - 1 and not one further",
        {{1, 2, U128_MAX, RESULT_OK}, {1, 3, 1, RESULT_OVERFLOWS_DEBITS}},
        {{1, U128_MAX, 0}, {2, 0, U128_MAX}, {3, 0, 0}},
    },
    {
        "credits up to 2^128 - 1 and not one further",
        {{1, 2, U128_MAX, RESULT_OK}, {3, 2, 1, RESULT_OVERFLOWS_CREDITS}},
        {{1, U128_MAX, 0}, {2, 0, U128_MAX}, {3, 0, 0}},
    },
    {
        "the ledger's total up to 2^128 - 1 and not one further",
        {{1, 2, U128_MAX - 9, RESULT_OK},
         {3, 4, 10, RESULT_OVERFLOWS_LEDGER},
         {3, 4, 9, RESULT_OK},
         {3, 4, 1, RESULT_OVERFLOWS_LEDGER}},
        {{1, U128_MAX - 9, 0}, {3, 9, 0}, {4, 0, 9}},
    },
    {
        "an overflow of the debit account is told before its limit",
        {{1, 6, U128_MAX, RESULT_OK},
         {6, 1, U128_MAX, RESULT_OVERFLOWS_LEDGER},
         {6, 2, 1, RESULT_OVERFLOWS_LEDGER},
         {1, 6, 1, RESULT_OVERFLOWS_DEBITS}},
        {{1, U128_MAX, 0}, {6, 0, U128_MAX}, {2, 0, 0}},
    },
    {
        "a sum carries from the low half into the high one",
        {{1, 2, UINT64_MAX, RESULT_OK}, {1, 2, 1, RESULT_OK}, {1, 2, UINT64_MAX, RESULT_OK}},
        {{1, ((u128)1 << 64) + UINT64_MAX, 0}, {2, 0, ((u128)1 << 64) + UINT64_MAX}, {3, 0, 0}},
    },
};

Test(transfer, money_scenarios_end_with_the_expected_balances)
{
    for (size_t s = 0; s < sizeof scenarios / sizeof scenarios[0]; s++) {
        const struct scenario *scenario = &scenarios[s];
        struct test_bank bank;
        bank_open(&bank);
        for (size_t i = 0; i < 6 && scenario->steps[i].amount != 0; i++) {
            const struct step *step = &scenario->steps[i];
            struct transfer_event event = transfer_of(100 + i, step->debit, step->credit, 0, 1);
            event.amount_low = u128_low(step->amount);
            event.amount_high = u128_high(step->amount);
            uint8_t result = test_bank_transfer(&bank, &event);
            cr_expect_eq(result, step->result, "%s: step %zu gave %s", scenario->claim, i,
                         result_name(result));
        }
        for (size_t i = 0; i < 3; i++) {
            uint64_t account = scenario->balances[i].account;
            cr_expect(test_balance_debits(&bank, account) == scenario->balances[i].debits,
                      "%s: debits of %llu", scenario->claim, (unsigned long long)account);
            cr_expect(test_balance_credits(&bank, account) == scenario->balances[i].credits,
                      "%s: credits of %llu", scenario->claim, (unsigned long long)account);
        }
        test_bank_check(&bank);
        test_bank_deinit(&bank);
    }
}

/* Within a batch each event sees what the earlier ones did; results stand at their positions. */
Test(transfer, a_batch_is_judged_in_order_and_answered_by_position)
{
    struct test_bank bank;
    bank_open(&bank);
    const struct transfer_event events[] = {
        transfer_of(1, 6, 2, 10, 1),                              /* account 6 has nothing yet */
        transfer_of(2, 1, 6, 10, 1), transfer_of(3, 6, 2, 10, 1), /* now it has */
        transfer_of(2, 1, 6, 10, 1),                              /* the second again */
        transfer_of(1, 6, 2, 10, 1),                              /* burned in this very batch */
        transfer_of(3, 6, 2, 11, 1),
    };
    cr_assert_eq(test_bank_send(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, events, 6),
                 OUTCOME_EXECUTED);
    const uint8_t expected[] = {
        RESULT_EXCEEDS_CREDITS,
        RESULT_OK,
        RESULT_OK,
        RESULT_EXISTS,
        RESULT_ID_ALREADY_FAILED,
        RESULT_EXISTS_WITH_DIFFERENT_AMOUNT,
    };
    cr_expect_arr_eq(bank.answers[0].results, expected, 6);
    cr_expect_eq(machine_transfer_count(bank.machine), 3);

    struct transfer_record record;
    cr_assert(machine_transfer_at(bank.machine, 2, &record));
    cr_expect_eq(record.timestamp, bank.answers[0].answer.stamp + 2, "event k has stamp + k");
    test_bank_deinit(&bank);
}

/* Gregorian dates from 1900 to 9999, or none. */
Test(transfer, value_dates_are_gregorian)
{
    static const struct {
        uint32_t date;
        bool valid;
    } dates[] = {
        {0, true},          {19000101, true},  {18991231, false},    {99991231, true},
        {100000101, false}, {20240229, true},  {20230229, false},    {20000229, true},
        {19000229, false},  {21000229, false}, {20260431, false},    {20260430, true},
        {20261301, false},  {20260001, false}, {20260100, false},    {20260132, false},
        {20261231, true},   {1, false},        {4294967295u, false},
    };
    struct test_bank bank;
    bank_open(&bank);
    for (size_t i = 0; i < sizeof dates / sizeof dates[0]; i++) {
        struct transfer_event event = transfer_of(100 + i, 1, 2, 1, 1);
        event.value_date = dates[i].date;
        cr_expect_eq(test_bank_transfer(&bank, &event),
                     dates[i].valid ? RESULT_OK : RESULT_VALUE_DATE_INVALID, "%u", dates[i].date);
    }
    test_bank_deinit(&bank);
}

/* Every flag that a later version gives a meaning is refused now, and so are unnamed ones. */
Test(transfer, no_flag_has_a_meaning_yet)
{
    struct test_bank bank;
    bank_open(&bank);
    for (unsigned bit = 0; bit < 16; bit++) {
        struct transfer_event event = transfer_of(100, 1, 2, 1, 1);
        event.flags = (uint16_t)(1u << bit);
        cr_expect_eq(test_bank_transfer(&bank, &event), RESULT_RESERVED_FLAG);
    }
    test_bank_deinit(&bank);
}
