/* CreateLedgers: one event. Order of judgement: docs/formats/command.md. */
#ifndef TALLY_CORE_LEDGER_H
#define TALLY_CORE_LEDGER_H

#include "core/command.h"
#include "core/result.h"

struct machine;

/* Judges and, when RESULT_OK, creates a ledger stamped `stamp`. Returns enum result. Total. */
uint8_t ledger_create(struct machine *machine, const struct ledger_event *event, uint64_t stamp);

#endif
