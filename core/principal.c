/*
 * SetPrincipals and the principal table.
 *
 * A row says: a certificate with this URI speaks for the principal of this name, in this role. Rows
 * are set, never deleted: ROLE_NONE disables one. A row keeps its name, since remembered requests
 * belong to the ordinal of the name's first row, and a renamed row would inherit or lose requests
 * of somebody else; an instance that moves to another principal gets a certificate with another
 * URI.
 */
#include "core/principal.h"

#include "core/digest.h"
#include "core/invariant.h"
#include "core/machine_state.h"
#include "core/planted_fault.h"
#include "core/text.h"

uint32_t principal_table_find_uri(const struct principal_table *table, const char *uri, size_t size)
{
    uint64_t hash = hash_bytes(table->hash_seed, uri, size);
    struct hash_probe probe = hash_index_begin(&table->by_uri, hash);
    uint32_t ordinal;
    while ((ordinal = hash_index_next(&table->by_uri, &probe)) != HASH_INDEX_END) {
        const struct principal_record *row = &table->rows[ordinal];
        if (row->uri_size == size && memcmp(row->uri, uri, size) == 0)
            return ordinal;
    }
    return ORDINAL_NONE;
}

uint32_t principal_table_find_name(const struct principal_table *table, const char *name,
                                   size_t size)
{
    uint64_t hash = hash_bytes(table->hash_seed, name, size);
    struct hash_probe probe = hash_index_begin(&table->by_name, hash);
    uint32_t ordinal;
    while ((ordinal = hash_index_next(&table->by_name, &probe)) != HASH_INDEX_END) {
        const struct principal_record *row = &table->rows[ordinal];
        if (row->name_size == size && memcmp(row->name, name, size) == 0)
            return ordinal;
    }
    return ORDINAL_NONE;
}

uint32_t principal_table_add(struct principal_table *table, const struct principal_record *row)
{
    invariant_values(table->count < table->count_max, table->count, table->count_max);
    uint32_t ordinal = table->count;
    uint32_t name_ordinal = principal_table_find_name(table, row->name, row->name_size);
    table->rows[ordinal] = *row;
    if (name_ordinal == ORDINAL_NONE) {
        name_ordinal = ordinal;
        hash_index_add(&table->by_name, hash_bytes(table->hash_seed, row->name, row->name_size),
                       ordinal);
    }
    table->rows[ordinal].name_ordinal = name_ordinal;
    hash_index_add(&table->by_uri, hash_bytes(table->hash_seed, row->uri, row->uri_size), ordinal);
    if (row->role == ROLE_SITE_OPERATOR)
        table->site_operator_count++;
    table->count++;
    return ordinal;
}

/* The ladder's order is the order of the numbers and part of the format. */
uint8_t principal_check_event(const struct principal_event *event)
{
    if (event->reserved_0 != 0)
        return RESULT_RESERVED_FIELD;
    if (event->name_size <= NAME_SIZE_MAX &&
        !bytes_are_zero(event->name + event->name_size, NAME_SIZE_MAX - event->name_size))
        return RESULT_RESERVED_FIELD;
    if (!bytes_are_zero(event->uri + event->uri_size, sizeof event->uri - event->uri_size))
        return RESULT_RESERVED_FIELD;
    if (!text_is_name(event->name, event->name_size, NAME_SIZE_MAX))
        return RESULT_NAME_INVALID;
    if (!text_is_uri(event->uri, event->uri_size, URI_SIZE_MAX))
        return RESULT_URI_INVALID;
    if (event->role >= ROLE_COUNT)
        return RESULT_ROLE_INVALID;
    return RESULT_OK;
}

bool principal_record_valid(const struct principal_record *row)
{
    struct principal_event event = {
        .role = row->role,
        .uri_size = row->uri_size,
        .name_size = row->name_size,
        .reserved_0 = row->reserved_0,
    };
    memcpy(event.name, row->name, sizeof event.name);
    memcpy(event.uri, row->uri, sizeof event.uri);
    return row->reserved_1 == 0 && principal_check_event(&event) == RESULT_OK;
}

static bool principal_same_name(const struct principal_event *event,
                                const struct principal_record *row)
{
    return event->name_size == row->name_size &&
           memcmp(event->name, row->name, sizeof event->name) == 0;
}

uint8_t principal_set(struct machine *machine, const struct principal_event *event)
{
    struct principal_table *table = &machine->principals;
    uint8_t result = principal_check_event(event);
    if (result != RESULT_OK)
        return result;
    uint32_t ordinal = principal_table_find_uri(table, event->uri, event->uri_size);
    if (ordinal != ORDINAL_NONE) {
        const struct principal_record *row = &table->rows[ordinal];
        if (!principal_same_name(event, row))
            return RESULT_EXISTS_WITH_DIFFERENT_NAME;
        if (row->role == ROLE_SITE_OPERATOR && event->role != ROLE_SITE_OPERATOR &&
            table->site_operator_count == 1)
            return RESULT_LAST_SITE_OPERATOR;
    } else if (table->count == table->count_max) {
        return RESULT_PRINCIPAL_TABLE_FULL;
    }

    /* Point of no return. */
    if (ordinal == ORDINAL_NONE) {
        struct principal_record row = {
            .role = event->role,
            .uri_size = event->uri_size,
            .name_size = event->name_size,
            .in_flight_max = event->in_flight_max,
        };
        memcpy(row.name, event->name, sizeof row.name);
        memcpy(row.uri, event->uri, sizeof row.uri);
        ordinal = principal_table_add(table, &row);
    } else {
        struct principal_record *row = &table->rows[ordinal];
        machine->digest_sum -= digest_principal(ordinal, row);
        if (!planted(PLANTED_OPERATOR_COUNT_STALE))
            table->site_operator_count -= row->role == ROLE_SITE_OPERATOR;
        row->role = event->role;
        row->in_flight_max = event->in_flight_max;
        table->site_operator_count += row->role == ROLE_SITE_OPERATOR;
    }
    machine->digest_sum += digest_principal(ordinal, &table->rows[ordinal]);
    return RESULT_OK;
}
