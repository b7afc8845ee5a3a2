/* CreateLedgers, CreateAccounts, SetPrincipals: every rung of their ladders; trial balance. */
#include "core/machine_state.h"
#include "core/result.h"
#include "test_bank.h"

#include <criterion/criterion.h>
#include <stdio.h>

/* ---- ledgers ---- */

Test(ledger, each_rung_refuses_with_its_number)
{
    struct test_bank bank;
    test_bank_init(&bank);
    const struct ledger_event good = ledger_of(1, "CNY", 2, "renminbi");
    struct ledger_event event = good;

    /* From the last rung to the first, the damage kept: each earlier rung answers before it. */
    event.name_size = 0;
    memset(event.name, 0, sizeof event.name);
    cr_expect_eq(test_bank_ledger(&bank, &event), RESULT_NAME_INVALID);
    event.exponent = EXPONENT_MAX + 1;
    cr_expect_eq(test_bank_ledger(&bank, &event), RESULT_EXPONENT_INVALID);
    event.currency[3] = 'X';
    cr_expect_eq(test_bank_ledger(&bank, &event), RESULT_CURRENCY_INVALID);
    event.name[0] = 'x'; /* behind the name's end */
    cr_expect_eq(test_bank_ledger(&bank, &event), RESULT_RESERVED_FIELD);
    event.name[0] = 0;
    event.reserved = 1;
    cr_expect_eq(test_bank_ledger(&bank, &event), RESULT_RESERVED_FIELD);
    event.flags = 1;
    cr_expect_eq(test_bank_ledger(&bank, &event), RESULT_RESERVED_FLAG);
    event.id = 0;
    cr_expect_eq(test_bank_ledger(&bank, &event), RESULT_ID_ZERO);
    event = good;
    event.name_size = NAME_SIZE_MAX + 1;
    cr_expect_eq(test_bank_ledger(&bank, &event), RESULT_NAME_INVALID);
    cr_expect_eq(machine_ledger_count(bank.machine), 0);

    cr_expect_eq(test_bank_ledger(&bank, &good), RESULT_OK);
    cr_expect_eq(test_bank_ledger(&bank, &good), RESULT_EXISTS);
    event = ledger_of(1, "CNY", 2, "yuan");
    cr_expect_eq(test_bank_ledger(&bank, &event), RESULT_EXISTS_WITH_DIFFERENT_NAME);
    event.exponent = 3;
    cr_expect_eq(test_bank_ledger(&bank, &event), RESULT_EXISTS_WITH_DIFFERENT_EXPONENT);
    event.currency[0] = 'X';
    cr_expect_eq(test_bank_ledger(&bank, &event), RESULT_EXISTS_WITH_DIFFERENT_CURRENCY);

    struct ledger_event greatest = ledger_of(UINT32_MAX, "XAU", EXPONENT_MAX, "gold");
    cr_expect_eq(test_bank_ledger(&bank, &greatest), RESULT_OK);
    struct ledger_record record;
    cr_assert(machine_ledger(bank.machine, UINT32_MAX, &record));
    cr_expect_eq(record.exponent, EXPONENT_MAX);
    cr_expect_str_eq(record.currency, "XAU");
    cr_expect_eq(record.name_size, 4);
    cr_expect_arr_eq(record.name, "gold", 5);
    cr_assert(machine_ledger_at(bank.machine, 0, &record));
    cr_expect_eq(record.id, 1);
    cr_expect_not(machine_ledger(bank.machine, 2, &record));
    cr_expect_not(machine_ledger_at(bank.machine, 2, &record));
    test_bank_deinit(&bank);
}

/* ---- accounts ---- */

