/*
 * The trial balance: sums over the accounts of one ledger, made anew from every balance and
 * compared with the totals that were kept with each posting. It is the check an accountant would
 * make, and shares nothing with the running totals but the balances.
 */
#include "core/machine_state.h"

#define TRIAL_WORDS (65536u / 64)

static void trial_add(struct trial_balance_row *row, const struct balance_record *balance)
{
    row->account_count++;
    row->debits_posted += u128_make(balance->debits_posted_low, balance->debits_posted_high);
    row->credits_posted += u128_make(balance->credits_posted_low, balance->credits_posted_high);
    row->debits_pending += u128_make(balance->debits_pending_low, balance->debits_pending_high);
    row->credits_pending += u128_make(balance->credits_pending_low, balance->credits_pending_high);
}

static void trial_gather(const struct machine *machine, uint32_t ledger)
{
    const struct account_table *accounts = &machine->accounts;
    memset(machine->trial_codes, 0, TRIAL_WORDS * sizeof machine->trial_codes[0]);
    for (uint32_t ordinal = 0; ordinal < accounts->count; ordinal++) {
        if (accounts->cold[ordinal].ledger != ledger)
            continue;
        uint16_t code = accounts->cold[ordinal].code;
        struct trial_balance_row *row = &machine->trial_rows[code];
        uint64_t bit = (uint64_t)1 << (code % 64);
        if ((machine->trial_codes[code / 64] & bit) == 0) {
            machine->trial_codes[code / 64] |= bit;
            *row = (struct trial_balance_row){.code = code};
        }
        trial_add(row, &accounts->hot[ordinal].balance);
    }
}

static bool trial_matches(const struct trial_balance_row *sum, const struct ledger_record *ledger)
{
    return sum->account_count == ledger->account_count &&
           sum->debits_posted == sum->credits_posted &&
           sum->debits_pending == sum->credits_pending &&
           sum->debits_posted == u128_make(ledger->debits_posted_low, ledger->debits_posted_high) &&
           sum->credits_posted ==
               u128_make(ledger->credits_posted_low, ledger->credits_posted_high) &&
           sum->debits_pending ==
               u128_make(ledger->debits_pending_low, ledger->debits_pending_high) &&
           sum->credits_pending ==
               u128_make(ledger->credits_pending_low, ledger->credits_pending_high);
}

bool machine_trial_balance(const struct machine *machine, uint32_t ledger,
                           void (*row)(void *context, const struct trial_balance_row *row),
                           void *context, bool *out_balanced)
{
    uint32_t position = ledger_table_find(&machine->ledgers, ledger);
    if (position == LEDGER_POSITION_NONE)
        return false;
    trial_gather(machine, ledger);
    struct trial_balance_row sum = {0};
    for (uint32_t i = 0; i < TRIAL_WORDS; i++) {
        for (uint64_t word = machine->trial_codes[i]; word != 0; word &= word - 1) {
            uint32_t code = i * 64 + (uint32_t)__builtin_ctzll(word);
            const struct trial_balance_row *one = &machine->trial_rows[code];
            sum.account_count += one->account_count;
            sum.debits_posted += one->debits_posted;
            sum.credits_posted += one->credits_posted;
            sum.debits_pending += one->debits_pending;
            sum.credits_pending += one->credits_pending;
            row(context, one);
        }
    }
    *out_balanced = trial_matches(&sum, &machine->ledgers.records[position]);
    return true;
}
