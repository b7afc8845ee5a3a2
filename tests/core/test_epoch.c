/* Epochs and restart: what a freeze hands out, that it stays still, and what a restore refuses. */
#include "core/result.h"
#include "test_bank.h"

#include <criterion/criterion.h>

static void digest_of(const struct machine *machine, uint8_t out[16])
{
    machine_digest(machine, out);
}

static void bank_open(struct test_bank *bank)
{
    test_bank_init(bank);
    test_bank_open_accounts(bank, 5);
    struct account_event limited = account_of(6, 1, 20, ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS);
    cr_assert_eq(test_bank_account(bank, &limited), RESULT_OK);
}

static void move(struct test_bank *bank, uint64_t id, uint64_t debit, uint64_t credit,
                 uint64_t amount)
{
    struct transfer_event event = transfer_of(id, debit, credit, amount, 1);
    cr_assert_eq(test_bank_transfer(bank, &event), RESULT_OK);
}

/* Only what changed since the last freeze, in ascending order; everything small in full. */
Test(epoch, a_freeze_hands_out_what_changed)
{
    struct test_bank bank;
    bank_open(&bank); /* ordinals: account 1 = 0, 1001 = 1, 2 = 2, 1002 = 3, ..., 6 = 10 */
    past_memory_checkpoint(&bank.past, bank.machine);
    uint64_t request_first = bank.past.request_count;
    move(&bank, 1, 5, 2, 10);
    struct transfer_event refused = transfer_of(2, 3, 99, 10, 1);
    cr_assert_eq(test_bank_transfer(&bank, &refused), RESULT_CREDIT_ACCOUNT_NOT_FOUND);
    struct account_event added = account_of(7, 1, 10, 0);
    cr_assert_eq(test_bank_account(&bank, &added), RESULT_OK);
    uint8_t digest[16];
    digest_of(bank.machine, digest);

    const struct epoch *epoch = machine_freeze(bank.machine);
    cr_expect(machine_is_frozen(bank.machine));
    cr_expect_eq(epoch->applied_index, machine_applied_index(bank.machine));
    cr_expect_eq(epoch->applied_term, 1);
    cr_expect_eq(epoch->stamp, machine_stamp(bank.machine));
    cr_expect_arr_eq(epoch->digest, digest, 16);
    cr_expect_eq(epoch->transfer_first, 0);
    cr_assert_eq(epoch->transfer_count, 2);
    cr_expect_eq(epoch->transfers[1].result, RESULT_CREDIT_ACCOUNT_NOT_FOUND);
    cr_expect_eq(epoch->account_first, 11);
    cr_assert_eq(epoch->account_count, 1);
    cr_expect_eq(epoch->accounts[0].id.bytes[0], 7);
    cr_assert_eq(epoch->balance_count, 3, "accounts 2, 5 and the new one; not the refused");
    const uint32_t ordinals[] = {2, 8, 11};
    cr_expect_arr_eq(epoch->balance_ordinals, ordinals, sizeof ordinals);
    cr_expect_eq(epoch->balances[0].credits_posted_low, 10);
    cr_expect_eq(epoch->balances[1].debits_posted_low, 10);
    cr_expect_eq(epoch->balances[2].last_sequence, SEQUENCE_NONE);
    cr_expect_eq(epoch->request_first, request_first);
    cr_expect_eq(epoch->request_count, 3);
    cr_expect_eq(epoch->ledger_count, 2);
    cr_expect_eq(epoch->ledgers[0].debits_posted_low, 10);
    cr_expect_eq(epoch->ledgers[0].account_count, 7);
    cr_expect_eq(epoch->principal_count, TEST_PRINCIPAL_COUNT);
    cr_expect_eq(epoch->request_window->request_count, request_first + 3);
    past_memory_take(&bank.past, epoch);
    machine_release_epoch(bank.machine);
    cr_expect_not(machine_is_frozen(bank.machine));

    epoch = machine_freeze(bank.machine);
    cr_expect_eq(epoch->transfer_count + epoch->account_count + epoch->balance_count +
                     epoch->request_count + epoch->answer_bytes,
                 0, "nothing changed since");
    machine_release_epoch(bank.machine);
    test_bank_deinit(&bank);
}