Test(account, each_rung_refuses_with_its_number)
{
    struct test_bank bank;
    test_bank_init(&bank);
    struct ledger_event ledger = ledger_of(1, "CNY", 2, "renminbi");
    cr_assert_eq(test_bank_ledger(&bank, &ledger), RESULT_OK);
    const uint16_t limit = ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS;
    const uint16_t other_limit = ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS;
    struct account_event good = account_of(1, 1, 10, limit);
    good.user_data_128 = id_of(5);
    good.user_data_64 = 6;
    good.user_data_32 = 7;

    struct account_event event = good;
    event.ledger = 2;
    cr_expect_eq(test_bank_account(&bank, &event), RESULT_LEDGER_NOT_FOUND);
    event.code = 0;
    cr_expect_eq(test_bank_account(&bank, &event), RESULT_CODE_ZERO);
    event.ledger = 0;
    cr_expect_eq(test_bank_account(&bank, &event), RESULT_LEDGER_ZERO);
    event.flags = limit | other_limit;
    cr_expect_eq(test_bank_account(&bank, &event), RESULT_FLAGS_MUTUALLY_EXCLUSIVE);
    event.reserved_0 = 1;
    cr_expect_eq(test_bank_account(&bank, &event), RESULT_RESERVED_FIELD);
    event.reserved_0 = 0;
    event.reserved_1 = 1;
    cr_expect_eq(test_bank_account(&bank, &event), RESULT_RESERVED_FIELD);
    for (unsigned bit = 2; bit < 16; bit++) {
        event.flags = (uint16_t)(1u << bit);
        cr_expect_eq(test_bank_account(&bank, &event), RESULT_RESERVED_FLAG);
    }
    memset(&event.id, 0xff, sizeof event.id);
    cr_expect_eq(test_bank_account(&bank, &event), RESULT_ID_MAX);
    event.id = id_of(0);
    cr_expect_eq(test_bank_account(&bank, &event), RESULT_ID_ZERO);
    cr_expect_eq(machine_account_count(bank.machine), 0);

    cr_expect_eq(test_bank_account(&bank, &good), RESULT_OK, "no refusal burned the id");
    cr_expect_eq(test_bank_account(&bank, &good), RESULT_EXISTS);
    event = good;
    event.user_data_32++;
    cr_expect_eq(test_bank_account(&bank, &event), RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_32);
    event.user_data_64++;
    cr_expect_eq(test_bank_account(&bank, &event), RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_64);
    event.user_data_128 = id_of(0);
    cr_expect_eq(test_bank_account(&bank, &event), RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_128);
    event.code++;
    cr_expect_eq(test_bank_account(&bank, &event), RESULT_EXISTS_WITH_DIFFERENT_CODE);
    event.ledger = 2;
    cr_expect_eq(test_bank_account(&bank, &event), RESULT_EXISTS_WITH_DIFFERENT_LEDGER);
    event.flags = other_limit;
    cr_expect_eq(test_bank_account(&bank, &event), RESULT_EXISTS_WITH_DIFFERENT_FLAGS);

    struct account account;
    struct id128 id = id_of(1);
    cr_assert(machine_account(bank.machine, &id, &account));
    cr_expect_eq(account.record.user_data_64, 6);
    cr_expect_eq(account.record.code, 10);
    cr_expect_eq(account.record.flags, limit);
    cr_expect_eq(account.balance.last_sequence, SEQUENCE_NONE);
    cr_expect_eq(account.balance.transfer_count, 0);
    id = id_of(2);
    cr_expect_not(machine_account(bank.machine, &id, &account));
    cr_expect_not(machine_account_at(bank.machine, 1, &account));
    test_bank_deinit(&bank);
}

/* The index grows several times under the accounts; each stays findable under its ordinal. */
Test(account, every_account_is_found_while_the_index_grows)
{
    enum { COUNT = 150000 };
    struct test_bank bank;
    struct machine_options options = test_bank_options(&bank);
    options.account_count_max = COUNT;
    test_bank_init_with(&bank, &options);
    struct ledger_event ledger = ledger_of(1, "CNY", 2, "renminbi");
    cr_assert_eq(test_bank_ledger(&bank, &ledger), RESULT_OK);
    static struct account_event events[5000];
    for (uint32_t first = 0; first < COUNT; first += 5000) {
        for (uint32_t i = 0; i < 5000; i++)
            events[i] = account_of(first + i + 1, 1, 10, 0);
        cr_assert_eq(
            test_bank_send(&bank, OPERATION_CREATE_ACCOUNTS, TEST_BUSINESS_OPERATOR, events, 5000),
            OUTCOME_EXECUTED);
        for (uint32_t i = 0; i < 5000; i++)
            cr_assert_eq(bank.answers[0].results[i], RESULT_OK);
    }
    for (uint32_t ordinal = 0; ordinal < COUNT; ordinal++) {
        struct id128 id = id_of(ordinal + 1);
        struct account by_id;
        struct account by_ordinal;
        cr_assert(machine_account(bank.machine, &id, &by_id));
        cr_assert(machine_account_at(bank.machine, ordinal, &by_ordinal));
        cr_assert_arr_eq(&by_id, &by_ordinal, sizeof by_id);
    }
    struct account_event one_more = account_of(COUNT + 1, 1, 10, 0);
    cr_expect_eq(test_bank_account(&bank, &one_more), RESULT_ACCOUNT_TABLE_FULL);
    struct account_event first = account_of(1, 1, 10, 0);
    cr_expect_eq(test_bank_account(&bank, &first), RESULT_EXISTS, "a repeat needs no room");
    test_bank_deinit(&bank);
}

