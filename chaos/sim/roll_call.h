/*
 * Faults are over and all has settled: every data node is asked for a write and a linearizable
 * read, and has to answer both within a second. A node that follows and applies may still not
 * serve.
 */
#ifndef TALLY_CHAOS_SIM_ROLL_CALL_H
#define TALLY_CHAOS_SIM_ROLL_CALL_H

#include "chaos/sim/host.h"
#include "chaos/sim/oracle.h"

struct roll_call {
    struct world *world;
    struct host *hosts;
    uint32_t host_count;
    struct oracle *oracle;
};

/* False: a promise was broken. */
bool roll_call(const struct roll_call *roll_call);

#endif
