/*
 * Taking over a checkpoint.
 *
 * The records come from disk, so each is judged as strictly as the event that once made it, and the
 * whole by accounting: the sums over accounts must be the ledgers' running totals, and debits must
 * be credits. Anything that does not fit is STATUS_CORRUPT, after which the machine can only be
 * destroyed. Storage has checked its checksums already; this is the second lock on the same door.
 *
 * The digest of the checkpoint is taken over, since transfers and requests, which are most of it,
 * are not read again; the ledgers' part is taken out because it is added at the moment of asking.
 */
#include "core/account.h"
#include "core/digest.h"
#include "core/invariant.h"
#include "core/machine_state.h"
#include "core/planted_fault.h"
#include "core/request_window.h"

static enum status refuse(struct machine *machine)
{
    machine->phase = MACHINE_REFUSED;
    return STATUS_CORRUPT;
}

static bool restore_ledgers(struct machine *machine, const struct machine_checkpoint *checkpoint)
{
    struct ledger_table *table = &machine->ledgers;
    if (checkpoint->ledger_count > table->count_max)
        return false;
    uint64_t last_timestamp = 0;
    uint64_t account_count = 0;
    for (uint32_t i = 0; i < checkpoint->ledger_count; i++) {
        const struct ledger_record *record = &checkpoint->ledgers[i];
        if (!ledger_record_valid(record))
            return false;
        if (ledger_table_find(table, record->id) != LEDGER_POSITION_NONE)
            return false;
        if (record->timestamp <= last_timestamp || record->timestamp > checkpoint->stamp)
            return false;
        last_timestamp = record->timestamp;
        account_count += record->account_count;
        ledger_table_add(table, record);
    }
    machine->restore.account_count = account_count;
    return account_count <= machine->accounts.count_max;
}

static bool restore_principals(struct machine *machine, const struct machine_checkpoint *checkpoint)
{
    struct principal_table *table = &machine->principals;
    if (checkpoint->principal_count > table->count_max)
        return false;
    for (uint32_t i = 0; i < checkpoint->principal_count; i++) {
        const struct principal_record *row = &checkpoint->principals[i];
        if (!principal_record_valid(row))
            return false;
        if (principal_table_find_uri(table, row->uri, row->uri_size) != ORDINAL_NONE)
            return false;
        uint32_t ordinal = principal_table_add(table, row);
        if (table->rows[ordinal].name_ordinal != row->name_ordinal)
            return false;
    }
    return true;
}

enum status machine_restore_begin(struct machine *machine,
                                  const struct machine_checkpoint *checkpoint)
{
    invariant_values(machine->phase == MACHINE_EMPTY, machine->phase, machine->applied_index);
    invariant_values(machine->accounts.count == 0, machine->accounts.count, 0);
    machine->phase = MACHINE_RESTORING;
    /* Entries begin at STAMP_MAX at the latest, but ledger time goes on from there. */
    if (checkpoint->stamp > STAMP_MAX + STAMP_MAX / 2)
        return refuse(machine);
    if (checkpoint->transfer_count == SEQUENCE_NONE)
        return refuse(machine);
    if (!request_window_valid(checkpoint->request_window, checkpoint->stamp))
        return refuse(machine);
    if (checkpoint->request_window->request_count > checkpoint->request_count)
        return refuse(machine);
    if (checkpoint->request_window->request_count > machine->request_count_max ||
        checkpoint->request_window->answer_bytes > machine->request_answer_bytes_max)
        return refuse(machine);
    if (!restore_ledgers(machine, checkpoint) || !restore_principals(machine, checkpoint))
        return refuse(machine);

    machine->applied_index = checkpoint->applied_index;
    machine->applied_term = checkpoint->applied_term;
    machine->stamp = checkpoint->stamp;
    machine->transfer_count = checkpoint->transfer_count;
    machine->request_count = checkpoint->request_count;
    if (!planted(PLANTED_WINDOW_COUNT_LOST))
        machine->window = *checkpoint->request_window;
    memcpy(&machine->restore.digest, checkpoint->digest, sizeof machine->restore.digest);
    memtable_clear(machine_current_mutable(machine), machine->transfer_count,
                   machine->request_count);
    return STATUS_OK;
}

/* *sum += amount; false when it passes 2^128 - 1. */
static bool add_checked(u128 *sum, uint64_t low, uint64_t high)
{
    u128 amount = u128_make(low, high);
    if (amount > U128_MAX - *sum)
        return false;
    *sum += amount;
    return true;
}

