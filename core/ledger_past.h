/*
 * Facts that left RAM. Core asks through this table while it decides; the answers depend on the
 * applied prefix of the log alone. It cannot fail: an I/O or checksum error stops the process
 * inside storage, because a guess here would let replicas diverge.
 */
#ifndef TALLY_CORE_LEDGER_PAST_H
#define TALLY_CORE_LEDGER_PAST_H

#include "core/record.h"

#include <stdbool.h>

struct ledger_past {
    void *context;
    /* May be NULL. A hint that transfer_by_id() will be asked for this id soon (a batch looks 32
     * ids ahead): fetch what it would touch into the processor's cache, e.g. the filter's block. */
    void (*transfer_prefetch)(void *context, const struct id128 *id);
    /* Transfer (accepted or refused) with this id among checkpointed ones. */
    bool (*transfer_by_id)(void *context, const struct id128 *id, struct transfer_record *out);
    /* Transfer by sequence number, counted from 0; false when not checkpointed. */
    bool (*transfer_by_sequence)(void *context, uint64_t sequence, struct transfer_record *out);
    /* The *latest* checkpointed request with this (principal, nonce), expired or not. `answer`
     * receives out->answer_size bytes (capacity REQUEST_EVENTS_MAX + 16). Core judges expiry. */
    bool (*request_by_nonce)(void *context, uint32_t principal_name, const uint8_t nonce[16],
                             struct request_record *out, uint8_t *answer);
};

#endif
