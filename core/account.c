/*
 * CreateAccounts. An account belongs to one ledger for ever, may carry one of two limits, and
 * begins with zero balances. Unlike a transfer's, the id of a refused account stays free: nobody
 * waits for an account's outcome under a lost answer with money at stake.
 */
#include "core/account.h"

#include "core/digest.h"
#include "core/invariant.h"
#include "core/machine_state.h"
#include "core/planted_fault.h"

#define ACCOUNT_LIMITS                                                                             \
    (ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS | ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS)

/* The ladder's order is the order of the numbers and part of the format. */
static uint8_t account_check_event(const struct account_event *event)
{
    if (id128_is_zero(&event->id))
        return RESULT_ID_ZERO;
    if (id128_is_max(&event->id))
        return RESULT_ID_MAX;
    if ((event->flags & ~ACCOUNT_LIMITS) != 0)
        return RESULT_RESERVED_FLAG;
    if (event->reserved_0 != 0 || event->reserved_1 != 0)
        return RESULT_RESERVED_FIELD;
    if ((event->flags & ACCOUNT_LIMITS) == ACCOUNT_LIMITS)
        return RESULT_FLAGS_MUTUALLY_EXCLUSIVE;
    if (event->ledger == 0)
        return RESULT_LEDGER_ZERO;
    if (event->code == 0)
        return RESULT_CODE_ZERO;
    return RESULT_OK;
}

bool account_record_valid(const struct account_record *record)
{
    struct account_event event = {
        .id = record->id,
        .ledger = record->ledger,
        .code = record->code,
        .flags = record->flags,
        .reserved_0 = record->reserved,
    };
    return account_check_event(&event) == RESULT_OK;
}

static uint8_t account_compare(const struct account_event *event, const struct account_record *old)
{
    if (event->flags != old->flags)
        return RESULT_EXISTS_WITH_DIFFERENT_FLAGS;
    if (event->ledger != old->ledger)
        return RESULT_EXISTS_WITH_DIFFERENT_LEDGER;
    if (event->code != old->code)
        return RESULT_EXISTS_WITH_DIFFERENT_CODE;
    if (!id128_equal(&event->user_data_128, &old->user_data_128))
        return RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_128;
    if (event->user_data_64 != old->user_data_64)
        return RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_64;
    if (event->user_data_32 != old->user_data_32)
        return RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_32;
    return RESULT_EXISTS;
}

uint8_t account_create(struct machine *machine, const struct account_event *event, uint64_t stamp)
{
    struct account_table *accounts = &machine->accounts;
    uint8_t result = account_check_event(event);
    if (result != RESULT_OK)
        return result;
    uint64_t hash = hash_id(accounts->hash_seed, &event->id);
    uint32_t existing = account_table_find(accounts, &event->id, hash);
    if (existing != ORDINAL_NONE)
        return account_compare(event, &accounts->cold[existing]);
    uint32_t ledger = ledger_table_find(&machine->ledgers, event->ledger);
    if (ledger == LEDGER_POSITION_NONE)
        return RESULT_LEDGER_NOT_FOUND;
    if (accounts->count == accounts->count_max)
        return RESULT_ACCOUNT_TABLE_FULL;

    /* Point of no return. */
    struct account_record record = {
        .id = event->id,
        .user_data_128 = event->user_data_128,
        .user_data_64 = event->user_data_64,
        .timestamp = stamp,
        .user_data_32 = event->user_data_32,
        .ledger = event->ledger,
        .code = event->code,
        .flags = event->flags,
    };
    struct balance_record balance = {.last_sequence = SEQUENCE_NONE};
    uint32_t ordinal = account_table_add(accounts, &record, &balance, ledger);
    if (planted(PLANTED_LIMITS_LOST_AT_CREATION))
        accounts->hot[ordinal].flags = 0;
    account_table_mark(accounts, ordinal);
    machine_touch_image(machine, ordinal, &balance);
    struct account_hot *hot = &accounts->hot[ordinal];
    machine->digest_sum += digest_account(ordinal, &record);
    machine->digest_sum += u128_make(hot->digest_low, hot->digest_high);
    machine->ledgers.records[ledger].account_count++;
    return RESULT_OK;
}
