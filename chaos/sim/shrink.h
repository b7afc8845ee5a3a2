/*
 * A failing seed made short: which of its faults are needed for the same promise to be broken, and
 * how soon it can end.
 */
#ifndef TALLY_CHAOS_SIM_SHRINK_H
#define TALLY_CHAOS_SIM_SHRINK_H

#include "chaos/sim/sim.h"

#define SHRINK_FAULTS_MAX 4096

struct shrink_outcome {
    bool violated;        /* with all its faults; otherwise there is nothing to make short */
    char violation[512];  /* of the short run */
    uint64_t fault_count; /* before */
    uint64_t faults[SHRINK_FAULTS_MAX]; /* that are left, rising */
    uint32_t left_count;
    uint64_t seconds;
    uint64_t think_ms; /* 0: as drawn from the seed */
    uint32_t run_count;
};

/* Runs the seed of `options` again and again, each time in a process of its own, for at most
 * `budget_s` seconds of real time; tells stderr how far it is. */
void shrink(const struct sim_options *options, uint64_t budget_s, struct shrink_outcome *out);

#endif
