/*
 * What must hold after every turn of every node, whatever the faults: one leader a term, committed
 * entries that never change, equal states at equal indexes, bounds.
 */
#ifndef TALLY_CHAOS_SIM_INVARIANTS_H
#define TALLY_CHAOS_SIM_INVARIANTS_H

#include "chaos/sim/host.h"

struct invariants {
    struct world *world;
    /* by index: what the first node that applied it had then */
    struct applied_note {
        bool digest_known, head_known;
        uint8_t digest[16];
        uint8_t head[JOURNAL_HASH_SIZE];
    } * notes;
    uint64_t note_capacity;
    /* by term */
    uint64_t *leaders;
    uint64_t leader_capacity;
    uint64_t election_total;
    uint64_t commit_index; /* highest anywhere */
    uint64_t applied_seen[HOSTS_MAX];
    uint64_t reopened_seen[HOSTS_MAX];
    uint64_t log_bytes_max;
};

void invariants_init(struct invariants *invariants, struct world *world);
void invariants_deinit(struct invariants *invariants);
/* After a turn of a living node. */
void invariants_check(struct invariants *invariants, const struct host *host);
/* The process has gone: it may begin lower. */
void invariants_forget(struct invariants *invariants, const struct host *host);

#endif
