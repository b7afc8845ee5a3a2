/*
 * From CSV rows to accounts and transfers: which columns there are, and what each may hold. Pure.
 */
#ifndef TALLY_CLIENT_CLI_COLUMNS_H
#define TALLY_CLIENT_CLI_COLUMNS_H

#include "client/cli/csv.h"
#include "client/tally.h"

#define COLUMNS_MAX         16
#define COLUMNS_REASON_SIZE 200

/* Known names, in the order of the kind's own enum; NULL ends the list. */
struct column_set {
    const char *noun; /* "transfers" */
    const char *names[COLUMNS_MAX];
    uint32_t required; /* bit per name */
};

/* Where each column stands in the rows of one file; -1 = not there. */
struct column_map {
    int place[COLUMNS_MAX];
    uint32_t count; /* fields of the header */
};

struct columns_error {
    char text[512];
};

/* Reads a header row: names in any order, spaces around them ignored, case counts. Unknown,
 * repeated and missing columns are errors that list what is known. */
bool columns_read_header(const struct column_set *set, const struct csv_row *header,
                         struct column_map *out_map, struct columns_error *out_error);

extern const struct column_set transfer_columns;
extern const struct column_set account_columns;

/* What rows do not say themselves. */
struct row_defaults {
    const struct tally_ledger *ledgers; /* all of them: exponents */
    size_t ledger_count;
    uint32_t ledger;       /* where there is no column or an empty field; 0 = none */
    uint32_t code;         /* likewise */
    const uint8_t *digest; /* of the file, 32 bytes: transfers without an id get
                            * SHA-256("tally import 1", digest, line)[0..15] */
};

/* False with the reason when the row is refused; *out is then undefined. */
bool transfer_from_row(const struct column_map *map, const struct row_defaults *defaults,
                       const struct csv_row *row, struct tally_new_transfer *out,
                       char out_reason[COLUMNS_REASON_SIZE]);
bool account_from_row(const struct column_map *map, const struct row_defaults *defaults,
                      const struct csv_row *row, struct tally_new_account *out,
                      char out_reason[COLUMNS_REASON_SIZE]);

/* The id of a row without one. */
void columns_derive_id(const uint8_t digest[32], uint64_t line, struct tally_id *out);
/* A date YYYYMMDD or YYYY-MM-DD; whether it exists is the ledger's to say. */
bool columns_parse_date(const char *text, size_t size, uint32_t *out);
/* A number, or names joined by '|': debits_must_not_exceed_credits, credits_must_not_exceed_debits.
 */
bool columns_parse_flags(const char *text, size_t size, uint32_t *out);

#endif
