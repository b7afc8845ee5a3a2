/*
 * A forwarded request and its answer as bytes between two nodes (lane CALLS; docs/formats/peer.md
 * draws both). Pure: any bytes are decoded or refused, nothing else happens. The payload of a
 * decoded message points into the given bytes, which are 8-aligned.
 */
#ifndef TALLY_REPLICATION_FORWARD_MESSAGE_H
#define TALLY_REPLICATION_FORWARD_MESSAGE_H

#include "core/command.h"
#include "core/machine.h"
#include "core/status.h"
#include "replication/message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* MESSAGE_FORWARD: this head, then the request: its header and events. */
struct forward_head {
    struct message_header message;
    uint64_t sequence; /* the sender's, never used twice */
    uint64_t term;     /* of the leader that is meant: in another term it is refused */
    uint32_t remaining_ms;
    uint32_t flags; /* FORWARD_BOTH_SITES */
};
#define FORWARD_BOTH_SITES 1u /* refuse it while degraded */
_Static_assert(sizeof(struct forward_head) == 32, "format");

/* MESSAGE_FORWARD_RESULT: this head, then the packed results (core/answer.h), padded with zeros to
 * a multiple of 8. Without an answer everything behind `status` is zero. */
struct forward_result_head {
    struct message_header message;
    uint64_t sequence;
    uint64_t index;
    uint64_t stamp;
    uint8_t status;  /* enum forward_status */
    uint8_t outcome; /* enum outcome */
    uint8_t repeated;
    uint8_t flags; /* FORWARD_HAS_RESULTS, FORWARD_ON_BOTH */
    uint16_t operation;
    uint16_t encoding;
    uint32_t event_count;
    uint32_t packed_size;
};
#define FORWARD_HAS_RESULTS 1u
#define FORWARD_ON_BOTH     2u /* the leader knew the answer's entry to be on both sites */
_Static_assert(sizeof(struct forward_result_head) == 48, "format");

/* Numbers on the wire. All but ANSWERED and UNKNOWN say for certain that nothing of it is, or will
 * be, in the log by this message. */
enum forward_status {
    FORWARD_ANSWERED = 0,
    FORWARD_NOT_LEADER, /* or draining: send it to another */
    FORWARD_BUSY,
    FORWARD_READ_ONLY,
    FORWARD_INVALID,
    FORWARD_UNKNOWN,  /* it may be in the log */
    FORWARD_DEGRADED, /* both sites were asked for, and one is missing */
    FORWARD_STATUS_COUNT
};

#define FORWARD_RESULT_BYTES_MAX (sizeof(struct forward_result_head) + REQUEST_EVENTS_MAX + 8)

/* STATUS_INVALID: not such a message, or a request that request_check() refuses. */
enum status forward_decode(const void *bytes, size_t size, struct forward_head *out_head,
                           const struct request_header **out_request);

/* Returns the size; `out` holds FORWARD_RESULT_BYTES_MAX. `answer` is NULL unless ANSWERED. */
size_t forward_result_encode(uint64_t sequence, enum forward_status status,
                             const struct answer *answer, uint8_t *out);
/* Of an encoded, or decoded, answer. */
void forward_result_set_on_both(uint8_t *bytes);
bool forward_result_is_on_both(const void *bytes);
/* STATUS_INVALID: not such a message. With FORWARD_ANSWERED *out_answer is filled in; its results
 * are NULL or point to `results`, which holds REQUEST_EVENTS_MAX. */
enum status forward_result_decode(const void *bytes, size_t size, uint64_t *out_sequence,
                                  enum forward_status *out_status, struct answer *out_answer,
                                  uint8_t *results);

#endif