Test(ledger, full_tables_refuse_new_rows_and_recognize_old_ones)
{
    struct test_bank bank;
    struct machine_options options = test_bank_options(&bank);
    options.ledger_count_max = 2;
    options.principal_count_max = TEST_PRINCIPAL_COUNT;
    test_bank_init_with(&bank, &options);
    struct ledger_event events[] = {ledger_of(1, "CNY", 2, "a"), ledger_of(2, "CNY", 2, "b"),
                                    ledger_of(3, "CNY", 2, "c")};
    cr_expect_eq(test_bank_ledger(&bank, &events[0]), RESULT_OK);
    cr_expect_eq(test_bank_ledger(&bank, &events[1]), RESULT_OK);
    cr_expect_eq(test_bank_ledger(&bank, &events[2]), RESULT_LEDGER_TABLE_FULL);
    cr_expect_eq(test_bank_ledger(&bank, &events[1]), RESULT_EXISTS);

    struct principal_event row = principal_of("new", "tally:new", ROLE_CHANNEL);
    cr_expect_eq(test_bank_principal(&bank, &row), RESULT_PRINCIPAL_TABLE_FULL);
    row = principal_of("former", "tally:former", ROLE_AUDITOR);
    cr_expect_eq(test_bank_principal(&bank, &row), RESULT_OK);
    test_bank_deinit(&bank);
}

/* ---- principals ---- */

Test(principal, each_rung_refuses_with_its_number)
{
    struct test_bank bank;
    test_bank_init(&bank);
    struct principal_event event = principal_of("n", "tally:n", ROLE_COUNT);
    cr_expect_eq(test_bank_principal(&bank, &event), RESULT_ROLE_INVALID);
    event.uri[0] = ':';
    cr_expect_eq(test_bank_principal(&bank, &event), RESULT_URI_INVALID);
    event.name[0] = '\n';
    cr_expect_eq(test_bank_principal(&bank, &event), RESULT_NAME_INVALID);
    event.reserved_0 = 1;
    cr_expect_eq(test_bank_principal(&bank, &event), RESULT_RESERVED_FIELD);
    event.reserved_0 = 0;
    event.name[20] = 'x';
    cr_expect_eq(test_bank_principal(&bank, &event), RESULT_RESERVED_FIELD);
    event.name[20] = 0;
    event.uri[255] = 'x';
    cr_expect_eq(test_bank_principal(&bank, &event), RESULT_RESERVED_FIELD);
    cr_expect_eq(machine_principal_count(bank.machine), TEST_PRINCIPAL_COUNT);

    event = principal_of("mobile", "tally:desk", ROLE_CHANNEL);
    cr_expect_eq(test_bank_principal(&bank, &event), RESULT_EXISTS_WITH_DIFFERENT_NAME);
    uint32_t ordinal = 0;
    const struct principal_record *row =
        machine_principal(bank.machine, "tally:desk", 10, &ordinal);
    cr_assert_not_null(row);
    cr_expect_eq(row->role, ROLE_BUSINESS_OPERATOR);
    test_bank_deinit(&bank);
}

