/* The window of request identities: which are too old, and whether more can be remembered. All of
 * it follows from issue times and stamps in the log, never from what is physically still there. */
#ifndef TALLY_CORE_REQUEST_WINDOW_H
#define TALLY_CORE_REQUEST_WINDOW_H

#include "core/bounds.h"
#include "core/record.h"

#include <stdbool.h>

/* Older than the window at ledger time `now`: forgotten if it was remembered, refused if not. */
static inline bool request_expired(uint64_t issued_at_ns, uint64_t now)
{
    return now > issued_at_ns && now - issued_at_ns > REQUEST_WINDOW_NS;
}

static inline bool request_too_far_ahead(uint64_t issued_at_ns, uint64_t now)
{
    return issued_at_ns > now && issued_at_ns - now > REQUEST_AHEAD_NS;
}

/* Forgets the buckets that lie wholly before `now`. To be called once per entry with its stamp. */
void request_window_advance(struct request_window_record *window, uint64_t now);

/* Counts a request that is neither expired nor too far ahead. */
void request_window_add(struct request_window_record *window, uint64_t issued_at_ns,
                        uint32_t answer_size);

/* Whether the buckets add up, for a record read from disk. */
bool request_window_valid(const struct request_window_record *window, uint64_t stamp);

#endif
