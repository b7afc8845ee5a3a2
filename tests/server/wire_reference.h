/*
 * The same messages through protobuf-c, to compare our decoder with. Used by test_wire.c with a
 * fixed seed and by tests/fuzz/fuzz_wire.c with whatever libFuzzer thinks of.
 */
#ifndef TALLY_TESTS_SERVER_WIRE_REFERENCE_H
#define TALLY_TESTS_SERVER_WIRE_REFERENCE_H

#include "server/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Decodes `message` with both and compares:
 *   - what ours accepts, protobuf-c accepts, without unknown fields and with equal values;
 *   - what ours refuses as no protobuf (the first group of enum wire_fault), protobuf-c refuses;
 *   - what ours refuses otherwise is refused for one of the documented reasons, and protobuf-c's
 *     message shows that reason unless it is one that it cannot show (a number whose high bits it
 *     drops, a message it merges, a value that a later one of the same field replaces).
 * Returns NULL when all is well, else what differs (static). *out_accepted tells what ours did.
 */
const char *wire_reference_compare(uint16_t operation, const uint8_t *message, size_t size,
                                   bool *out_accepted);

/* Comparison for messages that cannot be refused by protobuf-c but for the envelope: lookups. */
const char *wire_reference_compare_lookup(const uint8_t *message, size_t size, bool *out_accepted);

#endif
