/*
 * CreateLedgers and the table of ledgers. A ledger is a currency, its exponent and a name; its
 * totals are kept with every posting and never summed across ledgers.
 */
#include "core/ledger.h"

#include "core/invariant.h"
#include "core/machine_state.h"
#include "core/text.h"

static uint64_t ledger_hash(const struct ledger_table *table, uint32_t id)
{
    return hash_mix(table->hash_seed ^ id ^ HASH_K0, HASH_K2);
}

uint32_t ledger_table_find(const struct ledger_table *table, uint32_t id)
{
    struct hash_probe probe = hash_index_begin(&table->by_id, ledger_hash(table, id));
    uint32_t position;
    while ((position = hash_index_next(&table->by_id, &probe)) != HASH_INDEX_END) {
        if (table->records[position].id == id)
            return position;
    }
    return LEDGER_POSITION_NONE;
}

void ledger_table_add(struct ledger_table *table, const struct ledger_record *record)
{
    invariant_values(table->count < table->count_max, table->count, table->count_max);
    table->records[table->count] = *record;
    hash_index_add(&table->by_id, ledger_hash(table, record->id), table->count);
    table->count++;
}

/* The ladder's order is the order of the numbers and part of the format. */
uint8_t ledger_check_event(const struct ledger_event *event)
{
    if (event->id == 0)
        return RESULT_ID_ZERO;
    if (event->flags != 0)
        return RESULT_RESERVED_FLAG;
    if (event->reserved != 0)
        return RESULT_RESERVED_FIELD;
    if (event->name_size <= NAME_SIZE_MAX &&
        !bytes_are_zero(event->name + event->name_size, NAME_SIZE_MAX - event->name_size))
        return RESULT_RESERVED_FIELD;
    if (!text_is_currency(event->currency))
        return RESULT_CURRENCY_INVALID;
    if (event->exponent > EXPONENT_MAX)
        return RESULT_EXPONENT_INVALID;
    if (!text_is_name(event->name, event->name_size, NAME_SIZE_MAX))
        return RESULT_NAME_INVALID;
    return RESULT_OK;
}

bool ledger_record_valid(const struct ledger_record *record)
{
    struct ledger_event event = {
        .id = record->id,
        .exponent = record->exponent,
        .name_size = record->name_size,
        .flags = record->flags,
    };
    memcpy(event.currency, record->currency, sizeof event.currency);
    memcpy(event.name, record->name, sizeof event.name);
    return ledger_check_event(&event) == RESULT_OK;
}

static uint8_t ledger_compare(const struct ledger_event *event, const struct ledger_record *old)
{
    invariant(event->flags == old->flags); /* both zero in this version */
    if (memcmp(event->currency, old->currency, sizeof event->currency) != 0)
        return RESULT_EXISTS_WITH_DIFFERENT_CURRENCY;
    if (event->exponent != old->exponent)
        return RESULT_EXISTS_WITH_DIFFERENT_EXPONENT;
    if (event->name_size != old->name_size ||
        memcmp(event->name, old->name, sizeof event->name) != 0)
        return RESULT_EXISTS_WITH_DIFFERENT_NAME;
    return RESULT_EXISTS;
}

uint8_t ledger_create(struct machine *machine, const struct ledger_event *event, uint64_t stamp)
{
    struct ledger_table *ledgers = &machine->ledgers;
    uint8_t result = ledger_check_event(event);
    if (result != RESULT_OK)
        return result;
    uint32_t position = ledger_table_find(ledgers, event->id);
    if (position != LEDGER_POSITION_NONE)
        return ledger_compare(event, &ledgers->records[position]);
    if (ledgers->count == ledgers->count_max)
        return RESULT_LEDGER_TABLE_FULL;

    /* Point of no return. */
    struct ledger_record record = {
        .id = event->id,
        .exponent = event->exponent,
        .name_size = event->name_size,
        .flags = event->flags,
        .timestamp = stamp,
    };
    memcpy(record.currency, event->currency, sizeof record.currency);
    memcpy(record.name, event->name, sizeof record.name);
    ledger_table_add(ledgers, &record);
    return RESULT_OK;
}
