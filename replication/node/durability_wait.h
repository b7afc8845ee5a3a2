/*
 * Answers that wait until their entry is on both sites, because their request asked for that. Loop
 * thread.
 */
#ifndef TALLY_REPLICATION_DURABILITY_WAIT_H
#define TALLY_REPLICATION_DURABILITY_WAIT_H

#include "replication/node/node.h"

struct durability_waits {
    struct node_both_wait *first; /* by deadline of arrival: few, and looked at whole */
    uint64_t next_deadline_ns;    /* UINT64_MAX: nobody waits */
};

void durability_waits_init(struct durability_waits *waits);
void durability_waits_add(struct durability_waits *waits, struct node_both_wait *wait);
/* A turn: calls back those that are over. `both_index`: what is known to be on both sites. */
void durability_waits_process(struct durability_waits *waits, uint64_t both_index, uint64_t now_ns);
/* The node ends: everybody is told that it is not known. */
void durability_waits_end(struct durability_waits *waits);

#endif
