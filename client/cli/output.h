/*
 * What `tally` prints: aligned tables for people, JSON for programs. In JSON every number that may
 * pass 2^53 (ids, amounts, indexes, timestamps) is a string, as in protobuf's JSON mapping.
 */
#ifndef TALLY_CLIENT_CLI_OUTPUT_H
#define TALLY_CLIENT_CLI_OUTPUT_H

#include "client/tally.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define TABLE_COLUMNS_MAX 12

struct table;

struct table_column {
    const char *heading; /* static */
    bool right;          /* numbers */
};
/* NULL when out of memory; everything below accepts NULL and then prints that. */
struct table *table_create(const struct table_column *columns, size_t count);
/* `cells` has `count` strings, copied; control characters become '?'. */
void table_row(struct table *table, const char *const *cells);
/* Prints and frees. */
void table_print(struct table *table);

/* Prints the document and a newline, and releases it. NULL (out of memory while it was built) is
 * reported on stderr and counted as an output error. */
void output_json(json_t *document);
/* One line, without spaces. */
void output_json_line(json_t *document);
/* Flushes stdout; false when anything could not be written. */
bool output_finish(void);

/* Longest "2026-11-22T01:50:00.123456789Z". "-" for 0. */
#define OUTPUT_TIME_SIZE 40
void output_time(uint64_t timestamp_ns, char out[OUTPUT_TIME_SIZE]);

#define OUTPUT_NUMBER_SIZE 24
const char *output_number(uint64_t value, char out[OUTPUT_NUMBER_SIZE]);

/* "12.34 EUR" */
#define OUTPUT_MONEY_SIZE (TALLY_AMOUNT_SIZE + 8)
const char *output_money(const struct tally_amount *amount, const struct tally_ledger *ledger,
                         char out[OUTPUT_MONEY_SIZE]);
/* Balance of an account as people read it: the larger side minus the smaller, "DR" or "CR". */
const char *output_balance(const struct tally_amount *debits, const struct tally_amount *credits,
                           const struct tally_ledger *ledger, char out[OUTPUT_MONEY_SIZE]);
/* "2026-11-22", "-" for 0. */
const char *output_date(uint32_t value_date, char out[16]);
/* Names of account flags joined by '|', "-" for none. */
#define OUTPUT_FLAGS_SIZE 96
const char *output_flags(uint32_t flags, char out[OUTPUT_FLAGS_SIZE]);

/* JSON values. */
json_t *output_u64(uint64_t value);
json_t *output_id(const struct tally_id *id);
json_t *output_bytes(const uint8_t *bytes, size_t size); /* hex */
/* {"amount": "12.34", "minor": "1234"}; without a ledger only "minor". */
json_t *output_amount(const struct tally_amount *amount, const struct tally_ledger *ledger);

json_t *output_ledger(const struct tally_ledger *ledger);

#endif
