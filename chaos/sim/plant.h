/* Faults planted at consensus: what is proposed counts as committed at once; a repair of the guard
 * is switched off; words and judgements about the two sites are spoiled. */
#ifndef TALLY_CHAOS_SIM_PLANT_H
#define TALLY_CHAOS_SIM_PLANT_H

#include "replication/consensus/consensus.h"

struct node;

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
/* A follower says that both sites have what it knows to be committed, as if it had counted. */
void plant_followers_mode(struct plant *plant, struct consensus *consensus);
/* A leader thinks that the sites have kept pace whenever it hears them. Every turn. */
void plant_early_return(struct consensus *consensus);
/* The certificate that a leader has made says one entry more than is committed. Every turn. */
void plant_certificate_high(struct node *node);
/* Switches repairs of the guard off: bits of RAFT_GUARD_* in raft_guard.h. */
void plant_guard_off(struct consensus *consensus, uint64_t parts);
/* The bit of "S1", "LEADER" and so on; 0: there is no such repair. */
uint64_t plant_guard_part(const char *name);
/* After the consensus has gone. */
void plant_deinit(struct plant *plant);

#endif
