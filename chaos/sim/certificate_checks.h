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
        uint64_t term, sequence;
        int64_t wall_offset_ns;
        uint64_t wall_moved_ns; /* the clock jumped then */
    } seen[HOSTS_MAX];
    uint64_t total, acknowledged_total; /* checked; of them against what clients were told */
};

/* After a turn of a living node, behind rule_checks_look(). */
void certificate_checks_look(struct certificate_checks *checks, const struct host *host);

#endif
