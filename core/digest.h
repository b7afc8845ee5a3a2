/*
 * The replica digest: a sum modulo 2^128 of one contribution per fact, so that the order of facts
 * and the moment of a checkpoint cannot matter. Replicas compare it at equal indexes; it finds
 * drift between honest replicas. Against forgery there is the journal's chain of SHA-256.
 */
#ifndef TALLY_CORE_DIGEST_H
#define TALLY_CORE_DIGEST_H

#include "core/record.h"

#include <stddef.h>

/* The contribution of one fact. Part of the replicated format: all nodes must agree, so a change
 * here is a new command version. Pure. */
u128 digest_transfer(const struct transfer_record *record);
u128 digest_account(uint32_t ordinal, const struct account_record *record);
u128 digest_balance(uint32_t ordinal, const struct balance_record *record);
u128 digest_ledger(const struct ledger_record *record);
u128 digest_principal(uint32_t ordinal, const struct principal_record *record);
/* `answer` has record->answer_size bytes. */
u128 digest_request(const struct request_record *record, const uint8_t *answer);

#endif
