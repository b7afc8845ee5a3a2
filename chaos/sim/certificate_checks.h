/* Every certificate that a node holds, against what was acknowledged, committed and synced. */
#ifndef TALLY_CHAOS_SIM_CERTIFICATE_CHECKS_H
#define TALLY_CHAOS_SIM_CERTIFICATE_CHECKS_H

#include "chaos/sim/oracle.h"
#include "chaos/sim/rule_checks.h"

struct certificate_checks {
    /* ---- filled in before the first look ---- */
    struct world *world;
    struct oracle *oracle;
    const struct rule_checks *rule;
    /* ---- ours ---- */
    struct {
        uint64_t term, sequence; /* of the one that is held */
        /* ---- of the process of this life ---- */
        uint64_t life, made_total;
        uint64_t asked_wall_ns; /* what its clock said when it asked last ... */
        uint64_t asked_ns;      /* ... and when that was */
    } seen[HOSTS_MAX];
    uint64_t total, acknowledged_total; /* checked; of them against what clients were told */
};

/* After a turn of a living node, behind rule_checks_look(). */
void certificate_checks_look(struct certificate_checks *checks, const struct host *host);

#endif