/* Apply goes on under a frozen epoch: new accounts, changed balances, totals, principals. */
Test(epoch, a_frozen_epoch_does_not_change_while_apply_goes_on)
{
    struct test_bank bank;
    bank_open(&bank);
    move(&bank, 1, 5, 2, 10);
    const struct epoch *epoch = machine_freeze(bank.machine);
    struct past_memory copy;
    past_memory_init(&copy);
    past_memory_take(&copy, epoch);

    move(&bank, 2, 5, 2, 7);
    struct account_event added = account_of(7, 1, 10, 0);
    cr_assert_eq(test_bank_account(&bank, &added), RESULT_OK);
    struct ledger_event ledger = ledger_of(3, "USD", 2, "dollar");
    cr_assert_eq(test_bank_ledger(&bank, &ledger), RESULT_OK);
    struct principal_event row = principal_of("former", "tally:former", ROLE_AUDITOR);
    cr_assert_eq(test_bank_principal(&bank, &row), RESULT_OK);

    past_memory_take(&bank.past, epoch);
    cr_expect_eq(bank.past.transfer_count, copy.transfer_count);
    cr_expect_eq(bank.past.request_count, copy.request_count);
    cr_assert_eq(bank.past.account_count, copy.account_count);
    cr_expect_arr_eq(bank.past.transfers, copy.transfers,
                     copy.transfer_count * sizeof copy.transfers[0]);
    cr_expect_arr_eq(bank.past.balances, copy.balances,
                     copy.account_count * sizeof copy.balances[0]);
    cr_expect_arr_eq(bank.past.ledgers, copy.ledgers, 2 * sizeof copy.ledgers[0]);
    cr_expect_arr_eq(bank.past.principals, copy.principals,
                     TEST_PRINCIPAL_COUNT * sizeof copy.principals[0]);
    cr_expect_arr_eq(&bank.past.window, &copy.window, sizeof copy.window);
    cr_expect_arr_eq(bank.past.checkpoint.digest, copy.checkpoint.digest, 16);
    machine_release_epoch(bank.machine);
    past_memory_deinit(&copy);
    test_bank_deinit(&bank);
}

/* From RAM, frozen and past, the same transfer by id and by sequence. */
Test(epoch, transfers_are_found_wherever_they_are)
{
    struct test_bank bank;
    bank_open(&bank);
    move(&bank, 1, 5, 2, 10);
    past_memory_checkpoint(&bank.past, bank.machine);
    move(&bank, 2, 5, 2, 20);
    past_memory_take(&bank.past, machine_freeze(bank.machine));
    move(&bank, 3, 5, 2, 30);
    for (uint64_t i = 1; i <= 3; i++) {
        struct transfer_record by_id;
        struct transfer_record by_sequence;
        struct id128 id = id_of(i);
        cr_assert(machine_transfer(bank.machine, &id, &by_id));
        cr_assert(machine_transfer_at(bank.machine, i - 1, &by_sequence));
        cr_expect_eq(by_id.amount_low, 10 * i);
        cr_expect_arr_eq(&by_id, &by_sequence, sizeof by_id);
    }
    struct transfer_record none;
    struct id128 id = id_of(4);
    cr_expect_not(machine_transfer(bank.machine, &id, &none));
    cr_expect_not(machine_transfer_at(bank.machine, 3, &none));
    cr_expect_not(machine_transfer_at(bank.machine, SEQUENCE_NONE, &none));
    machine_release_epoch(bank.machine);
    test_bank_deinit(&bank);
}

/* ---- restore ---- */

static struct machine *machine_like(struct test_bank *bank, struct past_memory *past)
{
    struct machine_options options = test_bank_options(bank);
    options.hash_seed = 77; /* another seed: nothing visible depends on it */
    struct ledger_past table = past_memory_table(past);
    struct machine *machine = NULL;
    cr_assert_eq(machine_create(&options, &table, &machine), STATUS_OK);
    return machine;
}

