/* SetPrincipals: one event. Order of judgement: docs/formats/command.md. */
#ifndef TALLY_CORE_PRINCIPAL_H
#define TALLY_CORE_PRINCIPAL_H

#include "core/command.h"
#include "core/result.h"

struct machine;

/* Judges and, when RESULT_OK, adds the row or changes role and limit of the row with this URI; one
 * that says nothing new is RESULT_OK too. Returns enum result. Total. */
uint8_t principal_set(struct machine *machine, const struct principal_event *event);

#endif
