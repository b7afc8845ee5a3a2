/*
 * Packed answers: the results of a remembered request in the fewest bytes, a function of the
 * results alone. Two forms, told apart by the size:
 *
 *   dense    answer_size == event_count: one result per event
 *   sparse   answer_size == 3 x exceptions < event_count: position u16, result u8 for each event
 *            whose result is not RESULT_OK, positions ascending; no bytes at all when all are OK
 */
#ifndef TALLY_CORE_ANSWER_H
#define TALLY_CORE_ANSWER_H

#include "core/bounds.h"

#include <stdbool.h>
#include <stdint.h>

/* Greatest size of a packed answer to `event_count` events. */
static inline uint32_t answer_size_max(uint32_t event_count)
{
    return event_count;
}

/* Packs `event_count` (at most REQUEST_EVENTS_MAX) results into `out` (capacity answer_size_max());
 * returns the size. Pure. */
uint16_t answer_pack(const uint8_t *results, uint32_t event_count, uint8_t *out);

/* The inverse. False when the bytes are no packed answer for this count; then `out_results` is
 * undefined. Pure. */
bool answer_unpack(const uint8_t *packed, uint32_t size, uint32_t event_count,
                   uint8_t *out_results);

#endif
