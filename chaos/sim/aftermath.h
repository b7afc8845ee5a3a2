/*
 * The very end: everything stops at some moment under load, perhaps a while after one place was
 * lost, and some of the disks are presented. What the certificate's verdict claims about what was
 * acknowledged is compared with what those disks hold.
 */
#ifndef TALLY_CHAOS_SIM_AFTERMATH_H
#define TALLY_CHAOS_SIM_AFTERMATH_H

#include "chaos/sim/client.h"
#include "chaos/sim/rule_checks.h"
#include "replication/node/certificate_verdict.h"

struct aftermath {
    /* ---- filled in before aftermath_run ---- */
    struct world *world;
    struct network *network;
    struct host *hosts;
    uint32_t host_count;
    struct clients *clients;
    struct oracle *oracle;
    const struct rule_checks *checks;
    uint64_t calm_ns; /* clocks have been right since then */
    /* ---- told ---- */
    bool done;
    enum verdict verdict;
    bool lost; /* something acknowledged is on none of the disks that were presented */
};

/* No process runs afterwards. */
void aftermath_run(struct aftermath *aftermath);

#endif
