/*
 * All accounts, by ordinal and by id. What a transfer touches is one hot line of 128 B per account
 * (balance, its digest, limits); the rest is cold and never changes after creation.
 */
#ifndef TALLY_CORE_ACCOUNT_TABLE_H
#define TALLY_CORE_ACCOUNT_TABLE_H

#include "core/hash_index.h"
#include "core/record.h"

#include <stdbool.h>

struct account_hot {
    struct balance_record balance;
    uint64_t digest_low; /* contribution of `balance` to the replica digest */
    uint64_t digest_high;
    struct id128 id;
    uint32_t ledger_position;
    uint32_t changed_in; /* account_table.epoch when it last changed */
    uint16_t flags;
    uint16_t reserved[3];
};

_Static_assert(sizeof(struct account_hot) == 128, "two cache lines");

struct account_table {
    struct account_hot *hot;     /* aligned to 64 */
    struct account_record *cold; /* by ordinal: a run of it is an epoch's new accounts */
    uint64_t *changed;           /* one bit per ordinal: changed since the last freeze */
    struct hash_index by_id;
    uint64_t by_id_capacity_max;
    uint64_t hash_seed;
    uint32_t count;
    uint32_t count_max;
    uint32_t epoch; /* from 1; counts freezes */
};

/* Ordinal of the account, or ORDINAL_NONE. `hash` is hash_id(table->hash_seed, id). */
static inline uint32_t account_table_find(const struct account_table *table, const struct id128 *id,
                                          uint64_t hash)
{
    struct hash_probe probe = hash_index_begin(&table->by_id, hash);
    uint32_t ordinal;
    while ((ordinal = hash_index_next(&table->by_id, &probe)) != HASH_INDEX_END) {
        if (id128_equal(&table->hot[ordinal].id, id))
            return ordinal;
    }
    return ORDINAL_NONE;
}

/* Fetches the hot line that account_table_find() would look at, whose slot is in the cache. */
static inline void account_table_prefetch(const struct account_table *table, uint64_t hash)
{
    struct hash_probe probe = hash_index_begin(&table->by_id, hash);
    uint32_t ordinal = hash_index_next(&table->by_id, &probe);
    if (ordinal != HASH_INDEX_END) {
        __builtin_prefetch(&table->hot[ordinal], 1);
        __builtin_prefetch(&table->hot[ordinal].id, 1);
    }
}

/* To be called whenever hot[ordinal].balance changes. */
static inline void account_table_mark(struct account_table *table, uint32_t ordinal)
{
    struct account_hot *hot = &table->hot[ordinal];
    if (hot->changed_in == table->epoch)
        return;
    hot->changed_in = table->epoch;
    table->changed[ordinal / 64] |= (uint64_t)1 << (ordinal % 64);
}

/* Appends an account whose id is not in the table. Invariant: the table is not full. Does not mark
 * it changed. Returns its ordinal. */
uint32_t account_table_add(struct account_table *table, const struct account_record *record,
                           const struct balance_record *balance, uint32_t ledger_position);

/* Words of `changed` in use. */
static inline uint32_t account_table_changed_words(const struct account_table *table)
{
    return (table->count + 63) / 64;
}

#endif
