/* The principal table: certificate names (URIs), the principal each stands for, and its role. Rows
 * keep their ordinal and their name for ever, because request identity counts by them. */
#ifndef TALLY_CORE_PRINCIPAL_TABLE_H
#define TALLY_CORE_PRINCIPAL_TABLE_H

#include "core/command.h"
#include "core/hash_index.h"
#include "core/record.h"

struct principal_table {
    struct principal_record *rows; /* by ordinal */
    struct hash_index by_uri;
    struct hash_index by_name; /* first row of each name */
    uint64_t hash_seed;
    uint32_t count;
    uint32_t count_max;
    uint32_t site_operator_count; /* rows with that role */
};

/* Ordinals, or ORDINAL_NONE. */
uint32_t principal_table_find_uri(const struct principal_table *table, const char *uri,
                                  size_t size);
uint32_t principal_table_find_name(const struct principal_table *table, const char *name,
                                   size_t size);

/* Appends a row whose URI is not in the table; its name_ordinal is filled in. Invariant: the table
 * is not full. Returns its ordinal. */
uint32_t principal_table_add(struct principal_table *table, const struct principal_record *row);

/* The rungs of the ladder that look at the event alone: RESULT_OK or a number from 20 to 59. */
uint8_t principal_check_event(const struct principal_event *event);

/* What of a row read from disk could have come from a valid event. */
bool principal_record_valid(const struct principal_record *row);

#endif
