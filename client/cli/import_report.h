/*
 * What an import says: progress while it runs, rejected rows in file order, a summary at the end.
 */
#ifndef TALLY_CLIENT_CLI_IMPORT_REPORT_H
#define TALLY_CLIENT_CLI_IMPORT_REPORT_H

#include "client/cli/columns.h"
#include "client/cli/input.h"

#include <stdio.h>

struct import_place {
    uint64_t line, offset, size; /* of the row in the file */
};

struct import_reject {
    struct import_place place;
    char reason[COLUMNS_REASON_SIZE];
};

struct import_report {
    const char *noun;
    const struct input *input;
    bool quiet, is_terminal, line_open;
    uint64_t row_count, posted_count, existing_count, rejected_count, unknown_count,
        not_executed_count;
    uint64_t undecided_first, undecided_last; /* lines */
    uint64_t begun_ns, shown_ns, longest_wait_ns;
    FILE *rejects; /* NULL: stderr */
    char *row;     /* room for one line and its quoted form */
    bool failed;   /* a rejected row could not be written */
};

void import_report_init(struct import_report *report, const char *noun, const struct input *input,
                        bool quiet);
/* Opens the rejects file (path may be NULL), replacing an older one, but never the input itself.
 * False after a message. */
bool import_report_begin(struct import_report *report, const char *rejects_path);

void import_report_reject(struct import_report *report, const struct import_reject *reject);
/* `original`: what an ID_ALREADY_FAILED was refused with; 0 = not known. */
void import_report_result(struct import_report *report, const struct import_place *place,
                          uint8_t result, uint8_t original);
/* A row whose request did not execute, or (`unknown`) perhaps did. */
void import_report_undecided(struct import_report *report, const struct import_place *place,
                             bool unknown);

/* Monotonic time. */
uint64_t import_report_now_ns(void);
/* A request, sent at that moment, has ended just now. */
void import_report_waited(struct import_report *report, uint64_t sent_ns);

/* At most every 200 ms on a terminal, else every 5 s. */
void import_report_progress(struct import_report *report, uint64_t offset);
void import_report_hashing(void *report, uint64_t done, uint64_t total);

/* Prints the summary, closes the file of rejects; false when that could not be written. */
bool import_report_finish(struct import_report *report, bool json);
void import_report_deinit(struct import_report *report);

#endif
