/* CreateAccounts: one event. Order of judgement: docs/formats/command.md. */
#ifndef TALLY_CORE_ACCOUNT_H
#define TALLY_CORE_ACCOUNT_H

#include "core/command.h"
#include "core/record.h"
#include "core/result.h"

#include <stdbool.h>

struct machine;

/* Judges and, when RESULT_OK, opens an account stamped `stamp`. Returns enum result. Total. */
uint8_t account_create(struct machine *machine, const struct account_event *event, uint64_t stamp);

/* What of a record read from disk could have come from a valid event. */
bool account_record_valid(const struct account_record *record);

#endif
