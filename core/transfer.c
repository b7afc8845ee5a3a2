/*
 * CreateTransfers, the model of the house: a ladder of checks whose order is the specification, a
 * marked point of no return, then changes that cannot fail.
 *
 * The ladder has three parts. The event alone: such a refusal is the same whatever the state, so
 * nothing is recorded and the id stays free. The id: a repeat is told apart from a clash by the
 * first field that differs. The state: such a refusal might turn out otherwise at another time, so
 * the transfer is recorded as refused and its id is spent. Without that, a client that repeats a
 * refused transfer after a lost answer could move money that it has long given up.
 *
 * Invariants kept here, each checked where it could break:
 *   - posted + pending of either side of an account, and a ledger's totals, stay below 2^128;
 *   - a limited account never passes its limit;
 *   - a ledger's debits equal its credits after every posting.
 *
 * Two-phase, linked, balancing and closing transfers have their flags and fields in the format
 * already; until they arrive such flags are RESULT_RESERVED_FLAG, so a ledger holds no transfer
 * whose meaning changes later. Their rungs go where their numbers are.
 *
 * A batch is walked in groups: first the slots of the hash indexes are fetched into the cache, then
 * the accounts' lines, then the events are judged. At a million accounts nearly every access
 * misses, and this lets the misses of a group overlap.
 */
#include "core/transfer.h"

#include "core/digest.h"
#include "core/invariant.h"
#include "core/machine_state.h"
#include "core/planted_fault.h"

#define GROUP_COUNT 32

struct transfer_hashes {
    uint64_t id;
    uint64_t debit;
    uint64_t credit;
};

/* Whom a transfer is about. What does not exist is NULL, with ordinal ORDINAL_NONE. */
struct transfer_parties {
    struct ledger_record *ledger;
    struct account_hot *debit;
    struct account_hot *credit;
    uint32_t ledger_position;
    uint32_t debit_ordinal;
    uint32_t credit_ordinal;
};

static u128 debits_of(const struct account_hot *account)
{
    const struct balance_record *balance = &account->balance;
    return u128_make(balance->debits_posted_low, balance->debits_posted_high) +
           u128_make(balance->debits_pending_low, balance->debits_pending_high);
}

static u128 credits_of(const struct account_hot *account)
{
    const struct balance_record *balance = &account->balance;
    return u128_make(balance->credits_posted_low, balance->credits_posted_high) +
           u128_make(balance->credits_pending_low, balance->credits_pending_high);
}

/* ---- the event alone ---- */

static bool is_value_date(uint32_t date)
{
    if (date == 0)
        return true;
    uint32_t year = date / 10000;
    uint32_t month = date / 100 % 100;
    uint32_t day = date % 100;
    if (year < 1900 || year > 9999 || month < 1 || month > 12 || day < 1)
        return false;
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day <= days[month - 1] + (uint32_t)(leap && month == 2);
}

/* The ladder's order is the order of the numbers and part of the format. */
static uint8_t transfer_check_event(const struct transfer_event *event)
{
    if (id128_is_zero(&event->id))
        return RESULT_ID_ZERO;
    if (id128_is_max(&event->id))
        return RESULT_ID_MAX;
    if (event->flags != 0)
        return RESULT_RESERVED_FLAG;
    if (event->reserved != 0)
        return RESULT_RESERVED_FIELD;
    if (event->ledger == 0)
        return RESULT_LEDGER_ZERO;
    if (event->code == 0)
        return RESULT_CODE_ZERO;
    if (id128_is_zero(&event->debit_account_id))
        return RESULT_DEBIT_ACCOUNT_ID_ZERO;
    if (id128_is_max(&event->debit_account_id))
        return RESULT_DEBIT_ACCOUNT_ID_MAX;
    if (id128_is_zero(&event->credit_account_id))
        return RESULT_CREDIT_ACCOUNT_ID_ZERO;
    if (id128_is_max(&event->credit_account_id))
        return RESULT_CREDIT_ACCOUNT_ID_MAX;
    if (id128_equal(&event->debit_account_id, &event->credit_account_id))
        return RESULT_ACCOUNTS_SAME;
    if (event->amount_low == 0 && event->amount_high == 0)
        return RESULT_AMOUNT_ZERO;
    if (!id128_is_zero(&event->pending_id))
        return RESULT_PENDING_ID_NOT_ZERO;
    if (event->timeout_s != 0)
        return RESULT_TIMEOUT_NOT_ZERO;
    if (!is_value_date(event->value_date))
        return RESULT_VALUE_DATE_INVALID;
    return RESULT_OK;
}

