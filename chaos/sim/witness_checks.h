/* What a witness throws away, every site has; what it notes as committed is. */
#ifndef TALLY_CHAOS_SIM_WITNESS_CHECKS_H
#define TALLY_CHAOS_SIM_WITNESS_CHECKS_H

#include "chaos/sim/holdings.h"
#include "chaos/sim/nemesis.h"

struct witness_checks {
    /* ---- filled in before the first look ---- */
    struct world *world;
    const struct holdings *holdings;
    const struct nemesis *nemesis;
    const uint64_t *commit_index; /* the highest that any node has told of */
    /* ---- ours ---- */
    uint64_t anchor_seen[HOSTS_MAX];
    uint64_t total; /* anchors judged */
};

/* After a turn of a living node. */
void witness_checks_look(struct witness_checks *checks, const struct host *host);

#endif
