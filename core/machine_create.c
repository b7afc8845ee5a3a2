/*
 * The machine's memory: every table it will ever use, from options.memory, at the start. Apply
 * never allocates, so it cannot fail for want of memory. Tables are reserved for their greatest
 * size; the allocator gives zeroed memory whose untouched pages cost nothing.
 *
 * Reserved at the default bounds: 128 + 64 + 80 + 4 B per account and 16 to 32 B of index (16 M
 * accounts: 4.6 GiB, of which only what exists is touched), and per epoch memtable 128 B per
 * transfer and 92 B per request with 16 to 32 B of index each, and the answers.
 */
#include "core/invariant.h"
#include "core/machine_state.h"

#define TRIAL_CODES 65536u

/* Accounts for which the index begins; it doubles as they come. */
#define ACCOUNT_INDEX_START 32768u

/* Zeroed memory for `count` things, released by machine_destroy(). NULL when refused. */
static void *machine_reserve(struct machine *machine, uint64_t count, size_t item_size)
{
    invariant_values(machine->region_count < MACHINE_REGIONS_MAX, machine->region_count, item_size);
    if (count > SIZE_MAX / item_size)
        return NULL;
    size_t size = (size_t)count * item_size;
    void *pointer = machine->memory.allocate(machine->memory.context, size);
    if (pointer == NULL)
        return NULL;
    invariant_values((uintptr_t)pointer % 64 == 0, (uintptr_t)pointer, size);
    machine->regions[machine->region_count].pointer = pointer;
    machine->regions[machine->region_count].size = size;
    machine->region_count++;
    return pointer;
}

static bool hash_index_reserve(struct machine *machine, struct hash_index *index,
                               uint64_t count_max)
{
    index->capacity = hash_index_capacity(count_max);
    index->slots = machine_reserve(machine, index->capacity, sizeof index->slots[0]);
    return index->slots != NULL;
}

static bool accounts_reserve(struct machine *machine, uint32_t count_max)
{
    struct account_table *table = &machine->accounts;
    table->hash_seed = machine->hash_seed;
    table->count_max = count_max;
    table->epoch = 1;
    table->hot = machine_reserve(machine, count_max, sizeof table->hot[0]);
    table->cold = machine_reserve(machine, count_max, sizeof table->cold[0]);
    table->changed =
        machine_reserve(machine, ((uint64_t)count_max + 63) / 64, sizeof table->changed[0]);
    if (table->hot == NULL || table->cold == NULL || table->changed == NULL)
        return false;
    if (!hash_index_reserve(machine, &table->by_id, count_max))
        return false;
    table->by_id_capacity_max = table->by_id.capacity;
    if (count_max > ACCOUNT_INDEX_START)
        table->by_id.capacity = hash_index_capacity(ACCOUNT_INDEX_START);
    return true;
}

static bool ledgers_reserve(struct machine *machine, uint32_t count_max)
{
    struct ledger_table *table = &machine->ledgers;
    table->hash_seed = machine->hash_seed;
    table->count_max = count_max;
    table->records = machine_reserve(machine, count_max, sizeof table->records[0]);
    return table->records != NULL && hash_index_reserve(machine, &table->by_id, count_max);
}

static bool principals_reserve(struct machine *machine, uint32_t count_max)
{
    struct principal_table *table = &machine->principals;
    table->hash_seed = machine->hash_seed;
    table->count_max = count_max;
    table->rows = machine_reserve(machine, count_max, sizeof table->rows[0]);
    return table->rows != NULL && hash_index_reserve(machine, &table->by_uri, count_max) &&
           hash_index_reserve(machine, &table->by_name, count_max);
}

static bool memtable_reserve(struct machine *machine, struct memtable *memtable,
                             const struct machine_options *options)
{
    memtable->transfer_count_max = options->epoch_transfer_count_max;
    memtable->request_count_max = options->epoch_request_count_max;
    memtable->answer_bytes_max = options->epoch_answer_bytes_max;
    memtable->transfers =
        machine_reserve(machine, memtable->transfer_count_max, sizeof memtable->transfers[0]);
    memtable->requests =
        machine_reserve(machine, memtable->request_count_max, sizeof memtable->requests[0]);
    memtable->answer_offsets =
        machine_reserve(machine, memtable->request_count_max, sizeof memtable->answer_offsets[0]);
    memtable->answers = machine_reserve(machine, memtable->answer_bytes_max, 1);
    if (memtable->transfers == NULL || memtable->requests == NULL ||
        memtable->answer_offsets == NULL || memtable->answers == NULL)
        return false;
    return hash_index_reserve(machine, &memtable->transfer_by_id, memtable->transfer_count_max) &&
           hash_index_reserve(machine, &memtable->request_by_nonce, memtable->request_count_max);
}

