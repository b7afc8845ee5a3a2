/*
 * Growing the account table.
 *
 * The arrays are reserved for the greatest count and touched as they fill. The index is not used at
 * its full capacity from the start: a million accounts scattered over the slots of sixteen million
 * would touch every page of it and miss the TLB at each lookup. It doubles in place when half full
 * and re-enters all accounts from the hot lines, about 15 ms a million, only while accounts are
 * being created.
 */
#include "core/account_table.h"

#include "core/digest.h"
#include "core/invariant.h"

static void account_table_grow(struct account_table *table)
{
    struct hash_index *index = &table->by_id;
    hash_index_clear(index);
    index->capacity *= 2;
    invariant_values(index->capacity <= table->by_id_capacity_max, index->capacity, table->count);
    for (uint32_t ordinal = 0; ordinal < table->count; ordinal++)
        hash_index_add(index, hash_id(table->hash_seed, &table->hot[ordinal].id), ordinal);
}

uint32_t account_table_add(struct account_table *table, const struct account_record *record,
                           const struct balance_record *balance, uint32_t ledger_position)
{
    invariant_values(table->count < table->count_max, table->count, table->count_max);
    if (2 * ((uint64_t)table->count + 1) > table->by_id.capacity)
        account_table_grow(table);

    uint32_t ordinal = table->count;
    u128 digest = digest_balance(ordinal, balance);
    table->cold[ordinal] = *record;
    table->hot[ordinal] = (struct account_hot){
        .balance = *balance,
        .digest_low = u128_low(digest),
        .digest_high = u128_high(digest),
        .id = record->id,
        .ledger_position = ledger_position,
        .flags = record->flags,
    };
    hash_index_add(&table->by_id, hash_id(table->hash_seed, &record->id), ordinal);
    table->count++;
    return ordinal;
}