/* ---- the id ---- */

/* The id is taken by `old`. */
static uint8_t transfer_compare(const struct machine *machine, const struct transfer_event *event,
                                const struct transfer_record *old)
{
    if (old->result != RESULT_OK)
        return RESULT_ID_ALREADY_FAILED;
    const struct account_table *accounts = &machine->accounts;
    invariant_values(old->debit_ordinal < accounts->count, old->debit_ordinal, accounts->count);
    invariant_values(old->credit_ordinal < accounts->count, old->credit_ordinal, accounts->count);
    if (event->flags != old->flags)
        return RESULT_EXISTS_WITH_DIFFERENT_FLAGS;
    if (event->ledger != old->ledger)
        return RESULT_EXISTS_WITH_DIFFERENT_LEDGER;
    if (event->code != old->code)
        return RESULT_EXISTS_WITH_DIFFERENT_CODE;
    if (!id128_equal(&event->debit_account_id, &accounts->hot[old->debit_ordinal].id))
        return RESULT_EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID;
    if (!id128_equal(&event->credit_account_id, &accounts->hot[old->credit_ordinal].id))
        return RESULT_EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID;
    if (event->amount_low != old->amount_low ||
        (event->amount_high != old->amount_high && !planted(PLANTED_CLASH_IN_HIGH_HALF)))
        return RESULT_EXISTS_WITH_DIFFERENT_AMOUNT;
    if (!id128_equal(&event->pending_id, &old->pending_id))
        return RESULT_EXISTS_WITH_DIFFERENT_PENDING_ID;
    if (!id128_equal(&event->user_data_128, &old->user_data_128))
        return RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_128;
    if (event->user_data_64 != old->user_data_64)
        return RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_64;
    if (event->user_data_32 != old->user_data_32)
        return RESULT_EXISTS_WITH_DIFFERENT_USER_DATA_32;
    if (event->timeout_s != old->timeout_s)
        return RESULT_EXISTS_WITH_DIFFERENT_TIMEOUT;
    if (event->value_date != old->value_date)
        return RESULT_EXISTS_WITH_DIFFERENT_VALUE_DATE;
    return RESULT_EXISTS;
}

static uint8_t transfer_check_id(const struct machine *machine, const struct transfer_event *event,
                                 uint64_t hash)
{
    const struct memtable *current = machine_current(machine);
    const struct transfer_record *old = memtable_transfer_find(current, &event->id, hash);
    const struct memtable *frozen = machine_frozen(machine);
    if (old == NULL && frozen != NULL)
        old = memtable_transfer_find(frozen, &event->id, hash);
    if (old != NULL)
        return transfer_compare(machine, event, old);
    struct transfer_record past;
    if (planted(PLANTED_ID_FREE_AFTER_EPOCH))
        return RESULT_OK;
    if (machine->past.transfer_by_id(machine->past.context, &event->id, &past))
        return transfer_compare(machine, event, &past);
    return RESULT_OK;
}

/* ---- the state ---- */

static struct transfer_parties transfer_find_parties(struct machine *machine,
                                                     const struct transfer_event *event,
                                                     const struct transfer_hashes *hashes)
{
    struct account_table *accounts = &machine->accounts;
    struct transfer_parties parties = {
        .ledger_position = ledger_table_find(&machine->ledgers, event->ledger),
        .debit_ordinal = account_table_find(accounts, &event->debit_account_id, hashes->debit),
        .credit_ordinal = account_table_find(accounts, &event->credit_account_id, hashes->credit),
    };
    if (parties.ledger_position != LEDGER_POSITION_NONE)
        parties.ledger = &machine->ledgers.records[parties.ledger_position];
    if (parties.debit_ordinal != ORDINAL_NONE)
        parties.debit = &accounts->hot[parties.debit_ordinal];
    if (parties.credit_ordinal != ORDINAL_NONE)
        parties.credit = &accounts->hot[parties.credit_ordinal];
    return parties;
}