static bool image_reserve(struct machine *machine)
{
    struct epoch_image *image = &machine->image;
    image->balance_ordinals =
        machine_reserve(machine, machine->accounts.count_max, sizeof image->balance_ordinals[0]);
    image->balances =
        machine_reserve(machine, machine->accounts.count_max, sizeof image->balances[0]);
    image->ledgers = machine_reserve(machine, machine->ledgers.count_max, sizeof image->ledgers[0]);
    image->principals =
        machine_reserve(machine, machine->principals.count_max, sizeof image->principals[0]);
    return image->balance_ordinals != NULL && image->balances != NULL && image->ledgers != NULL &&
           image->principals != NULL;
}

static bool totals_reserve(struct machine *machine)
{
    struct restore_totals *totals = &machine->restore;
    u128 *sums = machine_reserve(machine, 4 * (uint64_t)machine->ledgers.count_max, sizeof *sums);
    if (sums == NULL)
        return false;
    totals->debits_posted = sums;
    totals->credits_posted = sums + machine->ledgers.count_max;
    totals->debits_pending = sums + 2 * machine->ledgers.count_max;
    totals->credits_pending = sums + 3 * machine->ledgers.count_max;
    totals->account_counts =
        machine_reserve(machine, machine->ledgers.count_max, sizeof totals->account_counts[0]);
    machine->trial_rows = machine_reserve(machine, TRIAL_CODES, sizeof machine->trial_rows[0]);
    machine->trial_codes =
        machine_reserve(machine, TRIAL_CODES / 64, sizeof machine->trial_codes[0]);
    return totals->account_counts != NULL && machine->trial_rows != NULL &&
           machine->trial_codes != NULL;
}

static bool options_valid(const struct machine_options *options)
{
    return options->account_count_max >= 1 && options->account_count_max <= INT32_MAX &&
           options->ledger_count_max <= LEDGERS_MAX &&
           options->principal_count_max <= PRINCIPALS_MAX &&
           options->epoch_transfer_count_max >= REQUEST_EVENTS_MAX &&
           options->epoch_transfer_count_max <= INT32_MAX &&
           options->epoch_request_count_max >= ENTRY_REQUESTS_MAX &&
           options->epoch_request_count_max <= INT32_MAX &&
           options->epoch_answer_bytes_max >= REQUEST_EVENTS_MAX;
}

enum status machine_create(const struct machine_options *options, const struct ledger_past *past,
                           struct machine **out_machine)
{
    invariant(past->transfer_by_id != NULL);
    invariant(past->transfer_by_sequence != NULL);
    invariant(past->request_by_nonce != NULL);
    if (!options_valid(options))
        return STATUS_INVALID;
    const struct memory *memory = &options->memory;
    struct machine *machine = memory->allocate(memory->context, sizeof *machine);
    if (machine == NULL)
        return STATUS_NO_MEMORY;
    machine->memory = *memory;
    machine->past = *past;
    machine->hash_seed = options->hash_seed;
    machine->request_count_max =
        options->request_count_max != 0 ? options->request_count_max : REQUESTS_MAX;
    machine->request_answer_bytes_max = options->request_answer_bytes_max != 0
                                            ? options->request_answer_bytes_max
                                            : REQUEST_ANSWER_BYTES_MAX;
    uint32_t ledger_count_max =
        options->ledger_count_max != 0 ? options->ledger_count_max : LEDGERS_MAX;
    uint32_t principal_count_max =
        options->principal_count_max != 0 ? options->principal_count_max : PRINCIPALS_MAX;
    if (!accounts_reserve(machine, options->account_count_max) ||
        !ledgers_reserve(machine, ledger_count_max) ||
        !principals_reserve(machine, principal_count_max) ||
        !memtable_reserve(machine, &machine->memtables[0], options) ||
        !memtable_reserve(machine, &machine->memtables[1], options) || !image_reserve(machine) ||
        !totals_reserve(machine)) {
        machine_destroy(machine);
        return STATUS_NO_MEMORY;
    }
    *out_machine = machine;
    return STATUS_OK;
}

void machine_destroy(struct machine *machine)
{
    if (machine == NULL)
        return;
    struct memory memory = machine->memory;
    for (uint32_t i = machine->region_count; i > 0; i--)
        memory.release(memory.context, machine->regions[i - 1].pointer,
                       machine->regions[i - 1].size);
    memory.release(memory.context, machine, sizeof *machine);
}
