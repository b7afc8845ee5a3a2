/* CreateTransfers: moving money. Order of judgement: transfer.c, docs/formats/command.md. */
#ifndef TALLY_CORE_TRANSFER_H
#define TALLY_CORE_TRANSFER_H

#include "core/command.h"
#include "core/result.h"

struct machine;

/* Judges `count` events in order, the k-th stamped stamp + k, each seeing what the earlier ones
 * did, and moves the money of those that pass. Fills results[0 .. count - 1] with enum result.
 * Total, and infallible once begun: the current memtable has room for `count` transfers. */
void transfer_create_batch(struct machine *machine, const struct transfer_event *events,
                           uint32_t count, uint64_t stamp, uint8_t *results);

#endif