static bool balance_valid(const struct balance_record *balance, uint16_t flags,
                          uint64_t transfer_count)
{
    u128 debits_posted = u128_make(balance->debits_posted_low, balance->debits_posted_high);
    u128 credits_posted = u128_make(balance->credits_posted_low, balance->credits_posted_high);
    u128 debits = debits_posted;
    u128 credits = credits_posted;
    if (!add_checked(&debits, balance->debits_pending_low, balance->debits_pending_high) ||
        !add_checked(&credits, balance->credits_pending_low, balance->credits_pending_high))
        return false;
    if ((flags & ACCOUNT_DEBITS_MUST_NOT_EXCEED_CREDITS) != 0 && debits > credits_posted)
        return false;
    if ((flags & ACCOUNT_CREDITS_MUST_NOT_EXCEED_DEBITS) != 0 && credits > debits_posted)
        return false;
    if (balance->transfer_count == 0)
        return balance->last_sequence == SEQUENCE_NONE && debits == 0 && credits == 0;
    return balance->last_sequence < transfer_count && balance->transfer_count <= transfer_count;
}

enum status machine_restore_account(struct machine *machine, const struct account_record *record,
                                    const struct balance_record *balance)
{
    invariant_values(machine->phase == MACHINE_RESTORING, machine->phase, 0);
    struct account_table *accounts = &machine->accounts;
    struct restore_totals *totals = &machine->restore;
    if (accounts->count == accounts->count_max || accounts->count >= totals->account_count)
        return refuse(machine);
    if (!account_record_valid(record))
        return refuse(machine);
    if (record->timestamp <= totals->last_timestamp || record->timestamp > machine->stamp)
        return refuse(machine);
    uint32_t ledger = ledger_table_find(&machine->ledgers, record->ledger);
    if (ledger == LEDGER_POSITION_NONE)
        return refuse(machine);
    uint64_t hash = hash_id(accounts->hash_seed, &record->id);
    if (account_table_find(accounts, &record->id, hash) != ORDINAL_NONE)
        return refuse(machine);
    if (!balance_valid(balance, record->flags, machine->transfer_count))
        return refuse(machine);
    if (!add_checked(&totals->debits_posted[ledger], balance->debits_posted_low,
                     balance->debits_posted_high) ||
        !add_checked(&totals->credits_posted[ledger], balance->credits_posted_low,
                     balance->credits_posted_high) ||
        !add_checked(&totals->debits_pending[ledger], balance->debits_pending_low,
                     balance->debits_pending_high) ||
        !add_checked(&totals->credits_pending[ledger], balance->credits_pending_low,
                     balance->credits_pending_high))
        return refuse(machine);
    totals->account_counts[ledger]++;
    totals->last_timestamp = record->timestamp;
    uint32_t ordinal = account_table_add(accounts, record, balance, ledger);
    machine_touch_image(machine, ordinal, balance);
    if (planted(PLANTED_LIMITS_LOST_AT_RESTART))
        accounts->hot[ordinal].flags = 0;
    return STATUS_OK;
}

static bool ledger_adds_up(const struct restore_totals *totals, uint32_t position,
                           const struct ledger_record *ledger)
{
    u128 debits_posted = u128_make(ledger->debits_posted_low, ledger->debits_posted_high);
    u128 credits_posted = u128_make(ledger->credits_posted_low, ledger->credits_posted_high);
    u128 debits_pending = u128_make(ledger->debits_pending_low, ledger->debits_pending_high);
    u128 credits_pending = u128_make(ledger->credits_pending_low, ledger->credits_pending_high);
    return totals->account_counts[position] == ledger->account_count &&
           totals->debits_posted[position] == debits_posted &&
           totals->credits_posted[position] == credits_posted &&
           totals->debits_pending[position] == debits_pending &&
           totals->credits_pending[position] == credits_pending &&
           debits_posted == credits_posted && debits_pending == credits_pending;
}

static bool no_request(void *context, uint32_t name, const uint8_t *nonce,
                       struct request_record *out, uint8_t *answer)
{
    (void)context, (void)name, (void)nonce, (void)out, (void)answer;
    return false;
}

enum status machine_restore_end(struct machine *machine)
{
    if (planted(PLANTED_WINDOW_LOST_AT_SNAPSHOT))
        machine->past.request_by_nonce = no_request;
    invariant_values(machine->phase == MACHINE_RESTORING, machine->phase, 0);
    if (machine->accounts.count != machine->restore.account_count)
        return refuse(machine);
    for (uint32_t i = 0; i < machine->ledgers.count; i++) {
        if (!ledger_adds_up(&machine->restore, i, &machine->ledgers.records[i]))
            return refuse(machine);
    }
    machine->digest_sum = machine->restore.digest - machine_ledgers_digest(machine);
    machine->epoch_account_first = machine->accounts.count;
    machine->phase = MACHINE_RUNNING;
    return STATUS_OK;
}
