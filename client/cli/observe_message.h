/*
 * Bytes of the three calls that `tally observe` makes: a canary transfer, the question what became
 * of one, the fence that makes "never" final.
 */
#ifndef TALLY_CLIENT_CLI_OBSERVE_MESSAGE_H
#define TALLY_CLIENT_CLI_OBSERVE_MESSAGE_H

#include "client/tally.h"

#define OBSERVE_MESSAGE_SIZE 256

/* Each writes one message and returns its size, at most OBSERVE_MESSAGE_SIZE. */
size_t observe_pack_transfer(const struct tally_identity *identity, uint32_t ledger,
                             const struct tally_id *debit, const struct tally_id *credit,
                             uint8_t out[OBSERVE_MESSAGE_SIZE]);
size_t observe_pack_question(const struct tally_identity *identity,
                             uint8_t out[OBSERVE_MESSAGE_SIZE]);
size_t observe_pack_fence(const struct tally_identity *identity, uint8_t out[OBSERVE_MESSAGE_SIZE]);

/* The answer to a transfer. False: it is not one. */
bool observe_read_answer(const uint8_t *bytes, size_t size, uint8_t *out_result,
                         uint64_t *out_index, uint64_t *out_timestamp_ns);
/* The answer to question and fence; result, index and stamp are written when it was executed.
 * False: it is not one. */
bool observe_read_told(const uint8_t *bytes, size_t size, uint8_t *out_outcome, uint8_t *out_result,
                       uint64_t *out_index, uint64_t *out_timestamp_ns);

#endif