/* Restored, the machine has the same digest and questions' answers, and goes on the same way. */
Test(restore, a_restored_machine_goes_on_like_the_original)
{
    struct test_bank bank;
    bank_open(&bank);
    move(&bank, 1, 5, 6, 10);
    struct transfer_event burned = transfer_of(2, 6, 99, 10, 1);
    cr_assert_eq(test_bank_transfer(&bank, &burned), RESULT_CREDIT_ACCOUNT_NOT_FOUND);
    uint64_t issued = bank.stamp;
    struct transfer_event event = transfer_of(3, 6, 5, 4, 1);
    cr_assert_eq(
        test_bank_send_as(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, 5, issued, &event, 1),
        OUTCOME_EXECUTED);
    struct answer original = bank.answers[0].answer;
    past_memory_checkpoint(&bank.past, bank.machine);

    struct machine *restored = machine_like(&bank, &bank.past);
    cr_assert_eq(past_memory_restore(&bank.past, restored), STATUS_OK);
    uint8_t first[16];
    uint8_t second[16];
    digest_of(bank.machine, first);
    digest_of(restored, second);
    cr_expect_arr_eq(first, second, 16);
    cr_expect_eq(machine_applied_index(restored), machine_applied_index(bank.machine));
    cr_expect_eq(machine_stamp(restored), machine_stamp(bank.machine));
    cr_expect_eq(machine_transfer_count(restored), 3);
    cr_expect_eq(machine_account_count(restored), 11);
    const struct epoch *empty = machine_freeze(restored);
    cr_expect_eq(empty->balance_count + empty->account_count, 0, "nothing is new");
    machine_release_epoch(restored);

    /* The same further entries into both: repeat, burned id, new transfer. */
    struct machine *machines[] = {bank.machine, restored};
    uint64_t stamp = bank.stamp;
    for (int i = 0; i < 2; i++) {
        bank.machine = machines[i];
        bank.stamp = stamp;
        bank.nonce = 5000;
        cr_expect_eq(test_bank_send_as(&bank, OPERATION_CREATE_TRANSFERS, TEST_CHANNEL, 5, issued,
                                       &event, 1),
                     OUTCOME_EXECUTED);
        cr_expect(bank.answers[0].answer.repeated);
        cr_expect_eq(bank.answers[0].answer.index, original.index);
        cr_expect_eq(test_bank_transfer(&bank, &burned), RESULT_ID_ALREADY_FAILED);
        struct transfer_event next = transfer_of(4, 6, 5, 6, 1);
        cr_expect_eq(test_bank_transfer(&bank, &next), RESULT_OK);
        next = transfer_of(5, 6, 5, 1, 1);
        cr_expect_eq(test_bank_transfer(&bank, &next), RESULT_EXCEEDS_CREDITS);
        struct transfer_record record;
        cr_assert(machine_transfer_at(bank.machine, 3, &record));
        cr_expect_eq(record.previous_debit_sequence, 2);
        test_bank_check(&bank);
    }
    digest_of(machines[0], first);
    digest_of(restored, second);
    cr_expect_arr_eq(first, second, 16);
    bank.machine = machines[0];
    machine_destroy(restored);
    test_bank_deinit(&bank);
}

