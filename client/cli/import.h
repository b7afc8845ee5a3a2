/*
 * Import of a CSV file: bounded memory, several requests in flight, results in file order.
 */
#ifndef TALLY_CLIENT_CLI_IMPORT_H
#define TALLY_CLIENT_CLI_IMPORT_H

#include "client/cli/cli.h"

#define IMPORT_IN_FLIGHT_MAX 16

struct import_options {
    const char *path; /* "-" = standard input */
    const char *rejects_path;
    uint32_t ledger, code;  /* of rows that name none; 0 = every row must */
    uint32_t batch_count;   /* 0 = 8190 */
    uint32_t in_flight_max; /* 0 = 1: rows execute in file order */
    bool last_line_is_complete;
    bool quiet;
};

struct import_kind;
extern const struct import_kind import_transfers;
extern const struct import_kind import_accounts;

/* Connects, imports, prints the summary. Returns the command's exit code. */
int import_run(struct cli *cli, const struct import_kind *kind,
               const struct import_options *options);

#endif
