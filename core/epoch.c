/*
 * Epochs: handing what changed to the checkpoint without stopping apply.
 *
 * There are two memtables. Freezing closes the current one and makes the other, which is empty, the
 * current; what else the checkpoint needs (balances that changed, ledgers, principals, the request
 * window) is copied, since apply goes on changing it. New accounts are not copied: their cold
 * records never change. Until release the frozen memtable still answers lookups, so nothing is ever
 * in neither place; release comes after the checkpoint can be read through ledger_past.
 *
 * The pause is the copy of changed balances: about 15 ns each, they are scattered over RAM.
 */
#include "core/invariant.h"
#include "core/machine_state.h"
#include "core/planted_fault.h"

/* Copies changed balances in ascending order of ordinals, and forgets that they changed. */
static uint32_t freeze_balances(struct account_table *accounts, struct epoch_image *image)
{
    uint32_t count = 0;
    uint32_t word_count = account_table_changed_words(accounts);
    for (uint32_t i = 0; i < word_count; i++) {
        uint64_t word = accounts->changed[i];
        accounts->changed[i] = 0;
        for (; word != 0; word &= word - 1) {
            uint32_t ordinal = i * 64 + (uint32_t)__builtin_ctzll(word);
            image->balance_ordinals[count] = ordinal;
            image->balances[count] = accounts->hot[ordinal].balance;
            count++;
        }
    }
    accounts->epoch++;
    return count;
}

const struct epoch *machine_freeze(struct machine *machine)
{
    invariant(!machine->frozen);
    invariant(machine->phase == MACHINE_EMPTY || machine->phase == MACHINE_RUNNING);
    struct epoch_image *image = &machine->image;
    const struct memtable *closed = machine_current(machine);
    invariant_values(closed->transfer_first + closed->transfer_count == machine->transfer_count,
                     closed->transfer_first, machine->transfer_count);
    invariant_values(closed->request_first + closed->request_count == machine->request_count,
                     closed->request_first, machine->request_count);

    memcpy(image->ledgers, machine->ledgers.records,
           machine->ledgers.count * sizeof image->ledgers[0]);
    memcpy(image->principals, machine->principals.rows,
           machine->principals.count * sizeof image->principals[0]);
    image->window = machine->window;
    image->epoch = (struct epoch){
        .applied_index = machine->applied_index,
        .applied_term = machine->applied_term,
        .stamp = machine->stamp,
        .transfer_first = closed->transfer_first,
        .transfer_count = closed->transfer_count,
        .transfers = closed->transfers,
        .account_first = machine->epoch_account_first,
        .account_count = machine->accounts.count - machine->epoch_account_first,
        .accounts = machine->accounts.cold + machine->epoch_account_first,
        .balance_count = freeze_balances(&machine->accounts, image),
        .balance_ordinals = image->balance_ordinals,
        .balances = image->balances,
        .request_first = closed->request_first,
        .request_count = closed->request_count,
        .requests = closed->requests,
        .answer_offsets = closed->answer_offsets,
        .answers = closed->answers,
        .answer_bytes = closed->answer_bytes,
        .ledger_count = machine->ledgers.count,
        .ledgers =
            planted(PLANTED_EPOCH_SHARES_LEDGERS) ? machine->ledgers.records : image->ledgers,
        .principal_count = machine->principals.count,
        .principals = image->principals,
        .request_window = &image->window,
    };
    machine_digest(machine, image->epoch.digest);

    machine->epoch_account_first = machine->accounts.count;
    machine->current = 1 - machine->current;
    memtable_clear(machine_current_mutable(machine), machine->transfer_count,
                   machine->request_count);
    machine->frozen = true;
    if (planted(PLANTED_FROZEN_CLEARED_EARLY))
        memtable_clear(&machine->memtables[1 - machine->current], 0, 0);
    return &image->epoch;
}

bool machine_is_frozen(const struct machine *machine)
{
    return machine->frozen;
}

void machine_release_epoch(struct machine *machine)
{
    invariant(machine->frozen);
    memtable_clear(&machine->memtables[1 - machine->current], 0, 0);
    machine->frozen = false;
}
