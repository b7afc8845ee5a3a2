/* Fills struct node_error: what was found, where, what to do next. */
#ifndef TALLY_REPLICATION_NODE_ERROR_H
#define TALLY_REPLICATION_NODE_ERROR_H

#include "replication/environment.h"
#include "replication/node/node.h"

#include <stdbool.h>

/* From 2 MiB every entry fits a segment; above 1 GiB the journal says no. */
static inline bool node_segment_size_is_valid(const struct environment *environment, uint64_t bytes)
{
    const bool small = environment != NULL && environment->small_segments;
    return bytes >= (small ? 64u << 10 : 2u << 20) && bytes <= (1u << 30) && bytes % 4096 == 0;
}
#define NODE_SEGMENT_SIZE_WORDS                                                                    \
    "the journal's segment size has to be a multiple of 4096 from 2 MiB to 1 GiB"

/* Returns `status`, so that a refusal is one statement. */
__attribute__((format(printf, 3, 4))) enum status
node_refuse(struct node_error *error, enum status status, const char *format, ...);

#endif
