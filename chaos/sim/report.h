/* What many seeds did, in all. */
#ifndef TALLY_CHAOS_SIM_REPORT_H
#define TALLY_CHAOS_SIM_REPORT_H

#include "chaos/sim/sim.h"

struct report {
    struct sim_result sum;
    uint64_t seeds, failed;
    uint64_t pause_ns[2]; /* longest after the loss of a place; [1]: the leader was there */
};

void report_add(struct report *report, const struct sim_result *result);
/* The summary, to stdout; `seconds` of real time, `jobs` processes. */
void report_print(const struct report *report, const char *topology, uint32_t jobs, double seconds);

#endif
