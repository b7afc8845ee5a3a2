/*
 * What a leader asks the data nodes around a site operation, and what they say (lane CALLS;
 * docs/formats/peer.md draws both): could you lead, and how was it for your clients? A node answers
 * at once and changes nothing by it. Pure.
 */
#ifndef TALLY_REPLICATION_SITE_MESSAGE_H
#define TALLY_REPLICATION_SITE_MESSAGE_H

#include "core/status.h"
#include "replication/message.h"
#include "replication/node/pauses.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct site_question {
    struct message_header message;
    uint64_t sequence;  /* the asker's */
    uint32_t window_ms; /* which past the pause is asked of; 0 = none */
    uint32_t reserved_0;
};
_Static_assert(sizeof(struct site_question) == 24, "format");

enum site_answer_flag {
    SITE_ANSWER_SERVES = 1,    /* phase SERVING */
    SITE_ANSWER_READ_ONLY = 2, /* disk space */
    SITE_ANSWER_STUCK = 4,     /* a journal write does not end */
    SITE_ANSWER_FLAGS_ALL = 7,
};

struct site_answer {
    struct message_header message;
    uint64_t sequence; /* of the question */
    uint32_t flags;
    uint32_t reserved_0;
    uint64_t applied_index;
    uint64_t wall_ns; /* its clock, ns since 1970 */
    uint64_t longest_wait_ns, longest_gap_ns, answered, refused, unknown; /* struct pause */
};
_Static_assert(sizeof(struct site_answer) == 80, "format");

struct site_question site_question_make(uint64_t sequence, uint32_t window_ms);
/* Completes an answer whose sequence, flags, applied index and clock are set. */
void site_answer_seal(struct site_answer *answer, const struct pause *pause);
/* STATUS_INVALID: not such a message. */
enum status site_question_decode(const void *bytes, size_t size, struct site_question *out);
enum status site_answer_decode(const void *bytes, size_t size, struct site_answer *out,
                               struct pause *out_pause);

#endif
