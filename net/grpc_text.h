/* The small texts of the gRPC protocol, for both sides: percent-encoded messages and timeouts. */
#ifndef TALLY_NET_GRPC_TEXT_H
#define TALLY_NET_GRPC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GRPC_TIMEOUT_TEXT_SIZE 10 /* 8 digits, a unit, a zero byte */

/* Percent-encodes `text` (zero-terminated) into at most `capacity` bytes, without a zero byte; what
 * does not fit is left out, never half a %XX. So are spaces at either end: with one the peer would
 * have to refuse the whole header (RFC 9113, section 8.2.1). Returns the bytes written. */
size_t grpc_percent_encode(const char *text, char *out, size_t capacity);

/* Decodes `size` bytes into out, zero-terminated, cut to capacity (at least 1). A wrong %XX is
 * taken as it stands, as gRPC asks. A zero byte or control character becomes '?'. */
void grpc_percent_decode(const uint8_t *text, size_t size, char *out, size_t capacity);

/* grpc-timeout: 1 to 8 digits and one of H M S m u n. False when it is anything else. Values beyond
 * 2^64 ns become UINT64_MAX. */
bool grpc_timeout_parse(const uint8_t *text, size_t size, uint64_t *out_ns);

/* The longest grpc-timeout that is not longer than ns (at least 1n), zero-terminated. */
void grpc_timeout_format(uint64_t ns, char out[GRPC_TIMEOUT_TEXT_SIZE]);

#endif
