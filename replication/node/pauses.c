/*
 * A ring of slices. A slice that comes round again is recognised by its number and begins anew, so
 * nothing has to tick. A wait or a gap counts in the slice in which it *ended*: that is when it is
 * known, and a pause that is still going on has an end soon, or its requests have.
 */
#include "replication/node/pauses.h"

#define SLICE_NS (PAUSE_SLICE_MS * UINT64_C(1000000))

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void pauses_note(struct pauses *pauses, uint64_t accepted_ns, uint64_t now_ns, enum status status)
{
    const uint64_t number = now_ns / SLICE_NS + 1;
    struct pause_slice *slice = &pauses->slices[number % PAUSE_SLICE_COUNT];
    if (slice->number != number)
        *slice = (struct pause_slice){.number = number};
    struct pause *pause = &slice->pause;
    if (status == STATUS_UNKNOWN_OUTCOME) {
        pause->unknown++;
        return;
    }
    if (status != STATUS_OK) {
        pause->refused++;
        return;
    }
    pause->answered++;
    if (now_ns > accepted_ns)
        pause->longest_wait_ns = larger(pause->longest_wait_ns, now_ns - accepted_ns);
    if (pauses->answered_ns != 0 && now_ns > pauses->answered_ns)
        pause->longest_gap_ns = larger(pause->longest_gap_ns, now_ns - pauses->answered_ns);
    pauses->answered_ns = now_ns;
}

void pauses_since(const struct pauses *pauses, uint64_t now_ns, uint64_t window_ns,
                  struct pause *out)
{
    const uint64_t newest = now_ns / SLICE_NS + 1;
    const uint64_t oldest = (now_ns > window_ns ? now_ns - window_ns : 0) / SLICE_NS + 1;
    *out = (struct pause){0};
    for (uint32_t i = 0; i < PAUSE_SLICE_COUNT; i++) {
        const struct pause_slice *slice = &pauses->slices[i];
        if (slice->number < oldest || slice->number > newest)
            continue;
        out->longest_wait_ns = larger(out->longest_wait_ns, slice->pause.longest_wait_ns);
        out->longest_gap_ns = larger(out->longest_gap_ns, slice->pause.longest_gap_ns);
        out->answered += slice->pause.answered;
        out->refused += slice->pause.refused;
        out->unknown += slice->pause.unknown;
    }
}
