/*
 * How long this node's clients waited lately: kept in slices of 100 ms for a quarter of a minute,
 * so that after a change of leadership anybody can ask "and how was it for them, since a moment
 * ago?".
 *
 * Noted is every request of a client of this node at its end, here at the node's edge: what another
 * node forwarded is noted there. Loop thread.
 */
#ifndef TALLY_REPLICATION_PAUSES_H
#define TALLY_REPLICATION_PAUSES_H

#include "core/status.h"

#include <stdint.h>

#define PAUSE_SLICE_MS    100
#define PAUSE_SLICE_COUNT 160 /* 16 s */

struct pause {
    uint64_t longest_wait_ns; /* from a request's arrival to its answer */
    uint64_t longest_gap_ns;  /* between two answers, one after the other */
    uint64_t answered;
    uint64_t refused; /* certainly not in the log */
    uint64_t unknown; /* at their deadline nobody knew */
};

/* Fields are ours; all zero is empty. */
struct pauses {
    struct pause_slice {
        uint64_t number; /* of the slice since the clock's zero, + 1; 0 = never used */
        struct pause pause;
    } slices[PAUSE_SLICE_COUNT];
    uint64_t answered_ns; /* the newest answer; 0 = none yet */
};

/* A request that arrived at `accepted_ns` ended now; `status` as node_request_cb has it. */
void pauses_note(struct pauses *pauses, uint64_t accepted_ns, uint64_t now_ns, enum status status);

/* Over the last `window_ns`, rounded up to whole slices, at most what is kept. Nothing noted in it:
 * all zero. */
void pauses_since(const struct pauses *pauses, uint64_t now_ns, uint64_t window_ns,
                  struct pause *out);

#endif
