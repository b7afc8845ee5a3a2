/* Faults planted at consensus: what is proposed counts as committed at once; a repair of the guard
 * is switched off. */
#ifndef TALLY_CHAOS_SIM_PLANT_H
#define TALLY_CHAOS_SIM_PLANT_H

#include "replication/consensus/consensus.h"

/* Entries that were handed out before they were committed. One per process of a node. */
struct plant {
    struct consensus_operations operations; /* the table that stands in for the real one */
    const struct consensus_operations *real;
    struct consensus *consensus;
    struct plant *next_plant;
    struct plant_entry *first, *last; /* proposed, not handed out yet */
    struct plant_entry *current;      /* handed out, not consumed yet */
    uint64_t early_index;             /* handed out early up to here */
};

/* From now on `consensus` lies. The plant outlives it. */
void plant_reply_before_commit(struct plant *plant, struct consensus *consensus);
/* Switches repairs of the guard off: bits of RAFT_GUARD_* in raft_guard.h. */
void plant_guard_off(struct consensus *consensus, uint64_t parts);
/* The bit of "S1", "LEADER" and so on; 0: there is no such repair. */
uint64_t plant_guard_part(const char *name);
/* After the consensus has gone. */
void plant_deinit(struct plant *plant);

#endif
