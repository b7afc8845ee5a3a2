/*
 * Request uniqueness: what became of an identity (principal, nonce, issue time), and remembering
 * what was executed or fenced.
 */
#ifndef TALLY_CORE_REQUEST_H
#define TALLY_CORE_REQUEST_H

#include "core/command.h"
#include "core/machine.h"
#include "core/record.h"
#include "core/result.h"

#include <stdbool.h>

/* A remembered request with its packed answer. */
struct request_memory {
    struct request_record record;
    uint8_t answer[REQUEST_EVENTS_MAX + 16]; /* capacity asked by ledger_past.h */
};

/* What became of an identity at ledger time `now`:
 *   OUTCOME_EXECUTED, OUTCOME_REQUEST_FENCED   *out is filled in
 *   OUTCOME_NONCE_REUSED     the nonce lives with another issue time
 *   OUTCOME_BEYOND_WINDOW    too old, and not remembered
 *   OUTCOME_NOT_YET_SEEN
 * May ask the past. */
uint8_t request_find(const struct machine *machine, uint32_t name_ordinal, const uint8_t nonce[16],
                     uint64_t issued_at_ns, uint64_t now, struct request_memory *out);

/* Judges a readable request of the principal `name_ordinal` at ledger time `now`, operation and
 * digest included: OUTCOME_NOT_YET_SEEN means that it is to be executed (or fenced) and remembered;
 * any other outcome is the answer, with *out filled in when it is EXECUTED or REQUEST_FENCED. */
uint8_t request_judge(const struct machine *machine, const struct request_header *request,
                      uint32_t name_ordinal, uint64_t now, struct request_memory *out);

/* The answer that a remembered request gets again; unpacks into `results` (capacity
 * REQUEST_EVENTS_MAX), to which out->results points. */
void request_answer(const struct request_memory *memory, uint8_t *results, struct answer *out);

/* Remembers an outcome; record->answer_size bytes of `answer`. Infallible: room was made sure of.
 */
void request_remember(struct machine *machine, const struct request_record *record,
                      const uint8_t *answer);

#endif