/* Rows are found by URI, share the ordinal of their name, and keep their place when changed. */
Test(principal, rows_keep_their_ordinal_and_share_that_of_their_name)
{
    struct test_bank bank;
    test_bank_init(&bank);
    uint32_t ordinal = 0;
    const struct principal_record *row =
        machine_principal(bank.machine, "tally:mobile-2", 14, &ordinal);
    cr_assert_not_null(row);
    cr_expect_eq(ordinal, TEST_CHANNEL_TWIN);
    cr_expect_eq(row->name_ordinal, TEST_CHANNEL);
    cr_expect_null(machine_principal(bank.machine, "tally:mobile-", 13, &ordinal));
    cr_expect_null(machine_principal(bank.machine, "", 0, &ordinal));

    struct principal_event event = principal_of("mobile", "tally:mobile-2", ROLE_AUDITOR);
    event.in_flight_max = 9;
    cr_expect_eq(test_bank_principal(&bank, &event), RESULT_OK);
    cr_expect_eq(test_bank_principal(&bank, &event), RESULT_OK, "saying it again changes nothing");
    row = machine_principal_at(bank.machine, TEST_CHANNEL_TWIN);
    cr_expect_eq(row->role, ROLE_AUDITOR);
    cr_expect_eq(row->in_flight_max, 9);
    cr_expect_eq(row->name_ordinal, TEST_CHANNEL);
    cr_expect_null(machine_principal_at(bank.machine, TEST_PRINCIPAL_COUNT));
    test_bank_deinit(&bank);
}

/* Somebody must be left who may change the table. */
Test(principal, the_last_site_operator_stays)
{
    struct test_bank bank;
    test_bank_init(&bank);
    struct principal_event first = principal_of("ops", "tally:ops", ROLE_NONE);
    cr_expect_eq(test_bank_principal(&bank, &first), RESULT_LAST_SITE_OPERATOR);
    struct principal_event second = principal_of("ops2", "tally:ops2", ROLE_SITE_OPERATOR);
    cr_expect_eq(test_bank_principal(&bank, &second), RESULT_OK);
    cr_expect_eq(test_bank_principal(&bank, &first), RESULT_OK, "another one is listed");
    second.role = ROLE_AUDITOR;
    cr_expect_eq(test_bank_send(&bank, OPERATION_SET_PRINCIPALS, TEST_PRINCIPAL_COUNT, &second, 1),
                 OUTCOME_EXECUTED);
    cr_expect_eq(bank.answers[0].results[0], RESULT_LAST_SITE_OPERATOR);
    test_bank_deinit(&bank);
}

/* While the table is empty anybody in row 0 may fill it, at any issue time; afterwards nobody. */
Test(principal, genesis_happens_once)
{
    struct test_bank bank;
    struct machine_options options = test_bank_options(&bank);
    struct ledger_past past;
    struct machine *machine;
    test_bank_init(&bank);
    past = past_memory_table(&bank.past);
    cr_assert_eq(machine_create(&options, &past, &machine), STATUS_OK);
    struct machine *other = bank.machine;
    bank.machine = machine;

    struct principal_event row = principal_of("ops", "tally:ops", ROLE_SITE_OPERATOR);
    struct principal_event bad = principal_of("ops", "no uri", ROLE_SITE_OPERATOR);
    struct ledger_event ledger = ledger_of(1, "CNY", 2, "renminbi");
    cr_expect_eq(test_bank_send_as(&bank, OPERATION_CREATE_LEDGERS, 0, 1, bank.stamp, &ledger, 1),
                 OUTCOME_NOT_PERMITTED);
    cr_expect_eq(test_bank_send_as(&bank, OPERATION_SET_PRINCIPALS, 1, 1, bank.stamp, &row, 1),
                 OUTCOME_NOT_PERMITTED, "only as principal 0");
    cr_expect_eq(test_bank_send_as(&bank, OPERATION_SET_PRINCIPALS, 0, 1, 0, &bad, 1),
                 OUTCOME_EXECUTED);
    cr_expect_eq(bank.answers[0].results[0], RESULT_URI_INVALID);
    cr_expect_eq(test_bank_send_as(&bank, OPERATION_SET_PRINCIPALS, 0, 1, 0, &row, 1),
                 OUTCOME_EXECUTED, "nothing was listed yet, and genesis is not remembered");
    cr_expect_eq(bank.answers[0].results[0], RESULT_OK);
    cr_expect_eq(test_bank_send_as(&bank, OPERATION_SET_PRINCIPALS, 0, 1, 0, &row, 1),
                 OUTCOME_BEYOND_WINDOW, "now the site operator's own request, judged as any other");
    machine_destroy(machine);
    bank.machine = other;
    test_bank_deinit(&bank);
}