/* Each damage to a good checkpoint is STATUS_CORRUPT; the first row is the undamaged one. */
static void damage_checkpoint(struct past_memory *past, int damage)
{
    struct ledger_record *ledger = &past->ledgers[0];
    struct principal_record *row = past->principals;
    struct account_record *account = past->accounts;
    struct balance_record *balance = past->balances;
    switch (damage) {
    case 1:
        ledger->id = 0;
        break;
    case 2:
        ledger->id = past->ledgers[1].id;
        break;
    case 3:
        ledger->flags = 1;
        break;
    case 4:
        ledger->currency[0] = 'x';
        break;
    case 5:
        ledger->name_size = 200;
        break;
    case 6:
        ledger->exponent = 19;
        break;
    case 7:
        ledger->timestamp = past->ledgers[1].timestamp;
        break;
    case 8:
        past->ledgers[1].timestamp = past->checkpoint.stamp + 1;
        break;
    case 9:
        ledger->account_count--;
        break;
    case 10:
        ledger->account_count = UINT32_MAX;
        break;
    case 11:
        ledger->debits_posted_low++;
        break;
    case 12:
        ledger->credits_posted_high++;
        break;
    case 13:
        ledger->debits_pending_low++;
        break;
    case 14:
        past->checkpoint.ledger_count = LEDGERS_MAX + 1;
        break;
    case 15:
        past->checkpoint.principal_count = PRINCIPALS_MAX + 1;
        break;
    case 16:
        row[1].role = ROLE_COUNT;
        break;
    case 17:
        row[1].uri_size = 0;
        break;
    case 18:
        memcpy(row[1].uri, row[0].uri, sizeof row[1].uri);
        row[1].uri_size = row[0].uri_size;
        break;
    case 19:
        row[TEST_CHANNEL_TWIN].name_ordinal = TEST_CHANNEL_TWIN;
        break;
    case 20:
        row[1].reserved_1 = 1;
        break;
    case 21:
        account[3].id = id_of(0);
        break;
    case 22:
        account[3].id = account[2].id;
        break;
    case 23:
        account[3].ledger = 9;
        break;
    case 24:
        account[3].code = 0;
        break;
    case 25:
        account[3].flags = 1 << 15;
        break;
    case 26:
        account[3].flags = 3;
        break;
    case 27:
        account[3].reserved = 1;
        break;
    case 28:
        account[3].timestamp = account[2].timestamp;
        break;
    case 29:
        account[10].timestamp = past->checkpoint.stamp + 1;
        break;
    case 30:
        account[3].ledger = 1; /* was 2: counts do not match */
        break;
    case 31:
        past->account_count--;
        break;
    case 32:
        past->account_count++;
        account[11] = account[10];
        account[11].id = id_of(500);
        account[11].timestamp++;
        balance[11] = (struct balance_record){.last_sequence = SEQUENCE_NONE};
        break;
    case 33:
        balance[8].debits_posted_low--;
        break;
    case 34:
        balance[8].debits_posted_high = UINT64_MAX;
        balance[8].debits_posted_low = UINT64_MAX;
        balance[8].debits_pending_low = 1;
        break;
    case 35:
        balance[10].debits_posted_low = balance[10].credits_posted_low + 1; /* limited account */
        break;
    case 36:
        balance[8].last_sequence = past->checkpoint.transfer_count;
        break;
    case 37:
        balance[8].transfer_count = past->checkpoint.transfer_count + 1;
        break;
    case 38:
        balance[8].transfer_count = 0;
        break;
    case 39:
        balance[3].last_sequence = 0;
        break;
    case 40:
        past->window.request_count++;
        break;
    case 41:
        past->window.answer_bytes++;
        break;
    case 42:
        past->window.bucket[5].answer_bytes = UINT64_MAX;
        break;
    case 43:
        past->window.bucket[5].reserved = 1;
        break;
    case 44:
        past->window.first_bucket = past->checkpoint.stamp / REQUEST_BUCKET_NS + 1;
        break;
    case 45:
        past->checkpoint.request_count = past->window.request_count - 1;
        break;
    case 46:
        past->checkpoint.stamp = UINT64_MAX;
        break;
    case 47:
        past->checkpoint.transfer_count = UINT64_MAX;
        break;
    case 48:
        balance[8].debits_posted_low--; /* as if one side of a posting were lost */
        ledger->debits_posted_low--;
        break;
    default:
        break;
    }
}

Test(restore, every_damage_to_a_checkpoint_is_refused)
{
    for (int damage = 0; damage <= 48; damage++) {
        struct test_bank bank;
        bank_open(&bank);
        move(&bank, 1, 5, 6, 10);
        past_memory_checkpoint(&bank.past, bank.machine);
        damage_checkpoint(&bank.past, damage);
        struct machine *restored = machine_like(&bank, &bank.past);
        cr_expect_eq(past_memory_restore(&bank.past, restored),
                     damage == 0 ? STATUS_OK : STATUS_CORRUPT, "damage %d", damage);
        machine_destroy(restored);
        test_bank_deinit(&bank);
    }
}

/* A checkpoint with more than this node's tables hold. */
Test(restore, a_checkpoint_beyond_the_bounds_is_refused)
{
    struct test_bank bank;
    bank_open(&bank);
    past_memory_checkpoint(&bank.past, bank.machine);
    for (int i = 0; i < 5; i++) {
        struct machine_options options = test_bank_options(&bank);
        if (i == 1)
            options.account_count_max = 10;
        if (i == 2)
            options.ledger_count_max = 1;
        if (i == 3)
            options.principal_count_max = TEST_PRINCIPAL_COUNT - 1;
        if (i == 4)
            options.request_count_max = 5;
        struct ledger_past table = past_memory_table(&bank.past);
        struct machine *machine = NULL;
        cr_assert_eq(machine_create(&options, &table, &machine), STATUS_OK);
        cr_expect_eq(past_memory_restore(&bank.past, machine), i == 0 ? STATUS_OK : STATUS_CORRUPT,
                     "%d", i);
        machine_destroy(machine);
    }
    test_bank_deinit(&bank);
}
