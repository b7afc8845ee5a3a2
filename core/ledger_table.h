/* The ledgers, by position (order of creation) and by id, with their running totals. */
#ifndef TALLY_CORE_LEDGER_TABLE_H
#define TALLY_CORE_LEDGER_TABLE_H

#include "core/command.h"
#include "core/hash_index.h"
#include "core/record.h"

#define LEDGER_POSITION_NONE UINT32_MAX

struct ledger_table {
    struct ledger_record *records;
    struct hash_index by_id;
    uint64_t hash_seed;
    uint32_t count;
    uint32_t count_max;
};

/* Position of the ledger, or LEDGER_POSITION_NONE. */
uint32_t ledger_table_find(const struct ledger_table *table, uint32_t id);

/* Appends a ledger whose id is not in the table. Invariant: the table is not full. */
void ledger_table_add(struct ledger_table *table, const struct ledger_record *record);

/* The rungs of the ladder that look at the event alone: RESULT_OK or a number from 20 to 59. */
uint8_t ledger_check_event(const struct ledger_event *event);

/* What of a record read from disk could have come from a valid event. */
bool ledger_record_valid(const struct ledger_record *record);

#endif