/* The ladder's order is the order of the numbers and part of the format. */
static uint8_t transfer_check_state(const struct transfer_parties *parties, u128 amount)
{
    const struct account_hot *debit = parties->debit;
    const struct account_hot *credit = parties->credit;
    const struct ledger_record *ledger = parties->ledger;
    if (ledger == NULL)
        return RESULT_LEDGER_NOT_FOUND;
    if (debit == NULL)
        return RESULT_DEBIT_ACCOUNT_NOT_FOUND;
    if (credit == NULL)
        return RESULT_CREDIT_ACCOUNT_NOT_FOUND;
    if (debit->ledger_position != credit->ledger_position)
        return RESULT_ACCOUNTS_ON_DIFFERENT_LEDGERS;
    if (debit->ledger_position != parties->ledger_position)
        return RESULT_TRANSFER_ON_OTHER_LEDGER;
    if (amount > U128_MAX - debits_of(debit))
        return RESULT_OVERFLOWS_DEBITS;
    if (amount > U128_MAX - credits_of(credit))
        return RESULT_OVERFLOWS_CREDITS;
    const struct balance_record *debit_balance = &debit->balance;
    if ((debit->flags & ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS) != 0 &&
        debits_of(debit) + amount >
            u128_make(debit_balance->credits_posted_low, debit_balance->credits_posted_high))
        return RESULT_EXCEEDS_CREDITS;
    const struct balance_record *credit_balance = &credit->balance;
    if ((credit->flags & ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS) != 0 &&
        credits_of(credit) + amount >
            u128_make(credit_balance->debits_posted_low, credit_balance->debits_posted_high))
        return RESULT_EXCEEDS_DEBITS;
    if (amount > U128_MAX - u128_make(ledger->debits_posted_low, ledger->debits_posted_high))
        return RESULT_OVERFLOWS_LEDGER;
    return RESULT_OK;
}

/* ---- changes: nothing below can fail ---- */

static void add_to(uint64_t *low, uint64_t *high, u128 amount)
{
    u128 sum = u128_make(*low, *high) + amount;
    invariant_values(sum >= amount, *low, *high);
    *low = u128_low(sum);
    *high = u128_high(sum);
}

/* The limits once more, after the change: what the ladder let through must be within them. */
static void transfer_check_limits(const struct account_hot *account)
{
    const struct balance_record *balance = &account->balance;
    if ((account->flags & ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS) != 0)
        invariant_values(debits_of(account) <=
                             u128_make(balance->credits_posted_low, balance->credits_posted_high),
                         balance->debits_posted_low, balance->credits_posted_low);
    if ((account->flags & ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS) != 0)
        invariant_values(credits_of(account) <=
                             u128_make(balance->debits_posted_low, balance->debits_posted_high),
                         balance->credits_posted_low, balance->debits_posted_low);
}

/* The account's balance was changed by the transfer `sequence`: link it, digest it, mark it. */
static void transfer_touch(struct machine *machine, uint32_t ordinal, uint64_t sequence)
{
    struct account_hot *account = &machine->accounts.hot[ordinal];
    account->balance.last_sequence = sequence;
    account->balance.transfer_count++;
    u128 digest = digest_balance(ordinal, &account->balance);
    machine->digest_sum += digest - u128_make(account->digest_low, account->digest_high);
    account->digest_low = u128_low(digest);
    account->digest_high = u128_high(digest);
    account_table_mark(&machine->accounts, ordinal);
}

static void transfer_post(struct machine *machine, const struct transfer_parties *parties,
                          u128 amount, uint64_t sequence)
{
    struct balance_record *debit = &parties->debit->balance;
    struct balance_record *credit = &parties->credit->balance;
    struct ledger_record *ledger = parties->ledger;
    add_to(&debit->debits_posted_low, &debit->debits_posted_high, amount);
    add_to(&credit->credits_posted_low, &credit->credits_posted_high, amount);
    add_to(&ledger->debits_posted_low, &ledger->debits_posted_high, amount);
    add_to(&ledger->credits_posted_low, &ledger->credits_posted_high, amount);
    invariant_values(ledger->debits_posted_low == ledger->credits_posted_low,
                     ledger->debits_posted_low, ledger->credits_posted_low);
    invariant_values(ledger->debits_posted_high == ledger->credits_posted_high,
                     ledger->debits_posted_high, ledger->credits_posted_high);
    transfer_check_limits(parties->debit);
    transfer_check_limits(parties->credit);
    transfer_touch(machine, parties->debit_ordinal, sequence);
    transfer_touch(machine, parties->credit_ordinal, sequence);
}