/* ---- trial balance ---- */

struct rows {
    uint32_t count;
    struct trial_balance_row row[8];
};

static void keep_row(void *context, const struct trial_balance_row *row)
{
    struct rows *rows = context;
    cr_assert_lt(rows->count, 8);
    rows->row[rows->count++] = *row;
}

/* By code in ascending order, only the asked ledger, only codes that have accounts. */
Test(trial_balance, sums_by_code_within_one_ledger)
{
    struct test_bank bank;
    test_bank_init(&bank);
    test_bank_open_accounts(&bank, 2); /* code 10 on both ledgers */
    const struct account_event more[] = {account_of(31, 1, 65535, 0), account_of(32, 1, 1, 0),
                                         account_of(33, 1, 64, 0)};
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(test_bank_account(&bank, &more[i]), RESULT_OK);
    const struct transfer_event transfers[] = {
        transfer_of(1, 1, 31, 70, 1), transfer_of(2, 2, 32, 5, 1), transfer_of(3, 31, 32, 20, 1),
        transfer_of(4, 1001, 1002, 999, 2)};
    for (size_t i = 0; i < 4; i++)
        cr_assert_eq(test_bank_transfer(&bank, &transfers[i]), RESULT_OK);

    struct rows rows = {0};
    bool balanced = false;
    cr_assert(machine_trial_balance(bank.machine, 1, keep_row, &rows, &balanced));
    cr_expect(balanced);
    static const struct {
        uint16_t code;
        uint64_t accounts;
        uint64_t debits;
        uint64_t credits;
    } expected[] = {{1, 1, 0, 25}, {10, 2, 75, 0}, {64, 1, 0, 0}, {65535, 1, 20, 70}};
    cr_assert_eq(rows.count, 4);
    for (size_t i = 0; i < 4; i++) {
        cr_expect_eq(rows.row[i].code, expected[i].code);
        cr_expect_eq(rows.row[i].account_count, expected[i].accounts);
        cr_expect(rows.row[i].debits_posted == expected[i].debits);
        cr_expect(rows.row[i].credits_posted == expected[i].credits);
        cr_expect(rows.row[i].debits_pending == 0 && rows.row[i].credits_pending == 0);
    }
    cr_expect_not(machine_trial_balance(bank.machine, 3, keep_row, &rows, &balanced));
    test_bank_deinit(&bank);
}

/* A total that went wrong behind the machine's back, in each of its fields. */
Test(trial_balance, a_total_that_does_not_match_is_reported)
{
    struct test_bank bank;
    test_bank_init(&bank);
    test_bank_open_accounts(&bank, 2);
    struct transfer_event event = transfer_of(1, 1, 2, 70, 1);
    cr_assert_eq(test_bank_transfer(&bank, &event), RESULT_OK);
    struct ledger_record *ledger = &bank.machine->ledgers.records[0];
    uint64_t *const fields[] = {
        &ledger->debits_posted_low,
        &ledger->debits_posted_high,
        &ledger->credits_posted_low,
        &ledger->credits_posted_high,
        &ledger->debits_pending_low,
        &ledger->credits_pending_high,
        &bank.machine->accounts.hot[0].balance.debits_posted_low,
        &bank.machine->accounts.hot[2].balance.credits_posted_low,
        &bank.machine->accounts.hot[0].balance.credits_pending_low,
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        struct rows rows = {0};
        bool balanced = true;
        (*fields[i])++;
        cr_assert(machine_trial_balance(bank.machine, 1, keep_row, &rows, &balanced));
        cr_expect_not(balanced, "field %zu", i);
        (*fields[i])--;
    }
    struct rows rows = {0};
    bool balanced = false;
    cr_assert(machine_trial_balance(bank.machine, 1, keep_row, &rows, &balanced));
    cr_expect(balanced);
    test_bank_deinit(&bank);
}