static void transfer_record_add(struct machine *machine, const struct transfer_event *event,
                                const struct transfer_parties *parties, uint64_t hash,
                                uint64_t stamp, uint8_t result)
{
    struct transfer_record record = {
        .id = event->id,
        .amount_low = event->amount_low,
        .amount_high = event->amount_high,
        .pending_id = event->pending_id,
        .user_data_128 = event->user_data_128,
        .user_data_64 = event->user_data_64,
        .previous_debit_sequence = SEQUENCE_NONE,
        .previous_credit_sequence = SEQUENCE_NONE,
        .timestamp = stamp,
        .debit_ordinal = parties->debit_ordinal,
        .credit_ordinal = parties->credit_ordinal,
        .user_data_32 = event->user_data_32,
        .timeout_s = event->timeout_s,
        .ledger = event->ledger,
        .code = event->code,
        .flags = event->flags,
        .value_date = event->value_date,
        .result = result,
    };
    if (result == RESULT_OK) {
        record.previous_debit_sequence = parties->debit->balance.last_sequence;
        record.previous_credit_sequence = parties->credit->balance.last_sequence;
    }
    memtable_transfer_add(machine_current_mutable(machine), &record, hash);
    machine->digest_sum += digest_transfer(&record);
}

static uint8_t transfer_create(struct machine *machine, const struct transfer_event *event,
                               const struct transfer_hashes *hashes, uint64_t stamp)
{
    uint8_t result = transfer_check_event(event);
    if (result != RESULT_OK)
        return result;
    result = transfer_check_id(machine, event, hashes->id);
    if (result != RESULT_OK)
        return result;
    u128 amount = u128_make(event->amount_low, event->amount_high);
    struct transfer_parties parties = transfer_find_parties(machine, event, hashes);
    result = transfer_check_state(&parties, amount);
    if (planted(PLANTED_REFUSED_ID_NOT_BURNED) && result != RESULT_OK &&
        (parties.debit == NULL || parties.credit == NULL))
        return result;
    if (result != RESULT_OK)
        invariant_values(result_burns_id(result), result, stamp);

    /* Point of no return. */
    uint64_t sequence = machine->transfer_count;
    transfer_record_add(machine, event, &parties, hashes->id, stamp, result);
    if (result == RESULT_OK)
        transfer_post(machine, &parties, amount, sequence);
    machine->transfer_count++;
    return result;
}

/* ---- a batch ---- */

static void transfer_prefetch_slots(const struct machine *machine,
                                    const struct transfer_event *event,
                                    struct transfer_hashes *out_hashes)
{
    out_hashes->id = hash_id(machine->hash_seed, &event->id);
    out_hashes->debit = hash_id(machine->hash_seed, &event->debit_account_id);
    out_hashes->credit = hash_id(machine->hash_seed, &event->credit_account_id);
    hash_index_prefetch(&machine->accounts.by_id, out_hashes->debit);
    hash_index_prefetch(&machine->accounts.by_id, out_hashes->credit);
    hash_index_prefetch(&machine_current(machine)->transfer_by_id, out_hashes->id);
    const struct memtable *frozen = machine_frozen(machine);
    if (frozen != NULL)
        hash_index_prefetch(&frozen->transfer_by_id, out_hashes->id);
    if (machine->past.transfer_prefetch != NULL)
        machine->past.transfer_prefetch(machine->past.context, &event->id);
}

void transfer_create_batch(struct machine *machine, const struct transfer_event *events,
                           uint32_t count, uint64_t stamp, uint8_t *results)
{
    struct transfer_hashes hashes[GROUP_COUNT];
    for (uint32_t first = 0; first < count; first += GROUP_COUNT) {
        const struct transfer_event *group = events + first;
        uint32_t group_count = count - first < GROUP_COUNT ? count - first : GROUP_COUNT;
        for (uint32_t i = 0; i < group_count; i++)
            transfer_prefetch_slots(machine, &group[i], &hashes[i]);
        for (uint32_t i = 0; i < group_count; i++) {
            account_table_prefetch(&machine->accounts, hashes[i].debit);
            account_table_prefetch(&machine->accounts, hashes[i].credit);
        }
        for (uint32_t i = 0; i < group_count; i++)
            results[first + i] =
                transfer_create(machine, &group[i], &hashes[i],
                                stamp + (planted(PLANTED_STAMPS_BEGIN_AGAIN) ? 0 : first) + i);
    }
}
